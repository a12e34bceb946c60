//! Rules about single files: headers, forgotten modules, places that only one machine has, change notes.

use super::{File, Findings};

/// Every Rust file opens with a `//!` that says what it is for.
pub(super) fn headers(files: &[File]) -> Findings {
    let rust = files.iter().filter(|file| is_rust(file));
    let bare = rust.filter(|file| !file.text.trim_start().starts_with("//!"));
    bare.map(|file| {
        format!(
            "{}: opens without a `//!` that says what it is for",
            file.path
        )
    })
    .collect()
}

/// A Rust file that no `mod` declares is not compiled, so its tests do not run.
pub(super) fn forgotten(files: &[File]) -> Findings {
    let mut findings = Findings::new();
    for file in files.iter().filter(|file| is_rust(file)) {
        let Some((parents, name)) = declaring(&file.path) else {
            continue;
        };
        let declared = files
            .iter()
            .any(|parent| parents.contains(&parent.path) && declares(&parent.text, name));
        if !declared {
            findings.push(format!(
                "{}: no `mod {name};` declares it, so it is never compiled",
                file.path
            ));
        }
    }
    findings
}

/// Which files may declare the module in `path`, and its name; `None` for a file that cargo finds by itself.
fn declaring(path: &str) -> Option<(Vec<String>, &str)> {
    let (folder, file) = path.rsplit_once('/')?;
    let name = file.strip_suffix(".rs")?;
    let (above, folder_name) = folder.rsplit_once('/').unwrap_or(("", folder));
    let root = matches!(
        folder_name,
        "src" | "tests" | "benches" | "examples" | "bin" | "fuzz_targets"
    );
    match name {
        "lib" | "main" | "build" => None,
        _ if root && folder_name != "src" => None,
        _ if root => Some((
            vec![format!("{folder}/lib.rs"), format!("{folder}/main.rs")],
            name,
        )),
        "mod" => Some((parents_of(above), folder_name)),
        _ => {
            let mut parents = vec![format!("{folder}.rs"), format!("{folder}/mod.rs")];
            parents.push(format!("{folder}/main.rs"));
            Some((parents, name))
        }
    }
}

fn parents_of(folder: &str) -> Vec<String> {
    ["lib.rs", "main.rs", "mod.rs"]
        .iter()
        .map(|file| format!("{folder}/{file}"))
        .chain([format!("{folder}.rs")])
        .collect()
}

fn declares(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        let Some(head) = line.trim().strip_suffix(&format!("mod {name};")) else {
            return false;
        };
        head.is_empty() || head.starts_with("pub")
    })
}

/// What exists on one machine only: homes and build places, and package registries by host.
// In two halves, so that this file does not find itself.
const PLACES: &[(&str, &str)] = &[
    ("/ro", "ot/"),
    ("/wo", "rk/"),
    ("/tmp/bash", "_jobs"),
    ("registry.np", "mjs.org"),
    ("files.python", "hosted.org"),
    ("pypi.or", "g/simple"),
    ("static.crat", "es.io"),
    ("index.crat", "es.io"),
];

pub(super) fn places(files: &[File]) -> Findings {
    let mut findings = Findings::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            for (first, second) in PLACES {
                let place = format!("{first}{second}");
                if standing_alone(line, &place) {
                    findings.push(format!(
                        "{}:{}: names `{place}`, which only some machines have",
                        file.path,
                        number + 1
                    ));
                }
            }
        }
    }
    findings
}

/// Whether `place` occurs, and not as the tail of a longer path such as `net` + `work/`.
fn standing_alone(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        !before
            .is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | '~' | '$'))
    })
}

/// A change note says something.
pub(super) fn changes(files: &[File]) -> Findings {
    let notes = files
        .iter()
        .filter(|file| file.path.starts_with("CHANGES/"));
    notes
        .filter(|note| note.text.trim().is_empty())
        .map(|note| format!("{}: says nothing", note.path))
        .collect()
}

/// A decision that its folder's list does not name is found by nobody.
pub(super) fn unlisted(files: &[File]) -> Findings {
    const FOLDER: &str = "docs/decisions/";
    const LIST: &str = "README.md";
    let inside = |file: &'_ File| file.path.strip_prefix(FOLDER).map(str::to_owned);
    let list = files
        .iter()
        .find(|file| inside(file).as_deref() == Some(LIST));
    let list = list.map_or("", |list| &list.text);
    let decisions = files.iter().filter_map(inside);
    decisions
        .filter(|name| name != LIST && !list.contains(&format!("({name})")))
        .map(|name| format!("{FOLDER}{name}: {FOLDER}{LIST} does not list it"))
        .collect()
}

fn is_rust(file: &File) -> bool {
    file.path
        .rsplit_once('.')
        .is_some_and(|(_, ending)| ending == "rs")
}
