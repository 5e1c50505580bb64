#!/bin/sh
# Builds an example and runs it in the foreground until it is interrupted.
#
# usage: [PORT=8080] [SERVER=outrider] demo.sh [chat | ticker | trouble]
#
# Outrider must be built: it is found in _build/default/lib. PORT=0 takes any free port. SERVER=cowboy runs the chat on
# Cowboy. The trouble comes with a shell, and ends after SECONDS (600).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
export ERL_LIBS="$root/_build/default/lib:$root/_build/erl_libs"

example=${1:-chat}
shell=-noshell
end='Ctrl-C ends it'
[ "$example" != trouble ] || { shell='' end='q(). ends it'; }
cd "$root/examples/$example"
rebar3 compile >&2
# shellcheck disable=SC2086 # none is no argument
exec erl $shell +Bd -pa "_build/default/lib/$example/ebin" -eval "
    case application:ensure_all_started($example) of
        {ok, _} ->
            io:format(\"~nThe $example is at http://localhost:~b   ($end)~n\", [${example}_app:port()]);
        {error, {_, {Reason, _}}} ->
            io:format(standard_error, \"demo: cannot start: ~p (make demo PORT=... takes another port)~n\", [Reason]),
            halt(1)
    end."
