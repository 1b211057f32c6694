//! A stand-in for the agent: answers at a Unix socket with what a test laid down, and notes what it was asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, StatusCode, Uri};
use gosync_api::messages::version::Hello;
use gosync_api::messages::{ErrorBody, ErrorCode, VERSION_HEADER};
use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::gosync;

/// A request as the stand-in saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub line: String,
    pub body: Value,
}

#[derive(Clone)]
struct Answer {
    status: u16,
    body: String,
    hello: String,
}

#[derive(Default)]
struct Shared {
    answers: BTreeMap<String, Answer>,
    asked: Vec<Asked>,
}

pub struct StandIn {
    home: TempDir,
    shared: Arc<Mutex<Shared>>,
    /// Ends the server when dropped.
    _runtime: tokio::runtime::Runtime,
}

impl StandIn {
    pub fn new() -> Self {
        Self::at(|home| home.join("agent.sock"))
    }

    /// One that answers at a path below its home.
    pub fn at(socket: impl Fn(&Path) -> PathBuf) -> Self {
        let home = TempDir::new().unwrap();
        let socket = socket(home.path());
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _inside = runtime.enter();
            tokio::net::UnixListener::bind(&socket).unwrap()
        };
        let state = Arc::clone(&shared);
        let app = Router::new().fallback(move |method: Method, uri: Uri, body: Bytes| {
            let answer = answer(&state, &method, &uri, &body);
            async move { (StatusCode::from_u16(answer.status).unwrap(), [(VERSION_HEADER, answer.hello)], answer.body) }
        });
        runtime.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { home, shared, _runtime: runtime }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Answers a route with a value.
    pub fn with<T: Serialize>(self, route: &str, value: &T) -> Self {
        self.raw(route, 200, serde_json::to_string(value).unwrap())
    }

    /// Answers a route with JSON lines.
    pub fn with_lines(self, route: &str, lines: &[Value]) -> Self {
        self.raw(route, 200, lines.iter().map(|line| format!("{line}\n")).collect())
    }

    /// Answers a route with an error.
    pub fn with_error(self, route: &str, code: ErrorCode, message: &str, hint: &str) -> Self {
        let body = serde_json::to_string(&ErrorBody::new(code, message, hint)).unwrap();
        self.raw(route, code.http_status(), body)
    }

    pub fn raw(self, route: &str, status: u16, body: String) -> Self {
        let answer = Answer { status, body, hello: Hello::ours().to_string() };
        self.shared.lock().unwrap().answers.insert(route.to_owned(), answer);
        self
    }

    /// Says another version with every answer that was laid down so far.
    pub fn saying(self, hello: &str) -> Self {
        for answer in self.shared.lock().unwrap().answers.values_mut() {
            answer.hello = hello.to_owned();
        }
        self
    }

    /// A command that finds this stand-in.
    pub fn command(&self, args: &[&str]) -> assert_cmd::Command {
        let mut command = gosync(self.home());
        command.env("GOSYNC_SOCKET", self.home().join("agent.sock")).args(args);
        command
    }

    pub fn run(&self, args: &[&str]) -> crate::Ran {
        crate::run(&mut self.command(args))
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shared.lock().unwrap().asked.clone()
    }
}

fn answer(shared: &Mutex<Shared>, method: &Method, uri: &Uri, body: &[u8]) -> Answer {
    let mut shared = shared.lock().unwrap();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap() };
    shared.asked.push(Asked { line: format!("{method} {uri}"), body });
    shared.answers.get(uri.path()).cloned().unwrap_or_else(|| {
        let body = ErrorBody::new(ErrorCode::NotFound, format!("no route {uri}"), "");
        Answer { status: 404, body: serde_json::to_string(&body).unwrap(), hello: Hello::ours().to_string() }
    })
}
