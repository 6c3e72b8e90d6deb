//! `dtype`, `device`, `layout` and `memory_format` objects.

use pyo3::exceptions::{PyNotImplementedError, PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use rustnn_core::DType;

/// An element type: `rustnn.float32`, ... Those of PyTorch that no tensor here can have exist by name, because
/// programs list them in tables; asking for a tensor of one raises.
#[pyclass(name = "dtype", module = "rustnn", frozen, eq, hash)]
#[derive(PartialEq, Eq, Hash)]
pub struct PyDType(Which);

#[derive(PartialEq, Eq, Hash, Clone, Copy)]
enum Which {
    /// Tensors have it.
    Here(DType),
    /// A row of `ABSENT`.
    Absent(usize),
}

/// What PyTorch knows of a dtype that is only a name here.
struct Absent {
    name: &'static str,
    bytes: usize,
    kind: Kind,
    hint: &'static str,
}

#[derive(PartialEq, Clone, Copy)]
enum Kind {
    Complex,
    Float,
    Unsigned,
    Signed,
}

const COMPLEX: &str = "keep real and imaginary parts in two tensors";
const NARROW: &str = "the narrow dtypes are bfloat16 and float16";
const UNSIGNED: &str = "the integer dtypes are uint8, int8, int16, int32 and int64";
const BITS: &str = "keep small numbers in uint8 or int8";
const QUANTIZED: &str = "keep quantized values in int8 or uint8 beside their scale";

const ABSENT: [Absent; 33] = {
    const fn a(name: &'static str, bytes: usize, kind: Kind, hint: &'static str) -> Absent {
        Absent { name, bytes, kind, hint }
    }
    use Kind::{Complex, Float, Signed, Unsigned};
    [
        a("complex32", 4, Complex, COMPLEX),
        a("complex64", 8, Complex, COMPLEX),
        a("complex128", 16, Complex, COMPLEX),
        a("uint16", 2, Unsigned, UNSIGNED),
        a("uint32", 4, Unsigned, UNSIGNED),
        a("uint64", 8, Unsigned, UNSIGNED),
        a("float8_e4m3fn", 1, Float, NARROW),
        a("float8_e4m3fnuz", 1, Float, NARROW),
        a("float8_e5m2", 1, Float, NARROW),
        a("float8_e5m2fnuz", 1, Float, NARROW),
        a("float8_e8m0fnu", 1, Float, NARROW),
        a("float4_e2m1fn_x2", 1, Float, NARROW),
        a("qint8", 1, Signed, QUANTIZED),
        a("quint8", 1, Unsigned, QUANTIZED),
        a("qint32", 4, Signed, QUANTIZED),
        a("quint4x2", 1, Unsigned, QUANTIZED),
        a("quint2x4", 1, Unsigned, QUANTIZED),
        a("bits8", 1, Unsigned, BITS),
        a("bits16", 2, Unsigned, BITS),
        a("uint1", 1, Unsigned, BITS),
        a("uint2", 1, Unsigned, BITS),
        a("uint3", 1, Unsigned, BITS),
        a("uint4", 1, Unsigned, BITS),
        a("uint5", 1, Unsigned, BITS),
        a("uint6", 1, Unsigned, BITS),
        a("uint7", 1, Unsigned, BITS),
        a("int1", 1, Signed, BITS),
        a("int2", 1, Signed, BITS),
        a("int3", 1, Signed, BITS),
        a("int4", 1, Signed, BITS),
        a("int5", 1, Signed, BITS),
        a("int6", 1, Signed, BITS),
        a("int7", 1, Signed, BITS),
    ]
};

static DTYPES: PyOnceLock<Vec<Py<PyDType>>> = PyOnceLock::new();
static NAMES: PyOnceLock<Vec<Py<PyDType>>> = PyOnceLock::new();

/// The one object of a dtype.
pub fn dtype_object(py: Python<'_>, d: DType) -> PyResult<Py<PyDType>> {
    let all = DTYPES.get_or_try_init(py, || {
        DType::ALL.iter().map(|&d| Py::new(py, PyDType(Which::Here(d)))).collect::<PyResult<Vec<_>>>()
    })?;
    Ok(all[d as usize].clone_ref(py))
}

/// The one object of a dtype that is only a name.
fn absent_object(py: Python<'_>, row: usize) -> PyResult<Py<PyDType>> {
    let all = NAMES.get_or_try_init(py, || {
        (0..ABSENT.len()).map(|i| Py::new(py, PyDType(Which::Absent(i)))).collect::<PyResult<Vec<_>>>()
    })?;
    Ok(all[row].clone_ref(py))
}

fn absent_by_name(py: Python<'_>, name: &str) -> PyResult<Py<PyDType>> {
    let row = ABSENT.iter().position(|a| a.name == name).unwrap_or(0);
    absent_object(py, row)
}

impl PyDType {
    /// The dtype, for what makes or asks for tensors of it.
    ///
    /// # Errors
    /// It is one of those that exist by name only.
    pub fn known(&self) -> PyResult<DType> {
        match self.0 {
            Which::Here(d) => Ok(d),
            Which::Absent(row) => {
                let a = &ABSENT[row];
                Err(PyNotImplementedError::new_err(format!(
                    "rustnn has no tensors of dtype torch.{}\n  hint: {}; the dtypes are float32, float64, bfloat16, \
                     float16, int64, int32, int16, int8, uint8 and bool",
                    a.name, a.hint
                )))
            }
        }
    }
    fn name(&self) -> &'static str {
        match self.0 {
            Which::Here(d) => d.name(),
            Which::Absent(row) => ABSENT[row].name,
        }
    }
    fn absent_kind(&self) -> Option<Kind> {
        match self.0 {
            Which::Here(_) => None,
            Which::Absent(row) => Some(ABSENT[row].kind),
        }
    }
}

