//! What came with a request, and where from.

use std::fmt;
use std::net::IpAddr;

use crate::{AuthError, ClientCertificate};

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// This machine, over the loopback address.
    Loopback,
    /// Another machine, or one that a proxy stands for; its address, if it is known. The loopback address is that of a
    /// proxy here, for those of whom it says nothing, and gives nobody the rights of this machine.
    Remote(Option<IpAddr>),
    /// The parent process.
    Stdio,
    /// This process.
    InProcess,
}

/// What came with a request.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The `X-API-Key` header.
    pub x_api_key: Option<&'a str>,
    /// The `DPoP` header (RFC 9449).
    pub dpop: Option<&'a str>,
    /// The certificate that the client proved to hold in the TLS handshake.
    pub certificate: Option<&'a ClientCertificate>,
    /// The HTTP method; empty without HTTP.
    pub method: &'a str,
    /// The URL that was asked for, without query and fragment; empty without HTTP.
    pub url: &'a str,
    /// The virtual server that was asked for: a token that is for one is good there alone.
    pub server: Option<&'a str>,
    /// Where it came from.
    pub peer: Peer,
}

/// One credential, by its form. There is never more than one.
#[derive(Clone, Copy)]
pub(crate) enum Form<'a> {
    Nothing,
    /// `X-API-Key`, or a bearer token that looks like a key of ours.
    Key(&'a str),
    /// `Authorization: Bearer`.
    Bearer(&'a str),
    /// `Authorization: DPoP`.
    Dpop(&'a str),
}

impl<'a> Presented<'a> {
    /// A request that brings no credential.
    #[must_use]
    pub fn nothing(peer: Peer) -> Self {
        Self {
            authorization: None,
            x_api_key: None,
            dpop: None,
            certificate: None,
            method: "",
            url: "",
            server: None,
            peer,
        }
    }

    /// What kind of credential it is: a word from a closed set.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.form() {
            Ok(Form::Nothing) if self.certificate.is_some() => "certificate",
            Ok(Form::Nothing) => "none",
            Ok(Form::Key(_)) => "key",
            Ok(Form::Bearer(_)) => "bearer",
            Ok(Form::Dpop(_)) => "dpop",
            Err(_) => "malformed",
        }
    }

    /// Which credential it is.
    pub(crate) fn form(&self) -> Result<Form<'a>, AuthError> {
        let form = match (self.authorization, self.x_api_key) {
            (Some(_), Some(_)) => return Err(AuthError::Malformed("two credentials at once")),
            (None, Some(text)) => Form::Key(text),
            (None, None) => Form::Nothing,
            (Some(header), None) => match header.trim().split_once(' ') {
                Some((scheme, text)) if scheme.eq_ignore_ascii_case("bearer") => {
                    let text = text.trim_start();
                    if crate::key::is_key_like(text) {
                        Form::Key(text)
                    } else {
                        Form::Bearer(text)
                    }
                }
                Some((scheme, text)) if scheme.eq_ignore_ascii_case("dpop") => {
                    Form::Dpop(text.trim_start())
                }
                _ => return Err(AuthError::Malformed("neither a bearer nor a DPoP token")),
            },
        };
        if self.dpop.is_some() && !matches!(form, Form::Dpop(_)) {
            return Err(AuthError::Malformed("a DPoP proof without a DPoP token"));
        }
        Ok(form)
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("authorization", &self.authorization.is_some())
            .field("x_api_key", &self.x_api_key.is_some())
            .field("dpop", &self.dpop.is_some())
            .field("certificate", &self.certificate.is_some())
            .field("method", &self.method)
            .field("url", &self.url)
            .field("peer", &self.peer)
            .finish()
    }
}
