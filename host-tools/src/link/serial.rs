//! A serial port, opened for this program alone.

use std::io::{self, Read as _, Write as _};
use std::time::{Duration, Instant};

use serialport::{ClearBuffer, SerialPort};

use super::{Error, Transport};

/// How long the port may take to accept a frame. What it has not taken by then is lost, as on a line.
const WRITE_TIME_OUT: Duration = Duration::from_secs(1);

/// A serial port or pseudo-terminal: 8 bits, no parity, one stop bit, no flow control.
pub struct Serial {
    path: String,
    baud: u32,
    /// `None` after the port has vanished.
    port: Option<Box<dyn SerialPort>>,
}

impl Serial {
    /// Opens the port and drops what stands in its buffers.
    ///
    /// # Errors
    /// What is wrong with the port; one that does not exist with those that do.
    pub fn open(path: &str, baud: u32) -> Result<Self, Error> {
        let mut this = Self {
            path: path.to_owned(),
            baud,
            port: None,
        };
        this.reopen()?;
        Ok(this)
    }

    fn port(&mut self) -> Result<&mut Box<dyn SerialPort>, Error> {
        self.port.as_mut().ok_or_else(|| Error::Vanished {
            port: self.path.clone(),
        })
    }

    /// What an error of the open port means.
    fn failed(&mut self, error: &io::Error) -> Result<(), Error> {
        use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
        if matches!(error.kind(), Interrupted | TimedOut | WouldBlock) {
            return Ok(());
        }
        // Whatever a driver calls it when the cable is drawn: opening it again tells more.
        self.port = None;
        Err(Error::Vanished {
            port: self.path.clone(),
        })
    }
}

impl Transport for Serial {
    fn name(&self) -> &str {
        &self.path
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), Error> {
        let port = self.port()?;
        let result = port
            .set_timeout(WRITE_TIME_OUT)
            .map_err(io::Error::from)
            .and_then(|()| port.write_all(frame));
        result.or_else(|error| self.failed(&error))
    }

    fn receive(&mut self, into: &mut [u8], deadline: Instant) -> Result<usize, Error> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let port = self.port()?;
            let result = port
                .set_timeout(left)
                .map_err(io::Error::from)
                .and_then(|()| port.read(into));
            match result {
                // What the other end of a pseudo-terminal leaves when it goes.
                Ok(0) => self.failed(&io::ErrorKind::BrokenPipe.into())?,
                Ok(bytes) => return Ok(bytes),
                Err(error) => self.failed(&error)?,
            }
            if left.is_zero() {
                return Ok(0);
            }
        }
    }

    fn reopen(&mut self) -> Result<(), Error> {
        self.port = None;
        let port = serialport::new(&self.path, self.baud)
            .open()
            .map_err(|error| explain(&self.path, &error))?;
        // Answers to somebody who was here before.
        let _ = port.clear(ClearBuffer::All);
        self.port = Some(port);
        Ok(())
    }

    fn line_time(&self, bytes: usize) -> Duration {
        // A byte has a start and a stop bit.
        Duration::from_secs_f64(10.0 * bytes as f64 / f64::from(self.baud.max(1)))
    }
}

/// The serial ports of this computer.
#[must_use]
pub fn ports() -> Vec<String> {
    // The crate takes it for granted on Linux; containers may lack it.
    if cfg!(target_os = "linux") && !std::path::Path::new("/sys/class/tty").is_dir() {
        return Vec::new();
    }
    let mut names: Vec<_> = serialport::available_ports()
        .unwrap_or_default()
        .into_iter()
        .map(|port| port.port_name)
        .collect();
    names.sort_unstable();
    names
}

