//! `conv1d` to `conv3d` and their transposes. Forward, input gradient and weight gradient are each linear in two
//! operands and each other's gradients, so derivatives of any order follow.

use super::{batched, fused, unbatched};
use crate::args::{Arg, Args, IntoRet};
use crate::linalg::glue::{expand, reshape};
use crate::registry::{NN, OpDef, PRIVATE, TORCH, op};
use rustnn_core::base::runtime_error;
use rustnn_core::{DType, Dims, Error, Result, Tensor, attach, grads, save};
use rustnn_kernels::conv::{self, ConvParams};

/// `conv(x, w) + bias` of a given output shape.
fn forward(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, p: &ConvParams, shape: &[usize]) -> Result<Tensor> {
    if let Some(out) = fused::wait(x, w, bias, p, shape)? {
        return Ok(out);
    }
    let out = Tensor::empty(shape, x.dtype())?;
    let (xc, wc) = (x.to_contiguous()?, w.to_contiguous()?);
    let bc = bias.map(Tensor::to_contiguous).transpose()?;
    conv::forward(xc.raw(), wc.raw_kept(w.constant()), bc.as_ref().map(Tensor::raw), out.raw(), p)?;
    let (sx, sw, p) = (save(x), save(w), p.clone());
    let (xs, ws): (Dims, Dims) = (x.shape().into(), w.shape().into());
    let backward = move |c: &rustnn_core::Ctx<'_>, g: &Tensor| {
        Ok(grads![c;
            0 => grad_input(g, &sw.get(c)?, None, &p, &xs)?,
            1 => grad_weight(g, &sx.get(c)?, &p, &ws)?,
            2 => grad_bias(g)?,
        ])
    };
    match bias {
        Some(b) => attach("ConvolutionBackward0", out, &[x, w, b], backward),
        None => attach("ConvolutionBackward0", out, &[x, w], backward),
    }
}

/// The gradient of `forward`'s input (plus a bias): a transposed convolution.
fn grad_input(g: &Tensor, w: &Tensor, bias: Option<&Tensor>, p: &ConvParams, shape: &[usize]) -> Result<Tensor> {
    let out = Tensor::empty(shape, g.dtype())?;
    let (gc, wc) = (g.to_contiguous()?, w.to_contiguous()?);
    let bc = bias.map(Tensor::to_contiguous).transpose()?;
    conv::grad_input(gc.raw(), wc.raw_kept(w.constant()), bc.as_ref().map(Tensor::raw), out.raw(), p)?;
    let (sg, sw, p) = (save(g), save(w), p.clone());
    let (gs, ws): (Dims, Dims) = (g.shape().into(), w.shape().into());
    let backward = move |c: &rustnn_core::Ctx<'_>, gg: &Tensor| {
        Ok(grads![c;
            0 => forward(gg, &sw.get(c)?, None, &p, &gs)?,
            1 => grad_weight(&sg.get(c)?, gg, &p, &ws)?,
            2 => grad_bias(gg)?,
        ])
    };
    match bias {
        Some(b) => attach("ConvolutionBackward0", out, &[g, w, b], backward),
        None => attach("ConvolutionBackward0", out, &[g, w], backward),
    }
}

/// The gradient of `forward`'s weight.
fn grad_weight(g: &Tensor, x: &Tensor, p: &ConvParams, shape: &[usize]) -> Result<Tensor> {
    let out = Tensor::empty(shape, g.dtype())?;
    let (gc, xc) = (g.to_contiguous()?, x.to_contiguous()?);
    conv::grad_weight(gc.raw(), xc.raw(), out.raw(), p)?;
    let (sg, sx, p) = (save(g), save(x), p.clone());
    let (gs, xs): (Dims, Dims) = (g.shape().into(), x.shape().into());
    attach("ConvolutionBackwardBackward0", out, &[g, x], move |c, gg| {
        Ok(grads![c;
            0 => forward(&sx.get(c)?, gg, None, &p, &gs)?,
            1 => grad_input(&sg.get(c)?, gg, None, &p, &xs)?,
        ])
    })
}

