//! The host link: both ends in memory, over lines that lose, double, reorder and alter what they carry.

mod chip;

use bsp::layout;
use bsp::protocol::frame::{self, Decoder, MAX_FRAME};
use bsp::protocol::{
    Failure, HelloRequest, HelloResponse, MAX_BLOCK, MAX_FILL, REMEMBERED, Request, Response,
    Server, UNLOCK, WINDOW, WINDOW_BLOCKS,
};
use bsp::record::{Record, Status};
use bsp::specification::Image;
use chip::{MONITOR, Table};
use proptest::prelude::*;
use s2_hal::dma::Address;
use s2_hal::topology::PeId;

/// Some PE that is not the monitor's.
const PE: PeId = PeId { x: 1, y: 1, pe: 0 };

fn sram(offset: u32) -> u32 {
    Address::pe_sram(PE, offset).unwrap().0
}

fn pack(sequence: u16, request: &Request<'_>) -> Vec<u8> {
    let mut buffer = [0; MAX_FRAME];
    frame::encode(sequence, request, &mut buffer)
        .unwrap()
        .to_vec()
}

/// A server with its chip.
#[derive(Default)]
struct Side {
    server: Server,
    chip: Table,
}

impl Side {
    /// Feeds bytes; returns what comes back.
    fn feed(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        while !bytes.is_empty() {
            let taken = self.server.receive(bytes, &mut self.chip);
            bytes = &bytes[taken..];
            let output = self.server.output();
            answers.extend(output);
            let length = output.len();
            self.server.sent(length);
        }
        answers
    }

    #[track_caller]
    fn ask(&mut self, sequence: u16, request: &Request<'_>, expected: Response<'_>) {
        let answer = self.feed(&pack(sequence, request));
        assert_eq!(
            messages(&answer, |n, response| (n, format!("{response:?}"))),
            [(sequence, format!("{expected:?}"))]
        );
    }

    fn connected() -> Self {
        let mut side = Self::default();
        side.feed(&pack(0, &Request::Hello(HelloRequest::THIS)));
        side
    }
}

/// The host's end: whole messages among bytes, made into something else.
fn messages<R>(bytes: &[u8], mut take: impl FnMut(u16, Response<'_>) -> R) -> Vec<R> {
    let mut decoder = Decoder::new();
    let frames = bytes.iter().filter_map(|&byte| {
        let frame = decoder.push(byte)?;
        Some(take(frame.sequence, Response::decode(frame.message)?))
    });
    frames.collect()
}

/// A request of each kind, for [`PE`].
fn all_requests() -> Vec<Request<'static>> {
    let pe = PE.noc_id();
    let address = sram(0x8000);
    vec![
        Request::Hello(HelloRequest::THIS),
        Request::Overview,
        Request::State { pe },
        Request::Write {
            address,
            data: &[1, 0, 0, 2, 255, 254, 253, 252],
        },
        Request::Read { address, length: 8 },
        Request::Fill {
            address,
            length: 16,
            word: 0x0100_00ff,
        },
        Request::Open {
            id: 0xbeef,
            address,
            length: 12,
        },
        Request::Block {
            id: 0xbeef,
            index: 0,
            data: &[3; 12],
        },
        Request::Start { pe },
        Request::Signal { line: 0 },
        Request::Stop { pe },
        Request::Reset { pe },
        Request::Subscribe { on: true },
        Request::Unlock { word: UNLOCK },
        Request::Close,
    ]
}

#[test]
fn the_example_exchange_of_the_documentation_is_what_happens() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/host-link.md");
    let text = std::fs::read_to_string(path).unwrap();
    let bytes = |line: &str| -> Vec<u8> {
        let hex = line.split('|').next().unwrap().split_whitespace();
        hex.map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    };
    let (mut side, mut answer, mut requests) = (Side::default(), Vec::new(), Vec::new());
    for line in text.lines() {
        if let Some(line) = line.strip_prefix("    > ") {
            assert!(answer.is_empty(), "an answer is missing before {line}");
            let sent = bytes(line);
            answer = side.feed(&sent);
            requests.push(sent);
        } else if let Some(line) = line.strip_prefix("    < ") {
            // Hash and version of the formats are those of the day: nothing else may differ.
            let plain = |bytes: &[u8]| {
                let mut decoder = Decoder::new();
                let frame = bytes.iter().find_map(|&byte| {
                    decoder
                        .push(byte)
                        .map(|frame| (frame.sequence, frame.message.to_vec()))
                });
                let (sequence, mut message) = frame.unwrap();
                if let Some(Response::Hello(_)) = Response::decode(&message) {
                    message[13..37].fill(0);
                }
                (sequence, message)
            };
            let hex: Vec<_> = answer.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(
                plain(&bytes(line)),
                plain(&answer),
                "the answer is {}",
                hex.join(" ")
            );
            answer.clear();
        }
    }
    let expected: Vec<_> = (1..)
        .zip(all_requests())
        .map(|(n, r)| pack(n, &r))
        .collect();
    let hex = |frames: &[Vec<u8>]| -> Vec<String> {
        let hex = |frame: &Vec<u8>| frame.iter().map(|b| format!("{b:02x} ")).collect();
        frames.iter().map(hex).collect()
    };
    assert_eq!(hex(&requests), hex(&expected));
}

