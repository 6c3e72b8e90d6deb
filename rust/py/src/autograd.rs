//! The engine's entry points for Python: backward, modes, hooks, and Functions written in Python.

use crate::convert::expect_tensor;
use crate::error::{OrRaise, carry};
use crate::node::to_tuple;
use crate::tensor::{PyTensor, tensor_of, wrap};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyUserWarning};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use rustnn_autograd::{Options, backward};
use rustnn_core::graph::{self, Backward, Ctx, Node, SavedHooks};
use rustnn_core::meta::Hook;
use rustnn_core::{Edge, Error, Grads, Result, Tensor, mode};
use smallvec::SmallVec;
use std::any::Any;
use std::sync::{Arc, Weak};

fn interrupt() -> Result<()> {
    Python::attach(|py| py.check_signals()).map_err(carry)
}

fn warn(message: &str) -> Result<()> {
    Python::attach(|py| {
        let text = std::ffi::CString::new(message.replace('\0', " ")).map_err(PyRuntimeError::new_err)?;
        PyErr::warn(py, &py.get_type::<PyUserWarning>(), &text, 1)
    })
    .map_err(carry)
}

/// Where the innermost Python frame is, as a traceback entry.
fn here() -> Option<String> {
    Python::attach(|py| {
        let stack = py.import("traceback").ok()?.call_method0("format_stack").ok()?;
        let lines: Vec<String> = stack.extract().ok()?;
        Some(lines.into_iter().collect::<String>())
    })
}

fn tensor_list(v: Option<&Bound<'_, PyAny>>, what: &str) -> PyResult<Option<Vec<Tensor>>> {
    let Some(v) = v.filter(|v| !v.is_none()) else { return Ok(None) };
    if let Some(t) = tensor_of(v) {
        return Ok(Some(vec![t]));
    }
    v.try_iter()?.map(|i| expect_tensor(&i?, what)).collect::<PyResult<Vec<_>>>().map(Some)
}

pub fn backward_one(
    slf: &Bound<'_, PyTensor>,
    gradient: Option<&Bound<'_, PyAny>>,
    retain_graph: Option<bool>,
    create_graph: bool,
    inputs: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let g = match gradient.filter(|g| !g.is_none()) {
        Some(g) => Some(expect_tensor(g, "gradient")?),
        None => None,
    };
    let inputs = tensor_list(inputs, "inputs")?;
    if inputs.as_ref().is_some_and(Vec::is_empty) {
        return Err(PyRuntimeError::new_err("`inputs` argument to `backward()` cannot be empty."));
    }
    let options = Options {
        retain_graph: retain_graph.unwrap_or(create_graph),
        create_graph,
        accumulate: true,
        inputs,
        allow_unused: true,
    };
    let root = slf.get().get();
    let py = slf.py();
    py.detach(|| backward(&[root], &[g], &options)).or_raise()?;
    Ok(())
}

/// Gradients of `tensors`; see `autograd.backward` and `autograd.grad`.
#[pyfunction]
#[pyo3(signature = (tensors, grad_tensors=None, retain_graph=false, create_graph=false, inputs=None, allow_unused=false, accumulate=true))]
pub fn _run_backward<'py>(
    py: Python<'py>,
    tensors: &Bound<'py, PyAny>,
    grad_tensors: Option<&Bound<'py, PyAny>>,
    retain_graph: bool,
    create_graph: bool,
    inputs: Option<&Bound<'py, PyAny>>,
    allow_unused: bool,
    accumulate: bool,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let roots = tensor_list(Some(tensors), "tensors")?.unwrap_or_default();
    let grads: Vec<Option<Tensor>> = match grad_tensors.filter(|g| !g.is_none()) {
        None => Vec::new(),
        Some(g) => match tensor_of(g) {
            Some(t) => vec![Some(t)],
            None => g
                .try_iter()?
                .map(|i| {
                    let i = i?;
                    if i.is_none() { Ok(None) } else { expect_tensor(&i, "gradients").map(Some) }
                })
                .collect::<PyResult<_>>()?,
        },
    };
    let options =
        Options { retain_graph, create_graph, accumulate, inputs: tensor_list(inputs, "inputs")?, allow_unused };
    let found = py.detach(|| backward(&roots, &grads, &options)).or_raise()?;
    if accumulate { Ok(None) } else { to_tuple(py, &found).map(Some) }
}

