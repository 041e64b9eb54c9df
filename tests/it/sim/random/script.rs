//! What happens in a run, thought out before it begins: the same seed gives the same script.
//!
//! Never looks at a server: what an act finds when its time comes is the business of [`super::stage`].

use std::time::Duration;

use serde_json::Value;

use super::{
    super::{DAY, HOUR, MINUTE, SECOND},
    chance::Chance,
    spec,
    weather::{self, Trouble},
};

/// How many token objects there are at most.
pub const OBJECTS: usize = 4;
/// How long a run is.
pub const LENGTH: Duration = Duration::from_secs(30 * 86_400);
/// When the last fault, edit and crash is over.
pub const QUIET: Duration = Duration::from_secs(26 * 86_400);

#[derive(Clone, Debug)]
pub struct Script {
    pub seed: u64,
    pub setting: Setting,
    /// In the order of their times.
    pub acts: Vec<(Duration, Act)>,
}

/// What holds for the whole run.
#[derive(Clone, Debug)]
pub struct Setting {
    pub poll: Duration,
    pub limit: u32,
    pub reserved: u32,
    /// Whether Docker Hub's own limit is lower than what the organization object says.
    pub tighter: bool,
    /// What Docker Hub's 429 says.
    pub retry_after: Option<&'static str>,
    /// How long a login at Docker Hub holds.
    pub login: Duration,
    /// Whether conflicts over a Secret are left as they are at the end.
    pub leave_conflicts: bool,
}

/// One thing that happens. Objects are numbered; one that is not there suffers nothing.
#[derive(Clone, Debug)]
pub enum Act {
    Make(usize, Value),
    Edit(usize, Value),
    Annotate(usize, &'static str, String),
    Delete(usize),
    DeleteSecret(usize),
    Tamper(usize, Tampering),
    /// The owner's password at Docker Hub is another.
    Password(usize),
    /// The Secret with the owner's credentials says this password; none: it is deleted.
    Credentials(Option<usize>),
    Suspend(bool),
    DeleteOrganization,
    MakeOrganization,
    Poll(Duration),
    /// Hands at Docker Hub.
    Hand(usize, Hand),
    /// Somebody makes so many tokens.
    Fill(u32),
    /// Somebody deletes all of those.
    Free,
    Trouble(usize, Trouble),
    /// The end of that one.
    Over(usize),
    Crash,
    /// At so many requests from now on; carried out or not.
    CrashAt(u64, bool),
    /// What crashed is started again.
    Start,
    /// Two replicas from now on, or one.
    Replicas(bool),
    /// The operator's clock is set by so many seconds.
    Set(i64),
    /// All clocks are: nothing ran in between.
    Sleep(Duration),
    /// The API server closes all connections, and maybe forgets what it was.
    Close(bool),
}

#[derive(Clone, Copy, Debug)]
pub enum Tampering {
    Value,
    Garbage,
    Annotation,
    Label,
    /// A key of somebody's own.
    Key,
}

/// What somebody does to an object's current token at Docker Hub, or to any.
#[derive(Clone, Copy, Debug)]
pub enum Hand {
    Deactivate,
    Activate,
    Delete,
    Rename,
    Unmark,
    Rescope,
    Describe,
}

impl Script {
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let setting = Setting {
            // Polls are most of what an idle month costs.
            poll: chance.pick(&[2 * HOUR, 6 * HOUR, 12 * HOUR, 12 * HOUR, 24 * HOUR, 24 * HOUR, 24 * HOUR, 24 * HOUR]),
            limit: chance.pick(&[6, 8, 10, 100]),
            reserved: chance.pick(&[0, 1, 2]),
            tighter: chance.percent(15),
            retry_after: chance.pick(&[Some("90"), Some("300"), Some("1800"), Some("3600"), Some("soon"), None]),
            // It is ten minutes as far as we know. Logins would be a third of all requests, so here they are in one run
            // of four; a chance of its own leaves the scripts as they are.
            login: Chance::new(!seed).pick(&[10 * MINUTE, 2 * HOUR, 2 * DAY, 5 * DAY]),
            leave_conflicts: chance.percent(50),
        };
        let mut script = Self { seed, setting, acts: Vec::new() };
        for object in 0..=chance.below(OBJECTS) {
            let at = if chance.percent(70) { chance.between(SECOND, HOUR) } else { chance.between(HOUR, 10 * DAY) };
            script.make(&mut chance, at, object);
        }
        for number in 0..8 + chance.below(30) {
            let at = chance.between(HOUR, QUIET - 12 * HOUR);
            script.something(&mut chance, at, number);
        }
        script.acts.retain(|(at, _)| *at < QUIET);
        script.acts.sort_by_key(|(at, _)| *at);
        script
    }

    fn add(&mut self, at: Duration, act: Act) {
        self.acts.push((at, act));
    }

    fn make(&mut self, chance: &mut Chance, at: Duration, object: usize) {
        let spec = spec::whole(chance, object);
        self.not_too_short(chance, at, object, &spec);
        self.add(at, Act::Make(object, spec));
    }

    /// Lives of hours are dear: somebody thinks better of it.
    fn not_too_short(&mut self, chance: &mut Chance, at: Duration, object: usize, spec: &Value) {
        if spec::is_short(spec) {
            let later = at + chance.between(HOUR, 18 * HOUR);
            self.add(later, Act::Edit(object, spec::longer(chance)));
        }
    }

