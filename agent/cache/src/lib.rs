//! The cache in Redis that agents of one store share. Only here is fred named.
//!
//! * [`RedisCache`]: entries, statistics and hints, behind a circuit: a Redis that is down, hangs or refuses costs nobody
//!   more than one short wait;
//! * [`cached`]: a metadata store that reads through the cache (the engine's `CachedMetadata`), whatever is behind it.
//!
//! Nothing that comes out of Redis is believed here: that is decided by the engine's `StoreCache`.

mod circuit;
mod config;
mod hints;
mod metadata;
mod redis;

pub use config::{ConfigError, RedisConfig};
pub use metadata::{cached, cached_telling};
pub use redis::RedisCache;
