//! What a report says. This is also its JSON form, whose shape stays: members are added, none is renamed or removed, unless
//! [`SHAPE`] grows.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::measures::trail::TAMPER_EVIDENCE;
use super::{Chain, Control, Facts, Framework, Gate, Measure, Status};

/// The version of the JSON form.
const SHAPE: u32 = 1;

/// A report on one framework.
///
/// ```json
/// {
///   "shape": 1,
///   "generated_at": "2026-11-22T15:00:00Z",
///   "product": "portcullis", "version": "0.1.0",
///   "framework": "soc2", "title": "…", "scope": "…",
///   "config_files": ["/etc/portcullis.toml"],
///   "summary": { "controls": 40, "on": 10, "partly": 20, "off": 2, "not_covered": 8 },
///   "sections": [{ "title": "…", "controls": [
///     { "id": "CC6.1", "aim": "…", "status": "partly", "measures": ["tls"],
///       "only_helps": false, "rest": "…" }
///   ] }],
///   "measures": [
///     { "id": "tls", "title": "…", "does": "…", "status": "on", "why": "…", "remedy": null,
///       "config": [{ "key": "listen", "value": "\"127.0.0.1:8080\"", "from": "default" }],
///       "tests": ["crates/…/tests.rs::…"], "queries": ["portcullis …"] }
///   ],
///   "database": null,
///   "database_unread": "why nothing of it is here, or null"
/// }
/// ```
///
/// `status` is `on`, `partly`, `off` or `not_covered`; `database` has the members of [`Facts`].
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// [`SHAPE`].
    pub shape: u32,
    /// When it was made.
    #[serde(serialize_with = "moment")]
    pub generated_at: Timestamp,
    /// What it is about.
    pub product: &'static str,
    /// Of which version.
    pub version: &'static str,
    /// The framework, as on the command line.
    pub framework: &'static str,
    /// Its whole name.
    pub title: &'static str,
    /// What of it is looked at.
    pub scope: &'static str,
    /// The files of the config, lowest first.
    pub config_files: Vec<String>,
    /// In numbers.
    pub summary: Summary,
    /// Every control.
    pub sections: Vec<SectionReport>,
    /// Every measure that serves one of them, in the order in which they are first named.
    pub measures: Vec<MeasureReport>,
    /// What the database says.
    pub database: Option<&'a Facts>,
    /// Why the database says nothing.
    pub database_unread: Option<String>,
}

/// How many controls stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// All.
    pub controls: usize,
    /// [`Status::On`].
    pub on: usize,
    /// [`Status::Partly`].
    pub partly: usize,
    /// [`Status::Off`].
    pub off: usize,
    /// [`Status::NotCovered`].
    pub not_covered: usize,
}

impl Summary {
    /// How many stand like this.
    #[must_use]
    pub const fn of(&self, status: Status) -> usize {
        match status {
            Status::On => self.on,
            Status::Partly => self.partly,
            Status::Off => self.off,
            Status::NotCovered => self.not_covered,
        }
    }
}

/// Controls that belong together.
#[derive(Debug, Serialize)]
pub struct SectionReport {
    /// What they are about.
    pub title: &'static str,
    /// They.
    pub controls: Vec<ControlReport>,
}

/// How a control stands.
#[derive(Debug, Serialize)]
pub struct ControlReport {
    /// Its number in the framework.
    pub id: &'static str,
    /// What it is for, in our words.
    pub aim: &'static str,
    /// How it stands.
    pub status: Status,
    /// By which measures.
    pub measures: Vec<&'static str>,
    /// Whether most of it is for others to do: then it is partly on at best.
    pub only_helps: bool,
    /// What is left to others, or not covered; may be empty.
    pub rest: &'static str,
}

/// How a measure stands, and what shows it.
#[derive(Debug, Serialize)]
pub struct MeasureReport {
    /// Its short name.
    pub id: &'static str,
    /// What it is.
    pub title: &'static str,
    /// What the gate does.
    pub does: &'static str,
    /// How it stands.
    pub status: Status,
    /// Why.
    pub why: String,
    /// What would put it right.
    pub remedy: Option<String>,
    /// The values that decide about it. Keys that nobody set and that have no default are not in it.
    pub config: Vec<ConfigValue>,
    /// Tests that try to break it, as paths in the gate's repository.
    pub tests: Vec<String>,
    /// Command lines that show what became of it.
    pub queries: &'static [&'static str],
}

/// A value of the config.
#[derive(Debug, Serialize)]
pub struct ConfigValue {
    /// Its key.
    pub key: String,
    /// The value, as in TOML; what may be secret is left out.
    pub value: String,
    /// Where it came from.
    pub from: String,
}

