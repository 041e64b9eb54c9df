//! What a Kubernetes API server, its admission and its etcd answer on a bad day, by name.
//!
//! The texts are those of a real server. What has to change something in the cluster first is [`Fault::First`] with
//! [`crate::kube::Hands`].

use serde_json::{Value, json};

use super::{Canned, Fault, Sent};
use crate::kube::Failure;
use crate::machinery::field::FieldError;

fn answer(failure: &Failure) -> Canned {
    Canned::json(failure.code, &failure.status())
}

fn failure(code: u16, reason: &'static str, message: impl Into<String>) -> Failure {
    Failure { code, reason, message: message.into(), details: None }
}

/// 409: the object was changed meanwhile. `resource` is as in `secrets` or `leases.coordination.k8s.io`.
#[must_use]
pub fn conflict(resource: &str, name: &str) -> Fault {
    Fault::Answer(answer(&Failure::modified("", resource, name)))
}

/// 404: the object is gone.
#[must_use]
pub fn not_found(resource: &str, name: &str) -> Fault {
    Fault::Answer(answer(&Failure::not_found("", resource, name)))
}

/// 404: the resource is not served at the moment, whatever is stored.
#[must_use]
pub fn not_served() -> Fault {
    Fault::Answer(answer(&Failure::unknown_resource()))
}

/// 410: a list's or a watch's version is forgotten.
#[must_use]
pub fn expired() -> Fault {
    Fault::Answer(answer(&Failure::expired("The resourceVersion for the provided list is too old.")))
}

/// A watch that begins with 200 and whose first event is an error: 410 where the version is forgotten, 500 else.
#[must_use]
pub fn error_event(code: u16) -> Fault {
    let failure = match code {
        410 => Failure::expired("too old resource version: 1 (2)"),
        _ => failure(code, "InternalError", "etcd event received with PrevKv=nil"),
    };
    Fault::Answer(Canned::json(200, &json!({"type": "ERROR", "object": failure.status()})))
}

/// 403: a right was taken away.
#[must_use]
pub fn forbidden(resource: &str, name: &str) -> Fault {
    let why = "User \"system:serviceaccount:oat-operator:oat-operator\" cannot do this: RBAC: not permitted";
    Fault::Answer(answer(&Failure::forbidden("", resource, name, why)))
}

/// 403: a ResourceQuota is used up.
#[must_use]
pub fn quota(resource: &str, name: &str) -> Fault {
    let why = format!(
        "exceeded quota: few, requested: count/{resource}=1, used: count/{resource}=9, limited: count/{resource}=9"
    );
    Fault::Answer(answer(&Failure::forbidden("", resource, name, &why)))
}

/// 403: the namespace is being deleted.
#[must_use]
pub fn terminating(resource: &str, name: &str, namespace: &str) -> Fault {
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let cause = json!({"reason": "NamespaceTerminating", "message": format!("namespace {namespace} is being terminated"),
        "field": "metadata.namespace"});
    Fault::Answer(answer(&Failure::forbidden("", resource, name, &why).with_cause(cause)))
}

/// 422: an admission webhook said no.
#[must_use]
pub fn denied() -> Fault {
    let message = "admission webhook \"policy.example\" denied the request: not today";
    Fault::Answer(answer(&failure(422, "Invalid", message)))
}

/// 422: a field that can't be changed.
#[must_use]
pub fn immutable(kind: &str, name: &str) -> Fault {
    let cause = FieldError::invalid("type", "Opaque", "field is immutable");
    Fault::Answer(answer(&Failure::invalid("", kind, name, &[cause])))
}

/// 429 of priority and fairness, with `Retry-After` in seconds.
#[must_use]
pub fn too_many(retry_after: u64) -> Fault {
    let message = "Too many requests, please try again later.";
    let answer = answer(&failure(429, "TooManyRequests", message));
    Fault::Answer(answer.header("retry-after", retry_after.to_string()))
}

/// 413: the request is larger than the API server takes.
#[must_use]
pub fn too_large() -> Fault {
    let message = "Request entity too large: limit is 3145728";
    Fault::Answer(answer(&failure(413, "RequestEntityTooLarge", message)))
}

/// 500: the request is larger than etcd takes.
#[must_use]
pub fn too_large_for_etcd() -> Fault {
    Fault::Answer(answer(&failure(500, "", "etcdserver: request is too large")))
}

/// 500: not executed.
#[must_use]
pub fn internal() -> Fault {
    let message = "Internal error occurred: etcdserver: leader changed";
    Fault::Answer(answer(&failure(500, "InternalError", message)))
}

/// 503: not executed.
#[must_use]
pub fn unavailable() -> Fault {
    let message = "apiserver is shutting down";
    Fault::Answer(answer(&failure(503, "ServiceUnavailable", message)).header("retry-after", "1"))
}

/// 504: executed, and the API server did not wait for it.
#[must_use]
pub fn timeout_after() -> Fault {
    let message = "Timeout: request did not complete within requested timeout - context deadline exceeded";
    Fault::AnswerAfter(answer(&failure(504, "Timeout", message)))
}

/// 504: the client has seen a newer version than this server has.
#[must_use]
pub fn version_too_large(asked: u64, current: u64) -> Fault {
    Fault::Answer(answer(&Failure::too_large_version(asked, current)))
}

/// A list as it was at a version: a server whose cache lags behind.
#[must_use]
pub fn older(version: u64) -> Fault {
    Fault::first(move |sent| {
        let kept = sent.query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("resourceVersion"));
        let asked = [format!("resourceVersion={version}"), "resourceVersionMatch=Exact".to_owned()];
        sent.query = kept.map(str::to_owned).chain(asked).collect::<Vec<_>>().join("&");
    })
}

/// Admission that changes the object on its way in. Bodies that are no JSON object stay as they are.
#[must_use]
pub fn mutated(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Fault {
    Fault::first(move |sent: &mut Sent| {
        if let Ok(mut object) = serde_json::from_slice::<Value>(&sent.body)
            && object.is_object()
        {
            change(&mut object);
            sent.body = object.to_string().into_bytes();
        }
    })
}
