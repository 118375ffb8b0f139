//! What Thumb-2 instructions do to the stack pointer and to the flow of control.
//!
//! Encodings are those of the ARMv7-M Architecture Reference Manual, chapter A7. Everything that
//! concerns neither is [`Op::Other`]; what would, but is not understood, is [`Op::Unsupported`], so
//! that nothing is overlooked in silence.

/// Number of the stack pointer among the registers.
const SP: u16 = 13;
/// Number of the program counter.
const PC: u16 = 15;
/// Number of the frame pointer, which the compiler sets up in every function.
pub const FP: u16 = 7;

/// An instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Bytes that it takes, 2 or 4.
    pub size: u32,
    /// What it does.
    pub op: Op,
}

/// What an instruction does, as far as the depth of the stack depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Nothing of interest.
    Other,
    /// Takes so many bytes of stack; negative: gives them back.
    Stack(i32),
    /// Starts another stack: writes the main stack pointer by its special name.
    NewStack,
    /// Copies a register to the stack pointer.
    SetStack(u16),
    /// Clears so many low bits of a register, as alignment does.
    ClearLow {
        /// The register.
        register: u16,
        /// How many bits.
        bits: u16,
    },
    /// Computes an address in the frame, relative to the frame pointer, in this register.
    FromFrame(u16),
    /// Returns to the caller.
    Return,
    /// Raises a fault: nothing follows.
    Stop,
    /// Calls a function.
    Call(u32),
    /// Calls the function that a register points to.
    CallPointer,
    /// Goes to an address, unless it stands in an IT block whose condition is false.
    Jump(u32),
    /// Goes to where a register points to.
    JumpPointer,
    /// Goes to an address or not.
    Branch(u32),
    /// Goes to one of the places in the table that follows.
    Table {
        /// Bytes of an entry, 1 or 2.
        entry: u32,
    },
    /// Goes to one of the jumps that follow, which are a table.
    JumpTable,
    /// Makes so many following instructions conditional.
    IfThen(u32),
    /// Writes the lower half of a register and clears the upper one.
    Low {
        /// The register.
        register: u16,
        /// The lower half.
        value: u16,
    },
    /// Writes the upper half of a register.
    High {
        /// The register.
        register: u16,
        /// The upper half.
        value: u16,
    },
    /// Loads the word at an address among the code.
    Literal(u32),
    /// Writes the stack pointer or the program counter in a way that is not understood.
    Unsupported,
}

/// Decodes the instruction at an address from its first half-word and the one after it.
///
/// `second` is not looked at if the first one is a whole instruction.
pub fn decode(address: u32, first: u16, second: u16) -> Instruction {
    // A3.1, "Thumb instruction set encoding": these five bits start a 32-bit instruction.
    if first >> 11 >= 0b11101 {
        Instruction {
            size: 4,
            op: wide(address, first, second),
        }
    } else {
        Instruction {
            size: 2,
            op: narrow(address, first),
        }
    }
}

/// Extends the sign of a number of so many bits.
fn signed(value: u32, bits: u32) -> u32 {
    let unused = 32 - bits;
    ((value << unused) as i32 >> unused) as u32
}

fn narrow(address: u32, code: u16) -> Op {
    let pc = address.wrapping_add(4);
    let high_destination = code >> 4 & 8 | code & 7;
    let source = code >> 3 & 15;
    let bits = u32::from(code);
    match code {
        // ADD, MOV with any registers. Compilers write the program counter by MOV for tables of jumps alone.
        _ if code & 0xff80 == 0x4680 && high_destination == PC => Op::JumpTable,
        _ if code & 0xfd00 == 0x4400 && high_destination == PC => Op::Unsupported,
        _ if code & 0xff00 == 0x4400 && high_destination == SP => Op::Unsupported,
        _ if code & 0xff00 == 0x4600 && high_destination == SP => Op::SetStack(source),
        // BX, BLX
        0x4770 => Op::Return,
        _ if code & 0xff80 == 0x4700 => Op::JumpPointer,
        _ if code & 0xff80 == 0x4780 => Op::CallPointer,
        // LDR (literal)
        _ if code & 0xf800 == 0x4800 => Op::Literal((pc & !3).wrapping_add(4 * (bits & 0xff))),
        // ADD, SUB (SP plus or minus immediate)
        _ if code & 0xff80 == 0xb000 => Op::Stack(-4 * i32::from(code & 0x7f)),
        _ if code & 0xff80 == 0xb080 => Op::Stack(4 * i32::from(code & 0x7f)),
        // PUSH, POP
        _ if code & 0xfe00 == 0xb400 => Op::Stack(registers(code & 0x1ff)),
        _ if code & 0xff00 == 0xbd00 => Op::Return,
        _ if code & 0xff00 == 0xbc00 => Op::Stack(-registers(code & 0xff)),
        // CBZ, CBNZ
        _ if code & 0xf500 == 0xb100 => {
            Op::Branch(pc.wrapping_add(bits >> 3 & 0x40 | bits >> 2 & 0x3e))
        }
        // IT; without a mask it is a hint
        _ if code & 0xff00 == 0xbf00 && code & 15 != 0 => {
            Op::IfThen(4 - (code & 15).trailing_zeros())
        }
        // B, UDF; SVC comes back
        _ if code & 0xff00 == 0xde00 => Op::Stop,
        _ if code & 0xff00 == 0xdf00 => Op::Other,
        _ if code & 0xf000 == 0xd000 => Op::Branch(pc.wrapping_add(signed(bits << 1 & 0x1ff, 9))),
        _ if code & 0xf800 == 0xe000 => Op::Jump(pc.wrapping_add(signed(bits << 1 & 0xfff, 12))),
        _ => Op::Other,
    }
}

