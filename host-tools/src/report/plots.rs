//! Plots of a run, as SVG.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::backend::{Backend, SpikeRecord};
use crate::dataset::{Dataset, encode, yin_yang};
use crate::error::{Error, Result};
use crate::experiment::BackendKind;
use crate::training::{EpochRecord, Outcome, Plan};

/// Colours of classes and curves that colour-blind people can tell apart (Okabe and Ito 2008).
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 110, 30),
];
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);
const FONT: &str = "sans-serif";

/// Cells of the decision map along each coordinate.
const MAP_CELLS: usize = 80;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws into an SVG text of the given size.
fn svg(
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> std::result::Result<(), Box<dyn std::error::Error>>,
) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE)
            .map_err(|error| error.to_string())
            .and_then(|()| draw(&area).map_err(|error| error.to_string()))
            .and_then(|()| area.present().map_err(|error| error.to_string()))
            .map_err(|error| Error::new(format!("cannot draw a plot: {error}")))?;
    }
    Ok(text)
}

fn class_colour(class: usize) -> RGBColor {
    PALETTE[class % PALETTE.len()]
}

/// A line of text, centred at a place.
fn centred(size: i32) -> TextStyle<'static> {
    (FONT, size)
        .into_font()
        .color(&INK)
        .pos(Pos::new(HPos::Center, VPos::Center))
}

/// Loss and accuracy over the epochs.
///
/// # Errors
/// None that is known.
pub fn learning_curve(plan: &Plan, outcome: &Outcome) -> Result<String> {
    let history = &outcome.state.history;
    svg((960, 420), |area| {
        let (left, right) = area.split_horizontally(480);
        let last = history.last().map_or(2, |record| record.epoch.max(2));

        type Of = fn(&EpochRecord) -> Option<f64>;
        let curve = |of: Of| -> Vec<(f64, f64)> {
            history
                .iter()
                .filter_map(|record| Some((f64::from(record.epoch), of(record)?)))
                .collect()
        };
        let losses = [
            ("training", curve(|r| r.train.mean_loss())),
            ("validation", curve(|r| r.validation.mean_loss())),
        ];
        let accuracies = [
            ("training", curve(|r| Some(100.0 * r.train.accuracy()))),
            (
                "validation",
                curve(|r| Some(100.0 * r.validation.accuracy())),
            ),
        ];
        let selected = outcome
            .epoch
            .map(|epoch| (f64::from(epoch), 100.0 * outcome.test.accuracy()));

        let largest = losses
            .iter()
            .flat_map(|(_, points)| points)
            .fold(0.0_f64, |largest, point| largest.max(point.1));
        let top = if largest > 0.0 { largest * 1.05 } else { 1.0 };
        curves(&left, last, (0.0, top), "mean loss", &losses, None)?;

        let smallest = accuracies
            .iter()
            .flat_map(|(_, points)| points)
            .map(|point| point.1)
            .chain(selected.map(|point| point.1))
            .fold(100.0, f64::min);
        let bottom = ((smallest - 2.0) / 5.0).floor().max(0.0) * 5.0;
        curves(
            &right,
            last,
            (bottom, 100.0),
            "accuracy (%)",
            &accuracies,
            selected,
        )?;

        let title = format!(
            "{} network, {}, seed {}: {:.2} % of {} test samples",
            shape(&plan.dims),
            plan.experiment.network.scheme,
            plan.experiment.seed,
            100.0 * outcome.test.accuracy(),
            outcome.test.samples
        );
        area.draw(&Text::new(title, (480, 20), centred(17)))?;
        Ok(())
    })
}

