//! The `charkh` program.
mod cli {
    //! What the program does with its arguments. The protocols are those of the examples.
    pub(crate) mod address;
    pub(crate) mod args;
    pub(crate) mod discard;
    pub(crate) mod inherited;
    pub(crate) mod limits;
    pub(crate) mod load;
    pub(crate) mod manager;
    pub(crate) mod output;
    pub(crate) mod protocols;
    pub(crate) mod report;
    pub(crate) mod send;
    pub(crate) mod send_udp;
    pub(crate) mod serve;
    pub(crate) mod signals;
    pub(crate) mod text;
    pub(crate) mod tls;
    pub(crate) mod trace;
    pub(crate) mod units;
}

use std::{io::Write, process::ExitCode};

use clap::Parser;
use cli::args::{Args, Command};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) => return refuse(&e),
    };
    let result = match args.command {
        Command::Serve(args) => cli::serve::run(&args).map(|()| 0),
        Command::Send(args) => cli::send::run(&args).map(|()| 0),
        Command::Load(args) => cli::load::run(&args),
    };
    log::logger().flush();
    match result {
        Ok(status) => status.into(),
        Err(why) => {
            // Not `eprintln!`: it panics where nobody reads.
            let _ = writeln!(std::io::stderr(), "charkh: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Help that was asked for, or what is wrong with the arguments.
fn refuse(e: &clap::Error) -> ExitCode {
    let _ = e.print();
    let loads = std::env::args_os().nth(1).is_some_and(|command| command == "load");
    match e.exit_code() {
        // The statuses of a load say how it went; of usage there is only one.
        2 if loads => ExitCode::FAILURE,
        code => u8::try_from(code).unwrap_or(1).into(),
    }
}