/// Bytes of a list of registers.
fn registers(list: u16) -> i32 {
    4 * list.count_ones() as i32
}

fn wide(address: u32, first: u16, second: u16) -> Op {
    match first >> 11 {
        0b11110 if second & 0x8000 != 0 => branch_or_system(address, first, second),
        0b11110 => immediate(first, second),
        0b11101 => multiple_or_register(first, second),
        _ => single(address, first, second),
    }
}

/// Branches and miscellaneous control (A5.3.4).
fn branch_or_system(address: u32, first: u16, second: u16) -> Op {
    let (a, b) = (u32::from(first), u32::from(second));
    let pc = address.wrapping_add(4);
    let (sign, j1, j2) = (a >> 10 & 1, b >> 13 & 1, b >> 11 & 1);
    if second & 0x1000 != 0 {
        // BL or B.W. The two bits beside the sign are stored such that small distances look like
        // those of older cores.
        let (i1, i2) = (!(j1 ^ sign) & 1, !(j2 ^ sign) & 1);
        let distance = sign << 24 | i1 << 23 | i2 << 22 | (a & 0x3ff) << 12 | (b & 0x7ff) << 1;
        let target = pc.wrapping_add(signed(distance, 25));
        return if second & 0x4000 != 0 {
            Op::Call(target)
        } else {
            Op::Jump(target)
        };
    }
    if second & 0x4000 != 0 {
        // BLX (immediate) would leave Thumb, which this processor does not.
        return Op::Unsupported;
    }
    if a >> 7 & 7 != 7 {
        let distance = sign << 20 | j2 << 19 | j1 << 18 | (a & 0x3f) << 12 | (b & 0x7ff) << 1;
        return Op::Branch(pc.wrapping_add(signed(distance, 21)));
    }
    match (first & 0xfff0, second) {
        (0xf380, 0x8808) => Op::NewStack,
        (0xf7f0, _) if second & 0xf000 == 0xa000 => Op::Stop,
        _ => Op::Other,
    }
}

/// Data processing with an immediate (A5.3.1, A5.3.3).
fn immediate(first: u16, second: u16) -> Op {
    let (source, destination) = (first & 15, second >> 8 & 15);
    let plain = first << 1 & 0x800 | second >> 4 & 0x700 | second & 0xff;
    let half = source << 12 | plain;
    let register = destination;
    match first & 0xfbf0 {
        0xf240 => {
            return Op::Low {
                register,
                value: half,
            };
        }
        0xf2c0 => {
            return Op::High {
                register,
                value: half,
            };
        }
        _ => {}
    }
    // BFC from bit 0
    if first & 0xfbff == 0xf36f && second & 0x70c0 == 0 {
        let bits = (second & 0x1f) + 1;
        return Op::ClearLow { register, bits };
    }
    // ADD, SUB: with a modified (rotated) constant, or with 12 plain bits
    let value = match first & 0xfbe0 {
        0xf100 => Some((expand(plain) as i32).wrapping_neg()),
        0xf1a0 => Some(expand(plain) as i32),
        0xf200 => Some(-i32::from(plain)),
        0xf2a0 => Some(i32::from(plain)),
        _ => None,
    };
    match (value, source, destination) {
        (Some(value), SP, SP) => Op::Stack(value),
        (Some(_), FP, SP) => Op::SetStack(FP),
        (Some(_), FP, _) => Op::FromFrame(destination),
        (_, _, SP) => Op::Unsupported,
        _ => Op::Other,
    }
}

/// A modified immediate constant (A5.3.2).
fn expand(encoded: u16) -> u32 {
    let low = u32::from(encoded & 0xff);
    match encoded >> 8 {
        0 => low,
        1 => low << 16 | low,
        2 => low << 24 | low << 8,
        3 => low * 0x0101_0101,
        _ => (low & 0x7f | 0x80).rotate_right(u32::from(encoded >> 7)),
    }
}

