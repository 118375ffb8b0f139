//! Moving memory between a PE's own SRAM and the rest of the chip.
//!
//! One small `unsafe trait`, [`Channel`], is what a driver implements. Programs use one of three safe
//! shapes over it:
//!
//! - [`copy`]: blocking functions over borrowed buffers;
//! - [`scoped`]: a closure works while the engine runs, the buffer is borrowed for that long;
//! - [`Transfer`]: detached; owns the channel and a `'static` buffer, and gives both back.
//!
//! Why these three: forgetting a value is safe in Rust, so a guard in the caller's hands may never be
//! dropped. Memory under a running engine must therefore be `'static`, or the guard must stay in this
//! library's frame, or the call must block. Pinning does not change that. While an engine works, the
//! shapes hold no reference to the memory, only a raw pointer, and the compiler is told at hand-over
//! and at hand-back that memory behind that pointer may have been read or written.
//!
//! # Rules of the chip
//! [`check`] holds them: a length of at least 16 bytes and a multiple of 16, both addresses multiples
//! of 16 (wrap buffers in [`Aligned`], or cut them out of [`Block`]s), no job across the boundary of
//! the two DRAM halves, none in the reserved kilobyte at the start of each half. (The rules are
//! quoted from the vendor's portal, tag S; that they hold for the local address too is the cautious
//! reading.)

pub mod copy;
mod running;
pub mod scoped;
mod transfer;

pub use bytemuck::Pod;
pub use running::hand_over;
pub use transfer::{StaticBuffer, Transfer};

use crate::topology::{PeId, SRAM_BYTES};

/// Alignment, in bytes, of both addresses and of the length.
pub const ALIGNMENT: usize = 16;

/// Bytes of one DRAM half.
pub const DRAM_HALF: u32 = 0x4000_0000;

/// Bytes at the start of each DRAM half that programs may not touch.
pub const DRAM_RESERVED: u32 = 0x400;

/// A place in the memories of the chip, as every PE sees it.
///
/// | Memory | Address | Evidence |
/// |---|---|---|
/// | SRAM of a PE | `0xF000_0000 \| id << 17 \| offset`, `id` from [`PeId::noc_id`] | read in public headers of the prototype chip (J) |
/// | DRAM | `0x2000_0000 + offset` | the base is read there too (J); that the window shows both halves, 2 GB without a gap, is inferred (I) |
///
/// # Examples
/// ```
/// use s2_hal::dma::{Address, Place};
/// use s2_hal::topology::PeId;
///
/// let pe = PeId::new(1, 2, 3).unwrap();
/// let address = Address::pe_sram(pe, 0x8000).unwrap();
/// assert_eq!(address.0, 0xF056_8000);
/// assert_eq!(address.place(), Some(Place::Sram { pe, offset: 0x8000 }));
/// assert_eq!(Address::dram(0x400).unwrap().0, 0x2000_0400);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub u32);

/// What an [`Address`] points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// SRAM of a PE.
    Sram {
        /// The PE.
        pe: PeId,
        /// Bytes from the start of its SRAM.
        offset: u32,
    },
    /// DRAM.
    Dram {
        /// Bytes from the start of the lower half.
        offset: u32,
    },
}

impl Address {
    /// First address of the window on the PEs' SRAMs.
    pub const SRAM_WINDOW: u32 = s2_pac::map::SRAM_WINDOW;

    /// First address of the DRAM window.
    pub const DRAM_WINDOW: u32 = s2_pac::map::DRAM_WINDOW;

    /// Byte `offset` of the SRAM of `pe`; `None` if there is no such PE or byte.
    pub const fn pe_sram(pe: PeId, offset: u32) -> Option<Self> {
        match pe.sram_address(offset) {
            Some(address) => Some(Self(address)),
            None => None,
        }
    }

    /// Byte `offset` of the DRAM, the upper half starting at [`DRAM_HALF`]; `None` beyond the end.
    pub const fn dram(offset: u32) -> Option<Self> {
        if offset < 2 * DRAM_HALF {
            Some(Self(Self::DRAM_WINDOW + offset))
        } else {
            None
        }
    }

