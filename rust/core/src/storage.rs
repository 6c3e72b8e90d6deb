//! A block of memory that tensors share, with the version that counts writes to it.
//!
//! There is no lock: two threads that write one tensor may mix values, never memory, since the block neither moves nor
//! shrinks while any tensor shows it.

use crate::later::{self, Slot, Wait};
use once_cell::race::OnceBox;
use rustnn_base::Result;
use rustnn_kernels::alloc;
use rustnn_kernels::packs::{Keep, Packs};
use std::any::Any;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

/// Who frees the bytes.
enum Owner {
    /// Our allocator.
    Engine,
    /// Whatever this keeps alive (a NumPy array, a DLPack capsule, a mapped file); dropping it frees the bytes.
    Foreign(#[allow(dead_code)] Box<dyn Any + Send + Sync>),
}

struct Block {
    /// Null while what waits has not been computed.
    ptr: AtomicPtr<u8>,
    bytes: usize,
    version: AtomicU32,
    /// Writes of every kind, those that autograd does not look for too.
    writes: AtomicU32,
    /// Who, outside the engine, can write the bytes at the moment: their number.
    lent: AtomicU32,
    packs: OnceBox<Packs>,
    /// Where work waits that reads or will write the bytes (see [`later`]).
    waits: AtomicPtr<u8>,
    owner: Owner,
}

impl Block {
    fn new(ptr: *mut u8, bytes: usize, owner: Owner) -> Self {
        let ptr = AtomicPtr::new(ptr);
        let zero = || AtomicU32::new(0);
        let waits = AtomicPtr::new(std::ptr::null_mut());
        Block { ptr, bytes, version: zero(), writes: zero(), lent: zero(), packs: OnceBox::new(), waits, owner }
    }
}

// SAFETY: the bytes are plain numbers at a fixed address; see the module's word on concurrent writers.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

/// A wait as one word: its slot's address, and in the lowest bit whether the block will be written.
fn tagged(wait: Wait) -> *mut u8 {
    std::ptr::from_ref(wait.slot).cast::<u8>().cast_mut().wrapping_add(usize::from(wait.writes))
}

impl Drop for Block {
    fn drop(&mut self) {
        if let (Owner::Engine, Some(ptr)) = (&self.owner, NonNull::new(*self.ptr.get_mut())) {
            // SAFETY: `ptr` and `bytes` are what `allocate` returned and was asked for; no tensor is left.
            unsafe { alloc::release(ptr, self.bytes) }
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
        Ok(Storage(Arc::new(Block::new(ptr.as_ptr(), bytes, Owner::Engine))))
    }

    /// `bytes` bytes that there will be when the work is done that waits to write them: to be given to it at once.
    #[must_use]
    pub fn promised(bytes: usize) -> Self {
        Storage(Arc::new(Block::new(std::ptr::null_mut(), bytes, Owner::Engine)))
    }

    /// Keeps the promise: the work calls this before it writes.
    pub fn provide(&self) -> Result<()> {
        if self.0.ptr.load(Ordering::Relaxed).is_null() {
            // Only the thread that does the work comes here, holding its slot.
            self.0.ptr.store(alloc::allocate(self.0.bytes)?.as_ptr(), Ordering::Release);
        }
        Ok(())
    }

    /// Memory that somebody else owns.
    ///
    /// # Safety
    /// `bytes` bytes from `ptr` stay readable and writable, at that address, until `owner` is dropped.
    #[must_use]
    pub unsafe fn foreign(ptr: NonNull<u8>, bytes: usize, owner: Box<dyn Any + Send + Sync>) -> Self {
        Storage(Arc::new(Block::new(ptr.as_ptr(), bytes, Owner::Foreign(owner))))
    }

    /// Address of the first byte. What waits for these bytes to be read, or is to write them, is done before.
    #[inline]
    #[must_use]
    pub fn ptr(&self) -> *mut u8 {
        if let Some(wait) = self.waits() {
            later::settle(self, wait);
        }
        self.0.ptr.load(Ordering::Acquire)
    }

    /// As [`Storage::ptr`] for whoever only reads: what reads these bytes itself may go on waiting.
    #[must_use]
    pub fn ptr_to_read(&self) -> *mut u8 {
        match self.waits() {
            Some(wait) if wait.writes => self.ptr(),
            _ => self.0.ptr.load(Ordering::Acquire),
        }
    }

    /// What waits that reads or will write the bytes.
    #[inline]
    #[must_use]
    pub fn waits(&self) -> Option<Wait> {
        let word = self.0.waits.load(Ordering::Acquire);
        if word.is_null() {
            return None;
        }
        let writes = word.addr() & 1;
        // SAFETY: what `tagged` made; a slot is aligned to more than a byte and lives for ever.
        Some(Wait { slot: unsafe { &*word.wrapping_sub(writes).cast::<Slot>() }, writes: writes == 1 })
    }

    /// Says what waits; false if something else does already.
    pub(crate) fn link(&self, wait: Wait) -> bool {
        let none = std::ptr::null_mut();
        match self.0.waits.compare_exchange(none, tagged(wait), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(other) => other == tagged(wait),
        }
    }

    /// The end of [`Storage::link`].
    pub(crate) fn unlink(&self, slot: &'static Slot) {
        for writes in [false, true] {
            let (word, none) = (tagged(Wait { slot, writes }), std::ptr::null_mut());
            let _ = self.0.waits.compare_exchange(word, none, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Whether nobody but the engine can write the bytes at the moment.
    #[must_use]
    pub fn is_own(&self) -> bool {
        matches!(self.0.owner, Owner::Engine) && self.0.lent.load(Ordering::Acquire) == 0
    }

    /// A handle that does not keep the bytes.
    #[must_use]
    pub fn downgrade(&self) -> WeakStorage {
        WeakStorage(Arc::downgrade(&self.0))
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
        if !self.is_own() {
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

/// A block that goes when no tensor shows it any more.
#[derive(Clone)]
pub struct WeakStorage(Weak<Block>);

impl WeakStorage {
    /// The block, if some tensor still shows it.
    #[must_use]
    pub fn upgrade(&self) -> Option<Storage> {
        self.0.upgrade().map(Storage)
    }
}
