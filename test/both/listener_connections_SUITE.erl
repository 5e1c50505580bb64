%% How many connections a listener takes, and to wait for their number: max_connections, max_sockets, wait_for_connections.
-module(listener_connections_SUITE).

-compile([export_all, nowarn_export_all]).

-import(listener_case, [each/2]).

-define(REF, {same_test, ?FUNCTION_NAME}).

%% With TLS Ranch counts a connection before its handshake, and so before its request.
all() ->
    same_test:cases(?MODULE) -- same_test:not_over_tls([wait_for_connections]).

%%% Limits

%% With the limit reached, the next client waits until another has gone.
max_connections(_) ->
    #{wire := {200, 200}} = same_test:same(#{
        transport => #{socket_opts => [{port, 0}], max_connections => 1, num_acceptors => 1, num_conns_sups => 1},
        handler => {http_script_h, #{init => fun(Req, State) -> {ok, cowboy_req:reply(200, Req), State} end}}
    }, fun(Server) ->
        One = http_client:connect(Server),
        http_client:send(One, http_client:request("GET", "/")),
        #{status := First} = http_client:response(One),
        Two = http_client:connect(Server),
        http_client:send(Two, http_client:request("GET", "/")),
        http_client:close(One),
        #{status := Second} = http_client:response(Two),
        {First, Second}
    end).

%% A client that waits because of the limit is served when the limit is raised.
set_max_connections(_) ->
    #{wire := {1, 2, 200}} = same_test:same(#{
        transport => #{socket_opts => [{port, 0}], max_connections => 1, num_acceptors => 1, num_conns_sups => 1},
        handler => {http_script_h, #{silent => true, init => fun(Req, State) ->
            {ok, cowboy_req:reply(200, Req), State}
        end}}
    }, fun(#{name := Name, ref := Ref} = Server) ->
        Api = same_test:ranch_api(Name),
        One = http_client:connect(Server),
        http_client:send(One, http_client:request("GET", "/")),
        #{status := 200} = http_client:response(One),
        Two = http_client:connect(Server),
        http_client:send(Two, http_client:request("GET", "/")),
        Before = Api:get_max_connections(Ref),
        ok = Api:set_max_connections(Ref, 2),
        #{status := Status} = http_client:response(Two),
        {Before, Api:get_max_connections(Ref), Status}
    end).

%% Ranch's number is that of each of its ten supervisors of connections.
max_connections_by_default(_) ->
    Check = fun(Expected) -> fun(#{wire := Max}) -> Expected = Max end end,
    same_test:differ(max_connections_by_default, #{}, fun(#{name := Name, ref := Ref}) ->
        (same_test:ranch_api(Name)):get_max_connections(Ref)
    end, #{cowboy => Check(1024), outrider => Check(10240)}).

%% Ranch does not count what has become a WebSocket: the limit is for requests.
max_connections_does_not_count_websockets(_) ->
    #{wire := 426} = same_test:same(#{
        transport => #{socket_opts => [{port, 0}], max_connections => 1, num_acceptors => 1, num_conns_sups => 1},
        handler => {ws_script_h, #{}}
    }, fun(#{probe := Probe} = Server) ->
        Sockets = [begin
            Socket = ws_client:open(Server),
            probe:await(Probe, websocket_init),
            Socket
        end || _ <- [1, 2, 3]],
        #{status := Status} = http_client:get(Server, "/"),
        _ = [begin ws_client:send(Socket, close), ws_client:recv_all(Socket) end || Socket <- Sockets],
        Status
    end).

%% Outrider's own limit counts every socket.
max_sockets(_) ->
    same_test:improves(max_sockets, #{
        transport => #{socket_opts => [{port, 0}], max_sockets => 1}, handler => {ws_script_h, #{}}
    }, fun(#{probe := Probe} = Server) ->
        One = ws_client:open(Server),
        probe:await(Probe, websocket_init),
        Two = http_client:connect(Server),
        http_client:send(Two, http_client:request("GET", "/")),
        {error, timeout} = gen_tcp:recv(Two, 0, 200),
        ws_client:send(One, close),
        [close, closed] = ws_client:recv_all(One),
        maps:get(status, http_client:response(Two))
    end, fun(#{wire := 426}) -> ok end).

%%% wait_for_connections

%% Ranch counts all connections; each here has a request that is being answered.
wait_for_connections(_) ->
    #{wire := {2, 200, 200}} = same_test:same(#{
        handler => {http_script_h, #{silent => true, init => fun(Req, State) ->
            register(binary_to_atom(cowboy_req:qs(Req)), self()),
            receive go -> {ok, cowboy_req:reply(200, Req), State} end
        end}}
    }, fun(#{name := Name, ref := Ref} = Server) ->
        Api = same_test:ranch_api(Name),
        ok = Api:wait_for_connections(Ref, '==', 0),
        ok = Api:wait_for_connections(Ref, '<', 1, 10),
        Clients = [begin
            Client = http_client:connect(Server),
            http_client:send(Client, http_client:request("GET", "/?" ++ Number)),
            Client
        end || Number <- ["wait_for_1", "wait_for_2"]],
        ok = Api:wait_for_connections(Ref, '>', 1, 10),
        ok = Api:wait_for_connections(Ref, '>=', 2, 0),
        #{all_connections := Connections} = Api:info(Ref),
        Waiter = monitor(process, spawn(fun() -> ok = Api:wait_for_connections(Ref, '==', 0, 10) end)),
        %% A connection counts before its request has a process.
        Names = [wait_for_1, wait_for_2],
        _ = [os_process:until(fun() -> whereis(Request) =/= undefined end) || Request <- Names],
        _ = [Request ! go || Request <- Names],
        Statuses = [begin
            #{status := Status} = http_client:response(Client),
            http_client:close(Client),
            Status
        end || Client <- Clients],
        receive {'DOWN', Waiter, process, _, normal} -> ok end,
        list_to_tuple([Connections | Statuses])
    end).

%% Of a listener that does not run there are none.
wait_for_connections_of_no_listener(_) ->
    each(fun(_, Api) -> Api:wait_for_connections(?REF, '==', 0, 0) end, ok).

wait_for_connections_with_bad_arguments(_) ->
    each(fun(_, Api) ->
        [try Api:wait_for_connections(?REF, Op, Number, Interval) catch error:badarg -> badarg end
         || {Op, Number, Interval} <- [{'<', 0, 1}, {'=:=', 1, 1}, {'==', -1, 1}, {'==', x, 1}, {'==', 1, infinity}]]
    end, [badarg || _ <- lists:seq(1, 5)]).
