//! Positional and keyword arguments to an overload's parameters, and what is wrong with them in PyTorch's words.

use super::{Entry, Overload, Table};
use crate::convert;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use rustnn_ops::sig::{Param, ty};
use rustnn_ops::{Arg, Args, OUT};
use smallvec::SmallVec;

/// The arguments as Python passed them.
pub struct Given<'a> {
    pub slf: *mut ffi::PyObject,
    pub pos: &'a [*mut ffi::PyObject],
    pub kw: &'a [*mut ffi::PyObject],
    pub kwnames: *mut ffi::PyObject,
}

impl Given<'_> {
    #[inline]
    pub fn positional(&self, i: usize) -> Option<*mut ffi::PyObject> {
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
    pub fn each<'py>(&self, py: Python<'py>) -> impl Iterator<Item = Bound<'py, PyAny>> {
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
pub enum Misfit {
    /// Wrong kinds or counts of arguments: another overload may fit.
    Mismatch(PyErr),
    /// An exception while reading an argument.
    Raised(PyErr),
}
/// Fills `args` with what was given for each parameter, in order; the value of `out=` is returned. Trailing parameters
/// that were not given are left to the defaults that `args` brings.
pub fn parse(
    py: Python<'_>,
    t: &Table,
    o: &Overload,
    entry: &Entry,
    given: &Given<'_>,
    args: &mut Args,
) -> Result<Option<Py<PyAny>>, Misfit> {
    let params = &o.sig.params;
    let npos = given.positionals();
    let mut used = 0;
    let mut spread = None;
    for (i, p) in params.iter().enumerate() {
        if p.keyword_only || used >= npos {
            break;
        }
        if p.spread && (npos - used != 1 || stands_alone(py, p, given.positional(used))) {
            args.push(rest(py, entry, p, given, used)?);
            spread = Some(i);
            used = npos;
            break;
        }
        args.push(convert_one(py, entry, p, i, given, given.positional(used))?);
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
    let filled = spread.map_or(used, |i| i + 1);
    if given.kw.is_empty() {
        for p in &params[filled..] {
            if p.default.is_none() {
                return Err(missing(entry, p));
            }
        }
        return Ok(None);
    }
    keywords(py, t, o, entry, given, filled, args)
}

/// The keyword arguments, for parameters from number `filled` on.
fn keywords(
    py: Python<'_>,
    t: &Table,
    o: &Overload,
    entry: &Entry,
    given: &Given<'_>,
    filled: usize,
    args: &mut Args,
) -> Result<Option<Py<PyAny>>, Misfit> {
    let params = &o.sig.params;
    let mut values: SmallVec<[*mut ffi::PyObject; 16]> = SmallVec::from_elem(std::ptr::null_mut(), params.len());
    let mut out = None;
    let mut last = filled;
    for k in 0..given.kw.len() {
        let name = given.keyword_name(k);
        let found = o.names.iter().position(|n| n.as_ptr() == name).or_else(|| find_by_text(py, o, name));
        match found {
            Some(i) if i < filled || !values[i].is_null() => {
                return Err(mismatch(format!(
                    "{}() got multiple values for argument '{}'",
                    entry.name, params[i].name
                )));
            }
            Some(i) => {
                values[i] = given.kw[k];
                last = last.max(i + 1);
            }
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
    for (i, p) in params.iter().enumerate().skip(filled) {
        let value = values[i];
        if !value.is_null() {
            args.push(convert_one(py, entry, p, i, given, Some(value))?);
            continue;
        }
        match &p.default {
            Some(d) if i < last => args.push(d.clone()),
            Some(_) => {}
            None => return Err(missing(entry, p)),
        }
    }
    Ok(out)
}

/// One value as parameter `p`, number `i`.
#[inline]
fn convert_one(
    py: Python<'_>,
    entry: &Entry,
    p: &Param,
    i: usize,
    given: &Given<'_>,
    value: Option<*mut ffi::PyObject>,
) -> Result<Arg, Misfit> {
    let Some(ptr) = value else { return Err(missing(entry, p)) };
    // SAFETY: borrowed from the caller's frame, which outlives the call.
    let v = unsafe { Bound::from_borrowed_ptr(py, ptr) };
    match convert::argument(&v, p) {
        Ok(Some(a)) => Ok(a),
        Ok(None) => Err(wrong_type(entry, p, i, given, &v)),
        Err(e) => Err(Misfit::Raised(e)),
    }
}

/// Whether the only positional value left is one element of what a spread parameter takes, not the whole list.
fn stands_alone(py: Python<'_>, p: &Param, value: Option<*mut ffi::PyObject>) -> bool {
    is_plain_int(py, value) || (p.types & ty::TENSORS != 0 && is_tensor(py, value))
}

/// All positional values from number `from` on, as the list that a spread parameter takes.
fn rest(py: Python<'_>, entry: &Entry, p: &Param, given: &Given<'_>, from: usize) -> Result<Arg, Misfit> {
    let npos = given.positionals();
    if p.types & ty::TENSORS != 0 {
        let mut tensors = Vec::with_capacity(npos - from);
        for k in from..npos {
            let Some(ptr) = given.positional(k) else { break };
            // SAFETY: borrowed from the caller's frame.
            let v = unsafe { Bound::from_borrowed_ptr(py, ptr) };
            tensors.push(crate::tensor::tensor_of(&v).ok_or_else(|| wrong_type(entry, p, k, given, &v))?);
        }
        return Ok(Arg::Tensors(tensors));
    }
    let mut ints = SmallVec::new();
    for k in from..npos {
        let Some(ptr) = given.positional(k) else { break };
        // SAFETY: borrowed from the caller's frame.
        let v = unsafe { Bound::from_borrowed_ptr(py, ptr) };
        ints.push(convert::int(&v).ok_or_else(|| wrong_type(entry, p, k, given, &v))?);
    }
    Ok(Arg::Ints(ints))
}

#[cold]
fn missing(entry: &Entry, p: &Param) -> Misfit {
    mismatch(format!("{}() missing 1 required positional arguments: \"{}\"", entry.name, p.name))
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
