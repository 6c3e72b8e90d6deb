//! The pool under stress: every chunk once, nested, from many threads, panics, changing thread counts, forks.

use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const REPEAT: usize = if cfg!(miri) { 5 } else { 2000 };

/// The thread count is the process's: tests that set it take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn counts(chunks: usize) -> Vec<usize> {
    let seen: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
    for_chunks(chunks, &|i| {
        seen[i].fetch_add(1, Ordering::Relaxed);
    });
    seen.into_iter().map(AtomicUsize::into_inner).collect()
}

#[test]
fn every_chunk_once() {
    let _turn = turn();
    for threads in [1, 2, 4, 7] {
        set_num_threads(threads);
        for round in 0..REPEAT {
            let chunks = round % 67;
            assert_eq!(counts(chunks), vec![1; chunks], "{threads} threads");
        }
    }
}

#[test]
fn writes_of_chunks_are_seen_by_the_caller() {
    let _turn = turn();
    set_num_threads(4);
    let mut x = vec![0_u64; 1000];
    for round in 0..(REPEAT as u64) {
        for_slices(&mut x, 64, |start, piece| {
            for (i, v) in piece.iter_mut().enumerate() {
                *v += (start + i) as u64 ^ round;
            }
        });
        if round % 100 == 0 || cfg!(miri) {
            let expected: Vec<u64> = (0..1000).map(|i| (0..=round).map(|r| i ^ r).sum()).collect();
            assert_eq!(x, expected);
        }
    }
}

#[test]
fn ranges_cover_without_overlap() {
    let _turn = turn();
    set_num_threads(3);
    for (n, grain) in [(0, 4), (1, 4), (4, 4), (5, 4), (1000, 1), (7, 0), (10, usize::MAX)] {
        let seen: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
        for_range(n, grain, |r| {
            assert!(!r.is_empty() && r.len() <= grain.max(1));
            for i in r {
                seen[i].fetch_add(1, Ordering::Relaxed);
            }
        });
        assert!(seen.iter().all(|s| s.load(Ordering::Relaxed) == 1), "{n} {grain}");
    }
}

#[test]
#[cfg_attr(miri, ignore)]
fn more_chunks_than_the_word_counts() {
    let _turn = turn();
    set_num_threads(2);
    let (chunks, sum) = ((1_usize << 25) + 3, AtomicUsize::new(0));
    for_chunks(chunks, &|i| {
        sum.fetch_add(i, Ordering::Relaxed);
    });
    assert_eq!(sum.into_inner(), chunks * (chunks - 1) / 2);
}

#[test]
#[cfg_attr(miri, ignore)]
fn a_second_thread_joins_in() {
    let _turn = turn();
    set_num_threads(2);
    let begin = Instant::now();
    loop {
        let ids = Mutex::new(std::collections::HashSet::new());
        for_chunks(64, &|_| {
            std::thread::sleep(Duration::from_micros(200));
            ids.lock().unwrap().insert(std::thread::current().id());
        });
        if ids.into_inner().unwrap().len() == 2 {
            break;
        }
        // Only if other tests of this process keep the pool taken.
        assert!(begin.elapsed() < Duration::from_secs(60), "no worker ever came");
    }
}

#[test]
fn nested_calls_run_to_the_end() {
    let _turn = turn();
    set_num_threads(4);
    for _ in 0..REPEAT / 10 + 1 {
        let total = AtomicUsize::new(0);
        for_chunks(9, &|_| {
            for_chunks(7, &|_| {
                for_chunks(3, &|_| {
                    total.fetch_add(1, Ordering::Relaxed);
                });
            });
        });
        assert_eq!(total.into_inner(), 9 * 7 * 3);
    }
}

#[test]
fn callers_from_many_threads() {
    let _turn = turn();
    set_num_threads(3);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for round in 0..REPEAT / 4 + 1 {
                    assert_eq!(counts(round % 13), vec![1; round % 13]);
                }
            });
        }
    });
}