#[pyfunction]
pub fn _set_grad_enabled(on: bool) -> bool {
    mode::set_grad_enabled(on)
}
#[pyfunction]
pub fn _is_grad_enabled() -> bool {
    mode::grad_enabled()
}
#[pyfunction]
pub fn _set_inference_mode(on: bool) -> bool {
    mode::set_inference_mode(on)
}
#[pyfunction]
pub fn _is_inference_mode() -> bool {
    mode::inference_mode()
}
#[pyfunction]
pub fn _set_anomaly(on: bool) -> bool {
    graph::set_tracer(Some(here));
    mode::set_anomaly(on)
}
#[pyfunction]
pub fn _is_anomaly() -> bool {
    mode::anomaly()
}

fn hook(f: Py<PyAny>) -> Hook {
    Arc::new(move |g: &Tensor| {
        Python::attach(|py| {
            let r = f.call1(py, (wrap(py, g.clone())?,))?;
            if r.is_none(py) {
                return Ok(None);
            }
            match tensor_of(r.bind(py)) {
                Some(t) => Ok(Some(t)),
                None => Err(PyTypeError::new_err(format!(
                    "hooks must return None or a Tensor, not {}",
                    r.bind(py).get_type().name()?
                ))),
            }
        })
        .map_err(carry)
    })
}

#[pymethods]
impl PyTensor {
    /// Calls `f(grad)` whenever a gradient of this tensor is computed; a returned tensor replaces it.
    fn _register_hook(&self, f: Py<PyAny>) -> PyResult<u64> {
        rustnn_autograd::register_hook(&self.get(), hook(f)).or_raise()
    }
    fn _register_post_accumulate_hook(&self, f: Py<PyAny>) -> PyResult<u64> {
        let f: Hook = Arc::new(move |t: &Tensor| {
            Python::attach(|py| {
                let r = f.call1(py, (wrap(py, t.clone())?,))?;
                if r.is_none(py) {
                    return Ok(None);
                }
                Err(PyRuntimeError::new_err("Tensor post accumulate grad hooks should return None."))
            })
            .map_err(carry)
        });
        rustnn_autograd::register_post_accumulate_hook(&self.get(), f).or_raise()
    }
    fn _remove_hook(&self, id: u64) {
        rustnn_autograd::remove_hook(&self.get(), id);
    }
    #[getter]
    fn data(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let t = slf.get().get().data();
        Ok(wrap(slf.py(), t)?.into_any())
    }
    #[setter]
    fn set_data(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(v) = tensor_of(value) else {
            return Err(PyTypeError::new_err(format!(
                "Variable data has to be a tensor, but got {}",
                value.get_type().name()?
            )));
        };
        let t = slf.get().get();
        if t.requires_grad() && !v.dtype().is_float() {
            return Err(PyRuntimeError::new_err(
                "data set to a tensor that requires gradients must be floating point or complex dtype",
            ));
        }
        PyTensor::replace(slf, t.rebound(&v));
        Ok(())
    }
    /// The tensor that this one is a view of, or `None`.
    #[getter]
    fn _base(&self, py: Python<'_>) -> PyResult<Option<Py<PyTensor>>> {
        let t = self.get();
        if let Some(base) = t.base() {
            return wrap(py, base.clone()).map(Some);
        }
        let Some(view) = t.meta().and_then(|m| m.view()) else { return Ok(None) };
        let base = t.with_layout(view.base_layout.clone()).or_raise()?;
        wrap(py, base).map(Some)
    }
}

/// Backward of a Function written in Python.
struct PyBackward {
    f: Py<PyAny>,
    outputs: usize,
    inputs: usize,
    name: &'static str,
}

