%%% The application: starts the top supervisor, which owns the registry of listeners. First it loads what every request
%%% needs, for a VM that loads code when it is called (a release does not): the first client is not to wait for that, nor a
%%% start after a failure to depend on the descriptor that it takes.
-module(outrider_app).
-behaviour(application).

-export([start/2, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    {ok, Ours} = application:get_key(outrider, modules),
    {ok, Cowboys} = application:get_key(cowboy, modules),
    {ok, Ranchs} = application:get_key(ranch, modules),
    Cowlibs = [cow_date, cow_http, cow_http_hd, cow_qs, cow_ws],
    _ = [{module, _} = code:ensure_loaded(Module) || Module <- Ours ++ Cowboys ++ Ranchs ++ Cowlibs],
    ok = outrider_telemetry:init(),
    outrider_sup:start_link().

-spec stop(term()) -> ok.
stop(_State) ->
    ok.
