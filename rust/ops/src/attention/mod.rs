//! Scaled dot-product attention: blocked kernels where nothing asks for the matrix of weights, plain products where
//! dropout or a mask with a gradient does.

use crate::args::IntoRet;
use crate::compose as c;
use crate::registry::{NN, OpDef, op};
use rustnn_core::base::{layout, runtime_error};
use rustnn_core::{DType, Grads, Layout, Result, Scalar, Tensor, attach, needs_grad, save, save_output};
use rustnn_kernels::attention::{self as kernel, Mask};
use rustnn_kernels::room;

/// Settings beside the tensors.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub dropout: f64,
    pub causal: bool,
    pub scale: Option<f64>,
    pub gqa: bool,
}

/// `softmax(q k^T * scale + mask) v` over the last two dimensions.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>, o: Options) -> Result<Tensor> {
    let (nq, nk, nv) = (q.ndim(), k.ndim(), v.ndim());
    if nq < 2 || nk < 2 || nv < 2 {
        return Err(runtime_error!(
            "scaled_dot_product_attention: Expected query, key, and value to all be  at least 2 dimensional, but got Query dim: {nq}, Key dim: {nk}, Value dim: {nv} instead."
        ));
    }
    if q.dtype() != k.dtype() || q.dtype() != v.dtype() {
        return Err(runtime_error!(
            "Expected query, key, and value to have the same dtype, but got query.dtype: {} key.dtype: {} and value.dtype: {} instead.",
            q.dtype().torch_name().to_lowercase(),
            k.dtype().torch_name().to_lowercase(),
            v.dtype().torch_name().to_lowercase()
        ));
    }
    if !q.dtype().is_float() {
        return Err(runtime_error!("scaled_dot_product_attention: expected floating point inputs, got {}", q.dtype()));
    }
    if mask.is_some() && o.causal {
        return Err(runtime_error!(
            "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
        ));
    }
    if let Some(m) = mask.filter(|m| m.dtype() != DType::Bool && m.dtype() != q.dtype()) {
        return Err(runtime_error!(
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: {} and  query.dtype: {} instead.",
            m.dtype().torch_name().to_lowercase(),
            q.dtype().torch_name().to_lowercase()
        ));
    }
    let (e, ek) = (q.shape()[nq - 1], k.shape()[nk - 1]);
    let (s, sv) = (k.shape()[nk - 2], v.shape()[nv - 2]);
    if e != ek || s != sv {
        return Err(runtime_error!(
            "scaled_dot_product_attention: query {:?}, key {:?} and value {:?} do not fit",
            q.shape(),
            k.shape(),
            v.shape()
        )
        .hint("query and key share their last dimension, key and value the one before it"));
    }
    let scale = o.scale.unwrap_or(1.0 / (e as f64).sqrt());
    let narrow = q.dtype() != q.dtype().accumulate();
    if o.dropout > 0.0 || mask.is_some_and(needs) {
        return plain(q, k, v, mask, o, scale);
    }
    if narrow {
        let wide = q.dtype().accumulate();
        let up = |t: &Tensor| crate::basic::to_dtype(t, wide);
        let m = mask.map(|m| if m.dtype() == DType::Bool { Ok(m.clone()) } else { up(m) }).transpose()?;
        return crate::basic::to_dtype(&fused(&up(q)?, &up(k)?, &up(v)?, m.as_ref(), o, scale)?, q.dtype());
    }
    fused(q, k, v, mask, o, scale)
}

fn needs(t: &Tensor) -> bool {
    needs_grad(&[t])
}

/// The leading dimensions of query and key, brought to `[batch, heads]`.
struct Lead {
    dims: Vec<usize>,
    batch: usize,
    heads: usize,
    key_heads: usize,
}

