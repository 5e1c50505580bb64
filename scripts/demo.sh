#!/bin/sh
# Builds an example and runs it in the foreground until it is interrupted.
#
# usage: [PORT=8080] [SERVER=outrider] demo.sh [chat | ticker]
#
# Outrider must be built: it is found in _build/default/lib. PORT=0 takes any free port. SERVER=cowboy runs the chat on
# Cowboy.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
export ERL_LIBS="$root/_build/default/lib:$root/_build/erl_libs"

example=${1:-chat}
cd "$root/examples/$example"
rebar3 compile >&2
exec erl -noshell +Bd -pa "_build/default/lib/$example/ebin" -eval "
    case application:ensure_all_started($example) of
        {ok, _} ->
            io:format(\"~nThe $example is at http://localhost:~b   (Ctrl-C ends it)~n\", [${example}_app:port()]);
        {error, {_, {Reason, _}}} ->
            io:format(standard_error, \"demo: cannot start: ~p (make demo PORT=... takes another port)~n\", [Reason]),
            halt(1)
    end."
