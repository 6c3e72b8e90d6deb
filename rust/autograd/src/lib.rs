//! The engine that walks a recorded graph backward.
#![forbid(unsafe_code)]

mod engine;
mod hooks;

pub use engine::{Options, backward};
pub use hooks::{register_hook, register_post_accumulate_hook, remove_hook, retain_grad};

/// The README's Rust program is a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
