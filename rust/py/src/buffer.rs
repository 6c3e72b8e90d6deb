//! The buffer protocol and DLPack: a tensor's memory for others, and theirs for us, without copies.

use crate::error::OrRaise;
use crate::tensor::{PyTensor, wrap};
use pyo3::exceptions::{PyBufferError, PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use rustnn_core::{DType, Layout, Strides, Tensor};
use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;

/// What a buffer view owns: the tensor, and shape and strides in Python's types.
struct Lent {
    tensor: Tensor,
    shape: Vec<ffi::Py_ssize_t>,
    strides: Vec<ffi::Py_ssize_t>,
}

fn format(d: DType) -> Option<&'static CStr> {
    Some(match d {
        DType::Bool => c"?",
        DType::U8 => c"B",
        DType::I8 => c"b",
        DType::I16 => c"h",
        DType::I32 => c"i",
        DType::I64 => c"q",
        DType::F16 => c"e",
        DType::F32 => c"f",
        DType::F64 => c"d",
        DType::BF16 => return None,
    })
}

/// # Safety
/// `view` is a buffer view to fill in.
pub unsafe fn fill(slf: &Bound<'_, PyTensor>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
    let t = slf.get().get();
    // SAFETY: by contract; on failure `obj` must be null.
    unsafe { (*view).obj = std::ptr::null_mut() };
    if t.requires_grad() {
        return Err(PyRuntimeError::new_err(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.",
        ));
    }
    let Some(fmt) = format(t.dtype()) else {
        return Err(PyTypeError::new_err(
            "Got unsupported ScalarType BFloat16\n  hint: NumPy has no bfloat16; use .float()",
        ));
    };
    if flags & ffi::PyBUF_STRIDES != ffi::PyBUF_STRIDES && !t.is_contiguous() {
        return Err(PyBufferError::new_err("the tensor is not contiguous; use .contiguous()"));
    }
    let size = t.dtype().size() as ffi::Py_ssize_t;
    let Some(len) = ffi::Py_ssize_t::try_from(t.numel()).ok().and_then(|n| n.checked_mul(size)) else {
        return Err(PyBufferError::new_err(format!("a buffer of shape {:?} is beyond any memory", t.shape())));
    };
    t.storage().lend();
    let lent = Box::new(Lent {
        shape: t.shape().iter().map(|&d| d as ffi::Py_ssize_t).collect(),
        strides: t.strides().iter().map(|&s| (s as ffi::Py_ssize_t).saturating_mul(size)).collect(),
        tensor: t,
    });
    // SAFETY: every pointer put in belongs to `lent`, freed in `release`, or is static.
    unsafe {
        (*view).buf = lent.tensor.raw().ptr::<c_void>();
        (*view).len = len;
        (*view).readonly = 0;
        (*view).itemsize = size;
        (*view).format = if flags & ffi::PyBUF_FORMAT != 0 { fmt.as_ptr().cast_mut() } else { std::ptr::null_mut() };
        (*view).ndim = lent.shape.len() as c_int;
        (*view).shape = lent.shape.as_ptr().cast_mut();
        (*view).strides = lent.strides.as_ptr().cast_mut();
        (*view).suboffsets = std::ptr::null_mut();
        (*view).internal = Box::into_raw(lent).cast();
        (*view).obj = slf.clone().into_ptr();
    }
    Ok(())
}

