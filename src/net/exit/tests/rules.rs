//! The rules, from `docs/phases.md`, `docs/architecture.md` and the RFCs: asked at each step of a [`World`], of what is known
//! there.

use super::drawn::Kind;
use super::world::{Over, Stage, Wanted, World};
use crate::net::exit::{Pong, Receiving};

// The bounds of `docs/phases.md`, in milliseconds: in normal service, and once the shutdown has begun.
const HANDSHAKE: Bound = Bound(10_000, 2000);
const HEAD: Bound = Bound(10_000, 2000);
const FIRST_BYTE: Bound = Bound(60_000, 1000);
const PONG: u64 = 1000;
/// How long PONG is kept back.
const KEPT: u64 = 50;
const LINGERING: u64 = 1000;
/// A connection this old is not fresh: `docs/architecture.md`, step 5.
const FRESH: u64 = 1000;
/// The kernel is asked this often, at least.
const ASKED: u64 = 250;

#[derive(Clone, Copy)]
struct Bound(u64, u64);

impl Bound {
    /// When it is over for what is waited for `since` then. Once the shutdown has begun, or the connection's moment has come, at
    /// `leaving`, the second counts; it never gives more than the first.
    fn over(self, since: u64, leaving: Option<u64>) -> u64 {
        let leaving = leaving.map(|leaving| since.max(leaving) + self.1);
        leaving.map_or(since + self.0, |leaving| leaving.min(since + self.0))
    }
}

/// What the rules remember.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) broken: Option<String>,
    shaken_at: u64,
    /// Since when the client is in a head, as the IO has seen it.
    head_at: Option<u64>,
    /// How many requests had been called before that head.
    head_behind: u32,
    was_busy: bool,
    idle_at: u64,
    /// In Close, before its end came: it was busy for some time, or within one instant.
    busy_in_close: bool,
    busy_for_an_instant: bool,
    /// Its time to end has come.
    ends: bool,
    /// Its client has been waited for long enough.
    given_up: bool,
    /// The same, but within one instant: something else may have come first.
    perhaps_given_up: bool,
    /// By a bound of normal service.
    given_up_serving: bool,
    ponged_at: Option<u64>,
    acknowledged_at: u64,
    end_seen_at: Option<u64>,
    ends_told: u32,
}

impl Rules {
    pub(super) fn breaks(&mut self, how: &str) {
        self.broken.get_or_insert_with(|| how.to_owned());
    }

    pub(super) fn shaken(&mut self, now: u64) {
        self.shaken_at = now;
    }

    pub(super) fn acknowledged(&mut self, now: u64) {
        self.acknowledged_at = now;
    }

    /// Back to normal service.
    pub(super) fn taken_back(&mut self) {
        self.busy_in_close = false;
        self.busy_for_an_instant = false;
        self.ends = false;
        self.given_up = false;
        self.perhaps_given_up = self.given_up_serving;
    }
}

impl World {
    fn must(&mut self, holds: bool, rule: &str) {
        if !holds && self.rules.broken.is_none() {
            let at = self.now;
            self.rules.broken = Some(format!("{rule} (at {at} ms)"));
        }
    }

    /// Something may have changed.
    pub(super) fn note(&mut self) {
        let (now, idle) = (self.now, self.is_idle());
        let closes = self.closes();
        let undisturbed = self.wanted().is_none();
        let head = self.receiving == Receiving::Head && !self.saw_end;
        let rules = &mut self.rules;
        if idle && rules.was_busy {
            rules.idle_at = now;
        }
        rules.was_busy = !idle;
        rules.busy_for_an_instant |=
            closes && (!idle || rules.idle_at == now && self.requested > 0);
        rules.head_at = match rules.head_at {
            Some(at) if head && rules.head_behind == self.called => Some(at),
            _ => head.then_some(now),
        };
        rules.head_behind = self.called;
        if self.http2.ponged {
            rules.ponged_at.get_or_insert(now);
        }
        if self.saw_end {
            rules.end_seen_at.get_or_insert(now);
        }
        if self.bound().is_some_and(|bound| now >= bound) {
            self.rules.perhaps_given_up = true;
            self.rules.given_up_serving |= undisturbed || self.leave.is_none();
        }
        self.judge_counts();
    }

