//! Tokens at Docker Hub matched to the object: one to take over, and those of a twin.
//!
//! Never: a token that carries another object's marker is not touched.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{Change, List, Step, Token, View, life::Next, quota, schedule};
use crate::api::{
    conditions::Reason,
    names::{Label, TokenId},
    valid::{Adoption, Wanted},
};

/// How long a former leader's creates may still be under way when a term begins: what appears later without us is
/// another operator's.
pub(super) const SETTLED: Duration = Duration::from_secs(600);

/// The token that was taken over and has not been replaced yet: it carries our marker from the moment it is ours.
pub(super) fn adopted(view: &View, wanted: &Wanted, list: &List) -> Option<TokenId> {
    let adopt = wanted.adopt.as_ref().filter(|_| view.memory.token.is_none())?;
    let marked = list.tokens.iter().filter(|(_, token)| token.sequence.is_some());
    let mut meant = marked.filter(|(id, token)| means(adopt, id, token));
    meant.next().map(|(id, _)| id.clone())
}

fn means(adopt: &Adoption, id: &TokenId, token: &Token) -> bool {
    match (adopt, token.sequence) {
        (Adoption::Id(wanted), _) => wanted == id,
        (Adoption::Label(label), None) => token.label == *label,
        // With our marker its user's part is what became of its label.
        (Adoption::Label(label), Some(_)) => token.label.split(" [").next() == Some(Label::adopted(label).as_str()),
    }
}

/// What is to be done before the first token is made, if one is to be taken over.
///
/// An object of which there is any trace at Docker Hub or in a Secret has had its turn: a restored one doesn't look for
/// a token that was replaced long ago.
pub(super) fn take_over(view: &View, wanted: &Wanted, list: &List, highest: u64, now: Timestamp) -> Option<Next> {
    let adopt = wanted.adopt.as_ref().filter(|_| view.memory.token.is_none())?;
    let traces = list.tokens.values().any(|token| token.sequence.is_some());
    let secrets = view.secrets.iter().any(|secret| matches!(secret.state, super::SecretState::Ours(_)));
    if traces || secrets {
        return None;
    }
    if list.started <= view.session.fresh_after {
        return Some(Next::Do(Step::Refresh));
    }
    let meant: Vec<_> = list.tokens.iter().filter(|(id, token)| means(adopt, id, token)).collect();
    let wait = |reason, message: String| Some(Next::Wait(reason, format!("spec.adopt: {message}"), None));
    let (id, token) = match (meant.as_slice(), adopt) {
        ([one], _) => *one,
        ([], Adoption::Id(id)) if view.session.gone.as_ref() != Some(id) => {
            return Some(Next::Do(Step::Confirm(id.clone())));
        }
        // It may have been made since.
        ([], Adoption::Label(_)) if schedule::plus(list.started, quota::STALE) <= now => {
            return Some(Next::Do(Step::Refresh));
        }
        ([], _) => return wait(Reason::InvalidSpec, format!("the organization has no token with {adopt}")),
        (several, _) => {
            return wait(Reason::InvalidSpec, format!("{} tokens have {adopt}: name one by its id", several.len()));
        }
    };
    if token.is_anothers() {
        return wait(Reason::SecretConflict, format!("the token with {adopt} belongs to another object"));
    }
    if token.expires.is_some_and(|expires| expires <= now) {
        let message = format!("the token with {adopt} has expired: delete it at Docker Hub and take out spec.adopt");
        return wait(Reason::InvalidSpec, message);
    }
    let label = view.marker(highest.saturating_add(1)).label(&Label::adopted(&token.label));
    Some(Next::Do(Step::Update(id.clone(), Change { label: Some(label), ..Change::default() })))
}

/// The twin's token, while it is there.
pub(super) fn twin(view: &View) -> Option<&TokenId> {
    let id = view.memory.twin.as_ref()?;
    let listed = view.list().is_none_or(|list| list.tokens.contains_key(id));
    listed.then_some(id)
}

impl View {
    /// Looks at a list for newer tokens with our marker that we can't have made: a cloned cluster has the same marker.
    pub(super) fn look_for_twin(&mut self) {
        let Some(list) = self.list() else { return };
        if list.started < schedule::plus(self.session.since, SETTLED) {
            return;
        }
        let current = self.memory.token.as_ref().map_or(0, |token| token.sequence);
        let newer = |(id, token): (&TokenId, &Token)| {
            token.sequence.filter(|sequence| *sequence >= current).map(|sequence| (id.clone(), sequence))
        };
        let here: BTreeMap<TokenId, u64> = list.tokens.iter().filter_map(newer).collect();
        let adopted = self.object.wanted.as_ref().ok().and_then(|wanted| adopted(self, wanted, list));
        let stranger = self.session.seen.as_ref().and_then(|seen| {
            let strange = |(id, sequence): &(&TokenId, &u64)| {
                let ours = self.knows(id) || self.session.lost.contains(sequence) || adopted.as_ref() == Some(*id);
                !seen.contains(*id) && !ours
            };
            here.iter().find(strange).map(|(id, _)| id.clone())
        });
        if self.memory.twin.as_ref().is_some_and(|twin| !here.contains_key(twin)) {
            self.memory.twin = None;
        }
        if self.memory.twin.is_none() {
            self.memory.twin = stranger;
        }
        self.session.seen = Some(here.into_keys().collect());
    }
}
