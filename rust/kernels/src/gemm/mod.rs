//! Matrix products: one entry for every dtype, shape and stride.
//!
//! [`matmul`] picks the way by shape alone (never by instruction set or thread count), so results are bit-equal
//! everywhere: packed blocks for what is large ([`blocked`]), operands read in place for what is small or thin
//! ([`skinny`]), plain loops for integers.

pub mod blocked;
pub mod pack;
pub mod skinny;
#[cfg(test)]
mod tests;

use crate::packs::Keep;
use crate::parallel::{SendPtr, for_range};
use crate::room::{self, or_stop};
use crate::{Raw, scratch};
pub use blocked::{Gemm, Problem};
pub use pack::View;
use rustnn_base::{DType, Element, Error, Float, Result, bf16, f16, layout, not_implemented, runtime_error};
use rustnn_simd::arch::Add;
use rustnn_simd::{Isa, isa};

/// What happens to a product on its way into C: `c = alpha * a b + beta * c + bias`.
#[derive(Clone, Copy)]
pub struct Epilogue<'a> {
    pub alpha: f64,
    pub beta: f64,
    /// `n` values added to every row; only with `beta` 0.
    pub bias: Option<Raw<'a>>,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Epilogue { alpha: 1.0, beta: 0.0, bias: None }
    }
}

/// Products of fewer multiplications than this read their operands in place.
const SMALL: usize = 40_000;
/// Up to this many rows and columns operands are read in place, however long the sums.
const SQUARE: usize = 32;
/// Dot products of fewer terms than this cost more than packing what they read.
const SHORT: usize = 16;
/// A batch's chunk has at least this many multiplications.
const BATCH_GRAIN: usize = 400_000;

/// One float product by the way that suits its shape.
///
/// # Safety
/// As [`blocked::serial`].
pub(crate) unsafe fn one<T: Gemm>(p: &Problem<T>, isa: Isa, alone: bool) -> Result<()> {
    let work = p.m.saturating_mul(p.n).saturating_mul(p.k);
    if work == 0 && (p.m == 0 || p.n == 0) {
        return Ok(());
    }
    if p.n == 1 && p.m > 1 && p.ldc == 1 {
        let add = match p.add {
            Add::PerRow => Add::PerColumn,
            Add::PerColumn => Add::PerRow,
            same => same,
        };
        let keep = [p.keep[1], p.keep[0]];
        let t = Problem { m: 1, n: p.m, a: p.b.t(), b: p.a.t(), ldc: p.m, add, keep, ..*p };
        // SAFETY: the transposed product has the same operands; its one row of C is contiguous.
        return unsafe { one(&t, isa, alone) };
    }
    // SAFETY: passed on; strides were checked for each way.
    unsafe {
        // A small square of long sums: each value is used too few times to pay for a packed copy.
        let square = p.m <= SQUARE && p.n <= SQUARE;
        let short = p.k < SHORT && p.m >= 4 && p.n >= 8;
        let few = p.n <= 4 || square || (!short && (p.m <= 8 || work <= SMALL / 2));
        if p.k == 1 && p.b.cs == 1 && p.n >= 32 {
            skinny::outer(p);
        } else if p.b.rs == 1 && p.a.cs == 1 && p.a.rs >= 0 && few && p.k > 1 {
            skinny::dots(p, isa);
        } else if (p.b.cs == 1 && p.m == 1 && p.n >= 64) || skinny::streams(p) {
            skinny::rows(p);
        } else if p.k == 0 || (p.b.cs == 1 && (p.m <= 12 || work <= SMALL || square)) {
            skinny::loose(p, isa);
        } else if alone {
            blocked::serial(p, isa)?;
        } else {
            blocked::parallel(p, isa)?;
        }
    }
    Ok(())
}

