%%% Events for the application telemetry, where it is there: Outrider does not depend on it, and without it this costs nothing.
%%%
%%% There is none for a frame. The names and what they carry are in docs/metrics.md, "Events". Handlers run in the process that the
%%% event is about: that of the WebSocket, of the sidecar, of the listener.
-module(outrider_telemetry).

-export([init/0, is_heard/0, execute/3, websocket_start/1, keep/1, websocket_stop/3]).

%% How long the process of a WebSocket waits for the sidecar to say what there was.
-define(STATS_MS, 1000).

-define(EXECUTE, {?MODULE, execute}).
%% When a WebSocket began, in its process, and what there was.
-define(BEGUN, {?MODULE, begun}).
-define(STATS, {?MODULE, stats}).

%% To be called once, at the application's start: whether telemetry can be loaded does not change while it runs.
-spec init() -> ok.
init() ->
    case code:ensure_loaded(telemetry) of
        {module, Telemetry} -> persistent_term:put(?EXECUTE, fun Telemetry:execute/3);
        {error, _} -> _ = persistent_term:erase(?EXECUTE)
    end,
    ok.

-spec execute([atom(), ...], #{atom() => term()}, #{atom() => term()}) -> ok.
execute(Event, Measurements, Metadata) ->
    case persistent_term:get(?EXECUTE, none) of
        none -> ok;
        Execute -> Execute([outrider | Event], Measurements, Metadata)
    end.

%% Whether somebody may listen.
-spec is_heard() -> boolean().
is_heard() ->
    persistent_term:get(?EXECUTE, none) =/= none.

%% The calling process runs a WebSocket from now on.
-spec websocket_start(Metadata :: #{atom() => term()}) -> ok.
websocket_start(Metadata) ->
    case is_heard() of
        true ->
            _ = put(?BEGUN, erlang:monotonic_time()),
            execute([websocket, start], #{system_time => erlang:system_time()}, Metadata);
        false ->
            ok
    end.

%% What the sidecar has said of it before its process has come to its end.
-spec keep(tuple()) -> ok.
keep(Stats) ->
    _ = put(?STATS, Stats),
    ok.

%% It has ended, and the sidecar of this port, of which it is known by now, is about to say what there was.
-spec websocket_stop(port(), Reason :: term(), Metadata :: #{atom() => term()}) -> ok.
websocket_stop(Port, Reason, Metadata) ->
    case erase(?BEGUN) of
        undefined ->
            ok;
        Begun ->
            {Stats, End} = stats(erase(?STATS), Port),
            Duration = erlang:monotonic_time() - Begun,
            execute([websocket, stop], Stats#{duration => Duration}, maps:merge(Metadata#{reason => Reason}, End))
    end.

%% Nothing of a sidecar that has ended.
stats({stats, Stats, Side, Code}, _) ->
    {Stats, #{side => Side, code => Code}};
stats(undefined, Port) ->
    Wait = case erlang:port_info(Port, connected) of undefined -> 0; _ -> ?STATS_MS end,
    receive
        {Port, {stats, _, _, _} = Said} -> stats(Said, Port)
    after Wait ->
        {#{}, #{}}
    end.
