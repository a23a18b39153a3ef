//! Every example runs, does what its header says, and leaves cleanly.

#![cfg(all(feature = "hyper", feature = "signal"))]

mod process;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use process::{Process, Scratch};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A short schedule: these tests are about the examples, not about the times.
const SHORT: &[(&str, &str)] = &[
    ("TERMINATION_GRACE_PERIOD_SECONDS", "6"),
    ("LAME_DUCK_SECONDS", "0.2"),
];

const ANYWHERE: &str = "127.0.0.1:0";

#[test]
fn service_writes_and_reads_notes_and_answers_probes() {
    let scratch = Scratch::new("example-service");
    let file = scratch.path("notes.db");
    let mut service = Process::example("service", &[ANYWHERE, ANYWHERE, &file], SHORT);
    let line = service.line();
    let (address, probes) = (word_after(&line, "on"), word_after(&line, "probes on"));

    let written = ask(&address, "POST /notes", "milk");
    let read = ask(&address, "GET /notes/1", "");
    let ready = ask(&probes, "GET /readyz", "");
    let report = stop(service);

    assert!(written.ends_with("\r\n\r\n1\n"), "{written}");
    assert!(read.ends_with("\r\n\r\nmilk\n"), "{read}");
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    assert!(report.contains("hook `sqlite` done"), "{report}");
}

#[test]
fn layer_only_finishes_a_slow_request() {
    let mut server = Process::example("layer_only", &[ANYWHERE], SHORT);
    let address = word_after(&server.line(), "on");

    let live = ask(&address, "GET /livez", "");
    let slow = std::thread::spawn(move || ask(&address, "GET /slow", ""));
    server.wait_for_log("plan:");
    let slow = slow.join().expect("it does not panic");
    let report = stop(server);

    assert!(live.starts_with("HTTP/1.1 200"), "{live}");
    assert!(slow.ends_with("at last\n"), "{slow}");
    assert!(report.contains("clean: SIGTERM"), "{report}");
}

#[test]
fn queue_consumer_loses_no_job_and_does_none_twice() {
    let scratch = Scratch::new("example-queue");
    let file = scratch.path("jobs.db");
    let mut done = Vec::new();

    // Stopped in the middle, twice.
    for _ in 0..2 {
        let mut consumer = Process::example("queue_consumer", &[&file], SHORT);
        assert_eq!(consumer.line(), "20 jobs are waiting");
        done.push(consumer.line());
        let report = stop(consumer);
        let also = report.lines().filter(|line| line.starts_with("done: "));
        done.extend(also.map(str::to_owned));
        assert!(report.contains("task `consumer` done"), "{report}");
    }

    let jobs: Vec<String> = (1..=done.len())
        .map(|job| format!("done: job {job}"))
        .collect();
    assert_eq!(done, jobs);
}

