//! Mail to a real server (aiosmtpd, which `cargo xtask setup` installs): TLS both ways, a login, refusals, the queue.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use super::*;
use crate::clock::Hands;
use crate::config::MailTls;
use crate::keys::MasterKey;

struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
    port: u16,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const LOGIN: (&str, &str) = ("postman", "a long secret of the postman");

impl Server {
    fn start(how: &str, name: &str, refuse: &str) -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let python = root.join(".tools/smtp/bin/python");
        assert!(
            python.exists(),
            "{} is missing: run `cargo xtask setup`",
            python.display()
        );
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = folder.path().join(file);
            std::fs::write(&path, text).unwrap();
            path
        };
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &ca).unwrap();
        write("ca.pem", &ca.pem());
        write("password", &format!("{}\n", LOGIN.1));
        let mut child = Command::new(python)
            .arg(root.join("crates/cloud/src/mail/server.py"))
            .arg(write("leaf.pem", &leaf.pem()))
            .arg(write("leaf.key", &key.serialize_pem()))
            .args([how, LOGIN.0, LOGIN.1, refuse])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        Self {
            child,
            lines,
            port: line.trim().parse().unwrap(),
            folder,
        }
    }

    fn settings(&self, tls: MailTls) -> config::Mail {
        config::Mail {
            host: "localhost".to_owned(),
            port: self.port,
            tls,
            from: "Fieldkeep <cloud@example.org>".to_owned(),
            login: Some((LOGIN.0.to_owned(), self.folder.path().join("password"))),
            ca: Some(self.folder.path().join("ca.pem")),
        }
    }

    fn letter(&mut self) -> serde_json::Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

struct Bench {
    mail: Mail,
    hands: Hands,
    _folder: TempDir,
}

impl Bench {
    async fn new(settings: Option<&config::Mail>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, hands) = Clock::manual(Timestamp::from_micros(1_772_366_400_000_000));
        let master = MasterKey::create(&folder.path().join("key")).unwrap();
        let data = folder.path().join("data");
        let opened = Keys::open(&data, &master, &clock).await.unwrap();
        let db = Db::open(&data, &opened.catalogue).await.unwrap();
        let mail = Mail::new(db, opened.keys, clock);
        mail.announce(settings).await.unwrap();
        Self {
            mail,
            hands,
            _folder: folder,
        }
    }
}

fn letter() -> Letter {
    Letter {
        to: "bo@example.org".to_owned(),
        subject: "Invitation to Tidevand på Ærø".to_owned(),
        text: "Open this:\n\nhttps://localhost:8443/app/invitation#token\n".to_owned(),
    }
}

#[tokio::test]
async fn a_letter_arrives_over_tls_either_way() {
    for (how, tls) in [
        ("implicit", MailTls::Implicit),
        ("starttls", MailTls::StartTls),
    ] {
        let mut server = Server::start(how, "localhost", "");
        let settings = server.settings(tls);
        let bench = Bench::new(Some(&settings)).await;
        let sender = Sender::new(&settings).unwrap();
        sender.try_out().await.unwrap();
        assert!(bench.mail.post(&letter()).await.unwrap());
        assert_eq!(bench.mail.state().await.unwrap().waiting, 1);
        assert_eq!(bench.mail.send_due(&sender).await.unwrap(), 1);
        let arrived = server.letter();
        assert_eq!(arrived["to"], serde_json::json!(["bo@example.org"]));
        assert_eq!(arrived["from"], "cloud@example.org");
        assert_eq!(arrived["subject"], letter().subject.as_str());
        assert_eq!(
            arrived["text"]
                .as_str()
                .unwrap()
                .replace("\r\n", "\n")
                .trim_end(),
            letter().text.trim_end()
        );
        assert_eq!(arrived["tls"], true);
        assert_eq!(arrived["login"], LOGIN.0);
        assert_eq!(bench.mail.state().await.unwrap().waiting, 0);
    }
}

