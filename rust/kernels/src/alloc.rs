//! Memory for tensors and scratch, kept for reuse: a page touched for the first time costs more than the arithmetic
//! on it (64 MiB: 26 to 39 ms in 4 KiB pages, 6 ms in huge ones, 3 ms reused).
//!
//! Sizes are rounded up to classes 2^k·{1, 1.25, 1.5, 1.75}. Blocks below 256 KiB are kept in lists of the thread
//! that frees them, without any lock; larger ones are own mappings, on huge pages where they are big
//! enough, kept in one bounded cache. A request that the machine cannot satisfy is an error, also where
//! the kernel would promise the memory and kill the process on use.

mod large;
mod small;
mod stats;

use rustnn_base::{Error, Result};
use std::ptr::NonNull;

pub use stats::{MemoryStats, memory_stats, reset_peak_memory, thread_bytes};

/// Every block starts at a multiple of this.
pub const ALIGN: usize = 64;

/// `bytes` uninitialised bytes, aligned to [`ALIGN`].
#[inline]
pub fn allocate(bytes: usize) -> Result<NonNull<u8>> {
    let block = if bytes <= small::MOST { small::allocate(bytes) } else { large::allocate(bytes).map(|(p, _)| p) };
    block.ok_or_else(|| Error::out_of_memory(bytes as u64))
}

/// `bytes` zeroed bytes, aligned to [`ALIGN`]; large fresh blocks come zeroed from the kernel and are not touched.
pub fn allocate_zeroed(bytes: usize) -> Result<NonNull<u8>> {
    let found = if bytes <= small::MOST { small::allocate(bytes).map(|p| (p, false)) } else { large::allocate(bytes) };
    let (block, zeroed) = found.ok_or_else(|| Error::out_of_memory(bytes as u64))?;
    if !zeroed {
        // SAFETY: the block has at least `bytes` bytes.
        unsafe { block.as_ptr().write_bytes(0, bytes) };
    }
    Ok(block)
}

/// Gives back a block of [`allocate`] or [`allocate_zeroed`]; any thread may.
///
/// # Safety
/// `ptr` came from `allocate(bytes)` with the same `bytes` and is not used again.
#[inline]
pub unsafe fn release(ptr: NonNull<u8>, bytes: usize) {
    if bytes <= small::MOST {
        // SAFETY: this function's own contract.
        unsafe { small::release(ptr, bytes) }
    } else {
        // SAFETY: this function's own contract.
        unsafe { large::release(ptr, bytes) }
    }
}

/// Does now what the first large allocation would do once: a process that forks while another thread is doing it leaves
/// its child waiting for ever.
pub fn prepare() {
    large::prepare();
}

/// Whether memory of that size could be had from elsewhere (a vector, a library): what is beyond the machine's memory,
/// or large and not free now, is not, even if the system would promise it.
pub(crate) fn can_have(bytes: usize) -> bool {
    large::can_have(bytes)
}

/// Gives the blocks kept for reuse back to the system: all large ones, and the calling thread's small ones.
pub fn empty_cache() {
    small::empty();
    large::empty();
}

#[cfg(test)]
mod tests;
