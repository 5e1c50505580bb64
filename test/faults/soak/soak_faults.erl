%% Injects faults into the server of the soak, one after the other, at random, and enters each in the books.
%%
%% A process of the clients' VM; it acts by calls into the server's and by signals.
-module(soak_faults).

-export([kinds/0, run/2, inject/2]).

-type kind() ::
    kill_sidecar | kill_owner | kill_streams_parent | kill_listener | kill_streams | close_port
    | stop_sidecar | stop_vm | suspend | storm.

-spec kinds() -> [kind(), ...].
kinds() ->
    [kill_sidecar, kill_owner, kill_streams_parent, kill_listener, kill_streams, close_port,
        stop_sidecar, stop_vm, suspend, storm].

%% Until the books say that it is over. At most one fault in a second and a half, which no supervisor gives up over.
-spec run(pid(), integer()) -> ok.
run(Server, Seed) ->
    _ = rand:seed(exsss, {Seed, 0, 0}),
    loop(Server).

loop(Server) ->
    receive after 1500 + rand:uniform(4500) -> ok end,
    case soak_books:is_over() of
        true ->
            ok;
        false ->
            ok = inject(lists:nth(rand:uniform(length(kinds())), kinds()), Server),
            loop(Server)
    end.

%% Returns when the listener is up again.
-spec inject(kind(), pid()) -> ok.
inject(Kind, Server) ->
    Begin = soak_books:now_ms(),
    fault(Kind, Server),
    ok = os_process:until(fun() -> call(Server, is_up, []) end),
    soak_books:fault(Kind, Begin, soak_books:now_ms()).

fault(kill_sidecar, Server) -> signal("KILL", sidecar, Server);
fault(kill_owner, Server) -> call(Server, kill, [owner]);
fault(kill_streams_parent, Server) -> call(Server, kill, [streams_parent]);
fault(kill_listener, Server) -> call(Server, kill, [listener]);
fault(kill_streams, Server) -> call(Server, kill, [{streams, rand:uniform(20)}]);
fault(close_port, Server) -> call(Server, close_port, []);
fault(stop_sidecar, Server) -> stopped(sidecar, 3000, Server);
fault(stop_vm, Server) -> stopped(vm, 1000, Server);
fault(suspend, Server) -> call(Server, suspend, [rand:uniform(1000)]);
fault(storm, Server) -> call(Server, storm, [1000]).

stopped(Which, Most, Server) ->
    OsPid = os_pid(Which, Server),
    "" = os:cmd("kill -STOP " ++ OsPid),
    receive after rand:uniform(Most) -> ok end,
    "" = os:cmd("kill -CONT " ++ OsPid).

signal(Signal, Which, Server) ->
    "" = os:cmd("kill -" ++ Signal ++ " " ++ os_pid(Which, Server)).

os_pid(Which, Server) ->
    proplists:get_value(Which, call(Server, os_pids, [])).

call(Server, Function, Args) ->
    peer:call(Server, soak_server, Function, Args, 60000).
