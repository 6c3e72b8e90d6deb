//! Changes of dtype as ops with a gradient.

use crate::basic::to_dtype;
use crate::registry::{METHOD, op};
use crate::{DType, IntoRet, OpDef};

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = Vec::new();
    macro_rules! casts {
        ($($name:literal $dtype:ident $doc:literal;)*) => {$(
            v.push(op(concat!($name, "(Tensor input, *, memory_format? memory_format=None)"), METHOD, |a| to_dtype(a.tensor(0)?, DType::$dtype).ret())
                .doc($doc).samples(&["t(3,4)", "i(3)", "b(2,2)"]).nondiff());
        )*};
    }
    // They pass gradients on; only a finite difference in the narrower dtype cannot show it.
    casts! {
        "float" F32 "The tensor in float32; itself if it is.";
        "double" F64 "The tensor in float64; itself if it is.";
        "half" F16 "The tensor in float16; itself if it is.";
        "bfloat16" BF16 "The tensor in bfloat16; itself if it is.";
    }
    macro_rules! exact {
        ($($name:literal $dtype:ident $doc:literal $oracle:literal;)*) => {$(
            v.push(op(concat!($name, "(Tensor input, *, memory_format? memory_format=None)"), METHOD, |a| to_dtype(a.tensor(0)?, DType::$dtype).ret())
                .doc($doc).samples(&["t(3,4) * 10", "i(3)", "b(2,2)"]).oracle($oracle).nondiff());
        )*};
    }
    exact! {
        "long" I64 "The tensor in int64, cut toward zero." "np.asarray(input).astype(np.int64)";
        "int" I32 "The tensor in int32, cut toward zero." "np.asarray(input).astype(np.int32)";
        "short" I16 "The tensor in int16, cut toward zero." "np.asarray(input).astype(np.int16)";
        "char" I8 "The tensor in int8, cut toward zero." "np.asarray(input).astype(np.int64).astype(np.int8)";
        "byte" U8 "The tensor in uint8, cut toward zero." "np.asarray(input).astype(np.int64).astype(np.uint8)";
        "bool" Bool "Where the elements are not zero." "np.asarray(input).astype(bool)";
    }
    v.push(
        op("type_as(Tensor input, Tensor other)", METHOD, |a| to_dtype(a.tensor(0)?, a.tensor(1)?.dtype()).ret())
            .doc("The tensor in the other's dtype.")
            .samples(&["t(3,4), t(2)"])
            .oracle("input"),
    );
    v
}
