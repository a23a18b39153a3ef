//! Running an example, or a scenario of a test file, as a process of its own, with real signals.

// Each test file is a crate of its own, and uses a part of this.
#![allow(dead_code, unreachable_pub, missing_debug_implementations)]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Once};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Which scenario a test file should play, when it is run again as a process of its own.
pub const SCENARIO: &str = "LAMEDUCK_TEST_SCENARIO";

/// Longer than any of them may take to leave.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is running. Killed when it is dropped.
pub struct Process {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    stderr: Option<JoinHandle<()>>,
    unread: Option<std::process::ChildStderr>,
    so_far: Arc<Mutex<String>>,
    /// Whether `child` is only the parent of what is meant.
    nested: bool,
}

/// How it ended.
pub struct Ended {
    pub status: ExitStatus,
    /// What it printed after the lines that were read.
    pub stdout: String,
    pub stderr: String,
    /// From the call to `wait`.
    pub took: Duration,
}

impl Process {
    /// Runs an example.
    pub fn example(name: &str, args: &[&str], env: &[(&str, &str)]) -> Process {
        let mut command = Command::new(built(name));
        command.args(args);
        Process::start(command, env)
    }

    /// Runs an example that may have no more than this number of files open.
    pub fn example_with_files(
        name: &str,
        args: &[&str],
        env: &[(&str, &str)],
        files: u32,
    ) -> Process {
        let mut command = Command::new("sh");
        let limited = format!(r#"ulimit -n {files}; exec "$0" "$@""#);
        command.args(["-c", &limited]).arg(built(name)).args(args);
        Process::start(command, env)
    }

    /// Runs this test file again, with nothing but the test `scenario` in it, which looks at [`SCENARIO`].
    pub fn scenario(test: &str, scenario: &str, env: &[(&str, &str)]) -> Process {
        Process::start(again(test, scenario), env)
    }

    /// Like [`scenario`](Process::scenario), with its signals as an option of `env` sets them (`--block-signal=TERM`). `None` where
    /// `env` has no such option.
    pub fn scenario_with_signals(test: &str, scenario: &str, options: &[&str]) -> Option<Process> {
        let mut tried = Command::new("env");
        tried.args(options).arg("true").stderr(Stdio::null());
        if !tried.status().is_ok_and(|status| status.success()) {
            return None;
        }
        let again = again(test, scenario);
        let mut command = Command::new("env");
        command.args(options).arg(again.get_program());
        command.args(again.get_args()).env(SCENARIO, scenario);
        Some(Process::start(command, &[]))
    }

    /// Like [`scenario`](Process::scenario), in the cgroup that has this `cgroup.procs`.
    pub fn scenario_in_a_group(test: &str, scenario: &str, members: &Path) -> Process {
        let again = again(test, scenario);
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ >"$0" && exec "$@""#]);
        command.arg(members).arg(again.get_program());
        command.args(again.get_args()).env(SCENARIO, scenario);
        Process::start(command, &[])
    }

    /// Like [`scenario`](Process::scenario), with a listener as standard input.
    #[cfg(unix)]
    pub fn scenario_with_listener(
        test: &str,
        scenario: &str,
        env: &[(&str, &str)],
        listener: std::os::fd::OwnedFd,
    ) -> Process {
        Process::collect(Process::spawn_with(
            again(test, scenario),
            env,
            listener.into(),
            Stdio::piped(),
        ))
    }

    /// The same, with the listener where a service manager puts it (sd_listen_fds(3)).
    #[cfg(unix)]
    pub fn scenario_with_passed_listener(
        test: &str,
        scenario: &str,
        env: &[(&str, &str)],
        listener: std::os::fd::OwnedFd,
    ) -> Process {
        let again = again(test, scenario);
        let mut command = Command::new("sh");
        let pass =
            r#"exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ WATCHDOG_PID=$$ exec "$0" "$@""#;
        command.args(["-c", pass]).arg(again.get_program());
        command.args(again.get_args()).env(SCENARIO, scenario);
        Process::collect(Process::spawn_with(
            command,
            env,
            listener.into(),
            Stdio::piped(),
        ))
    }

    /// Like [`scenario`](Process::scenario), with a pipe as standard error that nobody reads.
    pub fn scenario_with_unread_errors(
        test: &str,
        scenario: &str,
        env: &[(&str, &str)],
    ) -> Process {
        let mut process = Process::spawn(again(test, scenario), env);
        process.unread = process.child.stderr.take();
        process
    }

    /// Like [`scenario`](Process::scenario), with a terminal as standard error.
    #[cfg(target_os = "linux")]
    pub fn scenario_at_a_terminal(test: &str, scenario: &str) -> Process {
        Process::at_a_terminal(again(test, scenario))
    }

    /// Like [`scenario`](Process::scenario), as PID 1 of a PID namespace. `None` where none can be made.
    pub fn scenario_as_init(test: &str, scenario: &str) -> Option<Process> {
        let mut process = Process::start(as_init(again(test, scenario))?, &[]);
        process.nested = true;
        Some(process)
    }

    /// Both.
    #[cfg(target_os = "linux")]
    pub fn scenario_as_init_at_a_terminal(test: &str, scenario: &str) -> Option<Process> {
        let mut process = Process::at_a_terminal(as_init(again(test, scenario))?);
        process.nested = true;
        Some(process)
    }

    #[cfg(target_os = "linux")]
    fn at_a_terminal(command: Command) -> Process {
        use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).expect("there is room for a terminal");
        unlockpt(&ours).expect("it is a terminal");
        let its = ioctl_tiocgptpeer(&ours, flags).expect("it is unlocked");
        let mut process = Process::spawn_with(command, &[], Stdio::null(), its.into());
        process.read_errors(std::fs::File::from(ours));
        process
    }

