//! What one entry tells, and how it lies in its row.
//!
//! Outside of tests entries are begun by grants, sessions and doors, which know who acts and from where: see
//! `access::Grant::entry`.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fieldkeep_protocol::{
    ClaimId, DeploymentId, DeviceId, ElementId, InvitationId, KeyId, LocationId, PasskeyId,
    PersonId, ProjectId, ServiceId, SessionId, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Act;

/// The most bytes that an old or a new value may have; more is left out, and that is told.
const VALUE_MAX: usize = 4_096;
/// The most characters of a name or reason.
const TEXT_MAX: usize = 1_000;

/// Where a request comes from. The door makes one for each request, and everything that the request is given carries
/// it. Cheap to clone; clones are the same request.
#[derive(Clone, Debug, Default)]
pub struct Origin(Arc<Inside>);

#[derive(Debug, Default)]
struct Inside {
    address: Option<IpAddr>,
    request: Option<String>,
    told: AtomicBool,
}

impl Origin {
    /// A request from `address`, with the id that its answer carries.
    #[must_use]
    pub fn new(address: Option<IpAddr>, request: Option<String>) -> Self {
        Self(Arc::new(Inside {
            // One address, whichever socket it came through.
            address: address.map(|address| address.to_canonical()),
            request,
            told: AtomicBool::new(false),
        }))
    }

    /// The program itself, or a person at the machine.
    #[must_use]
    pub fn here() -> Self {
        Self::default()
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.0.address
    }

    /// The request's id.
    #[must_use]
    pub fn request(&self) -> Option<&str> {
        self.0.request.as_deref()
    }

    /// Whether the trail has an entry of this request.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.0.told.load(Ordering::Relaxed)
    }

    pub(super) fn mark(&self) {
        self.0.told.store(true, Ordering::Relaxed);
    }
}

macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $inner:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[doc = $inner])+ $variant,)+
        }

        impl $name {
            /// The word for it, as stored and shown.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

words! {
    /// What kind of actor it is.
    WhoKind {
        /// A person.
        Person = "person",
        /// An API key.
        Key = "key",
        /// A service account.
        Service = "service",
        /// A datalogger.
        Device = "device",
        /// The program itself.
        System = "system",
        /// Nobody who is known.
        Nobody = "nobody",
    }
}

/// Who acted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Who {
    /// What kind of actor.
    pub kind: WhoKind,
    /// The id as text; the task's word for the program; empty for nobody.
    pub id: String,
    /// The name at that time, for people and services.
    pub name: Option<String>,
}

impl Who {
    /// An actor with a name.
    #[must_use]
    pub fn new(kind: WhoKind, id: impl fmt::Display, name: Option<&str>) -> Self {
        Self {
            kind,
            id: id.to_string(),
            name: name.map(str::to_owned),
        }
    }

    /// Nobody who is known.
    #[must_use]
    pub fn nobody() -> Self {
        Self::new(WhoKind::Nobody, "", None)
    }

    /// A datalogger.
    #[must_use]
    pub fn device(device: DeviceId) -> Self {
        Self::new(WhoKind::Device, device, None)
    }
}

/// What was acted on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// What kind of thing: `element`, `route`, …
    pub kind: &'static str,
    /// Its id as text; a word for what has no id.
    pub id: String,
}

impl Object {
    /// A thing of a kind.
    #[must_use]
    pub fn new(kind: &'static str, id: impl fmt::Display) -> Self {
        Self {
            kind,
            id: id.to_string(),
        }
    }
}

macro_rules! objects {
    ($($id:ident = $kind:literal;)+) => {$(
        impl From<$id> for Object {
            fn from(id: $id) -> Self {
                Self::new($kind, id)
            }
        }
    )+};
}

objects! {
    ProjectId = "project";
    LocationId = "location";
    DeviceId = "device";
    ClaimId = "claim";
    ElementId = "element";
    DeploymentId = "deployment";
    PersonId = "person";
    KeyId = "key";
    ServiceId = "service_account";
    SessionId = "session";
    PasskeyId = "passkey";
    InvitationId = "invitation";
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused, with this problem code.
    Refused(&'static str),
    /// It was allowed and failed.
    Failed,
}

impl Outcome {
    /// The word for it, as stored and shown.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused(_) => "refused",
            Self::Failed => "failed",
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Refused(code) => code,
            Self::Done | Self::Failed => "",
        }
    }
}

