//! Asks a board: one answer for every request, whatever the line does to them.
//!
//! A request that gets no answer is sent again, with the same sequence number, so that the board does nothing
//! twice. Longer reads and writes keep as many requests under way as the board allows. When the port vanishes,
//! the client waits for it, connects anew and goes on with what was not answered; a transfer to the board goes on
//! where it was even if this program was started anew.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

use bsp::protocol::frame::{Decoder, MAX_FRAME, encode};
use bsp::protocol::{
    Failure, HelloRequest, HelloResponse, MAGIC, MAX_BLOCK, Processor, REMEMBERED, Request,
    Response, State, UNLOCK, WINDOW_BLOCKS,
};
use bsp::record::{Record, Status};
use bsp::specification::{Image, LAYOUT_HASH};
use crc::{CRC_32_ISO_HDLC, Crc};

use super::{Error, Transport};

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// For the first answer, beside what the line takes. Each further try waits twice as long as the one before.
    pub first: Duration,
    /// The longest wait for an answer.
    pub longest: Duration,
    /// How often a request is sent.
    pub tries: u32,
    /// For a port that has vanished.
    pub patience: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(400),
            longest: Duration::from_secs(3),
            tries: 5,
            patience: Duration::from_secs(30),
        }
    }
}

/// How often a connection may break, or the board restart, before anything is answered.
const MAX_BREAKS: u32 = 8;

/// Pause between two tries to open a port that has vanished.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);

/// Is told how the work goes on.
pub trait Observer {
    /// So many bytes more are going to be read or written.
    fn expected(&mut self, bytes: usize);

    /// So many bytes more have been read or written, or were on the board already.
    fn transferred(&mut self, bytes: usize);

    /// What a PE does has changed.
    fn changed(&mut self, record: &Record);

    /// Something that a person may want to know, as a line of text.
    fn note(&mut self, text: &str);
}

/// An observer that looks away.
pub struct Unobserved;

impl Observer for Unobserved {
    fn expected(&mut self, _bytes: usize) {}
    fn transferred(&mut self, _bytes: usize) {}
    fn changed(&mut self, _record: &Record) {}
    fn note(&mut self, _text: &str) {}
}

/// What one PE does, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Number of the PE.
    pub pe: u8,
    /// Whether its processor runs.
    pub processor: Processor,
    /// What its program does; `None` if its memory holds no record.
    pub status: Option<Status>,
    /// The program.
    pub image: Option<Image>,
}

/// A connection to a board.
pub struct Client {
    transport: Box<dyn Transport>,
    observer: Box<dyn Observer>,
    timing: Timing,
    decoder: Decoder,
    /// Of the next request.
    sequence: u16,
    /// What the board said of itself; there from the first connection on.
    hello: Option<HelloResponse>,
    subscribed: bool,
    /// Requests that may be unanswered at a time.
    window: usize,
    /// Bytes that came since the last whole frame.
    unheard: usize,
}

/// What became of a look at the line.
enum Step {
    /// No request is under way or left to be sent.
    Done,
    /// A request was answered.
    Answered,
    /// None was.
    Waiting,
}

/// Requests that are sent in a window.
trait Jobs {
    /// The key of the next one that may be sent now.
    fn next(&mut self) -> Option<u32>;

    /// The request with this key.
    fn request(&self, key: u32) -> Request<'_>;

    /// Takes its answer and returns how many bytes of data were moved; `None` if that is no answer to it.
    fn answer(&mut self, key: u32, response: &Response<'_>) -> Option<usize>;

    /// Whether the answer does not matter any more.
    fn is_settled(&self, _key: u32) -> bool {
        false
    }
}

/// A request under way.
struct Pending {
    key: u32,
    sequence: u16,
    frame: Vec<u8>,
    tries: u32,
    deadline: Instant,
    /// It was sent before, over a connection that broke.
    again: bool,
}

impl Client {
    /// Connects to the board behind an open port.
    ///
    /// # Errors
    /// [`Error::Silent`] or [`Error::Garbage`] if no board answers, [`Error::Version`] if it speaks no version of the
    /// protocol that this program does.
    pub fn connect(
        transport: Box<dyn Transport>,
        observer: Box<dyn Observer>,
        timing: Timing,
    ) -> Result<Self, Error> {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let mut this = Self {
            transport,
            observer,
            timing,
            decoder: Decoder::new(),
            // Answers to somebody who was connected before most likely have other numbers.
            sequence: now.subsec_micros() as u16,
            hello: None,
            subscribed: false,
            window: 1,
            unheard: 0,
        };
        this.greet()?;
        Ok(this)
    }

