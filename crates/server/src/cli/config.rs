//! `portcullis config`: what holds, and what could.

use serde_json::json;

use super::output;
use super::{Common, Exit};
use crate::config::{self, Environment};

pub(super) fn show(common: &Common) -> anyhow::Result<Exit> {
    let (shown, loaded) = config::show(&common.sources(), &Environment::of_process())?;
    if common.json {
        let values: Vec<_> = shown
            .iter()
            .map(|one| json!({ "key": one.key, "value": one.value, "origin": one.origin.to_string() }))
            .collect();
        output::json(&values)?;
    } else {
        let rows: Vec<Vec<String>> = shown
            .into_iter()
            .map(|one| vec![one.key, one.value, one.origin.to_string()])
            .collect();
        output::data(output::table(&["key", "value", "from"], &rows).as_bytes())?;
    }
    // What is wrong is told after what is there, which helps to see why.
    loaded?;
    Ok(Exit::Done)
}

pub(super) fn schema() -> anyhow::Result<Exit> {
    output::line(serde_json::to_string_pretty(config::schema())?)?;
    Ok(Exit::Done)
}
