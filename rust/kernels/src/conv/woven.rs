//! Input gradients (transposed convolutions) with strides: the places that are alike modulo the strides are each a
//! convolution of their own, made into planes of their own and then woven together, since a vector of them lies apart.

use super::direct::Pass;
use super::geometry::Geometry;
use super::{gradient_pass, sizes};
use crate::gemm::blocked::Gemm;
use crate::packs::Keep;
use crate::parallel::{SendPtr, for_range};
use crate::room;
use crate::scratch;
use rustnn_base::Result;
use rustnn_base::layout::count;

/// Values made before they are woven, about: a few images at a time.
const ASIDE: usize = 2 << 20;

/// The planes of one phase.
struct Phase {
    at: usize,
    size: [usize; 3],
}

/// The gradient `dx` of the input, by `run` for each phase.
///
/// # Safety
/// The slices have the sizes of the geometry; `run` is a way of [`super::run`].
pub unsafe fn grad_input<T: Gemm>(
    geo: &Geometry,
    dy: &[T],
    w: (&[T], Keep),
    bias: Option<&[T]>,
    dx: &mut [T],
    run: impl Fn(&Pass<T>) -> Result<()>,
) -> Result<()> {
    let (planes, input) = (geo.groups * geo.cin, sizes(geo, |a| a.input));
    let stride = sizes(geo, |a| a.stride);
    let (image, grad) = (planes * geo.in_plane(), geo.groups * geo.cout * geo.out_plane());
    if image == 0 || geo.batch == 0 {
        return Ok(());
    }
    let images = (ASIDE / image).clamp(1, geo.batch);
    // Phases beyond the input have no places.
    let [pd, ph, pw]: [usize; 3] = std::array::from_fn(|d| stride[d].min(input[d]));
    let size = |phase: [usize; 3]| -> [usize; 3] { std::array::from_fn(|d| (input[d] - phase[d]).div_ceil(stride[d])) };
    scratch::with(images * image, |aside: *mut T| {
        for n0 in (0..geo.batch).step_by(images) {
            let part = Geometry { batch: images.min(geo.batch - n0), ..*geo };
            let dy = &dy[n0 * grad..][..part.batch * grad];
            let mut phases: Vec<Phase> = room::with_capacity(pd.saturating_mul(ph).saturating_mul(pw))?;
            let mut at = 0;
            for i in 0..pd * ph * pw {
                let phase = [i / (ph * pw), i / pw % ph, i % pw];
                let size = size(phase);
                let len = part.batch * planes * count(&size);
                // The phases' places are those of the images, dealt out: there is room for all.
                run(&gradient_pass(&part, dy, w, bias, aside.wrapping_add(at), phase))?;
                phases.push(Phase { at, size });
                at += len;
            }
            let dx = &mut dx[n0 * image..][..part.batch * image];
            // SAFETY: as many values as the passes wrote.
            let aside = unsafe { std::slice::from_raw_parts(aside.cast_const(), at) };
            weave(aside, &phases, part.batch * planes, input, stride, dx);
        }
        Ok(())
    })?
}

/// Row by row: every `stride`-th value from each phase along the width.
fn weave<T: Gemm>(aside: &[T], phases: &[Phase], planes: usize, input: [usize; 3], stride: [usize; 3], dx: &mut [T]) {
    let [d, h, w] = input;
    let [sd, sh, sw] = stride;
    let (ph, pw) = (sh.min(h), sw.min(w));
    let to = SendPtr(dx.as_mut_ptr());
    for_range(planes * d * h, (32_768 / w).max(1), |range| {
        for row in range {
            let (plane, z, y) = (row / (d * h), row / h % d, row % h);
            let first = ((z % sd) * ph + y % sh) * pw;
            let line = |x: usize| {
                let Phase { at, size: [nd, nh, nw] } = phases[first + x];
                &aside[at + ((plane * nd + z / sd) * nh + y / sh) * nw..][..nw]
            };
            // SAFETY: a row of its own.
            let out = unsafe { std::slice::from_raw_parts_mut(to.get().add(row * w), w) };
            if pw == 1 && sw == 1 {
                out.copy_from_slice(line(0));
            } else if pw == 2 && sw == 2 {
                let (even, odd) = (line(0), line(1));
                let (pairs, rest) = out.as_chunks_mut::<2>();
                for ((to, &a), &b) in pairs.iter_mut().zip(even).zip(odd) {
                    *to = [a, b];
                }
                if let (Some(last), Some(&a)) = (rest.first_mut(), even.last()) {
                    *last = a;
                }
            } else {
                for x in 0..pw {
                    out[x..].iter_mut().step_by(sw).zip(line(x)).for_each(|(to, &v)| *to = v);
                }
            }
        }
    });
}
