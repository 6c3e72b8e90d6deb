"""Attention composed of tensor operations: the whole of ``multi_head_attention_forward``."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
from typing import Any

from .._base import _C, Tensor, bool_dtype


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """``softmax(q kᵀ scale + mask) v``."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    scores = query.matmul(key.transpose(-2, -1)) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        if attn_mask is not None:
            raise RuntimeError("Explicit attn_mask should not be set when is_causal=True")
        attn_mask = _C.ones((query.shape[-2], key.shape[-2]), dtype=bool_dtype).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == bool_dtype else scores + attn_mask
    weights = scores.softmax(-1)
    if dropout_p > 0:
        from .norm import dropout

        weights = dropout(weights, dropout_p)
    return weights.matmul(value)


def _sdpa() -> Any:
    return getattr(_C._nn, "scaled_dot_product_attention", scaled_dot_product_attention)


def _canonical_mask(
    mask: Tensor | None,
    mask_name: str,
    other_type: Any,
    other_name: str,
    target_type: Any,
    check_other: bool = True,
) -> Tensor | None:
    """A mask as numbers to be added to the scores."""
    if mask is None:
        return None
    if mask.dtype != bool_dtype and not mask.is_floating_point():
        raise AssertionError(f"only bool and floating types of {mask_name} are supported")
    if mask.is_floating_point():
        return mask
    return _C.zeros(tuple(mask.shape), dtype=target_type).masked_fill_(mask, -math.inf)


def _shape_check(query: Tensor, key: Tensor, value: Tensor, pad: Any, mask: Any, heads: int) -> bool:
    if query.dim() not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query.dim()}-D query tensor"
        )
    batched = query.dim() == 3
    kind = "batched" if batched else "unbatched"
    if key.dim() != query.dim() or value.dim() != query.dim():
        raise AssertionError(
            f"For {kind} ({query.dim()}-D) `query`, expected `key` and `value` to be {query.dim()}-D but found "
            f"{key.dim()}-D and {value.dim()}-D tensors respectively"
        )
    if pad is not None and pad.dim() != query.dim() - 1:
        raise AssertionError(
            f"For {kind} ({query.dim()}-D) `query`, expected `key_padding_mask` to be `None` or "
            f"{query.dim() - 1}-D but found {pad.dim()}-D tensor instead"
        )
    if mask is not None:
        if mask.dim() not in (2, 3):
            raise AssertionError(
                f"For {kind} ({query.dim()}-D) `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found "
                f"{mask.dim()}-D tensor instead"
            )
        if not batched and mask.dim() == 3:
            expected = (heads, query.shape[0], key.shape[0])
            if tuple(mask.shape) != expected:
                raise AssertionError(f"Expected `attn_mask` shape to be {expected} but got {mask.shape}")
    return batched


