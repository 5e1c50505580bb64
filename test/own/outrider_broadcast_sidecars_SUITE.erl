%% Broadcasts by several sidecars, and beside one that dies or stands still. See outrider_broadcast_SUITE.
%%
%% Where a queue must not move, the sidecar is stopped (SIGSTOP).
-module(outrider_broadcast_sidecars_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([all_sidecars_are_reached/1, a_sidecar_that_dies_takes_its_members_along/1]).
-export([publishers_wait_for_a_sidecar_that_stands_still/1, a_sidecar_that_stands_still_keeps_no_client_of_others/1]).
-export([who_subscribes_waits_for_no_sidecar_but_its_own/1]).

-import(own_case, [server/1]).
-import(os_process, [until/1]).
-import(broadcast_case, [member/1, run/2]).

-define(TOPIC, <<"topic">>).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    own_case:init(Case, setup(Case), Config).

end_per_testcase(Case, _) ->
    own_case:stop(Case).

setup(Case) ->
    Transport = case Case of
        all_sidecars_are_reached -> #{sidecars => 3};
        a_sidecar_that_dies_takes_its_members_along -> #{sidecars => 2};
        _ -> #{}
    end,
    %% One that reads 100,000 messages is a slow client for a while.
    Options = case Case of
        publishers_wait_for_a_sidecar_that_stands_still -> #{max_backlog => 100000000};
        _ -> #{}
    end,
    #{routes => broadcast_case:routes(Options), transport => Transport}.

all_sidecars_are_reached(Config) ->
    #{ref := Ref} = Server = server(Config),
    Members = [{First, FirstPid} | Others] = [member(Server) || _ <- lists:seq(1, 30)],
    true = lists:all(fun(#{all_connections := All}) -> All > 0 end, maps:get(sidecars, outrider:info(Ref))),
    30 = outrider:subscribers(Ref, ?TOPIC),
    [?TOPIC] = outrider:topics(Ref),
    ok = outrider:publish(Ref, ?TOPIC, {text, <<"1">>}),
    30 = outrider:send_many([Pid || {_, Pid} <- Members], {text, <<"2">>}),
    ok = outrider:publish_from(FirstPid, Ref, ?TOPIC, {text, <<"3">>}),
    FirstPid ! {run, fun(State) -> {[{publish, ?TOPIC, {text, <<"4">>}}, {text, <<"own">>}], State} end},
    [{text, <<"1">>}, {text, <<"2">>}, {text, <<"own">>}] = ws_client:recv(First, 3),
    Expected = [{text, <<N>>} || N <- "1234"],
    _ = [Expected = ws_client:recv(Socket, 4) || {Socket, _} <- Others].

a_sidecar_that_dies_takes_its_members_along(Config) ->
    #{ref := Ref} = Server = server(Config),
    Members = [member(Server) || _ <- lists:seq(1, 20)],
    [#{os_pid := OsPid, all_connections := Lost}, #{os_pid := Other, all_connections := Left}] = maps:get(sidecars, outrider:info(Ref)),
    20 = Lost + Left,
    ok = os_process:signal(OsPid, "KILL"),
    %% Nobody has to wait for it.
    ok = outrider:publish(Ref, ?TOPIC, {text, <<"1">>}),
    20 = outrider:send_many([Pid || {_, Pid} <- Members], {text, <<"2">>}),
    Got = [ws_client:recv(Socket, 2) || {Socket, _} <- Members],
    Left = length([Frames || Frames <- Got, Frames =:= [{text, <<"1">>}, {text, <<"2">>}]]),
    until(fun() -> length(maps:get(sidecars, outrider:info(Ref))) =:= 2 end),
    [Other] = [Pid || #{os_pid := Pid} <- maps:get(sidecars, outrider:info(Ref)), Pid =:= Other],
    Left = outrider:subscribers(Ref, ?TOPIC),
    More = [member(Server) || _ <- lists:seq(1, 20)],
    ok = outrider:publish(Ref, ?TOPIC, {text, <<"3">>}),
    _ = [{text, <<"3">>} = ws_client:recv(Socket) || {Socket, _} <- More].

%% 100,000 publishes of 50 processes: each has one on its way, and waits. None is lost.
publishers_wait_for_a_sidecar_that_stands_still(Config) ->
    #{ref := Ref} = Server = server(Config),
    {Socket, _} = member(Server),
    Before = erlang:memory(total),
    {Publishers, 50} = os_process:while_stopped(os_process:sidecar(Ref), fun() ->
        Pids = [
            spawn_monitor(fun() ->
                _ = [ok = outrider:publish(Ref, ?TOPIC, {binary, <<Publisher, N:32, 0:1600>>}) || N <- lists:seq(1, 2000)]
            end)
         || Publisher <- lists:seq(1, 50)
        ],
        %% All of them wait, with a publish each.
        until(fun() ->
            lists:all(fun({Pid, _}) -> process_info(Pid, current_function) =:= {current_function, {outrider_collector, written, 2}} end, Pids)
        end),
        Memory = erlang:memory(total) - Before,
        true = Memory < 10000000,
        {Pids, length([Pid || {Pid, _} <- Pids, is_process_alive(Pid)])}
    end),
    Received = (fun Receive(0, Last) -> Last;
        Receive(Left, Last) ->
            {binary, <<Publisher, N:32, _/binary>>} = ws_client:recv(Socket),
            N = maps:get(Publisher, Last, 0) + 1,
            Receive(Left - 1, Last#{Publisher => N})
    end)(100000, #{}),
    [2000] = lists:usort(maps:values(Received)),
    _ = [receive {'DOWN', Monitor, process, Pid, Reason} -> normal = Reason end || {Pid, Monitor} <- Publishers],
    ok.

%% The caller waits for it; those whose sidecar reads have it meanwhile.
a_sidecar_that_stands_still_keeps_no_client_of_others(Config) ->
    with_another(Config, fun(Clients) ->
        Pids = [Pid || {_, _, Pid} <- Clients],
        _ = [
            begin
                [{_, Free, _}] = Clients -- [Stopped],
                {Caller, Monitor} = os_process:while_stopped(os_process:sidecar(Ref), fun() ->
                    ok = fill(Ref),
                    Spawned = {Pid, _} = spawn_monitor(fun() -> 2 = outrider:send_many(Pids, {text, <<"to both">>}) end),
                    {text, <<"to both">>} = ws_client:recv(Free),
                    true = is_process_alive(Pid),
                    Spawned
                end),
                receive {'DOWN', Monitor, process, Caller, Reason} -> normal = Reason end,
                {text, <<"to both">>} = ws_client:recv(Socket)
            end
         || Stopped = {Ref, Socket, _} <- Clients
        ]
    end).

who_subscribes_waits_for_no_sidecar_but_its_own(Config) ->
    with_another(Config, fun(Clients) ->
        _ = [
            begin
                [{Own, _, Pid}] = Clients -- [Stopped],
                OsPid = os_process:sidecar(Ref),
                os_process:while_stopped(OsPid, fun() ->
                    ok = fill(Ref),
                    ok = run(Pid, fun(State) ->
                        ok = outrider:unsubscribe(?TOPIC),
                        ok = outrider:subscribe(<<"another">>),
                        {[], State}
                    end),
                    [<<"another">>] = outrider:topics(Own),
                    ok = run(Pid, fun(State) ->
                        ok = outrider:unsubscribe(<<"another">>),
                        ok = outrider:subscribe(?TOPIC),
                        {[], State}
                    end)
                end),
                %% It was not waited for until its watchdog has ended it.
                OsPid = os_process:sidecar(Ref),
                until(fun() -> outrider:topics(Ref) =:= [?TOPIC] end)
            end
         || Stopped = {Ref, _, _} <- Clients
        ]
    end).

%%% Helpers

%% Runs a fun with a client of this listener and of another one.
with_another(Config, Fun) ->
    #{ref := Ref} = Server = server(Config),
    #{ref := OtherRef} = Other = own_case:listen({Ref, other}, #{routes => broadcast_case:routes()}),
    [{Socket, Pid}, {OtherSocket, OtherPid}] = [member(Server), member(Other)],
    try
        Fun([{Ref, Socket, Pid}, {OtherRef, OtherSocket, OtherPid}])
    after
        own_case:stop(OtherRef)
    end.

%% Writes to a sidecar that does not read until its port takes no more. No client has subscribed to the topic.
fill(Ref) ->
    Large = binary:copy(<<"x">>, 1000000),
    {Filler, _} = spawn_monitor(fun Fill() -> ok = outrider:publish(Ref, <<"nobody's">>, {binary, Large}), Fill() end),
    until(fun() -> process_info(os_process:collector(Ref), status) =:= {status, suspended} end),
    true = exit(Filler, kill),
    ok.
