//! The data set that everybody gets, and the four questions that everybody is asked of it.
//!
//! Owns how big a run is. Each question goes round many series, so that no answer is only a memory of the last one.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fieldkeep_cloud::clock::rfc3339;
use fieldkeep_protocol::Timestamp;
use serde_json::Value;

use super::http::Asker;
use super::walk::{CHANNELS, DAY_US, MINUTE_US, Station};

/// Monday, 2026-06-01, 00:00 UTC: when the fleet's two days begin, and where the long histories end.
pub const MONDAY_US: i64 = 1_780_272_000_000_000;
/// Devices of the question about many elements.
pub const GROUP: u32 = 100;
const FLEET_DAYS: i64 = 2;
const YEAR_DAYS: i64 = 365;
/// Records of the fast station, and how far apart they are.
const MILLION: i64 = 1_000_000;
const FAST_US: i64 = 100_000;

/// How big a run is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Whether it is the small one.
    pub quick: bool,
    /// Devices with two days each.
    pub devices: u32,
    /// Repetitions of what is repeated.
    pub repeats: usize,
    /// Batches a device in one repetition of ingest.
    pub batches: u32,
    /// Single-record messages a device.
    pub singles: u32,
    /// Idle connections.
    pub idle: usize,
    /// Handshakes of one repetition.
    pub handshakes: usize,
    /// Seconds of a steady load.
    pub steady_s: u32,
    /// How often a small question is asked.
    pub asked: usize,
    /// How often a large question is asked.
    pub asked_large: usize,
    /// Years of the long history.
    pub years: u32,
    /// How long this machine's own sensors are recorded, once a second.
    pub host_s: u64,
}

impl Size {
    /// A run of some minutes.
    pub const QUICK: Self = Self {
        quick: true,
        devices: 300,
        repeats: 3,
        batches: 100,
        singles: 200,
        idle: 4_000,
        handshakes: 2_000,
        steady_s: 4,
        asked: 200,
        asked_large: 20,
        years: 10,
        host_s: 60,
    };
    /// The whole.
    pub const FULL: Self = Self {
        quick: false,
        devices: 2_000,
        repeats: 5,
        batches: 200,
        singles: 500,
        idle: 10_000,
        handshakes: 10_000,
        steady_s: 15,
        asked: 1_000,
        asked_large: 50,
        years: 10,
        host_s: 3_600,
    };

    /// The fleet's stations: two days at one record a minute.
    #[must_use]
    pub fn fleet(&self) -> Vec<Station> {
        (0..self.devices)
            .map(|number| Station {
                number,
                start_us: MONDAY_US,
                step_us: MINUTE_US,
                records: (FLEET_DAYS * 1_440) as u32,
            })
            .collect()
    }

    /// One station with a year at one record a minute. Its number follows the fleet's.
    #[must_use]
    pub fn year(&self) -> Station {
        history(self.devices, 1)
    }

    /// One more with many years.
    #[must_use]
    pub fn long(&self) -> Station {
        history(self.devices + 1, self.years)
    }

    /// One more, ten records a second: a million records in little more than a day.
    #[must_use]
    pub fn fast(&self) -> Station {
        Station {
            number: self.devices + 2,
            start_us: MONDAY_US - MILLION * FAST_US,
            step_us: FAST_US,
            records: MILLION as u32,
        }
    }

    /// Fleet and year: what ourselves and the peers hold when the questions are asked.
    #[must_use]
    pub fn stations(&self) -> Vec<Station> {
        let mut all = self.fleet();
        all.push(self.year());
        all
    }
}

fn history(number: u32, years: u32) -> Station {
    let days = YEAR_DAYS * i64::from(years);
    Station {
        number,
        start_us: MONDAY_US - days * DAY_US,
        step_us: MINUTE_US,
        records: u32::try_from(days * 1_440).unwrap_or(u32::MAX),
    }
}

/// The four questions, each as many questions of the same kind, each of those as the calls that it takes.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    /// The newest value of one element.
    pub last: Vec<Vec<String>>,
    /// One day of one element, every point.
    pub day: Vec<Vec<String>>,
    /// One year of one element, hourly means.
    pub year: Vec<Vec<String>>,
    /// One day of ten elements of a hundred devices, means of ten minutes.
    pub many: Vec<Vec<String>>,
}

