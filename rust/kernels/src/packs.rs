//! Packed copies of operands that stay as they are, such as a network's weights while it only answers.
//!
//! A product or a convolution reads its weight in an order of its own and copies it into that order first, which for one
//! image or a few rows takes as long as the arithmetic. The memory a weight lies in can keep such copies ([`Packs`]);
//! they hold as long as nobody has written to it since, which a counter tells. The first call with a weight only notes
//! it, the second keeps its copy: what is used once is not stored twice.
//!
//! Which way a product goes never depends on whether there is a copy, and a copy holds the same values as one made anew,
//! so no result depends on it.

use crate::alloc::{allocate, release};
use crate::{machine, scratch};
use rustnn_base::Result;
use smallvec::SmallVec;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Smaller operands are packed in less time than it takes to look.
pub const WORTH: usize = 1024;
/// Copies (and notes) per block of memory; beyond them the oldest goes.
const MOST: usize = 24;

/// Bytes in copies of this process.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// Bytes that copies may take up: a quarter of what the process may use.
fn bound() -> usize {
    usize::try_from(machine::usable_memory(4 << 30).0 / 4).unwrap_or(usize::MAX)
}

/// Bytes in packed copies that weights keep at the moment.
#[must_use]
pub fn kept_bytes() -> usize {
    KEPT.load(Ordering::Relaxed)
}

/// The orders that copies are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// A product's left operand, blocks of rows after blocks of steps.
    Left,
    /// A product's right operand, panels of columns after blocks of steps.
    Right,
    /// Weights of a direct convolution.
    Taps,
    /// Weights of a convolution over small images.
    Pixels,
    /// Weights of a convolution whose lanes are output channels.
    Turned,
    /// Transformed weights.
    Winograd,
}

/// What tells one copy from another of the same memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub order: Order,
    /// Address of the operand's first value, and bytes per value.
    pub first: usize,
    pub size: usize,
    /// Strides, sizes, and how the order cuts them (which differs by instruction set).
    pub form: SmallVec<[isize; 20]>,
}

/// A block that is released with its last user.
struct Copied {
    ptr: NonNull<u8>,
    bytes: usize,
    /// Whether it counts among the copies that are kept.
    counted: bool,
}

// SAFETY: plain numbers at a fixed address that nobody writes once the copy is made.
unsafe impl Send for Copied {}
// SAFETY: as above.
unsafe impl Sync for Copied {}

impl Copied {
    /// Room for a copy to keep, unless there is none to spare.
    fn new(bytes: usize) -> Option<Self> {
        let before = KEPT.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= bound()
            && let Ok(ptr) = allocate(bytes)
        {
            return Some(Copied { ptr, bytes, counted: true });
        }
        KEPT.fetch_sub(bytes, Ordering::Relaxed);
        None
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        if self.counted {
            KEPT.fetch_sub(self.bytes, Ordering::Relaxed);
        }
        // SAFETY: the block came from `allocate(bytes)`; nobody else has it.
        unsafe { release(self.ptr, self.bytes) }
    }
}

struct Entry {
    key: Key,
    /// Writes that the memory had seen when the copy was made, or first asked for.
    writes: u32,
    copy: Option<Arc<Copied>>,
}

/// The copies that a block of memory keeps of what lies in it.
#[derive(Default)]
pub struct Packs(Mutex<Vec<Entry>>);

enum Found {
    Copy(Arc<Copied>),
    /// Asked for before: worth keeping.
    Again,
    New,
}

impl Packs {
    fn find(&self, key: &Key, writes: u32) -> Found {
        // Never waited for: who finds it locked packs for itself, and a forked child finds it locked for ever.
        let Ok(mut entries) = self.0.try_lock() else { return Found::New };
        if let Some(e) = entries.iter_mut().find(|e| e.key == *key) {
            if e.writes == writes {
                return e.copy.clone().map_or(Found::Again, Found::Copy);
            }
            (e.writes, e.copy) = (writes, None);
            return Found::New;
        }
        // Notes and copies of what is no more make way first.
        entries.retain(|e| e.writes == writes);
        if entries.len() >= MOST {
            entries.remove(0);
        }
        if entries.try_reserve(1).is_ok() {
            entries.push(Entry { key: key.clone(), writes, copy: None });
        }
        Found::New
    }

    fn keep(&self, key: &Key, writes: u32, copy: &Arc<Copied>) {
        let Ok(mut entries) = self.0.try_lock() else { return };
        if let Some(e) = entries.iter_mut().find(|e| e.key == *key && e.writes == writes) {
            e.copy = Some(Arc::clone(copy));
        }
    }
}

/// Where an operand's copies are kept, if they are: its memory's [`Packs`], and how often it had been written.
#[derive(Clone, Copy, Default)]
pub struct Keep<'a>(Option<(&'a Packs, u32)>);

impl<'a> Keep<'a> {
    /// For an operand that is packed anew each time.
    pub const NOT: Keep<'static> = Keep(None);

    #[must_use]
    pub fn new(packs: &'a Packs, writes: u32) -> Self {
        Keep(Some((packs, writes)))
    }

    /// Whether there is a place for copies.
    #[must_use]
    pub fn given(self) -> bool {
        self.0.is_some()
    }

