//! Vectors whose length comes from outside: an argument, or a tensor's size.
//!
//! `vec![v; n]`, `Vec::with_capacity(n)` and `collect()` end the process when there is no memory for `n` elements (or
//! panic when `n` is beyond all bounds). These give `MemoryError` instead. The ones here that return a [`Result`] are
//! for wherever an error can be returned; inside a chunk of parallel work, where it can't, [`or_stop`] stops the whole
//! call: the error unwinds through the pool, and [`caught`], which stands around every op, makes it a `Result` again.

use crate::alloc;
use rustnn_base::{Error, Result};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What a vector of `n` elements takes, checked against the machine's memory; `None` if there is not so much.
fn checked<T>(n: usize) -> Option<usize> {
    let bytes = n.checked_mul(size_of::<T>())?;
    (isize::try_from(bytes).is_ok() && alloc::can_have(bytes)).then_some(bytes)
}

fn missing<T>(n: usize) -> Error {
    Error::out_of_memory((n as u64).saturating_mul(size_of::<T>() as u64))
}

fn grow<T>(v: &mut Vec<T>, n: usize) -> Result<()> {
    if checked::<T>(n).is_some() && v.try_reserve_exact(n).is_ok() {
        return Ok(());
    }
    // What the allocator keeps for reuse may be what is missing.
    alloc::empty_cache();
    if checked::<T>(n).is_none() {
        return Err(missing::<T>(n));
    }
    v.try_reserve_exact(n).map_err(|_| missing::<T>(n))
}

/// An empty vector with room for `n` elements.
pub fn with_capacity<T>(n: usize) -> Result<Vec<T>> {
    let mut v = Vec::new();
    grow(&mut v, n)?;
    Ok(v)
}

/// `n` times `value`.
pub fn filled<T: Clone>(n: usize, value: T) -> Result<Vec<T>> {
    let mut v = with_capacity(n)?;
    v.resize(n, value);
    Ok(v)
}

/// A slice's elements.
pub fn copied<T: Clone>(s: &[T]) -> Result<Vec<T>> {
    let mut v = with_capacity(s.len())?;
    v.extend_from_slice(s);
    Ok(v)
}

/// What an iterator gives.
pub fn collected<T>(items: impl IntoIterator<Item = T>) -> Result<Vec<T>> {
    let mut items = items.into_iter();
    let mut v = with_capacity(items.size_hint().0)?;
    loop {
        // As many as there is room for are taken without a look at each.
        let room = v.capacity() - v.len();
        v.extend(items.by_ref().take(room));
        let Some(next) = (if v.len() == v.capacity() { items.next() } else { None }) else { return Ok(v) };
        push(&mut v, next)?;
    }
}

/// Appends `value`.
#[inline]
pub fn push<T>(v: &mut Vec<T>, value: T) -> Result<()> {
    if v.len() == v.capacity() {
        let more = v.len().max(16);
        grow(v, more)?;
    }
    v.push(value);
    Ok(())
}

/// The value, or the end of the op that is running: the error comes out of [`caught`].
pub fn or_stop<T>(r: Result<T>) -> T {
    match r {
        Ok(v) => v,
        // Without the panic hook: nothing is wrong with the program.
        Err(e) => resume_unwind(Box::new(e)),
    }
}

thread_local! {
    /// How many [`caught`] stand around what this thread does.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Whether an [`or_stop`] on this thread would end in a [`caught`].
pub fn is_caught() -> bool {
    DEPTH.get() > 0
}

/// Runs `f`, during which nobody is asked whether to go on: asking may mean to wait for the host's lock, whose holder may
/// wait for `f`, or to run the program's own code in the middle of it.
pub fn undisturbed<R>(f: impl FnOnce() -> R) -> R {
    struct Back(u32);
    impl Drop for Back {
        fn drop(&mut self) {
            DEPTH.set(self.0);
        }
    }
    let _back = Back(DEPTH.replace(0));
    f()
}

/// Runs `f`; an error of [`or_stop`] inside it, on whatever thread, is its result. A panic goes on.
pub fn caught<R>(f: impl FnOnce() -> Result<R>) -> Result<R> {
    DEPTH.set(DEPTH.get() + 1);
    let end = catch_unwind(AssertUnwindSafe(f));
    DEPTH.set(DEPTH.get() - 1);
    match end {
        Ok(r) => r,
        Err(payload) => match payload.downcast::<Error>() {
            Ok(e) => Err(*e),
            Err(panic) => resume_unwind(panic),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel;

    fn fails<T>(r: Result<T>) -> bool {
        matches!(r, Err(Error::OutOfMemory { .. }))
    }

    #[test]
    fn small_ones_hold_what_they_should() {
        assert_eq!(filled(3, 7_u8).unwrap(), [7, 7, 7]);
        assert_eq!(copied(&[1, 2]).unwrap(), [1, 2]);
        assert_eq!(with_capacity::<u64>(9).unwrap().capacity(), 9);
        assert_eq!(collected(0..100).unwrap(), (0..100).collect::<Vec<_>>());
        // Iterators that do not know how many there are.
        for n in [0, 1, 15, 16, 17, 1000] {
            assert_eq!(collected((0..n).filter(|i| i % 3 > 0)).unwrap().len(), (0..n).filter(|i| i % 3 > 0).count());
        }
    }

    #[test]
    fn huge_ones_are_errors() {
        for n in [1_usize << 50, 1 << 60, 1 << 62, usize::MAX / 8, usize::MAX] {
            assert!(fails(filled(n, 1.0_f64)), "{n}");
            assert!(fails(with_capacity::<u64>(n)), "{n}");
            assert!(fails(collected((0..n).map(|i| i as u64))), "{n}");
        }
    }

    #[test]
    fn an_error_inside_a_chunk_comes_out_and_the_pool_works_on() {
        for _ in 0..20 {
            let r = caught(|| {
                parallel::for_chunks(8, &|i| {
                    if i == 5 {
                        or_stop(filled(usize::MAX, 1_u32));
                    }
                });
                Ok(())
            });
            assert!(fails(r));
            let mut x = [0; 64];
            parallel::for_slices(&mut x, 8, |_, x| x.fill(1));
            assert_eq!(x, [1; 64]);
        }
    }

    #[test]
    fn a_panic_stays_one() {
        assert!(catch_unwind(|| caught(|| -> Result<()> { panic!("a bug") })).is_err());
    }
}
