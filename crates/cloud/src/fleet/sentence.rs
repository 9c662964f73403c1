//! One word and one sentence for how a device is. Pure.

use fieldkeep_protocol::Timestamp;

use crate::pki::State;

/// Beyond two and a half plans and this much, a device is late.
const GRACE_US: i64 = 30 * 1_000_000;
/// Without contact for ten plans and this much, a late device is offline.
const OFFLINE_US: i64 = 600 * 1_000_000;
/// What is expected of a device that has promised nothing.
const UNPROMISED_US: i64 = 3_600 * 1_000_000;

/// How a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Records come as planned.
    Reporting,
    /// Records should have come.
    Late,
    /// Nothing comes.
    Offline,
    /// No record ever came.
    NeverReported,
    /// People have switched it off.
    Disabled,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Self; 5] = [
        Self::Reporting,
        Self::Late,
        Self::Offline,
        Self::NeverReported,
        Self::Disabled,
    ];

    /// The word for it in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reporting => "reporting",
            Self::Late => "late",
            Self::Offline => "offline",
            Self::NeverReported => "never_reported",
            Self::Disabled => "disabled",
        }
    }
}

/// What the judgement is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) state: State,
    pub(super) certificate_expires: Timestamp,
    pub(super) connected: bool,
    pub(super) seen: Option<Timestamp>,
    pub(super) record: Option<Timestamp>,
    pub(super) arrived: Option<Timestamp>,
    pub(super) report_every_us: Option<i64>,
    pub(super) refused: Option<(Timestamp, &'a str)>,
}

pub(super) fn judge(facts: &Facts<'_>, now: Timestamp) -> (Condition, String) {
    if facts.state == State::Disabled {
        return (
            Condition::Disabled,
            "Disabled by a person: it is refused.".into(),
        );
    }
    let Some(record) = facts.record else {
        return (Condition::NeverReported, never(facts, now));
    };
    let every_us = facts.report_every_us.filter(|every_us| *every_us > 0);
    let plan_us = every_us.unwrap_or(UNPROMISED_US);
    let allowed_us = plan_us.saturating_mul(5) / 2 + GRACE_US;
    let age_us = now.saturating_since(record);
    if age_us <= allowed_us {
        return (
            Condition::Reporting,
            format!("Last record {}.", ago(age_us)),
        );
    }
    let arrived_us = facts.arrived.map(|arrived| now.saturating_since(arrived));
    if facts.connected && arrived_us.is_some_and(|arrived_us| arrived_us <= allowed_us) {
        let text = format!(
            "Catching up: its newest record so far is from {}.",
            ago(age_us)
        );
        return (Condition::Reporting, text);
    }
    let silent_us = facts.seen.map_or(age_us, |seen| now.saturating_since(seen));
    let plan = every_us.map_or(String::new(), |every_us| {
        format!("; expected every {}", span(every_us))
    });
    if let Some(refusal) = refusal(facts, now) {
        return (Condition::Offline, refusal);
    }
    if facts.connected {
        let text = format!(
            "Connected, but its last record is from {}{plan}.",
            ago(age_us)
        );
        return (Condition::Late, text);
    }
    if silent_us <= plan_us.saturating_mul(10).saturating_add(OFFLINE_US) {
        return (
            Condition::Late,
            format!("Last record {}{plan}.", ago(age_us)),
        );
    }
    (
        Condition::Offline,
        format!("No contact for {}{plan}.", span(silent_us)),
    )
}

fn never(facts: &Facts<'_>, now: Timestamp) -> String {
    if let Some(refusal) = refusal(facts, now) {
        return refusal;
    }
    match facts.seen {
        Some(_) if facts.connected => "Connected, but it has sent no record yet.".into(),
        Some(seen) => format!(
            "It has sent no record yet; last contact {}.",
            ago(now.saturating_since(seen))
        ),
        None => "Enrolled, but it has never connected.".into(),
    }
}

