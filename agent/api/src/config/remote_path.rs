//! `s3_path`: `/prefix` in the config's bucket, or `s3://bucket/prefix`.

use std::fmt;
use std::str::FromStr;

use super::problem::Wrong;

/// Longest key of S3, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// A bucket (none: the config's) and a prefix in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemotePath {
    /// The bucket, where the path names one.
    pub bucket: Option<String>,
    /// The prefix as keys begin with it: empty for the whole bucket, else without a leading and with a trailing `/`.
    pub prefix: String,
}

impl FromStr for RemotePath {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let (bucket, path) = match text.strip_prefix("s3://") {
            Some(rest) => {
                let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
                check_bucket(bucket)?;
                (Some(bucket.to_owned()), path)
            }
            None => match text.strip_prefix('/') {
                Some(path) => (None, path),
                None if text.is_empty() => {
                    return Err(Wrong::new("the path is empty", "write /prefix, or / for the whole bucket"));
                }
                None => {
                    return Err(Wrong::new(
                        format!("\"{text}\" begins with neither / nor s3://"),
                        format!("write /{text}, or s3://bucket/prefix"),
                    ));
                }
            },
        };
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            return Ok(Self { bucket, prefix: String::new() });
        }
        for part in path.split('/') {
            let what = match part {
                "" => "has an empty part (//)",
                "." | ".." => "has a part that is . or ..",
                ".gosync" => "leads into .gosync, which is never synced",
                _ if part.len() > 255 => "has a part of more than 255 bytes",
                _ if part.contains(|c: char| c.is_control()) => "holds a control character",
                _ => continue,
            };
            return Err(Wrong::new(format!("\"{text}\" {what}"), "write plain folder names, such as /team/documents"));
        }
        if path.len() > KEY_BYTES_MAX / 2 {
            return Err(Wrong::new(
                format!("the prefix has {} bytes and leaves too little of the {KEY_BYTES_MAX} of a key", path.len()),
                "use a shorter one",
            ));
        }
        Ok(Self { bucket, prefix: format!("{path}/") })
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.bucket {
            Some(bucket) => write!(f, "s3://{bucket}/{}", self.prefix),
            None => write!(f, "/{}", self.prefix),
        }
    }
}

/// A bucket's name: 3 to 63 letters, digits, dots, dashes and underscores (the last for stores that are not AWS).
pub(crate) fn check_bucket(bucket: &str) -> Result<(), Wrong> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if (3..=63).contains(&bucket.len()) && bucket.chars().all(legal) && !bucket.starts_with('.') {
        return Ok(());
    }
    Err(Wrong::new(
        format!("\"{bucket}\" is not the name of a bucket"),
        "write 3 to 63 letters, digits, dots and dashes; the prefix belongs into s3_path",
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may stop at the first surprise
    use super::*;

    fn of(text: &str) -> (Option<String>, String) {
        let path: RemotePath = text.parse().unwrap();
        (path.bucket, path.prefix)
    }

    #[test]
    fn a_path_names_a_prefix_and_perhaps_a_bucket() {
        assert_eq!(of("/documents"), (None, "documents/".into()));
        assert_eq!(of("/a/b/"), (None, "a/b/".into()));
        assert_eq!(of("/"), (None, String::new()));
        assert_eq!(of("s3://other-bucket/x y"), (Some("other-bucket".into()), "x y/".into()));
        assert_eq!(of("s3://other-bucket"), (Some("other-bucket".into()), String::new()));
    }

    #[test]
    fn a_path_that_no_folder_can_stand_for_is_refused() {
        for text in ["", "documents", "//a", "/a//b", "/a/../b", "/.gosync", "s3://", "s3://B/x", "s3:/b/x"] {
            assert!(text.parse::<RemotePath>().is_err(), "{text}");
        }
    }
}
