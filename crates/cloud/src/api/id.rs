//! Ids and times as they are outside: TypeIDs and RFC 3339 strings.
//!
//! Owns their serde and schema, so that no response struct formats anything itself. Does not make ids.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use fieldkeep_protocol::{
    ClaimId, CredentialId, DeploymentId, DeviceId, ElementId, InvitationId, KeyId, LocationId,
    PasskeyId, PersonId, ProjectId, ServiceId, SessionId, Timestamp,
};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::clock::rfc3339;

/// A kind of id: what it is called in paths and documents.
pub trait Named: FromStr + Display + Copy + Send + Sync + 'static {
    /// The name of its path parameter.
    const PARAMETER: &'static str;
    /// The name of its schema.
    const SCHEMA: &'static str;
    /// The prefix of its TypeID.
    const PREFIX: &'static str;
}

macro_rules! named {
    ($($id:ident, $parameter:literal, $prefix:literal;)*) => {$(
        impl Named for $id {
            const PARAMETER: &'static str = $parameter;
            const SCHEMA: &'static str = stringify!($id);
            const PREFIX: &'static str = $prefix;
        }
    )*};
}

named! {
    ProjectId, "project", "prj";
    LocationId, "location", "loc";
    DeviceId, "device", "dev";
    ClaimId, "claim", "clm";
    ElementId, "element", "elm";
    DeploymentId, "deployment", "dpl";
    KeyId, "key", "key";
    PersonId, "person", "usr";
    SessionId, "session", "ses";
    PasskeyId, "passkey", "pky";
    InvitationId, "invitation", "inv";
    ServiceId, "account", "svc";
    CredentialId, "credential", "crd";
}

/// An id in a body: a TypeID such as `elm_01h455vb4pex5vsknk084sn02q`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id<T>(pub T);

// The schema macro reads the words of a type, not the type: it needs names without parameters.
/// A project's id in a body.
pub type ProjectRef = Id<ProjectId>;
/// A location's id in a body.
pub type LocationRef = Id<LocationId>;
/// A device's id in a body.
pub type DeviceRef = Id<DeviceId>;
/// A claim's id in a body.
pub type ClaimRef = Id<ClaimId>;
/// An element's id in a body.
pub type ElementRef = Id<ElementId>;
/// A deployment's id in a body.
pub type DeploymentRef = Id<DeploymentId>;
/// An API key's id in a body.
pub type KeyRef = Id<KeyId>;
/// A service account's id in a body.
pub type ServiceRef = Id<ServiceId>;
/// The id of a service account's credential in a body.
pub type CredentialRef = Id<CredentialId>;
/// A person's id in a body.
pub type PersonRef = Id<PersonId>;
/// A session's id in a body.
pub type SessionRef = Id<SessionId>;
/// A passkey's id in a body.
pub type PasskeyRef = Id<PasskeyId>;
/// An invitation's id in a body.
pub type InvitationRef = Id<InvitationId>;

impl<T> From<T> for Id<T> {
    fn from(id: T) -> Self {
        Self(id)
    }
}

impl<T: Named> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: Named> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map(Self)
            .map_err(|_| D::Error::custom(format_args!("is not an id of the form {}_…", T::PREFIX)))
    }
}

impl<T: Named> PartialSchema for Id<T> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(format!(
                "^{}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$",
                T::PREFIX
            )))
            .into()
    }
}

impl<T: Named> ToSchema for Id<T> {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed(T::SCHEMA)
    }
}

/// A time in a body: RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

impl Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&rfc3339::format(self.0))
    }
}

/// Not a date and time with an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a time such as 2026-03-01T12:00:00Z (in an address, + is written %2B)")]
pub struct NotATime;

impl FromStr for Time {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        rfc3339::parse(text).map(Self).map_err(|_| NotATime)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl ToSchema for Time {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_out_and_come_back() {
        for text in ["2026-03-01T12:00:00Z", "1999-12-31T23:59:59.000001Z"] {
            let time: Time = text.parse().unwrap();
            assert_eq!(time.to_string(), text);
        }
        let zoned: Time = "2026-03-01T13:00:00+01:00".parse().unwrap();
        assert_eq!(zoned.to_string(), "2026-03-01T12:00:00Z");
        for text in ["", "2026-03-01", "yesterday", "2026-03-01T12:00:00"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }
}
