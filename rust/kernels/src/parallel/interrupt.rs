//! Stopping long work: the host (Python) says now and then whether the user pressed Ctrl-C.

use crate::room;
use rustnn_base::Result;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Answers whether to go on.
pub type Check = fn() -> Result<()>;

static CHECK: OnceLock<Check> = OnceLock::new();
/// How long work goes on between two questions: asking may mean to wait for the host's lock.
const EVERY: Duration = Duration::from_millis(250);
/// How many pieces of work go by between two looks at the clock.
const STRIDE: u32 = 4;

/// Sets whom to ask.
pub fn set_interrupt_check(f: Check) {
    let _ = CHECK.set(f);
}

/// An error if the user wants the work to stop.
pub fn check_interrupt() -> Result<()> {
    CHECK.get().map_or(Ok(()), |check| check())
}

/// Counts pieces of work and asks every quarter of a second, where [`room::caught`] would take the answer. The pool's
/// threads never ask: a caller that waits for them may hold the host's lock.
#[derive(Default)]
pub struct Watch {
    pieces: u32,
    asked: Option<Instant>,
}

impl Watch {
    /// A piece of work is done; an error if no more is wanted.
    #[inline]
    pub fn tick(&mut self) -> Result<()> {
        self.pieces += 1;
        if self.pieces < STRIDE { Ok(()) } else { self.look() }
    }

    #[cold]
    fn look(&mut self) -> Result<()> {
        self.pieces = 0;
        let now = Instant::now();
        let since = self.asked.get_or_insert(now);
        if now.duration_since(*since) < EVERY {
            return Ok(());
        }
        self.asked = Some(now);
        if room::is_caught() { check_interrupt() } else { Ok(()) }
    }
}
