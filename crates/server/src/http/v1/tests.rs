//! The two tables agree, and what a path says is read as it was meant.

use std::collections::BTreeSet;

use super::super::routes::{ROUTES, Target};
use super::*;

#[test]
fn every_verb_of_every_route_here_has_an_operation_and_no_operation_is_without_a_route() {
    let routed: BTreeSet<(&str, &str)> = ROUTES
        .iter()
        .filter(|route| route.target == Target::Admin)
        .flat_map(|route| route.methods.iter().map(|verb| (route.path, verb.as_str())))
        .collect();
    let offered: BTreeSet<(&str, &str)> = OPERATIONS
        .iter()
        .map(|one| (one.path, one.method.as_str()))
        .collect();
    assert_eq!(routed, offered);
}

#[test]
fn the_document_refers_to_nothing_that_it_lacks() {
    let document = openapi::document();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let reference = reference.split('"').next().unwrap();
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    assert_eq!(document["paths"].as_object().unwrap().len(), 21);
    let create = &document["paths"]["/v1/keys"]["post"]["requestBody"]["content"];
    assert!(create["application/json"]["schema"]["$ref"].is_string());
}

#[test]
fn a_segment_is_decoded_once() {
    let id = |path| open_segment("/v1/sessions/{id}", path);
    assert_eq!(id("/v1/sessions/grant:ab").as_deref(), Some("grant:ab"));
    assert_eq!(id("/v1/sessions/grant%3Aab").as_deref(), Some("grant:ab"));
    assert_eq!(id("/v1/sessions/%2541").as_deref(), Some("%41"));
    for none in ["%", "%4", "%zz", "%ff"] {
        let path = ["/v1/sessions/", none].concat();
        assert_eq!(open_segment("/v1/sessions/{id}", &path), None, "{none}");
    }
    assert_eq!(open_segment("/v1/keys", "/v1/keys").as_deref(), Some(""));
}

#[test]
fn a_page_goes_on_where_the_last_one_ended_and_has_bounds() {
    let list = || (1..=5).map(|n| n.to_string()).collect::<Vec<_>>();
    let page = |query| shape::page(list(), query, Clone::clone);
    let first = page("limit=2").unwrap();
    assert_eq!(
        (first.items, first.next.as_deref()),
        (vec!["1".to_owned(), "2".to_owned()], Some("2"))
    );
    let last = page("limit=3&after=2").unwrap();
    assert_eq!((last.items.len(), last.next), (3, None));
    for bad in ["limit=0", "limit=1001", "limit=x", "after=9", "page=2"] {
        assert!(page(bad).is_err(), "{bad}");
    }
}