/// A batch of float products; `offsets(i)` says where item `i` of each operand starts.
///
/// # Safety
/// As [`blocked::serial`], for every item; items of C are disjoint.
pub(crate) unsafe fn batched<T: Gemm>(
    batch: usize,
    p: &Problem<T>,
    isa: Isa,
    offsets: &(dyn Fn(usize) -> (isize, isize, usize) + Sync),
) -> Result<()> {
    let work = p.m.saturating_mul(p.n).saturating_mul(p.k);
    let item = |i: usize| {
        let (a, b, c) = offsets(i);
        Problem {
            a: View { ptr: p.a.ptr.wrapping_offset(a), ..p.a },
            b: View { ptr: p.b.ptr.wrapping_offset(b), ..p.b },
            c: p.c.wrapping_add(c),
            ..*p
        }
    };
    if batch < 4 && (batch == 1 || work >= BATCH_GRAIN) {
        for i in 0..batch {
            // SAFETY: an item the caller vouches for.
            unsafe { one(&item(i), isa, false)? };
        }
        return Ok(());
    }
    let failed = parking(batch, (BATCH_GRAIN / work.max(1)).max(1), |i| {
        // SAFETY: as above; chunks write disjoint items of C.
        unsafe { one(&item(i), isa, true) }
    });
    failed.map_or(Ok(()), Err)
}

/// Runs `f` over `0..n` in chunks of `grain`; the first chunk's error, if any.
pub(crate) fn parking(n: usize, grain: usize, f: impl Fn(usize) -> Result<()> + Sync) -> Option<rustnn_base::Error> {
    let slot = std::sync::Mutex::new(None);
    for_range(n, grain, |r| {
        for i in r {
            if let Err(e) = f(i) {
                if let Ok(mut slot) = slot.lock() {
                    *slot = Some(e);
                }
                return;
            }
        }
    });
    slot.into_inner().ok().flatten()
}

/// Offsets of a batch in the order of its dimensions.
fn offset(mut i: usize, shape: &[usize], strides: &[isize]) -> isize {
    let mut o = 0;
    for (&d, &s) in shape.iter().zip(strides).rev() {
        o += (i % d) as isize * s;
        i /= d;
    }
    o
}

/// Terms of a sum that takes seconds: from here on the sum can't do without interruption.
const MOST_TERMS: usize = 1 << 33;

/// The shapes of a product, checked.
struct Shapes<'a> {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    dims: &'a [usize],
}

fn shapes<'a>(a: &Raw<'a>, b: &Raw<'a>, c: &Raw<'a>) -> Result<Shapes<'a>> {
    let (sa, sb, sc) = (a.shape(), b.shape(), c.shape());
    let d = sa.len();
    let bad = || runtime_error!("matrix product of shapes {sa:?} and {sb:?} into {sc:?}");
    if d < 2 || sb.len() != d || sc.len() != d || !c.is_contiguous() {
        return Err(bad());
    }
    let (m, k, n) = (sa[d - 2], sa[d - 1], sb[d - 1]);
    let fits =
        sb[d - 2] == k && sc[d - 2] == m && sc[d - 1] == n && sa[..d - 2] == sc[..d - 2] && sb[..d - 2] == sc[..d - 2];
    if !fits || a.dtype() != b.dtype() || a.dtype() != c.dtype() {
        return Err(bad());
    }
    // Sums of more terms than any memory holds are of one element again and again, and end in no one's lifetime. They
    // are refused as their copies would be.
    if k > MOST_TERMS && (a.strides()[d - 1] == 0 || b.strides()[d - 2] == 0) {
        return Err(Error::out_of_memory((k as u64).saturating_mul(a.dtype().size() as u64)));
    }
    Ok(Shapes { batch: layout::count(&sc[..d - 2]), m, n, k, dims: &sc[..d - 2] })
}

/// `c = alpha * a b + beta * c (+ bias per column)` over the last two dimensions; the others are equal batch dimensions
/// (broadcast operands have stride 0 there). `c` is contiguous and overlaps neither operand.
pub fn matmul(a: Raw, b: Raw, c: Raw, ep: &Epilogue) -> Result<()> {
    match a.dtype() {
        DType::F32 => float::<f32>(a, b, c, ep, isa()),
        DType::F64 => float::<f64>(a, b, c, ep, isa()),
        DType::BF16 => narrow::<bf16>(a, b, c, ep),
        DType::F16 => narrow::<f16>(a, b, c, ep),
        DType::I64 => integer::<i64>(a, b, c, ep),
        DType::I32 => integer::<i32>(a, b, c, ep),
        DType::I16 => integer::<i16>(a, b, c, ep),
        DType::I8 => integer::<i8>(a, b, c, ep),
        DType::U8 => integer::<u8>(a, b, c, ep),
        // Sums of nothing are false, and there may be none.
        DType::Bool if c.numel() == 0 => Ok(()),
        DType::Bool if a.numel() == 0 && ep.bias.is_none() && ep.beta == 0.0 => crate::copy::fill(&c, false.into()),
        DType::Bool => Err(not_implemented!("matrix products are not implemented for 'Bool'")),
    }
}

