//! What every [`Cache`] does, as checks that any implementation runs in its tests.
//!
//! Each check works under keys of its own. The cache has to be up, and nobody else may write under its prefix.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use super::cache::{Cache, NewEntry, Wanted};

/// Lets the cache's time pass. Real servers need real time; it is only ever waited for what comes for sure.
pub type Pass<'a> = &'a (dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync);

const STEP: Duration = Duration::from_millis(10);
const STEPS_MAX: u32 = 1_000;

/// All checks.
pub async fn conforms(cache: &dyn Cache, pass: Pass<'_>) -> Result<(), String> {
    what_was_set_is_found_until_it_is_deleted(cache).await?;
    many_are_answered_in_the_order_asked_for(cache).await?;
    any_bytes_come_back_as_they_were(cache).await?;
    an_entry_is_gone_after_its_time(cache, pass).await?;
    what_is_there_stays_where_that_was_asked(cache).await?;
    an_entry_that_is_longer_than_asked_for_is_none(cache).await?;
    the_statistics_count_keys_and_what_was_believed(cache).await?;
    a_flush_leaves_nothing(cache).await?;
    a_hint_reaches_who_listens_on_its_channel(cache, pass).await
}

pub async fn what_was_set_is_found_until_it_is_deleted(cache: &dyn Cache) -> Result<(), String> {
    same("nothing yet", get(cache, "set").await?, None)?;
    set(cache, "set", b"one").await?;
    same("found", get(cache, "set").await?, Some(Bytes::from_static(b"one")))?;
    set(cache, "set", b"another").await?;
    same("replaced", get(cache, "set").await?, Some(Bytes::from_static(b"another")))?;
    told(cache.delete(&strings(&["set", "never set"])).await)?;
    same("deleted", get(cache, "set").await?, None)?;
    told(cache.delete(&strings(&["set"])).await)?;
    told(cache.delete(&[]).await)?;
    told(cache.set(Vec::new()).await)
}

pub async fn many_are_answered_in_the_order_asked_for(cache: &dyn Cache) -> Result<(), String> {
    let value = |number: usize| Bytes::from(vec![b'v'; number % 4_096 + 1]);
    let entries = (0..2_000).filter(|number| number % 3 != 0);
    told(cache.set(entries.map(|number| entry(&format!("many-{number}"), value(number))).collect()).await)?;
    let asked: Vec<usize> = (0..2_000).rev().collect();
    let wanted: Vec<Wanted> = asked.iter().map(|number| wanted(&format!("many-{number}"), 4_096)).collect();
    let found = cache.get(&wanted).await;
    same("as many answers as questions", found.len(), asked.len())?;
    for (number, found) in asked.into_iter().zip(found) {
        same(&format!("entry {number}"), found, (number % 3 != 0).then(|| value(number)))?;
    }
    same("no answers to no questions", cache.get(&[]).await, vec![])?;
    told(cache.delete(&(0..2_000).map(|number| format!("many-{number}")).collect::<Vec<_>>()).await)?;
    same("all are gone", cache.get(&wanted).await, vec![None; wanted.len()])
}

pub async fn any_bytes_come_back_as_they_were(cache: &dyn Cache) -> Result<(), String> {
    let values: [&[u8]; 4] = [b"\0", b"\r\n$-1\r\n", &[0xff, 0xfe, 0], "gr\u{fc}n".as_bytes()];
    for value in values {
        set(cache, "bytes \u{e9}\n*?[", value).await?;
        same("the value", get(cache, "bytes \u{e9}\n*?[").await?.as_deref(), Some(value))?;
    }
    let large = Bytes::from((0..1_048_608_u32).map(|number| (number % 251) as u8).collect::<Vec<_>>());
    told(cache.set(vec![entry("large", large.clone())]).await)?;
    let found = cache.get(&[wanted("large", large.len() as u64)]).await;
    holds("a large value comes back", found == vec![Some(large)])
}

pub async fn an_entry_is_gone_after_its_time(cache: &dyn Cache, pass: Pass<'_>) -> Result<(), String> {
    told(cache.set(vec![NewEntry { ttl_ms: 50, ..entry("short", Bytes::from_static(b"v")) }]).await)?;
    set(cache, "long", b"v").await?;
    for _ in 0..STEPS_MAX {
        if get(cache, "short").await?.is_none() {
            return holds("another one stays", get(cache, "long").await?.is_some());
        }
        pass(STEP).await;
    }
    Err("an entry outlives its time".to_owned())
}