/// The gradient of a bias: the sum over all but the channels.
fn grad_bias(g: &Tensor) -> Result<Tensor> {
    let out = Tensor::empty(&[g.shape()[1]], g.dtype())?;
    conv::grad_bias(g.to_contiguous()?.raw(), out.raw())?;
    let shape: Dims = g.shape().into();
    attach("SumBackward1", out, &[g], move |_, gg| {
        let mut wide: Dims = shape.iter().map(|_| 1).collect();
        wide[1] = shape[1];
        Ok(grads![expand(&reshape(gg, &wide)?, &shape)?])
    })
}

/// How the padding of a convolution is given.
#[derive(Debug, Clone)]
pub enum Padding {
    Sizes(Vec<i64>),
    Same,
    Valid,
}

fn list(name: &str, v: &[i64], n: usize) -> Result<Vec<i64>> {
    match v.len() {
        1 => Ok(vec![v[0]; n]),
        l if l == n => Ok(v.to_vec()),
        _ => Err(runtime_error!(
            "expected {name} to be a single integer value or a list of {n} values to match the convolution dimensions, but got {name}={v:?}"
        )),
    }
}

fn sizes(v: &[i64]) -> Vec<usize> {
    v.iter().map(|&x| x.max(0) as usize).collect()
}

/// What all convolutions check, and their parameters.
struct Request<'a> {
    dims: usize,
    transposed: bool,
    x: &'a Tensor,
    w: &'a Tensor,
    bias: Option<&'a Tensor>,
    stride: Vec<i64>,
    dilation: Vec<i64>,
    groups: i64,
}

fn java_name(d: DType) -> String {
    format!("torch.{}Tensor", d.torch_name())
}

impl Request<'_> {
    fn check(&self) -> Result<()> {
        let (x, w) = (self.x.shape(), self.w.shape());
        if self.stride.iter().any(|&s| s <= 0) {
            return Err(runtime_error!("non-positive stride is not supported"));
        }
        if self.dilation.iter().any(|&s| s <= 0) {
            return Err(runtime_error!("dilation should be greater than zero"));
        }
        if self.groups <= 0 {
            return Err(runtime_error!("non-positive groups is not supported"));
        }
        let groups = self.groups as usize;
        if w.len() != self.dims + 2 {
            return Err(runtime_error!(
                "Expected {}-dimensional weight for a {}d convolution, but got weight of size {w:?} instead",
                self.dims + 2,
                self.dims
            ));
        }
        let types = (self.x.dtype(), self.w.dtype());
        if types.0 != types.1 {
            return Err(runtime_error!(
                "Input type ({}) and weight type ({}) should be the same or input should be a MKLDNN tensor and weight is a dense tensor",
                java_name(types.0), java_name(types.1)
            )
            .hint(format!("cast one of them: .to({})", types.1)));
        }
        if let Some(b) = self.bias {
            if b.dtype() != types.0 {
                return Err(runtime_error!(
                    "Input type ({}) and bias type ({}) should be the same",
                    types.0,
                    b.dtype()
                ));
            }
        }
        if w[0] < groups {
            return Err(runtime_error!(
                "Given groups={groups}, expected weight to be at least {groups} at dimension 0, but got weight of size {w:?} instead"
            ));
        }
        if w[0] % groups != 0 {
            return Err(runtime_error!(
                "Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of size [{w:?}] instead"
            ));
        }
        // A weight without elements may say anything.
        let wide = w[1].saturating_mul(groups);
        let (want, outputs) = if self.transposed { (w[0], wide) } else { (wide, w[0]) };
        if x[1] != want {
            let given = if self.transposed { "transposed=1".to_owned() } else { format!("groups={groups}") };
            let e = runtime_error!(
                "Given {given}, weight of size {w:?}, expected input{x:?} to have {want} channels, but got {} channels instead",
                x[1]
            );
            let last = x[x.len() - 1];
            return Err(if last == want && self.dims == 2 {
                e.hint(format!("the last dimension has {last}: channels come second here, x.permute(0, 3, 1, 2)"))
            } else {
                e.hint(
                    "the input is [batch, channels, ...]; a single sample without its batch dimension is accepted too",
                )
            });
        }
        if let Some(b) = self.bias {
            if b.ndim() != 1 || b.numel() != outputs {
                let given = if self.transposed { "transposed=1, weight" } else { "weight" };
                return Err(runtime_error!(
                    "Given {given} of size {w:?}, expected bias to be 1-dimensional with {outputs} elements, but got bias of size {:?} instead",
                    b.shape()
                ));
            }
        }
        Ok(())
    }

    fn params(&self, padding: &[i64]) -> ConvParams {
        ConvParams {
            stride: sizes(&self.stride),
            padding: sizes(padding),
            dilation: sizes(&self.dilation),
            groups: self.groups as usize,
        }
    }
}

