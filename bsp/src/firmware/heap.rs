//! Memory for what a program needs from its start to its end.
//!
//! Programs of the training never allocate while they work. What they need once, their state and the
//! receive ring, has a size that only the data specification tells, so it is taken from a heap during
//! start-up, from the end of the statics to the record. [`seal`] ends that.

use core::alloc::Layout;
use core::cell::RefCell;
use core::fmt;
use core::mem::MaybeUninit;

use critical_section::Mutex;
use linked_list_allocator::Heap;
use s2_hal::dma::Block;

/// The heap cannot give the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is not enough of it left.
    Full {
        /// Bytes asked for.
        needed: usize,
        /// Bytes left.
        free: usize,
    },
    /// [`seal`] was called.
    Sealed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { needed, free } => {
                write!(
                    f,
                    "{needed} bytes asked for, {free} left on the start-up heap"
                )
            }
            Self::Sealed => f.write_str("the start-up heap gives nothing after start-up"),
        }
    }
}

impl core::error::Error for Error {}

struct State {
    heap: Heap,
    sealed: bool,
}

static STATE: Mutex<RefCell<State>> = Mutex::new(RefCell::new(State {
    heap: Heap::empty(),
    sealed: false,
}));

/// Gives the heap its memory.
///
/// # Safety
/// Called once, before anything else in this module.
pub(super) unsafe fn init() {
    unsafe extern "C" {
        static mut _heap_end: u8;
    }
    let start = cortex_m_rt::heap_start().cast::<u8>();
    let bytes = (&raw mut _heap_end).addr() - start.addr();
    critical_section::with(|section| {
        let mut state = STATE.borrow_ref_mut(section);
        // SAFETY: the bytes from the end of the statics to the end of their region belong to nobody else,
        // are never given back, and by the caller's promise this is done once.
        unsafe { state.heap.init(start, bytes) }
    });
}

fn allocate(layout: Layout) -> Result<*mut u8, Error> {
    critical_section::with(|section| {
        let mut state = STATE.borrow_ref_mut(section);
        if state.sealed {
            return Err(Error::Sealed);
        }
        let full = Error::Full {
            needed: layout.size(),
            free: state.heap.free(),
        };
        let memory = state.heap.allocate_first_fit(layout).map_err(|()| full)?;
        Ok(memory.as_ptr())
    })
}

/// Memory for a value, for good.
///
/// # Errors
/// [`Error`].
pub fn uninit<T>() -> Result<&'static mut MaybeUninit<T>, Error> {
    let memory = allocate(Layout::new::<T>())?.cast::<MaybeUninit<T>>();
    // SAFETY: the memory was allocated for a `T`, is never freed, and nobody else has it.
    Ok(unsafe { &mut *memory })
}

/// Zeroed memory of `blocks` times 16 bytes, for good: aligned for DMA and receive rings.
///
/// # Errors
/// [`Error`].
pub fn blocks(blocks: usize) -> Result<&'static mut [Block], Error> {
    let free = Error::Full {
        needed: usize::MAX,
        free: 0,
    };
    let memory = allocate(Layout::array::<Block>(blocks).map_err(|_| free)?)?.cast::<Block>();
    // SAFETY: the memory was allocated for so many blocks, which zeroes are valid values of; it is never
    // freed, and nobody else has it.
    Ok(unsafe {
        memory.write_bytes(0, blocks);
        core::slice::from_raw_parts_mut(memory, blocks)
    })
}

/// Ends start-up: from now on the heap gives nothing.
pub fn seal() {
    critical_section::with(|section| STATE.borrow_ref_mut(section).sealed = true);
}

/// Bytes in use.
#[must_use]
pub fn used() -> usize {
    critical_section::with(|section| STATE.borrow_ref(section).heap.used())
}
