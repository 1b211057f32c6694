//! GoSync on a real API server: etcd, kube-apiserver and kube-controller-manager, without nodes. Pods are objects that
//! nothing runs.
//!
//! Not part of `make test`: building the parts of Kubernetes takes minutes. `make test-cluster` runs it, and with `KUBECONFIG`
//! on the API server that it names.
// A test stops at the first surprise: there is nobody to hand an error to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../operator/tests/all/cases.rs"]
mod cases;
mod definition;
mod guard;
mod injection;
#[path = "../../operator/tests/all/known.rs"]
mod known;
mod mesh;
mod mirrors;
mod outages;
mod rights;
mod shown;
