//! A connection under the model checker: its task, the task that has it after an upgrade, and the coordinator.
//!
//! Group, state, IO and driver are the real ones. Only hyper is modelled: by what it does with the IO.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use super::graceful::{GracefulConnection, sealed::Token};
use super::group::Group;
use super::requests::Framing;
use super::terms::Terms;
use super::watched::Watched;
use crate::handle::ShutdownHandle;
use crate::http::connection::io::Io;
use crate::model::{Seen, block_on, block_on_with, model, model_with, no_time, runtime, spawn};
use crate::phase::Phase;
use crate::plan::Plan;
use crate::run::ShutdownCoordinator;
use crate::shared::ServerControl;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{AtomicWaker, Mutex};

/// A client that neither sends nor reads.
struct Silent;

impl AsyncRead for Silent {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Silent {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

/// hyper's `OnUpgrade`: where the IO goes, or the news that it will not come.
#[derive(Default)]
struct Handover {
    io: Mutex<Option<Option<Io<Silent>>>>,
    upgraded: AtomicWaker,
}

impl Handover {
    fn put(&self, io: Option<Io<Silent>>) {
        self.io.lock().unwrap().get_or_insert(io);
        self.upgraded.wake();
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Io<Silent>>> {
        self.upgraded.register(cx.waker());
        match self.io.lock().unwrap().take() {
            Some(io) => Poll::Ready(io),
            None => Poll::Pending,
        }
    }
}

/// What hyper makes of an upgrade: it calls the service, writes the `101`, and hands the IO over.
struct Upgrading {
    io: Option<Io<Silent>>,
    called: bool,
    state: Arc<Connection>,
    to: Arc<Handover>,
}

impl Future for Upgrading {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.called {
            self.called = true;
            self.state.cut.upgrade();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let io = self.io.take();
        self.to.put(io);
        Poll::Ready(())
    }
}

impl GracefulConnection for Upgrading {
    fn ask(self: Pin<&mut Self>, _: Token) {}

    fn end(self: Pin<&mut Self>, _: Token) {}
}

impl Drop for Upgrading {
    fn drop(&mut self) {
        // Dropped before it was over: it does not come, and the IO goes first.
        if self.io.take().is_some() {
            self.to.put(None);
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Reads,
    Writes,
}

impl Side {
    /// How the application's task finds out that its connection is over.
    fn poll(self, io: &mut Io<Silent>, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Side::Reads => {
                let mut space = [0; 8];
                let mut buf = ReadBuf::new(&mut space);
                Pin::new(io).poll_read(cx, &mut buf).map(|read| {
                    read.expect("an end, not an error");
                    assert!(buf.filled().is_empty());
                })
            }
            Side::Writes => Pin::new(io).poll_write(cx, b"late").map(|written| {
                let error = written.expect_err("it was cut");
                assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            }),
        }
    }
}

fn group(handle: &ShutdownHandle) -> Arc<Group> {
    Group::new(handle, true, Terms::default())
}

/// Close's deadline cuts while hyper hands the IO over: the driver drops it, or its next owner sees the end.
fn cut_against_upgrade(side: Side, dropped: &'static Seen, upgraded: &'static Seen) {
    model(move || {
        let handle = ShutdownHandle::new(Plan::immediate());
        let group = group(&handle);
        handle.shutdown("model");
        let state = group.open("peer").unwrap();
        let handover = Arc::<Handover>::default();
        let watched = Watched::new(
            Upgrading {
                io: Some(Io::new(Silent, Arc::clone(&state))),
                called: false,
                state: Arc::clone(&state),
                to: Arc::clone(&handover),
            },
            state,
        );
        let driver = spawn(move || block_on(watched).is_some());
        let application = spawn(move || {
            let io = block_on(std::future::poll_fn(|cx| handover.poll(cx)));
            let Some(mut io) = io else {
                dropped.note();
                return false;
            };
            upgraded.note();
            block_on(std::future::poll_fn(|cx| side.poll(&mut io, cx)));
            true
        });

        group.cut();
        let handed_over = driver.join().unwrap();
        let seen = application.join().unwrap();

        assert_eq!(handed_over, seen);
        let counts = handle.shared.connections.counts();
        assert_eq!((counts.cut, counts.closed), (1, 0));
        assert_eq!(handle.connections(), 0);
    });
    dropped.check();
    upgraded.check();
}

#[test]
fn cut_ends_the_reads_of_an_upgraded_connection() {
    static DROPPED: Seen = Seen::new("dropped by the driver");
    static UPGRADED: Seen = Seen::new("read by the application");

    cut_against_upgrade(Side::Reads, &DROPPED, &UPGRADED);
}

#[test]
fn cut_fails_the_writes_of_an_upgraded_connection() {
    static DROPPED: Seen = Seen::new("dropped by the driver, not written");
    static UPGRADED: Seen = Seen::new("written by the application");

    cut_against_upgrade(Side::Writes, &DROPPED, &UPGRADED);
}

/// Closes when it is asked to.
#[derive(Default)]
struct Idle {
    asked: bool,
}

impl Future for Idle {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        match self.asked {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl GracefulConnection for Idle {
    fn ask(mut self: Pin<&mut Self>, _: Token) {
        self.asked = true;
    }

