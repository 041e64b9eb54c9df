//! Docker Hub's side of the fuzz targets: any bytes as an answer, and what must hold of what is read from them.
//!
//! Only in tests and behind the feature `fuzzing`. Never: a parser of its own. All reading is done by the code that a call
//! runs, on a client that can't send.

#![allow(clippy::missing_panics_doc, clippy::unwrap_used, reason = "that a target panics is what it is for")]

use std::sync::{Arc, LazyLock, Mutex};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    Credentials, Effect, Endpoints, Error, Failure, NewToken, Observer, Operation, Proof, Resource, ResourceKind,
    Token, Urgency,
    budget::{Budget, Gate, Refused},
    call::{Call, Shared},
    client::Reply,
    error::{clean, withhold},
    handle::Handle,
    login::{self, Logins},
    registry,
    state::{Board, Edit},
    wire::{self, Page, TokenAnswer},
};
use crate::clock::Clock;

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);
const PASSWORD: &str = "hunter2-Planted.Passw0rd";
const HOUR: SignedDuration = SignedDuration::from_hours(1);

struct Nobody;

impl Observer for Nobody {
    fn request(&self, _: &'static str, _: &str, _: f64) {}
    fn rate_limit(&self, _: u64) {}
}

/// A client with credentials that can't send.
static CLIENT: LazyLock<(Handle, Arc<Shared>)> = LazyLock::new(|| {
    let shared = Arc::new(Shared {
        name: "acme".into(),
        endpoints: Endpoints {
            hub: "https://hub.docker.com".parse().unwrap(),
            registry_token: "https://auth.docker.io/token".parse().unwrap(),
            registry_service: "registry.docker.io".into(),
            roots: Vec::new(),
        },
        http: Err("a client that can't send".into()),
        clock: Clock::manual(NOW),
        permit: crate::permit::Permit::always(),
        observer: Arc::new(Nobody),
        gate: Gate::new(1, 0),
        budget: Mutex::default(),
        registry_budget: Mutex::default(),
        logins: Logins::new(None),
        board: Board::new(None),
        waiters: Mutex::new(None),
        poll_interval: Mutex::new(super::NEVER),
        restart: Mutex::new(false),
        wake: Notify::new(),
    });
    shared.logins.set(Credentials::parse(b"owner", PASSWORD.as_bytes(), None).ok(), "1".into());
    let (stop, _) = tokio::sync::watch::channel(false);
    (Handle::new(shared.clone(), stop), shared)
});

fn reply(status: StatusCode, body: &[u8]) -> Reply {
    Reply { status, headers: HeaderMap::new(), body: Zeroizing::new(body.to_vec()) }
}

fn call(operation: Operation, id: Option<&str>) -> Call<'_> {
    Call { operation, method: Method::GET, id, query: &[], body: None }
}

/// What holds of every error, whatever an answer said.
fn check(error: &Error) {
    let shown = error.to_string();
    assert!(error.text.chars().count() <= 256, "{} characters", error.text.chars().count());
    assert!(shown.len() <= 2048 && !shown.chars().any(char::is_control), "{shown:?}");
    assert!(!shown.contains(PASSWORD) && !format!("{error:?}").contains(PASSWORD));
    assert!(Error::REASONS.contains(&error.reason()));
    assert!(error.retry.is_none_or(|time| time <= NOW.saturating_add(HOUR).unwrap_or(Timestamp::MAX)));
}

/// The same token as an answer would show it.
fn encode(token: &Token) -> Value {
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let resources = |resources: &Vec<Resource>| {
        let kind = |kind: &ResourceKind| match kind {
            ResourceKind::Repository => "TYPE_REPO".to_owned(),
            ResourceKind::Organization => "TYPE_ORG".to_owned(),
            ResourceKind::Other(kind) => kind.clone(),
        };
        let one = |r: &Resource| json!({"type": kind(&r.kind), "path": r.path, "scopes": r.scopes});
        resources.iter().map(one).collect::<Vec<_>>()
    };
    json!({
        "id": token.id, "label": token.label, "description": token.description, "is_active": token.active,
        "resources": token.resources.as_ref().map(resources), "created_at": time(token.creation_time),
        "expires_at": time(token.expiration_time), "last_used_at": time(token.last_used_time), "created_by": token.created_by,
    })
}

