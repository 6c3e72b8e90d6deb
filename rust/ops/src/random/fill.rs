//! Random fills in place: `uniform_`, `normal_`, `random_`, ...

use super::generator;
use crate::args::{Arg, Args, Ret};
use crate::index::put::write_in_place;
use crate::registry::{METHOD, OpDef, op};
use rustnn_core::base::{not_implemented, runtime_error, with_dtype, with_float};
use rustnn_core::{DType, Dims, Generator, Layout, Result, Strides, Tensor, grads};
use rustnn_kernels::copy;
use rustnn_kernels::random as kernel;

/// Runs `f` on the elements of `y` as one row in memory order (through a dense copy when there are gaps).
pub fn fill_memory(y: &Tensor, f: impl FnOnce(&Tensor) -> Result<()>) -> Result<()> {
    let flat = |t: &Tensor| {
        t.with_layout(Layout {
            shape: Dims::from_slice(&[t.numel()]),
            strides: Strides::from_slice(&[1]),
            offset: t.offset(),
        })
    };
    if y.numel() == 0 {
        return Ok(());
    }
    if y.layout().is_dense() {
        return f(&flat(y)?);
    }
    let dense = Tensor::empty_strided(y.shape(), &y.layout().preserved_strides(), y.dtype())?;
    f(&flat(&dense)?)?;
    copy::copy(&y.raw(), &dense.raw())
}

/// A random fill as an in-place op: the old values' gradient is zero.
fn in_place(name: &'static str, y: &Tensor, f: impl FnOnce(&Tensor) -> Result<()>) -> Result<Ret> {
    let shape: Dims = y.shape().into();
    let dtype = y.dtype();
    write_in_place(name, y, &[], || fill_memory(y, f), move |_, _| Ok(grads![Tensor::zeros(&shape, dtype)?]))?;
    Ok(Ret::Tensor(y.clone()))
}

fn not_for(kernel: &str, d: DType) -> rustnn_core::Error {
    not_implemented!("\"{kernel}\" not implemented for '{}'", d.torch_name())
}

pub(crate) fn uniform(t: &Tensor, g: &Generator, from: f64, to: f64) -> Result<()> {
    with_float!(t.dtype(), T => {
        let dst = t.slice_mut::<T>()?;
        g.with(|g| kernel::uniform(g, dst, from, to));
        Ok(())
    }, else Err(not_for("check_uniform_bounds", t.dtype())))
}

/// `blocks` says whether the tensor that is filled is row-major, on which PyTorch's stream depends.
pub(crate) fn normal(t: &Tensor, g: &Generator, mean: f64, std: f64, blocks: bool) -> Result<()> {
    with_float!(t.dtype(), T => {
        let dst = t.slice_mut::<T>()?;
        g.with(|g| if blocks { kernel::normal(g, dst, mean, std) } else { kernel::normal_scalar(g, dst, mean, std) });
        Ok(())
    }, else Err(not_for("normal_kernel_cpu", t.dtype())))
}

pub(crate) fn check_std(std: f64) -> Result<()> {
    if std >= 0.0 { Ok(()) } else { Err(runtime_error!("normal expects std >= 0.0, but found std {std}")) }
}

pub(crate) fn bernoulli(t: &Tensor, g: &Generator, p: f64) -> Result<()> {
    if !(0.0..=1.0).contains(&p) {
        return Err(runtime_error!("bernoulli_ expects p to be in [0, 1], but got p={p}"));
    }
    with_dtype!(t.dtype(), T => {
        let dst = t.slice_mut::<T>()?;
        g.with(|g| kernel::bernoulli(g, dst, p));
    });
    Ok(())
}

/// Each element with its own probability.
pub(crate) fn bernoulli_each(y: &Tensor, g: &Generator, p: &Tensor) -> Result<()> {
    let same_order = y.strides() == p.strides() && y.layout().is_dense() && y.shape() == p.shape();
    let probs = if same_order {
        p.detach()
    } else {
        let wide = p.detach().view_of(p.layout().expand(y.shape())?);
        let t = Tensor::empty_strided(y.shape(), &y.layout().preserved_strides(), p.dtype())?;
        copy::copy(&t.raw(), &wide.raw())?;
        t
    };
    let n = y.numel();
    let flat = probs.with_layout(Layout {
        shape: Dims::from_slice(&[n]),
        strides: Strides::from_slice(&[1]),
        offset: probs.offset(),
    })?;
    fill_memory(y, |t| {
        with_float!(flat.dtype(), P => with_dtype!(t.dtype(), T => {
            let (dst, p) = (t.slice_mut::<T>()?, flat.slice::<P>()?);
            g.with(|g| kernel::bernoulli_from(g, dst, p)).map_err(|bad| {
                runtime_error!("Expected p_in >= 0 && p_in <= 1 to be true, but got false.").hint(format!("a probability is {bad}"))
            })
        }), else Err(runtime_error!("expected probabilities tensor to have floating type, got {}", flat.dtype().torch_name())))
    })
}

