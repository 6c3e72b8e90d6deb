//! Random numbers, bit for bit PyTorch's on its CPU: one mt19937 per [`Generator`], each distribution drawing in the
//! same order by the same formula. Always serial: the stream is the order of the elements in memory.

mod discrete;
mod gamma;
mod mt19937;
mod normal;
mod uniform;

pub use discrete::{BadWeights, binomial, multinomial_replace, poisson, randint, random_full, random_ints, randperm};
pub use gamma::{beta_slope, gamma_slope, standard_gamma, standard_gamma_wide};
pub use mt19937::Mt19937;
pub use normal::{log_normal, normal, normal_scalar};
pub use uniform::{
    bernoulli, bernoulli_from, cauchy, dropout, exponential, feature_dropout, geometric, masked_scale, uniform,
    uniform_double,
};

use crate::forks::Mend;
use rustnn_base::{Result, runtime_error};

/// The seed of a generator that nobody seeded.
pub const DEFAULT_SEED: u64 = 67_280_421_310_721;
/// Bytes of [`Generator::state`].
pub const STATE_BYTES: usize = 5056;
const LEGACY_BYTES: usize = 5048;

/// A stream of random numbers.
#[derive(Clone)]
pub struct Generator {
    pub(crate) engine: Mt19937,
    seed: u64,
    /// The second of a pair of normals, kept for the next call of the scalar way.
    pub(crate) next_normal: Option<f64>,
    next_float_normal: Option<f32>,
}

impl Default for Generator {
    fn default() -> Self {
        Generator::new(DEFAULT_SEED)
    }
}

impl Generator {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Generator { engine: Mt19937::new(seed), seed, next_normal: None, next_float_normal: None }
    }

    /// Starts over from `seed`.
    pub fn manual_seed(&mut self, seed: u64) {
        self.take(&Generator::new(seed));
    }

    /// Goes on as `other` would. Every word is written where it stands, as [`Mend`] asks.
    fn take(&mut self, other: &Generator) {
        self.engine.take(&other.engine);
        self.seed = other.seed;
        self.next_normal = other.next_normal;
        self.next_float_normal = other.next_float_normal;
    }

    /// The seed it was last given.
    #[must_use]
    pub fn initial_seed(&self) -> u64 {
        self.seed
    }

    /// One 32-bit draw.
    #[inline]
    pub fn random(&mut self) -> u32 {
        self.engine.draw()
    }

    /// One 64-bit draw: the first 32-bit draw is the high half.
    #[inline]
    pub fn random64(&mut self) -> u64 {
        let high = self.engine.draw();
        u64::from(high) << 32 | u64::from(self.engine.draw())
    }

    /// One double in [0, 1) of 53 bits.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        unit53(self.random64())
    }

    /// The state in PyTorch's byte layout, so that it travels between the two libraries.
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(STATE_BYTES);
        let (words, next, left) = self.engine.parts();
        out.extend_from_slice(&self.seed.to_le_bytes());
        out.extend_from_slice(&left.to_le_bytes());
        out.extend_from_slice(&1i32.to_le_bytes());
        out.extend_from_slice(&next.to_le_bytes());
        for &w in words.iter() {
            out.extend_from_slice(&u64::from(w).to_le_bytes());
        }
        out.extend_from_slice(&0f64.to_le_bytes());
        out.extend_from_slice(&self.next_normal.unwrap_or(0.0).to_le_bytes());
        out.extend_from_slice(&0f64.to_le_bytes());
        out.extend_from_slice(&i32::from(self.next_normal.is_some()).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.next_float_normal.unwrap_or(0.0).to_le_bytes());
        out.push(u8::from(self.next_float_normal.is_some()));
        out.resize(STATE_BYTES, 0);
        out
    }

    /// Continues from what [`Generator::state`] (or PyTorch's) gave.
    pub fn set_state(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() != STATE_BYTES && bytes.len() != LEGACY_BYTES {
            return Err(runtime_error!(
                "Expected either a CPUGeneratorImplStateLegacy of size {LEGACY_BYTES} or a CPUGeneratorImplState of size {STATE_BYTES} but found the input RNG state size to be {}",
                bytes.len()
            ));
        }
        let u64_at = |i: usize| u64::from_le_bytes(std::array::from_fn(|j| bytes[i + j]));
        let i32_at = |i: usize| i32::from_le_bytes(std::array::from_fn(|j| bytes[i + j]));
        let f64_at = |i: usize| f64::from_bits(u64_at(i));
        let words: Vec<u32> = (0..mt19937::N).map(|i| u64_at(24 + 8 * i) as u32).collect();
        let tail = 24 + 8 * mt19937::N;
        let engine = Mt19937::restore(&words, u64_at(16), i64::from(i32_at(8)))
            .filter(|_| i32_at(12) != 0)
            .ok_or_else(|| runtime_error!("Invalid mt19937 state"))?;
        let valid = i32_at(tail + 24) != 0;
        let next_normal = valid.then(|| {
            if bytes.len() == LEGACY_BYTES {
                f64_at(tail + 16) * (2.0 * std::f64::consts::PI * f64_at(tail)).sin()
            } else {
                f64_at(tail + 8)
            }
        });
        let float_valid = bytes.len() == STATE_BYTES && bytes[tail + 36] != 0;
        let float = float_valid.then(|| f32::from_bits(i32_at(tail + 32) as u32));
        self.take(&Generator { engine, seed: u64_at(0), next_normal, next_float_normal: float });
        Ok(())
    }

    /// Calls `f(start, draws)` on consecutive runs of 32-bit draws, `per` of them for each of `n` elements.
    pub(crate) fn in_blocks(&mut self, n: usize, per: usize, mut f: impl FnMut(usize, &[u32])) {
        let mut buf = [0u32; 2048];
        let step = buf.len() / per;
        let mut start = 0;
        while start < n {
            let len = step.min(n - start);
            let draws = &mut buf[..len * per];
            self.engine.fill(draws);
            f(start, draws);
            start += len;
        }
    }
}

// SAFETY: every method writes words and places where they stand; the engine's boxes are never replaced.
unsafe impl Mend for Generator {
    fn mend(&mut self) {
        self.engine.mend();
    }
}

/// 53 bits of a 64-bit draw as a double in [0, 1).
#[inline(always)]
pub(crate) fn unit53(draw: u64) -> f64 {
    (draw & ((1 << 53) - 1)) as i64 as f64 * (1.0 / (1u64 << 53) as f64)
}

/// 24 bits of a draw as a float in [0, 1).
#[inline(always)]
pub(crate) fn unit24(draw: u32) -> f32 {
    (draw & 0x00ff_ffff) as i32 as f32 * (1.0 / 16_777_216.0)
}

/// Two consecutive draws as one of 64 bits.
#[inline(always)]
pub(crate) fn pair(draws: &[u32], i: usize) -> u64 {
    u64::from(draws[2 * i]) << 32 | u64::from(draws[2 * i + 1])
}

#[cfg(test)]
mod tests;
