//! Where the agent stands among the init containers, which start one after the other.
//!
//! After mesh proxies that are native sidecars: once their redirection is in place there is no network without them. Before
//! everything else: what comes later may need the volume filled. Where the proxy is an ordinary container, which starts after
//! all of these, the agent stands before the container that redirects, too: it fills the volume over the plain network.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation};

use super::pod::Pod;

/// Mesh proxies, by the names that their injectors give them.
const PROXIES: [&str; 2] = ["istio-proxy", "linkerd-proxy"];

/// The index for a pod that has no agent yet.
pub fn of(pod: &Pod<'_>) -> usize {
    last_proxy(pod).map_or(0, |index| index + 1)
}

/// How the agent at `at` gets behind a proxy that came in later; none when it stands right.
pub fn moved(pod: &Pod<'_>, at: usize) -> Option<Patch> {
    let proxy = last_proxy(pod).filter(|proxy| *proxy > at)?;
    let value = pod.init_containers().nth(at)?.clone();
    let place = |index: usize| PointerBuf::from_tokens(["spec", "initContainers", &index.to_string()]);
    // Once it is out, everything behind it has moved up by one.
    Some(Patch(vec![
        PatchOperation::Remove(RemoveOperation { path: place(at) }),
        PatchOperation::Add(AddOperation { path: place(proxy), value }),
    ]))
}

fn last_proxy(pod: &Pod<'_>) -> Option<usize> {
    let containers: Vec<_> = pod.init_containers().collect();
    containers.iter().rposition(|container| {
        container["restartPolicy"] == "Always" && PROXIES.iter().any(|proxy| container["name"] == *proxy)
    })
}
