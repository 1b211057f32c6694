//! What failed outside, in the words of those who can mend it: what, where, why, and the next step. Pure.
//!
//! The engine tells a class and a line: the request or call, its key or path, the kind by the name it has in the program,
//! and the causes. A line that reads otherwise is told as it is.

use gosync_api::config::MirrorConfig;

use crate::words;

/// Where the remote side of a mirror is.
#[derive(Clone, Debug)]
pub struct Outside {
    pub endpoint: String,
    pub bucket: String,
}

impl Outside {
    pub fn of(config: &MirrorConfig) -> Self {
        let url = config.s3.resolve_endpoint().ok().and_then(|endpoint| endpoint.url);
        Self { endpoint: url.unwrap_or_else(|| config.s3.endpoint.clone()), bucket: config.s3.bucket.clone() }
    }
}

/// A trouble of the whole mirror.
pub fn explain(class: &str, line: &str, at: &Outside) -> String {
    match class {
        words::STATE => format!("what the agent remembers can't be read or written: {line}; check its disk"),
        words::METADATA => format!(
            "the database that agents share can't be read or written: {line}; what is done meanwhile is told to the others when it is back"
        ),
        words::LOCAL => Call::read(line).map_or_else(|| line.to_owned(), |call| call.explain()),
        _ => Request::read(line).map_or_else(|| line.to_owned(), |request| request.explain(at)),
    }
}

/// Why one path is left alone; the path is told beside it.
pub fn of_a_path(line: &str) -> String {
    if let Some(call) = Call::read(line) {
        return format!("{} failed: {}", call.call, call.why());
    }
    Request::read(line).map_or_else(|| line.to_owned(), |request| request.plain())
}

/// True where a call of the file system was refused.
pub fn is_refused(line: &str) -> bool {
    Call::read(line).is_some_and(|call| call.kind == "Permission")
}

/// `<operation> of "<key>" failed: <kind> (<text>): <causes>`.
struct Request<'a> {
    operation: &'a str,
    kind: &'a str,
    /// The store's code and message, or what became of the request.
    text: &'a str,
    causes: &'a str,
}

impl<'a> Request<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (request, why) = line.split_once("\" failed: ")?;
        let (operation, _) = request.split_once(" of \"")?;
        let end = why.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(why.len());
        let (kind, rest) = why.split_at(end);
        let (text, causes) = match rest.strip_prefix(" (") {
            Some(rest) => match rest.split_once("): ") {
                Some(both) => both,
                None => (rest.strip_suffix(')')?, ""),
            },
            None => ("", rest.trim_start_matches(": ")),
        };
        Some(Self { operation, kind, text, causes })
    }

    fn code(&self) -> &'a str {
        self.text.split_once(": ").map_or(self.text, |(code, _)| code)
    }

    fn plain(&self) -> String {
        let why: Vec<&str> = [self.text, root_cause(self.causes)].into_iter().filter(|text| !text.is_empty()).collect();
        let why = if why.is_empty() { spaced(self.kind) } else { why.join(": ") };
        format!("{} failed: {why}", self.operation)
    }

    fn explain(&self, at: &Outside) -> String {
        let Outside { endpoint, bucket } = at;
        let code = self.code();
        let cause = uncapitalised(root_cause(self.causes));
        match (self.kind, code) {
            ("NoSuchBucket", "PermanentRedirect" | "TemporaryRedirect") => {
                format!("the bucket {bucket} is in another region than s3.region says ({code}): correct s3.region")
            }
            ("NoSuchBucket", _) => {
                format!("the bucket {bucket} doesn't exist at {endpoint}: make it, or correct s3.bucket")
            }
            ("Credentials", "SignatureDoesNotMatch") => {
                format!("the store refuses the access key ({code}): check s3.secret_key")
            }
            ("Credentials", "InvalidAccessKeyId" | "XAdminUserNotFound" | "InvalidClientTokenId") => {
                format!("the store doesn't know the access key ({code}): check s3.access_key")
            }
            ("Credentials", "ExpiredToken" | "TokenRefreshRequired" | "InvalidToken" | "RequestExpired") => {
                format!("the store no longer takes the session token ({code}): renew it, or check s3.session_token")
            }
            ("Credentials", "AuthorizationHeaderMalformed") => {
                format!("the store refuses how requests are signed ({}): check s3.region", self.text)
            }
            ("Credentials", "no credentials to be had") => format!(
                "there are no credentials for {endpoint}: set s3.access_key and s3.secret_key, or those of the \
                 environment, a profile or the instance"
            ),
            ("Credentials", _) => {
                format!("the store refuses the credentials ({code}): check s3.access_key and s3.secret_key")
            }
            ("Denied", _) => format!(
                "the store doesn't allow {} in the bucket {bucket} ({code}): grant it to the access key",
                self.operation
            ),
            ("Throttled", _) => format!("{endpoint} asks to slow down ({code}): it is tried again later"),
            ("Transport", "time-out") => {
                format!("{endpoint} doesn't answer in time: see that it runs and can be reached")
            }
            ("Transport", "the connection failed") => {
                format!("{endpoint} can't be reached: {cause}; see that it runs, or correct s3.endpoint")
            }
            ("Transport" | "Corrupt", _) if cause.is_empty() => {
                format!("{endpoint} breaks off its replies: {}", self.text)
            }
            ("Transport" | "Corrupt", _) => format!("{endpoint} breaks off its replies: {}: {cause}", self.text),
            ("Unavailable", "RequestTimeTooSkewed") => format!(
                "this machine's clock and that of {endpoint} are far apart ({code}): set this machine's clock; until then \
                 requests are signed by the store's"
            ),
            ("Unavailable", _) => format!("{endpoint} has a fault of its own ({}): it is tried again later", self.text),
            _ => format!("{endpoint}: {}", self.plain()),
        }
    }
}

