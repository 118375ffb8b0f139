//! A UART of the chip, connected to the world outside.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::Duration;

use crate::cpu::Core;

/// Cycles of the chip between two looks at the line while the program sleeps: a millisecond.
const LOOK: u64 = s2_hal::mock::FREQUENCY as u64 / 1000;

/// The line of one UART.
pub(crate) struct Line {
    uart: usize,
    output: Box<dyn Write>,
    /// `None` once it has ended.
    input: Option<Receiver<Vec<u8>>>,
}

impl Line {
    /// Connects a UART. A thread reads from `input` until that ends.
    pub(crate) fn new(
        uart: usize,
        mut input: impl Read + Send + 'static,
        output: Box<dyn Write>,
    ) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 256];
            while let Ok(count @ 1..) = input.read(&mut buffer)
                && sender.send(buffer[..count].to_vec()).is_ok()
            {}
        });
        Self {
            uart,
            output,
            input: Some(receiver),
        }
    }

    /// Whether more bytes may come.
    pub(crate) fn is_open(&self) -> bool {
        self.input.is_some()
    }

    /// Moves bytes both ways.
    pub(crate) fn exchange(&mut self, core: &mut Core) {
        let uart = self.uart;
        let sent = core.with_periphery(|periphery| periphery.take_from_uart(uart));
        if let Some(bytes) = sent.filter(|bytes| !bytes.is_empty()) {
            // Firmware is not told that nobody reads.
            let _ = self
                .output
                .write_all(&bytes)
                .and_then(|()| self.output.flush());
        }
        while let Some(input) = &self.input {
            match input.try_recv() {
                Ok(bytes) => {
                    core.with_periphery(|periphery| periphery.send_to_uart(uart, &bytes));
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => self.input = None,
            }
        }
    }

    /// The program is about to sleep: has it look at the line again in a while, if more may come.
    pub(crate) fn wait(&mut self, core: &mut Core) {
        let Some(input) = &self.input else {
            return;
        };
        match input.recv_timeout(Duration::from_millis(1)) {
            Ok(bytes) => {
                core.with_periphery(|periphery| periphery.send_to_uart(self.uart, &bytes));
                core.wake_in(1);
            }
            Err(RecvTimeoutError::Timeout) => core.wake_in(LOOK),
            Err(RecvTimeoutError::Disconnected) => self.input = None,
        }
    }
}
