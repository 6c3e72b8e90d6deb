//! Accuracy of the scalar functions: double precision against tables computed with 60 digits, single precision
//! against double precision (the system's libm, or ours where the tables vouch for it).

use super::{Math, double, reference as r, single, special};

/// Distance in units of the last place of `y`, both in double precision.
fn ulps64(got: f64, want: f64) -> f64 {
    if got == want || (got.is_nan() && want.is_nan()) {
        return 0.0;
    }
    if !got.is_finite() || !want.is_finite() {
        return f64::INFINITY;
    }
    let step = (f64::from_bits(want.abs().to_bits() + 1) - want.abs()).max(5e-324);
    (got - want).abs() / step
}

/// Distance of a float from an exact value in units of the float's last place there.
fn ulps32(got: f32, want: f64) -> f64 {
    let w = want as f32;
    if got == w || (got.is_nan() && w.is_nan()) {
        return if got.is_finite() && w.is_finite() { unit(got, want) } else { 0.0 };
    }
    if !got.is_finite() || !w.is_finite() {
        // Rounding at the border of infinity.
        let near = |v: f32| v.is_infinite() || v.abs() > 3.402_82e38;
        return if near(got) && near(w) && got.is_sign_positive() == w.is_sign_positive() {
            1.0
        } else {
            f64::INFINITY
        };
    }
    unit(got, want)
}
fn unit(got: f32, want: f64) -> f64 {
    let w = (want as f32).abs();
    let step = f64::from(f32::from_bits(w.to_bits() + 1)) - f64::from(w);
    (f64::from(got) - want).abs() / if step.is_finite() { step } else { 2.0f64.powi(104) }
}

#[test]
fn double_precision_keeps_its_bounds() {
    let table: &[(&str, fn(f64) -> f64, &[(f64, f64)], f64)] = &[
        ("exp", double::exp, r::EXP, 1.0),
        ("exp2", double::exp2, r::EXP2, 1.0),
        ("expm1", double::expm1, r::EXPM1, 1.5),
        ("ln", double::ln, r::LN, 1.0),
        ("log2", double::log2, r::LOG2, 1.5),
        ("log1p", double::log1p, r::LOG1P, 1.0),
        ("tanh", double::tanh, r::TANH, 2.5),
        ("sigmoid", double::sigmoid, r::SIGMOID, 1.5),
        ("sinh", double::sinh, r::SINH, 4.0),
        ("cosh", double::cosh, r::COSH, 3.0),
        ("asinh", double::asinh, r::ASINH, 3.0),
        ("acosh", double::acosh, r::ACOSH, 3.0),
        ("atanh", double::atanh, r::ATANH, 3.0),
        ("atan", double::atan, r::ATAN, 2.0),
        ("asin", double::asin, r::ASIN, 2.5),
        ("acos", double::acos, r::ACOS, 2.5),
        ("erf", double::erf, r::ERF, 1.5),
        ("erfc", double::erfc, r::ERFC, 3.5),
        ("phi", double::phi, r::PHI, 4.0),
        ("erfinv", double::erfinv, r::ERFINV, 8.0),
        ("digamma", special::digamma, r::DIGAMMA, 2000.0),
        ("i0e", |x| special::bessel_ie(0, x), r::I0E, 8.0),
        ("i1e", |x| special::bessel_ie(1, x), r::I1E, 8.0),
        ("trigamma", |x| special::polygamma(1, x), r::TRIGAMMA, 50.0),
        ("psi3", |x| special::polygamma(3, x), r::PSI3, 50.0),
        ("zeta", |q| special::zeta(2.5, q), r::ZETA2_5, 8.0),
        ("ndtri", special::ndtri, r::NDTRI, 30.0),
        ("lgamma", special::lgamma, r::LGAMMA, 200.0),
    ];
    let mut bad = String::new();
    for &(name, f, points, limit) in table {
        let (worst, at) =
            points.iter().map(|&(x, y)| (ulps64(f(x), y), x)).fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a });
        println!("{name}: {worst:.2} ulp at {at:e}");
        if worst > limit {
            bad += &format!("{name}: {worst} ulp at {at:e}: {:e}\n", f(at));
        }
    }
    assert!(bad.is_empty(), "{bad}");
}

