//! The monitor: answers a host over the serial line, while all other PEs work.

use core::cell::RefCell;
use core::num::NonZeroU32;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};

use cortex_m::peripheral::NVIC;
use critical_section::Mutex;
use heapless::Deque;
use s2_hal::dma::{Address, Place};
use s2_hal::pe::Ticker;
use s2_hal::pe::cores::Cores;
use s2_hal::pe::interrupt::{FeedThrough, Line};
use s2_hal::pe::uart::{Config, Uart};
use s2_hal::serial::uart::{Read as _, Write as _};
use s2_hal::topology::{PES, PeId};
use s2_pac::bus::Mmio;
use s2_pac::irq::Interrupt;
use s2_pac::jibmgmt::{FeedThroughSource as Source, JibManagement};

use super::{Live, Start, heap, sleep};
use crate::board::{BOARD, Board};
use crate::protocol::frame::MAX_FRAME;
use crate::protocol::{Chip, Processor, Server, WINDOW};
use crate::record::Status;
use crate::specification::Image;

/// Clock divider of the serial line. What it divides is not public; this is 115200 Hz from 100 MHz, the
/// clock of the periphery by a second-hand source, if the divider counts single cycles.
const CLOCK_DIVIDER: u32 = 868;

/// Bytes that may have arrived and not been looked at: all that a host may have under way.
const RECEIVED: usize = WINDOW as usize * MAX_FRAME;

/// Looks at all other PEs in a second, for the stream of records.
const LOOKS_PER_SECOND: u32 = 10;

/// What is too large for the stack.
struct Large {
    server: Server,
    received: Deque<u8, RECEIVED>,
}

/// The monitor, which alone uses it, does so for ever.
static LARGE: Mutex<RefCell<Large>> = Mutex::new(RefCell::new(Large {
    server: Server::new(),
    received: Deque::new(),
}));

/// What wakes the monitor: a byte, a UART that is free to send, and a tick to look at the other PEs.
const WAKERS: [Interrupt; 3] = [
    Interrupt::FT_INT_2,
    Interrupt::FT_INT_3,
    Interrupt::TIMER_INT1,
];

/// The serial line. Bytes are taken as often as there is an opportunity, since how many the UART keeps is not
/// public.
struct Wire<'l> {
    uart: Uart,
    received: &'l mut Deque<u8, RECEIVED>,
}

impl Wire<'_> {
    fn take(&mut self) {
        while !self.received.is_full()
            && let Ok(byte) = self.uart.read()
        {
            // There is room.
            let _ = self.received.push_back(byte);
        }
    }
}

/// The chip, as the server sees it.
struct Reach<'l> {
    own: PeId,
    chip: u16,
    wire: Wire<'l>,
    cores: Cores,
    management: JibManagement<Mmio>,
    /// Line 0 is to be raised as soon as the UART, its source, is ready.
    signal: bool,
}

impl Reach<'_> {
    /// Where the processor finds an address of the chip: its own SRAM is near.
    fn local(&self, address: u32) -> usize {
        match Address(address).place() {
            Some(Place::Sram { pe, offset }) if pe == self.own => offset as usize,
            _ => address as usize,
        }
    }

    /// Raises line 0 for a moment, by way of a source that is raised already.
    fn raise(&mut self) {
        self.signal = false;
        for source in [Source::Uart0TxReady, Source::Software0] {
            let sources = self.management.feed_through();
            sources.modify(|sources| sources.with_line_0(source));
        }
    }
}

impl Chip for Reach<'_> {
    fn board(&self) -> Board {
        BOARD
    }

    fn number(&self) -> u16 {
        self.chip
    }

    fn monitor(&self) -> PeId {
        self.own
    }

    fn load(&mut self, address: u32) -> Option<u32> {
        self.wire.take();
        let place = with_exposed_provenance::<u32>(self.local(address));
        // SAFETY: the address is aligned. It is one of a memory of the chip, of which any word may be read, or the
        // host has unlocked the board and answers for it.
        Some(unsafe { place.read_volatile() })
    }

    fn store(&mut self, address: u32, word: u32) -> Option<()> {
        self.wire.take();
        let place = with_exposed_provenance_mut::<u32>(self.local(address));
        // SAFETY: the address is aligned. It is one of DRAM or of another PE's memory, which this program has no
        // references to, or the host has unlocked the board and answers for it.
        unsafe { place.write_volatile(word) };
        Some(())
    }

    fn processor(&mut self, pe: PeId) -> Processor {
        match self.cores.is_held(pe) {
            Ok(true) => Processor::Held,
            _ => Processor::Running,
        }
    }

    fn hold(&mut self, pe: PeId) {
        // SAFETY: this program shares no memory with the PE and has no DMA job with it; what others have with it, the
        // host answers for. The board has the PE, so there is no error.
        let _ = unsafe { self.cores.set_held(pe, true) };
    }

    fn release(&mut self, pe: PeId) {
        // SAFETY: the host answers for what it has written into the PE's memory.
        let _ = unsafe { self.cores.set_held(pe, false) };
    }

    fn signal(&mut self) {
        self.signal = true;
    }
}

