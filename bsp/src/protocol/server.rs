//! The board's side: a state machine between the bytes of a line and a chip.

use core::fmt;
use core::mem::offset_of;
use core::ops::Range;

use s2_hal::dma::Address;
use s2_hal::topology::{self, PES, PeId, SRAM_BYTES};

use crate::board::Board;
use crate::layout;
use crate::record::{Record, Status};
use crate::specification::LAYOUT_HASH;

use super::frame::{self, Decoder, Frame, MAX_FRAME};
use super::{
    Failure, HelloRequest, HelloResponse, MAGIC, MAX_BLOCK, OLDEST_VERSION, Processor, REMEMBERED,
    Request, Response, State, UNLOCK, VERSION, WINDOW_BLOCKS, regions,
};

/// What a server does its work on.
///
/// Addresses are multiples of 4. The server calls nothing here for long: the longest run of calls is the loads or
/// stores of one block, so that an implementation may look after its line in between.
pub trait Chip {
    /// The board.
    fn board(&self) -> Board;

    /// Number of the chip.
    fn number(&self) -> u16;

    /// The PE that the server runs on.
    fn monitor(&self) -> PeId;

    /// Reads a word; `None` if the access failed. The address is one of [`regions`], or the host has unlocked the
    /// board.
    fn load(&mut self, address: u32) -> Option<u32>;

    /// Writes a word; `None` if the access failed. The address is one of [`regions`], or the host has unlocked the
    /// board.
    fn store(&mut self, address: u32, word: u32) -> Option<()>;

    /// What the processor of a PE does; the board has the PE.
    fn processor(&mut self, pe: PeId) -> Processor;

    /// Stops the processor of a PE, which is not the monitor, and holds it.
    fn hold(&mut self, pe: PeId);

    /// Lets the processor of a PE, which is not the monitor and is held, run from its reset vector.
    fn release(&mut self, pe: PeId);

    /// Raises feed-through line 0 for a moment.
    fn signal(&mut self);
}

/// An answer without data.
type Answer = Result<Outcome, Failure>;

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Done,
    Needs { id: u32, first: u32, held: u32 },
}

/// A request that was done, and what it was answered.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    sequence: u16,
    crc: u32,
    answer: Answer,
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    /// Sequence number and CRC of the `Hello` that started it.
    hello: (u16, u32),
    /// The highest sequence number so far.
    newest: u16,
    unlocked: bool,
    subscribed: bool,
    /// Sequence number of the next record of the stream.
    progress: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Transfer {
    id: u32,
    address: u32,
    length: u32,
    first: u32,
    held: u32,
}

impl Transfer {
    const fn blocks(&self) -> u32 {
        self.length.div_ceil(MAX_BLOCK as u32)
    }

    const fn needs(&self) -> Outcome {
        Outcome::Needs {
            id: self.id,
            first: self.first,
            held: self.held,
        }
    }

    /// Whether block `index`, one of those that the transfer takes, is there.
    const fn has(&self, index: u32) -> bool {
        index < self.first || (index > self.first && self.held >> (index - self.first - 1) & 1 == 1)
    }

    /// Notes that such a block is there.
    fn add(&mut self, index: u32) {
        if index > self.first {
            self.held |= 1 << (index - self.first - 1);
            return;
        }
        // The first missing block, and those behind it that are there.
        let more = self.held.trailing_ones();
        self.first += 1 + more;
        self.held = self.held.checked_shr(more + 1).unwrap_or(0);
    }

    const fn overlaps(&self, address: u32, length: u32) -> bool {
        let (start, end) = (address as u64, address as u64 + length as u64);
        start < self.address as u64 + self.length as u64 && (self.address as u64) < end
    }
}

/// What of a record the stream goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    status: u32,
    run: u32,
    step: u32,
}

impl Seen {
    /// The stream has not had the record.
    const NOTHING: Self = Self {
        status: Status::NotStarted as u32,
        run: 0,
        step: 0,
    };
}

