//! Where a series has no values, and why.
//!
//! Points closer than 2.5 nominal intervals are one run; what lies between runs is a gap. Records that are there without
//! a value, held batches, and numbers that the device gave up explain a gap; what nothing explains has no records.
//! Runs are merged while they are read, in any order, so that their number follows the gaps and not the points.

/// Why there are no values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapReason {
    /// Nothing that was stored says anything about this time.
    NoRecords,
    /// The sensor did not answer, or answered nonsense.
    SensorError,
    /// The channel was not sampled.
    NotSampled,
    /// It was sampled and lost on the device.
    Dropped,
    /// Records are stored but cannot be read yet: their clock is not trusted, or their channel table is missing.
    Held,
    /// Records are stored but their bytes do not authenticate.
    Damaged,
}

/// A stretch of time without values, from the last value before it to the first one after it, or to the range's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where it begins.
    pub from: fieldkeep_protocol::Timestamp,
    /// Where it ends.
    pub to: fieldkeep_protocol::Timestamp,
    /// Why.
    pub reason: GapReason,
}

/// Instants that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) from: i64,
    /// Inclusive.
    pub(crate) to: i64,
    /// The longest nominal interval in it; 0 where sampling is on events, and silence means nothing.
    pub(crate) interval_us: u64,
}

/// Runs of one kind, sorted, further apart than their reach.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    runs: Vec<Run>,
    scale: Scale,
}

/// What is near.
#[derive(Clone, Copy, Debug)]
struct Scale {
    /// Runs nearer than this are one, whatever their interval.
    grain_us: i64,
    /// So many tenths of an interval are no gap.
    tenths: i64,
}

impl Runs {
    pub(crate) fn new(grain_us: i64) -> Self {
        let tenths = 25;
        Self {
            runs: Vec::new(),
            scale: Scale { grain_us, tenths },
        }
    }

    /// How far apart two instants of a run may lie.
    pub(crate) fn reach(&self, run: &Run) -> i64 {
        reach(run, run, self.scale)
    }

    /// The runs, by time.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    /// The nominal interval of what lies right before an instant, or first after it.
    pub(crate) fn interval_at(&self, time: i64) -> Option<u64> {
        let after = self.runs.partition_point(|run| run.from <= time);
        let run = self.runs.get(after.saturating_sub(1))?;
        Some(run.interval_us)
    }

    /// Whether an instant lies in a run.
    pub(crate) fn covers(&self, time: i64) -> bool {
        let after = self.runs.partition_point(|run| run.from <= time);
        let before = after.checked_sub(1).and_then(|at| self.runs.get(at));
        before.is_some_and(|run| time <= run.to)
    }

    /// Whether all of a run lies in one of these.
    pub(crate) fn holds(&self, other: &Run) -> bool {
        let after = self.runs.partition_point(|run| run.from <= other.from);
        let before = after.checked_sub(1).and_then(|at| self.runs.get(at));
        before.is_some_and(|run| other.to <= run.to)
    }

    /// The first instant.
    pub(crate) fn first(&self) -> Option<i64> {
        self.runs.first().map(|run| run.from)
    }

    /// Adds one run, in whatever order.
    pub(crate) fn add(&mut self, run: Run) {
        if let Some(last) = self.runs.last_mut()
            && run.from >= last.from
            && run.from.saturating_sub(last.to) <= reach(last, &run, self.scale)
        {
            join(last, &run);
            return;
        }
        let mut position = self.runs.partition_point(|known| known.from <= run.from);
        self.runs.insert(position, run);
        if position > 0 && self.merge_with_next(position - 1) {
            position -= 1;
        }
        while self.merge_with_next(position) {}
    }

    /// Adds instants, by time, that have one nominal interval.
    pub(crate) fn add_times(&mut self, times: &[i64], interval_us: u64) {
        let mut times = times.iter().copied();
        let Some(first) = times.next() else { return };
        let mut run = Run {
            from: first,
            to: first,
            interval_us,
        };
        let reach = reach(&run, &run, self.scale);
        for time in times {
            if time.saturating_sub(run.to) > reach {
                self.add(run);
                run.from = time;
            }
            run.to = time;
        }
        self.add(run);
    }

