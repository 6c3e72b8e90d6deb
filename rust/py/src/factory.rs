//! Tensors from Python data: `tensor`, `as_tensor`, `from_numpy`, `frombuffer`, and the old `Tensor(...)`.

use crate::error::OrRaise;
use crate::tensor::{PyTensor, tensor_of, wrap};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PySequence, PyString, PyTuple};
use rustnn_core::base::{Layout, with_dtype};
use rustnn_core::{DType, Dims, Element, Scalar, Strides, Tensor, mode};
use rustnn_kernels::room;
use std::ptr::NonNull;

/// Values of a nested list, flattened, with their shape and widest kind.
struct Collected {
    shape: Vec<usize>,
    values: Vec<Scalar>,
    /// Widest dtype of NumPy scalars and tensors among the values, if any.
    hint: Option<DType>,
    plain: bool,
}

const MAX_DEPTH: usize = 64;

fn is_sequence(v: &Bound<'_, PyAny>) -> bool {
    v.is_instance_of::<PyList>()
        || v.is_instance_of::<PyTuple>()
        || (!v.is_instance_of::<PyString>() && !v.is_instance_of::<PyDict>() && v.cast::<PySequence>().is_ok())
}

fn number(v: &Bound<'_, PyAny>) -> PyResult<Option<(Scalar, Option<DType>)>> {
    if v.is_exact_instance_of::<PyFloat>() {
        return Ok(Some((Scalar::Float(v.extract()?), None)));
    }
    if v.is_exact_instance_of::<PyInt>() {
        let i = v.extract::<i64>().map_err(|_| PyRuntimeError::new_err("Overflow when unpacking long long"))?;
        return Ok(Some((Scalar::Int(i), None)));
    }
    if v.is_instance_of::<PyBool>() {
        return Ok(Some((Scalar::Bool(v.extract()?), None)));
    }
    if let Some(t) = tensor_of(v) {
        if t.numel() != 1 {
            return Err(PyValueError::new_err(
                "only one element tensors can be converted to Python scalars\n  hint: use torch.stack for a list of tensors",
            ));
        }
        return Ok(Some((t.item().or_raise()?, Some(t.dtype()))));
    }
    if v.is_instance_of::<PyFloat>() && v.get_type().name()?.to_string().starts_with("float") {
        return Ok(Some((Scalar::Float(v.extract()?), Some(DType::F64))));
    }
    if let Ok(d) = v.getattr(pyo3::intern!(v.py(), "dtype")) {
        let name = d.str()?.to_string();
        let Some(dtype) = dtype_by_numpy(&name) else { return Ok(None) };
        let plain = v.call_method0(pyo3::intern!(v.py(), "item"))?;
        // Only Python's own numbers: an object that gives itself would be asked without end.
        let builtin = plain.is_instance_of::<PyFloat>() || plain.is_instance_of::<PyInt>();
        return Ok(if builtin { number(&plain)?.map(|(s, _)| (s, Some(dtype))) } else { None });
    }
    if v.is_instance_of::<PyInt>() || v.hasattr("__index__")? {
        let i: i64 = v.call_method0("__index__")?.extract()?;
        return Ok(Some((Scalar::Int(i), None)));
    }
    if v.hasattr("__float__")? {
        return Ok(Some((Scalar::Float(v.call_method0("__float__")?.extract()?), None)));
    }
    Ok(None)
}

/// Our dtype for NumPy's name of it.
pub fn dtype_by_numpy(name: &str) -> Option<DType> {
    DType::ALL.into_iter().find(|d| d.name() == name)
}