    /// Rule 7: what is in flight, and what else a cut would lose.
    fn judge_counts(&mut self) {
        if self.over.is_some() || !self.is_http() {
            return;
        }
        let in_flight = self.exit.in_flight();
        self.must(
            in_flight == self.in_flight,
            "7: in flight is what has begun and not finished",
        );
        // Which tunnels end is not seen. Streams are told of a step later than requests.
        if self.stage == Stage::Http1 {
            let says = in_flight + self.exit.unfinished();
            let (says, loses) = (says, self.loses());
            self.must(
                says == loses,
                &format!("7: a cut loses {loses}, not {says}"),
            );
        }
    }

    /// When it ends if it stays idle: not before the first, not after the second. The instant in which Close begins may count
    /// on either side.
    fn end_due(&self) -> Option<(u64, u64)> {
        let wanted = self.wanted()?;
        let end = wanted.close?.end;
        let linger = wanted.linger;
        let unused = self.requested == 0;
        let idle = if unused { end.max(linger) } else { end };
        let behind = self.rules.idle_at + linger;
        let fits = matches!(self.stage, Stage::Sniffing | Stage::Http1);
        Some(
            match (
                fits && self.rules.busy_in_close,
                fits && self.rules.busy_for_an_instant,
            ) {
                (true, _) => (behind, behind),
                (false, true) => (idle.min(behind).min(end), idle.max(behind)),
                (false, false) => (idle, idle),
            },
        )
    }

    fn may_end(&self) -> bool {
        self.rules.ends
            || self
                .end_due()
                .is_some_and(|(earliest, _)| self.now >= earliest)
    }

    /// When the client has been waited for long enough, for whatever is waited for.
    fn bound(&self) -> Option<u64> {
        if self.is_upgraded() || self.shut.is_some() {
            return None;
        }
        let leaving = self.leave.map(|leave| leave.since);
        // "From its moment": in the shutdown, whose bounds these are.
        let moment = self
            .leave
            .zip(self.wanted())
            .map(|(leave, wanted)| leave.since.max(wanted.moment));
        let rules = &self.rules;
        match (self.stage, rules.head_at) {
            (Stage::Handshake, _) => Some(HANDSHAKE.over(0, leaving)),
            (Stage::Sniffing, Some(since)) => Some(HANDSHAKE.over(since, leaving)),
            (Stage::Sniffing, None) => Some(FIRST_BYTE.over(rules.shaken_at, moment)),
            (Stage::Http1, _) if self.in_flight > 0 || self.unflushed => None,
            // Behind a response the head is looked at when that has been sent.
            (Stage::Http1, Some(since)) => Some(HEAD.over(since.max(rules.idle_at), leaving)),
            (Stage::Http1, None) if self.requested == 0 => {
                Some(FIRST_BYTE.over(rules.shaken_at, moment))
            }
            (Stage::Http2, Some(since)) => {
                // GOAWAY has its answer first, or the bound of that has passed.
                let (_, answered) = self.pong_due(self.asked?);
                let answered = rules.ponged_at.map_or(answered, |at| at.min(answered));
                (self.now >= answered).then(|| HEAD.over(since.max(answered), leaving))
            }
            _ => None,
        }
    }

    fn may_give_up(&self) -> bool {
        self.rules.perhaps_given_up || self.bound().is_some_and(|bound| self.now >= bound)
    }

    /// Whether the client has been, or may have been, asked.
    fn is_asked(&self) -> bool {
        let asks = |wanted: Wanted| wanted.close.is_some() || self.now >= wanted.moment;
        self.wanted().is_some_and(asks)
    }

    /// Whether idle connections are to end.
    fn closes(&self) -> bool {
        self.wanted().is_some_and(|wanted| wanted.close.is_some())
    }

