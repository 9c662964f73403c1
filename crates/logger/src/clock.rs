//! Owns the judgement of the clock: how far its time can be believed, whether it was stepped, and what to add to it.
//!
//! The rules: a clock behind the newest provable time is unset. One that agreed with the cloud within two seconds, less
//! than a day ago and without a step since, is synchronised; a quartz loses about that much in a day. Any other is
//! free-running, since its last agreement or, if there was none, since the newest provable time. An unset clock is
//! corrected by what the cloud says, for the logger only: the system's clock is not touched. Certificates are judged by
//! the last agreement and the ticks since, where there was one: no step of the system's clock makes them look expired.
//! A clock that the cloud never agreed with, and by which the cloud's certificate has run out, is disproved by that
//! certificate where it holds at the newest provable time: it counts as unset until the cloud has said the time.
//! Does not read a clock.

use fieldkeep_protocol::record::ClockQuality;

/// How far apart two clocks may be and still agree.
const AGREEMENT_US: i64 = 2_000_000;
/// How long an agreement is worth something.
const SYNCHRONISED_US: u64 = 24 * 3_600 * 1_000_000;
/// A clock set back a little by its time source is not unset.
const SLACK_US: i64 = 300 * 1_000_000;
/// A difference between wall and monotonic clock above this is a step.
const STEP_US: i64 = 500_000;

/// The time of this build in microseconds: no right clock is behind it.
pub fn build_time_us() -> i64 {
    env!("FIELDKEEP_BUILD_UNIX").parse::<i64>().unwrap_or(0) * 1_000_000
}

/// What the clocks showed at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The system's clock, microseconds since 1970 UTC.
    pub wall_us: i64,
    /// The monotonic clock, microseconds since this start of the logger.
    pub ticks_us: u64,
}

/// A reading with what it is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The best known time.
    pub time_us: i64,
    /// How far it can be believed.
    pub quality: ClockQuality,
    /// By how much the time was stepped since the judgement before, if it was.
    pub step_us: Option<i64>,
}

/// What came of the cloud's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The clocks agree.
    Agrees,
    /// The clock was unset and is corrected.
    Corrected,
    /// The clocks differ by so much and neither is proven wrong.
    Differs {
        /// The cloud's time minus ours.
        by_us: i64,
    },
}

/// The judge of one clock.
#[derive(Clone, Debug)]
pub struct Judge {
    proven_us: i64,
    offset_us: i64,
    agreed_at: Option<u64>,
    /// The cloud's time when the clock last agreed with it or was corrected by it, and the ticks then.
    anchor: Option<(i64, u64)>,
    /// The cloud's certificate is none by this clock.
    disproved: bool,
    before: Option<(i64, u64)>,
    /// The system's clock as it was at the record before, without what is added to it.
    wall_before: Option<Reading>,
}

impl Judge {
    /// A judge who knows that it is not earlier than `proven_us`.
    pub fn new(proven_us: i64) -> Judge {
        Judge {
            proven_us,
            offset_us: 0,
            agreed_at: None,
            anchor: None,
            disproved: false,
            before: None,
            wall_before: None,
        }
    }

    /// It is not earlier than this either.
    pub fn prove(&mut self, time_us: i64) {
        self.proven_us = self.proven_us.max(time_us);
    }

    /// The best known time and its quality; steps are not looked for.
    pub fn time(&self, reading: Reading) -> (i64, ClockQuality) {
        let time_us = reading.wall_us.saturating_add(self.offset_us);
        if self.disproved || time_us.saturating_add(SLACK_US) < self.proven_us {
            return (time_us, ClockQuality::Unset);
        }
        let age_us = self.agreed_at.map(|at| reading.ticks_us.saturating_sub(at));
        let quality = match age_us {
            Some(age) if age <= SYNCHRONISED_US => ClockQuality::Synchronised,
            Some(age) => free_running(age),
            None => free_running(time_us.saturating_sub(self.proven_us).max(0).unsigned_abs()),
        };
        (time_us, quality)
    }

    /// Judges the instant of a record; a step since the record before ends an agreement.
    pub fn judge(&mut self, reading: Reading) -> Judged {
        let set_by = self.wall_before.replace(reading).and_then(|before| {
            let passed = passed_us(before.ticks_us, reading.ticks_us);
            let step = reading
                .wall_us
                .saturating_sub(before.wall_us)
                .saturating_sub(passed);
            (step.saturating_abs() > STEP_US).then_some(step)
        });
        self.disproved &= set_by.is_none();
        // A system clock that has been set right needs no correction any more. One that merely went on until it passed
        // what is proven does: it is as wrong as before.
        if self.offset_us != 0
            && let Some(step) = set_by
        {
            let is_right = reading.wall_us.saturating_add(SLACK_US) >= self.proven_us;
            self.offset_us = if is_right {
                0
            } else {
                self.offset_us.saturating_sub(step)
            };
        }
        let now = reading.wall_us.saturating_add(self.offset_us);
        let step_us = self.before.and_then(|(wall, ticks)| {
            let step = now
                .saturating_sub(wall)
                .saturating_sub(passed_us(ticks, reading.ticks_us));
            (step.saturating_abs() > STEP_US).then_some(step)
        });
        self.before = Some((now, reading.ticks_us));
        if step_us.is_some_and(|step| step.saturating_abs() > AGREEMENT_US)
            && self.agreed_at.is_some_and(|at| at < reading.ticks_us)
        {
            self.agreed_at = None;
        }
        let (time_us, quality) = self.time(reading);
        Judged {
            time_us,
            quality,
            step_us,
        }
    }

