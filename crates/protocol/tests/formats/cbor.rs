//! CBOR by hand, for right and for wrong bytes, independent of the crate's own writer; and batches out of such parts.

/// The head of an item in its shortest form.
pub(crate) fn head(major: u8, argument: u64) -> Vec<u8> {
    let mut bytes = argument.to_be_bytes().to_vec();
    let (info, skip) = match argument {
        0..=23 => (argument as u8, 8),
        24..=0xff => (24, 7),
        0x100..=0xffff => (25, 6),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 0),
    };
    bytes.drain(..skip);
    bytes.insert(0, major << 5 | info);
    bytes
}

/// An unsigned integer.
pub(crate) fn uint(value: u64) -> Vec<u8> {
    head(0, value)
}

/// An integer of either sign.
pub(crate) fn int(value: i64) -> Vec<u8> {
    if value < 0 {
        head(1, !value as u64)
    } else {
        head(0, value as u64)
    }
}

/// A byte string.
pub(crate) fn bytes(content: &[u8]) -> Vec<u8> {
    [head(2, content.len() as u64), content.to_vec()].concat()
}

/// A text string.
pub(crate) fn text(content: &str) -> Vec<u8> {
    [head(3, content.len() as u64), content.as_bytes().to_vec()].concat()
}

/// An array of encoded items.
pub(crate) fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [head(4, items.len() as u64), items.concat()].concat()
}

/// Null.
pub(crate) fn null() -> Vec<u8> {
    vec![0xf6]
}

/// Words of eight bytes, least significant first, as plain columns have them.
pub(crate) fn words(values: impl IntoIterator<Item = i64>) -> Vec<u8> {
    bytes(
        &values
            .into_iter()
            .flat_map(i64::to_le_bytes)
            .collect::<Vec<_>>(),
    )
}

/// The encoded items of a batch, each to be replaced at will.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) version: Vec<u8>,
    pub(crate) epoch: Vec<u8>,
    pub(crate) first: Vec<u8>,
    pub(crate) count: Vec<u8>,
    pub(crate) prev: Vec<u8>,
    pub(crate) boot: Vec<u8>,
    pub(crate) ticks: Vec<u8>,
    pub(crate) clock: Vec<u8>,
    pub(crate) revision: Vec<u8>,
    pub(crate) steps: Vec<u8>,
    pub(crate) times: Vec<u8>,
    pub(crate) columns: Vec<Vec<u8>>,
}

impl Parts {
    /// Three records of one plain integer column: 20.1, 20.2, 20.4.
    pub(crate) fn plain() -> Self {
        Self {
            version: uint(1),
            epoch: uint(0x0102_0304_0506_0708),
            first: uint(100),
            count: uint(3),
            prev: bytes(&[0xab; 32]),
            boot: uint(4),
            ticks: uint(5_000_000),
            clock: uint(1),
            revision: uint(2),
            steps: null(),
            times: array(&[
                uint(0),
                words([
                    1_700_000_000_000_000,
                    1_700_000_001_000_000,
                    1_700_000_002_000_000,
                ]),
            ]),
            columns: vec![column(
                0,
                null(),
                null(),
                &[uint(0), uint(1), words([201, 202, 204])],
            )],
        }
    }

    /// The batch.
    pub(crate) fn build(&self) -> Vec<u8> {
        array(&[
            self.version.clone(),
            self.epoch.clone(),
            self.first.clone(),
            self.count.clone(),
            self.prev.clone(),
            self.boot.clone(),
            self.ticks.clone(),
            self.clock.clone(),
            self.revision.clone(),
            self.steps.clone(),
            self.times.clone(),
            array(&self.columns),
        ])
    }
}

/// A column of encoded items; `data` is codec, parameters and bytes.
pub(crate) fn column(channel: u64, presence: Vec<u8>, flags: Vec<u8>, data: &[Vec<u8>]) -> Vec<u8> {
    array(&[&[uint(channel), presence, flags][..], data].concat())
}
