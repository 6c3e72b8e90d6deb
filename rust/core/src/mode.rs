//! Thread-local switches (grad mode, inference mode, anomaly mode) and the process-wide default dtype.

use rustnn_base::{DType, Result};
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

thread_local! {
    static GRAD: Cell<bool> = const { Cell::new(true) };
    static INFERENCE: Cell<bool> = const { Cell::new(false) };
    static ANOMALY: Cell<bool> = const { Cell::new(false) };
    static WALKING: Cell<bool> = const { Cell::new(false) };
}

/// Whether ops record a graph on this thread.
#[inline]
#[must_use]
pub fn grad_enabled() -> bool {
    GRAD.get()
}

/// Switches recording; returns what was.
pub fn set_grad_enabled(on: bool) -> bool {
    GRAD.replace(on)
}

/// Whether this thread is in inference mode (no graph, no view tracking).
#[inline]
#[must_use]
pub fn inference_mode() -> bool {
    INFERENCE.get()
}

/// Switches inference mode; returns what was.
pub fn set_inference_mode(on: bool) -> bool {
    INFERENCE.replace(on)
}

/// Whether nodes keep the place where their forward ran.
#[inline]
#[must_use]
pub fn anomaly() -> bool {
    ANOMALY.get()
}

/// Switches anomaly mode; returns what was.
pub fn set_anomaly(on: bool) -> bool {
    ANOMALY.replace(on)
}

/// Sets grad mode until dropped, also when unwinding.
pub struct GradGuard(bool);

impl GradGuard {
    #[must_use]
    pub fn new(on: bool) -> Self {
        GradGuard(set_grad_enabled(on))
    }
}

impl Drop for GradGuard {
    fn drop(&mut self) {
        set_grad_enabled(self.0);
    }
}

/// Whether this thread is on its way back through a graph.
#[inline]
#[must_use]
pub fn walking() -> bool {
    WALKING.get()
}

/// The modes of a way back through a graph, recorded or not, until dropped.
pub struct WalkGuard {
    _grad: GradGuard,
    before: bool,
}

impl WalkGuard {
    #[must_use]
    pub fn new(record: bool) -> Self {
        WalkGuard { _grad: GradGuard::new(record), before: WALKING.replace(true) }
    }
}

impl Drop for WalkGuard {
    fn drop(&mut self) {
        WALKING.set(self.before);
    }
}

/// Runs `f` without recording.
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    let _guard = GradGuard::new(false);
    f()
}

static DEFAULT: AtomicU8 = AtomicU8::new(DType::F32 as u8);

/// The dtype of new float tensors.
#[must_use]
pub fn default_dtype() -> DType {
    let d = DEFAULT.load(Ordering::Relaxed);
    DType::ALL[d as usize]
}

/// Sets the dtype of new float tensors (the caller has checked that it is a float).
pub fn set_default_dtype(d: DType) {
    DEFAULT.store(d as u8, Ordering::Relaxed);
}

static WARNER: OnceLock<fn(&str) -> Result<()>> = OnceLock::new();

/// Says how the host language shows warnings; the first call counts.
pub fn set_warner(f: fn(&str) -> Result<()>) {
    let _ = WARNER.set(f);
}

/// Shows a warning; an error where the host language turns warnings into errors.
pub fn warn(message: &str) -> Result<()> {
    WARNER.get().map_or(Ok(()), |f| f(message))
}
