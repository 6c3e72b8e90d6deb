//! Micro-kernels of matrix products and convolutions: the innermost tiles, per instruction set.
//!
//! Every set computes each element by the same sequence of fused multiply-adds (over `k` in order, from zero), so all
//! give the same bits; only how many elements a tile holds differs. Kernels take raw pointers in argument blocks; what
//! they read and write is stated on each block, and whoever calls them vouches for it.

#[macro_use]
mod body;
mod generic;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::Isa;

/// Has the cache line at `p` brought near; a hint, which reads nothing.
#[inline(always)]
pub fn fetch<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 CPU has the instruction, which is one of hints for any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// As [`fetch`], into the second cache: for what comes after what the first one is full of.
#[inline(always)]
pub fn fetch_far<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: as in `fetch`.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// The largest values of eight windows that begin side by side, or two apart (`two`), and the tap (a place relative to the
/// window's first) that each is at: the first of equal ones, the last NaN if there are any. False, and nothing done, where
/// `isa` has no instructions for it. Comparing and choosing in one loop is what the compiler does not vectorise.
///
/// # Safety
/// `x + tap` shows 8 readable values (15 if `two`) for every tap; the CPU has `isa`.
#[inline]
pub unsafe fn max_windows(
    isa: Isa,
    x: *const f32,
    taps: &[u32],
    two: bool,
    best: &mut [f32; 8],
    place: &mut [u32; 8],
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx2 {
        // SAFETY: passed on.
        unsafe { x86::max_windows(x, taps, two, best, place) };
        return true;
    }
    let _ = (isa, x, taps, two, best, place);
    false
}

/// What is added to a tile's products before they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Add {
    /// Nothing: the destination is overwritten.
    Nothing,
    /// The destination's own values.
    Dst,
    /// One value per row, from `bias`.
    PerRow,
    /// One value per column, from `bias`.
    PerColumn,
}

/// One tile `c[M][n] = alpha * sum_k a[i,k] b[k,j] (+ add)`, rows of `c` contiguous.
///
/// Packed kernels read `a` as `[k][M]` and `b` as `[k][N * lanes]`; `rows` reads `a[i * a_rs + k * a_ks]` and packed `b`;
/// unpacked ones read `a[i * a_rs + k * a_ks]` and
/// `b[k * b_ks + j]`, of the last vector only the first `last` columns.
#[derive(Debug, Clone, Copy)]
pub struct GemmArgs<T> {
    pub k: usize,
    pub a: *const T,
    pub a_rs: isize,
    pub a_ks: isize,
    pub b: *const T,
    pub b_ks: isize,
    pub c: *mut T,
    pub ldc: usize,
    pub alpha: T,
    pub add: Add,
    pub bias: *const T,
    /// Columns of the last vector that exist, 1 to the number of lanes.
    pub last: usize,
}

/// A tile as of [`GemmArgs`] with `b` packed, where `a[i, k]` is `rows[i][off[k]]` (`gemm.a` and its strides are not read).
#[derive(Debug, Clone, Copy)]
pub struct TapsArgs<T> {
    pub gemm: GemmArgs<T>,
    pub rows: *const *const T,
    pub off: *const u32,
}

/// One tile of a convolution: `N` vectors of neighbouring outputs for `M` output channels.
///
/// `dst[j][i * ms ..]` gets `sum_t a[t][i] * src[j][off[t] ..]`; `a` is packed `[k][M]`, whole vectors are read from
/// `src[j] + off[t]`, and the first `lanes[j]` values stored.
#[derive(Debug, Clone, Copy)]
pub struct ConvArgs<T> {
    pub k: usize,
    pub a: *const T,
    pub off: *const u32,
    pub src: *const *const T,
    pub dst: *const *mut T,
    pub lanes: *const u32,
    pub ms: usize,
    pub add: Add,
    /// `M` values, read if `add` is `PerRow`.
    pub bias: *const T,
}

/// `M x N` dot products of rows: `out[i * N + j] = sum_r sum_x a[i * a_rs + rows[r].0 + x] * b[j][rows[r].1 + x]`,
/// `x` over `full` vectors and then `tail` single values. `out` has room for `M * N` rounded up to a multiple of four.
#[derive(Debug, Clone, Copy)]
pub struct DotArgs<T> {
    pub rows: *const (u32, u32),
    pub nrows: usize,
    pub full: usize,
    pub tail: usize,
    pub a: *const T,
    pub a_rs: usize,
    pub b: *const *const T,
    pub out: *mut T,
}

