//! Faults by chance: which requests of the operators suffer what, how often, and for how long.
//!
//! Left out: what no system could be told from honest behaviour for hours (a create that is carried out long after the
//! time that a former leader's may take is a twin's token, and so is the first of a create that a proxy sends twice), and
//! answers so large that they cost the run more than they tell.

use std::time::Duration;

use oat_sandbox::{
    fault::{Fault, Rule, hub, kubernetes},
    journal::Server,
    serve::RequestInfo,
};

use super::{
    super::{HOUR, MINUTE, SECOND},
    chance::Chance,
};

/// A fault and the requests that it is done to.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub on: On,
    pub fault: Fault,
    /// How often; none: until it is over.
    pub times: Option<u32>,
}

/// Requests of operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    AllHub,
    Login,
    List,
    Get,
    Create,
    Update,
    Delete,
    Proof,
    AllKubernetes,
    Watches,
    TokenStatus,
    Finalizer,
    MakeSecret,
    ChangeSecret,
    DeleteSecret,
    Credentials,
    OrganizationStatus,
    Lease,
}

impl On {
    fn matches(self, request: &RequestInfo) -> bool {
        let (method, path) = (request.method.as_str(), request.path.as_str());
        let (hub, kubernetes) = (request.server == Server::Hub, request.server == Server::Kubernetes);
        let watch = request.query.contains("watch=");
        let tokens = hub && path.contains("/access-tokens");
        let one = tokens && !path.ends_with("/access-tokens");
        let secrets = kubernetes && path.contains("/secrets");
        let objects = kubernetes && path.contains("/organizationaccesstokens/");
        match self {
            Self::AllHub => request.server != Server::Kubernetes,
            Self::Login => hub && !tokens,
            Self::List => tokens && !one && method == "GET",
            Self::Get => one && method == "GET",
            Self::Create => tokens && method == "POST",
            Self::Update => one && method == "PATCH",
            Self::Delete => one && method == "DELETE",
            Self::Proof => request.server == Server::Registry,
            Self::AllKubernetes => kubernetes && !watch && !path.contains("/leases"),
            Self::Watches => kubernetes && watch,
            Self::TokenStatus => objects && path.ends_with("/status"),
            Self::Finalizer => objects && !path.ends_with("/status") && method == "PATCH",
            Self::MakeSecret => secrets && method == "POST",
            Self::ChangeSecret => secrets && (method == "PATCH" || method == "PUT"),
            Self::DeleteSecret => secrets && method == "DELETE",
            Self::Credentials => secrets && method == "GET" && path.ends_with("/acme-owner"),
            Self::OrganizationStatus => kubernetes && path.contains("/organizations/") && method == "PATCH",
            Self::Lease => kubernetes && path.contains("/leases"),
        }
    }
}

impl Trouble {
    pub fn rule(&self) -> Rule {
        let on = self.on;
        let rule = Rule::new(self.fault.clone());
        let rule = rule.when(move |request| request.user_agent.starts_with("oat-operator") && on.matches(request));
        match self.times {
            Some(times) => rule.times(times),
            None => rule,
        }
    }
}

/// Some trouble, and how long it may last.
pub fn any(chance: &mut Chance, retry_after: Option<&'static str>) -> (Trouble, Duration) {
    let times = match chance.below(10) {
        0..=3 => Some(1),
        4..=5 => Some(2 + u32::try_from(chance.below(4)).unwrap()),
        _ => None,
    };
    let (on, fault) = match chance.percent(60) {
        true => docker(chance, retry_after),
        false => cluster(chance),
    };
    // Until it is over, who waits for an answer or a commit waits.
    let late = matches!(fault, Fault::CommitLater | Fault::CommitAfter(_) | Fault::HangAfter | Fault::Delay(_));
    let longest = if late { 3 * MINUTE } else { 2 * HOUR };
    (Trouble { on, fault, times }, longest)
}

fn docker(chance: &mut Chance, retry_after: Option<&'static str>) -> (On, Fault) {
    let on = chance.pick(&[
        On::AllHub,
        On::Login,
        On::List,
        On::Get,
        On::Create,
        On::Create,
        On::Update,
        On::Delete,
        On::Proof,
    ]);
    let any = [
        Fault::Refuse,
        Fault::LoseAnswer,
        Fault::Truncate,
        Fault::Drip,
        Fault::HangBefore,
        Fault::HangAfter,
        Fault::Delay(20 * SECOND),
        hub::unavailable(500),
        hub::unavailable(503),
        hub::unavailable_after(502),
        hub::too_many(retry_after),
        hub::too_many(retry_after),
        hub::login_expired(),
        hub::forbidden(),
        hub::challenge(),
        hub::page(),
        hub::cut_json(),
        hub::wrong_shape(),
        hub::without("id"),
        Fault::Redirect { status: 307, location: "http://localhost:9/stolen".into() },
    ];
    let more = match on {
        On::Create => vec![
            Fault::CommitLater,
            Fault::CommitAfter(100 * SECOND),
            hub::without("token"),
            hub::limit_reached(400),
            hub::limit_reached(403),
        ],
        On::Update | On::Delete => {
            vec![Fault::CommitLater, Fault::CommitAfter(100 * SECOND), Fault::Twice, hub::token_not_found()]
        }
        On::Get => vec![hub::token_not_found()],
        _ => Vec::new(),
    };
    let fault = if !more.is_empty() && chance.percent(50) { chance.pick(&more) } else { chance.pick(&any) };
    (on, fault)
}

fn cluster(chance: &mut Chance) -> (On, Fault) {
    let on = chance.pick(&[
        On::AllKubernetes,
        On::Watches,
        On::Watches,
        On::TokenStatus,
        On::TokenStatus,
        On::Finalizer,
        On::MakeSecret,
        On::MakeSecret,
        On::ChangeSecret,
        On::ChangeSecret,
        On::DeleteSecret,
        On::Credentials,
        On::OrganizationStatus,
        On::Lease,
    ]);
    if on == On::Watches {
        let faults = [
            Fault::Mute,
            Fault::Refuse,
            Fault::CutAfter(10 * SECOND),
            kubernetes::expired(),
            kubernetes::error_event(410),
            kubernetes::error_event(500),
            kubernetes::too_many(5),
        ];
        return (on, chance.pick(&faults));
    }
    let (resource, name) = ("secrets", "token-0");
    let mut faults = vec![
        Fault::Refuse,
        Fault::LoseAnswer,
        Fault::Truncate,
        Fault::HangBefore,
        Fault::HangAfter,
        Fault::Delay(3 * SECOND),
        kubernetes::forbidden(resource, name),
        kubernetes::too_many(5),
        kubernetes::internal(),
        kubernetes::unavailable(),
        kubernetes::timeout_after(),
        Fault::CommitLater,
        Fault::CommitAfter(MINUTE),
    ];
    if !matches!(on, On::AllKubernetes | On::Lease | On::Credentials) {
        faults.extend([
            kubernetes::conflict(resource, name),
            kubernetes::not_found(resource, name),
            kubernetes::quota(resource, name),
            kubernetes::denied(),
            kubernetes::too_large(),
        ]);
    }
    (on, chance.pick(&faults))
}
