//! What can be done to a request: one closed list, which [`crate::serve`] carries out.
//!
//! Most faults of the field are one of these with a ready-made answer or a [`Deed`]. Never decides when.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What is done to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed; the request is not executed.
    Refuse,
    /// The request is executed, then the connection is closed without an answer.
    LoseAnswer,
    /// The request is not executed; this is the answer.
    Answer(Canned),
    /// The request is executed, then this is the answer.
    AnswerAfter(Canned),
    /// The request is executed after this time (or when released), then answered.
    Delay(Duration),
    /// Held until released, then executed and answered. Not executed if the client goes before that.
    HangBefore,
    /// Executed; the answer comes only when released.
    HangAfter,
    /// Executed; the head of the answer is sent at once, its body only when released: a watch that says nothing.
    Mute,
    /// Executed; the body of the answer ends after this time (or when released) as if it was complete: a watch that is closed.
    CutAfter(Duration),
    /// Executed; half of the body is sent under the full `content-length`, then the connection is closed.
    Truncate,
    /// Executed; the body is sent at one byte a second until released, then the rest at once.
    Drip,
    /// Executed; so many spaces are sent behind the body, which is as good JSON as it was.
    Flood(usize),
    /// Parked: executed only when released, then answered, and executed even though the client has gone.
    CommitLater,
    /// The same, released by itself after this time.
    CommitAfter(Duration),
    /// Executed twice; the second answer is sent.
    Twice,
    /// Not executed; the answer is a redirect.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// The `Location` header.
        location: String,
    },
    /// This is done; then the request is executed, as the deed left it, and answered.
    First(Deed<Sent>),
    /// This is done, and the connection is closed; the request is not executed.
    Instead(Deed<Sent>),
    /// Executed; the answer is sent as the deed leaves it. Not for answers that don't end.
    Then(Deed<Canned>),
}

/// What a deed may change of a request before it is executed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The path; it can't be changed.
    pub path: String,
    /// The query without its `?`; empty if there is none.
    pub query: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Something that is done at the moment of the fault: to the world, or to the request or answer that it is given.
pub struct Deed<T>(Arc<dyn Fn(&mut T) + Send + Sync>);

impl<T> Deed<T> {
    /// Does what `deed` does.
    pub fn new(deed: impl Fn(&mut T) + Send + Sync + 'static) -> Self {
        Self(Arc::new(deed))
    }

    pub(crate) fn act(&self, on: &mut T) {
        (self.0)(on);
    }
}

impl<T> Clone for Deed<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> PartialEq for Deed<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Eq for Deed<T> {}

impl<T> fmt::Debug for Deed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deed")
    }
}

/// A ready-made answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canned {
    /// The status code.
    pub status: u16,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Canned {
    /// An answer with a JSON body.
    #[must_use]
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_string().into_bytes(),
        }
    }

    /// An answer with an HTML page, as a proxy's challenge.
    #[must_use]
    pub fn html(status: u16, page: &str) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), "text/html; charset=UTF-8".to_owned())],
            body: page.as_bytes().to_vec(),
        }
    }

    /// The same answer with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Changes the body as JSON; one that is none stays as it is.
    pub fn edit(&mut self, change: impl FnOnce(&mut serde_json::Value)) {
        if let Ok(mut body) = serde_json::from_slice(&self.body) {
            change(&mut body);
            self.body = body.to_string().into_bytes();
        }
    }
}

impl Fault {
    /// Its name, as the journal shows it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Refuse => "Refuse",
            Self::LoseAnswer => "LoseAnswer",
            Self::Answer(_) => "Answer",
            Self::AnswerAfter(_) => "AnswerAfter",
            Self::Delay(_) => "Delay",
            Self::HangBefore => "HangBefore",
            Self::HangAfter => "HangAfter",
            Self::Mute => "Mute",
            Self::CutAfter(_) => "CutAfter",
            Self::Truncate => "Truncate",
            Self::Drip => "Drip",
            Self::Flood(_) => "Flood",
            Self::CommitLater => "CommitLater",
            Self::CommitAfter(_) => "CommitAfter",
            Self::Twice => "Twice",
            Self::Redirect { .. } => "Redirect",
            Self::First(_) => "First",
            Self::Instead(_) => "Instead",
            Self::Then(_) => "Then",
        }
    }

    /// This is done at the moment that the request arrives.
    pub fn first(deed: impl Fn(&mut Sent) + Send + Sync + 'static) -> Self {
        Self::First(Deed::new(deed))
    }

    /// This is done instead of executing the request.
    pub fn instead(deed: impl Fn(&mut Sent) + Send + Sync + 'static) -> Self {
        Self::Instead(Deed::new(deed))
    }

    /// This is done to the answer.
    pub fn then(deed: impl Fn(&mut Canned) + Send + Sync + 'static) -> Self {
        Self::Then(Deed::new(deed))
    }
}
