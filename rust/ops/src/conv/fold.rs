//! `unfold` and `fold` (sliding blocks as columns and back), `pixel_shuffle` and `pixel_unshuffle`.

use super::{batched, unbatched};
use crate::args::IntoRet;
use crate::linalg::glue::{permute, reshape};
use crate::registry::{NN, OpDef, TORCH, op};
use rustnn_core::base::{layout, runtime_error};
use rustnn_core::{DType, Dims, Result, Tensor, attach, grads};
use rustnn_kernels::resample::{self, Blocks};

fn two(name: &str, v: &[i64], least: i64) -> Result<[usize; 2]> {
    let v = match v {
        [a] => [*a, *a],
        [a, b] => [*a, *b],
        _ => return Err(runtime_error!("It is expected {name} equals to 2, but got size {}", v.len())),
    };
    if v.iter().any(|&x| x < least || x > i64::from(u32::MAX)) {
        let what = if least > 0 { "greater than zero" } else { "non-negative" };
        return Err(runtime_error!("{name} should be {what}, but got {name}_height: {} {name}_width: {}", v[0], v[1]));
    }
    Ok(v.map(|x| x as usize))
}

fn blocks(image: [usize; 2], k: &[i64], d: &[i64], p: &[i64], s: &[i64], what: &str) -> Result<Blocks> {
    let (kernel, dilation) = (two("kernel_size", k, 1)?, two("dilation", d, 1)?);
    let (padding, stride) = (two("padding", p, 0)?, two("stride", s, 1)?);
    let mut count = [0i64; 2];
    for i in 0..2 {
        // Sizes of an empty image may be anything; the others are 32 bits wide.
        let room = image[i] as i128 + 2 * padding[i] as i128 - dilation[i] as i128 * (kernel[i] as i128 - 1) - 1;
        let places = room.div_euclid(stride[i] as i128) + 1;
        count[i] = places.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
    }
    if count.iter().any(|&c| c < 1) {
        let pair = |v: [usize; 2]| format!("({}, {})", v[0], v[1]);
        return Err(runtime_error!(
            "Given {what} with spatial size {}, kernel_size={}, dilation={}, padding={}, calculated shape of the array of sliding blocks as ({}, {}), but its components must be at least one.",
            pair(image),
            pair(kernel),
            pair(dilation),
            pair(padding),
            count[0],
            count[1]
        ));
    }
    Ok(Blocks { image, kernel, dilation, padding, stride, count: count.map(|c| c as usize) })
}

/// `[N, C, H, W]` to `[N, C * kh * kw, blocks]`.
pub fn unfold(x: &Tensor, k: &[i64], d: &[i64], p: &[i64], s: &[i64]) -> Result<Tensor> {
    if x.ndim() != 3 && x.ndim() != 4 {
        return Err(runtime_error!(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input, but got: {:?}",
            x.shape()
        ));
    }
    let (x, added) = batched(x, 2)?;
    let b = blocks([x.shape()[2], x.shape()[3]], k, d, p, s, "input")?;
    unbatched(through_float(&x, |x| columns(x, b))?, added)
}

/// Bools are moved (and summed: any of them) as floats.
fn through_float(x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    if x.dtype() == DType::Bool { f(&x.copied_as(DType::F32)?)?.copied_as(DType::Bool) } else { f(x) }
}

fn columns(x: &Tensor, b: Blocks) -> Result<Tensor> {
    let (n, c) = (x.shape()[0], x.shape()[1]);
    let (rows, l) = (layout::numel(&[c, b.kernel[0], b.kernel[1]])?, layout::numel(&b.count)?);
    let out = Tensor::empty(&[n, rows, l], x.dtype())?;
    resample::unfold(x.to_contiguous()?.raw(), out.raw(), &b)?;
    attach("Im2ColBackward0", out, &[x], move |_, g| Ok(grads![image(g, b, c)?]))
}

