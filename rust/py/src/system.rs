//! What `rustnn info` and `rustnn.memory_stats()` tell, and switches of the whole engine.

use crate::error::OrRaise;
use crate::tensor::PyTensor;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustnn_core::later;
use rustnn_kernels::{alloc, parallel};

/// The instruction set in use.
#[pyfunction]
fn _isa() -> &'static str {
    rustnn_simd::isa().name()
}

/// All instruction sets that this machine can run.
#[pyfunction]
fn _isas() -> Vec<&'static str> {
    rustnn_simd::Isa::available().into_iter().map(rustnn_simd::Isa::name).collect()
}

/// Why there are that many threads.
#[pyfunction]
fn _threads_reason() -> String {
    parallel::threads_reason()
}

/// Threads that work on one op.
#[pyfunction]
fn get_num_threads() -> usize {
    parallel::num_threads()
}

/// Sets how many threads work on one op; results do not depend on it.
#[pyfunction]
fn set_num_threads(n: i64) -> PyResult<()> {
    match usize::try_from(n).ok().filter(|&n| n > 0) {
        Some(n) => {
            parallel::set_num_threads(n);
            Ok(())
        }
        None => Err(pyo3::exceptions::PyRuntimeError::new_err("set_num_threads expects a positive integer")),
    }
}

/// Bytes in use (those in packed copies of weights by themselves), cached and at the peak, and counts of blocks.
#[pyfunction]
fn memory_stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let s = alloc::memory_stats();
    let d = PyDict::new(py);
    for (k, v) in [
        ("allocated", s.allocated),
        ("peak", s.peak),
        ("cached", s.cached),
        ("cache_limit", s.cache_limit),
        ("allocations", s.allocations),
        ("reused", s.reused),
        ("large_blocks", s.large_blocks),
        ("packed", rustnn_kernels::packs::kept_bytes() as u64),
    ] {
        d.set_item(k, v)?;
    }
    Ok(d)
}

/// Gives cached memory back to the operating system.
#[pyfunction]
fn empty_cache() {
    alloc::empty_cache();
}

/// Counts a write that was made behind the engine's back (through NumPy, by an optimizer in Python).
#[pyfunction]
fn _increment_version(t: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Ok(t) = t.cast::<PyTensor>() {
        t.get().get().bump_version();
        return Ok(());
    }
    for t in t.try_iter()? {
        t?.cast::<PyTensor>()?.get().get().bump_version();
    }
    Ok::<(), rustnn_core::Error>(()).or_raise()
}

/// Whether convolutions may wait for what follows them; returns what was set before.
#[pyfunction]
fn _set_fusion(on: bool) -> bool {
    later::allow(on)
}

/// Whether a tensor's values wait to be computed.
#[pyfunction]
fn _waits(t: &Bound<'_, PyTensor>) -> bool {
    t.get().get().storage().waits().is_some()
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    // From now on a forked child knows that it is one.
    parallel::num_threads();
    for f in [
        wrap_pyfunction!(_isa, m)?,
        wrap_pyfunction!(_isas, m)?,
        wrap_pyfunction!(_threads_reason, m)?,
        wrap_pyfunction!(get_num_threads, m)?,
        wrap_pyfunction!(set_num_threads, m)?,
        wrap_pyfunction!(memory_stats, m)?,
        wrap_pyfunction!(empty_cache, m)?,
        wrap_pyfunction!(_increment_version, m)?,
        wrap_pyfunction!(_set_fusion, m)?,
        wrap_pyfunction!(_waits, m)?,
    ] {
        m.add_function(f)?;
    }
    Ok(())
}