impl Backward for PyBackward {
    fn apply(&self, _: &Ctx<'_>, grads: &[Option<Tensor>]) -> Result<Grads> {
        Python::attach(|py| -> PyResult<Grads> {
            let r = self.f.call1(py, to_tuple(py, &grads[..self.outputs.min(grads.len())])?)?;
            let r = r.bind(py);
            let mut out = Grads::new();
            let mut push = |v: &Bound<'_, PyAny>| -> PyResult<()> {
                if v.is_none() {
                    out.push(None);
                    return Ok(());
                }
                out.push(Some(expect_tensor(
                    v,
                    &format!("expected Variable or None (got {}): a gradient of {}", v.get_type().name()?, self.name),
                )?));
                Ok(())
            };
            if r.is_none() || tensor_of(r).is_some() {
                push(r)?;
            } else {
                for v in
                    r.cast::<PyTuple>().map_err(|_| PyTypeError::new_err("backward must return a tensor or a tuple"))?
                {
                    push(&v)?;
                }
            }
            if out.len() < self.inputs {
                return Err(PyRuntimeError::new_err(format!(
                    "function {} returned an incorrect number of gradients (expected {}, got {})",
                    self.name,
                    self.inputs,
                    out.len()
                )));
            }
            Ok(out)
        })
        .map_err(carry)
    }
}

