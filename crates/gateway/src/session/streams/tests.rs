//! Readers and writers of kept streams: what is resumed, what is lost, what is bounded.

use super::*;

const NOW: Instant = Instant(Duration::from_secs(1000));

fn streams() -> Arc<Streams> {
    Streams::new(Arc::default()).expect("random bytes")
}

/// What a reader has at once: ids and data.
fn read(reader: &mut Reader) -> Vec<(String, String)> {
    let Taken::Events(bytes) = reader.take() else {
        return Vec::new();
    };
    let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let field = |event: &str, name: &str| {
        let mut lines = event.lines();
        let found = lines.find_map(|line| line.strip_prefix(name));
        found.unwrap_or_default().trim_start().to_owned()
    };
    text.split_terminator("\n\n")
        .map(|event| (field(event, "id:"), field(event, "data:")))
        .collect()
}

fn data(reader: &mut Reader) -> Vec<String> {
    read(reader).into_iter().map(|(_, data)| data).collect()
}

fn is_over(reader: &mut Reader) -> bool {
    matches!(reader.take(), Taken::Over)
}

#[test]
fn whoever_comes_back_gets_the_rest_of_that_stream_and_then_its_end() {
    let streams = streams();
    let (one, mut reader) = streams.open();
    let (other, _other_reader) = streams.open();
    one.prime();
    one.tell("a".into());
    other.tell("x".into());
    let seen = read(&mut reader);
    assert_eq!(seen.len(), 2);
    drop(reader);
    one.insist("b".into());
    let mut reader = streams.resume(&seen[0].0, NOW).expect("kept");
    assert_eq!(data(&mut reader), ["a", "b"]);
    let mut reader = streams.resume(&seen[1].0, NOW).expect("kept");
    assert_eq!(data(&mut reader), ["b"]);
    assert!(!is_over(&mut reader));
    other.tell("y".into());
    one.end("c".into(), NOW);
    assert_eq!(data(&mut reader), ["c"]);
    assert!(is_over(&mut reader));
    let mut late = streams.resume(&seen[1].0, NOW).expect("kept after its end");
    assert_eq!(data(&mut late), ["b", "c"]);
}

#[test]
fn only_the_newest_reader_is_told() {
    let streams = streams();
    let (writer, mut old) = streams.open();
    writer.tell("a".into());
    let (id, _) = read(&mut old).remove(0);
    let mut new = streams.resume(&id, NOW).expect("kept");
    writer.tell("b".into());
    assert!(is_over(&mut old));
    drop(old);
    assert_eq!(data(&mut new), ["b"]);
    assert!(streams.is_read());
    drop(new);
    assert!(!streams.is_read());
}

#[test]
fn an_id_that_was_not_given_out_here_resumes_nothing() {
    let (mine, theirs) = (streams(), streams());
    let (writer, mut reader) = mine.open();
    writer.tell("a".into());
    let (_writer, _reader) = theirs.open();
    let (id, _) = read(&mut reader).remove(0);
    assert!(theirs.resume(&id, NOW).is_none());
    let (stream, _) = id.rsplit_once('-').expect("an event number");
    for id in ["", "1-0", "-1-0", "x-1-0", &format!("{stream}-1"), stream] {
        assert!(mine.resume(id, NOW).is_none(), "{id}");
    }
    assert!(mine.resume(&id, NOW).is_some());
}

#[test]
fn a_client_that_does_not_read_loses_notifications_only() {
    let streams = streams();
    let (writer, reader) = streams.open();
    drop(reader);
    writer.prime();
    writer.insist("question".into());
    for number in 0..10 * EVENTS_MAX {
        writer.tell(number.to_string().into());
    }
    let large = "x".repeat(STREAM_BYTES_MAX / 2);
    for _ in 0..10 {
        writer.tell(large.clone().into());
    }
    assert!(streams.kept.lock().bytes <= STREAM_BYTES_MAX);
    writer.end("answer".into(), NOW);
    let id = format!("{}-1-0", streams.name);
    let mut reader = streams.resume(&id, NOW).expect("kept");
    let mut rest = Vec::new();
    loop {
        let more = data(&mut reader);
        if more.is_empty() {
            break;
        }
        rest.extend(more);
    }
    assert_eq!(rest.first().map(String::as_str), Some("question"));
    assert_eq!(rest.last().map(String::as_str), Some("answer"));
    assert!(rest.len() <= EVENTS_MAX + 1, "{}", rest.len());
}