    /// Whether this operand has been asked for before, so that [`with`] uses a kept copy, or keeps one now. Notes it if
    /// not. For those who pack parts as they go where there is no copy, or read in place.
    #[must_use]
    pub fn known(self, key: impl FnOnce() -> Key) -> bool {
        self.0.is_some_and(|(packs, writes)| allowed() && !matches!(packs.find(&key(), writes), Found::New))
    }
}

/// Runs `f` with `len` values that `pack` wrote: kept from an earlier call, or written now.
pub fn with<T: Copy, R>(
    keep: Keep,
    key: Key,
    len: usize,
    pack: impl FnOnce(*mut T),
    f: impl FnOnce(*const T) -> R,
) -> Result<R> {
    match kept(keep, key, len, pack) {
        Ok(copy) => Ok(f(copy.ptr.as_ptr().cast_const().cast())),
        Err(pack) => scratch::with(len, |p: *mut T| {
            pack(p);
            f(p.cast_const())
        }),
    }
}

/// Values that a packed operand consists of, for as long as it is used.
pub struct Held<T> {
    block: Arc<Copied>,
    _values: PhantomData<T>,
}

impl<T> Held<T> {
    /// The first value.
    #[must_use]
    pub fn ptr(&self) -> *const T {
        self.block.ptr.as_ptr().cast_const().cast()
    }
}

/// As [`with`], for operands that outlive a call.
pub fn held<T: Copy>(keep: Keep, key: Key, len: usize, pack: impl FnOnce(*mut T)) -> Result<Held<T>> {
    let block = match kept(keep, key, len, pack) {
        Ok(copy) => copy,
        Err(pack) => {
            let bytes = len.saturating_mul(size_of::<T>());
            let own = Copied { ptr: allocate(bytes)?, bytes, counted: false };
            pack(own.ptr.as_ptr().cast());
            Arc::new(own)
        }
    };
    Ok(Held { block, _values: PhantomData })
}

/// The copy that is kept, from an earlier call or from now on; where there is none, `pack` comes back.
fn kept<T: Copy, P: FnOnce(*mut T)>(keep: Keep, key: Key, len: usize, pack: P) -> std::result::Result<Arc<Copied>, P> {
    let Some((packs, writes)) = keep.0.filter(|_| len >= WORTH && allowed()) else { return Err(pack) };
    let copy = match packs.find(&key, writes) {
        Found::Copy(copy) => return Ok(copy),
        Found::Again => Copied::new(len.saturating_mul(size_of::<T>())),
        Found::New => None,
    };
    let Some(copy) = copy.map(Arc::new) else { return Err(pack) };
    pack(copy.ptr.as_ptr().cast());
    packs.keep(&key, writes, &copy);
    Ok(copy)
}

thread_local! {
    static OFF: Cell<bool> = const { Cell::new(false) };
}

fn allowed() -> bool {
    !OFF.get()
}

/// Runs `f` with no copy used or kept on this thread: for comparing.
pub fn without<R>(f: impl FnOnce() -> R) -> R {
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            OFF.set(self.0);
        }
    }
    let _back = Back(OFF.replace(true));
    f()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(first: usize) -> Key {
        Key { order: Order::Left, first, size: 4, form: SmallVec::new() }
    }

    /// What `f` saw, and whether it was packed for that.
    fn ask(packs: &Packs, writes: u32, first: usize, value: f32) -> (f32, bool) {
        let packed = Cell::new(false);
        let seen = with(
            Keep::new(packs, writes),
            key(first),
            WORTH,
            |p: *mut f32| {
                packed.set(true);
                // SAFETY: room for that many values.
                unsafe { std::slice::from_raw_parts_mut(p, WORTH).fill(value) };
            },
            // SAFETY: written above, or kept.
            |p| unsafe { *p.add(WORTH - 1) },
        );
        (seen.unwrap(), packed.get())
    }

    #[test]
    fn kept_from_the_second_call_until_written() {
        let packs = Packs::default();
        assert_eq!(ask(&packs, 0, 1, 1.0), (1.0, true));
        assert_eq!(ask(&packs, 0, 1, 2.0), (2.0, true));
        assert_eq!(ask(&packs, 0, 1, 3.0), (2.0, false));
        // Another operand in the same memory.
        assert_eq!(ask(&packs, 0, 2, 4.0), (4.0, true));
        assert_eq!(ask(&packs, 0, 1, 5.0), (2.0, false));
        // Written: noted, then kept.
        assert_eq!(ask(&packs, 1, 1, 6.0), (6.0, true));
        assert_eq!(ask(&packs, 1, 1, 7.0), (7.0, true));
        assert_eq!(ask(&packs, 1, 1, 8.0), (7.0, false));
        assert_eq!(without(|| ask(&packs, 1, 1, 9.0)), (9.0, true));
    }

    #[test]
    fn bounded_and_released() {
        let packs = Packs::default();
        for first in 0..100 {
            for _ in 0..3 {
                ask(&packs, 0, first, first as f32);
            }
        }
        assert!(packs.0.lock().unwrap().len() <= MOST);
        assert!(Copied::new(usize::MAX / 2).is_none());
    }
}