fn lead(q: &Tensor, k: &Tensor, v: &Tensor, gqa: bool) -> Result<Lead> {
    let head = |t: &Tensor| t.shape()[..t.ndim() - 2].to_vec();
    let (lq, lk, lv) = (head(q), head(k), head(v));
    if gqa && lq.len() >= 1 && lk.len() == lq.len() && lv == lk {
        let n = lq.len() - 1;
        if lq[..n] != lk[..n] || lk[n] == 0 || lq[n] % lk[n] != 0 {
            return Err(runtime_error!(
                "scaled_dot_product_attention: number of heads in query ({:?}) must be a multiple of those in key ({:?})",
                lq,
                lk
            ));
        }
        return Ok(Lead { batch: layout::count(&lq[..n]), heads: lq[n], key_heads: lk[n], dims: lq });
    }
    let dims = layout::broadcast_shapes(&layout::broadcast_shapes(&lq, &lk)?, &lv)?.to_vec();
    let heads = dims.last().copied().unwrap_or(1);
    let batch = layout::count(&dims[..dims.len().saturating_sub(1)]);
    Ok(Lead { dims, batch, heads, key_heads: heads })
}

/// `t` as `[batch, heads, rows, width]` with contiguous rows, with its graph.
fn four(t: &Tensor, dims: &[usize], batch: usize, heads: usize) -> Result<Tensor> {
    let (r, w) = (t.shape()[t.ndim() - 2], t.shape()[t.ndim() - 1]);
    let mut full = dims.to_vec();
    full.extend([r, w]);
    let t = if t.shape() == full { t.clone() } else { c::expand(t, &full)? };
    if t.ndim() == 4 { Ok(t) } else { c::reshape(&t, &[batch, heads, r, w]) }
}

/// Rows contiguous, as the kernel wants them (no graph).
fn rows(t: &Tensor) -> Result<Tensor> {
    let fits = t.strides()[3] == 1 || t.shape()[3] <= 1;
    if fits { Ok(t.clone()) } else { t.to_contiguous() }
}

/// A fresh `[b, h, l, e]` that lies in memory as `[b, l, h, e]` when `like` does: the merge of heads then is a view.
fn fresh(shape: [usize; 4], like: &Tensor) -> Result<Tensor> {
    let [b, h, l, e] = shape;
    if like.strides()[1] < like.strides()[2] {
        let t = Tensor::empty(&[b, l, h, e], like.dtype())?;
        return Ok(t.view_of(t.layout().permute(&[0, 2, 1, 3])));
    }
    Tensor::empty(&shape, like.dtype())
}

fn mask_window(m: Option<&Tensor>, shape: [usize; 4]) -> Result<Option<Tensor>> {
    m.map(|m| {
        let l: Layout = m.layout().expand(&shape)?;
        Ok(m.view_of(l))
    })
    .transpose()
}

fn fused(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>, o: Options, scale: f64) -> Result<Tensor> {
    let l = lead(q, k, v, o.gqa)?;
    let mut key_dims = l.dims.clone();
    if let Some(d) = key_dims.last_mut() {
        *d = l.key_heads;
    }
    let (len, keys) = (q.shape()[q.ndim() - 2], k.shape()[k.ndim() - 2]);
    let mask = mask
        .map(|m| {
            let mut full = l.dims.clone();
            full.extend([len, keys]);
            let wide = m.detach().view_of(m.layout().expand(&full)?);
            if wide.ndim() == 4 {
                Ok(wide)
            } else {
                let t = wide.to_contiguous()?;
                let s = [l.batch, l.heads, len, keys];
                Result::Ok(t.view_of(Layout::contiguous(&s)))
            }
        })
        .transpose()?;
    let (q4, k4) = (four(q, &l.dims, l.batch, l.heads)?, four(k, &key_dims, l.batch, l.key_heads)?);
    let v4 = four(v, &key_dims, l.batch, l.key_heads)?;
    let out = core(&q4, &k4, &v4, mask, o.causal, scale)?;
    let mut shape = l.dims;
    shape.extend([len, v.shape()[v.ndim() - 1]]);
    c::reshape(&out, &shape)
}

