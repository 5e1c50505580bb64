%%% The application: starts the top supervisor, which owns the registry of listeners.
-module(outrider_app).
-behaviour(application).

-export([start/2, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    outrider_sup:start_link().

-spec stop(term()) -> ok.
stop(_State) ->
    ok.
