//! Who may talk to the socket, and in which version of the messages.

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::serve::IncomingStream;
use gosync_api::messages::version::{Hello, agree};
use gosync_api::messages::{ErrorBody, ErrorCode, VERSION_HEADER};
use tokio::net::UnixListener;

use super::reply::Refusal;

/// The user that the agent runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(pub u32);

/// The user at the other end; `None` where the kernel doesn't say.
#[derive(Clone, Copy, Debug)]
pub struct Peer(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|credentials| credentials.uid()))
    }
}

impl Peer {
    fn may_talk_to(self, owner: Owner) -> bool {
        self.0.is_some_and(|uid| uid == 0 || uid == owner.0)
    }
}

/// Both ends state their version; an end that shares none is told which one to update.
pub async fn check(
    State(owner): State<Owner>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match admit(peer, owner, &request) {
        Ok(()) => next.run(request).await,
        Err(error) => Refusal(error).into_response(),
    };
    if let Ok(hello) = HeaderValue::from_str(&Hello::ours().to_string()) {
        response.headers_mut().insert(VERSION_HEADER, hello);
    }
    response
}

fn admit(peer: Peer, owner: Owner, request: &Request) -> Result<(), ErrorBody> {
    if !peer.may_talk_to(owner) {
        let message = "only the agent's own user and root may talk to it";
        return Err(ErrorBody::new(ErrorCode::Forbidden, message, "run the command as that user, or with sudo"));
    }
    // Who states no version (curl) is taken at its word.
    let Some(header) = request.headers().get(VERSION_HEADER) else { return Ok(()) };
    let theirs: Hello =
        header.to_str().unwrap_or_default().parse().map_err(|error: gosync_api::messages::version::NotAHello| {
            ErrorBody::new(
                ErrorCode::BadRequest,
                error.to_string(),
                "leave the header out, or write what `gosync` writes",
            )
        })?;
    agree(&Hello::ours(), &theirs).map(drop).map_err(|error| {
        ErrorBody::new(
            ErrorCode::Version,
            error.to_string(),
            "`gosync version` and `gosync sync state` show both releases",
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use axum::body::Body;

    use super::*;

    fn request(version: Option<&str>) -> Request {
        let builder = Request::builder().uri("/");
        let builder = match version {
            Some(version) => builder.header(VERSION_HEADER, version),
            None => builder,
        };
        builder.body(Body::empty()).unwrap()
    }

    fn code(peer: Peer, version: Option<&str>) -> Option<ErrorCode> {
        admit(peer, Owner(1000), &request(version)).err().map(|error| error.error.code)
    }

    #[test]
    fn only_the_agents_user_and_root_are_admitted() {
        assert_eq!(code(Peer(Some(1000)), None), None);
        assert_eq!(code(Peer(Some(0)), None), None);
        assert_eq!(code(Peer(Some(1001)), None), Some(ErrorCode::Forbidden));
        assert_eq!(code(Peer(None), None), Some(ErrorCode::Forbidden));
    }

    #[test]
    fn an_end_that_shares_no_version_is_told_so() {
        let me = Peer(Some(1000));
        assert_eq!(code(me, Some(&Hello::ours().to_string())), None);
        assert_eq!(code(me, Some("99; oldest=98; release=9.9.9")), Some(ErrorCode::Version));
        assert_eq!(code(me, Some("tea")), Some(ErrorCode::BadRequest));
    }
}
