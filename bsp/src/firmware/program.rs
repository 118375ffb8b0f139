//! Runs one of the on-chip programs: reads its data specification, waits for commands, works, sleeps.

use core::convert::Infallible;
use core::mem::offset_of;
use core::num::NonZeroU32;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};

use cortex_m::peripheral::NVIC;
use eventprop_core::numeric::Statistics;
use eventprop_core::optimizer::{Stretch, Update};
use eventprop_core::program::{Fault, Kernels, Phase, Program, Progress, Waiting};
use s2_hal::dma::{Block, hand_over};
use s2_hal::pe::{Clock, Pe, Receiver, Sender, Ticker, WindowCopy};
use s2_pac::irq::Interrupt;

use super::{Live, Start, fault, heap, sleep, stack};
use crate::board::BOARD;
use crate::command::Command;
use crate::layout;
use crate::record::{Cause, Record, Status};
use crate::specification::{self, Specified};

/// What wakes a program: a packet, the host, and a tick in case one of these got lost. (Without the
/// feature `provisional` the host's line stays masked at the QuadPE, and a tick is what finds a command.)
const WAKERS: [Interrupt; 3] = [
    Interrupt::COMMS_DMA_0_NOT_EMPTY,
    Interrupt::FT_INT_0,
    Interrupt::TIMER_INT1,
];

/// Ticks in the time that a program may stay without progress.
const TICKS_PER_TIME_OUT: u32 = 4;

/// The kernels, with the square root of the floating-point unit: IEEE 754 has it correctly rounded.
struct Fpu;

impl Kernels for Fpu {
    #[inline(always)]
    fn update(&self, update: &Update, stretch: Stretch<'_>, statistics: &mut Statistics) {
        update.apply_with(stretch, square_root, statistics);
    }
}

#[inline(always)]
fn square_root(value: f32) -> f32 {
    let mut bits = value.to_bits();
    // The compiler has no names for floating-point registers on this target.
    // SAFETY: the register that is used has its value again in the end.
    unsafe {
        core::arch::asm!(
            "vmov {saved}, s0",
            "vmov s0, {bits}",
            "vsqrt.f32 s0, s0",
            "vmov {bits}, s0",
            "vmov s0, {saved}",
            bits = inout(reg) bits,
            saved = out(reg) _,
            options(pure, nomem, nostack),
        );
    }
    f32::from_bits(bits)
}

/// Runs the program `P` for ever: one run for each command of the host.
///
/// Interrupts stay masked. They wake the processor all the same, and everything else is polled, so there
/// are no handlers and nothing is shared with any.
///
/// When something goes wrong, the record says what, and the program sleeps for good.
pub fn run<P: Specified + 'static>() -> ! {
    cortex_m::interrupt::disable();
    let start = super::start(P::IMAGE);
    let Err(stop) = work::<P>(start);
    Live::new().stop(stop.cause, stop.waiting);
    fault::halt()
}

/// Why a program stops, and what it was waiting for.
struct Stop {
    cause: Cause,
    waiting: Waiting,
}

impl From<specification::Error> for Stop {
    fn from(error: specification::Error) -> Self {
        Self {
            cause: Cause::Specification(error),
            waiting: Waiting::Nothing,
        }
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self {
            cause: Cause::Fault(fault),
            waiting: Waiting::Nothing,
        }
    }
}

impl From<heap::Error> for Stop {
    fn from(error: heap::Error) -> Self {
        let (needed, available) = match error {
            heap::Error::Full { needed, free } => (needed, free),
            heap::Error::Sealed => (0, 0),
        };
        Fault::MemoryTooSmall { needed, available }.into()
    }
}

/// The words of the data specification.
fn specification() -> &'static [u32] {
    let place = with_exposed_provenance(layout::SPECIFICATION.start as usize);
    // SAFETY: the place is memory of the PE that the linker gives to nobody. The host writes it before the
    // program starts, and not again.
    unsafe { core::slice::from_raw_parts(place, layout::bytes(&layout::SPECIFICATION) / 4) }
}

/// The command that stands in its place.
fn command() -> Command {
    let place = with_exposed_provenance::<Command>(layout::COMMAND.start as usize);
    // SAFETY: as for the specification, but that the host may write it at any time, so the read is
    // volatile. Any bytes are a command; half of one is not seen, since the host writes the number last
    // and a program looks at the rest only when that has changed.
    unsafe { place.read_volatile() }
}

/// The program's arrays: so many bytes from the start of their region on.
///
/// # Safety
/// The slice is used for one call of the program, and no other one is alive. Other PEs access the memory
/// only while the program waits for them: the programs' protocol sees to that.
unsafe fn arrays<'a>(bytes: usize) -> &'a mut [u64] {
    let place = with_exposed_provenance_mut::<u64>(layout::ARRAYS.start as usize);
    // What other PEs have done to the memory since the last call is seen by the next.
    hand_over(place.cast());
    // SAFETY: the place is memory of the PE that the linker gives to nobody, and the caller sees to the rest.
    unsafe { core::slice::from_raw_parts_mut(place, bytes / size_of::<u64>()) }
}

/// Memory for the receive ring, and the bytes that this leaves to the program's arrays.
fn ring(words: u32) -> Result<(&'static mut [Block], usize), Stop> {
    let bytes = words as usize * 4;
    let room = layout::array_bytes(bytes).ok_or(specification::Error::Ring { found: words })?;
    let blocks = bytes / size_of::<Block>();
    if bytes <= layout::HEAP_RING_BYTES {
        return Ok((heap::blocks(blocks)?, room));
    }
    let place = with_exposed_provenance_mut::<Block>(layout::ARRAYS.start as usize + room);
    // SAFETY: the place is memory of the PE that the linker gives to nobody, its end is that of the arrays'
    // region, and the slice of arrays ends where it starts. This is called once.
    let ring = unsafe {
        place.write_bytes(0, blocks);
        core::slice::from_raw_parts_mut(place, blocks)
    };
    Ok((ring, room))
}

