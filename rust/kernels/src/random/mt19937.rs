//! The mt19937 engine, one block of 624 words at a time so that both the twist and the tempering vectorise.

use rustnn_simd::dispatch;

/// Words of state.
pub const N: usize = 624;
const M: usize = 397;

/// State and place in it, in the terms PyTorch stores: `next` is the index of the next word, `left - 1` words remain
/// before a twist is due (a fresh seed has `next` 0 and `left` 1).
#[derive(Clone)]
pub struct Mt19937 {
    state: Box<[u32; N]>,
    /// The state's words after tempering: what is handed out.
    ready: Box<[u32; N]>,
    next: usize,
    left: usize,
}

#[inline(always)]
fn twist(u: u32, v: u32) -> u32 {
    let mixed = (u & 0x8000_0000) | (v & 0x7fff_ffff);
    (mixed >> 1) ^ ((v & 1).wrapping_neg() & 0x9908_b0df)
}

#[inline(always)]
fn temper(mut y: u32) -> u32 {
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c_5680;
    y ^= (y << 15) & 0xefc6_0000;
    y ^ (y >> 18)
}

fn temper_all(state: &[u32; N], ready: &mut [u32; N]) {
    dispatch(
        #[inline(always)]
        || {
            for (r, &s) in ready.iter_mut().zip(state) {
                *r = temper(s);
            }
        },
    );
}

impl Mt19937 {
    /// Seeded with the low 32 bits of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = Box::new([0u32; N]);
        state[0] = seed as u32;
        for i in 1..N {
            let p = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(p ^ (p >> 30)).wrapping_add(i as u32);
        }
        Mt19937 { state, ready: Box::new([0; N]), next: 0, left: 1 }
    }

    /// Continues from a stored state; `None` when it is no state of this engine.
    #[must_use]
    pub fn restore(words: &[u32], next: u64, left: i64) -> Option<Self> {
        if words.len() != N || next > N as u64 || !(1..=N as i64).contains(&left) {
            return None;
        }
        let mut state = Box::new([0u32; N]);
        state.copy_from_slice(words);
        let mut ready = Box::new([0; N]);
        temper_all(&state, &mut ready);
        Some(Mt19937 { state, ready, next: next as usize, left: left as usize })
    }

    /// Goes on as `other` would, in the memory that it has.
    pub fn take(&mut self, other: &Self) {
        self.state.copy_from_slice(&*other.state);
        self.ready.copy_from_slice(&*other.ready);
        (self.next, self.left) = (other.next, other.left);
    }

    /// A twist is due, if a change that was never finished left places that fit no state.
    pub fn mend(&mut self) {
        if self.next > N || !(1..=N + 1).contains(&self.left) {
            (self.next, self.left) = (0, 1);
        }
    }

    /// State words, `next`, `left`.
    #[must_use]
    pub fn parts(&self) -> (&[u32; N], u64, i32) {
        (&self.state, self.next as u64, self.left as i32)
    }

    fn refill(&mut self) {
        let s = &mut *self.state;
        let ready = &mut *self.ready;
        dispatch(
            #[inline(always)]
            || {
                // Two runs without a dependency closer than 227 words, so that both vectorise.
                for i in 0..N - M {
                    s[i] = s[i + M] ^ twist(s[i], s[i + 1]);
                }
                for i in N - M..N - 1 {
                    s[i] = s[i + M - N] ^ twist(s[i], s[i + 1]);
                }
                s[N - 1] = s[M - 1] ^ twist(s[N - 1], s[0]);
                for (r, &s) in ready.iter_mut().zip(s.iter()) {
                    *r = temper(s);
                }
            },
        );
        self.next = 0;
        self.left = N + 1;
    }

    /// Words that can be read without a twist.
    #[inline(always)]
    fn available(&self) -> usize {
        (self.left - 1).min(N - self.next)
    }

    /// One 32-bit draw.
    #[inline]
    pub fn draw(&mut self) -> u32 {
        if self.available() == 0 {
            self.refill();
        }
        let y = self.ready[self.next];
        self.next += 1;
        self.left -= 1;
        y
    }

    /// As many 32-bit draws as `out` has places.
    pub fn fill(&mut self, mut out: &mut [u32]) {
        while !out.is_empty() {
            if self.available() == 0 {
                self.refill();
            }
            let n = out.len().min(self.available());
            let (head, tail) = out.split_at_mut(n);
            head.copy_from_slice(&self.ready[self.next..self.next + n]);
            self.next += n;
            self.left -= n;
            out = tail;
        }
    }
}
