//! Round trips over stdio: one call at a time, one line each way.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::child::die_with_us;
use crate::rpc::LEGACY;

/// A stdio server that has been greeted.
pub(crate) struct Pipe {
    child: Child,
    tool: String,
    to: std::process::ChildStdin,
    from: BufReader<std::process::ChildStdout>,
}

impl Pipe {
    /// Starts the command, shakes hands, finds the tool.
    pub(crate) fn open(command: &mut Command) -> Result<Self> {
        die_with_us(command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let to = child.stdin.take().context("no stdin")?;
        let from = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut pipe = Self {
            child,
            tool: String::new(),
            to,
            from,
        };
        pipe.request(&format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{LEGACY}","capabilities":{{}},"clientInfo":{{"name":"bench","version":"1"}}}}}}"#
        ))?;
        pipe.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)?;
        let listed = pipe.request(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#)?;
        let listed: Value = serde_json::from_str(&listed)?;
        let mut names = listed["result"]["tools"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|tool| tool["name"].as_str());
        pipe.tool = names
            .find(|name| name.ends_with("echo"))
            .context("no tool `echo` on offer")?
            .to_owned();
        Ok(pipe)
    }

    /// How long each of `calls` calls took.
    pub(crate) fn run(&mut self, calls: usize) -> Result<Vec<Duration>> {
        let mark = "hello over a pipe";
        let call = format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{}","arguments":{{"message":"{mark}"}}}}}}"#,
            self.tool
        );
        let mut latencies = Vec::with_capacity(calls);
        for _ in 0..calls {
            let start = Instant::now();
            let answer = self.request(&call)?;
            latencies.push(start.elapsed());
            if !answer.contains(mark) {
                bail!("wrong answer: {answer}");
            }
        }
        Ok(latencies)
    }

    /// Sends a request and reads to its answer, past any notification.
    fn request(&mut self, message: &str) -> Result<String> {
        self.send(message)?;
        loop {
            let mut line = String::new();
            if self.from.read_line(&mut line)? == 0 {
                bail!("the server ended with {:?}", self.child.wait()?.code());
            }
            if line.contains(r#""result""#) || line.contains(r#""error""#) {
                return Ok(line);
            }
        }
    }

    fn send(&mut self, message: &str) -> Result<()> {
        self.to.write_all(format!("{message}\n").as_bytes())?;
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
