//! Hooks and tasks, without any server: what runs when, and what the report says of it.
//!
//! It shuts itself down at once, and exits with 3, because a hook failed and another overran:
//!
//! ```console
//! $ cargo run --example hooks_and_tasks
//! left in 0.605 s of 5.000 s, not clean: requested: the example is over
//!   LameDuck T0+0.000 s to T0+0.052 s  completed
//!     hook `give back the lease` done after 0.052 s
//!   Drain    T0+0.052 s to T0+0.101 s  completed
//!   Close    T0+0.101 s to T0+0.101 s  completed
//!   Release  T0+0.101 s to T0+0.605 s  completed
//!     hook `broker` done after 0.102 s
//!     hook `database` overran after 0.401 s
//!     hook `cache` failed: connection refused after 0.000 s
//!   Exit     T0+0.605 s to T0+0.605 s  completed
//!     hook `telemetry` done after 0.001 s
//!   task `importer` done
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use lameduck::{Phase, Plan, ShutdownCoordinator};
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let plan = Plan::builder()
        .grace_period(Duration::from_secs(5))
        .build()?;
    println!("{plan}\n");
    let shutdown = ShutdownCoordinator::new(plan);
    let handle = shutdown.handle();

    // What cannot be replaced comes first: less time may be left than was promised.
    shutdown.hook(Phase::LameDuck, "give back the lease", async || {
        sleep(Duration::from_millis(50)).await;
    })?;
    shutdown.hook(Phase::Release, "broker", async || {
        sleep(Duration::from_millis(100)).await;
    })?;
    // After the broker, and not for long. Its future is dropped then, and what comes after it goes on.
    let when = Phase::Release
        .after("broker")
        .timeout(Duration::from_millis(400));
    shutdown.hook(when, "database", std::future::pending)?;
    shutdown.try_hook(Phase::Release, "cache", async || Err("connection refused"))?;

    // A component deep in the application registers its own, late, through a handle.
    handle.blocking_hook(Phase::Exit, "telemetry", || { /* an exporter that blocks */
    })?;

    handle.task("importer", |cx| async move {
        cx.stop_requested().await;
        sleep(Duration::from_millis(100)).await;
    })?;

    handle.shutdown("the example is over");
    let report = shutdown.run().await;
    println!("{report}");
    Ok(report.exit_code())
}
