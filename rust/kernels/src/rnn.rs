//! LSTM, GRU and plain recurrent layers over a whole sequence, one direction of one layer: the caller multiplies all
//! inputs with the input weights at once; here come the recurrent products, step by step, with the cell as their
//! epilogue. Rows of the batch are independent, so blocks of rows run on different threads without meeting.
//!
//! Sequences may end at different steps: step t holds `sizes[t]` rows (not growing with t), as in PyTorch's packed
//! sequences. A row keeps its state over the steps it does not take part in.

mod backward;
mod forward;

use rustnn_base::{Result, runtime_error};

pub use backward::{Kept, backward};
pub use forward::forward;

/// Rows that a task multiplies with each panel of the weights: two tiles, where there are that many.
const ROWS: usize = 12;
/// Products worth a task of their own.
const GRAIN: usize = 60_000;
/// Values of the weights that stay in L2 beside what else a task needs.
const NEAR: usize = 64 << 10;

/// Which cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Gates input, forget, cell, output.
    Lstm,
    /// Gates reset, update, new.
    Gru,
    Tanh,
    Relu,
}

impl Kind {
    /// Blocks of `hidden` rows in the weights.
    #[must_use]
    pub const fn gates(self) -> usize {
        match self {
            Kind::Lstm => 4,
            Kind::Gru => 3,
            Kind::Tanh | Kind::Relu => 1,
        }
    }
}

/// One direction of one layer: cell, sizes, and how steps lie in memory.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    pub kind: Kind,
    pub batch: usize,
    pub hidden: usize,
    /// First row of each step and how many rows it has.
    pub offsets: &'a [usize],
    pub sizes: &'a [usize],
    /// Walk the steps from the last to the first.
    pub reverse: bool,
}

impl Layer<'_> {
    /// Rows of all steps together.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.sizes.iter().sum()
    }
    /// Rows of the batch that a task owns: few enough to feed threads, many enough to use the weights well, and even
    /// shares for two threads.
    fn block(&self) -> usize {
        let most = if self.batch <= 4 * ROWS { ROWS } else { 2 * ROWS };
        let tasks = self.batch.div_ceil(most);
        self.batch.div_ceil(tasks.next_multiple_of(2)).max(1)
    }
    /// Products of values that a step takes.
    fn products(&self) -> usize {
        self.batch * self.kind.gates() * self.hidden * self.hidden
    }
    /// Units that a task owns within a step, about `least` or more, whole panels of `nr`; all of them where tasks own rows
    /// instead.
    fn units(&self, nr: usize, least: usize) -> usize {
        let step = self.products();
        let tasks = if step / self.batch.max(1) > NEAR {
            (step / GRAIN).clamp(1, 2).max(step / (10 * GRAIN)).min(16).min(self.hidden / least)
        } else {
            1
        };
        self.hidden.div_ceil(tasks.max(1)).next_multiple_of(nr)
    }
    /// The step that the state came from, for row `b` of step `t`: its row, if it is not the initial state.
    fn before(&self, t: usize, b: usize) -> Option<usize> {
        let p = if self.reverse { t + 1 } else { t.checked_sub(1)? };
        (p < self.sizes.len() && b < self.sizes[p]).then(|| self.offsets[p] + b)
    }
    /// The row that holds the last state of row `b`, if it takes part in any step.
    fn last(&self, b: usize) -> Option<usize> {
        let steps = self.sizes.partition_point(|&s| s > b);
        let t = if self.reverse { 0 } else { steps.checked_sub(1)? };
        (steps > 0).then(|| self.offsets[t] + b)
    }
    fn check(&self) -> Result<()> {
        let mut at = 0;
        for (t, (&o, &s)) in self.offsets.iter().zip(self.sizes).enumerate() {
            if o != at || s > self.batch || (t > 0 && s > self.sizes[t - 1]) {
                return Err(runtime_error!(
                    "rnn: step sizes {:?} of a batch of {} are not packed",
                    self.sizes,
                    self.batch
                ));
            }
            at += s;
        }
        if self.offsets.len() != self.sizes.len() {
            return Err(runtime_error!("rnn: {} offsets for {} steps", self.offsets.len(), self.sizes.len()));
        }
        Ok(())
    }
    pub(crate) fn time(&self, i: usize) -> usize {
        if self.reverse { self.sizes.len() - 1 - i } else { i }
    }
}

fn need(name: &str, got: usize, want: usize) -> Result<()> {
    if got == want { Ok(()) } else { Err(runtime_error!("rnn: {name} has {got} elements, not {want}")) }
}

/// The hidden states' place in a wider result: row length, and the column where this direction begins.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub ld: usize,
    pub at: usize,
}

/// Row length for operands of `n` values: an odd number of cache lines, so that rows do not fall on the same sets.
const fn apart(n: usize) -> usize {
    (n.div_ceil(16) | 1) * 16
}

const fn cells_len(kind: Kind, n: usize) -> usize {
    match kind {
        Kind::Lstm | Kind::Gru => n,
        Kind::Tanh | Kind::Relu => 0,
    }
}

#[cfg(test)]
#[path = "rnn_tests.rs"]
mod tests;
