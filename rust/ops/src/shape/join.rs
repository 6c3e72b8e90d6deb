//! Tensors joined: cat, stack and their relatives.

use super::view::reshape_to;
use crate::args::IntoRet;
use crate::registry::{OUT, OpDef, TORCH, op};
use rustnn_core::base::layout;
use rustnn_core::base::layout::wrap_dim;
use rustnn_core::base::{DType, runtime_error, value_error};
use rustnn_core::{Dims, Layout, Result, Strides, Tensor, attach, needs_grad};
use rustnn_kernels::{copy, index as kernel};

/// The dtype that several tensors promote to.
pub(crate) fn common_dtype(tensors: &[Tensor]) -> DType {
    use rustnn_core::base::dtype::{Operand, result_type};
    let first = tensors.first().map_or(DType::F32, Tensor::dtype);
    if tensors.iter().all(|t| t.dtype() == first) {
        return first;
    }
    let operands = tensors
        .iter()
        .map(|t| if t.ndim() == 0 { Operand::ZeroDim(t.dtype()) } else { Operand::Dimensioned(t.dtype()) });
    result_type(operands, rustnn_core::mode::default_dtype())
}

/// Tensors one after the other along `dim`. Empty vectors are left out, as PyTorch does.
pub fn cat(tensors: &[Tensor], dim: i64) -> Result<Tensor> {
    if tensors.is_empty() {
        return Err(value_error!("torch.cat(): expected a non-empty list of Tensors"));
    }
    if let Some(p) = tensors.iter().position(|t| t.ndim() == 0) {
        return Err(runtime_error!("zero-dimensional tensor (at position {p}) cannot be concatenated")
            .hint("torch.stack joins scalars"));
    }
    let dtype = common_dtype(tensors);
    let skip = |t: &Tensor| t.ndim() == 1 && t.shape()[0] == 0;
    let Some(lead) = tensors.iter().find(|t| !skip(t)) else {
        wrap_dim(dim, 1)?;
        return Tensor::empty(&[0], dtype);
    };
    let d = wrap_dim(dim, lead.ndim())?;
    let mut total = 0usize;
    for (i, t) in tensors.iter().enumerate().filter(|(_, t)| !skip(t)) {
        if t.ndim() != lead.ndim() {
            return Err(runtime_error!(
                "Tensors must have same number of dimensions: got {} and {}",
                lead.ndim(),
                t.ndim()
            )
            .hint(format!(
                "tensor number {i} has shape {:?}, an earlier one {:?}",
                t.shape(),
                lead.shape()
            )));
        }
        if let Some(k) = (0..t.ndim()).find(|&k| k != d && t.shape()[k] != lead.shape()[k]) {
            return Err(runtime_error!(
                "Sizes of tensors must match except in dimension {d}. Expected size {} but got size {} for tensor number {i} in the list.",
                lead.shape()[k], t.shape()[k]
            )
            .hint(format!("it has shape {:?}, the first {:?}", t.shape(), lead.shape())));
        }
        total = usize::checked_add(total, t.shape()[d])
            .filter(|&n| isize::try_from(n).is_ok())
            .ok_or_else(|| runtime_error!("cat: the sizes along dimension {d} overflow"))?;
    }
    let mut shape = Dims::from_slice(lead.shape());
    shape[d] = total;
    let out = Tensor::empty_strided(&shape, &cat_strides(tensors, &shape), dtype)?;
    let inner: usize = layout::count(&shape[d + 1..]);
    let mut at = 0;
    // An empty result's other dimensions may be of any size: nothing is computed of them.
    let parts = if out.numel() > 0 { tensors } else { &[] };
    for t in parts.iter().filter(|t| !skip(t)) {
        let n = t.shape()[d];
        if out.is_contiguous() && t.is_contiguous() && t.dtype() == dtype {
            kernel::copy_block(out.raw(), t.raw(), n * inner, at * inner, total * inner)?;
        } else if n > 0 {
            copy::copy(&out.view_of(out.layout().slice(d, at, n, 1)).raw(), &t.raw())?;
        }
        at += n;
    }
    let inputs: Vec<&Tensor> = tensors.iter().collect();
    if !needs_grad(&inputs) {
        return Ok(out);
    }
    let sizes: Vec<Option<usize>> = tensors.iter().map(|t| (!skip(t)).then(|| t.shape()[d])).collect();
    attach("CatBackward0", out, &inputs, move |c, g| {
        let mut at = 0;
        let mut out = rustnn_core::Grads::new();
        for (i, n) in sizes.iter().enumerate() {
            let n = n.unwrap_or(0);
            out.push(if c.wants(i) && sizes[i].is_some() { Some(super::select::slice(g, d, at, n, 1)?) } else { None });
            at += n;
        }
        Ok(out)
    })
}

