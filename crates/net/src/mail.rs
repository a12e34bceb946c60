//! Mail: one message at a time over SMTP (RFC 5321), encrypted from the start or before anything is said.
//!
//! Where to is the operator's word, so that any address may be reached. What is written, and how often, is the
//! caller's; a message that did not leave is not tried again here.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Body, Mailbox};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// How long the server may take over one command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a message may take as a whole.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(45);
/// Longest line of a message (RFC 5322 section 2.1.1).
const LINE_CHARS_MAX: usize = 998;

/// How a connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// STARTTLS (RFC 3207); a server that does not offer it gets nothing.
    StartTls,
    /// None: for a server on this machine.
    Plain,
}

/// How mail leaves.
#[derive(Clone)]
pub struct Settings {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
    /// User and password.
    pub credentials: Option<(String, Zeroizing<String>)>,
    /// From whom mail is, as `Portcullis <gate@example.com>`; see [`is_mailbox`].
    pub from: String,
    /// Authorities in PEM, in place of those of the operating system.
    pub authorities: Option<Vec<u8>>,
}

/// Why a message did not leave.
#[derive(Debug, thiserror::Error)]
#[expect(
    clippy::error_impl_error,
    reason = "reads `mail::Error` wherever it is met"
)]
pub enum Error {
    /// An address is none.
    #[error("this is not a mail address")]
    Address(#[source] lettre::address::AddressError),
    /// The message cannot be put together.
    #[error("this cannot be written as a mail")]
    Message(#[source] lettre::error::Error),
    /// The server, or the way there.
    #[error("the mail server did not take the message")]
    Server(#[source] smtp::Error),
    /// It took too long.
    #[error("the mail server did not take the message within {0:?}")]
    Timeout(Duration),
    /// The server, or the way there, before there was any message.
    #[error("the mail server does not let the gate in")]
    Refused(#[source] smtp::Error),
    /// It takes none now.
    #[error("the mail server is there, but takes no messages")]
    Unwilling,
    /// It said nothing.
    #[error("the mail server did not answer within {0:?}")]
    Silent(Duration),
    /// The system gives no random bytes.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
}

/// Sends mail.
pub struct Mailer {
    from: Mailbox,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

/// Whether a text is an address alone, as `alice@example.com`.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.parse::<Address>().is_ok()
}

/// Whether a text is an address, with or without a name: `Portcullis <gate@example.com>`.
#[must_use]
pub fn is_mailbox(text: &str) -> bool {
    text.parse::<Mailbox>().is_ok()
}

impl Mailer {
    /// Reads the authorities, the system's from disk unless others are named. Connects to nobody yet.
    ///
    /// # Errors
    /// If `from` is no mailbox, or the authorities cannot be used.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let from: Mailbox = settings.from.parse().map_err(Error::Address)?;
        let tls = match settings.security {
            Security::Tls => Tls::Wrapper(parameters(&settings)?),
            Security::StartTls => Tls::Required(parameters(&settings)?),
            Security::Plain => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(settings.host)
            .port(settings.port)
            .tls(tls)
            .hello_name(ClientId::Domain(from.email.domain().to_owned()))
            .timeout(Some(COMMAND_TIMEOUT));
        if let Some((user, password)) = settings.credentials {
            builder = builder
                .credentials(Credentials::new(user, password.to_string()))
                .authentication(vec![Mechanism::Plain, Mechanism::Login]);
        }
        Ok(Self {
            from,
            transport: builder.build(),
        })
    }

    /// Sends one message of plain text.
    ///
    /// # Errors
    /// If the server did not say that it took it.
    pub async fn send(
        &self,
        to: &str,
        subject: &str,
        text: String,
        at: SystemTime,
    ) -> Result<(), Error> {
        let to: Address = to.parse().map_err(Error::Address)?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .date(at)
            .message_id(Some(self.message_id()?))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(body(text))
            .map_err(Error::Message)?;
        timeout(MESSAGE_TIMEOUT, self.transport.send(message))
            .await
            .map_err(|_late| Error::Timeout(MESSAGE_TIMEOUT))?
            .map_err(Error::Server)?;
        Ok(())
    }

    /// Connects and signs in, and sends nothing.
    ///
    /// # Errors
    /// If the server is not there, or does not let us in.
    pub async fn try_now(&self) -> Result<(), Error> {
        let tried = timeout(MESSAGE_TIMEOUT, self.transport.test_connection()).await;
        match tried.map_err(|_late| Error::Silent(MESSAGE_TIMEOUT))? {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Unwilling),
            Err(error) => Err(Error::Refused(error)),
        }
    }

    fn message_id(&self) -> Result<String, Error> {
        let mut random = [0_u8; 16];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_unspecified| Error::NoRandomness)?;
        let id = u128::from_le_bytes(random);
        Ok(format!("<{id:032x}@{}>", self.from.email.domain()))
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("security", &self.security)
            .field("has_credentials", &self.credentials.is_some())
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

// As it is if that can be: a link stays in one piece for whoever looks at the source, or copies from it.
fn body(text: String) -> Body {
    let fits = |line: &str| line.is_ascii() && line.len() <= LINE_CHARS_MAX;
    if !text.lines().all(fits) {
        return Body::new(text);
    }
    let lines = text.lines().map(|line| format!("{line}\r\n"));
    Body::dangerous_pre_encoded(
        lines.collect::<String>().into_bytes(),
        ContentTransferEncoding::SevenBit,
    )
}

fn parameters(settings: &Settings) -> Result<TlsParameters, Error> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(pem) = &settings.authorities {
        let authorities = Certificate::from_pem(pem).map_err(Error::Server)?;
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(authorities);
    }
    builder.build().map_err(Error::Server)
}

#[cfg(test)]
mod tests;
