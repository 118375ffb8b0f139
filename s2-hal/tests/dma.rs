//! The three shapes of DMA on the model of the chip. Runs under Miri.

use std::panic::{AssertUnwindSafe, catch_unwind};

use s2_hal::dma::{self, Address, Aligned, Block, Channel, Direction, Error, ErrorKind, Transfer};
use s2_hal::mock::fault::{FaultPlan, TransferRule};
use s2_hal::mock::{Chip, Config, Pe, Progress, from_fn};
use s2_hal::topology::PeId;

fn pe(x: u8, y: u8, pe: u8) -> PeId {
    PeId::new(x, y, pe).unwrap()
}

fn here() -> PeId {
    pe(3, 2, 1)
}

fn dram(offset: u32) -> Address {
    Address::dram(offset).unwrap()
}

/// Polls a program once, on a PE of `chip`.
fn once<R>(chip: &mut Chip, work: impl FnOnce(&mut [u64], &mut Pe<'_>) -> R) -> R {
    let mut work = Some(work);
    let mut result = None;
    let program = from_fn(|memory: &mut [u64], pe: &mut Pe<'_>| {
        result = work.take().map(|work| work(memory, pe));
        Ok::<_, std::convert::Infallible>(Progress::Done)
    });
    chip.run(&mut [(here(), program)]).unwrap();
    result.unwrap()
}

/// A `'static` buffer that a test can free again, so that Miri sees no leak.
fn leak<T>(values: Vec<T>) -> (*mut [T], &'static mut [T]) {
    let raw = Box::into_raw(values.into_boxed_slice());
    // SAFETY: the box was given up, and `free` is called after the last use of the reference.
    (raw, unsafe { &mut *raw })
}

fn free<T>(raw: *mut [T]) {
    // SAFETY: made by `leak`, whose reference is not used any more.
    drop(unsafe { Box::from_raw(raw) });
}

#[test]
fn copies_reach_every_memory_and_back() {
    let mut chip = Chip::new(Config::default());
    let neighbour = pe(7, 6, 0);
    let places = [
        dram(0x400),
        // Across a page of the model.
        dram(0x2_0000 - 512),
        dram(dma::DRAM_HALF - 1024),
        dram(2 * dma::DRAM_HALF - 1024),
        Address::pe_sram(neighbour, 0x1_0000).unwrap(),
    ];
    once(&mut chip, |memory, pe| {
        let (from, rest) = memory.split_at_mut(128);
        for (place, remote) in places.into_iter().enumerate() {
            for (i, word) in (0..).zip(&mut *from) {
                *word = i << 8 | place as u64;
            }
            dma::copy::write(pe, from, remote).unwrap();
        }
        for (place, remote) in places.into_iter().enumerate() {
            let into = &mut rest[..128];
            dma::copy::read(pe, remote, into).unwrap();
            assert!(
                (0..)
                    .zip(into)
                    .all(|(i, word)| *word == i << 8 | place as u64)
            );
        }
        // Never written.
        dma::copy::read(pe, dram(0x10_0000), &mut rest[..2]).unwrap();
        assert_eq!(rest[..2], [0, 0]);
    });
    // The host sees the same bytes, at any alignment.
    let mut bytes = [0; 9];
    chip.read(Address(places[3].0 + 8), &mut bytes).unwrap();
    assert_eq!(bytes, [3, 1, 0, 0, 0, 0, 0, 0, 3]);
    assert_eq!(chip.sram(neighbour)[0x1_0000 / 8 + 3], 3 << 8 | 4);
    chip.write(Address(places[3].0 + 9), &[7]).unwrap();
    chip.read(Address(places[3].0 + 8), &mut bytes[..2])
        .unwrap();
    assert_eq!(bytes[..2], [3, 7]);
    let beyond = chip.read(Address::pe_sram(neighbour, 0x1_fff8).unwrap(), &mut bytes);
    assert_eq!(
        beyond.unwrap_err().to_string(),
        "no 9 bytes of memory at 0x1fff8 in the SRAM of PE (7,6,0)"
    );

    let counters = chip.pe_counters(here());
    assert_eq!(counters.transfers, 11);
    assert_eq!(counters.transfer_bytes, 10 * 1024 + 16);
}

