//! Convolutions by shape, GFLOP/s of forward, input gradient and weight gradient:
//! `cargo run --release -p rustnn-benches --bin conv [threads] [part of a name]`.

use rustnn_base::{DType, Result};
use rustnn_kernels::conv::{ConvParams, forward, grad_input, grad_weight};
use rustnn_kernels::{Raw, alloc, parallel};
use std::time::{Duration, Instant};

/// Name, images, input channels, height, width, output channels, kernel (height, width), stride, padding, groups.
type Shape = (&'static str, usize, usize, usize, usize, usize, (usize, usize), usize, usize, usize);

const SHAPES: [Shape; 26] = [
    ("3x3 64 @56", 2, 64, 56, 56, 64, (3, 3), 1, 1, 1),
    ("3x3 64 @32", 8, 64, 32, 32, 64, (3, 3), 1, 1, 1),
    ("3x3 128 @28", 4, 128, 28, 28, 128, (3, 3), 1, 1, 1),
    ("3x3 128 @16", 8, 128, 16, 16, 128, (3, 3), 1, 1, 1),
    ("3x3 256 @14", 4, 256, 14, 14, 256, (3, 3), 1, 1, 1),
    ("3x3 256 @8", 8, 256, 8, 8, 256, (3, 3), 1, 1, 1),
    ("3x3 512 @7", 4, 512, 7, 7, 512, (3, 3), 1, 1, 1),
    ("3x3 512 @4", 8, 512, 4, 4, 512, (3, 3), 1, 1, 1),
    ("3x3 512 @2", 8, 512, 2, 2, 512, (3, 3), 1, 1, 1),
    ("3x3 16 @32", 32, 16, 32, 32, 16, (3, 3), 1, 1, 1),
    ("3x3 3-64 @32", 8, 3, 32, 32, 64, (3, 3), 1, 1, 1),
    ("5x5 16-32 @14", 100, 16, 14, 14, 32, (5, 5), 1, 2, 1),
    ("7x7 stride 2, 3-64 @224", 2, 3, 224, 224, 64, (7, 7), 2, 3, 1),
    ("3x3 stride 2, 128 @56", 2, 128, 56, 56, 128, (3, 3), 2, 1, 1),
    ("4x4 stride 2, 128-256 @16", 16, 128, 16, 16, 256, (4, 4), 2, 1, 1),
    ("1x1 64-256 @56", 2, 64, 56, 56, 256, (1, 1), 1, 0, 1),
    ("1x1 256-64 @56", 2, 256, 56, 56, 64, (1, 1), 1, 0, 1),
    ("1x1 1024-256 @14", 4, 1024, 14, 14, 256, (1, 1), 1, 0, 1),
    ("1x1 512-2048 @7", 4, 512, 7, 7, 2048, (1, 1), 1, 0, 1),
    ("1x1 96-24 @56", 4, 96, 56, 56, 24, (1, 1), 1, 0, 1),
    ("1x1 stride 2, 256-512 @56", 2, 256, 56, 56, 512, (1, 1), 2, 0, 1),
    ("depthwise 96 @56", 2, 96, 56, 56, 96, (3, 3), 1, 1, 96),
    ("depthwise 384 @14", 4, 384, 14, 14, 384, (3, 3), 1, 1, 384),
    ("depthwise stride 2, 144 @56", 2, 144, 56, 56, 144, (3, 3), 2, 1, 144),
    ("line 32-64, 2 taps, of 4000", 2, 32, 1, 4000, 64, (1, 2), 1, 0, 1),
    ("few: 3x3 512 @2, one image", 1, 512, 2, 2, 512, (3, 3), 1, 1, 1),
];

/// A tensor's memory as the engine would have it, filled with small numbers.
fn tensor(shape: &[usize]) -> Result<*mut f32> {
    let n: usize = shape.iter().product();
    let values = alloc::allocate(n * 4)?.as_ptr().cast::<f32>();
    for i in 0..n {
        // SAFETY: room for `n` values was just allocated; a bench never gives it back.
        unsafe { *values.add(i) = (i * 7919 % 1000) as f32 / 1000.0 };
    }
    Ok(values)
}

fn strides(shape: &[usize]) -> Vec<isize> {
    (0..shape.len()).map(|i| shape[i + 1..].iter().product::<usize>() as isize).collect()
}

/// Median seconds of a call.
fn time(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    call()?;
    let (mut times, start) = (Vec::new(), Instant::now());
    while start.elapsed() < Duration::from_millis(150) || times.len() < 3 {
        let one = Instant::now();
        call()?;
        times.push(one.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    parallel::set_num_threads(args.next().and_then(|a| a.parse().ok()).unwrap_or(1));
    let part = args.next().unwrap_or_default();
    println!("{:30} {:>8} {:>8} {:>8}", "GFLOP/s", "forward", "d input", "d weight");
    for (name, n, ci, h, w, co, (kh, kw), stride, padding, groups) in SHAPES {
        if !name.contains(&part) {
            continue;
        }
        // A line has one row, which is neither padded nor skipped.
        let [ph, sh] = if h == 1 { [0, 1] } else { [padding, stride] };
        let (oh, ow) = ((h + 2 * ph - kh) / sh + 1, (w + 2 * padding - kw) / stride + 1);
        let shapes = [[n, ci, h, w], [co, ci / groups, kh, kw], [n, co, oh, ow]];
        let steps = shapes.map(|s| strides(&s));
        let (x, k, y) = (tensor(&shapes[0])?, tensor(&shapes[1])?, tensor(&shapes[2])?);
        let (dx, dk) = (tensor(&shapes[0])?, tensor(&shapes[1])?);
        // SAFETY: the blocks hold contiguous tensors of these shapes, and each call writes to one of its own.
        let raw = |p: *mut f32, i: usize| unsafe { Raw::new(p.cast(), DType::F32, &shapes[i], &steps[i]) };
        let p = ConvParams { stride: vec![sh, stride], padding: vec![ph, padding], dilation: vec![1, 1], groups };
        let flops = 2.0 * (n * co * oh * ow * (ci / groups) * kh * kw) as f64;
        let rates = [
            time(|| forward(raw(x, 0), raw(k, 1), None, raw(y, 2), &p))?,
            time(|| grad_input(raw(y, 2), raw(k, 1), None, raw(dx, 0), &p))?,
            time(|| grad_weight(raw(y, 2), raw(x, 0), raw(dk, 1), &p))?,
        ]
        .map(|t| flops / t / 1e9);
        println!("{name:30} {:8.1} {:8.1} {:8.1}", rates[0], rates[1], rates[2]);
    }
    Ok(())
}
