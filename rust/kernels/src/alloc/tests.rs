//! The allocator: contents, alignment, reuse, bounds, threads, forks, sizes that no machine has.

use super::*;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counts and the cache of large blocks are the process's: tests that look at them take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A block whose first and last bytes hold a mark, so that blocks given out twice are found.
struct Block {
    ptr: NonNull<u8>,
    bytes: usize,
    mark: u8,
}
// SAFETY: a block is plain memory that one owner uses at a time.
unsafe impl Send for Block {}

impl Block {
    fn new(bytes: usize, mark: u8) -> Block {
        let ptr = allocate(bytes).unwrap();
        assert_eq!(ptr.as_ptr() as usize % ALIGN, 0);
        for at in Self::places(bytes) {
            // SAFETY: within the block.
            unsafe { ptr.add(at).write(mark) };
        }
        Block { ptr, bytes, mark }
    }

    fn places(bytes: usize) -> impl Iterator<Item = usize> {
        (0..bytes.min(16)).chain(bytes.saturating_sub(16)..bytes)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        for at in Self::places(self.bytes) {
            // SAFETY: within the block, written by `new`.
            assert_eq!(unsafe { self.ptr.add(at).read() }, self.mark, "somebody else wrote here");
        }
        // SAFETY: allocated by `new` with this size, not used again.
        unsafe { release(self.ptr, self.bytes) };
    }
}

/// A small generator of pseudo-random numbers.
struct Draws(u64);
impl Draws {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
    fn size(&mut self) -> usize {
        let most = 1 << (self.next(if cfg!(miri) { 20 } else { 25 }));
        self.next(most)
    }
}

fn churn(seed: u64, rounds: usize) {
    let mut draws = Draws(seed);
    let mut blocks: Vec<Block> = Vec::new();
    for i in 0..rounds {
        if blocks.len() > 40 || (draws.next(2) == 0 && !blocks.is_empty()) {
            let at = draws.next(blocks.len());
            blocks.swap_remove(at);
        } else {
            blocks.push(Block::new(draws.size(), (seed as usize + i) as u8));
        }
    }
}

const ROUNDS: usize = if cfg!(miri) { 60 } else { 5000 };

#[test]
fn blocks_do_not_overlap() {
    churn(0x9e37_79b9_7f4a_7c15, ROUNDS);
}

#[test]
fn threads_allocate_and_free_each_others_blocks() {
    let (send, receive) = std::sync::mpsc::sync_channel::<Block>(64);
    std::thread::scope(|s| {
        s.spawn(move || {
            for block in receive {
                drop(block);
            }
        });
        for t in 0..3_u64 {
            let send = send.clone();
            s.spawn(move || {
                let mut draws = Draws(t + 77);
                for i in 0..ROUNDS / 4 {
                    send.send(Block::new(draws.size(), i as u8)).unwrap();
                }
                churn(t + 1, ROUNDS / 4);
            });
        }
        drop(send);
    });
}

