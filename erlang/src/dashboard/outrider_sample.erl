%%% What an operator looks at of one listener: its metrics and those of the VM at one moment, and what happened between two.
%%%
%%% For outrider_dashboard and outrider_top, which show the same. Runs in the caller, who keeps the sample before. Counters begin
%%% anew with each OS process; one that was replaced counts from its own beginning.
-module(outrider_sample).

-export([take/1, between/2, clients/3]).
-export_type([sample/0, view/0]).

-type sample() :: #{
    listener := ranch:ref(),
    %% Microseconds, monotonic.
    at := integer(),
    status := running | suspended | draining | stopped,
    address := outrider_registry:address() | {undefined, undefined},
    vm_cpu_us := non_neg_integer(),
    vm_memory := non_neg_integer(),
    sidecars := [outrider_metrics:sidecar()]
}.
%% Rates are per second, shares of CPU per core (1.0 is one core), sizes bytes, times of turns microseconds.
-type view() :: #{
    listener := ranch:ref(),
    status := running | suspended | draining | stopped,
    address := outrider_registry:address() | {undefined, undefined},
    connections := #{atom() => non_neg_integer()},
    rates := #{atom() => float()},
    vm := #{cpu := float(), memory := non_neg_integer()},
    backlog := #{bytes := non_neg_integer(), largest := non_neg_integer(), clients := non_neg_integer(), blocked := non_neg_integer()},
    %% Bounds that half, and 99 of 100, of the turns since the last sample were below; undefined where there was none.
    turn := #{half => bound(), most => bound()},
    %% Since the sidecars began.
    closes := [#{side := client | server, code := integer() | atom(), count := pos_integer()}],
    limits := [#{limit := atom(), count := pos_integer()}],
    sidecars := [sidecar()]
}.
-type bound() :: pos_integer() | infinity.
-type sidecar() :: #{
    number := pos_integer(),
    outcome := ok | starting | no_answer,
    os_pid => pos_integer(),
    restarts := non_neg_integer(),
    websockets => non_neg_integer(),
    cpu => float(),
    memory => non_neg_integer(),
    %% What waits for the VM, and in the VM for it.
    waiting => non_neg_integer()
}.

-define(RATES, [
    {messages_in, messages_received, [text, binary]},
    {messages_out, messages_sent, [text, binary]},
    {bytes_in, socket_bytes_received, all},
    {bytes_out, socket_bytes_sent, all},
    {accepted, connections_accepted, all},
    {requests, requests, all}
]).

%% Of a listener that does not run, too.
-spec take(ranch:ref()) -> sample().
take(Ref) ->
    {Status, Address, Sidecars} =
        try
            #{sidecars := Told} = outrider:metrics(Ref),
            {status(Ref), outrider:get_addr(Ref), Told}
        catch
            error:badarg -> {stopped, {undefined, undefined}, []}
        end,
    {CpuMs, _} = erlang:statistics(runtime),
    #{
        listener => Ref,
        at => erlang:monotonic_time(microsecond),
        status => Status,
        address => Address,
        vm_cpu_us => CpuMs * 1000,
        vm_memory => erlang:memory(total),
        sidecars => Sidecars
    }.

status(Ref) ->
    case outrider_registry:drain(Ref) of
        undefined -> outrider:get_status(Ref);
        _ -> draining
    end.

