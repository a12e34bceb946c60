//! What a client hears while its call takes long.

use parking_lot::Mutex;
use policy::screen::{Screen, Settings, Treatment};
use tokio::sync::oneshot;
use upstream::Ask;
use wire::Outcome;

use super::*;

/// Looks for nothing.
fn off() -> Screen {
    Screen::new(Settings {
        results: Treatment::default(),
        ..Settings::default()
    })
}

fn report(progress: &str) -> Notice {
    let params = format!("{{\"progressToken\":\"t\",\"progress\":{progress}}}");
    Notice::new(notification::PROGRESS, params.into())
}

#[test]
fn progress_grows_with_each_beat_under_the_clients_token() {
    let mut pulse = Pulse::new("\"t\"".to_owned());
    let told: Vec<Notice> = (0..3).filter_map(|_| pulse.beat()).collect();
    assert_eq!(told, ["0.000001", "0.000002", "0.000003"].map(report));
    pulse.beats = BEATS_MAX - 1;
    assert_eq!(pulse.beat(), Some(report("0.999999")));
    assert_eq!(pulse.beat(), None);
}

#[test]
fn an_upstream_that_reports_itself_ends_the_heartbeat_for_good() {
    let mut pulse = Pulse::new("1".to_owned());
    assert!(pulse.lets_pass(&report("0")));
    assert_eq!(pulse.beat(), None);
    assert!(pulse.lets_pass(&report("0.5")));
}

#[test]
fn what_would_not_grow_is_not_told() {
    let mut pulse = Pulse::new("1".to_owned());
    for _ in 0..20 {
        assert!(pulse.beat().is_some());
    }
    assert!(!pulse.lets_pass(&report("0")));
    assert!(!pulse.lets_pass(&report("0.000020")));
    assert!(pulse.lets_pass(&report("0.000021")));
    assert_eq!(pulse.beat(), None);
    // What is no progress is none of our business.
    assert!(pulse.lets_pass(&Notice::new("notifications/message", "{}".into())));
}

#[tokio::test]
async fn a_silent_call_is_told_of_until_it_ends() {
    let (client, mut door) = mpsc::channel(4);
    let (screen, found) = (off(), Mutex::default());
    let sieve = Sieve::new(&screen, &found);
    let every = Some(Duration::from_millis(1));
    let (events, heartbeat) = between(every, Some("7".to_owned()), Some(&client), sieve);
    let events = events.unwrap();
    let (finish, finished) = oneshot::channel();
    let call = pin!(async move {
        finished.await.unwrap();
        events.send(Event::Told(report("3"))).await.unwrap();
        "answer"
    });
    let watcher = async {
        for beat in 1..=2 {
            let Some(Event::Told(notice)) = door.recv().await else {
                panic!("no beat");
            };
            assert_eq!(
                notice.params,
                format!("{{\"progressToken\":7,\"progress\":0.00000{beat}}}")
            );
        }
        finish.send(()).unwrap();
        // There may be more beats before the end; the last word is the upstream's.
        let mut last = None;
        while let Some(Event::Told(notice)) = door.recv().await {
            let is_theirs = notice == report("3");
            last = Some(notice);
            if is_theirs {
                break;
            }
        }
        last
    };
    let (answer, last) = tokio::join!(over(heartbeat, call), watcher);
    assert_eq!((answer, last), ("answer", Some(report("3"))));
}

#[tokio::test]
async fn a_question_waits_for_a_client_that_has_much_to_read() {
    let (client, mut door) = mpsc::channel(1);
    let (screen, found) = (off(), Mutex::default());
    let sieve = Sieve::new(&screen, &found);
    client.try_send(Event::Told(report("1"))).unwrap();
    let every = Some(Duration::from_secs(60));
    let (events, heartbeat) = between(every, Some("7".to_owned()), Some(&client), sieve);
    let events = events.unwrap();
    let call = pin!(async move {
        let (ask, answer) = Ask::new("roots/list", "{}".into());
        events.send(Event::Asked(ask)).await.unwrap();
        answer.await.unwrap()
    });
    let reader = async {
        assert!(matches!(door.recv().await, Some(Event::Told(_))));
        let Some(Event::Asked(ask)) = door.recv().await else {
            panic!("no question");
        };
        ask.answer(Outcome::Result("{}".into()));
    };
    let (answer, ()) = tokio::join!(over(heartbeat, call), reader);
    assert_eq!(answer, Outcome::Result(Bytes::from("{}")));
}

#[test]
fn who_gave_no_token_hears_nothing_of_ours() {
    let (client, _door) = mpsc::channel(1);
    let (screen, found) = (off(), Mutex::default());
    let sieve = Sieve::new(&screen, &found);
    let (events, heartbeat) = between(Some(Duration::from_secs(1)), None, Some(&client), sieve);
    assert!(heartbeat.is_none());
    // Straight to the door.
    assert!(events.unwrap().same_channel(&client));
    assert!(
        between(None, Some("1".into()), Some(&client), sieve)
            .1
            .is_none()
    );
}

#[tokio::test]
async fn what_is_told_on_the_way_is_screened() {
    let (client, mut door) = mpsc::channel(4);
    let (screen, found) = (Screen::default(), Mutex::default());
    let (events, heartbeat) = between(None, None, Some(&client), Sieve::new(&screen, &found));
    let events = events.unwrap();
    let call = pin!(async move {
        let said = Notice::new("notifications/message", r#"{"data":"a\u202eb"}"#.into());
        events.send(Event::Told(said)).await.unwrap();
        "answer"
    });
    assert_eq!(over(heartbeat, call).await, "answer");
    let Some(Event::Told(notice)) = door.recv().await else {
        panic!("nothing was told");
    };
    assert_eq!(notice.params, r#"{"data":"ab"}"#);
    assert_eq!(found.lock().to_string(), "bidi:1");
}
