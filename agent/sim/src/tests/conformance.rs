//! The world's doubles against the suites of their ports.

use gosync_engine::ports::{local_conformance, metadata_conformance, state_conformance};

use super::{answer_of, tree};

#[test]
fn the_tree_does_what_every_local_tree_does() {
    for (name, check) in local_conformance::CHECKS {
        if let Err(error) = check(&tree()) {
            panic!("{name}: {error}");
        }
    }
}

#[test]
fn the_state_does_what_every_state_does() {
    answer_of(|ports| async move { state_conformance::conforms(&*ports.state).await }).unwrap();
}

#[test]
fn the_metadata_does_what_all_metadata_does() {
    answer_of(|ports| async move { metadata_conformance::conforms(&*ports.metadata).await }).unwrap();
}
