//! The one verifier of device certificates, used by every listener and after every handshake.
//!
//! webpki builds the chain to a device root; then ours, because webpki takes an extended key usage as
//! required only if present and ignores the key usage: EKU exactly clientAuth, key usage digitalSignature,
//! exactly one name, which is the device's URI, the same device in the common name, a P-256 key, no authority, no
//! extension that we do not know.
//! What was proved once is not proved again (`proven`): a path to a root is built for the first leaf of an issuing authority,
//! which is an anchor for the others from then on, and a leaf that passed in its handshake passes again by its hash.
//! Promises that a [`Verified`] was valid at some time up to now. Does not refuse one that has expired since
//! (renewal needs it) and knows no rows: [`Pki::authenticate`](super::Pki::authenticate) judges both, also
//! after a resumption, which skips this verifier in the handshake.

use std::sync::Arc;
use std::time::Duration;

use fieldkeep_protocol::{DeviceId, Timestamp};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, PeerIncompatible,
    SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use super::csr::{is_p256, sha256};
use super::proven::{Issuing, Leaf, Leaves, life};
use crate::clock::Clock;

/// Leaf and issuing authority; one more for a bridge. What follows is not looked at.
const LONGEST_CHAIN: usize = 3;
const LARGEST_CERTIFICATE: usize = 4_096;

static SIGNATURES: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::aws_lc_rs::ECDSA_P256_SHA256,
    webpki::aws_lc_rs::ECDSA_P384_SHA384,
];

static HANDSHAKES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: SIGNATURES,
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[webpki::aws_lc_rs::ECDSA_P256_SHA256],
        ),
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[webpki::aws_lc_rs::ECDSA_P384_SHA384],
        ),
    ],
};

/// Why a certificate is not a device's certificate of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The certificate, or its chain, is not DER or out of bounds.
    #[error("it cannot be read")]
    Encoding,
    /// It does not lead to our device root.
    #[error("it was not issued by this cloud for a device")]
    Chain(#[source] webpki::Error),
    /// Its first day is still to come.
    #[error("it is not valid yet: is the clock right?")]
    NotYetValid,
    /// It is an authority's, or may sign others.
    #[error("it is an authority's certificate, not a device's")]
    Authority,
    /// Its extended key usage is missing or not exactly clientAuth.
    #[error("its extended key usage is not exactly client authentication")]
    ExtendedKeyUsage,
    /// Its key usage is missing or not digitalSignature.
    #[error("its key usage is not digital signature")]
    KeyUsage,
    /// It names nobody, somebody else as well, or another device in its subject.
    #[error("it does not name exactly one device")]
    Name,
    /// Its key is of another kind or on another curve.
    #[error("its key is not on the curve P-256")]
    Key,
    /// It holds an extension twice, or a critical one that is not understood.
    #[error("it holds an extension that is not understood")]
    Extension,
}

impl Fault {
    /// The word for it in logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Encoding => "certificate_unreadable",
            Self::Chain(webpki::Error::UnknownIssuer) => "certificate_foreign",
            Self::Chain(_) => "certificate_chain",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::Authority => "certificate_authority",
            Self::ExtendedKeyUsage => "certificate_extended_key_usage",
            Self::KeyUsage => "certificate_key_usage",
            Self::Name => "certificate_name",
            Self::Key => "certificate_key",
            Self::Extension => "certificate_extension",
        }
    }

    /// The fault inside an error of the TLS library, where it is one of ours.
    pub fn in_tls(error: &rustls::Error) -> Option<&Self> {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                inner.downcast_ref()
            }
            _ => None,
        }
    }
}

/// A certificate that this cloud issued for a device.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    pub(super) device: DeviceId,
    pub(super) serial: Vec<u8>,
    pub(super) fingerprint: [u8; 32],
    pub(super) not_after: Timestamp,
}

/// Verifies device certificates against the device roots.
#[derive(Debug)]
pub struct Verifier {
    anchors: Vec<TrustAnchor<'static>>,
    issuing: Vec<Issuing>,
    leaves: Leaves,
    subjects: Vec<DistinguishedName>,
    clock: Clock,
}