/// Prepares serial line and interrupts.
fn prepare(start: Start, received: &mut Deque<u8, RECEIVED>) -> (Reach<'_>, Ticker) {
    let mut peripherals = start.peripherals;
    let config = Config {
        two_stop_bits: false,
        parity: false,
        flow_control: None,
        clock_divider: CLOCK_DIVIDER,
    };
    let uart = Uart::new(peripherals.uart_0, &config).map_err(|(error, _)| error);
    let uart = uart.expect("the divider is not zero");
    let sources = peripherals.management.feed_through();
    sources.modify(|sources| {
        sources
            .with_line_2(Source::Uart0RxValid)
            .with_line_3(Source::Uart0TxReady)
    });
    let lines = [Line::Second, Line::Third];
    // Start-up has made sure that the chip has this PE, which is all that could be wrong.
    let _ = FeedThrough::enable(&mut peripherals.feed_through, start.pe, &lines);
    let period = NonZeroU32::new(BOARD.timer_frequency / LOOKS_PER_SECOND);
    let ticker = Ticker::new(peripherals.timer_1, period.unwrap_or(NonZeroU32::MIN));
    let reach = Reach {
        own: start.pe,
        chip: start.chip,
        wire: Wire { uart, received },
        cores: peripherals.cores,
        management: peripherals.management,
        signal: false,
    };
    (reach, ticker)
}

/// Answers the host's requests for ever: the [protocol](crate::protocol)'s side of the board.
///
/// Interrupts stay masked, as in [`run`](super::run): they wake the processor, and everything is polled.
pub fn monitor() -> ! {
    cortex_m::interrupt::disable();
    let start = super::start(Image::Monitor);
    critical_section::with(|section| {
        let large = &mut *LARGE.borrow_ref_mut(section);
        let (reach, ticker) = prepare(start, &mut large.received);
        heap::seal();
        Live::new().set_status(Status::Running);
        serve(&mut large.server, reach, ticker)
    })
}

fn serve(server: &mut Server, mut reach: Reach<'_>, mut ticker: Ticker) -> ! {
    // PEs that this round of looking has not come to.
    let mut left = 0;
    loop {
        for interrupt in WAKERS {
            NVIC::unpend(interrupt);
        }
        let mut worked = false;
        reach.wire.take();
        while let Some(&byte) = server.output().first()
            && reach.wire.uart.write(byte).is_ok()
        {
            server.sent(1);
            reach.wire.take();
        }
        if reach.signal && reach.wire.uart.flush().is_ok() {
            reach.raise();
        }
        while server.output().is_empty()
            && let Some(byte) = reach.wire.received.pop_front()
        {
            server.receive(&[byte], &mut reach);
            worked = true;
        }
        if ticker.wait().is_ok() {
            left = PES;
        }
        if left > 0 && server.output().is_empty() {
            left = if server.is_watching() { left - 1 } else { 0 };
            server.watch(&mut reach);
            worked = true;
        }
        if !worked && (server.output().is_empty() || reach.wire.uart.flush().is_err()) {
            let wakes_when_free = !server.output().is_empty() || reach.signal;
            wake_by(Interrupt::FT_INT_3, wakes_when_free);
            wake_by(Interrupt::FT_INT_2, !reach.wire.received.is_full());
            wake_by(Interrupt::TIMER_INT1, true);
            sleep();
        }
    }
}

/// Lets an interrupt end the next sleep, or not.
fn wake_by(interrupt: Interrupt, wakes: bool) {
    if wakes {
        // SAFETY: interrupts are masked by PRIMASK, so that unmasking one here calls no handler.
        unsafe { NVIC::unmask(interrupt) };
    } else {
        NVIC::mask(interrupt);
    }
}
