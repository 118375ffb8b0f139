//! From a network to a chip: which program runs on which PE, what it is told, which router entries
//! connect them, and what memory that takes.
//!
//! A replica of the network takes one PE for the input, one or more per neuron layer, and one for
//! the loss; they are placed on consecutive cores, so that the usual replica of four PEs is one
//! QuadPE. One more PE is the optimiser. Four of the chip's 152 PEs stay reserved for its operation.

use std::fmt;

use bsp::layout;
use bsp::specification::{self, Body, Image, Specified};
use eventprop_core::event::{
    Direction, MAX_EVENTS_PER_STEP, MAX_NEIGHBOURS, ROUTING_MASK, Source, Target, routing_key,
};
use eventprop_core::program::Program as _;
use eventprop_core::program::input::Input;
use eventprop_core::program::layer::Layer;
use eventprop_core::program::loss::Loss;
use eventprop_core::program::optimizer::Optimizer;
use eventprop_core::program::optimizer::{MAX_DESTINATIONS, MAX_PARTS, Part, Release};
use eventprop_core::program::stream::{Neighbours, Routing};
use eventprop_core::program::{input, layer, loss, optimizer};
use s2_hal::router::{Entry, Route};
use s2_hal::topology::{Destination, PeId};

use crate::backend::model::Model;
use crate::error::{Error, Result};
use crate::experiment;

/// Cores that programs may be placed on; the last QuadPE of the chip is reserved.
pub const USABLE_CORES: usize = 148;
/// Where the memory for a PE's arrays starts in its SRAM.
pub const DATA_OFFSET: usize = layout::ARRAYS.start as usize;
/// Bytes of the memory for a PE's arrays.
pub const DATA_BYTES: usize = layout::bytes(&layout::ARRAYS);
/// Steps that a sender may be ahead, where memory allows it.
const WINDOW: usize = 2;
/// Spikes of a neuron in one sample that memory is provided for at least, on the average of a PE's neurons.
const SPIKES_PER_NEURON: usize = 8;
/// Spikes of a PE that memory is provided for at least.
const LEAST_SPIKES: usize = 512;
/// Parts of what is provided for at least, by which there may be more.
const EIGHTHS: usize = 8;
/// Most spikes, and most arrivals, that a PE keeps of a sample.
const MOST_SPIKES: usize = 1 << 16;

/// What the mapper needs to know of the samples: the most that is ever sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleLimits {
    /// Most events in one sample.
    pub events: usize,
    /// Most events in one step of a sample.
    pub events_per_step: usize,
}

impl SampleLimits {
    /// The limits of any sample of so many channels of which each spikes once, as encoded features do,
    /// beside those of other samples.
    #[must_use]
    pub fn or_all_at_once(self, channels: usize) -> Self {
        Self {
            events: self.events.max(channels),
            events_per_step: self.events_per_step.max(channels),
        }
    }
}

/// What memory has to be provided for.
#[derive(Clone, Copy, Debug)]
struct Needs {
    /// Most events in one sample.
    events: usize,
    /// Most events in one step of a sample.
    events_per_step: usize,
    /// Steps that a sender may be ahead.
    window: usize,
    /// How many eighths of the least number of spikes memory is provided for.
    spikes: usize,
}

impl Needs {
    const fn new(samples: SampleLimits, window: usize) -> Self {
        Self {
            events: samples.events,
            events_per_step: samples.events_per_step,
            window,
            spikes: EIGHTHS,
        }
    }
}

/// What a PE does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Injects a replica's samples.
    Input {
        /// Which replica.
        replica: usize,
    },
    /// Holds neurons.
    Layer {
        /// Which replica.
        replica: usize,
        /// Which layer, 1 for the first behind the input.
        layer: usize,
        /// Which of the layer's PEs.
        part: usize,
        /// Of how many.
        parts: usize,
    },
    /// Computes a replica's loss.
    Loss {
        /// Which replica.
        replica: usize,
    },
    /// Updates the weights.
    Optimizer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Input { replica } => write!(f, "input of replica {replica}"),
            Self::Layer {
                replica,
                layer,
                parts: 1,
                ..
            } => {
                write!(f, "layer {layer} of replica {replica}")
            }
            Self::Layer {
                replica,
                layer,
                part,
                parts,
            } => {
                write!(
                    f,
                    "layer {layer} (part {} of {parts}) of replica {replica}",
                    part + 1
                )
            }
            Self::Loss { replica } => write!(f, "loss of replica {replica}"),
            Self::Optimizer => write!(f, "optimiser"),
        }
    }
}

