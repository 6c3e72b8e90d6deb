//! Tensors and what a graph is made of: storage, layout over it, autograd metadata, nodes, saved tensors, grad mode.
//!
//! Knows no op. The ops crate computes and records; the autograd crate walks what was recorded.

pub mod dest;
pub mod generator;
pub mod graph;
pub mod inplace;
pub mod later;
pub mod meta;
pub mod mode;
pub mod profile;
pub mod storage;
pub mod tensor;

pub use generator::Generator;
pub use graph::{
    Backward, Ctx, Edge, Grads, Node, Saved, attach, attach_many, attach_view, needs_grad, save, save_output,
};
pub use mode::{grad_enabled, inference_mode};
pub use rustnn_base as base;
pub use rustnn_base::{DType, Dims, Element, Error, Layout, Result, Scalar, Strides};
pub use rustnn_kernels::Raw;
pub use rustnn_kernels::parallel::check_interrupt;
pub use rustnn_kernels::room::caught;
pub use storage::{Storage, WeakStorage};
pub use tensor::Tensor;