#[test]
fn hooks_and_tasks_says_which_hook_overran() {
    let ended = Process::example("hooks_and_tasks", &[], &[]).wait();

    assert_eq!(ended.status.code(), Some(3), "{}", ended.stdout);
    for part in [
        "hook `database` overran after 0.4",
        "hook `cache` failed: connection refused",
        "hook `telemetry` done",
        "task `importer` done",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
}

#[test]
fn own_accept_loop_serves_and_leaves() {
    let mut server = Process::example("own_accept_loop", &[ANYWHERE], SHORT);
    let address = word_after(&server.line(), "on");

    let hello = ask(&address, "GET /", "");
    let report = stop(server);

    assert!(hello.ends_with("hello\n"), "{hello}");
    assert!(report.contains("clean: SIGTERM"), "{report}");
}

#[test]
fn own_accept_loop_goes_on_when_it_was_out_of_file_descriptors() {
    let mut server = Process::example_with_files("own_accept_loop", &[ANYWHERE], SHORT, 24);
    let address = word_after(&server.line(), "on");

    let connections: Vec<_> = (0..40)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    server.wait_for_log("cannot accept for the moment");
    drop(connections);
    let hello = ask(&address, "GET /", "");
    server.wait_for_log("accepting failed for a while");
    server.signal("TERM");
    let ended = server.wait();

    assert!(hello.ends_with("hello\n"), "{hello}");
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let warnings = ended.stderr.matches("cannot accept for the moment").count();
    assert_eq!(warnings, 1, "{}", ended.stderr);
}

#[test]
fn raw_tcp_answers_every_command_that_it_begins() {
    let mut server = Process::example("raw_tcp", &[ANYWHERE], SHORT);
    let address = word_after(&server.line(), "on");

    let (first, begun) = std::sync::mpsc::channel();
    // One sends all the time, the other one pauses.
    let clients = [Duration::ZERO, Duration::from_millis(1_500)].map(|pause| {
        let (address, first) = (address.clone(), first.clone());
        std::thread::spawn(move || {
            let stream = TcpStream::connect(address).unwrap();
            let key = format!("{pause:?}");
            store(stream, &key, pause, || first.send(()).unwrap_or_default())
        })
    });
    for _ in &clients {
        begun.recv().unwrap();
    }
    server.signal("TERM");
    let [busy, pauses] = clients.map(|client| client.join().expect("it does not panic"));
    let ended = server.wait();

    assert!(busy.0 > 100, "{busy:?}");
    // It may have been about to send when the connection ended.
    assert!(busy.1 <= 1, "{busy:?}");
    assert!(pauses.0 > 0, "{pauses:?}");
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    for line in [
        "0 refused; last arrival T0+",
        "cut at the end of Close: 0 requests",
        "connections after T0: 2 closed, 0 cut",
    ] {
        assert!(ended.stdout.contains(line), "{}", ended.stdout);
    }
}

/// Sets and gets one value after the other, until the server ends the connection. How many commands were answered, and how many
/// not.
fn store(stream: TcpStream, key: &str, pause: Duration, first: impl Fn()) -> (u64, u64) {
    let mut answers = BufReader::new(&stream);
    let mut answered = 0;
    for number in 0.. {
        for (command, expected) in [
            ("PING".to_owned(), "+PONG\r\n".to_owned()),
            (format!("SET {key} {number}"), "+OK\r\n".to_owned()),
            (format!("GET {key}"), format!("+{number}\r\n")),
        ] {
            if (&stream)
                .write_all(format!("{command}\n").as_bytes())
                .is_err()
            {
                return (answered, 1);
            }
            let mut answer = String::new();
            // The end of the connection, and no reset.
            if answers.read_line(&mut answer).unwrap() == 0 {
                return (answered, 1);
            }
            assert_eq!(answer, expected);
            answered += 1;
        }
        first();
        std::thread::sleep(pause);
    }
    unreachable!("it has no end")
}

#[test]
fn tls_serves_with_the_certificate_that_it_is_given() {
    let scratch = Scratch::new("example-tls");
    let (certificate, key) = (scratch.path("certificate.pem"), scratch.path("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut server = Process::example("tls", &[ANYWHERE, &certificate, &key], SHORT);
    let line = server.line();
    let address = word_after(&line, "on").replace("https://", "");

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(tls, TcpStream::connect(address).unwrap());
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    // An end without close_notify would be an error.
    stream.read_to_string(&mut answer).unwrap();
    drop(stream);
    let report = stop(server);

    assert!(answer.ends_with("hello over HTTP/1.1\n"), "{answer}");
    assert!(report.contains("clean: SIGTERM"), "{report}");
}

#[test]
fn mtls_knows_its_clients_and_replaces_its_certificate_while_it_serves() {
    let scratch = Scratch::new("example-mtls");
    let directory = scratch.path("certificates");
    let mut server = Process::example("mtls", &[ANYWHERE, &directory], SHORT);
    let address = word_after(&server.line(), "on").replace("https://", "");
    let file = |name: &str| format!("{directory}/{name}");
    let alice = [file("alice.pem"), file("alice-key.pem")];
    let connect = |root: CertificateDer<'static>, client: Option<&[String; 2]>| {
        let mut roots = RootCertStore::empty();
        roots.add(root).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots);
        let config = match client {
            None => config.with_no_client_auth(),
            Some([certificate, key]) => config
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_file(certificate).unwrap()],
                    PrivateKeyDer::from_pem_file(key).unwrap(),
                )
                .unwrap(),
        };
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(tls, TcpStream::connect(&address).unwrap())
    };
    let first = CertificateDer::from_pem_file(file("server.pem")).unwrap();
    let mut open = connect(first.clone(), Some(&alice));
    open.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        .unwrap();
    let mut whole = [0; 1024];
    let mut length = 0;
    while !whole[..length].ends_with(b"hello alice\n") {
        length += open.read(&mut whole[length..]).unwrap();
    }
    let mut nobody = connect(first, None);
    let _ = nobody.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    let refused = nobody.read_to_end(&mut Vec::new());

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    // A moment later than those before, on a file system with coarse times, too; and one file after the other.
    std::thread::sleep(Duration::from_millis(20));
    std::fs::write(file("server.pem"), made.cert.pem()).unwrap();
    std::fs::write(file("server-key.pem"), made.signing_key.serialize_pem()).unwrap();
    let started = Instant::now();
    let renewed = loop {
        let mut stream = connect(made.cert.der().clone(), Some(&alice));
        let verified = stream.conn.complete_io(&mut stream.sock);
        if verified.is_ok() {
            break talk(&mut stream, "GET /", "");
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{verified:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let still = talk(&mut open, "GET /", "");
    drop((open, nobody));
    let report = stop(server);

    assert!(refused.is_err(), "{refused:?}");
    assert!(renewed.ends_with("hello alice\n"), "{renewed}");
    assert!(still.ends_with("hello alice\n"), "{still}");
    assert!(report.contains("clean: SIGTERM"), "{report}");
}

#[test]
fn rollout_prints_what_the_readme_shows() {
    let ended = Process::example("rollout", &[], &[]).wait();

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let (_, readme) = include_str!("../README.md")
        .split_once("--example rollout\n```\n")
        .expect("it has a paragraph there");
    let (_, shown) = readme.split_once("```text\n").expect("with an excerpt");
    let (shown, _) = shown.split_once("```").expect("that ends");
    assert!(ended.stdout.contains(shown), "{}", ended.stdout);
    for other in ["25% / 25% ", "1 / 0 ", "0 / 1 ", "100% / 0 "] {
        let rows = ended.stdout.lines().filter(|row| row.starts_with(other));
        assert_eq!(rows.count(), 1, "{other}: {}", ended.stdout);
    }
}

#[test]
fn rollout_compares_a_plan_at_its_latest_and_its_soonest() {
    let options = [
        "--grace",
        "30",
        "--max-surge",
        "1",
        "--max-unavailable",
        "0",
    ];

    let ended = Process::example("rollout", &options, &[]).wait();

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let tables: Vec<&str> = ended.stdout.split("\ngone after ").skip(1).collect();
    let peaks = tables.iter().map(|table| {
        let row = table.lines().find(|row| row.starts_with("1 / 0 "));
        row.and_then(|row| row.split_whitespace().nth(3))
    });
    assert_eq!(peaks.collect::<Vec<_>>(), [Some("20"), Some("15")]);
    assert!(tables[0].starts_with("29.0 s"), "{}", ended.stdout);
    assert!(tables[1].starts_with("10.0 s"), "{}", ended.stdout);
}

#[test]
fn rollout_refuses_what_kubernetes_refuses() {
    let options = ["--max-surge", "0", "--max-unavailable", "0%"];

    let ended = Process::example("rollout", &options, &[]).wait();

    assert_eq!(ended.status.code(), Some(2));
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("are both 0"), "{}", ended.stderr);
}

#[test]
fn several_servers_all_serve_and_leave_a_successors_socket_alone() {
    let scratch = Scratch::new("example-several-servers");
    let socket = scratch.path("internal.sock");
    let args = [ANYWHERE, ANYWHERE, &socket];
    let mut servers = Process::example("several_servers", &args, SHORT);
    let line = servers.line();
    assert_eq!(word_after(&line, "internal on"), socket);

    let hello = ask(&word_after(&line, "api on"), "GET /", "");
    let load = ask_unix(&socket, "GET /");
    let mut successors = Process::example("several_servers", &args, SHORT);
    successors.line();
    let report = stop(servers);
    let load_afterwards = ask_unix(&socket, "GET /");
    stop(successors);
    // What is left there now does not keep anybody from starting.
    let mut third = Process::example("several_servers", &args, SHORT);
    third.line();
    stop(third);

    assert!(hello.contains("hello 127.0.0.1:"), "{hello}");
    // The first client's connection may still be ending.
    assert!(load.contains("in flight: 1, connections: "), "{load}");
    assert!(
        load_afterwards.contains("in flight: 1"),
        "{load_afterwards}"
    );
    assert!(report.contains("clean: SIGTERM"), "{report}");
}

#[test]
fn long_jobs_puts_its_job_back_and_goes_on_where_it_was() {
    let scratch = Scratch::new("example-long-jobs");
    let file = scratch.path("jobs.db");
    let args = [ANYWHERE, ANYWHERE, &file, "0.01"];

    let mut first = Process::example("long_jobs", &args, SHORT);
    let line = first.line();
    let (address, admin) = (word_after(&line, "on"), word_after(&line, "probes on"));
    let idle = ask(&admin, "GET /metrics", "");
    let ready = ask(&admin, "GET /readyz", "");
    let id = ask(&address, "POST /jobs", "1000000");
    let taken = first.line();
    let report = stop(first);
    let put_back = report.lines().next().unwrap();
    let checkpoint = put_back.strip_prefix("put back: ").expect(put_back);

    let stopped = Instant::now();
    let mut second = Process::example("long_jobs", &args, SHORT);
    let admin = word_after(&second.line(), "probes on");
    let taken_again = second.line();
    let free_after = stopped.elapsed();
    let busy = ask(&admin, "GET /metrics", "");
    stop(second);

    assert!(idle.ends_with("\njobs_running 0\n"), "{idle}");
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    assert!(id.ends_with("\r\n\r\n1\n"), "{id}");
    assert_eq!(taken, "taken: job 1 at 0 of 1000000");
    assert_ne!(checkpoint, "job 1 at 0 of 1000000");
    assert_eq!(taken_again, format!("taken: {checkpoint}"));
    // A job that is not put back stays taken for a minute.
    assert!(free_after < Duration::from_secs(50), "{free_after:?}");
    assert!(busy.ends_with("\njobs_running 1\n"), "{busy}");
    assert!(report.contains("task `jobs` done"), "{report}");
}

#[test]
fn timeline_prints_the_picture_that_is_in_the_docs() {
    let printed = Process::example("timeline", &[], &[]).wait();

    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/kubernetes.svg");
    let picture = std::fs::read_to_string(file).unwrap();
    assert!(
        printed.stdout == picture,
        "cargo run --example timeline > docs/kubernetes.svg"
    );
}

#[cfg(feature = "metrics")]
#[test]
fn telemetry_is_scraped_in_the_drain_and_flushed_in_exit() {
    let mut service = Process::example("telemetry", &[ANYWHERE, ANYWHERE], SHORT);
    let line = service.line();
    let (address, admin) = (word_after(&line, "on"), word_after(&line, "probes on"));
    let work = std::thread::spawn(move || ask(&address, "GET /", ""));
    let metrics = || ask(&admin, "GET /metrics", "");
    while !metrics().contains("\nlameduck_in_flight{class=\"work\"} 1\n") {}

    service.signal("TERM");
    while !metrics().contains("\nlameduck_phase 2\n") {}
    let ready = ask(&admin, "GET /readyz", "");
    let ended = service.wait();

    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    assert!(work.join().expect("it does not panic").ends_with("done\n"));
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("Name         : work"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("hook `traces` done"),
        "{}",
        ended.stdout
    );
}

#[cfg(all(feature = "axum", feature = "tonic"))]
#[tokio::test]
async fn long_connections_are_all_told_and_none_is_cut() {
    use futures_util::StreamExt;
    use tokio_tungstenite::tungstenite::Message;
    use tonic::transport::Endpoint;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    let mut service = Process::example("long_connections", &[ANYWHERE], SHORT);
    let address = word_after(&service.line(), "on");
    let mut events = TcpStream::connect(&address).unwrap();
    events
        .write_all(b"GET /events HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    let mut stream = vec![0; 10];
    events.read_exact(&mut stream).unwrap();
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/socket"))
        .await
        .unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    let service_name = "example.Ticks".to_owned();
    let request = HealthCheckRequest {
        service: service_name,
    };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    let serving = watch.message().await.unwrap().unwrap().status;
    let tick = socket.next().await.unwrap().unwrap();

    let page = ask(&address, "GET /", "");
    let stopped = tokio::task::spawn_blocking(move || stop(service));
    let not_serving = watch.message().await.unwrap().unwrap().status;
    let watch_end = watch.message().await.unwrap_err();
    let close = loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Close(Some(close)) => break close,
            message => assert!(message.is_text(), "{message}"),
        }
    };
    // The library's answer to the close frame leaves when it is asked for more.
    assert!(socket.next().await.is_none());
    events.read_to_end(&mut stream).unwrap();
    let stream = String::from_utf8(stream).unwrap();
    let report = stopped.await.unwrap();

    assert!(page.contains("new EventSource"), "{page}");
    assert_eq!(tick.to_text().unwrap(), "0");
    assert_eq!(u16::from(close.code), 1012);
    assert_eq!(close.reason.as_str(), "SIGTERM");
    assert_eq!((serving, not_serving), (1, 2), "SERVING, then NOT_SERVING");
    assert_eq!(watch_end.code(), tonic::Code::Unavailable);
    assert!(stream.contains("data: 0\n\n"), "{stream}");
    let retry = stream.rfind("retry: ").expect("it says when to come back");
    assert!(retry > stream.rfind("data: ").unwrap(), "{stream}");
    // The end of a chunked body (RFC 9112, section 7.1): it was not cut.
    assert!(stream.ends_with("\r\n0\r\n\r\n"), "{stream}");
    assert!(report.contains("3 told to end, 0 cut"), "{report}");
}

