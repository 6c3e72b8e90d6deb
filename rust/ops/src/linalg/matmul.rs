//! `matmul` and its strict forms: `mm`, `bmm`, `mv`, `dot`, `inner`, `outer`.

use super::glue::{expand, mt, reshape};
use crate::args::IntoRet;
use crate::pointwise::mul;
use crate::registry::{LINALG, METHOD, OUT, OpDef, TORCH, op};
use rustnn_core::base::layout;
use rustnn_core::base::layout::broadcast_shapes;
use rustnn_core::base::{Error, not_implemented, runtime_error};
use rustnn_core::{DType, Dims, Result, Tensor, attach, grads, save};
use rustnn_kernels::gemm::{self, Epilogue};
use rustnn_kernels::parallel::Watch;
use rustnn_kernels::room;

/// C's lower-case name of a dtype, as `mm`'s message has it.
fn c_name(d: DType) -> &'static str {
    match d {
        DType::F32 => "float",
        DType::F64 => "double",
        DType::F16 => "c10::Half",
        DType::BF16 => "c10::BFloat16",
        DType::I64 => "long int",
        DType::I32 => "int",
        DType::I16 => "short int",
        DType::I8 => "signed char",
        DType::U8 => "unsigned char",
        DType::Bool => "bool",
    }
}

/// Both dtypes are one that can be multiplied.
pub(crate) fn same_dtype(a: &Tensor, b: &Tensor) -> Result<()> {
    if a.dtype() != b.dtype() {
        return Err(runtime_error!(
            "expected m1 and m2 to have the same dtype, but got: {} != {}",
            c_name(a.dtype()),
            c_name(b.dtype())
        )
        .hint(format!(
            "the first operand is {}, the second {}; NumPy makes float64 by default: .float() makes float32",
            a.dtype(),
            b.dtype()
        )));
    }
    if a.dtype() == DType::Bool && a.numel() > 0 && b.numel() > 0 {
        return Err(not_implemented!("\"addmm_impl_cpu_\" not implemented for 'Bool'"));
    }
    Ok(())
}

/// The error of two matrices that do not fit.
pub(crate) fn mismatch(a: &[usize], b: &[usize]) -> Error {
    let e = runtime_error!("mat1 and mat2 shapes cannot be multiplied ({}x{} and {}x{})", a[0], a[1], b[0], b[1]);
    if a[1] == b[1] {
        e.hint(format!("mat1's columns ({}) must be as many as mat2's rows ({}); mat2.T would fit", a[1], b[0]))
    } else if a[0] == b[0] {
        e.hint(format!("mat1's columns ({}) must be as many as mat2's rows ({}); mat1.T would fit", a[1], b[0]))
    } else {
        e.hint(format!("mat1's columns ({}) must be as many as mat2's rows ({})", a[1], b[0]))
    }
}

/// `alpha * a @ b` over the last two dimensions without a graph; the others broadcast.
pub(crate) fn multiply(a: &Tensor, b: &Tensor, alpha: f64) -> Result<Tensor> {
    let (na, nb) = (a.ndim(), b.ndim());
    let (sa, sb) = (a.shape(), b.shape());
    if sa[na - 1] != sb[nb - 2] {
        return Err(mismatch(&sa[na - 2..], &sb[nb - 2..]));
    }
    same_dtype(a, b)?;
    let mut shape = broadcast_shapes(&sa[..na - 2], &sb[..nb - 2])?;
    let batch = shape.len();
    let full = |t: &Tensor| -> Result<Tensor> {
        if t.ndim() == batch + 2 && t.shape()[..batch] == shape[..] {
            return Ok(t.clone());
        }
        let mut to: Dims = shape.clone();
        to.extend_from_slice(&t.shape()[t.ndim() - 2..]);
        Ok(t.view_of(t.layout().expand(&to)?))
    };
    let (a, b) = (full(a)?, full(b)?);
    shape.push(sa[na - 2]);
    shape.push(sb[nb - 1]);
    let out = Tensor::empty(&shape, a.dtype())?;
    gemm::matmul(
        a.raw(),
        b.raw_kept(batch == 0 && b.constant()),
        out.raw(),
        &Epilogue { alpha, ..Epilogue::default() },
    )?;
    Ok(out)
}

