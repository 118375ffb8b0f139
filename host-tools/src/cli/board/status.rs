//! What the processing elements of a board do.

use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use bsp::protocol::Processor;
use bsp::record::{Record, Status};
use bsp::specification::Image;
use s2_hal::topology::PeId;
use serde_json::{Value, json};

use super::Json;
use crate::cli::print;
use crate::error::Result;
use crate::link::{Client, Observer};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Go on with a line for everything that changes, until Ctrl-C
    #[arg(long)]
    pub(super) watch: bool,
}

/// The PEs that hold programs: a line for each.
pub(super) fn overview(client: &mut Client) -> Result<(String, Value)> {
    let all = client.overview()?;
    let (mut text, mut values, mut held) = (String::new(), Vec::new(), 0);
    for one in &all {
        if matches!(one.status, None | Some(Status::NotStarted)) {
            held += usize::from(one.processor == Processor::Held);
            continue;
        }
        let (processor, record) = client.state(one.pe)?;
        text.push_str(&format!("{}\n", line(processor, &record)));
        values.push(value(processor, one.pe, &record));
    }
    let others = all.len() - values.len();
    text.push_str(&format!(
        "{others} PEs hold no program; of these {held} are held\n"
    ));
    let value = json!({ "pes": values, "without_program": others, "held": held });
    Ok((text, value))
}

fn line(processor: Processor, record: &Record) -> String {
    match processor {
        Processor::Running => record.to_string(),
        Processor::Held => format!("{record} (held)"),
    }
}

fn value(processor: Processor, pe: u8, record: &Record) -> Value {
    json!({
        "pe": pe,
        "processor": match processor {
            Processor::Running => "running",
            Processor::Held => "held",
        },
        "program": Image::from_word(record.image).map(Image::name),
        "status": record.status().map(|status| format!("{status:?}")),
        "run": record.run,
        "step": record.step,
        "text": record.to_string(),
    })
}

/// All of a PE's record.
pub(super) fn log(client: &mut Client, pe: PeId) -> Result<(String, Value)> {
    let (processor, record) = client.state(pe.noc_id())?;
    let mut text = format!("{}\n", line(processor, &record));
    let numbers = [
        ("stack_used", record.stack_used),
        ("heap_used", record.heap_used),
        ("ring_peak", record.ring_peak),
        ("ring_dropped", record.ring_dropped),
        ("sleeps", record.sleeps),
        ("phase", record.phase),
    ];
    let mut value = value(processor, pe.noc_id(), &record);
    if record.status().is_some() {
        let units = ["bytes", "bytes", "words", "packets", "", ""];
        for ((name, number), unit) in numbers.into_iter().zip(units) {
            let name = name.replace('_', " ");
            text.push_str(format!("{name:<14}{number:>8} {unit}").trim_end());
            text.push('\n');
        }
        if !record.text().is_empty() {
            text.push_str(&format!("{}\n", record.text().trim_end()));
        }
        for (name, number) in numbers {
            value[name] = number.into();
        }
        value["message"] = record.text().into();
    }
    Ok((text, value))
}

/// Hands records on.
struct Watcher(Sender<Record>);

impl Observer for Watcher {
    fn expected(&mut self, _bytes: usize) {}
    fn transferred(&mut self, _bytes: usize) {}

    fn changed(&mut self, record: &Record) {
        // The other end lives as long as the client.
        let _ = self.0.send(*record);
    }

    fn note(&mut self, text: &str) {
        eprintln!("{text}");
    }
}

/// Shows the overview, then what changes, until the process is ended. With `--json -` each record is a line.
pub(super) fn watch(
    client: &mut Client,
    (text, first): (String, Value),
    json: Json<'_>,
) -> Result<ExitCode> {
    let as_json = matches!(json, Json::Output);
    if as_json {
        print(format!("{first}\n").as_bytes())?;
    } else {
        json.write(&format!("{first:#}\n"))?;
        print(text.as_bytes())?;
    }
    let (sender, records) = channel();
    client.observe(Box::new(Watcher(sender)));
    client.subscribe(true)?;
    loop {
        client.listen(Duration::from_millis(200))?;
        for record in records.try_iter() {
            let shown = match as_json {
                true => value(Processor::Running, record.id as u8, &record).to_string(),
                false => record.to_string(),
            };
            print(format!("{shown}\n").as_bytes())?;
        }
    }
}