/// What a PE's program is told.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// For an input PE.
    Input(input::Config),
    /// For a layer's PE.
    Layer(layer::Config),
    /// For a loss PE.
    Loss(loss::Config),
    /// For the optimiser's PE.
    Optimizer(optimizer::Config),
}

impl Program {
    /// Bytes of the program's memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Input(config) => Input::memory_bytes(config),
            Self::Layer(config) => Layer::memory_bytes(config),
            Self::Loss(config) => Loss::memory_bytes(config),
            Self::Optimizer(config) => Optimizer::memory_bytes(config),
        }
    }

    /// Words of receive ring: what can be filled at once, which proves that it never overflows, and
    /// a little more for packets that a faulty network doubles. Whole blocks of 16 bytes.
    #[must_use]
    pub fn ring_words(&self) -> usize {
        const SPARE_WORDS: usize = 16;
        let words = match self {
            Self::Input(config) => Input::ring_words(config),
            Self::Layer(config) => Layer::ring_words(config),
            Self::Loss(config) => Loss::ring_words(config),
            Self::Optimizer(config) => Optimizer::ring_words(config),
        };
        (SPARE_WORDS + words).next_multiple_of(4)
    }

    /// Bytes of the memory for arrays that the program takes, and its ring, if that is too large for the
    /// heap ([`layout::HEAP_RING_BYTES`]).
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        let ring = self.ring_words() * size_of::<u32>();
        self.memory_bytes()
            + if ring > layout::HEAP_RING_BYTES {
                ring
            } else {
                0
            }
    }

    /// The firmware image of the program.
    #[must_use]
    pub fn image(&self) -> Image {
        match self {
            Self::Input(_) => Image::Input,
            Self::Layer(_) => Image::Layer,
            Self::Loss(_) => Image::Loss,
            Self::Optimizer(_) => Image::Optimizer,
        }
    }

    /// The words of the program's data specification.
    ///
    /// # Errors
    /// If the program does not fit a PE.
    pub fn specification(&self, time_out_ms: u32) -> Result<Vec<u32>, specification::Error> {
        fn words<P: Specified>(
            config: P::Config,
            ring_words: usize,
            time_out_ms: u32,
        ) -> Result<Vec<u32>, specification::Error> {
            let body = Body {
                config,
                ring_words: ring_words as u32,
                time_out_ms,
            };
            let mut memory = vec![0; layout::bytes(&layout::SPECIFICATION) / 4];
            let length = specification::write::<P>(&body, &mut memory)?;
            memory.truncate(length);
            Ok(memory)
        }
        let ring = self.ring_words();
        match *self {
            Self::Input(config) => words::<Input>(config, ring, time_out_ms),
            Self::Layer(config) => words::<Layer>(config, ring, time_out_ms),
            Self::Loss(config) => words::<Loss>(config, ring, time_out_ms),
            Self::Optimizer(config) => words::<Optimizer>(config, ring, time_out_ms),
        }
    }
}

/// One PE of a mapping.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    /// Where.
    pub pe: PeId,
    /// What it does.
    pub role: Role,
    /// What its program is told.
    pub program: Program,
}

/// A network on a chip.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// All PEs in use: the replicas one after another, then the optimiser.
    pub placements: Vec<Placement>,
    /// Router entries; empty with direct routing.
    pub entries: Vec<Entry>,
    /// PEs per neuron layer.
    pub layer_pes: Vec<usize>,
    /// Replicas.
    pub replicas: usize,
}

