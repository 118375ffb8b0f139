//! Layout of a program's memory: regions one after another, each aligned for DMA.

use core::marker::PhantomData;

use bytemuck::Pod;

use super::Fault;

/// Alignment of every region, in bytes: what the chip's DMA asks for.
pub const ALIGNMENT: usize = 16;

/// A region of a program's memory: `len` values of type `T`.
#[derive(Debug, PartialEq, Eq)]
pub struct Region<T> {
    /// Bytes from the start of the program's memory.
    pub offset: usize,
    /// Number of values.
    pub len: usize,
    /// Words of memory that the values and the padding behind them take.
    words: usize,
    of: PhantomData<T>,
}

impl<T> Clone for Region<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Region<T> {}

impl<T> Region<T> {
    /// No values.
    pub(crate) const EMPTY: Self = Self {
        offset: 0,
        len: 0,
        words: 0,
        of: PhantomData,
    };

    /// The first values, at most so many, but one at least.
    #[must_use]
    pub fn front(self, len: usize) -> Self {
        Self {
            len: self.len.min(len.max(1)),
            ..self
        }
    }

    /// Bytes that the values take.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }

    /// Bytes that the values take with the padding behind them: what a DMA transfer moves.
    #[must_use]
    pub const fn padded_bytes(&self) -> usize {
        self.words * size_of::<u64>()
    }
}

/// Places regions one after another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    end: usize,
}

impl Plan {
    /// An empty memory.
    #[must_use]
    pub const fn new() -> Self {
        Self { end: 0 }
    }

    /// Places a region of `len` values behind all others.
    #[inline]
    pub fn region<T: Pod>(&mut self, len: usize) -> Region<T> {
        let (offset, words) = self.place(len, size_of::<T>());
        Region {
            offset,
            len,
            words,
            of: PhantomData,
        }
    }

    /// Place and words of `len` values of `size` bytes behind all others.
    #[inline(never)]
    fn place(&mut self, len: usize, size: usize) -> (usize, usize) {
        let offset = self.end;
        let bytes = (len * size).next_multiple_of(ALIGNMENT);
        self.end += bytes;
        (offset, bytes / size_of::<u64>())
    }

    /// Bytes of all regions.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.end
    }
}

/// Hands out the regions of a plan as slices, in the order in which they were placed.
#[derive(Debug, Default)]
pub(crate) struct Cut<'m> {
    rest: &'m mut [u64],
    #[cfg(debug_assertions)]
    at: usize,
}

impl<'m> Cut<'m> {
    #[inline]
    pub(crate) fn new(memory: &'m mut [u64]) -> Self {
        Self {
            rest: memory,
            #[cfg(debug_assertions)]
            at: 0,
        }
    }

    /// The next region; panics if the memory is too short for it, and in debug builds if it is not the
    /// next. (Programs divide their memory each time that they wake, so this has to be quick.)
    #[inline(always)]
    pub(crate) fn take<T: Pod>(&mut self, region: Region<T>) -> &'m mut [T] {
        #[cfg(debug_assertions)]
        {
            assert!(region.offset == self.at, "regions are taken in their order");
            self.at += region.padded_bytes();
        }
        &mut bytemuck::cast_slice_mut(self.words(region.words))[..region.len]
    }

    /// The next `words` words.
    #[cfg_attr(target_arch = "arm", inline(never))]
    #[cfg_attr(not(target_arch = "arm"), inline(always))]
    fn words(&mut self, words: usize) -> &'m mut [u64] {
        let (head, tail) = core::mem::take(&mut self.rest).split_at_mut(words);
        self.rest = tail;
        head
    }
}

/// Checks that `memory` holds `bytes`.
pub(crate) fn check(memory: &[u64], bytes: usize) -> Result<(), Fault> {
    let available = size_of_val(memory);
    if available < bytes {
        return Err(Fault::MemoryTooSmall {
            needed: bytes,
            available,
        });
    }
    Ok(())
}
