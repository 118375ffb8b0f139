//! Management registers of the **prototype's** periphery: pins, sources of chip-wide interrupts, chip
//! number, production test, body bias, octal SPI.
//!
//! The product's periphery is a different one: do not use this on a product chip. Beyond the interrupt
//! sources, only names, offsets and the codes of pin functions are public; a description says what the
//! name says. Writing is safe where it can set a pin or a line alone.

use crate::register::{block, fields, values};

block! {
    /// Management registers of the prototype's periphery.
    JibManagement {
        /// Debug words.
        [J "jibmgmt_regfile.h"]
        debug[4; 4] = 0x000, "debug": u32, ReadPointer;
        /// UART for control (`cuart`): settings.
        [J "jibmgmt_regfile.h"]
        control_uart_config = 0x010, "cuart_cfg": u32, ReadWrite;
        /// UART for control (`cuart`): state.
        [J "jibmgmt_regfile.h"]
        control_uart_status = 0x014, "cuart_stat": u32, ReadPure;
        /// Clock of the processors' SysTick.
        [J "jibmgmt_regfile.h"]
        systick_clock = 0x018, "clksystick": u32, ReadWrite;
        /// Pins: control of JTAG.
        [J "jibmgmt_regfile.h"]
        gpio_jtag = 0x01c, "gpio_ctrl_jtag": u32, ReadWrite;
        /// Pins: functions, by the codes of [`PinFunction`]. Which bits belong to which pin is not
        /// public.
        [J "jibmgmt_regfile.h"]
        gpio_config[12; 4] = 0x020, "gpio_cfg": u32, ReadWrite;
        /// Pins: enables outputs.
        [J "jibmgmt_regfile.h"]
        gpio_output_enable = 0x060, "gpio_reg_oe": u32, ReadWrite;
        /// Pins: outputs, changed under a mask; where the mask is, is not public.
        [J "jibmgmt_regfile.h"]
        gpio_output_masked = 0x064, "gpio_reg_do_masked": u32, ReadWrite;
        /// Pins: outputs.
        [J "jibmgmt_regfile.h"]
        gpio_output = 0x068, "gpio_reg_do": u32, ReadWrite;
        /// Pins: inputs.
        [J "jibmgmt_regfile.h"]
        gpio_input = 0x06c, "gpio_reg_di": u32, ReadPure;
        /// Reset of the processors' debug part.
        [J "jibmgmt_regfile.h"]
        debug_reset = 0x070, "arm_dbg_rst": u32, ReadPointer;
        /// Sources of the feed-through interrupts.
        [J "jibmgmt_regfile.h; fields: ft_irq.h"]
        feed_through = 0x074, "ft_irq": FeedThrough, ReadWrite;
        /// Number of the chip.
        [J "jibmgmt_regfile.h"]
        chip = 0x078, "chipid": u32, ReadWrite;
        /// Slow reference clock.
        [J "jibmgmt_regfile.h"]
        slow_clock = 0x07c, "clkrefslow": u32, ReadPointer;
        /// SPI slave, by which the chip can be reached from outside: enable.
        [J "jibmgmt_regfile.h"]
        spi_enable = 0x080, "spi_slv_en": u32, ReadPointer;
        /// SPI slave: clock divider.
        [J "jibmgmt_regfile.h"]
        spi_clock_divider = 0x084, "spi_slv_clk_div": u32, ReadPointer;
        /// SPI slave: settings, inward.
        [J "jibmgmt_regfile.h"]
        spi_config_in = 0x088, "spi_config_in": u32, ReadPointer;
        /// SPI slave: settings, outward.
        [J "jibmgmt_regfile.h"]
        spi_config_out = 0x08c, "spi_config_out": u32, ReadPointer;
        /// Production test: settings.
        [J "jibmgmt_regfile.h"]
        dft_config = 0x090, "dft_config": u32, ReadPointer;
        /// Production test: state.
        [J "jibmgmt_regfile.h"]
        dft_status = 0x094, "dft_status": u32, ReadPure;
        /// Production test: address of a pattern.
        [J "jibmgmt_regfile.h"]
        dft_pattern = 0x098, "dft_patt_addr": u32, ReadPointer;
        /// Production test: size of a pattern.
        [J "jibmgmt_regfile.h"]
        dft_pattern_size = 0x09c, "dft_patt_size": u32, ReadPointer;
        /// Body bias (`abb`): control.
        [J "jibmgmt_regfile.h"]
        body_bias_control[3; 4] = 0x0a0, "abb_ctrl": u32, ReadPointer;
        /// Body bias (`abb`): filters.
        [J "jibmgmt_regfile.h"]
        body_bias_filter[2; 4] = 0x0ac, "abb_filter": u32, ReadPointer;
        /// Body bias (`abb`): pulse width.
        [J "jibmgmt_regfile.h"]
        body_bias_pwm = 0x0b4, "abb_pwm": u32, ReadPointer;
        /// Body bias (`abb`): state.
        [J "jibmgmt_regfile.h"]
        body_bias_status[2; 4] = 0x0b8, "abb_status": u32, ReadPure;
        /// Body bias (`abb`): clock.
        [J "jibmgmt_regfile.h"]
        body_bias_clock = 0x0c0, "abb_clkconfig": u32, ReadPointer;
        /// Octal SPI: enables it.
        [J "jibmgmt_regfile.h"]
        ospi_enable = 0x0d0, "ospi_core_en": u32, ReadWrite;
        /// Octal SPI: front end.
        [J "jibmgmt_regfile.h"]
        ospi_frontend = 0x0d4, "ospi_frontend": u32, ReadWrite;
        /// Octal SPI: data to send.
        [J "jibmgmt_regfile.h"]
        ospi_transmit = 0x0d8, "ospi_tx_buffer": u32, Write;
        /// Octal SPI: data that has arrived. That reading takes it is assumed.
        [J "jibmgmt_regfile.h"]
        ospi_receive = 0x0dc, "ospi_rx_buffer": u32, ReadEffect;
    }
    instances JIB_MANAGEMENT
}

