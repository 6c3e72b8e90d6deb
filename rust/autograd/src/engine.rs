//! Backward: dependencies counted first, then nodes run latest first, each when all its gradients are in.
//!
//! Everything is iterative; a graph's depth costs heap, never stack. Gradients are freed as soon as they were used, and
//! saved values too unless the graph is retained.

use rustnn_core::base::{Result, index_error, runtime_error};
use rustnn_core::graph::{self, Ctx, Edge, Grads, Node, OutInfo, Work};
use rustnn_core::mode::{self, WalkGuard};
use rustnn_core::profile::{self, Input, Kind, Span};
use rustnn_core::{DType, Tensor, caught, check_interrupt};
use rustnn_ops::basic;
use smallvec::SmallVec;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// How a backward pass is run.
#[derive(Default)]
pub struct Options {
    /// Keep saved values, so that the graph can be walked again.
    pub retain_graph: bool,
    /// Record the backward pass itself.
    pub create_graph: bool,
    /// Add into the leaves' `grad`; else only return gradients of `inputs`.
    pub accumulate: bool,
    /// The tensors whose gradients are asked for; `None` means every leaf.
    pub inputs: Option<Vec<Tensor>>,
    /// Return `None` for inputs that were not used, instead of an error.
    pub allow_unused: bool,
}

