//! The cluster as its users reach it: kubectl, with objects as JSON.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::host;
use crate::wait;

/// kubectl with one identity.
#[derive(Clone)]
pub struct Kubectl {
    binary: PathBuf,
    kubeconfig: PathBuf,
}

/// What a command came to.
#[derive(Debug)]
pub struct Told {
    pub ok: bool,
    pub out: String,
    /// Errors, and the warnings of admissions.
    pub err: String,
}

impl Told {
    /// Its output, read as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert!(self.ok, "{}", self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// It was refused, and the message holds these words.
    #[track_caller]
    pub fn refused(&self, words: &str) {
        assert!(!self.ok, "accepted, though \"{words}\" was expected: {}", self.out);
        assert!(self.err.contains(words), "refused with other words than \"{words}\": {}", self.err);
    }

    #[track_caller]
    pub fn accepted(self) -> Self {
        assert!(self.ok, "{}", self.err);
        self
    }
}

impl Kubectl {
    /// With an identity that a file says.
    pub fn new(kubeconfig: &Path) -> Self {
        Self { binary: host::kubectl(), kubeconfig: kubeconfig.to_owned() }
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub fn run(&self, arguments: &[&str]) -> Told {
        self.run_with(arguments, "")
    }

    /// The same with something to read.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Told {
        let mut command = Command::new(&self.binary);
        if !host::given() {
            // Somebody's cluster may ask for helpers of his to log in.
            command.env_clear();
        }
        let mut child = command
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            // What it knows of one API server is nothing for the next.
            .env("KUBECACHEDIR", self.kubeconfig.parent().unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.binary.display()));
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Told { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
    }

    pub fn apply(&self, object: &Value) -> Told {
        self.run_with(&["apply", "-o", "json", "-f", "-"], &object.to_string())
    }

    pub fn apply_all(&self, objects: &[Value]) {
        // No list: kubectl checks those itself, by less than the API server knows.
        let objects: Vec<String> = objects.iter().map(Value::to_string).collect();
        self.run_with(&["apply", "--server-side", "-f", "-"], &objects.join("\n")).accepted();
    }

    pub fn create(&self, object: &Value) -> Told {
        self.run_with(&["create", "-o", "json", "-f", "-"], &object.to_string())
    }

    /// Everything but storing it: admission, defaults, rules.
    pub fn dry_run(&self, object: &Value) -> Told {
        self.run_with(&["create", "--dry-run=server", "-o", "json", "-f", "-"], &object.to_string())
    }

    /// One object or a list, `null` where there is none.
    pub fn get(&self, namespace: &str, what: &[&str]) -> Value {
        let mut arguments = vec!["get", "-n", namespace, "-o", "json", "--ignore-not-found"];
        arguments.extend(what);
        let told = self.run(&arguments).accepted();
        if told.out.is_empty() { Value::Null } else { told.json() }
    }

    /// Makes a namespace in which pods can be made. Its name is one of this run's.
    pub async fn namespace(&self, name: &str) -> String {
        let name = format!("{}-{name}", host::run());
        let mut namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        host::label(&mut namespace);
        self.create(&namespace).accepted();
        wait::until("the namespace has its service account", async || {
            let account = self.get(&name, &["serviceaccount", "default"]);
            wait::hold(!account.is_null(), "none yet")
        })
        .await;
        name
    }
}