/// A tile kernel. Calling one is sound if the pointers of its argument block reach what the block's text says and the
/// CPU has the instruction set it was taken for.
pub type GemmFn<T> = unsafe fn(&GemmArgs<T>);
/// As [`GemmFn`].
pub type TapsFn<T> = unsafe fn(&TapsArgs<T>);
/// As [`GemmFn`].
pub type ConvFn<T> = unsafe fn(&ConvArgs<T>);
/// As [`GemmFn`].
pub type DotFn<T> = unsafe fn(&DotArgs<T>);

/// Turns eight rows into columns while packing: `dst[k * width + r] = src[r * rs + k]` for `r < 8`, `k < steps`, which is
/// a multiple of eight. Sound if source and destination reach that far; see also [`GemmFn`].
pub type TurnFn<T> = unsafe fn(src: *const T, rs: isize, steps: usize, dst: *mut T, width: usize);

/// The first half of a Winograd transform: down the columns of `count` 4×4 tiles side by side, whose rows were brought to
/// four values each. Value `v` of row `a` of tile `i` is `rows[v * apart + a * pitch + i]`; point `4 * y + v` goes to
/// `to[(4 * y + v) * point + i]`.
///
/// Whole vectors are read and written, so up to a vector less one value behind the last tile.
#[derive(Debug, Clone, Copy)]
pub struct TilesArgs<T> {
    pub rows: *const T,
    pub apart: usize,
    pub pitch: usize,
    pub count: usize,
    pub to: *mut T,
    pub point: usize,
}

/// The way back: `n` tiles' sums at 16 points, `m[point * pitch + i]`, to the four outputs of each, two columns in turn:
/// upper ones to `y[2 * i ..]`, lower ones to `y[2 * (pitch + i) ..]`. Whole vectors, as in [`TilesArgs`].
pub type OutputsFn<T> = unsafe fn(m: *const T, pitch: usize, n: usize, y: *mut T);
/// As [`GemmFn`].
pub type TilesFn<T> = unsafe fn(&TilesArgs<T>);

/// The tile kernels of one instruction set for one element type. Tables are indexed by rows - 1, then vectors - 1.
pub struct Micro<T: 'static> {
    /// Lanes of a vector in `gemm`.
    pub lanes: usize,
    /// Packed operands.
    pub gemm: &'static [[GemmFn<T>; 2]],
    /// Operands as they lie, rows of `b` contiguous.
    pub loose: &'static [[GemmFn<T>; 2]],
    /// `a` as it lies, `b` packed.
    pub rows: &'static [[GemmFn<T>; 2]],
    /// Rows wherever they are, `b` packed; up to 6 rows.
    pub taps: &'static [[TapsFn<T>; 2]; 6],
    /// Lanes of a vector in `conv`.
    pub conv_lanes: usize,
    /// Rows up to 6, vectors up to 4; rows times vectors at most 12.
    pub conv: &'static [&'static [ConvFn<T>]; 6],
    /// Rows 1 to 4 of `a`, 1 to 3 of `b`; the same number of lanes everywhere.
    pub dot: &'static [[DotFn<T>; 3]; 4],
    /// Lanes of a vector in `dot`.
    pub dot_lanes: usize,
    pub turn: TurnFn<T>,
    /// Winograd's transforms, of vectors as in `conv`.
    pub tiles: TilesFn<T>,
    pub outputs: OutputsFn<T>,
}

impl<T> Micro<T> {
    /// Rows of a full `gemm` tile.
    #[must_use]
    pub fn mr(&self) -> usize {
        self.gemm.len()
    }
    /// Columns of a full `gemm` tile.
    #[must_use]
    pub fn nr(&self) -> usize {
        2 * self.lanes
    }
}

/// f32 and f64: the types that have tile kernels.
pub trait Tiled: Sized + Copy + 'static {
    /// The kernels for `isa`, which the CPU must have (as [`crate::isa`] and [`Isa::available`] promise).
    fn micro(isa: Isa) -> &'static Micro<Self>;
}

impl Tiled for f32 {
    fn micro(isa: Isa) -> &'static Micro<f32> {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &x86::AVX512_F32,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &x86::AVX2_F32,
            _ => &generic::F32,
        }
    }
}

impl Tiled for f64 {
    fn micro(isa: Isa) -> &'static Micro<f64> {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &x86::AVX512_F64,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &x86::AVX2_F64,
            _ => &generic::F64,
        }
    }
}
