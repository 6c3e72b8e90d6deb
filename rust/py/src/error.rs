//! Engine errors as the Python exceptions that PyTorch raises.

use pyo3::exceptions::{
    PyIndexError, PyKeyboardInterrupt, PyMemoryError, PyNotImplementedError, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use rustnn_core::Error;

pyo3::create_exception!(
    rustnn.linalg,
    LinAlgError,
    PyRuntimeError,
    "A matrix has no inverse or factorisation of the kind asked for."
);

/// Turns an engine error into a Python exception.
pub fn raise(e: Error) -> PyErr {
    match e {
        Error::Runtime(m) => PyRuntimeError::new_err(m),
        Error::LinAlg(m) => LinAlgError::new_err(m),
        Error::Type(m) => PyTypeError::new_err(m),
        Error::Value(m) => PyValueError::new_err(m),
        Error::Index(m) => PyIndexError::new_err(m),
        Error::NotImplemented(m) => PyNotImplementedError::new_err(m),
        e @ Error::OutOfMemory { .. } => PyMemoryError::new_err(e.to_string()),
        Error::Interrupted => PyKeyboardInterrupt::new_err(()),
        Error::External(any) => match any.downcast::<PyErr>() {
            Ok(e) => *e,
            Err(_) => PyRuntimeError::new_err("a callback failed"),
        },
        other => PyRuntimeError::new_err(other.to_string()),
    }
}

/// Carries a Python exception through the engine unchanged.
pub fn carry(e: PyErr) -> Error {
    Error::External(Box::new(e))
}

/// `Result` of the engine to `PyResult`.
pub trait OrRaise<T> {
    fn or_raise(self) -> PyResult<T>;
}
impl<T> OrRaise<T> for rustnn_core::Result<T> {
    #[inline]
    fn or_raise(self) -> PyResult<T> {
        self.map_err(raise)
    }
}
