//! Blocks above 224 KiB: own mappings, those that hold a huge page aligned to 2 MiB and advised to use them (only our
//! own mappings are advised: on heap memory the advice outlives the block). Freed ones stay mapped in one cache, from
//! which a request takes the best fit within an eighth; what was not used longest leaves first when the cache exceeds
//! the smaller of a quarter of the machine's memory and what the program recently had in use.

use super::stats;
use crate::machine;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// Mappings of at least this size are on huge pages.
const HUGE: usize = 2 << 20;
/// A block this near to a huge page's size takes a whole one.
const NEARLY_HUGE: usize = HUGE - HUGE / 4;
/// Lengths of mappings are multiples of this (of 4 KiB and of 16 KiB pages).
const PAGE: usize = 16 << 10;
/// From this size on a fresh mapping first asks how much memory is free: other processes count too.
const ASK: usize = 256 << 20;
/// What the cache may always hold.
const LEAST_LIMIT: usize = 64 << 20;
/// Requests in a window of the high-water mark.
const WINDOW: u32 = 2048;

struct Central {
    /// Address and length of every block in use.
    live: BTreeMap<usize, usize>,
    /// Free blocks by length; each with its time of release, oldest first.
    free: BTreeMap<usize, VecDeque<(u64, usize)>>,
    /// Length and address of free blocks by time of release.
    ages: BTreeMap<u64, (usize, usize)>,
    clock: u64,
    live_bytes: usize,
    free_bytes: usize,
    /// Most bytes in use in this window of requests and in the one before.
    high: [usize; 2],
    requests: u32,
}

static CENTRAL: Mutex<Central> = Mutex::new(Central {
    live: BTreeMap::new(),
    free: BTreeMap::new(),
    ages: BTreeMap::new(),
    clock: 0,
    live_bytes: 0,
    free_bytes: 0,
    high: [0; 2],
    requests: 0,
});

/// (bytes that blocks in use may have together, bytes that the cache may have): memory and swap of the machine or of
/// the control group, and a quarter of its memory.
fn budget() -> (usize, usize) {
    let (ram, swap) = machine::usable_memory(1 << 40);
    let size = |x: u64| usize::try_from(x).unwrap_or(usize::MAX);
    (size(ram.saturating_add(swap)), size(ram / 4))
}

/// Whether the system could back that many more bytes now; yes where it does not say.
fn available(bytes: usize) -> bool {
    machine::available_memory(Path::new("/")).is_none_or(|free| bytes as u64 <= free)
}

/// Whether that many bytes could be had outside this module.
pub(super) fn can_have(bytes: usize) -> bool {
    bytes < ASK || (bytes <= budget().0 && available(bytes))
}

/// The cache, also after a panic inside it (there is none) and with an eye on forks.
fn central() -> MutexGuard<'static, Central> {
    static WATCH_FORKS: Once = Once::new();
    WATCH_FORKS.call_once(forks::watch);
    CENTRAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See [`super::prepare`].
pub(super) fn prepare() {
    budget();
    drop(central());
}

/// Length of the mapping for a request: eighths of a power of two, whole pages; `None` if beyond all bounds.
fn length(bytes: usize) -> Option<usize> {
    let step = (bytes.checked_next_power_of_two()? / 16).max(PAGE);
    let length = bytes.checked_next_multiple_of(step)?;
    Some(if (NEARLY_HUGE..HUGE).contains(&length) { HUGE } else { length })
}

/// A block of at least `bytes` bytes and whether it is fresh from the kernel, hence zero.
pub(super) fn allocate(bytes: usize) -> Option<(NonNull<u8>, bool)> {
    let length = length(bytes)?;
    let (most, _) = budget();
    let mut c = central();
    if length > most.saturating_sub(c.live_bytes) {
        return None;
    }
    if let Some((block, length)) = c.take(length) {
        c.lives(block, length);
        drop(c);
        stats::add(length as isize, bytes as isize, 1, 0);
        return NonNull::new(block as *mut u8).map(|p| (p, false));
    }
    // Cached blocks count as used memory too: they leave before the machine is full.
    if c.live_bytes + c.free_bytes + length > most {
        let room = most - c.live_bytes - length;
        c.shrink(room);
    }
    drop(c);
    if length >= ASK && !available(length) {
        empty();
        if !available(length) {
            return None;
        }
    }
    let block = map(length).or_else(|| {
        empty();
        map(length)
    })?;
    central().lives(block.as_ptr() as usize, length);
    stats::add(length as isize, bytes as isize, 1, 1);
    Some((block, true))
}

/// # Safety
/// The block came from `allocate(bytes)` and is not used again.
pub(super) unsafe fn release(block: NonNull<u8>, bytes: usize) {
    let address = block.as_ptr() as usize;
    let mut c = central();
    let Some(length) = c.live.remove(&address) else {
        debug_assert!(false, "release of a block that is not in use");
        return;
    };
    c.live_bytes -= length;
    c.clock += 1;
    let now = c.clock;
    c.free.entry(length).or_default().push_back((now, address));
    c.ages.insert(now, (length, address));
    c.free_bytes += length;
    let limit = c.limit();
    if c.free_bytes > limit {
        c.shrink(limit);
    }
    drop(c);
    stats::add(-(length as isize), -(bytes as isize), 0, 0);
}

