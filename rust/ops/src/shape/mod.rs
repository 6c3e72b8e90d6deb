//! Shapes: views that share memory, joining, repeating, padding.

pub mod expand;
pub mod grid;
pub mod join;
pub mod pad;
pub mod permute;
pub mod repeat;
pub mod select;
pub mod split;
pub mod triangle;
pub mod view;

use crate::registry::OpDef;
use rustnn_core::base::layout::wrap_dim;
use rustnn_core::base::runtime_error;
use rustnn_core::{Dims, Layout, Result, Tensor, attach, attach_view, grads};
use rustnn_kernels::copy;

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = Vec::new();
    v.extend(view::ops());
    v.extend(permute::ops());
    v.extend(expand::ops());
    v.extend(select::ops());
    v.extend(split::ops());
    v.extend(join::ops());
    v.extend(repeat::ops());
    v.extend(triangle::ops());
    v.extend(pad::ops());
    v.extend(grid::ops());
    v
}

/// How a view's layout follows from its base's: kept by the graph, applied again to the gradient's layout.
pub(crate) trait Rule: Fn(&Layout) -> Layout + Clone + Send + Sync + 'static {}
impl<F: Fn(&Layout) -> Layout + Clone + Send + Sync + 'static> Rule for F {}

/// A view that shows each element at most once; its gradient goes into zeros through the same rule.
pub(crate) fn part(name: &'static str, x: &Tensor, rule: impl Rule) -> Result<Tensor> {
    let out = x.view_of(rule(x.layout()));
    let shape = Dims::from_slice(x.shape());
    attach_view(name, out, x, move |_, g| Ok(grads![unpart(name, g, &shape, rule.clone())?]))
}

/// The gradient of [`part`]: zeros of the base's shape with `g` where the view is.
pub(crate) fn unpart(name: &'static str, g: &Tensor, shape: &[usize], rule: impl Rule) -> Result<Tensor> {
    let out = Tensor::zeros(shape, g.dtype())?;
    copy::copy(&out.view_of(rule(out.layout())).raw(), &g.raw())?;
    attach(name, out, &[g], move |_, gg| Ok(grads![part(name, gg, rule.clone())?]))
}

/// Dimensions, negative ones counted from the end; each at most once.
pub(crate) fn wrap_dims(dims: &[i64], ndim: usize) -> Result<Dims> {
    let mut out = Dims::new();
    for &d in dims {
        let d = wrap_dim(d, ndim)?;
        if out.contains(&d) {
            return Err(runtime_error!("dim {d} appears multiple times in the list of dims"));
        }
        out.push(d);
    }
    Ok(out)
}
