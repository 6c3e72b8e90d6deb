//! Memory for tensors and scratch.

use rustnn_base::{Error, Result};
use std::alloc::Layout;
use std::ptr::NonNull;

/// Every block starts at a multiple of this.
pub const ALIGN: usize = 64;

/// `bytes` uninitialised bytes, aligned to [`ALIGN`].
pub fn allocate(bytes: usize) -> Result<NonNull<u8>> {
    let layout = Layout::from_size_align(bytes.max(1), ALIGN).map_err(|_| Error::OutOfMemory(bytes as u64))?;
    // SAFETY: the size is not zero.
    NonNull::new(unsafe { std::alloc::alloc(layout) }).ok_or(Error::OutOfMemory(bytes as u64))
}

/// Gives back a block of [`allocate`].
///
/// # Safety
/// `ptr` came from `allocate(bytes)` with the same `bytes` and is not used again.
pub unsafe fn release(ptr: NonNull<u8>, bytes: usize) {
    if let Ok(layout) = Layout::from_size_align(bytes.max(1), ALIGN) {
        // SAFETY: by this function's contract it is the layout of the allocation.
        unsafe { std::alloc::dealloc(ptr.as_ptr(), layout) }
    }
}
