//! A world without faults: it answers every step with what the step asks for.

use crate::plan::*;

/// The outcome that a step hopes for.
pub fn hope(view: &View, step: &Step, now: Timestamp) -> Outcome {
    let Organization::Known(account) = &view.organization else { return Outcome::Released };
    match step {
        Step::AddFinalizer => Outcome::Finalized,
        Step::Refresh => Outcome::Listed(List {
            started: now,
            ..account.list.clone().unwrap_or(List { started: now, total: 0, steady: now, tokens: BTreeMap::new() })
        }),
        Step::Confirm(id) => {
            let found = account.list.as_ref().and_then(|list| list.tokens.get(id)).cloned();
            let shape = view.memory.token.as_ref().map(|token| token.shape_hash.clone());
            Outcome::Confirmed(id.clone(), found.map(|token| Token { shape, ..token }))
        }
        Step::Create(new) => Outcome::Created(created(new, now)),
        Step::Prove => Outcome::Proved,
        Step::Fetch(key) => {
            let Some(token) = view.memory.token.clone() else { return Outcome::NotFetched(key.clone()) };
            Outcome::Fetched(Hand { token, handled: view.memory.handled.clone(), proved: true, refusals: 0 })
        }
        Step::Publish(keys) => {
            let held = view.hand.as_ref().map(|hand| published(view, &hand.token)).unwrap();
            Outcome::Published(keys.iter().map(|key| (key.clone(), Ok(held.clone()))).collect())
        }
        Step::Touch(keys) => {
            let held = |key: &SecretKey| {
                let secret = view.secrets.iter().find(|secret| secret.key == *key);
                match secret.map(|secret| &secret.state) {
                    Some(SecretState::Ours(held)) => held.clone(),
                    _ => Held { sequence: 0, value_hash: None, layout_hash: String::new() },
                }
            };
            Outcome::Touched(keys.iter().map(|key| (key.clone(), Ok(held(key)))).collect())
        }
        Step::Remember(memory) => Outcome::Remembered(memory.clone()),
        Step::Update(id, change) => Outcome::Updated(id.clone(), change.clone()),
        Step::Delete(id, _) => Outcome::Deleted(id.clone()),
        Step::Remove(keys) => Outcome::Removed(keys.clone()),
        Step::Blank(keys) => Outcome::Blanked(keys.clone()),
        Step::Release { .. } => Outcome::Released,
    }
}

pub fn created(new: &NewToken, now: Timestamp) -> Hand {
    let token = Remembered {
        id: super::build::id(&format!("t{}", new.sequence)),
        label: new.label.clone(),
        sequence: new.sequence,
        created: Some(now),
        expires: new.expires,
        active: true,
        last_used: None,
        value_hash: format!("value {}", new.sequence),
        shape_hash: new.shape_hash.clone(),
        expiry: new.expiry.clone(),
    };
    Hand { token, handled: new.handled.clone(), proved: !new.verify, refusals: 0 }
}

pub fn published(view: &View, token: &Remembered) -> Held {
    let (Ok(wanted), Organization::Known(account)) = (&view.object.wanted, &view.organization) else {
        panic!("nothing is published without a valid spec and an organization");
    };
    Held {
        sequence: token.sequence,
        value_hash: Some(token.value_hash.clone()),
        layout_hash: wanted.secret.layout_hash(&account.name),
    }
}
