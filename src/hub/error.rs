//! What can go wrong with a call, and what that means: a word for it, what to do, and whether it may have been executed.
//!
//! Invariant: nothing here holds or prints a secret. Of what a server wrote, only allow-listed fields are kept, cut to
//! 256 characters, without control characters, and withheld as a whole where they repeat a piece of a secret.

use std::fmt;

use base64::Engine;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::text;

/// What was asked for when it went wrong. The name is the `operation` of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// To get ready: endpoints, certificates.
    Start,
    /// To log in, with the second factor where there is one.
    Login,
    /// To list the organization's tokens.
    List,
    /// To look at one token.
    Get,
    /// To make a token.
    Create,
    /// To change a token.
    Update,
    /// To delete a token.
    Delete,
    /// To prove a token's value at the registry's token service.
    Prove,
}

impl Operation {
    /// The word that metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Login => "login",
            Self::List => "list",
            Self::Get => "get",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Prove => "prove",
        }
    }

    /// Whether the call leaves everything at Docker Hub as it was.
    pub fn reads(self) -> bool {
        !matches!(self, Self::Create | Self::Update | Self::Delete)
    }

    fn words(self) -> &'static str {
        match self {
            Self::Start => "can't prepare calls to Docker Hub",
            Self::Login => "can't log in to Docker Hub",
            Self::List => "can't list the access tokens",
            Self::Get => "can't look at the access token",
            Self::Create => "can't create the access token",
            Self::Update => "can't change the access token",
            Self::Delete => "can't delete the access token",
            Self::Prove => "can't prove the access token at the registry's token service",
        }
    }
}

/// What is to be done after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Try again, with a growing distance.
    Retry,
    /// Nothing is sent before this time.
    RetryAt(Timestamp),
    /// Waiting does not help: somebody has to change something.
    Stalled,
}

/// Whether a call that failed may have been executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Certainly not.
    None,
    /// Nobody knows: look before doing it again.
    Unknown,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No credentials were given yet.
    CredentialsMissing,
    /// The user name or the password is wrong, or is not accepted for this account.
    CredentialsRefused,
    /// The login is an organization's, or an access token's: only an owner's password may manage tokens.
    WrongCredentials,
    /// The account has two-factor authentication and the credentials have no `totpSecret`.
    TwoFactorRequired,
    /// The code made from `totpSecret` was refused.
    TwoFactorRefused,
    /// The code of these 30 seconds was used already.
    TwoFactorWait,
    /// So many logins were refused that another one might lock the owner out.
    TooManyLogins,
    /// Docker Hub refused a login that it gave out itself.
    LoginExpired,
    /// Docker Hub doesn't let this user do that.
    Forbidden,
    /// The organization doesn't exist, or this user doesn't see it.
    OrganizationNotFound,
    /// The access token doesn't exist.
    TokenNotFound,
    /// The organization has no place for another token.
    QuotaExceeded,
    /// Docker Hub refused what was asked for.
    Invalid,
    /// Docker Hub asked for fewer calls.
    RateLimited,
    /// What is left of the calls of this minute is kept for urgent ones.
    Reserved,
    /// A server error.
    Unavailable,
    /// No connection came about: name, network, TLS.
    Connect,
    /// No answer within the time for a call.
    Timeout,
    /// The connection broke before the answer was complete.
    Broken,
    /// A page for people where an answer for programs was due, such as a bot challenge or a proxy's error.
    Page,
    /// A redirect: never followed, for it would carry credentials elsewhere.
    Redirected,
    /// An answer over 1 MiB.
    TooLarge,
    /// An answer that says success and isn't what was asked for.
    Garbled,
    /// An answer that isn't known.
    Unexpected,
    /// The organization's client was stopped.
    Stopped,
    /// This process may not change anything any more, or not for long enough.
    NotPermitted,
    /// An endpoint, certificate or argument that can't be used.
    Unusable,
}

/// A call that failed: what, where, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What was asked for.
    pub operation: Operation,
    /// The organization.
    pub organization: String,
    /// What went wrong.
    pub failure: Failure,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// What the server said, or where an answer is wrong: at most 256 bytes, without secrets.
    pub text: String,
    /// Nothing is sent before this time.
    pub retry: Option<Timestamp>,
    effect: Effect,
}

impl Error {
    pub(super) fn new(operation: Operation, organization: &str, failure: Failure) -> Self {
        let (organization, failure) = (organization.to_owned(), failure);
        Self { operation, organization, failure, status: None, text: String::new(), retry: None, effect: Effect::None }
    }

    pub(super) fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    pub(super) fn retry(mut self, time: Timestamp) -> Self {
        self.retry = Some(time);
        self
    }

    pub(super) fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// The same without a text that repeats a piece of `secret`.
    pub(super) fn without(mut self, secret: &SecretString) -> Self {
        self.text = withhold(self.text, std::slice::from_ref(secret));
        self
    }

