//! oat-operator: Docker Hub organization access tokens as Kubernetes objects.
//!
//! Reading order: [`api`] (what users write), [`plan`] (what is to be done, a pure function), [`clock`].

pub mod api;
pub mod clock;
pub mod plan;
