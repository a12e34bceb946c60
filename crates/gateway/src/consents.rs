//! The desk of consents: what people are asked before something is done, and what they have agreed to.
//!
//! The database is the truth, so that several gates and the command line agree on who answered first, and what was
//! taken back no longer holds for the next call. Who may answer is decided here; when a call is asked about is
//! [`crate::call`]'s. Start at [`Consents::ask`].

mod act;
mod form;
mod question;
mod shown;
mod webhook;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;
use policy::{Clock, Instant, Principal, PrincipalId, Remember, RoleName};
use policy::{Credential, Terms};
use store::{
    ConsentRequestRow, ConsentRow, Longest, RequestBounds, RequestState, Requested, Store,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::session::random_id;
use crate::settings::ConsentSettings;
pub(crate) use act::unavailable;
pub(crate) use form::{Said, form, said, words};
pub(crate) use question::{Deed, Question, inexact_number};
use webhook::Announcement;

/// How often it is looked whether another process answered.
const POLL: Duration = Duration::from_millis(250);
/// A yes for a session holds no longer, however long the session does.
const SESSION_MAX: Duration = Duration::from_secs(24 * 3600);
/// Requests are counted over so long.
const RATE_SPAN: Duration = Duration::from_secs(3600);
/// What is over stays in the lists for so long.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often it is looked for what is to be forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// Entries of a list, the newest.
const LIST_MAX: u32 = 10_000;
/// Calls that wait for an answer from elsewhere: all, and those of one principal.
const WAITING_MAX: usize = 256;
const WAITING_OF_ONE_MAX: usize = 16;
/// Calls that were agreed to, whose upstream wants to know something of the client first.
const CONTINUING_MAX: usize = 4096;
/// How long their clients may take.
const CONTINUING_AGE: Duration = Duration::from_secs(10 * 60);
/// How long somebody may look after a task that a call came to, without being asked about the task too.
const TASK_AGE: Duration = Duration::from_secs(24 * 3600);
/// Characters of an id, of the 32 that there are: short enough to be typed.
const ID_LEN: usize = 12;

/// What people are asked, and what they agreed to.
#[derive(Debug)]
pub struct Consents {
    store: Store,
    clock: Arc<dyn Clock>,
    /// Moves with each answer given in this process.
    answered: watch::Sender<u64>,
    waiting: Mutex<HashMap<PrincipalId, usize>>,
    /// By the hash of the state that the client carries meanwhile, or of the task's id.
    continuing: Mutex<HashMap<[u8; 32], Continuing>>,
    outbox: mpsc::Sender<Announcement>,
    /// Until somebody sends them.
    /// Held by the one task that sends them, which may be begun anew.
    announcements: tokio::sync::Mutex<mpsc::Receiver<Announcement>>,
    pruned_at: Mutex<Instant>,
    tally: Tally,
}

/// What came of requests, in this process.
#[derive(Debug, Default)]
struct Tally {
    asked: AtomicU64,
    granted: AtomicU64,
    refused: AtomicU64,
}

/// A call on its way whose client was sent for something.
#[derive(Debug)]
struct Continuing {
    agreed: Agreed,
    until: Instant,
}

/// What allows a call: the consent's id, and the fingerprint of what was agreed to. It is used up by [`Consents::spend`]
/// alone: a call that is refused after all has cost nobody's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) consent: String,
    pub(crate) fingerprint: String,
    spends: Spends,
}

/// What a call uses up that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spends {
    Nothing,
    /// The consent, which is for one call.
    Consent,
    /// The round of input that the call goes on after, by the hash of its state.
    Round([u8; 32]),
}

impl Spends {
    /// Of a consent.
    fn of(is_once: bool) -> Self {
        if is_once {
            Self::Consent
        } else {
            Self::Nothing
        }
    }
}

/// Why what a person has to agree to is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unagreed {
    /// It is nothing to ask somebody about.
    #[error("nobody is asked about this")]
    Unasked,
    /// The request of this id waits for an answer.
    #[error("request {0} waits for a person")]
    Waiting(String),
    /// A person said no to the request of this id.
    #[error("a person said no to request {0}")]
    Refused(String),
    /// Whoever was asked would not say.
    #[error("nobody answered")]
    Unanswered,
    /// The principal has asked too much.
    #[error("the principal has had too much asked")]
    TooMany,
    /// Without the database nobody can have agreed.
    #[error("consents cannot be read or written")]
    Unavailable,
}

