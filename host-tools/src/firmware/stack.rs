//! The most stack that a firmware image can use, computed from its machine code.
//!
//! # How
//!
//! Every function is walked along its flow of control, and each instruction that moves the stack
//! pointer is counted: so the depth is known wherever another function is entered. (The frame sizes
//! of `.debug_frame` would not do: after a function has set up its frame pointer, they say nothing
//! about the stack pointer any more, and functions written in assembly have none.) The answer is
//! the longest path through the calls from `Reset`. Jumps to other functions count as calls at the
//! depth where they happen; calls of functions that never come back end a path.
//!
//! A function that calls itself, by whatever detour, has no bound and is an error that names the
//! circle. So is an instruction that does to the stack pointer what is not understood.
//!
//! # Calls through pointers
//!
//! What the code does not say is assumed, and the report marks it:
//!
//! - A pointer is called while the function that has taken the address is still running, and before
//!   another function takes one: by itself, or by what it calls directly. So are the arguments of
//!   `core::fmt` and trait objects used. An address is taken where code loads it, or loads the address
//!   of a table that it stands in.
//! - Implementations of `core::fmt::Write` are an exception, since a formatter hands its writer down
//!   to other formatters. Whoever takes the address of one is charged for that function on top of
//!   everything else, once: a writer calls no writer but the one that it wraps.
//! - Of a `dyn core::fmt::Write`, `core::fmt` calls `write_str` and `write_char`, never `write_fmt`.
//!
//! An address in a table that no code loads is an error.
//!
//! # Panics
//!
//! The panic handler runs on the stack of what has panicked, and is counted there. That it panics itself
//! is not counted: that would have no end, and the guard of the stack would be its end on the chip.
//!
//! # Exceptions
//!
//! Interrupts stay masked in firmware, which leaves faults. Their handler has a stack of its own and
//! is counted for itself; the main stack takes what the processor stores on the way there, with
//! floating-point registers, whether used or not.

use std::collections::{BTreeMap, BTreeSet};

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use s2_hal::topology::SRAM_BYTES;

use super::thumb::{FP, Instruction, Op, decode};
use crate::error::{Error, Result};

/// Bytes that the processor stores when it enters an exception (ARMv7-M, B1.5.7): eight words, 18 more
/// with the floating-point registers, and one to align the stack to eight bytes.
pub const EXCEPTION_BYTES: u32 = 4 * (8 + 18 + 1);

/// No stack of a PE is so large: a depth beyond it comes from a loop.
const LIMIT: i32 = 1 << 17;

/// What an image needs of stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackReport {
    /// From `Reset`, with a fault at the worst moment.
    pub program: Chain,
    /// From `HardFault`, on the stack of the fault handler; `None` if the image has no such function.
    pub fault: Option<Chain>,
    /// Bytes of the fault handler's stack, the static `FAULT_STACK`; 0 if there is none.
    pub fault_room: u32,
}

/// The deepest chain of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Bytes of stack in all.
    pub bytes: u32,
    /// Where they are, from the first function on; their bytes add up to those of the chain.
    pub frames: Vec<Frame>,
}

/// A link of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The function's name.
    pub function: String,
    /// Bytes of stack that it has taken when it calls the next one.
    pub bytes: u32,
    /// How it comes to be in the chain.
    pub entry: Entry,
}

/// How a function is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// By a call or jump that names it, or by the processor.
    Direct,
    /// Through a pointer. This is assumed; between the one before and this one, bytes of functions
    /// that pass the pointer on are included in those of the one before.
    Pointer,
    /// As a writer of `core::fmt`, at any place further down. This is assumed.
    Writer,
}

/// Finds the deepest chains of calls of an image, an ELF file for `thumbv7em-none-eabihf`.
///
/// # Errors
/// A file that is none, or without symbols; calls in a circle; code that is not understood.
pub fn analyse(elf: &[u8]) -> Result<StackReport> {
    report(&Image::read(elf)?)
}

fn report(image: &Image) -> Result<StackReport> {
    let bodies = image.walk_all()?;
    let mut graph = Graph::new(image, &bodies)?;
    let mut chain = |name: &str| {
        let Some(&root) = image.roots.get(name) else {
            return Ok(None);
        };
        graph.chain(root).map(Some)
    };
    let mut program = chain("Reset")?.ok_or_else(|| Error::new("no function `Reset`"))?;
    let fault = chain("HardFault")?;
    program.bytes += EXCEPTION_BYTES;
    program.frames.push(Frame {
        function: String::from("(a fault: registers that the processor stores)"),
        bytes: EXCEPTION_BYTES,
        entry: Entry::Direct,
    });
    Ok(StackReport {
        program,
        fault,
        fault_room: image.fault_room,
    })
}

