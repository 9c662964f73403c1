//! How many bytes a point takes in batches: of a CSV file, of this machine's sensors, of made-up sensors.
//!
//! ```text
//! cargo run -p fieldkeep-protocol --example bytes_per_point -- FILE.csv      columns of numbers, NA is missing
//! cargo run -p fieldkeep-protocol --example bytes_per_point -- --host 120    /proc once a second, for 120 seconds
//! cargo run -p fieldkeep-protocol --example bytes_per_point                  ten made-up sensors
//! ```
//! A point is a present value with its time. Batches count whole, with header and hash; each is decoded and compared.

use std::error::Error;
use std::process::ExitCode;
use std::{env, fs, thread, time};

use fieldkeep_protocol::batch::{self, Batch, Cell, ColumnInput, Header};
use fieldkeep_protocol::{ClockQuality, Epoch, Reason, limits};

/// Records by column.
struct Table {
    times: Vec<i64>,
    columns: Vec<(String, Vec<Cell>)>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let table = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(made_up(3_600)),
        ["--host", seconds] => seconds.parse().map_err(Into::into).and_then(host),
        [path] => csv(path),
        _ => Err("usage: bytes_per_point [FILE.csv | --host SECONDS]".into()),
    };
    match table.and_then(|table| report(&table)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn report(table: &Table) -> Result<(), Box<dyn Error>> {
    let points: usize = table.columns.iter().map(|(_, cells)| present(cells)).sum();
    println!(
        "{} records, {} columns, {points} points\n",
        table.times.len(),
        table.columns.len()
    );
    println!(
        "{:<24} {:>12} {:>10} {:>8}",
        "form", "bytes", "bytes/pt", "ratio"
    );
    let raw = points * 16;
    let line = |form: &str, bytes: usize| {
        let (bytes_each, ratio) = (bytes as f64 / points as f64, raw as f64 / bytes as f64);
        println!("{form:<24} {bytes:>12} {bytes_each:>10.3} {ratio:>7.1}x");
    };
    line("i64 time + f64 value", raw);
    line("shared i64 time + f64", table.times.len() * 8 + points * 8);
    for records in [60, 360] {
        line(&format!("batches of {records}"), batches(table, records)?);
    }
    println!(
        "\n{:<24} {:>12} {:>10}",
        "column alone (360)", "points", "bytes/pt"
    );
    for (name, cells) in &table.columns {
        let alone = Table {
            times: table.times.clone(),
            columns: vec![(name.clone(), cells.clone())],
        };
        // Without what all columns share: header, hash and times.
        let shared = batches(
            &Table {
                columns: vec![(String::new(), vec![Cell::measured(0.0); cells.len()])],
                ..alone
            },
            360,
        )?;
        let alone = Table {
            times: table.times.clone(),
            columns: vec![(name.clone(), cells.clone())],
        };
        let bytes = batches(&alone, 360)?.saturating_sub(shared);
        println!(
            "{name:<24} {:>12} {:>10.3}",
            present(cells),
            bytes as f64 / present(cells).max(1) as f64
        );
    }
    Ok(())
}

fn present(cells: &[Cell]) -> usize {
    cells.iter().filter(|cell| cell.value.is_some()).count()
}

/// Total length of all batches.
fn batches(table: &Table, records: usize) -> Result<usize, Box<dyn Error>> {
    let mut total = 0;
    let mut prev = [0; 32];
    let mut out = vec![0; limits::BATCH_BYTES];
    for (number, times) in table.times.chunks(records).enumerate() {
        let first = number * records;
        let columns: Vec<_> = (0u16..)
            .zip(&table.columns)
            .map(|(channel, (_, cells))| ColumnInput {
                channel,
                values: &cells[first..first + times.len()],
            })
            .collect();
        let header = Header {
            epoch: Epoch(0x9e37_79b9_7f4a_7c15),
            first: first as u64,
            count: u32::try_from(times.len())?,
            prev,
            boot: 3,
            ticks_us: first as u64 * 1_000_000,
            clock: ClockQuality::Synchronised,
            revision: 1,
        };
        let length = batch::encode(&header, times, &[], &columns, &mut out)?;
        let bytes = &out[..length];
        let decoded = Batch::decode(bytes)?;
        let same = decoded.times().eq(times.iter().copied())
            && decoded
                .columns()
                .zip(&columns)
                .all(|(column, input)| column.cells().eq(input.values.iter().copied()));
        if !same {
            return Err("a batch did not come back as it was".into());
        }
        prev = batch::hash(bytes);
        total += length;
    }
    Ok(total)
}

fn csv(path: &str) -> Result<Table, Box<dyn Error>> {
    let text = fs::read_to_string(path)?;
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().ok_or("empty file")?.split(',').collect();
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let place = |name: &str| names.iter().position(|known| *known == name);
    let calendar = [place("year"), place("month"), place("day"), place("hour")];
    let times = rows.iter().enumerate().map(|(number, row)| {
        let part = |which: usize| {
            calendar[which]
                .and_then(|at| row.get(at))
                .and_then(|text| text.parse().ok())
        };
        let hours = match (part(0), part(1), part(2), part(3)) {
            (Some(year), Some(month), Some(day), Some(hour)) => days(year, month, day) * 24 + hour,
            _ => number as i64,
        };
        hours * 3_600_000_000
    });
    let mut columns = Vec::new();
    for (at, name) in names.iter().enumerate() {
        if *name == "No" || calendar.contains(&Some(at)) {
            continue;
        }
        let cell = |row: &Vec<&str>| match row.get(at).map(|text| text.trim()) {
            None | Some("NA" | "") => Some(Cell::missing(Reason::SensorError)),
            Some(text) => text.parse().ok().map(Cell::measured),
        };
        match rows.iter().map(cell).collect::<Option<Vec<_>>>() {
            Some(cells) => columns.push(((*name).to_owned(), cells)),
            None => eprintln!("column {name} is not of numbers and left out"),
        }
    }
    Ok(Table {
        times: times.collect(),
        columns,
    })
}

/// Days since 1970-01-01 of a date in the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - 719_468
}

