//! Without a Redis. What is true with one is tested in `testkit`, which starts one.

use super::*;

/// Nobody there.
#[derive(Debug)]
struct Nowhere;

impl Dial for Nowhere {
    fn dial(&self) -> Later<'_, io::Result<Box<dyn Carrier>>> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }
}

fn redis(fail: Fail) -> Redis {
    let settings = RedisSettings {
        login: Login {
            user: Some("gate".to_owned()),
            password: Some(Zeroizing::new("hunter2".to_owned())),
            database: 0,
        },
        prefix: "t:".to_owned(),
        fail,
        timeout: Duration::from_millis(100),
    };
    Redis::new(Arc::new(Nowhere), settings)
}

fn take(redis: &Redis, key: &str) -> Result<(), TakeError> {
    let takes = [Take {
        key,
        interval: 1_000_000.try_into().unwrap(),
        max: 2.try_into().unwrap(),
        cost: 1.try_into().unwrap(),
    }];
    match redis.take(&takes, Duration::ZERO) {
        Taking::Done(outcome) => outcome,
        Taking::Asked(_) => panic!("nobody can be asked"),
    }
}

#[test]
fn without_redis_a_gate_counts_by_itself_at_once_and_says_so() {
    let redis = redis(Fail::Local);
    assert_eq!(take(&redis, "a"), Ok(()));
    assert_eq!(take(&redis, "a"), Ok(()));
    assert!(matches!(
        take(&redis, "a"),
        Err(TakeError::Full { at: 0, .. })
    ));
    let status = redis.status();
    assert!(!status.is_up);
    assert_eq!(status.without, 3);
}

#[test]
fn closed_lets_nothing_through_without_redis() {
    assert_eq!(take(&redis(Fail::Closed), "a"), Err(TakeError::Unavailable));
}

#[test]
fn the_password_is_not_shown() {
    let shown = format!("{:?}", redis(Fail::Local));
    assert!(
        shown.contains("gate") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[tokio::test]
async fn why_there_is_no_redis_is_known_and_stopping_is_prompt() {
    let redis = redis(Fail::Local);
    let stop = CancellationToken::new();
    let looked = async {
        while redis.status().last_error.is_none() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    timeout(Duration::from_secs(10), async {
        tokio::join!(redis.keep(&stop), looked)
    })
    .await
    .unwrap();
    let told = redis.status().last_error.unwrap();
    assert!(told.starts_with("cannot connect"), "{told}");
}
