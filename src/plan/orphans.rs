//! The rules about tokens with this cluster's marker and no object: which they are, and when one may be deleted.
//!
//! Such a token is left behind by a create that was carried out after its object was gone, by a deletion that could not
//! wait any longer for Docker Hub, or by a finalizer that somebody took away. Nobody else looks after it.
//!
//! Never: a token whose object might be somewhere that we don't look at, or whose value is in a Secret of ours.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::schedule;
use crate::api::names::{ClusterId, Identity, Marker, TokenId};

/// How long a token must have been without an object before it is deleted: somebody may be restoring a backup.
pub const GRACE: Duration = Duration::from_secs(24 * 3600);
/// The most orphans that are remembered at once: the others wait until these are gone.
pub const MOST: usize = 50;

/// A token of this organization, as far as the rules look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Docker Hub's id.
    pub id: TokenId,
    /// The whole label.
    pub label: String,
    /// When it was made, by Docker Hub's clock.
    pub created: Option<Timestamp>,
}

/// A token with this cluster's marker and no object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The token.
    pub token: Candidate,
    /// When it was first seen without an object.
    pub since: Timestamp,
}

/// Which objects there are, and where we look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Living {
    /// This cluster.
    pub cluster: ClusterId,
    /// The kind of the objects.
    pub kind: &'static str,
    /// Every object that there is.
    pub objects: BTreeSet<Identity>,
    /// The namespaces that we look at; empty for all.
    pub namespaces: Vec<String>,
}

impl Living {
    /// Whether a label says that the token is ours and that its object is gone.
    pub fn lacks_object(&self, label: &str) -> bool {
        Marker::parse(label).is_some_and(|(user, marker)| {
            marker.cluster == self.cluster
                && !self.objects.contains(&marker.identity)
                && self.looks_at(user, &marker.identity)
        })
    }

    /// Whether the object of that identity would be seen if there were one. A hash doesn't tell its namespace; where not
    /// all of them are looked at, the default label does, and the hash confirms it.
    fn looks_at(&self, user: &str, identity: &Identity) -> bool {
        let names = |namespace: &String| {
            let name = user.strip_prefix(namespace.as_str()).and_then(|rest| rest.strip_prefix('/')).unwrap_or(user);
            Identity::of(self.kind, namespace, name) == *identity
        };
        self.namespaces.is_empty() || self.namespaces.iter().any(names)
    }
}

/// The orphans among the tokens, those first that have been so the longest; `former` says since when.
pub fn find(
    tokens: impl IntoIterator<Item = Candidate>,
    living: &Living,
    former: &[(TokenId, Timestamp)],
    now: Timestamp,
) -> Vec<Orphan> {
    let since = |id: &TokenId| former.iter().find(|(known, _)| known == id).map_or(now, |(_, since)| *since);
    let orphans = tokens.into_iter().filter(|token| living.lacks_object(&token.label));
    let mut orphans: Vec<_> = orphans.map(|token| Orphan { since: since(&token.id), token }).collect();
    orphans.sort_by(|a, b| (a.since, &a.token.id).cmp(&(b.since, &b.token.id)));
    orphans
}

/// When an orphan may be deleted at the earliest. Docker Hub's clock counts too: ours may have been wrong once.
pub fn due(orphan: &Orphan) -> Timestamp {
    let since = orphan.token.created.map_or(orphan.since, |created| created.max(orphan.since));
    schedule::plus(since, GRACE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::names::Label;

    const KIND: &str = "OrganizationAccessToken";

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hour * 3600).unwrap()
    }

    fn id(text: &str) -> TokenId {
        TokenId::parse(text).unwrap()
    }

    fn label(cluster: &str, namespace: &str, name: &str, user: &str) -> String {
        let (cluster, identity) = (ClusterId::parse(cluster).unwrap(), Identity::of(KIND, namespace, name));
        Marker { cluster, identity, sequence: 3 }.label(&Label::parse(user).unwrap())
    }

    /// The object payments/pull lives.
    fn living(namespaces: &[&str]) -> Living {
        Living {
            cluster: ClusterId::parse("c").unwrap(),
            kind: KIND,
            objects: [Identity::of(KIND, "payments", "pull")].into(),
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn an_orphan_has_our_marker_and_no_object() {
        let all = living(&[]);
        for (label, expected) in [
            (label("c", "payments", "gone", "payments/gone"), true),
            (label("c", "payments", "gone", "anything"), true),
            (label("c", "payments", "pull", "payments/pull"), false),
            (label("other", "payments", "gone", "payments/gone"), false),
            ("payments/gone".into(), false),
            ("payments/gone [c/short.3]".into(), false),
            (label("c", "payments", "gone", "x") + " ", false),
        ] {
            assert_eq!(all.lacks_object(&label), expected, "{label}");
        }
    }

    #[test]
    fn where_not_all_is_looked_at_the_label_must_tell_the_namespace() {
        let some = living(&["payments", "shop"]);
        for (label, expected) in [
            (label("c", "payments", "gone", "payments/gone"), true),
            (label("c", "shop", "gone", "shop/gone"), true),
            (label("c", "shop", "gone", "gone"), true),
            (label("c", "payments", "pull", "payments/pull"), false),
            // Nobody here can know whether these live.
            (label("c", "elsewhere", "gone", "elsewhere/gone"), false),
            (label("c", "elsewhere", "gone", "payments/gone"), false),
            (label("c", "payments", "gone", "jenkins"), false),
        ] {
            assert_eq!(some.lacks_object(&label), expected, "{label}");
        }
    }

    #[test]
    fn the_time_counts_from_the_first_sight_whatever_happens_between() {
        let token =
            |name: &str| Candidate { id: id(name), label: label("c", "payments", name, name), created: Some(at(-100)) };
        let first = find([token("b"), token("a"), token("pull")], &living(&[]), &[], at(0));
        let found: Vec<_> = first.iter().map(|orphan| (orphan.token.id.as_str(), orphan.since)).collect();
        assert_eq!(found, [("a", at(0)), ("b", at(0))]);
        let former: Vec<_> = first.iter().map(|orphan| (orphan.token.id.clone(), orphan.since)).collect();
        let later = find([token("a0"), token("b")], &living(&[]), &former, at(30));
        let found: Vec<_> = later.iter().map(|orphan| (orphan.token.id.as_str(), orphan.since)).collect();
        assert_eq!(found, [("b", at(0)), ("a0", at(30))]);
    }

    #[test]
    fn none_is_due_before_a_day_by_either_clock() {
        let orphan = |created: Option<i64>, since| {
            let token = Candidate { id: id("a"), label: String::new(), created: created.map(at) };
            due(&Orphan { token, since: at(since) })
        };
        assert_eq!(orphan(Some(-100), 0), at(24));
        assert_eq!(orphan(None, 0), at(24));
        assert_eq!(orphan(Some(0), -9000), at(24), "our clock was wrong when it was first seen");
    }
}
