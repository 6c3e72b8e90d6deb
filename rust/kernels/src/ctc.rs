//! Connectionist temporal classification: the forward-backward recursion in log space and the gradient of the
//! log-probabilities. One sequence per task; f64 inside, so long sequences stay accurate.

use crate::parallel::{self, SendPtr};
use crate::room::{self, or_stop};
use rustnn_base::Float;

const NEG: f64 = f64::NEG_INFINITY;

#[inline(always)]
fn log_add(a: f64, b: f64) -> f64 {
    let (hi, lo) = if a > b { (a, b) } else { (b, a) };
    if hi == NEG { NEG } else { hi + (lo - hi).exp().ln_1p() }
}

/// Sizes and lengths of a CTC problem over log-probabilities `[time, batch, classes]`, contiguous.
#[derive(Clone, Copy)]
pub struct Ctc<'a> {
    pub time: usize,
    pub batch: usize,
    pub classes: usize,
    /// All labels, one sequence after another; `offsets[b]` is where the b-th begins.
    pub targets: &'a [i64],
    pub offsets: &'a [usize],
    pub input_lengths: &'a [usize],
    pub target_lengths: &'a [usize],
    pub blank: usize,
}

impl Ctc<'_> {
    /// The labels of sequence `b` with blanks between: label of state `s`.
    #[inline(always)]
    fn label(&self, b: usize, s: usize) -> usize {
        if s % 2 == 0 { self.blank } else { self.targets[self.offsets[b] + s / 2] as usize }
    }
    /// Whether state `s` may be entered from `s - 2` (over a blank, between different labels).
    #[inline(always)]
    fn skips(&self, b: usize, s: usize) -> bool {
        s % 2 == 1 && s >= 2 && self.label(b, s) != self.label(b, s - 2)
    }
    fn valid(&self, log_probs: usize) -> bool {
        log_probs == self.time * self.batch * self.classes
            && self.offsets.len() == self.batch
            && self.input_lengths.len() == self.batch
            && self.target_lengths.len() == self.batch
            && self.blank < self.classes.max(1)
            && self.input_lengths.iter().all(|&t| t <= self.time)
            && self.offsets.iter().zip(self.target_lengths).all(|(o, l)| o + l <= self.targets.len())
            && self.targets.iter().all(|&t| t >= 0 && (t as usize) < self.classes)
    }

    /// `alpha[t][s]`: log-probability of all prefixes that stand in state `s` at time `t`.
    fn alpha<T: Float>(&self, x: &[T], b: usize, a: &mut [f64]) -> f64 {
        let states = 2 * self.target_lengths[b] + 1;
        let steps = self.input_lengths[b];
        if steps == 0 {
            return if self.target_lengths[b] == 0 { 0.0 } else { NEG };
        }
        let p = |t: usize, s: usize| x[(t * self.batch + b) * self.classes + self.label(b, s)].to_f64();
        a[..states].fill(NEG);
        a[0] = p(0, 0);
        if states > 1 {
            a[1] = p(0, 1);
        }
        for t in 1..steps {
            let (prev, cur) = a[(t - 1) * states..(t + 1) * states].split_at_mut(states);
            for s in 0..states {
                let mut v = prev[s];
                if s >= 1 {
                    v = log_add(v, prev[s - 1]);
                }
                if self.skips(b, s) {
                    v = log_add(v, prev[s - 2]);
                }
                cur[s] = v + p(t, s);
            }
        }
        let last = &a[(steps - 1) * states..steps * states];
        if states > 1 { log_add(last[states - 1], last[states - 2]) } else { last[0] }
    }
}

/// Negative log-likelihood of each sequence into `loss` (infinite if no alignment exists).
pub fn ctc_loss<T: Float>(x: &[T], d: Ctc<'_>, loss: &mut [f64]) {
    if !d.valid(x.len()) || loss.len() != d.batch {
        return;
    }
    parallel::for_slices(loss, 1, |b, out| {
        let mut a = or_stop(room::filled((2 * d.target_lengths[b] + 1) * d.input_lengths[b].max(1), NEG));
        out[0] = -d.alpha(x, b, &mut a);
    });
}

