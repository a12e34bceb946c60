//! How the gate's config stands against the controls of security frameworks: what is on, and what shows it.
//!
//! A framework's [`Control`]s are tables of our own words in `frameworks`; each names the [`Measure`]s of this gate that
//! serve it. A measure is one thing the gate does: `measures` says how it is judged from a config, and by which keys,
//! tests and audit queries an auditor sees for himself. Whoever builds something new adds its measure there, or gives a
//! measure that is not covered yet another judgement, and names it in the controls that it serves.
//!
//! Nothing is started and nothing is sent: a report says what a gate with this config does. What it does not do is said
//! too. No text of a standard stands here: only the numbers by which its owner finds the place.

mod facts;
mod frameworks;
mod html;
mod markdown;
mod measure;
mod measures;
mod report;

use serde::Serialize;

pub use facts::{Chain, Facts, SinkFact};
pub use frameworks::{Control, Framework, Section};
pub use html::Unwritable;
pub use measure::{Gate, Measure, Verdict};
pub use report::{ConfigValue, ControlReport, MeasureReport, Report, SectionReport, Summary};

/// How a measure, or a control, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All that the gate has for it is on.
    On,
    /// A part of it is on, or it is on with an exception, or the gate can only help with it.
    Partly,
    /// The gate could, and the config says otherwise.
    Off,
    /// The gate has nothing for it.
    NotCovered,
}

impl Status {
    /// In the order of a summary.
    pub const ALL: [Self; 4] = [Self::On, Self::Partly, Self::Off, Self::NotCovered];

    /// For people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Partly => "partly on",
            Self::Off => "off",
            Self::NotCovered => "not covered",
        }
    }
}

#[cfg(test)]
mod tests;
