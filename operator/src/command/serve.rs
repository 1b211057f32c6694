//! `gosync-operator serve`: what a running operator is told, by flags or by variables of its container.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use gosync_telemetry::logs::{LogFormat, LogOptions, LogTarget, start};
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;

use super::Failure;
use crate::inject::Settings;
use crate::serve::{Options, serve};
use crate::webhook::configuration::{NAME, NAMESPACE, PORT};

/// How the operator runs.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The operator's own namespace, which holds its Lease and its Secret
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE", default_value = NAMESPACE)]
    pub namespace: String,
    /// The name of this replica, another for each
    #[arg(long, env = "POD_NAME", value_name = "NAME", default_value = NAME)]
    pub identity: String,
    /// The name of the webhook configuration and of the Lease
    #[arg(long, env = "GOSYNC_NAME", value_name = "NAME", default_value = NAME)]
    pub name: String,
    /// The Service by which API servers reach the webhook
    #[arg(long, env = "GOSYNC_SERVICE", value_name = "NAME", default_value = NAME)]
    pub service: String,
    /// Who makes the webhook's certificate
    #[arg(long, env = "GOSYNC_CERTIFICATE", value_name = "WHO", default_value = "operator")]
    pub certificate: Certificate,
    /// The Secret of the certificate, of type kubernetes.io/tls
    #[arg(long, env = "GOSYNC_CERTIFICATE_SECRET", value_name = "NAME", default_value = "gosync-operator-certificate")]
    pub certificate_secret: String,
    /// A name or address by which API servers reach the webhook other than by its Service; may be given several times
    #[arg(long, value_name = "NAME")]
    pub certificate_name: Vec<String>,
    /// Where the webhook listens
    #[arg(long, env = "GOSYNC_WEBHOOK_LISTEN", value_name = "ADDRESS", default_value_t = SocketAddr::from(([0, 0, 0, 0], PORT)))]
    pub webhook_listen: SocketAddr,
    /// Where /livez, /readyz and /metrics are answered
    #[arg(long, env = "GOSYNC_HTTP_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_listen: SocketAddr,
    /// The agent's image, by digest if possible
    #[arg(long, env = "GOSYNC_AGENT_IMAGE", value_name = "IMAGE", default_value = concat!("gosync:", env!("CARGO_PKG_VERSION")))]
    pub agent_image: String,
    /// When the agent's image is pulled: Always, IfNotPresent or Never [default: as Kubernetes decides]
    #[arg(long, env = "GOSYNC_AGENT_IMAGE_PULL_POLICY", value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub agent_image_pull_policy: Option<String>,
    /// Least severe lines of the log: error, warn, info, debug or trace
    #[arg(long, env = "GOSYNC_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: LevelFilter,
    /// The form of the log
    #[arg(long, env = "GOSYNC_LOG_FORMAT", value_name = "FORM", default_value = "json")]
    pub log_format: Format,
}

/// Who makes the webhook's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Certificate {
    /// The operator, and it has API servers trust it
    Operator,
    /// Somebody else, who has it trusted too (cert-manager)
    Given,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines of JSON
    Json,
    /// Lines for people
    Text,
}

/// Runs until a signal.
pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    let format = match args.log_format {
        Format::Json => LogFormat::Json,
        Format::Text => LogFormat::Text,
    };
    let failed = |what: &str, error: &dyn std::error::Error| {
        let mut text = format!("{what}: {error}");
        let mut cause = error.source();
        while let Some(source) = cause {
            text += &format!(": {source}");
            cause = source.source();
        }
        Failure::Serve(text)
    };
    start(LogOptions { level: args.log_level, format, to: LogTarget::Stdout })
        .map_err(|error| failed("the log can't be written", &error))?;
    // One provider of cryptography for the whole process, before anybody asks for one.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| failed("no runtime", &error))?;
    runtime.block_on(async {
        let client = kube::Client::try_default().await;
        // It tells its causes by itself.
        let client = client.map_err(|error| Failure::Serve(format!("no API server: {error}")))?;
        let signals = |error: std::io::Error| failed("signals can't be waited for", &error);
        let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
        let end = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        serve(client, options(args), end).await.map_err(|error| failed("the operator ended", &error))
    })
}

fn options(args: &ServeArgs) -> Options {
    let (service, namespace) = (&args.service, &args.namespace);
    let mut names = vec![format!("{service}.{namespace}.svc")];
    names.splice(0..0, args.certificate_name.iter().cloned());
    Options {
        namespace: args.namespace.clone(),
        // Two processes of one name would both take themselves for the leader.
        identity: format!("{}-{:08x}", args.identity, rand::random::<u32>()),
        name: args.name.clone(),
        secret: args.certificate_secret.clone(),
        given: args.certificate == Certificate::Given,
        names,
        webhook: args.webhook_listen,
        http: args.http_listen,
        agent: Settings {
            image: args.agent_image.clone(),
            image_pull_policy: args.agent_image_pull_policy.clone(),
            restricted_namespace: false,
        },
    }
}
