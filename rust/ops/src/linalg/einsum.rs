//! `einsum` and `tensordot`: products summed over named dimensions, two operands at a time.

use super::glue::{diagonal, permute, reshape};
use super::matmul::product;
use crate::args::IntoRet;
use crate::basic::to_dtype;
use crate::compose::sum_dims;
use crate::pointwise::mul;
use crate::registry::{OpDef, PRIVATE, TORCH, op};
use rustnn_core::base::layout::{self, wrap_own_dim};
use rustnn_core::base::runtime_error;
use rustnn_core::{Dims, Error, Result, Tensor};

/// A dimension's name: a letter, or a place in the ellipsis counted from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Dots(usize),
    Letter(u8),
}

/// One operand's subscripts: letters before and after the ellipsis, if it has one.
struct Term {
    before: Vec<u8>,
    after: Option<Vec<u8>>,
}

fn term(text: &str, what: &str) -> Result<Term> {
    let mut t = Term { before: Vec::new(), after: None };
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("...") {
            if t.after.is_some() {
                return Err(runtime_error!("einsum(): found '.' for {what} for which an ellipsis was already found"));
            }
            t.after = Some(Vec::new());
            rest = &rest[3..];
            continue;
        }
        if c.is_ascii_alphabetic() {
            t.after.as_mut().unwrap_or(&mut t.before).push(c as u8);
        } else if c == '.' {
            return Err(runtime_error!("einsum(): found '.' for {what} that is not part of any ellipsis"));
        } else if c != ' ' {
            return Err(runtime_error!(
                "einsum(): invalid subscript given at index 0 in the equation string, subscripts must be in [a-zA-Z] but found '{c}'"
            ));
        }
        rest = &rest[c.len_utf8()..];
    }
    Ok(t)
}

fn labels(t: &Term, dots: usize) -> Vec<Label> {
    let mut v: Vec<Label> = t.before.iter().map(|&c| Label::Letter(c)).collect();
    if let Some(after) = &t.after {
        v.extend((0..dots).rev().map(Label::Dots));
        v.extend(after.iter().map(|&c| Label::Letter(c)));
    }
    v
}

/// An operand with the name of each dimension, none twice.
struct Named {
    x: Tensor,
    names: Vec<Label>,
}

impl Named {
    fn size(&self, l: Label) -> usize {
        self.names.iter().position(|&n| n == l).map_or(1, |i| self.x.shape()[i])
    }
    fn has(&self, l: Label) -> bool {
        self.names.contains(&l)
    }
    /// Sums away the dimensions for which `keep` says no.
    fn reduce(self, keep: impl Fn(Label) -> bool) -> Result<Named> {
        let (kept, gone): (Vec<Label>, Vec<Label>) = self.names.iter().partition(|&&l| keep(l));
        if gone.is_empty() {
            return Ok(self);
        }
        let dims: Vec<i64> =
            (0..self.names.len()).filter(|&i| gone.contains(&self.names[i])).map(|i| i as i64).collect();
        Ok(Named { x: sum_dims(&self.x, &dims, false)?, names: kept })
    }
    /// The operand with its dimensions in this order.
    fn arranged(&self, order: &[Label]) -> Result<Tensor> {
        let at: Dims = order.iter().filter_map(|l| self.names.iter().position(|n| n == l)).collect();
        permute(&self.x, &at)
    }
}

/// The sum over dimensions that `keep` drops of the product of two operands.
fn pair(a: Named, b: Named, keep: &dyn Fn(Label) -> bool) -> Result<Named> {
    // What only one side has and nobody needs is summed first; size 1 against more counts as absent.
    let a = a.reduce(|l| keep(l) || b.has(l))?;
    let b = b.reduce(|l| keep(l) || a.has(l))?;
    let (mut batch, mut sum, mut left, mut right) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut a, mut b) = (a, b);
    for l in a.names.clone() {
        if b.has(l) && a.size(l) != b.size(l) {
            // Broadcasting: the side of size 1 loses the dimension.
            let one = if a.size(l) == 1 { &mut a } else { &mut b };
            if let Some(i) = one.names.iter().position(|&n| n == l) {
                let mut shape: Dims = one.x.shape().into();
                shape.remove(i);
                one.x = reshape(&one.x, &shape)?;
                one.names.remove(i);
            }
        }
    }
    let a = a.reduce(|l| keep(l) || b.has(l))?;
    let b = b.reduce(|l| keep(l) || a.has(l))?;
    for &l in &a.names {
        match (b.has(l), keep(l)) {
            (true, true) => batch.push(l),
            (true, false) => sum.push(l),
            (false, _) => left.push(l),
        }
    }
    right.extend(b.names.iter().filter(|&&l| !a.has(l)));
    let total = |n: &Named, v: &[Label]| layout::count(&v.iter().map(|&l| n.size(l)).collect::<Dims>());
    let (nb, ns) = (total(&a, &batch), total(&a, &sum));
    let (nl, nr) = (total(&a, &left), total(&b, &right));
    let x = reshape(&a.arranged(&[&batch[..], &left[..], &sum[..]].concat())?, &[nb, nl, ns])?;
    let y = reshape(&b.arranged(&[&batch[..], &sum[..], &right[..]].concat())?, &[nb, ns, nr])?;
    let names = [&batch[..], &left[..], &right[..]].concat();
    let shape: Dims = names.iter().map(|&l| if a.has(l) { a.size(l) } else { b.size(l) }).collect();
    let out = if sum.is_empty() {
        mul(&x, &y)?
    } else if x.dtype() != y.dtype() && !x.dtype().is_float() && !y.dtype().is_float() {
        // A sum of integers is int64, which the other side may not be.
        let d = x.dtype().promote(y.dtype());
        product(&to_dtype(&x, d)?, &to_dtype(&y, d)?, 1.0)?
    } else {
        product(&x, &y, 1.0)?
    };
    Ok(Named { x: reshape(&out, &shape)?, names })
}