def _project(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, bias: Any, embed_dim: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value through one stacked weight: in one product where they are the same tensor."""
    linear = _C._nn.linear
    if key is value:
        if query is key:
            out = linear(query, weight, bias)
            q, k, v = out.chunk(3, -1)
            return q, k, v
        wq, wkv = weight[:embed_dim], weight[embed_dim:]
        bq, bkv = (None, None) if bias is None else (bias[:embed_dim], bias[embed_dim:])
        k, v = linear(key, wkv, bkv).chunk(2, -1)
        return linear(query, wq, bq), k, v
    ws = weight.chunk(3, 0)
    bs = (None, None, None) if bias is None else bias.chunk(3, 0)
    return linear(query, ws[0], bs[0]), linear(key, ws[1], bs[1]), linear(value, ws[2], bs[2])


def multi_head_attention_forward(
    query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int, in_proj_weight: Any,
    in_proj_bias: Any, bias_k: Any, bias_v: Any, add_zero_attn: bool, dropout_p: float, out_proj_weight: Tensor,
    out_proj_bias: Any, training: bool = True, key_padding_mask: Any = None, need_weights: bool = True,
    attn_mask: Any = None, use_separate_proj_weight: bool = False, q_proj_weight: Any = None,
    k_proj_weight: Any = None, v_proj_weight: Any = None, static_k: Any = None, static_v: Any = None,
    average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Multi-head attention with the projections of ``nn.MultiheadAttention``.

    Shape: query ``(L, N, E)``, key and value ``(S, N, *)``, or all without N.

    Returns:
        The output ``(L, N, E)``; the weights ``(N, L, S)``, per head ``(N, heads, L, S)``, or None.
    """
    batched = _shape_check(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        # The same tensor stays one, so that the projection can be one product.
        same_qk, same_kv = query is key, key is value
        query = query.unsqueeze(1)
        key = query if same_qk else key.unsqueeze(1)
        value = key if same_kv else value.unsqueeze(1)
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    tgt_len, bsz, embed_dim = query.shape
    src_len = key.shape[0]
    key_padding_mask = _canonical_mask(key_padding_mask, "key_padding_mask", None, "attn_mask", query.dtype)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None
    else:
        attn_mask = _canonical_mask(attn_mask, "attn_mask", None, "", query.dtype, False)
        if key_padding_mask is not None:
            is_causal = False
    if embed_dim != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {embed_dim}")
    head_dim = embed_dim // num_heads
    if head_dim * num_heads != embed_dim:
        raise AssertionError(f"embed_dim {embed_dim} not divisible by num_heads {num_heads}")
    if use_separate_proj_weight:
        if key.shape[:2] != value.shape[:2]:
            raise AssertionError(
                f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}"
            )
        if q_proj_weight is None or k_proj_weight is None or v_proj_weight is None:
            raise AssertionError("use_separate_proj_weight is True but a projection weight is None")
        bq, bk, bv = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3, 0)
        linear = _C._nn.linear
        q, k, v = (
            linear(query, q_proj_weight, bq),
            linear(key, k_proj_weight, bk),
            linear(value, v_proj_weight, bv),
        )
    else:
        if key.shape != value.shape:
            raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
        if in_proj_weight is None:
            raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
        q, k, v = _project(query, key, value, in_proj_weight, in_proj_bias, embed_dim)
    if attn_mask is not None:
        if attn_mask.dim() == 2:
            if tuple(attn_mask.shape) != (tgt_len, src_len):
                raise RuntimeError(
                    f"The shape of the 2D attn_mask is {attn_mask.shape}, but should be {(tgt_len, src_len)}."
                )
            attn_mask = attn_mask.unsqueeze(0)
        elif tuple(attn_mask.shape) != (bsz * num_heads, tgt_len, src_len):
            raise RuntimeError(
                f"The shape of the 3D attn_mask is {attn_mask.shape}, "
                f"but should be {(bsz * num_heads, tgt_len, src_len)}."
            )
    if (bias_k is None) != (bias_v is None):
        raise AssertionError("bias_k and bias_v must both be given or both be None")
    extra = 0
    if bias_k is not None:
        if static_k is not None or static_v is not None:
            raise AssertionError("bias cannot be added to static key or value.")
        k = _C.cat([k, bias_k.repeat(1, bsz, 1)], 0)
        v = _C.cat([v, bias_v.repeat(1, bsz, 1)], 0)
        extra += 1
    q = q.reshape((tgt_len, bsz * num_heads, head_dim)).transpose(0, 1)
    k = k.reshape((k.shape[0], bsz * num_heads, head_dim)).transpose(0, 1) if static_k is None else static_k
    v = v.reshape((v.shape[0], bsz * num_heads, head_dim)).transpose(0, 1) if static_v is None else static_v
    if add_zero_attn:
        zeros = _C.zeros((bsz * num_heads, 1, head_dim), dtype=k.dtype)
        k, v = _C.cat([k, zeros], 1), _C.cat([v, zeros], 1)
        extra += 1
    if extra:
        attn_mask = _widen(attn_mask, extra)
        key_padding_mask = _widen(key_padding_mask, extra)
    src_len = k.shape[1]
    if key_padding_mask is not None:
        if tuple(key_padding_mask.shape) != (bsz, src_len):
            raise AssertionError(
                f"expecting key_padding_mask shape of {(bsz, src_len)}, but got {key_padding_mask.shape}"
            )
        pad = key_padding_mask.reshape((bsz, 1, 1, src_len)).expand(-1, num_heads, -1, -1)
        pad = pad.reshape((bsz * num_heads, 1, src_len))
        attn_mask = pad if attn_mask is None else attn_mask + pad
    p = dropout_p if training else 0.0
    if need_weights:
        scores = (q * math.sqrt(1.0 / head_dim)).bmm(k.transpose(-2, -1))
        if attn_mask is not None:
            scores = scores + attn_mask
        weights = scores.softmax(-1)
        if p > 0.0:
            weights = _C._nn.dropout(weights, p)
        out = weights.bmm(v).transpose(0, 1).reshape((tgt_len * bsz, embed_dim))
        out = _C._nn.linear(out, out_proj_weight, out_proj_bias).reshape((tgt_len, bsz, -1))
        weights = weights.reshape((bsz, num_heads, tgt_len, src_len))
        if average_attn_weights:
            weights = weights.mean(1)
        return (out, weights) if batched else (out.squeeze(1), weights.squeeze(0))
    if attn_mask is not None:
        if attn_mask.shape[0] == 1:
            attn_mask = attn_mask.unsqueeze(0)
        else:
            attn_mask = attn_mask.reshape((bsz, num_heads, -1, src_len))
    out = _sdpa()(
        q.reshape((bsz, num_heads, tgt_len, head_dim)),
        k.reshape((bsz, num_heads, src_len, head_dim)),
        v.reshape((bsz, num_heads, src_len, head_dim)),
        attn_mask,
        p,
        is_causal,
    )
    out = out.permute(2, 0, 1, 3).reshape((bsz * tgt_len, embed_dim))
    out = _C._nn.linear(out, out_proj_weight, out_proj_bias).reshape((tgt_len, bsz, -1))
    return (out, None) if batched else (out.squeeze(1), None)


def _widen(mask: Tensor | None, extra: int) -> Tensor | None:
    """The mask with ``extra`` more keys that may be attended to."""
    if mask is None:
        return None
    zeros = _C.zeros((*tuple(mask.shape[:-1]), extra), dtype=mask.dtype)
    return _C.cat([mask, zeros], -1)
