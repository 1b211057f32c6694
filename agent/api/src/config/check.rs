//! What no single value shows: ranges, contradictions between keys, mirrors in each other's way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::agent::{AgentConfig, Cache, Metadata, S3, SyncSettings};
use super::choice::Sse;
use super::load::Disk;
use super::mirror::MirrorConfig;
use super::mounts::Spot;
use super::places::Places;
use super::problem::{Place, Problem, Wrong};
use super::secret::{Secret, twin};
use super::section::join_path;
use super::units::{Bytes, Every};
use crate::socket_path::SOCKET_PATH_BYTES_MAX;
use crate::words::Direction;

/// Largest part of a multipart upload: 5 GiB.
const PART_BYTES_MAX: Bytes = Bytes(5 << 30);
/// Largest content in a cache: larger ones are not faster from there.
const CONTENT_BYTES_MAX: Bytes = Bytes(16 << 20);

/// Checks a config that has been read. `start` is where required keys are missed that nothing is near to.
pub(crate) fn whole(config: &AgentConfig, start: Option<&Place>, disk: &dyn Disk, problems: &mut Vec<Problem>) {
    let mut check = Check { places: &config.places, start, problems };
    check.process(config);
    check.s3(&config.s3, "s3");
    check.metadata(&config.metadata, "metadata");
    check.cache(&config.cache, "cache");
    check.sync(&config.sync, "sync");
    for (index, mirror) in config.syncs.iter().enumerate() {
        let path = format!("syncs[{index}]");
        // What a mirror only inherits has been checked above.
        if check.set(&format!("{path}.s3")) {
            check.s3(&mirror.s3, &format!("{path}.s3"));
        }
        if check.set(&format!("{path}.metadata")) {
            check.metadata(&mirror.metadata, &format!("{path}.metadata"));
        }
        if check.set(&format!("{path}.cache")) {
            check.cache(&mirror.cache, &format!("{path}.cache"));
        }
        check.sync(&mirror.sync, &path);
        check.policy(mirror, &path);
    }
    check.bucket(config);
    check.names(&config.syncs);
    check.roots(config, disk);
}

/// Checks a mirror made by a command against the mirrors that are there.
pub(crate) fn newcomer(
    config: &AgentConfig,
    mirror: &MirrorConfig,
    others: &[MirrorConfig],
    disk: &dyn Disk,
    problems: &mut Vec<Problem>,
) {
    let own = owned_paths(config, disk);
    let root = Root::of(mirror, disk);
    for other in config.syncs.iter().chain(others) {
        if other.name == mirror.name {
            let wrong = Wrong::new(
                format!("there is already a mirror \"{}\"{}", other.name, defined(other)),
                "choose another name",
            );
            problems.push(wrong.at(None, "name"));
        }
        if let Some(wrong) = overlap(&root, &Root::of(other, disk)) {
            problems.push(wrong.at(None, "local_path"));
        }
    }
    for (key, path) in &own {
        if let Some(wrong) = inside(path, &root) {
            let what = format!("the agent's {key} {}", wrong.what);
            problems.push(Wrong { what, ..wrong }.at(None, "local_path"));
        }
    }
}

