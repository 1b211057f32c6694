//! The server on its own, for shell scripts and benches. Runs until SIGINT or SIGTERM.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;
use gosync_dev_s3::{DevS3, Etags, Options};
use tokio::signal::unix::{SignalKind, signal};

/// A strict S3 server on a folder.
#[derive(Parser)]
struct Arguments {
    /// Folder of the index and the bodies.
    data_dir: PathBuf,
    /// Port on 127.0.0.1; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Buckets that are made when missing.
    #[arg(long = "bucket")]
    buckets: Vec<String>,
    /// Keep versions in these buckets.
    #[arg(long)]
    versions: bool,
    /// ETags that say nothing about the content, as with a managed key.
    #[arg(long)]
    kms: bool,
    #[arg(long, env = "AWS_ACCESS_KEY_ID", default_value = "gosync")]
    access_key: String,
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", default_value = "gosync-secret", hide_env_values = true)]
    secret_key: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let running = DevS3::start(Options {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port)),
        access_key: arguments.access_key,
        secret_key: arguments.secret_key,
        etags: if arguments.kms { Etags::Kms } else { Etags::Md5 },
        versions: arguments.versions,
        buckets: arguments.buckets,
        ..Options::new(arguments.data_dir)
    })
    .await?;
    writeln!(std::io::stdout(), "{}", running.url())?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    running.shutdown().await;
    Ok(())
}
