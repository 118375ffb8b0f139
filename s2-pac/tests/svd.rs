//! The CMSIS-SVD file, which is made from the crate's descriptions.
//!
//! `UPDATE_GOLDEN=1 cargo test -p s2-pac --test svd` writes it anew.

use std::collections::BTreeSet;
use std::{env, fs};

use s2_pac::irq::{INTERRUPTS, InterruptInfo};
use s2_pac::register::{Access, BlockInfo, FieldInfo, RegisterInfo};
use s2_pac::{BLOCKS, NVIC_PRIO_BITS};
use svd_parser::ValidateLevel::Strict;
use svd_rs::{
    AddressBlock, AddressBlockUsage, BitRange, Cpu, Device, DimElement, Endian, EnumeratedValue,
    EnumeratedValues, Field, Interrupt, Peripheral, ReadAction, Register, RegisterCluster,
    RegisterProperties,
};

/// Documentation as plain text: one line, no marks.
fn plain(documentation: &str) -> String {
    let words: Vec<_> = documentation.split_whitespace().collect();
    let mut text = words.join(" ").replace('`', "");
    // A link, `[text](target)` or `[text]`, becomes its text.
    while let Some(open) = text.find('[') {
        let close = open + text[open..].find(']').expect("a link ends");
        let end = match text[close + 1..].starts_with('(') {
            true => close + text[close..].find(')').expect("a link ends"),
            false => close,
        };
        let name = text[open + 1..close].to_owned();
        text.replace_range(open..=end, &name);
    }
    text
}

fn field(info: &FieldInfo) -> Field {
    let value = |value: &s2_pac::register::ValueInfo| {
        EnumeratedValue::builder()
            .name(value.name.into())
            .description(Some(plain(value.description)))
            .value(Some(value.bits.into()))
            .build(Strict)
            .unwrap()
    };
    let values: Vec<_> = info.values.iter().map(value).collect();
    let values = (!values.is_empty()).then(|| {
        EnumeratedValues::builder()
            .values(values)
            .build(Strict)
            .unwrap()
    });
    let description = format!("{} Evidence: {}.", plain(info.description), info.evidence);
    svd_rs::FieldInfo::builder()
        .name(info.name.into())
        .description(Some(description))
        .bit_range(BitRange::from_offset_width(info.lsb, info.width))
        .enumerated_values(values.into_iter().collect())
        .build(Strict)
        .unwrap()
        .single()
}

fn register(info: &RegisterInfo) -> Register {
    let (access, read_action) = match info.access {
        Access::ReadPure => (svd_rs::Access::ReadOnly, None),
        Access::ReadEffect => (svd_rs::Access::ReadOnly, Some(ReadAction::Modify)),
        Access::Write => (svd_rs::Access::WriteOnly, None),
        Access::ReadWrite | Access::ReadPointer => (svd_rs::Access::ReadWrite, None),
        Access::EffectWrite => (svd_rs::Access::ReadWrite, Some(ReadAction::Modify)),
    };
    let text = plain(info.description);
    let description = format!("{text} Evidence: {}, {}.", info.evidence, info.source);
    let dim = (info.count > 1).then(|| {
        DimElement::builder()
            .dim(info.count)
            .dim_increment(info.stride)
            .build(Strict)
            .unwrap()
    });
    // An array in the language's sense has no gaps; otherwise it is a list of registers with numbers.
    let suffix = match (info.count, info.stride) {
        (1, _) => "",
        _ if info.name.contains("%s") => "",
        (_, 4) => "[%s]",
        _ => "%s",
    };
    svd_rs::RegisterInfo::builder()
        .name(format!("{}{suffix}", info.name))
        .description(Some(description))
        .address_offset(info.offset)
        .access(Some(access))
        .read_action(read_action)
        .fields((!info.fields.is_empty()).then(|| info.fields.iter().map(field).collect()))
        .build(Strict)
        .unwrap()
        .maybe_array(dim)
}

/// The instance that raises an interrupt, by the interrupt's name.
fn raised_by(info: &InterruptInfo) -> &'static str {
    match info.interrupt as u16 {
        0 | 2 => "TIMER_1",
        1 => "TIMER_2",
        3..=4 => "COMMS_TRANSMIT",
        5..=8 | 18..=19 | 22 => "COMMS_RECEIVE",
        9..=11 | 20 => "COMMS_RING_0",
        12..=14 | 21 => "COMMS_RING_1",
        15..=16 => "COMMS_NOC_DMA",
        17 => "ML_ACCELERATOR",
        _ => "QUAD_PE_REGISTERS",
    }
}

fn interrupt(info: &InterruptInfo) -> Interrupt {
    let text = plain(info.description);
    let description = format!("{text} Evidence: {}, {}.", info.evidence, info.source);
    Interrupt::builder()
        .name(info.name.into())
        .description(Some(description))
        .value(info.interrupt as u32)
        .build(Strict)
        .unwrap()
}

