//! What a stretch of Thumb code costs: its instructions, and an estimate of Cortex-M4 cycles.
//!
//! # The estimate
//! A documented model, not a measurement. It follows the instruction timings that ARM publishes for the
//! Cortex-M4, with memory that answers at once:
//!
//! | instruction | cycles |
//! |---|---|
//! | most | 1 |
//! | load of one word, byte or half-word | 2, behind another such load 1 |
//! | store of one | 1 (write buffer) |
//! | load or store of two words | 3 |
//! | load or store of n registers | 1 + n |
//! | branch, call, return, as the last instruction of a stretch | 1 + 2 (pipeline refill), taken or not |
//! | integer division | 7 (published: 2 to 12) |
//! | floating-point multiply and add in one | 3 |
//! | floating-point division, square root | 14 |
//! | barriers | 4 |
//!
//! Not in it: waiting for other masters of the memory, accesses over the network, sleeping.

/// Instructions and cycles of a stretch of code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) instructions: u32,
    pub(crate) cycles: u32,
    /// The last instruction is a call.
    pub(crate) call: bool,
    /// The last instruction, if it is one of 16 bits; otherwise 0.
    pub(crate) last: u16,
    /// An instruction moves the stack pointer down.
    pub(crate) stack: bool,
    /// An instruction signals an event: `sev`.
    pub(crate) event: bool,
    /// An instruction may unmask exceptions: `cpsie`, `msr`.
    pub(crate) unmasks: bool,
}

/// The cost of `code`, which is whole instructions.
pub(crate) fn cost(code: &[u8]) -> Cost {
    let mut cost = Cost::default();
    let mut halves = code
        .chunks_exact(2)
        .map(|half| u16::from_le_bytes([half[0], half[1]]));
    let mut last = Kind::Plain;
    while let Some(first) = halves.next() {
        let wide_one = is_wide(first);
        cost.last = if wide_one { 0 } else { first };
        let kind = if wide_one {
            let second = halves.next().unwrap_or(0);
            cost.stack |= matches!(first & 0xfbff, 0xe92d | 0xf1ad | 0xf2ad)
                || matches!(first, 0xed2d | 0xebad)
                || first == 0xf84d && second & 0x0f00 == 0x0d00;
            cost.unmasks |= first & 0xfff0 == 0xf380 && second >> 8 == 0x88;
            wide(first, second)
        } else {
            cost.unmasks |= first & 0xfff8 == 0xb660;
            cost.event |= first == 0xbf40;
            cost.stack |=
                first >> 9 == 0b101_1010 || first >> 7 == 0b1_0110_0001 || first & 0xff87 == 0x4685;
            narrow(first)
        };
        cost.instructions += 1;
        cost.cycles += match kind {
            Kind::Plain | Kind::Store => 1,
            Kind::Load if last == Kind::Load => 1,
            Kind::Load => 2,
            Kind::Multiple(registers) => 1 + registers,
            Kind::Branch | Kind::Call => 3,
            Kind::MultipleBranch(registers) => 3 + registers,
            Kind::Cycles(cycles) => cycles,
        };
        last = kind;
    }
    cost.call = last == Kind::Call;
    cost
}

/// Whether an instruction that starts with this half-word has another one.
fn is_wide(first: u16) -> bool {
    first >> 11 >= 0b11101
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Load,
    Store,
    /// Loads or stores so many registers.
    Multiple(u32),
    Branch,
    Call,
    /// Loads so many registers and the program counter.
    MultipleBranch(u32),
    Cycles(u32),
}

