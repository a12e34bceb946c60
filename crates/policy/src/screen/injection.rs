//! Orders to a model in what should be data: words that keep such company, marks of a chat's turns, images that tell.
//!
//! A guess, not a proof: each form weighs something, and what all forms of a text weigh together is held against a
//! threshold. Case, punctuation and line ends do not matter. What is written to slip past a list of words does.

use std::ops::Range;

use super::grams::{Anchor, Form as Found};
use super::{Kind, follows_escape, text_at};

/// Bytes within which the words of a form stand; written as escapes, six times as many.
const PHRASE_MAX: usize = 240;
const ESCAPED: usize = 6;
/// Bytes of an image's description, and of its address.
const ALT_MAX: usize = 256;
const ADDRESS_MAX: usize = 4096;
/// A parameter of so many bytes in an image's address carries something.
const CARRIED_MIN: usize = 48;

/// One way to give orders.
#[derive(Debug)]
pub(super) struct Form {
    kind: Kind,
    /// What it adds to a text's weight.
    pub(super) weight: u32,
    /// Any of these.
    words: &'static [&'static str],
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    /// The word is enough.
    Mark,
    /// One of these among the two words before it, if there are any, and then one of each set, each within so many
    /// words.
    Phrase {
        before: &'static [&'static str],
        then: &'static [(usize, &'static [&'static str])],
    },
    /// A Markdown image whose address carries something.
    Image,
}

const fn mark(kind: Kind, weight: u32, words: &'static [&'static str]) -> Form {
    Form {
        kind,
        weight,
        words,
        shape: Shape::Mark,
    }
}

const fn phrase(
    kind: Kind,
    weight: u32,
    words: &'static [&'static str],
    then: &'static [(usize, &'static [&'static str])],
) -> Form {
    Form {
        kind,
        weight,
        words,
        shape: Shape::Phrase { before: &[], then },
    }
}

const ORDERS: &[&str] = &[
    "instruction",
    "instructions",
    "prompt",
    "prompts",
    "directions",
    "directive",
    "directives",
    "guidelines",
    "rules",
    "commands",
    "orders",
    "constraints",
    "guardrails",
    "programming",
    "policies",
    "messages",
];
const EARLIER: &[&str] = &[
    "previous",
    "prior",
    "above",
    "earlier",
    "preceding",
    "foregoing",
    "former",
    "existing",
    "original",
    "initial",
    "system",
    "safety",
    "your",
    "my",
];
const USER: &[&str] = &[
    "user", "users", "human", "operator", "customer", "them", "anyone", "anybody",
];
const TOOL: &[&str] = &["tool", "tools", "function", "functions", "server", "api"];

