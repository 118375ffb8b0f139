//! What a packet costs the host: sent, routed, carried, put into a ring, and received.
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use std::convert::Infallible;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use s2_hal::mock::{Chip, Config, Pe, Program, Progress};
use s2_hal::packet::{Fanout, Packet, PacketReceiver, PacketSender};
use s2_hal::router::{Entry, Route, Router};
use s2_hal::topology::{self, PeId};

/// Packets that each PE sends in a run.
const EACH: u32 = 1000;

/// Sends `EACH` packets in bursts and takes as many as it will get.
struct Station {
    key: u32,
    direct: Option<PeId>,
    to_send: u32,
    to_receive: u32,
}

impl Program for Station {
    type Fault = Infallible;

    fn poll(&mut self, _: &mut [u64], pe: &mut Pe<'_>) -> Result<Progress, Infallible> {
        let mut worked = false;
        while let Ok(packet) = pe.try_receive() {
            worked = true;
            std::hint::black_box(packet);
            self.to_receive -= 1;
        }
        let burst = self.to_send.min(20);
        for _ in 0..burst {
            let packet = Packet {
                key: self.key | (self.to_send % 200),
                payload: Some(self.to_send),
            };
            let list = self.direct.map(PeId::destination);
            let to = match &list {
                Some(list) => Fanout::Direct(std::slice::from_ref(list)),
                None => Fanout::Router,
            };
            if pe.try_send(to, packet).is_err() {
                break;
            }
            worked = true;
            self.to_send -= 1;
        }
        Ok(match (self.to_send, self.to_receive) {
            (0, 0) => Progress::Done,
            _ if worked => Progress::Worked,
            _ => Progress::Idle,
        })
    }
}

/// Each of 148 PEs sends to the `fan` PEs after it.
fn stations(fan: usize, direct: bool) -> (Vec<Entry>, Vec<(PeId, Station)>) {
    let pes: Vec<PeId> = topology::pes().take(148).collect();
    let targets = |i: usize| (1..=fan).map(move |d| (i + d) % 148);
    let entries = (0..148)
        .map(|i| Entry {
            key: (i as u32) << 8,
            mask: !0xff,
            route: targets(i).fold(Route::NONE, |route, to| route.with_pe(pes[to])),
        })
        .collect();
    let stations = (0..148)
        .map(|i| {
            let station = Station {
                key: (i as u32) << 8,
                direct: direct.then(|| pes[(i + 1) % 148]),
                to_send: EACH,
                to_receive: EACH * fan as u32,
            };
            (pes[i], station)
        })
        .collect();
    (entries, stations)
}

fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("packets");
    group.sample_size(20);
    for (name, fan, direct) in [
        ("router", 1, false),
        ("router to 4", 4, false),
        ("direct", 1, true),
    ] {
        let (entries, _) = stations(fan, direct);
        let mut chip = Chip::new(Config {
            ring_words: 4096,
            ..Config::default()
        });
        chip.load(&entries).expect("the table is sound");
        group.throughput(Throughput::Elements(148 * u64::from(EACH) * fan as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || stations(fan, direct).1,
                |stations| chip.run(stations).expect("all packets arrive"),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, packets);
criterion_main!(benches);