/// Bounds of the values a dtype holds exactly: what `random_` may reach.
fn bounds(d: DType) -> (i64, i64, &'static str) {
    match d {
        DType::Bool => (0, 1, "bool"),
        DType::U8 => (0, 255, "unsigned char"),
        DType::I8 => (i64::from(i8::MIN), i64::from(i8::MAX), "signed char"),
        DType::I16 => (i64::from(i16::MIN), i64::from(i16::MAX), "short"),
        DType::I32 => (i64::from(i32::MIN), i64::from(i32::MAX), "int"),
        DType::I64 => (i64::MIN, i64::MAX, "long"),
        DType::F16 => (-65504, 65504, "at::Half"),
        DType::BF16 | DType::F32 | DType::F64 => (i64::MIN, i64::MAX, "float"),
    }
}

pub(crate) fn randint(t: &Tensor, g: &Generator, low: i64, high: i64) -> Result<()> {
    if low >= high {
        return Err(runtime_error!("random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"));
    }
    let (min, max, name) = bounds(t.dtype());
    if low < min || low > max {
        return Err(runtime_error!("from is out of bounds for {name}"));
    }
    if high - 1 < min || high - 1 > max {
        return Err(runtime_error!("to - 1 is out of bounds for {name}"));
    }
    with_dtype!(t.dtype(), T => {
        let dst = t.slice_mut::<T>()?;
        g.with(|g| kernel::randint(g, dst, low, high.wrapping_sub(low) as u64));
    });
    Ok(())
}

/// From `low` to the largest value of the dtype.
fn random_from(t: &Tensor, g: &Generator, low: i64) -> Result<()> {
    let top = match t.dtype() {
        DType::F64 => 1i64 << 53,
        DType::F32 => 1 << 24,
        DType::F16 => 2048,
        DType::BF16 => 256,
        d => bounds(d).1,
    };
    if low > top {
        return Err(runtime_error!(
            "random_ expects 'from' casted to dtype to be less than or equal to 'to_inc' casted to dtype, but got from={low} > to_inc={top}"
        ));
    }
    with_dtype!(t.dtype(), T => {
        let dst = t.slice_mut::<T>()?;
        g.with(|g| kernel::randint(g, dst, low, (top as u64).wrapping_sub(low as u64).wrapping_add(1)));
    });
    Ok(())
}

fn continuous(name: &str, t: &Tensor) -> Result<()> {
    if t.dtype().is_float() {
        return Ok(());
    }
    Err(runtime_error!(
        "{name} distribution is a continuous probability distribution. dtype must be a floating point but you specified {}",
        t.dtype().torch_name()
    ))
}

fn exponential_(a: &Args) -> Result<Ret> {
    let (y, rate) = (a.tensor(0)?, a.float(1)?);
    continuous("Exponential", y)?;
    if !(rate > 0.0) {
        return Err(runtime_error!("exponential_ expects lambda > 0.0, but found lambda={rate}"));
    }
    in_place("ExponentialBackward0", y, |t| exponential(t, generator(a, 2), rate))
}

