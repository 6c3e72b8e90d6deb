//! Python operators on tensors: `a + b`, `a @ b`, `a == b`, ...: the few ops that reach the registry through slots.

use crate::call::Named;
use crate::tensor::PyTensor;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::PyTuple;
use rustnn_ops::pointwise;

type Obj<'a, 'py> = &'a Bound<'py, PyAny>;

fn binary(op: &'static Named, a: Obj<'_, '_>, b: Obj<'_, '_>) -> PyResult<Py<PyAny>> {
    let py = a.py();
    if let Some(r) = op.directly(a, b)? {
        return Ok(r);
    }
    if let Some(r) = op.call(py, &[a, b], false)? {
        return Ok(r);
    }
    // A NumPy array beside a tensor counts as one.
    let array =
        |v: Obj<'_, '_>| v.hasattr("__array_interface__").unwrap_or(false) && v.hasattr("setflags").unwrap_or(false);
    if array(b) {
        let t = crate::tensor::wrap(py, crate::factory::from_array(b)?)?;
        return Ok(op.call(py, &[a, t.bind(py).as_any()], false)?.unwrap_or_else(|| py.NotImplemented()));
    }
    Ok(py.NotImplemented())
}

fn inplace(op: &'static Named, a: Obj<'_, '_>, b: Obj<'_, '_>) -> PyResult<()> {
    match op.call(a.py(), &[a, b], true)? {
        Some(_) => Ok(()),
        None => Err(pyo3::exceptions::PyTypeError::new_err(format!(
            "unsupported operand type(s) for an in-place operator: 'Tensor' and '{}'",
            b.get_type().name()?
        ))),
    }
}

static ADD: Named = Named::of_two("add", |a, b| pointwise::add(a, b));
static SUB: Named = Named::of_two("sub", |a, b| pointwise::sub(a, b));
static RSUB: Named = Named::new("rsub");
static MUL: Named = Named::of_two("mul", |a, b| pointwise::mul(a, b));
static DIV: Named = Named::of_two("div", |a, b| pointwise::div(a, b));
static RDIV: Named = Named::new("_rdiv");
static FLOOR_DIV: Named = Named::new("floor_divide");
static RFLOOR_DIV: Named = Named::new("_rfloor_divide");
static REMAINDER: Named = Named::new("remainder");
static RREMAINDER: Named = Named::new("_rremainder");
static POW: Named = Named::new("pow");
static RPOW: Named = Named::new("_rpow");
static MATMUL: Named = Named::new("matmul");
static AND: Named = Named::new("bitwise_and");
static OR: Named = Named::new("bitwise_or");
static XOR: Named = Named::new("bitwise_xor");
static SHL: Named = Named::new("bitwise_left_shift");
static SHR: Named = Named::new("bitwise_right_shift");
static NEG: Named = Named::new("neg");
static POS: Named = Named::new("positive");
static ABS: Named = Named::new("abs");
static NOT: Named = Named::new("bitwise_not");
static EQ: Named = Named::new("eq");
static NE: Named = Named::new("ne");
static LT: Named = Named::new("lt");
static LE: Named = Named::new("le");
static GT: Named = Named::new("gt");
static GE: Named = Named::new("ge");

fn unary(op: &'static Named, a: Obj<'_, '_>) -> PyResult<Py<PyAny>> {
    let py = a.py();
    Ok(op.call(py, &[a], false)?.unwrap_or_else(|| py.NotImplemented()))
}

static T: Named = Named::new("t");
static PERMUTE: Named = Named::new("permute");
static TRANSPOSE: Named = Named::new("transpose");

fn must(r: PyResult<Option<Py<PyAny>>>) -> PyResult<Py<PyAny>> {
    r?.ok_or_else(|| pyo3::exceptions::PyTypeError::new_err("not possible for this tensor"))
}