    /// The address `bytes` further on, in the same memory or not; `None` beyond 32 bits.
    pub const fn checked_add(self, bytes: u32) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(address) => Some(Self(address)),
            None => None,
        }
    }

    /// What the address points at, or `None` if there is no memory.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    pub const fn place(self) -> Option<Place> {
        if let Some((pe, offset)) = PeId::from_sram_address(self.0) {
            return Some(Place::Sram { pe, offset });
        }
        if self.0 >= Self::DRAM_WINDOW && self.0 - Self::DRAM_WINDOW < 2 * DRAM_HALF {
            return Some(Place::Dram {
                offset: self.0 - Self::DRAM_WINDOW,
            });
        }
        None
    }
}

impl core::fmt::Display for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.place() {
            Some(Place::Sram { pe, offset }) => write!(f, "{offset:#x} in the SRAM of {pe}"),
            Some(Place::Dram { offset }) => write!(f, "{offset:#x} in DRAM"),
            None => write!(f, "{:#010x} (no memory)", self.0),
        }
    }
}

/// Which way the bytes go, seen from the PE that starts the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the remote address into local memory.
    Read,
    /// From local memory to the remote address.
    Write,
}

/// 16 bytes with the alignment that the engine wants. A slice of blocks is aligned memory of any
/// length; `bytemuck::cast_slice` turns it into a slice of numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(16))]
pub struct Block(pub [u64; 2]);

/// A value with the alignment that the engine wants.
///
/// # Examples
/// ```
/// use s2_hal::dma::Aligned;
///
/// let mut buffer = Aligned([0_i32; 64]);
/// buffer[3] = -1;
/// assert_eq!(buffer.as_ptr() as usize % 16, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct Aligned<T>(pub T);

impl<T> core::ops::Deref for Aligned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> core::ops::DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// Why a job was refused at its start. See [`check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The length is zero or not a multiple of [`ALIGNMENT`].
    Length {
        /// The length in bytes.
        length: usize,
    },
    /// The local address is not a multiple of [`ALIGNMENT`].
    LocalAlignment {
        /// The local address.
        local: usize,
    },
    /// The remote address is not a multiple of [`ALIGNMENT`].
    RemoteAlignment {
        /// The remote address.
        remote: Address,
    },
    /// There is no memory at the remote address, or it ends before the job does.
    NoMemory {
        /// The remote address.
        remote: Address,
        /// The length in bytes.
        length: usize,
    },
    /// The job would touch a reserved kilobyte at the start of a DRAM half.
    Reserved {
        /// The remote address.
        remote: Address,
        /// The length in bytes.
        length: usize,
    },
    /// The job would cross from one DRAM half into the other.
    CrossesHalves {
        /// The remote address.
        remote: Address,
        /// The length in bytes.
        length: usize,
    },
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::Length { length } => write!(
                f,
                "DMA length {length} must be a multiple of {ALIGNMENT} bytes and not 0"
            ),
            Self::LocalAlignment { local } => write!(
                f,
                "local DMA address {local:#x} must be a multiple of {ALIGNMENT}"
            ),
            Self::RemoteAlignment { remote } => write!(
                f,
                "remote DMA address {remote} must be a multiple of {ALIGNMENT}"
            ),
            Self::NoMemory { remote, length } => {
                write!(f, "no memory for a DMA of {length} bytes at {remote}")
            }
            Self::Reserved { remote, length } => write!(
                f,
                "a DMA of {length} bytes at {remote} touches the reserved start of a DRAM half"
            ),
            Self::CrossesHalves { remote, length } => write!(
                f,
                "a DMA of {length} bytes at {remote} crosses from one DRAM half into the other"
            ),
        }
    }
}

impl core::error::Error for Refusal {}

impl Error for Refusal {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Length { .. } => ErrorKind::Length,
            Self::LocalAlignment { .. } | Self::RemoteAlignment { .. } => ErrorKind::Alignment,
            Self::NoMemory { .. } | Self::Reserved { .. } | Self::CrossesHalves { .. } => {
                ErrorKind::Region
            }
        }
    }
}

