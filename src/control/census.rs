//! What tokens an organization has: the numbers and lists of its status, from one list of Docker Hub's.
//!
//! Never: a request, or a change of a token.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Context, organizations::Found};
use crate::{
    api::{
        OrganizationAccessToken,
        names::{Identity, Marker, TokenId},
        organization::{OrphanedToken, TokenCounts, UnmanagedState, UnmanagedToken},
        valid,
    },
    hub,
    k8s::Key,
    plan::orphans::{self, Candidate, Living, Orphan},
    text,
};

/// How many tokens of others a status names.
const UNMANAGED: usize = 20;
/// How many unused tokens an event names.
const UNUSED: usize = 5;
/// The kind whose objects have tokens.
const KIND: &str = "OrganizationAccessToken";

/// What one list says.
pub struct Census {
    /// The numbers.
    pub counts: TokenCounts,
    /// The first tokens of others.
    pub unmanaged: Vec<UnmanagedToken>,
    /// The first tokens with our marker and no object.
    pub orphaned: Vec<OrphanedToken>,
}

/// Counts the tokens of a list.
pub fn take(context: &Context, subject: &Found, snapshot: &hub::Snapshot, now: Timestamp) -> Census {
    let count = |holds: &dyn Fn(&hub::Token) -> bool| {
        u32::try_from(snapshot.tokens.iter().filter(|token| holds(token)).count()).unwrap_or(u32::MAX)
    };
    let managed = count(&|token| ours(context, token));
    let total = count(&|_| true);
    let orphans = orphans_in(context, subject, snapshot, now);
    let counts = TokenCounts {
        total,
        limit: limit(subject),
        managed,
        unmanaged: total.saturating_sub(managed),
        expired: count(&|token| expired(token, now)),
        inactive: count(&|token| !token.active),
        orphaned: u32::try_from(orphans.len()).unwrap_or(u32::MAX),
        unused: u32::try_from(unused(subject, snapshot, now).count()).unwrap_or(u32::MAX),
    };
    let orphaned = orphans.into_iter().take(orphans::MOST).map(|orphan| OrphanedToken {
        id: text::clean(orphan.token.id.as_str(), 64),
        label: text::clean(&orphan.token.label, 100),
        first_seen_time: orphan.since.to_string(),
    });
    Census { counts, unmanaged: unmanaged(context, snapshot, now), orphaned: orphaned.collect() }
}

/// How many tokens the organization may have.
pub fn limit(subject: &Found) -> u32 {
    subject.spec.token_limit.unwrap_or(subject.spec.subscription.limit())
}

/// Which token objects there are, and where we look for them.
pub fn living(context: &Context) -> Living {
    let identity = |(key, _): &(Key, Arc<OrganizationAccessToken>)| Identity::of(KIND, &key.namespace, &key.name);
    Living {
        cluster: context.settings.cluster.clone(),
        kind: KIND,
        objects: context.tokens.all().iter().map(identity).collect(),
        namespaces: context.namespaces.clone(),
    }
}

/// All tokens with our marker and no object, with the time that the status remembers.
pub fn orphans_in(context: &Context, subject: &Found, snapshot: &hub::Snapshot, now: Timestamp) -> Vec<Orphan> {
    let candidate = |token: &hub::Token| {
        let (label, created) = (token.label.clone(), token.creation_time);
        Some(Candidate { id: TokenId::parse(&token.id).ok()?, label, created })
    };
    let former =
        |orphan: &OrphanedToken| Some((TokenId::parse(&orphan.id).ok()?, orphan.first_seen_time.parse().ok()?));
    let former: Vec<_> = subject.status.orphaned.iter().filter_map(former).collect();
    orphans::find(snapshot.tokens.iter().filter_map(candidate), &living(context), &former, now)
}

/// The words of the event about unused tokens: how many there are, and which are the first.
pub fn unused_in_words(subject: &Found, snapshot: &hub::Snapshot, now: Timestamp) -> String {
    let labels: Vec<_> = unused(subject, snapshot, now).map(|token| text::clean(&token.label, 100)).collect();
    let first = labels.get(..UNUSED.min(labels.len())).unwrap_or_default().join(", ");
    let more = if labels.len() > UNUSED { ", …" } else { "" };
    let after = subject.spec.unused_after.as_deref().unwrap_or_default();
    let (count, noun) = (labels.len(), if labels.len() == 1 { "token was" } else { "tokens were" });
    format!("{count} {noun} not used for {after}: {first}{more}")
}

