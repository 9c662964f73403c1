//! What knocks without TLS 1.3 and the right certificate gets no answer, on the first read, from the
//! real listeners; and each refusal leaves a reason in the log.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::Result;
use fieldkeep_sim::folder;
use fieldkeep_sim::story::Scene;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

/// MQTT 5 CONNECT with an empty client id.
const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00";

#[tokio::test]
async fn plain_bytes_get_no_application_reply() -> Result<()> {
    let folder = folder();
    let mut scene = Scene::open(folder.path()).await?;
    for address in scene.cloud.addresses() {
        for bytes in [
            &b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
            CONNECT,
        ] {
            let reply = raw(address, bytes).await?;
            // Nothing, or one TLS alert record (type 21).
            assert!(
                reply.is_empty() || reply.first() == Some(&21),
                "{address}: {reply:?}"
            );
        }
    }
    scene.cloud.stop().await
}

#[tokio::test]
async fn tls_1_2_is_refused_and_1_3_accepted_everywhere() -> Result<()> {
    let folder = folder();
    let mut scene = Scene::open(folder.path()).await?;
    let ca = scene.cloud.ca();
    for address in scene.cloud.addresses() {
        for old in ["-tls1_2", "-tls1_1"] {
            assert!(
                !handshake(address, &ca, &[old]).await?,
                "{address} accepted {old}"
            );
        }
    }
    let [https, device, mqtt] = scene.cloud.addresses();
    for address in [https, device] {
        assert!(handshake(address, &ca, &["-tls1_3"]).await?, "{address}");
    }
    // Without a certificate the MQTT listener refuses TLS 1.3 as well: on the first read, which -ign_eof waits for.
    assert!(
        !handshake(mqtt, &ca, &["-tls1_3", "-ign_eof"]).await?,
        "{mqtt}"
    );
    let log = std::fs::read_to_string(folder.path().join("cloud.log"))?;
    assert!(log.contains("refused"), "refusals are logged: {log}");
    scene.cloud.stop().await
}

#[tokio::test]
async fn without_a_credential_every_path_answers_401() -> Result<()> {
    let folder = folder();
    let mut scene = Scene::open(folder.path()).await?;
    let nobody =
        fieldkeep_sim::client::Client::new(scene.cloud.addresses()[0], &scene.cloud.ca(), None)?;
    for path in [
        "/api/v1/me",
        "/api/v1/projects",
        "/api/v1/none",
        "/none",
        "/compat/none",
        "/api/v1/openapi.json",
    ] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let (status, _) = nobody.send(method, path, None).await?;
            assert_eq!(status, 401, "{method} {path}");
        }
    }
    assert_eq!(nobody.get("/livez").await?.0, 200);
    scene.cloud.stop().await
}

async fn raw(address: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    let mut reply = Vec::new();
    // A reset is as good as a close.
    let _ = stream.read_to_end(&mut reply).await;
    Ok(reply)
}

/// Whether `openssl s_client` completes a handshake whose chain verifies.
async fn handshake(address: SocketAddr, ca: &Path, version: &[&str]) -> Result<bool> {
    let status = Command::new("openssl")
        .args([
            "s_client",
            "-brief",
            "-verify_return_error",
            "-verify_hostname",
            "localhost",
        ])
        .args(["-connect", &address.to_string(), "-CAfile"])
        .arg(ca)
        .args(version)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await?;
    Ok(status.success())
}
