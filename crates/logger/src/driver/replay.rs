//! Owns the reading of a CSV file as records: which column is the time, which columns are numbers, what is missing.
//! Promises the file's own times, in UTC where it does not say; rows that cannot be read are counted, never guessed.

use std::{fs, path::Path};

use fieldkeep_protocol::record::Reason;
use jiff::{Timestamp, civil, tz::TimeZone};

use super::DriverError;
use crate::sample::{Channel, Record, absent, value};

/// What stands for "no value" in a cell.
const MISSING: [&str; 8] = ["", "NA", "N/A", "NaN", "nan", "null", "-", "?"];

/// A file's records, in its order.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The numeric columns.
    pub channels: Vec<Channel>,
    /// The rows.
    pub records: Vec<Record>,
    /// Rows without a readable time.
    pub unreadable: usize,
}

enum TimeColumns {
    One(usize),
    /// Year, month, day, hour, minute, as far as there are columns for them.
    Parts([Option<usize>; 5]),
}

impl Replay {
    /// Reads a file.
    pub fn read(path: &Path, time_column: Option<&str>) -> Result<Replay, DriverError> {
        let text = fs::read_to_string(path).map_err(|source| DriverError::Read {
            path: path.to_owned(),
            source,
        })?;
        Replay::parse(&text, time_column).map_err(|reason| DriverError::Unusable {
            path: path.to_owned(),
            reason,
        })
    }

    /// Reads text; the error says what the file lacks.
    pub fn parse(text: &str, time_column: Option<&str>) -> Result<Replay, &'static str> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let first = lines.next().ok_or("the file is empty")?;
        let separator = [',', ';', '\t']
            .into_iter()
            .max_by_key(|c| first.matches(*c).count())
            .unwrap_or(',');
        let header = split(first, separator);
        let rows: Vec<Vec<String>> = lines.map(|line| split(line, separator)).collect();
        let time = find_time(&header, time_column)
            .ok_or("no column holds a time: name it in time_column")?;
        let is_time = |n: usize| match &time {
            TimeColumns::One(column) => n == *column,
            TimeColumns::Parts(parts) => parts.contains(&Some(n)),
        };
        let numeric: Vec<usize> = (0..header.len())
            .filter(|n| !is_time(*n) && is_numeric(&rows, *n))
            .collect();
        if numeric.is_empty() {
            return Err("no column holds numbers");
        }
        if numeric.len() > fieldkeep_protocol::limits::CHANNELS {
            return Err("more than 256 columns hold numbers");
        }
        let mut replay = Replay {
            channels: name_channels(&header, &rows, &numeric),
            records: Vec::with_capacity(rows.len()),
            unreadable: 0,
        };
        for row in &rows {
            let Some(time_us) = read_time(row, &time) else {
                replay.unreadable += 1;
                continue;
            };
            let cells = numeric
                .iter()
                .map(|n| match row.get(*n).map(|cell| cell.trim()) {
                    Some(cell) if !MISSING.contains(&cell) => cell
                        .parse::<f64>()
                        .map_or_else(|_| absent(Reason::SensorError), value),
                    _ => absent(Reason::NotSampled),
                })
                .collect();
            replay.records.push(Record { time_us, cells });
        }
        if replay.records.is_empty() {
            return Err("no row has a time that can be read");
        }
        Ok(replay)
    }
}

