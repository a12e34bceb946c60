//! Client certificates: what the handshake proved, and which principal that is.
//!
//! Chain, times, revocation lists and possession of the key are judged in the TLS handshake, by `server::tls`; here a
//! certificate that passed is read (RFC 5280 section 4) and held against the config.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use policy::{PrincipalId, RoleName};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Tag, Tagged as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::RdnSequence;

#[cfg(test)]
mod tests;

/// `id-at-commonName` of RFC 5280 appendix A.1.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// What the names of a certificate begin with.
const KINDS: [&str; 4] = ["dns:", "email:", "uri:", "cn:"];

/// A certificate whose chain and possession the TLS handshake has proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// SHA-256 of its DER form (`x5t#S256` of RFC 8705 section 3.1, before base64).
    pub sha256: [u8; 32],
    /// Its subject alternative names and common names, each with its kind: `dns:a.example` (in lower case), `email:…`,
    /// `uri:…`, `cn:…`.
    pub names: Vec<String>,
    /// When it ends.
    pub expires_at: SystemTime,
}

/// A certificate that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the certificate cannot be read")]
pub struct Unreadable;

/// Whom a certificate stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// One of [`ClientCertificate::names`], whole.
    pub name: String,
    /// Whom it stands for.
    pub principal: PrincipalId,
    /// The roles it brings.
    pub roles: BTreeSet<RoleName>,
}

/// The certificates that stand for principals.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// In their order: the first that fits decides.
    pub mappings: Vec<Mapping>,
}

impl Settings {
    /// Who holds this certificate.
    pub(crate) fn holder(&self, certificate: &ClientCertificate) -> Option<&Mapping> {
        self.mappings
            .iter()
            .find(|mapping| certificate.names.contains(&mapping.name))
    }

    /// Whether some certificate still stands for this principal and brings no role that this one has not.
    pub(crate) fn stands_for(&self, id: &PrincipalId, roles: &BTreeSet<RoleName>) -> bool {
        self.mappings
            .iter()
            .any(|mapping| mapping.principal == *id && mapping.roles.is_subset(roles))
    }
}

impl ClientCertificate {
    /// Reads one that the handshake has let pass, from its DER form.
    ///
    /// # Errors
    /// If it is not as RFC 5280 has it. Names of other kinds, and those in character sets of the past, are left out.
    pub fn read(der: &[u8]) -> Result<Self, Unreadable> {
        let certificate = Certificate::from_der(der).map_err(|_der| Unreadable)?;
        let signed = &certificate.tbs_certificate;
        let alternative = signed
            .get::<SubjectAltName>()
            .map_err(|_der| Unreadable)?
            .map(|(_, SubjectAltName(names))| names)
            .unwrap_or_default();
        let mut names: Vec<String> = alternative.iter().filter_map(alternative_name).collect();
        names.extend(common_names(&signed.subject));
        Ok(Self {
            sha256: sha256(der),
            names,
            expires_at: signed.validity.not_after.to_system_time(),
        })
    }

    /// Its fingerprint in hex: its public id.
    #[must_use]
    pub fn fingerprint(&self) -> Arc<str> {
        use std::fmt::Write as _;
        let mut hex = String::with_capacity(64);
        for byte in self.sha256 {
            write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
        }
        hex.into()
    }
}

/// A certificate's fingerprint as [`ClientCertificate::fingerprint`] writes it, from the hex of its SHA-256 in either
/// case, with colons between the bytes or without. `None` if it is none.
#[must_use]
pub fn fingerprint(text: &str) -> Option<String> {
    let is_sha256 = match text.len() {
        64 => text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        95 => text
            .split(':')
            .all(|pair| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit())),
        _ => false,
    };
    is_sha256.then(|| text.replace(':', "").to_ascii_lowercase())
}

/// A name as the config writes it: a kind and a text, `dns:agent.example`. `None` if there is no such kind or no text.
#[must_use]
pub fn name(text: &str) -> Option<String> {
    let kind = KINDS.iter().find(|kind| text.starts_with(*kind))?;
    if text.len() == kind.len() {
        return None;
    }
    Some(match *kind {
        "dns:" => text.to_ascii_lowercase(),
        _ => text.to_owned(),
    })
}

fn sha256(der: &[u8]) -> [u8; 32] {
    let digest = digest(&SHA256, der);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn alternative_name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(format!("dns:{}", name.as_str().to_ascii_lowercase())),
        GeneralName::Rfc822Name(name) => Some(format!("email:{name}")),
        GeneralName::UniformResourceIdentifier(name) => Some(format!("uri:{name}")),
        GeneralName::OtherName(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::IpAddress(_)
        | GeneralName::RegisteredId(_) => None,
    }
}

fn common_names(subject: &RdnSequence) -> impl Iterator<Item = String> {
    subject
        .0
        .iter()
        .flat_map(|relative| relative.0.iter())
        .filter(|attribute| attribute.oid == COMMON_NAME)
        .filter_map(|attribute| match attribute.value.tag() {
            Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => Some(format!(
                "cn:{}",
                str::from_utf8(attribute.value.value()).ok()?
            )),
            // BMPString and the like: no config could name them.
            _ => None,
        })
}