static FORMS: &[Form] = &[
    phrase(
        Kind::Override,
        3,
        &[
            "ignore",
            "ignoring",
            "disregard",
            "disregarding",
            "forget",
            "override",
            "overrule",
            "bypass",
            "neglect",
        ],
        &[(4, EARLIER), (3, ORDERS)],
    ),
    phrase(
        Kind::Override,
        3,
        &["ignore", "disregard", "forget"],
        &[
            (2, &["all", "any", "everything"]),
            (5, &["before", "above", "told", "instructions", "said"]),
        ],
    ),
    phrase(
        Kind::Override,
        2,
        &["instructions", "directive", "directives"],
        &[(
            4,
            &[
                "supersede",
                "supersedes",
                "override",
                "overrides",
                "replace",
                "replaces",
            ],
        )],
    ),
    Form {
        kind: Kind::Secrecy,
        weight: 3,
        words: &[
            "tell",
            "telling",
            "mention",
            "mentioning",
            "inform",
            "informing",
            "notify",
            "notifying",
            "alert",
            "reveal",
            "revealing",
            "disclose",
            "disclosing",
            "explain",
        ],
        shape: Shape::Phrase {
            before: &["not", "never", "without", "dont", "t", "avoid", "no"],
            then: &[(5, USER)],
        },
    },
    phrase(
        Kind::Secrecy,
        2,
        &["hidden", "secret", "invisible", "concealed"],
        &[(2, &["from"]), (2, USER)],
    ),
    mark(
        Kind::RoleTag,
        3,
        &[
            "<|im_start|>",
            "<|im_end|>",
            "<|system|>",
            "<|user|>",
            "<|assistant|>",
            "<|endoftext|>",
            "<|eot_id|>",
            "<|start_header_id|>",
            "[INST]",
            "<<SYS>>",
            "<start_of_turn>",
        ],
    ),
    mark(
        Kind::RoleTag,
        2,
        &[
            "<system>",
            "<system_prompt>",
            "<important>",
            "<instructions>",
            "<assistant>",
            "<|channel|>",
            "[system]",
            "### system",
            "### instruction",
            "system prompt:",
            "system message:",
            "begin admin",
            "<secret>",
        ],
    ),
    phrase(
        Kind::PromptLeak,
        2,
        &[
            "reveal", "print", "output", "repeat", "display", "send", "leak", "expose", "share",
            "show", "return",
        ],
        &[
            (4, &["system", "hidden", "initial", "original"]),
            (2, &["prompt", "prompts", "instructions", "message"]),
        ],
    ),
    Form {
        kind: Kind::ToolOrder,
        weight: 2,
        words: &[
            "using",
            "calling",
            "invoking",
            "running",
            "executing",
            "answering",
            "responding",
        ],
        shape: Shape::Phrase {
            before: &["before", "when", "whenever", "after", "prior", "to"],
            then: &[
                (
                    8,
                    &["must", "always", "first", "should", "need", "required"],
                ),
                (
                    8,
                    &[
                        "read", "call", "fetch", "pass", "send", "include", "open", "access",
                        "run", "invoke", "use",
                    ],
                ),
            ],
        },
    },
    Form {
        kind: Kind::ToolOrder,
        weight: 2,
        words: &["using", "calling", "invoking", "running"],
        shape: Shape::Phrase {
            before: &["before", "when", "whenever"],
            then: &[
                (3, TOOL),
                (3, &["read", "call", "fetch", "open", "access", "send"]),
            ],
        },
    },
    phrase(
        Kind::ToolOrder,
        1,
        &["must", "always", "immediately"],
        &[(2, &["call", "invoke", "execute", "use"]), (4, TOOL)],
    ),
    mark(Kind::ToolOrder, 1, &["id_rsa", "id_ed25519", "mcp.json"]),
    phrase(
        Kind::Exfiltration,
        2,
        &[
            "send",
            "post",
            "upload",
            "forward",
            "transmit",
            "exfiltrate",
            "email",
            "append",
            "encode",
            "include",
        ],
        &[
            (
                6,
                &[
                    "conversation",
                    "history",
                    "secrets",
                    "secret",
                    "credentials",
                    "tokens",
                    "token",
                    "passwords",
                    "keys",
                    "environment",
                    "context",
                    "private",
                    "confidential",
                ],
            ),
            (
                8,
                &[
                    "http",
                    "https",
                    "webhook",
                    "url",
                    "endpoint",
                    "parameter",
                    "address",
                    "sidenote",
                    "image",
                ],
            ),
        ],
    ),
    Form {
        kind: Kind::Exfiltration,
        weight: 3,
        words: &["](ht"],
        shape: Shape::Image,
    },
    phrase(
        Kind::Address,
        1,
        &["attention", "important", "note", "dear", "hello", "notice"],
        &[(
            3,
            &[
                "assistant",
                "agent",
                "agents",
                "llm",
                "llms",
                "ai",
                "claude",
                "gpt",
                "chatgpt",
                "gemini",
                "copilot",
            ],
        )],
    ),
    phrase(
        Kind::Address,
        1,
        &["language"],
        &[(1, &["model", "models"]), (4, &["must", "should", "shall"])],
    ),
    phrase(
        Kind::Address,
        2,
        &["pretend", "roleplay", "acting", "behave"],
        &[
            (3, &["you", "as"]),
            (
                4,
                &[
                    "unrestricted",
                    "jailbroken",
                    "developer",
                    "admin",
                    "administrator",
                    "root",
                    "dan",
                ],
            ),
        ],
    ),
    phrase(
        Kind::Address,
        1,
        &[
            "developer",
            "jailbreak",
            "unrestricted",
            "debug",
            "maintenance",
        ],
        &[(1, &["mode"]), (4, &["enabled", "activated", "on", "now"])],
    ),
    phrase(
        Kind::Address,
        2,
        &["your"],
        &[
            (1, &["new"]),
            (2, &["instructions", "task", "role", "goal", "objective"]),
        ],
    ),
];

