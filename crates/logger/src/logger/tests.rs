//! A whole logger against a small cloud on loopback, over real TLS.

mod cloud;

use std::sync::PoisonError;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use fieldkeep_protocol::{batch::Batch, record::ClockQuality, seal::Seal};
use mqtt_protocol_core::mqtt::result_code::PubackReasonCode;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;
use crate::{
    enroll::{self, EnrollError, Invitation, hex},
    folder::Endpoint,
    http::PostError,
    journal::Stamp,
    reach::{ReachError, TlsFault},
    sample::{Channel, Channels, Record},
};
use cloud::{Cloud, Held};

const SETTINGS: &str = "[sampling]\ninterval = \"100ms\"\n[reporting]\nbatch_records = 3\nbatch_age = \"300ms\"\n\
                        [[driver]]\nkind = \"simulated\"\n";

struct Set {
    _dir: tempfile::TempDir,
    folder: Folder,
    cloud: Cloud,
    clock: Clock,
}

impl Set {
    async fn new() -> Set {
        let clock = Clock::system();
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(dir.path().join("logger"));
        let cloud = Cloud::start(now_s(&clock)).await;
        Set {
            _dir: dir,
            folder,
            cloud,
            clock,
        }
    }

    async fn enrolled() -> Set {
        let set = Set::new().await;
        set.enroll(&set.line("localhost", "GOOD")).await.unwrap();
        std::fs::write(set.folder.config(), SETTINGS).unwrap();
        set
    }

    fn line(&self, host: &str, code: &str) -> String {
        format!(
            "fk1:{host}:{}:{code}:{}",
            self.cloud.https_port,
            hex(&self.cloud.root_print)
        )
    }

    async fn enroll(&self, line: &str) -> Result<enroll::Enrolled, EnrollError> {
        let invitation = Invitation::Line(line.parse()?);
        let now = now_s(&self.clock).unsigned_abs();
        enroll::enroll(&self.folder, &invitation, enroll::Options::default(), now).await
    }

    fn open(&self) -> Logger {
        let options = Options {
            clock: self.clock.clone(),
            ..Options::default()
        };
        Logger::open(self.folder.clone(), options).unwrap()
    }

