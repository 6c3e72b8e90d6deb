//! Padding: `nn.functional.pad` in its four modes.

use super::unpart;
use crate::args::IntoRet;
use crate::registry::{NN, OpDef, TORCH, op};
use rustnn_core::base::{not_implemented, runtime_error};
use rustnn_core::{Dims, Layout, Result, Scalar, Tensor, attach, grads};
use rustnn_kernels::copy;
use rustnn_kernels::room;

/// Left and right padding per dimension, from pairs that start at the last one.
fn per_dim(x: &Tensor, pad: &[i64]) -> Result<Vec<(i64, i64)>> {
    if pad.len() % 2 != 0 {
        return Err(runtime_error!("Padding length must be divisible by 2"));
    }
    if pad.len() / 2 > x.ndim() {
        return Err(runtime_error!(
            "Padding length should be less than or equal to two times the input dimension but got padding length {} and input of dimension {}",
            pad.len(),
            x.ndim()
        ));
    }
    let mut out = vec![(0, 0); x.ndim()];
    for (i, p) in pad.chunks_exact(2).enumerate() {
        out[x.ndim() - 1 - i] = (p[0], p[1]);
    }
    Ok(out)
}

/// Constant padding; negative amounts cut off.
pub fn constant(x: &Tensor, pad: &[i64], value: Scalar) -> Result<Tensor> {
    let sides = per_dim(x, pad)?;
    let mut shape = Dims::new();
    for (d, &(l, r)) in sides.iter().enumerate() {
        let n = x.shape()[d] as i64;
        if l.min(0).saturating_add(r.min(0)).saturating_add(n) < 0 {
            return Err(runtime_error!("narrow(): length must be non-negative.")
                .hint(format!("padding ({l}, {r}) cuts more than the {n} elements of dimension {d}")));
        }
        let size = l.checked_add(r).and_then(|p| p.checked_add(n)).filter(|&s| s >= 0).ok_or_else(|| {
            runtime_error!(
                "The input size {n}, plus negative padding {l} and {r}, resulted in a negative output size, which is invalid. Check dimension {d} of your input."
            )
        })?;
        shape.push(size as usize);
    }
    let out = Tensor::full(&shape, value, x.dtype())?;
    // The part of the input that stays, and where it lies in the result.
    let (from, to) = (x.shape().to_vec(), shape.clone());
    let window = move |l: &Layout, of_result: bool| {
        let mut l = l.clone();
        for (d, &(left, right)) in sides.iter().enumerate() {
            let n = from[d] as i64;
            let cut = (n + left.min(0) + right.min(0)).max(0) as usize;
            let start = if of_result { left.max(0) } else { (-left).max(0) } as usize;
            let size = if of_result { to[d] } else { from[d] };
            l = l.slice(d, if cut == 0 { 0 } else { start.min(size) }, cut, 1);
        }
        l
    };
    let inside = {
        let w = window.clone();
        move |l: &Layout| w(l, false)
    };
    copy::copy(&out.view_of(window(out.layout(), true)).raw(), &x.view_of(inside(x.layout())).raw())?;
    let input: Dims = x.shape().into();
    attach("ConstantPadNdBackward0", out, &[x], move |_, g| {
        let w = window.clone();
        let part = super::part("SliceBackward0", g, move |l: &Layout| w(l, true))?;
        if part.shape() == &input[..] {
            return Ok(grads![part]);
        }
        Ok(grads![unpart("SliceBackward0", &part, &input, inside.clone())?])
    })
}

