//! Sessions: a protocol of requests and answers that is not HTTP, and how its connections leave.

#![cfg(feature = "net")]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lameduck::report::PhaseOutcome;
use lameduck::server::{ConnectionGroup, Session};
use lameduck::{Moment, Phase, Plan, PlanBuilder, Report, ShutdownCoordinator, ShutdownHandle};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream,
    duplex,
};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// LameDuck to 10 s, Drain to 16.5 s, Close to 28 s, linger 1 s; every connection is told at T0.
fn cluster() -> Plan {
    Plan::builder().spread(Duration::ZERO).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn idle_session_ends_a_linger_after_its_moment() {
    let mut scene = Scene::new(cluster());
    let mut client = scene.connect();
    client.ask("one").await;
    // Nothing is closed in normal service.
    sleep(secs(3_600)).await;
    client.ask("two").await;
    sleep(secs(3_600)).await;

    let (t0, run) = scene.leave();
    client.end().await;
    let took = t0.elapsed();

    assert_took(took, secs(1));
    let report = soon(run).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (1, 0));
    // A connection is no work: LameDuck alone was waited for.
    assert_took(report.took, secs(10));
}

#[tokio::test(start_paused = true)]
async fn request_in_the_linger_is_answered_and_waited_for_anew() {
    let mut scene = Scene::new(cluster());
    let mut client = scene.connect();
    client.ask("one").await;

    let (t0, run) = scene.leave();
    for _ in 0..3 {
        sleep(millis(900)).await;
        client.ask("again").await;
    }
    client.end().await;

    assert_took(t0.elapsed(), millis(3 * 900 + 1_000));
    let report = soon(run).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.traffic.served, 3);
}