    /// Whether a GOAWAY would send the client away with nothing.
    fn is_fresh(&self) -> bool {
        let wanted = self.wanted();
        let fresh = wanted.map_or(FRESH, |wanted| FRESH.min(wanted.linger));
        // On HTTP/2 a busy connection waits for its streams from its moment on.
        let since = wanted
            .filter(|_| self.stage == Stage::Http2 && self.requested > 0)
            .map_or(0, |wanted| wanted.moment);
        let used = self.requested > 0 && self.is_idle();
        self.now < since + fresh && !used
    }

    /// Rule 1: reading ends.
    pub(super) fn judge_end_of_reading(&mut self) {
        let (ends, gives_up) = (self.may_end(), self.may_give_up());
        self.must(ends || gives_up, "1, 2: reading ends, and it is not time");
        self.must(
            !self.is_upgraded(),
            "1: reading ends on an upgraded connection",
        );
        let (in_flight, called) = (self.in_flight, self.is_called());
        self.must(
            in_flight == 0 && !called,
            "1: reading ends while a request is in flight",
        );
        self.must(
            !self.unflushed,
            "1: reading ends before the response is flushed",
        );
        let body = self.is_receiving_body();
        self.must(!body, "1: reading ends while a body is received");
        let head = self.receiving == Receiving::Head;
        self.must(
            !head || gives_up,
            "1: reading ends in half a head whose bound has not passed",
        );
        let twice = self.looked_twice();
        self.must(twice, "1: reading ends before the driver was polled");
        let shut = self.shut.is_some() || self.saw_end || self.gave_end;
        self.must(!shut, "1: reading ends though it has ended");
        match self.stage {
            Stage::Sniffing | Stage::Http1 => {}
            Stage::Http2 => {
                let idle = self.http2.streams.is_empty();
                self.must(gives_up && head && idle, "1: reading ends on HTTP/2");
            }
            _ => self.must(false, "1: reading ends where it is not ours"),
        }
    }

    /// Rule 3: the client is asked.
    pub(super) fn judge_ask(&mut self) {
        let once = self.asked.is_none();
        self.must(once, "3: the client is asked twice");
        let end = self.may_end();
        match self.stage {
            Stage::Http2 if !self.setup.goaway => {
                // Which tunnels end is not seen: another stream may be taken for one.
                let idle = self.is_idle() || self.tunnel_ended;
                self.must(end && idle, "3: GOAWAY before Close, or before it is idle");
            }
            Stage::Http2 => {
                let used = !self.is_fresh() || self.tunnel_ended;
                let time = self.is_asked() && used || end;
                self.must(time, "3: GOAWAY before its moment, or while fresh");
            }
            Stage::Other if self.setup.kind == Kind::Unseen => {
                let time = self.is_asked() && !self.is_fresh();
                self.must(time, "3: asked before its moment, or while fresh");
            }
            _ => self.must(false, "3: asked what cannot be"),
        }
    }

    /// Somebody else's connection is ended.
    pub(super) fn judge_end(&mut self) {
        self.rules.ends_told += 1;
        let once = self.rules.ends_told == 1 && self.setup.kind == Kind::Unseen;
        self.must(once, "3: ended what is ended, or is not somebody else's");
        let time = self.may_end();
        self.must(time, "2: ended before its time");
    }

    /// Rule 4: the driver drops the connection.
    pub(super) fn judge_drop(&mut self) {
        if self.stage == Stage::Handshake {
            let due = self.may_give_up();
            return self.must(due, "4: a handshake is dropped before its bound");
        }
        let Some(shut) = self.shut else {
            return self.must(false, "4: dropped, and our side is not closed");
        };
        let since = shut.max(self.discarded.unwrap_or(shut));
        match self.leave {
            None => {
                let due = self.now >= shut + LINGERING;
                self.must(due, "4: lingers for less than its bound");
            }
            Some(_) => {
                let active = self.now < since + LINGERING;
                let only_delivers = self.saw_end || self.gave_end;
                self.must(
                    !active || only_delivers,
                    "4: dropped while its client is active",
                );
            }
        }
    }

