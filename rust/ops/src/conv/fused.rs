//! Convolutions that wait for what follows them, so that each output is finished while it is in the cache (see
//! [`rustnn_core::later`]).
//!
//! What may follow is a batch norm by running statistics and ops of one operand. They do to each value what they do by
//! themselves, with the same code and in the same order, so the results are the same to the bit. A value in between is
//! written only if a tensor still shows it when the work is done. A sum with another tensor is left to itself: read in the
//! order that a product finishes its tiles in, that tensor came slower than in one pass of its own.

use rustnn_core::{DType, Dims, Layout, Result, Storage, Tensor, WeakStorage, dest, later, needs_grad};
use rustnn_kernels::conv::{ConvParams, steps};
use rustnn_kernels::elementwise::Unary;
use smallvec::SmallVec;

/// Fewer outputs than this are made at once.
const FEW: usize = 4096;
/// What is done to each value.
enum Step {
    Nothing,
    /// Mean, factor and what is added, by channel.
    Normalize([Vec<f32>; 3]),
    Map(Unary),
}

/// A step and where the values behind it go.
struct Stage {
    step: Step,
    to: WeakStorage,
}

/// A convolution of `x` and what follows it.
struct Waiting {
    x: Tensor,
    w: Tensor,
    bias: Option<Tensor>,
    constant: bool,
    p: ConvParams,
    shape: Dims,
    stages: Vec<Stage>,
}

/// Steps as the kernels take them.
fn steps(stages: &[Stage]) -> SmallVec<[steps::Step<'_>; 4]> {
    fn step(s: &Stage) -> Option<steps::Step<'_>> {
        Some(match &s.step {
            Step::Nothing => return None,
            Step::Normalize([mean, scale, shift]) => steps::Step::Normalize([mean, scale, shift]),
            Step::Map(op) => steps::Step::Map(*op),
        })
    }
    stages.iter().filter_map(step).collect()
}

impl later::Work for Waiting {
    fn run(&mut self) -> Result<()> {
        let blocks: Vec<Option<Storage>> = self.stages.iter().map(|s| s.to.upgrade()).collect();
        // Of a block that is written in place only the last value is seen.
        let last = |i: usize| {
            let here = blocks[i].as_ref()?;
            let again = blocks.get(i + 1).is_some_and(|b| b.as_ref().is_some_and(|b| b.same(here)));
            (!again).then_some(here)
        };
        let mut before: Option<(usize, Tensor)> = None;
        for (i, block) in (0..blocks.len()).filter_map(|i| last(i).map(|b| (i, b))) {
            block.provide()?;
            let dst = Tensor::from_storage(block.clone(), Layout::contiguous(&self.shape), DType::F32)?;
            if let Some((done, src)) = &before {
                steps::then(src.raw(), dst.raw(), &steps(&self.stages[done + 1..=i]))?;
            } else {
                let (x, w) = (self.x.raw_to_read(), self.w.raw_to_read());
                let w = if self.constant { w.kept(self.w.storage().keep()) } else { w };
                let bias = self.bias.as_ref().map(Tensor::raw_to_read);
                steps::forward_then(x, w, bias, dst.raw(), &self.p, &steps(&self.stages[..=i]))?;
            }
            before = Some((i, dst));
        }
        Ok(())
    }
}

/// The convolution as a tensor whose values wait, or `None` where they should be made at once.
pub(super) fn wait(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    p: &ConvParams,
    shape: &[usize],
) -> Result<Option<Tensor>> {
    if !later::may_wait() || x.dtype() != DType::F32 || shape.iter().product::<usize>() < FEW {
        return Ok(None);
    }
    let operands = [Some(x), Some(w), bias];
    let operands = || operands.iter().flatten().copied();
    let fits = |t: &Tensor| t.is_contiguous() && t.storage().is_own() && !needs_grad(&[t]);
    if !operands().all(fits) {
        return Ok(None);
    }
    let out = Tensor::promised(shape, DType::F32);
    let work = Waiting {
        x: x.detach(),
        w: w.detach(),
        bias: bias.map(Tensor::detach),
        constant: w.constant(),
        p: p.clone(),
        shape: shape.into(),
        stages: vec![Stage { step: Step::Nothing, to: out.storage().downgrade() }],
    };
    let sources: Vec<&Storage> = operands().map(Tensor::storage).collect();
    if let Some(mut work) = later::put(work, &sources, out.storage())? {
        later::Work::run(&mut work)?;
    }
    Ok(Some(out))
}

/// Whether `x` is what a convolution of this thread will write last, as far as can be told without a lock.
#[inline]
fn waits(x: &Tensor) -> bool {
    x.storage().waits().is_some_and(|w| w.writes()) && x.dtype() == DType::F32
}

/// Adds a step to what `x` waits for; its values go to `x` itself if that is the destination on offer, or to a fresh tensor.
#[inline(never)]
fn follow(x: &Tensor, step: Step) -> Result<Option<Tensor>> {
    let here = dest::offered();
    if here && !dest::is(x) {
        return Ok(None);
    }
    let out = if here { x.clone() } else { Tensor::promised(x.shape(), DType::F32) };
    let added = later::extend(x.storage(), out.storage(), |w: &mut Waiting| {
        let end = w.stages.last().and_then(|s| s.to.upgrade()).is_some_and(|s| s.same(x.storage()));
        if !end || x.shape() != &w.shape[..] || !x.is_contiguous() || x.offset() != 0 {
            return None;
        }
        w.stages.push(Stage { step, to: out.storage().downgrade() });
        Some(())
    });
    if added.is_none() {
        return Ok(None);
    }
    if here {
        let _ = dest::take(x.shape(), DType::F32);
    }
    Ok(Some(out))
}

/// Batch norm of a waiting `x` by channel: mean, factor, what is added.
pub(crate) fn normalize(x: &Tensor, factors: impl FnOnce() -> Result<[Vec<f32>; 3]>) -> Result<Option<Tensor>> {
    if waits(x) && later::may_wait() { follow(x, Step::Normalize(factors()?)) } else { Ok(None) }
}

/// An op of one operand on a waiting `x`.
#[inline]
pub(crate) fn map(op: Unary, x: &Tensor, dtype: DType) -> Result<Option<Tensor>> {
    if waits(x) && dtype == DType::F32 { follow(x, Step::Map(op)) } else { Ok(None) }
}