/// [`multiply`] with gradients: the step every product is made of.
pub(crate) fn product(a: &Tensor, b: &Tensor, alpha: f64) -> Result<Tensor> {
    let name = if a.ndim() == 2 { "MmBackward0" } else { "BmmBackward0" };
    let out = multiply(a, b, alpha)?;
    let (sa, sb) = (save(a), save(b));
    attach(name, out, &[a, b], move |c, g| {
        Ok(grads![c; 0 => product(g, &mt(&sb.get(c)?)?, alpha)?, 1 => product(&mt(&sa.get(c)?)?, g, alpha)?])
    })
}

/// Product of two matrices.
pub fn mm(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    for (t, name) in [(a, "self"), (b, "mat2")] {
        if t.ndim() != 2 {
            return Err(runtime_error!("mm: {name} must be a matrix, got {}-D tensor", t.ndim())
                .hint("matmul takes vectors and batches too"));
        }
    }
    product(a, b, 1.0)
}

/// Checks the operands of batched products.
pub(crate) fn check_bmm(a: &Tensor, b: &Tensor) -> Result<()> {
    if a.ndim() != 3 {
        return Err(runtime_error!("batch1 must be a 3D tensor"));
    }
    if b.ndim() != 3 {
        return Err(runtime_error!("batch2 must be a 3D tensor"));
    }
    let (sa, sb) = (a.shape(), b.shape());
    if sa[0] != sb[0] || sa[2] != sb[1] {
        return Err(runtime_error!(
            "Expected size for first two dimensions of batch2 tensor to be: [{}, {}] but got: [{}, {}].",
            sa[0],
            sa[2],
            sb[0],
            sb[1]
        )
        .hint(format!("batch1 is {sa:?}, batch2 is {sb:?}: [b, n, m] times [b, m, p]")));
    }
    if a.dtype() != b.dtype() {
        return Err(runtime_error!(
            "expected scalar type {} but found {}",
            a.dtype().torch_name(),
            b.dtype().torch_name()
        ));
    }
    same_dtype(a, b)
}

/// Products of as many pairs of matrices.
pub fn bmm(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    check_bmm(a, b)?;
    product(a, b, 1.0)
}

/// Matrix times vector.
pub fn mv(a: &Tensor, v: &Tensor) -> Result<Tensor> {
    if a.ndim() != 2 || v.ndim() != 1 {
        return Err(runtime_error!("vector + matrix @ vector expected, got 1, {}, {}", a.ndim(), v.ndim()));
    }
    let (sa, n) = (a.shape(), v.shape()[0]);
    if sa[1] != n {
        return Err(runtime_error!("size mismatch, got input ({}), mat ({}x{}), vec ({n})", sa[0], sa[0], sa[1]));
    }
    let out = product(a, &reshape(v, &[n, 1])?, 1.0)?;
    reshape(&out, &[sa[0]])
}

/// Sum of products of two vectors.
pub fn dot(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.ndim() != 1 || b.ndim() != 1 {
        return Err(runtime_error!("1D tensors expected, but got {}D and {}D tensors", a.ndim(), b.ndim()));
    }
    if a.dtype() != b.dtype() {
        return Err(runtime_error!(
            "dot : expected both vectors to have same dtype, but found {} and {}",
            a.dtype().torch_name(),
            b.dtype().torch_name()
        ));
    }
    let (na, nb) = (a.shape()[0], b.shape()[0]);
    if na != nb {
        return Err(runtime_error!(
            "inconsistent tensor size, expected tensor [{na}] and src [{nb}] to have the same number of elements, but got {na} and {nb} elements respectively"
        ));
    }
    let out = product(&reshape(a, &[1, na])?, &reshape(b, &[na, 1])?, 1.0)?;
    reshape(&out, &[])
}

