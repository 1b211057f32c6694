//! The operator's metrics: `gosync_` + noun + base unit. Labels have closed lists of values, never a pod or a namespace.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// seconds; few, because each is a series
const INJECTION_SECONDS: [f64; 4] = [0.001, 0.01, 0.1, 1.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfInjection {
    result: &'static str,
    reason: &'static str,
}

/// Everything that the operator counts, and its text.
pub struct OperatorMetrics {
    registry: Registry,
    injections: Family<OfInjection, Counter>,
    injection_seconds: Histogram,
}

impl Default for OperatorMetrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("gosync");
        let injections = Family::default();
        let injection_seconds = Histogram::new(INJECTION_SECONDS);
        registry.register("injection_requests", "Pods that the webhook was asked about", injections.clone());
        registry.register(
            "injection_duration_seconds",
            "How long the webhook took to answer",
            injection_seconds.clone(),
        );
        Self { registry, injections, injection_seconds }
    }
}

impl OperatorMetrics {
    /// A pod that the webhook was asked about: what became of it, and why; the reason is empty where there is none.
    pub fn injection(&self, result: &'static str, reason: &'static str, duration: Duration) {
        self.injections.get_or_create(&OfInjection { result, reason }).inc();
        self.injection_seconds.observe(duration.as_secs_f64());
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
