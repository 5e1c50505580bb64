#!/bin/sh
# Builds examples/chat and runs it in the foreground until it is interrupted.
#
# usage: [PORT=8080] [SERVER=outrider] demo.sh
#
# Outrider must be built: it is found in _build/default/lib. PORT=0 takes any free port. SERVER=cowboy runs it on Cowboy.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
export ERL_LIBS="$root/_build/default/lib:$root/_build/erl_libs"

cd "$root/examples/chat"
rebar3 compile >&2
exec erl -noshell +Bd -pa _build/default/lib/chat/ebin -eval '
    case application:ensure_all_started(chat) of
        {ok, _} ->
            io:format("~nChat rooms at http://localhost:~b   (Ctrl-C ends it)~n", [chat_app:port()]);
        {error, {_, {Reason, _}}} ->
            io:format(standard_error, "demo: cannot start: ~p (make demo PORT=... takes another port)~n", [Reason]),
            halt(1)
    end.'
