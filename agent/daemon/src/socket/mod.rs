//! The socket: HTTP/1.1 over a Unix socket, for the agent's own user and root.
//!
//! A request that was cut off may have had its effect; every command can be repeated. Long work goes on when its client
//! goes away.

mod answers;
mod cache;
mod commands;
mod explain;
mod lines;
mod peer;
mod reply;
mod trash;

use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use gosync_api::messages::route;
use tokio::net::UnixListener;

pub use self::lines::Lines;
use self::peer::{Owner, Peer};
use crate::agent::Agent;

/// For the owner alone.
const MODE: u32 = 0o600;

/// A socket that is bound, and whose it is.
pub struct Socket {
    listener: UnixListener,
    owner: Owner,
}

impl Socket {
    /// Binds to `path`. Whatever socket is there was left by an agent that is gone: the data_dir's lock is held.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => std::fs::remove_file(path)?,
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
        // Whoever made the socket is who we are.
        let owner = Owner(std::fs::symlink_metadata(path)?.uid());
        Ok(Self { listener, owner })
    }

    /// Answers until the future is dropped.
    pub async fn serve(self, agent: Arc<Agent>) -> io::Result<()> {
        let router = router(agent).layer(middleware::from_fn_with_state(self.owner, peer::check));
        axum::serve(self.listener, router.into_make_service_with_connect_info::<Peer>()).await
    }
}

fn router(agent: Arc<Agent>) -> Router {
    Router::new()
        .route(route::STATE, get(commands::state))
        .route(route::LIST, get(commands::list))
        .route(route::MIRROR, post(commands::mirror))
        .route(route::PROVISION, post(commands::provision))
        .route(route::PAUSE, post(commands::pause))
        .route(route::RESUME, post(commands::resume))
        .route(route::REMOVE, post(commands::remove))
        .route(route::FLUSH, post(commands::flush))
        .route(route::WAIT, post(commands::wait))
        .route(route::CONFLICTS, get(answers::conflicts))
        .route(route::EXPLAIN, get(explain::explain))
        .route(route::PLAN, post(commands::plan))
        .route(route::APPROVE, post(answers::approve))
        .route(route::DENY, post(answers::deny))
        .route(route::TRASH_LIST, get(trash::list))
        .route(route::TRASH_RESTORE, post(trash::restore))
        .route(route::CACHE_STATS, get(cache::stats))
        .route(route::CACHE_FLUSH, post(cache::flush))
        .route(route::LOG_LEVEL, post(commands::log_level))
        .route(route::PROBE, get(commands::probe))
        .fallback(reply::no_such_route)
        .method_not_allowed_fallback(reply::no_such_method)
        .with_state(agent)
}
