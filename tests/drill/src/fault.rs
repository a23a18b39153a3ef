//! The faults of a shutdown, and their remedies.

use serde::Serialize;

/// What a server did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fault {
    /// Requests were lost before the signal.
    BeforeTheSignal,
    /// It refused connections while it was alive and in rotation.
    RefusedWhileAlive,
    /// It left while it was in rotation.
    LeftInRotation,
    /// It dropped new connections that the kernel had completed for it.
    DroppedNew,
    /// It ended kept connections under a request, without a word before.
    DroppedKept,
    /// It left while requests were in flight.
    LeftInFlight,
    /// It said in the protocol's words that it had not processed requests whose handlers had been entered.
    HandedBack,
    /// It ended answers in the middle.
    CutAnswer,
    /// It ended long connections without their protocol's farewell.
    CutLong,
    /// It did not wait for clients that send or read slowly.
    CutSlow,
    /// It kept connections open and answered nothing.
    Hung,
    /// It gave other answers than in normal service.
    Rejected,
    /// It answered something that is no HTTP.
    Garbled,
    /// It answered as usual, and no handler was entered.
    Unhandled,
    /// It had not left when the grace period was over.
    Late,
    /// The same, and it showed no reaction to the signal: it refused nothing, and said neither close nor GOAWAY.
    IgnoredSignal,
    /// It left, and a process that it had started did not.
    LeftAProcess,
}

impl Fault {
    /// What it did, as a sentence goes on after "the server".
    pub(crate) const fn deed(self) -> &'static str {
        match self {
            Fault::BeforeTheSignal => "lost requests in normal service, before the signal",
            Fault::RefusedWhileAlive => "refused connections while it was alive and in rotation",
            Fault::LeftInRotation => {
                "had left while it was in rotation, so that connections were refused"
            }
            Fault::DroppedNew => "dropped new connections that the kernel had completed for it",
            Fault::DroppedKept => "ended connections under a request, without a word before",
            Fault::LeftInFlight => "left while requests were in flight",
            Fault::HandedBack => "handed back requests whose handlers had been entered",
            Fault::CutAnswer => "ended answers in the middle",
            Fault::CutLong => "ended long connections without their protocol's farewell",
            Fault::CutSlow => "did not wait for clients that send or read slowly",
            Fault::Hung => "kept connections open and answered nothing",
            Fault::Rejected => "gave other answers than in normal service",
            Fault::Garbled => "answered something that is no HTTP",
            Fault::Unhandled => "answered as usual, and no handler was entered",
            Fault::Late => "had not left when the grace period was over, and was killed",
            Fault::IgnoredSignal => "did not react to the signal, and was killed",
            Fault::LeftAProcess => "left, and a process that it had started did not",
        }
    }

    /// What to change.
    pub(crate) const fn remedy(self) -> &'static str {
        match self {
            Fault::BeforeTheSignal => {
                "Find out why first: the drill cannot tell such losses from those of the shutdown."
            }
            Fault::RefusedWhileAlive => {
                "Close the listener last. Accept and serve on for longer than the cluster takes to route elsewhere, and for as \
                 long as the process lives."
            }
            Fault::LeftInRotation => {
                "Serve on after the signal for longer than the cluster takes to route elsewhere; a preStop hook that sleeps \
                 does it as well. Only then begin to stop."
            }
            Fault::DroppedNew => {
                "Accept what is in the listener's queue before it is closed, and serve it. A listener that is dropped resets \
                 its queue."
            }
            Fault::DroppedKept => {
                "Tell clients first: `Connection: close` on answers (HTTP/1), GOAWAY in two steps (HTTP/2). Do not close an \
                 idle connection at once: its next request may be on its way."
            }
            Fault::LeftInFlight => {
                "Wait for the requests in flight before the process ends: await the server's graceful shutdown, and do not \
                 return from main before it is over. Before that, close the listener and serve what is in its queue."
            }
            Fault::HandedBack => {
                "Enter no handler behind an answer with `Connection: close`, nor for a stream above the last one of a GOAWAY: \
                 the client will repeat the request."
            }
            Fault::CutAnswer => {
                "A request is over when the last byte of its answer is sent, not when its handler returns. Wait for that."
            }
            Fault::CutLong => {
                "Tell long connections that the server leaves: a close frame to a WebSocket (1001, going away), the last \
                 chunk to an event stream. Neither ends by itself."
            }
            Fault::CutSlow => {
                "Wait for requests that are half sent and answers that are half read, for as long as the grace period allows."
            }
            Fault::Hung => {
                "Keep what answers requests alive until the last one is answered: workers, pools and the runtime end after \
                 the server."
            }
            Fault::Rejected => {
                "Serve as usual until the cluster routes elsewhere. An answer such as 503 is a lost request to most clients."
            }
            Fault::Garbled => "See what the server writes to its sockets when it stops.",
            Fault::Unhandled => {
                "See who answers in the handler's place when the server stops, and with what: the client believes it."
            }
            Fault::Late => {
                "Bound all that the server waits for when it stops, kept connections among it: clients keep them open until \
                 they are told. The sum has to be less than the grace period, with a second to spare. If that is too \
                 little, raise the grace period."
            }
            Fault::IgnoredSignal => {
                "Handle the signal. See that it reaches the server: a shell or a package manager as PID 1 does not pass it \
                 on (use `exec`), and PID 1 has no default action."
            }
            Fault::LeftAProcess => {
                "Wait for the processes that the server starts, and pass the signal on to them."
            }
        }
    }
}