/// No altered or cut frame does anything or is answered.
#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    for (request, sequence) in all_requests().into_iter().zip(1..) {
        let whole = pack(sequence, &request);
        let connect = || {
            let mut side = Side::connected();
            side.chip
                .words
                .insert(sram(layout::RECORD.start), Status::Ready as u32);
            side
        };
        let before = format!("{:?}", connect().chip);
        for bit in 0..8 * whole.len() {
            let mut altered = whole.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let mut side = connect();
            let answer = side.feed(&altered);
            // A zero at the start may be anything: it is one of two ends.
            if (8..8 * whole.len() - 8).contains(&bit) {
                assert_eq!(answer.len(), 0, "{request:?}, bit {bit}");
                assert_eq!(format!("{:?}", side.chip), before);
            }
            // The line is found again.
            let next = side.feed(
                &[
                    &[0][..],
                    &pack(
                        99,
                        &Request::Read {
                            address: sram(0),
                            length: 4,
                        },
                    ),
                ]
                .concat(),
            );
            assert!(
                messages(&next, |n, _| n).contains(&99),
                "{request:?}, bit {bit}"
            );
        }
        for length in 0..whole.len() - 1 {
            let mut side = connect();
            assert!(side.feed(&whole[..length]).is_empty());
            assert_eq!(format!("{:?}", side.chip), before);
            let next = side.feed(&pack(
                99,
                &Request::Read {
                    address: sram(0),
                    length: 4,
                },
            ));
            assert_eq!(
                messages(&next, |n, _| n),
                [99],
                "{request:?} cut to {length}"
            );
        }
    }
}

#[test]
fn the_hosts_decoder_takes_no_altered_answer() {
    let mut side = Side::connected();
    let reads = [
        Request::State { pe: PE.noc_id() },
        Request::Read {
            address: sram(0),
            length: 64,
        },
        Request::Overview,
    ];
    for request in reads {
        let answer = side.feed(&pack(9, &request));
        for bit in 8..8 * answer.len() - 8 {
            let mut altered = answer.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(messages(&altered, |_, _| ()), [], "{request:?}, bit {bit}");
        }
    }
}

#[test]
fn nothing_is_done_twice() {
    let mut side = Side::connected();
    let pe = PE.noc_id();
    for _ in 0..3 {
        side.ask(1, &Request::Start { pe }, Response::Done);
        side.ask(2, &Request::Signal { line: 0 }, Response::Done);
        side.ask(3, &Request::Reset { pe }, Response::Done);
    }
    assert_eq!((side.chip.releases, side.chip.signals), (2, 1));
    side.ask(
        4,
        &Request::Start { pe },
        Response::Failed(Failure::Busy { pe }),
    );
    // A repeated write does not undo a later one.
    let address = sram(0x9000);
    let write = |data| Request::Write { address, data };
    side.ask(5, &write(&[1; 4]), Response::Done);
    side.ask(6, &write(&[2; 4]), Response::Done);
    side.ask(5, &write(&[1; 4]), Response::Done);
    assert_eq!(side.chip.words[&address], 0x0202_0202);
    // A repeated hello leaves the connection alone, another one starts anew.
    side.feed(&pack(0, &Request::Hello(HelloRequest::THIS)));
    side.ask(5, &write(&[1; 4]), Response::Done);
    assert_eq!(side.chip.words[&address], 0x0202_0202);
    // What is too old to be known is refused, however often it comes.
    for sequence in 7..7 + REMEMBERED as u16 {
        side.ask(sequence, &write(&[3; 4]), Response::Done);
    }
    side.ask(5, &write(&[1; 4]), Response::Failed(Failure::Stale));
    assert_eq!(side.chip.words[&address], 0x0303_0303);
    side.feed(&pack(0x8000, &Request::Hello(HelloRequest::THIS)));
    side.ask(0x8001, &write(&[4; 4]), Response::Done);
}

