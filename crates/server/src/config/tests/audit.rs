//! How the audit log is kept: what of arguments, for how long, and where its checkpoints go.

use std::time::Duration;

use observe::{AuditorKey, Keep, Keeping};
use policy::Pattern;

use super::*;

#[test]
fn nothing_is_kept_of_arguments_and_everything_for_ever_unless_said() {
    let loaded = place(&[("portcullis.toml", "")], &[]).load().unwrap();
    assert_eq!(*loaded.gateway.keeping, Keeping::default());
    assert_eq!(loaded.upkeep, crate::audit::Upkeep::default());
}

#[test]
fn what_is_kept_of_which_arguments_and_where_checkpoints_go() {
    let key = AuditorKey::generate().unwrap();
    let text = format!(
        "[audit]\narguments = \"redacted\"\nauditor = \"{}\"\ncheckpoints_to = \"elsewhere\"\n\
         retention.keep = \"365d\"\nkeep = [{{ of = [\"pay.*\", \"*.send\"], arguments = \"sealed\" }}]\n",
        key.auditor()
    );
    let place = place(&[("portcullis.toml", &text)], &[]);
    let loaded = place.load().unwrap();
    let of = |text| (Pattern::parse(text).unwrap(), Keep::Sealed);
    let auditor = Some(key.auditor().clone());
    let wanted = Keeping::new(Keep::Redacted, vec![of("pay.*"), of("*.send")], auditor);
    assert_eq!(*loaded.gateway.keeping, wanted);
    let folder = place.folder.path().join("elsewhere");
    assert_eq!(loaded.upkeep.checkpoints_to, Some(folder));
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    assert_eq!(loaded.upkeep.kept_for, Some(year));
}

#[test]
fn sealing_for_nobody_and_keeping_for_no_time_are_mistakes() {
    for (text, key, why) in [
        ("arguments = \"sealed\"", "audit", "nobody is named"),
        (
            "keep = [{ of = [\"a.*\"], arguments = \"sealed\" }]",
            "audit",
            "nobody is named",
        ),
        (
            "auditor = \"auditor+00000000+AAAA\"",
            "audit.auditor",
            "looks like",
        ),
        (
            "keep = [{ of = [\"a\"], arguments = \"digest\" }]",
            "audit.keep.0.of.0",
            "names an upstream but no entry",
        ),
        ("retention.keep = \"1h\"", "audit.retention.keep", "a day"),
        (
            "retention.keep = \"0d\"",
            "audit.retention.keep",
            "in no time",
        ),
    ] {
        let text = format!("[audit]\n{text}\n");
        let invalid = place(&[("portcullis.toml", &text)], &[])
            .load()
            .unwrap_err();
        let told = invalid
            .0
            .iter()
            .any(|trouble| trouble.complaint.key == key && trouble.complaint.reason.contains(why));
        assert!(told, "{text}: {invalid}");
    }
}

#[test]
fn the_same_config_has_the_same_digest_and_another_another() {
    let digest = |text: &str| {
        let place = place(&[("portcullis.toml", text)], &[]);
        place.load().unwrap().digest
    };
    let one = digest("builtins = []\n");
    assert_eq!(one.len(), 64);
    assert_ne!(one, digest("builtins = [\"time\"]\n"));
}
