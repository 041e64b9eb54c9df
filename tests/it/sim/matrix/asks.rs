//! The kinds of requests, and for each the two situations in which one is sent.

use std::time::Duration;

use oat_operator::api::FINALIZER;
use oat_sandbox::{journal::Server, serve::RequestInfo};

use super::super::{
    MINUTE,
    crash::Scenario::{self, *},
};

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Login,
    List,
    Get,
    Create,
    Change,
    Delete,
    Proof,
    OwnKinds,
    OwnSecrets,
    OtherSecrets,
    Credentials,
    AddFinalizer,
    MakeSecret,
    ChangeSecret,
    RemoveSecret,
    Status,
    Release,
    Event,
    Lease,
    ServiceAccount,
    Workload,
}

/// Docker Hub's and its token service's.
pub const HUB: [Ask; 7] = [Ask::Login, Ask::List, Ask::Get, Ask::Create, Ask::Change, Ask::Delete, Ask::Proof];
/// The API server's.
pub const KUBERNETES: [Ask; 14] = [
    Ask::OwnKinds,
    Ask::OwnSecrets,
    Ask::OtherSecrets,
    Ask::Credentials,
    Ask::AddFinalizer,
    Ask::MakeSecret,
    Ask::ChangeSecret,
    Ask::RemoveSecret,
    Ask::Status,
    Ask::Release,
    Ask::Event,
    Ask::Lease,
    Ask::ServiceAccount,
    Ask::Workload,
];

/// Where an object is when the fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// At rest, until something happens that needs the request.
    Idle,
    /// In the middle of a rotation: one begins at the same time, or a replaced token still lives on.
    Rotating,
}

/// Which requests of those that fill a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Any,
    List,
    Watch,
}

/// What happens in a run.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub scenario: Scenario,
    /// A rotation is asked for, and then it happens.
    pub rotate: bool,
    /// It happens while no operator runs.
    pub restart: bool,
    /// So long nothing happens before.
    pub rest: Duration,
    /// For the page.
    pub words: &'static str,
}

const fn case(scenario: Scenario, words: &'static str) -> Case {
    Case { scenario, rotate: false, restart: false, rest: Duration::ZERO, words }
}

const fn rotating(scenario: Scenario, words: &'static str) -> Case {
    Case { rotate: true, ..case(scenario, words) }
}

const fn restarted(case: Case) -> Case {
    Case { restart: true, ..case }
}

