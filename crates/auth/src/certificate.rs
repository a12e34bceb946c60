//! Client certificates: what the handshake proved, and which principal that is.

use std::collections::BTreeSet;
use std::sync::Arc;

use policy::{PrincipalId, RoleName};

/// A certificate whose chain and possession the TLS handshake has proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// SHA-256 of its DER form (`x5t#S256` of RFC 8705 section 3.1, before base64).
    pub sha256: [u8; 32],
    /// Its subject alternative names and common name, each with its kind: `dns:a.example`, `email:…`, `uri:…`, `cn:…`.
    pub names: Vec<String>,
}

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
}

impl ClientCertificate {
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
