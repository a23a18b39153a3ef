//! `lameduck-drill -- ./server --port {port}`: see the README.

mod args;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    let drill = args.drill().on_progress(|line| eprintln!("{line}"));
    match drill.try_run() {
        Ok(outcome) => {
            match args.json {
                true => println!("{}", outcome.to_json()),
                false => println!("\n{outcome}"),
            }
            ExitCode::from(u8::from(!outcome.is_clean()))
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
