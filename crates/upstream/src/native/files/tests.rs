//! `files` over real folders: what it does, and above all what it does not reach.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use crate::native::Spec;
use crate::native::tests::World;

/// A root `here` with a few files, and a secret beside it.
struct Tree {
    world: World,
    here: PathBuf,
}

impl Tree {
    fn new(write: bool) -> Self {
        let world = World::of(|root| Spec::Files {
            roots: vec![root],
            write,
        });
        let here = world.folder.path().join("here");
        fs::create_dir_all(here.join("sub/deep")).expect("folders");
        fs::create_dir(here.join(".git")).expect("a folder");
        fs::write(here.join("one.txt"), "first\nsecond\nthird\n").expect("a file");
        fs::write(here.join("sub/two.md"), "# Two\nsecond again").expect("a file");
        fs::write(here.join("sub/deep/three.rs"), "fn main() {}\n").expect("a file");
        fs::write(here.join("image.png"), [0x89, b'P', 0, 1, 2]).expect("a file");
        fs::write(here.join(".git/config"), "second").expect("a file");
        fs::create_dir(world.folder.path().join("outside")).expect("a folder");
        fs::write(world.folder.path().join("outside/secret.txt"), "the secret").expect("a file");
        Self { world, here }
    }

    async fn call(&self, tool: &str, arguments: Value) -> Result<Value, String> {
        self.world.call(tool, arguments).await
    }

    fn secret(&self) -> String {
        fs::read_to_string(self.world.folder.path().join("outside/secret.txt")).expect("the secret")
    }
}

#[tokio::test]
async fn a_text_is_read_by_lines() {
    let tree = Tree::new(false);
    let whole = tree
        .call("read", json!({"path": "here/one.txt"}))
        .await
        .expect("a text");
    assert_eq!(
        whole,
        json!({
            "path": "here/one.txt", "mime_type": "text/plain", "encoding": "utf-8",
            "content": "first\nsecond\nthird\n", "size": 19,
        })
    );
    let part = json!({"path": "here/one.txt", "offset": 1, "limit": 1});
    let part = tree.call("read", part).await.expect("a text");
    assert_eq!(
        (&part["content"], &part["next_offset"]),
        (&json!("second\n"), &json!(2))
    );
    let rest = tree
        .call("read", json!({"path": "here/one.txt", "offset": 2}))
        .await
        .expect("a text");
    assert_eq!(
        (&rest["content"], rest.get("next_offset")),
        (&json!("third\n"), None)
    );
    let past = tree
        .call("read", json!({"path": "here/one.txt", "offset": u64::MAX}))
        .await
        .expect("nothing");
    assert_eq!(
        (&past["content"], past.get("next_offset")),
        (&json!(""), None)
    );
    tree.world.end().await;
}

#[tokio::test]
async fn a_large_text_comes_in_pages_that_make_it_whole() {
    let tree = Tree::new(false);
    let line = format!("{}\n", "x".repeat(999));
    let whole = line.repeat(3000);
    fs::write(tree.here.join("large.txt"), &whole).expect("a file");
    let (mut read, mut offset, mut pages) = (String::new(), json!(0), 0);
    while !offset.is_null() {
        let ask = json!({"path": "here/large.txt", "offset": offset, "limit": 100_000});
        let mut page = tree.call("read", ask).await.expect("a page");
        let content = page["content"].as_str().expect("a text");
        assert!(content.len() <= 1 << 20);
        read.push_str(content);
        offset = page["next_offset"].take();
        pages += 1;
    }
    assert!(read == whole && pages == 3, "{pages} pages");

    fs::write(
        tree.here.join("line.txt"),
        format!("{}\nend", "y".repeat(3 << 20)),
    )
    .expect("a file");
    let cut = tree
        .call("read", json!({"path": "here/line.txt"}))
        .await
        .expect("a page");
    assert_eq!(
        (cut["content"].as_str().map(str::len), &cut["next_offset"]),
        (Some(1 << 20), &json!(1))
    );
    assert!(cut["note"].is_string());
    let end = tree
        .call("read", json!({"path": "here/line.txt", "offset": 1}))
        .await
        .expect("a page");
    assert_eq!(end["content"], "end");
    tree.world.end().await;
}

#[tokio::test]
async fn a_binary_comes_as_base64_up_to_a_size() {
    let tree = Tree::new(false);
    let image = tree
        .call("read", json!({"path": "here/image.png"}))
        .await
        .expect("an image");
    assert_eq!(
        (&image["encoding"], &image["content"]),
        (&json!("base64"), &json!("iVAAAQI="))
    );
    assert_eq!(image["mime_type"], "image/png");
    fs::write(tree.here.join("large.bin"), vec![0; (1 << 20) + 1]).expect("a file");
    let error = tree
        .call("read", json!({"path": "here/large.bin"}))
        .await
        .expect_err("too large");
    assert!(error.contains("1048576"), "{error}");
    tree.world.end().await;
}

