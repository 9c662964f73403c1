//! JSON, one object a line: a row each, and a last line that says whether these were all.

use fieldkeep_protocol::Flag;
use serde_json::{Map, Value, json};

use super::{Cells, FormatError, Frame, Head, Role, utc};

/// Writes lines.
pub(in crate::api) struct Lines {
    /// Element and role of each column.
    keys: Vec<(String, Role)>,
    revision: String,
    begun: Option<Value>,
}

impl Lines {
    pub(super) fn new(head: &Head) -> Self {
        let elements: Vec<Value> = head
            .fields
            .iter()
            .filter(|field| field.role != Role::Flag)
            .map(|field| {
                json!({
                    "element": field.element.to_string(),
                    "name": field.name,
                    "unit": field.unit,
                    "holds": field.role.word(),
                })
            })
            .collect();
        let begun = json!({
            "project": head.project.to_string(),
            "zone": head.zone,
            "from": utc(head.from),
            "to": utc(head.to),
            "known_at": head.known_at.map(utc),
            "revision": head.revision.to_string(),
            "columns": elements,
        });
        let key = |field: &super::Field| (field.element.to_string(), field.role);
        Self {
            keys: head.fields.iter().map(key).collect(),
            revision: head.revision.to_string(),
            begun: Some(begun),
        }
    }

    pub(super) fn rows(&mut self, frame: &Frame) -> Result<Vec<u8>, FormatError> {
        let mut out = self.begin()?;
        for (row, time) in frame.times.iter().enumerate() {
            let mut cells = Map::new();
            for ((element, role), column) in self.keys.iter().zip(&frame.columns) {
                let Some(value) = cell(column, row) else {
                    continue;
                };
                let of_element = cells
                    .entry(element.clone())
                    .or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(of_element) = of_element {
                    of_element.insert(role.word().to_owned(), value);
                }
            }
            let line = json!({
                "time": utc(*time),
                "time_us": time.as_micros(),
                "elements": cells,
            });
            serde_json::to_writer(&mut out, &line)?;
            out.push(b'\n');
        }
        Ok(out)
    }

    pub(super) fn end(mut self) -> Result<Vec<u8>, FormatError> {
        let mut out = self.begin()?;
        let last = json!({ "complete": true, "revision": self.revision });
        serde_json::to_writer(&mut out, &last)?;
        out.push(b'\n');
        Ok(out)
    }

    pub(super) fn broken(self, why: &str) -> Vec<u8> {
        let last = json!({ "complete": false, "broken_off": why });
        format!("{last}\n").into_bytes()
    }

    fn begin(&mut self) -> Result<Vec<u8>, FormatError> {
        let mut out = Vec::new();
        if let Some(begun) = self.begun.take() {
            serde_json::to_writer(&mut out, &begun)?;
            out.push(b'\n');
        }
        Ok(out)
    }
}

fn cell(column: &Cells, row: usize) -> Option<Value> {
    match column {
        Cells::Numbers(cells) => cells.get(row).copied().flatten().map(Value::from),
        Cells::Counts(cells) => cells.get(row).copied().flatten().map(Value::from),
        Cells::Flags(cells) => (cells.get(row).copied().flatten())
            .map(Flag::code)
            .map(Value::from),
    }
}