impl Ask {
    pub fn words(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::List => "list page",
            Self::Get => "get",
            Self::Create => "create",
            Self::Change => "patch",
            Self::Delete => "delete",
            Self::Proof => "proof",
            Self::OwnKinds => "own kinds",
            Self::OwnSecrets => "own Secrets",
            Self::OtherSecrets => "other Secrets",
            Self::Credentials => "credentials",
            Self::AddFinalizer => "finalizer",
            Self::MakeSecret => "new Secret",
            Self::ChangeSecret => "Secret",
            Self::RemoveSecret => "Secret's end",
            Self::Status => "status",
            Self::Release => "release",
            Self::Event => "event",
            Self::Lease => "Lease",
            Self::ServiceAccount => "account",
            Self::Workload => "restart",
        }
    }

    /// What it is, where its name alone does not say so.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Login => "the login of an owner",
            Self::List => "a page of the list of tokens",
            Self::Get => "a look at one token",
            Self::Create => "a new token",
            Self::Change => "a change of a token: label, description, scopes, active or not",
            Self::Delete => "a token's end",
            Self::Proof => "the proof of a new value at the registry's token service",
            Self::OwnKinds => "list and watch of token objects; in lasting faults of organizations too",
            Self::OwnSecrets => "list and watch of the Secrets that the operator made",
            Self::OtherSecrets => "list and watch of the names of all other Secrets",
            Self::Credentials => "a look at the Secret with an owner's credentials",
            Self::AddFinalizer => "the finalizer is set",
            Self::MakeSecret => "a Secret is made",
            Self::ChangeSecret => "a Secret is changed",
            Self::RemoveSecret => "a Secret is deleted",
            Self::Status => "a token object's status",
            Self::Release => "the finalizer goes",
            Self::Event => "an event",
            Self::Lease => "all about the Lease",
            Self::ServiceAccount => "a pull secret is named in a service account",
            Self::Workload => "a workload is restarted after a rotation",
        }
    }

    pub fn is_hub(self) -> bool {
        HUB.contains(&self)
    }

    /// Whether it fills a store: a list, then a watch.
    pub fn is_store(self) -> bool {
        matches!(self, Self::OwnKinds | Self::OwnSecrets | Self::OtherSecrets)
    }

    /// Whether it leaves all as it was.
    pub fn reads(self) -> bool {
        self.is_store() || matches!(self, Self::Login | Self::List | Self::Get | Self::Proof | Self::Credentials)
    }

    /// What happens in this situation. None where the operator sends no such request.
    pub fn case(self, situation: Situation) -> Option<Case> {
        let (idle, rotation) = match self {
            Self::Login => (
                case(CredentialChanged, "the owner's password changes"),
                Case { rest: 11 * MINUTE, ..case(Rotate, "a rotation after the login has run out") },
            ),
            Self::List => (
                case(DeactivatedByHand, "somebody deactivates the token, and the next poll shows it"),
                restarted(rotating(Restart, "a restart while a rotation is asked for")),
            ),
            Self::Get => (
                case(DescribedByHand, "somebody changes the description, and the comparison of the day shows it"),
                restarted(rotating(DeletedByHand, "a restart; a rotation is asked for and somebody deletes the token")),
            ),
            Self::Create => (case(SecretDeleted, "somebody deletes the Secret"), case(Rotate, "a rotation")),
            Self::Change => (
                case(Edit, "the spec is edited"),
                case(EmergencyInOverlap, "a revocation while a replaced token lives on"),
            ),
            Self::Delete => (case(Delete, "the object is deleted"), case(RevokeOld, "the end of an overlap")),
            Self::Proof => (case(Create, "a new object"), case(Rotate, "a rotation")),
            Self::OwnKinds => (case(Edit, "the spec is edited"), case(Rotate, "a rotation")),
            Self::OwnSecrets => (
                case(SecretDeleted, "somebody deletes the Secret"),
                rotating(SecretTampered, "a rotation, and somebody changes the Secret"),
            ),
            Self::OtherSecrets | Self::Credentials => (
                case(CredentialChanged, "the owner's password changes"),
                rotating(CredentialChanged, "a rotation, and the owner's password changes"),
            ),
            Self::AddFinalizer => (
                case(Create, "a new object"),
                rotating(FinalizerRemoved, "a rotation, and somebody takes the finalizer away"),
            ),
            Self::MakeSecret => (
                case(SecretRenamed, "the spec names another Secret"),
                rotating(SecretDeleted, "a rotation, and somebody deletes the Secret"),
            ),
            Self::ChangeSecret => {
                (case(TemplateChanged, "the Secret's template is edited"), case(Rotate, "a rotation"))
            }
            Self::RemoveSecret | Self::Release => (
                case(Delete, "the object is deleted"),
                case(DeleteInOverlap, "the object is deleted while a replaced token lives on"),
            ),
            Self::Status => (case(Edit, "the spec is edited"), case(Rotate, "a rotation")),
            Self::Event | Self::Lease => (case(Create, "a new object"), case(Rotate, "a rotation")),
            Self::ServiceAccount | Self::Workload => return None,
        };
        Some(match situation {
            Situation::Idle => idle,
            Situation::Rotating => rotation,
        })
    }

    /// Whether a request is of this kind. A fault that lasts is about all that fills such a store, one that comes once
    /// about the token objects.
    pub fn is(self, phase: Phase, lasting: bool, request: &RequestInfo) -> bool {
        if !request.user_agent.starts_with("oat-operator") {
            return false;
        }
        match request.server {
            Server::Hub => self.is_hubs(&request.method, &request.path),
            Server::Registry => self == Self::Proof,
            Server::Kubernetes if self.is_store() => {
                let watch = request.query.contains("watch=");
                let right = match phase {
                    Phase::Any => true,
                    Phase::List => !watch,
                    Phase::Watch => watch,
                };
                right && request.method == "GET" && self.is_stores(lasting, &request.path, &request.query)
            }
            Server::Kubernetes => self.is_kubernetes(request),
        }
    }

    fn is_hubs(self, method: &str, path: &str) -> bool {
        let tokens = path.contains("/access-tokens");
        let one = tokens && !path.ends_with("/access-tokens");
        match self {
            Self::Login => !tokens,
            Self::List => tokens && !one && method == "GET",
            Self::Create => tokens && method == "POST",
            Self::Get => one && method == "GET",
            Self::Change => one && method == "PATCH",
            Self::Delete => one && method == "DELETE",
            _ => false,
        }
    }

    fn is_stores(self, lasting: bool, path: &str, query: &str) -> bool {
        let others = query.contains("%21%3D") || query.contains("!%3D") || query.contains("!=");
        match self {
            Self::OwnKinds if lasting => path.starts_with("/apis/oat-operator.dev/"),
            Self::OwnKinds => path.ends_with("/organizationaccesstokens"),
            Self::OwnSecrets => path.ends_with("/secrets") && !others,
            Self::OtherSecrets => path.ends_with("/secrets") && others,
            _ => false,
        }
    }

    fn is_kubernetes(self, request: &RequestInfo) -> bool {
        let (method, path) = (request.method.as_str(), request.path.as_str());
        let secret = path.contains("/secrets");
        let object = path.contains("/organizationaccesstokens/");
        let finalizer = object && !path.ends_with("/status") && method == "PATCH";
        let sets = || String::from_utf8_lossy(&request.body).contains(FINALIZER);
        match self {
            Self::Credentials => secret && method == "GET" && path.ends_with("/acme-owner"),
            Self::AddFinalizer => finalizer && sets(),
            Self::Release => finalizer && !sets(),
            Self::MakeSecret => secret && method == "POST",
            Self::ChangeSecret => secret && method == "PATCH",
            Self::RemoveSecret => secret && method == "DELETE",
            Self::Status => object && path.ends_with("/status"),
            Self::Event => path.contains("/events"),
            Self::Lease => path.contains("/leases"),
            _ => false,
        }
    }
}
