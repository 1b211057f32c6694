//! The closed lists of words that people and scripts see: states, halts, directions. One table per list; the text of a
//! word is a contract.
//!
//! A new word in a list that the socket sends raises [`crate::messages::API_VERSION`]: an older reader would not know it.

/// A text that is none of the words of a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{found}\" is not one of {allowed}")]
pub struct UnknownWord {
    /// What was read.
    pub found: String,
    /// The words that would do, separated by commas.
    pub allowed: String,
}

/// Makes an enum of words: `as_str`, `ALL`, `Display`, `FromStr` and serde all from the one table.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $word:literal, )+ }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $( $(#[$variant_meta])* #[serde(rename = $word)] $variant, )+ }

        impl $name {
            /// Every word of the list, in its order.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )+];

            /// The word as people and scripts see it.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::words::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    let allowed: Vec<&str> = Self::ALL.iter().map(|word| word.as_str()).collect();
                    $crate::words::UnknownWord { found: text.to_owned(), allowed: allowed.join(", ") }
                })
            }
        }
    };
}
pub(crate) use words;

words! {
    /// How a mirror stands.
    pub enum Status {
        /// Kept in step.
        Active = "active",
        /// Stopped by a person; survives restarts.
        Paused = "paused",
        /// A guard waits for an answer or for the world to mend.
        Halted = "halted",
        /// Something outside is wrong (endpoint, credentials, permissions); ends by itself when it is mended.
        Error = "error",
    }
}

words! {
    /// What a mirror is doing.
    pub enum Phase {
        /// No config or no parts yet.
        Waiting = "waiting",
        /// The first complete look and download.
        Hydrating = "hydrating",
        /// Work is being done.
        Syncing = "syncing",
        /// Nothing to do.
        Idle = "idle",
        /// Another agent is active on this tree.
        Standby = "standby",
        /// Flushing before the end.
        Closing = "closing",
    }
}

words! {
    /// How one path stands.
    pub enum PathState {
        /// Both sides were last proven to hold the same.
        Synced = "synced",
        /// Work on it is planned or under way.
        Pending = "pending",
        /// Held open by somebody: not replaced until it is closed.
        Busy = "busy",
        /// Uploaded while it was open; looked at again until it rests.
        Open = "open",
        /// Not touched: the cap of conflicts or a guard holds it.
        Held = "held",
        /// The bucket's content differs and a push mirror leaves it alone.
        Diverged = "diverged",
        /// Can't be synced; the reason says why. Never blocks others.
        Problem = "problem",
    }
}

words! {
    /// Which way a mirror works.
    pub enum Direction {
        /// Changes go both ways.
        TwoWay = "two-way",
        /// Local changes go to the bucket; nothing comes down.
        Push = "push",
        /// Changes of the bucket come down; nothing goes up.
        Pull = "pull",
    }
}

words! {
    /// The answers to a first merge of two filled sides that differ.
    pub enum Answer {
        /// The bucket's content keeps the name, the local one becomes a conflict copy.
        KeepBoth = "keep-both",
        /// The bucket's content wins; the local one goes to the trash.
        Remote = "remote",
        /// The local content wins.
        Local = "local",
    }
}

words! {
    /// Why a guard halted a mirror.
    pub enum HaltReason {
        /// The root or its mount is gone.
        RootMissing = "root-missing",
        /// The root is readable, but its marker or all of its files are gone.
        RootEmptied = "root-emptied",
        /// A known root carries another marker.
        RootReplaced = "root-replaced",
        /// The root lies on another mount or inode, without its marker.
        VolumeChanged = "volume-changed",
        /// A complete listing of nothing where there were objects.
        RemoteEmptied = "remote-emptied",
        /// More deletes than the guard lets through.
        TooManyDeletes = "too-many-deletes",
        /// Nearly everything changed at once on one side.
        EverythingChanged = "everything-changed",
        /// A first run where too many common paths differ.
        FirstMerge = "first-merge",
        /// Keeping what is deleted would use up the disk.
        TrashFull = "trash-full",
    }
}

/// What people are told about a kind of halt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HaltMeaning {
    /// What goes on meanwhile.
    pub goes_on: &'static str,
    /// What `approve` does, if it can be approved.
    pub approve: Option<&'static str>,
    /// What `deny` does, if it can be denied.
    pub deny: Option<&'static str>,
    /// What ends the halt without a person, if anything does.
    pub clears_itself: Option<&'static str>,
}

impl HaltReason {
    /// True when the local tree can't be trusted: nothing is read from it, written into it or concluded from it.
    pub const fn local_untrusted(self) -> bool {
        matches!(self, Self::RootMissing | Self::RootEmptied | Self::RootReplaced | Self::VolumeChanged)
    }

    /// What the halt means to people.
    pub const fn meaning(self) -> HaltMeaning {
        match self {
            Self::RootMissing => HaltMeaning {
                goes_on: "nothing local",
                approve: None,
                deny: None,
                clears_itself: Some("the same folder is back"),
            },
            Self::RootEmptied => HaltMeaning {
                goes_on: "nothing local",
                approve: Some("the deletes are meant: delete the objects too"),
                deny: Some("download the files again"),
                clears_itself: Some("the same marker and files are back"),
            },
            Self::RootReplaced | Self::VolumeChanged => HaltMeaning {
                goes_on: "nothing local",
                approve: Some("take the folder as new: a first run that joins both sides"),
                deny: Some("stay halted"),
                clears_itself: Some("the old folder is back"),
            },
            Self::RemoteEmptied => HaltMeaning {
                goes_on: "creations and edits",
                approve: Some("the deletes are meant: move the local files to the trash"),
                deny: Some("upload the files again"),
                clears_itself: Some("the objects are back"),
            },
            Self::TooManyDeletes => HaltMeaning {
                goes_on: "creations and edits",
                approve: Some("do the deletes"),
                deny: Some("bring back what was deleted"),
                clears_itself: Some("fewer deletes remain"),
            },
            Self::EverythingChanged => HaltMeaning {
                goes_on: "creations",
                approve: Some("take the changes over"),
                deny: Some("the other side's content wins; changed files are kept as conflict copies"),
                clears_itself: None,
            },
            Self::FirstMerge => HaltMeaning {
                goes_on: "same content and paths of one side only",
                approve: Some("merge; --answer keep-both, remote or local says how"),
                deny: Some("pause the mirror"),
                clears_itself: None,
            },
            Self::TrashFull => HaltMeaning {
                goes_on: "creations and edits",
                approve: Some("evict the oldest from the trash"),
                deny: None,
                clears_itself: Some("there is space again"),
            },
        }
    }
}