    fn greet(&mut self) -> Result<(), Error> {
        let request = Request::Hello(HelloRequest::THIS);
        self.window = 1;
        let hello = self.ask(request, |response| match response {
            Response::Hello(hello) if hello.magic == MAGIC => Some(*hello),
            _ => None,
        })?;
        if hello.version == 0 {
            return Err(Error::Version {
                oldest: hello.oldest,
            });
        }
        self.hello = Some(hello);
        self.window = usize::from(hello.window).clamp(1, REMEMBERED);
        if self.subscribed {
            self.subscribe(true)?;
        }
        Ok(())
    }

    /// What the board said of itself.
    #[must_use]
    pub fn hello(&self) -> &HelloResponse {
        self.hello.as_ref().expect("a client is connected")
    }

    /// Name of the port.
    #[must_use]
    pub fn port(&self) -> &str {
        self.transport.name()
    }

    /// Replaces the observer.
    pub fn observe(&mut self, observer: Box<dyn Observer>) {
        self.observer = observer;
    }

    /// Tells the observer of bytes that are going to be read or written.
    pub fn announce(&mut self, bytes: usize) {
        self.observer.expected(bytes);
    }

    /// Makes sure that the firmware was built for the same formats of memory as this program.
    ///
    /// # Errors
    /// [`Error::Layout`].
    pub fn check_layout(&self) -> Result<(), Error> {
        match self.hello().layout_hash() {
            LAYOUT_HASH => Ok(()),
            found => Err(Error::Layout {
                found,
                build: HelloResponse::text(&self.hello().build).to_owned(),
            }),
        }
    }

    /// Bytes of data in the largest message.
    fn block(&self) -> usize {
        self.hello().max_block().clamp(4, MAX_BLOCK)
    }

    /// What all PEs do.
    ///
    /// # Errors
    /// As for all requests: the board does not answer, or refuses.
    pub fn overview(&mut self) -> Result<Vec<Summary>, Error> {
        let numbers: Vec<_> = self.hello().numbers().collect();
        self.ask(Request::Overview, |response| match response {
            Response::Overview { states } if states.len() == numbers.len() => {
                let summary = |(&pe, &byte)| {
                    let (processor, status, image) = Response::overview(byte);
                    Summary {
                        pe,
                        processor,
                        status,
                        image,
                    }
                };
                Some(numbers.iter().zip(*states).map(summary).collect())
            }
            _ => None,
        })
    }

    /// What one PE does, at length.
    ///
    /// # Errors
    /// As for all requests.
    pub fn state(&mut self, pe: u8) -> Result<(Processor, Record), Error> {
        self.ask(Request::State { pe }, |response| match response {
            Response::State(state) if state.pe == pe => Some((state.processor, state.record()?)),
            _ => None,
        })
    }

    /// Opens the lock on addresses that are no memory.
    ///
    /// # Errors
    /// As for all requests.
    pub fn unlock(&mut self) -> Result<(), Error> {
        self.order(Request::Unlock { word: UNLOCK })
    }

    /// Writes the same word to all of a piece of memory of at most
    /// [`MAX_FILL`](bsp::protocol::MAX_FILL) bytes.
    ///
    /// # Errors
    /// As for all requests.
    pub fn fill(&mut self, address: u32, length: u32, word: u32) -> Result<(), Error> {
        self.order(Request::Fill {
            address,
            length,
            word,
        })
    }

    /// Lets the processor of a PE that is held run.
    ///
    /// # Errors
    /// As for all requests.
    pub fn start(&mut self, pe: u8) -> Result<(), Error> {
        self.order(Request::Start { pe })
    }

