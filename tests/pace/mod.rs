//! A paused clock beside real sockets, all in one runtime of one thread.

// Each test file is a crate of its own.
#![allow(unreachable_pub)]

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// Keeps the paused clock from jumping while bytes are between two sockets: each step takes a real moment, too.
pub async fn pace() {
    const STEP: Duration = Duration::from_millis(10);
    const MOMENT: Duration = Duration::from_micros(200);
    loop {
        sleep(STEP).await;
        // The clock stands still while this runs.
        let moment = spawn_blocking(|| std::thread::sleep(MOMENT));
        moment.await.unwrap();
    }
}
