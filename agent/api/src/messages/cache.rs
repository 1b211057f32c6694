//! `gosync cache`: how the caches stand, and that they were emptied.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The caches that the agent uses: one, unless mirrors have settings of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Caches {
    /// By address.
    pub caches: Vec<CacheStats>,
}

/// One cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheStats {
    /// `host:port/database`; empty where the settings can't be used.
    pub address: String,
    /// What its keys begin with.
    pub prefix: String,
    /// True while it answers. The rest is from before, or 0, while it doesn't.
    pub up: bool,
    /// Since when it is up or down.
    pub since: Option<Timestamp>,
    /// Why it is down, or what it refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Reads that it answered, since the agent's start.
    pub hits: u64,
    /// Reads that it could not answer.
    pub misses: u64,
    /// Its keys, of all agents.
    pub keys: u64,
    /// There are more: too many to count.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keys_more: bool,
    /// Memory that the whole server uses, in bytes.
    pub memory_used: Option<u64>,
    /// Memory that the server may use, in bytes; none: without a limit, or not told.
    pub memory_allowed: Option<u64>,
}

/// What a flush of the caches did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CachesFlushed {
    /// By address.
    pub caches: Vec<CacheFlushed>,
}

/// One cache that is empty now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheFlushed {
    /// `host:port/database`
    pub address: String,
    /// What its keys begin with: no other was touched.
    pub prefix: String,
    /// How many were dropped.
    pub keys: u64,
}