/// Gradient of the log-probabilities, given that of each loss; `gx` is set everywhere. With `zero_infinity`,
/// sequences without an alignment get zeros. Like PyTorch's, the gradient is that through a log-softmax:
/// `exp(x) - posterior`, which sums to zero over the classes when `x` is normalised.
pub fn ctc_loss_backward<T: Float>(x: &[T], d: Ctc<'_>, g: &[f64], zero_infinity: bool, gx: &mut [T]) {
    if !d.valid(x.len()) || g.len() != d.batch || gx.len() != x.len() {
        return;
    }
    let out = SendPtr(gx.as_mut_ptr());
    parallel::for_chunks(d.batch, &|b| {
        let states = 2 * d.target_lengths[b] + 1;
        let steps = d.input_lengths[b];
        let mut a = or_stop(room::filled(states * steps.max(1), NEG));
        let total = d.alpha(x, b, &mut a);
        let put = |t: usize, c: usize, v: f64| {
            // SAFETY: sequence b is written by this chunk alone; the index is below time * batch * classes.
            unsafe { *out.get().add((t * d.batch + b) * d.classes + c) = T::from_f64(v) };
        };
        let row = |n: usize| or_stop(room::filled(n, NEG));
        let (mut beta, mut next) = (row(states), row(states));
        let mut sums = row(d.classes);
        for t in (0..d.time).rev() {
            if t >= steps || (total == NEG && zero_infinity) {
                (0..d.classes).for_each(|c| put(t, c, 0.0));
                continue;
            }
            let p = |s: usize| x[(t * d.batch + b) * d.classes + d.label(b, s)].to_f64();
            if t + 1 == steps {
                beta.fill(NEG);
                beta[states - 1] = p(states - 1);
                if states > 1 {
                    beta[states - 2] = p(states - 2);
                }
            } else {
                std::mem::swap(&mut beta, &mut next);
                for s in 0..states {
                    let mut v = next[s];
                    if s + 1 < states {
                        v = log_add(v, next[s + 1]);
                    }
                    if s + 2 < states && d.skips(b, s + 2) {
                        v = log_add(v, next[s + 2]);
                    }
                    beta[s] = v + p(s);
                }
            }
            sums.fill(NEG);
            for s in 0..states {
                let c = d.label(b, s);
                sums[c] = log_add(sums[c], a[t * states + s] + beta[s]);
            }
            for (c, &s) in sums.iter().enumerate() {
                let lp = x[(t * d.batch + b) * d.classes + c].to_f64();
                // alpha and beta both hold p(t, s): one is taken off.
                let posterior = if s == NEG { 0.0 } else { (s - lp - total).exp() };
                put(t, c, g[b] * (lp.exp() - posterior));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testutil::{near, noise};

    /// All alignments enumerated.
    fn naive(x: &[f64], d: &Ctc<'_>, b: usize) -> f64 {
        let want: Vec<i64> = d.targets[d.offsets[b]..][..d.target_lengths[b]].to_vec();
        let steps = d.input_lengths[b];
        let mut total = 0.0;
        for code in 0..d.classes.pow(steps as u32) {
            let path: Vec<usize> = (0..steps).map(|t| code / d.classes.pow(t as u32) % d.classes).collect();
            let mut seen: Vec<i64> = vec![];
            for (i, &c) in path.iter().enumerate() {
                if c != d.blank && (i == 0 || path[i - 1] != c) {
                    seen.push(c as i64);
                }
            }
            if seen == want {
                total += path.iter().enumerate().map(|(t, &c)| x[(t * d.batch + b) * d.classes + c]).sum::<f64>().exp();
            }
        }
        -total.ln()
    }

    fn log_softmax(z: &[f64], classes: usize) -> Vec<f64> {
        z.chunks(classes)
            .flat_map(|r| {
                let s = r.iter().map(|v| v.exp()).sum::<f64>().ln();
                r.iter().map(move |v| v - s).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn matches_enumeration() {
        let d = Ctc {
            time: 5,
            batch: 3,
            classes: 3,
            targets: &[1, 1, 2, 1],
            offsets: &[0, 3, 4],
            input_lengths: &[5, 4, 2],
            target_lengths: &[3, 1, 0],
            blank: 0,
        };
        let z = noise(d.time * d.batch * d.classes, 5);
        let x = log_softmax(&z, d.classes);
        let mut loss = vec![0.0; 3];
        ctc_loss(&x, d, &mut loss);
        near(&loss, &(0..3).map(|b| naive(&x, &d, b)).collect::<Vec<_>>(), 1e-12);
        let g = [1.0, -0.5, 2.0];
        let mut gx = vec![9.0; x.len()];
        ctc_loss_backward(&x, d, &g, false, &mut gx);
        let f = |z: &[f64]| {
            let x = log_softmax(z, d.classes);
            (0..3).map(|b| g[b] * naive(&x, &d, b)).sum::<f64>()
        };
        // Through log_softmax: gz = gx - softmax * sum(gx), and sum(gx) is 0.
        let want: Vec<f64> = (0..z.len())
            .map(|i| {
                let (mut u, mut v) = (z.clone(), z.clone());
                u[i] += 1e-5;
                v[i] -= 1e-5;
                (f(&u) - f(&v)) / 2e-5
            })
            .collect();
        near(&gx, &want, 1e-8);
    }

    #[test]
    fn impossible_alignment() {
        let d = Ctc {
            time: 2,
            batch: 1,
            classes: 3,
            targets: &[1, 1],
            offsets: &[0],
            input_lengths: &[2],
            target_lengths: &[2],
            blank: 0,
        };
        let x = log_softmax(&noise(6, 1), 3);
        let mut loss = vec![0.0];
        ctc_loss(&x, d, &mut loss);
        assert_eq!(loss[0], f64::INFINITY);
        let mut gx = vec![1.0; 6];
        ctc_loss_backward(&x, d, &[1.0], true, &mut gx);
        assert!(gx.iter().all(|&v| v == 0.0));
    }
}
