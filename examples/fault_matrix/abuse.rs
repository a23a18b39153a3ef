//! The faults, and what each has to lead to.

use std::time::Duration;

use lameduck::{Phase, Plan};

/// How long a process is stopped.
pub(crate) const STOPPED: Duration = Duration::from_secs(3);
/// A stop that has to leave time begins so long before the last moment for it.
const ROOM: Duration = Duration::from_millis(400);
/// No stop begins earlier after SIGTERM.
const FIRST: Duration = Duration::from_millis(50);

/// One way to hold up a process, and what has to come of it.
#[derive(Debug)]
pub(crate) struct Abuse {
    pub(crate) key: &'static str,
    /// For a person.
    pub(crate) what: &'static str,
    pub(crate) deeds: &'static [Deed],
    /// The exit codes that it may lead to.
    pub(crate) codes: &'static [i32],
    /// All of these have to be in what the process says.
    pub(crate) words: &'static [&'static str],
}

/// A part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// The application's, at a random moment around SIGTERM.
    Now(Now),
    /// How the application is built, or a part of it.
    Built(Built),
    /// A hook's, in a random phase.
    Hook(Ending),
    /// A client's.
    Client(Client),
    /// The machine's.
    Machine(Machine),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Now {
    BlockWorkers,
    SpinWorkers,
    FillErrors,
    FillOutput,
    /// It goes on with its start-up.
    GoOn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Built {
    /// On a current-thread runtime.
    OneThread,
    /// `main` does not return after the shutdown.
    MainStays,
    /// `main` leaves with `exit_process`.
    ExitProcess,
    /// `spawn_blocking` work that never ends.
    BlockingWork,
    /// A telemetry exporter that blocks its thread when it is flushed.
    Exporter,
    /// A connection of the pool that nobody gives back.
    Leak,
    ManyHooks,
    /// A task that never ends.
    IgnoresStop,
    /// It is not ready yet when SIGTERM comes,
    SlowStart,
    /// and never will be.
    EndlessStart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Hangs,
    Spins,
    Panics,
    Fails,
    /// It is a blocking hook.
    Blocks,
    /// It hangs, and when its future is dropped that hangs, too.
    BlocksInDrop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// Asks for what is never answered.
    Never,
    /// Asks for what blocks the handler's thread.
    Block,
    EndlessBody,
    HalfHead,
    HalfBody,
    SlowReader,
    WebSocket,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    /// Stopped for 3 s, and there is time left after it.
    Stop,
    /// Stopped for 3 s, and the hard deadline is past after it.
    StopBeyond,
    /// A tenth of a core.
    Quota,
    /// SIGTERM comes fifty times.
    Repeats,
}

use Built::*;
use Client::*;
use Deed::{Built as B, Client as C, Hook as H, Machine as M, Now as N};
use Ending::*;
use Machine::*;
use Now::*;

const CLEAN: &str = "clean: SIGTERM";
/// The same in the log.
const LOGGED_CLEAN: &str = "SIGTERM: clean";
const WATCHDOG: &str = "ended by the watchdog (exit code 4)";
/// In the plan's line of the log.
const QUOTA: &str = "a CPU quota of 10ms in each 100ms";

#[rustfmt::skip]
const ALL: &[Abuse] = &[
    abuse("none", "nothing: the control", &[], &[0], &[CLEAN]),

    abuse("workers-blocked", "every worker of the runtime is blocked", &[N(BlockWorkers)], &[4], &[WATCHDOG]),
    abuse("workers-spinning", "every worker of the runtime spins", &[N(SpinWorkers)], &[4], &[WATCHDOG]),
    abuse("one-thread-blocked", "a current-thread runtime is blocked", &[B(OneThread), N(BlockWorkers)], &[4], &[WATCHDOG]),
    abuse("main-stays", "main does not return after the shutdown", &[B(MainStays)], &[4], &[CLEAN, WATCHDOG]),
    abuse("blocking-work", "spawn_blocking work never ends, and main has returned", &[B(BlockingWork)], &[4], &[CLEAN, WATCHDOG]),

    abuse("hook-hangs", "a hook never ends", &[H(Hangs)], &[3], &["hook `abuser` overran"]),
    abuse("hook-spins", "a hook spins", &[H(Spins)], &[4], &["abuser", WATCHDOG]),
    abuse("hook-spins-one-thread", "a hook spins on a current-thread runtime", &[B(OneThread), H(Spins)], &[4], &["abuser; tasks: ", WATCHDOG]),
    abuse("hook-panics", "a hook panics", &[H(Panics)], &[3], &["hook `abuser` panicked: on purpose"]),
    abuse("hook-fails", "a hook fails", &[H(Fails)], &[3], &["hook `abuser` failed: on purpose"]),
    abuse("hook-blocks", "a blocking hook never ends, and main has returned", &[H(Blocks)], &[4], &["hook `abuser` overran", WATCHDOG]),
    abuse("hook-blocks-exit", "the same, and main calls exit_process", &[H(Blocks), B(ExitProcess)], &[3], &["hook `abuser` overran"]),
    abuse("hook-drop-blocks", "a hook never ends, and neither does its drop", &[H(BlocksInDrop)], &[4], &["hook `abuser` overran", WATCHDOG]),
    abuse("many-hooks", "500 hooks in all phases, some hang, panic, fail", &[B(ManyHooks)], &[3], &["hook `hook 7` overran", "hook `hook 8` panicked: on purpose", "hook `hook 9` failed: on purpose"]),
    abuse("exporter-blocks", "an exporter blocks its thread in Exit", &[B(Exporter)], &[4], &["exporter", WATCHDOG]),
    abuse("exporter-blocks-one-thread", "the same on a current-thread runtime", &[B(Exporter), B(OneThread)], &[4], &["in Exit: ", "hooks: exporter", WATCHDOG]),
    abuse("pool-leaked", "a pool waits for a connection that nobody gives back", &[B(Leak)], &[3], &["hook `sqlite` overran"]),
    abuse("task-ignores", "a task ignores that it is told to stop", &[B(IgnoresStop)], &[3], &["task `abuser` overran", "left behind: task `abuser`"]),

    abuse("errors-full", "standard error is a full pipe that nobody reads", &[N(FillErrors)], &[4], &[]),
    abuse("output-full", "standard output is a full pipe that nobody reads", &[N(FillOutput)], &[4], &[LOGGED_CLEAN, WATCHDOG]),
    abuse("errors-full-blocked", "standard error is full and every worker is blocked", &[N(FillErrors), N(BlockWorkers)], &[4], &[]),
    abuse("errors-full-hook-spins", "standard error is full and a hook spins", &[N(FillErrors), H(Spins)], &[4], &[]),

    abuse("handler-never-ends", "a request is never answered", &[C(Never)], &[3], &["GET /never"]),
    abuse("handler-blocks", "a handler blocks its thread", &[C(Block)], &[4], &["GET /block", WATCHDOG]),
    abuse("body-never-ends", "a response body never ends", &[C(EndlessBody)], &[3], &["GET /drip"]),
    abuse("half-head", "a client sends half a head", &[C(HalfHead)], &[0], &[CLEAN]),
    abuse("half-body", "a client sends half a body", &[C(HalfBody)], &[3], &["POST /upload"]),
    abuse("slow-reader", "a client stops reading a large body", &[C(SlowReader)], &[3], &["GET /large"]),
    abuse("websocket", "a WebSocket whose handler knows of nothing", &[C(WebSocket)], &[0], &[CLEAN, "left behind: connection"]),
    abuse("all-clients", "all of these clients that do not block", &[C(Never), C(EndlessBody), C(HalfHead), C(HalfBody), C(SlowReader), C(WebSocket)], &[3], &["GET /never", "GET /drip", "POST /upload", "GET /large"]),

    abuse("stopped", "stopped for 3 s, and continued in time", &[M(Stop)], &[0, 3], &["SIGTERM"]),
    abuse("stopped-beyond", "stopped for 3 s beyond the hard deadline, with a task that ignores its stop", &[B(IgnoresStop), M(StopBeyond)], &[3, 4], &[]),
    abuse("stopped-beyond-blocked", "the same with every worker blocked", &[N(BlockWorkers), M(StopBeyond)], &[4], &[]),
    abuse("quota", "a tenth of a core", &[M(Quota)], &[0, 3], &["SIGTERM", QUOTA]),
    abuse("quota-blocked", "a tenth of a core and every worker blocked", &[M(Quota), N(BlockWorkers)], &[4], &[QUOTA]),
    abuse("quota-errors-full", "a tenth of a core and standard error full", &[M(Quota), N(FillErrors)], &[4], &[]),
    abuse("quota-spinning", "a tenth of a core, all of it taken by workers that spin", &[M(Quota), N(SpinWorkers)], &[4], &[QUOTA]),
    abuse("repeated", "SIGTERM comes fifty times", &[M(Repeats)], &[0], &[CLEAN, "already shutting down"]),

    abuse("early", "SIGTERM comes before the server is ready", &[B(SlowStart), N(GoOn)], &[0], &[CLEAN]),
    abuse("early-for-ever", "the same, and it never will be", &[B(EndlessStart)], &[4], &[WATCHDOG]),
];

const fn abuse(
    key: &'static str,
    what: &'static str,
    deeds: &'static [Deed],
    codes: &'static [i32],
    words: &'static [&'static str],
) -> Abuse {
    Abuse {
        key,
        what,
        deeds,
        codes,
        words,
    }
}

