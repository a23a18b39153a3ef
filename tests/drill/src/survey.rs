//! Finds out what a server speaks, and how its routes answer in normal service.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::attempt::{Fate, Lost, Way};
use crate::client::answer::{self, Answer};
use crate::client::wire::Wire;
use crate::client::{Field, Route, Routes, http1, http2, hung, long, slow};
use crate::cluster::Cluster;
use crate::error::DrillError;
use crate::scenario::Rotation;
use crate::settings::{START, Settings};
use crate::speaks::Speaks;
use crate::target::Running;
use crate::tls::Tls;

/// What a server gets to answer in a protocol that it may not speak.
const GUESS: Duration = Duration::from_secs(2);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// What a server gets to write the lines of the contract.
const WRITING: Duration = Duration::from_secs(2);

/// What was found.
#[derive(Clone)]
pub(crate) struct Survey {
    pub(crate) speaks: Speaks,
    pub(crate) tls: Option<[Tls; 2]>,
    pub(crate) routes: Arc<Routes>,
    /// From a server's start until it accepted.
    pub(crate) startup: Duration,
}

impl Survey {
    pub(crate) async fn new(
        running: &Running,
        startup: Duration,
        settings: &Settings,
    ) -> Result<Self, DrillError> {
        let mut survey = Survey {
            speaks: Speaks::default(),
            tls: None,
            routes: Arc::new(Routes::unknown(&settings.path)),
            startup,
        };
        survey.find_protocol(running, settings).await?;
        let field = Arc::new(survey.field(running, settings, Rotation::Stays, None));
        survey.routes = Arc::new(find_routes(&field, settings).await?);
        if settings.contract.is_some() {
            is_kept(running).await?;
        }
        Ok(survey)
    }

    /// Where a run takes place.
    pub(crate) fn field(
        &self,
        running: &Running,
        settings: &Settings,
        rotation: Rotation,
        closes_after: Option<Duration>,
    ) -> Field {
        Field {
            address: running.address,
            speaks: self.speaks,
            tls: self.tls.clone(),
            routes: Arc::clone(&self.routes),
            patience: settings.patience,
            grace: settings.grace,
            log: Default::default(),
            cluster: Cluster::new(rotation, settings.propagation),
            gone: running.gone(),
            closes_after,
        }
    }

    /// TLS is tried first: some servers answer HTTP on a port that is TLS's, to say so.
    async fn find_protocol(
        &mut self,
        running: &Running,
        settings: &Settings,
    ) -> Result<(), DrillError> {
        // Whatever it speaks inside.
        let any = Tls::new(&[]);
        let handshake = timeout(GUESS, Wire::connect(running.address, Some(&any), None)).await;
        self.speaks.tls = matches!(handshake, Ok(Ok(_)));
        let tls = || [Tls::new(&[b"http/1.1"]), Tls::new(&[b"h2"])];
        self.tls = self.speaks.tls.then(tls);

        let field = self.field(running, settings, Rotation::Stays, None);
        let http1 = timeout(GUESS, ask_http1(&field, &settings.path)).await;
        let http2 = timeout(GUESS, ask_http2(&field, &settings.path)).await;
        self.speaks.http1 = matches!(http1, Ok(Ok(_)));
        self.speaks.http2 = matches!(http2, Ok(Ok(_)));
        if self.speaks.http1 || self.speaks.http2 {
            return Ok(());
        }
        running.lives()?;
        let (_, why) = http1
            .unwrap_or_else(|_| Err(hung()))
            .err()
            .unwrap_or_else(hung);
        Err(DrillError::Unknown(why))
    }
}

impl Routes {
    fn unknown(path: &str) -> Self {
        Routes {
            plain: Route {
                target: path.to_owned(),
                status: 0,
                length: 0,
            },
            slow: None,
            upload: None,
            download: None,
            websocket: None,
            events: None,
        }
    }
}

