//! Winograd's way against plain f64 loops and against the direct way, also where it does not pay.

use super::tests::{changed, close, each, random, told_of};
use super::*;

fn geometry(batch: usize, cin: usize, cout: usize, image: [usize; 2], padding: usize, groups: usize) -> Geometry {
    let p = ConvParams { stride: vec![1; 2], padding: vec![padding; 2], dilation: vec![1; 2], groups };
    let input = [batch, groups * cin, image[0], image[1]];
    let output = [batch, groups * cout, image[0] + 2 * padding - 2, image[1] + 2 * padding - 2];
    Geometry::new(&input, &[groups * cout, cin, 3, 3], &output, &p).unwrap()
}

/// Values for a geometry's input, weight, output and both biases.
struct Data<T> {
    x: Vec<T>,
    w: Vec<T>,
    dy: Vec<T>,
    out_bias: Vec<T>,
    in_bias: Vec<T>,
}

impl<T: Gemm> Data<T> {
    fn new(geo: &Geometry) -> Self {
        Data {
            x: random(geo.batch * geo.groups * geo.cin * geo.in_plane(), 1),
            w: random(geo.groups * geo.cout * geo.cin * 9, 2),
            dy: random(geo.batch * geo.groups * geo.cout * geo.out_plane(), 3),
            out_bias: random(geo.groups * geo.cout, 4),
            in_bias: random(geo.groups * geo.cin, 5),
        }
    }
    /// Output and input gradient by the way given.
    fn by(&self, geo: &Geometry, way: unsafe fn(&Pass<T>, Isa) -> Result<()>, isa: Isa) -> [Vec<T>; 2] {
        let nan = T::from_f64(f64::NAN);
        let (mut y, mut dx) = (vec![nan; self.dy.len()], vec![nan; self.x.len()]);
        let forward = forward_pass(geo, &self.x, (&self.w, Keep::NOT), Some(&self.out_bias), &mut y, None);
        let back = gradient_pass(geo, &self.dy, (&self.w, Keep::NOT), Some(&self.in_bias), dx.as_mut_ptr(), [0; 3]);
        assert!(winograd::fits(&forward) && winograd::fits(&back));
        // SAFETY: sizes are those of the geometry.
        unsafe {
            way(&forward, isa).unwrap();
            way(&back, isa).unwrap();
        }
        [y, dx]
    }
    /// The same in f64, and the sums of the terms' sizes.
    fn exact(&self, geo: &Geometry) -> [(Vec<f64>, Vec<f64>); 2] {
        let bias =
            |b: &[T], n: usize, plane: usize| (0..n).map(|i| b[i / plane % b.len()].to_f64()).collect::<Vec<_>>();
        let mut y = (bias(&self.out_bias, self.dy.len(), geo.out_plane()), vec![0.0; self.dy.len()]);
        let mut dx = (bias(&self.in_bias, self.x.len(), geo.in_plane()), vec![0.0; self.x.len()]);
        each(geo, |i, j, o| {
            let w = self.w[j].to_f64();
            for (t, at, v) in [(&mut y, o, self.x[i].to_f64() * w), (&mut dx, i, self.dy[o].to_f64() * w)] {
                t.0[at] += v;
                t.1[at] += v.abs();
            }
        });
        [y, dx]
    }
}

fn bits<T: Gemm>(v: &[Vec<T>; 2]) -> Vec<Option<u64>> {
    // One NaN is as good as another.
    v.iter().flatten().map(|v| Some(v.to_f64()).filter(|v| !v.is_nan()).map(f64::to_bits)).collect()
}

fn check<T: Gemm>(geo: &Geometry) {
    let data = Data::<T>::new(geo);
    let want = data.exact(geo);
    let mut first: Option<[Vec<T>; 2]> = None;
    for isa in Isa::available() {
        for threads in 1..=3 {
            crate::parallel::set_num_threads(threads);
            let got = data.by(geo, winograd::run, isa);
            for (i, name) in ["forward", "grad input"].into_iter().enumerate() {
                close(&got[i], &want[i].0, &want[i].1, &format!("{name} {geo:?} {isa:?} {threads} threads"));
            }
            match &first {
                None => first = Some(got),
                Some(f) => assert!(bits(f) == bits(&got), "bits differ: {geo:?} {isa:?} {threads} threads"),
            }
        }
    }
}

