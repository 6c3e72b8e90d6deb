//! Python values to op arguments and back.

use crate::dtype::{PyDType, PyDevice, PyLayout, PyMemoryFormat, check_device};
use crate::tensor::{PyTensor, tensor_of};
use pyo3::exceptions::{PyRecursionError, PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PySequence, PyString, PyTuple};
use rustnn_core::base::with_dtype;
use rustnn_core::{DType, Element, Scalar, Tensor};
use rustnn_kernels::room;
use rustnn_ops::Arg;
use rustnn_ops::sig::{Param, ty};
use smallvec::SmallVec;

/// The value as an argument for `p`; `None` when it is of the wrong kind.
#[inline]
pub fn argument(v: &Bound<'_, PyAny>, p: &Param) -> PyResult<Option<Arg>> {
    let types = p.types;
    if let Ok(t) = v.cast::<PyTensor>() {
        if types & (ty::TENSOR | ty::TENSORS) != 0 {
            return Ok(Some(Arg::Tensor(t.get().get())));
        }
        return zero_dim(&t.get().get(), types);
    }
    if v.is_none() {
        return Ok((types & ty::NONE != 0).then_some(Arg::None));
    }
    if types & (ty::SCALAR | ty::FLOAT | ty::INT | ty::BOOL) != 0
        && let Some(a) = number(v, types)?
    {
        return Ok(Some(a));
    }
    if types & (ty::INTS | ty::FLOATS | ty::TENSORS | ty::OPT_TENSORS) != 0
        && let Some(a) = list(v, p)?
    {
        return Ok(Some(a));
    }
    other(v, types)
}

/// A 0-d tensor where a number is wanted.
fn zero_dim(t: &Tensor, types: u32) -> PyResult<Option<Arg>> {
    if t.numel() != 1 {
        return Ok(None);
    }
    let value = t.item().map_err(crate::error::raise)?;
    Ok(match value {
        Scalar::Bool(b) if types & (ty::SCALAR | ty::BOOL) != 0 => Some(Arg::Bool(b)),
        Scalar::Float(f) if types & (ty::SCALAR | ty::FLOAT) != 0 => Some(Arg::Float(f)),
        Scalar::Int(i) if types & (ty::SCALAR | ty::INT) != 0 => Some(Arg::Int(i)),
        Scalar::Int(i) if types & ty::FLOAT != 0 => Some(Arg::Float(i as f64)),
        Scalar::Int(i) if types & ty::INTS != 0 => Some(Arg::Ints(SmallVec::from_elem(i, 1))),
        _ => None,
    })
}

fn overflow() -> PyErr {
    PyRuntimeError::new_err("Overflow when unpacking long long\n  hint: the integer does not fit in 64 bits")
}

/// A Python number (bool, int, float, NumPy scalar) for a parameter of these types.
#[inline]
fn number(v: &Bound<'_, PyAny>, types: u32) -> PyResult<Option<Arg>> {
    if v.is_exact_instance_of::<PyFloat>() {
        return (types & (ty::SCALAR | ty::FLOAT) != 0).then(|| v.extract::<f64>().map(Arg::Float)).transpose();
    }
    if v.is_exact_instance_of::<PyInt>() {
        if types & (ty::SCALAR | ty::INT) != 0 {
            return v.extract::<i64>().map(|i| Some(Arg::Int(i))).map_err(|_| overflow());
        }
        if types & ty::FLOAT != 0 {
            return Ok(Some(Arg::Float(v.extract::<f64>()?)));
        }
        return Ok(None);
    }
    if v.is_exact_instance_of::<PyBool>() {
        let b = v.extract::<bool>()?;
        return Ok(match () {
            () if types & (ty::SCALAR | ty::BOOL) != 0 => Some(Arg::Bool(b)),
            () if types & ty::INT != 0 => Some(Arg::Int(i64::from(b))),
            () if types & ty::FLOAT != 0 => Some(Arg::Float(f64::from(u8::from(b)))),
            () => None,
        });
    }
    slow_number(v, types)
}

/// Subclasses of numbers and NumPy scalars.
#[cold]
fn slow_number(v: &Bound<'_, PyAny>, types: u32) -> PyResult<Option<Arg>> {
    if v.is_instance_of::<PyString>() || v.is_instance_of::<PySequenceLike>() {
        return Ok(None);
    }
    let py = v.py();
    let is_bool = v.get_type().name()?.to_string().starts_with("bool");
    if is_bool && types & (ty::SCALAR | ty::BOOL | ty::INT) != 0 {
        let b = v.is_truthy()?;
        return Ok(Some(if types & (ty::SCALAR | ty::BOOL) != 0 { Arg::Bool(b) } else { Arg::Int(i64::from(b)) }));
    }
    if v.hasattr(pyo3::intern!(py, "__len__"))? && !v.hasattr(pyo3::intern!(py, "__index__"))? {
        return Ok(None);
    }
    if types & (ty::SCALAR | ty::INT | ty::FLOAT) != 0
        && v.hasattr(pyo3::intern!(py, "__index__"))?
        && let Ok(i) = v.call_method0(pyo3::intern!(py, "__index__"))
    {
        let i: i64 = i.extract().map_err(|_| overflow())?;
        return Ok(Some(if types & (ty::SCALAR | ty::INT) != 0 { Arg::Int(i) } else { Arg::Float(i as f64) }));
    }
    let is_array = v.hasattr(pyo3::intern!(py, "ndim"))? && !v.getattr(pyo3::intern!(py, "ndim"))?.eq(0)?;
    if types & (ty::SCALAR | ty::FLOAT) != 0 && !is_array && v.hasattr(pyo3::intern!(py, "__float__"))? {
        return Ok(v.call_method0(pyo3::intern!(py, "__float__"))?.extract::<f64>().ok().map(Arg::Float));
    }
    Ok(None)
}