fields! {
    /// Which source each of the four chip-wide feed-through interrupts has. The lower 16 bits are not
    /// public; the software lines ([`FeedThroughSource::Software0`] and so on) are probably among them.
    FeedThrough {
        /// Source of `FT_INT_0`.
        [J] 16..=19 line_0 / with_line_0: FeedThroughSource;
        /// Source of `FT_INT_1`.
        [J] 20..=23 line_1 / with_line_1: FeedThroughSource;
        /// Source of `FT_INT_2`.
        [J] 24..=27 line_2 / with_line_2: FeedThroughSource;
        /// Source of `FT_INT_3`.
        [J] 28..=31 line_3 / with_line_3: FeedThroughSource;
    }
}

values! {
    /// Source of a feed-through interrupt (tag J, `ft_irq.h`).
    FeedThroughSource {
        /// Register bit 0, set by software.
        Software0 = 0x0,
        /// Register bit 1, set by software.
        Software1 = 0x1,
        /// Register bit 2, set by software.
        Software2 = 0x2,
        /// Register bit 3, set by software.
        Software3 = 0x3,
        /// UART 0: its buffer for arriving bytes is full.
        Uart0RxFull = 0x4,
        /// UART 0: a byte has arrived.
        Uart0RxValid = 0x5,
        /// UART 0: all bytes are sent.
        Uart0TxDone = 0x6,
        /// UART 0: it takes a byte to send.
        Uart0TxReady = 0x7,
        /// UART 1: its buffer for arriving bytes is full.
        Uart1RxFull = 0x8,
        /// UART 1: a byte has arrived.
        Uart1RxValid = 0x9,
        /// UART 1: all bytes are sent.
        Uart1TxDone = 0xa,
        /// UART 1: it takes a byte to send.
        Uart1TxReady = 0xb,
        /// UART 0: its delimiter has arrived.
        Uart0Delimiter = 0xc,
        /// UART 1: its delimiter has arrived.
        Uart1Delimiter = 0xd,
        /// First interrupt of the pins.
        Pin0 = 0xe,
        /// Second interrupt of the pins.
        Pin1 = 0xf,
    }
}