/// Sum of products by an equation.
pub fn einsum(equation: &str, operands: &[Tensor]) -> Result<Tensor> {
    if operands.is_empty() {
        return Err(runtime_error!("einsum(): must provide at least one operand"));
    }
    let (lhs, rhs) = match equation.split_once("->") {
        Some((l, r)) => (l, Some(r)),
        None => (equation, None),
    };
    let terms: Vec<Term> =
        lhs.split(',').enumerate().map(|(i, t)| term(t, &format!("operand {i}"))).collect::<Result<_>>()?;
    if terms.len() < operands.len() {
        return Err(runtime_error!("einsum(): more operands were provided than specified in the equation"));
    }
    if terms.len() > operands.len() {
        return Err(runtime_error!("einsum(): fewer operands were provided than specified in the equation"));
    }
    let mut dots = 0;
    for (i, (t, x)) in terms.iter().zip(operands).enumerate() {
        let n = t.before.len() + t.after.as_ref().map_or(0, Vec::len);
        if t.after.is_some() {
            if n > x.ndim() {
                return Err(count_error(n, x.ndim(), i, "is more than", "even if they are all explicitly specified"));
            }
            dots = dots.max(x.ndim() - n);
        } else if n != x.ndim() {
            return Err(count_error(n, x.ndim(), i, "does not match", "and no ellipsis was given"));
        }
    }
    // Each operand with its diagonals taken.
    let mut named: Vec<Named> = Vec::with_capacity(operands.len());
    for (t, x) in terms.iter().zip(operands) {
        let own = x.ndim() - t.before.len() - t.after.as_ref().map_or(0, Vec::len);
        let mut names = labels(t, own);
        let mut x = x.clone();
        let mut i = 0;
        while i < names.len() {
            match (i + 1..names.len()).find(|&j| names[j] == names[i]) {
                Some(j) => {
                    let (p, q) = (x.shape()[i], x.shape()[j]);
                    if p != q {
                        return Err(runtime_error!(
                            "einsum(): subscript {} is repeated for operand {} but the sizes don't match, {q} != {p}",
                            show(names[i]),
                            named.len()
                        ));
                    }
                    x = diagonal(&x, i, j)?;
                    names.remove(j);
                }
                None => i += 1,
            }
        }
        named.push(Named { x, names });
    }
    let mut seen: Vec<(Label, usize)> = Vec::new();
    for (i, n) in named.iter().enumerate() {
        for &l in &n.names {
            let size = n.size(l);
            match seen.iter_mut().find(|s| s.0 == l) {
                Some(s) if s.1 == 1 => s.1 = size,
                Some(s) if size != 1 && size != s.1 => {
                    return Err(runtime_error!(
                        "einsum(): subscript {} has size {size} for operand {i} which does not broadcast with previously seen size {}",
                        show(l),
                        s.1
                    ));
                }
                Some(_) => {}
                None => seen.push((l, size)),
            }
        }
    }
    let output: Vec<Label> = match rhs {
        Some(r) => {
            let t = term(r, "the output")?;
            let out = labels(&t, dots);
            for (i, &l) in out.iter().enumerate() {
                if out[..i].contains(&l) {
                    return Err(runtime_error!(
                        "einsum(): output subscript {} appears more than once in the output",
                        show(l)
                    ));
                }
                if !matches!(l, Label::Dots(_)) && !seen.iter().any(|s| s.0 == l) {
                    return Err(runtime_error!(
                        "einsum(): output subscript {} does not appear in the equation for any input operand",
                        show(l)
                    ));
                }
            }
            out
        }
        None => {
            // Ellipsis first, then letters that occur once, in order.
            let mut letters: Vec<u8> =
                terms.iter().flat_map(|t| t.before.iter().chain(t.after.iter().flatten()).copied()).collect();
            letters.sort_unstable();
            let once = letters.iter().filter(|&&c| letters.iter().filter(|&&d| d == c).count() == 1);
            (0..dots).rev().map(Label::Dots).chain(once.map(|&c| Label::Letter(c))).collect()
        }
    };
    named.reverse();
    let mut acc = match named.pop() {
        Some(first) => first,
        None => return Err(runtime_error!("einsum(): must provide at least one operand")),
    };
    while let Some(next) = named.pop() {
        let keep = |l: Label| output.contains(&l) || named.iter().any(|n| n.has(l));
        acc = pair(acc, next, &keep)?;
    }
    let acc = acc.reduce(|l| output.contains(&l))?;
    let have: Vec<Label> = output.iter().copied().filter(|&l| acc.has(l)).collect();
    let x = acc.arranged(&have)?;
    let shape: Dims = output.iter().map(|&l| acc.size(l)).collect();
    reshape(&x, &shape)
}

