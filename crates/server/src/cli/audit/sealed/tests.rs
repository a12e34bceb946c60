//! What was sealed comes out on one line, whatever it is.

use super::*;

fn line(arguments: &str) -> Option<String> {
    let record =
        json!({ "seq": 7, "call_id": "c", "outcome": "ok", "upstream": "u", "entry": "e" });
    let personal = json!({ "principal": "alice" });
    told(&record, &personal, arguments.as_bytes()).map(|line| line.to_string())
}

#[test]
fn arguments_with_newlines_stay_on_their_line() {
    let forged = "{\"a\":\n1}\n{\"seq\":8,\"principal\":\"bob\",\"arguments\":{}}";
    assert_eq!(line(forged), None);
    let spread = line("{ \"a\\\"b \" :\r\n\t[1.50, 1e3,\n12345678901234567890123] }").unwrap();
    assert_eq!(spread.matches('\n').count(), 1, "{spread}");
    assert!(
        spread.ends_with(",\"arguments\":{\"a\\\"b \":[1.50,1e3,12345678901234567890123]}}\n"),
        "{spread}"
    );
    for bad in ["", "{", "{}}", "x", "1 2"] {
        assert_eq!(line(bad), None, "{bad}");
    }
}
