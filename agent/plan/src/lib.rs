//! Pure decisions: three views of a path in, one decision out; many decisions in, one plan out.
//!
//! There is no I/O, clock, randomness or concurrency in this crate. Whatever a decision needs is in its arguments, so
//! that each can be printed, compared, tested by tables and properties, and replayed by the simulator.
//!
//! * [`names`]: paths below a root and the keys that they have in a bucket;
//! * [`facts`]: what a look at one side can tell, and what the ancestor remembers;
//! * [`identity`]: whether a file and an object hold the same content, by the cheapest proof at hand;
//! * [`decide`](mod@decide): one path at a time, both ways;
//! * [`policy`]: what becomes of that where a mirror works one way, or where one side wins;
//! * [`settle`](mod@settle): what needs several paths at once (file against folder, content that moved);
//! * [`why`](mod@why): what a decision rests on, in words for people;
//! * [`conflict`]: names of conflict copies;
//! * [`guard`]: how much may be deleted before a person is asked.

pub mod conflict;
pub mod decide;
pub mod facts;
pub mod guard;
pub mod identity;
pub mod names;
pub mod policy;
pub mod settle;
pub mod why;

pub use conflict::{ConflictTag, conflict_family, free_conflict_name, is_conflict_copy_of};
pub use decide::{
    Action, Decision, ExpectLocal, ExpectRemote, ModeMerge, ModePolicy, Need, Problem, decide, is_lazy, merge_mode,
};
pub use facts::{
    Ancestor, ContentHash, Digests, Fingerprint, Generation, LocalEntry, LocalFile, Nonce, ObjectFacts, RemoteEntry,
    RemoteObject,
};
pub use guard::{DeleteLimits, GuardVerdict, HaltReason};
pub use names::{NameProblem, Prefix, RelPath};
pub use policy::{ConflictPolicy, Direction, Policy};
pub use settle::{Difference, Outcome, Plan, PlannedOperation, settle};