#[pymethods]
impl PyTensor {
    /// The transpose: dimensions in reverse order.
    #[getter(T)]
    fn reversed(slf: &Bound<'_, PyTensor>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let n = slf.get().get().ndim();
        if n <= 2 {
            return must(T.call(py, &[slf.as_any()], false));
        }
        let order = PyTuple::new(py, (0..n).rev())?;
        must(PERMUTE.call(py, &[slf.as_any(), order.as_any()], false))
    }
    /// The transpose of the last two dimensions.
    #[getter(mT)]
    fn matrix_transpose(slf: &Bound<'_, PyTensor>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if slf.get().get().ndim() < 2 {
            return Err(pyo3::exceptions::PyRuntimeError::new_err(format!(
                "tensor.mT is only supported on matrices or batches of matrices. Got {}-D tensor.",
                slf.get().get().ndim()
            )));
        }
        let (a, b) = ((-2i64).into_pyobject(py)?, (-1i64).into_pyobject(py)?);
        must(TRANSPOSE.call(py, &[slf.as_any(), a.as_any(), b.as_any()], false))
    }
    /// The conjugate transpose of a matrix: for real numbers the transpose.
    #[getter(H)]
    fn adjoint_2d(slf: &Bound<'_, PyTensor>) -> PyResult<Py<PyAny>> {
        Self::reversed(slf)
    }
    /// The conjugate transpose of the last two dimensions.
    #[getter(mH)]
    fn adjoint(slf: &Bound<'_, PyTensor>) -> PyResult<Py<PyAny>> {
        Self::matrix_transpose(slf)
    }
    /// The tensor itself: all dtypes are real.
    #[getter(real)]
    fn real_part(slf: Bound<'_, PyTensor>) -> Bound<'_, PyTensor> {
        slf
    }
    fn __add__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&ADD, slf.as_any(), other)
    }
    fn __radd__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&ADD, slf.as_any(), other)
    }
    fn __iadd__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<()> {
        inplace(&ADD, slf.as_any(), other)
    }
    fn __sub__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&SUB, slf.as_any(), other)
    }
    fn __rsub__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&RSUB, slf.as_any(), other)
    }
    fn __isub__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<()> {
        inplace(&SUB, slf.as_any(), other)
    }
    fn __mul__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&MUL, slf.as_any(), other)
    }
    fn __rmul__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&MUL, slf.as_any(), other)
    }
    fn __imul__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<()> {
        inplace(&MUL, slf.as_any(), other)
    }
    fn __truediv__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&DIV, slf.as_any(), other)
    }
    fn __rtruediv__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&RDIV, slf.as_any(), other)
    }
    fn __itruediv__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<()> {
        inplace(&DIV, slf.as_any(), other)
    }
    fn __floordiv__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&FLOOR_DIV, slf.as_any(), other)
    }
    fn __rfloordiv__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&RFLOOR_DIV, slf.as_any(), other)
    }
    fn __ifloordiv__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<()> {
        inplace(&FLOOR_DIV, slf.as_any(), other)
    }
    fn __mod__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&REMAINDER, slf.as_any(), other)
    }
    fn __rmod__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&RREMAINDER, slf.as_any(), other)
    }
    fn __imod__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<()> {
        inplace(&REMAINDER, slf.as_any(), other)
    }
    fn __pow__<'py>(
        slf: &Bound<'py, PyTensor>,
        other: Obj<'_, 'py>,
        _modulo: Option<Obj<'_, 'py>>,
    ) -> PyResult<Py<PyAny>> {
        binary(&POW, slf.as_any(), other)
    }
    fn __rpow__<'py>(
        slf: &Bound<'py, PyTensor>,
        other: Obj<'_, 'py>,
        _modulo: Option<Obj<'_, 'py>>,
    ) -> PyResult<Py<PyAny>> {
        binary(&RPOW, slf.as_any(), other)
    }
    fn __ipow__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>, _modulo: Option<Obj<'_, 'py>>) -> PyResult<()> {
        inplace(&POW, slf.as_any(), other)
    }
    fn __matmul__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&MATMUL, slf.as_any(), other)
    }
    fn __rmatmul__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&MATMUL, other, slf.as_any())
    }
    fn __and__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&AND, slf.as_any(), other)
    }
    fn __rand__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&AND, slf.as_any(), other)
    }
    fn __iand__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<()> {
        inplace(&AND, slf.as_any(), other)
    }
    fn __or__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&OR, slf.as_any(), other)
    }
    fn __ror__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&OR, slf.as_any(), other)
    }
    fn __ior__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<()> {
        inplace(&OR, slf.as_any(), other)
    }
    fn __xor__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&XOR, slf.as_any(), other)
    }
    fn __rxor__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&XOR, slf.as_any(), other)
    }
    fn __ixor__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<()> {
        inplace(&XOR, slf.as_any(), other)
    }
    fn __lshift__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&SHL, slf.as_any(), other)
    }
    fn __rshift__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<Py<PyAny>> {
        binary(&SHR, slf.as_any(), other)
    }
    fn __ilshift__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<()> {
        inplace(&SHL, slf.as_any(), other)
    }
    fn __irshift__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>) -> PyResult<()> {
        inplace(&SHR, slf.as_any(), other)
    }
    fn __neg__<'py>(slf: &Bound<'py, PyTensor>) -> PyResult<Py<PyAny>> {
        unary(&NEG, slf.as_any())
    }
    fn __pos__<'py>(slf: &Bound<'py, PyTensor>) -> PyResult<Py<PyAny>> {
        unary(&POS, slf.as_any())
    }
    fn __abs__<'py>(slf: &Bound<'py, PyTensor>) -> PyResult<Py<PyAny>> {
        unary(&ABS, slf.as_any())
    }
    fn __invert__<'py>(slf: &Bound<'py, PyTensor>) -> PyResult<Py<PyAny>> {
        unary(&NOT, slf.as_any())
    }
    fn __richcmp__<'py>(slf: &Bound<'py, PyTensor>, other: Obj<'_, 'py>, op: CompareOp) -> PyResult<Py<PyAny>> {
        let named = match op {
            CompareOp::Eq => &EQ,
            CompareOp::Ne => &NE,
            CompareOp::Lt => &LT,
            CompareOp::Le => &LE,
            CompareOp::Gt => &GT,
            CompareOp::Ge => &GE,
        };
        binary(named, slf.as_any(), other)
    }
}
