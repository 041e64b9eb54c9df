//! What time operators think it is, for rules about times that they decide by.

use jiff::{SignedDuration, Timestamp};

/// How late a decision may be carried out that was right when it was made: faults hold requests and watches back.
pub const LATE: SignedDuration = SignedDuration::from_hours(3);

/// How far the operators' clocks were ahead of the servers', since when.
#[derive(Default)]
pub struct Clocks(Vec<(Timestamp, SignedDuration)>);

impl Clocks {
    /// From this time on they are ahead by so much; behind, where it is negative.
    pub fn set(&mut self, now: Timestamp, ahead: SignedDuration) {
        self.0.push((now, ahead));
    }

    /// The latest time that an operator could think it was when it decided what arrives now.
    pub fn latest(&self, now: Timestamp) -> Timestamp {
        let ahead = self.recent(now).max().unwrap_or_default();
        now.saturating_add(ahead.max(SignedDuration::ZERO)).unwrap()
    }

    /// The earliest one.
    pub fn earliest(&self, now: Timestamp) -> Timestamp {
        let ahead = self.recent(now).min().unwrap_or_default();
        now.saturating_add(ahead.min(SignedDuration::ZERO)).unwrap()
    }

    /// What holds now, and what held within [`LATE`].
    fn recent(&self, now: Timestamp) -> impl Iterator<Item = SignedDuration> {
        let over = move |at: usize| self.0.get(at + 1).is_some_and(|(next, _)| now.duration_since(*next) > LATE);
        self.0.iter().enumerate().filter(move |(at, _)| !over(*at)).map(|(_, (_, ahead))| *ahead)
    }
}
