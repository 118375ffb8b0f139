//! A board's memory, by address.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use super::{address, number};
use crate::error::{Error, Result};
use crate::link::Client;
use crate::report::{check_writable, hex, write_file};

/// Most bytes that are shown as text.
const SHOWN_BYTES: u32 = 64 * 1024;

#[derive(clap::Args)]
pub(super) struct Write {
    /// First address, a multiple of 4
    #[arg(value_name = "ADDRESS", value_parser = address)]
    address: u32,
    /// Words (decimal, or hexadecimal with 0x), or a file whose bytes are written
    #[arg(value_name = "FILE|WORD", required = true)]
    what: Vec<String>,
    /// Write also where there is no memory; what that does is up to the hardware
    #[arg(long)]
    unlock: bool,
}

#[derive(clap::Args)]
pub(super) struct Read {
    /// First address, a multiple of 4
    #[arg(value_name = "ADDRESS", value_parser = address)]
    address: u32,
    /// Bytes, a multiple of 4
    #[arg(value_name = "LENGTH", value_parser = number)]
    length: u32,
    /// File to write the bytes to, instead of showing them
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Read also where there is no memory; what that does is up to the hardware
    #[arg(long)]
    unlock: bool,
}

/// The bytes that are to be written.
fn content(what: &[String]) -> Result<Vec<u8>> {
    let words: std::result::Result<Vec<_>, _> = what.iter().map(|word| number(word)).collect();
    match (words, what) {
        (Ok(words), _) => Ok(words.into_iter().flat_map(u32::to_le_bytes).collect()),
        (Err(_), [file]) => {
            let path = Path::new(file);
            let bytes = std::fs::read(path).map_err(|error| {
                Error::io("read", path, &error).hint("a file, or words such as 17 or 0xcafebabe")
            })?;
            if bytes.len() % 4 != 0 {
                return Err(Error::new(format!(
                    "{} bytes; only whole words of 4 bytes can be written",
                    bytes.len()
                ))
                .at(file));
            }
            Ok(bytes)
        }
        (Err(error), _) => Err(Error::new(error).at(what.join(" "))),
    }
}

pub(super) fn write(client: &mut Client, args: &Write) -> Result<(String, Value)> {
    let bytes = content(&args.what)?;
    if args.unlock {
        client.unlock()?;
    }
    client.announce(bytes.len());
    let started = Instant::now();
    client.write(args.address, &bytes)?;
    Ok(done("written to", args.address, bytes.len(), started))
}

pub(super) fn read(client: &mut Client, args: &Read) -> Result<(String, Value)> {
    match &args.out {
        Some(path) => check_writable(path)?,
        None if args.length > SHOWN_BYTES => {
            return Err(Error::new(format!(
                "{} bytes are too many to be shown; at most {SHOWN_BYTES} are",
                args.length
            ))
            .at("LENGTH")
            .hint("--out FILE"));
        }
        None => {}
    }
    if args.unlock {
        client.unlock()?;
    }
    let mut bytes = vec![0; args.length as usize];
    client.announce(bytes.len());
    let started = Instant::now();
    client.read(args.address, &mut bytes)?;
    let (text, mut value) = done("read from", args.address, bytes.len(), started);
    match &args.out {
        Some(path) => {
            write_file(path, &bytes)?;
            Ok((text, value))
        }
        None => {
            value["data"] = hex(&bytes).into();
            Ok((dump(args.address, &bytes), value))
        }
    }
}

fn done(what: &str, address: u32, bytes: usize, started: Instant) -> (String, Value) {
    let seconds = started.elapsed().as_secs_f64();
    let rate = bytes as f64 / seconds.max(1e-9);
    let text = format!(
        "{bytes} bytes {what} {address:#010x}, {:.1} kB/s\n",
        rate / 1e3
    );
    let value = json!({
        "address": address,
        "bytes": bytes,
        "seconds": seconds,
        "bytes_per_second": rate,
    });
    (text, value)
}

/// Four words on a line, behind their address, and as text.
fn dump(address: u32, bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, bytes) in bytes.chunks(16).enumerate() {
        let words: Vec<_> = bytes
            .chunks(4)
            .map(|word| {
                let word = word
                    .iter()
                    .rev()
                    .fold(0_u32, |w, &byte| w << 8 | u32::from(byte));
                format!("{word:08x}")
            })
            .collect();
        let shown = |&byte: &u8| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '.',
        };
        let letters: String = bytes.iter().map(shown).collect();
        let at = address.wrapping_add(16 * line as u32);
        text.push_str(&format!("{at:08x}  {:<35}  {letters}\n", words.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shown_as_words_with_the_low_byte_first() {
        let text = dump(
            0x2000_1000,
            b"\x01\x00\x00\x00abcd\xbe\xba\xfe\xca\x00\x00\x00\x00\x7f\0\0\0",
        );
        assert_eq!(
            text,
            "20001000  00000001 64636261 cafebabe 00000000  ....abcd........\n\
             20001010  0000007f                             ....\n"
        );
    }

    #[test]
    fn words_or_a_file_are_written() {
        let given =
            |what: &[&str]| content(&what.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(given(&["1", "0x203"]).unwrap(), [1, 0, 0, 0, 3, 2, 0, 0]);
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        std::fs::write(path, b"abcd").unwrap();
        assert_eq!(given(&[path]).unwrap(), b"abcd");
        std::fs::write(path, b"abcde").unwrap();
        let error = given(&[path]).unwrap_err().to_string();
        assert!(error.contains("5 bytes; only whole words"), "{error}");
        assert!(given(&["1", "x"]).is_err());
    }
}
