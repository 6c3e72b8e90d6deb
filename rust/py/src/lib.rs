//! The Python extension module `rustnn._C`: PyO3 only. Its size does not depend on the number of ops.
#![allow(non_snake_case)] // the module's name is PyTorch's

mod autograd;
mod buffer;
mod call;
mod convert;
mod dtype;
mod error;
mod factory;
mod generator;
mod index;
mod module;
mod node;
mod node_names;
mod operators;
mod optim;
mod profile;
mod subclass;
mod swap;
mod system;
mod tensor;

use pyo3::prelude::*;

#[pyfunction]
fn get_default_dtype(py: Python<'_>) -> PyResult<Py<dtype::PyDType>> {
    dtype::dtype_object(py, rustnn_core::mode::default_dtype())
}

#[pyfunction]
fn set_default_dtype(d: &Bound<'_, dtype::PyDType>) -> PyResult<()> {
    let d = d.get().known()?;
    if !d.is_float() {
        return Err(pyo3::exceptions::PyTypeError::new_err(format!(
            "only floating-point types are supported as the default type, not {}",
            d.name()
        )));
    }
    rustnn_core::mode::set_default_dtype(d);
    Ok(())
}

#[pyfunction]
fn promote_types(
    py: Python<'_>,
    type1: &Bound<'_, dtype::PyDType>,
    type2: &Bound<'_, dtype::PyDType>,
) -> PyResult<Py<dtype::PyDType>> {
    dtype::dtype_object(py, type1.get().known()?.promote(type2.get().known()?))
}

#[pyfunction]
fn can_cast(from_: &Bound<'_, dtype::PyDType>, to: &Bound<'_, dtype::PyDType>) -> PyResult<bool> {
    Ok(from_.get().known()?.can_cast(to.get().known()?))
}

#[pymodule]
fn _C(m: &Bound<'_, PyModule>) -> PyResult<()> {
    rustnn_kernels::alloc::prepare();
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add("_LinAlgError", m.py().get_type::<error::LinAlgError>())?;
    m.add_class::<tensor::PyTensor>()?;
    dtype::install(m)?;
    generator::install(m)?;
    call::install(m)?;
    autograd::install(m)?;
    factory::install(m)?;
    system::install(m)?;
    profile::install(m)?;
    optim::install(m)?;
    module::install(m)?;
    for f in [
        wrap_pyfunction!(get_default_dtype, m)?,
        wrap_pyfunction!(set_default_dtype, m)?,
        wrap_pyfunction!(promote_types, m)?,
        wrap_pyfunction!(can_cast, m)?,
        wrap_pyfunction!(call::_registry, m)?,
        wrap_pyfunction!(tensor::_set_size_type, m)?,
        wrap_pyfunction!(swap::_become, m)?,
        wrap_pyfunction!(swap::_exchange, m)?,
        wrap_pyfunction!(swap::_restride, m)?,
        wrap_pyfunction!(subclass::_set_parameter_type, m)?,
        wrap_pyfunction!(subclass::_set_torch_function_handler, m)?,
        wrap_pyfunction!(subclass::_set_torch_function_enabled, m)?,
        wrap_pyfunction!(buffer::from_dlpack, m)?,
    ] {
        m.add_function(f)?;
    }
    Ok(())
}