/// Integer operands are computed in doubles and cut back.
fn through_float(r: &Request, f: impl Fn(&Request) -> Result<Tensor>) -> Result<Tensor> {
    let d = r.x.dtype();
    if d.is_float() {
        return f(r);
    }
    if d == DType::Bool && r.x.numel() > 0 {
        return Err(rustnn_core::base::not_implemented!("\"convolution\" not implemented for 'Bool'"));
    }
    let (x, w) = (r.x.copied_as(DType::F64)?, r.w.copied_as(DType::F64)?);
    let bias = r.bias.map(|b| b.copied_as(DType::F64)).transpose()?;
    let wide =
        Request { x: &x, w: &w, bias: bias.as_ref(), stride: r.stride.clone(), dilation: r.dilation.clone(), ..*r };
    f(&wide)?.copied_as(d)
}

fn unbatched_error(dims: usize, name: &str, x: &Tensor) -> Error {
    runtime_error!(
        "Expected {}D (unbatched) or {}D (batched) input to {name}, but got input of size: {:?}",
        dims + 1,
        dims + 2,
        x.shape()
    )
}

/// Convolution in `dims` dimensions.
pub fn convolution(
    dims: usize,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    stride: &[i64],
    padding: &Padding,
    dilation: &[i64],
    groups: i64,
) -> Result<Tensor> {
    let name = ["conv1d", "conv2d", "conv3d"][dims - 1];
    if x.ndim() != dims + 1 && x.ndim() != dims + 2 {
        return Err(unbatched_error(dims, name, x).hint("channels come before the spatial dimensions: [N, C, ...]"));
    }
    let (x, added) = batched(x, dims)?;
    let (stride, dilation) = (list("stride", stride, dims)?, list("dilation", dilation, dims)?);
    let r = Request { dims, transposed: false, x: &x, w, bias, stride, dilation, groups };
    // What 'same' pads more at the end than at the start is done by zeros written behind the input.
    let mut behind = vec![0usize; dims];
    let padding = match padding {
        Padding::Sizes(p) => list("padding", p, dims)?,
        Padding::Valid => vec![0; dims],
        Padding::Same => {
            if r.stride.iter().any(|&s| s != 1) {
                return Err(runtime_error!("padding='same' is not supported for strided convolutions"));
            }
            if w.ndim() != dims + 2 {
                return Err(runtime_error!("expected a {}-dimensional weight, got {:?}", dims + 2, w.shape()));
            }
            (0..dims)
                .map(|d| {
                    let total = r.dilation[d] as usize * w.shape()[d + 2].saturating_sub(1);
                    behind[d] = total % 2;
                    (total / 2) as i64
                })
                .collect()
        }
    };
    if padding.iter().any(|&p| p < 0) {
        return Err(runtime_error!("negative padding is not supported"));
    }
    r.check()?;
    let padded = if behind.iter().any(|&b| b > 0) { pad_end(&x, &behind)? } else { x.clone() };
    let r = Request { x: &padded, ..r };
    let (xs, ws) = (padded.shape(), w.shape());
    let mut shape: Dims = xs.into();
    shape[1] = ws[0];
    let mut small = false;
    for d in 0..dims {
        let reach = (r.dilation[d] as u128) * (ws[d + 2].saturating_sub(1) as u128) + 1;
        let room = xs[d + 2] as u128 + 2 * padding[d] as u128;
        small |= ws[d + 2] == 0 || room < reach;
        shape[d + 2] = if room < reach { 0 } else { ((room - reach) / r.stride[d] as u128) as usize + 1 };
    }
    if small {
        let join = |f: &dyn Fn(usize) -> u128| (0..dims).map(|d| f(d).to_string()).collect::<Vec<_>>().join(" x ");
        return Err(runtime_error!(
            "Calculated padded input size per channel: ({}). Kernel size: ({}). Kernel size can't be greater than actual input size",
            join(&|d| xs[d + 2] as u128 + 2 * padding[d] as u128),
            join(&|d| r.dilation[d] as u128 * ws[d + 2].saturating_sub(1) as u128 + 1)
        )
        .hint(format!("the input is {xs:?}, the weight {ws:?}; use a smaller kernel, more padding or a larger image")));
    }
    let p = r.params(&padding);
    let out = through_float(&r, |r| forward(r.x, r.w, r.bias, &p, &shape))?;
    unbatched(out, added)
}

