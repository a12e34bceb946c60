//! What the audit log and telemetry cost: gates that differ in that alone, loaded in turn, round after round.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::child::Part;
use crate::load::{Era, Load};
use crate::report::{Cell, median, percentile};
use crate::run::{Plan, config, start_gate};

/// How long a gate is loaded before it is another's turn.
const TURN: Duration = Duration::from_millis(100);
/// Writes that are timed in each round.
const SYNCS: usize = 50;
/// Between two questions to another thread.
const BETWEEN_TURNS: Duration = Duration::from_millis(1);
/// How much is written each time: about what a commit of one record is.
const SYNC_BYTES: usize = 4096;

/// How a gate is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Setting {
    /// No audit log.
    Off,
    Relaxed,
    Durable,
    /// Durable, and every hundredth call traced.
    Traced,
}

impl Setting {
    const ALL: [Self; 4] = [Self::Off, Self::Relaxed, Self::Durable, Self::Traced];

    /// Its part of the config.
    fn config(self) -> String {
        let audit = match self {
            Self::Off => "danger_off",
            Self::Relaxed => "relaxed",
            Self::Durable | Self::Traced => "durable",
        };
        // Where nobody listens: what is measured is what the gate does, and nobody waits for a receiver.
        let traces = match self {
            Self::Traced => {
                "\n[telemetry.traces]\nendpoint = \"http://127.0.0.1:9\"\nratio = 0.01\n"
            }
            Self::Off | Self::Relaxed | Self::Durable => "",
        };
        format!("\n[audit]\nmode = \"{audit}\"\n{traces}")
    }
}

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Tool {
    /// Marked as read-only: one record.
    Read,
    /// Not so marked: one before, and one after.
    Write,
}

impl Tool {
    const ALL: [Self; 2] = [Self::Read, Self::Write];

    fn name(self) -> &'static str {
        match self {
            Self::Read => "echo",
            Self::Write => "note",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    setting: Setting,
    tool: Tool,
    sessions: usize,
}

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Costs {
    cells: Vec<(Case, Cell)>,
    /// How long it takes until written bytes are on the disk.
    syncs: Vec<Duration>,
    /// How long it takes until another thread that slept has been asked and has answered: that is in every commit.
    turns: Vec<Duration>,
}

/// Loads each gate for so long in all, one after the other for a moment: what disturbs the machine hits all of them.
async fn by_turns(
    gates: &[(Setting, Part, SocketAddr)],
    sessions: usize,
    tool: Tool,
    length: Duration,
) -> Result<Vec<(Setting, Cell)>> {
    let mut order = Vec::new();
    for gate in gates {
        let load = Load::open(gate.2, sessions, Era::Modern, tool.name()).await?;
        let (load, _) = load.run(TURN).await?;
        order.push((gate, load, Cell::default()));
    }
    for _ in 0..length.as_millis().div_ceil(TURN.as_millis()) {
        let mut done = Vec::new();
        for (gate, load, mut cell) in order {
            let (_, part, _) = gate;
            let before = part.cpu()?;
            let (load, sample) = load.run(TURN).await?;
            cell.cpu += part.cpu()?.saturating_sub(before);
            cell.sample.add(sample);
            done.push((gate, load, cell));
        }
        // Whose turn is behind another's finds what that left to be done.
        done.reverse();
        order = done;
    }
    let mut cells = Vec::new();
    for ((setting, ..), load, cell) in order {
        load.close().await?;
        cells.push((*setting, cell));
    }
    Ok(cells)
}

impl Costs {
    /// Measures all settings with one upstream.
    pub(crate) fn measure(
        &mut self,
        gate: &Path,
        folder: &TempDir,
        upstream: SocketAddr,
        plan: &Plan,
    ) -> Result<()> {
        let mut gates = Vec::new();
        for setting in Setting::ALL {
            let name = format!("{setting:?}").to_lowercase();
            let upstream = format!("url = \"http://{upstream}/mcp\"");
            let (part, at) = start_gate(gate, folder, &name, |top| {
                config(folder, &name, top, &upstream, &setting.config())
            })
            .with_context(|| format!("the gate `{name}`"))?;
            gates.push((setting, part, at));
        }
        let runtime = crate::runtime()?;
        for round in 0..plan.cost_rounds {
            println!("    cost, round {} of {}", round + 1, plan.cost_rounds);
            // Whose turn is behind another's finds what that left to be done: the order changes with every round.
            if round % gates.len() == 0 {
                gates.reverse();
            }
            gates.rotate_left(1);
            for sessions in [1, 64] {
                for tool in Tool::ALL {
                    let cells = runtime.block_on(by_turns(&gates, sessions, tool, plan.stretch));
                    let cells = cells.with_context(|| format!("{tool:?}, {sessions} sessions"))?;
                    let of = |(setting, cell)| (Self::case(setting, tool, sessions), cell);
                    self.cells.extend(cells.into_iter().map(of));
                }
            }
            self.sync(folder)?;
            self.turn(&runtime)?;
        }
        Ok(())
    }

    /// Times another thread's answers, asked as seldom as one caller does.
    fn turn(&mut self, runtime: &Runtime) -> Result<()> {
        let (ask, mut asked) = mpsc::channel::<oneshot::Sender<()>>(1);
        let other = std::thread::spawn(move || {
            while let Some(reply) = asked.blocking_recv() {
                if reply.send(()).is_err() {
                    break;
                }
            }
        });
        for _ in 0..SYNCS {
            let taken = runtime.block_on(async {
                tokio::time::sleep(BETWEEN_TURNS).await;
                let before = Instant::now();
                let (reply, replied) = oneshot::channel();
                ask.send(reply).await?;
                replied.await?;
                anyhow::Ok(before.elapsed())
            });
            self.turns.push(taken?);
        }
        drop(ask);
        let ended = other.join();
        ended.map_err(|_panic| anyhow!("the other thread ended in a panic"))
    }

