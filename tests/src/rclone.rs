//! rclone as its users run it, configured by environment alone.

use std::process::{Command, Output};

use crate::server::{Address, REGION};
use crate::tools;

pub struct Rclone {
    address: Address,
}

impl Rclone {
    /// The remote is called `s3:`.
    pub fn new(address: &Address) -> Self {
        Self { address: address.clone() }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(tools::path("rclone"));
        command
            .args(args)
            .env("RCLONE_CONFIG", "/dev/null")
            .env("RCLONE_CONFIG_S3_TYPE", "s3")
            .env("RCLONE_CONFIG_S3_PROVIDER", "Other")
            .env("RCLONE_CONFIG_S3_ENDPOINT", &self.address.endpoint)
            .env("RCLONE_CONFIG_S3_REGION", REGION)
            .env("RCLONE_CONFIG_S3_ACCESS_KEY_ID", &self.address.access_key)
            .env("RCLONE_CONFIG_S3_SECRET_ACCESS_KEY", &self.address.secret_key)
            .env("RCLONE_CONFIG_S3_FORCE_PATH_STYLE", "true");
        command
    }

    /// Runs it to its end; whatever the outcome.
    pub fn try_run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap_or_else(|error| panic!("rclone: {error}"))
    }

    /// Runs it to a good end and returns what it printed.
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.try_run(args);
        assert!(
            output.status.success(),
            "rclone {}: {}\n{}",
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }
}
