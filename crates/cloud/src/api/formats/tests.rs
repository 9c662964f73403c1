//! What is written reads back: the same numbers, units, zones and flags.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float64Type, TimestampMicrosecondType, UInt8Type, UInt64Type};
use arrow_ipc::reader::StreamReader;
use arrow_schema::Schema;
use axum::body::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::projects::{ElementKind, ValueKind};

/// 2026-03-29T00:59:59.5Z: half a second before the clocks in Copenhagen go to summer time.
const START: i64 = 1_774_745_999_500_000;

/// Numbers that a careless writer spoils.
const VALUES: [Option<f64>; 6] = [
    Some(0.1),
    Some(-0.0),
    None,
    Some(1e300),
    Some(f64::MIN_POSITIVE),
    Some(-123_456_789.123_456_79),
];

fn element(number: u8, name: &str, unit: &str) -> Element {
    Element {
        id: ElementId::from_bytes([number; 16]),
        name: name.to_owned(),
        unit: unit.to_owned(),
        digits: 3,
        kind: ElementKind::Measured,
        value_kind: ValueKind::Number,
        colour: None,
        location: None,
        created: Timestamp::from_micros(0),
        deployment: None,
    }
}

fn head(elements: &[Element], roles: &[Role]) -> Head {
    Head {
        project: ProjectId::from_bytes([7; 16]),
        zone: "Europe/Copenhagen".to_owned(),
        revision: "5.a".parse().unwrap(),
        from: Timestamp::from_micros(START),
        to: Timestamp::from_micros(START + 6_000_000),
        known_at: Some(Timestamp::from_micros(START)),
        fields: fields(elements, roles),
    }
}

fn elements() -> [Element; 2] {
    [element(1, "Level", "m"), element(2, "=Sum, \"all\"", "Cel")]
}

fn frame() -> Frame {
    let flags: Vec<Option<Flag>> = VALUES
        .iter()
        .map(|value| value.map(|_| Flag::Suspect))
        .collect();
    let mut turned = VALUES;
    turned.reverse();
    Frame {
        times: (0..6)
            .map(|second| Timestamp::from_micros(START + second * 1_000_000))
            .collect(),
        columns: vec![
            Cells::Numbers(VALUES.to_vec()),
            Cells::Flags(flags.clone()),
            Cells::Numbers(turned.to_vec()),
            Cells::Flags(flags.into_iter().rev().collect()),
        ],
    }
}

/// Written in two pieces.
fn written(format: Format) -> Vec<u8> {
    let mut writer = Writer::new(format, &head(&elements(), POINTS)).unwrap();
    let mut out = writer.rows(&frame()).unwrap();
    out.extend(writer.rows(&frame()).unwrap());
    out.extend(writer.end().unwrap());
    out
}

fn bits(values: impl IntoIterator<Item = Option<f64>>) -> Vec<Option<u64>> {
    values
        .into_iter()
        .map(|value| value.map(f64::to_bits))
        .collect()
}

#[test]
fn csv_is_exact_and_no_spreadsheet_runs_it() {
    let text = String::from_utf8(written(Format::Csv)).unwrap();
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(
        lines.len(),
        14,
        "a header, twelve rows, and the last line's end"
    );
    assert_eq!(
        lines[0],
        "time_utc,time_local (Europe/Copenhagen),Level (m),Level flag,\"'=Sum, \"\"all\"\" (Cel)\",\"'=Sum, \"\"all\"\" flag\""
    );
    assert_eq!(
        lines[1],
        "2026-03-29T00:59:59.5Z,2026-03-29T01:59:59.5+01:00,0.1,3,-123456789.12345679,3"
    );
    // An hour is missing in the night.
    assert!(lines[2].starts_with("2026-03-29T01:00:00.5Z,2026-03-29T03:00:00.5+02:00,-0,3,"));
    assert!(
        lines[3].contains("+02:00,,,1000"),
        "nothing is nothing: {}",
        lines[3]
    );
    let column = |number: usize| {
        lines[1..7]
            .iter()
            .map(move |line| line.split(',').nth(number).unwrap().parse::<f64>().ok())
    };
    assert_eq!(bits(column(2)), bits(VALUES));
    assert_eq!(bits(column(4)), bits(VALUES.into_iter().rev()));
    assert!(
        !text.contains('e') || !lines[4].contains('e'),
        "no exponents"
    );
}

#[test]
fn a_table_that_breaks_off_is_not_whole() {
    let begin = |format| {
        let mut writer = Writer::new(format, &head(&elements(), POINTS)).unwrap();
        let mut out = writer.rows(&frame()).unwrap();
        out.extend(writer.broken("the store failed, ask again"));
        out
    };
    let csv = String::from_utf8(begin(Format::Csv)).unwrap();
    assert!(csv.ends_with(
        "\r\n\"# broken off, the rows above are not all: the store failed, ask again\"\r\n"
    ));
    let lines = String::from_utf8(begin(Format::Lines)).unwrap();
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["complete"], false);
    let stream = begin(Format::Arrow);
    assert!(
        !stream.ends_with(&[255, 255, 255, 255, 0, 0, 0, 0]),
        "no end mark"
    );
    let file = Bytes::from(begin(Format::Parquet));
    assert!(ParquetRecordBatchReaderBuilder::try_new(file).is_err());
}

