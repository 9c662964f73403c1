//! Batches: whatever bytes may be, decoding ends without a panic, and what is a batch can be read to its end.
#![no_main]

use fieldkeep_protocol::batch::Batch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(batch) = Batch::decode(bytes) {
        let times = batch.times().count();
        for column in batch.columns() {
            assert!(column.cells().count() <= times);
        }
    }
});