    /// Rule 9: what is left behind its age is cut.
    pub(super) fn judge_cut(&mut self) {
        let due = self.cut_at().is_some_and(|cut| self.now >= cut);
        self.must(due, "9: cut before the grace behind its age is over");
    }

    /// Rule 4: the socket is closed.
    pub(super) fn judge_over(&mut self, over: Over) {
        let ours = matches!(over, Over::Shut | Over::Dropped);
        if !ours || self.leave.is_none() || !self.setup.tells || self.shut.is_none() {
            return;
        }
        let whole = self.unacknowledged == 0 || self.setup.discards > 0;
        self.must(
            whole,
            "4: closed while something of ours is not acknowledged",
        );
    }

    /// A response's head is sent.
    pub(super) fn judge_head(&mut self, says_close: bool) {
        let may = self.is_asked() || self.may_give_up();
        self.must(
            !says_close || may,
            "7: a response says close in normal service",
        );
        // At the instant itself the task may not have had its turn.
        let before = |wanted: Wanted| {
            let closes = wanted.close.is_some_and(|close| close.since < self.now);
            let seen = self.leave.is_none_or(|leave| leave.since < self.now);
            closes || wanted.moment < self.now && seen
        };
        let must = self.wanted().is_some_and(before) || self.rules.given_up;
        self.must(
            says_close || !must,
            "7: a response does not say close behind its moment",
        );
    }

    /// Everybody has had their turn, at this instant.
    pub(super) fn judge(&mut self) {
        self.note();
        if self.over.is_some() {
            return;
        }
        self.remember();
        self.judge_bounds();
        self.judge_ended();
        self.judge_asked();
        self.judge_pong();
        self.judge_lingering();
        self.judge_undisturbed();
        let left = self.cut_at().is_some_and(|cut| self.now >= cut);
        self.must(!left, "9: it goes on behind the grace behind its age");
        if self.stage == Stage::Http2 && !self.tunnel_ended {
            let says = self.exit.in_flight() + self.exit.unfinished();
            let loses = self.loses();
            self.must(
                says == loses,
                &format!("7: a cut loses {loses}, not {says}"),
            );
        }
    }

    /// What lasts from here on.
    fn remember(&mut self) {
        self.rules.busy_in_close |= self.closes() && !self.is_idle() && !self.rules.ends;
        let due = self.end_due();
        self.rules.ends |=
            self.is_idle_or_frames() && due.is_some_and(|(_, latest)| self.now >= latest);
        self.rules.given_up |= self.bound().is_some_and(|bound| self.now >= bound);
    }

    fn is_idle_or_frames(&self) -> bool {
        self.is_idle() || matches!(self.stage, Stage::Http2)
    }

    /// Rules 2, 5: the bounds are kept.
    fn judge_bounds(&mut self) {
        let dropped = !(self.stage == Stage::Handshake && self.rules.given_up);
        self.must(dropped, "5: a handshake goes on past its bound");
    }

    /// Rules 5, 6: what is to end has ended.
    fn judge_ended(&mut self) {
        let idle = self.is_idle() && !self.is_upgraded() && self.shut.is_none();
        let head = self.receiving == Receiving::Head;
        match self.stage {
            Stage::Sniffing | Stage::Http1 if idle && !self.saw_end => {
                let ends = self.rules.ends && !head || self.rules.given_up;
                self.must(!ends, "5, 6: it is time, and reading has not ended");
            }
            Stage::Http2 if idle && head && self.rules.given_up => {
                self.must(self.has_tunnel(), "5: half a header block holds HTTP/2");
            }
            Stage::Other if self.setup.kind == Kind::Unseen && self.rules.ends => {
                let told = self.rules.ends_told == 1;
                self.must(told, "5: somebody else's connection has not been ended");
            }
            _ => {}
        }
    }

