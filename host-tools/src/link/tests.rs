//! The client against the board's own server, over a line that makes faults.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bsp::layout;
use bsp::protocol::frame::{Decoder, encode};
use bsp::protocol::{Failure, HelloResponse, Processor, Request, Response, State};
use bsp::record::{Record, Status};
use bsp::specification::{Image, LAYOUT_HASH};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use s2_hal::dma::Address;
use s2_hal::topology::PeId;

use super::client::Timing;
use super::double::Double;
use super::memory::{Direction, Fault, Faults, Memory, Peer, Rule};
use super::{Client, Error, Observer, Transport, Unobserved};

const DRAM: u32 = Address::DRAM_WINDOW + 0x1000;

type Shared = Rc<RefCell<Double>>;

fn board() -> Shared {
    Rc::default()
}

/// The board as a peer of a line in memory.
fn peer(board: &Shared) -> Peer {
    let board = Rc::clone(board);
    Box::new(move |bytes| board.borrow_mut().exchange(bytes))
}

fn memory(board: &Shared, faults: Faults) -> Memory {
    Memory::new(peer(board), faults)
}

/// Many tries, so that they outlast many faults.
fn patient() -> Timing {
    Timing {
        tries: 60,
        ..Timing::default()
    }
}

fn client(board: &Shared, faults: Faults) -> Client {
    connect(memory(board, faults)).unwrap()
}

fn connect(transport: impl Transport + 'static) -> Result<Client, Error> {
    Client::connect(Box::new(transport), Box::new(Unobserved), patient())
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n ^ n >> 8 ^ n >> 15) as u8).collect()
}

/// Every kind of request; what it leaves on the board, and what it answers, is the same after any faults.
fn exercise(client: &mut Client) -> Result<(), Error> {
    let pe = PeId::new(1, 2, 3).unwrap();
    let sram = Address::pe_sram(pe, layout::RECORD.start).unwrap().0;
    let mut record = Record::starting(Image::Layer, pe.noc_id().into());
    record.status = Status::Running as u32;
    record.step = 17;
    client.write(sram, bytemuck::bytes_of(&record))?;
    let data = pattern(5000);
    client.write(DRAM, &data)?;
    let mut back = vec![0; data.len()];
    client.read(DRAM, &mut back)?;
    assert!(back == data, "other bytes came back");
    client.fill(DRAM + 8192, 64, 0x0102_0304)?;
    client.read(DRAM + 8192, &mut back[..64])?;
    assert_eq!(back[..64], [4, 3, 2, 1].repeat(16)[..]);
    client.stop(pe.noc_id())?;
    client.start(pe.noc_id())?;
    client.order_all(&[
        Request::Write {
            address: DRAM + 8192,
            data: &[1; 8],
        },
        Request::Signal { line: 0 },
    ])?;
    let (processor, found) = client.state(pe.noc_id())?;
    assert_eq!((processor, found), (Processor::Running, record));
    let all = client.overview()?;
    let one = all.iter().find(|one| one.pe == pe.noc_id()).unwrap();
    assert_eq!(one.status, Some(Status::Running));
    assert_eq!(one.image, Some(Image::Layer));
    client.unlock()
}

#[test]
fn each_fault_at_each_place_is_made_good() {
    // How much there is to be hit, without faults.
    let plain = board();
    let line = memory(&plain, Faults::default());
    let traffic = line.traffic();
    exercise(&mut connect(line).unwrap()).unwrap();
    let expected = plain.borrow().chip.words.clone();

    let mut cases = 0;
    for direction in [Direction::ToPeer, Direction::ToHost] {
        for after in 0..traffic.frames(direction) {
            let length = traffic.length(direction, after);
            // Every byte of short frames, every 97th of long ones.
            let places = (0..length).step_by(if length > 300 { 37 } else { 1 });
            let faults = places.flat_map(|at| {
                [
                    Fault::Flip {
                        bit: 8 * at + at % 8,
                    },
                    Fault::Truncate { bytes: at },
                    Fault::Vanish { bytes: at },
                ]
            });
            let others = [
                Fault::Duplicate,
                Fault::Delay,
                Fault::Garbage { bytes: 1 },
                Fault::Garbage { bytes: 3000 },
            ];
            for fault in faults.chain(others) {
                cases += 1;
                let board = board();
                let rule = Rule {
                    direction,
                    after,
                    fault,
                };
                let faults = Faults {
                    rules: vec![rule],
                    ..Faults::default()
                };
                let result = connect(memory(&board, faults)).and_then(|mut c| exercise(&mut c));
                assert_eq!(result, Ok(()), "{rule:?}");
                let chip = &board.borrow().chip;
                assert!(chip.words == expected, "{rule:?}: other memory");
                // A port that has vanished makes a new connection, which does not know what the last one did.
                let again = u32::from(matches!(fault, Fault::Vanish { .. }));
                assert!((1..=1 + again).contains(&chip.starts), "{rule:?}");
                assert!((1..=1 + again).contains(&chip.signals), "{rule:?}");
            }
        }
    }
    assert!(cases > 4000, "{cases}");
}

