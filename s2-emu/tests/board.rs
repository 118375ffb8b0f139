//! The monitor's machine code on an emulated board: it answers a host through its serial line, whatever else comes
//! over it, and starts programs that the host has written.

mod common;

use bsp::command::Command;
use bsp::layout;
use bsp::protocol::frame::{self, Decoder, MAX_FRAME};
use bsp::protocol::{
    Failure, HelloRequest, MAX_BLOCK, Processor, Request, Response, UNLOCK, VERSION,
};
use bsp::record::{Record, Status};
use bsp::specification::{self, LAYOUT_HASH};
use common::loss::loss;
use common::{open, project_program};
use eventprop_core::program::loss::Loss;
use eventprop_core::program::{Mode, Run};
use s2_emu::{Board, Image};
use s2_hal::dma::Address;
use s2_hal::topology::PeId;

/// A host that waits for each answer.
struct Host {
    board: Board,
    decoder: Decoder,
    sequence: u16,
    /// Records of the stream, with their sequence numbers.
    progress: Vec<(u16, u8, Record)>,
}

const MONITOR: (u8, u8, u8) = (7, 6, 3);

fn pe((x, y, pe): (u8, u8, u8)) -> PeId {
    PeId::new(x, y, pe).expect("it exists")
}

impl Host {
    fn new() -> Self {
        let image = Image::open(&project_program("monitor")).expect("the linker makes firmware");
        Self {
            board: Board::new(image, pe(MONITOR), 0).expect("the PE exists"),
            decoder: Decoder::new(),
            sequence: 0xfffe,
            progress: Vec::new(),
        }
    }

    /// Lets the board work; hands out whole messages.
    fn step(&mut self, mut take: impl FnMut(u16, Response<'_>)) {
        self.board.step().unwrap_or_else(|fault| panic!("{fault}"));
        for byte in self.board.receive() {
            let Some(frame) = self.decoder.push(byte) else {
                continue;
            };
            match Response::decode(frame.message).expect("the board's messages are known") {
                Response::Progress(state) => {
                    let record = state.record().expect("not too long");
                    self.progress.push((frame.sequence, state.pe, record));
                }
                response => take(frame.sequence, response),
            }
        }
        assert_eq!(self.decoder.damaged(), 0);
    }

    fn ask<R>(&mut self, request: &Request<'_>, answer: impl FnOnce(Response<'_>) -> R) -> R {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut buffer = [0; MAX_FRAME];
        let frame = frame::encode(sequence, request, &mut buffer).expect("it fits");
        self.board.send(frame);
        let (mut answer, mut result) = (Some(answer), None);
        for _ in 0..1000 {
            self.step(|number, response| {
                assert_eq!(number, sequence);
                result = Some(answer.take().expect("one answer")(response));
            });
            if let Some(result) = result {
                return result;
            }
        }
        panic!("no answer to {request:?}");
    }

    #[track_caller]
    fn done(&mut self, request: &Request<'_>) {
        self.ask(request, |response| assert_eq!(response, Response::Done));
    }

    #[track_caller]
    fn fails(&mut self, request: &Request<'_>, failure: Failure) {
        self.ask(request, |response| {
            assert_eq!(response, Response::Failed(failure))
        });
    }

    fn record(&mut self, pe: PeId) -> (Processor, Record) {
        self.ask(
            &Request::State { pe: pe.noc_id() },
            |response| match response {
                Response::State(state) => (state.processor, state.record().expect("not too long")),
                other => panic!("{other:?}"),
            },
        )
    }

    /// Sends a transfer, blocks in descending order within the window.
    fn transfer(&mut self, id: u32, address: Address, data: &[u8]) {
        let (address, length) = (address.0, data.len() as u32);
        self.ask(
            &Request::Open {
                id,
                address,
                length,
            },
            |response| {
                assert_eq!(
                    response,
                    Response::Needs {
                        id,
                        first: 0,
                        held: 0
                    }
                );
            },
        );
        let blocks = data.len().div_ceil(MAX_BLOCK) as u32;
        for index in (0..blocks).rev() {
            let data = data.chunks(MAX_BLOCK).nth(index as usize).expect("a block");
            let first = self.ask(
                &Request::Block { id, index, data },
                |response| match response {
                    Response::Needs { first, .. } => first,
                    other => panic!("{other:?}"),
                },
            );
            assert_eq!(first, if index == 0 { blocks } else { 0 });
        }
    }
}

fn hello(response: Response<'_>) {
    let Response::Hello(hello) = response else {
        panic!("{response:?}");
    };
    assert_eq!(hello.version, VERSION);
    assert_eq!(hello.layout_hash(), LAYOUT_HASH);
    assert_eq!(hello.monitor, pe(MONITOR).noc_id());
    assert_eq!(hello.numbers().count(), 152);
}

