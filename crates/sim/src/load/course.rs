//! A whole run, in order: traffic beside the bound and the broker, then what is stored and asked, then each peer alone,
//! then real data; and the table of it.
//!
//! Ratios are of one run: what is compared is measured in turns, a few times, and the middle is told with its spread. A
//! peer that is missing or fails is named as that in its cells. Where our own part fails, the run fails.

pub mod reading;
mod stored;
mod traffic;

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::peers::{Peer, clickhouse, influx, victoria};
use super::process::found;
use super::questions::{Answers, Size};
use super::real;
use super::report::{
    Figure, Report, Spread, Verdict, bytes, millions, milliseconds, percentile, thousands,
};
use super::size::each;
use stored::Stored;
use traffic::Traffic;

/// What a run needs to know.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How big it is.
    pub size: Size,
    /// An empty folder on the disk that is measured.
    pub folder: PathBuf,
    /// The Python that has `chdb`, where it could be had.
    pub python: Option<PathBuf>,
    /// Hourly data of a real station, where there are any.
    pub hourly: Option<PathBuf>,
}

/// Runs everything.
pub async fn run(plan: &Plan) -> Result<Report> {
    let size = &plan.size;
    let machine = real::record(size.host_s, &plan.folder);
    let mut report = Report::default();
    say("traffic: ours, the append-only file, Mosquitto, bare rustls in turns");
    let traffic = traffic::run(&part(plan, "traffic")?, size).await?;
    say("store: load, compact, ask");
    let stored = stored::run(&part(plan, "store")?, size).await?;
    say("VictoriaMetrics");
    let victoria = peer(
        victoria::PROGRAM,
        victoria::run(&part(plan, "victoria")?, size).await,
    );
    say("InfluxDB");
    let influx = peer(
        influx::PROGRAM,
        influx::run(&part(plan, "influx")?, size).await,
    );
    say("ClickHouse");
    let clickhouse = match &plan.python {
        Some(python) => {
            let folder = part(plan, "clickhouse")?;
            let outcome = clickhouse::run(python, &folder, size).await;
            outcome.map_err(|error| excuse("it", &error))
        }
        None => Err("missing".to_owned()),
    };
    let peers = [victoria, influx, clickhouse];
    report.run = heading(size, &traffic, &stored);
    figures(&mut report, &traffic, &stored, &peers);
    notes(&mut report, &traffic, &stored, &peers);
    say("real data");
    if let Some(file) = &plan.hourly {
        let table = real::hourly(file)?;
        let name = "Beijing, hourly, 2010 to 2014";
        report
            .real
            .push(real::measure(name, &table, &part(plan, "hourly")?).await?);
    } else {
        report
            .notes
            .push("Real data of a station were not there and are not in the table.".into());
    }
    let table = machine.await?;
    let name = format!("this machine, {} records, one a second", table.times.len());
    report
        .real
        .push(real::measure(&name, &table, &part(plan, "machine")?).await?);
    Ok(report)
}

fn say(what: &str) {
    eprintln!("bench: {what}");
}

