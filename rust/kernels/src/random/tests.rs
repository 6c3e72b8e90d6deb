//! Every distribution against hashes of what PyTorch 2.15 draws (fixtures.txt: name dtype seed n a b fnv next-draw).

use super::*;
use rustnn_base::{B8, DType, bf16, f16, with_dtype, with_float};

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

fn bytes<T: Element>(v: &[T]) -> &[u8] {
    // SAFETY: elements are plain numbers without padding.
    unsafe { std::slice::from_raw_parts(v.as_ptr().cast(), std::mem::size_of_val(v)) }
}

use rustnn_base::Element;

fn floats<T: rustnn_base::Float>(name: &str, g: &mut Generator, n: usize, a: f64, b: f64) -> Option<u64> {
    let mut v = vec![T::from_f64(0.0); n];
    let filled = |c: f64| vec![T::from_f64(c); n];
    match name {
        "uniform" => uniform(g, &mut v, a, b),
        "normal" => normal(g, &mut v, a, b),
        "normal_scalar" => normal_scalar(g, &mut v, a, b),
        "log_normal" => log_normal(g, &mut v, a, b),
        "exponential" => exponential(g, &mut v, a),
        "cauchy" => cauchy(g, &mut v, a, b),
        "poisson" => poisson(g, &mut v, &filled(a)).unwrap(),
        "binomial" => binomial(g, &mut v, &filled(a), &filled(b)),
        "dropout" => {
            let x: Vec<T> =
                (0..n).map(|i| T::from_acc(T::from_f64((i + 1) as f64).to_acc() / T::from_f64(7.0).to_acc())).collect();
            dropout(g, &x, &mut v, &mut vec![B8(0); n], a);
        }
        "bernoulli_from" => {
            let p: Vec<T> = (0..n).map(|i| T::from_f32(i as f32 / n as f32)).collect();
            bernoulli_from(g, &mut v, &p).unwrap();
        }
        "multinomial" => {
            let w: Vec<T> = (1..=a as i64).map(T::from_i64).collect();
            let mut out = vec![0i64; n];
            multinomial_replace(g, &mut out, &w, w.len(), n).unwrap();
            return Some(fnv(bytes(&out)));
        }
        _ => return None,
    }
    Some(fnv(bytes(&v)))
}

fn any<T: Element>(name: &str, g: &mut Generator, n: usize, a: f64, b: f64) -> u64 {
    let mut v = vec![T::from_i64(0); n];
    match name {
        "random_full" => random_full(g, &mut v),
        "bernoulli" => bernoulli(g, &mut v, a),
        "geometric" => geometric(g, &mut v, a),
        "randint" => randint(g, &mut v, a as i64, (b as i64).wrapping_sub(a as i64) as u64),
        "randperm" => randperm(g, &mut v),
        _ => panic!("unknown case {name}"),
    }
    fnv(bytes(&v))
}

#[test]
fn draws_are_pytorchs() {
    let mut wrong = Vec::new();
    for line in include_str!("fixtures.txt").lines() {
        let f: Vec<&str> = line.split(' ').collect();
        let (name, seed, n): (_, u64, usize) = (f[0], f[2].parse().unwrap(), f[3].parse().unwrap());
        let (a, b): (f64, f64) = (f[4].parse().unwrap(), f[5].parse().unwrap());
        let dtype = match f[1] {
            "f32" => DType::F32,
            "f64" => DType::F64,
            "f16" => DType::F16,
            "bf16" => DType::BF16,
            "i64" => DType::I64,
            "i32" => DType::I32,
            "i16" => DType::I16,
            "i8" => DType::I8,
            "u8" => DType::U8,
            _ => DType::Bool,
        };
        let mut g = Generator::new(seed);
        if name == "state" {
            normal(&mut g, &mut vec![0f64; n], 0.0, 1.0);
            let state = g.state();
            if format!("{:016x}", fnv(&state)) != f[6] {
                wrong.push(line);
            }
            let mut other = Generator::new(0);
            other.set_state(&state).unwrap();
            assert_eq!(g.random64(), other.random64());
            assert_eq!(g.next_normal, other.next_normal);
            continue;
        }
        let hash = with_float!(dtype, T => floats::<T>(name, &mut g, n, a, b), else None)
            .unwrap_or_else(|| with_dtype!(dtype, T => any::<T>(name, &mut g, n, a, b)));
        let mut next = [0i32];
        random_full(&mut g, &mut next);
        if format!("{hash:016x}") != f[6] || next[0].to_string() != f[7] {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_restored_state_continues() {
    let mut g = Generator::new(3);
    for skip in [0usize, 1, 623, 624, 1000] {
        let mut sink = vec![0u32; skip];
        g.engine.fill(&mut sink);
        let state = g.state();
        let mut h = Generator::new(9);
        h.set_state(&state).unwrap();
        assert_eq!(h.initial_seed(), 3);
        assert!((0..1500).all(|_| g.random() == h.random()));
    }
    assert!(g.set_state(&[0; 12]).is_err());
    assert!(g.set_state(&[0; STATE_BYTES]).is_err());
}

#[test]
fn small_types_also_draw() {
    let mut g = Generator::new(1);
    let mut v = [f16::from_f32(0.0); 20];
    normal(&mut g, &mut v, 0.0, 1.0);
    let mut w = [bf16::from_f32(0.0); 3];
    uniform(&mut g, &mut w, 2.0, 3.0);
    assert!(w.iter().all(|x| (2.0..=3.0).contains(&x.to_f32())));
    let p = [0.5f32, 1.5];
    assert_eq!(bernoulli_from(&mut g, &mut [0f32; 2], &p), Err(1.5));
}