/// Padding that repeats the input itself: one selection of indices per padded dimension.
fn by_index(x: &Tensor, pad: &[i64], mode: &str) -> Result<Tensor> {
    let sides = per_dim(x, pad)?;
    let mut y = x.clone();
    for d in (0..x.ndim()).rev() {
        let (l, r) = sides[d];
        if (l, r) == (0, 0) {
            continue;
        }
        let n = x.shape()[d] as i64;
        // Circular padding first cuts off what is negative; the copies come from what is left.
        let (cut, n) = match mode {
            "circular" => (
                l.saturating_neg().max(0),
                n.saturating_sub(l.saturating_neg().max(0)).saturating_sub(r.saturating_neg().max(0)).max(0),
            ),
            _ => (0, n),
        };
        let (l, r) = if mode == "circular" { (l.max(0), r.max(0)) } else { (l, r) };
        let size = n.checked_add(l).and_then(|s| s.checked_add(r)).filter(|_| l.min(r) >= -n).unwrap_or(0);
        match mode {
            "reflect" if l >= n || r >= n => {
                return Err(runtime_error!(
                    "Argument #4: Padding size should be less than the corresponding input dimension, but got: padding ({l}, {r}) at dimension {d} of input {:?}",
                    x.shape()
                ));
            }
            "circular" if l > n || r > n => {
                return Err(runtime_error!("Padding value causes wrapping around more than once."));
            }
            _ => {}
        }
        if size <= 0 || n == 0 {
            return Err(runtime_error!(
                "input (size {n} at dimension {d}) plus padding ({l}, {r}) gives an output of size {size}: it must be positive"
            ));
        }
        let index: Vec<i64> = room::collected((0..size).map(|i| {
            let k = i - l;
            match mode {
                "replicate" => k.clamp(0, n - 1),
                "circular" => cut + k.rem_euclid(n),
                _ if k < 0 => -k,
                _ if k >= n => 2 * (n - 1) - k,
                _ => k,
            }
        }))?;
        y = crate::index::rows::index_select(&y, d as i64, &Tensor::from_slice(&index, &[index.len()])?)?;
    }
    if y.same(x) { super::view::clone(x) } else { Ok(y) }
}

/// `nn.functional.pad`.
pub fn pad(x: &Tensor, pad: &[i64], mode: &str, value: Option<Scalar>) -> Result<Tensor> {
    match mode {
        "constant" => return constant(x, pad, value.unwrap_or(Scalar::Int(0))),
        "reflect" | "replicate" | "circular" => {}
        other => return Err(not_implemented!("Unrecognised padding mode {other}")),
    }
    if value.is_some_and(|v| v.to_f64() != 0.0) {
        return Err(runtime_error!("Padding mode \"{mode}\" doesn't take in value argument"));
    }
    let spatial = pad.len() / 2;
    per_dim(x, pad)?;
    if mode != "circular" && !(x.ndim() == spatial + 1 || x.ndim() == spatial + 2) {
        return Err(not_implemented!("Padding size {} is not supported for {}D input tensor.", pad.len(), x.ndim())
            .hint(format!(
                "mode='{mode}' pads the last 1 to 3 dimensions of a tensor with one or two dimensions more"
            )));
    }
    by_index(x, pad, mode)
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("pad(Tensor input, int[] pad, str mode='constant', float? value=None)", NN, |a| {
            pad(a.tensor(0)?, a.ints(1)?, a.str(2)?, a.opt_scalar(3)).ret()
        })
        .doc("Pads the last dimensions: (left, right) of the last, then of the one before, ... mode is 'constant', 'reflect', 'replicate' or 'circular'.")
        .samples(&["t(2,3), (1,2)", "t(2,3), (1,0,0,2), 'constant', 1.5", "t(2,5), (-1,2)", "t(1,2,5), (2,1), 'reflect'",
            "t(1,2,3,4), (1,1,2,0), 'replicate'", "t(1,2,5), (2,3), 'circular'", "t(1,1,4,4), (1,2,1,1), 'reflect'"])
        .oracle("(lambda p: np.pad(input, [(max(a, 0), max(b, 0)) for a, b in p], **({'mode': 'constant', 'constant_values': value or 0} if mode == 'constant' else {'mode': {'reflect': 'reflect', 'replicate': 'edge', 'circular': 'wrap'}[mode]}))[tuple(slice(max(-a, 0), (-max(-b, 0)) or None) for a, b in p)])([(0, 0)] * (input.ndim - len(pad) // 2) + [(pad[2 * i], pad[2 * i + 1]) for i in reversed(range(len(pad) // 2))])"),
        op("constant_pad_nd(Tensor input, int[] pad, Scalar value=0)", TORCH, |a| {
            constant(a.tensor(0)?, a.ints(1)?, a.scalar(2)?).ret()
        })
        .doc("Constant padding of the last dimensions.")
        .samples(&["t(2,3), (1,1)"])
        .oracle("np.pad(input, ((0,0),(1,1)))"),
    ]
}
