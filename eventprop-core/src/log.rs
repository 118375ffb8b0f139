//! Events of a layer during one sample, in order of time.

/// A spike: which neuron (or input channel) and when within its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Event {
    /// Neuron of the layer, or channel of the input.
    pub neuron: u16,
    /// Ticks since the start of the step: 0 to Q. A neuron that crosses the threshold at the very
    /// end of a step has the offset Q.
    pub offset: u16,
}

/// The memory for the events of a layer is too small for this sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFull;

/// The spikes of one layer over one sample: what the backward pass must remember of the forward one.
///
/// Events stand in the order of steps, within a step in any order of neurons, and for one neuron together and
/// in the order of time.
#[derive(Debug)]
pub struct EventLog<'m> {
    events: &'m mut [Event],
    slopes: &'m mut [i32],
    errors: &'m mut [i32],
    ends: &'m mut [u32],
    step: usize,
    len: usize,
}

/// One step of an [`EventLog`], for the backward pass.
#[derive(Debug)]
pub struct LoggedStep<'a> {
    /// Which step of the sample it is, from 0.
    pub step: usize,
    /// The events.
    pub events: &'a [Event],
    /// Per event the slope c = tau_m dV/dt at the crossing (F20).
    pub slopes: &'a [i32],
    /// Per event the error that came back for it (F18, 1/ms); the adjoint kernel replaces it by the
    /// jump that it caused.
    pub errors: &'a mut [i32],
}

/// Steps that have a bit each in a word.
pub(crate) const STEPS_PER_WORD: usize = u64::BITS as usize;

/// The bits that are set in a word, the lowest first.
#[inline(always)]
pub(crate) fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize);
        word &= word.wrapping_sub(1);
        bit
    })
}

impl<'m> EventLog<'m> {
    /// Makes an empty log on memory of the caller: `events`, `slopes` and `errors` bound the number
    /// of events by the shortest of them, `ends` the number of steps.
    pub fn new(
        events: &'m mut [Event],
        slopes: &'m mut [i32],
        errors: &'m mut [i32],
        ends: &'m mut [u32],
    ) -> Self {
        Self {
            events,
            slopes,
            errors,
            ends,
            step: 0,
            len: 0,
        }
    }

    /// Takes memory that holds the events of `steps` finished steps, as an earlier log left it.
    ///
    /// # Panics
    /// If `steps` is more than the memory holds.
    pub fn resume(
        events: &'m mut [Event],
        slopes: &'m mut [i32],
        errors: &'m mut [i32],
        ends: &'m mut [u32],
        steps: usize,
    ) -> Self {
        let mut log = Self::new(events, slopes, errors, ends);
        log.set_steps(steps);
        log
    }

    /// Says how many finished steps the memory holds.
    pub(crate) fn set_steps(&mut self, steps: usize) {
        self.step = steps;
        self.len = (steps.checked_sub(1)).map_or(0, |last| self.ends[last] as usize);
    }

