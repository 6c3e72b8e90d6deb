//! One C function per op that knows the op's number: what makes the binding's size independent of the registry.

use super::enter;
use pyo3::ffi;

pub type Fast = unsafe extern "C" fn(
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
pub static TRAMPOLINES: [[[Fast; 16]; 16]; 8] =
    [t256!(0), t256!(256), t256!(512), t256!(768), t256!(1024), t256!(1280), t256!(1536), t256!(1792)];
