//! Byte streams: a serial line to the host.
//!
//! The crate adds no traits of its own here. A generic user asks for [`Port`], which every type with
//! embedded-io's traits has. [`Bytes`] makes a port out of a UART driver that offers
//! embedded-hal's byte-wise, non-blocking traits.

pub use embedded_hal_nb::serial as uart;
pub use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};

/// A bidirectional byte stream that can tell whether a read would wait.
pub trait Port: Read + ReadReady + Write {}

impl<T: Read + ReadReady + Write + ?Sized> Port for T {}

/// A [`Port`] over a UART driver with [`uart::Read`] and [`uart::Write`].
///
/// One received byte is held back here when [`read_ready`](ReadReady::read_ready) had to take it from
/// the driver in order to answer.
#[derive(Debug)]
pub struct Bytes<U> {
    uart: U,
    waiting: Option<u8>,
}

/// Error of a UART behind [`Bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UartError(
    /// What the driver said.
    pub uart::ErrorKind,
);

impl core::fmt::Display for UartError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "serial line: {}", self.0)
    }
}

impl core::error::Error for UartError {}

impl embedded_io::Error for UartError {
    fn kind(&self) -> ErrorKind {
        match self.0 {
            uart::ErrorKind::Parity | uart::ErrorKind::FrameFormat => ErrorKind::InvalidData,
            _ => ErrorKind::Other,
        }
    }
}

impl<U> Bytes<U> {
    /// A port over `uart`.
    pub const fn new(uart: U) -> Self {
        Self {
            uart,
            waiting: None,
        }
    }
}

impl<U: uart::Read<u8>> Bytes<U> {
    fn poll(&mut self) -> nb::Result<u8, UartError> {
        if let Some(byte) = self.waiting.take() {
            return Ok(byte);
        }
        self.uart.read().map_err(|e| e.map(UartError::of))
    }
}

impl UartError {
    fn of(error: impl uart::Error) -> Self {
        Self(error.kind())
    }
}

impl<U> ErrorType for Bytes<U> {
    type Error = UartError;
}

impl<U: uart::Read<u8>> Read for Bytes<U> {
    /// Waits for one byte and takes it alone, so that no error of the driver goes unreported.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        match buf.first_mut() {
            None => Ok(0),
            Some(byte) => {
                *byte = nb::block!(self.poll())?;
                Ok(1)
            }
        }
    }
}

impl<U: uart::Read<u8>> ReadReady for Bytes<U> {
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        match self.poll() {
            Ok(byte) => {
                self.waiting = Some(byte);
                Ok(true)
            }
            Err(nb::Error::WouldBlock) => Ok(false),
            Err(nb::Error::Other(error)) => Err(error),
        }
    }
}

impl<U: uart::Write<u8>> Write for Bytes<U> {
    /// Waits until the driver takes one byte.
    fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        match buf.first() {
            None => Ok(0),
            Some(&byte) => {
                nb::block!(self.uart.write(byte)).map_err(UartError::of)?;
                Ok(1)
            }
        }
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        nb::block!(self.uart.flush()).map_err(UartError::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A UART that is fed by a list, busy every other time.
    #[derive(Default)]
    struct Uart {
        incoming: VecDeque<Result<u8, uart::ErrorKind>>,
        outgoing: Vec<u8>,
        busy: bool,
    }

    impl Uart {
        fn wait(&mut self) -> nb::Result<(), uart::ErrorKind> {
            self.busy = !self.busy;
            if self.busy {
                return Err(nb::Error::WouldBlock);
            }
            Ok(())
        }
    }

    impl uart::ErrorType for Uart {
        type Error = uart::ErrorKind;
    }

    impl uart::Read<u8> for Uart {
        fn read(&mut self) -> nb::Result<u8, uart::ErrorKind> {
            self.wait()?;
            let next = self.incoming.pop_front().ok_or(nb::Error::WouldBlock)?;
            next.map_err(nb::Error::Other)
        }
    }

    impl uart::Write<u8> for Uart {
        fn write(&mut self, byte: u8) -> nb::Result<(), uart::ErrorKind> {
            self.wait()?;
            self.outgoing.push(byte);
            Ok(())
        }

        fn flush(&mut self) -> nb::Result<(), uart::ErrorKind> {
            self.wait()
        }
    }

    #[test]
    fn a_uart_is_a_port_and_loses_neither_bytes_nor_errors() {
        let mut uart = Uart::default();
        let overrun = Err(uart::ErrorKind::Overrun);
        uart.incoming.extend([Ok(1), Ok(2), overrun, Ok(3)]);
        fn use_it(port: &mut (impl Port<Error = UartError> + ?Sized)) {
            let mut buffer = [0; 2];
            // Taken by the question, given by the next read.
            while !port.read_ready().unwrap() {}
            port.read_exact(&mut buffer).unwrap();
            assert_eq!(buffer, [1, 2]);
            assert_eq!(
                port.read(&mut buffer),
                Err(UartError(uart::ErrorKind::Overrun))
            );
            assert_eq!(port.read(&mut buffer), Ok(1));
            assert_eq!(buffer[0], 3);
            assert_eq!(port.read(&mut []), Ok(0));
            port.write_all(b"abc").unwrap();
            port.flush().unwrap();
        }
        let mut port = Bytes::new(uart);
        use_it(&mut port);
        assert_eq!(port.uart.outgoing, b"abc");
    }
}