/// Answers a host's requests. It does not allocate, takes any bytes, and never waits: each call does a bounded
/// amount of work, at most that of one request.
///
/// # Examples
/// A turn of whoever drives it:
/// ```
/// use bsp::protocol::{Chip, Server};
///
/// fn turn(server: &mut Server, chip: &mut impl Chip, received: &[u8], mut send: impl FnMut(u8) -> bool) -> usize {
///     while let Some(&byte) = server.output().first() && send(byte) {
///         server.sent(1);
///     }
///     // How many of the bytes were taken: not all while an answer waits to be sent.
///     server.receive(received, chip)
/// }
/// ```
pub struct Server {
    decoder: Decoder,
    desk: Desk,
}

/// All of a server but the decoder, whose frames it answers.
struct Desk {
    output: [u8; MAX_FRAME],
    /// Part of `output` that waits to be sent.
    waiting: Range<usize>,
    /// Data of an answer.
    block: [u8; MAX_BLOCK],
    connection: Option<Connection>,
    remembered: [Option<Remembered>; REMEMBERED],
    /// The oldest place in `remembered`.
    oldest: usize,
    transfer: Option<Transfer>,
    /// By core id, from 0.
    seen: [Seen; PES],
    /// Place in `seen` that the stream looks at next.
    next: usize,
}

impl Server {
    /// A server without a connection.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            decoder: Decoder::new(),
            desk: Desk {
                output: [0; MAX_FRAME],
                waiting: 0..0,
                block: [0; MAX_BLOCK],
                connection: None,
                remembered: [None; REMEMBERED],
                oldest: 0,
                transfer: None,
                seen: [Seen::NOTHING; PES],
                next: 0,
            },
        }
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.desk.output[self.desk.waiting.clone()]
    }

    /// Notes that so many bytes of [`output`](Self::output) were sent.
    pub fn sent(&mut self, bytes: usize) {
        let waiting = &mut self.desk.waiting;
        waiting.start = waiting.start.saturating_add(bytes).min(waiting.end);
    }

    /// Takes bytes from the line, up to the first one that ends a request, and does what that asks for. Takes none
    /// while an answer waits to be sent. Returns how many it took.
    pub fn receive(&mut self, bytes: &[u8], chip: &mut impl Chip) -> usize {
        if !self.desk.waiting.is_empty() {
            return 0;
        }
        for (place, &byte) in bytes.iter().enumerate() {
            if let Some(frame) = self.decoder.push(byte) {
                self.desk.answer(&frame, chip);
                return place + 1;
            }
        }
        bytes.len()
    }

    /// Looks at the record of one PE, if the host wants the stream and nothing waits to be sent. When it has changed,
    /// it is sent. Calls go round: as many as there are PEs look at each one.
    pub fn watch(&mut self, chip: &mut impl Chip) {
        self.desk.watch(chip);
    }

    /// Whether the host wants the stream of records.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        self.desk
            .connection
            .is_some_and(|connection| connection.subscribed)
    }

    /// How often bytes came that were no frame.
    #[must_use]
    pub const fn damaged(&self) -> u32 {
        self.decoder.damaged()
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("connection", &self.desk.connection)
            .field("transfer", &self.desk.transfer)
            .field("waiting", &self.desk.waiting)
            .finish_non_exhaustive()
    }
}

impl Desk {
    fn send(&mut self, sequence: u16, response: &Response<'_>) {
        let frame = frame::encode(sequence, response, &mut self.output);
        self.waiting = 0..frame.map_or(0, |frame| frame.len());
    }

    fn send_answer(&mut self, sequence: u16, answer: Answer) {
        let response = match answer {
            Ok(Outcome::Done) => Response::Done,
            Ok(Outcome::Needs { id, first, held }) => Response::Needs { id, first, held },
            Err(failure) => Response::Failed(failure),
        };
        self.send(sequence, &response);
    }

