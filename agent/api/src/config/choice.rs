//! The keys that take one word of a list.

use super::value::word_setting;
use crate::words::words;

words! {
    /// Levels of the log.
    pub enum LogLevel {
        /// Something failed.
        Error = "error",
        /// Something needs attention.
        Warn = "warn",
        /// What a person wants to know.
        Info = "info",
        /// What a developer wants to know.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

words! {
    /// Forms of the log.
    pub enum LogFormat {
        /// Lines of text.
        Text = "text",
        /// JSON objects.
        Json = "json",
    }
}

words! {
    /// Databases.
    pub enum MetadataKind {
        /// One file on this machine.
        Sqlite = "sqlite",
        /// A server that agents share.
        Postgres = "postgres",
    }
}

words! {
    /// How much TLS Postgres is asked for, as libpq calls it.
    pub enum SslMode {
        /// None.
        Disable = "disable",
        /// Only when the server insists.
        Allow = "allow",
        /// When the server can.
        Prefer = "prefer",
        /// Always, unchecked.
        Require = "require",
        /// Always, with a trusted certificate.
        VerifyCa = "verify-ca",
        /// Always, with a trusted certificate of that host.
        VerifyFull = "verify-full",
    }
}

words! {
    /// Whether the bucket is named in the path.
    pub enum PathStyle {
        /// For any endpoint that is not AWS.
        Auto = "auto",
        /// Always.
        On = "true",
        /// Never.
        Off = "false",
    }
}

words! {
    /// When checksums go along with uploads.
    pub enum Checksums {
        /// When the store takes them.
        Auto = "auto",
        /// Always.
        Always = "always",
        /// Only where S3 demands one.
        WhenRequired = "when-required",
    }
}

words! {
    /// Server-side encryption.
    pub enum Sse {
        /// What the bucket does by itself.
        None = "",
        /// With keys of the store.
        Aes256 = "AES256",
        /// With a KMS key.
        Kms = "aws:kms",
    }
}

words! {
    /// Which bits of a file's mode are synced.
    pub enum FileMode {
        /// All permission bits.
        Full = "full",
        /// The executable bit.
        Exec = "exec",
        /// None.
        Off = "off",
    }
}

words! {
    /// What happens with symbolic links.
    pub enum Symlinks {
        /// Reported, left alone.
        Skip = "skip",
        /// Kept as links.
        Preserve = "preserve",
    }
}

words! {
    /// When a mirror counts as ready.
    pub enum HydrationMode {
        /// When everything is there.
        Full = "full",
        /// At once.
        None = "none",
    }
}

words! {
    /// What follows when hydration takes too long.
    pub enum OnTimeout {
        /// Stay not ready.
        Block = "block",
        /// Count as ready and go on.
        Start = "start",
    }
}

words! {
    /// What happens when both sides changed one path.
    pub enum ConflictPolicy {
        /// The bucket's content keeps the name, the local one becomes a conflict copy.
        KeepBoth = "keep-both",
        /// The bucket's content wins; the local one goes to the trash.
        RemoteWins = "remote-wins",
        /// The local content wins; the bucket's one goes to the trash.
        LocalWins = "local-wins",
    }
}

words! {
    /// Where the state of a mirror is kept.
    pub enum StatePlace {
        /// In the data_dir.
        DataDir = "data_dir",
        /// In `.gosync` beside the files: it lives and dies with them.
        Volume = "volume",
    }
}

word_setting!(
    LogLevel,
    LogFormat,
    MetadataKind,
    SslMode,
    PathStyle,
    Checksums,
    Sse,
    FileMode,
    Symlinks,
    HydrationMode,
    OnTimeout,
    ConflictPolicy,
    StatePlace,
);
