//! A step of one group of an optimizer in one call: what `_adam_step` and its like take is gathered here, from the
//! group's parameters and the dictionaries of their states. Through Python, the lists cost more than the step of a small
//! network does.

use crate::call;
use crate::subclass::is_plain;
use crate::tensor::tensor_of;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyString, PyTuple, PyType};
use rustnn_core::Tensor;
use rustnn_core::mode::GradGuard;
use rustnn_ops::Arg;
use smallvec::SmallVec;

/// Runs the op `op(params, grads, *states, *options)` without a graph on the parameters that have a gradient. `names` are
/// the states' keys; None stands for an empty list.
///
/// False, and nothing done, where that takes the slow way: a state is missing, or something is not of its plain type.
#[pyfunction]
fn _optimizer_step(
    op: &Bound<'_, PyString>,
    params: &Bound<'_, PyAny>,
    state: &Bound<'_, PyAny>,
    names: &Bound<'_, PyTuple>,
    options: &Bound<'_, PyTuple>,
) -> PyResult<bool> {
    let py = op.py();
    let (Ok(params), Some(state)) = (params.cast_exact::<PyList>(), plain_dict(state)?) else { return Ok(false) };
    let n = params.len();
    let room = || rustnn_kernels::room::with_capacity::<Tensor>(n).map_err(crate::error::raise);
    let (mut all, mut grads) = (room()?, room()?);
    let names: SmallVec<[Bound<'_, PyAny>; 4]> = names.iter().collect();
    let mut states: SmallVec<[Vec<Tensor>; 4]> = SmallVec::new();
    for name in &names {
        states.push(if name.is_none() { Vec::new() } else { room()? });
    }
    for p in params.iter() {
        let Some(t) = tensor_of(&p).filter(|_| is_plain(&p)) else { return Ok(false) };
        let Some(grad) = t.meta().and_then(|m| m.grad()) else { continue };
        if names.iter().any(|name| !name.is_none()) {
            let Some(row) = state.get_item(&p)? else { return Ok(false) };
            let Ok(row) = row.cast_exact::<PyDict>() else { return Ok(false) };
            for (name, list) in names.iter().zip(&mut states) {
                if !name.is_none() {
                    let Some(value) = row.get_item(name)? else { return Ok(false) };
                    let Some(t) = tensor_of(&value) else { return Ok(false) };
                    list.push(t);
                }
            }
        }
        all.push(t);
        grads.push(grad);
    }
    if all.is_empty() {
        return Ok(true);
    }
    let lists = [all, grads].into_iter().chain(states).map(Arg::Tensors);
    let _guard = GradGuard::new(false);
    call::op(py, op.to_str()?, lists, options)
}

/// A dictionary whose items are read as they lie: a `dict`, or a `defaultdict`, as optimizers keep their state in.
fn plain_dict<'a, 'py>(state: &'a Bound<'py, PyAny>) -> PyResult<Option<&'a Bound<'py, PyDict>>> {
    static DEFAULT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let default = DEFAULT.import(state.py(), "collections", "defaultdict")?;
    let plain = state.get_type().is(default) || state.is_exact_instance_of::<PyDict>();
    Ok(state.cast::<PyDict>().ok().filter(|_| plain))
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(_optimizer_step, m)?)
}
