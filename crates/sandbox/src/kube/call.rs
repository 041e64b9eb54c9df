//! One request to a resource, with all that was found out about it.
//!
//! Never does anything.

use std::sync::Arc;

use axum::body::Bytes;
use http::Method;

use super::kinds::Kind;
use super::names;
use super::rbac::{Question, User};
use super::request::{BodyType, Place, Query, Representation};
use crate::machinery::selector::FieldSelector;

/// A request to a resource.
#[derive(Clone, Debug)]
pub struct Call {
    /// The resource.
    pub kind: Arc<Kind>,
    /// The path.
    pub place: Place,
    /// The query.
    pub query: Query,
    /// The method.
    pub method: Method,
    /// The body.
    pub body: Bytes,
    /// How the body is written.
    pub body_type: BodyType,
    /// Who asks.
    pub user: User,
    /// With what program.
    pub agent: String,
    /// What the answer looks like.
    pub representation: Representation,
}

impl Call {
    /// What the user must be allowed.
    #[must_use]
    pub fn question(&self) -> Question {
        let collection = self.place.name.is_empty();
        let watch = matches!(self.query.get("watch"), "1" | "true" | "True");
        let verb = match self.method.as_str() {
            "GET" if watch => "watch",
            "GET" if collection => "list",
            "GET" => "get",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" if collection => "deletecollection",
            "DELETE" => "delete",
            // Nothing that a resource can do, and nothing that a rule but the widest allows.
            _ => "",
        };
        // A list or watch of one object by its name is one about that object: `resourceNames` can permit it.
        let selected = FieldSelector::parse(self.query.get("fieldSelector")).ok();
        let selected = selected.as_ref().filter(|_| matches!(verb, "list" | "watch"));
        let selected = selected.and_then(|selector| selector.exact("metadata.name"));
        let selected = selected.filter(|name| collection && names::path_segment(name).is_empty());
        // The name of a namespace is its own namespace.
        let own = self.kind.store == "namespaces";
        Question {
            verb: verb.to_owned(),
            group: self.place.group.clone(),
            resource: self.place.plural.clone(),
            subresource: self.place.subresource.clone(),
            namespace: if own { self.place.name.clone() } else { self.place.namespace.clone() },
            name: selected.unwrap_or(&self.place.name).to_owned(),
            path: String::new(),
        }
    }
}
