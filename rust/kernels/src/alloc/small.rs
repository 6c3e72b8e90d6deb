//! Blocks below 256 KiB: per thread and size class a list of free blocks, linked through their own first bytes.
//! Fresh ones come from, and surplus ones go to, the system's allocator, so a block may be freed on any thread.

use super::{ALIGN, stats};
use std::alloc::Layout;
use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;

/// Requests up to this size are small.
pub(super) const MOST: usize = 224 << 10;
/// 64, 128, 192 and then four classes from each power of two, 256 to 128 Ki.
const CLASSES: usize = 3 + 4 * 10;
/// Bytes that a thread keeps in one class.
const PER_CLASS: usize = 1 << 20;
/// Bytes after which a thread hands in its counts.
const HAND_IN: isize = 256 << 10;

/// Number of the class that holds `bytes` (at most [`MOST`]).
#[inline(always)]
fn class_of(bytes: usize) -> usize {
    if bytes <= 256 {
        return bytes.saturating_sub(1) / 64;
    }
    // bytes - 1 has its top bit at `log`; the two bits below choose the quarter.
    let x = bytes - 1;
    let log = x.ilog2() as usize;
    3 + (log - 8) * 4 + ((x >> (log - 2)) & 3) + 1
}

/// Bytes of a block of that class.
#[inline(always)]
fn size_of_class(class: usize) -> usize {
    if class < 3 { (class + 1) * 64 } else { (4 + ((class - 3) & 3)) << (6 + ((class - 3) >> 2)) }
}

#[inline(always)]
fn layout(class: usize) -> Layout {
    // SAFETY: the alignment is a power of two, and no class's size comes near isize::MAX.
    unsafe { Layout::from_size_align_unchecked(size_of_class(class), ALIGN) }
}

#[derive(Clone, Copy)]
struct List {
    head: *mut u8,
    len: u32,
    most: u32,
}

struct Local {
    lists: UnsafeCell<[List; CLASSES]>,
    /// Bytes in use that this thread has not handed in yet, and counts likewise.
    bytes: Cell<isize>,
    allocations: Cell<u64>,
    fresh: Cell<u64>,
}

impl Local {
    const fn new() -> Local {
        let mut lists = [List { head: std::ptr::null_mut(), len: 0, most: 4 }; CLASSES];
        let mut class = 0;
        while class < CLASSES {
            let size = if class < 3 { (class + 1) * 64 } else { (4 + ((class - 3) & 3)) << (6 + ((class - 3) >> 2)) };
            lists[class].most = (PER_CLASS / size) as u32;
            class += 1;
        }
        Local { lists: UnsafeCell::new(lists), bytes: Cell::new(0), allocations: Cell::new(0), fresh: Cell::new(0) }
    }

    #[inline(always)]
    fn take(&self, class: usize) -> Option<NonNull<u8>> {
        let size = size_of_class(class);
        self.allocations.set(self.allocations.get() + 1);
        self.count(size as isize);
        // SAFETY: the lists belong to this thread, and nothing below comes back to them while the borrow lives.
        let list = unsafe { &mut (*self.lists.get())[class] };
        let Some(block) = NonNull::new(list.head) else { return self.take_fresh(class) };
        // SAFETY: a listed block is ours and begins with the address of the next one.
        list.head = unsafe { block.cast::<*mut u8>().read() };
        list.len -= 1;
        Some(block)
    }

    #[cold]
    #[inline(never)]
    fn take_fresh(&self, class: usize) -> Option<NonNull<u8>> {
        let block = fresh(class);
        match block {
            Some(_) => self.fresh.set(self.fresh.get() + 1),
            None => self.bytes.set(self.bytes.get() - size_of_class(class) as isize),
        }
        block
    }

    /// Bytes in the lists.
    fn cached(&self) -> usize {
        // SAFETY: as in `take`.
        let lists = unsafe { &*self.lists.get() };
        lists.iter().enumerate().map(|(class, list)| list.len as usize * size_of_class(class)).sum()
    }

