//! Caches by their settings: mirrors with the same ones share one, and its connections.
//!
//! None keeps an agent or a mirror from starting: settings that can't be used are told where caches are told, and tried again
//! whenever the config is read. A server gets a moment to answer, so that a first run has its help from the first file on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gosync_api::config::Cache as Settings;
use gosync_cache::{RedisCache, RedisConfig};
use gosync_engine::ports::Cache as _;

use crate::chain::chain;

/// How long a start waits for the first answer of a server.
const ANSWER_WAIT: Duration = Duration::from_millis(300);
const LOOK: Duration = Duration::from_millis(5);

#[derive(Default)]
pub struct Caches(Mutex<Vec<InUse>>);

/// A cache, or why there is none.
#[derive(Clone)]
pub struct InUse {
    settings: Settings,
    pub cache: Result<Arc<RedisCache>, String>,
}

impl InUse {
    pub fn prefix(&self) -> &str {
        &self.settings.redis.prefix
    }

    /// `host:port/database`; empty where the settings can't be used.
    pub fn address(&self) -> &str {
        self.cache.as_ref().map(|cache| cache.address()).unwrap_or_default()
    }
}

impl Caches {
    /// Uses the caches of these settings from now on, and no others.
    pub async fn use_only(&self, wanted: Vec<&Settings>) {
        let mut used: Vec<InUse> = Vec::new();
        for settings in wanted.into_iter().filter(|settings| settings.enabled) {
            if used.iter().any(|known| known.settings == *settings) {
                continue;
            }
            let known = self.lock().iter().find(|known| known.settings == *settings && known.cache.is_ok()).cloned();
            used.push(match known {
                Some(known) => known,
                None => {
                    let cache = open(settings, ANSWER_WAIT).await;
                    if let Err(why) = &cache {
                        tracing::error!(why, "the cache can't be used: going on without it");
                    }
                    InUse { settings: settings.clone(), cache }
                }
            });
        }
        *self.lock() = used;
    }

    /// `None`: off, or its settings can't be used.
    pub fn get(&self, settings: &Settings) -> Option<Arc<RedisCache>> {
        self.lock().iter().find(|known| known.settings == *settings)?.cache.clone().ok()
    }

    pub fn all(&self) -> Vec<InUse> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<InUse>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the server `answer_wait` to answer; whether it does shows in the cache's standing.
pub async fn open(settings: &Settings, answer_wait: Duration) -> Result<Arc<RedisCache>, String> {
    let redis = &settings.redis;
    let ca_pem = match &redis.ca_file {
        None => None,
        Some(path) => {
            let read = tokio::fs::read(path).await;
            Some(read.map_err(|error| format!("cache.redis.ca_file {} can't be read: {error}", path.display()))?)
        }
    };
    let config = RedisConfig {
        host: redis.host.clone(),
        port: redis.port,
        username: redis.username.clone(),
        password: redis.password.expose().to_owned(),
        db: u8::try_from(redis.db).map_err(|_| format!("cache.redis.db {} is more than 255", redis.db))?,
        prefix: redis.prefix.clone(),
        tls: redis.tls,
        ca_pem,
        url: redis.url.expose().to_owned(),
        ttl: settings.ttl,
        content_bytes_max: settings.max_content_size.0,
    };
    let cache = RedisCache::open(&config).map(Arc::new).map_err(|error| chain(&error))?;
    let answers = async {
        while !cache.standing().up {
            tokio::time::sleep(LOOK).await;
        }
    };
    // Whoever doesn't answer by then is found later.
    let _ = tokio::time::timeout(answer_wait, answers).await;
    Ok(cache)
}
