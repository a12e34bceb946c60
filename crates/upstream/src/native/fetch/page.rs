//! From the bytes of a page to text: HTML becomes Markdown, other text stays as it is.
//!
//! A page is hostile until shown otherwise: a few hundred kilobytes of `<div>` keep a parser busy for a
//! minute, a few of `<b>` and `<p>` become a million nodes, and the converter's stack is as deep as the
//! tree. So the page is parsed piece by piece, and no further than its tree is reasonable.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use htmd::element_handler::Handlers;
use htmd::{Element, HtmlToMarkdown, Node};
use html5ever::tendril::TendrilSink as _;
use html5ever::{ParseOpts, parse_document};
use markup5ever_rcdom::RcDom;

use super::super::reply::Failure;

/// Most nodes and deepest nesting with which a page is read on, and how much is read between two looks.
const NODES_MAX: usize = 100_000;
const DEPTH_MAX: usize = 256;
const PIECE_BYTES: usize = 2 * 1024;
/// Deepest nesting that is converted. Pages that people read stay far below.
const DEPTH_CONVERTED_MAX: usize = 128;
const TITLE_CHARS_MAX: usize = 300;
/// What has no text for a reader.
const SKIPPED: [&str; 8] = [
    "script", "style", "noscript", "template", "iframe", "svg", "canvas", "object",
];

/// What can be done with a type of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Html,
    Text,
    /// The server does not say; the bytes will.
    Untold,
    Other,
}

/// A page as text.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) title: Option<String>,
    pub(super) content: String,
    pub(super) note: Option<&'static str>,
}

impl Kind {
    /// By the value of `content-type`.
    pub(super) fn of(content_type: &str) -> Self {
        let essence = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match essence.as_str() {
            "" => Self::Untold,
            "text/html" | "application/xhtml+xml" => Self::Html,
            "application/json"
            | "application/xml"
            | "application/javascript"
            | "application/yaml"
            | "application/x-yaml"
            | "application/toml"
            | "application/x-ndjson"
            | "application/sql"
            | "application/graphql"
            | "application/x-sh" => Self::Text,
            other
                if other.starts_with("text/")
                    || other.ends_with("+json")
                    || other.ends_with("+xml") =>
            {
                Self::Text
            }
            _ => Self::Other,
        }
    }
}

/// Reads a page. Takes the processor for a while, and a stack in proportion to [`DEPTH_CONVERTED_MAX`].
pub(super) fn read(kind: Kind, body: &[u8]) -> Result<Text, Failure> {
    if kind == Kind::Untold && body.contains(&0) {
        return Err(Failure::new(
            "The server does not say what this is, and it is no text.",
        ));
    }
    let lossy = String::from_utf8_lossy(body);
    let note = matches!(lossy, std::borrow::Cow::Owned(_))
        .then_some("Not everything was UTF-8; what was not is replaced by `\u{fffd}`.");
    match kind {
        Kind::Html => Ok(html(&lossy, note)),
        Kind::Text | Kind::Untold | Kind::Other => Ok(Text {
            title: None,
            content: lossy.into_owned(),
            note,
        }),
    }
}

fn html(source: &str, note: Option<&'static str>) -> Text {
    let title = Arc::new(Mutex::new(None));
    let heard = Arc::clone(&title);
    let converter = HtmlToMarkdown::builder()
        .skip_tags(SKIPPED.to_vec())
        .add_handler(
            vec!["title"],
            move |handlers: &dyn Handlers, element: Element<'_>| {
                let text = handlers.walk_children(element.node).content;
                let text: String = text.trim().chars().take(TITLE_CHARS_MAX).collect();
                heard
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(text);
                None
            },
        )
        .build();
    let (tree, whole) = parse(source);
    let pruned = prune(&tree);
    let content = converter.tree_to_markdown(&tree);
    let title = title.lock().unwrap_or_else(PoisonError::into_inner).take();
    let note = match whole && !pruned {
        true => note,
        false => Some("The page is too complicated to be read as a whole; parts are left out."),
    };
    Text {
        title,
        content,
        note,
    }
}

/// The tree of a page, or of as much of its beginning as is reasonable; and whether it is whole.
fn parse(source: &str) -> (Rc<Node>, bool) {
    let mut parser = parse_document(RcDom::default(), ParseOpts::default());
    let mut left = source;
    while !left.is_empty() && is_reasonable(&parser.tokenizer.sink.sink.document) {
        let (piece, rest) = left.split_at(left.floor_char_boundary(PIECE_BYTES));
        parser.process(piece.into());
        left = rest;
    }
    (parser.finish().document, left.is_empty())
}

fn is_reasonable(tree: &Rc<Node>) -> bool {
    let mut nodes = 0;
    let mut left = vec![(Rc::clone(tree), 0)];
    while let Some((node, depth)) = left.pop() {
        nodes += 1;
        if nodes > NODES_MAX || depth > DEPTH_MAX {
            return false;
        }
        left.extend(
            node.children
                .borrow()
                .iter()
                .map(|child| (Rc::clone(child), depth + 1)),
        );
    }
    true
}

/// Takes out what is nested deeper than the converter should go; says whether anything was.
fn prune(tree: &Rc<Node>) -> bool {
    let mut pruned = false;
    let mut left = vec![(Rc::clone(tree), 0)];
    while let Some((node, depth)) = left.pop() {
        if depth == DEPTH_CONVERTED_MAX {
            pruned |= !node.children.take().is_empty();
            continue;
        }
        left.extend(
            node.children
                .borrow()
                .iter()
                .map(|child| (Rc::clone(child), depth + 1)),
        );
    }
    pruned
}