    /// Stops the processor of a PE and holds it.
    ///
    /// # Errors
    /// As for all requests.
    pub fn stop(&mut self, pe: u8) -> Result<(), Error> {
        self.order(Request::Stop { pe })
    }

    /// Lets the processor of a PE run from its reset vector.
    ///
    /// # Errors
    /// As for all requests.
    pub fn reset(&mut self, pe: u8) -> Result<(), Error> {
        self.order(Request::Reset { pe })
    }

    /// Raises a feed-through line for a moment.
    ///
    /// # Errors
    /// As for all requests.
    pub fn signal(&mut self, line: u8) -> Result<(), Error> {
        self.order(Request::Signal { line })
    }

    /// Lets the board tell what changes, or not; the observer hears of it.
    ///
    /// # Errors
    /// As for all requests.
    pub fn subscribe(&mut self, on: bool) -> Result<(), Error> {
        self.subscribed = on;
        self.order(Request::Subscribe { on })
    }

    /// Takes what the board tells by itself, for so long.
    ///
    /// # Errors
    /// A port that has vanished and did not come back.
    pub fn listen(&mut self, time: Duration) -> Result<(), Error> {
        let end = Instant::now() + time;
        loop {
            match self.receive(end, |_, _| {}) {
                Ok(bytes) if bytes == 0 || Instant::now() >= end => return Ok(()),
                Ok(_) => {}
                Err(Error::Vanished { .. }) => {
                    self.wait_for_port()?;
                    self.greet()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads memory. Address and length are multiples of 4.
    ///
    /// # Errors
    /// As for all requests.
    pub fn read(&mut self, address: u32, into: &mut [u8]) -> Result<(), Error> {
        let block = self.block();
        self.run(&mut Reads {
            address,
            into,
            block,
            next: 0,
        })
    }

    /// Writes memory. Address and length are multiples of 4.
    ///
    /// What is longer than a message goes as a transfer: if the same data were on their way to the same place when
    /// the connection broke, only what is missing is sent.
    ///
    /// # Errors
    /// As for all requests.
    pub fn write(&mut self, address: u32, data: &[u8]) -> Result<(), Error> {
        let block = self.block();
        if data.len() <= block {
            self.order(Request::Write { address, data })?;
            self.observer.transferred(data.len());
            return Ok(());
        }
        let length = u32::try_from(data.len()).map_err(|_| {
            Error::Refused(Failure::Length {
                length: u32::MAX,
                limit: u32::MAX,
            })
        })?;
        let mut jobs = Blocks {
            id: Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(data),
            data,
            block,
            total: length.div_ceil(block as u32),
            first: 0,
            held: 0,
            next: 0,
        };
        let mut idle = 0;
        loop {
            let before = jobs.first;
            let (id, total) = (jobs.id, jobs.total);
            let request = Request::Open {
                id,
                address,
                length,
            };
            (jobs.first, jobs.held) = self.ask(request, |response| match *response {
                Response::Needs {
                    id: of,
                    first,
                    held,
                } if of == id && first <= total => Some((first, held)),
                _ => None,
            })?;
            jobs.next = jobs.first;
            if jobs.first > before {
                // From an earlier connection.
                self.observer.transferred(jobs.bytes(before..jobs.first));
            }
            let opened = jobs.first;
            match self.run(&mut jobs) {
                // The board was restarted meanwhile, and knows nothing of it.
                Err(Error::Refused(Failure::NoTransfer { .. })) if idle < MAX_BREAKS => {
                    idle = if jobs.first > opened { 0 } else { idle + 1 };
                }
                result => return result,
            }
        }
    }

    /// Sends requests that have no data to answer with. A later one may be done before an earlier one.
    ///
    /// # Errors
    /// As for all requests.
    pub fn order_all(&mut self, requests: &[Request<'_>]) -> Result<(), Error> {
        let mut checks = requests.iter().map(Request::check);
        checks
            .find(Result::is_err)
            .unwrap_or(Ok(()))
            .map_err(Error::Refused)?;
        self.run(&mut Orders { requests, next: 0 })
    }

    fn order(&mut self, request: Request<'_>) -> Result<(), Error> {
        self.order_all(&[request])
    }

    fn ask<T>(
        &mut self,
        request: Request<'_>,
        take: impl FnMut(&Response<'_>) -> Option<T>,
    ) -> Result<T, Error> {
        let mut job = Once {
            request,
            take,
            sent: false,
            answer: None,
        };
        self.run(&mut job)?;
        job.answer.ok_or(Error::Unexpected {
            request: name(&request),
        })
    }

    /// Sends requests until all have their answers.
    fn run(&mut self, jobs: &mut dyn Jobs) -> Result<(), Error> {
        let mut pending = VecDeque::<Pending>::new();
        let mut breaks = 0;
        loop {
            match self.step(jobs, &mut pending) {
                Ok(Step::Done) => return Ok(()),
                Ok(Step::Answered) => {
                    breaks = 0;
                    continue;
                }
                Ok(Step::Waiting) => continue,
                Err(_) if breaks >= MAX_BREAKS => return Err(self.no_answer()),
                Err(Error::Vanished { .. }) => self.wait_for_port()?,
                Err(Error::Refused(Failure::NoHello)) => {}
                Err(error) => return Err(error),
            }
            breaks += 1;
            // A new connection: requests get numbers that it knows.
            if !matches!(jobs.request(0), Request::Hello(_)) {
                self.greet()?;
            }
            for request in &mut pending {
                *request = self.prepare(request.key, &jobs.request(request.key));
                request.deadline = Instant::now();
                request.tries = 0;
                request.again = true;
            }
        }
    }

    /// Sends what may be sent, and takes what comes until the first request has waited too long.
    fn step(
        &mut self,
        jobs: &mut dyn Jobs,
        pending: &mut VecDeque<Pending>,
    ) -> Result<Step, Error> {
        // Older requests than it remembers the board would refuse to repeat.
        let spans = |oldest: Option<&Pending>, next: u16| {
            oldest
                .is_some_and(|oldest| usize::from(next.wrapping_sub(oldest.sequence)) >= REMEMBERED)
        };
        while pending.len() < self.window && !spans(pending.front(), self.sequence) {
            let Some(key) = jobs.next() else { break };
            let request = self.prepare(key, &jobs.request(key));
            pending.push_back(request);
            let sent = self.transport.send(&pending[pending.len() - 1].frame);
            sent?;
        }
        let Some(deadline) = pending.iter().map(|request| request.deadline).min() else {
            return Ok(Step::Done);
        };
        let under_way = pending.len();
        let mut result = Ok(());
        let mut again = Vec::new();
        let mut moved = 0;
        let bytes = self.receive(deadline, |sequence, response| {
            let Some(at) = pending.iter().position(|one| one.sequence == sequence) else {
                return;
            };
            let key = pending[at].key;
            let response = match response {
                // Started already: the answer was lost with the connection.
                Response::Failed(Failure::Busy { .. }) if pending[at].again => &Response::Done,
                response => response,
            };
            match response {
                Response::Failed(Failure::Stale) => again.push(key),
                Response::Failed(failure) => {
                    result = Err(Error::Refused(*failure));
                    return;
                }
                response => match jobs.answer(key, response) {
                    Some(bytes) => moved += bytes,
                    None => {
                        result = Err(Error::Unexpected {
                            request: name(&jobs.request(key)),
                        });
                    }
                },
            }
            pending.remove(at);
        })?;
        if moved > 0 {
            self.observer.transferred(moved);
        }
        result?;
        let now = match bytes {
            0 => Instant::now().max(deadline),
            _ => Instant::now(),
        };
        let step = match pending.len() {
            left if left < under_way => Step::Answered,
            _ => Step::Waiting,
        };
        pending.retain(|request| !jobs.is_settled(request.key));
        for key in again {
            let request = self.prepare(key, &jobs.request(key));
            self.transport.send(&request.frame)?;
            pending.push_back(request);
        }
        for request in pending.iter_mut().filter(|request| request.deadline <= now) {
            if request.tries >= self.timing.tries {
                return Err(self.no_answer());
            }
            self.transport.send(&request.frame)?;
            request.tries += 1;
            request.deadline = Instant::now() + self.wait(request.tries);
        }
        Ok(step)
    }

    /// A request as a frame, under the next number.
    fn prepare(&mut self, key: u32, request: &Request<'_>) -> Pending {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let mut frame = [0; MAX_FRAME];
        let frame = encode(sequence, request, &mut frame)
            .expect("no request has more data than a block")
            .to_vec();
        Pending {
            key,
            sequence,
            frame,
            tries: 1,
            deadline: Instant::now() + self.wait(1),
            again: false,
        }
    }

    /// How long to wait for the answer after so many tries.
    fn wait(&self, tries: u32) -> Duration {
        let doubled = self.timing.first * (1 << (tries - 1).min(16));
        let line = self.transport.line_time((self.window + 1) * MAX_FRAME);
        doubled.min(self.timing.longest) + line
    }

    /// Takes what has come, or comes next, until the deadline; calls `take` with the number of each answer. Returns how
    /// many bytes came.
    fn receive(
        &mut self,
        deadline: Instant,
        mut take: impl FnMut(u16, &Response<'_>),
    ) -> Result<usize, Error> {
        let mut buffer = [0; MAX_FRAME];
        let bytes = self.transport.receive(&mut buffer, deadline)?;
        self.unheard += bytes;
        for &byte in &buffer[..bytes] {
            let Some(frame) = self.decoder.push(byte) else {
                continue;
            };
            self.unheard = 0;
            match Response::decode(frame.message) {
                Some(Response::Progress(state)) => {
                    if let Some(record) = State::record(&state) {
                        self.observer.changed(&record);
                    }
                }
                Some(response) => take(frame.sequence, &response),
                None => {}
            }
        }
        Ok(bytes)
    }

    fn no_answer(&self) -> Error {
        let port = self.transport.name().to_owned();
        match self.unheard {
            0 => Error::Silent {
                port,
                tries: self.timing.tries,
            },
            bytes => Error::Garbage { port, bytes },
        }
    }

    /// Waits until the port is there again.
    fn wait_for_port(&mut self) -> Result<(), Error> {
        let name = self.transport.name().to_owned();
        let patience = self.timing.patience;
        self.observer.note(&format!(
            "{name}: the port has vanished; waiting for it, at most {} s",
            patience.as_secs()
        ));
        let end = Instant::now() + patience;
        loop {
            match self.transport.reopen() {
                Ok(()) => break,
                Err(_) if Instant::now() < end => std::thread::sleep(REOPEN_PAUSE),
                Err(_) => return Err(Error::Vanished { port: name }),
            }
        }
        self.decoder = Decoder::new();
        self.observer
            .note(&format!("{name}: the port is there again"));
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Locks the board again. Whether it hears that does not matter: the next connection does the same.
        let request = self.prepare(0, &Request::Close);
        let _ = self.transport.send(&request.frame);
    }
}

/// What a request is called in messages.
const fn name(request: &Request<'_>) -> &'static str {
    match request {
        Request::Hello(_) => "hello",
        Request::Overview => "overview",
        Request::State { .. } => "state",
        Request::Read { .. } => "read",
        Request::Write { .. } => "write",
        Request::Fill { .. } => "fill",
        Request::Open { .. } | Request::Block { .. } => "transfer",
        Request::Start { .. } => "start",
        Request::Stop { .. } => "stop",
        Request::Reset { .. } => "reset",
        Request::Signal { .. } => "signal",
        Request::Subscribe { .. } => "subscribe",
        Request::Unlock { .. } => "unlock",
        _ => "close",
    }
}

/// A single request.
struct Once<'r, T, F> {
    request: Request<'r>,
    take: F,
    sent: bool,
    answer: Option<T>,
}

impl<T, F: FnMut(&Response<'_>) -> Option<T>> Jobs for Once<'_, T, F> {
    fn next(&mut self) -> Option<u32> {
        (!std::mem::replace(&mut self.sent, true)).then_some(0)
    }

    fn request(&self, _key: u32) -> Request<'_> {
        self.request
    }

    fn answer(&mut self, _key: u32, response: &Response<'_>) -> Option<usize> {
        self.answer = (self.take)(response);
        self.answer.is_some().then_some(0)
    }
}

/// Reads block after block.
struct Reads<'d> {
    address: u32,
    into: &'d mut [u8],
    block: usize,
    next: usize,
}

impl Reads<'_> {
    fn range(&self, key: u32) -> Range<usize> {
        let start = key as usize * self.block;
        start..self.into.len().min(start + self.block)
    }

    fn address(&self, key: u32) -> u32 {
        self.address.wrapping_add(key * self.block as u32)
    }
}

impl Jobs for Reads<'_> {
    fn next(&mut self) -> Option<u32> {
        let key = self.next as u32;
        if self.range(key).is_empty() {
            return None;
        }
        self.next += 1;
        Some(key)
    }

    fn request(&self, key: u32) -> Request<'_> {
        Request::Read {
            address: self.address(key),
            length: self.range(key).len() as u16,
        }
    }

    fn answer(&mut self, key: u32, response: &Response<'_>) -> Option<usize> {
        let range = self.range(key);
        match *response {
            Response::Data { address, data }
                if address == self.address(key) && data.len() == range.len() =>
            {
                self.into[range].copy_from_slice(data);
                Some(data.len())
            }
            _ => None,
        }
    }
}

/// Requests that are answered by [`Response::Done`].
struct Orders<'d> {
    requests: &'d [Request<'d>],
    next: usize,
}

impl Jobs for Orders<'_> {
    fn next(&mut self) -> Option<u32> {
        let key = self.next;
        (key < self.requests.len()).then(|| {
            self.next += 1;
            key as u32
        })
    }

