//! The Python `Tensor` class: the object, its identity, its properties. Ops come from the registry (`call`).

use crate::dtype::{current, dtype_object};
use crate::error::OrRaise;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};
use pyo3::{PyTypeInfo, ffi};
use rustnn_core::{Tensor, graph};
use std::cell::UnsafeCell;
use std::sync::OnceLock;

/// A multi-dimensional array of one dtype, with gradients.
#[pyclass(name = "Tensor", module = "rustnn", subclass, dict, weakref, frozen)]
pub struct PyTensor {
    inner: UnsafeCell<Tensor>,
}

// SAFETY: `inner` is read and replaced only with the GIL held, and always as a whole handle (cloned out, swapped in).
unsafe impl Sync for PyTensor {}

impl Drop for PyTensor {
    fn drop(&mut self) {
        self.inner.get_mut().set_host(std::ptr::null_mut());
    }
}

impl PyTensor {
    fn wrap(t: Tensor) -> Self {
        PyTensor { inner: UnsafeCell::new(t) }
    }

    /// The tensor this object shows now.
    #[inline]
    pub fn get(&self) -> Tensor {
        // SAFETY: the GIL is held (PyTensor is only reached through bound references), so nobody replaces it meanwhile.
        unsafe { (*self.inner.get()).clone() }
    }

    /// Puts another tensor in its place (in-place layout changes, `data = `).
    pub fn replace(slf: &Bound<'_, PyTensor>, t: Tensor) {
        t.set_host(slf.as_ptr().cast());
        // SAFETY: the GIL is held and no reference into `inner` outlives a call.
        let old = unsafe { std::mem::replace(&mut *slf.get().inner.get(), t) };
        old.set_host(std::ptr::null_mut());
    }

    /// Exchanges what two objects show.
    pub fn exchange(a: &Bound<'_, PyTensor>, b: &Bound<'_, PyTensor>) {
        if a.is(b) {
            return;
        }
        // SAFETY: the GIL is held, the objects are two, and no reference into `inner` outlives a call.
        unsafe { std::ptr::swap(a.get().inner.get(), b.get().inner.get()) };
        a.get().get().set_host(a.as_ptr().cast());
        b.get().get().set_host(b.as_ptr().cast());
    }
}

/// The Python object that shows `t`: the living one, or a new one.
#[inline]
pub fn wrap(py: Python<'_>, t: Tensor) -> PyResult<Py<PyTensor>> {
    let host = t.host().cast::<ffi::PyObject>();
    if !host.is_null() {
        // SAFETY: the object clears this field before it is freed, and both happen with the GIL held; one that is being
        // freed has no references left and is passed over.
        unsafe {
            if ffi::Py_REFCNT(host) > 0 {
                let any: Bound<'_, PyAny> = Bound::from_borrowed_ptr(py, host);
                return Ok(any.cast_into_unchecked::<PyTensor>().unbind());
            }
        }
    }
    let obj = new_object(py, t)?;
    // SAFETY: just made; the GIL is held.
    unsafe { (*obj.get().inner.get()).set_host(obj.as_ptr().cast()) };
    Ok(obj)
}

/// Where the `PyTensor` lies in its Python object, in bytes, if objects consist of a header, it, and two null pointers
/// (dict, weak references).
static PLACE: OnceLock<Option<usize>> = OnceLock::new();

fn place_of(obj: &Py<PyTensor>, size: usize) -> Option<usize> {
    let at = (std::ptr::from_ref(obj.get()) as usize).checked_sub(obj.as_ptr() as usize)?;
    (size == at + size_of::<PyTensor>() + 2 * size_of::<*mut ffi::PyObject>()).then_some(at)
}