/// Why it was turned away the last time, when that was after its last contact; or that its certificate is over.
fn refusal(facts: &Facts<'_>, now: Timestamp) -> Option<String> {
    if facts.connected {
        return None;
    }
    if let Some((at, text)) = facts.refused
        && facts.seen.is_none_or(|seen| at >= seen)
    {
        return Some(format!(
            "{text} (last tried {}).",
            ago(now.saturating_since(at))
        ));
    }
    let over_us = now.saturating_since(facts.certificate_expires);
    (over_us > 0).then(|| {
        format!(
            "Its certificate expired {}; it renews when it connects.",
            ago(over_us)
        )
    })
}

fn ago(age_us: i64) -> String {
    if age_us < 0 {
        return format!("{} ahead of this clock", span(age_us.saturating_neg()));
    }
    if age_us < 1_000_000 {
        return "just now".to_owned();
    }
    format!("{} ago", span(age_us))
}

/// A length of time in one unit, as people say it.
fn span(us: i64) -> String {
    let seconds = us / 1_000_000;
    match seconds {
        0 if us > 0 => format!("{} ms", (us + 999) / 1_000),
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;
    const NOW: i64 = 1_700_000_000 * S;

    fn at(seconds_ago: i64) -> Timestamp {
        Timestamp::from_micros(NOW - seconds_ago * S)
    }

    fn facts() -> Facts<'static> {
        Facts {
            state: State::Active,
            certificate_expires: at(-86_400 * 30),
            connected: true,
            seen: Some(at(1)),
            record: Some(at(1)),
            arrived: Some(at(1)),
            report_every_us: Some(10 * S),
            refused: None,
        }
    }

    fn said(facts: Facts<'_>) -> (Condition, String) {
        judge(&facts, at(0))
    }

    #[test]
    fn each_condition_has_its_sentence() {
        let away = Facts {
            connected: false,
            ..facts()
        };
        for (facts, condition, sentence) in [
            (facts(), Condition::Reporting, "Last record 1 s ago."),
            (
                Facts {
                    record: Some(at(180)),
                    seen: Some(at(180)),
                    connected: false,
                    ..facts()
                },
                Condition::Late,
                "Last record 3 min ago; expected every 10 s.",
            ),
            (
                Facts {
                    record: Some(at(180)),
                    arrived: Some(at(180)),
                    ..facts()
                },
                Condition::Late,
                "Connected, but its last record is from 3 min ago; expected every 10 s.",
            ),
            (
                Facts {
                    record: Some(at(86_400 * 100)),
                    ..facts()
                },
                Condition::Reporting,
                "Catching up: its newest record so far is from 100 days ago.",
            ),
            (
                Facts {
                    record: Some(at(8_000)),
                    seen: Some(at(8_000)),
                    ..away
                },
                Condition::Offline,
                "No contact for 2 h; expected every 10 s.",
            ),
            (
                Facts {
                    record: Some(at(8_000)),
                    seen: Some(at(8_000)),
                    refused: Some((at(60), "Certificate refused: expired 12 days ago")),
                    ..away
                },
                Condition::Offline,
                "Certificate refused: expired 12 days ago (last tried 60 s ago).",
            ),
            (
                Facts {
                    seen: None,
                    record: None,
                    ..away
                },
                Condition::NeverReported,
                "Enrolled, but it has never connected.",
            ),
            (
                Facts {
                    record: None,
                    ..facts()
                },
                Condition::NeverReported,
                "Connected, but it has sent no record yet.",
            ),
            (
                Facts {
                    state: State::Disabled,
                    ..facts()
                },
                Condition::Disabled,
                "Disabled by a person: it is refused.",
            ),
        ] {
            assert_eq!(said(facts), (condition, sentence.to_owned()));
        }
    }

    #[test]
    fn spans_read_well() {
        for (us, text) in [
            (0, "0 s"),
            (1_500, "2 ms"),
            (10 * S, "10 s"),
            (119 * S, "119 s"),
            (600 * S, "10 min"),
            (7_200 * S, "2 h"),
            (172_800 * S, "2 days"),
        ] {
            assert_eq!(span(us), text);
        }
    }
}
