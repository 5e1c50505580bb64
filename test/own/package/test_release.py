"""A release of examples/chat, from what a Hex package holds and a packaged sidecar, without Cargo: built, put into a root that
has nothing but what Erlang's runtime is linked with and the tools of the start script, started as a daemon, looked at by its start
script, upgraded by a second release while a client is connected, and stopped.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

import pytest
from conftest import ROOT, copy_tree, tracked
from test_hex import FILES

# What relx' start script calls, beside the shell.
TOOLS = "sh sed readlink dirname basename cat cut head tail od dd awk sort grep tr expr id ls mkdir rm ps printf sleep hostname".split()

# Says each line of stdin in a room, and prints what comes back.
CLIENT = """
import sys
from websockets.sync.client import connect
with connect("ws://127.0.0.1:8080/rooms/test?name=me", open_timeout=30) as client:
    print(client.recv(timeout=30), flush=True)
    for line in sys.stdin:
        client.send("say\\t" + line.rstrip())
        print(client.recv(timeout=30), flush=True)
"""


def rebar3(project, package, *arguments):
    """rebar3 as on a machine that has no Cargo, and no way to anything but the package."""
    folders = [folder for folder in os.environ["PATH"].split(":") if not os.path.exists(f"{folder}/cargo")]
    environment = os.environ | {
        "PATH": ":".join(folders),
        "OUTRIDER_PREBUILT": str(package.archive.parent),
        "OUTRIDER_PREBUILT_SHA256": package.sha256,
    }
    subprocess.run(["rebar3", "as", "prod", *arguments], cwd=project, env=environment, check=True)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def releases(package, tmp_path_factory):
    """The archives of two releases: 0.1.0 as the example is, and 0.2.0, to which a node of 0.1.0 can be upgraded."""
    project = tmp_path_factory.mktemp("release") / "chat"
    (project / "_checkouts/outrider").mkdir(parents=True)
    copy_tree(project / "_checkouts/outrider", tracked(*FILES))
    copy_tree(project.parent, tracked("examples/chat"))
    shutil.copytree(project.parent / "examples/chat", project, dirs_exist_ok=True)
    built = project / "_build/prod/rel/chat"

    rebar3(project, package, "tar")
    first = shutil.copy(built / "chat-0.1.0.tar.gz", project.parent)

    edit(project / "rebar.config", '{chat, "0.1.0"}', '{chat, "0.2.0"}')
    edit(project / "src/chat.app.src", '{vsn, "0.1.0"}', '{vsn, "0.2.0"}')
    edit(project / "src/chat_handler.erl", '["said", Name, Text]', '["said", Name, Text, "anew"]')
    rebar3(project, package, "compile")
    change = '{"0.1.0", [{load_module, chat_handler}]}'
    (project / "_build/prod/lib/chat/ebin/chat.appup").write_text(f'{{"0.2.0", [{change}], [{change}]}}.\n')
    rebar3(project, package, "release")
    rebar3(project, package, "relup", "--relname", "chat", "--relvsn", "0.2.0", "--upfrom", "0.1.0")
    rebar3(project, package, "tar")
    return first, built / "chat-0.2.0.tar.gz"


def shared_libraries(*files):
    """The files that these are linked with, and theirs."""
    said = subprocess.run(["ldd", *files], capture_output=True, text=True).stdout
    return set(re.findall(r"(?:=> |^\s)(/\S+)(?= \()", said, re.MULTILINE))


@pytest.fixture
def root(releases, tmp_path):
    """A root with the first release in /chat, and of the system's files only those that the runtime cannot do without."""
    root = tmp_path / "root"
    for folder in ("bin", "dev", "etc", "proc", "tmp", "chat"):
        (root / folder).mkdir(parents=True)
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost {os.uname().nodename}\n")
    subprocess.run(["tar", "-xzf", releases[0], "-C", root / "chat"], check=True)
    tools = {tool: shutil.which(tool) for tool in TOOLS}
    for tool, path in tools.items():
        assert path, f"this machine has no {tool}"
        shutil.copy(path, root / "bin" / tool)
    runtime = [path for path in (root / "chat").rglob("*") if path.is_file() and (path.suffix == ".so" or os.access(path, os.X_OK))]
    for library in shared_libraries(*tools.values(), *runtime):
        (root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, root / library[1:])
    return root


@pytest.fixture
def machine(root):
    """Runs commands on a machine of its own: with processes, network and mounts that go when the test ends."""
    prepare = f"""
        ip link set lo up
        mount --rbind /dev {root}/dev
        mount -t proc proc /proc
        mount --rbind /proc {root}/proc
        sleep infinity &
        echo ready
        # Whoever is a machine's first process waits for every process whose parent has ended: `stop` waits for the VM to be gone.
        wait
    """
    command = ["unshare", "--mount", "--pid", "--net", "--uts", "--fork", "--kill-child", "sh", "-ec", prepare]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "ready\n"
        first = subprocess.run(["pgrep", "-P", str(holder.pid)], capture_output=True, check=True, text=True).stdout.strip()
        yield ["nsenter", "-t", first, "--mount", "--pid", "--net", "--uts"]
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_a_release_runs_as_a_daemon_in_an_empty_root_is_upgraded_and_stops(releases, root, machine):
    inside = [*machine, "chroot", root, "/bin/sh", "-c", 'export PATH=/bin HOME=/tmp; cd /; exec "$@"', "sh"]

    def chat(*arguments, environment="NOTHING="):
        # To a file: a pipe would stay open as long as the daemon.
        with tempfile.TemporaryFile("w+") as said:
            command = [*inside, "/bin/sh", "-c", 'export "$1"; shift; exec "$@"', "sh", environment, "/chat/bin/chat", *arguments]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=120)
            said.seek(0)
            return done.returncode, said.read()

    def until(wanted, *arguments):
        for _ in range(60):
            status, said = chat(*arguments)
            if (status == 0) == wanted:
                return
        raise AssertionError(said)

    status, said = chat("daemon")
    assert status == 0, said
    until(True, "ping")

    client = subprocess.Popen(
        [*machine, sys.executable, "-c", CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert client.stdout.readline() == "here\tme\n"
    client.stdin.write("one\n")
    assert client.stdout.readline() == "said\tme\tone\n"

    # As docs/operations.md has it, "The same on a terminal".
    for pages, look in (1, ["rpc", "outrider_top", "print"]), (2, ["eval", "outrider_top:start(#{count => 2})."]):
        status, said = chat(*look, environment="USE_NODETOOL=1")
        assert status == 0, said
        assert said.count("== chat  running  0.0.0.0:8080\n") == pages, said
        assert len(re.findall(r"^websockets 1,", said, re.MULTILINE)) == pages, said
        assert len(re.findall(r" 127\.0\.0\.1:\d+ /rooms/test$", said, re.MULTILINE)) == pages, said

    shutil.copy(releases[1], root / "chat/releases/chat-0.2.0.tar.gz")
    status, said = chat("upgrade", "0.2.0")
    assert status == 0, said
    client.stdin.write("two\n")
    assert client.stdout.readline() == "said\tme\ttwo\tanew\n", "the same connection, the new code"

    assert chat("stop")[0] == 0
    until(False, "ping")
    client.stdin.close()
    client.wait(timeout=60)
    client.stdout.close()
    assert "outrider" not in subprocess.run([*machine, "ps", "-e"], capture_output=True, check=True, text=True).stdout
