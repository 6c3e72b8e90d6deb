//! Sizes of a convolution, brought to one form: three spatial dimensions, groups apart.

use rustnn_base::layout::count;
use rustnn_base::{Result, runtime_error};

/// Stride, padding and dilation per spatial dimension, and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvParams {
    pub stride: Vec<usize>,
    pub padding: Vec<usize>,
    pub dilation: Vec<usize>,
    pub groups: usize,
}

/// One spatial dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Size of the input and of the output.
    pub input: usize,
    pub output: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub dilation: usize,
}

impl Axis {
    const ONE: Axis = Axis { input: 1, output: 1, kernel: 1, stride: 1, padding: 0, dilation: 1 };
}

/// A convolution of `batch` inputs of `groups * cin` channels to `groups * cout`.
#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    pub batch: usize,
    pub groups: usize,
    pub cin: usize,
    pub cout: usize,
    /// Depth, height, width; those a 1-d or 2-d convolution lacks have size 1.
    pub axes: [Axis; 3],
}

impl Geometry {
    /// From the shapes of input `[N, C, ..]`, weight `[O, C / groups, ..]` and output `[N, O, ..]`, checked to agree.
    pub fn new(input: &[usize], weight: &[usize], output: &[usize], p: &ConvParams) -> Result<Self> {
        let nd = input.len().wrapping_sub(2);
        let bad = || runtime_error!("convolution of input {input:?} with weight {weight:?} into {output:?}, {p:?}");
        let lens = [weight.len(), output.len(), p.stride.len() + 2, p.padding.len() + 2, p.dilation.len() + 2];
        if !(1..=3).contains(&nd) || lens.iter().any(|&l| l != nd + 2) || p.groups == 0 {
            return Err(bad());
        }
        let (batch, cin, cout) = (input[0], weight[1], weight[0] / p.groups);
        if output[0] != batch || input[1] != cin * p.groups || weight[0] != cout * p.groups || output[1] != weight[0] {
            return Err(bad());
        }
        let mut axes = [Axis::ONE; 3];
        for d in 0..nd {
            let a = Axis {
                input: input[d + 2],
                output: output[d + 2],
                kernel: weight[d + 2],
                stride: p.stride[d],
                padding: p.padding[d],
                dilation: p.dilation[d],
            };
            if a.stride == 0 || a.dilation == 0 || a.kernel == 0 {
                return Err(bad());
            }
            let reach = a.dilation.checked_mul(a.kernel - 1).and_then(|r| r.checked_add(1)).ok_or_else(bad)?;
            let padded = a.padding.checked_mul(2).and_then(|p| p.checked_add(a.input)).ok_or_else(bad)?;
            // The output may be any size up to what fits (a transposed convolution's input may be shorter).
            let most = if padded < reach { 0 } else { (padded - reach) / a.stride + 1 };
            if a.output > most {
                return Err(bad());
            }
            axes[3 - nd + d] = a;
        }
        Ok(Geometry { batch, groups: p.groups, cin, cout, axes })
    }

    /// Values of one input channel.
    #[must_use]
    pub fn in_plane(&self) -> usize {
        count(&self.axes.each_ref().map(|a| a.input))
    }
    /// Values of one output channel.
    #[must_use]
    pub fn out_plane(&self) -> usize {
        count(&self.axes.each_ref().map(|a| a.output))
    }
    /// Whether each output is made of the inputs at its own place alone.
    #[must_use]
    pub fn pointwise(&self) -> bool {
        self.axes.iter().all(|a| a.kernel == 1 && a.stride == 1 && a.padding == 0)
    }
    /// Taps of one kernel plane.
    #[must_use]
    pub fn taps(&self) -> usize {
        count(&self.axes.each_ref().map(|a| a.kernel))
    }
}
