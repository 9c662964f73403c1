//! Arrow: as an IPC stream, and as Parquet.
//!
//! The same columns in both: `time` (microseconds, UTC), then for each element its value (or what its buckets hold) and its
//! flag. Unit, element and digits are each column's metadata; zone, range and revision the table's. Without its end
//! neither can be mistaken for whole: an IPC stream has an end mark, a Parquet file its footer.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Float64Array, RecordBatch, TimestampMicrosecondArray, UInt8Array, UInt64Array,
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Schema, SchemaRef, TimeUnit};
use fieldkeep_protocol::{Flag, Timestamp};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::{Cells, FormatError, Frame, Head, Role, utc};

/// Cells of one row group of a Parquet file, all columns together: what is kept until it is written.
const GROUP_CELLS: usize = 1 << 20;

/// Writes an Arrow IPC stream.
pub(in crate::api) struct Stream {
    schema: SchemaRef,
    writer: StreamWriter<Vec<u8>>,
}

impl Stream {
    pub(super) fn new(head: &Head) -> Result<Self, FormatError> {
        let schema = schema(head);
        Ok(Self {
            writer: StreamWriter::try_new(Vec::new(), &schema)?,
            schema,
        })
    }

    pub(super) fn rows(&mut self, frame: &Frame) -> Result<Vec<u8>, FormatError> {
        if !frame.times.is_empty() {
            self.writer.write(&batch(&self.schema, frame)?)?;
        }
        Ok(std::mem::take(self.writer.get_mut()))
    }

    pub(super) fn end(mut self) -> Result<Vec<u8>, FormatError> {
        self.writer.finish()?;
        Ok(std::mem::take(self.writer.get_mut()))
    }
}

/// Writes a Parquet file.
pub(in crate::api) struct File {
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
    group_rows: usize,
}

impl File {
    pub(super) fn new(head: &Head) -> Result<Self, FormatError> {
        let schema = schema(head);
        let pairs = about(head)
            .into_iter()
            .map(|(key, value)| KeyValue::new(key, value));
        let properties = WriterProperties::builder()
            .set_created_by(concat!("fieldkeep ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::SNAPPY)
            // Also as the file's own pairs, for readers that know no Arrow.
            .set_key_value_metadata(Some(pairs.collect()))
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
        Ok(Self {
            group_rows: (GROUP_CELLS / schema.fields().len().max(1)).max(1),
            writer,
            schema,
        })
    }

    pub(super) fn rows(&mut self, frame: &Frame) -> Result<Vec<u8>, FormatError> {
        if !frame.times.is_empty() {
            self.writer.write(&batch(&self.schema, frame)?)?;
            if self.writer.in_progress_rows() >= self.group_rows {
                self.writer.flush()?;
            }
        }
        Ok(std::mem::take(self.writer.inner_mut()))
    }

    pub(super) fn end(mut self) -> Result<Vec<u8>, FormatError> {
        self.writer.finish()?;
        Ok(std::mem::take(self.writer.inner_mut()))
    }
}

fn schema(head: &Head) -> SchemaRef {
    let utc_time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields = vec![arrow_schema::Field::new("time", utc_time, false)];
    for field in &head.fields {
        let holds = match field.role {
            Role::Flag => DataType::UInt8,
            Role::Count => DataType::UInt64,
            Role::Value | Role::Min | Role::Mean | Role::Max => DataType::Float64,
        };
        let mut metadata = HashMap::from([
            ("element".to_owned(), field.element.to_string()),
            ("name".to_owned(), field.name.clone()),
            ("holds".to_owned(), field.role.word().to_owned()),
        ]);
        match field.role {
            Role::Flag => {
                let meaning = "QARTOD: 1 pass, 2 not evaluated, 3 suspect, 4 fail, 9 missing";
                metadata.insert("meaning".to_owned(), meaning.to_owned());
            }
            role if role.has_unit() => {
                metadata.insert("unit".to_owned(), field.unit.clone());
                metadata.insert("digits".to_owned(), field.digits.to_string());
            }
            _ => {}
        }
        // An element that is called time must not hide the times.
        let title = match field.title() {
            title if title == "time" => format!("time {}", field.element),
            title => title,
        };
        fields.push(arrow_schema::Field::new(title, holds, true).with_metadata(metadata));
    }
    let metadata: HashMap<String, String> = about(head).into_iter().collect();
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// What the table says of itself.
fn about(head: &Head) -> Vec<(String, String)> {
    let mut about = vec![
        ("project".to_owned(), head.project.to_string()),
        ("zone".to_owned(), head.zone.clone()),
        ("from".to_owned(), utc(head.from)),
        ("to".to_owned(), utc(head.to)),
        ("revision".to_owned(), head.revision.to_string()),
    ];
    if let Some(time) = head.known_at {
        about.push(("known_at".to_owned(), utc(time)));
    }
    about
}

fn batch(schema: &SchemaRef, frame: &Frame) -> Result<RecordBatch, FormatError> {
    let times = frame.times.iter().map(|time| Timestamp::as_micros(*time));
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let mut columns: Vec<ArrayRef> = vec![Arc::new(times)];
    for cells in &frame.columns {
        columns.push(match cells {
            Cells::Numbers(cells) => Arc::new(Float64Array::from(cells.clone())),
            Cells::Counts(cells) => Arc::new(UInt64Array::from(cells.clone())),
            Cells::Flags(cells) => {
                let codes = cells.iter().map(|flag| flag.map(Flag::code));
                Arc::new(codes.collect::<UInt8Array>())
            }
        });
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
