//! What is sealed opens for its purpose, here, after every rotation, and nowhere else.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use store::SealedColumn;
use tempfile::TempDir;

use super::secrets::{self, SecretName};
use super::*;

const NOW: SystemTime = UNIX_EPOCH;
/// Ciphertext and tag, and a keyed hash, as another implementation made them.
const SEALED_ELSEWHERE: &str = "2bd3332260ec83b9c05f11d7fea98ef028b1da918d1f7118d1f963";
const HASHED_ELSEWHERE: &str = "2b3b5ea467c562a2d386ff4513ecc8b25e185db253dd71eccd39909b7cc2722b";
const CANARY: &[u8] = b"canary-5f1e-value-that-no-file-may-hold";

fn master(byte: u8) -> MasterKey {
    MasterKey::new([byte; MASTER_KEY_LEN])
}

fn store() -> (TempDir, Store) {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("gate.db")).unwrap();
    (folder, store)
}

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

async fn put(store: &Store, vault: &Vault, text: &str, value: &[u8]) {
    secrets::put(store, vault, &name(text), value, NOW)
        .await
        .unwrap();
}

fn get(store: &Store, vault: &Vault, text: &str) -> Result<String, secrets::SecretError> {
    let row = store.get_secret(text).unwrap().unwrap();
    Ok(secrets::open(vault, &name(text), &row.value)?.to_string())
}

/// The id of the data key that a secret is sealed with.
fn sealed_with(store: &Store, text: &str) -> Vec<u8> {
    store.get_secret(text).unwrap().unwrap().value[..HEAD_LEN].to_vec()
}

#[test]
fn what_was_sealed_opens_for_its_purpose_and_key_alone() {
    let vault = Vault::new(&master(7)).unwrap();
    let sealed = vault.seal("secrets/a/value", b"hunter2").unwrap();
    assert_eq!(
        &**vault.open("secrets/a/value", &sealed).unwrap(),
        b"hunter2"
    );
    assert!(vault.open("secrets/b/value", &sealed).is_err());
    let other = Vault::new(&master(8)).unwrap();
    assert!(other.open("secrets/a/value", &sealed).is_err());
    for at in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        assert!(vault.open("secrets/a/value", &altered).is_err(), "{at}");
        assert!(
            vault.open("secrets/a/value", &sealed[..at]).is_err(),
            "{at}"
        );
    }
}

