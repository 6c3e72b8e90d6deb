//! The tensor: a layout over a shared storage, immutable as a value; what changes in place is the storage's content
//! and the autograd metadata.

use crate::meta::{Meta, View};
use crate::mode;
use crate::storage::Storage;
use rustnn_base::{DType, Element, Layout, Result, Scalar, layout, runtime_error, with_dtype};
use rustnn_kernels::{Raw, copy, packs};
use std::any::Any;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, OnceLock};

struct Impl {
    storage: Storage,
    layout: Layout,
    dtype: DType,
    contiguous: bool,
    numel: usize,
    /// A `.data` alias: its writes do not count as writes of the tensors it aliases.
    untracked: bool,
    meta: OnceLock<Arc<Meta>>,
    /// What this is a view of. Metadata are made of it only when somebody asks: most views never meet a graph.
    seen: Option<Seen>,
    /// The host-language object that shows this tensor, if one lives (not owned; kept by the binding).
    host: AtomicPtr<u8>,
}

/// What a view remembers until its metadata are needed.
struct Seen {
    /// The root: never a view itself.
    base: Tensor,
    /// The storage's version when the view was made.
    version: u32,
    frozen: Option<&'static str>,
}

/// A handle on a tensor; cloning it is cheap and shows the same tensor.
#[derive(Clone)]
pub struct Tensor(Arc<Impl>);

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({:?}, {})", self.shape(), self.dtype())
    }
}

impl Tensor {
    fn build(storage: Storage, layout: Layout, dtype: DType) -> Tensor {
        let (contiguous, numel) = layout.facts();
        Self::assemble(storage, layout, dtype, contiguous, numel, false)
    }

    /// Inlined, so that the parts are written where they stay.
    #[inline(always)]
    fn assemble(
        storage: Storage,
        layout: Layout,
        dtype: DType,
        contiguous: bool,
        numel: usize,
        untracked: bool,
    ) -> Tensor {
        Tensor(Arc::new(Impl {
            storage,
            layout,
            dtype,
            contiguous,
            numel,
            untracked,
            meta: OnceLock::new(),
            seen: None,
            host: AtomicPtr::new(std::ptr::null_mut()),
        }))
    }

    /// A fresh row-major tensor with arbitrary content.
    pub fn empty(shape: &[usize], dtype: DType) -> Result<Tensor> {
        let n = layout::numel(shape)?;
        let bytes = n
            .checked_mul(dtype.size())
            .filter(|&b| b <= isize::MAX as usize)
            .ok_or_else(|| runtime_error!("Storage size calculation overflowed with sizes={shape:?}"))?;
        Ok(Self::assemble(Storage::new(bytes)?, Layout::contiguous(shape), dtype, true, n, false))
    }

    /// A row-major tensor over [`Storage::promised`] memory.
    pub fn promised(shape: &[usize], dtype: DType) -> Tensor {
        let n: usize = shape.iter().product();
        Self::assemble(Storage::promised(n * dtype.size()), Layout::contiguous(shape), dtype, true, n, false)
    }

    /// A fresh tensor with arbitrary content and these strides (which must be dense).
    pub fn empty_strided(shape: &[usize], strides: &[isize], dtype: DType) -> Result<Tensor> {
        layout::numel(shape)?;
        let l = Layout { shape: shape.into(), strides: strides.into(), offset: 0 };
        let bytes = l.extent()?.checked_mul(dtype.size()).filter(|&b| b <= isize::MAX as usize).ok_or_else(|| {
            runtime_error!("Storage size calculation overflowed with sizes={shape:?} and strides={strides:?}")
        })?;
        Ok(Self::build(Storage::new(bytes)?, l, dtype))
    }

    /// A fresh tensor of this one's shape, dtype and memory order.
    pub fn empty_like(&self) -> Result<Tensor> {
        self.empty_like_as(self.dtype())
    }

    /// A fresh tensor of this one's shape and memory order.
    pub fn empty_like_as(&self, dtype: DType) -> Result<Tensor> {
        if self.is_contiguous() {
            return Self::empty(self.shape(), dtype);
        }
        Self::empty_strided(self.shape(), &self.layout().preserved_strides(), dtype)
    }

    /// A fresh tensor of one value.
    pub fn full(shape: &[usize], value: Scalar, dtype: DType) -> Result<Tensor> {
        let t = Self::empty(shape, dtype)?;
        copy::fill(&t.raw(), value)?;
        Ok(t)
    }

