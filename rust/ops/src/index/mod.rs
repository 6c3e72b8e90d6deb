//! Indexing (being laid).
use rustnn_core::base::not_implemented;
use rustnn_core::{Result, Tensor};

/// One item of an index expression.
#[derive(Debug, Clone)]
pub enum IndexItem {
    None,
    Ellipsis,
    Int(i64),
    Slice { start: Option<i64>, stop: Option<i64>, step: i64 },
    Bool(bool),
    Tensor(Tensor),
}

/// `x[items]`.
pub fn get(_x: &Tensor, _items: &[IndexItem]) -> Result<Tensor> {
    Err(not_implemented!("indexing"))
}

/// `x[items] = value`.
pub fn put(_x: &Tensor, _items: &[IndexItem], _value: &Tensor) -> Result<()> {
    Err(not_implemented!("indexing"))
}
