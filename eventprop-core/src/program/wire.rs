//! Configurations of programs as words, to be sent from a host to a PE.
//!
//! Every number takes a word of 32 bits, or two; there are no lengths, names or gaps. A PE reads it with
//! hardly any code: formats that describe themselves, or pack bits, would take a seventh of the memory
//! that a program's code may have. [`Wire::LAYOUT`] describes the format of each type, so that both ends
//! can make sure that they mean the same one.

use s2_hal::topology::Destination;

use super::stream::{Neighbours, Routing};
use super::{input, layer, loss, optimizer};
use crate::event::{MAX_NEIGHBOURS, Source};
use crate::loss::TimeToFirstSpike;
use crate::optimizer::{Method, Rounding, Settings, SilentNeurons};
use crate::tables::Scheme;
use optimizer::{MAX_DESTINATIONS, MAX_PARTS, Part, Release};

/// Takes words from the front of a slice.
#[derive(Debug)]
pub struct Reader<'w> {
    words: &'w [u32],
    valid: bool,
}

impl<'w> Reader<'w> {
    /// Reads these words.
    #[must_use]
    pub const fn new(words: &'w [u32]) -> Self {
        Self { words, valid: true }
    }

    /// The next word; beyond the end 0, which [`finish`](Self::finish) tells. (One function for all fields:
    /// memory for code is short on a PE.)
    #[inline(never)]
    fn word(&mut self) -> u32 {
        match self.words.split_first() {
            Some((&word, rest)) => {
                self.words = rest;
                word
            }
            None => {
                self.valid = false;
                0
            }
        }
    }

    /// Notes that what was read means nothing.
    fn refuse(&mut self) {
        self.valid = false;
    }

    /// Whether all words were read, none was missing, and each of them meant something.
    #[must_use]
    pub const fn finish(self) -> bool {
        self.valid && self.words.is_empty()
    }
}

/// Puts words one after another.
#[derive(Debug)]
pub struct Writer<'w> {
    words: &'w mut [u32],
    length: usize,
    valid: bool,
}

impl<'w> Writer<'w> {
    /// Writes to these words.
    #[must_use]
    pub const fn new(words: &'w mut [u32]) -> Self {
        Self {
            words,
            length: 0,
            valid: true,
        }
    }

    fn word(&mut self, word: u32) {
        match self.words.get_mut(self.length) {
            Some(place) => *place = word,
            None => self.valid = false,
        }
        self.length += 1;
    }

    /// Number of words written, or `None` if there was not enough room, or a number was too large.
    #[must_use]
    pub const fn finish(self) -> Option<usize> {
        if self.valid { Some(self.length) } else { None }
    }
}

/// What can be sent as words.
pub trait Wire: Sized {
    /// Description of the format: the names and types of the fields, in their order.
    const LAYOUT: &'static str;

