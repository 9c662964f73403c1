//! The server that listens: three TLS listeners, their loops, and an orderly end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::tls::{Connection, Limits, Listener, OperatorCertificate, Shutdown, serve_http};
use super::{ServeError, Server};
use crate::api;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::ingest::Ingest;
use crate::keys;
use crate::mail::Sender;
use crate::pki::{self, Endpoints, ServerCertificate};

/// Connections at a time on the listener of people, and of them from one address.
const PEOPLE: (usize, usize) = (2_000, 200);
/// Devices stay connected, and many may stand behind one address.
const DEVICES: (usize, usize) = (50_000, 20_000);
/// How often it is counted what persons should look at.
const COUNT_EVERY: Duration = Duration::from_secs(300);
const WEB: &[&str] = &["h2", "http/1.1"];
const HTTP1: &[&str] = &["http/1.1"];
const MQTT: &[&str] = &["mqtt"];

/// A server that listens. Dropped without [`stop`](Self::stop), it is cut off where it stands.
pub struct Running {
    /// The rooms behind the doors.
    pub server: Server,
    backups: config::Backup,
    name: String,
    ca: std::path::PathBuf,
    addresses: [SocketAddr; 3],
    shown: Arc<ServerCertificate>,
    stop: watch::Sender<bool>,
    doors: JoinSet<()>,
    chores: JoinSet<()>,
}

impl Running {
    /// Opens the data folder and listens. Who connects after this returns is served.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, ServeError> {
        if config.data.join(keys::CLOSED).exists() {
            return Err(ServeError::Closed(config.data));
        }
        let sender = config.mail.as_ref().map(Sender::new).transpose()?;
        let server = Server::open(&config, clock).await?;
        let mail = server.base.access.mail();
        mail.announce(config.mail.as_ref())
            .await
            .map_err(ServeError::Catalogue)?;
        let pki = &server.base.pki;
        let ca = config.data.join("ca.pem");
        write(&ca, &pki.server_root_pem()).await?;
        let ours = pki.server_certificate(&config.name).await?;
        let own = match &config.https_certificate {
            Some(files) => Some(
                OperatorCertificate::read(files.chain.clone(), files.key.clone())
                    .map_err(ServeError::OwnCertificate)?,
            ),
            None => None,
        };
        let shown = own
            .as_ref()
            .map_or_else(|| Arc::clone(&ours), |own| Arc::clone(own.served()));

        let bind = async |name, address, tls, (total, per_source)| {
            let limits = Limits::new(total, per_source, server.base.clock.clone());
            let bound = Listener::bind(name, address, tls, limits).await;
            bound.map_err(|source| ServeError::Listen {
                listener: name,
                address,
                source,
            })
        };
        let https = bind("https", config.https, pki.people_tls(&shown, WEB)?, PEOPLE).await?;
        let device = bind(
            "device",
            config.device,
            pki.device_tls(&ours, false, HTTP1)?,
            DEVICES,
        )
        .await?;
        let mqtt = bind(
            "mqtt",
            config.mqtt,
            pki.device_tls(&ours, true, MQTT)?,
            DEVICES,
        )
        .await?;
        let mut addresses = [config.https, config.device, config.mqtt];
        for (address, listener) in addresses.iter_mut().zip([&https, &device, &mqtt]) {
            *address = listener.address().unwrap_or(*address);
        }

        let endpoint = |address: SocketAddr| pki::endpoint(&config.name, address.port());
        let [at_https, at_device, at_mqtt] = addresses.map(endpoint);
        pki.announce(&Endpoints {
            device: at_device,
            mqtt: at_mqtt,
        })
        .await?;
        server.base.announce_people_endpoint(&at_https).await?;
        server.base.access.announce(&config.name, &at_https);

