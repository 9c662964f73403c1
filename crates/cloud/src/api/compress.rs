//! Answers in fewer bytes: zstd or gzip, where the client takes them.
//!
//! Owns which answers are worth it: reads in text forms and Arrow, in memory from one KiB on, and exports as they
//! stream. Only answers to GET: secrets are told in answers to POST alone, so no answer that holds one shows anything by
//! its length. Leaves live streams alone, which must not wait for a full block, and files that are compressed already.

use std::io::Write as _;

use axum::body::{Body, BodyDataStream, HttpBody as _};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

/// Smaller answers are sent as they are.
const WORTH: u64 = 1_024;
/// What is compressed before others get their turn.
const STEP: usize = 64 * 1_024;
/// Fast rather than small: the worst of JSON goes with the first effort.
const ZSTD_LEVEL: i32 = 1;

const KINDS: &[&str] = &[
    "application/json",
    "application/jsonl",
    "text/csv",
    "application/vnd.apache.arrow.stream",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Zstd,
    Gzip,
}

impl Coding {
    const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

/// The layer.
pub(super) async fn compress(request: Request, next: Next) -> Response {
    let reads = request.method() == Method::GET;
    let coding = reads.then(|| chosen(request.headers())).flatten();
    let mut response = next.run(request).await;
    if !reads || !is_worth_it(&response) {
        return response;
    }
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept-encoding"));
    match coding {
        None => response,
        Some(coding) => match Encoder::new(coding) {
            Ok(encoder) => coded(response, coding, encoder),
            Err(error) => {
                tracing::warn!(%error, "an answer could not be compressed");
                response
            }
        },
    }
}

/// What the client likes best of what we have; zstd where it does not care.
fn chosen(headers: &HeaderMap) -> Option<Coding> {
    let mut best = None;
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for entry in value.to_str().unwrap_or_default().split(',') {
            let (name, parameters) = entry.split_once(';').unwrap_or((entry, ""));
            let coding = match name.trim().to_ascii_lowercase().as_str() {
                "zstd" => Coding::Zstd,
                "gzip" => Coding::Gzip,
                _ => continue,
            };
            let weight = parameters
                .trim()
                .strip_prefix("q=")
                .map_or(Some(1.0), |text| {
                    text.parse::<f32>().ok().filter(|weight| weight.is_finite())
                });
            let weight = weight.unwrap_or(0.0);
            let better = best
                .is_none_or(|(has, had)| weight > had || (weight >= had && has == Coding::Gzip));
            if weight > 0.0 && better {
                best = Some((coding, weight));
            }
        }
    }
    best.map(|(coding, _)| coding)
}

fn is_worth_it(response: &Response) -> bool {
    let headers = response.headers();
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default();
    response.status() == StatusCode::OK
        && KINDS.contains(&kind)
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::SET_COOKIE)
        && response
            .body()
            .size_hint()
            .exact()
            .is_none_or(|bytes| bytes >= WORTH)
}

fn coded(response: Response, coding: Coding, encoder: Encoder) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(
        header::CONTENT_ENCODING,
        HeaderValue::from_static(coding.name()),
    );
    // The same answer in another coding is another string of bytes.
    let weak = parts
        .headers
        .get(header::ETAG)
        .and_then(|tag| tag.to_str().ok())
        .and_then(|tag| HeaderValue::from_str(&format!("W/{tag}")).ok());
    if let Some(weak) = weak {
        parts.headers.insert(header::ETAG, weak);
    }
    let work = Work {
        source: body.into_data_stream(),
        rest: Bytes::new(),
        encoder,
    };
    let blocks = stream::try_unfold(Some(work), async |work| match work {
        None => Ok::<_, axum::BoxError>(None),
        Some(work) => work.block().await,
    });
    Response::from_parts(parts, Body::from_stream(blocks))
}

struct Work {
    source: BodyDataStream,
    rest: Bytes,
    encoder: Encoder,
}

impl Work {
    /// The next bytes of the answer; whatever breaks off the source breaks off the answer.
    async fn block(mut self) -> Result<Option<(Bytes, Option<Self>)>, axum::BoxError> {
        loop {
            if self.rest.is_empty() {
                match self.source.next().await {
                    Some(more) => self.rest = more?,
                    None => return Ok(Some((self.encoder.finish()?, None))),
                }
            }
            let step = self.rest.split_to(self.rest.len().min(STEP));
            let out = self.encoder.write(&step)?;
            if out.is_empty() {
                tokio::task::yield_now().await;
            } else {
                return Ok(Some((out, Some(self))));
            }
        }
    }
}

enum Encoder {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Encoder {
    fn new(coding: Coding) -> std::io::Result<Self> {
        Ok(match coding {
            Coding::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?),
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<Bytes> {
        let out = match self {
            Self::Zstd(encoder) => {
                encoder.write_all(bytes)?;
                encoder.get_mut()
            }
            Self::Gzip(encoder) => {
                encoder.write_all(bytes)?;
                encoder.get_mut()
            }
        };
        Ok(std::mem::take(out).into())
    }

    fn finish(self) -> std::io::Result<Bytes> {
        match self {
            Self::Zstd(encoder) => encoder.finish().map(Bytes::from),
            Self::Gzip(encoder) => encoder.finish().map(Bytes::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use http_body_util::BodyExt as _;

    use super::*;

    fn likes(text: &'static str) -> Option<Coding> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(text));
        chosen(&headers)
    }

    #[test]
    fn the_client_says_what_it_likes() {
        assert_eq!(likes("gzip, deflate, br, zstd"), Some(Coding::Zstd));
        assert_eq!(likes("zstd;q=0.5, gzip"), Some(Coding::Gzip));
        assert_eq!(likes("gzip;q=0, zstd;q=0"), None);
        assert_eq!(likes("br, identity"), None);
        assert_eq!(likes("gzip;q=nan"), None);
    }

    fn text() -> Vec<u8> {
        (0..60_000)
            .flat_map(|n: u32| format!("{n},").into_bytes())
            .collect()
    }

    async fn through(coding: Coding) -> Vec<u8> {
        let blocks = text()
            .chunks(100_000)
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>();
        let body = Body::from_stream(stream::iter(
            blocks.into_iter().map(Ok::<_, axum::BoxError>),
        ));
        let response = coded(Response::new(body), coding, Encoder::new(coding).unwrap());
        assert_eq!(response.headers()[header::CONTENT_ENCODING], coding.name());
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec()
    }

    #[tokio::test]
    async fn what_is_coded_is_the_same_again() {
        let gzip = through(Coding::Gzip).await;
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&*gzip)
            .read_to_end(&mut back)
            .unwrap();
        assert_eq!(back, text());
        let zstd = through(Coding::Zstd).await;
        assert_eq!(zstd::decode_all(&*zstd).unwrap(), text());
        assert!(zstd.len() < text().len() / 2);
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_does_not_end_well() {
        let parts = [Ok(Bytes::from_static(b"begun")), Err("gone".into())];
        let body = Body::from_stream(stream::iter(
            parts.map(|part: Result<_, axum::BoxError>| part),
        ));
        let coding = Coding::Gzip;
        let response = coded(Response::new(body), coding, Encoder::new(coding).unwrap());
        assert!(response.into_body().collect().await.is_err());
    }
}
