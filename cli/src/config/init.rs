//! `gosync config init`: a first config from options, and from questions where somebody sits at a terminal.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::Path;

use console::Term;
use gosync_api::Exit;
use gosync_api::config::{InitAnswers, RealDisk, RemotePath, SourceFile, Sources, init, label_of, read};

use super::write;
use crate::args::{Global, InitArgs};
use crate::failure::Failure;
use crate::output::Output;
use crate::place;

pub fn run(args: &InitArgs, global: &Global, output: &Output) -> Result<(), Failure> {
    let named = place::named_config(global);
    let path = named.clone().or_else(place::home_config).ok_or_else(|| {
        Failure::usage("HOME is not set, so there is no default place for the config", "name one with --config")
    })?;
    let interactive = io::stdin().is_terminal() && io::stderr().is_terminal();
    if interactive && !args.force {
        // Better before ten questions than after them.
        write::refuse_taken(&path)?;
    }
    let answers = if interactive { asked(args)? } else { given(args)? };
    let text = init(&answers);
    check(&path, &text)?;
    write::to_file(&path, &text, args.force)?;
    let option = if named.is_some() { format!(" --config {}", path.display()) } else { String::new() };
    output.done(&serde_json::json!({ "config": path }), |_| format!("wrote {}", path.display()))?;
    output
        .note(&format!("next: `gosync config validate{option}`, `gosync doctor{option}`, then `gosync agent{option}`"));
    Ok(())
}

/// From options alone: all that is missing is told at once.
fn given(args: &InitArgs) -> Result<InitAnswers, Failure> {
    let mut missing = Vec::new();
    let mut need = |value: &Option<String>, option: &'static str| {
        if value.is_none() {
            missing.push(option);
        }
        value.clone().unwrap_or_default()
    };
    let bucket = need(&args.bucket, "--bucket");
    let local_path = need(&args.local_path, "--local-path");
    let s3_path = need(&args.s3_path, "--s3-path");
    if args.access_key.is_some() {
        need(&args.secret_key, "--secret-key");
    }
    if !missing.is_empty() {
        return Err(Failure::usage(
            format!("{} {} missing", missing.join(", "), if missing.len() == 1 { "is" } else { "are" }),
            "add what is missing, or run it on a terminal to be asked",
        ));
    }
    Ok(InitAnswers {
        data_dir: args.data_dir.clone().unwrap_or_else(|| "~/.gosync".to_owned()),
        endpoint: args.endpoint.clone().unwrap_or_default(),
        region: args.region.clone().unwrap_or_default(),
        bucket,
        access_key: args.access_key.clone().unwrap_or_default(),
        secret_key: args.secret_key.clone().unwrap_or_default(),
        name: args.name.clone().unwrap_or_else(|| name_of(&local_path)),
        local_path: beside_this_folder(&local_path)?,
        s3_path,
    })
}

/// A name for the folder's mirror.
fn name_of(local_path: &str) -> String {
    let last = Path::new(local_path).file_name().and_then(|name| name.to_str());
    last.and_then(label_of).unwrap_or_else(|| "files".to_owned())
}

/// A path that was typed here is meant from here, not from the config's folder.
fn beside_this_folder(path: &str) -> Result<String, Failure> {
    if path == "~" || path.starts_with("~/") {
        return Ok(path.to_owned());
    }
    let full = std::path::absolute(path)
        .map_err(|error| Failure::usage(format!("the folder \"{path}\" can't be named: {error}"), "name another"))?;
    Ok(full.display().to_string())
}

/// The config must hold before it is written; the environment that will complete it is not looked at.
fn check(path: &Path, text: &str) -> Result<(), Failure> {
    let environment: BTreeMap<String, String> =
        std::env::vars().filter(|(name, _)| !name.starts_with("GOSYNC_")).collect();
    let sources = Sources {
        files: vec![SourceFile { name: path.display().to_string(), text: text.to_owned() }],
        home: environment.get("HOME").cloned(),
        environment,
        current_dir: std::env::current_dir().unwrap_or_default(),
        data_dir: None,
        disk: &RealDisk,
    };
    match read(&sources) {
        Ok(_) => Ok(()),
        Err(problems) => {
            let lines: Vec<String> = problems
                .0
                .iter()
                .map(|problem| format!("  {}: {}; {}", problem.key, problem.what, problem.hint))
                .collect();
            let message = format!("these answers make no config that holds:\n{}", lines.join("\n"));
            Err(Failure::usage(message, "nothing was written; give other answers"))
        }
    }
}

/// From options, and questions for the rest.
fn asked(args: &InitArgs) -> Result<InitAnswers, Failure> {
    let ask = Questions(Term::stderr());
    let data_dir = ask.text(&args.data_dir, "Folder for the agent's own state", "~/.gosync", nothing)?;
    let endpoint =
        ask.text(&args.endpoint, "S3 endpoint (URL such as http://127.0.0.1:9000; empty: AWS)", "", nothing)?;
    let region = ask.text(&args.region, "Region", "us-east-1", nothing)?;
    let bucket = ask.text(&args.bucket, "Bucket", "", needed)?;
    let access_key = ask.text(
        &args.access_key,
        "Access key (empty: credentials of the environment, profile or instance)",
        "",
        nothing,
    )?;
    let secret_key = match &args.secret_key {
        Some(secret) => secret.clone(),
        None if access_key.is_empty() => String::new(),
        None => ask.secret("Secret key (not shown)")?,
    };
    let local_path = ask.text(&args.local_path, "Folder to keep in step", "", needed)?;
    let s3_path = ask.text(&args.s3_path, "Prefix in the bucket", &format!("/{}", name_of(&local_path)), |text| {
        text.parse::<RemotePath>().map(|_| ()).map_err(|wrong| wrong.to_string())
    })?;
    let name = ask.text(&args.name, "Name of the mirror", &name_of(&local_path), |text| {
        match label_of(text).is_some_and(|label| label == text) {
            true => Ok(()),
            false => Err("write small letters, digits and dashes".to_owned()),
        }
    })?;
    let local_path = beside_this_folder(&local_path)?;
    Ok(InitAnswers { data_dir, endpoint, region, bucket, access_key, secret_key, name, local_path, s3_path })
}

fn nothing(_: &str) -> Result<(), String> {
    Ok(())
}

fn needed(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("this one is needed".to_owned()) } else { Ok(()) }
}

struct Questions(Term);

impl Questions {
    /// The option's value, else the answer to a question, asked until it will do.
    fn text(
        &self,
        option: &Option<String>,
        question: &str,
        default: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<String, Failure> {
        if let Some(value) = option {
            return Ok(value.clone());
        }
        loop {
            let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
            self.0.write_str(&format!("{question}{shown}: ")).map_err(|error| ended(&error))?;
            let answer = self.0.read_line().map_err(|error| ended(&error))?;
            let answer = answer.trim();
            let answer = if answer.is_empty() { default } else { answer };
            match check(answer) {
                Ok(()) => return Ok(answer.to_owned()),
                Err(why) => self.0.write_line(&format!("  {why}")).map_err(|error| ended(&error))?,
            }
        }
    }

    fn secret(&self, question: &str) -> Result<String, Failure> {
        loop {
            self.0.write_str(&format!("{question}: ")).map_err(|error| ended(&error))?;
            let answer = self.0.read_secure_line().map_err(|error| ended(&error))?;
            if !answer.trim().is_empty() {
                return Ok(answer.trim().to_owned());
            }
        }
    }
}

fn ended(error: &io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        "questions",
        format!("the questions broke off: {error}"),
        "nothing was written; answer them, or give options (`gosync config init --help`)",
    )
}