impl<'a> Report<'a> {
    /// Judges every control of a framework. `unread` says why there is nothing of the database.
    #[must_use]
    pub fn new(framework: Framework, gate: &Gate<'a>, unread: Option<String>) -> Self {
        let mut measures: Vec<MeasureReport> = Vec::new();
        let mut summary = Summary::default();
        let mut sections = Vec::new();
        for section in framework.sections() {
            let mut controls = Vec::new();
            for control in section.controls {
                let mut statuses = Vec::new();
                for measure in control.by {
                    let known = measures.iter().find(|known| known.id == measure.id);
                    statuses.push(match known {
                        Some(known) => known.status,
                        None => {
                            let judged = MeasureReport::new(measure, gate);
                            let status = judged.status;
                            measures.push(judged);
                            status
                        }
                    });
                }
                let status = match together(&statuses) {
                    Status::On if control.only_helps => Status::Partly,
                    status => status,
                };
                summary.controls += 1;
                *match status {
                    Status::On => &mut summary.on,
                    Status::Partly => &mut summary.partly,
                    Status::Off => &mut summary.off,
                    Status::NotCovered => &mut summary.not_covered,
                } += 1;
                controls.push(ControlReport::new(control, status));
            }
            sections.push(SectionReport {
                title: section.title,
                controls,
            });
        }
        Self {
            shape: SHAPE,
            generated_at: to_the_second(gate.now),
            product: "portcullis",
            version: env!("CARGO_PKG_VERSION"),
            framework: framework.name(),
            title: framework.title(),
            scope: framework.scope(),
            config_files: gate
                .loaded
                .files
                .iter()
                .map(|file| file.display().to_string())
                .collect(),
            summary,
            sections,
            measures,
            database: gate.facts,
            database_unread: unread,
        }
    }

    /// What this gate could do and does not: controls of which all is off. A log that does not hold together is such a
    /// gap too, whatever else is on.
    pub fn gaps(&self) -> impl Iterator<Item = &ControlReport> {
        let is_broken = self
            .database
            .is_some_and(|facts| matches!(facts.chain, Chain::Broken { .. }));
        let controls = self.sections.iter().flat_map(|section| &section.controls);
        controls.filter(move |control| {
            control.status == Status::Off
                || is_broken && control.measures.contains(&TAMPER_EVIDENCE.id)
        })
    }

    /// The measure of this id.
    #[must_use]
    pub fn measure(&self, id: &str) -> Option<&MeasureReport> {
        self.measures.iter().find(|measure| measure.id == id)
    }
}

fn to_the_second(at: SystemTime) -> Timestamp {
    let whole = Timestamp::try_from(at).map(Timestamp::as_second);
    let whole = whole.and_then(Timestamp::from_second);
    whole.unwrap_or_default()
}

/// As RFC 3339 has it.
fn moment<S: Serializer>(at: &Timestamp, into: S) -> Result<S::Ok, S::Error> {
    into.collect_str(at)
}

/// How a control stands whose measures stand so.
pub(super) fn together(measures: &[Status]) -> Status {
    let all = |status| measures.iter().all(|one| *one == status);
    let any = |status| measures.contains(&status);
    if measures.is_empty() || all(Status::NotCovered) {
        Status::NotCovered
    } else if all(Status::On) {
        Status::On
    } else if any(Status::On) || any(Status::Partly) {
        Status::Partly
    } else {
        Status::Off
    }
}

impl ControlReport {
    fn new(control: &Control, status: Status) -> Self {
        Self {
            id: control.id,
            aim: control.aim,
            status,
            measures: control.by.iter().map(|measure| measure.id).collect(),
            only_helps: control.only_helps,
            rest: control.rest,
        }
    }
}

impl MeasureReport {
    fn new(measure: &Measure, gate: &Gate<'_>) -> Self {
        let verdict = (measure.judge)(gate);
        let config = measure.keys.iter().flat_map(|key| gate.values(key));
        Self {
            id: measure.id,
            title: measure.title,
            does: measure.does,
            status: verdict.status,
            why: verdict.why,
            remedy: verdict.remedy,
            config: config
                .map(|one| ConfigValue {
                    key: one.key.clone(),
                    value: one.value.clone(),
                    from: one.origin.to_string(),
                })
                .collect(),
            tests: measure.tests.iter().map(|test| place(test)).collect(),
            queries: measure.queries,
        }
    }
}

/// Where a test is, from the repository's root.
fn place(test: &str) -> String {
    if test.starts_with("cases/") {
        test.to_owned()
    } else {
        format!("crates/{test}")
    }
}
