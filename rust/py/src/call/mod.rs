//! Calls from Python into the registry: one table-driven caller for every op, as method and as function.
//!
//! At import each op gets a `PyMethodDef` whose trampoline knows the op's number, so nothing is generated per op and
//! the binding does not grow with the registry. Parameter names are interned and compared by pointer.

mod install;
mod parse;
mod trampolines;

use crate::convert;
use crate::error::OrRaise;
use crate::subclass;
use crate::tensor::{PyTensor, wrap};
use parse::{Given, Misfit, parse};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyString, PyTuple};
use rustnn_core::{Scalar, Tensor, caught, dest, profile};
use rustnn_ops::inplace::{write_back, write_out};
use rustnn_ops::pointwise::Num;
use rustnn_ops::sig::Signature;
use rustnn_ops::{Arg, Args, DIRECT, FORGETS, OpDef, Ret};
use std::collections::HashMap;
use std::sync::OnceLock;

pub use install::{_registry, install};

/// One overload, ready to be called.
pub struct Overload {
    pub def: OpDef,
    pub sig: Signature,
    /// Interned parameter names.
    names: Vec<Py<PyString>>,
    /// Default values by parameter, `None` also where there is none: kept for ever, lent to every call.
    defaults: &'static [Arg],
}

/// What one trampoline calls.
struct Entry {
    name: &'static str,
    overloads: Vec<usize>,
    method: bool,
    inplace: bool,
}

struct Table {
    overloads: Vec<Overload>,
    entries: Vec<Entry>,
    by_name: HashMap<&'static str, Vec<usize>>,
    out: Py<PyString>,
}

static TABLE: OnceLock<Table> = OnceLock::new();

fn table() -> PyResult<&'static Table> {
    TABLE.get().ok_or_else(|| PyRuntimeError::new_err("rustnn is not initialised"))
}

/// All overloads, for the generated stubs and tests.
pub fn overloads() -> PyResult<&'static [Overload]> {
    Ok(&table()?.overloads)
}

/// The tensor in an object that no subclass wants to see first.
#[inline]
fn plain_tensor(obj: &Bound<'_, PyAny>) -> Option<Tensor> {
    if subclass::is_plain(obj) { crate::tensor::tensor_of(obj) } else { None }
}

/// Elements above which other Python threads may run during an op.
const RELEASE_ABOVE: usize = 1 << 15;

/// # Safety
/// Called by Python as a fast-call method with keywords, GIL held.
unsafe fn enter(
    n: usize,
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the GIL is held.
    let py = unsafe { Python::assume_attached() };
    guarded(py, || {
        let t = table()?;
        let Some(entry) = t.entries.get(n) else { return Err(PyRuntimeError::new_err("no such op")) };
        let nargs = nargs as usize;
        let nkw = if kwnames.is_null() {
            0
        } else {
            // SAFETY: `kwnames` is a tuple.
            unsafe { ffi::PyTuple_Size(kwnames) as usize }
        };
        let all: &[*mut ffi::PyObject] = if nargs + nkw == 0 {
            &[]
        } else {
            // SAFETY: Python passes `nargs` positional and `nkw` keyword values at `args`.
            unsafe { std::slice::from_raw_parts(args, nargs + nkw) }
        };
        let given = Given {
            slf: if entry.method { slf } else { std::ptr::null_mut() },
            pos: &all[..nargs],
            kw: &all[nargs..],
            kwnames,
        };
        dispatch(py, t, entry, &given)
    })
}

