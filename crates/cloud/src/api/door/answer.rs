//! What handlers answer, each with its status and its place in the document.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder, Schema};

use super::Sketch;
use crate::api::parts::Parts;
use crate::api::problem::{self, Code, Problem};

/// A good answer of a handler.
pub trait Answer: Send {
    /// Whether something was made: such a request may be repeated under an `Idempotency-Key`.
    const CREATES: bool = false;

    /// The response.
    fn respond(self) -> Response;

    /// Its place in the document.
    fn sketch(sketch: &mut Sketch);
}

/// 200 with JSON.
pub struct Json<T>(pub T);

/// 201 with JSON.
pub struct Created<T>(pub T);

/// 204.
pub struct Empty;

/// An answer that sets or clears the session cookie.
pub struct SetCookie<A> {
    /// The cookie's text.
    pub cookie: String,
    /// The answer.
    pub answer: A,
}

/// A response that is not JSON: a page, a stream. `T` says in the document what it is.
pub struct Raw<T> {
    response: Response,
    kind: std::marker::PhantomData<fn() -> T>,
}

/// What a raw response is.
pub trait RawKind: 'static {
    /// Its media type.
    const MEDIA_TYPE: &'static str;
    /// Others that it may have.
    const ALSO: &'static [&'static str] = &[];
    /// What it holds, in a sentence.
    const SAYS: &'static str;
    /// Statuses with which it refuses in words of its own, which [`refusal`](Self::refusal) describes.
    const REFUSES: &'static [&'static str] = &[];

    /// The shape of such a refusal.
    fn refusal() -> Option<RefOr<Schema>> {
        None
    }
}

impl<T> Raw<T> {
    /// Wraps a response.
    #[must_use]
    pub const fn new(response: Response) -> Self {
        Self {
            response,
            kind: std::marker::PhantomData,
        }
    }
}

/// A response in one of several forms: JSON of `T`, or what `K` says.
pub struct Either<T, K> {
    response: Response,
    kinds: std::marker::PhantomData<fn() -> (T, K)>,
}

/// The forms beside JSON.
pub trait Forms: 'static {
    /// Their media types.
    const MEDIA_TYPES: &'static [&'static str];
    /// What they hold, in a sentence.
    const SAYS: &'static str;
}

impl<T: Serialize, K> Either<T, K> {
    /// As JSON.
    #[must_use]
    pub fn json(value: &T) -> Self {
        Self::raw(json(StatusCode::OK, value))
    }

    /// In another form.
    #[must_use]
    pub const fn raw(response: Response) -> Self {
        Self {
            response,
            kinds: std::marker::PhantomData,
        }
    }
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let body = match serde_json::to_vec(value) {
        Ok(body) => body,
        Err(error) => {
            let problem = Problem::internal("an answer could not be written", &error);
            return axum::response::IntoResponse::into_response(problem);
        }
    };
    let mut response = json_response(Body::from(body));
    *response.status_mut() = status;
    response
}

/// 200 with JSON that is written already.
pub(in crate::api) fn json_parts(parts: Parts) -> Response {
    json_response(Body::new(parts))
}

fn json_response(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

fn sketch_json<T: ToSchema>(sketch: &mut Sketch, status: &str, says: &str) {
    sketch.schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(&mut sketch.schemas);
    let response = ResponseBuilder::new()
        .description(says)
        .content(
            "application/json",
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name(T::name())))
                .build(),
        )
        .build();
    sketch.success.push((status.to_owned(), response));
}

impl<T: Serialize + ToSchema + Send> Answer for Json<T> {
    fn respond(self) -> Response {
        json(StatusCode::OK, &self.0)
    }

    fn sketch(sketch: &mut Sketch) {
        sketch_json::<T>(sketch, "200", "What was asked for.");
    }
}

impl<T: Serialize + ToSchema + Send> Answer for Created<T> {
    const CREATES: bool = true;

    fn respond(self) -> Response {
        json(StatusCode::CREATED, &self.0)
    }

    fn sketch(sketch: &mut Sketch) {
        sketch_json::<T>(sketch, "201", "What was made.");
    }
}

impl Answer for Empty {
    fn respond(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    }

    fn sketch(sketch: &mut Sketch) {
        let response = ResponseBuilder::new().description("Done.").build();
        sketch.success.push(("204".to_owned(), response));
    }
}

impl<A: Answer> Answer for SetCookie<A> {
    fn respond(self) -> Response {
        let mut response = self.answer.respond();
        match HeaderValue::from_str(&self.cookie) {
            Ok(mut cookie) => {
                cookie.set_sensitive(true);
                response.headers_mut().append(header::SET_COOKIE, cookie);
                response
            }
            Err(_) => axum::response::IntoResponse::into_response(Problem::new(Code::Internal)),
        }
    }

    fn sketch(sketch: &mut Sketch) {
        A::sketch(sketch);
    }
}

impl<T: RawKind> Answer for Raw<T> {
    fn respond(self) -> Response {
        self.response
    }

    fn sketch(sketch: &mut Sketch) {
        let mut response = ResponseBuilder::new()
            .description(T::SAYS)
            .content(T::MEDIA_TYPE, ContentBuilder::new().build());
        for media_type in T::ALSO {
            response = response.content(*media_type, ContentBuilder::new().build());
        }
        sketch.success.push(("200".to_owned(), response.build()));
        for status in T::REFUSES {
            // What the door refuses by itself stays a problem.
            let response = ResponseBuilder::new()
                .description("A refusal in the words of its own protocol; or a problem (RFC 9457).")
                .content(
                    T::MEDIA_TYPE,
                    ContentBuilder::new().schema(T::refusal()).build(),
                )
                .content(
                    problem::MEDIA_TYPE,
                    ContentBuilder::new()
                        .schema(Some(Ref::from_schema_name(problem::Wire::name())))
                        .build(),
                );
            sketch
                .success
                .push(((*status).to_owned(), response.build()));
        }
    }
}

impl<T: Serialize + ToSchema, K: Forms> Answer for Either<T, K> {
    fn respond(self) -> Response {
        self.response
    }

    fn sketch(sketch: &mut Sketch) {
        sketch.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut sketch.schemas);
        let schema = Ref::from_schema_name(T::name());
        let mut response = ResponseBuilder::new().description(K::SAYS).content(
            "application/json",
            ContentBuilder::new().schema(Some(schema)).build(),
        );
        for media_type in K::MEDIA_TYPES {
            response = response.content(*media_type, ContentBuilder::new().build());
        }
        sketch.success.push(("200".to_owned(), response.build()));
    }
}
