//! A real browser in front of a replica that leaves: its own `WebSocket` sees a clean end, its own `EventSource` comes back
//! when it was told to, and both find the next replica.
//!
//! `cargo test --all-features --test browser -- --nocapture` shows what the page saw. Without chromium on the machine it is
//! skipped.

#![cfg(all(feature = "hyper", unix))]

mod balancer;
mod chromium;
mod page;
#[path = "../process/mod.rs"]
mod process;
mod service;

use std::io::Write;
use std::time::Duration;

use lameduck::{Plan, ShutdownCoordinator};
use tokio::time::timeout;

use balancer::Balancer;
use page::{EVENTS, Page, SOCKET};
use service::PlainReplica;

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The service lets an `EventSource` come back after a tenth of a second, `lameduck` after one second to three. What lies
/// between is for what timers round off.
const SENT_AWAY_BY_LAMEDUCK: Duration = Duration::from_millis(900);

// Cases 53 and 56.
#[tokio::test]
async fn a_browser_sees_a_clean_end_and_finds_the_next_replica() {
    let Some(chromium) = installed() else { return };
    let plan = Plan::immediate();
    let a = ShutdownCoordinator::new(plan.clone()).termination_log("/nonexistent");
    let b = ShutdownCoordinator::new(plan).termination_log("/nonexistent");
    let a_address = service::replica("A", &a.handle()).await;
    let b_address = service::replica("B", &b.handle()).await;
    let balancer = Balancer::start(a_address).await;
    let mut page = Page::open(chromium, balancer.address).await;
    page.says(EVENTS, "message from A").await;
    page.says(SOCKET, "message from A").await;

    // Both in one turn of the runtime: no connection comes between them.
    a.handle().shutdown("the test");
    balancer.route_to(b_address);
    let report = soon("the end of A", a.run()).await;
    page.says(EVENTS, "message from B").await;
    page.says(SOCKET, "message from B").await;

    println!("{page}{report}");
    assert_eq!(
        page.said(SOCKET),
        [
            "open",
            "message from A",
            "closed with 1012, clean",
            "open",
            "message from B"
        ]
    );
    assert_eq!(
        page.said(EVENTS),
        [
            "open",
            "message from A",
            "ended, connecting again",
            "open",
            "message from B"
        ]
    );
    // An `EventSource` takes a stream that broke off for one that ended. Its pause and the report tell them apart.
    let pause = page.pause(EVENTS, "ended, connecting again", "open");
    assert!(pause >= SENT_AWAY_BY_LAMEDUCK, "{pause:?}");
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.long.told, report.long.cut), (2, 0), "{report}");
    assert_eq!((report.cut, report.connections.cut), (0, 0), "{report}");
}

/// The control: the page can tell when a replica just ends, and comes back to the next one when the service has said.
#[tokio::test]
async fn a_browser_sees_1006_when_a_replica_of_plain_axum_ends() {
    let Some(chromium) = installed() else { return };
    let a = PlainReplica::start("A");
    let b = PlainReplica::start("B");
    let balancer = Balancer::start(a.address).await;
    let mut page = Page::open(chromium, balancer.address).await;
    page.says(EVENTS, "message from A").await;
    page.says(SOCKET, "message from A").await;

    balancer.route_to(b.address);
    drop(a);
    page.says(EVENTS, "message from B").await;
    page.says(SOCKET, "message from B").await;

    println!("{page}");
    assert_eq!(
        page.said(SOCKET),
        [
            "open",
            "message from A",
            "closed with 1006, not clean",
            "open",
            "message from B"
        ]
    );
    let pause = page.pause(EVENTS, "ended, connecting again", "open");
    assert!(pause < SENT_AWAY_BY_LAMEDUCK, "{pause:?}");
}

/// A test that waits for what never comes fails.
async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not come in {PATIENCE:?}"),
    }
}

/// What chromium is called here, or a line that says that the test is skipped.
fn installed() -> Option<&'static str> {
    let chromium = chromium::find();
    if chromium.is_none() {
        // Past the harness, which would show what is printed only if the test failed; and it may have begun a line.
        let _ = writeln!(
            std::io::stderr(),
            "\nSKIPPED: chromium is not installed, so no browser was asked"
        );
    }
    chromium
}
