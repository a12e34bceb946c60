//! A call and what its upstream wants to know on the way, between any two eras.
//!
//! | client | upstream | what the upstream asks |
//! |---|---|---|
//! | legacy | legacy | goes to the client as a request of its own; see the door |
//! | legacy | modern | an *input required* becomes such requests, their answers another try |
//! | modern | modern | an *input required* is passed on, its state sealed |
//! | modern | legacy | the call is parked, the client gets *input required*, its retry brings the answers |
//!
//! State that a client carries is bound to its principal, to the call it belongs to, and to a time; a parked call can
//! be taken up once. Source: MCP 2026-07-28, "Multi Round-Trip Requests".

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use policy::{Instant, PrincipalId};
use serde::{Deserialize, Serialize};
use store::audit::text::hex;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use upstream::{Ask, Event, Events, Input, Link, Notice, Reply};
use wire::method::{ask, notification};
use wire::{Abilities, Era, Outcome, Span, Splice, code, json};

use crate::Rejection;
use crate::results::{self, Results};
use crate::seal::Seal;
use crate::tasks::{self, Tasks};

/// How long a client may take to come back with its answers.
const STATE_MAX: Duration = Duration::from_secs(10 * 60);
/// Calls that wait for their client to come back: all of them, and those of one principal.
const PARKED_MAX: usize = 1024;
const PARKED_OF_ONE_MAX: usize = 64;
/// How often one call may ask for input.
const ROUNDS_MAX: usize = 16;
/// How long an upstream that asked one thing may take to ask the next along with it.
const GATHER: Duration = Duration::from_millis(100);
/// What one call may ask at once.
const ASKS_MAX: usize = 64;
/// Events of a call that may be parked.
const EVENTS_MAX: usize = 64;

const PURPOSE: &str = "requestState";
pub(crate) const INPUT_REQUIRED: &str = "input_required";

type Answer = Result<Reply, Rejection>;

/// What a client may come back for: calls that wait for it, the seal on what it carries meanwhile, and results too
/// long to be told at once.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) results: Results,
    pub(crate) seal: Seal,
    parked: Mutex<HashMap<String, Parked>>,
    pub(crate) tasks: Arc<Tasks>,
}

/// A call that its upstream does not go on with before it has its answers.
#[derive(Debug)]
struct Parked {
    flight: Flight,
    asks: Vec<(String, Ask)>,
    principal: PrincipalId,
    until: Instant,
}

/// A call under way whose events come here first.
struct Flight {
    answer: Pin<Box<dyn Future<Output = Answer> + Send>>,
    events: mpsc::Receiver<Event>,
}

impl std::fmt::Debug for Flight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flight").finish_non_exhaustive()
    }
}

/// What stands in a `requestState`.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    principal: String,
    /// Milliseconds on this gate's clock.
    until: u64,
    /// Which call it belongs to.
    call: String,
    what: What,
}

#[derive(Debug, Serialize, Deserialize)]
enum What {
    /// A call parked here under that name.
    Parked(String),
    /// A modern upstream's own state.
    Theirs(String),
}

/// One call, as far as an exchange needs to know it.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    pub(crate) link: &'a Arc<Link>,
    pub(crate) request: upstream::Request,
    pub(crate) principal: &'a PrincipalId,
    /// The era of the client.
    pub(crate) era: Era,
    /// What it calls the entry.
    pub(crate) key: &'a str,
    pub(crate) events: Option<&'a Events>,
    /// Who cancels a task that the call comes to and nobody waits for any more; `None` if the client gets the task.
    pub(crate) carrier: Option<TaskTracker>,
    pub(crate) now: Instant,
}

impl Desk {
    pub(crate) fn new(seal: Seal, tasks: Tasks) -> Self {
        Self {
            results: Results::new(results::BYTES_MAX),
            seal,
            parked: Mutex::default(),
            tasks: Arc::new(tasks),
        }
    }

    /// How many calls wait for their client to come back.
    pub(crate) fn parked(&self) -> usize {
        self.parked.lock().len()
    }

    /// Gives up what no client came back for.
    pub(crate) fn sweep(&self, now: Instant) {
        self.results.sweep(now);
        self.tasks.sweep(now);
        let over: Vec<Parked> = {
            let mut parked = self.parked.lock();
            parked
                .extract_if(|_, call| call.until <= now)
                .map(|(_, call)| call)
                .collect()
        };
        // Dropped outside of the lock: each tells its upstream.
        drop(over);
    }

