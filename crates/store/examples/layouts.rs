//! What a layout of the `batch` table costs, alone: the same groups of 256 batches through the same SQL layer, encrypted by
//! SQLCipher and synced, into tables with the indexes of today, with fewer, and as one packed row a commit. Nothing
//! is decoded, judged or sealed here. `layouts [GROUPS]`, 200 by default.

use std::error::Error;
use std::time::{Duration, Instant};

use fieldkeep_store::sql::{Database, DatabaseKey, Migration, Value};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const GROUP: i64 = 256;
/// Groups after which the deferred layout enters its rows in the large indexes.
const PLACED: i64 = 64;
/// A batch of 60 records of 10 channels, sealed.
const PAYLOAD: usize = 397;
const INSERT: &str = "INSERT INTO batch (id, project, stream, first, count, branch, hash, prev, from_us, span_us, \
                      received_us, revision, held, key_id, counter, payload) VALUES";

macro_rules! table {
    ($indexes:literal) => {
        concat!(
            "CREATE TABLE batch (id INTEGER PRIMARY KEY, project bigint NOT NULL, stream bigint NOT NULL, \
             first bigint NOT NULL, count bigint NOT NULL, branch bigint NOT NULL, hash bytea NOT NULL, prev bytea, \
             from_us bigint NOT NULL, span_us bigint NOT NULL, received_us bigint NOT NULL, revision bigint NOT NULL, \
             held boolean NOT NULL, key_id bigint NOT NULL, counter bigint NOT NULL, payload bytea NOT NULL, placed boolean NOT NULL DEFAULT false);",
            $indexes
        )
    };
}

const RECORD: &str =
    table!("CREATE UNIQUE INDEX batch_record ON batch (project, stream, first, branch);");
const TODAY: &str = table!(
    "CREATE UNIQUE INDEX batch_record ON batch (project, stream, first, branch); \
     CREATE INDEX batch_time ON batch (project, stream, held, from_us, span_us, first, count, branch);"
);
const HOUR: &str =
    table!("CREATE INDEX batch_time ON batch (project, from_us / 3600000000, stream, first, branch);");
const DAY: &str =
    table!("CREATE INDEX batch_time ON batch (project, from_us / 86400000000, stream, first, branch);");
const DEFERRED: &str = table!(
    "CREATE INDEX batch_record ON batch (project, stream, first, branch) WHERE placed = true; \
     CREATE INDEX batch_time ON batch (project, stream, held, from_us, span_us, first, count, branch) WHERE placed = true; \
     CREATE INDEX batch_fresh ON batch (project, stream, first, branch) WHERE placed = false;"
);
const NONE: &str = table!("");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let groups: i64 = std::env::args()
        .nth(1)
        .map_or(Ok(200), |text| text.parse())?;
    let only = std::env::args().nth(2);
    for (name, schema, streams, payload, packed) in [
        ("both", TODAY, 256, PAYLOAD, false),
        ("record", RECORD, 256, PAYLOAD, false),
        ("hour", HOUR, 256, PAYLOAD, false),
        ("day", DAY, 256, PAYLOAD, false),
        ("deferred", DEFERRED, 256, PAYLOAD, false),
        ("none", NONE, 256, PAYLOAD, false),
        ("packed", NONE, 256, PAYLOAD, true),
        ("both8", TODAY, 8_192, PAYLOAD, false),
        ("record8", RECORD, 8_192, PAYLOAD, false),
        ("hour8", HOUR, 8_192, PAYLOAD, false),
        ("day8", DAY, 8_192, PAYLOAD, false),
        ("deferred8", DEFERRED, 8_192, PAYLOAD, false),
        ("single-both", TODAY, 256, 80, false),
        ("single-deferred", DEFERRED, 256, 80, false),
        ("single-none", NONE, 256, 80, false),
        ("single-packed", NONE, 256, 80, true),
    ] {
        if only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        measure(name, schema, groups, streams, payload, packed).await?;
    }
    Ok(())
}

async fn measure(
    name: &str,
    schema: &'static str,
    groups: i64,
    streams: i64,
    payload: usize,
    packed: bool,
) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("layout.db");
    let migrations = [Migration {
        number: 1,
        sql: schema,
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
    let hash = [7; 32];
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
            let first = id / streams * 60;
            let start = 1_767_225_600_000_000 + first * 60_000_000;
            let from = usize::try_from(id % 4_096).unwrap_or(0);
            [
                id.into(),
                1i64.into(),
                stream.into(),
                first.into(),
                60i64.into(),
                0i64.into(),
                (&hash).into(),
                Value::Null,
                start.into(),
                3_540_000_000i64.into(),
                start.into(),
                1i64.into(),
                false.into(),
                1i64.into(),
                id.into(),
                noise.get(from..from + payload).unwrap_or_default().into(),
            ]
        };
        let mut transaction = database.begin().await?;
        if packed {
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
        if name.contains("deferred") && (group + 1) % PLACED == 0 {
            transaction
                .execute(
                    "UPDATE batch SET placed = true WHERE id > $1 AND placed = false",
                    &[((group + 1 - PLACED) * GROUP).into()],
                )
                .await?;
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
        "{name}: {:.0}/s, {:.0} per CPU-second, {:.0} bytes each",
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