    fn something(&mut self, chance: &mut Chance, at: Duration, number: usize) {
        let object = chance.below(OBJECTS);
        match chance.below(100) {
            0..=23 => self.user(chance, at, object),
            24..=33 => self.owner(chance, at),
            34..=47 => {
                let hands = [
                    Hand::Deactivate,
                    Hand::Activate,
                    Hand::Delete,
                    Hand::Rename,
                    Hand::Unmark,
                    Hand::Rescope,
                    Hand::Describe,
                ];
                self.add(at, Act::Hand(object, chance.pick(&hands)));
            }
            48..=50 => {
                self.add(at, Act::Fill(u32::try_from(1 + chance.below(10)).unwrap()));
                self.add(at + chance.about(MINUTE, 5 * DAY), Act::Free);
            }
            51..=83 => self.trouble(chance, at, object, number),
            84..=92 => self.crash(chance, at, object),
            93..=94 => {
                self.add(at, Act::Replicas(true));
                // Standing by is writes to the Lease without end.
                self.add(at + chance.about(10 * MINUTE, 12 * HOUR), Act::Replicas(false));
            }
            95..=97 => {
                let by = i64::try_from(chance.about(MINUTE, 3 * DAY).as_secs()).unwrap();
                let by = if chance.percent(40) { -(by % 1800) } else { by };
                self.add(at, Act::Set(by));
                self.add(at + chance.about(MINUTE, 12 * HOUR), Act::Set(-by));
                self.user(chance, at + MINUTE, object);
            }
            98 => self.add(at, Act::Sleep(chance.about(10 * MINUTE, 3 * DAY))),
            _ => self.add(at, Act::Close(chance.percent(50))),
        }
    }

    fn user(&mut self, chance: &mut Chance, at: Duration, object: usize) {
        match chance.below(20) {
            0..=8 => {
                let patch = spec::change(chance, object);
                self.not_too_short(chance, at, object, &patch);
                self.add(at, Act::Edit(object, patch));
            }
            9..=10 => self.annotate(chance, at, object, oat_operator::api::ROTATE),
            11..=12 => self.annotate(chance, at, object, oat_operator::api::REVOKE),
            13 => self.annotate(chance, at, object, oat_operator::api::REQUESTED_AT),
            14..=15 => {
                self.add(at, Act::Delete(object));
                if chance.percent(70) {
                    // Too early there is still one, and nothing is made.
                    let later = at + chance.about(SECOND, DAY);
                    self.make(chance, later, object);
                }
            }
            16 => self.add(at, Act::DeleteSecret(object)),
            17..=18 => {
                let ways =
                    [Tampering::Value, Tampering::Garbage, Tampering::Annotation, Tampering::Label, Tampering::Key];
                self.add(at, Act::Tamper(object, chance.pick(&ways)));
            }
            _ => self.make(chance, at, object),
        }
    }

    fn annotate(&mut self, chance: &mut Chance, at: Duration, object: usize, key: &'static str) {
        self.add(at, Act::Annotate(object, key, chance.below(1000).to_string()));
    }

    fn owner(&mut self, chance: &mut Chance, at: Duration) {
        let after = at + chance.about(SECOND, 8 * HOUR);
        match chance.below(10) {
            0..=2 => {
                self.add(at, Act::Suspend(true));
                self.add(after, Act::Suspend(false));
            }
            3..=4 => {
                let password = 1 + chance.below(3);
                self.add(at, Act::Password(password));
                self.add(after, Act::Credentials(Some(password)));
            }
            5..=6 => {
                self.add(at, Act::Credentials(Some(9)));
                self.add(after, Act::Credentials(Some(0)));
                self.add(after, Act::Password(0));
            }
            7 => {
                self.add(at, Act::Credentials(None));
                self.add(after, Act::Credentials(Some(0)));
                self.add(after, Act::Password(0));
            }
            8 => {
                self.add(at, Act::DeleteOrganization);
                self.add(after, Act::MakeOrganization);
            }
            _ => self.add(at, Act::Poll(chance.pick(&[HOUR, 3 * HOUR, 24 * HOUR]))),
        }
    }

    fn trouble(&mut self, chance: &mut Chance, at: Duration, object: usize, number: usize) {
        let (trouble, longest) = weather::any(chance, self.setting.retry_after);
        self.add(at, Act::Trouble(number, trouble));
        self.add(at + chance.about(10 * SECOND, longest), Act::Over(number));
        // It needs somebody to be troubled.
        if chance.percent(80) {
            self.user(chance, at + SECOND, object);
        }
        if chance.percent(25) {
            self.crash(chance, at + 2 * SECOND, object);
        }
    }

    fn crash(&mut self, chance: &mut Chance, at: Duration, object: usize) {
        let down = chance.about(SECOND, 4 * HOUR);
        if chance.percent(40) {
            self.add(at, Act::Crash);
            self.add(at + down, Act::Start);
        } else {
            self.add(at, Act::CrashAt(u64::try_from(1 + chance.below(8)).unwrap(), chance.percent(50)));
            self.user(chance, at + SECOND, object);
            self.add(at + chance.about(10 * SECOND, DAY), Act::Start);
        }
    }
}

impl Act {
    /// Whether tokens live for hours from then on.
    pub fn makes_short_lives(&self) -> bool {
        matches!(self, Self::Make(_, spec) | Self::Edit(_, spec) if spec::is_short(spec))
    }
}
