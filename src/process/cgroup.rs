//! The CPU quota of the process, as `/proc` and the cgroup file systems show it (cgroups(7)). Linux alone has it; elsewhere nothing
//! is known.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How much processor time the threads of a process may use together in each period. When it is used up none of them runs before the
/// next period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuQuota {
    pub(crate) time: Duration,
    pub(crate) period: Duration,
}

impl CpuQuota {
    /// The strictest quota of this process's cgroups. `None` where there is none, and where it is at least the processors that the
    /// process may use.
    pub(crate) fn of_this_process() -> Option<Self> {
        let read = |path: &Path| fs::read_to_string(path).ok();
        let groups = read(Path::new("/proc/self/cgroup"))?;
        let mounts = read(Path::new("/proc/self/mountinfo"))?;
        let processors = read(Path::new("/proc/self/status"))
            .as_deref()
            .and_then(processors);
        let quota = strictest(&groups, &mounts, read)?;
        quota.holds_up(processors).then_some(quota)
    }

    /// How late the process may be at the end of its time when its own threads use the quota up.
    pub(crate) fn lateness(self) -> Duration {
        /// It hears the signal a period late, and its watchdog wakes a period late.
        const PERIODS: u32 = 2;
        /// What the watchdog's words and the end of all threads cost, with room for what spins beside them.
        const WORK: Duration = Duration::from_millis(30);
        let work = (WORK.as_nanos() * self.period.as_nanos()).checked_div(self.time.as_nanos());
        let work = work.and_then(|work| u64::try_from(work).ok());
        let work = work.map_or(Duration::MAX, Duration::from_nanos);
        self.period.saturating_mul(PERIODS).saturating_add(work)
    }

    /// Whether threads that never pause use it up.
    fn holds_up(self, processors: Option<u32>) -> bool {
        processors.is_none_or(|processors| self.time < self.period.saturating_mul(processors))
    }

    /// Whether it leaves less of a processor than `other`.
    fn is_stricter_than(self, other: Self) -> bool {
        self.time.as_nanos() * other.period.as_nanos()
            < other.time.as_nanos() * self.period.as_nanos()
    }

    fn from_micros(time: &str, period: &str) -> Option<Self> {
        let micros = |text: &str| text.trim().parse().ok().map(Duration::from_micros);
        // What is not limited is `max` or -1, neither of which is a number here.
        let (time, period) = (micros(time)?, micros(period)?);
        (!period.is_zero()).then_some(CpuQuota { time, period })
    }
}

/// As in `a CPU quota of 10 ms in each 100 ms`.
impl fmt::Display for CpuQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a CPU quota of {:?} in each {:?}",
            self.time, self.period
        )
    }
}

/// Of the process's cgroup and all above it, in both versions: what `/proc/self/cgroup` and `/proc/self/mountinfo` hold says where
/// to look.
fn strictest(
    groups: &str,
    mounts: &str,
    read: impl Fn(&Path) -> Option<String>,
) -> Option<CpuQuota> {
    let mounts = mounts.lines().filter_map(Mount::parse);
    let quotas = mounts.flat_map(|mount| {
        let group = mount.version.group(groups);
        let directories = group.map(|group| mount.directories(group));
        let quotas = directories.into_iter().flatten();
        let quotas = quotas.map(|directory| mount.version.quota(&directory, &read));
        quotas.flatten().collect::<Vec<_>>()
    });
    quotas.reduce(|strictest, quota| match quota.is_stricter_than(strictest) {
        true => quota,
        false => strictest,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Version {
    /// The process's group, out of `/proc/self/cgroup`: lines such as `4:cpu,cpuacct:/pod/shop`, in version 2 `0::/pod/shop`.
    fn group(self, groups: &str) -> Option<&str> {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?;
            let is_it = match self {
                Version::V1 => controllers.split(',').any(|name| name == "cpu"),
                Version::V2 => controllers.is_empty(),
            };
            is_it.then(|| fields.next())?
        })
    }

    fn quota(self, directory: &Path, read: impl Fn(&Path) -> Option<String>) -> Option<CpuQuota> {
        let read = |name| read(&directory.join(name));
        match self {
            Version::V1 => {
                CpuQuota::from_micros(&read("cpu.cfs_quota_us")?, &read("cpu.cfs_period_us")?)
            }
            Version::V2 => {
                let most = read("cpu.max")?;
                let (time, period) = most.trim().split_once(' ')?;
                CpuQuota::from_micros(time, period)
            }
        }
    }
}

/// Where a hierarchy of cgroups is seen.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    version: Version,
    /// The group that is seen at `point`.
    root: PathBuf,
    point: PathBuf,
}

