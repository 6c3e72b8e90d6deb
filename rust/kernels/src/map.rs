//! The driver of every pointwise kernel: walks a destination and its sources, whatever their strides, dtypes and
//! broadcasting, and calls one loop over contiguous elements of the loop's own dtypes.
//!
//! Operands that lie contiguously in the loop's dtype are handed over in place; the others pass through blocks on the
//! stack, gathered and cast on the way. So an op is one vector loop per arithmetic type, compiled once per
//! instruction set, and no combination of layouts and dtypes needs code of its own.

use crate::convert::{Convert, convert};
use crate::copy::check_broadcast;
use crate::parallel::SendPtr;
use crate::plan::Plan;
use crate::{Raw, parallel};
use rustnn_base::{DType, Element, Result};
use rustnn_simd::dispatch;
use std::mem::MaybeUninit;

/// Elements that pass through the stack at a time.
const BLOCK: usize = 512;
/// Elements a chunk has at least; chunks are what threads share.
pub const GRAIN: usize = 1 << 15;
/// Rows shorter than this are gathered several at a time.
const SHORT: usize = 48;

/// A loop: pointers to the destination and the sources, and how many elements.
pub type Run<'a, const N: usize> = &'a (dyn Fn([*mut u8; N], usize) + Sync);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Read or written where it lies.
    Direct,
    /// One value for the whole call.
    Scalar,
    /// Gathered (or scattered) through a block.
    Block,
}

type Buffer = MaybeUninit<[u64; BLOCK]>;

/// Sets `dst[i]` to `f(i)`.
pub fn by_index<T: Element>(dst: &mut [T], f: impl Fn(usize) -> T + Sync) {
    parallel::for_slices(dst, GRAIN, |start, piece| {
        dispatch(
            #[inline(always)]
            || {
                for (i, d) in piece.iter_mut().enumerate() {
                    *d = f(start + i);
                }
            },
        );
    });
}

/// Runs `run` over `ops[0]` (the destination) and `ops[1..]` (the sources, broadcast to it). `dtypes` are what the
/// loop reads and writes. A source may be the destination itself, exactly; other overlap is the caller's to refuse.
pub fn map<const N: usize>(ops: [&Raw; N], dtypes: [DType; N], run: Run<'_, N>) -> Result<()> {
    let n = ops[0].numel();
    if n == 0 {
        return Ok(());
    }
    // What most calls are, small ones above all: nothing to walk, to cast or to keep apart.
    if n <= GRAIN && plain(&ops, &dtypes) {
        // A loop, since `array::map` is a call of its own where it is not inlined.
        let mut at = [std::ptr::null_mut(); N];
        for i in 0..N {
            at[i] = ops[i].ptr();
        }
        run(at, n);
        return Ok(());
    }
    if let Some(mode) = linear(&ops, &dtypes) {
        let job =
            Linear { ptr: ops.map(|o| SendPtr(o.ptr::<u8>())), mem: ops.map(|o| o.dtype()), lane: dtypes, mode, run };
        if n <= GRAIN {
            job.chunk(0, n);
        } else {
            parallel::for_range(n, GRAIN, |r| job.chunk(r.start, r.end));
        }
        return Ok(());
    }
    for s in &ops[1..] {
        check_broadcast(ops[0], s)?;
    }
    let plan = Plan::new(ops);
    let job = Job::new(&plan, ops.map(|o| o.dtype()), dtypes, run);
    if n <= GRAIN {
        job.chunk(0, n);
    } else {
        parallel::for_range(n, GRAIN, |r| job.chunk(r.start, r.end));
    }
    Ok(())
}

/// Whether all operands lie contiguously in the destination's shape and the loop's dtypes, and no source is it.
#[inline]
fn plain<const N: usize>(ops: &[&Raw; N], dtypes: &[DType; N]) -> bool {
    let mut ok = true;
    for i in 0..N {
        ok &= ops[i].dtype() == dtypes[i] && ops[i].is_contiguous();
        ok &= i == 0 || (ops[i].ptr::<u8>() != ops[0].ptr::<u8>() && same_shape(ops[i].shape(), ops[0].shape()));
    }
    ok
}

/// As `==`, which calls the system's `memcmp` for these few numbers.
#[inline]
fn same_shape(a: &[usize], b: &[usize]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b)
}

