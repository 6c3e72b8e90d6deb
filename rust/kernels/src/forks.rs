//! Knowing that a `fork` happened, and a lock that does not stay locked in the child.
//!
//! A fork copies memory, locks included, but only the thread that forks: whoever held a lock in the parent is not there
//! in the child to let go of it.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How many forks lie between this process and the one that loaded the library.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Whether this process is a child by `fork` of one that used the library.
pub fn is_child() -> bool {
    FORKS.load(Ordering::Relaxed) > 0
}

/// How many forks lie between this process and the one that loaded the library, since [`watch`].
pub fn count() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// From now on a child by `fork` knows that it is one.
pub fn watch() {
    #[cfg(all(unix, not(miri)))]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        extern "C" fn child() {
            FORKS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the handler only adds to an atomic, which is allowed between fork and exec.
        ONCE.call_once(|| unsafe {
            libc::pthread_atfork(None, None, Some(child));
        });
    }
}

/// What a [`ForkLock`] may guard.
///
/// # Safety
/// Whoever changes it writes numbers where they stand and replaces no pointer, so that it is sound to use after a thread
/// stopped forever between any two writes.
pub unsafe trait Mend {
    /// Makes it a value of its type again after a half change.
    fn mend(&mut self);
}

/// A lock held for as long as its work takes, which a child by `fork` takes over from a thread that it does not have.
pub struct ForkLock<T> {
    /// 0 when free, else 1 + the number of forks that the holder's process had behind it.
    holder: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: `with` hands the value to one thread at a time; of a holder from before a fork only memory is left.
unsafe impl<T: Send> Sync for ForkLock<T> {}

impl<T: Mend> ForkLock<T> {
    pub fn new(value: T) -> Self {
        watch();
        ForkLock { holder: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    /// Runs `f` on the value, alone.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        /// Lets go, also when `f` unwinds.
        struct Held<'a>(&'a AtomicU32);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                self.0.store(0, Ordering::Release);
            }
        }
        let me = count() + 1;
        let mut free = 0;
        let mut tries = 0_u32;
        while let Err(holder) = self.holder.compare_exchange_weak(free, me, Ordering::Acquire, Ordering::Relaxed) {
            // Of another process: its thread stayed there.
            free = if holder == me { 0 } else { holder };
            if holder == me {
                tries += 1;
                match tries {
                    0..100 => std::hint::spin_loop(),
                    100..200 => std::thread::yield_now(),
                    _ => std::thread::sleep(Duration::from_micros(100)),
                }
            }
        }
        let _held = Held(&self.holder);
        // SAFETY: the exchange made this thread the only holder; that a former one may have left the value half changed
        // is what `Mend` allows.
        let value = unsafe { &mut *self.value.get() };
        if free != 0 {
            value.mend();
        }
        f(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SAFETY: a number.
    unsafe impl Mend for u64 {
        fn mend(&mut self) {
            *self += 1;
        }
    }

    #[test]
    fn one_at_a_time() {
        let lock = ForkLock::new(0_u64);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..1000 {
                        lock.with(|v| {
                            let old = std::hint::black_box(*v);
                            *v = old + 1;
                        });
                    }
                });
            }
        });
        assert_eq!(lock.with(|v| *v), 4000);
    }

    #[test]
    fn a_panic_lets_go() {
        let lock = ForkLock::new(7_u64);
        let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lock.with(|_| panic!("a bug"))));
        assert!(end.is_err());
        assert_eq!(lock.with(|v| *v), 7);
    }

    #[test]
    fn a_holder_from_before_a_fork_is_gone() {
        let lock = ForkLock::new(7_u64);
        lock.holder.store(99, Ordering::Relaxed);
        assert_eq!(lock.with(|v| *v), 8);
        assert_eq!(lock.with(|v| *v), 8);
        assert_eq!(lock.holder.load(Ordering::Relaxed), 0);
    }
}
