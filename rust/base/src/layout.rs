//! Shape, strides and offset of a tensor over its storage, and the view arithmetic on them. Strides count elements.

use crate::{Error, Result, index_error, runtime_error};
use smallvec::SmallVec;

/// Sizes of dimensions; up to five stay inline.
pub type Dims = SmallVec<[usize; 5]>;
/// Elements to step per dimension; negative only inside kernels (PyTorch has no negative strides).
pub type Strides = SmallVec<[isize; 5]>;

/// Which elements of a storage a tensor shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    pub shape: Dims,
    pub strides: Strides,
    pub offset: usize,
}

/// The numbers as a [`Dims`] or [`Strides`]. Every view and every result makes two of them, and `SmallVec` copies by
/// the system's `memcpy` (or one by one), at 25 to 60 instructions for what are mostly two or three numbers.
#[inline]
#[must_use]
pub fn few<T: Copy + Default>(src: &[T]) -> SmallVec<[T; 5]> {
    let n = src.len();
    if n > 5 {
        return SmallVec::from_slice(src);
    }
    let mut buf = [T::default(); 5];
    // A loop over `n` would become a call of `memcpy` again.
    for i in 0..5 {
        if i < n {
            buf[i] = src[i];
        }
    }
    SmallVec::from_buf_and_len(buf, n)
}

impl Clone for Layout {
    #[inline]
    fn clone(&self) -> Self {
        Layout { shape: few(&self.shape), strides: few(&self.strides), offset: self.offset }
    }
}

/// Product of sizes; an error when it does not fit in `isize`.
#[inline]
pub fn numel(shape: &[usize]) -> Result<usize> {
    let (mut n, mut over) = (1usize, false);
    for &d in shape {
        let (product, o) = n.overflowing_mul(d);
        n = product;
        over |= o;
    }
    if over || n > isize::MAX as usize { numel_of_many(shape) } else { Ok(n) }
}

/// As [`numel`] where the plain product overflows: an empty tensor's dimensions may be of any size.
#[cold]
fn numel_of_many(shape: &[usize]) -> Result<usize> {
    if shape.contains(&0) {
        return Ok(0);
    }
    shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d).filter(|&n| n <= isize::MAX as usize))
        .ok_or_else(|| runtime_error!("sizes {shape:?} overflow: more elements than memory can address"))
}

/// How many elements these dimensions have together, as far as numbers go: dimensions of an empty tensor may be of any
/// size.
#[must_use]
pub fn count(dims: &[usize]) -> usize {
    if dims.contains(&0) { 0 } else { dims.iter().fold(1, |n: usize, &d| n.saturating_mul(d)) }
}

/// As [`wrap_dim`], where the dimension is looked at: a tensor without dimensions has none.
pub fn wrap_own_dim(dim: i64, ndim: usize) -> Result<usize> {
    if ndim == 0 {
        return Err(index_error!("Dimension specified as {dim} but tensor has no dimensions"));
    }
    wrap_dim(dim, ndim)
}

/// Sizes before, along and after a dimension (of no dimensions one element; all around `n` zero if there are no
/// elements, so that no loop over the dimensions of an empty tensor, which may be of any size, runs).
#[must_use]
pub fn around(shape: &[usize], dim: usize) -> (usize, usize, usize) {
    match shape.get(dim) {
        None => (1, 1, 1),
        Some(&n) if shape.contains(&0) => (0, n, 0),
        Some(&n) => (count(&shape[..dim]), n, count(&shape[dim + 1..])),
    }
}

/// Row-major strides; a size-0 dimension counts as 1, as in PyTorch.
#[inline]
#[must_use]
pub fn contiguous_strides(shape: &[usize]) -> Strides {
    let n = shape.len();
    if n <= 5 {
        let (mut buf, mut step) = ([1isize; 5], 1isize);
        for i in (0..5).rev() {
            if i < n {
                buf[i] = step;
                step = step.saturating_mul(shape[i].max(1) as isize);
            }
        }
        return Strides::from_buf_and_len(buf, n);
    }
    let mut s: Strides = SmallVec::from_elem(1, shape.len());
    row_major(shape, &mut s);
    s
}

/// Fills in row-major strides; both slices have the same length.
#[inline]
fn row_major(shape: &[usize], strides: &mut [isize]) {
    let mut step = 1isize;
    for (s, &d) in strides.iter_mut().zip(shape).rev() {
        *s = step;
        step = step.saturating_mul(d.max(1) as isize);
    }
}