/// The instances of a block: the first in full, the others derived from it.
fn peripherals(block: &BlockInfo) -> impl Iterator<Item = Peripheral> {
    let end = |r: &RegisterInfo| r.offset + (r.count - 1) * r.stride + 4;
    let size = block.registers.iter().map(end).max().unwrap();
    block
        .instances
        .iter()
        .enumerate()
        .map(move |(index, (name, base))| {
            let interrupts: Vec<_> = INTERRUPTS
                .iter()
                .filter(|info| raised_by(info) == *name)
                .map(interrupt)
                .collect();
            let builder = svd_rs::PeripheralInfo::builder()
                .name((*name).into())
                .base_address((*base).into())
                .interrupt((!interrupts.is_empty()).then_some(interrupts));
            let builder = if index > 0 {
                builder.derived_from(Some(block.instances[0].0.into()))
            } else {
                let addresses = AddressBlock::builder()
                    .offset(0)
                    .size(size)
                    .usage(AddressBlockUsage::Registers)
                    .build(Strict)
                    .unwrap();
                let registers = block.registers.iter().map(register);
                builder
                    .description(Some(plain(block.description)))
                    .group_name(Some(block.name.into()))
                    .address_block(Some(vec![addresses]))
                    .registers(Some(registers.map(RegisterCluster::Register).collect()))
            };
            builder.build(Strict).unwrap().single()
        })
}

fn device() -> Device {
    let cpu = Cpu::builder()
        .name("CM4".into())
        .revision("r0p0".into())
        .endian(Endian::Little)
        .mpu_present(true)
        .fpu_present(true)
        .nvic_priority_bits(NVIC_PRIO_BITS.into())
        .has_vendor_systick(true)
        .device_num_interrupts(Some(INTERRUPTS.len() as u32))
        .build(Strict)
        .unwrap();
    // No reset value is public, and a mask of 0 says so.
    let properties = RegisterProperties::new()
        .size(Some(32))
        .access(Some(svd_rs::Access::ReadWrite))
        .reset_value(Some(0))
        .reset_mask(Some(0));
    let description = "SpiNNaker2 as seen by one of its processing elements: the registers that are \
        publicly known. Each says how it is known: H and N from public code for the product chip, J \
        from public headers and listings for the prototype Jib1, S from a secondary source, I inferred.";
    Device::builder()
        .name("SpiNNaker2".into())
        .schema_version("1.3".into())
        .no_namespace_schema_location("CMSIS-SVD.xsd".into())
        .version(env!("CARGO_PKG_VERSION").into())
        .description(description.into())
        .license_text(Some(env!("CARGO_PKG_LICENSE").into()))
        .cpu(Some(cpu))
        .address_unit_bits(8)
        .width(32)
        .default_register_properties(properties)
        .peripherals(BLOCKS.iter().flat_map(peripherals).collect())
        .build(Strict)
        .unwrap()
}

#[test]
#[cfg_attr(miri, ignore = "slow, and safe code")]
fn the_file_is_what_the_descriptions_say() {
    let xml = svd_encoder::encode(&device()).unwrap() + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/svd/spinnaker2.svd");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, &xml).unwrap();
    }
    let file = fs::read_to_string(path).unwrap_or_default();
    assert!(
        file == xml,
        "{path} is out of date; UPDATE_GOLDEN=1 writes it anew"
    );
}

#[test]
#[cfg_attr(miri, ignore = "slow, and safe code")]
fn the_file_parses_back_strictly_to_the_same_device() {
    let file = svd_encoder::encode(&device()).unwrap();
    let config = svd_parser::Config::default().validate_level(Strict);
    let parsed = svd_parser::parse_with_config(&file, &config).unwrap();
    parsed.validate_all(Strict).unwrap();
    assert_eq!(parsed, device());

    let interrupts = parsed.peripherals.iter().flat_map(|p| &p.interrupt);
    let numbers: BTreeSet<_> = interrupts.map(|interrupt| interrupt.value).collect();
    assert_eq!(numbers, (0..INTERRUPTS.len() as u32).collect());
}

#[test]
#[cfg_attr(miri, ignore = "slow, and safe code")]
fn names_are_unique_identifiers() {
    fn check<'a>(place: &str, names: impl Iterator<Item = &'a str>) {
        let mut seen = BTreeSet::new();
        for name in names {
            let plain = name.replace("[%s]", "").replace("%s", "");
            let start = plain.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            let rest = plain.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            assert!(start && rest, "{name} in {place} is no identifier");
            assert!(
                seen.insert(plain.to_lowercase()),
                "{name} is twice in {place}"
            );
        }
    }
    let device = device();
    check(
        "the device",
        device.peripherals.iter().map(|p| p.name.as_str()),
    );
    for peripheral in &device.peripherals {
        check(
            &peripheral.name,
            peripheral.registers().map(|r| r.name.as_str()),
        );
        for register in peripheral.registers() {
            check(&register.name, register.fields().map(|f| f.name.as_str()));
            for values in register.fields().flat_map(|f| &f.enumerated_values) {
                check(
                    &register.name,
                    values.values.iter().map(|v| v.name.as_str()),
                );
            }
        }
    }
}
