//! What a layout of the `batch` table costs, alone: the same groups of 256 batches through the same SQL layer, encrypted by
//! SQLCipher and synced, into tables with one index or another, with none, and as one packed row a commit. Nothing
//! is decoded, judged or sealed here. `layouts [GROUPS]`, 200 by default.

use std::error::Error;
use std::time::{Duration, Instant};

use fieldkeep_store::sql::{Database, DatabaseKey, Migration, Value};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const GROUP: i64 = 256;
/// A batch of 60 records of 10 channels, sealed.
const PAYLOAD: usize = 397;
/// A single record.
const RECORD_PAYLOAD: usize = 80;
const INSERT: &str = "INSERT INTO batch (id, project, stream, first, count, branch, hash, prev, from_us, span_us, \
                      received_us, revision, held, key_id, counter, payload) VALUES";

macro_rules! table {
    ($indexes:literal) => {
        concat!(
            "CREATE TABLE batch (id INTEGER PRIMARY KEY, project bigint NOT NULL, stream bigint NOT NULL, \
             first bigint NOT NULL, count bigint NOT NULL, branch bigint NOT NULL, hash bytea NOT NULL, prev bytea, \
             from_us bigint NOT NULL, span_us bigint NOT NULL, received_us bigint NOT NULL, revision bigint NOT NULL, \
             held boolean NOT NULL, key_id bigint NOT NULL, counter bigint NOT NULL, payload bytea NOT NULL);",
            $indexes
        )
    };
}

const NONE: &str = table!("");
const RECORD: &str =
    table!("CREATE UNIQUE INDEX batch_record ON batch (project, stream, first, branch);");
const BOTH: &str = table!(
    "CREATE UNIQUE INDEX batch_record ON batch (project, stream, first, branch); \
     CREATE INDEX batch_time ON batch (project, stream, held, from_us, span_us, first, count, branch);"
);
const HOUR: &str = table!(
    "CREATE INDEX batch_day ON batch (project, (CASE WHEN held THEN -1 ELSE from_us / 3600000000 END), stream, \
     from_us, span_us, first, count, branch, held);"
);
const DAY: &str = table!(
    "CREATE INDEX batch_day ON batch (project, (CASE WHEN held THEN -1 ELSE from_us / 86400000000 END), stream, \
     from_us, span_us, first, count, branch, held);"
);
const NARROW: &str = table!(
    "CREATE INDEX batch_day ON batch (project, (CASE WHEN held THEN -1 ELSE from_us / 86400000000 END), stream, from_us);"
);

struct Layout {
    name: &'static str,
    schema: &'static str,
    packed: bool,
}

const LAYOUTS: [Layout; 7] = [
    layout("no index", NONE, false),
    layout("by record number", RECORD, false),
    layout("by record number, and by time: covering", BOTH, false),
    layout("by hour, covering", HOUR, false),
    layout("by day, covering (today)", DAY, false),
    layout("by day", NARROW, false),
    layout("one packed row a commit, no index", NONE, true),
];

const fn layout(name: &'static str, schema: &'static str, packed: bool) -> Layout {
    Layout {
        name,
        schema,
        packed,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let groups: i64 = std::env::args()
        .nth(1)
        .map_or(Ok(200), |text| text.parse())?;
    for (streams, payload) in [(256, PAYLOAD), (8_192, PAYLOAD), (256, RECORD_PAYLOAD)] {
        println!("{streams} devices, payloads of {payload} bytes");
        for layout in &LAYOUTS {
            measure(layout, groups, streams, payload).await?;
        }
    }
    Ok(())
}

async fn measure(layout: &Layout, groups: i64, streams: i64, payload: usize) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("layout.db");
    let migrations = [Migration {
        number: 1,
        sql: layout.schema,
    }];
    let database = Database::open(&path, &DatabaseKey::new([2; 32]), &migrations).await?;
    // What is stored is cipher text: noise.
    let mut chance = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        chance.to_le_bytes()[0]
    })
    .take(payload + 4_096)
    .collect();
    let print = [7; 8];
    #[expect(
        clippy::disallowed_methods,
        reason = "measuring is what this program is for"
    )]
    let begin = Instant::now();
    let cpu = cpu_time()?;
    for group in 0..groups {
        let row = |number: i64| -> [Value<'_>; 16] {
            let id = group * GROUP + number + 1;
            // A device's batches come in order, the devices in none.
            let stream = (id * 7_919) % streams;
            let records: i64 = if payload == PAYLOAD { 60 } else { 1 };
            let first = id / streams * records;
            let start = 1_767_225_600_000_000 + first * 60_000_000;
            let from = usize::try_from(id % 4_096).unwrap_or(0);
            [
                id.into(),
                1i64.into(),
                stream.into(),
                first.into(),
                records.into(),
                0i64.into(),
                (&print).into(),
                Value::Null,
                start.into(),
                ((records - 1) * 60_000_000).into(),
                start.into(),
                1i64.into(),
                false.into(),
                1i64.into(),
                id.into(),
                noise.get(from..from + payload).unwrap_or_default().into(),
            ]
        };
        let mut transaction = database.begin().await?;
        if layout.packed {
            // Payloads and about 60 bytes of head for each.
            let mut pack = Vec::new();
            for number in 0..GROUP {
                pack.extend_from_slice(&[0; 60]);
                if let [.., Value::Bytes(payload)] = row(number) {
                    pack.extend_from_slice(payload);
                }
            }
            let mut values = row(0);
            let [.., last] = &mut values;
            *last = (&pack).into();
            transaction.insert_rows(INSERT, "", 16, &values).await?;
        } else {
            let values: Vec<Value<'_>> = (0..GROUP).flat_map(row).collect();
            transaction.insert_rows(INSERT, "", 16, &values).await?;
        }
        transaction.commit().await?;
    }
    let wall = begin.elapsed().as_secs_f64();
    let cpu = cpu_time()?.saturating_sub(cpu).as_secs_f64();
    database.close().await;
    #[expect(clippy::cast_precision_loss, reason = "printed figures")]
    let (batches, file) = (
        (groups * GROUP) as f64,
        std::fs::metadata(&path)?.len() as f64,
    );
    println!(
        "{}: {:.0}/s, {:.0} per CPU-second, {:.0} bytes each",
        layout.name,
        batches / wall,
        batches / cpu,
        file / batches
    );
    Ok(())
}

/// User and system time of this process, in the kernel's hundredths of a second.
fn cpu_time() -> Outcome<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .map(str::parse::<u64>)
        .sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}
