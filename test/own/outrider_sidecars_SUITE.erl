%% Several sidecars of one listener: they share its port, die alone, and obey together.
%%
%% The kernel divides clients among them by the client's address and port, so a case opens clients until each sidecar has
%% one. Only Outrider has sidecars; the same promises for a single one are in listener_SUITE and outrider_failures_SUITE.
-module(outrider_sidecars_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([all_share_one_port/1, one_is_killed/1, all_are_killed_at_once/1, one_that_cannot_live_ends_the_listener/1]).
-export([suspend_and_resume/1, one_of_a_suspended_listener_is_killed/1, resume_is_for_all_or_for_none/1]).
-export([suspend_and_resume_at_the_same_time/1, max_connections_is_the_limit_of_each/1]).
-export([a_port_that_another_listener_shares_is_taken/1, bad_values/1, stop_leaves_no_process/1]).
-export([each_sidecar_has_one_term_however_often_it_dies/1, stop_leaves_no_term/1]).

-import(own_case, [server/1]).
-import(os_process, [until/1]).

-define(SIDECARS, 3).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    own_case:init(Case, #{routes => routes(), transport => transport([{port, 0}])}, Config).

end_per_testcase(Case, _) ->
    own_case:stop(Case).

transport(SocketOpts) ->
    #{socket_opts => SocketOpts, sidecars => ?SIDECARS, max_connections => 1000}.

routes() ->
    [
        {"/", ws_script_h, #{websocket_handle => fun(Frame, State) -> {[Frame], State} end}},
        {"/plain", http_script_h, #{silent => true, init => fun(Req, State) -> {ok, cowboy_req:reply(200, Req), State} end}}
    ].

all_share_one_port(Config) ->
    #{ref := Ref, port := Port} = Server = server(Config),
    ?SIDECARS = length(lists:usort(os_pids(Ref))),
    Clients = clients_of_each(Server),
    Count = length(Clients),
    ok = lists:foreach(fun echoes/1, Clients),
    #{port := Port, all_connections := Count, active_connections := 0, metrics := Metrics} = outrider:info(Ref),
    Count = lists:sum([maps:get({conns_sup, Number, accept}, Metrics) || Number <- lists:seq(1, ?SIDECARS)]),
    Count = length(outrider:procs(Ref, connections)),
    ?SIDECARS = length(outrider:procs(Ref, acceptors)).

one_is_killed(Config) ->
    #{ref := Ref, port := Port, probe := Probe} = Server = server(Config),
    Clients = clients_of_each(Server),
    [_, #{os_pid := Killed, all_connections := Lost}, _] = sidecars(Ref),
    [First, Killed, Third] = os_pids(Ref),
    kill(Killed),
    ok = probe:await_exits(Probe, Lost),
    {Closed, Open} = lists:partition(fun is_closed/1, Clients),
    Lost = length(Closed),
    ok = lists:foreach(fun echoes/1, Open),
    Ends = [Reason || {terminate, Reason} <- probe:calls(Probe)],
    Ends = lists:duplicate(Lost, {error, closed}),
    %% A new one in its place, on the same port; the others are the same.
    until(fun() -> length(os_pids(Ref)) =:= ?SIDECARS end),
    [First, New, Third] = os_pids(Ref),
    true = New =/= Killed,
    Port = outrider:get_port(Ref),
    _ = clients_of_each(Server),
    ok = lists:foreach(fun echoes/1, Open).

all_are_killed_at_once(Config) ->
    #{ref := Ref} = Server = server(Config),
    #{pid := Listener} = outrider:info(Ref),
    Before = os_pids(Ref),
    ok = lists:foreach(fun kill/1, Before),
    until(fun() -> length(os_pids(Ref) -- Before) =:= ?SIDECARS end),
    #{pid := Listener} = outrider:info(Ref),
    ok = lists:foreach(fun echoes/1, clients_of_each(Server)).

%% It ends in good order: its other sidecars leave, and their clients get 1001.
one_that_cannot_live_ends_the_listener(Config) ->
    Probe = probe:start(),
    Ref = {?MODULE, embedded},
    Protocol = own_case:protocol(routes(), Probe),
    #{start := {Module, Function, Args}} = same_test:child_spec(Ref, transport([{port, 0}]), Protocol),
    {ok, Pid} = apply(Module, Function, Args),
    unlink(Pid),
    Monitor = monitor(process, Pid),
    Server = #{name => outrider, ref => Ref, port => outrider:get_port(Ref), probe => Probe},
    Clients = clients_of_each(Server),
    [#{os_pid := Killed, all_connections := Lost} | _] = sidecars(Ref),
    OsPids = os_pids(Ref),
    Executable = application:get_env(outrider, executable),
    Program = application:get_env(outrider, executable, filename:join([code:priv_dir(outrider), "bin", "outrider"])),
    Script = filename:join(proplists:get_value(priv_dir, Config), "dies_soon"),
    ok = file:write_file(Script, ["#!/bin/sh\nexec timeout --foreground -s KILL 0.1 ", Program, " \"$@\"\n"]),
    ok = file:change_mode(Script, 8#755),
    ok = application:set_env(outrider, executable, Script),
    kill(Killed),
    receive {'DOWN', Monitor, process, Pid, Reason} -> shutdown = Reason end,
    _ = case Executable of
        {ok, Path} -> application:set_env(outrider, executable, Path);
        undefined -> application:unset_env(outrider, executable)
    end,
    Left = length(Clients) - Lost,
    Left = length([Client || Client <- Clients, ws_client:recv_all(Client) =:= [{close, 1001, <<>>}, closed]]),
    ok = lists:foreach(fun os_process:is_gone/1, OsPids).

suspend_and_resume(Config) ->
    #{ref := Ref, port := Port} = Server = server(Config),
    Clients = clients_of_each(Server),
    ok = outrider:suspend_listener(Ref),
    {suspended, undefined} = {outrider:get_status(Ref), outrider:get_port(Ref)},
    ok = nobody_listens(Port),
    ok = lists:foreach(fun echoes/1, Clients),
    ok = outrider:suspend_listener(Ref),
    ok = outrider:resume_listener(Ref),
    {running, Port} = {outrider:get_status(Ref), outrider:get_port(Ref)},
    _ = clients_of_each(Server),
    ok = outrider:resume_listener(Ref),
    ok = lists:foreach(fun echoes/1, Clients).

%% Not for a moment does the new one listen.
one_of_a_suspended_listener_is_killed(Config) ->
    #{ref := Ref, port := Port} = Server = server(Config),
    ok = outrider:suspend_listener(Ref),
    [Killed | _] = os_pids(Ref),
    kill(Killed),
    until(fun() -> length(os_pids(Ref) -- [Killed]) =:= ?SIDECARS end),
    ok = nobody_listens(Port),
    suspended = outrider:get_status(Ref),
    ok = outrider:resume_listener(Ref),
    Port = outrider:get_port(Ref),
    _ = clients_of_each(Server).

resume_is_for_all_or_for_none(Config) ->
    #{ref := Ref, port := Port} = Server = server(Config),
    ok = outrider:suspend_listener(Ref),
    {ok, Thief} = gen_tcp:listen(Port, [{reuseaddr, true}]),
    {error, eaddrinuse} = outrider:resume_listener(Ref),
    suspended = outrider:get_status(Ref),
    ok = gen_tcp:close(Thief),
    ok = nobody_listens(Port),
    ok = outrider:resume_listener(Ref),
    _ = clients_of_each(Server).

%% Whoever comes last decides, for all sidecars.
suspend_and_resume_at_the_same_time(Config) ->
    #{ref := Ref, port := Port} = Server = server(Config),
    Orders = [fun outrider:suspend_listener/1, fun outrider:resume_listener/1],
    Callers = [spawn_monitor(fun() -> ok = Order(Ref) end) || _ <- lists:seq(1, 10), Order <- Orders],
    _ = [receive {'DOWN', Monitor, process, Pid, Reason} -> normal = Reason end || {Pid, Monitor} <- Callers],
    ok = outrider:suspend_listener(Ref),
    ok = nobody_listens(Port),
    ok = outrider:resume_listener(Ref),
    _ = clients_of_each(Server).

%% Clients beyond it wait, and are served when it is raised.
max_connections_is_the_limit_of_each(Config) ->
    #{ref := Ref} = Server = server(Config),
    %% The sidecars do not say when they have it; but they say when they listen, and that order comes behind it.
    ok = outrider:suspend_listener(Ref),
    ok = outrider:set_max_connections(Ref, 1),
    1 = outrider:get_max_connections(Ref),
    ok = outrider:resume_listener(Ref),
    Sockets = [http_client:connect(Server) || _ <- lists:seq(1, 4 * ?SIDECARS)],
    ok = lists:foreach(fun(Socket) -> http_client:send(Socket, http_client:request("GET", "/plain")) end, Sockets),
    until(fun() -> accepted(Ref) > 0 end),
    true = accepted(Ref) =< ?SIDECARS,
    ok = outrider:set_max_connections(Ref, infinity),
    infinity = outrider:get_max_connections(Ref),
    ok = lists:foreach(fun(Socket) -> #{status := 200} = http_client:response(Socket) end, Sockets).

a_port_that_another_listener_shares_is_taken(Config) ->
    #{port := Port} = server(Config),
    {error, eaddrinuse} = outrider:start_clear({?MODULE, other}, transport([{port, Port}]), #{}),
    {error, eaddrinuse} = outrider:start_clear({?MODULE, other}, [{port, Port}], #{}).

bad_values(_) ->
    Start = fun(Options) -> outrider:start_clear({?MODULE, bad}, Options, #{}) end,
    _ = [{error, {bad_option, sidecars}} = Start(#{sidecars => Bad}) || Bad <- [0, -1, 1.0, infinity, two]],
    %% A Unix socket's path belongs to one process.
    Path = "/tmp/outrider_sidecars_" ++ os:getpid() ++ ".sock",
    _ = [{error, {bad_option, sidecars}} = Start(#{sidecars => 2, socket_opts => [{Key, {local, Path}}]})
        || Key <- [ip, ifaddr]],
    {ok, _} = Start(#{sidecars => 1, socket_opts => [{ip, {local, Path}}]}),
    ok = outrider:stop_listener({?MODULE, bad}).

stop_leaves_no_process(Config) ->
    #{ref := Ref, port := Port, probe := Probe} = Server = server(Config),
    Clients = clients_of_each(Server),
    OsPids = os_pids(Ref),
    ok = outrider:stop_listener(Ref),
    ok = lists:foreach(fun(Client) -> [{close, 1001, <<>>}, closed] = ws_client:recv_all(Client) end, Clients),
    Ends = [Reason || {terminate, Reason} <- probe:calls(Probe)],
    Ends = lists:duplicate(length(Clients), shutdown),
    ok = lists:foreach(fun os_process:is_gone/1, OsPids),
    %% The address is free at once.
    {ok, _} = outrider:start_clear(Ref, [{port, Port}], #{}).

%% The next sidecar in its place replaces what the dead one left.
each_sidecar_has_one_term_however_often_it_dies(Config) ->
    #{ref := Ref} = server(Config),
    Terms = terms(Ref),
    1 + ?SIDECARS = length(Terms),
    ok = kill(hd(os_pids(Ref))),
    until(fun() -> terms(Ref) =/= Terms andalso length(sidecars(Ref)) =:= ?SIDECARS end),
    1 + ?SIDECARS = length(terms(Ref)).

stop_leaves_no_term(Config) ->
    #{ref := Ref} = server(Config),
    ok = outrider:stop_listener(Ref),
    [] = terms(Ref),
    {ok, _} = outrider:start_clear(Ref, [{port, 0}], #{}).

%% Helpers

terms(Ref) ->
    [Term || Term = {Key, _} <- persistent_term:get(), is_tuple(Key), element(1, Key) =:= outrider, element(2, Key) =:= Ref].

kill(OsPid) ->
    ok = os_process:signal(OsPid, "KILL").

sidecars(Ref) ->
    #{sidecars := Sidecars} = outrider:info(Ref),
    Sidecars.

os_pids(Ref) ->
    [OsPid || #{os_pid := OsPid} <- sidecars(Ref)].

accepted(Ref) ->
    #{metrics := Metrics} = outrider:info(Ref),
    lists:sum([Count || {{conns_sup, _, accept}, Count} <- maps:to_list(Metrics)]).

%% New clients, so many that each sidecar has got one of them.
clients_of_each(#{ref := Ref} = Server) ->
    clients_of_each(Server, [All || #{all_connections := All} <- sidecars(Ref)], []).

clients_of_each(_, _, Clients) when length(Clients) > 200 ->
    error(a_sidecar_gets_no_clients);
clients_of_each(#{ref := Ref} = Server, Before, Clients) ->
    Now = [All || #{all_connections := All} <- sidecars(Ref)],
    case length(Now) =:= ?SIDECARS andalso lists:all(fun({Old, New}) -> New > Old end, lists:zip(Before, Now)) of
        true -> Clients;
        false -> clients_of_each(Server, Before, [ws_client:open(Server) | Clients])
    end.

echoes(Client) ->
    ok = ws_client:send(Client, {text, <<"are you there">>}),
    {text, <<"are you there">>} = ws_client:recv(Client),
    ok.

is_closed(Client) ->
    _ = ws_client:send(Client, {text, <<"are you closed">>}),
    ws_client:recv(Client) =:= closed.

%% By as many attempts as would reach each sidecar that does.
nobody_listens(Port) ->
    _ = [{error, econnrefused} = gen_tcp:connect({127, 0, 0, 1}, Port, []) || _ <- lists:seq(1, 20)],
    ok.
