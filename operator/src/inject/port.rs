//! The port of the agent's probes and metrics: the mirror's, or the next that no container of the pod names.

use std::collections::BTreeSet;

use super::pod::{Pod, list};
use super::reason::{Skip, Warning};

const PORT_MAX: i64 = 65_535;

/// The port. On the network of the node only the mirror's own will do: there, others can't be known to be free.
pub fn choose(pod: &Pod<'_>, wanted: i64, warnings: &mut Vec<Warning>) -> Result<i64, Skip> {
    let taken = taken(pod);
    if !taken.contains(&wanted) {
        return Ok(wanted);
    }
    let next = (wanted + 1..=PORT_MAX).find(|port| !taken.contains(port));
    match next {
        Some(port) if !pod.host_network() => {
            warnings.push(Warning::PortMoved { wanted, port });
            Ok(port)
        }
        _ => Err(Skip::PortTaken { port: wanted }),
    }
}

/// The TCP ports that containers name.
fn taken(pod: &Pod<'_>) -> BTreeSet<i64> {
    let ports = pod.all_containers().flat_map(|container| list(&container["ports"]));
    ports
        .filter(|port| port["protocol"].as_str().unwrap_or("TCP") == "TCP")
        .filter_map(|port| port["containerPort"].as_i64())
        .collect()
}
