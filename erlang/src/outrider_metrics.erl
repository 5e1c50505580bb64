%%% Gathers what is measured of listeners: what their sidecars have counted, and what the VM knows of them.
%%%
%%% Runs in the caller. Each sidecar is asked once and answers all of it at once; all are asked at the same time, and none is
%%% waited for longer than a constant. What each number means is in outrider_metrics_table and docs/metrics.md.
-module(outrider_metrics).

-export([listeners/1]).
-export_type([listener/0, sidecar/0]).

%% How long a sidecar may take to answer.
-define(ANSWER_MS, 2000).
%% What no bound of the backlogs holds.
-define(BEYOND, 2147483648).

%% Of one listener.
-type listener() :: #{
    listener := ranch:ref(),
    sidecars := [sidecar()]
}.
%% outcome says whether the sidecar has answered (ok), is being started again (starting), or is there and does not answer, or
%% has just ended (no_answer). In the latter two metrics has what the VM knows, and os_pid is absent.
-type sidecar() :: #{
    number := pos_integer(),
    outcome := ok | starting | no_answer,
    os_pid => pos_integer(),
    metrics := #{atom() => outrider_metrics_table:value()}
}.

%% Those of them that run.
-spec listeners([ranch:ref()]) -> [listener()].
listeners(Refs) ->
    Asked = [{Ref, Sidecars, Requests} || Ref <- Refs, {Sidecars, Requests} <- asked(Ref)],
    Deadline = {abs, erlang:monotonic_time(millisecond) + ?ANSWER_MS},
    [listener(Ref, Sidecars, outrider_sidecar:answers(Requests, Deadline)) || {Ref, Sidecars, Requests} <- Asked].

asked(Ref) ->
    try
        Supervisor = outrider_registry:supervisor(Ref),
        [{outrider_registry:sidecars(Ref), outrider_sidecar:ask_metrics(outrider_listener_sup:sidecars(Supervisor))}]
    catch
        %% It does not run, or has just ended.
        error:badarg -> [];
        exit:_ -> []
    end.

listener(Ref, Sidecars, Answers0) ->
    Answers = maps:from_list(Answers0),
    #{
        listener => Ref,
        sidecars => [sidecar(Ref, Number, maps:get(Number, Answers, no_answer)) || Number <- Sidecars]
    }.

sidecar(Ref, Number, {ok, OsPid, Metrics0}) ->
    #{backlog_clients := Backlogs} = Metrics0,
    Metrics = Metrics0#{backlog_largest_bytes => largest(Backlogs)},
    #{number => Number, outcome => ok, os_pid => OsPid, metrics => maps:merge(Metrics, of_vm(Ref, Number, 1))};
sidecar(Ref, Number, Outcome) ->
    #{number => Number, outcome => Outcome, metrics => of_vm(Ref, Number, 0)}.

of_vm(Ref, Number, Up) ->
    Known = maps:merge(#{up => Up, restarts => outrider_registry:restarts(Ref, Number)}, dropped(outrider_registry:shared(Ref, Number))),
    case outrider_registry:collector(Ref, Number) of
        undefined -> Known;
        Collector -> maps:merge(Known, queues(outrider_collector:port(Collector)))
    end.

%% By handlers of this sidecar's clients.
dropped(#{dropped := Dropped}) -> #{own_frames_dropped => counters:get(Dropped, 1)};
dropped(undefined) -> #{}.

%% Of a port that has not closed.
queues(Port) ->
    case {erlang:port_info(Port, queue_size), erlang:port_info(Port, connected)} of
        {{queue_size, Bytes}, {connected, Owner}} ->
            case process_info(Owner, message_queue_len) of
                {message_queue_len, Length} -> #{port_queue_bytes => Bytes, owner_queue => Length};
                undefined -> #{port_queue_bytes => Bytes}
            end;
        _ ->
            #{}
    end.

largest(Backlogs) ->
    lists:max([0 | [bound(Bound) || {Bound, Clients} <- maps:to_list(Backlogs), Clients > 0]]).

bound(infinity) -> ?BEYOND;
bound(Bytes) -> Bytes.