fn show(l: Label) -> String {
    match l {
        Label::Letter(c) => char::from(c).to_string(),
        Label::Dots(_) => "...".into(),
    }
}

fn count_error(n: usize, dims: usize, operand: usize, how: &str, tail: &str) -> Error {
    let tail = if how == "does not match" { format!(" {tail}") } else { String::new() };
    runtime_error!(
        "einsum(): the number of subscripts in the equation ({n}) {how} the number of dimensions ({dims}) for operand {operand}{tail}"
    )
}

/// Sums of products over `da` of `a` and `db` of `b`.
pub fn tensordot(a: &Tensor, b: &Tensor, da: &[i64], db: &[i64]) -> Result<Tensor> {
    if da.len() != db.len() {
        return Err(runtime_error!("both dimension lists should have same length"));
    }
    let wrap = |dims: &[i64], n: usize| dims.iter().map(|&d| wrap_own_dim(d, n)).collect::<Result<Dims>>();
    let (wa, wb) = (wrap(da, a.ndim())?, wrap(db, b.ndim())?);
    for (i, (&p, &q)) in wa.iter().zip(&wb).enumerate() {
        let (x, y) = (a.shape()[p], b.shape()[q]);
        if x != y {
            return Err(runtime_error!(
                "contracted dimensions need to match, but first has size {x} in dim {} and second has size {y} in dim {}",
                da[i],
                db[i]
            ));
        }
        if wa[..i].contains(&p) || wb[..i].contains(&q) {
            return Err(runtime_error!("dim {p} appears multiple times in the list of dims"));
        }
    }
    let fa: Dims = (0..a.ndim()).filter(|d| !wa.contains(d)).collect();
    let fb: Dims = (0..b.ndim()).filter(|d| !wb.contains(d)).collect();
    let size = |t: &Tensor, dims: &[usize]| layout::count(&dims.iter().map(|&d| t.shape()[d]).collect::<Dims>());
    let k = size(a, &wa);
    let x = reshape(&permute(a, &[&fa[..], &wa[..]].concat())?, &[size(a, &fa), k])?;
    let y = reshape(&permute(b, &[&wb[..], &fb[..]].concat())?, &[k, size(b, &fb)])?;
    let shape: Dims = fa.iter().map(|&d| a.shape()[d]).chain(fb.iter().map(|&d| b.shape()[d])).collect();
    reshape(&product(&x, &y, 1.0)?, &shape)
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("einsum(str equation, Tensor[]... operands)", TORCH, |a| einsum(a.str(0)?, a.tensors(1)?).ret())
            .doc("Sum of products by Einstein's convention: letters name dimensions, those not in the output are summed, `...` stands for any others, a letter twice takes the diagonal.")
            .samples(&[
                "'ij,jk->ik', t(3,4), t(4,5)", "'bij,bjk', t(2,3,4), t(2,4,5)", "'ii->i', t(3,3)", "'ii', t(3,3)", "'ij->ji', t(3,4)",
                "'...ij,...jk->...ik', t(2,3,4), t(4,5)", "'i,j->ij', t(3), t(4)", "'ij,jk,kl->il', t(2,3), t(3,4), t(4,2)",
                "'bhqd,bhkd->bhqk', t(2,2,3,4), t(2,2,5,4)", "'ijk->', t(2,3,4)", "'i,i->', t(5), t(5)", "'ij,ij->ij', t(3,4), t(1,4)",
            ])
            .oracle("np.einsum(equation, *operands)"),
        op("_tensordot(Tensor a, Tensor b, int[] dims_a, int[] dims_b)", PRIVATE, |a| {
            tensordot(a.tensor(0)?, a.tensor(1)?, a.ints(2)?, a.ints(3)?).ret()
        })
        .doc("Sum of products over the given dimensions of both operands.")
        .samples(&["t(2,3,4), t(4,3,5), [1,2], [1,0]", "t(3), t(4), [], []", "t(2,3), t(3,2), [1], [0]"])
        .oracle("np.tensordot(a, b, axes=(list(dims_a), list(dims_b)))"),
    ]
}
