//! What a profiler reads: which ops, backward nodes and named regions ran, when, on which thread, on what, and how much
//! memory they took. Off, it costs one relaxed load where a call begins; on, an event is pushed to its thread's list.

use crate::tensor::Tensor;
use crate::{DType, Dims};
use rustnn_kernels::alloc;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What is recorded beside names and times.
pub const SHAPES: u32 = 2;
/// See [`SHAPES`].
pub const MEMORY: u32 = 4;
/// See [`SHAPES`].
pub const STACKS: u32 = 8;
const ON: u32 = 1;

static FLAGS: AtomicU32 = AtomicU32::new(0);
/// Each start counts; a span that began in an earlier session is not recorded.
static SESSION: AtomicU64 = AtomicU64::new(0);
static THREADS: Mutex<Vec<Arc<Thread>>> = Mutex::new(Vec::new());
static ZERO: LazyLock<(Instant, u64)> = LazyLock::new(|| {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    (Instant::now(), since)
});

/// Whether anything is recorded.
#[inline]
#[must_use]
pub fn on() -> bool {
    FLAGS.load(Ordering::Relaxed) != 0
}

/// Whether `what` (shapes, memory, stacks) is recorded too.
#[must_use]
pub fn wants(what: u32) -> bool {
    FLAGS.load(Ordering::Relaxed) & what != 0
}

/// What an event is; the numbers are PyTorch's scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Op = 0,
    Backward = 1,
    User = 7,
}

/// One argument of an op.
#[derive(Clone, Debug)]
pub enum Input {
    Tensor(Dims, DType),
    List(Vec<(Dims, DType)>),
    Scalar,
    Scalars,
    /// Nothing, or what PyTorch's traces do not tell the kind of.
    Other,
}

impl Input {
    #[must_use]
    pub fn tensor(t: &Tensor) -> Input {
        Input::Tensor(t.shape().into(), t.dtype())
    }
    #[must_use]
    pub fn list(v: &[Tensor]) -> Input {
        Input::List(v.iter().map(|t| (t.shape().into(), t.dtype())).collect())
    }
}

/// Something that ran. Times are nanoseconds since [`epoch`].
#[derive(Clone, Debug)]
pub struct Event {
    /// What stands before the name: `aten::`.
    pub prefix: &'static str,
    pub name: Cow<'static, str>,
    pub kind: Kind,
    pub start: u64,
    pub end: u64,
    /// The number of the operating system's thread.
    pub thread: u64,
    /// An op and the backward node that it made have the same.
    pub sequence: Option<u64>,
    pub inputs: Vec<Input>,
    /// Bytes allocated less bytes freed by this thread meanwhile, if memory is recorded.
    pub bytes: i64,
    /// Lines of the host language's frames, innermost first, if stacks are recorded.
    pub stack: Option<String>,
}

struct Thread {
    id: u64,
    events: Mutex<Vec<Event>>,
}

thread_local! {
    static THREAD: OnceCell<Arc<Thread>> = const { OnceCell::new() };
}

fn locked<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    match m.lock() {
        Ok(g) => g,
        Err(e) => e.into_inner(),
    }
}

/// The operating system's number of this thread, or one of our own where it has none to read.
fn thread_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let link = std::fs::read_link("/proc/thread-self").ok();
    let number = link.as_deref().and_then(|p| p.file_name()?.to_str()?.parse().ok());
    number.unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed))
}

fn this_thread() -> Option<Arc<Thread>> {
    let make = || {
        let new = Arc::new(Thread { id: thread_id(), events: Mutex::new(Vec::new()) });
        locked(&THREADS).push(new.clone());
        new
    };
    THREAD.try_with(|t| t.get_or_init(make).clone()).ok()
}

/// Nanoseconds since the start of the program's clock.
#[must_use]
pub fn now() -> u64 {
    ZERO.0.elapsed().as_nanos() as u64
}

