//! Mirrors of one pod that would be in each other's way.

use gosync_crds::{Direction, SyncMirror};

use super::reason::Skip;

/// Refuses two mirrors of one folder, and two two-way mirrors of one prefix.
pub fn check(mirrors: &[&SyncMirror]) -> Result<(), Skip> {
    for (index, second) in mirrors.iter().enumerate() {
        for first in &mirrors[..index] {
            pair(first, second)?;
        }
    }
    Ok(())
}

fn pair(first: &SyncMirror, second: &SyncMirror) -> Result<(), Skip> {
    let names = || (first.mirror_name().to_owned(), second.mirror_name().to_owned());
    let (one, other) = (&first.spec, &second.spec);
    if one.volume.name == other.volume.name && holds_either(&one.volume.sub_path, &other.volume.sub_path) {
        let (first, second) = names();
        return Err(Skip::SameVolume { first, second, volume: one.volume.name.clone() });
    }
    let two_way = one.direction == Direction::TwoWay && other.direction == Direction::TwoWay;
    let same_bucket = one.s3.bucket == other.s3.bucket && store(&one.s3.endpoint) == store(&other.s3.endpoint);
    if two_way && same_bucket && holds_either(&one.s3.prefix, &other.s3.prefix) {
        let (first, second) = names();
        let longer = if one.s3.prefix.len() > other.s3.prefix.len() { &one.s3.prefix } else { &other.s3.prefix };
        return Err(Skip::SamePrefix { first, second, bucket: one.s3.bucket.clone(), prefix: longer.clone() });
    }
    Ok(())
}

/// One folder is the other, or lies in it.
fn holds_either(one: &str, other: &str) -> bool {
    let parts =
        |path: &str| -> Vec<String> { path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect() };
    parts(one).iter().zip(&parts(other)).all(|(one, other)| one == other)
}

/// The same store, however its endpoint is written.
fn store(endpoint: &str) -> String {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
    host.trim_end_matches('/').to_ascii_lowercase()
}
