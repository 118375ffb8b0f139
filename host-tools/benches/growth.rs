//! How time and memory of training grow: `cargo bench -p host-tools --bench growth` measures anew, and writes
//! `docs/growth.csv` and `docs/growth.svg`.
//!
//! Each point is a process of its own, whose peak of memory the kernel tells, so this runs on Linux only. A
//! minibatch has 36 samples of Yin-Yang; networks have their initial weights, and one thread. All points are measured
//! several times, one sweep after the other, and the quickest counts: what else the machine does only adds to it.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use host_tools::backend::mock::Mock;
use host_tools::backend::{self, LayerWeights, Setup};
use host_tools::experiment::{BackendKind, Experiment, Scheme};
use host_tools::training::{Plan, State};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const BATCH: usize = 36;

const SWEEPS: u32 = 5;

/// What grows, and its sizes.
const SERIES: [(&str, &[u32]); 5] = [
    ("hidden neurons", &[10, 40, 120, 400, 1200, 4000]),
    ("inputs", &[5, 20, 80, 320, 1280, 4000]),
    ("hidden layers of 100", &[1, 2, 3, 4]),
    ("steps in 40 ms", &[20, 40, 80, 160, 320]),
    ("replicas of the mock", &[1, 4, 12, 36]),
];

/// The experiment of a point; the network is 5-200-3 unless its size is what grows.
fn experiment(series: &str, size: u32) -> Experiment {
    let mut e = Experiment::default_for(Scheme::Exact);
    e.dataset.train_size = BATCH;
    e.dataset.validation_size = 1;
    e.dataset.test_size = 1;
    e.backend.kind = BackendKind::Direct;
    e.backend.threads = Some(1);
    e.backend.replicas = 1;
    // Weights hardly move at this rate, so every round does the same work.
    e.optimizer.learning_rate = 1e-6;
    match series {
        "hidden neurons" => e.network.hidden = vec![size as usize],
        "hidden layers of 100" => e.network.hidden = vec![100; size as usize],
        "steps in 40 ms" => {
            e.network.steps = size;
            e.network.step_ms = 40.0 / f64::from(size);
        }
        "replicas of the mock" => {
            e.backend.kind = BackendKind::Mock;
            e.backend.replicas = size;
        }
        _ => (),
    }
    e
}

/// Splits each input into `copies`, which share its weight and whose spikes are spread over a step, so that
/// the neurons do about the same.
fn split_inputs(setup: &mut Setup, weights: &mut LayerWeights, copies: usize) {
    let network = &setup.experiment.network;
    let (tick_bits, steps) = (network.tick_bits, network.steps);
    for sample in &mut setup.sets.train {
        let events = std::mem::take(&mut sample.events);
        for copy in 0..copies {
            let delay = ((copy << tick_bits) / copies) as u32;
            sample.events.extend(events.iter().filter_map(|event| {
                let ticks = (u32::from(event.step) << tick_bits) + u32::from(event.offset) + delay;
                let mut event = *event;
                event.step = (ticks >> tick_bits) as u16;
                event.offset = (ticks & ((1 << tick_bits) - 1)) as u16;
                event.channel += (copy * weights.inputs) as u16;
                (u32::from(event.step) < steps).then_some(event)
            }));
        }
        sample.events.sort_unstable();
    }
    for weight in &mut weights.values {
        *weight /= copies as i32;
    }
    weights.values = weights.values.repeat(copies);
    weights.inputs *= copies;
    setup.dims[0] *= copies;
}

/// A row of the table.
struct Point {
    series: &'static str,
    size: u32,
    /// Of a minibatch with its update: the median over rounds, in the quickest sweep.
    milliseconds: f64,
    /// Per sample, of all layers.
    spikes: f64,
    /// Per sample: each spike times the neurons that it reaches.
    arrivals: f64,
    /// Most memory that the process ever had.
    peak_mib: f64,
    /// Bytes of arrays of the PE that has most of them; nothing if the network does not fit a chip.
    pe_bytes: Option<usize>,
}