#[test]
fn what_cannot_be_done_says_why() {
    let mut side = Side::default();
    side.ask(1, &Request::Overview, Response::Failed(Failure::NoHello));
    // A message of a later version, and a host that is too new.
    let mut buffer = [0; MAX_FRAME];
    let unknown = frame::encode(2, &(200_u8, 7_u8), &mut buffer)
        .unwrap()
        .to_vec();
    let answer = side.feed(&unknown);
    let failed = |_, response: Response<'_>| match response {
        Response::Failed(failure) => failure,
        other => panic!("{other:?}"),
    };
    let expected = Failure::UnknownMessage {
        tag: 200,
        version: 1,
    };
    assert_eq!(messages(&answer, failed), [expected]);
    let newer = HelloRequest {
        oldest: 2,
        newest: 9,
        ..HelloRequest::THIS
    };
    let versions = messages(
        &side.feed(&pack(3, &Request::Hello(newer))),
        |_, r| match r {
            Response::Hello(hello) => (hello.oldest, hello.version),
            other => panic!("{other:?}"),
        },
    );
    assert_eq!(versions, [(1, 0)]);
    side.ask(4, &Request::Overview, Response::Failed(Failure::NoHello));

    let mut side = Side::connected();
    let own = Address::pe_sram(MONITOR, 0x8000).unwrap().0;
    let data = &[0; 8];
    let long = &[0; MAX_BLOCK + 32];
    let cases = [
        (
            Request::Write { address: own, data },
            Failure::Locked { address: own },
        ),
        (
            Request::Write {
                address: sram(0x1_fffc),
                data,
            },
            Failure::Locked {
                address: sram(0x1_fffc),
            },
        ),
        (
            Request::Write {
                address: sram(2),
                data,
            },
            Failure::Misaligned { address: sram(2) },
        ),
        (
            Request::Write {
                address: sram(0),
                data: &[1],
            },
            Failure::Misaligned { address: sram(0) },
        ),
        (
            Request::Write {
                address: sram(0),
                data: &[],
            },
            Failure::Length {
                length: 0,
                limit: 1024,
            },
        ),
        (
            Request::Read {
                address: 0xe000_ed00,
                length: 4,
            },
            Failure::Locked {
                address: 0xe000_ed00,
            },
        ),
        (
            Request::Read {
                address: sram(0),
                length: 1028,
            },
            Failure::Length {
                length: 1028,
                limit: 1024,
            },
        ),
        (
            Request::Fill {
                address: sram(0),
                length: MAX_FILL + 4,
                word: 0,
            },
            Failure::Length {
                length: 4100,
                limit: 4096,
            },
        ),
        (
            Request::Open {
                id: 1,
                address: sram(0),
                length: 0x2_0004,
            },
            Failure::Locked { address: sram(0) },
        ),
        (
            Request::Block {
                id: 1,
                index: 0,
                data,
            },
            Failure::NoTransfer { id: 1 },
        ),
        (
            Request::Start {
                pe: MONITOR.noc_id(),
            },
            Failure::Monitor,
        ),
        (Request::Stop { pe: 0 }, Failure::NoSuchPe { pe: 0 }),
        (Request::Signal { line: 1 }, Failure::NoSuchLine { line: 1 }),
        (Request::Unlock { word: 0 }, Failure::WrongWord),
    ];
    for (sequence, (request, failure)) in (10..).zip(cases) {
        side.ask(sequence, &request, Response::Failed(failure));
        assert!(!failure.to_string().is_empty());
    }
    assert!(side.chip.words.is_empty());
    // Longer than any frame: no answer, and the next one is understood.
    let mut buffer = [0; 2 * MAX_FRAME];
    let request = Request::Write {
        address: sram(0),
        data: long,
    };
    let too_long = frame::encode(50, &request, &mut buffer).unwrap().to_vec();
    assert!(side.feed(&too_long).is_empty());
    side.ask(51, &Request::Signal { line: 0 }, Response::Done);
}

/// A line that counts its bytes, and loses every 13th frame and doubles every 7th unless it is a good one.
struct Line {
    good: bool,
    frames: usize,
    bytes: usize,
}

impl Line {
    fn carry(&mut self, frame: &[u8]) -> Vec<u8> {
        self.frames += 1;
        self.bytes += frame.len();
        let times = match self.frames {
            n if !self.good && n % 13 == 0 => 0,
            n if !self.good && n % 7 == 0 => 2,
            _ => 1,
        };
        frame.repeat(times)
    }