#[tokio::test(start_paused = true)]
async fn session_that_was_told_knows_it_and_may_close_at_once() {
    let mut scene = Scene::new(cluster());
    let mut client = scene.connect();
    client.ask("told?").await;

    let (t0, run) = scene.leave();
    sleep(millis(100)).await;
    client.send("quit\n").await;
    assert_eq!(client.line().await.as_deref(), Some("bye"));
    client.end().await;

    assert_took(t0.elapsed(), millis(100));
    assert!(soon(run).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn request_in_flight_holds_drain_and_its_connection() {
    let mut scene = Scene::new(cluster());
    let mut client = scene.connect();
    client.send("wait\n").await;
    scene.gate.entered().await;
    assert_eq!(
        (scene.handle.in_flight(), scene.handle.connections()),
        (1, 1)
    );

    let (t0, run) = scene.leave();
    sleep(secs(13)).await;
    assert_eq!(scene.handle.phase(), Some(Phase::Drain));
    scene.gate.open();
    assert_eq!(client.line().await.as_deref(), Some("wait"));
    client.end().await;

    assert_took(t0.elapsed(), secs(14));
    let report = soon(run).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_took(report.took, secs(14));
}

#[tokio::test(start_paused = true)]
async fn request_that_is_not_answered_by_the_deadline_of_close_is_cut_and_reported() {
    let mut scene = Scene::new(cluster());
    let mut client = scene.connect();
    client.send("wait\n").await;
    scene.gate.entered().await;

    let (_, run) = scene.leave();
    let report = soon(run).await.unwrap();

    assert_eq!(client.line().await, None);
    assert!(!report.is_clean());
    assert_eq!((report.cut, report.connections.cut), (1, 1), "{report}");
    let close = report.phase(Phase::Close).unwrap();
    assert_eq!(close.outcome, PhaseOutcome::TimedOut);
    let name = &close.left_behind[0].name;
    assert_eq!(name, "\"a peer\" (not HTTP: 1 request)");
}

#[tokio::test(start_paused = true)]
async fn client_that_never_pauses_is_ended_between_two_requests_in_the_second_half_of_close() {
    let mut scene = Scene::new(cluster());
    let mut client = scene.connect();
    client.ask("one").await;

    let (t0, run) = scene.leave();
    let mut answered = 0;
    let unanswered = loop {
        client.send("more\n").await;
        match client.line().await {
            Some(_) => answered += 1,
            None => break 1,
        }
        sleep(millis(100)).await;
    };
    let took = t0.elapsed();

    // No listener and no work: Drain ends as soon as it has begun.
    let half = (secs(10) + secs(28)) / 2;
    assert!(half <= took && took < half + millis(300), "{took:?}");
    let report = soon(run).await.unwrap();
    assert!(report.is_clean(), "{report}");
    // None began that was not answered.
    assert_eq!(report.traffic.served, answered);
    assert!(unanswered <= 1);
}

#[tokio::test(start_paused = true)]
async fn rest_of_a_request_is_waited_for_2_s_and_answered_if_it_comes() {
    for comes in [true, false] {
        let mut scene = Scene::new(cluster());
        let mut client = scene.connect();
        client.send("ha").await;
        // Not bounded in normal service.
        sleep(secs(100)).await;

        let (t0, run) = scene.leave();
        if comes {
            sleep(millis(1_900)).await;
            client.send("lf\n").await;
            assert_eq!(client.line().await.as_deref(), Some("half"));
        }
        client.end().await;

        let expected = if comes { millis(2_900) } else { secs(2) };
        assert_took(t0.elapsed(), expected);
        assert!(soon(run).await.unwrap().is_clean());
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_ends_its_side_gets_all_answers() {
    let scene = Scene::new(cluster());
    let mut client = scene.connect();

    client.send("one\ntwo\nthr").await;
    client.0.shutdown().await.unwrap();

    assert_eq!(client.line().await.as_deref(), Some("one"));
    assert_eq!(client.line().await.as_deref(), Some("two"));
    client.end().await;
    assert_eq!(scene.handle.connections(), 0);
}

// What it sends then would make a closed socket answer with a reset, which destroys what has not arrived.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_sends_behind_the_end_and_reads_slowly_gets_the_whole_answer() {
    let shutdown = coordinator(quick());
    let handle = shutdown.handle();
    let address = accept(Serves::Session, &handle, Arc::default()).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"large\n").await.unwrap();
    sleep(millis(100)).await;

    handle.shutdown("test");
    let run = tokio::spawn(shutdown.run());
    // Its moment has come, and the linger is over.
    sleep(millis(500)).await;
    for _ in 0..3 {
        client.write_all(b"late\n").await.unwrap();
        sleep(millis(20)).await;
    }
    let mut all = Vec::new();
    let read = soon(client.read_to_end(&mut all)).await;

    assert_eq!(all.len(), answer("large").len());
    assert!(read.is_ok(), "{read:?}");
    drop(client);
    let report = soon(run).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (1, 0));
}

/// Whole shutdowns over TCP, on several threads, with clients that send all the time and do not wait for answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_send_all_the_time_lose_no_request_that_began() {
    // The other client sends faster than it is answered, so that something of it has always arrived.
    for pause in [PAUSE, millis(1)] {
        let outcome = under_load(Serves::Session, pause).await;

        assert_eq!(outcome.halves, 0);
        assert_eq!(outcome.answered, outcome.handled);
        assert!(outcome.answered > 500, "{}", outcome.answered);
        assert_eq!(outcome.resets, 0);
        assert!(outcome.report.is_clean(), "{}", outcome.report);
        assert_eq!(outcome.report.connections.cut, 0, "{}", outcome.report);
    }
}

// The control: a server that drops each connection when it is told, as one does with a token and `select!`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_dropped_when_they_are_told_lose_what_they_have_begun() {
    let outcome = under_load(Serves::Raw, millis(1)).await;

    assert!(outcome.handled > outcome.answered, "it lost nothing");
}

#[derive(Clone, Copy)]
enum Serves {
    Session,
    Raw,
}

struct Outcome {
    handled: u64,
    answered: u64,
    /// Answers without their end.
    halves: u64,
    /// Clients whose connection ended with an error.
    resets: u64,
    report: Arc<Report>,
}

