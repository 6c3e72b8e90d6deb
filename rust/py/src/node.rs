//! `grad_fn`: a recorded op as Python sees it.

use crate::error::carry;
use crate::tensor::{PyTensor, tensor_of, wrap};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use rustnn_core::graph::{Node, NodeHook, Work};
use rustnn_core::meta::hook_id;
use rustnn_core::{Result, Tensor};
use std::sync::Arc;

/// One recorded op of a graph.
#[pyclass(name = "Node", module = "rustnn.autograd.graph", frozen, weakref, dict)]
pub struct PyNode(pub Arc<Node>);

/// The Python object of a node: a Function's own context if it has one.
pub fn node_object(py: Python<'_>, node: &Arc<Node>) -> PyResult<Py<PyAny>> {
    if let Some(ctx) = node.host.get().and_then(|h| h.downcast_ref::<Py<PyAny>>()) {
        return Ok(ctx.clone_ref(py));
    }
    Ok(Py::new(py, PyNode(node.clone()))?.into_any())
}

/// Python gradients from a tuple.
pub fn to_tuple<'py>(py: Python<'py>, grads: &[Option<Tensor>]) -> PyResult<Bound<'py, PyTuple>> {
    let items = grads.iter().map(|g| g.clone().map(|g| wrap(py, g)).transpose()).collect::<PyResult<Vec<_>>>()?;
    PyTuple::new(py, items)
}

fn node_hook(f: Py<PyAny>, pre: bool) -> NodeHook {
    Arc::new(move |a: &[Option<Tensor>], b: &[Option<Tensor>]| -> Result<Option<Vec<Option<Tensor>>>> {
        Python::attach(|py| {
            let r = if pre {
                f.call1(py, (to_tuple(py, a)?,))?
            } else {
                f.call1(py, (to_tuple(py, a)?, to_tuple(py, b)?))?
            };
            if r.is_none(py) {
                return Ok(None);
            }
            let items: Vec<Option<Tensor>> = match tensor_of(r.bind(py)) {
                Some(t) => vec![Some(t)],
                None => r.bind(py).try_iter()?.map(|i| i.map(|i| tensor_of(&i))).collect::<PyResult<_>>()?,
            };
            Ok(Some(items))
        })
        .map_err(carry)
    })
}

/// Adds a hook and gives the handle that removes it.
fn handle(node: Bound<'_, PyNode>, f: Py<PyAny>, pre: bool) -> PyResult<Py<PyAny>> {
    let py = node.py();
    let id = node.get().add_hook(f, pre);
    let kind = py.import("rustnn.autograd.graph")?.getattr("_NodeHandle")?;
    Ok(kind.call1((node, id))?.unbind())
}

#[pymethods]
impl PyNode {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    #[getter]
    fn next_functions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let items = self
            .0
            .next()
            .iter()
            .map(|e| match e {
                Some(e) => Ok((Some(node_object(py, &e.node)?), e.index)),
                None => Ok((None, 0)),
            })
            .collect::<PyResult<Vec<_>>>()?;
        PyTuple::new(py, items)
    }
    /// The leaf that an accumulation node adds into.
    #[getter]
    fn variable(&self, py: Python<'_>) -> PyResult<Py<PyTensor>> {
        match self.0.work() {
            Work::Accumulate(t) => wrap(py, t.clone()),
            Work::Op(_) => Err(pyo3::exceptions::PyAttributeError::new_err(format!(
                "'{}' object has no attribute 'variable'",
                self.0.name()
            ))),
        }
    }
    #[getter]
    fn _sequence_nr(&self) -> u64 {
        self.0.seq()
    }
    /// Calls `fn(grad_inputs, grad_outputs)` after this node ran; what it returns replaces the gradients of its inputs.
    #[pyo3(name = "register_hook")]
    fn register_hook(slf: Bound<'_, Self>, r#fn: Py<PyAny>) -> PyResult<Py<PyAny>> {
        handle(slf, r#fn, false)
    }
    /// Calls `fn(grad_outputs)` before this node runs; what it returns replaces the gradients of its outputs.
    #[pyo3(name = "register_prehook")]
    fn register_prehook(slf: Bound<'_, Self>, r#fn: Py<PyAny>) -> PyResult<Py<PyAny>> {
        handle(slf, r#fn, true)
    }
    #[pyo3(name = "_add_hook")]
    fn add_hook(&self, f: Py<PyAny>, pre: bool) -> u64 {
        let id = hook_id();
        let mut h = self.0.hooks_mut().lock();
        if pre { &mut h.pre } else { &mut h.post }.push((id, node_hook(f, pre)));
        id
    }
    #[pyo3(name = "_remove_hook")]
    fn remove_hook(&self, id: u64) {
        let removed: Vec<_> = {
            let mut h = self.0.hooks_mut().lock();
            let mut out: Vec<_> = h.pre.extract_if(.., |x| x.0 == id).collect();
            out.extend(h.post.extract_if(.., |x| x.0 == id));
            out
        };
        drop(removed);
    }
    fn __repr__(slf: &Bound<'_, Self>) -> String {
        format!("<{} object at {:#x}>", slf.get().0.name(), slf.as_ptr() as usize)
    }
    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<PyNode>().is_ok_and(|o| Arc::ptr_eq(&o.get().0, &self.0))
    }
    fn __hash__(&self) -> usize {
        Arc::as_ptr(&self.0) as usize >> 4
    }
}
