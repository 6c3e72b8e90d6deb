//! Autograd metadata of a tensor: made only for tensors that take part in a graph or are views.

use crate::graph::{Edge, Node};
use crate::storage::Storage;
use crate::tensor::Tensor;
use parking_lot::Mutex;
use rustnn_base::{Layout, Result};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Called with a gradient; may replace it.
pub type Hook = Arc<dyn Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync>;

/// What a view remembers of the tensor it shows a part of.
#[derive(Clone)]
pub struct View {
    /// The root: never a view itself.
    pub base: Arc<Meta>,
    pub base_layout: Layout,
    /// The shared storage's version when `edge` was last right.
    pub version: u32,
    pub storage: Storage,
    /// Why writing through this view must not be recorded (made under `no_grad`, one of several outputs), if so.
    pub frozen: Option<&'static str>,
}

/// The part behind the lock.
#[derive(Default)]
pub struct State {
    /// The node that made this tensor.
    pub edge: Option<Edge>,
    pub grad: Option<Tensor>,
    /// The node that accumulates into `grad`, while a graph holds it.
    pub accumulator: Weak<Node>,
    pub hooks: Vec<(u64, Hook)>,
    /// Run after a leaf's gradient was accumulated.
    pub post_hooks: Vec<(u64, Hook)>,
    pub retain_grad: bool,
    pub view: Option<View>,
}

/// Shared by a tensor and whatever replaces it in place.
#[derive(Default)]
pub struct Meta {
    wants: AtomicBool,
    has_edge: AtomicBool,
    is_view: AtomicBool,
    state: Mutex<State>,
}

static NEXT_HOOK: AtomicU64 = AtomicU64::new(1);

/// A number no other hook has.
pub fn hook_id() -> u64 {
    NEXT_HOOK.fetch_add(1, Ordering::Relaxed)
}

impl Meta {
    /// Whether gradients flow here.
    #[inline]
    #[must_use]
    pub fn requires_grad(&self) -> bool {
        self.wants.load(Ordering::Relaxed)
            || self.has_edge.load(Ordering::Relaxed)
            || (self.is_view.load(Ordering::Relaxed) && self.base_requires_grad())
    }

    #[cold]
    fn base_requires_grad(&self) -> bool {
        let base = self.state.lock().view.as_ref().filter(|v| v.frozen.is_none()).map(|v| v.base.clone());
        base.is_some_and(|b| b.has_edge.load(Ordering::Relaxed))
    }

    /// Whether the user asked for a gradient of this leaf.
    #[must_use]
    pub fn wants_grad(&self) -> bool {
        self.wants.load(Ordering::Relaxed)
    }

    /// Asks for (or no longer for) a gradient of this leaf.
    pub fn set_wants_grad(&self, on: bool) {
        self.wants.store(on, Ordering::Relaxed);
    }

    /// Whether a node made this tensor.
    #[must_use]
    pub fn has_edge(&self) -> bool {
        self.has_edge.load(Ordering::Relaxed)
    }

    /// Whether it is a view of another tensor.
    #[must_use]
    pub fn is_view(&self) -> bool {
        self.is_view.load(Ordering::Relaxed)
    }

    /// Sets the node that made this tensor.
    pub fn set_edge(&self, edge: Option<Edge>) {
        self.has_edge.store(edge.is_some(), Ordering::Relaxed);
        // Dropped after the lock: dropping a node can reach far.
        let _old = std::mem::replace(&mut self.state.lock().edge, edge);
    }

    /// Makes it a view (or no longer one).
    pub fn set_view(&self, view: Option<View>) {
        self.is_view.store(view.is_some(), Ordering::Relaxed);
        let _old = std::mem::replace(&mut self.state.lock().view, view);
    }

    /// What it is a view of.
    #[must_use]
    pub fn view(&self) -> Option<View> {
        if !self.is_view() {
            return None;
        }
        self.state.lock().view.clone()
    }

    #[must_use]
    pub fn grad(&self) -> Option<Tensor> {
        self.state.lock().grad.clone()
    }

    /// Replaces the gradient; returns the former one.
    pub fn set_grad(&self, grad: Option<Tensor>) -> Option<Tensor> {
        std::mem::replace(&mut self.state.lock().grad, grad)
    }

    /// Runs `f` on what is behind the lock. `f` must not run ops.
    pub fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock())
    }
}
