//! Packets, scheduling and faults on the model of the chip.

// Slow under Miri, which `dma.rs` is for: nothing here reaches unsafe code.
#![cfg(not(miri))]

use std::cell::RefCell;
use std::convert::Infallible;

use s2_hal::mock::fault::{FaultPlan, Hang, PacketFault, PacketRule};
use s2_hal::mock::{Chip, Config, PacketError, Pe, Program, Progress, RunError, from_fn};
use s2_hal::packet::{Error, ErrorKind, Fanout, Packet, PacketReceiver, PacketSender};
use s2_hal::router::{self, Entry, Link, Route, Router};
use s2_hal::timer::{DelayNs, Ticks};
use s2_hal::topology::{Destination, PeId, pes};

fn pe(x: u8, y: u8, pe: u8) -> PeId {
    PeId::new(x, y, pe).unwrap()
}

const fn key(key: u32) -> Packet {
    Packet { key, payload: None }
}

const fn with_payload(key: u32, payload: u32) -> Packet {
    Packet {
        key,
        payload: Some(payload),
    }
}

/// Either sends a list of packets or takes a number of packets, and notes when they came.
enum Station<'a> {
    Sender {
        to: Fanout<'a>,
        packets: Vec<Packet>,
        refused: u32,
    },
    Receiver {
        expected: usize,
        packets: Vec<(u64, Packet)>,
        overruns: u32,
    },
}

impl<'a> Station<'a> {
    fn sender(to: Fanout<'a>, packets: impl IntoIterator<Item = Packet>) -> Self {
        Self::Sender {
            to,
            packets: packets.into_iter().collect(),
            refused: 0,
        }
    }

    fn receiver(expected: usize) -> Self {
        Self::Receiver {
            expected,
            packets: Vec::new(),
            overruns: 0,
        }
    }

    fn received(&self) -> Vec<Packet> {
        match self {
            Self::Receiver { packets, .. } => packets.iter().map(|(_, packet)| *packet).collect(),
            Self::Sender { .. } => panic!("a sender"),
        }
    }
}

impl Program for Station<'_> {
    type Fault = PacketError;

    fn poll(&mut self, _: &mut [u64], pe: &mut Pe<'_>) -> Result<Progress, PacketError> {
        match self {
            Self::Sender {
                to,
                packets,
                refused,
            } => {
                while let Some(packet) = packets.first() {
                    match pe.try_send(*to, *packet) {
                        Ok(()) => drop(packets.remove(0)),
                        Err(nb::Error::WouldBlock) => {
                            *refused += 1;
                            return Ok(Progress::Idle);
                        }
                        Err(nb::Error::Other(error)) => return Err(error),
                    }
                }
                Ok(Progress::Done)
            }
            Self::Receiver {
                expected,
                packets,
                overruns,
            } => {
                match pe.try_receive() {
                    Ok(packet) => packets.push((pe.now(), packet)),
                    Err(nb::Error::WouldBlock) => return Ok(Progress::Idle),
                    Err(nb::Error::Other(error)) => {
                        assert_eq!(error.kind(), ErrorKind::Overrun);
                        *overruns += 1;
                    }
                }
                Ok(if packets.len() == *expected {
                    Progress::Done
                } else {
                    Progress::Worked
                })
            }
        }
    }
}

fn steady() -> Config {
    Config {
        jitter_cycles: 0,
        ..Config::default()
    }
}