#[tokio::test]
async fn nothing_outside_a_root_is_reached_by_any_path() {
    let tree = Tree::new(true);
    let outside = tree.world.folder.path().join("outside");
    symlink(outside.join("secret.txt"), tree.here.join("file-link")).expect("a link");
    symlink("../outside/secret.txt", tree.here.join("near-link")).expect("a link");
    symlink(&outside, tree.here.join("folder-link")).expect("a link");
    symlink("folder-link", tree.here.join("link-link")).expect("a link");
    symlink("/proc/self/root", tree.here.join("magic-link")).expect("a link");
    let absolute = outside.join("secret.txt").display().to_string();
    for path in [
        "here/../outside/secret.txt",
        "here/sub/../../outside/secret.txt",
        "here/./../outside/secret.txt",
        "here/file-link",
        "here/near-link",
        "here/folder-link/secret.txt",
        "here/link-link/secret.txt",
        "here/magic-link/etc/passwd",
        "here//etc/passwd",
        &format!("here/{absolute}"),
        &absolute,
        "../outside/secret.txt",
        "outside/secret.txt",
        "/etc/passwd",
        "",
        ".",
        "..",
        "here/../here/one.txt",
    ] {
        for (tool, arguments) in [
            ("read", json!({"path": path})),
            ("stat", json!({"path": path})),
            (
                "write",
                json!({"path": path, "content": "overwritten", "mode": "overwrite"}),
            ),
            (
                "write",
                json!({"path": path, "content": "appended", "mode": "append"}),
            ),
            (
                "write",
                json!({"path": path, "content": "created", "mode": "create"}),
            ),
        ] {
            let answer = tree.call(tool, arguments.clone()).await;
            let error = answer.expect_err(&format!("{tool} {arguments}"));
            assert!(!error.contains("the secret"), "{error}");
        }
    }
    for path in [
        "here/..",
        "here/folder-link",
        "here/link-link",
        "here/magic-link",
        "/",
        "..",
    ] {
        tree.call("list", json!({"path": path}))
            .await
            .expect_err(path);
        tree.call("search", json!({"path": path, "name": "*"}))
            .await
            .expect_err(path);
    }
    let found = tree
        .call("search", json!({"path": "here", "text": "secret"}))
        .await
        .expect("a search");
    assert_eq!(found["matches"], json!([]));
    assert_eq!(tree.secret(), "the secret");
    assert_eq!(fs::read_dir(&outside).expect("a folder").count(), 1);
    tree.world.end().await;
}

#[tokio::test]
async fn a_link_that_stays_inside_is_followed() {
    let tree = Tree::new(false);
    symlink("sub/two.md", tree.here.join("inner")).expect("a link");
    symlink("../one.txt", tree.here.join("sub/up")).expect("a link");
    for path in ["here/inner", "here/sub/up", "here/sub/../one.txt"] {
        tree.call("read", json!({"path": path})).await.expect(path);
    }
    tree.world.end().await;
}

#[tokio::test]
async fn a_pipe_is_refused_without_waiting_for_its_other_end() {
    let tree = Tree::new(true);
    mkfifo(&tree.here.join("pipe"), Mode::S_IRWXU).expect("a pipe");
    let error = tree
        .call("read", json!({"path": "here/pipe"}))
        .await
        .expect_err("a pipe");
    assert!(error.contains("pipe"), "{error}");
    for mode in ["append", "overwrite", "create"] {
        let ask = json!({"path": "here/pipe", "content": "x", "mode": mode});
        tree.call("write", ask).await.expect_err(mode);
    }
    let facts = tree
        .call("stat", json!({"path": "here/pipe"}))
        .await
        .expect("facts");
    assert_eq!(facts["kind"], "special");
    tree.call("search", json!({"path": "here", "text": "x"}))
        .await
        .expect("a search");
    tree.world.end().await;
}

