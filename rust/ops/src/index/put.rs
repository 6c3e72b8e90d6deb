//! `x[...] = value` and `index_put`, in place, with the graph told.

use super::get::{IndexItem, Joint, basic, join, parse, pick};
use super::mask;
use crate::args::IntoRet;
use crate::basic::to_dtype;
use crate::registry::{INPLACE, METHOD, OpDef, TORCH, op};
use crate::shape::{expand, view};
use rustnn_core::base::{index_error, runtime_error};
use rustnn_core::{Ctx, DType, Dims, Grads, Result, Scalar, Tensor, attach, grads, inplace, needs_grad};
use rustnn_kernels::index as kernel;

/// A write in place by a kernel: `write` changes `y`'s memory, `backward` is the gradient of the new `y` with respect
/// to the old one and `others`.
pub(crate) fn write_in_place(
    name: &'static str,
    y: &Tensor,
    others: &[&Tensor],
    write: impl FnOnce() -> Result<()>,
    backward: impl Fn(&Ctx<'_>, &Tensor) -> Result<Grads> + Send + Sync + 'static,
) -> Result<()> {
    inplace::check_writable(y)?;
    let mut inputs = vec![y];
    inputs.extend_from_slice(others);
    // Recorded first: the old history must be read before the write is counted.
    let recorded = needs_grad(&inputs) && y.dtype().is_float();
    let stand_in = y.detach();
    let stand_in = attach(name, stand_in, &inputs, backward)?;
    write()?;
    y.bump_version();
    if recorded { inplace::wrote(y, &stand_in) } else { Ok(()) }
}

/// A value without leading dimensions of size 1 that the target does not have.
fn trim(value: &Tensor, ndim: usize) -> Result<Tensor> {
    let extra = value.ndim().saturating_sub(ndim);
    if extra == 0 || value.shape()[..extra].iter().any(|&d| d != 1) {
        return Ok(value.clone());
    }
    view::reshape_to(value, &value.shape()[extra..])
}

/// `x[items] = value`: broadcast, cast for basic indices.
pub fn put(x: &Tensor, items: &[IndexItem], value: &Tensor) -> Result<()> {
    let p = parse(x.shape(), items)?;
    let y =
        if p.steps.is_empty() && (!p.picks.is_empty() || items.is_empty()) { x.clone() } else { basic(x, p.steps)? };
    let value = if value.storage().same(x.storage()) { view::clone(value)? } else { value.clone() };
    if p.picks.is_empty() {
        let v = expand::expand_to(&trim(&value, y.ndim())?, y.shape())?;
        return inplace::assign(&y, &to_dtype(&v, y.dtype())?);
    }
    if let (Some(m), 1, false) = (&p.mask, value.numel(), value.tracked()) {
        let mut shape: Dims = m.shape().into();
        shape.resize(y.ndim(), 1);
        let m = to_dtype(&view::reshape_to(m, &shape)?, DType::Bool)?;
        return mask::masked_fill_in_place(&y, &m, value.item()?);
    }
    // A number (a 0-d tensor) takes the target's dtype; other values must have it.
    let value = if value.ndim() == 0 { to_dtype(&value, y.dtype())? } else { value };
    put_picks(&y, &join(&p.picks)?, &p.picks, &value, false)
}

/// `y[picks] = value` (or `+=`), in place.
fn put_picks(y: &Tensor, j: &Joint, picks: &[(usize, Tensor)], value: &Tensor, accumulate: bool) -> Result<()> {
    if value.dtype() != y.dtype() {
        return Err(runtime_error!(
            "Index put requires the source and destination dtypes match, got {} for the destination and {} for the source.",
            y.dtype().torch_name(),
            value.dtype().torch_name()
        ));
    }
    let shape = j.result_shape(y.shape());
    let trimmed = trim(value, shape.len())?;
    let wide = trimmed.layout().expand(&shape).map_err(|_| {
        runtime_error!(
            "shape mismatch: value tensor of shape {:?} cannot be broadcast to indexing result of shape {shape:?}",
            value.shape()
        )
    })?;
    let front = j.to_front(&trimmed.detach().view_of(wide))?.to_contiguous()?;
    let kept = picks.to_vec();
    let write = || j.with(|p| kernel::put_picks(y.raw(), p, front.raw(), accumulate));
    write_in_place("IndexPutBackward0", y, &[&trimmed], write, move |c, g| {
        Ok(grads![c;
            0 => if accumulate { g.clone() } else { zeroed(g, &kept)? },
            1 => pick(g, &kept)?])
    })
}

/// `g` with zeros at the picked places.
fn zeroed(g: &Tensor, picks: &[(usize, Tensor)]) -> Result<Tensor> {
    let out = view::clone(g)?;
    let zero = Tensor::scalar(Scalar::Int(0), g.dtype())?;
    put_picks(&out, &join(picks)?, picks, &zero, false)?;
    Ok(out)
}

/// `index_put`: a copy of `x` with the picked places written.
pub fn index_put(x: &Tensor, indices: &[Option<Tensor>], values: &Tensor, accumulate: bool) -> Result<Tensor> {
    let out = view::clone(x)?;
    index_put_in_place(&out, indices, values, accumulate)?;
    Ok(out)
}

/// `index_put_`.
pub fn index_put_in_place(x: &Tensor, indices: &[Option<Tensor>], values: &Tensor, accumulate: bool) -> Result<()> {
    let items: Vec<IndexItem> = indices
        .iter()
        .map(|i| match i {
            Some(t) => IndexItem::Tensor(if t.ndim() == 0 { t.view_of(t.layout().unsqueeze(0)) } else { t.clone() }),
            None => IndexItem::Slice { start: None, stop: None, step: 1 },
        })
        .collect();
    let p = parse(x.shape(), &items)?;
    if p.picks.is_empty() {
        return Err(index_error!("index_put_: at least one index tensor is needed"));
    }
    put_picks(x, &join(&p.picks)?, &p.picks, values, accumulate)
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op(
            "index_put(Tensor input, Tensor[] indices, Tensor values, bool accumulate=False)",
            METHOD | TORCH | INPLACE,
            |a| {
                let indices: Vec<Option<Tensor>> = a.tensors(1)?.iter().cloned().map(Some).collect();
                index_put(a.tensor(0)?, &indices, a.tensor(2)?, a.bool(3)?).ret()
            },
        )
        .doc("A copy with values written (or, with accumulate, added) at the places that index tensors pick together.")
        .samples(&["t(4,3), (i(2, lo=0, hi=4),), t(3), True", "t(5), (i(3, lo=0, hi=5),), t(3), True"]),
        op(
            "_index_put_impl_(Tensor input, Tensor?[] indices, Tensor values, bool accumulate=False)",
            crate::registry::PRIVATE,
            |a| {
                index_put_in_place(a.tensor(0)?, a.opt_tensors(1)?, a.tensor(2)?, a.bool(3)?)?;
                a.tensor(0)?.clone().ret()
            },
        )
        .nondiff(),
    ]
}
