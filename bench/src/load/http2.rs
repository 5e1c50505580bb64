//! Requests over HTTP/2, by a client that is not ours: nghttp2's `h2load`, in a process of its own.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::meter::{Sample, Timing, cost};
use crate::server::Server;

/// Bytes of an answer's body, by which it is known.
const BODY: u64 = 100;

/// Keeps `streams` requests under way on each connection.
pub fn run(server: &Server, timing: Timing, connections: usize, streams: usize) -> Result<Sample> {
    h2load(server, timing.warm_up, connections, streams)?;
    let (since, before) = (Instant::now(), server.usage()?);
    let load = h2load(server, timing.measure, connections, streams)?;
    let (cpu, others) = cost(load.answers, since.elapsed(), before, server.usage()?);
    Ok(Sample {
        connections,
        messages: load.answers,
        rate: Some(load.rate),
        cpu: Some(cpu),
        others: Some(others),
        ..Sample::default()
    })
}

/// What it tells in the end.
struct Told {
    answers: u64,
    /// Per second, from the first connection on.
    rate: f64,
}

fn h2load(server: &Server, duration: Duration, connections: usize, streams: usize) -> Result<Told> {
    let endpoint = server.endpoint();
    let scheme = if endpoint.tls.is_some() { "https" } else { "http" };
    let output = Command::new("h2load")
        .args(["--clients", &connections.to_string(), "--max-concurrent-streams", &streams.to_string()])
        .args(["--duration", &format!("{}ms", duration.as_millis())])
        .arg(format!("{scheme}://{}/reply", endpoint.address))
        .output()
        .context("h2load cannot be run, so this row is left out (Debian has it in nghttp2-client)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "h2load ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    read(&text).with_context(|| format!("h2load says:\n{text}"))
}

/// Reads its summary. All answers must be what was asked for.
fn read(text: &str) -> Result<Told> {
    let line =
        |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).context(format!("no line `{start}…`"));
    let before = |line: &str, unit: &str| -> Result<u64> {
        let word = line.split_once(unit).and_then(|(words, _)| words.split([' ', '(']).next_back());
        word.and_then(|word| word.parse().ok()).with_context(|| format!("no number before `{unit}`"))
    };
    let (requests, statuses, traffic) = (line("requests: ")?, line("status codes: ")?, line("traffic: ")?);
    let answers = before(requests, " succeeded")?;
    ensure!(answers > 0, "nothing was answered");
    let lost = ["failed", "errored", "timeout"].map(|how| before(requests, &format!(" {how}")));
    for lost in lost {
        ensure!(lost? == 0, "requests were lost");
    }
    ensure!(before(statuses, " 2xx")? == answers, "not every answer is a 200");
    let (_, bodies) = traffic.rsplit_once(", ").context("no bodies")?;
    ensure!(before(bodies, ") data")? == answers * BODY, "bodies of other lengths came");
    let finished = line("finished in ")?;
    let rate = finished.split(", ").find_map(|part| part.strip_suffix(" req/s")?.parse().ok());
    Ok(Told { answers, rate: rate.context("no rate")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "
finished in 1.50s, 16392.00 req/s, 1.92MB/s
requests: 24588 total, 24688 started, 24588 done, 24588 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 24588 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 2.88MB (3025134) total, 120.67KB (123570) headers (space savings 94.65%), 2.34MB (2458800) data
";

    #[test]
    fn a_summary_is_read_where_all_went_well() {
        let Told { answers, rate } = read(TOLD).expect("a summary");
        assert_eq!((answers, rate), (24588, 16392.0));
        for (well, badly) in [
            ("0 failed", "1 failed"),
            ("0 errored", "12 errored"),
            ("0 timeout", "1 timeout"),
            ("24588 2xx", "24587 2xx"),
            ("(2458800) data", "(2458799) data"),
            ("24588 succeeded", "0 succeeded"),
            ("16392.00 req/s", "many req/s"),
            ("traffic:", "cargo:"),
        ] {
            assert!(read(&TOLD.replace(well, badly)).is_err(), "{badly}");
        }
    }
}