/// One entry, before it is written. Nothing secret may be put into it: values are what a reader of the trail may see.
#[derive(Clone, Debug)]
pub struct Entry {
    pub(super) project: Option<ProjectId>,
    pub(super) who: Who,
    pub(super) act: Act,
    pub(super) object: Option<Object>,
    pub(super) location: Option<LocationId>,
    pub(super) old: Option<Value>,
    pub(super) new: Option<Value>,
    pub(super) reason: Option<String>,
    pub(super) outcome: Outcome,
    pub(super) count: u32,
    pub(super) origin: Origin,
}

impl Entry {
    /// That `who` did `act` in a project, or (None) with the instance. Where there is a grant or a session, its
    /// `entry` is the way.
    #[must_use]
    pub fn new(project: Option<ProjectId>, who: Who, origin: &Origin, act: Act) -> Self {
        Self {
            project,
            who,
            act,
            object: None,
            location: None,
            old: None,
            new: None,
            reason: None,
            outcome: Outcome::Done,
            count: 1,
            origin: origin.clone(),
        }
    }

    /// On what.
    #[must_use]
    pub fn on(mut self, object: impl Into<Object>) -> Self {
        self.object = Some(object.into());
        self
    }

    /// Where in the project that is, so that a reader who sees only some locations sees this too.
    #[must_use]
    pub fn at(mut self, location: Option<LocationId>) -> Self {
        self.location = location;
        self
    }

    /// What it was before: a small JSON object without secrets.
    #[must_use]
    pub fn old(mut self, old: Value) -> Self {
        self.old = Some(capped(old));
        self
    }

    /// What it is since: a small JSON object without secrets.
    #[must_use]
    pub fn new_value(mut self, new: Value) -> Self {
        self.new = Some(capped(new));
        self
    }

    /// Why, in the actor's words.
    #[must_use]
    pub fn reason(mut self, reason: Option<&str>) -> Self {
        self.reason = reason.map(|text| text.chars().take(TEXT_MAX).collect());
        self
    }

    /// How it ended, where it was not done.
    #[must_use]
    pub fn ended(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// The same about a project instead of the instance.
    #[must_use]
    pub fn in_project(mut self, project: ProjectId) -> Self {
        self.project = Some(project);
        self
    }
}

fn capped(value: Value) -> Value {
    if value.to_string().len() > VALUE_MAX {
        return serde_json::json!({ "left_out": "too long for the trail" });
    }
    value
}

/// The sealed part of a row.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Detail {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) old: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) new: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<String>,
}

impl Detail {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            name: entry
                .who
                .name
                .as_ref()
                .map(|name| name.chars().take(TEXT_MAX).collect()),
            old: entry.old.clone(),
            new: entry.new.clone(),
            reason: entry.reason.clone(),
            address: entry.origin.address().map(|address| address.to_string()),
            request: entry.origin.request().map(str::to_owned),
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        // Strings and JSON values always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// The part of a row that lies in clear, to which the sealed part is bound: a changed column no longer opens it.
pub(super) struct Bound<'e> {
    pub(super) id: i64,
    pub(super) at_us: i64,
    pub(super) who_kind: &'e str,
    pub(super) who: &'e str,
    pub(super) act: &'e str,
    pub(super) object_kind: &'e str,
    pub(super) object: &'e str,
    pub(super) location: Option<&'e [u8]>,
    pub(super) result: &'e str,
    pub(super) code: &'e str,
    pub(super) count: i64,
}

impl<'e> Bound<'e> {
    pub(super) fn new(entry: &'e Entry, id: i64, at: Timestamp) -> Self {
        let (object_kind, object) = entry
            .object
            .as_ref()
            .map_or(("", ""), |object| (object.kind, object.id.as_str()));
        Self {
            id,
            at_us: at.as_micros(),
            who_kind: entry.who.kind.word(),
            who: &entry.who.id,
            act: entry.act.word(),
            object_kind,
            object,
            location: entry
                .location
                .as_ref()
                .map(|location| location.as_bytes().as_slice()),
            result: entry.outcome.word(),
            code: entry.outcome.code(),
            count: entry.count.into(),
        }
    }

    /// Each column with its length, so that none runs into the next. The project is the sealing key's own scope.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(160);
        for number in [self.id, self.at_us, self.count] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        let columns = [
            self.who_kind.as_bytes(),
            self.who.as_bytes(),
            self.act.as_bytes(),
            self.object_kind.as_bytes(),
            self.object.as_bytes(),
            self.location.unwrap_or_default(),
            self.result.as_bytes(),
            self.code.as_bytes(),
        ];
        for column in columns {
            bytes.extend_from_slice(&(column.len() as u64).to_be_bytes());
            bytes.extend_from_slice(column);
        }
        bytes
    }
}
