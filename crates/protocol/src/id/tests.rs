//! TypeID 0.3 vectors, strictness and order of identifiers.

use std::format;
use std::string::ToString;
use std::vec::Vec;

use super::*;

fn bytes(uuid: &str) -> [u8; 16] {
    let digits: Vec<u8> = uuid.bytes().filter(|byte| *byte != b'-').collect();
    let mut out = [0; 16];
    for (slot, pair) in out.iter_mut().zip(digits.chunks(2)) {
        *slot = u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
    }
    out
}

#[test]
fn specification_vectors() {
    for (suffix, uuid) in [
        (
            "00000000000000000000000000",
            "00000000-0000-0000-0000-000000000000",
        ),
        (
            "00000000000000000000000001",
            "00000000-0000-0000-0000-000000000001",
        ),
        (
            "0000000000000000000000000a",
            "00000000-0000-0000-0000-00000000000a",
        ),
        (
            "0000000000000000000000000g",
            "00000000-0000-0000-0000-000000000010",
        ),
        (
            "00000000000000000000000010",
            "00000000-0000-0000-0000-000000000020",
        ),
        (
            "7zzzzzzzzzzzzzzzzzzzzzzzzz",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ),
        (
            "0123456789abcdefghjkmnpqrs",
            "0110c853-1d09-52d8-d73e-1194e95b5f19",
        ),
        (
            "01h455vb4pex5vsknk084sn02q",
            "01890a5d-ac96-774b-bcce-b302099a8057",
        ),
    ] {
        let id = ElementId::from_bytes(bytes(uuid));
        assert_eq!(id.to_string(), format!("elm_{suffix}"));
        assert_eq!(format!("elm_{suffix}").parse(), Ok(id));
        let device = DeviceId::from_bytes(bytes(uuid));
        assert_eq!(device.urn().to_string(), format!("urn:uuid:{uuid}"));
        assert_eq!(DeviceId::from_urn(&format!("urn:uuid:{uuid}")), Ok(device));
    }
}

#[test]
fn everything_else_is_refused() {
    for text in [
        "",
        "dev",
        "dev_",
        "_01h455vb4pex5vsknk084sn02q",
        "01h455vb4pex5vsknk084sn02q",
        "prj_01h455vb4pex5vsknk084sn02q",
        "DEV_01h455vb4pex5vsknk084sn02q",
        "dev_01H455VB4PEX5VSKNK084SN02Q",
        "dev_01h455vb4pex5vsknk084sn02",
        "dev_01h455vb4pex5vsknk084sn02qq",
        "dev_8zzzzzzzzzzzzzzzzzzzzzzzzz",
        "dev_01h455vb4pex5vsknk084sn0il",
        "dev_01h455vb4pex5vsknk084sn02-",
        "dev_01h455vb4pex5vsknk084sn0é",
        "dev__1h455vb4pex5vsknk084sn02q",
    ] {
        assert_eq!(text.parse::<DeviceId>(), Err(InvalidId), "{text}");
    }
    for text in [
        "01890a5d-ac96-774b-bcce-b302099a8057",
        "urn:uuid:01890A5D-ac96-774b-bcce-b302099a8057",
        "urn:uuid:01890a5dac96774bbcceb302099a8057",
        "urn:uuid:01890a5d-ac96-774b-bcce-b302099a805",
        "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057 ",
        "urn:uuid:01890a5d_ac96-774b-bcce-b302099a8057",
    ] {
        assert_eq!(DeviceId::from_urn(text), Err(InvalidId), "{text}");
    }
}

#[test]
fn version_7_bits_and_order_by_time() {
    let early = ProjectId::from_parts(1, [0xff; 10]);
    let late = ProjectId::from_parts(2, [0; 10]);
    assert!(early < late && early.to_string() < late.to_string());
    assert_eq!(
        early.as_bytes(),
        &bytes("00000000-0001-7fff-bfff-ffffffffffff")
    );
    assert_eq!(
        late.as_bytes(),
        &bytes("00000000-0002-7000-8000-000000000000")
    );
    assert_eq!(format!("{early:?}"), early.to_string());
}
