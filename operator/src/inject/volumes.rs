//! Volumes: whether the pod's can be kept in step, and the two that the agent brings.

use gosync_crds::agent::{BASE_FILE, MIRROR_KEY, UserFile, config_map_name, mirror_file};
use gosync_crds::{Direction, SyncMirror};
use serde_json::{Value, json};

use super::pod::Pod;
use super::reason::Skip;

/// The projected volume with the config.
pub const CONFIG: &str = "gosync-config";
/// The emptyDir with the socket.
pub const RUN: &str = "gosync-run";
/// Both.
pub const OWN: [&str; 2] = [CONFIG, RUN];

/// Kinds that the kubelet fills by itself, again and again, or that nobody can write.
const FILLED: [&str; 6] = ["projected", "configMap", "secret", "downwardAPI", "image", "gitRepo"];

/// Whether a mirror's volume can be kept in step in this pod.
pub fn check(pod: &Pod<'_>, mirror: &SyncMirror) -> Result<(), Skip> {
    let name = &mirror.spec.volume.name;
    let names = || (mirror.mirror_name().to_owned(), name.clone());
    let Some(volume) = pod.volume(name) else {
        let (mirror, volume) = names();
        return Err(Skip::NoSuchVolume { mirror, volume });
    };
    if let Some(kind) = FILLED.iter().find(|kind| volume[**kind].is_object()) {
        let (mirror, volume) = names();
        return Err(Skip::VolumeKind { mirror, volume, kind: (*kind).to_owned() });
    }
    if pod.is_device(name) || volume.pointer("/ephemeral/volumeClaimTemplate/spec/volumeMode") == Some(&json!("Block"))
    {
        let (mirror, volume) = names();
        return Err(Skip::BlockVolume { mirror, volume });
    }
    let sources = volume.as_object().into_iter().flatten();
    if sources.into_iter().any(|(_, source)| source["readOnly"] == true) {
        let (mirror, volume) = names();
        return Err(Skip::ReadOnlyVolume { mirror, volume });
    }
    let mounts = pod.mounts(name);
    let only_read = !mounts.is_empty() && mounts.iter().all(|mount| mount.read_only);
    if only_read && mirror.spec.direction != Direction::Pull {
        let (mirror, volume) = names();
        return Err(Skip::ReadOnlyMount { mirror, volume });
    }
    Ok(())
}

/// The volumes that the agent brings. Every source of the config is optional: a pod never waits for one to be made.
pub fn own(mirrors: &[&SyncMirror]) -> [Value; 2] {
    let mut sources = Vec::new();
    for (index, mirror) in mirrors.iter().enumerate() {
        let name = mirror.mirror_name();
        let mut items = vec![json!({ "key": MIRROR_KEY, "path": mirror_file(name) })];
        // The first by name decides what they share.
        if index == 0 {
            items.insert(0, json!({ "key": BASE_FILE, "path": BASE_FILE }));
        }
        sources.push(source("configMap", &config_map_name(name), items));
        sources.extend(users(mirror));
    }
    let config = json!({ "name": CONFIG, "projected": { "defaultMode": 0o444, "sources": sources } });
    [config, json!({ "name": RUN, "emptyDir": {} })]
}

/// The user's own Secrets and ConfigMaps, by name: nobody but the kubelet reads them.
fn users(mirror: &SyncMirror) -> Vec<Value> {
    let name = mirror.mirror_name();
    let item = |file: UserFile, key: &str| json!({ "key": key, "path": file.relative_path(name) });
    let mut sources = Vec::new();
    if let Some(credentials) = &mirror.spec.s3.credentials_secret_ref {
        let keys = [UserFile::AccessKey, UserFile::SecretKey].map(|file| item(file, file.as_str()));
        sources.push(source("secret", &credentials.name, keys.to_vec()));
    }
    if let Some(bundle) = &mirror.spec.s3.ca_bundle {
        let of = &bundle.config_map_key_ref;
        sources.push(source("configMap", &of.name, vec![item(UserFile::CaBundle, &of.key)]));
    }
    let urls = [
        (UserFile::PostgresUrl, mirror.spec.metadata.as_ref().map(|metadata| &metadata.postgres)),
        (UserFile::RedisUrl, mirror.spec.cache.as_ref().map(|cache| &cache.redis)),
    ];
    for (file, url) in urls {
        if let Some(url) = url {
            let of = &url.url_secret_ref;
            sources.push(source("secret", &of.name, vec![item(file, &of.key)]));
        }
    }
    sources
}

fn source(kind: &str, name: &str, items: Vec<Value>) -> Value {
    json!({ kind: { "name": name, "optional": true, "items": items } })
}