/// A database of today must open with every version to come: this was sealed outside of this program
/// (HKDF-SHA256 and AES-256-GCM of Python's `cryptography`).
#[test]
fn the_format_is_what_was_written_down() {
    let vault = Vault::new(&master(7)).unwrap();
    let sealed = [
        "01",
        "0000000000000000",
        "000102030405060708090a0b",
        SEALED_ELSEWHERE,
    ]
    .concat();
    let plain = vault.open("secrets/github/value", &bytes(&sealed)).unwrap();
    assert_eq!(&**plain, b"ghp_example");
    assert_eq!(
        vault.hash("keys", b"data").to_vec(),
        bytes(HASHED_ELSEWHERE)
    );
    assert_eq!(vault.seal("x", b"abc").unwrap().len(), 1 + 8 + 12 + 3 + 16);
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |c: u8| u8::try_from(char::from(c).to_digit(16).unwrap()).unwrap();
    hex.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

#[tokio::test]
async fn a_store_opens_again_under_its_master_key_and_no_other() {
    let (_folder, store) = store();
    assert!(matches!(
        Vault::of_store(&store, &master(1)),
        Err(OpenError::Empty)
    ));
    let vault = Vault::found(&store, &master(1), NOW).unwrap();
    put(&store, &vault, "a", b"hunter2").await;

    let again = Vault::found(&store, &master(1), NOW).unwrap();
    assert_eq!(get(&store, &again, "a").unwrap(), "hunter2");
    assert_eq!(vault.hash("p", b"d"), again.hash("p", b"d"));
    assert_ne!(vault.hash("p", b"d"), vault.hash("q", b"d"));
    let other = Vault::found(&store, &master(2), NOW).unwrap_err();
    assert_eq!(
        other.to_string(),
        "this database was sealed under another master key"
    );
    // Nor do two installations with the same master key know each other's values.
    let (_elsewhere, twin) = self::store();
    let twin = Vault::found(&twin, &master(1), NOW).unwrap();
    assert!(get(&store, &twin, "a").is_err());
    assert_ne!(vault.hash("p", b"d"), twin.hash("p", b"d"));
}

#[tokio::test]
async fn a_value_that_was_moved_to_another_row_does_not_open() {
    let (_folder, store) = store();
    let vault = Vault::found(&store, &master(1), NOW).unwrap();
    put(&store, &vault, "cheap", b"a").await;
    put(&store, &vault, "dear", b"b").await;
    let dear = store.get_secret("dear").unwrap().unwrap().value;
    store.put_secret("cheap", dear, NOW).await.unwrap();
    assert!(matches!(
        get(&store, &vault, "cheap"),
        Err(secrets::SecretError::Vault(VaultError::Foreign))
    ));
    assert_eq!(get(&store, &vault, "dear").unwrap(), "b");
}

#[tokio::test]
async fn after_a_rotation_everything_is_sealed_anew_and_hashes_stay() {
    let (_folder, store) = store();
    let vault = Vault::found(&store, &master(1), NOW).unwrap();
    let running = Vault::of_store(&store, &master(1)).unwrap();
    for nth in 0..600 {
        put(&store, &vault, &format!("s{nth}"), b"v").await;
    }
    store.put_secret("broken", vec![9; 64], NOW).await.unwrap();
    let (before, hash) = (sealed_with(&store, "s7"), vault.hash("p", b"d"));

    vault.rotate_data_key(NOW).await.unwrap();
    assert_eq!(
        get(&store, &vault, "s7").unwrap(),
        "v",
        "not yet sealed anew"
    );
    let resealed = vault.reseal(SEALED).await.unwrap();
    assert_eq!((resealed.done, resealed.unreadable), (600, 1));
    assert_ne!(sealed_with(&store, "s7"), before);
    assert_eq!(sealed_with(&store, "s599"), sealed_with(&store, "s0"));
    assert_eq!(vault.hash("p", b"d"), hash);
    assert_eq!(vault.reseal(SEALED).await.unwrap().done, 0);

    // A gate that has run all the while: it opens what it has no key for yet, and seals with the new one from then on.
    assert_eq!(get(&store, &running, "s7").unwrap(), "v");
    put(&store, &running, "late", b"w").await;
    assert_eq!(sealed_with(&store, "late"), sealed_with(&store, "s7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_their_values_all_through_rotations() {
    let (_folder, store) = store();
    let vault = Vault::found(&store, &master(1), NOW).unwrap();
    for nth in 0..40 {
        put(
            &store,
            &vault,
            &format!("s{nth}"),
            format!("v{nth}").as_bytes(),
        )
        .await;
    }
    let over = AtomicBool::new(false);
    let apart = Vault::of_store(&store, &master(1)).unwrap();
    let (reads, ()) = thread::scope(|scope| {
        let reader = |vault: Arc<Vault>| {
            let (store, over) = (&store, &over);
            scope.spawn(move || {
                let mut reads = 0;
                while !over.load(Ordering::Relaxed) {
                    let nth = reads % 40;
                    let value = get(store, &vault, &format!("s{nth}")).unwrap();
                    assert_eq!(value, format!("v{nth}"));
                    reads += 1;
                }
                reads
            })
        };
        let readers = [reader(Arc::clone(&vault)), reader(apart)];
        let rotated = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                for _ in 0..5 {
                    vault.rotate_data_key(NOW).await?;
                    vault.reseal(SEALED).await?;
                }
                Ok::<_, RotationError>(())
            })
        });
        over.store(true, Ordering::Relaxed);
        let reads: usize = readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum();
        (reads, rotated.unwrap())
    });
    assert!(reads > 0);
    assert_eq!(store.list_data_keys().unwrap().len(), 7);
}

#[tokio::test]
async fn another_master_key_takes_over_and_the_old_one_is_done_with() {
    let (_folder, store) = store();
    let vault = Vault::found(&store, &master(1), NOW).unwrap();
    let running = Vault::of_store(&store, &master(1)).unwrap();
    put(&store, &vault, "a", b"hunter2").await;
    vault.rotate_data_key(NOW).await.unwrap();
    let (value, hash) = (
        store.get_secret("a").unwrap().unwrap().value,
        vault.hash("p", b"d"),
    );

    vault.rewrap(&master(2)).await.unwrap();
    assert_eq!(
        store.get_secret("a").unwrap().unwrap().value,
        value,
        "no value is touched"
    );
    assert!(matches!(
        Vault::of_store(&store, &master(1)),
        Err(OpenError::OtherMaster)
    ));
    let again = Vault::of_store(&store, &master(2)).unwrap();
    assert_eq!(get(&store, &again, "a").unwrap(), "hunter2");
    assert_eq!(again.hash("p", b"d"), hash);
    // The one that did it goes on; one that has run on under the old key reads, and makes no key that locks others out.
    vault.rotate_data_key(NOW).await.unwrap();
    assert_eq!(get(&store, &running, "a").unwrap(), "hunter2");
    let refused = running.rotate_data_key(NOW).await;
    assert!(matches!(refused, Err(RotationError::OtherMaster)));
    assert!(Vault::of_store(&store, &master(2)).is_ok());
}

