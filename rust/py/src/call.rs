//! Calls from Python into the registry: one table-driven caller for every op, as method and as function.
//!
//! At import each op gets a `PyMethodDef` whose trampoline knows the op's number, so nothing is generated per op and
//! the binding does not grow with the registry. Parameter names are interned and compared by pointer.

use crate::convert;
use crate::error::OrRaise;
use crate::subclass;
use crate::tensor::{PyTensor, wrap};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{PyTypeInfo, ffi};
use rustnn_core::{Tensor, caught, dest};
use rustnn_ops::inplace::{write_back, write_out};
use rustnn_ops::sig::{Param, Signature, ty};
use rustnn_ops::{
    Arg, Args, DIRECT, INPLACE, INPLACE_ONLY, METHOD, NO_FUNCTION_INPLACE, OUT, OpDef, PRIVATE, Ret, TORCH,
};
use rustnn_ops::{LINALG, NN, SPECIAL};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::ffi::{CString, c_int};
use std::sync::OnceLock;

/// One overload, ready to be called.
pub struct Overload {
    pub def: OpDef,
    pub sig: Signature,
    /// Interned parameter names.
    names: Vec<Py<PyString>>,
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

/// Elements above which other Python threads may run during an op.
const RELEASE_ABOVE: usize = 1 << 15;

type Fast = unsafe extern "C" fn(
    *mut ffi::PyObject,
    *const *mut ffi::PyObject,
    ffi::Py_ssize_t,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;

unsafe extern "C" fn tramp<const N: usize>(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: Python calls with the GIL held and valid arguments.
    unsafe { enter(N, slf, args, nargs, kwnames) }
}

macro_rules! t16 {
    ($b:expr) => {
        [
            tramp::<{ $b }>,
            tramp::<{ $b + 1 }>,
            tramp::<{ $b + 2 }>,
            tramp::<{ $b + 3 }>,
            tramp::<{ $b + 4 }>,
            tramp::<{ $b + 5 }>,
            tramp::<{ $b + 6 }>,
            tramp::<{ $b + 7 }>,
            tramp::<{ $b + 8 }>,
            tramp::<{ $b + 9 }>,
            tramp::<{ $b + 10 }>,
            tramp::<{ $b + 11 }>,
            tramp::<{ $b + 12 }>,
            tramp::<{ $b + 13 }>,
            tramp::<{ $b + 14 }>,
            tramp::<{ $b + 15 }>,
        ]
    };
}
macro_rules! t256 {
    ($b:expr) => {
        [
            t16!($b),
            t16!($b + 16),
            t16!($b + 32),
            t16!($b + 48),
            t16!($b + 64),
            t16!($b + 80),
            t16!($b + 96),
            t16!($b + 112),
            t16!($b + 128),
            t16!($b + 144),
            t16!($b + 160),
            t16!($b + 176),
            t16!($b + 192),
            t16!($b + 208),
            t16!($b + 224),
            t16!($b + 240),
        ]
    };
}
static TRAMPOLINES: [[[Fast; 16]; 16]; 8] =
    [t256!(0), t256!(256), t256!(512), t256!(768), t256!(1024), t256!(1280), t256!(1536), t256!(1792)];

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
    let call = std::panic::AssertUnwindSafe(|| -> PyResult<Py<PyAny>> {
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
    });
    match std::panic::catch_unwind(call) {
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

/// The arguments as Python passed them.
struct Given<'a> {
    slf: *mut ffi::PyObject,
    pos: &'a [*mut ffi::PyObject],
    kw: &'a [*mut ffi::PyObject],
    kwnames: *mut ffi::PyObject,
}

impl Given<'_> {
    #[inline]
    fn positional(&self, i: usize) -> Option<*mut ffi::PyObject> {
        if self.slf.is_null() {
            self.pos.get(i).copied()
        } else if i == 0 {
            Some(self.slf)
        } else {
            self.pos.get(i - 1).copied()
        }
    }
    fn positionals(&self) -> usize {
        self.pos.len() + usize::from(!self.slf.is_null())
    }
    fn keyword_name(&self, k: usize) -> *mut ffi::PyObject {
        // SAFETY: `kwnames` is a tuple at least as long as `kw`; the reference is borrowed.
        unsafe { ffi::PyTuple_GetItem(self.kwnames, k as ffi::Py_ssize_t) }
    }
    fn each<'py>(&self, py: Python<'py>) -> impl Iterator<Item = Bound<'py, PyAny>> {
        let slf = (!self.slf.is_null()).then_some(self.slf);
        slf.into_iter()
            .chain(self.pos.iter().copied())
            .chain(self.kw.iter().copied())
            .collect::<SmallVec<[_; 8]>>()
            .into_iter()
            // SAFETY: borrowed from the caller's frame, which outlives the call.
            .map(move |p| unsafe { Bound::from_borrowed_ptr(py, p) })
    }
}

