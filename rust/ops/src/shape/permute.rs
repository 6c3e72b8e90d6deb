//! Dimensions in another order: views.

use crate::args::IntoRet;
use crate::registry::{METHOD, OpDef, TORCH, op};
use rustnn_core::base::layout::wrap_dim;
use rustnn_core::base::runtime_error;
use rustnn_core::{Dims, Result, Tensor, attach_view, grads};

/// Dimensions `a` and `b` exchanged.
pub fn transpose(x: &Tensor, a: i64, b: i64) -> Result<Tensor> {
    let (i, j) = (wrap_dim(a, x.ndim())?, wrap_dim(b, x.ndim())?);
    let l = if x.ndim() == 0 { x.layout().clone() } else { x.layout().transpose(i, j) };
    attach_view("TransposeBackward0", x.view_of(l), x, move |_, g| Ok(grads![transpose(g, i as i64, j as i64)?]))
}

/// The transpose of a matrix; vectors and scalars as they are.
pub fn t(x: &Tensor) -> Result<Tensor> {
    match x.ndim() {
        2 => attach_view("TBackward0", x.view_of(x.layout().transpose(0, 1)), x, |_, g| Ok(grads![t(g)?])),
        0 | 1 => super::view::alias(x),
        n => Err(runtime_error!("t() expects a tensor with <= 2 dimensions, but self is {n}D")),
    }
}

/// Dimensions in the order given.
pub fn permute(x: &Tensor, dims: &[i64]) -> Result<Tensor> {
    if dims.len() != x.ndim() {
        return Err(runtime_error!(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired ordering of dimensions i.e. input.dim() = {} is not equal to len(dims) = {}",
            x.ndim(),
            dims.len()
        ));
    }
    let mut order = Dims::new();
    for &d in dims {
        let d = wrap_dim(d, x.ndim())?;
        if order.contains(&d) {
            return Err(runtime_error!("permute(): duplicate dims are not allowed."));
        }
        order.push(d);
    }
    permuted(x, order)
}

fn permuted(x: &Tensor, order: Dims) -> Result<Tensor> {
    let out = x.view_of(x.layout().permute(&order));
    attach_view("PermuteBackward0", out, x, move |_, g| {
        let mut back: Dims = order.iter().map(|_| 0).collect();
        for (i, &d) in order.iter().enumerate() {
            back[d] = i;
        }
        Ok(grads![permuted(g, back)?])
    })
}

/// Dimensions moved to other places, the rest in order.
pub fn movedim(x: &Tensor, source: &[i64], destination: &[i64]) -> Result<Tensor> {
    if source.len() != destination.len() {
        return Err(runtime_error!(
            "movedim: Invalid source or destination dims: source ({source:?} dims) should contain the same number of dims as destination ({destination:?} dims)"
        ));
    }
    let unique = |dims: &[i64], what: &str| -> Result<Dims> {
        let mut out = Dims::new();
        for &d in dims {
            let d = wrap_dim(d, x.ndim())?;
            if out.contains(&d) {
                return Err(runtime_error!("movedim: repeated dim in `{what}` ({dims:?})"));
            }
            out.push(d);
        }
        Ok(out)
    };
    let (src, dst) = (unique(source, "source")?, unique(destination, "destination")?);
    if x.ndim() == 0 {
        return super::view::alias(x);
    }
    let mut order: Dims = (0..x.ndim()).map(|_| usize::MAX).collect();
    for (&s, &d) in src.iter().zip(&dst) {
        order[d] = s;
    }
    let mut rest = (0..x.ndim()).filter(|d| !src.contains(d));
    for o in &mut order {
        if *o == usize::MAX {
            *o = rest.next().unwrap_or(0);
        }
    }
    permuted(x, order)
}

/// `.T`: all dimensions reversed.
pub fn reversed(x: &Tensor) -> Result<Tensor> {
    permuted(x, (0..x.ndim()).rev().collect())
}

/// `.mT`: the last two dimensions exchanged.
pub fn matrix_transpose(x: &Tensor, name: &str) -> Result<Tensor> {
    if x.ndim() < 2 {
        return Err(runtime_error!(
            "tensor.{name} is only supported on matrices or batches of matrices. Got {}-D tensor.",
            x.ndim()
        ));
    }
    transpose(x, -2, -1)
}

pub(crate) fn ops() -> Vec<OpDef> {
    macro_rules! swap {
        ($sig:literal, $doc:literal) => {
            op($sig, METHOD | TORCH, |a| transpose(a.tensor(0)?, a.int(1)?, a.int(2)?).ret()).doc($doc).samples(&[
                "t(2,3,4), 0, 2",
                "t(3,4), -1, -2",
                "t(), 0, -1",
            ])
        };
    }
    vec![
        swap!("transpose(Tensor input, int dim0, int dim1)", "A view with two dimensions exchanged.")
            .oracle("np.swapaxes(input, dim0, dim1) if input.ndim else input"),
        swap!("swapaxes(Tensor input, int axis0, int axis1)", "transpose under NumPy's name.")
            .oracle("np.swapaxes(input, axis0, axis1) if input.ndim else input"),
        swap!("swapdims(Tensor input, int dim0, int dim1)", "transpose under another name.")
            .oracle("np.swapaxes(input, dim0, dim1) if input.ndim else input"),
        op("t(Tensor input)", METHOD | TORCH, |a| t(a.tensor(0)?).ret())
            .doc("A view of a matrix transposed; of a vector or scalar, itself.")
            .samples(&["t(3,4)", "t(3)", "t()"])
            .oracle("input.T"),
        op("numpy_T(Tensor input)", TORCH, |a| reversed(a.tensor(0)?).ret())
            .doc("The dimensions reversed: what `.T` gives.")
            .samples(&["t(2,3,4)"])
            .oracle("input.T"),
        op("_mT(Tensor input)", crate::registry::PRIVATE, |a| matrix_transpose(a.tensor(0)?, "mT").ret()),
        op("adjoint(Tensor input)", METHOD | TORCH, |a| matrix_transpose(a.tensor(0)?, "adjoint()").ret())
            .doc("The last two dimensions exchanged (real tensors have nothing to conjugate).")
            .samples(&["t(2,3,4)"])
            .oracle("np.swapaxes(input, -1, -2)"),
        op("permute(Tensor input, int[]... dims)", METHOD | TORCH, |a| permute(a.tensor(0)?, a.ints(1)?).ret())
            .doc("A view with the dimensions in the order given.")
            .samples(&["t(2,3,4), (2,0,1)", "t(2,3), (-1,0)", "t(), ()"])
            .oracle("np.transpose(input, dims)"),
        op("movedim(Tensor input, int[] source, int[] destination)", METHOD | TORCH, |a| {
            movedim(a.tensor(0)?, a.ints(1)?, a.ints(2)?).ret()
        })
        .doc("A view with dimensions moved to other places, the others in their order.")
        .samples(&["t(2,3,4), 0, 2", "t(2,3,4), (0,1), (-1,0)"])
        .oracle("np.moveaxis(input, source, destination)"),
        op("moveaxis(Tensor input, int[] source, int[] destination)", METHOD | TORCH, |a| {
            movedim(a.tensor(0)?, a.ints(1)?, a.ints(2)?).ret()
        })
        .doc("movedim under NumPy's name.")
        .samples(&["t(2,3,4), 0, 2"])
        .oracle("np.moveaxis(input, source, destination)"),
    ]
}
