//! Index expressions (`x[1:, None, mask]`) from Python objects.

use crate::error::OrRaise;
use crate::factory;
use crate::tensor::{PyTensor, tensor_of, wrap};
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyEllipsis, PyInt, PyList, PySlice, PyTuple};
use rustnn_core::{DType, Scalar, Tensor, profile};
use rustnn_ops::index::{self, IndexItem};
use smallvec::SmallVec;

type Items = SmallVec<[IndexItem; 4]>;

fn integer(v: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    if v.is_exact_instance_of::<PyInt>() {
        return v.extract().map(Some);
    }
    match crate::convert::int(v) {
        Some(i) => Ok(Some(i)),
        None => Ok(None),
    }
}

fn bound(v: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    if v.is_none() {
        return Ok(None);
    }
    match integer(v)? {
        Some(i) => Ok(Some(i)),
        None => Err(PyTypeError::new_err("slice indices must be integers or None or have an __index__ method")),
    }
}

fn item(v: &Bound<'_, PyAny>) -> PyResult<IndexItem> {
    if v.is_exact_instance_of::<PyInt>() {
        return match v.extract::<i64>() {
            Ok(i) => Ok(IndexItem::Int(i)),
            Err(_) => Err(PyIndexError::new_err("index does not fit in 64 bits")),
        };
    }
    if let Ok(s) = v.cast::<PySlice>() {
        let py = v.py();
        let step = bound(&s.getattr(pyo3::intern!(py, "step"))?)?.unwrap_or(1);
        if step < 1 {
            return Err(PyValueError::new_err("step must be greater than zero\n  hint: use .flip(dim) to reverse"));
        }
        return Ok(IndexItem::Slice {
            start: bound(&s.getattr(pyo3::intern!(py, "start"))?)?,
            stop: bound(&s.getattr(pyo3::intern!(py, "stop"))?)?,
            step,
        });
    }
    if v.is_none() {
        return Ok(IndexItem::None);
    }
    if v.is_instance_of::<PyEllipsis>() {
        return Ok(IndexItem::Ellipsis);
    }
    if v.is_instance_of::<PyBool>() {
        return Ok(IndexItem::Bool(v.extract()?));
    }
    if let Some(t) = tensor_of(v) {
        if t.ndim() == 0 && !t.dtype().is_float() && t.dtype() != DType::Bool && !t.requires_grad() {
            return Ok(IndexItem::Int(t.item().or_raise()?.to_i64()));
        }
        return Ok(IndexItem::Tensor(t));
    }
    if v.is_instance_of::<PyList>() || v.is_instance_of::<PyTuple>() || v.hasattr("__array__")? {
        let t = factory::tensor_from(v, None)?;
        if t.ndim() == 0 && !t.dtype().is_float() && t.dtype() != DType::Bool {
            return Ok(IndexItem::Int(t.item().or_raise()?.to_i64()));
        }
        let t = if t.numel() == 0 && t.dtype().is_float() { t.copied_as(DType::I64).or_raise()? } else { t };
        return Ok(IndexItem::Tensor(t));
    }
    if let Some(i) = integer(v)? {
        return Ok(IndexItem::Int(i));
    }
    Err(PyIndexError::new_err(format!(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got {})",
        v.get_type().name()?
    )))
}

fn items(v: &Bound<'_, PyAny>) -> PyResult<Items> {
    if let Ok(t) = v.cast::<PyTuple>() {
        return t.iter().map(|i| item(&i)).collect();
    }
    let mut out = Items::new();
    out.push(item(v)?);
    Ok(out)
}

pub fn get(slf: &Bound<'_, PyTensor>, v: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let py = slf.py();
    let (none, args) = (std::ptr::null_mut(), [slf.as_ptr(), v.as_ptr()]);
    if let Some(r) = crate::subclass::intercept(py, "__getitem__", true, false, none, &args, &[], none)? {
        return Ok(r);
    }
    let x = slf.get().get();
    let items = items(v)?;
    let _event = profile::on().then(|| crate::profile::event(py, kind(&items), &x));
    let result = index::get(&x, &items).or_raise()?;
    Ok(wrap(py, result)?.into_any())
}

pub fn set(slf: &Bound<'_, PyTensor>, v: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let x = slf.get().get();
    let value = match tensor_of(value) {
        Some(t) => t,
        None => match scalar(value)? {
            Some(s) => {
                let kind = s.dtype(rustnn_core::mode::default_dtype());
                // Numbers take the tensor's dtype, as in PyTorch; a float into an integer tensor is cut.
                let _ = kind;
                Tensor::scalar(s, x.dtype()).or_raise()?
            }
            None if value.hasattr("__array__")? => factory::tensor_from(value, None)?,
            None => {
                return Err(PyTypeError::new_err(format!(
                    "can't assign a {} to a torch.{}Tensor",
                    value.get_type().name()?,
                    x.dtype().torch_name()
                )));
            }
        },
    };
    let items = items(v)?;
    let _event = profile::on().then(|| {
        let name = if kind(&items) == "index" { "index_put_" } else { "copy_" };
        crate::profile::event(slf.py(), name, &x)
    });
    index::put(&x, &items, &value).or_raise()
}

/// The op that an index is, for the profiler: of several, the one that costs most.
fn kind(items: &[IndexItem]) -> &'static str {
    let rank = |i: &IndexItem| match i {
        IndexItem::Tensor(_) => (3, "index"),
        IndexItem::Slice { .. } => (2, "slice"),
        IndexItem::Int(_) => (1, "select"),
        _ => (0, "unsqueeze"),
    };
    items.iter().map(rank).max().map_or("alias", |(_, name)| name)
}

fn scalar(v: &Bound<'_, PyAny>) -> PyResult<Option<Scalar>> {
    let p = rustnn_ops::sig::Param {
        name: "value",
        types: rustnn_ops::sig::ty::SCALAR,
        repeat: 0,
        spread: false,
        keyword_only: false,
        default: None,
    };
    Ok(match crate::convert::argument(v, &p)? {
        Some(rustnn_ops::Arg::Bool(b)) => Some(Scalar::Bool(b)),
        Some(rustnn_ops::Arg::Int(i)) => Some(Scalar::Int(i)),
        Some(rustnn_ops::Arg::Float(f)) => Some(Scalar::Float(f)),
        _ => None,
    })
}
