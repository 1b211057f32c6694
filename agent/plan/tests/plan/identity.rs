//! The identity ladder.

use gosync_plan::identity::{Identity, same, same_as_generation};
use gosync_plan::{Generation, LocalFile, Need, ObjectFacts, RemoteObject};
use proptest::prelude::*;

use crate::support::{Content, MINE, OLD, fingerprint, generation, hex};

const PART_BYTES: u64 = 40;

/// An object as the store holds it, and how it was made.
#[derive(Clone, Debug)]
struct Stored {
    content: Content,
    etag: String,
    facts: ObjectFacts,
}

fn stored(content: Content) -> impl Strategy<Value = Stored> {
    let part_md5 = content.multipart(PART_BYTES);
    let etag = prop_oneof![
        // A plain PUT, then encrypted ones, which look the same.
        Just((hex(&content.md5()), false)),
        any::<[u8; 16]>().prop_map(|random| (hex(&random), true)),
        // Parts of one size, of various sizes, and encrypted.
        Just((format!("{}-{}", hex(&part_md5.md5), part_md5.parts), false)),
        (any::<[u8; 16]>(), 1..5u32).prop_map(|(random, parts)| (format!("{}-{parts}", hex(&random)), false)),
        (any::<[u8; 16]>(), 1..5u32).prop_map(|(random, parts)| (format!("{}-{parts}", hex(&random)), true)),
        // Gateways with ETags of their own.
        "[0-9a-zA-Z-]{0,40}".prop_map(|etag| (etag, true)),
        Just((format!("{}-x", hex(&content.md5())), false)),
    ];
    // A header that tells the truth, another content's, or nothing.
    let header = prop_oneof![Just(None), Just(Some(content)), (0..9u8).prop_map(|other| Some(Content(other)))];
    (etag, header, any::<bool>(), any::<bool>()).prop_map(move |((etag, etag_opaque), header, crc, parts)| Stored {
        content,
        etag,
        facts: ObjectFacts {
            blake3_header: header.map(Content::hash),
            crc64nvme: crc.then(|| content.crc()),
            part_bytes: parts.then_some(PART_BYTES),
            etag_opaque,
            ..ObjectFacts::default()
        },
    })
}

proptest! {
    #[test]
    fn the_ladder_ends_after_four_looks_and_never_errs(
        ours in (0..9u8).prop_map(Content),
        theirs in (0..9u8).prop_map(Content).prop_flat_map(stored),
        read_before in any::<bool>(),
    ) {
        let mut file = LocalFile { fingerprint: fingerprint(ours), digests: read_before.then(|| ours.digests()) };
        let mut object = RemoteObject {
            generation: Generation { etag: theirs.etag.clone(), ..generation(theirs.content, 1) },
            facts: None,
            content: None,
        };
        let mut looks = Vec::new();
        let answer = loop {
            match same(&file, &object) {
                Identity::Unknown(need) => {
                    prop_assert!(!looks.contains(&need), "asked twice: {:?}, after {:?}", need, looks);
                    looks.push(need);
                    prop_assert!(looks.len() <= 4, "{:?}", looks);
                    match need {
                        Need::Head => object.facts = Some(theirs.facts.clone()),
                        Need::LocalDigests { .. } => file.digests = Some(ours.read_for(need)),
                        Need::RemoteContent => object.content = Some(theirs.content.hash()),
                    }
                }
                answer => break answer,
            }
        };
        prop_assert_eq!(answer == Identity::Same, ours == theirs.content, "after {:?}", looks);
    }

    #[test]
    fn digests_alone_agree_with_the_ladder_as_far_as_they_reach(
        ours in (0..9u8).prop_map(Content),
        theirs in (0..9u8).prop_map(Content).prop_flat_map(stored),
        with_facts in any::<bool>(),
    ) {
        let digests = ours.read_for(Need::LocalDigests {
            md5: true,
            multipart_part_bytes: Some(PART_BYTES),
            crc64nvme: true,
        });
        let generation = Generation { etag: theirs.etag.clone(), ..generation(theirs.content, 1) };
        match same_as_generation(&digests, &generation, with_facts.then_some(&theirs.facts)) {
            Identity::Same => prop_assert_eq!(ours, theirs.content),
            Identity::Differs => prop_assert_ne!(ours, theirs.content),
            Identity::Unknown(need) => {
                prop_assert_eq!(need, if with_facts { Need::RemoteContent } else { Need::Head });
            }
        }
    }
}

