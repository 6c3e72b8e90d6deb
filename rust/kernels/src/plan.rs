//! How a kernel walks operands of one shape: dimensions sorted so that the destination is walked in memory order,
//! neighbours merged where every operand allows, operands broadcast by zero strides. Strides are in bytes here.

use crate::Raw;
use smallvec::SmallVec;

/// One dimension of the walk: its size and every operand's step in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Axis<const N: usize> {
    pub size: usize,
    pub step: [isize; N],
}

/// The walk over `N` operands; axis 0 is the fastest. Operand 0 is the destination.
#[derive(Debug, Clone)]
pub struct Plan<const N: usize> {
    pub axes: SmallVec<[Axis<N>; 6]>,
    pub ptr: [*mut u8; N],
    pub numel: usize,
}

// SAFETY: pointers with no access of their own; each kernel says why its accesses are sound.
unsafe impl<const N: usize> Send for Plan<N> {}
// SAFETY: as above.
unsafe impl<const N: usize> Sync for Plan<N> {}

impl<const N: usize> Plan<N> {
    /// Operands 1.. are broadcast to operand 0's shape (sizes match from the last dimension back; the caller has
    /// checked that they do: a size that is neither 1 nor the destination's is read as 1).
    #[must_use]
    pub fn new(ops: [&Raw; N]) -> Self {
        let shape = ops[0].shape();
        let n = shape.len();
        let mut axes: SmallVec<[Axis<N>; 6]> = SmallVec::new();
        let mut numel = 1usize;
        for d in (0..n).rev() {
            let size = shape[d];
            numel *= size;
            if size == 1 {
                continue;
            }
            let mut step = [0isize; N];
            for (s, o) in step.iter_mut().zip(&ops) {
                let rank = o.shape().len();
                // Counted from the back; a missing or single dimension stays in place.
                if rank + d >= n && o.shape()[rank + d - n] == size {
                    *s = o.strides()[rank + d - n] * o.dtype().size() as isize;
                }
            }
            axes.push(Axis { size, step });
        }
        // Insertion sort by the destination's step, then by the next operand that tells two axes apart.
        for i in 1..axes.len() {
            let mut j = i;
            while j > 0 && Self::before(&axes[j], &axes[j - 1]) {
                axes.swap(j, j - 1);
                j -= 1;
            }
        }
        let mut merged: SmallVec<[Axis<N>; 6]> = SmallVec::new();
        for a in axes {
            match merged.last_mut() {
                Some(m) if (0..N).all(|o| a.step[o] == m.step[o].wrapping_mul(m.size as isize)) => m.size *= a.size,
                _ => merged.push(a),
            }
        }
        if merged.is_empty() {
            merged.push(Axis { size: numel, step: [0; N] });
        }
        Plan { axes: merged, ptr: ops.map(|o| o.ptr::<u8>()), numel }
    }

    fn before(a: &Axis<N>, b: &Axis<N>) -> bool {
        for o in 0..N {
            let (x, y) = (a.step[o].abs(), b.step[o].abs());
            if x != 0 && y != 0 && x != y {
                return x < y;
            }
        }
        false
    }

    /// Calls `f(pointers, n)` for every piece of a row (axis 0) within `flat` range `start..end`.
    #[inline]
    pub fn rows(&self, start: usize, end: usize, mut f: impl FnMut([*mut u8; N], usize)) {
        if start >= end {
            return;
        }
        let mut at: SmallVec<[usize; 6]> = SmallVec::new();
        let mut ptr = self.ptr;
        let mut rest = start;
        for a in &self.axes {
            let i = rest % a.size;
            rest /= a.size;
            at.push(i);
            for o in 0..N {
                ptr[o] = ptr[o].wrapping_offset(i as isize * a.step[o]);
            }
        }
        let inner = self.axes[0];
        let mut left = end - start;
        loop {
            let n = left.min(inner.size - at[0]);
            f(ptr, n);
            left -= n;
            if left == 0 {
                return;
            }
            // Back to the row's start, then one step on the next axis that has one.
            for o in 0..N {
                ptr[o] = ptr[o].wrapping_offset(-(at[0] as isize) * inner.step[o]);
            }
            at[0] = 0;
            for k in 1..self.axes.len() {
                let a = &self.axes[k];
                at[k] += 1;
                if at[k] < a.size {
                    for o in 0..N {
                        ptr[o] = ptr[o].wrapping_offset(a.step[o]);
                    }
                    break;
                }
                at[k] = 0;
                for o in 0..N {
                    ptr[o] = ptr[o].wrapping_offset(-((a.size - 1) as isize) * a.step[o]);
                }
            }
        }
    }
}
