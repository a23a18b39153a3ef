//! Metrics, through the facade crate `metrics`: whoever installs a recorder gets them.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use crate::handle::ShutdownHandle;
use crate::in_flight::{Class, FINISHED};
use crate::panic::call;
use crate::report::PhaseReport;
use crate::shared::Shared;

const PHASE: &str = "lameduck_phase";
const PHASE_SECONDS: &str = "lameduck_phase_duration_seconds";
const IN_FLIGHT: &str = "lameduck_in_flight";
const SERVED: &str = "lameduck_late_requests_total";
const REFUSED: &str = "lameduck_refused_requests_total";
const TOLD: &str = "lameduck_told_total";
const CUT: &str = "lameduck_cut_total";
const AGED: &str = "lameduck_aged_connections_total";
const AGED_CUT: &str = "lameduck_aged_connections_cut_total";

impl ShutdownHandle {
    /// Gives the installed recorder of the crate `metrics` what there is to know now. Call it where the metrics are asked for, so
    /// that what they say is true then; during a shutdown it is done at each phase's boundary, and once a second, anyway.
    ///
    /// | name | kind | what |
    /// |---|---|---|
    /// | `lameduck_phase` | gauge | 0 in normal service, 1 LameDuck, 2 Drain, 3 Close, 4 Release, 5 Exit, 6 when that is over |
    /// | `lameduck_phase_duration_seconds{phase}` | gauge | how long a phase took, in seconds, once it is over |
    /// | `lameduck_in_flight{class}` | gauge | `work` (requests, tasks, guards), `long` (those that last), `connection` |
    /// | `lameduck_late_requests_total` | counter | requests that arrived after T0 and were served |
    /// | `lameduck_refused_requests_total` | counter | requests that came too late |
    /// | `lameduck_told_total` | counter | long connections that were told to end |
    /// | `lameduck_cut_total{class}` | counter | what was cut at Close's deadline, by class as above |
    /// | `lameduck_aged_connections_total` | counter | connections that ended when their age (`Server::max_connection_age`) was over |
    /// | `lameduck_aged_connections_cut_total` | counter | those that were cut when the grace behind it was over |
    ///
    /// The first call describes them to the recorder. Without a recorder it does nothing.
    pub fn publish_metrics(&self) {
        record(&self.shared);
    }
}

/// Publishes them for the sequence, which a recorder's panic does not stop.
pub(crate) fn publish(shared: &Shared) {
    contained(|| record(shared));
}

fn record(shared: &Shared) {
    // Once more if the recorder panicked.
    shared.described.call_once_force(|_| describe());
    let stage = shared.tracker().stage();
    gauge!(PHASE).set(f64::from(stage.min(FINISHED)));
    for (name, class) in [
        ("work", Class::Work),
        ("long", Class::Long),
        ("connection", Class::Connection),
    ] {
        gauge!(IN_FLIGHT, "class" => name).set(shared.count_both(class) as f64);
    }
    let arrivals = shared.arrivals();
    counter!(SERVED).absolute(arrivals.served);
    counter!(REFUSED).absolute(arrivals.refused);
    counter!(TOLD).absolute(shared.notices.told());
    for (name, cut) in [
        ("work", shared.cut_count()),
        ("long", shared.long_counts().cut),
        ("connection", shared.connections.counts().cut),
    ] {
        counter!(CUT, "class" => name).absolute(cut);
    }
    let (aged, cut) = shared.ages.counts();
    counter!(AGED).absolute(aged);
    counter!(AGED_CUT).absolute(cut);
}

/// A phase is over.
pub(crate) fn phase_over(report: &PhaseReport) {
    let phase = report.phase.name();
    contained(|| gauge!(PHASE_SECONDS, "phase" => phase).set(report.took.as_secs_f64()));
}

fn contained(record: impl FnOnce()) {
    if let Err(panic) = call(record) {
        tracing::warn!(target: "lameduck", %panic, "the metrics recorder panicked");
    }
}

fn describe() {
    describe_gauge!(
        PHASE,
        "0 in normal service, 1 LameDuck, 2 Drain, 3 Close, 4 Release, 5 Exit, 6 over"
    );
    describe_gauge!(PHASE_SECONDS, Unit::Seconds, "How long a phase took");
    describe_gauge!(IN_FLIGHT, Unit::Count, "What is in flight");
    describe_counter!(SERVED, Unit::Count, "Requests served after the trigger");
    describe_counter!(REFUSED, Unit::Count, "Requests that came too late");
    describe_counter!(TOLD, Unit::Count, "Long connections told to end");
    describe_counter!(CUT, Unit::Count, "What was cut at Close's deadline");
    describe_counter!(AGED, Unit::Count, "Connections that ended behind their age");
    describe_counter!(AGED_CUT, Unit::Count, "Connections cut behind their age");
}
