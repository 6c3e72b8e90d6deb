//! `x[...]`: basic parts as views, index tensors and masks as copies, mixed as PyTorch mixes them.

use super::{long, rows};
use crate::shape::{part, permute};
use rustnn_core::base::{index_error, layout, value_error};
use rustnn_core::{DType, Dims, Layout, Result, Scalar, Tensor, attach, grads, needs_grad};
use rustnn_kernels::index as kernel;
use smallvec::SmallVec;

/// One element of an index expression.
#[derive(Debug, Clone)]
pub enum IndexItem {
    /// A new dimension of size 1.
    None,
    /// As many full dimensions as are missing.
    Ellipsis,
    Int(i64),
    Slice {
        start: Option<i64>,
        stop: Option<i64>,
        step: i64,
    },
    /// A new dimension, of size 1 or (for false) 0.
    Bool(bool),
    /// Indices, or a mask over as many dimensions as it has.
    Tensor(Tensor),
}

/// One step of a basic index on a layout.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Select(usize, usize),
    Slice(usize, usize, usize, usize),
    New(usize),
}

pub(crate) type Steps = SmallVec<[Step; 4]>;

fn apply(steps: &[Step], l: &Layout) -> Layout {
    let mut l = l.clone();
    for s in steps {
        match *s {
            Step::Select(d, i) => {
                l.offset = (l.offset as isize + i as isize * l.strides[d]) as usize;
                l.shape.remove(d);
                l.strides.remove(d);
            }
            Step::Slice(d, start, len, step) => {
                l.offset = (l.offset as isize + start as isize * l.strides[d]) as usize;
                l.shape[d] = len;
                l.strides[d] = l.strides[d].saturating_mul(step as isize);
            }
            Step::New(d) => l.insert(d),
        }
    }
    l
}

/// An index expression taken apart: the basic part, then index tensors on dimensions of what that gives.
pub(crate) struct Parsed {
    pub steps: Steps,
    /// Dimension and int64 indices, dimensions ascending.
    pub picks: Vec<(usize, Tensor)>,
    /// The one mask the expression consists of (beside full slices), if so: for filling without indices.
    pub mask: Option<Tensor>,
}

/// Elements that a slice shows: first place and how many.
fn slice_range(size: usize, start: Option<i64>, stop: Option<i64>, step: i64) -> Result<(usize, usize)> {
    if step <= 0 {
        return Err(value_error!("step must be greater than zero"));
    }
    let n = size as i64;
    let place = |v: i64| if v < 0 { v.saturating_add(n).max(0) } else { v.min(n) };
    let (a, b) = (place(start.unwrap_or(0)), place(stop.unwrap_or(n)));
    let len = if b > a { (b - a + (step - 1).min(i64::MAX - (b - a))) / step } else { 0 };
    Ok((if len > 0 { a as usize } else { a.min(n) as usize }, len as usize))
}

