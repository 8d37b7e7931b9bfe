//! How much memory a device has. Software adapters compute in this machine's memory: what it has available, less where
//! a control group (a container, a batch job) allows less.

use std::fs;
use std::path::Path;

/// A device's memory.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceMemory {
    /// What a program may hope to get, in bytes.
    pub available: u64,
    /// Who says so.
    pub source: &'static str,
}

/// This machine's memory, as far as this process may use it.
pub(crate) fn host_memory() -> Option<DeviceMemory> {
    let available = available(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let allowed = group_directories(&groups)
        .filter_map(|directory| allowance(|file| fs::read_to_string(Path::new(&directory).join(file)).ok()))
        .min();
    Some(match allowed {
        Some(allowed) if allowed < available => {
            DeviceMemory { available: allowed, source: "the control group's limit" }
        }
        _ => DeviceMemory { available, source: "this machine's available memory" },
    })
}

/// MemAvailable of /proc/meminfo.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// The directories that may limit this process, by /proc/self/cgroup: its group's and those above it, in version 2 and
/// 1.
fn group_directories(groups: &str) -> impl Iterator<Item = String> {
    let roots = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
        match controllers {
            "" => Some(("/sys/fs/cgroup", group)),
            _ if controllers.split(',').any(|name| name == "memory") => Some(("/sys/fs/cgroup/memory", group)),
            _ => None,
        }
    });
    let above = |(root, group): (&str, &str)| -> Vec<String> {
        Path::new(group).ancestors().map(|group| format!("{root}{}", group.to_string_lossy())).collect()
    };
    roots.flat_map(above).collect::<Vec<_>>().into_iter()
}

/// What a group's limit leaves, by its files' texts. Files that are only cached can be given up.
fn allowance(read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
    let (limit, used) = match number("memory.max") {
        Some(limit) => (limit, number("memory.current")?),
        None => (number("memory.limit_in_bytes")?, number("memory.usage_in_bytes")?),
    };
    let cached = read("memory.stat").and_then(|stat| {
        let line = |name| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        line("inactive_file ").or_else(|| line("total_inactive_file "))
    });
    Some(limit.saturating_sub(used.saturating_sub(cached.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn meminfo_tells_what_is_available() {
        let meminfo = "MemTotal:       24581236 kB\nMemFree:          123 kB\nMemAvailable:   20000000 kB\n";
        assert_eq!(available(meminfo), Some(20_000_000 * 1024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert_eq!(available("MemAvailable: many kB\n"), None);
    }

    #[test]
    fn a_group_is_limited_by_all_above_it() {
        let directories = |groups| group_directories(groups).collect::<Vec<_>>();
        assert_eq!(
            directories("0::/user.slice/job\n"),
            ["/sys/fs/cgroup/user.slice/job", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup/"]
        );
        assert_eq!(
            directories("5:cpu,cpuacct:/a\n4:memory:/b\n"),
            ["/sys/fs/cgroup/memory/b", "/sys/fs/cgroup/memory/"]
        );
        assert_eq!(directories("nonsense"), [] as [&str; 0]);
    }

    #[test]
    fn a_limit_leaves_what_is_not_used() {
        let left = |files: &[(&str, &str)]| {
            let files: HashMap<_, _> = files.iter().copied().collect();
            allowance(|file| files.get(file).map(|text| (*text).to_owned()))
        };
        assert_eq!(left(&[("memory.max", "1000\n"), ("memory.current", "300\n")]), Some(700));
        let stat = ("memory.stat", "anon 5\ninactive_file 200\n");
        assert_eq!(left(&[("memory.max", "1000\n"), ("memory.current", "300\n"), stat]), Some(900));
        assert_eq!(left(&[("memory.max", "max\n"), ("memory.current", "300\n")]), None);
        assert_eq!(left(&[("memory.limit_in_bytes", "1000"), ("memory.usage_in_bytes", "2000")]), Some(0));
        assert_eq!(left(&[]), None);
    }
}