    fn start(command: Command, env: &[(&str, &str)]) -> Process {
        Process::collect(Process::spawn(command, env))
    }

    /// Reads what it logs.
    fn collect(mut process: Process) -> Process {
        let errors = process.child.stderr.take().expect("it is piped");
        process.read_errors(errors);
        process
    }

    fn read_errors(&mut self, errors: impl Read + Send + 'static) {
        let so_far = Arc::clone(&self.so_far);
        self.stderr = Some(thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let mut so_far = so_far.lock().expect("nobody panics with it");
                so_far.push_str(&line);
                so_far.push('\n');
            }
        }));
    }

    fn spawn(command: Command, env: &[(&str, &str)]) -> Process {
        Process::spawn_with(command, env, Stdio::null(), Stdio::piped())
    }

    fn spawn_with(
        mut command: Command,
        env: &[(&str, &str)],
        stdin: Stdio,
        stderr: Stdio,
    ) -> Process {
        for variable in [
            "TERMINATION_GRACE_PERIOD_SECONDS",
            "PRE_STOP_SECONDS",
            "LAME_DUCK_SECONDS",
            "KUBERNETES_SERVICE_HOST",
            "RUST_LOG",
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "WATCHDOG_USEC",
            "WATCHDOG_PID",
        ] {
            command.env_remove(variable);
        }
        let mut child = command
            .envs(env.iter().copied())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        Process {
            child,
            stdout,
            stderr: None,
            unread: None,
            so_far: Arc::default(),
            nested: false,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it prints text");
        assert!(!line.is_empty(), "it ended early: {}", self.errors());
        line.trim_end().to_owned()
    }

    /// What it has logged so far.
    pub fn errors(&self) -> String {
        self.so_far.lock().expect("nobody panics with it").clone()
    }

    /// Waits until it has logged `text`.
    pub fn wait_for_log(&self, text: &str) {
        let started = Instant::now();
        while !self.errors().contains(text) {
            assert!(
                started.elapsed() < PATIENCE,
                "no {text:?} in: {}",
                self.errors()
            );
            thread::yield_now();
        }
    }

    /// The next line that it prints and that begins with `start`.
    pub fn line_with(&mut self, start: &str) -> String {
        loop {
            let line = self.line();
            // The test harness prints the name of its test on the same line.
            if let Some(at) = line.find(start) {
                return line[at..].to_owned();
            }
        }
    }

    pub fn signal(&self, name: &str) {
        let mut id = self.id().to_string();
        if self.nested {
            let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
            id = children.expect("it is running").trim().to_owned();
        }
        let status = Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status()
            .expect("kill is there");
        assert!(status.success(), "it is still running");
    }

    pub fn wait(mut self) -> Ended {
        let started = Instant::now();
        let mut stdout = String::new();
        self.stdout
            .read_to_string(&mut stdout)
            .expect("it prints text");
        let closed = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            assert!(closed.elapsed() < PATIENCE, "it does not end");
            thread::yield_now();
        };
        if let Some(stderr) = self.stderr.take() {
            stderr.join().expect("it does not panic");
        }
        Ended {
            status,
            stdout,
            stderr: self.errors(),
            took: started.elapsed(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail when it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn again(test: &str, scenario: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(SCENARIO, scenario);
    command
}

/// The same program as PID 1 of a PID namespace. `None` where none can be made.
fn as_init(program: Command) -> Option<Command> {
    let unshare = |rights: &[&str], program: &Command| {
        let mut command = Command::new("unshare");
        command
            .args(rights)
            .args(["--pid", "--fork", "--kill-child"]);
        command.arg(program.get_program()).args(program.get_args());
        command
    };
    let works = |rights: &&[&str]| {
        let tried = unshare(rights, &Command::new("true"))
            .stderr(Stdio::null())
            .status();
        tried.is_ok_and(|status| status.success())
    };
    let rights: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];
    let rights = rights.into_iter().find(works)?;
    let mut command = unshare(rights, &program);
    let set = program.get_envs();
    command.envs(set.filter_map(|(name, value)| Some((name, value?))));
    Some(command)
}

/// The path of an example, which is built if it is not there: `cargo test --test x` does not do it.
fn built(name: &str) -> PathBuf {
    static BUILD: Once = Once::new();
    BUILD.call_once(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--all-features", "--examples", "--quiet"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let status = build
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo is there");
        assert!(status.success(), "the examples build");
    });
    let mut path = std::env::current_exe().expect("a test has a path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.join("examples").join(name)
}

/// A directory of its own, removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("lameduck-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("there is room for a directory");
        Scratch(directory)
    }

    pub fn path(&self, file: &str) -> String {
        self.0.join(file).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