/// Matrix product by NumPy's rules: vectors, matrices, batches that broadcast.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (na, nb) = (a.ndim(), b.ndim());
    match (na, nb) {
        (0, _) | (_, 0) => {
            return Err(runtime_error!(
                "both arguments to matmul need to be at least 1D, but they are {na}D and {nb}D"
            )
            .hint("a * b multiplies by a number"));
        }
        (1, 1) => return dot(a, b),
        (2, 1) => return mv(a, b),
        (2, 2) => return product(a, b, 1.0),
        (1, 2) => {
            let out = product(&reshape(a, &[1, a.shape()[0]])?, b, 1.0)?;
            return reshape(&out, &[b.shape()[1]]);
        }
        _ => {}
    }
    let (sa, sb) = (a.shape(), b.shape());
    if nb <= 2 {
        // One matrix against a batch: rows of all items side by side.
        let k = sa[na - 1];
        let rows: usize = layout::count(&sa[..na - 1]);
        if nb == 1 && k != sb[0] {
            return Err(runtime_error!("size mismatch, got input ({rows}), mat ({rows}x{k}), vec ({})", sb[0]));
        }
        let right = if nb == 1 { reshape(b, &[sb[0], 1])? } else { b.clone() };
        let out = product(&reshape(a, &[rows, k])?, &right, 1.0)?;
        let mut shape: Dims = sa[..na - 1].into();
        if nb == 2 {
            shape.push(sb[1]);
        }
        return reshape(&out, &shape);
    }
    let left = if na == 1 { reshape(a, &[1, sa[0]])? } else { a.clone() };
    if left.shape()[left.ndim() - 1] != sb[nb - 2] {
        let l = left.ndim();
        return Err(mismatch(&left.shape()[l - 2..], &sb[nb - 2..])
            .hint(format!("the operands are {sa:?} and {sb:?}; the last two dimensions are multiplied")));
    }
    if left.ndim() == 2 {
        // A matrix against a batch: its gradient sums over the batch, so it is broadcast in the graph.
        let mut shape: Dims = sb[..nb - 2].into();
        shape.extend_from_slice(left.shape());
        let out = product(&expand(&left, &shape)?, b, 1.0)?;
        if na == 1 {
            let mut to = Dims::from_slice(out.shape());
            to.remove(nb - 2);
            return reshape(&out, &to);
        }
        return Ok(out);
    }
    product(&left, b, 1.0)
}

/// Sum of products over the last dimension of both.
pub fn inner(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.ndim() == 0 || b.ndim() == 0 {
        return mul(a, b);
    }
    let (sa, sb) = (a.shape(), b.shape());
    let k = sa[sa.len() - 1];
    if k != sb[sb.len() - 1] {
        return Err(runtime_error!(
            "inner() the last dimension must match on both input tensors but got shapes {sa:?} and {sb:?}"
        ));
    }
    let (ra, rb): (usize, usize) = (layout::count(&sa[..sa.len() - 1]), layout::count(&sb[..sb.len() - 1]));
    let out = product(&reshape(a, &[ra, k])?, &mt(&reshape(b, &[rb, k])?)?, 1.0)?;
    let mut shape: Dims = sa[..sa.len() - 1].into();
    shape.extend_from_slice(&sb[..sb.len() - 1]);
    reshape(&out, &shape)
}

/// Every product of an element of `a` and one of `b`.
pub fn outer(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    for (t, name) in [(a, "self"), (b, "vec2")] {
        if t.ndim() != 1 {
            return Err(runtime_error!("outer: Expected 1-D argument {name}, but got {}-D", t.ndim()));
        }
    }
    mul(&reshape(a, &[a.numel(), 1])?, b)
}

