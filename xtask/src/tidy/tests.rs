//! Each rule is shown a tree that breaks it, and one that does not.

use super::arrows::{Dependency, Package};
use super::{File, Findings, arrows, crates, files, logs, pages};

fn file(path: &str, text: &str) -> File {
    File {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

fn package(name: &str, rooms: &[&str]) -> Package {
    let dependencies = rooms.iter().map(|room| Dependency {
        name: (*room).to_owned(),
        path: Some("here".to_owned()),
    });
    Package {
        name: name.to_owned(),
        dependencies: dependencies.collect(),
    }
}

fn arrow(from: &str, to: &str) -> usize {
    arrows::judge(&[package(from, &[to])]).len()
}

#[test]
fn an_arrow_points_down_and_may_skip_floors() {
    assert_eq!(arrow("server", "gateway"), 0);
    assert_eq!(arrow("gateway", "wire"), 0);
    assert_eq!(arrow("gateway", "server"), 1);
    assert_eq!(arrow("wire", "policy"), 1);
}

#[test]
fn rooms_on_one_floor_do_not_meet() {
    assert_eq!(arrow("auth", "observe"), 1);
    assert_eq!(arrow("policy", "net"), 1);
}

#[test]
fn the_harness_sees_everything_and_is_seen_by_xtask_alone() {
    assert_eq!(arrow("testkit", "server"), 0);
    assert_eq!(arrow("xtask", "testkit"), 0);
    assert_eq!(arrow("server", "testkit"), 1);
    assert_eq!(arrow("bench", "wire"), 1);
}

#[test]
fn a_room_on_no_floor_is_a_finding_and_an_outside_crate_is_none() {
    assert_eq!(arrows::judge(&[package("utils", &[])]).len(), 1);
    let mut wire = package("wire", &[]);
    wire.dependencies.push(Dependency {
        name: "serde".to_owned(),
        path: None,
    });
    assert_eq!(arrows::judge(&[wire]), Findings::new());
}

#[test]
fn a_rust_file_opens_with_what_it_is_for() {
    let tree = [
        file("a/src/lib.rs", "//! Good.\n"),
        file("a/src/b.rs", "use std;\n"),
        file("README.md", "# x"),
    ];
    assert_eq!(files::headers(&tree).len(), 1);
}

#[test]
fn a_module_that_nobody_declares_is_found() {
    let tree = [
        file("a/src/lib.rs", "mod b;\n#[cfg(test)]\nmod tests;\n"),
        file("a/src/b.rs", "pub(crate) mod c;\n// mod d;\n"),
        file("a/src/b/c.rs", ""),
        file("a/src/b/d.rs", ""),
        file("a/src/tests.rs", ""),
        file("a/src/bin/tool.rs", ""),
        file("a/tests/whole.rs", "mod part;"),
        file("a/tests/whole/part.rs", ""),
        file("a/tests/whole/lost.rs", ""),
    ];
    let found = files::forgotten(&tree);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("a/src/b/d.rs") && found[1].starts_with("a/tests/whole/lost.rs"),
        "{found:?}"
    );
}

#[test]
fn a_place_that_one_machine_has_is_found_but_not_inside_a_word() {
    let home = concat!("cd /ro", "ot/x");
    let tree = [
        file("a.md", home),
        file("b.md", concat!("target/frame/ro", "ot/x")),
        file("c.md", "fine"),
    ];
    assert_eq!(files::places(&tree).len(), 1);
}

#[test]
fn a_decision_that_is_not_listed_is_found() {
    let list = file("docs/decisions/README.md", "1. [One](0001-one.md)");
    let one = file("docs/decisions/0001-one.md", "# 1. One");
    let two = file("docs/decisions/0002-two.md", "# 2. Two");
    assert_eq!(
        files::unlisted(&[list, one, two]),
        ["docs/decisions/0002-two.md: docs/decisions/README.md does not list it"]
    );
}

#[test]
fn an_empty_change_note_is_found() {
    assert_eq!(
        files::changes(&[file("CHANGES/1.md", " \n"), file("CHANGES/2.md", "New.")]).len(),
        1
    );
}

#[test]
fn a_licence_needs_one_permitted_choice_in_every_part() {
    let fine = "0a v1|MIT OR LGPL-2.1\n1b v1|(MIT OR GPL-3.0) AND ISC (*)\n1c v1|MIT/Apache-2.0\n";
    assert_eq!(crates::judge(fine), Findings::new());
    assert_eq!(
        crates::judge("0a v1|GPL-3.0\n1b v1|MIT AND GPL-3.0\n1c v1|\n").len(),
        3
    );
}

#[test]
fn a_banned_crate_is_found_unless_its_wrapper_brings_it() {
    assert_eq!(
        crates::judge("0a v1|MIT\n1sharded-slab v1|MIT\n2lazy_static v1|MIT\n"),
        Findings::new()
    );
    assert_eq!(
        crates::judge("0a v1|MIT\n1sharded-slab v1|MIT\n1lazy_static v1|MIT\n").len(),
        1
    );
    assert_eq!(crates::judge("0a v1|MIT\n1ring v1|MIT\n").len(), 1);
}

#[test]
fn a_page_that_is_stale_missing_or_not_generated_is_found() {
    let pages = |list: &[(&str, &str)]| {
        list.iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    };
    let committed = pages(&[("same.md", "x"), ("stale.md", "old"), ("lost.md", "x")]);
    let generated = pages(&[("same.md", "x"), ("stale.md", "new"), ("missing.md", "x")]);
    let found = pages::judge(&committed, &generated);
    let names: Vec<_> = found
        .iter()
        .filter_map(|finding| finding.split(':').next())
        .collect();
    assert_eq!(names, ["missing.md", "stale.md", "lost.md"]);
}

#[test]
fn log_events_are_found_with_level_target_message_and_fields() {
    let text = r#"
        fn one() {
            tokio::select! {
                () = stop => tracing::warn!(upstream = %self.id(), why, ?took, "it went {}", "away"),
            }
            info!(target: "call", principal.id, "a | b");
        }
        #[cfg(test)]
        mod tests { fn t() { error!("not this one"); } }
        #[cfg(test)]
        mod elsewhere;
        fn two() { debug!("after"); }
    "#;
    let event = |target: &str, level, message: &str, fields: &[&str]| logs::Event {
        target: target.to_owned(),
        level,
        message: message.to_owned(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
    };
    let expected = [
        event("net::link", 1, "it went {}", &["upstream", "why", "took"]),
        event("call", 2, "a | b", &["principal.id"]),
        event("net::link", 3, "after", &[]),
    ];
    assert_eq!(logs::events("net::link", text).unwrap(), expected);
    let page = logs::page(&[file("crates/net/src/link.rs", text)]).unwrap();
    assert!(
        page.contains("| info | a \\| b | `principal.id` |"),
        "{page}"
    );
}

#[test]
fn an_event_that_hides_a_member_of_its_line_or_says_nothing_is_refused() {
    for bad in [
        "fn a() { warn!(level = 1, \"x\"); }",
        "fn a() { warn!(%target, \"x\"); }",
        "fn a() { warn!(x); }",
    ] {
        assert!(logs::events("net", bad).is_err(), "{bad}");
    }
}

#[test]
fn only_what_ships_is_searched_for_log_events() {
    let module = |path| logs::module(path);
    assert_eq!(
        module("crates/net/src/link.rs").as_deref(),
        Some("net::link")
    );
    assert_eq!(module("crates/net/src/lib.rs").as_deref(), Some("net"));
    assert_eq!(
        module("crates/server/src/cli/mod.rs").as_deref(),
        Some("server::cli")
    );
    for none in [
        "crates/testkit/src/world.rs",
        "crates/net/src/link/tests.rs",
        "crates/auth/src/tokens/tests/world.rs",
        "crates/net/tests/it/main.rs",
        "benches/src/main.rs",
    ] {
        assert_eq!(module(none), None, "{none}");
    }
}
