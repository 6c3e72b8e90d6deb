//! Products of matrices and what is built on them.

pub mod addmm;
pub(crate) mod decompose;
pub mod dense;
pub mod einsum;
pub(crate) mod glue;
pub mod matmul;
pub mod norms;
pub mod vectors;

use crate::registry::OpDef;

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = matmul::ops();
    v.extend(addmm::ops());
    v.extend(einsum::ops());
    v.extend(dense::ops());
    v.extend(norms::ops());
    v.extend(vectors::ops());
    v
}