    /// A fresh tensor of zeros.
    pub fn zeros(shape: &[usize], dtype: DType) -> Result<Tensor> {
        Self::full(shape, Scalar::Int(0), dtype)
    }

    /// A fresh tensor of ones.
    pub fn ones(shape: &[usize], dtype: DType) -> Result<Tensor> {
        Self::full(shape, Scalar::Int(1), dtype)
    }

    /// A zero-dimensional tensor.
    pub fn scalar(value: Scalar, dtype: DType) -> Result<Tensor> {
        Self::full(&[], value, dtype)
    }

    /// A fresh tensor holding a copy of `data`, row-major.
    pub fn from_slice<T: Element>(data: &[T], shape: &[usize]) -> Result<Tensor> {
        if layout::numel(shape)? != data.len() {
            return Err(runtime_error!("{} values do not fill the shape {shape:?}", data.len()));
        }
        let t = Self::empty(shape, T::DTYPE)?;
        t.slice_mut::<T>()?.copy_from_slice(data);
        Ok(t)
    }

    /// A tensor over existing storage; the layout must stay inside of it.
    pub fn from_storage(storage: Storage, layout: Layout, dtype: DType) -> Result<Tensor> {
        check_bounds(&storage, &layout, dtype)?;
        Ok(Self::build(storage, layout, dtype))
    }

    /// A tensor over memory that somebody else owns (see [`Storage::foreign`]).
    ///
    /// # Safety
    /// As [`Storage::foreign`].
    pub unsafe fn from_foreign(
        ptr: NonNull<u8>,
        layout: Layout,
        dtype: DType,
        owner: Box<dyn Any + Send + Sync>,
    ) -> Result<Tensor> {
        let bytes = layout.extent()?.checked_mul(dtype.size()).filter(|&b| b <= isize::MAX as usize);
        let bytes = bytes.ok_or_else(|| {
            runtime_error!("sizes {:?} of {dtype} take more memory than there can be", &layout.shape[..])
        })?;
        // SAFETY: passed on from the caller.
        let storage = unsafe { Storage::foreign(ptr, bytes, owner) };
        Self::from_storage(storage, layout, dtype)
    }

