//! Certificate profiles: everything that a certificate of ours says, by kind.
//!
//! Owns lifetimes, names, key usages and constraints. Pure: time, keys and ids come in as arguments.
//! Promises that nothing but a public key is ever taken from a requester.

use std::net::IpAddr;
use std::time::Duration;

use fieldkeep_protocol::{DeviceId, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;

use crate::keys::random;

/// The life of a device's or server's certificate.
pub(super) const LEAF: Duration = days(90);
/// How long before its end the server's certificate is replaced: a third of its life.
pub(super) const LEAF_RENEWAL: Duration = days(30);
/// An issuing authority with less than this left is replaced, so that it outlives what it signs.
pub(super) const ISSUING_RESERVE: Duration = days(180);
const ROOT: Duration = days(3_652);
const ISSUING: Duration = days(730);
/// Clocks of devices may be behind ours by this much.
const BACKDATED: Duration = Duration::from_secs(3_600);

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

/// Certificates tell the time in the types of rcgen's own time crate.
macro_rules! since_1970 {
    ($time:expr) => {
        rcgen::date_time_ymd(1970, 1, 1)
            + Duration::from_secs(u64::try_from($time.as_micros() / 1_000_000).unwrap_or(0))
    };
}

/// Whom the certificates under a root identify. The two never share a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Device,
    Server,
}

impl Purpose {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Server => "server",
        }
    }

    fn usage(self) -> ExtendedKeyUsagePurpose {
        match self {
            Self::Device => ExtendedKeyUsagePurpose::ClientAuth,
            Self::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }
    }
}

/// A certificate and the times that it is valid for.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) serial: Vec<u8>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

/// A self-signed root for one purpose.
pub(super) fn root(purpose: Purpose, now: Timestamp, key: &KeyPair) -> Result<Made, rcgen::Error> {
    let mut draft = Draft::new(now, ROOT, &authority_name(purpose, "root"));
    draft.params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    draft.params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    draft.sign(|params| params.self_signed(key))
}

/// An authority that signs leaves of one purpose and no further authority.
pub(super) fn issuing(
    purpose: Purpose,
    now: Timestamp,
    key: &KeyPair,
    root: &Issuer<'_, KeyPair>,
) -> Result<Made, rcgen::Error> {
    let mut draft = Draft::new(now, ISSUING, &authority_name(purpose, "issuing"));
    draft.params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    draft.params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    draft.params.extended_key_usages = vec![purpose.usage()];
    draft.sign(|params| params.signed_by(key, root))
}

/// A device's certificate.
pub(super) fn device(
    device: DeviceId,
    now: Timestamp,
    key: &impl PublicKeyData,
    issuing: &Issuer<'_, KeyPair>,
) -> Result<Made, rcgen::Error> {
    let mut draft = Draft::new(now, LEAF, &device.to_string());
    draft.params.subject_alt_names = vec![SanType::URI(device.urn().to_string().try_into()?)];
    draft.leaf(Purpose::Device);
    draft.sign(|params| params.signed_by(key, issuing))
}

/// The server's certificate, for the name that devices and people use and for this machine itself.
pub(super) fn server(
    name: &str,
    now: Timestamp,
    key: &KeyPair,
    issuing: &Issuer<'_, KeyPair>,
) -> Result<Made, rcgen::Error> {
    let mut draft = Draft::new(now, LEAF, name);
    for name in server_names(name) {
        draft
            .params
            .subject_alt_names
            .push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.try_into()?),
            });
    }
    draft.leaf(Purpose::Server);
    draft.sign(|params| params.signed_by(key, issuing))
}

/// Every name that a server's certificate is good for.
pub(super) fn server_names(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    for own in ["localhost", "127.0.0.1", "::1"] {
        if own != name {
            names.push(own.to_owned());
        }
    }
    names
}

fn authority_name(purpose: Purpose, rank: &str) -> String {
    // A part of chance, because path building looks authorities up by name.
    let chance = u32::from_be_bytes(random());
    format!("Fieldkeep {} {rank} {chance:08x}", purpose.word())
}

struct Draft {
    params: CertificateParams,
    not_before: Timestamp,
    not_after: Timestamp,
    serial: Vec<u8>,
}

impl Draft {
    fn new(now: Timestamp, life: Duration, common_name: &str) -> Self {
        let not_before = whole_seconds(now, -seconds(BACKDATED));
        let not_after = whole_seconds(now, seconds(life));
        let mut serial: [u8; 16] = random();
        // Positive and never with a leading zero byte, so that every encoder writes the same 16 bytes.
        serial[0] = (serial[0] & 0x7f) | 0x40;
        let mut params = CertificateParams::default();
        params.not_before = since_1970!(not_before);
        params.not_after = since_1970!(not_after);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.use_authority_key_identifier_extension = true;
        Self {
            params,
            not_before,
            not_after,
            serial: serial.to_vec(),
        }
    }

    fn leaf(&mut self, purpose: Purpose) {
        self.params.is_ca = IsCa::ExplicitNoCa;
        self.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        self.params.extended_key_usages = vec![purpose.usage()];
    }

    fn sign(
        self,
        sign: impl FnOnce(&CertificateParams) -> Result<rcgen::Certificate, rcgen::Error>,
    ) -> Result<Made, rcgen::Error> {
        Ok(Made {
            certificate: sign(&self.params)?.into(),
            serial: self.serial,
            not_before: self.not_before,
            not_after: self.not_after,
        })
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn whole_seconds(now: Timestamp, plus_s: i64) -> Timestamp {
    let second = now.as_micros().div_euclid(1_000_000).saturating_add(plus_s);
    Timestamp::from_micros(second.saturating_mul(1_000_000))
}