fn collect(v: &Bound<'_, PyAny>, depth: usize, c: &mut Collected) -> PyResult<()> {
    if depth > MAX_DEPTH {
        return Err(PyValueError::new_err("too many dimensions: the list is nested more than 64 deep"));
    }
    let has_len = !(v.is_exact_instance_of::<PyFloat>() || v.is_exact_instance_of::<PyInt>());
    let zero_dim = has_len && tensor_of(v).is_some_and(|t| t.ndim() == 0);
    if has_len && !zero_dim && (is_sequence(v) || tensor_of(v).is_some_and(|t| t.ndim() > 0)) {
        let n = v.len()?;
        if n > 1 << 16 {
            drop(room::with_capacity::<Scalar>(n).or_raise()?);
        }
        if c.shape.len() == depth {
            if !c.values.is_empty() {
                return Err(ragged(v, depth, c));
            }
            c.shape.push(n);
        } else if c.shape[depth] != n {
            return Err(PyValueError::new_err(format!(
                "expected sequence of length {} at dim {depth} (got {n})\n  hint: every row must be of one length; this \
                 one starts with {}",
                c.shape[depth],
                v.repr().map(|r| r.to_string().chars().take(60).collect::<String>()).unwrap_or_default()
            )));
        }
        if let Ok(l) = v.cast::<PyList>() {
            for i in l {
                collect(&i, depth + 1, c)?;
            }
        } else {
            for (k, i) in v.try_iter()?.enumerate() {
                // A sequence that never ends, whatever length it gave.
                if k == n {
                    return Err(PyValueError::new_err(format!(
                        "a sequence of length {n} at dim {depth} has more items"
                    )));
                }
                collect(&i?, depth + 1, c)?;
            }
        }
        return Ok(());
    }
    if depth != c.shape.len() && !(c.values.is_empty() && depth >= c.shape.len()) {
        return Err(PyTypeError::new_err(format!(
            "expected a sequence of length {} at dim {depth}, got a single value\n  hint: rows of different depth cannot make a tensor",
            c.shape[depth]
        )));
    }
    match number(v)? {
        Some((s, hint)) => {
            room::push(&mut c.values, s).or_raise()?;
            if c.values.len() % (1 << 20) == 0 {
                v.py().check_signals()?;
            }
            match hint {
                Some(d) => c.hint = Some(c.hint.map_or(d, |h| h.promote(d))),
                None => c.plain = true,
            }
            Ok(())
        }
        None if v.is_instance_of::<PyString>() => {
            Err(PyTypeError::new_err(format!("new(): invalid data type '{}'", v.get_type().name()?)))
        }
        None => Err(PyRuntimeError::new_err(format!("Could not infer dtype of {}", v.get_type().name()?))),
    }
}

#[cold]
fn ragged(v: &Bound<'_, PyAny>, depth: usize, _c: &Collected) -> PyErr {
    let n = v.len().unwrap_or(0);
    PyValueError::new_err(format!("expected a single value at dim {depth}, got a sequence of length {n}"))
}

fn infer(c: &Collected) -> DType {
    let default = mode::default_dtype();
    let kind = c.values.iter().map(|s| s.kind()).max();
    match (kind, c.hint) {
        (None, _) => default,
        (Some(k), hint) => {
            let own = match k {
                rustnn_core::base::Kind::Bool => DType::Bool,
                rustnn_core::base::Kind::Int => DType::I64,
                rustnn_core::base::Kind::Float => default,
            };
            match hint {
                Some(h) if !c.plain => h,
                Some(h) if h.kind() >= own.kind() => h,
                _ => own,
            }
        }
    }
}

/// A fresh tensor from nested sequences, numbers, arrays or tensors.
pub fn tensor_from(v: &Bound<'_, PyAny>, dtype: Option<DType>) -> PyResult<Tensor> {
    if let Some(t) = tensor_of(v) {
        return t.detach().copied_as(dtype.unwrap_or(t.dtype())).or_raise();
    }
    let py = v.py();
    let is_plain = v.is_instance_of::<PyList>()
        || v.is_instance_of::<PyTuple>()
        || v.is_exact_instance_of::<PyFloat>()
        || v.is_exact_instance_of::<PyInt>();
    if !is_plain && v.hasattr(pyo3::intern!(py, "__array_interface__"))? && v.hasattr(pyo3::intern!(py, "ndim"))? {
        let t = from_array(v)?;
        return t.copied_as(dtype.unwrap_or(t.dtype())).or_raise();
    }
    let mut c = Collected { shape: Vec::new(), values: Vec::new(), hint: None, plain: false };
    collect(v, 0, &mut c)?;
    let expected = c.shape.iter().fold(1usize, |n, &d| n.saturating_mul(d));
    if expected != c.values.len() {
        return Err(PyValueError::new_err("expected sequences of one length at every dim"));
    }
    let dtype = dtype.unwrap_or_else(|| infer(&c));
    let out = Tensor::empty(&c.shape, dtype).or_raise()?;
    with_dtype!(dtype, T => {
        let dst = out.slice_mut::<T>().or_raise()?;
        for (d, s) in dst.iter_mut().zip(&c.values) {
            if let (Scalar::Int(i), false) = (s, dtype.is_float())
                && dtype != DType::Bool && T::from_i64(*i).to_i64() != *i
            {
                return Err(PyRuntimeError::new_err(format!("value cannot be converted to type {} without overflow", dtype.name())));
            }
            *d = T::from_scalar(*s);
        }
    });
    Ok(out)
}

