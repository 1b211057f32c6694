//! Listings: order, pages, odd keys, and what they leave out.

use super::*;

/// Keys around the traps of order: `-` and `.` stand before `/`, capitals before small letters, all before UTF-8.
const ORDERED: &[&str] = &[
    "A", "Foo/x", "a", "foo!", "foo-1", "foo.txt", "foo/a", "foo/b/c", "foo/b0", "foo0", "fooA", "zz", "~", "ä",
    "日本/x",
];

pub async fn keys_come_in_byte_order_whatever_the_page(rig: Rig) {
    for key in ORDERED.iter().rev() {
        rig.put(key, b"x").await;
    }
    for page_keys_max in [0, 1, 3, 1000] {
        let request = ListRequest { page_keys_max, ..prefix("") };
        assert_eq!(rig.keys(request).await, ORDERED, "pages of {page_keys_max}");
    }
}

pub async fn a_listing_starts_after_a_key_and_stays_below_its_prefix(rig: Rig) {
    for key in ["data/a", "data/b", "data/b-1", "data/c/d", "data2/a"] {
        rig.put(key, b"x").await;
    }
    assert_eq!(rig.keys(prefix("data/")).await, ["data/a", "data/b", "data/b-1", "data/c/d"]);
    assert_eq!(rig.keys(prefix("data")).await.len(), 5);
    // A key that is there, one that isn't, a folder's name, and one past the end.
    for (after, left) in [("data/a", 3), ("data/b,", 2), ("data/c/", 1), ("data/z", 0)] {
        for page_keys_max in [0, 1] {
            let start_after = Some(after.to_owned());
            let request = ListRequest { start_after, page_keys_max, ..prefix("data/") };
            assert_eq!(rig.keys(request).await.len(), left, "after {after}");
        }
    }
}

pub async fn odd_keys_come_back_unchanged(rig: Rig) {
    let odd = [
        "space at end ",
        "plus+and&amp;",
        "100%/%2F/%",
        "quote'\"<>",
        "new\nline",
        "tab\tand\u{7f}",
        "question?mark=1",
        "hash#",
        "NFC-é",
        "NFD-e\u{301}",
        "日本語/😀",
        "back\\slash",
        "=equals;semi:colon@at,comma$",
        "*star[bracket]{brace}^caret`tick|pipe",
        &"long".repeat(50),
    ];
    for key in odd {
        put(&*rig.store, key, key.to_owned(), Condition::Absent).await.unwrap_or_else(|error| panic!("{error}"));
    }
    let mut sorted = odd.to_vec();
    sorted.sort_unstable();
    assert_eq!(rig.keys(prefix("")).await, sorted);
    for key in odd {
        assert_eq!(read(&*rig.store, get(key)).await.unwrap().1, key);
        assert_eq!(rig.content(key).await.unwrap(), key, "somebody else's look at {key:?}");
        let after = ListRequest { start_after: Some(key.to_owned()), ..prefix("") };
        let place = sorted.iter().position(|other| *other == key).unwrap();
        assert_eq!(rig.keys(after).await, sorted[place + 1..], "after {key:?}");
        assert_eq!(rig.keys(prefix(key)).await, [key]);
    }
    for key in odd {
        rig.store.delete(key, &Condition::None).await.unwrap();
    }
    assert_eq!(rig.stranger.keys("").await, [""; 0]);
}

pub async fn a_file_beside_its_folder_does_what_the_table_says(rig: Rig) {
    // Whichever of the two comes first.
    for (first, second, file, below) in [("a", "a/b", "a", "a/b"), ("c/d", "c", "c", "c/d")] {
        rig.put(first, b"first").await;
        let put = put(&*rig.store, second, "second", Condition::Absent).await;
        let listed = rig.keys(prefix(file)).await;
        match rig.truth.file_beside_folder {
            Beside::Possible => {
                put.unwrap();
                assert_eq!(listed, [file, below]);
            }
            Beside::Hidden => {
                put.unwrap();
                assert_eq!(listed, [file]);
                assert_eq!(rig.keys(prefix(&format!("{file}/"))).await, [""; 0]);
                assert!(
                    rig.store.head(below).await.unwrap().is_some(),
                    "{below} isn't in the listing, yet it is there"
                );
            }
            Beside::Refused => {
                // The kind is the server's affair; that it is an error of this key alone isn't.
                let error = put.unwrap_err();
                assert!(!error.is_of_the_store() && !error.is_transient(), "{error}");
                assert_eq!(listed, [first]);
            }
        }
    }
}

pub async fn a_listing_tells_the_generation_that_head_tells(rig: Rig) {
    let written = rig.put("k", b"content").await;
    let page = rig.store.list(prefix("")).await.unwrap();
    let listed = &page.objects[0];
    let head = rig.store.head("k").await.unwrap().unwrap();
    assert_eq!(listed.generation.size, 7);
    assert!(listed.generation.last_modified.is_some());
    assert!(listed.generation.same(&head.generation), "{listed:?} {head:?}");
    assert!(head.generation.same(&written.generation), "{head:?} {written:?}");
    assert_eq!(listed.generation.last_modified, head.generation.last_modified, "one spelling of times");
    assert!(!listed.archived && !head.archived);
}
