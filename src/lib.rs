//! oat-operator: Docker Hub organization access tokens as Kubernetes objects.

pub mod clock;