    fn answer(&mut self, frame: &Frame<'_>, chip: &mut impl Chip) {
        let sequence = frame.sequence;
        let request = match Request::decode(frame.message) {
            Ok(request) => request,
            Err(failure) => return self.send_answer(sequence, Err(failure)),
        };
        match request {
            Request::Hello(hello) => return self.hello(frame, &hello, chip),
            Request::Close => {
                self.connection = None;
                return self.send_answer(sequence, Ok(Outcome::Done));
            }
            _ => {}
        }
        let Some(connection) = &mut self.connection else {
            return self.send_answer(sequence, Err(Failure::NoHello));
        };
        // Sequence numbers go round.
        let ahead = sequence.wrapping_sub(connection.newest).cast_signed();
        if ahead > 0 {
            connection.newest = sequence;
        }
        if let Err(failure) = request.check() {
            return self.send_answer(sequence, Err(failure));
        }
        if !request.changes() {
            if let Err(failure) = self.look(sequence, &request, chip) {
                self.send_answer(sequence, Err(failure));
            }
            return;
        }
        // The transfer's own state tells whether a block is there already.
        if let Request::Block { id, index, data } = request {
            let answer = self.block(chip, id, index, data);
            return self.send_answer(sequence, answer);
        }
        let known = self
            .remembered
            .iter()
            .flatten()
            .find(|remembered| (remembered.sequence, remembered.crc) == (sequence, frame.crc));
        let answer = match known {
            Some(remembered) => remembered.answer,
            None if ahead <= -(REMEMBERED as i16) => Err(Failure::Stale),
            None => {
                let answer = self.change(&request, chip);
                self.remembered[self.oldest] = Some(Remembered {
                    sequence,
                    crc: frame.crc,
                    answer,
                });
                self.oldest = (self.oldest + 1) % REMEMBERED;
                answer
            }
        };
        self.send_answer(sequence, answer);
    }

    fn hello(&mut self, frame: &Frame<'_>, hello: &HelloRequest, chip: &mut impl Chip) {
        let sequence = frame.sequence;
        if hello.magic != MAGIC {
            let failure = Failure::UnknownMessage {
                tag: 0,
                version: VERSION,
            };
            return self.send_answer(sequence, Err(failure));
        }
        let understood = hello.oldest <= VERSION && hello.newest >= OLDEST_VERSION;
        let this = (sequence, frame.crc);
        // A repeated one belongs to the connection that it has started.
        if self
            .connection
            .is_none_or(|connection| connection.hello != this)
            || !understood
        {
            self.remembered = [None; REMEMBERED];
            self.connection = understood.then_some(Connection {
                hello: this,
                newest: sequence,
                unlocked: false,
                subscribed: false,
                progress: 0,
            });
        }
        let version = if understood {
            VERSION.min(hello.newest)
        } else {
            0
        };
        let board = &chip.board();
        let mut response = HelloResponse::new(
            version,
            LAYOUT_HASH,
            board.name,
            chip.number(),
            chip.monitor(),
        );
        pes(board).for_each(|pe| response.add(pe));
        self.send(sequence, &Response::Hello(response));
    }

    fn is_unlocked(&self) -> bool {
        self.connection
            .is_some_and(|connection| connection.unlocked)
    }

    /// Does a request that changes nothing, and answers it.
    fn look(
        &mut self,
        sequence: u16,
        request: &Request<'_>,
        chip: &mut impl Chip,
    ) -> Result<(), Failure> {
        match *request {
            Request::Overview => {
                let (board, mut count) = (chip.board(), 0);
                let numbers = 0..=u8::MAX;
                for pe in numbers.filter_map(|number| find(&board, number).ok()) {
                    let status = load_record(chip, pe, offset_of!(Record, status))?;
                    let image = load_record(chip, pe, offset_of!(Record, image))?;
                    self.block[count] = Response::overview_byte(chip.processor(pe), status, image);
                    count += 1;
                }
                self.send_block(sequence, count, |states| Response::Overview { states });
            }
            Request::State { pe } => {
                let pe = find(&chip.board(), pe)?;
                self.send_state(sequence, pe, chip, true)?;
            }
            Request::Read { address, length } => {
                let words = u32::from(length) / 4;
                if !self.is_unlocked() && !regions::is_readable(&chip.board(), address, 4 * words) {
                    return Err(Failure::Locked { address });
                }
                self.load(chip, address, words)?;
                self.send_block(sequence, length.into(), |data| Response::Data {
                    address,
                    data,
                });
            }
            _ => unreachable!("`changes` says so"),
        }
        Ok(())
    }