/// Why an overload does not fit.
enum Misfit {
    /// Wrong kinds or counts of arguments: another overload may fit.
    Mismatch(PyErr),
    /// An exception while reading an argument.
    Raised(PyErr),
}

fn dispatch(py: Python<'_>, t: &Table, entry: &Entry, given: &Given<'_>) -> PyResult<Py<PyAny>> {
    let (slf, pos, kw) = (given.slf, given.pos, given.kw);
    if let Some(r) = subclass::intercept(py, entry.name, entry.method, entry.inplace, slf, pos, kw, given.kwnames)? {
        return Ok(r);
    }
    let mut first: Option<PyErr> = None;
    for &o in &entry.overloads {
        let overload = &t.overloads[o];
        match parse(py, t, overload, entry, given) {
            Ok((args, out)) => {
                let target = if entry.inplace { given.positional(0) } else { None };
                return run(py, overload, args, target, out);
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

fn parse(
    py: Python<'_>,
    t: &Table,
    o: &Overload,
    entry: &Entry,
    given: &Given<'_>,
) -> Result<(Args, Option<Py<PyAny>>), Misfit> {
    let params = &o.sig.params;
    let mut values: SmallVec<[Option<*mut ffi::PyObject>; 12]> = SmallVec::from_elem(None, params.len());
    let npos = given.positionals();
    let mut spread: Option<(usize, usize)> = None;
    let mut used = 0;
    for (i, p) in params.iter().enumerate() {
        if p.keyword_only || used >= npos {
            break;
        }
        let first = given.positional(used);
        let one = || is_plain_int(py, first) || (p.types & ty::TENSORS != 0 && is_tensor(py, first));
        if p.spread && (npos - used != 1 || one()) {
            spread = Some((i, used));
            used = npos;
            break;
        }
        values[i] = given.positional(used);
        used += 1;
    }
    if used < npos {
        let max = params.iter().filter(|p| !p.keyword_only).count();
        return Err(mismatch(format!(
            "{}() takes {max} positional argument{} but {npos} {} given",
            entry.name,
            if max == 1 { "" } else { "s" },
            if npos == 1 { "was" } else { "were" }
        )));
    }
    let mut out = None;
    for k in 0..given.kw.len() {
        let name = given.keyword_name(k);
        let found = o.names.iter().position(|n| n.as_ptr() == name).or_else(|| find_by_text(py, o, name));
        match found {
            Some(i) if values[i].is_some() || spread.is_some_and(|s| s.0 == i) => {
                return Err(mismatch(format!(
                    "{}() got multiple values for argument '{}'",
                    entry.name, params[i].name
                )));
            }
            Some(i) => values[i] = Some(given.kw[k]),
            None if o.def.flags & OUT != 0 && !entry.inplace && is_out(py, t, name) => {
                // SAFETY: borrowed from the caller's frame.
                let v = unsafe { Bound::from_borrowed_ptr(py, given.kw[k]) };
                if !v.is_none() {
                    out = Some(v.unbind());
                }
            }
            None => {
                // SAFETY: an item of the keyword tuple.
                let text = unsafe { Bound::from_borrowed_ptr(py, name) };
                return Err(mismatch(format!("{}() got an unexpected keyword argument '{text}'", entry.name)));
            }
        }
    }
    let mut args: SmallVec<[Arg; 6]> = SmallVec::with_capacity(params.len());
    for (i, p) in params.iter().enumerate() {
        if let Some((at, from)) = spread.filter(|s| s.0 == i) {
            let _ = at;
            if p.types & ty::TENSORS != 0 {
                let mut tensors = Vec::with_capacity(npos - from);
                for k in from..npos {
                    let Some(ptr) = given.positional(k) else { break };
                    // SAFETY: borrowed from the caller's frame.
                    let v = unsafe { Bound::from_borrowed_ptr(py, ptr) };
                    tensors.push(crate::tensor::tensor_of(&v).ok_or_else(|| wrong_type(entry, p, k, given, &v))?);
                }
                args.push(Arg::Tensors(tensors));
                continue;
            }
            let mut ints = SmallVec::new();
            for k in from..npos {
                let Some(ptr) = given.positional(k) else { break };
                // SAFETY: borrowed from the caller's frame.
                let v = unsafe { Bound::from_borrowed_ptr(py, ptr) };
                ints.push(convert::int(&v).ok_or_else(|| wrong_type(entry, p, k, given, &v))?);
            }
            args.push(Arg::Ints(ints));
            continue;
        }
        match values[i] {
            Some(ptr) => {
                // SAFETY: borrowed from the caller's frame, which outlives the call.
                let v = unsafe { Bound::from_borrowed_ptr(py, ptr) };
                match convert::argument(&v, p) {
                    Ok(Some(a)) => args.push(a),
                    Ok(None) => return Err(wrong_type(entry, p, i, given, &v)),
                    Err(e) => return Err(Misfit::Raised(e)),
                }
            }
            None => match &p.default {
                Some(d) => args.push(d.clone()),
                None => {
                    return Err(mismatch(format!(
                        "{}() missing 1 required positional arguments: \"{}\"",
                        entry.name, p.name
                    )));
                }
            },
        }
    }
    Ok((Args(args), out))
}

#[cold]
fn mismatch(m: String) -> Misfit {
    Misfit::Mismatch(PyTypeError::new_err(m))
}

#[cold]
fn wrong_type(entry: &Entry, p: &Param, i: usize, given: &Given<'_>, v: &Bound<'_, PyAny>) -> Misfit {
    let position = i + 1 - usize::from(!given.slf.is_null());
    let got = v.get_type().name().map(|n| n.to_string()).unwrap_or_default();
    mismatch(format!(
        "{}(): argument '{}' (position {position}) must be {}, not {got}",
        entry.name,
        p.name,
        type_names(p)
    ))
}

/// What a parameter accepts, in PyTorch's words.
fn type_names(p: &Param) -> String {
    let all = [
        (ty::TENSOR, "Tensor"),
        (ty::TENSORS, "tuple of Tensors"),
        (ty::OPT_TENSORS, "tuple of Tensors"),
        (ty::SCALAR, "Number"),
        (ty::INT, "int"),
        (ty::INTS, "tuple of ints"),
        (ty::FLOAT, "float"),
        (ty::FLOATS, "tuple of floats"),
        (ty::BOOL, "bool"),
        (ty::STR, "str"),
        (ty::DTYPE, "torch.dtype"),
        (ty::DEVICE, "torch.device"),
        (ty::LAYOUT, "torch.layout"),
        (ty::MEMORY_FORMAT, "torch.memory_format"),
        (ty::GENERATOR, "torch.Generator"),
    ];
    all.iter().filter(|(bit, _)| p.types & bit != 0).map(|(_, n)| *n).collect::<Vec<_>>().join(" or ")
}

#[inline]
fn is_plain_int(py: Python<'_>, ptr: Option<*mut ffi::PyObject>) -> bool {
    let Some(ptr) = ptr else { return false };
    // SAFETY: borrowed from the caller's frame.
    let v = unsafe { Bound::from_borrowed_ptr(py, ptr) };
    !v.is_none() && convert::int(&v).is_some()
}

/// Whether a positional argument is a tensor: the first of several where a list of tensors may be spread.
fn is_tensor(py: Python<'_>, ptr: Option<*mut ffi::PyObject>) -> bool {
    let Some(ptr) = ptr else { return false };
    // SAFETY: borrowed from the caller's frame.
    crate::tensor::tensor_of(&unsafe { Bound::from_borrowed_ptr(py, ptr) }).is_some()
}

/// Keywords that were not interned, and NumPy's names for PyTorch's parameters.
#[cold]
fn find_by_text(py: Python<'_>, o: &Overload, name: *mut ffi::PyObject) -> Option<usize> {
    // SAFETY: an item of the keyword tuple.
    let text: String = unsafe { Bound::from_borrowed_ptr(py, name) }.extract().ok()?;
    let has = |n: &str| o.sig.params.iter().position(|p| p.name == n);
    has(&text).or_else(|| match text.as_str() {
        "axis" | "axes" => has("dim").or_else(|| has("dims")),
        "dims" => has("dim"),
        "keepdims" => has("keepdim"),
        "x" | "a" | "x1" | "self" | "tensor" => has("input"),
        "x2" => has("other"),
        _ => None,
    })
}

fn is_out(py: Python<'_>, t: &Table, name: *mut ffi::PyObject) -> bool {
    if t.out.as_ptr() == name {
        return true;
    }
    // SAFETY: an item of the keyword tuple.
    unsafe { Bound::from_borrowed_ptr(py, name) }.extract::<String>().is_ok_and(|s| s == "out")
}

fn largest(args: &Args) -> usize {
    args.0
        .iter()
        .map(|a| match a {
            Arg::Tensor(t) => t.numel(),
            Arg::Tensors(v) => v.iter().map(Tensor::numel).sum(),
            Arg::Ints(v) => v.iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?)).unwrap_or(0),
            _ => 0,
        })
        .max()
        .unwrap_or(0)
}

/// Runs an op, other Python threads running meanwhile if it is long.
fn compute(py: Python<'_>, o: &Overload, args: &Args) -> PyResult<Ret> {
    let call = || caught(|| (o.def.call)(args)).map_err(|e| e.short_of_memory_in(o.sig.name));
    let result = if largest(args) >= RELEASE_ABOVE { py.detach(call) } else { call() };
    result.or_raise()
}

fn run(
    py: Python<'_>,
    o: &Overload,
    args: Args,
    target: Option<*mut ffi::PyObject>,
    out: Option<Py<PyAny>>,
) -> PyResult<Py<PyAny>> {
    if let Some(target) = target {
        // SAFETY: the first argument, borrowed from the caller's frame.
        let slf = unsafe { Bound::from_borrowed_ptr(py, target) };
        let x = args.tensor(0).or_raise()?.clone();
        rustnn_core::inplace::check_writable(&x).or_raise()?;
        let direct =
            o.def.flags & DIRECT != 0 && !(rustnn_core::grad_enabled() && tensors(&args).any(Tensor::requires_grad));
        let ret = if direct { dest::offer(&x, || compute(py, o, &args))? } else { compute(py, o, &args)? };
        if let Ret::Tensor(r) = ret {
            if direct && r.same(&x) {
                x.bump_version();
            } else {
                write_back(&x, &r).or_raise()?;
            }
        }
        return Ok(slf.unbind());
    }
    let ret = compute(py, o, &args)?;
    match out {
        None => finish(py, ret),
        Some(out) => write_outs(out.bind(py), ret),
    }
}

fn tensors(args: &Args) -> impl Iterator<Item = &Tensor> {
    args.0.iter().flat_map(|a| match a {
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

/// An op by name, for operators: resolved once.
pub struct Named {
    name: &'static str,
    found: OnceLock<Vec<usize>>,
}

impl Named {
    pub const fn new(name: &'static str) -> Self {
        Named { name, found: OnceLock::new() }
    }

    /// Calls it with Python objects; `Ok(None)` when no overload takes them.
    pub fn call(&self, py: Python<'_>, objects: &[&Bound<'_, PyAny>], inplace: bool) -> PyResult<Option<Py<PyAny>>> {
        let t = table()?;
        let found = self.found.get_or_init(|| t.by_name.get(self.name).cloned().unwrap_or_default());
        if found.is_empty() {
            return Err(PyRuntimeError::new_err(format!("op {} is not registered", self.name)));
        }
        let ptrs: SmallVec<[*mut ffi::PyObject; 4]> = objects.iter().map(|o| o.as_ptr()).collect();
        let none = std::ptr::null_mut();
        if let Some(r) = subclass::intercept(py, self.name, true, inplace, none, &ptrs, &[], none)? {
            return Ok(Some(r));
        }
        'next: for &o in found {
            let o = &t.overloads[o];
            let params = &o.sig.params;
            if objects.len() > params.len() {
                continue;
            }
            let mut args: SmallVec<[Arg; 6]> = SmallVec::with_capacity(params.len());
            for (i, p) in params.iter().enumerate() {
                match (objects.get(i), &p.default) {
                    (Some(v), _) if !p.keyword_only => match convert::argument(v, p)? {
                        Some(a) => args.push(a),
                        None => continue 'next,
                    },
                    (None, Some(d)) => args.push(d.clone()),
                    _ => continue 'next,
                }
            }
            let target = if inplace { ptrs.first().copied() } else { None };
            return run(py, o, Args(args), target, None).map(Some);
        }
        Ok(None)
    }
}

/// Makes the table and puts every op on the Tensor type and into the modules.
pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = m.py();
    let mut overloads = Vec::new();
    let mut by_name: HashMap<&'static str, Vec<usize>> = HashMap::new();
    for def in rustnn_ops::registry::all() {
        let sig = Signature::parse(def.sig).or_raise()?;
        let names = sig.params.iter().map(|p| PyString::intern(py, p.name).unbind()).collect();
        by_name.entry(sig.name).or_default().push(overloads.len());
        overloads.push(Overload { def, sig, names });
    }
    let out = PyString::intern(py, "out").unbind();
    let tensor = PyTensor::type_object(py);
    let nn = PyModule::new(py, "rustnn._C._nn")?;
    let linalg = PyModule::new(py, "rustnn._C._linalg")?;
    let special = PyModule::new(py, "rustnn._C._special")?;
    let mut sorted: Vec<_> = by_name.iter().collect();
    sorted.sort_unstable();
    let mut entries = Vec::new();
    let pick = |list: &[usize], flag: u32| -> Vec<usize> {
        list.iter().copied().filter(|&i| overloads[i].def.flags & flag == flag).collect()
    };
    let mut targets: Vec<(usize, Target)> = Vec::new();
    for (name, list) in sorted.iter().map(|(n, l)| (**n, *l)) {
        let mut add = |flag: u32, inplace: bool, method: bool, to: Target| {
            let mut chosen = pick(list, flag | if inplace { INPLACE } else { 0 });
            chosen.retain(|&i| inplace || overloads[i].def.flags & INPLACE_ONLY == 0);
            if !chosen.is_empty() {
                targets.push((entries.len(), to));
                entries.push(Entry { name, overloads: chosen, method, inplace });
            }
        };
        add(METHOD, false, true, Target::Method);
        add(METHOD, true, true, Target::Method);
        add(TORCH, false, false, Target::Top);
        if !list.iter().any(|&i| overloads[i].def.flags & NO_FUNCTION_INPLACE != 0) {
            add(TORCH, true, false, Target::Top);
        }
        add(PRIVATE, false, false, Target::Top);
        add(NN, false, false, Target::Nn);
        add(NN, true, false, Target::Nn);
        add(LINALG, false, false, Target::Linalg);
        add(SPECIAL, false, false, Target::Special);
    }
    for (n, to) in targets {
        let e = &entries[n];
        let doc = e.overloads.first().map_or("", |&o| overloads[o].def.doc);
        let full = if e.inplace { format!("{}_", e.name) } else { e.name.to_owned() };
        let Some(&f) = TRAMPOLINES.get(n / 256).map(|a| &a[n / 16 % 16][n % 16]) else {
            return Err(PyRuntimeError::new_err("more ops than trampolines"));
        };
        let def = Box::leak(Box::new(ffi::PyMethodDef {
            ml_name: leak(&full)?,
            ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: f },
            ml_flags: (ffi::METH_FASTCALL | ffi::METH_KEYWORDS) as c_int,
            ml_doc: leak(doc)?,
        }));
        match to {
            Target::Method => {
                // SAFETY: type and definition live for ever.
                let d = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(tensor.as_type_ptr(), def))? };
                tensor.setattr(full.as_str(), d)?;
            }
            _ => {
                let module = match to {
                    Target::Nn => &nn,
                    Target::Linalg => &linalg,
                    Target::Special => &special,
                    _ => m,
                };
                // SAFETY: the definition lives for ever; there is no self and the module name is a new reference held
                // by the function.
                let fun = unsafe {
                    let name = PyString::new(py, "rustnn");
                    Bound::from_owned_ptr_or_err(py, ffi::PyCFunction_NewEx(def, std::ptr::null_mut(), name.as_ptr()))?
                };
                module.add(full.as_str(), fun)?;
            }
        }
    }
    let _ = TABLE.set(Table { overloads, entries, by_name, out });
    m.add("_nn", &nn)?;
    m.add("_linalg", &linalg)?;
    m.add("_special", &special)?;
    Ok(())
}

