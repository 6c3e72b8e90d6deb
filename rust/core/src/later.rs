//! Values that are computed when somebody looks.
//!
//! A convolution in a network that no graph records may wait for what follows it: batch norm, an activation. Done together,
//! each output is finished while it is in the cache, and what lies between is never written. The blocks of such [`Work`],
//! those that it reads and those that it will write, point to the [`Slot`] it waits in; [`Storage::ptr`], the one way to a
//! block's bytes, has it done first. So nobody can tell, except by the time that an op seems to take, and nothing waits for
//! longer than the call of the outermost module that holds others ([`enter`], [`leave`]).
//!
//! Slots live for ever and are used again: a block whose pointer is read while it is taken back leads to other work at
//! worst, which is then done early.

use crate::profile;
use crate::storage::{Storage, WeakStorage};
use rustnn_base::{Result, runtime_error};
use rustnn_kernels::forks;
use rustnn_kernels::room::{caught, or_stop, undisturbed};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// What waits.
pub trait Work: Any + Send {
    /// Does it. May be called again if it failed.
    fn run(&mut self) -> Result<()>;
}

/// Most works that wait at a time on a thread: each keeps what it reads in memory.
const MOST: usize = 4;

/// A place for work that waits.
pub struct Slot {
    work: Mutex<Option<Waiting>>,
    /// Forks before the work was put here: a child has its memory, but not the thread that may be at it.
    forks: AtomicU32,
}

/// How a block takes part in work that waits.
#[derive(Clone, Copy)]
pub struct Wait {
    pub(crate) slot: &'static Slot,
    /// Whether the work will write the block.
    pub(crate) writes: bool,
}

impl Wait {
    /// Whether the work will write the block.
    #[must_use]
    pub fn writes(self) -> bool {
        self.writes
    }
}

struct Waiting {
    work: Box<dyn Work>,
    /// Blocks that point here.
    blocks: Vec<Storage>,
    /// The same for blocks that may go while the work waits.
    targets: Vec<WeakStorage>,
}

/// Slots that no thread has.
static FREE: Mutex<Vec<&'static Slot>> = Mutex::new(Vec::new());
static ALLOWED: AtomicBool = AtomicBool::new(true);

/// A thread's slots, given back when it ends.
#[derive(Default)]
struct Mine(Vec<&'static Slot>);

impl Drop for Mine {
    fn drop(&mut self) {
        if let Ok(mut free) = FREE.try_lock() {
            free.append(&mut self.0);
        }
    }
}

thread_local! {
    /// How many calls of modules that hold modules this thread is in.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
    /// The slot whose work this thread does.
    static AT: Cell<*const Slot> = const { Cell::new(std::ptr::null()) };
    /// Those in use first, the oldest first of them.
    static MINE: RefCell<Mine> = RefCell::default();
}

/// Says whether values may wait at all, and what was said before.
pub fn allow(on: bool) -> bool {
    ALLOWED.swap(on, Ordering::Relaxed)
}

/// A call of a module that holds modules begins on this thread.
pub fn enter() {
    INSIDE.set(INSIDE.get() + 1);
}

/// The call ends. True if it was the outermost one and something still waits: [`settle_all`] is to be called.
#[must_use]
pub fn leave() -> bool {
    let left = INSIDE.get().saturating_sub(1);
    INSIDE.set(left);
    left == 0 && MINE.with_borrow(|m| m.0.iter().any(|s| s.work.try_lock().map_or(true, |w| w.is_some())))
}

/// Whether values may wait here and now.
#[must_use]
pub fn may_wait() -> bool {
    INSIDE.get() > 0 && ALLOWED.load(Ordering::Relaxed) && !profile::on()
}

/// Does what waits on this thread.
pub fn settle_all() -> Result<()> {
    let n = MINE.with_borrow(|m| m.0.len());
    let mut first = Ok(());
    for i in 0..n {
        let slot = MINE.with_borrow(|m| m.0.get(i).copied());
        let done = slot.map_or(Ok(true), |s| caught(|| s.settle()));
        first = first.and(done.map(|_| ()));
    }
    first
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what waits here. False if that is lost: a thread of the parent process was at it.
    fn settle(&'static self) -> Result<bool> {
        /// Puts back what this thread was at, also when unwinding.
        struct At(*const Slot);
        impl Drop for At {
            fn drop(&mut self) {
                AT.set(self.0);
            }
        }
        if std::ptr::eq(AT.get(), self) {
            return Ok(true);
        }
        let mut held = match self.work.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(e)) => e.into_inner(),
            Err(TryLockError::WouldBlock) if self.forks.load(Ordering::Relaxed) != forks::count() => return Ok(false),
            Err(TryLockError::WouldBlock) => self.lock(),
        };
        let Some(waiting) = held.as_mut() else { return Ok(true) };
        let at = At(AT.replace(self));
        undisturbed(|| waiting.work.run())?;
        drop(at);
        waiting.blocks.iter().for_each(|b| b.unlink(self));
        waiting.targets.iter().filter_map(|b| b.upgrade()).for_each(|b| b.unlink(self));
        // What it kept alive may go only after the lock: freeing it may have to wait for others.
        let done = held.take();
        drop(held);
        drop(done);
        Ok(true)
    }
}