/// Node addresses are well spread already: one multiplication will do.
#[derive(Default)]
struct PtrHasher(u64);
impl Hasher for PtrHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.0 = (self.0 ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    fn write_usize(&mut self, v: usize) {
        self.0 = (v as u64 >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// What is known of a node during one pass.
struct State {
    node: Arc<Node>,
    /// Gradients still to come.
    pending: u32,
    /// Whether running it leads to something asked for.
    needed: bool,
    grads: SmallVec<[Option<Tensor>; 1]>,
}

type States = HashMap<usize, State, BuildHasherDefault<PtrHasher>>;

fn key(n: &Arc<Node>) -> usize {
    Arc::as_ptr(n) as usize
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Ready(u64, usize);

/// Gradients of `roots` (weighted by `grads`; `None` means one, for scalars) with respect to the leaves or to
/// `options.inputs`, whose gradients are returned in order.
pub fn backward(roots: &[Tensor], grads: &[Option<Tensor>], options: &Options) -> Result<Vec<Option<Tensor>>> {
    caught(|| walk(roots, grads, options))
}

fn walk(roots: &[Tensor], grads: &[Option<Tensor>], options: &Options) -> Result<Vec<Option<Tensor>>> {
    let mut seeds: Vec<(Edge, Tensor)> = Vec::with_capacity(roots.len());
    for (i, root) in roots.iter().enumerate() {
        let Some(edge) = graph::edge_of(root) else {
            return Err(runtime_error!("element {i} of tensors does not require grad and does not have a grad_fn")
                .hint(
                    "no input of this computation has requires_grad=True, or it ran under no_grad() or after detach()",
                ));
        };
        seeds.push((edge, seed(root, grads.get(i).and_then(Option::as_ref), options.create_graph)?));
    }
    let _mode = WalkGuard::new(options.create_graph);
    let captures = capture_edges(options)?;
    let mut states = explore(&seeds);
    mark_needed(&mut states, &captures, options);

    let mut found: Vec<Option<Tensor>> = vec![None; captures.len()];
    let mut ready: BinaryHeap<Ready> = BinaryHeap::new();
    let mut roots_seen: SmallVec<[usize; 4]> = SmallVec::new();
    for (edge, grad) in seeds {
        let k = key(&edge.node);
        add_grad(&mut states, &edge, grad)?;
        if !roots_seen.contains(&k) {
            roots_seen.push(k);
            if states.get(&k).is_some_and(|s| s.pending == 0) {
                ready.push(Ready(edge.node.seq(), k));
            }
        }
    }
    let mut steps = 0u32;
    while let Some(Ready(_, k)) = ready.pop() {
        steps = steps.wrapping_add(1);
        if steps % 256 == 0 {
            check_interrupt()?;
        }
        let Some(state) = states.remove(&k) else { continue };
        let State { node, needed, mut grads, .. } = state;
        let _whole = profile::on().then(|| evaluation(&node));
        before(&node, &mut grads)?;
        for (slot, capture) in found.iter_mut().zip(&captures) {
            if let Some(e) = capture.as_ref().filter(|e| key(&e.node) == k) {
                *slot = grads.get(e.index).cloned().flatten();
            }
        }
        let inputs = if needed { run_node(&node, grads, &states, &captures, options)? } else { Grads::new() };
        for (i, next) in node.next().iter().enumerate() {
            let Some(edge) = next else { continue };
            if let Some(Some(g)) = inputs.get(i)
                && states.get(&key(&edge.node)).is_some_and(|s| s.needed || is_captured(&captures, edge))
            {
                let g = conform(g, &edge.node.outs()[edge.index], &node, i)?;
                add_grad(&mut states, edge, g)?;
            }
            if let Some(s) = states.get_mut(&key(&edge.node)) {
                s.pending -= 1;
                if s.pending == 0 {
                    ready.push(Ready(s.node.seq(), key(&edge.node)));
                }
            }
        }
    }
    finish(found, options)
}

fn is_captured(captures: &[Option<Edge>], edge: &Edge) -> bool {
    captures.iter().flatten().any(|c| Arc::ptr_eq(&c.node, &edge.node))
}

fn finish(found: Vec<Option<Tensor>>, options: &Options) -> Result<Vec<Option<Tensor>>> {
    if !options.accumulate && !options.allow_unused && found.iter().any(Option::is_none) {
        return Err(runtime_error!(
            "One of the differentiated Tensors appears to not have been used in the graph. Set allow_unused=True if this is the desired behavior."
        ));
    }
    Ok(found)
}

/// The gradient that a root starts with.
fn seed(root: &Tensor, grad: Option<&Tensor>, create_graph: bool) -> Result<Tensor> {
    let Some(g) = grad else {
        if root.numel() != 1 {
            return Err(runtime_error!("grad can be implicitly created only for scalar outputs").hint(format!(
                "this tensor has shape {:?}: reduce it with .sum() or .mean(), or pass gradient= of that shape",
                root.shape()
            )));
        }
        return Tensor::ones(root.shape(), root.dtype());
    };
    if g.shape() != root.shape() {
        return Err(runtime_error!(
            "Mismatch in shape: grad_output[0] has a shape of {:?} and output[0] has a shape of {:?}.",
            g.shape(),
            root.shape()
        ));
    }
    basic::to_dtype(&if create_graph { g.clone() } else { g.detach() }, root.dtype())
}

fn capture_edges(options: &Options) -> Result<Vec<Option<Edge>>> {
    let Some(inputs) = &options.inputs else { return Ok(Vec::new()) };
    inputs
        .iter()
        .map(|t| {
            if !t.requires_grad() {
                return Err(runtime_error!("One of the differentiated Tensors does not require grad"));
            }
            if options.accumulate && t.meta().is_some_and(|m| m.has_edge()) {
                crate::hooks::retain_grad(t)?;
            }
            Ok(graph::edge_of(t))
        })
        .collect()
}

/// Finds every node that can be reached and counts the gradients each will get.
fn explore(seeds: &[(Edge, Tensor)]) -> States {
    let mut states = States::default();
    let mut stack: Vec<Arc<Node>> = Vec::new();
    let enter = |states: &mut States, stack: &mut Vec<Arc<Node>>, node: &Arc<Node>, count: u32| {
        let s = states.entry(key(node)).or_insert_with(|| {
            stack.push(node.clone());
            State { node: node.clone(), pending: 0, needed: true, grads: SmallVec::from_elem(None, node.outs().len()) }
        });
        s.pending += count;
    };
    for (edge, _) in seeds {
        enter(&mut states, &mut stack, &edge.node, 0);
    }
    while let Some(node) = stack.pop() {
        for edge in node.next().iter().flatten() {
            enter(&mut states, &mut stack, &edge.node, 1);
        }
    }
    states
}

/// With inputs given, only nodes on a way to one of them run.
fn mark_needed(states: &mut States, captures: &[Option<Edge>], options: &Options) {
    if options.inputs.is_none() {
        return;
    }
    let captured: SmallVec<[usize; 4]> = captures.iter().flatten().map(|e| key(&e.node)).collect();
    let rank = |n: &Node| if matches!(n.work(), Work::Accumulate(_)) { 0 } else { n.seq() };
    let mut order: Vec<(u64, usize)> = states.iter().map(|(&k, s)| (rank(&s.node), k)).collect();
    order.sort_unstable();
    for (_, k) in order {
        let Some(s) = states.get(&k) else { continue };
        let needed = match s.node.work() {
            Work::Accumulate(_) => options.accumulate && captured.contains(&k),
            Work::Op(_) => s.node.next().iter().flatten().any(|e| {
                let to = key(&e.node);
                captured.contains(&to) || states.get(&to).is_some_and(|t| t.needed)
            }),
        };
        if let Some(s) = states.get_mut(&k) {
            s.needed = needed;
        }
    }
}

/// Hooks on gradients of the node's outputs, and kept gradients.
fn before(node: &Arc<Node>, grads: &mut SmallVec<[Option<Tensor>; 1]>) -> Result<()> {
    if let Work::Accumulate(leaf) = node.work() {
        let hooks = leaf.meta().map(|m| m.with(|s| s.hooks.clone())).unwrap_or_default();
        for (_, hook) in hooks {
            if let Some(Some(g)) = grads.first()
                && let Some(new) = hook(g)?
            {
                grads[0] = Some(same_size(g, new)?);
            }
        }
    }
    let Some(hooks) = node.hooks() else { return Ok(()) };
    let (tensor, retain, pre) = {
        let h = hooks.lock();
        (h.tensor.clone(), h.retain.clone(), h.pre.clone())
    };
    for (index, _, hook) in tensor {
        if let Some(Some(g)) = grads.get(index)
            && let Some(new) = hook(g)?
        {
            grads[index] = Some(same_size(g, new)?);
        }
    }
    for (_, hook) in pre {
        if let Some(new) = hook(grads, &[])? {
            if new.len() != grads.len() {
                return Err(runtime_error!(
                    "hook has returned an incorrect number of values (got {}, but expected {})",
                    new.len(),
                    grads.len()
                ));
            }
            *grads = new.into_iter().collect();
        }
    }
    for (index, meta) in retain {
        if let Some(Some(g)) = grads.get(index) {
            keep(&meta, g.clone())?;
        }
    }
    Ok(())
}

/// What a hook returned in the place of `g`, if it can stand there.
fn same_size(g: &Tensor, new: Tensor) -> Result<Tensor> {
    if new.shape() != g.shape() {
        return Err(runtime_error!("hook has changed the size of value").hint(format!(
            "it was given a gradient of shape {:?} and returned one of {:?}",
            g.shape(),
            new.shape()
        )));
    }
    basic::to_dtype(&new, g.dtype())
}

/// Adds a gradient into a tensor's `grad`.
fn keep(meta: &Arc<rustnn_core::meta::Meta>, g: Tensor) -> Result<()> {
    let Some(old) = meta.grad() else {
        // What is kept may be written: it is a tensor of its own, not an expanded number or somebody's buffer.
        let own = if mode::grad_enabled() || (g.is_unshared() && g.layout().is_dense()) { g } else { g.copied()? };
        meta.set_grad(Some(own));
        return Ok(());
    };
    let sum = if mode::grad_enabled() {
        basic::add(&old, &g)?
    } else {
        basic::add_into(&old, &g)?;
        old
    };
    meta.set_grad(Some(sum));
    Ok(())
}

/// A node's work and what the engine does around it, for the profiler.
#[cold]
fn evaluation(node: &Node) -> Span {
    let name = match node.work() {
        Work::Accumulate(_) => format!("torch::autograd::{}", node.name()),
        Work::Op(_) => node.name().to_owned(),
    };
    Span::begin(Kind::Op, "autograd::engine::evaluate_function: ", name, sequence(node), Vec::new, None)
}

/// A node's work itself, for the profiler.
#[cold]
fn application(node: &Node, grads: &[Option<Tensor>]) -> Span {
    let prefix = if matches!(node.work(), Work::Accumulate(_)) { "torch::autograd::" } else { "" };
    let inputs = || grads.iter().map(|g| g.as_ref().map_or(Input::Other, Input::tensor)).collect();
    Span::begin(Kind::Backward, prefix, node.name(), sequence(node), inputs, None)
}

fn sequence(node: &Node) -> Option<u64> {
    matches!(node.work(), Work::Op(_)).then(|| node.seq())
}

fn run_node(
    node: &Arc<Node>,
    grads: SmallVec<[Option<Tensor>; 1]>,
    states: &States,
    captures: &[Option<Edge>],
    options: &Options,
) -> Result<Grads> {
    let _own = profile::on().then(|| application(node, &grads));
    let work = match node.work() {
        Work::Accumulate(leaf) => {
            if options.accumulate
                && let Some(Some(g)) = grads.into_iter().next()
            {
                accumulate(leaf, g)?;
            }
            return Ok(Grads::new());
        }
        Work::Op(slot) => {
            let mut slot = slot.lock();
            if options.retain_graph || options.create_graph { slot.clone() } else { slot.take() }
        }
    };
    let Some(work) = work else {
        return Err(runtime_error!(
            "Trying to backward through the graph a second time (or directly access saved tensors after they have already been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify retain_graph=True if you need to backward through the graph a second time or if you need to access saved tensors after calling backward."
        )
        .hint(format!(
            "the values of {} are gone; in a training loop this often means that a tensor of the last step was kept without detach()",
            node.name()
        )));
    };
    if grads.iter().all(Option::is_none) {
        return Ok(Grads::new());
    }
    let needed: SmallVec<[bool; 4]> = node
        .next()
        .iter()
        .map(|e| {
            e.as_ref().is_some_and(|e| states.get(&key(&e.node)).is_some_and(|s| s.needed) || is_captured(captures, e))
        })
        .collect();
    let ctx = Ctx { node, needed: &needed };
    let mut out = work.apply(&ctx, &grads).map_err(|e| match node.trace() {
        Some(at) => e.hint(format!("the forward call was made here:\n{at}")),
        None => e,
    })?;
    if mode::anomaly() {
        check_nan(node, &out)?;
    }
    let post = node.hooks().map(|h| h.lock().post.clone()).unwrap_or_default();
    for (_, hook) in post {
        if let Some(new) = hook(&out, &grads)? {
            if new.len() != out.len() {
                return Err(runtime_error!(
                    "hook has returned an incorrect number of values (got {}, but expected {})",
                    new.len(),
                    out.len()
                ));
            }
            out = new.into_iter().collect();
        }
    }
    Ok(out)
}

fn check_nan(node: &Node, grads: &Grads) -> Result<()> {
    for (i, g) in grads.iter().enumerate() {
        let Some(g) = g else { continue };
        let v = g.copied_as(DType::F64)?.to_contiguous()?;
        if v.slice::<f64>()?.iter().any(|x| x.is_nan()) {
            let e = runtime_error!("Function '{}' returned nan values in its {i}th output.", node.name());
            return Err(match node.trace() {
                Some(at) => e.hint(format!("the forward call was made here:\n{at}")),
                None => e,
            });
        }
    }
    Ok(())
}

/// Adds `g` into a leaf's `grad`; the first one is taken over without a copy when nobody else holds it.
fn accumulate(leaf: &Tensor, g: Tensor) -> Result<()> {
    let meta = leaf.meta_or_new();
    if let Some(old) = meta.grad() {
        if mode::grad_enabled() {
            meta.set_grad(Some(basic::add(&old, &g)?));
        } else {
            basic::add_into(&old, &g)?;
        }
    } else if mode::grad_enabled() {
        meta.set_grad(Some(g));
    } else {
        let own = if g.is_unshared() && g.strides() == leaf.strides() && g.offset() == 0 {
            g
        } else if leaf.layout().is_dense() {
            let fresh = leaf.empty_like_as(g.dtype())?;
            rustnn_ops::basic::copy_into(&fresh, &g)?;
            fresh
        } else {
            g.detach().copied()?
        };
        meta.set_grad(Some(own));
    }
    let hooks = meta.with(|s| s.post_hooks.clone());
    for (_, hook) in hooks {
        hook(leaf)?;
    }
    Ok(())
}

/// Brings a gradient to the shape and dtype of what it is the gradient of.
fn conform(g: &Tensor, want: &OutInfo, node: &Node, i: usize) -> Result<Tensor> {
    let mut g = g.clone();
    if g.shape() != &want.shape[..] {
        let fits =
            rustnn_core::base::layout::broadcast_shapes(g.shape(), &want.shape).is_ok_and(|s| s[..] == *g.shape());
        if !fits {
            return Err(runtime_error!(
                "Function {} returned an invalid gradient at index {i} - got {:?} but expected shape compatible with {:?}",
                node.name(),
                g.shape(),
                &want.shape[..]
            ));
        }
        g = basic::sum_to(&g, &want.shape)?;
    }
    basic::to_dtype(&g, want.dtype)
}

/// Adds a gradient into the buffer of the node it goes to.
fn add_grad(states: &mut States, edge: &Edge, g: Tensor) -> Result<()> {
    let Some(s) = states.get_mut(&key(&edge.node)) else { return Ok(()) };
    let Some(slot) = s.grads.get_mut(edge.index) else {
        return Err(index_error!("{} has no output {}", edge.node.name(), edge.index));
    };
    *slot = Some(match slot.take() {
        None => g,
        Some(old) if !mode::grad_enabled() && old.is_unshared() && old.is_contiguous() => {
            basic::add_into(&old, &g)?;
            old
        }
        Some(old) => basic::add(&old, &g)?,
    });
    Ok(())
}
