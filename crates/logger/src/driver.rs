//! Owns the sources of measurements and the one sequence of records that they make together.
//! Promises that live records fall on whole multiples of the interval, that history comes first and in order, and that
//! after a restart a history goes on after the newest record that the journal holds of it.
//! Does not read clocks: it is told the time and says when it wants to be asked again.

pub mod host;
pub mod replay;
pub mod simulated;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use fieldkeep_protocol::{batch::Cell, record::Reason};

use crate::{
    config::{Config, DriverConfig},
    folder::Folder,
    sample::{Channel, Channels, Record, absent},
};
use host::Host;
use replay::Replay;
use simulated::Station;

/// A source that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// Its file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its file can be read and not used.
    #[error("cannot use {}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        reason: &'static str,
    },
}

/// A source that is measured now.
pub trait Driver: Send {
    /// Its channels; they stay the same.
    fn channels(&self) -> Vec<Channel>;
    /// One cell per channel; `None` while the source is out of order as a whole.
    fn sample(&mut self, time_us: i64, ticks_us: u64) -> Option<Vec<Cell>>;
}

impl Driver for Station {
    fn channels(&self) -> Vec<Channel> {
        Station::channels()
    }

    fn sample(&mut self, time_us: i64, _ticks_us: u64) -> Option<Vec<Cell>> {
        self.at(time_us)
    }
}

/// What the sources have at an instant.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// A record, with its channels.
    Record {
        /// What its cells mean.
        channels: Arc<Channels>,
        /// The record.
        record: Record,
        /// Whether its time lies in the past, so that it goes into a large batch and says nothing about the clock.
        is_history: bool,
    },
    /// Nothing before this time.
    At {
        /// When to ask again.
        time_us: i64,
    },
    /// The made-up past is complete; live records follow.
    HistoryEnded,
    /// There will never be anything again.
    Ended,
}

enum History {
    None,
    MadeUp {
        station: Station,
        channels: Arc<Channels>,
        next_us: i64,
        step_us: i64,
    },
    Rows {
        replay: Replay,
        channels: Arc<Channels>,
        at: usize,
        speed: Option<f64>,
        begun_us: Option<i64>,
    },
}

/// All sources of one logger.
pub struct Sources {
    history: History,
    live: Vec<(Box<dyn Driver>, usize)>,
    channels: Arc<Channels>,
    interval_us: i64,
    due_us: Option<i64>,
    names: Vec<&'static str>,
}

impl Sources {
    /// Opens the configured sources. `newest` says what the journal's newest record of some channels is.
    pub fn open(
        config: &Config,
        folder: &Folder,
        now_us: i64,
        newest: impl Fn(&Channels) -> Option<i64>,
    ) -> Result<Sources, DriverError> {
        let interval_us = micros(config.interval);
        let mut sources = Sources {
            history: History::None,
            live: Vec::new(),
            channels: Arc::new(Channels {
                interval_us: 0,
                list: Vec::new(),
            }),
            interval_us,
            due_us: None,
            names: Vec::new(),
        };
        let mut list = Vec::new();
        for driver in &config.drivers {
            let live: Box<dyn Driver> = match driver {
                DriverConfig::Host => {
                    sources.names.push("host");
                    Box::new(Host::find(Path::new("/"), folder.path()))
                }
                DriverConfig::Simulated { seed, backfill } => {
                    sources.names.push("simulated");
                    let station = Station::new(*seed);
                    if let Some((length, step)) = backfill
                        && !folder.backfilled().exists()
                    {
                        sources.history =
                            made_up(station, now_us, micros(*length), micros(*step), &newest);
                    }
                    Box::new(station)
                }
                DriverConfig::Replay {
                    file,
                    speed,
                    time_column,
                } => {
                    sources.names.push("replay");
                    let path = folder.path().join(file);
                    sources.history = rows(
                        Replay::read(&path, time_column.as_deref())?,
                        *speed,
                        &newest,
                    );
                    continue;
                }
            };
            let channels = live.channels();
            sources.live.push((live, channels.len()));
            list.extend(channels);
        }
        sources.channels = Arc::new(Channels {
            interval_us: interval_us.unsigned_abs(),
            list,
        });
        Ok(sources)
    }

    /// The kinds of the sources.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// What there is at this time.
    pub fn next(&mut self, now_us: i64, ticks_us: u64) -> Next {
        match &mut self.history {
            History::None => self.live(now_us, ticks_us),
            History::MadeUp {
                station,
                channels,
                next_us,
                step_us,
            } => {
                while *next_us <= now_us {
                    let time_us = *next_us;
                    *next_us += *step_us;
                    if let Some(cells) = station.at(time_us) {
                        let record = Record { time_us, cells };
                        return Next::Record {
                            channels: Arc::clone(channels),
                            record,
                            is_history: true,
                        };
                    }
                }
                self.history = History::None;
                Next::HistoryEnded
            }
            History::Rows {
                replay,
                channels,
                at,
                speed,
                begun_us,
            } => {
                let Some(record) = replay.records.get(*at) else {
                    return Next::Ended;
                };
                if let Some(speed) = speed {
                    // The row's own distance from the first one played, shortened by the speed.
                    let origin = begun_us
                        .get_or_insert(now_us.saturating_sub(scaled(record.time_us, *speed)));
                    let due = origin.saturating_add(scaled(record.time_us, *speed));
                    if due > now_us {
                        return Next::At { time_us: due };
                    }
                }
                *at += 1;
                Next::Record {
                    channels: Arc::clone(channels),
                    record: record.clone(),
                    is_history: true,
                }
            }
        }
    }

