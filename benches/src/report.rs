//! From samples to figures, and from figures to a table.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cost::Costs;
use crate::load::{Era, Sample};
use crate::run::Way;

/// One stretch of load through one way.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    pub(crate) sample: Sample,
    /// The CPU time of the process that was talked to.
    pub(crate) cpu: Duration,
}

impl Cell {
    /// Calls per second.
    pub(crate) fn rate(&self) -> f64 {
        float(self.sample.calls) / self.sample.elapsed.as_secs_f64()
    }

    /// Half of the calls took no longer, in microseconds.
    pub(crate) fn p50(&self) -> f64 {
        percentile(&self.sample.latencies, 50)
    }

    /// CPU time of the process that was loaded, in microseconds.
    pub(crate) fn cpu_per_call(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / float(self.sample.calls.max(1))
    }
}

/// What was loaded, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Series {
    pub(crate) way: Way,
    pub(crate) sessions: usize,
    pub(crate) era: Era,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    cells: Vec<(Series, Cell)>,
    pub(crate) costs: Costs,
    pub(crate) pipe_bare: Vec<Duration>,
    pub(crate) pipe_gate: Vec<Duration>,
    pub(crate) gate_rss_idle: Option<u64>,
    pub(crate) gate_rss_loaded: Option<u64>,
}

/// The figures of one series over all rounds.
struct Figures {
    series: Series,
    /// The median over the rounds, which one noisy round does not move.
    calls_per_second: f64,
    p50: f64,
    p99: f64,
    cpu_per_call: f64,
    /// The median over the rounds of calls per second against the proxy's in the same round.
    against_proxy: Option<f64>,
}

impl Report {
    pub(crate) fn add(&mut self, series: Series, cell: Cell) {
        self.cells.push((series, cell));
    }

    fn of(&self, series: Series) -> impl Iterator<Item = &Cell> {
        self.cells
            .iter()
            .filter(move |(of, _)| *of == series)
            .map(|(_, cell)| cell)
    }

    fn rates(&self, series: Series) -> Vec<f64> {
        self.of(series).map(Cell::rate).collect()
    }

    fn all(&self) -> Vec<Figures> {
        let mut figures: Vec<Figures> = Vec::new();
        for (series, _) in &self.cells {
            if !figures.iter().any(|known| known.series == *series) {
                figures.push(self.figures_of(*series));
            }
        }
        figures
    }

    fn figures_of(&self, series: Series) -> Figures {
        let latencies = self
            .of(series)
            .flat_map(|cell| cell.sample.latencies.iter().copied())
            .collect::<Vec<_>>();
        let calls: usize = self.of(series).map(|cell| cell.sample.calls).sum();
        let cpu: Duration = self.of(series).map(|cell| cell.cpu).sum();
        let proxy = self.rates(Series {
            way: Way::Proxy,
            ..series
        });
        let ratios = self
            .rates(series)
            .into_iter()
            .zip(proxy)
            .map(|(ours, proxy)| ours / proxy)
            .collect::<Vec<_>>();
        Figures {
            series,
            calls_per_second: median(self.rates(series)),
            p50: percentile(&latencies, 50),
            p99: percentile(&latencies, 99),
            cpu_per_call: cpu.as_secs_f64() * 1e6 / float(calls.max(1)),
            against_proxy: (series.way == Way::Gate && !ratios.is_empty()).then(|| median(ratios)),
        }
    }

    /// The added p50 of one session, against the proxy in the same round; the median over the rounds.
    fn added(&self, era: Era) -> Option<f64> {
        let p50s = |way| -> Vec<f64> {
            let cells = self.of(Series {
                way,
                sessions: 1,
                era,
            });
            cells.map(Cell::p50).collect()
        };
        let (gate, proxy) = (p50s(Way::Gate), p50s(Way::Proxy));
        let added: Vec<f64> = gate
            .iter()
            .zip(&proxy)
            .map(|(gate, proxy)| gate - proxy)
            .collect();
        (!added.is_empty()).then(|| median(added))
    }

    pub(crate) fn figures(&self) -> Value {
        let rows = self.all().into_iter().map(|f| {
            json!({
                "way": f.series.way, "era": f.series.era, "sessions": f.series.sessions,
                "calls_per_second": f.calls_per_second, "p50_us": f.p50, "p99_us": f.p99,
                "cpu_us_per_call": f.cpu_per_call, "against_proxy": f.against_proxy,
            })
        });
        json!({
            "rows": rows.collect::<Vec<_>>(),
            "added_p50_us": { "legacy": self.added(Era::Legacy), "modern": self.added(Era::Modern) },
            "stdio_p50_us": { "bare": percentile(&self.pipe_bare, 50), "gate": self.pipe_gated() },
            "cost": self.costs.figures(),
            "gate_rss_bytes": { "idle": self.gate_rss_idle, "after_load": self.gate_rss_loaded },
        })
    }

    fn pipe_gated(&self) -> Option<f64> {
        (!self.pipe_gate.is_empty()).then(|| percentile(&self.pipe_gate, 50))
    }

    pub(crate) fn print(&self) {
        println!("\nera     sessions  way      calls/s   p50 µs   p99 µs  CPU µs/call  of proxy");
        for f in self.all() {
            let Series { way, sessions, era } = f.series;
            let (way, era) = (
                format!("{way:?}").to_lowercase(),
                format!("{era:?}").to_lowercase(),
            );
            let ratio = f
                .against_proxy
                .map(|ratio| format!("{ratio:.2}"))
                .unwrap_or_default();
            println!(
                "{era:<7} {sessions:>8}  {way:<6} {:>9.0} {:>8.1} {:>8.1} {:>12.1} {ratio:>9}",
                f.calls_per_second, f.p50, f.p99, f.cpu_per_call
            );
        }
        println!();
        for era in [Era::Legacy, Era::Modern] {
            if let Some(added) = self.added(era) {
                println!("added p50 at one session, {era:?}: {added:.1} µs over the proxy");
            }
        }
        let bare = percentile(&self.pipe_bare, 50);
        match self.pipe_gated() {
            Some(gated) => println!(
                "stdio round trip: {bare:.1} µs bare, {gated:.1} µs gated, {:.1} µs added",
                gated - bare
            ),
            None => println!("stdio round trip: {bare:.1} µs bare"),
        }
        if let (Some(idle), Some(loaded)) = (self.gate_rss_idle, self.gate_rss_loaded) {
            println!(
                "gate's memory: {:.1} MiB idle, {:.1} MiB after the load",
                mebibytes(idle),
                mebibytes(loaded)
            );
        }
        self.costs.print();
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// In microseconds; the nearest rank.
pub(crate) fn percentile(latencies: &[Duration], percent: usize) -> f64 {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted
        .get(rank)
        .map(|latency| latency.as_secs_f64() * 1e6)
        .unwrap_or_default()
}

fn float(count: usize) -> f64 {
    // Counts of one run are far below 2^32.
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn mebibytes(bytes: u64) -> f64 {
    float(usize::try_from(bytes / 1024).unwrap_or(usize::MAX)) / 1024.0
}

#[cfg(test)]
mod tests;