/// A yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Yes {
    /// How long it holds.
    pub hold: Remember,
    /// Whether it is for other arguments too.
    pub any_arguments: bool,
}

/// Why an answer was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConsentError {
    /// No such request or consent, or none that this principal may know of.
    #[error("there is no `{0}`")]
    Unknown(String),
    /// Somebody was faster, or it is over.
    #[error("`{0}` is answered or over")]
    Over(String),
    /// The rule wants another one to answer.
    #[error("somebody else has to answer this: {0}")]
    NotYours(&'static str),
    /// There is no session for it to hold in.
    #[error("this was not asked in a session; say yes once, or for a time")]
    NoSession,
    /// The rule lets no yes hold that long.
    #[error("the rule lets a yes hold for {0} at most")]
    TooLong(String),
    /// What was shown of it is not all of it.
    #[error("not all of this call can be shown; say yes to this one alone")]
    NotShown,
    /// The database.
    #[error("consents cannot be read or written")]
    Store(#[from] store::Error),
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asking {
    /// This request is open; whether it was not before.
    Open {
        id: String,
        is_new: bool,
    },
    /// A person said no to the very same a moment ago.
    Refused(String),
    TooMany,
}

impl Consents {
    /// The desk over this database. Without a gate it answers and lists; nothing is announced.
    #[must_use]
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        let (outbox, announcements) = mpsc::channel(webhook::OUTBOX_MAX);
        let pruned_at = Mutex::new(clock.now());
        Self {
            store,
            clock,
            answered: watch::channel(0).0,
            waiting: Mutex::default(),
            continuing: Mutex::default(),
            outbox,
            announcements: tokio::sync::Mutex::new(announcements),
            pruned_at,
            tally: Tally::default(),
        }
    }

    /// How many calls wait for an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.lock().values().sum()
    }

    /// How often somebody was asked by this process, and said yes or no to it.
    pub(crate) fn tally(&self) -> [(&'static str, u64); 3] {
        let Tally {
            asked,
            granted,
            refused,
        } = &self.tally;
        let all = [("asked", asked), ("granted", granted), ("refused", refused)];
        all.map(|(word, count)| (word, count.load(Ordering::Relaxed)))
    }

    /// A consent that allows this.
    pub(crate) async fn find(&self, question: &Question) -> Result<Option<Agreed>, store::Error> {
        let now = self.clock.wall();
        let conversation = question.conversation.as_deref();
        let found =
            self.store
                .find_consents(&question.subject, &question.digest, conversation, now)?;
        for consent in found {
            // The request that it answered says on whose word it was given.
            let request = self.store.get_consent_request(&consent.id)?;
            if fits(&consent, request.as_ref(), question, now) {
                return Ok(Some(Agreed {
                    consent: consent.id,
                    fingerprint: question.fingerprint(),
                    spends: Spends::of(consent.is_once),
                }));
            }
        }
        Ok(None)
    }

    /// Uses up what allows a call that is made now; `false` if another one was faster, or it was taken back meanwhile.
    pub(crate) async fn spend(&self, agreed: &Agreed) -> Result<bool, store::Error> {
        match &agreed.spends {
            Spends::Nothing => Ok(true),
            Spends::Consent => {
                let now = self.clock.wall();
                self.store.use_consent(&agreed.consent, now).await
            }
            Spends::Round(key) => Ok(self.continuing.lock().remove(key).is_some()),
        }
    }

    /// Opens a request, unless the same is open, was just refused, or its principal has asked too much.
    pub(crate) async fn ask(
        &self,
        question: &Question,
        settings: &ConsentSettings,
    ) -> Result<Asking, store::Error> {
        let now = self.clock.wall();
        let since = now.checked_sub(settings.expires).unwrap_or(now);
        let refusal =
            self.store
                .find_consent_refusal(&question.subject, &question.digest, since)?;
        if let Some(id) = refusal {
            return Ok(Asking::Refused(id));
        }
        let Some(mut id) = random_id() else {
            return Ok(Asking::TooMany);
        };
        id.truncate(ID_LEN);
        let row = question.row(id.clone(), settings, now);
        let again = row.clone();
        let bounds = RequestBounds {
            open_max: settings.open_max,
            recent_max: settings.per_hour,
            since: now.checked_sub(RATE_SPAN).unwrap_or(now),
        };
        Ok(match self.store.request_consent(row, bounds).await? {
            Requested::New => {
                self.tally.asked.fetch_add(1, Ordering::Relaxed);
                tracing::info!(
                    request = id,
                    principal = question.subject.principal,
                    rule = question.subject.rule,
                    "a person is asked"
                );
                Asking::Open { id, is_new: true }
            }
            Requested::Same(same) => {
                let request = self.store.get_consent_request(&same)?;
                if request.is_some_and(|request| !is_on(&request, question)) {
                    // The rule names others since. Whoever asks again is asked on its terms of now.
                    let state = RequestState::Withdrawn;
                    let by = &question.subject.principal;
                    self.store.refuse_consent(&same, state, by, now).await?;
                    self.tell();
                    if let Requested::New = self.store.request_consent(again, bounds).await? {
                        self.tally.asked.fetch_add(1, Ordering::Relaxed);
                        return Ok(Asking::Open { id, is_new: true });
                    }
                    return Ok(Asking::TooMany);
                }
                Asking::Open {
                    id: same,
                    is_new: false,
                }
            }
            Requested::Full => Asking::TooMany,
        })
    }

    /// Tells whom the config names that a request waits. `console` is where the console is.
    pub(crate) fn announce(&self, id: &str, settings: &ConsentSettings, console: &str) {
        let Some(webhook) = &settings.webhook else {
            return;
        };
        let announced = match self.store.get_consent_request(id) {
            Ok(Some(request)) => self
                .outbox
                .try_send(Announcement::new(&request, console, webhook))
                .is_ok(),
            Ok(None) | Err(_) => false,
        };
        if !announced {
            tracing::warn!(request = id, "a request for consent is not announced");
        }
    }

    /// Sends the announcements, until `stop`.
    pub(crate) async fn send_announcements(&self, client: &net::Client, stop: &CancellationToken) {
        let mut outbox = self.announcements.lock().await;
        webhook::send_all(&mut outbox, client, &*self.clock, &webhook::PAUSES, stop).await;
    }

    /// Waits until somebody, in whichever process, has answered a request; `None` if it can no longer be answered.
    pub(crate) async fn answer_to(&self, id: &str) -> Result<Option<RequestState>, store::Error> {
        let mut answered = self.answered.subscribe();
        loop {
            let Some(request) = self.store.get_consent_request(id)? else {
                return Ok(None);
            };
            if request.state != RequestState::Open {
                return Ok(Some(request.state));
            }
            if request.expires_at <= self.clock.wall() {
                return Ok(None);
            }
            let _answered = tokio::time::timeout(POLL, answered.changed()).await;
        }
    }

    /// What has become of a request; `None` if there is none.
    pub(crate) fn state(&self, id: &str) -> Result<Option<RequestState>, store::Error> {
        let request = self.store.get_consent_request(id)?;
        Ok(request.map(|request| request.state))
    }

    /// A place among those who wait, if there is one.
    pub(crate) fn wait(&self, principal: &PrincipalId) -> Option<Waiting<'_>> {
        let mut waiting = self.waiting.lock();
        let all: usize = waiting.values().sum();
        let own = waiting.get(principal).copied().unwrap_or_default();
        if all >= WAITING_MAX || own >= WAITING_OF_ONE_MAX {
            return None;
        }
        waiting.insert(principal.clone(), own + 1);
        drop(waiting);
        Some(Waiting {
            among: self,
            principal: principal.clone(),
        })
    }

    /// Takes the answer of the very client that asked; `None` if the request is answered or over.
    pub(crate) async fn settle(
        &self,
        question: &Question,
        id: &str,
        said: Said,
    ) -> Result<Option<Result<Agreed, Unagreed>>, store::Error> {
        let now = self.clock.wall();
        let by = question.subject.principal.clone();
        let hold = match said {
            Said::Yes(hold) => hold,
            Said::No | Said::Nothing => {
                let (state, why) = if said == Said::No {
                    (RequestState::Denied, Unagreed::Refused(id.to_owned()))
                } else {
                    (RequestState::Withdrawn, Unagreed::Unanswered)
                };
                let is_taken = self.store.refuse_consent(id, state, &by, now).await?;
                if is_taken && said == Said::No {
                    self.tally.refused.fetch_add(1, Ordering::Relaxed);
                }
                self.tell();
                return Ok(is_taken.then_some(Err(why)));
            }
        };
        let Some(request) = self.store.get_consent_request(id)? else {
            return Ok(None);
        };
        // The terms may have become stricter since it was asked.
        if !question.asks_requester || !is_on(&request, question) {
            return Ok(None);
        }
        let consent = consent(&request, hold, by, now);
        let spends = Spends::of(consent.is_once);
        let is_taken = self.store.approve_consent(consent).await?;
        if is_taken {
            self.tally.granted.fetch_add(1, Ordering::Relaxed);
        }
        self.tell();
        Ok(is_taken.then(|| {
            Ok(Agreed {
                consent: id.to_owned(),
                fingerprint: question.fingerprint(),
                spends,
            })
        }))
    }

    /// A call that was agreed to goes on with the next request that carries `state`, which may be made once.
    pub(crate) fn continue_with(&self, state: &str, agreed: &Agreed) {
        let key = hash("state", state);
        self.remember(key, agreed, Spends::Round(key), CONTINUING_AGE);
    }

    /// A call that was agreed to came to this task.
    pub(crate) fn came_to(&self, task: &str, agreed: &Agreed) {
        self.remember(hash("task", task), agreed, Spends::Nothing, TASK_AGE);
    }

    /// What allowed the call that came to this task, if that is known still.
    pub(crate) fn origin(&self, task: &str) -> Option<Agreed> {
        let now = self.clock.now();
        let continuing = self.continuing.lock();
        let one = continuing.get(&hash("task", task));
        one.filter(|one| one.until > now)
            .map(|one| one.agreed.clone())
    }

    fn remember(&self, key: [u8; 32], agreed: &Agreed, spends: Spends, age: Duration) {
        let now = self.clock.now();
        let mut continuing = self.continuing.lock();
        if continuing.len() >= CONTINUING_MAX {
            continuing.retain(|_, one| one.until > now);
        }
        // Beyond the bound the person is asked once more.
        if continuing.len() < CONTINUING_MAX {
            let agreed = Agreed {
                spends,
                ..agreed.clone()
            };
            let until = now + age;
            continuing.insert(key, Continuing { agreed, until });
        }
    }

    /// What allowed the call that goes on with `state`, if it is this one.
    pub(crate) fn continued(&self, state: &str, fingerprint: &str) -> Option<Agreed> {
        let now = self.clock.now();
        let continuing = self.continuing.lock();
        let one = continuing.get(&hash("state", state))?;
        let is_it = one.until > now && one.agreed.fingerprint == fingerprint;
        is_it.then(|| one.agreed.clone())
    }

    /// Forgets what is long over.
    pub(crate) async fn sweep(&self) {
        let now = self.clock.now();
        self.continuing.lock().retain(|_, one| one.until > now);
        {
            let mut pruned_at = self.pruned_at.lock();
            if now.since(*pruned_at) < PRUNE_EVERY {
                return;
            }
            *pruned_at = now;
        }
        let Some(before) = self.clock.wall().checked_sub(KEPT) else {
            return;
        };
        if let Err(error) = self.store.prune_consents(before).await {
            tracing::warn!(%error, "old consents are kept");
        }
    }

    fn tell(&self) {
        self.answered.send_modify(|count| *count += 1);
    }
}

