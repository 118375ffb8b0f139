//! Sends one packet as often as the host says, and ends.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m_rt::entry;
use firmware::exit;
use s2_hal::packet::{Fanout, Packet, PacketSender};
use s2_hal::pe::{Peripherals, Sender};
use s2_hal::topology::PeId;

/// What the host writes, and the start-up code leaves alone: to whom, what, and how often.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".uninit.to")]
static TO: AtomicU32 = AtomicU32::new(0);
#[unsafe(no_mangle)]
#[unsafe(link_section = ".uninit.key")]
static KEY: AtomicU32 = AtomicU32::new(0);
#[unsafe(no_mangle)]
#[unsafe(link_section = ".uninit.payload")]
static PAYLOAD: AtomicU32 = AtomicU32::new(0);
#[unsafe(no_mangle)]
#[unsafe(link_section = ".uninit.count")]
static COUNT: AtomicU32 = AtomicU32::new(0);

#[entry]
fn main() -> ! {
    let peripherals = Peripherals::take().expect("nobody has taken them");
    let mut sender = Sender::new(peripherals.transmit);
    let to = PeId::from_noc_id(TO.load(Ordering::Relaxed) as u8).expect("the PE exists");
    let packet = Packet {
        key: KEY.load(Ordering::Relaxed),
        payload: Some(PAYLOAD.load(Ordering::Relaxed)),
    };
    for _ in 0..COUNT.load(Ordering::Relaxed) {
        let sent = nb::block!(sender.try_send(Fanout::Direct(&[to.destination()]), packet));
        sent.expect("the PE can be reached");
    }
    exit(0)
}