#[test]
fn what_is_kept_of_a_session_has_bounds_and_the_oldest_goes_first() {
    let streams = streams();
    let half = "x".repeat(SESSION_BYTES_MAX / 2);
    for _ in 0..4 {
        let (writer, _gone) = streams.open();
        writer.end(half.clone().into(), NOW);
    }
    let id = |stream: u64| format!("{}-{stream}-0", streams.name);
    let kept = |stream| streams.resume(&id(stream), NOW).is_some();
    assert_eq!([1, 2, 3, 4].map(kept), [false, false, true, true]);
    for _ in 0..2 * STREAMS_MAX {
        let (writer, _gone) = streams.open();
        writer.end("small".into(), NOW);
    }
    assert_eq!(streams.kept.lock().streams.len(), STREAMS_MAX);
    assert!(streams.kept.lock().bytes < SESSION_BYTES_MAX / 2);
}

#[test]
fn what_is_being_read_is_not_taken_away() {
    let streams = streams();
    let (writer, mut reader) = streams.open();
    writer.end("x".repeat(2 * SESSION_BYTES_MAX).into(), NOW);
    let (other, _reader) = streams.open();
    other.end("y".into(), NOW);
    assert_eq!(data(&mut reader)[0].len(), 2 * SESSION_BYTES_MAX);
    drop(reader);
    assert!(streams.kept.lock().bytes <= SESSION_BYTES_MAX);
}

#[test]
fn all_sessions_together_have_a_bound_too() {
    let budget = Arc::<Budget>::default();
    let half = Bytes::from("x".repeat(SESSION_BYTES_MAX / 2));
    let full = 2 * ALL_BYTES_MAX / SESSION_BYTES_MAX;
    let all: Vec<Arc<Streams>> = (0..full + 8)
        .map(|_| {
            let streams = Streams::new(Arc::clone(&budget)).expect("random bytes");
            let (writer, _gone) = streams.open();
            writer.end(half.clone(), NOW);
            streams
        })
        .collect();
    assert_eq!(budget.bytes.load(Ordering::Relaxed), ALL_BYTES_MAX);
    drop(all);
    assert_eq!(budget.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn an_ended_stream_is_kept_for_a_while() {
    let streams = streams();
    let (writer, reader) = streams.open();
    drop(reader);
    writer.tell("a".into());
    let id = format!("{}-1-0", streams.name);
    // Not while it is open, however long that takes.
    assert!(streams.resume(&id, NOW + 2 * KEPT_FOR).is_some());
    writer.end("b".into(), NOW + 3 * KEPT_FOR);
    let almost = NOW + (4 * KEPT_FOR - Duration::from_millis(1));
    assert!(streams.resume(&id, almost).is_some());
    assert!(streams.resume(&id, NOW + 4 * KEPT_FOR).is_none());
    assert_eq!(streams.kept.lock().bytes, 0);
}

#[test]
fn a_writer_that_is_cut_off_keeps_nobody_waiting() {
    let streams = streams();
    let (writer, mut reader) = streams.open();
    writer.tell("a".into());
    drop(writer);
    assert!(is_over(&mut reader));
    assert_eq!(streams.kept.lock().bytes, 0);
}

#[test]
fn what_came_on_the_standing_stream_while_nobody_read_is_told_once() {
    let streams = streams();
    let (mut reader, is_new) = streams.stand();
    assert!(is_new);
    streams.tell("a".into());
    assert_eq!(data(&mut reader), ["a"]);
    drop(reader);
    for message in ["b", "c", "b", "b"] {
        streams.tell(message.into());
    }
    let (mut reader, is_new) = streams.stand();
    assert!(!is_new);
    let seen = read(&mut reader);
    assert_eq!(seen[0].1, "b");
    assert_eq!(seen.len(), 2);
    streams.tell("b".into());
    assert_eq!(data(&mut reader), ["b"]);
    // Lost on the way: who names the last it has gets it again.
    let mut again = streams.resume(&seen[0].0, NOW).expect("kept");
    assert_eq!(data(&mut again), ["c", "b"]);
}

#[tokio::test]
async fn a_reader_waits_for_the_next_message_and_for_the_end() {
    let streams = streams();
    let (writer, mut reader) = streams.open();
    let read = async {
        let mut all = Vec::new();
        while let Some(chunk) = reader.next().await {
            all.extend_from_slice(&chunk);
        }
        String::from_utf8(all).expect("text")
    };
    let write = async {
        // The reader waits before there is anything, and again before there is the rest.
        tokio::task::yield_now().await;
        writer.tell("a".into());
        tokio::task::yield_now().await;
        writer.end("b".into(), NOW);
    };
    let (all, ()) = tokio::join!(read, write);
    let places = ["data: a\n", "data: b\n"].map(|line| all.find(line));
    assert!(places[0].is_some() && places[0] < places[1], "{all}");
}