/// Reads an index expression for a tensor of this shape.
pub(crate) fn parse(shape: &[usize], items: &[IndexItem]) -> Result<Parsed> {
    let takes = |i: &IndexItem| match i {
        IndexItem::Int(_) | IndexItem::Slice { .. } => 1,
        IndexItem::Tensor(t) if matches!(t.dtype(), DType::Bool | DType::U8) => t.ndim(),
        IndexItem::Tensor(_) => 1,
        _ => 0,
    };
    let ndim = shape.len();
    let given: usize = items.iter().map(takes).sum();
    if given > ndim {
        if ndim == 0 && matches!(items, [IndexItem::Int(_)]) {
            return Err(index_error!(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"
            ));
        }
        return Err(index_error!("too many indices for tensor of dimension {ndim}")
            .hint(format!("{given} dimensions are indexed, the shape is {shape:?}")));
    }
    let mut p = Parsed { steps: Steps::new(), picks: Vec::new(), mask: None };
    // `dim` counts dimensions of the result of the steps so far, `from` those of the tensor.
    let (mut dim, mut from) = (0, 0);
    let mut only_mask = true;
    let mut missing = ndim - given;
    for item in items {
        match item {
            IndexItem::None => {
                p.steps.push(Step::New(dim));
                dim += 1;
                only_mask = false;
            }
            IndexItem::Ellipsis => {
                // A second one stands for nothing.
                let n = std::mem::take(&mut missing);
                dim += n;
                from += n;
            }
            IndexItem::Int(i) => {
                select(&mut p, shape, dim, from, *i)?;
                from += 1;
                only_mask = false;
            }
            IndexItem::Slice { start, stop, step } => {
                let (a, len) = slice_range(shape[from], *start, *stop, *step)?;
                if (a, len) != (0, shape[from]) {
                    p.steps.push(Step::Slice(dim, a, len, *step as usize));
                    only_mask = false;
                }
                dim += 1;
                from += 1;
            }
            IndexItem::Bool(b) => {
                flag(&mut p, dim, *b)?;
                dim += 1;
                only_mask = false;
            }
            IndexItem::Tensor(t) if t.ndim() == 0 && t.dtype() == DType::Bool => {
                flag(&mut p, dim, t.item()?.to_bool())?;
                dim += 1;
                only_mask = false;
            }
            IndexItem::Tensor(t) if matches!(t.dtype(), DType::I16 | DType::I8) => {
                return Err(index_error!("tensors used as indices must be long, int, byte or bool tensors")
                    .hint(format!("the index is {}; .long() makes it int64", t.dtype())));
            }
            IndexItem::Tensor(t) if t.ndim() == 0 && !t.dtype().is_float() => {
                let Scalar::Int(i) = t.item()? else {
                    return Err(index_error!("tensors used as indices must be long, int, byte or bool tensors"));
                };
                select(&mut p, shape, dim, from, i)?;
                from += 1;
                only_mask = false;
            }
            IndexItem::Tensor(t) if matches!(t.dtype(), DType::Bool | DType::U8) => {
                for k in 0..t.ndim() {
                    if t.shape()[k] != shape[from + k] {
                        return Err(index_error!(
                            "The shape of the mask {:?} at index {k} does not match the shape of the indexed tensor {shape:?} at index {}",
                            t.shape(),
                            from + k
                        ));
                    }
                }
                p.mask = Some(t.clone());
                only_mask = only_mask && p.picks.is_empty() && from == 0;
                for (k, index) in super::mask::nonzero_columns(t)?.into_iter().enumerate() {
                    p.picks.push((dim + k, index));
                }
                dim += t.ndim();
                from += t.ndim();
            }
            IndexItem::Tensor(t) => {
                p.picks.push((dim, long(t)?));
                dim += 1;
                from += 1;
                only_mask = false;
            }
        }
    }
    if !only_mask || p.mask.as_ref().is_some_and(|m| m.ndim() != p.picks.len()) {
        p.mask = None;
    }
    Ok(p)
}

fn flag(p: &mut Parsed, dim: usize, on: bool) -> Result<()> {
    p.steps.push(Step::New(dim));
    p.picks.push((dim, Tensor::zeros(&[usize::from(on)], DType::I64)?));
    Ok(())
}

fn select(p: &mut Parsed, shape: &[usize], dim: usize, from: usize, i: i64) -> Result<()> {
    let n = shape[from] as i64;
    if i < -n || i >= n {
        return Err(kernel::out_of_bounds(i, from, shape[from]));
    }
    p.steps.push(Step::Select(dim, if i < 0 { i + n } else { i } as usize));
    Ok(())
}

/// The basic part of an index: a view.
pub(crate) fn basic(x: &Tensor, steps: Steps) -> Result<Tensor> {
    let name = match steps.last() {
        None => "AliasBackward0",
        Some(Step::Select(..)) => "SelectBackward0",
        Some(Step::Slice(..)) => "SliceBackward0",
        Some(Step::New(..)) => "UnsqueezeBackward0",
    };
    part(name, x, move |l: &Layout| apply(&steps, l))
}

/// `x[items]`.
pub fn get(x: &Tensor, items: &[IndexItem]) -> Result<Tensor> {
    if let [IndexItem::Int(i)] = *items
        && let Some(&n) = x.shape().first()
    {
        // The commonest case without the general machinery.
        if i < -(n as i64) || i >= n as i64 {
            return Err(kernel::out_of_bounds(i, 0, n));
        }
        let i = if i < 0 { i + n as i64 } else { i } as usize;
        return part("SelectBackward0", x, move |l: &Layout| l.select(0, i));
    }
    let p = parse(x.shape(), items)?;
    let y = if p.steps.is_empty() && !p.picks.is_empty() { x.clone() } else { basic(x, p.steps)? };
    if p.picks.is_empty() { Ok(y) } else { pick(&y, &p.picks) }
}

/// Index tensors broadcast to one shape, and where in the result their dimensions go.
pub(crate) struct Joint {
    pub dims: Dims,
    pub indices: Vec<Tensor>,
    pub shape: Dims,
    /// The result's position of the index dimensions: that of the first when they are neighbours, else the front.
    pub at: usize,
}