/// How long the answers took.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// To [`Questions::last`].
    pub last: Vec<Duration>,
    /// To [`Questions::day`].
    pub day: Vec<Duration>,
    /// To [`Questions::year`].
    pub year: Vec<Duration>,
    /// To [`Questions::many`].
    pub many: Vec<Duration>,
}

/// Asks everything and times it.
pub async fn ask(asker: &mut Asker, questions: &Questions, size: &Size) -> Result<Answers> {
    Ok(Answers {
        last: asker
            .time(&questions.last, size.asked)
            .await
            .context("last value")?,
        day: asker
            .time(&questions.day, size.asked)
            .await
            .context("one day raw")?,
        year: asker
            .time(&questions.year, size.asked_large)
            .await
            .context("one year")?,
        many: asker
            .time(&questions.many, size.asked_large)
            .await
            .context("many elements")?,
    })
}

/// The (device, channel) pairs that the small questions go round.
#[must_use]
pub fn picked(size: &Size) -> Vec<(u32, usize)> {
    (0..97)
        .map(|number| (number * 7 % size.devices, number as usize % CHANNELS))
        .collect()
}

/// The groups of devices that the large question goes round.
#[must_use]
pub fn groups(size: &Size) -> Vec<u32> {
    (0..size.devices / GROUP).collect()
}

/// Our own elements by device number and channel.
pub struct Elements(Vec<[String; CHANNELS]>);

impl Elements {
    /// Reads the project's list; `devices` are the ids by number.
    pub async fn read(asker: &mut Asker, project: &str, devices: &[String]) -> Result<Self> {
        let places: std::collections::BTreeMap<&str, usize> = devices
            .iter()
            .zip(0..)
            .map(|(id, place)| (id.as_str(), place))
            .collect();
        let mut all = vec![<[String; CHANNELS]>::default(); devices.len()];
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/projects/{project}/elements?limit=1000{cursor}");
            let body: Value = serde_json::from_slice(&asker.get(&path).await?)?;
            for item in body["items"].as_array().context("items")? {
                let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
                let channel: Option<usize> = text("channel")
                    .strip_prefix('e')
                    .and_then(|number| number.parse().ok());
                let place = places.get(text("device").as_str());
                if let (Some(channel), Some(place)) = (channel, place)
                    && let Some(slot) = all.get_mut(*place).and_then(|all| all.get_mut(channel))
                {
                    *slot = text("id");
                }
            }
            match body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        Ok(Self(all))
    }

    /// The element of a device's channel.
    pub fn of(&self, device: u32, channel: usize) -> Result<&str> {
        let known = self.0.get(device as usize).and_then(|all| all.get(channel));
        known
            .map(String::as_str)
            .filter(|id| !id.is_empty())
            .with_context(|| format!("device {device} has no element of channel {channel}"))
    }
}

/// The path of points between two instants.
#[must_use]
pub fn points(project: &str, elements: &str, from_us: i64, to_us: i64, how: &str) -> String {
    let [from, to] = [from_us, to_us].map(|us| rfc3339::format(Timestamp::from_micros(us)));
    format!("/api/v1/projects/{project}/points?element={elements}&from={from}&to={to}&{how}")
}