    /// A request there, and what comes back.
    fn ask(&mut self, side: &mut Side, sequence: u16, request: &Request<'_>) -> Vec<u8> {
        let arrived = self.carry(&pack(sequence, request));
        match side.feed(&arrived) {
            nothing if nothing.is_empty() => nothing,
            answers => self.carry(&answers),
        }
    }
}

/// Sends a megabyte to the board and reads it again. Returns the bytes that the line has carried for each, both ways.
fn megabyte(good: bool) -> [usize; 2] {
    const BYTES: usize = 1 << 20;
    const BLOCKS: u32 = (BYTES / MAX_BLOCK) as u32;
    const ID: u32 = 1;
    let value = |n: u32| (n.wrapping_mul(0x9e37_79b1) >> 24) as u8;
    let data: Vec<u8> = (0..BYTES as u32).map(value).collect();
    let address = Address::dram(0x1000).unwrap().0;
    let mut side = Side::connected();
    let mut line = Line {
        good,
        frames: 0,
        bytes: 0,
    };
    let mut sequence = 0;
    let mut next = || {
        sequence += 1;
        sequence
    };
    let needs = |answer: &[u8]| {
        let all = messages(answer, |_, response| match response {
            Response::Needs {
                id: ID,
                first,
                held,
            } => (first, held),
            other => panic!("{other:?}"),
        });
        all.last().copied()
    };
    let open = Request::Open {
        id: ID,
        address,
        length: BYTES as u32,
    };
    let (mut first, mut held) = loop {
        if let Some(needs) = needs(&line.ask(&mut side, next(), &open)) {
            break needs;
        }
    };
    while first < BLOCKS {
        let window = first..BLOCKS.min(first + u32::from(WINDOW));
        let missing = window.filter(|&n| n == first || held >> (n - first - 1) & 1 == 0);
        for index in missing.collect::<Vec<_>>() {
            let data = &data[index as usize * MAX_BLOCK..][..MAX_BLOCK];
            let block = Request::Block {
                id: ID,
                index,
                data,
            };
            if let Some(needs) = needs(&line.ask(&mut side, next(), &block)) {
                (first, held) = needs;
            }
            if index == BLOCKS / 2 {
                // The host was restarted, and asks what is missing.
                side.feed(&pack(next(), &Request::Hello(HelloRequest::THIS)));
                let answer = side.feed(&pack(next(), &open));
                assert!(needs(&answer).unwrap().0 >= BLOCKS / 2 - WINDOW_BLOCKS);
            }
        }
    }
    let up = std::mem::take(&mut line.bytes);
    let mut back = vec![0; BYTES];
    let mut left: Vec<u32> = (0..BLOCKS).collect();
    while !left.is_empty() {
        left.retain(|&index| {
            let at = address + index * MAX_BLOCK as u32;
            let read = Request::Read {
                address: at,
                length: MAX_BLOCK as u16,
            };
            let answer = line.ask(&mut side, next(), &read);
            let came = messages(&answer, |_, response| match response {
                Response::Data { address, data } if address == at => {
                    back[index as usize * MAX_BLOCK..][..MAX_BLOCK].copy_from_slice(data);
                }
                other => panic!("{other:?}"),
            });
            came.is_empty()
        });
    }
    assert!(back == data, "what was read is what was written");
    [up, line.bytes]
}

#[test]
fn nine_tenths_of_the_line_are_data() {
    for carried in megabyte(true) {
        let part = (1 << 20) as f64 / carried as f64;
        assert!(part > 0.9, "{part}");
    }
}

#[test]
fn transfers_survive_losses_and_a_restart_of_the_host() {
    megabyte(false);
}