#[test]
fn agrees_with_plain_loops() {
    for geo in [
        geometry(1, 16, 16, [8, 8], 1, 1),
        // Odd and even sizes, each padding, channels that fill no panel.
        geometry(2, 7, 13, [9, 12], 0, 1),
        geometry(3, 19, 5, [7, 7], 1, 1),
        geometry(1, 33, 20, [14, 13], 2, 1),
        geometry(3, 1, 1, [3, 4], 1, 1),
        geometry(1, 3, 2, [3, 3], 0, 1),
        geometry(2, 2, 3, [1, 1], 1, 1),
        // Rows longer than a block of tiles, and one that is no multiple of it.
        geometry(1, 6, 8, [5, 290], 1, 1),
        geometry(2, 8, 6, [6, 77], 1, 1),
        // Several blocks of the sum, cuts of the output channels.
        geometry(1, 300, 70, [6, 5], 1, 1),
        geometry(2, 130, 140, [6, 6], 1, 1),
        // One small image: cut into chunks, its transform shared out (with tiles that end within a vector).
        geometry(1, 16, 20, [32, 30], 1, 1),
        geometry(1, 64, 66, [8, 8], 1, 1),
        geometry(1, 90, 64, [10, 11], 1, 1),
        // Groups.
        geometry(2, 5, 7, [10, 9], 1, 3),
        geometry(1, 40, 66, [8, 8], 1, 2),
        // Nothing.
        geometry(0, 4, 4, [8, 8], 1, 1),
    ] {
        check::<f32>(&geo);
        check::<f64>(&geo);
    }
}

/// What is infinite, NaN or so large that it drowns its neighbours comes out as it does the direct way.
#[test]
fn large_values_go_the_direct_way() {
    let geo = geometry(2, 20, 34, [10, 9], 1, 1);
    for large in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e38, -1e15] {
        for place in 0..3 {
            let mut data = Data::<f32>::new(&geo);
            let (at, values) =
                [(777, &mut data.x), (1234, &mut data.w), (999, &mut data.dy)].into_iter().nth(place).unwrap();
            values[at] = large;
            for isa in Isa::available() {
                for threads in [1, 2] {
                    crate::parallel::set_num_threads(threads);
                    let (got, want) = (data.by(&geo, winograd::run, isa), data.by(&geo, direct::run, isa));
                    // The pass that does not see the value may go either way.
                    for i in [0, 1].into_iter().filter(|&i| place == 1 || i == place / 2) {
                        let (got, want) = ([got[i].clone(), vec![]], [want[i].clone(), vec![]]);
                        assert!(bits(&got) == bits(&want), "{large} at {place}, {isa:?}, {threads} threads");
                    }
                }
            }
        }
    }
    // An infinite bias is no reason.
    let mut data = Data::<f32>::new(&geo);
    data.out_bias[3] = f32::INFINITY;
    let y = &data.by(&geo, winograd::run, isa())[0];
    assert!(y.iter().enumerate().all(|(i, v)| v.is_infinite() == (i / geo.out_plane() % 34 == 3)));
}

/// The largest error on normally distributed values, beside the direct way's.
#[test]
fn error_is_near_the_direct_ways() {
    for (cin, bound) in [(64, 2.0), (256, 2.0)] {
        let geo = geometry(1, cin, 16, [14, 14], 1, 1);
        let mut data = Data::<f32>::new(&geo);
        for (values, seed) in [(&mut data.x, 11), (&mut data.w, 12), (&mut data.dy, 13)] {
            let uniform = random::<f64>(2 * values.len(), seed);
            for (v, u) in values.iter_mut().zip(uniform.chunks(2)) {
                let (u1, u2) = ((u[0] + 1.0) / 2.0 + 1e-9, (u[1] + 1.0) / 2.0);
                *v = ((-2.0 * u1.ln()).sqrt() * (std::f64::consts::TAU * u2).cos()) as f32;
            }
        }
        let want = data.exact(&geo);
        let [got, direct] = [winograd::run, direct::run].map(|way| {
            let y = &data.by(&geo, way, isa())[0];
            y.iter().zip(&want[0].0).map(|(&v, w)| (f64::from(v) - w).abs()).fold(0.0, f64::max)
        });
        println!("{cin} channels: {got:.3e}, direct {direct:.3e}, {:.2}", got / direct);
        assert!(got <= bound * direct, "{cin} channels: {got:e}, direct {direct:e}");
    }
}

/// Outputs are told of when they are final: with blocks of channels, parts of rows, shared-out channels, and where a value
/// is too large and all is done again.
#[test]
fn tells_of_final_outputs() {
    for (batch, cin, cout, h, w) in
        [(1, 64, 64, 56, 56), (1, 256, 256, 14, 14), (2, 150, 40, 9, 11), (3, 16, 17, 31, 5)]
    {
        let geo = geometry(batch, cin, cout, [h, w], 1, 1);
        let mut d = Data::<f32>::new(&geo);
        for large in [false, true] {
            if large {
                let middle = d.x.len() / 2;
                d.x[middle] = 1e20;
            }
            let mut y = vec![0.0; d.dy.len()];
            forward_of(geo, &d.x, (&d.w, Keep::NOT), Some(&d.out_bias), &mut y, None, isa()).unwrap();
            for threads in [1, 2] {
                crate::parallel::set_num_threads(threads);
                let told = told_of(&geo, &d.x, (&d.w, Keep::NOT), &d.out_bias, isa());
                assert!(told == changed(&y, h * w), "{cin} to {cout} at {h}x{w}, {threads} threads, {large}");
            }
        }
    }
}