    /// Writes the value.
    fn put(&self, to: &mut Writer<'_>);

    /// Reads a value. Words that mean nothing give some value or other, and [`Reader::finish`] tells.
    fn get(from: &mut Reader<'_>) -> Self;
}

macro_rules! numbers {
    ($($number:ident),*) => {
        $(
            impl Wire for $number {
                const LAYOUT: &'static str = stringify!($number);

                fn put(&self, to: &mut Writer<'_>) {
                    match u32::try_from(*self) {
                        Ok(word) => to.word(word),
                        Err(_) => to.valid = false,
                    }
                }

                fn get(from: &mut Reader<'_>) -> Self {
                    let word = from.word();
                    Self::try_from(word).unwrap_or_else(|_| {
                        from.refuse();
                        0
                    })
                }
            }
        )*
    };
}

numbers!(u8, u16, u32, usize);

impl Wire for i32 {
    const LAYOUT: &'static str = "i32";

    fn put(&self, to: &mut Writer<'_>) {
        to.word(self.cast_unsigned());
    }

    fn get(from: &mut Reader<'_>) -> Self {
        from.word().cast_signed()
    }
}

impl Wire for u64 {
    const LAYOUT: &'static str = "u64, low word first";

    fn put(&self, to: &mut Writer<'_>) {
        to.word(*self as u32);
        to.word((*self >> 32) as u32);
    }

    fn get(from: &mut Reader<'_>) -> Self {
        let low = from.word();
        Self::from(from.word()) << 32 | Self::from(low)
    }
}

impl Wire for f32 {
    const LAYOUT: &'static str = "f32";

    fn put(&self, to: &mut Writer<'_>) {
        to.word(self.to_bits());
    }

    fn get(from: &mut Reader<'_>) -> Self {
        Self::from_bits(from.word())
    }
}

impl Wire for bool {
    const LAYOUT: &'static str = "bool";

    fn put(&self, to: &mut Writer<'_>) {
        to.word((*self).into());
    }

    fn get(from: &mut Reader<'_>) -> Self {
        let word = from.word();
        if word > 1 {
            from.refuse();
        }
        word != 0
    }
}

impl Wire for Option<u32> {
    const LAYOUT: &'static str = "whether there is one: bool, u32";

    fn put(&self, to: &mut Writer<'_>) {
        self.is_some().put(to);
        self.unwrap_or(0).put(to);
    }

    fn get(from: &mut Reader<'_>) -> Self {
        let some = bool::get(from);
        let word = from.word();
        some.then_some(word)
    }
}

impl<T: Wire, const N: usize> Wire for [T; N] {
    const LAYOUT: &'static str = T::LAYOUT;

    fn put(&self, to: &mut Writer<'_>) {
        for value in self {
            value.put(to);
        }
    }

    fn get(from: &mut Reader<'_>) -> Self {
        core::array::from_fn(|_| T::get(from))
    }
}

impl Wire for Destination {
    const LAYOUT: &'static str = "x in bits 7:0, y in bits 15:8, pes in bits 23:16";

    fn put(&self, to: &mut Writer<'_>) {
        to.word(u32::from_le_bytes([self.x, self.y, self.pes, 0]));
    }

    fn get(from: &mut Reader<'_>) -> Self {
        let [x, y, pes, rest] = from.word().to_le_bytes();
        if rest != 0 {
            from.refuse();
        }
        Self { x, y, pes }
    }
}

/// Sends a struct field by field. The compiler makes sure that none is missing.
macro_rules! fields {
    ($name:ty { $($field:ident: $type:ty),* $(,)? }) => {
        impl Wire for $name {
            const LAYOUT: &'static str =
                concat!(stringify!($name), $(" ", stringify!($field), ": ", stringify!($type), ";"),*);

            fn put(&self, to: &mut Writer<'_>) {
                $(<$type as Wire>::put(&self.$field, to);)*
            }

            fn get(from: &mut Reader<'_>) -> Self {
                Self { $($field: <$type as Wire>::get(from)),* }
            }
        }
    };
}

fields!(input::Config {
    source: Source,
    downstream: Neighbours,
    replica: u32,
    replicas: u32,
    steps: usize,
    tick_bits: u32,
    channels: u16,
    events_per_step: usize,
    sample_bytes: usize,
    window: usize,
});

fields!(layer::Config {
    source: Source,
    upstream: Neighbours,
    upstream_events: [u16; MAX_NEIGHBOURS],
    downstream: Neighbours,
    replica: u32,
    replicas: u32,
    scheme: Scheme,
    steps: usize,
    tick_bits: u32,
    spikes_per_step: usize,
    slope_floor: i32,
    layer: u8,
    inputs: usize,
    first_neuron: usize,
    neurons: usize,
    upstream_has_neurons: bool,
    split: bool,
    downstream_split: bool,
    spike_capacity: usize,
    arrival_capacity: usize,
    window: usize,
});

fields!(loss::Config {
    source: Source,
    upstream: Neighbours,
    upstream_events: [u16; MAX_NEIGHBOURS],
    replica: u32,
    replicas: u32,
    steps: usize,
    tick_bits: u32,
    outputs: usize,
    loss: TimeToFirstSpike,
    window: usize,
});

fields!(optimizer::Config {
    source: Source,
    replicas: u32,
    parts: [Part; MAX_PARTS],
    parts_len: usize,
    outputs: usize,
    reporting: [u32; 8],
    release: Release,
    settings: Settings,
});

fields!(Part {
    layer: u8,
    inputs: u16,
    first_neuron: u16,
    neurons: u16,
    output: bool,
});

fields!(Settings {
    method: Method,
    weight_decay: f32,
    tau_synapse_ms: f32,
    silent_neurons: SilentNeurons,
    rounding: Rounding,
});

fields!(Rounding {
    dropped_bits: u8,
    stochastic_seed: Option<u32>,
});

fields!(SilentNeurons {
    label_bump: i32,
    hidden_bump: i32,
});

fields!(Neighbours {
    sources: [Source; MAX_NEIGHBOURS],
    len: u8,
    routing: Routing,
});

fields!(TimeToFirstSpike {
    softmax_rate: u64,
    late_rate: u64,
    inverse_tau0: i32,
    alpha: u32,
    late_slope: u32,
    end: u32,
    unheard_from: u32,
    silent_at_end: bool,
    send_for_silent_label: bool,
});

impl Wire for Scheme {
    const LAYOUT: &'static str = "0 exact, 1 grid";

    fn put(&self, to: &mut Writer<'_>) {
        to.word(match self {
            Self::Exact => 0,
            Self::Grid => 1,
        });
    }

    fn get(from: &mut Reader<'_>) -> Self {
        if bool::get(from) {
            Self::Grid
        } else {
            Self::Exact
        }
    }
}

impl Wire for Routing {
    const LAYOUT: &'static str = "0 router, or 1 direct, one: [Destination; MAX_NEIGHBOURS], \
        all: [Destination; MAX_NEIGHBOURS], all_len: u8, optimizer: Destination";

    fn put(&self, to: &mut Writer<'_>) {
        match self {
            Self::Router => to.word(0),
            Self::Direct {
                one,
                all,
                all_len,
                optimizer,
            } => {
                to.word(1);
                one.put(to);
                all.put(to);
                all_len.put(to);
                optimizer.put(to);
            }
        }
    }

    fn get(from: &mut Reader<'_>) -> Self {
        if bool::get(from) {
            Self::Direct {
                one: Wire::get(from),
                all: Wire::get(from),
                all_len: Wire::get(from),
                optimizer: Wire::get(from),
            }
        } else {
            Self::Router
        }
    }
}

impl Wire for Release {
    const LAYOUT: &'static str = "0 router, or 1 direct, [Destination; MAX_DESTINATIONS], u8";

    fn put(&self, to: &mut Writer<'_>) {
        match self {
            Self::Router => to.word(0),
            Self::Direct(list, length) => {
                to.word(1);
                list.put(to);
                length.put(to);
            }
        }
    }

    fn get(from: &mut Reader<'_>) -> Self {
        if bool::get(from) {
            let list: [_; MAX_DESTINATIONS] = Wire::get(from);
            Self::Direct(list, Wire::get(from))
        } else {
            Self::Router
        }
    }
}

impl Wire for Method {
    const LAYOUT: &'static str =
        "0 Adam, beta1: f32, beta2: f32, epsilon: f32, or 1 SGD, momentum: f32";

    fn put(&self, to: &mut Writer<'_>) {
        match self {
            Self::Adam {
                beta1,
                beta2,
                epsilon,
            } => {
                to.word(0);
                beta1.put(to);
                beta2.put(to);
                epsilon.put(to);
            }
            Self::Sgd { momentum } => {
                to.word(1);
                momentum.put(to);
            }
        }
    }

    fn get(from: &mut Reader<'_>) -> Self {
        if bool::get(from) {
            Self::Sgd {
                momentum: Wire::get(from),
            }
        } else {
            Self::Adam {
                beta1: Wire::get(from),
                beta2: Wire::get(from),
                epsilon: Wire::get(from),
            }
        }
    }
}

/// The formats of everything that crosses as words: a change of any of them is a change of this list.
pub const LAYOUTS: [&str; 15] = [
    <input::Config as Wire>::LAYOUT,
    <layer::Config as Wire>::LAYOUT,
    <loss::Config as Wire>::LAYOUT,
    <optimizer::Config as Wire>::LAYOUT,
    Part::LAYOUT,
    Settings::LAYOUT,
    SilentNeurons::LAYOUT,
    Rounding::LAYOUT,
    Neighbours::LAYOUT,
    TimeToFirstSpike::LAYOUT,
    Destination::LAYOUT,
    Scheme::LAYOUT,
    Routing::LAYOUT,
    Release::LAYOUT,
    Method::LAYOUT,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_mean_nothing_are_told() {
        let mut reader = Reader::new(&[256]);
        let _ = u8::get(&mut reader);
        assert!(!reader.finish(), "too large a number");
        let mut reader = Reader::new(&[2]);
        let _ = Scheme::get(&mut reader);
        assert!(!reader.finish(), "no such scheme");
        let mut reader = Reader::new(&[1, 2]);
        assert_eq!(u32::get(&mut reader), 1);
        assert!(!reader.finish(), "a word is left");
        let mut reader = Reader::new(&[1]);
        let _ = u64::get(&mut reader);
        assert!(!reader.finish(), "a word is missing");
        let mut words = [0; 1];
        let mut writer = Writer::new(&mut words);
        (1_u64 << 40).put(&mut writer);
        assert_eq!(writer.finish(), None, "no room");
        let mut writer = Writer::new(&mut words);
        usize::MAX.put(&mut writer);
        assert_eq!(writer.finish(), None, "too large a number");
    }

    #[test]
    fn options_and_fractions_round_trip() {
        let mut words = [0; 8];
        let mut writer = Writer::new(&mut words);
        Some(7).put(&mut writer);
        None.put(&mut writer);
        (-1.5_f32).put(&mut writer);
        (-3_i32).put(&mut writer);
        (u64::MAX - 1).put(&mut writer);
        assert_eq!(writer.finish(), Some(8));
        let mut reader = Reader::new(&words);
        assert_eq!(Option::get(&mut reader), Some(7));
        assert_eq!(<Option<u32> as Wire>::get(&mut reader), None);
        assert_eq!(f32::get(&mut reader), -1.5);
        assert_eq!(i32::get(&mut reader), -3);
        assert_eq!(u64::get(&mut reader), u64::MAX - 1);
        assert!(reader.finish());
    }
}
