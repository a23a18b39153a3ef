//! The rollout itself: what the Deployment controller decides, and what its pods do then.
//!
//! After Kubernetes' `pkg/controller/deployment/rolling.go`. Whenever a pod has changed the controller scales the new
//! ReplicaSet up as far as it may, and if it may not, the old one down; and again, until it may do neither.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::strategy::{Limits, Strategy};

/// What is rolled out, and how long its pods take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deployment {
    pub(crate) replicas: u64,
    pub(crate) strategy: Strategy,
    /// Old pods that are not ready when it begins, as in a rollout that repairs.
    pub(crate) unready: u64,
    /// How long a new pod takes to get ready.
    pub(crate) ready: Duration,
    /// What the cluster adds to that: it schedules the pod, starts it, and notices that it is ready.
    pub(crate) overhead: Duration,
    /// A new pod is available when it has been ready for so long (`minReadySeconds`).
    pub(crate) min_ready: Duration,
    /// From a pod's deletion until it is gone.
    pub(crate) terminate: Duration,
    /// Whether those that are terminating count (KEP-5882, `podReplacementPolicy: TerminationComplete`). No release of Kubernetes
    /// has that.
    pub(crate) waits: bool,
}

/// All pods of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pods {
    pub(crate) old: u64,
    pub(crate) old_unready: u64,
    pub(crate) starting: u64,
    pub(crate) ready: u64,
    pub(crate) terminating: u64,
}

impl Pods {
    pub(crate) const fn total(self) -> u64 {
        self.counted() + self.terminating
    }

    /// Those that may serve: new connections go to them, not to those that are terminating.
    pub(crate) const fn serving(self) -> u64 {
        self.old + self.ready
    }

    /// What the controller counts.
    const fn counted(self) -> u64 {
        self.old + self.old_unready + self.new_pods()
    }

    const fn new_pods(self) -> u64 {
        self.starting + self.ready
    }
}

/// What is there from `at` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) at: Duration,
    pub(crate) pods: Pods,
}

/// How it went.
#[derive(Clone, Debug)]
pub(crate) struct Rollout {
    /// Each moment at which something changed, the first one at zero.
    pub(crate) moments: Vec<Moment>,
    /// When Kubernetes says that it is done: all new pods are available, and all old ones deleted.
    pub(crate) complete: Duration,
    /// When the last old pod is gone.
    pub(crate) gone: Duration,
}

impl Rollout {
    /// The first moment with the most pods.
    pub(crate) fn peak(&self) -> Moment {
        fullest(&self.moments)
    }

    /// Those that are there at `time`.
    pub(crate) fn pods_at(&self, time: Duration) -> Pods {
        let so_far = self.moments.iter().rev().find(|moment| moment.at <= time);
        so_far.expect("the first moment is at zero").pods
    }

    /// The fewest that may serve, at any moment.
    pub(crate) fn fewest_serving(&self) -> u64 {
        let serving = self.moments.iter().map(|moment| moment.pods.serving());
        serving.min().unwrap_or_default()
    }
}

/// The first of the moments with the most pods.
pub(crate) fn fullest(moments: &[Moment]) -> Moment {
    // `max_by_key` gives the last of those that are equal.
    let backwards = moments.iter().rev().copied();
    backwards
        .max_by_key(|moment| moment.pods.total())
        .expect("a rollout has a first moment")
}

impl Deployment {
    pub(crate) fn play(&self) -> Rollout {
        let mut play = Play::new(*self);
        play.reconcile();
        while let Some((at, due)) = play.due.pop_first() {
            play.now = at;
            play.take(due);
            play.reconcile();
        }
        Rollout {
            moments: play.moments,
            complete: play
                .complete
                .expect("each step replaces a pod, until all are"),
            gone: play.gone,
        }
    }
}

/// A rollout under way.
struct Play {
    deployment: Deployment,
    limits: Limits,
    now: Duration,
    pods: Pods,
    /// The new pods that are ready and have been for long enough.
    available: u64,
    due: BTreeMap<Duration, Due>,
    moments: Vec<Moment>,
    complete: Option<Duration>,
    gone: Duration,
}

/// So many pods change at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    ready: u64,
    available: u64,
    gone: u64,
}

