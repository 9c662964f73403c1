//! The command line of the datalogger: `enroll`, `run`, `status`. Exit codes: 0 done, 1 failed, 2 usage or
//! configuration, 3 denied, 4 unreachable. Results go to stdout, logs to stderr.

mod command;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = command::Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("FIELDKEEP_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .init();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::from(1);
        }
    };
    ExitCode::from(runtime.block_on(command::execute(arguments)))
}