/// Checks a job by the chip's rules: `local` is the local address, `length` counts bytes.
///
/// # Errors
/// The first rule that is broken.
#[cfg_attr(not(target_arch = "arm"), inline)]
pub fn check(local: usize, remote: Address, length: usize) -> Result<(), Refusal> {
    if length == 0 || !length.is_multiple_of(ALIGNMENT) {
        return Err(Refusal::Length { length });
    }
    if !local.is_multiple_of(ALIGNMENT) {
        return Err(Refusal::LocalAlignment { local });
    }
    if !(remote.0 as usize).is_multiple_of(ALIGNMENT) {
        return Err(Refusal::RemoteAlignment { remote });
    }
    let (offset, end_of_memory) = match remote.place() {
        None => return Err(Refusal::NoMemory { remote, length }),
        Some(Place::Sram { offset, .. }) => (offset, SRAM_BYTES),
        Some(Place::Dram { offset }) => (offset, 2 * DRAM_HALF),
    };
    if length > (end_of_memory - offset) as usize {
        return Err(Refusal::NoMemory { remote, length });
    }
    if let Some(Place::Dram { offset }) = remote.place() {
        let within_half = offset % DRAM_HALF;
        // The reserved kilobyte starts a half, so a job that reaches it from below crosses.
        if within_half < DRAM_RESERVED {
            return Err(Refusal::Reserved { remote, length });
        }
        if length > (DRAM_HALF - within_half) as usize {
            return Err(Refusal::CrossesHalves { remote, length });
        }
    }
    Ok(())
}

/// What went wrong with a job, in general terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An address is not a multiple of 16.
    Alignment,
    /// The remote memory does not exist, is reserved, or spans both DRAM halves.
    Region,
    /// The length is zero or not a multiple of 16 bytes.
    Length,
    /// The transfer failed on its way; some of the bytes may have moved.
    Bus,
    /// The engine is at work on another job.
    Busy,
    /// Any other error.
    Other,
}

/// An error of a DMA channel.
pub trait Error: core::fmt::Debug {
    /// The general kind of this error.
    fn kind(&self) -> ErrorKind;
}

impl Error for ErrorKind {
    fn kind(&self) -> ErrorKind {
        *self
    }
}

impl Error for core::convert::Infallible {
    fn kind(&self) -> ErrorKind {
        match *self {}
    }
}

/// Error of a job, for drivers that know no more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobError {
    /// The job breaks a rule of the chip.
    Refused(Refusal),
    /// The job is about the PE's own SRAM, which its program holds.
    OwnMemory,
    /// Another job is in flight.
    Busy,
    /// The transfer failed on its way.
    Bus {
        /// Where bytes should have been read or written that were not, as far as the driver knows.
        remote: Address,
    },
}

impl core::fmt::Display for JobError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::OwnMemory => f.write_str("a PE reads and writes its own SRAM without DMA"),
            Self::Busy => f.write_str("the DMA engine is busy with another job"),
            Self::Bus { remote } => write!(f, "the DMA transfer failed at {remote}"),
        }
    }
}

impl core::error::Error for JobError {}

impl Error for JobError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(refusal) => refusal.kind(),
            Self::OwnMemory => ErrorKind::Region,
            Self::Busy => ErrorKind::Busy,
            Self::Bus { .. } => ErrorKind::Bus,
        }
    }
}

/// The error type of one DMA channel.
pub trait ErrorType {
    /// Error of every operation of the channel.
    type Error: Error;
}

impl<T: ErrorType + ?Sized> ErrorType for &mut T {
    type Error = T::Error;
}

/// One DMA engine, or one of its queues: at most one job at a time.
///
/// # Safety
/// The safe shapes rely on these promises of an implementation:
///
/// - After a [`start`](Channel::start) that returned `Ok`, the engine touches only the given local
///   bytes; for [`Direction::Write`] it only reads them.
/// - The engine does not touch local memory unless a job is in flight. A job is in flight from a
///   `start` that returned `Ok` until [`poll`](Channel::poll) returned something other than
///   `WouldBlock`, or [`wait`](Channel::wait) or [`abort`](Channel::abort) returned, whichever is first. In
///   particular, a `start` that returned `Err` or panicked leaves no job in flight, nor does an `abort`
///   that panicked.
/// - After `poll` or `wait` returned `Ok` at the end of a [`Direction::Read`], every local byte holds
///   the remote data.
/// - Moving the channel value itself does not disturb the job.
pub unsafe trait Channel: ErrorType {
    /// Starts a job over `length` bytes between `local` and `remote`. Does not wait.
    ///
    /// # Errors
    /// If the job breaks a rule of [`check`], or the engine is busy with another job
    /// ([`ErrorKind::Busy`]; that job goes on). Nothing was started then.
    ///
    /// # Safety
    /// As long as the job is in flight (see the trait), the `length` bytes at `local` must be
    /// initialised and valid for reads and, for [`Direction::Read`], for writes, from any thread;
    /// nothing else may write them or, for `Read`, access them at all.
    unsafe fn start(
        &mut self,
        direction: Direction,
        local: *mut u8,
        remote: Address,
        length: usize,
    ) -> Result<(), Self::Error>;

