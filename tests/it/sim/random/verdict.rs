//! What must be true when all has been quiet for long enough, and of the whole journal.
//!
//! * L1: of each object one token lives, with the shape and the state that its spec asks for; its Secret holds it, the
//!   token service says so; its former tokens live no longer than their overlap; nothing else of it is left; the
//!   conditions say all that.
//! * S20: of objects that want one Secret one has it, and the others have been told.
//! * L5: a token whose object is gone is there only after a create that was disturbed or a deletion that was given up,
//!   and the organization's status counts it.
//! * Nobody asks Docker Hub before `Retry-After`; S19: no more than three wrong logins in ten minutes.
//! * Creates are few: see [`creates`].

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use oat_operator::api::{
    OWNER, OrganizationAccessToken, SEQUENCE,
    names::{Identity, Marker},
};
use oat_sandbox::{
    hub::TokenView,
    journal::{Entry, Server},
};
use serde_json::Value;

use super::{
    super::{DAY, HOUR, Sim, user},
    script::{LENGTH, OBJECTS, Setting},
    stage::{Stage, name},
};
use crate::support::{
    lint,
    world::{NAMESPACE, SERVICE, condition},
};

pub fn identity(object: &OrganizationAccessToken) -> Identity {
    Identity::of("OrganizationAccessToken", NAMESPACE, object.metadata.name.as_deref().unwrap_or_default())
}

/// Whether an object's status names a token.
pub fn knows(object: &OrganizationAccessToken, id: &str) -> bool {
    let Some(status) = &object.status else { return false };
    status.token.iter().any(|token| token.id == id) || status.previous.iter().any(|token| token.id == id)
}

/// All that is wrong.
pub async fn complaints(stage: &Stage<'_>) -> Vec<String> {
    let sim = stage.sim;
    let objects: Vec<_> = (0..OBJECTS).filter_map(|object| sim.object(&name(object))).collect();
    let mut wrong = Vec::new();
    let mut wanting: BTreeMap<String, Vec<&OrganizationAccessToken>> = BTreeMap::new();
    for object in &objects {
        lint::token(object);
        wanting.entry(secret_name(object)).or_default().push(object);
    }
    for (secret, objects) in &wanting {
        let all = objects.iter().copied();
        let (losers, winners): (Vec<&OrganizationAccessToken>, Vec<_>) = all.partition(|object| lost(object));
        if winners.len() != 1 {
            let names: Vec<_> = losers.iter().map(|object| object.metadata.name.clone()).collect();
            wrong.push(format!("S20: Secret {secret} has {} winners beside {names:?}", winners.len()));
        }
        for object in winners {
            let complaints = converged(sim, object).await;
            let name = object.metadata.name.as_deref().unwrap();
            wrong.extend(complaints.into_iter().map(|what| format!("L1: {name} {what}\n    {:?}", object.status)));
        }
    }
    wrong.extend(orphans(sim, &objects));
    let entries = sim.journal.filter(|entry| entry.user_agent.starts_with("oat-operator"));
    wrong.extend(impatient(&entries, &stage.upsets, &stage.script.setting));
    wrong.extend(wrong_logins(&entries));
    wrong.extend(creates(stage, &entries));
    wrong
}

fn secret_name(object: &OrganizationAccessToken) -> String {
    let own = object.metadata.name.clone().unwrap();
    object.spec.token.secret.name.clone().unwrap_or(own)
}

fn lost(object: &OrganizationAccessToken) -> bool {
    condition(object, "Stalled").is_some_and(|(_, reason)| reason == "SecretConflict")
}

