//! The official JSON-Schema-Test-Suite, through the gate's own schemas as they are configured.
//!
//! What is not required (`optional/`) is not held against us. Schemas that refer to a document which would have to be
//! fetched are refused, as is wanted: they are listed here with what they refer to, so that none hides among them.

use std::fs;

use policy::Schema;
use serde::Deserialize;
use serde_json::Value;
use testkit::fixtures::Peers;

#[derive(Deserialize)]
struct Group {
    description: String,
    schema: Value,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    description: String,
    data: Value,
    valid: bool,
}

/// A schema that is refused: its file, its description, and what it refers to on the suite's own web server.
type Refused = (&'static str, &'static str, &'static str);

/// Runs all required tests of a draft and says how many there were.
fn run(draft: &str, dialect: &str, refused: &[Refused]) -> usize {
    let suite = Peers::locate().and_then(|peers| peers.json_schema_suite());
    let folder = suite.expect("the suite").join("tests").join(draft);
    let mut wrong = Vec::new();
    let mut refused: Vec<&Refused> = refused.iter().collect();
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the draft's folder") {
        let path = entry.expect("an entry").path();
        if !path.is_file() {
            continue;
        }
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let text = fs::read(&path).expect("a file");
        let groups: Vec<Group> = serde_json::from_slice(&text).expect("groups of tests");
        for mut group in groups {
            // Whoever runs the suite says which draft a schema without `$schema` is of.
            if let Some(schema) = group.schema.as_object_mut() {
                schema.entry("$schema").or_insert_with(|| dialect.into());
            }
            let schema = match Schema::compile(&group.schema.to_string()) {
                Ok(schema) => schema,
                Err(error) => {
                    let expected = refused.iter().position(|(file, description, remote)| {
                        *file == name
                            && *description == group.description
                            && error
                                .to_string()
                                .contains(&format!("http://localhost:1234/{remote}"))
                    });
                    match expected {
                        Some(nth) => drop(refused.swap_remove(nth)),
                        None => wrong.push(format!("{name}: {}: {error}", group.description)),
                    }
                    continue;
                }
            };
            for test in group.tests {
                count += 1;
                if schema.check(&test.data).is_empty() != test.valid {
                    wrong.push(format!(
                        "{name}: {}: {}: {:?}",
                        group.description,
                        test.description,
                        schema.check(&test.data)
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused.is_empty(), "not refused: {refused:?}");
    count
}

const REFUSED_2020_12: &[Refused] = &[
    (
        "dynamicRef",
        "$ref and $dynamicAnchor are independent of order - $defs first",
        "draft2020-12/extendible-dynamic-ref.json",
    ),
    (
        "dynamicRef",
        "$ref and $dynamicAnchor are independent of order - $ref first",
        "draft2020-12/extendible-dynamic-ref.json",
    ),
    (
        "dynamicRef",
        "$ref to $dynamicRef finds detached $dynamicAnchor",
        "draft2020-12/detached-dynamicref.json",
    ),
    (
        "dynamicRef",
        "strict-tree schema, guards against misspelled properties",
        "draft2020-12/tree.json",
    ),
    (
        "dynamicRef",
        "tests for implementation dynamic anchor and reference link",
        "draft2020-12/extendible-dynamic-ref.json",
    ),
    (
        "refRemote",
        "$ref to $ref finds detached $anchor",
        "draft2020-12/detached-ref.json",
    ),
    (
        "refRemote",
        "Location-independent identifier in remote ref",
        "draft2020-12/locationIndependentIdentifier.json",
    ),
    (
        "refRemote",
        "anchor within remote ref",
        "draft2020-12/locationIndependentIdentifier.json",
    ),
    (
        "refRemote",
        "base URI change - change folder in subschema",
        "draft2020-12/baseUriChangeFolderInSubschema/folderInteger.json",
    ),
    (
        "refRemote",
        "base URI change - change folder",
        "draft2020-12/baseUriChangeFolder/folderInteger.json",
    ),
    (
        "refRemote",
        "base URI change",
        "draft2020-12/baseUriChange/folderInteger.json",
    ),
    (
        "refRemote",
        "fragment within remote ref",
        "draft2020-12/subSchemas.json",
    ),
    (
        "refRemote",
        "ref within remote ref",
        "draft2020-12/subSchemas.json",
    ),
    (
        "refRemote",
        "remote HTTP ref with different $id",
        "different-id-ref-string.json",
    ),
    (
        "refRemote",
        "remote HTTP ref with different URN $id",
        "urn-ref-string.json",
    ),
    (
        "refRemote",
        "remote HTTP ref with nested absolute ref",
        "nested-absolute-ref-to-string.json",
    ),
    (
        "refRemote",
        "remote ref with ref to defs",
        "draft2020-12/ref-and-defs.json",
    ),
    ("refRemote", "remote ref", "draft2020-12/integer.json"),
    (
        "refRemote",
        "retrieved nested refs resolve relative to their URI not $id",
        "draft2020-12/nested/foo-ref-string.json",
    ),
    (
        "refRemote",
        "root ref in remote ref",
        "draft2020-12/name-defs.json",
    ),
    (
        "vocabulary",
        "ignore unrecognized optional vocabulary",
        "draft2020-12/metaschema-optional-vocabulary.json",
    ),
    (
        "vocabulary",
        "schema that uses custom metaschema with with no validation vocabulary",
        "draft2020-12/metaschema-no-validation.json",
    ),
];

#[test]
fn the_required_tests_of_2020_12_pass() {
    let dialect = "https://json-schema.org/draft/2020-12/schema";
    assert_eq!(run("draft2020-12", dialect, REFUSED_2020_12), 1208);
}

const REFUSED_DRAFT_7: &[Refused] = &[
    (
        "refRemote",
        "$ref to $ref finds location-independent $id",
        "draft7/detached-ref.json",
    ),
    (
        "refRemote",
        "Location-independent identifier in remote ref",
        "draft7/locationIndependentIdentifier.json",
    ),
    (
        "refRemote",
        "base URI change - change folder in subschema",
        "baseUriChangeFolderInSubschema/folderInteger.json",
    ),
    (
        "refRemote",
        "base URI change - change folder",
        "baseUriChangeFolder/folderInteger.json",
    ),
    (
        "refRemote",
        "base URI change",
        "baseUriChange/folderInteger.json",
    ),
    (
        "refRemote",
        "fragment within remote ref",
        "draft7/subSchemas.json",
    ),
    (
        "refRemote",
        "ref within remote ref",
        "draft7/subSchemas.json",
    ),
    (
        "refRemote",
        "remote ref with ref to definitions",
        "draft7/ref-and-definitions.json",
    ),
    ("refRemote", "remote ref", "integer.json"),
    (
        "refRemote",
        "retrieved nested refs resolve relative to their URI not $id",
        "nested/foo-ref-string.json",
    ),
    ("refRemote", "root ref in remote ref", "draft7/name.json"),
];

#[test]
fn the_required_tests_of_draft_7_pass() {
    let dialect = "http://json-schema.org/draft-07/schema#";
    assert_eq!(run("draft7", dialect, REFUSED_DRAFT_7), 890);
}