    #[inline]
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.0.layout.shape
    }
    /// In elements.
    #[inline]
    #[must_use]
    pub fn strides(&self) -> &[isize] {
        &self.0.layout.strides
    }
    /// Of the first element in the storage, in elements.
    #[inline]
    #[must_use]
    pub fn offset(&self) -> usize {
        self.0.layout.offset
    }
    #[inline]
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.0.layout
    }
    #[inline]
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }
    #[inline]
    #[must_use]
    pub fn ndim(&self) -> usize {
        self.0.layout.shape.len()
    }
    #[inline]
    #[must_use]
    pub fn numel(&self) -> usize {
        self.0.numel
    }
    #[inline]
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        self.0.contiguous
    }
    #[inline]
    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.0.storage
    }

    /// A window on the elements for kernels.
    #[inline]
    #[must_use]
    pub fn raw(&self) -> Raw<'_> {
        let i = &*self.0;
        // SAFETY: every constructor checked that the layout stays inside the storage, which lives as long as `self`
        // and never moves; engine blocks are 64-byte aligned, foreign ones were checked by whoever brought them.
        unsafe {
            let first = i.storage.ptr().wrapping_add(i.layout.offset.wrapping_mul(i.dtype.size()));
            Raw::new(first, i.dtype, &i.layout.shape, &i.layout.strides)
        }
    }

    /// As [`Tensor::raw`] for whoever only reads: work that only reads it, too, goes on waiting.
    #[must_use]
    pub fn raw_to_read(&self) -> Raw<'_> {
        let i = &*self.0;
        // SAFETY: as in `raw`.
        unsafe {
            let first = i.storage.ptr_to_read().wrapping_add(i.layout.offset.wrapping_mul(i.dtype.size()));
            Raw::new(first, i.dtype, &i.layout.shape, &i.layout.strides)
        }
    }

    /// Whether it is like to be read again unchanged, as a network's weight is while no graph is recorded.
    #[must_use]
    pub fn constant(&self) -> bool {
        let learning = mode::walking() || (mode::grad_enabled() && self.requires_grad());
        !learning && self.numel() >= packs::WORTH
    }

    /// As [`Tensor::raw`]; packed copies of what is [`constant`](Tensor::constant) may be kept.
    #[must_use]
    pub fn raw_kept(&self, constant: bool) -> Raw<'_> {
        if constant { self.raw().kept(self.0.storage.keep()) } else { self.raw() }
    }

    /// The elements, if they are contiguous and of type `T`.
    pub fn slice<T: Element>(&self) -> Result<&[T]> {
        self.raw().slice()
    }

    /// The elements to write: for fresh results, before anybody else sees them.
    #[allow(clippy::mut_from_ref)]
    pub fn slice_mut<T: Element>(&self) -> Result<&mut [T]> {
        self.raw().slice_mut()
    }

    /// The value of a one-element tensor.
    pub fn item(&self) -> Result<Scalar> {
        if self.numel() != 1 {
            return Err(runtime_error!("a Tensor with {} elements cannot be converted to Scalar", self.numel())
                .hint(format!("its shape is {:?}; use .tolist(), or reduce it first", self.shape())));
        }
        // SAFETY: one element exists at the window's address, of the dispatched type.
        Ok(with_dtype!(self.dtype(), T => unsafe { self.raw().ptr::<T>().read() }.to_scalar()))
    }

    /// The same storage under another layout, without any graph. The layout must stay inside the storage.
    pub fn with_layout(&self, layout: Layout) -> Result<Tensor> {
        check_bounds(&self.0.storage, &layout, self.dtype())?;
        Ok(self.alias(layout, self.0.untracked))
    }

    /// As [`Tensor::with_layout`] for layouts that only ever show a part of this tensor's own elements.
    #[must_use]
    pub fn view_of(&self, layout: Layout) -> Tensor {
        debug_assert!(check_bounds(&self.0.storage, &layout, self.dtype()).is_ok());
        self.alias(layout, self.0.untracked)
    }

    fn alias(&self, layout: Layout, untracked: bool) -> Tensor {
        let (contiguous, numel) = layout.facts();
        Self::assemble(self.0.storage.clone(), layout, self.0.dtype, contiguous, numel, untracked)
    }

    /// The same elements without a graph (`detach`).
    #[must_use]
    pub fn detach(&self) -> Tensor {
        self.alias(self.0.layout.clone(), self.0.untracked)
    }

    /// The same elements without a graph, whose writes are not counted (`.data`).
    #[must_use]
    pub fn data(&self) -> Tensor {
        self.alias(self.0.layout.clone(), true)
    }

    /// This tensor's identity (its metadata) over another tensor's elements: what `t.data = other` and the in-place
    /// layout changes (`t_`, `squeeze_`, `resize_`) put in place of `t`.
    #[must_use]
    pub fn rebound(&self, to: &Tensor) -> Tensor {
        let t = to.alias(to.0.layout.clone(), false);
        // Made when absent: views of this tensor, which find their base's metadata through it, must see the same ones.
        let _ = t.0.meta.set(self.meta_or_new().clone());
        t
    }

    /// A copy in row-major order (no graph), or this tensor itself when it is in that order already.
    pub fn to_contiguous(&self) -> Result<Tensor> {
        if self.is_contiguous() {
            return Ok(self.clone());
        }
        let out = Self::empty(self.shape(), self.dtype())?;
        copy::copy(&out.raw(), &self.raw())?;
        Ok(out)
    }

    /// A fresh copy in the same memory order (no graph).
    pub fn copied(&self) -> Result<Tensor> {
        self.copied_as(self.dtype())
    }

    /// A fresh copy of another dtype in the same memory order (no graph).
    pub fn copied_as(&self, dtype: DType) -> Result<Tensor> {
        let out = self.empty_like_as(dtype)?;
        copy::copy(&out.raw(), &self.raw())?;
        Ok(out)
    }

    /// Number of in-place writes its storage has seen.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.0.storage.version()
    }

    /// Counts an in-place write, unless this is a `.data` alias.
    pub fn bump_version(&self) {
        self.0.storage.bump(!self.0.untracked);
    }

    /// Autograd metadata, if it has any; a view has.
    #[inline]
    #[must_use]
    pub fn meta(&self) -> Option<&Arc<Meta>> {
        match self.0.meta.get() {
            None if self.0.seen.is_some() => Some(self.meta_or_new()),
            m => m,
        }
    }

    /// Autograd metadata, made when absent.
    #[must_use]
    pub fn meta_or_new(&self) -> &Arc<Meta> {
        self.0.meta.get_or_init(|| {
            let meta = Meta::default();
            if let Some(s) = &self.0.seen {
                meta.set_view(Some(s.view()));
            }
            Arc::new(meta)
        })
    }

    /// Remembers that this fresh tensor is a view of `input`, or of what that one is a view of. `frozen` says why
    /// writes through it cannot be recorded.
    pub fn set_view_of(&mut self, input: &Tensor, frozen: Option<&'static str>) {
        let version = self.version();
        let seen = match &input.0.seen {
            Some(s) => Seen { base: s.base.clone(), version, frozen: frozen.or(s.frozen) },
            None => match input.0.meta.get().and_then(|m| m.view()) {
                // A view that took another's place: only its metadata know.
                Some(v) => {
                    let view = View { version, frozen: frozen.or(v.frozen), ..v };
                    return self.meta_or_new().set_view(Some(view));
                }
                None => Seen { base: input.clone(), version, frozen },
            },
        };
        match Arc::get_mut(&mut self.0) {
            Some(i) if i.meta.get().is_none() => i.seen = Some(seen),
            _ => self.meta_or_new().set_view(Some(seen.view())),
        }
    }

    /// The tensor that this one is a view of, while it is as it was made.
    #[must_use]
    pub fn base(&self) -> Option<&Tensor> {
        self.0.seen.as_ref().map(|s| &s.base)
    }

    /// Whether gradients flow into it: a leaf that asks for one, or a result that depends on such a leaf.
    #[inline]
    #[must_use]
    pub fn requires_grad(&self) -> bool {
        match self.0.meta.get() {
            Some(m) => m.requires_grad(),
            None => self.0.seen.as_ref().is_some_and(|s| s.frozen.is_none() && s.base.has_edge()),
        }
    }

    /// Whether a node made it.
    fn has_edge(&self) -> bool {
        self.0.meta.get().is_some_and(|m| m.has_edge())
    }

    /// Whether both are the same tensor (not only the same memory).
    #[must_use]
    pub fn same(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Number of handles on this very tensor.
    #[must_use]
    pub fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// True when nobody else can see this tensor's memory: it may be overwritten.
    #[must_use]
    pub fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.0) == 1 && self.0.storage.holders() == 1 && self.meta().is_none()
    }

    /// The host-language object showing this tensor, as the binding stored it.
    #[inline]
    #[must_use]
    pub fn host(&self) -> *mut u8 {
        self.0.host.load(Ordering::Relaxed)
    }

    /// Remembers (or, with null, forgets) the host-language object.
    #[inline]
    pub fn set_host(&self, object: *mut u8) {
        self.0.host.store(object, Ordering::Relaxed);
    }

    /// Whether gradients are being recorded for it right now.
    #[must_use]
    pub fn tracked(&self) -> bool {
        mode::grad_enabled() && self.requires_grad()
    }
}