#[test]
fn the_router_takes_the_first_match_and_drops_what_has_none() {
    let (a, b, c) = (pe(1, 1, 0), pe(5, 5, 2), pe(5, 5, 3));
    let mut chip = Chip::new(Config::default());
    let table = [
        Entry {
            key: 0x11,
            mask: 0xff,
            route: Route::NONE.with_pe(b),
        },
        Entry {
            key: 0x10,
            mask: 0xf0,
            route: Route::NONE.with_pe(b).with_pe(c).with_link(Link::North),
        },
        Entry {
            key: 0x11,
            mask: 0xff,
            route: Route::NONE.with_pe(a),
        },
    ];
    chip.load(&table).unwrap();
    // A table that is refused leaves the old one in place.
    let bad = Entry {
        key: 1,
        mask: 0,
        route: Route::NONE,
    };
    assert!(chip.load(&[bad]).is_err());
    assert!(chip.load(&vec![table[0]; router::CAPACITY]).is_ok());
    let too_many = chip
        .load(&vec![table[0]; router::CAPACITY + 1])
        .unwrap_err();
    assert_eq!(
        too_many.to_string(),
        "the router table has 16385 entries, the router holds 16384"
    );
    chip.load(&table).unwrap();

    let mut programs = [
        (
            a,
            Station::sender(
                Fanout::Router,
                [key(0x11), with_payload(0x12, 5), key(0x22)],
            ),
        ),
        (b, Station::receiver(2)),
        (c, Station::receiver(1)),
    ];
    chip.run(&mut programs).unwrap();
    let mut at_b = programs[1].1.received();
    at_b.sort_by_key(|packet| packet.key);
    assert_eq!(at_b, [key(0x11), with_payload(0x12, 5)]);
    assert_eq!(programs[2].1.received(), [with_payload(0x12, 5)]);
    let counters = chip.counters();
    assert_eq!((counters.router_hits, counters.router_misses), (2, 1));
    assert_eq!(counters.left_chip, 1);
    assert_eq!(
        (
            counters.pes.sent,
            counters.pes.delivered,
            counters.pes.received
        ),
        (3, 3, 3)
    );
    // Three packets over 5 hops to the router; two, once for both PEs, over 2 hops from there.
    assert_eq!(counters.hops, 3 * 5 + 2 * 2);
    // Another table forgets nothing of that.
    chip.load(&table[..1]).unwrap();
    assert_eq!(chip.counters(), counters);
}

#[test]
fn direct_packets_reach_each_pe_of_the_list() {
    let from = pe(2, 2, 0);
    let list = [
        Destination {
            x: 2,
            y: 2,
            pes: 0b1110,
        },
        Destination {
            x: 6,
            y: 1,
            pes: 0b0001,
        },
    ];
    let mut chip = Chip::new(Config::default());
    let mut programs = vec![(
        from,
        Station::sender(Fanout::Direct(&list), [with_payload(1, 2)]),
    )];
    for to in [pe(2, 2, 1), pe(2, 2, 2), pe(2, 2, 3), pe(6, 1, 0)] {
        programs.push((to, Station::receiver(1)));
    }
    chip.run(&mut programs).unwrap();
    assert_eq!(chip.counters().hops, 5);
    assert_eq!(chip.counters().pes.sent, 2);

    for wrong in [
        Destination { x: 4, y: 3, pes: 1 },
        Destination { x: 1, y: 1, pes: 0 },
        Destination {
            x: 1,
            y: 1,
            pes: 16,
        },
    ] {
        let list = [list[0], wrong];
        let station = Station::sender(Fanout::Direct(&list), [key(1)]);
        let error = chip.run(&mut [(from, station)]).unwrap_err();
        let fault = PacketError::NoSuchDestination(wrong);
        assert_eq!(error, RunError::Fault { pe: from, fault });
    }
    // Nothing was sent to the destinations that do exist.
    assert_eq!(chip.counters().pes.sent, 2);
}

#[test]
fn latency_grows_by_five_cycles_a_hop() {
    let arrival = |to: PeId| {
        let list = [to.destination()];
        let mut chip = Chip::new(steady());
        let mut sender = from_fn(|_: &mut [u64], pe: &mut Pe<'_>| {
            // The receiver is asleep by then.
            pe.delay_ns(10_000);
            let sent = pe.try_send(Fanout::Direct(&list), key(1));
            assert_eq!(sent, Ok(()));
            Ok(Progress::Done)
        });
        let mut receiver = Station::receiver(1);
        let mut programs: [(PeId, &mut dyn Program<Fault = PacketError>); 2] =
            [(pe(1, 1, 0), &mut sender), (to, &mut receiver)];
        chip.run(&mut programs).unwrap();
        match receiver {
            Station::Receiver { packets, .. } => packets[0].0,
            Station::Sender { .. } => unreachable!(),
        }
    };
    let base = arrival(pe(7, 5, 0));
    assert_eq!(arrival(pe(7, 6, 0)) - base, 5);
    assert_eq!(arrival(pe(7, 6, 3)) - base, 5);
    assert_eq!(base - arrival(pe(6, 5, 0)), 5);
}