#[derive(Clone, Copy)]
enum Target {
    Method,
    Top,
    Nn,
    Linalg,
    Special,
}

fn leak(s: &str) -> PyResult<*const std::ffi::c_char> {
    Ok(CString::new(s.replace('\0', "")).map_err(|e| PyRuntimeError::new_err(e.to_string()))?.into_raw())
}

/// Rows of the registry as dicts, for tests, stubs and docs.
#[pyfunction]
pub fn _registry(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    overloads()?
        .iter()
        .map(|o| {
            let d = PyDict::new(py);
            let f = o.def.flags;
            let surfaces: Vec<&str> = [
                (METHOD, "method"),
                (TORCH, "torch"),
                (NN, "nn"),
                (LINALG, "linalg"),
                (SPECIAL, "special"),
                (PRIVATE, "private"),
            ]
            .iter()
            .filter(|(b, _)| f & b != 0)
            .map(|(_, n)| *n)
            .collect();
            d.set_item("name", o.sig.name)?;
            d.set_item("sig", o.def.sig)?;
            d.set_item("params", o.sig.params.iter().map(|p| p.name).collect::<Vec<_>>())?;
            d.set_item("surfaces", surfaces)?;
            d.set_item("doc", o.def.doc)?;
            d.set_item("samples", o.def.samples.to_vec())?;
            d.set_item("oracle", o.def.oracle)?;
            d.set_item("nondiff", f & rustnn_ops::NONDIFF != 0)?;
            d.set_item("inplace", f & INPLACE != 0)?;
            d.set_item("out", f & OUT != 0)?;
            d.set_item("direct", f & DIRECT != 0)?;
            Ok(d)
        })
        .collect()
}
