//! The memories of the chip. What was never touched takes no host memory and reads as zero.

use std::collections::HashMap;

use super::number;
use crate::dma::{Address, Block, DRAM_HALF, Place};
use crate::topology::{PES, SRAM_BYTES};

/// Bytes of DRAM that are allocated together.
const PAGE: usize = 64 * 1024;

const SRAM_BLOCKS: usize = SRAM_BYTES as usize / size_of::<Block>();

pub(super) struct Memories {
    sram: Vec<Sram>,
    /// Pages by number.
    dram: HashMap<usize, Box<[Block]>>,
}

enum Sram {
    Untouched,
    Here(Box<[Block]>),
    /// With the PE's program, while that is polled.
    Taken,
}

/// There is no memory at an address, or it ends too early, or it is with its program.
pub(super) struct NoMemory;

fn zeroed(blocks: usize) -> Box<[Block]> {
    bytemuck::zeroed_slice_box(blocks)
}

impl Memories {
    pub(super) fn new() -> Self {
        Self {
            sram: (0..PES).map(|_| Sram::Untouched).collect(),
            dram: HashMap::new(),
        }
    }

    /// Takes the SRAM of PE number `pe` out.
    #[inline]
    pub(super) fn take(&mut self, pe: usize) -> Box<[Block]> {
        match std::mem::replace(&mut self.sram[pe], Sram::Taken) {
            Sram::Here(memory) => memory,
            Sram::Untouched => zeroed(SRAM_BLOCKS),
            Sram::Taken => panic!("the SRAM was lost when the PE's program panicked"),
        }
    }

    /// Puts it back.
    #[inline]
    pub(super) fn put(&mut self, pe: usize, memory: Box<[Block]>) {
        self.sram[pe] = Sram::Here(memory);
    }

    /// The SRAM of PE number `pe`.
    pub(super) fn sram(&mut self, pe: usize) -> &mut [Block] {
        if !matches!(self.sram[pe], Sram::Here(_)) {
            let memory = self.take(pe);
            self.put(pe, memory);
        }
        match &mut self.sram[pe] {
            Sram::Here(memory) => memory,
            Sram::Untouched | Sram::Taken => unreachable!("put back above"),
        }
    }

    /// Copies from the chip.
    pub(super) fn read(&self, from: Address, into: &mut [u8]) -> Result<(), NoMemory> {
        match find(from, into.len())? {
            At::Sram { pe, offset } => match &self.sram[pe] {
                Sram::Here(blocks) => {
                    let bytes: &[u8] = bytemuck::cast_slice(blocks);
                    into.copy_from_slice(&bytes[offset..offset + into.len()]);
                }
                Sram::Untouched => into.fill(0),
                Sram::Taken => return Err(NoMemory),
            },
            At::Dram {
                mut page,
                mut offset,
            } => {
                let mut rest = into;
                while !rest.is_empty() {
                    let now;
                    (now, rest) = rest.split_at_mut(rest.len().min(PAGE - offset));
                    match self.dram.get(&page) {
                        Some(blocks) => {
                            let bytes: &[u8] = bytemuck::cast_slice(blocks);
                            now.copy_from_slice(&bytes[offset..offset + now.len()]);
                        }
                        None => now.fill(0),
                    }
                    (page, offset) = (page + 1, 0);
                }
            }
        }
        Ok(())
    }

    /// Copies to the chip.
    pub(super) fn write(&mut self, to: Address, from: &[u8]) -> Result<(), NoMemory> {
        match find(to, from.len())? {
            At::Sram { pe, .. } if matches!(self.sram[pe], Sram::Taken) => return Err(NoMemory),
            At::Sram { pe, offset } => {
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(self.sram(pe));
                bytes[offset..offset + from.len()].copy_from_slice(from);
            }
            At::Dram {
                mut page,
                mut offset,
            } => {
                let mut rest = from;
                while !rest.is_empty() {
                    let now;
                    (now, rest) = rest.split_at(rest.len().min(PAGE - offset));
                    let page_blocks = || zeroed(PAGE / size_of::<Block>());
                    let blocks = self.dram.entry(page).or_insert_with(page_blocks);
                    let bytes: &mut [u8] = bytemuck::cast_slice_mut(blocks);
                    bytes[offset..offset + now.len()].copy_from_slice(now);
                    (page, offset) = (page + 1, 0);
                }
            }
        }
        Ok(())
    }
}

/// Where the bytes of an address are.
enum At {
    Sram { pe: usize, offset: usize },
    Dram { page: usize, offset: usize },
}

/// Finds `length` bytes that lie in one memory.
fn find(address: Address, length: usize) -> Result<At, NoMemory> {
    let (at, room) = match address.place().ok_or(NoMemory)? {
        Place::Sram { pe, offset } => {
            let pe = number(pe).ok_or(NoMemory)?;
            let offset = offset as usize;
            (At::Sram { pe, offset }, SRAM_BYTES as usize - offset)
        }
        Place::Dram { offset } => {
            let offset = offset as usize;
            let at = At::Dram {
                page: offset / PAGE,
                offset: offset % PAGE,
            };
            (at, 2 * DRAM_HALF as usize - offset)
        }
    };
    if length <= room {
        Ok(at)
    } else {
        Err(NoMemory)
    }
}
