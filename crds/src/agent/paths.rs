//! Names and places in a pod that its config and its container have to agree on.

/// The folder of the config, a projected volume.
pub const CONFIG_FOLDER: &str = "/etc/gosync/mirrors";
/// Socket, notes and what need not outlive the pod, an emptyDir.
pub const RUN_FOLDER: &str = "/run/gosync";
/// The agent's socket.
pub const SOCKET: &str = "/run/gosync/gosync.sock";
/// Below it each mirrored volume is mounted by its name.
pub const VOLUMES_FOLDER: &str = "/volumes";
/// The key of a mirror's ConfigMap, and the file in the pod, with what all mirrors of a pod share.
pub const BASE_FILE: &str = "base.yaml";
/// The key of a mirror's ConfigMap with what is its own.
pub const MIRROR_KEY: &str = "mirror.yaml";
/// The variable that says which bits of a mode can be kept in this pod, where the mirror leaves it open.
pub const FILE_MODE_VARIABLE: &str = "FILE_MODE";

/// The variable that says where the agent leaves its last receipts, and where the kubelet looks for them.
pub const TERMINATION_MESSAGE: (&str, &str) = ("GOSYNC_AGENT_TERMINATION_MESSAGE_PATH", "/dev/termination-log");

/// A file that a Secret or ConfigMap of the user is seen as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UserFile {
    /// Access key of the store.
    AccessKey,
    /// Secret key of the store.
    SecretKey,
    /// Certificates of the store.
    CaBundle,
    /// URL of Postgres.
    PostgresUrl,
    /// URL of Redis.
    RedisUrl,
}

impl UserFile {
    /// Its name; also the key of the credentials' Secret.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessKey => "access_key",
            Self::SecretKey => "secret_key",
            Self::CaBundle => "ca.crt",
            Self::PostgresUrl => "postgres_url",
            Self::RedisUrl => "redis_url",
        }
    }

    /// Its path in the folder of the config.
    pub fn relative_path(self, mirror: &str) -> String {
        format!("files/{mirror}/{}", self.as_str())
    }

    /// Its path in the pod.
    pub fn path(self, mirror: &str) -> String {
        format!("{CONFIG_FOLDER}/{}", self.relative_path(mirror))
    }
}

/// The ConfigMap that the operator keeps for a mirror, in the mirror's namespace.
pub fn config_map_name(mirror: &str) -> String {
    format!("gosync-mirror-{mirror}")
}

/// The file in the pod with what is a mirror's own. It is never `base.yaml`, whatever the mirror is called.
pub fn mirror_file(mirror: &str) -> String {
    format!("mirror-{mirror}.yaml")
}

/// Where a volume is mounted.
pub fn volume_path(volume: &str) -> String {
    format!("{VOLUMES_FOLDER}/{volume}")
}
