//! `gosync completions`: what a shell loads to complete commands, made from the definitions that `--help` prints.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use gosync_api::Exit;

use crate::args::Cli;
use crate::failure::Failure;
use crate::output::Output;

pub fn run(shell: Shell, output: &Output) -> Result<ExitCode, Failure> {
    output.print(&script(shell))?;
    Ok(Exit::Ok.into())
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gosync", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may stop at the first surprise
    use super::*;

    /// What comes after each command that has commands below it: the words so far, and those that may follow.
    fn questions() -> Vec<(Vec<String>, Vec<String>)> {
        fn visit(command: &clap::Command, path: &[String], questions: &mut Vec<(Vec<String>, Vec<String>)>) {
            let below: Vec<&clap::Command> = command.get_subcommands().filter(|inner| !inner.is_hide_set()).collect();
            let names: Vec<String> = below.iter().map(|inner| inner.get_name().to_owned()).collect();
            if !names.is_empty() {
                questions.push((path.to_vec(), names));
            }
            for inner in below {
                visit(inner, &[path, &[inner.get_name().to_owned()]].concat(), questions);
            }
        }
        let mut questions = Vec::new();
        visit(&Cli::command(), &[], &mut questions);
        assert!(questions.iter().any(|(path, below)| path.join(" ") == "sync trash" && below.len() == 2));
        questions
    }

    /// `offers`: whether the shell offers the word after these words.
    fn everything_is_offered(offers: impl Fn(&[String], &str) -> bool) {
        let mut missing = Vec::new();
        for (path, below) in questions() {
            missing.extend(below.iter().filter(|name| !offers(&path, name)).map(|name| format!("{path:?} {name}")));
        }
        assert!(missing.is_empty(), "{missing:#?}");
    }

    /// Asked as the shell asks when somebody presses the key.
    #[test]
    fn bash_offers_every_command() {
        const ASK: &str = r#"
            set -e
            source /dev/stdin
            for asked; do
                read -ra words <<< "$asked"
                COMP_WORDS=("${words[@]}" "") COMP_CWORD=${#words[@]}
                _gosync gosync "" "${words[-1]}"
                echo "${COMPREPLY[*]}"
            done
        "#;
        let asked: Vec<String> =
            questions().iter().map(|(path, _)| format!("gosync {}", path.join(" ")).trim_end().to_owned()).collect();
        let mut bash = assert_cmd::Command::new("bash");
        let output =
            bash.args(["--norc", "-c", ASK, "bash"]).args(&asked).write_stdin(script(Shell::Bash)).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let answers = String::from_utf8(output.stdout).unwrap();
        let answers: Vec<&str> = answers.lines().collect();
        assert_eq!(answers.len(), asked.len());
        everything_is_offered(|path, name| {
            let at = questions().iter().position(|(asked, _)| asked == path).unwrap();
            answers[at].split(' ').any(|word| word == name)
        });
    }

    /// Its script has a function for each place in the line.
    #[test]
    fn zsh_offers_every_command() {
        let script = script(Shell::Zsh);
        everything_is_offered(|path, name| {
            let place: String = path.iter().map(|word| format!("__subcmd__{word}")).collect();
            let function = script.split(&format!("\n_gosync{place}_commands() {{\n")).nth(1).unwrap_or_default();
            let body = function.split("\n}\n").next().unwrap_or_default();
            // What follows the word is completed by a case of its own.
            body.contains(&format!("'{name}:")) && script.lines().any(|line| line.trim() == format!("({name})"))
        });
    }

    /// Its script says of each word when it is offered.
    #[test]
    fn fish_offers_every_command() {
        let script = script(Shell::Fish);
        everything_is_offered(|path, name| {
            let when = match path {
                [] => "__fish_gosync_needs_command\"".to_owned(),
                [first] => format!("__fish_gosync_using_subcommand {first}; and not __fish_seen_subcommand_from "),
                [first, second] => {
                    format!("__fish_gosync_using_subcommand {first}; and __fish_seen_subcommand_from {second}\"")
                }
                deeper => panic!("{deeper:?}: say how fish tells it"),
            };
            let offered = format!(" -f -a \"{name}\"");
            let begins = format!("complete -c gosync -n \"{when}");
            script.lines().any(|line| line.starts_with(&begins) && line.contains(&offered))
        });
    }
}
