//! TLS connections, one task each, until the end is asked for; then those under way are answered, and new ones refused.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::Certificates;

/// How long a client may take to agree on TLS. API servers give up after three seconds altogether.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// How long questions that are under way may take at the end.
const DRAIN: Duration = Duration::from_secs(10);
/// Pause after a connection could not be taken, which is for want of file descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `end`, then answers what is under way.
pub async fn serve(
    listener: TcpListener,
    certificates: &Arc<Certificates>,
    router: Router,
    end: impl Future<Output = ()>,
) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(certificates.config().map_err(io::Error::other)?));
    let graceful = GracefulShutdown::new();
    tokio::pin!(end);
    loop {
        let stream = tokio::select! {
            () = &mut end => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("a connection can't be taken: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let (acceptor, router, watcher) = (acceptor.clone(), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            // Port scanners and clients that don't trust the certificate end here; API servers tell of it themselves.
            let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!("no TLS: {error}"),
                Err(_) => return tracing::debug!("no TLS in time"),
            };
            let service = TowerToHyperService::new(router);
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new());
            let connection = http.serve_connection(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!("a connection ended: {error}");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("questions were still under way at the end");
    }
    Ok(())
}