/// Has done what `block` waits for. Stops the op if that fails.
pub(crate) fn settle(block: &Storage, wait: Wait) {
    if or_stop(wait.slot.settle()) {
        return;
    }
    if wait.writes {
        or_stop(Err(runtime_error!("this tensor was being computed by another thread when the process was forked")
            .hint("fork before the thread begins, or start the child with the 'spawn' method")))
    }
    // What was only to be read is whole.
    block.unlink(wait.slot);
}

/// A slot of this thread without work.
fn vacant() -> Result<&'static Slot> {
    let empty = |s: &&'static Slot| s.work.try_lock().is_ok_and(|w| w.is_none());
    if let Some(slot) = MINE.with_borrow(|m| m.0.iter().copied().find(empty)) {
        return Ok(slot);
    }
    if MINE.with_borrow(|m| m.0.len() < MOST) {
        let used = FREE.try_lock().ok().and_then(|mut f| f.pop()).filter(empty);
        let slot = used.unwrap_or_else(|| {
            forks::watch();
            Box::leak(Box::new(Slot { work: Mutex::new(None), forks: AtomicU32::new(0) }))
        });
        MINE.with_borrow_mut(|m| m.0.push(slot));
        return Ok(slot);
    }
    // None is: the one that waits for longest stands first.
    let slot = MINE.with_borrow(|m| m.0[0]);
    let had = slot.settle()?;
    if !had {
        MINE.with_borrow_mut(|m| m.0.retain(|s| !std::ptr::eq(*s, slot)));
        return vacant();
    }
    Ok(slot)
}

/// Whether work in this slot is this thread's.
fn is_mine(slot: &'static Slot) -> bool {
    MINE.with_borrow(|m| m.0.iter().any(|s| std::ptr::eq(*s, slot)))
}

/// Lets `work` wait, which reads `sources` and will write `target`, a fresh block. Gives it back if it can't wait, because
/// another thread's reads a source too.
pub fn put<W: Work>(work: W, sources: &[&Storage], target: &Storage) -> Result<Option<W>> {
    for s in sources {
        match s.waits() {
            // What waits here for the same source has what follows it by now.
            Some(wait) if wait.writes || is_mine(wait.slot) => _ = s.ptr(),
            Some(_) => return Ok(Some(work)),
            None => {}
        }
    }
    let slot = vacant()?;
    MINE.with_borrow_mut(|m| {
        m.0.retain(|s| !std::ptr::eq(*s, slot));
        m.0.push(slot);
    });
    let mut held = slot.lock();
    let linked = sources.iter().take_while(|s| s.link(Wait { slot, writes: false })).count();
    if linked < sources.len() || !target.link(Wait { slot, writes: true }) {
        sources[..linked].iter().for_each(|s| s.unlink(slot));
        return Ok(Some(work));
    }
    slot.forks.store(forks::count(), Ordering::Relaxed);
    let blocks = sources.iter().map(|s| (*s).clone()).collect();
    *held = Some(Waiting { work: Box::new(work), blocks, targets: vec![target.downgrade()] });
    Ok(None)
}

/// Lets `f` add to the work of type `W` that waits on this thread to write `block`, so that it also writes `target`. `None` if
/// there is no such work, or `f` says so.
pub fn extend<W: Work, R>(block: &Storage, target: &Storage, f: impl FnOnce(&mut W) -> Option<R>) -> Option<R> {
    let slot = block.waits()?.slot;
    if !is_mine(slot) {
        return None;
    }
    let mut held = slot.work.try_lock().ok()?;
    let waiting = held.as_mut()?;
    let work: &mut dyn Any = &mut *waiting.work;
    let work = work.downcast_mut::<W>()?;
    if !target.link(Wait { slot, writes: true }) {
        return None;
    }
    waiting.targets.push(target.downgrade());
    f(work)
}
