//! Detached transfers.

use core::marker::PhantomData;
use core::mem::ManuallyDrop;

use super::running::hand_over;
use super::{Address, Channel, Direction, Pod};

mod sealed {
    pub trait Sealed {}
}

/// A buffer that a [`Transfer`] can own: `&'static mut [T]`, or, to write from only, `&'static [T]`.
pub trait StaticBuffer: sealed::Sealed + Sized {
    /// Bytes of an element.
    #[doc(hidden)]
    const ELEMENT: usize;

    /// Pointer to the first byte, and number of elements.
    #[doc(hidden)]
    fn into_raw(self) -> (*mut u8, usize);

    /// The buffer again.
    ///
    /// # Safety
    /// The parts must come from [`into_raw`](Self::into_raw), be used once, and nothing else may
    /// access the memory.
    #[doc(hidden)]
    unsafe fn from_raw(pointer: *mut u8, elements: usize) -> Self;
}

impl<T: Pod> sealed::Sealed for &'static mut [T] {}

impl<T: Pod> StaticBuffer for &'static mut [T] {
    const ELEMENT: usize = size_of::<T>();

    fn into_raw(self) -> (*mut u8, usize) {
        (self.as_mut_ptr().cast(), self.len())
    }

    unsafe fn from_raw(pointer: *mut u8, elements: usize) -> Self {
        // SAFETY: the parts are those of a `&'static mut [T]` that was given up, and by the caller's
        // promise nobody else uses the memory. Any bytes are valid values of `T: Pod`.
        unsafe { core::slice::from_raw_parts_mut(pointer.cast(), elements) }
    }
}

impl<T: Pod> sealed::Sealed for &'static [T] {}

impl<T: Pod> StaticBuffer for &'static [T] {
    const ELEMENT: usize = size_of::<T>();

    fn into_raw(self) -> (*mut u8, usize) {
        (self.as_ptr().cast_mut().cast(), self.len())
    }

    unsafe fn from_raw(pointer: *mut u8, elements: usize) -> Self {
        // SAFETY: the parts are those of a `&'static [T]`, whose memory nobody writes.
        unsafe { core::slice::from_raw_parts(pointer.cast(), elements) }
    }
}

/// A job that runs on its own: owns the channel and the buffer until it ends.
///
/// Dropping it aborts the job; the channel is dropped and the buffer lost, so prefer
/// [`wait`](Self::wait) or [`abort`](Self::abort). Forgetting it is harmless: the engine writes into
/// memory that nobody can reach any more.
///
/// # Examples
/// ```
/// use s2_hal::dma::{Address, Channel, Transfer};
///
/// fn fetch<C: Channel>(channel: C, from: Address, into: &'static mut [u32]) -> (C, &'static mut [u32]) {
///     let mut transfer = match Transfer::read(channel, from, into) {
///         Ok(transfer) => transfer,
///         Err((_error, channel, into)) => return (channel, into),
///     };
///     while !transfer.is_done() {
///         // Other work, also in other functions.
///     }
///     match transfer.wait() {
///         Ok((channel, into)) | Err((_, channel, into)) => (channel, into),
///     }
/// }
/// ```
#[must_use = "dropping a transfer aborts it"]
pub struct Transfer<C: Channel, B: StaticBuffer> {
    channel: ManuallyDrop<C>,
    local: *mut u8,
    elements: usize,
    /// The end of the job, once it is known.
    end: Option<Result<(), C::Error>>,
    buffer: PhantomData<B>,
}

// SAFETY: the pointer stands for the owned buffer `B`, and a job does not mind from which thread its
// channel is polled, as far as the channel itself may be sent.
unsafe impl<C: Channel + Send, B: StaticBuffer + Send> Send for Transfer<C, B> where C::Error: Send {}

