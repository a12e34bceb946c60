//! Against a child that is a line of shell.

use std::collections::BTreeMap;

use super::*;
use crate::request::Outgoing;

#[tokio::test]
async fn a_call_does_not_wait_for_more_than_the_broken_answer_it_got() {
    let script = r#"read -r line; echo '{"jsonrpc":"2.0","id":1,"result":{},"error":{}}'; cat"#;
    let spec = Stdio {
        program: "sh".to_owned(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: BTreeMap::new(),
        cwd: None,
    };
    let id = UpstreamId::new("sh").expect("an alias");
    let (connection, driver) = start(&id, &spec, None).expect("a child");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let call = async {
        let exchange = connection.exchange(Outgoing::own(1, "tools/call", "{}".into()));
        let answer = tokio::time::timeout(Duration::from_secs(20), exchange).await;
        drop(stop);
        answer.expect("in time")
    };
    let (answer, _why) = tokio::join!(call, driver.run(async { drop(stopped.await) }));
    assert!(matches!(answer, Err(Error::Protocol(_))), "{answer:?}");
}
