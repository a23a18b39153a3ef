//! Those who last, and are told to end.

use std::pin::Pin;

use super::{Seen, block_on, block_on_with, model, runtime, spawn};
use crate::handle::ShutdownHandle;
use crate::phase::Phase;
use crate::plan::Plan;
use crate::reason::Reason;
use crate::run::ShutdownCoordinator;

/// A moment that has come knows when its phase began, whoever was faster: else it could not lie in a spread.
#[test]
fn moment_knows_when_its_phase_began() {
    model(|| {
        let handle = ShutdownHandle::new(Plan::immediate());
        let long = spawn({
            let handle = handle.clone();
            move || {
                let mut moment = handle.moment();
                let told = block_on(&mut moment);
                // So that the checker also tries this before the stage is set: tokio's token is not its own.
                let _ = handle.phase();
                assert!(moment.at().is_some(), "it came without a time");
                assert_eq!(told.reason(), &Reason::from("model"));
            }
        });

        handle.shutdown("model");
        handle.shared.enter(Phase::Close);
        long.join().unwrap();

        assert_eq!(handle.shared.notices.told(), 1);
    });
}

/// Who was told while it held a guard is in the report.
#[test]
fn who_was_told_under_a_guard_is_in_the_report() {
    static TOLD: Seen = Seen::new("told");
    static REFUSED: Seen = Seen::new("long guard refused");

    model(|| {
        let runtime = runtime();
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let handle = shutdown.handle();
        handle.shutdown("model");
        let long = spawn({
            let handle = handle.clone();
            move || {
                let Some(guard) = handle.long_guard("late") else {
                    REFUSED.note();
                    return 0;
                };
                TOLD.note();
                let mut moment = handle.moment();
                block_on(Pin::new(&mut moment));
                drop(guard);
                1
            }
        });

        let report = block_on_with(&runtime, shutdown.run());
        let told = long.join().unwrap();

        assert_eq!((report.long.told, report.long.cut), (told, 0), "{report}");
    });
    TOLD.check();
    REFUSED.check();
}

/// What is logged in batches adds up to all who were told.
#[test]
fn batches_add_up() {
    model(|| {
        let handle = ShutdownHandle::new(Plan::immediate());
        let tellers: Vec<_> = (0..2)
            .map(|lot| {
                let handle = handle.clone();
                spawn(move || handle.shared.notices.tell(lot))
            })
            .collect();

        let notices = &handle.shared.notices;
        let mut logged = notices.batch() + notices.batch();
        for teller in tellers {
            teller.join().unwrap();
        }
        logged += notices.batch();

        assert_eq!((logged, notices.told()), (2, 2));
        #[cfg(feature = "hyper")]
        assert!(notices.knows(0) && notices.knows(1));
    });
}
