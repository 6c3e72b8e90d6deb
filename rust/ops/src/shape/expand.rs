//! Broadcasting as views with zero strides.

use crate::args::{IntoRet, Ret};
use crate::registry::{METHOD, OpDef, TORCH, op};
use rustnn_core::base::layout::broadcast_shapes;
use rustnn_core::base::runtime_error;
use rustnn_core::{Dims, Result, Tensor, attach_view, grads};

/// Broadcast to `size`; -1 keeps a dimension.
pub fn expand(x: &Tensor, size: &[i64]) -> Result<Tensor> {
    if size.len() < x.ndim() {
        return Err(runtime_error!(
            "expand(torch.{}Tensor{{{:?}}}, size={size:?}): the number of sizes provided ({}) must be greater or equal to the number of dimensions in the tensor ({})",
            x.dtype().torch_name(),
            x.shape(),
            size.len(),
            x.ndim()
        ));
    }
    let lead = size.len() - x.ndim();
    let mut shape = Dims::new();
    for (i, &s) in size.iter().enumerate() {
        shape.push(match s {
            -1 if i < lead => {
                return Err(runtime_error!(
                    "The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {i}"
                ));
            }
            -1 => x.shape()[i - lead],
            s => usize::try_from(s).map_err(|_| {
                runtime_error!(
                    "The expanded size of the tensor ({s}) isn't allowed: sizes are at least 0, or -1 to keep one"
                )
            })?,
        });
    }
    expand_to(x, &shape)
}

/// Broadcast to `shape`.
pub fn expand_to(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    rustnn_core::base::layout::numel(shape)?;
    // The engine sums a gradient down to the input's shape.
    attach_view("ExpandBackward0", x.view_of(x.layout().expand(shape)?), x, |_, g| Ok(grads![g.clone()]))
}

/// All tensors broadcast against each other.
pub fn broadcast_tensors(tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut shape = Dims::new();
    for t in tensors {
        shape = broadcast_shapes(&shape, t.shape())?;
    }
    tensors.iter().map(|t| expand_to(t, &shape)).collect()
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("expand(Tensor input, int[]... size, *, bool implicit=False)", METHOD, |a| {
            expand(a.tensor(0)?, a.ints(1)?).ret()
        })
        .doc("A view broadcast to size; -1 keeps a dimension.")
        .samples(&["t(3,1), (3,4)", "t(1,4), (2,-1,4)", "t(), (2,2)", "t(0,1), (0,3)"])
        .oracle(
            "np.broadcast_to(input, tuple(s if s != -1 else input.shape[i - len(size)] for i, s in enumerate(size)))",
        ),
        op("expand_as(Tensor input, Tensor other)", METHOD, |a| expand_to(a.tensor(0)?, a.tensor(1)?.shape()).ret())
            .doc("expand(other.size()).")
            .samples(&["t(3,1), t(3,4)"])
            .oracle("np.broadcast_to(input, other.shape)"),
        op("broadcast_to(Tensor input, int[] size)", METHOD | TORCH, |a| expand(a.tensor(0)?, a.ints(1)?).ret())
            .doc("expand under NumPy's name.")
            .samples(&["t(3,1), (3,4)"])
            .oracle("np.broadcast_to(input, size)"),
        op("broadcast_tensors(Tensor[]... tensors)", TORCH, |a| Ok(Ret::Tuple(broadcast_tensors(a.tensors(0)?)?)))
            .doc("Views of all tensors, broadcast against each other.")
            .samples(&["t(3,1), t(1,4)"]),
    ]
}
