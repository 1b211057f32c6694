//! The agent's configuration: every key with its default and meaning. The tables below are the one place that knows them.

use std::path::PathBuf;
use std::time::Duration;

use super::choice::*;
use super::mirror::MirrorConfig;
use super::places::Places;
use super::secret::{Secret, twin};
use super::section::{KeyDoc, Section, section};
use super::units::{Bytes, Every, Percent};
use super::value::Listen;

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The whole configuration, with everything resolved: variables, environment, defaults, overrides per mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// Where the agent keeps its own state.
    pub data_dir: PathBuf,
    /// Its log.
    pub log: Log,
    /// The database that says what is known of the buckets.
    pub metadata: Metadata,
    /// The cache in front of it.
    pub cache: Cache,
    /// The object store that mirrors use unless they name another.
    pub s3: S3,
    /// The mirrors, each with its effective settings.
    pub syncs: Vec<MirrorConfig>,
    /// How mirrors work unless they say otherwise.
    pub sync: SyncSettings,
    /// The process itself.
    pub agent: Process,
    /// Where each key was set.
    pub places: Places,
}

section! {
    /// The agent's log.
    pub struct Log {
        /// Least severe level that is written.
        level: LogLevel = LogLevel::Info,
        /// One line of text or one JSON object per event.
        format: LogFormat = LogFormat::Text,
        /// File to write to. Empty: stdout.
        file: Option<PathBuf> = None,
        /// When the file is closed and a new one begun.
        rotation: Rotation = Rotation::default(),
    }
}

section! {
    /// Rotation of the log's file.
    pub struct Rotation {
        /// Largest file, in MB (10^6 bytes).
        max_size: u32 = 100,
        /// Most closed files that are kept. 0: any number.
        max_backups: u32 = 5,
        /// Oldest closed file that is kept, in days. 0: of any age.
        max_age: u32 = 30,
        /// Closed files are compressed (gzip).
        compress: bool = true,
    }
}

section! {
    /// The database that says what is known of the buckets.
    pub struct Metadata {
        /// Which database. SQLite serves one machine, Postgres a fleet.
        kind as "type": MetadataKind = MetadataKind::Sqlite,
        /// SQLite.
        sqlite: Sqlite = Sqlite::default(),
        /// Postgres.
        postgres: Postgres = Postgres::default(),
    }
}

section! {
    /// SQLite.
    pub struct Sqlite {
        /// The database's file.
        path: PathBuf = PathBuf::from("${data_dir}/gosync.db"),
    }
}

section! {
    /// Postgres.
    pub struct Postgres {
        /// Host name or address.
        host: String = "localhost".to_owned(),
        /// Port.
        port: u16 = 5432,
        /// User.
        user: String = "gosync".to_owned(),
        /// Password.
        password: Secret = Secret::default(),
        /// Database.
        database: String = "gosync".to_owned(),
        /// How much TLS is asked for.
        sslmode: SslMode = SslMode::Prefer,
        /// File with the certificates that are trusted. Empty: those of the system.
        sslrootcert: Option<PathBuf> = None,
        /// Host, port, user and the rest as one URL, instead of the single keys.
        url: Secret = Secret::default(),
        /// Most connections, 1 to 25.
        max_connections: u32 = 2,
        /// Keep one connection that listens for changes. Off behind PgBouncer in transaction mode.
        listen: bool = true,
    }
}

section! {
    /// The cache that agents share: what one has read, the others need not read again.
    pub struct Cache {
        /// Use the cache.
        enabled: bool = false,
        /// Redis.
        redis: Redis = Redis::default(),
        /// How long an entry lives.
        ttl: Duration = seconds(300),
        /// Largest content of a file that is kept, in bytes.
        max_content_size: Bytes = Bytes(1 << 20),
    }
}

section! {
    /// Redis.
    pub struct Redis {
        /// Host name or address.
        host: String = "localhost".to_owned(),
        /// Port.
        port: u16 = 6379,
        /// User. Empty: the default one.
        username: String = String::new(),
        /// Password.
        password: Secret = Secret::default(),
        /// Number of the database.
        db: u32 = 0,
        /// What every key begins with.
        prefix: String = "gosync".to_owned(),
        /// Speak TLS.
        tls: bool = false,
        /// File with the certificates that are trusted. Empty: those of the system.
        ca_file: Option<PathBuf> = None,
        /// Host, port, user and the rest as one URL, instead of the single keys.
        url: Secret = Secret::default(),
    }
}

