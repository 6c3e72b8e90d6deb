//! A block of memory that tensors share, with the version that counts writes to it.
//!
//! There is no lock: two threads that write one tensor may mix values, never memory, since the block neither moves nor
//! shrinks while any tensor shows it.

use rustnn_base::Result;
use rustnn_kernels::alloc;
use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Who frees the bytes.
enum Owner {
    /// Our allocator.
    Engine,
    /// Whatever this keeps alive (a NumPy array, a DLPack capsule, a mapped file); dropping it frees the bytes.
    Foreign(#[allow(dead_code)] Box<dyn Any + Send + Sync>),
}

struct Block {
    ptr: NonNull<u8>,
    bytes: usize,
    version: AtomicU32,
    owner: Owner,
}

// SAFETY: the bytes are plain numbers at a fixed address; see the module's word on concurrent writers.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Drop for Block {
    fn drop(&mut self) {
        if matches!(self.owner, Owner::Engine) {
            // SAFETY: `ptr` and `bytes` are what `allocate` returned and was asked for; no tensor is left.
            unsafe { alloc::release(self.ptr, self.bytes) }
        }
    }
}

/// Shared memory of tensors.
#[derive(Clone)]
pub struct Storage(Arc<Block>);

impl Storage {
    /// `bytes` uninitialised bytes.
    pub fn new(bytes: usize) -> Result<Self> {
        let ptr = alloc::allocate(bytes)?;
        Ok(Storage(Arc::new(Block { ptr, bytes, version: AtomicU32::new(0), owner: Owner::Engine })))
    }

    /// Memory that somebody else owns.
    ///
    /// # Safety
    /// `bytes` bytes from `ptr` stay readable and writable, at that address, until `owner` is dropped.
    #[must_use]
    pub unsafe fn foreign(ptr: NonNull<u8>, bytes: usize, owner: Box<dyn Any + Send + Sync>) -> Self {
        Storage(Arc::new(Block { ptr, bytes, version: AtomicU32::new(0), owner: Owner::Foreign(owner) }))
    }

    /// Address of the first byte.
    #[inline]
    #[must_use]
    pub fn ptr(&self) -> *mut u8 {
        self.0.ptr.as_ptr()
    }

    /// Size in bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// Number of in-place writes so far.
    #[inline]
    #[must_use]
    pub fn version(&self) -> u32 {
        self.0.version.load(Ordering::Relaxed)
    }

    /// Counts one in-place write.
    #[inline]
    pub fn bump(&self) {
        self.0.version.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether both are the same block.
    #[must_use]
    pub fn same(&self, other: &Storage) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// How many tensors (and saved tensors) hold it.
    #[must_use]
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}