/// A function of an image.
struct Function {
    name: String,
    end: u32,
}

/// What an image holds, by address.
struct Image<'a> {
    /// Sections that are loaded, code and constants.
    sections: Vec<(u32, &'a [u8])>,
    /// Where tables of constants are; the vector table, which is called by the processor, is not one.
    tables: Vec<(u32, &'a [u8])>,
    /// Starts and ends of constants.
    constants: Vec<(u32, u32)>,
    functions: BTreeMap<u32, Function>,
    /// Where the processor starts.
    roots: BTreeMap<&'a str, u32>,
    /// Starts of stretches of code (true) and of data among the code.
    mapping: BTreeMap<u32, bool>,
    fault_room: u32,
}

impl<'a> Image<'a> {
    fn read(elf: &'a [u8]) -> Result<Self> {
        let wrong = |error: object::Error| Error::new(format!("not an ELF file: {error}"));
        let file = object::File::parse(elf).map_err(wrong)?;
        if file.architecture() != object::Architecture::Arm {
            return Err(Error::new("not an ELF file for ARM"));
        }
        let mut image = Image {
            sections: Vec::new(),
            tables: Vec::new(),
            constants: Vec::new(),
            functions: BTreeMap::new(),
            roots: BTreeMap::new(),
            mapping: BTreeMap::new(),
            fault_room: 0,
        };
        let mut ends = BTreeMap::new();
        for section in file.sections() {
            let object::SectionFlags::Elf { sh_flags } = section.flags() else {
                continue;
            };
            let data = section.data().map_err(wrong)?;
            if sh_flags & u64::from(object::elf::SHF_ALLOC) == 0 || data.is_empty() {
                continue;
            }
            let end = section.address().saturating_add(data.len() as u64);
            if end > u64::from(SRAM_BYTES) {
                return Err(Error::new(format!(
                    "a section ends at {end:#x}, outside a PE's memory"
                )));
            }
            let address = section.address() as u32;
            image.sections.push((address, data));
            if sh_flags & u64::from(object::elf::SHF_EXECINSTR) != 0 {
                ends.insert(section.index().0, end as u32);
            } else if section.name() != Ok(".vector_table") {
                image.tables.push((address, data));
            }
        }
        for symbol in file.symbols() {
            let (Ok(name), Some(section)) = (symbol.name(), symbol.section_index()) else {
                continue;
            };
            if symbol.kind() == object::SymbolKind::Data {
                let (start, size) = (symbol.address() as u32, symbol.size() as u32);
                image.constants.push((start, start.saturating_add(size)));
                if name.contains("FAULT_STACK") {
                    image.fault_room = size;
                }
            }
            let Some(&section_end) = ends.get(&section.0) else {
                continue;
            };
            let address = symbol.address() as u32;
            match name.as_bytes() {
                [b'$', kind @ (b't' | b'd'), ..] => {
                    image.mapping.insert(address, *kind == b't');
                }
                _ if symbol.kind() == object::SymbolKind::Text => {
                    let address = address & !1;
                    image.roots.insert(name, address);
                    // Of several names, weak ones have no size.
                    let size = symbol.size() as u32;
                    let end = if size > 0 {
                        address.saturating_add(size)
                    } else {
                        section_end
                    };
                    let end = end.min(section_end);
                    let new = || Function {
                        name: format!("{:#}", rustc_demangle::demangle(name)),
                        end,
                    };
                    let known = image.functions.entry(address).or_insert_with(new);
                    if end < known.end {
                        *known = new();
                    }
                }
                _ => {}
            }
        }
        // A function without a size ends where the next one starts.
        let starts: Vec<u32> = image.functions.keys().copied().collect();
        for pair in starts.windows(2) {
            if let Some(function) = image.functions.get_mut(&pair[0]) {
                function.end = function.end.min(pair[1]);
            }
        }
        Ok(image)
    }

    /// Bytes at an address, in a section that is loaded.
    fn bytes<const N: usize>(&self, address: u32) -> Option<[u8; N]> {
        self.sections.iter().find_map(|(start, data)| {
            let from = address.checked_sub(*start)? as usize;
            data.get(from..from.checked_add(N)?)?.try_into().ok()
        })
    }

    fn is_code(&self, address: u32) -> bool {
        let stretch = self.mapping.range(..=address).next_back();
        stretch.is_some_and(|(_, &code)| code)
    }

    fn instruction(&self, address: u32) -> Option<Instruction> {
        let [a, b] = self.bytes(address)?;
        let [c, d] = self.bytes(address + 2).unwrap_or_default();
        let (first, second) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        Some(decode(address, first, second))
    }

    fn name(&self, function: u32) -> &str {
        &self.functions[&function].name
    }

    /// An error at a place in a function.
    fn error(&self, function: u32, address: u32, what: &str) -> Error {
        Error::new(format!("{}: {what} at {address:#x}", self.name(function)))
    }

    /// Walks all functions until it is clear which ones return: a call of one that does not ends the
    /// path of its caller.
    fn walk_all(&self) -> Result<BTreeMap<u32, Body>> {
        let mut returning = BTreeSet::new();
        loop {
            let mut bodies = BTreeMap::new();
            let known = returning.len();
            for &function in self.functions.keys() {
                let body = self.walk(function, &returning)?;
                if body.returns {
                    returning.insert(function);
                }
                bodies.insert(function, body);
            }
            if returning.len() == known {
                return Ok(bodies);
            }
        }
    }

    /// Follows the flow of control through a function.
    fn walk(&self, function: u32, returning: &BTreeSet<u32>) -> Result<Body> {
        let end = self.functions[&function].end;
        let inside = |address: u32| (function..end).contains(&address);
        let mut body = Body::default();
        // Greatest depth at which an address is reached. The third number of a place to go on from
        // tells how many instructions from there on are conditional.
        let mut depths = BTreeMap::new();
        let mut places = vec![(function, 0, 0)];
        while let Some((address, mut depth, conditional)) = places.pop() {
            if depths.get(&address).is_some_and(|&known| known >= depth) {
                continue;
            }
            if depth > LIMIT {
                return Err(self.error(function, address, "a loop that takes more and more stack"));
            }
            depths.insert(address, depth);
            let Some(instruction) = self.instruction(address).filter(|_| self.is_code(address))
            else {
                return Err(self.error(function, address, "runs into what is no code"));
            };
            let next = address + instruction.size;
            let before = depth;
            let mut follows = true;
            let mut conditions = u32::saturating_sub(conditional, 1);
            // Where a jump goes to: on in this function, or to another one.
            let mut go = |body: &mut Body, depth: i32, target: u32| {
                if inside(target) {
                    places.push((target, depth, 0));
                } else {
                    body.calls.insert((depth, Callee::Function(target)));
                    body.returns |= returning.contains(&target);
                }
            };
            match instruction.op {
                Op::Other | Op::Low { .. } | Op::High { .. } | Op::Literal(_) => {}
                Op::ClearLow { .. } | Op::FromFrame(_) => {}
                Op::Stack(bytes) => depth = depth.saturating_add(bytes),
                Op::NewStack => depth = 0,
                Op::SetStack(register) => {
                    depth += self.alignment(function, address, register).ok_or_else(|| {
                        self.error(function, address, "a stack pointer from elsewhere")
                    })?;
                }
                Op::IfThen(count) => conditions = count,
                Op::Return => {
                    body.returns = true;
                    follows = false;
                }
                Op::Stop => follows = false,
                Op::Call(target) => {
                    body.calls.insert((depth, Callee::Function(target)));
                    follows = returning.contains(&target);
                }
                Op::CallPointer => {
                    body.calls.insert((depth, Callee::Pointer));
                }
                Op::JumpPointer => {
                    body.calls.insert((depth, Callee::Pointer));
                    body.returns = true;
                    follows = false;
                }
                Op::Jump(target) => {
                    go(&mut body, depth, target);
                    follows = false;
                }
                Op::Branch(target) => go(&mut body, depth, target),
                Op::Table { entry } => {
                    let mut at = next;
                    while inside(at) && !self.is_code(at) {
                        let [low] = self.bytes(at).unwrap_or_default();
                        let [high] = match entry {
                            1 => [0],
                            _ => self.bytes(at + 1).unwrap_or_default(),
                        };
                        let target = next + 2 * u32::from(u16::from_le_bytes([low, high]));
                        // What pads the table leads nowhere.
                        if inside(target) && self.is_code(target) {
                            go(&mut body, depth, target);
                        }
                        at += entry;
                    }
                    follows = false;
                }
                Op::JumpTable => {
                    // Aligned to four bytes, each entry a jump of four.
                    let mut at = next.next_multiple_of(4);
                    let start = at;
                    while let Some(Instruction {
                        size: 4,
                        op: Op::Jump(target),
                    }) = self.instruction(at).filter(|_| inside(at))
                    {
                        go(&mut body, depth, target);
                        at += 4;
                    }
                    if at == start {
                        return Err(self.error(function, address, "a jump without its table"));
                    }
                    follows = false;
                }
                Op::Unsupported => {
                    return Err(self.error(
                        function,
                        address,
                        "an instruction that is not understood",
                    ));
                }
            }
            body.depth = body.depth.max(depth);
            if follows {
                places.push((next, depth, conditions));
            }
            // The instruction may be skipped.
            if conditional > 0 && (!follows || depth != before) {
                places.push((next, before, conditions));
            }
        }
        self.note_references(function, &mut body);
        Ok(body)
    }

    /// Most bytes that writing a register to the stack pointer takes: it holds the stack pointer,
    /// aligned (two instructions before), or an address in the frame, by which a function gives back
    /// what it has taken, so that to count nothing is to count too much. `None` if it holds something
    /// else.
    fn alignment(&self, function: u32, address: u32, register: u16) -> Option<i32> {
        if register == FP {
            return Some(0);
        }
        let before = address.checked_sub(4).filter(|&at| at >= function)?;
        match self.instruction(before)?.op {
            Op::ClearLow {
                register: cleared,
                bits,
            } if cleared == register => Some((1 << bits) - 4),
            Op::FromFrame(address) if address == register => Some(0),
            _ => None,
        }
    }

    /// Notes the words that the code of a function loads or makes of two halves: addresses, among others.
    fn note_references(&self, function: u32, body: &mut Body) {
        let mut lower = [None; 16];
        let mut at = function;
        while at < self.functions[&function].end {
            let Some(instruction) = self.instruction(at).filter(|_| self.is_code(at)) else {
                at += 2;
                continue;
            };
            match instruction.op {
                Op::Low { register, value } => lower[usize::from(register)] = Some(value),
                Op::High { register, value } => {
                    let word = lower[usize::from(register)]
                        .map(|low| u32::from(value) << 16 | u32::from(low));
                    body.references.extend(word);
                }
                Op::Literal(place) => {
                    let word = self.bytes(place).map(u32::from_le_bytes);
                    body.references.extend(word);
                }
                _ => {}
            }
            at += instruction.size;
        }
    }

    /// The function that a word points to.
    fn pointed(&self, word: u32) -> Option<u32> {
        let function = word & !1;
        (word & 1 == 1 && self.functions.contains_key(&function)).then_some(function)
    }

    /// Whether the word at an address can be one value of a constant: where these are known, a word that none of
    /// them holds whole is made of several, of the end of a text and what is behind it for instance.
    fn is_value(&self, at: u32) -> bool {
        let mut parts = (self.constants.iter())
            .filter(|&&(start, end)| start < at + 4 && at < end)
            .peekable();
        parts.peek().is_none()
            || parts.any(|&(start, end)| start.is_multiple_of(4) && start <= at && at + 4 <= end)
    }

    /// Pointers to functions in the table at an address, with where they are. The table of a trait object
    /// starts with three words of another kind, or two behind a pointer.
    fn table(&self, address: u32) -> Vec<(u32, u32)> {
        const HEADER: usize = 4;
        let is_table = |(start, data): &&(u32, &[u8])| {
            address.is_multiple_of(4) && (*start..*start + data.len() as u32).contains(&address)
        };
        if self.tables.iter().find(is_table).is_none() {
            return Vec::new();
        }
        (address..)
            .step_by(4)
            .map_while(|at| Some((at, self.pointed(u32::from_le_bytes(self.bytes(at)?)))))
            .enumerate()
            .take_while(|(index, (_, function))| *index < HEADER || function.is_some())
            .filter_map(|(_, (at, function))| Some((at, function?)))
            .collect()
    }
}

/// What a function does, as far as the depth of the stack depends on it.
#[derive(Default)]
struct Body {
    /// Most bytes that it takes itself.
    depth: i32,
    /// Whom it calls or jumps to, at which depth.
    calls: BTreeSet<(i32, Callee)>,
    /// Words that it makes, which may be addresses.
    references: BTreeSet<u32>,
    returns: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Callee {
    Function(u32),
    Pointer,
}

/// Who calls whom, and the deepest chain from each function on.
struct Graph<'a> {
    image: &'a Image<'a>,
    bodies: &'a BTreeMap<u32, Body>,
    /// By function: those whose addresses it takes, without writers.
    taken: BTreeMap<u32, BTreeSet<u32>>,
    /// By function: the writers whose addresses it takes.
    writers: BTreeMap<u32, BTreeSet<u32>>,
    deepest: BTreeMap<Place, Deepest>,
}

/// A function, and whether the panic handler is running.
type Place = (u32, bool);

/// The deepest chain from a function on.
#[derive(Clone, Copy, Default)]
struct Deepest {
    bytes: i32,
    /// Most bytes to a call through a pointer, over direct calls.
    to_pointer: Option<i32>,
    /// The writer that is charged for besides.
    writer: Option<u32>,
    /// Depth at which the next function is entered, and how; `None` at the end of the chain.
    next: Option<(i32, u32, Entry)>,
}

impl<'a> Graph<'a> {
    fn new(image: &'a Image<'a>, bodies: &'a BTreeMap<u32, Body>) -> Result<Self> {
        let mut graph = Self {
            image,
            bodies,
            taken: BTreeMap::new(),
            writers: BTreeMap::new(),
            deepest: BTreeMap::new(),
        };
        let mut claimed = BTreeSet::new();
        for (&function, body) in bodies {
            let mut found: Vec<u32> = Vec::new();
            for &word in &body.references {
                found.extend(image.pointed(word));
                for (at, target) in image.table(word) {
                    claimed.insert(at);
                    found.push(target);
                }
            }
            for target in found {
                let name = image.name(target);
                let is_writer = name.contains("fmt::Write>::") || name.contains("fmt::Write::");
                let set = match is_writer {
                    true if name.ends_with("::write_fmt") => continue,
                    true => &mut graph.writers,
                    false => &mut graph.taken,
                };
                set.entry(function).or_default().insert(target);
            }
        }
        for &(start, data) in &image.tables {
            for (index, word) in data.chunks_exact(4).enumerate() {
                let word = u32::from_le_bytes(word.try_into().expect("four bytes"));
                let at = start + 4 * index as u32;
                if let Some(function) = image.pointed(word)
                    && !claimed.contains(&at)
                    && image.is_value(at)
                {
                    return Err(Error::new(format!(
                        "{}: its address is in a table at {at:#x} that no code loads, so anyone may call it",
                        image.name(function)
                    )));
                }
            }
        }
        Ok(graph)
    }

    fn is_panic_handler(&self, function: u32) -> bool {
        self.image.name(function).ends_with("rust_begin_unwind")
    }

    /// Finds the deepest chain from a function on; `path` are the functions that have led there.
    fn find(&mut self, place: Place, path: &mut Vec<Place>) -> Result<Deepest> {
        let (function, handling) = place;
        if let Some(&known) = self.deepest.get(&place) {
            return Ok(known);
        }
        let Some(body) = self.bodies.get(&function) else {
            let caller = path
                .last()
                .map_or("the image", |&(caller, _)| self.image.name(caller));
            return Err(Error::new(format!(
                "{caller} calls {function:#x}, where no function starts"
            )));
        };
        if let Some(start) = path.iter().position(|&earlier| earlier == place) {
            let names: Vec<_> = path[start..]
                .iter()
                .map(|&(f, _)| self.image.name(f))
                .collect();
            return Err(Error::new(format!(
                "{} calls itself: {}",
                self.image.name(function),
                names.join(" -> ")
            ))
            .hint("a bound on the stack needs an end to every chain of calls"));
        }
        if handling && self.is_panic_handler(function) {
            return Ok(Deepest::default());
        }
        path.push(place);
        let handling = handling || self.is_panic_handler(function);
        let mut found = Deepest {
            bytes: body.depth,
            ..Deepest::default()
        };
        for &(depth, callee) in &body.calls {
            let to_pointer = match callee {
                Callee::Pointer => Some(depth),
                Callee::Function(target) => {
                    let further = self.find((target, handling), path)?;
                    found.extend(depth, target, Entry::Direct, &further);
                    further.to_pointer.map(|further| depth + further)
                }
            };
            found.to_pointer = found.to_pointer.max(to_pointer);
        }
        if let Some(depth) = found.to_pointer {
            for target in self.taken.get(&function).cloned().unwrap_or_default() {
                let further = self.find((target, handling), path)?;
                found.extend(depth, target, Entry::Pointer, &further);
            }
            let mut most = 0;
            for writer in self.writers.get(&function).cloned().unwrap_or_default() {
                let bytes = self.find((writer, handling), path)?.bytes;
                if bytes > most {
                    most = bytes;
                    found.writer = Some(writer);
                }
            }
            found.bytes += most;
        }
        path.pop();
        self.deepest.insert(place, found);
        Ok(found)
    }

    /// The deepest chain from a function on.
    fn chain(&mut self, root: u32) -> Result<Chain> {
        self.find((root, false), &mut Vec::new())?;
        let mut frames = Vec::new();
        self.collect((root, false), Entry::Direct, &mut frames);
        Ok(Chain {
            bytes: frames.iter().map(|frame| frame.bytes).sum(),
            frames,
        })
    }

    fn collect(&self, place: Place, entry: Entry, frames: &mut Vec<Frame>) {
        // What is not there is the panic handler, entered again.
        let Some(found) = self.deepest.get(&place) else {
            return;
        };
        let (function, handling) = place;
        let handling = handling || self.is_panic_handler(function);
        let writer = found.writer.map(|writer| (writer, handling));
        let own = match found.next {
            Some((depth, _, _)) => depth,
            None => found.bytes - writer.map_or(0, |writer| self.deepest[&writer].bytes),
        };
        frames.push(Frame {
            function: String::from(self.image.name(function)),
            bytes: own as u32,
            entry,
        });
        if let Some(writer) = writer {
            self.collect(writer, Entry::Writer, frames);
        }
        if let Some((_, target, entry)) = found.next {
            self.collect((target, handling), entry, frames);
        }
    }
}

impl Deepest {
    /// Takes a call into account: at which depth, of which function, and what that needs.
    fn extend(&mut self, depth: i32, target: u32, entry: Entry, further: &Deepest) {
        let bytes = depth + further.bytes;
        if bytes > self.bytes {
            self.bytes = bytes;
            self.next = Some((depth, target, entry));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where functions of the tests start, one behind the other.
    const STEP: u32 = 0x20;
    /// Where constants of the tests are.
    const CONSTANTS: u32 = 0x8000;

    const PUSH_R7_LR: u16 = 0xb580;
    const POP_R7_PC: u16 = 0xbd80;
    const BX_LR: u16 = 0x4770;
    const BLX_R3: u16 = 0x4798;
    const UDF: u16 = 0xde00;

    const fn sub_sp(bytes: u16) -> u16 {
        0xb080 + bytes / 4
    }

    /// A call, or with `0x9000` as its kind a jump, that is the half-word `index` of function `from`.
    fn branch(kind: u16, from: u32, index: u32, to: u32) -> [u16; 2] {
        let distance = (to * STEP).wrapping_sub(from * STEP + 2 * index + 4);
        let sign = (distance >> 31) as u16;
        let high = (distance >> 12 & 0x3ff) as u16;
        [
            0xf000 | sign << 10 | high,
            kind | 0x2800 | (distance >> 1 & 0x7ff) as u16,
        ]
    }

    fn call(from: u32, index: u32, to: u32) -> [u16; 2] {
        branch(0xd000, from, index, to)
    }

    /// Puts an address below 64 kB into r3.
    fn load_r3(address: u32) -> [u16; 4] {
        let [i, three, eight] =
            [address >> 11 & 1, address >> 8 & 7, address & 0xff].map(|x| x as u16);
        let four = (address >> 12) as u16;
        [
            0xf240 | i << 10 | four,
            three << 12 | 3 << 8 | eight,
            0xf2c0,
            3 << 8,
        ]
    }

    /// The report on an image of these functions, of which the first one is where everything starts.
    fn run(functions: &[(&str, &[u16])], constants: &[u32]) -> Result<StackReport> {
        run_with(functions, constants, &[])
    }

    /// As [`run`], of an image that names its constants: start and end of each, in bytes.
    fn run_with(
        functions: &[(&str, &[u16])],
        constants: &[u32],
        parts: &[(u32, u32)],
    ) -> Result<StackReport> {
        let mut code = Vec::new();
        let mut image = Image {
            sections: Vec::new(),
            tables: Vec::new(),
            constants: Vec::new(),
            functions: BTreeMap::new(),
            roots: BTreeMap::from([("Reset", 0)]),
            mapping: BTreeMap::from([(0, true)]),
            fault_room: 0,
        };
        for (name, halves) in functions {
            let start = code.len() as u32;
            code.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
            let end = code.len() as u32;
            code.resize((start + STEP) as usize, 0);
            image.functions.insert(
                start,
                Function {
                    name: name.to_string(),
                    end,
                },
            );
        }
        let constants: Vec<u8> = constants
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        image.sections = vec![(0, &code), (CONSTANTS, &constants)];
        image.tables = vec![(CONSTANTS, &constants)];
        let part = |&(start, end)| (CONSTANTS + start, CONSTANTS + end);
        image.constants = parts.iter().map(part).collect();
        report(&image)
    }

    /// Bytes of an image without those of a fault.
    fn bytes(functions: &[(&str, &[u16])], constants: &[u32]) -> u32 {
        run(functions, constants).unwrap().program.bytes - EXCEPTION_BYTES
    }

    fn names(report: &StackReport) -> Vec<(&str, u32, Entry)> {
        let frames = report.program.frames.iter();
        frames
            .map(|frame| (frame.function.as_str(), frame.bytes, frame.entry))
            .collect()
    }

    #[test]
    fn depths_are_those_at_the_calls_on_the_deepest_path() {
        let [a, b] = call(0, 2, 1);
        let [c, d] = branch(0x9000, 1, 2, 2);
        let functions: [(&str, &[u16]); 3] = [
            ("Reset", &[PUSH_R7_LR, sub_sp(16), a, b, 0xb004, POP_R7_PC]),
            // Gives its frame back before it jumps.
            ("middle", &[PUSH_R7_LR, 0xbc80, c, d]),
            ("last", &[PUSH_R7_LR, sub_sp(40), 0xb00a, POP_R7_PC]),
        ];
        let report = run(&functions, &[]).unwrap();
        let expected = [
            ("Reset", 24, Entry::Direct),
            ("middle", 4, Entry::Direct),
            ("last", 48, Entry::Direct),
        ];
        assert_eq!(names(&report)[..3], expected);
        assert_eq!(report.program.bytes, 76 + EXCEPTION_BYTES);
    }

    #[test]
    fn a_call_that_never_returns_ends_a_path_and_a_condition_makes_two() {
        let [a, b] = call(0, 2, 1);
        // What stands behind the call would take stack, were it reached.
        let functions: [(&str, &[u16]); 2] = [
            ("Reset", &[0xb100, PUSH_R7_LR, a, b, sub_sp(256), UDF]),
            ("never", &[sub_sp(8), UDF]),
        ];
        assert_eq!(bytes(&functions, &[]), 16);
        // it ne; pop {r7, pc} if so; sub sp, #32 if not
        let functions: [(&str, &[u16]); 1] =
            [("Reset", &[PUSH_R7_LR, 0xbf18, POP_R7_PC, sub_sp(32), UDF])];
        assert_eq!(bytes(&functions, &[]), 40);
        // mov r4, sp; bfc r4, #0, #4; mov sp, r4
        let functions: [(&str, &[u16]); 1] =
            [("Reset", &[PUSH_R7_LR, 0x466c, 0xf36f, 0x0403, 0x46a5, UDF])];
        assert_eq!(bytes(&functions, &[]), 8 + 12);
    }

    #[test]
    fn what_has_no_bound_or_is_not_understood_is_an_error() {
        let [a, b] = call(0, 0, 1);
        let [c, d] = call(1, 1, 0);
        let circle: [(&str, &[u16]); 2] = [
            ("Reset", &[a, b, BX_LR]),
            ("other", &[PUSH_R7_LR, c, d, POP_R7_PC]),
        ];
        let error = run(&circle, &[]).unwrap_err();
        assert_eq!(error.message(), "Reset calls itself: Reset -> other");

        for (code, text) in [
            (
                &[PUSH_R7_LR, 0xe7fd][..],
                "a loop that takes more and more stack",
            ),
            (
                &[0x4485, BX_LR],
                "an instruction that is not understood at 0x0",
            ),
            (
                &[0xbf00, 0x46a5, BX_LR],
                "a stack pointer from elsewhere at 0x2",
            ),
            (&[PUSH_R7_LR, 0xe400], "where no function starts"),
        ] {
            let error = run(&[("Reset", code)], &[]).unwrap_err();
            assert!(error.message().contains(text), "{error}");
        }
    }

    #[test]
    fn a_panic_in_the_panic_handler_is_not_counted() {
        let [a, b] = call(0, 0, 1);
        let [c, d] = call(1, 1, 2);
        let [e, f] = call(2, 1, 1);
        let functions: [(&str, &[u16]); 3] = [
            ("Reset", &[a, b]),
            ("rust_begin_unwind", &[sub_sp(32), c, d, UDF]),
            ("checks", &[sub_sp(16), e, f]),
        ];
        assert_eq!(bytes(&functions, &[]), 48);
    }

    #[test]
    fn pointers_are_called_by_who_takes_them_or_by_what_that_calls() {
        let [m, n, o, p] = load_r3(3 * STEP + 1);
        let [a, b] = call(0, 6, 1);
        let [c, d] = call(2, 0, 1);
        let calls_pointer: &[u16] = &[sub_sp(64), BLX_R3, 0xb010, BX_LR];
        let leaf: &[u16] = &[sub_sp(100), 0xb019, BX_LR];
        let functions: [(&str, &[u16]); 4] = [
            ("Reset", &[sub_sp(8), m, n, o, p, 0xbf00, a, b, UDF]),
            ("calls", calls_pointer),
            ("bystander", &[c, d, UDF]),
            ("leaf", leaf),
        ];
        let report = run(&functions, &[]).unwrap();
        let expected = [
            ("Reset", 8 + 64, Entry::Direct),
            ("leaf", 100, Entry::Pointer),
        ];
        assert_eq!(names(&report)[..2], expected);

        // The same by a table of a trait object: one that nobody loads would be anybody's.
        let table = [0, 8, 4, 3 * STEP + 1, 77];
        let [m, n, o, p] = load_r3(CONSTANTS);
        let mut functions = functions;
        let reset: &[u16] = &[sub_sp(8), m, n, o, p, 0xbf00, a, b, UDF];
        functions[0].1 = reset;
        assert_eq!(bytes(&functions, &table), 172);
        functions[0].1 = &[UDF];
        let error = run(&functions, &table).unwrap_err();
        assert!(error.message().contains("leaf"), "{error}");
        // The fourth word is one of a table; is the end of a text and what is behind it; is both, since constants
        // may be merged; is in no constant.
        for (parts, is_pointer) in [
            (&[(0, 20)][..], true),
            (&[(1, 14), (16, 20)], false),
            (&[(1, 14), (8, 16)], true),
            (&[(0, 12), (16, 20)], true),
        ] {
            let result = run_with(&functions, &table, parts);
            assert_eq!(result.is_err(), is_pointer, "{parts:?}");
        }
    }

    #[test]
    fn a_writer_counts_on_top_of_the_deepest_formatter() {
        let [m, n, o, p] = load_r3(CONSTANTS);
        let [a, b] = call(0, 6, 1);
        let [q, r, s, t] = load_r3(2 * STEP + 1);
        let reset: &[u16] = &[sub_sp(8), m, n, o, p, 0xbf00, a, b, UDF];
        let format: &[u16] = &[q, r, s, t, BLX_R3, BX_LR];
        let functions: [(&str, &[u16]); 5] = [
            ("Reset", reset),
            ("format", format),
            ("number", &[sub_sp(100), BLX_R3, 0xb019, BX_LR]),
            (
                "<Line as core::fmt::Write>::write_str",
                &[sub_sp(48), 0xb00c, BX_LR],
            ),
            (
                "<Line as core::fmt::Write>::write_fmt",
                &[sub_sp(400), 0xb064, BX_LR],
            ),
        ];
        let table = [0, 8, 4, 3 * STEP + 1, 4 * STEP + 1];
        let report = run(&functions, &table).unwrap();
        let expected = [
            ("Reset", 8, Entry::Direct),
            ("<Line as core::fmt::Write>::write_str", 48, Entry::Writer),
            ("format", 0, Entry::Direct),
            ("number", 100, Entry::Pointer),
        ];
        assert_eq!(names(&report)[..4], expected);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        analyse(b"text").unwrap_err();
    }
}