/// Row-major, but channels last when all operands lie so.
fn cat_strides(tensors: &[Tensor], shape: &[usize]) -> Strides {
    let plain = rustnn_core::base::layout::contiguous_strides(shape);
    if shape.len() != 4 {
        return plain;
    }
    let last = |t: &Tensor| {
        let s = t.strides();
        t.ndim() == 4
            && !t.is_contiguous()
            && s[1] == 1
            && s[3] == t.shape()[1] as isize
            && s[2] == s[3] * t.shape()[3] as isize
            && s[0] == s[2] * t.shape()[2] as isize
    };
    if !tensors.iter().all(last) {
        return plain;
    }
    let (c, h, w) = (shape[1] as isize, shape[2] as isize, shape[3] as isize);
    Strides::from_slice(&[c * h * w, 1, w * c, c])
}

/// Equal tensors along a new dimension.
pub fn stack(tensors: &[Tensor], dim: i64) -> Result<Tensor> {
    let Some(first) = tensors.first() else {
        return Err(runtime_error!("stack expects a non-empty TensorList"));
    };
    if let Some((i, t)) = tensors.iter().enumerate().find(|(_, t)| t.shape() != first.shape()) {
        return Err(runtime_error!(
            "stack expects each tensor to be equal size, but got {:?} at entry 0 and {:?} at entry {i}",
            first.shape(),
            t.shape()
        ));
    }
    let d = wrap_dim(dim, first.ndim() + 1)?;
    let mut shape = Dims::from_slice(first.shape());
    shape.insert(d, tensors.len());
    let dtype = common_dtype(tensors);
    let out = Tensor::empty(&shape, dtype)?;
    let inner: usize = layout::count(&shape[d + 1..]);
    let parts = if out.numel() > 0 { tensors } else { &[] };
    for (i, t) in parts.iter().enumerate() {
        if t.is_contiguous() && t.dtype() == dtype {
            kernel::copy_block(out.raw(), t.raw(), inner, i * inner, tensors.len() * inner)?;
        } else {
            copy::copy(&out.view_of(out.layout().select(d, i)).raw(), &t.raw())?;
        }
    }
    let inputs: Vec<&Tensor> = tensors.iter().collect();
    if !needs_grad(&inputs) {
        return Ok(out);
    }
    attach("StackBackward0", out, &inputs, move |c, g| {
        (0..g.shape()[d])
            .map(|i| c.wants(i).then(|| super::select::select(g, d as i64, i as i64)).transpose())
            .collect()
    })
}

/// At least `n` dimensions (1 to 3), as NumPy places the new ones.
pub fn atleast(x: &Tensor, n: usize) -> Result<Tensor> {
    let s = x.shape();
    let shape: Dims = match (x.ndim(), n) {
        (0, _) => (0..n).map(|_| 1).collect(),
        (1, 2) => Dims::from_slice(&[1, s[0]]),
        (1, 3) => Dims::from_slice(&[1, s[0], 1]),
        (2, 3) => Dims::from_slice(&[s[0], s[1], 1]),
        _ => return Ok(x.clone()),
    };
    reshape_to(x, &shape)
}

fn joined(tensors: &[Tensor], least: usize, dim: impl Fn(&Tensor) -> i64, name: &str) -> Result<Tensor> {
    if tensors.is_empty() {
        return Err(runtime_error!("{name} expects a non-empty TensorList"));
    }
    let all = tensors.iter().map(|t| atleast(t, least)).collect::<Result<Vec<_>>>()?;
    cat(&all, dim(&all[0]))
}

/// Along dimension 1 (0 for vectors).
pub fn hstack(tensors: &[Tensor]) -> Result<Tensor> {
    joined(tensors, 1, |t| i64::from(t.ndim() > 1), "hstack")
}

/// Along dimension 0, vectors as rows.
pub fn vstack(tensors: &[Tensor]) -> Result<Tensor> {
    joined(tensors, 2, |_| 0, "vstack")
}

/// Along dimension 2.
pub fn dstack(tensors: &[Tensor]) -> Result<Tensor> {
    joined(tensors, 3, |_| 2, "dstack")
}

/// Along dimension 1, vectors as columns.
pub fn column_stack(tensors: &[Tensor]) -> Result<Tensor> {
    let all = tensors.iter().map(|t| if t.ndim() <= 1 { reshape_to(t, &[t.numel(), 1]) } else { Ok(t.clone()) });
    hstack(&all.collect::<Result<Vec<_>>>()?)
}

/// Matrices along the diagonal of a larger one.
pub fn block_diag(tensors: &[Tensor]) -> Result<Tensor> {
    if tensors.is_empty() {
        return Tensor::empty(&[1, 0], rustnn_core::mode::default_dtype());
    }
    if let Some((i, t)) = tensors.iter().enumerate().find(|(_, t)| t.ndim() > 2) {
        return Err(runtime_error!(
            "torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {} dimensions",
            t.ndim()
        ));
    }
    let all = tensors.iter().map(|t| atleast(t, 2)).collect::<Result<Vec<_>>>()?;
    let sizes: Vec<(usize, usize)> = all.iter().map(|t| (t.shape()[0], t.shape()[1])).collect();
    let out = Tensor::zeros(&[sizes.iter().map(|s| s.0).sum(), sizes.iter().map(|s| s.1).sum()], common_dtype(&all))?;
    let (mut r, mut c) = (0, 0);
    let mut corners = Vec::new();
    for (t, &(m, n)) in all.iter().zip(&sizes) {
        copy::copy(&out.view_of(block(out.layout(), r, c, m, n)).raw(), &t.raw())?;
        corners.push((r, c, m, n));
        (r, c) = (r + m, c + n);
    }
    let inputs: Vec<&Tensor> = all.iter().collect();
    attach("BlockDiagBackward0", out, &inputs, move |ctx, g| {
        corners
            .iter()
            .enumerate()
            .map(|(i, &(r, c, m, n))| {
                let rule = move |l: &Layout| block(l, r, c, m, n);
                ctx.wants(i).then(|| super::part("SliceBackward0", g, rule)).transpose()
            })
            .collect()
    })
}