fn check(schema: &Schema, batches: &[RecordBatch]) {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 12);
    assert_eq!(schema.metadata()["zone"], "Europe/Copenhagen");
    assert_eq!(schema.metadata()["revision"], "5.a");
    assert_eq!(schema.metadata()["known_at"], "2026-03-29T00:59:59.5Z");
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let expected = [
        "time",
        "Level",
        "Level flag",
        "=Sum, \"all\"",
        "=Sum, \"all\" flag",
    ];
    assert_eq!(names, expected);
    assert_eq!(schema.field(1).metadata()["unit"], "m");
    assert_eq!(schema.field(3).metadata()["unit"], "Cel");
    assert_eq!(
        schema.field(3).metadata()["element"],
        ElementId::from_bytes([2; 16]).to_string()
    );
    assert!(!schema.field(2).metadata().contains_key("unit"));
    assert_eq!(
        schema.field(0).data_type(),
        &arrow_schema::DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, Some("UTC".into()))
    );
    let mut times = Vec::new();
    let mut values = Vec::new();
    let mut flags = Vec::new();
    for batch in batches {
        times.extend(batch.column(0).as_primitive::<TimestampMicrosecondType>());
        values.extend(batch.column(1).as_primitive::<Float64Type>());
        flags.extend(batch.column(2).as_primitive::<UInt8Type>());
    }
    let frame = frame();
    let twice = || frame.times.iter().chain(&frame.times);
    let micros: Vec<_> = twice().map(|time| Some(time.as_micros())).collect();
    assert_eq!(times, micros);
    assert_eq!(bits(values), bits(VALUES.into_iter().chain(VALUES)));
    assert_eq!(flags[..3], [Some(3), Some(3), None]);
}

#[test]
fn arrow_streams_read_back() {
    let bytes = written(Format::Arrow);
    let reader = StreamReader::try_new(bytes.as_slice(), None).unwrap();
    let schema = reader.schema();
    check(&schema, &reader.collect::<Result<Vec<_>, _>>().unwrap());
}

#[test]
fn parquet_files_read_back() {
    let bytes = Bytes::from(written(Format::Parquet));
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let schema = Arc::clone(reader.schema());
    let pairs = reader
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .unwrap();
    assert!(pairs.iter().any(|pair| pair.key == "zone"));
    let batches = reader.build().unwrap();
    check(&schema, &batches.collect::<Result<Vec<_>, _>>().unwrap());
}

#[test]
fn buckets_and_names_that_come_twice_have_columns_of_their_own() {
    let elements = [
        element(1, "Level", "m"),
        element(2, "Level", ""),
        element(3, "time", "s"),
    ];
    let head = head(&elements, BUCKETS);
    let mut columns = Vec::new();
    for field in &head.fields {
        columns.push(match field.role {
            Role::Flag => Cells::Flags(vec![Some(Flag::Pass)]),
            Role::Count => Cells::Counts(vec![Some(u64::MAX)]),
            _ => Cells::Numbers(vec![Some(1.5)]),
        });
    }
    let frame = Frame {
        times: vec![Timestamp::from_micros(START)],
        columns,
    };
    let write = |format| {
        let mut writer = Writer::new(format, &head).unwrap();
        let mut out = writer.rows(&frame).unwrap();
        out.extend(writer.end().unwrap());
        out
    };
    let bytes = Bytes::from(write(Format::Parquet));
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .unwrap()
        .build()
        .unwrap();
    let batch = reader.next().unwrap().unwrap();
    let mut names: Vec<String> = (batch.schema().fields().iter())
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(names[1], format!("Level {} min", elements[0].id));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 16);
    let counts = batch.column(4).as_primitive::<UInt64Type>();
    assert_eq!(counts.values().to_vec(), [u64::MAX]);
    let csv = String::from_utf8(write(Format::Csv)).unwrap();
    assert!(
        csv.lines()
            .nth(1)
            .unwrap()
            .ends_with(",1.5,1.5,1.5,18446744073709551615,1")
    );
    let lines = String::from_utf8(write(Format::Lines)).unwrap();
    let row: serde_json::Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    assert_eq!(row["elements"][elements[2].id.to_string()]["mean"], 1.5);
}

#[test]
fn the_header_says_the_format() {
    let accepted = |text: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, text.parse().unwrap());
        Format::accepted(&headers)
    };
    assert_eq!(accepted("text/csv; header=present"), Some(Format::Csv));
    assert_eq!(
        accepted("text/html, application/JSON;q=0.9"),
        Some(Format::Json)
    );
    assert_eq!(
        accepted("application/vnd.apache.parquet, text/csv"),
        Some(Format::Parquet)
    );
    assert_eq!(accepted("*/*"), None);
    assert_eq!(Format::accepted(&HeaderMap::new()), None);
    for word in WORDS {
        let format = Format::from_word(word).unwrap();
        let name = format.media_type().split(';').next().unwrap();
        assert!(format.names().contains(&name));
    }
}