/// What Python gets of a call: its result, or null and an exception, also of a panic.
#[inline]
pub fn guarded(py: Python<'_>, call: impl FnOnce() -> PyResult<Py<PyAny>>) -> *mut ffi::PyObject {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)) {
        Ok(Ok(obj)) => obj.into_ptr(),
        Ok(Err(e)) => {
            e.restore(py);
            std::ptr::null_mut()
        }
        Err(payload) => {
            let what = payload
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            PyRuntimeError::new_err(format!("internal error in rustnn: {what}\n  hint: please report this"))
                .restore(py);
            std::ptr::null_mut()
        }
    }
}
fn dispatch(py: Python<'_>, t: &Table, entry: &Entry, given: &Given<'_>) -> PyResult<Py<PyAny>> {
    let (slf, pos, kw) = (given.slf, given.pos, given.kw);
    if let Some(r) = subclass::intercept(py, entry.name, entry.method, entry.inplace, slf, pos, kw, given.kwnames)? {
        return Ok(r);
    }
    let mut first: Option<PyErr> = None;
    for &o in &entry.overloads {
        let overload = &t.overloads[o];
        let mut args = Args::new(overload.defaults);
        match parse(py, t, overload, entry, given, &mut args) {
            Ok(out) => {
                let target = if entry.inplace { given.positional(0) } else { None };
                return run(py, overload, &args, target, out);
            }
            Err(Misfit::Raised(e)) => return Err(e),
            Err(Misfit::Mismatch(e)) => first = first.or(Some(e)),
        }
    }
    let Some(first) = first else { return Err(PyTypeError::new_err(format!("{}(): no overload", entry.name))) };
    if entry.overloads.len() == 1 {
        return Err(first);
    }
    let got: Vec<String> = given
        .each(py)
        .skip(usize::from(entry.method))
        .map(|o| o.get_type().name().map(|n| n.to_string()).unwrap_or_default())
        .collect();
    let expected: Vec<String> = entry.overloads.iter().map(|&o| format!(" * {}", t.overloads[o].def.sig)).collect();
    Err(PyTypeError::new_err(format!(
        "{}() received an invalid combination of arguments - got ({}), but expected one of:\n{}",
        entry.name,
        got.join(", "),
        expected.join("\n")
    )))
}
/// Whether any argument holds, or asks for, many elements.
#[inline]
fn is_long(args: &Args) -> bool {
    args.given().iter().any(|a| match a {
        Arg::Tensor(t) => t.numel() >= RELEASE_ABOVE,
        Arg::Tensors(v) => v.iter().map(Tensor::numel).sum::<usize>() >= RELEASE_ABOVE,
        Arg::Ints(v) => {
            let n = v.iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?));
            n.is_some_and(|n| n >= RELEASE_ABOVE)
        }
        _ => false,
    })
}

/// Runs an op, other Python threads running meanwhile if it is long.
fn compute(py: Python<'_>, o: &Overload, args: &Args) -> PyResult<Ret> {
    let call = || caught(|| (o.def.call)(args));
    match if is_long(args) { py.detach(call) } else { call() } {
        Ok(ret) => Ok(ret),
        Err(e) => Err(e.short_of_memory_in(o.sig.name)).or_raise(),
    }
}

fn run(
    py: Python<'_>,
    o: &Overload,
    args: &Args,
    target: Option<*mut ffi::PyObject>,
    out: Option<Py<PyAny>>,
) -> PyResult<Py<PyAny>> {
    let _event = profile::on().then(|| crate::profile::op(py, o.sig.name, target.is_some(), args, &o.sig.params));
    if let Some(target) = target {
        // SAFETY: the first argument, borrowed from the caller's frame.
        let slf = unsafe { Bound::from_borrowed_ptr(py, target) };
        let x = args.tensor(0).or_raise()?.clone();
        rustnn_core::inplace::check_writable(&x).or_raise()?;
        let recorded = rustnn_core::grad_enabled() && tensors(args).any(Tensor::requires_grad);
        let direct = o.def.flags & DIRECT != 0 && !recorded;
        let ret = if direct {
            // What fails half-way may have written some of it.
            dest::offer(&x, || compute(py, o, args)).inspect_err(|_| x.storage().bump(false))?
        } else if recorded {
            rustnn_core::graph::overwriting(&x, o.def.flags & FORGETS != 0, || compute(py, o, args))?
        } else {
            compute(py, o, args)?
        };
        if let Ret::Tensor(r) = ret {
            if direct && r.same(&x) {
                x.bump_version();
            } else {
                write_back(&x, &r).or_raise()?;
            }
        }
        return Ok(slf.unbind());
    }
    match out {
        None => finish(py, compute(py, o, args)?),
        Some(out) => compute_into(py, o, args, out.bind(py)),
    }
}