/// A new object showing `t`.
///
/// PyO3 makes objects through `object.__new__`, which also makes each its `__dict__`, a quarter of a small op's time.
/// The type's allocator alone leaves it null until somebody asks. This relies on how PyO3 lays the object out, so the
/// first object made is measured, and the ordinary way taken should that ever differ.
#[inline]
fn new_object(py: Python<'_>, t: Tensor) -> PyResult<Py<PyTensor>> {
    let Some(&Some(at)) = PLACE.get() else { return first_object(py, t) };
    let cls = PyTensor::type_object_raw(py);
    // SAFETY: the type is alive and the GIL held. The memory comes zeroed, with room for a `PyTensor` at `at`; header
    // and references are set, and nulls are what an object without dict and weak references has.
    unsafe {
        let obj = ffi::PyType_GenericAlloc(cls, 0);
        let owned: Bound<'_, PyAny> = Bound::from_owned_ptr_or_err(py, obj)?;
        obj.cast::<u8>().add(at).cast::<PyTensor>().write(PyTensor::wrap(t));
        Ok(owned.cast_into_unchecked::<PyTensor>().unbind())
    }
}

#[cold]
fn first_object(py: Python<'_>, t: Tensor) -> PyResult<Py<PyTensor>> {
    let obj = Py::new(py, PyTensor::wrap(t))?;
    let size: usize = PyTensor::type_object(py).getattr("__basicsize__")?.extract()?;
    PLACE.get_or_init(|| place_of(&obj, size));
    Ok(obj)
}

/// An object of a subclass showing `t` (its `__init__` is not run).
pub fn wrap_as<'py>(cls: &Bound<'py, PyType>, t: Tensor) -> PyResult<Bound<'py, PyAny>> {
    let py = cls.py();
    let base = PyTensor::type_object(py);
    if cls.is(&base) {
        return Ok(wrap(py, t)?.into_bound(py).into_any());
    }
    let obj = base.getattr("__new__")?.call1((cls,))?;
    let cell = obj.cast::<PyTensor>()?;
    PyTensor::replace(cell, t);
    Ok(obj)
}

/// The tensor in a Python object, if it is one.
#[inline]
pub fn tensor_of(obj: &Bound<'_, PyAny>) -> Option<Tensor> {
    obj.cast::<PyTensor>().ok().map(|t| t.get().get())
}

static SIZE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// A `Size` of these numbers (a plain tuple until the Python part has set its class).
pub fn size_object<'py>(py: Python<'py>, dims: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    let tuple = PyTuple::new(py, dims)?;
    match SIZE.get(py) {
        Some(cls) => cls.bind(py).call1((tuple,)),
        None => Ok(tuple.into_any()),
    }
}

#[pyfunction]
pub fn _set_size_type(py: Python<'_>, cls: Py<PyAny>) {
    let _ = SIZE.set(py, cls);
}

