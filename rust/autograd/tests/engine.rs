//! The engine alone, on two hand-made ops whose derivatives are obvious.

use rustnn_autograd::{Options, backward, register_hook, retain_grad};
use rustnn_core::mode::GradGuard;
use rustnn_core::{DType, Error, Result, Tensor, attach, attach_view, grads, inplace, save};
use std::sync::Arc;

fn leaf(values: &[f64]) -> Result<Tensor> {
    rustnn_ops::inplace::install();
    let t = Tensor::from_slice(values, &[values.len()])?;
    t.meta_or_new().set_wants_grad(true);
    Ok(t)
}

fn zip(a: &Tensor, b: &Tensor, f: impl Fn(f64, f64) -> f64) -> Result<Tensor> {
    let out = Tensor::empty(a.shape(), DType::F64)?;
    let (x, y) = (a.to_contiguous()?, b.to_contiguous()?);
    for ((o, x), y) in out.slice_mut::<f64>()?.iter_mut().zip(x.slice::<f64>()?).zip(y.slice::<f64>()?) {
        *o = f(*x, *y);
    }
    Ok(out)
}

fn mul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (sa, sb) = (save(a), save(b));
    attach("MulBackward0", zip(a, b, |x, y| x * y)?, &[a, b], move |c, g| {
        Ok(grads![c; 0 => mul(g, &sb.get(c)?)?, 1 => mul(g, &sa.get(c)?)?])
    })
}

fn scale(a: &Tensor, k: f64) -> Result<Tensor> {
    attach("ScaleBackward0", zip(a, a, |x, _| k * x)?, &[a], move |_, g| Ok(grads![scale(g, k)?]))
}

fn values(t: &Tensor) -> Result<Vec<f64>> {
    Ok(t.to_contiguous()?.slice::<f64>()?.to_vec())
}

fn grad_of(t: &Tensor) -> Result<Vec<f64>> {
    let g = t.meta().and_then(|m| m.grad()).ok_or_else(|| Error::Runtime("no gradient".into()))?;
    values(&g)
}

fn all(root: &Tensor) -> Result<()> {
    let ones = Tensor::ones(root.shape(), DType::F64)?;
    backward(std::slice::from_ref(root), &[Some(ones)], &Options { accumulate: true, ..Options::default() }).map(|_| ())
}

#[test]
fn products_give_each_others_values() -> Result<()> {
    let (x, y) = (leaf(&[2.0, 3.0])?, leaf(&[5.0, 7.0])?);
    all(&mul(&x, &y)?)?;
    assert_eq!(grad_of(&x)?, [5.0, 7.0]);
    assert_eq!(grad_of(&y)?, [2.0, 3.0]);
    Ok(())
}

#[test]
fn a_leaf_used_twice_gets_the_sum_and_grads_accumulate() -> Result<()> {
    let x = leaf(&[3.0])?;
    all(&mul(&x, &x)?)?;
    assert_eq!(grad_of(&x)?, [6.0]);
    all(&mul(&x, &x)?)?;
    assert_eq!(grad_of(&x)?, [12.0]);
    Ok(())
}

#[test]
fn second_and_third_derivatives() -> Result<()> {
    let x = leaf(&[2.0])?;
    let y = mul(&mul(&x, &x)?, &x)?;
    let take = |y: &Tensor| -> Result<Tensor> {
        let o = Options { create_graph: true, retain_graph: true, inputs: Some(vec![x.clone()]), ..Options::default() };
        backward(std::slice::from_ref(y), &[], &o)?.remove(0).ok_or_else(|| Error::Runtime("unused".into()))
    };
    let d1 = take(&y)?;
    let d2 = take(&d1)?;
    let d3 = take(&d2)?;
    assert_eq!((values(&d1)?, values(&d2)?, values(&d3)?), (vec![12.0], vec![12.0], vec![6.0]));
    Ok(())
}

#[test]
fn a_chain_of_200_000_ops_needs_no_stack() -> Result<()> {
    let run = || -> Result<Vec<f64>> {
        let x = leaf(&[1.0])?;
        let mut y = x.clone();
        for _ in 0..200_000 {
            y = scale(&y, 1.0)?;
        }
        all(&y)?;
        let again = scale(&x, 1.0)?;
        let mut z = again;
        for _ in 0..200_000 {
            z = scale(&z, 1.0)?;
        }
        drop(z);
        grad_of(&x)
    };
    let done =
        std::thread::Builder::new().stack_size(512 * 1024).spawn(run).map_err(|e| Error::Runtime(e.to_string()))?;
    let got = done.join().map_err(|_| Error::Runtime("the thread died".into()))?;
    assert_eq!(got?, [1.0]);
    Ok(())
}

