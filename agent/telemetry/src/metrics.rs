//! The agent's metrics: `gosync_` + noun + base unit.
//!
//! Every label has a closed list of values (mirrors, directions, operations, reasons, classes), never a path, a key or a
//! host, so that the number of series is bounded whatever is synced. Gauges are set just before they are read.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Of what [`Metrics::render`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// seconds; few, because each is a series
const SWEEP_SECONDS: [f64; 4] = [0.1, 1.0, 10.0, 60.0];
const REQUEST_SECONDS: [f64; 4] = [0.05, 0.25, 1.0, 10.0];

type Seconds = Gauge<f64, AtomicU64>;
type NewHistogram = fn() -> Histogram;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfMirror {
    mirror: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDirection {
    mirror: String,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfResult {
    mirror: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    mirror: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfClass {
    mirror: String,
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    operation: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfName {
    name: String,
}

const UPLOAD: &str = "upload";
const DOWNLOAD: &str = "download";
const COMPLETE: &str = "complete";
const FAILED: &str = "failed";

/// Everything that is counted, and its text.
pub struct Metrics {
    registry: Registry,
    families: Families,
}

#[derive(Clone)]
struct Families {
    lag: Family<OfMirror, Seconds>,
    pending_files: Family<OfMirror, Gauge>,
    pending_bytes: Family<OfMirror, Gauge>,
    queue_depth: Family<OfMirror, Gauge>,
    transferred_bytes: Family<OfDirection, Counter>,
    transferred_files: Family<OfDirection, Counter>,
    cycles: Family<OfResult, Counter>,
    cycle_seconds: Family<OfMirror, Histogram, NewHistogram>,
    last_success: Family<OfMirror, Seconds>,
    conflicts: Family<OfMirror, Counter>,
    conflicts_unresolved: Family<OfMirror, Gauge>,
    deletes: Family<OfDirection, Counter>,
    halted: Family<OfReason, Gauge>,
    errors: Family<OfClass, Counter>,
    hydration_seconds: Family<OfMirror, Seconds>,
    hydration_progress: Family<OfMirror, Seconds>,
    scan_seconds: Family<OfMirror, Seconds>,
    watch_overflows: Family<OfMirror, Counter>,
    requests: Family<OfRequest, Counter>,
    request_seconds: Histogram,
    throttles: Counter,
    dependencies: Family<OfName, Gauge>,
}

impl Metrics {
    /// `version` and `commit` are told as `build_info`.
    #[must_use]
    pub fn new(version: &str, commit: &str) -> Self {
        let mut registry = Registry::with_prefix("gosync");
        let families = Families::register(&mut registry);
        let build = vec![("version".to_owned(), version.to_owned()), ("commit".to_owned(), commit.to_owned())];
        registry.register("build", "What this agent was built from", Info::new(build));
        Self { registry, families }
    }

    /// The text that a scrape gets.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a string has no error.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// The counters of one mirror; the same ones each time.
    #[must_use]
    pub fn mirror(&self, name: &str) -> MirrorMetrics {
        MirrorMetrics::of(&self.families, name)
    }

    /// Ends the series of a mirror that is no more. `reasons` and `classes`: all that were ever told of it.
    pub fn forget_mirror(&self, name: &str, reasons: &[&'static str], classes: &[&'static str]) {
        self.families.forget(name, reasons, classes);
    }

    /// A request to the store has ended.
    pub fn s3_request(&self, operation: &'static str, code: &'static str, duration: Duration, throttled: bool) {
        self.families.requests.get_or_create(&OfRequest { operation, code }).inc();
        self.families.request_seconds.observe(duration.as_secs_f64());
        if throttled {
            self.families.throttles.inc();
        }
    }

    /// Whether something outside answers.
    pub fn dependency(&self, name: &str, up: bool) {
        self.families.dependencies.get_or_create(&OfName { name: name.to_owned() }).set(up.into());
    }
}

impl Families {
    fn register(registry: &mut Registry) -> Self {
        let families = Self {
            lag: Family::default(),
            pending_files: Family::default(),
            pending_bytes: Family::default(),
            queue_depth: Family::default(),
            transferred_bytes: Family::default(),
            transferred_files: Family::default(),
            cycles: Family::default(),
            cycle_seconds: Family::new_with_constructor(|| Histogram::new(SWEEP_SECONDS)),
            last_success: Family::default(),
            conflicts: Family::default(),
            conflicts_unresolved: Family::default(),
            deletes: Family::default(),
            halted: Family::default(),
            errors: Family::default(),
            hydration_seconds: Family::default(),
            hydration_progress: Family::default(),
            scan_seconds: Family::default(),
            watch_overflows: Family::default(),
            requests: Family::default(),
            request_seconds: Histogram::new(REQUEST_SECONDS),
            throttles: Counter::default(),
            dependencies: Family::default(),
        };
        let f = families.clone();
        registry.register("sync_lag_seconds", "Age of the oldest change that is not yet on both sides", f.lag);
        registry.register("pending_files", "Files that are not yet on both sides", f.pending_files);
        registry.register("pending_bytes", "Bytes that are not yet on both sides", f.pending_bytes);
        registry.register("queue_depth", "Operations that wait or run", f.queue_depth);
        registry.register("transferred_bytes", "Bytes of content sent or received", f.transferred_bytes);
        registry.register("transferred_files", "Files sent or received", f.transferred_files);
        registry.register("sync_cycles", "Comparisons of both sides that ended", f.cycles);
        registry.register("sync_duration_seconds", "How long a comparison of both sides took", f.cycle_seconds);
        registry.register("last_success_timestamp_seconds", "When both sides were last found in step", f.last_success);
        registry.register("conflicts", "Files that both sides had changed", f.conflicts);
        registry.register("conflicts_unresolved", "Conflict copies that still lie there", f.conflicts_unresolved);
        registry.register("deletes", "Deletes carried out: of objects (upload) and of files (download)", f.deletes);
        registry.register("halted", "1 while a guard halts the mirror for this reason", f.halted);
        registry.register("errors", "Troubles that began", f.errors);
        registry.register("hydration_duration_seconds", "How long the first comparison took", f.hydration_seconds);
        registry.register("hydration_progress_ratio", "Share of the files that are there", f.hydration_progress);
        registry.register("scan_duration_seconds", "How long the last comparison took", f.scan_seconds);
        registry.register("watch_overflows", "Times that the file system's events were lost", f.watch_overflows);
        registry.register("s3_requests", "Requests to the store that ended", f.requests);
        registry.register("s3_request_duration_seconds", "How long a request to the store took", f.request_seconds);
        registry.register("s3_throttles", "Requests that the store put off", f.throttles);
        registry.register("dependency_up", "1 while something outside answers", f.dependencies);
        families
    }

    fn forget(&self, name: &str, reasons: &[&'static str], classes: &[&'static str]) {
        let mirror = || name.to_owned();
        let of = OfMirror { mirror: mirror() };
        for gauges in [&self.pending_files, &self.pending_bytes, &self.queue_depth, &self.conflicts_unresolved] {
            gauges.remove(&of);
        }
        for gauges in
            [&self.lag, &self.last_success, &self.hydration_seconds, &self.hydration_progress, &self.scan_seconds]
        {
            gauges.remove(&of);
        }
        for counters in [&self.conflicts, &self.watch_overflows] {
            counters.remove(&of);
        }
        self.cycle_seconds.remove(&of);
        for direction in [UPLOAD, DOWNLOAD] {
            let of = OfDirection { mirror: mirror(), direction };
            for counters in [&self.transferred_bytes, &self.transferred_files, &self.deletes] {
                counters.remove(&of);
            }
        }
        for result in [COMPLETE, FAILED] {
            self.cycles.remove(&OfResult { mirror: mirror(), result });
        }
        for &reason in reasons {
            self.halted.remove(&OfReason { mirror: mirror(), reason });
        }
        for &class in classes {
            self.errors.remove(&OfClass { mirror: mirror(), class });
        }
    }
}

/// What is counted of one mirror. Cheap to clone.
#[derive(Clone)]
pub struct MirrorMetrics {
    name: String,
    families: Families,
}

/// How a mirror stands, for its gauges.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MirrorGauges {
    pub lag_seconds: f64,
    pub pending_files: u64,
    pub pending_bytes: u64,
    pub queue_depth: u64,
    pub conflicts_unresolved: u64,
    pub hydration_progress: f64,
    /// seconds since 1970; `None`: never yet
    pub last_success_seconds: Option<f64>,
    /// Every reason there is, and whether it halts the mirror.
    pub halted: Vec<(&'static str, bool)>,
}

impl MirrorMetrics {
    fn of(families: &Families, name: &str) -> Self {
        let metrics = Self { name: name.to_owned(), families: families.clone() };
        // A counter that is there from the start: its first increase is seen as one.
        for direction in [UPLOAD, DOWNLOAD] {
            let of = metrics.direction(direction);
            drop(metrics.families.transferred_bytes.get_or_create(&of));
            drop(metrics.families.transferred_files.get_or_create(&of));
            drop(metrics.families.deletes.get_or_create(&of));
        }
        for result in [COMPLETE, FAILED] {
            drop(metrics.families.cycles.get_or_create(&OfResult { mirror: metrics.name.clone(), result }));
        }
        let of = metrics.mirror();
        drop(metrics.families.conflicts.get_or_create(&of));
        drop(metrics.families.watch_overflows.get_or_create(&of));
        drop(metrics.families.cycle_seconds.get_or_create(&of));
        drop(metrics.families.scan_seconds.get_or_create(&of));
        drop(metrics.families.hydration_seconds.get_or_create(&of));
        metrics
    }

    fn mirror(&self) -> OfMirror {
        OfMirror { mirror: self.name.clone() }
    }

    fn direction(&self, direction: &'static str) -> OfDirection {
        OfDirection { mirror: self.name.clone(), direction }
    }

    pub fn uploaded(&self, bytes: u64) {
        self.transferred(UPLOAD, bytes);
    }

    pub fn downloaded(&self, bytes: u64) {
        self.transferred(DOWNLOAD, bytes);
    }

    fn transferred(&self, direction: &'static str, bytes: u64) {
        let of = self.direction(direction);
        self.families.transferred_bytes.get_or_create(&of).inc_by(bytes);
        self.families.transferred_files.get_or_create(&of).inc();
    }

    /// An object was deleted because its file was.
    pub fn deleted_object(&self) {
        self.families.deletes.get_or_create(&self.direction(UPLOAD)).inc();
    }

    /// A file went to the trash because its object was deleted.
    pub fn deleted_file(&self) {
        self.families.deletes.get_or_create(&self.direction(DOWNLOAD)).inc();
    }

    pub fn conflict(&self) {
        self.families.conflicts.get_or_create(&self.mirror()).inc();
    }

    pub fn cycle(&self, complete: bool, duration: Duration) {
        let result = if complete { COMPLETE } else { FAILED };
        self.families.cycles.get_or_create(&OfResult { mirror: self.name.clone(), result }).inc();
        let seconds = duration.as_secs_f64();
        self.families.cycle_seconds.get_or_create(&self.mirror()).observe(seconds);
        if complete {
            self.families.scan_seconds.get_or_create(&self.mirror()).set(seconds);
        }
    }

    pub fn watch_overflow(&self) {
        self.families.watch_overflows.get_or_create(&self.mirror()).inc();
    }

    /// `class` is one of a closed list.
    pub fn error(&self, class: &'static str) {
        self.families.errors.get_or_create(&OfClass { mirror: self.name.clone(), class }).inc();
    }

    pub fn hydrated(&self, duration: Duration) {
        self.families.hydration_seconds.get_or_create(&self.mirror()).set(duration.as_secs_f64());
    }

    pub fn set(&self, gauges: &MirrorGauges) {
        let of = self.mirror();
        let families = &self.families;
        families.lag.get_or_create(&of).set(gauges.lag_seconds);
        families.pending_files.get_or_create(&of).set(signed(gauges.pending_files));
        families.pending_bytes.get_or_create(&of).set(signed(gauges.pending_bytes));
        families.queue_depth.get_or_create(&of).set(signed(gauges.queue_depth));
        families.conflicts_unresolved.get_or_create(&of).set(signed(gauges.conflicts_unresolved));
        families.hydration_progress.get_or_create(&of).set(gauges.hydration_progress);
        families.last_success.get_or_create(&of).set(gauges.last_success_seconds.unwrap_or_default());
        for &(reason, halted) in &gauges.halted {
            families.halted.get_or_create(&OfReason { mirror: self.name.clone(), reason }).set(halted.into());
        }
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauges() -> MirrorGauges {
        MirrorGauges {
            pending_files: 3,
            halted: vec![("root-missing", true), ("trash-full", false)],
            ..Default::default()
        }
    }

    fn series(text: &str) -> Vec<&str> {
        text.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn what_was_counted_is_in_the_text() {
        let metrics = Metrics::new("1.2.3", "abc");
        let mirror = metrics.mirror("docs");
        mirror.uploaded(12);
        mirror.uploaded(3);
        mirror.conflict();
        mirror.cycle(true, Duration::from_millis(20));
        mirror.error("credentials");
        mirror.set(&gauges());
        metrics.s3_request("PutObject", "503", Duration::from_millis(7), true);
        metrics.dependency("s3", false);
        let text = metrics.render();
        for line in [
            r#"gosync_transferred_bytes_total{mirror="docs",direction="upload"} 15"#,
            r#"gosync_transferred_files_total{mirror="docs",direction="upload"} 2"#,
            r#"gosync_transferred_files_total{mirror="docs",direction="download"} 0"#,
            r#"gosync_conflicts_total{mirror="docs"} 1"#,
            r#"gosync_sync_cycles_total{mirror="docs",result="complete"} 1"#,
            r#"gosync_sync_duration_seconds_count{mirror="docs"} 1"#,
            r#"gosync_errors_total{mirror="docs",class="credentials"} 1"#,
            r#"gosync_pending_files{mirror="docs"} 3"#,
            r#"gosync_halted{mirror="docs",reason="root-missing"} 1"#,
            r#"gosync_halted{mirror="docs",reason="trash-full"} 0"#,
            r#"gosync_s3_requests_total{operation="PutObject",code="503"} 1"#,
            "gosync_s3_throttles_total 1",
            r#"gosync_dependency_up{name="s3"} 0"#,
            r#"gosync_build_info{version="1.2.3",commit="abc"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn an_idle_mirror_costs_few_series() {
        let metrics = Metrics::new("1.2.3", "abc");
        let before = series(&metrics.render()).len();
        metrics.mirror("docs").set(&MirrorGauges { halted: (0..9).map(|_| ("reason", false)).collect(), ..gauges() });
        let text = metrics.render();
        assert!(series(&text).len() - before <= 40, "{text}");
    }

    #[test]
    fn a_mirror_that_is_no_more_leaves_no_series() {
        let metrics = Metrics::new("1.2.3", "abc");
        let before = series(&metrics.render()).join("\n");
        let mirror = metrics.mirror("docs");
        mirror.set(&gauges());
        mirror.error("s3");
        mirror.hydrated(Duration::from_secs(1));
        metrics.forget_mirror("docs", &["root-missing", "trash-full"], &["s3"]);
        assert_eq!(series(&metrics.render()).join("\n"), before);
    }

    #[test]
    fn numbers_go_on_where_a_mirror_is_asked_for_again() {
        let metrics = Metrics::new("1.2.3", "abc");
        metrics.mirror("docs").uploaded(1);
        metrics.mirror("docs").uploaded(1);
        assert!(metrics.render().contains(r#"gosync_transferred_files_total{mirror="docs",direction="upload"} 2"#));
    }
}