impl Mount {
    /// A line of proc_pid_mountinfo(5), if it is of a hierarchy that has quotas.
    fn parse(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let mut file_system = file_system.split(' ');
        let (kind, options) = (file_system.next()?, file_system.nth(1).unwrap_or_default());
        let version = match kind {
            "cgroup2" => Version::V2,
            "cgroup" if options.split(',').any(|option| option == "cpu") => Version::V1,
            _ => return None,
        };
        Some(Mount {
            version,
            root: unescaped(root).into(),
            point: unescaped(point).into(),
        })
    }

    /// Those of `group` and of all groups above it that can be seen, the innermost first.
    fn directories(&self, group: &str) -> Vec<PathBuf> {
        // A group that lies elsewhere, as seen from another namespace, is taken for the one that is mounted.
        let below = Path::new(group).strip_prefix(&self.root);
        let below = below.unwrap_or(Path::new(""));
        let is_plain = |path: &Path| !path.components().any(|part| part.as_os_str() == "..");
        let below = Some(below).filter(|path| is_plain(path));
        let directories = below.unwrap_or(Path::new("")).ancestors();
        directories.map(|part| self.point.join(part)).collect()
    }
}

/// Without the escapes of proc_pid_mountinfo(5): `\040` is a space.
fn unescaped(path: &str) -> String {
    let escapes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    escapes.iter().fold(path.to_owned(), |path, (code, text)| {
        path.replace(code, text)
    })
}

