use s2_pac::bus::Bus;
use s2_pac::map;

use super::*;

fn pe() -> PeId {
    PeId { x: 1, y: 1, pe: 2 }
}

#[test]
fn unknown_accesses_are_named() {
    let mut words = vec![0; map::SRAM_BYTES as usize / 4];
    let mut registers = Registers::new(pe(), 3);
    struct Nothing(Periphery);
    impl Surroundings for Nothing {
        fn now(&self) -> u64 {
            0
        }
        fn send(&mut self, _: Destination, _: Packet) -> u64 {
            0
        }
        fn load(&mut self, _: Address) -> Option<u32> {
            None
        }
        fn store(&mut self, _: Address, _: u32) -> Option<()> {
            None
        }
        fn periphery(&mut self) -> &mut Periphery {
            &mut self.0
        }
    }
    let mut around = Nothing(Periphery::default());
    let mut read = |address| {
        registers
            .read(address, &mut words[..], &mut around)
            .map_err(|error| error.to_string())
    };
    assert_eq!(read(map::COMMS + 0xf8), Ok(3 << 16 | 0b0010_0110));
    for (address, text) in [
        (0x10, "a read of 0x00000010 (no register)"),
        (map::COMMS + 0xfa, "0xe20000fa (no register)"),
        (map::COMMS + 0x34, "0xe2000034 (TKR[1] of COMMS_TRANSMIT)"),
        (
            map::COMMS + 0x94,
            "0xe2000094 (RKR of COMMS_RECEIVE) has no known effect at this point",
        ),
        (map::ML_ACCELERATOR, "0xe3000000"),
        (0x2000_0400, "0x20000400 (0x400 in DRAM)"),
        (0xf5ff_fffc, "0xf5fffffc"),
        (u32::MAX - 3, "0xfffffffc"),
    ] {
        let error = read(address).unwrap_err();
        assert!(error.contains(text), "{error}");
    }
    // The window on its own memory.
    let own = Address::pe_sram(pe(), 0x40).unwrap().0;
    words[16] = 5;
    let value = registers.read(own, &mut words[..], &mut around);
    assert_eq!(value, Ok(5));
    assert_eq!(
        registers.write(map::COMMS + 0x110, 0, &mut words[..], &mut around),
        Err(UnknownAccess {
            address: map::COMMS + 0x110,
            write: true
        })
    );
}

/// The time of a timer by its values and its interrupt, on its own clock.
#[test]
fn timers_count_like_an_sp804() {
    const CYCLES: u64 = (crate::mock::FREQUENCY / REFERENCE_CLOCK) as u64;
    let mut timer = timer::Timer::default();
    let values = |timer: &mut timer::Timer, ticks: std::ops::Range<u64>| -> Vec<(u32, u32)> {
        ticks
            .map(|tick| {
                let now = tick * CYCLES + 7;
                let state = (timer.read(4, now).unwrap(), timer.read(0x10, now).unwrap());
                timer.write(0xc, 0, now);
                state
            })
            .collect()
    };
    // Periodic.
    timer.write(0, 3, 7).unwrap();
    timer.write(8, 0xe2, 7).unwrap();
    assert_eq!(
        values(&mut timer, 0..5),
        [(3, 0), (2, 0), (1, 0), (3, 1), (2, 0)]
    );
    assert_eq!(timer.next(4 * CYCLES + 100), Some(6 * CYCLES + 7));
    // The next period is another one.
    timer.write(0x18, 2, 4 * CYCLES + 7).unwrap();
    assert_eq!(values(&mut timer, 5..9), [(1, 0), (2, 1), (1, 0), (2, 1)]);
    // Looked at rarely.
    assert_eq!(values(&mut timer, 1_000_001..1_000_003), [(1, 1), (2, 1)]);
    // One shot, by a prescaler of 16, without interrupt.
    timer.write(8, 0, 0).unwrap();
    timer.write(0, 1, 0).unwrap();
    timer.write(8, 0b1000_0111, 0).unwrap();
    let at = |timer: &mut timer::Timer, tick: u64| timer.read(4, tick * CYCLES);
    assert_eq!(at(&mut timer, 15), Some(1));
    assert_eq!(at(&mut timer, 16), Some(0));
    assert_eq!(at(&mut timer, 900), Some(0));
    assert_eq!(timer.next(900 * CYCLES), None);
    assert!(!timer.interrupt(900 * CYCLES));
    // Running freely, 16 bits.
    timer.write(8, 0b1010_0000, 1000 * CYCLES).unwrap();
    timer.write(0xc, 0, 1000 * CYCLES).unwrap();
    timer.write(0, 1, 1000 * CYCLES).unwrap();
    assert_eq!(timer.next(1000 * CYCLES), Some(1001 * CYCLES));
    assert_eq!(at(&mut timer, 1001), Some(0));
    assert_eq!(at(&mut timer, 1002), Some(0xffff));
    assert!(timer.interrupt(1002 * CYCLES));
}

