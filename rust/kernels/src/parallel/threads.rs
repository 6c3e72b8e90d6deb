//! How many threads, and why: `set_num_threads`, else `RUSTNN_NUM_THREADS`, else `OMP_NUM_THREADS`, else the CPUs
//! that the affinity mask and the control group's quota grant.

use super::pool;
use crate::forks;
use crate::machine;
use once_cell::race::OnceBox;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More threads than this are a mistake.
const MOST: usize = 1024;

/// 0 until it is first asked for.
static THREADS: AtomicUsize = AtomicUsize::new(0);
static DEFAULT: OnceBox<(usize, String)> = OnceBox::new();

/// Threads that work on one op: `set_num_threads`, else `RUSTNN_NUM_THREADS` or `OMP_NUM_THREADS`, else what the
/// machine grants. One in a forked child.
#[inline]
pub fn num_threads() -> usize {
    if forks::is_child() {
        return 1;
    }
    match THREADS.load(Ordering::Relaxed) {
        0 => first(),
        n => n,
    }
}

#[cold]
fn first() -> usize {
    forks::watch();
    let n = default().0;
    // Somebody may set a number meanwhile: theirs stays.
    match THREADS.compare_exchange(0, n, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => n,
        Err(set) => set,
    }
}

/// Sets the number of threads from now on (at least 1). Does not wait for a running job.
pub fn set_num_threads(n: usize) {
    forks::watch();
    THREADS.store(n.clamp(1, MOST), Ordering::SeqCst);
    pool::threads_changed();
}

/// Where the number of threads comes from, for `rustnn info`.
#[must_use]
pub fn threads_reason() -> String {
    let n = num_threads();
    if forks::is_child() {
        return "a forked child runs serially".into();
    }
    reason(n, default())
}

fn reason(n: usize, (default, why): &(usize, String)) -> String {
    if n == *default { why.clone() } else { format!("set_num_threads; the default was {default}: {why}") }
}

fn default() -> &'static (usize, String) {
    DEFAULT.get_or_init(|| {
        let var = |name: &str| std::env::var(name).ok();
        Box::new(decide(&var, machine::affinity(), machine::cpu_quota(Path::new("/"))))
    })
}

fn decide(var: &dyn Fn(&str) -> Option<String>, cpus: usize, quota: Option<f64>) -> (usize, String) {
    let mut ignored = String::new();
    for name in ["RUSTNN_NUM_THREADS", "OMP_NUM_THREADS"] {
        let Some(text) = var(name) else { continue };
        // OpenMP allows a list, one number per level of nesting.
        match text.split(',').next().unwrap_or("").trim().parse::<usize>() {
            Ok(n) if n > 0 => return (n.min(MOST), format!("{name}={text}{ignored}")),
            _ => ignored = format!("{ignored}; {name}={text:?} is not a positive number and was ignored"),
        }
    }
    let (n, reason) = match quota {
        // Part of a CPU more would only be throttled.
        Some(q) if (q.floor().max(1.0) as usize) < cpus => {
            (q.floor().max(1.0) as usize, format!("control group's quota of {q} CPUs, affinity mask of {cpus}"))
        }
        Some(q) => (cpus, format!("affinity mask of {cpus} CPUs, within the control group's quota of {q}")),
        None => (cpus, format!("affinity mask of {cpus} CPUs, no control group quota")),
    };
    (n.clamp(1, MOST), reason + &ignored)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(vars: &[(&str, &str)], cpus: usize, quota: Option<f64>) -> (usize, String) {
        let vars: Vec<(String, String)> = vars.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        decide(&|name| vars.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()), cpus, quota)
    }

    #[test]
    fn the_environment_comes_first() {
        assert_eq!(with(&[("RUSTNN_NUM_THREADS", "3"), ("OMP_NUM_THREADS", "5")], 8, None).0, 3);
        assert_eq!(with(&[("OMP_NUM_THREADS", "5,2")], 8, Some(1.0)).0, 5);
        let (n, why) = with(&[("RUSTNN_NUM_THREADS", "many")], 8, None);
        assert_eq!(n, 8);
        assert!(why.contains("ignored"), "{why}");
        assert_eq!(with(&[("RUSTNN_NUM_THREADS", "0"), ("OMP_NUM_THREADS", "2")], 8, None).0, 2);
        assert_eq!(with(&[("RUSTNN_NUM_THREADS", "99999999")], 8, None).0, MOST);
    }

    // Of values, not of the process: its number of threads is every other test's too.
    #[test]
    fn the_reason_names_what_decided() {
        let default = with(&[("OMP_NUM_THREADS", "5")], 8, None);
        assert_eq!(reason(5, &default), "OMP_NUM_THREADS=5");
        assert_eq!(reason(3, &default), "set_num_threads; the default was 5: OMP_NUM_THREADS=5");
    }

    #[test]
    fn quota_and_mask() {
        assert_eq!(with(&[], 8, None).0, 8);
        assert_eq!(with(&[], 8, Some(2.5)).0, 2);
        assert_eq!(with(&[], 8, Some(0.5)).0, 1);
        assert_eq!(with(&[], 2, Some(16.0)).0, 2);
    }
}
