//! Parses the command line and calls one function of [`pilotlight::cli`].

fn main() -> std::process::ExitCode {
    pilotlight::cli::run()
}
