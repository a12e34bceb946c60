//! A case file cut into its blocks, and put together again with some of them replaced.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// One fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// The line of its fence, from 1.
    pub(super) line: usize,
    /// What stands behind the fence.
    pub(super) info: String,
    /// What stands between the fences, without the last line end.
    pub(super) text: String,
}

/// A step of a case.
#[derive(Debug)]
pub(super) enum Step {
    Config(Block),
    File { path: String, text: String },
    Advance(Duration),
    Ask(Box<Asking>),
}

/// A request with what is expected of it.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) ask: Ask,
    pub(super) text: String,
    pub(super) line: usize,
    pub(super) reply: Option<(Expected, Block)>,
    pub(super) record: Option<Block>,
}

/// How a request is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) who: String,
    pub(super) over: Over,
    /// The virtual server that is asked; `None`: the whole catalog.
    pub(super) server: Option<String>,
    pub(super) form: Form,
    pub(super) times: usize,
    pub(super) meanwhile: bool,
}

/// What carries a request; the revision of a session, or none in the modern era.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Over {
    Http(Option<String>),
    Stdio(Option<String>),
}

/// How much of a request is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The message, as far as it matters.
    Message,
    /// The body, byte for byte.
    Body,
    /// Head and body.
    Request,
}

/// What comes back, as the info of a reply says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) is_stream: bool,
    pub(super) is_none: bool,
}

/// Reads a file.
pub(super) fn steps(text: &str) -> Result<Vec<Step>> {
    ensure!(text.starts_with("# "), "the first line is the title: `# …`");
    let blocks = blocks(text)?;
    ensure!(
        has_a_reason(text),
        "a sentence between title and first block says why"
    );
    let mut steps: Vec<Step> = Vec::new();
    for block in blocks {
        let line = block.line;
        add(&mut steps, block).with_context(|| format!("line {line}"))?;
    }
    let first = steps.iter().find(|step| !matches!(step, Step::File { .. }));
    ensure!(
        matches!(first, Some(Step::Config(_))),
        "the first block is `toml config`, but for files"
    );
    Ok(steps)
}

fn has_a_reason(text: &str) -> bool {
    let head = text.split("\n```").next().unwrap_or_default();
    head.lines().skip(1).any(|line| !line.trim().is_empty())
}

fn add(steps: &mut Vec<Step>, block: Block) -> Result<()> {
    let info = block.info.clone();
    let words: Vec<&str> = info.split_whitespace().collect();
    match words.as_slice() {
        ["toml", "config"] => steps.push(Step::Config(block)),
        ["text", "file", path] => steps.push(Step::File {
            path: (*path).to_owned(),
            text: block.text + "\n",
        }),
        ["text", "advance"] => {
            let by = policy::config::duration(&block.text).map_err(anyhow::Error::msg)?;
            steps.push(Step::Advance(by));
        }
        ["json", "reply", rest @ ..] => {
            let asking = last(steps)?;
            ensure!(asking.reply.is_none(), "a second reply to one request");
            asking.reply = Some((expected(rest)?, block));
        }
        ["json", "record"] => {
            let asking = last(steps)?;
            ensure!(asking.record.is_none(), "a second record of one request");
            asking.record = Some(block);
        }
        [language @ ("json" | "http"), rest @ ..] => {
            let ask = ask(language, rest)?;
            steps.push(Step::Ask(Box::new(Asking {
                ask,
                text: block.text,
                line: block.line,
                reply: None,
                record: None,
            })));
        }
        _ => bail!("nobody understands a block `{info}`"),
    }
    Ok(())
}

fn last(steps: &mut [Step]) -> Result<&mut Asking> {
    match steps.last_mut() {
        Some(Step::Ask(asking)) => Ok(asking),
        _ => bail!("there is no request that this could belong to"),
    }
}

fn ask(language: &str, words: &[&str]) -> Result<Ask> {
    let mut ask = Ask {
        who: String::new(),
        over: Over::Http(None),
        server: None,
        form: if language == "http" {
            Form::Request
        } else {
            Form::Message
        },
        times: 1,
        meanwhile: false,
    };
    let mut words = words;
    loop {
        words = match words {
            [] => break,
            ["from", who, rest @ ..] => {
                ask.who = (*who).to_owned();
                rest
            }
            ["over", "stdio", revision, rest @ ..] if is_revision(revision) => {
                ask.over = Over::Stdio(Some((*revision).to_owned()));
                rest
            }
            ["over", "stdio", rest @ ..] => {
                ask.over = Over::Stdio(None);
                rest
            }
            ["over", revision, rest @ ..] if is_revision(revision) => {
                ask.over = Over::Http(Some((*revision).to_owned()));
                rest
            }
            ["at", server, rest @ ..] if ask.form != Form::Request => {
                ask.server = Some((*server).to_owned());
                rest
            }
            ["raw", rest @ ..] if ask.form == Form::Message => {
                ask.form = Form::Body;
                rest
            }
            ["meanwhile", rest @ ..] => {
                ask.meanwhile = true;
                rest
            }
            [times, "times", rest @ ..] => {
                ask.times = times.parse()?;
                rest
            }
            other => bail!("nobody understands `{}`", other.join(" ")),
        };
    }
    ensure!(!ask.who.is_empty(), "a request is `from` somebody");
    ensure!(
        ask.server.is_none() || matches!(ask.over, Over::Http(_)),
        "a pipe is with the whole catalog"
    );
    ensure!(
        !(ask.meanwhile && ask.times != 1),
        "`meanwhile` is for one request"
    );
    Ok(ask)
}

fn is_revision(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    word.len() == 10 && digits == 8
}

fn expected(words: &[&str]) -> Result<Expected> {
    let mut expected = Expected::default();
    for word in words {
        match (*word, word.split_once('=')) {
            ("events", _) => expected.is_stream = true,
            ("none", _) => expected.is_none = true,
            (_, Some((name, value))) => expected
                .headers
                .push((name.to_ascii_lowercase(), value.to_owned())),
            (status, None) => {
                expected.status = status
                    .parse()
                    .with_context(|| format!("nobody understands `{status}`"))?;
            }
        }
    }
    Ok(expected)
}

impl Expected {
    /// The info of a block that says this.
    pub(super) fn info(&self) -> String {
        let mut words = vec!["json reply".to_owned()];
        words.extend(self.is_none.then(|| "none".to_owned()));
        words.extend((self.status != 0).then(|| self.status.to_string()));
        words.extend(self.is_stream.then(|| "events".to_owned()));
        let headers = self.headers.iter();
        words.extend(headers.map(|(name, value)| format!("{name}={value}")));
        words.join(" ")
    }
}

/// Cuts a text into its fenced blocks.
fn blocks(text: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (at, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some(block), _) => {
                if !block.text.is_empty() {
                    block.text.push('\n');
                }
                block.text.push_str(line);
            }
            (None, Some(info)) => {
                open = Some(Block {
                    line: at + 1,
                    info: info.trim().to_owned(),
                    text: String::new(),
                });
            }
            (None, None) => {}
        }
    }
    ensure!(open.is_none(), "the last block is not closed");
    Ok(blocks)
}

/// The text again with some blocks, known by their lines, replaced.
pub(super) fn rewrite(text: &str, fresh: &[Block]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut skips = false;
    for (at, line) in text.lines().enumerate() {
        if let Some(block) = fresh.iter().find(|block| block.line == at + 1) {
            out.push_str(&["```", &block.info, "\n"].concat());
            if !block.text.is_empty() {
                out.push_str(&block.text);
                out.push('\n');
            }
            skips = true;
            continue;
        }
        skips &= line != "```";
        if !skips {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}
