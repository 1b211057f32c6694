//! The server: an address, a data folder, and the tasks that serve it.
//!
//! `shutdown` lets requests under way end and closes the index; dropping `Running` stops at once, which is as safe
//! as a kill. Either way the address and the folder can be used again by a next start.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::path::check_bucket_name;
use s3s::service::S3ServiceBuilder;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::OneKey;
use crate::blobs::Blobs;
use crate::buckets;
use crate::counters::Counters;
use crate::error::Error;
use crate::faults::Faults;
use crate::http_layer::Front;
use crate::index::Index;
use crate::options::{Options, PAGE_SIZE_MAX};
use crate::service::Service;
use crate::store::Store;

const BACKLOG: u32 = 1024;
/// How long a start waits for the previous owner of the data folder to be gone.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(20);
const ACCEPT_RETRY: Duration = Duration::from_millis(20);
/// How long `shutdown` waits for requests under way.
const DRAIN: Duration = Duration::from_secs(5);

/// The S3 server; see `start`.
#[derive(Debug)]
pub struct DevS3;

/// A server that runs on the runtime it was started in, until `shutdown` or until this is dropped.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    faults: Faults,
    counters: Counters,
    close: CancellationToken,
    kill: CancellationToken,
    tasks: TaskTracker,
    stopped: Option<tokio::task::JoinHandle<()>>,
}

impl DevS3 {
    /// Opens the data folder, makes the buckets and listens. Requests are answered from the moment this returns.
    pub async fn start(options: Options) -> Result<Running, Error> {
        check(&options)?;
        let data_dir = options.data_dir.clone();
        let disk = |source| Error::Disk { path: data_dir.clone(), source };
        tokio::fs::create_dir_all(&data_dir).await.map_err(disk)?;
        let lock = lock(&data_dir.join("lock")).await?;
        let listener = listen(options.listen)?;
        let addr = listener.local_addr().map_err(|source| Error::Listen { addr: options.listen, source })?;

        let index_path = data_dir.join("index.db");
        let broken = |source| Error::Index { path: index_path.clone(), source };
        let index = Index::open(&index_path).await.map_err(broken)?;
        let newest_ms = index.newest_ms().await.map_err(broken)?;
        let blobs = Blobs::open(data_dir.join("blobs"), &index, &index_path).await?;
        let store = Arc::new(Store::new(index, blobs, options, newest_ms));
        for name in &store.options.buckets {
            let made = buckets::ensure(&store, name, store.options.versions).await;
            made.map_err(|e| Error::Options(format!("can't make the bucket {name}: {e:?}")))?;
        }

        let mut builder = S3ServiceBuilder::new(Service(Arc::clone(&store)));
        builder.set_auth(OneKey {
            access_key: store.options.access_key.clone(),
            secret_key: store.options.secret_key.clone(),
        });
        let (faults, counters) = (Faults::default(), Counters::default());
        let (close, kill, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let front = Arc::new(Front {
            service: builder.build(),
            region: store.options.region.clone(),
            checksums: store.options.checksums,
            faults: faults.clone(),
            counters: counters.clone(),
            tasks: tasks.clone(),
            kill: kill.clone(),
        });
        let accepting = accept(listener, front, close.clone(), kill.clone(), tasks.clone());
        let stopped = tokio::spawn(async move {
            accepting.await;
            store.index.close().await;
            drop(lock);
        });
        Ok(Running { addr, faults, counters, close, kill, tasks, stopped: Some(stopped) })
    }
}

impl Running {
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What a client takes as its endpoint; addressing is path-style.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    pub fn counters(&self) -> Counters {
        self.counters.clone()
    }

    /// Takes no new request, ends those under way, closes everything.
    pub async fn shutdown(mut self) {
        self.close.cancel();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            self.kill.cancel();
        }
        if let Some(stopped) = self.stopped.take() {
            let _ = stopped.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.close.cancel();
        self.kill.cancel();
    }
}

fn check(options: &Options) -> Result<(), Error> {
    if options.access_key.is_empty() || options.secret_key.is_empty() {
        return Err(Error::Options("access key and secret key must not be empty".into()));
    }
    if !(1..=PAGE_SIZE_MAX).contains(&options.page_size_max) {
        return Err(Error::Options(format!("page_size_max must be from 1 to {PAGE_SIZE_MAX}")));
    }
    if let Some(name) = options.buckets.iter().find(|name| !check_bucket_name(name)) {
        return Err(Error::Options(format!("not a bucket name: {name}")));
    }
    Ok(())
}

/// The lock lives as long as the file is open, whatever ends the process.
async fn lock(path: &Path) -> Result<std::fs::File, Error> {
    let disk = |source| Error::Disk { path: path.to_owned(), source };
    let file = std::fs::File::options().create(true).truncate(false).write(true).open(path).map_err(disk)?;
    let deadline = tokio::time::Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::Error(source)) => return Err(disk(source)),
            Err(std::fs::TryLockError::WouldBlock) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(LOCK_RETRY).await;
            }
            Err(std::fs::TryLockError::WouldBlock) => return Err(Error::InUse { path: path.to_owned() }),
        }
    }
}

fn listen(addr: SocketAddr) -> Result<TcpListener, Error> {
    let bind = || {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|source| Error::Listen { addr, source })
}

async fn accept(
    listener: TcpListener,
    front: Arc<Front>,
    close: CancellationToken,
    kill: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let stream = tokio::select! {
            () = close.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Too many open files, or a client that was gone at once: the next one may do.
                Err(_) => {
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true);
        let (front, close, kill) = (Arc::clone(&front), close.clone(), kill.clone());
        tasks.spawn(async move {
            let service = service_fn(move |request| {
                let front = Arc::clone(&front);
                async move { front.handle(request).await }
            });
            // Idle connections stay: one that is closed while a client reuses it would look like a lost reply.
            let connection =
                http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                () = kill.cancelled() => return,
                () = close.cancelled() => connection.as_mut().graceful_shutdown(),
                _ = connection.as_mut() => return,
            }
            tokio::select! {
                () = kill.cancelled() => {}
                _ = connection => {}
            }
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}
