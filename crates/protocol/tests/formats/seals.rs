//! Seals seen by another COSE library.

use coset::{CborSerializable, CoseSign1, Label, TaggedCborSerializable, iana};
use fieldkeep_protocol::seal::{self, Seal};

use crate::samples::{self, encoded};

#[test]
fn coset_reads_our_seal() {
    let bytes = samples::seal_bytes();
    let sign1 = CoseSign1::from_tagged_slice(&bytes).unwrap();
    let header = &sign1.protected.header;
    assert_eq!(
        header.alg,
        Some(coset::Algorithm::Assigned(iana::Algorithm::ES256))
    );
    let x5t = coset::cbor::Value::Array(vec![(-16).into(), samples::X5T.to_vec().into()]);
    assert_eq!(
        header.rest,
        [(Label::Int(iana::HeaderParameter::X5T as i64), x5t)]
    );
    assert!(sign1.unprotected.is_empty());
    assert_eq!(
        sign1.payload.as_deref(),
        Some(&*encoded(|out| samples::PAYLOAD.encode(out)))
    );
    assert_eq!(sign1.signature, [0x99; 64]);
    let signed = encoded(|out| Seal::decode(&bytes).unwrap().signed_bytes(out));
    assert_eq!(sign1.tbs_data(&[]), signed);
}

#[test]
fn we_read_cosets_seal() {
    let payload = encoded(|out| samples::PAYLOAD.encode(out));
    let x5t = coset::cbor::Value::Array(vec![(-16).into(), samples::X5T.to_vec().into()]);
    let protected = coset::HeaderBuilder::new()
        .algorithm(iana::Algorithm::ES256)
        .value(iana::HeaderParameter::X5T as i64, x5t)
        .build();
    assert_eq!(
        protected.clone().to_vec().unwrap(),
        seal::protected(&samples::X5T)
    );
    let sign1 = coset::CoseSign1Builder::new()
        .protected(protected)
        .payload(payload.clone())
        .create_signature(&[], |message| {
            assert_eq!(
                message,
                encoded(|out| seal::to_be_signed(&samples::X5T, &payload, out))
            );
            vec![0x99; 64]
        })
        .build();
    assert_eq!(sign1.to_tagged_vec().unwrap(), samples::seal_bytes());
}
