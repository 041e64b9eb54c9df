//! The faults: twenty-two of Docker Hub's, eighteen of an API server's, some in several forms.

use std::sync::{Arc, Mutex, OnceLock};

use oat_sandbox::{
    fault::{Fault, hub, kubernetes},
    tls::{Authority, Certificate},
};
use rustls::ServerConfig;
use serde_json::{Value, json};

use super::{
    super::{SECOND, Sim, base, user::TOKENS},
    asks::{Ask, Phase},
};
use crate::support::world::NAMESPACE;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Unreachable,
    TimeoutBefore,
    OneByteASecond,
    ResetAfter,
    ErrorBefore,
    ErrorAfter,
    Slow,
    SlowOdd,
    LoginOver,
    Forbidden,
    Challenge,
    CutJson,
    OtherShape,
    Page,
    Large,
    Bomb,
    Redirect,
    Twice,
    NotFound,
    CommitLate,
    Full,
    Certificate,
    Conflict,
    Gone,
    Expired,
    NoRight,
    Quota,
    Terminating,
    Denied,
    Throttled,
    TooLarge,
    Refused,
    TimeoutAfter,
    NoAnswer,
    Silent,
    Closed,
    OldList,
    TooNew,
    Replaced,
    Mutated,
}

use Trouble::*;

/// Docker Hub's, by their numbers from 1.
pub const HUB: [Trouble; 22] = [
    Unreachable,
    TimeoutBefore,
    OneByteASecond,
    ResetAfter,
    ErrorBefore,
    ErrorAfter,
    Slow,
    SlowOdd,
    LoginOver,
    Forbidden,
    Challenge,
    CutJson,
    OtherShape,
    Page,
    Large,
    Bomb,
    Redirect,
    Twice,
    NotFound,
    CommitLate,
    Full,
    Certificate,
];

/// The API server's, by their numbers from 1.
pub const KUBERNETES: [Trouble; 18] = [
    Conflict,
    Gone,
    Expired,
    NoRight,
    Quota,
    Terminating,
    Denied,
    Throttled,
    TooLarge,
    Refused,
    TimeoutAfter,
    NoAnswer,
    Silent,
    Closed,
    OldList,
    TooNew,
    Replaced,
    Mutated,
];

/// How much a large answer has.
const LARGE: usize = 64 * 1024 * 1024;
/// When a late create, change or deletion is carried out: two minutes after its client has given up.
pub const LATE: std::time::Duration = std::time::Duration::from_secs(30 + 120);

