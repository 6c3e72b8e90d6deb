//! The pool behind `for_chunks`.
//!
//! One job at a time. Its state is a word (generation, first and end of the units left): a unit is taken by a
//! compare-and-swap of the word, so a taker knows that the job it read is still the job, and nothing can be taken of a job
//! that is over. The caller takes units from the front and the first worker from the back (others by turns), so that
//! what a thread wrote in one op it finds in its own cache in the next. `pending` counts units not finished; the caller
//! returns when it reaches zero, that is, it waits for threads that took a unit, never for one that took none. Idle
//! workers spin for 50 µs (work that follows at once then costs 0.1 µs instead of a wake-up's 12 to 33), four times as long
//! while what they sleep for keeps coming soon after, then sleep in the kernel.

use super::futex;
use super::interrupt;
use super::neighbours;
use super::threads::num_threads;
use crate::forks;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an idle thread spins before it sleeps. By time: a pause takes 4 to 140 cycles, as the CPU likes.
const SPIN: Duration = Duration::from_micros(50);
/// How long a worker spins that slept less than this: between two layers of a network the interpreter, whose code and
/// objects the layer before put out of the caches, takes 100 µs and more.
const LONGER: Duration = Duration::from_micros(200);
/// Pauses between two looks at the clock.
const PAUSES: usize = 16;
/// Bits of the word for the end of the units left; as many below those for the first of them, the others are the
/// generation. (A generation that comes round again while a thread sleeps does no harm: what the exchange finds is then
/// the running job's own state.)
const UNIT_BITS: u32 = 24;
const UNITS: u64 = (1 << UNIT_BITS) - 1;
/// Set in `pending` by a caller that sleeps until it reaches zero.
const ASLEEP: u32 = 1 << 31;

/// What a thread needs to run units; lives on the caller's stack until every unit taken is finished.
struct Job<'a> {
    f: &'a (dyn Fn(usize) + Sync),
    chunks: usize,
    /// Chunks per unit: 1 but for jobs of more than 2^24 chunks.
    per_unit: usize,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Keeps what one side writes often away from what others read.
#[repr(align(128))]
struct Line<T>(T);

static WORD: Line<AtomicU64> = Line(AtomicU64::new(0));
static PENDING: Line<AtomicU32> = Line(AtomicU32::new(0));
/// The running job, valid for whoever took a unit of it.
static JOB: Line<AtomicPtr<Job<'static>>> = Line(AtomicPtr::new(std::ptr::null_mut()));
/// Workers from this number on take no part in the running job.
static LIMIT: AtomicUsize = AtomicUsize::new(0);
/// Held by the caller whose job runs.
static BUSY: Line<AtomicBool> = Line(AtomicBool::new(false));
/// Workers asleep, or about to be, on `CALLS`.
static SLEEPERS: Line<AtomicU32> = Line(AtomicU32::new(0));
static CALLS: AtomicU32 = AtomicU32::new(0);
/// Where workers beyond the number of threads sleep.
static RETIRED: AtomicU32 = AtomicU32::new(0);
static SPAWNED: AtomicUsize = AtomicUsize::new(0);
/// The system refused a thread; not asked again.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// Runs the chunks on up to `threads` threads; false if the pool is taken (or there is none), and nothing was done.
pub(super) fn run(chunks: usize, threads: usize, f: &(dyn Fn(usize) + Sync)) -> bool {
    // A child by `fork` has no workers.
    if forks::is_child() || neighbours::want_the_cpus() || BUSY.0.swap(true, Ordering::Acquire) {
        return false;
    }
    if SPAWNED.load(Ordering::Relaxed) + 1 < threads {
        spawn(threads - 1);
    }
    neighbours::begin();
    let per_unit = chunks.div_ceil(UNITS as usize);
    let units = chunks.div_ceil(per_unit);
    let job = Job { f, chunks, per_unit, stop: AtomicBool::new(false), panic: Mutex::new(None) };
    // Only whoever takes a unit dereferences it, and this function does not return before those are finished.
    JOB.0.store((&raw const job).cast_mut().cast(), Ordering::Relaxed);
    PENDING.0.store(units as u32, Ordering::Relaxed);
    // Any of the threads may come, whichever of them are awake; `threads` only says how many are of use.
    let all = num_threads();
    LIMIT.store(all, Ordering::Relaxed);
    let generation = (WORD.0.load(Ordering::Relaxed) >> (2 * UNIT_BITS)).wrapping_add(1);
    WORD.0.store(generation << (2 * UNIT_BITS) | units as u64, Ordering::SeqCst);
    // A worker counts itself before its last look at the word, so one that is not counted here will see it.
    let awake = (all - 1).saturating_sub(SLEEPERS.0.load(Ordering::SeqCst) as usize);
    if threads - 1 > awake {
        CALLS.fetch_add(1, Ordering::SeqCst);
        futex::wake(&CALLS, threads - 1 - awake);
    }
    take_part(0);
    wait_for_takers();
    JOB.0.store(std::ptr::null_mut(), Ordering::Relaxed);
    BUSY.0.store(false, Ordering::Release);
    let panic = job.panic.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
    true
}

