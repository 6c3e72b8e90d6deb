//! What is done to the outputs of a convolution while they are in the cache: batch norm by given statistics, ops of one
//! operand. Each is the code that the op runs by itself, value for value, so that the bits are the same.

use super::{ConvParams, forward_told};
use crate::Raw;
use crate::elementwise::{self, Lines, Unary, is_line};
use crate::norm_batch::normalized;
use crate::parallel::for_range;
use crate::room::or_stop;
use rustnn_base::layout::count;
use rustnn_base::{DType, Result, runtime_error};
use rustnn_simd::dispatch;
use std::ops::Range;

/// Values that go through all steps while they are in the first-level cache.
const PIECE: usize = 2048;
/// Values of a chunk where no convolution makes them.
const GRAIN: usize = 1 << 15;

/// What is done to each value of `[N, C, ..]` in f32.
pub enum Step<'a> {
    /// Mean, factor and what is added, by channel.
    Normalize([&'a [f32]; 3]),
    Map(Unary),
}

/// Steps in place on a tensor's values.
struct Steps<'a> {
    steps: &'a [Step<'a>],
    dst: &'a Raw<'a>,
    channels: usize,
    plane: usize,
}

impl<'a> Steps<'a> {
    fn new(steps: &'a [Step<'a>], dst: &'a Raw<'a>) -> Result<Self> {
        let [_, channels, space @ ..] = dst.shape() else {
            return Err(runtime_error!("steps on {:?}, which has no channels", dst.shape()));
        };
        let alike = |r: &Raw| r.dtype() == DType::F32 && r.is_contiguous() && r.shape() == dst.shape();
        let fits = |s: &Step| match s {
            Step::Normalize(by) => by.iter().all(|v| v.len() == *channels),
            Step::Map(_) => true,
        };
        if !alike(dst) || !steps.iter().all(fits) {
            return Err(runtime_error!("steps that do not fit {:?}", dst.shape()));
        }
        Ok(Steps { steps, dst, channels: *channels, plane: count(space) })
    }

    /// Places of some planes.
    ///
    /// # Safety
    /// They exist and are this thread's alone.
    unsafe fn apply(&self, planes: Range<usize>, places: Range<usize>) {
        let many = (PIECE / places.len().max(1)).max(1);
        dispatch(
            #[inline(always)]
            || {
                for first in planes.clone().step_by(many) {
                    for from in places.clone().step_by(PIECE) {
                        let (some, end) = (first..planes.end.min(first + many), places.end.min(from + PIECE));
                        // SAFETY: by this function's contract.
                        unsafe { self.piece(some, from..end) };
                    }
                }
            },
        );
    }

    /// All steps, an op of one operand that is a few instructions in one loop with what is before it.
    ///
    /// # Safety
    /// As [`Steps::apply`].
    #[inline(always)]
    unsafe fn piece(&self, planes: Range<usize>, places: Range<usize>) {
        let (count, len) = (planes.len(), places.len());
        let at = planes.start * self.plane + places.start;
        let here = Lines { first: self.at(at), count, len, pitch: self.plane };
        let mut rest = self.steps;
        while let [step, others @ ..] = rest {
            rest = others;
            let mut op = None;
            if let (Step::Normalize(_), [Step::Map(next), others @ ..]) = (step, others)
                && is_line(*next)
            {
                (op, rest) = (Some(*next), others);
            }
            // SAFETY: by this function's contract.
            unsafe {
                match step {
                    Step::Normalize([mean, scale, shift]) => here.turn(
                        op,
                        #[inline(always)]
                        |line| {
                            let c = (planes.start + line) % self.channels;
                            let (mean, scale, shift) = (mean[c], scale[c], shift[c]);
                            #[inline(always)]
                            move |_, v| normalized(v, mean, scale, shift)
                        },
                    ),
                    Step::Map(op) if is_line(*op) => here.map(*op),
                    Step::Map(op) => {
                        for line in 0..count {
                            let (first, size) = (self.at(at + line * self.plane), [len]);
                            let values = Raw::new(first.cast(), DType::F32, &size, &[1]);
                            or_stop(elementwise::unary(*op, &values, &values));
                        }
                    }
                }
            }
        }
    }

    /// Address of a value.
    fn at(&self, i: usize) -> *mut f32 {
        self.dst.ptr::<f32>().wrapping_add(i)
    }
}

/// As [`super::forward`] in f32, and then `steps`.
pub fn forward_then(
    input: Raw,
    weight: Raw,
    bias: Option<Raw>,
    out: Raw,
    p: &ConvParams,
    steps: &[Step],
) -> Result<()> {
    let steps = Steps::new(steps, &out)?;
    // SAFETY: outputs that exist, told of by the thread that has just written them.
    let told = |planes: Range<usize>, places: Range<usize>| unsafe { steps.apply(planes, places) };
    forward_told(input, weight, bias, out, p, if steps.steps.is_empty() { None } else { Some(&told) })
}

/// `dst`, of the shape of `src`, becomes what `steps` make of `src`.
pub fn then(src: Raw, dst: Raw, steps: &[Step]) -> Result<()> {
    let steps = Steps::new(steps, &dst)?;
    if src.dtype() != DType::F32 || !src.is_contiguous() || src.shape() != dst.shape() {
        return Err(runtime_error!("steps from {:?} to {:?}", src.shape(), dst.shape()));
    }
    let plane = steps.plane;
    for_range(count(&dst.shape()[..2]), (GRAIN / plane.max(1)).max(1), |range| {
        for i in range {
            // SAFETY: a plane of each, this chunk's alone.
            unsafe {
                let (from, to) = (src.ptr::<f32>().add(i * plane), dst.ptr::<f32>().add(i * plane));
                std::ptr::copy(from, to, plane);
                steps.apply(i..i + 1, 0..plane);
            }
        }
    });
    Ok(())
}