/// How many processors the process may run on, out of its status: `Cpus_allowed_list: 0-3,8`.
fn processors(status: &str) -> Option<u32> {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim().split(',').try_fold(0_u32, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const V2: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                      34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime shared:9 - cgroup cgroup rw,cpuset\n";
    const V1_GROUPS: &str =
        "5:cpuset:/other\n4:cpu,cpuacct:/pods/shop\n1:name=systemd:/init.scope\n";

    fn quota(time: u64, period: u64) -> Option<CpuQuota> {
        Some(CpuQuota {
            time: Duration::from_micros(time),
            period: Duration::from_micros(period),
        })
    }

    fn found(groups: &str, mounts: &str, files: &[(&str, &str)]) -> Option<CpuQuota> {
        let files: HashMap<&Path, &str> = files
            .iter()
            .map(|(path, text)| (Path::new(*path), *text))
            .collect();
        strictest(groups, mounts, |path| {
            files.get(path).map(|text| (*text).to_owned())
        })
    }

    #[test]
    fn quota_of_version_2_is_read_where_the_group_is_mounted() {
        let files = [("/sys/fs/cgroup/pods/shop/cpu.max", "10000 100000\n")];
        assert_eq!(found("0::/pods/shop\n", V2, &files), quota(10_000, 100_000));

        // In a namespace of its own the group is the root.
        let files = [("/sys/fs/cgroup/cpu.max", "150000 100000\n")];
        assert_eq!(found("0::/\n", V2, &files), quota(150_000, 100_000));
    }

    #[test]
    fn quota_of_version_1_is_read_where_the_group_is_mounted() {
        let files = [
            (
                "/sys/fs/cgroup/cpu,cpuacct/pods/shop/cpu.cfs_quota_us",
                "5000\n",
            ),
            (
                "/sys/fs/cgroup/cpu,cpuacct/pods/shop/cpu.cfs_period_us",
                "50000\n",
            ),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(found(V1_GROUPS, V1, &files), quota(5_000, 50_000));
    }

    #[test]
    fn group_of_a_container_is_seen_at_the_mount_although_its_path_is_the_hosts() {
        let mounts = "40 39 0:29 /docker/ab12 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n";
        let files = [
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "20000"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
        ];
        for group in ["4:cpu:/docker/ab12", "4:cpu:/elsewhere", "4:cpu:/../.."] {
            assert_eq!(
                found(group, mounts, &files),
                quota(20_000, 100_000),
                "{group}"
            );
        }
    }

    #[test]
    fn smallest_quota_on_the_way_up_counts() {
        let files = [
            ("/sys/fs/cgroup/cpu.max", "max 100000"),
            ("/sys/fs/cgroup/pods/cpu.max", "20000 200000"),
            ("/sys/fs/cgroup/pods/shop/cpu.max", "15000 100000"),
            ("/sys/fs/cgroup/pods/shop/app/cpu.max", "max 100000"),
        ];
        assert_eq!(
            found("0::/pods/shop/app", V2, &files),
            quota(20_000, 200_000)
        );
    }

    #[test]
    fn stricter_version_counts_where_both_are_mounted() {
        let both = format!("{V1}{V2}");
        let groups = format!("{V1_GROUPS}0::/pods\n");
        let files = [
            ("/sys/fs/cgroup/pods/cpu.max", "90000 100000"),
            ("/sys/fs/cgroup/cpu,cpuacct/pods/cpu.cfs_quota_us", "30000"),
            (
                "/sys/fs/cgroup/cpu,cpuacct/pods/cpu.cfs_period_us",
                "100000",
            ),
        ];
        assert_eq!(found(&groups, &both, &files), quota(30_000, 100_000));
    }

    #[test]
    fn nothing_is_known_of_what_cannot_be_read() {
        let file = |text| [("/sys/fs/cgroup/cpu.max", text)];
        for text in [
            "max 100000",
            "",
            "10000",
            "10000 0",
            "x y",
            "-1 100000",
            "1 2 3",
        ] {
            assert_eq!(found("0::/", V2, &file(text)), None, "{text:?}");
        }
        for (groups, mounts) in [
            ("", V2),
            ("0::/", ""),
            ("0::/", V1),
            ("3:cpuset:/", V1),
            ("no colon", V2),
            ("0::/", "30 24 0:26 / /sys/fs/cgroup rw cgroup2"),
        ] {
            assert_eq!(
                found(groups, mounts, &file("1 100")),
                None,
                "{groups} {mounts}"
            );
        }
    }

    #[test]
    fn mount_point_with_a_space_is_found() {
        let mounts = "30 24 0:26 / /mnt/my\\040groups rw - cgroup2 cgroup2 rw\n";
        let files = [("/mnt/my groups/cpu.max", "1000 10000")];
        assert_eq!(found("0::/", mounts, &files), quota(1_000, 10_000));
    }

    #[test]
    fn processors_are_counted_in_ranges() {
        let status = |list: &str| format!("Name:\tshop\nCpus_allowed_list:\t{list}\n");

        assert_eq!(processors(&status("0-1")), Some(2));
        assert_eq!(processors(&status("0-3,8,10-11")), Some(7));
        for list in ["", "x", "3-1", "0-4294967295"] {
            assert_eq!(processors(&status(list)), None, "{list}");
        }
        assert_eq!(processors(""), None);
    }

    #[test]
    fn smaller_quota_makes_the_process_later() {
        let late = |time, period| quota(time, period).unwrap().lateness();

        assert_eq!(late(10_000, 100_000), Duration::from_millis(500));
        assert_eq!(late(5_000, 100_000), Duration::from_millis(800));
        assert_eq!(late(200_000, 100_000), Duration::from_millis(215));
        assert_eq!(late(1_000, 10_000), Duration::from_millis(320));
        assert_eq!(late(0, 100_000), Duration::MAX);
    }

    #[test]
    fn quota_of_all_processors_holds_nobody_up() {
        let tenth = quota(10_000, 100_000).unwrap();
        let two = quota(200_000, 100_000).unwrap();

        assert!(tenth.holds_up(Some(1)) && tenth.holds_up(None));
        assert!(two.holds_up(Some(4)) && !two.holds_up(Some(2)));
    }
}
