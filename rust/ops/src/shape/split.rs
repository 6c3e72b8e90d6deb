//! A tensor cut into views along a dimension. The views of one cut have one node, whose gradient is a concatenation.

use crate::args::{Arg, Ret};
use crate::registry::{METHOD, OpDef, TORCH, op};
use rustnn_core::base::layout::wrap_dim;
use rustnn_core::base::{index_error, runtime_error};
use rustnn_core::{Dims, Result, Tensor, attach_many, grads, graph, needs_grad};
use rustnn_kernels::room;

const FROZEN: &str = "was created as one of several outputs of a function";

fn dim_of(x: &Tensor, dim: i64, op: &str) -> Result<usize> {
    if x.ndim() == 0 {
        return Err(runtime_error!("{op} expects at least a 1-dimensional tensor"));
    }
    wrap_dim(dim, x.ndim())
}

/// Room for that many tensors, and memory for what each of them is made of.
fn room_for_pieces(count: usize) -> Result<Vec<Tensor>> {
    /// What a view takes: tensor, layout and place in the graph, the object in Python.
    type Piece = [u8; 512];
    drop(room::with_capacity::<Piece>(count)?);
    room::with_capacity(count)
}

/// Views of consecutive pieces with these sizes.
pub fn pieces(name: &'static str, x: &Tensor, d: usize, sizes: Vec<usize>) -> Result<Vec<Tensor>> {
    let mut start = 0;
    let mut outs = room_for_pieces(sizes.len())?;
    for &n in &sizes {
        outs.push(x.view_of(x.layout().slice(d, start, n, 1)));
        start += n;
    }
    if needs_grad(&[x]) && x.dtype().is_float() {
        let shape = Dims::from_slice(x.shape());
        let dtype = x.dtype();
        outs = attach_many(name, outs, &[x], move |_, gs| {
            let parts = gs.iter().zip(&sizes).map(|(g, &n)| match g {
                Some(g) => Ok(g.clone()),
                None => {
                    let mut s = shape.clone();
                    s[d] = n;
                    Tensor::zeros(&s, dtype)
                }
            });
            let parts = parts.collect::<Result<Vec<_>>>()?;
            let covered: usize = sizes.iter().sum();
            let g = super::join::cat(&parts, d as i64)?;
            if covered == shape[d] {
                return Ok(grads![g]);
            }
            Ok(grads![super::unpart(name, &g, &shape, move |l: &rustnn_core::Layout| l.slice(d, 0, covered, 1))?])
        })?;
    }
    let frozen = (outs.len() > 1).then_some(FROZEN);
    for o in &mut outs {
        graph::mark_view(o, x, frozen);
    }
    Ok(outs)
}

/// Pieces of `size` (the last one shorter).
pub fn split(x: &Tensor, size: i64, dim: i64) -> Result<Vec<Tensor>> {
    let d = dim_of(x, dim, "split")?;
    let n = x.shape()[d];
    if size < 0 {
        return Err(runtime_error!("split expects split_size be non-negative, but got split_size={size}"));
    }
    if size == 0 && n > 0 {
        return Err(runtime_error!("split_size can only be 0 if dimension size is 0, but got dimension size of {n}"));
    }
    let size = size as usize;
    let count = if size == 0 { 1 } else { n.div_ceil(size).max(1) };
    let sizes = room::collected((0..count).map(|i| size.min(n - i * size)))?;
    pieces("SplitBackward0", x, d, sizes)
}

/// Pieces of given sizes.
pub fn split_with_sizes(x: &Tensor, sizes: &[i64], dim: i64) -> Result<Vec<Tensor>> {
    let d = dim_of(x, dim, "split_with_sizes")?;
    if sizes.iter().any(|&s| s < 0) {
        return Err(runtime_error!(
            "split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes={sizes:?}"
        ));
    }
    if sizes.iter().map(|&s| i128::from(s)).sum::<i128>() != x.shape()[d] as i128 {
        return Err(runtime_error!(
            "split_with_sizes expects split_sizes to sum exactly to {} (input tensor's size at dimension {d}), but got split_sizes={sizes:?}",
            x.shape()[d]
        ));
    }
    pieces("SplitWithSizesBackward0", x, d, sizes.iter().map(|&s| s as usize).collect())
}

/// At most `chunks` pieces of equal size (the last one shorter).
pub fn chunk(x: &Tensor, chunks: i64, dim: i64) -> Result<Vec<Tensor>> {
    let d = dim_of(x, dim, "chunk")?;
    if chunks <= 0 {
        return Err(runtime_error!("chunk expects `chunks` to be greater than 0, got: {chunks}"));
    }
    let n = x.shape()[d];
    if n == 0 {
        return pieces("SplitWithSizesBackward0", x, d, room::filled(chunks as usize, 0)?);
    }
    split(x, n.div_ceil(chunks as usize) as i64, dim)
}

