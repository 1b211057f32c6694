//! The operator's metrics: `gosync_` + noun + base unit. Labels have closed lists of values, never a pod or a namespace.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// seconds; few, because each is a series; 99 of 100 within 5 ms is what is aimed at
const INJECTION_SECONDS: [f64; 5] = [0.001, 0.005, 0.01, 0.1, 1.0];
const RECONCILE_SECONDS: [f64; 4] = [0.01, 0.1, 1.0, 10.0];
/// what becomes of files that a pod had not sent at its end
const AT_RISK: &str = "at_risk";
const KEPT: &str = "kept";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfInjection {
    result: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfResult {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfWatch {
    watch: &'static str,
}

/// Everything that the operator counts, and its text.
pub struct OperatorMetrics {
    registry: Registry,
    injections: Family<OfInjection, Counter>,
    injection_seconds: Histogram,
    reconciles: Family<OfResult, Counter>,
    reconcile_seconds: Histogram,
    watches: Family<OfWatch, Gauge>,
    certificate_expiry: Gauge,
    leader: Gauge,
    ended_unsent: Family<OfResult, Counter>,
    files_at_risk: Counter,
    bytes_at_risk: Counter,
    pods: Family<OfState, Gauge>,
    /// pods of each mirror, by state: what the gauge is the sum of
    of_mirrors: Mutex<HashMap<String, Vec<(&'static str, i64)>>>,
}

impl Default for OperatorMetrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("gosync");
        let injections = Family::default();
        let injection_seconds = Histogram::new(INJECTION_SECONDS);
        let reconciles = Family::default();
        let reconcile_seconds = Histogram::new(RECONCILE_SECONDS);
        let watches = Family::default();
        let certificate_expiry = Gauge::default();
        let leader = Gauge::default();
        let ended_unsent: Family<OfResult, Counter> = Family::default();
        let (files_at_risk, bytes_at_risk) = (Counter::default(), Counter::default());
        let pods = Family::default();
        registry.register("injection_requests", "Pods that the webhook was asked about", injections.clone());
        registry.register(
            "injection_duration_seconds",
            "How long the webhook took to answer",
            injection_seconds.clone(),
        );
        registry.register("reconcile", "Rounds of mirrors", reconciles.clone());
        registry.register("reconcile_duration_seconds", "How long a round took", reconcile_seconds.clone());
        registry.register(
            "watch_last_progress_timestamp_seconds",
            "When a watch was last begun; each is begun anew every few minutes",
            watches.clone(),
        );
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "Until when the served certificate is valid; 0 while there is none",
            certificate_expiry.clone(),
        );
        registry.register("leader", "1 in the replica that leads", leader.clone());
        registry.register(
            "pods_ended_unsent",
            "Pods that ended with something unsent, by what became of it: lost with the pod's volume, or kept on one that stays",
            ended_unsent.clone(),
        );
        registry.register(
            "data_at_risk_files",
            "Files that were not sent when their pod ended, and went with its volume",
            files_at_risk.clone(),
        );
        registry.register("data_at_risk_bytes", "Their bytes", bytes_at_risk.clone());
        for result in [AT_RISK, KEPT] {
            // There from the beginning, so that the first one counts as an increase.
            ended_unsent.get_or_create(&OfResult { result }).inc_by(0);
        }
        registry.register("pods", "Pods of all mirrors by how they stand; told by the leader", pods.clone());
        Self {
            registry,
            injections,
            injection_seconds,
            reconciles,
            reconcile_seconds,
            watches,
            certificate_expiry,
            leader,
            ended_unsent,
            files_at_risk,
            bytes_at_risk,
            pods,
            of_mirrors: Mutex::default(),
        }
    }
}

impl OperatorMetrics {
    /// A pod that the webhook was asked about: what became of it, and why; the reason is empty where there is none.
    pub fn injection(&self, result: &'static str, reason: &'static str, duration: Duration) {
        self.injections.get_or_create(&OfInjection { result, reason }).inc();
        self.injection_seconds.observe(duration.as_secs_f64());
    }

    /// A round of a mirror has ended.
    pub fn reconciled(&self, result: &'static str, duration: Duration) {
        self.reconciles.get_or_create(&OfResult { result }).inc();
        self.reconcile_seconds.observe(duration.as_secs_f64());
    }

    /// When each watch was last begun, in seconds since 1970. Those that are not named have ended.
    pub fn watches(&self, times: &[(&'static str, u64)]) {
        self.watches.clear();
        for (watch, seconds) in times {
            self.watches.get_or_create(&OfWatch { watch }).set(i64::try_from(*seconds).unwrap_or(i64::MAX));
        }
    }

    /// Another certificate is served, valid until then, in seconds since 1970.
    pub fn certificate_expires(&self, seconds: i64) {
        self.certificate_expiry.set(seconds);
    }

    /// A pod ended with something unsent.
    pub fn ended_unsent(&self, at_risk: bool, files: i64, bytes: i64) {
        self.ended_unsent.get_or_create(&OfResult { result: if at_risk { AT_RISK } else { KEPT } }).inc();
        if at_risk {
            self.files_at_risk.inc_by(u64::try_from(files).unwrap_or(0));
            self.bytes_at_risk.inc_by(u64::try_from(bytes).unwrap_or(0));
        }
    }

    /// This replica leads, or does not any more. Who does not tells of no pods.
    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
        if !leads {
            self.of_mirrors.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.pods.clear();
        }
    }

    /// The pods of a mirror by state.
    pub fn pods(&self, mirror: &str, states: &[(&'static str, i64)]) {
        let mut of_mirrors = self.of_mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        of_mirrors.insert(mirror.to_owned(), states.to_vec());
        self.sum(&of_mirrors);
    }

    /// Forgets the pods of mirrors that are gone.
    pub fn keep_mirrors(&self, wanted: impl Fn(&str) -> bool) {
        let mut of_mirrors = self.of_mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        of_mirrors.retain(|mirror, _| wanted(mirror));
        self.sum(&of_mirrors);
    }

    fn sum(&self, of_mirrors: &HashMap<String, Vec<(&'static str, i64)>>) {
        let mut sums: HashMap<&'static str, i64> = HashMap::new();
        for (state, number) in of_mirrors.values().flatten() {
            *sums.entry(state).or_default() += number;
        }
        self.pods.clear();
        for (state, number) in sums {
            self.pods.get_or_create(&OfState { state }).set(number);
        }
    }

    /// The text that a scrape gets.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a string has no error.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
