//! Random tensors, random fills, samples and dropout. Draws follow memory order, from one serial stream.

mod create;
mod dropout;
mod fill;
mod gamma;
mod sample;

pub use dropout::dropout;
pub use fill::fill_memory;

use crate::args::Args;
use crate::registry::OpDef;
use rustnn_core::Generator;
use rustnn_core::generator::default_generator;

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = Vec::new();
    v.extend(create::ops());
    v.extend(fill::ops());
    v.extend(sample::ops());
    v.extend(gamma::ops());
    v.extend(dropout::ops());
    v
}

/// The generator given as argument `i`, or the default one.
pub(crate) fn generator(a: &Args, i: usize) -> &Generator {
    a.generator(i).unwrap_or_else(|| default_generator())
}
