%% The slow end of a listener: nobody comes in, handlers are told, clients leave one after the other, requests are
%% finished, then the listener stops. And its quick end with many clients. Only Outrider has a drain.
%% What a handler has sent just before is in outrider_last_words_SUITE.
-module(outrider_drain_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([nobody_comes_in_when_handlers_are_told/1, handlers_that_asked_are_told_once/1]).
-export([clients_get_the_code_and_handlers_end_once/1, closes_are_spread_over_a_time/1, closes_come_at_a_rate/1]).
-export([requests_are_finished_and_idle_connections_closed/1, an_answer_reaches_a_client_that_reads_late/1]).
-export([an_upgrade_meanwhile_is_drained/1, nobody_there/1, a_handler_that_does_not_end_is_killed/1]).
-export([a_suspended_listener_is_drained/1]).
-export([progress_is_in_info_and_there_is_one_drain_at_a_time/1, a_sidecar_is_killed_meanwhile/1]).
-export([the_caller_dies_meanwhile/1, the_listener_is_stopped_meanwhile/1, the_application_stops_meanwhile/1]).
-export([a_listener_of_ones_own_supervisor_is_left_suspended/1, bad_options/1, a_stop_reaches_a_thousand_clients/1]).

-import(drain_case, [drain/2, result/1, progress/1]).
-import(own_case, [server/1]).
-import(os_process, [until/1]).

%% For what is never waited for to its end.
-define(LONG, #{over => 600000, timeout => 600000}).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    Transport = #{socket_opts => [{port, 0}, {sndbuf, 4096}], sidecars => 2, shutdown => 2000},
    own_case:init(Case, #{routes => routes(), transport => Transport}, Config).

end_per_testcase(Case, _) ->
    own_case:stop(Case).

routes() ->
    Script = #{websocket_handle => fun(Frame, State) -> {[Frame], State} end},
    Told = Script#{opts => #{drain => true}, websocket_info => fun told/2},
    [
        {"/", ws_script_h, Script},
        {"/told", ws_script_h, Told},
        {"/late", ws_script_h, Told#{init => fun late/2}},
        {"/stubborn", ws_script_h, Script#{terminate => fun(_, _, _) -> receive after infinity -> ok end end}},
        {"/slow", http_script_h, #{silent => true, init => fun slow/2}},
        {"/quick", http_script_h, #{silent => true, init => fun(Req, State) ->
            {ok, cowboy_req:reply(200, #{}, binary:copy(<<"x">>, 200000), Req), State}
        end}}
    ].

%% Says so, and goes on when it may.
told({outrider, drain, _}, #{probe := Probe} = State) ->
    probe:note(Probe, {told, self()}),
    go_on = probe:await(Probe, go_on),
    {[], State}.

late(Req, #{probe := Probe, opts := Opts} = State) ->
    probe:note(Probe, begun),
    go_on = probe:await(Probe, go_on),
    {cowboy_websocket, Req, State, Opts}.

slow(Req, #{probe := Probe} = State) ->
    probe:note(Probe, begun),
    go_on = probe:await(Probe, go_on),
    {ok, cowboy_req:reply(200, #{}, <<"done">>, Req), State}.

nobody_comes_in_when_handlers_are_told(Config) ->
    #{ref := Ref, port := Port, probe := Probe} = Server = server(Config),
    _ = [open(Server, "/told") || _ <- lists:seq(1, 4)],
    Drain = drain(Ref, #{over => 0}),
    {told, _} = probe:await(Probe, fun is_told/1),
    ok = nobody_listens(Port),
    suspended = outrider:get_status(Ref),
    probe:note(Probe, go_on),
    {ok, #{closed := 4, remaining := 0}} = result(Drain).

handlers_that_asked_are_told_once(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    probe:note(Probe, go_on),
    _ = [open(Server, Path) || Path <- ["/told", "/told", "/told", "/", "/"]],
    {ok, #{closed := 5, remaining := 0}} = outrider:drain(Ref, #{over => 0, timeout => 20000, code => 1012}),
    Calls = probe:calls(Probe),
    3 = length(lists:usort([Pid || {told, Pid} <- Calls])),
    [Message, Message, Message] = [Message || {websocket_info, Message} <- Calls],
    {outrider, drain, #{code := 1012, over := 0, timeout := 20000}} = Message.

clients_get_the_code_and_handlers_end_once(Config) ->
    #{ref := Other, port := Port, probe := Probe} = server(Config),
    _ = [begin
        Ref = {?MODULE, Code},
        Server = own_case:listen(Ref, #{routes => routes(), probe => Probe}),
        Clients = [ws_client:open(Server) || _ <- lists:seq(1, 10)],
        #{sidecars := [#{os_pid := OsPid}]} = outrider:info(Ref),
        {ok, #{closed := 10, remaining := 0}} = outrider:drain(Ref, Options),
        ok = lists:foreach(fun(Client) -> [{close, Code, <<>>}, closed] = ws_client:recv_all(Client) end, Clients),
        false = maps:is_key(Ref, outrider:info()),
        os_process:is_gone(OsPid)
    end || {Code, Options} <- [
        {1001, #{over => 100}}, {1012, #{over => 100, code => 1012}}, {4000, #{rate => 1000, code => 4000}}
    ]],
    Ends = [Reason || {terminate, Reason} <- probe:calls(Probe)],
    Ends = lists:duplicate(30, shutdown),
    [] = [Reason || {exit, Reason} <- probe:calls(Probe), Reason =/= normal],
    %% The other listener has not noticed.
    Port = outrider:get_port(Other).

%% A slot of a second for each of 20 clients: when the first has gone, most are still served.
closes_are_spread_over_a_time(Config) ->
    spread(Config, #{over => 20000}).

closes_come_at_a_rate(Config) ->
    spread(Config, #{rate => 1}).

spread(Config, Options) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    Clients = [ws_client:open(Server) || _ <- lists:seq(1, 20)],
    Drain = drain(Ref, Options),
    {exit, normal} = probe:await_exit(Probe),
    until(fun() -> maps:get(closed, progress(Ref), 0) > 0 end),
    #{closed := Closed, remaining := Remaining} = progress(Ref),
    20 = Closed + Remaining,
    _ = [ws_client:send(Client, {text, <<"are you there">>}) || Client <- Clients],
    Answers = [ws_client:recv(Client) || Client <- Clients],
    true = lists:member({text, <<"are you there">>}, Answers),
    true = lists:member({close, 1001, <<>>}, Answers),
    ok = outrider:stop_listener(Ref),
    {ok, #{closed := 20, remaining := 0}} = result(Drain).

requests_are_finished_and_idle_connections_closed(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    Idle = http_client:connect(Server),
    ok = http_client:send(Idle, http_client:request("GET", "/quick")),
    #{status := 200} = http_client:response(Idle),
    Silent = http_client:connect(Server),
    Busy = http_client:connect(Server),
    ok = http_client:send(Busy, http_client:request("GET", "/slow")),
    begun = probe:await(Probe, begun),
    Drain = drain(Ref, #{over => 0}),
    closed = http_client:closed(Idle),
    closed = http_client:closed(Silent),
    until(fun() -> maps:get(remaining, progress(Ref), 0) =:= 1 end),
    probe:note(Probe, go_on),
    #{status := 200, headers := Headers, body := <<"done">>} = http_client:response(Busy),
    {_, <<"close">>} = lists:keyfind(<<"connection">>, 1, Headers),
    closed = http_client:closed(Busy),
    {ok, #{closed := 1, remaining := 0}} = result(Drain).

%% Its stream has ended in the VM long before.
an_answer_reaches_a_client_that_reads_late(Config) ->
    #{ref := Ref} = Server = server(Config),
    Client = http_client:connect(Server, [{recbuf, 4096}]),
    ok = http_client:send(Client, http_client:request("GET", "/quick")),
    until(fun() -> #{metrics := Metrics} = outrider:info(Ref), lists:sum(maps:values(Metrics)) =:= 2 end),
    {ok, #{closed := 0, remaining := 0}} = outrider:drain(Ref, #{}),
    #{status := 200, body := Body} = http_client:response(Client),
    200000 = byte_size(Body).

an_upgrade_meanwhile_is_drained(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    Client = http_client:connect(Server),
    ok = http_client:send(Client, ws_client:handshake("/late")),
    begun = probe:await(Probe, begun),
    [Stream] = outrider:procs(Ref, connections),
    Drain = drain(Ref, #{over => 0, code => 1012}),
    %% The request has its order.
    until(fun() -> lists:member({drain, 1012}, tuple_to_list(sys:get_state(Stream))) end),
    probe:note(Probe, go_on),
    #{status := 101} = http_client:response(Client),
    [{close, 1012, <<>>}, closed] = ws_client:recv_all(Client),
    {ok, #{closed := 1, remaining := 0}} = result(Drain),
    [{terminate, shutdown}, {exit, normal}] = [Call || Call <- probe:calls(Probe), is_tuple(Call), element(1, Call) =/= told,
        element(1, Call) =/= websocket_info].

nobody_there(Config) ->
    #{ref := Ref} = server(Config),
    {ok, #{closed := 0, remaining := 0}} = outrider:drain(Ref, ?LONG),
    false = maps:is_key(Ref, outrider:info()).

%% A connection of before may still bring a request when the drain begins: it is answered, or its connection closed.
a_suspended_listener_is_drained(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    probe:note(Probe, go_on),
    Client = ws_client:open(Server),
    Sockets = [http_client:connect(Server) || _ <- lists:seq(1, 20)],
    Request = http_client:request("GET", "/slow"),
    Ask = fun(Socket) -> ok = http_client:send(Socket, Request), http_client:response(Socket) end,
    ok = lists:foreach(fun(Socket) -> #{status := 200} = Ask(Socket) end, Sockets),
    ok = outrider:suspend_listener(Ref),
    ok = lists:foreach(fun(Socket) -> ok = http_client:send(Socket, Request) end, Sockets),
    {ok, #{remaining := 0}} = outrider:drain(Ref, #{over => 0, timeout => 20000}),
    [{close, 1001, <<>>}, closed] = ws_client:recv_all(Client),
    _ = [case http_client:response(Socket) of
        #{status := 200, body := <<"done">>} -> closed = http_client:closed(Socket);
        closed -> ok
    end || Socket <- Sockets].

%% At the end of the drain's time the listener stops, and that has a time of its own: the option shutdown.
a_handler_that_does_not_end_is_killed(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    _ = open(Server, "/stubborn"),
    {ok, #{closed := 0, remaining := 1}} = outrider:drain(Ref, #{over => 0, timeout => 100}),
    [websocket_init, {terminate, shutdown}, {exit, killed}] = probe:calls(Probe).

progress_is_in_info_and_there_is_one_drain_at_a_time(Config) ->
    #{ref := Ref, port := Port, probe := Probe} = Server = server(Config),
    false = maps:is_key(drain, outrider:info(Ref)),
    _ = [ws_client:open(Server) || _ <- lists:seq(1, 3)],
    Busy = http_client:connect(Server),
    ok = http_client:send(Busy, http_client:request("GET", "/slow")),
    begun = probe:await(Probe, begun),
    Drain = drain(Ref, #{over => 0, timeout => 20000}),
    until(fun() -> progress(Ref) =:= #{code => 1001, over => 0, timeout => 20000, closed => 3, remaining => 1} end),
    {error, draining} = outrider:drain(Ref, #{}),
    {error, draining} = outrider:resume_listener(Ref),
    ok = nobody_listens(Port),
    probe:note(Probe, go_on),
    {ok, #{closed := 4, remaining := 0}} = result(Drain).

a_sidecar_is_killed_meanwhile(Config) ->
    #{ref := Ref, port := Port, probe := Probe} = Server = server(Config),
    Clients = slow_clients_of_each(Server, []),
    #{sidecars := [#{os_pid := Killed, all_connections := Lost}, #{os_pid := Other}]} = outrider:info(Ref),
    Drain = drain(Ref, #{over => 0, timeout => 20000}),
    until(fun() -> maps:get(remaining, progress(Ref), 0) =:= length(Clients) end),
    ok = os_process:signal(Killed, "KILL"),
    until(fun() -> #{closed := Closed} = progress(Ref), Closed =:= Lost end),
    until(fun() -> #{sidecars := Sidecars} = outrider:info(Ref), length(Sidecars) =:= 2 end),
    %% The new one takes no clients in.
    ok = nobody_listens(Port),
    probe:note(Probe, go_on),
    Count = length(Clients),
    {ok, #{closed := Count, remaining := 0}} = result(Drain),
    Lost = length([Client || Client <- Clients, http_client:response(Client) =:= closed]),
    os_process:is_gone(Other).

the_caller_dies_meanwhile(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    Client = open(Server, "/told"),
    #{pid := Listener} = outrider:info(Ref),
    Monitor = monitor(process, Listener),
    {Caller, _} = drain(Ref, #{over => 0, timeout => 20000}),
    {told, _} = probe:await(Probe, fun is_told/1),
    exit(Caller, kill),
    probe:note(Probe, go_on),
    receive {'DOWN', Monitor, process, Listener, _} -> ok end,
    [{close, 1001, <<>>}, closed] = ws_client:recv_all(Client).

the_listener_is_stopped_meanwhile(Config) ->
    #{ref := Ref, port := Port, probe := Probe} = Server = server(Config),
    Clients = [ws_client:open(Server) || _ <- lists:seq(1, 3)],
    Drain = drain(Ref, ?LONG),
    until(fun() -> maps:get(remaining, progress(Ref), 0) =:= 3 end),
    ok = outrider:stop_listener(Ref),
    {ok, #{closed := 3, remaining := 0}} = result(Drain),
    ok = ended_by_a_stop(Clients, Probe),
    %% Nothing of the drain is left: the name and the port can be had again, and drained again.
    {ok, _} = outrider:start_clear(Ref, [{port, Port}], #{}),
    running = outrider:get_status(Ref),
    false = maps:is_key(drain, outrider:info(Ref)),
    {ok, #{closed := 0, remaining := 0}} = outrider:drain(Ref, #{}).

the_application_stops_meanwhile(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    Clients = [ws_client:open(Server) || _ <- lists:seq(1, 3)],
    Drain = drain(Ref, ?LONG),
    until(fun() -> outrider:get_status(Ref) =:= suspended end),
    ok = application:stop(outrider),
    {error, stopped} = result(Drain),
    ok = ended_by_a_stop(Clients, Probe),
    ok = application:start(outrider).

a_listener_of_ones_own_supervisor_is_left_suspended(Config) ->
    #{probe := Probe} = server(Config),
    Ref = {?MODULE, embedded},
    #{start := {Module, Function, Args}} = same_test:child_spec(Ref, [{port, 0}], own_case:protocol(routes(), Probe)),
    {ok, Pid} = apply(Module, Function, Args),
    Server = #{name => outrider, ref => Ref, port => outrider:get_port(Ref), probe => Probe},
    Client = ws_client:open(Server),
    {ok, #{closed := 1, remaining := 0}} = outrider:drain(Ref, #{over => 0}),
    [{close, 1001, <<>>}, closed] = ws_client:recv_all(Client),
    #{pid := Pid, status := suspended} = Info = outrider:info(Ref),
    false = maps:is_key(drain, Info),
    %% It can be had back.
    ok = outrider:resume_listener(Ref),
    Again = http_client:connect(Server#{port := outrider:get_port(Ref)}),
    _ = [begin
        ok = http_client:send(Again, http_client:request("GET", "/quick")),
        #{status := 200} = http_client:response(Again)
    end || _ <- [1, 2]],
    unlink(Pid),
    exit(Pid, shutdown).

bad_options(Config) ->
    #{ref := Ref} = server(Config),
    _ = [{Options, {error, {bad_option, Key}}} = {Options, outrider:drain(Ref, Options)} || {Key, Options} <- [
        {timeout, #{timeout => -1}}, {timeout, #{timeout => infinity}}, {over, #{over => -1}}, {over, #{over => 1.5}},
        {over, #{over => 30001}}, {over, #{over => 101, timeout => 100}}, {rate, #{rate => 0}}, {rate, #{rate => fast}},
        {rate, #{rate => 1, over => 1}}, {code, #{code => 1000}}, {code, #{code => 2999}}, {code, #{code => 5000}},
        {code, #{code => going_away}}, {speed, #{speed => 1}}
    ]],
    running = outrider:get_status(Ref),
    badarg = try outrider:drain({?MODULE, unknown}, #{}) catch error:badarg -> badarg end.

%% Within its time: no handler had to be killed.
a_stop_reaches_a_thousand_clients(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    Clients = [ws_client:open(Server) || _ <- lists:seq(1, 1000)],
    ok = outrider:stop_listener(Ref),
    ok = ended_by_a_stop(Clients, Probe).

%% Helpers

open(Server, Path) ->
    Client = http_client:connect(Server),
    ok = http_client:send(Client, ws_client:handshake(Path)),
    #{status := 101} = http_client:response(Client),
    Client.

is_told({told, _}) -> true;
is_told(_) -> false.

nobody_listens(Port) ->
    _ = [{error, econnrefused} = gen_tcp:connect({127, 0, 0, 1}, Port, []) || _ <- lists:seq(1, 20)],
    ok.

ended_by_a_stop(Clients, Probe) ->
    ok = lists:foreach(fun(Client) -> [{close, 1001, <<>>}, closed] = ws_client:recv_all(Client) end, Clients),
    Count = length(Clients),
    ok = probe:await_exits(Probe, Count),
    Ends = [Reason || {terminate, Reason} <- probe:calls(Probe)],
    Ends = lists:duplicate(Count, shutdown),
    [] = [Reason || {exit, Reason} <- probe:calls(Probe), Reason =/= normal],
    ok.

%% Clients whose requests are being answered, until each of the two sidecars has one.
slow_clients_of_each(#{ref := Ref} = Server, Clients) ->
    case outrider:info(Ref) of
        #{sidecars := [#{all_connections := A}, #{all_connections := B}]} when A > 0, B > 0 ->
            Clients;
        #{} ->
            Client = http_client:connect(Server),
            ok = http_client:send(Client, http_client:request("GET", "/slow")),
            Count = length(Clients) + 1,
            until(fun() -> length(outrider:procs(Ref, connections)) =:= Count end),
            slow_clients_of_each(Server, [Client | Clients])
    end.
