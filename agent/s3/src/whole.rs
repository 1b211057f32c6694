//! Replies must be whole. The SDK's XML reader takes a document that was cut for one that ends there, so that half a
//! listing would be a proof that the other half is gone.

use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

#[derive(Debug)]
pub(crate) struct WholeReplies;

#[derive(Debug, thiserror::Error)]
#[error("the XML of the reply has no end")]
pub(crate) struct CutReply;

#[dyn_dispatch_hint]
impl Intercept for WholeReplies {
    fn name(&self) -> &'static str {
        "WholeReplies"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let reply = context.response();
        // An object's content is no longer here, and what is left of an error is an error all the same.
        match reply.body().bytes() {
            Some(body) if reply.status().is_success() && !is_whole(body) => Err(CutReply.into()),
            _ => Ok(()),
        }
    }
}

/// Whether a document ends with the tag that its root began with. What is no XML is left to whoever parses it.
fn is_whole(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let mut text = text.trim();
    while text.starts_with("<?") || text.starts_with("<!") {
        let Some((_, rest)) = text.split_once('>') else { return false };
        text = rest.trim_start();
        if text.is_empty() {
            return false;
        }
    }
    let Some(root) = text.strip_prefix('<') else { return !body.contains(&b'<') };
    let Some((tag, content)) = root.split_once('>') else { return false };
    if tag.ends_with('/') {
        return content.is_empty();
    }
    let name = tag.split_whitespace().next().unwrap_or_default();
    content
        .strip_suffix('>')
        .and_then(|content| content.strip_suffix(name))
        .is_some_and(|content| content.ends_with("</"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_whole_when_its_root_is_closed() {
        for text in [
            "",
            "  \n",
            "ok",
            "<A></A>",
            "<A/>",
            "<A x='1' />",
            "<?xml version=\"1.0\"?>\n\n  <A x=\"y\"><B>1</B></A>\n",
            "<!DOCTYPE html><html>hello</html>",
        ] {
            assert!(is_whole(text.as_bytes()), "{text}");
        }
        for text in [
            "<",
            "<A",
            "<A>",
            "<?xml version=\"1.0\"?>",
            "<?xml",
            "<A><B></B>",
            "<A><A2></A2>",
            "<A></A",
            "<A/>x",
            "<A><B>1</",
        ] {
            assert!(!is_whole(text.as_bytes()), "{text}");
        }
    }
}
