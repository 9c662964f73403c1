//! The bound of durable ingest: an append-only file that decodes, hashes and encrypts the same batches and syncs after
//! so many. No database can be faster on this disk; it keeps no index, no ledger and answers nobody.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Result, anyhow};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use fieldkeep_protocol::batch::{self, Batch};

/// Batches of one sync; as many as the store commits together at most.
const GROUP: usize = 256;

/// Appends every batch to a new file; durable when this returns.
pub fn append<'a>(file: &Path, batches: impl Iterator<Item = &'a Vec<u8>>) -> Result<()> {
    let mut file = File::create(file)?;
    let key = UnboundKey::new(&AES_256_GCM, &[3; 32]).map_err(|_| anyhow!("the key"))?;
    let key = LessSafeKey::new(key);
    let mut group = Vec::new();
    let mut inside = 0;
    for (counter, bytes) in batches.enumerate() {
        Batch::decode(bytes).map_err(|error| anyhow!("{error}"))?;
        group.extend_from_slice(&batch::hash(bytes));
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&(counter as u64).to_be_bytes());
        let mut payload = bytes.clone();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from([0; 66]),
            &mut payload,
        )
        .map_err(|_| anyhow!("a batch cannot be sealed"))?;
        group.extend_from_slice(&payload);
        inside += 1;
        if inside == GROUP {
            file.write_all(&group)?;
            file.sync_data()?;
            group.clear();
            inside = 0;
        }
    }
    file.write_all(&group)?;
    file.sync_data()?;
    Ok(())
}
