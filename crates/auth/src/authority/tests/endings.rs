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

#[tokio::test]
async fn what_ends_while_somebody_answers_ends_the_answer() {
    let ask = async |world: &World| match world.ask(&asking(&[])).await {
        Ok(Asked::Person(question)) => question.request,
        other => panic!("{other:?}"),
    };
    let revoke = async |world: &World, what| {
        let revocations = world.auth.revocations();
        let revoked = revocations.revoke(what, None, "local", "test");
        revoked.await.unwrap();
    };
    let world = World::new();
    let request = ask(&world).await;
    let visitor = world.visitor();
    // The session was looked up; the form is on its way.
    world.pass(20);
    revoke(&world, Revoked::User(&world.alice.id)).await;
    world.pass(5);
    let answer = world.authority().answer(&request, visitor, true).await;
    let code = query(&answer.unwrap())["code"].clone();
    let answer = world.token(&redeeming(&code, &[])).await;
    assert_eq!(refused(answer), "invalid_grant");
    let asked = world.ask(&asking(&[])).await;
    assert!(
        matches!(asked, Ok(Asked::Person(_))),
        "and nothing of it is remembered"
    );

    let request = ask(&world).await;
    revoke(&world, Revoked::Session("s1")).await;
    let answer = world.authority().answer(&request, world.visitor(), true);
    assert!(matches!(answer.await, Err(NoClient::Gone)), "signed out");
}
