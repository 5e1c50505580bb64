%% The options of a listener: those of the transport and the socket, those of the protocol with the PROXY protocol, and how they are set
%% while it runs. max_connections and max_sockets are in listener_connections_SUITE.
-module(listener_options_SUITE).

-compile([export_all, nowarn_export_all]).

-import(listener_case, [each/2]).

-define(REF, {same_test, ?FUNCTION_NAME}).

all() ->
    same_test:cases(?MODULE).

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

bad_transport_options(_) ->
    each(fun(Module, _) ->
        [Module:start_clear(?REF, #{socket_opts => [{port, 0}], Key => Value}, #{}) || {Key, Value} <- [
            {unknown, 1}, {num_acceptors, 0}, {max_connections, -1}, {shutdown, x}, {connection_type, x},
            {handshake_timeout, x}]]
    end, [{error, {bad_option, Key}} || Key <- [unknown, num_acceptors, max_connections, shutdown,
        connection_type, handshake_timeout]]).

%% A sidecar that is given one does not start.
numbers_beyond_those_of_the_sidecar(_) ->
    compatibility:must_name(limits_that_cannot_be_kept),
    same_test:start([outrider]),
    Start = fun(TransOpts, ProtoOpts) -> outrider:start_clear(?REF, maps:merge(#{socket_opts => [{port, 0}]}, TransOpts), ProtoOpts) end,
    Most = (1 bsl 64) - 1,
    [begin
        {ok, _} = Start(#{Key => Most}, #{}),
        ok = outrider:stop_listener(?REF),
        {error, {bad_option, Key}} = Start(#{Key => Most + 1}, #{})
    end || Key <- [max_connections, max_sockets, max_queued, window, memory_limit]],
    [begin
        {ok, _} = Start(#{}, #{Key => Most}),
        ok = outrider:stop_listener(?REF),
        {error, {bad_option, Key}} = Start(#{}, #{Key => Most + 1})
    end || Key <- [idle_timeout, max_keepalive, max_skip_body_length]],
    %% A process of the VM waits no longer.
    Longest = (1 bsl 32) - 1,
    [begin
        {ok, _} = Start(#{Key => Ms}, #{}),
        ok = outrider:stop_listener(?REF),
        {error, {bad_option, Key}} = Start(#{Key => Ms + 1}, #{})
    end || {Key, Ms} <- [{watchdog, Longest}, {vm_timeout, Longest}, {shutdown, Longest - 10000}]],
    {ok, _} = Start(#{socket_opts => [{port, 0}, {backlog, (1 bsl 32) - 1}]}, #{}),
    ok = outrider:stop_listener(?REF),
    {error, {bad_option, backlog}} = Start(#{socket_opts => [{port, 0}, {backlog, 1 bsl 32}]}, #{}),
    [{error, {bad_option, sidecar_user}} = Start(#{sidecar_user => User}, #{})
        || User <- [{1, (1 bsl 32) - 1}, {(1 bsl 32) - 1, 1}, {1 bsl 64, 1}]].

%% Cowboy's error is that of the process that failed; Outrider's names the option.
an_unknown_socket_option(_) ->
    compatibility:must_name(unknown_socket_option),
    each(fun(Module, _) ->
        case {Module, Module:start_clear(?REF, [{port, 0}, {unknown, 1}], #{})} of
            {cowboy, {error, {{shutdown, {failed_to_start_child, _, badarg}}, _}}} -> refused;
            {outrider, {error, {bad_option, unknown}}} -> refused
        end
    end, refused).

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

%%% Protocol options

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
