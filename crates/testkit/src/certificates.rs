//! Certificates made for a test: an authority, what it signs, and what it takes back.

use anyhow::Result;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PublicKeyData as _, RevocationReason, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

/// Years in which what is valid is.
const YEARS: (i32, i32) = (2020, 2090);

/// Somebody who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The certificate.
    pub chain: String,
    /// The key.
    pub key: String,
    /// Its number, by which it is revoked.
    pub serial: u64,
    /// `sha256/…` of its public key.
    pub pin: String,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Servers.
    Server,
    /// Clients.
    Client,
}

impl Authority {
    /// Signs its own certificate.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = valid(YEARS);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// A certificate for a server at `localhost` and `127.0.0.1`.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn server(&self, serial: u64) -> Result<Holder> {
        self.server_until(YEARS.1, serial)
    }

    /// The same, good until the first day of this year.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn server_until(&self, year: i32, serial: u64) -> Result<Holder> {
        let names = vec![
            SanType::DnsName("localhost".try_into()?),
            SanType::DnsName("gate.example".try_into()?),
            SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()),
        ];
        self.sign(serial, names, Use::Server, (YEARS.0, year))
    }

    /// A certificate for a client of this DNS name.
    ///
    /// # Errors
    /// If it is no name.
    pub fn client(&self, serial: u64, name: &str) -> Result<Holder> {
        let names = vec![SanType::DnsName(name.try_into()?)];
        self.sign(serial, names, Use::Client, YEARS)
    }

    /// One of years that are over.
    ///
    /// # Errors
    /// If it is no name.
    pub fn expired_client(&self, serial: u64, name: &str) -> Result<Holder> {
        let names = vec![SanType::DnsName(name.try_into()?)];
        self.sign(serial, names, Use::Client, (2020, 2021))
    }

    fn sign(
        &self,
        serial: u64,
        names: Vec<SanType>,
        purpose: Use,
        years: (i32, i32),
    ) -> Result<Holder> {
        let mut params = valid(years);
        params.serial_number = Some(SerialNumber::from(serial));
        params.subject_alt_names = names;
        params.extended_key_usages = vec![match purpose {
            Use::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Use::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let key = KeyPair::generate()?;
        let spki = digest(&SHA256, &key.subject_public_key_info());
        Ok(Holder {
            chain: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
            serial,
            pin: ["sha256/", &STANDARD.encode(spki)].concat(),
        })
    }

    /// The list of those that it took back.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub fn revoked(&self, serials: &[u64]) -> Result<String> {
        self.revoked_until(YEARS.1, serials)
    }

    /// A list that is out of date from this year on.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub fn revoked_until(&self, year: i32, serials: &[u64]) -> Result<String> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.pem()?)
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

fn valid((from, to): (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    params
}