/// Zeros behind the last entries of the spatial dimensions.
fn pad_end(x: &Tensor, behind: &[usize]) -> Result<Tensor> {
    let mut shape: Dims = x.shape().into();
    for (d, b) in behind.iter().enumerate() {
        shape[d + 2] += b;
    }
    let out = Tensor::zeros(&shape, x.dtype())?;
    let inside = out.layout().clone();
    let inside = rustnn_core::Layout { shape: x.shape().into(), ..inside };
    rustnn_kernels::copy::copy(&out.view_of(inside).raw(), &x.raw())?;
    let behind = behind.to_vec();
    attach("ConstantPadNdBackward0", out, &[x], move |_, g| Ok(grads![cut_end(g, &behind)?]))
}

/// The gradient of [`pad_end`].
fn cut_end(g: &Tensor, behind: &[usize]) -> Result<Tensor> {
    let mut shape: Dims = g.shape().into();
    for (d, b) in behind.iter().enumerate() {
        shape[d + 2] -= b;
    }
    let inside = rustnn_core::Layout { shape, ..g.layout().clone() };
    let out = g.view_of(inside).to_contiguous()?;
    let behind = behind.to_vec();
    attach("SliceBackward0", out, &[g], move |_, gg| Ok(grads![pad_end(gg, &behind)?]))
}