impl Point {
    const HEAD: &str = "series,size,ms per minibatch,spikes per sample,\
        arrivals per sample,ns per arrival,peak MiB,bytes of arrays per PE\n";

    /// Measures in this process, which must not have done anything before.
    fn measure(series: &'static str, size: u32) -> Result<Self> {
        let plan = Plan::new(experiment(series, size)).map_err(|e| e.to_string())?;
        let (mut setup, mut weights) = (plan.setup(), State::new(&plan).weights);
        if series == "inputs" {
            let copies = size as usize / setup.dims[0];
            split_inputs(&mut setup, &mut weights[0], copies);
        }
        let dims = setup.dims.clone();
        let mut backend = backend::build(setup.clone()).map_err(|e| e.to_string())?;
        backend.set_weights(&weights).map_err(|e| e.to_string())?;
        let order: Vec<u32> = (0..BATCH as u32).collect();
        let mut round = || {
            let started = Instant::now();
            let tally = backend.train(&order, BATCH).map_err(|e| e.to_string())?;
            Ok::<_, String>((started.elapsed(), tally))
        };
        let (_, tally) = round()?;
        let mut times = Vec::new();
        while times.len() < 9 || times.iter().sum::<Duration>() < Duration::from_secs(1) {
            times.push(round()?.0);
        }
        times.sort_unstable();
        let peak_mib = peak_kib()? / 1024.0;
        let spikes = tally.spikes_per_sample();
        let reached = dims.iter().skip(1);
        Ok(Self {
            series,
            size,
            milliseconds: 1e3 * times[times.len() / 2].as_secs_f64(),
            spikes: spikes.iter().sum(),
            arrivals: spikes.iter().zip(reached).map(|(s, &n)| s * n as f64).sum(),
            peak_mib,
            pe_bytes: Mock::new(setup).ok().and_then(|mock| {
                let placements = mock.mapping().placements.iter();
                placements.map(|p| p.program.memory_bytes()).max()
            }),
        })
    }

    fn row(&self) -> String {
        let pe_bytes = self.pe_bytes.map_or_else(String::new, |b| b.to_string());
        format!(
            "{},{},{:.3},{:.1},{:.0},{:.2},{:.1},{pe_bytes}\n",
            self.series,
            self.size,
            self.milliseconds,
            self.spikes,
            self.arrivals,
            1e6 * self.milliseconds / BATCH as f64 / self.arrivals,
            self.peak_mib,
        )
    }

    /// Reads a [`row`](Self::row).
    fn read(row: &str) -> Result<Self> {
        let fields: Vec<_> = row.trim_end().split(',').collect();
        let number = |n: usize| fields[n].parse::<f64>();
        let series = SERIES.iter().find(|(name, _)| *name == fields[0]);
        Ok(Self {
            series: series.ok_or("a series")?.0,
            size: fields[1].parse()?,
            milliseconds: number(2)?,
            spikes: number(3)?,
            arrivals: number(4)?,
            peak_mib: number(6)?,
            pe_bytes: fields[7].parse().ok(),
        })
    }
}

/// Most memory that this process ever had.
fn peak_kib() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = line.and_then(|line| line.split_whitespace().next());
    Ok(peak.ok_or("no VmHWM")?.parse()?)
}

const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);
/// Colours that colour-blind people can tell apart (Okabe and Ito 2008).
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
];

