//! What is to be done about a token: a pure function of what is known, and of the time.
//!
//! ```text
//!                        ┌────────────────────────── lost answer: list, mint past it ─────────────┐
//!                        ▼                                                                        │
//!  AddFinalizer ─► Refresh ─► Create ─► Prove ─► Publish ─► Remember ─► (rest) ─► Delete old ─► (rest)
//!                                         │                    ▲                     (overlap over)
//!                                         └─ refused: Delete   │
//!  edits, drift: Update                    Fetch ─► Publish ───┘ (a changed Secret, healed from an intact copy)
//!  revoke:       Update(deactivate) ─► Create ─► Prove ─► Publish ─► Remember ─► Delete old
//!  adoption:     Update(marker) ─► Create ─► … as in a rotation
//!  no place:     leftovers: Touch ─► Remember ─► Delete ─► Create;  at the last safe moment: Delete old ─► Create
//!  deletion:     Remove | Blank ─► Delete | Update ─► Release
//! ```
//!
//! [`decide`] returns one [`Step`] or rests. Whoever carries the step out tells the [`Outcome`] to [`View::absorb`] and
//! asks again. The model checker, `status.plan` and the controller all use this one function.
//!
//! Reading order: the types here, [`decide()`], [`life`] (the rules in order), [`farewell`] (the rules of the end),
//! [`checks`], [`adopt`], [`quota`], [`schedule`], [`absorb`]; [`orphans`] is about tokens without an object.
//!
//! Invariant: no I/O, clock, randomness, async or logging. Files here import std, serde, jiff and `crate::api` only.

#![deny(missing_docs)]

mod absorb;
mod adopt;
mod checks;
mod decide;
mod facts;
mod farewell;
mod life;
pub mod orphans;
mod outline;
mod quota;
pub mod schedule;
mod secrets;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use decide::{decide, outlook};
pub use outline::edge;
pub use session::{Drift, Failure, Session};

use crate::api::{
    conditions::{Facts, Reason},
    names::{ClusterId, Identity, Marker, OrgName, TokenId},
    token::LastHandled,
    valid::{FieldProblem, Resource, Wanted},
};

/// Everything that a decision may depend on, besides the time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// The token object.
    pub object: Object,
    /// What its status remembers.
    pub memory: Memory,
    /// The organization that it refers to.
    pub organization: Organization,
    /// The Secrets that are wanted, and those of ours that are not.
    pub secrets: Vec<Secret>,
    /// A token whose value this process holds.
    pub hand: Option<Hand>,
    /// What this process remembers since it became the leader.
    pub session: Session,
}

/// The token object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    /// Its uid; the source of jitter.
    pub uid: String,
    /// The first part of its tokens' marker.
    pub cluster: ClusterId,
    /// The second part of its tokens' marker.
    pub identity: Identity,
    /// Its generation.
    pub generation: i64,
    /// Since when it is being deleted.
    pub deleting: Option<Timestamp>,
    /// Whether it has our finalizer.
    pub finalizer: bool,
    /// Its spec, checked.
    pub wanted: Result<Wanted, Vec<FieldProblem>>,
    /// The requests to rotate and revoke that it carries.
    pub requests: LastHandled,
    /// Whether its status speaks of this generation: what differs at Docker Hub then was changed there.
    pub observed: bool,
    /// An older object that wants the same Secret or the same token, in words.
    pub rival: Option<String>,
}

/// What the status remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory {
    /// The token whose value is in the Secrets.
    pub token: Option<Remembered>,
    /// Tokens that were replaced and live on.
    pub previous: Vec<Previous>,
    /// The requests that have been carried out.
    pub handled: LastHandled,
    /// Tokens with the object's marker up to this sequence are left over, besides those named above.
    pub passed: u64,
    /// A token with the object's marker that another operator made.
    pub twin: Option<TokenId>,
}

/// The token whose value is in the Secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Remembered {
    /// Docker Hub's id: what counts. A sequence may come twice across two leaders.
    pub id: TokenId,
    /// The whole label.
    pub label: String,
    /// Which token of this object it is.
    pub sequence: u64,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it expires, if ever.
    pub expires: Option<Timestamp>,
    /// Whether it was active when last seen.
    pub active: bool,
    /// When it was last used, as far as looked at.
    pub last_used: Option<Timestamp>,
    /// The SHA-256 of its value.
    pub value_hash: String,
    /// The hash of the label, description and resources that it has.
    pub shape_hash: String,
    /// The expiration that was asked for.
    pub expiry: String,
}

/// A token that was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Previous {
    /// Docker Hub's id.
    pub id: TokenId,
    /// Which token of this object it was.
    pub sequence: u64,
    /// When it is deleted.
    pub revocation: Timestamp,
}

/// The organization that the object refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Organization {
    /// There is no such object; in words.
    Missing(String),
    /// It is there.
    Known(Account),
}

