//! What a register is: an address, a type of value, and what may be done with it.
//!
//! The macros [`block!`](crate::register) and [`fields!`](crate::register) of this crate define blocks
//! of registers and the fields of their values. Each definition also yields a description
//! ([`BlockInfo`]), of which the SVD file and the tests are made, so that these cannot drift apart.
//!
//! A register offers what its kind of access allows, and nothing else. So a read that has a side effect
//! is called [`take`](Register::take), and a register that hands memory to hardware cannot be written by
//! safe code:
//! ```compile_fail,E0277
//! use s2_pac::{bus::Bus, comms::Ring};
//!
//! fn move_read_pointer(ring: &mut Ring<impl Bus>, address: u32) {
//!     ring.read().write(address);
//! }
//! ```
//! With `unsafe { ring.read().write_pointer(address) }` it compiles, and the caller answers for the
//! memory behind the address.

use core::fmt;
use core::marker::PhantomData;

use crate::bus::Bus;

/// How a fact is known. `docs/hardware.md` of the repository tells more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// Read in a public header or source file for the product chip.
    H,
    /// Read in public headers or compiled listings for the prototype chip Jib1; probable for the product.
    J,
    /// Read in public programs for the product chip.
    N,
    /// Secondary: quoted by a public survey.
    S,
    /// Inferred; published nowhere.
    I,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What may be done with a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reading has no side effect; writing does nothing or is not known.
    ReadPure,
    /// Reading changes something, for instance takes a value out of a queue.
    ReadEffect,
    /// Reading has no side effect; writing is safe.
    ReadWrite,
    /// Writing is safe; what reading gives is not known.
    Write,
    /// Reading changes something; writing is safe.
    EffectWrite,
    /// Reading has no side effect. Writing makes hardware access memory, or may do so or may lose what
    /// memory holds where the bits are not public; so it is `unsafe`.
    ReadPointer,
}

/// Kinds of access as types. See [`Access`] for what each one allows.
pub mod access {
    /// The [`Access`](super::Access) that a type stands for.
    pub trait Kind {
        /// As a value.
        const ACCESS: super::Access;
    }

    /// A register that can be read without side effects.
    pub trait Readable: Kind {}
    /// A register whose reading has a side effect.
    pub trait Takeable: Kind {}
    /// A register that can be written safely.
    pub trait Writable: Kind {}
    /// A register whose writing makes hardware access memory.
    pub trait Pointer: Kind {}

