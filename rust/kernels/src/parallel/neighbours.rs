//! Room for other processes: where they take the CPU from a worker in the middle of its chunk, the caller waits a
//! scheduler's slice (milliseconds) for chunks of microseconds, and is better off alone.
//!
//! A worker compares the time that passed while it had chunks with the CPU time it got. If callers that had to sleep for
//! workers put aside lost most of the last while that way, jobs run serially for 10 ms, and for longer each time it
//! happens again soon. A stall now and then, as every virtual machine has, is cheaper than running on one thread.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A worker that got this much less CPU than time passed was put aside.
const PUT_ASIDE: Duration = Duration::from_micros(200);
const FIRST: u64 = 10_000_000;
const LONGEST: u64 = 160_000_000;

/// Losses are summed over this long at most.
const WINDOW: u64 = 40_000_000;
/// The least loss that counts: about two of a scheduler's slices.
const LOSS: u64 = 6_000_000;

/// Nanoseconds that a worker of the running job was put aside for.
static ASIDE: AtomicU64 = AtomicU64::new(0);
/// When the present sum of losses began, and the sum.
static SINCE: AtomicU64 = AtomicU64::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds since the start of the clock; 0 when jobs may run in parallel.
static SERIAL_UNTIL: AtomicU64 = AtomicU64::new(0);
static LAST_END: AtomicU64 = AtomicU64::new(0);
static LENGTH: AtomicU64 = AtomicU64::new(FIRST);

fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Whether jobs are to run serially now.
#[inline]
pub(super) fn want_the_cpus() -> bool {
    let until = SERIAL_UNTIL.load(Ordering::Relaxed);
    if until == 0 || now() < until {
        return until != 0;
    }
    SERIAL_UNTIL.store(0, Ordering::Relaxed);
    false
}

/// A new job begins: what happened to workers of earlier ones does not count.
#[inline]
pub(super) fn begin() {
    if ASIDE.load(Ordering::Relaxed) != 0 {
        ASIDE.store(0, Ordering::Relaxed);
    }
}

/// A worker's clocks while it has chunks of a job.
pub(super) struct Watch {
    time: Instant,
    cpu: Option<Duration>,
}

impl Watch {
    pub(super) fn start() -> Watch {
        Watch { time: Instant::now(), cpu: cpu_time() }
    }

    /// Called before the worker says that its chunks are finished.
    pub(super) fn stop(self) {
        let passed = self.time.elapsed();
        if passed < PUT_ASIDE {
            return;
        }
        if let (Some(from), Some(to)) = (self.cpu, cpu_time()) {
            let aside = passed.saturating_sub(to.saturating_sub(from));
            // The system's own short interruptions add up in long chunks.
            if aside > PUT_ASIDE.max(passed / 8) {
                ASIDE.fetch_max(aside.as_nanos() as u64, Ordering::Relaxed);
            }
        }
    }
}

/// The caller slept until the last chunk was finished: was that a neighbour's doing, and does it keep happening?
#[cold]
pub(super) fn waited() {
    let aside = ASIDE.swap(0, Ordering::Relaxed);
    if aside == 0 {
        return;
    }
    let now = now();
    let (mut since, mut lost) = (SINCE.load(Ordering::Relaxed), LOST.load(Ordering::Relaxed) + aside);
    if now.saturating_sub(since) > WINDOW {
        (since, lost) = (now.saturating_sub(aside), aside);
        SINCE.store(since, Ordering::Relaxed);
    }
    LOST.store(lost, Ordering::Relaxed);
    if lost < LOSS || 2 * lost < now - since {
        return;
    }
    let before = LENGTH.load(Ordering::Relaxed);
    let soon = now < LAST_END.load(Ordering::Relaxed).saturating_add(4 * before);
    let length = if soon { (2 * before).min(LONGEST) } else { FIRST };
    LENGTH.store(length, Ordering::Relaxed);
    LAST_END.store(now + length, Ordering::Relaxed);
    SERIAL_UNTIL.store(now + length, Ordering::Relaxed);
    SINCE.store(now + length, Ordering::Relaxed);
    LOST.store(0, Ordering::Relaxed);
}

/// CPU time of the calling thread.
#[cfg(all(unix, not(miri)))]
fn cpu_time() -> Option<Duration> {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills a value on the stack.
    let ok = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut t) } == 0;
    ok.then(|| Duration::new(t.tv_sec as u64, t.tv_nsec as u32))
}

#[cfg(any(not(unix), miri))]
fn cpu_time() -> Option<Duration> {
    None
}