/// A tensor over a NumPy array's own memory.
pub fn from_array(v: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let py = v.py();
    // Whatever else says what memory it has is read by NumPy, which checks that the parts fit each other.
    let numpy = py.import(pyo3::intern!(py, "numpy"))?;
    let v = &if v.get_type().is(numpy.getattr(pyo3::intern!(py, "ndarray"))?) {
        v.clone()
    } else {
        numpy.call_method1(pyo3::intern!(py, "asarray"), (v,))?
    };
    let face = v.getattr(pyo3::intern!(py, "__array_interface__"))?;
    let kind: String = face.get_item("typestr")?.extract()?;
    let dtype = match kind.get(1..) {
        Some("f4") => DType::F32,
        Some("f8") => DType::F64,
        Some("f2") => DType::F16,
        Some("i8") => DType::I64,
        Some("i4") => DType::I32,
        Some("i2") => DType::I16,
        Some("i1") => DType::I8,
        Some("u1") => DType::U8,
        Some("b1") => DType::Bool,
        _ => {
            return Err(PyTypeError::new_err(format!(
                "can't convert np.ndarray of type {}. The only supported types are: float64, float32, float16, int64, int32, int16, int8, uint8, and bool.",
                v.getattr("dtype")?
            )));
        }
    };
    if kind.starts_with('>') && dtype.size() > 1 {
        return Err(PyValueError::new_err(
            "given numpy array has byte order different from the native byte order. Conversion between byte orders is currently not supported.",
        ));
    }
    let shape: Vec<usize> = face.get_item("shape")?.extract()?;
    let (address, _readonly): (usize, bool) = face.get_item("data")?.extract()?;
    let bytes: Option<Vec<isize>> = face.get_item("strides")?.extract()?;
    let size = dtype.size() as isize;
    let strides: Strides = match bytes {
        None => rustnn_core::base::layout::contiguous_strides(&shape),
        Some(b) => {
            if b.iter().zip(&shape).any(|(&s, &d)| s < 0 && d > 1) {
                return Err(PyValueError::new_err(
                    "At least one stride in the given numpy array is negative, and tensors with negative strides are not currently supported. (You can probably work around this by making a copy of your array  with array.copy().)",
                ));
            }
            if b.iter().zip(&shape).any(|(&s, &d)| s % size != 0 && d > 1) {
                return Err(PyValueError::new_err(
                    "given numpy array strides not a multiple of the element byte size. Copy the numpy array to reallocate the memory.",
                ));
            }
            b.iter().map(|s| (s / size).max(0)).collect()
        }
    };
    let layout = Layout { shape: Dims::from_slice(&shape), strides, offset: 0 };
    if address % dtype.size() != 0 {
        return Err(PyValueError::new_err("the array's memory is not aligned; copy it first"));
    }
    let Some(ptr) = NonNull::new(address as *mut u8).filter(|_| layout.numel() > 0) else {
        return Tensor::empty(&shape, dtype).or_raise();
    };
    let owner: Py<PyAny> = v.clone().unbind();
    // SAFETY: the array owns the memory that its interface describes and is kept alive by `owner`.
    unsafe { Tensor::from_foreign(ptr, layout, dtype, Box::new(owner)) }.or_raise()
}

/// A tensor from data (always a copy).
#[pyfunction]
#[pyo3(signature = (data, *, dtype=None, device=None, requires_grad=false, pin_memory=false))]
pub fn tensor<'py>(
    data: &Bound<'py, PyAny>,
    dtype: Option<&Bound<'py, PyAny>>,
    device: Option<&Bound<'py, PyAny>>,
    requires_grad: bool,
    pin_memory: bool,
) -> PyResult<Py<PyTensor>> {
    let _ = pin_memory;
    check(device)?;
    let t = tensor_from(data, dtype_arg(dtype)?)?;
    made(data.py(), t, requires_grad)
}

fn check(device: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    match device.filter(|d| !d.is_none()) {
        Some(d) => crate::dtype::check_device(&d.str()?.to_string()),
        None => Ok(()),
    }
}