impl<C: Channel, T: Pod> Transfer<C, &'static mut [T]> {
    /// Starts to copy from `remote` into `into`.
    ///
    /// # Errors
    /// If the engine refuses the job ([`check`](super::check), or busy). Channel and buffer come back.
    pub fn read(
        channel: C,
        remote: Address,
        into: &'static mut [T],
    ) -> Result<Self, (C::Error, C, &'static mut [T])> {
        Self::start(channel, Direction::Read, remote, into)
    }
}

impl<C: Channel, B: StaticBuffer> Transfer<C, B> {
    /// Starts to copy `from` to `remote`.
    ///
    /// # Errors
    /// If the engine refuses the job ([`check`](super::check), or busy). Channel and buffer come back.
    pub fn write(channel: C, from: B, remote: Address) -> Result<Self, (C::Error, C, B)> {
        Self::start(channel, Direction::Write, remote, from)
    }

    fn start(
        mut channel: C,
        direction: Direction,
        remote: Address,
        buffer: B,
    ) -> Result<Self, (C::Error, C, B)> {
        let (local, elements) = buffer.into_raw();
        // The bytes of a buffer in memory fit `usize`.
        let length = elements * B::ELEMENT;
        hand_over(local);
        // SAFETY: the buffer is `'static` and was given up into raw parts, which become a reference
        // again only after the job has ended: in the error arm below (never started) or in
        // `into_parts`. If this value is forgotten, that never happens. A shared buffer reaches this
        // place only with `Direction::Write`: `read` takes an exclusive one.
        match unsafe { channel.start(direction, local, remote, length) } {
            Ok(()) => Ok(Self {
                channel: ManuallyDrop::new(channel),
                local,
                elements,
                end: None,
                buffer: PhantomData,
            }),
            Err(error) => {
                hand_over(local);
                // SAFETY: the parts are those of `buffer`, and no job was started.
                let buffer = unsafe { B::from_raw(local, elements) };
                Err((error, channel, buffer))
            }
        }
    }

    /// Asks the engine whether the job has ended, well or badly. Once true, always true.
    pub fn is_done(&mut self) -> bool {
        if self.end.is_none() {
            match self.channel.poll() {
                Ok(()) => self.end = Some(Ok(())),
                Err(nb::Error::Other(error)) => self.end = Some(Err(error)),
                Err(nb::Error::WouldBlock) => return false,
            }
        }
        true
    }

    /// Waits for the end of the job and gives channel and buffer back.
    ///
    /// # Errors
    /// If the transfer failed; the memory written to may then hold some of the data.
    pub fn wait(mut self) -> Result<(C, B), (C::Error, C, B)> {
        loop {
            if self.is_done()
                && let Some(end) = self.end.take()
            {
                let (channel, buffer) = self.into_parts();
                return match end {
                    Ok(()) => Ok((channel, buffer)),
                    Err(error) => Err((error, channel, buffer)),
                };
            }
            core::hint::spin_loop();
        }
    }

    /// Aborts the job, unless it has ended, and gives channel and buffer back. The memory written to
    /// may hold some of the data.
    pub fn abort(mut self) -> (C, B) {
        if self.end.take().is_none() {
            self.channel.abort();
        }
        self.into_parts()
    }

    /// Takes the value apart. The job must have ended.
    fn into_parts(self) -> (C, B) {
        // `Drop` must not run: it would abort, and drop the channel.
        let mut this = ManuallyDrop::new(self);
        hand_over(this.local);
        // SAFETY: `this` is not used again, so the channel is taken once.
        let channel = unsafe { ManuallyDrop::take(&mut this.channel) };
        // SAFETY: the parts are those of the buffer given to `start`, they are used once since `this`
        // is not used again, and the job has ended.
        let buffer = unsafe { B::from_raw(this.local, this.elements) };
        (channel, buffer)
    }
}

impl<C: Channel, B: StaticBuffer> Drop for Transfer<C, B> {
    fn drop(&mut self) {
        if self.end.is_none() {
            self.channel.abort();
        }
        hand_over(self.local);
        // SAFETY: `into_parts`, the other place that takes the channel, does not let `drop` run.
        unsafe { ManuallyDrop::drop(&mut self.channel) };
    }
}