#[test]
fn a_bad_line_is_outlasted() {
    for seed in 0..40 {
        let board = board();
        let faults = Faults {
            one_in: 8,
            seed,
            ..Faults::default()
        };
        exercise(&mut client(&board, faults)).unwrap();
        let chip = &board.borrow().chip;
        assert_eq!((chip.starts, chip.signals), (1, 1), "seed {seed}");
    }
}

#[test]
fn nine_tenths_of_a_megabyte_s_bytes_are_data_both_ways() {
    let board = board();
    let line = memory(&board, Faults::default());
    let traffic = line.traffic();
    let mut client = connect(line).unwrap();
    let data = pattern(1_000_000);
    let before = traffic.bytes(Direction::ToPeer);
    client.write(DRAM, &data).unwrap();
    let out = traffic.bytes(Direction::ToPeer) - before;
    let mut back = vec![0; data.len()];
    let before = traffic.bytes(Direction::ToHost);
    client.read(DRAM, &mut back).unwrap();
    let home = traffic.bytes(Direction::ToHost) - before;
    assert!(back == data);
    for bytes in [out, home] {
        assert!(bytes > 1_000_000 && bytes * 9 < 10_000_000, "{bytes}");
    }
}

/// Counts what it is told of.
#[derive(Clone, Default)]
struct Count {
    bytes: Rc<Cell<usize>>,
    records: Rc<RefCell<Vec<String>>>,
    notes: Rc<RefCell<Vec<String>>>,
}

impl Observer for Count {
    fn expected(&mut self, _bytes: usize) {}

