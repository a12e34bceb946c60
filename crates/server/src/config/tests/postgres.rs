//! Where what is durable is kept: a file unless said, a PostgreSQL if said well.

use crate::database::Door;

use super::*;

fn store(config: &str, environment: &[(&str, &str)]) -> Loaded {
    place(&[("portcullis.toml", config)], environment)
        .load()
        .unwrap()
}

#[test]
fn a_database_is_a_file_unless_a_postgres_is_named() {
    let loaded = store("data_dir = \"data\"", &[]);
    assert!(loaded.postgres.is_none());
    assert!(
        loaded
            .database()
            .to_string()
            .ends_with("data/portcullis.db")
    );
    let config =
        "[store]\npostgres = \"postgres://gate@db.example.com/live\"\npassword = { env = \"DB\" }";
    let loaded = store(config, &[("DB", "hunter2")]);
    assert_eq!(
        loaded.database().to_string(),
        "postgres://db.example.com:5432/live"
    );
    let told = format!("{loaded:?} {}", loaded.database());
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn another_machine_is_spoken_to_under_tls_and_this_one_as_it_is() {
    let encrypted = |config: &str| {
        let door = store(config, &[]).postgres.unwrap().door;
        match door {
            Door::Port(service) => Some(service.encrypted),
            Door::Socket(_) => None,
        }
    };
    let at = |host: &str| format!("store.postgres = \"postgres://gate@{host}/live\"");
    assert_eq!(encrypted(&at("db.example.com")), Some(true));
    assert_eq!(encrypted(&at("10.0.0.1:6000")), Some(true));
    assert_eq!(encrypted(&at("localhost")), Some(false));
    assert_eq!(encrypted(&at("[::1]")), Some(false));
    assert_eq!(encrypted(&at("%2Frun%2Fpostgresql")), None);
    let plain = [&at("db.example.com"), "\nstore.danger_plaintext = true"].concat();
    assert_eq!(encrypted(&plain), Some(false));
}

#[test]
fn what_would_not_work_or_not_be_safe_is_told() {
    let hint = "write for example \"postgres://gate@db.example.com/portcullis\"";
    for (config, complaint) in [
        (
            "store.postgres = \"postgres://gate:hunter2@db/live\"",
            "store.postgres: has a password in it; take it out, and write password = { env = \"…\" } beside it".to_owned(),
        ),
        (
            "store.postgres = \"mysql://gate@db/live\"",
            format!("store.postgres: is neither `postgres` nor `postgresql`; {hint}"),
        ),
        (
            "store.postgres = \"postgres://gate@db\"",
            format!("store.postgres: has no user, no host or no database; {hint}"),
        ),
        (
            "store.postgres = \"postgres://gate@db/live?sslmode=disable\"",
            format!("store.postgres: has more than user, host, port and database; {hint}"),
        ),
        (
            "store.ca = \"ca.pem\"",
            format!("store.ca: goes with `postgres` alone; {hint}"),
        ),
        (
            "store = { postgres = \"postgres://gate@db/live\", password = { secret = \"db\" } }",
            "store.password: cannot stand in the database that it opens; use { env = \"NAME\" } or { file = \"PATH\" }".to_owned(),
        ),
    ] {
        check(config, &format!("1: {complaint}"));
    }
}

#[test]
fn a_password_that_stands_in_an_address_is_not_shown() {
    let table: toml::Table = toml::from_str(
        "store.postgres = \"postgres://gate:hunter2@db.example.com/d\"\n\
         telemetry.traces.endpoint = \"https://gate:hunter2@traces.example.com/?key=hunter2\"\n\
         alerts.receivers.a.webhook = \"https://gate:hunter2@chat.example.com\"\n",
    )
    .unwrap();
    let layer = Layer {
        table,
        ..Default::default()
    };
    let all = show::shown(&layer);
    assert_eq!(all.len(), 3, "{all:?}");
    for one in all {
        assert!(!one.value.contains("hunter2"), "{one:?}");
    }
}
