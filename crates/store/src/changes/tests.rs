//! What others commit is noticed; what does not concern us moves nothing.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::trial::Home;
use crate::{KeyHashKind, KeyRow, RevocationRow};

#[tokio::test]
async fn a_change_of_another_process_is_noticed_and_a_use_of_a_key_is_none() {
    for home in Home::both() {
        let (ours, theirs) = (home.open(), home.open());
        let mut changes = ours.changes().unwrap();
        let first = changes.counts().unwrap();
        assert_eq!(changes.counts().unwrap(), first);

        let key = KeyRow {
            id: "a".to_owned(),
            principal: "alice".to_owned(),
            roles: Vec::new(),
            scopes: None,
            hash: [7; 32],
            hash_kind: KeyHashKind::Keyed,
            created_at: UNIX_EPOCH,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            rotated_from: None,
            note: String::new(),
        };
        theirs.put_key(key).await.unwrap();
        let second = changes.counts().unwrap();
        assert_eq!(second.keys, first.keys + 1);

        let at = UNIX_EPOCH + Duration::from_secs(5);
        theirs
            .note_key_uses(vec![("a".to_owned(), at)])
            .await
            .unwrap();
        assert_eq!(changes.counts().unwrap(), second);

        let row = RevocationRow {
            kind: "grant".to_owned(),
            issuer: String::new(),
            id: "g".to_owned(),
            revoked_at: at,
            until: None,
            by: "alice".to_owned(),
            reason: String::new(),
        };
        ours.put_revocation(row).await.unwrap();
        assert_eq!(
            changes.counts().unwrap(),
            Counts {
                revocations: second.revocations + 1,
                ..second
            }
        );
    }
}