/// The modes of operands that all lie contiguously in one order, or are single elements; none if they do not.
#[inline]
fn linear<const N: usize>(ops: &[&Raw; N], dtypes: &[DType; N]) -> Option<[Mode; N]> {
    let shape = ops[0].shape();
    let mut mode = [Mode::Direct; N];
    for i in 0..N {
        if i > 0 && ops[i].shape() != shape {
            if ops[i].shape().len() > shape.len() || ops[i].shape().iter().any(|&d| d != 1) {
                return None;
            }
            mode[i] = Mode::Scalar;
        } else if !ops[i].is_contiguous() {
            return None;
        } else if ops[i].dtype() != dtypes[i] || (i > 0 && ops[i].ptr::<u8>() == ops[0].ptr::<u8>()) {
            mode[i] = Mode::Block;
        }
    }
    Some(mode)
}

/// The walk where there is nothing to walk: everything contiguous or single.
struct Linear<'a, const N: usize> {
    ptr: [SendPtr<u8>; N],
    mem: [DType; N],
    lane: [DType; N],
    mode: [Mode; N],
    run: Run<'a, N>,
}

impl<const N: usize> Linear<'_, N> {
    #[inline]
    fn chunk(&self, start: usize, end: usize) {
        if self.mode.iter().all(|&m| m == Mode::Direct) {
            let mut p = [std::ptr::null_mut(); N];
            for i in 0..N {
                p[i] = self.ptr[i].get().wrapping_add(start * self.lane[i].size());
            }
            return (self.run)(p, end - start);
        }
        self.blocks(start, end);
    }

    fn blocks(&self, start: usize, end: usize) {
        let mut bufs = [const { Buffer::uninit() }; N];
        let mut p = [std::ptr::null_mut::<u8>(); N];
        for i in 0..N {
            p[i] = bufs[i].as_mut_ptr().cast();
            if self.mode[i] == Mode::Scalar {
                // SAFETY: one element is there; the block holds BLOCK lanes of at most 8 bytes.
                unsafe {
                    self.bring(i, p[i], self.ptr[i].get(), 1);
                    repeat(p[i], (end - start).min(BLOCK), self.lane[i].size());
                }
            }
        }
        let mut at = start;
        while at < end {
            let n = (end - at).min(BLOCK);
            for i in 0..N {
                let here = self.ptr[i].get().wrapping_add(at * self.mem[i].size());
                match self.mode[i] {
                    Mode::Direct => p[i] = here,
                    // SAFETY: `at + n` elements are there; n ≤ BLOCK.
                    Mode::Block if i > 0 => unsafe { self.bring(i, p[i], here, n) },
                    _ => {}
                }
            }
            (self.run)(p, n);
            if self.mode[0] == Mode::Block {
                let here = self.ptr[0].get().wrapping_add(at * self.mem[0].size());
                // SAFETY: the block holds the n results just written, of another dtype than the destination.
                unsafe { convert(self.lane[0], self.mem[0])(here, p[0], n) };
            }
            at += n;
        }
    }

    /// # Safety
    /// `n` elements of operand `i` lie at `src`; `buf` has room for as many lanes.
    unsafe fn bring(&self, i: usize, buf: *mut u8, src: *const u8, n: usize) {
        // SAFETY: this function's contract.
        unsafe {
            if self.mem[i] == self.lane[i] {
                std::ptr::copy_nonoverlapping(src, buf, n * self.mem[i].size());
            } else {
                convert(self.mem[i], self.lane[i])(buf, src, n);
            }
        }
    }
}

struct Job<'a, const N: usize> {
    plan: &'a Plan<N>,
    run: Run<'a, N>,
    /// Element sizes in memory and in the loop.
    mem: [usize; N],
    lane: [usize; N],
    /// The cast between them, where they differ.
    cast: [Option<Convert>; N],
    mode: [Mode; N],
    /// Several rows to a block.
    short: bool,
    any_scalar: bool,
}

impl<'a, const N: usize> Job<'a, N> {
    fn new(plan: &'a Plan<N>, mem: [DType; N], lane: [DType; N], run: Run<'a, N>) -> Self {
        let mut cast = [None; N];
        for i in 0..N {
            if mem[i] != lane[i] {
                cast[i] = Some(if i == 0 { convert(lane[0], mem[0]) } else { convert(mem[i], lane[i]) });
            }
        }
        let linear = |i: usize| plan.axes.windows(2).all(|w| w[1].step[i] == w[0].step[i] * w[0].size as isize);
        // A value per row costs a call per row; spread over a block, it costs its stores.
        let per_row = (0..N).all(|i| linear(i) || (i > 0 && plan.axes[0].step[i] == 0));
        let most = if per_row { BLOCK / 2 } else { SHORT };
        let short = plan.axes.len() > 1 && plan.axes[0].size < most;
        let mut mode = [Mode::Block; N];
        for i in 0..N {
            let size = mem[i].size() as isize;
            let aliased = i > 0 && plan.ptr[i] == plan.ptr[0];
            if i > 0 && plan.axes.iter().all(|a| a.step[i] == 0) && !aliased {
                mode[i] = Mode::Scalar;
            } else if cast[i].is_none() && !aliased && plan.axes[0].step[i] == size && (linear(i) || !short) {
                mode[i] = Mode::Direct;
            }
        }
        let any_scalar = mode.contains(&Mode::Scalar);
        Job { plan, run, mem: mem.map(DType::size), lane: lane.map(DType::size), cast, mode, short, any_scalar }
    }