/// Our questions, in as few calls as the API takes, and a note where that is more than one.
pub async fn ours(
    asker: &mut Asker,
    project: &str,
    elements: &Elements,
    size: &Size,
) -> Result<(Questions, Vec<String>)> {
    let mut questions = Questions::default();
    let mut notes = Vec::new();
    for (device, channel) in picked(size) {
        let element = elements.of(device, channel)?;
        questions.last.push(vec![format!(
            "/api/v1/projects/{project}/latest?element={element}"
        )]);
        let day = points(
            project,
            element,
            MONDAY_US,
            MONDAY_US + DAY_US,
            "limit=10000",
        );
        questions.day.push(vec![day]);
    }
    let year = size.year();
    let hours = |element: &str, parts: i64| -> Vec<String> {
        let hours = YEAR_DAYS * 24;
        (0..parts)
            .map(|part| {
                let edge = |part: i64| year.start_us + hours * part / parts * 60 * MINUTE_US;
                let (from, to) = (edge(part), edge(part + 1));
                let count = (to - from) / (60 * MINUTE_US);
                points(project, element, from, to, &format!("buckets={count}"))
            })
            .collect()
    };
    let mut parts = 1;
    let first = elements.of(size.devices, 0)?;
    for fewer in [1, 3, 6, 12] {
        parts = fewer;
        if accepts(asker, &hours(first, fewer)).await? {
            break;
        }
    }
    if parts > 1 {
        notes.push(format!(
            "A year of hourly means takes {parts} calls of ours: an answer has no more buckets."
        ));
    }
    for channel in 0..CHANNELS {
        questions
            .year
            .push(hours(elements.of(size.devices, channel)?, parts));
    }
    let many = |group: u32, each: usize| -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for device in group * GROUP..(group + 1) * GROUP {
            for channel in 0..CHANNELS {
                ids.push(elements.of(device, channel)?);
            }
        }
        let calls = ids.chunks(each).map(|ids| {
            points(
                project,
                &ids.join(","),
                MONDAY_US,
                MONDAY_US + DAY_US,
                "buckets=144",
            )
        });
        Ok(calls.collect())
    };
    let mut each = 1_000;
    for fewer in [1_000, 500, 250, 100, 32] {
        each = fewer;
        if accepts(asker, &many(0, fewer)?).await? {
            break;
        }
    }
    if each < 1_000 {
        let calls = 1_000_usize.div_ceil(each);
        notes.push(format!(
            "A thousand elements take {calls} calls of ours: a call names {each} elements at most."
        ));
    }
    for group in groups(size) {
        questions.many.push(many(group, each)?);
    }
    check(asker, &questions).await?;
    Ok((questions, notes))
}

/// Whether the first of some calls is answered; a refusal of its size is not an error.
async fn accepts(asker: &mut Asker, calls: &[String]) -> Result<bool> {
    let first = calls.first().context("a call")?;
    let (status, _) = asker.send("GET", first, bytes::Bytes::new()).await?;
    ensure!(
        matches!(status, 200 | 400 | 414 | 422 | 431),
        "a question was answered {status}"
    );
    if status != 200 {
        asker.renew().await?;
    }
    Ok(status == 200)
}

/// That each kind of question is answered with what it asks for.
async fn check(asker: &mut Asker, questions: &Questions) -> Result<()> {
    let mut answers = Vec::new();
    for kind in [
        &questions.last,
        &questions.day,
        &questions.year,
        &questions.many,
    ] {
        let mut items = Vec::new();
        for call in kind.first().context("a question of each kind")? {
            let body: Value = serde_json::from_slice(&asker.get(call).await?)?;
            items.extend(body["items"].as_array().context("items")?.clone());
        }
        answers.push(items);
    }
    let length =
        |item: &Value, columns: &str| item[columns]["time_us"].as_array().map_or(0, Vec::len);
    let [last, day, year, many] = answers.as_slice() else {
        return Ok(());
    };
    ensure!(
        last.len() == 1 && last[0]["value"].is_number(),
        "no latest value"
    );
    ensure!(
        day.len() == 1 && length(&day[0], "points") > 800,
        "not a day of points"
    );
    let hours: usize = year.iter().map(|item| length(item, "buckets")).sum();
    ensure!(hours > 8_000, "{hours} hourly means in a year");
    let buckets: usize = many.iter().map(|item| length(item, "buckets")).sum();
    ensure!(
        many.len() == 1_000 && buckets > 120_000,
        "{} elements, {buckets} means",
        many.len()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_histories_end_where_the_fleet_begins() {
        for size in [Size::QUICK, Size::FULL] {
            assert_eq!(size.year().end_us(), MONDAY_US);
            assert_eq!(size.long().end_us(), MONDAY_US);
            assert!(
                size.fleet()
                    .iter()
                    .all(|station| station.start_us == MONDAY_US)
            );
            assert!(!groups(&size).is_empty());
            assert!(
                picked(&size)
                    .iter()
                    .all(|(device, _)| *device < size.devices)
            );
        }
    }
}
