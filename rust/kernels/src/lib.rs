//! Kernels: slices (or pointers with strides) in, slices out. Knows no tensor, no graph, no Python.
//!
//! Everything parallel goes through [`parallel`], everything allocated through [`alloc`], every hot loop through
//! `rustnn_simd::dispatch`.

pub mod alloc;
pub mod attention;
pub mod conv;
pub mod convert;
pub mod copy;
pub mod ctc;
pub mod distance;
pub mod elementwise;
pub mod forks;
pub mod gemm;
pub mod index;
pub mod loss;
mod machine;
pub mod map;
pub mod mat;
pub mod math;
pub mod norm;
pub mod norm_batch;
pub mod optim;
pub mod packs;
pub mod parallel;
pub mod plan;
pub mod pool;
pub mod random;
pub mod raw;
pub mod reduce;
pub mod resample;
pub mod rnn;
pub mod room;
pub mod rowmath;
pub mod scan;
pub mod scratch;
pub mod softmax;
pub mod sort;

#[cfg(test)]
pub(crate) mod testutil;

pub use raw::Raw;