impl Abuse {
    pub(crate) const fn all() -> &'static [Abuse] {
        ALL
    }

    pub(crate) fn find(key: &str) -> Option<&'static Abuse> {
        ALL.iter().find(|abuse| abuse.key == key)
    }

    pub(crate) fn has(&self, deed: Deed) -> bool {
        self.deeds.contains(&deed)
    }

    pub(crate) fn now(&self) -> impl Iterator<Item = Now> {
        self.deeds.iter().filter_map(|deed| match deed {
            N(now) => Some(*now),
            _ => None,
        })
    }

    pub(crate) fn clients(&self) -> impl Iterator<Item = Client> {
        self.deeds.iter().filter_map(|deed| match deed {
            C(client) => Some(*client),
            _ => None,
        })
    }

    /// SIGTERM comes before it serves.
    pub(crate) fn is_early(&self) -> bool {
        self.has(B(SlowStart)) || self.has(B(EndlessStart))
    }

    /// It takes the processor from those that run beside it, so nobody should.
    pub(crate) fn burns(&self) -> bool {
        self.has(N(SpinWorkers)) || self.has(H(Spins))
    }

    /// It has a CPU quota.
    pub(crate) fn takes_the_processor_away(&self) -> bool {
        self.has(M(Quota))
    }

    /// When a stop begins, from SIGTERM: between these. `None`: there is none.
    ///
    /// One that has to leave time fits only into the longer grace periods; see [`fits`](Abuse::fits).
    pub(crate) fn stop(&self, plan: &Plan) -> Option<(Duration, Duration)> {
        if self.has(M(Stop)) {
            let last = plan.hard_deadline().saturating_sub(STOPPED + ROOM);
            Some((FIRST, last))
        } else if self.has(M(StopBeyond)) {
            let first = plan.hard_deadline().saturating_sub(STOPPED) + FIRST;
            // It is still there then.
            let last = plan.deadline(Phase::Close).saturating_sub(FIRST);
            Some((first, last))
        } else {
            None
        }
    }

    /// Whether it can be done within this plan.
    pub(crate) fn fits(&self, plan: &Plan) -> bool {
        self.stop(plan).is_none_or(|(first, last)| first < last)
    }
}
