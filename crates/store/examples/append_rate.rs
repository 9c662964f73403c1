//! How many durable batches a second the store takes, against an append-only file on the same disk in the same run.
//!
//! Batches are 60 records of 10 channels. Both sides decode, hash and encrypt each batch and sync 256 of them at a time;
//! the file is the bound that no database can beat. `append_rate [BATCHES [RECORDS]]`: 25,600 batches by default, and
//! another number of records in each.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use fieldkeep_protocol::batch::{self, Batch, Cell, ColumnInput, Header};
use fieldkeep_protocol::{ClockQuality, DeviceId, Epoch, ProjectId, Timestamp};
use fieldkeep_store::sql::DatabaseKey;
use fieldkeep_store::{Options, Origin, ProjectKey, ProjectKeyFuture, ProjectKeys, Store};
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const DEVICES: u16 = 256;
const RECORDS: u32 = 60;
const CHANNELS: u16 = 10;
const START: i64 = 1_767_225_600_000_000;

struct Keeper;

impl ProjectKeys for Keeper {
    fn project_key(&self, _project: ProjectId) -> ProjectKeyFuture<'_> {
        Box::pin(async { Ok(ProjectKey::new([1; 32])) })
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcome<()> {
    let most: u32 = std::env::args()
        .nth(1)
        .map_or(Ok(25_600), |text| text.parse())?;
    let records: u32 = std::env::args()
        .nth(2)
        .map_or(Ok(RECORDS), |text| text.parse())?;
    let points = f64::from(records) * f64::from(CHANNELS);
    let each = most / u32::from(DEVICES);
    let journals: Vec<Vec<Vec<u8>>> = (0..DEVICES)
        .map(|device| journal(device, each, records))
        .collect::<Outcome<_>>()?;
    let batches = f64::from(each) * f64::from(DEVICES);
    let bytes: usize = journals.iter().flatten().map(Vec::len).sum();
    #[expect(clippy::cast_precision_loss, reason = "a printed figure")]
    let size = bytes as f64 / batches;
    println!(
        "{batches} batches of {points} points, {size:.0} bytes each ({:.3} bytes a point)",
        size / points
    );

    let folder = tempfile::tempdir()?;
    let bound = measure("append-only file", (batches, points), async {
        append_file(folder.path(), &journals)
    })
    .await?;
    let options = Options::new(
        folder.path().join("series.db"),
        DatabaseKey::new([2; 32]),
        Arc::new(Keeper),
    );
    let store = Store::open(options).await?;
    let journals = Arc::new(journals);
    let stored = measure("store", (batches, points), append_store(&store, &journals)).await?;
    store.close().await;
    #[expect(clippy::cast_precision_loss, reason = "a printed figure")]
    let file = std::fs::metadata(folder.path().join("series.db"))?.len() as f64;
    println!(
        "{:.3} bytes a point on disk after the log is folded in",
        file / batches / points
    );
    println!(
        "ratio to the append-only file: wall {:.2}, CPU {:.2}",
        stored.0 / bound.0,
        stored.1 / bound.1
    );
    Ok(())
}

async fn append_store(store: &Store, journals: &Arc<Vec<Vec<Vec<u8>>>>) -> Outcome<()> {
    let mut tasks = JoinSet::new();
    for device in 0..DEVICES {
        let (store, journals) = (store.clone(), Arc::clone(journals));
        tasks.spawn(async move {
            let [high, low] = device.to_be_bytes();
            let mut id = [0; 16];
            id[..2].copy_from_slice(&[high, low]);
            let origin = Origin {
                project: ProjectId::from_bytes([1; 16]),
                device: DeviceId::from_bytes(id),
            };
            for bytes in journals.get(usize::from(device)).into_iter().flatten() {
                store
                    .append(
                        origin,
                        bytes,
                        Timestamp::from_micros(START + 400 * 86_400_000_000),
                    )
                    .await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

fn append_file(folder: &std::path::Path, journals: &[Vec<Vec<u8>>]) -> Outcome<()> {
    let mut file = File::create(folder.join("bound.log"))?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[3; 32]).map_err(|_| "key")?);
    let mut counter = 0u64;
    let mut group = Vec::new();
    let rounds = journals.first().map_or(0, Vec::len);
    for round in 0..rounds {
        group.clear();
        for bytes in journals.iter().filter_map(|journal| journal.get(round)) {
            Batch::decode(bytes).map_err(|error| error.to_string())?;
            group.extend_from_slice(&batch::hash(bytes));
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&counter.to_be_bytes());
            counter += 1;
            let mut payload = bytes.clone();
            key.seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from([0; 66]),
                &mut payload,
            )
            .map_err(|_| "seal")?;
            group.extend_from_slice(&payload);
        }
        file.write_all(&group)?;
        file.sync_data()?;
    }
    Ok(())
}

/// Batches a second, by wall and by CPU time.
async fn measure(
    name: &str,
    (batches, points): (f64, f64),
    work: impl Future<Output = Outcome<()>>,
) -> Outcome<(f64, f64)> {
    #[expect(
        clippy::disallowed_methods,
        reason = "measuring is what this program is for"
    )]
    let begin = Instant::now();
    let cpu = cpu_time()?;
    work.await?;
    let wall = begin.elapsed().as_secs_f64();
    let cpu = (cpu_time()?.saturating_sub(cpu)).as_secs_f64();
    let rates = (batches / wall, batches / cpu);
    println!(
        "{name}: {:.0} batches/s, {:.0} per CPU-second, {:.2} M points/s",
        rates.0,
        rates.1,
        rates.0 * points / 1e6
    );
    Ok(rates)
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

/// Chained batches of slow random walks with 0 to 3 decimals.
fn journal(device: u16, batches: u32, records: u32) -> Outcome<Vec<Vec<u8>>> {
    let mut chance = u64::from(device) + 1;
    let mut walks = vec![0i64; usize::from(CHANNELS)];
    let mut prev = [0; 32];
    let mut journal = Vec::new();
    let mut out = vec![0; 65_536];
    for number in 0..batches {
        let first = u64::from(number) * u64::from(records);
        let times: Vec<i64> = (first..)
            .take(records as usize)
            .map(|record| START + record.cast_signed() * 60_000_000)
            .collect();
        let mut columns = Vec::new();
        for (channel, walk) in walks.iter_mut().enumerate() {
            let scale = [1.0, 10.0, 100.0, 1_000.0]
                .get(channel % 4)
                .copied()
                .unwrap_or(1.0);
            let cells: Vec<Cell> = (0..records)
                .map(|_| {
                    chance ^= chance << 13;
                    chance ^= chance >> 7;
                    chance ^= chance << 17;
                    *walk += (chance % 5).cast_signed() - 2;
                    #[expect(clippy::cast_precision_loss, reason = "a walk stays near zero")]
                    Cell::measured(*walk as f64 / scale)
                })
                .collect();
            columns.push(cells);
        }
        let inputs: Vec<ColumnInput<'_>> = columns
            .iter()
            .zip(0..)
            .map(|(values, channel)| ColumnInput { channel, values })
            .collect();
        let header = Header {
            epoch: Epoch(1),
            first,
            count: records,
            prev,
            boot: 1,
            ticks_us: first * 60_000_000,
            clock: ClockQuality::Synchronised,
            revision: 1,
        };
        let length = batch::encode(&header, &times, &[], &inputs, &mut out)
            .map_err(|error| error.to_string())?;
        let bytes = out.get(..length).unwrap_or_default().to_vec();
        prev = batch::hash(&bytes);
        journal.push(bytes);
    }
    Ok(journal)
}
