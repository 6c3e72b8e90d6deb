//! Parsed arguments of a call and its result: what crosses between a binding and an op.

use rustnn_core::base::type_error;
use rustnn_core::{DType, Generator, Result, Scalar, Tensor};
use smallvec::SmallVec;

/// One argument.
#[derive(Debug, Clone)]
pub enum Arg {
    None,
    Tensor(Tensor),
    Tensors(Vec<Tensor>),
    OptTensors(Vec<Option<Tensor>>),
    Bool(bool),
    Int(i64),
    Float(f64),
    Ints(SmallVec<[i64; 5]>),
    Floats(Vec<f64>),
    Str(String),
    DType(DType),
    /// `contiguous_format`, `preserve_format`, `channels_last`, ...
    MemoryFormat(u8),
    Generator(Generator),
    /// A device, a layout: there is one of each, so only its presence is known.
    Other,
}

/// The arguments of one call, in the order of the signature. Those after the last one given are the signature's
/// defaults, which are not copied for every call.
pub struct Args {
    given: SmallVec<[Arg; 6]>,
    defaults: &'static [Arg],
}

impl Args {
    /// No argument yet; `defaults` has a value for every parameter.
    #[inline]
    #[must_use]
    pub fn new(defaults: &'static [Arg]) -> Args {
        Args { given: SmallVec::new(), defaults }
    }
    /// Appends the next parameter's value.
    #[inline]
    pub fn push(&mut self, a: Arg) {
        self.given.push(a);
    }
    /// What was given (and the defaults between).
    #[inline]
    #[must_use]
    pub fn given(&self) -> &[Arg] {
        &self.given
    }
    fn wrong<T>(&self, i: usize, want: &str) -> Result<T> {
        Err(type_error!("argument {} must be {want}, got {:?}", i + 1, self.arg(i)))
    }
    #[inline]
    #[must_use]
    pub fn arg(&self, i: usize) -> &Arg {
        self.given.get(i).or_else(|| self.defaults.get(i)).unwrap_or(&Arg::None)
    }
    #[must_use]
    pub fn is_none(&self, i: usize) -> bool {
        matches!(self.arg(i), Arg::None)
    }
    #[inline]
    pub fn tensor(&self, i: usize) -> Result<&Tensor> {
        match self.arg(i) {
            Arg::Tensor(t) => Ok(t),
            _ => self.wrong(i, "Tensor"),
        }
    }
    #[must_use]
    pub fn opt_tensor(&self, i: usize) -> Option<&Tensor> {
        match self.arg(i) {
            Arg::Tensor(t) => Some(t),
            _ => None,
        }
    }
    pub fn tensors(&self, i: usize) -> Result<&[Tensor]> {
        match self.arg(i) {
            Arg::Tensors(t) => Ok(t),
            Arg::Tensor(t) => Ok(std::slice::from_ref(t)),
            _ => self.wrong(i, "a list of Tensors"),
        }
    }
    pub fn opt_tensors(&self, i: usize) -> Result<&[Option<Tensor>]> {
        match self.arg(i) {
            Arg::OptTensors(t) => Ok(t),
            _ => self.wrong(i, "a list of Tensors or None"),
        }
    }
    #[must_use]
    pub fn opt_scalar(&self, i: usize) -> Option<Scalar> {
        match *self.arg(i) {
            Arg::Bool(b) => Some(Scalar::Bool(b)),
            Arg::Int(v) => Some(Scalar::Int(v)),
            Arg::Float(v) => Some(Scalar::Float(v)),
            _ => None,
        }
    }
    pub fn scalar(&self, i: usize) -> Result<Scalar> {
        match self.opt_scalar(i) {
            Some(s) => Ok(s),
            None => self.wrong(i, "a number"),
        }
    }
    #[must_use]
    pub fn opt_int(&self, i: usize) -> Option<i64> {
        match *self.arg(i) {
            Arg::Int(v) => Some(v),
            Arg::Bool(b) => Some(i64::from(b)),
            Arg::Ints(ref v) if v.len() == 1 => Some(v[0]),
            _ => None,
        }
    }
    pub fn int(&self, i: usize) -> Result<i64> {
        match self.opt_int(i) {
            Some(v) => Ok(v),
            None => self.wrong(i, "int"),
        }
    }
    #[must_use]
    pub fn opt_ints(&self, i: usize) -> Option<&[i64]> {
        match self.arg(i) {
            Arg::Ints(v) => Some(v),
            Arg::Int(v) => Some(std::slice::from_ref(v)),
            _ => None,
        }
    }
    pub fn ints(&self, i: usize) -> Result<&[i64]> {
        match self.opt_ints(i) {
            Some(v) => Ok(v),
            None => self.wrong(i, "tuple of ints"),
        }
    }
    #[must_use]
    pub fn opt_float(&self, i: usize) -> Option<f64> {
        self.opt_scalar(i).map(Scalar::to_f64)
    }
    pub fn float(&self, i: usize) -> Result<f64> {
        match self.opt_float(i) {
            Some(v) => Ok(v),
            None => self.wrong(i, "float"),
        }
    }
    #[must_use]
    pub fn opt_floats(&self, i: usize) -> Option<Vec<f64>> {
        match self.arg(i) {
            Arg::Floats(v) => Some(v.clone()),
            Arg::Ints(v) => Some(v.iter().map(|&x| x as f64).collect()),
            Arg::Int(_) | Arg::Float(_) => self.opt_float(i).map(|v| vec![v]),
            _ => None,
        }
    }
    pub fn bool(&self, i: usize) -> Result<bool> {
        match *self.arg(i) {
            Arg::Bool(b) => Ok(b),
            Arg::Int(v) => Ok(v != 0),
            _ => self.wrong(i, "bool"),
        }
    }
    #[must_use]
    pub fn opt_bool(&self, i: usize) -> Option<bool> {
        match *self.arg(i) {
            Arg::Bool(b) => Some(b),
            Arg::Int(v) => Some(v != 0),
            _ => None,
        }
    }
    pub fn str(&self, i: usize) -> Result<&str> {
        match self.opt_str(i) {
            Some(v) => Ok(v),
            None => self.wrong(i, "str"),
        }
    }
    #[must_use]
    pub fn opt_str(&self, i: usize) -> Option<&str> {
        match self.arg(i) {
            Arg::Str(s) => Some(s),
            _ => None,
        }
    }
    /// A dtype, if one was given.
    #[must_use]
    pub fn dtype(&self, i: usize) -> Option<DType> {
        match *self.arg(i) {
            Arg::DType(d) => Some(d),
            _ => None,
        }
    }
    /// A generator, if one was given.
    #[must_use]
    pub fn generator(&self, i: usize) -> Option<&Generator> {
        match self.arg(i) {
            Arg::Generator(g) => Some(g),
            _ => None,
        }
    }
}