    fn chunk(&self, start: usize, end: usize) {
        let mut bufs = [const { Buffer::uninit() }; N];
        let mut raw = Buffer::uninit();
        let buf = {
            let mut p = [std::ptr::null_mut::<u8>(); N];
            for (p, b) in p.iter_mut().zip(&mut bufs) {
                *p = b.as_mut_ptr().cast();
            }
            p
        };
        let raw = raw.as_mut_ptr().cast::<u8>();
        for i in 1..N {
            if self.mode[i] == Mode::Scalar {
                // SAFETY: one element is there; the block holds BLOCK lanes of at most 8 bytes.
                unsafe { self.spread(i, self.plan.ptr[i], buf[i], (end - start).min(BLOCK)) };
            }
        }
        if self.short {
            let mut p = start;
            while p < end {
                let n = (end - p).min(BLOCK);
                self.short_block(p, n, &buf, raw);
                p += n;
            }
            return;
        }
        let inner = self.plan.axes[0].step;
        let blocks = self.any_scalar || self.mode.contains(&Mode::Block);
        self.plan.rows(start, end, |row, n| {
            if !blocks {
                (self.run)(row, n);
                return;
            }
            for i in 1..N {
                if self.mode[i] == Mode::Block && inner[i] == 0 {
                    // SAFETY: as for scalars above.
                    unsafe { self.spread(i, row[i], buf[i], n.min(BLOCK)) };
                }
            }
            let mut done = 0;
            while done < n {
                let m = (n - done).min(BLOCK);
                let mut p = buf;
                for i in 0..N {
                    let at = row[i].wrapping_offset(done as isize * inner[i]);
                    match self.mode[i] {
                        Mode::Direct => p[i] = at,
                        Mode::Scalar => {}
                        Mode::Block if i == 0 || inner[i] == 0 => {}
                        // SAFETY: the plan stays inside the window; m ≤ BLOCK.
                        Mode::Block => unsafe { self.load(i, at, inner[i], buf[i], raw, m) },
                    }
                }
                (self.run)(p, m);
                if self.mode[0] == Mode::Block {
                    let at = row[0].wrapping_offset(done as isize * inner[0]);
                    // SAFETY: as above; the block holds the m results just written.
                    unsafe { self.store(at, inner[0], buf[0], raw, m) };
                }
                done += m;
            }
        });
    }

    /// One block of several short rows.
    fn short_block(&self, start: usize, n: usize, buf: &[*mut u8; N], raw: *mut u8) {
        let mut p = *buf;
        let inner = self.plan.axes[0].step;
        for i in 0..N {
            let size = self.mem[i];
            match self.mode[i] {
                // Linear in the walk: one multiplication gives the place.
                Mode::Direct => p[i] = self.plan.ptr[i].wrapping_add(start * size),
                Mode::Scalar => {}
                Mode::Block if i == 0 => {}
                Mode::Block => {
                    let to = if self.cast[i].is_some() { raw } else { buf[i] };
                    let mut done = 0;
                    self.plan.rows(start, start + n, |row, m| {
                        // SAFETY: the plan stays inside the window; done + m ≤ n ≤ BLOCK.
                        unsafe {
                            if inner[i] == 0 {
                                std::ptr::copy_nonoverlapping(row[i], to.add(done * size), size);
                                repeat(to.add(done * size), m, size);
                            } else {
                                gather(to.add(done * size), row[i], inner[i], m, size);
                            }
                        }
                        done += m;
                    });
                    if let Some(cast) = self.cast[i] {
                        // SAFETY: `raw` holds n elements, `buf[i]` has room for as many lanes.
                        unsafe { cast(buf[i], raw, n) };
                    }
                }
            }
        }
        (self.run)(p, n);
        if self.mode[0] == Mode::Block {
            let size = self.mem[0];
            let mut from = buf[0];
            if let Some(cast) = self.cast[0] {
                // SAFETY: the block holds n results, `raw` has room for them.
                unsafe { cast(raw, buf[0], n) };
                from = raw;
            }
            let mut done = 0;
            self.plan.rows(start, start + n, |row, m| {
                // SAFETY: as for the gathering.
                unsafe { scatter(row[0], inner[0], from.add(done * size), m, size) };
                done += m;
            });
        }
    }