    /// # Safety
    /// The block is one of that class and nobody uses it any more.
    #[inline(always)]
    unsafe fn put(&self, block: NonNull<u8>, class: usize) {
        let size = size_of_class(class);
        self.count(-(size as isize));
        // SAFETY: as in `take`.
        let list = unsafe { &mut (*self.lists.get())[class] };
        if list.len >= list.most {
            // SAFETY: blocks of a class were made with its layout.
            return unsafe { std::alloc::dealloc(block.as_ptr(), layout(class)) };
        }
        // SAFETY: the block is ours, at least 64 bytes, aligned.
        unsafe { block.cast::<*mut u8>().write(list.head) };
        list.head = block.as_ptr();
        list.len += 1;
    }

    #[inline(always)]
    fn count(&self, bytes: isize) {
        let sum = self.bytes.get() + bytes;
        self.bytes.set(sum);
        if sum.unsigned_abs() >= HAND_IN as usize {
            self.hand_in();
        }
    }

    #[cold]
    #[inline(never)]
    fn hand_in(&self) {
        let bytes = self.bytes.replace(0);
        stats::add(bytes, bytes, self.allocations.replace(0), self.fresh.replace(0));
    }

    fn empty(&self) {
        for class in 0..CLASSES {
            // SAFETY: as in `take`.
            let list = unsafe { &mut (*self.lists.get())[class] };
            while let Some(block) = NonNull::new(list.head) {
                // SAFETY: as in `take`; the block leaves the list before it is freed.
                unsafe {
                    list.head = block.cast::<*mut u8>().read();
                    std::alloc::dealloc(block.as_ptr(), layout(class));
                }
            }
            list.len = 0;
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.empty();
        self.hand_in();
    }
}

thread_local! {
    static LOCAL: Local = const { Local::new() };
}

fn fresh(class: usize) -> Option<NonNull<u8>> {
    // SAFETY: no class's size is zero.
    NonNull::new(unsafe { std::alloc::alloc(layout(class)) })
}

#[inline]
pub(super) fn allocate(bytes: usize) -> Option<NonNull<u8>> {
    let class = class_of(bytes);
    // While a thread ends, after its lists are gone, blocks come straight from the system.
    LOCAL.try_with(|local| local.take(class)).unwrap_or_else(|_| {
        let size = size_of_class(class) as isize;
        stats::add(size, size, 1, 1);
        fresh(class)
    })
}

/// # Safety
/// The block came from `allocate(bytes)` and is not used again.
#[inline]
pub(super) unsafe fn release(block: NonNull<u8>, bytes: usize) {
    let class = class_of(bytes);
    // SAFETY: this function's own contract; blocks of a class were made with its layout.
    if LOCAL.try_with(|local| unsafe { local.put(block, class) }).is_err() {
        let size = size_of_class(class) as isize;
        stats::add(-size, -size, 0, 0);
        // SAFETY: as above.
        unsafe { std::alloc::dealloc(block.as_ptr(), layout(class)) }
    }
}

/// Frees the calling thread's lists.
pub(super) fn empty() {
    let _ = LOCAL.try_with(Local::empty);
}

/// Hands in the calling thread's counts; the bytes in its lists.
pub(super) fn hand_in() -> usize {
    LOCAL
        .try_with(|local| {
            local.hand_in();
            local.cached()
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_their_sizes_with_little_waste() {
        let step = if cfg!(miri) { 997 } else { 1 };
        for bytes in (0..=MOST).step_by(step) {
            let class = class_of(bytes);
            let size = size_of_class(class);
            assert!(class < CLASSES && size >= bytes && size % ALIGN == 0, "{bytes}");
            assert!(class == 0 || size_of_class(class - 1) < bytes, "{bytes} fits a smaller class");
            assert!(bytes <= 256 || size <= bytes + bytes / 4, "{bytes} -> {size}");
        }
        assert_eq!(class_of(MOST), CLASSES - 1);
    }
}
