//! The command line as a whole: every command has its examples, and each example can be said.

use clap::{CommandFactory as _, Parser as _};

use super::{Cli, Command};

fn leaves(command: &clap::Command, path: &str, all: &mut Vec<(String, String)>) {
    let path = format!("{path} {}", command.get_name());
    if command.has_subcommands() && path.contains(' ') && command.get_name() != "portcullis" {
        for below in command.get_subcommands() {
            leaves(below, &path, all);
        }
        return;
    }
    let help = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    all.push((path.trim().to_owned(), help));
}

#[test]
fn every_command_has_examples_that_can_be_said() {
    let cli = Cli::command();
    cli.clone().debug_assert();
    let mut all = Vec::new();
    for command in cli.get_subcommands() {
        leaves(command, "portcullis", &mut all);
    }
    assert!(all.len() > 15, "{all:?}");
    for (path, help) in all {
        let examples: Vec<&str> = help
            .lines()
            .filter(|line| line.contains("portcullis ") && line.starts_with("  "))
            .collect();
        assert!(!examples.is_empty(), "`{path}` has no example");
        for example in examples {
            assert!(example.contains(&path), "`{example}` stands under `{path}`");
            let said = example.split_once("portcullis").unwrap().1;
            let said = said.split([')', '|', '>', '<']).next().unwrap();
            // Words for people stand after two blanks.
            let said = said.split("  ").next().unwrap();
            let words = said.split_whitespace().filter(|word| !word.contains('\''));
            let words: Vec<&str> = std::iter::once("portcullis")
                .chain(words.take_while(|word| !word.ends_with(':')))
                .collect();
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{words:?}: {error}");
            }
        }
    }
}

#[test]
fn no_command_is_serve() {
    let cli =
        Cli::try_parse_from(["portcullis", "--listen", "127.0.0.1:0", "--env", "prod"]).unwrap();
    assert!(cli.command.is_none());
    assert_eq!(cli.listen, ["127.0.0.1:0"]);
    assert_eq!(cli.common.sources().env.as_deref(), Some("prod"));
}

#[test]
fn common_flags_go_before_and_after_the_command() {
    for words in [
        ["portcullis", "--json", "check"],
        ["portcullis", "check", "--json"],
    ] {
        let cli = Cli::try_parse_from(words).unwrap();
        assert!(cli.common.json && matches!(cli.command, Some(Command::Check)));
    }
}

#[test]
fn arguments_are_json_or_pairs() {
    use super::arguments::{object, texts};
    let say = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        match object(&words, &mut "{\"from\": \"stdin\"}".as_bytes()) {
            Ok(object) => serde_json::to_string(&object).unwrap(),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(say(&[]), "{}");
    assert_eq!(say(&["-"]), r#"{"from":"stdin"}"#);
    assert_eq!(say(&[r#" {"a": [1]}"#]), r#"{"a":[1]}"#);
    assert_eq!(
        say(&["n=3", "s=x y", "t=\"3\"", "e=a=b", "x="]),
        r#"{"n":3,"s":"x y","t":"3","e":"a=b","x":""}"#
    );
    assert_eq!(
        say(&["n"]),
        "`n` is not an argument; write name=value, or all of them as one JSON object"
    );
    assert_eq!(say(&["n=1", "n=2"]), "the argument `n` is there twice");
    assert!(say(&["{\"a\": "]).starts_with("the arguments are not JSON: EOF"));
    assert_eq!(texts(&["n=3".to_owned()]).unwrap()["n"], "3");
}
