//! A logger killed at random moments, as a process: what it had measured is in its journal, once and in order.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers as well"
)]

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use fieldkeep_logger::{
    folder::{Endpoint, Enrolment, Folder},
    identity,
    journal::{Doubt, FileDisk, Journal, Limits},
    status::Status,
};
use fieldkeep_protocol::{DeviceId, ProjectId, batch::Batch};
use rcgen::{CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType, KeyPair};

const ROUNDS: u64 = 8;

/// A folder as enrolment leaves it, for a cloud that nobody can reach.
fn enrolled(folder: &Folder) -> DeviceId {
    let device = DeviceId::from_parts(1_700_000_000_000, [5; 10]);
    let issuer =
        CertifiedIssuer::self_signed(CertificateParams::default(), KeyPair::generate().unwrap())
            .unwrap();
    let request = identity::request().unwrap();
    let mut csr = CertificateSigningRequestParams::from_pem(&request.csr_pem).unwrap();
    csr.params.distinguished_name = rcgen::DistinguishedName::new();
    csr.params
        .distinguished_name
        .push(DnType::CommonName, device.to_string());
    // The port was free a moment ago; whatever answers there has no certificate of this root.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let endpoint = Endpoint {
        host: "127.0.0.1".to_owned(),
        port,
    };
    let enrolment = Enrolment {
        device,
        project: ProjectId::from_parts(1_700_000_000_000, [6; 10]),
        mqtt: endpoint.clone(),
        https: endpoint,
    };
    let settings =
        "[sampling]\ninterval = \"100ms\"\n[reporting]\nbatch_records = 4\nbatch_age = \"10s\"\n";
    fs::write(folder.key(), request.key_pem.as_bytes()).unwrap();
    fs::write(folder.certificate(), csr.signed_by(&issuer).unwrap().pem()).unwrap();
    fs::write(folder.ca(), issuer.pem()).unwrap();
    fs::write(folder.enrolment(), enrolment.to_text()).unwrap();
    fs::write(folder.config(), settings).unwrap();
    device
}

fn start(folder: &Folder) -> Child {
    Command::new(env!("CARGO_BIN_EXE_fieldkeep-logger"))
        .args(["run", "--dir"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What waits in the journal: record numbers without a hole, times that only rise. How many there are.
fn records(folder: &Folder, device: DeviceId) -> u64 {
    let disk = FileDisk::open(&folder.journal()).unwrap();
    let limits = Limits {
        max_bytes: 1 << 30,
        keep_us: i64::MAX,
    };
    let (mut journal, found) = Journal::open(Box::new(disk), device, limits, 1).unwrap();
    // Killed at once, a first start leaves no journal yet.
    assert!(found.doubt.is_none_or(|doubt| doubt == Doubt::New));
    let (mut next, mut newest, mut at) = (0, i64::MIN, None);
    while let Some(key) = journal.next_unacknowledged(at) {
        at = Some(key);
        let batch = journal.batch(key).unwrap();
        assert_eq!(batch.first, next);
        next += u64::from(batch.count);
        for time in Batch::decode(&batch.bytes).unwrap().times() {
            assert!(time > newest, "a record twice");
            newest = time;
        }
    }
    next
}

#[tokio::test]
async fn nothing_measured_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::at(dir.path());
    let device = enrolled(&folder);
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut before = 0;
    for round in 0..ROUNDS {
        let mut logger = start(&folder);
        let wait = 350
            + (seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(round * 7_919)
                >> 7)
                % 900;
        tokio::time::sleep(Duration::from_millis(wait)).await;
        logger.kill().unwrap();
        logger.wait().unwrap();
        let told = Status::read(&folder.status())
            .filter(|s| s.pid == logger.id())
            .map_or(0, |s| s.sampled);
        if !folder.journal().exists() {
            continue;
        }
        let now = records(&folder, device);
        assert!(
            now >= before + told,
            "round {round}, seed {seed}: {now} records after {before} and {told} more"
        );
        before = now;
    }
    assert!(before > 0, "seed {seed}: nothing was measured at all");
}
