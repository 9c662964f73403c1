//! Bodies of protocols that are not ours: forms, and flat JSON objects of texts.
//!
//! Owns how they are read: bounded like every body, each name once, and no name refused, because those protocols say that
//! unknown ones are passed over. What a body lacks is for the handler to say, in its protocol's words.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use axum::extract::Query as AxumQuery;
use http::{HeaderMap, Uri, header};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Required};

use super::argument::{Argument, collected};
use super::{Incoming, Sketch};
use crate::api::App;
use crate::api::problem::Problem;

const FORM: &str = "application/x-www-form-urlencoded";

/// Fields by name, each given once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// What a field holds; None when it is absent or empty.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    fn from_pairs(pairs: Vec<(String, String)>) -> Option<Self> {
        let mut fields = BTreeMap::new();
        for (name, value) in pairs {
            if fields.insert(name, value).is_some() {
                return None;
            }
        }
        Some(Self(fields))
    }

    fn from_form(bytes: &[u8]) -> Option<Self> {
        // A form is written like a query, so it is read as one.
        let text = std::str::from_utf8(bytes).ok()?;
        // Blanks that a careless client left in are meant as such.
        let text = text.trim().replace(' ', "+");
        let uri: Uri = format!("/?{text}").parse().ok()?;
        let AxumQuery(pairs) = AxumQuery::try_from_uri(&uri).ok()?;
        Self::from_pairs(pairs)
    }

    fn from_json(bytes: &[u8]) -> Option<Self> {
        let fields: BTreeMap<String, serde_json::Value> = serde_json::from_slice(bytes).ok()?;
        let texts = fields.into_iter().filter_map(|(name, value)| match value {
            serde_json::Value::String(text) => Some((name, text)),
            _ => None,
        });
        Some(Self(texts.collect()))
    }
}

/// Which fields a form must have, for the document: its handler asks for them in its protocol's words.
pub trait FormKind: Send + 'static {
    /// Their names.
    const REQUIRED: &'static [&'static str];
}

/// The fields of a form; None where the body is none, or gives a name twice.
pub struct Form<K> {
    /// The fields.
    pub fields: Option<Fields>,
    kind: PhantomData<fn() -> K>,
}

impl<K: FormKind> Argument for Form<K> {
    async fn take(_app: &App, incoming: &mut Incoming) -> Result<Self, Problem> {
        let form = media_type(&incoming.head.parts.headers) == FORM;
        let bytes = collected(incoming).await?;
        Ok(Self {
            fields: form.then(|| Fields::from_form(&bytes)).flatten(),
            kind: PhantomData,
        })
    }

    fn sketch(sketch: &mut Sketch) {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let mut fields = ObjectBuilder::new()
            .schema_type(Type::Object)
            .additional_properties(Some(text()));
        for name in K::REQUIRED {
            // An empty field is as good as none.
            let needed = text().min_length(Some(1));
            fields = fields.property(*name, needed).required(*name);
        }
        let content = ContentBuilder::new().schema(Some(fields)).build();
        sketch.body = Some(
            RequestBodyBuilder::new()
                .required(Some(Required::True))
                .content(FORM, content)
                .build(),
        );
    }
}

/// The texts of a form or of a flat JSON object, whatever the header calls it; None where the body is neither.
pub struct Texts(pub Option<Fields>);

impl Argument for Texts {
    async fn take(_app: &App, incoming: &mut Incoming) -> Result<Self, Problem> {
        let form = media_type(&incoming.head.parts.headers) == FORM;
        let bytes = collected(incoming).await?;
        Ok(Self(if form {
            Fields::from_form(&bytes)
        } else {
            Fields::from_json(&bytes)
        }))
    }
}

/// The query as it came, names and values decoded and nothing refused; nothing where it cannot be read.
pub struct Pairs(pub Vec<(String, String)>);

impl Argument for Pairs {
    async fn take(_app: &App, incoming: &mut Incoming) -> Result<Self, Problem> {
        let pairs = AxumQuery::try_from_uri(&incoming.head.parts.uri);
        Ok(Self(
            pairs.map(|AxumQuery(pairs)| pairs).unwrap_or_default(),
        ))
    }
}

fn media_type(headers: &HeaderMap) -> String {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_and_doubled_names_are_not() {
        let fields =
            Fields::from_form(b"grant_type=client_credentials&scope=read+write&x=%C3%A5&e=&y=a b");
        let fields = fields.unwrap();
        assert_eq!(fields.text("scope"), Some("read write"));
        assert_eq!(fields.text("y"), Some("a b"));
        assert_eq!(fields.text("x"), Some("\u{e5}"));
        assert_eq!((fields.text("e"), fields.text("nothing")), (None, None));
        assert_eq!(Fields::from_form(b""), Some(Fields::default()));
        for bad in [&b"a=1&a=2"[..], b"a=\xff", b"\0"] {
            assert_eq!(Fields::from_form(bad), None, "{bad:?}");
        }
        let json = Fields::from_json(b"{\"username\":\"a\",\"n\":1}").unwrap();
        assert_eq!((json.text("username"), json.text("n")), (Some("a"), None));
        for bad in [&b"[]"[..], b"", b"{", b"a=1"] {
            assert_eq!(Fields::from_json(bad), None, "{bad:?}");
        }
    }
}
