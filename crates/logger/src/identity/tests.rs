//! Key and certificate: they belong together whenever the replacement is cut short.

use rcgen::{BasicConstraints, CertificateSigningRequestParams, CertifiedIssuer, IsCa};

use super::*;

pub(crate) fn issuer() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(
        params,
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
    )
    .unwrap()
}

fn device() -> DeviceId {
    DeviceId::from_parts(1_700_000_000_000, [3; 10])
}

fn pair(issuer: &CertifiedIssuer<'static, KeyPair>) -> (String, String) {
    let request = request().unwrap();
    let mut csr = CertificateSigningRequestParams::from_pem(&request.csr_pem).unwrap();
    csr.params.distinguished_name = DistinguishedName::new();
    csr.params
        .distinguished_name
        .push(DnType::CommonName, device().to_string());
    (
        request.key_pem.to_string(),
        csr.signed_by(issuer).unwrap().pem(),
    )
}

#[test]
fn a_pair_signs_and_a_mixed_one_is_refused() {
    let issuer = issuer();
    let (key, certificate) = pair(&issuer);
    let identity = Identity::parse(key.as_bytes(), certificate.as_bytes(), device()).unwrap();
    assert!(identity.sign(b"message").is_some());
    let life = identity.not_after_s - identity.not_before_s;
    assert!(identity.renew_at_s(1.0) < identity.not_after_s - life / 5);
    let (_, other) = pair(&issuer);
    assert!(Identity::parse(key.as_bytes(), other.as_bytes(), device()).is_err());
    let stranger = DeviceId::from_bytes([9; 16]);
    assert!(Identity::parse(key.as_bytes(), certificate.as_bytes(), stranger).is_err());
}

#[test]
fn a_replacement_cut_anywhere_leaves_one_whole_pair() {
    let issuer = issuer();
    let (old, new) = (pair(&issuer), pair(&issuer));
    // Each state that a crash can leave: what lies in `next/`, and whether the key has moved already.
    for (key_in_next, certificate_in_next, key_moved) in [
        (false, false, false),
        (true, false, false),
        (true, true, false),
        (false, true, true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(dir.path());
        fs::write(folder.key(), if key_moved { &new.0 } else { &old.0 }).unwrap();
        fs::write(folder.certificate(), &old.1).unwrap();
        fs::create_dir(folder.next()).unwrap();
        if key_in_next {
            fs::write(folder.next().join("device.key"), &new.0).unwrap();
        }
        if certificate_in_next {
            fs::write(folder.next().join("device.pem"), &new.1).unwrap();
        }
        Identity::load(&folder, device()).unwrap();
        let expected = if certificate_in_next { &new.1 } else { &old.1 };
        assert_eq!(&fs::read_to_string(folder.certificate()).unwrap(), expected);
        assert!(!folder.next().exists());
    }
}

#[test]
fn a_new_pair_takes_the_place_of_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::at(dir.path());
    let issuer = issuer();
    let (old, new) = (pair(&issuer), pair(&issuer));
    fs::write(folder.key(), &old.0).unwrap();
    fs::write(folder.certificate(), &old.1).unwrap();
    replace_pair(&folder, &new.0, &new.1).unwrap();
    assert_eq!(fs::read_to_string(folder.key()).unwrap(), new.0);
    Identity::load(&folder, device()).unwrap();
}
