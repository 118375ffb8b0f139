//! `layout.txt` describes what crosses between host and PE, and is made from the types that cross.
//!
//! After a change of these types: `UPDATE_GOLDEN=1 cargo test -p bsp --test layout`.

use std::fmt::Write as _;
use std::mem::{offset_of, size_of};

use bsp::command::Command;
use bsp::record::Record;
use bsp::specification::{Body, LAYOUT_HASH};
use bsp::{layout, specification};
use eventprop_core::log::Event;
use eventprop_core::optimizer::Method;
use eventprop_core::program::loss::SampleResult;
use eventprop_core::program::optimizer::{Home, ProgressBlock, Release};
use eventprop_core::program::stream::Routing;
use eventprop_core::program::{Status, input, layer, loss, optimizer};
use eventprop_core::tables::{Coefficients, Scheme};
use serde::Deserialize;
use serde_reflection::{ContainerFormat, Format, Named, Tracer, TracerConfig, VariantFormat};

/// The formats of a program's data specification: every struct and enum in it, by name. The tracer
/// takes enums one by one.
fn body<C: for<'a> Deserialize<'a>>(name: &str, text: &mut String, enums: &[fn(&mut Tracer)]) {
    let mut tracer = Tracer::new(TracerConfig::default());
    for trace in enums {
        trace(&mut tracer);
    }
    trace::<Body<C>>(&mut tracer);
    writeln!(
        text,
        "\nspecification of the image {name}, in postcard's format"
    )
    .unwrap();
    for (name, format) in tracer.registry().unwrap() {
        writeln!(text, "    {name}: {}", describe_container(&format)).unwrap();
    }
}

fn trace<T: for<'a> Deserialize<'a>>(tracer: &mut Tracer) {
    tracer.trace_simple_type::<T>().unwrap();
}

/// A struct or an enum on one line.
fn describe_container(format: &ContainerFormat) -> String {
    let fields = |fields: &[Named<Format>]| {
        let fields = fields.iter();
        let texts = fields.map(|field| format!("{}: {}", field.name, describe(&field.value)));
        format!("{{ {} }}", texts.collect::<Vec<_>>().join(", "))
    };
    match format {
        ContainerFormat::Struct(all) => fields(all),
        ContainerFormat::Enum(variants) => {
            let texts = variants.iter().map(|(number, variant)| {
                let content = match &variant.value {
                    VariantFormat::Unit => String::new(),
                    VariantFormat::Tuple(all) => format!(" {}", describe_all(all)),
                    VariantFormat::Struct(all) => format!(" {}", fields(all)),
                    other => panic!("{other:?}"),
                };
                format!("{number} {}{content}", variant.name)
            });
            texts.collect::<Vec<_>>().join(" | ")
        }
        other => panic!("{other:?}"),
    }
}

fn describe_all(all: &[Format]) -> String {
    format!(
        "({})",
        all.iter().map(describe).collect::<Vec<_>>().join(", ")
    )
}

fn describe(format: &Format) -> String {
    match format {
        Format::TypeName(name) => name.clone(),
        Format::Option(of) => format!("Option<{}>", describe(of)),
        Format::TupleArray { content, size } => format!("[{}; {size}]", describe(content)),
        Format::Tuple(all) => describe_all(all),
        // Names of primitive types.
        simple => format!("{simple:?}").to_lowercase(),
    }
}

fn description() -> String {
    let mut text = String::from(
        "Formats that host and firmware share. Made by a test from the types; see specification.rs.\n\n",
    );
    let ranges = [
        ("code", layout::CODE),
        ("statics", layout::STATICS),
        ("record", layout::RECORD),
        ("specification", layout::SPECIFICATION),
        ("command", layout::COMMAND),
        ("arrays", layout::ARRAYS),
        ("stack", layout::STACK),
    ];
    for (name, range) in ranges {
        writeln!(text, "{:#07x}..{:#07x} {name}", range.start, range.end).unwrap();
    }
    macro_rules! words {
        ($($type:ty { $($field:ident),* })*) => {
            $(
                write!(text, "\n{}, {} bytes:", stringify!($type), size_of::<$type>()).unwrap();
                $(write!(text, " {} at {}", stringify!($field), offset_of!($type, $field)).unwrap();)*
                text.push('\n');
            )*
        };
    }
    words! {
        Record {
            status, image, id, run, step, stack_used, heap_used, ring_peak, ring_dropped, sleeps, layout
        }
        Command { number }
        Status {
            saturations, suppressed_spikes, spikes, spike_digest, packets, ignored_packets, smallest_slope
        }
        Coefficients {}
        Event { neuron, offset }
        SampleResult { loss, prediction, label, flags }
        ProgressBlock { steps, learning_rate, beta1_power, beta2_power }
        Home { weights, gradient, spike_counts, silent_labels }
    }
    body::<input::Config>("input", &mut text, &[trace::<Routing>]);
    body::<layer::Config>("layer", &mut text, &[trace::<Routing>, trace::<Scheme>]);
    body::<loss::Config>("loss", &mut text, &[trace::<Routing>]);
    body::<optimizer::Config>("optimizer", &mut text, &[trace::<Release>, trace::<Method>]);
    text
}

#[test]
fn the_description_is_that_of_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/layout.txt");
    let description = description();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, description).unwrap();
        return;
    }
    let stored = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        stored, description,
        "a format has changed: UPDATE_GOLDEN=1 cargo test -p bsp --test layout"
    );
    // The known hash of a known text, so that the constant is the hash that it says.
    let hash = description
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    assert_eq!(hash, LAYOUT_HASH);
    assert!(specification::BODY_BYTES > 1024);
}