    /// Gives up all of them, and what runs for tasks.
    pub(crate) async fn end(&self) {
        drop(std::mem::take(&mut *self.parked.lock()));
        self.tasks.end().await;
    }

    /// Makes the call, and settles what the upstream wants to know.
    pub(crate) async fn exchange(&self, mut exchange: Exchange<'_>) -> Result<Reply, Rejection> {
        let era = exchange.era;
        if era == Era::Legacy {
            return exchange.ask_and_retry().await;
        }
        let state = exchange.request.params.request_state.clone();
        if let Some(state) = state {
            match self.read(&exchange, &state)? {
                What::Parked(name) => return self.resume(exchange, &name).await,
                What::Theirs(state) => {
                    exchange.request.input = Some(Input {
                        responses: None,
                        state: Some(state),
                    });
                }
            }
        }
        let may_ask = exchange.request.caller.abilities.any();
        if may_ask && exchange.speaks_legacy() {
            let flight = Flight::start(&exchange);
            return self.fly(exchange, flight, false).await;
        }
        let reply = exchange.call().await?;
        self.pass_on(&exchange, reply)
    }

    /// Goes on with a parked call, its answers at hand.
    async fn resume(&self, exchange: Exchange<'_>, name: &str) -> Result<Reply, Rejection> {
        // Taken out before anything else: it can be taken up once.
        let parked = self.parked.lock().remove(name).ok_or(Rejection::BadState)?;
        let given = exchange.request.params.input_responses();
        let given = json::members(given.as_deref().unwrap_or(b"{}"))
            .map_err(|error| Rejection::BadParams(format!("`inputResponses`: {error}")))?;
        let mut missing = Vec::new();
        for (key, ask) in parked.asks {
            match given.iter().find(|(name, _)| *name == key) {
                Some((_, answer)) => ask.answer(Outcome::Result(Bytes::copy_from_slice(
                    answer.get().as_bytes(),
                ))),
                None => missing.push(ask),
            }
        }
        if missing.is_empty() {
            self.fly(exchange, parked.flight, true).await
        } else {
            self.park(&exchange, parked.flight, missing)
        }
    }

    /// Carries a call on until it is answered or its upstream wants to know something.
    async fn fly(
        &self,
        exchange: Exchange<'_>,
        mut flight: Flight,
        is_resumed: bool,
    ) -> Result<Reply, Rejection> {
        let token = is_resumed.then(|| exchange.request.progress_token());
        let tell = |notice| {
            let notice = match &token {
                Some(token) => retokened(notice, token.as_deref()),
                None => Some(notice),
            };
            if let (Some(events), Some(notice)) = (exchange.events, notice) {
                // A full queue means a client that does not read.
                drop(events.try_send(Event::Told(notice)));
            }
        };
        let mut asks: Vec<Ask> = Vec::new();
        // From the first question on, whatever else comes.
        let mut gathered = std::pin::pin!(tokio::time::sleep(GATHER));
        loop {
            tokio::select! {
                biased;
                // What it asks at once the client is to hear at once.
                () = &mut gathered, if !asks.is_empty() => {
                    asks.retain(|ask| !ask.is_withdrawn());
                    if !asks.is_empty() {
                        return self.park(&exchange, flight, asks);
                    }
                }
                Some(event) = flight.events.recv() => match event {
                    Event::Told(notice) => tell(notice),
                    Event::Asked(ask) => {
                        asks.retain(|ask| !ask.is_withdrawn());
                        if asks.is_empty() {
                            gathered.as_mut().reset(tokio::time::Instant::now() + GATHER);
                        }
                        // Dropped, a question beyond the bound is answered by that.
                        if asks.len() < ASKS_MAX {
                            asks.push(ask);
                        }
                    }
                },
                answer = &mut flight.answer => {
                    while let Ok(event) = flight.events.try_recv() {
                        if let Event::Told(notice) = event {
                            tell(notice);
                        }
                    }
                    return self.pass_on(&exchange, answer?);
                }
            }
        }
    }

