//! The prototype's two UARTs, in the periphery and reached over the network.
//!
//! The product has four UARTs by a second-hand source (tag S), whose registers are not public.

use crate::register::{block, fields};

block! {
    /// A serial line: byte by byte, or from and to buffers in memory.
    ///
    /// The access of the buffer registers is the cautious reading: whatever moves or resizes a buffer is
    /// a pointer.
    Uart {
        /// Format of the line.
        [J "qpe-types.h"]
        config = 0x00, "ra_config_status": UartConfig, ReadWrite;
        /// Clock divider; unit not public.
        [J "qpe-types.h"]
        clock_divider = 0x04, "ra_clkdiv": u32, ReadWrite;
        /// Next byte that has arrived. That reading takes it is assumed, not public.
        [J "qpe-types.h"]
        simple_read = 0x08, "ra_simple_read": UartRead, ReadEffect;
        /// Next byte to send. The header notes that fields can be read; what they read as is not public.
        [J "qpe-types.h"]
        simple_write = 0x0c, "ra_simple_write": UartWrite, ReadWrite;
        /// Address of the buffer for arriving bytes.
        [J "qpe-types.h"]
        read_buffer = 0x10, "ra_buf_read_addr": u32, ReadPointer;
        /// Control of the buffer for arriving bytes.
        [J "qpe-types.h"]
        read_control = 0x14, "ra_buf_read_ctrl": UartReadControl, ReadPointer;
        /// Index at which software reads from the buffer for arriving bytes.
        [J "qpe-types.h"]
        read_index = 0x18, "ra_buf_read_ridx": u32, ReadPointer;
        /// Index at which hardware writes to the buffer for arriving bytes.
        [J "qpe-types.h"]
        write_index = 0x1c, "ra_buf_read_widx": u32, ReadPointer;
        /// Address of the buffer of bytes to send.
        [J "qpe-types.h"]
        write_buffer = 0x20, "ra_buf_write_addr": u32, ReadPointer;
        /// Control of the buffer of bytes to send.
        [J "qpe-types.h"]
        write_control = 0x24, "ra_buf_write_ctrl": UartWriteControl, ReadPointer;
        /// Segment of the buffer for arriving bytes.
        [J "qpe-types.h"]
        read_segment = 0x30, "ra_sgmnt_ctrl_read": UartSegment, ReadPointer;
        /// Segment of the buffer of bytes to send.
        [J "qpe-types.h"]
        write_segment = 0x34, "ra_sgmnt_ctrl_write": UartSegment, ReadPointer;
    }
    instances UART_0, UART_1
}

fields! {
    /// Format of a serial line.
    UartConfig {
        /// Two stop bits, not one.
        [J] 0..=0 two_stop_bits / with_two_stop_bits: bool;
        /// Bytes with errors are kept.
        [J] 1..=1 ignore_errors / with_ignore_errors: bool;
        /// A parity bit; which parity is not public.
        [J] 2..=2 parity / with_parity: bool;
        /// Flow control by two more lines.
        [J] 3..=3 flow_control / with_flow_control: bool;
        /// The lines of flow control are active when low.
        [J] 4..=4 flow_control_low / with_flow_control_low: bool;
    }
}

fields! {
    /// A byte that has arrived, or none.
    UartRead {
        /// The byte.
        [J] 0..=7 byte / with_byte: u8;
        /// There was one.
        [J] 8..=8 valid / with_valid: bool;
    }
}

fields! {
    /// A byte to send.
    UartWrite {
        /// The byte.
        [J] 0..=7 byte / with_byte: u8;
        /// Named as the flag that the byte is valid; the header gives it eight bits.
        [J] 8..=15 valid / with_valid: u8;
    }
}

fields! {
    /// Control of a UART's buffer for arriving bytes.
    UartReadControl {
        /// Length of the buffer; unit not public.
        [J] 0..=15 length / with_length: u16;
        /// Arriving bytes go to the buffer.
        [J] 16..=16 enable / with_enable: bool;
        /// Resets the index.
        [J] 17..=17 index_reset / with_index_reset: bool;
        /// An error occurred.
        [J] 18..=18 error / with_error: bool;
        /// Resets the interrupt that the delimiter raises.
        [J] 19..=19 delimiter_reset / with_delimiter_reset: bool;
        /// The byte that raises an interrupt when it arrives.
        [J] 24..=31 delimiter / with_delimiter: u8;
    }
}

fields! {
    /// Control of a UART's buffer of bytes to send.
    UartWriteControl {
        /// Length of what is to be sent; unit not public.
        [J] 0..=15 length / with_length: u16;
        /// Bytes are sent from the buffer.
        [J] 16..=16 enable / with_enable: bool;
        /// All are sent.
        [J] 17..=17 done / with_done: bool;
        /// An error occurred.
        [J] 18..=18 error / with_error: bool;
    }
}

fields! {
    /// Segment of a UART's buffer. Encoding not public.
    UartSegment {
        /// The segment.
        [J] 0..=1 segment / with_segment: u8;
    }
}