#[test]
fn the_monitor_answers_and_starts_programs() {
    let mut host = Host::new();
    let at = pe((1, 1, 2));
    let number = at.noc_id();
    host.fails(&Request::Overview, Failure::NoHello);
    // Garbage before a frame and between frames.
    host.board
        .send(b"\0\x01\xff garbage \0\0\x03ab\0 more garbage");
    host.ask(&Request::Hello(HelloRequest::THIS), hello);

    // A program without a data specification says so in its record.
    let layer = open(&project_program("layer"));
    for (id, (offset, data)) in layer.segments().enumerate() {
        let mut data = data.to_vec();
        data.resize(data.len().next_multiple_of(4), 0);
        let place = Address::pe_sram(at, offset).expect("it is in the SRAM");
        host.transfer(id as u32, place, &data);
    }
    assert_eq!(host.record(at).0, Processor::Held);
    host.done(&Request::Subscribe { on: true });
    host.done(&Request::Start { pe: number });
    host.fails(&Request::Start { pe: number }, Failure::Busy { pe: number });
    host.board.send(b"garbage \xff\x80");
    host.board.send(&[0]);
    for _ in 0..500 {
        host.step(|_, response| panic!("{response:?}"));
    }
    let stopped = host
        .progress
        .iter()
        .find(|(_, of, record)| *of == number && record.status() == Some(Status::BadSpecification));
    let (_, _, record) = *stopped.expect("the stream tells why a program has stopped");
    assert!(
        record
            .to_string()
            .contains("layer: data specification: none found"),
        "{record}"
    );
    let sequences: Vec<_> = host
        .progress
        .iter()
        .map(|(sequence, ..)| *sequence)
        .collect();
    assert_eq!(sequences, Vec::from_iter(0..sequences.len() as u16));
    assert_eq!(host.record(at), (Processor::Running, record));
    host.ask(&Request::Overview, |response| {
        let Response::Overview { states } = response else {
            panic!("{response:?}");
        };
        let states: Vec<_> = states
            .iter()
            .map(|&byte| Response::overview(byte))
            .collect();
        assert_eq!(states.len(), 152);
        let layer = (
            Processor::Running,
            Some(Status::BadSpecification),
            Some(specification::Image::Layer),
        );
        assert_eq!(states.iter().filter(|&&state| state == layer).count(), 1);
        let held = (Processor::Held, Some(Status::NotStarted), None);
        assert_eq!(states.iter().filter(|&&state| state == held).count(), 150);
    });

    // Stopped, cleared, started once more.
    host.done(&Request::Stop { pe: number });
    let record = Address::pe_sram(at, layout::RECORD.start)
        .expect("it is in the SRAM")
        .0;
    host.done(&Request::Fill {
        address: record,
        length: 256,
        word: 0,
    });
    assert_eq!(host.record(at).1.status(), Some(Status::NotStarted));
    host.done(&Request::Reset { pe: number });
    for _ in 0..10 {
        host.step(|_, response| panic!("{response:?}"));
    }
    assert_eq!(host.record(at).1.status(), Some(Status::BadSpecification));
}

#[test]
fn the_monitor_guards_what_is_not_the_hosts() {
    let mut host = Host::new();
    host.ask(&Request::Hello(HelloRequest::THIS), hello);
    let own = Address::pe_sram(pe(MONITOR), 0x1_0000)
        .expect("it is in the SRAM")
        .0;
    let word = 0x600d_f00d_u32.to_le_bytes();
    let write = |address| Request::Write {
        address,
        data: &word,
    };
    host.fails(&write(own), Failure::Locked { address: own });
    let pins = s2_pac::map::JIB_MANAGEMENT + 0x68;
    host.fails(&write(pins), Failure::Locked { address: pins });
    host.fails(&Request::Unlock { word: 1 }, Failure::WrongWord);
    host.done(&Request::Unlock { word: UNLOCK });
    host.done(&write(pins));
    host.ask(
        &Request::Read {
            address: pins,
            length: 4,
        },
        |response| {
            assert_eq!(
                response,
                Response::Data {
                    address: pins,
                    data: &word
                }
            );
        },
    );
    host.sequence = 77;
    host.ask(&Request::Hello(HelloRequest::THIS), hello);
    host.fails(&write(pins), Failure::Locked { address: pins });
    // DRAM, both halves.
    for offset in [0x400, 0x7fff_fffc] {
        let address = Address::dram(offset).expect("there is DRAM").0;
        host.done(&write(address));
        host.ask(&Request::Read { address, length: 4 }, |response| {
            assert_eq!(
                response,
                Response::Data {
                    address,
                    data: &word
                }
            );
        });
    }
}

#[test]
fn a_signal_wakes_a_program_that_waits_for_a_command() {
    let mut host = Host::new();
    let at = common::pe();
    let place = |offset| Address::pe_sram(at, offset).expect("it is in the SRAM");
    host.ask(&Request::Hello(HelloRequest::THIS), hello);
    for (offset, data) in open(&project_program("loss")).segments() {
        let mut data = data.to_vec();
        data.resize(data.len().next_multiple_of(4), 0);
        host.transfer(offset, place(offset), &data);
    }
    // So long that no tick finds the command.
    let mut body = loss(10);
    body.time_out_ms = 1_000_000;
    let mut words = [0; layout::bytes(&layout::SPECIFICATION) / 4];
    let count = specification::write::<Loss>(&body, &mut words).expect("it fits a PE");
    let bytes = bytemuck::cast_slice(&words[..count]);
    host.transfer(1, place(layout::SPECIFICATION.start), bytes);
    host.done(&Request::Start { pe: at.noc_id() });
    let wait = |host: &mut Host| {
        for _ in 0..20 {
            host.step(|_, response| panic!("{response:?}"));
        }
        host.record(at).1.status()
    };
    assert_eq!(wait(&mut host), Some(Status::Ready));
    let dram = |offset| Address::dram(offset).expect("there is DRAM");
    let command = Command::new(
        1,
        &Run {
            mode: Mode::Evaluate,
            samples: 1,
            batch: 1,
            order: dram(0x400),
            data: dram(0x1000),
            stride: 0x1000,
            results: dram(0x2000),
        },
    );
    let (number, rest) = bytemuck::bytes_of(&command).split_at(4);
    let address = place(layout::COMMAND.start).0;
    host.done(&Request::Write {
        address: address + 4,
        data: rest,
    });
    host.done(&Request::Write {
        address,
        data: number,
    });
    assert_eq!(wait(&mut host), Some(Status::Ready));
    host.done(&Request::Signal { line: 0 });
    assert_eq!(wait(&mut host), Some(Status::Running));
}
