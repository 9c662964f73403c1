//! The manual says what the defaults are, and bad files answer as the golden texts say.
//!
//! `tests/golden/config/NAME.toml` is a file, `NAME.txt` its answer. Write the answers anew with `UPDATE_GOLDEN=1`.

use std::path::{Path, PathBuf};

use super::*;

fn parse(text: &str) -> Result<Loaded, ConfigFaults> {
    Config::parse(text, Path::new("fieldkeep.toml"), UnknownKeys::Refuse)
}

#[test]
fn the_manual_says_the_defaults() {
    let loaded = parse(MANUAL).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(parse("").unwrap().config, Config::default());
}

#[test]
fn keys_that_the_manual_shows_as_comments_are_known() {
    let shown = MANUAL.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if rest.starts_with('[') || rest.contains(" = ") => rest,
        _ => line,
    });
    let text: Vec<&str> = shown.collect();
    let config = parse(&text.join("\n")).unwrap().config;
    assert_eq!(
        config.master_key,
        Some(PathBuf::from("/etc/fieldkeep/master.key"))
    );
    assert!(config.https_certificate.is_some());
    assert!(config.backup.to.is_some() && config.backup.keep_days.is_some());
    assert!(
        config
            .mail
            .is_some_and(|mail| mail.login.is_some() && mail.ca.is_some())
    );
}

#[test]
fn every_key_is_read() {
    let changed = parse(
        "name = 'cloud.example.org'\ndata = '/srv/x'\nhttps = '127.0.0.1:0'\ndevice = '127.0.0.1:0'\n\
         mqtt = '127.0.0.1:0'\n[sessions]\nidle_s = 60\nabsolute_s = 61\nattempts_per_account = 1\n\
         attempts_per_source = 2\nattempt_every_s = 3\nkey_requests_per_minute = 4\n[space]\nreserve_mib = 7\n\
         [backup]\nto = '/mnt/b'\nat = '23:59'\nkeep_days = 31",
    )
    .unwrap()
    .config;
    assert_eq!(changed.name, "cloud.example.org");
    assert_eq!(changed.data, PathBuf::from("/srv/x"));
    assert_eq!(changed.mqtt.port(), 0);
    assert_eq!(
        changed.sessions,
        Sessions {
            idle_s: 60,
            absolute_s: 61,
            attempts_per_account: 1,
            attempts_per_source: 2,
            attempt_every_s: 3,
            key_requests_per_minute: 4,
            second_factor_optional: false,
        }
    );
    assert_eq!(changed.space.reserve_mib, 7);
    assert_eq!(
        changed.backup,
        Backup {
            to: Some(PathBuf::from("/mnt/b")),
            at_minute: 23 * 60 + 59,
            keep_days: Some(31),
        }
    );
}

#[test]
fn a_mail_server_is_read_and_its_port_follows_from_its_tls() {
    let read = |text: &str| {
        parse(&format!(
            "[mail]\nhost = 'smtp.example.org'\nfrom = 'a@b.c'\n{text}"
        ))
    };
    let mail = read("").unwrap().config.mail.unwrap();
    assert_eq!(
        (mail.port, mail.tls, mail.login),
        (465, MailTls::Implicit, None)
    );
    let mail = read("tls = 'starttls'\nuser = 'u'\npassword_file = '/p'\nca = '/ca'");
    let mail = mail.unwrap().config.mail.unwrap();
    assert_eq!((mail.port, mail.tls), (587, MailTls::StartTls));
    assert_eq!(mail.login, Some(("u".to_owned(), PathBuf::from("/p"))));
    for (text, key) in [
        ("tls = 'none'", "mail.tls"),
        ("user = 'u'", "mail.password_file"),
        ("password_file = '/p'", "mail.user"),
        ("port = 0", "mail.port"),
    ] {
        assert_eq!(read(text).unwrap_err().faults()[0].key, key);
    }
    let faults = parse("[mail]").unwrap_err();
    let keys: Vec<_> = faults
        .faults()
        .iter()
        .map(|fault| fault.key.as_str())
        .collect();
    assert_eq!(keys, ["mail.host", "mail.from"]);
}

#[test]
fn unknown_keys_are_reported_when_the_switch_says_so() {
    let text = "nmae = 'x'\n[sessions]\nidle_s = 60\nfancy = true";
    let file = Path::new("fieldkeep.toml");
    let loaded = Config::parse(text, file, UnknownKeys::Report).unwrap();
    assert_eq!(loaded.ignored, ["nmae", "sessions.fancy"]);
    assert_eq!(loaded.config.sessions.idle_s, 60);
    assert!(parse(text).is_err());
}

#[test]
fn a_missing_file_is_named() {
    let faults = Config::load(Path::new("/nonexistent/f.toml"), UnknownKeys::Refuse).unwrap_err();
    assert!(
        faults
            .to_string()
            .starts_with("/nonexistent/f.toml: cannot be read")
    );
}

#[test]
fn bad_files_answer_as_the_golden_texts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let answer = format!("{}\n", parse(&text).unwrap_err());
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &answer).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(answer, expected, "{}", path.display());
    }
    assert!(seen >= 5);
}
