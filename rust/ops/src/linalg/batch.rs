//! Batches of matrices as doubles, their checks, and what several factorisations share.

use crate::args::Ret;
use rustnn_core::base::{layout, linalg_error, not_implemented, runtime_error, with_dtype, with_float};
use rustnn_core::{DType, Dims, Element, Error, Layout, Result, Strides, Tensor};
use rustnn_kernels::parallel::Watch;
use rustnn_kernels::room;

/// A batch of matrices in doubles.
pub(super) struct Batch {
    pub data: Vec<f64>,
    pub lead: Dims,
    pub count: usize,
    pub m: usize,
    pub n: usize,
}

pub(super) fn batch(name: &str, x: &Tensor) -> Result<Batch> {
    if x.ndim() < 2 {
        return Err(runtime_error!("{name}: The input tensor A must have at least 2 dimensions."));
    }
    if !x.dtype().is_float() {
        return Err(not_implemented!(
            "{name}: Expected a floating point or complex tensor as input. Got {}",
            x.dtype().torch_name()
        ));
    }
    let s = x.shape();
    let lead: Dims = s[..s.len() - 2].into();
    let dense = x.to_contiguous()?;
    let data =
        with_float!(x.dtype(), T => room::collected(dense.slice::<T>()?.iter().map(|v| v.to_f64()))?, else Vec::new());
    Ok(Batch { data, count: layout::count(&lead), lead, m: s[s.len() - 2], n: s[s.len() - 1] })
}

pub(super) fn square(name: &str, x: &Tensor) -> Result<Batch> {
    let b = batch(name, x)?;
    if b.m != b.n {
        return Err(runtime_error!(
            "{name}: A must be batches of square matrices, but they are {} by {} matrices",
            b.m,
            b.n
        ));
    }
    Ok(b)
}

impl Batch {
    pub fn item(&self, i: usize) -> &[f64] {
        &self.data[i * self.m * self.n..][..self.m * self.n]
    }

    /// What the matrices give, in `N` vectors: `f` is called with each matrix's place and numbers and appends as many
    /// numbers as `lens` says. This is the only loop over matrices: their count is not backed by elements where they are
    /// empty, nor are their sizes. If they give nothing either, none is looked at, and results that no memory holds
    /// are an error before the first.
    pub fn map<const N: usize>(
        &self,
        lens: [usize; N],
        mut f: impl FnMut(usize, &[f64], &mut [Vec<f64>; N]) -> Result<()>,
    ) -> Result<[Vec<f64>; N]> {
        let mut out = [const { Vec::new() }; N];
        for (v, &len) in out.iter_mut().zip(&lens) {
            *v = room::with_capacity(layout::count(&[self.count, len]))?;
        }
        if self.data.is_empty() && lens.iter().all(|&len| len == 0) {
            return Ok(out);
        }
        let mut watch = Watch::default();
        for i in 0..self.count {
            watch.tick()?;
            f(i, self.item(i), &mut out)?;
        }
        Ok(out)
    }

    /// A tensor of the batch's leading dimensions and these.
    pub fn tensor(&self, data: &[f64], tail: &[usize], dtype: DType) -> Result<Tensor> {
        let shape: Dims = self.lead.iter().chain(tail).copied().collect();
        let out = Tensor::empty(&shape, dtype)?;
        with_dtype!(dtype, T => {
            for (o, v) in out.slice_mut::<T>()?.iter_mut().zip(data) {
                *o = T::from_f64(*v);
            }
        });
        Ok(out)
    }
}

/// `(Batch element 2): ` where there is more than one matrix.
pub(super) fn place(b: &Batch, i: usize) -> String {
    if b.lead.is_empty() { String::new() } else { format!("(Batch element {i}): ") }
}

pub(super) fn singular(name: &str, b: &Batch, i: usize, k: usize) -> Error {
    linalg_error!(
        "{name}: {}The diagonal element {} is zero, the inversion could not be completed because the input matrix is singular.",
        place(b, i), k + 1
    )
    .hint("its rows are linearly dependent; linalg.pinv or linalg.lstsq work for such matrices")
}

/// A constant `n x n` matrix by place.
pub(super) fn mask(n: usize, like: &Tensor, v: impl Fn(usize, usize) -> f64) -> Result<Tensor> {
    let data: Vec<f64> = room::collected((0..layout::count(&[n, n])).map(|i| v(i / n, i % n)))?;
    let b = Batch { data: Vec::new(), lead: Dims::new(), count: 1, m: n, n };
    b.tensor(&data, &[n, n], like.dtype())
}

pub(super) fn named(name: &'static str, fields: &'static [&'static str], v: Result<Vec<Tensor>>) -> Result<Ret> {
    Ok(Ret::Named(name, fields, v?))
}

/// Ones on the diagonal of an `m x n` matrix, zeros elsewhere.
pub(super) fn eye(m: usize, n: usize, dtype: DType) -> Result<Tensor> {
    let out = Tensor::zeros(&[m, n], dtype)?;
    let diagonal =
        Layout { shape: Dims::from_slice(&[m.min(n)]), strides: Strides::from_slice(&[n as isize + 1]), offset: 0 };
    rustnn_kernels::copy::fill(&out.view_of(diagonal).raw(), 1i64.into())?;
    Ok(out)
}

/// Two operands of one dtype, each a batch of matrices, their leading dimensions broadcast.
pub(super) fn together(name: &str, a: &Tensor, b: &Tensor) -> Result<(Batch, Batch)> {
    if b.dtype() != a.dtype() {
        return Err(runtime_error!(
            "{name}: Expected A and B to have the same dtype, but found A of type {} and B of type {} instead",
            a.dtype().torch_name(),
            b.dtype().torch_name()
        ));
    }
    if b.ndim() < 2 {
        return Err(runtime_error!("{name}: The input tensor B must have at least 2 dimensions."));
    }
    let lead = layout::broadcast_shapes(&a.shape()[..a.ndim() - 2], &b.shape()[..b.ndim() - 2])?;
    let full = |t: &Tensor| -> Result<Batch> {
        let shape: Dims = lead.iter().chain(&t.shape()[t.ndim() - 2..]).copied().collect();
        batch(name, &t.view_of(t.layout().expand(&shape)?))
    };
    Ok((full(a)?, full(b)?))
}

/// What LAPACK calls `info`: per matrix 0, or where it failed.
pub(super) fn infos(b: &Batch, info: &[f64]) -> Result<Tensor> {
    b.tensor(info, &[], DType::I32)
}

/// The place of the first matrix that failed, and where it did.
pub(super) fn failed(info: &[f64]) -> Option<(usize, usize)> {
    info.iter().position(|&k| k != 0.0).map(|i| (i, info[i] as usize))
}
