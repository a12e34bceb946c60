//! `portcullis alerts`: tries those who are told when something is wrong. What is wrong now is in a running gate's
//! `/v1/alerts`.

use clap::Subcommand;
use observe::alerts;
use serde_json::json;

use super::arguments::Unusable;
use super::{Common, Exit, now, output};
use crate::serve::base;

/// `portcullis alerts`.
#[derive(Debug, Clone, Subcommand)]
pub enum AlertsCommand {
    /// Send a message that says that it is a test to those who are told of alerts.
    #[command(
        after_help = "Examples:\n  portcullis alerts test\n  portcullis alerts test --receiver ops"
    )]
    Test {
        /// To this one alone, by its name in the config.
        #[arg(long, value_name = "NAME")]
        receiver: Option<String>,
    },
}

pub(super) fn alerts(common: &Common, command: &AlertsCommand) -> anyhow::Result<Exit> {
    let AlertsCommand::Test { receiver } = command;
    let loaded = common.load()?;
    let mut receivers = loaded.alerts.receivers.clone();
    if let Some(name) = receiver {
        receivers.retain(|one| one.name == *name);
        if receivers.is_empty() {
            let what = format!("there is no receiver `{name}` under alerts.receivers");
            return Err(Unusable(what).into());
        }
    }
    let base = base(&loaded, &[]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let client = net::Client::new(net::Settings::default());
    let done = runtime.block_on(alerts::test(&receivers, &base, &client, now()));
    if common.json {
        let each = done.iter().map(|(name, done)| {
            json!({ "receiver": name, "taken": done.is_ok(), "error": done.as_ref().err() })
        });
        output::json(&each.collect::<Vec<_>>())?;
    } else if done.is_empty() {
        output::say("nobody is told of alerts: add a receiver under [alerts.receivers]");
    } else {
        for (name, done) in &done {
            match done {
                Ok(()) => output::say(format!("{name}: taken")),
                Err(why) => output::say(format!("{name}: not taken: {why}")),
            }
        }
    }
    let is_good = done.iter().all(|(_, done)| done.is_ok());
    Ok(if is_good { Exit::Done } else { Exit::Failed })
}
