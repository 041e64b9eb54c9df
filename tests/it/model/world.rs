//! The state of the world and of the operator in it, and what may happen.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use oat_operator::{
    api::names::TokenId,
    plan::{self, Hand, Memory, SecretKey, Session, View},
};

/// How often each kind of fault, edit or passing of time may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// The operator dies and another begins.
    pub crash: u8,
    /// A call fails, before or after it was carried out, and nobody knows which.
    pub lost: u8,
    /// A create is carried out after its caller gave up.
    pub late: u8,
    /// A call is refused, clearly; or one of several Secrets can't be written.
    pub refuse: u8,
    /// Somebody asks for a rotation.
    pub rotate: u8,
    /// Somebody asks for an emergency.
    pub revoke: u8,
    /// `spec.active` changes.
    pub toggle: u8,
    /// `spec.description` changes.
    pub edit: u8,
    /// `spec.secret.name` changes.
    pub rename: u8,
    /// The object is deleted.
    pub delete: u8,
    /// A Secret is deleted or changed by hand.
    pub secret: u8,
    /// A token is deleted or deactivated by hand.
    pub hub: u8,
    /// Time passes: overlaps end after one tick, renewals are due after two, tokens expire after three.
    pub tick: u8,
}

/// How it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Somebody just made the object.
    New,
    /// Token 1 is where it should be.
    Settled,
    /// The same with two Secrets.
    Two,
    /// The same; at the end the token is to stay.
    Retained,
    /// Token 3 is at Docker Hub, but the object has no status and no Secret.
    Restored,
}

/// A Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stored {
    Absent,
    Foreign,
    /// The sequence it speaks of, the token whose value it holds (0: none of ours), and the layout's number.
    Ours(u8, u8, u8),
}

/// A token at Docker Hub.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    pub number: u8,
    pub sequence: u8,
    /// Whether its label has our marker.
    pub marked: bool,
    pub active: bool,
    /// The number of the description that it has.
    pub shape: u8,
    /// At which tick it was made.
    pub made: u8,
    pub proved: bool,
    pub published: bool,
    /// At which tick another one was remembered in its place.
    pub replaced: Option<u8>,
    /// Whether a list that is to be fresh must show it.
    pub old: bool,
    /// Whether its commit came late.
    pub late: bool,
}

/// A create that nobody waits for any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flying {
    pub sequence: u8,
    pub shape: u8,
}

/// What the API server keeps of the object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    pub active: bool,
    pub shape: u8,
    /// Which of the two names the Secret is to have.
    pub named: u8,
    pub rotate: u8,
    pub revoke: u8,
    pub deleting: bool,
    pub finalizer: bool,
    pub memory: Shared<Memory>,
}

/// Something that is compared and hashed by its hash, which is reckoned once.
#[derive(Clone, Debug)]
pub struct Shared<T>(Arc<T>, u64);

impl<T: Hash> Shared<T> {
    pub fn new(thing: T) -> Self {
        let mut hasher = DefaultHasher::new();
        thing.hash(&mut hasher);
        Self(Arc::new(thing), hasher.finish())
    }

    pub fn get(&self) -> &T {
        &self.0
    }

    pub fn share(&self) -> Arc<T> {
        self.0.clone()
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

impl<T> Eq for Shared<T> {}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.1.hash(state);
    }
}

/// The operator's process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// What it remembers between passes.
    pub memo: Shared<(Session, Option<Hand>)>,
    /// What the client last listed, with what it did itself since.
    pub list: Shared<BTreeMap<TokenId, plan::Token>>,
    /// Whether that list may be relied on for a create.
    pub fresh: bool,
    /// The Secrets as its store has them.
    pub seen: [Stored; 2],
    /// A pass that is under way, and whether somebody wrote the object since it began.
    pub pass: Option<(Shared<View>, bool)>,
    /// The sequences that were sent in this term.
    pub sent: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub tick: u8,
    pub object: Option<Object>,
    pub secrets: [Stored; 2],
    pub tokens: Vec<Token>,
    pub flying: Vec<Flying>,
    pub process: Process,
    pub left: Budget,
    /// How many tokens were made so far.
    pub made: u8,
    /// The tokens that the operator deleted.
    pub deleted: u32,
    /// The rule that a step broke.
    pub broken: Option<&'static str>,
}

/// How a step goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    Well,
    /// Refused, clearly.
    Refused,
    /// Only the first of several.
    Partly,
    /// Not carried out, but nobody knows.
    LostBefore,
    /// Carried out, but nobody knows.
    LostAfter,
    /// Not carried out yet.
    Late,
    /// Carried out, and then the process dies.
    Crash,
    /// The process dies, and then it is carried out.
    CrashLate,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Step(How),
    /// The operator dies; the next one has a list of now, or an old and empty one.
    Restart {
        warm: bool,
    },
    Rotate,
    Revoke,
    Toggle,
    Edit,
    Rename,
    Delete,
    DropSecret(usize),
    ChangeSecret(usize),
    DropToken(usize),
    Deactivate(usize),
    Poll,
    Commit(usize),
    Tick,
}

pub const HOUR: u64 = 3600;

/// The two names of Secrets.
pub fn key(number: usize) -> SecretKey {
    let name = ["pull", "other"][number];
    SecretKey { namespace: "payments".into(), name: name.into() }
}

pub fn id(number: u8) -> TokenId {
    TokenId::parse(&format!("t{number}")).unwrap()
}

pub fn number(id: &TokenId) -> u8 {
    id.as_str()[1..].parse().unwrap()
}

pub fn value(number: u8) -> String {
    format!("value {number}")
}

pub fn time(tick: u8) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + i64::from(tick) * HOUR as i64).unwrap()
}

/// When a token of this tick was made: long enough before that somebody may ask for a rotation in the same tick.
pub fn created(tick: u8) -> Timestamp {
    before(time(tick), 11_000_000_000)
}

/// A moment just before.
pub fn before(time: Timestamp, nanoseconds: u64) -> Timestamp {
    plan::schedule::minus(time, Duration::from_nanos(nanoseconds))
}
