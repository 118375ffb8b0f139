//! Copies during which a closure works.
//!
//! The closure can do anything but touch the buffer and the channel. When it returns, or panics, the
//! job is ended before the borrow of the buffer is: the guard lives in this module's frame, out of
//! the caller's reach.

use super::running::Running;
use super::{Address, Channel, Direction, Pod};

/// Why a scoped copy failed, and everything that it had taken.
pub enum Error<E, F, R> {
    /// The engine refused the job. The closure was not called.
    NotStarted {
        /// The engine's error.
        error: E,
        /// The closure.
        work: F,
    },
    /// The transfer failed. The closure was called.
    Failed {
        /// The engine's error.
        error: E,
        /// What the closure returned.
        value: R,
    },
}

impl<E, F, R> Error<E, F, R> {
    /// The engine's error alone.
    pub fn into_error(self) -> E {
        match self {
            Self::NotStarted { error, .. } | Self::Failed { error, .. } => error,
        }
    }
}

/// Without the closure and its result, so that `unwrap` works whatever they are.
impl<E: core::fmt::Debug, F, R> core::fmt::Debug for Error<E, F, R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (name, error) = match self {
            Self::NotStarted { error, .. } => ("NotStarted", error),
            Self::Failed { error, .. } => ("Failed", error),
        };
        f.debug_struct(name)
            .field("error", error)
            .finish_non_exhaustive()
    }
}

/// Copies from `remote` into `into` while `work` runs, waits for the end of the copy and returns what
/// `work` returned.
///
/// # Errors
/// If the engine refuses the job ([`check`](super::check), or busy) or the transfer fails; after a
/// failed transfer `into` may hold some of the data.
///
/// # Panics
/// If `work` does; the job is aborted before the panic goes on.
///
/// # Examples
/// Adding up one block while the next one arrives:
/// ```
/// use s2_hal::dma::{self, Address, Channel};
///
/// fn add_while_reading<C: Channel>(
///     channel: &mut C,
///     here: &[i64],
///     next: &mut [i64],
///     from: Address,
/// ) -> Result<i64, C::Error> {
///     dma::scoped::read(channel, from, next, || here.iter().sum()).map_err(|e| e.into_error())
/// }
/// ```
pub fn read<C: Channel, T: Pod, F: FnOnce() -> R, R>(
    channel: &mut C,
    remote: Address,
    into: &mut [T],
    work: F,
) -> Result<R, Error<C::Error, F, R>> {
    let length = size_of_val(into);
    let local = into.as_mut_ptr().cast::<u8>();
    // SAFETY: `into` is borrowed for the whole call and not used again in it, so `local` is valid and
    // nothing else accesses the bytes until `run` has dropped the guard, also on a panic. Any bytes
    // are valid values of `T: Pod`.
    let start = unsafe { Running::start(channel, Direction::Read, local, remote, length) };
    run(start, work)
}

/// Copies `from` to `remote` while `work` runs, waits for the end of the copy and returns what `work`
/// returned.
///
/// # Errors
/// If the engine refuses the job ([`check`](super::check), or busy) or the transfer fails; after a
/// failed transfer the remote memory may hold some of the data.
///
/// # Panics
/// If `work` does; the job is aborted before the panic goes on.
pub fn write<C: Channel, T: Pod, F: FnOnce() -> R, R>(
    channel: &mut C,
    from: &[T],
    remote: Address,
    work: F,
) -> Result<R, Error<C::Error, F, R>> {
    let length = size_of_val(from);
    let local = from.as_ptr().cast_mut().cast::<u8>();
    // SAFETY: `from` is borrowed for the whole call, so its bytes stay valid and unchanged until `run`
    // has dropped the guard, also on a panic. The engine only reads them, and `T: Pod` has no padding
    // and no interior mutability.
    let start = unsafe { Running::start(channel, Direction::Write, local, remote, length) };
    run(start, work)
}

fn run<C: Channel, F: FnOnce() -> R, R>(
    start: Result<Running<'_, C>, C::Error>,
    work: F,
) -> Result<R, Error<C::Error, F, R>> {
    match start {
        Err(error) => Err(Error::NotStarted { error, work }),
        Ok(running) => {
            let value = work();
            match running.wait() {
                Ok(()) => Ok(value),
                Err(error) => Err(Error::Failed { error, value }),
            }
        }
    }
}