#[pymethods]
impl PyDType {
    fn __repr__(&self) -> String {
        format!("torch.{}", self.name())
    }
    fn __reduce__(&self) -> String {
        self.name().to_owned()
    }
    /// Bytes an element takes.
    #[getter]
    fn itemsize(&self) -> usize {
        match self.0 {
            Which::Here(d) => d.size(),
            Which::Absent(row) => ABSENT[row].bytes,
        }
    }
    #[getter]
    fn is_floating_point(&self) -> bool {
        match self.0 {
            Which::Here(d) => d.is_float(),
            Which::Absent(row) => ABSENT[row].kind == Kind::Float,
        }
    }
    #[getter]
    fn is_complex(&self) -> bool {
        self.absent_kind() == Some(Kind::Complex)
    }
    #[getter]
    fn is_signed(&self) -> bool {
        match self.0 {
            Which::Here(d) => !matches!(d, DType::U8 | DType::Bool),
            Which::Absent(row) => ABSENT[row].kind != Kind::Unsigned,
        }
    }
    /// The complex dtype with parts of this one.
    fn to_complex(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        let name = match slf.get().0 {
            Which::Here(DType::F64) => "complex128",
            Which::Here(DType::F32 | DType::BF16) => "complex64",
            Which::Here(DType::F16) => "complex32",
            _ if slf.get().is_complex() => return Ok(slf),
            Which::Here(_) => "complex64",
            Which::Absent(_) => {
                return Err(PyNotImplementedError::new_err(format!("{} has no complex dtype", slf.get().__repr__())));
            }
        };
        absent_by_name(py, name)
    }
    /// The dtype of the parts of a complex one; a real one itself.
    fn to_real(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        match slf.get().name() {
            "complex128" => dtype_object(py, DType::F64),
            "complex64" => dtype_object(py, DType::F32),
            "complex32" => dtype_object(py, DType::F16),
            _ => Ok(slf),
        }
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
        "meta" if in_meta() => Ok(()),
        "meta" => Err(PyNotImplementedError::new_err(
            "rustnn has no tensors without memory (device 'meta')\n  hint: make the network on the CPU; inside of `with \
             torch.device('meta'):` modules can be made too, and have memory",
        )),
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
    /// A block on `cpu` changes nothing. In one on `meta`, tensors have memory all the same, but say `meta`, and what
    /// is drawn to fill them is not taken from the stream of random numbers: libraries make a network there whose
    /// weights they set afterwards.
    fn __enter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        match slf.get().kind.as_str() {
            "cpu" => {}
            "meta" => {
                let state = py.import("rustnn.random")?.call_method0("get_rng_state")?.unbind();
                META.with_borrow_mut(|m| m.push(state));
            }
            _ => check_device(&slf.get().text())?,
        }
        Ok(slf)
    }
    #[pyo3(signature = (*_args))]
    fn __exit__(&self, py: Python<'_>, _args: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        if self.kind == "meta"
            && let Some(state) = META.with_borrow_mut(Vec::pop)
        {
            py.import("rustnn.random")?.call_method1("set_rng_state", (state,))?;
        }
        Ok(())
    }
}

impl PyDevice {
    /// As a string such as `cuda:0`.
    pub fn text(&self) -> String {
        self.__str__()
    }
}

thread_local! {
    /// The state of the generator at the beginning of each block on `meta` around this.
    static META: std::cell::RefCell<Vec<Py<PyAny>>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Whether a block on `meta` is around.
pub fn in_meta() -> bool {
    META.with_borrow(|m| !m.is_empty())
}

/// The device that tensors say they are on: `cpu`, but in a block on `meta`.
pub fn current(py: Python<'_>) -> PyResult<Py<PyDevice>> {
    if in_meta() {
        return Py::new(py, PyDevice { kind: "meta".into(), index: None });
    }
    cpu(py)
}

static CPU: PyOnceLock<Py<PyDevice>> = PyOnceLock::new();

/// The device object of every tensor.
pub fn cpu(py: Python<'_>) -> PyResult<Py<PyDevice>> {
    CPU.get_or_try_init(py, || Py::new(py, PyDevice { kind: "cpu".into(), index: None })).map(|d| d.clone_ref(py))
}

/// `strided`, the one memory layout there is; the others are names that programs compare with.
#[pyclass(name = "layout", module = "rustnn", frozen)]
pub struct PyLayout(pub &'static str);

impl PyLayout {
    /// Refuses what is only a name here.
    pub fn check(&self) -> PyResult<()> {
        if self.0 == "strided" {
            return Ok(());
        }
        Err(PyNotImplementedError::new_err(format!(
            "rustnn has no tensors of layout torch.{}\n  hint: tensors are dense: leave the layout out, or gather and \
             scatter by index",
            self.0
        )))
    }
}

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
    for (row, a) in ABSENT.iter().enumerate() {
        m.add(a.name, absent_object(py, row)?)?;
    }
    for (alias, name) in [("chalf", "complex32"), ("cfloat", "complex64"), ("cdouble", "complex128")] {
        m.add(alias, absent_by_name(py, name)?)?;
    }
    m.add("strided", Py::new(py, PyLayout("strided"))?)?;
    m.add("sparse_coo", Py::new(py, PyLayout("sparse_coo"))?)?;
    for other in ["sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "_mkldnn", "jagged"] {
        m.add(other, Py::new(py, PyLayout(other))?)?;
    }
    for (i, name) in FORMATS.iter().enumerate() {
        m.add(*name, Py::new(py, PyMemoryFormat(i as u8))?)?;
    }
    Ok(())
}
