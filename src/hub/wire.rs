//! The bytes of requests and answers: strict in shape, lenient in extras.
//!
//! Invariant: an error here says where an answer is wrong, never what stands there, for that may be a secret.

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use url::Url;

use super::{Change, NewToken, Resource, ResourceKind, Token, words::Text};

/// What a login answers; which fields there are depends on the route.
#[derive(Deserialize)]
pub(super) struct LoginAnswer {
    #[serde(default)]
    pub access_token: Option<SecretString>,
    #[serde(default)]
    pub token: Option<SecretString>,
}

/// The part of a refused login that leads on to the second factor.
#[derive(Deserialize)]
pub(super) struct SecondFactor {
    #[serde(default)]
    pub login_2fa_token: Option<SecretString>,
}

/// One page of the list. What one may hold at most follows from the most bytes of an answer.
#[derive(Deserialize)]
pub(super) struct Page {
    #[serde(default)]
    pub total: Option<u64>,
    /// Absent, null or a link: only whether there is one counts, the link is never followed.
    #[serde(default, deserialize_with = "present")]
    pub next: Option<Option<String>>,
    pub results: Vec<TokenAnswer>,
}

/// A token in an answer.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    id: String,
    label: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    resources: Option<Vec<ResourceAnswer>>,
    is_active: bool,
    #[serde(default, deserialize_with = "time")]
    created_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "time")]
    expires_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "time")]
    last_used_at: Option<Timestamp>,
    #[serde(default)]
    created_by: Text,
}

/// The value in the answer to a create. The rest of it is a [`TokenAnswer`]: both are read from the same bytes, since a
/// struct that holds the two would keep a copy of the value, and of all that is unknown, while it is read.
#[derive(Deserialize)]
pub(super) struct ValueAnswer {
    #[serde(rename = "token")]
    pub value: SecretString,
}

#[derive(Deserialize)]
struct ResourceAnswer {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    scopes: Vec<String>,
}

/// A field that is absent, null or there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(|link| Some(link.filter(|link| !link.is_empty())))
}

/// A time, null, or the empty string that some encoders put for null. A time that can't be read is an error: a token
/// whose expiry is not known must not pass for one that never expires.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(|_| serde::de::Error::custom("not a time"))).transpose()
}

impl TokenAnswer {
    pub fn token(self) -> Option<Token> {
        let resources = self.resources.map(|resources| resources.into_iter().map(ResourceAnswer::resource).collect());
        is_segment(&self.id).then_some(Token {
            id: self.id,
            label: cut(self.label),
            description: self.description.filter(|text| !text.is_empty()).map(cut),
            resources,
            active: self.is_active,
            creation_time: self.created_at,
            expiration_time: self.expires_at,
            last_used_time: self.last_used_at,
            created_by: self.created_by.0.map(cut),
        })
    }
}

/// Docker Hub has labels of 100 characters and descriptions of 200. What is far longer is nobody's, and stays so when it
/// is cut; kept whole, it would go into memory for every token, and into a status.
const MAX_TEXT: usize = 1024;

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
        text.shrink_to_fit();
    }
    text
}

impl ResourceAnswer {
    fn resource(self) -> Resource {
        let kind = match self.kind.as_str() {
            "TYPE_REPO" => ResourceKind::Repository,
            "TYPE_ORG" => ResourceKind::Organization,
            _ => ResourceKind::Other(self.kind),
        };
        Resource { kind, path: self.path, scopes: self.scopes }
    }
}

/// Reads an answer, or says where it is wrong.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| {
        let problem = match error.classify() {
            serde_json::error::Category::Data => "JSON of another shape",
            serde_json::error::Category::Eof => "JSON that ends too early",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "not JSON",
        };
        format!("{problem} (line {}, column {})", error.line(), error.column())
    })
}

#[derive(Serialize)]
struct ResourceBody<'a> {
    r#type: &'a str,
    path: &'a str,
    scopes: &'a [String],
}

impl<'a> ResourceBody<'a> {
    fn of(resource: &'a Resource) -> Self {
        let kind = match &resource.kind {
            ResourceKind::Repository => "TYPE_REPO",
            ResourceKind::Organization => "TYPE_ORG",
            ResourceKind::Other(kind) => kind,
        };
        Self { r#type: kind, path: &resource.path, scopes: &resource.scopes }
    }
}

#[derive(Serialize)]
struct CreateBody<'a> {
    label: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    resources: Vec<ResourceBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

#[derive(Serialize)]
struct UpdateBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Vec<ResourceBody<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_active: Option<bool>,
}

fn resources(resources: &[Resource]) -> Vec<ResourceBody<'_>> {
    resources.iter().map(ResourceBody::of).collect()
}

/// The body of a create.
pub(super) fn create_body(new: &NewToken) -> Vec<u8> {
    let body = CreateBody {
        label: &new.label,
        description: new.description.as_deref(),
        resources: resources(&new.resources),
        expires_at: new.expiration_time.map(whole_seconds),
    };
    encode(&body)
}

/// The body of a change.
pub(super) fn update_body(change: &Change) -> Vec<u8> {
    let body = UpdateBody {
        label: change.label.as_deref(),
        description: change.description.as_deref(),
        resources: change.resources.as_deref().map(resources),
        is_active: change.active,
    };
    encode(&body)
}

/// Structs of strings always encode; an empty body would be refused by the server.
pub(super) fn encode(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}

/// RFC 3339, UTC, without a fraction: the one form that is known to come back as it was sent.
fn whole_seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whether a text can stand in a path as one segment that means itself.
pub(super) fn is_segment(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=128).contains(&text.len()) && text.chars().all(plain) && !text.chars().all(|c| c == '.')
}

/// Whether an answer holds a token's value: something that can be a password, whatever form it takes some day.
pub(super) fn is_value(value: &SecretString) -> bool {
    let text = value.expose_secret();
    (8..=4096).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a text that a server gave out can be sent back to it in a header: a login or a ticket.
pub(super) fn is_sendable(text: &SecretString) -> bool {
    let text = text.expose_secret();
    (1..=16 * 1024).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A route on our own origin, below the path that the endpoint may have.
pub(super) fn route(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// How long a login lasts, read from its `exp` without checking it: that is the server's business.
///
/// Without one that makes sense, also where it lies in the past because the clocks differ: ten minutes.
pub(super) fn lifetime(jwt: &str, now: Timestamp) -> SignedDuration {
    const USUAL: SignedDuration = SignedDuration::from_mins(10);
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let claims = jwt.split('.').nth(1).and_then(|payload| {
        let payload = payload.trim_end_matches('=');
        data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).ok()
    });
    let claims = claims.and_then(|payload| serde_json::from_slice::<Claims>(&payload).ok());
    let expiry = claims.map(|claims| claims.exp).filter(|exp| exp.is_finite() && (0.0..1e11).contains(exp));
    // In range, so the cast is exact to the second.
    let expiry = expiry.and_then(|exp| Timestamp::from_second(exp as i64).ok());
    expiry.map(|expiry| expiry.duration_since(now)).filter(SignedDuration::is_positive).unwrap_or(USUAL)
}
