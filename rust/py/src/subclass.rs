//! `__torch_function__`: calls on tensors of a subclass that wants to see them.

use crate::tensor::PyTensor;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use pyo3::{PyTypeInfo, ffi};

static PARAMETER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static HANDLER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Tells which subclass (Parameter) never intercepts, so that it costs nothing.
#[pyfunction]
pub fn _set_parameter_type(py: Python<'_>, cls: Py<PyType>) {
    let _ = PARAMETER.set(py, cls);
}

/// Sets `handler(name, is_method, args, kwargs, subclass) -> result or NotImplemented`.
#[pyfunction]
pub fn _set_torch_function_handler(py: Python<'_>, handler: Py<PyAny>) {
    let _ = HANDLER.set(py, handler);
}

thread_local! {
    static ENABLED: std::cell::Cell<bool> = const { std::cell::Cell::new(true) };
}

/// Switches interception on this thread (off inside of the default `__torch_function__`); returns what was.
#[pyfunction]
pub fn _set_torch_function_enabled(on: bool) -> bool {
    ENABLED.replace(on)
}

/// Whether it is a tensor of no subclass that could want to see calls.
#[inline]
pub fn is_plain(obj: &Bound<'_, PyAny>) -> bool {
    let ty = obj.get_type_ptr();
    ty == PyTensor::type_object_raw(obj.py())
        || PARAMETER.get(obj.py()).is_some_and(|p| p.as_ptr().cast::<ffi::PyTypeObject>() == ty)
}

/// Lets a subclass among the arguments take the call over. `None` means: go on as usual.
#[inline]
pub fn intercept(
    py: Python<'_>,
    name: &'static str,
    method: bool,
    inplace: bool,
    slf: *mut ffi::PyObject,
    pos: &[*mut ffi::PyObject],
    kw: &[*mut ffi::PyObject],
    kwnames: *mut ffi::PyObject,
) -> PyResult<Option<Py<PyAny>>> {
    let exact = PyTensor::type_object_raw(py);
    let parameter = PARAMETER.get(py).map_or(std::ptr::null_mut(), |p| p.as_ptr().cast::<ffi::PyTypeObject>());
    let odd = |p: *mut ffi::PyObject| {
        // SAFETY: borrowed arguments of a call in progress.
        unsafe {
            let ty = ffi::Py_TYPE(p);
            let plain =
                ty == exact || ty == parameter || ty == &raw mut ffi::PyLong_Type || ty == &raw mut ffi::PyFloat_Type;
            !plain && ffi::PyType_IsSubtype(ty, exact) != 0
        }
    };
    let first = std::iter::once(slf).filter(|p| !p.is_null()).chain(pos.iter().copied()).chain(kw.iter().copied());
    let Some(found) = first.into_iter().find(|&p| odd(p)) else { return Ok(None) };
    take_over(py, name, method, inplace, found, slf, pos, kw, kwnames)
}

#[cold]
fn take_over(
    py: Python<'_>,
    name: &'static str,
    method: bool,
    inplace: bool,
    found: *mut ffi::PyObject,
    slf: *mut ffi::PyObject,
    pos: &[*mut ffi::PyObject],
    kw: &[*mut ffi::PyObject],
    kwnames: *mut ffi::PyObject,
) -> PyResult<Option<Py<PyAny>>> {
    if !ENABLED.get() {
        return Ok(None);
    }
    let Some(handler) = HANDLER.get(py) else { return Ok(None) };
    // SAFETY: all are borrowed arguments of a call in progress.
    let own = |p: *mut ffi::PyObject| unsafe { Bound::from_borrowed_ptr(py, p) };
    let args: Vec<_> = std::iter::once(slf).filter(|p| !p.is_null()).chain(pos.iter().copied()).map(own).collect();
    let kwargs = PyDict::new(py);
    for (i, &v) in kw.iter().enumerate() {
        // SAFETY: `kwnames` is a tuple as long as `kw`.
        let key = own(unsafe { ffi::PyTuple_GetItem(kwnames, i as ffi::Py_ssize_t) });
        kwargs.set_item(key, own(v))?;
    }
    let full = if inplace { format!("{name}_") } else { name.to_owned() };
    let cls = own(found).get_type();
    let r = handler.call1(py, (full, method, PyTuple::new(py, args)?, kwargs, cls))?;
    Ok((!r.is(py.NotImplemented())).then_some(r))
}
