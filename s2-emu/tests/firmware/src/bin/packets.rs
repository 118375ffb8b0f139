//! Two PEs that talk over the project's own drivers: (1,1,2) asks, the other one answers.
#![no_std]
#![no_main]

use cortex_m::interrupt::free;
use cortex_m::peripheral::NVIC;
use cortex_m_rt::entry;
use embedded_io::{Read, ReadReady, Write};
use firmware::{exit, println};
use s2_hal::dma::{self, Address, Aligned, Block};
use s2_hal::packet::{Fanout, Packet, PacketReceiver, PacketSender};
use s2_hal::pe::interrupt::Line;
use s2_hal::pe::{Clock, Pe, Peripherals, REFERENCE_CLOCK, Receiver, Sender, WindowCopy, uart};
use s2_hal::timer::Ticks;
use s2_hal::topology::PeId;
use s2_pac::irq::Interrupt;

static RING: static_cell::ConstStaticCell<[Block; 16]> =
    static_cell::ConstStaticCell::new([Block([0; 2]); 16]);

const ASKER: PeId = PeId { x: 1, y: 1, pe: 2 };
const ANSWERER: PeId = PeId { x: 7, y: 6, pe: 1 };
const QUESTIONS: u32 = 200;

/// Sleeps until an interrupt that is enabled is raised, with handlers masked. Whoever calls looks for work
/// after this has forgotten what woke it, so that nothing is missed.
fn sleep(interrupt: Interrupt) {
    cortex_m::asm::wfi();
    NVIC::unpend(interrupt);
}

#[entry]
fn main() -> ! {
    free(|_| run())
}

fn run() -> ! {
    let mut peripherals = Peripherals::take().expect("nobody has taken them");
    let id = peripherals.pe().expect("the PE exists");
    let Ok(receiver) = Receiver::new(
        peripherals.ring_0,
        &mut peripherals.receive,
        &mut peripherals.global,
        RING.take(),
    ) else {
        panic!("the ring has room")
    };
    let mut pe = Pe {
        sender: Sender::new(peripherals.transmit),
        receiver,
        channel: WindowCopy::new(peripherals.window, id),
        clock: Clock::new(peripherals.timer_1, REFERENCE_CLOCK),
    };
    // Both wait for the host to start them.
    let enabled = peripherals.feed_through.enable(id, &[Line::Start]);
    enabled.expect("the PE exists");
    // SAFETY: exceptions are masked: no handler is called.
    unsafe {
        NVIC::unmask(Interrupt::FT_INT_0);
        NVIC::unmask(Interrupt::COMMS_DMA_0_NOT_EMPTY);
    }
    sleep(Interrupt::FT_INT_0);
    NVIC::mask(Interrupt::FT_INT_0);

    if id == ANSWERER {
        answer(&mut pe);
    }
    let start = pe.clock.now();
    let mut sum = 0_u32;
    for number in 0..QUESTIONS {
        send(&mut pe, ANSWERER, number);
        let answer = receive(&mut pe);
        assert_eq!(answer.payload, Some(3 * number + 1));
        sum += answer.key;
    }
    // Through the windows: what the other one has put into DRAM, and its memory.
    let mut block = Aligned([0_u32; 4]);
    let dram = Address::dram(0x1_0000).expect("an address");
    dma::copy::read(&mut pe.channel, dram, &mut block[..]).expect("memory");
    assert_eq!(block.0, [QUESTIONS, 1, 2, 3]);
    let elsewhere = Address::pe_sram(ANSWERER, 0x1_8000).expect("an address");
    dma::copy::write(&mut pe.channel, &block[..], elsewhere).expect("memory");
    block.0 = [0; 4];
    dma::copy::read(&mut pe.channel, elsewhere, &mut block[..]).expect("memory");
    assert_eq!(block.0, [QUESTIONS, 1, 2, 3]);

    // A line from the host comes back in upper case.
    let config = uart::Config {
        two_stop_bits: false,
        parity: false,
        flow_control: None,
        clock_divider: 2,
    };
    let Ok(mut serial) = uart::Uart::new(peripherals.uart_0, &config) else {
        panic!("the divider is not zero")
    };
    let mut byte = [0];
    while serial.read_ready() == Ok(true) {
        let _ = serial.read(&mut byte);
        let _ = serial.write_all(&byte.map(|byte| byte.to_ascii_uppercase()));
    }
    println!("{sum} in {} us", pe.clock.now() - start);
    exit(0)
}

fn answer(pe: &mut Pe) -> ! {
    let mut count = 0;
    loop {
        let question = receive(pe);
        let number = question.payload.expect("questions have a number");
        count += 1;
        if count == QUESTIONS {
            let block = Aligned([count, 1, 2, 3]);
            let dram = Address::dram(0x1_0000).expect("an address");
            dma::copy::write(&mut pe.channel, &block[..], dram).expect("memory");
        }
        send(pe, ASKER, 3 * number + 1);
        if count == QUESTIONS {
            exit(0);
        }
    }
}

fn send(pe: &mut Pe, to: PeId, number: u32) {
    let packet = Packet {
        key: 5,
        payload: Some(number),
    };
    let sent = nb::block!(pe.try_send(Fanout::Direct(&[to.destination()]), packet));
    sent.expect("the PE exists");
}

fn receive(pe: &mut Pe) -> Packet {
    loop {
        match pe.try_receive() {
            Ok(packet) => return packet,
            Err(nb::Error::WouldBlock) => {
                // The line stays up until the ring knows that its packets were taken.
                pe.receiver.commit();
                NVIC::unpend(Interrupt::COMMS_DMA_0_NOT_EMPTY);
                if let Ok(packet) = pe.try_receive() {
                    return packet;
                }
                sleep(Interrupt::COMMS_DMA_0_NOT_EMPTY);
            }
            Err(nb::Error::Other(error)) => panic!("{error}"),
        }
    }
}