struct Check<'a> {
    places: &'a Places,
    start: Option<&'a Place>,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    fn set(&self, key: &str) -> bool {
        self.places.exact(key).is_some()
    }

    fn wrong(&mut self, key: &str, what: impl Into<String>, hint: impl Into<String>) {
        let place = self.places.near(key).or(self.start).cloned();
        self.problems.push(Wrong::new(what, hint).at(place, key));
    }

    /// Complains about a value out of its range, where it was set: defaults are right, and inherited values are checked
    /// where they come from.
    fn range(&mut self, section: &str, key: &str, fits: bool, range: &str) {
        let key = join_path(section, key);
        if !fits && self.set(&key) {
            self.wrong(&key, format!("it has to be {range}"), "mend the value, or leave the key out");
        }
    }

    fn process(&mut self, config: &AgentConfig) {
        let rotation = &config.log.rotation;
        self.range("log.rotation", "max_size", rotation.max_size >= 1, "1 (MB) or more");
        let socket = config.agent.socket_path.as_os_str().len();
        if socket > SOCKET_PATH_BYTES_MAX {
            self.wrong(
                "agent.socket_path",
                format!("the path has {socket} bytes; a socket's has {SOCKET_PATH_BYTES_MAX} at most"),
                "set agent.socket_path to a shorter one, such as /run/gosync/gosync.sock",
            );
        }
        let device = &config.agent.device_name;
        let plain = device.len() <= 64 && !device.contains(|c: char| c == '/' || c.is_control());
        self.range("agent", "device_name", plain, "64 bytes at most, without / and control characters");
        let otlp = &config.agent.otlp.endpoint;
        let url = otlp.is_empty() || otlp.starts_with("http://") || otlp.starts_with("https://");
        self.range("agent.otlp", "endpoint", url, "a URL such as http://127.0.0.1:4318");
    }

    fn s3(&mut self, s3: &S3, section: &str) {
        let key = |name: &str| join_path(section, name);
        let places = self.places;
        // Where a secret was set: as text or as the file that holds it.
        let secret_key = |name: &str| match places.exact(&key(&twin(name))) {
            Some(_) => key(&twin(name)),
            None => key(name),
        };
        if let Err(wrong) = s3.resolve_endpoint() {
            self.wrong(&key("endpoint"), wrong.what, wrong.hint);
        }
        if self.set(&key("bucket"))
            && !s3.bucket.is_empty()
            && let Err(wrong) = super::remote_path::check_bucket(&s3.bucket)
        {
            self.wrong(&key("bucket"), wrong.what, wrong.hint);
        }
        // A key that could not be read has been told already.
        let missing = |check: &Self, secret: &Secret, name: &str| {
            let (key, file) = (key(name), key(&twin(name)));
            secret.is_empty() && !check.problems.iter().any(|problem| problem.key == key || problem.key == file)
        };
        let no_access_key = missing(self, &s3.access_key, "access_key");
        let no_secret_key = missing(self, &s3.secret_key, "secret_key");
        match (no_access_key, no_secret_key) {
            (false, true) => self.wrong(
                &secret_key("access_key"),
                "access_key is set without secret_key",
                "set both, or neither to use the credentials of the environment",
            ),
            (true, false) => self.wrong(
                &secret_key("secret_key"),
                "secret_key is set without access_key",
                "set both, or neither to use the credentials of the environment",
            ),
            (true, true) if !s3.session_token.is_empty() => self.wrong(
                &secret_key("session_token"),
                "session_token is set without access_key and secret_key",
                "set all three, or none",
            ),
            _ => {}
        }
        if s3.ca_file.is_some() && !s3.speaks_tls() {
            self.wrong(
                &key("ca_file"),
                format!("the endpoint {} does not speak TLS, so ca_file has no use", s3.endpoint),
                "use https or use_ssl: true, or leave ca_file out",
            );
        }
        if !s3.kms_key_id.is_empty() && s3.sse != Sse::Kms {
            self.wrong(
                &key("kms_key_id"),
                "kms_key_id is set without sse: aws:kms",
                "set `sse: aws:kms`, or leave kms_key_id out",
            );
        }
    }

    fn metadata(&mut self, metadata: &Metadata, section: &str) {
        let postgres = join_path(section, "postgres");
        let connections = metadata.postgres.max_connections;
        self.range(&postgres, "max_connections", (1..=25).contains(&connections), "1 to 25");
        let url = metadata.postgres.url.expose();
        if !url.is_empty() {
            let schemes = ["postgres://", "postgresql://"];
            let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
            // Not repeated: it may hold a password.
            let is_url =
                rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace) && has_port(rest));
            self.range(&postgres, "url", is_url, "postgres://[user:password@]host[:port][/database]");
            self.url_and_parts(&postgres, &["host", "port", "user", "database", "sslmode"]);
        }
    }

    fn cache(&mut self, cache: &Cache, section: &str) {
        self.range(section, "ttl", !cache.ttl.is_zero(), "more than 0s");
        let redis = join_path(section, "redis");
        self.range(&redis, "prefix", !cache.redis.prefix.is_empty(), "at least one character");
        self.range(&redis, "db", cache.redis.db <= 255, "0 to 255");
        self.range(section, "max_content_size", cache.max_content_size <= CONTENT_BYTES_MAX, "16MiB at most");
        let url = cache.redis.url.expose();
        if !url.is_empty() {
            let schemes = ["redis://", "rediss://"];
            let is_url = schemes.iter().filter_map(|scheme| url.strip_prefix(scheme)).any(|rest| !rest.is_empty());
            // Not repeated: it may hold a password.
            self.range(&redis, "url", is_url, "redis://[user:password@]host[:port][/database], or rediss:// with TLS");
            self.url_and_parts(&redis, &["host", "port", "username", "db", "tls"]);
        }
    }

    fn url_and_parts(&mut self, section: &str, parts: &[&str]) {
        for part in parts {
            let key = join_path(section, part);
            if self.set(&key) && (self.set(&join_path(section, "url")) || self.set(&join_path(section, "url_file"))) {
                self.wrong(&key, format!("{part} and url are both set"), "keep the url, or the single keys");
            }
        }
    }

    fn sync(&mut self, sync: &SyncSettings, section: &str) {
        let tenth = Duration::from_millis(100);
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        self.range(section, "interval", sync.interval >= tenth, "100ms or more");
        self.range(section, "scan_interval", sync.scan_interval >= second, "1s or more");
        self.range(section, "workers", (1..=64).contains(&sync.workers), "1 to 64");
        let part = sync.chunk_size > Bytes(0) && sync.chunk_size <= PART_BYTES_MAX;
        self.range(section, "chunk_size", part, "1 byte to 5GiB");
        self.range(section, "max_retries", sync.max_retries <= 100, "100 at most");
        self.range(section, "max_conflicts_per_path", sync.max_conflicts_per_path >= 1, "1 or more");
        let scrub = !matches!(sync.scrub, Every::Each(period) if period < minute);
        self.range(section, "scrub", scrub, "off, or 1m or more");
        self.range(section, "stale_upload_age", sync.stale_upload_age >= minute, "1m or more");
        self.range(section, "settle_max", sync.settle_max >= tenth, "100ms or more");
        let hydration = join_path(section, "hydration");
        self.range(&hydration, "timeout", sync.hydration.timeout >= second, "1s or more");
    }

    fn policy(&mut self, mirror: &MirrorConfig, path: &str) {
        let key = join_path(path, "conflict_policy");
        if mirror.direction != Direction::TwoWay && self.set(&key) {
            self.wrong(
                &key,
                format!("a {} mirror has no conflicts to settle", mirror.direction),
                "leave the key out, or make the mirror two-way",
            );
        }
    }

    fn bucket(&mut self, config: &AgentConfig) {
        let needed = config.syncs.is_empty() || config.syncs.iter().any(|mirror| mirror.s3.bucket.is_empty());
        if config.s3.bucket.is_empty() && needed {
            self.wrong("s3.bucket", "this key is required", "add `bucket: my-bucket` below `s3:`");
        }
    }

    fn names(&mut self, mirrors: &[MirrorConfig]) {
        for (index, mirror) in mirrors.iter().enumerate() {
            let Some(first) = mirrors[..index].iter().find(|other| other.name == mirror.name) else { continue };
            if !mirror.name.is_empty() {
                self.wrong(
                    &format!("syncs[{index}].name"),
                    format!("there is already a mirror \"{}\"{}", mirror.name, defined(first)),
                    "give each mirror its own name",
                );
            }
        }
    }

    fn roots(&mut self, config: &AgentConfig, disk: &dyn Disk) {
        let roots: Vec<Root<'_>> = config.syncs.iter().map(|mirror| Root::of(mirror, disk)).collect();
        let own = owned_paths(config, disk);
        for (index, root) in roots.iter().enumerate() {
            let key = format!("syncs[{index}].local_path");
            if let Some(wrong) = roots[..index].iter().find_map(|other| overlap(root, other)) {
                self.wrong(&key, wrong.what, wrong.hint);
            }
            for (owner, path) in &own {
                if let Some(wrong) = inside(path, root) {
                    self.wrong(owner, wrong.what, wrong.hint);
                }
            }
        }
    }
}

