//! `[tls]`, the `tls` of an upstream, and `[auth.certificates]`: files from disk to what listeners, the way out and
//! `auth` rely on.
//!
//! What TLS is done with them is `crate::tls`'s and `net`'s. That the files are looked at again is `run::serve`'s:
//! [`Checker::watched`] says which.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use auth::certificate::{self, Mapping};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use policy::config::Complaints;
use policy::{PrincipalId, RoleName};
use schemars::JsonSchema;
use serde::Deserialize;
use upstream::chain;
use url::Url;
use zeroize::Zeroizing;

use super::check::{Checker, all};
use super::keys::role;
use super::raw::{Raw, Secret};
use crate::tls::{Clients, Settings, Spoken, Tls, Version};

/// Largest file of certificates, or of certificates that were revoked.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// What a pin begins with: the hash it is made with.
const PIN: &str = "sha256/";

/// TLS on the listeners: version 1.3, and 1.2 with ECDHE and AES-GCM or ChaCha20-Poly1305. The files are looked at once
/// a second; new ones are taken over without a restart and no open connection notices.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    /// A PEM file: the gate's certificate first, then those above it.
    pub certificate: String,
    /// Its private key in PEM, not encrypted, as `{ file = "PATH" }` or another reference. Nobody but its owner may read the file (or, if it is root's, its group).
    pub key: Secret,
    /// A PEM file with the authorities whose client certificates are taken. `auth.certificates` says whom these stand for.
    pub client_ca: Option<String>,
    /// With `client_ca`: `optional` (so it is unless said) also lets in callers without a certificate, who then need another credential; `required` does not.
    pub client: Option<RawClient>,
    /// With `client_ca`: PEM files with lists of revoked certificates. If there are any, there has to be a current one of each authority in a client's chain, or the client stays out.
    pub crl: Option<Vec<String>>,
    /// The oldest version spoken: `1.2` (so it is unless said) or `1.3`.
    pub min_version: Option<RawVersion>,
    /// Whether listeners on loopback addresses speak plain HTTP nevertheless; `false` unless said.
    pub loopback_plaintext: Option<bool>,
}

/// Whether clients need a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawClient {
    Optional,
    Required,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum RawVersion {
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "1.3")]
    V1_3,
}

/// How an upstream's certificate is judged, and which one it is shown.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUpstreamTls {
    /// A PEM file with the authorities that may have signed its certificate, in place of those of the operating system.
    pub ca: Option<String>,
    /// A PEM file with the certificate that the gate shows, then those above it.
    pub certificate: Option<String>,
    /// With `certificate`: its private key, as `tls.key`.
    pub key: Option<Secret>,
    /// Keys of which its certificate must have one, besides being good in every other way: `sha256/` and the base64 of the SHA-256 of its `SubjectPublicKeyInfo`.
    #[serde(default)]
    pub pin: Vec<String>,
    /// The name that its certificate must be for, if not the host in `url`.
    pub server_name: Option<String>,
}

/// Whom client certificates stand for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCertificate {
    /// A name in the certificate, whole: `dns:agent.example`, `email:…`, `uri:spiffe://…` (subject alternative names) or `cn:…` (the subject's common name).
    #[serde(rename = "match")]
    pub name: String,
    /// Whom it stands for; by default the name of this section.
    pub principal: Option<String>,
    /// Roles its holder has, besides those whose `members` name the principal.
    #[serde(default)]
    pub roles: Vec<String>,
}

impl RawTls {
    /// At which addresses.
    pub(super) fn spoken(&self) -> Spoken {
        Spoken::with(self.loopback_plaintext == Some(true))
    }
}