pub async fn what_is_there_stays_where_that_was_asked(cache: &dyn Cache) -> Result<(), String> {
    let fill = |value: &'static [u8]| NewEntry { only_if_absent: true, ..entry("absent", Bytes::from_static(value)) };
    told(cache.set(vec![fill(b"first")]).await)?;
    told(cache.set(vec![fill(b"second")]).await)?;
    same("the first stays", get(cache, "absent").await?, Some(Bytes::from_static(b"first")))?;
    set(cache, "absent", b"third").await?;
    same("but not for those who say so", get(cache, "absent").await?, Some(Bytes::from_static(b"third")))
}

pub async fn an_entry_that_is_longer_than_asked_for_is_none(cache: &dyn Cache) -> Result<(), String> {
    set(cache, "longer", b"12345").await?;
    for (bytes_max, found) in [(4, false), (5, true), (6, true), (u64::from(u32::MAX) * 4, true)] {
        let answer = cache.get(&[wanted("longer", bytes_max)]).await;
        same(&format!("of {bytes_max} bytes"), answer, vec![found.then(|| Bytes::from_static(b"12345"))])?;
    }
    Ok(())
}

pub async fn the_statistics_count_keys_and_what_was_believed(cache: &dyn Cache) -> Result<(), String> {
    told(cache.flush().await)?;
    let before = told(cache.stats().await)?;
    same("no keys", (before.keys, before.keys_more), (0, false))?;
    told(cache.set((0..25).map(|number| entry(&format!("s{number}"), Bytes::from_static(b"v"))).collect()).await)?;
    cache.count(3, 2);
    let after = told(cache.stats().await)?;
    same("keys", after.keys, 25)?;
    same("hits and misses", (after.hits - before.hits, after.misses - before.misses), (3, 2))?;
    holds("memory is told", after.memory_used_bytes.is_some_and(|bytes| bytes > 0))
}

pub async fn a_flush_leaves_nothing(cache: &dyn Cache) -> Result<(), String> {
    told(cache.flush().await)?;
    let entries = (0..3_000).map(|number| entry(&format!("f{number}"), Bytes::from_static(b"v")));
    told(cache.set(entries.collect()).await)?;
    same("how many", told(cache.flush().await)?, 3_000)?;
    same("keys", told(cache.stats().await)?.keys, 0)?;
    same("none is found", get(cache, "f7").await?, None)?;
    same("nothing more to flush", told(cache.flush().await)?, 0)
}

pub async fn a_hint_reaches_who_listens_on_its_channel(cache: &dyn Cache, pass: Pass<'_>) -> Result<(), String> {
    let mut first = cache.heads("channel");
    let mut second = cache.heads("channel");
    let mut other = cache.heads("another");
    for heads in [&mut first, &mut second, &mut other] {
        same("listening begins", wait_for(heads, 0, pass).await, Ok(()))?;
    }
    for head in 1..=1_000 {
        cache.publish("channel", head);
    }
    // Those before it may have been passed over.
    wait_for(&mut first, 1_000, pass).await?;
    wait_for(&mut second, 1_000, pass).await?;
    same("nothing on another channel", now(&mut other), None)?;
    cache.publish("another", 7);
    wait_for(&mut other, 7, pass).await?;
    drop(second);
    cache.publish("channel", 1_001);
    wait_for(&mut first, 1_001, pass).await
}

async fn wait_for(heads: &mut BoxStream<'static, u64>, wanted: u64, pass: Pass<'_>) -> Result<(), String> {
    for _ in 0..STEPS_MAX {
        while let Some(head) = now(heads) {
            if head == wanted {
                return Ok(());
            }
        }
        pass(STEP).await;
    }
    Err(format!("the hint {wanted} does not arrive"))
}

/// What has arrived.
fn now(heads: &mut BoxStream<'static, u64>) -> Option<u64> {
    futures_util::FutureExt::now_or_never(heads.next()).flatten()
}

async fn get(cache: &dyn Cache, key: &str) -> Result<Option<Bytes>, String> {
    let mut found = cache.get(&[wanted(key, 1 << 20)]).await;
    same("answers", found.len(), 1)?;
    Ok(found.pop().flatten())
}

async fn set(cache: &dyn Cache, key: &str, value: &[u8]) -> Result<(), String> {
    told(cache.set(vec![entry(key, Bytes::copy_from_slice(value))]).await)
}

fn wanted(key: &str, bytes_max: u64) -> Wanted {
    Wanted { key: key.to_owned(), bytes_max }
}

fn entry(key: &str, value: Bytes) -> NewEntry {
    NewEntry { key: key.to_owned(), value, ttl_ms: 600_000, only_if_absent: false }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn told<T>(result: Result<T, super::CacheError>) -> Result<T, String> {
    result.map_err(|error| format!("{error} {:?}", error.source))
}

fn holds(what: &str, condition: bool) -> Result<(), String> {
    if condition { Ok(()) } else { Err(format!("not so: {what}")) }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what}: found {found:?}, wanted {wanted:?}")) }
}
