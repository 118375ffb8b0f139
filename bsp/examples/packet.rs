//! Sends a packet from a PE to itself and receives it.
//!
//! QuadPE (1,1) is the one whose address in a packet is public, so run it there, or with the feature
//! `provisional` anywhere.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
fn run() -> ! {
    use bsp::firmware::heap;
    use cortex_m_semihosting::{debug, hprintln};
    use s2_hal::packet::{Fanout, Packet, PacketReceiver as _, PacketSender as _};
    use s2_hal::pe::{Receiver, Sender};

    let start = bsp::firmware::start(bsp::specification::Image::Other);
    let mut peripherals = start.peripherals;
    let mut sender = Sender::new(peripherals.transmit);
    // A ring for eight packets, filled by hardware from now on.
    let memory = heap::blocks(4).expect("the start-up heap has room");
    let mut receiver = Receiver::new(
        peripherals.ring_0,
        &mut peripherals.receive,
        &mut peripherals.global,
        memory,
    )
    .map_err(|(error, ..)| error)
    .expect("four blocks are enough");

    for number in 0..3 {
        let packet = Packet {
            key: 0x100 + number,
            payload: Some(number * number),
        };
        // The transmitter may be busy: try again until it has taken the packet.
        nb::block!(sender.try_send(Fanout::Direct(&[start.pe.destination()]), packet))
            .expect("this PE can be reached");
        let received = nb::block!(receiver.try_receive()).expect("the ring has room");
        hprintln!("{}: sent {:x?}, received {:x?}", start.pe, packet, received);
        assert_eq!(packet, received);
    }
    debug::exit(debug::EXIT_SUCCESS);
    bsp::firmware::halt()
}

bsp::image!(run());