#[test]
fn a_full_ring_drops_counts_and_reports_once() {
    let (from, to) = (pe(1, 1, 0), pe(1, 1, 1));
    let list = [to.destination()];
    let mut chip = Chip::new(Config {
        ring_words: 512,
        ..steady()
    });
    chip.set_ring_words(to, 7);
    // Nobody receives: three packets with payload take six words, one without takes the seventh.
    let packets = [
        with_payload(0, 0),
        with_payload(1, 0),
        with_payload(2, 0),
        with_payload(3, 0),
        key(4),
        key(5),
    ];
    chip.run(&mut [(from, Station::sender(Fanout::Direct(&list), packets))])
        .unwrap();
    // The packets are still under way; a run of another program lets them arrive.
    let wait = from_fn(|_: &mut [u64], pe: &mut Pe<'_>| {
        pe.delay_ns(1000);
        Ok::<_, Infallible>(Progress::Done)
    });
    chip.run(&mut [(pe(7, 6, 0), wait)]).unwrap();
    chip.run(&mut [(pe(7, 6, 0), wait)]).unwrap();
    assert_eq!(chip.packets_waiting(), (0, 4));
    let counters = chip.pe_counters(to);
    assert_eq!((counters.delivered, counters.dropped), (4, 2));
    assert_eq!(counters.ring_peak_words, 7);

    let mut receiver = [(to, Station::receiver(4))];
    chip.run(&mut receiver).unwrap();
    assert_eq!(
        receiver[0].1.received(),
        [packets[0], packets[1], packets[2], packets[4]]
    );
    assert!(matches!(
        receiver[0].1,
        Station::Receiver { overruns: 1, .. }
    ));
    assert_eq!(chip.pe_counters(to).overruns, 1);
}

#[test]
fn a_busy_transmitter_refuses_and_wakes_its_program() {
    let (from, to) = (pe(1, 1, 0), pe(7, 6, 1));
    let list = [to.destination()];
    let mut chip = Chip::new(Config {
        transmit_cycles: 200,
        ..Config::default()
    });
    let mut programs = [
        (
            from,
            Station::sender(Fanout::Direct(&list), (0..20).map(key)),
        ),
        (to, Station::receiver(20)),
    ];
    chip.run(&mut programs).unwrap();
    assert!(matches!(
        programs[0].1,
        Station::Sender { refused: 3.., .. }
    ));

    // A program that waits for something else afterwards is left alone.
    let mut packets = 20;
    let program = from_fn(|_: &mut [u64], pe: &mut Pe<'_>| {
        while packets > 0 {
            match pe.try_send(Fanout::Direct(&list), key(1)) {
                Ok(()) => packets -= 1,
                Err(nb::Error::WouldBlock) => break,
                Err(nb::Error::Other(error)) => return Err(error),
            }
        }
        Ok(Progress::Idle)
    });
    let error = chip.run(&mut [(from, program)]).unwrap_err();
    assert_eq!(
        error,
        RunError::Stalled {
            waiting: vec![from]
        }
    );
}

/// Order in which 200 packets from four PEs reach another one, and the report of the run.
fn order(seed: u64) -> (Vec<Packet>, s2_hal::mock::RunReport) {
    order_on(Config {
        seed,
        ..Config::default()
    })
}

fn order_on(config: Config) -> (Vec<Packet>, s2_hal::mock::RunReport) {
    let to = pe(4, 2, 0);
    let list = [to.destination()];
    let mut programs = vec![(to, Station::receiver(200))];
    for (number, from) in (0..).zip([pe(1, 1, 0), pe(7, 6, 3), pe(4, 2, 1), pe(3, 3, 2)]) {
        let packets = (0..50).map(|i| with_payload(number, i));
        programs.push((from, Station::sender(Fanout::Direct(&list), packets)));
    }
    let mut chip = Chip::new(config);
    let report = chip.run(&mut programs).unwrap();
    (programs[0].1.received(), report)
}

#[test]
fn the_seed_permutes_the_order_and_nothing_else() {
    let (first, report) = order(1);
    assert_eq!(order(1), (first.clone(), report));
    let (mut second, _) = order(2);
    assert_ne!(first, second);
    // Packets overtake each other, also those of one sender.
    let of_one: Vec<_> = first.iter().filter(|p| p.key == 0).collect();
    assert!(!of_one.is_sorted_by_key(|p| p.payload));
    let mut first = first;
    first.sort_by_key(|p| (p.key, p.payload));
    second.sort_by_key(|p| (p.key, p.payload));
    assert_eq!(first, second);
}

