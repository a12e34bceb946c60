//! Data keys are founded once and wrapped anew all or none; sealed values are found and replaced as they were.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::trial::Home;

fn key(id: u8, kind: DataKeyKind) -> DataKeyRow {
    DataKeyRow {
        id: [id; DATA_KEY_ID_LEN],
        kind,
        wrapped: vec![id; 61],
        created_at: UNIX_EPOCH + Duration::from_secs(id.into()),
    }
}

const SECRETS: SealedColumn = SealedColumn {
    table: "secrets",
    column: "value",
    key: &["name"],
    purpose: |key| format!("secrets/{}/value", key[0]),
};

#[tokio::test]
async fn data_keys_are_founded_once_and_only_one_hashes() {
    for home in Home::both() {
        let store = home.open();
        let (seal, hash) = (key(1, DataKeyKind::Seal), key(2, DataKeyKind::Hash));
        let first = store.found_data_keys(&seal, &hash).unwrap();
        assert_eq!(first, [seal.clone(), hash.clone()]);
        let late = store
            .found_data_keys(&key(3, DataKeyKind::Seal), &key(4, DataKeyKind::Hash))
            .unwrap();
        assert_eq!(late, first);

        let newer = key(5, DataKeyKind::Seal);
        let put = |key: &DataKeyRow, seen: &DataKeyRow| {
            store.put_data_key(key.clone(), seen.wrapped.clone())
        };
        assert!(put(&newer, &hash).await.unwrap());
        assert!(
            !put(&key(6, DataKeyKind::Seal), &hash).await.unwrap(),
            "made by somebody who has not seen the newest"
        );
        assert_eq!(store.list_data_keys().unwrap(), [seal, hash, newer.clone()]);
        let second = put(&key(6, DataKeyKind::Hash), &newer).await;
        assert!(matches!(second, Err(Error::Database(_))));
    }
}

#[tokio::test]
async fn data_keys_are_wrapped_anew_all_or_none() {
    for home in Home::both() {
        let store = home.open();
        let kept = store
            .found_data_keys(&key(1, DataKeyKind::Seal), &key(2, DataKeyKind::Hash))
            .unwrap();
        let anew = |row: &DataKeyRow| Rewrapped {
            id: row.id,
            from: row.wrapped.clone(),
            to: vec![9; 61],
        };
        let all: Vec<Rewrapped> = kept.iter().map(anew).collect();
        // One that was made in between would stay behind under the old master key.
        assert!(!store.rewrap_data_keys(vec![anew(&kept[0])]).await.unwrap());
        let mut altered = all.clone();
        altered[1].from = vec![0];
        assert!(!store.rewrap_data_keys(altered).await.unwrap());
        assert_eq!(store.list_data_keys().unwrap(), kept);

        assert!(store.rewrap_data_keys(all).await.unwrap());
        let wrapped = |row: DataKeyRow| row.wrapped;
        assert!(
            store
                .list_data_keys()
                .unwrap()
                .into_iter()
                .map(wrapped)
                .all(|bytes| bytes == [9; 61])
        );
    }
}

#[tokio::test]
async fn a_secret_keeps_its_birth_and_every_change_is_counted() {
    for home in Home::both() {
        let store = home.open();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let version = || store.secrets_version().unwrap();
        let start = version();
        assert!(store.put_secret("b", vec![1], at(1)).await.unwrap());
        assert!(store.put_secret("a", vec![2], at(2)).await.unwrap());
        assert!(!store.put_secret("b", vec![3], at(3)).await.unwrap());
        assert_eq!(version(), start + 3);

        let b = store.get_secret("b").unwrap().unwrap();
        assert_eq!(
            (b.value, b.created_at, b.updated_at),
            (vec![3], at(1), at(3))
        );
        let names = |rows: Vec<SecretRow>| rows.into_iter().map(|row| row.name).collect::<Vec<_>>();
        assert_eq!(names(store.list_secrets().unwrap()), ["a", "b"]);

        assert!(store.remove_secret("b").await.unwrap());
        assert!(!store.remove_secret("b").await.unwrap());
        assert_eq!(store.get_secret("b").unwrap(), None);
        assert_eq!(version(), start + 4);
    }
}

#[tokio::test]
async fn sealed_values_are_found_by_their_head_and_replaced_only_as_they_were() {
    for home in Home::both() {
        let store = home.open();
        for (name, value) in [("a", [1, 0]), ("b", [2, 0]), ("c", [1, 1])] {
            store
                .put_secret(name, value.to_vec(), UNIX_EPOCH)
                .await
                .unwrap();
        }
        let found = store.sealed_otherwise(&SECRETS, &[2], 0, 9).unwrap();
        let keys: Vec<&str> = found.iter().map(|value| value.key[0].as_str()).collect();
        assert_eq!(keys, ["a", "c"]);
        let page = store.sealed_otherwise(&SECRETS, &[2], 1, 1).unwrap();
        assert_eq!(page[0].key, ["c"]);

        // Set by somebody between our look and our change.
        store.put_secret("c", vec![1, 7], UNIX_EPOCH).await.unwrap();
        let anew = found.into_iter().map(|value| (value, vec![2, 9])).collect();
        assert_eq!(store.replace_sealed(&SECRETS, anew).await.unwrap(), 1);
        assert_eq!(store.get_secret("a").unwrap().unwrap().value, [2, 9]);
        assert_eq!(store.get_secret("c").unwrap().unwrap().value, [1, 7]);
    }
}
