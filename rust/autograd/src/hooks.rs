//! Hooks on tensors: functions that see, and may replace, a gradient on its way.

use rustnn_core::base::{Result, runtime_error};
use rustnn_core::meta::{Hook, hook_id};
use rustnn_core::{Tensor, graph};

/// Calls `hook` with every gradient of `t` that is computed from now on. Returns a number for [`remove_hook`].
pub fn register_hook(t: &Tensor, hook: Hook) -> Result<u64> {
    if !t.requires_grad() {
        return Err(runtime_error!("cannot register a hook on a tensor that doesn't require gradient"));
    }
    let id = hook_id();
    let Some(edge) = graph::edge_of(t).filter(|_| t.meta().is_some_and(|m| m.has_edge())) else {
        t.meta_or_new().with(|s| s.hooks.push((id, hook)));
        return Ok(id);
    };
    edge.node.hooks_mut().lock().tensor.push((edge.index, id, hook));
    Ok(id)
}

/// Calls `hook` after the gradient of the leaf `t` has been accumulated.
pub fn register_post_accumulate_hook(t: &Tensor, hook: Hook) -> Result<u64> {
    let leaf = t.meta().is_some_and(|m| m.wants_grad() && !m.has_edge());
    if !leaf {
        return Err(runtime_error!("post accumulate grad hooks cannot be registered on non-leaf tensors"));
    }
    let id = hook_id();
    t.meta_or_new().with(|s| s.post_hooks.push((id, hook)));
    Ok(id)
}

/// Takes a hook away again; unknown numbers are ignored.
pub fn remove_hook(t: &Tensor, id: u64) {
    let Some(meta) = t.meta() else { return };
    let edge = meta.with(|s| {
        s.hooks.retain(|h| h.0 != id);
        s.post_hooks.retain(|h| h.0 != id);
        s.edge.clone()
    });
    if let Some(hooks) = edge.as_ref().and_then(|e| e.node.hooks()) {
        hooks.lock().tensor.retain(|h| h.1 != id);
    }
}

/// Keeps the gradient of a non-leaf in its `grad` (a leaf's is kept anyhow).
pub fn retain_grad(t: &Tensor) -> Result<()> {
    if !t.requires_grad() {
        return Err(runtime_error!("can't retain_grad on Tensor that has requires_grad=False"));
    }
    let meta = t.meta_or_new();
    let Some(edge) = graph::edge_of(t).filter(|_| meta.has_edge()) else { return Ok(()) };
    let already = meta.with(|s| std::mem::replace(&mut s.retain_grad, true));
    if !already {
        edge.node.hooks_mut().lock().retain.push((edge.index, meta.clone()));
    }
    Ok(())
}
