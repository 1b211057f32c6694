//! The name of this machine or pod that people read.

use std::fs;

/// What was configured, else the host's name (a pod's name in a pod).
pub fn device_name(configured: &str) -> String {
    if !configured.is_empty() {
        return configured.to_owned();
    }
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { "unnamed".to_owned() } else { host.to_owned() }
}