/// A dtype argument: ours, or Python's `float`, `int`, `bool`.
pub fn dtype_arg(v: Option<&Bound<'_, PyAny>>) -> PyResult<Option<DType>> {
    let Some(v) = v.filter(|v| !v.is_none()) else { return Ok(None) };
    let p = rustnn_ops::sig::Param {
        name: "dtype",
        types: rustnn_ops::sig::ty::DTYPE,
        repeat: 0,
        spread: false,
        keyword_only: false,
        default: None,
    };
    match crate::convert::argument(v, &p)? {
        Some(rustnn_ops::Arg::DType(d)) => Ok(Some(d)),
        _ => Err(PyTypeError::new_err(format!("argument 'dtype' must be torch.dtype, not {}", v.get_type().name()?))),
    }
}

fn made(py: Python<'_>, t: Tensor, requires_grad: bool) -> PyResult<Py<PyTensor>> {
    if requires_grad && !t.dtype().is_float() {
        return Err(crate::tensor::no_gradient("Only Tensors of floating point and complex dtype", &t));
    }
    let obj = wrap(py, t)?;
    if requires_grad {
        obj.bind(py).setattr("requires_grad", true)?;
    }
    Ok(obj)
}

/// A tensor over the data where possible, else a copy of it.
#[pyfunction]
#[pyo3(signature = (data, dtype=None, device=None))]
pub fn as_tensor<'py>(
    data: &Bound<'py, PyAny>,
    dtype: Option<&Bound<'py, PyAny>>,
    device: Option<&Bound<'py, PyAny>>,
) -> PyResult<Py<PyAny>> {
    check(device)?;
    let py = data.py();
    let dtype = dtype_arg(dtype)?;
    if let Some(t) = tensor_of(data) {
        if dtype.is_none_or(|d| d == t.dtype()) {
            return Ok(data.clone().unbind());
        }
        return Ok(wrap(py, rustnn_ops::basic::to_dtype(&t, dtype.unwrap_or(t.dtype())).or_raise()?)?.into_any());
    }
    let plain = data.is_instance_of::<PyList>() || data.is_instance_of::<PyTuple>();
    if !plain && data.hasattr("__array_interface__")? && data.getattr("ndim").is_ok() && data.hasattr("setflags")? {
        let t = from_array(data)?;
        let t = rustnn_ops::basic::to_dtype(&t, dtype.unwrap_or(t.dtype())).or_raise()?;
        return Ok(wrap(py, t)?.into_any());
    }
    Ok(wrap(py, tensor_from(data, dtype)?)?.into_any())
}

/// A tensor that shares an array's memory.
#[pyfunction]
pub fn from_numpy(ndarray: &Bound<'_, PyAny>) -> PyResult<Py<PyTensor>> {
    if !ndarray.hasattr("__array_interface__")? || !ndarray.hasattr("setflags")? {
        return Err(PyTypeError::new_err(format!("expected np.ndarray (got {})", ndarray.get_type().name()?)));
    }
    wrap(ndarray.py(), from_array(ndarray)?)
}

/// A 1-d tensor over the memory of any object with the buffer protocol.
#[pyfunction]
#[pyo3(signature = (buffer, *, dtype, count=-1, offset=0, requires_grad=false))]
pub fn frombuffer<'py>(
    buffer: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyAny>,
    count: i64,
    offset: i64,
    requires_grad: bool,
) -> PyResult<Py<PyTensor>> {
    let py = buffer.py();
    let Some(d) = dtype_arg(Some(dtype))? else { return Err(PyTypeError::new_err("frombuffer(): a dtype is needed")) };
    let flat = py.import("numpy")?.call_method1("frombuffer", (buffer, "uint8"))?;
    let bytes = from_array(&flat)?;
    let have = bytes.numel() as i64;
    if have == 0 {
        return Err(PyValueError::new_err("both buffer length (0) and count (-1) must not be 0"));
    }
    if offset < 0 || offset >= have {
        return Err(PyValueError::new_err(format!(
            "offset ({offset} bytes) must be non-negative and no greater than buffer length ({have} bytes) minus 1"
        )));
    }
    let size = d.size() as i64;
    let count = if count < 0 {
        if (have - offset) % size != 0 {
            return Err(PyValueError::new_err(format!(
                "buffer length ({} bytes) after offset ({offset} bytes) must be a multiple of element size ({size})",
                have
            )));
        }
        (have - offset) / size
    } else {
        count
    };
    if count == 0 || count > (have - offset) / size {
        return Err(PyValueError::new_err(format!(
            "requested buffer length ({count} * {size} bytes) after offset ({offset} bytes) must not be greater than actual buffer length ({have} bytes)"
        )));
    }
    let address = bytes.raw().ptr::<u8>().wrapping_add(offset as usize);
    if address as usize % d.size() != 0 {
        let copy = Tensor::empty(&[count as usize], d).or_raise()?;
        let src = &bytes.slice::<u8>().or_raise()?[offset as usize..(offset + count * size) as usize];
        // SAFETY: the copy has exactly that many bytes.
        unsafe { std::ptr::copy_nonoverlapping(src.as_ptr(), copy.raw().ptr::<u8>(), src.len()) };
        return made(py, copy, requires_grad);
    }
    let Some(ptr) = NonNull::new(address) else { return Err(PyValueError::new_err("empty buffer")) };
    let owner: Py<PyAny> = flat.unbind();
    // SAFETY: the range was checked against the buffer, which `owner` keeps alive.
    let t =
        unsafe { Tensor::from_foreign(ptr, Layout::contiguous(&[count as usize]), d, Box::new(owner)) }.or_raise()?;
    made(py, t, requires_grad)
}