impl Trouble {
    pub fn words(self) -> &'static str {
        match self {
            Unreachable => "connections are refused",
            TimeoutBefore => "no answer in time, not carried out",
            OneByteASecond => "an answer of one byte a second",
            ResetAfter => "carried out, then the connection breaks",
            ErrorBefore => "5xx, not carried out",
            ErrorAfter => "5xx, carried out",
            Slow => "429 with `Retry-After`",
            SlowOdd => "429 with an odd, huge or no `Retry-After`",
            LoginOver => "401 in between",
            Forbidden => "403 in JSON",
            Challenge => "403 with a page for people",
            CutJson => "half an answer",
            OtherShape => "JSON of another shape, or without what matters",
            Page => "a page for people with 200",
            Large => "an answer of 64 MiB",
            Bomb => "a gzip bomb",
            Redirect => "a redirect to another host",
            Twice => "carried out twice",
            NotFound => "404 for a token that is there",
            CommitLate => "carried out two minutes after the client gave up",
            Full => "the limit of tokens is reached",
            Certificate => "a certificate of nobody, for another name, or expired",
            Conflict => "409, for a reason and for none",
            Gone => "404: gone, or not served at the moment",
            Expired => "410, or an error event in a watch",
            NoRight => "403: a right was taken away",
            Quota => "403: a quota is used up",
            Terminating => "403: the namespace is ending",
            Denied => "422: admission says no, or a field can't change",
            Throttled => "429 with `Retry-After`",
            TooLarge => "413, or too large for etcd",
            Refused => "500 or 503, not carried out",
            TimeoutAfter => "504, carried out",
            NoAnswer => "no answer at all",
            Silent => "a watch that says nothing",
            Closed => "a watch that is closed each second",
            OldList => "a list older than what was seen",
            TooNew => "504: the version asked for is too new",
            Replaced => "another object of the same name",
            Mutated => "admission changes what was written",
        }
    }

    /// In how many forms it comes.
    pub fn forms(self, ask: Ask) -> usize {
        match (self, ask) {
            (SlowOdd | Full | Certificate | Redirect, _) | (Expired, _) => 3,
            (OtherShape, Ask::Create) => 3,
            (ResetAfter | OtherShape, _) => 2,
            (Conflict, Ask::AddFinalizer | Ask::ChangeSecret | Ask::Status | Ask::Lease | Ask::MakeSecret) => 2,
            (Gone, Ask::RemoveSecret) => 3,
            (Gone, Ask::ChangeSecret | Ask::Release | Ask::Lease) => 2,
            (Denied, Ask::ChangeSecret) | (TooLarge | Refused, _) => 2,
            (Mutated, Ask::MakeSecret | Ask::ChangeSecret) => 2,
            _ => 1,
        }
    }

    /// Which requests of those that fill a store it is about.
    pub fn phase(self, ask: Ask) -> Phase {
        match self {
            _ if !ask.is_store() => Phase::Any,
            Expired | Silent | Closed | TooNew => Phase::Watch,
            _ => Phase::List,
        }
    }

    /// Whether the door is shut, for a while, instead of a fault for each request.
    pub fn is_door(self) -> bool {
        matches!(self, Unreachable | Certificate)
    }

    /// Whether it is of a kind that lasts. What really happens to an object happens once.
    pub fn lasts(self, form: usize) -> bool {
        self != Replaced && (self, form) != (Gone, 1)
    }

    /// The fault in one of its forms. `before` is the cluster's version before anything happened.
    pub fn fault(self, form: usize, ask: Ask, sim: &Sim, before: u64) -> Fault {
        match self {
            Unreachable | Certificate => self.door(form, sim),
            Conflict | Gone | Replaced | OldList | Mutated => real(self, form, ask, sim, before),
            _ if HUB.contains(&self) => self.hubs(form),
            _ => self.kubernetes(form, ask),
        }
    }

    /// The request's connection is closed, and the next ones meet what is wrong.
    fn door(self, form: usize, sim: &Sim) -> Fault {
        let listener = sim.servers.hub.listener().unwrap();
        let wrong = (self == Certificate).then(|| certificates()[form].clone());
        Fault::instead(move |_| match &wrong {
            Some(certificate) => listener.show(certificate.clone()),
            None => listener.refuse(true),
        })
    }

    /// What a door did is over.
    pub fn open(self, sim: &Sim) {
        let listener = sim.servers.hub.listener().unwrap();
        match self {
            Unreachable => listener.refuse(false),
            Certificate => listener.show(base::base().tls.clone()),
            _ => {}
        }
    }

    fn hubs(self, form: usize) -> Fault {
        match self {
            TimeoutBefore => Fault::HangBefore,
            OneByteASecond => Fault::Drip,
            ResetAfter => [Fault::LoseAnswer, Fault::Truncate][form].clone(),
            ErrorBefore => hub::unavailable(503),
            ErrorAfter => hub::unavailable_after(502),
            Slow => hub::too_many(Some("90")),
            SlowOdd => hub::too_many([Some("soon"), Some("99999999999999999999"), None][form]),
            LoginOver => hub::login_expired(),
            Forbidden => hub::forbidden(),
            Challenge => hub::challenge(),
            CutJson => hub::cut_json(),
            OtherShape => match form {
                0 => hub::wrong_shape(),
                1 => every_without(&["token", "access_token", "results", "id"]),
                _ => hub::with("token", json!("")),
            },
            Page => hub::page(),
            Large => Fault::Flood(LARGE),
            Bomb => bomb(),
            Redirect => Fault::Redirect { status: [302, 307, 308][form], location: "http://localhost:9/stolen".into() },
            Twice => Fault::Twice,
            NotFound => hub::token_not_found(),
            CommitLate => Fault::CommitAfter(LATE),
            _ => hub::limit_reached([400, 403, 409][form]),
        }
    }

    fn kubernetes(self, form: usize, ask: Ask) -> Fault {
        let (resource, _, name) = named(ask);
        match self {
            Expired => match form {
                0 => kubernetes::expired(),
                1 => kubernetes::error_event(410),
                _ => kubernetes::error_event(500),
            },
            NoRight => kubernetes::forbidden(resource, name),
            Quota => kubernetes::quota(resource, name),
            Terminating => kubernetes::terminating(resource, name, NAMESPACE),
            Denied if form == 1 => kubernetes::immutable("Secret", name),
            Denied => kubernetes::denied(),
            Throttled => kubernetes::too_many(5),
            TooLarge => [kubernetes::too_large, kubernetes::too_large_for_etcd][form](),
            Refused => [kubernetes::internal, kubernetes::unavailable][form](),
            TimeoutAfter => kubernetes::timeout_after(),
            NoAnswer => Fault::HangBefore,
            Silent => Fault::Mute,
            Closed => Fault::CutAfter(SECOND),
            _ => kubernetes::version_too_large(1 << 40, 1),
        }
    }
}