fn narrow(half: u16) -> Kind {
    let list = u32::from(half & 0xff).count_ones();
    match half >> 9 {
        // BX, BLX to a register; additions and moves to the program counter.
        0b010_0011 if half & 0x0180 == 0x0180 => Kind::Call,
        0b010_0011 => Kind::Branch,
        0b010_0010 if half & 0x87 == 0x87 => Kind::Branch,
        0b010_0100..=0b010_0111 => Kind::Load,
        0b010_1000..=0b010_1010 => Kind::Store,
        0b010_1011..=0b010_1111 => Kind::Load,
        0b011_0000..=0b100_1111 if half & 0x0800 != 0 => Kind::Load,
        0b011_0000..=0b100_1111 => Kind::Store,
        // PUSH, POP; compare and branch.
        0b101_1010 => Kind::Multiple(list + u32::from(half >> 8 & 1)),
        0b101_1110 if half >> 8 & 1 == 1 => Kind::MultipleBranch(list),
        0b101_1110 => Kind::Multiple(list),
        0b101_1000 | 0b101_1001 | 0b101_1100 | 0b101_1101 if half & 0x0500 == 0x0100 => {
            Kind::Branch
        }
        0b110_0000..=0b110_0111 => Kind::Multiple(list),
        // Conditional and plain branches.
        0b110_1000..=0b111_0011 => Kind::Branch,
        _ => Kind::Plain,
    }
}