/// The tokens that work and were not used for as long as the spec says. What Docker Hub doesn't date is not counted.
fn unused<'a>(
    subject: &Found,
    snapshot: &'a hub::Snapshot,
    now: Timestamp,
) -> impl Iterator<Item = &'a hub::Token> + use<'a> {
    let after = subject.spec.unused_after.as_deref().and_then(|text| valid::duration(text).ok());
    let before = after.and_then(|after| now.checked_sub(after).ok());
    snapshot.tokens.iter().filter(move |token| {
        let last = token.last_used_time.max(token.creation_time);
        token.active && !expired(token, now) && before.zip(last).is_some_and(|(before, last)| last <= before)
    })
}

fn ours(context: &Context, token: &hub::Token) -> bool {
    Marker::parse(&token.label).is_some_and(|(_, marker)| marker.cluster == context.settings.cluster)
}

fn expired(token: &hub::Token, now: Timestamp) -> bool {
    token.expiration_time.is_some_and(|time| time <= now)
}

fn unmanaged(context: &Context, snapshot: &hub::Snapshot, now: Timestamp) -> Vec<UnmanagedToken> {
    let foreign = snapshot.tokens.iter().filter(|token| !ours(context, token));
    let mut tokens: Vec<UnmanagedToken> = foreign
        .map(|token| UnmanagedToken {
            id: text::clean(&token.id, 64),
            label: text::clean(&token.label, 100),
            expiration_time: token.expiration_time.map(|time| time.to_string()),
            last_used_time: token.last_used_time.map(|time| time.to_string()),
            state: match (expired(token, now), token.active) {
                (true, _) => UnmanagedState::Expired,
                (false, true) => UnmanagedState::Active,
                (false, false) => UnmanagedState::Inactive,
            },
        })
        .collect();
    tokens.sort_by(|a, b| a.id.cmp(&b.id));
    tokens.truncate(UNMANAGED);
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{organization::OrganizationSpec, token::OrganizationKind},
        control::OrganizationKey,
    };

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hour * 3600).unwrap()
    }

    fn subject(unused_after: Option<&str>) -> Found {
        let spec = serde_json::json!({"credentials": {"secretRef": {"name": "x"}}, "unusedAfter": unused_after});
        let spec: OrganizationSpec = serde_json::from_value(spec).unwrap();
        let key = Key { namespace: "payments".into(), name: "acme".into() };
        Found {
            key: OrganizationKey { kind: OrganizationKind::Organization, key },
            generation: 1,
            spec,
            endpoints: None,
            status: Default::default(),
            reference: Default::default(),
        }
    }

    /// A token by its label, when it was made and last used.
    fn token(label: &str, made: Option<i64>, used: Option<i64>) -> hub::Token {
        hub::Token {
            id: format!("id-{label}"),
            label: label.into(),
            description: None,
            resources: None,
            active: true,
            creation_time: made.map(at),
            expiration_time: None,
            last_used_time: used.map(at),
            created_by: None,
        }
    }

    #[track_caller]
    fn check(unused_after: Option<&str>, tokens: Vec<hub::Token>, expected: &[&str]) {
        let snapshot = hub::Snapshot { tokens: Arc::new(tokens), started: at(0), steady: at(0), revision: 1 };
        let found = unused(&subject(unused_after), &snapshot, at(0)).map(|token| token.label.as_str());
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn unused_is_what_works_and_was_not_used_or_made_for_long() {
        let tokens = || {
            let expired = hub::Token { expiration_time: Some(at(0)), ..token("expired", Some(-99), None) };
            let off = hub::Token { active: false, ..token("off", Some(-99), None) };
            vec![
                token("just", Some(-99), Some(-10)),
                token("in time", Some(-99), Some(-9)),
                token("never", Some(-10), None),
                token("new", Some(-9), None),
                token("undated", None, None),
                expired,
                off,
            ]
        };
        check(Some("10h"), tokens(), &["just", "never"]);
        check(None, tokens(), &[]);
        check(Some("no duration"), tokens(), &[]);
    }

    #[test]
    fn the_event_names_the_first_ones_without_control_characters() {
        let words = |count: usize| {
            let tokens = (0..count).map(|n| token(&format!("t\u{1b}{n}"), Some(-99), None)).collect();
            let snapshot = hub::Snapshot { tokens: Arc::new(tokens), started: at(0), steady: at(0), revision: 1 };
            unused_in_words(&subject(Some("10h")), &snapshot, at(0))
        };
        assert_eq!(words(1), "1 token was not used for 10h: t 0");
        assert_eq!(words(7), "7 tokens were not used for 10h: t 0, t 1, t 2, t 3, t 4, …");
    }
}
