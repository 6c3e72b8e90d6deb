//! What the machine grants this process: CPUs (affinity mask, cgroup quota) and memory (RAM, swap, cgroup limit).
//!
//! Read from the system's own files below a root folder, so that tests can lay out a machine of their own.

use once_cell::race::OnceBox;
use std::fs;
use std::path::{Path, PathBuf};

/// CPUs in the affinity mask of the calling thread; what the standard library finds where there is no such mask.
pub(crate) fn affinity() -> usize {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        // SAFETY: an all-zero cpu_set_t is an empty set.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is a valid place of the size given.
        let ok = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } == 0;
        if ok {
            // SAFETY: `set` was filled by the call above.
            return (unsafe { libc::CPU_COUNT(&set) }.max(1)) as usize;
        }
    }
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// CPUs' worth of time that the control groups (v1 or v2, the nearest limit of all ancestors) grant, if limited.
pub(crate) fn cpu_quota(root: &Path) -> Option<f64> {
    let v2 = |dir: &Path| -> Option<f64> {
        let text = fs::read_to_string(dir.join("cpu.max")).ok()?;
        let mut words = text.split_whitespace();
        let quota: f64 = words.next()?.parse().ok()?;
        let period: f64 = words.next()?.parse().ok()?;
        (quota > 0.0 && period > 0.0).then(|| quota / period)
    };
    let v1 = |dir: &Path| -> Option<f64> {
        let number = |name| fs::read_to_string(dir.join(name)).ok()?.trim().parse::<f64>().ok();
        let (quota, period) = (number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?);
        (quota > 0.0 && period > 0.0).then(|| quota / period)
    };
    least(root, "cpu", &v2, &v1)
}

/// Bytes that the control groups let this process use, if limited.
pub(crate) fn memory_limit(root: &Path) -> Option<u64> {
    let number = |file: PathBuf| fs::read_to_string(file).ok()?.trim().parse::<f64>().ok();
    // v1 writes "no limit" as a number near 2^63.
    let real = |x: &f64| *x > 0.0 && *x < 9e18;
    let v2 = |dir: &Path| number(dir.join("memory.max")).filter(real);
    let v1 = |dir: &Path| number(dir.join("memory.limit_in_bytes")).filter(real);
    least(root, "memory", &v2, &v1).map(|x| x as u64)
}

/// (RAM, swap) in bytes; `None` where the system does not say.
pub(crate) fn physical_memory(root: &Path) -> Option<(u64, u64)> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    Some((field(&text, "MemTotal:")?, field(&text, "SwapTotal:").unwrap_or(0)))
}

/// (RAM or the control groups' limit, whichever is less; swap) in bytes, read once; `unknown` stands for a RAM of which
/// the system says nothing.
pub(crate) fn usable_memory(unknown: u64) -> (u64, u64) {
    type Read = (Option<(u64, u64)>, Option<u64>);
    // Files take long to read, and a child of a fork meanwhile must not wait for who reads them: who comes first wins.
    static READ: OnceBox<Read> = OnceBox::new();
    let (physical, limit) = *READ.get_or_init(|| {
        let root = Path::new("/");
        Box::new((physical_memory(root), memory_limit(root)))
    });
    let (ram, swap) = physical.unwrap_or((unknown, 0));
    (limit.map_or(ram, |limit| limit.min(ram)), swap)
}

/// Bytes that could be had now without pushing others out, swap included.
pub(crate) fn available_memory(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    field(&text, "MemAvailable:")?.checked_add(field(&text, "SwapFree:").unwrap_or(0))
}

fn field(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find(|l| l.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The smallest limit among the process's group and its ancestors, in the hierarchies of both versions.
fn least(
    root: &Path,
    controller: &str,
    v2: &dyn Fn(&Path) -> Option<f64>,
    v1: &dyn Fn(&Path) -> Option<f64>,
) -> Option<f64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    let mut best: Option<f64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let unified = controllers.is_empty();
        if !unified && !controllers.split(',').any(|c| c == controller) {
            continue;
        }
        let Some((inside, mount)) = mount_of(&mounts, if unified { None } else { Some(controller) }) else { continue };
        // In a container the mount shows the group's own folder as the hierarchy's root.
        let below = path.strip_prefix(inside.as_str()).unwrap_or(path).trim_start_matches('/');
        let top = root.join(mount.trim_start_matches('/'));
        let mut dir = top.join(below);
        loop {
            let found = if unified { v2(&dir) } else { v1(&dir) };
            best = match (best, found) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            if dir == top || !dir.pop() {
                break;
            }
        }
    }
    best
}

/// (folder of the hierarchy shown, mount point) of the cgroup file system wanted: v2, or v1 with a controller.
fn mount_of(mounts: &str, controller: Option<&str>) -> Option<(String, String)> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (inside, point) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1).unwrap_or(""));
        let fits = match controller {
            None => kind == "cgroup2",
            Some(c) => kind == "cgroup" && options.split(',').any(|o| o == c),
        };
        fits.then(|| (inside.trim_end_matches('/').to_string(), point.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("rustnn-machine-{}-{name}", std::process::id()));
        for (path, text) in files {
            let file = root.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        root
    }

    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";

    #[test]
    #[cfg_attr(miri, ignore)]
    fn version_two_takes_the_least_of_all_ancestors() {
        let root = machine(
            "v2",
            &[
                ("proc/self/cgroup", "0::/a/b\n"),
                ("proc/self/mountinfo", V2),
                ("sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
                ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
                ("sys/fs/cgroup/a/b/memory.max", "1048576\n"),
                ("sys/fs/cgroup/a/memory.max", "max\n"),
            ],
        );
        assert_eq!(cpu_quota(&root), Some(1.5));
        assert_eq!(memory_limit(&root), Some(1 << 20));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn version_one_inside_a_container() {
        let root = machine(
            "v1",
            &[
                ("proc/self/cgroup", "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n"),
                (
                    "proc/self/mountinfo",
                    "31 30 0:27 /docker/x /cg/cpu ro - cgroup cgroup rw,cpu,cpuacct\n\
                     32 30 0:28 /docker/x /cg/memory ro - cgroup cgroup rw,memory\n",
                ),
                ("cg/cpu/cpu.cfs_quota_us", "50000\n"),
                ("cg/cpu/cpu.cfs_period_us", "100000\n"),
                ("cg/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ],
        );
        assert_eq!(cpu_quota(&root), Some(0.5));
        assert_eq!(memory_limit(&root), None);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn nothing_there_is_no_limit() {
        let root = Path::new("/nonexistent");
        assert_eq!((cpu_quota(root), memory_limit(root), physical_memory(root)), (None, None, None));
        assert!(affinity() >= 1);
    }
}