fn file(content: Content, need: Need) -> LocalFile {
    LocalFile { fingerprint: fingerprint(content), digests: Some(content.read_for(need)) }
}

const MD5: Need = Need::LocalDigests { md5: true, multipart_part_bytes: None, crc64nvme: false };

#[test]
fn another_size_is_another_content_without_any_look() {
    let object = RemoteObject { generation: generation(Content(4), 1), facts: None, content: None };
    assert_eq!(same(&LocalFile { fingerprint: fingerprint(OLD), digests: None }, &object), Identity::Differs);
}

#[test]
fn a_listing_is_enough_to_adopt_an_equal_file() {
    let object = RemoteObject { generation: generation(OLD, 1), facts: None, content: None };
    let unread = LocalFile { fingerprint: fingerprint(OLD), digests: None };
    assert_eq!(same(&unread, &object), Identity::Unknown(MD5));
    assert_eq!(same(&file(OLD, MD5), &object), Identity::Same);
}

#[test]
fn a_listing_is_not_enough_to_call_a_file_different() {
    let mut object = RemoteObject { generation: generation(OLD, 1), facts: None, content: None };
    assert_eq!(same(&file(MINE, MD5), &object), Identity::Unknown(Need::Head));
    object.facts = Some(ObjectFacts::default());
    assert_eq!(same(&file(MINE, MD5), &object), Identity::Differs);
    object.facts = Some(ObjectFacts { etag_opaque: true, ..ObjectFacts::default() });
    assert_eq!(same(&file(MINE, MD5), &object), Identity::Unknown(Need::RemoteContent));
}

#[test]
fn a_copied_hash_header_over_another_content_proves_nothing() {
    let facts = ObjectFacts { blake3_header: Some(OLD.hash()), etag_opaque: true, ..ObjectFacts::default() };
    let object = RemoteObject { generation: generation(MINE, 1), facts: Some(facts), content: None };
    assert_eq!(same(&file(OLD, MD5), &object), Identity::Unknown(Need::RemoteContent));
}

#[test]
fn a_known_content_needs_only_the_hash_of_the_file() {
    let object = RemoteObject { generation: generation(OLD, 1), facts: None, content: Some(OLD.hash()) };
    let unread = LocalFile { fingerprint: fingerprint(OLD), digests: None };
    assert_eq!(same(&unread, &object), Identity::Unknown(Need::HASH));
    assert_eq!(same(&file(OLD, Need::HASH), &object), Identity::Same);
    assert_eq!(same(&file(MINE, Need::HASH), &object), Identity::Differs);
}

#[test]
fn reading_again_for_one_more_digest_keeps_the_others() {
    let facts = ObjectFacts { etag_opaque: true, crc64nvme: Some(OLD.crc()), ..ObjectFacts::default() };
    let object = RemoteObject { generation: generation(MINE, 1), facts: Some(facts), content: None };
    let both = Need::LocalDigests { md5: true, multipart_part_bytes: None, crc64nvme: true };
    assert_eq!(same(&file(OLD, MD5), &object), Identity::Unknown(both));
    assert_eq!(same(&file(OLD, both), &object), Identity::Same);
}

#[test]
fn nothing_needs_no_reading() {
    let empty = Content(0);
    let object = RemoteObject { generation: generation(empty, 1), facts: None, content: None };
    assert_eq!(same(&LocalFile { fingerprint: fingerprint(empty), digests: None }, &object), Identity::Same);
}

#[test]
fn a_digest_for_parts_of_another_size_does_not_do() {
    let parts = OLD.multipart(PART_BYTES);
    let etag = format!("{}-{}", hex(&parts.md5), parts.parts);
    let facts = ObjectFacts { part_bytes: Some(PART_BYTES), ..ObjectFacts::default() };
    let generation = Generation { etag, ..generation(OLD, 1) };
    let object = RemoteObject { generation, facts: Some(facts), content: None };
    let for_parts_of =
        |part_bytes| Need::LocalDigests { md5: false, multipart_part_bytes: Some(part_bytes), crc64nvme: false };
    let reading = Identity::Unknown(for_parts_of(PART_BYTES));
    assert_eq!(same(&file(OLD, for_parts_of(PART_BYTES + 1)), &object), reading);
    assert_eq!(same(&file(OLD, for_parts_of(PART_BYTES)), &object), Identity::Same);
    assert_eq!(same(&file(MINE, for_parts_of(PART_BYTES)), &object), Identity::Unknown(Need::RemoteContent));
}
