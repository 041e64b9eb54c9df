//! Memory and facts, out of a status and into one.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{
    api::{
        conditions::{self, Facts},
        names::TokenId,
        token::{CurrentToken, FailingTarget, LastHandled, PreviousToken, SecretStatus, TokenStatus},
    },
    plan::{self, Memory, Previous, Remembered, View},
    text,
};

/// How many failing Secrets a status names.
const FAILING: usize = 20;

/// What a status remembers. Parts that can't be read are as good as not remembered.
pub fn memory(status: Option<&TokenStatus>) -> Memory {
    let Some(status) = status else { return Memory::default() };
    Memory {
        token: status.token.as_ref().and_then(remembered),
        previous: status.previous.iter().filter_map(previous).collect(),
        handled: status.last_handled.clone(),
        passed: status.passed_sequence.unwrap_or_default(),
        twin: status.twin.as_deref().and_then(|id| TokenId::parse(id).ok()),
    }
}

fn time(text: Option<&String>) -> Option<Timestamp> {
    text.and_then(|text| text.parse().ok())
}

fn remembered(token: &CurrentToken) -> Option<Remembered> {
    Some(Remembered {
        id: TokenId::parse(&token.id).ok()?,
        label: token.label.clone(),
        sequence: token.sequence,
        created: time(token.creation_time.as_ref()),
        expires: time(token.expiration_time.as_ref()),
        active: token.active,
        last_used: time(token.last_used_time.as_ref()),
        value_hash: token.value_hash.clone(),
        shape_hash: token.shape_hash.clone(),
        expiry: token.expiration.clone(),
    })
}

fn previous(token: &PreviousToken) -> Option<Previous> {
    let id = TokenId::parse(&token.id).ok()?;
    Some(Previous { id, sequence: token.sequence, revocation: token.revocation_time.parse().ok()? })
}

/// The longest request that the status repeats as it is. An annotation may have 256 KiB, twice that and the status of the
/// object could not be written.
const REQUEST: usize = 256;

/// A request as it is compared and remembered: of a long one, its hash.
fn request(text: &String) -> String {
    if text.len() <= REQUEST {
        return text.clone();
    }
    format!("sha256:{}", data_encoding::HEXLOWER.encode(&Sha256::digest(text)))
}

/// The requests that an object carries.
pub fn requests(object: &impl kube::ResourceExt, trigger: Option<&String>) -> LastHandled {
    let annotation = |name: &str| object.annotations().get(name).filter(|text| !text.is_empty()).map(request);
    LastHandled {
        trigger: trigger.map(request),
        rotate: annotation(crate::api::ROTATE),
        revoke: annotation(crate::api::REVOKE),
    }
}

/// The status that says what is remembered and what the facts are.
pub fn token_status(view: &View, facts: &Facts, former: &TokenStatus, now: Timestamp) -> TokenStatus {
    let memory = &view.memory;
    let renewal = match (&view.object.wanted, &memory.token) {
        (Ok(wanted), Some(token)) => plan::schedule::renewal(wanted, token, &view.object.uid, now),
        _ => None,
    };
    TokenStatus {
        observed_generation: Some(view.object.generation),
        conditions: conditions::token(facts, view.object.generation, &former.conditions, now),
        token: memory.token.as_ref().map(current),
        renewal_time: renewal.map(|(time, _)| time.to_string()),
        previous: memory.previous.iter().map(former_token).collect(),
        passed_sequence: Some(memory.passed).filter(|sequence| *sequence > 0),
        twin: memory.twin.as_ref().map(ToString::to_string),
        secret: secret_status(view, facts),
        last_handled: memory.handled.clone(),
        plan: facts.plan.clone(),
    }
}

fn current(token: &Remembered) -> CurrentToken {
    CurrentToken {
        id: token.id.to_string(),
        label: token.label.clone(),
        sequence: token.sequence,
        creation_time: token.created.map(|time| time.to_string()),
        expiration_time: token.expires.map(|time| time.to_string()),
        active: token.active,
        last_used_time: token.last_used.map(|time| time.to_string()),
        value_hash: token.value_hash.clone(),
        shape_hash: token.shape_hash.clone(),
        expiration: token.expiry.clone(),
    }
}