section! {
    /// The object store.
    pub struct S3 {
        /// Host, host and port, or URL of the store.
        endpoint: String = "s3.amazonaws.com".to_owned(),
        /// Region.
        region: String = "us-east-1".to_owned(),
        /// Bucket. Required, unless every mirror names its own.
        bucket: String = String::new(),
        /// Access key. Empty: the usual chain of environment, profile, web identity and instance metadata.
        access_key: Secret = Secret::default(),
        /// Secret key to the access key.
        secret_key: Secret = Secret::default(),
        /// Session token to temporary keys.
        session_token: Secret = Secret::default(),
        /// Speak TLS where the endpoint has no scheme.
        use_ssl: bool = true,
        /// File with the certificates that are trusted. Empty: those of the system.
        ca_file: Option<PathBuf> = None,
        /// Name the bucket in the path instead of the host name. auto: for any endpoint that is not AWS.
        force_path_style: PathStyle = PathStyle::Auto,
        /// Checksums sent along with uploads. Some stores refuse trailing ones; auto tries it out.
        checksums: Checksums = Checksums::Auto,
        /// Server-side encryption asked for on uploads. Empty: what the bucket does by itself.
        sse: Sse = Sse::None,
        /// The KMS key, with sse aws:kms.
        kms_key_id: String = String::new(),
        /// Storage class asked for on uploads. Empty: the bucket's.
        storage_class: String = String::new(),
    }
}

section! {
    /// How mirrors work. Every key can also be set in an entry of `syncs`, for that mirror alone.
    pub struct SyncSettings {
        /// How often the bucket is looked at.
        interval: Duration = seconds(60),
        /// How often the whole local tree is walked while the file system tells of changes.
        scan_interval: Duration = seconds(3600),
        /// Large transfers at once. Small ones share a budget of requests.
        workers: u32 = 4,
        /// Size of the parts of large uploads. Stores want 5 MiB at least; smaller values are raised to it.
        chunk_size: Bytes = Bytes(5_000_000),
        /// How often a failed request is tried again.
        max_retries: u32 = 3,
        /// How long a file that is being written is waited for before it is uploaded as it is.
        settle_max: Duration = seconds(30),
        /// More deletes than this halt the mirror and ask.
        max_deletes: MaxDeletes = MaxDeletes::default(),
        /// Conflict copies of one path before it is held.
        max_conflicts_per_path: u32 = 20,
        /// Limits of the line.
        bandwidth: Bandwidth = Bandwidth::default(),
        /// What is kept of deleted and replaced files.
        trash: TrashSettings = TrashSettings::default(),
        /// Disk space that is never used up.
        min_free: MinFree = MinFree::default(),
        /// Which bits of a file's mode are synced: all, the executable bit, none.
        mode: FileMode = FileMode::Full,
        /// Symbolic links are reported and skipped, or kept as links.
        symlinks: Symlinks = Symlinks::Skip,
        /// Make and honour `dir/` objects for folders.
        directory_markers: bool = false,
        /// Read every file again that often, to find silent damage.
        scrub: Every = Every::Off,
        /// Age from which an unfinished upload of this agent is aborted.
        stale_upload_age: Duration = seconds(86_400),
        /// The first complete download.
        hydration: Hydration = Hydration::default(),
        /// How long the last flush may take when the agent is asked to end.
        drain: Duration = seconds(30),
    }
}

section! {
    /// The guard against mass deletes: it needs `min` deletes, and more than `percent` or more than `files`.
    pub struct MaxDeletes {
        /// More deletes than this share of the mirror's files, in percent, halt it and ask.
        percent: Percent = Percent(50),
        /// More deletes than this many files halt it too.
        files: u64 = 10_000,
        /// Fewer deletes than this never halt it.
        min: u64 = 20,
    }
}

section! {
    /// Limits of the line, each in bytes per second. 0: none.
    pub struct Bandwidth {
        /// To the bucket, in bytes per second. 0: no limit.
        upload: Bytes = Bytes(0),
        /// From the bucket, in bytes per second. 0: no limit.
        download: Bytes = Bytes(0),
    }
}

section! {
    /// What is kept of deleted and replaced files.
    pub struct TrashSettings {
        /// How long it is kept.
        max_age: Duration = seconds(7 * 86_400),
        /// How much is kept, in bytes. Nothing younger than a day is given up for it.
        max_size: Bytes = Bytes(1 << 30),
    }
}

