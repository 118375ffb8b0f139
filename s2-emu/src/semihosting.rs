//! Semihosting: calls from firmware to the machine that it is debugged from, by `bkpt 0xab`.

use std::io::{Read, Write};

use s2_hal::mock::FREQUENCY;
use unicorn_engine::RegisterARM as R;

use crate::cpu::Cpu;
use crate::fault::Cause;

/// Number of the breakpoint that is a call.
pub(crate) const BREAKPOINT: u8 = 0xab;

/// What a program that ended by itself says.
const APPLICATION_EXIT: u32 = 0x20026;

/// Handle of the console.
const CONSOLE: u32 = 1;

/// Where output goes and input comes from.
pub(crate) struct Streams {
    pub(crate) output: Box<dyn Write>,
    pub(crate) input: Box<dyn Read>,
}

/// Makes the call in the registers. Returns the exit code if it ends the program.
pub(crate) fn call(cpu: &mut Cpu, streams: &mut Streams) -> Result<Option<i32>, Cause> {
    let (number, argument) = (cpu.register(R::R0), cpu.register(R::R1));
    let word = |place: u32| cpu.peek_word(argument.wrapping_add(4 * place)).unwrap_or(0);
    let answer = match number {
        // SYS_OPEN: the console is the only file.
        0x01 => {
            let name = bytes(cpu, word(0), word(2).min(16));
            if name == b":tt" { CONSOLE } else { u32::MAX }
        }
        // SYS_CLOSE.
        0x02 => 0,
        // SYS_WRITEC.
        0x03 => {
            print(streams, &bytes(cpu, argument, 1));
            number
        }
        // SYS_WRITE0.
        0x04 => {
            let text: Vec<u8> = (argument..)
                .map_while(|address| bytes(cpu, address, 1).first().copied())
                .take_while(|&byte| byte != 0)
                .collect();
            print(streams, &text);
            number
        }
        // SYS_WRITE.
        0x05 => {
            print(streams, &bytes(cpu, word(1), word(2)));
            0
        }
        // SYS_READC.
        0x07 => {
            let mut byte = [0];
            match streams.input.read_exact(&mut byte) {
                Ok(()) => byte[0].into(),
                Err(_) => u32::MAX,
            }
        }
        // SYS_ISTTY.
        0x09 => 1,
        // SYS_CLOCK, in hundredths of a second.
        0x10 => (cpu.core().now() / u64::from(FREQUENCY / 100)) as u32,
        // SYS_ERRNO.
        0x13 => 0,
        // SYS_EXIT: the argument is the reason.
        0x18 => return Ok(Some(exit_code(argument, 0))),
        // SYS_EXIT_EXTENDED: reason and code.
        0x20 => return Ok(Some(exit_code(word(0), word(1)))),
        number => return Err(Cause::UnknownCall { number }),
    };
    cpu.set_register(R::R0, answer);
    Ok(None)
}

fn exit_code(reason: u32, code: u32) -> i32 {
    if reason == APPLICATION_EXIT {
        code.cast_signed()
    } else {
        1
    }
}

/// Bytes of the SRAM; none where there are not as many.
fn bytes(cpu: &Cpu, address: u32, length: u32) -> Vec<u8> {
    let mut bytes = vec![0; length.min(s2_hal::topology::SRAM_BYTES) as usize];
    if !cpu.peek(address, &mut bytes) {
        bytes.clear();
    }
    bytes
}

fn print(streams: &mut Streams, text: &[u8]) {
    // Firmware is not told that nobody reads.
    let _ = streams
        .output
        .write_all(text)
        .and_then(|()| streams.output.flush());
}
