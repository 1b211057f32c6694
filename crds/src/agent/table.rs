//! The table: each field of the spec with the agent's key that it becomes, or with what the operator does with it. The texts
//! are rendered by walking it, and the page of the docs is printed from it.

use serde_json::{Value, json};

use super::paths::{FILE_MODE_VARIABLE, UserFile, volume_path};
use crate::SyncMirror;
use crate::spec::*;

/// What becomes of a field.
#[derive(Debug, Clone, Copy)]
pub enum Use {
    /// A key that all mirrors of a pod share: the first mirror by name decides.
    Base(&'static str, fn(&SyncMirror) -> Option<Value>),
    /// A key of the mirror's entry in `syncs`.
    Mirror(&'static str, fn(&SyncMirror) -> Option<Value>),
    /// No key: the operator acts on it.
    Operator(&'static str),
}

/// A field and what becomes of it.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The field below `spec`.
    pub field: &'static str,
    /// What becomes of it.
    pub becomes: Use,
}

const fn mirror(field: &'static str, key: &'static str, value: fn(&SyncMirror) -> Option<Value>) -> Row {
    Row { field, becomes: Use::Mirror(key, value) }
}

const fn base(field: &'static str, key: &'static str, value: fn(&SyncMirror) -> Option<Value>) -> Row {
    Row { field, becomes: Use::Base(key, value) }
}

const fn operator(field: &'static str, does: &'static str) -> Row {
    Row { field, becomes: Use::Operator(does) }
}

/// Every field of the spec. One that becomes several keys has several rows.
pub const TABLE: &[Row] = &[
    operator("selector", "pods that it matches get an agent"),
    mirror("volume.name", "local_path", |m| Some(json!(local_path(m)))),
    mirror("volume.subPath", "local_path", |m| Some(json!(local_path(m)))),
    mirror("s3.bucket", "s3.bucket", |m| text(&m.spec.s3.bucket)),
    // Its variables are the pod's: the agent puts them in.
    mirror("s3.prefix", "s3_path", |m| Some(json!(format!("/{}", m.spec.s3.prefix)))),
    mirror("s3.region", "s3.region", |m| text(&m.spec.s3.region)),
    mirror("s3.endpoint", "s3.endpoint", |m| some_text(&m.spec.s3.endpoint)),
    mirror("s3.forcePathStyle", "s3.force_path_style", |m| m.spec.s3.force_path_style.then_some(json!(true))),
    mirror("s3.caBundle.configMapKeyRef", "s3.ca_file", |m| file(m, UserFile::CaBundle, m.spec.s3.ca_bundle.is_some())),
    mirror("s3.serverSideEncryption.type", "s3.sse", |m| match m.spec.s3.server_side_encryption.type_ {
        EncryptionType::None => None,
        EncryptionType::Aes256 => Some(json!("AES256")),
        EncryptionType::Kms => Some(json!("aws:kms")),
    }),
    mirror("s3.serverSideEncryption.kmsKeyId", "s3.kms_key_id", |m| {
        some_text(&m.spec.s3.server_side_encryption.kms_key_id)
    }),
    mirror("s3.credentialsSecretRef.name", "s3.access_key_file", |m| {
        file(m, UserFile::AccessKey, m.spec.s3.credentials_secret_ref.is_some())
    }),
    mirror("s3.credentialsSecretRef.name", "s3.secret_key_file", |m| {
        file(m, UserFile::SecretKey, m.spec.s3.credentials_secret_ref.is_some())
    }),
    mirror("metadata.postgres.urlSecretRef", "metadata.type", |m| m.spec.metadata.is_some().then(|| json!("postgres"))),
    mirror("metadata.postgres.urlSecretRef", "metadata.postgres.url_file", |m| {
        file(m, UserFile::PostgresUrl, m.spec.metadata.is_some())
    }),
    mirror("cache.redis.urlSecretRef", "cache.enabled", |m| m.spec.cache.is_some().then_some(json!(true))),
    mirror("cache.redis.urlSecretRef", "cache.redis.url_file", |m| file(m, UserFile::RedisUrl, m.spec.cache.is_some())),
    mirror("direction", "direction", |m| {
        Some(json!(match m.spec.direction {
            Direction::TwoWay => "two-way",
            Direction::Pull => "pull",
            Direction::Push => "push",
        }))
    }),
    mirror("conflictPolicy", "conflict_policy", |m| {
        m.spec.conflict_policy.map(|policy| {
            json!(match policy {
                ConflictPolicy::KeepBoth => "keep-both",
                ConflictPolicy::RemoteWins => "remote-wins",
                ConflictPolicy::LocalWins => "local-wins",
            })
        })
    }),
    mirror("ignorePatterns", "ignore_patterns", |m| {
        let patterns: Vec<String> = m.spec.ignore_patterns.iter().map(|pattern| ignore_pattern(pattern)).collect();
        (!patterns.is_empty()).then(|| json!(patterns))
    }),
    mirror("deleteGuard.maxPercent", "max_deletes.percent", |m| Some(json!(m.spec.delete_guard.max_percent))),
    mirror("deleteGuard.maxFiles", "max_deletes.files", |m| Some(json!(m.spec.delete_guard.max_files))),
    mirror("deleteGuard.minFiles", "max_deletes.min", |m| Some(json!(m.spec.delete_guard.min_files))),
    mirror("hydration.mode", "hydration.mode", |m| {
        Some(json!(match m.spec.hydration.mode {
            HydrationMode::Full => "full",
            HydrationMode::None => "none",
        }))
    }),
    mirror("hydration.timeoutSeconds", "hydration.timeout", |m| seconds(m.spec.hydration.timeout_seconds.into())),
    mirror("hydration.onTimeout", "hydration.on_timeout", |m| {
        Some(json!(match m.spec.hydration.on_timeout {
            OnTimeout::Block => "block",
            OnTimeout::Start => "start",
        }))
    }),
    mirror("drain.timeoutSeconds", "drain", |m| seconds(m.spec.drain.timeout_seconds.into())),
    operator("drain.extendGracePeriod", "the pod's terminationGracePeriodSeconds becomes that much longer"),
    mirror("intervalSeconds", "interval", |m| seconds(m.spec.interval_seconds.into())),
    mirror("transfer.workers", "workers", |m| Some(json!(m.spec.transfer.workers))),
    mirror("transfer.chunkSizeBytes", "chunk_size", |m| Some(json!(m.spec.transfer.chunk_size_bytes))),
    mirror("transfer.maxRetries", "max_retries", |m| Some(json!(m.spec.transfer.max_retries))),
    mirror("transfer.uploadBytesPerSecond", "bandwidth.upload", |m| {
        Some(json!(m.spec.transfer.upload_bytes_per_second))
    }),
    mirror("transfer.downloadBytesPerSecond", "bandwidth.download", |m| {
        Some(json!(m.spec.transfer.download_bytes_per_second))
    }),
    mirror("files.mode", "mode", |m| {
        Some(json!(match m.spec.files.mode {
            // Where the kubelet changes modes at every mount, the pod says `exec`.
            FileMode::Full => format!("${{{FILE_MODE_VARIABLE}:-full}}"),
            FileMode::Exec => "exec".to_owned(),
            FileMode::Off => "off".to_owned(),
        }))
    }),
    mirror("files.symlinks", "symlinks", |m| {
        Some(json!(match m.spec.files.symlinks {
            Symlinks::Skip => "skip",
            Symlinks::Preserve => "preserve",
        }))
    }),
    mirror("files.directoryMarkers", "directory_markers", |m| Some(json!(m.spec.files.directory_markers))),
    mirror("files.trashMaxAgeSeconds", "trash.max_age", |m| seconds(m.spec.files.trash_max_age_seconds)),
    mirror("files.trashMaxBytes", "trash.max_size", |m| Some(json!(m.spec.files.trash_max_bytes))),
    base("agent.logLevel", "log.level", |m| Some(json!(m.spec.agent.log_level.as_str()))),
    operator("agent.resources", "the container's resources"),
    operator("agent.runAsUser", "the container's securityContext.runAsUser"),
    operator("agent.runAsGroup", "the container's securityContext.runAsGroup"),
    // In a pod the variable GOSYNC_AGENT_METRICS_LISTEN wins: probes are part of the pod and can't follow an edit.
    base("agent.metricsPort", "agent.metrics.listen", |m| {
        Some(json!(format!("0.0.0.0:{}", m.spec.agent.metrics_port)))
    }),
    operator("rollout.onMissing", "whether the operator restarts workloads whose pods have no agent"),
    operator("guard", "what the admission policy does with pods that have no agent"),
    mirror("suspend", "paused", |m| m.spec.suspend.then_some(json!(true))),
    mirror("syncRequest", "request", |m| some_text(&m.spec.sync_request)),
];

/// The mirrored folder in the agent's container.
fn local_path(mirror: &SyncMirror) -> String {
    let volume = volume_path(&mirror.spec.volume.name);
    match mirror.spec.volume.sub_path.trim_end_matches('/') {
        "" => volume,
        folder => format!("{volume}/{folder}"),
    }
}

/// A text as the agent's config writes it: there a dollar begins a variable.
fn text(text: &str) -> Option<Value> {
    Some(json!(text.replace('$', "$$")))
}

/// The same; an empty one leaves the key at its default.
fn some_text(words: &str) -> Option<Value> {
    if words.is_empty() { None } else { text(words) }
}

/// A leading `~` would be the home folder, a dollar a variable; to .gitignore a backslash changes neither's meaning.
fn ignore_pattern(pattern: &str) -> String {
    let escaped = pattern.replace('$', "$$");
    if escaped == "~" || escaped.starts_with("~/") { format!("\\{escaped}") } else { escaped }
}

fn seconds(seconds: i64) -> Option<Value> {
    Some(json!(format!("{seconds}s")))
}

fn file(mirror: &SyncMirror, file: UserFile, named: bool) -> Option<Value> {
    named.then(|| json!(file.path(mirror.mirror_name())))
}
