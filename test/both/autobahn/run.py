#!/usr/bin/env python3
"""Runs Autobahn|Testsuite, the conformance suite for WebSocket, against an echo server that compresses.

usage: run.py vm|tls|engine|cowboy quick|full

`vm` is an Outrider listener, `tls` is one with TLS, which the suite reaches by a tunnel, `engine` is `outrider echo` without a VM, `cowboy` is the original, to hold this runner
against something known. `full` is all 517 cases (20 to 30 minutes), `quick` is 306 of them (about a minute): all but most of
the long ones, which repeat one message 1,000 times. Succeeds only if each case that was asked for has a result, and each
result is OK, in the exchange and in the closing; three cases have no wrong answer and count as INFORMATIONAL. The suite
is installed in _build/autobahn/venv and needs Python 2.7, which is taken from Debian 11's packages where there is none; its
report is left in _build/autobahn/.

wstest itself exits with 0 whatever happens, and a pattern of cases that matches nothing makes it hang; therefore all
cases are named one by one and the results are counted here.
"""

import asyncio
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent.resolve()
ROOT = HERE.parent.parent.parent
BUILD = ROOT / "_build" / "autobahn"
REQUIREMENTS = HERE / "requirements.txt"
DEBIANS = ROOT / "_build" / "python2.7"
ECHO_SERVER = HERE.parent / "clients" / "echo_server"
CERTIFICATE = ROOT / "test" / "vectors" / "tls" / "server.crt"

CASES = {"quick": 306, "full": 517}
NO_WRONG_ANSWER = {"7.1.6", "7.13.1", "7.13.2"}
TIME_LIMIT = {"quick": 600, "full": 3600}  # seconds


def fail(message):
    sys.exit(f"autobahn: {message}")


def python27():
    """A Python 2.7 that runs: on the PATH, or one of pyenv's, or that of Debian 11."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for candidate in ["python2.7", *sorted(pyenv.glob("versions/2.7*/bin/python2.7"))]:
        try:
            subprocess.run([candidate, "-c", ""], check=True, capture_output=True)
            return candidate
        except (OSError, subprocess.CalledProcessError):
            pass
    if not shutil.which("apt-get"):
        fail("the suite needs Python 2.7, and there is none on the PATH or in pyenv (`pyenv install 2.7.18`)")
    subprocess.run([ROOT / "scripts" / "python2.7-from-debian.sh", DEBIANS], check=True)
    return DEBIANS / "usr" / "bin" / "python2.7"


def environment():
    """For Debian's Python 2.7, which does not lie where it looks for its libraries and headers."""
    if not DEBIANS.exists():
        return os.environ
    headers = DEBIANS / "usr" / "include"
    return {**os.environ, "LD_LIBRARY_PATH": str(DEBIANS / "lib"), "C_INCLUDE_PATH": f"{headers / 'python2.7'}:{headers}"}


def install():
    """Makes the suite's environment, unless it is there in this version."""
    venv = BUILD / "venv"
    stamp = venv / "requirements.txt"
    if stamp.exists() and stamp.read_bytes() == REQUIREMENTS.read_bytes():
        return
    python = python27()
    print("autobahn: installing the suite", file=sys.stderr)
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    maker = BUILD / "virtualenv"
    pip = ["--quiet", "--disable-pip-version-check"]
    for command in [
        [sys.executable, "-m", "venv", maker],
        # The last virtualenv that makes environments for Python 2.7.
        [maker / "bin" / "pip", "install", *pip, "virtualenv==20.21.1"],
        [maker / "bin" / "virtualenv", "--quiet", "--python", python, venv],
        [venv / "bin" / "pip", "install", *pip, "--no-python-version-warning", "--no-deps", "-r", REQUIREMENTS],
    ]:
        subprocess.run(command, check=True, env=environment())
    shutil.copy(REQUIREMENTS, stamp)


def all_cases():
    """The ids of all cases, in the suite's order."""
    code = "from autobahntestsuite import case; print(' '.join(c.__name__[4:].replace('_', '.') for c in case.Cases))"
    python = BUILD / "venv" / "bin" / "python"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, env=environment()).stdout.split()


def chosen(ids, which):
    """The cases of a set; says so if the suite is not the one that this runner knows."""
    if which == "quick":
        ids = [id for id in ids if is_quick(tuple(int(part) for part in id.split(".")))]
    if len(ids) != CASES[which]:
        fail(f"the suite has {len(ids)} cases for `{which}`, {CASES[which]} were expected")
    return ids