    fn judge_asked(&mut self) {
        let asks = self.is_asked() && !self.is_fresh();
        let owes = match self.stage {
            Stage::Http2 if self.setup.goaway => asks || self.rules.ends && self.is_idle(),
            Stage::Http2 => self.rules.ends && self.is_idle(),
            Stage::Other => asks && self.setup.kind == Kind::Unseen,
            _ => false,
        };
        let asked = self.asked.is_some();
        self.must(
            asked || !owes,
            "3, 5: its moment has come, and it was not asked",
        );
        if self.is_http() && !self.is_upgraded() && self.shut.is_none() {
            let says = self.exit.says_close();
            let must = self.is_asked() || self.rules.given_up;
            let may = must || self.rules.perhaps_given_up;
            self.must(
                may || !says,
                "7: close is said in normal service, or before the moment",
            );
            self.must(says || !must, "7: close is not said from the moment on");
        }
    }

    /// Rule 3: the PING's answer.
    fn judge_pong(&mut self) {
        let Some(asked) = self.asked.filter(|_| self.stage == Stage::Http2) else {
            let none = self.exit.pong() == Pong::NotAsked || self.stage != Stage::Http2;
            return self.must(none, "3: a PONG of nothing");
        };
        let (earliest, latest) = self.pong_due(asked);
        let late = self.now >= latest;
        let expected = match (self.http2.ponged, self.http2.pong_taken) {
            (true, _) => Pong::Come,
            (false, _) if late => Pong::Overdue,
            (false, Some(_)) => Pong::Kept,
            (false, None) => Pong::Awaited,
        };
        let pong = self.exit.pong();
        let early = pong == Pong::Overdue && self.now >= earliest;
        self.must(
            pong == expected || early,
            &format!("3: PONG is {expected:?}, not {pong:?}"),
        );
        let place = self.http2.pinged && !self.http2.in_block;
        let answered = self.http2.ponged || !late || !place || self.shut.is_some();
        self.must(
            answered,
            "3: PING is not answered though there is a place for it",
        );
    }

    /// When the IO answers in the client's place: not before the first, not after the second. They differ where PONG comes in the
    /// instant in which its bound passes.
    fn pong_due(&self, asked: u64) -> (u64, u64) {
        let late = asked + PONG;
        match self.http2.pong_taken {
            Some(taken) if taken < late => (taken + KEPT, taken + KEPT),
            Some(taken) if taken == late => (late, taken + KEPT),
            _ => (late, late),
        }
    }

    /// Rules 4, 5: lingering is over in time.
    fn judge_lingering(&mut self) {
        let Some(shut) = self.shut else { return };
        let Some(leave) = self.leave else {
            return self.must(self.now < shut + LINGERING, "2, 5: lingers past its bound");
        };
        if self.unacknowledged > 0 && self.setup.tells {
            return;
        }
        let since = shut
            .max(self.discarded.unwrap_or(0))
            .max(self.rules.acknowledged_at);
        let since = since.max(leave.since.saturating_sub(LINGERING));
        let over = self.now >= since + LINGERING + ASKED;
        self.must(!over, "5: lingers though all has been acknowledged");
        if let Some(end) = self.rules.end_seen_at.filter(|_| self.setup.tells) {
            let since = shut.max(end).max(self.rules.acknowledged_at);
            self.must(
                self.now <= since + ASKED,
                "5: lingers behind its client's end",
            );
        }
    }

    /// Rule 8, and rule 2: without a shutdown there is none.
    fn judge_undisturbed(&mut self) {
        if self.wanted().is_none() && !self.rules.perhaps_given_up && self.shut.is_none() {
            let disturbed = self.exit.is_disturbed() || self.exit.is_ending();
            self.must(!disturbed, "2, 8: disturbed in normal service");
        }
    }

    /// The client and the application have behaved, and Close is here: it is over, or upgraded.
    pub(super) fn judge_gone(&mut self) {
        let ours = self.is_http() && !self.is_upgraded() && self.stage != Stage::Handshake;
        let gone = self.over.is_some() || !ours;
        self.must(gone, "5: it does not end");
    }
}