/// What it means that a port cannot be opened.
fn explain(path: &str, error: &serialport::Error) -> Error {
    use serialport::ErrorKind::{Io, NoDevice};
    let port = path.to_owned();
    match error.kind() {
        Io(io::ErrorKind::NotFound) => Error::NoSuchPort {
            port,
            existing: ports(),
        },
        Io(io::ErrorKind::PermissionDenied) => Error::NoPermission {
            group: group(path),
            port,
        },
        // On Windows a port that does not exist, elsewhere one that is taken.
        NoDevice if cfg!(windows) => Error::NoSuchPort {
            port,
            existing: ports(),
        },
        NoDevice => Error::InUse { port },
        _ => Error::Port {
            port,
            reason: format!("cannot open it: {error}"),
        },
    }
}

/// The group whose members may open a device, if it is not everybody or nobody.
#[cfg(unix)]
fn group(path: &str) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let device = std::fs::metadata(path).ok()?;
    let may = device.mode() & 0o060 == 0o060;
    let number = device.gid().to_string();
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    let mut lines = groups.lines().map(|line| line.split(':'));
    let name = lines.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    name.filter(|_| may && number != "0")
}

#[cfg(not(unix))]
fn group(_path: &str) -> Option<String> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use serialport::TTYPort;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    /// A pseudo-terminal: the end that a board would have, and the other one's name.
    fn terminal() -> (TTYPort, String) {
        let (board, host) = TTYPort::pair().expect("the computer has pseudo-terminals");
        (board, host.name().expect("it has a name"))
    }

    #[test]
    fn a_port_that_vanishes_can_be_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("board");
        let (mut board, name) = terminal();
        symlink(name, &path).unwrap();
        let mut serial = Serial::open(path.to_str().unwrap(), 115_200).unwrap();
        serial.send(b"to").unwrap();
        let mut bytes = [0; 2];
        board.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"to");
        board.write_all(b"back").unwrap();
        let mut bytes = [0; 16];
        assert_eq!(serial.receive(&mut bytes, soon()), Ok(4));
        assert_eq!(serial.receive(&mut bytes, Instant::now()), Ok(0));

        drop(board);
        let gone = serial.receive(&mut bytes, soon()).unwrap_err();
        assert!(matches!(gone, Error::Vanished { .. }), "{gone}");
        assert_eq!(serial.send(b"x").unwrap_err(), gone);
        std::fs::remove_file(&path).unwrap();
        let error = serial.reopen().unwrap_err();
        assert!(matches!(error, Error::NoSuchPort { .. }), "{error}");

        let (mut board, name) = terminal();
        symlink(name, &path).unwrap();
        serial.reopen().unwrap();
        board.write_all(b"again").unwrap();
        assert_eq!(serial.receive(&mut bytes, soon()), Ok(5));
    }

    #[test]
    fn a_port_is_opened_once() {
        let (_board, name) = terminal();
        let first = Serial::open(&name, 115_200).unwrap();
        let error = Serial::open(&name, 115_200).err().unwrap();
        assert_eq!(error, Error::InUse { port: name.clone() });
        drop(first);
        Serial::open(&name, 115_200).unwrap();
    }

    #[test]
    fn what_is_wrong_with_a_port_is_told() {
        let error = Serial::open("/dev/ttyNone0", 115_200).err().unwrap();
        assert!(matches!(error, Error::NoSuchPort { .. }), "{error}");
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Serial::open(file.path().to_str().unwrap(), 115_200).err();
        assert!(matches!(error, Some(Error::Port { .. })), "{error:?}");

        // A pseudo-terminal belongs to a group; a file of root's to nobody who could be joined.
        let denied = serialport::Error::new(
            serialport::ErrorKind::Io(io::ErrorKind::PermissionDenied),
            "Permission denied",
        );
        let error = explain("/etc/group", &denied);
        let expected = Error::NoPermission {
            port: "/etc/group".into(),
            group: None,
        };
        assert_eq!(error, expected);
        let error = Error::NoPermission {
            port: "/dev/ttyACM0".into(),
            group: Some("dialout".into()),
        };
        assert_eq!(
            crate::error::Error::from(error).to_string(),
            "/dev/ttyACM0: you may not open it\n  hint: only members of the group `dialout` may: \
             sudo usermod -aG dialout $USER, then log in again"
        );
    }
}
