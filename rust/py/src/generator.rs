//! `torch.Generator`.

use crate::error::OrRaise;
use crate::tensor::{tensor_of, wrap};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use rustnn_core::generator::{DEFAULT_SEED, Generator, default_generator};
use rustnn_core::{DType, Tensor};

/// A stream of pseudo-random numbers (mt19937, PyTorch's draws).
#[pyclass(name = "Generator", module = "rustnn", frozen, subclass, dict, weakref)]
pub struct PyGenerator(pub Generator);

/// A seed as PyTorch takes it: any 64-bit number, negative ones by their bits.
fn seed_of(seed: &Bound<'_, PyAny>) -> PyResult<u64> {
    if let Ok(v) = seed.extract::<i64>() {
        return Ok(v as u64);
    }
    if let Ok(v) = seed.extract::<u64>() {
        return Ok(v);
    }
    match seed.call_method0("__index__").and_then(|v| v.extract::<i64>()) {
        Ok(v) => Ok(v as u64),
        Err(_) => Err(pyo3::exceptions::PyRuntimeError::new_err(
            "Overflow when unpacking long: a seed is a number in [-0x8000_0000_0000_0000, 0xffff_ffff_ffff_ffff]",
        )),
    }
}

#[pymethods]
impl PyGenerator {
    #[new]
    #[pyo3(signature = (device=None))]
    fn new(device: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        if let Some(d) = device {
            crate::dtype::check_device(&d.str()?.to_string())?;
        }
        Ok(PyGenerator(Generator::new(DEFAULT_SEED)))
    }
    /// Seeds it; returns itself.
    fn manual_seed<'py>(slf: Bound<'py, Self>, seed: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        let s = seed_of(seed)?;
        slf.get().0.with(|g| g.manual_seed(s));
        Ok(slf)
    }
    fn initial_seed(&self) -> u64 {
        self.0.with(|g| g.initial_seed())
    }
    /// Seeds it from the operating system; returns the seed.
    fn seed(&self, py: Python<'_>) -> PyResult<u64> {
        let bytes: u64 = py.import("secrets")?.call_method1("randbits", (53,))?.extract()?;
        self.0.with(|g| g.manual_seed(bytes));
        Ok(bytes)
    }
    /// Its state as a uint8 tensor, in PyTorch's form.
    fn get_state(&self, py: Python<'_>) -> PyResult<Py<crate::tensor::PyTensor>> {
        let bytes = self.0.with(|g| g.state());
        wrap(py, Tensor::from_slice(&bytes, &[bytes.len()]).or_raise()?)
    }
    /// Takes a state of `get_state`.
    fn set_state<'py>(slf: Bound<'py, Self>, state: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        let Some(t) = tensor_of(state) else {
            return Err(PyTypeError::new_err(format!(
                "expected a torch.ByteTensor, but got {}",
                state.get_type().name()?
            )));
        };
        if t.dtype() != DType::U8 {
            return Err(PyTypeError::new_err("RNG state must be a torch.ByteTensor"));
        }
        let t = t.to_contiguous().or_raise()?;
        let bytes = t.slice::<u8>().or_raise()?;
        slf.get().0.with(|g| g.set_state(bytes)).or_raise()?;
        Ok(slf)
    }
    fn clone_state(&self) -> PyResult<Self> {
        let g = Generator::new(0);
        let state = self.0.with(|g| g.state());
        g.with(|n| n.set_state(&state)).or_raise()?;
        Ok(PyGenerator(g))
    }
    #[getter]
    fn device(&self, py: Python<'_>) -> PyResult<Py<crate::dtype::PyDevice>> {
        crate::dtype::cpu(py)
    }
    fn __repr__(&self) -> &'static str {
        "<torch._C.Generator object>"
    }
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyGenerator>()?;
    m.add("default_generator", Py::new(m.py(), PyGenerator(default_generator().clone()))?)
}
