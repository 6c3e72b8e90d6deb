//! Where the next pointwise result should go: how `x.add_(y)` and `out=` reach the kernel without a copy.
//!
//! The binder offers a destination only for ops marked DIRECT (whose result is one pointwise kernel's) and only when no
//! graph is recorded; the pointwise driver takes it if shape and dtype fit. Nobody else may take it.

use crate::tensor::Tensor;
use rustnn_base::DType;
use std::cell::Cell;

thread_local! {
    static DEST: Cell<Option<Tensor>> = const { Cell::new(None) };
}

thread_local! {
    /// Whether there is an offer: a look at this costs less than taking one.
    static OFFERED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a destination may be on offer on this thread.
#[inline]
#[must_use]
pub fn offered() -> bool {
    OFFERED.get()
}

/// Runs `f` with `dst` on offer.
pub fn offer<R>(dst: &Tensor, f: impl FnOnce() -> R) -> R {
    struct Clear;
    impl Drop for Clear {
        fn drop(&mut self) {
            DEST.take();
            OFFERED.set(false);
        }
    }
    DEST.set(Some(dst.clone()));
    OFFERED.set(true);
    let _clear = Clear;
    f()
}

/// Whether the destination on offer is this very tensor.
#[must_use]
pub fn is(t: &Tensor) -> bool {
    let on_offer = DEST.take();
    let same = on_offer.as_ref().is_some_and(|d| d.same(t));
    DEST.set(on_offer);
    same
}

/// The destination on offer, if it has this shape and dtype. It may be one of the operands itself.
#[must_use]
pub fn take(shape: &[usize], dtype: DType) -> Option<Tensor> {
    OFFERED.set(false);
    DEST.take().filter(|d| d.dtype() == dtype && d.shape() == shape)
}
