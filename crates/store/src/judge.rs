//! The judgement of devices' clocks: pure functions over the batches of one boot.
//!
//! Ticks run through a boot whatever happens to the clock, so time minus ticks (the base) is constant while the clock is
//! left alone. An unset clock's times follow from the base of another batch of the boot; without one, from the arrival. A
//! base that jumps and is steady before and after is a step. Answers follow from the batches alone, in any order of
//! arrival. Reads and writes nothing; whether a step is believed is for a person to say.

use fieldkeep_protocol::ClockQuality;
use fieldkeep_protocol::batch::{Batch, Step};

/// Two bases nearer than this are one.
const SAME_US: i64 = 5_000_000;
/// A synchronised clock agreed with the cloud's to this.
const AGREEMENT_US: i64 = 2_000_000;
/// How much longer than the ticks until the next one a batch may seem to last.
const SPAN_US: i64 = 1_000_000;
/// More stretches than this in a boot, and its clock is no clock.
const MOST_SEGMENTS: usize = 64;
/// A quartz is off by no more than one in so many.
const QUARTZ: u64 = 10_000;

/// A batch as far as its clock goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    /// Its row.
    pub(crate) id: i64,
    pub(crate) first: u64,
    /// Inclusive.
    pub(crate) last: u64,
    pub(crate) boot: u32,
    pub(crate) ticks_us: u64,
    pub(crate) clock: ClockQuality,
    /// The first record's time, as sent.
    pub(crate) time_us: i64,
    /// The last record's time, as sent.
    pub(crate) last_us: i64,
    /// The steps inside.
    pub(crate) steps: Vec<Step>,
    pub(crate) received_us: i64,
}

impl Seen {
    pub(crate) fn new(id: i64, received_us: i64, batch: &Batch<'_>) -> Self {
        let header = batch.header();
        Self {
            id,
            first: header.first,
            last: header.range().end().saturating_sub(1),
            boot: header.boot,
            ticks_us: header.ticks_us,
            clock: header.clock,
            time_us: batch.first_time().as_micros(),
            last_us: batch.last_time().as_micros(),
            steps: batch.steps().filter(|step| step.record > 0).collect(),
            received_us,
        }
    }

    /// Time minus ticks at the first record.
    fn base(&self) -> i64 {
        base(self.time_us, self.ticks_us)
    }

    fn stepped(&self) -> i64 {
        self.steps
            .iter()
            .fold(0, |sum, step| step.by_us.saturating_add(sum))
    }

    fn last_ticks(&self) -> i64 {
        let passed = self
            .last_us
            .saturating_sub(self.time_us)
            .saturating_sub(self.stepped());
        signed(self.ticks_us).saturating_add(passed.max(0))
    }
}

/// Time minus ticks.
pub(crate) fn base(time_us: i64, ticks_us: u64) -> i64 {
    time_us.saturating_sub(signed(ticks_us))
}

/// Whether two bases, read so many ticks apart, are one: a clock left alone drifts a little.
pub(crate) fn is_same(one: i64, other: i64, ticks_us: u64) -> bool {
    one.abs_diff(other)
        <= SAME_US
            .unsigned_abs()
            .saturating_add(ticks_us / (QUARTZ / 2))
}

/// The batches whose times were read from the clock. A device that brings in its history has batches that span more time
/// than passed until the next one began: their times say nothing of its clock.
fn live(boot: &[Seen]) -> Vec<&Seen> {
    let mut was_live = true;
    boot.iter()
        .zip(boot.iter().skip(1).map(Some).chain(std::iter::once(None)))
        .filter(|(seen, next)| {
            was_live = next.map_or(was_live, |next| {
                seen.last_ticks() <= signed(next.ticks_us).saturating_add(SPAN_US)
            });
            was_live
        })
        .map(|(seen, _)| seen)
        .collect()
}

/// What an unset clock's times are set right by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Correction {
    pub(crate) offset_us: i64,
    /// `None`: it may be anything.
    pub(crate) error_us: Option<i64>,
    /// Nothing but the arrival tells.
    pub(crate) by_arrival: bool,
}

/// What is known of the end of a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// No better batch is to be waited for.
    pub(crate) is_over: bool,
    /// The newest believed time before the boot.
    pub(crate) before_us: Option<i64>,
}