fn check_token(token: &Token) {
    assert!(wire::is_segment(&token.id));
    for text in [Some(&token.label), token.description.as_ref(), token.created_by.as_ref()].into_iter().flatten() {
        assert!(text.chars().count() <= 1024);
    }
    // It stays on the configured origin, in one segment of its own.
    let base = &CLIENT.1.endpoints.hub;
    let url = wire::route(base, &["v2", "orgs", "acme", "access-tokens", &token.id]);
    assert_eq!(url.origin(), base.origin());
    assert_eq!((url.query(), url.fragment()), (None, None));
    assert_eq!(url.path_segments().and_then(|mut path| path.nth(4)), Some(token.id.as_str()));
    assert_eq!(url.path_segments().map(Iterator::count), Some(5));
    let again: TokenAnswer = wire::read(encode(token).to_string().as_bytes()).unwrap();
    assert_eq!(again.token().as_ref(), Some(token), "what is written is read back");
}

/// A page of the list, and what the list becomes.
pub fn list_page(data: &[u8]) {
    let page: Page = match wire::read(data) {
        Ok(page) => page,
        Err(problem) => return assert!(problem.len() < 80 && problem.is_ascii(), "{problem}"),
    };
    let tokens: Vec<Token> = page.results.into_iter().filter_map(TokenAnswer::token).collect();
    tokens.iter().for_each(check_token);
    let board = Board::new(None);
    let snapshot = board.finish(tokens.clone(), NOW);
    assert!(snapshot.tokens.windows(2).all(|pair| pair[0].id < pair[1].id), "by id, once each");
    assert!(tokens.iter().all(|token| snapshot.tokens.iter().any(|kept| kept.id == token.id)));
    assert!(snapshot.tokens.iter().all(|token| token.description.is_none() && token.resources.is_none()));
    assert_eq!(board.finish(snapshot.tokens.to_vec(), NOW).revision, snapshot.revision, "the same list is no news");
    if let Some(first) = snapshot.tokens.first() {
        board.edit(Edit::Remove(first.id.clone()));
        board.edit(Edit::Put(first.clone()));
        assert_eq!(board.read(|state| state.snapshot.clone()).unwrap().tokens, snapshot.tokens);
    }
}

/// The answer to a look at a token, or to a change of it.
pub fn get_and_patch(data: &[u8]) {
    for operation in [Operation::Get, Operation::Update] {
        match CLIENT.0.token(&call(operation, Some("t1")), &reply(StatusCode::OK, data)) {
            Ok(token) => {
                assert_eq!(token.id, "t1", "an answer about another token is none");
                check_token(&token);
            }
            Err(error) => {
                check(&error);
                assert_eq!(error.failure, Failure::Garbled);
                let changes = operation == Operation::Update;
                assert_eq!(error.effect() == Effect::Unknown, changes, "it may have been changed");
            }
        }
    }
}

/// The answer to a create: the only sight of a value.
pub fn create(data: &[u8]) {
    match CLIENT.0.created(&call(Operation::Create, None), &reply(StatusCode::CREATED, data)) {
        Ok(created) => {
            check_token(&created.token);
            let value = created.value.expose_secret().to_owned();
            assert!((8..=4096).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(format!("{:?}", created.value).contains("REDACTED"));
            let mut again = encode(&created.token);
            again["token"] = json!(value);
            let again = reply(StatusCode::CREATED, again.to_string().as_bytes());
            let again = CLIENT.0.created(&call(Operation::Create, None), &again).unwrap();
            assert_eq!((again.token, again.value.expose_secret()), (created.token, value.as_str()));
        }
        Err(error) => {
            check(&error);
            assert_eq!(error.effect(), Effect::Unknown, "a token may have been made");
        }
    }
}

/// A refusal, of any kind of call, with any status.
pub fn refusal(data: &[u8]) {
    let Some(([kind, status], body)) = data.split_first_chunk() else { return };
    let operations = [Operation::List, Operation::Get, Operation::Create, Operation::Update, Operation::Delete];
    let operation = operations[usize::from(*kind) % operations.len()];
    let status = StatusCode::from_u16(400 + u16::from(*status) % 100).unwrap();
    let error = CLIENT.1.refused(operation, &reply(status, body));
    check(&error);
    assert_eq!(error.status, Some(status.as_u16()));
    if operation.reads() {
        assert_eq!(error.effect(), Effect::None, "a call that only reads leaves nothing to wonder about");
    }
    if error.failure == Failure::QuotaExceeded {
        assert_eq!(operation, Operation::Create);
    }
    // What is told of a refusal is told of its text alone.
    let again = json!({"detail": error.text}).to_string();
    let again = CLIENT.1.said(&reply(status, again.as_bytes()), &[]);
    assert_eq!(again.as_deref(), Some(error.text.as_str()));
}

/// The answer to a delete that says success.
pub fn delete(data: &[u8]) {
    match CLIENT.1.said(&reply(StatusCode::OK, data), &[]) {
        Some(text) => {
            let blank = data.iter().all(u8::is_ascii_whitespace);
            assert!(blank || serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok(), "a page for people");
            assert!(text.chars().count() <= 256 && clean(&text) == text);
        }
        None => assert!(!data.iter().all(u8::is_ascii_whitespace)),
    }
}

/// The answer to a login, and to its second step.
pub fn login(data: &[u8]) {
    let Some((status, body)) = data.split_first() else { return };
    let status = StatusCode::from_u16(200 + 25 * (u16::from(*status) % 12)).unwrap();
    let answer = reply(status, body);
    if let Some(ticket) = login::second_factor(&answer) {
        assert!(wire::is_sendable(&ticket));
    }
    match login::granted(&CLIENT.1, &answer, Failure::CredentialsRefused) {
        Ok(token) => {
            assert!(status.is_success() && wire::is_sendable(&token));
            assert!(HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).is_ok());
            assert!(wire::lifetime(token.expose_secret(), NOW).is_positive());
        }
        Err(error) => {
            check(&error);
            assert_eq!(error.effect(), Effect::None);
            assert!(status != StatusCode::UNAUTHORIZED || error.disposition() == super::Disposition::Stalled);
        }
    }
}

