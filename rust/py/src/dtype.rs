//! `dtype`, `device`, `layout` and `memory_format` objects.

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use rustnn_core::DType;

/// An element type: `rustnn.float32`, ...
#[pyclass(name = "dtype", module = "rustnn", frozen, eq, hash)]
#[derive(PartialEq, Eq, Hash)]
pub struct PyDType(pub DType);

static DTYPES: PyOnceLock<Vec<Py<PyDType>>> = PyOnceLock::new();

/// The one object of a dtype.
pub fn dtype_object(py: Python<'_>, d: DType) -> PyResult<Py<PyDType>> {
    let all = DTYPES
        .get_or_try_init(py, || DType::ALL.iter().map(|&d| Py::new(py, PyDType(d))).collect::<PyResult<Vec<_>>>())?;
    Ok(all[d as usize].clone_ref(py))
}

#[pymethods]
impl PyDType {
    fn __repr__(&self) -> String {
        format!("torch.{}", self.0.name())
    }
    fn __reduce__(&self) -> String {
        self.0.name().to_owned()
    }
    /// Bytes an element takes.
    #[getter]
    fn itemsize(&self) -> usize {
        self.0.size()
    }
    #[getter]
    fn is_floating_point(&self) -> bool {
        self.0.is_float()
    }
    #[getter]
    fn is_complex(&self) -> bool {
        false
    }
    #[getter]
    fn is_signed(&self) -> bool {
        !matches!(self.0, DType::U8 | DType::Bool)
    }
    fn to_complex(&self) -> PyResult<()> {
        Err(pyo3::exceptions::PyNotImplementedError::new_err("rustnn has no complex dtypes yet"))
    }
    fn to_real(slf: Py<Self>) -> Py<Self> {
        slf
    }
}

/// Where a tensor lives: `cpu`.
#[pyclass(name = "device", module = "rustnn", frozen, eq, hash)]
#[derive(PartialEq, Eq, Hash)]
pub struct PyDevice {
    kind: String,
    index: Option<i64>,
}

const KNOWN: [&str; 9] = ["cuda", "xpu", "mps", "hpu", "xla", "mtia", "privateuseone", "ipu", "wgpu"];

/// Checks a device by name: only `cpu` exists here.
pub fn check_device(name: &str) -> PyResult<()> {
    let kind = name.split(':').next().unwrap_or(name);
    match kind {
        "cpu" => Ok(()),
        _ if KNOWN.contains(&kind) => Err(PyRuntimeError::new_err(format!(
            "device '{name}' is not available: this build of rustnn computes on the CPU\n  hint: devices here: cpu. \
             Write device = 'cuda' if torch.cuda.is_available() else 'cpu'; support for GPUs through wgpu is being built"
        ))),
        _ => Err(PyRuntimeError::new_err(format!(
            "Expected one of cpu, cuda, ipu, xpu, mkldnn, opengl, opencl, ideep, hip, ve, fpga, maia, xla, lazy, vulkan, mps, meta, hpu, mtia, privateuseone device type at start of device string: {name}\n  hint: devices on this machine: cpu"
        ))),
    }
}

