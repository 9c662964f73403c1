//! The table of a run: one row a figure, with the peers, the bound, the target and the verdict.
//!
//! Owns its form on the terminal and in `docs/benchmarks.md`, where it stands between two markers. A figure that could
//! not be had says why; it is never left out.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

const BEGIN: &str = "<!-- bench: written by `make bench` from here -->";
const END: &str = "<!-- bench: to here -->";
/// The columns between ours and the bound.
pub const PEERS: [&str; 4] = ["VictoriaMetrics", "InfluxDB", "ClickHouse", "Mosquitto"];

/// The middle of some measurements, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The smallest.
    pub low: f64,
    /// The largest.
    pub high: f64,
}

impl Spread {
    /// Of measurements in any order; zeros where there are none.
    #[must_use]
    pub fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        Self {
            median: all.get(all.len() / 2).copied().unwrap_or(0.0),
            low: all.first().copied().unwrap_or(0.0),
            high: all.last().copied().unwrap_or(0.0),
        }
    }

    /// As text, each number by `form`.
    #[must_use]
    pub fn show(&self, form: impl Fn(f64) -> String) -> String {
        let (median, low, high) = (form(self.median), form(self.low), form(self.high));
        if low == median && high == median {
            return median;
        }
        format!("{median} ({low} to {high})")
    }
}

/// The value below which a share (0 to 1) of the measurements lies, in milliseconds.
#[must_use]
pub fn percentile(all: &[Duration], share: f64) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    let place = (sorted.len() as f64 * share) as usize;
    let at = sorted.get(place.min(sorted.len().saturating_sub(1)));
    at.map_or(0.0, |one| one.as_secs_f64() * 1e3)
}

/// Millions.
#[must_use]
pub fn millions(value: f64) -> String {
    format!("{:.2} M", value / 1e6)
}

/// Thousands.
#[must_use]
pub fn thousands(value: f64) -> String {
    format!("{:.1} k", value / 1e3)
}

/// Milliseconds.
#[must_use]
pub fn milliseconds(value: f64) -> String {
    format!("{value:.2} ms")
}

/// Bytes a point.
#[must_use]
pub fn bytes(value: f64) -> String {
    format!("{value:.3}")
}

/// How a figure compares with its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// At least as good.
    Met,
    /// Worse.
    Missed,
    /// There is no figure; the row says why.
    NotMeasured,
}

impl From<bool> for Verdict {
    fn from(met: bool) -> Self {
        if met { Self::Met } else { Self::Missed }
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "**missed**",
            Self::NotMeasured => "not measured",
        }
    }
}

/// A row.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// Ours.
    pub ours: String,
    /// The peers', in the order of [`PEERS`]; empty where it is none of theirs.
    pub peers: [String; 4],
    /// What no program can beat here; empty where there is nothing like it.
    pub bound: String,
    /// What ours is to be.
    pub target: &'static str,
    /// Whether it is.
    pub verdict: Verdict,
}

impl Figure {
    /// A row of ours alone.
    #[must_use]
    pub fn new(
        name: &str,
        ours: String,
        target: &'static str,
        verdict: impl Into<Verdict>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            ours,
            peers: Default::default(),
            bound: String::new(),
            target,
            verdict: verdict.into(),
        }
    }

    /// With what the peers have.
    #[must_use]
    pub fn beside(mut self, peers: [String; 4]) -> Self {
        self.peers = peers;
        self
    }

    /// With the bound.
    #[must_use]
    pub fn bound(mut self, bound: String) -> Self {
        self.bound = bound;
        self
    }
}

/// Everything that a run found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How the run was made and on what.
    pub run: Vec<String>,
    /// The rows.
    pub figures: Vec<Figure>,
    /// What a reader must know to read the rows rightly.
    pub notes: Vec<String>,
    /// Real data: form, and bytes a point of each kind.
    pub real: Vec<[String; 6]>,
}

impl Report {
    /// As Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for line in &self.run {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{line}");
        }
        let peers = PEERS.join(" | ");
        let _ = writeln!(
            text,
            "\n| figure | Fieldkeep | {peers} | bound | target | |"
        );
        let _ = writeln!(text, "|---|---|---|---|---|---|---|---|---|");
        for figure in &self.figures {
            let peers = figure
                .peers
                .each_ref()
                .map(|peer| or_dash(peer))
                .join(" | ");
            let _ = writeln!(
                text,
                "| {} | {} | {peers} | {} | {} | {} |",
                figure.name,
                figure.ours,
                or_dash(&figure.bound),
                figure.target,
                figure.verdict.word()
            );
        }
        if !self.real.is_empty() {
            let _ = writeln!(text, "\nReal data, bytes a point:\n");
            let _ = writeln!(
                text,
                "| data | points | sent | hot | cold | cold with roll-ups |"
            );
            let _ = writeln!(text, "|---|---|---|---|---|---|");
            for row in &self.real {
                let _ = writeln!(text, "| {} |", row.join(" | "));
            }
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        text
    }

    /// Puts it into the document, in the place of the run before.
    pub fn write(&self, document: &Path) -> Result<()> {
        let before = std::fs::read_to_string(document)?;
        let after = between(&before, &self.markdown()).with_context(|| {
            format!(
                "{} lacks the lines `{BEGIN}` and `{END}`",
                document.display()
            )
        })?;
        std::fs::write(document, after)?;
        Ok(())
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}

fn between(document: &str, table: &str) -> Option<String> {
    let (head, rest) = document.split_once(BEGIN)?;
    let (_, tail) = rest.split_once(END)?;
    Some(format!("{head}{BEGIN}\n\n{}\n\n{END}{tail}", table.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_one_before() {
        let document = format!("# A\n\n{BEGIN}\nold\n{END}\n\n## B\n");
        let once = between(&document, "new\n").unwrap();
        assert_eq!(once, format!("# A\n\n{BEGIN}\n\nnew\n\n{END}\n\n## B\n"));
        assert_eq!(between(&once, "new\n").unwrap(), once);
        assert_eq!(between("# A\n", "new"), None);
    }

    #[test]
    fn every_row_says_how_it_stands() {
        let report = Report {
            figures: vec![
                Figure::new("a", "1".into(), "≥ 2", false),
                Figure::new("b", "3".into(), "≥ 2", true).bound("9".into()),
                Figure::new(
                    "c",
                    "there is no way to".into(),
                    "≥ 2",
                    Verdict::NotMeasured,
                ),
            ],
            ..Report::default()
        };
        let text = report.markdown();
        assert!(
            text.contains("| a | 1 | – | – | – | – | – | ≥ 2 | **missed** |"),
            "{text}"
        );
        assert!(
            text.contains("| b | 3 | – | – | – | – | 9 | ≥ 2 | met |"),
            "{text}"
        );
        assert!(text.contains("| ≥ 2 | not measured |"), "{text}");
    }

    #[test]
    fn middles_and_percentiles() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((spread.low, spread.median, spread.high), (1.0, 2.0, 3.0));
        assert_eq!(spread.show(|value| format!("{value}")), "2 (1 to 3)");
        let all: Vec<Duration> = (0..100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&all, 0.5), 50.0);
        assert_eq!(percentile(&all, 0.99), 99.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