impl Play {
    fn new(deployment: Deployment) -> Self {
        Play {
            deployment,
            limits: deployment.strategy.limits(deployment.replicas),
            now: Duration::ZERO,
            pods: Pods {
                old: deployment.replicas - deployment.unready,
                old_unready: deployment.unready,
                ..Pods::default()
            },
            available: 0,
            due: BTreeMap::new(),
            moments: Vec::new(),
            complete: None,
            gone: Duration::ZERO,
        }
    }

    fn take(&mut self, due: Due) {
        self.pods.starting -= due.ready;
        self.pods.ready += due.ready;
        self.available += due.available;
        self.pods.terminating -= due.gone;
        if due.gone > 0 {
            self.gone = self.now;
        }
    }

    fn reconcile(&mut self) {
        while self.scale_up() || self.scale_down() {}
        self.note();
        let replicas = self.deployment.replicas;
        if self.available == replicas && self.pods.counted() == replicas {
            self.complete.get_or_insert(self.now);
        }
    }

    fn note(&mut self) {
        // What lasts for no time at all was never there.
        if self.moments.last().map(|last| last.at) == Some(self.now) {
            self.moments.pop();
        }
        if self.moments.last().map(|last| last.pods) != Some(self.pods) {
            self.moments.push(Moment {
                at: self.now,
                pods: self.pods,
            });
        }
    }

    /// Creates new pods. Those that are terminating do not count, unless they are waited for: that is how so many run at once.
    fn scale_up(&mut self) -> bool {
        let replicas = self.deployment.replicas;
        let there = match self.deployment.waits {
            true => self.pods.total(),
            false => self.pods.counted(),
        };
        let room = (replicas + self.limits.surge).saturating_sub(there);
        let created = room.min(replicas - self.pods.new_pods());
        if created == 0 {
            return false;
        }
        self.pods.starting += created;
        let ready = self.now + self.deployment.overhead + self.deployment.ready;
        self.due.entry(ready).or_default().ready += created;
        let available = ready + self.deployment.min_ready;
        self.due.entry(available).or_default().available += created;
        true
    }