/// Packets of four senders that come behind a later one of theirs, of 200.
fn overtaken(late_one_in: u32) -> usize {
    let (received, _) = order_on(Config {
        late_one_in,
        ..Config::default()
    });
    let of = |sender| received.iter().filter(move |p| p.key == sender);
    (0..4)
        .map(|sender| {
            let mut latest = None;
            of(sender)
                .filter(|packet| {
                    let overtaken = packet.payload < latest;
                    latest = latest.max(packet.payload);
                    overtaken
                })
                .count()
        })
        .sum()
}

#[test]
fn one_packet_in_so_many_is_late() {
    assert!(overtaken(1) > 100, "nearly all are");
    assert_eq!(overtaken(0), overtaken(1));
    let some = overtaken(8);
    assert!(
        (10..40).contains(&some),
        "{some} of 200, 25 of which are late"
    );
    assert_eq!(overtaken(u32::MAX), 0, "none is");
}

#[test]
fn the_seed_permutes_the_order_of_pes() {
    let polls = |seed| {
        let polled = RefCell::new(Vec::new());
        let program = from_fn(|_: &mut [u64], pe: &mut Pe<'_>| {
            polled.borrow_mut().push(pe.id());
            Ok::<_, Infallible>(Progress::Done)
        });
        let mut programs: Vec<_> = pes().map(|pe| (pe, program_ref(&program))).collect();
        // All at the same time: no jitter.
        Chip::new(Config { seed, ..steady() })
            .run(&mut programs)
            .unwrap();
        drop(programs);
        polled.into_inner()
    };
    let (first, second) = (polls(1), polls(2));
    assert_eq!(first, polls(1));
    assert_ne!(first, second);
    assert_eq!(first.len(), 152);

    fn program_ref<'a, P: Program<Fault = Infallible> + Clone + 'a>(
        program: &P,
    ) -> impl Program<Fault = Infallible> + 'a {
        program.clone()
    }
}

#[test]
fn a_stall_names_who_waits() {
    let (a, b) = (pe(1, 1, 0), pe(1, 1, 1));
    let mut chip = Chip::new(Config::default());
    let mut programs = [
        (a, Station::sender(Fanout::Router, [key(1)])),
        (b, Station::receiver(1)),
    ];
    let error = chip.run(&mut programs).unwrap_err();
    assert_eq!(error, RunError::Stalled { waiting: vec![b] });
    assert_eq!(
        error.to_string(),
        "stalled, 1 PEs wait for something: PE (1,1,1)"
    );

    // The chip goes on after that.
    let list = [b.destination()];
    programs[0].1 = Station::sender(Fanout::Direct(&list), [key(1)]);
    chip.run(&mut programs).unwrap();
}

#[test]
fn a_program_without_end_meets_the_time_limit() {
    let mut chip = Chip::new(Config {
        time_limit: 10_000,
        ..Config::default()
    });
    let here = pe(1, 1, 0);
    let program = from_fn(|_: &mut [u64], _: &mut Pe<'_>| Ok::<_, Infallible>(Progress::Worked));
    let error = chip.run(&mut [(here, program)]).unwrap_err();
    let waiting = vec![here];
    assert_eq!(
        error,
        RunError::TimeLimit {
            cycles: 10_000,
            waiting
        }
    );
}

#[test]
fn programs_need_a_pe_each() {
    let mut chip = Chip::new(Config::default());
    let nowhere = PeId { x: 4, y: 3, pe: 0 };
    let error = chip
        .run(&mut [(nowhere, Station::receiver(0))])
        .unwrap_err();
    assert_eq!(error, RunError::NoSuchPe { pe: nowhere });
    let here = pe(1, 1, 0);
    let twice = &mut [(here, Station::receiver(0)), (here, Station::receiver(0))];
    assert_eq!(
        chip.run(twice).unwrap_err(),
        RunError::PeTakenTwice { pe: here }
    );
}

#[test]
fn memory_stays_between_runs_and_belongs_to_its_pe() {
    let mut chip = Chip::new(Config::default());
    let count = |memory: &mut [u64], pe: &mut Pe<'_>| {
        assert_eq!(memory.len(), 16 * 1024);
        assert_eq!(memory.as_ptr() as usize % 16, 0);
        memory[0] += u64::from(pe.id().noc_id());
        Ok::<_, Infallible>(Progress::Done)
    };
    let (a, b) = (pe(1, 1, 0), pe(7, 6, 3));
    for _ in 0..3 {
        chip.run(&mut [(a, from_fn(count)), (b, from_fn(count))])
            .unwrap();
    }
    for pe in [a, b] {
        assert_eq!(chip.sram(pe)[0], 3 * u64::from(pe.noc_id()));
    }
}