/// Unmaps every block kept for reuse.
pub(super) fn empty() {
    central().shrink(0);
}

/// (bytes kept, bytes that may be kept, blocks in use).
pub(super) fn counts() -> (usize, usize, usize) {
    let c = central();
    (c.free_bytes, c.limit(), c.live.len())
}

impl Central {
    /// Takes the best-fitting free block of `length` to `length·9/8` out of the cache, the one released last.
    fn take(&mut self, length: usize) -> Option<(usize, usize)> {
        let (&found, blocks) = self.free.range_mut(length..=length + length / 8).next()?;
        let (time, block) = blocks.pop_back()?;
        if blocks.is_empty() {
            self.free.remove(&found);
        }
        self.ages.remove(&time);
        self.free_bytes -= found;
        Some((block, found))
    }

    fn lives(&mut self, block: usize, length: usize) {
        self.live.insert(block, length);
        self.live_bytes += length;
        self.requests += 1;
        if self.requests >= WINDOW {
            self.requests = 0;
            self.high = [self.live_bytes, self.high[0]];
        }
        self.high[0] = self.high[0].max(self.live_bytes);
    }

    fn limit(&self) -> usize {
        self.high[0].max(self.high[1]).max(LEAST_LIMIT).min(budget().1)
    }

    /// Unmaps what was released longest ago until at most `limit` bytes are kept.
    fn shrink(&mut self, limit: usize) {
        while self.free_bytes > limit {
            let Some((_, (length, block))) = self.ages.pop_first() else { return };
            if let Some(blocks) = self.free.get_mut(&length) {
                // Ages and lists are in the same order, so it is the first.
                blocks.pop_front();
                if blocks.is_empty() {
                    self.free.remove(&length);
                }
            }
            self.free_bytes -= length;
            // SAFETY: a free block is a mapping of that length that nobody uses, and no list names it any more.
            unsafe { unmap(block as *mut u8, length) };
        }
    }
}

#[cfg(all(unix, not(miri)))]
fn map(length: usize) -> Option<NonNull<u8>> {
    let huge = length >= HUGE;
    let whole = if huge { length.checked_add(HUGE)? } else { length };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping anywhere touches nothing that exists.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), whole, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    let start = start.cast::<u8>();
    if !huge {
        return NonNull::new(start);
    }
    // Cut the mapping to an aligned one.
    let before = start.align_offset(HUGE);
    let after = whole - before - length;
    // SAFETY: both ends lie in the mapping just made and are multiples of the page size; nothing uses them.
    unsafe {
        let block = start.add(before);
        if before > 0 {
            libc::munmap(start.cast(), before);
        }
        if after > 0 {
            libc::munmap(block.add(length).cast(), after);
        }
        #[cfg(target_os = "linux")]
        libc::madvise(block.cast(), length, libc::MADV_HUGEPAGE);
        NonNull::new(block)
    }
}

/// # Safety
/// A mapping of that length that nothing uses any more.
#[cfg(all(unix, not(miri)))]
unsafe fn unmap(block: *mut u8, length: usize) {
    // SAFETY: this function's own contract.
    unsafe { libc::munmap(block.cast(), length) };
}

#[cfg(any(not(unix), miri))]
fn map(length: usize) -> Option<NonNull<u8>> {
    let layout = std::alloc::Layout::from_size_align(length, PAGE).ok()?;
    // SAFETY: the length is not zero.
    NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })
}

/// # Safety
/// A block of `map` of that length that nothing uses any more.
#[cfg(any(not(unix), miri))]
unsafe fn unmap(block: *mut u8, length: usize) {
    if let Ok(layout) = std::alloc::Layout::from_size_align(length, PAGE) {
        // SAFETY: the layout that `map` used.
        unsafe { std::alloc::dealloc(block, layout) }
    }
}

/// A fork must not copy the lock while another thread holds it: the forking thread takes it first and both processes
/// let go of it afterwards.
mod forks {
    #[cfg(all(unix, not(miri)))]
    pub(super) fn watch() {
        use super::{CENTRAL, Central, MutexGuard, PoisonError};
        use std::cell::RefCell;
        thread_local! {
            static HELD: RefCell<Option<MutexGuard<'static, Central>>> = const { RefCell::new(None) };
        }
        extern "C" fn before() {
            let guard = CENTRAL.lock().unwrap_or_else(PoisonError::into_inner);
            // Where the thread's storage is gone already the guard drops at once: nothing better is to be had.
            let _ = HELD.try_with(|held| held.replace(Some(guard)));
        }
        extern "C" fn after() {
            let _ = HELD.try_with(|held| held.replace(None));
        }
        // SAFETY: the handlers take and release a lock that is never held while a fork begins on the same thread.
        unsafe { libc::pthread_atfork(Some(before), Some(after), Some(after)) };
    }

    #[cfg(any(not(unix), miri))]
    pub(super) fn watch() {}
}