/// A dimension given from the front or (negative) the back, checked. `ndim` 0 accepts -1 and 0.
pub fn wrap_dim(dim: i64, ndim: usize) -> Result<usize> {
    let n = ndim.max(1) as i64;
    if dim < -n || dim >= n {
        return Err(index_error!(
            "Dimension out of range (expected to be in range of [{}, {}], but got {dim})",
            -n,
            n - 1
        ));
    }
    Ok(if dim < 0 { dim + n } else { dim } as usize)
}

/// The shape two or more operands broadcast to.
pub fn broadcast_shapes(a: &[usize], b: &[usize]) -> Result<Dims> {
    let n = a.len().max(b.len());
    let mut out: Dims = SmallVec::from_elem(1, n);
    for i in 0..n {
        let (da, db) = (
            if i + a.len() >= n { a[i + a.len() - n] } else { 1 },
            if i + b.len() >= n { b[i + b.len() - n] } else { 1 },
        );
        out[i] = match (da, db) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            (x, y) => {
                return Err(runtime_error!(
                    "The size of tensor a ({x}) must match the size of tensor b ({y}) at non-singleton dimension {i}"
                )
                .hint(format!("the shapes are {a:?} and {b:?}; sizes are matched from the last dimension back")));
            }
        };
    }
    Ok(out)
}

impl Layout {
    /// A row-major layout from offset 0.
    #[inline]
    #[must_use]
    pub fn contiguous(shape: &[usize]) -> Self {
        Layout { shape: few(shape), strides: contiguous_strides(shape), offset: 0 }
    }

    /// Number of dimensions.
    #[must_use]
    pub fn ndim(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements shown.
    #[must_use]
    pub fn numel(&self) -> usize {
        count(&self.shape)
    }

    /// True when the elements lie row-major without gaps (dimensions of size 1 do not matter; empty counts).
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        let mut want = 1isize;
        for (&d, &s) in self.shape.iter().zip(&self.strides).rev() {
            if d == 0 {
                return true;
            }
            if d != 1 {
                if s != want {
                    return false;
                }
                want = want.saturating_mul(d as isize);
            }
        }
        true
    }

    /// [`Layout::is_contiguous`] and [`Layout::numel`] in one walk, for the many views that need both.
    #[inline]
    #[must_use]
    pub fn facts(&self) -> (bool, usize) {
        let (mut want, mut count, mut row_major, mut ended) = (1isize, 1usize, true, false);
        for (&d, &s) in self.shape.iter().zip(&self.strides).rev() {
            count = count.saturating_mul(d);
            ended |= d == 0;
            if d != 1 && !ended {
                row_major &= s == want;
                want = want.saturating_mul(d as isize);
            }
        }
        (row_major, count)
    }

    /// Whether the elements fill a gap-free block in some order of dimensions, none shown twice.
    #[must_use]
    pub fn is_dense(&self) -> bool {
        is_dense(&self.shape, &self.strides)
    }

    /// Strides of a fresh tensor that keeps this one's memory order (PyTorch's `preserve_format`):
    /// same strides when dense, else the same order of dimensions without gaps.
    #[must_use]
    pub fn preserved_strides(&self) -> Strides {
        if self.is_contiguous() {
            return contiguous_strides(&self.shape);
        }
        if self.is_dense() {
            return few(&self.strides);
        }
        let n = self.ndim();
        let mut order: SmallVec<[usize; 5]> = (0..n).collect();
        // Insertion sort, stable, from the fastest dimension: ambiguous ones keep row-major order.
        order.reverse();
        for i in 1..n {
            let mut j = i;
            while j > 0 {
                let (a, b) = (order[j - 1], order[j]);
                let (sa, sb) = (self.strides[a], self.strides[b]);
                let swap = sa != 0 && sb != 0 && (sb < sa || (sa == sb && self.shape[a] > self.shape[b]));
                if !swap {
                    break;
                }
                order.swap(j - 1, j);
                j -= 1;
            }
        }
        let mut out: Strides = SmallVec::from_elem(1, n);
        let mut step = 1isize;
        for &d in &order {
            out[d] = step;
            step = step.saturating_mul(self.shape[d].max(1) as isize);
        }
        out
    }

