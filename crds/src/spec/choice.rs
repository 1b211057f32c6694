//! The fields that take one word of a list.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Makes an enum of words. The schema lists the words; what each means stands in the field's description.
macro_rules! choice {
    ($(#[$meta:meta])* pub enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $word:literal, )+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        pub enum $name { $( $(#[$variant_meta])* #[serde(rename = $word)] $variant, )+ }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$($word),+] })
            }
        }

        impl $name {
            /// The word as it is written in the resource.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }
    };
}

choice! {
    /// Which way changes go.
    pub enum Direction {
        /// Both ways.
        #[default]
        TwoWay = "TwoWay",
        /// From the bucket to the volume only.
        Pull = "Pull",
        /// From the volume to the bucket only.
        Push = "Push",
    }
}

choice! {
    /// What happens when both sides changed one file.
    pub enum ConflictPolicy {
        /// The bucket's content keeps the name, the local one becomes a conflict copy.
        #[default]
        KeepBoth = "KeepBoth",
        /// The bucket's content wins, the local one goes to the trash.
        RemoteWins = "RemoteWins",
        /// The local content wins, the bucket's goes to the trash.
        LocalWins = "LocalWins",
    }
}

choice! {
    /// Encryption by the store.
    pub enum EncryptionType {
        /// What the bucket does by itself.
        #[default]
        None = "None",
        /// With keys of the store.
        Aes256 = "AES256",
        /// With a KMS key.
        Kms = "KMS",
    }
}

choice! {
    /// When the application may start.
    pub enum HydrationMode {
        /// When everything is there.
        #[default]
        Full = "Full",
        /// At once.
        None = "None",
    }
}

choice! {
    /// What follows when hydration takes too long.
    pub enum OnTimeout {
        /// The application goes on waiting.
        #[default]
        Block = "Block",
        /// It starts with what is there.
        Start = "Start",
    }
}

choice! {
    /// Which bits of a file's mode are kept.
    pub enum FileMode {
        /// All permission bits.
        #[default]
        Full = "Full",
        /// The executable bit.
        Exec = "Exec",
        /// None.
        Off = "Off",
    }
}

choice! {
    /// What happens with symbolic links.
    pub enum Symlinks {
        /// Reported, left alone.
        #[default]
        Skip = "Skip",
        /// Kept as links.
        Preserve = "Preserve",
    }
}

choice! {
    /// The least severe lines of the agent's log.
    pub enum LogLevel {
        /// Something failed.
        Error = "error",
        /// Something needs attention.
        Warn = "warn",
        /// What a person wants to know.
        #[default]
        Info = "info",
        /// What a developer wants to know.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

choice! {
    /// What happens with pods that have no agent.
    pub enum OnMissing {
        /// It is told, with the command that restarts them.
        #[default]
        Manual = "Manual",
        /// Their workloads are restarted.
        Restart = "Restart",
    }
}

choice! {
    /// What happens to a pod that has no agent and should have one.
    pub enum Guard {
        /// Deny for pods that ask for an agent by their label, Warn for those that are merely selected.
        #[default]
        ByOptIn = "",
        /// It is refused.
        Deny = "Deny",
        /// It starts, with a warning.
        Warn = "Warn",
        /// It starts.
        Off = "Off",
    }
}
