//! A window on a tensor's memory: what `core` hands to kernels that walk strides themselves.

use crate::packs::Keep;
use rustnn_base::{DType, Element, Error, Result, layout, runtime_error};
use std::marker::PhantomData;

/// Address, dtype, shape and strides of a tensor's elements. Whoever holds one may read and write every element it
/// shows; several windows may show the same memory (in-place ops, views), so kernels use pointers, not references,
/// wherever a source and a destination may be the same.
#[derive(Clone, Copy)]
pub struct Raw<'a> {
    ptr: *mut u8,
    dtype: DType,
    shape: &'a [usize],
    strides: &'a [isize],
    keep: Keep<'a>,
    _owner: PhantomData<&'a ()>,
}

// SAFETY: a window is an address with a lifetime; tensors promise that concurrent writers can mix values, not memory.
unsafe impl Send for Raw<'_> {}
// SAFETY: as above.
unsafe impl Sync for Raw<'_> {}

impl<'a> Raw<'a> {
    /// # Safety
    /// Every element that `shape` and `strides` reach from `ptr` lies, aligned, in memory that lives for `'a`, holds
    /// initialised bytes or is only written, and is not moved or freed meanwhile.
    #[must_use]
    pub unsafe fn new(ptr: *mut u8, dtype: DType, shape: &'a [usize], strides: &'a [isize]) -> Self {
        Raw { ptr, dtype, shape, strides, keep: Keep::NOT, _owner: PhantomData }
    }

    /// The same window on memory that keeps packed copies of what lies in it.
    #[must_use]
    pub fn kept(self, keep: Keep<'a>) -> Self {
        Raw { keep, ..self }
    }
    /// Where packed copies of the elements are kept. Of elements that a kernel first converts there are none: it says
    /// [`Keep::NOT`] then.
    #[must_use]
    pub fn keep(&self) -> Keep<'a> {
        self.keep
    }

    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }
    #[must_use]
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }
    /// In elements.
    #[must_use]
    pub fn strides(&self) -> &'a [isize] {
        self.strides
    }
    #[must_use]
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }
    /// Address of the first element.
    #[must_use]
    pub fn ptr<T>(&self) -> *mut T {
        self.ptr.cast()
    }

    /// A matrix with rows and columns swapped; `dims` holds the new shape and strides. Itself unless it is a matrix.
    #[must_use]
    pub fn swapped<'b>(&self, dims: &'b mut ([usize; 2], [isize; 2])) -> Raw<'b>
    where
        'a: 'b,
    {
        if let (&[m, n], &[rs, cs]) = (self.shape, self.strides) {
            *dims = ([n, m], [cs, rs]);
            return Raw { shape: &dims.0, strides: &dims.1, ..*self };
        }
        *self
    }

    /// Whether the elements lie row-major without gaps.
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        let mut want = 1isize;
        for (&d, &s) in self.shape.iter().zip(self.strides).rev() {
            if d == 0 {
                return true;
            }
            if d != 1 {
                if s != want {
                    return false;
                }
                want *= d as isize;
            }
        }
        true
    }

    /// An error unless the elements are `T`s.
    #[inline]
    pub fn check_dtype<T: Element>(&self) -> Result<()> {
        if T::DTYPE != self.dtype {
            return Err(runtime_error!("expected a {} tensor, got {}", T::DTYPE.torch_name(), self.dtype.torch_name()));
        }
        Ok(())
    }

    fn check<T: Element>(&self) -> Result<()> {
        self.check_dtype::<T>()?;
        if !self.is_contiguous() {
            return Err(Error::Runtime(format!(
                "this kernel needs contiguous memory, got shape {:?} with strides {:?} (row-major would be {:?})",
                self.shape,
                self.strides,
                &layout::contiguous_strides(self.shape)[..]
            )));
        }
        Ok(())
    }

    /// The elements as a slice: dtype and contiguity are checked.
    pub fn slice<T: Element>(&self) -> Result<&'a [T]> {
        self.check::<T>()?;
        // SAFETY: by `new`'s contract the elements are there for 'a; contiguity was checked.
        Ok(unsafe { std::slice::from_raw_parts(self.ptr.cast(), self.numel()) })
    }

    /// The elements as a slice to write. Only for memory that no other window is reading, such as a fresh result.
    pub fn slice_mut<T: Element>(&self) -> Result<&'a mut [T]> {
        self.check::<T>()?;
        // SAFETY: as in `slice`; exclusivity is the caller's, who made the result tensor.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.ptr.cast(), self.numel()) })
    }
}