fn split(line: &str, separator: char) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.trim_end_matches('\r').chars() {
        match c {
            '"' => quoted = !quoted,
            c if c == separator && !quoted => cells.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    cells.push(cell);
    cells
}

fn find_time(header: &[String], named: Option<&str>) -> Option<TimeColumns> {
    let position = |name: &str| {
        header
            .iter()
            .position(|h| h.trim().eq_ignore_ascii_case(name))
    };
    if let Some(name) = named {
        return position(name).map(TimeColumns::One);
    }
    let known = ["time", "timestamp", "datetime", "date_time", "date", "utc"];
    if let Some(column) = known.into_iter().find_map(position) {
        return Some(TimeColumns::One(column));
    }
    let parts = ["year", "month", "day", "hour", "minute"].map(position);
    parts[..3]
        .iter()
        .all(Option::is_some)
        .then_some(TimeColumns::Parts(parts))
}

fn read_time(row: &[String], time: &TimeColumns) -> Option<i64> {
    match time {
        TimeColumns::One(column) => parse_time(row.get(*column)?.trim()),
        TimeColumns::Parts(parts) => {
            let part = |n: usize| match parts[n] {
                Some(column) => row.get(column)?.trim().parse::<i16>().ok(),
                None => Some(0),
            };
            let small = |n: usize| i8::try_from(part(n)?).ok();
            let at =
                civil::DateTime::new(part(0)?, small(1)?, small(2)?, small(3)?, small(4)?, 0, 0)
                    .ok()?;
            in_utc(at)
        }
    }
}

fn parse_time(text: &str) -> Option<i64> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_microsecond());
    }
    if let Ok(at) = text.parse::<civil::DateTime>() {
        return in_utc(at);
    }
    let seconds: f64 = text.parse().ok()?;
    (seconds.abs() < 1e11).then_some((seconds * 1e6).round() as i64)
}

fn in_utc(at: civil::DateTime) -> Option<i64> {
    at.to_zoned(TimeZone::UTC)
        .ok()
        .map(|zoned| zoned.timestamp().as_microsecond())
}

/// A column is numeric if something in it is a number and, but for what is missing, nearly everything is.
fn is_numeric(rows: &[Vec<String>], column: usize) -> bool {
    let (mut numbers, mut others) = (0usize, 0usize);
    for cell in rows
        .iter()
        .filter_map(|row| row.get(column))
        .map(|cell| cell.trim())
    {
        if MISSING.contains(&cell) {
            continue;
        }
        match cell.parse::<f64>() {
            Ok(_) => numbers += 1,
            Err(_) => others += 1,
        }
    }
    numbers > 0 && others * 20 <= numbers
}

fn name_channels(header: &[String], rows: &[Vec<String>], numeric: &[usize]) -> Vec<Channel> {
    let mut names: Vec<String> = Vec::new();
    for &column in numeric {
        let clean: String = header[column]
            .trim()
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "_.-".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .take(100)
            .collect();
        let name = format!("replay.{clean}");
        let taken = clean.is_empty() || names.contains(&name);
        names.push(if taken {
            format!("{name}.{column}")
        } else {
            name
        });
    }
    numeric
        .iter()
        .zip(names)
        .map(|(&column, name)| Channel {
            name,
            unit: "1",
            digits: decimals(rows, column),
            label: None,
        })
        .collect()
}

fn decimals(rows: &[Vec<String>], column: usize) -> u8 {
    rows.iter()
        .take(1_000)
        .filter_map(|row| row.get(column)?.trim().split_once('.'))
        .map(|(_, places)| places.len().min(9) as u8)
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_split_time_columns_and_leaves_text_out() {
        let text = "No,year,month,day,hour,pm2.5,TEMP,cbwd\n1,2010,1,1,0,NA,-11,NW\n2,2010,1,1,1,129,-12.5,cv\n";
        let replay = Replay::parse(text, None).unwrap();
        let names: Vec<&str> = replay.channels.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["replay.No", "replay.pm2.5", "replay.TEMP"]);
        assert_eq!(replay.channels[2].digits, 1);
        assert_eq!(replay.records[0].time_us, 1_262_304_000_000_000);
        assert_eq!(replay.records[0].cells[1], absent(Reason::NotSampled));
        assert_eq!(replay.records[1].cells[2], value(-12.5));
    }

    #[test]
    fn reads_the_usual_ways_to_write_a_time() {
        let text =
            "when;x\n2026-01-02T03:04:05Z;1\n\"2026-01-02 03:04\";2\n1767323045.5;3\nlater;4\n";
        let replay = Replay::parse(text, Some("when")).unwrap();
        let times: Vec<i64> = replay.records.iter().map(|r| r.time_us).collect();
        assert_eq!(
            times,
            [
                1_767_323_045_000_000,
                1_767_323_040_000_000,
                1_767_323_045_500_000
            ]
        );
        assert_eq!(replay.unreadable, 1);
        assert!(Replay::parse("a,b\n1,2\n", None).is_err());
        assert!(Replay::parse("", None).is_err());
    }
}