    fn merge_with_next(&mut self, position: usize) -> bool {
        let Some(next) = self.runs.get(position + 1).copied() else {
            return false;
        };
        let scale = self.scale;
        let Some(run) = self.runs.get_mut(position) else {
            return false;
        };
        if next.from.saturating_sub(run.to) > reach(run, &next, scale) {
            return false;
        }
        join(run, &next);
        self.runs.remove(position + 1);
        true
    }
}

/// Everything seen of one series in one window of time.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) valued: Runs,
    absent: Vec<(GapReason, Runs)>,
}

impl Sight {
    pub(crate) fn new(grain_us: i64) -> Self {
        Self {
            valued: Runs::new(grain_us),
            absent: Vec::new(),
        }
    }

    /// That sees where a single value is missing: more than 1.5 intervals are a gap.
    pub(crate) fn close() -> Self {
        let mut sight = Self::new(0);
        sight.valued.scale.tenths = 15;
        sight
    }

    /// Adds records without a value, or what else explains that there is none.
    pub(crate) fn add_absent(&mut self, reason: GapReason, run: Run) {
        match self.absent.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, runs)) => runs.add(run),
            None => {
                let mut runs = Runs {
                    runs: Vec::new(),
                    scale: self.valued.scale,
                };
                runs.add(run);
                self.absent.push((reason, runs));
            }
        }
    }

    /// The gaps between `from` and `to`; `interval_us` is nominal where nothing was seen that says another.
    pub(crate) fn gaps(&self, from: i64, to: i64, interval_us: u64) -> Vec<Gap> {
        let mut absent: Vec<(GapReason, Run)> = self
            .absent
            .iter()
            .flat_map(|(reason, runs)| runs.runs.iter().map(|run| (*reason, *run)))
            .collect();
        absent.sort_by_key(|(reason, run)| (run.from, run.to, *reason));
        let mut gaps = Found::default();
        let mut before: Option<Run> = None;
        for run in &self.valued.runs {
            let left = before.unwrap_or(Run {
                from,
                to: from,
                interval_us: run.interval_us,
            });
            let reach = reach(&left, run, self.valued.scale);
            gaps.between(left.to.max(from), run.from.min(to), reach, &absent);
            before = Some(*run);
        }
        let (start, interval_us) = before.map_or((from, interval_us), |run| {
            (run.to.max(from), run.interval_us)
        });
        let last = Run {
            from: start,
            to: start,
            interval_us,
        };
        gaps.between(start, to, reach(&last, &last, self.valued.scale), &absent);
        gaps.0
    }
}

#[derive(Default)]
struct Found(Vec<Gap>);

impl Found {
    fn between(&mut self, from: i64, to: i64, reach: i64, absent: &[(GapReason, Run)]) {
        if to.saturating_sub(from) <= reach {
            return;
        }
        let begins = self.0.len();
        let mut seen = from;
        let mut reason_before = None;
        // A run may begin far back and reach in here, so only the far side can be cut off by search.
        let end = absent.partition_point(|(_, run)| run.from < to);
        for (reason, run) in absent.get(..end).unwrap_or_default() {
            if run.to < from || run.to <= seen && seen > from {
                continue;
            }
            let start = run.from.clamp(seen, to);
            if start.saturating_sub(seen) > reach {
                self.push(begins, seen, start, GapReason::NoRecords);
                self.push(begins, start, run.to.min(to), *reason);
            } else {
                self.push(begins, seen, run.to.min(to), *reason);
            }
            seen = run.to.min(to).max(seen);
            reason_before = Some(*reason);
        }
        let rest = match reason_before {
            Some(reason) if to.saturating_sub(seen) <= reach => reason,
            _ => GapReason::NoRecords,
        };
        self.push(begins, seen, to, rest);
    }

    fn push(&mut self, begins: usize, from: i64, to: i64, reason: GapReason) {
        if from >= to {
            return;
        }
        let to = fieldkeep_protocol::Timestamp::from_micros(to);
        let open = self.0.len() > begins;
        if let Some(last) = self.0.last_mut()
            && open
            && last.reason == reason
        {
            last.to = to;
            return;
        }
        let from = fieldkeep_protocol::Timestamp::from_micros(from);
        self.0.push(Gap { from, to, reason });
    }
}