    fn request(&self, key: u32) -> Request<'_> {
        self.requests[key as usize]
    }

    fn answer(&mut self, _key: u32, response: &Response<'_>) -> Option<usize> {
        matches!(response, Response::Done).then_some(0)
    }
}

/// The blocks of a transfer to the board.
struct Blocks<'d> {
    id: u32,
    data: &'d [u8],
    block: usize,
    total: u32,
    /// The first block that the board misses.
    first: u32,
    /// Which of those behind it has, when the transfer was opened.
    held: u32,
    next: u32,
}

impl Blocks<'_> {
    fn data(&self, key: u32) -> &[u8] {
        let start = key as usize * self.block;
        &self.data[start..self.data.len().min(start + self.block)]
    }

    /// Bytes of these blocks.
    fn bytes(&self, keys: Range<u32>) -> usize {
        let place = |key: u32| self.data.len().min(key as usize * self.block);
        place(keys.end) - place(keys.start)
    }
}

impl Jobs for Blocks<'_> {
    fn next(&mut self) -> Option<u32> {
        while self.is_settled(self.next) {
            self.next += 1;
        }
        let key = self.next;
        (key < self.total && key - self.first < WINDOW_BLOCKS).then(|| {
            self.next += 1;
            key
        })
    }

    fn request(&self, key: u32) -> Request<'_> {
        Request::Block {
            id: self.id,
            index: key,
            data: self.data(key),
        }
    }

    fn answer(&mut self, _key: u32, response: &Response<'_>) -> Option<usize> {
        match *response {
            Response::Needs { id, first, held } if id == self.id => {
                // An answer may have been overtaken by a later one.
                let before = self.first;
                if first >= before && first <= self.total {
                    (self.first, self.held) = (first, held);
                }
                Some(self.bytes(before..self.first))
            }
            _ => None,
        }
    }

    /// Whether the board has it.
    fn is_settled(&self, key: u32) -> bool {
        let behind = key.checked_sub(self.first.saturating_add(1));
        key < self.first
            || behind.is_some_and(|n| self.held.checked_shr(n).is_some_and(|h| h & 1 == 1))
    }
}
