//! How what an object carries beside its bytes is spelled: as rclone does where rclone has a spelling.

use std::collections::HashMap;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{ArchiveStatus, ServerSideEncryption};
use aws_smithy_types::{DateTime, base64};
use gosync_engine::ports::store::{Head, ObjectHeaders};
use gosync_plan::facts::ObjectFacts;
use gosync_plan::{ContentHash, Generation, Nonce};

const MTIME: &str = "mtime";
const MODE: &str = "mode";
const BLAKE3: &str = "gosync-blake3";
const NONCE: &str = "gosync-op";
const OPEN: &str = "gosync-open";

const NANOSECONDS: u64 = 1_000_000_000;
const FILE_TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

pub(crate) fn metadata(headers: &ObjectHeaders) -> HashMap<String, String> {
    let mut metadata = HashMap::with_capacity(5);
    let mut set = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            metadata.insert(name.to_owned(), value);
        }
    };
    set(MTIME, headers.mtime_ns.map(mtime_text));
    set(MODE, headers.mode.map(|mode| format!("{mode:o}")));
    set(BLAKE3, headers.blake3.map(ContentHash::to_hex));
    set(NONCE, headers.nonce.map(Nonce::to_hex));
    set(OPEN, headers.open.then(|| "1".into()));
    metadata
}

pub(crate) fn content_type(key: &str) -> &'static str {
    mime_guess::from_path(key).first_raw().unwrap_or("application/octet-stream")
}