    fn transferred(&mut self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    fn changed(&mut self, record: &Record) {
        self.records.borrow_mut().push(record.to_string());
    }

    fn note(&mut self, text: &str) {
        self.notes.borrow_mut().push(text.to_owned());
    }
}

#[test]
fn a_transfer_goes_on_where_the_last_host_left_it() {
    let board = board();
    let data = pattern(100_000);
    // The first host's port vanishes for good after some blocks.
    let faults = Faults {
        rules: vec![Rule {
            direction: Direction::ToPeer,
            after: 60,
            fault: Fault::Vanish { bytes: 0 },
        }],
        ..Faults::default()
    };
    let mut line = memory(&board, faults);
    line.stay_away();
    let hasty = Timing {
        patience: std::time::Duration::ZERO,
        ..Timing::default()
    };
    let mut first = Client::connect(Box::new(line), Box::new(Unobserved), hasty).unwrap();
    let error = first.write(DRAM, &data).unwrap_err();
    assert!(matches!(error, Error::Vanished { .. }), "{error}");
    let before = board.borrow().chip.stores;
    assert!(before > 10_000, "{before}");

    let mut second = client(&board, Faults::default());
    let count = Count::default();
    second.observe(Box::new(count.clone()));
    second.write(DRAM, &data).unwrap();
    assert_eq!(count.bytes.get(), data.len());
    assert_eq!(
        board.borrow().chip.stores,
        25_000,
        "some words were sent twice"
    );
    // What was complete is not taken for granted later.
    second.write(DRAM, &data).unwrap();
    assert_eq!(board.borrow().chip.stores, 50_000);
    let mut back = vec![0; data.len()];
    second.read(DRAM, &mut back).unwrap();
    assert!(back == data);
}

#[test]
fn a_port_that_returns_is_waited_for() {
    for direction in [Direction::ToPeer, Direction::ToHost] {
        let board = board();
        let vanish = |after, bytes| Rule {
            direction,
            after,
            fault: Fault::Vanish { bytes },
        };
        let faults = Faults {
            rules: vec![vanish(20, 11), vanish(60, 0), vanish(61, 5)],
            ..Faults::default()
        };
        let mut client = client(&board, faults);
        let count = Count::default();
        client.observe(Box::new(count.clone()));
        let data = pattern(50_000);
        client.write(DRAM, &data).unwrap();
        let mut back = vec![0; data.len()];
        client.read(DRAM, &mut back).unwrap();
        assert!(back == data);
        assert_eq!(count.bytes.get(), 100_000);
        let notes = count.notes.borrow();
        assert_eq!(notes.len(), 6, "{notes:?}");
        assert_eq!(notes[1], "memory: the port is there again");
    }
}

#[test]
fn a_board_that_restarts_is_connected_to_anew() {
    let board = board();
    let mut client = client(&board, Faults::default());
    client.write(DRAM, &pattern(4000)).unwrap();
    board.borrow_mut().restart();
    let mut back = vec![0; 4000];
    client.read(DRAM, &mut back).unwrap();
    assert!(back == pattern(4000));
    // The lock is closed again.
    client.unlock().unwrap();
    client.write(0xf600_0000, &[0; 4]).unwrap();
    board.borrow_mut().restart();
    let error = client.write(0xf600_0000, &[0; 4]).unwrap_err();
    let locked = Failure::Locked {
        address: 0xf600_0000,
    };
    assert_eq!(error, Error::Refused(locked));
}

#[test]
fn what_changes_is_told() {
    let board = board();
    let mut client = client(&board, Faults::default());
    let count = Count::default();
    client.observe(Box::new(count.clone()));
    client.subscribe(true).unwrap();
    let pe = PeId::from_core(1).unwrap();
    let mut record = Record::starting(Image::Loss, pe.noc_id().into());
    record.status = Status::Ready as u32;
    let place = Address::pe_sram(pe, layout::RECORD.start).unwrap().0;
    client.write(place, bytemuck::bytes_of(&record)).unwrap();
    for _ in 0..200 {
        client.overview().unwrap();
    }
    let told = count.records.borrow();
    assert_eq!(told[..], [format!("{pe} loss: ready")]);
}

/// A peer that answers a hello with something else.
fn answers(answer: impl Fn(u16) -> Vec<u8> + 'static) -> Result<Client, Error> {
    let mut decoder = Decoder::new();
    let peer: Peer = Box::new(move |bytes| {
        let mut answers = Vec::new();
        for &byte in bytes {
            if let Some(frame) = decoder.push(byte) {
                answers.extend(answer(frame.sequence));
            }
        }
        answers
    });
    connect(Memory::new(peer, Faults::default()))
}

fn hello(sequence: u16, version: u8, layout: u64) -> Vec<u8> {
    let monitor = PeId::new(1, 1, 0).unwrap();
    let hello = HelloResponse::new(version, layout, "board", 0, monitor);
    let mut frame = [0; 2048];
    encode(sequence, &Response::Hello(hello), &mut frame)
        .unwrap()
        .to_vec()
}

#[test]
fn what_is_no_fitting_board_is_told() {
    let shown = |error: Error| crate::error::Error::from(error).to_string();
    let silent = answers(|_| Vec::new()).err().unwrap();
    assert!(shown(silent).starts_with("memory: no answer, 60 times asked"));
    let garbage = answers(|_| b"\xf8\x80\x78 login: ".to_vec()).err().unwrap();
    let garbage = shown(garbage);
    assert!(
        garbage.contains("can be understood") && garbage.contains("--baud"),
        "{garbage}"
    );
    let other = answers(|n| hello(n, 0, LAYOUT_HASH)).err().unwrap();
    assert!(shown(other).starts_with("the board speaks version 1 of the protocol or later"));
    let client = answers(|n| hello(n, 1, 42)).unwrap();
    let layout = shown(client.check_layout().unwrap_err());
    assert!(
        layout.contains("000000000000002a") && layout.contains("same sources"),
        "{layout}"
    );

    let board = board();
    let mut client = self::client(&board, Faults::default());
    client.check_layout().unwrap();
    let error = client.start(0xff).unwrap_err();
    assert_eq!(error, Error::Refused(Failure::NoSuchPe { pe: 0xff }));
    let error = client.read(DRAM + 2, &mut [0; 4]).unwrap_err();
    assert!(
        matches!(error, Error::Refused(Failure::Misaligned { .. })),
        "{error}"
    );
    // The connection is fit for use.
    client.read(DRAM, &mut [0; 4]).unwrap();
}

/// Answers of the right form that make no sense.
#[test]
fn no_answer_makes_the_client_panic() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let nonsense = move |sequence: u16| {
        let mut word = || match random.next_u32() % 4 {
            0 => random.next_u32() % 8,
            1 => u32::MAX - random.next_u32() % 8,
            2 => DRAM,
            _ => random.next_u32(),
        };
        let data = vec![7; word() as usize % 1025];
        let numbers = [word(), word(), word()];
        let hello = HelloResponse::new(numbers[0] as u8 % 2, 1, "", 0, PeId::new(1, 1, 0).unwrap());
        let state = State {
            pe: numbers[0] as u8,
            processor: Processor::Held,
            record: &data,
        };
        let response = match word() % 9 {
            0 | 1 => Response::Hello(hello),
            2 => Response::Done,
            3 => Response::Overview { states: &data },
            4 => Response::State(state),
            5 => Response::Data {
                address: numbers[0],
                data: &data,
            },
            6 => Response::Progress(state),
            7 => Response::Failed(Failure::NoHello),
            _ => Response::Needs {
                id: numbers[0],
                first: numbers[1],
                held: numbers[2],
            },
        };
        let mut frame = [0; 2048];
        encode(sequence, &response, &mut frame).unwrap().to_vec()
    };
    let line = Rc::new(RefCell::new(nonsense));
    for _ in 0..300 {
        let line = Rc::clone(&line);
        let Ok(mut client) = answers(move |n| (line.borrow_mut())(n)) else {
            continue;
        };
        for _ in 0..10 {
            let _ = client.overview();
            let _ = client.state(0);
            let _ = client.read(DRAM, &mut [0; 3000]);
            let _ = client.write(DRAM, &[1; 3000]);
            let _ = client.order_all(&[Request::Signal { line: 0 }; 3]);
        }
    }
}

#[test]
fn messages_of_the_longest_kind_fit_their_frames() {
    let data = [0xff; bsp::protocol::MAX_BLOCK];
    let mut frame = [0; bsp::protocol::frame::MAX_FRAME];
    let request = Request::Block {
        id: u32::MAX,
        index: u32::MAX,
        data: &data,
    };
    assert!(encode(u16::MAX, &request, &mut frame).is_some());
}
