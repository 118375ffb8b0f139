//! Firmware images: building them, and what they take of a PE's memory.
//!
//! | module | what it does |
//! |---|---|
//! | [`build`](mod@build) | runs cargo |
//! | [`stack`] | finds the most stack that an image can use |
//! | [`memory`] | writes images as text that simulators read |
//! | [`thumb`] | decodes instructions |

pub mod build;
pub mod memory;
pub mod stack;
pub mod thumb;

use std::fmt::Write as _;

use bsp::layout;
use eventprop_core::program::{input::Input, layer::Layer, loss::Loss, optimizer::Optimizer};
use object::{Object as _, ObjectSection as _};
use serde::Serialize;

use crate::error::{Error, Result};
use stack::StackReport;

/// What an image takes of the memory, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Name of the image.
    pub image: String,
    /// Vectors and code.
    pub text: u32,
    /// Constants.
    pub constants: u32,
    /// Statics that are loaded.
    pub data: u32,
    /// Statics that start-up code clears, the stack of the fault handler among them.
    pub bss: u32,
    /// From the start of the statics' region to the end of the last one.
    pub statics: u32,
    /// Most that the program takes from the start-up heap.
    pub heap: u32,
    /// Most stack.
    pub stack: u32,
    /// Most stack of the fault handler.
    pub fault_stack: u32,
    /// Stack that the fault handler has.
    pub fault_stack_room: u32,
}

/// Most bytes of the start-up heap that a program takes: its state and the receive ring. States are taken
/// as large as they are on this computer, whose pointers are not smaller than the chip's.
fn heap(image: &str) -> u32 {
    let state = match image {
        "input" => size_of::<Input>(),
        "layer" => size_of::<Layer>(),
        "loss" => size_of::<Loss>(),
        "optimizer" => size_of::<Optimizer>(),
        // The monitor and examples take nothing.
        _ => return 0,
    };
    (layout::HEAP_RING_BYTES + state) as u32
}