/// Seconds since 1970 with a fraction and no zeros behind it.
fn mtime_text(mtime_ns: i64) -> String {
    let (seconds, fraction) = (mtime_ns.unsigned_abs() / NANOSECONDS, mtime_ns.unsigned_abs() % NANOSECONDS);
    let sign = if mtime_ns < 0 { "-" } else { "" };
    let text = format!("{sign}{seconds}.{fraction:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Exact; digits behind the ninth are cut. `None`: not a decimal number, or out of range.
fn mtime_ns(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if seconds.is_empty() || !is_number(seconds) || !is_number(fraction) {
        return None;
    }
    let fraction = format!("{:0<9.9}", fraction).parse::<i128>().ok()?;
    let magnitude = seconds.parse::<i128>().ok()?.checked_mul(NANOSECONDS.into())?.checked_add(fraction)?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// Permission bits. Octal with the file type is what rclone and we write (`100644`), decimal is what s3fs writes
/// (`33188`), plain octal permissions are what people write (`0644`). No decimal regular mode is an octal one.
fn mode(text: &str) -> Option<u32> {
    let text = text.trim();
    let octal = u32::from_str_radix(text, 8).ok();
    let regular = |mode: u32| (mode & !0o7777 == REGULAR).then_some(mode & 0o7777);
    let bare = |mode: u32| (mode & FILE_TYPE == 0 && mode <= 0o7777).then_some(mode);
    octal.and_then(regular).or_else(|| text.parse().ok().and_then(regular)).or_else(|| octal.and_then(bare))
}

/// The mode of a symbolic link, octal as we write it or decimal as s3fs does. No decimal one of either kind is an octal one
/// of the other.
fn is_link(text: &str) -> bool {
    let link = |mode: u32| mode & !0o7777 == LINK;
    u32::from_str_radix(text.trim(), 8).is_ok_and(link) || text.trim().parse().is_ok_and(link)
}

/// Whole seconds, so that a listing, a HEAD and a GET say the same.
pub(crate) fn modified_token(time: &DateTime) -> String {
    time.secs().to_string()
}

pub(crate) fn unquoted(etag: &str) -> String {
    etag.trim_start_matches("W/").trim_matches('"').to_owned()
}

pub(crate) fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// What suspended or never enabled versioning shows is no name of a version: the next write replaces it.
pub(crate) fn version(id: Option<&str>) -> Option<String> {
    id.filter(|id| !id.is_empty() && *id != "null").map(Into::into)
}

/// Storage class GLACIER or DEEP_ARCHIVE, which a listing tells too.
pub(crate) fn is_archive_class(class: &str) -> bool {
    matches!(class, "GLACIER" | "DEEP_ARCHIVE")
}

/// 32 hexadecimal digits, with the number of parts behind them where there are any.
fn looks_like_md5(etag: &str) -> bool {
    let (digest, parts) = etag.split_once('-').map_or((etag, None), |(digest, parts)| (digest, Some(parts)));
    digest.len() == 32
        && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
        && parts.is_none_or(|parts| parts.parse::<u32>().is_ok())
}

/// The checksum of a whole object; one made of its parts' checksums has a dash and says nothing to us.
pub(crate) fn crc64(text: &str) -> Option<u64> {
    let bytes = base64::decode(text).ok()?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// The headers that HEAD and GET have in common.
pub(crate) struct Reply<'a> {
    etag: Option<&'a str>,
    version_id: Option<&'a str>,
    last_modified: Option<&'a DateTime>,
    metadata: Option<&'a HashMap<String, String>>,
    content_type: Option<&'a str>,
    crc64nvme: Option<&'a str>,
    sse: Option<&'a ServerSideEncryption>,
    sse_customer: Option<&'a str>,
    storage_class: Option<&'a str>,
    restore: Option<&'a str>,
    archive_status: Option<&'a ArchiveStatus>,
}

macro_rules! reply {
    ($output:expr, $archive_status:expr) => {
        Reply {
            etag: $output.e_tag(),
            version_id: $output.version_id(),
            last_modified: $output.last_modified(),
            metadata: $output.metadata(),
            content_type: $output.content_type(),
            crc64nvme: $output.checksum_crc64_nvme(),
            sse: $output.server_side_encryption(),
            sse_customer: $output.sse_customer_algorithm(),
            storage_class: $output.storage_class().map(|class| class.as_str()),
            restore: $output.restore(),
            archive_status: $archive_status,
        }
    };
}

impl<'a> From<&'a HeadObjectOutput> for Reply<'a> {
    fn from(output: &'a HeadObjectOutput) -> Self {
        reply!(output, output.archive_status())
    }
}

impl<'a> From<&'a GetObjectOutput> for Reply<'a> {
    fn from(output: &'a GetObjectOutput) -> Self {
        reply!(output, None)
    }
}

impl Reply<'_> {
    /// `None`: there is no ETag, so that nothing tells this generation from others.
    pub fn head(&self, size: u64) -> Option<Head> {
        let etag = unquoted(self.etag?);
        let meta = |name: &str| self.metadata.and_then(|metadata| metadata.get(name)).map(String::as_str);
        let keyed = matches!(self.sse, Some(ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse));
        let facts = ObjectFacts {
            blake3_header: meta(BLAKE3).and_then(ContentHash::from_hex),
            nonce: meta(NONCE).and_then(Nonce::from_hex),
            open: meta(OPEN).is_some(),
            mtime_ns: meta(MTIME).and_then(mtime_ns),
            mode: meta(MODE).and_then(mode),
            is_link: meta(MODE).is_some_and(is_link),
            crc64nvme: self.crc64nvme.and_then(crc64),
            part_bytes: None,
            etag_opaque: keyed || self.sse_customer.is_some() || !looks_like_md5(&etag),
            content_type: self.content_type.map(Into::into),
        };
        let generation = Generation {
            etag,
            size,
            version_id: version(self.version_id),
            last_modified: self.last_modified.map(modified_token),
        };
        Some(Head { generation, facts, archived: self.is_archived() })
    }

    fn is_archived(&self) -> bool {
        let restored = self.restore.is_some_and(|restore| restore.contains("ongoing-request=\"false\""));
        !restored && (self.archive_status.is_some() || self.storage_class.is_some_and(is_archive_class))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may stop at the first surprise")]

    use super::*;

    #[test]
    fn times_are_spelled_as_rclone_spells_them_and_read_back_exactly() {
        for (ns, text) in [
            (0, "0"),
            (1, "0.000000001"),
            (-1, "-0.000000001"),
            (1_700_000_000_000_000_000, "1700000000"),
            (1_700_000_000_120_000_000, "1700000000.12"),
            (-1_500_000_000, "-1.5"),
            (i64::MAX, "9223372036.854775807"),
            (i64::MIN, "-9223372036.854775808"),
        ] {
            assert_eq!(mtime_text(ns), text);
            assert_eq!(mtime_ns(text), Some(ns), "{text}");
        }
    }

    #[test]
    fn times_of_other_tools_are_read_or_left_out() {
        assert_eq!(mtime_ns("1700000000.1234567899"), Some(1_700_000_000_123_456_789));
        assert_eq!(mtime_ns("0000000001.500000000"), Some(1_500_000_000));
        assert_eq!(mtime_ns("5."), Some(5_000_000_000));
        for text in [
            "",
            "-",
            ".5",
            "x",
            "1e9",
            "+1",
            "1.2.3",
            "--1",
            "1.-2",
            "9223372036.854775808",
            "99999999999999999999999999999999999999999",
        ] {
            assert_eq!(mtime_ns(text), None, "{text}");
        }
    }

    #[test]
    fn modes_of_rclone_s3fs_and_people_are_told_apart() {
        for (text, bits) in [
            ("100644", Some(0o644)),
            ("100755", Some(0o755)),
            ("104755", Some(0o4755)),
            ("33188", Some(0o644)),
            ("33152", Some(0o600)),
            ("33279", Some(0o777)),
            ("644", Some(0o644)),
            ("0600", Some(0o600)),
            ("40755", None),
            ("16877", None),
            ("120777", None),
            ("", None),
            ("rw-r--r--", None),
            ("-1", None),
        ] {
            assert_eq!(mode(text), bits, "{text}");
        }
    }

    #[test]
    fn every_decimal_regular_mode_is_read_as_decimal() {
        for bits in 0..=0o7777 {
            assert_eq!(mode(&(REGULAR | bits).to_string()), Some(bits));
            assert_eq!(mode(&format!("{:o}", REGULAR | bits)), Some(bits));
        }
    }

    #[test]
    fn headers_survive_their_spelling() {
        let headers = ObjectHeaders {
            mtime_ns: Some(-7),
            mode: Some(0o100_640),
            blake3: Some(ContentHash([7; 32])),
            nonce: Some(Nonce([9; 16])),
            open: true,
        };
        let output = HeadObjectOutput::builder().set_metadata(Some(metadata(&headers))).e_tag("\"x\"").build();
        let facts = Reply::from(&output).head(0).unwrap().facts;
        assert_eq!(facts.mtime_ns, headers.mtime_ns);
        assert_eq!(facts.mode, Some(0o640));
        assert_eq!(facts.blake3_header, headers.blake3);
        assert_eq!(facts.nonce, headers.nonce);
        assert!(facts.open);
        assert!(metadata(&ObjectHeaders::default()).is_empty());
    }

    #[test]
    fn an_etag_is_trusted_as_an_md5_only_where_it_can_be_one() {
        let opaque = |etag: &str, sse: Option<ServerSideEncryption>| {
            let output = HeadObjectOutput::builder().e_tag(etag).set_server_side_encryption(sse).build();
            Reply::from(&output).head(0).unwrap().facts.etag_opaque
        };
        assert!(!opaque("\"d41d8cd98f00b204e9800998ecf8427e\"", None));
        assert!(!opaque("\"d41d8cd98f00b204e9800998ecf8427e-12\"", Some(ServerSideEncryption::Aes256)));
        assert!(opaque("\"d41d8cd98f00b204e9800998ecf8427e\"", Some(ServerSideEncryption::AwsKms)));
        assert!(opaque("\"d41d8cd98f00b204e9800998ecf8427e\"", Some(ServerSideEncryption::AwsKmsDsse)));
        assert!(opaque("\"d41d8cd98f00b204e9800998ecf8427e-x\"", None));
        assert!(opaque("\"0x8DB\"", None));
        let customer =
            HeadObjectOutput::builder().e_tag("\"d41d8cd98f00b204e9800998ecf8427e\"").sse_customer_algorithm("AES256");
        assert!(Reply::from(&customer.build()).head(0).unwrap().facts.etag_opaque);
    }

    #[test]
    fn an_archived_object_is_readable_again_once_restored() {
        let archived = |class: &str, restore: Option<&str>| {
            let output =
                HeadObjectOutput::builder().e_tag("e").storage_class(class.into()).set_restore(restore.map(Into::into));
            Reply::from(&output.build()).head(0).unwrap().archived
        };
        assert!(archived("GLACIER", None));
        assert!(archived("DEEP_ARCHIVE", Some("ongoing-request=\"true\"")));
        assert!(!archived("GLACIER", Some("ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2029 00:00:00 GMT\"")));
        assert!(!archived("GLACIER_IR", None));
        assert!(!archived("STANDARD", None));
    }

    #[test]
    fn only_a_checksum_of_the_whole_object_is_taken() {
        assert_eq!(crc64("rosUhgp5mIg="), Some(0xae8b_1486_0a79_9888));
        assert_eq!(crc64("rosUhgp5mIg=-2"), None);
        assert_eq!(crc64("AAAA"), None);
        assert_eq!(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, b"123456789"), 0xae8b_1486_0a79_9888);
    }

    #[test]
    fn etags_lose_their_quotes_and_null_is_no_version() {
        assert_eq!(unquoted("\"abc\""), "abc");
        assert_eq!(unquoted("abc"), "abc");
        assert_eq!(unquoted("W/\"abc\""), "abc");
        assert_eq!(quoted("abc"), "\"abc\"");
        assert_eq!(version(Some("null")), None);
        assert_eq!(version(Some("v1")), Some("v1".into()));
    }
}
