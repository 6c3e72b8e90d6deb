//! Pointwise kernels on contiguous and strided operands: `cargo bench -p rustnn-benches --bench elementwise`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rustnn_base::DType;
use rustnn_kernels::Raw;
use rustnn_kernels::elementwise::{Binary, Unary, binary, unary};
use rustnn_kernels::parallel::set_num_threads;

const SIDE: usize = 1024;

fn pointwise(c: &mut Criterion) {
    let shape = [SIDE, SIDE];
    let (plain, transposed) = ([SIDE as isize, 1], [1, SIDE as isize]);
    let mut x: Vec<f32> = (0..SIDE * SIDE).map(|i| (i % 1000) as f32 / 250.0 - 2.0).collect();
    let mut y = x.clone();
    let mut out = vec![0_f32; SIDE * SIDE];
    // SAFETY: shapes and strides stay within the vectors, which outlive the windows.
    let (x, xt, y, out) = unsafe {
        (
            Raw::new(x.as_mut_ptr().cast(), DType::F32, &shape, &plain),
            Raw::new(x.as_mut_ptr().cast(), DType::F32, &shape, &transposed),
            Raw::new(y.as_mut_ptr().cast(), DType::F32, &shape, &plain),
            Raw::new(out.as_mut_ptr().cast(), DType::F32, &shape, &plain),
        )
    };
    for threads in [1, 2] {
        set_num_threads(threads);
        let mut group = c.benchmark_group(format!("1 Mi f32, {threads} threads"));
        group.sample_size(30);
        group.throughput(Throughput::Bytes((3 * SIDE * SIDE * 4) as u64));
        group.bench_function("add", |b| b.iter(|| binary(Binary::Add, &out, &x, &y).is_ok()));
        group.bench_function("add, one transposed", |b| b.iter(|| binary(Binary::Add, &out, &xt, &y).is_ok()));
        group.throughput(Throughput::Bytes((2 * SIDE * SIDE * 4) as u64));
        for (name, op) in [("exp", Unary::Exp), ("tanh", Unary::Tanh), ("erf", Unary::Erf)] {
            group.bench_function(name, |b| b.iter(|| unary(op, &out, &x).is_ok()));
        }
        group.finish();
    }
}

criterion_group!(benches, pointwise);
criterion_main!(benches);