fn font(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// Time, memory of the process, memory of a PE, over the size; both axes logarithmic.
fn plot(points: &[Point]) -> Result<String> {
    type Of = fn(&Point) -> Option<f64>;
    let panels: [(&str, Of); 3] = [
        ("time per minibatch (ms)", |p| Some(p.milliseconds)),
        ("peak memory of the process (MiB)", |p| Some(p.peak_mib)),
        ("arrays of the fullest PE (kB)", |p| {
            Some(p.pe_bytes? as f64 / 1e3)
        }),
    ];
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (1080, 400)).into_drawing_area();
        area.fill(&WHITE)?;
        let (top, below) = area.split_vertically(40);
        let mut x = 60;
        let left = font(14).pos(Pos::new(HPos::Left, VPos::Center));
        for ((name, _), colour) in SERIES.iter().zip(COLOURS) {
            top.draw(&PathElement::new(
                [(x, 20), (x + 20, 20)],
                colour.stroke_width(2),
            ))?;
            top.draw(&Circle::new((x + 10, 20), 3, colour.filled()))?;
            top.draw(&Text::new(*name, (x + 27, 21), left.clone()))?;
            x += 60 + 8 * name.len() as i32;
        }
        top.draw(&PathElement::new([(x, 26), (x + 20, 14)], INK.mix(0.4)))?;
        top.draw(&Text::new("linear", (x + 27, 21), left))?;
        for (panel, (what, of)) in below.split_evenly((1, 3)).iter().zip(panels) {
            draw(panel, what, points, of)?;
        }
        area.present()?;
    }
    Ok(text)
}

fn draw(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    what: &str,
    points: &[Point],
    of: fn(&Point) -> Option<f64>,
) -> Result<()> {
    let values = || points.iter().filter_map(of);
    let (low, high) = values().fold((f64::MAX, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
    let (low, high) = (low / 1.5, high * 1.5);
    let (first, last) = (1.0, 5000.0);
    let mut chart = ChartBuilder::on(area)
        .margin_right(18)
        .margin_bottom(8)
        .margin_left(4)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d((first..last).log_scale(), (low..high).log_scale())?;
    let number = |value: &f64| format!("{value}");
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_desc("number of what grows")
        .y_desc(what)
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .label_style(font(13))
        .axis_desc_style(font(14))
        .draw()?;
    // What is in proportion runs along these.
    for decade in -4..5 {
        let start = low * 10f64.powi(decade);
        let (from, to) = ((low / start).max(first), (high / start).min(last));
        if from < to {
            let line = [(from, start * from), (to, start * to)];
            chart.draw_series(LineSeries::new(line, INK.mix(0.2)))?;
        }
    }
    for ((name, _), colour) in SERIES.iter().zip(COLOURS) {
        let points = points.iter().filter(|p| p.series == *name);
        let line: Vec<_> = points
            .filter_map(|p| Some((f64::from(p.size), of(p)?)))
            .collect();
        let marks = line.iter().map(|&at| Circle::new(at, 3, colour.filled()));
        chart.draw_series(marks)?;
        chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [mode, series, size] = &arguments[..]
        && mode == "point"
    {
        let series = SERIES.iter().find(|(name, _)| name == series);
        let point = Point::measure(series.ok_or("a series")?.0, size.parse()?)?;
        print!("{}", point.row());
        return Ok(());
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("not run: measures only as a benchmark");
        return Ok(());
    }
    print!("{}", Point::HEAD);
    // With their rows, which hold what was not rounded twice.
    let mut quickest: Vec<(Point, String)> = Vec::new();
    for sweep in 0..SWEEPS {
        let all = SERIES
            .iter()
            .flat_map(|(series, sizes)| sizes.iter().map(move |size| (series, size)));
        for (place, (series, size)) in all.enumerate() {
            let output = Command::new(std::env::current_exe()?)
                .args(["point", series, &size.to_string()])
                .output()?;
            if !output.status.success() {
                let message = String::from_utf8_lossy(&output.stderr);
                return Err(format!("{series}, {size}: {message}").into());
            }
            let row = String::from_utf8(output.stdout)?;
            print!("{row}");
            let point = Point::read(&row)?;
            if sweep == 0 {
                quickest.push((point, row));
            } else if point.milliseconds < quickest[place].0.milliseconds {
                quickest[place] = (point, row);
            }
        }
    }
    let (points, rows): (Vec<_>, String) = quickest.into_iter().unzip();
    let table = Point::HEAD.to_owned() + &rows;
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    fs::write(docs.join("growth.csv"), table)?;
    fs::write(docs.join("growth.svg"), plot(&points)?)?;
    Ok(())
}
