//! Working memory that a thread keeps between calls: packed panels, padded images.

use crate::alloc::{allocate, release};
use rustnn_base::Result;
use std::cell::RefCell;
use std::ptr::NonNull;

/// Larger blocks go back to the allocator after use.
const KEEP: usize = 4 << 20;

struct Block {
    ptr: NonNull<u8>,
    bytes: usize,
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the block came from `allocate(bytes)` and nobody holds its address any more.
        unsafe { release(self.ptr, self.bytes) }
    }
}

thread_local! {
    static FREE: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` with uninitialised room for `len` values of `T`, aligned to a cache line.
pub fn with<T: Copy, R>(len: usize, f: impl FnOnce(*mut T) -> R) -> Result<R> {
    let bytes = len.saturating_mul(size_of::<T>());
    let held = FREE.with(|free| {
        let mut free = free.borrow_mut();
        let at = free.iter().position(|b| b.bytes >= bytes);
        at.map(|i| free.swap_remove(i)).or_else(|| {
            free.pop();
            None
        })
    });
    let block = match held {
        Some(block) => block,
        None => {
            let bytes = bytes.max(4096).next_multiple_of(4096);
            Block { ptr: allocate(bytes)?, bytes }
        }
    };
    let out = f(block.ptr.as_ptr().cast());
    if block.bytes <= KEEP {
        FREE.with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < 4 {
                free.push(block);
            }
        });
    }
    Ok(out)
}
