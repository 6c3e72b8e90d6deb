//! Every op: signature, shape rule, forward, gradient, samples and oracle, in one file per op or table of siblings.
//!
//! [`registry::all`] lists them; the Python binding, its stubs, the docs and the tests are made from that list.
#![forbid(unsafe_code)]

pub mod args;
pub mod attention;
pub mod basic;
pub mod compose;
pub mod conv;
pub mod convert;
pub mod creation;
pub mod index;
pub mod inplace;
pub mod linalg;
pub mod loss;
pub mod norm;
pub mod optim;
pub mod pointwise;
pub mod random;
pub mod reduce;
pub mod registry;
pub mod rnn;
pub mod shape;
pub mod sig;
pub mod softmax;
pub mod sort;

pub use args::{Arg, Args, IntoRet, Ret};
pub use registry::{
    DIRECT, FORGETS, INPLACE, INPLACE_ONLY, LINALG, METHOD, NN, NO_FUNCTION_INPLACE, NONDIFF, OUT, OpDef, PRIVATE,
    SPECIAL, TORCH, op,
};
pub use rustnn_core::{
    Ctx, DType, Dims, Element, Error, Generator, Grads, Layout, Result, Saved, Scalar, Strides, Tensor, attach,
    attach_many, attach_view, base, grads, needs_grad, save, save_output,
};