    /// One past the last element reached, from the start of the storage (0 when empty), or an overflow error.
    pub fn extent(&self) -> Result<usize> {
        if self.shape.contains(&0) {
            return Ok(0);
        }
        let mut last = self.offset as i128;
        for (&d, &s) in self.shape.iter().zip(&self.strides) {
            last += (d as i128 - 1) * s as i128;
        }
        usize::try_from(last + 1).ok().filter(|&e| e <= isize::MAX as usize).ok_or_else(|| {
            runtime_error!("sizes {:?} with strides {:?} reach outside of memory", &self.shape[..], &self.strides[..])
        })
    }

    /// Broadcast to `shape` with zero strides.
    pub fn expand(&self, shape: &[usize]) -> Result<Layout> {
        if shape.len() < self.ndim() {
            return Err(runtime_error!(
                "expand: the number of sizes provided ({}) must be greater or equal to the number of dimensions in the tensor ({})",
                shape.len(),
                self.ndim()
            ));
        }
        let lead = shape.len() - self.ndim();
        let mut strides: Strides = SmallVec::from_elem(0, shape.len());
        for i in lead..shape.len() {
            let (have, want) = (self.shape[i - lead], shape[i]);
            if have == want {
                strides[i] = self.strides[i - lead];
            } else if have != 1 {
                return Err(runtime_error!(
                    "The expanded size of the tensor ({want}) must match the existing size ({have}) at non-singleton dimension {i}.  Target sizes: {shape:?}.  Tensor sizes: {:?}",
                    &self.shape[..]
                ));
            }
        }
        Ok(Layout { shape: few(shape), strides, offset: self.offset })
    }

    /// Dimensions in the given order (a permutation, already checked).
    #[must_use]
    pub fn permute(&self, order: &[usize]) -> Layout {
        Layout {
            shape: order.iter().map(|&d| self.shape[d]).collect(),
            strides: order.iter().map(|&d| self.strides[d]).collect(),
            offset: self.offset,
        }
    }

    /// Two dimensions exchanged.
    #[must_use]
    pub fn transpose(&self, a: usize, b: usize) -> Layout {
        let mut l = self.clone();
        if a != b {
            l.shape.swap(a, b);
            l.strides.swap(a, b);
        }
        l
    }

    /// `length` elements of `dim` from `start` by `step` (all already checked).
    #[must_use]
    pub fn slice(&self, dim: usize, start: usize, length: usize, step: usize) -> Layout {
        let mut l = self.clone();
        // Beyond all bounds only where there are no elements, and then it does not matter where they are.
        let moved = (start as isize).checked_mul(l.strides[dim]).and_then(|by| l.offset.checked_add_signed(by));
        l.offset = moved.unwrap_or(l.offset);
        l.shape[dim] = length;
        l.strides[dim] = l.strides[dim].saturating_mul(step as isize);
        l
    }

    /// The layout without `dim`, at position `index` of it.
    #[must_use]
    pub fn select(&self, dim: usize, index: usize) -> Layout {
        let mut l = self.slice(dim, index, 1, 1);
        l.shape.remove(dim);
        l.strides.remove(dim);
        l
    }

    /// A dimension of size 1 put in at `dim` (up to `ndim`).
    #[must_use]
    pub fn unsqueeze(&self, dim: usize) -> Layout {
        let mut l = self.clone();
        l.insert(dim);
        l
    }

    /// [`Layout::unsqueeze`] in place.
    pub fn insert(&mut self, dim: usize) {
        let l = self;
        let stride = if dim < l.ndim() { (l.shape[dim] as isize).saturating_mul(l.strides[dim]) } else { 1 };
        l.shape.insert(dim, 1);
        l.strides.insert(dim, stride);
    }

    /// The same elements in another shape without moving them, if the strides allow.
    #[must_use]
    pub fn view(&self, shape: &[usize]) -> Option<Layout> {
        let count = self.numel();
        if count == 0 || self.is_contiguous() {
            let strides =
                if count == 0 && shape == &self.shape[..] { few(&self.strides) } else { contiguous_strides(shape) };
            return Some(Layout { shape: few(shape), strides, offset: self.offset });
        }
        let mut strides: Strides = SmallVec::from_elem(0, shape.len());
        let mut to = shape.len() as isize - 1;
        let mut chunk_stride = *self.strides.last()?;
        let (mut chunk, mut made) = (1usize, 1usize);
        for d in (0..self.ndim()).rev() {
            chunk *= self.shape[d];
            let breaks = d == 0 || (self.shape[d - 1] != 1 && self.strides[d - 1] != chunk as isize * chunk_stride);
            if breaks {
                while to >= 0 && (made < chunk || shape[to as usize] == 1) {
                    strides[to as usize] = made as isize * chunk_stride;
                    made *= shape[to as usize];
                    to -= 1;
                }
                if made != chunk {
                    return None;
                }
                if d > 0 {
                    chunk_stride = self.strides[d - 1];
                    chunk = 1;
                    made = 1;
                }
            }
        }
        (to == -1).then(|| Layout { shape: few(shape), strides, offset: self.offset })
    }
}

