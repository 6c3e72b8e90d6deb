//! Euclidean distances between all rows of one matrix and all of another, from their differences: exact where rows nearly
//! meet, which the product of the matrices is not, and without room for more than the result.

use crate::Raw;
use crate::parallel::{SendPtr, for_range};
use rustnn_base::dtype::Real;
use rustnn_base::{DType, Result, not_implemented, runtime_error};
use rustnn_simd::dispatch;

/// Sums side by side for a distance.
const LANES: usize = 16;
/// Rows of the second matrix at a time: they stay in L1 meanwhile.
const FEW: usize = 4;
/// Rows of the first matrix in a chunk, which stay in L2.
const ROWS: usize = 32;

/// `out[n, i, j]` is the distance of row i of `a[n]` and row j of `b[n]`. a `[batch, p, k]`, b `[batch, r, k]`,
/// out `[batch, p, r]`, all contiguous and of one dtype, float or double.
pub fn euclidean(a: Raw<'_>, b: Raw<'_>, out: Raw<'_>, [batch, p, r, k]: [usize; 4]) -> Result<()> {
    if a.numel() != batch * p * k || b.numel() != batch * r * k || out.numel() != batch * p * r {
        return Err(runtime_error!("distances of {:?} and {:?} in {:?}", a.shape(), b.shape(), out.shape()));
    }
    match out.dtype() {
        DType::F32 => run::<f32>(a.slice()?, b.slice()?, out.slice_mut()?, [p, r, k]),
        DType::F64 => run::<f64>(a.slice()?, b.slice()?, out.slice_mut()?, [p, r, k]),
        d => return Err(not_implemented!("distances are not implemented for '{}'", d.torch_name())),
    }
    Ok(())
}

fn run<T: Real>(a: &[T], b: &[T], out: &mut [T], [p, r, k]: [usize; 3]) {
    if out.is_empty() {
        return;
    }
    let dst = SendPtr(out.as_mut_ptr());
    let blocks = p.div_ceil(ROWS);
    let work = ROWS.min(p).saturating_mul(r).saturating_mul(k.max(1));
    for_range(out.len() / (p * r) * blocks, (32_768 / work).max(1), |range| {
        for i in range {
            let (n, first) = (i / blocks, i % blocks * ROWS);
            let rows = first..(first + ROWS).min(p);
            let (a, b) = (&a[n * p * k..][..p * k], &b[n * r * k..][..r * k]);
            // SAFETY: rows of the result that are this chunk's alone.
            let out =
                unsafe { std::slice::from_raw_parts_mut(dst.get().add((n * p + first) * r), (rows.end - first) * r) };
            dispatch(
                #[inline(always)]
                || {
                    for j0 in (0..r).step_by(FEW) {
                        for i in rows.clone() {
                            for j in j0..(j0 + FEW).min(r) {
                                out[(i - first) * r + j] = distance(&a[i * k..][..k], &b[j * k..][..k]);
                            }
                        }
                    }
                },
            );
        }
    });
}

#[inline(always)]
fn distance<T: Real>(x: &[T], y: &[T]) -> T {
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    let mut sums = [T::ZERO; LANES];
    for (x, y) in x.iter().zip(y) {
        for l in 0..LANES {
            let d = x[l] - y[l];
            sums[l] = d.mul_add(d, sums[l]);
        }
    }
    for l in 0..x_rest.len() {
        let d = x_rest[l] - y_rest[l];
        sums[l] = d.mul_add(d, sums[l]);
    }
    let mut half = LANES / 2;
    while half > 0 {
        for l in 0..half {
            sums[l] += sums[l + half];
        }
        half /= 2;
    }
    sums[0].sqrt()
}