/// Product of a chain of matrices in the order that takes the fewest multiplications.
pub fn multi_dot(tensors: &[Tensor]) -> Result<Tensor> {
    let n = tensors.len();
    if n < 2 {
        return Err(runtime_error!("multi_dot(): expected at least 2 tensors but got {n}"));
    }
    let mut list: Vec<Tensor> = tensors.to_vec();
    let (first, last) = (list[0].ndim() == 1, list[n - 1].ndim() == 1);
    if first {
        list[0] = reshape(&list[0], &[1, list[0].numel()])?;
    }
    if last {
        list[n - 1] = reshape(&list[n - 1], &[list[n - 1].numel(), 1])?;
    }
    for (i, t) in list.iter().enumerate() {
        if t.ndim() != 2 {
            return Err(runtime_error!("multi_dot(): tensor {i} must be 2D but got {}D", t.ndim()));
        }
    }
    for i in 1..n {
        if list[i - 1].shape()[1] != list[i].shape()[0] {
            return Err(runtime_error!(
                "multi_dot(): tensors {} and {i} with shapes {:?} and {:?} cannot be multiplied",
                i - 1,
                list[i - 1].shape(),
                list[i].shape()
            ));
        }
    }
    let size = |i: usize| if i < n { list[i].shape()[0] } else { list[n - 1].shape()[1] } as f64;
    let square = n.saturating_mul(n);
    let (mut cost, mut cut) = (room::filled(square, 0.0f64)?, room::filled(square, 0usize)?);
    let at = |i: usize, j: usize| i * n + j;
    let mut watch = Watch::default();
    for len in 1..n {
        for i in 0..n - len {
            watch.tick()?;
            let j = i + len;
            cost[at(i, j)] = f64::INFINITY;
            for k in i..j {
                let c = cost[at(i, k)] + cost[at(k + 1, j)] + size(i) * size(k + 1) * size(j + 1);
                if c < cost[at(i, j)] {
                    cost[at(i, j)] = c;
                    cut[at(i, j)] = k;
                }
            }
        }
    }
    fn chain(list: &[Tensor], cut: &[usize], i: usize, j: usize) -> Result<Tensor> {
        if i == j {
            return Ok(list[i].clone());
        }
        let k = cut[i * list.len() + j];
        product(&chain(list, cut, i, k)?, &chain(list, cut, k + 1, j)?, 1.0)
    }
    let out = chain(&list, &cut, 0, n - 1)?;
    let mut shape: Dims = Dims::new();
    if !first {
        shape.push(out.shape()[0]);
    }
    if !last {
        shape.push(out.shape()[1]);
    }
    reshape(&out, &shape)
}

