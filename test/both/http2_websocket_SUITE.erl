%% WebSockets over HTTP/2 (RFC 8441) on both servers, as they are on the wire. See http2_SUITE.
-module(http2_websocket_SUITE).

-compile([export_all, nowarn_export_all]).

-import(http2_client, [open/1, send/2, head/4, head/5, response/2, connect_to/1]).
-import(http2_case, [reply/2, get/2, status/1, floods/0]).

all() ->
    same_test:cases(?MODULE).

a_websocket(_) ->
    #{wire := {<<129, 5, "hello">>, <<136, 2, 1000:16>>}, calls := Calls, log := []} = websocket(#{}, fun(Server) ->
        Socket = opened(Server, 1),
        ok = frames(Socket, {text, <<"hello">>}),
        Answer = payload(Socket, 7),
        ok = frames(Socket, {close, 1000, <<"bye">>}),
        {Answer, payload(Socket, 4)}
    end),
    [websocket_init, {websocket_handle, {text, <<"hello">>}}, {terminate, {remote, 1000, <<"bye">>}}, {exit, normal}] = Calls.

%% Cowboy's chain has the handshake's answer and all that follows pass for a body.
a_websocket_behind_the_compression_of_bodies(_) ->
    same_test:differ(gzipped_websocket_over_http_2, #{
        protocol => #{enable_connect_protocol => true, stream_handlers => [cowboy_compress_h, cowboy_stream_h]},
        handler => {ws_script_h, #{silent => true, websocket_init => fun(State) -> {[{text, <<"hello">>}], State} end}}
    }, fun(Server) ->
        Socket = open(Server),
        Fields = [{<<"sec-websocket-version">>, <<"13">>}, {<<"accept-encoding">>, <<"gzip">>}],
        ok = send(Socket, http2_client:connect_to(1, Fields)),
        [Coding, Frame] = [case Event of
            {headers, 1, nofin, Headers} -> proplists:get_value(<<"content-encoding">>, Headers, none);
            {data, 1, nofin, <<129, 5, "hello">>} -> frame;
            {data, 1, nofin, <<31, 139, _/binary>>} -> gzip
        end || Event <- http2_client:until(Socket, fun(Event) -> element(1, Event) =:= data end), element(1, Event) =/= window],
        {Coding, Frame}
    end, #{
        cowboy => fun(#{wire := {<<"gzip">>, gzip}}) -> ok end,
        outrider => fun(#{wire := {none, frame}}) -> ok end
    }).

websockets_and_requests_share_a_connection(_) ->
    #{wire := {<<129, 1, "1">>, 200, <<129, 1, "2">>}} = same_test:same(#{
        protocol => #{enable_connect_protocol => true},
        routes => [
            {"/", ws_script_h, #{silent => true, websocket_handle => fun(Frame, State) -> {[Frame], State} end}},
            {"/other", http_script_h, #{silent => true, init => fun(Req, State) -> {ok, reply(Req, <<"body">>), State} end}}
        ]
    }, fun(Server) ->
        Socket = opened(Server, 1),
        ok = frames(Socket, {text, <<"1">>}),
        One = payload(Socket, 3),
        ok = send(Socket, head(3, fin, <<"GET">>, <<"/other">>)),
        Status = status(response(Socket, 3)),
        ok = frames(Socket, {text, <<"2">>}),
        Two = payload(Socket, 3),
        ok = frames(Socket, close),
        _ = payload(Socket, 2),
        {One, Status, Two}
    end).

the_process_of_a_websocket(_) ->
    same_test:differ(websocket_process_over_http_2, #{
        protocol => #{enable_connect_protocol => true}, handler => {ws_script_h, #{
            init => fun(#{pid := Pid} = Req, State) -> {cowboy_websocket, Req, State#{pid => Pid}} end,
            websocket_init => fun(#{pid := Pid, probe := Probe} = State) ->
                probe:note(Probe, {is_of_req, Pid =:= self()}),
                {[], State}
            end
        }}
    }, fun(Server) ->
        Socket = opened(Server, 1),
        ok = frames(Socket, close),
        payload(Socket, 2)
    end, #{
        cowboy => fun(#{calls := [websocket_init, {is_of_req, false} | _]}) -> ok end,
        outrider => fun(#{calls := [websocket_init, {is_of_req, true} | _]}) -> ok end
    }).

%%% Handshakes

handshakes_that_are_refused(_) ->
    same_test:rows(#{
        protocol => #{enable_connect_protocol => true}, handler => {ws_script_h, #{}}
    }, fun(Server, Bytes) ->
        Socket = open(Server),
        ok = send(Socket, Bytes),
        status(response(Socket, 1))
    end, [
        {no_version, http2_client:connect_to(1, []), 400},
        {bad_version, http2_client:connect_to(1, [{<<"sec-websocket-version">>, <<"12">>}]), 400},
        {a_get, head(1, fin, <<"GET">>, <<"/">>), refused_status()},
        {other_protocol, head(1, nofin, <<"CONNECT">>, <<"/">>, [
            {<<":protocol">>, <<"other">>}, {<<"sec-websocket-version">>, <<"13">>}
        ]), refused_status()}
    ]).