impl Seen {
    /// As metadata hold it.
    fn view(&self) -> View {
        View {
            base: self.base.meta_or_new().clone(),
            base_layout: self.base.layout().clone(),
            version: self.version,
            storage: self.base.storage().clone(),
            frozen: self.frozen,
        }
    }
}

fn check_bounds(storage: &Storage, layout: &Layout, dtype: DType) -> Result<()> {
    // What has no elements shows no memory, whatever its strides.
    if layout.shape.contains(&0) {
        return Ok(());
    }
    let end = layout.extent()?;
    let low: i128 = layout.offset as i128
        + layout
            .shape
            .iter()
            .zip(&layout.strides)
            .map(|(&d, &s)| if s < 0 && d > 0 { (d as i128 - 1) * s as i128 } else { 0 })
            .sum::<i128>();
    let fits = low >= 0 && end.checked_mul(dtype.size()).is_some_and(|b| b <= storage.bytes());
    if !fits {
        return Err(runtime_error!(
            "setStorage: sizes {:?}, strides {:?}, storage offset {}, and itemsize {} requiring a storage size of {} are out of bounds for storage of size {}",
            &layout.shape[..],
            &layout.strides[..],
            layout.offset,
            dtype.size(),
            end.saturating_mul(dtype.size()),
            storage.bytes()
        ));
    }
    Ok(())
}
