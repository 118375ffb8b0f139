//! The registers that the four PEs of a QuadPE share, and the general-purpose interrupts.
//!
//! Of the register file only names and offsets are public. The description of a register says what its
//! name says; which bits do what, and what reading and writing do besides, is not public. So writing is
//! safe for the two kinds of interrupts alone: the others command power, clocks, resets, tests and
//! routes, and a wrong bit may lose what a memory holds.

use crate::register::block;

block! {
    /// Register file of a QuadPE. The register files of all QuadPEs are an array, of which the instance
    /// is the first element; which one belongs to which QuadPE is not public, see
    /// `provisional::quad_pe_registers`.
    QuadPe {
        /// Debug words.
        [J "quadpe_regfile.h"]
        debug[4; 4] = 0x000, "debug": u32, ReadPointer;
        /// Production test: control.
        [J "quadpe_regfile.h"]
        dft_control = 0x010, "dft_ctrl": u32, ReadPointer;
        /// Production test: state.
        [J "quadpe_regfile.h"]
        dft_status = 0x014, "dft_status": u32, ReadPure;
        /// Production test: stream.
        [J "quadpe_regfile.h"]
        dft_stream[4; 4] = 0x020, "dft_stream": u32, ReadPointer;
        /// Mask of feed-through interrupts of each PE. Product code gives such a mask to a function (N),
        /// bit 0 for `FT_INT_0` and bit 1 for `FT_INT_1`; that the register has the same bits is not public.
        [J "quadpe_regfile.h"]
        feed_through[4; 4] = 0x040, "irq_ft": u32, ReadWrite;
        /// Register file interrupts of each PE.
        [J "quadpe_regfile.h"]
        register_interrupts[4; 4] = 0x060, "irq_rf": u32, ReadWrite;
        /// Clock management: source.
        [J "quadpe_regfile.h"]
        clock_source = 0x0c0, "cmgmt_src": u32, ReadPointer;
        /// Clock management: divider.
        [J "quadpe_regfile.h"]
        clock_divider = 0x0c4, "cmgmt_div": u32, ReadPointer;
        /// Clock management: data network.
        [J "quadpe_regfile.h"]
        clock_network = 0x0c8, "cmgmt_dnoc": u32, ReadPointer;
        /// Clock management: sharing.
        [J "quadpe_regfile.h"]
        clock_share = 0x0cc, "cmgmt_share": u32, ReadPointer;
        /// Power management: count before a switch.
        [J "quadpe_regfile.h"]
        pre_switch_count = 0x100, "pmgt_param_pre_switch_count": u32, ReadPointer;
        /// Power management, change to lower frequency: time to clock off.
        [J "quadpe_regfile.h"]
        t_fdown2clkoff = 0x104, "pmgt_param_t_fdown2clkoff": u32, ReadPointer;
        /// Power management, change to lower frequency: time to clock on.
        [J "quadpe_regfile.h"]
        t_fdown2clkon = 0x108, "pmgt_param_t_fdown2clkon": u32, ReadPointer;
        /// Power management, change to lower frequency: time to change of frequency.
        [J "quadpe_regfile.h"]
        t_fdown2freq = 0x10c, "pmgt_param_t_fdown2freq": u32, ReadPointer;
        /// Power management, change to higher frequency: time to clock off.
        [J "quadpe_regfile.h"]
        t_fup2clkoff = 0x110, "pmgt_param_t_fup2clkoff": u32, ReadPointer;
        /// Power management, change to higher frequency: time to clock on.
        [J "quadpe_regfile.h"]
        t_fup2clkon = 0x114, "pmgt_param_t_fup2clkon": u32, ReadPointer;
        /// Power management, change to higher frequency: time to change of frequency.
        [J "quadpe_regfile.h"]
        t_fup2freq = 0x118, "pmgt_param_t_fup2freq": u32, ReadPointer;
        /// Power management, change to power off: time to clock.
        [J "quadpe_regfile.h"]
        t_off2clk = 0x11c, "pmgt_param_t_off2clk": u32, ReadPointer;
        /// Power management, change to power off: time to isolation.
        [J "quadpe_regfile.h"]
        t_off2iso = 0x120, "pmgt_param_t_off2iso": u32, ReadPointer;
        /// Power management, change to power off: time to reset.
        [J "quadpe_regfile.h"]
        t_off2reset = 0x124, "pmgt_param_t_off2reset": u32, ReadPointer;
        /// Power management, change to power off: time to supply.
        [J "quadpe_regfile.h"]
        t_off2vdd = 0x128, "pmgt_param_t_off2vdd": u32, ReadPointer;
        /// Power management, change to power on: time to clock.
        [J "quadpe_regfile.h"]
        t_on2clk = 0x12c, "pmgt_param_t_on2clk": u32, ReadPointer;
        /// Power management, change to power on: time to isolation.
        [J "quadpe_regfile.h"]
        t_on2iso = 0x130, "pmgt_param_t_on2iso": u32, ReadPointer;
        /// Power management, change to power on: time to reset.
        [J "quadpe_regfile.h"]
        t_on2reset = 0x134, "pmgt_param_t_on2reset": u32, ReadPointer;
        /// Power management, change to power on: time to supply.
        [J "quadpe_regfile.h"]
        t_on2vdd = 0x138, "pmgt_param_t_on2vdd": u32, ReadPointer;
        /// Power management: time of precharging, `pu`.
        [J "quadpe_regfile.h"]
        t_precharge_pu = 0x13c, "pmgt_param_t_precharge_pu": u32, ReadPointer;
        /// Power management: time of precharging, `sc`.
        [J "quadpe_regfile.h"]
        t_precharge_sc = 0x140, "pmgt_param_t_precharge_sc": u32, ReadPointer;
        /// Power management, change to lower voltage: time to clock off.
        [J "quadpe_regfile.h"]
        t_vdown2clkoff = 0x144, "pmgt_param_t_vdown2clkoff": u32, ReadPointer;
        /// Power management, change to lower voltage: time to clock on.
        [J "quadpe_regfile.h"]
        t_vdown2clkon = 0x148, "pmgt_param_t_vdown2clkon": u32, ReadPointer;
        /// Power management, change to lower voltage: time to supply.
        [J "quadpe_regfile.h"]
        t_vdown2vdd = 0x14c, "pmgt_param_t_vdown2vdd": u32, ReadPointer;
        /// Power management, change to lower voltage and frequency: time to clock off.
        [J "quadpe_regfile.h"]
        t_vfdown2clkoff = 0x150, "pmgt_param_t_vfdown2clkoff": u32, ReadPointer;
        /// Power management, change to lower voltage and frequency: time to clock on.
        [J "quadpe_regfile.h"]
        t_vfdown2clkon = 0x154, "pmgt_param_t_vfdown2clkon": u32, ReadPointer;
        /// Power management, change to lower voltage and frequency: time to change of frequency.
        [J "quadpe_regfile.h"]
        t_vfdown2freq = 0x158, "pmgt_param_t_vfdown2freq": u32, ReadPointer;
        /// Power management, change to lower voltage and frequency: time to supply.
        [J "quadpe_regfile.h"]
        t_vfdown2vdd = 0x15c, "pmgt_param_t_vfdown2vdd": u32, ReadPointer;
        /// Power management, change to higher voltage and frequency: time to clock off.
        [J "quadpe_regfile.h"]
        t_vfup2clkoff = 0x160, "pmgt_param_t_vfup2clkoff": u32, ReadPointer;
        /// Power management, change to higher voltage and frequency: time to clock on.
        [J "quadpe_regfile.h"]
        t_vfup2clkon = 0x164, "pmgt_param_t_vfup2clkon": u32, ReadPointer;
        /// Power management, change to higher voltage and frequency: time to change of frequency.
        [J "quadpe_regfile.h"]
        t_vfup2freq = 0x168, "pmgt_param_t_vfup2freq": u32, ReadPointer;
        /// Power management, change to higher voltage and frequency: time to supply.
        [J "quadpe_regfile.h"]
        t_vfup2vdd = 0x16c, "pmgt_param_t_vfup2vdd": u32, ReadPointer;
        /// Power management, change to higher voltage: time to clock off.
        [J "quadpe_regfile.h"]
        t_vup2clkoff = 0x170, "pmgt_param_t_vup2clkoff": u32, ReadPointer;
        /// Power management, change to higher voltage: time to clock on.
        [J "quadpe_regfile.h"]
        t_vup2clkon = 0x174, "pmgt_param_t_vup2clkon": u32, ReadPointer;
        /// Power management, change to higher voltage: time to supply.
        [J "quadpe_regfile.h"]
        t_vup2vdd = 0x178, "pmgt_param_t_vup2vdd": u32, ReadPointer;
        /// Power management: command to a PE.
        [J "quadpe_regfile.h"]
        power_command[4; 8] = 0x180, "pmgt_command_core": u32, ReadPointer;
        /// Power management: control of a PE.
        [J "quadpe_regfile.h"]
        power_control[4; 8] = 0x184, "pmgt_ctrl_core": u32, ReadPointer;
        /// Power management: command to PEs 0 and 1.
        [J "quadpe_regfile.h"]
        power_command_01 = 0x1a0, "pmgt_command_core01": u32, ReadPointer;
        /// Power management: control of PEs 0 and 1.
        [J "quadpe_regfile.h"]
        power_control_01 = 0x1a4, "pmgt_ctrl_core01": u32, ReadPointer;
        /// Power management: command to PEs 2 and 3.
        [J "quadpe_regfile.h"]
        power_command_23 = 0x1a8, "pmgt_command_core23": u32, ReadPointer;
        /// Power management: control of PEs 2 and 3.
        [J "quadpe_regfile.h"]
        power_control_23 = 0x1ac, "pmgt_ctrl_core23": u32, ReadPointer;
        /// Power management: command to PEs 0 and 2.
        [J "quadpe_regfile.h"]
        power_command_02 = 0x1b0, "pmgt_command_core02": u32, ReadPointer;
        /// Power management: control of PEs 0 and 2.
        [J "quadpe_regfile.h"]
        power_control_02 = 0x1b4, "pmgt_ctrl_core02": u32, ReadPointer;
        /// Power management: command to PEs 1 and 3.
        [J "quadpe_regfile.h"]
        power_command_13 = 0x1b8, "pmgt_command_core13": u32, ReadPointer;
        /// Power management: control of PEs 1 and 3.
        [J "quadpe_regfile.h"]
        power_control_13 = 0x1bc, "pmgt_ctrl_core13": u32, ReadPointer;
        /// Power management: command to all four PEs.
        [J "quadpe_regfile.h"]
        power_command_all = 0x1c0, "pmgt_command_core_all": u32, ReadPointer;
        /// Power management: control of all four PEs.
        [J "quadpe_regfile.h"]
        power_control_all = 0x1c4, "pmgt_ctrl_core_all": u32, ReadPointer;
        /// Power management: state of each PE.
        [J "quadpe_regfile.h"]
        power_status[4; 4] = 0x1d0, "pmgt_status_core": u32, ReadPure;
        /// Power management: multicast reads over the network.
        [J "quadpe_regfile.h"]
        power_multicast_read = 0x1e4, "pmgt_noc_mcread": u32, ReadPointer;
        /// Control of each PE's processor.
        [J "quadpe_regfile.h"]
        core_control[4; 4] = 0x200, "arm_ctrl": u32, ReadPointer;
        /// Control of all four processors.
        [J "quadpe_regfile.h"]
        core_control_all = 0x210, "arm_ctrl_all": u32, ReadPointer;
        /// JTAG of the processors.
        [J "quadpe_regfile.h"]
        core_jtag = 0x218, "arm_jtag": u32, ReadPointer;
        /// Sharing of SRAM among the four PEs.
        [J "quadpe_regfile.h"]
        share = 0x220, "share_config": u32, ReadPointer;
        /// Memory self-test: sequence of commands.
        [J "quadpe_regfile.h"]
        mbist_commands[2; 4] = 0x240, "mbist_cmd_seq": u32, ReadPointer;
        /// Memory self-test: control.
        [J "quadpe_regfile.h"]
        mbist_control = 0x248, "mbist_ctrl": u32, ReadPointer;
        /// Memory self-test: state.
        [J "quadpe_regfile.h"]
        mbist_status = 0x24c, "mbist_status": u32, ReadPure;
        /// Memory self-test: addresses.
        [J "quadpe_regfile.h"]
        mbist_address[2; 4] = 0x250, "mbist_addr": u32, ReadPointer;
        /// SRAM: delay at the higher voltage.
        [J "quadpe_regfile.h"]
        sram_delay_high = 0x260, "sram_delay_vhigh": u32, ReadPointer;
        /// SRAM: delay at the lower voltage.
        [J "quadpe_regfile.h"]
        sram_delay_low = 0x264, "sram_delay_vlow": u32, ReadPointer;
        /// SRAM: retention.
        [J "quadpe_regfile.h"]
        sram_retention = 0x268, "sram_retention": u32, ReadPointer;
        /// SRAM: choice of redundancy. Number `4 * a + b` is `sram_redsel_a_` with the digits `2 * b` and
        /// `2 * b + 1` behind it.
        [J "quadpe_regfile.h"]
        sram_redundancy[16; 4] = 0x270, "sram_redsel": u32, ReadPointer;
        /// Data network: enables the router.
        [J "quadpe_regfile.h"]
        router_enable = 0x300, "dnoc_router_en": u32, ReadPointer;
        /// Data network: enables ports.
        [J "quadpe_regfile.h"]
        port_enable = 0x304, "dnoc_port_en": u32, ReadPointer;
        /// Data network: test of ports.
        [J "quadpe_regfile.h"]
        port_test[2; 4] = 0x308, "dnoc_port_test": u32, ReadPointer;
        /// Data network: mode of decoding.
        [J "quadpe_regfile.h"]
        decode_mode = 0x310, "dnoc_decode_mode": u32, ReadPointer;
        /// Data network: table of routes.
        [J "quadpe_regfile.h"]
        route_table[4; 4] = 0x314, "dnoc_route_lut": u32, ReadPointer;
        /// Data network: enables selected FIFOs.
        [J "quadpe_regfile.h"]
        fifo_enable = 0x334, "dnoc_sel_fifo_en": u32, ReadPointer;
        /// Data network: enables statistics.
        [J "quadpe_regfile.h"]
        statistics_enable = 0x338, "dnoc_stat_en": u32, ReadPointer;
        /// Data network: control of statistics, `mod`.
        [J "quadpe_regfile.h"]
        statistics_module = 0x33c, "dnoc_stat_mod_ctrl": u32, ReadPointer;
        /// Data network: control of statistics, `top`.
        [J "quadpe_regfile.h"]
        statistics_top = 0x340, "dnoc_stat_top_ctrl": u32, ReadPointer;
        /// Data network: address of statistics, `top`.
        [J "quadpe_regfile.h"]
        statistics_address = 0x344, "dnoc_stat_top_addr": u32, ReadPointer;
    }
    instances QUAD_PE_REGISTERS
}

block! {
    /// General-purpose interrupts. Their base address is not public, so there is no instance.
    GeneralInterrupts {
        /// Interrupts that are pending. Writing 1 to a bit clears it.
        [J "qpe-types.h"]
        pending[4; 4] = 0x00, "INT": u32, ReadWrite;
    }
    instances
}
