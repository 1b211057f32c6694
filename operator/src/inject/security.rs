//! The agent's security context: the rights of the application that it works beside, and no more. It passes the Pod Security
//! Standard `restricted` wherever the application does.

use gosync_crds::SyncMirror;
use serde_json::{Value, json};

use super::Settings;
use super::pod::{Mount, Pod};
use super::reason::Warning;

/// The container's securityContext.
pub fn context(pod: &Pod<'_>, mirrors: &[&SyncMirror], settings: &Settings, warnings: &mut Vec<Warning>) -> Value {
    let first = mirrors[0];
    let volume = &first.spec.volume.name;
    for mirror in mirrors {
        tell_mounts(pod, mirror, warnings);
    }
    let mounts = pod.mounts(volume);
    let followed = followed(&mounts).map_or(&Value::Null, |mount| &mount.container["securityContext"]);

    let of_container = |name: &str| followed[name].as_i64();
    let of_pod = |name: &str| pod.security_context()[name].as_i64();
    let uid = first.spec.agent.run_as_user.or_else(|| of_container("runAsUser"));
    let gid = first.spec.agent.run_as_group.or_else(|| of_container("runAsGroup"));
    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "readOnlyRootFilesystem": true,
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    // What only the pod names, the container inherits.
    match uid.or_else(|| of_pod("runAsUser")) {
        Some(effective) => {
            if let Some(uid) = uid {
                context["runAsUser"] = json!(uid);
            }
            context["runAsNonRoot"] = json!(effective != 0);
        }
        None if no_root(pod, followed, settings) => {
            context["runAsNonRoot"] = json!(true);
            warnings.push(Warning::UidUnknown { mirror: first.mirror_name().to_owned() });
        }
        // An application that is root by its image writes root's files.
        None => {
            context["runAsUser"] = json!(0);
            context["runAsNonRoot"] = json!(false);
        }
    }
    if let Some(gid) = gid {
        context["runAsGroup"] = json!(gid);
    }
    // Files carry the label of the application's process; another label could not open them.
    if followed["seLinuxOptions"].is_object() {
        context["seLinuxOptions"] = followed["seLinuxOptions"].clone();
    }
    context
}

/// Whose rights the agent takes: the application's first container that can write to the volume, else that mounts it, else an
/// init container.
fn followed<'m, 'p>(mounts: &'m [Mount<'p>]) -> Option<&'m Mount<'p>> {
    mounts.iter().min_by_key(|mount| (!mount.app, mount.read_only))
}

/// Root would be refused.
fn no_root(pod: &Pod<'_>, container: &Value, settings: &Settings) -> bool {
    let of_pod = pod.security_context()["runAsNonRoot"] == true;
    settings.restricted_namespace || container["runAsNonRoot"].as_bool().unwrap_or(of_pod)
}

/// Volumes that nobody mounts, or that containers of different users share.
fn tell_mounts(pod: &Pod<'_>, mirror: &SyncMirror, warnings: &mut Vec<Warning>) {
    let volume = &mirror.spec.volume.name;
    let mounts = pod.mounts(volume);
    let Some(followed) = followed(&mounts) else {
        warnings.push(Warning::NobodyMounts { mirror: mirror.mirror_name().to_owned(), volume: volume.clone() });
        return;
    };
    let uid = |container: &Value| {
        let own = container["securityContext"]["runAsUser"].as_i64();
        own.or_else(|| pod.security_context()["runAsUser"].as_i64())
    };
    let differ = mounts.iter().any(|mount| mount.app && uid(mount.container) != uid(followed.container));
    if differ && mirror.spec.agent.run_as_user.is_none() && pod.fs_group().is_none() {
        let container = followed.container["name"].as_str().unwrap_or_default().to_owned();
        warnings.push(Warning::SeveralUids { volume: volume.clone(), container });
    }
}
