//! PostgreSQL as processes of ours, in a directory of its own.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::time::sleep;

use crate::process::Scratch;
use crate::{PATIENCE, SERVICE, millis};

const OWNER: &str = "lameduck";

/// Every connection that comes and goes; with `debug1` also one that ends without a word outside of a transaction. Its data
/// are of no value.
const SETTINGS: [&str; 10] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "log_connections=on",
    "log_disconnections=on",
    "log_min_messages=debug1",
    "log_line_prefix=[%p] %a: ",
    "autovacuum=off",
    "fsync=off",
    "shared_buffers=16MB",
    "max_connections=50",
];

/// A server at a port of its own. Ended when it is dropped.
pub(crate) struct Postgres {
    child: Child,
    pub(crate) port: u16,
    directory: Scratch,
}

/// The directory of PostgreSQL's programs.
pub(crate) fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(["/usr/local/bin".into(), "/usr/local/pgsql/bin".into()]);
    // Debian's are not in the path.
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    places.extend(versions.flatten().map(|version| version.path().join("bin")));
    let has = |place: &PathBuf, program| place.join(program).is_file();
    places
        .into_iter()
        .find(|place| has(place, "initdb") && has(place, "postgres"))
}

impl Postgres {
    /// With an empty table `notes`. `name` is that of its directory.
    pub(crate) async fn start(programs: &Path, name: &str) -> Postgres {
        // Somebody else may take the port between our look and PostgreSQL's.
        const TRIES: u32 = 5;
        for _ in 0..TRIES {
            let directory = Scratch::new(&format!("postgres-{name}"));
            make(programs, &directory);
            let port = free_port();
            let mut started = Postgres {
                child: program(programs, "postgres", &directory)
                    .args(["-p", &port.to_string()])
                    .args(SETTINGS.iter().flat_map(|setting| ["-c", setting]))
                    .spawn()
                    .unwrap(),
                port,
                directory,
            };
            if started.accepts().await {
                started.make_table().await;
                return started;
            }
            eprintln!("PostgreSQL did not start: {}", started.written());
        }
        panic!("PostgreSQL did not start in {TRIES} tries");
    }

    /// What is in the table.
    pub(crate) async fn notes(&self) -> Vec<String> {
        let mut connection = self.connect().await;
        let notes = sqlx::query_scalar("SELECT text FROM notes ORDER BY text COLLATE \"C\"")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        notes
    }

    /// Waits until the service has no connection, and ends. Gives its log.
    pub(crate) async fn log(mut self) -> Log {
        self.is_left().await;
        // Smart shutdown: whoever has ended is written down first, and nobody is thrown out.
        self.signal(Signal::TERM);
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            sleep(millis(10)).await;
        }
        Log(self.written())
    }

    async fn is_left(&self) {
        let mut connection = self.connect().await;
        let begun = Instant::now();
        loop {
            let query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
            let open: i64 = sqlx::query_scalar(query)
                .bind(SERVICE)
                .fetch_one(&mut connection)
                .await
                .unwrap();
            if open == 0 {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{open} connections are left");
            sleep(millis(10)).await;
        }
        connection.close().await.unwrap();
    }

    /// Waits until it accepts connections, or has ended.
    async fn accepts(&mut self) -> bool {
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if self.written().contains("ready to accept connections") {
                return true;
            }
            assert!(begun.elapsed() < PATIENCE, "{}", self.written());
            sleep(millis(10)).await;
        }
        false
    }

    async fn make_table(&self) {
        let mut connection = self.connect().await;
        sqlx::query("CREATE TABLE notes (text TEXT NOT NULL)")
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }

    async fn connect(&self) -> PgConnection {
        let options = options(self.port, "the test");
        PgConnection::connect_with(&options).await.unwrap()
    }

    fn written(&self) -> String {
        fs::read_to_string(self.directory.path("postgres")).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // Immediate shutdown: its other processes end with it.
        self.signal(Signal::QUIT);
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && begun.elapsed() < PATIENCE {
            thread::sleep(millis(10));
        }
        // Both fail when it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of this name.
pub(crate) fn options(port: u16, name: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username(OWNER)
        .database("postgres")
        .application_name(name)
}

/// What it wrote while it ran.
pub(crate) struct Log(String);

pub(crate) const EOF: &str = "unexpected EOF on client connection";
pub(crate) const EOF_IN_TRANSACTION: &str =
    "unexpected EOF on client connection with an open transaction";

impl Log {
    /// How many lines have `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.0.lines().filter(|line| line.contains(text)).count()
    }

    /// How many connections of the service ended, however they did.
    pub(crate) fn connections(&self) -> usize {
        self.count(&format!("{SERVICE}: LOG:  disconnection:"))
    }

    /// Whatever is no ordinary end of a connection or a transaction.
    pub(crate) fn complaints(&self) -> Vec<&str> {
        let bad = [
            "WARNING:  ",
            "ERROR:  ",
            "FATAL:  ",
            "PANIC:  ",
            EOF,
            "terminating",
            "aborted",
            "could not receive data from client",
            "could not send data to client",
            "onnection reset",
            "roken pipe",
        ];
        let bad = |line: &&str| bad.iter().any(|bad| line.contains(bad));
        self.0.lines().filter(bad).collect()
    }
}

/// An empty database.
fn make(programs: &Path, directory: &Scratch) {
    if let Some((user, group)) = unprivileged() {
        chown(directory.path(""), Some(user), Some(group)).unwrap();
    }
    let made = program(programs, "initdb", directory)
        .args(["--username", OWNER, "--auth", "trust", "--encoding", "UTF8"])
        .args(["--no-locale", "--no-sync"])
        .status();
    let said = fs::read_to_string(directory.path("initdb")).unwrap();
    assert!(made.is_ok_and(|status| status.success()), "{said}");
}

/// One of PostgreSQL's programs. What it has to say goes to a file of its name.
fn program(programs: &Path, name: &str, directory: &Scratch) -> Command {
    let mut command = Command::new(programs.join(name));
    if let Some((user, group)) = unprivileged() {
        command.uid(user).gid(group);
    }
    command
        .args(["-D", &directory.path("data")])
        .current_dir(directory.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(directory.path(name)).unwrap());
    command
}

/// The server refuses to run as root. For whoever is root, the user and group that it runs as instead.
fn unprivileged() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let numbers = |name: &str| {
        let line = users.lines().find(|line| line.starts_with(name))?;
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    let user = numbers("postgres:").or_else(|| numbers("nobody:"));
    Some(user.expect("there is a user nobody"))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
