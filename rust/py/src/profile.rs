//! The profiler's side of Python: sessions, named regions, and what an op's event says about its arguments.

use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use rustnn_core::profile::{self, Event, Input, Kind, Span};
use rustnn_core::{Tensor, graph};
use rustnn_ops::sig::Param;
use rustnn_ops::{Arg, Args};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard};

/// Regions that Python has entered and not left, by number. They may be left on another thread.
static OPEN: LazyLock<Mutex<(u64, HashMap<u64, Span>)>> = LazyLock::new(Mutex::default);
/// Gives the frames of the calling thread as text.
static STACK: Mutex<Option<Py<PyAny>>> = Mutex::new(None);

fn locked<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    match m.lock() {
        Ok(g) => g,
        Err(e) => e.into_inner(),
    }
}

fn stack(py: Python<'_>) -> Option<String> {
    if !profile::wants(profile::STACKS) {
        return None;
    }
    let f = locked(&STACK).as_ref().map(|f| f.clone_ref(py))?;
    f.call0(py).ok()?.extract(py).ok()
}

/// Parameters of functions in Python that PyTorch's ops do not have.
const NO_INPUTS: [&str; 5] = ["inplace", "size_average", "reduce", "_stacklevel", "return_indices"];

/// The event of an op that is about to run, under the name that PyTorch's op has: `inplace=True` is part of it.
#[cold]
pub fn op(py: Python<'_>, name: &'static str, inplace: bool, args: &Args, params: &[Param]) -> Span {
    let flag = params.iter().position(|p| p.name == "inplace");
    let inputs = || {
        let one = |i| match args.arg(i) {
            Arg::Tensor(t) => Input::tensor(t),
            Arg::Tensors(v) => Input::list(v),
            Arg::Ints(_) | Arg::Floats(_) => Input::Scalars,
            Arg::Bool(_) | Arg::Int(_) | Arg::Float(_) | Arg::DType(_) => Input::Scalar,
            _ => Input::Other,
        };
        (0..params.len()).filter(|&i| !NO_INPUTS.contains(&params[i].name)).map(one).collect()
    };
    let inplace = inplace || flag.is_some_and(|i| matches!(args.arg(i), Arg::Bool(true)));
    let name = if name == "cross_entropy" { "cross_entropy_loss" } else { name };
    let full = if inplace { Cow::Owned(format!("{name}_")) } else { Cow::Borrowed(name) };
    Span::begin(Kind::Op, "aten::", full, Some(graph::next_seq()), inputs, stack(py))
}

/// The event of what one tensor's method does outside of the registry; nothing while nobody records.
#[inline]
pub fn method(py: Python<'_>, name: &'static str, x: &Tensor) -> Option<Span> {
    profile::on().then(|| event(py, name, x))
}

/// That event, where somebody records.
#[cold]
pub fn event(py: Python<'_>, name: &'static str, x: &Tensor) -> Span {
    Span::begin(Kind::Op, "aten::", name, Some(graph::next_seq()), || vec![Input::tensor(x)], stack(py))
}

/// Whether a session is running.
#[pyfunction]
fn _profiling() -> bool {
    profile::on()
}

/// Begins a session; `stack` gives the frames of the calling thread. False if one is running.
#[pyfunction]
#[pyo3(signature = (shapes=false, memory=false, stack=None))]
fn _profile_start(shapes: bool, memory: bool, stack: Option<Py<PyAny>>) -> bool {
    if profile::on() {
        return false;
    }
    let flag = |on: bool, f: u32| if on { f } else { 0 };
    let flags = flag(shapes, profile::SHAPES) | flag(memory, profile::MEMORY) | flag(stack.is_some(), profile::STACKS);
    *locked(&STACK) = stack;
    profile::start(flags)
}

/// Ends the session: `(name, scope, start, end, thread, sequence, inputs, bytes, stack)` of each event, times in
/// nanoseconds; an input is `None`, `"Scalar"`, `"ScalarList"`, `(dtype, shape)` or a list of such pairs.
#[pyfunction]
fn _profile_stop(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let events = py.detach(profile::stop);
    let open = std::mem::take(&mut locked(&OPEN).1);
    let frames = locked(&STACK).take();
    drop((open, frames));
    PyList::new(py, events.into_iter().map(|e| row(py, e)).collect::<PyResult<Vec<_>>>()?)
}

fn row<'py>(py: Python<'py>, e: Event) -> PyResult<Bound<'py, PyTuple>> {
    let pair = |(shape, dtype): &(rustnn_core::Dims, rustnn_core::DType)| {
        (dtype.name(), PyList::new(py, shape.iter())?).into_pyobject(py).map(Bound::into_any)
    };
    let input = |i: &Input| -> PyResult<Bound<'py, PyAny>> {
        Ok(match i {
            Input::Other => py.None().into_bound(py),
            Input::Scalar => "Scalar".into_pyobject(py)?.into_any(),
            Input::Scalars => "ScalarList".into_pyobject(py)?.into_any(),
            Input::Tensor(shape, dtype) => pair(&(shape.clone(), *dtype))?,
            Input::List(v) => PyList::new(py, v.iter().map(pair).collect::<PyResult<Vec<_>>>()?)?.into_any(),
        })
    };
    let inputs = PyList::new(py, e.inputs.iter().map(input).collect::<PyResult<Vec<_>>>()?)?;
    let name = format!("{}{}", e.prefix, e.name);
    (name, e.kind as u8, e.start, e.end, e.thread, e.sequence, inputs, e.bytes, e.stack).into_pyobject(py)
}

/// Begins a named region; 0 if no session is running.
#[pyfunction]
fn _profile_enter(py: Python<'_>, name: String) -> u64 {
    if !profile::on() {
        return 0;
    }
    let frames = stack(py);
    let span = Span::begin(Kind::User, "", name, None, Vec::new, frames);
    let mut open = locked(&OPEN);
    open.0 += 1;
    let number = open.0;
    open.1.insert(number, span);
    number
}

/// Ends the region that `_profile_enter` gave the number of.
#[pyfunction]
fn _profile_exit(number: u64) {
    if number != 0 {
        let span = locked(&OPEN).1.remove(&number);
        drop(span);
    }
}

/// The clock of the events and its start, in nanoseconds: `(now, start since 1970)`.
#[pyfunction]
fn _profile_clock() -> (u64, u64) {
    let start = profile::epoch();
    (profile::now(), start)
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    for f in [
        wrap_pyfunction!(_profiling, m)?,
        wrap_pyfunction!(_profile_start, m)?,
        wrap_pyfunction!(_profile_stop, m)?,
        wrap_pyfunction!(_profile_enter, m)?,
        wrap_pyfunction!(_profile_exit, m)?,
        wrap_pyfunction!(_profile_clock, m)?,
    ] {
        m.add_function(f)?;
    }
    Ok(())
}
