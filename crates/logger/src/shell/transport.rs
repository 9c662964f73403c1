//! Owns one MQTT session on its socket: the bytes between the two. What they mean is the desk's.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, WriteHalf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::{
    desk::{Desk, Ended},
    link::{Credentials, Server, until},
};
use crate::{logger::Shared, session::Way};

/// Things that need no event are looked at this often.
const LOOK_US: u64 = 30 * 1_000_000;

/// Runs a session until it ends.
pub(crate) async fn run(
    shared: &Shared,
    credentials: &Credentials,
    server: &Server,
    stream: TlsStream<TcpStream>,
) -> Ended {
    let mut desk = Desk::open(shared, credentials, server, Way::Mqtt);
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut output: Vec<u8> = Vec::new();
    let mut input = vec![0; 16 * 1024];
    let mut unflushed = false;
    loop {
        let reading = shared.options.clock.read();
        desk.work(reading);
        output.extend(desk.session.take_output());
        if desk.session.is_ended() && output.is_empty() && !unflushed {
            break;
        }
        let now_us = reading.ticks_us;
        let timeout = desk
            .session
            .poll_timeout()
            .unwrap_or(u64::MAX)
            .min(now_us + LOOK_US);
        tokio::select! {
            pushed = push(&mut writer, &output), if !output.is_empty() || unflushed => match pushed {
                Ok(count) => {
                    unflushed = count > 0;
                    output.drain(..count);
                }
                Err(error) => {
                    desk.line_failed(&error);
                    break;
                }
            },
            read = reader.read(&mut input) => match read {
                Ok(0) => {
                    desk.fail("the cloud closed the connection", false);
                    break;
                }
                Ok(count) => desk.session.handle_bytes(&input[..count], shared.options.clock.read().ticks_us),
                Err(error) => {
                    desk.line_failed(&error);
                    break;
                }
            },
            () = tokio::time::sleep(until(now_us, Some(timeout))) => {
                desk.session.handle_timeout(shared.options.clock.read().ticks_us);
            }
            () = shared.wake.notified() => {}
        }
    }
    // The other side hears that this was on purpose; if it does not, it notices by the silence.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), writer.shutdown()).await;
    desk.close()
}

/// Writes some of the output, or flushes where there is none; dropped before it is done, it has done nothing.
async fn push(
    writer: &mut WriteHalf<TlsStream<TcpStream>>,
    output: &[u8],
) -> std::io::Result<usize> {
    if output.is_empty() {
        writer.flush().await.map(|()| 0)
    } else {
        writer.write(output).await
    }
}