impl Sizes {
    /// The columns of tables: name and number.
    fn columns(&self) -> [(&'static str, u32); 7] {
        [
            ("text", self.text),
            ("constants", self.constants),
            ("data", self.data),
            ("bss", self.bss),
            ("heap", self.heap),
            ("stack", self.stack),
            ("fault", self.fault_stack),
        ]
    }

    /// What is more than the layout has room for.
    pub fn excesses(&self) -> Vec<String> {
        let budgets = [
            ("code", self.text, code_budget()),
            (
                "constants, statics and start-up heap",
                self.statics + self.heap,
                statics_budget(),
            ),
            ("stack", self.stack, stack_budget()),
            (
                "the fault handler's stack",
                self.fault_stack,
                self.fault_stack_room,
            ),
        ];
        budgets
            .into_iter()
            .filter(|(_, bytes, budget)| bytes > budget)
            .map(|(what, bytes, budget)| {
                format!(
                    "{}: {} bytes too many of {what}: {bytes} of {budget}",
                    self.image,
                    bytes - budget
                )
            })
            .collect()
    }
}

fn code_budget() -> u32 {
    layout::bytes(&layout::CODE) as u32
}

fn statics_budget() -> u32 {
    layout::bytes(&layout::STATICS) as u32
}

fn stack_budget() -> u32 {
    layout::bytes(&layout::STACK) as u32 - layout::STACK_GUARD_BYTES
}

/// Measures an image: its name, its ELF file, and what is known of its stack.
///
/// # Errors
/// A file that is none, or that puts something where the layout has no place for it.
pub fn measure(image: &str, elf: &[u8], stack: &StackReport) -> Result<Sizes> {
    use object::elf::{SHF_ALLOC, SHF_WRITE};
    let wrong = |error: object::Error| Error::new(format!("not an ELF file: {error}")).at(image);
    let file = object::File::parse(elf).map_err(wrong)?;
    let mut sizes = Sizes {
        image: image.to_owned(),
        text: 0,
        constants: 0,
        data: 0,
        bss: 0,
        statics: 0,
        heap: heap(image),
        stack: stack.program.bytes,
        fault_stack: stack.fault.as_ref().map_or(0, |chain| chain.bytes),
        fault_stack_room: stack.fault_room,
    };
    for section in file.sections() {
        let (start, size) = (section.address() as u32, section.size() as u32);
        let end = start + size;
        let object::SectionFlags::Elf { sh_flags } = section.flags() else {
            continue;
        };
        if sh_flags & u64::from(SHF_ALLOC) == 0 || size == 0 {
            continue;
        }
        if end <= layout::CODE.end {
            sizes.text = sizes.text.max(end - layout::CODE.start);
            continue;
        }
        if start < layout::STATICS.start || end > layout::STATICS.end {
            let name = section.name().map_err(wrong)?;
            return Err(Error::new(format!(
                "section {name} is at {start:#x} to {end:#x}, where it does not belong"
            ))
            .at(image));
        }
        sizes.statics = sizes.statics.max(end - layout::STATICS.start);
        *match section.kind() {
            object::SectionKind::UninitializedData => &mut sizes.bss,
            _ if sh_flags & u64::from(SHF_WRITE) != 0 => &mut sizes.data,
            _ => &mut sizes.constants,
        } += size;
    }
    Ok(sizes)
}

/// A table of all images with the room that there is.
pub fn table(sizes: &[Sizes]) -> String {
    let mut text = lines(sizes);
    let fault = sizes.iter().map(|sizes| sizes.fault_stack_room).min();
    let (code, statics, stack) = (code_budget(), statics_budget(), stack_budget());
    writeln!(
        text,
        "{:WIDTH$}{code:>11}{:>44}{stack:>11}{:>11}",
        "room",
        format!("|--------- {statics} in all ---------|"),
        fault.unwrap_or_default(),
    )
    .expect("a string takes everything");
    text
}

/// Width of the column of names.
const WIDTH: usize = 12;

/// An image a line below a line of headings.
fn lines(sizes: &[Sizes]) -> String {
    let mut text = format!("{:WIDTH$}", "image");
    let names = ["text", "constants", "data", "bss", "heap", "stack", "fault"];
    text.extend(names.map(|name| format!("{name:>11}")));
    text.push('\n');
    for sizes in sizes {
        text.push_str(&format!("{:WIDTH$}", sizes.image));
        text.extend(sizes.columns().map(|(_, bytes)| format!("{bytes:>11}")));
        text.push('\n');
    }
    text
}

/// First lines of the golden file.
const HEAD: &str = "\
# Bytes that the firmware images take; `fault` is the stack of the fault handler.
# After a change that is meant to alter them: cargo run --release -- firmware --update
";

/// The golden file of these sizes.
pub fn golden(sizes: &[Sizes]) -> String {
    format!("{HEAD}{}", lines(sizes))
}

/// Differences between a golden file and sizes, a line each; none if there is nothing to tell.
pub fn differences(golden: &str, sizes: &[Sizes]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rows = golden
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let headings = rows.next().unwrap_or_default();
    let mut rows: Vec<_> = rows.filter(|row| !row.is_empty()).collect();
    for sizes in sizes {
        let Some(index) = rows.iter().position(|row| row[0] == sizes.image) else {
            found.push(format!("{}: not in the file", sizes.image));
            continue;
        };
        let row = rows.remove(index);
        for (name, bytes) in sizes.columns() {
            let column = headings.iter().position(|&heading| heading == name);
            let before = column.and_then(|column| row.get(column)?.parse::<u32>().ok());
            match before {
                Some(before) if before == bytes => {}
                Some(before) => {
                    let change = i64::from(bytes) - i64::from(before);
                    found.push(format!(
                        "{}: {name} {before} -> {bytes} ({change:+})",
                        sizes.image
                    ));
                }
                None => found.push(format!("{}: {name} is not in the file", sizes.image)),
            }
        }
    }
    found.extend(
        rows.iter()
            .map(|row| format!("{}: in the file only", row[0])),
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(image: &str) -> Sizes {
        Sizes {
            image: image.to_owned(),
            text: 1000,
            constants: 200,
            data: 0,
            bss: 1060,
            statics: 1264,
            heap: 5000,
            stack: 700,
            fault_stack: 400,
            fault_stack_room: 1024,
        }
    }

    #[test]
    fn a_golden_file_agrees_with_what_it_was_made_from_and_tells_every_change() {
        let before = [sizes("layer"), sizes("loss")];
        let file = golden(&before);
        assert_eq!(differences(&file, &before), Vec::<String>::new());

        let changed = Sizes {
            text: 996,
            stack: 708,
            ..sizes("layer")
        };
        let after = [changed, sizes("monitor")];
        let expected = [
            "layer: text 1000 -> 996 (-4)",
            "layer: stack 700 -> 708 (+8)",
            "monitor: not in the file",
            "loss: in the file only",
        ];
        assert_eq!(differences(&file, &after), expected);
        let headless = file.replace("stack", "bottom");
        let expected = [
            "layer: stack is not in the file",
            "loss: stack is not in the file",
        ];
        assert_eq!(differences(&headless, &before), expected);
    }

    #[test]
    fn an_excess_names_the_image_and_the_bytes() {
        assert_eq!(sizes("layer").excesses(), Vec::<String>::new());
        let large = Sizes {
            text: 0x8004,
            statics: 24_000,
            stack: 4000,
            fault_stack: 1032,
            ..sizes("layer")
        };
        let expected = [
            "layer: 4 bytes too many of code: 32772 of 32768",
            "layer: 2376 bytes too many of constants, statics and start-up heap: 29000 of 26624",
            "layer: 160 bytes too many of stack: 4000 of 3840",
            "layer: 8 bytes too many of the fault handler's stack: 1032 of 1024",
        ];
        assert_eq!(large.excesses(), expected);
    }

    #[test]
    fn programs_and_the_largest_ring_on_the_heap_leave_room_for_statics() {
        for image in ["input", "layer", "loss", "optimizer"] {
            let heap = heap(image);
            assert!(
                heap > 0 && heap < statics_budget() / 4 * 3,
                "{image}: {heap}"
            );
        }
    }
}
