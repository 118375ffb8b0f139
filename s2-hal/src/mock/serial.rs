//! A serial line with two ends, for tests of what talks over one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};

type Pipe = Arc<Mutex<VecDeque<u8>>>;

/// One end of a line. What is written to one end is read at the other. Writing never waits; reading
/// from an empty line does not wait either but fails with [`ErrorKind::TimedOut`], since in one thread
/// nobody else could fill it.
#[derive(Clone, Debug)]
pub struct End {
    incoming: Pipe,
    outgoing: Pipe,
}

/// A line without any bytes on it.
pub fn line() -> (End, End) {
    let (there, back) = (Pipe::default(), Pipe::default());
    let near = End {
        incoming: Arc::clone(&back),
        outgoing: Arc::clone(&there),
    };
    let far = End {
        incoming: there,
        outgoing: back,
    };
    (near, far)
}

fn bytes(pipe: &Pipe) -> MutexGuard<'_, VecDeque<u8>> {
    // A queue of bytes is never left half-changed.
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ErrorType for End {
    type Error = ErrorKind;
}

impl Read for End {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        let mut incoming = bytes(&self.incoming);
        if incoming.is_empty() && !buf.is_empty() {
            return Err(ErrorKind::TimedOut);
        }
        let count = buf.len().min(incoming.len());
        for (slot, byte) in buf.iter_mut().zip(incoming.drain(..count)) {
            *slot = byte;
        }
        Ok(count)
    }
}

impl ReadReady for End {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(!bytes(&self.incoming).is_empty())
    }
}

impl Write for End {
    fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        bytes(&self.outgoing).extend(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_cross_the_line_both_ways() {
        let (mut near, mut far) = line();
        let mut buffer = [0; 4];
        assert_eq!(far.read(&mut buffer), Err(ErrorKind::TimedOut));
        assert_eq!(far.read_ready(), Ok(false));
        near.write_all(b"ping").unwrap();
        far.write_all(b"pong!").unwrap();
        assert_eq!(far.read_ready(), Ok(true));
        far.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"ping");
        near.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"pong");
        assert_eq!(near.read(&mut buffer), Ok(1));
    }
}
