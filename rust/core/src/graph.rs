//! The graph: nodes, edges, what nodes save, and how an op records itself.

use crate::meta::{Hook, Meta, View};
use crate::mode;
use crate::tensor::Tensor;
use parking_lot::Mutex;
use rustnn_base::{DType, Dims, Layout, Result, runtime_error};
use smallvec::SmallVec;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Gradients of a node's inputs, in order; `None` where there is none.
pub type Grads = SmallVec<[Option<Tensor>; 3]>;

/// Builds [`Grads`]: `grads![a, b]` from tensors, `grads![c; 0 => expr, 1 => expr]` computing only what is wanted.
#[macro_export]
macro_rules! grads {
    ($ctx:expr; $($i:expr => $e:expr),+ $(,)?) => {{
        let mut out = $crate::Grads::new();
        $( out.push(if $ctx.wants($i) { Some($e) } else { None }); )+
        out
    }};
    ($($e:expr),+ $(,)?) => {{
        let mut out = $crate::Grads::new();
        $( out.push(Some($e)); )+
        out
    }};
}

/// A node's vector-Jacobian product: from gradients of its outputs to gradients of its inputs.
pub trait Backward: Send + Sync {
    fn apply(&self, ctx: &Ctx<'_>, grads: &[Option<Tensor>]) -> Result<Grads>;
}

struct Single<F>(F);
impl<F: Fn(&Ctx<'_>, &Tensor) -> Result<Grads> + Send + Sync> Backward for Single<F> {
    fn apply(&self, ctx: &Ctx<'_>, grads: &[Option<Tensor>]) -> Result<Grads> {
        match grads.first() {
            Some(Some(g)) => (self.0)(ctx, g),
            _ => Ok(Grads::new()),
        }
    }
}

struct Many<F>(F);
impl<F: Fn(&Ctx<'_>, &[Option<Tensor>]) -> Result<Grads> + Send + Sync> Backward for Many<F> {
    fn apply(&self, ctx: &Ctx<'_>, grads: &[Option<Tensor>]) -> Result<Grads> {
        (self.0)(ctx, grads)
    }
}

/// What a backward closure may ask while it runs.
pub struct Ctx<'a> {
    pub node: &'a Arc<Node>,
    /// Which inputs' gradients somebody needs.
    pub needed: &'a [bool],
}

impl Ctx<'_> {
    /// Whether input `i` needs its gradient.
    #[must_use]
    pub fn wants(&self, i: usize) -> bool {
        self.needed.get(i).copied().unwrap_or(false)
    }

    /// Raises when a graph of this backward is being recorded, for fused kernels that have no derivative.
    pub fn no_second_derivative(&self) -> Result<()> {
        if mode::grad_enabled() {
            return Err(runtime_error!("the derivative of '{}' is not implemented", self.node.name())
                .hint("its backward is one fused kernel; it cannot be differentiated again (create_graph=True)"));
        }
        Ok(())
    }
}

/// Where a gradient goes: into `node`, as the gradient of its output number `index`.
#[derive(Clone)]
pub struct Edge {
    pub node: Arc<Node>,
    pub index: usize,
}

/// What the engine must know of a forward result to check and shape its gradient.
#[derive(Clone)]
pub struct OutInfo {
    pub shape: Dims,
    pub dtype: DType,
}

/// What a node does with the gradients that reach it.
pub enum Work {
    /// An op's backward; `None` once its saved values were freed.
    Op(Mutex<Option<Arc<dyn Backward>>>),
    /// Adds into a leaf's `grad`.
    Accumulate(Tensor),
}

/// A hook on a node as a whole: `(id, f)`; the engine passes gradients of inputs (post) or of outputs (pre).
pub type NodeHook =
    Arc<dyn Fn(&[Option<Tensor>], &[Option<Tensor>]) -> Result<Option<Vec<Option<Tensor>>>> + Send + Sync>;

/// Hooks that only few nodes have.
#[derive(Default)]
pub struct NodeHooks {
    /// On the gradient of one output: `(output, id, hook)`.
    pub tensor: Vec<(usize, u64, Hook)>,
    /// The output whose gradient is to be kept in its tensor's `grad`.
    pub retain: Vec<(usize, Arc<Meta>)>,
    pub pre: Vec<(u64, NodeHook)>,
    pub post: Vec<(u64, NodeHook)>,
}

