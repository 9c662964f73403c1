//! Takes typed values out of a TOML document, and keeps what is wrong and what is left over.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::{Table, Value};

use super::Fault;

pub(super) struct Reader {
    /// Values by dotted key; taken out as they are read.
    left: BTreeMap<String, Value>,
    tables: Vec<String>,
    faults: Vec<Fault>,
}

impl Reader {
    pub(super) fn new(text: &str) -> Result<Self, Fault> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |before| before.matches('\n').count() + 1);
            Fault {
                key: String::new(),
                what: format!("line {line}: not TOML: {}", error.message()),
            }
        })?;
        let mut reader = Self {
            left: BTreeMap::new(),
            tables: Vec::new(),
            faults: Vec::new(),
        };
        reader.flatten("", table);
        Ok(reader)
    }

    /// The faults, and the keys that nobody asked for.
    pub(super) fn finish(self) -> (Vec<Fault>, Vec<String>) {
        (self.faults, self.left.into_keys().collect())
    }

    /// Whether the file has this table; a plain value in its place is a fault.
    pub(super) fn table(&mut self, name: &str) -> bool {
        if self.left.remove(name).is_some() {
            self.fault(name, &format!("must be a table: [{name}]"));
        }
        self.tables.iter().any(|known| known == name)
    }

    pub(super) fn host(&mut self, key: &str, into: &mut String) {
        let Some(text) = self.text(key) else { return };
        let sound = (1..=253).contains(&text.len())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':'));
        if sound {
            *into = text;
        } else {
            self.fault(
                key,
                "must be a host name or an address, without port and brackets",
            );
        }
    }

    pub(super) fn required_text(&mut self, key: &str, into: &mut String) {
        match self.left.contains_key(key) {
            true => {
                if let Some(text) = self.text(key) {
                    *into = text;
                }
            }
            false => self.fault(key, "is missing"),
        }
    }

    pub(super) fn optional_text(&mut self, key: &str, into: &mut Option<String>) {
        if let Some(text) = self.text(key) {
            *into = Some(text);
        }
    }

    /// One of a few words.
    pub(super) fn word(&mut self, key: &str, allowed: &[&str], into: &mut String) {
        let Some(text) = self.text(key) else { return };
        if allowed.contains(&text.as_str()) {
            *into = text;
        } else {
            self.fault(key, &format!("must be one of: {}", allowed.join(", ")));
        }
    }

    /// Two keys that go together: both or neither.
    pub(super) fn both<A, B>(
        &mut self,
        (first, a): (&str, Option<A>),
        (second, b): (&str, Option<B>),
    ) -> Option<(A, B)> {
        match (a, b) {
            (Some(a), Some(b)) => Some((a, b)),
            (None, None) => None,
            (Some(_), None) => {
                self.fault(second, &format!("is missing beside {first}"));
                None
            }
            (None, Some(_)) => {
                self.fault(first, &format!("is missing beside {second}"));
                None
            }
        }
    }

    pub(super) fn path(&mut self, key: &str, into: &mut PathBuf) {
        if let Some(text) = self.text(key) {
            if text.is_empty() {
                self.fault(key, "must be a path");
            } else {
                *into = PathBuf::from(text);
            }
        }
    }

    pub(super) fn optional_path(&mut self, key: &str, into: &mut Option<PathBuf>) {
        if self.left.contains_key(key) {
            let mut path = PathBuf::new();
            self.path(key, &mut path);
            *into = Some(path);
        }
    }

    pub(super) fn required_path(&mut self, key: &str, into: &mut PathBuf) {
        if self.left.contains_key(key) {
            self.path(key, into);
        } else {
            self.fault(key, "is missing");
        }
    }

    pub(super) fn address(&mut self, key: &str, into: &mut SocketAddr) {
        let Some(text) = self.text(key) else { return };
        match text.parse() {
            Ok(address) => *into = address,
            Err(_) => self.fault(
                key,
                "must be an address and a port, such as \"0.0.0.0:8443\" or \"[::]:8443\"",
            ),
        }
    }

    /// Two listeners cannot share an address, unless each takes a free port.
    pub(super) fn distinct_ports(&mut self, listeners: &[(&str, SocketAddr)]) {
        for (position, (key, address)) in listeners.iter().enumerate() {
            let taken = listeners[..position]
                .iter()
                .find(|(_, other)| other == address && address.port() != 0);
            if let Some((other, _)) = taken {
                self.fault(key, &format!("is the same address as {other}"));
            }
        }
    }

    pub(super) fn number(&mut self, key: &str, allowed: RangeInclusive<u32>, into: &mut u32) {
        let Some(value) = self.left.remove(key) else {
            return;
        };
        let number = value
            .as_integer()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| allowed.contains(number));
        match number {
            Some(number) => *into = number,
            None => self.fault(
                key,
                &format!(
                    "must be a whole number from {} to {}",
                    allowed.start(),
                    allowed.end()
                ),
            ),
        }
    }

    pub(super) fn optional_number(
        &mut self,
        key: &str,
        allowed: RangeInclusive<u32>,
        into: &mut Option<u32>,
    ) {
        if self.left.contains_key(key) {
            let mut number = *allowed.start();
            self.number(key, allowed, &mut number);
            *into = Some(number);
        }
    }

    /// `HH:MM`, as minutes after midnight.
    pub(super) fn time_of_day(&mut self, key: &str, into: &mut u32) {
        let Some(text) = self.text(key) else { return };
        let below = |part: &str, limit: u32| -> Option<u32> {
            let number = (part.len() == 2).then(|| part.parse().ok()).flatten()?;
            (number < limit).then_some(number)
        };
        let minutes = text
            .split_once(':')
            .and_then(|(hour, minute)| Some(below(hour, 24)? * 60 + below(minute, 60)?));
        match minutes {
            Some(minutes) => *into = minutes,
            None => self.fault(key, "must be a time of day in UTC, such as \"02:30\""),
        }
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.left.remove(key)? {
            Value::String(text) => Some(text),
            other => {
                let found = other.type_str();
                self.fault(key, &format!("must be a text in quotes, not {found}"));
                None
            }
        }
    }

    fn fault(&mut self, key: &str, what: &str) {
        self.faults.push(Fault {
            key: key.to_owned(),
            what: what.to_owned(),
        });
    }

    fn flatten(&mut self, above: &str, table: Table) {
        for (name, value) in table {
            let key = if above.is_empty() {
                name
            } else {
                format!("{above}.{name}")
            };
            match value {
                Value::Table(inner) => {
                    self.flatten(&key, inner);
                    self.tables.push(key);
                }
                value => {
                    self.left.insert(key, value);
                }
            }
        }
    }
}