    /// Has the call wait and the client fetch the answers.
    fn park(
        &self,
        exchange: &Exchange<'_>,
        flight: Flight,
        asks: Vec<Ask>,
    ) -> Result<Reply, Rejection> {
        let name = crate::session::random_id().ok_or(Rejection::Busy)?;
        let asks: Vec<(String, Ask)> = asks
            .into_iter()
            .enumerate()
            .map(|(at, ask)| (format!("input-{}", at + 1), ask))
            .collect();
        let requests = json::object(asks.iter().map(|(key, ask)| {
            let params = modern_ask(&ask.method, &ask.params);
            (key.as_str(), input_request(&ask.method, &params))
        }));
        let state = self.state(exchange, What::Parked(name.clone()))?;
        {
            let mut parked = self.parked.lock();
            let of_one = || {
                parked
                    .values()
                    .filter(|call| call.principal == *exchange.principal)
                    .count()
            };
            if parked.len() >= PARKED_MAX || of_one() >= PARKED_OF_ONE_MAX {
                return Err(Rejection::Busy);
            }
            parked.insert(
                name,
                Parked {
                    flight,
                    asks,
                    principal: exchange.principal.clone(),
                    until: exchange.now + STATE_MAX,
                },
            );
        }
        Ok(input_required(&requests, Some(&state)))
    }

    /// Makes an answer fit for a modern client, as far as it is about input.
    fn pass_on(&self, exchange: &Exchange<'_>, reply: Reply) -> Result<Reply, Rejection> {
        let text = match &reply.outcome {
            Outcome::Result(text) => text,
            Outcome::Error(error) => return exchange.pages_to_open(error).unwrap_or(Ok(reply)),
        };
        if reply.era == Era::Legacy {
            return Ok(reply);
        }
        let Some(required) = Required::read(text).map_err(|why| exchange.garbage(why))? else {
            return Ok(reply);
        };
        required
            .fits(exchange.request.caller.abilities)
            .map_err(|why| exchange.garbage(why))?;
        let Some((state, at)) = required.state else {
            return Ok(reply);
        };
        let sealed = self.state(exchange, What::Theirs(state))?;
        let mut splice = Splice::new(text);
        splice.replace(at, json::string(&sealed).into_bytes());
        Ok(Reply {
            outcome: Outcome::Result(splice.finish().into()),
            ..reply
        })
    }

    fn state(&self, exchange: &Exchange<'_>, what: What) -> Result<String, Rejection> {
        let state = State {
            principal: exchange.principal.to_string(),
            until: millis(exchange.now + STATE_MAX),
            call: exchange.digest()?,
            what,
        };
        serde_json::to_vec(&state)
            .ok()
            .and_then(|content| self.seal.close(PURPOSE, &content))
            .ok_or(Rejection::Busy)
    }

    /// What a client gave back, if it is ours, still good, and this client's for this very call.
    fn read(&self, exchange: &Exchange<'_>, state: &str) -> Result<What, Rejection> {
        let content = self.seal.open(PURPOSE, state).ok_or(Rejection::BadState)?;
        let state: State =
            serde_json::from_slice(&content).map_err(|_foreign| Rejection::BadState)?;
        let is_good = state.principal == exchange.principal.as_str()
            && state.until > millis(exchange.now)
            && state.call == exchange.digest()?;
        if is_good {
            Ok(state.what)
        } else {
            Err(Rejection::BadState)
        }
    }
}

impl Flight {
    fn start(exchange: &Exchange<'_>) -> Self {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let (link, request) = (Arc::clone(exchange.link), exchange.request.clone());
        let carrier = exchange.carrier.clone();
        Self {
            answer: Box::pin(async move {
                call(&link, &request, Some(&sender), carrier.as_ref()).await
            }),
            events,
        }
    }
}

async fn call(
    link: &Arc<Link>,
    request: &upstream::Request,
    events: Option<&Events>,
    carrier: Option<&TaskTracker>,
) -> Answer {
    if let Some(carrier) = carrier {
        return Box::pin(tasks::carry(link, request, events, carrier)).await;
    }
    let reply = link.call(request, events).await;
    reply.map_err(|cause| Rejection::Upstream {
        upstream: link.id().clone(),
        cause,
    })
}

