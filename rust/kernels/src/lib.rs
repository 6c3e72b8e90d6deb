//! Kernels: slices (or pointers with strides) in, slices out. Knows no tensor, no graph, no Python.
//!
//! Everything parallel goes through [`parallel`], everything allocated through [`alloc`], every hot loop through
//! `rustnn_simd::dispatch`.

pub mod alloc;
pub mod convert;
pub mod copy;
pub mod elementwise;
pub mod map;
pub mod math;
pub mod parallel;
pub mod plan;
pub mod raw;
pub mod reduce;
pub mod scan;

pub use raw::Raw;