#[test]
fn a_thread_that_ends_frees_after_its_lists_are_gone() {
    thread_local! {
        static LATE: std::cell::RefCell<Vec<Block>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    for _ in 0..20 {
        std::thread::spawn(|| {
            // Made first, so destroyed in an order that the standard library does not promise.
            LATE.with(|late| late.borrow_mut().push(Block::new(100, 1)));
            drop(Block::new(100, 2));
            LATE.with(|late| late.borrow_mut().push(Block::new(1 << 20, 3)));
        })
        .join()
        .unwrap();
    }
}

#[test]
fn the_last_freed_block_comes_back() {
    let _turn = turn();
    for bytes in [1, 64, 4096, 200 << 10, 300 << 10, 3 << 20] {
        let first = Block::new(bytes, 1);
        let address = first.ptr;
        drop(first);
        let second = Block::new(bytes, 2);
        if bytes <= small::MOST {
            assert_eq!(second.ptr, address, "{bytes}");
        }
    }
}

#[test]
fn sizes_no_machine_has_are_errors() {
    for bytes in [1 << 50, usize::MAX, usize::MAX / 2, isize::MAX as usize, usize::MAX - 63] {
        assert!(matches!(allocate(bytes), Err(Error::OutOfMemory { .. })), "{bytes}");
        assert!(matches!(allocate_zeroed(bytes), Err(Error::OutOfMemory { .. })), "{bytes}");
    }
    // Many requests that each fit, but not together.
    let part =
        (crate::machine::physical_memory(std::path::Path::new("/")).map_or(1 << 33, |(ram, _)| ram) / 3) as usize;
    if !cfg!(miri) {
        let blocks: Vec<_> = (0..8).map_while(|_| allocate(part).ok()).collect();
        assert!(blocks.len() < 4);
        for block in blocks {
            // SAFETY: allocated just now, never used.
            unsafe { release(block, part) };
        }
        empty_cache();
    }
}

#[test]
fn zeroed_blocks_are_zero() {
    for bytes in [0, 1, 100, 5000, 300 << 10, 5 << 20] {
        for round in 0..3 {
            let block = allocate_zeroed(bytes).unwrap();
            // SAFETY: that many initialised bytes, ours.
            let content = unsafe { std::slice::from_raw_parts_mut(block.as_ptr(), bytes) };
            assert!(content.iter().all(|&b| b == 0), "{bytes} in round {round}");
            content.fill(7);
            // SAFETY: allocated just now, not used again.
            unsafe { release(block, bytes) };
        }
    }
}

#[test]
#[cfg_attr(miri, ignore)]
fn the_cache_is_bounded() {
    let _turn = turn();
    empty_cache();
    // Ever new sizes: without a bound 300 blocks of 8 to 16 MiB would stay.
    for i in 0..300_usize {
        drop(Block::new((8 << 20) + i * (32 << 10), 1));
    }
    let stats = memory_stats();
    assert!(stats.cached <= stats.cache_limit + (16 << 20), "{stats:?}");
    empty_cache();
}

#[test]
#[cfg_attr(miri, ignore)]
fn counts_follow() {
    let _turn = turn();
    let before = memory_stats();
    let big = Block::new(100 << 20, 1);
    let small: Vec<Block> = (0..100).map(|_| Block::new(1024, 2)).collect();
    let during = memory_stats();
    drop((big, small));
    let after = memory_stats();
    // Other tests of this process allocate meanwhile: bounds, not equalities.
    assert!(during.allocations >= before.allocations + 101, "{before:?} {during:?}");
    assert!(during.peak >= 100 << 20 && after.peak >= during.peak);
    reset_peak_memory();
    assert!(memory_stats().peak <= after.peak);
}

#[test]
#[cfg_attr(miri, ignore)]
#[cfg(unix)]
fn a_forked_child_allocates() {
    super::prepare();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                churn(5, 100);
            }
        });
        for _ in 0..20 {
            // SAFETY: the child only allocates and leaves by _exit.
            let child = unsafe { libc::fork() };
            if child == 0 {
                for bytes in [10, 1000, 1 << 19, 1 << 22] {
                    drop(Block::new(bytes, 9));
                }
                // SAFETY: ends the child at once, without running the parent's exit handlers.
                unsafe { libc::_exit(0) };
            }
            let mut status = 0;
            // SAFETY: waits for the child made above.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(status, 0);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// One body for all rivals, so that they differ in memory alone.
#[inline(never)]
fn add(a: &[f32], b: &[f32], c: *mut f32) {
    // SAFETY: the block has that many elements, of which none is read.
    let c = unsafe { std::slice::from_raw_parts_mut(c, a.len()) };
    c.iter_mut().zip(a.iter().zip(b)).for_each(|(c, (a, b))| *c = a + b);
    std::hint::black_box(c.as_mut_ptr());
}

/// Times against the system's allocator: `cargo test --release -p rustnn-kernels alloc_times -- --ignored --nocapture`.
#[test]
#[ignore = "prints times"]
fn alloc_times() {
    use std::alloc::Layout;
    use std::time::Instant;
    let per = |rounds: usize, f: &mut dyn FnMut()| -> f64 {
        let mut times: Vec<f64> = (0..7)
            .map(|_| {
                let begin = Instant::now();
                (0..rounds).for_each(|_| f());
                begin.elapsed().as_secs_f64() / rounds as f64
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[3]
    };
    println!("one block allocated and freed, ns: bytes, ours, malloc");
    for bytes in [16, 256, 4096, 60_000, 200_000, 1 << 20, 32 << 20] {
        let rounds = if bytes < 1 << 18 { 1_000_000 } else { 1000 };
        let ours = per(rounds, &mut || {
            let block = std::hint::black_box(allocate(std::hint::black_box(bytes)).unwrap());
            // SAFETY: allocated just now, not used again.
            unsafe { release(block, bytes) };
        });
        let layout = Layout::from_size_align(bytes, ALIGN).unwrap();
        // SAFETY: a non-zero size, freed at once.
        let malloc = per(rounds, &mut || unsafe {
            let block = std::hint::black_box(std::alloc::alloc(layout));
            std::alloc::dealloc(block, layout);
        });
        println!("{bytes:>10} {:8.1} {:8.1}", ours * 1e9, malloc * 1e9);
    }
    println!("c = a + b with a result per call, GB/s moved: MiB, ours reused, ours fresh, malloc");
    for mib in [1_usize, 8, 64] {
        let n = (mib << 20) / 4;
        let (a, b) = (vec![1_f32; n], vec![2_f32; n]);
        let add = |c: *mut f32| add(&a, &b, c);
        let rounds = 256 / mib;
        let speed = |t: f64| (3 * n * 4) as f64 / t / 1e9;
        let ours = |fresh: bool| {
            per(rounds, &mut || {
                let block = allocate(n * 4).unwrap();
                add(block.as_ptr().cast());
                // SAFETY: allocated just now, not used again.
                unsafe { release(block, n * 4) };
                if fresh {
                    empty_cache();
                }
            })
        };
        let (reused, fresh) = (ours(false), ours(true));
        let layout = Layout::from_size_align(n * 4, ALIGN).unwrap();
        // SAFETY: a non-zero size, freed at once.
        let malloc = per(rounds, &mut || unsafe {
            let block = std::alloc::alloc(layout);
            add(block.cast());
            std::alloc::dealloc(block, layout);
        });
        println!("{mib:>4} {:8.1} {:8.1} {:8.1}", speed(reused), speed(fresh), speed(malloc));
    }
}
