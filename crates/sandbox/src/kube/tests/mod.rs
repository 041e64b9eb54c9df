//! The protocol, request by request, as a real server answers it.

mod controllers;
mod custom;
mod discovery;
mod lags;
mod objects;
mod rights;
mod watches;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{KubeOptions, KubeServer};
use crate::fault::Faults;
use crate::journal::Journal;
use crate::testing::{HeldClock, crypto};

const NOW: &str = "2026-11-25T07:00:00Z";
const DEFAULT: &str = "/api/v1/namespaces/default";

/// A server and somebody who asks it.
struct Kube {
    server: KubeServer,
    http: reqwest::Client,
    token: String,
}

/// An answer: status and body.
type Answer = (u16, Value);

async fn start() -> Kube {
    start_with(|_| {}).await
}

async fn start_with(change: impl FnOnce(&mut KubeOptions)) -> Kube {
    crypto();
    let mut options = KubeOptions::new(HeldClock::at(NOW).clock(), Journal::new(), Faults::new());
    change(&mut options);
    let server = KubeServer::start(options).await.unwrap();
    let ca = reqwest::Certificate::from_pem(server.ca_pem().as_bytes()).unwrap();
    let http = reqwest::Client::builder().no_proxy().add_root_certificate(ca).user_agent("test/1").build().unwrap();
    let token = server.admin_token().to_owned();
    let kube = Kube { server, http, token };
    // The controllers have done what they do in a new cluster.
    kube.until(|k| k.server.object("serviceaccounts", "kube-system", "default").is_some()).await;
    kube
}

impl Kube {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.server.url())).bearer_auth(&self.token)
    }

    async fn answer(request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let code = response.status().as_u16();
        let text = response.text().await.unwrap();
        (code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn get(&self, path: &str) -> Answer {
        Self::answer(self.request(Method::GET, path)).await
    }

    async fn accept(&self, path: &str, accept: &str) -> Answer {
        Self::answer(self.request(Method::GET, path).header("accept", accept)).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        Self::answer(self.request(Method::POST, path).json(&body)).await
    }

    async fn put(&self, path: &str, body: Value) -> Answer {
        Self::answer(self.request(Method::PUT, path).json(&body)).await
    }

    async fn delete(&self, path: &str, body: Value) -> Answer {
        Self::answer(self.request(Method::DELETE, path).json(&body)).await
    }

    async fn patch(&self, kind: &str, path: &str, body: Value) -> Answer {
        let kind = match kind {
            "apply" => "application/apply-patch+yaml".to_owned(),
            kind => format!("application/{kind}+json"),
        };
        let request = self.request(Method::PATCH, path).header("content-type", kind);
        Self::answer(request.body(body.to_string())).await
    }

    async fn merge(&self, path: &str, body: Value) -> Answer {
        self.patch("merge-patch", path, body).await
    }

    /// Waits until something is so.
    async fn until(&self, so: impl Fn(&Self) -> bool) {
        let mut changed = self.server.subscribe();
        let wait = async {
            while !so(self) {
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("never so");
    }

    /// Creates a definition and waits until it is effective.
    async fn define(&self, definition: Value) {
        let name = definition["metadata"]["name"].as_str().unwrap().to_owned();
        let (code, answer) = self.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await;
        assert_eq!(code, 201, "{answer}");
        let store = "customresourcedefinitions.apiextensions.k8s.io";
        self.until(|k| has_condition(&k.server.object(store, "", &name).unwrap(), "Established", "True")).await;
    }
}

fn has_condition(object: &Value, kind: &str, status: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == status))
}

/// The answer is a `Status` with this code, reason and message (a fragment of it).
#[track_caller]
fn refused(answer: &Answer, code: u16, reason: &str, message: &str) {
    let (found, status) = answer;
    assert_eq!(*found, code, "{status}");
    assert_eq!((status["kind"].as_str(), &status["code"]), (Some("Status"), &json!(code)), "{status}");
    assert_eq!(status["status"], "Failure");
    assert_eq!(status["reason"].as_str().unwrap_or_default(), reason, "{status}");
    let text = status["message"].as_str().unwrap();
    assert!(text.contains(message), "{text:?} lacks {message:?}");
}

#[track_caller]
fn ok(answer: Answer, code: u16) -> Value {
    assert_eq!(answer.0, code, "{}", answer.1);
    answer.1
}

fn secret(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"a": "Yg=="}})
}

/// A definition with defaults, rules, a status and a field to select by.
fn widgets() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.dev"},
        "spec": {
            "group": "example.dev", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wg"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "selectableFields": [{"jsonPath": ".spec.size"}],
                "additionalPrinterColumns": [{"name": "Size", "type": "string", "jsonPath": ".spec.size"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {
                        "type": "object", "required": ["size"],
                        "properties": {
                            "size": {"type": "string", "enum": ["small", "big"]},
                            "n": {"type": "integer", "default": 3, "maximum": 10},
                            "list": {"type": "array", "maxItems": 3, "items": {"type": "string"}},
                        },
                        "x-kubernetes-validations": [
                            {"rule": "self.n != 7", "message": "seven is taken"},
                            {"rule": "self.size == oldSelf.size", "message": "size is immutable"},
                        ],
                    },
                    "status": {
                        "type": "object", "default": {"observedGeneration": -1},
                        "properties": {"observedGeneration": {"type": "integer"}, "phase": {"type": "string"}},
                    },
                }}},
            }],
        },
    })
}

fn widget(name: &str) -> Value {
    json!({"apiVersion": "example.dev/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": "big"}})
}
