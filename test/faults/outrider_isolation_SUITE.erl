%% One listener's trouble is its own: whatever befalls it again and again, the listener beside it keeps its sidecar and its
%% clients, and it comes back itself when it can.
%%
%% The faults are those of docs/architecture.md, each faster and more often than any supervisor forgives. What a single one
%% does to its own listener is in outrider_failures_SUITE, what cannot be started again for a while in outrider_waiting_SUITE.
-module(outrider_isolation_SUITE).

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([sidecars_are_killed/1, port_owners_are_killed/1, collectors_are_killed/1, ports_are_closed/1]).
-export([streams_are_killed/1, parents_of_streams_are_killed/1, supervisors_of_the_sidecars_are_killed/1]).
-export([supervisors_of_the_listener_are_killed/1, the_keeper_is_killed/1, sidecars_that_cannot_live/1]).

-import(os_process, [until/1]).
-import(isolation_case, [one_is_in_trouble/2, is_up/1, serves/1, kill/1, program/1, become/2, restore/1]).

all() ->
    same_test:cases(?MODULE).

suite() ->
    [{timetrap, {minutes, 2}}].

init_per_testcase(Case, Config) ->
    isolation_case:init(Case, Config).

end_per_testcase(Case, Config) ->
    isolation_case:stop(Case, Config).

%%% Faults

sidecars_are_killed(Config) ->
    again_and_again(60, Config, fun(#{ref := Ref}) -> kill(Ref) end).

port_owners_are_killed(Config) ->
    again_and_again(70, Config, fun(#{ref := Ref}) -> [exit(Pid, kill) || Pid <- outrider:procs(Ref, acceptors)] end).

collectors_are_killed(Config) ->
    again_and_again(60, Config, fun(#{ref := Ref}) ->
        [exit(Pid, kill) || Owner <- outrider:procs(Ref, acceptors), Pid <- links(Owner),
            is_pid(Pid), {outrider_collector, _, _} <- [proc_lib:translate_initial_call(Pid)]]
    end).

ports_are_closed(Config) ->
    again_and_again(60, Config, fun(#{ref := Ref}) ->
        [exit(Port, kill) || Owner <- outrider:procs(Ref, acceptors), Port <- links(Owner), is_port(Port)]
    end).

streams_are_killed(Config) ->
    again_and_again(20, Config, fun(#{ref := Ref} = Server) ->
        _ = ws_client:open(Server),
        [exit(Pid, kill) || Pid <- outrider:procs(Ref, connections)]
    end).

parents_of_streams_are_killed(Config) ->
    again_and_again(30, Config, fun(Server) -> exit(child(outrider_streams_sup, Server), kill) end).

supervisors_of_the_sidecars_are_killed(Config) ->
    again_and_again(30, Config, fun(Server) -> exit(child(outrider_sidecars_sup, Server), kill) end).

supervisors_of_the_listener_are_killed(Config) ->
    again_and_again(8, Config, fun(#{ref := Ref}) -> exit(outrider_registry:supervisor(Ref), kill) end).

%% It belongs to no listener. The one that ends while there is no keeper is started again by the next.
the_keeper_is_killed(Config) ->
    again_and_again(1, Config, fun(#{ref := Ref}) ->
        Keeper = whereis(outrider_keeper),
        Monitors = [monitor(process, Pid) || Pid <- [Keeper, outrider_registry:supervisor(Ref)]],
        ok = sys:suspend(outrider_sup),
        exit(Keeper, kill),
        exit(outrider_registry:supervisor(Ref), kill),
        _ = [receive {'DOWN', Monitor, process, _, killed} -> ok end || Monitor <- Monitors],
        ok = sys:resume(outrider_sup)
    end).

%% They start, and die at once.
sidecars_that_cannot_live(Config) ->
    #{ref := Ref} = Troubled = proplists:get_value(troubled, Config),
    Listener = outrider_registry:supervisor(Ref),
    one_is_in_trouble(Config, fun() ->
        ok = become(["exec timeout --foreground -s KILL 0.2 ", program(Config), " \"$@\""], Config),
        kill(Ref),
        %% The listener has ended, and more than once.
        until(fun() -> not is_process_alive(Listener) end),
        until(fun() -> length([End || {warning, End} <- keep_logger:said()]) >= 1 end),
        ok = restore(Config)
    end),
    serves(Troubled).

%%% Helpers

%% As soon as it is up, it befalls it again.
again_and_again(Count, Config, Fault) ->
    #{ref := Ref} = Troubled = proplists:get_value(troubled, Config),
    one_is_in_trouble(Config, fun() -> again_and_again(Count, Ref, Troubled, Fault) end),
    serves(Troubled).

again_and_again(0, _, _, _) ->
    ok;
again_and_again(Count, Ref, Troubled, Fault) ->
    until(fun() -> is_up(Ref) end),
    try Fault(Troubled) of
        _ -> again_and_again(Count - 1, Ref, Troubled, Fault)
    catch
        %% It has ended meanwhile.
        Class:_ when Class =:= error; Class =:= exit -> again_and_again(Count, Ref, Troubled, Fault)
    end.

links(Pid) ->
    case process_info(Pid, links) of
        {links, Links} -> Links;
        undefined -> []
    end.

child(Id, #{ref := Ref}) ->
    {Id, Pid, _, _} = lists:keyfind(Id, 1, supervisor:which_children(outrider_registry:supervisor(Ref))),
    Pid.