/// Loads and stores of several registers, table branches, data processing with shifted registers,
/// and the floating-point unit (A5.3.5, A5.3.6, A5.3.11, A5.3.18).
fn multiple_or_register(first: u16, second: u16) -> Op {
    let base = first & 15;
    let words = 4 * i32::from(second & 0xff);
    match first {
        // STMDB and LDMIA with write-back, which PUSH and POP are forms of
        0xe92d => return Op::Stack(registers(second)),
        0xe8bd if second & 0x8000 == 0 => return Op::Stack(-registers(second)),
        0xe8bd => return Op::Return,
        // TBB, TBH
        0xe8df if second & 0xffe0 == 0xf000 => {
            let entry = if second & 0x10 == 0 { 1 } else { 2 };
            return Op::Table { entry };
        }
        _ if first & 0xfff0 == 0xe8d0 && second & 0xffe0 == 0xf000 => return Op::Unsupported,
        // STRD and LDRD with write-back to the stack pointer
        0xe96d => return Op::Stack(words),
        0xe8fd => return Op::Stack(-words),
        // VPUSH, VPOP
        0xed2d | 0xed6d if second & 0x0e00 == 0x0a00 => return Op::Stack(words),
        0xecbd | 0xecfd if second & 0x0e00 == 0x0a00 => return Op::Stack(-words),
        _ => {}
    }
    let is_multiple = first & 0xfe40 == 0xe800;
    let is_load = first & 0x10 != 0;
    let writes_back = first & 0x20 != 0;
    let is_dual = first & 0xfe40 == 0xe840 && first & 0x0120 != 0;
    let is_register = first & 0xfe00 == 0xea00;
    let is_float_memory = first & 0xfe00 == 0xec00;
    let to_stack_pointer = (is_multiple || is_dual || is_float_memory) && writes_back && base == SP
        || is_register && second >> 8 & 15 == SP;
    let to_program_counter = is_multiple && is_load && second & 0x8000 != 0;
    if to_stack_pointer || to_program_counter {
        return Op::Unsupported;
    }
    Op::Other
}