/// `<call> failed at <path>: <kind>: <cause>`.
struct Call<'a> {
    call: &'a str,
    path: &'a str,
    kind: &'a str,
    cause: &'a str,
}

impl<'a> Call<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (call, rest) = line.split_once(" failed at ")?;
        // From the end: a path may hold anything.
        let (rest, last) = rest.rsplit_once(": ")?;
        let is_kind = |text: &str| text.starts_with(|c: char| c.is_ascii_uppercase()) && !text.contains(' ');
        match rest.rsplit_once(": ").filter(|(_, kind)| is_kind(kind)) {
            Some((path, kind)) => Some(Self { call, path, kind, cause: last }),
            None if is_kind(last) => Some(Self { call, path: rest, kind: last, cause: "" }),
            None => None,
        }
    }

    fn why(&self) -> String {
        if self.cause.is_empty() { spaced(self.kind) } else { uncapitalised(without_number(self.cause)) }
    }

    fn explain(&self) -> String {
        let next = match self.kind {
            "Permission" => "; let the agent's user read and write it",
            "ReadOnly" => "; let it be mounted for writing",
            "NoSpace" => "; make room on its disk",
            _ => "",
        };
        format!("{}: {} failed: {}{next}", self.path, self.call, self.why())
    }
}

/// The last of the causes; with certificates, what is wrong with them.
fn root_cause(causes: &str) -> &str {
    // An answer in plain text, as TLS sees it.
    if causes.contains("InvalidContentType") {
        return "it speaks no TLS (write http:// in s3.endpoint, or use_ssl: false)";
    }
    let from = causes.find("certificate").and_then(|at| causes[..at].rfind(": ").map(|colon| colon + 2));
    without_number(match from {
        Some(from) => &causes[from..],
        None => causes.rsplit_once(": ").map_or(causes, |(_, last)| last),
    })
}

fn without_number(cause: &str) -> &str {
    cause.split_once(" (os error").map_or(cause, |(text, _)| text)
}