/// What people do with requests and consents: in the console, over the admin API, on the command line.
impl Consents {
    /// The requests that `who` made or may answer, newest first, those that are over too.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn requests(&self, who: &Principal) -> Result<Vec<ConsentRequestRow>, ConsentError> {
        let mut rows = self.store.list_consent_requests(LIST_MAX)?;
        rows.retain(|row| may_know(row, who));
        Ok(rows)
    }

    /// One of them.
    ///
    /// # Errors
    /// [`ConsentError::Unknown`] if there is none that `who` may know of.
    pub fn request(&self, id: &str, who: &Principal) -> Result<ConsentRequestRow, ConsentError> {
        self.store
            .get_consent_request(id)?
            .filter(|row| may_know(row, who))
            .ok_or_else(|| ConsentError::Unknown(id.to_owned()))
    }

    /// The ways in which a yes to a request may hold, in words.
    #[must_use]
    pub fn choices(&self, request: &ConsentRequestRow) -> Vec<(String, Remember)> {
        let longest = match request.longest {
            Longest::Once => Remember::Once,
            Longest::Session => Remember::Session,
            Longest::For(span) => Remember::For(span),
        };
        form::choices(longest, request.conversation.is_some())
    }

    /// Whether `who` may say yes to a request.
    #[must_use]
    pub fn may_answer(&self, request: &ConsentRequestRow, who: &Principal) -> bool {
        may_answer(request, who).is_ok()
    }

    /// Whether a request can be answered now.
    #[must_use]
    pub fn is_open(&self, request: &ConsentRequestRow) -> bool {
        request.state == RequestState::Open && request.expires_at > self.clock.wall()
    }

    /// Whether a consent holds now.
    #[must_use]
    pub fn holds(&self, consent: &ConsentRow) -> bool {
        consent.used_at.is_none()
            && consent.ended_at.is_none()
            && consent.expires_at > self.clock.wall()
    }

    /// The consents that were given to `who` or by it; for an owner, all. Newest first, those that are over too.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list(&self, who: &Principal) -> Result<Vec<ConsentRow>, ConsentError> {
        let mut rows = self.store.list_consents(LIST_MAX)?;
        rows.retain(|row| may_end(row, who));
        Ok(rows)
    }

    /// One of them.
    ///
    /// # Errors
    /// [`ConsentError::Unknown`] if there is none that `who` may know of.
    pub fn get(&self, id: &str, who: &Principal) -> Result<ConsentRow, ConsentError> {
        self.store
            .get_given_consent(id)?
            .filter(|row| may_end(row, who))
            .ok_or_else(|| ConsentError::Unknown(id.to_owned()))
    }

    /// Says yes to a request.
    ///
    /// # Errors
    /// If `who` may not, the yes would hold longer than the rule lets it, or somebody was faster.
    pub async fn approve(
        &self,
        id: &str,
        who: &Principal,
        yes: Yes,
    ) -> Result<ConsentRow, ConsentError> {
        let request = self.request(id, who)?;
        may_answer(&request, who)?;
        if yes.any_arguments && shown::is_cut(&request.shown) {
            return Err(ConsentError::NotShown);
        }
        let longest = request.longest;
        match (yes.hold, longest) {
            (Remember::Once, _) => {}
            (Remember::Session, Longest::Session | Longest::For(_)) => {
                if request.conversation.is_none() {
                    return Err(ConsentError::NoSession);
                }
            }
            (Remember::For(span), Longest::For(longest)) if span <= longest => {}
            (Remember::Session | Remember::For(_), _) => {
                let most = match longest {
                    Longest::Once => "one call".to_owned(),
                    Longest::Session => "a session".to_owned(),
                    Longest::For(longest) => words(longest),
                };
                return Err(ConsentError::TooLong(most));
            }
        }
        let mut consent = consent(&request, yes.hold, who.id.to_string(), self.clock.wall());
        if yes.any_arguments {
            consent.digest = None;
        }
        if !self.store.approve_consent(consent.clone()).await? {
            return Err(ConsentError::Over(id.to_owned()));
        }
        self.tally.granted.fetch_add(1, Ordering::Relaxed);
        tracing::info!(request = id, by = %who.id, "approved");
        self.tell();
        Ok(consent)
    }

    /// Says no to a request.
    ///
    /// # Errors
    /// If `who` may not, or somebody was faster.
    pub async fn deny(&self, id: &str, who: &Principal) -> Result<(), ConsentError> {
        let request = self.request(id, who)?;
        // Nobody is kept from taking back what they asked for; and a no is safe with a key, too.
        if request.subject.principal != who.id.as_str() {
            is_named(&request, who)?;
        }
        let (state, by) = (RequestState::Denied, who.id.as_str());
        let now = self.clock.wall();
        if !self.store.refuse_consent(id, state, by, now).await? {
            return Err(ConsentError::Over(id.to_owned()));
        }
        self.tally.refused.fetch_add(1, Ordering::Relaxed);
        tracing::info!(request = id, by, "denied");
        self.tell();
        Ok(())
    }

    /// Takes a consent back, from the next call on.
    ///
    /// # Errors
    /// If there is none that `who` may take back, or it is over.
    pub async fn revoke(&self, id: &str, who: &Principal) -> Result<(), ConsentError> {
        self.get(id, who)?;
        let (by, now) = (who.id.as_str(), self.clock.wall());
        if !self.store.end_consent(id, by, now).await? {
            return Err(ConsentError::Over(id.to_owned()));
        }
        tracing::info!(consent = id, by, "consent taken back");
        Ok(())
    }
}

