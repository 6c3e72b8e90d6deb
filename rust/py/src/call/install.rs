//! Makes the table at import: every op as a method of the Tensor type and as a function of its modules.

use super::{Entry, Overload, TABLE, Table, overloads};
use crate::call::trampolines::TRAMPOLINES;
use crate::error::OrRaise;
use crate::tensor::PyTensor;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use pyo3::{PyTypeInfo, ffi};
use rustnn_ops::sig::Signature;
use rustnn_ops::{Arg, DIRECT, INPLACE, INPLACE_ONLY, LINALG, METHOD, NN, NO_FUNCTION_INPLACE, OUT};
use rustnn_ops::{PRIVATE, SPECIAL, TORCH};
use std::collections::HashMap;
use std::ffi::{CString, c_int};

/// Makes the table and puts every op on the Tensor type and into the modules.
pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = m.py();
    let mut overloads = Vec::new();
    let mut by_name: HashMap<&'static str, Vec<usize>> = HashMap::new();
    for def in rustnn_ops::registry::all() {
        let sig = Signature::parse(def.sig).or_raise()?;
        let names = sig.params.iter().map(|p| PyString::intern(py, p.name).unbind()).collect();
        by_name.entry(sig.name).or_default().push(overloads.len());
        let defaults: Vec<Arg> = sig.params.iter().map(|p| p.default.clone().unwrap_or(Arg::None)).collect();
        overloads.push(Overload { def, sig, names, defaults: defaults.leak() });
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
