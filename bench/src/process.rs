//! What the kernel knows of a process: CPU time, memory, children; and of the machine. Linux only.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// CPU time of all threads of a process since its start, user and system, to the nanosecond
/// (clock_getcpuclockid(3); /proc/PID/stat has the same in steps of 10 ms).
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls only write to the variable whose address they are given, which lives until they return.
    let failed = unsafe {
        libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) != 0 || libc::clock_gettime(clock, &mut time) != 0
    };
    if failed {
        bail!("process {pid} has no CPU clock: is it gone?");
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// CPU time of the children of this process that have ended and been waited for.
pub fn children_cpu_time() -> Result<Duration> {
    // SAFETY: all zeroes is a value of this structure, to which alone the call writes.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        if libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) != 0 {
            bail!("no CPU time of children: {}", std::io::Error::last_os_error());
        }
        usage
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, 1000 * time.tv_usec as u32);
    Ok(time(usage.ru_utime) + time(usage.ru_stime))
}

/// CPU time that all cores together spent on anything, the hypervisor's theft included, since the machine's start
/// (/proc/stat, in steps of 10 ms).
pub fn machine_cpu_time() -> Result<Duration> {
    let stat = read("/proc/stat")?;
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("no line `cpu` in /proc/stat")?;
    let ticks = line.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>().context("/proc/stat")?;
    // user nice system idle iowait irq softirq steal; what follows is part of user and nice.
    let busy = ticks.iter().take(8).sum::<u64>() - ticks[3] - ticks[4];
    Ok(Duration::from_millis(10 * busy))
}

/// A process's share of physical memory in bytes: its own pages, and of pages that it shares with others its part
/// (`Pss` of /proc/PID/smaps_rollup). The kernel's socket buffers are in no process's figure.
pub fn memory(pid: u32) -> Result<u64> {
    let rollup = read(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss in smaps_rollup")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("Pss of smaps_rollup")?;
    Ok(kib * 1024)
}

/// Bytes of memory that programs can still get (/proc/meminfo).
pub fn available_memory() -> Result<u64> {
    meminfo("MemAvailable:")
}

/// Bytes of the kernel's own objects, sockets and their files among them (/proc/meminfo).
pub fn kernel_memory() -> Result<u64> {
    meminfo("Slab:")
}

fn meminfo(name: &str) -> Result<u64> {
    let all = read("/proc/meminfo")?;
    let line = all.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name} in meminfo"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("{name} of meminfo"))?;
    Ok(kib * 1024)
}

/// The processes called `name` that `ancestor` started, at any depth.
pub fn descendants(ancestor: u32, name: &str) -> Result<Vec<u32>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // A process that has ended since is none of ours.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        // PID (NAME) STATE PARENT …; the name may hold blanks and parentheses.
        let (Some(open), Some(close)) = (stat.find('('), stat.rfind(')')) else { continue };
        let parent: u32 = stat[close + 1..].split_whitespace().nth(1).unwrap_or("0").parse()?;
        processes.push((pid, parent, stat[open + 1..close].to_owned()));
    }
    let mut family = vec![ancestor];
    let mut found = Vec::new();
    let mut next = 0;
    while next < family.len() {
        for (pid, parent, called) in &processes {
            if *parent == family[next] {
                family.push(*pid);
                if called == name {
                    found.push(*pid);
                }
            }
        }
        next += 1;
    }
    Ok(found)
}

/// Whether there is such a process. One that has ended counts until its parent has taken note.
pub fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Raises the limit of open files to the hard limit, for this process and those that it starts, and returns it.
pub fn raise_open_files() -> Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the calls read and write the variable whose address they are given, which lives until they return.
    let failed = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 || {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0
        }
    };
    if failed {
        return Err(std::io::Error::last_os_error()).context("raising the limit of open files");
    }
    Ok(limit.rlim_cur)
}

/// Where the figures were taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name, as it tells it.
    pub processor: String,
    /// How many cores the benchmark may use.
    pub cores: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution's name.
    pub system: String,
    /// Open files per process: the bound on connections.
    pub open_files: u64,
}

impl Machine {
    /// This machine.
    pub fn here(open_files: u64) -> Result<Self> {
        let field = |text: &str, key: &str, separator: char| {
            let value = text.lines().find(|line| line.starts_with(key)).and_then(|line| line.split_once(separator));
            value.map_or("unknown".to_owned(), |(_, value)| value.trim().trim_matches('"').to_owned())
        };
        let memory_kib = field(&read("/proc/meminfo")?, "MemTotal", ':');
        Ok(Self {
            processor: field(&read("/proc/cpuinfo")?, "model name", ':'),
            cores: std::thread::available_parallelism()?.get(),
            memory: memory_kib.trim_end_matches(" kB").parse::<u64>().context("MemTotal of meminfo")? * 1024,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            system: field(&read("/etc/os-release")?, "PRETTY_NAME", '='),
            open_files,
        })
    }
}

fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}
