//! Names that stand beside each other in a listing.

use std::fs;

use bytes::Bytes;
use gosync_tests::pair::{MIRROR, PREFIX, Pair, Tree, contents, write};

/// `foo-1` and `foo.txt` stand between `foo` and `foo/x`: wherever a page ends, on a first run, in step, and for edits and
/// deletes on either side.
#[tokio::test(flavor = "multi_thread")]
async fn pages_may_end_anywhere_among_names_that_begin_alike() {
    let names = [
        "foo!",
        "foo+",
        "foo-1",
        "foo-1/x",
        "foo.txt",
        "foo/x",
        "foo/x-1",
        "foo/x.d/y",
        "foo/x/y",
        "foo0",
        "foo0/x",
        "fo",
        "foo",
    ];
    for page in 1..5 {
        let pair = Pair::with_store(|options| options.page_size_max = page).await;
        let given = |side: &str| -> Tree {
            // In these two places both the file and the folder would be; the folders stay.
            let held = names.iter().filter(|name| !["foo", "foo-1", "foo/x", "foo0"].contains(*name));
            held.map(|name| (format!("{side}/{name}"), Bytes::from(format!("{name} of {side}")))).collect()
        };
        let (mut here, there) = (given("here"), given("there"));
        pair.write_all(&here);
        pair.put_all(&there).await;
        let agent = pair.start().await;
        here.extend(there);
        let mut expected = here;
        pair.both_hold(&expected).await;
        agent.in_step(MIRROR).await;

        for side in ["here", "there"] {
            write(&pair.root.join(side).join("foo.txt"), "edited here");
            pair.bucket.put(&format!("{PREFIX}{side}/foo/x-1"), "edited there").await;
            fs::remove_file(pair.root.join(side).join("foo/x.d/y")).unwrap();
            pair.delete_all([format!("{side}/foo-1/x")]).await;
            expected.insert(format!("{side}/foo.txt"), "edited here".into());
            expected.insert(format!("{side}/foo/x-1"), "edited there".into());
            expected.remove(&format!("{side}/foo/x.d/y")).unwrap();
            expected.remove(&format!("{side}/foo-1/x")).unwrap();
        }
        pair.both_hold(&expected).await;
        agent.in_step(MIRROR).await;
        assert_eq!(contents(&pair.root), expected, "pages of {page}");
    }
}