    /// The request may have been executed; a call that only reads leaves nothing to wonder about.
    pub(super) fn sent(mut self) -> Self {
        self.effect = if self.operation.reads() { Effect::None } else { Effect::Unknown };
        self
    }

    /// One word of a closed list, for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self.failure {
            Failure::CredentialsMissing
            | Failure::CredentialsRefused
            | Failure::WrongCredentials
            | Failure::TwoFactorRefused
            | Failure::TooManyLogins => "CredentialsInvalid",
            Failure::TwoFactorRequired => "TwoFactorRequired",
            Failure::Forbidden => "Forbidden",
            Failure::OrganizationNotFound => "OrganizationNotFound",
            Failure::TokenNotFound => "TokenNotFound",
            Failure::QuotaExceeded => "QuotaExceeded",
            Failure::Invalid | Failure::Unusable => "InvalidSpec",
            Failure::RateLimited | Failure::Reserved => "RateLimited",
            Failure::TwoFactorWait
            | Failure::LoginExpired
            | Failure::Unavailable
            | Failure::Connect
            | Failure::Timeout
            | Failure::Broken
            | Failure::Page => "HubUnavailable",
            Failure::Redirected | Failure::TooLarge | Failure::Garbled | Failure::Unexpected => "UnexpectedAnswer",
            Failure::Stopped | Failure::NotPermitted => "Stopped",
        }
    }

    /// All that [`Error::reason`] may say.
    pub const REASONS: [&'static str; 11] = [
        "CredentialsInvalid",
        "TwoFactorRequired",
        "Forbidden",
        "OrganizationNotFound",
        "TokenNotFound",
        "QuotaExceeded",
        "InvalidSpec",
        "RateLimited",
        "HubUnavailable",
        "UnexpectedAnswer",
        "Stopped",
    ];

    /// What is to be done.
    pub fn disposition(&self) -> Disposition {
        match (self.retry, &self.failure) {
            (Some(time), _) => Disposition::RetryAt(time),
            (
                None,
                Failure::CredentialsMissing
                | Failure::CredentialsRefused
                | Failure::WrongCredentials
                | Failure::TwoFactorRequired
                | Failure::TwoFactorRefused
                | Failure::TooManyLogins
                | Failure::Forbidden
                | Failure::OrganizationNotFound
                | Failure::QuotaExceeded
                | Failure::Invalid
                | Failure::Unusable
                | Failure::Stopped
                | Failure::NotPermitted,
            ) => Disposition::Stalled,
            (
                None,
                Failure::TwoFactorWait
                | Failure::LoginExpired
                | Failure::TokenNotFound
                | Failure::RateLimited
                | Failure::Reserved
                | Failure::Unavailable
                | Failure::Connect
                | Failure::Timeout
                | Failure::Broken
                | Failure::Page
                | Failure::Redirected
                | Failure::TooLarge
                | Failure::Garbled
                | Failure::Unexpected,
            ) => Disposition::Retry,
        }
    }

    /// Whether the call may have been executed in spite of the error.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    fn what(&self) -> (&'static str, &'static str) {
        match self.failure {
            Failure::CredentialsMissing => ("there are no credentials", "create the Secret that secretRef names"),
            Failure::CredentialsRefused => (
                "the user name or password was refused",
                "put an owner's user name and password into the Secret; where single sign-on is enforced, an owner outside of it is needed",
            ),
            Failure::WrongCredentials => (
                "an access token or an organization can't manage access tokens",
                "put an owner's user name and password into the Secret, not a personal or organization access token",
            ),
            Failure::TwoFactorRequired => (
                "the account has two-factor authentication",
                "add the key totpSecret, the base32 secret of the second factor, to the Secret",
            ),
            Failure::TwoFactorRefused => {
                ("the code of the second factor was refused", "check totpSecret in the Secret and the machine's clock")
            }
            Failure::TwoFactorWait => {
                ("the second factor's code was used already", "nothing to do: the next code is tried")
            }
            Failure::TooManyLogins => (
                "several logins were refused within ten minutes",
                "correct the Secret; the next login waits, so that Docker does not lock the owner out",
            ),
            Failure::LoginExpired => ("the login was not accepted any more", "nothing to do: a new login is made"),
            Failure::Forbidden => (
                "Docker Hub does not permit it",
                "the user must be an owner of the organization, on a Team or Business plan",
            ),
            Failure::OrganizationNotFound => (
                "Docker Hub doesn't know the organization",
                "check spec.organization, and that the user is one of its owners",
            ),
            Failure::TokenNotFound => ("Docker Hub doesn't know the token", "nothing to do: the list is read again"),
            Failure::QuotaExceeded => (
                "the organization has no place for another token",
                "delete tokens that are expired or not needed (they count until deleted), or raise the plan",
            ),
            Failure::Invalid => {
                ("Docker Hub refused the request", "correct the object's spec; repositories must exist")
            }
            Failure::RateLimited => ("Docker Hub asked for fewer calls", "nothing to do: calls go on after the wait"),
            Failure::Reserved => {
                ("the calls that are left are kept for revocations", "nothing to do: calls go on with the next minute")
            }
            Failure::Unavailable => {
                ("the server failed", "nothing to do: it is tried again; see https://www.dockerstatus.com")
            }
            Failure::Connect => ("no connection", "check DNS, network policies, proxies and the CA bundle"),
            Failure::Timeout => ("no answer in time", "nothing to do: it is tried again"),
            Failure::Broken => ("the connection broke", "nothing to do: it is tried again"),
            Failure::Page => (
                "the answer is a page for people, as from a proxy or a bot challenge",
                "if it stays, check what stands between the operator and Docker Hub",
            ),
            Failure::Redirected => {
                ("the answer is a redirect, which is never followed", "set the endpoint to where the API really is")
            }
            Failure::TooLarge => ("the answer is over 1 MiB", "check that the endpoint is Docker Hub's API"),
            Failure::Garbled => {
                ("the answer can't be understood", "if it stays, check that the endpoint is Docker Hub's API")
            }
            Failure::Unexpected => ("the answer is not one that is known", "if it stays, report it with this message"),
            Failure::Stopped => ("the organization's client was stopped", "nothing to do"),
            Failure::NotPermitted => ("this replica does not lead any more", "nothing to do"),
            Failure::Unusable => {
                ("it can't be sent like this", "correct the organization's endpoints or the value named")
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, todo) = self.what();
        write!(f, "{} of organization {}: {what}", self.operation.words(), self.organization)?;
        if let Some(status) = self.status {
            write!(f, " (HTTP {status})")?;
        }
        if !self.text.is_empty() {
            write!(f, ": \"{}\"", self.text)?;
        }
        write!(f, "; {todo}")
    }
}