#[test]
fn thread_counts_change_while_jobs_run() {
    let _turn = turn();
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                set_num_threads(n % 6);
                std::thread::yield_now();
            }
        });
        for round in 0..REPEAT {
            assert_eq!(counts(round % 31), vec![1; round % 31]);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_panic_reaches_the_caller() {
    let _turn = turn();
    std::panic::set_hook(Box::new(|_| {}));
    for threads in [1, 2, 4] {
        set_num_threads(threads);
        for round in 0..REPEAT / 10 + 1 {
            let bad = round % 16;
            let result = catch_unwind(AssertUnwindSafe(|| {
                for_chunks(16, &|i| {
                    // Also from a nested call, and from several chunks.
                    for_chunks(2, &|j| assert!(i < bad || j == 0, "chunk {i} fails"));
                });
            }));
            let payload = result.unwrap_err();
            let text = payload.downcast_ref::<String>().unwrap();
            assert!(text.starts_with("chunk ") && text.ends_with(" fails"), "{text}");
            assert_eq!(counts(20), vec![1; 20], "the pool works on");
        }
    }
    drop(std::panic::take_hook());
}

#[test]
#[cfg_attr(miri, ignore)]
fn jobs_after_sleep() {
    let _turn = turn();
    set_num_threads(2);
    // Around the spinning time, where sleeping and waking race.
    for round in 0..REPEAT {
        let begin = Instant::now();
        let pause = Duration::from_nanos(40_000 + (round as u64 * 37) % 30_000);
        while begin.elapsed() < pause {
            std::hint::spin_loop();
        }
        assert_eq!(counts(5), vec![1; 5]);
    }
}

#[test]
#[cfg_attr(miri, ignore)]
#[cfg(unix)]
fn a_forked_child_runs_serially() {
    let _turn = turn();
    set_num_threads(4);
    assert_eq!(counts(50), vec![1; 50]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        // Jobs go on in the parent while it forks.
        s.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                counts(10);
            }
        });
        for _ in 0..20 {
            // SAFETY: the child runs the pool's serial way and leaves by _exit.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let sum = AtomicUsize::new(0);
                for_chunks(100, &|i| {
                    sum.fetch_add(i, Ordering::Relaxed);
                });
                set_num_threads(8);
                let fine = sum.into_inner() == 4950 && num_threads() == 1;
                // SAFETY: ends the child at once, without running the parent's exit handlers.
                unsafe { libc::_exit(i32::from(!fine)) };
            }
            let mut status = 0;
            // SAFETY: waits for the child made above.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(status, 0);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// Times of the pool itself: `cargo test --release -p rustnn-kernels pool_times -- --ignored --nocapture`.
#[test]
#[ignore = "prints times"]
fn pool_times() {
    let _turn = turn();
    set_num_threads(2);
    let mut busy_work = vec![0_f32; 1 << 16];
    for (what, gap) in [("back to back", 0), ("after 30 µs", 30), ("after 200 µs (asleep)", 200)] {
        let mut times: Vec<f64> = (0..2000)
            .map(|_| {
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_micros(gap) {
                    std::hint::spin_loop();
                }
                let begin = Instant::now();
                for_chunks(2, &|_| {});
                begin.elapsed().as_secs_f64() * 1e6
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("empty job of 2 chunks, {what}: median {:.2} µs, p99 {:.2} µs", times[1000], times[1980]);
    }
    for threads in [1, 2] {
        set_num_threads(threads);
        let mut times: Vec<f64> = (0..500)
            .map(|_| {
                let begin = Instant::now();
                for_slices(&mut busy_work, 1 << 11, |_, piece| {
                    for _ in 0..40 {
                        piece.iter_mut().for_each(|v| *v = v.mul_add(0.5, 1.0));
                    }
                });
                begin.elapsed().as_secs_f64() * 1e6
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("32 chunks on {threads} threads: median {:.1} µs, p99 {:.1}", times[250], times[495]);
    }
}

/// What neighbours cost: `cargo test --release -p rustnn-kernels neighbour_times -- --ignored --nocapture`, alone and
/// beside busy processes.
#[test]
#[ignore = "prints times"]
fn neighbour_times() {
    let _turn = turn();
    let mut x = vec![0_f32; 1 << 15];
    for threads in [1, 2] {
        set_num_threads(threads);
        for (what, repeat) in [("short", 8), ("long", 200)] {
            let begin = Instant::now();
            let mut times = Vec::new();
            while begin.elapsed() < Duration::from_secs(3) {
                let begin = Instant::now();
                for_slices(&mut x, 1 << 10, |_, piece| {
                    for _ in 0..repeat {
                        piece.iter_mut().for_each(|v| *v = (*v + 1.0).sqrt());
                    }
                });
                times.push(begin.elapsed().as_secs_f64() * 1e6);
            }
            let mean = times.iter().sum::<f64>() / times.len() as f64;
            times.sort_by(f64::total_cmp);
            let at = |q: f64| times[(q * times.len() as f64) as usize];
            println!(
                "{what} job in 32 chunks, {threads} threads: mean {mean:.0} µs, median {:.0}, p99 {:.0}",
                at(0.5),
                at(0.99)
            );
        }
    }
}
