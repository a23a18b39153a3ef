//! What a process that has many coordinators keeps of them: nothing that grows, unless a guard outlives its coordinator.
//!
//! `LAMEDUCK_COORDINATORS=100000 cargo test --release --test leaks` runs as many as are asked for.

#![cfg(target_os = "linux")]

use std::fs;
use std::time::Duration;

use lameduck::{DrainGuard, Phase, Plan, ShutdownCoordinator};
use tokio::runtime::{Builder, Runtime};

/// In a debug build.
const COORDINATORS: u32 = 20_000;
/// What a page more or less, of an allocator that holds on to memory, comes to.
const FLAT: u64 = 512 * 1024;
/// A gauge: 64 shards of 256 bytes, and what it needs beside them.
const GAUGE: std::ops::Range<u64> = 16 * 1024 - SLACK..17 * 1024 + SLACK;
const SLACK: u64 = 2 * 1024;

/// The process's resident memory, in bytes.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    let resident: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    resident * 4096
}

fn threads() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"));
    line.unwrap().trim().parse().unwrap()
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_time().build().unwrap()
}

/// A coordinator with all that it can have, from its first guard to its report. Gives a clone of a guard, which is held on
/// purpose.
async fn whole_life(hold: bool) -> Option<DrainGuard> {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    for &phase in Phase::ALL {
        shutdown
            .hook(phase, format!("{phase}"), async || {})
            .unwrap();
    }
    handle
        .task("task", |cx| async move { cx.stop_requested().await })
        .unwrap();
    let guard = handle.named_guard("guard").unwrap();
    let held = hold.then(|| guard.clone());
    let mut moment = handle.moment();
    let worker = tokio::spawn({
        let handle = handle.clone();
        async move {
            handle.reached(Phase::Drain).await;
            drop(guard);
        }
    });
    let waiter = tokio::spawn(async move { handle.finished().await });

    shutdown.handle().shutdown("test");
    if hold {
        // Its Drain would wait for the guard.
        drop(shutdown);
        waiter.abort();
    } else {
        let report = shutdown.run().await;
        assert!(report.is_clean(), "{report}");
        (&mut moment).await;
        waiter.await.unwrap();
    }
    worker.abort();
    let _ = worker.await;
    held
}

/// One that is made, used a little, and dropped without having been run.
async fn cut_short() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    shutdown.hook(Phase::Exit, "hook", async || {}).unwrap();
    let guard = handle.guard();
    drop(shutdown);
    drop(guard);
}

async fn lives(count: u32) {
    for _ in 0..count {
        whole_life(false).await;
        cut_short().await;
    }
}

/// A task puts its guard back, and is over a little later, on another thread.
fn all_tasks_end(runtime: &Runtime) -> bool {
    let ended = || runtime.metrics().num_alive_tasks() == 0;
    (0..1_000).any(|_| {
        ended() || {
            std::thread::sleep(Duration::from_millis(1));
            false
        }
    })
}

/// All in one test: what the process holds is everybody's.
#[test]
fn coordinators_leave_nothing_behind() {
    let count = std::env::var("LAMEDUCK_COORDINATORS");
    let count = count.map_or(COORDINATORS, |count| count.parse().unwrap()) / 2;
    let runtime = runtime();
    runtime.block_on(lives(count / 10));
    let (memory, before) = (resident(), threads());

    runtime.block_on(lives(count));

    let grown = resident().saturating_sub(memory);
    println!("{} coordinators: {grown} bytes more", 2 * count);
    assert!(grown < FLAT, "{grown} bytes are left");
    assert_eq!(threads(), before);
    assert!(all_tasks_end(&runtime), "tasks are left in the runtime");

    guards_keep_a_gauge_each(&runtime);
    guards_leave_no_name(&runtime);
}

/// A guard that outlives its coordinator keeps that one's gauge, and no more than that; when it is gone nothing more is lost.
fn guards_keep_a_gauge_each(runtime: &Runtime) {
    const GUARDS: u64 = 200;
    let memory = resident();

    let held: Vec<_> = (0..GUARDS)
        .map(|_| runtime.block_on(whole_life(true)))
        .collect();
    let kept = resident().saturating_sub(memory) / GUARDS;
    drop(held);
    let memory = resident();
    runtime.block_on(lives(1_000));
    let grown = resident().saturating_sub(memory);

    println!("{kept} bytes a guard, {grown} bytes more afterwards");
    assert!(GAUGE.contains(&kept), "{kept} bytes are kept for each");
    assert!(grown < FLAT, "{grown} bytes are left");
}

/// A coordinator that lives long has had many named guards.
fn guards_leave_no_name(runtime: &Runtime) {
    let _entered = runtime.enter();
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let memory = resident();

    for upload in 0..100_000 {
        drop(handle.named_guard(format!("upload {upload}")));
    }

    let grown = resident().saturating_sub(memory);
    println!("{grown} bytes more after many guards");
    assert!(grown < FLAT, "{grown} bytes are left");
}