    macro_rules! kinds {
        ($($(#[$doc:meta])* $name:ident: $($can:ident),+;)*) => {
            $(
                $(#[$doc])*
                #[derive(Clone, Copy, Debug)]
                pub enum $name {}
                impl Kind for $name {
                    const ACCESS: super::Access = super::Access::$name;
                }
                $(impl $can for $name {})+
            )*
        };
    }

    kinds! {
        /// See [`Access::ReadPure`](super::Access::ReadPure).
        ReadPure: Readable;
        /// See [`Access::ReadEffect`](super::Access::ReadEffect).
        ReadEffect: Takeable;
        /// See [`Access::ReadWrite`](super::Access::ReadWrite).
        ReadWrite: Readable, Writable;
        /// See [`Access::Write`](super::Access::Write).
        Write: Writable;
        /// See [`Access::EffectWrite`](super::Access::EffectWrite).
        EffectWrite: Takeable, Writable;
        /// See [`Access::ReadPointer`](super::Access::ReadPointer).
        ReadPointer: Readable, Pointer;
    }
}

/// The value of a register: 32 bits with a meaning.
pub trait Value: Copy {
    /// The fields, for descriptions; empty where the value is one number or not public.
    const FIELDS: &'static [FieldInfo];

    /// The value of these bits.
    fn from_bits(bits: u32) -> Self;

    /// The bits of this value.
    fn into_bits(self) -> u32;
}

impl Value for u32 {
    const FIELDS: &'static [FieldInfo] = &[];

    fn from_bits(bits: u32) -> Self {
        bits
    }

    fn into_bits(self) -> u32 {
        self
    }
}

impl Value for f32 {
    const FIELDS: &'static [FieldInfo] = &[];

    fn from_bits(bits: u32) -> Self {
        Self::from_bits(bits)
    }

    fn into_bits(self) -> u32 {
        self.to_bits()
    }
}

impl Value for i32 {
    const FIELDS: &'static [FieldInfo] = &[];

    fn from_bits(bits: u32) -> Self {
        bits.cast_signed()
    }

    fn into_bits(self) -> u32 {
        self.cast_unsigned()
    }
}

/// A register of a block, borrowed together with the block's bus.
#[derive(Debug)]
pub struct Register<'b, B, V, A> {
    bus: &'b mut B,
    address: u32,
    of: PhantomData<(V, A)>,
}

impl<'b, B: Bus, V: Value, A: access::Kind> Register<'b, B, V, A> {
    pub(crate) fn new(bus: &'b mut B, address: u32) -> Self {
        Self {
            bus,
            address,
            of: PhantomData,
        }
    }

    /// Where the register is.
    #[must_use]
    pub fn address(&self) -> u32 {
        self.address
    }

    /// Reads the register. That has no side effect.
    #[inline(always)]
    pub fn read(self) -> V
    where
        A: access::Readable,
    {
        V::from_bits(self.bus.read(self.address))
    }

    /// Reads the register, which changes something: the name says that it cannot be done twice.
    #[inline(always)]
    pub fn take(self) -> V
    where
        A: access::Takeable,
    {
        V::from_bits(self.bus.read(self.address))
    }

    /// Writes the register.
    #[inline(always)]
    pub fn write(self, value: V)
    where
        A: access::Writable,
    {
        self.bus.write(self.address, value.into_bits());
    }

    /// Reads the register and writes what `change` makes of its value.
    #[inline(always)]
    pub fn modify(self, change: impl FnOnce(V) -> V)
    where
        A: access::Readable + access::Writable,
    {
        let value = V::from_bits(self.bus.read(self.address));
        self.bus.write(self.address, change(value).into_bits());
    }

    /// Writes the register, which makes hardware access or change memory, or may do so.
    ///
    /// # Safety
    /// Whatever hardware does to memory because of this value, at once or by a later event, touches
    /// only memory that is handed to it for that time.
    #[inline(always)]
    pub unsafe fn write_pointer(self, value: V)
    where
        A: access::Pointer,
    {
        self.bus.write(self.address, value.into_bits());
    }
}

/// Description of a block of registers.
#[derive(Clone, Copy, Debug)]
pub struct BlockInfo {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub description: &'static str,
    /// Where there is one: name and base address.
    pub instances: &'static [(&'static str, u32)],
    /// Its registers.
    pub registers: &'static [RegisterInfo],
}

/// Description of a register.
#[derive(Clone, Copy, Debug)]
pub struct RegisterInfo {
    /// Its name in the public source. If there are several, their index stands at the end, or where the
    /// name has `%s`.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// Bytes from the base of the block; of the first one, if there are several.
    pub offset: u32,
    /// How many there are.
    pub count: u32,
    /// Bytes from one to the next.
    pub stride: u32,
    /// What may be done with it.
    pub access: Access,
    /// How it is known.
    pub evidence: Evidence,
    /// Where it is known from.
    pub source: &'static str,
    /// Its fields.
    pub fields: &'static [FieldInfo],
}

/// Description of a field.
#[derive(Clone, Copy, Debug)]
pub struct FieldInfo {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// Its lowest bit.
    pub lsb: u32,
    /// Its bits.
    pub width: u32,
    /// How it is known.
    pub evidence: Evidence,
    /// Values that have a name.
    pub values: &'static [ValueInfo],
}

/// Description of a value that has a name.
#[derive(Clone, Copy, Debug)]
pub struct ValueInfo {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub description: &'static str,
    /// Its bits, right-aligned in the field.
    pub bits: u32,
}

/// What a field holds: a number, a flag, or one of several named values.
pub trait FieldValue: Copy {
    /// What reading gives: `Self`, or an `Option` where not every number has a name.
    type Read;

