//! Owns the device's key and certificate: making a key, asking for a certificate, loading and replacing the pair.
//! Promises that key and certificate in the folder always belong together, whenever the power goes.
//! The key never leaves the folder; only a signature made with it does.

use std::{fs, io};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use fieldkeep_protocol::id::DeviceId;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::{
    folder::{Folder, sync_folder, write_atomically},
    tls::{self, ClientIdentity},
};

/// What is wrong with the device's key or certificate.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("cannot {what}")]
    File {
        /// What was being done.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{what}")]
    Invalid {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A key or a request cannot be made.
    #[error("cannot make a key or a certificate request")]
    Make(#[source] rcgen::Error),
}

fn file_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> IdentityError {
    let what = what.into();
    move |source| IdentityError::File { what, source }
}

const fn invalid(what: &'static str) -> IdentityError {
    IdentityError::Invalid { what }
}

/// A new key with its request for a certificate.
pub struct Request {
    /// The private key as PKCS#8 in PEM.
    pub key_pem: Zeroizing<String>,
    /// The request in PEM, signed with the key.
    pub csr_pem: String,
}

/// Makes a P-256 key and a request. The cloud decides what the certificate says; the request only proves the key.
pub fn request() -> Result<Request, IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IdentityError::Make)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "fieldkeep-logger");
    let csr = params
        .serialize_request(&key)
        .map_err(IdentityError::Make)?;
    Ok(Request {
        key_pem: Zeroizing::new(key.serialize_pem()),
        csr_pem: csr.pem().map_err(IdentityError::Make)?,
    })
}

/// The device's key and certificate, fit to be used.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Zeroizing<Vec<u8>>,
    signer: EcdsaKeyPair,
    /// SHA-256 of the certificate, which seals name it by.
    pub x5t: [u8; 32],
    /// When the certificate begins, in seconds since 1970.
    pub not_before_s: i64,
    /// When the certificate ends, in seconds since 1970.
    pub not_after_s: i64,
}

impl Identity {
    /// Loads key and certificate from a folder and finishes a replacement that was interrupted.
    pub fn load(folder: &Folder, device: DeviceId) -> Result<Identity, IdentityError> {
        finish_replacement(folder)?;
        let read = |path: std::path::PathBuf| {
            fs::read(&path).map_err(file_error(format!("read {}", path.display())))
        };
        let key = Zeroizing::new(read(folder.key())?);
        let chain = read(folder.certificate())?;
        Identity::parse(&key, &chain, device)
    }

    /// Checks that a key and a chain in PEM belong together and to a device.
    pub fn parse(
        key_pem: &[u8],
        chain_pem: &[u8],
        device: DeviceId,
    ) -> Result<Identity, IdentityError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem)
            .collect::<Result<_, _>>()
            .map_err(|_| invalid("the device's certificate cannot be read"))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(key_pem)
            .map_err(|_| invalid("the device's key cannot be read: PKCS#8 in PEM is needed"))?;
        let key = Zeroizing::new(key.secret_pkcs8_der().to_vec());
        let signer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key)
            .map_err(|_| invalid("the device's key is not a P-256 key"))?;
        let leaf = chain
            .first()
            .ok_or(invalid("the device's certificate file is empty"))?;
        let (_, parsed) = X509Certificate::from_der(leaf)
            .map_err(|_| invalid("the device's certificate cannot be read"))?;
        let public = aws_lc_rs::signature::KeyPair::public_key(&signer).as_ref();
        if parsed.public_key().subject_public_key.data.as_ref() != public {
            return Err(invalid(
                "the device's key and certificate do not belong together",
            ));
        }
        let name = parsed
            .subject()
            .iter_common_name()
            .next()
            .and_then(|cn| cn.as_str().ok());
        if name.and_then(|cn| cn.parse::<DeviceId>().ok()) != Some(device) {
            return Err(invalid(
                "the certificate is another device's than device.toml says",
            ));
        }
        Ok(Identity {
            x5t: tls::fingerprint(leaf),
            not_before_s: parsed.validity().not_before.timestamp(),
            not_after_s: parsed.validity().not_after.timestamp(),
            chain,
            key,
            signer,
        })
    }

    /// What TLS shows of the device.
    pub fn for_tls(&self) -> ClientIdentity {
        ClientIdentity {
            chain: self.chain.clone(),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.to_vec())),
        }
    }

    /// Signs with ES256; `None` if the system has no randomness.
    pub fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        self.signer
            .sign(&random, message)
            .ok()?
            .as_ref()
            .try_into()
            .ok()
    }

    /// From when the certificate is to be renewed: two thirds of its life, and up to a twentieth later by chance
    /// (0 to 1), so that a fleet does not come at once.
    pub fn renew_at_s(&self, chance: f64) -> i64 {
        let life = (self.not_after_s - self.not_before_s).max(0);
        let jitter = (life as f64 / 20.0 * chance.clamp(0.0, 1.0)) as i64;
        self.not_before_s + life / 3 * 2 + jitter
    }
}

/// Writes a new pair beside the old one, then puts it in its place. The certificate in `next/` is the decision: once it
/// is there, the replacement will be finished, now or at the next start; before, the old pair stays.
pub fn replace_pair(folder: &Folder, key_pem: &str, chain_pem: &str) -> Result<(), IdentityError> {
    let next = folder.next();
    let failed = || file_error("write the new key and certificate");
    match fs::remove_dir_all(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed()(error)),
        _ => {}
    }
    fs::create_dir(&next).map_err(failed())?;
    write_atomically(&next.join("device.key"), key_pem.as_bytes(), 0o600).map_err(failed())?;
    sync_folder(folder.path()).map_err(failed())?;
    write_atomically(&next.join("device.pem"), chain_pem.as_bytes(), 0o644).map_err(failed())?;
    finish_replacement(folder)
}

fn finish_replacement(folder: &Folder) -> Result<(), IdentityError> {
    let next = folder.next();
    if !next.exists() {
        return Ok(());
    }
    let failed = || file_error("put the new key and certificate in place");
    let (key, certificate) = (next.join("device.key"), next.join("device.pem"));
    if certificate.exists() {
        if key.exists() {
            fs::rename(&key, folder.key()).map_err(failed())?;
            sync_folder(folder.path()).map_err(failed())?;
        }
        fs::rename(&certificate, folder.certificate()).map_err(failed())?;
        sync_folder(folder.path()).map_err(failed())?;
    }
    fs::remove_dir_all(&next).map_err(failed())?;
    sync_folder(folder.path()).map_err(failed())
}

#[cfg(test)]
mod tests;
