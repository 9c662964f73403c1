//! Settings: defaults are what the manual says, and refusals read as written here.

use super::*;

#[test]
fn the_manual_is_the_defaults() {
    let written = Config::parse("logger.toml", &Config::default_text(DriverKind::Host)).unwrap();
    let empty = Config::parse("logger.toml", "").unwrap();
    assert_eq!(written, empty);
}

#[test]
fn a_simulated_station_begins_with_a_year() {
    let config =
        Config::parse("logger.toml", &Config::default_text(DriverKind::Simulated)).unwrap();
    let DriverConfig::Simulated {
        seed: 1,
        backfill: Some((length, step)),
    } = config.drivers[0]
    else {
        panic!("{config:?}");
    };
    assert_eq!(length, Duration::from_secs(365 * 86_400));
    assert_eq!(step, Duration::from_secs(600));
}

#[test]
fn every_error_is_told_at_once() {
    let text = r#"
interval = "1s"
[sampling]
interval = "soon"
[reporting]
batch_records = 5000
batch_age = "9999d"
batch_bytes = 3
[link]
mode = "pigeon"
interval = "1ms"
[journal]
max_bytes = "1KiB"
keep_days = "many"
[[driver]]
kind = "modbus"
[[driver]]
kind = "replay"
speed = -1
[[driver]]
kind = "simulated"
sed = 4
"#;
    let told = Config::parse("logger.toml", text).unwrap_err().to_string();
    let golden = r#"logger.toml: sampling.interval: must be a duration such as "1s", "10min" or "31d", not "soon"
logger.toml: reporting.batch_records: must be a whole number from 1 to 4096, not 5000
logger.toml: reporting.batch_age: must be between 100ms and 86400s, not "9999d"
logger.toml: reporting.batch_bytes: is not a key of this file
logger.toml: link.mode: must be session or exchange, not "pigeon"
logger.toml: link.interval: must be between 1s and 86400s, not "1ms"
logger.toml: journal.max_bytes: must be between 1048576 and 1099511627776 bytes, not "1KiB"
logger.toml: journal.keep_days: must be a whole number from 1 to 36500, not "many"
logger.toml: driver[0].kind: must be host, replay or simulated, not "modbus"
logger.toml: driver[1].file: is needed: the CSV file
logger.toml: driver[1].speed: must be a number above 0, or "max", not -1
logger.toml: driver[2].sed: is not a key of this file
logger.toml: interval: is not a key of this file"#;
    assert_eq!(told, golden);
}

#[test]
fn what_is_not_toml_names_the_line() {
    let told = Config::parse("logger.toml", "[sampling\n")
        .unwrap_err()
        .to_string();
    assert!(
        told.starts_with("logger.toml: TOML parse error at line 1"),
        "{told}"
    );
}