/// Cut into sections as equal as can be, or at given places.
pub fn tensor_split(x: &Tensor, sections: Option<i64>, indices: &[i64], dim: i64) -> Result<Vec<Tensor>> {
    if x.ndim() == 0 {
        return Err(runtime_error!(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"
        ));
    }
    let d = wrap_dim(dim, x.ndim())?;
    let n = x.shape()[d];
    let cuts: Vec<usize> = match sections {
        Some(s) if s <= 0 => return Err(runtime_error!("number of sections must be larger than 0, got {s}")),
        Some(s) => {
            let s = s as usize;
            room::collected((0..=s).map(|i| i * (n / s) + i.min(n % s)))?
        }
        None => {
            let place = |&i: &i64| if i < 0 { i.saturating_add(n as i64).max(0) as usize } else { (i as usize).min(n) };
            std::iter::once(0).chain(indices.iter().map(place)).chain(std::iter::once(n)).collect()
        }
    };
    if cuts.windows(2).all(|w| w[0] <= w[1]) {
        return pieces("SplitWithSizesBackward0", x, d, cuts.windows(2).map(|w| w[1] - w[0]).collect());
    }
    // Places out of order: pieces are slices of their own, empty where they end before they begin.
    cuts.windows(2).map(|w| super::select::slice(x, d, w[0].min(n), w[1].saturating_sub(w[0]), 1)).collect()
}

/// The slices along `dim`, without it.
pub fn unbind(x: &Tensor, dim: i64) -> Result<Vec<Tensor>> {
    if x.ndim() == 0 {
        return Err(index_error!("Dimension specified as {dim} but tensor has no dimensions"));
    }
    let d = wrap_dim(dim, x.ndim())?;
    let mut outs = room_for_pieces(x.shape()[d])?;
    outs.extend((0..x.shape()[d]).map(|i| x.view_of(x.layout().select(d, i))));
    if needs_grad(&[x]) && x.dtype().is_float() && !outs.is_empty() {
        let mut shape = Dims::from_slice(x.shape());
        shape.remove(d);
        let dtype = x.dtype();
        outs = attach_many("UnbindBackward0", outs, &[x], move |_, gs| {
            let parts = gs.iter().map(|g| g.clone().map_or_else(|| Tensor::zeros(&shape, dtype), Ok));
            Ok(grads![super::join::stack(&parts.collect::<Result<Vec<_>>>()?, d as i64)?])
        })?;
    }
    for o in &mut outs {
        graph::mark_view(o, x, Some(FROZEN));
    }
    Ok(outs)
}