async fn under_load(serves: Serves, pause: Duration) -> Outcome {
    const CLIENTS: usize = 20;
    let shutdown = coordinator(quick());
    let handle = shutdown.handle();
    let handled = Arc::new(AtomicU64::new(0));
    let address = accept(serves, &handle, Arc::clone(&handled)).await;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(talk(address, pause)))
        .collect();
    sleep(millis(300)).await;

    handle.shutdown("test");
    let report = soon(shutdown.run()).await;
    let mut outcome = Outcome {
        handled: 0,
        answered: 0,
        halves: 0,
        resets: 0,
        report,
    };
    for client in clients {
        let (answered, half, reset) = soon(client).await.unwrap();
        outcome.answered += answered;
        outcome.halves += u64::from(half);
        outcome.resets += u64::from(reset);
    }
    outcome.handled = handled.load(Ordering::SeqCst);
    outcome
}

fn quick() -> PlanBuilder {
    Plan::builder()
        .grace_period(secs(10))
        .lame_duck(millis(600))
        .spread(millis(300))
        .drain(millis(100))
        .close(secs(2))
        .long_spread(millis(100))
        .linger(millis(50))
        .release(Duration::ZERO)
}

async fn accept(serves: Serves, handle: &ShutdownHandle, handled: Arc<AtomicU64>) -> SocketAddr {
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let group = ConnectionGroup::new(handle);
    tokio::spawn(async move {
        let mut accepting = group.accept(listener);
        while let Some((mut stream, peer)) = accepting.next().await {
            let handled = Arc::clone(&handled);
            match serves {
                Serves::Session => {
                    let work = async move |mut session: Session<TcpStream>| {
                        while let Some(line) = session.next(line).await? {
                            handled.fetch_add(1, Ordering::SeqCst);
                            sleep(WORK).await;
                            session.write_all(answer(&line).as_bytes()).await?;
                        }
                        io::Result::Ok(())
                    };
                    if let Some(connection) = group.watch_session(stream, peer, work) {
                        tokio::spawn(connection);
                    }
                }
                Serves::Raw => {
                    let work = async move |moment: Moment| {
                        let (read, mut write) = stream.split();
                        let mut lines = BufReader::new(read).lines();
                        let serves = async {
                            while let Some(line) = lines.next_line().await? {
                                handled.fetch_add(1, Ordering::SeqCst);
                                sleep(WORK).await;
                                write.write_all(answer(&line).as_bytes()).await?;
                            }
                            io::Result::Ok(())
                        };
                        tokio::select! {
                            served = serves => served,
                            _ = moment => Ok(()),
                        }
                    };
                    if let Some(connection) = group.watch_raw(peer, work) {
                        tokio::spawn(connection);
                    }
                }
            }
        }
    });
    address
}

/// More than a client takes that does not read, and less than the kernel takes.
fn answer(line: &str) -> String {
    let length = if line == "large" { 1 << 20 } else { 1_000 };
    format!("{line}{}\n", ".".repeat(length))
}

/// What a request takes: a client's burst is worked on most of the time, and not all of it.
const WORK: Duration = millis(1);
const BURST: u64 = 10;
const PAUSE: Duration = millis(40);

/// Sends without waiting for answers. How many came whole, whether half of one did, and whether the connection was reset.
async fn talk(address: SocketAddr, pause: Duration) -> (u64, bool, bool) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let sends = tokio::spawn(async move {
        for first in (0_u64..).step_by(BURST as usize) {
            let burst: String = (first..first + BURST).map(|n| format!("{n}\n")).collect();
            if write.write_all(burst.as_bytes()).await.is_err() {
                return;
            }
            sleep(pause).await;
        }
    });
    let mut all = Vec::new();
    let reset = read.read_to_end(&mut all).await.is_err();
    sends.abort();
    let text = String::from_utf8(all).unwrap();
    let mut answered = 0;
    for (number, got) in text.split_inclusive('\n').enumerate() {
        if got != answer(&number.to_string()) {
            return (answered, true, reset);
        }
        answered += 1;
    }
    (answered, false, reset)
}

