//! The effective config as YAML, with secrets masked.

use super::agent::AgentConfig;
use super::mirror::MirrorConfig;
use super::section::{Field, Section};
use super::shown::Shown;

impl AgentConfig {
    /// The values that hold, in the order of the keys; of a mirror only what is its own.
    pub fn shown(&self) -> Shown {
        let mut out = Vec::new();
        self.data_dir.show("data_dir", &mut out);
        self.log.show("log", &mut out);
        self.metadata.show("metadata", &mut out);
        self.cache.show("cache", &mut out);
        self.s3.show("s3", &mut out);
        out.push((
            "syncs".to_owned(),
            Shown::List(self.syncs.iter().map(|mirror| self.shown_mirror(mirror)).collect()),
        ));
        self.sync.show("sync", &mut out);
        self.agent.show("agent", &mut out);
        Shown::Map(out)
    }

    /// The same as YAML.
    pub fn show(&self) -> Result<String, serde_saphyr::SerializeError> {
        serde_saphyr::to_string(&self.shown())
    }

    fn shown_mirror(&self, mirror: &MirrorConfig) -> Shown {
        let mut out = Vec::new();
        mirror.name.show("name", &mut out);
        mirror.local_path.show("local_path", &mut out);
        mirror.remote().show("s3_path", &mut out);
        mirror.direction.show("direction", &mut out);
        mirror.ignore_patterns.show("ignore_patterns", &mut out);
        mirror.conflict_policy.show("conflict_policy", &mut out);
        mirror.state.show("state", &mut out);
        mirror.paused.show("paused", &mut out);
        mirror.request.show("request", &mut out);
        let mut own = |name: &str, mirror: Vec<(String, Shown)>, agent: Vec<(String, Shown)>| {
            if let Some(own) = Shown::Map(mirror).beyond(&Shown::Map(agent)) {
                out.push((name.to_owned(), own));
            }
        };
        own("s3", mirror.s3.shown(), self.s3.shown());
        own("metadata", mirror.metadata.shown(), self.metadata.shown());
        own("cache", mirror.cache.shown(), self.cache.shown());
        if let Some(Shown::Map(own)) = Shown::Map(mirror.sync.shown()).beyond(&Shown::Map(self.sync.shown())) {
            out.extend(own);
        }
        Shown::Map(out)
    }
}
