%% The listener: what start and stop return, transport, socket and protocol options, the functions that take its name,
%% and the PROXY protocol.
-module(listener_SUITE).

-compile([export_all, nowarn_export_all]).

%% With TLS Ranch counts a connection before its handshake, and so before its request.
all() ->
    same_test:cases(?MODULE) -- same_test:not_over_tls([wait_for_connections]).

-define(REF, {same_test, ?FUNCTION_NAME}).

%% What this fun gives for each server: the same, and this. The fun gets the module to start and stop with, and the one
%% that knows ranch's functions.
each(Look, Expected) ->
    same_test:start(same_test:servers()),
    Wanted = [{Name, Expected} || Name <- same_test:servers()],
    Wanted = [{Name, transcript:plain(Look(Name, same_test:ranch_api(Name)))} || Name <- same_test:servers()],
    ok.

%%% Start and stop

start_and_stop(_) ->
    each(fun(Module, _) ->
        {ok, Pid} = Module:start_clear(?REF, [{port, 0}], #{}),
        Again = Module:start_clear(?REF, [{port, 0}], #{}),
        Same = Again =:= {error, {already_started, Pid}},
        Stopped = Module:stop_listener(?REF),
        {Same, Stopped, is_process_alive(Pid)}
    end, {true, ok, false}).

stopping_an_unknown_listener(_) ->
    compatibility:must_name(stop_of_an_unknown_listener),
    Badarg = same_test:version(ranch) < {2, 2},
    each(fun(Module, _) ->
        try
            Module:stop_listener(?REF)
        catch
            error:badarg when Module =:= cowboy, Badarg -> {error, not_found}
        end
    end, {error, not_found}).

%% The name can be had again at once.
%% At once; of Ranch's listener now and then only soon.
start_after_stop(_) ->
    compatibility:must_name(port_after_stop),
    each(fun(Module, Api) ->
        {ok, _} = Module:start_clear(?REF, [{port, 0}], #{}),
        Port = Api:get_port(?REF),
        ok = Module:stop_listener(?REF),
        ok = os_process:until(fun() ->
            case Module:start_clear(?REF, [{port, Port}], #{}) of
                {ok, _} -> true;
                {error, eaddrinuse} when Module =:= cowboy -> false
            end
        end),
        Same = Api:get_port(?REF) =:= Port,
        ok = Module:stop_listener(?REF),
        Same
    end, true).

%% The listener does not depend on who started it.
the_starter_may_die(_) ->
    each(fun(Module, Api) ->
        {Pid, Monitor} = spawn_monitor(fun() -> {ok, _} = Module:start_clear(?REF, [{port, 0}], #{}) end),
        receive {'DOWN', Monitor, process, Pid, normal} -> ok end,
        IsPort = is_integer(Api:get_port(?REF)),
        ok = Module:stop_listener(?REF),
        IsPort
    end, true).

a_port_that_is_taken(_) ->
    each(fun(Module, _) ->
        {ok, Socket} = gen_tcp:listen(0, []),
        {ok, Port} = inet:port(Socket),
        Result = Module:start_clear(?REF, [{port, Port}], #{}),
        gen_tcp:close(Socket),
        Result
    end, {error, eaddrinuse}).

an_address_that_is_not_ours(_) ->
    each(fun(Module, _) ->
        {error, {{shutdown, {failed_to_start_child, _, {listen_error, Ref, Reason}}}, _}} =
            Module:start_clear(?REF, [{port, 0}, {ip, {192, 0, 2, 1}}], #{}),
        {Ref =:= ?REF, Reason}
    end, {true, eaddrnotavail}).

bad_transport_options(_) ->
    each(fun(Module, _) ->
        [Module:start_clear(?REF, #{socket_opts => [{port, 0}], Key => Value}, #{}) || {Key, Value} <- [
            {unknown, 1}, {num_acceptors, 0}, {max_connections, -1}, {shutdown, x}, {connection_type, x},
            {handshake_timeout, x}]]
    end, [{error, {bad_option, Key}} || Key <- [unknown, num_acceptors, max_connections, shutdown,
        connection_type, handshake_timeout]]).

%% Those that Outrider cannot keep to are refused, infinity too.
limits_that_cannot_be_kept(_) ->
    compatibility:must_name(limits_that_cannot_be_kept),
    same_test:start([outrider]),
    _ = [begin
        {ok, _} = outrider:start_clear(?REF, [{port, 0}], #{Limit => Most}),
        ok = outrider:stop_listener(?REF),
        [{error, {bad_option, Limit}} = outrider:start_clear(?REF, [{port, 0}], #{Limit => TooMuch})
            || TooMuch <- [Most + 1, infinity]]
    end || {Limit, Most} <- [
        {max_headers, 24576}, {max_header_name_length, 65535}, {max_authority_length, 65000},
        {max_request_line_length, 67108864}, {max_header_value_length, 67108864},
        {max_cookie_header_value_length, 67108864}, {max_authorization_header_value_length, 67108864}]].

%% Cowboy's error is that of the process that failed; Outrider's names the option.
an_unknown_socket_option(_) ->
    compatibility:must_name(unknown_socket_option),
    each(fun(Module, _) ->
        case {Module, Module:start_clear(?REF, [{port, 0}, {unknown, 1}], #{})} of
            {cowboy, {error, {{shutdown, {failed_to_start_child, _, badarg}}, _}}} -> refused;
            {outrider, {error, {bad_option, unknown}}} -> refused
        end
    end, refused).

%% Supervisors know an embedded listener by the same id, that of Ranch 2. Ranch 1 has another, in a tuple.
the_id_of_a_child_spec(_) ->
    #{id := {ranch_embedded_sup, ?REF} = Id} = outrider:child_spec(?REF, ranch_tcp, #{}, #{}),
    case ranch:child_spec(?REF, ranch_tcp, #{}, cowboy_clear, #{}) of
        #{id := Ranchs} -> Id = Ranchs;
        Spec -> ranch_listener_sup = element(1, element(1, Spec))
    end,
    ok.

%%% Options of a listener that runs

%% For the requests that come after. A new connection for each: Cowboy's options are those of a connection.
set_protocol_options(_) ->
    Dispatch = fun(Status) ->
        #{env => #{dispatch => cowboy_router:compile([{'_', [{"/", http_script_h, #{
            silent => true, init => fun(Req, State) -> {ok, cowboy_req:reply(Status, Req), State} end}}]}])}}
    end,
    #{wire := {200, 201, true}} = same_test:same(#{protocol => Dispatch(200)}, fun(#{name := Name, ref := Ref} = Server) ->
        Api = same_test:ranch_api(Name),
        #{status := Before} = http_client:get(Server, "/"),
        Options = Api:get_protocol_options(Ref),
        ok = Api:set_protocol_options(Ref, maps:merge(Options, Dispatch(201))),
        #{status := After} = http_client:get(Server, "/"),
        {Before, After, Api:get_protocol_options(Ref) =:= maps:merge(Options, Dispatch(201))}
    end).

set_transport_options(_) ->
    #{wire := {5000, 1000, 1000, {error, {bad_option, shutdown}}, 1000, 7}} = same_test:same(#{
        transport => #{socket_opts => [{port, 0}], shutdown => 5000, max_connections => 7}
    }, fun(#{name := Name, ref := Ref}) ->
        Api = same_test:ranch_api(Name),
        Shutdown = fun() -> maps:get(shutdown, Api:get_transport_options(Ref)) end,
        Before = Shutdown(),
        ok = Api:set_transport_options(Ref, (Api:get_transport_options(Ref))#{shutdown => 1000, max_connections => 8}),
        After = Shutdown(),
        #{transport_options := #{shutdown := Info}} = Api:info(Ref),
        Bad = Api:set_transport_options(Ref, #{shutdown => x}),
        {Before, After, Info, Bad, Shutdown(), Api:get_max_connections(Ref)}
    end).

options_of_no_listener(_) ->
    each(fun(_, Api) ->
        [try apply(Api, Function, [?REF]) catch error:badarg -> badarg end
         || Function <- [get_protocol_options, get_transport_options]]
    end, [badarg, badarg]).

%%% Transport options

%% Ranch's default is any free port; Cowboy since 2.13 does not get as far.
no_socket_options(_) ->
    compatibility:must_name(no_socket_options),
    Crashes = same_test:version(cowboy) >= {2, 13},
    each(fun(Module, Api) ->
        try Module:start_clear(?REF, #{}, #{}) of
            {ok, _} ->
                IsPort = is_integer(Api:get_port(?REF)),
                ok = Module:stop_listener(?REF),
                IsPort
        catch
            error:function_clause when Module =:= cowboy -> Crashes
        end
    end, true).

options_that_are_accepted(_) ->
    _ = [#{wire := 404} = same_test:same(#{transport => Options#{socket_opts => [{port, 0}]}},
        fun(Server) -> maps:get(status, http_client:get(Server, "/")) end) || Options <- [
            #{num_acceptors => 1}, #{num_acceptors => 2, num_conns_sups => 1}, #{max_connections => infinity},
            #{max_connections => 10}, #{connection_type => worker}, #{connection_type => supervisor},
            #{handshake_timeout => 1000}, #{shutdown => 1000}, #{shutdown => infinity}, #{shutdown => brutal_kill},
            #{logger => logger}]],
    ok.

socket_options_that_are_accepted(_) ->
    _ = [#{wire := 404, log := []} = same_test:same(#{transport => [{port, 0} | Options]},
        fun(Server) -> maps:get(status, http_client:get(Server, "/")) end) || Options <- [
            [{backlog, 5}], [{nodelay, true}], [{nodelay, false}], [{keepalive, true}], [{sndbuf, 100000}],
            [{recbuf, 100000}], [{send_timeout, 1000}], [inet], [{ip, {127, 0, 0, 1}}],
            [{ifaddr, {127, 0, 0, 1}}]]],
    ok.

%% Ranch drops these with a warning; the listener starts all the same.
socket_options_that_are_not_the_users(_) ->
    _ = [#{wire := 404, log := [{warning, _}]} = same_test:same(#{transport => [{port, 0}, Option]},
        fun(Server) -> maps:get(status, http_client:get(Server, "/")) end)
        || Option <- [{active, true}, {packet, line}, {mode, list}, {reuseaddr, false}]],
    ok.

%% They belong to a socket of the VM.
socket_options_without_effect(_) ->
    same_test:differ(socket_options_without_effect, #{transport => [{port, 0}, {linger, {true, 1}}]},
        fun(Server) -> maps:get(status, http_client:get(Server, "/")) end, #{
            cowboy => fun(#{wire := 404, log := []}) -> ok end,
            outrider => fun(#{wire := 404, log := [{warning, Text}]}) ->
                {_, _} = binary:match(Text, <<"cannot honour these options: [linger]">>)
            end
        }).

ipv6(_) ->
    {_, Default} = same_test:scheme(),
    Expected = iolist_to_binary(io_lib:format("{{0,0,0,0,0,0,0,1},~b}", [Default])),
    #{wire := #{status := 200, body := Expected}} = same_test:same(#{
        transport => [inet6, {ip, {0, 0, 0, 0, 0, 0, 0, 1}}, {port, 0}],
        handler => {http_script_h, #{init => fun(#{peer := {Ip, _}, port := Port} = Req, State) ->
            {ok, cowboy_req:reply(200, #{}, io_lib:format("~w", [{Ip, Port}]), Req), State}
        end}}
    }, fun(#{port := Port}) ->
        Socket = http_client:connect_to({0, 0, 0, 0, 0, 0, 0, 1}, Port, [inet6], <<>>),
        http_client:send(Socket, http_client:request("GET", "/")),
        http_client:response(Socket)
    end).

unix_socket(_) ->
    %% The path of a Unix socket must be short.
    Path = "/tmp/outrider_" ++ os:getpid() ++ ".sock",
    Look = fun(#{peer := Peer, sock := {local, Sock}, port := Port} = Req, State) ->
        Seen = {Peer, iolist_to_binary(Sock) =:= iolist_to_binary(Path), Port},
        {ok, cowboy_req:reply(200, #{}, io_lib:format("~w", [Seen]), Req), State}
    end,
    {_, Default} = same_test:scheme(),
    Expected = iolist_to_binary(io_lib:format("{{local,<<>>},true,~b}", [Default])),
    #{wire := {undefined, Expected}} = same_test:same(#{
        transport => [{ip, {local, Path}}, {port, 0}], handler => {http_script_h, #{init => Look}}
    }, fun(#{port := Port}) ->
        Socket = http_client:connect_to({local, Path}, 0, [], <<>>),
        http_client:send(Socket, http_client:request("GET", "/")),
        #{status := 200, body := Body} = http_client:response(Socket),
        {Port, Body}
    end),
    {error, enoent} = file:read_file_info(Path).

%% The address and the port that were given.
get_addr_and_get_port(_) ->
    each(fun(Module, Api) ->
        {ok, _} = Module:start_clear(?REF, [{ip, {127, 0, 0, 1}}, {port, 0}], #{}),
        {Ip, Port} = Api:get_addr(?REF),
        Same = Port =:= Api:get_port(?REF),
        ok = Module:stop_listener(?REF),
        {Ip, Same}
    end, {{127, 0, 0, 1}, true}).

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

%%% Functions that take the listener's name

procs(_) ->
    #{wire := {[], true}, calls := [websocket_init | _]} = same_test:same(#{handler => {ws_script_h, #{}}},
        fun(#{name := Name, ref := Ref, probe := Probe} = Server) ->
            Api = same_test:ranch_api(Name),
            Before = Api:procs(Ref, connections),
            Socket = ws_client:open(Server),
            Pid = probe:process(Probe),
            Listed = lists:member(Pid, Api:procs(Ref, connections)),
            http_client:close(Socket),
            {Before, Listed}
        end).

%% A WebSocket counts among all connections, but not among the active ones.
info(_) ->
    #{wire := {running, {0, 1}, true}} = same_test:same(#{handler => {ws_script_h, #{}}},
        fun(#{name := Name, ref := Ref, port := Port, probe := Probe} = Server) ->
            Api = same_test:ranch_api(Name),
            Socket = ws_client:open(Server),
            probe:process(Probe),
            #{status := Status, port := InfoPort, active_connections := Active, all_connections := All,
                pid := _, ip := _, max_connections := _, transport := _, transport_options := _, protocol := _,
                protocol_options := _} = Api:info(Ref),
            http_client:close(Socket),
            {Status, {Active, All}, InfoPort =:= Port}
        end).

%% Existing connections go on while a suspended listener takes no new ones.
suspend_and_resume(_) ->
    compatibility:must_name(port_after_stop),
    #{wire := {refused, undefined, suspended, {text, <<"x">>}, 200, running}} = same_test:same(#{
        routes => [{"/", ws_script_h, #{websocket_handle => fun(Frame, State) -> {[Frame], State} end}},
            {"/plain", http_script_h, #{init => fun(Req, State) -> {ok, cowboy_req:reply(200, Req), State} end}}]
    }, fun(#{name := Name, ref := Ref, port := Port} = Server) ->
        Api = same_test:ranch_api(Name),
        Socket = ws_client:open(Server),
        ok = Api:suspend_listener(Ref),
        Refused = refused(Name, Port),
        {NoPort, Suspended} = {Api:get_port(Ref), Api:get_status(Ref)},
        ws_client:send(Socket, {text, <<"x">>}),
        Echo = ws_client:recv(Socket),
        ok = Api:resume_listener(Ref),
        #{status := Status} = http_client:get(Server#{port := Api:get_port(Ref)}, "/plain"),
        {Refused, NoPort, Suspended, Echo, Status, Api:get_status(Ref)}
    end).

%% At once; by Ranch now and then only soon.
refused(Name, Port) ->
    ok = os_process:until(fun() ->
        case gen_tcp:connect({127, 0, 0, 1}, Port, []) of
            {error, econnrefused} -> true;
            {error, econnreset} when Name =:= cowboy -> false;
            {ok, Socket} when Name =:= cowboy -> gen_tcp:close(Socket) =/= ok
        end
    end),
    refused.

%% set_env is for connections that come after, a dispatch in a persistent term for all.
set_env(_) ->
    #{wire := {404, 201, #{}}} = same_test:same(#{}, fun(#{name := Name, ref := Ref, probe := Probe} = Server) ->
        Dispatch = cowboy_router:compile([{'_', [{"/", http_script_h, #{probe => Probe, init => fun(Req, State) ->
            {ok, cowboy_req:reply(201, Req), State}
        end}}]}]),
        #{status := Before} = http_client:get(Server, "/"),
        ok = Name:set_env(Ref, dispatch, Dispatch),
        #{status := After} = http_client:get(Server, "/"),
        Dispatch = Name:get_env(Ref, dispatch),
        {Before, After, Name:get_env(Ref, none, #{})}
    end).

%% Cowboy's connections keep the env that they began with.
set_env_and_an_open_connection(_) ->
    same_test:differ(set_env_at_once, #{}, fun(#{name := Name, ref := Ref, probe := Probe} = Server) ->
        Dispatch = cowboy_router:compile([{'_', [{"/", http_script_h, #{probe => Probe, silent => true,
            init => fun(Req, State) -> {ok, cowboy_req:reply(201, Req), State} end}}]}]),
        Socket = http_client:connect(Server),
        Next = fun() ->
            http_client:send(Socket, http_client:request("GET", "/")),
            maps:get(status, http_client:response(Socket))
        end,
        Before = Next(),
        ok = Name:set_env(Ref, dispatch, Dispatch),
        {Before, Next()}
    end, #{
        cowboy => fun(#{wire := {404, 404}}) -> ok end,
        outrider => fun(#{wire := {404, 201}}) -> ok end
    }).

dispatch_in_a_persistent_term(_) ->
    Route = fun(Status, Probe) -> cowboy_router:compile([{'_', [{"/", http_script_h, #{
        probe => Probe, init => fun(Req, State) -> {ok, cowboy_req:reply(Status, Req), State} end}}]}]) end,
    #{wire := {201, 202}} = same_test:same(#{protocol => #{env => #{dispatch => {persistent_term, ?MODULE}}}},
        fun(#{probe := Probe} = Server) ->
            persistent_term:put(?MODULE, Route(201, Probe)),
            Socket = http_client:connect(Server),
            Next = fun() ->
                http_client:send(Socket, http_client:request("GET", "/")),
                maps:get(status, http_client:response(Socket))
            end,
            One = Next(),
            persistent_term:put(?MODULE, Route(202, Probe)),
            Two = Next(),
            persistent_term:erase(?MODULE),
            {One, Two}
        end).

%%% Protocol options

%% Unknown ones are for stream handlers.
unknown_protocol_options_are_accepted(_) ->
    #{wire := 404, log := []} = same_test:same(#{protocol => #{my_own_option => 1}},
        fun(Server) -> maps:get(status, http_client:get(Server, "/")) end).

%% The handler finds them with the listener's name.
the_ref_of_req(_) ->
    listener = http_case:noted(fun(#{ref := Ref}) -> Ref end, "/").

%%% PROXY protocol

-define(PROXY(Bytes), fun(Server) ->
    Socket = http_client:connect_behind(Server, Bytes),
    http_client:send(Socket, http_client:request("GET", "/")),
    http_client:response(Socket)
end).

%% What Req says of the proxy's header, and that the peer stays the proxy.
proxied(Bytes, Expected) ->
    #{wire := #{status := 200}, calls := [{proxy, Header, {127, 0, 0, 1}} | _]} = same_test:same(#{
        handler => {http_script_h, #{init => fun(#{peer := {Ip, _}} = Req, #{probe := Probe} = State) ->
            probe:note(Probe, {proxy, maps:get(proxy_header, Req, none), Ip}),
            {ok, cowboy_req:reply(200, Req), State}
        end}},
        protocol => #{proxy_header => true}
    }, ?PROXY(Bytes)),
    Expected = Header,
    ok.

proxy_v1(_) ->
    proxied("PROXY TCP4 192.0.2.1 192.0.2.2 1111 80\r\n", #{version => 1, command => proxy, transport_family => ipv4,
        transport_protocol => stream, src_address => {192, 0, 2, 1}, src_port => 1111,
        dest_address => {192, 0, 2, 2}, dest_port => 80}).

proxy_v1_ipv6(_) ->
    proxied("PROXY TCP6 2001:db8::1 2001:db8::2 1111 80\r\n", #{version => 1, command => proxy,
        transport_family => ipv6, transport_protocol => stream, src_address => {16#2001, 16#db8, 0, 0, 0, 0, 0, 1},
        src_port => 1111, dest_address => {16#2001, 16#db8, 0, 0, 0, 0, 0, 2}, dest_port => 80}).

proxy_v1_unknown(_) ->
    proxied("PROXY UNKNOWN\r\n", #{version => 1, command => proxy, transport_family => undefined,
        transport_protocol => undefined}).

proxy_v2(_) ->
    Info = #{version => 2, command => proxy, transport_family => ipv4, transport_protocol => stream,
        src_address => {192, 0, 2, 1}, src_port => 1111, dest_address => {192, 0, 2, 2}, dest_port => 80},
    proxied(ranch_proxy_header:header(Info), Info).

proxy_v2_local(_) ->
    proxied(ranch_proxy_header:header(#{version => 2, command => local}), #{version => 2, command => local}).

proxy_v2_with_tlvs(_) ->
    Info = #{version => 2, command => proxy, transport_family => ipv6, transport_protocol => stream,
        src_address => {16#2001, 16#db8, 0, 0, 0, 0, 0, 1}, src_port => 1111,
        dest_address => {16#2001, 16#db8, 0, 0, 0, 0, 0, 2}, dest_port => 80,
        alpn => <<"h2">>, authority => <<"example.org">>},
    proxied(ranch_proxy_header:header(Info), Info).

-define(UNPROXIED, "^a connection from 127\\.0\\.0\\.1:[0-9]+ is closed: it does not begin with a PROXY header").

%% Without a header there is no answer at all. The log names the peer: it is no proxy, or one that is set up otherwise.
bad_proxy_headers(_) ->
    _ = [same_test:differ(bad_proxy_header, #{protocol => #{proxy_header => true}}, ?PROXY(Bytes), #{
        cowboy => fun(#{wire := closed}) -> ok end,
        outrider => fun(#{wire := closed, log := [{warning, Text}]}) -> {match, _} = re:run(Text, ?UNPROXIED) end
    }) || Bytes <- ["", "PROXY\r\n", <<13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10, 99>>]],
    ok.

a_malformed_proxy_header(_) ->
    Proxy = ?PROXY("PROXY TCP4 x y 1 2\r\n"),
    same_test:differ_before({2, 18}, malformed_proxy_header, #{protocol => #{proxy_header => true}}, Proxy, #{
        cowboy => fun(#{wire := closed}) -> ok end,
        outrider => fun(#{wire := closed, log := []}) -> ok end
    }).