/// One recorded op.
pub struct Node {
    name: &'static str,
    seq: u64,
    next: SmallVec<[Option<Edge>; 2]>,
    outs: SmallVec<[OutInfo; 1]>,
    work: Work,
    hooks: OnceLock<Mutex<NodeHooks>>,
    /// Where the forward ran, in anomaly mode.
    trace: Option<String>,
    /// What the host language attached (a Function's context).
    pub host: OnceLock<Box<dyn Any + Send + Sync>>,
}

thread_local! {
    static SEQ: Cell<u64> = const { Cell::new(0) };
    static GRAVE: RefCell<Vec<Dead>> = const { RefCell::new(Vec::new()) };
    static DIGGING: Cell<bool> = const { Cell::new(false) };
    static TRACER: Cell<Option<fn() -> Option<String>>> = const { Cell::new(None) };
}
static CLOCK: AtomicU64 = AtomicU64::new(1);

struct Dead(#[allow(dead_code)] SmallVec<[Option<Edge>; 2]>, #[allow(dead_code)] Option<Arc<dyn Backward>>);

impl Drop for Node {
    /// Iterative: a chain of any length is dropped in constant stack.
    fn drop(&mut self) {
        let next = std::mem::take(&mut self.next);
        let saved = match &mut self.work {
            Work::Op(b) => b.get_mut().take(),
            Work::Accumulate(_) => None,
        };
        if next.is_empty() && saved.is_none() {
            return;
        }
        let dead = Dead(next, saved);
        let Ok(first) = DIGGING.try_with(|d| !d.replace(true)) else { return };
        if !first {
            let _ = GRAVE.try_with(|g| g.borrow_mut().push(dead));
            return;
        }
        let mut current = Some(dead);
        while let Some(d) = current {
            drop(d);
            current = GRAVE.try_with(|g| g.borrow_mut().pop()).ok().flatten();
        }
        let _ = DIGGING.try_with(|d| d.set(false));
    }
}

/// The number that the next node gets.
#[must_use]
pub fn next_seq() -> u64 {
    CLOCK.load(Ordering::Relaxed)
}

impl Node {
    fn make(name: &'static str, next: SmallVec<[Option<Edge>; 2]>, outs: SmallVec<[OutInfo; 1]>, work: Work) -> Node {
        let trace = if mode::anomaly() { TRACER.get().and_then(|f| f()) } else { None };
        let seq = match work {
            Work::Accumulate(_) => u64::MAX,
            Work::Op(_) => CLOCK.fetch_add(1, Ordering::Relaxed),
        };
        Node { name, seq, next, outs, work, hooks: OnceLock::new(), trace, host: OnceLock::new() }
    }

    /// As shown by `grad_fn`: `MulBackward0`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
    /// Later nodes have larger numbers and run first; accumulation runs at once.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }
    /// Where gradients of its inputs go.
    #[must_use]
    pub fn next(&self) -> &[Option<Edge>] {
        &self.next
    }
    /// Shapes and dtypes of its outputs.
    #[must_use]
    pub fn outs(&self) -> &[OutInfo] {
        &self.outs
    }
    #[must_use]
    pub fn work(&self) -> &Work {
        &self.work
    }
    /// Where its forward ran, if anomaly mode was on.
    #[must_use]
    pub fn trace(&self) -> Option<&str> {
        self.trace.as_deref()
    }
    /// Its hooks, if any were ever added.
    #[must_use]
    pub fn hooks(&self) -> Option<&Mutex<NodeHooks>> {
        self.hooks.get()
    }
    /// Its hooks, to add one.
    pub fn hooks_mut(&self) -> &Mutex<NodeHooks> {
        self.hooks.get_or_init(Mutex::default)
    }
}

/// Sets how anomaly mode finds the forward line (the binding knows the host's stack).
pub fn set_tracer(f: Option<fn() -> Option<String>>) {
    TRACER.set(f);
}

/// Whether an op on these must record itself.
#[inline]
#[must_use]
pub fn needs_grad(inputs: &[&Tensor]) -> bool {
    mode::grad_enabled() && inputs.iter().any(|t| t.requires_grad())
}

/// How the gradient of a view of a base is made, given by the ops crate: `(grad, base layout, view layout)`.
pub type ViewGrad = fn(&Tensor, &Layout, &Layout) -> Result<Tensor>;
static VIEW_GRAD: OnceLock<ViewGrad> = OnceLock::new();

/// Called once by the ops crate.
pub fn set_view_grad(f: ViewGrad) {
    let _ = VIEW_GRAD.set(f);
}

fn info(t: &Tensor) -> OutInfo {
    OutInfo { shape: rustnn_base::layout::few(t.shape()), dtype: t.dtype() }
}

/// Where the gradient of `t` goes: its node, or the accumulator of a leaf that wants one.
#[must_use]
pub fn edge_of(t: &Tensor) -> Option<Edge> {
    if !t.requires_grad() {
        return None;
    }
    let meta = t.meta()?;
    if meta.is_view() {
        refresh_view(t, meta);
    }
    if meta.has_edge() {
        return meta.with(|s| s.edge.clone());
    }
    if !meta.wants_grad() {
        return None;
    }
    let node = meta.with(|s| {
        s.accumulator.upgrade().unwrap_or_else(|| {
            let work = Work::Accumulate(t.clone());
            let node = Arc::new(Node::make("AccumulateGrad", SmallVec::new(), SmallVec::from_elem(info(t), 1), work));
            s.accumulator = Arc::downgrade(&node);
            node
        })
    });
    Some(Edge { node, index: 0 })
}

/// A view whose base was written since: its node is made anew from the base's present one.
fn refresh_view(t: &Tensor, meta: &Arc<Meta>) {
    let Some(view) = meta.view() else { return };
    let version = view.storage.version();
    if version == view.version || view.frozen.is_some() || !view.base.has_edge() {
        return;
    }
    let Some(grad) = VIEW_GRAD.get().copied() else { return };
    let Some(base_edge) = view.base.with(|s| s.edge.clone()) else { return };
    let (base_layout, view_layout) = (view.base_layout.clone(), t.layout().clone());
    let backward = Single(move |_: &Ctx<'_>, g: &Tensor| Ok(grads![grad(g, &base_layout, &view_layout)?]));
    let mut next = SmallVec::new();
    next.push(Some(base_edge));
    let work = Work::Op(Mutex::new(Some(Arc::new(backward))));
    let node = Arc::new(Node::make("AsStridedBackward0", next, SmallVec::from_elem(info(t), 1), work));
    meta.set_edge(Some(Edge { node, index: 0 }));
    meta.set_view(Some(View { version, ..view }));
}

/// Records that `out` was made from `inputs`, if any of them needs a gradient.
pub fn attach(
    name: &'static str,
    out: Tensor,
    inputs: &[&Tensor],
    backward: impl Fn(&Ctx<'_>, &Tensor) -> Result<Grads> + Send + Sync + 'static,
) -> Result<Tensor> {
    if needs_grad(inputs) && out.dtype().is_float() {
        link(name, std::slice::from_ref(&out), inputs, Arc::new(Single(backward)));
    }
    Ok(out)
}

/// As [`attach`] for several outputs; integer outputs take no part.
pub fn attach_many(
    name: &'static str,
    outs: Vec<Tensor>,
    inputs: &[&Tensor],
    backward: impl Fn(&Ctx<'_>, &[Option<Tensor>]) -> Result<Grads> + Send + Sync + 'static,
) -> Result<Vec<Tensor>> {
    if needs_grad(inputs) {
        link(name, &outs, inputs, Arc::new(Many(backward)));
    }
    Ok(outs)
}

/// Records with a ready-made [`Backward`]; returns the node.
pub fn link(name: &'static str, outs: &[Tensor], inputs: &[&Tensor], backward: Arc<dyn Backward>) -> Arc<Node> {
    let next = inputs.iter().map(|t| edge_of(t)).collect();
    link_edges(name, outs, next, backward)
}

/// As [`link`] with the edges given.
pub fn link_edges(
    name: &'static str,
    outs: &[Tensor],
    next: SmallVec<[Option<Edge>; 2]>,
    backward: Arc<dyn Backward>,
) -> Arc<Node> {
    let node = Arc::new(Node::make(name, next, outs.iter().map(info).collect(), Work::Op(Mutex::new(Some(backward)))));
    for (index, out) in outs.iter().enumerate() {
        if out.dtype().is_float() {
            out.meta_or_new().set_edge(Some(Edge { node: node.clone(), index }));
        }
    }
    node
}

/// Records a view: as [`attach`], and `out` remembers what it is a view of, so that writes in place through either
/// reach the other's gradient.
pub fn attach_view(
    name: &'static str,
    mut out: Tensor,
    input: &Tensor,
    backward: impl Fn(&Ctx<'_>, &Tensor) -> Result<Grads> + Send + Sync + 'static,
) -> Result<Tensor> {
    if needs_grad(&[input]) && out.dtype().is_float() {
        link(name, std::slice::from_ref(&out), &[input], Arc::new(Single(backward)));
    }
    mark_view(&mut out, input, None);
    Ok(out)
}

/// Remembers that `out` is a view of `input`. `frozen` says why writes through it cannot be recorded.
pub fn mark_view(out: &mut Tensor, input: &Tensor, frozen: Option<&'static str>) {
    if mode::inference_mode() || !out.dtype().is_float() {
        return;
    }
    let frozen =
        frozen.or_else(|| (!mode::grad_enabled() && input.requires_grad()).then_some("was created in no_grad mode"));
    out.set_view_of(input, frozen);
}

/// Packs what nodes save (`saved_tensors_hooks`).
pub trait SavedHooks: Send + Sync {
    fn pack(&self, t: &Tensor) -> Result<Box<dyn Any + Send + Sync>>;
    fn unpack(&self, packed: &(dyn Any + Send + Sync)) -> Result<Tensor>;
}

thread_local! {
    static SAVED_HOOKS: RefCell<Vec<Arc<dyn SavedHooks>>> = const { RefCell::new(Vec::new()) };
    static HOOKED: Cell<bool> = const { Cell::new(false) };
}

/// Puts hooks in force on this thread, innermost last.
pub fn push_saved_hooks(h: Arc<dyn SavedHooks>) {
    SAVED_HOOKS.with_borrow_mut(|v| v.push(h));
    HOOKED.set(true);
}

/// Ends the innermost ones.
pub fn pop_saved_hooks() {
    let left = SAVED_HOOKS.with_borrow_mut(|v| {
        v.pop();
        v.len()
    });
    HOOKED.set(left > 0);
}

enum Kept {
    Tensor(Tensor),
    Output(Tensor, usize),
    /// What the hooks made of it, and where its gradient goes: to an output of the node itself or to an input's edge.
    Packed(Arc<dyn SavedHooks>, Box<dyn Any + Send + Sync>, Option<usize>, Option<Edge>),
    Failed(String),
}

/// A tensor kept for the backward pass, with the version it had.
pub struct Saved {
    kept: Kept,
    version: u32,
}

/// Keeps an input for the backward pass.
#[must_use]
pub fn save(t: &Tensor) -> Saved {
    keep(t, None)
}

/// Keeps an output for the backward pass (`index` among the node's outputs): no cycle is made.
#[must_use]
pub fn save_output_at(t: &Tensor, index: usize) -> Saved {
    keep(t, Some(index))
}

/// Keeps a node's only output for the backward pass.
#[must_use]
pub fn save_output(t: &Tensor) -> Saved {
    keep(t, Some(0))
}

thread_local! {
    static OVERWRITTEN: RefCell<Option<Tensor>> = const { RefCell::new(None) };
    static OVERWRITING: Cell<bool> = const { Cell::new(false) };
    static FORGOTTEN: Cell<bool> = const { Cell::new(false) };
}

/// Runs an op whose result is about to be written over `x`: what it saves of `x`'s memory is saved as a copy. An op that
/// `forgets` is one kernel whose gradient needs nothing of what `x` was; it may write at once (see [`overwrite`]).
pub fn overwriting<R>(x: &Tensor, forgets: bool, op: impl FnOnce() -> R) -> R {
    struct Back(Option<Tensor>, bool, bool);
    impl Drop for Back {
        fn drop(&mut self) {
            OVERWRITTEN.set(self.0.take());
            OVERWRITING.set(self.1);
            FORGOTTEN.set(self.2);
        }
    }
    let before = OVERWRITTEN.replace(Some(x.clone()));
    let _back = Back(before, OVERWRITING.replace(true), FORGOTTEN.replace(forgets));
    op()
}

/// Whether an op runs that forgets what it is about to overwrite.
#[inline]
#[must_use]
pub fn is_overwriting() -> bool {
    FORGOTTEN.get()
}

/// The place for the result of an op that forgets `x` and whose result is about to be written over it: `x`'s own memory, the
/// write counted. The result must have `x`'s shape and dtype.
#[must_use]
pub fn overwrite(x: &Tensor) -> Option<Tensor> {
    // What a view's write means to its base is worked out later, from the versions before it.
    let whole = || x.base().is_none() && x.meta().is_none_or(|m| m.view().is_none());
    if !FORGOTTEN.get() || !OVERWRITTEN.with_borrow(|o| o.as_ref().is_some_and(|o| o.same(x))) || !whole() {
        return None;
    }
    FORGOTTEN.set(false);
    x.bump_version();
    Some(x.detach())
}

/// A copy of `t` that stands in its place in the graph, if `t`'s memory is about to be written over.
fn copy_of_overwritten(t: &Tensor) -> Option<Result<Tensor>> {
    if !OVERWRITTEN.with_borrow(|x| x.as_ref().is_some_and(|x| x.storage().same(t.storage()))) {
        return None;
    }
    let copy = t.copied().and_then(|c| attach("CloneBackward0", c, &[t], |_, g| Ok(grads![g.clone()])));
    Some(copy)
}

fn keep(t: &Tensor, output: Option<usize>) -> Saved {
    if output.is_none() && OVERWRITING.get() {
        match copy_of_overwritten(t) {
            Some(Ok(copy)) => return keep_as_is(&copy, None),
            Some(Err(e)) => return Saved { kept: Kept::Failed(e.to_string()), version: 0 },
            None => {}
        }
    }
    keep_as_is(t, output)
}

fn keep_as_is(t: &Tensor, output: Option<usize>) -> Saved {
    let version = t.version();
    if HOOKED.get() {
        let hooks = SAVED_HOOKS.with_borrow(|v| v.last().cloned());
        if let Some(h) = hooks {
            let edge = if output.is_none() { edge_of(t) } else { None };
            let kept = match h.pack(&t.detach()) {
                Ok(p) => Kept::Packed(h, p, output, edge),
                Err(e) => Kept::Failed(e.to_string()),
            };
            return Saved { kept, version };
        }
    }
    let kept = match output {
        Some(i) => Kept::Output(t.detach(), i),
        None => Kept::Tensor(t.clone()),
    };
    Saved { kept, version }
}

impl Saved {
    /// The tensor as it was, or an error if it has been written since.
    pub fn get(&self, ctx: &Ctx<'_>) -> Result<Tensor> {
        let own = |t: &Tensor, index: usize| {
            let t = t.detach();
            if mode::grad_enabled() && t.dtype().is_float() {
                t.meta_or_new().set_edge(Some(Edge { node: ctx.node.clone(), index }));
            }
            t
        };
        let (t, now) = match &self.kept {
            Kept::Tensor(t) => (t.clone(), t.version()),
            Kept::Output(t, i) => (own(t, *i), t.version()),
            Kept::Packed(h, p, i, edge) => {
                let t = h.unpack(&**p)?.detach();
                if let Some(i) = i {
                    (own(&t, *i), self.version)
                } else {
                    if let (Some(e), true) = (edge, t.dtype().is_float()) {
                        t.meta_or_new().set_edge(Some(e.clone()));
                    }
                    (t, self.version)
                }
            }
            Kept::Failed(m) => return Err(runtime_error!("{m}")),
        };
        if now != self.version {
            let kind = format!("{} {:?}", t.dtype().torch_name(), t.shape());
            let mut e = runtime_error!(
                "one of the variables needed for gradient computation has been modified by an inplace operation: [{kind}], which is saved by {}, is at version {now}; expected version {} instead.",
                ctx.node.name(),
                self.version
            );
            e = e.hint(match ctx.node.trace() {
                Some(at) => format!("the forward call was made here:\n{at}"),
                None => "rustnn.autograd.set_detect_anomaly(True) shows the forward line; an out-of-place op (x = x + 1 for x += 1) avoids it".into(),
            });
            return Err(e);
        }
        Ok(t)
    }
}
