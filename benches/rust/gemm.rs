//! Matrix products by shape: `cargo bench -p rustnn-benches --bench gemm`; criterion prints FLOP/s as elements/s.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rustnn_base::DType;
use rustnn_kernels::Raw;
use rustnn_kernels::gemm::{Epilogue, matmul};
use rustnn_kernels::parallel::set_num_threads;

fn products(c: &mut Criterion) {
    for threads in [1, 2] {
        let mut group = c.benchmark_group(format!("matmul f32, {threads} threads"));
        group.sample_size(20);
        for (m, k, n) in [
            (64, 64, 64),
            (128, 128, 128),
            (512, 512, 512),
            (1024, 1024, 1024),
            (2048, 2048, 2048),
            (1, 768, 3072),
            (8, 768, 3072),
            (128, 768, 3072),
        ] {
            set_num_threads(threads);
            let mut a = vec![0.5_f32; m * k];
            let mut b = vec![0.25_f32; k * n];
            let mut out = vec![0_f32; m * n];
            let (sa, sb, sc) = ([m, k], [k, n], [m, n]);
            let (ta, tb, tc) = ([k as isize, 1], [n as isize, 1], [n as isize, 1]);
            group.throughput(Throughput::Elements((2 * m * n * k) as u64));
            group.bench_function(BenchmarkId::from_parameter(format!("{m}x{k}x{n}")), |bench| {
                // SAFETY: shapes and strides are those of the vectors, which outlive the windows.
                let (a, b, out) = unsafe {
                    (
                        Raw::new(a.as_mut_ptr().cast(), DType::F32, &sa, &ta),
                        Raw::new(b.as_mut_ptr().cast(), DType::F32, &sb, &tb),
                        Raw::new(out.as_mut_ptr().cast(), DType::F32, &sc, &tc),
                    )
                };
                bench.iter(|| matmul(a, b, out, &Epilogue::default()).is_ok());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
