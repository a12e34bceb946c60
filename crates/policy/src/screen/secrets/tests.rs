//! What opens something, and what does not.

use super::*;
use crate::screen::{Action, Place, Screen, Settings, Treatment};

/// What is left of a text when secrets are replaced.
fn redacted(text: &str) -> String {
    let settings = Settings {
        results: Treatment {
            secrets: Action::Mend,
            ..Treatment::default()
        },
        ..Settings::default()
    };
    let json = serde_json::to_vec(&[text]).unwrap();
    let screened = Screen::new(settings)
        .screen(Place::Result, &json)
        .unwrap()
        .text;
    let [text]: [String; 1] = serde_json::from_slice(&screened).unwrap();
    text
}

fn check(text: &str, expected: &str) {
    assert_eq!(redacted(text), expected, "{text}");
    // Wherever in a text, whatever line it begins.
    let padded = format!("{}\n{text}\n", "lorem ipsum ".repeat(9));
    assert_eq!(
        redacted(&padded),
        format!("{}\n{expected}\n", "lorem ipsum ".repeat(9))
    );
}

/// So many characters that look random.
fn random(len: usize) -> String {
    "q7Rz2mKx9TbV4nWc8LpD3sFg6HjY1aEu5oZi0XkNtQvBwMyCrS"
        .chars()
        .cycle()
        .take(len)
        .collect()
}

#[test]
fn what_an_issuer_marks_is_known() {
    let upper = random(16).to_uppercase();
    for (secret, kind) in [
        (format!("AKIA{upper}"), "aws_key"),
        (format!("AIza{}", random(35)), "google_key"),
        (format!("ghp_{}", random(36)), "github_token"),
        (format!("github_pat_{}", random(82)), "github_token"),
        (format!("glpat-{}", random(20)), "gitlab_token"),
        (format!("xoxb-123456789012-{}", random(24)), "slack_token"),
        (format!("sk_live_{}", random(24)), "stripe_key"),
        (format!("sk-proj-{}", random(60)), "openai_key"),
        (format!("sk-{}", random(48)), "openai_key"),
        (format!("sk-ant-api03-{}", random(90)), "anthropic_key"),
        (format!("npm_{}", random(36)), "service_token"),
        (format!("hf_{}", random(34)), "service_token"),
        (format!("SG.{}.{}", random(22), random(43)), "service_token"),
    ] {
        check(
            &format!("it is {secret}, keep it"),
            &format!("it is [redacted: {kind}], keep it"),
        );
        check(&secret, &format!("[redacted: {kind}]"));
    }
}

#[test]
fn what_only_looks_a_little_like_it_stays() {
    for text in [
        "AKIA is a prefix, AKIAIOSFODNN7EXAMPLEX is too long",
        "risk-free task-list disk-based-storage-of-some-length-and-more-words",
        "sk-learn, ghp_short, eyJ.x.y",
        "XAKIAIOSFODNN7EXAMPLE",
        "https://example.com/a?b=c@d and user@example.com",
        "postgres://app:${DB_PASSWORD}@db/main",
    ] {
        check(text, text);
    }
}

#[test]
fn tokens_keys_and_urls_go_as_a_whole() {
    let jwt = format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjMifQ.{}", random(43));
    check(&format!("Bearer {jwt}!"), "Bearer [redacted: jwt]!");
    check(
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----\nafter",
        "[redacted: private_key]\nafter",
    );
    check(
        "postgres://app:s3cr/t@db"
            .replace("s3cr/t", "s3cr3t")
            .as_str(),
        "postgres://app:[redacted: url_password]@db",
    );
    check(
        "redis://:p4ss@cache:6379/0",
        "redis://:[redacted: url_password]@cache:6379/0",
    );
}

#[test]
fn a_private_key_that_is_cut_off_is_one_too() {
    assert_eq!(
        redacted("-----BEGIN PRIVATE KEY-----\nMIIEvQ"),
        "[redacted: private_key]"
    );
}

#[test]
fn a_value_beside_a_telling_name_must_look_random() {
    check(
        "api_key = 'q7Rz2mKx9TbV4nWc8L'",
        "api_key = '[redacted: named_secret]'",
    );
    check(
        "DB_PASSWORD=hunter22!",
        "DB_PASSWORD=[redacted: named_secret]",
    );
    check(
        r#"{"client_secret": "q7Rz2mKx9TbV4nWc"}"#,
        r#"{"client_secret": "[redacted: named_secret]"}"#,
    );
    check(
        "<password>hunter22!</password>",
        "<password>[redacted: named_secret]</password>",
    );
    check(
        "Authorization: Bearer q7Rz2mKx9TbV4nWc8L",
        "Authorization: Bearer [redacted: named_secret]",
    );
    for text in [
        "password: required",
        "the token is used up",
        "token = process.env.API_TOKEN",
        "api_key: <your-key-1234567890>",
        "next_page_token=q7Rz2mKx9TbV4nWc8L",
        "token_endpoint: https://as.example.com/v1/token",
        "password = read_password()",
    ] {
        check(text, text);
    }
}

#[test]
fn a_member_with_a_telling_name_is_read_as_one() {
    assert!(is_secret_member(
        "password",
        "correct,horse 7".replace(' ', "-").as_str()
    ));
    assert!(is_secret_member("X-Api-Key", "q7Rz2mKx9TbV4nWc"));
    assert!(!is_secret_member("password", "string"));
    assert!(!is_secret_member("nextPageToken", "q7Rz2mKx9TbV4nWc"));
    assert!(!is_secret_member("id", "q7Rz2mKx9TbV4nWc"));
}

#[test]
fn rows_of_beginnings_cost_what_they_are_long() {
    // Were the work more than the length times a constant, this would not end.
    for word in [
        "sk-",
        "ghp_",
        "glpat-",
        "eyJ",
        "eyJ.",
        "-----BEGIN PRIVATE KEY-----",
        "PRIVATE KEY",
        "://a:",
        "password=",
        "SG.",
        "bearer ",
        "token ",
    ] {
        let _left = redacted(&word.repeat(200_000 / word.len()));
    }
}