fn part(plan: &Plan, name: &str) -> Result<PathBuf> {
    let folder = plan.folder.join(name);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

type Outcome = Result<Peer, String>;

fn peer(program: &str, outcome: Result<Peer>) -> Outcome {
    if found(program).is_none() {
        return Err("missing".to_owned());
    }
    outcome.map_err(|error| excuse(program, &error))
}

/// The cell of a peer that failed; the whole reason goes to the terminal.
fn excuse(program: &str, error: &anyhow::Error) -> String {
    eprintln!("bench: {program} failed: {error:#}");
    "failed".to_owned()
}

fn cells(peers: &[Outcome; 3], show: impl Fn(&Peer) -> String) -> [String; 4] {
    let [victoria, influx, clickhouse] = peers
        .each_ref()
        .map(|peer| peer.as_ref().map_or_else(Clone::clone, &show));
    [victoria, influx, clickhouse, String::new()]
}

fn heading(size: &Size, traffic: &Traffic, stored: &Stored) -> Vec<String> {
    let kind = if size.quick {
        "The quick run (`make bench BENCH_ARGS=--quick`): fewer devices and repetitions than the whole."
    } else {
        "The whole run (`make bench`)."
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    vec![
        format!(
            "{kind} Release build, {cores} cores shared by server and clients, loopback, real TLS, a real disk."
        ),
        format!(
            "Data: {} devices x 10 elements x 48 h and one device x 1 year, a record a minute: {} points.",
            size.devices,
            millions(stored.points as f64)
        ),
        format!(
            "Traffic: {} connections with {} messages unanswered each; {} repetitions, the middle one told, with the \
             smallest and the largest.",
            traffic.connections,
            super::traffic::WINDOW,
            size.repeats
        ),
    ]
}

fn figures(report: &mut Report, traffic: &Traffic, stored: &Stored, peers: &[Outcome; 3]) {
    let add = &mut report.figures;
    let ours = Spread::of(
        traffic
            .batches
            .iter()
            .map(|rate| rate.points_per_core())
            .collect(),
    );
    let ratio = |at: usize| {
        peers
            .get(at)
            .and_then(|peer| peer.as_ref().ok())
            .map(|peer| ours.median / peer.points_per_core)
    };
    add.push(
        Figure::new(
            "durable points a second and core, mTLS MQTT QoS 1, batches of 600",
            ours.show(millions),
            "≥ 8 M",
            ours.median >= 8e6,
        )
        .beside({
            let mut all = cells(peers, |peer| millions(peer.points_per_core));
            all[3] = traffic.broker(|broker| {
                Spread::of(
                    broker
                        .batches
                        .iter()
                        .map(|rate| rate.points_per_core())
                        .collect(),
                )
                .show(millions)
            });
            all
        })
        .bound(Spread::of(traffic.bound.clone()).show(millions)),
    );
    for (at, name, target, least) in [
        (0, "VictoriaMetrics", "≥ 5 x", 5.0),
        (1, "InfluxDB", "≥ 8 x", 8.0),
    ] {
        let name = format!("the same, times {name}");
        add.push(match ratio(at) {
            Some(times) => Figure::new(&name, format!("{times:.1} x"), target, times >= least),
            None => Figure::new(
                &name,
                "the peer has no figure".into(),
                target,
                Verdict::NotMeasured,
            ),
        });
    }
    let singles = Spread::of(
        traffic
            .singles
            .iter()
            .map(|rate| rate.messages_per_core())
            .collect(),
    );
    add.push(
        Figure::new(
            "single-record messages a second and core, durable",
            singles.show(thousands),
            "≥ 25 k, a row a message",
            singles.median >= 25e3,
        )
        .beside([
            String::new(),
            String::new(),
            String::new(),
            traffic.broker(|broker| {
                let all = broker.singles.iter().map(|rate| rate.messages_per_core());
                Spread::of(all.collect()).show(thousands)
            }),
        ]),
    );
    add.push(Figure::new(
        "the same, packed rows",
        "there are no packed rows".into(),
        "≥ 60 k",
        Verdict::NotMeasured,
    ));
    sizes(add, stored, peers);
    questions(add, stored, peers);
    let idle = 1024.0 * 1024.0 * 1024.0 / traffic.idle;
    add.push(
        Figure::new(
            "idle mTLS MQTT connections per GiB of RSS",
            thousands(idle),
            "≥ 70 k",
            idle >= 70e3,
        )
        .beside([
            String::new(),
            String::new(),
            String::new(),
            traffic.broker(|broker| thousands(1024.0 * 1024.0 * 1024.0 / broker.idle)),
        ]),
    );
    let (shaken, bare) = (
        Spread::of(traffic.handshakes.clone()),
        Spread::of(traffic.bare.clone()),
    );
    let share = shaken.median / bare.median.max(1.0);
    add.push(
        Figure::new(
            "full mTLS handshakes a second and core",
            format!(
                "{}, {:.0} % of bare",
                shaken.show(|value| format!("{value:.0}")),
                share * 100.0
            ),
            "≥ 3,500 or 85 % of bare rustls",
            shaken.median >= 3_500.0 || share >= 0.85,
        )
        .beside([
            String::new(),
            String::new(),
            String::new(),
            traffic.broker(|broker| {
                Spread::of(broker.handshakes.clone()).show(|value| format!("{value:.0}"))
            }),
        ])
        .bound(format!(
            "bare rustls {}; with a P-384 root like ours {}",
            bare.show(|value| format!("{value:.0}")),
            Spread::of(traffic.bare_like_ours.clone()).show(|value| format!("{value:.0}"))
        )),
    );
    let [p50, p99] = [0.5, 0.99].map(|share| percentile(&traffic.steady, share));
    add.push(Figure::new(
        "acknowledgement at half load, p99",
        format!("{} (p50 {})", milliseconds(p99), milliseconds(p50)),
        "≤ 10 ms",
        p99 <= 10.0,
    ));
    let (alone, beside) = (
        percentile(&traffic.alone, 0.99),
        percentile(&traffic.beside, 0.99),
    );
    add.push(Figure::new(
        "another project's acknowledgement p99 beside a flood",
        format!(
            "{} and {} alone: {:.1} x",
            milliseconds(beside),
            milliseconds(alone),
            beside / alone.max(0.001)
        ),
        "≤ 2 x",
        beside <= 2.0 * alone,
    ));
    let change = stored.decade / stored.one_year.max(0.001) - 1.0;
    add.push(Figure::new(
        "growth: 10 years asked like 1 year",
        format!(
            "{} and {}: {:+.0} %",
            milliseconds(stored.decade),
            milliseconds(stored.one_year),
            change * 100.0
        ),
        "within 20 %",
        change <= 0.2,
    ));
}

fn sizes(add: &mut Vec<Figure>, stored: &Stored, peers: &[Outcome; 3]) {
    let hot = each(stored.hot, stored.points);
    let beside = || cells(peers, |peer| bytes(peer.bytes_a_point));
    add.push(
        Figure::new(
            "bytes a point on disk, encrypted: hot",
            bytes(hot),
            "≤ 0.8",
            hot <= 0.8,
        )
        .beside(beside()),
    );
    let rows = [
        (
            "cold",
            "≤ 0.35 and ≤ 0.8 x VictoriaMetrics",
            stored.tiers.cold,
            0.35,
        ),
        (
            "cold with roll-ups",
            "≤ 0.45",
            stored.tiers.cold + stored.tiers.rollups,
            0.45,
        ),
    ];
    for (name, target, size, most) in rows {
        if !stored.tiers.is_cold() {
            let ours = "nothing was compacted".to_owned();
            add.push(Figure::new(name, ours, target, Verdict::NotMeasured).beside(beside()));
            continue;
        }
        let value = each(size, stored.points);
        let mut verdict = Verdict::from(value <= most);
        if name == "cold" {
            match peers[0].as_ref() {
                Ok(victoria) if value > 0.8 * victoria.bytes_a_point => verdict = Verdict::Missed,
                Ok(_) => {}
                Err(_) if verdict == Verdict::Met => verdict = Verdict::NotMeasured,
                Err(_) => {}
            }
        }
        add.push(Figure::new(name, bytes(value), target, verdict).beside(beside()));
    }
}

fn questions(add: &mut Vec<Figure>, stored: &Stored, peers: &[Outcome; 3]) {
    type Pick = fn(&Answers) -> &Vec<std::time::Duration>;
    let rows: [(&str, &'static str, f64, Pick); 4] = [
        (
            "last value, p50",
            "≤ 0.3 ms, ahead of each peer",
            0.3,
            |all| &all.last,
        ),
        (
            "1 day raw of 1 element, p50",
            "≤ 0.5 ms, ahead of each peer",
            0.5,
            |all| &all.day,
        ),
        (
            "1 year hourly mean, p50",
            "≤ 1 ms, ahead of each peer",
            1.0,
            |all| &all.year,
        ),
        (
            "1 day 10-min mean of 10 x 100 elements, p50",
            "≤ 25 ms, ahead of each peer",
            25.0,
            |all| &all.many,
        ),
    ];
    for (name, target, most, pick) in rows {
        let ours = percentile(pick(&stored.answers), 0.5);
        let theirs = |peer: &Peer| percentile(pick(&peer.answers), 0.5);
        let ahead = peers.iter().flatten().all(|peer| ours < theirs(peer));
        let spread = format!(
            "{} (p99 {})",
            milliseconds(ours),
            milliseconds(percentile(pick(&stored.answers), 0.99))
        );
        add.push(
            Figure::new(name, spread, target, ours <= most && ahead)
                .beside(cells(peers, |peer| milliseconds(theirs(peer)))),
        );
    }
    let name = "1 M points of one element to 1,200 buckets, cold";
    let shown = milliseconds(stored.million);
    add.push(if !stored.tiers.is_cold() {
        Figure::new(
            name,
            format!("{shown}, but not cold"),
            "≤ 20 ms",
            Verdict::NotMeasured,
        )
    } else {
        Figure::new(name, shown, "≤ 20 ms", stored.million <= 20.0)
    });
}

fn notes(report: &mut Report, traffic: &Traffic, stored: &Stored, peers: &[Outcome; 3]) {
    let rate = Spread::of(
        traffic
            .batches
            .iter()
            .map(|rate| rate.messages_per_second())
            .collect(),
    );
    let mut add = |note: String| report.notes.push(note);
    add(format!(
        "By the wall clock, with the clients on the same cores: {} batches a second of 600 points each. Loading the whole \
         data set took {:.1} s of the server's processor time, {} points for each of them.",
        rate.show(|value| format!("{value:.0}")),
        stored.load.spent.cpu.as_secs_f64(),
        millions(stored.load.points_per_core())
    ));
    add("Per core means for each second of processor time (user and system) of the server process alone, as the kernel \
         counts it; TLS, MQTT, decoding, the ledger and the sync are in it. The bound does the decoding, hashing, \
         encryption and sync only, without a connection.".into());
    add("Each batch is acknowledged after its commit was synced. VictoriaMetrics acknowledges from memory, ClickHouse \
         without a sync, Mosquitto stores nothing; InfluxDB syncs its log. Only ours encrypts what it stores.".into());
    add("Peers get the data as each likes it: VictoriaMetrics JSON lines and InfluxDB line protocol by plain HTTP, a day \
         or 500 records a request; ClickHouse (`chdb`) reads a binary file and is asked in its own process, because the \
         package has no server. Everybody else is asked by the same client over one kept connection, ours over TLS with \
         an API key. The connection is kept open, so no handshake is in a time.".into());
    add("Bytes are of all pages of the tiers' tables with their indexes, in a file whose log was folded in; of the \
         peers, all blocks of their data folders after they had compacted.".into());
    add(format!(
        "A million points: ten a second, in {} buckets of two minutes, for which there are no roll-ups, so that every value \
         is decoded. Growth: {} buckets of one year, {} of ten.",
        stored.buckets[0], stored.buckets[1], stored.buckets[2]
    ));
    for note in &stored.notes {
        add(note.clone());
    }
    let names = ["VictoriaMetrics", "InfluxDB", "ClickHouse (PyPI `chdb`)"];
    for (name, outcome) in names.iter().zip(peers) {
        if let Err(why) = outcome {
            add(format!("{name}: {why}."));
        }
    }
    if let Err(why) = &traffic.mosquitto {
        add(format!("Mosquitto: {why}."));
    }
}

/// Whether the disk under a folder is a real one: a sync on a file system in memory costs nothing.
pub fn refuse_memory(folder: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    let folder = folder.canonicalize()?;
    let under = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some((words.next()?, words.next()?))
        })
        .filter(|(at, _)| folder.starts_with(at))
        .max_by_key(|(at, _)| at.len());
    if let Some((at, kind)) = under {
        anyhow::ensure!(
            !matches!(kind, "tmpfs" | "ramfs"),
            "{} is in memory ({at}): choose a folder on a disk with --folder",
            folder.display()
        );
    }
    Ok(())
}
