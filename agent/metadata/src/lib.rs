//! What agents remember, in databases: the state of one replica and the metadata of a store. Only here is sqlx named.
//!
//! * [`SqliteState`]: one file per replica, durable at each answer;
//! * [`SqliteMetadata`]: files, feed, states, configurations and leases of an agent that is alone with its metadata;
//! * [`PostgresMetadata`]: the same, shared by a fleet of agents;
//! * `batch`: what a batch of changes comes to, whatever the database;
//! * `database`: opening a file, migrating, refusing what isn't ours;
//! * `writer`: the one writer of each file, and its group commit;
//! * `text`: order, ranges and spelling of keys as a database holds them.

mod batch;
mod database;
mod metadata;
mod migrations;
mod peek;
mod postgres;
mod state;
mod text;
mod writer;

pub use database::JournalMode;
pub use metadata::{MirrorRow, SqliteMetadata};
pub use peek::peek_note;
pub use postgres::{PostgresMetadata, PostgresOptions, ServerSeen, look_at_server};
pub use state::{SqliteState, StateOptions};
