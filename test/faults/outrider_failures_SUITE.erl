%% What dies, and what then happens: the rows of docs/architecture.md, each by killing the thing for real.
%%
%% Only Outrider has these parts, so these cases have no twin on Cowboy. The row of a callback that crashes is in
%% ws_crashes_SUITE, that of a client that vanishes in ws_close_SUITE, held to Cowboy's. What is left behind, and what
%% happens under load, is in outrider_faults_SUITE.
-module(outrider_failures_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([the_sidecar_is_killed/1, the_port_owner_is_killed/1, the_collector_is_killed/1, a_stream_is_killed/1]).
-export([the_parent_of_the_streams_is_killed/1, the_certificates_process_is_killed/1]).
-export([the_supervisor_of_the_listener_is_killed/1, the_top_supervisor_is_killed/1, the_port_is_closed/1]).
-export([a_request_is_being_answered_when_the_sidecar_is_killed/1, the_log_of_a_sidecars_end_does_not_grow_with_its_clients/1]).
-export([the_listener_stops/1, a_request_is_being_answered_when_the_listener_stops/1, a_handler_that_does_not_end_is_killed/1]).
-export([the_application_stops/1, a_supervisor_of_ones_own_stops/1]).
-export([the_vm_is_killed/1, the_sidecar_is_killed_again_and_again/1, the_sidecar_of_a_suspended_listener_is_killed/1]).

-import(own_case, [server/1]).
-import(os_process, [is_gone/1, until/1]).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    SocketOpts = case Case of
        the_certificates_process_is_killed -> [{port, 0} | tls_tunnel:certificate()];
        _ -> [{port, 0}]
    end,
    own_case:init(Case, #{routes => routes(), transport => #{shutdown => 2000, socket_opts => SocketOpts}}, Config).

end_per_testcase(Case, _) ->
    own_case:stop(Case).

routes() ->
    Script = #{websocket_handle => fun(Frame, State) -> {[Frame], State} end},
    [
        {"/", ws_script_h, Script},
        {"/slow", http_script_h, #{init => fun slow/2}},
        {"/stubborn", ws_script_h, Script#{terminate => fun(_, _, _) -> receive after infinity -> ok end end}}
    ].

%% Says that it has begun; goes on when it is told.
slow(Req, #{probe := Probe} = State) ->
    probe:note(Probe, begun),
    go_on = probe:await(Probe, go_on),
    {ok, cowboy_req:reply(200, #{}, <<"done">>, Req), State}.

%% A client whose handler's process is watched by the probe.
open(#{probe := Probe} = Server) ->
    Socket = ws_client:open(Server),
    true = is_pid(probe:process(Probe)),
    Socket.

the_sidecar_is_killed(Config) ->
    #{probe := Probe} = Server = server(Config),
    Socket = open(Server),
    OsPid = os_pid(Server),
    kill_9(OsPid),
    [closed] = ws_client:recv_all(Socket),
    {exit, normal} = probe:await_exit(Probe),
    [websocket_init, {terminate, {error, closed}}, {exit, normal}] = probe:calls(Probe),
    is_back(Server, OsPid).

%% What an operator finds; and the next sidecar waits until it has been written.
the_log_of_a_sidecars_end_does_not_grow_with_its_clients(Config) ->
    Server = server(Config),
    Sockets = [ws_client:open(Server) || _ <- lists:seq(1, 20)],
    OsPid = os_pid(Server),
    Probe = probe:start(),
    ok = probe_log:attach(Probe),
    kill_9(OsPid),
    [[closed] = ws_client:recv_all(Socket) || Socket <- Sockets],
    is_back(Server, OsPid),
    ok = probe_log:detach(),
    [{error, Lost}, {error, #{label := {supervisor, child_terminated}}}] = probe:stop(Probe),
    {_, _} = binary:match(Lost, <<"has lost its sidecar for reason {sidecar_exit,137}">>).

the_port_owner_is_killed(Config) ->
    #{ref := Ref} = Server = server(Config),
    OsPid = says_good_bye(Server, fun() ->
        [Owner] = outrider:procs(Ref, acceptors),
        exit(Owner, kill)
    end),
    is_back(Server, OsPid).

the_collector_is_killed(Config) ->
    #{ref := Ref} = Server = server(Config),
    OsPid = says_good_bye(Server, fun() -> exit(os_process:collector(Ref), kill) end),
    is_back(Server, OsPid).

the_certificates_process_is_killed(Config) ->
    #{ref := Ref} = Server = server(Config),
    OsPid = says_good_bye(Server, fun() -> exit(outrider_registry:certificates(Ref), kill) end),
    is_back(Server, OsPid).

a_stream_is_killed(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    Socket = open(Server),
    [Stream] = outrider:procs(Ref, connections),
    Other = ws_client:open(Server),
    exit(Stream, kill),
    [closed] = ws_client:recv_all(Socket),
    {exit, killed} = probe:await_exit(Probe),
    echoes(Other),
    [_] = outrider:procs(Ref, connections).

the_parent_of_the_streams_is_killed(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    Socket = open(Server),
    #{pid := Listener} = outrider:info(Ref),
    OsPid = os_pid(Server),
    {_, Parent, _, _} = lists:keyfind(outrider_streams_sup, 1, supervisor:which_children(Listener)),
    exit(Parent, kill),
    {exit, killed} = probe:await_exit(Probe),
    closed = lists:last(ws_client:recv_all(Socket)),
    is_gone(OsPid),
    is_back(Server, OsPid).

the_supervisor_of_the_listener_is_killed(Config) ->
    #{ref := Ref} = Server = server(Config),
    OsPid = says_good_bye(Server, fun() ->
        #{pid := Listener} = outrider:info(Ref),
        exit(Listener, kill),
        until(fun() -> outrider_registry:refs() =/= [] andalso outrider_registry:supervisor(Ref) =/= Listener end)
    end),
    is_back(Server, OsPid).

%% OTP's application master kills the processes of an application whose top supervisor has died: some handlers may have
%% been told before.
the_top_supervisor_is_killed(Config) ->
    #{probe := Probe} = Server = server(Config),
    Socket = open(Server),
    OsPid = os_pid(Server),
    exit(whereis(outrider_sup), kill),
    closed = lists:last(ws_client:recv_all(Socket)),
    {exit, _} = probe:await_exit(Probe),
    true = length([terminate || {terminate, _} <- probe:calls(Probe)]) =< 1,
    is_gone(OsPid),
    until(fun() -> not lists:keymember(outrider, 1, application:which_applications()) end),
    ok = application:start(outrider).

the_port_is_closed(Config) ->
    #{ref := Ref} = Server = server(Config),
    OsPid = says_good_bye(Server, fun() ->
        [Owner] = outrider:procs(Ref, acceptors),
        {links, Links} = process_info(Owner, links),
        [true] = [port_close(Port) || Port <- Links, is_port(Port)]
    end),
    is_back(Server, OsPid).

%% The client gets 1001, the handler is told, and the OS process leaves by itself. Returns its number.
says_good_bye(#{probe := Probe} = Server, Fault) ->
    Socket = open(Server),
    OsPid = os_pid(Server),
    _ = Fault(),
    [{close, 1001, <<>>}, closed] = ws_client:recv_all(Socket),
    {exit, normal} = probe:await_exit(Probe),
    [websocket_init, {terminate, Reason}, {exit, normal}] = probe:calls(Probe),
    true = Reason =:= {error, closed} orelse Reason =:= shutdown,
    is_gone(OsPid),
    OsPid.

a_request_is_being_answered_when_the_sidecar_is_killed(Config) ->
    #{probe := Probe} = Server = server(Config),
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, http_client:request("GET", "/slow")),
    begun = probe:await(Probe, begun),
    kill_9(os_pid(Server)),
    closed = http_client:closed(Socket),
    %% As when the client goes away: cowboy_req's process gets an exit signal.
    {exit, shutdown} = probe:await_exit(Probe).

the_listener_stops(Config) ->
    #{ref := Ref, port := Port, probe := Probe} = Server = server(Config),
    Socket = open(Server),
    OsPid = os_pid(Server),
    ok = outrider:stop_listener(Ref),
    [{close, 1001, <<>>}, closed] = ws_client:recv_all(Socket),
    [websocket_init, {terminate, shutdown}, {exit, normal}] = probe:calls(Probe),
    is_gone(OsPid),
    %% The address is free at once.
    {ok, _} = outrider:start_clear(Ref, [{port, Port}], #{}),
    Port = outrider:get_port(Ref).

a_request_is_being_answered_when_the_listener_stops(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, http_client:request("GET", "/slow")),
    begun = probe:await(Probe, begun),
    {Stopper, Monitor} = spawn_monitor(fun() -> outrider:stop_listener(Ref) end),
    [Stream] = outrider:procs(Ref, connections),
    %% The stop has come to the stream when the stopper waits for it.
    until(fun() -> process_info(Stopper, status) =:= {status, waiting} andalso is_told(Stream) end),
    probe:note(Probe, go_on),
    #{status := 200, headers := Headers} = http_client:response(Socket),
    {_, <<"close">>} = lists:keyfind(<<"connection">>, 1, Headers),
    receive {'DOWN', Monitor, process, Stopper, normal} -> ok end.

a_handler_that_does_not_end_is_killed(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    _Socket = ws_client:open_at(Server, "/stubborn"),
    websocket_init = probe:await(Probe, websocket_init),
    OsPid = os_pid(Server),
    ok = outrider:stop_listener(Ref),
    [websocket_init, {terminate, shutdown}, {exit, killed}] = probe:calls(Probe),
    is_gone(OsPid).

the_application_stops(Config) ->
    #{probe := Probe} = Server = server(Config),
    Socket = open(Server),
    OsPid = os_pid(Server),
    ok = application:stop(outrider),
    [{close, 1001, <<>>}, closed] = ws_client:recv_all(Socket),
    [websocket_init, {terminate, shutdown}, {exit, normal}] = probe:calls(Probe),
    is_gone(OsPid),
    ok = application:start(outrider).

a_supervisor_of_ones_own_stops(Config) ->
    #{probe := Probe} = server(Config),
    Ref = {?MODULE, embedded},
    #{start := {Module, Function, Args}} = same_test:child_spec(Ref, [{port, 0}], own_case:protocol(routes(), Probe)),
    {ok, Pid} = apply(Module, Function, Args),
    Server = #{name => outrider, ref => Ref, port => outrider:get_port(Ref), probe => Probe},
    Socket = open(Server),
    OsPid = os_pid(Server),
    {error, {already_started, Pid}} = outrider:start_clear(Ref, [{port, 0}], #{}),
    unlink(Pid),
    Monitor = monitor(process, Pid),
    exit(Pid, shutdown),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end,
    [{close, 1001, <<>>}, closed] = ws_client:recv_all(Socket),
    [websocket_init, {terminate, shutdown}, {exit, normal}] = probe:calls(Probe),
    is_gone(OsPid),
    false = maps:is_key(Ref, outrider:info()).

%% The VM of another OS process, by SIGKILL: nothing on its side can tell the sidecar.
the_vm_is_killed(_) ->
    {ok, Peer, _} = peer:start(#{connection => standard_io, args => ["-pa" | code:get_path()]}),
    Call = fun(Module, Function, Args) -> peer:call(Peer, Module, Function, Args) end,
    _ = [Call(application, set_env, [outrider, executable, Path]) || {ok, Path} <- [application:get_env(outrider, executable)]],
    %% The listener's processes live under their application, so the call may end.
    Server = Call(own_case, listen, [peer, #{routes => [{"/", ws_bare_h, #{}}], probe => none}]),
    #{sidecars := [#{os_pid := OsPid}]} = Call(outrider, info, [peer]),
    Socket = ws_client:open(Server),
    echoes(Socket),
    kill_9(list_to_integer(Call(os, getpid, []))),
    [{close, 1001, <<>>}, closed] = ws_client:recv_all(Socket),
    is_gone(OsPid).

the_sidecar_is_killed_again_and_again(Config) ->
    Server = server(Config),
    %% Ports with an OS process behind them.
    Ports = fun() ->
        length([Port || Port <- erlang:ports(), {os_pid, Pid} <- [erlang:port_info(Port, os_pid)], is_integer(Pid)])
    end,
    Before = Ports(),
    _ = [begin
        OsPid = os_pid(Server),
        kill_9(OsPid),
        is_back(Server, OsPid)
    end || _ <- lists:seq(1, 5)],
    Before = Ports().

%% It comes back suspended: who suspended it did not mean its first sidecar only.
the_sidecar_of_a_suspended_listener_is_killed(Config) ->
    #{ref := Ref, port := Port} = Server = server(Config),
    ok = outrider:suspend_listener(Ref),
    OsPid = os_pid(Server),
    kill_9(OsPid),
    is_restarted(Server, OsPid),
    until(fun() -> gen_tcp:connect({127, 0, 0, 1}, Port, []) =:= {error, econnrefused} end),
    suspended = outrider:get_status(Ref),
    ok = outrider:resume_listener(Ref),
    running = outrider:get_status(Ref),
    echoes(ws_client:open(Server#{port := outrider:get_port(Ref)})).

%% Helpers

os_pid(#{ref := Ref}) ->
    #{sidecars := [#{os_pid := OsPid}]} = outrider:info(Ref),
    OsPid.

kill_9(OsPid) ->
    "" = os:cmd("kill -9 " ++ integer_to_list(OsPid)).

echoes(Socket) ->
    ws_client:send(Socket, {text, <<"are you there">>}),
    {text, <<"are you there">>} = ws_client:recv(Socket).

%% The listener listens again on the same TCP port, with another OS process, and serves.
is_back(#{ref := Ref, port := Port} = Server, Before) ->
    is_restarted(Server, Before),
    Port = outrider:get_port(Ref),
    echoes(ws_client:open(Server)).

is_restarted(#{ref := Ref}, Before) ->
    until(fun() ->
        case outrider:info(Ref) of
            #{sidecars := [#{os_pid := OsPid}]} -> OsPid =/= Before;
            #{sidecars := []} -> false
        end
    end).

%% Whether the stream has taken the order to close its connection after the answer: the last field of its response,
%% which is the last of its state.
is_told(Stream) ->
    State = sys:get_state(Stream),
    Response = element(tuple_size(State), State),
    element(tuple_size(Response), Response).