#[test]
fn a_ring_fills_and_drops() {
    let mut bench = Bench::new(pe());
    // SAFETY: only the registers use it.
    let base = unsafe { bench.memory(2) }.as_ptr().expose_provenance() as u32;
    let ring = map::COMMS + 0x100;
    bench.write(map::COMMS + 0xfc, 4);
    for (offset, value) in [
        (0x04, base),
        (0x08, s2_pac::comms::ring_end(base, 7)),
        (0x0c, base),
        (0x10, base),
        (0x14, 3),
        (0x3c, 0xf),
        (0x00, 0x20_0641),
    ] {
        bench.write(ring + offset, value);
    }
    let packet = |key| Packet {
        key,
        payload: Some(!key),
    };
    // No payload: not for the ring.
    assert!(bench.receive(Packet {
        key: 99,
        payload: None
    }));
    assert_eq!(bench.interrupts() & !(1 << 3), 1 << 5 | 1 << 6);
    assert_eq!(bench.read(map::COMMS + 0x94), 99);
    let taken: Vec<bool> = (0..4).map(|key| bench.receive(packet(key))).collect();
    assert_eq!(taken, [true, true, true, false]);
    let lines = bench.interrupts() & !(1 << 3);
    assert_eq!(lines, 1 << 9 | 1 << 10 | 1 << 11 | 1 << 20);
    assert_eq!(bench.read(ring + 0x18), 6);
    assert_eq!(bench.read(ring + 0x20), 1);
    // The next packet's payload goes to the last word, its key to the first. The read pointer counts
    // with the settings.
    bench.write(ring + 0x0c, base + 8);
    assert!(!bench.receive(packet(4)));
    bench.write(ring, 0x20_0641);
    assert_eq!(bench.read(ring + 0x18), 4);
    assert!(bench.receive(packet(5)));
    assert_eq!(bench.read(ring + 0x10), base + 4);
    assert_eq!(bench.interrupts() >> 20 & 1, 0);
    let word = |index: u32| Address::pe_sram(pe(), 4 * index).unwrap().0;
    assert_eq!(bench.read(word(6)), !5);
    assert_eq!(bench.read(word(0)), 5);
    assert_eq!(bench.read(word(3)), 1);
    assert_eq!((bench.read(ring + 0x1c), bench.read(ring + 0x20)), (6, 2));
}

#[test]
fn feed_through_lines_reach_the_pes_that_enabled_them() {
    let mut bench = Bench::new(pe());
    let mask = map::QUAD_PE_REGISTERS + 9 * (1 << 19) + 0x40 + 4 * 2;
    bench.periphery(|periphery| periphery.pulse(0));
    bench.write(mask, 0b101);
    assert_eq!(bench.interrupts() >> 23, 0);
    bench.periphery(|periphery| {
        periphery.pulse(0);
        periphery.pulse(1);
    });
    assert_eq!(bench.interrupts() >> 23, 0b1);
    assert_eq!(bench.interrupts() >> 23, 0);
    // Line 2: a byte waits in the first UART.
    bench.write(map::JIB_MANAGEMENT + 0x74, 0x5 << (16 + 8));
    bench.periphery(|periphery| periphery.send_to_uart(0, b"a"));
    assert_eq!(bench.interrupts() >> 23, 0b100);
    assert_eq!(bench.read(map::UART_0 + 8), 0x161);
    assert_eq!(bench.interrupts() >> 23, 0);
    assert_eq!(bench.read(map::UART_0 + 8), 0);
    // Line 0 changes its source to one that is raised, and back: that was a pulse.
    let sources = map::JIB_MANAGEMENT + 0x74;
    bench.write(sources, 0x7 << 16);
    bench.write(sources, 0);
    assert_eq!(bench.interrupts() >> 23, 0b1);
    assert_eq!(bench.interrupts() >> 23, 0);
    // Line 2: a UART that sends is ready after ten times its divider, or at once.
    bench.write(sources, 0x7 << (16 + 8));
    assert_eq!(bench.interrupts() >> 23, 0b100);
    let ready_while_sending = |bench: &mut Bench| {
        bench.write(map::UART_0 + 4, 100);
        bench.write(map::UART_0 + 0xc, 0x161);
        bench.interrupts() >> 23 & 0b100 != 0
    };
    assert!(!ready_while_sending(&mut bench));
    bench.pass(1000);
    assert_eq!(bench.interrupts() >> 23, 0b100);
    bench.periphery(|periphery| periphery.pace_uart(0, false));
    assert!(ready_while_sending(&mut bench));
}