impl Checker<'_> {
    /// `[tls]`. `Some(None)`: all in the clear.
    pub(super) fn tls(
        &self,
        raw: Option<&RawTls>,
        complaints: &mut Complaints,
    ) -> Option<Option<Tls>> {
        let Some(raw) = raw else { return Some(None) };
        complaints.at("tls", |complaints| {
            let file = |text: &String, key: &str, complaints: &mut Complaints| {
                self.file(text, &format!("tls.{key}"), complaints)
            };
            let certificates = complaints.at("certificate", |complaints| {
                file(&raw.certificate, "certificate", complaints)
            });
            let key = complaints.at("key", |complaints| {
                self.private_key(&raw.key, "tls.key", complaints)
            });
            let authorities = match &raw.client_ca {
                Some(text) => complaints
                    .at("client_ca", |complaints| {
                        file(text, "client_ca", complaints)
                    })
                    .map(Some),
                None => {
                    for (key, is_said) in
                        [("client", raw.client.is_some()), ("crl", raw.crl.is_some())]
                    {
                        if is_said {
                            complaints.at(key, |complaints| {
                                complaints.add("goes only with `client_ca`", "leave it out");
                            });
                        }
                    }
                    Some(None)
                }
            };
            let revoked = complaints.at("crl", |complaints| {
                all(
                    raw.crl.as_deref().unwrap_or_default(),
                    complaints,
                    |text, complaints| file(text, "crl", complaints),
                )
            });
            let (certificates, key) = (certificates?, key?);
            let (authorities, revoked) = (authorities?, revoked?);
            if self.secrets.stand_in().is_some() {
                // Without its key there is nothing to try.
                return Some(None);
            }
            let made = Tls::new(&Settings {
                chain: &certificates,
                key: key.as_bytes(),
                clients: authorities.as_ref().map(|authorities| Clients {
                    authorities,
                    revoked: &revoked,
                    required: raw.client == Some(RawClient::Required),
                }),
                oldest: match raw.min_version {
                    Some(RawVersion::V1_3) => Version::V1_3,
                    Some(RawVersion::V1_2) | None => Version::V1_2,
                },
                loopback_plaintext: raw.loopback_plaintext == Some(true),
            });
            match made {
                Ok(tls) => Some(Some(tls)),
                Err(error) => {
                    use crate::tls::Error as Made;
                    let at = match error {
                        Made::Chain(_) => "certificate",
                        Made::Key(_) | Made::Pair(_) => "key",
                        Made::Authority(_) => "client_ca",
                        Made::Revoked(_) => "crl",
                    };
                    complaints.at(at, |complaints| complaints.add(chain(&error), ""));
                    None
                }
            }
        })
    }

    /// The `tls` of an upstream at `url`, whose section is `key`.
    pub(super) fn upstream_tls(
        &self,
        raw: &RawUpstreamTls,
        url: &Url,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<net::Tls> {
        if !matches!(url.scheme(), "https" | "wss") {
            complaints.add("goes only with an https or wss `url`", "leave it out");
            return None;
        }
        let file = |text: &Option<String>, name: &str, complaints: &mut Complaints| match text {
            Some(text) => complaints
                .at(name, |complaints| {
                    self.file(text, &format!("{key}.tls.{name}"), complaints)
                })
                .map(Some),
            None => Some(None),
        };
        let authorities = file(&raw.ca, "ca", complaints);
        let certificates = file(&raw.certificate, "certificate", complaints);
        let private = match (&raw.key, &raw.certificate) {
            (Some(secret), Some(_)) => complaints
                .at("key", |complaints| {
                    self.private_key(secret, &format!("{key}.tls.key"), complaints)
                })
                .map(Some),
            (None, None) => Some(None),
            (_, _) => {
                complaints.add(
                    "`certificate` and `key` go together",
                    "give both, or neither",
                );
                None
            }
        };
        let pins = complaints.at("pin", |complaints| all(&raw.pin, complaints, pin));
        let (authorities, certificates, private) = (authorities?, certificates?, private?);
        let identity = match (&certificates, &private) {
            // A stand-in is no key, and no gate starts with it.
            _ if private.is_some() && self.secrets.stand_in().is_some() => None,
            (Some(chain), Some(private)) => Some(net::Identity {
                chain,
                key: private.as_bytes(),
            }),
            (_, _) => None,
        };
        let made = net::Tls::new(&net::TlsSettings {
            authorities: authorities.as_deref(),
            identity,
            pins: pins.clone().unwrap_or_default(),
            server_name: raw.server_name.as_deref(),
        });
        match made {
            // What is wrong with a pin was said.
            Ok(tls) => pins.map(|_| tls),
            Err(error) => {
                let at = match error {
                    net::TlsError::Certificates(_) if authorities.is_none() => "certificate",
                    net::TlsError::Certificates(_) | net::TlsError::Authority(_) => "ca",
                    net::TlsError::Key(_) | net::TlsError::Identity(_) => "key",
                    net::TlsError::Name => "server_name",
                };
                complaints.at(at, |complaints| complaints.add(chain(&error), ""));
                None
            }
        }
    }

    /// Every file whose change changes TLS. None of them is read here.
    pub(super) fn watched(&self, raw: &Raw) -> Vec<PathBuf> {
        fn of_secret(secret: &Secret) -> Option<&String> {
            match secret {
                Secret::File(path) => Some(path),
                Secret::Literal(_) | Secret::Env(_) | Secret::Kept(_) => None,
            }
        }
        let mut written: Vec<(&String, String)> = Vec::new();
        if let Some(tls) = &raw.tls {
            written.push((&tls.certificate, "tls.certificate".to_owned()));
            let key = of_secret(&tls.key);
            written.extend(key.map(|text| (text, "tls.key".to_owned())));
            let authorities = tls.client_ca.iter();
            written.extend(authorities.map(|text| (text, "tls.client_ca".to_owned())));
            let revoked = tls.crl.iter().flatten();
            written.extend(revoked.map(|text| (text, "tls.crl".to_owned())));
        }
        for (name, sink) in &raw.audit.sinks {
            let authorities = sink.ca.iter();
            written.extend(authorities.map(|text| (text, format!("audit.sinks.{name}.ca"))));
        }
        for (name, receiver) in &raw.alerts.receivers {
            let authorities = receiver.ca.iter();
            let key = format!("alerts.receivers.{name}.ca");
            written.extend(authorities.map(|text| (text, key.clone())));
        }
        for (alias, upstream) in raw.upstreams.iter().filter(|(_, raw)| raw.enabled) {
            if let Some(tls) = &upstream.tls {
                let key = tls.key.as_ref().and_then(of_secret);
                let parts = [("ca", &tls.ca), ("certificate", &tls.certificate)]
                    .into_iter()
                    .filter_map(|(name, text)| Some((text.as_ref()?, name)))
                    .chain(key.map(|text| (text, "key")));
                written.extend(
                    parts.map(|(text, name)| (text, format!("upstreams.{alias}.tls.{name}"))),
                );
            }
        }
        let files: BTreeSet<PathBuf> = written
            .iter()
            .map(|(text, key)| self.path(text, key))
            .collect();
        files.into_iter().collect()
    }

    pub(super) fn file(
        &self,
        text: &str,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<Vec<u8>> {
        read(&self.path(text, key), complaints)
    }

    /// A private key, from where others cannot read it.
    fn private_key(
        &self,
        secret: &Secret,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<Zeroizing<String>> {
        match secret {
            Secret::Literal(_) => {
                complaints.add(
                    "a private key does not belong into a config",
                    "write { file = \"key.pem\" }",
                );
                return None;
            }
            Secret::File(text) => is_closed(&self.path(text, key), complaints).then_some(())?,
            Secret::Env(_) | Secret::Kept(_) => {}
        }
        self.secret("key", secret, key, complaints)
            .map(Zeroizing::new)
    }
}

/// `[auth.certificates]`, held against the roles that there are.
pub(super) fn certificates(
    raw: &BTreeMap<String, RawCertificate>,
    known: &[&str],
    complaints: &mut Complaints,
) -> Option<certificate::Settings> {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    let mappings: Vec<Option<Mapping>> = raw
        .iter()
        .map(|(section, raw)| {
            complaints.at(section, |complaints| {
                let name = complaints.at("match", |complaints| {
                    let Some(name) = certificate::name(&raw.name) else {
                        complaints.add(
                            format!("`{}` is no name of a certificate", raw.name),
                            "write for example \"dns:agent.example\"; email:, uri: and cn: are there, too",
                        );
                        return None;
                    };
                    if let Some(other) = taken.insert(name.clone(), section) {
                        complaints.add(format!("`{name}` stands for `{other}` already"), "leave one out");
                        return None;
                    }
                    Some(name)
                });
                let principal = match &raw.principal {
                    Some(text) => complaints.at("principal", |complaints| {
                        complaints.keep(PrincipalId::new(text), "")
                    }),
                    None => complaints.keep(
                        PrincipalId::new(section),
                        "rename it, or write principal = \"…\"",
                    ),
                };
                let roles: Option<Vec<RoleName>> = complaints.at("roles", |complaints| {
                    all(&raw.roles, complaints, |text, complaints| role(text, known, complaints))
                });
                Some(Mapping {
                    name: name?,
                    principal: principal?,
                    roles: roles?.into_iter().collect(),
                })
            })
        })
        .collect();
    let mappings = mappings.into_iter().collect::<Option<_>>()?;
    Some(certificate::Settings { mappings })
}

fn pin(text: &String, complaints: &mut Complaints) -> Option<[u8; 32]> {
    let decoded = text
        .strip_prefix(PIN)
        .and_then(|text| STANDARD.decode(text).ok())
        .and_then(|bytes| bytes.try_into().ok());
    if decoded.is_none() {
        complaints.add(
            format!("`{text}` is no pin"),
            "write sha256/ and what `openssl x509 -pubkey -noout -in server.pem | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64` prints",
        );
    }
    decoded
}

fn read(path: &Path, complaints: &mut Complaints) -> Option<Vec<u8>> {
    let cannot = |error| format!("{} cannot be read: {error}", path.display());
    match std::fs::metadata(path) {
        Ok(about) if about.len() > FILE_BYTES_MAX => {
            complaints.add(format!("{} is larger than 16 MiB", path.display()), "");
            None
        }
        _ => complaints.keep(std::fs::read(path).map_err(cannot), ""),
    }
}

/// Whether nobody can read it but its owner, or root's group if it is root's: as `PostgreSQL` has it.
fn is_closed(path: &Path, complaints: &mut Complaints) -> bool {
    // A file that is not there is complained about where it is read.
    let Ok(about) = std::fs::metadata(path) else {
        return true;
    };
    let open = if about.uid() == 0 { 0o037 } else { 0o077 };
    if about.mode() & open == 0 {
        return true;
    }
    complaints.add(
        format!("others can read {}", path.display()),
        format!("run `chmod 600 {}`", path.display()),
    );
    false
}
