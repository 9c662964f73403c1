//! The command as a person meets it: exit codes, what it says on stderr, and that it never listens.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn logger(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fieldkeep-logger"))
        .args(arguments)
        .output()
        .expect("the command can be started")
}

/// The exit code and what was said on stderr.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = logger(arguments);
    assert!(output.stdout.is_empty(), "a refusal prints no result");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn refusals_say_what_and_what_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();

    let (code, said) = refused(&["enroll", "hello", "--dir", path]);
    assert_eq!(code, Some(2));
    let expected = "error: a claim line begins with fk1:\n  Copy the whole line from the cloud and put it between single quotes.\n";
    assert_eq!(said, expected);

    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let line = format!("fk1:127.0.0.1:{}:CODE:{}", closed.port(), "ab".repeat(32));
    let (code, said) = refused(&["enroll", &line, "--dir", path]);
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains("nothing listens there") && said.contains("Check that the cloud runs"),
        "{said}"
    );

    let (code, said) = refused(&[
        "enroll",
        "--server",
        "http://localhost:1",
        "--ca",
        "/nonexistent",
        "--code",
        "X",
        "--dir",
        path,
    ]);
    assert_eq!(code, Some(2));
    assert!(said.contains("must be https://HOST:PORT"), "{said}");

    for command in ["run", "status"] {
        let (code, said) = refused(&[command, "--dir", path]);
        assert_eq!(code, Some(2));
        assert!(
            said.contains("is not enrolled") && said.contains("fieldkeep-logger enroll"),
            "{said}"
        );
    }
    let (code, _) = refused(&["run", "--dir", path, "--exit-after", "60"]);
    assert_eq!(code, Some(2));
}

#[test]
fn wrong_settings_end_the_start_with_all_errors_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let id = "01h455vb4pex5vsknk084sn02q";
    let enrolment =
        format!("device = \"dev_{id}\"\nproject = \"prj_{id}\"\nmqtt = \"a:1\"\nhttps = \"a:2\"\n");
    fs::write(dir.path().join("device.toml"), enrolment).unwrap();
    fs::write(
        dir.path().join("logger.toml"),
        "[sampling]\ninterval = 1\nintervall = 2\n",
    )
    .unwrap();
    let (code, said) = refused(&["run", "--dir", dir.path().to_str().unwrap()]);
    assert_eq!(code, Some(2));
    let expected = "error: logger.toml: sampling.interval: must be text, not 1\n\
                    logger.toml: sampling.intervall: is not a key of this file\n  Mend the settings in logger.toml.\n";
    assert_eq!(said, expected);
}

#[test]
fn no_source_of_the_logger_opens_a_listening_socket() {
    let mut sources = Vec::new();
    collect(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut sources,
    );
    assert!(sources.len() > 30);
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        for word in ["TcpListener", "UnixListener", "UdpSocket", ".listen("] {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
    }
}

/// Source files but for tests, whose small cloud has to listen.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}