    /// Bits of the widest field that it can hold all values of.
    const WIDTH: u32 = 32;

    /// Named values.
    const VALUES: &'static [ValueInfo] = &[];

    /// The value of these bits, which are right-aligned.
    fn read(bits: u32) -> Self::Read;

    /// The bits, right-aligned.
    fn bits(self) -> u32;
}

impl FieldValue for bool {
    type Read = Self;

    const WIDTH: u32 = 1;

    fn read(bits: u32) -> bool {
        bits != 0
    }

    fn bits(self) -> u32 {
        self.into()
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(
            impl FieldValue for $number {
                type Read = Self;

                const WIDTH: u32 = <$number>::BITS;

                fn read(bits: u32) -> $number {
                    bits as $number
                }

                fn bits(self) -> u32 {
                    self.into()
                }
            }
        )*
    };
}

numbers!(u8, u16, u32);

/// Defines a block of registers: its struct, a method for each register, and its description. Instances
/// are named as the constants of their addresses in `map`.
macro_rules! block {
    (
        $(#[doc = $doc:literal])+
        $block:ident {
            $(
                $(#[doc = $rdoc:literal])+
                [$evidence:ident $source:literal]
                $name:ident $([$count:literal; $stride:literal])? = $offset:literal, $label:literal:
                    $value:ty, $access:ident;
            )*
        }
        instances $($instance:ident),*
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub struct $block<B> {
            bus: B,
            base: u32,
        }

        impl<B: $crate::bus::Bus> $block<B> {
            /// The block at `base`, reached over `bus`.
            ///
            /// # Safety
            /// On the chip ([`Mmio`](crate::bus::Mmio)), such a block is at `base`, and nobody else
            /// works on its registers. With any other bus this is safe.
            pub const unsafe fn at(bus: B, base: u32) -> Self {
                Self { bus, base }
            }

            /// Its base address.
            pub const fn base(&self) -> u32 {
                self.base
            }

            $(
                $crate::register::method! {
                    $(#[doc = $rdoc])+
                    [$evidence $source]
                    $name $([$count; $stride])? = $offset: $value, $access
                }
            )*
        }

        impl $block<()> {
            /// Description of the block.
            pub const INFO: $crate::register::BlockInfo = $crate::register::BlockInfo {
                name: stringify!($block),
                description: concat!($($doc, "\n"),+),
                instances: &[$((stringify!($instance), $crate::map::$instance)),*],
                registers: &[
                    $(
                        $crate::register::RegisterInfo {
                            name: $label,
                            description: concat!($($rdoc, "\n"),+),
                            offset: $offset,
                            count: $crate::register::or!($($count)?; 1),
                            stride: $crate::register::or!($($stride)?; 4),
                            access: <$crate::register::access::$access
                                as $crate::register::access::Kind>::ACCESS,
                            evidence: $crate::register::Evidence::$evidence,
                            source: $source,
                            fields: <$value as $crate::register::Value>::FIELDS,
                        },
                    )*
                ],
            };
        }
    };
}

/// The method of one register, or of an array of them.
macro_rules! method {
    (
        $(#[doc = $doc:literal])+
        [$evidence:ident $source:literal]
        $name:ident = $offset:literal: $value:ty, $access:ident
    ) => {
        $(#[doc = $doc])+
        #[doc = concat!("\n\nOffset `", stringify!($offset), "`. Evidence: **", stringify!($evidence), "**, ", $source, ".")]
        #[inline(always)]
        pub fn $name(
            &mut self,
        ) -> $crate::register::Register<'_, B, $value, $crate::register::access::$access> {
            $crate::register::Register::new(&mut self.bus, self.base.wrapping_add($offset))
        }
    };
    (
        $(#[doc = $doc:literal])+
        [$evidence:ident $source:literal]
        $name:ident [$count:literal; $stride:literal] = $offset:literal: $value:ty, $access:ident
    ) => {
        $(#[doc = $doc])+
        #[doc = concat!("\n\n", stringify!($count), " of them, ", stringify!($stride), " bytes apart, from offset `",
            stringify!($offset), "`. Evidence: **", stringify!($evidence), "**, ", $source,
            ".\n\n# Panics\nIf `index` is not below ", stringify!($count), ".")]
        #[inline(always)]
        pub fn $name(
            &mut self,
            index: usize,
        ) -> $crate::register::Register<'_, B, $value, $crate::register::access::$access> {
            assert!(index < $count, "there is no such register");
            let address = self.base.wrapping_add($offset + $stride * index as u32);
            $crate::register::Register::new(&mut self.bus, address)
        }
    };
}

/// The first expression if there is one, else the second.
macro_rules! or {
    (; $default:expr) => {
        $default
    };
    ($value:expr; $default:expr) => {
        $value
    };
}

/// Defines the value of a register by its fields.
///
/// A type made so starts as [`Default`], all bits zero, and is built with the `with_` methods.
macro_rules! fields {
    (
        $(#[doc = $doc:literal])+
        $name:ident {
            $(
                $(#[doc = $fdoc:literal])+
                [$evidence:ident] $lsb:literal..=$msb:literal $field:ident / $with:ident: $value:ty;
            )*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name(u32);

        // What `read` gives would lose bits of a wider field.
        $(const _: () = assert!($msb - $lsb < <$value as $crate::register::FieldValue>::WIDTH);)*

        impl $name {
            $(
                $(#[doc = $fdoc])+
                #[doc = concat!("\n\nBits ", stringify!($msb), ":", stringify!($lsb), ". Evidence: **", stringify!($evidence), "**.")]
                #[inline(always)]
                pub fn $field(self) -> <$value as $crate::register::FieldValue>::Read {
                    <$value as $crate::register::FieldValue>::read(
                        self.0 >> $lsb & (u32::MAX >> (31 - ($msb - $lsb))),
                    )
                }

                #[doc = concat!("This value with [`", stringify!($field), "`](Self::", stringify!($field), ") replaced.\n\n# Panics\nIf the number does not fit the field.")]
                #[inline(always)]
                #[must_use]
                pub fn $with(self, value: $value) -> Self {
                    let mask = u32::MAX >> (31 - ($msb - $lsb));
                    let bits = <$value as $crate::register::FieldValue>::bits(value);
                    assert!(bits <= mask, "the value does not fit the field");
                    Self(self.0 & !(mask << $lsb) | bits << $lsb)
                }
            )*
        }

        impl $crate::register::Value for $name {
            const FIELDS: &'static [$crate::register::FieldInfo] = &[
                $(
                    $crate::register::FieldInfo {
                        name: stringify!($field),
                        description: concat!($($fdoc, "\n"),+),
                        lsb: $lsb,
                        width: $msb - $lsb + 1,
                        evidence: $crate::register::Evidence::$evidence,
                        values: <$value as $crate::register::FieldValue>::VALUES,
                    },
                )*
            ];

            #[inline(always)]
            fn from_bits(bits: u32) -> Self {
                Self(bits)
            }

            #[inline(always)]
            fn into_bits(self) -> u32 {
                self.0
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("bits", &format_args!("{:#010x}", self.0))
                    $(.field(stringify!($field), &self.$field()))*
                    .finish()
            }
        }
    };
}

/// Defines the named values of a field.
macro_rules! values {
    (
        $(#[doc = $doc:literal])+
        $name:ident {
            $($(#[doc = $vdoc:literal])+ $value:ident = $bits:literal,)*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[doc = $vdoc])+ $value = $bits,)*
        }

        impl $crate::register::FieldValue for $name {
            /// `None` for a number without a name.
            type Read = Option<Self>;

            const VALUES: &'static [$crate::register::ValueInfo] = &[
                $(
                    $crate::register::ValueInfo {
                        name: stringify!($value),
                        description: concat!($($vdoc, "\n"),+),
                        bits: $bits,
                    },
                )*
            ];

            fn read(bits: u32) -> Option<Self> {
                match bits {
                    $($bits => Some(Self::$value),)*
                    _ => None,
                }
            }

            fn bits(self) -> u32 {
                self as u32
            }
        }
    };
}

pub(crate) use {block, fields, method, or, values};