/// Transposed convolution in `dims` dimensions; the weight is `[in, out / groups, ...]`.
pub fn conv_transpose(
    dims: usize,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    stride: &[i64],
    padding: &[i64],
    output_padding: &[i64],
    groups: i64,
    dilation: &[i64],
) -> Result<Tensor> {
    let name = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"][dims - 1];
    if x.ndim() != dims + 1 && x.ndim() != dims + 2 {
        return Err(unbatched_error(dims, name, x));
    }
    let (x, added) = batched(x, dims)?;
    let (stride, dilation) = (list("stride", stride, dims)?, list("dilation", dilation, dims)?);
    let (padding, extra) = (list("padding", padding, dims)?, list("output_padding", output_padding, dims)?);
    if padding.iter().any(|&p| p < 0) {
        return Err(runtime_error!("negative padding is not supported"));
    }
    if extra.iter().any(|&p| p < 0) {
        return Err(runtime_error!("negative output_padding is not supported"));
    }
    let r = Request { dims, transposed: true, x: &x, w, bias, stride, dilation, groups };
    r.check()?;
    if (0..dims).any(|d| extra[d] >= r.stride[d].max(r.dilation[d])) {
        return Err(runtime_error!(
            "output padding must be smaller than either stride or dilation, but got output_padding={extra:?} stride={:?} dilation={:?}",
            r.stride,
            r.dilation
        ));
    }
    let (xs, ws) = (x.shape(), w.shape());
    let mut shape: Dims = xs.into();
    shape[1] = ws[1].checked_mul(groups as usize).ok_or_else(|| runtime_error!("too many channels"))?;
    for d in 0..dims {
        let n = (xs[d + 2] as i128 - 1) * r.stride[d] as i128 - 2 * padding[d] as i128
            + r.dilation[d] as i128 * (ws[d + 2] as i128 - 1)
            + extra[d] as i128
            + 1;
        if n <= 0 || n > i64::MAX as i128 {
            return Err(runtime_error!(
                "Given input size per channel: {:?}. Calculated output size per channel: ({n}) in dimension {d}. Output size is too small",
                &xs[2..]
            ));
        }
        shape[d + 2] = n as usize;
    }
    let p = r.params(&padding);
    let out = through_float(&r, |r| grad_input(r.x, r.w, r.bias, &p, &shape))?;
    unbatched(out, added)
}

fn padding(a: &Args, i: usize) -> Result<Padding> {
    match a.arg(i) {
        Arg::Str(s) => match s.as_str() {
            "same" => Ok(Padding::Same),
            "valid" => Ok(Padding::Valid),
            _ => Err(runtime_error!("Invalid padding string: '{s}'").hint("'same' or 'valid', or sizes")),
        },
        _ => Ok(Padding::Sizes(a.ints(i)?.to_vec())),
    }
}

fn call(dims: usize, a: &Args) -> Result<crate::args::Ret> {
    convolution(dims, a.tensor(0)?, a.tensor(1)?, a.opt_tensor(2), a.ints(3)?, &padding(a, 4)?, a.ints(5)?, a.int(6)?)
        .ret()
}

fn call_transpose(dims: usize, a: &Args) -> Result<crate::args::Ret> {
    conv_transpose(
        dims,
        a.tensor(0)?,
        a.tensor(1)?,
        a.opt_tensor(2),
        a.ints(3)?,
        a.ints(4)?,
        a.ints(5)?,
        a.int(6)?,
        a.ints(7)?,
    )
    .ret()
}

/// A reference in NumPy: every tap's shifted, strided input times its weight (`c` is a convolution's argument list).
const ORACLE: &str = "ref_conv(input, weight, bias, stride, padding, dilation, groups)";
const ORACLE_T: &str = "ref_conv_transpose(input, weight, bias, stride, padding, output_padding, groups, dilation)";

