//! Both device listeners on loopback, clients with any certificate, and the log as it was written.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, version};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use crate::ingest::tests::client::{Client, Got};
use crate::ingest::tests::station::Station;
use crate::pki::tests::{Identity, private_key};
use crate::serve::tls::{Connection, Limits, Listener, Shutdown, serve_http};
use fieldkeep_protocol::DeviceId;

const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Server {
    pub(super) station: Station,
    pub(super) mqtt: SocketAddr,
    pub(super) device: SocketAddr,
    pub(super) log: Log,
    _stop: watch::Sender<bool>,
    _logging: DefaultGuard,
}

impl Server {
    pub(super) async fn start() -> Self {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(log.clone())
            .with_ansi(false)
            .finish();
        let logging = tracing::subscriber::set_default(subscriber);
        let station = Station::new().await;
        let pki = &station.bench.pki;
        let certificate = pki.server_certificate("localhost").await.unwrap();
        let (stop, shutdown) = Shutdown::new();
        let limits = || Limits::new(100, 50, station.bench.clock.clone());
        let here: SocketAddr = "127.0.0.1:0".parse().unwrap();

        let config = pki.device_tls(&certificate, true, &["mqtt"]).unwrap();
        let listener = Listener::bind("mqtt", here, config, limits())
            .await
            .unwrap();
        let mqtt = listener.address().unwrap();
        let ingest = station.ingest.clone();
        tokio::spawn(listener.run(shutdown.clone(), move |connection| {
            let ingest = ingest.clone();
            async move {
                let Connection {
                    stream,
                    peer,
                    mut shutdown,
                } = connection;
                ingest
                    .mqtt(stream, peer, async move { shutdown.requested().await })
                    .await;
            }
        }));

        let config = pki.device_tls(&certificate, false, &["http/1.1"]).unwrap();
        let listener = Listener::bind("device", here, config, limits())
            .await
            .unwrap();
        let device = listener.address().unwrap();
        let routes = station.ingest.routes();
        tokio::spawn(listener.run(shutdown, move |connection| {
            serve_http(connection, routes.clone())
        }));
        Self {
            station,
            mqtt,
            device,
            log,
            _stop: stop,
            _logging: logging,
        }
    }

    /// A client's settings; they keep its session tickets.
    pub(super) fn client(
        &self,
        identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.station.bench.server_root()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            // Past the client's own look at its certificate, which would not send some of these.
            Some((chain, key)) => {
                let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
                let certified = SingleCertAndKey::from(CertifiedKey::new(chain, key));
                builder.with_client_cert_resolver(Arc::new(certified))
            }
            None => builder.with_no_client_auth(),
        };
        TlsConnector::from(Arc::new(config))
    }

    pub(super) fn device_client(&self, identity: &Identity) -> TlsConnector {
        self.client(Some((identity.chain.clone(), identity.private_key())))
    }

    /// What a client first reads on the MQTT listener after its CONNECT.
    pub(super) async fn first_read(&self, connector: &TlsConnector) -> Got {
        match dial(connector, self.mqtt).await {
            Ok(stream) => Client::new(stream).connect("").await,
            Err(_) => Got::End,
        }
    }

    /// The first line of the answer to a request on the device listener; empty when there is none.
    pub(super) async fn request(&self, connector: &TlsConnector, path: &str) -> String {
        let Ok(mut stream) = dial(connector, self.device).await else {
            return String::new();
        };
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        );
        let _ = stream.write_all(request.as_bytes()).await;
        let answer = read_all(&mut stream).await;
        String::from_utf8_lossy(&answer)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    /// What comes back for bytes that are not ours.
    pub(super) async fn raw(&self, to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
        let mut tcp = TcpStream::connect(to).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        read_all(&mut tcp).await
    }
}

pub(super) async fn dial(
    connector: &TlsConnector,
    to: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(to).await?;
    connector
        .connect(ServerName::try_from("localhost").unwrap(), tcp)
        .await
}

async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    // A reset after the answer is an end as well.
    let read = timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    let _ = read.expect("the server ends the connection in time");
    all
}

/// Everything logged since the test began.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes what was logged so far.
    pub(super) fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A certificate that differs from a device's in what a test changes.
pub(super) struct Draft {
    pub(super) params: CertificateParams,
    pub(super) key: KeyPair,
}

impl Draft {
    /// Just as a device's.
    pub(super) fn new(device: DeviceId, now_s: i64) -> Self {
        let mut params = CertificateParams::default();
        let start = rcgen::date_time_ymd(1970, 1, 1);
        let now_s = u64::try_from(now_s).unwrap();
        params.not_before = start + Duration::from_secs(now_s - 3_600);
        params.not_after = start + Duration::from_secs(now_s + 86_400);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, device.to_string());
        params.subject_alt_names = vec![uri(device)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Self {
            params,
            key: KeyPair::generate().unwrap(),
        }
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        change(&mut self.params);
        self
    }

    pub(super) fn keyed(mut self, key: KeyPair) -> Self {
        self.key = key;
        self
    }

    pub(super) fn authority(self, length: u8) -> Self {
        self.with(|params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length));
            params.key_usages = vec![
                KeyUsagePurpose::KeyCertSign,
                KeyUsagePurpose::DigitalSignature,
            ];
        })
    }

    pub(super) fn critical(self) -> Self {
        self.with(|params| {
            let mut unknown =
                CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
            unknown.set_criticality(true);
            params.custom_extensions.push(unknown);
        })
    }

    /// Signs it; `above` follows it in the chain.
    pub(super) fn signed(
        &self,
        issuer: &Issuer<'_, KeyPair>,
        above: &[CertificateDer<'static>],
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let leaf = self.params.signed_by(&self.key, issuer).unwrap();
        let mut chain = vec![leaf.der().clone()];
        chain.extend_from_slice(above);
        (chain, private_key(&self.key))
    }
}

pub(super) fn uri(device: DeviceId) -> SanType {
    SanType::URI(device.urn().to_string().try_into().unwrap())
}
