//! Functions that change what a tensor object stands for, or look at its storage anew.

use crate::error::OrRaise;
use crate::tensor::{PyTensor, wrap};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rustnn_core::Layout;

/// `x` becomes `other` (a view of it, or a resized one) in place: `t_`, `unsqueeze_`, `resize_`, `set_`.
#[pyfunction]
pub fn _become<'py>(x: Bound<'py, PyTensor>, other: &Bound<'py, PyTensor>) -> PyResult<Bound<'py, PyTensor>> {
    let leaf = x.get().get().meta().is_some_and(|m| m.wants_grad() && !m.has_edge());
    if leaf && rustnn_core::grad_enabled() {
        return Err(PyRuntimeError::new_err(
            "a leaf Variable that requires grad is being used in an in-place operation.\n  hint: to change a parameter by \
             hand, do it under `with torch.no_grad():`",
        ));
    }
    let t = other.get().get();
    PyTensor::replace(&x, t.rebound(&t));
    Ok(x)
}

/// Exchanges what two tensors are: memory, shape, graph, gradient (`utils.swap_tensors`).
#[pyfunction]
pub fn _exchange(a: &Bound<'_, PyTensor>, b: &Bound<'_, PyTensor>) {
    PyTensor::exchange(a, b);
}

/// A tensor over `t`'s storage with these sizes, strides and offset, without a graph.
#[pyfunction]
pub fn _restride(
    t: &Bound<'_, PyTensor>,
    size: Vec<usize>,
    stride: Vec<isize>,
    offset: usize,
) -> PyResult<Py<PyTensor>> {
    if size.len() != stride.len() {
        return Err(PyRuntimeError::new_err("mismatch in length of strides and shape"));
    }
    let layout = Layout { shape: size.into(), strides: stride.into(), offset };
    wrap(t.py(), t.get().get().with_layout(layout).or_raise()?)
}
