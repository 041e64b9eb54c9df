//! The state of the world and of the operator in it, and what may happen.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    time::Duration,
};

use jiff::Timestamp;
use oat_operator::{
    api::names::TokenId,
    plan::{self, Hand, Memory, SecretKey, Session, View},
};

pub use super::tables::Shared;
use super::tables::hash_of;

/// How often each kind of fault, edit or passing of time may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// The operator dies or loses its Lease, and another begins.
    pub crash: u8,
    /// A call fails, before or after it was carried out, and nobody knows which.
    pub lost: u8,
    /// A write is carried out after its caller gave up: in the same term, or past it.
    pub late: u8,
    /// A call is refused, clearly; or one of several Secrets can't be written.
    pub refuse: u8,
    /// Admission changes what is written to Secrets.
    pub alter: u8,
    /// Somebody takes our finalizer off the object.
    pub unbind: u8,
    /// What a replica watches falls behind, for as long as it likes.
    pub lag: u8,
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
    /// Somebody else makes a Secret where there is none.
    pub squat: u8,
    /// A token is deleted or deactivated, or the current one loses its marker, by hand.
    pub hub: u8,
    /// Somebody else makes or deletes a token of the organization.
    pub places: u8,
    /// Ten minutes of a term pass: nothing that a former leader asked Docker Hub for is under way any more.
    pub settle: u8,
    /// A token is changed by hand in what a list doesn't tell, and the day comes when it is looked at.
    pub reshape: u8,
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
    /// Token 1 is where it should be; at the end it is to be deactivated, and the Secret stays without it.
    Deactivating,
    /// Somebody just made the object, and wants no proofs.
    Trusting,
    /// Token 3 and its Secret are there, but the object has no status.
    Kept,
    /// Somebody just made the object, to take over a token that is there, by its label.
    Adopting,
    /// The same by its id.
    AdoptingById,
    /// Token 3 is at Docker Hub, but the object has no status and no Secret.
    Restored,
}

impl Start {
    /// Whether a token is to be taken over.
    pub fn adopts(self) -> bool {
        matches!(self, Self::Adopting | Self::AdoptingById)
    }
}

/// In place of a token: no value.
pub const EMPTY: u8 = 63;

/// A Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stored {
    Absent,
    Foreign,
    /// The sequence it speaks of, the token whose value it holds (0: none of ours), and the layout's number.
    Ours(u8, u8, u8),
}

/// How much of a Secret, as it was once seen, is still so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Known {
    /// Another one has its name, or none.
    Nothing,
    /// The same one, written since.
    Uid,
    /// All.
    Version,
}

/// Whether a write made a Secret that nobody waited for any more: design.md's one exception to "never dead in a Secret".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Posted {
    /// None did, or everybody has seen it since.
    No,
    /// One did, and who leads may not know.
    Late,
    /// Its token was deleted by then, or was deleted while the leader saw no such Secret. It goes with the next pass.
    Excused,
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
    /// Whether its commit came late, or its marker's.
    pub late: bool,
    /// Whether it was there when somebody asked for an emergency.
    pub doomed: bool,
}

impl Token {
    /// Whether it works at this tick.
    pub fn works(&self, tick: u8) -> bool {
        self.active && !self.has_expired(tick)
    }

    pub fn has_expired(&self, tick: u8) -> bool {
        self.made + 3 <= tick
    }

    /// Its label gets a marker with this sequence, or loses it. What it had is kept in mind.
    pub fn relabel(&mut self, marker: u8) {
        self.marked = marker > 0;
        if self.marked {
            self.sequence = marker;
        }
    }
}