/// Fills in a single `-1` of a requested shape and checks the count.
pub fn infer_shape(shape: &[i64], count: usize) -> Result<Dims> {
    let fail = || -> Error {
        let shown = shape.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        runtime_error!("shape '[{shown}]' is invalid for input of size {count}")
    };
    let mut known = 1usize;
    let mut hole = None;
    for (i, &d) in shape.iter().enumerate() {
        match d {
            -1 if hole.is_some() => return Err(runtime_error!("only one dimension can be inferred")),
            -1 => hole = Some(i),
            d if d < 0 => return Err(runtime_error!("invalid shape dimension {d}")),
            d => known = known.checked_mul(d as usize).ok_or_else(fail)?,
        }
    }
    let mut out = if shape.len() <= 5 {
        let mut dims = [0; 5];
        for (to, &d) in dims.iter_mut().zip(shape) {
            *to = d.max(0) as usize;
        }
        Dims::from_buf_and_len(dims, shape.len())
    } else {
        shape.iter().map(|&d| d.max(0) as usize).collect()
    };
    match hole {
        Some(_) if known == 0 && count == 0 => {
            return Err(runtime_error!(
                "cannot reshape tensor of 0 elements into shape {shape:?} because the unspecified dimension size -1 can be any value and is ambiguous"
            ));
        }
        Some(i) if known != 0 && count % known == 0 => out[i] = count / known,
        None if known == count => {}
        _ => return Err(fail()),
    }
    Ok(out)
}

/// Whether elements of this shape and these strides fill a gap-free block in some order of dimensions, none shown twice.
#[must_use]
pub fn is_dense(shape: &[usize], strides: &[isize]) -> bool {
    let mut order: SmallVec<[(isize, usize); 5]> =
        strides.iter().copied().zip(shape.iter().copied()).filter(|&(_, d)| d != 1).collect();
    order.sort_unstable();
    let mut want = 1isize;
    for (s, d) in order {
        if d == 0 {
            return true;
        }
        if s != want {
            return false;
        }
        want = want.saturating_mul(d as isize);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use smallvec::smallvec;

    #[test]
    fn facts_are_what_the_single_questions_answer() {
        let sizes = [0, 1, 2, 3];
        for (a, b, c) in (0..64).map(|i| (sizes[i / 16], sizes[i / 4 % 4], sizes[i % 4])) {
            for strides in [smallvec![b as isize * c as isize, c as isize, 1], smallvec![1, 5, 2], smallvec![0, 0, 0]] {
                let l = Layout { shape: smallvec![a, b, c], strides, offset: 0 };
                assert_eq!(l.facts(), (l.is_contiguous(), l.numel()), "{l:?}");
            }
        }
    }

    #[test]
    fn views_of_transposes_need_a_copy() {
        let t = Layout::contiguous(&[3, 4]).transpose(0, 1);
        assert!(t.view(&[12]).is_none());
        assert!(t.view(&[2, 2, 3]).is_some());
        assert_eq!(t.view(&[2, 2, 3]).map(|l| l.strides), Some(smallvec![2, 1, 4]));
    }

    #[test]
    fn shapes_infer_and_fail() {
        assert_eq!(infer_shape(&[2, -1], 12).ok().map(|d| d.to_vec()), Some(vec![2, 6]));
        assert!(infer_shape(&[5, -1], 12).is_err());
        assert!(infer_shape(&[-1, -1], 12).is_err());
    }

    #[test]
    fn broadcast_names_both_sizes() {
        let e = broadcast_shapes(&[3, 4], &[3, 5]).map_err(|e| e.to_string());
        assert!(e.is_err_and(|m| m.contains("(4) must match the size of tensor b (5) at non-singleton dimension 1")));
    }
}
