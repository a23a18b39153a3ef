//! What a WebSocket costs a server in resident memory, under `lameduck` and under `axum::serve`.

use std::fmt::Write;
use std::path::Path;

use crate::args::Args;
use crate::clients;
use crate::process::Process;
use crate::server::{Buffers, Column, Settings};

/// What the first connections cost once is no part of it.
const WARM_UP: usize = 200;
/// At most so many with the large buffers: 5,000 of them are 650 MB.
const MOST_LARGE: usize = 5_000;

/// A table.
pub(crate) async fn measure(args: &Args) -> Result<String, String> {
    if !Path::new("/proc/self/status").exists() {
        return Ok("memory: not measured, there is no /proc here\n".to_owned());
    }
    let mut table = format!(
        "{:<56}{:>10}{:>10}{:>8}\n",
        "resident memory of a WebSocket, in KiB", "lameduck", "axum", "ratio"
    );
    for (buffers, number, name) in [
        (Buffers::Small, args.connections, "buffers of 4 KiB"),
        (
            Buffers::Default,
            args.connections.min(MOST_LARGE),
            "tungstenite's own buffers, 128 KiB",
        ),
    ] {
        let lameduck = of_one(args, Column::Lameduck, buffers, number).await?;
        let axum = of_one(args, Column::Axum, buffers, number).await?;
        let _ = writeln!(
            table,
            "{:<56}{lameduck:>10.1}{axum:>10.1}{:>8.2}",
            format!("  {name}, {number} connections"),
            lameduck / axum
        );
    }
    Ok(table)
}

async fn of_one(
    args: &Args,
    column: Column,
    buffers: Buffers,
    number: usize,
) -> Result<f64, String> {
    let server = Process::start(Settings {
        column,
        buffers,
        spread: args.spread,
    })
    .await?;
    let warm_up = clients::open(server.address, WARM_UP).await?;
    let before = server.resident()?;
    let sockets = clients::open(server.address, number).await?;
    let after = server.resident()?;
    drop((warm_up, sockets));
    Ok(after.saturating_sub(before) as f64 / 1024.0 / number as f64)
}
