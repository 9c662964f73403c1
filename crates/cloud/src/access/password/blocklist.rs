//! The passwords that are guessed first: some hundred thousand of them, as hashes inside the program.
//!
//! `blocklist.bin` holds the first five bytes of the SHA-256 of each entry, sorted; `xtask/blocklist.py` makes it and says
//! from which lists. Also refused is what is hardly more than an entry: with digits and signs around it, several times
//! over, and runs along the alphabet or the digits.

use aws_lc_rs::digest::{SHA256, digest};

const WIDTH: usize = 5;
static HASHES: &[u8] = include_bytes!("blocklist.bin");

/// Whether a guesser would come to this password soon. `plain` is trimmed, in lower case and NFC.
pub(super) fn holds(plain: &str) -> bool {
    let core = plain.trim_matches(|c: char| !c.is_alphabetic());
    let unit = unit(plain);
    runs(plain)
        || listed(plain)
        || listed(core)
        || unit.is_some_and(|unit| unit.chars().count() <= 4 || listed(unit))
}

fn listed(text: &str) -> bool {
    let hash = digest(&SHA256, text.as_bytes());
    let wanted = &hash.as_ref()[..WIDTH];
    let (entries, _) = HASHES.as_chunks::<WIDTH>();
    entries
        .binary_search_by(|entry| entry.as_slice().cmp(wanted))
        .is_ok()
}

/// The piece that the text is over and over (`abcabcabc…`), if it is; the last one may be cut.
fn unit(text: &str) -> Option<&str> {
    let letters: Vec<(usize, char)> = text.char_indices().collect();
    (1..=letters.len() / 2).find_map(|piece| {
        let same = letters
            .iter()
            .zip(letters.iter().skip(piece))
            .all(|(a, b)| a.1 == b.1);
        let end = letters.get(piece)?.0;
        same.then(|| text.get(..end)).flatten()
    })
}

/// Whether most neighbours are the same or follow each other (`1234567890…`, `abcdef…`, `987654…`).
fn runs(text: &str) -> bool {
    let letters: Vec<u32> = text.chars().map(u32::from).collect();
    let pairs = letters.len().saturating_sub(1);
    let near = letters
        .iter()
        .zip(letters.iter().skip(1))
        .filter(|(a, b)| a.abs_diff(**b) <= 1)
        .count();
    pairs > 0 && near * 4 >= pairs * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_of_real_size() {
        let (entries, rest) = HASHES.as_chunks::<WIDTH>();
        assert!(rest.is_empty());
        assert!(entries.len() > 90_000, "{}", entries.len());
        assert!(entries.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn every_entry_of_our_own_is_on_it() {
        for entry in include_str!("blocklist.txt").lines() {
            assert!(holds(entry), "{entry}");
            assert_eq!(entry, entry.to_lowercase());
        }
    }

    #[test]
    fn entries_of_the_lists_are_on_it_and_what_is_hardly_more() {
        for refused in [
            "password",
            "iloveyou",
            "qwertyuiop",
            "password2026!!!",
            "2026*sunshine*2026",
            "passwordpassword",
            "sunshinesunshinesun",
            "abcabcabcabcabca",
            "aaaaaaaaaaaaaaaa",
            "123456789012345",
            "abcdefghijklmnop",
            "zyxwvutsrqponmlk",
        ] {
            assert!(holds(refused), "{refused}");
        }
    }

    #[test]
    fn what_people_should_choose_is_not() {
        for good in [
            "correct horse battery",
            "a river in spring",
            "walks along the river at first light",
            "kvx7 qp31 zzmd",
            "blåbærgrød på ø",
        ] {
            assert!(!holds(good), "{good}");
        }
    }
}
