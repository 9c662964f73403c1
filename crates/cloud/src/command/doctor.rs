//! `fieldkeep admin doctor`: looks at what commonly goes wrong; each line is ok or the next thing to do.
//!
//! Looks from outside where it can: it resolves the name, connects to the
//! listeners as a device or browser would and checks the certificate they
//! show. Changes nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Failure;
use crate::access::{self, Task};
use crate::clock::{Clock, rfc3339, trust};
use crate::config::Config;
use crate::pki::State as DeviceState;
use crate::serve::Base;
use crate::space::{Space, State};

const REACH: Duration = Duration::from_secs(5);
/// Below this much room the doctor speaks up.
const LOW_DISK: u64 = 2 << 30;
/// A certificate with less life left than this was not renewed as it should.
const LOW_CERTIFICATE_S: i64 = 20 * 86_400;

struct Check {
    about: &'static str,
    outcome: Result<String>,
}

pub(super) async fn run(config: &Config, json: bool) -> Result<(), Failure> {
    let mut checks = Vec::new();
    let clock = Clock::system();
    add(&mut checks, "clock", judge_clock(&clock));
    add(&mut checks, "disk", judge_disk(&config.data));
    match Base::existing(config, clock).await {
        Ok(base) => {
            let key = format!("opens the data (id {})", base.keys.master_key_id());
            add(&mut checks, "master key", Ok(key));
            look_inside(&base, &mut checks).await;
        }
        Err(error) => add(&mut checks, "master key", Err(error.into())),
    }
    let healthy = checks.iter().all(|check| check.outcome.is_ok());
    print(&checks, json);
    if healthy {
        Ok(())
    } else {
        Err(Failure::Failed(anyhow!("not everything is well")))
    }
}

fn add(checks: &mut Vec<Check>, about: &'static str, outcome: Result<String>) {
    checks.push(Check { about, outcome });
}

fn print(checks: &[Check], json: bool) {
    if json {
        let list: Vec<Value> = checks
            .iter()
            .map(|check| match &check.outcome {
                Ok(text) => json!({ "about": check.about, "ok": true, "text": text }),
                Err(error) => {
                    json!({ "about": check.about, "ok": false, "text": format!("{error:#}") })
                }
            })
            .collect();
        println!("{}", Value::from(list));
        return;
    }
    for check in checks {
        match &check.outcome {
            Ok(text) => println!("ok    {:<12} {text}", check.about),
            Err(error) => println!("LOOK  {:<12} {error:#}", check.about),
        }
    }
}

async fn look_inside(base: &Base, checks: &mut Vec<Check>) {
    let roots = roots(base);
    for (about, endpoint) in endpoints(base).await {
        let outcome = match endpoint {
            Some(endpoint) => {
                reach(&roots, &endpoint, base.clock.now().as_micros() / 1_000_000).await
            }
            None => Err(anyhow!(
                "no server has run on this data: `fieldkeep serve --data …`"
            )),
        };
        add(checks, about, outcome);
    }
    add(checks, "devices", devices(base).await);
    add(checks, "space", space(base).await);
    for outcome in backups(base).await {
        add(checks, "backups", outcome);
    }
    add(checks, "clocks", clocks(base).await);
    add(checks, "mail", mail(base).await);
}

async fn mail(base: &Base) -> Result<String> {
    let state = base.access.mail().state().await?;
    if let Some(since) = state.failing_since {
        bail!(
            "none could be delivered since {}, {} letters wait: look at [mail] in the settings and at the mail server",
            rfc3339::format(since),
            state.waiting
        );
    }
    Ok(match (state.on, state.waiting) {
        (false, _) => "no mail server: links are shown to who makes them".to_owned(),
        (true, 0) => "nothing waits".to_owned(),
        (true, waiting) => format!("{waiting} letters wait"),
    })
}

fn judge_clock(clock: &Clock) -> Result<String> {
    let now = clock.now();
    let synchronised = clock.synchronised();
    if let Some(doubt) = trust::doubt(now, synchronised, None) {
        bail!("{} is not believed: {doubt}", rfc3339::format(now));
    }
    let how = if synchronised == Some(true) {
        "synchronised"
    } else {
        "whether it is synchronised cannot be seen here"
    };
    Ok(format!("{} ({how})", rfc3339::format(now)))
}

fn judge_disk(data: &Path) -> Result<String> {
    let space = rustix::fs::statvfs(data)
        .with_context(|| format!("there is no folder {}: give --data", data.display()))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let text = format!(
        "{:.1} GiB free at {}",
        free as f64 / f64::from(1 << 30),
        data.display()
    );
    if free < LOW_DISK {
        bail!("{text}: make room, or ingest will tell loggers to keep their data");
    }
    Ok(text)
}

