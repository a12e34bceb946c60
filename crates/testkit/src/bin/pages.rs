//! Prints every page of `docs/reference/` as the code would write it today: one JSON object, file name to text.
//!
//! `cargo xtask bless` writes them, `cargo xtask check` compares. A page that can be made from code is made by the
//! room that it is about; here it only gets its name.

use std::collections::BTreeMap;

use clap::CommandFactory as _;
use server::cli::Cli;

#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn main() -> serde_json::Result<()> {
    let pages = BTreeMap::from([
        ("alerts.md", observe::alerts::reference()),
        ("audit.md", observe::audit_reference(methods())),
        ("commands.md", commands()),
        ("errors.md", gateway::rejection::reference()),
        ("health.md", observe::health::reference()),
        ("metrics.md", observe::metrics::reference()),
        ("settings.md", server::config::reference()),
        ("spans.md", observe::trace::reference()),
    ]);
    println!("{}", serde_json::to_string(&pages)?);
    Ok(())
}

/// The methods of the protocol, as records have them.
fn methods() -> impl Iterator<Item = &'static str> {
    let all = wire::method::METHODS.iter();
    all.chain(std::iter::once(&wire::method::EXTENSION))
        .map(|method| method.name)
}

/// Every command with its help, as a terminal of a hundred columns would show it.
fn commands() -> String {
    let mut page =
        "# Commands\n\nMade from `crates/server/src/cli` by `cargo xtask bless`; do not edit.\n"
            .to_owned();
    let mut command = Cli::command().term_width(100).disable_help_subcommand(true);
    command.build();
    section(&mut command, &mut page);
    page
}

fn section(command: &mut clap::Command, page: &mut String) {
    let name = command
        .get_bin_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned();
    let help = command.render_long_help().to_string();
    let help: Vec<_> = help.lines().map(str::trim_end).collect();
    let text = format!(
        "\n## `{name}`\n\n```text\n{}\n```\n",
        help.join("\n").trim_end()
    );
    page.push_str(&text);
    for below in command
        .get_subcommands_mut()
        .filter(|below| !below.is_hide_set())
    {
        section(below, page);
    }
}
