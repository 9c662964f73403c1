//! The certificate authorities of an instance: two roots, and under each an issuing authority.
//!
//! Owns the table `authority`; private keys in it are sealed under the instance's key. Promises that however
//! many processes open one instance, they see the same authorities, and that an issuing authority outlives
//! what it signs. Superseded issuing certificates stay, because chains of living leaves lead through them.

use rcgen::{Issuer, KeyPair, PKCS_ECDSA_P384_SHA384};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::PkiError;
use super::profile::{self, ISSUING_RESERVE, Made, Purpose};
use crate::clock::Clock;
use crate::db::{Db, Transaction};
use crate::keys::{Keys, random};

const KEY: &str = "authority.key_sealed";

/// An authority or server leaf with its private key.
pub(super) struct Holder {
    pub(super) id: [u8; 16],
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) not_after_us: i64,
}

impl Holder {
    pub(super) fn key_pair(&self) -> Result<KeyPair, PkiError> {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.as_slice()));
        Ok(KeyPair::try_from(&der)?)
    }

    pub(super) fn issuer(&self) -> Result<Issuer<'static, KeyPair>, PkiError> {
        Ok(Issuer::from_ca_cert_der(
            &self.certificate,
            self.key_pair()?,
        )?)
    }
}

/// One root, the authority that issues under it, and earlier ones.
pub(super) struct Branch {
    pub(super) root: CertificateDer<'static>,
    pub(super) issuing: Holder,
    pub(super) earlier: Vec<CertificateDer<'static>>,
}

impl Branch {
    /// Every issuing certificate, the one in use first.
    pub(super) fn issuing_certificates(&self) -> Vec<CertificateDer<'static>> {
        std::iter::once(&self.issuing.certificate)
            .chain(&self.earlier)
            .cloned()
            .collect()
    }
}

/// Reads the authorities of one purpose, and makes what is missing or near its end.
pub(super) async fn open(
    db: &Db,
    keys: &Keys,
    clock: &Clock,
    purpose: Purpose,
) -> Result<Branch, PkiError> {
    let mut transaction = db.begin().await?;
    let mut roots = read(&mut transaction, keys, &rank(purpose, "root")).await?;
    let root = match roots.drain(..).next() {
        Some(root) => root,
        None => {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?;
            let made = profile::root(purpose, clock.now(), &key)?;
            let rank = rank(purpose, "root");
            store(&mut transaction, keys, clock, &rank, made, &key, None).await?
        }
    };
    let mut issuing = read(&mut transaction, keys, &rank(purpose, "issuing")).await?;
    let reserve_us = i64::try_from(ISSUING_RESERVE.as_micros()).unwrap_or(i64::MAX);
    let needed_us = clock.now().as_micros().saturating_add(reserve_us);
    if issuing
        .first()
        .is_none_or(|newest| newest.not_after_us < needed_us)
    {
        let key = KeyPair::generate()?;
        let made = profile::issuing(purpose, clock.now(), &key, &root.issuer()?)?;
        let parent = Some(&root.id);
        let rank = rank(purpose, "issuing");
        let made = store(&mut transaction, keys, clock, &rank, made, &key, parent).await?;
        issuing.insert(0, made);
    }
    transaction.commit().await?;
    let issuing_now = issuing.remove(0);
    Ok(Branch {
        root: root.certificate,
        issuing: issuing_now,
        earlier: issuing.into_iter().map(|old| old.certificate).collect(),
    })
}

fn rank(purpose: Purpose, rank: &str) -> String {
    format!("{}_{rank}", purpose.word())
}

/// The rows of one kind, newest first.
pub(super) async fn read(
    transaction: &mut Transaction,
    keys: &Keys,
    kind: &str,
) -> Result<Vec<Holder>, PkiError> {
    let rows = transaction
        .fetch_all(
            "SELECT id, certificate, key_sealed, not_after_us FROM authority
             WHERE purpose = $1 ORDER BY created_us DESC, not_after_us DESC",
            &[kind.into()],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let id: [u8; 16] = row.array(0)?;
            Ok(Holder {
                id,
                certificate: CertificateDer::from(row.bytes(1)?.to_vec()),
                key: keys.instance().open(KEY, &id, row.bytes(2)?)?,
                not_after_us: row.i64(3)?,
            })
        })
        .collect()
}

/// Adds a row; it lasts when the transaction is committed.
pub(super) async fn store(
    transaction: &mut Transaction,
    keys: &Keys,
    clock: &Clock,
    kind: &str,
    made: Made,
    key: &KeyPair,
    parent: Option<&[u8; 16]>,
) -> Result<Holder, PkiError> {
    let id: [u8; 16] = random();
    let key = Zeroizing::new(key.serialize_der());
    let sealed = keys.instance().seal(KEY, &id, &key);
    transaction
        .execute(
            "INSERT INTO authority (id, purpose, certificate, key_sealed, parent, not_after_us, created_us)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                (&id).into(),
                kind.into(),
                made.certificate.as_ref().into(),
                (&sealed).into(),
                parent.into(),
                made.not_after.as_micros().into(),
                clock.now().as_micros().into(),
            ],
        )
        .await?;
    Ok(Holder {
        id,
        certificate: made.certificate,
        key,
        not_after_us: made.not_after.as_micros(),
    })
}
