//! The three ways to log in, and who may do what with the JWT that comes out.
//!
//! The bodies of refusals are those that were observed; what is not documented is a quirk.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{RawQuery, State as Shared};
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Core;
use super::problem::Problem;
use super::state::{Failures, Identity, Pending, Route, Session, State};
use super::totp;

const WRONG: &str = "Incorrect authentication credentials";
const SECOND_FACTOR: &str = "Require secondary authentication on MFA enabled account";

/// Which route is knocked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    AuthToken,
    UsersLogin,
}

enum Refusal {
    Locked(i64),
    Wrong,
    Text(&'static str),
    SecondFactor(String),
}

#[derive(Deserialize)]
struct AuthTokenRequest {
    identifier: String,
    secret: String,
}

#[derive(Deserialize)]
struct UsersLoginRequest {
    username: String,
    password: String,
}

#[derive(Deserialize)]
struct SecondFactorRequest {
    login_2fa_token: String,
    code: String,
}

/// `POST /v2/auth/token`
pub(crate) async fn auth_token(Shared(core): Shared<Core>, body: Bytes) -> Result<Json<Value>, Problem> {
    let now = core.clock.now();
    let mut state = core.lock();
    state.count(Route::AuthToken);
    let request: AuthTokenRequest = parse(&body, "identifier and secret are required")?;
    match authenticate(&mut state, Door::AuthToken, &request.identifier, &request.secret, now) {
        Ok(identity) => Ok(Json(json!({"access_token": issue(&core, &mut state, identity, now)?}))),
        Err(Refusal::Locked(seconds)) => Err(locked(&state, seconds)),
        Err(Refusal::Wrong) => Err(error_401(WRONG)),
        Err(Refusal::Text(text)) => Err(error_401(text)),
        Err(Refusal::SecondFactor(token)) => {
            let body =
                json!({"errinfo": {}, "detail": SECOND_FACTOR, "message": "unauthorized", "login_2fa_token": token});
            Err(Problem::new(401, body))
        }
    }
}

/// `POST /v2/users/login`
pub(crate) async fn users_login(
    Shared(core): Shared<Core>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let now = core.clock.now();
    let mut state = core.lock();
    state.count(Route::UsersLogin);
    let request: UsersLoginRequest = parse(&body, "username and password are required")?;
    match authenticate(&mut state, Door::UsersLogin, &request.username, &request.password, now) {
        Ok(identity) => {
            let mut answer = json!({"token": issue(&core, &mut state, identity, now)?});
            if query.unwrap_or_default().split('&').any(|pair| pair == "refresh_token=true") {
                answer["refresh_token"] = state.letters(40).into();
            }
            Ok(Json(answer))
        }
        Err(Refusal::Locked(seconds)) => Err(locked(&state, seconds)),
        Err(Refusal::Wrong) => Err(detail_401(WRONG, None)),
        Err(Refusal::Text(text)) => Err(detail_401(text, None)),
        Err(Refusal::SecondFactor(token)) => Err(detail_401(SECOND_FACTOR, Some(token))),
    }
}

/// `POST /v2/users/2fa-login`
pub(crate) async fn second_factor(Shared(core): Shared<Core>, body: Bytes) -> Result<Json<Value>, Problem> {
    let now = core.clock.now();
    let mut state = core.lock();
    state.count(Route::SecondFactor);
    let request: SecondFactorRequest = parse(&body, "login_2fa_token and code are required")?;
    let expired = || detail_401("Invalid or expired login token", None);
    let pending = state.pending.get(&request.login_2fa_token).ok_or_else(expired)?;
    let (user, stale) = (pending.user.clone(), pending.expires <= now);
    if stale || (pending.from_auth_token && !state.quirks.second_factor_after_auth_token) {
        return Err(expired());
    }
    if let Some(seconds) = lock_left(&state, &user, now) {
        return Err(locked(&state, seconds));
    }
    let secret = state.users.get(&user).and_then(|user| user.totp_secret.clone()).unwrap_or_default();
    let step = totp::steps(now).into_iter().find(|step| totp::code(&secret, *step).as_ref() == Some(&request.code));
    let used = |step: i64| state.last_codes.get(&user).is_some_and(|last| step <= *last);
    let Some(step) = step.filter(|step| state.quirks.codes_reusable || !used(*step)) else {
        fail(&mut state, &user, now);
        return Err(detail_401("Incorrect two-factor authentication code", None));
    };
    state.last_codes.insert(user.clone(), step);
    state.pending.remove(&request.login_2fa_token);
    state.failures.remove(&user);
    let token = issue(&core, &mut state, Identity::Password { user }, now)?;
    Ok(Json(json!({"token": token})))
}

fn authenticate(state: &mut State, door: Door, name: &str, secret: &str, now: Timestamp) -> Result<Identity, Refusal> {
    if let Some(seconds) = lock_left(state, name, now) {
        return Err(Refusal::Locked(seconds));
    }
    if let Some(organization) = state.organization_name(name) {
        return match door {
            Door::UsersLogin => Err(Refusal::Text("Cannot log into an organization account")),
            Door::AuthToken => organization_token(state, organization, secret, now),
        };
    }
    let identity = match state.users.get(name) {
        Some(user) if user.personal_tokens.iter().any(|token| token == secret) => {
            Identity::PersonalToken { user: name.to_owned() }
        }
        Some(user) if user.password == secret => {
            let bare = door == Door::AuthToken && !state.quirks.auth_token_takes_passwords;
            if user.sso || bare {
                return Err(Refusal::Wrong);
            }
            if user.totp_secret.is_some() {
                return Err(Refusal::SecondFactor(wait_for_code(state, door, name, now)));
            }
            Identity::Password { user: name.to_owned() }
        }
        _ => {
            fail(state, name, now);
            return Err(Refusal::Wrong);
        }
    };
    state.failures.remove(name);
    Ok(identity)
}

fn organization_token(
    state: &mut State,
    organization: String,
    secret: &str,
    now: Timestamp,
) -> Result<Identity, Refusal> {
    let counts = state.quirks.login_counts_as_use;
    let tokens = state.organizations.get_mut(&organization).map(|known| &mut known.tokens);
    let token = tokens.and_then(|tokens| tokens.iter_mut().find(|token| token.value == secret));
    match token {
        Some(token) if token.expired(now) => Err(Refusal::Text("org access token is expired")),
        Some(token) if token.active => {
            if counts {
                token.last_used_at = Some(now);
            }
            state.failures.remove(&organization);
            Ok(Identity::OrganizationToken { organization })
        }
        Some(_) => Err(Refusal::Wrong),
        None => {
            fail(state, &organization, now);
            Err(Refusal::Wrong)
        }
    }
}

fn wait_for_code(state: &mut State, door: Door, user: &str, now: Timestamp) -> String {
    let expires = now.saturating_add(state.quirks.jwt_life).unwrap_or(now);
    state.pending.retain(|_, pending| pending.expires > now);
    let token = state.letters(48);
    let pending = Pending { user: user.to_owned(), expires, from_auth_token: door == Door::AuthToken };
    state.pending.insert(token.clone(), pending);
    state.issued(&token);
    token
}

/// Seconds that a user name is still locked.
fn lock_left(state: &State, name: &str, now: Timestamp) -> Option<i64> {
    let until = state.failures.get(name)?.locked_until?;
    (until > now).then(|| (until.duration_since(now).as_millis_f64() / 1000.0).ceil() as i64)
}

fn fail(state: &mut State, name: &str, now: Timestamp) {
    let (most, lock) = (state.quirks.login_failures, state.quirks.login_lock);
    let failures = state.failures.entry(name.to_owned()).or_default();
    if failures.count > 0 && now.duration_since(failures.last) >= lock {
        *failures = Failures::default();
    }
    failures.count += 1;
    failures.last = now;
    if failures.count >= most {
        *failures = Failures { count: 0, last: now, locked_until: now.saturating_add(lock).ok() };
    }
}

/// Makes a JWT, remembers it, forgets those that are over.
fn issue(core: &Core, state: &mut State, identity: Identity, now: Timestamp) -> Result<String, Problem> {
    let life = state.quirks.jwt_life;
    let expires = now.saturating_add(life).unwrap_or(now);
    let (subject, source) = match &identity {
        Identity::Password { user } => (user, "docker_user"),
        Identity::PersonalToken { user } => (user, "docker_pat"),
        Identity::OrganizationToken { organization } => (organization, "docker_oat"),
    };
    let claims = json!({
        "aud": ["https://hub.docker.com"],
        "exp": expires.as_second(),
        "https://hub.docker.com": {
            "email": format!("{subject}@example.com"),
            "session_id": state.uuid(),
            "source": source,
            "username": subject,
            "uuid": state.uuid(),
        },
        "iat": now.as_second(),
        "iss": "https://login.docker.com/",
        "scope": "openid offline_access",
        "sub": state.uuid(),
    });
    let unsigned = |_| Problem::new(500, json!({"message": "signing failed"}));
    let jwt = core.keys.sign(&claims).map_err(unsigned)?;
    state.sessions.retain(|_, session| session.expires > now);
    state.sessions.insert(jwt.clone(), Session { identity, expires });
    state.issued(&jwt);
    Ok(jwt)
}

/// The user that an `Authorization` header stands for, if it may manage the organization's tokens. Also answers the
/// organization's own spelling of its name.
pub(crate) fn owner(
    state: &State,
    headers: &HeaderMap,
    organization: &str,
    now: Timestamp,
) -> Result<(String, String), Problem> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let jwt = value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("JWT ")).unwrap_or_default();
    let session = state.sessions.get(jwt).filter(|session| session.expires > now).ok_or_else(Problem::unauthorized)?;
    let user = match &session.identity {
        Identity::Password { user } => user,
        Identity::PersonalToken { user } if state.quirks.personal_tokens_manage => user,
        Identity::PersonalToken { .. } => {
            return Err(Problem::forbidden("token issued from personal access token is not allowed"));
        }
        Identity::OrganizationToken { .. } => {
            let message = "token issued from organization access token is not allowed";
            return Err(Problem::new(403, json!({"message": message})));
        }
    };
    let name = state.organization_name(organization).ok_or_else(|| Problem::not_found("organization"))?;
    let owners = state.organizations.get(&name).map(|known| &known.settings.owners);
    if owners.is_some_and(|owners| owners.contains(user)) {
        Ok((name, user.clone()))
    } else {
        Err(Problem::forbidden("forbidden"))
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], text: &str) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|_| Problem::new(400, json!({"fields": {}, "text": text})))
}

fn error_401(detail: &str) -> Problem {
    Problem::new(401, json!({"errinfo": {}, "detail": detail, "message": "unauthorized"}))
}

fn detail_401(detail: &str, login_2fa_token: Option<String>) -> Problem {
    let mut body = json!({"detail": detail});
    if let Some(token) = login_2fa_token {
        body["login_2fa_token"] = token.into();
    }
    Problem::new(401, body)
}

fn locked(state: &State, seconds: i64) -> Problem {
    match state.quirks.locked_status {
        429 => Problem::too_many(seconds),
        status => Problem::new(status, json!({"detail": WRONG})),
    }
}