impl Verifier {
    /// A verifier for `roots`; the chains of devices that send their leaf alone are completed from `issuing`.
    pub(super) fn new(
        roots: &[CertificateDer<'static>],
        issuing: Vec<CertificateDer<'static>>,
        clock: Clock,
    ) -> Result<Self, webpki::Error> {
        let anchors = roots
            .iter()
            .map(|root| anchor_from_trusted_cert(root).map(|anchor| anchor.to_owned()))
            .collect::<Result<Vec<_>, _>>()?;
        let subjects = anchors
            .iter()
            .map(|anchor| DistinguishedName::in_sequence(&anchor.subject))
            .collect();
        let issuing = issuing.into_iter().map(Issuing::new);
        Ok(Self {
            anchors,
            issuing: issuing.collect::<Result<_, _>>()?,
            leaves: Leaves::default(),
            subjects,
            clock,
        })
    }

    pub(super) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<Verified, Fault> {
        let sizes = intermediates.iter().map(|one| one.len());
        if intermediates.len() >= LONGEST_CHAIN
            || std::iter::once(leaf.len())
                .chain(sizes)
                .any(|size| size > LARGEST_CERTIFICATE)
        {
            return Err(Fault::Encoding);
        }
        let now_s = self.clock.now().as_micros().div_euclid(1_000_000);
        let fingerprint = sha256(leaf);
        if let Some(verified) = self.leaves.find(&fingerprint, now_s) {
            return Ok(verified);
        }
        let (rest, parsed) = X509Certificate::from_der(leaf).map_err(|_| Fault::Encoding)?;
        if !rest.is_empty() {
            return Err(Fault::Encoding);
        }
        let not_after = parsed.validity().not_after.timestamp();
        let issuing = self.chain(leaf, intermediates, now_s.min(not_after))?;
        let verified = Verified {
            device: profile(&parsed)?,
            serial: parsed.raw_serial().to_vec(),
            fingerprint,
            not_after: Timestamp::from_micros(not_after.saturating_mul(1_000_000)),
        };
        if let Some(issuing) = issuing {
            let (own, above) = (life(&parsed), &issuing.life);
            let life = *own.start().max(above.start())..=*own.end().min(above.end());
            let verified = verified.clone();
            self.leaves.remember(Leaf { verified, life });
        }
        Ok(verified)
    }

    /// Judges the chain now, or on the last day of a leaf that has expired. Answers the authority of ours that the leaf hangs
    /// on directly, where it is one.
    fn chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        at_s: i64,
    ) -> Result<Option<&Issuing>, Fault> {
        let time =
            UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at_s).unwrap_or(0)));
        let end = EndEntityCert::try_from(leaf).map_err(fault)?;
        for issuing in &self.issuing {
            if let Some(anchor) = issuing.anchor_at(at_s)
                && path(&end, anchor, &[], time).is_ok()
            {
                return Ok(Some(issuing));
            }
        }
        // Up to a root: what is not proved yet, or by another server of this data, or wrong, in which case this says how.
        let ours = self.issuing.iter().map(|issuing| &issuing.certificate);
        let between: Vec<CertificateDer<'_>> = intermediates.iter().chain(ours).cloned().collect();
        let path = path(&end, &self.anchors, &between, time).map_err(fault)?;
        let mut above = path.intermediate_certificates();
        let (Some(issuer), None) = (above.next(), above.next()) else {
            return Ok(None);
        };
        let issuing = self
            .issuing
            .iter()
            .find(|issuing| issuing.certificate == issuer.der());
        if let Some(issuing) = issuing {
            issuing.prove();
        }
        Ok(issuing)
    }
}

/// A path from the leaf to one of the anchors, for a client.
fn path<'a>(
    end: &'a EndEntityCert<'a>,
    anchors: &'a [TrustAnchor<'a>],
    between: &'a [CertificateDer<'a>],
    time: UnixTime,
) -> Result<VerifiedPath<'a>, webpki::Error> {
    let usage = KeyUsage::client_auth();
    end.verify_for_usage(SIGNATURES, anchors, between, time, usage, None, None)
}

fn fault(error: webpki::Error) -> Fault {
    match error {
        webpki::Error::CertNotValidYet { .. } => Fault::NotYetValid,
        webpki::Error::CaUsedAsEndEntity => Fault::Authority,
        webpki::Error::RequiredEkuNotFoundContext(_) => Fault::ExtendedKeyUsage,
        webpki::Error::UnsupportedCriticalExtension => Fault::Extension,
        error => Fault::Chain(error),
    }
}

/// Our part of the rules, on a leaf whose chain is good.
fn profile(leaf: &X509Certificate<'_>) -> Result<DeviceId, Fault> {
    let mut client_auth_only = false;
    let mut signs = false;
    let mut device = None;
    let mut seen = Vec::new();
    for extension in leaf.extensions() {
        if seen.contains(&&extension.oid) {
            return Err(Fault::Extension);
        }
        seen.push(&extension.oid);
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                return Err(Fault::Authority);
            }
            ParsedExtension::BasicConstraints(_) => {}
            ParsedExtension::KeyUsage(usage) => {
                if usage.key_cert_sign() || usage.crl_sign() {
                    return Err(Fault::Authority);
                }
                signs = usage.digital_signature();
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                client_auth_only = usage.client_auth
                    && usage.other.is_empty()
                    && !(usage.any
                        || usage.server_auth
                        || usage.code_signing
                        || usage.email_protection
                        || usage.time_stamping
                        || usage.ocsp_signing);
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                device = match names.general_names.as_slice() {
                    [GeneralName::URI(uri)] => DeviceId::from_urn(uri).ok(),
                    _ => None,
                };
            }
            ParsedExtension::AuthorityKeyIdentifier(_)
            | ParsedExtension::SubjectKeyIdentifier(_)
                if !extension.critical => {}
            _ if extension.critical => return Err(Fault::Extension),
            _ => {}
        }
    }
    if !client_auth_only {
        return Err(Fault::ExtendedKeyUsage);
    }
    if !signs {
        return Err(Fault::KeyUsage);
    }
    if !is_p256(leaf.public_key()) {
        return Err(Fault::Key);
    }
    let device = device.ok_or(Fault::Name)?;
    let mut names = leaf.subject().iter_common_name();
    match (names.next().map(|name| name.as_str()), names.next()) {
        (Some(Ok(name)), None) if name == device.to_string() => Ok(device),
        _ => Err(Fault::Name),
    }
}

/// The verifier in a TLS handshake; `mandatory` says whether a client without a certificate gets in.
#[derive(Debug)]
pub(super) struct InHandshake {
    pub(super) verifier: Arc<Verifier>,
    pub(super) mandatory: bool,
}

impl ClientCertVerifier for InHandshake {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.verifier.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verifier
            .verify(end_entity, intermediates)
            .map(|_| ClientCertVerified::assertion())
            .map_err(|fault| CertificateError::Other(OtherError(Arc::new(fault))).into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &HANDSHAKES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        HANDSHAKES.supported_schemes()
    }
}