/// A group, and sessions in it over pipes: no kernel is between the two ends, so a paused clock is exact.
struct Scene {
    shutdown: Option<ShutdownCoordinator>,
    handle: ShutdownHandle,
    group: Option<ConnectionGroup>,
    gate: Arc<Gate>,
}

impl Scene {
    fn new(plan: Plan) -> Self {
        let shutdown = ShutdownCoordinator::new(plan).termination_log("/nonexistent");
        let handle = shutdown.handle();
        Scene {
            group: Some(ConnectionGroup::new(&handle)),
            shutdown: Some(shutdown),
            handle,
            gate: Arc::default(),
        }
    }

    fn connect(&self) -> Client {
        let (client, server) = duplex(1 << 16);
        let gate = Arc::clone(&self.gate);
        let work = async move |session| serve(session, gate).await;
        let group = self.group.as_ref().unwrap();
        let connection = group.watch_session(server, "a peer", work);
        tokio::spawn(connection.expect("nothing is over"));
        Client(BufReader::new(client))
    }

    fn leave(&mut self) -> (Instant, JoinHandle<Arc<Report>>) {
        // Nothing is accepted any more.
        self.group = None;
        self.handle.shutdown("test");
        let shutdown = self.shutdown.take().unwrap();
        (Instant::now(), tokio::spawn(shutdown.run()))
    }
}

/// Answers each line with itself, and some not at once.
async fn serve<I>(mut session: Session<I>, gate: Arc<Gate>) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(line) = session.next(line).await? {
        match &*line {
            "wait" => gate.pass().await,
            "quit" => {
                assert!(session.is_told());
                session.write_all(b"bye\n").await?;
                return session.close().await;
            }
            "told?" => assert!(!session.is_told()),
            _ => {}
        }
        session.write_all(format!("{line}\n").as_bytes()).await?;
    }
    Ok(())
}

fn line(bytes: &[u8]) -> io::Result<Option<(String, usize)>> {
    let end = bytes.iter().position(|&byte| byte == b'\n');
    Ok(end.map(|end| {
        let line = String::from_utf8_lossy(&bytes[..end]);
        (line.into_owned(), end + 1)
    }))
}

struct Client(BufReader<DuplexStream>);

impl Client {
    async fn send(&mut self, text: &str) {
        // It may have been closed: then no answer comes.
        let _ = self.0.write_all(text.as_bytes()).await;
    }

    async fn ask(&mut self, text: &str) {
        self.send(&format!("{text}\n")).await;
        assert_eq!(self.line().await.as_deref(), Some(text));
    }

    /// `None` at the end.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        soon(self.0.read_line(&mut line)).await.unwrap();
        line.strip_suffix('\n').map(str::to_owned)
    }

    /// The server ends its side, and this the other.
    async fn end(&mut self) {
        assert_eq!(self.line().await, None);
        let _ = self.0.shutdown().await;
    }
}

/// Holds answers until it opens.
struct Gate {
    entered: Semaphore,
    open: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Gate {
            entered: Semaphore::new(0),
            open: Semaphore::new(0),
        }
    }
}

impl Gate {
    async fn pass(&self) {
        self.entered.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }

    async fn entered(&self) {
        soon(self.entered.acquire()).await.unwrap().forget();
    }

    fn open(&self) {
        self.open.add_permits(1);
    }
}

fn coordinator(plan: PlanBuilder) -> ShutdownCoordinator {
    ShutdownCoordinator::new(plan.build().unwrap()).termination_log("/nonexistent")
}

/// Whether something took as long as it should, to the milliseconds that timers have.
#[track_caller]
fn assert_took(took: Duration, expected: Duration) {
    assert!(
        took.abs_diff(expected) <= millis(5),
        "{took:?}, not {expected:?}"
    );
}

/// A test that waits for what never comes fails.
async fn soon<F: Future>(future: F) -> F::Output {
    timeout(secs(1_000), future).await.expect("it never came")
}