fn image(x: &Tensor, b: Blocks, channels: usize) -> Result<Tensor> {
    let out = Tensor::empty(&[x.shape()[0], channels, b.image[0], b.image[1]], x.dtype())?;
    resample::fold(x.to_contiguous()?.raw(), out.raw(), &b)?;
    attach("Col2ImBackward0", out, &[x], move |_, g| Ok(grads![columns(g, b)?]))
}

/// `[N, C * kh * kw, blocks]` to `[N, C, H, W]`, summing where blocks overlap.
pub fn fold(x: &Tensor, size: &[i64], k: &[i64], d: &[i64], p: &[i64], s: &[i64]) -> Result<Tensor> {
    if x.ndim() != 2 && x.ndim() != 3 {
        return Err(runtime_error!(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for input, but got: {:?}",
            x.shape()
        ));
    }
    let (x, added) = batched(x, 1)?;
    let size = two("output_size", size, 1)?;
    let b = blocks(size, k, d, p, s, "output_size")?;
    let (rows, l) = (x.shape()[1], x.shape()[2]);
    let (kk, want) = (layout::numel(&b.kernel)?, layout::numel(&b.count)?);
    if rows % kk != 0 {
        return Err(runtime_error!(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got input.size(1)={rows} and kernel_size=({}, {}).",
            b.kernel[0],
            b.kernel[1]
        ));
    }
    if l != want {
        return Err(runtime_error!(
            "Given output_size=({}, {}), kernel_size=({}, {}), dilation=({}, {}), padding=({}, {}), stride=({}, {}), expected size of input's dimension 2 to match the calculated number of sliding blocks {} * {} = {want}, but got input.size(2)={l}.",
            size[0],
            size[1],
            b.kernel[0],
            b.kernel[1],
            b.dilation[0],
            b.dilation[1],
            b.padding[0],
            b.padding[1],
            b.stride[0],
            b.stride[1],
            b.count[0],
            b.count[1]
        ));
    }
    unbatched(through_float(&x, |x| image(x, b, rows / kk))?, added)
}

/// Channels `C * r * r` become pixels: `[.., C * r * r, H, W]` to `[.., C, H * r, W * r]`.
pub fn pixel_shuffle(x: &Tensor, r: i64) -> Result<Tensor> {
    let n = x.ndim();
    if n < 3 {
        return Err(runtime_error!(
            "pixel_shuffle expects input to have at least 3 dimensions, but got input with {n} dimension(s)"
        ));
    }
    if r <= 0 {
        return Err(runtime_error!("pixel_shuffle expects a positive upscale_factor, but got {r}"));
    }
    let (s, r) = (x.shape(), r as usize);
    let (c, h, w) = (s[n - 3], s[n - 2], s[n - 1]);
    let square = r.checked_mul(r).ok_or_else(|| runtime_error!("pixel_shuffle: upscale_factor {r} is too large"))?;
    if c % square != 0 {
        return Err(runtime_error!(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, but input.size(-3)={c} is not divisible by {square}"
        ));
    }
    let lead: Dims = s[..n - 3].into();
    let with = |tail: &[usize]| -> Dims { lead.iter().chain(tail).copied().collect() };
    let split = reshape(x, &with(&[c / square, r, r, h, w]))?;
    let l = lead.len();
    let order: Dims = (0..l).chain([l, l + 3, l + 1, l + 4, l + 2]).collect();
    reshape(&permute(&split, &order)?, &with(&[c / square, layout::numel(&[h, r])?, layout::numel(&[w, r])?]))
}