/// Whether what stands in the place of a port is one, in the part of a URL after its scheme.
fn has_port(rest: &str) -> bool {
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    match host.rsplit_once(':') {
        // Of an address in brackets, colons are a part.
        Some((_, port)) if !port.contains(']') => port.is_empty() || port.parse::<u16>().is_ok(),
        _ => true,
    }
}

/// Where a mirror is defined, for messages about another one.
fn defined(mirror: &MirrorConfig) -> String {
    match &mirror.place {
        Some(place) => format!(" at {place}"),
        None => ", made by `gosync sync mirror`".to_owned(),
    }
}

/// The root of a mirror, with links followed.
struct Root<'a> {
    mirror: &'a MirrorConfig,
    real: PathBuf,
    spot: Option<Spot>,
}

impl<'a> Root<'a> {
    fn of(mirror: &'a MirrorConfig, disk: &dyn Disk) -> Self {
        let real = disk.real_path(&mirror.local_path);
        let spot = disk.spot(&real);
        Self { mirror, real, spot }
    }

    fn known(&self) -> bool {
        !self.mirror.local_path.as_os_str().is_empty()
    }
}

fn relation(path: &Path, other: &Path) -> Option<&'static str> {
    if path == other {
        Some("is the same folder as")
    } else if path.starts_with(other) {
        Some("lies inside")
    } else if other.starts_with(path) {
        Some("holds")
    } else {
        None
    }
}

