//! The client of the agent's socket: HTTP over a Unix socket, JSON bodies, JSON lines for long work.
//!
//! Asks the first place where an agent answers. Nothing is retried: an answer that got lost may stand for work that was
//! done, and commands can be repeated by whoever sees the message.

use std::error::Error;
use std::io;
use std::time::Duration;

use gosync_api::Exit;
use gosync_api::messages::version::{Hello, agree};
use gosync_api::messages::{ErrorBody, Line, Progress, VERSION_HEADER};
use gosync_api::socket_path::{Candidate, no_agent_message};
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::args::Global;
use crate::failure::Failure;
use crate::place;

/// How long questions may take: the agent answers them from memory and its own database.
pub const ASK: Duration = Duration::from_secs(30);
/// How long acts may take that bring files back or list a bucket.
pub const ACT: Duration = Duration::from_secs(600);
/// How long a probe may take: a stopped agent must not look alive for long.
pub const PROBE: Duration = Duration::from_secs(5);

/// The agent, wherever it answers.
pub struct Client {
    places: Vec<Candidate>,
    remark: Option<String>,
}

/// What long work tells on its way.
pub enum Event {
    Progress(Progress),
    Note(String),
}

impl Client {
    pub fn new(global: &Global) -> Result<Self, Failure> {
        let (places, remark) = place::sockets(global)?;
        Ok(Self { places, remark })
    }

    /// A question.
    pub async fn get<Q: Serialize, T: DeserializeOwned>(
        &self,
        route: &str,
        query: &Q,
        limit: Duration,
    ) -> Result<T, Failure> {
        Ok(self.get_from(route, query, limit).await?.0)
    }

    /// The same, with the socket that answered.
    pub async fn get_from<Q: Serialize, T: DeserializeOwned>(
        &self,
        route: &str,
        query: &Q,
        limit: Duration,
    ) -> Result<(T, String), Failure> {
        let (response, at) = self.send(Method::GET, route, limit, |request| request.query(query)).await?;
        Ok((whole(response, &at, limit).await?, at))
    }

    /// An act.
    pub async fn post<Q: Serialize, T: DeserializeOwned>(
        &self,
        route: &str,
        body: &Q,
        limit: Duration,
    ) -> Result<T, Failure> {
        let (response, at) = self.send(Method::POST, route, limit, |request| request.json(body)).await?;
        whole(response, &at, limit).await
    }

    /// Long work, which tells how far it is.
    pub async fn work<Q: Serialize, T: DeserializeOwned>(
        &self,
        route: &str,
        body: &Q,
        limit: Duration,
        mut on: impl FnMut(Event),
    ) -> Result<T, Failure> {
        let (mut response, at) = self.send(Method::POST, route, limit, |request| request.json(body)).await?;
        let mut buffer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error, &at, limit))? {
            buffer.extend_from_slice(&chunk);
            let mut start = 0;
            while let Some(length) = buffer[start..].iter().position(|byte| *byte == b'\n') {
                let line = &buffer[start..start + length];
                start += length + 1;
                if let Some(result) = read_line(line, &at, &mut on)? {
                    return Ok(result);
                }
            }
            buffer.drain(..start);
        }
        match read_line(&buffer, &at, &mut on)? {
            Some(result) => Ok(result),
            None => Err(cut(&at, "it ended before the work did")),
        }
    }

    async fn send(
        &self,
        method: Method,
        route: &str,
        limit: Duration,
        fill: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<(Response, String), Failure> {
        let mut remarks: Vec<String> = self.remark.iter().cloned().collect();
        for place in &self.places {
            let at = place.path.display().to_string();
            let http = reqwest::Client::builder()
                .unix_socket(place.path.clone())
                .no_proxy()
                .timeout(limit)
                .build()
                .map_err(|error| broken(&error, &at, limit))?;
            let request = http
                .request(method.clone(), format!("http://gosync{route}"))
                .header(VERSION_HEADER, Hello::ours().to_string());
            match fill(request).send().await {
                Ok(response) => return Ok((checked(response, &at, limit).await?, at)),
                Err(error) if error.is_connect() => match io_kind(&error) {
                    Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
                    Some(io::ErrorKind::PermissionDenied) => remarks.push(format!(
                        "{at}: permission denied; an agent answers to its own user only (run this as that user)"
                    )),
                    _ => remarks.push(format!("{at}: {}", root_cause(&error))),
                },
                Err(error) => return Err(broken(&error, &at, limit)),
            }
        }
        let message = no_agent_message(&self.places);
        // Its last line says how to start one.
        let (message, next) = message.rsplit_once('\n').unwrap_or((&message, ""));
        let mut message = message.to_owned();
        for remark in remarks {
            message += &format!("\n{remark}");
        }
        Err(Failure::new(Exit::NoAgent, "no-agent", message, next))
    }
}

