//! The Secret of the certificate: what every replica serves, what comes next, and what is still trusted.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::make::Made;
use super::rotation::Held;

const ANNOUNCED: &str = "gosync.dev/announced";
const OLD_UNTIL: &str = "gosync.dev/old-authority-until";
/// Annotation by which a person asks for a new certificate: any text.
const ROTATE: &str = "gosync.dev/rotate";

/// Reads it. None where it holds no certificate.
pub fn from_secret(secret: &Secret) -> Option<Held> {
    let text = |key: &str| {
        let data = secret.data.as_ref()?.get(key)?;
        String::from_utf8(data.0.clone()).ok().filter(|text| !text.is_empty())
    };
    let made = |prefix: &str| {
        let [certificate, key, authority] = ["tls.crt", "tls.key", "ca.crt"].map(|key| text(&format!("{prefix}{key}")));
        Some(Made { authority: authority?, certificate: certificate?, key: key? })
    };
    let annotation = |name: &str| secret.metadata.annotations.as_ref()?.get(name).cloned();
    let time = |name: &str| annotation(name)?.parse().ok();
    Some(Held {
        now: made("")?,
        next: made("next-"),
        announced: time(ANNOUNCED),
        old: text("old-ca.crt").zip(time(OLD_UNTIL)),
        asked: annotation(ROTATE).is_some(),
    })
}

/// Writes it, in place of the version that was read.
pub fn to_secret(held: &Held, name: &str, version: Option<String>) -> Secret {
    let mut data = Vec::new();
    let mut put = |key: &str, text: &str| data.push((key.to_owned(), ByteString(text.as_bytes().to_vec())));
    let parts = |made: &Made| {
        [("tls.crt", made.certificate.clone()), ("tls.key", made.key.clone()), ("ca.crt", made.authority.clone())]
    };
    for (key, text) in parts(&held.now) {
        put(key, &text);
    }
    for (key, text) in held.next.iter().flat_map(parts) {
        put(&format!("next-{key}"), &text);
    }
    let mut annotations = Vec::new();
    if let Some((authority, until)) = &held.old {
        put("old-ca.crt", authority);
        annotations.push((OLD_UNTIL.to_owned(), until.to_string()));
    }
    if let Some(since) = held.announced {
        annotations.push((ANNOUNCED.to_owned(), since.to_string()));
    }
    if held.asked {
        annotations.push((ROTATE.to_owned(), "asked".to_owned()));
    }
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            resource_version: version,
            annotations: Some(annotations.into_iter().collect()),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data.into_iter().collect()),
        ..Secret::default()
    }
}