    /// Times the disk that the databases are on.
    fn sync(&mut self, folder: &TempDir) -> Result<()> {
        let mut file = File::create(folder.path().join("sync"))?;
        for _ in 0..SYNCS {
            file.write_all(&[7; SYNC_BYTES])?;
            let before = Instant::now();
            file.sync_data()?;
            self.syncs.push(before.elapsed());
        }
        Ok(())
    }

    fn cells(&self, case: Case) -> impl Iterator<Item = &Cell> {
        self.cells
            .iter()
            .filter(move |(of, _)| *of == case)
            .map(|(_, cell)| cell)
    }

    /// What share of the throughput is lost against another setting, in each round.
    fn losses(&self, case: Case, against: Setting) -> Vec<f64> {
        let other = Case {
            setting: against,
            ..case
        };
        let losses = self
            .cells(case)
            .zip(self.cells(other))
            .map(|(with, without)| 1.0 - with.rate() / without.rate());
        losses.collect()
    }

    /// The median of that.
    fn lost(&self, case: Case, against: Setting) -> f64 {
        median(self.losses(case, against))
    }

    /// Between which two it is, but for one run in twenty: the binomial bounds of a median.
    fn lost_between(&self, case: Case, against: Setting) -> (f64, f64) {
        let mut losses = self.losses(case, against);
        losses.sort_by(f64::total_cmp);
        let count = losses.len();
        // Two standard deviations of how many of so many rounds are below the median.
        let away = count.isqrt();
        let low = (count / 2).saturating_sub(away);
        let high = (count / 2 + away).min(count.saturating_sub(1));
        let at = |place: usize| losses.get(place).copied().unwrap_or(f64::NAN);
        (at(low), at(high))
    }

    /// By how many microseconds the median of a call grows: the median over the rounds.
    fn added(&self, case: Case) -> f64 {
        let off = Case {
            setting: Setting::Off,
            ..case
        };
        let added = self
            .cells(case)
            .zip(self.cells(off))
            .map(|(with, without)| with.p50() - without.p50());
        median(added.collect())
    }

    fn case(setting: Setting, tool: Tool, sessions: usize) -> Case {
        Case {
            setting,
            tool,
            sessions,
        }
    }

    pub(crate) fn figures(&self) -> Value {
        let tools = Tool::ALL.map(|tool| {
            json!({
                "tool": tool,
                "durable_lost": self.lost(Self::case(Setting::Durable, tool, 64), Setting::Off),
                "relaxed_lost": self.lost(Self::case(Setting::Relaxed, tool, 64), Setting::Off),
                "traced_lost": self.lost(Self::case(Setting::Traced, tool, 64), Setting::Durable),
                "durable_added_us": self.added(Self::case(Setting::Durable, tool, 1)),
                "relaxed_added_us": self.added(Self::case(Setting::Relaxed, tool, 1)),
            })
        });
        json!({
            "sync_us": percentile(&self.syncs, 50),
            "turn_us": percentile(&self.turns, 50),
            "tools": tools,
        })
    }

    pub(crate) fn print(&self) {
        if self.cells.is_empty() {
            return;
        }
        println!(
            "\ntool   sessions  setting  calls/s   p50 µs   p99 µs  CPU µs/call     lost  (95 % between)  added p50 µs"
        );
        for tool in Tool::ALL {
            for sessions in [1, 64] {
                for setting in Setting::ALL {
                    let case = Self::case(setting, tool, sessions);
                    let latencies: Vec<Duration> = self
                        .cells(case)
                        .flat_map(|cell| cell.sample.latencies.iter().copied())
                        .collect();
                    let (low, high) = self.lost_between(case, Setting::Off);
                    println!(
                        "{:<6} {sessions:>8}  {:<7} {:>8.0} {:>8.1} {:>8.1} {:>12.1} {:>7.1}% {:>7.1} {:>7.1} {:>13.1}",
                        format!("{tool:?}").to_lowercase(),
                        format!("{setting:?}").to_lowercase(),
                        median(self.cells(case).map(Cell::rate).collect()),
                        percentile(&latencies, 50),
                        percentile(&latencies, 99),
                        median(self.cells(case).map(Cell::cpu_per_call).collect()),
                        100.0 * self.lost(case, Setting::Off),
                        100.0 * low,
                        100.0 * high,
                        self.added(case),
                    );
                }
            }
        }
        println!(
            "4 KiB are on the disk after {:.1} µs (median), {:.1} µs (99 %)",
            percentile(&self.syncs, 50),
            percentile(&self.syncs, 99)
        );
        println!(
            "a thread that sleeps has answered after {:.1} µs (median), {:.1} µs (99 %)",
            percentile(&self.turns, 50),
            percentile(&self.turns, 99)
        );
        for tool in Tool::ALL {
            let case = Self::case(Setting::Traced, tool, 64);
            let (low, high) = self.lost_between(case, Setting::Durable);
            println!(
                "a traced percent of calls ({tool:?}, 64 sessions) costs {:.1} % of throughput ({:.1} to {:.1})",
                100.0 * self.lost(case, Setting::Durable),
                100.0 * low,
                100.0 * high,
            );
        }
    }
}
