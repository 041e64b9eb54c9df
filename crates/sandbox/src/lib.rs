//! A Kubernetes API server and a Docker Hub in memory, to try and to test oat-operator without either.
//!
//! It shares no types with the operator: what both sides must agree on is the wire. In reading order:
//!
//! * [`clock`]: where all time comes from
//! * [`journal`]: every request to every server, in one order
//! * [`fault`]: what can be done to requests
//! * [`serve`]: the accept loop that joins these, [`tls`] its certificates
//! * [`hub`]: Docker Hub and its registry's token service
//! * [`machinery`]: what an API server does to an object, as pure functions
//! * [`kube`]: the Kubernetes API server
//! * [`traffic`] and [`pacer`]: time that passes only while nothing is under way, and as fast as one likes
//!
//! # What is not faithful
//!
//! All servers:
//!
//! * They listen on 127.0.0.1 only, read requests whole (8 MiB at most), and offer neither compression nor HTTP/3.
//! * A request is judged by the faults when its body has arrived, so nothing can go wrong in the middle of a request's body.
//!
//! Docker Hub, beside what [`hub::Quirks`] decides:
//!
//! * Only logins and organization access tokens are there: no personal token, repository, team or audit log routes.
//! * A JWT is known by being remembered, not by its signature; its claims beyond `exp`, `iat` and the user name are made up.
//! * The rate limit has one counter for all callers, and there is no challenge page or abuse limit unless a fault plays one.
//! * Everybody who is no owner may do nothing with tokens; custom roles and company owners do not exist.
//! * Logins at the token service never lock a user name.
//! * What is outside the known organizations counts as public. A registry has every tag, behind each the same image without layers,
//!   takes no pushes, and has no pull limits.
//! * Refresh tokens are given out only where `?refresh_token=true` asks for one, and accepted nowhere.
//!
//! Kubernetes:
//!
//! * There are no pods, nodes, services, quotas or jobs: workloads are stored and never run. What is not served is not listed.
//! * Nothing is called or proxied: no webhooks, admission policies, aggregated servers, CRD conversion; `token`, `scale` and
//!   OpenAPI v2 are refused.
//! * Answers are JSON or YAML, never protobuf or CBOR. Protobuf is read for the kinds that `kubectl create` and `kubectl auth` send.
//! * Built-in kinds are checked for unknown fields, types, and what their users most often get wrong, not for everything;
//!   of the defaults of workloads only `replicas` is filled in.
//! * Field errors come in another order where a real server's order is random; texts of JSON syntax errors are Rust's;
//!   doubled fields are not found.
//! * Whoever may write roles may grant more than they have. Users come from bearer tokens only; without one, health and version.
//! * A version in the future is refused at once where a real server waits three seconds first. `resourceVersion=0` is the present.
//! * After a definition changed, defaults and pruning are applied to what is stored once, not at each read.
//! * Events, Leases and tokens never run out. Requests are never throttled unless a fault does it.
//! * Controllers work the moment that something changes; those of namespaces delete all resources at once, in no order to rely on.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod body;
pub mod clock;
pub mod fault;
pub mod hub;
pub mod journal;
pub mod kube;
pub mod machinery;
pub mod pacer;
pub mod serve;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod traffic;
