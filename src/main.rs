//! The `charkh` program.
mod cli {
    //! What the program does with its arguments. The protocols are those of the examples.
    pub(crate) mod address;
    pub(crate) mod args;
    pub(crate) mod discard;
    pub(crate) mod limits;
    pub(crate) mod load;
    pub(crate) mod output;
    pub(crate) mod protocols;
    pub(crate) mod report;
    pub(crate) mod send;
    pub(crate) mod serve;
    pub(crate) mod signals;
    pub(crate) mod text;
    pub(crate) mod trace;
    pub(crate) mod units;
}

use std::{io::Write, process::ExitCode};

use clap::Parser;
use cli::args::{Args, Command};

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Serve(args) => cli::serve::run(&args),
        Command::Send(args) => cli::send::run(&args),
    };
    log::logger().flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Not `eprintln!`: it panics where nobody reads.
            let _ = writeln!(std::io::stderr(), "charkh: {why}");
            ExitCode::FAILURE
        }
    }
}
