//! Facts into conditions, once, at the end of a pass. No decision ever reads a condition.
//!
//! kstatus-complete: `Ready` is always there; `Reconciling` and `Stalled` only while true.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::text;

/// The most bytes of a message.
const MESSAGE: usize = 1024;

/// Why something is as it is: the reason of conditions, events and metrics. A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The state that the spec asks for is reached.
    Succeeded,
    /// The token is deactivated, as asked.
    Deactivated,
    /// Work is under way.
    Progressing,
    /// Work failed and is tried again.
    ProgressingWithRetry,
    /// Docker Hub asked for fewer requests.
    RateLimited,
    /// Docker Hub doesn't answer, or not with sense.
    HubUnavailable,
    /// The organization object has no list of tokens yet, or is suspended.
    OrganizationNotReady,
    /// The token is due, and no window is open.
    WaitingForWindow,
    /// A new token was refused by the registry's token service.
    VerificationFailed,
    /// The API server refused or lost a write.
    KubernetesUnavailable,
    /// The spec can't be carried out.
    InvalidSpec,
    /// The organization object doesn't permit what is asked for.
    NotGranted,
    /// Docker Hub or the API server doesn't permit it.
    Forbidden,
    /// The organization has no place for another token.
    QuotaExceeded,
    /// A Secret of that name exists and is not ours.
    SecretConflict,
    /// The token has expired and may not be replaced.
    Expired,
    /// The organization object, or the organization at Docker Hub, doesn't exist.
    OrganizationNotFound,
    /// Docker Hub refuses the owner's credentials, or they can't be read.
    CredentialsInvalid,
    /// Another operator makes tokens with this cluster's marker.
    TwinDetected,
    /// The limit of tokens is reached.
    LimitReached,
}

impl Reason {
    /// All of them, for tests and docs.
    pub const ALL: [Self; 20] = [
        Self::Succeeded,
        Self::Deactivated,
        Self::Progressing,
        Self::ProgressingWithRetry,
        Self::RateLimited,
        Self::HubUnavailable,
        Self::OrganizationNotReady,
        Self::WaitingForWindow,
        Self::VerificationFailed,
        Self::KubernetesUnavailable,
        Self::InvalidSpec,
        Self::NotGranted,
        Self::Forbidden,
        Self::QuotaExceeded,
        Self::SecretConflict,
        Self::Expired,
        Self::OrganizationNotFound,
        Self::CredentialsInvalid,
        Self::TwinDetected,
        Self::LimitReached,
    ];

    /// The word that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Deactivated => "Deactivated",
            Self::Progressing => "Progressing",
            Self::ProgressingWithRetry => "ProgressingWithRetry",
            Self::RateLimited => "RateLimited",
            Self::HubUnavailable => "HubUnavailable",
            Self::OrganizationNotReady => "OrganizationNotReady",
            Self::VerificationFailed => "VerificationFailed",
            Self::KubernetesUnavailable => "KubernetesUnavailable",
            Self::WaitingForWindow => "WaitingForWindow",
            Self::InvalidSpec => "InvalidSpec",
            Self::NotGranted => "NotGranted",
            Self::Forbidden => "Forbidden",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::SecretConflict => "SecretConflict",
            Self::Expired => "Expired",
            Self::OrganizationNotFound => "OrganizationNotFound",
            Self::CredentialsInvalid => "CredentialsInvalid",
            Self::TwinDetected => "TwinDetected",
            Self::LimitReached => "LimitReached",
        }
    }

    /// Whether waiting does not help: somebody has to change something.
    pub fn stalls(self) -> bool {
        matches!(
            self,
            Self::InvalidSpec
                | Self::NotGranted
                | Self::Forbidden
                | Self::QuotaExceeded
                | Self::SecretConflict
                | Self::Expired
                | Self::OrganizationNotFound
                | Self::CredentialsInvalid
                | Self::TwinDetected
        )
    }
}

/// How far the work has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// Nothing is left to do.
    Settled,
    /// Work is under way, is retried, or waits; or, where [`Reason::stalls`], it waits for a person.
    Waiting(Reason, String),
}

