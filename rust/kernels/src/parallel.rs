//! The one thread pool. Work is cut into chunks whose bounds depend on the problem alone, so that results are
//! bit-equal at any thread count.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Threads that work on one op: `set_num_threads`, else `RUSTNN_NUM_THREADS`, else what the machine grants.
pub fn num_threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    }
}

/// Sets the number of threads from now on (at least 1).
pub fn set_num_threads(n: usize) {
    THREADS.store(n.max(1), Ordering::Relaxed);
}

/// Runs `f(0..chunks)`, each exactly once, on however many threads there are. `f` must not depend on who runs it.
pub fn for_chunks(chunks: usize, f: &(dyn Fn(usize) + Sync)) {
    (0..chunks).for_each(f);
}

/// Cuts `0..n` into ranges of `grain` (the last one shorter) and runs `f` on each.
pub fn for_range(n: usize, grain: usize, f: impl Fn(Range<usize>) + Sync) {
    let grain = grain.max(1);
    if n <= grain {
        if n > 0 {
            f(0..n);
        }
        return;
    }
    for_chunks(n.div_ceil(grain), &|i| f(i * grain..((i + 1) * grain).min(n)));
}

/// Cuts `dst` into pieces of `grain` elements and runs `f(start, piece)` on each.
pub fn for_slices<T: Send>(dst: &mut [T], grain: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let n = dst.len();
    let base = SendPtr(dst.as_mut_ptr());
    for_range(n, grain, |r| {
        // SAFETY: ranges are disjoint and within `dst`, which is borrowed mutably for the whole call.
        let piece = unsafe { std::slice::from_raw_parts_mut(base.get().add(r.start), r.len()) };
        f(r.start, piece);
    });
}

/// A pointer that chunks may share; whoever uses it promises to write disjoint places.
pub struct SendPtr<T>(pub *mut T);
// SAFETY: only a capability to name the address; each use states why its accesses are disjoint.
unsafe impl<T> Send for SendPtr<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for SendPtr<T> {}
impl<T> Clone for SendPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for SendPtr<T> {}
impl<T> SendPtr<T> {
    /// The address (a method, so that closures capture the wrapper, not the bare pointer).
    #[inline(always)]
    #[must_use]
    pub fn get(self) -> *mut T {
        self.0
    }
}