/// Waits until the plain route answers as it does in normal service.
pub(crate) async fn ready(field: &Field) -> Result<(), DrillError> {
    let plain = &field.routes.plain;
    let began = Instant::now();
    loop {
        let answer = ask(field, &plain.target).await;
        let said = match answer {
            Ok(answer) if answer.status == plain.status => return Ok(()),
            Ok(answer) => format!("{} answers {}", plain.target, answer.status),
            Err((fate, why)) => format!("{}: {fate}, {why}", plain.target),
        };
        if began.elapsed() > START || field.has_left() {
            return Err(DrillError::Route(said));
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

async fn find_routes(field: &Field, settings: &Settings) -> Result<Routes, DrillError> {
    let plain = found(&settings.path, usual(field, &settings.path).await)?;
    let mut routes = Routes {
        plain,
        ..Routes::unknown(&settings.path)
    };
    if let Some(target) = &settings.slow {
        routes.slow = Some(found(target, ask(field, target).await)?);
    }
    if !field.speaks.http1 {
        return Ok(routes);
    }
    if let Some(target) = &settings.download {
        routes.download = Some(found(target, ask(field, target).await)?);
    }
    if let Some(target) = &settings.upload {
        routes.upload = Some(found(target, upload(field, target).await)?);
    }
    let number = field.log.begin(Way::WebSocket).number;
    if let Some(target) = &settings.websocket {
        let opened = long::open_websocket(field, target, number).await;
        opened.map_err(|lost| unfit(target, lost))?;
        routes.websocket = Some(target.clone());
    }
    if let Some(target) = &settings.events {
        let opened = long::open_events(field, target, number).await;
        opened.map_err(|lost| unfit(target, lost))?;
        routes.events = Some(target.clone());
    }
    Ok(routes)
}

/// The answer when the server is through with its start.
async fn usual(field: &Field, target: &str) -> Result<Answer, Lost> {
    let began = Instant::now();
    loop {
        let answer = ask(field, target).await;
        let starts = matches!(answer, Ok(answer) if answer.status >= 500);
        if !starts || began.elapsed() > START {
            return answer;
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

fn found(target: &str, answer: Result<Answer, Lost>) -> Result<Route, DrillError> {
    match answer {
        Ok(answer) if answer.status < 500 => Ok(Route {
            target: target.to_owned(),
            status: answer.status,
            length: answer.length,
        }),
        Ok(answer) => Err(DrillError::Route(format!(
            "{target} answers {}",
            answer.status
        ))),
        Err(lost) => Err(unfit(target, lost)),
    }
}

fn unfit(target: &str, (fate, why): Lost) -> DrillError {
    DrillError::Route(format!("{target}: {fate}, {why}"))
}

async fn ask(field: &Field, target: &str) -> Result<Answer, Lost> {
    let asked = async {
        match field.speaks.http1 {
            true => ask_http1(field, target).await,
            false => ask_http2(field, target).await,
        }
    };
    let answer = timeout(field.patience, asked).await;
    answer.unwrap_or_else(|_| Err(hung()))
}

async fn ask_http1(field: &Field, target: &str) -> Result<Answer, Lost> {
    let mut wire = field.connect().await?;
    let number = field.log.begin(Way::OneShot).number;
    let request = http1::get(field, target, number);
    http1::send(&mut wire, request.as_bytes()).await;
    answer::read(&mut wire, Duration::ZERO).await
}

async fn ask_http2(field: &Field, target: &str) -> Result<Answer, Lost> {
    let sender = http2::connect(field).await?;
    let lost = |error: &dyn std::error::Error| (Fate::Closed, error.to_string());
    let mut sender = sender.ready().await.map_err(|error| lost(&error))?;
    let number = field.log.begin(Way::Http2).number;
    let request = http2::request(field, target, number).map_err(|error| lost(&error))?;
    let sent = sender.send_request(request, true);
    let (response, _) = sent.map_err(|error| lost(&error))?;
    http2::answer(response).await
}

async fn upload(field: &Field, target: &str) -> Result<Answer, Lost> {
    let mut wire = field.connect().await?;
    let number = field.log.begin(Way::OneShot).number;
    let mut request = slow::post(field, target, number, slow::BODY).into_bytes();
    request.resize(request.len() + slow::BODY, b'u');
    http1::send(&mut wire, &request).await;
    let answer = timeout(field.patience, answer::read(&mut wire, Duration::ZERO)).await;
    answer.unwrap_or_else(|_| Err(hung()))
}

/// A request has been answered: its line has to come.
async fn is_kept(running: &Running) -> Result<(), DrillError> {
    let began = Instant::now();
    while running.output.entered().is_empty() {
        if began.elapsed() > WRITING {
            let why = "requests were answered, and no line says `drill-request=<number>`";
            return Err(DrillError::Contract(why.to_owned()));
        }
        sleep(BETWEEN_LOOKS).await;
    }
    Ok(())
}