/// The correction of one batch of a boot, by the batch of that boot whose clock is known best and nearest by ticks:
/// a synchronised one; when the boot is over, a free-running one, and at last its arrival. `None`: wait, or, where the
/// boot is over, let a person say.
pub(crate) fn correct(boot: &[Seen], one: &Seen, ending: Ending) -> Option<Correction> {
    let boot = live(boot);
    if !boot.iter().any(|seen| seen.id == one.id) {
        return None;
    }
    let synchronised = |seen: &&Seen| seen.clock == ClockQuality::Synchronised;
    let running = |seen: &&Seen| matches!(seen.clock, ClockQuality::FreeRunning { .. });
    let boot = || boot.iter().copied();
    if let Some(anchor) = nearest(boot().filter(synchronised), one) {
        return Some(by_ticks(anchor, one));
    }
    if !ending.is_over {
        return None;
    }
    if let Some(anchor) = nearest(boot().filter(running), one) {
        return Some(by_ticks(anchor, one));
    }
    // Each unset batch was taken before it came: the earliest of these bounds is the tightest.
    let latest = boot()
        .filter(|seen| seen.clock == ClockQuality::Unset)
        .map(|seen| seen.received_us.saturating_sub(seen.last_ticks()))
        .min()?;
    Some(Correction {
        offset_us: latest.saturating_sub(one.base()),
        error_us: ending
            .before_us
            .map(|before| latest.saturating_sub(before).max(0)),
        by_arrival: true,
    })
}

fn nearest<'a>(anchors: impl Iterator<Item = &'a Seen>, one: &Seen) -> Option<&'a Seen> {
    anchors
        .filter(|seen| seen.id != one.id)
        .min_by_key(|seen| (seen.ticks_us.abs_diff(one.ticks_us), u64::MAX - seen.first))
}

fn by_ticks(anchor: &Seen, one: &Seen) -> Correction {
    let apart_us = anchor.ticks_us.abs_diff(one.ticks_us);
    let age_us = match anchor.clock {
        ClockQuality::FreeRunning { age_s } => u64::from(age_s) * 1_000_000,
        ClockQuality::Synchronised | ClockQuality::Unset => 0,
    };
    Correction {
        offset_us: anchor.base().saturating_sub(one.base()),
        error_us: Some(error_us(apart_us.saturating_add(age_us))),
        by_arrival: false,
    }
}

fn error_us(ticks_us: u64) -> i64 {
    AGREEMENT_US.saturating_add(signed(ticks_us / QUARTZ))
}

/// Records whose clock seems to have been stepped away from what it was, or is since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suspicion {
    pub(crate) first: u64,
    /// Inclusive.
    pub(crate) last: u64,
    /// It is the last of the boot so far: what follows belongs to it too.
    pub(crate) open_end: bool,
    /// What would set them right.
    pub(crate) offset_us: i64,
    pub(crate) error_us: i64,
    /// The step: between these two records so much time passed by the clock, and so much by the ticks.
    pub(crate) since: u64,
    pub(crate) at: u64,
    pub(crate) wall_us: i64,
    pub(crate) ticks_us: i64,
    /// The device itself said that its clock was stepped.
    pub(crate) declared: bool,
}

/// A stretch of records with one base.
#[derive(Clone, Copy, Debug)]
struct Segment {
    first: u64,
    last: u64,
    base: i64,
    /// The base at its last piece: it may have drifted.
    end_base: i64,
    ticks_us: i64,
    end_first: u64,
    end_ticks_us: i64,
    pieces: u32,
    synchronised: bool,
    /// The device says that it begins with a step.
    declared: bool,
}