/// An organization and what Docker Hub says of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    /// Its name at Docker Hub.
    pub name: OrgName,
    /// How many tokens it may have.
    pub limit: u32,
    /// How many places are kept for rotations.
    pub reserved: u32,
    /// Whether tokens that exist may be taken over.
    pub adoptable: bool,
    /// Whether nothing is to be asked or changed.
    pub suspended: bool,
    /// Its tokens.
    pub list: Option<List>,
    /// Why it can't be worked with at present.
    pub trouble: Option<Trouble>,
}

/// A snapshot of an organization's tokens, cut down to what concerns the object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct List {
    /// When its first page was asked for: it shows nothing that was made later, and may show what was deleted later.
    pub started: Timestamp,
    /// How many tokens the organization has.
    pub total: u32,
    /// Since when it has had so many: when the first list in a row that says so began.
    pub steady: Timestamp,
    /// Those with the object's marker, those that the object remembers, and those that it may mean to adopt.
    pub tokens: BTreeMap<TokenId, Token>,
}

/// A token at Docker Hub.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// The whole label.
    pub label: String,
    /// The sequence in its marker, if it carries the object's marker.
    pub sequence: Option<u64>,
    /// Whether it is active.
    pub active: bool,
    /// When it expires, if ever.
    pub expires: Option<Timestamp>,
    /// When it was last used.
    pub last_used: Option<Timestamp>,
    /// The hash of its shape, where Docker Hub was asked for it by its id: a list doesn't tell all of it.
    pub shape: Option<String>,
}

/// Names a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Secret that is wanted or that is ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Secret {
    /// Which.
    pub key: SecretKey,
    /// Whether the spec asks for it.
    pub wanted: bool,
    /// What is there.
    pub state: SecretState,
    /// Why the last write of this pass failed.
    pub failure: Option<(Reason, String)>,
}

/// What is there under a Secret's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretState {
    /// Nothing.
    Absent,
    /// A Secret that we did not make.
    Foreign,
    /// A Secret of this object.
    Ours(Held),
}

/// What a Secret of ours holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// The sequence in its annotation.
    pub sequence: u64,
    /// The SHA-256 of the value in its data, if the data can be read.
    pub value_hash: Option<String>,
    /// What it says of everything but the value.
    pub layout_hash: String,
}

/// A token whose value this process holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hand {
    /// The token, as it will be remembered.
    pub token: Remembered,
    /// The requests that its making carries out.
    pub handled: LastHandled,
    /// Whether it may be published: proved, or made without proof, or read from an intact Secret.
    pub proved: bool,
    /// How often its proof was refused.
    pub refusals: u32,
}

/// Why something failed, and what helps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trouble {
    /// The reason that users see.
    pub reason: Reason,
    /// What happened, where, and what to do.
    pub message: String,
    /// Not to be tried before this time, if the other side said so.
    pub retry: Option<Timestamp>,
    /// Whether it may have been carried out all the same.
    pub uncertain: bool,
}

/// A token that is to be made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NewToken {
    /// Its sequence, which its label's marker carries: that marker is the intent.
    pub sequence: u64,
    /// The whole label.
    pub label: String,
    /// The description.
    pub description: String,
    /// What it may do.
    pub resources: Vec<Resource>,
    /// When it expires.
    pub expires: Option<Timestamp>,
    /// The expiration as the spec says it.
    pub expiry: String,
    /// The hash of label, description and resources.
    pub shape_hash: String,
    /// The requests that it carries out.
    pub handled: LastHandled,
    /// Whether it must be proved.
    pub verify: bool,
    /// Whether it goes before others: somebody's pulls fail or will soon.
    pub urgent: bool,
}

/// What is to be changed about a token. `None` leaves as is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Change {
    /// The whole label.
    pub label: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// What it may do.
    pub resources: Option<Vec<Resource>>,
    /// Whether it is active.
    pub active: Option<bool>,
    /// The hash of the shape that it has then.
    pub shape_hash: Option<String>,
}

/// Why a token is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// It was replaced and its time is over.
    Replaced,
    /// It was revoked.
    Revoked,
    /// It is left over from a create whose answer was lost.
    Orphan,
    /// The registry's token service refuses it.
    Unproved,
    /// The organization has no place left, and its replacement needs its own.
    Exchanged,
    /// Its object is being deleted.
    Farewell,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Put our finalizer on the object.
    AddFinalizer,
    /// List the organization's tokens anew.
    Refresh,
    /// Ask for one token by its id: a list may lack what is there.
    Confirm(TokenId),
    /// Make a token. Sent once.
    Create(NewToken),
    /// Prove the value in hand at the registry's token service.
    Prove,
    /// Read the value from a Secret of ours whose hash is the remembered one.
    Fetch(SecretKey),
    /// Write the value in hand to these Secrets.
    Publish(Vec<SecretKey>),
    /// Write to these Secrets, so that no older write in flight reaches them: what is whole stays as it is, all else is
    /// emptied or made without a value.
    Touch(Vec<SecretKey>),
    /// Write this to the status, if nobody wrote the object since.
    Remember(Memory),
    /// Change a token at Docker Hub.
    Update(TokenId, Change),
    /// Delete a token at Docker Hub.
    Delete(TokenId, Why),
    /// Delete these Secrets.
    Remove(Vec<SecretKey>),
    /// Take the value out of these Secrets and let them go.
    Blank(Vec<SecretKey>),
    /// Take our finalizer off the object; `true` where tokens may be left at Docker Hub.
    Release {
        /// Whether tokens may be left at Docker Hub.
        abandoned: bool,
    },
}