type PySequenceLike = PyTuple;

/// An integer, if the value is one (bools are not, as sizes).
#[inline]
pub fn int(v: &Bound<'_, PyAny>) -> Option<i64> {
    if v.is_exact_instance_of::<PyInt>() {
        return v.extract().ok();
    }
    if v.is_none() || v.is_instance_of::<PyTuple>() || v.is_instance_of::<PyList>() || v.is_instance_of::<PyString>() {
        return None;
    }
    if let Some(t) = tensor_of(v) {
        return (t.numel() == 1 && !t.dtype().is_float()).then(|| t.item().ok().map(Scalar::to_i64)).flatten();
    }
    v.call_method0(pyo3::intern!(v.py(), "__index__")).ok()?.extract().ok()
}

fn list(v: &Bound<'_, PyAny>, p: &Param) -> PyResult<Option<Arg>> {
    let types = p.types;
    if p.repeat > 0 && v.is_exact_instance_of::<PyInt>() {
        let i = v.extract::<i64>().map_err(|_| overflow())?;
        return Ok(Some(if types & ty::INTS != 0 {
            Arg::Ints(SmallVec::from_elem(i, p.repeat))
        } else {
            Arg::Floats(vec![i as f64; p.repeat])
        }));
    }
    if p.repeat > 0 && types & ty::FLOATS != 0 && v.is_instance_of::<PyFloat>() {
        return Ok(Some(Arg::Floats(vec![v.extract::<f64>()?; p.repeat])));
    }
    let items: SmallVec<[Bound<'_, PyAny>; 8]> = if let Ok(t) = v.cast::<PyTuple>() {
        t.iter().collect()
    } else if let Ok(l) = v.cast::<PyList>() {
        l.iter().collect()
    } else if !v.is_instance_of::<PyString>() && v.cast::<PySequence>().is_ok() {
        // Its length is whatever it says, or none; where there is no room for so many, no time is lost.
        let said = v.len().unwrap_or(0);
        drop(room::with_capacity::<Bound<'_, PyAny>>(said).map_err(crate::error::raise)?);
        let mut items = Vec::new();
        for item in v.try_iter()? {
            room::push(&mut items, item?).map_err(crate::error::raise)?;
            if items.len() % (1 << 20) == 0 {
                v.py().check_signals()?;
            }
        }
        SmallVec::from_vec(items)
    } else {
        if types & ty::INTS != 0
            && let Some(i) = int(v)
        {
            return Ok(Some(Arg::Ints(SmallVec::from_elem(i, p.repeat.max(1)))));
        }
        return Ok(None);
    };
    if types & ty::TENSORS != 0
        && let Some(all) = items.iter().map(tensor_of).collect::<Option<Vec<_>>>()
        && (!all.is_empty() || types & ty::INTS == 0)
    {
        return Ok(Some(Arg::Tensors(all)));
    }
    if types & ty::OPT_TENSORS != 0 {
        let all = items.iter().map(|i| if i.is_none() { Some(None) } else { tensor_of(i).map(Some) });
        return Ok(all.collect::<Option<Vec<_>>>().map(Arg::OptTensors));
    }
    if types & ty::INTS != 0
        && let Some(mut all) = items.iter().map(int).collect::<Option<SmallVec<[i64; 5]>>>()
    {
        if p.repeat > 1 && all.len() == 1 {
            all = SmallVec::from_elem(all[0], p.repeat);
        }
        return Ok(Some(Arg::Ints(all)));
    }
    if types & ty::FLOATS != 0 {
        let all = items.iter().map(|i| i.extract::<f64>().ok()).collect::<Option<Vec<_>>>();
        return Ok(all.map(Arg::Floats));
    }
    Ok(None)
}

fn other(v: &Bound<'_, PyAny>, types: u32) -> PyResult<Option<Arg>> {
    if types & ty::STR != 0
        && let Ok(s) = v.cast::<PyString>()
    {
        return Ok(Some(Arg::Str(s.to_string())));
    }
    if types & ty::DTYPE != 0 {
        if let Ok(d) = v.cast::<PyDType>() {
            return Ok(Some(Arg::DType(d.get().known()?)));
        }
        if v.is(v.py().get_type::<PyFloat>()) {
            return Ok(Some(Arg::DType(rustnn_core::mode::default_dtype())));
        }
        if v.is(v.py().get_type::<PyInt>()) {
            return Ok(Some(Arg::DType(DType::I64)));
        }
        if v.is(v.py().get_type::<PyBool>()) {
            return Ok(Some(Arg::DType(DType::Bool)));
        }
    }
    if types & ty::DEVICE != 0 {
        if let Ok(d) = v.cast::<PyDevice>() {
            check_device(&d.get().text())?;
            return Ok(Some(Arg::Other));
        }
        if let Ok(s) = v.cast::<PyString>() {
            check_device(&s.to_string())?;
            return Ok(Some(Arg::Other));
        }
        if v.is_exact_instance_of::<PyInt>() {
            check_device("cuda")?;
        }
    }
    if types & ty::LAYOUT != 0
        && let Ok(layout) = v.cast::<PyLayout>()
    {
        layout.get().check()?;
        return Ok(Some(Arg::Other));
    }
    if types & ty::MEMORY_FORMAT != 0
        && let Ok(m) = v.cast::<PyMemoryFormat>()
    {
        return Ok(Some(Arg::MemoryFormat(m.get().0)));
    }
    if types & ty::GENERATOR != 0
        && let Ok(g) = v.cast::<crate::generator::PyGenerator>()
    {
        return Ok(Some(Arg::Generator(g.get().0.clone())));
    }
    Ok(None)
}

/// A number as Python has it.
#[inline]
pub fn scalar_object(py: Python<'_>, s: Scalar) -> PyResult<Bound<'_, PyAny>> {
    Ok(match s {
        Scalar::Bool(b) => PyBool::new(py, b).to_owned().into_any(),
        Scalar::Int(i) => i.into_pyobject(py)?.into_any(),
        Scalar::Float(f) => PyFloat::new(py, f).into_any(),
    })
}

/// Python's own limit of recursion, as it comes.
const MOST_NESTED: usize = 1000;

/// A tensor's values as nested lists.
pub fn nested_list<'py>(py: Python<'py>, t: &Tensor) -> PyResult<Bound<'py, PyAny>> {
    if t.ndim() == 0 {
        return scalar_object(py, t.item().map_err(crate::error::raise)?);
    }
    // Lists in lists in lists: code that walks them recurses, this one too.
    if t.ndim() > MOST_NESTED {
        return Err(PyRecursionError::new_err(format!("lists nested {} deep", t.ndim())));
    }
    // Python's own lists and numbers end in a panic where memory ends: what they take is asked for first.
    let mut objects = 0usize;
    for d in 0..t.ndim() {
        objects = t.shape()[..=d].iter().fold(1usize, |n, &k| n.saturating_mul(k)).saturating_add(objects);
    }
    drop(room::with_capacity::<[u8; 40]>(objects).map_err(crate::error::raise)?);
    let t = t.to_contiguous().map_err(crate::error::raise)?;
    with_dtype!(t.dtype(), T => {
        let data = t.slice::<T>().map_err(crate::error::raise)?;
        build_list(py, data, t.shape())
    })
}