/// The words by which forms are found.
pub(super) fn anchors() -> impl Iterator<Item = Anchor> {
    FORMS.iter().flat_map(|form| {
        form.words.iter().map(move |word| Anchor {
            word,
            is_exact: false,
            kind: form.kind,
            form: Found::Order(form),
        })
    })
}

impl Form {
    /// Whether the word that was found at `at` is part of this. `is_raw` is for JSON text whose escapes are not
    /// undone: there it may say yes to what is none, and says yes to each that is one.
    pub(super) fn fits(&self, text: &[u8], at: usize, word: &str, is_raw: bool) -> bool {
        match &self.shape {
            Shape::Mark => true,
            Shape::Image => is_raw || carries(text, at),
            Shape::Phrase { before, then } => {
                let begins =
                    !is_word(text, at.checked_sub(1)) || (is_raw && follows_escape(text, at));
                let behind = at + word.len();
                if !begins || is_word(text, Some(behind)) {
                    return false;
                }
                let max = if is_raw {
                    PHRASE_MAX * ESCAPED
                } else {
                    PHRASE_MAX
                };
                let mut words = Words {
                    text: text_at(text, behind..behind + max),
                    is_raw,
                };
                let follows = then.iter().all(|(within, any)| {
                    words.by_ref().take(*within).any(|word| is_any(word, any))
                });
                follows && (is_raw || before.is_empty() || is_behind(text, at, before))
            }
        }
    }
}

/// Whether one of `any` is among the two words before `at`.
fn is_behind(text: &[u8], at: usize, any: &[&str]) -> bool {
    let before = text_at(text, at.saturating_sub(40)..at);
    let mut words = before
        .rsplit(|byte| !byte.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words.by_ref().take(2).any(|word| is_any(word, any))
}

fn is_any(word: &[u8], any: &[&str]) -> bool {
    any.iter()
        .any(|one| word.eq_ignore_ascii_case(one.as_bytes()))
}

fn is_word(text: &[u8], at: Option<usize>) -> bool {
    at.and_then(|at| text.get(at))
        .is_some_and(u8::is_ascii_alphanumeric)
}

/// The words of a text: runs of letters and digits, whatever is between them.
struct Words<'a> {
    text: &'a [u8],
    is_raw: bool,
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let skipped = match self.text {
                [] => return None,
                [b'\\', b'u', ..] if self.is_raw => 6,
                [b'\\', ..] if self.is_raw => 2,
                [first, ..] if first.is_ascii_alphanumeric() => break,
                _between => 1,
            };
            self.text = self.text.get(skipped..).unwrap_or_default();
        }
        let is_letter = |byte: &&u8| byte.is_ascii_alphanumeric();
        let len = self.text.iter().take_while(is_letter).count();
        let (word, rest) = self.text.split_at(len);
        self.text = rest;
        Some(word)
    }
}

/// Whether the address behind `](`, which stands at `at`, is an image's and carries something: a placeholder to be
/// filled in, or a parameter as long as a secret.
fn carries(text: &[u8], at: usize) -> bool {
    let before = text_at(text, at.saturating_sub(ALT_MAX)..at);
    let opened = before.iter().rposition(|byte| *byte == b'[');
    let is_image = opened
        .and_then(|open| open.checked_sub(1))
        .and_then(|at| before.get(at))
        == Some(&b'!');
    if !is_image {
        return false;
    }
    let address = text_at(text, at + 2..at + 2 + ADDRESS_MAX);
    let is_part = |byte: &&u8| !matches!(**byte, b')' | b' ' | b'\n');
    let len = address.iter().take_while(is_part).count();
    let mut parts = text_at(address, Range { start: 0, end: len }).splitn(2, |byte| *byte == b'?');
    let Some(query) = parts.nth(1) else {
        return false;
    };
    let carries = |value: &[u8]| {
        value.len() >= CARRIED_MIN || value.iter().any(|byte| b"{[<$".contains(byte))
    };
    query
        .split(|byte| *byte == b'&')
        .filter_map(|parameter| parameter.splitn(2, |byte| *byte == b'=').nth(1))
        .any(carries)
}

#[cfg(test)]
mod tests;
