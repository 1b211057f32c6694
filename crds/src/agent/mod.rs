//! From a SyncMirror to the config of the agents of its pods: which key each field becomes, and the texts themselves.
//!
//! The operator keeps these texts in a ConfigMap for each mirror; pods see them as files in one folder. Rendering the same
//! spec gives the same bytes, so that nothing is written when nothing changed.

mod paths;
mod render;
mod table;

pub use paths::*;
pub use render::{base, config, mirror, sources};
pub use table::{Row, TABLE, Use};