    fn held<T>(&self, look: impl FnOnce(&mut Held) -> T) -> T {
        look(
            &mut self
                .cloud
                .held
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Runs until the cloud holds so many batches, or fails after a while.
    async fn run_until(&self, enough: impl Fn(&Held) -> bool) -> Summary {
        let logger = self.open();
        let watch = logger.watch();
        let stop = async {
            for _ in 0..400 {
                if self.held(|held| enough(held)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("not in time: {:?}", watch.status());
        };
        logger.run(stop).await
    }

    /// All record numbers and times that the cloud holds, checked to be without a hole in each epoch.
    fn times(&self) -> Vec<i64> {
        self.held(|held| {
            let mut expected = BTreeMap::<u64, u64>::new();
            let mut times = Vec::new();
            for ((epoch, first), bytes) in &held.batches {
                let batch = Batch::decode(bytes).unwrap();
                assert_eq!(*expected.entry(*epoch).or_default(), *first, "a hole");
                expected.insert(*epoch, first + u64::from(batch.header().count));
                times.extend(batch.times());
            }
            times
        })
    }
}

use std::collections::BTreeMap;

fn now_s(clock: &Clock) -> i64 {
    clock.read().wall_us / 1_000_000
}

#[tokio::test]
async fn a_device_enrols_measures_delivers_and_seals() {
    let set = Set::enrolled().await;
    let settled = std::fs::read_to_string(set.folder.enrolment()).unwrap();
    assert_eq!(Enrolment::parse(&settled).unwrap().to_text(), settled);
    assert_eq!(
        std::fs::read_to_string(set.folder.ca()).unwrap(),
        set.cloud.root_pem
    );
    set.held(|held| held.time_us = Some(set.clock.read().wall_us));
    let summary = set.run_until(|held| held.batches.len() >= 3).await;
    assert_eq!(summary.sampled, summary.acknowledged, "{summary:?}");
    assert_eq!((summary.waiting, summary.dropped, summary.lost), (0, 0, 0));
    assert_eq!(set.times().len() as u64, summary.sampled);
    let status = Status::read(&set.folder.status()).unwrap();
    assert_eq!(
        (status.acknowledged, status.clock.as_str()),
        (summary.sampled, "synchronised")
    );

    // The seal covers the last batch and is signed with the device's certificate.
    let (seal, last) = set.held(|held| {
        (
            held.seals.pop().unwrap(),
            held.batches.last_key_value().unwrap().1.clone(),
        )
    });
    let seal = Seal::decode(&seal).unwrap();
    assert_eq!(seal.payload().hash, fieldkeep_protocol::batch::hash(&last));
    let leaf = CertificateDer::from_pem_file(set.folder.certificate()).unwrap();
    assert_eq!(seal.x5t(), &crate::tls::fingerprint(&leaf));
    let mut signed = vec![0; 2048];
    let length = seal.signed_bytes(&mut signed).unwrap();
    let (_, certificate) = X509Certificate::from_der(&leaf).unwrap();
    let key = certificate.public_key().subject_public_key.data.to_vec();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
        .verify(&signed[..length], seal.signature())
        .unwrap();

    // A second run goes on where the first ended, in the same epoch and with the same table.
    let tables = set.held(|held| held.tables.len());
    let more = set.run_until(|held| held.batches.len() >= 6).await;
    assert_eq!(set.times().len() as u64, summary.sampled + more.sampled);
    assert_eq!(
        set.held(|held| (
            held.tables.len(),
            held.batches.keys().map(|k| k.0).min() == held.batches.keys().map(|k| k.0).max()
        )),
        (tables, true)
    );
}

#[tokio::test]
async fn each_failure_to_enrol_says_what_and_what_next() {
    let set = Set::new().await;
    let other = hex(&[3; 32]);
    let wrong_root = format!("fk1:localhost:{}:GOOD:{other}", set.cloud.https_port);
    let error = set.enroll(&wrong_root).await.unwrap_err();
    assert!(
        matches!(&error, EnrollError::Fingerprint { named, .. } if *named == other),
        "{error}"
    );

    let error = set
        .enroll(&set.line("127.0.0.1", "GOOD"))
        .await
        .unwrap_err();
    let fault = |error: &EnrollError| match error {
        EnrollError::Post(PostError::Reach(ReachError::Tls { fault, .. })) => Some(fault.clone()),
        _ => None,
    };
    assert_eq!(
        (fault(&error), error.exit_code()),
        (Some(TlsFault::Name), 1)
    );

    let error = set.enroll(&set.line("localhost", "OLD")).await.unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.exit_code()),
        ("the cloud refuses: This claim was used already", 3)
    );

    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = set
        .enroll(&format!("fk1:127.0.0.1:{}:GOOD:{other}", closed.port()))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            EnrollError::Post(PostError::Reach(ReachError::Refused { .. }))
        ),
        "{error}"
    );
    assert_eq!(error.exit_code(), 4);

    let error = set
        .enroll(&format!("fk1:no-such-host.invalid:1:GOOD:{other}"))
        .await
        .unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");

    // A clock long before the certificate begins; 2010 is before this cloud's.
    let invitation = Invitation::Line(set.line("localhost", "GOOD").parse().unwrap());
    let options = enroll::Options::default();
    let error = enroll::enroll(&set.folder, &invitation, options, 1_262_304_000)
        .await
        .unwrap_err();
    assert_eq!(fault(&error), Some(TlsFault::NotYetValid));

    for error in [error, set.enroll("fk1:x").await.unwrap_err()] {
        assert!(error.advice().len() > 10);
    }
    assert!(!set.folder.key().exists(), "nothing was written");

    set.enroll(&set.line("localhost", "GOOD")).await.unwrap();
    let error = set
        .enroll(&set.line("localhost", "GOOD"))
        .await
        .unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let given = Invitation::Given {
        endpoint: Endpoint {
            host: "localhost".to_owned(),
            port: set.cloud.https_port,
        },
        ca_pem: set.cloud.root_pem.clone().into_bytes(),
        code: "GOOD".to_owned(),
    };
    let old_key = std::fs::read(set.folder.key()).unwrap();
    let options = enroll::Options {
        force: true,
        ..options
    };
    let now = now_s(&set.clock).unsigned_abs();
    let again = enroll::enroll(&set.folder, &given, options, now)
        .await
        .unwrap();
    assert_eq!(
        std::fs::read(again.kept.unwrap().join("device.key")).unwrap(),
        old_key
    );
}