fn build_list<'py, T: Element>(py: Python<'py>, data: &[T], shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    let list = PyList::empty(py);
    let (n, rest) = (shape[0], &shape[1..]);
    let step = if data.is_empty() { 0 } else { rest.iter().product::<usize>() };
    for i in 0..n {
        if i % (1 << 16) == (1 << 16) - 1 {
            py.check_signals()?;
        }
        if rest.is_empty() {
            list.append(scalar_object(py, data[i].to_scalar())?)?;
        } else {
            list.append(build_list(py, &data[i * step..(i + 1) * step], rest)?)?;
        }
    }
    Ok(list.into_any())
}

static NAMED: PyOnceLock<Py<PyDict>> = PyOnceLock::new();

/// The named tuple class `return_types.<name>`, made at its first use.
pub fn named_type<'py>(py: Python<'py>, name: &str, fields: &[&str]) -> PyResult<Bound<'py, PyAny>> {
    let all = NAMED.get_or_init(py, || PyDict::new(py).unbind()).bind(py);
    if let Some(c) = all.get_item(name)? {
        return Ok(c);
    }
    let maker = py.import("rustnn._return_types")?.getattr("make")?;
    let cls = maker.call1((name, fields.to_vec()))?;
    all.set_item(name, &cls)?;
    Ok(cls)
}

/// `TypeError` for something that is not a tensor.
pub fn expect_tensor(v: &Bound<'_, PyAny>, what: &str) -> PyResult<Tensor> {
    match tensor_of(v) {
        Some(t) => Ok(t),
        None => Err(PyTypeError::new_err(format!("{what} must be Tensor, not {}", v.get_type().name()?))),
    }
}