impl Mapping {
    /// Maps a network.
    ///
    /// `layer_pes` of the settings may be empty: the least numbers that fit are taken then.
    ///
    /// # Errors
    /// What does not fit, with the numbers, and what would.
    pub fn new(
        model: &Model,
        settings: &experiment::Backend,
        samples: SampleLimits,
    ) -> Result<Self> {
        // A smaller window takes less memory for what is under way, and changes nothing else but the pace.
        let wide = Needs::new(samples, WINDOW);
        let (layer_pes, samples) = match layer_pes(model, settings, wide) {
            Ok(layer_pes) => (layer_pes, wide),
            Err(error) => {
                let narrow = Needs::new(samples, 1);
                let layer_pes = layer_pes(model, settings, narrow).map_err(|_| error)?;
                (layer_pes, narrow)
            }
        };
        let samples = with_memory_left(model, samples, &layer_pes);
        let replicas = settings.replicas as usize;
        let per_replica = 2 + layer_pes.iter().sum::<usize>();
        let most = (USABLE_CORES - 1) / per_replica;
        if replicas > most {
            return Err(Error::new(format!(
                "{replicas} replicas of {per_replica} PEs and an optimiser take {} PEs; a chip has {USABLE_CORES}",
                replicas * per_replica + 1
            ))
            .at("backend.replicas")
            .hint(if most == 0 {
                "not even one replica fits".to_owned()
            } else {
                format!("at most {most} replicas fit")
            }));
        }
        let mut builder = Builder {
            model,
            samples,
            layer_pes: &layer_pes,
            replicas,
            routing: settings.routing,
            optimizer: core(replicas * per_replica),
            placements: Vec::new(),
            entries: Vec::new(),
        };
        for replica in 0..replicas {
            builder.replica(replica, replica * per_replica);
        }
        builder.optimizer();
        let Builder {
            placements,
            entries,
            ..
        } = builder;
        let mapping = Self {
            placements,
            entries,
            layer_pes,
            replicas,
        };
        for placement in &mapping.placements {
            let needed = placement.program.total_bytes();
            if needed > DATA_BYTES {
                return Err(Error::new(format!(
                    "the {} needs {needed} bytes of data memory; a PE has {DATA_BYTES}",
                    placement.role
                ))
                .at("network.hidden")
                .hint("use smaller or fewer layers"));
            }
        }
        Ok(mapping)
    }

    /// The PEs of a layer (1 for the first behind the input) of a replica, in the order of neurons.
    pub fn layer(&self, replica: usize, layer: usize) -> impl Iterator<Item = &Placement> {
        self.placements.iter().filter(move |placement| {
            matches!(placement.role, Role::Layer { replica: r, layer: l, .. } if (r, l) == (replica, layer))
        })
    }

    /// The PE that has the number `source`, with what it does.
    #[must_use]
    pub fn describe(&self, source: Source) -> String {
        match self
            .placements
            .iter()
            .find(|placement| placement.pe.noc_id() == source)
        {
            Some(placement) => format!("{}, {}", placement.pe, placement.role),
            None => format!("source {source}, which is not in use"),
        }
    }

    /// A table of the memory of the first replica's PEs and the optimiser's, in bytes.
    #[must_use]
    pub fn memory_report(&self) -> String {
        let mut report = format!(
            "{:<28} {:>8} {:>10} {:>10} {:>10} {:>6}\n",
            "program", "PE", "arrays", "ring", "total", "used"
        );
        for Placement { pe, role, program } in &self.placements {
            if let Role::Input { replica } | Role::Layer { replica, .. } | Role::Loss { replica } =
                *role
                && replica > 0
            {
                continue;
            }
            let ring = program.ring_words() * size_of::<u32>();
            report += &format!(
                "{:<28} {:>8} {:>10} {:>10} {:>10} {:>5.1}%\n",
                role.to_string(),
                format!("{},{},{}", pe.x, pe.y, pe.pe),
                program.memory_bytes(),
                ring,
                program.total_bytes(),
                100.0 * program.total_bytes() as f64 / DATA_BYTES as f64
            );
        }
        report
    }
}

/// The PE of the n-th usable core.
fn core(n: usize) -> PeId {
    let id = u8::try_from(n + 1).expect("placed below the usable cores");
    PeId::from_core(id).expect("core numbers run from 1 to 152")
}

/// How the neurons of a layer are split: first neuron and number of each part.
fn parts(neurons: usize, parts: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..parts).map(move |n| {
        let (first, end) = (neurons * n / parts, neurons * (n + 1) / parts);
        (first, end - first)
    })
}

