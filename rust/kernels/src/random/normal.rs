//! Normal numbers. Two ways that PyTorch takes, and that give different streams: pairs in double for few or strided
//! elements, blocks of 16 for contiguous ones.

use super::{Generator, uniform, unit24};
use rustnn_base::{DType, Element, Float};
use rustnn_simd::dispatch;

/// One standard normal in double, and its partner kept for the next call.
pub(super) fn next(g: &mut Generator) -> f64 {
    if let Some(v) = g.next_normal.take() {
        return v;
    }
    let u1 = g.uniform();
    let u2 = g.uniform();
    let r = (-2.0 * (-u2).ln_1p()).sqrt();
    let theta = 2.0 * std::f64::consts::PI * u1;
    g.next_normal = Some(r * theta.sin());
    r * theta.cos()
}

/// The scalar way, for any number of elements: what PyTorch uses below 16 elements and for strided ones.
pub fn normal_scalar<T: Element>(g: &mut Generator, dst: &mut [T], mean: f64, std: f64) {
    for d in dst {
        *d = T::from_f64(next(g).mul_add(std, mean));
    }
}

/// `exp` of a normal; always the scalar way.
pub fn log_normal<T: Element>(g: &mut Generator, dst: &mut [T], mean: f64, std: f64) {
    for d in dst {
        *d = T::from_f64(next(g).mul_add(std, mean).exp());
    }
}

/// Normal numbers into contiguous memory: blocks of 16, the scalar way below that.
pub fn normal<T: Float>(g: &mut Generator, dst: &mut [T], mean: f64, std: f64) {
    if dst.len() < 16 {
        return normal_scalar(g, dst, mean, std);
    }
    match T::DTYPE {
        DType::F64 => blocks_f64(g, dst, mean, std),
        DType::F32 => blocks_f32(g, dst, mean as f32, std as f32),
        _ => blocks_16bit(g, dst, mean as f32, std as f32),
    }
}

fn blocks_f64<T: Float>(g: &mut Generator, dst: &mut [T], mean: f64, std: f64) {
    let transform = |x: &mut [T]| {
        for j in 0..8 {
            let (u1, u2) = (1.0 - x[j].to_f64(), x[j + 8].to_f64());
            let r = (-2.0 * u1.ln()).sqrt();
            let theta = 2.0 * std::f64::consts::PI * u2;
            x[j] = T::from_f64((r * theta.cos()).mul_add(std, mean));
            x[j + 8] = T::from_f64((r * theta.sin()).mul_add(std, mean));
        }
    };
    uniform(g, dst, 0.0, 1.0);
    for block in dst.chunks_exact_mut(16) {
        transform(block);
    }
    if dst.len() % 16 != 0 {
        let at = dst.len() - 16;
        uniform(g, &mut dst[at..], 0.0, 1.0);
        transform(&mut dst[at..]);
    }
}

fn blocks_f32<T: Float>(g: &mut Generator, dst: &mut [T], mean: f32, std: f32) {
    let full = dst.len() / 16 * 16;
    let mut buf = [0u32; 1024];
    for piece in dst[..full].chunks_mut(buf.len()) {
        let draws = &mut buf[..piece.len()];
        g.engine.fill(draws);
        box_muller(draws, piece, mean, std);
    }
    let rest = dst.len() - full;
    if rest != 0 {
        // The remainder's own draws are taken and lost; the last 16 places are drawn anew.
        g.engine.fill(&mut buf[..rest]);
        g.engine.fill(&mut buf[..16]);
        let at = dst.len() - 16;
        box_muller(&buf[..16], &mut dst[at..], mean, std);
    }
}

fn blocks_16bit<T: Float>(g: &mut Generator, dst: &mut [T], mean: f32, std: f32) {
    let full = dst.len() / 16 * 16;
    let mut buf = [0u32; 1024];
    for piece in dst[..full].chunks_mut(buf.len()) {
        let draws = &mut buf[..piece.len()];
        g.engine.fill(draws);
        box_muller(draws, piece, mean, std);
    }
    if dst.len() != full {
        g.engine.fill(&mut buf[..16]);
        let at = dst.len() - 16;
        box_muller(&buf[..16], &mut dst[at..], mean, std);
    }
}

/// Box–Muller on whole blocks of 16 draws: places j and j + 8 of a block make a pair.
fn box_muller<T: Float>(draws: &[u32], dst: &mut [T], mean: f32, std: f32) {
    dispatch(
        #[inline(always)]
        || {
            for (u, x) in draws.as_chunks::<16>().0.iter().zip(dst.chunks_exact_mut(16)) {
                let mut pair = [0f32; 16];
                for j in 0..8 {
                    let radius = (-2.0 * ln(1.0 - unit24(u[j]))).sqrt();
                    let (sin, cos) = sin_cos(unit24(u[j + 8]) * (2.0 * std::f32::consts::PI));
                    pair[j] = (radius * cos).mul_add(std, mean);
                    pair[j + 8] = (radius * sin).mul_add(std, mean);
                }
                for j in 0..16 {
                    x[j] = T::from_f32(pair[j]);
                }
            }
        },
    );
}

/// Natural logarithm of a normal number in (0, 1] by Cephes' polynomial, in the roundings PyTorch's build has.
#[inline(always)]
fn ln(v: f32) -> f32 {
    let bits = v.to_bits();
    let mut e = ((bits >> 23) as i32 - 126) as f32;
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000);
    let small = m < 0.707_106_77;
    e = if small { e - 1.0 } else { e };
    let mut x = (m - 1.0) + if small { m } else { 0.0 };
    let z = x * x;
    let mut y = 7.037_683_6e-2f32;
    for c in [
        -1.151_461_03e-1,
        1.167_699_87e-1,
        -1.242_014_08e-1,
        1.424_932_28e-1,
        -1.666_805_77e-1,
        2.000_071_48e-1,
        -2.499_999_4e-1,
        3.333_333_1e-1,
    ] {
        y = y.mul_add(x, c);
    }
    y *= x;
    y = y.mul_add(z, e * -2.121_944_4e-4);
    y = (-z).mul_add(0.5, y);
    x += y;
    e.mul_add(0.693_359_375, x)
}

/// Sine and cosine of an angle in [0, 2π) by Cephes' polynomials.
#[inline(always)]
fn sin_cos(theta: f32) -> (f32, f32) {
    let j = ((theta * 1.273_239_5) as i32 + 1) & !1;
    let jf = j as f32;
    let mut x = theta;
    for c in [-0.785_156_25f32, -2.418_756_5e-4, -3.774_895e-8] {
        x = jf.mul_add(c, x);
    }
    let z = x * x;
    let mut c = 2.443_315_7e-5f32.mul_add(z, -1.388_731_6e-3);
    c = c.mul_add(z, 4.166_664_6e-2);
    c *= z;
    c = c.mul_add(z, -(z * 0.5)) + 1.0;
    let mut s = (-1.951_529_6e-4f32).mul_add(z, 8.332_161e-3);
    s = s.mul_add(z, -1.666_665_5e-1);
    s *= z;
    s = s.mul_add(x, x);
    let swap = j & 2 != 0;
    let (sin, cos) = if swap { (c, s) } else { (s, c) };
    let sin = f32::from_bits(sin.to_bits() ^ (((j & 4) as u32) << 29));
    let cos = f32::from_bits(cos.to_bits() ^ ((!(j - 2) & 4) as u32) << 29);
    (sin, cos)
}
