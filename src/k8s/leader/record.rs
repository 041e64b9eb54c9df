//! What a Lease says, and what is written into one. Pure.
//!
//! Never: the time. It is handed in.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};

/// The times of an election, as client-go has them for a lease of 15 seconds: 15, 10 and 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    /// How long others wait after the last change that they saw.
    pub lease: Duration,
    /// How long a leader that can't renew goes on. Shorter than `lease`, so that two never lead at once.
    pub deadline: Duration,
    /// How long between two attempts.
    pub retry: Duration,
    /// How long one request may take, unless less is left.
    pub request: Duration,
}

impl Timing {
    /// Everything follows from the duration of the lease. A Lease counts in whole seconds, so one is the least.
    pub fn of(lease: Duration) -> Self {
        let lease = lease.max(Duration::from_secs(1));
        let deadline = lease / 3 * 2;
        Self { lease, deadline, retry: lease / 15 * 2, request: deadline / 2 }
    }

    /// What a Lease is to say. Rounded up: others then wait too long rather than not long enough.
    fn seconds(self) -> i32 {
        let up = u64::from(self.lease.subsec_nanos() > 0);
        i32::try_from(self.lease.as_secs().saturating_add(up)).unwrap_or(i32::MAX)
    }
}

/// A Lease as it was seen, or that there is none, and since when it has been so on our own clock.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub lease: Option<Lease>,
    pub since: Duration,
}

impl Seen {
    /// Who holds the Lease.
    pub fn holder(&self) -> Option<&str> {
        self.lease.as_ref().and_then(holder)
    }

    /// When it may be taken, on our own clock. The times in the Lease are another machine's and aren't looked at.
    pub fn due(&self, me: &str, timing: Timing) -> Duration {
        match self.holder() {
            // Ours though we don't lead: a write that we had no answer to was carried out.
            Some(holder) if holder != me => {
                let seconds = self.spec().and_then(|spec| spec.lease_duration_seconds);
                let theirs = seconds
                    .map_or(timing.lease, |seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or_default()));
                self.since.saturating_add(theirs)
            }
            _ => self.since,
        }
    }

    /// Looked at again. Only a changed spec counts as a sign of life: anybody may write an annotation.
    pub fn update(&mut self, lease: Option<Lease>, now: Duration) {
        let spec = |lease: &Option<Lease>| lease.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
        if spec(&self.lease) != spec(&lease) {
            self.since = now;
        }
        self.lease = lease;
    }

    fn spec(&self) -> Option<&LeaseSpec> {
        self.lease.as_ref().and_then(|lease| lease.spec.as_ref())
    }
}

/// Who holds a Lease; an empty name is nobody.
pub(super) fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// How often a Lease has changed hands.
pub(super) fn transitions(lease: &Lease) -> u64 {
    let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
    transitions.map_or(0, |transitions| u64::try_from(transitions).unwrap_or_default())
}

/// The first Lease, or the one in place of a Lease that somebody deleted from under the leader of this term.
pub(super) fn first(name: &str, me: &str, timing: Timing, now: Timestamp, term: u64) -> Lease {
    let metadata = ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
    let spec = LeaseSpec {
        holder_identity: Some(me.into()),
        lease_duration_seconds: Some(timing.seconds()),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(i32::try_from(term).unwrap_or(i32::MAX)),
        ..LeaseSpec::default()
    };
    Lease { metadata, spec: Some(spec) }
}

/// The same Lease in our hands. Its resourceVersion stays, so that it is only written as it was seen.
pub(super) fn taken(mut lease: Lease, me: &str, timing: Timing, now: Timestamp) -> Lease {
    let ours = holder(&lease) == Some(me);
    let spec = lease.spec.get_or_insert_default();
    if !ours {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default().max(0).saturating_add(1));
    }
    spec.holder_identity = Some(me.into());
    spec.lease_duration_seconds = Some(timing.seconds());
    spec.renew_time = Some(MicroTime(now));
    lease
}

/// The same Lease in nobody's hands, as client-go leaves it.
pub(super) fn released(mut lease: Lease, now: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    spec.acquire_time = Some(MicroTime(now));
    spec.renew_time = Some(MicroTime(now));
    lease
}