/// Chooses or checks the number of PEs of every layer.
fn layer_pes(model: &Model, settings: &experiment::Backend, samples: Needs) -> Result<Vec<usize>> {
    let given = &settings.layer_pes;
    if !given.is_empty() && given.len() != model.layers() {
        return Err(Error::new(format!(
            "{} numbers for {} neuron layers",
            given.len(),
            model.layers()
        ))
        .at("backend.layer_pes"));
    }
    let mut chosen: Vec<_> = match given.as_slice() {
        [] => vec![1; model.layers()],
        given => given.iter().map(|&n| n as usize).collect(),
    };
    if !given.is_empty() {
        for (layer, &parts) in chosen.iter().enumerate() {
            let neurons = model.shape(layer).1;
            if !(1..=MAX_NEIGHBOURS.min(neurons)).contains(&parts) {
                return Err(Error::new(format!(
                    "layer {} of {neurons} neurons cannot be split over {parts} PEs",
                    layer + 1
                ))
                .at("backend.layer_pes")
                .hint(format!("1 to {}", MAX_NEIGHBOURS.min(neurons))));
            }
        }
    }
    // More PEs for one layer change what its neighbours need, so look again until all fit.
    loop {
        let misfit = (0..model.layers()).find_map(|layer| {
            let needed = needed(model, samples, &chosen, layer);
            (needed > DATA_BYTES).then_some((layer, needed))
        });
        let Some((layer, needed)) = misfit else {
            return Ok(chosen);
        };
        let neurons = model.shape(layer).1;
        let most = MAX_NEIGHBOURS.min(neurons);
        let mut trial = chosen.clone();
        let enough = (chosen[layer]..=most).find(|&parts| {
            trial[layer] = parts;
            self::needed(model, samples, &trial, layer) <= DATA_BYTES
        });
        let lack = if needed == usize::MAX {
            format!(
                "may emit more than {MAX_EVENTS_PER_STEP} spikes in a step from each, the most that packets can number"
            )
        } else {
            format!("needs {needed} bytes of data memory each; a PE has {DATA_BYTES}")
        };
        let message = format!(
            "layer {} of {neurons} neurons on {} PE{} {lack}",
            layer + 1,
            chosen[layer],
            if chosen[layer] == 1 { "" } else { "s" },
        );
        match enough {
            None => {
                let error = Error::new(message).at("network.hidden");
                return Err(error.hint(remedy(model, samples, layer)));
            }
            Some(parts) if !given.is_empty() => {
                return Err(Error::new(message)
                    .at("backend.layer_pes")
                    .hint(format!("it would take {parts} PEs")));
            }
            Some(parts) => chosen[layer] = parts,
        }
    }
}

/// What a person could change for a layer that fits no number of PEs.
///
/// A PE must be ready for every neuron of the layer above to spike as often as it may in one step,
/// so it is mostly the layer above that is too large.
fn remedy(model: &Model, samples: Needs, layer: usize) -> String {
    let split = |model: &Model| {
        let most = |layer: usize| MAX_NEIGHBOURS.min(model.shape(layer).1);
        let all: Vec<_> = (0..model.layers()).map(most).collect();
        needed(model, samples, &all, layer) <= DATA_BYTES
    };
    let fewer_spikes = (1..model.spikes_per_step).rev().find(|&spikes_per_step| {
        split(&Model {
            spikes_per_step,
            ..model.clone()
        })
    });
    if let Some(spikes) = fewer_spikes {
        return format!("with network.spikes_per_step = {spikes} it fits");
    }
    let most = MAX_NEIGHBOURS.min(model.shape(layer).1);
    let above = model.shape(layer).0;
    let fewer_neurons = (1..above).rev().find(|&neurons| {
        let mut dims = model.dims.clone();
        dims[layer] = neurons;
        layer > 0
            && split(&Model {
                dims,
                ..model.clone()
            })
    });
    match fewer_neurons {
        Some(neurons) => format!(
            "even split over {most} PEs it has no room for what {above} neurons above may send; {neurons} would fit"
        ),
        None => format!("even {most} PEs are not enough: use fewer neurons or steps"),
    }
}

