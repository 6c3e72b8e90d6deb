//! Maximum and average pooling, fixed and adaptive, in one to three dimensions.

use super::{batched, unbatched};
use crate::args::{Args, IntoRet, Ret};
use crate::registry::{NN, OpDef, PRIVATE, TORCH, op};
use rustnn_core::base::layout;
use rustnn_core::base::{runtime_error, with_float, with_number};
use rustnn_core::{Dims, Result, Tensor, attach, attach_many, grads, needs_grad};
use rustnn_kernels::pool::{self, Divisor, Windows};
use std::sync::Arc;

/// A pooling of the last `dims` dimensions: windows and output sizes.
#[derive(Clone)]
struct Plan {
    windows: Arc<Windows>,
    dims: usize,
    sizes: Vec<usize>,
}

impl Plan {
    fn out_shape(&self, x: &[usize]) -> Dims {
        let mut s: Dims = x[..x.len() - self.dims].into();
        s.extend_from_slice(&self.sizes);
        s
    }
}

fn times(v: &[usize]) -> String {
    v.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

fn many(name: &str, v: &[i64], n: usize) -> Result<Vec<i64>> {
    match v.len() {
        1 => Ok(vec![v[0]; n]),
        l if l == n => Ok(v.to_vec()),
        _ => Err(runtime_error!("{name} must either be a single int, or a tuple of {n} ints")),
    }
}

/// The input's shape is `[N, C, ...]` or `[C, ...]`, and not empty but for the batch.
fn check_input(name: &str, x: &Tensor, dims: usize) -> Result<()> {
    let (n, s) = (x.ndim(), x.shape());
    if n != dims + 1 && n != dims + 2 {
        return Err(runtime_error!(
            "{name}: non-empty {}D or {}D (batch mode) tensor expected for input, but got {s:?}",
            dims + 1,
            dims + 2
        )
        .hint("channels come before the spatial dimensions: [N, C, ...]"));
    }
    let from = usize::from(n == dims + 2);
    if s[from..].contains(&0) {
        return Err(runtime_error!(
            "Expected {}D or {}D (batch mode) tensor with optional 0 dim batch size for input, but got:{s:?}",
            dims + 1,
            dims + 2
        ));
    }
    Ok(())
}

/// Windows of a fixed kernel.
fn fixed(name: &str, x: &Tensor, dims: usize, k: &[i64], s: &[i64], p: &[i64], d: &[i64], ceil: bool) -> Result<Plan> {
    check_input(name, x, dims)?;
    let k = many("kernel_size", k, dims)?;
    let s = if s.is_empty() { k.clone() } else { many("stride", s, dims)? };
    let (p, d) = (many("padding", p, dims)?, many("dilation", d, dims)?);
    if s.contains(&0) {
        return Err(runtime_error!("stride should not be zero"));
    }
    if k.iter().any(|&k| k <= 0) {
        return Err(runtime_error!("kernel size should be greater than zero, but got kernel_size={k:?}"));
    }
    if s.iter().any(|&s| s < 0) {
        return Err(runtime_error!("stride should be greater than zero, but got stride={s:?}"));
    }
    if d.iter().any(|&d| d <= 0) {
        return Err(runtime_error!("dilation should be greater than zero, but got dilation={d:?}"));
    }
    let sizes_in = &x.shape()[x.ndim() - dims..];
    let (mut list, mut sizes) = (Vec::new(), Vec::new());
    for i in 0..dims {
        if p[i] < 0 {
            return Err(runtime_error!("pad must be non-negative, but got pad: {}", p[i]));
        }
        if p[i] as i128 > ((k[i] as i128 - 1) * d[i] as i128 + 1) / 2 {
            return Err(runtime_error!(
                "pad should be at most half of effective kernel size, but got pad={}, kernel_size={} and dilation={}",
                p[i],
                k[i],
                d[i]
            ));
        }
        let n = sizes_in[i] as i128;
        let room =
            n + 2 * p[i] as i128 - d[i] as i128 * (k[i] as i128 - 1) - 1 + if ceil { s[i] as i128 - 1 } else { 0 };
        let mut out = room.div_euclid(s[i] as i128) + 1;
        if ceil && (out - 1) * s[i] as i128 >= n + p[i] as i128 {
            out -= 1;
        }
        sizes.push(out.max(0) as usize);
    }
    if sizes.contains(&0) {
        let c = x.shape()[x.ndim() - dims - 1];
        return Err(runtime_error!(
            "Given input size: ({c}x{}). Calculated output size: ({c}x{}). Output size is too small",
            times(sizes_in),
            times(&sizes)
        )
        .hint(format!("kernel_size={k:?}, stride={s:?}, padding={p:?}: the image is smaller than the window")));
    }
    rustnn_core::base::layout::numel(&sizes)?;
    for i in 0..dims {
        let u = |v: i64| v as usize;
        list.push((sizes_in[i], pool::spans(sizes_in[i], sizes[i], u(k[i]), u(s[i]), u(p[i]), u(d[i]))?));
    }
    Ok(Plan { windows: Arc::new(Windows::new(list)), dims, sizes })
}

/// Windows of adaptive pooling.
fn adaptive(name: &str, x: &Tensor, dims: usize, out: &[i64]) -> Result<Plan> {
    let (n, s) = (x.ndim(), x.shape());
    if n != dims + 1 && n != dims + 2 {
        return Err(runtime_error!("{name}(): Expected {}D or {}D tensor, but got {s:?}", dims + 1, dims + 2));
    }
    let out = many("output_size", out, dims)?;
    if out.iter().any(|&o| o < 0) {
        let list = out.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        return Err(runtime_error!(
            "{name}: elements of output_size must be greater than or equal to 0 but received {{{list}}}"
        ));
    }
    for (d, &size) in s.iter().enumerate().skip(n - dims) {
        if size == 0 {
            return Err(runtime_error!(
                "{name}(): Expected input to have non-zero size for non-batch dimensions, but input has sizes {s:?} with dimension {d} being empty"
            ));
        }
    }
    let sizes: Vec<usize> = out.iter().map(|&o| o as usize).collect();
    rustnn_core::base::layout::numel(&sizes)?;
    let span = |i: usize| Ok((s[n - dims + i], pool::adaptive_spans(s[n - dims + i], sizes[i])?));
    let list = (0..dims).map(span).collect::<Result<_>>()?;
    Ok(Plan { windows: Arc::new(Windows::new(list)), dims, sizes })
}

/// The maxima, and their places if wanted or needed for the gradient.
fn max_with(x: &Tensor, plan: &Plan, indices: bool) -> Result<(Tensor, Option<Tensor>)> {
    let out = Tensor::empty(&plan.out_shape(x.shape()), x.dtype())?;
    let tracked = needs_grad(&[x]);
    let at = if indices || tracked { Some(Tensor::empty(out.shape(), rustnn_core::DType::I64)?) } else { None };
    let dense = x.to_contiguous()?;
    pool::max_pool(dense.raw(), &plan.windows, out.raw(), at.as_ref().map(Tensor::raw))?;
    let name = ["MaxPool1DBackward0", "MaxPool2DWithIndicesBackward0", "MaxPool3DWithIndicesBackward0"][plan.dims - 1];
    let Some(at) = at.filter(|_| tracked || indices) else { return Ok((out, None)) };
    if !tracked {
        return Ok((out, Some(at)));
    }
    let (places, shape, dims) = (at.detach(), Dims::from(x.shape()), plan.dims);
    let mut outs = attach_many(name, vec![out], &[x], move |_, gs| match &gs[0] {
        Some(g) => Ok(grads![max_grad(g, &places, &shape, dims)?]),
        None => Ok(rustnn_core::Grads::new()),
    })?;
    let out = outs.remove(0);
    Ok((out, indices.then_some(at)))
}

/// The gradient of maximum pooling: each value goes to the place that won.
pub(crate) fn max_grad(g: &Tensor, at: &Tensor, shape: &[usize], dims: usize) -> Result<Tensor> {
    let out = Tensor::empty(shape, g.dtype())?;
    let plane = |s: &[usize]| layout::count(&s[s.len() - dims..]);
    pool::max_pool_grad(g.to_contiguous()?.raw(), at.raw(), out.raw(), plane(shape), plane(g.shape()))?;
    let (places, n) = (at.clone(), dims);
    attach("MaxPoolBackwardBackward0", out, &[g], move |_, gg| Ok(grads![pick(gg, &places, n)?]))
}

/// The values at given places of each plane.
fn pick(x: &Tensor, at: &Tensor, dims: usize) -> Result<Tensor> {
    let out = Tensor::empty(at.shape(), x.dtype())?;
    let plane = |s: &[usize]| layout::count(&s[s.len() - dims..]);
    let (ip, op) = (plane(x.shape()), plane(at.shape()));
    let dense = x.to_contiguous()?;
    with_float!(x.dtype(), T => {
        let (src, idx) = (dense.slice::<T>()?, at.slice::<i64>()?);
        for (i, o) in out.slice_mut::<T>()?.iter_mut().enumerate() {
            *o = src[i / op.max(1) * ip + idx[i] as usize];
        }
    }, else ());
    let (places, shape) = (at.clone(), Dims::from(x.shape()));
    attach("GatherBackward0", out, &[x], move |_, g| Ok(grads![max_grad(g, &places, &shape, dims)?]))
}

/// The means of the windows.
fn avg_with(x: &Tensor, plan: &Plan, divisor: Divisor) -> Result<Tensor> {
    let out = Tensor::empty(&plan.out_shape(x.shape()), x.dtype())?;
    pool::avg_pool(x.to_contiguous()?.raw(), &plan.windows, out.raw(), divisor)?;
    let (p, shape) = (plan.clone(), Dims::from(x.shape()));
    let name = ["AvgPool1DBackward0", "AvgPool2DBackward0", "AvgPool3DBackward0"][plan.dims - 1];
    attach(name, out, &[x], move |_, g| Ok(grads![avg_grad(g, &p, divisor, &shape)?]))
}

fn avg_grad(g: &Tensor, plan: &Plan, divisor: Divisor, shape: &[usize]) -> Result<Tensor> {
    let out = Tensor::empty(shape, g.dtype())?;
    pool::avg_pool_grad(g.to_contiguous()?.raw(), &plan.windows, out.raw(), divisor)?;
    let p = plan.clone();
    attach("AvgPoolBackwardBackward0", out, &[g], move |_, gg| Ok(grads![avg_with(gg, &p, divisor)?]))
}

/// Maximum pooling of the last `dims` dimensions.
pub fn max_pool(
    x: &Tensor,
    dims: usize,
    k: &[i64],
    s: &[i64],
    p: &[i64],
    d: &[i64],
    ceil: bool,
    indices: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    let name = ["max_pool1d", "max_pool2d", "max_pool3d"][dims - 1];
    let plan = fixed(name, x, dims, k, s, p, d, ceil)?;
    max_with(x, &plan, indices)
}

/// Average pooling of the last `dims` dimensions.
pub fn avg_pool(
    x: &Tensor,
    dims: usize,
    k: &[i64],
    s: &[i64],
    p: &[i64],
    ceil: bool,
    include_pad: bool,
    divisor: Option<i64>,
) -> Result<Tensor> {
    let name = ["avg_pool1d", "avg_pool2d", "avg_pool3d"][dims - 1];
    if divisor == Some(0) {
        return Err(runtime_error!("divisor must be not zero"));
    }
    let plan = fixed(name, x, dims, k, s, p, &[1], ceil)?;
    let divisor = match divisor {
        Some(v) => Divisor::Fixed(v as f64),
        None if include_pad => Divisor::Padded,
        None => Divisor::Covered,
    };
    if !x.dtype().is_float() {
        // Integers: as PyTorch, sums divided toward zero.
        let wide = avg_with(&x.copied_as(rustnn_core::DType::F64)?, &plan, divisor)?;
        return with_number!(x.dtype(), _T => wide.copied_as(x.dtype()), else Err(runtime_error!("\"avg_pool\" not implemented for 'Bool'")));
    }
    avg_with(x, &plan, divisor)
}

/// Average pooling to a given size.
pub fn adaptive_avg_pool(x: &Tensor, dims: usize, out: &[i64]) -> Result<Tensor> {
    let name = ["adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"][dims - 1];
    avg_with(x, &adaptive(name, x, dims, out)?, Divisor::Covered)
}

/// Maximum pooling to a given size.
pub fn adaptive_max_pool(x: &Tensor, dims: usize, out: &[i64]) -> Result<(Tensor, Tensor)> {
    let name = ["adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"][dims - 1];
    let (y, at) = max_with(x, &adaptive(name, x, dims, out)?, true)?;
    Ok((y, at.ok_or_else(|| runtime_error!("{name}: no indices"))?))
}

/// Inverse of maximum pooling: values at their places, zeros elsewhere.
pub fn max_unpool(x: &Tensor, at: &Tensor, dims: usize, size: &[i64]) -> Result<Tensor> {
    if at.dtype() != rustnn_core::DType::I64 {
        return Err(runtime_error!("elements in indices should be type int64 but got: {}", at.dtype().torch_name()));
    }
    if x.shape() != at.shape() {
        return Err(runtime_error!(
            "Expected shape of indices to be same as that of the input tensor ({:?}) but got indices tensor with shape: {:?}",
            x.shape(),
            at.shape()
        ));
    }
    if size.len() != dims || size.iter().any(|&s| s < 0) {
        return Err(runtime_error!("There should be exactly {dims} elements in output_size, but got {}", size.len()));
    }
    if x.ndim() != dims + 1 && x.ndim() != dims + 2 {
        return Err(runtime_error!(
            "Input to max_unpooling{dims}d should be a {}d or {}d Tensor, but got a tensor with {} dims.",
            dims + 1,
            dims + 2,
            x.ndim()
        ));
    }
    let (x, added) = batched(x, dims)?;
    let (at, _) = batched(at, dims)?;
    let mut shape: Dims = x.shape()[..x.ndim() - dims].into();
    shape.extend(size.iter().map(|&s| s as usize));
    let at = at.to_contiguous()?;
    unbatched(max_grad(&x, &at, &shape, dims)?, added)
}

fn call_max(dims: usize, a: &Args) -> Result<Ret> {
    let stride = a.opt_ints(2).unwrap_or(&[]);
    let (y, at) = max_pool(a.tensor(0)?, dims, a.ints(1)?, stride, a.ints(3)?, a.ints(4)?, a.bool(5)?, a.bool(6)?)?;
    match at {
        Some(at) => (y, at).ret(),
        None => y.ret(),
    }
}

fn call_avg(dims: usize, a: &Args) -> Result<Ret> {
    let stride = a.opt_ints(2).unwrap_or(&[]);
    avg_pool(a.tensor(0)?, dims, a.ints(1)?, stride, a.ints(3)?, a.bool(4)?, a.bool(5)?, a.opt_int(6)).ret()
}

pub(crate) fn ops() -> Vec<OpDef> {
    const MAX: &str = "ref_max_pool(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)";
    const AVG: &str =
        "ref_avg_pool(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)";
    const F: u32 = NN | TORCH;
    vec![
        op("max_pool1d(Tensor input, int[1] kernel_size, int[1]? stride=None, int[1] padding=0, int[1] dilation=1, bool ceil_mode=False, bool return_indices=False)", F, |a| call_max(1, a))
            .doc("Largest value of each window of the last dimension.")
            .samples(&["t(2,3,9), 2", "t(2,3,9), 3, stride=2, padding=1, ceil_mode=True", "t(2,3,9), 3, dilation=2, return_indices=True", "t(3,9), 2"])
            .oracle(MAX),
        op("max_pool2d(Tensor input, int[2] kernel_size, int[2]? stride=None, int[2] padding=0, int[2] dilation=1, bool ceil_mode=False, bool return_indices=False)", F, |a| call_max(2, a))
            .doc("Largest value of each window of the last two dimensions; NaN wins. With return_indices also its place in the plane.")
            .samples(&["t(2,3,6,8), 2", "t(2,3,7,9), (3,2), stride=(2,1), padding=(1,0)", "t(2,3,7,9), 3, stride=2, ceil_mode=True, return_indices=True", "t(2,9,9), 3, dilation=2, padding=1"])
            .oracle(MAX),
        op("max_pool3d(Tensor input, int[3] kernel_size, int[3]? stride=None, int[3] padding=0, int[3] dilation=1, bool ceil_mode=False, bool return_indices=False)", F, |a| call_max(3, a))
            .doc("Largest value of each window of the last three dimensions.")
            .samples(&["t(1,2,4,5,6), 2", "t(1,2,5,5,6), (2,3,2), stride=2, padding=1, return_indices=True"])
            .oracle(MAX),
        op("avg_pool1d(Tensor input, int[1] kernel_size, int[1]? stride=None, int[1] padding=0, bool ceil_mode=False, bool count_include_pad=True)", F, |a| call_avg(1, a))
            .doc("Mean of each window of the last dimension.")
            .samples(&["t(2,3,9), 2", "t(2,3,9), 3, stride=2, padding=1, ceil_mode=True, count_include_pad=False", "t(3,9), 3, stride=1"])
            .oracle("ref_avg_pool(input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)"),
        op("avg_pool2d(Tensor input, int[2] kernel_size, int[2]? stride=None, int[2] padding=0, bool ceil_mode=False, bool count_include_pad=True, int? divisor_override=None)", F, |a| call_avg(2, a))
            .doc("Mean of each window of the last two dimensions.")
            .samples(&["t(2,3,6,8), 2", "t(2,3,7,9), (3,2), stride=(2,1), padding=(1,0)", "t(2,7,8), 3, padding=1, ceil_mode=True, count_include_pad=False", "t(2,3,6,6), 3, divisor_override=4"])
            .oracle(AVG),
        op("avg_pool3d(Tensor input, int[3] kernel_size, int[3]? stride=None, int[3] padding=0, bool ceil_mode=False, bool count_include_pad=True, int? divisor_override=None)", F, |a| call_avg(3, a))
            .doc("Mean of each window of the last three dimensions.")
            .samples(&["t(1,2,4,5,6), 2", "t(1,2,5,5,6), 3, stride=2, padding=1"])
            .oracle(AVG),
        op("adaptive_avg_pool1d(Tensor input, int[1] output_size)", F, |a| adaptive_avg_pool(a.tensor(0)?, 1, a.ints(1)?).ret())
            .doc("Mean over as many windows of the last dimension as asked for.")
            .samples(&["t(2,3,7), 3", "t(3,4), 6"])
            .oracle("ref_adaptive(input, output_size, np.mean)"),
        op("_adaptive_avg_pool2d(Tensor input, int[2] output_size)", PRIVATE | TORCH, |a| adaptive_avg_pool(a.tensor(0)?, 2, a.ints(1)?).ret())
            .doc("Mean over as many windows of the last two dimensions as asked for.")
            .samples(&["t(2,3,7,5), 3", "t(3,4,6), (1,1)", "t(1,2,3,3), (5,2)"])
            .oracle("ref_adaptive(input, output_size, np.mean)"),
        op("_adaptive_avg_pool3d(Tensor input, int[3] output_size)", PRIVATE | TORCH, |a| adaptive_avg_pool(a.tensor(0)?, 3, a.ints(1)?).ret())
            .doc("Mean over as many windows of the last three dimensions as asked for.")
            .samples(&["t(1,2,4,5,6), (2,3,1)"])
            .oracle("ref_adaptive(input, output_size, np.mean)"),
        op("adaptive_max_pool1d(Tensor input, int[1] output_size, bool return_indices=False)", NN, |a| {
            let (y, at) = adaptive_max_pool(a.tensor(0)?, 1, a.ints(1)?)?;
            if a.bool(2)? { (y, at).ret() } else { y.ret() }
        })
        .doc("Largest value of as many windows of the last dimension as asked for.")
        .samples(&["t(2,3,7), 3"])
        .oracle("ref_adaptive(input, output_size, np.max)"),
        op("adaptive_max_pool1d(Tensor input, int[1] output_size)", TORCH, |a| adaptive_max_pool(a.tensor(0)?, 1, a.ints(1)?).ret())
            .doc("Largest value, and its place, of as many windows of the last dimension as asked for.")
            .samples(&["t(2,3,7), 3"])
            .oracle("(ref_adaptive(input, output_size, np.max), ref_adaptive_places(input, output_size))"),
        op("_adaptive_max_pool2d(Tensor input, int[2] output_size)", PRIVATE, |a| adaptive_max_pool(a.tensor(0)?, 2, a.ints(1)?).ret())
            .doc("Largest value, and its place, of as many windows of the last two dimensions as asked for.")
            .samples(&["t(2,3,7,5), 3", "t(3,4,6), (1,1)"])
            .oracle("(ref_adaptive(input, output_size, np.max), ref_adaptive_places(input, output_size))"),
        op("_adaptive_max_pool3d(Tensor input, int[3] output_size)", PRIVATE, |a| adaptive_max_pool(a.tensor(0)?, 3, a.ints(1)?).ret())
            .doc("Largest value, and its place, of as many windows of the last three dimensions as asked for.")
            .samples(&["t(1,2,4,5,6), (2,3,1)"])
            .oracle("(ref_adaptive(input, output_size, np.max), ref_adaptive_places(input, output_size))"),
        op("_max_unpool(Tensor input, Tensor indices, int dims, int[] output_size)", PRIVATE, |a| {
            max_unpool(a.tensor(0)?, a.tensor(1)?, a.int(2)?.clamp(1, 3) as usize, a.ints(3)?).ret()
        })
        .doc("Values at their places in planes of the given size, zeros elsewhere.")
        .samples(&["t(2,3,1), i(2,3,1, lo=0, hi=4), 1, [4]"])
        .oracle("ref_unpool(input, indices, dims, output_size)"),
    ]
}