#[test]
fn a_transfer_takes_blocks_in_any_order_and_forgets_what_others_overwrite() {
    let address = sram(0x8000);
    let length = 40 * MAX_BLOCK as u32 + 8;
    let open = Request::Open {
        id: 7,
        address,
        length,
    };
    let full = [9; MAX_BLOCK];
    let block = |index, data| Request::Block { id: 7, index, data };
    let needs = |first, held| Response::Needs { id: 7, first, held };
    let mut side = Side::connected();
    side.ask(1, &open, needs(0, 0));
    side.ask(2, &block(32, &full), needs(0, 1 << 31));
    let outside = Failure::Block {
        index: 33,
        first: 0,
    };
    side.ask(3, &block(33, &full), Response::Failed(outside));
    side.ask(4, &block(1, &full), needs(0, 1 << 31 | 1));
    side.ask(5, &block(0, &full), needs(2, 1 << 29));
    for index in 2..32 {
        side.ask(
            6 + index as u16,
            &block(index, &full),
            needs(
                if index == 31 { 33 } else { index + 1 },
                if index == 31 { 0 } else { 1 << (30 - index) },
            ),
        );
    }
    for index in 33..40 {
        side.ask(6 + index as u16, &block(index, &full), needs(index + 1, 0));
    }
    let wrong = Failure::Block {
        index: 40,
        first: 40,
    };
    side.ask(50, &block(40, &full), Response::Failed(wrong));
    side.ask(51, &block(40, &[8; 8]), needs(41, 0));
    side.ask(52, &block(3, &[7; MAX_BLOCK]), needs(41, 0));
    assert_eq!(
        side.chip.words[&(address + 3 * MAX_BLOCK as u32)],
        0x0909_0909
    );
    // A complete one starts anew. One that others write into, or that a program may, is forgotten.
    side.ask(53, &open, needs(0, 0));
    side.ask(54, &block(0, &full), needs(1, 0));
    side.ask(
        55,
        &Request::Write {
            address: address - 4,
            data: &[0; 4],
        },
        Response::Done,
    );
    side.ask(56, &open, needs(1, 0));
    side.ask(
        57,
        &Request::Fill {
            address: address - 4,
            length: 8,
            word: 0,
        },
        Response::Done,
    );
    side.ask(58, &open, needs(0, 0));
    side.ask(59, &Request::Reset { pe: PE.noc_id() }, Response::Done);
    let forgotten = Failure::NoTransfer { id: 7 };
    side.ask(60, &block(0, &full), Response::Failed(forgotten));
}

#[test]
fn the_stream_has_what_changed() {
    let mut side = Side::connected();
    let watch = |side: &mut Side| {
        let mut sent = Vec::new();
        for _ in 0..s2_hal::topology::PES {
            side.server.watch(&mut side.chip);
            sent.extend(side.server.output());
            side.server.sent(usize::MAX);
        }
        messages(&sent, |n, response| match response {
            Response::Progress(state) => (n, state.pe, state.record().unwrap()),
            other => panic!("{other:?}"),
        })
    };
    let mut record = Record::starting(Image::Layer, PE.noc_id().into());
    let mut put = |side: &mut Side, step| {
        record.step = step;
        let words: [u32; 64] = bytemuck::cast(record);
        for (address, word) in (sram(layout::RECORD.start)..).step_by(4).zip(words) {
            side.chip.words.insert(address, word);
        }
        record
    };
    let first = put(&mut side, 5);
    assert_eq!(watch(&mut side), []);
    side.ask(1, &Request::Subscribe { on: true }, Response::Done);
    assert_eq!(watch(&mut side), [(0, PE.noc_id(), first)]);
    assert_eq!(watch(&mut side), []);
    let second = put(&mut side, 6);
    assert_eq!(watch(&mut side), [(1, PE.noc_id(), second)]);
    side.ask(2, &Request::Close, Response::Done);
    put(&mut side, 7);
    assert_eq!(watch(&mut side), []);
}