/// A write that nobody waits for any more. It lands or fails by its preconditions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flying {
    Create {
        sequence: u8,
        shape: u8,
        /// Whether a former leader sent it.
        former: bool,
    },
    Update {
        /// Whether a former leader sent it.
        former: bool,
        number: u8,
        active: Option<bool>,
        /// The sequence in the marker that its label gets; 0 for none.
        marker: Option<u8>,
        shape: Option<u8>,
    },
    Delete {
        number: u8,
        exchanged: bool,
    },
    /// A Secret that must not be there.
    Post {
        place: usize,
        to: Stored,
    },
    /// A Secret that must be as it was seen.
    Apply {
        place: usize,
        to: Stored,
        known: Known,
    },
    /// The end of a Secret that must be the same one.
    Remove {
        place: usize,
        known: Known,
    },
    /// The status of an object that must be as it was seen.
    Status {
        memory: Shared<Memory>,
        valid: bool,
        /// At which tick: overlaps count from there.
        sent: u8,
    },
    Finalizer {
        on: bool,
        valid: bool,
    },
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

/// What a replica has seen of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    /// The object as it was when the store fell behind. `None`: it is not behind, passes begin with what is there.
    pub behind: Option<Option<Object>>,
    /// Whether the object, as the store or the pass under way has it, was not written since.
    pub current: bool,
    pub secrets: [(Stored, Known); 2],
}

/// What Docker Hub's list shows of the object, and how many tokens it has in all.
pub type Listed = (u32, BTreeMap<TokenId, plan::Token>);

/// The leader's process. All that is left of a former leader is what it had begun to write: before each write it looks
/// whether it leads, and it ends when it doesn't.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// What it remembers between passes.
    pub memo: Shared<(Session, Option<Hand>)>,
    /// What the client last listed, with what it did itself since.
    pub list: Shared<Listed>,
    /// Whether that list may be relied on for a create.
    pub fresh: bool,
    /// Whether that list is of an earlier tick.
    pub stale: bool,
    /// Whether the term is so old that no former leader's create is under way any more, and the list of since then.
    pub settled: bool,
    pub store: Store,
    /// A pass that is under way.
    pub pass: Option<Shared<View>>,
    /// The sequences that were sent in this term.
    pub sent: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The hash of all else.
    pub mark: u64,
    pub tick: u8,
    pub object: Option<Object>,
    pub secrets: [Stored; 2],
    /// What late writes made where there was none.
    pub posted: [Posted; 2],
    pub tokens: Vec<Token>,
    /// How many tokens of others the organization has.
    pub foreign: u8,
    pub flying: Vec<Flying>,
    pub process: Process,
    /// What the standby has seen, if it is behind.
    pub standby: Option<Store>,
    pub left: Budget,
    /// How many tokens were made so far.
    pub made: u8,
    /// The tokens that the operator deleted.
    pub deleted: u64,
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
    /// Carried out, but admission changed it on its way in.
    Altered,
    /// Not carried out, but nobody knows.
    LostBefore,
    /// Carried out, but nobody knows.
    LostAfter,
    /// Not carried out yet.
    Late,
    /// Carried out, and then the process dies or loses its Lease.
    Crash,
    /// The process dies or loses its Lease, and then it is carried out.
    CrashLate,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Step(How),
    /// The operator dies or loses its Lease; the next one has a list of now, or an old and empty one.
    Restart {
        warm: bool,
    },
    /// The leader's store falls behind.
    Fall,
    /// The standby's does.
    StandbyFalls,
    /// The leader's store catches up.
    Watch,
    Rotate,
    Revoke,
    Toggle,
    Edit,
    Unbind,
    Rename,
    Delete,
    DropSecret(usize),
    ChangeSecret(usize),
    /// Its data can't be read any more.
    SpoilSecret(usize),
    /// Somebody else makes a Secret of that name.
    Squat(usize),
    DropToken(usize),
    Deactivate(usize),
    /// The current token gets another label by hand.
    Unmark(usize),
    /// Somebody else makes a token.
    Take,
    /// Somebody else deletes one.
    Free,
    Poll,
    /// Ten minutes of the term have passed.
    Settle,
    /// Somebody changes the description of a token by hand.
    Reshape(usize),
    /// The day has come to look at the current token in all its parts.
    Day,
    /// A write lands that nobody waits for.
    Land(usize),
    /// Kubernetes removes the Secret of an object that is gone.
    Collect(usize),
    Tick,
}

