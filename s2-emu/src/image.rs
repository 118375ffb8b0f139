//! Firmware as the linker leaves it: an ELF file.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSegment, ObjectSymbol, SymbolKind};
use s2_hal::topology::SRAM_BYTES;

/// What an ELF file says: bytes for the SRAM, and names for addresses.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    segments: Vec<(u32, Vec<u8>)>,
    symbols: Symbols,
}

/// Why a file is no firmware for a PE.
#[derive(Debug)]
pub enum ImageError {
    /// The file could not be read.
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no ELF file for a 32-bit ARM.
    Format {
        /// The program's name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Bytes that do not belong into the SRAM.
    Outside {
        /// The program's name.
        name: String,
        /// First address.
        address: u32,
        /// Number of bytes.
        length: usize,
    },
    /// Nothing is loaded to address 0, where the processor looks for its first instruction.
    NoVectors {
        /// The program's name.
        name: String,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, error } => write!(f, "cannot read {}: {error}", path.display()),
            Self::Format { name, reason } => write!(
                f,
                "{name} is no firmware: {reason}; an ELF file for thumbv7em-none-eabihf is needed"
            ),
            Self::Outside {
                name,
                address,
                length,
            } => write!(
                f,
                "{name} has {length} bytes for address {address:#010x}, but the SRAM has \
                 addresses below {SRAM_BYTES:#x}; is its link script one for a PE?"
            ),
            Self::NoVectors { name } => write!(
                f,
                "{name} has no vector table at address 0; is its link script one for a PE?"
            ),
        }
    }
}

impl std::error::Error for ImageError {}

impl Image {
    /// Reads an ELF file.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let bytes = std::fs::read(path).map_err(|error| ImageError::Read {
            path: path.to_owned(),
            error,
        })?;
        let name = path.file_stem().unwrap_or(path.as_os_str());
        Self::parse(&name.to_string_lossy(), &bytes)
    }

    /// Takes the bytes of an ELF file. `name` is the program's name in messages.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, ImageError> {
        let wrong = |reason: String| ImageError::Format {
            name: name.to_owned(),
            reason,
        };
        let file = object::File::parse(bytes).map_err(|error| wrong(error.to_string()))?;
        if file.architecture() != object::Architecture::Arm || !file.is_little_endian() {
            return Err(wrong(format!("it is for {:?}", file.architecture())));
        }
        let mut segments = Vec::new();
        for segment in file.segments() {
            let data = segment.data().map_err(|error| wrong(error.to_string()))?;
            if data.is_empty() {
                continue;
            }
            // A 32-bit file has no larger addresses.
            let address = segment.address() as u32;
            if u64::from(address) + data.len() as u64 > u64::from(SRAM_BYTES) {
                return Err(ImageError::Outside {
                    name: name.to_owned(),
                    address,
                    length: data.len(),
                });
            }
            segments.push((address, data.to_vec()));
        }
        if !segments
            .iter()
            .any(|(start, data)| *start == 0 && data.len() >= 8)
        {
            return Err(ImageError::NoVectors {
                name: name.to_owned(),
            });
        }
        Ok(Self {
            name: name.to_owned(),
            segments,
            symbols: Symbols::of(&file),
        })
    }

    /// A program of which only the name is known: somebody else writes it into the memory.
    pub(crate) fn unknown(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            segments: Vec::new(),
            symbols: Symbols {
                functions: Vec::new(),
                values: HashMap::new(),
            },
        }
    }

    /// The program's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Addresses and bytes for the SRAM. What lies between is zero.
    pub fn segments(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.segments
            .iter()
            .map(|(address, data)| (*address, &data[..]))
    }

    /// The word at an address.
    pub(crate) fn word(&self, address: u32) -> Option<u32> {
        self.segments().find_map(|(start, bytes)| {
            let offset = address.checked_sub(start)? as usize;
            let word = bytes.get(offset..offset + 4)?;
            Some(u32::from_le_bytes(word.try_into().ok()?))
        })
    }

    /// Names of addresses.
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }
}

/// Names of addresses.
#[derive(Clone, Debug)]
pub struct Symbols {
    /// Sorted by start.
    functions: Vec<Function>,
    values: HashMap<String, u32>,
}

#[derive(Clone, Debug)]
struct Function {
    start: u32,
    end: u32,
    name: String,
}

impl Symbols {
    fn of(file: &object::File<'_>) -> Self {
        let mut functions = Vec::new();
        let mut values = HashMap::new();
        for symbol in file.symbols() {
            let (Ok(name), address) = (symbol.name(), symbol.address() as u32) else {
                continue;
            };
            if symbol.kind() == SymbolKind::Text && symbol.size() > 0 {
                // Bit 0 says that the function is Thumb code.
                let start = address & !1;
                functions.push(Function {
                    start,
                    end: start + symbol.size() as u32,
                    // Without the hash that the compiler adds.
                    name: format!("{:#}", rustc_demangle::demangle(name)),
                });
            }
            values.insert(name.to_owned(), address);
        }
        functions.sort_by_key(|function| function.start);
        // Several names of one function.
        functions.dedup_by_key(|function| function.start);
        Self { functions, values }
    }

    /// The value of a symbol of the link script or the program.
    pub fn value(&self, name: &str) -> Option<u32> {
        self.values.get(name).copied()
    }

    /// Number of the function that `address` lies in, for [`Symbols::function_name`].
    pub(crate) fn function(&self, address: u32) -> Option<usize> {
        let behind = self.functions.partition_point(|f| f.start <= address);
        let index = behind.checked_sub(1)?;
        (address < self.functions[index].end).then_some(index)
    }

    /// Name of a function.
    pub(crate) fn function_name(&self, function: Option<usize>) -> &str {
        function.map_or("(no function)", |index| &self.functions[index].name)
    }

    /// `address` with the function that it lies in: `0x00000123 (module::function+0x1c)`.
    pub fn describe(&self, address: u32) -> String {
        match self.function(address) {
            Some(index) => {
                let function = &self.functions[index];
                let offset = address - function.start;
                format!("{address:#010x} ({}+{offset:#x})", function.name)
            }
            None => format!("{address:#010x} (no function)"),
        }
    }
}
