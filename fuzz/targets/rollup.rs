//! Roll-ups: whatever bytes may be, decoding ends without a panic and without more memory than they could hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fieldkeep_store::fuzz::rollup(bytes);
});