    /// Forgets all events.
    pub fn clear(&mut self) {
        self.step = 0;
        self.len = 0;
    }

    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of finished steps.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.step
    }

    /// Adds an event to the step under way, with its slope (F20).
    ///
    /// # Errors
    /// [`LogFull`] when the memory holds no more events; nothing is stored then.
    #[inline]
    pub fn push(&mut self, event: Event, slope: i32) -> Result<(), LogFull> {
        let (Some(to), Some(c), Some(error)) = (
            self.events.get_mut(self.len),
            self.slopes.get_mut(self.len),
            self.errors.get_mut(self.len),
        ) else {
            return Err(LogFull);
        };
        (*to, *c, *error) = (event, slope, 0);
        self.len += 1;
        Ok(())
    }

    /// Takes the events of a whole sample of `steps` steps, each with its step, in order; forgets all others.
    ///
    /// # Errors
    /// [`LogFull`] when the memory does not hold as many events or steps; the log is empty then.
    ///
    /// # Panics
    /// If an event is of no such step, or of an earlier one than the event before.
    pub fn refill(
        &mut self,
        events: impl Iterator<Item = (usize, Event)>,
        steps: usize,
    ) -> Result<(), LogFull> {
        self.clear();
        self.ends.get_mut(..steps).ok_or(LogFull)?.fill(0);
        let mut latest = 0;
        for (step, event) in events {
            assert!(step >= latest, "an event of an earlier step");
            latest = step;
            if let Err(full) = self.push(event, 0) {
                self.clear();
                return Err(full);
            }
            self.ends[..steps][step] = self.len as u32;
        }
        let mut last = 0;
        for end in &mut self.ends[..steps] {
            last = last.max(*end);
            *end = last;
        }
        self.step = steps;
        Ok(())
    }

    /// Ends the step under way; the next event belongs to the one after it.
    ///
    /// # Errors
    /// [`LogFull`] when the memory holds no more steps.
    pub fn end_step(&mut self) -> Result<(), LogFull> {
        *self.ends.get_mut(self.step).ok_or(LogFull)? = self.len as u32;
        self.step += 1;
        Ok(())
    }

    /// Indices of the events of `step`, in the whole log.
    ///
    /// # Panics
    /// If the step has not ended.
    #[inline]
    #[must_use]
    pub fn range(&self, step: usize) -> core::ops::Range<usize> {
        assert!(step < self.step, "the step has not ended");
        let start = step
            .checked_sub(1)
            .map_or(0, |before| self.ends[before] as usize);
        start..self.ends[step] as usize
    }

    /// Ends steps in which nobody spikes.
    ///
    /// # Errors
    /// [`LogFull`] when the memory holds no more steps.
    pub(crate) fn end_quiet_steps(&mut self, count: usize) -> Result<(), LogFull> {
        let ends = self.ends.get_mut(self.step..self.step + count);
        ends.ok_or(LogFull)?.fill(self.len as u32);
        self.step += count;
        Ok(())
    }

    /// The steps in which somebody spikes, among the 64 from `first` on: a bit for each.
    #[inline]
    pub(crate) fn busy(&self, first: usize) -> u64 {
        let ends = &self.ends[first..self.step.min(first + STEPS_PER_WORD)];
        let mut before = first.checked_sub(1).map_or(0, |before| self.ends[before]);
        let mut busy = 0;
        for (step, &end) in ends.iter().enumerate() {
            busy |= u64::from(end != before) << step;
            before = end;
        }
        busy
    }

    /// The steps in which somebody spikes, in order.
    pub fn busy_steps(&self) -> impl Iterator<Item = usize> {
        let words = (0..self.step).step_by(STEPS_PER_WORD);
        words.flat_map(|first| bits(self.busy(first)).map(move |step| first + step))
    }

    /// Writes the start of the step of each event, in the order of the log; a step has so many `ticks`. What
    /// stands behind these, where the next event would, is overwritten, too.
    ///
    /// (Goes over all steps and all events once, without asking anything of each that a processor might guess
    /// wrong.)
    ///
    /// # Panics
    /// If `starts` is not longer than the log; if the sample has 2^32 ticks or more, where the build checks
    /// overflow.
    pub fn starts(&self, ticks: u32, starts: &mut [u32]) {
        let starts = &mut starts[..=self.len];
        starts.fill(0);
        let mut start = 0;
        for &end in &self.ends[..self.step] {
            start += ticks;
            starts[end as usize] = start;
        }
        let mut last = 0;
        for start in starts {
            last = last.max(*start);
            *start = last;
        }
    }

    /// Events of `step`; an empty slice for steps before the first.
    ///
    /// # Panics
    /// If the step has not ended.
    #[inline]
    #[must_use]
    pub fn events(&self, step: usize) -> &[Event] {
        &self.events[self.range(step)]
    }

    /// Events of `step` with slopes and errors.
    ///
    /// # Panics
    /// If the step has not ended.
    #[inline(always)]
    pub fn step_mut(&mut self, step: usize) -> LoggedStep<'_> {
        let range = self.range(step);
        LoggedStep {
            step,
            events: &self.events[range.clone()],
            slopes: &self.slopes[range.clone()],
            errors: &mut self.errors[range],
        }
    }

    /// The error of every event (F18, 1/ms), in the order of the log.
    pub fn errors_mut(&mut self) -> &mut [i32] {
        &mut self.errors[..self.len]
    }

    /// All events, in the order of the log.
    #[must_use]
    pub fn all(&self) -> &[Event] {
        &self.events[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The steps with events, and those of all events, are told, however many there are, and however the quiet
        /// ones were ended; and a log that takes all events at once is the same.
        #[test]
        fn steps_are_those_of_the_events(
            counts in prop::collection::vec(prop_oneof![3 => Just(0usize), 1 => 1..4usize], 0..200),
        ) {
            let events = counts.iter().sum();
            let mut memory = (vec![Event::default(); events], vec![0; events], vec![0; events], vec![0; counts.len()]);
            let mut log = EventLog::new(&mut memory.0, &mut memory.1, &mut memory.2, &mut memory.3);
            for same in counts.chunk_by(|a, b| *a == 0 && *b == 0) {
                if same[0] == 0 {
                    log.end_quiet_steps(same.len()).unwrap();
                } else {
                    (0..same[0]).for_each(|_| log.push(Event::default(), 0).unwrap());
                    log.end_step().unwrap();
                }
            }
            prop_assert_eq!(log.end_quiet_steps(1), Err(LogFull));
            let busy: Vec<_> = (0..counts.len()).filter(|&step| counts[step] > 0).collect();
            prop_assert_eq!(log.busy_steps().collect::<Vec<_>>(), busy);
            let steps: Vec<_> = (0..counts.len()).flat_map(|step| std::iter::repeat_n(step, counts[step])).collect();
            let mut starts = vec![7; events + 1];
            log.starts(256, &mut starts);
            let expected: Vec<_> = steps.iter().map(|&step| 256 * step as u32).collect();
            prop_assert_eq!(&starts[..events], &expected);
            let ends = log.ends.to_vec();
            log.refill(steps.iter().map(|&step| (step, Event::default())), counts.len()).unwrap();
            prop_assert_eq!((log.len(), log.steps(), &*log.ends), (events, counts.len(), &ends[..]));
            let lengths: Vec<_> = (0..counts.len()).map(|step| log.events(step).len()).collect();
            prop_assert_eq!(&lengths, &counts);
            prop_assert_eq!(log.refill(std::iter::empty(), counts.len() + 1), Err(LogFull));
        }
    }
}