/// What keeps an object from being as its spec wants it.
async fn converged(sim: &Sim, object: &OrganizationAccessToken) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    let spec = &object.spec.token;
    let status = object.status.clone().unwrap_or_default();
    check(object.metadata.deletion_timestamp.is_none(), "is still being deleted");
    check(status.observed_generation == object.metadata.generation, "has not been observed");
    let Some(token) = &status.token else {
        // What is switched off from the beginning needs none.
        check(!spec.active && tokens_of(sim, object).is_empty(), "has no token");
        return wrong;
    };
    let ready = condition(object, "Ready").unwrap_or_default();
    check(ready.0 == "True", "is not ready");
    check((ready.1 == "Deactivated") != spec.active, "has another state than its spec");
    check(condition(object, "Stalled").is_none(), "is stalled");
    let found = sim.servers.hub.organization("acme").token(&token.id);
    let Some(found) = found else {
        check(false, "names a token that is not there");
        return wrong;
    };
    check(found.active == spec.active, "has a token that is on or off against the spec");
    check(!found.expired, "has a token that has expired");
    check(has_shape(object, &found), "has a token of another shape");
    let value = sim.servers.kube.object("secrets", NAMESPACE, &secret_name(object));
    let annotated = value.as_ref().and_then(|secret| secret["metadata"]["annotations"][SEQUENCE].as_str());
    check(annotated == Some(&token.sequence.to_string()), "has a Secret of another sequence");
    let value = value.as_ref().and_then(user::value).unwrap_or_default();
    check(
        sim.servers.hub.organization("acme").by_value(&value).is_some_and(|held| held.id == token.id),
        "has a Secret with another value",
    );
    let url = format!("{}?service={SERVICE}", sim.servers.hub.token_url());
    // Nothing is to be trusted: the machine's certificates need not be read.
    let client = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
    let proved = client.get(url).basic_auth("acme", Some(&value)).send().await.unwrap();
    check(proved.status().is_success() == spec.active, "has a value that the token service judges otherwise");
    let late =
        |text: &str| sim.now().duration_since(text.parse::<Timestamp>().unwrap()) > SignedDuration::from_hours(1);
    check(status.previous.iter().all(|previous| !late(&previous.revocation_time)), "has a former token past its time");
    check(status.previous.len() <= 1, "has several former tokens");
    let unknown: Vec<_> = tokens_of(sim, object).into_iter().filter(|token| !knows(object, &token.id)).collect();
    check(unknown.is_empty(), &format!("has tokens that nobody knows: {unknown:?}"));
    let owned = |secret: &&Value| secret["metadata"]["labels"][OWNER].as_str() == object.metadata.uid.as_deref();
    let secrets = sim.servers.kube.objects("secrets");
    check(secrets.iter().filter(owned).count() == 1, "has Secrets that it does not want");
    wrong
}

fn tokens_of(sim: &Sim, object: &OrganizationAccessToken) -> Vec<TokenView> {
    let identity = identity(object);
    let ours = |label: &str| Marker::parse(label).is_some_and(|(_, marker)| marker.identity == identity);
    sim.servers.hub.organization("acme").tokens().into_iter().filter(|token| ours(&token.label)).collect()
}

/// Label, description and repositories as the spec says.
fn has_shape(object: &OrganizationAccessToken, found: &TokenView) -> bool {
    let spec = &object.spec.token;
    let default = format!("{NAMESPACE}/{}", object.metadata.name.as_deref().unwrap());
    let label = spec.label.clone().unwrap_or(default);
    let labelled = Marker::parse(&found.label).is_some_and(|(user, _)| user == label);
    let described = found.description.clone().unwrap_or_default() == spec.description.clone().unwrap_or_default();
    let resource = |path: &str, scopes: &[String]| {
        let mut wanted = scopes.to_vec();
        wanted.sort();
        found.resources.iter().any(|found| {
            let mut scopes = found.scopes.clone();
            scopes.sort();
            found.path == path && scopes == wanted
        })
    };
    let repositories = spec.repositories.iter().all(|one| resource(&one.name, &one.scopes));
    let count = spec.repositories.len()
        + usize::from(spec.public_repositories)
        + usize::from(!spec.organization_scopes.is_empty());
    labelled && described && repositories && found.resources.len() == count
}