    /// Fills `n` lanes of a block with one element.
    ///
    /// # Safety
    /// `src` is an element of operand `i`; `buf` has room for `n` lanes and at least one.
    unsafe fn spread(&self, i: usize, src: *mut u8, buf: *mut u8, n: usize) {
        // SAFETY: this function's contract.
        unsafe {
            match self.cast[i] {
                Some(cast) => cast(buf, src, 1),
                None => std::ptr::copy_nonoverlapping(src, buf, self.mem[i]),
            }
            repeat(buf, n, self.lane[i]);
        }
    }

    /// Brings `n` elements `step` bytes apart into a block of lanes.
    ///
    /// # Safety
    /// The elements are there; `buf` and `raw` have room for `n`.
    unsafe fn load(&self, i: usize, src: *mut u8, step: isize, buf: *mut u8, raw: *mut u8, n: usize) {
        let size = self.mem[i];
        // SAFETY: this function's contract.
        unsafe {
            match self.cast[i] {
                None => gather(buf, src, step, n, size),
                Some(cast) if step == size as isize => cast(buf, src, n),
                Some(cast) => {
                    gather(raw, src, step, n, size);
                    cast(buf, raw, n);
                }
            }
        }
    }

    /// Takes `n` lanes of a block to their places.
    ///
    /// # Safety
    /// As for `load`.
    unsafe fn store(&self, dst: *mut u8, step: isize, buf: *mut u8, raw: *mut u8, n: usize) {
        let size = self.mem[0];
        // SAFETY: this function's contract.
        unsafe {
            match self.cast[0] {
                None => scatter(dst, step, buf, n, size),
                Some(cast) if step == size as isize => cast(dst, buf, n),
                Some(cast) => {
                    cast(raw, buf, n);
                    scatter(dst, step, raw, n, size);
                }
            }
        }
    }
}

/// # Safety
/// `buf` holds one element of `size` bytes, aligned, and has room for `n`.
unsafe fn repeat(buf: *mut u8, n: usize, size: usize) {
    unsafe fn fill<T: Copy>(buf: *mut u8, n: usize) {
        let p = buf.cast::<T>();
        // SAFETY: the contract of `repeat`.
        unsafe {
            let v = p.read();
            for i in 1..n {
                p.add(i).write(v);
            }
        }
    }
    // SAFETY: this function's contract.
    unsafe {
        match size {
            1 => fill::<u8>(buf, n),
            2 => fill::<u16>(buf, n),
            4 => fill::<u32>(buf, n),
            _ => fill::<u64>(buf, n),
        }
    }
}

/// Copies `n` elements of `size` bytes that lie `step` bytes apart to a contiguous place.
///
/// # Safety
/// Both places are there, aligned to `size`, and do not overlap.
pub(crate) unsafe fn gather(dst: *mut u8, src: *const u8, step: isize, n: usize, size: usize) {
    // SAFETY: this function's contract.
    unsafe {
        if step == size as isize {
            return std::ptr::copy_nonoverlapping(src, dst, n * size);
        }
        match size {
            1 => strided::<u8>(dst, 1, src, step, n),
            2 => strided::<u16>(dst, 2, src, step, n),
            4 => strided::<u32>(dst, 4, src, step, n),
            _ => strided::<u64>(dst, 8, src, step, n),
        }
    }
}

/// The reverse of [`gather`].
///
/// # Safety
/// As for [`gather`].
pub(crate) unsafe fn scatter(dst: *mut u8, step: isize, src: *const u8, n: usize, size: usize) {
    // SAFETY: this function's contract.
    unsafe {
        if step == size as isize {
            return std::ptr::copy_nonoverlapping(src, dst, n * size);
        }
        match size {
            1 => strided::<u8>(dst, step, src, 1, n),
            2 => strided::<u16>(dst, step, src, 2, n),
            4 => strided::<u32>(dst, step, src, 4, n),
            _ => strided::<u64>(dst, step, src, 8, n),
        }
    }
}

/// # Safety
/// `n` elements lie at both places with these steps in bytes.
#[inline(always)]
pub(crate) unsafe fn strided<T: Copy>(dst: *mut u8, ds: isize, src: *const u8, ss: isize, n: usize) {
    for i in 0..n as isize {
        // SAFETY: this function's contract.
        unsafe { dst.offset(i * ds).cast::<T>().write(src.offset(i * ss).cast::<T>().read()) }
    }
}
