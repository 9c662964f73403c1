//! Mosquitto: the same messages over the same TLS, kept in memory only and for nobody. Its best case.

use std::path::Path;

use anyhow::{Context as _, Result};
use tokio::process::Command;

use crate::load::process::{Program, found, free_port};
use crate::load::tls::Authority;
use crate::load::traffic::Sender;

/// The program.
pub const PROGRAM: &str = "mosquitto";

/// Starts it with this authority's certificates.
pub async fn start(folder: &Path, authority: &Authority) -> Result<Program> {
    let program = found(PROGRAM).context("it is not installed")?;
    let port = free_port()?;
    let settings = folder.join("mosquitto.conf");
    std::fs::write(
        &settings,
        format!(
            "user root\n\
             listener {port} 127.0.0.1\n\
             cafile {}\ncertfile {}\nkeyfile {}\n\
             require_certificate true\nallow_anonymous true\n\
             persistence false\nmax_inflight_messages 0\nset_tcp_nodelay true\nlog_type error\n",
            authority.root().display(),
            authority.chain("server").display(),
            authority.key("server").display(),
        ),
    )?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&settings);
    Program::start(&mut command, port, &folder.join("mosquitto.log")).await
}

/// So many clients with one certificate and topics like our devices'.
pub fn senders(authority: &Authority, count: usize) -> Result<Vec<Sender>> {
    let tls = authority.connector()?;
    Ok((0..count)
        .map(|number| Sender {
            tls: tls.clone(),
            id: format!("load-{number}"),
            topic: format!("fk/1/dev_{number:026}/batch"),
        })
        .collect())
}
