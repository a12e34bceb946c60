//! What ends what a person allowed a client, and what was remembered of it.

use super::*;

#[tokio::test]
async fn whoever_ends_all_or_the_grant_is_asked_again() {
    let world = World::new();
    let asks = async || matches!(world.ask(&asking(&[])).await, Ok(Asked::Person(_)));
    let alice = &world.alice.id;
    let everything = Revoked::User(alice);
    let revocations = world.auth.revocations();
    world.code(&asking(&[])).await;
    assert!(!asks().await);
    world.pass(1);
    revocations
        .revoke(everything, None, "local", "test")
        .await
        .unwrap();
    assert!(asks().await, "as an older consent");

    world.code(&asking(&[])).await;
    assert!(!asks().await);
    let accounts = world.auth.accounts();
    accounts.end_sessions(alice, "test").await.unwrap();
    assert!(asks().await, "as none of the principal's");

    world.code(&asking(&[])).await;
    assert!(!asks().await);
    let store = &world.auth.parts().store;
    for grant in world.authority().grants(Some(alice)).unwrap() {
        let session = (crate::sessions::SessionKind::Grant, &*grant.id);
        let now = world.auth.parts().clock.wall();
        let ended = crate::sessions::end(store, revocations, session, now, "local", "test");
        assert!(ended.await.unwrap());
    }
    assert!(asks().await, "as none of the client's");
}
