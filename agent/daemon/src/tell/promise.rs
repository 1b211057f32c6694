//! What a store was proven to do, and which promises are weaker where it doesn't, in words. Pure.

use gosync_api::messages::{Conditions, Proof, StoreState};
use gosync_engine::handle;

/// `shared`: agents with metadata in common write to it.
pub fn store(found: handle::Conditions, shared: bool) -> StoreState {
    let conditions = Conditions {
        create: proof(found.put),
        replace: proof(found.put),
        multipart: proof(found.multipart),
        delete: proof(found.delete),
        copy: proof(found.copy),
        versions: Proof::Untested,
    };
    let words = if shared { TAKING_TURNS } else { ALONE };
    let missing = [found.put, found.multipart, found.delete, found.copy].into_iter().zip(words);
    let mut weaker: Vec<String> =
        missing.filter(|(held, _)| *held == Some(false)).map(|(_, words)| words.to_owned()).collect();
    if shared && !weaker.is_empty() {
        weaker.push(NEEDS_POSTGRES.to_owned());
    }
    StoreState { conditions, weaker }
}

/// On PUT, multipart uploads, DELETE and CopyObject.
const TAKING_TURNS: [&str; 4] = [
    "the store keeps no conditions on PUT: agents that share this Postgres take turns at each file; what any other program \
     uploads to the same name in the same moment can be overwritten. Local files that are replaced go to the trash",
    "the store keeps no conditions on multipart uploads: the same holds for files larger than `chunk_size`",
    "the store keeps no conditions on DELETE: agents that share this Postgres take turns at each file; what any other \
     program uploads in the moment before a delete goes with it, unless the bucket keeps versions",
    "the store keeps no conditions on copies: a renamed file is copied in the bucket while its new name is this agent's \
     turn; what any other program uploads to that name in the same moment can be overwritten. Local files that an object of \
     up to `chunk_size` replaces go to the trash",
];
const NEEDS_POSTGRES: &str =
    "as this store ignores some conditions, nothing is written to the bucket while Postgres is away";

const ALONE: [&str; 4] = [
    "the store keeps no conditions on PUT: of two that write one file in the same moment the later one wins, and nobody is \
     told of a conflict; each upload is preceded and followed by a look, and local files that are replaced go to the trash",
    "the store keeps no conditions on multipart uploads: the same holds for files larger than `chunk_size`",
    "the store keeps no conditions on DELETE: deletes wait one interval, then look again just before; an edit that is \
     uploaded in that last instant goes with the delete. Whoever made it has it in the trash, or the bucket as a version",
    "the store keeps no conditions on copies: a renamed file of up to `chunk_size` is sent again",
];

fn proof(held: Option<bool>) -> Proof {
    match held {
        Some(true) => Proof::Proven,
        Some(false) => Proof::Missing,
        None => Proof::Untested,
    }
}