/// Bytes that the largest PE of a layer needs, or more than any PE has if it may emit too much.
fn needed(model: &Model, samples: Needs, layer_pes: &[usize], layer: usize) -> usize {
    let nobody = |n| Neighbours::new(&vec![0; n], Routing::Router).expect("checked");
    let largest = parts(model.shape(layer).1, layer_pes[layer]).max_by_key(|part| part.1);
    let upstream = if layer == 0 { 1 } else { layer_pes[layer - 1] };
    let downstream = layer_pes.get(layer + 1).copied().unwrap_or(1);
    let config = layer_config(
        model,
        samples,
        layer_pes,
        Place {
            layer,
            part: largest.expect("a layer has a part"),
            source: 0,
            replica: 0,
            replicas: 1,
        },
        nobody(upstream),
        nobody(downstream),
    );
    if config.events_per_step() > MAX_EVENTS_PER_STEP {
        return usize::MAX;
    }
    Program::Layer(config).total_bytes()
}

/// Which part of which layer of which replica.
struct Place {
    layer: usize,
    part: (usize, usize),
    source: Source,
    replica: usize,
    replicas: usize,
}

fn layer_config(
    model: &Model,
    samples: Needs,
    layer_pes: &[usize],
    place: Place,
    upstream: Neighbours,
    downstream: Neighbours,
) -> layer::Config {
    let Place {
        layer,
        part: (first_neuron, neurons),
        ..
    } = place;
    let (upstream_events, arrivals) = upstream_limits(model, samples, layer_pes, layer);
    layer::Config {
        source: place.source,
        upstream,
        upstream_events,
        downstream,
        replica: place.replica as u32,
        replicas: place.replicas as u32,
        scheme: model.scheme,
        steps: model.steps,
        tick_bits: model.tick_bits,
        spikes_per_step: model.spikes_per_step,
        slope_floor: model.slope_floor,
        layer: layer as u8 + 1,
        inputs: model.shape(layer).0,
        first_neuron,
        neurons,
        upstream_has_neurons: layer > 0,
        split: layer_pes[layer] > 1,
        downstream_split: layer_pes.get(layer + 1).is_some_and(|&parts| parts > 1),
        spike_capacity: spike_capacity(model, samples, neurons),
        arrival_capacity: arrivals,
        window: samples.window,
    }
}

/// Spikes of one sample that the PE of so many neurons has memory for.
fn spike_capacity(model: &Model, samples: Needs, neurons: usize) -> usize {
    let per_step = layer::spikes_per_step(model.scheme, model.spikes_per_step);
    let least = (neurons * SPIKES_PER_NEURON).max(LEAST_SPIKES);
    (neurons * per_step * model.steps).min(least * samples.spikes / EIGHTHS)
}

/// The same needs, with memory for more spikes: as much as the PEs have left, up to as many as there can be.
fn with_memory_left(model: &Model, samples: Needs, layer_pes: &[usize]) -> Needs {
    let per_step = layer::spikes_per_step(model.scheme, model.spikes_per_step);
    let all = |layer: usize| model.shape(layer).1 * per_step * model.steps;
    let most = (0..model.layers()).map(all).max().unwrap_or(0);
    let mut samples = samples;
    // In steps of a quarter of what there is.
    while samples.spikes * LEAST_SPIKES / EIGHTHS < most {
        let trial = Needs {
            spikes: samples.spikes + samples.spikes / 4,
            ..samples
        };
        let fits = (0..model.layers()).all(|layer| {
            let (_, neurons) = model.shape(layer);
            let kept = parts(neurons, layer_pes[layer])
                .map(|(_, neurons)| spike_capacity(model, trial, neurons))
                .sum::<usize>();
            kept <= MOST_SPIKES && needed(model, trial, layer_pes, layer) <= DATA_BYTES
        });
        if !fits {
            break;
        }
        samples = trial;
    }
    samples
}

