//! The reserve: when it is made, released and made again.

use super::reserve::{FILE, Reserve, Step};

const MIB: u64 = 1 << 20;
const TOTAL: u64 = 100 << 30;

#[test]
fn the_reserve_is_made_whole_and_released() {
    let folder = tempfile::tempdir().unwrap();
    let reserve = Reserve::new(folder.path(), MIB);
    assert_eq!(reserve.held(), 0);
    reserve.make(TOTAL).unwrap();
    assert_eq!(reserve.held(), MIB);
    let on_disk = std::os::unix::fs::MetadataExt::blocks(
        &std::fs::metadata(folder.path().join(FILE)).unwrap(),
    );
    assert!(on_disk * 512 >= MIB, "it holds no room: {on_disk} blocks");
    reserve.release();
    reserve.release();
    assert_eq!(reserve.held(), 0);
    // A hundredth of a small disk is enough.
    reserve.make(20 * MIB).unwrap();
    assert_eq!(reserve.held(), 20 * MIB / 100);
}

#[test]
fn what_cannot_be_made_leaves_nothing() {
    let reserve = Reserve::new(std::path::Path::new("/nowhere/at/all"), MIB);
    assert!(reserve.make(TOTAL).is_err());
    assert_eq!(reserve.held(), 0);
}

#[test]
fn it_shuts_before_the_end_and_opens_with_distance() {
    let folder = tempfile::tempdir().unwrap();
    let reserve = Reserve::new(folder.path(), 64 * MIB);
    let judge = |free, let_in| reserve.judge(TOTAL, free, let_in);
    assert_eq!(judge(10 << 30, true), Step::Make);
    // Too little room to make it, enough to go on.
    assert_eq!(judge(127 * MIB, true), Step::Stay);
    assert_eq!(judge(16 * MIB, true), Step::Stay);
    assert_eq!(judge(15 * MIB, true), Step::Shut);
    // What the released reserve gives back does not open again.
    assert_eq!(judge((15 + 64) * MIB, false), Step::Stay);
    assert_eq!(judge(128 * MIB, false), Step::Open);
}

#[test]
fn without_a_reserve_nothing_is_refused() {
    let reserve = Reserve::new(std::path::Path::new("/nowhere"), 0);
    assert_eq!(reserve.judge(TOTAL, 0, true), Step::Stay);
    assert_eq!(reserve.judge(TOTAL, 0, false), Step::Open);
}
