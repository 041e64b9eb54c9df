//! The calls that others may make.
//!
//! All run in their callers' futures and can be dropped at any time: what was not sent yet is not sent then. One that is
//! neither polled nor dropped may hold back the others, as it may be the one that logs in.

use std::{sync::Arc, time::Duration};

use http::Method;
use secrecy::SecretString;
use tokio::sync::{oneshot, watch};

use super::{
    Change, Created, Credentials, Error, Failure, NewToken, Operation, Proof, Refusal, Snapshot, State, Token, Urgency,
    call::{Call, Shared, Waiter},
    client::Reply,
    lock, registry,
    state::Edit,
    wire::{self, TokenAnswer, ValueAnswer},
};

/// An organization's client, shared by all objects that need it. The last one that is dropped stops it.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    stop: Arc<watch::Sender<bool>>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("organization", &self.shared.name).finish_non_exhaustive()
    }
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>, stop: watch::Sender<bool>) -> Self {
        Self { shared, stop: Arc::new(stop) }
    }

    /// What the client knows, and word of every change of it.
    pub fn state(&self) -> watch::Receiver<State> {
        self.shared.board.watch()
    }

    /// Takes logins into account that were refused, or may have been, before this client was started: what another one
    /// showed as [`State::wrong`]. To be called before credentials are set.
    pub fn recall(&self, wrong: Vec<Refusal>) {
        self.shared.logins.recall(wrong);
        self.shared.publish_login();
    }

    /// Takes credentials on; `version` is how a [`super::Refusal`] will name them. None: there are none any more.
    ///
    /// Credentials that differ from those before are tried at once. Those that were refused rest, whatever their version.
    pub fn set_credentials(&self, credentials: Option<Credentials>, version: impl Into<String>) {
        let changed = self.shared.logins.set(credentials, version.into());
        self.shared.publish_login();
        if changed {
            self.shared.restart();
        }
    }

    /// How often the list is read from now on; [`super::NEVER`] for only when asked.
    pub fn set_poll_interval(&self, interval: Duration) {
        let before = std::mem::replace(&mut *lock(&self.shared.poll_interval), interval);
        if before != interval {
            self.shared.wake.notify_one();
        }
    }

    /// Ends the client. Calls under way run on; no others begin.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        self.shared.close();
    }

    /// A list of the tokens that begins after this call, shared with all who asked meanwhile.
    pub async fn refresh(&self, urgency: Urgency) -> Result<Snapshot, Error> {
        let stopped = || self.shared.error(Operation::List, Failure::Stopped);
        let (answer, result) = oneshot::channel();
        if !self.shared.wait(Waiter { urgency, answer }) {
            return Err(stopped());
        }
        result.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Makes a token.
    ///
    /// Flow: a turn, a login, one request on a connection of its own. Guarantees: the request is sent once, whatever
    /// happens. Errors: with [`super::Effect::Unknown`] a token may have been made; its value is lost, a
    /// list shows it.
    pub async fn create(&self, new: NewToken, urgency: Urgency) -> Result<Created, Error> {
        let body = Some(wire::create_body(&new));
        let call = Call { operation: Operation::Create, method: Method::POST, id: None, query: &[], body };
        let reply = self.call(&call, urgency).await?;
        let created = self.created(&call, &reply)?;
        self.shared.board.edit(Edit::Put(created.token.clone()));
        Ok(created)
    }

    /// Looks at one token. None: Docker Hub doesn't know it.
    pub async fn get(&self, id: &str) -> Result<Option<Token>, Error> {
        self.find(id, Urgency::Normal).await
    }

    async fn find(&self, id: &str, urgency: Urgency) -> Result<Option<Token>, Error> {
        let call = Call { operation: Operation::Get, method: Method::GET, id: Some(id), query: &[], body: None };
        match self.call(&call, urgency).await {
            Ok(reply) => self.token(&call, &reply).map(Some),
            Err(error) if error.failure == Failure::TokenNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Changes a token, and returns it as it is then.
    pub async fn update(&self, id: &str, change: Change, urgency: Urgency) -> Result<Token, Error> {
        let body = Some(wire::update_body(&change));
        let call = Call { operation: Operation::Update, method: Method::PATCH, id: Some(id), query: &[], body };
        let reply = match self.call(&call, urgency).await {
            Err(error) if error.failure == Failure::TokenNotFound => {
                self.confirm_gone(id, call.operation, urgency).await?;
                return Err(error);
            }
            reply => reply?,
        };
        let token = self.token(&call, &reply)?;
        self.shared.board.edit(Edit::Put(token.clone()));
        Ok(token)
    }

    /// Deletes a token. One that Docker Hub doesn't know is deleted already.
    pub async fn delete(&self, id: &str, urgency: Urgency) -> Result<(), Error> {
        let call = Call { operation: Operation::Delete, method: Method::DELETE, id: Some(id), query: &[], body: None };
        match self.call(&call, urgency).await {
            // A page for people with 200 is a proxy's doing.
            Ok(reply) if self.shared.said(&reply, &[]).is_none() => return Err(self.garbled(&call, &reply, "not JSON")),
            Ok(_) => {}
            Err(error) if error.failure == Failure::TokenNotFound => {
                self.confirm_gone(id, call.operation, urgency).await?
            }
            Err(error) => return Err(error),
        }
        self.shared.board.edit(Edit::Remove(id.to_owned()));
        Ok(())
    }

    /// That a token is not there is believed where a look at it says so too: what is forgotten by mistake is left for
    /// ever.
    async fn confirm_gone(&self, id: &str, operation: Operation, urgency: Urgency) -> Result<(), Error> {
        match self.find(id, urgency).await? {
            None => Ok(()),
            Some(_) => {
                let error = self.shared.error(operation, Failure::Unexpected).status(404);
                Err(error.text("the token is said to be unknown, and is there"))
            }
        }
    }

    /// Asks the registry's token service whether it accepts a token's value, for scopes such as `repository:acme/api:pull`.
    pub async fn prove(&self, value: &SecretString, scopes: &[String], urgency: Urgency) -> Result<Proof, Error> {
        let pass = self.shared.gate.pass(urgency).await;
        let Some(_pass) = pass else {
            return Err(self.shared.error(Operation::Prove, Failure::Stopped));
        };
        registry::prove(&self.shared, value, scopes).await
    }

    /// How many wait for a list.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        lock(&self.shared.waiters).as_ref().map_or(0, Vec::len)
    }

    async fn call(&self, call: &Call<'_>, urgency: Urgency) -> Result<Reply, Error> {
        let pass = self.shared.gate.pass(urgency).await;
        let Some(_pass) = pass else {
            return Err(self.shared.error(call.operation, Failure::Stopped));
        };
        self.shared.call(call, urgency).await
    }

    /// The token and its value in the answer to a create.
    pub(super) fn created(&self, call: &Call<'_>, reply: &Reply) -> Result<Created, Error> {
        let garbled = |problem| self.garbled(call, reply, problem);
        let answer: TokenAnswer = wire::read(&reply.body).map_err(garbled)?;
        let value = wire::read::<ValueAnswer>(&reply.body).map_err(garbled)?.value;
        let token = answer.token().ok_or_else(|| self.garbled(call, reply, "an id that can't stand in a path"))?;
        if !wire::is_value(&value) {
            return Err(self.garbled(call, reply, "no value in the answer"));
        }
        Ok(Created { token, value })
    }

    /// The token in an answer that is about the one that was asked for.
    pub(super) fn token(&self, call: &Call<'_>, reply: &Reply) -> Result<Token, Error> {
        let answer: TokenAnswer = wire::read(&reply.body).map_err(|problem| self.garbled(call, reply, problem))?;
        let token = answer.token().filter(|token| Some(token.id.as_str()) == call.id);
        token.ok_or_else(|| self.garbled(call, reply, "an answer about another token"))
    }

    fn garbled(&self, call: &Call<'_>, reply: &Reply, problem: impl Into<String>) -> Error {
        let error = self.shared.error(call.operation, Failure::Garbled);
        error.status(reply.status.as_u16()).text(problem).sent()
    }
}