def is_quick(id):
    group, part, case = (*id, 0)[:3]
    if group == 9:
        return part in (1, 2, 7, 8) or case in (1, 6)
    if group == 12:
        return (part <= 5 and case in (1, 4)) or id in ((12, 2, 11), (12, 5, 6))
    if group == 13:
        return case in (1, 4) or id == (13, 5, 11)
    return True


@contextmanager
def server(kind):
    """The echo server, which prints its port first; gives its process and the port."""
    limit = "infinity"  # Group 9 sends messages of up to 16 MiB.
    if kind == "engine":
        flags = ["--compress", "--max-frame-size", limit, "--listen", "127.0.0.1:0"]
        command, first_line = [ROOT / "priv" / "bin" / "outrider", "echo", *flags], r"listening on 127\.0\.0\.1:(\d+)"
    else:
        module = "cowboy" if kind == "cowboy" else "outrider"
        tls = [f'certfile="{CERTIFICATE}"', f'keyfile="{CERTIFICATE.with_suffix(".key")}"'] if kind == "tls" else []
        command, first_line = [ECHO_SERVER, module, "compress=true", f"max_frame_size={limit}", *tls], r"port (\d+)"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, text=True, **pipes)
    try:
        line = process.stdout.readline()
        if not (port := re.match(first_line, line)):
            fail(f"the server did not start: {line}{process.stdout.read()}")
        threading.Thread(target=shutil.copyfileobj, args=(process.stdout, sys.stderr), daemon=True).start()
        yield process, tunnel(int(port[1])) if kind == "tls" else int(port[1])
    finally:
        process.terminate() if kind == "engine" else process.stdin.close()
        process.wait()


def tunnel(target):
    """Gives a port whose connections reach the target with TLS on them: Python 2.7 has none that is of today."""
    context = ssl.create_default_context(cafile=CERTIFICATE)
    loop = asyncio.new_event_loop()

    async def carry(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        # Of TLS, whose directions asyncio cannot end one by one, this ends both; a WebSocket's server is the first to end.
        writer.close()

    async def connect(reader, writer):
        outside = await asyncio.open_connection("localhost", target, ssl=context)
        await asyncio.gather(carry(reader, outside[1]), carry(outside[0], writer), return_exceptions=True)

    server = loop.run_until_complete(asyncio.start_server(connect, "127.0.0.1", 0))
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return server.sockets[0].getsockname()[1]


def run(kind, which):
    """Runs the cases; gives their ids, the results by id and whether the server lived to the end."""
    ids = chosen(all_cases(), which)
    out = BUILD / f"{kind}-{which}"
    shutil.rmtree(out, ignore_errors=True)
    spec = BUILD / f"{kind}-{which}.json"
    with server(kind) as (process, port):
        spec.write_text(json.dumps({
            "outdir": str(out),
            "servers": [{"agent": kind, "url": f"ws://127.0.0.1:{port}"}],
            "cases": ids,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }))
        with open(BUILD / f"{kind}-{which}.log", "w") as log:
            wstest = [BUILD / "venv" / "bin" / "wstest", "-m", "fuzzingclient", "-s", spec]
            try:
                subprocess.run(wstest, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=BUILD, timeout=TIME_LIMIT[which],
                               env=environment())
            except subprocess.TimeoutExpired:
                fail(f"not done after {TIME_LIMIT[which]} seconds; see {log.name}")
        alive = process.poll() is None
    index = out / "index.json"
    results = json.loads(index.read_text()).get(kind, {}) if index.exists() else {}
    return ids, results, alive


def verdict(id, result):
    """None if the case passed, otherwise what is wrong."""
    if result is None:
        return "no result"
    allowed = {"OK", "INFORMATIONAL"} if id in NO_WRONG_ANSWER else {"OK"}
    answers = (result["behavior"], result["behaviorClose"])
    return None if allowed.issuperset(answers) else "{} and, in the closing, {}".format(*answers)


def main(kind, which):
    install()
    ids, results, alive = run(kind, which)
    wrong = {id: problem for id in ids if (problem := verdict(id, results.get(id)))}
    for id, problem in wrong.items():
        print(f"autobahn: case {id}: {problem}")
    print(f"autobahn {kind}: {len(ids) - len(wrong)} of {len(ids)} cases passed; report: {BUILD.relative_to(ROOT)}/{kind}-{which}/index.html")
    if not alive:
        fail("the server did not live to the end")
    if wrong or set(results) != set(ids):
        fail("not every case passed")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("vm", "tls", "engine", "cowboy") or sys.argv[2] not in CASES:
        print("usage: run.py vm|tls|engine|cowboy quick|full", file=sys.stderr)
        sys.exit(2)
    main(*sys.argv[1:])