/// NumPy's hsplit (0), vsplit (1), dsplit (2).
fn nsplit(a: &crate::Args, which: usize) -> Result<Ret> {
    let x = a.tensor(0)?;
    let (name, need) = [("hsplit", 1), ("vsplit", 2), ("dsplit", 3)][which];
    if x.ndim() < need {
        return Err(runtime_error!(
            "torch.{name} requires a tensor with at least {need} dimension{}, but got a tensor with {} dimensions!",
            if need == 1 { "" } else { "s" },
            x.ndim()
        ));
    }
    let dim = match (which, x.ndim()) {
        (0, 1) => 0,
        (0, _) => 1,
        (1, _) => 0,
        _ => 2,
    };
    match a.arg(1) {
        Arg::Int(n) => {
            let size = x.shape()[dim as usize];
            if *n <= 0 || size % *n as usize != 0 {
                return Err(runtime_error!(
                    "torch.{name} attempted to split along dimension {dim}, but the size of the dimension {size} is not divisible by the split_size {n}!"
                ));
            }
            tensor_split(x, Some(*n), &[], dim)
        }
        _ => tensor_split(x, None, a.ints(1)?, dim),
    }
    .map(Ret::Tuple)
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("split(Tensor tensor, int|int[] split_size_or_sections, int dim=0)", METHOD | TORCH, |a| {
            match a.arg(1) {
                Arg::Int(n) => split(a.tensor(0)?, *n, a.int(2)?),
                _ => split_with_sizes(a.tensor(0)?, a.ints(1)?, a.int(2)?),
            }
            .map(Ret::Tuple)
        })
        .doc("Views of consecutive pieces along dim: of one size (the last may be smaller), or of given sizes.")
        .samples(&["t(5,2), 2", "t(2,5), [1,4], 1", "t(4), 2, -1"]),
        op("split(Tensor tensor, int|int[] split_size, int dim=0)", METHOD, |a| {
            match a.arg(1) {
                Arg::Int(n) => split(a.tensor(0)?, *n, a.int(2)?),
                _ => split_with_sizes(a.tensor(0)?, a.ints(1)?, a.int(2)?),
            }
            .map(Ret::Tuple)
        }),
        op("split_with_sizes(Tensor input, int[] split_sizes, int dim=0)", METHOD | TORCH, |a| {
            split_with_sizes(a.tensor(0)?, a.ints(1)?, a.int(2)?).map(Ret::Tuple)
        })
        .doc("Views of consecutive pieces of given sizes along dim.")
        .samples(&["t(5,2), [2,3]"]),
        op("chunk(Tensor input, int chunks, int dim=0)", METHOD | TORCH, |a| {
            chunk(a.tensor(0)?, a.int(1)?, a.int(2)?).map(Ret::Tuple)
        })
        .doc("At most chunks views of equal size (the last may be smaller) along dim.")
        .samples(&["t(5,2), 2", "t(2,6), 3, 1", "t(0,2), 2"]),
        op("tensor_split(Tensor input, int|int[]|Tensor indices_or_sections, int dim=0)", METHOD | TORCH, |a| {
            let x = a.tensor(0)?;
            match a.arg(1) {
                Arg::Int(n) => tensor_split(x, Some(*n), &[], a.int(2)?),
                Arg::Tensor(t) if t.ndim() == 0 => tensor_split(x, Some(t.item()?.to_i64()), &[], a.int(2)?),
                Arg::Tensor(t) => tensor_split(x, None, t.to_contiguous()?.slice::<i64>()?, a.int(2)?),
                _ => tensor_split(x, None, a.ints(1)?, a.int(2)?),
            }
            .map(Ret::Tuple)
        })
        .doc("Views of sections along dim: a number of them as equal as can be, or cut at given places.")
        .samples(&["t(7,2), 3", "t(7), [2,5]", "t(2,3), 2, 1"]),
        op("tensor_split(Tensor input, int sections, int dim=0)", METHOD | TORCH, |a| {
            tensor_split(a.tensor(0)?, Some(a.int(1)?), &[], a.int(2)?).map(Ret::Tuple)
        })
        .samples(&["t(7,2), sections=3"]),
        op("tensor_split(Tensor input, int[] indices, int dim=0)", METHOD | TORCH, |a| {
            tensor_split(a.tensor(0)?, None, a.ints(1)?, a.int(2)?).map(Ret::Tuple)
        })
        .samples(&["t(7,2), indices=(2,5)"]),
        op("hsplit(Tensor input, int|int[] indices_or_sections)", METHOD | TORCH, |a| nsplit(a, 0))
            .doc("tensor_split along dimension 1 (0 for vectors).")
            .samples(&["t(2,4), 2"]),
        op("hsplit(Tensor input, int sections)", METHOD | TORCH, |a| nsplit(a, 0)).samples(&["t(2,4), sections=2"]),
        op("hsplit(Tensor input, int[] indices)", METHOD | TORCH, |a| nsplit(a, 0)).samples(&["t(2,4), indices=(1,)"]),
        op("vsplit(Tensor input, int|int[] indices_or_sections)", METHOD | TORCH, |a| nsplit(a, 1))
            .doc("tensor_split along dimension 0.")
            .samples(&["t(4,2), 2"]),
        op("vsplit(Tensor input, int sections)", METHOD | TORCH, |a| nsplit(a, 1)).samples(&["t(4,2), sections=2"]),
        op("vsplit(Tensor input, int[] indices)", METHOD | TORCH, |a| nsplit(a, 1)).samples(&["t(4,2), indices=(1,)"]),
        op("dsplit(Tensor input, int|int[] indices_or_sections)", METHOD | TORCH, |a| nsplit(a, 2))
            .doc("tensor_split along dimension 2.")
            .samples(&["t(2,2,4), [1,3]"]),
        op("dsplit(Tensor input, int sections)", METHOD | TORCH, |a| nsplit(a, 2)).samples(&["t(2,2,4), sections=2"]),
        op("dsplit(Tensor input, int[] indices)", METHOD | TORCH, |a| nsplit(a, 2))
            .samples(&["t(2,2,4), indices=(1,)"]),
        op("unbind(Tensor input, int dim=0)", METHOD | TORCH, |a| unbind(a.tensor(0)?, a.int(1)?).map(Ret::Tuple))
            .doc("Views of the slices along dim.")
            .samples(&["t(3,2)", "t(2,3), -1"]),
        op("unsafe_chunk(Tensor input, int chunks, int dim=0)", METHOD | TORCH, |a| {
            chunk(a.tensor(0)?, a.int(1)?, a.int(2)?).map(Ret::Tuple)
        }),
        op("unsafe_split(Tensor tensor, int split_size, int dim=0)", METHOD | TORCH, |a| {
            split(a.tensor(0)?, a.int(1)?, a.int(2)?).map(Ret::Tuple)
        }),
    ]
}
