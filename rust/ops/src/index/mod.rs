//! Elements by index: Python's `x[...]`, gather and scatter, rows, masks, embeddings.

pub mod arith;
pub mod embedding;
pub mod gather;
pub mod get;
pub mod mask;
pub mod put;
pub mod replaced;
pub mod rows;

pub use get::{IndexItem, get};
pub use put::put;

use crate::registry::OpDef;
use rustnn_core::base::{index_error, runtime_error};
use rustnn_core::{DType, Result, Tensor};

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = Vec::new();
    v.extend(put::ops());
    v.extend(gather::ops());
    v.extend(rows::ops());
    v.extend(replaced::ops());
    v.extend(mask::ops());
    v.extend(embedding::ops());
    v
}

/// An index tensor as row-major int64.
pub(crate) fn long(t: &Tensor) -> Result<Tensor> {
    match t.dtype() {
        DType::I64 => t.to_contiguous(),
        DType::I32 | DType::I16 | DType::I8 | DType::U8 => t.copied_as(DType::I64)?.to_contiguous(),
        d => Err(index_error!("tensors used as indices must be long, int, byte or bool tensors")
            .hint(format!("the index is {d}; .long() makes it int64"))),
    }
}

/// An index tensor for functions that take int32 and int64 only.
pub(crate) fn long_for(t: &Tensor, op: &str) -> Result<Tensor> {
    match t.dtype() {
        DType::I64 | DType::I32 => long(t),
        d => Err(runtime_error!("{op}(): Expected dtype int32 or int64 for index").hint(format!("it is {d}"))),
    }
}
