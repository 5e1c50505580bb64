#!/bin/sh
# A rebar3 project elsewhere that names Outrider as a git dependency builds, runs a handler and answers a client.
#
# usage: dependency.sh
#
# The repository it depends on is a copy of this tree as it is, committed or not. ERL_LIBS gives Cowboy where Hex does not
# answer; the client is the Python of _build/venv.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

. "$root/test/own/copy.sh"
mkdir "$work/project" "$work/project/src"
cd "$work/project"
cat >rebar.config <<END
{deps, [{outrider, {git, "file://$work/outrider", {branch, "main"}}}]}.
END
cat >src/project.app.src <<'END'
{application, project, [{description, "A project elsewhere"}, {vsn, "1"}, {mod, {project, []}}, {applications, [kernel, stdlib, cowboy, outrider]}]}.
END
cat >src/project.erl <<'END'
-module(project).
-behaviour(application).
-behaviour(cowboy_websocket).
-behaviour(supervisor).
-export([start/2, stop/1, init/1, init/2, websocket_handle/2, websocket_info/2]).

start(_Type, _Args) ->
    Dispatch = cowboy_router:compile([{'_', [{"/", ?MODULE, []}]}]),
    {ok, _} = outrider:start_clear(project, [{port, 0}], #{env => #{dispatch => Dispatch}}),
    io:format("~b~n", [outrider:get_port(project)]),
    supervisor:start_link(?MODULE, []).

stop(_) -> outrider:stop_listener(project).

init([]) -> {ok, {#{}, []}}.

init(Req, State) -> {cowboy_websocket, Req, State}.

websocket_handle({text, Text}, State) -> {[{text, ["you said ", Text]}], State};
websocket_handle(_, State) -> {[], State}.

websocket_info(_, State) -> {[], State}.
END

# Cargo's downloads and what it built of them may be shared; what is Outrider's own is built anew.
CARGO_TARGET_DIR="$root/target" rebar3 compile

mkfifo "$work/port"
erl -noshell -pa _build/default/lib/*/ebin -eval '{ok, _} = application:ensure_all_started(project).' >"$work/port" &
server=$!
read -r port <"$work/port"
"$root/_build/venv/bin/python" - "$port" <<'END'
import sys
from websockets.sync.client import connect

with connect(f"ws://127.0.0.1:{sys.argv[1]}/", open_timeout=30) as client:
    client.send("hello")
    answer = client.recv(timeout=30)
assert answer == "you said hello", answer
END
echo "dependency: a project elsewhere built, ran and answered"