#[tokio::test]
async fn a_folder_is_listed_in_order_and_in_pages() {
    let tree = Tree::new(false);
    symlink("one.txt", tree.here.join("link")).expect("a link");
    let whole = tree
        .call("list", json!({"path": "here"}))
        .await
        .expect("a list");
    assert_eq!(
        whole,
        json!({"entries": [
            {"name": ".git", "kind": "folder"},
            {"name": "image.png", "kind": "file", "size": 5},
            {"name": "link", "kind": "link"},
            {"name": "one.txt", "kind": "file", "size": 19},
            {"name": "sub", "kind": "folder"},
        ]})
    );
    let (mut names, mut cursor, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let mut ask = json!({"path": "here", "limit": 2});
        if !cursor.is_null() {
            ask["cursor"] = cursor;
        }
        let mut page = tree.call("list", ask).await.expect("a page");
        let entries = page["entries"].as_array().expect("entries");
        names.extend(entries.iter().map(|entry| entry["name"].clone()));
        cursor = page["next_cursor"].take();
        pages += 1;
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(
        (pages, names),
        (
            3,
            vec![
                json!(".git"),
                json!("image.png"),
                json!("link"),
                json!("one.txt"),
                json!("sub")
            ]
        )
    );
    let roots = tree
        .call("list", json!({"path": ""}))
        .await
        .expect("the roots");
    assert_eq!(roots["entries"][0]["name"], "here");
    tree.call("list", json!({"path": "here/one.txt"}))
        .await
        .expect_err("not a folder");
    tree.world.end().await;
}

#[tokio::test]
async fn files_are_found_by_name_and_by_text() {
    let tree = Tree::new(false);
    for (ask, expect) in [
        (
            json!({"path": "here", "name": "*.md"}),
            json!([{"path": "here/sub/two.md"}]),
        ),
        (
            json!({"path": "here", "name": "sub/**/*.rs"}),
            json!([{"path": "here/sub/deep/three.rs"}]),
        ),
        (
            json!({"path": "here/sub/", "name": "*.rs"}),
            json!([{"path": "here/sub/deep/three.rs"}]),
        ),
        (
            json!({"path": "here", "text": "^SEC", "ignore_case": true}),
            json!([
                {"path": "here/one.txt", "line": 2, "text": "second"},
                {"path": "here/sub/two.md", "line": 2, "text": "second again"},
            ]),
        ),
        (
            json!({"path": "here", "name": "*.md", "text": "second"}),
            json!([{"path": "here/sub/two.md", "line": 2, "text": "second again"}]),
        ),
        (json!({"path": "here", "text": "P"}), json!([])),
    ] {
        let found = tree.call("search", ask.clone()).await.expect("a search");
        assert_eq!(
            (&found["matches"], found.get("stopped")),
            (&expect, None),
            "{ask}"
        );
    }
    let one = tree
        .call(
            "search",
            json!({"path": "here", "text": "second", "limit": 1}),
        )
        .await
        .expect("a search");
    assert_eq!(one["matches"].as_array().map(Vec::len), Some(1));
    assert!(one["stopped"].is_string(), "{one}");
    for ask in [
        json!({"path": "here"}),
        json!({"path": "here", "name": "["}),
        json!({"path": "here", "text": "("}),
        json!({"path": "here", "text": "(a{1000}){1000}"}),
    ] {
        tree.call("search", ask).await.expect_err("no search");
    }
    tree.world.end().await;
}

#[tokio::test]
async fn a_file_is_created_replaced_and_added_to() {
    let tree = Tree::new(true);
    let write = |mode: &str, content: &str| json!({"path": "here/sub/new.txt", "content": content, "mode": mode});
    let read = || fs::read_to_string(tree.here.join("sub/new.txt")).expect("the file");

    tree.call("write", write("append", "x"))
        .await
        .expect_err("nothing to add to");
    tree.call(
        "write",
        json!({"path": "here/sub/new.txt", "content": "one"}),
    )
    .await
    .expect("created");
    assert_eq!(read(), "one");
    let error = tree
        .call("write", write("create", "two"))
        .await
        .expect_err("it exists");
    assert!(error.contains("`overwrite`"), "{error}");
    fs::set_permissions(
        tree.here.join("sub/new.txt"),
        fs::Permissions::from_mode(0o640),
    )
    .expect("its mode");
    tree.call("write", write("overwrite", "two"))
        .await
        .expect("replaced");
    assert_eq!(read(), "two");
    let mode = fs::metadata(tree.here.join("sub/new.txt"))
        .expect("facts")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    tree.call("write", write("append", " three"))
        .await
        .expect("added");
    assert_eq!(read(), "two three");

    for path in [
        "here/absent/new.txt",
        "here/sub",
        "here",
        "here/",
        "here/sub/.",
        "here/one.txt/new",
    ] {
        let ask = json!({"path": path, "content": "x", "mode": "overwrite"});
        tree.call("write", ask).await.expect_err(path);
    }
    symlink("one.txt", tree.here.join("link")).expect("a link");
    let ask = json!({"path": "here/link", "content": "x", "mode": "overwrite"});
    tree.call("write", ask).await.expect_err("a link");
    let drafts = fs::read_dir(tree.here.join("sub"))
        .expect("a folder")
        .count();
    assert_eq!(drafts, 3, "a draft was left behind");
    tree.world.end().await;
}

#[tokio::test]
async fn writing_is_offered_only_when_allowed() {
    let tree = Tree::new(false);
    assert!(
        !tree
            .world
            .native
            .tools()
            .iter()
            .any(|tool| tool.get().contains(r#""name":"write""#))
    );
    let arguments = serde_json::Map::from_iter([
        ("path".to_owned(), json!("here/new.txt")),
        ("content".to_owned(), json!("x")),
    ]);
    let caller = crate::native::Caller { principal: "alice" };
    tree.world
        .native
        .call("write", arguments, caller)
        .await
        .expect_err("no such tool");
    assert!(!tree.here.join("new.txt").exists());
    tree.world.end().await;
}