/// A place among those who wait; given back when dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    among: &'a Consents,
    principal: PrincipalId,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.among.waiting.lock();
        if let Some(count) = waiting.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.principal);
            }
        }
    }
}

/// Whether the requester may be asked itself, on these terms.
pub(crate) fn asks_requester(terms: &Terms, principal: &Principal) -> bool {
    !terms.other_person
        && (terms.approvers.is_empty()
            || principal.is_owner()
            || terms
                .approvers
                .iter()
                .any(|role| principal.roles.contains(role)))
}

/// Whether a consent still fits what its rule says now: the terms may have become stricter since it was given.
fn fits(
    consent: &ConsentRow,
    request: Option<&ConsentRequestRow>,
    question: &Question,
    now: SystemTime,
) -> bool {
    let terms = &question.terms;
    let is_short_enough = match terms.longest {
        Remember::Once => consent.is_once,
        Remember::Session => consent.is_once || consent.conversation.is_some(),
        Remember::For(longest) => consent.given_at + longest > now,
    };
    let is_own = consent.given_by == consent.subject.principal;
    // Who gave it held one of the roles that were named then, or was an owner; all of those roles are named still.
    let was_named = || {
        request.is_some_and(|request| {
            let named = &request.approvers;
            let is_still = |role: &String| terms.approvers.iter().any(|now| now.as_str() == role);
            !named.is_empty() && named.iter().all(is_still)
        })
    };
    let is_by_right =
        terms.approvers.is_empty() || (is_own && question.asks_requester) || was_named();
    is_short_enough && is_by_right && !(terms.other_person && is_own)
}