#[pymethods]
impl PyTensor {
    #[new]
    #[pyo3(signature = (*args, **kwargs))]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, pyo3::types::PyDict>>) -> PyResult<Self> {
        let _ = kwargs;
        crate::factory::legacy(args).map(PyTensor::wrap)
    }

    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        size_object(py, self.get().shape())
    }
    /// Sizes, or the size of one dimension.
    #[pyo3(signature = (dim=None))]
    fn size<'py>(&self, py: Python<'py>, dim: Option<i64>) -> PyResult<Bound<'py, PyAny>> {
        let t = self.get();
        let Some(d) = dim else { return size_object(py, t.shape()) };
        no_dims(&t, d)?;
        let d = rustnn_core::base::layout::wrap_dim(d, t.ndim()).or_raise()?;
        Ok(t.shape()[d].into_pyobject(py)?.into_any())
    }
    /// Strides in elements, or the stride of one dimension.
    #[pyo3(signature = (dim=None))]
    fn stride<'py>(&self, py: Python<'py>, dim: Option<i64>) -> PyResult<Bound<'py, PyAny>> {
        let t = self.get();
        let Some(d) = dim else { return Ok(PyTuple::new(py, t.strides())?.into_any()) };
        no_dims(&t, d)?;
        let d = rustnn_core::base::layout::wrap_dim(d, t.ndim()).or_raise()?;
        Ok(t.strides()[d].into_pyobject(py)?.into_any())
    }
    #[getter]
    fn dtype(&self, py: Python<'_>) -> PyResult<Py<crate::dtype::PyDType>> {
        dtype_object(py, self.get().dtype())
    }
    #[getter]
    fn device(&self, py: Python<'_>) -> PyResult<Py<crate::dtype::PyDevice>> {
        current(py)
    }
    #[getter]
    fn layout<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("rustnn._C")?.getattr("strided")
    }
    #[getter]
    fn ndim(&self) -> usize {
        self.get().ndim()
    }
    fn dim(&self) -> usize {
        self.get().ndim()
    }
    fn ndimension(&self) -> usize {
        self.get().ndim()
    }
    fn numel(&self) -> usize {
        self.get().numel()
    }
    fn nelement(&self) -> usize {
        self.get().numel()
    }
    fn element_size(&self) -> usize {
        self.get().dtype().size()
    }
    #[getter]
    fn itemsize(&self) -> usize {
        self.get().dtype().size()
    }
    #[getter]
    fn nbytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        // Of an expanded tensor more than a machine's number can say.
        let t = self.get();
        t.numel().into_pyobject(py)?.mul(t.dtype().size())
    }
    fn data_ptr(&self) -> usize {
        let t = self.get();
        // Whoever asks for the address may write there.
        t.storage().bump(false);
        if t.numel() == 0 { 0 } else { t.raw().ptr::<u8>() as usize }
    }
    fn storage_offset(&self) -> usize {
        self.get().offset()
    }
    #[pyo3(name = "_storage_ptr")]
    fn storage_ptr(&self) -> (usize, usize) {
        let t = self.get();
        t.storage().bump(false);
        (t.storage().ptr() as usize, t.storage().bytes())
    }
    #[pyo3(signature = (memory_format=None))]
    fn is_contiguous(&self, memory_format: Option<&crate::dtype::PyMemoryFormat>) -> bool {
        let t = self.get();
        match memory_format.map_or(0, |m| m.0) {
            2 | 3 if t.ndim() >= 3 => {
                let mut order: Vec<usize> = vec![0];
                order.extend(2..t.ndim());
                order.push(1);
                t.layout().permute(&order).is_contiguous()
            }
            _ => t.is_contiguous(),
        }
    }
    fn is_floating_point(&self) -> bool {
        self.get().dtype().is_float()
    }
    fn is_complex(&self) -> bool {
        false
    }
    fn is_signed(&self) -> bool {
        !matches!(self.get().dtype(), rustnn_core::DType::U8 | rustnn_core::DType::Bool)
    }
    fn is_conj(&self) -> bool {
        false
    }
    fn is_neg(&self) -> bool {
        false
    }
    fn is_inference(&self) -> bool {
        false
    }
    #[getter]
    fn is_cuda(&self) -> bool {
        false
    }
    #[getter]
    fn is_cpu(&self) -> bool {
        true
    }
    #[getter]
    fn is_meta(&self) -> bool {
        crate::dtype::in_meta()
    }
    #[getter]
    fn is_mps(&self) -> bool {
        false
    }
    #[getter]
    fn is_xla(&self) -> bool {
        false
    }
    #[getter]
    fn is_sparse(&self) -> bool {
        false
    }
    #[getter]
    fn is_sparse_csr(&self) -> bool {
        false
    }
    #[getter]
    fn is_quantized(&self) -> bool {
        false
    }
    #[getter]
    fn is_nested(&self) -> bool {
        false
    }
    #[getter]
    fn is_mkldnn(&self) -> bool {
        false
    }

    // ---- autograd ------------------------------------------------------------------------------------------------

    #[getter]
    fn requires_grad(&self) -> bool {
        self.get().requires_grad()
    }
    #[setter]
    fn set_requires_grad(&self, on: bool) -> PyResult<()> {
        let t = self.get();
        if on && !t.dtype().is_float() {
            return Err(no_gradient("only Tensors of floating point dtype", &t));
        }
        match t.meta() {
            Some(m) if m.has_edge() => {
                if on {
                    return Ok(());
                }
                Err(PyRuntimeError::new_err(
                    "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a subgraph that doesn't require differentiation use var_no_grad = var.detach().",
                ))
            }
            None if !on => Ok(()),
            _ => {
                t.meta_or_new().set_wants_grad(on);
                Ok(())
            }
        }
    }
    /// Asks for a gradient of this leaf, in place.
    #[pyo3(signature = (requires_grad=true))]
    fn requires_grad_(slf: Bound<'_, Self>, requires_grad: bool) -> PyResult<Bound<'_, Self>> {
        slf.get().set_requires_grad(requires_grad)?;
        Ok(slf)
    }
    #[getter]
    fn is_leaf(&self) -> bool {
        let t = self.get();
        !t.meta().is_some_and(|m| m.has_edge() || (m.is_view() && m.requires_grad() && !m.wants_grad()))
    }
    #[getter]
    fn grad(&self, py: Python<'_>) -> PyResult<Option<Py<PyTensor>>> {
        let t = self.get();
        match t.meta().and_then(|m| m.grad()) {
            Some(g) => wrap(py, g).map(Some),
            None => Ok(None),
        }
    }
    #[setter]
    fn set_grad(&self, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let t = self.get();
        let Some(v) = value.filter(|v| !v.is_none()) else {
            if let Some(m) = t.meta() {
                m.set_grad(None);
            }
            return Ok(());
        };
        let Some(g) = tensor_of(v) else {
            return Err(PyTypeError::new_err(format!(
                "assigned grad expected to be a Tensor or None but got grad of type {}",
                v.get_type().name()?
            )));
        };
        if g.shape() != t.shape() {
            return Err(PyRuntimeError::new_err(format!(
                "assigned grad has data of a different size\n  hint: the tensor has shape {:?}, the gradient {:?}",
                t.shape(),
                g.shape()
            )));
        }
        if g.dtype() != t.dtype() {
            return Err(PyRuntimeError::new_err(format!(
                "assigned grad has data of a different type\n  hint: the tensor is {}, the gradient {}",
                t.dtype().torch_name(),
                g.dtype().torch_name()
            )));
        }
        t.meta_or_new().set_grad(Some(g));
        Ok(())
    }
    #[deleter]
    fn delete_grad(&self) {
        if let Some(m) = self.get().meta() {
            m.set_grad(None);
        }
    }
    #[getter]
    fn grad_fn(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let t = self.get();
        let Some(edge) = graph::edge_of(&t).filter(|_| t.meta().is_some_and(|m| m.has_edge())) else {
            return Ok(None);
        };
        crate::node::node_object(py, &edge.node).map(Some)
    }
    #[getter]
    fn output_nr(&self) -> usize {
        let t = self.get();
        t.meta().and_then(|m| m.with(|s| s.edge.as_ref().map(|e| e.index))).unwrap_or(0)
    }
    #[getter]
    fn _version(&self) -> u32 {
        self.get().version()
    }
    fn _is_view(&self) -> bool {
        self.get().meta().is_some_and(|m| m.is_view())
    }
    /// The same elements outside of the graph.
    fn detach(slf: &Bound<'_, Self>) -> PyResult<Py<PyTensor>> {
        let x = slf.get().get();
        let _event = crate::profile::method(slf.py(), "detach", &x);
        wrap(slf.py(), x.detach())
    }
    /// Takes this tensor out of the graph, in place.
    fn detach_(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        let t = slf.get().get();
        if let Some(m) = t.meta() {
            if m.is_view() {
                return Err(PyRuntimeError::new_err("Can't detach views in-place. Use detach() instead."));
            }
            m.set_edge(None);
            m.set_wants_grad(false);
        }
        Ok(slf)
    }
    fn retain_grad(&self) -> PyResult<()> {
        rustnn_autograd::retain_grad(&self.get()).or_raise()
    }
    #[getter]
    fn retains_grad(&self) -> bool {
        self.get().meta().is_some_and(|m| m.with(|s| s.retain_grad))
    }
    /// A new object of class `cls` over the same tensor data.
    fn as_subclass<'py>(&self, cls: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>> {
        let t = self.get();
        let alias = rustnn_ops::basic::alias(&t).or_raise()?;
        wrap_as(cls, alias)
    }
    /// A leaf of class `cls` over the same data.
    #[staticmethod]
    #[pyo3(signature = (cls, data, require_grad=false))]
    fn _make_subclass<'py>(
        cls: &Bound<'py, PyType>,
        data: &Bound<'py, PyTensor>,
        require_grad: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let obj = wrap_as(cls, data.get().get().detach())?;
        if require_grad {
            obj.cast::<PyTensor>()?.get().set_requires_grad(true)?;
        }
        Ok(obj)
    }

    // ---- values --------------------------------------------------------------------------------------------------

    /// The value of a one-element tensor as a Python number.
    fn item<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let x = self.get();
        let _event = crate::profile::method(py, "item", &x);
        crate::convert::scalar_object(py, x.item().or_raise()?)
    }
    /// The values as nested lists of Python numbers.
    fn tolist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        crate::convert::nested_list(py, &self.get())
    }
    fn __bool__(&self) -> PyResult<bool> {
        let t = self.get();
        match t.numel() {
            1 => Ok(t.item().or_raise()?.to_bool()),
            0 => Err(PyRuntimeError::new_err("Boolean value of Tensor with no values is ambiguous")),
            _ => Err(PyRuntimeError::new_err(format!(
                "Boolean value of Tensor with more than one value is ambiguous\n  hint: its shape is {:?}; use .any() \
                 or .all()",
                t.shape()
            ))),
        }
    }
    fn __float__(&self) -> PyResult<f64> {
        Ok(self.get().item().or_raise()?.to_f64())
    }
    fn __int__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.get().item().or_raise()? {
            rustnn_core::Scalar::Float(f) => f.into_pyobject(py)?.call_method0("__int__"),
            s => Ok(s.to_i64().into_pyobject(py)?.into_any()),
        }
    }
    fn __index__(&self) -> PyResult<i64> {
        let t = self.get();
        if t.dtype().is_float() || t.numel() != 1 {
            return Err(PyTypeError::new_err("only integer tensors of a single element can be converted to an index"));
        }
        Ok(t.item().or_raise()?.to_i64())
    }
    fn __len__(&self) -> PyResult<usize> {
        let t = self.get();
        t.shape().first().copied().ok_or_else(|| PyTypeError::new_err("len() of a 0-d tensor"))
    }
    fn __hash__(slf: &Bound<'_, Self>) -> isize {
        (slf.as_ptr() as isize) >> 4
    }

    /// The gradient of this tensor with respect to the leaves, added into their `grad`.
    ///
    /// `gradient` (of this tensor's shape) weights a non-scalar; `inputs` limits the leaves.
    #[pyo3(signature = (gradient=None, retain_graph=None, create_graph=false, inputs=None))]
    fn backward(
        slf: &Bound<'_, Self>,
        gradient: Option<&Bound<'_, PyAny>>,
        retain_graph: Option<bool>,
        create_graph: bool,
        inputs: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        crate::autograd::backward_one(slf, gradient, retain_graph, create_graph, inputs)
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, index: &Bound<'py, PyAny>) -> PyResult<Py<PyAny>> {
        crate::index::get(slf, index)
    }
    fn __setitem__(slf: &Bound<'_, Self>, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        crate::index::set(slf, index, value)
    }

    // SAFETY: the buffer filled in stays valid while `view.obj` (this object's storage holder) lives.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: i32) -> PyResult<()> {
        // SAFETY: Python passes a view to fill in.
        unsafe { crate::buffer::fill(&slf, view, flags) }
    }
    // SAFETY: called once for each successful `__getbuffer__`.
    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: `view` was filled in by `fill`.
        unsafe { crate::buffer::release(view) }
    }
}

/// The error of asking an integer tensor for a gradient; `words` are PyTorch's, which differ by the way it was asked.
pub fn no_gradient(words: &str, t: &Tensor) -> PyErr {
    PyRuntimeError::new_err(format!(
        "{words} can require gradients\n  hint: this one is {} ({}); make it with decimal points (torch.tensor([1., 2.])) \
         or .float()",
        t.dtype().name(),
        t.dtype().torch_name()
    ))
}

fn no_dims(t: &Tensor, d: i64) -> PyResult<()> {
    if t.ndim() == 0 {
        return Err(pyo3::exceptions::PyIndexError::new_err(format!(
            "Dimension specified as {d} but tensor has no dimensions"
        )));
    }
    Ok(())
}
