//! The signature language of the registry, read once at start.
//!
//! `name(Type param, Type param=default, *, Type param=default)`. Types: `Tensor Tensor[] Tensor?[] Scalar int int[]
//! float float[] bool str dtype device layout memory_format Generator`; `A|B` accepts either, a trailing `?` also None,
//! `int[2]` also one int (repeated), `int[]...` also spread over positional arguments.

use crate::args::Arg;
use rustnn_core::base::{Error, runtime_error};
use rustnn_core::{DType, Result};

/// What a parameter accepts, as bits.
pub mod ty {
    pub const TENSOR: u32 = 1;
    pub const TENSORS: u32 = 2;
    pub const OPT_TENSORS: u32 = 4;
    pub const SCALAR: u32 = 8;
    pub const INT: u32 = 16;
    pub const INTS: u32 = 32;
    pub const FLOAT: u32 = 64;
    pub const FLOATS: u32 = 128;
    pub const BOOL: u32 = 256;
    pub const STR: u32 = 512;
    pub const DTYPE: u32 = 1024;
    pub const DEVICE: u32 = 2048;
    pub const LAYOUT: u32 = 4096;
    pub const MEMORY_FORMAT: u32 = 8192;
    pub const GENERATOR: u32 = 16384;
    pub const NONE: u32 = 32768;
}

/// One parameter.
pub struct Param {
    pub name: &'static str,
    pub types: u32,
    /// Expected length of an `int[n]`, to which a single int is repeated; 0 for any.
    pub repeat: usize,
    /// Takes the remaining positional arguments.
    pub spread: bool,
    pub keyword_only: bool,
    pub default: Option<Arg>,
}

/// A parsed signature.
pub struct Signature {
    pub name: &'static str,
    pub params: Vec<Param>,
}

impl Signature {
    /// Reads one; an error names what is wrong with it (a test parses all).
    pub fn parse(sig: &'static str) -> Result<Signature> {
        let bad = |why: &str| runtime_error_sig(sig, why);
        let (name, rest) = sig.split_once('(').ok_or_else(|| bad("no ("))?;
        let body = rest.rsplit_once(')').ok_or_else(|| bad("no )"))?.0;
        let mut params = Vec::new();
        let mut keyword_only = false;
        for part in split_top(body) {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            if part == "*" {
                keyword_only = true;
                continue;
            }
            let (decl, default) = match part.split_once('=') {
                Some((d, v)) => (d.trim(), Some(v.trim())),
                None => (part, None),
            };
            let (types, pname) = decl.rsplit_once(' ').ok_or_else(|| bad(part))?;
            let mut p = Param { name: pname.trim(), types: 0, repeat: 0, spread: false, keyword_only, default: None };
            parse_types(types.trim(), &mut p).ok_or_else(|| bad(types))?;
            if let Some(v) = default {
                p.default = Some(parse_default(v, p.types).ok_or_else(|| bad(v))?);
                if v == "None" {
                    p.types |= ty::NONE;
                }
            }
            params.push(p);
        }
        Ok(Signature { name: name.trim(), params })
    }
}

fn split_top(body: &'static str) -> Vec<&'static str> {
    let (mut depth, mut start, mut out) = (0i32, 0usize, Vec::new());
    for (i, c) in body.char_indices() {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(&body[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    out.push(&body[start..]);
    out
}

fn parse_types(types: &'static str, p: &mut Param) -> Option<()> {
    for alt in types.split('|') {
        let mut t = alt.trim();
        if let Some(s) = t.strip_suffix("...") {
            p.spread = true;
            t = s;
        }
        if let Some(s) = t.strip_suffix('?') {
            p.types |= ty::NONE;
            t = s;
        }
        p.types |= match t {
            "Tensor" => ty::TENSOR,
            "Tensor[]" => ty::TENSORS,
            "Tensor?[]" => ty::OPT_TENSORS,
            "Scalar" => ty::SCALAR,
            "int" => ty::INT,
            "int[]" => ty::INTS,
            "float" => ty::FLOAT,
            "float[]" => ty::FLOATS,
            "bool" => ty::BOOL,
            "str" => ty::STR,
            "dtype" => ty::DTYPE,
            "device" => ty::DEVICE,
            "layout" => ty::LAYOUT,
            "memory_format" => ty::MEMORY_FORMAT,
            "Generator" => ty::GENERATOR,
            _ => {
                let n = t.strip_prefix("int[").or_else(|| t.strip_prefix("float["))?.strip_suffix(']')?;
                p.repeat = n.parse().ok()?;
                if t.starts_with("int") { ty::INTS } else { ty::FLOATS }
            }
        };
    }
    Some(())
}

fn parse_default(v: &'static str, types: u32) -> Option<Arg> {
    Some(match v {
        "None" => Arg::None,
        "True" => Arg::Bool(true),
        "False" => Arg::Bool(false),
        _ if v.starts_with(['\'', '"']) => Arg::Str(v.trim_matches(['\'', '"']).to_owned()),
        _ if v.starts_with(['(', '[']) => {
            let inner = v.trim_matches(['(', ')', '[', ']']);
            let items = inner.split(',').map(str::trim).filter(|s| !s.is_empty());
            if types & ty::FLOATS != 0 {
                Arg::Floats(items.map(|s| s.parse().ok()).collect::<Option<_>>()?)
            } else {
                Arg::Ints(items.map(|s| s.parse().ok()).collect::<Option<_>>()?)
            }
        }
        "inf" => Arg::Float(f64::INFINITY),
        "-inf" => Arg::Float(f64::NEG_INFINITY),
        _ if v.starts_with("torch.") => {
            Arg::DType(DType::ALL.into_iter().find(|d| d.name() == v.trim_start_matches("torch."))?)
        }
        _ => match v.parse::<i64>() {
            Ok(i) if types & (ty::INT | ty::SCALAR) != 0 => Arg::Int(i),
            Ok(i) if types & ty::INTS != 0 => Arg::Ints(smallvec::SmallVec::from_elem(i, 1)),
            Ok(i) => Arg::Float(i as f64),
            Err(_) => Arg::Float(v.parse().ok()?),
        },
    })
}

fn runtime_error_sig(sig: &str, why: &str) -> Error {
    runtime_error!("bad signature in the registry: {sig:?}: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registered_signature_parses() {
        for op in crate::registry::all() {
            assert!(Signature::parse(op.sig).is_ok(), "{}", op.sig);
        }
    }

    #[test]
    fn types_and_defaults() -> Result<()> {
        let s = Signature::parse("f(Tensor x, int[2]? k=(1, 1), *, Tensor|Scalar y=1.5, int[]... size, str m='mean')")?;
        assert_eq!(s.params.len(), 5);
        assert_eq!(s.params[1].repeat, 2);
        assert!(s.params[2].keyword_only && s.params[3].spread);
        assert!(matches!(s.params[2].default, Some(Arg::Float(v)) if v == 1.5));
        Ok(())
    }
}