    /// Takes the cloud's time into account.
    pub fn cloud_says(&mut self, reading: Reading, cloud_us: i64) -> Verdict {
        let (time_us, quality) = self.time(reading);
        let by_us = cloud_us.saturating_sub(time_us);
        if by_us.saturating_abs() <= AGREEMENT_US {
            self.agreed_at = Some(reading.ticks_us);
            self.anchor = Some((cloud_us, reading.ticks_us));
            self.disproved = false;
            return Verdict::Agrees;
        }
        if quality == ClockQuality::Unset && cloud_us >= self.proven_us.saturating_sub(SLACK_US) {
            self.offset_us = self.offset_us.saturating_add(by_us);
            self.disproved = false;
            self.anchor = Some((cloud_us, reading.ticks_us));
            self.wall_before = Some(reading);
            // The step that this makes is no reason to doubt the time that made it.
            self.agreed_at = Some(reading.ticks_us.saturating_add(1));
            self.before = self
                .before
                .map(|(wall, ticks)| (wall.saturating_add(by_us), ticks));
            return Verdict::Corrected;
        }
        Verdict::Differs { by_us }
    }

    /// The newest provable time, in seconds, where nothing but the system's clock says more: neither the cloud has said
    /// the time since this start, nor is the clock unset.
    pub fn unproven_s(&self, reading: Reading) -> Option<u64> {
        let is_unproven = self.anchor.is_none() && self.time(reading).1 != ClockQuality::Unset;
        is_unproven.then(|| self.proven_us.max(0).unsigned_abs() / 1_000_000)
    }

    /// Whether the cloud has said the time since this start, and was believed.
    pub fn was_told(&self) -> bool {
        self.anchor.is_some()
    }

    /// The cloud has shown a certificate that holds at the newest provable time and not at the clock's.
    pub fn disprove(&mut self) {
        self.disproved = true;
    }

    /// Whether asking the cloud for its time would help.
    pub fn wants_time(&self, reading: Reading) -> bool {
        let fresh = SYNCHRONISED_US - SYNCHRONISED_US / 6;
        self.agreed_at
            .is_none_or(|at| reading.ticks_us.saturating_sub(at) > fresh)
    }

    /// The time by which certificates are judged, in seconds: what the cloud said and the ticks since. Where it has said
    /// nothing yet, the clock's; an unset clock counts as the newest provable time.
    pub fn certificate_time_s(&self, reading: Reading) -> u64 {
        let (time_us, quality) = self.time(reading);
        let judged = match (self.anchor, quality) {
            (Some((said_us, ticks)), _) => said_us
                .saturating_add(passed_us(ticks, reading.ticks_us))
                .max(self.proven_us),
            (None, ClockQuality::Unset) => self.proven_us,
            (None, ClockQuality::Synchronised | ClockQuality::FreeRunning { .. }) => time_us,
        };
        judged.max(0).unsigned_abs() / 1_000_000
    }
}

fn passed_us(from: u64, to: u64) -> i64 {
    i64::try_from(to.saturating_sub(from)).unwrap_or(i64::MAX)
}

