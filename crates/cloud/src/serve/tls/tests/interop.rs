//! Programs that are not ours, where they are installed: Debian's `mosquitto_pub` gets in with a device's files, and
//! `openssl s_client` does not with TLS 1.2.

use std::process::Stdio;

use fieldkeep_protocol::limits;
use fieldkeep_protocol::message::{Level, LogLine};
use fieldkeep_protocol::topic::{Topic, Up};
use tokio::process::Command;

use super::kit::Server;
use super::refusals::logged;

#[tokio::test]
async fn mosquitto_publishes_with_a_devices_files() {
    let server = Server::start().await;
    let bench = &server.station.bench;
    let device = bench.enrol("a").await;
    let folder = bench.folder.path();
    std::fs::write(folder.join("device.key"), device.key.serialize_pem()).unwrap();
    std::fs::write(folder.join("device.pem"), device.pem()).unwrap();
    std::fs::write(folder.join("ca.pem"), bench.pki.server_root_pem()).unwrap();
    let line = LogLine {
        time: bench.clock.now(),
        level: Level::Info,
        code: "hello",
        text: "from mosquitto",
    };
    let mut bytes = [0; limits::LOG_BYTES];
    let length = line.encode(&mut bytes).unwrap();
    std::fs::write(folder.join("message"), &bytes[..length]).unwrap();
    let own = Topic::up(device.device, Up::Log).to_string();
    let foreign = own.replace("/log", "/config");
    for (topic, fits) in [(own, true), (foreign, false)] {
        let run = Command::new("mosquitto_pub")
            .current_dir(folder)
            .args(["-V", "mqttv5", "-q", "1", "-h", "localhost", "-p"])
            .arg(server.mqtt.port().to_string())
            .args([
                "--cafile",
                "ca.pem",
                "--cert",
                "device.pem",
                "--key",
                "device.key",
            ])
            .args([
                "-i",
                &device.device.to_string(),
                "-t",
                &topic,
                "-f",
                "message",
            ])
            .stdin(Stdio::null())
            .output();
        let Ok(output) = run.await else {
            eprintln!("mosquitto_pub is not installed: not tried");
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || !fits, "{said}");
        if !fits {
            logged(&server, "topic_refused");
        }
    }
    let log = server.station.log(&device).await;
    assert!(log.iter().any(|line| line.text == "from mosquitto"));
}

#[tokio::test]
async fn openssl_gets_no_tls_1_2() {
    let server = Server::start().await;
    for listener in [server.mqtt, server.device] {
        server.log.take();
        let run = Command::new("openssl")
            .args(["s_client", "-tls1_2", "-connect", &listener.to_string()])
            .stdin(Stdio::null())
            .output();
        let Ok(output) = run.await else {
            eprintln!("openssl is not installed: not tried");
            return;
        };
        assert!(!output.status.success());
        logged(&server, "tls_version");
    }
}
