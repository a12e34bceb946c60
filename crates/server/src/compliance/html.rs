//! A report as one HTML file: no script, nothing from elsewhere, and a policy in it that says so. It can be read in a
//! browser, printed, and listened to.

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Status;
use super::markdown::NOTE;
use super::report::Report;
use crate::cli::output::printable;

const STYLE: &str = include_str!("../../assets/compliance.css");
/// How wide the bar of the summary is, in its own units.
const BAR: usize = 1000;

/// The template could not be filled in.
#[derive(Debug, thiserror::Error)]
#[error("the report cannot be written as HTML")]
pub struct Unwritable(#[source] askama::Error);

#[derive(Template)]
#[template(path = "compliance.html")]
struct Page<'a> {
    report: &'a Report<'a>,
    style: &'static str,
    style_hash: String,
    note: &'static str,
    bar: Vec<Part>,
}

/// A part of the summary's bar.
struct Part {
    status: Status,
    count: usize,
    from: usize,
    width: usize,
}

impl Report<'_> {
    /// As one HTML file.
    ///
    /// # Errors
    /// If the template cannot be filled in.
    pub fn html(&self) -> Result<String, Unwritable> {
        let page = Page {
            report: self,
            style: STYLE,
            style_hash: BASE64.encode(digest(&SHA256, STYLE.as_bytes())),
            note: NOTE,
            bar: self.bar(),
        };
        page.render().map_err(Unwritable)
    }

    fn bar(&self) -> Vec<Part> {
        let all = self.summary.controls.max(1);
        let mut done = 0;
        let part = |status| {
            let count = self.summary.of(status);
            let (from, to) = (done * BAR / all, (done + count) * BAR / all);
            done += count;
            Part {
                status,
                count,
                from,
                width: to - from,
            }
        };
        Status::ALL.map(part).into()
    }
}

/// A piece of a sentence.
struct Piece {
    is_code: bool,
    text: String,
}

/// A sentence in which names stand between backticks.
fn pieces(sentence: &str) -> Vec<Piece> {
    let sentence = printable(sentence);
    let parts = sentence.split('`').enumerate();
    parts
        .map(|(at, text)| Piece {
            is_code: at % 2 == 1,
            text: text.to_owned(),
        })
        .collect()
}

fn class(status: &Status) -> &'static str {
    match status {
        Status::On => "on",
        Status::Partly => "partly",
        Status::Off => "off",
        Status::NotCovered => "none",
    }
}

/// A shape besides the colour.
fn sign(status: &Status) -> &'static str {
    match status {
        Status::On => "●",
        Status::Partly => "◐",
        Status::Off => "○",
        Status::NotCovered => "–",
    }
}