/// What a program runs with.
struct Ready<P: 'static> {
    program: &'static mut P,
    pe: Pe,
    ticker: Ticker,
    array_bytes: usize,
}

/// Everything from the data specification to the first command. Not part of its caller, whose stack
/// would keep what is needed here only.
#[inline(never)]
fn prepare<P: Specified + 'static>(start: Start, live: &mut Live) -> Result<Ready<P>, Stop> {
    let body = specification::read::<P>(specification())?;
    let mut peripherals = start.peripherals;
    let (ring, array_bytes) = ring(body.ring_words)?;
    let program = heap::uninit()?.write(P::EMPTY);
    program.configure(body.config);
    heap::seal();
    let receiver = Receiver::new(
        peripherals.ring_0,
        &mut peripherals.receive,
        &mut peripherals.global,
        ring,
    )
    .map_err(|_| specification::Error::Ring {
        found: body.ring_words,
    })?;
    let pe = Pe {
        sender: Sender::new(peripherals.transmit),
        receiver,
        channel: WindowCopy::new(peripherals.window, start.pe),
        clock: Clock::new(peripherals.timer_2, BOARD.timer_frequency),
    };
    let per_ms = BOARD.timer_frequency / 1000;
    let period = body.time_out_ms.saturating_mul(per_ms) / TICKS_PER_TIME_OUT;
    let ticker = Ticker::new(
        peripherals.timer_1,
        NonZeroU32::new(period).unwrap_or(NonZeroU32::MIN),
    );
    // Start-up has made sure that the chip has this PE, which is all that could be wrong.
    #[cfg(feature = "provisional")]
    let _ = peripherals
        .feed_through
        .enable(start.pe, &[s2_hal::pe::interrupt::Line::Start]);
    for interrupt in WAKERS {
        // SAFETY: interrupts are masked by PRIMASK, so that unmasking one here calls no handler.
        unsafe { NVIC::unmask(interrupt) };
    }
    live.set(offset_of!(Record, heap_used), heap::used() as u32);
    live.set_status(Status::Ready);
    Ok(Ready {
        program,
        pe,
        ticker,
        array_bytes,
    })
}

fn work<P: Specified + 'static>(start: Start) -> Result<Infallible, Stop> {
    let mut live = Live::new();
    let Ready {
        program,
        mut pe,
        mut ticker,
        array_bytes,
    } = prepare::<P>(start, &mut live)?;
    let mut last = 0;
    loop {
        let command = next_command(last, &mut ticker);
        last = command.number;
        let run = command.run().ok_or(Fault::Configuration(
            "the host's command is neither to train nor to evaluate",
        ))?;
        // SAFETY: for this one call.
        program.start(run, unsafe { arrays(array_bytes) })?;
        live.set(offset_of!(Record, run), command.number);
        live.set_status(Status::Running);
        loop {
            live.set_phase(program.phase());
            // SAFETY: for this one call.
            let progress = program.poll(&Fpu, unsafe { arrays(array_bytes) }, &mut pe);
            live.set_step(program.step());
            match progress.map_err(|fault| Stop {
                cause: Cause::Fault(fault),
                waiting: program.waiting(),
            })? {
                Progress::Worked => {}
                Progress::Done => break,
                Progress::Idle => {
                    live.set_phase(Phase::Idle);
                    if !packet_comes(&mut pe.receiver, &mut ticker, &mut live, &*program) {
                        let waiting = program.waiting();
                        return Err(Stop {
                            cause: Cause::TimeOut(waiting),
                            waiting,
                        });
                    }
                }
            }
        }
        hand_over(with_exposed_provenance_mut(layout::ARRAYS.start as usize));
        live.set_waiting(Waiting::Nothing);
        live.set(offset_of!(Record, stack_used), stack::used());
        live.set(offset_of!(Record, ring_peak), pe.receiver.most_words());
        live.set(offset_of!(Record, ring_dropped), pe.receiver.dropped());
        live.set_status(Status::Done);
    }
}

/// Waits until there is a packet, and asleep if there is none at once; `false` when none comes in time.
/// With the first tick that passes meanwhile, the record says what the program waits for.
fn packet_comes(
    receiver: &mut Receiver,
    ticker: &mut Ticker,
    live: &mut Live,
    program: &impl Program,
) -> bool {
    // A packet that arrives behind this line ends the next sleep at once.
    NVIC::unpend(Interrupt::COMMS_DMA_0_NOT_EMPTY);
    let mut ticks = 0;
    while receiver.is_empty() {
        if ticker.wait().is_ok() {
            NVIC::unpend(Interrupt::TIMER_INT1);
            live.set_waiting(program.waiting());
            ticks += 1;
            if ticks > TICKS_PER_TIME_OUT {
                return false;
            }
        }
        live.count_sleep();
        sleep();
    }
    true
}

/// Waits for a command with another number than the last.
fn next_command(last: u32, ticker: &mut Ticker) -> Command {
    // Packets for the next run may arrive. They keep their place in the ring and need not wake anyone.
    NVIC::mask(Interrupt::COMMS_DMA_0_NOT_EMPTY);
    loop {
        NVIC::unpend(Interrupt::FT_INT_0);
        let command = command();
        if command.number != last {
            // SAFETY: as in `work`.
            unsafe { NVIC::unmask(Interrupt::COMMS_DMA_0_NOT_EMPTY) };
            return command;
        }
        if ticker.wait().is_ok() {
            NVIC::unpend(Interrupt::TIMER_INT1);
        }
        sleep();
    }
}
