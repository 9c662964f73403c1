//! Recovery codes: ten secrets on paper, each good once.
//!
//! Eighty random bits each, so a keyed hash is all that is stored, and guessing is hopeless whatever the pace.

use crate::keys::random;

/// How many are made at a time.
pub(super) const COUNT: usize = 10;
const LENGTH: usize = 16;
/// Crockford's: no letter that is mistaken for a digit.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A fresh code, in its plain form.
pub(super) fn fresh() -> String {
    let bytes: [u8; LENGTH] = random();
    bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte & 31)]))
        .collect()
}

/// As it is printed: `xxxx-xxxx-xxxx-xxxx`.
pub(super) fn shown(plain: &str) -> String {
    let letters: Vec<char> = plain.chars().collect();
    let groups: Vec<String> = letters
        .chunks(4)
        .map(|four| four.iter().collect())
        .collect();
    groups.join("-")
}

/// The plain form of what somebody typed; None when it cannot be a code.
pub(super) fn read(typed: &str) -> Option<String> {
    if typed.len() > 64 {
        return None;
    }
    let plain: String = typed
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| match c.to_ascii_lowercase() {
            'o' => '0',
            'i' | 'l' => '1',
            other => other,
        })
        .collect();
    (plain.len() == LENGTH && plain.bytes().all(|byte| LETTERS.contains(&byte))).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back_however_it_is_typed() {
        let code = fresh();
        assert_ne!(code, fresh());
        let printed = shown(&code);
        assert_eq!(printed.len(), 19);
        assert_eq!(read(&printed), Some(code.clone()));
        assert_eq!(read(&format!(" {} ", printed.to_uppercase())), Some(code));
        assert_eq!(
            read("O1lI-0000-0000-0000").as_deref(),
            Some("0111000000000000")
        );
        for wrong in ["", "123456", "0000-0000-0000-000u", "0000-0000-0000-00000"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
