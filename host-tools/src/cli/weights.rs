//! `eventprop weights`: takes weights out of a run or a board, and puts them onto a board.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::bar::Bar;
use super::choice::{self, NetworkFlags};
use super::{Json, print};
use crate::backend::board::Board;
use crate::backend::{Backend as _, LayerWeights};
use crate::error::{Error, Result};
use crate::experiment::{DEFAULT_BAUD, Experiment, Override};
use crate::report::{self, arrays, write_file};
use crate::training::Plan;
use crate::training::checkpoint::{self, Checkpoint};

/// Take weights out of a run or a loaded board, or put them onto a loaded board
///
/// To start training with them: `eventprop train --weights FILE.npz`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  eventprop weights get runs/exact-seed1 --out weights.npz
  eventprop weights get runs/exact-seed1 --last --out last.npz
  eventprop weights get board:/dev/ttyACM0 --experiment my-experiment.toml --out weights.npz
  eventprop weights set weights.npz board:/dev/ttyACM0 --experiment my-experiment.toml")]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Get(Get),
    Set(Set),
}

/// Write the weights of a run or a board to a NumPy archive
#[derive(clap::Args)]
struct Get {
    /// Folder of a run, or board:PORT
    #[arg(value_name = "FOLDER|board:PORT")]
    from: String,
    /// Of a run, the weights after the last minibatch, not those that were selected
    #[arg(long)]
    last: bool,
    #[command(flatten)]
    board: BoardFlags,
    /// Archive to write
    #[arg(long, value_name = "FILE.npz", default_value = report::WEIGHTS)]
    out: PathBuf,
    /// Write shapes and digest as JSON to a file, or to the standard output (-)
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

/// Put the weights of a NumPy archive onto a loaded board
#[derive(clap::Args)]
struct Set {
    /// Archive with `layer1` [post][pre], `layer2`, ..., or `layer1_raw`, ... for exact bits
    #[arg(value_name = "FILE.npz")]
    file: PathBuf,
    /// Where the board is
    #[arg(value_name = "board:PORT")]
    to: String,
    #[command(flatten)]
    board: BoardFlags,
    /// Write shapes and digest as JSON to a file, or to the standard output (-)
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

/// What a board was loaded with.
#[derive(clap::Args)]
struct BoardFlags {
    /// Experiment file (TOML) that the board was loaded with [default: the Yin-Yang experiment]
    #[arg(long, value_name = "EXPERIMENT.toml")]
    experiment: Option<PathBuf>,
    #[command(flatten)]
    network: NetworkFlags,
    /// Bits per second of a board's serial port
    #[arg(long, value_name = "N", default_value_t = DEFAULT_BAUD)]
    baud: u32,
}

impl BoardFlags {
    fn plan(&self, port: &str) -> Result<Plan> {
        let mut board = choice::board("board:PORT", port);
        board.push(Override::new(
            "--baud",
            "backend.baud",
            i64::from(self.baud),
        ));
        let overrides = [&self.network.overrides()[..], &board];
        Plan::new(choice::experiment(self.experiment.as_ref(), &overrides)?)
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let (layers, text, json) = match &args.action {
        Action::Get(args) => {
            let json = Json::new(args.json.as_deref())?;
            report::check_writable(&args.out)?;
            let layers = match args.from.strip_prefix("board:") {
                Some(_) if args.last => {
                    return Err(Error::new("a board has one set of weights only").at("--last"));
                }
                Some(port) => attach(&args.board.plan(port)?)?.weights()?,
                None => of_run(Path::new(&args.from), args.last)?,
            };
            write_file(&args.out, &arrays::weights_npz(&layers)?)?;
            (layers, args.out.display().to_string(), json)
        }
        Action::Set(args) => {
            let json = Json::new(args.json.as_deref())?;
            let port = args.to.strip_prefix("board:").ok_or_else(|| {
                Error::new("weights can be put onto a board only, board:PORT")
                    .at(&args.to)
                    .hint("`eventprop train --weights FILE.npz` starts training with them")
            })?;
            let plan = args.board.plan(port)?;
            let layers = arrays::read_weights(&args.file, &plan.dims)?;
            attach(&plan)?.set_weights(&layers)?;
            (layers, args.to.clone(), json)
        }
    };
    let shapes: Vec<_> = layers.iter().map(|l| [l.neurons, l.inputs]).collect();
    let digest = arrays::weights_sha256(&layers);
    let summary = json!({ "shapes": shapes, "weights_sha256": digest });
    json.write(&format!("{summary:#}\n"))?;
    let text = format!("weights: {text}, [post][pre] {shapes:?}, SHA-256 {digest}\n");
    match json {
        Json::Output => eprint!("{text}"),
        _ => print(text.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn attach(plan: &Plan) -> Result<Board> {
    Board::attach(&plan.setup(), Bar::boxed(false, false))
}

/// The weights that a run has left.
fn of_run(folder: &Path, last: bool) -> Result<Vec<LayerWeights>> {
    let experiment = Experiment::load(Some(&folder.join(report::EXPERIMENT)), &[])?;
    let plan = Plan::new(experiment)?;
    match last {
        true => Ok(Checkpoint::read(&folder.join(checkpoint::FILE_NAME), &plan)?.weights),
        false => arrays::read_weights(&folder.join(report::WEIGHTS), &plan.dims),
    }
}