/// Runs an op whose result goes to `out`: straight into it if one kernel writes it and nothing is recorded.
fn compute_into(py: Python<'_>, o: &Overload, args: &Args, out: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let place = (o.def.flags & DIRECT != 0).then(|| crate::tensor::tensor_of(out)).flatten();
    let free = |t: &Tensor| !t.tracked() && !tensors(args).any(Tensor::tracked);
    let Some(t) = place.filter(free) else { return write_outs(out, compute(py, o, args)?) };
    rustnn_core::inplace::check_writable(&t).or_raise()?;
    let ret = dest::offer(&t, || compute(py, o, args)).inspect_err(|_| t.storage().bump(false))?;
    if matches!(&ret, Ret::Tensor(r) if r.same(&t)) {
        t.bump_version();
        return Ok(out.clone().unbind());
    }
    write_outs(out, ret)
}

fn tensors(args: &Args) -> impl Iterator<Item = &Tensor> {
    args.given().iter().flat_map(|a| match a {
        Arg::Tensor(t) => std::slice::from_ref(t).iter(),
        Arg::Tensors(v) => v.iter(),
        _ => [].iter(),
    })
}

fn write_outs(out: &Bound<'_, PyAny>, ret: Ret) -> PyResult<Py<PyAny>> {
    let results = match ret {
        Ret::Tensor(r) => {
            let Ok(cell) = out.cast::<PyTensor>() else {
                return Err(PyTypeError::new_err(format!(
                    "argument 'out' must be Tensor, not {}",
                    out.get_type().name()?
                )));
            };
            let new = write_out(&cell.get().get(), &r).or_raise()?;
            if !new.same(&cell.get().get()) {
                PyTensor::replace(cell, new);
            }
            return Ok(out.clone().unbind());
        }
        Ret::Tuple(v) | Ret::List(v) | Ret::Named(_, _, v) => v,
        _ => return Err(PyTypeError::new_err("this op does not take out=")),
    };
    for (i, r) in results.iter().enumerate() {
        let item = out.get_item(i)?;
        let cell = item.cast::<PyTensor>()?;
        let new = write_out(&cell.get().get(), r).or_raise()?;
        if !new.same(&cell.get().get()) {
            PyTensor::replace(cell, new);
        }
    }
    Ok(out.clone().unbind())
}

/// A result as Python sees it.
pub fn finish(py: Python<'_>, ret: Ret) -> PyResult<Py<PyAny>> {
    let many = |v: Vec<Tensor>| v.into_iter().map(|t| wrap(py, t)).collect::<PyResult<Vec<_>>>();
    Ok(match ret {
        Ret::None => py.None(),
        Ret::Tensor(t) => wrap(py, t)?.into_any(),
        Ret::Tuple(v) => PyTuple::new(py, many(v)?)?.into_any().unbind(),
        Ret::List(v) => pyo3::types::PyList::new(py, many(v)?)?.into_any().unbind(),
        Ret::OptTuple(v) => {
            let items = v.into_iter().map(|t| t.map(|t| wrap(py, t)).transpose()).collect::<PyResult<Vec<_>>>()?;
            PyTuple::new(py, items)?.into_any().unbind()
        }
        Ret::Named(name, fields, v) => {
            let cls = crate::convert::named_type(py, name, fields)?;
            cls.call1(PyTuple::new(py, many(v)?)?)?.unbind()
        }
        Ret::Scalar(s) => convert::scalar_object(py, s)?.unbind(),
        Ret::Ints(v) => PyTuple::new(py, v)?.into_any().unbind(),
        Ret::DType(d) => crate::dtype::dtype_object(py, d)?.into_any(),
        Ret::Str(s) => s.into_pyobject(py)?.into_any().unbind(),
    })
}