/// One panel of the learning curve.
fn curves(
    area: &Area<'_>,
    last: u32,
    (bottom, top): (f64, f64),
    title: &str,
    lines: &[(&str, Vec<(f64, f64)>)],
    selected: Option<(f64, f64)>,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut chart = ChartBuilder::on(area)
        .margin_top(36)
        .margin_right(18)
        .margin_bottom(8)
        .margin_left(8)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(1.0..f64::from(last), bottom..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_labels(10)
        .y_labels(8)
        .x_desc("epoch")
        .y_desc(title)
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .label_style((FONT, 13).into_font().color(&INK))
        .axis_desc_style((FONT, 15).into_font().color(&INK))
        .draw()?;
    for ((name, points), colour) in lines.iter().zip(PALETTE) {
        chart
            .draw_series(LineSeries::new(
                points.iter().copied(),
                colour.stroke_width(2),
            ))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        if points.len() <= 60 {
            chart.draw_series(
                points
                    .iter()
                    .map(|&point| Circle::new(point, 2, colour.filled())),
            )?;
        }
    }
    if let Some(point) = selected {
        let colour = PALETTE[4];
        chart
            .draw_series([TriangleMarker::new(point, 7, colour.filled())])?
            .label("test, selected weights")
            .legend(move |(x, y)| TriangleMarker::new((x + 9, y), 7, colour.filled()));
    }
    let position = if selected.is_some() || title.starts_with("accuracy") {
        SeriesLabelPosition::LowerRight
    } else {
        SeriesLabelPosition::UpperRight
    };
    chart
        .configure_series_labels()
        .position(position)
        .margin(12)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font((FONT, 13).into_font().color(&INK))
        .draw()?;
    Ok(())
}

/// Predicted class over the two coordinates of the Yin-Yang set, with the true borders and the test
/// samples.
///
/// # Errors
/// A fault of the backend.
pub fn decision_map(plan: &Plan, outcome: &Outcome, backend: &mut dyn Backend) -> Result<String> {
    // Emulated PEs take milliseconds for a sample.
    let emulated = matches!(
        plan.experiment.backend.kind,
        BackendKind::Emulated | BackendKind::Board
    );
    let across = if emulated { MAP_CELLS / 4 } else { MAP_CELLS };
    let centre = |cell: usize| (cell as f64 + 0.5) / across as f64;
    let cells: Vec<(usize, usize)> = (0..across * across)
        .map(|index| (index / across, index % across))
        .filter(|&(row, column)| {
            // Cells that the disc at least touches.
            (centre(column) - 0.5).hypot(centre(row) - 0.5) < 0.5 + 0.5 / across as f64
        })
        .collect();
    let points = Dataset {
        features: cells
            .iter()
            .flat_map(|&(row, column)| {
                let (x, y) = (centre(column), centre(row));
                [x, y, 1.0 - x, 1.0 - y]
            })
            .collect(),
        width: 4,
        labels: vec![0; cells.len()],
        classes: 3,
        names: yin_yang::FEATURES.map(String::from).to_vec(),
    };
    let classes = backend.predict(&encode::encode(&points, &plan.experiment))?;
    let test = &plan.sets.test;
    let answers = backend.predict(&encode::encode(test, &plan.experiment))?;

    svg((640, 660), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_top(64)
            .margin_right(24)
            .margin_bottom(8)
            .margin_left(8)
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .axis_style(INK)
            .x_desc("x")
            .y_desc("y")
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&|x| format!("{x:.1}"))
            .y_label_formatter(&|y| format!("{y:.1}"))
            .label_style((FONT, 13).into_font().color(&INK))
            .axis_desc_style((FONT, 15).into_font().color(&INK))
            .draw()?;

        let side = 1.0 / across as f64;
        for run in runs(&cells, &classes) {
            let colour = match run.class {
                Some(class) => class_colour(usize::from(class)).mix(0.35),
                None => INK.mix(0.35),
            };
            let (low, high) = (run.first as f64 * side, (run.last + 1) as f64 * side);
            let (bottom, top) = (run.row as f64 * side, (run.row + 1) as f64 * side);
            chart.draw_series([Rectangle::new(
                [(low, bottom), (high, top)],
                colour.filled(),
            )])?;
        }
        // Cells at the rim stand out of the disc; white covers that.
        for [from, to] in rim() {
            let corner = |radius: f64, angle: f64| {
                let (x, y) = (0.5 + radius * angle.cos(), 0.5 + radius * angle.sin());
                (x.clamp(0.0, 1.0), y.clamp(0.0, 1.0))
            };
            let piece = vec![
                corner(0.5, from),
                corner(0.54, from),
                corner(0.54, to),
                corner(0.5, to),
            ];
            chart.draw_series([Polygon::new(piece, WHITE.filled())])?;
        }
        for border in borders() {
            chart.draw_series(LineSeries::new(border, INK.stroke_width(2)))?;
        }
        let mut wrong = Vec::new();
        for ((features, label), answer) in test.samples().zip(&answers) {
            let point = (features[0], features[1]);
            let colour = class_colour(usize::from(label));
            chart.draw_series([Circle::new(point, 2, colour.filled())])?;
            if *answer != Some(label) {
                wrong.push(point);
            }
        }
        chart.draw_series(
            wrong
                .iter()
                .map(|&point| Circle::new(point, 5, BLACK.stroke_width(2))),
        )?;

        let title = format!(
            "{} network, {}: predicted class and {} test samples",
            shape(&plan.dims),
            plan.experiment.network.scheme,
            test.len()
        );
        area.draw(&Text::new(title, (320, 18), centred(17)))?;
        // Legend: a row of marks below the title.
        let silent = classes.iter().any(Option::is_none);
        let mut x = if silent { 70 } else { 110 };
        let style = (FONT, 14)
            .into_font()
            .color(&INK)
            .pos(Pos::new(HPos::Left, VPos::Center));
        for (class, name) in yin_yang::CLASSES.iter().enumerate() {
            area.draw(&Rectangle::new(
                [(x, 38), (x + 14, 52)],
                class_colour(class).mix(0.35).filled(),
            ))?;
            area.draw(&Circle::new((x + 7, 45), 3, class_colour(class).filled()))?;
            area.draw(&Text::new(*name, (x + 20, 46), style.clone()))?;
            x += 75;
        }
        if silent {
            area.draw(&Rectangle::new(
                [(x, 38), (x + 14, 52)],
                INK.mix(0.35).filled(),
            ))?;
            area.draw(&Text::new("no spike", (x + 20, 46), style.clone()))?;
            x += 95;
        }
        area.draw(&Circle::new((x + 7, 45), 5, BLACK.stroke_width(2)))?;
        let text = format!("wrong ({} of {})", wrong.len(), outcome.test.samples);
        area.draw(&Text::new(text, (x + 20, 46), style))?;
        Ok(())
    })
}

