//! The call of `nn.Module`: a type without data of its own, whose subclasses inherit how they are called.
//!
//! Networks call modules without hooks on one argument most, and a module's own forward is most of what such a call should
//! cost: here no frame, tuple or dictionary is made for it. Hooks run in Python (`Module._call_with_hooks`), and so does
//! what an error says of the modules that it passed through (`rustnn.nn._explain`).

use crate::call::guarded;
use crate::error::OrRaise;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};
use rustnn_core::later;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether there are hooks that run for every module.
static EVERY: AtomicBool = AtomicBool::new(false);

/// Says whether there are hooks that run for every module.
#[pyfunction]
fn _hook_every_module(on: bool) {
    EVERY.store(on, Ordering::Relaxed);
}

/// While a module that holds others runs, convolutions may wait for what follows them.
struct Inside;

impl Inside {
    fn enter() -> Self {
        later::enter();
        Inside
    }

    /// The call ends, and with the outermost one all waiting.
    fn leave(self, py: Python<'_>) -> PyResult<()> {
        std::mem::forget(self);
        if later::leave() { py.detach(later::settle_all).or_raise() } else { Ok(()) }
    }
}

impl Drop for Inside {
    /// A panic passes: what waits is done by who asks for it.
    fn drop(&mut self) {
        let _ = later::leave();
    }
}

/// Hooks, if there are any, and `forward`.
///
/// # Safety
/// `args` is a tuple, `kwargs` a dictionary or null.
unsafe fn forward<'py>(
    slf: &Bound<'py, PyAny>,
    hooked: bool,
    args: *mut ffi::PyObject,
    kwargs: *mut ffi::PyObject,
) -> PyResult<Bound<'py, PyAny>> {
    let py = slf.py();
    let name = intern!(py, "forward").as_ptr();
    // SAFETY: references that the caller holds; what the calls return is owned by us, or null with an error set.
    unsafe {
        let empty = kwargs.is_null() || ffi::PyDict_Size(kwargs) == 0;
        let result = if hooked {
            let given = if kwargs.is_null() { ffi::PyDict_New() } else { ffi::Py_NewRef(kwargs) };
            let given = Bound::from_owned_ptr_or_err(py, given)?;
            let method = intern!(py, "_call_with_hooks").as_ptr();
            let end: *mut ffi::PyObject = std::ptr::null_mut();
            ffi::PyObject_CallMethodObjArgs(slf.as_ptr(), method, args, given.as_ptr(), end)
        } else if empty && ffi::PyTuple_Size(args) == 1 {
            let end: *mut ffi::PyObject = std::ptr::null_mut();
            ffi::PyObject_CallMethodObjArgs(slf.as_ptr(), name, ffi::PyTuple_GetItem(args, 0), end)
        } else {
            let method = Bound::from_owned_ptr_or_err(py, ffi::PyObject_GetAttr(slf.as_ptr(), name))?;
            ffi::PyObject_Call(method.as_ptr(), args, kwargs)
        };
        Bound::from_owned_ptr_or_err(py, result)
    }
}

/// An attribute from the module's own dictionary, or the interpreter's way to it (and its error).
fn own<'py>(
    slf: &Bound<'py, PyAny>,
    space: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: a dictionary and a key; what is found is borrowed from it.
    unsafe {
        let found = ffi::PyDict_GetItemWithError(space.as_ptr(), name.as_ptr());
        if let Some(found) = Bound::from_borrowed_ptr_or_opt(slf.py(), found) { Ok(found) } else { slf.getattr(name) }
    }
}

/// Has an error say that it passed through a module.
#[cold]
fn explain(slf: &Bound<'_, PyAny>, args: &Bound<'_, PyAny>, error: &PyErr) -> PyResult<()> {
    let (py, value) = (slf.py(), error.value(slf.py()));
    // Where it was raised shows whose it is; the interpreter keeps that beside the value until somebody catches it.
    value.setattr(intern!(py, "__traceback__"), error.traceback(py))?;
    py.import(intern!(py, "rustnn.nn._explain"))?.call_method1(intern!(py, "unwind"), (slf, args, value))?;
    Ok(())
}

/// # Safety
/// Called by Python: `args` is a tuple, `kwargs` a dictionary or null.
unsafe fn run<'py>(
    slf: &Bound<'py, PyAny>,
    args: *mut ffi::PyObject,
    kwargs: *mut ffi::PyObject,
) -> PyResult<Bound<'py, PyAny>> {
    let py = slf.py();
    // SAFETY: an object; we own the dictionary that is returned.
    let space =
        unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyObject_GenericGetDict(slf.as_ptr(), std::ptr::null_mut()))? };
    let holds = own(slf, &space, intern!(py, "_modules"))?.is_truthy()?;
    let hooked = EVERY.load(Ordering::Relaxed) || own(slf, &space, intern!(py, "_hooked"))?.is_truthy()?;
    drop(space);
    let inside = holds.then(Inside::enter);
    // SAFETY: passed on.
    let mut result = unsafe { forward(slf, hooked, args, kwargs) };
    if let Err(error) = &result
        && error.is_instance_of::<PyException>(py)
    {
        // SAFETY: a tuple that the caller holds.
        let args = unsafe { Bound::from_borrowed_ptr(py, args) };
        if let Err(e) = explain(slf, &args, error) {
            result = Err(e);
        }
    }
    if let Some(inside) = inside {
        inside.leave(py)?;
    }
    result
}

/// # Safety
/// Called by Python, GIL held.
unsafe extern "C" fn tp_call(
    slf: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
    kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the GIL is held.
    let py = unsafe { Python::assume_attached() };
    guarded(py, || {
        // SAFETY: the object called, borrowed from the caller; passed on.
        unsafe { run(&Bound::from_borrowed_ptr(py, slf), args, kwargs).map(Bound::unbind) }
    })
}

/// The type.
fn callable(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let mut slots = [
        ffi::PyType_Slot { slot: ffi::Py_tp_call, pfunc: tp_call as *mut _ },
        ffi::PyType_Slot { slot: ffi::Py_tp_doc, pfunc: c"How modules are called.".as_ptr().cast_mut().cast() },
        ffi::PyType_Slot::default(),
    ];
    let mut spec = ffi::PyType_Spec {
        name: c"rustnn._C._Callable".as_ptr(),
        basicsize: 0,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_BASETYPE) as u32,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the specification is read during the call; its texts live for ever.
    let made = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec))? };
    made.cast_into::<PyType>().map_err(|_| PyRuntimeError::new_err("no type was made"))
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("_Callable", callable(m.py())?)?;
    m.add_function(wrap_pyfunction!(_hook_every_module, m)?)
}