/// Makes `outputs` results of a Function: gradients go to `inputs` (`None` for arguments that are no tensors) through
/// `backward(*grads)`. Those in `dirty` were written in place; those in `non_differentiable` take no part.
#[pyfunction]
#[pyo3(signature = (name, inputs, outputs, backward, dirty=None, non_differentiable=None, ctx=None))]
pub fn _attach_function<'py>(
    py: Python<'py>,
    name: &str,
    inputs: &Bound<'py, PyAny>,
    outputs: &Bound<'py, PyAny>,
    backward: Py<PyAny>,
    dirty: Option<&Bound<'py, PyAny>>,
    non_differentiable: Option<&Bound<'py, PyAny>>,
    ctx: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyTuple>> {
    let ins: Vec<Option<Tensor>> = inputs.try_iter()?.map(|i| i.map(|i| tensor_of(&i))).collect::<PyResult<_>>()?;
    let outs: Vec<Bound<'py, PyAny>> = outputs.try_iter()?.collect::<PyResult<_>>()?;
    let has = |set: Option<&Bound<'py, PyAny>>, t: &Tensor| -> PyResult<bool> {
        let Some(set) = set.filter(|s| !s.is_none()) else { return Ok(false) };
        for s in set.try_iter()? {
            if tensor_of(&s?).is_some_and(|s| s.same(t)) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let next: SmallVec<[Option<Edge>; 2]> = ins.iter().map(|t| t.as_ref().and_then(graph::edge_of)).collect();
    let tracked = mode::grad_enabled() && next.iter().any(Option::is_some);
    // Every output is a tensor of its own unless it was written in place: an input returned as it is becomes a view.
    let mut results = Vec::with_capacity(outs.len());
    let mut linked = Vec::new();
    // Views written in place, each with what stands for it as the node's output.
    let mut written: Vec<(Tensor, Tensor)> = Vec::new();
    for o in &outs {
        let Some(t) = tensor_of(o) else {
            results.push(o.clone());
            continue;
        };
        let is_input = ins.iter().flatten().any(|i| i.same(&t));
        let is_dirty = has(dirty, &t)?;
        if is_dirty {
            rustnn_core::inplace::check_writable(&t).or_raise()?;
            t.bump_version();
        }
        let own = if is_input && !is_dirty { t.detach() } else { t.clone() };
        if tracked && !has(non_differentiable, &t)? && own.dtype().is_float() {
            if is_dirty && own.meta().is_some_and(|m| m.is_view()) {
                // The base's history changes too: its gradient is split between its own and this node.
                let value = own.detach();
                written.push((own.clone(), value.clone()));
                linked.push(value);
            } else {
                linked.push(own.clone());
            }
        } else if tracked && !is_dirty {
            linked.push(Tensor::empty(&[0], rustnn_core::DType::I64).or_raise()?);
        }
        results.push(if own.same(&t) { o.clone() } else { wrap(py, own)?.into_bound(py).into_any() });
    }
    if tracked && !linked.is_empty() {
        let leaked: &'static str = crate::node_names::intern(name);
        let work = PyBackward { f: backward, outputs: linked.len(), inputs: ins.len(), name: leaked };
        let node = graph::link_edges(leaked, &linked, next, Arc::new(work));
        if let Some(c) = ctx {
            c.setattr(py, "_node", Py::new(py, PyNodeRef(Arc::downgrade(&node)))?)?;
            let _ = node.host.set(Box::new(c));
        }
        for (view, value) in &written {
            rustnn_core::inplace::wrote(view, value).or_raise()?;
        }
    }
    PyTuple::new(py, results)
}

/// What a Function's context knows of its node, which owns the context.
#[pyclass(frozen)]
pub struct PyNodeRef(Weak<Node>);

/// A Function's output number `index`, which it saved without its graph, as part of the graph again; `None` if the
/// graph is gone.
#[pyfunction]
pub fn _output_again(
    py: Python<'_>,
    node: &PyNodeRef,
    saved: &PyTensor,
    index: usize,
) -> PyResult<Option<Py<PyTensor>>> {
    let Some(node) = node.0.upgrade() else { return Ok(None) };
    let t = saved.get().detach();
    if mode::grad_enabled() && t.dtype().is_float() && index < node.outs().len() {
        t.meta_or_new().set_edge(Some(Edge { node, index }));
    }
    wrap(py, t).map(Some)
}

struct PySavedHooks {
    pack: Py<PyAny>,
    unpack: Py<PyAny>,
}

impl SavedHooks for PySavedHooks {
    fn pack(&self, t: &Tensor) -> Result<Box<dyn Any + Send + Sync>> {
        Python::attach(|py| -> PyResult<Box<dyn Any + Send + Sync>> {
            let r: Py<PyAny> = self.pack.call1(py, (wrap(py, t.clone())?,))?;
            Ok(Box::new(r))
        })
        .map_err(carry)
    }
    fn unpack(&self, packed: &(dyn Any + Send + Sync)) -> Result<Tensor> {
        let Some(p) = packed.downcast_ref::<Py<PyAny>>() else {
            return Err(Error::Runtime("saved value lost".into()));
        };
        Python::attach(|py| {
            let r = self.unpack.call1(py, (p,))?;
            expect_tensor(r.bind(py), "the result of an unpack hook")
        })
        .map_err(carry)
    }
}

#[pyfunction]
pub fn _push_saved_tensors_hooks(pack: Py<PyAny>, unpack: Py<PyAny>) {
    graph::push_saved_hooks(Arc::new(PySavedHooks { pack, unpack }));
}
#[pyfunction]
pub fn _pop_saved_tensors_hooks() {
    graph::pop_saved_hooks();
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    rustnn_kernels::parallel::set_interrupt_check(interrupt);
    mode::set_warner(warn);
    m.add_class::<crate::node::PyNode>()?;
    m.add_class::<PyNodeRef>()?;
    let _ = PyList::empty(m.py());
    for f in [
        wrap_pyfunction!(_run_backward, m)?,
        wrap_pyfunction!(_set_grad_enabled, m)?,
        wrap_pyfunction!(_is_grad_enabled, m)?,
        wrap_pyfunction!(_set_inference_mode, m)?,
        wrap_pyfunction!(_is_inference_mode, m)?,
        wrap_pyfunction!(_set_anomaly, m)?,
        wrap_pyfunction!(_is_anomaly, m)?,
        wrap_pyfunction!(_attach_function, m)?,
        wrap_pyfunction!(_output_again, m)?,
        wrap_pyfunction!(_push_saved_tensors_hooks, m)?,
        wrap_pyfunction!(_pop_saved_tensors_hooks, m)?,
    ] {
        m.add_function(f)?;
    }
    Ok(())
}