type Row = (&'static str, fn(f32) -> f32, fn(f64) -> f64, f64);
const SINGLE: &[Row] = &[
    ("exp", single::exp, f64::exp, 1.0),
    ("exp2", single::exp2, f64::exp2, 1.0),
    ("expm1", single::expm1, f64::exp_m1, 1.5),
    ("ln", single::ln, f64::ln, 1.0),
    ("log2", single::log2, f64::log2, 0.51),
    ("log10", single::log10, f64::log10, 0.51),
    ("log1p", single::log1p, f64::ln_1p, 1.5),
    ("pow 2.7", |x| single::pow(x, 2.7), |x| x.powf(f64::from(2.7f32)), 0.51),
    ("-1.3 to the", |x| single::pow(1.3, x), |x| f64::from(1.3f32).powf(x), 0.51),
    ("tanh", single::tanh, f64::tanh, 2.3),
    ("sigmoid", single::sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 2.0),
    ("erf", single::erf, double::erf, 1.5),
    ("erfc", single::erfc, double::erfc, 4.0),
    ("phi", single::phi, double::phi, 4.0),
    ("sinh", single::sinh, f64::sinh, 0.51),
    ("cosh", single::cosh, f64::cosh, 0.51),
    ("asinh", single::asinh, f64::asinh, 0.51),
    ("acosh", single::acosh, |x| double::acosh(x), 0.51),
    ("atanh", single::atanh, |x| double::atanh(x), 0.51),
    ("atan", single::atan, f64::atan, 0.51),
    ("asin", single::asin, f64::asin, 0.51),
    ("acos", single::acos, f64::acos, 0.51),
];
const TRIG: &[Row] =
    &[("sin", single::sin, f64::sin, 0.51), ("cos", single::cos, f64::cos, 0.51), ("tan", single::tan, f64::tan, 0.51)];

fn sweep(step: usize) {
    let mut bad = String::new();
    for (rows, limit) in [(SINGLE, f32::INFINITY), (TRIG, single::TRIG_LIMIT)] {
        for &(name, f, want, bound) in rows {
            let (mut worst, mut at) = (0.0, 0.0);
            for bits in (0..=u32::MAX).step_by(step) {
                let x = f32::from_bits(bits);
                if x.abs() > limit {
                    continue;
                }
                let u = ulps32(f(x), want(f64::from(x)));
                if u > worst {
                    (worst, at) = (u, x);
                }
            }
            println!("{name}: {worst:.3} ulp at {at:e}");
            if worst > bound {
                bad += &format!("{name}: {worst} ulp at {at:e}: {:e} for {:e}\n", f(at), want(f64::from(at)));
            }
        }
    }
    assert!(bad.is_empty(), "{bad}");
}

#[test]
fn single_precision_keeps_its_bounds() {
    sweep(20_011);
}

#[test]
#[ignore = "every float: minutes"]
fn single_precision_keeps_its_bounds_everywhere() {
    sweep(1);
}

#[test]
fn edges_are_those_of_c() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    for x in [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, inf, -inf, nan, 1e-300, 1e300, -1e300, 5e-324] {
        for y in [0.0, -0.0, 1.0, -1.0, 2.0, 3.0, -3.0, 0.5, -0.5, inf, -inf, nan, 1e300, 1e-300] {
            assert!(ulps64(double::atan2(x, y), f64::atan2(x, y)) <= 1.0, "atan2({x}, {y})");
            assert_eq!(
                double::atan2(x, y).is_sign_negative() && !x.is_nan() && !y.is_nan(),
                f64::atan2(x, y).is_sign_negative() && !x.is_nan() && !y.is_nan(),
                "atan2({x}, {y})"
            );
            let (a, b) = (x as f32, y as f32);
            let want = f64::from(a).powf(f64::from(b)) as f32;
            let got = single::pow(a, b);
            assert!(
                ulps32(got, f64::from(want)) < 1.0
                    && (got.is_nan() || got.is_sign_negative() == want.is_sign_negative()),
                "pow({a}, {b}) = {got}, not {want}"
            );
            let h = single::hypot(a, b);
            assert!(ulps32(h, f64::from(a).hypot(f64::from(b))) < 1.0, "hypot({a}, {b}) = {h}");
        }
        for (name, f, want) in [
            ("tanh", double::tanh as fn(f64) -> f64, f64::tanh as fn(f64) -> f64),
            ("expm1", double::expm1, f64::exp_m1),
            ("log1p", double::log1p, f64::ln_1p),
            ("sinh", double::sinh, f64::sinh),
            ("atan", double::atan, f64::atan),
            ("ln", double::ln, f64::ln),
            ("log2", double::log2, f64::log2),
            ("exp", double::exp, f64::exp),
            ("asin", double::asin, f64::asin),
            ("cosh", double::cosh, f64::cosh),
        ] {
            let (g, w) = (f(x), want(x));
            assert!(
                ulps64(g, w) < 3.0 && (w.is_nan() || g.is_sign_negative() == w.is_sign_negative()),
                "{name}({x}) = {g}, not {w}"
            );
        }
    }
    assert_eq!(double::erfinv(1.0), inf);
    assert!(double::erfinv(1.5).is_nan() && double::erf(nan).is_nan() && single::erf(f32::NAN).is_nan());
    assert_eq!((double::erf(inf), double::erfc(inf), double::erfc(-inf)), (1.0, 0.0, 2.0));
    assert_eq!((single::erf(f32::INFINITY), single::erfc(f32::NEG_INFINITY)), (1.0, 2.0));
    assert_eq!(single::nextafter(0.0, -1.0).to_bits(), 0x8000_0001);
    assert_eq!(1.0f32.nextafter(2.0), 1.000_000_1);
    assert_eq!((-1.0f64).nextafter(0.0), -1.0 + f64::EPSILON / 2.0);
    assert_eq!(special::log_add_exp(-inf, -inf), -inf);
    assert_eq!(special::log_add_exp(inf, 1.0), inf);
    assert_eq!(special::digamma(0.0), -inf);
    assert!(special::digamma(-2.0).is_nan() && special::lgamma(-2.0) == inf);
}