/// The start of that clock, in nanoseconds since 1970.
#[must_use]
pub fn epoch() -> u64 {
    ZERO.1
}

/// Begins a session that records names, times and what `flags` adds; false if one is running.
#[must_use]
pub fn start(flags: u32) -> bool {
    LazyLock::force(&ZERO);
    let mut threads = locked(&THREADS);
    if on() {
        return false;
    }
    threads.retain(|t| Arc::strong_count(t) > 1); // threads that ended
    for t in threads.iter() {
        locked(&t.events).clear();
    }
    SESSION.fetch_add(1, Ordering::Relaxed);
    FLAGS.store(ON | flags, Ordering::Relaxed);
    true
}

/// Ends the session; all its events, by thread, in the order in which they ended.
#[must_use]
pub fn stop() -> Vec<Event> {
    let threads = locked(&THREADS);
    FLAGS.store(0, Ordering::Relaxed);
    threads.iter().flat_map(|t| std::mem::take(&mut *locked(&t.events))).collect()
}

/// An event in progress: it is recorded when dropped, also when unwinding.
pub struct Span {
    session: u64,
    event: Event,
    bytes: i64,
}

impl Span {
    /// Begins an event of the kind; `inputs` is called if shapes are recorded.
    pub fn begin(
        kind: Kind,
        prefix: &'static str,
        name: impl Into<Cow<'static, str>>,
        sequence: Option<u64>,
        inputs: impl FnOnce() -> Vec<Input>,
        stack: Option<String>,
    ) -> Span {
        let inputs = if wants(SHAPES) { inputs() } else { Vec::new() };
        let bytes = if wants(MEMORY) { alloc::thread_bytes() as i64 } else { 0 };
        let session = SESSION.load(Ordering::Relaxed);
        let name = name.into();
        let event = Event { prefix, name, kind, start: now(), end: 0, thread: 0, sequence, inputs, bytes: 0, stack };
        Span { session, event, bytes }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let end = now();
        if !on() || self.session != SESSION.load(Ordering::Relaxed) {
            return;
        }
        let Some(thread) = this_thread() else { return };
        let bytes = if wants(MEMORY) { alloc::thread_bytes() as i64 - self.bytes } else { 0 };
        let name = std::mem::take(&mut self.event.name);
        let (inputs, stack) = (std::mem::take(&mut self.event.inputs), self.event.stack.take());
        let event = Event { name, end, thread: thread.id, inputs, bytes, stack, ..self.event };
        let mut events = locked(&thread.events);
        // Where memory is short the program goes on and the event is lost.
        if events.try_reserve(1).is_ok() {
            events.push(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, since there is one session in a process.
    #[test]
    fn a_session_holds_what_ran_in_it() {
        let begin = |name: &'static str| Span::begin(Kind::User, "", name, None, || vec![Input::Other], None);
        drop(begin("before"));
        let early = begin("early");
        assert!(start(SHAPES | MEMORY));
        assert!(!start(0));
        drop(early);
        let outer = begin("outer");
        let block = Tensor::ones(&[1000], DType::F32).unwrap();
        drop(begin("inner"));
        std::thread::spawn(move || drop(begin("elsewhere"))).join().unwrap();
        drop(outer);
        drop(block);
        let events = stop();
        drop(begin("after"));
        let names: Vec<_> = events.iter().map(|e| &*e.name).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        let of = |name: &str| events.iter().find(|e| e.name == name).unwrap();
        let (outer, inner, elsewhere) = (of("outer"), of("inner"), of("elsewhere"));
        assert!(outer.start <= inner.start && inner.end <= outer.end);
        assert!(outer.bytes >= 4000 && inner.bytes == 0);
        assert_eq!(outer.thread, inner.thread);
        assert_ne!(outer.thread, elsewhere.thread);
        assert_eq!(outer.inputs.len(), 1);
        assert!(start(0));
        assert!(stop().is_empty());
    }
}