/// Neighbouring cells of one row with the same class.
struct Run {
    row: usize,
    first: usize,
    last: usize,
    class: Option<u8>,
}

fn runs(cells: &[(usize, usize)], classes: &[Option<u8>]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (&(row, column), &class) in cells.iter().zip(classes) {
        match runs.last_mut() {
            Some(run) if run.row == row && run.last + 1 == column && run.class == class => {
                run.last = column;
            }
            _ => runs.push(Run {
                row,
                first: column,
                last: column,
                class,
            }),
        }
    }
    runs
}

/// The disc's rim in small pieces: the angles where each begins and ends.
fn rim() -> impl Iterator<Item = [f64; 2]> {
    let angle = |piece: u32| (f64::from(piece) * 3.0).to_radians();
    (0..120).map(move |piece| [angle(piece), angle(piece + 1)])
}

/// The true borders of the Yin-Yang classes: disc, the two half circles, the two dots.
fn borders() -> [Vec<(f64, f64)>; 5] {
    let arc = |centre: f64, radius: f64, from: f64, to: f64| {
        (0..=90)
            .map(|step| {
                let angle = (from + (to - from) * f64::from(step) / 90.0).to_radians();
                (centre + radius * angle.cos(), 0.5 + radius * angle.sin())
            })
            .collect::<Vec<_>>()
    };
    [
        arc(0.5, 0.5, 0.0, 360.0),
        arc(0.25, 0.25, 180.0, 360.0),
        arc(0.75, 0.25, 0.0, 180.0),
        arc(0.25, 0.1, 0.0, 360.0),
        arc(0.75, 0.1, 0.0, 360.0),
    ]
}

/// Spikes of one test sample per class, layer by layer.
///
/// # Errors
/// A fault of the backend.
pub fn spike_raster(plan: &Plan, backend: &mut dyn Backend) -> Result<String> {
    let test = encode::encode(&plan.sets.test, &plan.experiment);
    let classes = plan.sets.test.classes.min(4);
    let mut columns = Vec::new();
    for class in 0..classes {
        if let Some(sample) = test.iter().position(|s| usize::from(s.label) == class) {
            columns.push((class, sample, backend.record(&test[sample])?));
        }
    }
    let width = 90 + 290 * columns.len().max(1) as u32;
    svg((width, 640), |area| {
        let title = format!(
            "{} network, {}: spikes of one test sample per class",
            shape(&plan.dims),
            plan.experiment.network.scheme
        );
        area.draw(&Text::new(title, (width as i32 / 2, 20), centred(17)))?;
        for (position, (class, sample, record)) in columns.iter().enumerate() {
            let left = 70 + 290 * position as i32;
            let place = Panel {
                left,
                right: left + 262,
                first: position == 0,
            };
            raster_column(area, plan, &place, *class, *sample, record)?;
        }
        Ok(())
    })
}

/// Where a column of the raster stands.
struct Panel {
    left: i32,
    right: i32,
    first: bool,
}

