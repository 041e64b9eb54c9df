//! The registry's token service: `GET /token` with Basic credentials and `POST /token` with a form, as `auth.docker.io` has it.
//!
//! Wrong credentials are a 401. Missing rights are not an error: the answer holds what is allowed of what was asked, which may be
//! nothing; the registry refuses then. It sees tokens as the Hub told it, which may be late (see the lags in the quirks).

use axum::Json;
use axum::body::Bytes;
use axum::extract::{RawQuery, State as Shared};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Core;
use super::problem::Problem;
use super::scopes;
use super::state::{BelievedToken, Route, State};

/// The life of a registry token in seconds.
pub(crate) const LIFE: i64 = 300;

const WRONG: &str = "incorrect username or password";
const NEEDS_PERSONAL_TOKEN: &str = "unauthorized: your account must log in with a Personal Access Token (PAT) - learn more at docs.docker.com/go/access-tokens";

/// Whose rights are asked for.
enum Caller {
    Anonymous,
    User(String),
    Token { organization: String, token: BelievedToken },
}

/// `repository:org/repo:pull,push`
struct Asked {
    kind: String,
    name: String,
    actions: Vec<String>,
}

/// `GET /token`
pub(crate) async fn get(
    Shared(core): Shared<Core>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let now = core.clock.now();
    let mut state = core.lock();
    state.count(Route::RegistryToken);
    let pairs = pairs(query.unwrap_or_default().as_bytes());
    let caller = match headers.get(header::AUTHORIZATION) {
        None => Caller::Anonymous,
        Some(value) => {
            let (user, password) = value.to_str().ok().and_then(basic).ok_or_else(|| refused(WRONG))?;
            identify(&mut state, &user, &password, now).map_err(|text| refused(&text))?
        }
    };
    let (jwt, _) = grant(&core, &mut state, &caller, &pairs, now)?;
    Ok(Json(json!({"token": jwt, "access_token": jwt, "expires_in": LIFE, "issued_at": now.to_string()})))
}

/// `POST /token`
pub(crate) async fn post(Shared(core): Shared<Core>, body: Bytes) -> Result<Json<Value>, Problem> {
    let now = core.clock.now();
    let mut state = core.lock();
    state.count(Route::RegistryToken);
    let pairs = pairs(&body);
    let field = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if field("grant_type") != Some("password") {
        return Err(bad("unsupported grant_type"));
    }
    let (Some(user), Some(password), Some(_), Some(_)) =
        (field("username"), field("password"), field("service"), field("client_id"))
    else {
        return Err(bad("username, password, service and client_id are required"));
    };
    let caller = identify(&mut state, user, password, now).map_err(|text| refused(&text))?;
    let (jwt, scope) = grant(&core, &mut state, &caller, &pairs, now)?;
    Ok(Json(json!({"access_token": jwt, "scope": scope, "expires_in": LIFE, "issued_at": now.to_string()})))
}

/// Makes the JWT, and says in words what it grants.
fn grant(
    core: &Core,
    state: &mut State,
    caller: &Caller,
    pairs: &[(String, String)],
    now: Timestamp,
) -> Result<(String, String), Problem> {
    let service = pairs.iter().find(|(key, _)| key == "service").map_or(core.service.as_str(), |(_, value)| value);
    if service != core.service {
        return Err(bad("unknown service"));
    }
    let scopes = pairs.iter().filter(|(key, _)| key == "scope").flat_map(|(_, value)| value.split(' '));
    let (mut access, mut words) = (Vec::new(), Vec::new());
    for asked in scopes.filter_map(asked) {
        let allowed = allowed(state, caller, &asked);
        if allowed.is_empty() {
            continue;
        }
        words.push(format!("{}:{}:{}", asked.kind, asked.name, allowed.join(",")));
        let mut entry = json!({"type": asked.kind, "name": asked.name, "actions": allowed});
        if matches!(caller, Caller::Anonymous) {
            entry["parameters"] = json!({"pull_limit": "100", "pull_limit_interval": "21600"});
        }
        access.push(entry);
    }
    let subject = match caller {
        Caller::Anonymous => "",
        Caller::User(user) => user,
        Caller::Token { organization, token } => {
            if state.quirks.registry_counts_as_use
                && let Some(known) = state.organizations.get_mut(organization).and_then(|known| known.token(&token.id))
            {
                known.last_used_at = Some(now);
            }
            organization
        }
    };
    let claims = json!({
        "access": access,
        "aud": service,
        "iss": core.issuer,
        "sub": subject,
        "iat": now.as_second(),
        "nbf": now.as_second() - LIFE,
        "exp": now.as_second() + LIFE,
        "jti": format!("dckr_jti_{}", state.letters(27)),
    });
    let unsigned = |_| Problem::new(500, json!({"details": "signing failed"}));
    let jwt = core.keys.sign(&claims).map_err(unsigned)?;
    let expires = now.saturating_add(SignedDuration::from_secs(LIFE)).unwrap_or(now);
    state.registry_tokens.retain(|_, (expires, _)| *expires > now);
    state.registry_tokens.insert(jwt.clone(), (expires, claims["access"].clone()));
    Ok((jwt, words.join(" ")))
}