-spec between(sample(), sample()) -> view().
between(#{at := At0, vm_cpu_us := Cpu0, sidecars := Before}, #{at := At, vm_cpu_us := Cpu, sidecars := Sidecars} = Now) ->
    Seconds = max(1, At - At0) / 1.0e6,
    Pairs = [{earlier(Sidecar, Before), Metrics} || #{outcome := ok, metrics := Metrics} = Sidecar <- Sidecars],
    All = [Metrics || {_, Metrics} <- Pairs],
    (maps:with([listener, status, address], Now))#{
        connections => added(connections, All),
        rates => maps:from_list([{Name, sum([grown(Key, Kinds, Pair) || Pair <- Pairs]) / Seconds} || {Name, Key, Kinds} <- ?RATES]),
        vm => #{cpu => max(0, Cpu - Cpu0) / 1.0e6 / Seconds, memory => maps:get(vm_memory, Now)},
        backlog => #{
            bytes => sum([number(backlog_bytes, Metrics) || Metrics <- All]),
            largest => lists:max([0 | [number(backlog_largest_bytes, Metrics) || Metrics <- All]]),
            clients => sum(maps:values(added(backlog_clients, All))),
            blocked => sum([number(clients_blocked, Metrics) || Metrics <- All])
        },
        turn => turn(lists:sort(maps:to_list(turns(Pairs)))),
        closes => most([
            #{side => Side, code => Code, count => Count}
         || {Side, Key} <- [{client, closes_by_client}, {server, closes_by_server}], {Code, Count} <- counted(Key, All)
        ]),
        limits => most([#{limit => Limit, count => Count} || {Limit, Count} <- counted(limits_reached, All)]),
        sidecars => [sidecar(Sidecar, earlier(Sidecar, Before), Seconds) || Sidecar <- Sidecars]
    }.

%% What the same OS process had counted before.
earlier(#{number := Number, os_pid := OsPid}, Before) ->
    case [Metrics || #{number := N, os_pid := Pid, metrics := Metrics} <- Before, N =:= Number, Pid =:= OsPid] of
        [Metrics] -> Metrics;
        [] -> #{}
    end;
earlier(_, _) ->
    #{}.

sidecar(#{number := Number, outcome := ok, os_pid := OsPid, metrics := Metrics}, Before, Seconds) ->
    #{
        number => Number, outcome => ok, os_pid => OsPid, restarts => number(restarts, Metrics),
        websockets => maps:get(websocket, maps:get(connections, Metrics, #{}), 0),
        cpu => grown(cpu_us, all, {Before, Metrics}) / 1.0e6 / Seconds,
        memory => number(memory_bytes, Metrics),
        waiting => number(port_waiting_bytes, Metrics) + number(port_queue_bytes, Metrics)
    };
sidecar(#{number := Number, outcome := Outcome, metrics := Metrics}, _, _) ->
    #{number => Number, outcome => Outcome, restarts => number(restarts, Metrics)}.

grown(Key, Kinds, {Before, Now}) ->
    total(Key, Kinds, Now) - total(Key, Kinds, Before).

total(Key, all, Metrics) -> number(Key, Metrics);
total(Key, Kinds, Metrics) -> sum(maps:values(maps:with(Kinds, maps:get(Key, Metrics, #{})))).

%% What the system does not tell, and what a process did not have, is 0.
number(Key, Metrics) -> maps:get(Key, Metrics, 0).

added(Key, All) ->
    lists:foldl(fun(Metrics, Sum) -> add(maps:get(Key, Metrics, #{}), Sum) end, #{}, All).

add(Map, Sum) ->
    maps:fold(fun(Label, Number, Acc) -> maps:update_with(Label, fun(N) -> N + Number end, Number, Acc) end, Sum, Map).

counted(Key, All) ->
    [{Label, Count} || {Label, Count} <- maps:to_list(added(Key, All)), Count > 0].

most(Counted) ->
    lists:sort(fun(#{count := A} = X, #{count := B} = Y) -> {B, X} =< {A, Y} end, Counted).

turns(Pairs) ->
    lists:foldl(
        fun({Before, Now}, Sum) ->
            Earlier = buckets(Before),
            add(maps:map(fun(Bound, Count) -> Count - maps:get(Bound, Earlier, 0) end, buckets(Now)), Sum)
        end,
        #{}, Pairs
    ).

buckets(#{turns := {histogram, _, Buckets}}) -> Buckets;
buckets(_) -> #{}.

%% Numbers sort before infinity.
turn(Buckets) ->
    case sum([Count || {_, Count} <- Buckets]) of
        0 -> #{};
        Count -> #{half => bound(Count * 0.5, Buckets), most => bound(Count * 0.99, Buckets)}
    end.

bound(_, [{Bound, _}]) -> Bound;
bound(Rank, [{Bound, Count} | _]) when Count >= Rank -> Bound;
bound(Rank, [{_, Count} | Buckets]) -> bound(Rank - Count, Buckets).

sum(Numbers) -> lists:sum(Numbers).

%% The first clients by a measure; undefined where the sidecars do not say, or the listener does not run.
-spec clients(ranch:ref(), Sort :: atom(), Limit :: pos_integer()) -> [outrider_connections:connection()] | undefined.
clients(Ref, Sort, Limit) ->
    try outrider:connections(Ref, #{sort => Sort, limit => Limit}) of
        {error, _} -> undefined;
        Connections -> Connections
    catch
        error:badarg -> undefined
    end.