#[test]
fn fmod_is_exact() {
    let mut s = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        s
    };
    macro_rules! check {
        ($t:ident, $bits:ident) => {
            for i in 0..400_000_u32 {
                let a = $t::from_bits(next() as $bits);
                // Any two numbers, numbers a few powers apart, and divisors whose multiples nearly meet the dividend.
                let b = match i % 4 {
                    0 => $t::from_bits(next() as $bits),
                    1 => a * ((next() >> 40) as $t / 16_777_216.0),
                    2 => a / ((next() >> 50) as $t),
                    _ => $t::from_bits(((a / ((next() >> 50) as $t)).to_bits() as $bits).wrapping_sub(1)),
                };
                let b = if next() % 2 == 0 { b } else { -b };
                let (got, want) = (a.fmod(b), a % b);
                assert!(
                    got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                    "{a:e} {b:e} {got:e} {want:e}"
                );
            }
            let (tiny, inf) = ($t::from_bits(1), $t::INFINITY);
            for (a, b) in [
                (0.0, 1.0),
                (-0.0, 1.0),
                (1.0, 0.0),
                (3.0, inf),
                (-3.0, -inf),
                (inf, 2.0),
                (-6.0, 3.0),
                ($t::MAX, tiny),
                (tiny, $t::MAX),
                (-3.0 * tiny, 2.0 * tiny),
                ($t::NAN, 1.0),
                (1.0, $t::NAN),
            ] {
                let (got, want) = (a.fmod(b), a % b);
                assert!(
                    got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                    "{a:e} {b:e} {got:e} {want:e}"
                );
            }
        };
    }
    check!(f32, u32);
    check!(f64, u64);
}
