//! The one thread pool. Work is cut into chunks whose bounds depend on the problem alone, so that results are
//! bit-equal at any thread count.
//!
//! [`for_chunks`] is the only way in. Its caller works on the chunks itself; workers that come in time take some of
//! them. A call made inside a chunk, from a second thread while a job runs, or in a forked child runs serially, with
//! the same result. A panic inside a chunk goes on in the caller once no thread works on the job any more. Long work is given up when
//! the user interrupts.

mod futex;
mod interrupt;
mod neighbours;
mod pool;
mod threads;

use crate::room::or_stop;
use std::ops::Range;

pub use interrupt::{Check, Watch, check_interrupt, set_interrupt_check};
pub use threads::{num_threads, set_num_threads, threads_reason};

/// Runs `f(0..chunks)`, each exactly once, on however many threads there are. `f` must not depend on who runs it.
///
/// A panic in `f` is carried to the caller; chunks not yet begun are then left out. So they are when the user
/// interrupts: the call then ends by `room::or_stop`.
pub fn for_chunks(chunks: usize, f: &(dyn Fn(usize) + Sync)) {
    if chunks <= 1 {
        if chunks == 1 {
            f(0);
        }
        return;
    }
    let threads = num_threads().min(chunks);
    if threads <= 1 || !pool::run(chunks, threads, f) {
        let mut watch = Watch::default();
        for i in 0..chunks {
            f(i);
            or_stop(watch.tick());
        }
    }
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
    for_chunks(n.div_ceil(grain), &|i| f(i * grain..(i * grain).saturating_add(grain).min(n)));
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

#[cfg(test)]
mod tests;