/// What seems to be wrong in a boot, whose batches come by ascending record numbers. `is_over`: another boot has begun.
///
/// A stretch whose clock agreed with the cloud's is believed; without one, the first. A stretch of a single batch counts
/// only where the device declared the step or the bases around it agree.
pub(crate) fn steps(boot: &[Seen], is_over: bool) -> Vec<Suspicion> {
    let segments = segments(&live(boot));
    if segments.len() > MOST_SEGMENTS {
        return Vec::new();
    }
    let steady: Vec<bool> = (0..segments.len())
        .map(|position| is_steady(&segments, position))
        .collect();
    let believed = |position: usize, synchronised: bool| {
        steady.get(position) == Some(&true)
            && segments
                .get(position)
                .is_some_and(|segment| segment.synchronised || !synchronised)
    };
    let places = 0..segments.len();
    let mut trusted: Vec<usize> = places.clone().filter(|at| believed(*at, true)).collect();
    if trusted.is_empty() {
        trusted = places
            .clone()
            .filter(|at| believed(*at, false))
            .take(1)
            .collect();
    }
    let mut found = Vec::new();
    for (position, segment) in segments.iter().enumerate() {
        // Where two that are trusted disagree, the earlier one is right.
        let reference = if trusted.contains(&position) {
            trusted.first()
        } else {
            trusted.iter().min_by_key(|other| other.abs_diff(position))
        };
        let Some(reference) = reference.and_then(|at| segments.get(*at)) else {
            continue;
        };
        if steady.get(position) != Some(&true) {
            continue;
        }
        let is_after = reference.first < segment.first;
        let (theirs, ours, apart) = if is_after {
            let apart = segment.ticks_us.abs_diff(reference.end_ticks_us);
            (reference.end_base, segment.base, apart)
        } else {
            let apart = reference.ticks_us.abs_diff(segment.end_ticks_us);
            (reference.base, segment.end_base, apart)
        };
        if is_same(theirs, ours, apart) {
            continue;
        }
        let (before, after) = if is_after {
            (position.checked_sub(1), Some(position))
        } else {
            (Some(position), position.checked_add(1))
        };
        let pair = before
            .and_then(|at| segments.get(at))
            .zip(after.and_then(|at| segments.get(at)));
        let Some((before, after)) = pair else {
            continue;
        };
        let ticks_us = after.ticks_us.saturating_sub(before.end_ticks_us);
        let jump_us = after.base.saturating_sub(before.end_base);
        found.push(Suspicion {
            first: segment.first,
            last: segment.last,
            open_end: !is_over && position + 1 == segments.len(),
            offset_us: theirs.saturating_sub(ours),
            error_us: error_us(apart),
            since: before.end_first,
            at: after.first,
            wall_us: ticks_us.saturating_add(jump_us),
            ticks_us,
            declared: after.declared,
        });
    }
    found
}

fn is_steady(segments: &[Segment], position: usize) -> bool {
    let Some(segment) = segments.get(position) else {
        return false;
    };
    let next = segments.get(position + 1);
    let before = position.checked_sub(1).and_then(|at| segments.get(at));
    let is_between = before.zip(next).is_some_and(|(before, next)| {
        let apart = next.ticks_us.abs_diff(before.end_ticks_us);
        before.pieces > 1 && next.pieces > 1 && is_same(before.end_base, next.base, apart)
    });
    segment.pieces > 1 || segment.declared || next.is_some_and(|next| next.declared) || is_between
}

/// Cuts the batches of a boot where the base changes or the device declares a step.
fn segments(boot: &[&Seen]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let set = boot.iter().filter(|seen| seen.clock != ClockQuality::Unset);
    for seen in set {
        let synchronised = seen.clock == ClockQuality::Synchronised;
        let (mut first, mut base) = (seen.first, seen.base());
        let count = seen.last.saturating_sub(seen.first).max(1);
        // Where in the batch a step is, the ticks are not told: in proportion.
        let length = seen.last_ticks().saturating_sub(signed(seen.ticks_us));
        let mut declared = false;
        let cuts = seen
            .steps
            .iter()
            .filter(|step| step.by_us.unsigned_abs() > SAME_US.unsigned_abs());
        let ends = cuts
            .map(|step| Some((step, seen.first.saturating_add(u64::from(step.record)))))
            .chain(std::iter::once(None));
        for end in ends {
            let last = end.map_or(seen.last, |(_, at)| at.saturating_sub(1));
            let into = i128::from(length) * i128::from(first - seen.first) / i128::from(count);
            let into = i64::try_from(into).unwrap_or(length);
            let ticks_us = signed(seen.ticks_us).saturating_add(into);
            add(
                &mut segments,
                Segment {
                    first,
                    last,
                    base,
                    end_base: base,
                    ticks_us,
                    end_first: first,
                    end_ticks_us: ticks_us,
                    pieces: 1,
                    synchronised,
                    declared,
                },
            );
            if let Some((step, at)) = end {
                (first, base, declared) = (at, base.saturating_add(step.by_us), true);
            }
        }
    }
    segments
}

fn add(segments: &mut Vec<Segment>, piece: Segment) {
    if let Some(last) = segments.last_mut() {
        let apart = piece.ticks_us.abs_diff(last.end_ticks_us);
        if !piece.declared && is_same(last.end_base, piece.base, apart) {
            last.last = piece.last;
            last.end_base = piece.base;
            last.end_first = piece.first;
            last.end_ticks_us = piece.ticks_us;
            last.pieces += 1;
            last.synchronised |= piece.synchronised;
            return;
        }
    }
    segments.push(piece);
}

fn signed(ticks_us: u64) -> i64 {
    i64::try_from(ticks_us).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