#[tokio::test]
async fn what_the_cloud_refuses_is_tried_later_or_put_aside() {
    let set = Set::enrolled().await;
    set.held(|held| held.answers = BTreeMap::from([(0, PubackReasonCode::PayloadFormatInvalid)]));
    let summary = set.run_until(|held| held.batches.len() >= 2).await;
    assert_eq!(summary.waiting, 0);
    assert_eq!(std::fs::read_dir(set.folder.rejected()).unwrap().count(), 1);
    assert!(
        set.held(|held| held.logs) >= 2,
        "the start and the rejected batch are told"
    );

    let next = set.held(|held| {
        held.batches
            .values()
            .last()
            .map(|b| Batch::decode(b).unwrap().header().range().end())
    });
    set.held(|held| {
        held.answers = BTreeMap::from([(next.unwrap(), PubackReasonCode::QuotaExceeded)])
    });
    let before = set.held(|held| held.batches.len());
    set.run_until(|held| {
        held.batches.len() >= before + 2
            && held
                .batches
                .contains_key(&(held.batches.keys().next().unwrap().0, next.unwrap()))
    })
    .await;
}

#[tokio::test]
async fn a_certificate_in_need_is_renewed_with_a_new_key() {
    let set = Set::new().await;
    set.held(|held| held.validity = (80 * 86_400, 90 * 86_400));
    set.enroll(&set.line("localhost", "GOOD")).await.unwrap();
    std::fs::write(set.folder.config(), SETTINGS).unwrap();
    let old = std::fs::read(set.folder.key()).unwrap();
    set.run_until(|held| held.batches.len() >= 2).await;
    assert_eq!(set.held(|held| held.renewals), 1);
    assert_ne!(std::fs::read(set.folder.key()).unwrap(), old);
}

#[tokio::test]
async fn an_unset_clock_takes_the_clouds_time_before_anything_is_sent() {
    let set = Set::enrolled().await;
    let true_us = set.clock.read().wall_us;
    set.clock.skew(-true_us + 86_400_000_000);
    set.held(|held| held.time_us = Some(true_us));
    set.run_until(|held| held.batches.len() >= 3).await;
    let qualities: Vec<ClockQuality> = set.held(|held| {
        held.batches
            .values()
            .map(|b| Batch::decode(b).unwrap().header().clock)
            .collect()
    });
    assert_eq!(
        qualities.last(),
        Some(&ClockQuality::Synchronised),
        "{qualities:?}"
    );
    let newest = *set.times().last().unwrap();
    assert!(
        (newest - true_us).abs() < 60_000_000,
        "{newest} against {true_us}"
    );
}