pub(crate) fn join(picks: &[(usize, Tensor)]) -> Result<Joint> {
    let mut shape = Dims::new();
    for (_, t) in picks {
        shape = layout::broadcast_shapes(&shape, t.shape()).map_err(|_| {
            let shapes: Vec<String> = picks.iter().map(|(_, t)| format!("{:?}", t.shape())).collect();
            index_error!(
                "shape mismatch: indexing tensors could not be broadcast together with shapes {}",
                shapes.join(", ")
            )
        })?;
    }
    let wide = |t: &Tensor| -> Result<Tensor> {
        if t.shape() == &shape[..] {
            return Ok(t.clone());
        }
        t.view_of(t.layout().expand(&shape)?).to_contiguous()
    };
    let indices = picks.iter().map(|(_, t)| wide(t)).collect::<Result<Vec<_>>>()?;
    let dims: Dims = picks.iter().map(|p| p.0).collect();
    let adjacent = dims.windows(2).all(|w| w[1] == w[0] + 1);
    let at = if adjacent { dims.first().copied().unwrap_or(0) } else { 0 };
    Ok(Joint { dims, indices, shape, at })
}

impl Joint {
    /// The shape of `x[joint]`.
    pub fn result_shape(&self, x: &[usize]) -> Dims {
        let rest: Dims = (0..x.len()).filter(|d| !self.dims.contains(d)).map(|d| x[d]).collect();
        let mut out: Dims = rest[..self.at].into();
        out.extend_from_slice(&self.shape);
        out.extend_from_slice(&rest[self.at..]);
        out
    }

    /// A tensor of the result's shape with the index dimensions moved to the front.
    pub fn to_front(&self, t: &Tensor) -> Result<Tensor> {
        if self.at == 0 {
            return Ok(t.clone());
        }
        let k = self.shape.len();
        let order: Vec<i64> =
            (self.at..self.at + k).chain(0..self.at).chain(self.at + k..t.ndim()).map(|d| d as i64).collect();
        permute::permute(t, &order)
    }

    /// The inverse of [`Joint::to_front`].
    fn from_front(&self, t: &Tensor) -> Result<Tensor> {
        if self.at == 0 {
            return Ok(t.clone());
        }
        let k = self.shape.len();
        let order: Vec<i64> = (k..k + self.at).chain(0..k).chain(k + self.at..t.ndim()).map(|d| d as i64).collect();
        permute::permute(t, &order)
    }

    /// Runs `f` on the picks as the kernels take them.
    pub fn with<R>(&self, f: impl FnOnce(&kernel::Picks<'_>) -> Result<R>) -> Result<R> {
        let indices = self.indices.iter().map(|t| t.slice::<i64>()).collect::<Result<Vec<_>>>()?;
        f(&kernel::Picks { dims: &self.dims, indices: &indices })
    }
}

/// `y[:, i, :, j]` for index tensors on given dimensions.
pub(crate) fn pick(y: &Tensor, picks: &[(usize, Tensor)]) -> Result<Tensor> {
    let j = join(picks)?;
    let out_shape = j.result_shape(y.shape());
    let out = if let ([d], true) = (&j.dims[..], y.is_contiguous()) {
        let out = Tensor::empty(&out_shape, y.dtype())?;
        let index = rows::wrapped(&j.indices[0], y.shape()[*d], *d)?;
        kernel::index_select(out.raw(), y.raw(), *d, index.slice::<i64>()?, "index")?;
        out
    } else {
        let mut front = j.shape.clone();
        front.extend((0..y.ndim()).filter(|d| !j.dims.contains(d)).map(|d| y.shape()[d]));
        let out = Tensor::empty(&front, y.dtype())?;
        j.with(|p| kernel::take_picks(out.raw(), y.raw(), p))?;
        j.from_front(&out)?.to_contiguous()?
    };
    if !needs_grad(&[y]) {
        return Ok(out);
    }
    let shape = Dims::from_slice(y.shape());
    let picks = picks.to_vec();
    attach("IndexBackward0", out, &[y], move |_, g| Ok(grads![pick_backward(g, &shape, &picks)?]))
}

/// The gradient of [`pick`]: `g` added, in the order of the indices, to zeros.
fn pick_backward(g: &Tensor, shape: &[usize], picks: &[(usize, Tensor)]) -> Result<Tensor> {
    let j = join(picks)?;
    let out = Tensor::zeros(shape, g.dtype())?;
    if let [d] = j.dims[..] {
        let index = rows::wrapped(&j.indices[0], shape[d], d)?;
        kernel::index_add(
            out.raw(),
            d,
            index.slice::<i64>()?,
            g.to_contiguous()?.raw(),
            Scalar::Int(1),
            None,
            "index",
        )?;
    } else {
        let front = j.to_front(&g.detach())?.to_contiguous()?;
        j.with(|p| kernel::put_picks(out.raw(), p, front.raw(), true))?;
    }
    let picks = picks.to_vec();
    attach("IndexPutBackward0", out, &[g], move |_, gg| Ok(grads![pick(gg, &picks)?]))
}
