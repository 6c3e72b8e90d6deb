//! The one error type. Each variant maps to the Python exception that PyTorch raises for the same mistake.
//!
//! A message's first line says what is wrong, in PyTorch's key words where programs match on them; further lines
//! help: the op and argument, shapes, and what to do.

use std::any::Any;

/// What any fallible call in the engine returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, by the Python exception it becomes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `RuntimeError`: shapes that do not fit, graph misuse, anything PyTorch reports that way.
    #[error("{0}")]
    Runtime(String),
    /// `linalg.LinAlgError`, a `RuntimeError`: a matrix without the inverse or factorisation asked for.
    #[error("{0}")]
    LinAlg(String),
    /// `TypeError`: an argument of the wrong kind.
    #[error("{0}")]
    Type(String),
    /// `ValueError`: an argument of the right kind with an impossible value.
    #[error("{0}")]
    Value(String),
    /// `IndexError`: an index or dimension outside its range.
    #[error("{0}")]
    Index(String),
    /// `NotImplementedError`: exists in PyTorch, not (for this dtype or device) here.
    #[error("{0}")]
    NotImplemented(String),
    /// `MemoryError`: that many bytes could not be had, by the op if known.
    #[error("could not allocate {bytes} bytes{}", op.map(|op| format!("\n  in: {op}")).unwrap_or_default())]
    OutOfMemory { bytes: u64, op: Option<&'static str> },
    /// `KeyboardInterrupt`: the user pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// An exception of the host language, carried through unchanged (a Python hook raised).
    #[error("an exception was raised by a callback")]
    External(Box<dyn Any + Send + Sync>),
}

impl Error {
    /// Adds help below the message; the first line, on which programs match, stays.
    #[must_use]
    pub fn hint(self, help: impl AsRef<str>) -> Self {
        self.map(|m| format!("{m}\n  hint: {}", help.as_ref()))
    }

    /// That many bytes could not be had.
    #[must_use]
    pub fn out_of_memory(bytes: u64) -> Self {
        Error::OutOfMemory { bytes, op: None }
    }

    /// Names the op that memory was missing for, once; other errors stay.
    #[must_use]
    pub fn short_of_memory_in(self, name: &'static str) -> Self {
        match self {
            Error::OutOfMemory { bytes, op } => Error::OutOfMemory { bytes, op: op.or(Some(name)) },
            other => other,
        }
    }

    /// Names the op in which the error came up, once.
    #[must_use]
    pub fn in_op(self, op: &str) -> Self {
        self.map(|m| if m.contains("\n  in: ") { m } else { format!("{m}\n  in: {op}") })
    }

    fn map(self, f: impl FnOnce(String) -> String) -> Self {
        match self {
            Error::Runtime(m) => Error::Runtime(f(m)),
            Error::LinAlg(m) => Error::LinAlg(f(m)),
            Error::Type(m) => Error::Type(f(m)),
            Error::Value(m) => Error::Value(f(m)),
            Error::Index(m) => Error::Index(f(m)),
            Error::NotImplemented(m) => Error::NotImplemented(f(m)),
            other => other,
        }
    }
}

/// `runtime_error!("fmt", ..)` builds [`Error::Runtime`]; its siblings the other kinds.
#[macro_export]
macro_rules! runtime_error { ($($t:tt)*) => { $crate::Error::Runtime(format!($($t)*)) } }
/// Builds [`Error::LinAlg`].
#[macro_export]
macro_rules! linalg_error { ($($t:tt)*) => { $crate::Error::LinAlg(format!($($t)*)) } }
/// Builds [`Error::Type`].
#[macro_export]
macro_rules! type_error { ($($t:tt)*) => { $crate::Error::Type(format!($($t)*)) } }
/// Builds [`Error::Value`].
#[macro_export]
macro_rules! value_error { ($($t:tt)*) => { $crate::Error::Value(format!($($t)*)) } }
/// Builds [`Error::Index`].
#[macro_export]
macro_rules! index_error { ($($t:tt)*) => { $crate::Error::Index(format!($($t)*)) } }
/// Builds [`Error::NotImplemented`].
#[macro_export]
macro_rules! not_implemented { ($($t:tt)*) => { $crate::Error::NotImplemented(format!($($t)*)) } }
