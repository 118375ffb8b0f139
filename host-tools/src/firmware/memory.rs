//! What of an image is loaded: as bytes, and as text that simulators and loaders of memory read.

use std::fmt::Write as _;

use object::{Object as _, ObjectSegment as _};

use crate::error::{Error, Result};

/// Bytes on a line.
const LINE: usize = 16;

/// Bytes that are loaded, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First address.
    pub address: u32,
    /// The bytes, at least one.
    pub bytes: Vec<u8>,
}

/// The segments of an image that are loaded.
///
/// Segments stand at their own (virtual) addresses: an image is loaded straight into memory, and nothing
/// copies a part of it elsewhere later. What is zero at the start is left out; start-up code sees to it.
///
/// # Errors
/// A file that is no ELF file.
pub fn segments(elf: &[u8]) -> Result<Vec<Segment>> {
    let wrong = |error: object::Error| Error::new(format!("not an ELF file: {error}"));
    let file = object::File::parse(elf).map_err(wrong)?;
    let mut segments = Vec::new();
    for segment in file.segments() {
        let bytes = segment.data().map_err(wrong)?;
        let address = u32::try_from(segment.address())
            .map_err(|_| Error::new("not an ELF file for a processor of 32 bits"))?;
        if !bytes.is_empty() {
            segments.push(Segment {
                address,
                bytes: bytes.to_vec(),
            });
        }
    }
    Ok(segments)
}

/// The [`segments`] as Verilog's `$readmemh` takes them: `@` and an address in front of each
/// segment, then its bytes in hexadecimal.
///
/// # Errors
/// A file that is no ELF file.
pub fn verilog(elf: &[u8]) -> Result<String> {
    let mut text = String::new();
    for segment in segments(elf)? {
        write_segment(&mut text, &segment);
    }
    Ok(text)
}

fn write_segment(text: &mut String, segment: &Segment) {
    writeln!(text, "@{:08X}", segment.address).expect("a string takes everything");
    for line in segment.bytes.chunks(LINE) {
        let digits: Vec<_> = line.iter().map(|byte| format!("{byte:02X}")).collect();
        text.push_str(&digits.join(" "));
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_its_address_and_lines_of_sixteen_bytes() {
        let bytes: Vec<u8> = (0xf0..=0xff).chain([1, 2]).collect();
        let mut text = String::new();
        let address = 0x8df0;
        write_segment(&mut text, &Segment { address, bytes });
        let expected = "@00008DF0\n\
                        F0 F1 F2 F3 F4 F5 F6 F7 F8 F9 FA FB FC FD FE FF\n\
                        01 02\n";
        assert_eq!(text, expected);
        verilog(b"no ELF file").unwrap_err();
    }
}
