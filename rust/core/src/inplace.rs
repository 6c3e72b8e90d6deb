//! Writing into a tensor in place: who may, and what the graph knows afterwards.

use crate::graph::{self, Backward, Ctx, Edge, Grads};
use crate::meta::View;
use crate::mode;
use crate::tensor::Tensor;
use rustnn_base::{Layout, Result, runtime_error};
use rustnn_kernels::copy;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::OnceLock;

/// Parts of the gradient of a write through a view, given by the ops crate: the part of `grad` (of the base) that the
/// view shows, and `grad` with that part zeroed.
pub struct SliceGrads {
    pub inside: fn(&Tensor, &Layout, &Layout) -> Result<Tensor>,
    pub outside: fn(&Tensor, &Layout, &Layout) -> Result<Tensor>,
}
static SLICE_GRADS: OnceLock<SliceGrads> = OnceLock::new();

/// Called once by the ops crate.
pub fn set_slice_grads(f: SliceGrads) {
    let _ = SLICE_GRADS.set(f);
}

/// Whether `x` may be written in place now; an error that says why not.
pub fn check_writable(x: &Tensor) -> Result<()> {
    if let Some(meta) = x.meta()
        && mode::grad_enabled()
    {
        if meta.wants_grad() && !meta.has_edge() {
            return Err(runtime_error!("a leaf Variable that requires grad is being used in an in-place operation.")
                .hint("to change a parameter by hand, do it under `with torch.no_grad():`"));
        }
        if let Some(v) = meta.view() {
            if v.base.wants_grad() && !v.base.has_edge() {
                return Err(runtime_error!(
                    "a view of a leaf Variable that requires grad is being used in an in-place operation."
                )
                .hint("to change a parameter by hand, do it under `with torch.no_grad():`"));
            }
            if let (Some(why), true) = (v.frozen, v.base.requires_grad()) {
                return Err(runtime_error!("A view {why} and is being modified inplace with grad mode enabled.")
                    .hint("write into a clone() instead"));
            }
        }
    }
    let overlaps = x.shape().iter().zip(x.strides()).any(|(&d, &s)| d > 1 && s == 0);
    if overlaps && x.numel() > 0 {
        return Err(runtime_error!(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location. Please clone() the tensor before performing the operation."
        )
        .hint(format!("its shape is {:?}, its strides {:?} (an expanded tensor)", x.shape(), x.strides())));
    }
    Ok(())
}

/// `x` takes the value (and the history) of `value`: same shape, dtype that may be cast down to `x`'s.
/// `value` must already have `x`'s dtype when it has a history.
pub fn assign(x: &Tensor, value: &Tensor) -> Result<()> {
    check_writable(x)?;
    // Where it is there already, whoever wrote it counted that.
    if !(value.storage().same(x.storage()) && value.layout() == x.layout()) {
        copy::copy(&x.raw(), &value.raw())?;
        x.bump_version();
    }
    wrote(x, value)
}

struct Cut;
impl Backward for Cut {
    fn apply(&self, _: &Ctx<'_>, _: &[Option<Tensor>]) -> Result<Grads> {
        Ok(SmallVec::from_elem(None, 1))
    }
}

struct CopySlices {
    base: Layout,
    view: Layout,
}
impl Backward for CopySlices {
    fn apply(&self, ctx: &Ctx<'_>, grads: &[Option<Tensor>]) -> Result<Grads> {
        let (Some(Some(g)), Some(f)) = (grads.first(), SLICE_GRADS.get()) else { return Ok(Grads::new()) };
        let mut out = Grads::new();
        out.push(if ctx.wants(0) { Some((f.outside)(g, &self.base, &self.view)?) } else { None });
        out.push(if ctx.wants(1) { Some((f.inside)(g, &self.base, &self.view)?) } else { None });
        Ok(out)
    }
}

/// Tells the graph that `x`'s elements now come from `value` (already written, version already counted).
pub fn wrote(x: &Tensor, value: &Tensor) -> Result<()> {
    if !mode::grad_enabled() {
        return Ok(());
    }
    let from: Option<Edge> = graph::edge_of(value);
    let before = x.requires_grad();
    if (from.is_none() && !before) || !x.dtype().is_float() {
        return Ok(());
    }
    let meta = x.meta_or_new();
    let Some(view) = meta.view() else {
        if let Some(edge) = from {
            meta.set_edge(Some(edge));
        } else {
            // The old value is gone: its history gets no gradient, but the tensor still has one.
            let next = SmallVec::from_elem(graph::edge_of(x), 1);
            graph::link_edges("FillBackward0", std::slice::from_ref(x), next, Arc::new(Cut));
        }
        return Ok(());
    };
    // Through a view: the base gets a node that splits its gradient between its old history and the value's.
    let base_edge = view.base.with(|s| s.edge.clone());
    let slices = CopySlices { base: view.base_layout.clone(), view: x.layout().clone() };
    let stand_in = x.with_layout(view.base_layout.clone())?;
    let mut next: SmallVec<[Option<Edge>; 2]> = SmallVec::new();
    next.push(base_edge);
    next.push(from);
    let node = graph::link_edges("CopySlices", std::slice::from_ref(&stand_in), next, Arc::new(slices));
    view.base.set_edge(Some(Edge { node, index: 0 }));
    // Force the view's own node to be made anew from the base's.
    meta.set_view(Some(View { version: view.storage.version().wrapping_sub(1), ..view }));
    let _ = graph::edge_of(x);
    Ok(())
}
