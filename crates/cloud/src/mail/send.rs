//! The way to the mail server: SMTP, always over verified TLS.

use std::path::Path;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{Letter, MailError};
use crate::config::{self, MailTls};

/// How long one letter may take.
const PATIENCE: Duration = Duration::from_secs(30);
const SILENT: &str = "the mail server does not answer any more";

/// Sends letters to one mail server.
pub struct Sender {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sender")
    }
}

/// Why a letter was not taken.
pub(super) struct Refused {
    pub(super) reason: String,
    /// Whether another attempt would end alike.
    pub(super) for_good: bool,
}

impl Sender {
    /// A sender for the settings; reads the files that they name.
    ///
    /// # Errors
    /// [`MailError::File`] and [`MailError::Settings`] say which setting is at fault.
    pub fn new(settings: &config::Mail) -> Result<Self, MailError> {
        let from = settings
            .from
            .parse()
            .map_err(|_| MailError::Settings("`from` is not an e-mail address".to_owned()))?;
        let mut tls = TlsParameters::builder(settings.host.clone());
        if let Some(file) = &settings.ca {
            let bad =
                || MailError::Settings(format!("`ca`: {} holds no certificate", file.display()));
            tls = tls.certificate_store(CertificateStore::None);
            let pem = read(file)?;
            let ours = Certificate::from_pem(&pem).map_err(|_| bad())?;
            tls = tls.add_root_certificate(ours);
        }
        let tls = tls
            .build_rustls()
            .map_err(|error| MailError::Settings(format!("TLS cannot be set up: {error}")))?;
        let tls = match settings.tls {
            MailTls::Implicit => Tls::Wrapper(tls),
            MailTls::StartTls => Tls::Required(tls),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
            .port(settings.port)
            .tls(tls)
            .timeout(Some(PATIENCE));
        if let Some((user, file)) = &settings.login {
            let password = Zeroizing::new(read(file)?);
            let password = std::str::from_utf8(&password)
                .map_err(|_| MailError::Settings("`password_file` is not UTF-8".to_owned()))?
                .trim_end_matches(['\r', '\n']);
            transport = transport.credentials(Credentials::new(user.clone(), password.to_owned()));
        }
        Ok(Self {
            transport: transport.build(),
            from,
        })
    }

    /// Greets the mail server, over TLS and with the login, and says good-bye.
    ///
    /// # Errors
    /// What it said, or why it could not be reached.
    pub async fn try_out(&self) -> Result<(), String> {
        match timeout(PATIENCE, self.transport.test_connection()).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err("it does not answer as a mail server".to_owned()),
            Ok(Err(error)) => Err(said(&error)),
            Err(_) => Err(SILENT.to_owned()),
        }
    }

    pub(super) async fn send(&self, letter: &Letter) -> Result<(), Refused> {
        let unsendable = |reason: String| Refused {
            reason,
            for_good: true,
        };
        let to: Mailbox = letter
            .to
            .parse()
            .map_err(|_| unsendable("its address is none that mail can go to".to_owned()))?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(letter.subject.clone())
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text.clone())
            .map_err(|error| unsendable(error.to_string()))?;
        // A server that stops answering must not keep every other letter.
        match timeout(PATIENCE, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Err(_) => Err(Refused {
                for_good: false,
                reason: SILENT.to_owned(),
            }),
            Ok(Err(error)) => Err(Refused {
                for_good: error.is_permanent(),
                reason: said(&error),
            }),
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, MailError> {
    std::fs::read(file).map_err(|source| MailError::File {
        file: file.display().to_string(),
        source,
    })
}

/// The error with its causes, on one line. A mail server may repeat an address in its answer: only its code is kept.
fn said(error: &lettre::transport::smtp::Error) -> String {
    if let Some(code) = error.status() {
        return format!("the mail server answered {code}");
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.replace(['\r', '\n'], " ")
}
