//! The stores: reached, at one with our clock, credentials, bucket, listing, versions, conditions.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gosync_api::config::{MetadataKind, MirrorConfig, StatePlace};
use gosync_api::messages::{Conditions, Proof, StoreState};
use gosync_engine::ports::{Ids as _, ObjectStore as _, StoreError, StoreErrorKind};
use gosync_engine::{NOTE_PROBE, noted_conditions, probe_store};
use gosync_metadata::peek_note;
use gosync_plan::Prefix;
use gosync_s3::{RequestObserver, RequestSeen, S3Store};

use super::{Checks, Subject};
use crate::chain::chain;
use crate::ports::RandomIds;
use crate::stores::Stores;
use crate::tell;
use crate::tell::trouble::{self, Outside};

/// Stores refuse requests whose time is this far off, seconds.
const SKEW_SECONDS_MAX: u64 = 15 * 60;
/// More than two clocks that are kept differ, seconds.
const SKEW_SECONDS: u64 = 60;

const BY_AGENT: &str = "by the running agent";

/// Counts nothing.
struct Unseen;

impl RequestObserver for Unseen {
    fn request(&self, _: &RequestSeen) {}
}

pub async fn check(checks: &mut Checks, subjects: &[Subject], probe: bool) {
    let stores = Stores::new(Arc::new(Unseen));
    let mut met = BTreeSet::new();
    for subject in subjects {
        let about = Some(subject.name.as_str());
        let Some(mirror) = &subject.config else {
            // Where it is, only the agent knows.
            if let Some(store) = told(subject) {
                judge(checks, about, store, BY_AGENT);
            }
            continue;
        };
        let client = match stores.client(&mirror.s3).await {
            Ok(client) => client,
            Err(error) => {
                checks.wrong("endpoint", about, chain(&error), "correct the keys of s3, then check again");
                continue;
            }
        };
        let outside = Outside::of(mirror);
        // The first mirror of a store speaks for the store too.
        let first = met.insert(Arc::as_ptr(&client) as usize);
        if !meet(checks, about, mirror, &client, &outside, first).await {
            continue;
        }
        if first {
            versions(checks, about, &client, &outside).await;
        }
        if subject.writes_remotely() {
            conditions(checks, subject, mirror, &client, probe).await;
        } else {
            checks.ok("conditions", about, "not needed: direction pull writes nothing to the bucket");
        }
    }
}

/// True where the prefix can be listed.
async fn meet(
    checks: &mut Checks,
    about: Option<&str>,
    mirror: &MirrorConfig,
    client: &S3Store,
    outside: &Outside,
    first: bool,
) -> bool {
    let met = client.meet(&mirror.prefix).await;
    let (endpoint, bucket) = (&outside.endpoint, &outside.bucket);
    if first {
        clock(checks, about, met.ahead_seconds);
    }
    let keys = if mirror.s3.access_key.is_empty() {
        "those of the environment, a profile or the instance"
    } else {
        "s3.access_key"
    };
    // How far it came, in the order in which stores look.
    let reached = match &met.listed {
        Ok(()) => 4,
        Err(error) => match error.kind {
            StoreErrorKind::Credentials => 1,
            StoreErrorKind::NoSuchBucket => 2,
            StoreErrorKind::Denied => 3,
            _ => 0,
        },
    };
    let steps = [
        ("endpoint", format!("{endpoint} answers")),
        ("credentials", format!("{keys}: taken")),
        ("bucket", format!("{bucket} is there")),
        ("listing", format!("{} can be listed", mirror.remote())),
    ];
    for (step, (check, found)) in steps.into_iter().enumerate() {
        match (&met.listed, step < reached) {
            // What holds for the store is told once, what holds for a prefix each time.
            (_, true) if first || check == "listing" => checks.ok(check, about, found),
            (_, true) => {}
            (Err(error), false) => {
                let why = trouble::of_a_path(&chain(error));
                checks.wrong(check, about, format!("{endpoint}: {why}"), &next_step(error, outside));
                return false;
            }
            (Ok(()), false) => {}
        }
    }
    true
}

fn next_step(error: &StoreError, outside: &Outside) -> String {
    match error.kind {
        StoreErrorKind::Credentials => {
            "check s3.access_key, s3.secret_key and s3.region, or where they come from".to_owned()
        }
        StoreErrorKind::NoSuchBucket => {
            format!("make the bucket {}, or correct s3.bucket or s3.region", outside.bucket)
        }
        StoreErrorKind::Denied => "allow s3:ListBucket on the bucket to the access key".to_owned(),
        StoreErrorKind::Throttled | StoreErrorKind::Unavailable => {
            "the store has trouble of its own: try later".to_owned()
        }
        _ => "see that it runs and can be reached from here, or correct s3.endpoint (scheme, port, s3.ca_file)"
            .to_owned(),
    }
}

