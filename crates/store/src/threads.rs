//! The threads that write, and when the system is to run them.

use std::thread::{Builder, JoinHandle};

use tracing::debug;

use crate::Error;

/// Starts a thread that writes what others hand to it.
///
/// Where all processors are busy, who is woken takes the place of who runs; for one that writes that is the wrong moment:
/// what runs has more for it soon, and a write costs as much for one record as for thirty. So it waits for its turn. Where
/// a processor is free, it is run at once as any other.
pub(crate) fn start<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    let run = || {
        await_turn();
        run()
    };
    let builder = Builder::new().name(name.to_owned());
    builder.spawn(run).map_err(Error::Thread)
}

/// Has the thread that calls be a batch's, with the same share as before (sched(7)).
#[cfg(target_os = "linux")]
fn await_turn() {
    let none = libc::sched_param { sched_priority: 0 };
    #[expect(unsafe_code, reason = "nothing else says it to the system")]
    // SAFETY: it reads `none`, and changes how the thread is run and nothing else. 0 is the thread that calls.
    let refused = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const none) } != 0;
    if refused {
        let error = std::io::Error::last_os_error();
        debug!(%error, "a thread that writes takes the place of others");
    }
}

#[cfg(not(target_os = "linux"))]
fn await_turn() {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The 41st field of `/proc/PID/stat`, which is the 39th behind the name (proc(5)).
    #[cfg(target_os = "linux")]
    #[test]
    fn who_writes_takes_nobodys_place() {
        let policy = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, fields) = stat.rsplit_once(") ").unwrap();
            let policy = fields.split(' ').nth(38).unwrap();
            policy.parse::<i32>().unwrap()
        };
        let own = policy();
        let thread = start("a-writer", policy).unwrap();
        assert_eq!(thread.join().unwrap(), libc::SCHED_BATCH);
        assert_eq!(policy(), own);
        assert_ne!(own, libc::SCHED_BATCH);
    }
}