impl std::error::Error for Error {}

/// The most bytes that are kept of what a server wrote.
const MAX_TEXT: usize = 256;

/// One line of words: safe for terminals, events and logs.
pub(super) fn clean(text: &str) -> String {
    text::clean(text, MAX_TEXT)
}

/// Text of a server, or nothing of it where it repeats a piece of a secret, plain or encoded.
pub(super) fn withhold(text: String, secrets: &[SecretString]) -> String {
    let marked = ["dckr_oat_", "dckr_pat_", "eyJ"].iter().any(|mark| text.contains(mark));
    if marked || secrets.iter().any(|secret| repeats(&text, secret.expose_secret())) {
        return "(withheld: it repeats a secret)".into();
    }
    text
}

fn repeats(text: &str, secret: &str) -> bool {
    let bare = secret.trim_start_matches("dckr_oat_").trim_start_matches("dckr_pat_");
    if bare.is_empty() {
        return false;
    }
    let hex = data_encoding::HEXLOWER.encode(bare.as_bytes());
    let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(secret);
    let lower = text.to_lowercase();
    shares(text, bare) || shares(&lower, &hex) || shares(text, &base64)
}

/// Whether eight consecutive characters (or all, where there are fewer) of `secret` are in `text`.
fn shares(text: &str, secret: &str) -> bool {
    let window = secret.chars().count().min(8);
    let starts: Vec<usize> = secret.char_indices().map(|(at, _)| at).chain([secret.len()]).collect();
    starts.iter().zip(starts.iter().skip(window)).any(|(&from, &to)| text.contains(&secret[from..to]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_servers_is_cleaned_and_cut() {
        assert_eq!(clean("a\u{1b}[31mb\r\n\u{9b}c\u{202e}d\u{0}"), "a [31mb c d");
        assert_eq!(clean(&"x".repeat(5_000_000)).len(), 256);
        assert_eq!(clean(&format!("{} y", "x".repeat(255))).len(), 255, "no space is left where it is cut");
    }

    #[test]
    fn text_that_repeats_a_secret_is_withheld() {
        let secrets = [SecretString::from("dckr_oat_7awgM4jG5SQvxcvm"), SecretString::from("pwd")];
        let withheld = |text: &str| withhold(text.into(), &secrets) != text;
        assert!(withheld("bad value 7awgM4jG5"));
        assert!(withheld("the word pwd is bad"));
        assert!(withheld("dckr_oat_anything"));
        assert!(withheld(&data_encoding::HEXUPPER.encode(b"7awgM4jG5SQv")));
        assert!(withheld(&base64::engine::general_purpose::STANDARD.encode("dckr_oat_7awgM4jG5SQvxcvm")));
        assert!(!withheld("invalid label 7awgM4j"));
    }
}
