//! An agent as the operator sees it: something that answers `/v1/state`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// On a loopback address of its own, as a pod has one. Dropping it ends it.
pub struct Stub {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
    task: AbortHandle,
}

struct Told {
    state: Value,
    asked: usize,
}

/// The state of one mirror, with what differs from one that is in step.
pub fn state(mirror: &str, over: Value) -> Value {
    let mut state = json!({
        "name": mirror, "status": "active", "phase": "idle", "halts": [], "hydrated": true, "lag_seconds": 0.0,
        "files": 12, "bytes": 4096, "pending": { "files": 0, "bytes": 0 }, "conflicts": 0, "errors": [],
        "last_sync": "2026-01-01T00:00:00Z", "request": "",
    });
    state.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
    json!({ "version": env!("CARGO_PKG_VERSION"), "mirrors": [state] })
}

impl Stub {
    /// On a free port of `127.0.0.<host>`.
    pub async fn start(host: u8, state: Value) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, host], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let told = Arc::new(Mutex::new(Told { state, asked: 0 }));
        let answers = told.clone();
        let task = tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                // A request fits into one packet on loopback; one that is given up is nobody's.
                let Ok(read) = connection.read(&mut request).await else { continue };
                let body = {
                    let mut told = answers.lock().unwrap();
                    told.asked += usize::from(request[..read].starts_with(b"GET /v1/state "));
                    told.state.to_string()
                };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = connection.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, told, task: task.abort_handle() }
    }

    pub fn ip(&self) -> String {
        self.address.ip().to_string()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn tell(&self, state: Value) {
        self.told.lock().unwrap().state = state;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.told.lock().unwrap().asked
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}
