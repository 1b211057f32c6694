//! Which version of the socket's messages two ends speak, and what is said when they don't understand each other.
//!
//! A new field keeps the number; a new word in a closed list, a removed field or a changed meaning raises it. An end
//! states the newest version it speaks and the oldest it still understands.

use std::fmt;
use std::str::FromStr;

/// The header that both ends send.
pub const VERSION_HEADER: &str = "gosync-api";
/// The newest version that this build speaks.
pub const API_VERSION: u32 = 1;
/// The oldest version that this build understands.
pub const API_OLDEST: u32 = 1;

/// What one end says about itself. As a header value: `1; oldest=1; release=0.1.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Newest version it speaks.
    pub newest: u32,
    /// Oldest version it understands.
    pub oldest: u32,
    /// Its release, for messages.
    pub release: String,
}

impl Hello {
    /// This build.
    pub fn ours() -> Self {
        Self { newest: API_VERSION, oldest: API_OLDEST, release: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

impl fmt::Display for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; oldest={}; release={}", self.newest, self.oldest, self.release)
    }
}

/// A header value that no GoSync sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a value of the {VERSION_HEADER} header")]
pub struct NotAHello(pub String);

impl FromStr for Hello {
    type Err = NotAHello;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotAHello(text.to_owned());
        let mut parts = text.split(';').map(str::trim);
        let newest: u32 = parts.next().and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
        let mut hello = Self { newest, oldest: newest, release: "unknown".to_owned() };
        for part in parts {
            match part.split_once('=') {
                Some(("oldest", n)) => hello.oldest = n.parse().map_err(|_| wrong())?,
                Some(("release", release)) => hello.release = release.to_owned(),
                // A later release may say more about itself.
                _ => {}
            }
        }
        Ok(hello)
    }
}

/// Two ends that share no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// The other end is too new for this one.
    #[error("this is gosync {ours}, the other end is {theirs} and no longer understands it; update this one")]
    OursIsTooOld {
        /// This end's release.
        ours: String,
        /// The other end's release.
        theirs: String,
    },
    /// The other end is too old for this one.
    #[error(
        "this is gosync {ours}, the other end is {theirs}, too old to understand it; update and restart the other end"
    )]
    TheirsIsTooOld {
        /// This end's release.
        ours: String,
        /// The other end's release.
        theirs: String,
    },
}

/// The version both ends speak: the newest that both know.
pub fn agree(ours: &Hello, theirs: &Hello) -> Result<u32, Incompatible> {
    let version = ours.newest.min(theirs.newest);
    let (ours_release, theirs_release) = (ours.release.clone(), theirs.release.clone());
    if version < theirs.oldest {
        Err(Incompatible::OursIsTooOld { ours: ours_release, theirs: theirs_release })
    } else if version < ours.oldest {
        Err(Incompatible::TheirsIsTooOld { ours: ours_release, theirs: theirs_release })
    } else {
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may stop at the first surprise
    use super::*;

    fn hello(newest: u32, oldest: u32) -> Hello {
        Hello { newest, oldest, release: format!("0.{newest}.0") }
    }

    #[test]
    fn a_header_reads_back_what_was_written() {
        let ours = Hello::ours();
        assert_eq!(ours.to_string().parse::<Hello>().unwrap(), ours);
    }

    #[test]
    fn a_header_of_a_later_release_may_say_more() {
        let hello: Hello = "3; oldest=2; release=0.9.1; mood=good".parse().unwrap();
        assert_eq!((hello.newest, hello.oldest), (3, 2));
        assert!("tea".parse::<Hello>().is_err());
    }

    #[test]
    fn ends_meet_at_the_newest_version_that_both_know() {
        assert_eq!(agree(&hello(3, 1), &hello(2, 1)), Ok(2));
        assert_eq!(agree(&hello(1, 1), &hello(4, 1)), Ok(1));
    }

    #[test]
    fn ends_that_share_no_version_say_which_one_to_update() {
        let old = agree(&hello(1, 1), &hello(4, 3)).unwrap_err().to_string();
        assert!(old.contains("update this one"), "{old}");
        let new = agree(&hello(4, 3), &hello(1, 1)).unwrap_err().to_string();
        assert!(new.contains("restart the other end"), "{new}");
    }
}
