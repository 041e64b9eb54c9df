//! Kubernetes: what is watched, what is written, and who leads.
//!
//! Reading order: [`store`] (what watches have shown, and our own writes before they are shown), [`secrets`] (pull
//! secrets: their content, and the index of ours), [`loose`] (what an apply would leave on them), [`foreign`] (the names
//! of all others), [`lenient`] (objects that can't be read), [`observe`] (stores into a view), [`status`] (memory and facts out of and into a status), [`write`]
//! (every write, bounded in time), [`events`], [`leader`].
//!
//! Never: a request to Docker Hub, or a decision about a token.

pub mod events;
pub mod foreign;
pub mod leader;
pub mod lenient;
pub mod loose;
pub mod observe;
pub mod secrets;
pub mod status;
pub mod store;
pub mod write;

/// Names an object: its namespace (empty for cluster-scoped kinds) and its name.
pub type Key = crate::plan::SecretKey;

/// The key of an object.
pub fn key<K: kube::ResourceExt>(object: &K) -> Key {
    Key { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}