fn uncapitalised(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if !text.starts_with("I/O") => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

/// `NameTooLong` as `name too long`.
fn spaced(kind: &str) -> String {
    let mut text = String::new();
    for c in kind.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use gosync_engine::ports::store::{StoreError, StoreErrorKind};
    use gosync_engine::ports::{TreeError, TreeErrorKind};

    use super::*;
    use crate::chain::chain;

    const KEY: &str = "own/.gosync/probe/8484/put";

    fn of_the_store(class: &str, kind: StoreErrorKind, text: &str, cause: Option<&str>) -> String {
        let source = cause.map(|cause| cause.to_owned().into());
        let error = StoreError { source, ..StoreError::new(kind, "PutObject", KEY, text) };
        let at = Outside { endpoint: "http://s3.home:9000".into(), bucket: "files".into() };
        explain(class, &chain(&error), &at)
    }

    #[test]
    fn trouble_with_the_store_says_what_to_do_and_names_no_probe() {
        use StoreErrorKind as Kind;
        let refused = "io error: client error (Connect): tcp connect error: Connection refused (os error 111)";
        let certificate = "client error (Connect): invalid peer certificate: UnknownIssuer";
        for (class, kind, text, cause, expected) in [
            (
                "bucket",
                Kind::NoSuchBucket,
                "NoSuchBucket: The bucket (files) doesn't exist",
                None,
                "the bucket files doesn't exist at http://s3.home:9000: make it, or correct s3.bucket",
            ),
            (
                "credentials",
                Kind::Credentials,
                "SignatureDoesNotMatch: The request signature we calculated does not match",
                None,
                "the store refuses the access key (SignatureDoesNotMatch): check s3.secret_key",
            ),
            (
                "credentials",
                Kind::Denied,
                "AccessDenied",
                None,
                "the store doesn't allow PutObject in the bucket files (AccessDenied): grant it to the access key",
            ),
            (
                "s3",
                Kind::Transport,
                "the connection failed",
                Some(refused),
                "http://s3.home:9000 can't be reached: connection refused; see that it runs, or correct s3.endpoint",
            ),
            (
                "s3",
                Kind::Transport,
                "the connection failed",
                Some(certificate),
                "http://s3.home:9000 can't be reached: invalid peer certificate: UnknownIssuer; see that it runs, or \
                 correct s3.endpoint",
            ),
            (
                "s3",
                Kind::Transport,
                "the connection failed",
                Some("client error (Connect): received corrupt message of type InvalidContentType"),
                "http://s3.home:9000 can't be reached: it speaks no TLS (write http:// in s3.endpoint, or use_ssl: \
                 false); see that it runs, or correct s3.endpoint",
            ),
            (
                "s3",
                Kind::Unavailable,
                "RequestTimeTooSkewed: The difference between the request time and the current time is too large.",
                None,
                "this machine's clock and that of http://s3.home:9000 are far apart (RequestTimeTooSkewed): set this \
                 machine's clock; until then requests are signed by the store's",
            ),
            (
                "s3",
                Kind::Invalid,
                "EntityTooLarge: no",
                None,
                "http://s3.home:9000: PutObject failed: EntityTooLarge: no",
            ),
        ] {
            assert_eq!(of_the_store(class, kind, text, cause), expected);
        }
    }

    #[test]
    fn no_kind_of_the_store_is_told_with_its_key_or_by_its_name() {
        use StoreErrorKind as Kind;
        for kind in [
            Kind::NotFound,
            Kind::NoSuchBucket,
            Kind::Denied,
            Kind::Credentials,
            Kind::Throttled,
            Kind::Unavailable,
            Kind::Transport,
            Kind::Invalid,
            Kind::NotImplemented,
            Kind::Corrupt,
        ] {
            for text in ["", "Code", "Code: a (strange) message"] {
                let told = of_the_store("s3", kind, text, None);
                assert!(!told.contains(KEY) && !told.contains(&format!("{kind:?}")), "{told}");
            }
        }
    }

    #[test]
    fn a_refused_call_names_its_path_once_and_the_next_step() {
        let refused = |path: &str| {
            let source = Some(std::io::Error::from_raw_os_error(13));
            chain(&TreeError { source, ..TreeError::new(TreeErrorKind::Permission, "open", path) })
        };
        let at = Outside { endpoint: String::new(), bucket: String::new() };
        assert_eq!(
            explain("local", &refused("a: b"), &at),
            "a: b: open failed: permission denied; let the agent's user read and write it"
        );
        assert_eq!(of_a_path(&refused("locked")), "open failed: permission denied");
        assert!(is_refused(&refused("locked")) && is_refused("open failed at a: Permission"));
        assert!(!is_refused("held: the folder of Permission"));
        let bare = chain(&TreeError::new(TreeErrorKind::NameTooLong, "rename", "x"));
        assert_eq!(of_a_path(&bare), "rename failed: name too long");
    }

    #[test]
    fn what_reads_otherwise_is_told_as_it_is() {
        let at = Outside { endpoint: String::new(), bucket: String::new() };
        assert_eq!(explain("s3", "the clock is wrong", &at), "the clock is wrong");
        assert_eq!(of_a_path("a file and a folder have the same name"), "a file and a folder have the same name");
    }
}