/// Most events per step of each PE above a layer, and most arrivals in a sample.
fn upstream_limits(
    model: &Model,
    samples: Needs,
    layer_pes: &[usize],
    layer: usize,
) -> ([u16; MAX_NEIGHBOURS], usize) {
    let mut events = [0; MAX_NEIGHBOURS];
    let limit = |n: usize| u16::try_from(n.min(MAX_EVENTS_PER_STEP)).expect("limited");
    let Some(above) = layer.checked_sub(1) else {
        events[0] = limit(samples.events_per_step);
        return (events, samples.events);
    };
    let per_step = layer::spikes_per_step(model.scheme, model.spikes_per_step);
    let mut arrivals = 0;
    for (to, (_, neurons)) in events
        .iter_mut()
        .zip(parts(model.shape(above).1, layer_pes[above]))
    {
        *to = limit(neurons * per_step);
        arrivals += spike_capacity(model, samples, neurons);
    }
    (events, arrivals)
}

struct Builder<'a> {
    model: &'a Model,
    samples: Needs,
    layer_pes: &'a [usize],
    replicas: usize,
    routing: experiment::Routing,
    optimizer: PeId,
    placements: Vec<Placement>,
    entries: Vec<Entry>,
}

impl Builder<'_> {
    /// Places a replica from core `first` on.
    fn replica(&mut self, replica: usize, first: usize) {
        // PEs by stage: input, layers, loss.
        let mut next = first;
        let mut stages = Vec::new();
        for &count in [1].iter().chain(self.layer_pes).chain(&[1]) {
            stages.push((next..next + count).map(core).collect::<Vec<_>>());
            next += count;
        }
        let layers = self.model.layers();
        for (stage, pes) in stages.iter().enumerate() {
            for (part, &pe) in pes.iter().enumerate() {
                let source = pe.noc_id();
                let above = stage.checked_sub(1).map_or(&[][..], |above| &stages[above]);
                let below = stages.get(stage + 1).map_or(&[][..], Vec::as_slice);
                let upstream = self.neighbours(above);
                let downstream = self.neighbours(below);
                let (role, program) = if stage == 0 {
                    (
                        Role::Input { replica },
                        Program::Input(self.input(source, replica, downstream)),
                    )
                } else if stage <= layers {
                    let parts_of = self.layer_pes[stage - 1];
                    let place = Place {
                        layer: stage - 1,
                        part: parts(self.model.shape(stage - 1).1, parts_of)
                            .nth(part)
                            .expect("a part per PE"),
                        source,
                        replica,
                        replicas: self.replicas,
                    };
                    let config = layer_config(
                        self.model,
                        self.samples,
                        self.layer_pes,
                        place,
                        upstream,
                        downstream,
                    );
                    let role = Role::Layer {
                        replica,
                        layer: stage,
                        part,
                        parts: parts_of,
                    };
                    (role, Program::Layer(config))
                } else {
                    (
                        Role::Loss { replica },
                        Program::Loss(self.loss(source, replica, upstream)),
                    )
                };
                self.placements.push(Placement { pe, role, program });
                self.connect(pe, stage, above, below, stage <= layers);
            }
        }
    }

    fn input(&self, source: Source, replica: usize, downstream: Neighbours) -> input::Config {
        input::Config {
            source,
            downstream,
            replica: replica as u32,
            replicas: self.replicas as u32,
            steps: self.model.steps,
            tick_bits: self.model.tick_bits,
            channels: self.model.dims[0] as u16,
            events_per_step: self.samples.events_per_step,
            sample_bytes: input::sample::stride(self.samples.events),
            window: self.samples.window,
        }
    }

    fn loss(&self, source: Source, replica: usize, upstream: Neighbours) -> loss::Config {
        let layers = self.model.layers();
        loss::Config {
            source,
            upstream,
            upstream_events: upstream_limits(self.model, self.samples, self.layer_pes, layers).0,
            replica: replica as u32,
            replicas: self.replicas as u32,
            steps: self.model.steps,
            tick_bits: self.model.tick_bits,
            outputs: self.model.dims[layers],
            loss: self.model.loss,
            window: self.samples.window,
        }
    }

    fn neighbours(&self, pes: &[PeId]) -> Neighbours {
        let sources: Vec<_> = pes.iter().map(|pe| pe.noc_id()).collect();
        let routing = match self.routing {
            experiment::Routing::Router => Routing::Router,
            experiment::Routing::Direct => {
                let nowhere = Destination { x: 0, y: 0, pes: 0 };
                let mut one = [nowhere; MAX_NEIGHBOURS];
                for (to, pe) in one.iter_mut().zip(pes) {
                    *to = pe.destination();
                }
                let joined = join(pes);
                let mut all = [nowhere; MAX_NEIGHBOURS];
                all[..joined.len()].copy_from_slice(&joined);
                Routing::Direct {
                    one,
                    all,
                    all_len: joined.len() as u8,
                    optimizer: self.optimizer.destination(),
                }
            }
        };
        Neighbours::new(&sources, routing).expect("the split is limited")
    }

    /// Adds the router entries of a PE.
    fn connect(
        &mut self,
        pe: PeId,
        stage: usize,
        above: &[PeId],
        below: &[PeId],
        sends_down: bool,
    ) {
        let source = pe.noc_id();
        if sends_down {
            self.entry(Direction::Downstream, source, Target::All, below);
        }
        for (n, &to) in above.iter().enumerate() {
            self.entry(Direction::Upstream, source, Target::One(n as u8), &[to]);
        }
        if stage > 0 && sends_down {
            for (n, &to) in below.iter().enumerate() {
                self.entry(Direction::Downstream, source, Target::One(n as u8), &[to]);
            }
        }
        if stage > 0 {
            let direction = if sends_down {
                Direction::Downstream
            } else {
                Direction::Upstream
            };
            self.entry(direction, source, Target::Optimizer, &[self.optimizer]);
        }
    }

    fn entry(&mut self, direction: Direction, source: Source, target: Target, to: &[PeId]) {
        if self.routing == experiment::Routing::Router {
            self.entries.push(Entry {
                key: routing_key(direction, source, target),
                mask: ROUTING_MASK,
                route: to.iter().fold(Route::NONE, |route, &pe| route.with_pe(pe)),
            });
        }
    }

    fn optimizer(&mut self) {
        let pe = self.optimizer;
        // Inputs hold no weights and do not wait for them; one without samples in the rest of a run
        // is done early and would only collect releases in its ring.
        let members: Vec<_> = self
            .placements
            .iter()
            .filter(|placement| !matches!(placement.role, Role::Input { .. }))
            .map(|placement| placement.pe)
            .collect();
        self.entry(Direction::Downstream, pe.noc_id(), Target::All, &members);
        let mut reporting = [0u32; 8];
        let mut parts = [Part {
            layer: 0,
            inputs: 0,
            first_neuron: 0,
            neurons: 0,
            output: false,
        }; MAX_PARTS];
        let mut parts_len = 0;
        for Placement { pe, program, .. } in &self.placements {
            if !matches!(program, Program::Input(_)) {
                let source = pe.noc_id();
                reporting[usize::from(source) / 32] |= 1 << (source % 32);
            }
            if let Program::Layer(config) = program
                && config.replica == 0
            {
                parts[parts_len] = Part {
                    layer: config.layer - 1,
                    inputs: config.inputs as u16,
                    first_neuron: config.first_neuron as u16,
                    neurons: config.neurons as u16,
                    output: usize::from(config.layer) == self.model.layers(),
                };
                parts_len += 1;
            }
        }
        let release = match self.routing {
            experiment::Routing::Router => Release::Router,
            experiment::Routing::Direct => {
                let joined = join(&members);
                let mut list = [Destination { x: 0, y: 0, pes: 0 }; MAX_DESTINATIONS];
                list[..joined.len()].copy_from_slice(&joined);
                Release::Direct(list, joined.len() as u8)
            }
        };
        let config = optimizer::Config {
            source: pe.noc_id(),
            replicas: self.replicas as u32,
            parts,
            parts_len,
            outputs: self.model.dims[self.model.layers()],
            reporting,
            release,
            settings: self.model.settings,
        };
        self.placements.push(Placement {
            pe,
            role: Role::Optimizer,
            program: Program::Optimizer(config),
        });
    }
}

/// Destinations of PEs, those of one QuadPE joined.
fn join(pes: &[PeId]) -> Vec<Destination> {
    let mut joined: Vec<Destination> = Vec::new();
    for pe in pes {
        let to = pe.destination();
        match joined
            .iter_mut()
            .find(|known| (known.x, known.y) == (to.x, to.y))
        {
            Some(known) => known.pes |= to.pes,
            None => joined.push(to),
        }
    }
    joined
}