#[test]
fn refused_jobs_name_their_reason_and_leave_the_channel_free() {
    let mut chip = Chip::new(Config::default());
    once(&mut chip, |memory, pe| {
        let mut kind = |from: std::ops::Range<usize>, remote| {
            dma::copy::write(pe, &memory[from], remote).map_err(|e| e.kind())
        };
        assert_eq!(kind(0..0, dram(0x400)), Err(ErrorKind::Length));
        assert_eq!(kind(0..1, dram(0x400)), Err(ErrorKind::Length));
        assert_eq!(kind(1..3, dram(0x400)), Err(ErrorKind::Alignment));
        assert_eq!(kind(0..2, dram(0x408)), Err(ErrorKind::Alignment));
        assert_eq!(kind(0..2, dram(0)), Err(ErrorKind::Region));
        assert_eq!(
            kind(0..4, dram(dma::DRAM_HALF - 16)),
            Err(ErrorKind::Region)
        );
        assert_eq!(kind(0..2, Address(0)), Err(ErrorKind::Region));
        let own = Address::pe_sram(pe_id(), 0x100).unwrap();
        assert_eq!(kind(0..2, own), Err(ErrorKind::Region));
        assert_eq!(kind(0..2, dram(0x400)), Ok(()));
    });
    fn pe_id() -> PeId {
        here()
    }
}

#[test]
fn a_scoped_copy_works_while_it_runs() {
    let mut chip = Chip::new(Config::default());
    chip.write(dram(0x400), &[1; 4096]).unwrap();
    once(&mut chip, |memory, pe| {
        let (next, here) = memory.split_at_mut(512);
        here[..4].fill(5);
        let sum = dma::scoped::read(pe, dram(0x400), next, || here[..4].iter().sum::<u64>());
        assert_eq!(sum.unwrap(), 20);
        assert!(next.iter().all(|word| *word == u64::from_ne_bytes([1; 8])));
        let doubled = dma::scoped::write(pe, here, dram(0x8000), || 2).unwrap();
        assert_eq!(doubled, 2);

        // Not started: the closure comes back.
        let refused = dma::scoped::read(pe, dram(0), next, || 3).unwrap_err();
        match refused {
            dma::scoped::Error::NotStarted { error, work } => {
                assert_eq!((error.kind(), work()), (ErrorKind::Region, 3));
            }
            failed => panic!("{failed:?}"),
        }
    });
}

#[test]
fn a_panic_in_a_scoped_copy_ends_the_job_first() {
    let mut chip = Chip::new(Config::default());
    chip.write(dram(0x400), &[1; 4096]).unwrap();
    once(&mut chip, |_, pe| {
        let mut buffer = vec![Block::default(); 256];
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _ = dma::scoped::read(pe, dram(0x400), &mut buffer[..], || panic!("at work"));
        }));
        assert!(panicked.is_err());
        // Freed under a running engine, if it were still running.
        drop(buffer);
        assert_eq!(Channel::poll(pe), Ok(()));
        let mut buffer = Aligned([0_u8; 32]);
        dma::copy::read(pe, dram(0x400), &mut buffer[..]).unwrap();
        assert_eq!(buffer.0, [1; 32]);
    });
}

#[test]
fn a_detached_transfer_gives_everything_back() {
    let mut chip = Chip::new(Config::default());
    chip.write(dram(0x400), &[9; 4096]).unwrap();
    let (raw, buffer) = leak(vec![Block::default(); 256]);
    once(&mut chip, |_, pe| {
        let mut transfer = Transfer::read(pe, dram(0x400), buffer).unwrap();
        let mut polls = 0;
        while !transfer.is_done() {
            polls += 1;
        }
        assert!(polls > 3);
        let (pe, buffer) = transfer.wait().unwrap();
        assert!(
            buffer
                .iter()
                .all(|block| *block == Block([u64::from_ne_bytes([9; 8]); 2]))
        );

        // Refused: both come back.
        let (error, pe, buffer) = Transfer::read(pe, dram(0), buffer).err().unwrap();
        assert_eq!((error.kind(), buffer.len()), (ErrorKind::Region, 256));

        // Aborted: both come back, the first part has moved.
        buffer.fill(Block::default());
        let mut transfer = Transfer::read(pe, dram(0x400), buffer).unwrap();
        for _ in 0..20 {
            assert!(!transfer.is_done());
        }
        let (pe, buffer) = transfer.abort();
        assert_ne!(buffer[0], Block::default());
        assert_eq!(buffer[255], Block::default());

        // Written from shared memory.
        static CONSTANT: Aligned<[u32; 4]> = Aligned([1, 2, 3, 4]);
        let (pe, same) = Transfer::write(pe, &CONSTANT[..], dram(0x9000))
            .unwrap()
            .wait()
            .unwrap();
        assert_eq!(same, [1, 2, 3, 4]);
        let mut copy = Aligned([0_u32; 4]);
        dma::copy::read(pe, dram(0x9000), &mut copy[..]).unwrap();
        assert_eq!(copy, CONSTANT);
    });
    free(raw);
}