/// The response, if it is one of success from an agent that this build understands.
async fn checked(response: Response, at: &str, limit: Duration) -> Result<Response, Failure> {
    let status = response.status();
    if !status.is_success() {
        let body = response.bytes().await.map_err(|error| broken(&error, at, limit))?;
        return Err(match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) => Failure::agent(body.error),
            Err(_) => stranger(at, &format!("it answered with HTTP status {status}")),
        });
    }
    // An agent that doesn't say its version is taken at its word: what it means is then seen from its answer.
    if let Some(value) = response.headers().get(VERSION_HEADER) {
        let theirs = value.to_str().map_err(|error| stranger(at, &error.to_string()))?;
        let theirs: Hello = theirs.parse().map_err(|error| stranger(at, &format!("{error}")))?;
        if let Err(incompatible) = agree(&Hello::ours(), &theirs) {
            let message = format!("the agent at {at} can't be talked to: {incompatible}");
            return Err(Failure::new(Exit::Failed, "version", message, "use the same release on both ends"));
        }
    }
    Ok(response)
}

async fn whole<T: DeserializeOwned>(response: Response, at: &str, limit: Duration) -> Result<T, Failure> {
    let body = response.bytes().await.map_err(|error| broken(&error, at, limit))?;
    serde_json::from_slice(&body).map_err(|error| stranger(at, &error.to_string()))
}

fn read_line<T: DeserializeOwned>(line: &[u8], at: &str, on: &mut impl FnMut(Event)) -> Result<Option<T>, Failure> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    match serde_json::from_slice(line).map_err(|error| stranger(at, &error.to_string()))? {
        Line::Progress(progress) => on(Event::Progress(progress)),
        Line::Note { message } => on(Event::Note(message)),
        Line::Done { result } => return Ok(Some(result)),
        Line::Error { error } => return Err(Failure::agent(error)),
        Line::Unknown => {}
    }
    Ok(None)
}

fn broken(error: &reqwest::Error, at: &str, limit: Duration) -> Failure {
    if error.is_timeout() {
        return Failure::new(
            Exit::Failed,
            "timeout",
            format!("the agent at {at} took the request and gave no answer within {} s", limit.as_secs()),
            "it may be stopped or very busy: see its log, and `gosync probe live`",
        );
    }
    cut(at, &root_cause(error))
}

fn cut(at: &str, why: &str) -> Failure {
    Failure::new(
        Exit::Failed,
        "cut",
        format!("the answer of the agent at {at} broke off: {why}"),
        "what was asked may go on or be done: see `gosync sync state`",
    )
}

fn stranger(at: &str, why: &str) -> Failure {
    Failure::new(
        Exit::Failed,
        "answer",
        format!("what answers at {at} doesn't speak as an agent does: {why}"),
        "see that the socket is that of a gosync agent, and of the same release (`gosync version`)",
    )
}

/// Every error that stands behind this one, outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

fn root_cause(error: &reqwest::Error) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    chain(error).find_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind)
}