/// Tokens with a marker whose object is gone.
fn orphans(sim: &Sim, objects: &[OrganizationAccessToken]) -> Vec<String> {
    let living: Vec<_> = objects.iter().map(identity).collect();
    let tokens = sim.servers.hub.organization("acme").tokens();
    let mut orphans: Vec<_> = tokens.iter().filter_map(|token| Some((Marker::parse(&token.label)?.1, token))).collect();
    orphans.retain(|(marker, _)| !living.contains(&marker.identity));
    let mut wrong = Vec::new();
    for (marker, token) in &orphans {
        if !sim.rules.may_be_left(&marker.identity) {
            wrong.push(format!("L5: {} is left and its object is gone", token.label));
        }
    }
    let status = sim.organization_object().and_then(|object| object.status).unwrap_or_default();
    if !sim.organization_is_ready() {
        wrong.push(format!("L1: the organization is not ready: {status:?}"));
    }
    let told = status.tokens.map(|counts| counts.orphaned);
    if told.and_then(|told| usize::try_from(told).ok()) != Some(orphans.len()) {
        wrong.push(format!("L5: {} orphans, and the status says {told:?}", orphans.len()));
    }
    wrong
}

/// Calls of Docker Hub before `Retry-After`, where nothing made the operator forget it.
fn impatient(entries: &[Entry], upsets: &[Timestamp], setting: &Setting) -> Vec<String> {
    let seconds = setting.retry_after.and_then(|text| text.parse().ok()).unwrap_or(60);
    let silence = SignedDuration::from_secs(seconds);
    let calls: Vec<_> = entries.iter().filter(|entry| entry.server == Server::Hub).collect();
    let mut wrong = Vec::new();
    for (at, refused) in
        calls.iter().enumerate().filter(|(_, entry)| entry.status == Some(429) && entry.fault.is_some())
    {
        let until = refused.time + silence;
        // What was on its way already arrives.
        let next = calls[at + 1..].iter().find(|entry| entry.time > refused.time + SignedDuration::from_secs(1));
        let upset = upsets.iter().any(|time| *time >= refused.time && *time <= until);
        if let Some(next) = next.filter(|next| next.time < until && !upset) {
            wrong.push(format!("Retry-After {seconds}: {} {refused}, then {} {next}", refused.time, next.time));
        }
    }
    wrong
}

/// S19: Docker locks an owner out after a few.
fn wrong_logins(entries: &[Entry]) -> Vec<String> {
    let wrong = |entry: &&Entry| {
        let login = entry.server == Server::Hub && !entry.path.contains("/access-tokens");
        login && entry.status == Some(401) && entry.fault.is_none()
    };
    let times: Vec<_> = entries.iter().filter(wrong).map(|entry| entry.time).collect();
    let window = SignedDuration::from_mins(10);
    let four = times.windows(4).find(|four| four[3].duration_since(four[0]) < window);
    four.map(|four| format!("S19: four wrong logins within ten minutes: {four:?}")).into_iter().collect()
}

/// The bound: one create for each object's beginning, for each rotation of a schedule that may be due (half a life, or
/// the interval, but never more often than each half hour in the hours that short lives last here), for each act of
/// people and each crash, two for each; and one for each create or proof that a fault disturbed.
fn creates(stage: &Stage<'_>, entries: &[Entry]) -> Vec<String> {
    let create = |entry: &&Entry| {
        entry.server == Server::Hub && entry.method == "POST" && entry.path.ends_with("/access-tokens")
    };
    // One that Docker Hub refuses for want of a place makes nothing.
    let made = |entry: &&Entry| entry.executed && (entry.fault.is_some() || entry.status == Some(201));
    let made = entries.iter().filter(create).filter(made).count();
    let disturbed = entries.iter().filter(|entry| create(entry) || entry.server == Server::Registry);
    let disturbed = disturbed.filter(|entry| entry.fault.is_some()).count();
    let days = usize::try_from(LENGTH.as_secs() / DAY.as_secs()).unwrap();
    let short = stage.script.acts.iter().filter(|(_, act)| act.makes_short_lives()).count();
    let hours = usize::try_from(18 * HOUR.as_secs() / 1800).unwrap();
    let scheduled = OBJECTS * 2 * days + short * hours;
    let bound = OBJECTS + scheduled + 2 * stage.causes + disturbed;
    (made > bound).then(|| format!("{made} creates, and {bound} are allowed")).into_iter().collect()
}
