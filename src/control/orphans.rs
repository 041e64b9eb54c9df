//! Deletes tokens with our marker and no object, where the organization's `orphanPolicy` says so.
//!
//! Guarantees: none goes that the status has not named for a day, that has an object now, or whose value is in a Secret
//! of ours; none while a watch is broken, since an object may have been made that we don't see. Each is asked for by its
//! id just before, and must still say that it is ours.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Context, apply, census, hubs::Hub, organizations::Found};
use crate::{
    api::organization::OrphanPolicy,
    hub::Snapshot,
    k8s::events::Happened,
    plan::orphans::{self, Orphan},
    text,
};

/// How long to wait after one could not be deleted, or while a watch is broken.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(300);

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many were deleted.
    pub removed: u32,
    /// When to look again, if ever.
    pub wake: Option<Timestamp>,
}

/// Deletes the orphans whose time has come.
pub async fn sweep(context: &Context, subject: &Found, hub: &Hub, snapshot: &Snapshot) -> Swept {
    let mut swept = Swept::default();
    if subject.spec.orphan_policy != OrphanPolicy::Delete {
        return swept;
    }
    let now = context.clock.now();
    for orphan in remembered(context, subject, snapshot, now) {
        let due = orphans::due(&orphan);
        if due > now {
            swept.wake = Some(swept.wake.map_or(due, |wake| wake.min(due)));
            continue;
        }
        let again = now.checked_add(AGAIN).ok();
        if !context.watches.all_well() {
            swept.wake = again;
            return swept;
        }
        match apply::remove_orphan(context, &hub.handle, &orphan.token.id, &census::living(context)).await {
            Ok(true) => {
                swept.removed = swept.removed.saturating_add(1);
                tell(context, subject, &orphan).await;
            }
            Ok(false) => {}
            Err(problem) => {
                tracing::warn!(id = orphan.token.id.as_str(), problem, "an orphan could not be deleted");
                swept.wake = again;
                return swept;
            }
        }
    }
    swept
}

/// The orphans that the status has named, without those whose value is in a Secret of ours.
fn remembered(context: &Context, subject: &Found, snapshot: &Snapshot, now: Timestamp) -> Vec<Orphan> {
    let held: BTreeSet<String> =
        context.secrets.all().into_iter().filter_map(|(_, entry)| entry.token.clone()).collect();
    let named = |orphan: &Orphan| subject.status.orphaned.iter().any(|known| known.id == orphan.token.id.as_str());
    let mut orphans = census::orphans_in(context, subject, snapshot, now);
    orphans.retain(|orphan| named(orphan) && !held.contains(orphan.token.id.as_str()));
    orphans
}

async fn tell(context: &Context, subject: &Found, orphan: &Orphan) {
    let label = text::clean(&orphan.token.label, 100);
    let note = format!("token {} ({label}) was deleted at Docker Hub: its object is gone", orphan.token.id);
    tracing::info!(event = Happened::OrphanRemoved.as_str(), "{note}");
    context.metrics.orphan_removed(subject.name());
    context.events.report(&subject.reference, Happened::OrphanRemoved, note).await;
}