pub(crate) fn ops() -> Vec<OpDef> {
    const F: u32 = NN | TORCH;
    vec![
        op("conv1d(Tensor input, Tensor weight, Tensor? bias=None, int[1] stride=1, str|int[1] padding=0, int[1] dilation=1, int groups=1)", F, |a| call(1, a))
            .doc("1-d convolution (cross-correlation) of input [N, C, L] with weight [O, C / groups, K].")
            .samples(&["t(2,3,10), t(4,3,3)", "t(2,3,10), t(4,3,3), t(4), stride=2, padding=1", "t(2,4,9), t(6,2,2), padding='same', dilation=3, groups=2", "t(3,10), t(4,3,3)"])
            .oracle(ORACLE),
        op("conv2d(Tensor input, Tensor weight, Tensor? bias=None, int[2] stride=1, str|int[2] padding=0, int[2] dilation=1, int groups=1)", F, |a| call(2, a))
            .doc("2-d convolution (cross-correlation) of input [N, C, H, W] with weight [O, C / groups, KH, KW].")
            .samples(&[
                "t(2,3,6,7), t(4,3,3,3)", "t(2,3,6,7), t(4,3,3,2), t(4), stride=(2,1), padding=(1,0)", "t(1,4,7,7), t(4,1,3,3), t(4), padding=1, groups=4",
                "t(2,4,6,5), t(2,4,1,1), t(2)", "t(1,2,7,8), t(3,2,3,3), dilation=2, padding=2", "t(2,2,5,6), t(3,2,2,4), padding='same'", "t(3,6,6), t(4,3,3,3), padding='valid'", "t(0,3,6,7), t(4,3,3,3)",
            ])
            .oracle(ORACLE),
        op("conv3d(Tensor input, Tensor weight, Tensor? bias=None, int[3] stride=1, str|int[3] padding=0, int[3] dilation=1, int groups=1)", F, |a| call(3, a))
            .doc("3-d convolution (cross-correlation) of input [N, C, D, H, W] with weight [O, C / groups, KD, KH, KW].")
            .samples(&["t(1,2,4,5,6), t(3,2,2,3,3), t(3)", "t(1,2,5,5,5), t(2,1,3,3,3), stride=2, padding=1, groups=2"])
            .oracle(ORACLE),
        op("conv_transpose1d(Tensor input, Tensor weight, Tensor? bias=None, int[1] stride=1, int[1] padding=0, int[1] output_padding=0, int groups=1, int[1] dilation=1)", F, |a| call_transpose(1, a))
            .doc("The gradient of a 1-d convolution as an op of its own; weight is [C, O / groups, K].")
            .samples(&["t(2,3,5), t(3,4,3)", "t(2,3,5), t(3,4,3), t(4), stride=2, padding=1, output_padding=1"])
            .oracle(ORACLE_T),
        op("conv_transpose2d(Tensor input, Tensor weight, Tensor? bias=None, int[2] stride=1, int[2] padding=0, int[2] output_padding=0, int groups=1, int[2] dilation=1)", F, |a| call_transpose(2, a))
            .doc("The gradient of a 2-d convolution as an op of its own; weight is [C, O / groups, KH, KW].")
            .samples(&["t(2,3,4,5), t(3,4,3,3)", "t(2,4,4,5), t(4,3,3,2), t(6), stride=(2,3), padding=1, output_padding=(1,2), groups=2", "t(1,2,3,3), t(2,2,2,2), dilation=2"])
            .oracle(ORACLE_T),
        op("conv_transpose3d(Tensor input, Tensor weight, Tensor? bias=None, int[3] stride=1, int[3] padding=0, int[3] output_padding=0, int groups=1, int[3] dilation=1)", F, |a| call_transpose(3, a))
            .doc("The gradient of a 3-d convolution as an op of its own; weight is [C, O / groups, KD, KH, KW].")
            .samples(&["t(1,2,3,3,3), t(2,3,2,2,2), t(3), stride=2"])
            .oracle(ORACLE_T),
        op("_conv_grad_weight(Tensor grad, Tensor input, int[] weight_shape, int[] stride, int[] padding, int[] dilation, int groups)", PRIVATE, |a| {
            let p = ConvParams {
                stride: sizes(a.ints(3)?),
                padding: sizes(a.ints(4)?),
                dilation: sizes(a.ints(5)?),
                groups: a.int(6)?.max(0) as usize,
            };
            grad_weight(a.tensor(0)?, a.tensor(1)?, &p, &sizes(a.ints(2)?)).ret()
        })
        .doc("The gradient of a convolution's weight.")
        .samples(&["t(2,4,4,4), t(2,3,6,6), [4,3,3,3], [1,1], [0,0], [1,1], 1"])
        .oracle("np.stack([np.stack([np.einsum('nohw,nchw->oc', grad, input[:, :, i:i+4, j:j+4]) for j in range(3)], -1) for i in range(3)], -2)"),
    ]
}
