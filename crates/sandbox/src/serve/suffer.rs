//! Faults carried out: each arm does what its variant of [`Fault`] says.
//!
//! Never decides which request suffers.

use std::time::Duration;

use axum::body::Body;
use http::{Response, StatusCode};
use tokio::sync::oneshot;

use super::{Call, Closed, status_only};
use crate::body;
use crate::fault::{Canned, Deed, Fault, Hold, Sent};

impl Call {
    pub(super) async fn suffer(mut self, fault: Fault, mut hold: Hold) -> Result<Response<Body>, Closed> {
        match fault {
            Fault::Refuse => Err(Closed),
            Fault::LoseAnswer => {
                drop(self.execute().await);
                Err(Closed)
            }
            Fault::Answer(canned) => Ok(response(canned)),
            Fault::AnswerAfter(canned) => {
                drop(self.execute().await);
                Ok(response(canned))
            }
            Fault::Delay(time) => {
                within(time, &mut hold).await;
                Ok(self.execute().await)
            }
            Fault::HangBefore => {
                hold.released().await;
                Ok(self.execute().await)
            }
            Fault::HangAfter => {
                let response = self.execute().await;
                hold.released().await;
                Ok(response)
            }
            Fault::Mute => Ok(body::muted(self.execute().await, hold)),
            Fault::CutAfter(time) => Ok(body::ended(self.execute().await, time, hold)),
            Fault::Truncate => Ok(body::truncated(self.execute().await).await),
            Fault::Drip => Ok(body::dripped(self.execute().await, hold)),
            Fault::Flood(size) => Ok(body::flooded(self.execute().await, size)),
            Fault::CommitLater => self.commit_later(None, hold).await,
            Fault::CommitAfter(time) => self.commit_later(Some(time), hold).await,
            Fault::Twice => {
                drop(self.execute().await);
                Ok(self.execute().await)
            }
            Fault::Redirect { status, location } => {
                Ok(response(Canned { status, headers: vec![("location".to_owned(), location)], body: Vec::new() }))
            }
            Fault::First(deed) => {
                let sent = self.perform(&deed);
                self.resend(sent);
                Ok(self.execute().await)
            }
            Fault::Instead(deed) => {
                drop(self.perform(&deed));
                Err(Closed)
            }
            Fault::Then(deed) => {
                let mut answer = body::canned(self.execute().await).await;
                deed.act(&mut answer);
                Ok(response(answer))
            }
        }
    }

    fn perform(&self, deed: &Deed<Sent>) -> Sent {
        let uri = &self.parts.uri;
        let query = uri.query().unwrap_or_default().to_owned();
        let mut sent = Sent { path: uri.path().to_owned(), query, body: self.body.to_vec() };
        deed.act(&mut sent);
        sent
    }

    /// Puts what a deed left of the request in the place of what came.
    fn resend(&mut self, sent: Sent) {
        let path = self.parts.uri.path();
        let target = if sent.query.is_empty() { path.to_owned() } else { format!("{path}?{}", sent.query) };
        // A query that can't stand in a line is a test's own mistake: the request stays as it came.
        if let Ok(uri) = target.parse() {
            self.parts.uri = uri;
        }
        self.parts.headers.remove(http::header::CONTENT_LENGTH);
        self.body = sent.body.into();
    }

    /// Executes in a task of the server's own, since the client may leave meanwhile and take its request's future with it.
    async fn commit_later(self, time: Option<Duration>, mut hold: Hold) -> Result<Response<Body>, Closed> {
        let (done, answered) = oneshot::channel();
        let parked = self.shared.parked.clone();
        parked.spawn(async move {
            match time {
                Some(time) => within(time, &mut hold).await,
                None => hold.released().await,
            }
            let response = self.execute().await;
            // No one listens if the client has gone.
            let _gone = done.send(response);
        });
        answered.await.map_err(|_| Closed)
    }
}

/// Until released, at most so long.
async fn within(time: Duration, hold: &mut Hold) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = hold.released() => {}
    }
}

fn response(canned: Canned) -> Response<Body> {
    let mut response = Response::builder().status(canned.status);
    for (name, value) in &canned.headers {
        // The body may have another length by now.
        if !name.eq_ignore_ascii_case("content-length") {
            response = response.header(name, value);
        }
    }
    // A test's own mistake (a header with a line break, a status of 1000) shows as a 500 that no server here sends.
    response.body(Body::from(canned.body)).unwrap_or_else(|_| status_only(StatusCode::INTERNAL_SERVER_ERROR))
}