/// Attention of four-dimensional tensors by the blocked kernels.
fn core(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<Tensor>, causal: bool, scale: f64) -> Result<Tensor> {
    let (s, ev) = (q.shape(), v.shape()[3]);
    let (b, h, len) = (s[0], s[1], s[2]);
    let full = [b, h, len, k.shape()[2]];
    let mask = mask_window(mask.as_ref(), full)?;
    let out = fresh([b, h, len, ev], q)?;
    if out.numel() == 0 {
        // Nothing is attended to, by however many queries. A sum of nothing has a gradient of zero.
        let zero = |t: &Tensor| Tensor::zeros(t.shape(), t.dtype());
        let saved = [save(q), save(k), save(v)];
        return attach("ScaledDotProductFlashAttentionForCpuBackward0", out, &[q, k, v], move |ctx, _| {
            let mut grads = Grads::new();
            for s in &saved {
                grads.push(Some(zero(&s.get(ctx)?)?));
            }
            Ok(grads)
        });
    }
    let lse = Tensor::empty(&[b * h * len], q.dtype())?;
    let (qr, kr, vr) = (rows(q)?, rows(k)?, rows(v)?);
    let m = Mask { tensor: mask.as_ref().map(Tensor::raw), causal };
    if q.dtype() == DType::F64 {
        kernel::attention::<f64>(qr.raw(), kr.raw(), vr.raw(), m, scale, out.raw(), lse.slice_mut()?)?;
    } else {
        kernel::attention::<f32>(qr.raw(), kr.raw(), vr.raw(), m, scale, out.raw(), lse.slice_mut()?)?;
    }
    if !needs_grad(&[q, k, v]) {
        return Ok(out);
    }
    let (sq, sk, sv, so) = (save(q), save(k), save(v), save_output(&out));
    attach("ScaledDotProductFlashAttentionForCpuBackward0", out, &[q, k, v], move |ctx, g| {
        let (q, k, v) = (sq.get(ctx)?, sk.get(ctx)?, sv.get(ctx)?);
        if needs_grad(&[g, &q, &k, &v]) {
            return again(g, &q, &k, &v, mask.as_ref(), causal, scale);
        }
        let (q, k, v) = (rows(&q)?, rows(&k)?, rows(&v)?);
        let (out, g) = (so.get(ctx)?, rows(g)?);
        let dims = |t: &Tensor| [t.shape()[0], t.shape()[1], t.shape()[2], t.shape()[3]];
        let (dq, dk, dv) = (fresh(dims(&q), &q)?, fresh(dims(&k), &k)?, fresh(dims(&v), &v)?);
        let m = Mask { tensor: mask.as_ref().map(Tensor::raw), causal };
        if q.dtype() == DType::F64 {
            kernel::attention_backward::<f64>(
                g.raw(),
                q.raw(),
                k.raw(),
                v.raw(),
                out.raw(),
                lse.slice()?,
                m,
                scale,
                dq.raw(),
                dk.raw(),
                dv.raw(),
            )?;
        } else {
            kernel::attention_backward::<f32>(
                g.raw(),
                q.raw(),
                k.raw(),
                v.raw(),
                out.raw(),
                lse.slice()?,
                m,
                scale,
                dq.raw(),
                dk.raw(),
                dv.raw(),
            )?;
        }
        let mut out = Grads::new();
        out.extend([Some(dq), Some(dk), Some(dv)]);
        Ok(out)
    })
}

/// Heads of keys or values repeated so that there are `times` as many, for queries that share them.
fn spread(t: &Tensor, times: usize) -> Result<Tensor> {
    if times == 1 {
        return Ok(t.clone());
    }
    let n = t.ndim() - 3;
    let mut s = t.shape().to_vec();
    s.insert(n + 1, times);
    let wide = c::expand(&c::unsqueeze(t, n as i64 + 1)?, &s)?;
    let mut flat = t.shape().to_vec();
    flat[n] *= times;
    c::reshape(&wide, &flat)
}