#[test]
fn dropping_a_transfer_aborts_it() {
    let mut chip = Chip::new(Config::default());
    let (raw, buffer) = leak(vec![Block::default(); 256]);
    once(&mut chip, |_, pe| {
        let mut transfer = Transfer::read(&mut *pe, dram(0x400), buffer).unwrap();
        assert!(!transfer.is_done());
        drop(transfer);
    });
    // Freed under a running engine, if it were still running.
    free(raw);
    once(&mut chip, |_, pe| {
        while Channel::poll(pe) == Err(nb::Error::WouldBlock) {}
        let mut other = Aligned([0_u64; 2]);
        dma::copy::read(pe, dram(0x400), &mut other[..]).unwrap();
    });
    assert_eq!(chip.pe_counters(here()).transfer_bytes, 16);
}

#[test]
#[expect(clippy::mem_forget, reason = "the test is about it")]
fn forgetting_a_transfer_is_harmless() {
    let mut chip = Chip::new(Config::default());
    let (raw, buffer) = leak(vec![Block::default(); 256]);
    once(&mut chip, |_, pe| {
        let transfer = Transfer::read(&mut *pe, dram(0x400), buffer).unwrap();
        std::mem::forget(transfer);
        let mut other = Aligned([0_u64; 2]);
        let busy = dma::copy::read(pe, dram(0x400), &mut other[..]);
        assert_eq!(busy.map_err(|e| e.kind()), Err(ErrorKind::Busy));
    });
    // The forgotten job is still in flight and may write: it ends before the memory is freed.
    once(&mut chip, |_, pe| {
        while Channel::poll(pe) == Err(nb::Error::WouldBlock) {}
    });
    free(raw);
    assert_eq!(chip.pe_counters(here()).transfer_bytes, 4096);
}

#[test]
fn a_bus_error_ends_the_job_half_way() {
    let mut chip = Chip::new(Config {
        faults: FaultPlan {
            transfers: vec![TransferRule::nth(1).of(here())],
            ..FaultPlan::default()
        },
        ..Config::default()
    });
    chip.write(dram(0x400), &[1; 64]).unwrap();
    once(&mut chip, |_, pe| {
        let mut buffer = Aligned([0_u8; 64]);
        dma::copy::read(pe, dram(0x400), &mut buffer[..]).unwrap();
        let mut buffer = Aligned([0_u8; 64]);
        let error = dma::copy::read(pe, dram(0x400), &mut buffer[..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Bus);
        assert_eq!(
            error.to_string(),
            "the DMA transfer failed at 0x420 in DRAM"
        );
        assert_eq!((buffer[31], buffer[32]), (1, 0));
        dma::copy::read(pe, dram(0x400), &mut buffer[..]).unwrap();
    });
    assert_eq!(chip.pe_counters(here()).transfer_errors, 1);
}

#[test]
fn waiting_is_polling_to_the_end() {
    use s2_hal::timer::Ticks;
    let job = |blocks: usize, fails: bool, wait: fn(&mut Pe<'_>) -> Result<(), dma::JobError>| {
        let mut chip = Chip::new(Config {
            faults: FaultPlan {
                transfers: fails.then(|| TransferRule::nth(0)).into_iter().collect(),
                ..FaultPlan::default()
            },
            ..Config::default()
        });
        chip.write(dram(0x400), &vec![1; 16 * blocks]).unwrap();
        let outcome = once(&mut chip, |_, pe| {
            let mut buffer = vec![Block::default(); blocks];
            let local = buffer.as_mut_ptr().cast();
            // SAFETY: the buffer is used again when the job has ended, and nobody else has it.
            unsafe { pe.start(Direction::Read, local, dram(0x400), 16 * blocks) }.unwrap();
            let result = wait(pe);
            (result, pe.now(), buffer)
        });
        (outcome, chip.pe_counters(here()))
    };
    for blocks in (1..40).step_by(if cfg!(miri) { 13 } else { 1 }) {
        for fails in [false, true] {
            let polled = job(blocks, fails, |pe| nb::block!(pe.poll()));
            assert_eq!(job(blocks, fails, |pe| pe.wait()), polled);
            assert_eq!(polled.0.0.is_err(), fails);
        }
    }
}

#[test]
fn jobs_take_longer_over_longer_ways_and_lengths() {
    use s2_hal::timer::Ticks;
    let mut chip = Chip::new(Config::default());
    let mut time = |remote, words| {
        once(&mut chip, |memory, pe| {
            let start = pe.now();
            dma::copy::write(pe, &memory[..words], remote).unwrap();
            pe.now() - start
        })
    };
    let near = Address::pe_sram(pe(3, 1, 0), 0).unwrap();
    let far = Address::pe_sram(pe(7, 6, 0), 0).unwrap();
    assert!(time(near, 16) < time(far, 16));
    assert!(time(near, 16) + 1000 < time(near, 16 * 1024));
}
