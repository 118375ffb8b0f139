//! The state of a run as a file, from which it goes on with the same bits.
//!
//! Layout: the magic `EVPCKPT` and a zero byte, the format's version (`u32`), the length of the
//! content in bytes (`u64`), the content's SHA-256, the content in postcard's wire format. Numbers
//! are little-endian.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Plan, State};
use crate::error::{Error, Result};

/// Name of the file in the run's folder.
pub const FILE_NAME: &str = "checkpoint.bin";

const MAGIC: &[u8; 8] = b"EVPCKPT\0";
const VERSION: u32 = 2;
const HEADER: usize = 8 + 4 + 8 + 32;

/// A run's state with what it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Of the experiment: [`crate::experiment::Experiment::identity`].
    experiment: [u8; 32],
    /// SHA-256 of the encoded samples.
    samples: [u8; 32],
    /// The state.
    state: State,
}

impl Checkpoint {
    /// Writes a checkpoint, complete or not at all.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(path: &Path, plan: &Plan, state: &State) -> Result<()> {
        let checkpoint = Self {
            experiment: plan.experiment.identity(),
            samples: plan.samples_digest,
            state: state.clone(),
        };
        crate::report::write_file(path, &checkpoint.to_bytes()?)
    }

    /// Reads the state that a checkpoint holds for this plan.
    ///
    /// # Errors
    /// A file that cannot be read, is cut off or altered, or belongs to another experiment.
    pub fn read(path: &Path, plan: &Plan) -> Result<State> {
        let bytes = std::fs::read(path).map_err(|error| Error::io("read", path, &error))?;
        let place = path.display().to_string();
        let checkpoint = Self::from_bytes(&bytes).map_err(|error| error.at(place.clone()))?;
        if checkpoint.experiment != plan.experiment.identity() {
            return Err(Error::new("the checkpoint was made with other settings")
                .at(place)
                .hint("experiment.toml must be as the run left it; only [backend], epochs and minibatches may change"));
        }
        if checkpoint.samples != plan.samples_digest {
            return Err(Error::new("the checkpoint was made with other samples")
                .at(place)
                .hint("the data files have changed since"));
        }
        Ok(checkpoint.state)
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let content = postcard::to_stdvec(self)
            .map_err(|error| Error::new(format!("cannot encode the checkpoint: {error}")))?;
        let mut bytes = Vec::with_capacity(HEADER + content.len());
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((content.len() as u64).to_le_bytes());
        bytes.extend(Sha256::digest(&content));
        bytes.extend(content);
        Ok(bytes)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let cut_off = |expected: usize| {
            Error::new(format!(
                "the checkpoint is cut off: {} bytes of {expected}",
                bytes.len()
            ))
        };
        if bytes.len() < MAGIC.len() || !bytes.starts_with(MAGIC) {
            return Err(if MAGIC.starts_with(bytes) {
                cut_off(HEADER)
            } else {
                Error::new("not a checkpoint")
            });
        }
        let (header, content) = bytes
            .split_at_checked(HEADER)
            .ok_or_else(|| cut_off(HEADER))?;
        let version = u32::from_le_bytes(header[8..12].try_into().expect("four bytes"));
        if version != VERSION {
            return Err(Error::new(format!(
                "the checkpoint has version {version}; this program reads version {VERSION}"
            )));
        }
        let length = u64::from_le_bytes(header[12..20].try_into().expect("eight bytes"));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if content.len() < length {
            return Err(cut_off(length.saturating_add(HEADER)));
        }
        if content.len() > length || Sha256::digest(content)[..] != header[20..] {
            return Err(Error::new(
                "the checkpoint is altered: its checksum does not match",
            ));
        }
        postcard::from_bytes(content)
            .map_err(|error| Error::new(format!("the checkpoint cannot be decoded: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            experiment: [7; 32],
            samples: [9; 32],
            state: State {
                epoch: 3,
                minibatch: 14,
                train_seconds: 0.1,
                ..State::default()
            },
        }
    }

    #[test]
    fn a_damaged_file_is_told_apart() {
        let bytes = checkpoint().to_bytes().unwrap();
        assert_eq!(Checkpoint::from_bytes(&bytes).unwrap(), checkpoint());
        let message = |bytes: &[u8]| Checkpoint::from_bytes(bytes).unwrap_err().to_string();
        for cut in 0..bytes.len() {
            let text = message(&bytes[..cut]);
            assert!(
                text.starts_with("the checkpoint is cut off"),
                "{cut}: {text}"
            );
        }
        for at in HEADER..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 0x10;
            assert_eq!(
                message(&altered),
                "the checkpoint is altered: its checksum does not match"
            );
        }
        let mut newer = bytes.clone();
        newer[8] = 3;
        assert_eq!(
            message(&newer),
            "the checkpoint has version 3; this program reads version 2"
        );
        assert_eq!(message(b"PK\x03\x04 something"), "not a checkpoint");
    }

    proptest! {
        #[test]
        fn no_content_makes_the_decoder_panic(
            content in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            // A right checksum over wrong content, as another program's bug would make it.
            let mut bytes = MAGIC.to_vec();
            bytes.extend(VERSION.to_le_bytes());
            bytes.extend((content.len() as u64).to_le_bytes());
            bytes.extend(Sha256::digest(&content));
            bytes.extend(content);
            let _ = Checkpoint::from_bytes(&bytes);
        }
    }
}