        let (stop, shutdown) = Shutdown::new();
        let mut running = Self {
            server,
            backups: config.backup,
            name: config.name,
            ca,
            addresses,
            shown,
            stop,
            doors: JoinSet::new(),
            chores: JoinSet::new(),
        };
        running.open_doors([https, device, mqtt], &shutdown);
        running.begin_chores(ours, own);
        if let Some(sender) = sender {
            let mail = running.server.base.access.mail().clone();
            running.chores.spawn(async move { mail.run(sender).await });
        }
        tracing::info!(https = %addresses[0], device = %addresses[1], mqtt = %addresses[2], "ready");
        Ok(running)
    }

    fn open_doors(&mut self, [https, device, mqtt]: [Listener; 3], shutdown: &Shutdown) {
        let base = &self.server.base;
        let people = api::router(api::Rooms {
            access: base.access.clone(),
            projects: base.projects.clone(),
            pki: base.pki.clone(),
            fleet: self.server.fleet.clone(),
            series: self.server.series.clone(),
            space: self.server.space.clone(),
            backup: base.backup.clone(),
            keys: base.keys.clone(),
            clock: base.clock.clone(),
            db: base.db.clone(),
            stopping: shutdown.signal(),
        });
        let ingest = Ingest::new(
            base.pki.clone(),
            self.server.fleet.clone(),
            base.projects.clone(),
            self.server.series.clone(),
            base.clock.clone(),
        );
        let devices = ingest.routes();
        self.doors
            .spawn(https.run(shutdown.clone(), move |connection| {
                serve_http(connection, people.clone())
            }));
        self.doors
            .spawn(device.run(shutdown.clone(), move |connection| {
                serve_http(connection, devices.clone())
            }));
        let front = ingest.clone();
        self.doors
            .spawn(mqtt.run(shutdown.clone(), move |connection| {
                let ingest = front.clone();
                async move {
                    let Connection {
                        stream,
                        peer,
                        mut shutdown,
                    } = connection;
                    let stop = async move { shutdown.requested().await };
                    ingest.mqtt(stream, peer, stop).await;
                }
            }));
        self.chores.spawn(async move { ingest.run().await });
    }

    fn begin_chores(&mut self, ours: Arc<ServerCertificate>, own: Option<OperatorCertificate>) {
        let (pki, name) = (self.server.base.pki.clone(), self.name.clone());
        self.chores
            .spawn(async move { pki.run(&ours, &name).await });
        let trail = self.server.base.access.trail().clone();
        self.chores.spawn(async move { trail.run().await });
        let fleet = self.server.fleet.clone();
        self.chores.spawn(async move { fleet.run().await });
        let series = self.server.series.clone();
        self.chores.spawn(async move { series.run().await });
        let series = self.server.series.clone();
        self.chores
            .spawn(async move { series.watch_clocks().await });
        let space = self.server.space.clone();
        self.chores.spawn(async move { space.run().await });
        let series = self.server.series.clone();
        self.chores
            .spawn(async move { series.keep_to_retention().await });
        let (backup, backups) = (self.server.base.backup.clone(), self.backups.clone());
        self.chores.spawn(async move { backup.run(backups).await });
        let server = self.server.clone();
        self.chores
            .spawn(async move { count_clocks(&server).await });
        if let Some(own) = own {
            self.chores.spawn(own.watch());
        }
    }

    /// `host:port` of the listener for people.
    pub fn authority(&self) -> String {
        pki::endpoint(&self.name, self.addresses[0].port())
    }

    /// The ready line of `serve --json`.
    pub fn ready(&self) -> Value {
        let [https, device, mqtt] = self
            .addresses
            .map(|address| pki::endpoint(&self.name, address.port()));
        json!({
            "event": "ready",
            "https": format!("https://{https}"),
            "device": format!("https://{device}"),
            "mqtt": format!("mqtts://{mqtt}"),
            "ca": self.ca,
        })
    }

    /// SHA-256 of the certificate that browsers are shown, in the form in which they show it.
    pub fn certificate_fingerprint(&self) -> String {
        use std::fmt::Write as _;
        let chain = self.shown.chain();
        let leaf = chain.first().map(|leaf| leaf.as_ref()).unwrap_or_default();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf);
        let mut text = String::with_capacity(95);
        for byte in digest.as_ref() {
            let separator = if text.is_empty() { "" } else { ":" };
            // Writing to a String cannot fail.
            let _ = write!(text, "{separator}{byte:02X}");
        }
        text
    }

    /// Takes no more connections, lets open ones finish, writes what is not yet written, and closes the files.
    pub async fn stop(mut self) {
        // Nobody listening means that every door is closed already.
        let _ = self.stop.send(true);
        while self.doors.join_next().await.is_some() {}
        self.chores.shutdown().await;
        if let Err(error) = self.server.fleet.write().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "device states were not written"
            );
        }
        self.server.base.access.trail().flush(true).await;
        self.server.close().await;
        tracing::info!("stopped");
    }
}

/// Counts what persons should look at of devices' clocks, for who asks beside the server.
async fn count_clocks(server: &Server) {
    let mut ticks = tokio::time::interval(COUNT_EVERY);
    let mut told = None;
    loop {
        ticks.tick().await;
        // A store that does not answer is told of by those who need it.
        let Ok(counted) = server.series.clocks_to_look_at().await else {
            continue;
        };
        if told != Some(counted)
            && server
                .base
                .announce_clocks(counted.0, counted.1)
                .await
                .is_ok()
        {
            told = Some(counted);
        }
    }
}

async fn write(path: &Path, text: &str) -> Result<(), ServeError> {
    let failed = |source| ServeError::Write {
        path: path.to_owned(),
        source,
    };
    tokio::fs::write(path, text).await.map_err(failed)
}
