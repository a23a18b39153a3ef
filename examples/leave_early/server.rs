//! A server: a child process, which is this binary again with `server` as its first argument.

use std::error::Error;
use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use lameduck::{LeaveEarly, Phase, Plan, PlanError, ShutdownCoordinator};

/// From SIGTERM to SIGKILL.
pub(crate) const GRACE: Duration = Duration::from_secs(30);
const ANYWHERE: &str = "127.0.0.1:0";

/// What a server is started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) lame_duck: Duration,
    pub(crate) early: Option<Early>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Early {
    pub(crate) min: Duration,
    pub(crate) quiet: Duration,
}

impl Settings {
    pub(crate) const COMMAND: &str = "server";

    pub(crate) fn to_args(self) -> Vec<String> {
        let mut args = vec![Settings::COMMAND.to_owned(), millis(self.lame_duck)];
        if let Some(early) = self.early {
            args.extend([millis(early.min), millis(early.quiet)]);
        }
        args
    }

    fn from_args(args: &[String]) -> Option<Self> {
        let duration = |text: &String| text.parse().ok().map(Duration::from_millis);
        let (lame_duck, early) = args.split_first()?;
        Some(Settings {
            lame_duck: duration(lame_duck)?,
            early: match early {
                [] => None,
                [min, quiet] => Some(Early {
                    min: duration(min)?,
                    quiet: duration(quiet)?,
                }),
                _ => return None,
            },
        })
    }

    /// Everything that is not set is derived.
    fn plan(self) -> Result<Plan, PlanError> {
        let plan = Plan::builder()
            .grace_period(GRACE)
            .lame_duck(self.lame_duck);
        let plan = match self.early {
            Some(Early { min, quiet }) => plan.leave_early(LeaveEarly::new().min(min).quiet(quiet)),
            None => plan,
        };
        plan.build()
    }
}

/// `main` of a server; `args` are those after the command's name.
pub(crate) fn main(args: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    let settings = Settings::from_args(args).ok_or("only the parent starts a server")?;
    leave_with_parent();
    run(settings)
}

#[tokio::main]
async fn run(settings: Settings) -> Result<ExitCode, Box<dyn Error>> {
    let shutdown = ShutdownCoordinator::new(settings.plan()?).termination_log("/nonexistent");
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle)?;
    let listener = lameduck::bind(ANYWHERE).await?;
    let address = listener.local_addr()?;
    let app = Router::new().route("/", get(async || "whole"));
    lameduck::serve(listener, app, &handle);
    println!("serving {address}");

    let report = shutdown.run().await;
    let lame_duck = report.phase(Phase::LameDuck).ok_or("a phase is missing")?;
    println!(
        "LameDuck {} {}",
        lame_duck.took.as_millis(),
        lame_duck.outcome
    );
    Ok(report.exit_code())
}

/// The parent holds the other end of standard input: when that closes, the run is over, however it ended.
fn leave_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}