    fn end(self: Pin<&mut Self>, _: Token) {}
}

/// A connection that is idle in normal service hears of the trigger, whatever it was doing then.
#[test]
fn idle_connection_hears_of_the_trigger() {
    model(|| {
        let handle = ShutdownHandle::new(Plan::immediate());
        let group = group(&handle);
        let state = group.open("peer").unwrap();
        let driver = spawn(move || block_on(Watched::new(Idle::default(), state)).is_some());

        handle.shutdown("model");

        assert!(driver.join().unwrap(), "it was cut");
        let counts = handle.shared.connections.counts();
        assert_eq!((counts.cut, counts.closed), (0, 1));
    });
}

/// Ends when it is told to.
#[derive(Default)]
struct Busy {
    ended: bool,
}

impl Future for Busy {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        match self.ended {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl GracefulConnection for Busy {
    fn ask(self: Pin<&mut Self>, _: Token) {}

    fn end(mut self: Pin<&mut Self>, _: Token) {
        self.ended = true;
    }
}

/// A request ends in another task while the driver looks at its connection: the connection ends, whoever came first.
#[test]
fn end_of_a_request_is_seen_by_the_driver() {
    model(|| {
        let handle = ShutdownHandle::new(no_time());
        let group = group(&handle);
        let state = group.open("peer").unwrap();
        let place = state.begin(None, Framing::Empty);
        handle.shutdown("model");
        handle.shared.enter(Phase::Close);
        let driver = spawn({
            let state = Arc::clone(&state);
            move || block_on(Watched::new(Busy::default(), state)).is_some()
        });

        state.finish(place);

        assert!(driver.join().unwrap(), "it was cut");
    });
}

/// A connection that ends by itself while it is cut is counted once.
#[test]
fn connection_that_ends_at_the_cut_is_counted_once() {
    static CUT: Seen = Seen::new("cut");
    static CLOSED: Seen = Seen::new("closed");

    model(|| {
        let handle = ShutdownHandle::new(Plan::immediate());
        let group = group(&handle);
        handle.shutdown("model");
        let state = group.open("peer").unwrap();
        // So that the checker sees that the cut depends on the end: std's `Arc` is not its own.
        let over = Arc::new(AtomicBool::new(false));
        let driver = spawn({
            let over = Arc::clone(&over);
            move || {
                block_on(Watched::new(Idle::default(), state));
                over.store(true, Ordering::Relaxed);
            }
        });

        over.load(Ordering::Relaxed);
        group.cut();
        driver.join().unwrap();

        let counts = handle.shared.connections.counts();
        if counts.cut == 1 {
            CUT.note();
        } else {
            CLOSED.note();
        }
        assert_eq!(counts.cut + counts.closed, 1);
    });
    CUT.check();
    CLOSED.check();
}

/// Never ends by itself.
struct Stuck;

impl Future for Stuck {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl GracefulConnection for Stuck {
    fn ask(self: Pin<&mut Self>, _: Token) {}

    fn end(self: Pin<&mut Self>, _: Token) {}
}

/// A driver that waits for its connection is woken by the cut alone.
#[test]
fn cut_wakes_the_driver() {
    model(|| {
        let handle = ShutdownHandle::new(Plan::immediate());
        let group = group(&handle);
        handle.shutdown("model");
        let state = group.open("peer").unwrap();
        let driver = spawn(move || block_on(Watched::new(Stuck, state)));

        group.cut();

        assert_eq!(driver.join().unwrap(), None);
    });
}

/// A connection that is opened while connections are cut is cut, too, and counted, or it is refused.
#[test]
fn connection_that_is_opened_at_the_cut_is_cut_or_refused() {
    static CUT: Seen = Seen::new("opened and cut");
    static REFUSED: Seen = Seen::new("not opened");

    // Two: with three it takes six times as long.
    model_with(2, || {
        let runtime = runtime();
        let shutdown = ShutdownCoordinator::new(no_time());
        let handle = shutdown.handle();
        let group = group(&handle);
        handle.shutdown("model");
        let listener = spawn(move || {
            let state = group.open("peer")?;
            Some(block_on(Watched::new(Stuck, state)))
        });

        let report = block_on_with(&runtime, shutdown.run());
        let ended = listener.join().unwrap();

        let counts = (report.connections.cut, report.connections.closed);
        match ended {
            Some(output) => {
                CUT.note();
                assert_eq!((output, counts), (None, (1, 0)));
            }
            None => {
                REFUSED.note();
                assert_eq!(counts, (0, 0));
            }
        }
    });
    CUT.check();
    REFUSED.check();
}
