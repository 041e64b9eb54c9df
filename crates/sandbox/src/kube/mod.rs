//! A Kubernetes API server in memory: [`KubeServer`].
//!
//! Reading order: `request` (what is asked for), `kinds` (of what), `store` (where), then `read`, `watch`, `write`, `update`
//! and `delete` (what is done), `decode` and `admit` (what is let in), `controllers` (what happens by itself).
//!
//! Never shares a type with the operator, and never answers a success for something that it did not do.

mod admit;
mod call;
mod controllers;
mod decode;
mod definition;
mod delete;
mod discovery;
mod duplicates;
mod failure;
mod handler;
mod hands;
mod ids;
mod kinds;
mod lag;
mod names;
mod object;
mod options;
mod protobuf;
mod rbac;
mod read;
mod request;
mod review;
mod server;
mod store;
mod update;
mod watch;
mod world;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use failure::Failure;
pub use hands::Hands;
pub use lag::{Hold, HoldId, Lags};
pub use server::{KubeError, KubeOptions, KubeServer, Template};