fn block(l: &Layout, r: usize, c: usize, m: usize, n: usize) -> Layout {
    let r = if m == 0 { 0 } else { r };
    let c = if n == 0 { 0 } else { c };
    l.slice(0, r, m, 1).slice(1, c, n, 1)
}

pub(crate) fn ops() -> Vec<OpDef> {
    macro_rules! joiner {
        ($sig:literal, $f:ident, $doc:literal, $samples:expr, $oracle:literal) => {
            op($sig, TORCH | OUT, |a| $f(a.tensors(0)?).ret()).doc($doc).samples($samples).oracle($oracle)
        };
    }
    macro_rules! concat {
        ($sig:literal) => {
            op($sig, TORCH | OUT, |a| cat(a.tensors(0)?, a.int(1)?).ret())
                .doc("Tensors of equal shape but for dim, one after the other along it.")
                .samples(&["[t(2,3), t(1,3)]", "[t(2,3), t(2,1), t(2,0)], 1", "[t(0), t(2)]", "(t(2,2), t(2,2)), -1"])
                .oracle("np.concatenate([np.asarray(x) for x in tensors], axis=dim)")
        };
    }
    let mut v = vec![
        concat!("cat(Tensor[] tensors, int dim=0)"),
        concat!("concat(Tensor[] tensors, int dim=0)"),
        concat!("concatenate(Tensor[] tensors, int dim=0)"),
        op("stack(Tensor[] tensors, int dim=0)", TORCH | OUT, |a| stack(a.tensors(0)?, a.int(1)?).ret())
            .doc("Tensors of equal shape along a new dimension.")
            .samples(&["[t(2,3), t(2,3)]", "[t(), t()]", "[t(2,3), t(2,3)], -1"])
            .oracle("np.stack([np.asarray(x) for x in tensors], axis=dim)"),
        joiner!(
            "hstack(Tensor[] tensors)",
            hstack,
            "Joined along dimension 1 (0 for vectors).",
            &["[t(2), t(3)]", "[t(2,1), t(2,2)]"],
            "np.hstack([np.asarray(x) for x in tensors])"
        ),
        joiner!(
            "vstack(Tensor[] tensors)",
            vstack,
            "Joined along dimension 0, vectors as rows.",
            &["[t(2), t(2)]", "[t(1,2), t(2,2)]"],
            "np.vstack([np.asarray(x) for x in tensors])"
        ),
        joiner!(
            "row_stack(Tensor[] tensors)",
            vstack,
            "vstack under another name.",
            &["[t(2), t(2)]"],
            "np.vstack([np.asarray(x) for x in tensors])"
        ),
        joiner!(
            "dstack(Tensor[] tensors)",
            dstack,
            "Joined along dimension 2.",
            &["[t(2), t(2)]", "[t(1,2), t(1,2)]"],
            "np.dstack([np.asarray(x) for x in tensors])"
        ),
        joiner!(
            "column_stack(Tensor[] tensors)",
            column_stack,
            "Joined along dimension 1, vectors as columns.",
            &["[t(2), t(2,2)]"],
            "np.column_stack([np.asarray(x) for x in tensors])"
        ),
        op("block_diag(Tensor[]... tensors)", TORCH, |a| block_diag(a.tensors(0)?).ret())
            .doc("Matrices along the diagonal of a larger one.")
            .samples(&["t(2,3), t(1,2)", "t(2), t()"])
            .oracle("scipy.linalg.block_diag(*[np.asarray(x) for x in tensors])"),
    ];
    macro_rules! least {
        ($($n:literal, $one:literal, $many:literal, $oracle:literal);*) => {$(
            v.push(op($one, TORCH, |a| atleast(a.tensor(0)?, $n).ret())
                .doc("The tensor with dimensions of size 1 added until there are enough.")
                .samples(&["t()", "t(3)", "t(2,3)"]).oracle($oracle));
            v.push(op($many, TORCH, |a| {
                Ok(crate::Ret::Tuple(a.tensors(0)?.iter().map(|t| atleast(t, $n)).collect::<Result<_>>()?))
            }));
        )*};
    }
    least!(1, "atleast_1d(Tensor input)", "atleast_1d(Tensor[]... tensors)", "np.atleast_1d(input)";
           2, "atleast_2d(Tensor input)", "atleast_2d(Tensor[]... tensors)", "np.atleast_2d(input)";
           3, "atleast_3d(Tensor input)", "atleast_3d(Tensor[]... tensors)", "np.atleast_3d(input)");
    v
}
