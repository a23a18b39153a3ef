//! What platforms grant a process by default, each with its source.

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use crate::reason::Signal;

/// A platform, and what it does to a process by default when it stops it.
///
/// Nobody tells a process how long it has, and what a platform grants is a setting there. So a platform is named in code and never
/// guessed; [`PlanBuilder::env`](crate::PlanBuilder::env) lets the deployment override the number with
/// `TERMINATION_GRACE_PERIOD_SECONDS`:
///
/// ```
/// use std::time::Duration;
/// use lameduck::{Plan, Platform};
///
/// let plan = Plan::builder().platform(Platform::Fly).env()?.build()?;
/// # let plan = Plan::on(Platform::Fly);
///
/// assert_eq!(plan.grace_period(), Duration::from_secs(5));
/// # Ok::<(), lameduck::PlanError>(())
/// ```
///
/// | platform | sends | kills after | LameDuck | recognised by | source |
/// |---|---|---|---|---|---|
/// | `Kubernetes` | SIGTERM | 30 s | 10 s | `KUBERNETES_SERVICE_HOST` | [Pod lifecycle][k8s] |
/// | `Docker` | SIGTERM | 10 s | 0 s | – | [`docker container stop`][docker] |
/// | `Compose` | SIGTERM | 10 s | 0 s | – | [`stop_grace_period`][compose] |
/// | `Ecs` | SIGTERM | 30 s | 5 s | `ECS_CONTAINER_METADATA_URI_V4` | [`stopTimeout`][ecs] |
/// | `CloudRun` | SIGTERM | 10 s | 0 s | `K_SERVICE` | [container contract][run] |
/// | `ContainerApps` | SIGTERM | 30 s | 10 s | `CONTAINER_APP_NAME` | [lifecycle][aca] |
/// | `Fly` | SIGINT | 5 s | 1.7 s | `FLY_APP_NAME` | [`kill_timeout`][fly] |
/// | `Nomad` | SIGINT; SIGTERM with the driver `docker` | 5 s | 1.7 s | `NOMAD_ALLOC_ID` | [`kill_timeout`][nomad] |
/// | `Heroku` | SIGTERM | 30 s | 10 s | `DYNO` | [dyno shutdown][heroku] |
/// | `Systemd` | SIGTERM | 90 s | 0 s | – | [`DefaultTimeoutStopSec`][systemd] |
///
/// LameDuck is what lies behind the signal until nothing is routed here any more. It is derived from the grace period where requests
/// may still come, 5 s where only clients come that keep their connections, and zero where nobody routes. `docs/platforms.md` in the
/// repository has a recipe for each.
///
/// [k8s]: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
/// [docker]: https://docs.docker.com/reference/cli/docker/container/stop/
/// [compose]: https://docs.docker.com/reference/compose-file/services/#stop_grace_period
/// [ecs]: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
/// [run]: https://cloud.google.com/run/docs/container-contract#instance-shutdown
/// [aca]: https://learn.microsoft.com/azure/container-apps/application-lifecycle-management#shutdown
/// [fly]: https://fly.io/docs/reference/configuration/#kill_timeout-option
/// [nomad]: https://developer.hashicorp.com/nomad/docs/job-specification/task#kill_timeout
/// [heroku]: https://devcenter.heroku.com/articles/dyno-shutdown-behavior
/// [systemd]: https://www.freedesktop.org/software/systemd/man/latest/systemd-system.conf.html#DefaultTimeoutStartSec=
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Platform {
    /// Kubernetes: `terminationGracePeriodSeconds`.
    Kubernetes,
    /// `docker stop`, and `podman stop`: `--timeout`.
    Docker,
    /// Docker Compose: `stop_grace_period`.
    Compose,
    /// Amazon ECS, on EC2 and Fargate: `stopTimeout`.
    Ecs,
    /// Google Cloud Run, where it is fixed.
    CloudRun,
    /// Azure Container Apps: `terminationGracePeriodSeconds`.
    ContainerApps,
    /// Fly.io: `kill_timeout`.
    Fly,
    /// HashiCorp Nomad: `kill_timeout`.
    Nomad,
    /// Heroku, where it is fixed.
    Heroku,
    /// systemd: `TimeoutStopSec=`.
    Systemd,
}

impl Platform {
    /// All of them.
    pub const ALL: &'static [Platform] = &[
        Platform::Kubernetes,
        Platform::Docker,
        Platform::Compose,
        Platform::Ecs,
        Platform::CloudRun,
        Platform::ContainerApps,
        Platform::Fly,
        Platform::Nomad,
        Platform::Heroku,
        Platform::Systemd,
    ];

    /// Its name, as its own documentation writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Platform::Kubernetes => "Kubernetes",
            Platform::Docker => "Docker",
            Platform::Compose => "Docker Compose",
            Platform::Ecs => "Amazon ECS",
            Platform::CloudRun => "Cloud Run",
            Platform::ContainerApps => "Azure Container Apps",
            Platform::Fly => "Fly.io",
            Platform::Nomad => "Nomad",
            Platform::Heroku => "Heroku",
            Platform::Systemd => "systemd",
        }
    }

    /// How long it waits by default from its signal to SIGKILL.
    #[must_use]
    pub const fn grace_period(self) -> Duration {
        Duration::from_secs(match self {
            Platform::Fly | Platform::Nomad => 5,
            Platform::Docker | Platform::Compose | Platform::CloudRun => 10,
            Platform::Kubernetes | Platform::Ecs | Platform::ContainerApps | Platform::Heroku => 30,
            Platform::Systemd => 90,
        })
    }

    /// The signal that it sends by default. An image's `STOPSIGNAL` takes its place where containers run.
    #[must_use]
    pub const fn stop_signal(self) -> Signal {
        match self {
            Platform::Fly | Platform::Nomad => Signal::Interrupt,
            _ => Signal::Terminate,
        }
    }

    /// LameDuck's default; `None` where it is derived from the grace period.
    pub(super) const fn lame_duck(self) -> Option<Duration> {
        match self {
            // Its balancer has been told before the signal comes.
            Platform::Ecs => Some(Duration::from_secs(5)),
            // Nobody routes; Cloud Run stops instances to which it sends nothing any more.
            Platform::Docker | Platform::Compose | Platform::Systemd | Platform::CloudRun => {
                Some(Duration::ZERO)
            }
            _ => None,
        }
    }

    /// A variable that it sets in each process.
    pub(super) const fn variable(self) -> Option<&'static str> {
        match self {
            Platform::Kubernetes => Some("KUBERNETES_SERVICE_HOST"),
            Platform::Ecs => Some("ECS_CONTAINER_METADATA_URI_V4"),
            Platform::CloudRun => Some("K_SERVICE"),
            Platform::ContainerApps => Some("CONTAINER_APP_NAME"),
            Platform::Fly => Some("FLY_APP_NAME"),
            Platform::Nomad => Some("NOMAD_ALLOC_ID"),
            Platform::Heroku => Some("DYNO"),
            Platform::Docker | Platform::Compose | Platform::Systemd => None,
        }
    }

    /// The one whose variable is set. Where Kubernetes' own is, it is Kubernetes, whatever runs on top of it.
    pub(super) fn seen(lookup: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let is_set =
            |platform: &&Platform| platform.variable().is_some_and(|it| lookup(it).is_some());
        Platform::ALL.iter().find(is_set).copied()
    }
}

/// Its [`name`](Platform::name).
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