/// # Safety
/// `view` was filled in by [`fill`] and is released once.
pub unsafe fn release(view: *mut ffi::Py_buffer) {
    // SAFETY: by contract.
    unsafe {
        let p = (*view).internal.cast::<Lent>();
        if !p.is_null() {
            let lent = Box::from_raw(p);
            lent.tensor.storage().returned();
            (*view).internal = std::ptr::null_mut();
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct DlDevice {
    kind: i32,
    id: i32,
}
#[repr(C)]
#[derive(Clone, Copy)]
struct DlType {
    code: u8,
    bits: u8,
    lanes: u16,
}
#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device: DlDevice,
    ndim: i32,
    dtype: DlType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}
#[repr(C)]
struct DlManaged {
    tensor: DlTensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut DlManaged)>,
}

const NAME: &CStr = c"dltensor";
const USED: &CStr = c"used_dltensor";

struct Exported {
    managed: DlManaged,
    shape: Vec<i64>,
    strides: Vec<i64>,
    tensor: Tensor,
}

unsafe extern "C" fn drop_exported(m: *mut DlManaged) {
    // SAFETY: `context` is the box that `to_dlpack` leaked; the consumer calls this once.
    unsafe {
        if !m.is_null() {
            let e = Box::from_raw((*m).context.cast::<Exported>());
            e.tensor.storage().returned();
        }
    }
}

unsafe extern "C" fn drop_capsule(capsule: *mut ffi::PyObject) {
    // SAFETY: called by Python on a capsule of ours; one that was consumed has another name.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, NAME.as_ptr()) != 0 {
            let m = ffi::PyCapsule_GetPointer(capsule, NAME.as_ptr()).cast::<DlManaged>();
            if let Some(d) = m.as_ref().and_then(|m| m.deleter) {
                d(m);
            }
        }
    }
}

fn dl_type(d: DType) -> DlType {
    let (code, bits) = match d {
        DType::Bool => (6, 8),
        DType::U8 => (1, 8),
        DType::I8 => (0, 8),
        DType::I16 => (0, 16),
        DType::I32 => (0, 32),
        DType::I64 => (0, 64),
        DType::F16 => (2, 16),
        DType::BF16 => (4, 16),
        DType::F32 => (2, 32),
        DType::F64 => (2, 64),
    };
    DlType { code, bits, lanes: 1 }
}

#[pymethods]
impl PyTensor {
    /// A DLPack capsule over this tensor's memory.
    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
        slf: &Bound<'py, Self>,
        stream: Option<&Bound<'py, PyAny>>,
        max_version: Option<&Bound<'py, PyAny>>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = (stream, max_version);
        if dl_device.is_some_and(|d| d.0 != 1) {
            return Err(PyBufferError::new_err("rustnn tensors are on the CPU"));
        }
        let mut t = slf.get().get();
        if t.requires_grad() {
            return Err(PyBufferError::new_err("Can't export tensors that require gradient, use tensor.detach()"));
        }
        if copy == Some(true) {
            t = t.copied().or_raise()?;
        }
        t.storage().lend();
        let mut e = Box::new(Exported {
            shape: t.shape().iter().map(|&d| d as i64).collect(),
            strides: t.strides().iter().map(|&s| s as i64).collect(),
            managed: DlManaged {
                tensor: DlTensor {
                    data: t.raw().ptr(),
                    device: DlDevice { kind: 1, id: 0 },
                    ndim: t.ndim() as i32,
                    dtype: dl_type(t.dtype()),
                    shape: std::ptr::null_mut(),
                    strides: std::ptr::null_mut(),
                    byte_offset: 0,
                },
                context: std::ptr::null_mut(),
                deleter: Some(drop_exported),
            },
            tensor: t,
        });
        e.managed.tensor.shape = e.shape.as_mut_ptr();
        e.managed.tensor.strides = e.strides.as_mut_ptr();
        let e = Box::into_raw(e);
        // SAFETY: `e` is a live box; the capsule (or its consumer) frees it through the deleter.
        unsafe {
            (*e).managed.context = e.cast();
            let c = ffi::PyCapsule_New((&raw mut (*e).managed).cast(), NAME.as_ptr(), Some(drop_capsule));
            Bound::from_owned_ptr_or_err(slf.py(), c)
        }
    }
    fn __dlpack_device__(&self) -> (i32, i32) {
        (1, 0)
    }
}

/// Calls the producer's deleter when our storage goes.
struct Imported(*mut DlManaged);
// SAFETY: DLPack's deleter may be called from any thread; it is called once, from `drop`.
unsafe impl Send for Imported {}
// SAFETY: never used through a shared reference.
unsafe impl Sync for Imported {}
impl Drop for Imported {
    fn drop(&mut self) {
        Python::attach(|_| {
            // SAFETY: we consumed the capsule, so the deleter is ours to call, once; producers expect the GIL.
            unsafe {
                if let Some(d) = (*self.0).deleter {
                    d(self.0);
                }
            }
        });
    }
}

