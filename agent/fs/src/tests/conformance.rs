use gosync_engine::ports::{Lease, LocalTree, Stat, TreeError, TreeErrorKind, TreeFile, local};

use super::places::on_each_tree;

/// The suite beside the port.
#[path = "../../../engine/src/ports/local_conformance.rs"]
mod local_conformance;

#[test]
fn a_disk_does_what_every_local_tree_does() {
    for (name, check) in local_conformance::CHECKS {
        on_each_tree(|_, tree| {
            if let Err(wrong) = check(tree) {
                panic!("{name}: {wrong}");
            }
        });
    }
}
