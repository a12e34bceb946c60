//! The threads that write, and when the system is to run them.

use std::thread::{Builder, JoinHandle};

use tracing::debug;

use crate::Error;

/// Starts a thread that writes what others hand to it.
pub(crate) fn start<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    let builder = Builder::new().name(name.to_owned());
    builder.spawn(run).map_err(Error::Thread)
}

/// When the system is to run a thread that is woken while all processors are busy. Where one is free, it does at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// In the place of who runs, as the system sees fit.
    Any,
    /// When it has its turn: what runs may have more for it soon, and a write costs as much for one record as for thirty.
    Own,
}

/// Says it of the thread that calls; its share stays as it was (sched(7)).
#[cfg(target_os = "linux")]
pub(crate) fn run_at(turn: Turn) {
    let policy = match turn {
        Turn::Any => libc::SCHED_OTHER,
        Turn::Own => libc::SCHED_BATCH,
    };
    let none = libc::sched_param { sched_priority: 0 };
    #[expect(unsafe_code, reason = "nothing else says it to the system")]
    // SAFETY: it reads `none`, and changes how the thread is run and nothing else. 0 is the thread that calls.
    let refused = unsafe { libc::sched_setscheduler(0, policy, &raw const none) } != 0;
    if refused {
        let error = std::io::Error::last_os_error();
        debug!(%error, ?turn, "a thread that writes is run as it was");
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn run_at(_: Turn) {}

#[cfg(test)]
#[cfg(target_os = "linux")]
pub(crate) mod tests {
    use super::*;

    /// Of the thread that calls: the 41st field of `/proc/PID/stat`, which is the 39th behind the name (proc(5)).
    pub(crate) fn policy() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(38).unwrap().parse().unwrap()
    }

    #[test]
    fn who_waits_for_its_turn_is_a_batchs_and_the_others_are_not() {
        let own = policy();
        let run = || {
            [Turn::Own, Turn::Any].map(|turn| {
                run_at(turn);
                policy()
            })
        };
        let thread = start("a-writer", run).unwrap();
        assert_eq!(
            thread.join().unwrap(),
            [libc::SCHED_BATCH, libc::SCHED_OTHER]
        );
        assert_eq!(policy(), own);
    }
}