/// The old constructor: `Tensor(2, 3)` (arbitrary values), `Tensor([1, 2])`, `Tensor(tensor)`.
pub fn legacy(args: &Bound<'_, PyTuple>) -> PyResult<Tensor> {
    let d = mode::default_dtype();
    if args.is_empty() {
        return Tensor::empty(&[0], d).or_raise();
    }
    let first = args.get_item(0)?;
    if let Some(t) = tensor_of(&first) {
        return Ok(t.detach());
    }
    if first.is_exact_instance_of::<PyInt>() {
        let sizes: Vec<i64> = args.extract()?;
        if let Some(bad) = sizes.iter().find(|s| **s < 0) {
            return Err(PyRuntimeError::new_err(format!(
                "Trying to create tensor with negative dimension {bad}: {sizes:?}"
            )));
        }
        let dims: Vec<usize> = sizes.iter().map(|&s| s as usize).collect();
        return Tensor::empty(&dims, d).or_raise();
    }
    tensor_from(&first, Some(d))
}

/// A tensor over this one's elements in another dtype of the same width (or a dividing one), as `Tensor.view(dtype)`.
#[pyfunction]
pub fn _view_dtype(t: &Bound<'_, PyAny>, dtype: &Bound<'_, PyAny>) -> PyResult<Py<PyTensor>> {
    let x = crate::convert::expect_tensor(t, "input")?;
    let Some(d) = dtype_arg(Some(dtype))? else { return Err(PyTypeError::new_err("a dtype is needed")) };
    let (from, to) = (x.dtype().size(), d.size());
    let mut l = x.layout().clone();
    if from != to {
        let last = l.ndim().checked_sub(1).filter(|&i| l.strides[i] == 1 || l.shape[i] <= 1);
        let Some(last) = last else {
            return Err(PyRuntimeError::new_err(
                "self.stride(-1) must be 1 to view a tensor as a dtype of another size",
            ));
        };
        let bytes = l.shape[last] * from;
        // Sizes are powers of two: remainders are right where the product wraps around.
        let aligned =
            l.strides.iter().enumerate().all(|(i, &s)| i == last || (s as usize).wrapping_mul(from) % to == 0);
        if bytes % to != 0 || (l.offset * from) % to != 0 || !aligned {
            return Err(PyRuntimeError::new_err(format!(
                "self.size(-1) must be divisible by {} to view {} as {} (different element sizes), but got {}",
                to / from.max(1),
                x.dtype().torch_name(),
                d.torch_name(),
                l.shape[last]
            )));
        }
        l.shape[last] = bytes / to;
        l.offset = l.offset * from / to;
        for (i, s) in l.strides.iter_mut().enumerate() {
            *s = if i == last { 1 } else { s.saturating_mul(from as isize) / to as isize };
        }
    }
    wrap(t.py(), Tensor::from_storage(x.storage().clone(), l, d).or_raise()?)
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    for f in [
        wrap_pyfunction!(tensor, m)?,
        wrap_pyfunction!(as_tensor, m)?,
        wrap_pyfunction!(from_numpy, m)?,
        wrap_pyfunction!(frombuffer, m)?,
        wrap_pyfunction!(_view_dtype, m)?,
    ] {
        m.add_function(f)?;
    }
    Ok(())
}
