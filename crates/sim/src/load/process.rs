//! Programs under test, seen from outside: their processor time, their memory, their files, their end.
//!
//! Promises that a program that was started here is killed when its [`Program`] is dropped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

/// The moment; the bench's only clock.
#[expect(
    clippy::disallowed_methods,
    reason = "measuring is what this module is for"
)]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// User and system time of a process so far; the kernel counts in hundredths of a second.
pub fn cpu(process: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))
        .with_context(|| format!("process {process} has ended"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u64>)
        .sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Resident memory of a process in bytes.
pub fn resident(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))
        .with_context(|| format!("process {process} has ended"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1_024)
}

/// What a stretch of work took of the wall clock and of one process.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// By the wall clock.
    pub wall: Duration,
    /// By that process.
    pub cpu: Duration,
}

/// Runs `work` and tells what it took; with its outcome.
pub async fn spent<T>(process: u32, work: impl Future<Output = Result<T>>) -> Result<(T, Spent)> {
    let (begin, before) = (now(), cpu(process)?);
    let outcome = work.await?;
    let spent = Spent {
        wall: begin.elapsed(),
        cpu: cpu(process)?.saturating_sub(before),
    };
    Ok((outcome, spent))
}

/// Waits until a process uses less than a twentieth of a core for three seconds; false when `patience` ran out.
pub async fn settled(process: u32, patience: Duration) -> Result<bool> {
    let begin = now();
    while begin.elapsed() < patience {
        let before = cpu(process)?;
        sleep(Duration::from_secs(3)).await;
        if cpu(process)?.saturating_sub(before) < Duration::from_millis(150) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Bytes of all files below a folder, by the blocks that they take.
pub fn disk_use(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut total = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let known = entry.metadata()?;
        total += if known.is_dir() {
            disk_use(&entry.path())?
        } else {
            known.blocks() * 512
        };
    }
    Ok(total)
}

/// A port of loopback that was free a moment ago, for programs that cannot be asked which one they took.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Whether a program can be found.
#[must_use]
pub fn found(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([
            Path::new("/usr/sbin").to_owned(),
            Path::new("/usr/bin").to_owned(),
        ])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// A running program that listens on a port of loopback.
pub struct Program {
    child: Child,
    /// Its process id.
    pub process: u32,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Program {
    /// Starts it, its output into `log`, and waits until its port takes connections.
    pub async fn start(command: &mut Command, port: u16, log: &Path) -> Result<Self> {
        let output = std::fs::File::create(log)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.as_std().get_program()))?;
        let process = child.id().context("a process id")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        for _ in 0..300 {
            if TcpStream::connect(address).await.is_ok() {
                return Ok(Self {
                    child,
                    process,
                    address,
                });
            }
            if let Some(status) = child.try_wait()? {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                let last = said.lines().last().unwrap_or_default().to_owned();
                bail!(
                    "{:?} ended with {status}: {last}",
                    command.as_std().get_program()
                );
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("{:?} does not listen", command.as_std().get_program())
    }

    /// Kills it and waits for its end.
    pub async fn end(mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_time_and_memory() {
        let own = std::process::id();
        assert!(resident(own).unwrap() > 100_000);
        let begin = cpu(own).unwrap();
        let mut sum = 0_u64;
        while cpu(own).unwrap() == begin {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_told() {
        let folder = crate::folder();
        let log = folder.path().join("log");
        let mut command = Command::new("false");
        let failed = Program::start(&mut command, free_port().unwrap(), &log).await;
        let message = failed.err().unwrap().to_string();
        assert!(message.contains("ended with"), "{message}");
    }
}