    /// Deletes old pods: those that are not ready, as long as new ones that are not available yet do not stand in for them; and
    /// as many as are available beyond what must be.
    fn scale_down(&mut self) -> bool {
        let least = self.deployment.replicas - self.limits.unavailable;
        let old = self.pods.old + self.pods.old_unready;
        let spare = (old + self.available).saturating_sub(least);
        if spare == 0 {
            return false;
        }
        let broken = self.pods.old_unready.min(spare);
        let available = (self.pods.old + self.available).saturating_sub(least);
        let deleted = broken + available.min(old - broken);
        if deleted == 0 {
            return false;
        }
        // A ReplicaSet that shrinks gives up first what is not ready.
        let unready = self.pods.old_unready.min(deleted);
        self.pods.old_unready -= unready;
        self.pods.old -= deleted - unready;
        self.pods.terminating += deleted;
        let gone = self.now + self.deployment.terminate;
        self.due.entry(gone).or_default().gone += deleted;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: (&str, &str) = ("25%", "25%");
    const ONE_MORE: (&str, &str) = ("1", "0");

    /// Ten pods, 2 s to get ready, 20 s to leave: what was measured on a cluster.
    fn ten((max_surge, max_unavailable): (&str, &str)) -> Deployment {
        let amount = |text: &str| text.parse().expect("it is an amount");
        Deployment {
            replicas: 10,
            strategy: Strategy::new(amount(max_surge), amount(max_unavailable))
                .expect("Kubernetes accepts it"),
            unready: 0,
            ready: seconds(2.0),
            overhead: seconds(0.8),
            min_ready: Duration::ZERO,
            terminate: seconds(20.0),
            waits: false,
        }
    }

    /// Not measured: what KEP-5882 says.
    #[test]
    fn rollout_that_waits_for_those_that_terminate_has_no_more_pods_than_the_surge_allows() {
        let waits = |strategy| Deployment {
            waits: true,
            ..ten(strategy)
        };

        let one_more = waits(ONE_MORE).play();
        assert_eq!(one_more.peak().pods.total(), 11);
        assert_eq!(one_more.gone, seconds(228.0));
        assert_eq!(one_more.fewest_serving(), 10);

        let default = waits(DEFAULT).play();
        assert_eq!(default.peak().pods.total(), 13);
        assert_eq!(default.fewest_serving(), 8);
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// Measured: 19 pods (11 and 8 that are terminating), and the last old one gone after 49 s.
    #[test]
    fn one_pod_at_a_time_reaches_nineteen_as_measured() {
        let rollout = ten(ONE_MORE).play();

        let peak = rollout.peak();
        assert_eq!(peak.pods.total(), 19);
        assert_eq!(peak.pods.terminating, 8);
        assert_eq!(peak.at, seconds(22.4));
        assert_eq!(rollout.gone, seconds(48.0));
        assert_eq!(rollout.fewest_serving(), 10);
    }

    /// Measured: 20 pods too, but after 8.4 s, and the last old one gone after 30 s. Here a batch is ready all at once, so both
    /// moments are earlier.
    #[test]
    fn default_rollout_doubles_the_pods_as_measured_but_earlier() {
        let rollout = ten(DEFAULT).play();

        let peak = rollout.peak();
        assert_eq!(peak.pods.total(), 20);
        assert_eq!(peak.at, seconds(2.8));
        assert_eq!(rollout.gone, seconds(25.6));
        assert_eq!(rollout.fewest_serving(), 8);
    }

    #[test]
    fn rollout_is_complete_while_old_pods_are_still_terminating() {
        let rollout = ten(DEFAULT).play();

        assert_eq!(rollout.complete, seconds(5.6));
        assert_eq!(rollout.pods_at(rollout.complete).terminating, 10);
        assert_eq!(rollout.pods_at(seconds(22.7)).terminating, 8);
    }

    #[test]
    fn batches_follow_each_other_as_surge_and_availability_allow() {
        let moments = ten(DEFAULT).play().moments;

        let pods = |old, ready, starting, terminating| Pods {
            old,
            old_unready: 0,
            ready,
            starting,
            terminating,
        };
        let expected = [
            (0.0, pods(8, 0, 5, 2)),
            (2.8, pods(3, 5, 5, 7)),
            (5.6, pods(0, 10, 0, 10)),
            (20.0, pods(0, 10, 0, 8)),
            (22.8, pods(0, 10, 0, 3)),
            (25.6, pods(0, 10, 0, 0)),
        ];
        let expected = expected.map(|(at, pods)| Moment {
            at: seconds(at),
            pods,
        });
        assert_eq!(moments, expected);
    }

    #[test]
    fn pods_that_leave_at_once_never_overlap() {
        let quick = Deployment {
            terminate: Duration::ZERO,
            ..ten(ONE_MORE)
        };

        let rollout = quick.play();

        assert_eq!(rollout.peak().pods.total(), 11);
        assert_eq!(rollout.gone, seconds(28.0));
        assert_eq!(rollout.pods_at(rollout.complete).terminating, 0);
    }

    #[test]
    fn pod_that_is_ready_but_not_yet_available_replaces_none() {
        let patient = Deployment {
            min_ready: seconds(10.0),
            ..ten(DEFAULT)
        };

        let rollout = patient.play();

        let second = rollout.moments[1];
        assert_eq!((second.at, second.pods.ready), (seconds(2.8), 5));
        assert_eq!((second.pods.old, second.pods.starting), (8, 0));
        assert_eq!(rollout.peak().at, seconds(12.8));
        assert_eq!(rollout.complete, seconds(25.6));
    }

    #[test]
    fn old_pods_that_are_not_ready_go_first() {
        let repair = Deployment {
            unready: 4,
            ..ten(ONE_MORE)
        };

        let moments = repair.play().moments;

        // Six are ready, and ten ought to be. The surge lets one new pod start; a broken one goes for each that is available.
        let first = moments[0].pods;
        assert_eq!((first.old, first.old_unready, first.starting), (6, 4, 1));
        let broken = moments.iter().filter(|moment| moment.pods.old_unready > 0);
        assert!(broken.clone().all(|moment| moment.pods.old == 6));
        assert_eq!(broken.count(), 4);
    }

    /// The situations of the controller's own tests, one decision each.
    #[test]
    fn new_pods_are_created_as_the_controller_would() {
        for (surge, old, new, created) in [
            (0, 10, 0, 0),
            (2, 10, 0, 2),
            (2, 5, 0, 7),
            (2, 10, 2, 0),
            (10, 5, 6, 4),
            (25, 10, 0, 10),
        ] {
            let mut play = situation(surge, 0, (old, 0), (new, 0));

            let scaled = play.scale_up();

            let what = format!("surge {surge}, {old} old, {new} new");
            assert_eq!(play.pods.starting - new, created, "{what}");
            assert_eq!(scaled, created > 0, "{what}");
        }
    }

    /// The situations of the controller's own tests, one decision each.
    #[test]
    fn old_pods_are_deleted_as_the_controller_would() {
        for (unavailable, old, new, deleted) in [
            // Those that are ready and those that are not, of both.
            (1, (10, 0), (0, 0), (1, 0)),
            (2, (10, 0), (0, 0), (2, 0)),
            (2, (8, 2), (0, 0), (0, 2)),
            (2, (9, 1), (0, 0), (1, 1)),
            (2, (8, 0), (2, 0), (0, 0)),
            (2, (1, 9), (0, 0), (0, 2)),
            (2, (0, 0), (0, 10), (0, 0)),
            // A new pod that is not available yet keeps a broken old one.
            (2, (6, 2), (5, 0), (0, 0)),
            (2, (8, 0), (0, 5), (5, 0)),
        ] {
            let mut play = situation(0, unavailable, old, new);

            let scaled = play.scale_down();

            let what = format!("{unavailable} unavailable, old {old:?}, new {new:?}");
            let left = (play.pods.old, play.pods.old_unready);
            assert_eq!((old.0 - left.0, old.1 - left.1), deleted, "{what}");
            assert_eq!(play.pods.terminating, deleted.0 + deleted.1, "{what}");
            assert_eq!(scaled, deleted != (0, 0), "{what}");
        }
    }

    /// In the middle of a rollout of ten. Old pods: ready and not; new ones: starting and available.
    fn situation(surge: u64, unavailable: u64, old: (u64, u64), new: (u64, u64)) -> Play {
        let mut play = Play::new(ten(DEFAULT));
        play.limits = Limits { surge, unavailable };
        play.pods = Pods {
            old: old.0,
            old_unready: old.1,
            starting: new.0,
            ready: new.1,
            terminating: 0,
        };
        play.available = new.1;
        play
    }

    #[test]
    fn limits_hold_at_every_moment_of_every_rollout() {
        let mut seen = 0;
        for replicas in [1, 2, 3, 4, 7, 10, 33, 100] {
            for max_surge in ["0", "1", "25%", "39%", "100%", "150%"] {
                for max_unavailable in ["0", "1", "25%", "39%", "100%"] {
                    if (max_surge, max_unavailable) == ("0", "0") {
                        continue;
                    }
                    for (min_ready, terminate) in [(0.0, 0.0), (0.0, 20.0), (5.0, 1.0)] {
                        let deployment = Deployment {
                            replicas,
                            min_ready: seconds(min_ready),
                            terminate: seconds(terminate),
                            ..ten((max_surge, max_unavailable))
                        };
                        assert_limits(&deployment);
                        seen += 1;
                    }
                }
            }
        }
        assert_eq!(seen, 8 * 29 * 3);
    }

    fn assert_limits(deployment: &Deployment) {
        let replicas = deployment.replicas;
        let limits = deployment.strategy.limits(replicas);
        let rollout = deployment.play();

        for moment in &rollout.moments {
            let what = format!("{deployment:?}: {moment:?}");
            let pods = moment.pods;
            assert!(pods.counted() <= replicas + limits.surge, "{what}");
            assert!(pods.serving() >= replicas - limits.unavailable, "{what}");
            assert!(pods.total() <= 2 * replicas, "{what}");
        }
        let all_new = Pods {
            ready: replicas,
            ..Pods::default()
        };
        let last = rollout.moments.last().map(|moment| moment.pods);
        assert_eq!(last, Some(all_new), "{deployment:?}");
    }
}