fn raster_column(
    area: &Area<'_>,
    plan: &Plan,
    place: &Panel,
    class: usize,
    sample: usize,
    record: &SpikeRecord,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let network = &plan.experiment.network;
    let ticks_per_step = f64::from(1_u32 << network.tick_bits);
    let tick_ms = network.step_ms / ticks_per_step;
    let end_ms = f64::from(network.steps) * network.step_ms;
    let names = match plan.experiment.dataset.kind {
        crate::experiment::DatasetKind::YinYang => Some(yin_yang::CLASSES),
        _ => None,
    };
    let name = |class: usize| match names.and_then(|names| names.get(class).copied()) {
        Some(name) => name.to_owned(),
        None => format!("class {class}"),
    };
    let mut earliest: Option<(u32, usize)> = None;
    for (output, first) in record.first_spikes.iter().enumerate() {
        if let Some(ticks) = *first
            && earliest.is_none_or(|(least, _)| ticks < least)
        {
            earliest = Some((ticks, output));
        }
    }
    let answer = match earliest {
        Some((ticks, output)) => {
            format!("{} at {:.1} ms", name(output), f64::from(ticks) * tick_ms)
        }
        None => String::from("no output spikes"),
    };
    let middle = (place.left + place.right) / 2;
    let heading = format!("test sample {}: {}", sample + 1, name(class));
    area.draw(&Text::new(
        heading,
        (middle, 48),
        centred(14).color(&class_colour(class)),
    ))?;
    area.draw(&Text::new(
        format!("answer: {answer}"),
        (middle, 66),
        centred(13),
    ))?;

    // Layers from the output (top) to the input (bottom); the small ones get enough room to see.
    let layers = plan.dims.len();
    let (top, bottom) = (80, 590);
    let gap = 10;
    let room = bottom - top - gap * (layers as i32 - 1);
    let shares: Vec<f64> = (0..layers)
        .map(|layer| {
            if layer == 0 || layer + 1 == layers {
                0.9
            } else {
                2.6
            }
        })
        .collect();
    let total: f64 = shares.iter().sum();
    let mut y = top;
    for layer in (0..layers).rev() {
        let height = (f64::from(room) * shares[layer] / total) as i32;
        let neurons = plan.dims[layer];
        let to_x = |ms: f64| {
            place.left + (f64::from(place.right - place.left) * ms / end_ms).round() as i32
        };
        let to_y = |neuron: usize| {
            let part = (neuron as f64 + 0.5) / neurons as f64;
            y + height - (f64::from(height) * part).round() as i32
        };
        for ms in time_marks(end_ms) {
            area.draw(&PathElement::new(
                [(to_x(ms), y), (to_x(ms), y + height)],
                GRID,
            ))?;
        }
        area.draw(&Rectangle::new(
            [(place.left, y), (place.right, y + height)],
            INK.stroke_width(1),
        ))?;
        let half = (f64::from(height) / neurons as f64 / 2.0 * 0.8).clamp(1.0, 9.0) as i32;
        for spike in record.layers.get(layer).into_iter().flatten() {
            let ticks = f64::from(spike.step) * ticks_per_step + f64::from(spike.offset);
            let (x, y) = (to_x(ticks * tick_ms), to_y(usize::from(spike.neuron)));
            let colour = if layer + 1 == layers {
                class_colour(usize::from(spike.neuron))
            } else {
                INK
            };
            let width = if layer == 0 || layer + 1 == layers {
                2
            } else {
                1
            };
            area.draw(&PathElement::new(
                [(x, y - half), (x, y + half)],
                colour.stroke_width(width),
            ))?;
        }
        if place.first {
            let role = match layer {
                0 => String::from("input channel"),
                _ if layer + 1 == layers => String::from("output"),
                _ if layers == 3 => String::from("hidden neuron"),
                _ => format!("hidden neuron, layer {layer}"),
            };
            let style = centred(14).transform(FontTransform::Rotate270);
            area.draw(&Text::new(role, (18, y + height / 2), style))?;
            let marks: Vec<usize> = if neurons <= 8 {
                (0..neurons).collect()
            } else {
                vec![0, neurons / 2, neurons - 1]
            };
            for neuron in marks {
                let style = (FONT, 12)
                    .into_font()
                    .color(&INK)
                    .pos(Pos::new(HPos::Right, VPos::Center));
                area.draw(&Text::new(
                    neuron.to_string(),
                    (place.left - 6, to_y(neuron)),
                    style,
                ))?;
            }
        }
        if layer == 0 {
            for ms in time_marks(end_ms) {
                area.draw(&Text::new(
                    format!("{ms:.0}"),
                    (to_x(ms), y + height + 12),
                    centred(12),
                ))?;
            }
            area.draw(&Text::new(
                "time (ms)",
                (middle, y + height + 32),
                centred(14),
            ))?;
        }
        y += height + gap;
    }
    Ok(())
}

/// Round times from 0 to the end, about five of them.
fn time_marks(end_ms: f64) -> impl Iterator<Item = f64> {
    let raw = end_ms / 5.0;
    let magnitude = 10_f64.powf(raw.log10().floor());
    let distance = [1.0, 2.0, 5.0, 10.0]
        .iter()
        .map(|factor| factor * magnitude)
        .find(|&distance| distance >= raw)
        .unwrap_or(raw);
    (0..)
        .map(move |index| f64::from(index) * distance)
        .take_while(move |&ms| ms <= end_ms * (1.0 + 1e-9))
}

/// Layer sizes with dashes between.
fn shape(dims: &[usize]) -> String {
    let sizes: Vec<_> = dims.iter().map(usize::to_string).collect();
    sizes.join("-")
}
