//! What is found in a README, and what is done about it.

use super::{Block, Meaning, blocks, meaning};

#[test]
fn scripts_transcripts_and_files_are_found_and_the_rest_is_left() {
    let text = "\
text\n```sh\n# first\necho a \\\n  b\n\ncurl -d '{\n}' x\n```\n```console\n$ portcullis\nhttp://…\n```\n\
```json mcp.json\n{}\n```\n```rust\nfn x() {}\n```\n```toml config\na = 1\n```\n";
    let expected = [
        Block::Commands(vec![
            "echo a \\\n  b".to_owned(),
            "curl -d '{\n}' x".to_owned(),
        ]),
        Block::Commands(vec!["portcullis".to_owned()]),
        Block::File("mcp.json".to_owned(), "{}\n".to_owned()),
    ];
    assert_eq!(blocks(text), expected);
}

#[test]
fn only_what_would_not_end_or_would_start_itself_is_not_run_as_it_stands() {
    assert_eq!(
        meaning("cargo run --release"),
        Meaning::Serve(String::new())
    );
    assert_eq!(
        meaning("portcullis serve --config x.toml"),
        Meaning::Serve("serve --config x.toml".to_owned())
    );
    assert_eq!(meaning("portcullis tools list"), Meaning::Run);
    assert_eq!(
        meaning("portcullis import mcp.json && portcullis check"),
        Meaning::Run
    );
    assert_eq!(
        meaning("cargo xtask test"),
        Meaning::Xtask("test".to_owned())
    );
    assert_eq!(meaning("claude mcp add x"), Meaning::Skip);
}
