%% The soak: thousands of clients that talk, vanish and misbehave at random, faults meanwhile, and at the end the accounts.
%%
%% usage: erl ... -s soak main, with SOAK_SECONDS, CLIENTS and SEED in the environment (test/faults/soak/run)
%%
%% This VM has the clients (soak_client), the faults (soak_faults) and their books (soak_books); the listener is in a VM of
%% its own (soak_server), with the ledger of its handlers. A first part, a fifth of the time, does everything once and
%% is measured when all has become quiet; so is the second part. Passes if, in both parts,
%%
%%   - the ledger and the clients' books agree (ledger:audit/1), and no client got what it should not have
%%   - each member heard what was said to all while it was one, or that was counted as dropped (soak_member)
%%   - no client waited in vain, and none lost its connection, or an answer, without a fault that explains it
%%   - what there is of processes, ports, atoms, file descriptors and memory is what there was after the first part
-module(soak).

-export([main/0]).

%% What the second part may leave in memory beyond the first: blocks that the allocators keep.
-define(TOLERANCE, 0.25).
-define(SLACK, 16777216).

-spec main() -> no_return().
main() ->
    Seconds = number("SOAK_SECONDS", 600),
    Clients = number("CLIENTS", 2000),
    Seed = number("SEED", erlang:unique_integer([positive]) * 7919 + erlang:system_time(second) rem 1000003),
    io:format("soak: ~b s, ~b clients; to repeat: make soak SECONDS=~b CLIENTS=~b SEED=~b~n",
        [Seconds, Clients, Seconds, Clients, Seed]),
    try
        {Server, Port} = start(),
        First = part(Server, Port, Clients, {Seed, warm_up(Seconds)}),
        Second = part(Server, Port, Clients, {Seed + 1, fun(Faults) -> play(Faults, Seed, Seconds * 4 div 5) end}),
        Wrong = soak_books:wrong() ++ soak_books:unexplained() ++ grown(First, Second) ++ [silence || soak_books:counter(heard) =:= 0],
        summary(First, Second),
        verdict(Wrong)
    of
        ok -> halt(0);
        failed -> halt(1)
    catch
        Class:Reason:Stacktrace ->
            io:format("soak: ~p~n", [{Class, Reason, Stacktrace}]),
            halt(1)
    end.

number(Name, Default) ->
    case os:getenv(Name, "") of
        "" -> Default;
        Text -> list_to_integer(Text)
    end.

start() ->
    ok = soak_books:open(),
    {ok, Server, _} = peer:start(#{connection => standard_io, args => ["-pa" | code:get_path()]}),
    {Server, peer:call(Server, soak_server, start, [filename:absname("_build/log/soak-server.log")])}.

%% Each fault once, so that everything has been touched.
warm_up(Seconds) ->
    fun(Server) ->
        Pause = max(500, Seconds * 200 div length(soak_faults:kinds())),
        _ = [begin
            receive after Pause -> ok end,
            ok = soak_faults:inject(Kind, Server)
        end || Kind <- soak_faults:kinds()]
    end.

play(Server, Seed, Seconds) ->
    {Faults, Monitor} = spawn_monitor(fun() -> soak_faults:run(Server, Seed) end),
    receive
        {'DOWN', Monitor, process, Faults, Reason} -> error({faults, Reason})
    after Seconds * 1000 ->
        ok = soak_books:set_over(1),
        receive {'DOWN', Monitor, process, Faults, normal} -> ok end
    end.

%% Runs clients while the fun does its work, and returns what there is when they have gone.
part(Server, Port, Clients, {Seed, Work}) ->
    ok = soak_books:set_over(0),
    Monitors = [element(2, spawn_monitor(fun() ->
        %% They do not come all at once.
        receive after Number * 2 -> soak_client:run(Port, {Seed, Number}) end
    end)) || Number <- lists:seq(1, Clients)],
    _ = Work(Server),
    ok = soak_books:set_over(1),
    _ = [receive
        {'DOWN', Monitor, process, _, normal} -> ok;
        {'DOWN', Monitor, process, _, Reason} -> soak_books:wrong({client, Reason})
    end || Monitor <- Monitors],
    try
        ok = peer:call(Server, soak_server, settle, [soak_books:take_connections()], 120000)
    catch
        error:{wrong_books, _, _} = Wrong -> soak_books:wrong(Wrong)
    end,
    ok = peer:call(Server, soak_server, close_books, []),
    Measure = peer:call(Server, soak_server, measure, [], 60000),
    ok = peer:call(Server, soak_server, open_books, []),
    Measure.

grown(#{vm := Vm0, sidecar := Sidecar0, count := Count0}, #{vm := Vm, sidecar := Sidecar, count := Count}) ->
    [{grown, vm, Vm0, Vm} || is_more(Vm, Vm0)] ++ [{grown, sidecar, Sidecar0, Sidecar} || is_more(Sidecar, Sidecar0)]
        ++ [{left, Left} || Left <- leaks:more(Count0, Count)].

is_more(After, Before) ->
    After > Before * (1 + ?TOLERANCE) + ?SLACK.

summary(#{vm := Vm0, sidecar := Sidecar0}, #{vm := Vm, sidecar := Sidecar, count := Count}) ->
    Counter = fun soak_books:counter/1,
    io:format("~n  connections    ~s~n", [list([{Kind, Counter(Kind)} || Kind <- soak_client:kinds()])]),
    io:format("  messages       asked ~b (~b MB), answered ~b, pushed ~b~n",
        [Counter(asked), Counter(bytes) div 1000000, Counter(answered), Counter(pushed)]),
    io:format("  said to all    heard ~b, dropped ~b for members who did not read~n", [Counter(heard), Counter(dropped)]),
    io:format("  not answered   ~b lost with faults, ~b given up by clients that vanished~n",
        [lists:sum([Messages || {_, Messages} <- maps:values(soak_books:losses())]), soak_books:given_up()]),
    io:format("  faults         ~s~n", [list([{Kind, Counter({fault, Kind})} || Kind <- soak_faults:kinds()])]),
    io:format("  lost with      connections, messages not answered~n"),
    _ = [io:format("    ~-20s ~6b ~6b~n", [Fault, Lost, Messages])
        || {Fault, {Lost, Messages}} <- maps:to_list(soak_books:losses())],
    io:format("  memory, MB     VM ~.1f, then ~.1f; sidecar ~.1f, then ~.1f~n",
        [B / 1000000 || B <- [Vm0, Vm, Sidecar0, Sidecar]]),
    io:format("  at the end     ~s~n", [list([{Key, Value} || {Key, Value} <- maps:to_list(Count), is_integer(Value)])]).

list(Pairs) ->
    lists:join(", ", [io_lib:format("~s ~b", [Key, Value]) || {Key, Value} <- Pairs]).

verdict([]) ->
    io:format("~nsoak: every message is accounted for, every handler was terminated once, nothing is left~n");
verdict(Wrong) ->
    io:format("~nsoak: ~b things are wrong~n", [length(Wrong)]),
    _ = [io:format("  ~0p~n", [What]) || What <- lists:sublist(Wrong, 20)],
    failed.
