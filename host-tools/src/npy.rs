//! Reading NumPy files from anywhere: nothing in them can ask for all memory or make the reader panic.

use std::io::{Cursor, Read};

use ndarray::ArrayD;
use ndarray_npy::npy::header::Header;
use ndarray_npy::{ReadNpyExt, ReadableElement};

use crate::error::{Error, Result};

/// Longest array file that is read, so that a damaged length cannot ask for all memory.
const MAX_BYTES: u64 = 1 << 32;
/// Longest header of an array file; NumPy's own are below 200 bytes.
const MAX_HEADER: usize = 4096;

/// The arrays of a NumPy archive (`.npz`).
pub(crate) struct Archive<'a> {
    zip: zip::ZipArchive<Cursor<&'a [u8]>>,
}

impl<'a> Archive<'a> {
    /// Opens the bytes of an archive.
    ///
    /// # Errors
    /// Bytes that are none.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self> {
        let zip = zip::ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
        Ok(Self { zip })
    }

    /// The bytes of an array, `None` if there is none of that name.
    ///
    /// # Errors
    /// A damaged archive.
    pub(crate) fn member(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let file_name = format!("{name}.npy");
        let zip = &mut self.zip;
        let Some(index) = zip
            .index_for_name(&file_name)
            .or_else(|| zip.index_for_name(name))
        else {
            return Ok(None);
        };
        let file = zip.by_index(index).map_err(broken)?;
        let mut content = Vec::new();
        file.take(MAX_BYTES)
            .read_to_end(&mut content)
            .map_err(|error| Error::new(format!("the array `{name}` cannot be read: {error}")))?;
        Ok(Some(content))
    }
}

fn broken(error: zip::result::ZipError) -> Error {
    Error::new(format!("not a NumPy archive (.npz): {error}"))
}

/// An array of numbers.
///
/// # Errors
/// Bytes that are no such array, with its `name`.
pub(crate) fn floats(bytes: &[u8], name: &str) -> Result<ArrayD<f64>> {
    match type_of(bytes, name)?.as_str() {
        "<f8" | ">f8" => decode::<f64>(bytes, name),
        "<f4" | ">f4" => Ok(decode::<f32>(bytes, name)?.mapv(f64::from)),
        other => Err(Error::new(format!(
            "`{name}` holds the type `{other}`; float64 or float32 is needed"
        ))),
    }
}

/// An array of whole numbers; those beyond an `i64` become its largest.
///
/// # Errors
/// Bytes that are no such array, with its `name`.
pub(crate) fn integers(bytes: &[u8], name: &str) -> Result<ArrayD<i64>> {
    let unsigned = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    match type_of(bytes, name)?.as_str() {
        "|u1" => Ok(decode::<u8>(bytes, name)?.mapv(i64::from)),
        "|i1" => Ok(decode::<i8>(bytes, name)?.mapv(i64::from)),
        "<u2" | ">u2" => Ok(decode::<u16>(bytes, name)?.mapv(i64::from)),
        "<i2" | ">i2" => Ok(decode::<i16>(bytes, name)?.mapv(i64::from)),
        "<u4" | ">u4" => Ok(decode::<u32>(bytes, name)?.mapv(i64::from)),
        "<i4" | ">i4" => Ok(decode::<i32>(bytes, name)?.mapv(i64::from)),
        "<u8" | ">u8" => Ok(decode::<u64>(bytes, name)?.mapv(unsigned)),
        "<i8" | ">i8" => decode::<i64>(bytes, name),
        other => Err(Error::new(format!(
            "`{name}` holds the type `{other}`; a whole-number type is needed"
        ))),
    }
}

/// Checks the header before anything is allocated by it, and gives the element type.
fn type_of(bytes: &[u8], name: &str) -> Result<String> {
    let broken = |what: &str| Error::new(format!("`{name}` is not a NumPy array: {what}"));
    // Magic (6 bytes), version (2), length of the header (2 bytes in version 1, else 4).
    let length = match bytes {
        [_, _, _, _, _, _, 1, _, a, b, ..] => usize::from(u16::from_le_bytes([*a, *b])),
        [_, _, _, _, _, _, _, _, a, b, c, d, ..] => {
            usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX)
        }
        _ => return Err(broken("the file is cut off")),
    };
    if length > MAX_HEADER {
        return Err(broken("the header is too long"));
    }
    // The header's parser recurses at brackets; no true header nests deeper than one tuple in a
    // dictionary, or a list of tuples for compound types.
    let header = &bytes[..bytes.len().min(length + 12)];
    if header
        .iter()
        .filter(|&&byte| matches!(byte, b'(' | b'[' | b'{'))
        .count()
        > 64
    {
        return Err(broken("the header is not a simple type"));
    }
    let mut rest = bytes;
    let header = Header::from_reader(&mut rest).map_err(|error| broken(&error.to_string()))?;
    let kind = header
        .type_descriptor
        .as_string()
        .ok_or_else(|| broken("compound types are not read"))?
        .clone();
    let size = kind
        .get(2..)
        .and_then(|digits| digits.parse::<usize>().ok());
    let expected = header
        .shape
        .iter()
        .try_fold(1_usize, |product, &extent| product.checked_mul(extent))
        .zip(size)
        .and_then(|(elements, size)| elements.checked_mul(size));
    match expected {
        Some(expected) if expected == rest.len() => Ok(kind),
        Some(expected) if size != Some(0) => Err(broken(&format!(
            "{} bytes of data; shape and type ask for {expected}",
            rest.len()
        ))),
        _ => Err(broken(&format!(
            "type `{kind}` or its shape is not supported"
        ))),
    }
}

fn decode<T: ReadableElement>(bytes: &[u8], name: &str) -> Result<ArrayD<T>> {
    ArrayD::read_npy(bytes)
        .map_err(|error| Error::new(format!("`{name}` is not a NumPy array: {error}")))
}