section! {
    /// Disk space that downloads leave free, whichever of the two is reached first.
    pub struct MinFree {
        /// Downloads leave this share of the file system free, in percent,
        percent: Percent = Percent(5),
        /// or this many bytes, whichever is reached first.
        bytes: Bytes = Bytes(1 << 30),
    }
}

section! {
    /// The first complete download.
    pub struct Hydration {
        /// Download everything before the mirror counts as ready, or call it ready at once.
        mode: HydrationMode = HydrationMode::Full,
        /// How long it may take.
        timeout: Duration = seconds(540),
        /// What follows when it takes longer: stay not ready, or call it ready and go on.
        on_timeout: OnTimeout = OnTimeout::Block,
    }
}

section! {
    /// The process itself.
    pub struct Process {
        /// The socket that commands talk to.
        socket_path: PathBuf = PathBuf::from("${data_dir}/gosync.sock"),
        /// The name in conflict copies and states. Empty: the host's or pod's.
        device_name: String = String::new(),
        /// File that the receipts of the last flush are also written to, as short JSON. In pods: the container's termination
        /// message. Empty: none.
        termination_message_path: Option<PathBuf> = None,
        /// Metrics and probes.
        metrics: Metrics = Metrics::default(),
        /// Traces.
        otlp: Otlp = Otlp::default(),
    }
}

section! {
    /// Metrics and probes.
    pub struct Metrics {
        /// Address of /metrics, /livez, /readyz, /startupz and /v1/state (read-only). Empty: off. Port 0: any free one.
        listen: Listen = Listen(Some(std::net::SocketAddr::new(
            std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            9754,
        ))),
    }
}

section! {
    /// Traces.
    pub struct Otlp {
        /// Where traces are sent to, as OTLP over HTTP. Empty: nowhere.
        endpoint: String = String::new(),
    }
}

/// The keys of the first level, in their order.
pub(crate) const TOP: [&str; 8] = ["data_dir", "log", "metadata", "cache", "s3", "syncs", "sync", "agent"];

/// Every key with its default and meaning, in order; those of a mirror begin with `syncs[].`.
pub fn reference() -> Vec<KeyDoc> {
    let mut out = vec![KeyDoc {
        path: "data_dir".to_owned(),
        kind: "path".to_owned(),
        default: super::shown::Shown::Text(String::new()),
        doc: "Where the agent keeps its own state. Required.".to_owned(),
        secret: false,
        environment: None,
    }];
    Log::reference("log", &mut out);
    Metadata::reference("metadata", &mut out);
    Cache::reference("cache", &mut out);
    S3::reference("s3", &mut out);
    super::mirror::MirrorKeys::reference("syncs[]", &mut out);
    SyncSettings::reference("sync", &mut out);
    Process::reference("agent", &mut out);
    for key in &mut out {
        if !key.path.starts_with("syncs[]") {
            key.environment = Some(environment_name(&key.path));
        }
    }
    out
}

/// The variable that sets a key: `GOSYNC_S3_ACCESS_KEY` for `s3.access_key`.
pub(crate) fn environment_name(path: &str) -> String {
    format!("GOSYNC_{}", path.replace('.', "_").to_uppercase())
}

/// A key that the environment can set.
pub(crate) struct EnvironmentKey {
    pub path: String,
    pub variable: String,
    /// The other key of a secret: the text itself, or the file that holds it.
    pub twin: Option<String>,
}

/// Every key that the environment can set.
pub(crate) fn environment_keys() -> Vec<EnvironmentKey> {
    let mut keys = Vec::new();
    for key in reference() {
        let Some(variable) = key.environment else { continue };
        let file = key.secret.then(|| twin(&key.path));
        if let Some(file) = &file {
            keys.push(EnvironmentKey {
                path: file.clone(),
                variable: environment_name(file),
                twin: Some(key.path.clone()),
            });
        }
        keys.push(EnvironmentKey { path: key.path, variable, twin: file });
    }
    keys
}

/// Where a key of that name belongs.
pub(crate) fn homes_of(name: &str) -> Vec<String> {
    reference()
        .into_iter()
        .map(|key| key.path)
        .filter(|path| path.rsplit('.').next() == Some(name) && path.contains('.'))
        .map(|path| format!("`{path}`"))
        .take(3)
        .collect()
}
