//! The pack `time`: what time it is, here and elsewhere. Zones come from the database that is built in.

use std::sync::Arc;

use jiff::civil::{self, DateTime};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};
use policy::Clock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Error;
use super::reply::{Failure, input, reply};
use super::tool::{READS, tool};

/// Longest text that is read as a time or a zone.
const TEXT_BYTES_MAX: usize = 128;

#[derive(Debug)]
pub(super) struct Time {
    clock: Arc<dyn Clock>,
    zones: TimeZoneDatabase,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Now {
    /// IANA name of a time zone, such as `Europe/Berlin` or `UTC`. UTC unless said.
    timezone: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Convert {
    /// The time to convert: `2026-03-29T15:30` or `15:30` (today) on the clocks of `from`, or with an offset
    /// of its own, `2026-03-29T15:30:00Z`, in which case `from` says nothing.
    time: String,
    /// IANA name of the zone that `time` is in, such as `America/New_York`.
    from: String,
    /// IANA name of the zone to convert to, such as `Asia/Tokyo`.
    to: String,
}

/// A moment, as the clocks of a zone show it.
#[derive(Serialize, JsonSchema)]
struct Moment {
    /// IANA name of the zone.
    timezone: String,
    /// Date, time and offset, RFC 3339.
    time: String,
    /// Day of the week, in English.
    weekday: String,
    /// The zone's offset from UTC at that moment, such as `+02:00`.
    utc_offset: String,
    /// Whether daylight saving time is in force.
    daylight_saving: bool,
}

#[derive(Serialize, JsonSchema)]
struct Converted {
    /// The moment in the zone it came from.
    from: Moment,
    /// The same moment in the other zone.
    to: Moment,
    /// What was odd about the time that was given: clocks skip or repeat it.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

pub(super) fn tools() -> Vec<Box<RawValue>> {
    vec![
        tool::<Now, Moment>(
            "now",
            "Current time",
            "Tells the current date, time and weekday in a time zone. Call it whenever today's date matters; \
             do not guess it.",
            READS,
        ),
        tool::<Convert, Converted>(
            "convert",
            "Convert between time zones",
            "Converts a time from one IANA time zone to another, daylight saving included.",
            READS,
        ),
    ]
}

impl Time {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            zones: TimeZoneDatabase::bundled(),
        }
    }

    pub(super) fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
    ) -> Result<Box<RawValue>, Error> {
        match tool {
            "now" => Ok(reply(input(arguments).and_then(|now| self.now(&now)))),
            "convert" => Ok(reply(
                input(arguments).and_then(|convert| self.convert(&convert)),
            )),
            _ => Err(Error::UnknownTool(tool.to_owned())),
        }
    }

    fn now(&self, now: &Now) -> Result<Moment, Failure> {
        let zone = self.zone(now.timezone.as_deref().unwrap_or("UTC"))?;
        Ok(moment(&self.timestamp()?.to_zoned(zone)))
    }

    fn convert(&self, convert: &Convert) -> Result<Converted, Failure> {
        let (from, to) = (self.zone(&convert.from)?, self.zone(&convert.to)?);
        let (given, note) = self.read(&convert.time, from)?;
        let there = given.with_time_zone(to);
        Ok(Converted {
            from: moment(&given),
            to: moment(&there),
            note,
        })
    }

    fn timestamp(&self) -> Result<Timestamp, Failure> {
        Timestamp::try_from(self.clock.wall()).map_err(|_beyond| {
            Failure::new("This machine's clock shows no time that a calendar has.")
        })
    }

    fn read(&self, text: &str, zone: TimeZone) -> Result<(Zoned, Option<String>), Failure> {
        let text = text.trim();
        let unread = || {
            Failure::new(
                "`time` cannot be read. Write it as `2026-03-29T15:30`, as `15:30` for today, or with an \
                 offset as `2026-03-29T15:30:00Z`.",
            )
        };
        if text.len() > TEXT_BYTES_MAX {
            return Err(unread());
        }
        if let Ok(timestamp) = text.parse::<Timestamp>() {
            return Ok((timestamp.to_zoned(zone), None));
        }
        let shown: DateTime = match text.parse::<civil::Time>() {
            Ok(time) if !text.contains(['-', 'T', 't', ' ']) => self
                .timestamp()?
                .to_zoned(zone.clone())
                .date()
                .to_datetime(time),
            _ => text.parse().map_err(|_bad| unread())?,
        };
        let ambiguous = zone.to_ambiguous_zoned(shown);
        let note = ambiguous.is_ambiguous().then(|| {
            "The clocks of the zone skip or repeat this time on that day; read as usual: later when \
             skipped, the first of the two when repeated."
                .to_owned()
        });
        let given = ambiguous
            .compatible()
            .map_err(|_beyond| Failure::new("`time` is too far away for a calendar."))?;
        Ok((given, note))
    }

    fn zone(&self, name: &str) -> Result<TimeZone, Failure> {
        let name = name.trim();
        if let Ok(zone) = self.zones.get(name) {
            return Ok(zone);
        }
        let quoted: String = name.chars().take(40).collect();
        let hint = match self.nearest(name) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => "Use an IANA name such as `Europe/Berlin` or `America/New_York`.".to_owned(),
        };
        Err(Failure::new(format!(
            "There is no time zone `{quoted}`. {hint}"
        )))
    }

    /// The zone whose name, or city, has the fewest letters different.
    fn nearest(&self, name: &str) -> Option<String> {
        let wanted = plain(name);
        if wanted.is_empty() || wanted.len() > TEXT_BYTES_MAX {
            return None;
        }
        self.zones
            .available()
            .map(|known| {
                let whole = plain(known.as_str());
                let city = plain(known.as_str().rsplit('/').next().unwrap_or_default());
                let apart = distance(&wanted, &whole).min(distance(&wanted, &city));
                (apart, known.as_str().to_owned())
            })
            .min()
            .filter(|(apart, _)| *apart <= wanted.len().div_ceil(3))
            .map(|(_, known)| known)
    }
}

fn moment(at: &Zoned) -> Moment {
    let info = at.time_zone().to_offset_info(at.timestamp());
    Moment {
        timezone: at.time_zone().iana_name().unwrap_or("UTC").to_owned(),
        time: at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        weekday: at.strftime("%A").to_string(),
        utc_offset: at.strftime("%:z").to_string(),
        daylight_saving: info.dst().is_dst(),
    }
}

fn plain(name: &str) -> Vec<u8> {
    name.bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|byte| byte.to_ascii_lowercase())
        .collect()
}

/// Levenshtein's distance.
fn distance(one: &[u8], two: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in two.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[two.len()]
}