fn free_running(age_us: u64) -> ClockQuality {
    ClockQuality::FreeRunning {
        age_s: u32::try_from(age_us / 1_000_000).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400 * 1_000_000;
    const NOW: i64 = 1_800_000_000 * 1_000_000;

    fn at(wall_us: i64, ticks_s: u64) -> Reading {
        Reading {
            wall_us,
            ticks_us: ticks_s * 1_000_000,
        }
    }

    #[test]
    fn agreement_synchronises_for_a_day_and_a_step_ends_it() {
        let mut judge = Judge::new(NOW - DAY);
        assert_eq!(
            judge.judge(at(NOW, 1)).quality,
            ClockQuality::FreeRunning { age_s: 86_400 }
        );
        assert_eq!(
            judge.cloud_says(at(NOW, 1), NOW + 1_900_000),
            Verdict::Agrees
        );
        let second = judge.judge(at(NOW + 1_000_000, 2));
        assert_eq!(
            (second.quality, second.step_us),
            (ClockQuality::Synchronised, None)
        );
        assert_eq!(
            judge.time(at(NOW + 2 * DAY, 172_801)).1,
            ClockQuality::FreeRunning { age_s: 172_800 }
        );
        let stepped = judge.judge(at(NOW + 62_000_000, 3));
        assert_eq!(stepped.step_us, Some(60_000_000));
        assert!(matches!(stepped.quality, ClockQuality::FreeRunning { .. }));
        assert_eq!(
            judge.cloud_says(at(NOW + 62_000_000, 3), NOW),
            Verdict::Differs { by_us: -62_000_000 }
        );
    }

    #[test]
    fn an_unset_clock_is_corrected_and_the_correction_goes_when_the_system_is_set() {
        let mut judge = Judge::new(NOW);
        let unset = at(0, 1);
        assert_eq!(judge.judge(unset).quality, ClockQuality::Unset);
        assert_eq!(judge.certificate_time_s(unset), 1_800_000_000);
        assert_eq!(judge.cloud_says(unset, NOW + DAY), Verdict::Corrected);
        let corrected = judge.judge(at(1_000_000, 2));
        assert_eq!(
            corrected,
            Judged {
                time_us: NOW + DAY + 1_000_000,
                quality: ClockQuality::Synchronised,
                step_us: None
            }
        );
        let set = judge.judge(at(NOW + DAY + 2_100_000, 3));
        assert_eq!(
            (set.time_us, set.quality),
            (NOW + DAY + 2_100_000, ClockQuality::Synchronised)
        );
    }

    #[test]
    fn a_correction_stays_while_the_system_clock_only_runs_on() {
        const HOUR: i64 = 3_600 * 1_000_000;
        let mut judge = Judge::new(NOW);
        judge.judge(at(NOW - HOUR, 1));
        assert_eq!(judge.cloud_says(at(NOW - HOUR, 1), NOW), Verdict::Corrected);
        // Two hours without the cloud: the system's clock has passed what is proven and is still an hour behind.
        for minute in 1..=120 {
            let passed = minute * 60_000_000;
            let judged = judge.judge(at(NOW - HOUR + passed, 1 + minute.unsigned_abs() * 60));
            assert_eq!((judged.time_us, judged.step_us), (NOW + passed, None));
        }
        // Set, but still wrong by more than is forgiven: the corrected time goes on.
        let mut judge = Judge::new(NOW);
        judge.judge(at(0, 1));
        assert_eq!(judge.cloud_says(at(0, 1), NOW), Verdict::Corrected);
        let judged = judge.judge(at(NOW - HOUR, 2));
        assert_eq!((judged.time_us, judged.step_us), (NOW + 1_000_000, None));
    }

    #[test]
    fn a_jump_of_the_clock_does_not_confuse_certificates() {
        let mut judge = Judge::new(NOW - DAY);
        assert_eq!(judge.cloud_says(at(NOW, 1), NOW), Verdict::Agrees);
        judge.judge(at(NOW, 1));
        let now_s = NOW.unsigned_abs() / 1_000_000;
        for jump in [366 * DAY, -DAY / 24, -366 * DAY] {
            let jumped = judge.judge(at(NOW + jump + 1_000_000, 2));
            assert_ne!(jumped.quality, ClockQuality::Synchronised);
            assert_eq!(
                judge.certificate_time_s(at(NOW + jump + 9_000_000, 10)),
                now_s + 9
            );
        }
    }

    #[test]
    fn a_clock_that_a_certificate_disproves_is_unset_until_the_cloud_has_said_the_time() {
        let ahead = at(NOW + 400 * DAY, 1);
        let mut judge = Judge::new(NOW - DAY);
        judge.judge(ahead);
        assert_eq!(
            judge.unproven_s(ahead),
            Some((NOW - DAY).unsigned_abs() / 1_000_000)
        );
        judge.disprove();
        assert_eq!(judge.time(ahead).1, ClockQuality::Unset);
        assert_eq!(judge.unproven_s(ahead), None);
        assert_eq!(
            judge.certificate_time_s(ahead),
            (NOW - DAY).unsigned_abs() / 1_000_000
        );
        assert_eq!(judge.cloud_says(ahead, NOW), Verdict::Corrected);
        let later = judge.judge(at(NOW + 400 * DAY + 1_000_000, 2));
        assert_eq!(
            (later.time_us, later.quality),
            (NOW + 1_000_000, ClockQuality::Synchronised)
        );
        // Set right by its system instead: it is believed as any other.
        let mut judge = Judge::new(NOW - DAY);
        judge.judge(ahead);
        judge.disprove();
        let set = judge.judge(at(NOW, 2));
        assert_eq!(set.quality, ClockQuality::FreeRunning { age_s: 86_400 });
    }

    #[test]
    fn a_cloud_behind_what_is_proven_corrects_nothing() {
        let mut judge = Judge::new(NOW);
        assert!(matches!(
            judge.cloud_says(at(0, 1), NOW - DAY),
            Verdict::Differs { .. }
        ));
        assert_eq!(judge.time(at(0, 1)).1, ClockQuality::Unset);
    }
}