/// The first unit left and the end of them.
fn left(word: u64) -> (usize, usize) {
    ((word >> UNIT_BITS & UNITS) as usize, (word & UNITS) as usize)
}

/// Takes and runs units until none is left.
fn take_part(id: usize) {
    let mut taken = 0;
    let mut watch = None;
    let mut wanted = interrupt::Watch::default();
    loop {
        let word = WORD.0.load(Ordering::Acquire);
        let (first, end) = left(word);
        if first == end || id >= LIMIT.load(Ordering::Relaxed) {
            break;
        }
        let front = id % 2 == 0;
        let rest = if front { word + (1 << UNIT_BITS) } else { word - 1 };
        if WORD.0.compare_exchange_weak(word, rest, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            continue;
        }
        // SAFETY: a unit of the current generation is ours and unfinished, so `run` of that job has not returned:
        // its job lives. The acquire above makes the store of the pointer, before the word's, visible.
        let job = unsafe { &*JOB.0.load(Ordering::Relaxed) };
        if id > 0 && taken == 0 {
            watch = Some(neighbours::Watch::start());
        }
        job.run_unit(if front { first } else { end - 1 });
        taken += 1;
        if id == 0
            && let Err(e) = wanted.tick()
        {
            job.stop(Box::new(e));
        }
    }
    if let Some(watch) = watch {
        watch.stop();
    }
    if taken > 0 && PENDING.0.fetch_sub(taken, Ordering::AcqRel) == taken | ASLEEP {
        futex::wake(&PENDING.0, 1);
    }
}

impl Job<'_> {
    fn run_unit(&self, unit: usize) {
        if self.stop.load(Ordering::Relaxed) {
            return;
        }
        let from = unit * self.per_unit;
        let chunks = from..(from + self.per_unit).min(self.chunks);
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| chunks.for_each(self.f))) {
            self.stop(payload);
        }
    }

    /// Leaves out what has not begun; the caller goes on with this panic (or error) of the first to stop.
    fn stop(&self, payload: Box<dyn Any + Send>) {
        self.stop.store(true, Ordering::Relaxed);
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
    }
}

fn wait_for_takers() {
    let pending = &PENDING.0;
    let mut since = None;
    loop {
        for _ in 0..PAUSES {
            if pending.load(Ordering::Acquire) == 0 {
                return;
            }
            std::hint::spin_loop();
        }
        if since.get_or_insert_with(Instant::now).elapsed() > SPIN {
            break;
        }
    }
    let mut seen = pending.fetch_or(ASLEEP, Ordering::AcqRel) | ASLEEP;
    while seen != ASLEEP {
        futex::wait(pending, seen);
        seen = pending.load(Ordering::Acquire);
    }
    neighbours::waited();
}

fn work_for(id: usize) -> bool {
    let (first, end) = left(WORD.0.load(Ordering::SeqCst));
    first < end && id < LIMIT.load(Ordering::Relaxed)
}

/// A worker's life.
fn work(id: usize) {
    let mut patience = SPIN;
    'awake: loop {
        take_part(id);
        if id < num_threads() {
            let since = Instant::now();
            while since.elapsed() < patience {
                for _ in 0..PAUSES {
                    if work_for(id) {
                        continue 'awake;
                    }
                    std::hint::spin_loop();
                }
            }
        }
        // Read before the thread count: a change of it counts these up afterwards, and then nobody sleeps on them.
        let retired = RETIRED.load(Ordering::SeqCst);
        if id >= num_threads() {
            futex::wait(&RETIRED, retired);
            continue;
        }
        SLEEPERS.0.fetch_add(1, Ordering::SeqCst);
        let calls = CALLS.load(Ordering::SeqCst);
        if !work_for(id) && id < num_threads() {
            let since = Instant::now();
            futex::wait(&CALLS, calls);
            patience = if since.elapsed() < LONGER { LONGER } else { (patience / 2).max(SPIN) };
        }
        SLEEPERS.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Lets every sleeping worker look again whether it is one of the threads.
pub(super) fn threads_changed() {
    for place in [&CALLS, &RETIRED] {
        place.fetch_add(1, Ordering::SeqCst);
        futex::wake(place, usize::MAX);
    }
}

/// Starts workers up to number `last`, or as many as the system gives. The caller holds `BUSY`.
#[cold]
fn spawn(last: usize) {
    while SPAWNED.load(Ordering::Relaxed) < last && !REFUSED.load(Ordering::Relaxed) {
        let id = SPAWNED.load(Ordering::Relaxed) + 1;
        let started = std::thread::Builder::new().name(format!("rustnn-{id}")).spawn(move || {
            block_signals();
            work(id);
        });
        match started {
            Ok(_) => SPAWNED.store(id, Ordering::Relaxed),
            Err(_) => REFUSED.store(true, Ordering::Relaxed),
        }
    }
}

/// Signals belong to the program's own threads (Python's main thread sleeps in calls that they should interrupt).
fn block_signals() {
    #[cfg(all(unix, not(miri)))]
    // SAFETY: fills a set on the stack and sets this thread's mask from it.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}
