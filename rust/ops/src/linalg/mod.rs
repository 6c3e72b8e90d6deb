//! Products of matrices and what is built on them.

pub mod addmm;
mod batch;
pub(crate) mod decompose;
pub mod dense;
pub mod einsum;
pub(crate) mod glue;
pub mod lu;
pub mod matmul;
pub mod norms;
pub mod pseudo;
pub mod series;
pub mod triangular;
pub mod vectors;

use crate::registry::OpDef;

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = matmul::ops();
    v.extend(addmm::ops());
    v.extend(einsum::ops());
    v.extend(dense::ops());
    v.extend(norms::ops());
    v.extend(triangular::ops());
    v.extend(lu::ops());
    v.extend(pseudo::ops());
    v.extend(series::ops());
    v.extend(vectors::ops());
    v
}
