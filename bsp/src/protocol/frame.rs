//! Frames: what messages are packed into on the line.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | zero: ends what may have come before |
//! | 2 + n + 4, and one for each 254 | in COBS, so that none is zero: sequence number (low byte first), message of n bytes, CRC-32 (low byte first) |
//! | 1 | zero |
//!
//! The CRC is the one of Ethernet and zip files (`CRC-32/ISO-HDLC`), over sequence number and message.

use core::fmt;

use cobs::{DecodeResult, DecoderState};
use crc::{CRC_32_ISO_HDLC, Crc, Digest};
use postcard::ser_flavors::crc::CrcModifier;
use postcard::ser_flavors::{Cobs, Slice};
use serde::Serialize;

use super::MAX_BLOCK;

/// Bytes before the message: the sequence number.
const HEAD: usize = 2;

/// Bytes behind it: the CRC.
const TAIL: usize = 4;

/// Bytes of the longest message: that with a block of data, its tag, two numbers and the data's length.
pub const MAX_MESSAGE: usize = 1 + 5 + 5 + 2 + MAX_BLOCK;

/// Bytes of the longest frame before COBS.
const MAX_CONTENT: usize = HEAD + MAX_MESSAGE + TAIL;

/// Bytes of the longest frame, with both zeros.
pub const MAX_FRAME: usize = 1 + cobs::max_encoding_length(MAX_CONTENT) + 1;

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// The CRC of anything with its own CRC behind it.
const RESIDUE: u32 = 0x2144_df1c;

/// Packs a message, a [`Request`](super::Request) or a [`Response`](super::Response), into a frame. Returns the
/// frame; `None` if `into` is too short. [`MAX_FRAME`] bytes are enough for any message whose data are at most
/// [`MAX_BLOCK`] bytes.
pub fn encode<'b>(
    sequence: u16,
    message: &impl Serialize,
    into: &'b mut [u8],
) -> Option<&'b mut [u8]> {
    let (first, rest) = into.split_first_mut()?;
    *first = 0;
    let cobs = Cobs::try_new(Slice::new(rest)).ok()?;
    let flavor = CrcModifier::new(cobs, CRC.digest());
    let content = (sequence.to_le_bytes(), message);
    let length = postcard::serialize_with_flavor(&content, flavor)
        .ok()?
        .len();
    into.get_mut(..1 + length)
}

/// A whole frame, unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The sequence number.
    pub sequence: u16,
    /// Bytes of the message, at least one.
    pub message: &'a [u8],
    /// The CRC, which stands for the whole content where frames are compared.
    pub crc: u32,
}

/// Finds frames in a stream of bytes. Any bytes are safe to give; the work for each is a small constant.
pub struct Decoder {
    state: DecoderState,
    digest: Digest<'static, u32>,
    content: [u8; MAX_CONTENT],
    length: usize,
    /// Bytes that cannot become a frame any more, until the next zero.
    broken: bool,
    damaged: u32,
}

impl Decoder {
    /// A decoder at the start of a frame.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: DecoderState::Idle,
            digest: CRC.digest(),
            content: [0; MAX_CONTENT],
            length: 0,
            broken: false,
            damaged: 0,
        }
    }

    /// Takes the next byte; returns the frame that it completes.
    pub fn push(&mut self, byte: u8) -> Option<Frame<'_>> {
        if byte == 0 {
            return self.end();
        }
        // Only a zero can be an error of the encoding.
        if let Ok(DecodeResult::DataContinue(byte)) = self.state.feed(byte) {
            match self.content.get_mut(self.length) {
                Some(place) => {
                    *place = byte;
                    self.length += 1;
                    self.digest.update(&[byte]);
                }
                None => self.broken = true,
            }
        }
        None
    }

    /// A zero: the end of a frame, or of whatever it was.
    fn end(&mut self) -> Option<Frame<'_>> {
        let started = !matches!(self.state, DecoderState::Idle);
        let complete = matches!(self.state.feed(0), Ok(DecodeResult::DataComplete));
        let digest = core::mem::replace(&mut self.digest, CRC.digest());
        let length = core::mem::take(&mut self.length);
        let broken = core::mem::take(&mut self.broken);
        if !started {
            return None;
        }
        if !complete || broken || length <= HEAD + TAIL || digest.finalize() != RESIDUE {
            self.damaged = self.damaged.wrapping_add(1);
            return None;
        }
        let (content, crc) = self.content[..length].split_last_chunk::<TAIL>()?;
        let (sequence, message) = content.split_first_chunk::<HEAD>()?;
        Some(Frame {
            sequence: u16::from_le_bytes(*sequence),
            message,
            crc: u32::from_le_bytes(*crc),
        })
    }

    /// How often bytes between two zeros were no frame.
    #[must_use]
    pub const fn damaged(&self) -> u32 {
        self.damaged
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("length", &self.length)
            .field("damaged", &self.damaged)
            .finish_non_exhaustive()
    }
}