fn float<T: Gemm>(a: Raw, b: Raw, c: Raw, ep: &Epilogue, isa: Isa) -> Result<()> {
    let mut s = shapes(&a, &b, &c)?;
    if s.batch == 0 || s.m == 0 || s.n == 0 {
        return Ok(());
    }
    let nd = s.dims.len();
    let (ta, tb) = (a.strides(), b.strides());
    let (mut batch_a, batch_b) = (&ta[..nd], &tb[..nd]);
    let view = |r: &Raw, t: &[isize]| View { ptr: r.ptr::<T>().cast_const(), rs: t[nd], cs: t[nd + 1] };
    // A batch of A against one B is one tall product.
    let mut rows = s.m;
    let mut folds = s.batch > 1;
    let mut want = if s.m == 1 && nd > 0 { batch_a[nd - 1] } else { ta[nd] * s.m as isize };
    let row_stride = if s.m == 1 && nd > 0 { batch_a[nd - 1] } else { ta[nd] };
    for d in (0..nd).rev() {
        folds &= s.dims[d] == 1 || (batch_b[d] == 0 && batch_a[d] == want && want != 0);
        want *= s.dims[d] as isize;
    }
    let mut va = view(&a, ta);
    if folds {
        rows *= s.batch;
        va.rs = row_stride;
        s = Shapes { batch: 1, m: rows, dims: &[], ..s };
        batch_a = &[];
    }
    let batch_b = if s.dims.is_empty() { &[][..] } else { batch_b };
    let bias = match &ep.bias {
        Some(bias) => {
            let bias = bias.slice::<T>()?;
            if bias.len() != s.n {
                return Err(runtime_error!("a bias of {} values for {} columns", bias.len(), s.n));
            }
            bias.as_ptr()
        }
        None => std::ptr::null(),
    };
    let cs = c.slice_mut::<T>()?;
    if ep.beta != 0.0 && ep.beta != 1.0 {
        let beta = T::from_f64(ep.beta);
        cs.iter_mut().for_each(|c| *c *= beta);
    }
    let add = if !bias.is_null() {
        Add::PerColumn
    } else if ep.beta != 0.0 {
        Add::Dst
    } else {
        Add::Nothing
    };
    let p = Problem {
        m: s.m,
        n: s.n,
        k: s.k,
        a: va,
        b: view(&b, tb),
        c: cs.as_mut_ptr(),
        ldc: s.n,
        alpha: T::from_f64(ep.alpha),
        add,
        bias,
        // Items of a batch are too many to keep.
        keep: if s.batch == 1 { [a.keep(), b.keep()] } else { [Keep::NOT; 2] },
    };
    let (dims, size) = (s.dims, s.m * s.n);
    // SAFETY: `Raw` promises that its shape and strides reach readable elements; shapes were checked to agree, C is
    // contiguous, the bias has `n` values, and `isa` is what the CPU has.
    unsafe { batched(s.batch, &p, isa, &|i| (offset(i, dims, batch_a), offset(i, dims, batch_b), i * size)) }
}

/// Reads any layout of `src` into `dst`, row-major, as f32.
fn widen<T: Float>(src: &Raw, dst: *mut f32) {
    let (shape, strides) = (src.shape(), src.strides());
    let dst = SendPtr(dst);
    let inner = shape.last().copied().unwrap_or(1);
    let step = strides.last().copied().unwrap_or(1);
    let lead = shape.len().saturating_sub(1);
    // No rows of nothing, which may be more than any loop ends with.
    let outer = if inner == 0 { 0 } else { layout::count(&shape[..lead]) };
    let base = SendPtr(src.ptr::<T>());
    for_range(outer, (32_768 / inner.max(1)).max(1), |r| {
        for i in r {
            let o = offset(i, &shape[..lead], &strides[..lead]);
            for j in 0..inner {
                // SAFETY: elements that `Raw` shows, and their row-major places in `dst`.
                unsafe { *dst.get().add(i * inner + j) = (*base.get().offset(o + j as isize * step)).to_f32() };
            }
        }
    });
}

