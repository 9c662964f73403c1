//! Owns how the cloud is recognised: TLS 1.3 only, a root of our own, the name, and dates judged by a time we are given.
//! Promises that no connection is up, and so no byte of data leaves, before the server's certificate has passed.
//! Sessions are never resumed: a resumed one would skip the check.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    time_provider::TimeProvider,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// A configuration that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot set TLS up: {what}")]
pub struct TlsError {
    /// What is wrong.
    pub what: &'static str,
    /// What the library said.
    #[source]
    pub source: rustls::Error,
}

/// What a device shows of itself.
pub struct ClientIdentity {
    /// Its certificate and the one that issued it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
}

/// The roots in a PEM text; `None` where there is none, or one that is no certificate.
pub fn roots(pem: &[u8]) -> Option<RootCertStore> {
    use rustls_pki_types::pem::PemObject;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        store.add(certificate.ok()?).ok()?;
    }
    (!store.is_empty()).then_some(store)
}

/// SHA-256 of a certificate's DER.
pub fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, certificate);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// Trust in the roots of the device's own folder.
pub fn client_config(
    roots: Arc<RootCertStore>,
    identity: Option<ClientIdentity>,
    now_s: u64,
) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let verifier = verifier(roots, &provider)?;
    config(provider, verifier, identity, now_s)
}

/// Trust in the roots of the device's own folder by somebody who knows only that it is not before `proven_s`: what had
/// run out by then is refused, what begins later may have begun. The caller checks again once it knows the time.
pub fn timeless_config(
    roots: Arc<RootCertStore>,
    identity: Option<ClientIdentity>,
    proven_s: u64,
) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let timeless = Timeless(verifier(roots, &provider)?);
    config(provider, Arc::new(timeless), identity, proven_s)
}

fn verifier(
    roots: Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
        .build()
        .map_err(|e| TlsError {
            what: "the trusted root cannot be used",
            source: rustls::Error::General(e.to_string()),
        })
}

/// Trust in whatever root has a fingerprint, where the server shows that root itself.
pub fn pinned_config(pin: Arc<Pin>, now_s: u64) -> Result<ClientConfig, TlsError> {
    config(provider(), pin, None, now_s)
}

fn config(
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<ClientIdentity>,
    now_s: u64,
) -> Result<ClientConfig, TlsError> {
    let failed = |what: &'static str| move |source| TlsError { what, source };
    let time: Arc<dyn TimeProvider> = Arc::new(FixedTime(now_s));
    let builder = ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(failed("TLS 1.3 is not available"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_auth_cert(identity.chain, identity.key)
            .map_err(failed("the device's key and certificate cannot be used"))?,
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Checks a chain once more, by another time: what an unset clock could not judge.
pub fn verify_again(
    roots: Arc<RootCertStore>,
    chain: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    now_s: u64,
) -> Result<(), rustls::Error> {
    let (leaf, others) = chain
        .split_first()
        .ok_or(rustls::Error::NoCertificatesPresented)?;
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|e| rustls::Error::General(e.to_string()))?;
    verifier
        .verify_server_cert(leaf, others, name, &[], unix(now_s))
        .map(|_| ())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn unix(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

#[derive(Debug)]
struct FixedTime(u64);

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(self.0))
    }
}

/// Judges dates by a time that may be long past.
#[derive(Debug)]
struct Timeless(Arc<WebPkiServerVerifier>);

/// A leaf, what issued it, and its root may each begin later.
const BEGINNINGS: usize = 4;

impl ServerCertVerifier for Timeless {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut now = now;
        for _ in 0..BEGINNINGS {
            let judged = self.0.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            );
            match judged {
                Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before,
                    ..
                })) if not_before > now => now = not_before,
                judged => return judged,
            }
        }
        Err(CertificateError::NotValidYet.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is never spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Trust in one root by its fingerprint. The server must show it; chain and name are then checked against it alone.
#[derive(Debug)]
pub struct Pin {
    expected: [u8; 32],
    provider: Arc<CryptoProvider>,
    seen: Mutex<Seen>,
}

/// What the server showed.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The root with the expected fingerprint.
    pub root: Option<CertificateDer<'static>>,
    /// The fingerprint of the last certificate shown, when none has the expected one.
    pub other: Option<[u8; 32]>,
}

impl Pin {
    /// Trusts the root with this SHA-256.
    pub fn new(expected: [u8; 32]) -> Arc<Pin> {
        Arc::new(Pin {
            expected,
            provider: provider(),
            seen: Mutex::default(),
        })
    }

    /// What the server showed, for the message and for `ca.pem`.
    pub fn seen(&self) -> Seen {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut shown = std::iter::once(end_entity).chain(intermediates);
        let Some(root) = shown.find(|c| fingerprint(c) == self.expected) else {
            let last = intermediates.last().unwrap_or(end_entity);
            self.seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .other = Some(fingerprint(last));
            return Err(CertificateError::UnknownIssuer.into());
        };
        let mut store = RootCertStore::empty();
        store.add(root.clone().into_owned())?;
        let verified = WebPkiServerVerifier::builder_with_provider(
            Arc::new(store),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|e| rustls::Error::General(e.to_string()))?
        .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .root = Some(root.clone().into_owned());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is never spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};

    use super::*;

    /// 2026-01-01 and so many days.
    fn day(days: u64) -> UnixTime {
        unix(1_767_225_600 + days * 86_400)
    }

    fn root(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    #[test]
    fn who_does_not_know_the_time_refuses_what_is_over_and_takes_what_may_have_begun() {
        let (ours, theirs) = (root("ours"), root("theirs"));
        let mut params = CertificateParams::new(vec!["cloud.test".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = date_time_ymd(2026, 3, 1);
        params.not_after = date_time_ymd(2026, 5, 30);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &ours).unwrap();
        let judge = |issuer: &CertifiedIssuer<'static, KeyPair>, name: &str, now| {
            let mut roots = RootCertStore::empty();
            roots.add(issuer.der().clone()).unwrap();
            let timeless = Timeless(verifier(Arc::new(roots), &provider()).unwrap());
            let name = ServerName::try_from(name.to_owned()).unwrap();
            timeless.verify_server_cert(leaf.der(), &[], &name, &[], now)
        };
        for known in [day(0), day(100)] {
            assert!(judge(&ours, "cloud.test", known).is_ok());
            assert!(judge(&ours, "other.test", known).is_err());
            assert!(judge(&theirs, "cloud.test", known).is_err());
        }
        let over = judge(&ours, "cloud.test", day(200)).unwrap_err();
        assert!(matches!(
            over,
            rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. })
        ));
    }
}
