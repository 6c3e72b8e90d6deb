//! The list of all ops and the row type they are declared with.

use crate::args::{Args, Ret};
use rustnn_core::Result;

/// A method of `Tensor`.
pub const METHOD: u32 = 1;
/// A function of the top module.
pub const TORCH: u32 = 2;
/// A function of `nn.functional` (with its signature there).
pub const NN: u32 = 4;
/// A function of `linalg`.
pub const LINALG: u32 = 8;
/// A function of `special`.
pub const SPECIAL: u32 = 16;
/// Reached by the Python part of the package only.
pub const PRIVATE: u32 = 32;
/// `x_` exists too: the result is written back into the first argument.
pub const INPLACE: u32 = 256;
/// `out=` is accepted.
pub const OUT: u32 = 512;
/// The result is one pointwise kernel's, which may write straight into the destination.
pub const DIRECT: u32 = 1024;
/// Has no gradient by nature (comparisons, indices, random draws).
pub const NONDIFF: u32 = 2048;
/// `x_` is a method only, not a function.
pub const NO_FUNCTION_INPLACE: u32 = 4096;

/// Only `x_` exists, not `x`.
pub const INPLACE_ONLY: u32 = 8192;
/// Its gradient needs nothing of the first argument, not even from before `x_` wrote over it: one kernel, which may do that at
/// once.
pub const FORGETS: u32 = 16384;

/// What an op does, given its parsed arguments.
pub type Call = fn(&Args) -> Result<Ret>;

/// One op as declared: its row is the single place from which everything else follows.
pub struct OpDef {
    /// `name(Type param=default, *, Type param) `; see [`crate::sig`].
    pub sig: &'static str,
    pub flags: u32,
    pub call: Call,
    pub doc: &'static str,
    /// Arguments of example calls, as Python expressions (`t(3,4), dim=1`).
    pub samples: &'static [&'static str],
    /// A NumPy float64 expression over the parameters' names that gives the expected result.
    pub oracle: &'static str,
}

/// Starts a row.
#[must_use]
pub const fn op(sig: &'static str, flags: u32, call: Call) -> OpDef {
    OpDef { sig, flags, call, doc: "", samples: &[], oracle: "" }
}

impl OpDef {
    /// What it computes: becomes `__doc__`.
    #[must_use]
    pub const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }
    /// Example calls, on which every generic test runs.
    #[must_use]
    pub const fn samples(mut self, samples: &'static [&'static str]) -> Self {
        self.samples = samples;
        self
    }
    /// The independent reference.
    #[must_use]
    pub const fn oracle(mut self, oracle: &'static str) -> Self {
        self.oracle = oracle;
        self
    }
    /// Marks it as having no gradient by nature.
    #[must_use]
    pub const fn nondiff(mut self) -> Self {
        self.flags |= NONDIFF;
        self
    }
    /// The op's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.sig.split('(').next().unwrap_or(self.sig)
    }
}

/// Every op there is. Overloads of one name stand in the order in which they are tried.
#[must_use]
pub fn all() -> Vec<OpDef> {
    crate::inplace::install();
    let mut v = Vec::with_capacity(900);
    v.extend(crate::convert::ops());
    v.extend(crate::pointwise::ops());
    v.extend(crate::reduce::ops());
    v.extend(crate::shape::ops());
    v.extend(crate::index::ops());
    v.extend(crate::sort::ops());
    v.extend(crate::random::ops());
    v.extend(crate::creation::ops());
    v.extend(crate::linalg::ops());
    v.extend(crate::conv::ops());
    v.extend(crate::softmax::ops());
    v.extend(crate::norm::ops());
    v.extend(crate::loss::ops());
    v.extend(crate::attention::ops());
    v.extend(crate::rnn::ops());
    v.extend(crate::optim::ops());
    v
}
