//! What this machine can do at all, as JSON: `limits [threads]` prints the peak of fused multiply-adds in FLOP/s and the
//! bandwidth of a streaming `c = a + b` in bytes/s, at that many threads.

use rustnn_kernels::parallel::{SendPtr, for_chunks, for_slices, set_num_threads};
use std::hint::black_box;
use std::time::Instant;

/// Independent sums, enough to hide the latency of every FMA unit (12 vectors of 8, 6 of 16).
const SUMS: usize = 96;

/// Floating point operations of `rounds` rounds of fused multiply-adds.
fn multiply_adds(rounds: usize) -> f64 {
    let (x, y) = (black_box(0.999_f32), black_box(0.001_f32));
    let sums = rustnn_simd::dispatch(
        #[inline(always)]
        || {
            let mut sums = [0.5_f32; SUMS];
            for _ in 0..rounds {
                for s in &mut sums {
                    *s = s.mul_add(x, y);
                }
            }
            sums
        },
    );
    black_box(sums);
    (rounds * SUMS * 2) as f64
}

/// The best of several tries: the limit is what the machine does when nothing disturbs it.
fn best(tries: usize, mut work: impl FnMut() -> f64) -> f64 {
    (0..tries)
        .map(|_| {
            let begin = Instant::now();
            work() / begin.elapsed().as_secs_f64()
        })
        .fold(0.0, f64::max)
}

fn main() {
    let threads = std::env::args().nth(1).and_then(|t| t.parse().ok()).unwrap_or(1_usize);
    set_num_threads(threads);
    let rounds = 1_000_000;
    let flops = best(20, || {
        let mut done = vec![0.0; threads];
        let place = SendPtr(done.as_mut_ptr());
        // SAFETY: every chunk writes its own element.
        for_chunks(threads, &|i| unsafe { *place.get().add(i) = multiply_adds(rounds) });
        done.iter().sum()
    });
    let n = 1 << 24;
    let (a, b, mut c) = (vec![1_f32; n], vec![2_f32; n], vec![0_f32; n]);
    let bytes = best(20, || {
        for_slices(&mut c, 1 << 16, |start, piece| {
            let (a, b) = (&a[start..start + piece.len()], &b[start..start + piece.len()]);
            rustnn_simd::dispatch(
                #[inline(always)]
                || piece.iter_mut().zip(a.iter().zip(b)).for_each(|(c, (a, b))| *c = a + b),
            );
        });
        black_box(&c);
        (3 * n * size_of::<f32>()) as f64
    });
    println!("{{\"flops\": {flops:.4e}, \"bytes\": {bytes:.4e}, \"threads\": {threads}}}");
}