/// The inverse of [`pixel_shuffle`].
pub fn pixel_unshuffle(x: &Tensor, r: i64) -> Result<Tensor> {
    let n = x.ndim();
    if n < 3 {
        return Err(runtime_error!(
            "pixel_unshuffle expects input to have at least 3 dimensions, but got input with {n} dimension(s)"
        ));
    }
    if r <= 0 {
        return Err(runtime_error!("pixel_unshuffle expects a positive downscale_factor, but got {r}"));
    }
    let (s, r) = (x.shape(), r as usize);
    let (c, h, w) = (s[n - 3], s[n - 2], s[n - 1]);
    for (name, at, size) in [("height", -2, h), ("width", -1, w)] {
        if size % r != 0 {
            return Err(runtime_error!(
                "pixel_unshuffle expects {name} to be divisible by downscale_factor, but input.size({at})={size} is not divisible by {r}"
            ));
        }
    }
    let lead: Dims = s[..n - 3].into();
    let with = |tail: &[usize]| -> Dims { lead.iter().chain(tail).copied().collect() };
    let split = reshape(x, &with(&[c, h / r, r, w / r, r]))?;
    let l = lead.len();
    let order: Dims = (0..l).chain([l, l + 2, l + 4, l + 1, l + 3]).collect();
    reshape(&permute(&split, &order)?, &with(&[layout::numel(&[c, r, r])?, h / r, w / r]))
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("unfold(Tensor input, int[2] kernel_size, int[2] dilation=1, int[2] padding=0, int[2] stride=1)", NN, |a| {
            unfold(a.tensor(0)?, a.ints(1)?, a.ints(2)?, a.ints(3)?, a.ints(4)?).ret()
        })
        .doc("Sliding blocks of [N, C, H, W] as columns [N, C * kh * kw, blocks].")
        .samples(&["t(2,3,5,6), 2", "t(2,3,5,6), (3,2), padding=1, stride=2", "t(1,2,7,7), 3, dilation=2", "t(2,5,5), 3"])
        .oracle("ref_unfold(input, kernel_size, dilation, padding, stride)"),
        op("fold(Tensor input, int[2] output_size, int[2] kernel_size, int[2] dilation=1, int[2] padding=0, int[2] stride=1)", NN, |a| {
            fold(a.tensor(0)?, a.ints(1)?, a.ints(2)?, a.ints(3)?, a.ints(4)?, a.ints(5)?).ret()
        })
        .doc("Columns [N, C * kh * kw, blocks] summed into [N, C, H, W]: the transpose of unfold.")
        .samples(&["t(2,12,20), (5,6), 2", "t(1,6,12), (5,6), (3,2), padding=1, stride=2", "t(8,9), (4,4), 2"])
        .oracle("ref_fold(input, output_size, kernel_size, dilation, padding, stride)"),
        op("pixel_shuffle(Tensor input, int upscale_factor)", NN | TORCH, |a| pixel_shuffle(a.tensor(0)?, a.int(1)?).ret())
            .doc("[.., C * r * r, H, W] to [.., C, H * r, W * r].")
            .samples(&["t(2,8,3,4), 2", "t(9,2,2), 3"])
            .oracle("(lambda x, r: np.einsum('...abhw->...hawb', x.reshape(*x.shape[:-3], x.shape[-3] // (r * r), r, r, *x.shape[-2:])).reshape(*x.shape[:-3], x.shape[-3] // (r * r), x.shape[-2] * r, x.shape[-1] * r))(input, upscale_factor)"),
        op("pixel_unshuffle(Tensor input, int downscale_factor)", NN | TORCH, |a| pixel_unshuffle(a.tensor(0)?, a.int(1)?).ret())
            .doc("[.., C, H * r, W * r] to [.., C * r * r, H, W].")
            .samples(&["t(2,2,4,6), 2", "t(1,3,6), 3"])
            .oracle("(lambda x, r: np.einsum('...hawb->...abhw', x.reshape(*x.shape[:-2], x.shape[-2] // r, r, x.shape[-1] // r, r)).reshape(*x.shape[:-3], x.shape[-3] * r * r, x.shape[-2] // r, x.shape[-1] // r))(input, downscale_factor)"),
    ]
}