/// How far two runs may lie apart and still be one.
fn reach(left: &Run, right: &Run, scale: Scale) -> i64 {
    if left.interval_us == 0 || right.interval_us == 0 {
        return i64::MAX;
    }
    let interval = i64::try_from(left.interval_us.max(right.interval_us)).unwrap_or(i64::MAX);
    let tenths = i128::from(interval) * i128::from(scale.tenths) / 10;
    i64::try_from(tenths)
        .unwrap_or(i64::MAX)
        .max(scale.grain_us)
}

fn join(run: &mut Run, other: &Run) {
    run.to = run.to.max(other.to);
    run.interval_us = if run.interval_us == 0 || other.interval_us == 0 {
        0
    } else {
        run.interval_us.max(other.interval_us)
    };
}

#[cfg(test)]
mod tests {
    use fieldkeep_protocol::Timestamp;
    use proptest::prelude::*;

    use super::{Gap, GapReason, Run, Runs, Sight};

    fn at(time: i64) -> Run {
        Run {
            from: time,
            to: time,
            interval_us: 10,
        }
    }

    fn gap(from: i64, to: i64, reason: GapReason) -> Gap {
        Gap {
            from: Timestamp::from_micros(from),
            to: Timestamp::from_micros(to),
            reason,
        }
    }

    proptest! {
        #[test]
        fn any_order_gives_the_gaps_of_sorted_times(mut times in prop::collection::vec(0i64..2_000, 0..60)) {
            let mut sight = Sight::new(0);
            for time in &times {
                sight.valued.add(at(*time));
            }
            times.extend([0, 2_000]);
            times.sort_unstable();
            let expected: Vec<Gap> = times.windows(2)
                .filter(|pair| pair[1] - pair[0] > 25)
                .map(|pair| gap(pair[0], pair[1], GapReason::NoRecords))
                .collect();
            prop_assert_eq!(sight.gaps(0, 2_000, 10), expected);
        }
    }

    proptest! {
        #[test]
        fn many_times_are_as_one_by_one(mut times in prop::collection::vec(0i64..2_000, 0..60), grain in 0i64..90) {
            times.sort_unstable();
            let (mut one, mut many) = (Runs::new(grain), Runs::new(grain));
            for time in &times {
                one.add(at(*time));
            }
            let (left, right) = times.split_at(times.len() / 3);
            many.add_times(right, 10);
            many.add_times(left, 10);
            prop_assert_eq!(one.runs, many.runs);
        }
    }

    #[test]
    fn records_without_values_explain_their_part_of_a_gap() {
        let mut sight = Sight::new(0);
        sight.valued.add(at(0));
        sight.valued.add(at(1_000));
        for time in (100..=300).step_by(10) {
            sight.add_absent(GapReason::SensorError, at(time));
        }
        assert_eq!(
            sight.gaps(0, 1_000, 10),
            [
                gap(0, 100, GapReason::NoRecords),
                gap(100, 300, GapReason::SensorError),
                gap(300, 1_000, GapReason::NoRecords),
            ]
        );
    }

    #[test]
    fn a_gap_filled_by_one_reason_is_one_gap() {
        let mut sight = Sight::new(0);
        sight.valued.add(at(0));
        sight.valued.add(at(100));
        for time in (10..100).step_by(10) {
            sight.add_absent(GapReason::NotSampled, at(time));
        }
        assert_eq!(sight.gaps(0, 110, 10), [gap(0, 100, GapReason::NotSampled)]);
    }

    #[test]
    fn sampling_on_events_has_no_gaps() {
        let mut sight = Sight::new(0);
        sight.valued.add(Run {
            from: 5,
            to: 5,
            interval_us: 0,
        });
        assert!(sight.gaps(0, 1_000_000, 0).is_empty());
    }

    #[test]
    fn a_grain_bounds_the_number_of_runs() {
        let mut runs = Runs::new(100);
        for time in (0..10_000).rev().step_by(50) {
            runs.add(at(time));
        }
        assert_eq!(runs.runs.len(), 1);
    }
}