/// Runs the op `name`, which has one overload and no result, on `first` arguments and then Python objects. False if one
/// of these is not of its parameter's type.
pub fn op(py: Python<'_>, name: &str, first: impl Iterator<Item = Arg>, rest: &Bound<'_, PyTuple>) -> PyResult<bool> {
    let t = table()?;
    let Some(o) = t.by_name.get(name).and_then(|found| t.overloads.get(*found.first()?)) else {
        return Err(PyRuntimeError::new_err(format!("op {name} is not registered")));
    };
    let mut args = Args::new(o.defaults);
    first.for_each(|a| args.push(a));
    let params = &o.sig.params[args.given().len().min(o.sig.params.len())..];
    if rest.len() != params.len() {
        return Err(PyTypeError::new_err(format!("{name}() takes {} options, not {}", params.len(), rest.len())));
    }
    for (v, p) in rest.iter().zip(params) {
        let Some(a) = convert::argument(&v, p)? else { return Ok(false) };
        args.push(a);
    }
    run(py, o, &args, None, None).map(|_| true)
}

/// An op by name, for operators: resolved once.
pub struct Named {
    name: &'static str,
    found: OnceLock<Vec<usize>>,
    /// The op itself, for operands that need no parser.
    of_two: Option<OfTwo>,
}

/// An op of two operands without further arguments.
type OfTwo = fn(Num, Num) -> rustnn_core::Result<Tensor>;

impl Named {
    pub const fn new(name: &'static str) -> Self {
        Named { name, found: OnceLock::new(), of_two: None }
    }

    /// An op of two operands, which is `f` when nothing else is given.
    pub const fn of_two(name: &'static str, f: OfTwo) -> Self {
        Named { name, found: OnceLock::new(), of_two: Some(f) }
    }

    /// The shortest way, for what most operators are: a small plain tensor and another one or a number. `Ok(None)` when
    /// it is not that.
    #[inline]
    pub fn directly(&self, a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let (Some(f), Some(x)) = (self.of_two, plain_tensor(a)) else { return Ok(None) };
        if profile::on() {
            return Ok(None);
        }
        let r = if let Some(y) = plain_tensor(b) {
            // No more than so many elements can come of it, whatever broadcasts.
            if x.numel() >= RELEASE_ABOVE
                || (x.shape() != y.shape() && x.numel().saturating_mul(y.numel()) >= RELEASE_ABOVE)
            {
                return Ok(None);
            }
            f(Num::T(&x), Num::T(&y))
        } else if x.numel() < RELEASE_ABOVE && b.is_exact_instance_of::<PyFloat>() {
            f(Num::T(&x), Num::S(Scalar::Float(b.extract()?)))
        } else {
            return Ok(None);
        };
        Ok(Some(wrap(a.py(), r.or_raise()?)?.into_any()))
    }

    /// Calls it with (at most four) Python objects; `Ok(None)` when no overload takes them.
    pub fn call(&self, py: Python<'_>, objects: &[&Bound<'_, PyAny>], inplace: bool) -> PyResult<Option<Py<PyAny>>> {
        let t = table()?;
        let found = self.found.get_or_init(|| t.by_name.get(self.name).cloned().unwrap_or_default());
        if found.is_empty() {
            return Err(PyRuntimeError::new_err(format!("op {} is not registered", self.name)));
        }
        let none = std::ptr::null_mut();
        let mut ptrs = [none; 4];
        for (p, o) in ptrs.iter_mut().zip(objects) {
            *p = o.as_ptr();
        }
        let ptrs = &ptrs[..objects.len().min(4)];
        if let Some(r) = subclass::intercept(py, self.name, true, inplace, none, ptrs, &[], none)? {
            return Ok(Some(r));
        }
        'next: for &o in found {
            let o = &t.overloads[o];
            let params = &o.sig.params;
            if objects.len() > params.len() {
                continue;
            }
            let mut args = Args::new(o.defaults);
            for (v, p) in objects.iter().zip(params) {
                match convert::argument(v, p)? {
                    Some(a) if !p.keyword_only => args.push(a),
                    _ => continue 'next,
                }
            }
            if params[objects.len()..].iter().any(|p| p.default.is_none()) {
                continue;
            }
            let target = if inplace { ptrs.first().copied() } else { None };
            return run(py, o, &args, target, None).map(Some);
        }
        Ok(None)
    }
}