/// Ten sensors of two decimals, one record a minute, whose values wander by up to one, two or three steps a record.
/// Their differences hold 1.5, 2.2 or 2.7 bits: on average 0.26 bytes a point is the least that any codec can reach.
fn made_up(records: usize) -> Table {
    let mut state = 7u64;
    let mut noise = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as i64
    };
    let columns = (0..10).map(|number| {
        let mut level = 1_000 * (number + 1);
        let cells = (0..records).map(|_| {
            level += noise() % (number % 3 + 2) - noise() % (number % 3 + 2);
            Cell::measured(level as f64 / 100.0)
        });
        (format!("sensor {number}"), cells.collect())
    });
    Table {
        times: (0..records as i64)
            .map(|i| 1_767_225_600_000_000 + i * 60_000_000)
            .collect(),
        columns: columns.collect(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an example that samples this machine is its own shell"
)]
fn host(seconds: u64) -> Result<Table, Box<dyn Error>> {
    let mut table = Table {
        times: Vec::new(),
        columns: Vec::new(),
    };
    let start = time::Instant::now();
    for second in 0..seconds {
        let values = sensors();
        let now = time::SystemTime::now()
            .duration_since(time::UNIX_EPOCH)?
            .as_secs();
        table.times.push(i64::try_from(now)? * 1_000_000);
        if table.columns.is_empty() {
            table.columns = values
                .iter()
                .map(|(name, _)| (name.clone(), Vec::new()))
                .collect();
        }
        for (name, cells) in &mut table.columns {
            let value = values
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| *value);
            cells.push(value.map_or(Cell::missing(Reason::SensorError), Cell::measured));
        }
        let next = time::Duration::from_secs(second + 1);
        thread::sleep(next.saturating_sub(start.elapsed()));
    }
    Ok(table)
}

/// What /proc and /sys say at this moment.
fn sensors() -> Vec<(String, f64)> {
    let mut values = Vec::new();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut push = |name: String, text: Option<&str>, factor: f64| {
        if let Some(value) = text.and_then(|text| text.parse::<f64>().ok()) {
            values.push((name, value * factor));
        }
    };
    let load = read("/proc/loadavg");
    for (name, text) in ["load.1", "load.5", "load.15"]
        .iter()
        .zip(load.split_whitespace())
    {
        push((*name).to_owned(), Some(text), 1.0);
    }
    for line in read("/proc/meminfo").lines() {
        let mut words = line.split_whitespace();
        if let Some(name @ ("MemAvailable:" | "Cached:" | "Dirty:")) = words.next() {
            push(
                format!("memory.{}", name.trim_end_matches(':')),
                words.next(),
                1_024.0,
            );
        }
    }
    let stat = read("/proc/stat");
    let cpu = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1);
    for (name, text) in [
        "cpu.user",
        "cpu.nice",
        "cpu.system",
        "cpu.idle",
        "cpu.iowait",
    ]
    .iter()
    .zip(cpu)
    {
        push((*name).to_owned(), Some(text), 1.0);
    }
    for line in read("/proc/net/dev").lines().skip(2) {
        let mut words = line.split_whitespace();
        let interface = words
            .next()
            .unwrap_or_default()
            .trim_end_matches(':')
            .to_owned();
        push(format!("net.{interface}.received"), words.next(), 1.0);
        push(format!("net.{interface}.sent"), words.nth(7), 1.0);
    }
    for zone in 0..4 {
        let text = read(&format!("/sys/class/thermal/thermal_zone{zone}/temp"));
        push(format!("thermal.{zone}"), Some(text.trim()), 0.001);
    }
    values
}