impl Exchange<'_> {
    async fn call(&self) -> Answer {
        call(self.link, &self.request, self.events, self.carrier.as_ref()).await
    }

    /// Whether the legacy era was last spoken with the upstream.
    pub(crate) fn speaks_legacy(&self) -> bool {
        let revision = self.link.snapshot().revision;
        revision.map(wire::Revision::era) == Some(Era::Legacy)
    }

    pub(crate) fn failed(&self, cause: upstream::Error) -> Rejection {
        Rejection::Upstream {
            upstream: self.link.id().clone(),
            cause,
        }
    }

    fn garbage(&self, what: impl Into<String>) -> Rejection {
        self.failed(upstream::Error::Protocol(what.into()))
    }

    /// What is the same in a call and in its retries, whatever else the client writes differently.
    fn digest(&self) -> Result<String, Rejection> {
        let arguments = self.request.params.arguments();
        let mut arguments = json::strict_value(arguments.as_deref().unwrap_or(b"{}"))
            .map_err(|error| Rejection::BadParams(format!("`arguments`: {error}")))?;
        arguments.sort_all_objects();
        let mut context = Context::new(&SHA256);
        for part in [self.request.method.name, self.key, &arguments.to_string()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        Ok(hex(context.finish().as_ref()))
    }

    /// The legacy client's way: it is asked on its own stream, and the upstream is tried again with the answers.
    async fn ask_and_retry(&mut self) -> Result<Reply, Rejection> {
        for _ in 0..ROUNDS_MAX {
            let reply = self.call().await?;
            let Outcome::Result(text) = &reply.outcome else {
                return Ok(reply);
            };
            if reply.era == Era::Legacy {
                return Ok(reply);
            }
            let Some(required) = Required::read(text).map_err(|why| self.garbage(why))? else {
                return Ok(reply);
            };
            required
                .fits(self.request.caller.abilities)
                .map_err(|why| self.garbage(why))?;
            let responses = ask_all(self.events, &required.requests).await?;
            self.request.input = Some(Input {
                responses: Some(responses),
                state: required.state.map(|(state, _)| state),
            });
        }
        Err(self.garbage("it never has all the input it wants"))
    }

    /// A legacy upstream's "open these pages first" in modern words; `None` if the error is another one.
    fn pages_to_open(&self, error: &[u8]) -> Option<Result<Reply, Rejection>> {
        let is_it = json::member(error, "code").ok()??.get() == code::URL_ELICITATION.to_string();
        if !is_it {
            return None;
        }
        if !self.request.caller.abilities.url {
            let needed = "{\"elicitation\":{\"url\":{}}}";
            return Some(Err(Rejection::MissingCapability(needed)));
        }
        let data = json::member(error, "data").ok()??;
        let pages = json::member(data.get().as_bytes(), "elicitations").ok()??;
        let pages: Vec<&serde_json::value::RawValue> = serde_json::from_str(pages.get()).ok()?;
        let requests = json::object(pages.iter().enumerate().map(|(at, page)| {
            let params = modern_ask(ask::ELICITATION, page.get().as_bytes());
            (
                format!("page-{}", at + 1),
                input_request(ask::ELICITATION, &params),
            )
        }));
        // Without a state: the retry is the same call once more.
        Some(Ok(input_required(&requests, None)))
    }
}

/// Asks a legacy client all of it on its own stream, and gathers the answers as `inputResponses`.
pub(crate) async fn ask_all(
    events: Option<&Events>,
    requests: &[InputRequest],
) -> Result<String, Rejection> {
    let asked = requests.iter().map(|request| ask_one(events, request));
    let answers: Result<Vec<(&str, String)>, Rejection> =
        join_all(asked).await.into_iter().collect();
    Ok(json::object(answers?))
}

async fn ask_one<'k>(
    events: Option<&Events>,
    request: &'k InputRequest,
) -> Result<(&'k str, String), Rejection> {
    let InputRequest {
        key,
        method,
        params,
    } = request;
    let events = events.ok_or(Rejection::Unanswered)?;
    let (question, answer) = Ask::new(method.as_str(), legacy_ask(method, params));
    events
        .send(Event::Asked(question))
        .await
        .map_err(|_gone| Rejection::Unanswered)?;
    let answer = match tokio::time::timeout(STATE_MAX, answer).await {
        Ok(Ok(Outcome::Result(result))) => {
            String::from_utf8(result.to_vec()).map_err(|_foreign| Rejection::Unanswered)?
        }
        // Nobody fills it in, which a person may also choose.
        Ok(Ok(Outcome::Error(_))) if method == ask::ELICITATION => {
            "{\"action\":\"cancel\"}".to_owned()
        }
        Ok(Ok(Outcome::Error(_)) | Err(_)) | Err(_) => return Err(Rejection::Unanswered),
    };
    Ok((key, answer))
}

/// One thing that a modern upstream wants to know.
#[derive(Debug)]
pub(crate) struct InputRequest {
    pub(crate) key: String,
    pub(crate) method: String,
    pub(crate) params: Bytes,
}

