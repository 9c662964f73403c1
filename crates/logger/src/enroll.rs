//! Owns enrolment: from a claim to a folder with a key, a certificate, a trusted root and settings.
//! Promises that the private key stays here, that nothing is written unless the cloud said yes, and that each failure
//! says what to do next. An enrolled folder is not touched unless told so, and then the old files are kept.

mod claim;

use std::{fs, io, path::PathBuf, sync::Arc};

use fieldkeep_protocol::{DeviceId, ProjectId};
use rustls_pki_types::{CertificateDer, pem::PemObject};

pub use claim::{BadClaim, ClaimLine, hex};

use crate::{
    config::{Config, DriverKind},
    folder::{Endpoint, Enrolment, Folder, write_atomically},
    http::{self, PostError},
    identity::{self, Identity, IdentityError},
    reach::{ReachError, TlsFault},
    tls::{self, Pin, TlsError},
};

/// How a device is invited.
pub enum Invitation {
    /// By a claim line, which names the root by its fingerprint.
    Line(ClaimLine),
    /// By address, root certificate and code.
    Given {
        /// The cloud's device port.
        endpoint: Endpoint,
        /// The root that its certificate is checked against, in PEM.
        ca_pem: Vec<u8>,
        /// The code of the claim.
        code: String,
    },
}

/// How to enrol.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The source that a new settings file names; this machine's sensors if nothing is said.
    pub driver: Option<DriverKind>,
    /// Whether an enrolled folder may be enrolled anew.
    pub force: bool,
}

/// A device that is enrolled.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// Who it is.
    pub enrolment: Enrolment,
    /// Where the files of an earlier enrolment were put.
    pub kept: Option<PathBuf>,
    /// Whether settings were there already and were left as they are.
    pub settings_kept: bool,
}

