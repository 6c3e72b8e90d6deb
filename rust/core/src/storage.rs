//! A block of memory that tensors share, with the version that counts writes to it.
//!
//! There is no lock: two threads that write one tensor may mix values, never memory, since the block neither moves nor
//! shrinks while any tensor shows it.

use once_cell::race::OnceBox;
use rustnn_base::Result;
use rustnn_kernels::alloc;
use rustnn_kernels::packs::{Keep, Packs};
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
    /// Writes of every kind, those that autograd does not look for too.
    writes: AtomicU32,
    /// Who, outside the engine, can write the bytes at the moment: their number.
    lent: AtomicU32,
    packs: OnceBox<Packs>,
    owner: Owner,
}

impl Block {
    fn new(ptr: NonNull<u8>, bytes: usize, owner: Owner) -> Self {
        let zero = || AtomicU32::new(0);
        Block { ptr, bytes, version: zero(), writes: zero(), lent: zero(), packs: OnceBox::new(), owner }
    }
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
        Ok(Storage(Arc::new(Block::new(ptr, bytes, Owner::Engine))))
    }

    /// Memory that somebody else owns.
    ///
    /// # Safety
    /// `bytes` bytes from `ptr` stay readable and writable, at that address, until `owner` is dropped.
    #[must_use]
    pub unsafe fn foreign(ptr: NonNull<u8>, bytes: usize, owner: Box<dyn Any + Send + Sync>) -> Self {
        Storage(Arc::new(Block::new(ptr, bytes, Owner::Foreign(owner))))
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

    /// Counts one in-place write, which has happened. Autograd sees those that are `tracked`.
    #[inline]
    pub fn bump(&self, tracked: bool) {
        if tracked {
            self.0.version.fetch_add(1, Ordering::Relaxed);
        }
        self.0.writes.fetch_add(1, Ordering::Release);
    }

    /// Says that others have the bytes to read and write, until [`Storage::returned`].
    pub fn lend(&self) {
        self.0.lent.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends one [`Storage::lend`]: whoever had the bytes may have written them.
    pub fn returned(&self) {
        self.bump(false);
        self.0.lent.fetch_sub(1, Ordering::Release);
    }

    /// Where packed copies of what lies here are kept; nowhere if somebody else can write the bytes.
    #[must_use]
    pub fn keep(&self) -> Keep<'_> {
        let b = &*self.0;
        if matches!(b.owner, Owner::Foreign(_)) || b.lent.load(Ordering::Acquire) != 0 {
            return Keep::NOT;
        }
        Keep::new(b.packs.get_or_init(Box::default), b.writes.load(Ordering::Acquire))
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