/// Loads and stores of one register (A5.3.7 to A5.3.10); nothing else here writes either register.
fn single(address: u32, first: u16, second: u16) -> Op {
    let (base, register) = (first & 15, second >> 12);
    let is_load = first & 0x10 != 0;
    let is_word = first & 0xff60 == 0xf840;
    if first & 0xfe00 != 0xf800 {
        return Op::Other;
    }
    // With an index of 8 bits: bit 10 adds it before, bit 9 up or down, bit 8 writes it back.
    let has_index = first & 0x80 == 0 && second & 0x800 != 0 && base != PC;
    if has_index && second & 0x100 != 0 && base == SP {
        let bytes = i32::from(second & 0xff);
        let up = second & 0x200 != 0;
        return match (is_load && is_word && register == PC, up) {
            (true, _) => Op::Return,
            (false, true) => Op::Stack(-bytes),
            (false, false) => Op::Stack(bytes),
        };
    }
    if is_load && is_word && register == PC {
        return Op::Unsupported;
    }
    if first & 0xff7f == 0xf85f {
        let base = address.wrapping_add(4) & !3;
        let distance = u32::from(second & 0xfff);
        let up = first & 0x80 != 0;
        return Op::Literal(if up {
            base.wrapping_add(distance)
        } else {
            base.wrapping_sub(distance)
        });
    }
    Op::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_do_what_the_manual_says() {
        // Where, the code, its size, and what it does; assembled by hand from the manual's diagrams.
        let cases = [
            (0, 0xb5f0, 0, 2, Op::Stack(20)),               // push {r4-r7, lr}
            (0, 0xbc0c, 0, 2, Op::Stack(-8)),               // pop {r2, r3}
            (0, 0xbd80, 0, 2, Op::Return),                  // pop {r7, pc}
            (0, 0xb0c6, 0, 2, Op::Stack(280)),              // sub sp, #280
            (0, 0xb046, 0, 2, Op::Stack(-280)),             // add sp, #280
            (0, 0x4770, 0, 2, Op::Return),                  // bx lr
            (0, 0x4718, 0, 2, Op::JumpPointer),             // bx r3
            (0, 0x47c8, 0, 2, Op::CallPointer),             // blx r9
            (0, 0x46a5, 0, 2, Op::SetStack(4)),             // mov sp, r4
            (0, 0x466c, 0, 2, Op::Other),                   // mov r4, sp
            (0, 0x4687, 0, 2, Op::JumpTable),               // mov pc, r0
            (0, 0x4487, 0, 2, Op::Unsupported),             // add pc, r0
            (0, 0x4485, 0, 2, Op::Unsupported),             // add sp, r0
            (0x100, 0xe7fe, 0, 2, Op::Jump(0x100)),         // b .
            (0x100, 0xd0fc, 0, 2, Op::Branch(0xfc)),        // beq .-4
            (0x100, 0xbb00, 0, 2, Op::Branch(0x144)),       // cbnz r0, .+68
            (0, 0xde00, 0, 2, Op::Stop),                    // udf #0
            (0, 0xdf00, 0, 2, Op::Other),                   // svc #0
            (0, 0xbf00, 0, 2, Op::Other),                   // nop
            (0, 0xbf18, 0, 2, Op::IfThen(1)),               // it ne
            (0, 0xbf1f, 0, 2, Op::IfThen(4)),               // itttt ne
            (0x102, 0x4801, 0, 2, Op::Literal(0x108)),      // ldr r0, [pc, #4]
            (0, 0xe92d, 0x0f00, 4, Op::Stack(16)),          // push.w {r8-r11}
            (0, 0xe8bd, 0x4080, 4, Op::Stack(-8)),          // pop.w {r7, lr}
            (0, 0xe8bd, 0x8ff0, 4, Op::Return),             // pop.w {r4-r11, pc}
            (0, 0xf84d, 0x8d04, 4, Op::Stack(4)),           // str r8, [sp, #-4]!
            (0, 0xf85d, 0x8b04, 4, Op::Stack(-4)),          // ldr r8, [sp], #4
            (0, 0xf85d, 0xfb04, 4, Op::Return),             // ldr pc, [sp], #4
            (0, 0xf8cd, 0x8004, 4, Op::Other),              // str.w r8, [sp, #4]
            (0, 0xf8dd, 0xf004, 4, Op::Unsupported),        // ldr.w pc, [sp, #4]
            (0, 0xe96d, 0x0102, 4, Op::Stack(8)),           // strd r0, r1, [sp, #-8]!
            (0, 0xed2d, 0x8b04, 4, Op::Stack(16)),          // vpush {d8, d9}
            (0, 0xecbd, 0x8b04, 4, Op::Stack(-16)),         // vpop {d8, d9}
            (0, 0xed8d, 0x0a04, 4, Op::Other),              // vstr s0, [sp, #16]
            (0, 0xf5ad, 0x5d83, 4, Op::Stack(4192)),        // sub.w sp, sp, #4192
            (0, 0xf6ad, 0x2d4c, 4, Op::Stack(2636)),        // subw sp, sp, #2636
            (0, 0xf60d, 0x2d4c, 4, Op::Stack(-2636)),       // addw sp, sp, #2636
            (0, 0xf50d, 0x7000, 4, Op::Other),              // add.w r0, sp, #512
            (0, 0xf1a7, 0x0410, 4, Op::FromFrame(4)),       // sub.w r4, r7, #16
            (0, 0xf1a7, 0x0d10, 4, Op::SetStack(7)),        // sub.w sp, r7, #16
            (0, 0xebad, 0x0d00, 4, Op::Unsupported),        // sub.w sp, sp, r0
            (0xd0, 0xf002, 0xfce9, 4, Op::Call(0x2aa6)),    // bl, forwards
            (0x130, 0xf7ff, 0xfff8, 4, Op::Call(0x124)),    // bl, backwards
            (0x3606, 0xf7fc, 0xbd95, 4, Op::Jump(0x134)),   // b.w, backwards
            (0x100, 0xf43f, 0xaffe, 4, Op::Branch(0x100)),  // beq.w .
            (0, 0xf7f0, 0xa000, 4, Op::Stop),               // udf.w #0
            (0, 0xf381, 0x8808, 4, Op::NewStack),           // msr msp, r1
            (0, 0xf381, 0x8810, 4, Op::Other),              // msr primask, r1
            (0, 0xe8df, 0xf002, 4, Op::Table { entry: 1 }), // tbb [pc, r2]
            (0, 0xe8df, 0xf014, 4, Op::Table { entry: 2 }), // tbh [pc, r4, lsl #1]
            (
                0,
                0xf64f,
                0x71fe,
                4,
                Op::Low {
                    register: 1,
                    value: 0xfffe,
                },
            ), // movw r1, #65534
            (
                0,
                0xf2c6,
                0x0100,
                4,
                Op::High {
                    register: 1,
                    value: 0x6000,
                },
            ), // movt r1, #24576
            (
                0,
                0xf36f,
                0x0403,
                4,
                Op::ClearLow {
                    register: 4,
                    bits: 4,
                },
            ), // bfc r4, #0, #4
            (0x102, 0xf8df, 0x0010, 4, Op::Literal(0x114)), // ldr.w r0, [pc, #16]
        ];
        for (address, first, second, size, op) in cases {
            let expected = Instruction { size, op };
            let found = decode(address, first, second);
            assert_eq!(
                found, expected,
                "{first:#06x} {second:#06x} at {address:#x}"
            );
        }
    }
}