#[tokio::test]
async fn a_vault_in_memory_has_nothing_to_rotate() {
    let vault = Vault::new(&master(1)).unwrap();
    let refused = vault.rotate_data_key(NOW + Duration::from_secs(1)).await;
    assert!(matches!(refused, Err(RotationError::InMemory)));
    assert!(vault.refresh().is_ok());
}

#[tokio::test]
async fn nothing_in_the_files_says_what_was_sealed() {
    let (folder, store) = store();
    let vault = Vault::found(&store, &master(0x5a), NOW).unwrap();
    put(&store, &vault, "a", CANARY).await;
    vault.rotate_data_key(NOW).await.unwrap();
    vault.reseal(SEALED).await.unwrap();
    store.flush().await.unwrap();
    let mut looked = 0;
    for file in fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap().path();
        let held = fs::read(&file).unwrap();
        looked += held.len();
        for secret in [CANARY, &[0x5a; MASTER_KEY_LEN]] {
            for form in forms(secret) {
                let found = held.windows(form.len()).any(|window| window == form);
                assert!(!found, "{} holds {form:?}", file.display());
            }
        }
    }
    assert!(looked > 4096, "the files were looked through");
}

/// A secret as it is and as people and programs write it down.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        secret.to_vec(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
    ];
    // Base64 of it at each of three offsets in something longer; the ends, which depend on what is around, left out.
    for skip in 0..3 {
        for text in [
            STANDARD_NO_PAD.encode(&secret[skip..]),
            URL_SAFE_NO_PAD.encode(&secret[skip..]),
        ] {
            forms.push(text.as_bytes()[..text.len() - 4].to_vec());
        }
    }
    forms
}

#[test]
fn no_debug_form_says_a_key() {
    let (_folder, store) = store();
    let vault = Vault::found(&store, &master(0x5a), NOW).unwrap();
    let said = format!("{vault:?} {:?} {:?}", master(0x5a), vault.kept.is_some());
    assert_eq!(said, "Vault(…) MasterKey(…) true");
}

#[tokio::test]
async fn names_and_values_have_bounds() {
    for bad in ["", "a/b", "a b", "ä", &"x".repeat(129)] {
        let error = SecretName::new(bad).unwrap_err().to_string();
        assert!(bad.is_empty() || !error.contains(bad), "{error}");
    }
    let (_folder, store) = store();
    let vault = Vault::found(&store, &master(1), NOW).unwrap();
    let long = vec![b'x'; secrets::VALUE_BYTES_MAX + 1];
    for (value, is_kept) in [
        (&b""[..], false),
        (b"\xff", false),
        (&long, false),
        (&long[1..], true),
    ] {
        let put = secrets::put(&store, &vault, &name("a"), value, NOW).await;
        assert_eq!(put.is_ok(), is_kept);
    }
}

#[tokio::test]
async fn what_other_rooms_seal_is_sealed_anew_too() {
    let (_folder, store) = store();
    let vault = Vault::found(&store, &master(1), NOW).unwrap();
    let (issuer, whose) = ("https://as.example", "alice");
    let token = crate::outbound::token_purpose(issuer, "docs", whose);
    store
        .put_upstream_token(store::UpstreamTokenRow {
            issuer: issuer.to_owned(),
            upstream: "docs".to_owned(),
            principal: whose.to_owned(),
            sealed: vault.seal(&token, b"token").unwrap(),
            since: NOW,
            is_stale: false,
        })
        .await
        .unwrap();
    let client = crate::outbound::client_purpose(issuer, "docs");
    let sealed = vault.seal(&client, b"client").unwrap();
    store
        .put_upstream_client(issuer, "docs", sealed.clone(), NOW)
        .await
        .unwrap();

    vault.rotate_data_key(NOW).await.unwrap();
    let resealed = vault.reseal(SEALED).await.unwrap();
    assert_eq!((resealed.done, resealed.unreadable), (2, 0));
    let anew = store.get_upstream_client(issuer, "docs").unwrap().unwrap();
    assert_ne!(anew[..HEAD_LEN], sealed[..HEAD_LEN]);
    assert_eq!(&**vault.open(&client, &anew).unwrap(), b"client");
    let anew = store.get_upstream_token("docs", whose).unwrap().unwrap();
    assert_eq!(&**vault.open(&token, &anew.sealed).unwrap(), b"token");
}

#[test]
fn every_sealed_column_is_one_that_exists() {
    let (_folder, store) = store();
    for column in SEALED {
        let SealedColumn { table, .. } = column;
        let found = store.sealed_otherwise(column, &[VERSION], 0, 1);
        assert!(found.is_ok_and(|values| values.is_empty()), "{table}");
    }
}
