//! oat-operator: Docker Hub organization access tokens as Kubernetes objects.
//!
//! Reading order: [`api`] (what users write), [`plan`] (what is to be done, a pure function), [`hub`] (Docker Hub over
//! HTTP), [`clock`].

pub mod api;
pub mod clock;
pub mod hub;
pub mod plan;
