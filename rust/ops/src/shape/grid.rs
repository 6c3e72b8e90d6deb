//! Grids of coordinates: meshgrid, Cartesian products, combinations.

use super::{expand, join, view};
use crate::args::{IntoRet, Ret};
use crate::registry::{METHOD, OpDef, TORCH, op};
use rustnn_core::base::runtime_error;
use rustnn_core::{DType, Dims, Result, Tensor};
use rustnn_kernels::room;

/// Coordinate arrays of a grid; `xy` exchanges the first two dimensions.
pub fn meshgrid(tensors: &[Tensor], indexing: &str) -> Result<Vec<Tensor>> {
    if tensors.is_empty() {
        return Err(runtime_error!("meshgrid expects a non-empty TensorList"));
    }
    if let Some(t) = tensors.iter().find(|t| t.ndim() > 1) {
        return Err(runtime_error!(
            "torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {:?}",
            t.shape()
        ));
    }
    if tensors.iter().any(|t| t.dtype() != tensors[0].dtype()) {
        return Err(runtime_error!("torch.meshgrid expects all tensors to have the same dtype"));
    }
    let swap = match indexing {
        "ij" => false,
        "xy" => tensors.len() >= 2,
        other => {
            return Err(runtime_error!(
                "torch.meshgrid: indexing must be one of \"xy\" or \"ij\", but received: {other}"
            ));
        }
    };
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    if swap {
        order.swap(0, 1);
    }
    let shape: Dims = order.iter().map(|&i| tensors[i].numel()).collect();
    let grids = order.iter().enumerate().map(|(d, &i)| {
        let mut one: Dims = order.iter().map(|_| 1).collect();
        one[d] = tensors[i].numel();
        expand::expand_to(&view::reshape_to(&tensors[i], &one)?, &shape)
    });
    let mut grids = grids.collect::<Result<Vec<_>>>()?;
    if swap {
        grids.swap(0, 1);
    }
    Ok(grids)
}

fn vector(x: &Tensor) -> Result<()> {
    if x.ndim() == 1 {
        return Ok(());
    }
    Err(runtime_error!("Expect a 1D vector, but got shape {:?}", x.shape()))
}

/// All tuples of one element from each vector.
pub fn cartesian_prod(tensors: &[Tensor]) -> Result<Tensor> {
    tensors.iter().try_for_each(vector)?;
    if let [one] = tensors {
        return Ok(one.clone());
    }
    let flat =
        meshgrid(tensors, "ij")?.iter().map(|g| view::reshape_to(g, &[g.numel()])).collect::<Result<Vec<_>>>()?;
    join::stack(&flat, 1)
}

/// How many choices of `r` of `n` elements there are, as far as numbers go.
fn choices(n: usize, r: usize, with_replacement: bool) -> usize {
    let n = if with_replacement { n.saturating_add(r).saturating_sub(1) } else { n };
    let r = r.min(n - r.min(n));
    // C(n, i) is whole at every step.
    let step = |c: u128, i: usize| c.checked_mul((n - i) as u128).map(|c| c / (i as u128 + 1));
    let all = (0..r).try_fold(1u128, |c, i| step(c, i).filter(|&c| c <= usize::MAX as u128));
    all.map_or(usize::MAX, |c| c as usize)
}

/// All choices of `r` elements in order, with or without taking one twice.
pub fn combinations(x: &Tensor, r: i64, with_replacement: bool) -> Result<Tensor> {
    vector(x)?;
    if r < 0 {
        return Err(runtime_error!("Expect a non-negative number, but got {r}"));
    }
    let (n, r) = (x.numel(), r as usize);
    if n == 0 || (!with_replacement && r > n) {
        return Tensor::empty(&[0, r], x.dtype());
    }
    if r == 0 {
        return Tensor::empty(&[0], x.dtype());
    }
    let mut flat: Vec<i64> = room::with_capacity(choices(n, r, with_replacement).saturating_mul(r))?;
    let mut pick: Vec<usize> = room::collected((0..r).map(|i| if with_replacement { 0 } else { i }))?;
    let last = |i: usize| if with_replacement { n.wrapping_sub(1) } else { n + i - r };
    let mut more = n > 0 && (with_replacement || r <= n);
    while more {
        flat.extend(pick.iter().map(|&p| p as i64));
        match (0..r).rev().find(|&i| pick[i] < last(i)) {
            Some(i) => {
                let v = pick[i] + 1;
                for (k, p) in pick[i..].iter_mut().enumerate() {
                    *p = if with_replacement { v } else { v + k };
                }
            }
            None => more = false,
        }
    }
    let rows = flat.len() / r;
    let index = Tensor::from_slice(&flat, &[rows * r])?;
    debug_assert_eq!(index.dtype(), DType::I64);
    view::reshape_to(&crate::index::rows::index_select(x, 0, &index)?, &[rows, r])
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("meshgrid(Tensor[]... tensors, *, str? indexing=None)", TORCH, |a| {
            Ok(Ret::Tuple(meshgrid(a.tensors(0)?, a.opt_str(1).unwrap_or("ij"))?))
        })
        .doc("Coordinate arrays of a grid. indexing is 'ij' (default) or 'xy'.")
        .samples(&["t(2), t(3)", "t(2), t(3), indexing='xy'"]),
        op("cartesian_prod(Tensor[]... tensors)", TORCH, |a| cartesian_prod(a.tensors(0)?).ret())
            .doc("All tuples of one element from each vector.")
            .samples(&["t(2), t(3)", "t(3)"])
            .oracle("np.stack([g.ravel() for g in np.meshgrid(*[np.asarray(x) for x in tensors], indexing='ij')], 1) if len(tensors) > 1 else np.asarray(tensors[0])"),
        op("combinations(Tensor input, int r=2, bool with_replacement=False)", TORCH | METHOD, |a| {
            combinations(a.tensor(0)?, a.int(1)?, a.bool(2)?).ret()
        })
        .doc("All choices of r elements, in order.")
        .samples(&["t(4)", "t(3), 2, True", "t(4), 3"])
        .oracle("np.array(list((__import__('itertools').combinations_with_replacement if with_replacement else __import__('itertools').combinations)(np.asarray(input), r)))"),
    ]
}
