//! What is known for one term only. It is lost with the process, and nothing that must not be lost may depend on it.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{SecretKey, Trouble};
use crate::api::{names::TokenId, token::LastHandled};

/// What this process remembers of the object since it became the leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// When it began.
    pub since: Timestamp,
    /// A create needs a list that began after this: the start of the term, or the last create without a clear answer.
    pub fresh_after: Timestamp,
    /// The highest sequence that was sent in this term, whatever came of it: none is sent twice.
    pub tried: u64,
    /// The last attempt that failed.
    pub failure: Option<Failure>,
    /// The remembered token or the one to adopt, if Docker Hub said by its id that it is gone.
    pub gone: Option<TokenId>,
    /// The sequences of creates without a clear answer: such a token may appear at any time.
    pub lost: BTreeSet<u64>,
    /// The tokens with the object's marker that were there in the last list, once this term has settled.
    pub seen: Option<BTreeSet<TokenId>>,
    /// The Secrets whose last write in this term was answered: no older write in flight can reach them any more.
    pub touched: BTreeSet<SecretKey>,
    /// When the current token was last compared with Docker Hub in all its parts.
    pub inspected: Timestamp,
    /// What that look found.
    pub drift: Drift,
    /// When there was last reason to hope for a place: the beginning, an edit of the object or of its organization, a
    /// request.
    pub hoped: Timestamp,
    /// How long a deletion waits for an organization that is gone.
    pub abandon_after: Duration,
}

/// How the current token differs from what we gave it, by what Docker Hub answers for its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Drift {
    /// In nothing that is known.
    #[default]
    None,
    /// It has this shape, and is to be corrected.
    Found(String),
    /// That was corrected. If a look soon after finds this shape again, Docker Hub calls the one that we gave so.
    Corrected(String),
    /// It did, and is left as it is.
    Tolerated(String),
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// What went wrong.
    pub trouble: Trouble,
    /// How many in a row.
    pub count: u32,
    /// Not to be tried again before.
    pub not_before: Timestamp,
    /// How many tokens there were when Docker Hub said that there is no place, by the first list after that.
    pub full: Option<u32>,
    /// Whether it was Secrets that could not be written or read: other work goes on meanwhile.
    pub publishing: bool,
    /// For which generation, requests and stage it counts: any edit clears it.
    pub basis: (i64, LastHandled, bool),
}