refused_status() ->
    case same_test:version(cowboy) >= {2, 13} of
        true -> 501;
        false -> 400
    end.

no_websocket_unless_it_is_enabled(_) ->
    #{wire := {[none], {reset, protocol_error}}} = same_test:same(#{handler => {ws_script_h, #{}}}, fun(Server) ->
        Socket = http2_client:connect(Server),
        ok = send(Socket, [<<"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n">>, cow_http2:settings(#{})]),
        Settings = http2_client:until(Socket, fun(Event) -> element(1, Event) =:= settings end),
        ok = send(Socket, [cow_http2:settings_ack(), connect_to(1)]),
        {[maps:get(enable_connect_protocol, S, none) || {settings, S} <- Settings], status(response(Socket, 1))}
    end).

a_handshake_that_does_not_wait_for_the_settings(_) ->
    same_test:differ(early_extended_connect, #{
        protocol => #{enable_connect_protocol => true}, handler => {ws_script_h, #{init => fun(Req, State) ->
            {ok, reply(Req, <<"body">>), State}
        end}}
    }, fun(Server) ->
        Socket = http2_client:connect(Server),
        ok = send(Socket, [<<"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n">>, cow_http2:settings(#{}), connect_to(1)]),
        status(response(Socket, 1))
    end, #{
        cowboy => fun(#{wire := {reset, protocol_error}}) -> ok end,
        outrider => fun(#{wire := 200}) -> ok end
    }).

%%% Their ends

%% In Cowboy the process is killed unless it traps exits.
a_websocket_that_the_client_resets(_) ->
    lost(#{}, cow_http2:rst_stream(1, cancel)).

%% In Cowboy it runs on, until its own timeout or the end of the connection.
a_websocket_whose_stream_the_client_ends(_) ->
    lost(#{}, cow_http2:data(1, fin, <<>>)).

a_websocket_whose_client_floods(_) ->
    _ = [lost(#{}, Options, Bytes) || {_, Options, Bytes} <- floods()],
    ok.

lost(Opts, Bytes) ->
    lost(Opts, #{}, Bytes).

lost(Opts, Options, Bytes) ->
    same_test:differ(lost_websocket_over_http_2, #{
        protocol => Options#{enable_connect_protocol => true}, handler => {ws_script_h, Opts}
    }, fun(#{probe := Probe} = Server) ->
        Socket = opened(Server, 1),
        probe:await(Probe, websocket_init),
        ok = send(Socket, Bytes),
        _ = get(Socket, 3),
        ok = gen_tcp:close(Socket),
        probe:await_exit(Probe),
        ok
    end, #{
        cowboy => fun(#{calls := [websocket_init | Ends]}) -> {exit, shutdown} = lists:last(Ends) end,
        outrider => fun(#{calls := [websocket_init, {terminate, {error, closed}} | _]}) -> ok end
    }).

%%% Helpers

websocket(Opts, Scenario) ->
    same_test:same(#{
        protocol => #{enable_connect_protocol => true}, handler => {ws_script_h, Opts#{
            websocket_handle => fun(Frame, State) -> {[Frame], State} end
        }}
    }, Scenario).

opened(Server, Stream) ->
    Socket = open(Server),
    ok = send(Socket, connect_to(Stream)),
    {headers, Stream, nofin, [{<<":status">>, <<"200">>} | _]} =
        lists:last(http2_client:until(Socket, fun(Event) -> element(1, Event) =:= headers end)),
    Socket.

frames(Socket, Frames) ->
    send(Socket, cow_http2:data(1, nofin, ws_client:bytes(Frames))).

payload(Socket, Size) ->
    payload(Socket, Size, <<>>).

payload(_, Size, Bytes) when byte_size(Bytes) =:= Size ->
    Bytes;
payload(Socket, Size, Bytes) ->
    case http2_client:next(Socket) of
        {data, 1, _, More} -> payload(Socket, Size, <<Bytes/binary, More/binary>>);
        {window, _, _} -> payload(Socket, Size, Bytes)
    end.
