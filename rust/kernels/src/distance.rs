//! Euclidean distances between all rows of one matrix and all of another, from their differences: exact where rows nearly
//! meet, which the product of the matrices is not, and without room for more than the result.

use crate::Raw;
use crate::parallel::{SendPtr, for_range};
use rustnn_base::dtype::Real;
use rustnn_base::{DType, Result, not_implemented, runtime_error};
use rustnn_simd::dispatch;

/// Sums side by side for each distance: two vectors of eight.
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
                    for j in (0..r).step_by(FEW) {
                        let few = FEW.min(r - j);
                        // The last row stands in for those that are not there.
                        let mut others = [&b[..0]; FEW];
                        for (x, o) in others.iter_mut().enumerate() {
                            *o = &b[(j + x).min(r - 1) * k..][..k];
                        }
                        for i in rows.clone() {
                            let d = distances(&a[i * k..][..k], others);
                            out[(i - first) * r + j..][..few].copy_from_slice(&d[..few]);
                        }
                    }
                },
            );
        }
    });
}

/// The distances of a row from a few others.
#[inline(always)]
fn distances<T: Real>(x: &[T], others: [&[T]; FEW]) -> [T; FEW] {
    let (whole, k) = (x.len() / LANES * LANES, x.len());
    let mut sums = [[T::ZERO; LANES]; FEW];
    for at in (0..whole).step_by(LANES) {
        let from = &x[at..at + LANES];
        for j in 0..FEW {
            let other = &others[j][at..at + LANES];
            for l in 0..LANES {
                let d = from[l] - other[l];
                sums[j][l] = d.mul_add(d, sums[j][l]);
            }
        }
    }
    let mut out = [T::ZERO; FEW];
    for j in 0..FEW {
        for at in whole..k {
            let d = x[at] - others[j][at];
            sums[j][at - whole] = d.mul_add(d, sums[j][at - whole]);
        }
        let mut half = LANES / 2;
        while half > 0 {
            for l in 0..half {
                sums[j][l] += sums[j][l + half];
            }
            half /= 2;
        }
        out[j] = sums[j][0].sqrt();
    }
    out
}
