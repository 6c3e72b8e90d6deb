//! Bits of integers and bools, and divisors of integers. None has a gradient.

use super::{Num, forward, is_int, promote, unsupported};
use crate::registry::{DIRECT, INPLACE, METHOD, OUT, TORCH, op};
use crate::{Args, DType, IntoRet, OpDef, Result, Ret, Scalar, Tensor};
use rustnn_core::base::type_error;
use rustnn_kernels::elementwise::Binary;

const ALL: u32 = METHOD | TORCH | INPLACE | OUT | DIRECT;

fn bits(kernel: Binary, a: Num, b: Num, name: &'static str) -> Result<Tensor> {
    let dtype = promote(&[a, b]);
    if dtype.is_float() {
        return Err(unsupported(name, dtype));
    }
    forward(kernel, a, b, dtype, name)
}

/// Of integers alone.
fn integers(kernel: Binary, a: Num, b: Num, name: &'static str) -> Result<Tensor> {
    let dtype = promote(&[a, b]);
    if !is_int(dtype) {
        return Err(unsupported(name, dtype));
    }
    forward(kernel, a, b, dtype, name)
}

/// Every bit turned over; of a bool, its truth.
pub fn bitwise_not(x: &Tensor) -> Result<Tensor> {
    if x.dtype().is_float() {
        return Err(type_error!("~ (operator.invert) is only implemented on integer and Boolean-type tensors"));
    }
    if x.dtype() == DType::Bool {
        return super::logical_not(x);
    }
    forward(Binary::Xor, Num::T(x), Num::S(Scalar::Int(-1)), x.dtype(), "bitwise_not")
}

fn two(a: &Args, f: impl FnOnce(Num, Num) -> Result<Tensor>) -> Result<Ret> {
    f(Num::of(a, 0)?, Num::of(a, 1)?).ret()
}

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = Vec::new();
    macro_rules! rows {
        ($($name:literal $f:ident $kernel:ident $error:literal $samples:expr, $oracle:literal;)*) => {$(
            v.push(op(concat!($name, "(Tensor|Scalar input, Tensor|Scalar other)"), ALL, |a| two(a, |x, y| $f(Binary::$kernel, x, y, $error)))
                .doc("Bit by bit, of integers and bools.").samples($samples).oracle($oracle).nondiff());
        )*};
    }
    let pairs: &[&str] = &["i(3,4, lo=-9), i(4)", "b(3,4), b(4)", "i(5), 6"];
    let shifts: &[&str] = &["i(3,4, lo=-9), i(4, hi=5)", "i(5), 2"];
    rows! {
        "bitwise_and" bits And "bitwise_and" pairs, "input & other";
        "bitwise_or" bits Or "bitwise_or" pairs, "input | other";
        "bitwise_xor" bits Xor "bitwise_xor" pairs, "input ^ other";
        "bitwise_left_shift" integers Shl "lshift" shifts, "input << other";
        "bitwise_right_shift" integers Shr "rshift" shifts, "input >> other";
    }
    v.push(
        op("bitwise_not(Tensor input)", ALL, |a| bitwise_not(a.tensor(0)?).ret())
            .doc("Every bit turned over; of a bool, its truth.")
            .samples(&["i(3,4, lo=-9)", "b(3,4)"])
            .oracle("~input")
            .nondiff(),
    );
    v.extend([
        op("gcd(Tensor input, Tensor other)", ALL, |a| two(a, |x, y| integers(Binary::Gcd, x, y, "gcd")))
            .doc("Greatest common divisor of integers.")
            .samples(&["i(3,4, lo=-30, hi=30), i(4, lo=1, hi=30)"])
            .oracle("np.gcd(input, other)")
            .nondiff(),
        op("lcm(Tensor input, Tensor other)", ALL, |a| two(a, |x, y| integers(Binary::Lcm, x, y, "lcm")))
            .doc("Least common multiple of integers.")
            .samples(&["i(3,4, lo=-30, hi=30), i(4, lo=1, hi=30)"])
            .oracle("np.lcm(input, other)")
            .nondiff(),
    ]);
    v
}