#[test]
fn walking_twice_names_the_op() -> Result<()> {
    let x = leaf(&[1.0])?;
    let y = mul(&x, &x)?;
    all(&y)?;
    let e = all(&y).map_err(|e| e.to_string());
    assert!(
        e.as_ref().is_err_and(|m| m.contains("backward through the graph a second time") && m.contains("MulBackward0"))
    );
    Ok(())
}

#[test]
fn writing_a_saved_tensor_raises_with_both_versions() -> Result<()> {
    let x = leaf(&[1.0])?;
    let h = scale(&x, 2.0)?;
    let y = mul(&h, &h)?;
    inplace::assign(&h, &scale(&h, 3.0)?)?;
    let e = all(&y).map_err(|e| e.to_string());
    assert!(e.as_ref().is_err_and(|m| m.contains("modified by an inplace operation")
        && m.contains("is at version 1")
        && m.contains("expected version 0")));
    Ok(())
}

#[test]
fn writing_through_a_view_reaches_the_base() -> Result<()> {
    let x = leaf(&[1.0, 2.0, 3.0])?;
    let base = scale(&x, 1.0)?;
    let layout = base.layout().slice(0, 1, 1, 1);
    let view = attach_view("SliceBackward0", base.view_of(layout), &base, |_, g| {
        let full = Tensor::zeros(&[3], DType::F64)?;
        full.slice_mut::<f64>()?[1] = g.slice::<f64>()?[0];
        Ok(grads![full])
    })?;
    inplace::assign(&view, &scale(&view, 10.0)?)?;
    assert_eq!(values(&base)?, [1.0, 20.0, 3.0]);
    all(&mul(&base, &Tensor::from_slice(&[1.0, 1.0, 1.0], &[3])?)?)?;
    assert_eq!(grad_of(&x)?, [1.0, 10.0, 1.0]);
    Ok(())
}

#[test]
fn writing_the_base_reaches_the_view() -> Result<()> {
    let x = leaf(&[1.0, 2.0])?;
    let base = scale(&x, 1.0)?;
    let layout = base.layout().slice(0, 0, 1, 1);
    let view = attach_view("SliceBackward0", base.view_of(layout), &base, |_, g| {
        let full = Tensor::zeros(&[2], DType::F64)?;
        full.slice_mut::<f64>()?[0] = g.slice::<f64>()?[0];
        Ok(grads![full])
    })?;
    inplace::assign(&base, &scale(&base, 5.0)?)?;
    all(&view)?;
    assert_eq!(grad_of(&x)?, [5.0, 0.0]);
    Ok(())
}

#[test]
fn leaves_may_not_be_written_while_recording() -> Result<()> {
    let x = leaf(&[1.0])?;
    let v = Tensor::from_slice(&[2.0], &[1])?;
    assert!(inplace::assign(&x, &v).is_err());
    let _off = GradGuard::new(false);
    inplace::assign(&x, &v)?;
    assert_eq!(values(&x)?, [2.0]);
    Ok(())
}

#[test]
fn hooks_replace_gradients_and_non_leaves_can_keep_theirs() -> Result<()> {
    let x = leaf(&[1.0])?;
    let h = scale(&x, 2.0)?;
    retain_grad(&h)?;
    register_hook(&h, Arc::new(|g: &Tensor| Ok(Some(scale(g, 100.0)?))))?;
    all(&scale(&h, 3.0)?)?;
    assert_eq!(grad_of(&x)?, [600.0]);
    assert_eq!(grad_of(&h)?, [300.0]);
    Ok(())
}

#[test]
fn an_error_in_a_hook_leaves_the_engine_usable() -> Result<()> {
    let x = leaf(&[1.0])?;
    let h = scale(&x, 2.0)?;
    register_hook(&h, Arc::new(|_: &Tensor| Err(Error::Value("from the hook".into()))))?;
    assert!(all(&scale(&h, 3.0)?).is_err_and(|e| e.to_string() == "from the hook"));
    all(&scale(&x, 3.0)?)?;
    assert_eq!(grad_of(&x)?, [3.0]);
    Ok(())
}

#[test]
fn unused_inputs_are_an_error_unless_allowed() -> Result<()> {
    let (x, z) = (leaf(&[1.0])?, leaf(&[1.0])?);
    let o = |allow_unused| Options { inputs: Some(vec![x.clone(), z.clone()]), allow_unused, ..Options::default() };
    assert!(backward(&[scale(&x, 2.0)?], &[], &o(false)).is_err());
    let g = backward(&[scale(&x, 2.0)?], &[], &o(true))?;
    assert!(g[0].is_some() && g[1].is_none());
    Ok(())
}