/// The weights `softmax(q k^T * scale + mask)` as a tensor.
fn weights(q: &Tensor, k: &Tensor, mask: Option<&Tensor>, causal: bool, scale: f64) -> Result<Tensor> {
    let (len, keys) = (q.shape()[q.ndim() - 2], k.shape()[k.ndim() - 2]);
    let mut s = c::matmul(&c::mul_s(q, scale)?, &c::transpose(k, -2, -1)?)?;
    if causal {
        let hide: Vec<rustnn_core::base::B8> =
            room::collected((0..layout::count(&[len, keys])).map(|i| (i % keys > i / keys).into()))?;
        s = c::masked_fill(&s, &Tensor::from_slice(&hide, &[len, keys])?, f64::NEG_INFINITY)?;
    }
    let Some(m) = mask else { return crate::softmax::softmax(&s, -1, None, false) };
    s = if m.dtype() == DType::Bool {
        c::masked_fill(&s, &c::logical_not(m)?, f64::NEG_INFINITY)?
    } else {
        c::add(&s, m)?
    };
    // A query that sees nothing would give NaN in the softmax; its weights are zeros, and so are its gradients.
    let dead = c::eq(
        &crate::compose::max_dim(&s.detach(), -1)?,
        &Tensor::scalar(Scalar::Float(f64::NEG_INFINITY), s.dtype())?,
    )?;
    if !c::any(&dead)? {
        return crate::softmax::softmax(&s, -1, None, false);
    }
    let p = crate::softmax::softmax(&c::masked_fill(&s, &dead, 0.0)?, -1, None, false)?;
    c::masked_fill(&p, &dead, 0.0)
}

/// The gradients of [`core`] by ordinary ops, so that they can be differentiated again.
fn again(
    g: &Tensor,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&Tensor>,
    causal: bool,
    scale: f64,
) -> Result<Grads> {
    let times = q.shape()[1] / k.shape()[1].max(1);
    let (wide_k, wide_v) = (spread(k, times)?, spread(v, times)?);
    let turned = |t: &Tensor| c::transpose(t, -2, -1);
    let p = weights(q, &wide_k, mask, causal, scale)?;
    let gp = c::matmul(g, &turned(&wide_v)?)?;
    let gs = c::mul(&p, &c::sub(&gp, &c::sum_dims(&c::mul(&gp, &p)?, &[-1], true)?)?)?;
    let gathered = |t: Tensor, like: &Tensor| -> Result<Tensor> {
        let s = like.shape();
        if times == 1 { Ok(t) } else { c::sum_dims(&c::reshape(&t, &[s[0], s[1], times, s[2], s[3]])?, &[2], false) }
    };
    let mut out = Grads::new();
    out.push(Some(c::mul_s(&c::matmul(&gs, &wide_k)?, scale)?));
    out.push(Some(gathered(c::mul_s(&c::matmul(&turned(&gs)?, q)?, scale)?, k)?));
    out.push(Some(gathered(c::matmul(&turned(&p)?, g)?, v)?));
    Ok(out)
}

/// By plain products: the weights exist as a tensor, for dropout and for gradients of the mask.
fn plain(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>, o: Options, scale: f64) -> Result<Tensor> {
    let times = if o.gqa && q.ndim() > 2 { q.shape()[q.ndim() - 3] / k.shape()[q.ndim() - 3].max(1) } else { 1 };
    let (k, v) = (spread(k, times)?, spread(v, times)?);
    let mut p = weights(q, &k, mask, o.causal, scale)?;
    if o.dropout > 0.0 {
        p = c::dropout(&p, o.dropout)?;
    }
    c::matmul(&p, &v)
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, float dropout_p=0.0, bool is_causal=False, float? scale=None, bool enable_gqa=False)", NN, |a| {
            let o = Options { dropout: a.float(4)?, causal: a.bool(5)?, scale: a.opt_float(6), gqa: a.bool(7)? };
            attention(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.opt_tensor(3), o).ret()
        })
        .doc("softmax(query @ key^T * scale + mask) @ value, without the matrix of weights in memory.")
        .samples(&[
            "t(2,3,5,4), t(2,3,6,4), t(2,3,6,2)",
            "t(5,4), t(6,4), t(6,3), is_causal=True",
            "t(2,5,4), t(2,6,4), t(2,6,4), t(5,6)",
            "t(1,2,5,4), t(1,2,5,4), t(1,2,5,4), is_causal=True, scale=0.3",
        ])
        .oracle("(lambda s: (lambda z: scipy.special.softmax(z, axis=-1) @ value)(np.where(np.tril(np.ones(s.shape[-2:])) > 0, s, -np.inf) if is_causal else s + (0 if attn_mask is None else attn_mask)))(query @ np.swapaxes(key, -1, -2) * (query.shape[-1]**-0.5 if scale is None else scale))"),
    ]
}
