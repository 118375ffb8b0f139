//! The line between an emulated board and a host: a pseudo-terminal, or a UDP port.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use s2_emu::Board;

/// Pieces of output that wait to be read. When a host does not read, what comes next is lost, as on a real line.
const WAITING: usize = 256;

/// How long the board rests when it has nothing to do and the host is silent.
const REST: Duration = Duration::from_micros(500);

/// Both directions of a line.
pub struct Line {
    input: Receiver<Vec<u8>>,
    output: SyncSender<Vec<u8>>,
}

impl Line {
    /// A new pseudo-terminal, in raw mode. Returns the path that the host opens, too.
    #[cfg(unix)]
    pub fn terminal() -> io::Result<(Self, PathBuf)> {
        use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

        let pair = nix::pty::openpty(None, None)?;
        let mut settings = tcgetattr(&pair.slave)?;
        cfmakeraw(&mut settings);
        tcsetattr(&pair.slave, SetArg::TCSANOW, &settings)?;
        let path = nix::unistd::ttyname(&pair.slave)?;
        let (mut from, mut to) = {
            let master = std::fs::File::from(pair.master);
            (master.try_clone()?, master)
        };
        let host_side = pair.slave;
        let line = Self::new(
            move |buffer| {
                // As long as this end is open, the line survives a host that goes.
                let _open = &host_side;
                from.read(buffer)
            },
            move |bytes| to.write_all(bytes),
        );
        Ok((line, path))
    }

    /// A UDP port of this computer: each datagram is a frame. Answers go to whoever has sent last. Returns the
    /// address, too.
    pub fn udp(port: u16) -> io::Result<(Self, SocketAddr)> {
        let socket = Arc::new(UdpSocket::bind(("127.0.0.1", port))?);
        let address = socket.local_addr()?;
        let peer = Arc::new(Mutex::new(None));
        let (from, from_peer) = (Arc::clone(&socket), Arc::clone(&peer));
        let mut frames = Frames::default();
        let line = Self::new(
            move |buffer| {
                let (length, sender) = from.recv_from(buffer)?;
                *from_peer.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
                Ok(length)
            },
            move |bytes| {
                let peer = *peer.lock().unwrap_or_else(PoisonError::into_inner);
                for frame in frames.split(bytes) {
                    if let Some(peer) = peer {
                        // A host that has gone is none of the board's business.
                        let _ = socket.send_to(&frame, peer);
                    }
                }
                Ok(())
            },
        );
        Ok((line, address))
    }

    /// Two threads, which end with the line.
    fn new(
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize> + Send + 'static,
        mut write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let (sender, input) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok(length) = read(&mut buffer)
                && sender.send(buffer[..length].to_vec()).is_ok()
            {}
        });
        let (output, receiver) = sync_channel::<Vec<u8>>(WAITING);
        std::thread::spawn(move || {
            while let Ok(bytes) = receiver.recv()
                && write(&bytes).is_ok()
            {}
        });
        Self { input, output }
    }

    /// Lets a board work at this line for ever, or until its monitor fails. With `baud`, bytes take ten times so
    /// many parts of a second, both ways.
    pub fn serve(&self, board: &mut Board, baud: Option<u32>) -> Result<(), Box<s2_emu::Fault>> {
        let (mut to_board, mut to_host) = (Paced::new(baud), Paced::new(baud));
        loop {
            if board.is_idle() && to_board.bytes.is_empty() {
                match self.input.recv_timeout(REST) {
                    Ok(bytes) => to_board.bytes.extend(bytes),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => std::thread::sleep(REST),
                }
            }
            to_board.bytes.extend(self.input.try_iter().flatten());
            board.send(&to_board.take());
            board.step()?;
            for fault in board.take_faults() {
                eprintln!("s2-emu: {fault}");
            }
            to_host.bytes.extend(board.receive());
            let bytes = to_host.take();
            if !bytes.is_empty() {
                let _ = self.output.try_send(bytes);
            }
        }
    }
}

/// Bytes that come no faster than a serial line lets them.
struct Paced {
    bytes: VecDeque<u8>,
    byte_time: Option<Duration>,
    /// When the last byte has come, or would have.
    last: Instant,
}

impl Paced {
    fn new(baud: Option<u32>) -> Self {
        Self {
            bytes: VecDeque::new(),
            byte_time: baud.map(|baud| Duration::from_secs(10) / baud),
            last: Instant::now(),
        }
    }

    /// Takes the bytes that have come by now.
    fn take(&mut self) -> Vec<u8> {
        let now = Instant::now();
        let waiting = self.bytes.len();
        let count = match self.byte_time {
            _ if waiting == 0 => {
                self.last = now;
                0
            }
            None => waiting,
            Some(time) => {
                let come = (now - self.last).as_nanos() / time.as_nanos().max(1);
                let count = waiting.min(come as usize);
                self.last += time * count as u32;
                count
            }
        };
        self.bytes.drain(..count).collect()
    }
}

/// Finds frames in what a board sends: from one zero byte to the next.
#[derive(Default)]
struct Frames {
    begun: Vec<u8>,
}

impl Frames {
    fn split(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut whole = Vec::new();
        for &byte in bytes {
            self.begun.push(byte);
            if byte == 0 && self.begun.len() > 1 {
                whole.push(std::mem::take(&mut self.begun));
            }
        }
        whole
    }
}
