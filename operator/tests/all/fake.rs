//! An API server of a few lines: objects by path, versions, merge patches, conflicts, and a record of all that was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// A request as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
    pub body: Value,
}

/// The server.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Value>,
    version: u64,
    asked: Vec<Asked>,
    away: bool,
    refused: Vec<String>,
    injects: bool,
}

impl Fake {
    pub fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let asked = Asked {
                    method: parts.method.to_string(),
                    path: parts.uri.path().to_owned(),
                    query: parts.uri.query().unwrap_or_default().to_owned(),
                    body: serde_json::from_slice(&body).unwrap_or(Value::Null),
                };
                if fake.0.lock().unwrap().away {
                    std::future::pending::<()>().await;
                }
                let (status, answer) = fake.answer(asked);
                let response = Response::builder().status(status).header("content-type", "application/json");
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(
                    response.body(Body::from(answer.to_string().into_bytes())).unwrap(),
                )
            }
        });
        Client::new(service, "default")
    }

    /// Puts an object where it would be read.
    pub fn put(&self, path: &str, object: Value) {
        let mut inner = self.0.lock().unwrap();
        inner.store(path, object);
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    pub fn remove(&self, path: &str) {
        self.0.lock().unwrap().objects.remove(path);
    }

    /// Requests hang from now on, or are answered again.
    pub fn away(&self, away: bool) {
        self.0.lock().unwrap().away = away;
    }

    /// Writes below that path are forbidden from now on.
    pub fn refuse(&self, path: &str) {
        self.0.lock().unwrap().refused.push(path.to_owned());
    }

    /// New pods get an agent from now on, as by the webhook.
    pub fn inject(&self) {
        self.0.lock().unwrap().injects = true;
    }

    /// What was asked since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    /// What was written since the last call, as `METHOD path`.
    pub fn written(&self) -> Vec<String> {
        let asked = self.asked();
        asked
            .iter()
            .filter(|asked| asked.method != "GET")
            .map(|asked| format!("{} {}", asked.method, asked.path))
            .collect()
    }

    fn answer(&self, asked: Asked) -> (u16, Value) {
        let mut inner = self.0.lock().unwrap();
        inner.asked.push(asked.clone());
        let failure = |code: u16, reason: &str| {
            (
                code,
                json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code }),
            )
        };
        if asked.method != "GET" && inner.refused.iter().any(|refused| asked.path.starts_with(refused)) {
            return failure(403, "Forbidden");
        }
        let object = asked.path.trim_end_matches("/status").to_owned();
        let now = inner.objects.get(&object).cloned();
        let stale = |now: &Value| {
            let wanted = &asked.body["metadata"]["resourceVersion"];
            wanted.is_string() && *wanted != now["metadata"]["resourceVersion"]
        };
        match (asked.method.as_str(), now) {
            ("GET", Some(now)) => (200, now),
            ("GET", None) if inner.objects.keys().any(|path| path.starts_with(&format!("{object}/"))) => {
                let items: Vec<&Value> = inner
                    .objects
                    .iter()
                    .filter(|(path, _)| path.starts_with(&format!("{object}/")))
                    .map(|(_, value)| value)
                    .collect();
                (200, json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": items }))
            }
            ("GET", None) if asked.query.contains("limit=") => {
                (200, json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": [] }))
            }
            ("GET", None) => failure(404, "NotFound"),
            ("POST", _) => {
                let name = asked.body["metadata"]["name"].as_str().map(str::to_owned);
                if asked.query.contains("dryRun=All") {
                    let mut made = asked.body;
                    if inner.injects {
                        made["spec"]["initContainers"] = json!([{ "name": "gosync-agent", "restartPolicy": "Always" }]);
                        made["metadata"]["labels"]["gosync.dev/injected"] = json!("true");
                    }
                    return (201, made);
                }
                let path = format!("{object}/{}", name.unwrap_or_else(|| format!("generated-{}", inner.version)));
                if inner.objects.contains_key(&path) {
                    return failure(409, "AlreadyExists");
                }
                (201, inner.store(&path, asked.body))
            }
            ("PUT", Some(now)) if stale(&now) => failure(409, "Conflict"),
            ("PUT", Some(_)) => (200, inner.store(&object, asked.body)),
            ("PATCH", Some(now)) if stale(&now) => failure(409, "Conflict"),
            ("PATCH", now)
                if now.is_some() || asked.query.contains("fieldManager") && asked.query.contains("force=true") =>
            {
                let mut value = now.unwrap_or(json!({}));
                json_patch::merge(&mut value, &asked.body);
                (200, inner.store(&object, value))
            }
            _ => failure(404, "NotFound"),
        }
    }
}

impl Inner {
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }
}
