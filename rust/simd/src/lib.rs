//! Which vector instructions the CPU has, and how kernels get compiled for them.
//!
//! A kernel is an `#[inline(always)]` closure of plain, branch-free Rust over slices; [`dispatch`] runs it inside a
//! function compiled for the chosen instruction set, where LLVM vectorises the loop. Since every variant runs the same
//! IEEE operations (fused multiply-adds where `mul_add` is written, nowhere else), all give the same bits.
//! Hand-written micro-kernels (matrix products) live in [`arch`], the only home of intrinsics.

pub mod arch;

use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Isa {
    /// What the target's baseline offers (SSE2 on x86-64, NEON on arm64).
    Scalar = 1,
    /// AVX2 with FMA and F16C.
    Avx2 = 2,
    /// AVX-512 F, BW, DQ, VL.
    Avx512 = 3,
}

impl Isa {
    /// Its name in `RUSTNN_ISA` and `rustnn info`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// All that this machine can run, slowest first.
    #[must_use]
    pub fn available() -> Vec<Isa> {
        [Isa::Scalar, Isa::Avx2, Isa::Avx512].into_iter().filter(|&i| i <= best()).collect()
    }
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The best set the CPU has.
fn best() -> Isa {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("bmi2");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if avx2 && avx512 {
            return Isa::Avx512;
        }
        if avx2 {
            return Isa::Avx2;
        }
    }
    Isa::Scalar
}

#[cold]
fn choose() -> Isa {
    let best = best();
    let isa = match std::env::var("RUSTNN_ISA").as_deref() {
        Ok("scalar") => Isa::Scalar,
        Ok("avx2") => Isa::Avx2.min(best),
        _ => best,
    };
    CHOSEN.store(isa as u8, Ordering::Relaxed);
    isa
}

/// The set in use: the best the CPU has, or what `RUSTNN_ISA` (`scalar`, `avx2`, `avx512`) asks for if it has that.
#[inline]
#[must_use]
pub fn isa() -> Isa {
    match CHOSEN.load(Ordering::Relaxed) {
        1 => Isa::Scalar,
        2 => Isa::Avx2,
        3 => Isa::Avx512,
        _ => choose(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
fn run_avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
fn run_avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Runs `f` compiled for the chosen instruction set. `f` must be `#[inline(always)] || ..` and everything hot it calls
/// `#[inline(always)]` too, or it is compiled for the baseline only.
#[inline(always)]
pub fn dispatch<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    match isa() {
        // SAFETY: `isa` returns this only if the CPU has the features that `run_avx512` enables.
        Isa::Avx512 => return unsafe { run_avx512(f) },
        // SAFETY: as above, for AVX2, FMA, F16C and BMI.
        Isa::Avx2 => return unsafe { run_avx2(f) },
        Isa::Scalar => {}
    }
    f()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_isa_gives_the_same_bits() {
        let x: Vec<f32> = (0..1000).map(|i| i as f32 * 0.37 - 100.0).collect();
        let run = |f: fn(&mut [f32], &[f32])| {
            let mut y = vec![0.0; x.len()];
            f(&mut y, &x);
            y
        };
        let body = |y: &mut [f32], x: &[f32]| {
            for (y, x) in y.iter_mut().zip(x) {
                *y = x.mul_add(1.7, x * x);
            }
        };
        let plain = run(body);
        let vector = run(|y, x| {
            dispatch(
                #[inline(always)]
                || {
                    for (y, x) in y.iter_mut().zip(x) {
                        *y = x.mul_add(1.7, x * x);
                    }
                },
            )
        });
        assert!(plain.iter().zip(&vector).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
}
