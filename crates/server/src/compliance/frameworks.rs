//! The frameworks that a report can be about, and which of our measures serve which of their controls.
//!
//! Numbers are the frameworks' own, so that an auditor finds the place; every aim is told in our words and is no
//! substitute for the text. Which measures serve a control is our judgement.

/// A row of a table: number, aim, measures, rest. A function could not take references to statics in a constant.
macro_rules! control {
    ($id:literal, $aim:literal, [$($by:ident),* $(,)?], $rest:literal $(,)?) => {
        Control {
            id: $id,
            aim: $aim,
            by: &[$(&$by),*],
            only_helps: false,
            rest: $rest,
        }
    };
}

/// The same where the gate only helps.
macro_rules! helps {
    ($id:literal, $aim:literal, [$($by:ident),* $(,)?], $rest:literal $(,)?) => {
        Control {
            id: $id,
            aim: $aim,
            by: &[$(&$by),*],
            only_helps: true,
            rest: $rest,
        }
    };
}

mod cosai;
mod gdpr;
mod iso27001;
mod nsa_mcp;
mod soc2;

use clap::ValueEnum;

use super::Measure;

/// A framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Framework {
    /// SOC 2, the Trust Services Criteria.
    #[value(name = "soc2")]
    Soc2,
    /// ISO/IEC 27001:2022, Annex A.
    #[value(name = "iso27001")]
    Iso27001,
    /// The General Data Protection Regulation.
    #[value(name = "gdpr")]
    Gdpr,
    /// The Coalition for Secure AI, MCP Security.
    #[value(name = "cosai")]
    Cosai,
    /// NSA, MCP security design considerations.
    #[value(name = "nsa-mcp")]
    NsaMcp,
}

/// Controls that belong together.
#[derive(Debug)]
pub struct Section {
    /// What they are about.
    pub title: &'static str,
    /// They.
    pub controls: &'static [Control],
}

/// What a framework wants in one place.
#[derive(Debug)]
pub struct Control {
    /// Its number there.
    pub id: &'static str,
    /// What it is for, in our words.
    pub aim: &'static str,
    /// What of ours serves it.
    pub by: &'static [&'static Measure],
    /// Whether most of it is for others to do: then it is partly on at best.
    pub only_helps: bool,
    /// What is left to whoever runs the gate, or is not covered at all. Never empty where nothing of ours serves it, or only helps.
    pub rest: &'static str,
}

impl Framework {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Soc2,
        Self::Iso27001,
        Self::Gdpr,
        Self::Cosai,
        Self::NsaMcp,
    ];

    /// As on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Soc2 => "soc2",
            Self::Iso27001 => "iso27001",
            Self::Gdpr => "gdpr",
            Self::Cosai => "cosai",
            Self::NsaMcp => "nsa-mcp",
        }
    }

    /// Its whole name.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Soc2 => "SOC 2: Trust Services Criteria (2017, points of focus 2022)",
            Self::Iso27001 => "ISO/IEC 27001:2022, Annex A",
            Self::Gdpr => "General Data Protection Regulation (EU) 2016/679",
            Self::Cosai => "CoSAI: MCP Security, threats T1 to T12 (2026)",
            Self::NsaMcp => "NSA: MCP security design considerations (U/OO/6030316-26, 2026)",
        }
    }

    /// What of it is looked at.
    #[must_use]
    pub const fn scope(self) -> &'static str {
        match self {
            Self::Soc2 => {
                "Of the criteria, those on access, operation, change, availability, confidentiality, processing and privacy that a gateway has a part in. The criteria on governance and risk (CC1 to CC5, CC9) are one row: they are an organisation's."
            }
            Self::Iso27001 => {
                "Of Annex A, the organisational (5) and technological (8) controls that a gateway has a part in. Controls on people (6) and places (7) are one row each."
            }
            Self::Gdpr => {
                "Articles that ask for something a gateway can do, and those that are often asked about. Lawful grounds, notices and contracts are the controller's."
            }
            Self::Cosai => "All twelve classes of threats.",
            Self::NsaMcp => "All nine recommendations.",
        }
    }

    /// Its controls.
    #[must_use]
    pub const fn sections(self) -> &'static [Section] {
        match self {
            Self::Soc2 => soc2::SECTIONS,
            Self::Iso27001 => iso27001::SECTIONS,
            Self::Gdpr => gdpr::SECTIONS,
            Self::Cosai => cosai::SECTIONS,
            Self::NsaMcp => nsa_mcp::SECTIONS,
        }
    }
}