/// Who the credentials stand for, or the text of the 401.
fn identify(state: &mut State, name: &str, secret: &str, now: Timestamp) -> Result<Caller, String> {
    if let Some(organization) = state.organization_name(name) {
        let token = state.believed(secret, now).filter(|token| token.organization == organization);
        return match token {
            None => Err(WRONG.to_owned()),
            Some(token) if token.expires_at.is_some_and(|end| end <= now) => {
                Err("org access token is expired".to_owned())
            }
            Some(token) if !token.active => Err(state.quirks.inactive_text.clone()),
            Some(token) => Ok(Caller::Token { organization, token: token.clone() }),
        };
    }
    match state.users.get(name) {
        Some(user) if user.personal_tokens.iter().any(|token| token == secret) => Ok(Caller::User(name.to_owned())),
        Some(user) if user.password == secret && (user.sso || user.totp_secret.is_some()) => {
            Err(NEEDS_PERSONAL_TOKEN.to_owned())
        }
        Some(user) if user.password == secret => Ok(Caller::User(name.to_owned())),
        _ => Err(WRONG.to_owned()),
    }
}

/// What of the asked actions the caller may do.
fn allowed(state: &State, caller: &Caller, asked: &Asked) -> Vec<String> {
    if asked.kind != "repository" {
        return Vec::new();
    }
    let Some((owner, repository)) = asked.name.split_once('/') else {
        return Vec::new();
    };
    let organization = state.organizations.get(owner);
    let public = public(state, owner, repository);
    let mut actions: Vec<&str> = Vec::new();
    match caller {
        Caller::Anonymous => {
            if public {
                actions.push("pull");
            }
        }
        Caller::User(user) => {
            let (owners, members) = organization.map(|known| (&known.settings.owners, &known.settings.members)).unzip();
            if owners.is_some_and(|owners| owners.contains(user)) || owner == user {
                actions.extend(["pull", "push", "delete"]);
            } else if public || members.is_some_and(|members| members.contains(user)) {
                actions.push("pull");
            }
        }
        Caller::Token { organization, token } => {
            for resource in token.resources.iter().filter(|resource| resource.kind == "TYPE_REPO") {
                let granted = resource.scopes.iter().flat_map(|scope| scopes::actions(scope));
                if resource.path == "*/*/public" {
                    // Reading is all that a public repository gives to others.
                    actions.extend(granted.filter(|action| public && **action == "pull"));
                } else if resource.path == asked.name
                    || (owner == organization && resource.path == format!("{owner}/*"))
                {
                    actions.extend(granted);
                }
            }
        }
    }
    let wanted = asked.actions.iter();
    wanted.filter(|wanted| actions.contains(&wanted.as_str())).cloned().collect()
}

/// Whether everybody may pull. What is in no organization of ours is the rest of Docker Hub, and taken as public.
pub(crate) fn public(state: &State, owner: &str, repository: &str) -> bool {
    state
        .organizations
        .get(owner)
        .is_none_or(|known| known.settings.repositories.iter().any(|known| known.name == repository && known.public))
}

/// One scope: `type(class):name:action[,action]`. The name may hold a colon; the class means nothing any more.
fn asked(scope: &str) -> Option<Asked> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let kind = kind.split_once('(').map_or(kind, |(kind, _)| kind);
    if kind.is_empty() || name.is_empty() {
        return None;
    }
    let actions = actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned).collect();
    Some(Asked { kind: kind.to_owned(), name: name.to_owned(), actions })
}

fn basic(value: &str) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let plain = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = plain.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn pairs(encoded: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(encoded).into_owned().collect()
}

fn refused(text: &str) -> Problem {
    Problem::new(401, json!({"details": text}))
}

fn bad(text: &str) -> Problem {
    Problem::new(400, json!({"details": text}))
}