    /// Sends a response that has the first bytes of the block.
    fn send_block<'s>(
        &'s mut self,
        sequence: u16,
        bytes: usize,
        response: impl FnOnce(&'s [u8]) -> Response<'s>,
    ) {
        let response = response(&self.block[..bytes]);
        let frame = frame::encode(sequence, &response, &mut self.output);
        self.waiting = 0..frame.map_or(0, |frame| frame.len());
    }

    /// Fills the block with words from `address` on.
    fn load(&mut self, chip: &mut impl Chip, address: u32, words: u32) -> Result<(), Failure> {
        let failed = Failure::Bus { address };
        let places = self.block.chunks_exact_mut(4);
        for (word, place) in (0..words).zip(places) {
            let at = address.checked_add(4 * word).ok_or(failed)?;
            let value = chip.load(at).ok_or(failed)?;
            place.copy_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }

    /// Sends what a PE does: as an answer, or as part of the stream.
    fn send_state(
        &mut self,
        sequence: u16,
        pe: PeId,
        chip: &mut impl Chip,
        is_answer: bool,
    ) -> Result<(), Failure> {
        const WORDS: usize = size_of::<Record>() / 4;
        self.load(chip, record_address(pe, 0), WORDS as u32)?;
        let record = &self.block[..4 * WORDS];
        let last = record.iter().rposition(|&byte| byte != 0);
        let processor = chip.processor(pe);
        self.send_block(sequence, last.map_or(0, |last| last + 1), |record| {
            let state = State {
                pe: pe.noc_id(),
                processor,
                record,
            };
            if is_answer {
                Response::State(state)
            } else {
                Response::Progress(state)
            }
        });
        Ok(())
    }

    /// Does a request that changes something.
    fn change(&mut self, request: &Request<'_>, chip: &mut impl Chip) -> Answer {
        match *request {
            Request::Unlock { word } => {
                let connection = self.connection.as_mut().ok_or(Failure::NoHello)?;
                if word != UNLOCK {
                    return Err(Failure::WrongWord);
                }
                connection.unlocked = true;
            }
            Request::Write { address, data } => {
                self.may_write(chip, address, data.len() as u32)?;
                self.forget_transfer(address, data.len() as u32);
                store(chip, address, words(data))?;
            }
            Request::Fill {
                address,
                length,
                word,
            } => {
                self.may_write(chip, address, length)?;
                self.forget_transfer(address, length);
                store(chip, address, (0..length / 4).map(|_| word))?;
            }
            Request::Open {
                id,
                address,
                length,
            } => {
                self.may_write(chip, address, length)?;
                let new = Transfer {
                    id,
                    address,
                    length,
                    first: 0,
                    held: 0,
                };
                let transfer = match self.transfer {
                    Some(old)
                        if (old.id, old.address, old.length) == (id, address, length)
                            && old.first < old.blocks() =>
                    {
                        old
                    }
                    // A complete one starts anew: its memory may have been changed by programs since.
                    _ => new,
                };
                self.transfer = Some(transfer);
                return Ok(transfer.needs());
            }
            Request::Start { pe } => {
                let id = other(chip, pe)?;
                if chip.processor(id) == Processor::Running {
                    return Err(Failure::Busy { pe });
                }
                self.transfer = None;
                chip.release(id);
            }
            Request::Stop { pe } => chip.hold(other(chip, pe)?),
            Request::Reset { pe } => {
                let id = other(chip, pe)?;
                self.transfer = None;
                chip.hold(id);
                chip.release(id);
            }
            Request::Signal { line: 0 } => chip.signal(),
            Request::Signal { line } => return Err(Failure::NoSuchLine { line }),
            Request::Subscribe { on } => {
                let connection = self.connection.as_mut().ok_or(Failure::NoHello)?;
                connection.subscribed = on;
                connection.progress = 0;
                self.seen = [Seen::NOTHING; PES];
            }
            _ => unreachable!("it was dealt with before"),
        }
        Ok(Outcome::Done)
    }

    fn may_write(&self, chip: &impl Chip, address: u32, length: u32) -> Result<(), Failure> {
        if self.is_unlocked()
            || regions::is_writable(&chip.board(), chip.monitor(), address, length)
        {
            return Ok(());
        }
        Err(Failure::Locked { address })
    }

    /// Somebody else writes there: the transfer, if it is to the same memory, can no longer be resumed.
    fn forget_transfer(&mut self, address: u32, length: u32) {
        self.transfer = self
            .transfer
            .filter(|transfer| !transfer.overlaps(address, length));
    }

    fn block(&mut self, chip: &mut impl Chip, id: u32, index: u32, data: &[u8]) -> Answer {
        let mut transfer = self
            .transfer
            .filter(|transfer| transfer.id == id)
            .ok_or(Failure::NoTransfer { id })?;
        let blocks = transfer.blocks();
        let first = transfer.first;
        let expected = match blocks.checked_sub(index) {
            None | Some(0) => 0,
            Some(1) => transfer.length - index * MAX_BLOCK as u32,
            Some(_) => MAX_BLOCK as u32,
        };
        if data.len() as u32 != expected || index >= first.saturating_add(WINDOW_BLOCKS) {
            return Err(Failure::Block { index, first });
        }
        if !transfer.has(index) {
            let address = transfer.address + index * MAX_BLOCK as u32;
            self.may_write(chip, address, expected)?;
            store(chip, address, words(data))?;
            transfer.add(index);
            self.transfer = Some(transfer);
        }
        Ok(transfer.needs())
    }

    fn watch(&mut self, chip: &mut impl Chip) {
        let Some(connection) = self.connection.filter(|connection| connection.subscribed) else {
            return;
        };
        if !self.waiting.is_empty() {
            return;
        }
        let place = self.next;
        self.next = (place + 1) % PES;
        let Some(pe) = PeId::from_core(place as u8 + 1).filter(|&pe| chip.board().has(pe)) else {
            return;
        };
        let mut word = |offset| load_record(chip, pe, offset);
        let (Ok(status), Ok(run), Ok(step)) = (
            word(offset_of!(Record, status)),
            word(offset_of!(Record, run)),
            word(offset_of!(Record, step)),
        ) else {
            return;
        };
        let now = Seen { status, run, step };
        // Memory that no program has started in may hold anything.
        if now == self.seen[place] || Status::from_word(status).is_none() {
            return;
        }
        self.seen[place] = now;
        if self
            .send_state(connection.progress, pe, chip, false)
            .is_ok()
            && let Some(connection) = &mut self.connection
        {
            connection.progress = connection.progress.wrapping_add(1);
        }
    }
}

/// The PEs of a board.
fn pes(board: &Board) -> impl Iterator<Item = PeId> {
    topology::pes().filter(|&pe| board.has(pe))
}

/// The PE with this number.
fn find(board: &Board, pe: u8) -> Result<PeId, Failure> {
    PeId::from_noc_id(pe)
        .filter(|&id| board.has(id))
        .ok_or(Failure::NoSuchPe { pe })
}

/// The PE with this number, which is not the monitor's.
fn other(chip: &impl Chip, pe: u8) -> Result<PeId, Failure> {
    match find(&chip.board(), pe)? {
        id if id == chip.monitor() => Err(Failure::Monitor),
        id => Ok(id),
    }
}

/// Chip address of a word of a PE's record.
fn record_address(pe: PeId, offset: usize) -> u32 {
    Address::SRAM_WINDOW
        + u32::from(pe.noc_id()) * SRAM_BYTES
        + layout::RECORD.start
        + offset as u32
}

fn load_record(chip: &mut impl Chip, pe: PeId, offset: usize) -> Result<u32, Failure> {
    let address = record_address(pe, offset);
    chip.load(address).ok_or(Failure::Bus { address })
}

/// The words of bytes, whose number is a multiple of 4.
fn words(data: &[u8]) -> impl Iterator<Item = u32> {
    let (words, _) = data.as_chunks();
    words.iter().map(|&word| u32::from_le_bytes(word))
}

/// Writes words from `address` on.
fn store(
    chip: &mut impl Chip,
    address: u32,
    words: impl Iterator<Item = u32>,
) -> Result<(), Failure> {
    let failed = Failure::Bus { address };
    for (place, word) in words.enumerate() {
        let at = address.checked_add(4 * place as u32).ok_or(failed)?;
        chip.store(at, word).ok_or(failed)?;
    }
    Ok(())
}