/// Reads `inputRequests`.
pub(crate) fn input_requests(text: &Bytes) -> Result<Vec<InputRequest>, String> {
    let asked = json::members(text).map_err(|error| error.to_string())?;
    let read = |(key, request): (std::borrow::Cow<'_, str>, &serde_json::value::RawValue)| {
        let request = request.get().as_bytes();
        let method = json::text(request, "method").ok_or("an input request is none")?;
        let params = json::member(request, "params").map_err(|error| error.to_string())?;
        let params = params.map_or_else(
            || Bytes::from_static(b"{}"),
            |params| text.slice_ref(params.get().as_bytes()),
        );
        Ok(InputRequest {
            key: key.into_owned(),
            method,
            params,
        })
    };
    asked.into_iter().map(read).collect()
}

/// A modern upstream's *input required*.
struct Required {
    requests: Vec<InputRequest>,
    state: Option<(String, Span)>,
}

impl Required {
    /// Reads a result; `None` if it is another kind of result.
    fn read(result: &Bytes) -> Result<Option<Self>, String> {
        // Nearly no result is one, and a look shows it: the word is not there, nor escaped letters that could spell it.
        if !json::mentions(result, INPUT_REQUIRED) && !json::mentions(result, "\\u") {
            return Ok(None);
        }
        let members = json::members(result).map_err(|error| error.to_string())?;
        let find = |name: &str| {
            members
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, raw)| *raw)
        };
        let kind = find("resultType").and_then(json::unquote);
        if kind.as_deref() != Some(INPUT_REQUIRED) {
            return Ok(None);
        }
        let state = match find("requestState") {
            None => None,
            Some(raw) => {
                let state = json::unquote(raw).ok_or("`requestState` is no string")?;
                let at = Span::of(raw.get().as_bytes(), result).ok_or("too large")?;
                Some((state.into_owned(), at))
            }
        };
        let requests = match find("inputRequests") {
            Some(raw) => input_requests(&result.slice_ref(raw.get().as_bytes()))?,
            None => Vec::new(),
        };
        Ok(Some(Self { requests, state }))
    }

    /// Whether the client can do all of it.
    fn fits(&self, abilities: Abilities) -> Result<(), String> {
        let mut requests = self.requests.iter();
        match requests.find(|asked| !abilities.allow(&asked.method, &asked.params)) {
            None => Ok(()),
            Some(unfit) => Err(format!(
                "it asks for `{}`, which the client cannot do",
                unfit.method
            )),
        }
    }
}

/// A result that asks for input.
pub(crate) fn input_required(requests: &str, state: Option<&str>) -> Reply {
    let state = state.map(|state| format!(",\"requestState\":{}", json::string(state)));
    let text = format!(
        "{{\"resultType\":\"{INPUT_REQUIRED}\",\"inputRequests\":{requests}{}}}",
        state.unwrap_or_default()
    );
    Reply {
        outcome: Outcome::Result(text.into()),
        era: Era::Modern,
    }
}

pub(crate) fn input_request(method: &str, params: &[u8]) -> String {
    let params = String::from_utf8_lossy(params);
    json::object([
        ("method", json::string(method).as_str()),
        ("params", params.as_ref()),
    ])
}

/// What a legacy upstream asks, in modern words: the id of an elicitation is the input's key now.
pub(crate) fn modern_ask(method: &str, params: &[u8]) -> Vec<u8> {
    if method == ask::ELICITATION {
        json::without(params, "elicitationId")
    } else {
        params.to_vec()
    }
}

/// What a modern upstream asks, in legacy words: a page to open needs an id there.
fn legacy_ask(method: &str, params: &Bytes) -> Bytes {
    let is_page = method == ask::ELICITATION
        && json::text(params, "mode").as_deref() == Some("url")
        && json::text(params, "elicitationId").is_none();
    if !is_page {
        return params.clone();
    }
    let id = uuid::Uuid::new_v4();
    json::with_members(params, &format!("\"elicitationId\":\"{id}\"")).into()
}

/// A parked call's progress goes on under the token of the retry, if that has one.
fn retokened(notice: Notice, token: Option<&str>) -> Option<Notice> {
    if notice.method != notification::PROGRESS {
        return Some(notice);
    }
    let token = token?;
    let raw = json::member(&notice.params, "progressToken").ok()??;
    let at = Span::of(raw.get().as_bytes(), &notice.params)?;
    let mut splice = Splice::new(&notice.params);
    splice.replace(at, token.as_bytes().to_vec());
    let params = splice.finish().into();
    Some(Notice { params, ..notice })
}

fn millis(at: Instant) -> u64 {
    u64::try_from(at.0.as_millis()).unwrap_or(u64::MAX)
}
