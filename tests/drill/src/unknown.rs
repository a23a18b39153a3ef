//! What cannot be played or known, and what the drill would need for it.

use crate::error::DrillError;
use crate::scenario::Scenario;
use crate::settings::Settings;
use crate::survey::Survey;

/// An answer that is smaller fits into the kernel's buffers, and is sent before the signal.
const LARGE: usize = 4 * 1024 * 1024;

/// The scenarios to be played.
///
/// # Errors
///
/// If one was asked for by name and cannot be played, or none is left.
pub(crate) fn playable(settings: &Settings, survey: &Survey) -> Result<Vec<Scenario>, DrillError> {
    if settings.scenarios.is_empty() {
        return Err(DrillError::Unplayable("no scenario was named".to_owned()));
    }
    let mut playable = Vec::new();
    for &scenario in &settings.scenarios {
        match missing(scenario, survey) {
            None => playable.push(scenario),
            Some(missing) if settings.chosen => {
                return Err(DrillError::Unplayable(format!("{scenario}: {missing}")));
            }
            Some(_) => {}
        }
    }
    Ok(playable)
}

fn missing(scenario: Scenario, survey: &Survey) -> Option<&'static str> {
    let routes = &survey.routes;
    match scenario {
        Scenario::Long | Scenario::Slow if !survey.speaks.http1 => Some("needs HTTP/1.1"),
        Scenario::Long if routes.websocket.is_none() && routes.events.is_none() => {
            Some("needs the route of a WebSocket or of an event stream")
        }
        _ => None,
    }
}

/// What the outcome does not say, in words.
pub(crate) fn unknown(settings: &Settings, survey: &Survey) -> Vec<String> {
    let routes = &survey.routes;
    let plays = |scenario| settings.scenarios.contains(&scenario);
    let slow = plays(Scenario::Slow) && survey.speaks.http1;
    let download = routes.download.as_ref().map(|route| route.length);
    let mut unknown = Vec::new();
    let mut say = |holds: bool, what: &str| {
        if holds {
            unknown.push(what.to_owned());
        }
    };
    say(
        settings.contract.is_none(),
        "whether the handler of a lost request had been entered, and whether an answer came from its handler; that needs the contract.",
    );
    say(
        routes.slow.is_none(),
        "what becomes of requests that take long; that needs a slow route.",
    );
    for &scenario in &settings.scenarios {
        if let Some(missing) = missing(scenario, survey) {
            say(true, &format!("the scenario {scenario}; that {missing}."));
        }
    }
    say(
        slow && routes.upload.is_none(),
        "what becomes of a body that is half sent; that needs an upload route.",
    );
    say(
        slow && download.is_none(),
        "what becomes of an answer that is half read; that needs a download route.",
    );
    say(
        slow && download.is_some_and(|length| length < LARGE),
        "what becomes of an answer that is half read: that of the download route fits into the kernel's buffers.",
    );
    unknown
}