/// What is wrong with `root` beside `other`.
fn overlap(root: &Root<'_>, other: &Root<'_>) -> Option<Wrong> {
    if !root.known() || !other.known() {
        return None;
    }
    let by_mounts = || {
        let (spot, there) = root.spot.as_ref().zip(other.spot.as_ref())?;
        (spot.device == there.device).then(|| relation(&spot.path, &there.path))?
    };
    let relation = relation(&root.real, &other.real).or_else(by_mounts)?;
    Some(Wrong::new(
        format!(
            "{} {relation} {}, the root of mirror \"{}\"{}",
            root.mirror.local_path.display(),
            other.mirror.local_path.display(),
            other.mirror.name,
            defined(other.mirror),
        ),
        "a file belongs to one mirror: choose folders that don't hold each other",
    ))
}

/// The agent's own files and folders, by key.
fn owned_paths(config: &AgentConfig, disk: &dyn Disk) -> Vec<(&'static str, PathBuf)> {
    let mut own = vec![("data_dir", &config.data_dir)];
    let elsewhere = [
        ("metadata.sqlite.path", Some(&config.metadata.sqlite.path)),
        ("log.file", config.log.file.as_ref()),
        ("agent.socket_path", Some(&config.agent.socket_path)),
    ];
    for (key, path) in elsewhere {
        // What lies in the data_dir is told once, with it.
        if let Some(path) = path
            && !path.starts_with(&config.data_dir)
        {
            own.push((key, path));
        }
    }
    own.into_iter()
        .filter(|(_, path)| !path.as_os_str().is_empty())
        .map(|(key, path)| (key, disk.real_path(path)))
        .collect()
}

/// What is wrong with one of the agent's own paths beside a root. `.gosync` in the root is never synced.
fn inside(path: &Path, root: &Root<'_>) -> Option<Wrong> {
    if !root.known() || !path.starts_with(&root.real) || path.starts_with(root.real.join(".gosync")) {
        return None;
    }
    Some(Wrong::new(
        format!(
            "{} lies inside {}, the root of mirror \"{}\"{}: the agent would sync its own state",
            path.display(),
            root.mirror.local_path.display(),
            root.mirror.name,
            defined(root.mirror),
        ),
        format!("choose a place outside, or {}", root.mirror.local_path.join(".gosync").display()),
    ))
}
