//! The record of this PE, in its place.

use core::mem::offset_of;
use core::ptr::with_exposed_provenance_mut;

use eventprop_core::program::{Phase, Waiting};

use crate::layout;
use crate::record::{Cause, Record, Status};

/// The record of the PE that this code runs on.
///
/// The host reads it at any time, so every access is volatile. Values may be made anywhere: there is one
/// processor, and a fault handler does not return to what it has interrupted.
#[derive(Debug)]
pub struct Live(());

fn place() -> *mut Record {
    with_exposed_provenance_mut(layout::RECORD.start as usize)
}

/// The record as words: volatile accesses to smaller fields would be single bytes.
type Words = [u32; size_of::<Record>() / 4];

impl Live {
    /// The record.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }

    /// Reads the record.
    #[must_use]
    pub fn read(&self) -> Record {
        let place = place().cast::<u32>();
        let mut words: Words = [0; _];
        for (index, word) in words.iter_mut().enumerate() {
            // SAFETY: the place is memory of the PE that the linker gives to nobody, aligned, and as
            // large as a record.
            *word = unsafe { place.add(index).read_volatile() };
        }
        bytemuck::cast(words)
    }

    /// Replaces the record.
    pub fn write(&mut self, record: &Record) {
        let place = place().cast::<u32>();
        let words: &Words = bytemuck::cast_ref(record);
        for (index, &word) in words.iter().enumerate() {
            // SAFETY: as for `read`.
            unsafe { place.add(index).write_volatile(word) };
        }
    }

    /// Changes the record.
    pub fn update(&mut self, change: impl FnOnce(&mut Record)) {
        let mut record = self.read();
        change(&mut record);
        self.write(&record);
    }

    /// Notes the status alone.
    pub fn set_status(&mut self, status: Status) {
        self.set(offset_of!(Record, status), status as u32);
    }

    /// Notes what the program is at.
    #[inline]
    pub fn set_phase(&mut self, phase: Phase) {
        self.set(offset_of!(Record, phase), phase as u32);
    }

    /// Notes the step alone.
    #[inline]
    pub fn set_step(&mut self, step: u32) {
        self.set(offset_of!(Record, step), step);
    }

    /// Counts that the program goes to sleep.
    #[inline]
    pub fn count_sleep(&mut self) {
        let sleeps = place()
            .cast::<u32>()
            .wrapping_byte_add(offset_of!(Record, sleeps));
        // SAFETY: as for `read`; the offset is that of a word.
        unsafe { sleeps.write_volatile(sleeps.read_volatile().wrapping_add(1)) }
    }

    /// Writes the word at an offset, which must be that of a field of [`Record`].
    #[inline]
    pub(super) fn set(&mut self, offset: usize, word: u32) {
        assert!(offset < size_of::<Record>() && offset.is_multiple_of(4));
        let field = place().cast::<u32>().wrapping_byte_add(offset);
        // SAFETY: as for `read`; the word lies within the record.
        unsafe { field.write_volatile(word) }
    }

    /// Notes what the program waits for.
    #[inline(never)]
    pub fn set_waiting(&mut self, waiting: Waiting) {
        // SAFETY: as for `read`.
        unsafe { (&raw mut (*place()).waiting).write_volatile(waiting.to_words()) }
    }

    /// Notes why the program stops, and how much stack it had used.
    pub fn stop(&mut self, cause: Cause, waiting: Waiting) {
        self.update(|record| {
            record.set_waiting(waiting);
            record.stack_used = super::stack::used();
            record.stop(cause);
        });
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}