#[tokio::test]
async fn without_trust_in_the_server_nothing_goes_and_all_waits() {
    let other = Server::start("implicit", "mail.example.org", "");
    let plain = Server::start("starttls", "localhost", "");
    let mut unknown_root = other.settings(MailTls::Implicit);
    unknown_root.ca = Some(plain.folder.path().join("ca.pem"));
    // Another name, another root, no TLS where it should begin.
    let mut at_once = plain.settings(MailTls::StartTls);
    at_once.tls = MailTls::Implicit;
    for settings in [other.settings(MailTls::Implicit), unknown_root, at_once] {
        let bench = Bench::new(Some(&settings)).await;
        let sender = Sender::new(&settings).unwrap();
        assert!(sender.try_out().await.is_err());
        bench.mail.post(&letter()).await.unwrap();
        assert_eq!(bench.mail.send_due(&sender).await.unwrap(), 0);
        let state = bench.mail.state().await.unwrap();
        assert_eq!(state.waiting, 1);
        assert!(state.failing_since.is_some());
    }
}

#[tokio::test]
async fn a_letter_that_is_put_off_is_tried_again_and_one_that_is_refused_is_dropped() {
    let server = Server::start("implicit", "localhost", "451");
    let settings = server.settings(MailTls::Implicit);
    let bench = Bench::new(Some(&settings)).await;
    let sender = Sender::new(&settings).unwrap();
    bench.mail.post(&letter()).await.unwrap();
    assert_eq!(bench.mail.send_due(&sender).await.unwrap(), 0);
    let healthy = Server::start("implicit", "localhost", "");
    let again = Sender::new(&healthy.settings(MailTls::Implicit)).unwrap();
    assert_eq!(bench.mail.send_due(&again).await.unwrap(), 0, "not yet");
    bench.hands.advance(Duration::from_secs(60));
    assert_eq!(bench.mail.send_due(&again).await.unwrap(), 1);
    assert_eq!(bench.mail.state().await.unwrap().failing_since, None);

    let never = Server::start("implicit", "localhost", "550");
    let never = Sender::new(&never.settings(MailTls::Implicit)).unwrap();
    bench.mail.post(&letter()).await.unwrap();
    assert_eq!(bench.mail.send_due(&never).await.unwrap(), 0);
    assert_eq!(bench.mail.state().await.unwrap().waiting, 0, "dropped");
    // And one that waits for longer than a day.
    bench.mail.post(&letter()).await.unwrap();
    bench.hands.advance(Duration::from_secs(25 * 3_600));
    bench.mail.send_due(&sender).await.unwrap();
    assert_eq!(bench.mail.state().await.unwrap().waiting, 0, "too old");
}

#[tokio::test]
async fn a_wrong_login_is_told() {
    let server = Server::start("implicit", "localhost", "");
    let mut settings = server.settings(MailTls::Implicit);
    let wrong = server.folder.path().join("wrong");
    std::fs::write(&wrong, "no").unwrap();
    settings.login = Some((LOGIN.0.to_owned(), wrong));
    let told = Sender::new(&settings).unwrap().try_out().await.unwrap_err();
    assert!(told.contains("535"), "{told}");
    settings.login = Some((LOGIN.0.to_owned(), PathBuf::from("/nowhere/password")));
    let error = Sender::new(&settings).unwrap_err().to_string();
    assert!(error.contains("/nowhere/password"), "{error}");
}

#[tokio::test]
async fn without_a_server_nothing_is_queued_and_the_queue_is_bounded() {
    let bench = Bench::new(None).await;
    assert!(!bench.mail.post(&letter()).await.unwrap());
    assert_eq!(bench.mail.state().await.unwrap().waiting, 0);
    bench.mail.db.set(&[(ON, "yes")]).await.unwrap();
    for number in 0..MOST {
        let id = number.to_be_bytes();
        let insert = "INSERT INTO mail (id, letter_sealed, made_us, attempts, next_us) VALUES ($1, $1, 0, 0, 0)";
        bench
            .mail
            .db
            .execute(insert, &[(&id).into()])
            .await
            .unwrap();
    }
    let full = bench.mail.post(&letter()).await;
    assert!(matches!(full, Err(MailError::Full)));
}

#[tokio::test]
async fn what_a_letter_says_is_sealed() {
    let bench = Bench::new(None).await;
    bench.mail.db.set(&[(ON, "yes")]).await.unwrap();
    bench.mail.post(&letter()).await.unwrap();
    let rows = bench
        .mail
        .db
        .fetch_all("SELECT letter_sealed FROM mail", &[]);
    let rows = rows.await.unwrap();
    let sealed = rows[0].bytes(0).unwrap();
    assert!(!sealed.windows(5).any(|window| window == b"token"));
    assert!(!format!("{:?}", letter()).contains("token"));
}