/// The token service's answer to a value.
pub fn token_service(data: &[u8]) {
    let Some((status, body)) = data.split_first() else { return };
    let statuses = [200, 201, 204, 400, 401, 403, 404, 418, 499];
    let status = StatusCode::from_u16(statuses[usize::from(*status) % statuses.len()]).unwrap();
    let value = SecretString::from("dckr_oat_ThePlantedValue");
    match registry::judge(&CLIENT.1, &reply(status, body), &value) {
        Ok(Proof::Accepted) => assert_eq!(status, StatusCode::OK),
        Ok(Proof::Refused(text)) => {
            assert!(matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN));
            assert!(!text.contains("PlantedV") && text.chars().count() <= 256);
        }
        Err(error) => {
            check(&error);
            assert!(!error.to_string().contains("PlantedV"));
        }
    }
}

/// The end of a login, read from its JWT.
pub fn jwt(data: &[u8]) {
    let usual = SignedDuration::from_mins(10);
    let text = String::from_utf8_lossy(data);
    assert!(wire::lifetime(&text, NOW).is_positive());
    // The same bytes as claims.
    let token = format!("h.{}.s", data_encoding::BASE64URL_NOPAD.encode(data));
    let lasts = wire::lifetime(&token, NOW);
    assert!(lasts.is_positive());
    if serde_json::from_slice::<serde::de::IgnoredAny>(data).is_err() {
        assert_eq!(lasts, usual);
    }
    // A number as an end.
    let number = data.iter().take(5).fold(0i64, |number, byte| (number << 8) | i64::from(*byte));
    let claims = data_encoding::BASE64URL_NOPAD.encode(format!(r#"{{"exp":{number}}}"#).as_bytes());
    let left = SignedDuration::from_secs(number - NOW.as_second());
    let expected = if left.is_positive() && number < 100_000_000_000 { left } else { usual };
    assert_eq!(wire::lifetime(&format!("h.{claims}.s"), NOW), expected);
}

/// `Retry-After` and `X-RateLimit-*`: how long to be silent, and how many calls are left.
pub fn rate_headers(data: &[u8]) {
    let mut headers = HeaderMap::new();
    let names = ["retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    for (name, value) in names.into_iter().zip(data.split(|byte| *byte == b'\n')) {
        if let (false, Ok(value)) = (value.is_empty(), HeaderValue::from_bytes(value)) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let later = |seconds: i64| Timestamp::from_second(NOW.as_second() + seconds).unwrap();
    let mut budget = Budget::default();
    let left = budget.note(&headers, NOW);
    let (urgent, normal) = (budget.admit(Urgency::Urgent, NOW), budget.admit(Urgency::Normal, NOW));
    match left {
        None => assert_eq!((urgent, normal), (Ok(()), Ok(()))),
        Some(0) => assert!(urgent.is_err() && normal.is_err()),
        Some(_) => assert_eq!(urgent, Ok(())),
    }
    for refused in [urgent, normal].into_iter().filter_map(Result::err) {
        let (Refused::Paused(until) | Refused::Reserved(until)) = refused;
        assert!(NOW < until && until <= later(3600), "{until}");
    }
    assert_eq!(budget.admit(Urgency::Normal, later(3600)), Ok(()), "no header holds for longer than an hour");
    let until = budget.pause(&headers, NOW);
    assert!(NOW < until && until <= later(3600), "{until}");
    let before = until.saturating_sub(SignedDuration::from_nanos(1)).unwrap();
    assert_eq!(budget.admit(Urgency::Urgent, before), Err(Refused::Paused(until)));
    assert_eq!(budget.admit(Urgency::Urgent, until), Ok(()));
    assert_eq!(budget.pause(&HeaderMap::new(), NOW), until.max(later(60)), "a pause is not cut short");
}

/// Texts of servers: labels, descriptions, messages.
pub fn texts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let cleaned = clean(&text);
    assert!(cleaned.chars().count() <= 256 && cleaned.len() <= text.len());
    assert!(!cleaned.chars().any(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')));
    assert_eq!(clean(&cleaned), cleaned);
    let secret = [SecretString::from(PASSWORD)];
    let told = withhold(cleaned.clone(), &secret);
    assert!(told == cleaned || !told.contains("hunter2"), "all of it or nothing");
    for part in [&PASSWORD[..8], &PASSWORD[8..16]] {
        assert!(!withhold(format!("{cleaned}{part}{cleaned}"), &secret).contains(part));
    }
    // What we write is what a server reads.
    let resources = vec![Resource {
        kind: ResourceKind::Other(text.to_string()),
        path: text.to_string(),
        scopes: vec![text.to_string()],
    }];
    let new = NewToken {
        label: text.to_string(),
        description: Some(text.to_string()),
        resources,
        expiration_time: Some(NOW),
    };
    let body: Value = serde_json::from_slice(&wire::create_body(&new)).unwrap();
    assert_eq!(body["label"], *text);
    assert_eq!(body["resources"][0], json!({"type": text, "path": text, "scopes": [text]}));
    assert_eq!(body["expires_at"], "2027-01-15T08:00:00Z");
}

/// An owner's credentials: three keys of a Secret, with NUL between them.
pub fn credentials(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let (username, password) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let totp = parts.next();
    match Credentials::parse(username, password, totp) {
        Ok(good) => {
            let password = good.password.expose_secret();
            for text in [good.username.as_str(), password] {
                assert!((1..=4096).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c == '\u{feff}'));
            }
            assert_eq!(good.username.trim(), good.username);
            assert_eq!(format!("{good:?}"), format!("Credentials {{ totp: {}, .. }}", good.totp_secret.is_some()));
            let totp = good.totp_secret.as_ref().map(|secret| secret.expose_secret().as_bytes());
            let again = Credentials::parse(good.username.as_bytes(), password.as_bytes(), totp);
            assert!(again.is_ok_and(|again| again == good), "what was cleaned is clean");
        }
        Err(invalid) => {
            assert!(["username", "password", "totpSecret"].contains(&invalid.key));
            assert!(invalid.problem.len() < 100);
        }
    }
}

/// Endpoints: two URLs and a name, with line breaks between them.
pub fn endpoints(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let mut url = || lines.next().and_then(|line| line.parse::<url::Url>().ok());
    let (Some(hub), Some(registry_token)) = (url(), url()) else { return };
    let registry_service = lines.next().unwrap_or_default().to_owned();
    let endpoints = Endpoints { hub, registry_token, registry_service, roots: Vec::new() };
    match endpoints.check() {
        Ok(()) => {
            for url in [&endpoints.hub, &endpoints.registry_token] {
                let host = url.host_str().unwrap_or_default();
                let here = host == "localhost" || host.starts_with("127.") || host == "[::1]";
                assert!(url.scheme() == "https" || url.scheme() == "http" && here, "{url}");
                assert!(url.username().is_empty() && url.password().is_none() && url.query().is_none());
            }
            let route = wire::route(&endpoints.hub, &["v2", "auth", "token"]);
            assert_eq!(route.origin(), endpoints.hub.origin());
        }
        Err(invalid) => assert!(invalid.to_string().len() < 100),
    }
}
