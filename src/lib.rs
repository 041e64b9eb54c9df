//! oat-operator: Docker Hub organization access tokens as Kubernetes objects.
//!
//! Reading order: [`api`] (what users write), [`plan`] (what is to be done, a pure function), [`hub`] (Docker Hub over
//! HTTP), [`k8s`] (what is watched and written), [`control`] (joins them), [`serve`], [`clock`], [`permit`], [`text`].

pub mod api;
pub mod cli;
pub mod clock;
pub mod control;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod hub;
pub mod k8s;
pub mod permit;
pub mod plan;
#[cfg(test)]
mod properties;
pub mod serve;
pub mod text;