    fn live(&mut self, now_us: i64, ticks_us: u64) -> Next {
        let interval = self.interval_us.max(1);
        let this = now_us.div_euclid(interval) * interval;
        // A clock set back must not stop the measuring until it has caught up.
        let due = match self.due_us {
            Some(due) if due <= this + interval => due,
            _ => this + interval,
        };
        if now_us < due {
            self.due_us = Some(due);
            return Next::At { time_us: due };
        }
        self.due_us = Some(this + interval);
        let mut cells = Vec::with_capacity(self.channels.list.len());
        let mut any = false;
        for (driver, count) in &mut self.live {
            match driver.sample(this, ticks_us) {
                Some(measured) => {
                    any = true;
                    cells.extend(measured);
                }
                None => cells.extend(std::iter::repeat_n(absent(Reason::SensorError), *count)),
            }
        }
        if !any {
            return Next::At {
                time_us: this + interval,
            };
        }
        let record = Record {
            time_us: this,
            cells,
        };
        Next::Record {
            channels: Arc::clone(&self.channels),
            record,
            is_history: false,
        }
    }
}

fn made_up(
    station: Station,
    now_us: i64,
    length_us: i64,
    step_us: i64,
    newest: impl Fn(&Channels) -> Option<i64>,
) -> History {
    let channels = Channels {
        interval_us: step_us.unsigned_abs(),
        list: Station::channels(),
    };
    let first = (now_us - length_us).div_euclid(step_us) * step_us;
    let next_us = newest(&channels).map_or(first, |newest| newest + step_us);
    History::MadeUp {
        station,
        channels: Arc::new(channels),
        next_us,
        step_us,
    }
}

fn rows(
    mut replay: Replay,
    speed: Option<f64>,
    newest: impl Fn(&Channels) -> Option<i64>,
) -> History {
    let distance = replay
        .records
        .windows(2)
        .map(|w| w[1].time_us - w[0].time_us)
        .filter(|d| *d > 0)
        .min();
    let longest = fieldkeep_protocol::limits::INTERVAL_US;
    let channels = Channels {
        interval_us: distance.unwrap_or(0).unsigned_abs().min(longest),
        list: std::mem::take(&mut replay.channels),
    };
    if replay.unreadable > 0 {
        tracing::warn!(
            rows = replay.unreadable,
            "rows without a readable time are left out"
        );
    }
    let played = newest(&channels);
    let at = replay
        .records
        .iter()
        .position(|row| played.is_none_or(|newest| row.time_us > newest))
        .unwrap_or(replay.records.len());
    History::Rows {
        replay,
        channels: Arc::new(channels),
        at,
        speed,
        begun_us: None,
    }
}

fn scaled(time_us: i64, speed: f64) -> i64 {
    (time_us as f64 / speed) as i64
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DriverKind;

    const NOW: i64 = 1_760_000_000_123_456;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(dir.path());
        (dir, folder)
    }

    #[test]
    fn the_past_comes_first_then_live_on_whole_intervals() {
        let (_dir, folder) = folder();
        let config = Config::parse("x", &Config::default_text(DriverKind::Simulated)).unwrap();
        let mut sources = Sources::open(&config, &folder, NOW, |_| None).unwrap();
        let mut past = Vec::new();
        loop {
            match sources.next(NOW, 0) {
                Next::Record {
                    record,
                    is_history: true,
                    ..
                } => past.push(record.time_us),
                Next::HistoryEnded => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(past.len() > 50_000 && past.is_sorted());
        assert!(past.iter().all(|t| t % 600_000_000 == 0));
        let Next::At { time_us } = sources.next(NOW, 0) else {
            panic!()
        };
        assert_eq!(time_us, 1_760_000_001_000_000);
        let Next::Record {
            record,
            is_history: false,
            ..
        } = sources.next(time_us + 5, 0)
        else {
            panic!()
        };
        assert_eq!(record.time_us, time_us);
        // Half-way through, a restart goes on after the newest.
        let middle = past[past.len() / 2];
        let mut again = Sources::open(&config, &folder, NOW, |_| Some(middle)).unwrap();
        let Next::Record { record, .. } = again.next(NOW, 0) else {
            panic!()
        };
        assert_eq!(record.time_us, past[past.len() / 2 + 1]);
    }

    #[test]
    fn a_clock_set_back_does_not_stop_the_measuring() {
        let (_dir, folder) = folder();
        let config = Config::parse("x", "").unwrap();
        let mut sources = Sources::open(&config, &folder, NOW, |_| None).unwrap();
        assert!(matches!(sources.next(NOW, 0), Next::At { .. }));
        let Next::At { time_us } = sources.next(NOW - 3_600_000_000, 0) else {
            panic!()
        };
        assert!(time_us <= NOW - 3_600_000_000 + 1_000_000);
    }

    #[test]
    fn rows_are_played_at_their_speed_and_go_on_after_a_restart() {
        let (dir, folder) = folder();
        std::fs::write(dir.path().join("a.csv"), "time,x\n1000,1\n1010,2\n1020,3\n").unwrap();
        let text = "[[driver]]\nkind = \"replay\"\nfile = \"a.csv\"\nspeed = 10\n";
        let config = Config::parse("x", text).unwrap();
        let mut sources = Sources::open(&config, &folder, NOW, |_| None).unwrap();
        assert!(matches!(
            sources.next(NOW, 0),
            Next::Record {
                is_history: true,
                ..
            }
        ));
        let Next::At { time_us } = sources.next(NOW, 0) else {
            panic!()
        };
        assert_eq!(time_us, NOW + 1_000_000);
        let mut again = Sources::open(&config, &folder, NOW, |_| Some(1_010_000_000)).unwrap();
        let Next::Record { record, .. } = again.next(NOW, 0) else {
            panic!()
        };
        assert_eq!(record.time_us, 1_020_000_000);
        assert_eq!(again.next(NOW, 0), Next::Ended);
    }
}