/// Why a device is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The claim line cannot be read.
    #[error(transparent)]
    Claim(#[from] BadClaim),
    /// The code that was given without a line cannot be one.
    #[error("the code given with --code has characters that no code has")]
    Code,
    /// The root certificate's file is none.
    #[error("the file given with --ca holds no certificate")]
    Ca,
    /// The folder is enrolled.
    #[error("{} is enrolled already", .0.display())]
    AlreadyEnrolled(PathBuf),
    /// A logger runs there.
    #[error("a logger is running in {}", .0.display())]
    Running(PathBuf),
    /// The server shows another root than the claim names.
    #[error(
        "the server's root certificate is not the one that the claim names: it shows {shown}, the claim names {named}"
    )]
    Fingerprint {
        /// What the server shows.
        shown: String,
        /// What the claim names.
        named: String,
    },
    /// The cloud was not reached, or refused.
    #[error(transparent)]
    Post(#[from] PostError),
    /// The cloud said yes with something unusable.
    #[error("the cloud's answer cannot be used: {0}")]
    Answer(String),
    /// The folder cannot be written.
    #[error("cannot write to {}", path.display())]
    Write {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A key cannot be made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl EnrollError {
    /// What a person can do about it.
    pub fn advice(&self) -> String {
        match self {
            EnrollError::Claim(_) => {
                "Copy the whole line from the cloud and put it between single quotes.".to_owned()
            }
            EnrollError::Code => "Copy the code as the cloud shows it, without spaces.".to_owned(),
            EnrollError::Ca => "Give the ca.pem from the cloud's data folder.".to_owned(),
            EnrollError::AlreadyEnrolled(_) => {
                "Use another --dir, or add --force: the old key, certificate and journal are then kept under a dated name.".to_owned()
            }
            EnrollError::Running(_) => "Stop it first.".to_owned(),
            EnrollError::Fingerprint { .. } => {
                "Something other than your cloud answers there, or the cloud was set up anew: make a new claim in the cloud and use its line.".to_owned()
            }
            EnrollError::Post(PostError::Reach(error)) => error.advice(),
            EnrollError::Post(PostError::Answer { .. }) => {
                "Check that the port is the cloud's device port, not the one of its web app, and that the cloud is not older than this logger.".to_owned()
            }
            EnrollError::Post(PostError::Refused { code, detail, .. }) => match code.as_str() {
                "claim_used" => "Each claim is good for one device: make a new one in the cloud.".to_owned(),
                "claim_expired" => "Claims are good for 24 hours: make a new one in the cloud.".to_owned(),
                "claim_unknown" => "Compare the code with the cloud's list of claims, or make a new claim.".to_owned(),
                "rate_limited" if detail.is_empty() => "Wait a minute, then try again.".to_owned(),
                _ if detail.is_empty() => "The cloud's log has more.".to_owned(),
                _ => detail.clone(),
            },
            EnrollError::Answer(_) => "Check that cloud and logger are of the same release.".to_owned(),
            EnrollError::Write { path, .. } => {
                format!("Check owner, permissions and free space of {}, or use another --dir.", path.display())
            }
            EnrollError::Identity(_) | EnrollError::Tls(_) => "This is unexpected: please report it.".to_owned(),
        }
    }

    /// The exit code of the command: 1 failed, 2 usage, 3 denied, 4 unreachable.
    pub fn exit_code(&self) -> u8 {
        match self {
            EnrollError::Claim(_)
            | EnrollError::Code
            | EnrollError::Ca
            | EnrollError::AlreadyEnrolled(_) => 2,
            EnrollError::Post(PostError::Refused { code, .. }) if code.starts_with("claim_") => 3,
            EnrollError::Post(PostError::Refused {
                status: 401 | 403, ..
            }) => 3,
            EnrollError::Post(PostError::Reach(error)) if error.is_unreachable() => 4,
            _ => 1,
        }
    }
}

#[derive(serde::Serialize)]
struct Ask<'a> {
    code: &'a str,
    csr: &'a str,
}

#[derive(serde::Deserialize)]
struct Answer {
    device: String,
    project: String,
    certificate: String,
    ca: String,
    mqtt: String,
    https: String,
}

/// Enrols a folder. `now_s` is the time by which the server's certificate is judged.
pub async fn enroll(
    folder: &Folder,
    invitation: &Invitation,
    options: Options,
    now_s: u64,
) -> Result<Enrolled, EnrollError> {
    let written = |source| EnrollError::Write {
        path: folder.path().to_owned(),
        source,
    };
    let enrolled_before = folder.enrolment().exists() || folder.certificate().exists();
    if enrolled_before && !options.force {
        return Err(EnrollError::AlreadyEnrolled(folder.path().to_owned()));
    }
    folder.create().map_err(written)?;
    let lock = fs::File::create(folder.lock()).map_err(written)?;
    if lock.try_lock().is_err() {
        return Err(EnrollError::Running(folder.path().to_owned()));
    }

    let request = identity::request()?;
    let answer = ask(invitation, &request.csr_pem, now_s).await?;
    let enrolment = read_answer(&answer)?;
    Identity::parse(
        request.key_pem.as_bytes(),
        answer.certificate.as_bytes(),
        enrolment.device,
    )
    .map_err(|e| EnrollError::Answer(e.to_string()))?;

    let kept = if enrolled_before {
        Some(keep_old(folder, now_s).map_err(written)?)
    } else {
        None
    };
    let write = |path: PathBuf, text: &str, mode| {
        write_atomically(&path, text.as_bytes(), mode).map_err(written)
    };
    let settings_kept = folder.config().exists();
    if !settings_kept {
        let text = Config::default_text(options.driver.unwrap_or(DriverKind::Host));
        write(folder.config(), &text, 0o644)?;
    }
    write(folder.ca(), &answer.ca, 0o644)?;
    write(folder.key(), &request.key_pem, 0o600)?;
    write(folder.certificate(), &answer.certificate, 0o644)?;
    // Last, because a folder with it counts as enrolled.
    write(folder.enrolment(), &enrolment.to_text(), 0o644)?;
    Ok(Enrolled {
        enrolment,
        kept,
        settings_kept,
    })
}

async fn ask(invitation: &Invitation, csr: &str, now_s: u64) -> Result<Answer, EnrollError> {
    const PATH: &str = "/device/1/enroll";
    match invitation {
        Invitation::Given {
            endpoint,
            ca_pem,
            code,
        } => {
            let code = claim::check_code(code).ok_or(EnrollError::Code)?;
            let roots = Arc::new(tls::roots(ca_pem).ok_or(EnrollError::Ca)?);
            let config = tls::client_config(roots, None, now_s)?;
            let answer: Answer =
                http::post(endpoint, config, PATH, &Ask { code: &code, csr }).await?;
            if tls::roots(answer.ca.as_bytes()).is_none() {
                return Err(EnrollError::Answer(
                    "it names no root certificate".to_owned(),
                ));
            }
            Ok(answer)
        }
        Invitation::Line(claim) => {
            let pin = Pin::new(claim.fingerprint);
            let config = tls::pinned_config(Arc::clone(&pin), now_s)?;
            let body = Ask {
                code: &claim.code,
                csr,
            };
            let answer: Answer = match http::post(&claim.endpoint, config, PATH, &body).await {
                Ok(answer) => answer,
                Err(error) => return Err(explain(error, &pin, claim)),
            };
            // What the device trusts from now on must be what the claim named, and nothing beside it.
            let same = |c: Result<CertificateDer<'_>, _>| {
                c.is_ok_and(|c| tls::fingerprint(&c) == claim.fingerprint)
            };
            let mut certificates = CertificateDer::pem_slice_iter(answer.ca.as_bytes()).peekable();
            if certificates.peek().is_none() || !certificates.all(same) {
                return Err(EnrollError::Answer(
                    "it names another root than the claim".to_owned(),
                ));
            }
            Ok(answer)
        }
    }
}

