//! Encryption of archives: age to the recovery key, zstd inside.
//!
//! The secret half of the recovery key is on paper and nowhere here, so each archive is encrypted to a second key too,
//! which lives in memory until the archive was read back. One line of age's header names the recovery key; `age -d` and
//! other implementations skip it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Mutex;

use age::secrecy::ExposeSecret as _;
use age::stream::{StreamReader, StreamWriter};
use age::x25519::{Identity, Recipient};
use age::{DecryptError, Decryptor, EncryptError, Encryptor};
use age_core::format::{FileKey, Stanza};
use zeroize::Zeroizing;

use super::BackupError;
use crate::keys::hex;

/// What the header's line about the recovery key begins with.
const LABEL: &str = "fieldkeep-recovery-key";
const LEVEL: i32 = 3;
/// 16 MiB: more than level 3 ever asks for, and little enough that no archive can claim the memory of the machine.
const WINDOW_LOG: u32 = 24;
const BUFFER: usize = 1 << 20;

/// The public half of the recovery key: what archives are encrypted to.
#[derive(Clone)]
pub struct RecoveryRecipient(Recipient);

impl RecoveryRecipient {
    /// Reads `age1…`; None for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    /// Names the key without telling anything of its secret.
    pub fn id(&self) -> String {
        let digest =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.0.to_string().as_bytes());
        format!("rk-{}", hex(digest.as_ref().get(..8).unwrap_or_default()))
    }
}

impl std::fmt::Display for RecoveryRecipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The secret half: one or several keys, since older backups may need an older one. Never printed but by
/// [`RecoveryKey::line`].
pub struct RecoveryKey(Vec<Identity>);

impl RecoveryKey {
    /// A new one.
    pub fn generate() -> Self {
        Self(vec![Identity::generate()])
    }

    /// Reads lines of `AGE-SECRET-KEY-1…`; empty ones and comments (`#`) are left out.
    ///
    /// # Errors
    /// [`BackupError::NotARecoveryKey`] for any other line, or none.
    pub fn parse(text: &str) -> Result<Self, BackupError> {
        let lines = text.lines().map(str::trim);
        let keys = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| line.parse::<Identity>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| BackupError::NotARecoveryKey)?;
        if keys.is_empty() {
            return Err(BackupError::NotARecoveryKey);
        }
        Ok(Self(keys))
    }

    /// The line that goes onto paper.
    pub fn line(&self) -> Zeroizing<String> {
        let mut line = Zeroizing::new(String::new());
        for key in &self.0 {
            line.push_str(key.to_string().expose_secret());
        }
        line
    }

    /// The public half.
    pub fn recipient(&self) -> Option<RecoveryRecipient> {
        self.0.first().map(|key| RecoveryRecipient(key.to_public()))
    }

    fn ids(&self) -> String {
        let ids: Vec<String> = self
            .0
            .iter()
            .map(|key| RecoveryRecipient(key.to_public()).id())
            .collect();
        ids.join(", ")
    }
}

/// Bytes on their way into an archive.
pub(super) type Sealing = zstd::stream::write::Encoder<'static, StreamWriter<BufWriter<File>>>;
/// Bytes on their way out of one.
pub(super) type Opening =
    zstd::stream::read::Decoder<'static, BufReader<StreamReader<BufReader<File>>>>;

/// Begins an archive that the recovery key and `reader` can open.
pub(super) fn seal(
    file: File,
    to: &RecoveryRecipient,
    reader: &RecoveryKey,
) -> io::Result<Sealing> {
    let label = Label(to.id());
    let mut recipients: Vec<&dyn age::Recipient> = vec![&label, &to.0];
    let readers: Vec<Recipient> = reader.0.iter().map(Identity::to_public).collect();
    recipients.extend(readers.iter().map(|one| one as &dyn age::Recipient));
    let age = Encryptor::with_recipients(recipients.into_iter())
        .map_err(io::Error::other)?
        .wrap_output(BufWriter::with_capacity(BUFFER, file))?;
    zstd::stream::write::Encoder::new(age, LEVEL)
}

/// Ends an archive; durable when this returns.
pub(super) fn finish(sealing: Sealing) -> io::Result<File> {
    let file = sealing
        .finish()?
        .finish()?
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(file)
}

/// Opens an archive for reading.
pub(super) fn open(path: &Path, key: &RecoveryKey) -> Result<Opening, BackupError> {
    let read = |source| BackupError::io(path, "read", source);
    let damaged = |what: &str| BackupError::damaged(path, what);
    let file = File::open(path).map_err(read)?;
    let input = BufReader::with_capacity(BUFFER, file);
    let decryptor = Decryptor::new_buffered(input).map_err(|error| match error {
        DecryptError::Io(source) if source.kind() != io::ErrorKind::UnexpectedEof => read(source),
        _ => damaged("it has no age header"),
    })?;
    let label = Seen(Mutex::new(None));
    let keys = key.0.iter().map(|key| key as &dyn age::Identity);
    let identities = std::iter::once(&label as &dyn age::Identity).chain(keys);
    let stream = decryptor.decrypt(identities).map_err(|error| match error {
        DecryptError::NoMatchingKeys => BackupError::WrongRecoveryKey {
            path: path.to_path_buf(),
            needed: label.name(),
            given: key.ids(),
        },
        _ => damaged("its header does not authenticate"),
    })?;
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(BUFFER, stream))
            .map_err(read)?;
    decoder.window_log_max(WINDOW_LOG).map_err(read)?;
    Ok(decoder)
}

/// Whether nothing follows; also makes sure that the last block, which ends the archive, was seen.
pub(super) fn at_end(opening: &mut Opening) -> io::Result<bool> {
    let mut one = [0];
    Ok(opening.read(&mut one)? == 0)
}

/// Writes the line that names the recovery key; opens nothing.
struct Label(String);

impl age::Recipient for Label {
    fn wrap_file_key(&self, _: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let line = Stanza {
            tag: LABEL.to_owned(),
            args: vec![self.0.clone()],
            body: Vec::new(),
        };
        Ok((vec![line], HashSet::new()))
    }
}

/// Reads the line that names the recovery key; opens nothing.
struct Seen(Mutex<Option<String>>);

impl Seen {
    fn name(&self) -> String {
        let seen = self.0.lock().map(|seen| seen.clone()).ok().flatten();
        seen.unwrap_or_else(|| "of its instance".to_owned())
    }
}

impl age::Identity for Seen {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        if stanza.tag == LABEL
            && let Some(id) = stanza.args.first()
            && let Ok(mut seen) = self.0.lock()
        {
            let sound =
                id.len() <= 32 && id.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
            *seen = sound.then(|| id.clone());
        }
        None
    }
}

/// Tells the system to forget what it keeps of a file in memory, so that reading it back asks the disk. Only advice:
/// where the system does not take it, what is read is what was written.
pub(super) fn forget_cached(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

/// Writes one frame: kind, length, bytes.
pub(super) fn write_frame(out: &mut impl Write, kind: u8, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    out.write_all(&[kind])?;
    out.write_all(&length.to_be_bytes())?;
    out.write_all(body)
}