fn clock(checks: &mut Checks, about: Option<&str>, ahead_seconds: Option<i64>) {
    let Some(ahead) = ahead_seconds else { return };
    let off = ahead.unsigned_abs();
    let found = format!("this machine's is {off} s {} the store's", if ahead < 0 { "behind" } else { "ahead of" });
    let next = "set the clock of this machine (or of the store) by NTP";
    if off >= SKEW_SECONDS_MAX {
        checks.wrong("clock", about, format!("{found}: stores refuse that"), next);
    } else if off >= SKEW_SECONDS {
        checks.warning("clock", about, found, next);
    } else {
        checks.ok("clock", about, format!("at one with the store's, {off} s apart"));
    }
}

async fn versions(checks: &mut Checks, about: Option<&str>, client: &S3Store, outside: &Outside) {
    let bucket = &outside.bucket;
    match client.versioning().await {
        Ok(Some(true)) => checks.ok("versions", about, format!("on: {bucket} keeps what is overwritten and deleted")),
        Ok(Some(false) | None) => {
            checks.ok("versions", about, format!("off: what others overwrite in {bucket} is gone there"));
        }
        Err(error) => {
            let why = trouble::of_a_path(&chain(&error));
            checks.ok("versions", about, format!("not known: {why}"));
        }
    }
}

/// From a probe where one was asked for, else from the running agent, else from what an agent noted.
async fn conditions(checks: &mut Checks, subject: &Subject, mirror: &MirrorConfig, client: &S3Store, probe: bool) {
    let about = Some(subject.name.as_str());
    let known = match told(subject) {
        Some(told) => Some((told.clone(), BY_AGENT)),
        None => noted(mirror, &subject.data_dir).await.map(|noted| (noted, "by an agent, when it last probed")),
    };
    if !probe && let Some((store, by)) = known {
        return judge(checks, about, &store, by);
    }
    if !probe {
        let next = "`gosync doctor --probe` finds out: it writes below <prefix>.gosync/probe/ and takes it away again";
        return checks.warning("conditions", about, "not known yet: the agent probes them before it writes", next);
    }
    match probe_store(client, &Prefix::new(&mirror.prefix), RandomIds.nonce()).await {
        Ok(found) => judge(checks, about, &tell::store(found, is_shared(mirror)), "just now"),
        Err(error) => {
            let why = trouble::of_a_path(&chain(&error));
            let next =
                "allow s3:PutObject, s3:GetObject, s3:DeleteObject and s3:AbortMultipartUpload to the access key";
            checks.wrong("conditions", about, format!("the probe failed: {why}"), next);
        }
    }
}

/// By the agent that runs.
fn told(subject: &Subject) -> Option<&StoreState> {
    subject.state.as_ref().map(|state| &state.store).filter(|store| store.conditions != Conditions::default())
}

/// By an agent, when it last probed.
async fn noted(mirror: &MirrorConfig, data_dir: &Path) -> Option<StoreState> {
    let path: PathBuf = match mirror.state {
        StatePlace::DataDir => data_dir.join("mirrors").join(format!("{}.db", mirror.name)),
        StatePlace::Volume => mirror.local_path.join(".gosync/state.db"),
    };
    let note = peek_note(&path, NOTE_PROBE).await?;
    let endpoint = mirror.s3.resolve_endpoint().ok()?.identity;
    noted_conditions(&note, &endpoint, &mirror.s3.bucket).map(|found| tell::store(found, is_shared(mirror)))
}

fn is_shared(mirror: &MirrorConfig) -> bool {
    mirror.metadata.kind == MetadataKind::Postgres
}

fn judge(checks: &mut Checks, about: Option<&str>, store: &StoreState, by: &str) {
    let Conditions { create, replace, multipart, delete, copy, .. } = store.conditions;
    let all = [("create", create), ("replace", replace), ("multipart", multipart), ("delete", delete), ("copy", copy)];
    let named = |wanted: Proof| -> String {
        let names: Vec<&str> = all.into_iter().filter(|(_, proof)| *proof == wanted).map(|(name, _)| name).collect();
        names.join(", ")
    };
    let (proven, missing) = (named(Proof::Proven), named(Proof::Missing));
    match missing.is_empty() {
        true => checks.ok("conditions", about, format!("proven {by}: {proven}")),
        false => checks.ok("conditions", about, format!("proven {by}: {proven}; missing: {missing}")),
    }
    for weaker in &store.weaker {
        checks.warning(
            "promise",
            about,
            weaker,
            "nothing to do; a store that honours the condition gives the whole promise, and a shared Postgres a part of it",
        );
    }
}
