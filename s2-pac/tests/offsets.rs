//! The crate's descriptions against a table transcribed from the public sources by hand.

use std::collections::BTreeSet;

use s2_pac::BLOCKS;
use s2_pac::register::{BlockInfo, RegisterInfo};

fn registers() -> impl Iterator<Item = (&'static BlockInfo, &'static RegisterInfo)> {
    let pairs = |block: &'static BlockInfo| block.registers.iter().map(move |r| (block, r));
    BLOCKS.iter().flat_map(pairs)
}

/// One line for the register and one for each of its fields, in the table's words.
fn lines(address: &str, instance: &str, register: &RegisterInfo) -> Vec<String> {
    let several = match register.count {
        1 => String::new(),
        count => format!("[{count};{}]", register.stride),
    };
    let name = format!("{instance}.{}{several}", register.name);
    let fields = register.fields.iter().map(|field| {
        let bits = match (field.lsb, field.width) {
            (lsb, 1) => lsb.to_string(),
            (lsb, width) => format!("{}:{lsb}", lsb + width - 1),
        };
        format!("{name} {bits} {} {}", field.evidence, field.name)
    });
    let (access, evidence) = (register.access, register.evidence);
    let line = format!("{name} {address} {access:?} {evidence}");
    [line].into_iter().chain(fields).collect()
}

fn table() -> BTreeSet<String> {
    let mut table = BTreeSet::new();
    let mut register = "";
    for line in include_str!("registers.txt").lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let entry = match words[..] {
            [] | ["#", ..] => continue,
            [address, access, evidence, name] => {
                register = name;
                format!("{name} {address} {access} {evidence}")
            }
            [bits, evidence, field] => format!("{register} {bits} {evidence} {field}"),
            _ => panic!("{line} is neither a register nor a field"),
        };
        assert!(table.insert(entry), "{line} is there twice");
    }
    table
}

#[test]
#[cfg_attr(miri, ignore = "slow, and safe code")]
fn the_crate_describes_the_registers_of_the_table_and_no_others() {
    let mut described = BTreeSet::new();
    for (block, register) in registers() {
        for (instance, base) in block.instances {
            let address = format!("{:#010x}", base + register.offset);
            described.extend(lines(&address, instance, register));
        }
        if block.instances.is_empty() {
            let offset = format!("+{:#04x}", register.offset);
            described.extend(lines(&offset, block.name, register));
        }
    }
    let table = table();
    let missing: Vec<_> = table.difference(&described).collect();
    let unknown: Vec<_> = described.difference(&table).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "in the table alone: {missing:#?}\nin the crate alone: {unknown:#?}"
    );
}

#[test]
#[cfg_attr(miri, ignore = "slow, and safe code")]
fn no_two_registers_share_an_address() {
    let mut seen = BTreeSet::new();
    for (block, register) in registers() {
        for (instance, base) in block.instances {
            for index in 0..register.count {
                let address = base + register.offset + index * register.stride;
                let name = register.name;
                assert_eq!(address % 4, 0, "{instance}.{name}");
                assert!(seen.insert(address), "{instance}.{name} at {address:#x}");
            }
        }
    }
}

#[test]
fn fields_are_apart_and_their_values_fit() {
    let mut checked = 0;
    for (block, register) in registers() {
        let mut taken = 0_u32;
        for field in register.fields {
            let name = format!("{}.{}.{}", block.name, register.name, field.name);
            assert!(field.width > 0 && field.lsb + field.width <= 32, "{name}");
            let largest = u32::MAX >> (32 - field.width);
            assert_eq!(taken & largest << field.lsb, 0, "{name} overlaps");
            taken |= largest << field.lsb;
            let values: BTreeSet<_> = field.values.iter().map(|value| value.bits).collect();
            assert_eq!(values.len(), field.values.len(), "{name}: values repeat");
            assert!(values.iter().all(|&bits| bits <= largest), "{name}");
            checked += 1;
        }
    }
    assert!(checked > 0);
}
