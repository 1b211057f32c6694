//! `gosync cache`: how the agent's caches stand, and emptying them.

use gosync_api::Exit;
use gosync_api::messages::{CacheFlushed, CacheStats, Caches, CachesFlushed, route};
use jiff::Timestamp;

use crate::args::CacheCommand;
use crate::client::{ACT, ASK, Client};
use crate::failure::Failure;
use crate::output::Output;
use crate::style::{ERROR, GOOD, STRONG, WARN, bytes, clean, count, since, things};

pub async fn run(command: &CacheCommand, client: &Client, output: &Output) -> Result<Exit, Failure> {
    match command {
        CacheCommand::Stats => {
            let caches: Caches = client.get(route::CACHE_STATS, &(), ASK).await?;
            output.result(&caches, |caches| stats(caches, Timestamp::now()))?;
        }
        CacheCommand::Flush => {
            let flushed: CachesFlushed = client.post(route::CACHE_FLUSH, &(), ACT).await?;
            output.done(&flushed, |flushed| {
                let line = |cache: &CacheFlushed| {
                    let keys = things(cache.keys, "key");
                    format!("{}: {keys} under {}: dropped", clean(&cache.address), clean(&cache.prefix))
                };
                flushed.caches.iter().map(line).collect::<Vec<_>>().join("\n")
            })?;
        }
    }
    Ok(Exit::Ok)
}

fn stats(caches: &Caches, now: Timestamp) -> String {
    caches.caches.iter().map(|cache| one(cache, now)).collect::<Vec<_>>().join("\n")
}

fn one(cache: &CacheStats, now: Timestamp) -> String {
    let address = if cache.address.is_empty() { "cache".into() } else { clean(&cache.address) };
    let (up, style) = if cache.up { ("up", GOOD) } else { ("down", ERROR) };
    let mut text = format!("{STRONG}{address}{STRONG:#}  {style}{up}{style:#}{}\n", since(cache.since, now));
    let mut line = |name: &str, value: &str| text += &format!("  {name:<9}  {value}\n");
    line("prefix", &clean(&cache.prefix));
    let asked = cache.hits + cache.misses;
    let percent = (cache.hits * 100).checked_div(asked);
    let ratio = percent.map_or_else(String::new, |percent| format!(" ({percent} %)"));
    line("hits", &format!("{} of {}{ratio}", count(cache.hits), things(asked, "read")));
    if cache.up {
        let more = if cache.keys_more { "more than " } else { "" };
        line("keys", &format!("{more}{}", count(cache.keys)));
        if let Some(used) = cache.memory_used {
            let allowed = cache.memory_allowed.map_or_else(
                || "without a limit".to_owned(),
                |allowed| format!("of {} that the server may use", bytes(allowed)),
            );
            line("memory", &format!("{} {allowed}", bytes(used)));
        }
    }
    if let Some(trouble) = &cache.trouble {
        line("trouble", &format!("{WARN}{}{WARN:#}", clean(trouble)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(cache: CacheStats) -> String {
        let now = Timestamp::from_second(1_800_000_000).unwrap_or_default();
        anstream::adapter::strip_str(&stats(&Caches { caches: vec![cache] }, now)).to_string()
    }

    fn up() -> CacheStats {
        CacheStats {
            address: "localhost:6379/0".into(),
            prefix: "gosync".into(),
            up: true,
            since: Timestamp::from_second(1_800_000_000 - 7_200).ok(),
            hits: 1_900,
            misses: 100,
            keys: 1_234,
            memory_used: Some(3 << 20),
            memory_allowed: Some(1 << 30),
            ..CacheStats::default()
        }
    }

    #[test]
    fn a_cache_is_told_in_a_few_lines() {
        insta::assert_snapshot!(plain(up()), @"
        localhost:6379/0  up for 2h
          prefix     gosync
          hits       1,900 of 2,000 reads (95 %)
          keys       1,234
          memory     3.00 MiB of 1.00 GiB that the server may use
        ");
    }

    #[test]
    fn a_cache_that_is_down_says_why() {
        let down = CacheStats { up: false, trouble: Some("no answer in time".into()), ..up() };
        insta::assert_snapshot!(plain(down), @"
        localhost:6379/0  down for 2h
          prefix     gosync
          hits       1,900 of 2,000 reads (95 %)
          trouble    no answer in time
        ");
    }
}