/// Whether a request was made on the terms that its rule has now.
fn is_on(request: &ConsentRequestRow, question: &Question) -> bool {
    let terms = &question.terms;
    let named = terms.approvers.iter().map(RoleName::as_str);
    request.other_person == terms.other_person
        && request.longest == longest(terms.longest)
        && named.eq(request.approvers.iter().map(String::as_str))
}

/// How long a yes may hold, as it is kept.
fn longest(longest: Remember) -> Longest {
    match longest {
        Remember::Once => Longest::Once,
        Remember::Session => Longest::Session,
        Remember::For(long) => Longest::For(long),
    }
}

fn consent(request: &ConsentRequestRow, hold: Remember, by: String, now: SystemTime) -> ConsentRow {
    let lifetime = request
        .expires_at
        .duration_since(request.created_at)
        .unwrap_or_default();
    let longest = match request.longest {
        Longest::For(longest) => longest,
        Longest::Once | Longest::Session => SESSION_MAX,
    };
    let span = match hold {
        Remember::Once => lifetime,
        Remember::Session => SESSION_MAX.min(longest),
        Remember::For(span) => span,
    };
    ConsentRow {
        id: request.id.clone(),
        subject: request.subject.clone(),
        digest: Some(request.digest.clone()),
        is_once: hold == Remember::Once,
        conversation: match hold {
            Remember::Session => request.conversation.clone(),
            Remember::Once | Remember::For(_) => None,
        },
        given_by: by,
        given_at: now,
        expires_at: now + span,
        used_at: None,
        ended_at: None,
        ended_by: None,
    }
}

