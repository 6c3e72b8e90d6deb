"""Functions of networks, under PyTorch's names and signatures (``torch.nn.functional``).

Where the engine has a function of its own, the name here *is* that function
(no Python frame lies between); the others are composed of tensor operations in
``_functional``. A name that rustnn lacks raises NotImplementedError when called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._base import Tensor, native
from ._functional import activation as _activation
from ._functional import attention as _attention
from ._functional import distance as _distance
from ._functional import loss as _loss
from ._functional import norm as _norm
from ._functional import pooling as _pooling
from ._functional import sampling as _sampling

_Function = Callable[..., Tensor]
_Several = Callable[..., Any]  # one tensor or a tuple, as the arguments say

# Kernels: products, convolutions, windows, tables.
avg_pool1d: _Function = native("avg_pool1d")
avg_pool2d: _Function = native("avg_pool2d")
avg_pool3d: _Function = native("avg_pool3d")
conv1d: _Function = native("conv1d")
conv2d: _Function = native("conv2d")
conv3d: _Function = native("conv3d")
conv_transpose1d: _Function = native("conv_transpose1d")
conv_transpose2d: _Function = native("conv_transpose2d")
conv_transpose3d: _Function = native("conv_transpose3d")
ctc_loss: _Function = native("ctc_loss")
embedding: _Function = native("embedding")
linear: _Function = native("linear")
max_pool1d: _Several = native("max_pool1d")
max_pool2d: _Several = native("max_pool2d")
max_pool3d: _Several = native("max_pool3d")

# Activation.
celu: _Function = native("celu", _activation.celu)
elu: _Function = native("elu", _activation.elu)
gelu: _Function = native("gelu", _activation.gelu)
glu: _Function = native("glu", _activation.glu)
gumbel_softmax: _Function = native("gumbel_softmax", _activation.gumbel_softmax)
hardshrink: _Function = native("hardshrink", _activation.hardshrink)
hardsigmoid: _Function = native("hardsigmoid", _activation.hardsigmoid)
hardswish: _Function = native("hardswish", _activation.hardswish)
hardtanh: _Function = native("hardtanh", _activation.hardtanh)
leaky_relu: _Function = native("leaky_relu", _activation.leaky_relu)
log_softmax: _Function = native("log_softmax", _activation.log_softmax)
logsigmoid: _Function = native("logsigmoid", _activation.logsigmoid)
mish: _Function = native("mish", _activation.mish)
prelu: _Function = native("prelu", _activation.prelu)
relu: _Function = native("relu", _activation.relu)
relu6: _Function = native("relu6", _activation.relu6)
rrelu: _Function = native("rrelu", _activation.rrelu)
selu: _Function = native("selu", _activation.selu)
sigmoid: _Function = native("sigmoid", _activation.sigmoid)
silu: _Function = native("silu", _activation.silu)
softmax: _Function = native("softmax", _activation.softmax)
softmin: _Function = native("softmin", _activation.softmin)
softplus: _Function = native("softplus", _activation.softplus)
softshrink: _Function = native("softshrink", _activation.softshrink)
softsign: _Function = native("softsign", _activation.softsign)
tanh: _Function = native("tanh", _activation.tanh)
tanhshrink: _Function = native("tanhshrink", _activation.tanhshrink)
threshold: _Function = native("threshold", _activation.threshold)

# Attention.
multi_head_attention_forward: _Several = native("multi_head_attention_forward", _attention.multi_head_attention_forward)
scaled_dot_product_attention: _Function = native(
    "scaled_dot_product_attention", _attention.scaled_dot_product_attention
)

# Distance.
cosine_similarity: _Function = native("cosine_similarity", _distance.cosine_similarity)
normalize: _Function = native("normalize", _distance.normalize)
one_hot: _Function = native("one_hot", _distance.one_hot)
pairwise_distance: _Function = native("pairwise_distance", _distance.pairwise_distance)
pdist: _Function = native("pdist", _distance.pdist)

# Loss.
binary_cross_entropy: _Function = native("binary_cross_entropy", _loss.binary_cross_entropy)
binary_cross_entropy_with_logits: _Function = native(
    "binary_cross_entropy_with_logits", _loss.binary_cross_entropy_with_logits
)
cosine_embedding_loss: _Function = native("cosine_embedding_loss", _loss.cosine_embedding_loss)
cross_entropy: _Function = native("cross_entropy", _loss.cross_entropy)
gaussian_nll_loss: _Function = native("gaussian_nll_loss", _loss.gaussian_nll_loss)
hinge_embedding_loss: _Function = native("hinge_embedding_loss", _loss.hinge_embedding_loss)
huber_loss: _Function = native("huber_loss", _loss.huber_loss)
kl_div: _Function = native("kl_div", _loss.kl_div)
l1_loss: _Function = native("l1_loss", _loss.l1_loss)
margin_ranking_loss: _Function = native("margin_ranking_loss", _loss.margin_ranking_loss)
mse_loss: _Function = native("mse_loss", _loss.mse_loss)
multi_margin_loss: _Function = native("multi_margin_loss", _loss.multi_margin_loss)
multilabel_margin_loss: _Function = native("multilabel_margin_loss", _loss.multilabel_margin_loss)
multilabel_soft_margin_loss: _Function = native("multilabel_soft_margin_loss", _loss.multilabel_soft_margin_loss)
nll_loss: _Function = native("nll_loss", _loss.nll_loss)
poisson_nll_loss: _Function = native("poisson_nll_loss", _loss.poisson_nll_loss)
smooth_l1_loss: _Function = native("smooth_l1_loss", _loss.smooth_l1_loss)
soft_margin_loss: _Function = native("soft_margin_loss", _loss.soft_margin_loss)
triplet_margin_loss: _Function = native("triplet_margin_loss", _loss.triplet_margin_loss)
triplet_margin_with_distance_loss: _Function = native(
    "triplet_margin_with_distance_loss", _loss.triplet_margin_with_distance_loss
)

# Norm.
alpha_dropout: _Function = native("alpha_dropout", _norm.alpha_dropout)
batch_norm: _Function = native("batch_norm", _norm.batch_norm)
dropout: _Function = native("dropout", _norm.dropout)
dropout1d: _Function = native("dropout1d", _norm.dropout1d)
dropout2d: _Function = native("dropout2d", _norm.dropout2d)
dropout3d: _Function = native("dropout3d", _norm.dropout3d)
embedding_bag: _Function = native("embedding_bag", _norm.embedding_bag)
feature_alpha_dropout: _Function = native("feature_alpha_dropout", _norm.feature_alpha_dropout)
group_norm: _Function = native("group_norm", _norm.group_norm)
instance_norm: _Function = native("instance_norm", _norm.instance_norm)
layer_norm: _Function = native("layer_norm", _norm.layer_norm)
local_response_norm: _Function = native("local_response_norm", _norm.local_response_norm)
rms_norm: _Function = native("rms_norm", _norm.rms_norm)

# Pooling.
adaptive_avg_pool1d: _Function = native("adaptive_avg_pool1d", _pooling.adaptive_avg_pool1d)
adaptive_avg_pool2d: _Function = native("adaptive_avg_pool2d", _pooling.adaptive_avg_pool2d)
adaptive_avg_pool3d: _Function = native("adaptive_avg_pool3d", _pooling.adaptive_avg_pool3d)
adaptive_max_pool1d: _Several = native("adaptive_max_pool1d", _pooling.adaptive_max_pool1d)
adaptive_max_pool2d: _Several = native("adaptive_max_pool2d", _pooling.adaptive_max_pool2d)
adaptive_max_pool3d: _Several = native("adaptive_max_pool3d", _pooling.adaptive_max_pool3d)
bilinear: _Function = native("bilinear", _pooling.bilinear)
conv_tbc: _Function = native("conv_tbc", _pooling.conv_tbc)
fractional_max_pool2d: _Several = native("fractional_max_pool2d", _pooling.fractional_max_pool2d)
fractional_max_pool3d: _Several = native("fractional_max_pool3d", _pooling.fractional_max_pool3d)
lp_pool1d: _Function = native("lp_pool1d", _pooling.lp_pool1d)
lp_pool2d: _Function = native("lp_pool2d", _pooling.lp_pool2d)
lp_pool3d: _Function = native("lp_pool3d", _pooling.lp_pool3d)
max_unpool1d: _Function = native("max_unpool1d", _pooling.max_unpool1d)
max_unpool2d: _Function = native("max_unpool2d", _pooling.max_unpool2d)
max_unpool3d: _Function = native("max_unpool3d", _pooling.max_unpool3d)

# Sampling.
affine_grid: _Function = native("affine_grid", _sampling.affine_grid)
channel_shuffle: _Function = native("channel_shuffle", _sampling.channel_shuffle)
fold: _Function = native("fold", _sampling.fold)
grid_sample: _Function = native("grid_sample", _sampling.grid_sample)
interpolate: _Function = native("interpolate", _sampling.interpolate)
pad: _Function = native("pad", _sampling.pad)
pixel_shuffle: _Function = native("pixel_shuffle", _sampling.pixel_shuffle)
pixel_unshuffle: _Function = native("pixel_unshuffle", _sampling.pixel_unshuffle)
unfold: _Function = native("unfold", _sampling.unfold)
upsample: _Function = native("upsample", _sampling.upsample)

# multi_head_attention_forward's masks, used by the Transformer layers.
_canonical_mask = _attention._canonical_mask


# In-place forms.


def relu_(input: Tensor) -> Tensor:
    """In-place :func:`relu`."""
    return relu(input, inplace=True)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """In-place :func:`elu`."""
    return elu(input, alpha, inplace=True)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """In-place :func:`celu`."""
    return celu(input, alpha, inplace=True)


def selu_(input: Tensor) -> Tensor:
    """In-place :func:`selu`."""
    return selu(input, inplace=True)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """In-place :func:`leaky_relu`."""
    return leaky_relu(input, negative_slope, inplace=True)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """In-place :func:`hardtanh`."""
    return hardtanh(input, min_val, max_val, inplace=True)


def rrelu_(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Tensor:
    """In-place :func:`rrelu`."""
    return rrelu(input, lower, upper, training, inplace=True)


_limit = threshold  # which the parameter's name hides


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """In-place :func:`threshold`."""
    return _limit(input, threshold, value, inplace=True)


# Names for the forms of max pooling that always give indices, and old names of upsampling.


def max_pool1d_with_indices(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                            ceil_mode: bool = False, return_indices: bool = False) -> Any:  # fmt: skip
    """:func:`max_pool1d` with the places of the maxima."""
    return max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool2d_with_indices(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                            ceil_mode: bool = False, return_indices: bool = False) -> Any:  # fmt: skip
    """:func:`max_pool2d` with the places of the maxima."""
    return max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool3d_with_indices(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                            ceil_mode: bool = False, return_indices: bool = False) -> Any:  # fmt: skip
    """:func:`max_pool3d` with the places of the maxima."""
    return max_pool3d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def adaptive_max_pool1d_with_indices(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """:func:`adaptive_max_pool1d` with the places of the maxima."""
    return adaptive_max_pool1d(input, output_size, True)


def adaptive_max_pool2d_with_indices(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """:func:`adaptive_max_pool2d` with the places of the maxima."""
    return adaptive_max_pool2d(input, output_size, True)


def adaptive_max_pool3d_with_indices(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """:func:`adaptive_max_pool3d` with the places of the maxima."""
    return adaptive_max_pool3d(input, output_size, True)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """Old name of ``interpolate(mode="nearest")``."""
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """Old name of ``interpolate(mode="bilinear", align_corners=True)``."""
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)


native_channel_shuffle = channel_shuffle