#[cfg(feature = "restart")]
#[test]
fn restart_hands_over_to_a_successor_at_sighup() {
    let mut old = Process::example("restart", &[ANYWHERE], SHORT);
    let line = old.line();
    let (first, address) = (word_after(&line, "process"), word_after(&line, "on"));
    let before = ask(&address, "GET /", "");

    old.signal("HUP");
    let second = word_after(&old.line_with("process"), "process");
    while !ask(&address, "GET /", "").ends_with(&format!("process {second}\n")) {}
    old.wait_for_log("the successor has taken over");
    let killed = std::process::Command::new("kill").arg(&second).status();
    let ended = old.wait();

    assert!(killed.expect("kill is there").success());
    assert!(before.ends_with(&format!("process {first}\n")), "{before}");
    let handed_over = format!("clean: requested: process {second} has taken over");
    assert!(ended.stdout.contains(&handed_over), "{}", ended.stdout);
    assert!(ended.stdout.contains("clean: SIGTERM"), "{}", ended.stdout);
}

/// Sends SIGTERM and returns what the example printed, once it has left cleanly.
fn stop(process: Process) -> String {
    process.signal("TERM");
    let ended = process.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    ended.stdout
}

fn word_after(line: &str, before: &str) -> String {
    let (_, rest) = line
        .split_once(&format!("{before} "))
        .unwrap_or_else(|| panic!("no {before:?} in {line:?}"));
    let word = rest.split_whitespace().next().unwrap_or_default();
    word.trim_end_matches(',').to_owned()
}

/// One request on a connection of its own; the whole response.
fn ask(address: &str, request: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    talk(&mut stream, request, body)
}

fn ask_unix(path: &str, request: &str) -> String {
    let mut stream = std::os::unix::net::UnixStream::connect(path).expect("it listens");
    talk(&mut stream, request, "")
}

fn talk(stream: &mut (impl Read + Write), request: &str, body: &str) -> String {
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .expect("it reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("it answers");
    response
}