#[pymethods]
impl PyDevice {
    #[new]
    #[pyo3(signature = (r#type, index=None))]
    fn new(r#type: &Bound<'_, PyAny>, index: Option<i64>) -> PyResult<Self> {
        if let Ok(d) = r#type.cast::<PyDevice>() {
            return Ok(PyDevice { kind: d.get().kind.clone(), index: d.get().index });
        }
        let Ok(text) = r#type.extract::<String>() else {
            return Err(PyTypeError::new_err(format!(
                "device(): argument 'type' must be str or device, not {}",
                r#type.get_type().name()?
            )));
        };
        let (kind, idx) = match text.split_once(':') {
            Some((k, i)) => {
                let i = i.parse().map_err(|_| PyRuntimeError::new_err(format!("Invalid device string: '{text}'")))?;
                (k.to_owned(), Some(i))
            }
            None => (text.clone(), index),
        };
        if kind != "cpu" && kind != "meta" && !KNOWN.contains(&kind.as_str()) {
            check_device(&text)?;
        }
        Ok(PyDevice { kind, index: idx })
    }
    #[getter]
    fn r#type(&self) -> &str {
        &self.kind
    }
    #[getter]
    fn index(&self) -> Option<i64> {
        self.index
    }
    fn __repr__(&self) -> String {
        match self.index {
            Some(i) => format!("device(type='{}', index={i})", self.kind),
            None => format!("device(type='{}')", self.kind),
        }
    }
    fn __str__(&self) -> String {
        match self.index {
            Some(i) => format!("{}:{i}", self.kind),
            None => self.kind.clone(),
        }
    }
    fn __reduce__(slf: &Bound<'_, Self>) -> PyResult<(Py<PyAny>, (String,))> {
        Ok((slf.get_type().into_any().unbind(), (slf.get().__str__(),)))
    }
    fn __enter__(slf: Py<Self>) -> PyResult<Py<Self>> {
        Ok(slf)
    }
    #[pyo3(signature = (*_args))]
    fn __exit__(&self, _args: &Bound<'_, pyo3::types::PyTuple>) {}
}

impl PyDevice {
    /// As a string such as `cuda:0`.
    pub fn text(&self) -> String {
        self.__str__()
    }
}

static CPU: PyOnceLock<Py<PyDevice>> = PyOnceLock::new();

/// The device object of every tensor.
pub fn cpu(py: Python<'_>) -> PyResult<Py<PyDevice>> {
    CPU.get_or_try_init(py, || Py::new(py, PyDevice { kind: "cpu".into(), index: None })).map(|d| d.clone_ref(py))
}

/// `strided`, the one memory layout there is.
#[pyclass(name = "layout", module = "rustnn", frozen)]
pub struct PyLayout(pub &'static str);

#[pymethods]
impl PyLayout {
    fn __repr__(&self) -> String {
        format!("torch.{}", self.0)
    }
    fn __reduce__(&self) -> &'static str {
        self.0
    }
}

/// An order of dimensions in memory.
#[pyclass(name = "memory_format", module = "rustnn", frozen, eq, hash)]
#[derive(PartialEq, Eq, Hash)]
pub struct PyMemoryFormat(pub u8);

/// Names by number.
pub const FORMATS: [&str; 4] = ["contiguous_format", "preserve_format", "channels_last", "channels_last_3d"];

#[pymethods]
impl PyMemoryFormat {
    fn __repr__(&self) -> String {
        format!("torch.{}", FORMATS[usize::from(self.0).min(3)])
    }
    fn __reduce__(&self) -> &'static str {
        FORMATS[usize::from(self.0).min(3)]
    }
}

/// Puts the classes and constants into the module.
pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = m.py();
    m.add_class::<PyDType>()?;
    m.add_class::<PyDevice>()?;
    m.add_class::<PyLayout>()?;
    m.add_class::<PyMemoryFormat>()?;
    for d in DType::ALL {
        m.add(d.name(), dtype_object(py, d)?)?;
    }
    for (alias, d) in [
        ("float", DType::F32),
        ("double", DType::F64),
        ("half", DType::F16),
        ("long", DType::I64),
        ("int", DType::I32),
        ("short", DType::I16),
    ] {
        m.add(alias, dtype_object(py, d)?)?;
    }
    m.add("strided", Py::new(py, PyLayout("strided"))?)?;
    m.add("sparse_coo", Py::new(py, PyLayout("sparse_coo"))?)?;
    m.add("sparse_csr", Py::new(py, PyLayout("sparse_csr"))?)?;
    for (i, name) in FORMATS.iter().enumerate() {
        m.add(*name, Py::new(py, PyMemoryFormat(i as u8))?)?;
    }
    Ok(())
}