#[tokio::test]
async fn another_clouds_certificate_gets_no_session() {
    let set = Set::enrolled().await;
    let other = Cloud::start(now_s(&set.clock)).await;
    std::fs::write(set.folder.ca(), &other.root_pem).unwrap();
    let logger = set.open();
    let watch = logger.watch();
    let summary = logger
        .run(async {
            while watch.status().link.error.is_none() || watch.summary().sampled < 3 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    assert_eq!(
        (summary.acknowledged, set.held(|held| held.sessions)),
        (0, 0)
    );
    assert_eq!(summary.waiting, summary.sampled);
    let error = watch.status().link.error.unwrap();
    assert!(error.contains("not from the authority"), "{error}");
}

#[tokio::test]
async fn a_refusal_after_the_handshake_is_told_with_its_alert() {
    let set = Set::enrolled().await;
    let other = Cloud::start(now_s(&set.clock)).await;
    std::fs::write(set.folder.ca(), &other.root_pem).unwrap();
    let settled = std::fs::read_to_string(set.folder.enrolment()).unwrap();
    let (old, new) = (set.cloud.mqtt_port.to_string(), other.mqtt_port.to_string());
    std::fs::write(set.folder.enrolment(), settled.replace(&old, &new)).unwrap();
    let logger = set.open();
    let watch = logger.watch();
    let told = async {
        while watch.status().link.error.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    logger.run(told).await;
    let error = watch.status().link.error.unwrap();
    assert!(
        error.contains("refuses this device's certificate (TLS alert:"),
        "{error}"
    );
}

#[tokio::test]
async fn a_restored_cloud_asks_again_and_a_copied_journal_leaves_its_epoch() {
    let set = Set::enrolled().await;
    set.run_until(|held| held.batches.len() >= 2).await;
    let copy = Folder::at(set.folder.path().with_extension("copy"));
    copy.create().unwrap();
    std::fs::create_dir(copy.journal()).unwrap();
    for entry in std::fs::read_dir(set.folder.path())
        .unwrap()
        .chain(std::fs::read_dir(set.folder.journal()).unwrap())
    {
        let from = entry.unwrap().path();
        let to = copy
            .path()
            .join(from.strip_prefix(set.folder.path()).unwrap());
        if from.is_file() {
            std::fs::copy(from, to).unwrap();
        }
    }
    set.run_until(|held| held.batches.len() >= 6).await;
    let all = set.held(|held| held.batches.clone());

    // A backup of the cloud from before is put back: what it lost comes again, byte for byte.
    set.held(|held| {
        while held.batches.len() > 1 {
            held.batches.pop_last();
        }
    });
    set.run_until(|held| all.keys().all(|key| held.batches.contains_key(key)))
        .await;
    assert!(set.held(|held| all.iter().all(|(key, bytes)| held.batches[key] == *bytes)));

    // The copy is behind what the cloud has of its epoch.
    let logger = Logger::open(
        copy,
        Options {
            clock: set.clock.clone(),
            ..Options::default()
        },
    )
    .unwrap();
    let enough = async {
        while set.held(|held| {
            held.batches
                .keys()
                .map(|k| k.0)
                .collect::<std::collections::BTreeSet<_>>()
                .len()
        }) < 2
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let summary = tokio::time::timeout(Duration::from_secs(30), logger.run(enough))
        .await
        .unwrap();
    assert_eq!(summary.waiting, 0);
    set.times();
}

#[tokio::test]
async fn the_made_up_past_has_a_revision_of_its_own_and_goes_on_after_a_restart() {
    let set = Set::enrolled().await;
    let settings = format!("{SETTINGS}backfill = \"60d\"\nbackfill_interval = \"10min\"\n");
    std::fs::write(set.folder.config(), settings).unwrap();
    set.run_until(|held| held.batches.len() >= 2).await;
    set.run_until(|held| {
        held.batches
            .values()
            .any(|b| Batch::decode(b).unwrap().header().revision == 2)
    })
    .await;
    set.run_until(|held| held.batches.len() >= 20).await;
    let times = set.times();
    assert!(
        times.windows(2).all(|w| w[0] < w[1]),
        "no time twice, none out of order"
    );
    assert!(times.len() > 8_000);
    let revisions: Vec<u32> = set.held(|held| {
        held.batches
            .values()
            .map(|b| Batch::decode(b).unwrap().header().revision)
            .collect()
    });
    assert!(revisions.is_sorted() && revisions[0] == 1);
    assert!(set.folder.backfilled().exists());
}

#[tokio::test]
async fn one_logger_at_most_runs_in_a_folder() {
    let set = Set::enrolled().await;
    let _first = set.open();
    let second = Logger::open(set.folder.clone(), Options::default());
    assert!(matches!(second, Err(LoggerError::Running(_))));
    let none = Logger::open(Folder::at("/nonexistent"), Options::default());
    assert!(matches!(none, Err(LoggerError::NotEnrolled(_))));
}

#[tokio::test]
async fn a_part_of_the_journal_that_cannot_be_read_holds_up_nothing() {
    let set = Set::enrolled().await;
    let device = set.open().device();
    let limits = Limits {
        max_bytes: 1 << 20,
        keep_us: i64::MAX,
    };
    let channels = Arc::new(Channels {
        interval_us: 1_000_000,
        list: vec![Channel {
            name: "level".to_owned(),
            unit: "m",
            digits: 3,
            label: None,
        }],
    });
    let reading = set.clock.read();
    let disk = FileDisk::open(&set.folder.journal()).unwrap();
    let (mut journal, _) = Journal::open(Box::new(disk), device, limits, 1).unwrap();
    let epoch = journal.facts().epoch;
    for next_epoch in [2, 3] {
        let record = Record {
            time_us: reading.wall_us,
            cells: vec![crate::sample::value(1.5)],
        };
        let stamp = Stamp {
            now_us: reading.wall_us,
            ticks_us: 0,
            clock: ClockQuality::Synchronised,
            step_us: None,
        };
        journal.record(&channels, &record, stamp).unwrap();
        journal.close().unwrap();
        journal.begin_epoch(next_epoch).unwrap();
    }
    drop(journal);
    let logger = set.open();
    let mut segments: Vec<_> = std::fs::read_dir(set.folder.journal())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "seg"))
        .collect();
    segments.sort();
    std::fs::remove_file(&segments[0]).unwrap();
    let behind = async {
        while set.held(|held| !held.batches.contains_key(&(2, 0))) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), logger.run(behind))
        .await
        .unwrap();
    assert!(set.held(|held| !held.batches.contains_key(&(epoch, 0))));
}