fn has_role(roles: &[String], who: &Principal) -> bool {
    who.roles
        .iter()
        .any(|role| roles.iter().any(|named| named == role.as_str()))
}

fn may_know(request: &ConsentRequestRow, who: &Principal) -> bool {
    who.is_owner()
        || request.subject.principal == who.id.as_str()
        || has_role(&request.approvers, who)
}

fn may_end(consent: &ConsentRow, who: &Principal) -> bool {
    let own = [&consent.subject.principal, &consent.given_by];
    who.is_owner() || own.iter().any(|id| *id == who.id.as_str())
}

/// Whether `who` may say yes.
fn may_answer(request: &ConsentRequestRow, who: &Principal) -> Result<(), ConsentError> {
    is_named(request, who)?;
    // What an agent holds is no person: with a key or a token it would answer itself, or make itself somebody who may.
    match who.credential {
        Credential::Local | Credential::Session(_) => Ok(()),
        Credential::ApiKey(_) | Credential::Token(_) | Credential::Certificate(_) => Err(
            ConsentError::NotYours("a yes is said in the console, or on the gate's machine"),
        ),
    }
}

/// Whether the rule lets `who` answer.
fn is_named(request: &ConsentRequestRow, who: &Principal) -> Result<(), ConsentError> {
    let is_own = request.subject.principal == who.id.as_str();
    if is_own && request.other_person {
        return Err(ConsentError::NotYours("the rule wants another person"));
    }
    let may = who.is_owner()
        || has_role(&request.approvers, who)
        || (is_own && request.approvers.is_empty());
    if may {
        Ok(())
    } else {
        Err(ConsentError::NotYours(
            "you hold none of the roles that may",
        ))
    }
}

fn hash(kind: &str, text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    let text = format!("{kind}:{text}");
    for (to, from) in out
        .iter_mut()
        .zip(digest(&SHA256, text.as_bytes()).as_ref())
    {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests;
