//! What the allocator counts. Threads count for themselves and hand their sums in now and then, so that counting
//! costs no shared write per block; sums are exact to 256 KiB per thread.

use super::{large, small};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};

/// Numbers of `rustnn.memory_stats()`. Bytes are those of the blocks, that is, of the size classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Bytes in blocks that are in use.
    pub allocated: u64,
    /// The most that `allocated` was since the start or `reset_peak_memory`.
    pub peak: u64,
    /// Bytes kept for reuse: all large blocks, and the small ones of the calling thread.
    pub cached: u64,
    /// Bytes that the cache of large blocks may hold at present.
    pub cache_limit: u64,
    /// Blocks handed out since the start.
    pub allocations: u64,
    /// How many of them were reused ones.
    pub reused: u64,
    /// Large blocks in use.
    pub large_blocks: u64,
}

static ALLOCATED: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static FRESH: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static MINE: Cell<isize> = const { Cell::new(0) };
}

/// Adds a thread's sums; of the bytes, `asked` were asked for.
pub(super) fn add(bytes: isize, asked: isize, allocations: u64, fresh: u64) {
    let _ = MINE.try_with(|m| m.set(m.get() + asked));
    let now = ALLOCATED.fetch_add(bytes, Ordering::Relaxed) + bytes;
    if bytes > 0 {
        PEAK.fetch_max(now, Ordering::Relaxed);
    }
    ALLOCATIONS.fetch_add(allocations, Ordering::Relaxed);
    FRESH.fetch_add(fresh, Ordering::Relaxed);
}

/// Bytes that the calling thread took since its start, less those that it freed: for large blocks what was asked for,
/// since the cache may answer with one that is longer, and the same call would count differently each time.
#[must_use]
pub fn thread_bytes() -> isize {
    small::hand_in();
    MINE.try_with(Cell::get).unwrap_or(0)
}

/// The allocator's counts now.
#[must_use]
pub fn memory_stats() -> MemoryStats {
    let cached_small = small::hand_in();
    let (cached, cache_limit, large_blocks) = large::counts();
    let count = |x: &AtomicIsize| x.load(Ordering::Relaxed).max(0) as u64;
    let allocations = ALLOCATIONS.load(Ordering::Relaxed);
    MemoryStats {
        allocated: count(&ALLOCATED),
        peak: count(&PEAK),
        cached: (cached + cached_small) as u64,
        cache_limit: cache_limit as u64,
        allocations,
        reused: allocations.saturating_sub(FRESH.load(Ordering::Relaxed)),
        large_blocks: large_blocks as u64,
    }
}

/// Lets `peak` begin anew from what is in use now.
pub fn reset_peak_memory() {
    small::hand_in();
    PEAK.store(ALLOCATED.load(Ordering::Relaxed), Ordering::Relaxed);
}
