//! Flags that several commands share: which experiment, which backend, which port.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::experiment::{BackendKind, DEFAULT_BAUD, Experiment, Override, Routing};
use crate::link::client::Timing;
use crate::link::serial::ports;
use crate::link::{Client, Observer, Port};

/// A backend as a flag names it: its kind, and behind `board:` where the board is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backend {
    kind: &'static str,
    port: Option<String>,
}

impl std::str::FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port.to_owned())),
            None => (text, None),
        };
        let board = BackendKind::Board.name();
        match BackendKind::NAMES.iter().find(|known| **known == name) {
            Some(&kind) if port.is_none() || (kind == board && port.as_deref() != Some("")) => {
                Ok(Self { kind, port })
            }
            _ => Err(format!(
                "possible values: {}, or with its port {board}:/dev/ttyACM0, {board}:udp:127.0.0.1:17893",
                BackendKind::NAMES.join(", ")
            )),
        }
    }
}

/// What a flag that names a board puts in place of an experiment file's values.
pub(super) fn board(flag: &'static str, port: &str) -> Vec<Override> {
    vec![
        Override::new(flag, "backend.kind", BackendKind::Board.name()),
        Override::new(flag, "backend.port", port),
        // A board knows nothing else: the router's registers are not public.
        Override::new(flag, "backend.routing", Routing::Direct.name()),
    ]
}

/// Flags for the backend.
#[derive(clap::Args)]
pub(super) struct BackendFlags {
    /// What executes the network: `direct` (this process), `mock` (model of the chip), `emulated` (firmware on
    /// emulated processing elements; needs the feature `emulated`), or a board: `board:PORT` [default: mock]
    #[arg(long, value_name = "KIND")]
    pub(super) backend: Option<Backend>,
    /// Bits per second of a board's serial port [default: 115200]
    #[arg(long, value_name = "N")]
    pub(super) baud: Option<u32>,
}

impl BackendFlags {
    /// The flags as values in place of the file's.
    pub(super) fn overrides(&self) -> Vec<Override> {
        let mut overrides = match &self.backend {
            None => Vec::new(),
            Some(Backend { kind, port: None }) => {
                vec![Override::new("--backend", "backend.kind", *kind)]
            }
            Some(Backend {
                port: Some(port), ..
            }) => board("--backend", port),
        };
        let baud = self.baud.map(i64::from);
        overrides.extend(baud.map(|baud| Override::new("--baud", "backend.baud", baud)));
        overrides
    }
}

/// Flags for the network and its data; they must be the same for all that is done with a loaded board.
#[derive(clap::Args)]
pub(super) struct NetworkFlags {
    /// Neurons of each hidden layer, for instance 64,32
    #[arg(long, value_name = "N,N...", value_delimiter = ',')]
    hidden: Option<Vec<u32>>,
    /// Copies of the network that share a minibatch
    #[arg(long, value_name = "R")]
    replicas: Option<u32>,
}

impl NetworkFlags {
    /// The flags as values in place of the file's.
    pub(super) fn overrides(&self) -> Vec<Override> {
        let hidden = self.hidden.clone();
        let hidden = hidden.map(|hidden| Override::new("--hidden", "network.hidden", hidden));
        let replicas = self.replicas.map(i64::from);
        let replicas =
            replicas.map(|replicas| Override::new("--replicas", "backend.replicas", replicas));
        hidden.into_iter().chain(replicas).collect()
    }
}

/// Flags for the port of a board.
#[derive(clap::Args)]
pub(super) struct PortFlags {
    /// Serial port, or udp:HOST:PORT [default: the only serial port that there is]
    #[arg(long, value_name = "PORT", global = true)]
    port: Option<String>,
    /// Bits per second of a serial port
    #[arg(long, value_name = "N", default_value_t = DEFAULT_BAUD, global = true)]
    baud: u32,
}

impl PortFlags {
    /// The port.
    ///
    /// # Errors
    /// None was named, and there is none, or more than one.
    pub(super) fn port(&self) -> Result<String> {
        if let Some(port) = &self.port {
            return Ok(port.clone());
        }
        match &ports()[..] {
            [port] => Ok(port.clone()),
            [] => Err(
                Error::new("no serial port exists: is the board plugged in?")
                    .at("--port")
                    .hint("--port /dev/ttyACM0 or --port udp:127.0.0.1:17893"),
            ),
            several => Err(Error::new("which port? there is more than one")
                .at("--port")
                .hint(several.join(", "))),
        }
    }

    /// Connects to the board.
    ///
    /// # Errors
    /// Whatever is wrong with port or board.
    pub(super) fn connect(&self, observer: Box<dyn Observer>) -> Result<Client> {
        let transport = Port::new(&self.port()?, self.baud).open()?;
        Ok(Client::connect(transport, observer, Timing::default())?)
    }

    /// The flags as values in place of an experiment file's.
    ///
    /// # Errors
    /// As for [`port`](Self::port).
    pub(super) fn overrides(&self) -> Result<Vec<Override>> {
        let mut overrides = board("--port", &self.port()?);
        overrides.push(Override::new(
            "--baud",
            "backend.baud",
            i64::from(self.baud),
        ));
        Ok(overrides)
    }
}

/// Loads an experiment: a file (`None`: all defaults), and what flags put in its place.
pub(super) fn experiment(file: Option<&PathBuf>, overrides: &[&[Override]]) -> Result<Experiment> {
    Experiment::load(file.map(PathBuf::as_path), &overrides.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_have_ports_behind_a_colon() {
        let parse = |text: &str| text.parse::<Backend>().map(|b| (b.kind, b.port));
        assert_eq!(parse("mock"), Ok(("mock", None)));
        assert_eq!(parse("board"), Ok(("board", None)));
        let udp = Some("udp:127.0.0.1:17893".to_owned());
        assert_eq!(parse("board:udp:127.0.0.1:17893"), Ok(("board", udp)));
        for wrong in ["boat", "mock:1", "board:", ""] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains("board:/dev/ttyACM0"), "{wrong}: {error}");
        }
    }
}