fn former_token(token: &Previous) -> PreviousToken {
    PreviousToken { id: token.id.to_string(), sequence: token.sequence, revocation_time: token.revocation.to_string() }
}

fn secret_status(view: &View, facts: &Facts) -> Option<SecretStatus> {
    let name = view.object.wanted.as_ref().ok()?.secret.name.to_string();
    let (targets, published) = facts.published;
    let failing = view.secrets.iter().filter_map(|secret| {
        let (reason, message) = secret.failure.as_ref()?;
        let (namespace, reason) = (secret.key.namespace.clone(), reason.as_str().to_owned());
        Some(FailingTarget { namespace, reason, message: text::clean(message, 256) })
    });
    Some(SecretStatus { name, targets, published, failing: failing.take(FAILING).collect() })
}

/// The merge patch from one status to another; `None` where they are the same.
pub fn patch<S: Serialize>(from: &S, to: &S) -> Option<Value> {
    let as_object = |status: &S| serde_json::to_value(status).unwrap_or_default();
    let difference = difference(&as_object(from), &as_object(to))?;
    Some(Value::Object(Map::from_iter([("status".to_owned(), difference)])))
}

/// RFC 7386: what is missing becomes null, lists are replaced.
fn difference(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let gone = from.keys().filter(|key| !to.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = to.iter().filter_map(|(key, value)| {
        let patch = match from.get(key) {
            Some(former) => difference(former, value)?,
            None => value.clone(),
        };
        Some((key.clone(), patch))
    });
    let patch: Map<_, _> = gone.chain(changed).collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_holds_only_what_differs() {
        let from = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1, 2]});
        assert_eq!(difference(&from, &from), None);
        let to = json!({"a": 1, "b": {"c": 4}, "e": [1], "f": {"g": 1}});
        assert_eq!(difference(&from, &to), Some(json!({"b": {"d": null, "c": 4}, "e": [1], "f": {"g": 1}})));
    }

    #[test]
    fn a_long_request_is_remembered_by_its_hash() {
        let carrying = |text: &str| {
            let metadata = kube::core::ObjectMeta {
                annotations: Some([(crate::api::ROTATE.to_owned(), text.to_owned())].into()),
                ..Default::default()
            };
            let secret = k8s_openapi::api::core::v1::Secret { metadata, ..Default::default() };
            requests(&secret, Some(&text.to_owned()))
        };
        let short = carrying(&"x".repeat(256));
        assert_eq!(short.rotate.as_deref(), Some("x".repeat(256).as_str()));
        let (one, other) = (carrying(&"x".repeat(200_000)), carrying(&format!("{}y", "x".repeat(199_999))));
        assert_eq!(one.rotate.as_ref().map(String::len), Some(71));
        assert_eq!(one.trigger, one.rotate);
        assert_ne!(one.rotate, other.rotate, "a change of it is a new request");
        assert_eq!(carrying("").rotate, None);
    }

    #[test]
    fn memory_survives_the_round_trip() {
        let token = Remembered {
            id: TokenId::parse("id-7").unwrap(),
            label: "a/b [c/aaaaaaaaaaaaaaaa.7]".into(),
            sequence: 7,
            created: Some("2026-11-25T01:02:03.405060Z".parse().unwrap()),
            expires: Some("2027-11-25T01:02:03Z".parse().unwrap()),
            active: true,
            last_used: None,
            value_hash: "sha256:00".into(),
            shape_hash: "11".into(),
            expiry: "7776000s".into(),
        };
        assert_eq!(remembered(&current(&token)), Some(token));
        let former = Previous {
            id: TokenId::parse("x").unwrap(),
            sequence: 6,
            revocation: "2026-11-25T02:00:00Z".parse().unwrap(),
        };
        assert_eq!(previous(&former_token(&former)), Some(former));
    }

    #[test]
    fn a_status_that_can_not_be_read_is_not_remembered() {
        let status = TokenStatus {
            token: Some(CurrentToken { id: "../x".into(), ..CurrentToken::default() }),
            ..TokenStatus::default()
        };
        assert_eq!(memory(Some(&status)), Memory::default());
        assert_eq!(memory(None), Memory::default());
    }
}
