//! The sinks of the audit log at work: a task for each that the config names, and no other.
//!
//! What a sink does is `observe`'s. A reload leaves those alone whose settings are the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gateway::Gate;
use observe::health::{Component, Dependency, Task, Tasks};
use observe::sinks::{Around, Sink, SinkSettings, Source};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::audit;

/// How long until the log's name is asked for again, when the database does not know it.
const AGAIN: Duration = Duration::from_secs(5);

/// The sinks of one gate.
#[derive(Debug)]
pub(crate) struct Sinks {
    tasks: Tasks,
    gate: Arc<Gate>,
    running: Mutex<BTreeMap<String, Running>>,
}

/// One that runs, until its token is cancelled.
#[derive(Debug)]
struct Running {
    settings: watch::Sender<SinkSettings>,
    stop: CancellationToken,
}

impl Sinks {
    /// None yet.
    pub(crate) fn new(tasks: &Tasks, gate: &Arc<Gate>) -> Self {
        Self {
            tasks: tasks.clone(),
            gate: Arc::clone(gate),
            running: Mutex::default(),
        }
    }

    /// From now on there are these. Needs a runtime.
    pub(crate) fn set(&self, wanted: &[SinkSettings]) {
        let mut running = self.running.lock();
        running.retain(|name, one| {
            let stays = wanted.iter().any(|settings| settings.name == *name);
            if !stays {
                one.stop.cancel();
            }
            stays
        });
        for settings in wanted {
            match running.get(&settings.name) {
                Some(one) => {
                    one.settings.send_if_modified(|current| {
                        let is_other = current != settings;
                        if is_other {
                            *current = settings.clone();
                        }
                        is_other
                    });
                }
                None => {
                    running.insert(settings.name.clone(), self.start(settings));
                }
            }
        }
    }

    fn start(&self, settings: &SinkSettings) -> Running {
        let (sender, receiver) = watch::channel(settings.clone());
        let stop = CancellationToken::new();
        let gate = Arc::downgrade(&self.gate);
        let run = move |stop| {
            let (gate, receiver) = (gate.clone(), receiver.clone());
            async move {
                // Gone: then nothing more is recorded.
                if let Some(gate) = gate.upgrade() {
                    keep(&gate, receiver, &stop).await;
                }
            }
        };
        let name = &settings.name;
        self.tasks.supervise_of(Task::Sink, name, stop.clone(), run);
        Running {
            settings: sender,
            stop,
        }
    }
}

/// Runs one sink until it is told to stop, each time with the settings that hold.
async fn keep(gate: &Gate, mut settings: watch::Receiver<SinkSettings>, stop: &CancellationToken) {
    let name = settings.borrow().name.clone();
    let component = gate.components().new_dependency_of(Dependency::Sink, &name);
    if let Some(around) = around(gate, &component, stop).await {
        while !stop.is_cancelled() {
            let now = settings.borrow_and_update().clone();
            let until = stop.child_token();
            let sink = Sink::new(now, around.clone(), component.clone());
            let mut run = Box::pin(sink.run(&until));
            tokio::select! {
                () = &mut run => {}
                _ = settings.changed() => {
                    until.cancel();
                    run.await;
                }
            }
        }
    }
    // Only now: with other settings it is the same sink, and goes on counting.
    gate.metrics().audit_sink_gone(&name);
    component.forget();
}

/// What sinks need; `None` if the gate ended before it was there.
async fn around(gate: &Gate, component: &Component, stop: &CancellationToken) -> Option<Around> {
    let parts = gate.auth().parts();
    let log = loop {
        let key = audit::key(&parts.store, &parts.vault, parts.clock.wall()).await;
        match key {
            Ok(key) => break key.verifier().name().to_owned(),
            Err(error) => component.down(&error),
        }
        stop.run_until_cancelled(sleep(AGAIN)).await?;
    };
    let host = nix::unistd::gethostname().ok();
    let source = Source {
        log,
        version: env!("CARGO_PKG_VERSION"),
        host: host.and_then(|host| host.into_string().ok()),
    };
    Some(Around {
        store: parts.store.clone(),
        client: parts.client.clone(),
        clock: Arc::clone(&parts.clock),
        metrics: gate.metrics().clone(),
        source: Arc::new(source),
    })
}
