//! Kernels: slices (or pointers with strides) in, slices out. Knows no tensor, no graph, no Python.
//!
//! Everything parallel goes through [`parallel`], everything allocated through [`alloc`], every hot loop through
//! `rustnn_simd::dispatch`.

pub mod alloc;
pub mod conv;
pub mod convert;
pub mod copy;
pub mod gemm;
pub mod index;
mod machine;
pub mod elementwise;
pub mod map;
pub mod math;
pub mod parallel;
pub mod plan;
pub mod pool;
pub mod random;
pub mod raw;
pub mod scratch;
pub mod sort;

pub use raw::Raw;