impl Token {
    /// Whether it carries the marker of another object.
    fn is_anothers(&self) -> bool {
        self.sequence.is_none() && Marker::parse(&self.label).is_some()
    }
}

impl Step {
    /// Whether Docker Hub is asked or changed.
    pub fn needs_hub(&self) -> bool {
        matches!(
            self,
            Self::Refresh | Self::Confirm(_) | Self::Create(_) | Self::Prove | Self::Update(..) | Self::Delete(..)
        )
    }
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The finalizer is there.
    Finalized,
    /// The tokens.
    Listed(List),
    /// The token with this id, or that there is none.
    Confirmed(TokenId, Option<Token>),
    /// The token was made and its value is in hand.
    Created(Hand),
    /// The registry's token service takes the value.
    Proved,
    /// It doesn't.
    Unproved(String),
    /// The value was read from a Secret.
    Fetched(Hand),
    /// That Secret holds something else.
    NotFetched(SecretKey),
    /// What became of each Secret.
    Published(Vec<(SecretKey, Result<Held, Trouble>)>),
    /// What became of each Secret.
    Touched(Vec<(SecretKey, Result<Held, Trouble>)>),
    /// The status is written.
    Remembered(Memory),
    /// The token was changed.
    Updated(TokenId, Change),
    /// The token is not there any more.
    Deleted(TokenId),
    /// The Secrets are not there any more.
    Removed(Vec<SecretKey>),
    /// The Secrets hold no value and are not ours any more.
    Blanked(Vec<SecretKey>),
    /// The object is let go.
    Released,
    /// It failed, or it is not known whether it did.
    Failed(Trouble),
}

/// A step, or rest.
#[allow(clippy::large_enum_variant, reason = "one at a time, handed on at once")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// One thing to do.
    Step(Step),
    /// Nothing until something changes or the time comes.
    Rest(Rest),
}

/// Nothing to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rest {
    /// What the status is to say.
    pub facts: Facts,
    /// When to look again, at the latest.
    pub wake: Option<Timestamp>,
}

impl View {
    /// The marker of the object's token with this sequence.
    pub fn marker(&self, sequence: u64) -> Marker {
        Marker { cluster: self.object.cluster.clone(), identity: self.object.identity.clone(), sequence }
    }

    /// The attempt that failed, if it still counts.
    fn failure(&self) -> Option<&Failure> {
        let counts = |failure: &&Failure| failure.basis == self.basis() && !self.is_over(failure);
        self.session.failure.as_ref().filter(counts)
    }

    /// Whether what somebody had to change has been changed.
    fn is_over(&self, failure: &Failure) -> bool {
        match (failure.trouble.reason, &self.organization) {
            (Reason::QuotaExceeded, Organization::Known(Account { list: Some(list), .. })) => {
                failure.full.is_some_and(|full| list.total < full)
            }
            (Reason::SecretConflict, _) => self.wanted_secrets().all(|secret| secret.state != SecretState::Foreign),
            (Reason::CredentialsInvalid, Organization::Known(account)) => {
                account.trouble.as_ref().is_none_or(|trouble| trouble.reason != Reason::CredentialsInvalid)
            }
            _ => false,
        }
    }

    /// What an edit changes.
    fn basis(&self) -> (i64, LastHandled, bool) {
        (self.object.generation, self.object.requests.clone(), self.object.deleting.is_some())
    }

    /// The organization's list, if there is an organization and a list.
    fn list(&self) -> Option<&List> {
        let Organization::Known(account) = &self.organization else { return None };
        account.list.as_ref()
    }

    /// Whether a token is the current one, a previous one, or in hand.
    fn knows(&self, id: &TokenId) -> bool {
        let current = self.memory.token.iter().map(|token| &token.id);
        let previous = self.memory.previous.iter().map(|previous| &previous.id);
        current.chain(previous).chain(self.hand.iter().map(|hand| &hand.token.id)).any(|known| known == id)
    }

    fn wanted_secrets(&self) -> impl Iterator<Item = &Secret> {
        self.secrets.iter().filter(|secret| secret.wanted)
    }
}