fn explain(error: PostError, pin: &Pin, claim: &ClaimLine) -> EnrollError {
    let wrong_root = matches!(
        &error,
        PostError::Reach(ReachError::Tls {
            fault: TlsFault::UnknownAuthority,
            ..
        })
    );
    match pin.seen().other {
        Some(other) if wrong_root => EnrollError::Fingerprint {
            shown: hex(&other),
            named: hex(&claim.fingerprint),
        },
        _ => error.into(),
    }
}

fn read_answer(answer: &Answer) -> Result<Enrolment, EnrollError> {
    let field = |name: &str| EnrollError::Answer(format!("{name} is not valid"));
    Ok(Enrolment {
        device: answer
            .device
            .parse::<DeviceId>()
            .map_err(|_| field("device"))?,
        project: answer
            .project
            .parse::<ProjectId>()
            .map_err(|_| field("project"))?,
        mqtt: answer.mqtt.parse().map_err(|_| field("mqtt"))?,
        https: answer.https.parse().map_err(|_| field("https"))?,
    })
}

/// Moves what belongs to the old identity into a folder with the date in its name.
fn keep_old(folder: &Folder, now_s: u64) -> io::Result<PathBuf> {
    let at = jiff::Timestamp::from_second(now_s.cast_signed()).unwrap_or_default();
    let stamp = at.strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut target = folder.path().join(format!("old-{stamp}"));
    let mut n = 2;
    while target.exists() {
        target = folder.path().join(format!("old-{stamp}-{n}"));
        n += 1;
    }
    fs::create_dir(&target)?;
    let belongings = [
        folder.enrolment(),
        folder.certificate(),
        folder.key(),
        folder.ca(),
        folder.next(),
        folder.journal(),
        folder.rejected(),
        folder.status(),
        folder.backfilled(),
    ];
    for path in belongings {
        if let Some(name) = path.file_name()
            && path.exists()
        {
            fs::rename(&path, target.join(name))?;
        }
    }
    crate::folder::sync_folder(folder.path())?;
    Ok(target)
}