/// Sends eight packets with payload under a plan of faults.
fn under(plan: FaultPlan) -> (Vec<Packet>, Chip) {
    let (from, to) = (pe(1, 1, 0), pe(3, 1, 1));
    let list = [to.destination(), pe(3, 1, 0).destination()];
    let mut chip = Chip::new(Config {
        faults: plan,
        ..steady()
    });
    let packets = (0..8).map(|i| with_payload(i, 100));
    let mut programs = [
        (from, Station::sender(Fanout::Direct(&list), packets)),
        (to, Station::receiver(usize::MAX)),
    ];
    let error = chip.run(&mut programs).unwrap_err();
    assert!(matches!(error, RunError::Stalled { .. }));
    (programs[1].1.received(), chip)
}

#[test]
fn packets_are_lost_duplicated_and_corrupted_to_order() {
    let to = pe(3, 1, 1);
    let keys = |packets: &[Packet]| packets.iter().map(|p| p.key).collect::<Vec<_>>();
    let plan = |rule| FaultPlan {
        packets: vec![rule],
        ..FaultPlan::default()
    };

    let (packets, chip) = under(plan(PacketRule::nth(2, PacketFault::Lose).to(to)));
    assert_eq!(keys(&packets), [0, 1, 3, 4, 5, 6, 7]);
    assert_eq!(chip.counters().lost, 1);
    assert_eq!(chip.counters().pes.delivered, 15);

    let rule = PacketRule::nth(0, PacketFault::Lose).matching(4, 4).to(to);
    assert_eq!(keys(&under(plan(rule)).0), [0, 1, 2, 3, 5, 6, 7]);

    let rule = PacketRule::nth(1, PacketFault::Duplicate { later: 5000 }).to(to);
    let (packets, chip) = under(plan(rule));
    assert_eq!(keys(&packets), [0, 1, 2, 3, 4, 5, 6, 7, 1]);
    assert_eq!(chip.counters().duplicated, 1);

    let rule = PacketRule::nth(3, PacketFault::Corrupt { bits: Some(3) }).to(to);
    let (packets, chip) = under(plan(rule));
    assert_eq!(packets[3], with_payload(3, 103));
    assert_eq!(chip.counters().corrupted, 1);

    let rule = PacketRule::chance(1.0, PacketFault::Corrupt { bits: None });
    let (packets, chip) = under(plan(rule));
    let flipped = packets
        .iter()
        .map(|p| (p.payload.unwrap() ^ 100).count_ones());
    assert!(flipped.into_iter().all(|bits| bits == 1));
    assert_eq!(chip.counters().corrupted, 16);

    let rule = PacketRule::chance(0.5, PacketFault::Lose);
    let (packets, chip) = under(plan(rule));
    assert!((1..16).contains(&chip.counters().lost), "{packets:?}");
}

#[test]
fn a_hanging_pe_is_not_polled() {
    let (a, b) = (pe(1, 1, 0), pe(1, 1, 1));
    let mut chip = Chip::new(Config {
        faults: FaultPlan {
            hangs: vec![Hang {
                pe: a,
                after_polls: 3,
            }],
            ..FaultPlan::default()
        },
        ..Config::default()
    });
    let program = |polls: u32| {
        let mut left = polls;
        from_fn(move |_: &mut [u64], _: &mut Pe<'_>| {
            left -= 1;
            Ok::<_, Infallible>(if left == 0 {
                Progress::Done
            } else {
                Progress::Worked
            })
        })
    };
    chip.run(&mut [(a, program(2)), (b, program(50))]).unwrap();
    let error = chip
        .run(&mut [(a, program(50)), (b, program(50))])
        .unwrap_err();
    assert_eq!(error, RunError::Stalled { waiting: vec![a] });
    assert_eq!(chip.pe_counters(a).polls, 3);
    chip.set_faults(&FaultPlan::default());
    chip.run(&mut [(a, program(2))]).unwrap();
}

#[test]
fn the_chip_can_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Chip>();
}
