//! From error numbers to the kinds that the engine acts on.

use gosync_engine::ports::{TreeError, TreeErrorKind};
use rustix::io::Errno;

/// Why a call was refused, before it is known which call and which path it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    pub kind: TreeErrorKind,
    pub errno: Option<Errno>,
}

impl Refused {
    pub fn new(kind: TreeErrorKind) -> Self {
        Self { kind, errno: None }
    }

    /// The kind that `errno` has in this one call.
    pub fn as_kind(kind: TreeErrorKind, errno: Errno) -> Self {
        Self { kind, errno: Some(errno) }
    }

    pub fn at(self, call: &'static str, path: &str) -> TreeError {
        TreeError { source: self.errno.map(Into::into), ..TreeError::new(self.kind, call, path) }
    }
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self { kind: kind_of(errno), errno: Some(errno) }
    }
}

fn kind_of(errno: Errno) -> TreeErrorKind {
    match errno {
        Errno::NOENT => TreeErrorKind::NotFound,
        Errno::EXIST => TreeErrorKind::Exists,
        Errno::NOTEMPTY => TreeErrorKind::NotEmpty,
        Errno::NOTDIR => TreeErrorKind::NotAFolder,
        Errno::ISDIR => TreeErrorKind::IsAFolder,
        Errno::LOOP => TreeErrorKind::Escapes,
        Errno::XDEV => TreeErrorKind::OtherMount,
        Errno::NAMETOOLONG => TreeErrorKind::NameTooLong,
        Errno::ACCESS | Errno::PERM => TreeErrorKind::Permission,
        Errno::NOSPC | Errno::DQUOT => TreeErrorKind::NoSpace,
        Errno::ROFS => TreeErrorKind::ReadOnly,
        Errno::NOSYS | Errno::OPNOTSUPP => TreeErrorKind::Unsupported,
        _ => TreeErrorKind::Failed,
    }
}
