//! Vocabulary that every other crate speaks: element types, shapes and strides, scalars, errors.
//!
//! Knows nothing of memory, threads or tensors.
#![forbid(unsafe_code)]

pub mod dtype;
pub mod error;
pub mod layout;
pub mod scalar;

pub use dtype::{B8, DType, Element, Float, Kind};
pub use error::{Error, Result};
pub use layout::{Dims, Layout, Strides};
pub use scalar::Scalar;

pub use half::{bf16, f16};