/// What an op gives back.
#[derive(Debug)]
pub enum Ret {
    None,
    Tensor(Tensor),
    /// A Python tuple.
    Tuple(Vec<Tensor>),
    /// A tuple in which some may be absent.
    OptTuple(Vec<Option<Tensor>>),
    /// A Python list.
    List(Vec<Tensor>),
    /// A named tuple: type (`max`) and field names.
    Named(&'static str, &'static [&'static str], Vec<Tensor>),
    Scalar(Scalar),
    Ints(Vec<i64>),
    DType(DType),
    Str(String),
}

/// Turns an op's own result into a [`Ret`].
pub trait IntoRet {
    fn ret(self) -> Result<Ret>;
}
macro_rules! into_ret {
    ($($t:ty, $v:ident => $e:expr);* $(;)?) => {$(
        impl IntoRet for Result<$t> {
            fn ret(self) -> Result<Ret> {
                self.map(|$v| $e)
            }
        }
        impl IntoRet for $t {
            fn ret(self) -> Result<Ret> {
                let $v = self;
                Ok($e)
            }
        }
    )*};
}
into_ret! {
    (), _v => Ret::None;
    Tensor, v => Ret::Tensor(v);
    Vec<Tensor>, v => Ret::Tuple(v);
    (Tensor, Tensor), v => Ret::Tuple(vec![v.0, v.1]);
    (Tensor, Tensor, Tensor), v => Ret::Tuple(vec![v.0, v.1, v.2]);
    bool, v => Ret::Scalar(Scalar::Bool(v));
    i64, v => Ret::Scalar(Scalar::Int(v));
    f64, v => Ret::Scalar(Scalar::Float(v));
    Scalar, v => Ret::Scalar(v);
    DType, v => Ret::DType(v);
}
