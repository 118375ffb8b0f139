//! Time: a counter that only goes up. For waiting, the crate uses `embedded_hal::delay::DelayNs`.

pub use embedded_hal::delay::DelayNs;

/// A clock that counts upwards.
pub trait Ticks {
    /// Ticks since an arbitrary origin. Never smaller than the value returned before: an
    /// implementation over a counter that wraps counts the wraps, which is why it takes `&mut self`
    /// (and it may ask to be called at least once per wrap).
    fn now(&mut self) -> u64;

    /// Ticks per second. Does not change.
    fn frequency(&self) -> u32;
}

impl<T: Ticks + ?Sized> Ticks for &mut T {
    fn now(&mut self) -> u64 {
        T::now(self)
    }

    fn frequency(&self) -> u32 {
        T::frequency(self)
    }
}
