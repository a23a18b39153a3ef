//! 3. A request, and 4. a connection with one request.

use crate::callgrind;
use crate::table::{Table, at_most, heading};
use crate::work::request::{SERVERS, describe};

const REQUESTS: u64 = 1000;
const CONNECTIONS: u64 = 200;

/// A server's instructions, whole and without those of the client and the transport.
pub struct Cost {
    pub server: &'static str,
    pub whole: f64,
    pub own: f64,
}

pub fn requests() {
    heading("3. A request on an open connection");
    if !callgrind::is_there() {
        println!("valgrind is not installed here: instructions were not counted\n");
        return;
    }
    for app in ["router", "plain"] {
        for version in ["http1", "http2"] {
            let costs = table("request", version, app, REQUESTS);
            // The target is about the same route; the least of services is here to be seen.
            if app == "router" {
                verdict(
                    &costs,
                    "lameduck",
                    &format!("request, {version}, named"),
                    1.05,
                );
                let what = format!("request, {version}, not named");
                verdict(&costs, "lameduck-off", &what, 1.03);
            }
        }
    }
}

pub fn connections() {
    heading("4. A connection: open, one request, close");
    if !callgrind::is_there() {
        println!("valgrind is not installed here: instructions were not counted\n");
        return;
    }
    for version in ["http1", "http2"] {
        let costs = table("connection", version, "router", CONNECTIONS);
        verdict(&costs, "lameduck", &format!("connection, {version}"), 1.10);
    }
}

fn verdict(costs: &[Cost], server: &str, what: &str, target: f64) {
    at_most(
        &format!("{what}, instructions / bare"),
        ratio(costs, server),
        target,
        "x",
    );
}

pub fn ratio(costs: &[Cost], server: &str) -> f64 {
    let own = |name| {
        costs
            .iter()
            .find(|cost| cost.server == name)
            .map(|cost| cost.own)
    };
    own(server).unwrap_or(f64::NAN) / own("bare").unwrap_or(f64::NAN)
}

/// What each of `servers` costs.
pub fn costs(
    part: &str,
    version: &str,
    app: &str,
    servers: impl IntoIterator<Item = &'static str>,
    times: u64,
) -> Vec<Cost> {
    let count = |server| {
        let workload = format!("{part}/{version}/{app}/{server}");
        callgrind::mean_instructions(&workload, times)
    };
    let wire = count("wire");
    let cost = |server| {
        let whole = count(server);
        Cost {
            server,
            whole,
            own: whole - wire,
        }
    };
    servers.into_iter().map(cost).collect()
}

fn table(part: &str, version: &str, app: &str, times: u64) -> Vec<Cost> {
    let servers = SERVERS.into_iter().skip(1);
    // axum's own server takes only a router.
    let servers = servers.filter(|server| app == "router" || *server != "axum");
    let costs = costs(part, version, app, servers, times);
    let mut table = Table::new([
        &format!("{version}, {app}"),
        "instructions",
        "without client and transport",
        "more than bare",
        "/ bare",
    ]);
    let bare = costs.first().map_or(f64::NAN, |cost| cost.own);
    for cost in &costs {
        table.row([
            describe(cost.server).to_owned(),
            format!("{:.0}", cost.whole),
            format!("{:.0}", cost.own),
            format!("{:+.0}", cost.own - bare),
            format!("{:.3}", cost.own / bare),
        ]);
    }
    table.print();
    costs
}