values! {
    /// Function of a pin of the prototype (tag J, `gpio_cfg.h`).
    PinFunction {
        /// No function.
        Inactive = 0x00,
        /// UART for control: sends.
        ControlUartTx = 0x01,
        /// UART for control: receives.
        ControlUartRx = 0x02,
        /// UART 0: sends.
        Uart0Tx = 0x03,
        /// UART 0: receives.
        Uart0Rx = 0x04,
        /// UART 0: clear to send.
        Uart0Cts = 0x05,
        /// UART 0: ready to receive.
        Uart0Rtr = 0x06,
        /// UART 1: sends.
        Uart1Tx = 0x07,
        /// UART 1: receives.
        Uart1Rx = 0x08,
        /// UART 1: clear to send.
        Uart1Cts = 0x09,
        /// UART 1: ready to receive.
        Uart1Rtr = 0x0a,
        /// SPI slave: interrupt.
        SpiInterrupt = 0x0b,
        /// SPI slave: data out.
        SpiMiso = 0x0c,
        /// SPI slave: data in.
        SpiMosi = 0x0d,
        /// SPI slave: select (`NSS`).
        SpiSelect = 0x0e,
        /// SPI slave: clock.
        SpiClock = 0x0f,
        /// Bit 0 of the pins' registers.
        Gpio0 = 0x10,
        /// Bit 1 of the pins' registers.
        Gpio1 = 0x11,
        /// Bit 2 of the pins' registers.
        Gpio2 = 0x12,
        /// Bit 3 of the pins' registers.
        Gpio3 = 0x13,
        /// Bit 4 of the pins' registers.
        Gpio4 = 0x14,
        /// Bit 5 of the pins' registers.
        Gpio5 = 0x15,
        /// Bit 6 of the pins' registers.
        Gpio6 = 0x16,
        /// Bit 7 of the pins' registers.
        Gpio7 = 0x17,
        /// Bit 8 of the pins' registers.
        Gpio8 = 0x18,
        /// Bit 9 of the pins' registers.
        Gpio9 = 0x19,
        /// Bit 10 of the pins' registers.
        Gpio10 = 0x1a,
        /// Bit 11 of the pins' registers.
        Gpio11 = 0x1b,
        /// Bit 12 of the pins' registers.
        Gpio12 = 0x1c,
        /// Bit 13 of the pins' registers.
        Gpio13 = 0x1d,
        /// Bit 14 of the pins' registers.
        Gpio14 = 0x1e,
        /// Bit 15 of the pins' registers.
        Gpio15 = 0x1f,
        /// JTAG 1 of the processors: `TCK`.
        Jtag1Tck = 0x20,
        /// JTAG 1 of the processors: `TMS`.
        Jtag1Tms = 0x21,
        /// JTAG 1 of the processors: `TRSTN`.
        Jtag1Trstn = 0x22,
        /// JTAG 1 of the processors: `TDI`.
        Jtag1Tdi = 0x23,
        /// JTAG 1 of the processors: `TDO`.
        Jtag1Tdo = 0x24,
        /// JTAG 2 of the processors: `TCK`.
        Jtag2Tck = 0x25,
        /// JTAG 2 of the processors: `TMS`.
        Jtag2Tms = 0x26,
        /// JTAG 2 of the processors: `TRSTN`.
        Jtag2Trstn = 0x27,
        /// JTAG 2 of the processors: `TDI`.
        Jtag2Tdi = 0x28,
        /// JTAG 2 of the processors: `TDO`.
        Jtag2Tdo = 0x29,
        /// Reset of the processors' debug part.
        DebugReset = 0x2a,
        /// Measurement of the self-test (`fbist`).
        SelfTest = 0x2b,
        /// Phase detector of the PLL `C0`.
        PllCore = 0x2c,
        /// Phase detector of the PLL `C2C_0`.
        PllLink0 = 0x2d,
        /// Phase detector of the PLL `C2C_1`.
        PllLink1 = 0x2e,
        /// Pulse width modulation, first output.
        Pwm0 = 0x2f,
        /// Pulse width modulation, second output.
        Pwm1 = 0x30,
        /// Octal SPI: clock.
        OspiClock = 0x31,
        /// Octal SPI: select 0.
        OspiSelect0 = 0x32,
        /// Octal SPI: select 1.
        OspiSelect1 = 0x33,
        /// Octal SPI: select 2.
        OspiSelect2 = 0x34,
        /// Octal SPI: select 3.
        OspiSelect3 = 0x35,
        /// Octal SPI: data line 0.
        OspiData0 = 0x36,
        /// Octal SPI: data line 1.
        OspiData1 = 0x37,
        /// Octal SPI: data line 2.
        OspiData2 = 0x38,
        /// Octal SPI: data line 3.
        OspiData3 = 0x39,
        /// Octal SPI: data line 4.
        OspiData4 = 0x3a,
        /// Octal SPI: data line 5.
        OspiData5 = 0x3b,
        /// Octal SPI: data line 6.
        OspiData6 = 0x3c,
        /// Octal SPI: data line 7.
        OspiData7 = 0x3d,
        /// First feed-through interrupt of the pins.
        FeedThrough0 = 0x3e,
        /// Second feed-through interrupt of the pins.
        FeedThrough1 = 0x3f,
        /// Measurement of the first oscillator of the true random generator.
        RandomOscillator0 = 0x40,
        /// Measurement of the second oscillator of the true random generator.
        RandomOscillator1 = 0x41,
        /// Idle state of the differential lines (`LVDS_EIDLE`).
        LvdsIdle = 0x42,
    }
}