pub(crate) fn exponential(t: &Tensor, g: &Generator, rate: f64) -> Result<()> {
    with_dtype!(t.dtype(), T => {
        let dst = t.slice_mut::<T>()?;
        g.with(|g| kernel::exponential(g, dst, rate));
    });
    Ok(())
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("uniform_(Tensor input, float from=0, float to=1, *, Generator? generator=None)", METHOD, |a| {
            let (from, to) = (a.float(1)?, a.float(2)?);
            if from > to {
                return Err(runtime_error!(
                    "uniform_ expects to return a [from, to) range, but found from={from} > to={to}"
                ));
            }
            in_place("UniformBackward0", a.tensor(0)?, |t| uniform(t, generator(a, 3), from, to))
        })
        .doc("Fills with uniform numbers in [from, to).")
        .nondiff(),
        op("normal_(Tensor input, float mean=0, float std=1, *, Generator? generator=None)", METHOD, |a| {
            let (y, std) = (a.tensor(0)?, a.float(2)?);
            check_std(std)?;
            let mean = a.float(1)?;
            in_place("NormalBackward0", y, |t| normal(t, generator(a, 3), mean, std, y.is_contiguous()))
        })
        .doc("Fills with normal numbers.")
        .nondiff(),
        op("random_(Tensor input, *, Generator? generator=None)", METHOD, |a| {
            in_place("RandomBackward0", a.tensor(0)?, |t| {
                with_dtype!(t.dtype(), T => {
                    let dst = t.slice_mut::<T>()?;
                    generator(a, 1).with(|g| kernel::random_full(g, dst));
                });
                Ok(())
            })
        })
        .doc("Fills with whole numbers: below to, in [from, to), or up to what the dtype holds.")
        .nondiff(),
        op("random_(Tensor input, int to, *, Generator? generator=None)", METHOD, |a| {
            let to = a.int(1)?;
            in_place("RandomBackward0", a.tensor(0)?, |t| randint(t, generator(a, 2), 0, to))
        })
        .nondiff(),
        op("random_(Tensor input, int from, int? to, *, Generator? generator=None)", METHOD, |a| {
            let from = a.int(1)?;
            in_place("RandomBackward0", a.tensor(0)?, |t| match a.opt_int(2) {
                Some(to) => randint(t, generator(a, 3), from, to),
                None => random_from(t, generator(a, 3), from),
            })
        })
        .nondiff(),
        op("bernoulli_(Tensor input, float|Tensor p=0.5, *, Generator? generator=None)", METHOD, |a| {
            let y = a.tensor(0)?;
            let g = generator(a, 2);
            if let Arg::Tensor(p) = a.arg(1) {
                let shape: Dims = y.shape().into();
                let dtype = y.dtype();
                write_in_place(
                    "BernoulliBackward0",
                    y,
                    &[],
                    || bernoulli_each(y, g, p),
                    move |_, _| Ok(grads![Tensor::zeros(&shape, dtype)?]),
                )?;
                return Ok(Ret::Tensor(y.clone()));
            }
            let p = a.float(1)?;
            in_place("BernoulliBackward0", y, |t| bernoulli(t, g, p))
        })
        .doc("Fills with 1 with probability p, else 0.")
        .nondiff(),
        op("exponential_(Tensor input, float lambd=1, *, Generator? generator=None)", METHOD, exponential_)
            .doc("Fills with exponential numbers of rate lambd.")
            .nondiff(),
        op("geometric_(Tensor input, float p, *, Generator? generator=None)", METHOD, |a| {
            let (y, p) = (a.tensor(0)?, a.float(1)?);
            if !(p > 0.0 && p < 1.0) {
                return Err(runtime_error!("geometric_ expects p to be in (0, 1), but got p={p}"));
            }
            in_place("GeometricBackward0", y, |t| {
                with_dtype!(t.dtype(), T => {
                    let dst = t.slice_mut::<T>()?;
                    generator(a, 2).with(|g| kernel::geometric(g, dst, p));
                });
                Ok(())
            })
        })
        .doc("Fills with numbers of trials up to the first success of probability p.")
        .nondiff(),
        op("cauchy_(Tensor input, float median=0, float sigma=1, *, Generator? generator=None)", METHOD, |a| {
            let (y, m, s) = (a.tensor(0)?, a.float(1)?, a.float(2)?);
            continuous("Cauchy", y)?;
            if !(s > 0.0) {
                return Err(runtime_error!("cauchy_ expects sigma > 0.0, but found sigma={s}"));
            }
            in_place("CauchyBackward0", y, |t| {
                with_dtype!(t.dtype(), T => {
                    let dst = t.slice_mut::<T>()?;
                    generator(a, 3).with(|g| kernel::cauchy(g, dst, m, s));
                });
                Ok(())
            })
        })
        .doc("Fills with Cauchy numbers.")
        .nondiff(),
        op("log_normal_(Tensor input, float mean=1, float std=2, *, Generator? generator=None)", METHOD, |a| {
            let (y, m, s) = (a.tensor(0)?, a.float(1)?, a.float(2)?);
            continuous("Log_normal", y)?;
            if !(s > 0.0) {
                return Err(runtime_error!("log_normal_ expects std > 0.0, but found std={s}"));
            }
            in_place("LogNormalBackward0", y, |t| {
                with_dtype!(t.dtype(), T => {
                    let dst = t.slice_mut::<T>()?;
                    generator(a, 3).with(|g| kernel::log_normal(g, dst, m, s));
                });
                Ok(())
            })
        })
        .doc("Fills with exponentials of normal numbers.")
        .nondiff(),
    ]
}