/// 16-bit operands: through f32, rounded once at the end.
fn narrow<T: Float>(a: Raw, b: Raw, c: Raw, ep: &Epilogue) -> Result<()> {
    let s = shapes(&a, &b, &c)?;
    let (na, nb, nc) = (a.numel(), b.numel(), c.numel());
    let nbias = ep.bias.map_or(0, |b| b.numel());
    let out = c.slice_mut::<T>()?;
    let _ = s;
    scratch::with(na + nb + nc + nbias, |wide: *mut f32| {
        // SAFETY: the four parts of the scratch block are disjoint and large enough.
        unsafe {
            let (wa, wb, wc, wbias) = (wide, wide.add(na), wide.add(na + nb), wide.add(na + nb + nc));
            widen::<T>(&a, wa);
            widen::<T>(&b, wb);
            if ep.beta != 0.0 {
                widen::<T>(&c, wc);
            }
            let (ta, tb, tc) = (
                rustnn_base::layout::contiguous_strides(a.shape()),
                rustnn_base::layout::contiguous_strides(b.shape()),
                rustnn_base::layout::contiguous_strides(c.shape()),
            );
            let shape = [nbias];
            let bias = ep.bias.map(|bias| {
                widen::<T>(&bias, wbias);
                Raw::new(wbias.cast(), DType::F32, &shape, &[1])
            });
            float::<f32>(
                Raw::new(wa.cast(), DType::F32, a.shape(), &ta),
                Raw::new(wb.cast(), DType::F32, b.shape(), &tb),
                Raw::new(wc.cast(), DType::F32, c.shape(), &tc),
                &Epilogue { bias, ..*ep },
                isa(),
            )?;
            let wc = std::slice::from_raw_parts(wc, nc);
            crate::parallel::for_slices(out, 32_768, |start, piece| {
                for (o, v) in piece.iter_mut().zip(&wc[start..]) {
                    *o = T::from_f32(*v);
                }
            });
        }
        Ok(())
    })?
}

/// Integers, wrapping as PyTorch's do.
fn integer<T: Element>(a: Raw, b: Raw, c: Raw, ep: &Epilogue) -> Result<()> {
    let s = shapes(&a, &b, &c)?;
    let nd = s.dims.len();
    let (ta, tb) = (a.strides(), b.strides());
    let out = c.slice_mut::<T>()?;
    if out.is_empty() {
        return Ok(());
    }
    let bias = ep.bias.map(|b| b.slice::<T>()).transpose()?;
    let (alpha, beta) = (ep.alpha as i64, ep.beta as i64);
    let (pa, pb) = (SendPtr(a.ptr::<T>()), SendPtr(b.ptr::<T>()));
    let (m, n, k, dims) = (s.m, s.n, s.k, s.dims);
    let row = |r: usize, row: &mut [T]| {
        let (i, r) = (r / m, r % m);
        let oa = offset(i, dims, &ta[..nd]) + r as isize * ta[nd];
        let ob = offset(i, dims, &tb[..nd]);
        let mut acc = or_stop(room::filled(n, 0i64));
        for t in 0..k as isize {
            // SAFETY: elements that the operands' `Raw` show.
            let x = unsafe { *pa.get().offset(oa + t * ta[nd + 1]) }.to_i64();
            for (j, acc) in acc.iter_mut().enumerate() {
                // SAFETY: as above.
                let y = unsafe { *pb.get().offset(ob + t * tb[nd] + j as isize * tb[nd + 1]) }.to_i64();
                *acc = acc.wrapping_add(x.wrapping_mul(y));
            }
        }
        for (j, (c, v)) in row.iter_mut().zip(acc).enumerate() {
            let mut v = v.wrapping_mul(alpha);
            if beta != 0 {
                v = v.wrapping_add(beta.wrapping_mul(c.to_i64()));
            }
            if let Some(bias) = bias {
                v = v.wrapping_add(bias[j].to_i64());
            }
            *c = T::from_i64(v);
        }
    };
    let rows = (200_000 / (n * k).max(1)).max(1);
    crate::parallel::for_slices(out, rows * n, |start, piece| {
        for (x, c) in piece.chunks_mut(n).enumerate() {
            row(start / n + x, c);
        }
    });
    Ok(())
}
