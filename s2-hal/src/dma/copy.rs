//! Blocking copies over borrowed buffers.

use super::running::Running;
use super::{Address, Channel, Direction, Pod};

/// Copies from `remote` into `into` and waits for the end.
///
/// # Errors
/// If the engine refuses the job ([`check`](super::check), or busy) or the transfer fails; after a
/// failed transfer `into` may hold some of the data.
///
/// # Examples
/// ```
/// use s2_hal::dma::{self, Address, Aligned, Channel};
///
/// fn sum<C: Channel>(channel: &mut C, from: Address) -> Result<i64, C::Error> {
///     let mut block = Aligned([0_i64; 32]);
///     dma::copy::read(channel, from, &mut block[..])?;
///     Ok(block.iter().sum())
/// }
/// ```
pub fn read<C: Channel, T: Pod>(
    channel: &mut C,
    remote: Address,
    into: &mut [T],
) -> Result<(), C::Error> {
    let length = size_of_val(into);
    let local = into.as_mut_ptr().cast::<u8>();
    // SAFETY: `into` is borrowed for the whole call and not used again in it, so `local` is valid and
    // nothing else accesses the bytes until `wait` has ended the job, or, when `poll` panics, the
    // guard's drop has. Any bytes are valid values of `T: Pod`.
    unsafe { Running::start(channel, Direction::Read, local, remote, length)? }.wait()
}

/// Copies `from` to `remote` and waits for the end.
///
/// # Errors
/// If the engine refuses the job ([`check`](super::check), or busy) or the transfer fails; after a
/// failed transfer the remote memory may hold some of the data.
pub fn write<C: Channel, T: Pod>(
    channel: &mut C,
    from: &[T],
    remote: Address,
) -> Result<(), C::Error> {
    let length = size_of_val(from);
    let local = from.as_ptr().cast_mut().cast::<u8>();
    // SAFETY: `from` is borrowed for the whole call, so its bytes stay valid and unchanged until the
    // job has ended, by `wait` or by the guard's drop. The engine only reads them, and `T: Pod` has no
    // padding and no interior mutability.
    unsafe { Running::start(channel, Direction::Write, local, remote, length)? }.wait()
}
