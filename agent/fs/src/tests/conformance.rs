use gosync_engine::ports::local_conformance;

use super::places::on_each_tree;

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