/// A tensor over the memory of any object with `__dlpack__`, or of a capsule.
#[pyfunction]
pub fn from_dlpack(ext: &Bound<'_, PyAny>) -> PyResult<Py<PyTensor>> {
    let py = ext.py();
    // SAFETY: plain type check on a live object.
    let is_capsule = unsafe { ffi::PyCapsule_CheckExact(ext.as_ptr()) } != 0;
    let capsule = if is_capsule { ext.clone() } else { ext.call_method0("__dlpack__")? };
    // SAFETY: the capsule is alive; its name is checked before its pointer is used, and marked used at once.
    let m = unsafe {
        if ffi::PyCapsule_IsValid(capsule.as_ptr(), NAME.as_ptr()) == 0 {
            return Err(PyRuntimeError::new_err(
                "from_dlpack received an invalid capsule. Note that DLTensor capsules can be consumed only once, so you might have already constructed a tensor from it once.",
            ));
        }
        ffi::PyCapsule_GetPointer(capsule.as_ptr(), NAME.as_ptr()).cast::<DlManaged>()
    };
    // SAFETY: a valid DLPack capsule points to a managed tensor whose arrays have `ndim` entries.
    let (dtype, layout, data) = unsafe {
        let t = &(*m).tensor;
        if t.device.kind != 1 {
            return Err(PyRuntimeError::new_err("from_dlpack: the tensor is not on the CPU"));
        }
        let Some(dtype) = DType::ALL.into_iter().find(|&d| {
            let w = dl_type(d);
            w.code == t.dtype.code && w.bits == t.dtype.bits && t.dtype.lanes == 1
        }) else {
            return Err(PyRuntimeError::new_err(format!(
                "from_dlpack: unsupported type code {} bits {}",
                t.dtype.code, t.dtype.bits
            )));
        };
        let n = usize::try_from(t.ndim).ok().filter(|&n| n == 0 || !t.shape.is_null());
        let n = n.ok_or_else(|| {
            PyRuntimeError::new_err(format!("from_dlpack: the tensor says that it has {} dimensions", t.ndim))
        })?;
        let read = |p: *mut i64| -> Vec<i64> { (0..n).map(|i| *p.add(i)).collect() };
        let sizes = if n == 0 { vec![] } else { read(t.shape) };
        let shape: Option<Vec<usize>> = sizes.iter().map(|&d| usize::try_from(d).ok()).collect();
        let Some(shape) = shape else {
            return Err(PyRuntimeError::new_err(format!("from_dlpack: sizes {sizes:?} are not sizes of a tensor")));
        };
        let strides: Strides = if n == 0 || t.strides.is_null() {
            rustnn_core::base::layout::contiguous_strides(&shape)
        } else {
            read(t.strides).iter().map(|&s| s as isize).collect()
        };
        if strides.iter().zip(&shape).any(|(&s, &d)| s < 0 && d > 1) {
            return Err(PyRuntimeError::new_err(
                "from_dlpack: negative strides are not supported; copy the array first",
            ));
        }
        let data = t.data.cast::<u8>().wrapping_add(t.byte_offset as usize);
        (dtype, Layout { shape: shape.into(), strides, offset: 0 }, data)
    };
    rustnn_core::base::layout::numel(&layout.shape).or_raise()?;
    if layout.numel() > 0 && (data.is_null() || data as usize % dtype.size() != 0) {
        return Err(PyRuntimeError::new_err(format!(
            "from_dlpack: the memory does not begin at a multiple of {} bytes; copy the array first",
            dtype.size()
        )));
    }
    let Some(ptr) = NonNull::new(data).filter(|_| layout.numel() > 0) else {
        return wrap(py, Tensor::empty(&layout.shape, dtype).or_raise()?);
    };
    // SAFETY: renaming marks it consumed: from here the deleter is ours.
    unsafe { ffi::PyCapsule_SetName(capsule.as_ptr(), USED.as_ptr()) };
    // SAFETY: the producer keeps the memory until its deleter runs, which `Imported` does on drop.
    let t = unsafe { Tensor::from_foreign(ptr, layout, dtype, Box::new(Imported(m))) }.or_raise()?;
    wrap(py, t)
}