fn wide(first: u16, second: u16) -> Kind {
    let load = first & 0x0010 != 0;
    let one = if load { Kind::Load } else { Kind::Store };
    match first >> 9 {
        // Load and store multiple; two words, exclusive, table branch.
        0b111_0100 if first & 0x0040 == 0 => {
            let registers = u32::from(second).count_ones();
            if load && second >> 15 == 1 {
                Kind::MultipleBranch(registers - 1)
            } else {
                Kind::Multiple(registers)
            }
        }
        0b111_0100 if first & 0xfff0 == 0xe8d0 && second & 0x00e0 == 0 => Kind::Cycles(4),
        0b111_0100 if first & 0x0120 == 0 => one,
        0b111_0100 => Kind::Multiple(2),
        // Floating point: loads and stores, transfers, arithmetic.
        0b111_0110 => match first >> 4 & 0b1_1111 {
            _ if first & 0x0fe0 == 0x0c40 => Kind::Cycles(2),
            // VLDR, VSTR of one or two words.
            op if op & 0b1_0010 == 0b1_0000 => Kind::Multiple(1 + u32::from(second >> 8 & 1)),
            _ => Kind::Multiple(u32::from(second & 0xff)),
        },
        0b111_0111 if first & 0x0f00 == 0x0e00 && second & 0x0010 == 0 => {
            match (first >> 4 & 0b1011, second >> 6 & 1) {
                // Multiply and add, negated, fused.
                (0b0000 | 0b0001 | 0b1001 | 0b1010, _) => Kind::Cycles(3),
                // Division.
                (0b1000, 0) => Kind::Cycles(14),
                // Square root.
                (0b1011, 1) if first & 0xf == 1 && second >> 7 & 1 == 1 => Kind::Cycles(14),
                _ => Kind::Plain,
            }
        }
        // Branches, barriers.
        0b111_1000..=0b111_1011 if second & 0x8000 != 0 => match second >> 12 & 0b101 {
            0b101 => Kind::Call,
            0b001 => Kind::Branch,
            _ if first & 0x0380 != 0x0380 => Kind::Branch,
            _ if first & 0xfff0 == 0xf3b0 => Kind::Cycles(4),
            _ => Kind::Plain,
        },
        // Loads and stores of one.
        0b111_1100 if load && second >> 12 == 15 && first & 0x0040 != 0 => Kind::Cycles(4),
        0b111_1100 => one,
        // Divisions.
        0b111_1101 if matches!(first & 0xfff0, 0xfb90 | 0xfbb0) => Kind::Cycles(7),
        _ => Kind::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycles(halves: &[u16]) -> (u32, u32, bool) {
        let code: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        let cost = cost(&code);
        (cost.instructions, cost.cycles, cost.call)
    }

    /// Encodings from an assembler (`llvm-mc`), one of each row of the table.
    #[test]
    fn the_table_holds() {
        for (name, halves, expected) in [
            ("adds r0, r0, r1", &[0x1840][..], 1),
            ("movw r0, #1", &[0xf240, 0x0001], 1),
            ("smlal r0, r1, r2, r3", &[0xfbc2, 0x0103], 1),
            ("ldr r0, [r1]", &[0x6808], 2),
            ("ldr r0, [r1]; ldr r2, [r3]", &[0x6808, 0x681a], 3),
            ("ldr r0, [pc, #4]", &[0x4801], 2),
            ("ldrb r0, [r1]", &[0x7808], 2),
            ("ldr.w r0, [r1, r2, lsl #2]", &[0xf851, 0x0022], 2),
            ("str r0, [r1]", &[0x6008], 1),
            ("str r0, [sp, #4]", &[0x9001], 1),
            ("str.w r0, [r1, #256]", &[0xf8c1, 0x0100], 1),
            ("ldrd r0, r1, [r2]", &[0xe9d2, 0x0100], 3),
            ("strex r0, r1, [r2]", &[0xe842, 0x1000], 1),
            ("push {r4, r5, lr}", &[0xb530], 4),
            ("pop {r4, r5, pc}", &[0xbd30], 5),
            ("ldmia r0!, {r1, r2}", &[0xc806], 3),
            ("ldmia.w sp!, {r4-r11, pc}", &[0xe8bd, 0x8ff0], 11),
            ("b .", &[0xe7fe], 3),
            ("bne .", &[0xd1fe], 3),
            ("cbz r0, .+4", &[0xb100], 3),
            ("bne.w .", &[0xf47f, 0xaffe], 3),
            ("bx lr", &[0x4770], 3),
            ("tbb [pc, r0]", &[0xe8df, 0xf000], 4),
            ("sdiv r0, r1, r2", &[0xfb91, 0xf0f2], 7),
            ("udiv r0, r1, r2", &[0xfbb1, 0xf0f2], 7),
            ("vadd.f32 s0, s1, s2", &[0xee30, 0x0a81], 1),
            ("vmul.f32 s0, s1, s2", &[0xee20, 0x0a81], 1),
            ("vmla.f32 s0, s1, s2", &[0xee00, 0x0a81], 3),
            ("vfma.f32 s0, s1, s2", &[0xeea0, 0x0a81], 3),
            ("vdiv.f32 s0, s1, s2", &[0xee80, 0x0a81], 14),
            ("vsqrt.f32 s0, s1", &[0xeeb1, 0x0ae0], 14),
            ("vcmp.f32 s0, s1", &[0xeeb4, 0x0a60], 1),
            ("vldr s0, [r0]", &[0xed90, 0x0a00], 2),
            ("vldr d0, [r0]", &[0xed90, 0x0b00], 3),
            ("vpush {s16-s19}", &[0xed2d, 0x8a04], 5),
            ("dmb", &[0xf3bf, 0x8f5f], 4),
            ("mrs r0, primask", &[0xf3ef, 0x8010], 1),
        ] {
            assert_eq!(cycles(halves).1, expected, "{name}");
        }
        assert_eq!(cycles(&[0xf000, 0xf800]), (1, 3, true), "bl");
        assert_eq!(cycles(&[0x4798]), (1, 3, true), "blx r3");
        assert_eq!(cycles(&[0x4718]), (1, 3, false), "bx r3");
        let moves = |halves: &[u16]| {
            let code: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
            cost(&code).stack
        };
        // push, push.w, sub, sub.w, vpush, mov sp, str with write-back; add, pop, ldr.
        for halves in [
            &[0xb510][..],
            &[0xe92d, 0x4ff0],
            &[0xb084],
            &[0xf5ad, 0x5d80],
            &[0xed2d, 0x8a04],
            &[0x46bd],
            &[0xf84d, 0x8d04],
        ] {
            assert!(moves(halves), "{halves:04x?}");
        }
        for halves in [&[0xb004][..], &[0xbd10], &[0x9801], &[0xf84d, 0x8004]] {
            assert!(!moves(halves), "{halves:04x?}");
        }
        assert_eq!(cycles(&[0x6808, 0xf240, 0x0001, 0xe7fe]), (3, 6, false));
    }
}
