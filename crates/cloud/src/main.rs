//! The `fieldkeep` binary: hands its arguments to [`fieldkeep_cloud::command`].

fn main() -> std::process::ExitCode {
    fieldkeep_cloud::command::main()
}