    /// Asks for the end of the job in flight. `Ok` when it is complete, or when there is none.
    ///
    /// # Errors
    /// `WouldBlock` while the job runs; `Other(e)` once if it failed, which ends it.
    fn poll(&mut self) -> nb::Result<(), Self::Error>;

    /// Waits for the end of the job in flight, if there is one: [`poll`](Channel::poll), until that returns
    /// something other than `WouldBlock`. A channel that knows a better way to wait may take it.
    ///
    /// # Errors
    /// If the job failed, which ends it.
    fn wait(&mut self) -> Result<(), Self::Error> {
        nb::block!(self.poll())
    }

    /// Ends the job in flight, if there is one. Some of its bytes may have moved. When the call
    /// returns, the engine is idle.
    fn abort(&mut self);
}

// SAFETY: every call is forwarded, so the promises are those of `T`.
unsafe impl<T: Channel + ?Sized> Channel for &mut T {
    unsafe fn start(
        &mut self,
        direction: Direction,
        local: *mut u8,
        remote: Address,
        length: usize,
    ) -> Result<(), Self::Error> {
        // SAFETY: the caller keeps the contract of `start`, which is the same one.
        unsafe { T::start(self, direction, local, remote, length) }
    }

    fn poll(&mut self) -> nb::Result<(), Self::Error> {
        T::poll(self)
    }

    fn wait(&mut self) -> Result<(), Self::Error> {
        T::wait(self)
    }

    fn abort(&mut self) {
        T::abort(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for pe in crate::topology::pes() {
            for offset in [0, 16, SRAM_BYTES - 1] {
                let address = Address::pe_sram(pe, offset).unwrap();
                assert_eq!(address.place(), Some(Place::Sram { pe, offset }));
            }
            assert_eq!(Address::pe_sram(pe, SRAM_BYTES), None);
        }
        for offset in [0, DRAM_HALF, 2 * DRAM_HALF - 1] {
            let address = Address::dram(offset).unwrap();
            assert_eq!(address.place(), Some(Place::Dram { offset }));
        }
        assert_eq!(Address::dram(2 * DRAM_HALF), None);
        // Not mapped: local SRAM, registers, the SRAM window of the router's node, above the window.
        for address in [
            0,
            0x1fff_ffff,
            0xa000_0000,
            0xe200_0000,
            0xf200_0000,
            u32::MAX,
        ] {
            assert_eq!(Address(address).place(), None, "{address:#x}");
        }
        assert_eq!(Address(0xf000_0000 | 0b1000_1100 << 17).place(), None);
    }

    #[test]
    fn the_chip_rules_are_checked() {
        let dram = |offset| Address::dram(offset).unwrap();
        let pe = PeId::new(1, 1, 0).unwrap();
        let sram = |offset| Address::pe_sram(pe, offset).unwrap();
        let kind = |local, remote, length| check(local, remote, length).map_err(|e| e.kind());

        assert_eq!(kind(16, dram(0x400), 16), Ok(()));
        assert_eq!(kind(0, dram(0x400), (DRAM_HALF - 0x400) as usize), Ok(()));
        assert_eq!(kind(0, dram(2 * DRAM_HALF - 16), 16), Ok(()));
        assert_eq!(kind(0, sram(0), SRAM_BYTES as usize), Ok(()));

        for length in [0, 1, 8, 15, 17] {
            assert_eq!(kind(0, sram(0), length), Err(ErrorKind::Length));
        }
        assert_eq!(kind(8, sram(0), 16), Err(ErrorKind::Alignment));
        assert_eq!(kind(0, sram(8), 16), Err(ErrorKind::Alignment));
        for (remote, length) in [
            (sram(16), SRAM_BYTES as usize),
            (sram(0), usize::MAX & !15),
            (Address(0x1_0000), 16),
            (dram(0), 16),
            (dram(0x3f0), 32),
            (dram(DRAM_HALF), 16),
            (dram(DRAM_HALF + 0x3f0), 16),
            (dram(DRAM_HALF - 16), 32),
            (dram(DRAM_HALF - 16), 4096),
            (dram(2 * DRAM_HALF - 16), 32),
        ] {
            assert_eq!(kind(0, remote, length), Err(ErrorKind::Region), "{remote}");
        }
    }
}
