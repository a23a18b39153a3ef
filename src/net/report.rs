//! What the report says of a connection.

use super::connection::{Connection, Life};
use super::exit::{Awaits, Protocol};
use super::requests::Named;
use crate::in_flight::Generation;
use crate::report::{Kind, LeftBehind};

impl Connection {
    pub(crate) fn left_behind(&self, kind: Kind, latest: Generation, left: &mut Vec<LeftBehind>) {
        match kind {
            Kind::Request => {
                let life = self.life();
                let waited_for = life
                    .requests
                    .iter()
                    .filter(|one| one.generation <= latest && !one.lasts);
                left.extend(waited_for.map(|request| LeftBehind {
                    kind,
                    name: request.name(),
                    age: request.since.elapsed(),
                    // Nothing has been cut yet.
                    unmarked_call: false,
                }));
            }
            Kind::Connection if self.life().is_let_go() => {}
            Kind::Connection => left.push(LeftBehind {
                kind,
                name: self.name(),
                age: self.since.elapsed(),
                unmarked_call: self.life().carries_unmarked_call(),
            }),
            Kind::Task | Kind::Guard => {}
        }
    }

    /// Its peer, its protocol, and what it is doing.
    pub(crate) fn name(&self) -> String {
        let shared = &self.handle.shared;
        let told = shared.notices.knows(self.lot) || shared.ages.has_told(self.lot);
        let told = if told { ", told to end" } else { "" };
        let life = self.life();
        format!(
            "{:?} ({}: {}{told})",
            life.peer,
            life.speaks(),
            life.doing()
        )
    }
}

impl Life {
    fn speaks(&self) -> &'static str {
        match self.exit.protocol() {
            Protocol::Http1 => "HTTP/1",
            Protocol::Http2 => "HTTP/2",
            Protocol::Raw | Protocol::Session => "not HTTP",
            Protocol::Unseen | Protocol::Handshake | Protocol::Unknown => "no protocol yet",
        }
    }

    fn doing(&self) -> String {
        let exit = &self.exit;
        if exit.is_upgraded() {
            return "upgraded".to_owned();
        }
        if self.in_flight() > 0 {
            return self.busy_with();
        }
        match exit.tunnels() {
            0 => {}
            1 => return "a tunnel".to_owned(),
            more => return format!("{more} tunnels"),
        }
        let doing = match exit.awaits() {
            Some(Awaits::Handshake) => "handshake",
            Some(Awaits::FirstByte) => "silent",
            Some(Awaits::Preface | Awaits::Head) => "half-sent head",
            Some(Awaits::Pong) => "GOAWAY not acknowledged",
            Some(Awaits::End) => {
                return match exit.unacknowledged() {
                    0 => "closed, but not by the client".to_owned(),
                    bytes => format!("sending a response, {bytes} bytes not acknowledged"),
                };
            }
            None | Some(Awaits::Queued) if exit.is_receiving_body() => {
                "receiving a request behind its response"
            }
            None | Some(Awaits::Queued) if exit.unfinished() > 0 => "sending a response",
            None | Some(Awaits::Queued) if exit.is_mid_head() => "half-sent head",
            None if exit.protocol() == Protocol::Raw => "open",
            None | Some(Awaits::Queued) => "idle",
        };
        doing.to_owned()
    }

    /// Whether a gRPC call is in flight of which nobody has said that it lasts.
    fn carries_unmarked_call(&self) -> bool {
        let mut requests = self.requests.iter();
        self.exit.protocol() == Protocol::Http2
            && requests.any(|request| !request.lasts && request.is_grpc_call())
    }

    fn busy_with(&self) -> String {
        let first = self.requests.iter().next().map(Named::name);
        match (first, self.in_flight()) {
            (Some(name), 0 | 1) => name,
            (Some(name), count) => format!("{name} and {} more", count - 1),
            (None, 1) => "1 request".to_owned(),
            (None, count) => format!("{count} requests"),
        }
    }
}
