//! Why a pod gets no agent, and what is odd about one that does: closed lists, each with its word for counters and the
//! sentence that a person reads.

/// Why a pod is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Skip {
    /// It wants none.
    #[error("the pod has opted out by its label gosync.dev/inject: \"false\", though a SyncMirror selects it")]
    OptedOut,
    /// It has one.
    #[error("the pod has its agent already")]
    AlreadyInjected,
    /// It asks for an agent and nothing says for which mirror.
    #[error(
        "the pod asks for an agent, but no SyncMirror selects it and it names none: set the annotation gosync.dev/mirrors to their names"
    )]
    NoMirror,
    /// It asks for a mirror that isn't there.
    #[error("apply SyncMirror {name} first: the pod names it and it isn't there")]
    MirrorMissing {
        /// The mirror.
        name: String,
    },
    /// It stands for a pod that the kubelet runs from a file.
    #[error("the pod is a static one that its node runs from a file: nothing can be added to it")]
    MirrorPod,
    /// It runs on Windows.
    #[error("the pod is for Windows nodes; the agent runs on Linux")]
    Windows,
    /// Something of the user has one of our names.
    #[error("the pod has a {what} named {name} of its own: give it another name")]
    NameTaken {
        /// `container` or `volume`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// There is no such volume.
    #[error(
        "the pod has no volume {volume}, which SyncMirror {mirror} names: add it to spec.volumes, or mend spec.volume.name of the mirror"
    )]
    NoSuchVolume {
        /// The mirror.
        mirror: String,
        /// The volume.
        volume: String,
    },
    /// The kubelet writes the volume itself.
    #[error(
        "volume {volume} of SyncMirror {mirror} is of the kind {kind}, which Kubernetes fills by itself: it can't be kept in step"
    )]
    VolumeKind {
        /// The mirror.
        mirror: String,
        /// The volume.
        volume: String,
        /// Its kind.
        kind: String,
    },
    /// The volume has no files.
    #[error("volume {volume} of SyncMirror {mirror} is a block device: only volumes with files can be kept in step")]
    BlockVolume {
        /// The mirror.
        mirror: String,
        /// The volume.
        volume: String,
    },
    /// The agent could not write.
    #[error(
        "volume {volume} of SyncMirror {mirror} is read-only as a whole: take readOnly away from it in spec.volumes"
    )]
    ReadOnlyVolume {
        /// The mirror.
        mirror: String,
        /// The volume.
        volume: String,
    },
    /// Nobody but the agent could write.
    #[error(
        "every container mounts volume {volume} read-only, so that SyncMirror {mirror} can only be of direction Pull: set it so, or take readOnly away from a mount"
    )]
    ReadOnlyMount {
        /// The mirror.
        mirror: String,
        /// The volume.
        volume: String,
    },
    /// Two mirrors of one folder.
    #[error(
        "SyncMirrors {first} and {second} keep the same files of volume {volume}: give them folders (spec.volume.subPath) that don't hold each other"
    )]
    SameVolume {
        /// One mirror.
        first: String,
        /// The other.
        second: String,
        /// The volume.
        volume: String,
    },
    /// Two two-way mirrors of one prefix.
    #[error(
        "SyncMirrors {first} and {second} both keep s3://{bucket}/{prefix} in step, both ways: give them prefixes that don't hold each other"
    )]
    SamePrefix {
        /// One mirror.
        first: String,
        /// The other.
        second: String,
        /// The bucket.
        bucket: String,
        /// The longer of the two prefixes.
        prefix: String,
    },
    /// No port for probes.
    #[error(
        "the pod uses its node's network, where one of its containers has port {port}: set spec.agent.metricsPort of the SyncMirror to a free one"
    )]
    PortTaken {
        /// The port.
        port: i64,
    },
}

impl Skip {
    /// One word, for counters, events and conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::OptedOut => "OptedOut",
            Self::AlreadyInjected => "AlreadyInjected",
            Self::NoMirror => "NoMirror",
            Self::MirrorMissing { .. } => "MirrorMissing",
            Self::MirrorPod => "MirrorPod",
            Self::Windows => "Windows",
            Self::NameTaken { .. } => "NameTaken",
            Self::NoSuchVolume { .. } => "NoSuchVolume",
            Self::VolumeKind { .. } => "VolumeKind",
            Self::BlockVolume { .. } => "BlockVolume",
            Self::ReadOnlyVolume { .. } => "ReadOnlyVolume",
            Self::ReadOnlyMount { .. } => "ReadOnlyMount",
            Self::SameVolume { .. } => "SameVolume",
            Self::SamePrefix { .. } => "SamePrefix",
            Self::PortTaken { .. } => "PortTaken",
        }
    }

    /// False for what nobody needs to be told: API servers ask twice, and find the agent of the first time.
    pub fn is_news(&self) -> bool {
        !matches!(self, Self::AlreadyInjected)
    }
}

/// What is odd about a pod that gets an agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Another port than the mirror's.
    #[error("port {wanted} is a container's of this pod: the agent's probes and metrics are on {port}")]
    PortMoved {
        /// What the mirror says.
        wanted: i64,
        /// What it is.
        port: i64,
    },
    /// No uid is named, and it can't be 0.
    #[error(
        "no uid is named anywhere, and root is not allowed here: the agent runs as its image's user; name runAsUser in the pod, or spec.agent.runAsUser of SyncMirror {mirror}, so that it can use the application's files"
    )]
    UidUnknown {
        /// The mirror.
        mirror: String,
    },
    /// Containers of different users share the volume.
    #[error(
        "containers with different uids mount volume {volume}: the agent runs as that of {container}; set fsGroup, or spec.agent.runAsUser"
    )]
    SeveralUids {
        /// The volume.
        volume: String,
        /// The container that is followed.
        container: String,
    },
    /// Nobody but the agent uses the volume.
    #[error("no container mounts volume {volume} of SyncMirror {mirror}")]
    NobodyMounts {
        /// The mirror.
        mirror: String,
        /// The volume.
        volume: String,
    },
    /// The agent's memory can't be bounded.
    #[error(
        "volume {volume} is in memory without a sizeLimit: what the agent writes there counts as its memory and can't be bounded; set one"
    )]
    UnlimitedMemoryVolume {
        /// The volume.
        volume: String,
    },
    /// A Deployment would count as failed first.
    #[error(
        "hydration of SyncMirror {mirror} may take {seconds} s; a Deployment's progressDeadlineSeconds is 600 unless it says otherwise"
    )]
    HydrationPassesDeadline {
        /// The mirror.
        mirror: String,
        /// The time.
        seconds: i32,
    },
    /// The last flush may be cut short.
    #[error(
        "the drain of SyncMirror {mirror} may take {seconds} s, more than the pod's grace period: raise terminationGracePeriodSeconds, or set spec.drain.extendGracePeriod"
    )]
    DrainPassesGracePeriod {
        /// The mirror.
        mirror: String,
        /// The time.
        seconds: i32,
    },
    /// Mirrors of one pod differ in what they share.
    #[error(
        "spec.agent.{field} differs between SyncMirrors {first} and {other} of this pod, which share one agent: {first} decides"
    )]
    FirstDecides {
        /// The field.
        field: &'static str,
        /// The mirror that decides.
        first: String,
        /// The other.
        other: String,
    },
}
