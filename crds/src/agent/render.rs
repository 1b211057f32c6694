//! The texts: walk the table, put each value at its key.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gosync_api::AgentConfig;
use gosync_api::config::{Disk, Problems, SourceFile, Sources, read};
use serde_json::{Map, Value, json};

use super::paths::{BASE_FILE, CONFIG_FOLDER, RUN_FOLDER, SOCKET, mirror_file};
use super::table::{TABLE, Use};
use crate::SyncMirror;
use crate::schema::to_yaml;

/// What all mirrors of a pod share, as the text of [`BASE_FILE`].
pub fn base(mirror: &SyncMirror) -> String {
    let mut keys = json!({
        "data_dir": format!("{RUN_FOLDER}/data"),
        "log": { "format": "json" },
        "agent": { "socket_path": SOCKET, "device_name": "${POD_NAME:-}" },
    });
    for row in TABLE {
        if let Use::Base(key, value) = row.becomes
            && let Some(value) = value(mirror)
        {
            put(&mut keys, key, value);
        }
    }
    to_yaml(&keys)
}

/// What is a mirror's own: one entry of `syncs`.
pub fn mirror(mirror: &SyncMirror) -> String {
    // The state lives and dies with the files of the volume.
    let mut entry = json!({ "name": mirror.mirror_name(), "state": "volume" });
    for row in TABLE {
        if let Use::Mirror(key, value) = row.becomes
            && let Some(value) = value(mirror)
        {
            put(&mut entry, key, value);
        }
    }
    to_yaml(&json!({ "syncs": [entry] }))
}

/// The files of a pod's config, in the order in which its agent reads them.
pub fn sources(mirrors: &[SyncMirror]) -> Vec<SourceFile> {
    let mut mirrors: Vec<&SyncMirror> = mirrors.iter().collect();
    mirrors.sort_by_key(|mirror| mirror.mirror_name());
    let shared = mirrors.first().map(|first| (BASE_FILE.to_owned(), base(first)));
    let own = mirrors.iter().map(|m| (mirror_file(m.mirror_name()), mirror(m)));
    let files = shared.into_iter().chain(own);
    files.map(|(name, text)| SourceFile { name: format!("{CONFIG_FOLDER}/{name}"), text }).collect()
}

/// The config that an agent with these mirrors makes of them. `environment` is the container's, `disk` what its files hold.
pub fn config(
    mirrors: &[SyncMirror],
    environment: BTreeMap<String, String>,
    disk: &dyn Disk,
) -> Result<AgentConfig, Problems> {
    let sources = Sources {
        files: sources(mirrors),
        environment,
        home: None,
        current_dir: PathBuf::from("/"),
        data_dir: None,
        disk,
    };
    Ok(read(&sources)?.config)
}

/// Puts a value at a key with dots, making what it stands in.
fn put(root: &mut Value, key: &str, value: Value) {
    let mut at = root;
    for part in key.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[part];
    }
    *at = value;
}
