//! What the system says of this process, read when somebody asks.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeVal;

use super::cell::number;
use super::sample::Samples;
use super::table::Metric;

/// What `/proc/self/status` counts in.
const KIB: f64 = 1024.0;
/// What `/proc/self/stat` counts in: parts of a second, which are as many on every machine that we build for.
const TICKS: f64 = 100.0;
/// Where it has the time at which the process began, counted from what stands behind its name.
const START_AT: usize = 19;

/// Adds what can be had; what cannot is left out.
pub(super) fn sample(samples: &mut Samples) {
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let spent = time(usage.user_time()) + time(usage.system_time());
        samples.set(Metric::ProcessCpu, &[], spent.as_secs_f64());
    }
    if let Ok((soft, _hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        samples.set(Metric::ProcessFdsMax, &[], number(soft));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder's own.
        samples.count(Metric::ProcessFds, &[], open.count().saturating_sub(1));
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rows = [
        ("VmRSS:", Metric::ProcessResident, KIB),
        ("VmSize:", Metric::ProcessVirtual, KIB),
        ("Threads:", Metric::ProcessThreads, 1.0),
    ];
    for (key, metric, unit) in rows {
        let found = status.lines().find_map(|line| line.strip_prefix(key));
        let found = found.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        if let Some(value) = found {
            samples.set(metric, &[], value * unit);
        }
    }
    if let Some(began) = began() {
        samples.set(Metric::ProcessStart, &[], began);
    }
}

/// When this process began, in seconds since 1970.
fn began() -> Option<f64> {
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let booted = machine.lines().find_map(|line| line.strip_prefix("btime "));
    let own = fs::read_to_string("/proc/self/stat").ok()?;
    // The name may have anything in it, brackets too.
    let (_, rest) = own.rsplit_once(')')?;
    let after: f64 = rest.split_whitespace().nth(START_AT)?.parse().ok()?;
    Some(booted?.trim().parse::<f64>().ok()? + after / TICKS)
}

fn time(value: TimeVal) -> Duration {
    let seconds = u64::try_from(value.tv_sec()).unwrap_or_default();
    let micros = u64::try_from(value.tv_usec()).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}
