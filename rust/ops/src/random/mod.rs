//! Later.

pub(crate) fn ops() -> Vec<crate::registry::OpDef> {
    Vec::new()
}