/// The resource, the namespace and the name of what is asked about.
fn named(ask: Ask) -> (&'static str, &'static str, &'static str) {
    match ask {
        Ask::Credentials | Ask::OtherSecrets => ("secrets", NAMESPACE, "acme-owner"),
        Ask::OwnSecrets | Ask::ChangeSecret | Ask::RemoveSecret => ("secrets", NAMESPACE, "pull"),
        // In the one case it is another name, and in the other it is gone: there is none in the way.
        Ask::MakeSecret => ("secrets", NAMESPACE, "pull"),
        Ask::Event => ("events.events.k8s.io", NAMESPACE, "pull.1"),
        Ask::Lease => ("leases.coordination.k8s.io", "oat-operator", "oat-operator"),
        _ => (TOKENS, NAMESPACE, "pull"),
    }
}

/// What needs something to happen to the cluster, or something of its past.
fn real(trouble: Trouble, form: usize, ask: Ask, sim: &Sim, before: u64) -> Fault {
    let (hands, (resource, namespace, name)) = (sim.servers.kube.hands(), named(ask));
    match trouble {
        // For no reason: what is said is not so.
        Conflict if form == 0 || ask == Ask::Event => kubernetes::conflict(resource, name),
        // A proxy sends it a second time, and hands on what was said to that.
        Conflict if ask == Ask::MakeSecret => Fault::Twice,
        // Somebody writes it too, once a second.
        Conflict => {
            let (clock, last) = (sim.clock.clone(), Mutex::new(None));
            Fault::first(move |_| {
                let (now, mut last) = (clock.elapsed(), last.lock().unwrap());
                if last.is_none_or(|last| now >= last + SECOND) {
                    *last = Some(now);
                    hands.touch(resource, namespace, name);
                }
            })
        }
        Gone if form == 1 => Fault::first(move |_| _ = hands.remove(resource, namespace, name)),
        // Where it would be left for ever, a look confirms it.
        Gone if form == 2 => kubernetes::not_found(resource, name),
        // Nobody may say so of another object that is there, but of one that is read before it is made, or of its namespace.
        Gone if ask == Ask::Credentials => kubernetes::not_found(resource, name),
        Gone if matches!(ask, Ask::MakeSecret | Ask::Event) => kubernetes::not_found("namespaces", namespace),
        Gone => kubernetes::not_served(),
        Replaced => Fault::first(move |_| _ = hands.replace(resource, namespace, name)),
        OldList => kubernetes::older(before),
        _ if form == 1 => kubernetes::mutated(|object| {
            // Ours is not let in.
            if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
                annotations.retain(|key, _| !key.ends_with("/layout"));
            }
        }),
        _ => kubernetes::mutated(|object| object["metadata"]["labels"]["injected"] = json!("yes")),
    }
}

/// Executed; none of these fields is in the answer, nor in the items of a list.
fn every_without(fields: &'static [&'static str]) -> Fault {
    Fault::then(move |answer| {
        answer.edit(|body| {
            let items = body.get_mut("results").and_then(Value::as_array_mut);
            items.into_iter().flatten().filter_map(Value::as_object_mut).for_each(|item| {
                item.retain(|field, _| field != "id");
            });
            let listed =
                body.get("results").is_some_and(|results| results.as_array().is_some_and(|all| !all.is_empty()));
            if let Some(object) = body.as_object_mut().filter(|_| !listed) {
                object.retain(|field, _| !fields.contains(&field.as_str()));
            }
        });
    })
}

/// Made once: it takes its time.
fn bomb() -> Fault {
    static BOMB: OnceLock<Fault> = OnceLock::new();
    BOMB.get_or_init(hub::gzip_bomb).clone()
}

/// Of an authority that nobody trusts, for another name, and expired.
fn certificates() -> &'static [Arc<ServerConfig>; 3] {
    static WRONG: OnceLock<[Arc<ServerConfig>; 3]> = OnceLock::new();
    WRONG.get_or_init(|| {
        let right = Certificate::loopback(base::beginning());
        let year = |year: i16| jiff::civil::date(year, 1, 1).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
        let good = Certificate { not_before: year(1980), not_after: year(2200), ..right.clone() };
        let other = Certificate { names: vec!["hub.example".into()], ..good.clone() };
        let old = Certificate { not_before: year(1980), not_after: year(2000), ..right };
        let ours = &base::base().authority;
        [
            Authority::new().unwrap().server_config(&good).unwrap(),
            ours.server_config(&other).unwrap(),
            ours.server_config(&old).unwrap(),
        ]
    })
}