/// The place of a token in a set of them.
pub fn bit(number: u8) -> u64 {
    1 << number.min(63)
}

/// Reckoned once, and asked for more than once.
impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.mark);
    }
}

impl State {
    /// A Secret was written, and what others knew of it is less true.
    pub fn wrote_secret(&mut self, place: usize, to: Stored) {
        let same = matches!(
            (self.secrets[place], to),
            (Stored::Ours(..) | Stored::Foreign, Stored::Ours(..) | Stored::Foreign)
        );
        let most = if same { Known::Uid } else { Known::Nothing };
        self.secrets[place] = to;
        self.posted[place] = Posted::No;
        let stores = std::iter::once(&mut self.process.store).chain(&mut self.standby);
        for (seen, known) in stores.map(|store| &mut store.secrets[place]) {
            // Of what is not there nothing is known, and it is written on no other condition.
            *known = if matches!(seen, Stored::Ours(..)) { (*known).min(most) } else { Known::Nothing };
        }
        for write in &mut self.flying {
            if let Flying::Apply { place: at, known, .. } | Flying::Remove { place: at, known } = write
                && *at == place
            {
                *known = (*known).min(most);
            }
        }
    }

    /// Whether the leader could not know of a Secret, which a late write made.
    pub fn unforeseen(&self, place: usize) -> bool {
        let unseen = self.process.store.secrets[place].0 != self.secrets[place];
        self.posted[place] == Posted::Excused || self.posted[place] == Posted::Late && unseen
    }

    /// Whether a Secret holds the value of a token that we deleted.
    pub fn is_dead(&self, place: usize) -> bool {
        matches!(self.secrets[place], Stored::Ours(_, of, _) if of != 0 && self.deleted & bit(of) != 0)
    }

    /// The same where it never may.
    pub fn breaks_s1(&self, place: usize) -> bool {
        self.is_dead(place) && self.posted[place] != Posted::Excused
    }

    /// The leader's store has a Secret as it is now.
    pub fn saw_secret(&mut self, place: usize) {
        let stored = self.secrets[place];
        let known = if matches!(stored, Stored::Ours(..)) { Known::Version } else { Known::Nothing };
        self.process.store.secrets[place] = (stored, known);
    }

    /// Somebody wrote the object.
    pub fn wrote_object(&mut self) {
        for write in &mut self.flying {
            if let Flying::Status { valid, .. } | Flying::Finalizer { valid, .. } = write {
                *valid = false;
            }
        }
        self.process.store.current = false;
        self.standby.iter_mut().for_each(|store| store.current = false);
    }

    /// The leader has the object as it is now.
    pub fn saw_object(&mut self) {
        self.process.store.current = true;
        if let Some(behind) = &mut self.process.store.behind {
            behind.clone_from(&self.object);
        }
    }

    /// Between passes a store that isn't behind has what is there.
    pub fn sync(&mut self) {
        if self.process.pass.is_none() && self.process.store.behind.is_none() {
            self.process.store = self.now();
        }
        for place in 0..2 {
            let seen = |store: &Store| store.secrets[place].0 == self.secrets[place];
            let by_all = seen(&self.process.store) && self.standby.as_ref().is_none_or(seen);
            if self.posted[place] == Posted::Late && by_all && self.flying.is_empty() {
                self.posted[place] = Posted::No;
            }
        }
        self.flying.sort_unstable();
        let world = (self.tick, &self.object, self.secrets, self.posted, &self.tokens, self.foreign, &self.flying);
        let theirs = (&self.process, &self.standby, self.left, self.made, self.deleted, self.broken);
        self.mark = hash_of(&(world, theirs));
    }

    /// What a store has that isn't behind.
    pub fn now(&self) -> Store {
        let secrets = self.secrets.map(|stored| match stored {
            Stored::Ours(..) => (stored, Known::Version),
            Stored::Absent | Stored::Foreign => (stored, Known::Nothing),
        });
        Store { behind: None, current: true, secrets }
    }
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