async fn endpoints(base: &Base) -> [(&'static str, Option<String>); 3] {
    let devices = base.pki.endpoints().await.ok().flatten();
    let (device, mqtt) = devices.map(|both| (both.device, both.mqtt)).unzip();
    let https = base.people_endpoint().await.ok().flatten();
    [("https", https), ("device", device), ("mqtt", mqtt)]
}

fn roots(base: &Base) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let pem = base.pki.server_root_pem();
    for root in CertificateDer::pem_slice_iter(pem.as_bytes()).flatten() {
        // What cannot be added cannot be trusted; the handshake then says so.
        let _ = roots.add(root);
    }
    roots
}

/// Connects as a client would, and says which certificate was shown.
async fn reach(roots: &RootCertStore, endpoint: &str, now_s: i64) -> Result<String> {
    let (host, _) = endpoint.rsplit_once(':').context("an address has a port")?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
    let config = ClientConfig::builder()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let connected = tokio::time::timeout(REACH, async {
        let tcp = TcpStream::connect(endpoint).await.with_context(|| {
            format!("{endpoint} does not answer: is `fieldkeep serve` running, the port open, the name right?")
        })?;
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await;
        tls.with_context(|| {
            format!("{endpoint} shows a certificate that clients refuse: start with --name {host}")
        })
    });
    let stream = connected
        .await
        .with_context(|| format!("{endpoint} does not answer in time"))??;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let leaf = chain.first().context("no certificate was shown")?;
    let (_, leaf) = X509Certificate::from_der(leaf).context("the certificate cannot be read")?;
    let left_s = leaf.validity().not_after.timestamp() - now_s;
    if left_s < LOW_CERTIFICATE_S {
        bail!(
            "{endpoint}: the certificate ends in {} days: restart the server to renew it",
            left_s / 86_400
        );
    }
    Ok(format!(
        "{endpoint}, TLS 1.3, certificate good for {} days",
        left_s / 86_400
    ))
}

/// What the server saw last, and what can be done about it.
async fn space(base: &Base) -> Result<String> {
    let Some(report) = Space::last(&base.db).await? else {
        return Ok("no server has looked at the disk yet".to_owned());
    };
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let mut text = format!(
        "{} % of the disk used, measurements and settings {:.1} GiB",
        report.used_percent(),
        gib(report.data_bytes)
    );
    if let (Some(growth), Some(full)) = (report.growth_bytes_a_day, report.full()) {
        text.push_str(&format!(
            ", {:.2} GiB more a day: full on {}",
            gib(growth),
            rfc3339::format(full)
        ));
    }
    if report.state == State::Fine {
        return Ok(text);
    }
    if report.state == State::Full {
        text.push_str("; new data are refused, devices keep them");
    }
    for action in &report.actions {
        text.push_str(&format!(
            "\n        {:.2} GiB: {}",
            gib(action.frees_bytes),
            action.remedy
        ));
    }
    if report.actions.is_empty() {
        text.push_str("; nothing here can be freed: give it a larger disk");
    }
    bail!("{text}")
}

/// The newest backup, and a line for each thing that somebody should do.
async fn backups(base: &Base) -> Vec<Result<String>> {
    let task = access::system(Task::AdminCommand);
    let status = match base.backup.status(&task.operator()).await {
        Ok(status) => status,
        Err(error) => return vec![Err(error.into())],
    };
    let mut lines = Vec::new();
    if let Some(newest) = &status.newest {
        lines.push(Ok(format!(
            "the newest is of {}, {} records in {} series: {}",
            rfc3339::format(newest.made),
            newest.records,
            newest.series,
            newest.path.display()
        )));
    }
    lines.extend(
        status
            .warnings
            .iter()
            .map(|warning| Err(anyhow!("{warning}"))),
    );
    lines
}

async fn devices(base: &Base) -> Result<String> {
    let task = access::system(Task::AdminCommand);
    let (mut active, mut other) = (0, 0);
    for project in base.projects.all(task).await? {
        let session = task.project(project.id);
        for device in base.pki.devices(&session.grant()).await? {
            *(if device.state == DeviceState::Active {
                &mut active
            } else {
                &mut other
            }) += 1;
        }
    }
    Ok(format!(
        "{active} active, {other} disabled; why one is silent is on its page in the web app"
    ))
}

/// What persons should look at of devices' clocks; the running server counts it.
async fn clocks(base: &Base) -> Result<String> {
    match base.clocks_to_look_at().await? {
        None => Ok("no server has counted yet what is held".to_owned()),
        Some((0, 0)) => Ok("no record waits for its time".to_owned()),
        Some((held, open)) => bail!(
            "{held} batches are held and {open} steps wait for a decision: open the device's page, panel Clock"
        ),
    }
}
