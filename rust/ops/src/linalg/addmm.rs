//! Products added to something: `addmm`, `addmv`, `baddbmm`, `addbmm`, `addr`, and `linear`.

use super::glue::{add, expand, mt, permute, reshape, scale};
use super::matmul::{check_bmm, matmul, mismatch, outer, product, same_dtype};
use crate::args::{Args, IntoRet};
use crate::pointwise::compare::{logical_and, logical_or};
use crate::registry::{INPLACE, METHOD, NN, OUT, OpDef, TORCH, op};
use rustnn_core::base::layout;
use rustnn_core::base::runtime_error;
use rustnn_core::{DType, Dims, Result, Tensor, attach, grads, needs_grad, save};
use rustnn_kernels::copy;
use rustnn_kernels::gemm::{self, Epilogue};

fn same(a: &Tensor, b: &Tensor, names: (&str, &str)) -> Result<()> {
    if a.dtype() != b.dtype() {
        return Err(runtime_error!(
            "{} and {} must have the same dtype, but got {} and {}",
            names.0,
            names.1,
            a.dtype().torch_name(),
            b.dtype().torch_name()
        )
        .hint("NumPy makes float64 by default: .float() makes float32"));
    }
    Ok(())
}

/// `beta * input + alpha * a @ b`, `input` broadcast.
pub(crate) fn add_product(input: &Tensor, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Result<Tensor> {
    same(input, b, ("self", "mat2"))?;
    same(a, b, ("mat1", "mat2"))?;
    same_dtype(a, b)?;
    let n = a.ndim();
    let mut shape = Dims::from_slice(a.shape());
    shape[n - 1] = b.shape()[n - 1];
    let wide = input.layout().expand(&shape)?;
    let out = Tensor::empty(&shape, a.dtype())?;
    let cols = shape[n - 1];
    let bias = beta == 1.0 && alpha == 1.0 && input.shape() == [cols] && input.is_contiguous();
    let ep = if bias {
        Epilogue { bias: Some(input.raw()), ..Epilogue::default() }
    } else {
        if beta != 0.0 {
            copy::copy(&out.raw(), &input.view_of(wide).raw())?;
        }
        Epilogue { alpha, beta, bias: None }
    };
    gemm::matmul(a.raw(), b.raw_kept(n == 2 && b.constant()), out.raw(), &ep)?;
    let (sa, sb) = (save(a), save(b));
    let name = if n == 2 { "AddmmBackward0" } else { "BaddbmmBackward0" };
    attach(name, out, &[input, a, b], move |c, g| {
        Ok(grads![c;
            0 => scale(g, beta)?,
            1 => product(g, &mt(&sb.get(c)?)?, alpha)?,
            2 => product(&mt(&sa.get(c)?)?, g, alpha)?,
        ])
    })
}

/// `beta * input + alpha * mat1 @ mat2`.
pub fn addmm(input: &Tensor, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Result<Tensor> {
    for (t, name) in [(a, "mat1"), (b, "mat2")] {
        if t.ndim() != 2 {
            return Err(runtime_error!("{name} must be a matrix, got {}-D tensor", t.ndim()));
        }
    }
    if a.shape()[1] != b.shape()[0] {
        return Err(mismatch(a.shape(), b.shape()));
    }
    add_product(input, a, b, beta, alpha)
}

/// `beta * input + alpha * mat @ vec`.
pub fn addmv(input: &Tensor, m: &Tensor, v: &Tensor, beta: f64, alpha: f64) -> Result<Tensor> {
    if m.ndim() != 2 || v.ndim() != 1 || input.ndim() > 1 {
        return Err(runtime_error!(
            "vector + matrix @ vector expected, got {}, {}, {}",
            input.ndim(),
            m.ndim(),
            v.ndim()
        ));
    }
    let (sm, n) = (m.shape(), v.shape()[0]);
    if sm[1] != n {
        return Err(runtime_error!(
            "size mismatch, got input ({}), mat ({}x{}), vec ({n})",
            input.numel(),
            sm[0],
            sm[1]
        ));
    }
    let input = reshape(&expand(input, &[sm[0]])?, &[sm[0], 1])?;
    reshape(&add_product(&input, m, &reshape(v, &[n, 1])?, beta, alpha)?, &[sm[0]])
}

/// `beta * input + alpha * batch1 @ batch2`.
pub fn baddbmm(input: &Tensor, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Result<Tensor> {
    check_bmm(a, b)?;
    add_product(input, a, b, beta, alpha)
}

/// `beta * input + alpha * sum over the batch of batch1 @ batch2`: one product with the batch along the sum.
pub fn addbmm(input: &Tensor, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Result<Tensor> {
    check_bmm(a, b)?;
    let (sa, sb) = (a.shape(), b.shape());
    let wide = reshape(&permute(a, &[1, 0, 2])?, &[sa[1], sa[0] * sa[2]])?;
    add_product(input, &wide, &reshape(b, &[sb[0] * sb[1], sb[2]])?, beta, alpha)
}

/// `beta * input + alpha * outer(vec1, vec2)`.
pub fn addr(input: &Tensor, x: &Tensor, y: &Tensor, beta: f64, alpha: f64) -> Result<Tensor> {
    if x.ndim() != 1 || y.ndim() != 1 {
        return Err(runtime_error!(
            "addr: Expected 1-D argument vec1 and vec2, but got {}-D and {}-D",
            x.ndim(),
            y.ndim()
        ));
    }
    if input.dtype() == DType::Bool && x.dtype() == DType::Bool && y.dtype() == DType::Bool {
        let shape = [x.numel(), y.numel()];
        let on = |t: &Tensor, factor: f64| -> Result<Tensor> {
            logical_and(t, &Tensor::scalar((factor != 0.0).into(), DType::Bool)?)
        };
        return logical_or(&on(&expand(input, &shape)?, beta)?, &on(&outer(x, y)?, alpha)?);
    }
    add_product(input, &reshape(x, &[x.numel(), 1])?, &reshape(y, &[1, y.numel()])?, beta, alpha)
}

/// `input @ weight.T + bias` over the last dimension.
pub fn linear(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if input.ndim() == 0 || weight.ndim() == 0 || weight.ndim() > 2 {
        return Err(runtime_error!(
            "linear(): both arguments need to be at least 1D, but they are {}D and {}D",
            input.ndim(),
            weight.ndim()
        ));
    }
    if weight.ndim() == 1 {
        let out = matmul(input, weight)?;
        return match bias {
            Some(b) => add(&out, b),
            None => Ok(out),
        };
    }
    match bias {
        Some(b) => {
            same(input, weight, ("mat1", "mat2"))?;
            same(b, weight, ("self", "mat2"))?;
        }
        None => same_dtype(input, weight)?,
    }
    same_dtype(input, weight)?;
    let (si, sw) = (input.shape(), weight.shape());
    let k = si[si.len() - 1];
    let rows: usize = layout::count(&si[..si.len() - 1]);
    if k != sw[1] {
        let mut e = mismatch(&[rows, k], &[sw[1], sw[0]]);
        let mut size = 1usize;
        let last = (1..si.len()).rev().find(|&d| {
            size = size.saturating_mul(si[d]);
            d < si.len() - 1 && size == sw[1]
        });
        if let Some(d) = last {
            e = e.hint(format!(
                "the input is {si:?}, whose last {} dimensions hold {}: flatten({d}) is missing",
                si.len() - d,
                sw[1]
            ));
        } else {
            e = e.hint(format!("the input is {si:?}, the weight {sw:?} takes a last dimension of {}", sw[1]));
        }
        return Err(e);
    }
    if let Some(b) = bias {
        if b.ndim() > 1 || (b.numel() != sw[0] && b.numel() != 1) {
            return Err(runtime_error!(
                "The expanded size of the tensor ({}) must match the existing size ({}) at non-singleton dimension 1.  Target sizes: {:?}.  Tensor sizes: {:?}",
                sw[0],
                b.numel(),
                [rows, sw[0]],
                b.shape()
            ));
        }
    }
    // Two dimensions, which most calls have, need no views of anything.
    let flat = match si.len() {
        2 => input.clone(),
        _ => match input.layout().view(&[rows, k]) {
            Some(l) => input.view_of(l),
            None => input.to_contiguous()?.view_of(rustnn_core::Layout::contiguous(&[rows, k])),
        },
    };
    let mut shape = Dims::from_slice(si);
    shape[si.len() - 1] = sw[0];
    let out = Tensor::empty(&shape, input.dtype())?;
    let target = if si.len() == 2 { out.clone() } else { out.view_of(rustnn_core::Layout::contiguous(&[rows, sw[0]])) };
    let vector = match bias {
        Some(b) if b.shape() == &sw[..1] => Some(b.to_contiguous()?),
        Some(b) => Some(b.view_of(b.layout().expand(&sw[..1])?).to_contiguous()?),
        None => None,
    };
    let ep = Epilogue { bias: vector.as_ref().map(Tensor::raw), ..Epilogue::default() };
    let mut dims = Default::default();
    gemm::matmul(flat.raw(), weight.raw_kept(weight.constant()).swapped(&mut dims), target.raw(), &ep)?;
    drop(target);
    if !needs_grad(&[input, weight]) && !bias.is_some_and(|b| needs_grad(&[b])) {
        return Ok(out);
    }
    let (sx, sw_) = (save(input), save(weight));
    let n = sw[0];
    let in_shape = Dims::from_slice(si);
    let backward = move |c: &rustnn_core::Ctx<'_>, g: &Tensor| {
        let g2 = reshape(g, &[rows, n])?;
        Ok(grads![c;
            0 => reshape(&product(&g2, &sw_.get(c)?, 1.0)?, &in_shape)?,
            1 => product(&mt(&g2)?, &reshape(&sx.get(c)?, &[rows, k])?, 1.0)?,
            2 => g2.clone(),
        ])
    };
    match bias {
        Some(b) => attach("AddmmBackward0", out, &[input, weight, b], backward),
        None => attach("LinearBackward0", out, &[input, weight], backward),
    }
}

/// `out[.., o] = x1[.., i] weight[o, i, j] x2[.., j] + bias[o]`.
pub fn bilinear(x1: &Tensor, x2: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (s1, s2, sw) = (x1.shape(), x2.shape(), weight.shape());
    if s1.len() != s2.len() || s1.is_empty() || sw.len() != 3 {
        return Err(runtime_error!("bilinear(): input dimensions do not match: got {} and {}", s1.len(), s2.len()));
    }
    let d = s1.len() - 1;
    for i in 0..d {
        if s1[i] != s2[i] {
            return Err(runtime_error!(
                "bilinear(): input batch dimensions do not match at dim {i}: got {} and {}",
                s1[i],
                s2[i]
            ));
        }
    }
    for (name, have, want) in [("input1", s1[d], sw[1]), ("input2", s2[d], sw[2])] {
        if have != want {
            return Err(runtime_error!(
                "bilinear(): {name} size does not match weight size: got {have} but expected {want}"
            ));
        }
    }
    let rows: usize = layout::count(&s1[..d]);
    let (o, i, j) = (sw[0], sw[1], sw[2]);
    // [rows, i] x [i, o * j], then each row's [o, j] with its x2.
    let w = reshape(&permute(weight, &[1, 0, 2])?, &[i, o * j])?;
    let half = reshape(&product(&reshape(x1, &[rows, i])?, &w, 1.0)?, &[rows, o, j])?;
    let out = product(&half, &reshape(x2, &[rows, j, 1])?, 1.0)?;
    let out = reshape(&out, &[rows, o])?;
    let mut shape: Dims = s1[..d].into();
    shape.push(o);
    let out = match bias {
        Some(b) => add(&out, b)?,
        None => out,
    };
    reshape(&out, &shape)
}

type Form = fn(&Tensor, &Tensor, &Tensor, f64, f64) -> Result<Tensor>;

fn call(f: Form, a: &Args) -> Result<crate::args::Ret> {
    f(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.float(3)?, a.float(4)?).ret()
}

pub(crate) fn ops() -> Vec<OpDef> {
    const F: u32 = METHOD | TORCH | INPLACE | OUT;
    vec![
        op("addmm(Tensor input, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar alpha=1)", F, |a| call(addmm, a))
            .doc("`beta * input + alpha * mat1 @ mat2`; input broadcasts, and is not read if beta is 0.")
            .samples(&[
                "t(3,5), t(3,4), t(4,5)",
                "t(5), t(3,4), t(4,5), beta=0.5, alpha=2",
                "t(3,1), t(3,4), t(4,5)",
                "t(5), t(3,4), t(4,5)",
            ])
            .oracle("beta * input + alpha * np.einsum('ij,jk->ik', mat1, mat2)"),
        op("addmv(Tensor input, Tensor mat, Tensor vec, *, Scalar beta=1, Scalar alpha=1)", F, |a| call(addmv, a))
            .doc("`beta * input + alpha * mat @ vec`.")
            .samples(&["t(3), t(3,4), t(4)", "t(3), t(3,4), t(4), beta=0.5, alpha=2", "t(1), t(3,4), t(4)"])
            .oracle("beta * input + alpha * np.einsum('ij,j->i', mat, vec)"),
        op("baddbmm(Tensor input, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1)", F, |a| {
            call(baddbmm, a)
        })
        .doc("`beta * input + alpha * batch1 @ batch2` for batches of matrices.")
        .samples(&["t(2,3,5), t(2,3,4), t(2,4,5)", "t(5), t(2,3,4), t(2,4,5), beta=0.5, alpha=2"])
        .oracle("beta * input + alpha * np.einsum('bij,bjk->bik', batch1, batch2)"),
        op("addbmm(Tensor input, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1)", F, |a| {
            call(addbmm, a)
        })
        .doc("`beta * input + alpha *` the sum over the batch of `batch1 @ batch2`.")
        .samples(&["t(3,5), t(2,3,4), t(2,4,5)", "t(3,5), t(2,3,4), t(2,4,5), beta=0.5, alpha=2"])
        .oracle("beta * input + alpha * np.einsum('bij,bjk->ik', batch1, batch2)"),
        op("addr(Tensor input, Tensor vec1, Tensor vec2, *, Scalar beta=1, Scalar alpha=1)", F, |a| call(addr, a))
            .doc("`beta * input + alpha *` the outer product of two vectors.")
            .samples(&["t(3,4), t(3), t(4)", "t(4), t(3), t(4), beta=0.5, alpha=2"])
            .oracle("beta * input + alpha * np.multiply.outer(vec1, vec2)"),
        op("linear(Tensor input, Tensor weight, Tensor? bias=None)", NN, |a| {
            linear(a.tensor(0)?, a.tensor(1)?, a.opt_tensor(2)).ret()
        })
        .doc("`input @ weight.T + bias` over the last dimension of input; weight is [out, in].")
        .samples(&[
            "t(3,4), t(5,4)",
            "t(3,4), t(5,4), t(5)",
            "t(2,3,4), t(5,4), t(5)",
            "t(4), t(5,4), t(5)",
            "t(0,4), t(5,4), t(5)",
            "t(3,2,4).transpose(0,1), t(5,4)",
        ])
        .oracle("np.einsum('...i,oi->...o', input, weight) + (0 if bias is None else bias)"),
        op("bilinear(Tensor input1, Tensor input2, Tensor weight, Tensor? bias=None)", NN | TORCH, |a| {
            bilinear(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.opt_tensor(3)).ret()
        })
        .doc("`input1 weight[o] input2 + bias[o]` for each output o; weight is [out, in1, in2].")
        .samples(&["t(3,4), t(3,2), t(5,4,2), t(5)", "t(2,3,4), t(2,3,2), t(5,4,2)"])
        .oracle("np.einsum('...i,oij,...j->...o', input1, weight, input2) + (0 if bias is None else bias)"),
    ]
}