/// The Kronecker product.
pub fn kron(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let n = a.ndim().max(b.ndim());
    let size = |t: &Tensor, i: usize| if i + t.ndim() < n { 1 } else { t.shape()[i + t.ndim() - n] };
    // Sizes of both by turns: a's dimensions against 1 in b, and the other way round.
    let (mut wide_a, mut wide_b, mut shape) = (Dims::new(), Dims::new(), Dims::new());
    for i in 0..n {
        let (p, q) = (size(a, i), size(b, i));
        wide_a.extend_from_slice(&[p, 1]);
        wide_b.extend_from_slice(&[1, q]);
        shape.push(p.checked_mul(q).ok_or_else(|| runtime_error!("kron: {p} times {q} elements are too many"))?);
    }
    reshape(&mul(&reshape(a, &wide_a)?, &reshape(b, &wide_b)?)?, &shape)
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("matmul(Tensor input, Tensor other)", METHOD | TORCH | LINALG | OUT, |a| {
            matmul(a.tensor(0)?, a.tensor(1)?).ret()
        })
        .doc("Matrix product over the last two dimensions; one-dimensional operands are vectors, other dimensions broadcast.")
        .samples(&[
            "t(3,4), t(4,5)", "t(4), t(4)", "t(3,4), t(4)", "t(4), t(4,5)", "t(2,3,4), t(4,5)", "t(2,3,4), t(2,4,5)",
            "t(2,1,3,4), t(5,4,2)", "t(3,4), t(2,4,5)", "t(2,3,4), t(4)", "t(4), t(2,4,5)", "t(3,0), t(0,4)", "t(0,3), t(3,4)",
        ])
        .oracle("np.matmul(input, other)"),
        op("mm(Tensor input, Tensor mat2)", METHOD | TORCH | OUT, |a| mm(a.tensor(0)?, a.tensor(1)?).ret())
            .doc("Product of two matrices; no broadcasting.")
            .samples(&["t(3,4), t(4,5)", "t(4,3).t(), t(4,5)", "t(3,4), t(5,4).t()", "t(3,0), t(0,4)"])
            .oracle("np.einsum('ij,jk->ik', input, mat2)"),
        op("bmm(Tensor input, Tensor mat2)", METHOD | TORCH | OUT, |a| bmm(a.tensor(0)?, a.tensor(1)?).ret())
            .doc("Products of as many pairs of matrices; no broadcasting.")
            .samples(&["t(2,3,4), t(2,4,5)", "t(2,4,3).transpose(1,2), t(2,4,5)", "t(0,3,4), t(0,4,5)"])
            .oracle("np.einsum('bij,bjk->bik', input, mat2)"),
        op("mv(Tensor input, Tensor vec)", METHOD | TORCH | OUT, |a| mv(a.tensor(0)?, a.tensor(1)?).ret())
            .doc("Product of a matrix and a vector.")
            .samples(&["t(3,4), t(4)", "t(4,3).t(), t(4)", "t(3,0), t(0)"])
            .oracle("np.einsum('ij,j->i', input, vec)"),
        op("dot(Tensor input, Tensor tensor)", METHOD | TORCH | OUT, |a| dot(a.tensor(0)?, a.tensor(1)?).ret())
            .doc("Sum of products of two vectors.")
            .samples(&["t(5), t(5)", "t(0), t(0)", "t(1), t(1)"])
            .oracle("np.sum(input * tensor)"),
        op("vdot(Tensor input, Tensor other)", METHOD | TORCH | OUT, |a| dot(a.tensor(0)?, a.tensor(1)?).ret())
            .doc("Sum of products of two vectors (the first conjugated, which changes nothing for real numbers).")
            .samples(&["t(5), t(5)"])
            .oracle("np.sum(input * other)"),
        op("inner(Tensor input, Tensor other)", METHOD | TORCH | OUT, |a| inner(a.tensor(0)?, a.tensor(1)?).ret())
            .doc("Sum of products over the last dimension of both operands; with a number, the product.")
            .samples(&["t(4), t(4)", "t(2,4), t(3,4)", "t(2,3,4), t(4)", "t(2,3), t()"])
            .oracle("np.inner(input, other)"),
        op("outer(Tensor input, Tensor vec2)", METHOD | TORCH | OUT, |a| outer(a.tensor(0)?, a.tensor(1)?).ret())
            .doc("All products of an element of one vector and one of the other.")
            .samples(&["t(3), t(4)", "t(0), t(4)"])
            .oracle("np.multiply.outer(input, vec2)"),
        op("ger(Tensor input, Tensor vec2)", METHOD | TORCH | OUT, |a| outer(a.tensor(0)?, a.tensor(1)?).ret())
            .doc("The same as outer.")
            .samples(&["t(3), t(4)"])
            .oracle("np.multiply.outer(input, vec2)"),
        op("chain_matmul(Tensor[]... matrices)", TORCH | OUT, |a| match a.tensors(0)? {
            [one] => one.clone().ret(),
            many => multi_dot(many).ret(),
        })
        .doc("Product of a chain of matrices, in the order that takes the fewest multiplications.")
        .samples(&["t(2,3), t(3,4), t(4,2)"])
        .oracle("np.linalg.multi_dot(matrices)"),
        op("multi_dot(Tensor[] tensors)", LINALG | OUT, |a| multi_dot(a.tensors(0)?).ret())
            .doc("Product of a chain of matrices (the first and last may be vectors), cheapest order first.")
            .samples(&["[t(2,3), t(3,4), t(4,2)]", "[t(3), t(3,4), t(4)]"])
            .oracle("np.linalg.multi_dot(tensors)"),
        op("kron(Tensor input, Tensor other)", METHOD | TORCH | OUT, |a| kron(a.tensor(0)?, a.tensor(1)?).ret())
            .doc("The Kronecker product.")
            .samples(&["t(2,3), t(3,2)", "t(3), t(2,2)", "t(2,1,2), t(2,3)"])
            .oracle("np.kron(input, other)"),
    ]
}
