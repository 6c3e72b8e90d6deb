//! Sleeping on a 32-bit word until somebody wakes it: the futex system call on Linux, a condition variable elsewhere.

use std::sync::atomic::AtomicU32;

/// Sleeps while `word` holds `expected`; may return for no reason.
#[cfg(target_os = "linux")]
pub(super) fn wait(word: &AtomicU32, expected: u32) {
    // SAFETY: the address is a live aligned u32; FUTEX_WAIT only reads it; a null timeout means none.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            std::ptr::null::<libc::timespec>(),
        );
    }
}

/// Wakes up to `count` sleepers on `word`.
#[cfg(target_os = "linux")]
pub(super) fn wake(word: &AtomicU32, count: usize) {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    // SAFETY: FUTEX_WAKE does not touch the memory; the address only names the queue.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, count);
    }
}

#[cfg(not(target_os = "linux"))]
mod fallback {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Condvar, Mutex, PoisonError};

    static LOCK: Mutex<()> = Mutex::new(());
    static WOKEN: Condvar = Condvar::new();

    pub(crate) fn wait(word: &AtomicU32, expected: u32) {
        let guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        if word.load(Ordering::SeqCst) == expected {
            drop(WOKEN.wait(guard));
        }
    }

    pub(crate) fn wake(_word: &AtomicU32, _count: usize) {
        let _guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        WOKEN.notify_all();
    }
}
#[cfg(not(target_os = "linux"))]
pub(super) use fallback::{wait, wake};