#[test]
fn a_hello_has_the_layout_that_it_will_always_have() {
    let mut hello = HelloResponse::new(1, 0x0807_0605_0403_0201, "board", 0x0a09, MONITOR);
    hello.add(PE);
    let mut buffer = [0; MAX_FRAME];
    let frame = frame::encode(0, &Response::Hello(hello), &mut buffer).unwrap();
    let mut decoder = Decoder::new();
    let message = frame
        .iter()
        .find_map(|&byte| decoder.push(byte).map(|f| f.message.to_vec()));
    let message = message.unwrap();
    assert_eq!(message.len(), 1 + HelloResponse::BYTES);
    assert_eq!(
        message[..21],
        *b"\0S2EP\x01\x01\0\x04\x04\xfb\x09\x0a\x01\x02\x03\x04\x05\x06\x07\x08"
    );
    assert_eq!(message[37..53], *b"board\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(message[53 + 0x24 / 8], 1 << (0x24 % 8));
    // A later version may append.
    let longer = [&message[..], b"more"].concat();
    assert_eq!(Response::decode(&longer), Some(Response::Hello(hello)));
}

fn any_request() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let address = prop_oneof![
        any::<u32>(),
        (0..0x2_0000_u32).prop_map(sram),
        Just(sram(0)),
        Just(0x2000_0000)
    ]
    .prop_map(|address| address & !3);
    let data = (0..=MAX_BLOCK / 4, any::<u8>()).prop_map(|(words, byte)| vec![byte; 4 * words]);
    let pe = prop_oneof![any::<u8>(), Just(PE.noc_id()), Just(MONITOR.noc_id())];
    let parts = (0..12_u8, address, data, pe, any::<u32>(), any::<u16>());
    parts.prop_map(|(kind, address, data, pe, number, sequence)| {
        let request = match kind {
            0 => Request::Hello(HelloRequest::THIS),
            1 => Request::Write {
                address,
                data: &data,
            },
            2 => Request::Fill {
                address,
                length: number % 5000,
                word: number,
            },
            3 => Request::Open {
                id: number % 2,
                address,
                length: number,
            },
            4 => Request::Block {
                id: number % 2,
                index: number >> 24,
                data: &data,
            },
            5 => Request::Read {
                address,
                length: sequence,
            },
            6 => Request::Start { pe },
            7 => Request::Stop { pe },
            8 => Request::Reset { pe },
            9 => Request::State { pe },
            10 => Request::Subscribe { on: true },
            _ => Request::Unlock { word: number },
        };
        (sequence, pack(sequence, &request))
    })
}

proptest! {
    /// Without the word that unlocks, no bytes at all write outside the regions.
    #[test]
    fn nothing_is_written_outside_without_unlocking(
        pieces in prop::collection::vec(
            prop_oneof![
                4 => any_request().prop_map(|(_, frame)| frame),
                1 => prop::collection::vec(any::<u8>(), 0..64),
            ],
            0..40,
        ),
    ) {
        let mut side = Side::connected();
        for piece in pieces {
            side.feed(&piece);
        }
        prop_assert_eq!(side.chip.outside, 0);
    }
}

/// Ten million random bytes into each decoder and the server; half of them in frames that are whole.
#[test]
#[cfg_attr(debug_assertions, ignore = "long: cargo test --release -p bsp")]
fn random_bytes_do_no_harm() {
    const BYTES: usize = 10_000_000;
    let mut state = 0x1234_5678_9abc_def0_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut side = Side::connected();
    let mut decoder = Decoder::new();
    let mut message = Vec::new();
    let mut fed = [0; 3];
    while fed.iter().any(|&bytes| bytes < BYTES) {
        let length = (random() % 48) as usize;
        message.clear();
        message.extend((0..length).map(|_| random() as u8));
        let _ = Request::decode(&message).map(|request| request.check());
        let _ = Response::decode(&message);
        // Tags that exist.
        if let Some(tag) = message.first_mut() {
            *tag %= 16;
        }
        let _ = Request::decode(&message).map(|request| request.check());
        let _ = Response::decode(&message);
        fed[0] += 2 * length;
        // As a frame. A wrong word keeps the lock.
        let is_key = matches!(
            Request::decode(&message),
            Ok(Request::Unlock { word: UNLOCK })
        );
        if !is_key {
            let mut buffer = [0; MAX_FRAME];
            let raw = Raw(&message);
            let frame = frame::encode(random() as u16, &raw, &mut buffer).unwrap();
            fed[1] += frame.len();
            side.feed(frame);
        }
        side.feed(&message);
        for &byte in &message {
            let _ = decoder
                .push(byte)
                .map(|frame| Response::decode(frame.message).is_some());
        }
        fed[2] += message.len();
    }
    assert_eq!(side.chip.outside, 0);
    assert!(
        side.chip.releases + side.chip.signals > 0,
        "some frames meant something"
    );
}

/// Bytes of a message as they are.
struct Raw<'a>(&'a [u8]);

impl serde::Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple as _;
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for byte in self.0 {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }
}

/// The inputs that the fuzzers start from.
#[test]
fn the_corpus_does_no_harm() {
    let read = |target: &str| {
        let folder = format!("{}/../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(folder).unwrap();
        files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .collect::<Vec<_>>()
    };
    let mut answers = 0;
    for bytes in read("server") {
        let mut side = Side::default();
        answers += messages(&side.feed(&bytes), |_, _| ()).len();
    }
    assert!(answers >= all_requests().len(), "the exchange is in it");
    let mut known = 0;
    for bytes in read("messages") {
        known += usize::from(Request::decode(&bytes).is_ok());
        known += usize::from(Response::decode(&bytes).is_some());
    }
    assert!(known > 0);
}