/// What the conditions of a token say, as facts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    /// How far the work has come.
    pub progress: Progress,
    /// Whether the state that the spec asks for is reached, or still holds while a replacement is made.
    pub ready: bool,
    /// Whether the token is deactivated as asked.
    pub deactivated: bool,
    /// Whether a replacement is being made or a previous token lives on.
    pub rotating: bool,
    /// Whether the token is active at Docker Hub, if there is one.
    pub active: Option<bool>,
    /// How many Secrets there should be, and how many hold the current token.
    pub published: (u32, u32),
    /// Whether the token expires soon and nothing has replaced it.
    pub expires_soon: bool,
    /// The state in words, without times that move.
    pub summary: String,
    /// What comes next, in words.
    pub plan: Vec<String>,
}

/// One condition before it meets its former self.
struct Draft {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

fn draft(kind: &'static str, holds: Option<bool>, reason: &'static str, message: impl Into<String>) -> Draft {
    let status = match holds {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    Draft { kind, status, reason, message: message.into() }
}

/// The abnormal-true pair that kstatus reads.
fn progress(progress: &Progress) -> Option<Draft> {
    let Progress::Waiting(reason, message) = progress else {
        return None;
    };
    let kind = if reason.stalls() { "Stalled" } else { "Reconciling" };
    Some(draft(kind, Some(true), reason.as_str(), message))
}

/// The conditions of a token object.
pub fn token(facts: &Facts, generation: i64, former: &[Condition], now: Timestamp) -> Vec<Condition> {
    let ready = match (&facts.progress, facts.ready) {
        (_, true) if facts.deactivated => draft("Ready", Some(true), Reason::Deactivated.as_str(), &facts.summary),
        (_, true) => draft("Ready", Some(true), Reason::Succeeded.as_str(), &facts.summary),
        (Progress::Waiting(reason, message), false) => draft("Ready", Some(false), reason.as_str(), message),
        (Progress::Settled, false) => draft("Ready", Some(false), Reason::Progressing.as_str(), &facts.summary),
    };
    let rotating = if facts.rotating {
        draft("Rotating", Some(true), "InProgress", "a replacement is being made, or the previous token lives on")
    } else {
        draft("Rotating", Some(false), "Idle", "no replacement is being made")
    };
    let active = match facts.active {
        Some(true) => draft("Active", Some(true), "Active", "the token is active at Docker Hub"),
        Some(false) => draft("Active", Some(false), "Inactive", "the token is not active at Docker Hub"),
        None => draft("Active", Some(false), "NoToken", "there is no token yet"),
    };
    let (targets, published) = facts.published;
    let counted = format!("{published} of {targets} Secrets hold the current token");
    let complete = targets > 0 && published == targets;
    let published = draft("Published", Some(complete), if complete { "Complete" } else { "Incomplete" }, counted);
    let drafts = [ready, rotating, active, published].into_iter().chain(progress(&facts.progress));
    settle(drafts, generation, former, now)
}

/// What the conditions of an organization say, as facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationFacts {
    /// How far the work has come.
    pub progress: Progress,
    /// Whether Docker Hub takes the credentials, if that is known.
    pub credentials: Option<bool>,
    /// Whether a new token finds a place, if that is known; and the numbers in words.
    pub quota: (Option<bool>, String),
}

/// The conditions of an organization object.
pub fn organization(
    facts: &OrganizationFacts,
    generation: i64,
    former: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    let ready = match &facts.progress {
        Progress::Settled => {
            draft("Ready", Some(true), Reason::Succeeded.as_str(), "Docker Hub lists the organization's tokens")
        }
        Progress::Waiting(reason, message) => draft("Ready", Some(false), reason.as_str(), message),
    };
    let credentials = match facts.credentials {
        Some(true) => {
            draft("CredentialsValid", Some(true), Reason::Succeeded.as_str(), "Docker Hub takes the credentials")
        }
        Some(false) => {
            let message = match &facts.progress {
                Progress::Waiting(_, message) => message.clone(),
                Progress::Settled => String::new(),
            };
            draft("CredentialsValid", Some(false), Reason::CredentialsInvalid.as_str(), message)
        }
        None => draft("CredentialsValid", None, "NotTried", "no answer from Docker Hub yet"),
    };
    let quota = match &facts.quota {
        (Some(true), message) => draft("QuotaAvailable", Some(true), Reason::Succeeded.as_str(), message),
        (Some(false), message) => draft("QuotaAvailable", Some(false), Reason::LimitReached.as_str(), message),
        (None, message) => draft("QuotaAvailable", None, "NotTried", message),
    };
    let drafts = [ready, credentials, quota].into_iter().chain(progress(&facts.progress));
    settle(drafts, generation, former, now)
}

/// Gives each draft the time of its last change of status, taken from its former self where that didn't change.
fn settle(
    drafts: impl Iterator<Item = Draft>,
    generation: i64,
    former: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    drafts
        .map(|draft| {
            let unchanged = former.iter().find(|f| f.type_ == draft.kind && f.status == draft.status);
            let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
            Condition {
                type_: draft.kind.into(),
                status: draft.status.into(),
                reason: draft.reason.into(),
                message: text::clean(&draft.message, MESSAGE),
                observed_generation: Some(generation),
                last_transition_time: unchanged.map_or(Time(now), |f| f.last_transition_time.clone()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const ONE: &str = "2026-12-01T00:00:00Z";
    const TWO: &str = "2026-12-01T00:05:00Z";

    fn settled() -> Facts {
        Facts {
            progress: Progress::Settled,
            ready: true,
            deactivated: false,
            rotating: false,
            active: Some(true),
            published: (2, 2),
            expires_soon: false,
            summary: "all is well".into(),
            plan: Vec::new(),
        }
    }

    fn waiting(reason: Reason) -> Progress {
        Progress::Waiting(reason, "because".into())
    }

    /// Type, status and reason of each, in a line.
    fn told(conditions: &[Condition]) -> String {
        let one = |c: &Condition| format!("{}={}/{}", c.type_, c.status, c.reason);
        conditions.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(facts: &Facts, expected: &str) {
        assert_eq!(told(&token(facts, 1, &[], at(ONE))), expected);
    }

    #[test]
    fn of_a_token() {
        let working = "Rotating=False/Idle Active=True/Active Published=True/Complete";
        check(&settled(), &format!("Ready=True/Succeeded {working}"));
        let rotating = Facts { rotating: true, ..settled() };
        check(&rotating, "Ready=True/Succeeded Rotating=True/InProgress Active=True/Active Published=True/Complete");
        let retried = Facts { progress: waiting(Reason::HubUnavailable), ..settled() };
        check(&retried, &format!("Ready=True/Succeeded {working} Reconciling=True/HubUnavailable"));
        let stalled = Facts { progress: waiting(Reason::InvalidSpec), ready: false, ..settled() };
        check(&stalled, &format!("Ready=False/InvalidSpec {working} Stalled=True/InvalidSpec"));
        let odd = Facts { ready: false, ..settled() };
        check(&odd, &format!("Ready=False/Progressing {working}"));
        let deactivated = Facts { deactivated: true, active: Some(false), ..settled() };
        check(&deactivated, "Ready=True/Deactivated Rotating=False/Idle Active=False/Inactive Published=True/Complete");
        let new = Facts {
            progress: waiting(Reason::Progressing),
            ready: false,
            active: None,
            published: (2, 0),
            ..settled()
        };
        check(
            &new,
            "Ready=False/Progressing Rotating=False/Idle Active=False/NoToken Published=False/Incomplete \
             Reconciling=True/Progressing",
        );
        let none = Facts { published: (0, 0), ..settled() };
        assert!(told(&token(&none, 1, &[], at(ONE))).contains("Published=False/Incomplete"));
    }

    #[test]
    fn kstatus_finds_what_it_reads() {
        for reason in Reason::ALL {
            for (ready, progress) in [(false, waiting(reason)), (true, waiting(reason)), (true, Progress::Settled)] {
                let facts = Facts { progress: progress.clone(), ready, ..settled() };
                let conditions = token(&facts, 7, &[], at(ONE));
                let of = |kind: &str| conditions.iter().filter(|c| c.type_ == kind).collect::<Vec<_>>();
                assert_eq!(of("Ready").len(), 1, "always there");
                let abnormal: Vec<_> = of("Stalled").into_iter().chain(of("Reconciling")).collect();
                assert_eq!(abnormal.len(), usize::from(progress != Progress::Settled), "one of them, while it is true");
                assert!(abnormal.iter().all(|c| c.status == "True"));
                if let Progress::Waiting(reason, _) = progress {
                    assert_eq!(abnormal[0].type_ == "Stalled", reason.stalls(), "{reason:?}");
                }
                assert!(conditions.iter().all(|c| c.observed_generation == Some(7)));
                let word = |c: &Condition| c.reason.chars().all(|c| c.is_ascii_alphanumeric());
                assert!(conditions.iter().all(word), "the API server's pattern for reasons");
            }
        }
    }

    #[test]
    fn times_change_with_the_status_and_not_without() {
        let first = token(&settled(), 1, &[], at(ONE));
        assert!(first.iter().all(|c| c.last_transition_time.0 == at(ONE)));
        let same = Facts { summary: "still well".into(), ..settled() };
        let second = token(&same, 2, &first, at(TWO));
        assert!(second.iter().all(|c| c.last_transition_time.0 == at(ONE)));
        assert_eq!(second[0].message, "still well");
        let broken = Facts { ready: false, progress: waiting(Reason::HubUnavailable), ..settled() };
        let third = token(&broken, 2, &second, at(TWO));
        let changed: Vec<_> = third.iter().filter(|c| c.last_transition_time.0 == at(TWO)).map(|c| &*c.type_).collect();
        assert_eq!(changed, ["Ready", "Reconciling"]);
        // Another reason alone is no transition.
        let other = Facts { progress: waiting(Reason::RateLimited), ..broken };
        let fourth = token(&other, 2, &third, at("2026-12-01T00:09:00Z"));
        assert_eq!(fourth[0].reason, "RateLimited");
        assert_eq!(
            fourth.iter().map(|c| &c.last_transition_time).collect::<Vec<_>>(),
            third.iter().map(|c| &c.last_transition_time).collect::<Vec<_>>()
        );
        // The same facts, the same conditions: nothing to write.
        assert_eq!(token(&other, 2, &fourth, at("2027-01-01T00:00:00Z")), fourth);
        let odd = token(&settled(), 1, &[], at("2026-12-01T00:00:00.9Z"));
        assert_eq!(odd[0].last_transition_time.0, at(ONE), "whole seconds, as the API server keeps them");
    }

    #[test]
    fn long_messages_are_cut() {
        let facts = Facts { summary: "ü".repeat(40_000), ..settled() };
        let conditions = token(&facts, 1, &[], at(ONE));
        assert_eq!(conditions[0].message.len(), 1024, "bytes: a message of other letters is as long");
    }

    #[test]
    fn of_an_organization() {
        let check = |facts: &OrganizationFacts, expected: &str| {
            assert_eq!(told(&organization(facts, 3, &[], at(ONE))), expected);
        };
        let well = OrganizationFacts {
            progress: Progress::Settled,
            credentials: Some(true),
            quota: (Some(true), "7 of 10".into()),
        };
        check(&well, "Ready=True/Succeeded CredentialsValid=True/Succeeded QuotaAvailable=True/Succeeded");
        let full = OrganizationFacts { quota: (Some(false), "10 of 10".into()), ..well.clone() };
        check(&full, "Ready=True/Succeeded CredentialsValid=True/Succeeded QuotaAvailable=False/LimitReached");
        let refused = OrganizationFacts {
            progress: waiting(Reason::CredentialsInvalid),
            credentials: Some(false),
            quota: (None, "unknown".into()),
        };
        check(
            &refused,
            "Ready=False/CredentialsInvalid CredentialsValid=False/CredentialsInvalid QuotaAvailable=Unknown/NotTried \
             Stalled=True/CredentialsInvalid",
        );
        assert_eq!(organization(&refused, 3, &[], at(ONE))[1].message, "because");
        let silent = OrganizationFacts { progress: waiting(Reason::HubUnavailable), credentials: None, ..refused };
        check(
            &silent,
            "Ready=False/HubUnavailable CredentialsValid=Unknown/NotTried QuotaAvailable=Unknown/NotTried \
             Reconciling=True/HubUnavailable",
        );
    }

    #[test]
    fn reasons_are_words_and_none_comes_twice() {
        let words: std::collections::BTreeSet<_> = Reason::ALL.into_iter().map(Reason::as_str).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        assert!(Reason::ALL.into_iter().all(|reason| format!("{reason:?}") == reason.as_str()));
    }
}
