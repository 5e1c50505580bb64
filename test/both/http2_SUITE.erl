%% HTTP/2 as it is on the wire, on both servers: requests, windows, resets, options, WebSockets (RFC 8441), and what hostile clients
%% do. The other suites run over HTTP/2 with OUTRIDER_TEST_HTTP2=true.
-module(http2_SUITE).

-compile([export_all, nowarn_export_all]).

-import(http2_client, [open/1, open/2, send/2, head/4, head/5, request/3, response/2, connect_to/1]).

all() ->
    same_test:cases(?MODULE).

%% Answers with this fun of Req; processes come and go in any order.
served(Reply, Scenario) ->
    served(Reply, #{}, Scenario).

served(Reply, Protocol, Scenario) ->
    http_case:serve(Reply, Protocol, Scenario).

body() ->
    fun(Req) -> reply(Req, <<"body">>) end.

reply(Req, Body) ->
    cowboy_req:reply(200, #{<<"x">> => <<"y">>}, Body, Req).

get(Socket, Stream) ->
    ok = send(Socket, head(Stream, fin, <<"GET">>, <<"/">>)),
    response(Socket, Stream).

status(#{status := Status}) -> Status;
status(Other) -> Other.

%%% Requests

a_response(_) ->
    #{wire := #{status := 200, body := <<"body">>, headers := Headers}, log := []} =
        served(body(), fun(Server) -> get(open(Server), 1) end),
    [<<"content-length">>, <<"date">>, <<"server">>, <<"x">>] = [Name || {Name, _} <- Headers].

req(_) ->
    #{wire := [{Get, []}, {Post, []}, {Bare, []}]} = served(fun(Req) ->
        Shown = maps:with([
            method, version, scheme, host, port, path, qs, headers, has_body, body_length, streamid, cert
        ], Req),
        cowboy_req:reply(200, #{}, term_to_binary({Shown, lists:sort(maps:keys(Req) -- maps:keys(Shown))}), Req)
    end, fun(Server) ->
        Socket = open(Server),
        Requests = [
            head(1, fin, <<"GET">>, <<"/a/b?c=d">>, [
                {<<"x">>, <<"1">>}, {<<"x">>, <<"2">>}, {<<"cookie">>, <<"a=b">>}, {<<"cookie">>, <<"c=d">>}
            ]),
            [head(3, nofin, <<"POST">>, <<"/">>, [{<<"content-length">>, <<"2">>}]), cow_http2:data(3, fin, <<"ab">>)],
            [request(5, nofin, [
                {<<":method">>, <<"PUT">>}, {<<":scheme">>, <<"https">>}, {<<":authority">>, <<"HOST:8">>}, {<<":path">>, <<"/">>}
            ]), cow_http2:data(5, fin, <<>>)]
        ],
        [begin
            ok = send(Socket, Bytes),
            #{body := Body} = response(Socket, Stream),
            {Shown, Others} = binary_to_term(Body),
            {Shown, Others -- [bindings, host_info, path_info, peer, pid, ref, sock]}
        end || {Stream, Bytes} <- lists:zip([1, 3, 5], Requests)]
    end),
    #{
        method := <<"GET">>, version := 'HTTP/2', scheme := <<"http">>, host := <<"localhost">>, port := 80,
        path := <<"/a/b">>, qs := <<"c=d">>, has_body := false, body_length := 0, streamid := 1, cert := undefined,
        headers := #{<<"x">> := <<"1, 2">>, <<"cookie">> := <<"a=b; c=d">>}
    } = Get,
    #{has_body := true, body_length := 2, streamid := 3} = Post,
    #{scheme := <<"https">>, host := <<"host">>, port := 8, has_body := true, body_length := undefined} = Bare.

interim_and_final_answers(_) ->
    #{wire := #{interim := [{<<"103">>, [{<<"link">>, <<"x">>}]}], status := 204}} = served(fun(Req) ->
        cowboy_req:inform(103, #{<<"link">> => <<"x">>}, Req),
        cowboy_req:reply(204, Req)
    end, fun(Server) -> get(open(Server), 1) end).

trailers_for_those_who_say_that_they_take_them(_) ->
    #{wire := {#{body := <<"12">>, trailers := [{<<"x">>, <<"y">>}]}, Other}} = served(fun(Req0) ->
        Req = cowboy_req:stream_reply(200, #{<<"trailer">> => <<"x">>}, Req0),
        ok = cowboy_req:stream_body(<<"1">>, nofin, Req),
        ok = cowboy_req:stream_body(<<"2">>, nofin, Req),
        ok = cowboy_req:stream_trailers(#{<<"x">> => <<"y">>}, Req),
        Req
    end, fun(Server) ->
        Socket = open(Server),
        ok = send(Socket, head(1, fin, <<"GET">>, <<"/">>, [{<<"te">>, <<"trailers">>}])),
        {response(Socket, 1), get(Socket, 3)}
    end),
    #{body := <<"12">>} = Other,
    false = is_map_key(trailers, Other).

head_has_no_body(_) ->
    #{wire := #{status := 200, body := <<>>}} = served(body(), fun(Server) ->
        Socket = open(Server),
        ok = send(Socket, head(1, fin, <<"HEAD">>, <<"/">>)),
        response(Socket, 1)
    end).

%% RFC 9113, 8.2.2, does not name it.
a_proxys_challenge_reaches_the_client(_) ->
    #{wire := {407, <<"Basic">>}} = served(fun(Req) ->
        cowboy_req:reply(407, #{<<"proxy-authenticate">> => <<"Basic">>}, Req)
    end, fun(Server) ->
        #{status := Status, headers := Headers} = get(open(Server), 1),
        {Status, proplists:get_value(<<"proxy-authenticate">>, Headers)}
    end).

files(_) ->
    Path = code:which(lists),
    Size = filelib:file_size(Path) - 10,
    #{wire := Hash} = served(fun(Req) ->
        cowboy_req:reply(200, #{}, {sendfile, 10, Size, Path}, Req)
    end, fun(Server) ->
        Socket = open(Server, #{initial_window_size => 16#7fffffff}),
        ok = send(Socket, cow_http2:window_update(Size)),
        #{body := Body} = get(Socket, 1),
        erlang:phash2(Body)
    end),
    {ok, <<_:10/binary, Expected/binary>>} = file:read_file(Path),
    Hash = erlang:phash2(Expected).

push_is_ignored_where_the_client_wants_none(_) ->
    #{wire := 200} = served(fun(Req) ->
        cowboy_req:push("/pushed", #{}, Req),
        reply(Req, <<"body">>)
    end, fun(Server) -> status(get(open(Server, #{enable_push => false}), 1)) end).

requests_that_are_refused(_) ->
    Fields = fun(Replaced) ->
        [Field || Field = {_, Value} <- lists:ukeymerge(1, lists:keysort(1, Replaced), lists:keysort(1, [
            {<<":method">>, <<"GET">>}, {<<":scheme">>, <<"http">>}, {<<":authority">>, <<"localhost">>}, {<<":path">>, <<"/">>}
        ])), Value =/= none]
    end,
    same_test:rows(#{handler => {http_script_h, #{silent => true, init => fun(Req, State) -> {ok, reply(Req, <<"body">>), State} end}}},
        fun(Server, Own) ->
            Socket = open(Server),
            ok = send(Socket, request(1, fin, Own)),
            {status(response(Socket, 1)), status(get(Socket, 3))}
        end, [
            {connect, [{<<":method">>, <<"CONNECT">>}, {<<":authority">>, <<"localhost:1">>}], {501, 200}},
            {trace, Fields([{<<":method">>, <<"TRACE">>}]), {501, 200}},
            {no_authority, Fields([{<<":authority">>, none}]), {{reset, protocol_error}, 200}},
            {no_path, Fields([{<<":path">>, none}]), {{reset, protocol_error}, 200}},
            {no_method, Fields([{<<":method">>, none}]), {{reset, protocol_error}, 200}},
            {no_scheme, Fields([{<<":scheme">>, none}]), {{reset, protocol_error}, 200}},
            {empty_path, Fields([{<<":path">>, <<>>}]), {{reset, protocol_error}, 200}},
            {bad_authority, Fields([{<<":authority">>, <<"a b">>}]), {{reset, protocol_error}, 200}},
            {user_in_authority, Fields([{<<":authority">>, <<"user@localhost">>}]), {{reset, protocol_error}, 200}},
            {unknown_pseudo_header, Fields([{<<":x">>, <<"y">>}]), {{reset, protocol_error}, 200},
                {unknown_pseudo_header, {{goaway, protocol_error}, closed}}},
            {status, Fields([{<<":status">>, <<"200">>}]), {{reset, protocol_error}, 200}},
            {twice, Fields([]) ++ [{<<":path">>, <<"/other">>}], {{reset, protocol_error}, 200}},
            {pseudo_header_behind_others, [{<<"x">>, <<"y">>} | Fields([])], {{reset, protocol_error}, 200}},
            {connection, Fields([]) ++ [{<<"connection">>, <<"close">>}], {{reset, protocol_error}, 200}},
            {transfer_encoding, Fields([]) ++ [{<<"transfer-encoding">>, <<"chunked">>}], {{reset, protocol_error}, 200}},
            {te, Fields([]) ++ [{<<"te">>, <<"gzip">>}], {{reset, protocol_error}, 200}},
            {protocol, Fields([]) ++ [{<<":protocol">>, <<"websocket">>}], {{reset, protocol_error}, 200}},
            {other_host, Fields([]) ++ [{<<"host">>, <<"other">>}], {200, 200},
                {other_host_over_http_2, {2, 18}, {{reset, protocol_error}, 200}}}
        ]).

without_an_authority(_) ->
    same_test:differ(scheme_without_authority, #{handler => {http_script_h, #{silent => true, init => fun(Req, State) ->
        {ok, reply(Req, iolist_to_binary(cowboy_req:uri(Req))), State}
    end}}}, fun(Server) ->
        Socket = open(Server),
        ok = send(Socket, request(1, fin, [
            {<<":method">>, <<"GET">>}, {<<":scheme">>, <<"https">>}, {<<":path">>, <<"/">>}, {<<"host">>, <<"HOST:8">>}
        ])),
        maps:get(body, response(Socket, 1))
    end, #{
        cowboy => fun(#{wire := <<"https://host:8/">>}) -> ok end,
        outrider => fun(#{wire := <<"http://host:8/">>}) -> ok end
    }).

%%% Streams

streams_do_not_wait_for_each_other(_) ->
    #{wire := [{3, 200}, {1, 200}]} = served(fun
        (#{path := <<"/wait">>} = Req) ->
            register(?MODULE, self()),
            receive go -> reply(Req, <<"body">>) end;
        (Req) ->
            reply(Req, <<"body">>)
    end, fun(Server) ->
        Socket = open(Server),
        ok = send(Socket, head(1, fin, <<"GET">>, <<"/wait">>)),
        Second = status(get(Socket, 3)),
        ?MODULE ! go,
        [{3, Second}, {1, status(response(Socket, 1))}]
    end).

a_stream_that_the_client_resets(_) ->
    #{calls := Calls, log := []} = same_test:same(endless(), fun(#{probe := Probe} = Server) ->
        Socket = running(1, Server),
        ok = send(Socket, cow_http2:rst_stream(1, cancel)),
        probe:await_exit(Probe)
    end),
    true = lists:member({terminate, 1, cancel}, Calls),
    true = lists:member({exit, shutdown}, Calls).

more_streams_than_may_be(_) ->
    #{wire := {[#{max_concurrent_streams := 2}], {reset, refused_stream}, 200}} = served(fun
        (#{path := <<"/wait">>}) -> receive never -> ok end;
        (Req) -> reply(Req, <<"body">>)
    end, #{max_concurrent_streams => 2, shutdown_timeout => 10}, fun(Server) ->
        Socket = http2_client:connect(Server),
        ok = send(Socket, [<<"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n">>, cow_http2:settings(#{})]),
        Settings = http2_client:until(Socket, fun(Event) -> element(1, Event) =:= settings end),
        ok = send(Socket, cow_http2:settings_ack()),
        ok = send(Socket, [head(Stream, fin, <<"GET">>, <<"/wait">>) || Stream <- [1, 3, 5]]),
        Third = status(response(Socket, 5)),
        ok = send(Socket, cow_http2:rst_stream(1, cancel)),
        {[maps:with([max_concurrent_streams], S) || {settings, S} <- Settings], Third, status(get(Socket, 7))}
    end).

%%% Windows

a_response_keeps_to_the_clients_windows(_) ->
    Body = binary:copy(<<"0123456789">>, 6000),
    #{wire := Body} = served(fun(Req) -> cowboy_req:reply(200, #{}, Body, Req) end, fun(Server) ->
        Socket = open(Server, #{initial_window_size => 17000}),
        ok = send(Socket, head(1, fin, <<"GET">>, <<"/">>)),
        taken(Socket, <<>>, 17000)
    end).

taken(Socket, Taken, Allowed) ->
    case http2_client:next(Socket) of
        {data, 1, IsFin, Bytes} ->
            More = <<Taken/binary, Bytes/binary>>,
            true = byte_size(More) =< Allowed,
            case {IsFin, byte_size(More)} of
                {fin, _} ->
                    More;
                {nofin, Allowed} ->
                    ok = send(Socket, cow_http2:window_update(1, 16500)),
                    taken(Socket, More, Allowed + 16500);
                _ ->
                    taken(Socket, More, Allowed)
            end;
        {headers, 1, nofin, _} -> taken(Socket, Taken, Allowed);
        {window, _, _} -> taken(Socket, Taken, Allowed)
    end.

%% The window is given back as the handler reads.
a_body_larger_than_the_window(_) ->
    Size = 300000,
    #{wire := Size} = served(fun(Req0) ->
        {Length, Req} = length_of(Req0, 0),
        cowboy_req:reply(200, #{}, integer_to_binary(Length), Req)
    end, fun(Server) ->
        Socket = open(Server),
        ok = send(Socket, head(1, nofin, <<"POST">>, <<"/">>)),
        #{body := Body} = given(Socket, Size, 65535, 65535),
        binary_to_integer(Body)
    end).

length_of(Req0, Length) ->
    case cowboy_req:read_body(Req0, #{length => 50000}) of
        {ok, Data, Req} -> {Length + byte_size(Data), Req};
        {more, Data, Req} -> length_of(Req, Length + byte_size(Data))
    end.

given(Socket, 0, _, _) ->
    ok = send(Socket, cow_http2:data(1, fin, <<>>)),
    response(Socket, 1);
given(Socket, Left, OfStream, OfConnection) ->
    case lists:min([Left, OfStream, OfConnection, 16384]) of
        0 ->
            case http2_client:next(Socket) of
                {window, 0, More} -> given(Socket, Left, OfStream, OfConnection + More);
                {window, 1, More} -> given(Socket, Left, OfStream + More, OfConnection)
            end;
        Size ->
            ok = send(Socket, cow_http2:data(1, nofin, binary:copy(<<0>>, Size))),
            given(Socket, Left - Size, OfStream - Size, OfConnection - Size)
    end.

%%% Protocols and options

protocols(_) ->
    Preface = [<<"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n">>, cow_http2:settings(#{})],
    First = fun(Bytes) -> fun(Server) ->
        Socket = http2_client:connect(Server),
        ok = send(Socket, Bytes),
        {ok, <<Begin:9/binary, _/binary>>} = gen_tcp:recv(Socket, 0, 5000),
        case Begin of
            <<"HTTP/1.1 ">> -> http;
            <<_:24, 4, _/binary>> -> http2
        end
    end end,
    Runs = [{[http, http2], Preface, http2}, {[http2], Preface, http2}, {[http, http2], "GET / HTTP/1.1\r\nhost: a\r\n\r\n", http}],
    _ = [#{wire := Expected} = served(body(), #{protocols => Protocols}, First(Bytes)) || {Protocols, Bytes, Expected} <- Runs],
    case same_test:version(cowboy) >= {2, 13} of
        true -> #{wire := http} = served(body(), #{protocols => [http]}, First(Preface));
        false -> ok
    end.

%% Only a connection begins with a preface.
a_preface_behind_a_request(_) ->
    #{wire := {200, true, closed}} = served(body(), fun(Server) ->
        Socket = http2_client:connect(Server),
        ok = http_client:send(Socket, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        #{status := First} = http_client:response(Socket, <<"GET">>),
        ok = http_client:send(Socket, [<<"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n">>, cow_http2:settings(#{})]),
        #{status := Second} = http_client:response(Socket, <<"GET">>),
        {First, lists:member(Second, [400, 501]), http_client:response(Socket, <<"GET">>)}
    end).

by_alpn(_) ->
    #{wire := {{ok, <<"h2">>}, {ok, <<"http/1.1">>}}} = same_test:same(#{
        transport => [{port, 0} | tls_tunnel:certificate()], handler => {http_script_h, #{}}
    }, fun(Server) ->
        Chosen = fun(Protocols) ->
            {ok, Socket} = tls_case:connect(Server, [{alpn_advertised_protocols, Protocols}]),
            Protocol = ssl:negotiated_protocol(Socket),
            ssl:close(Socket),
            Protocol
        end,
        {Chosen([<<"http/1.1">>, <<"h2">>]), Chosen([<<"http/1.1">>])}
    end).

%% nghttp2's own clients, in clear text with prior knowledge and by ALPN.
nghttp_and_h2load(_) ->
    _ = [#{wire := {<<"body">>, true}} = same_test:same(#{
        transport => [{port, 0} | Tls], order => any,
        handler => {http_script_h, #{silent => true, init => fun(Req, State) -> {ok, reply(Req, <<"body">>), State} end}}
    }, fun(#{port := Port}) ->
        Url = Scheme ++ "://127.0.0.1:" ++ integer_to_list(Port) ++ "/",
        Summary = os:cmd("h2load -n 1000 -c 10 -m 10 " ++ Url),
        {
            list_to_binary(os:cmd("nghttp --no-verify-peer " ++ Url)),
            string:find(Summary, "1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout") =/= nomatch
        }
    end) || {Scheme, Tls} <- [{"http", []}, {"https", tls_tunnel:certificate()}]],
    ok.

a_client_that_does_not_greet(_) ->
    #{wire := Ends} = served(body(), #{preface_timeout => 200}, fun(Server) ->
        Socket = http2_client:connect(Server),
        ok = send(Socket, <<"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n">>),
        lists:last(http2_client:all(Socket))
    end),
    closed = Ends.

a_client_that_does_not_take_our_settings(_) ->
    #{wire := [{goaway, settings_timeout}, closed]} = served(body(), #{settings_timeout => 200}, fun(Server) ->
        Socket = http2_client:connect(Server),
        ok = send(Socket, [<<"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n">>, cow_http2:settings(#{})]),
        [Event || Event <- http2_client:all(Socket), not is_tuple(Event) orelse element(1, Event) =:= goaway]
    end).

idle_timeout(_) ->
    #{wire := [{goaway, no_error}, closed]} = served(body(), #{idle_timeout => 200}, fun(Server) ->
        http2_client:all(open(Server))
    end).

a_stream_of_a_connection_that_was_idle(_) ->
    Scenario = fun(#{probe := Probe} = Server) ->
        Events = http2_client:all(running(1, Server)),
        probe:await_exit(Probe),
        Events
    end,
    #{protocol := Protocol} = Setup = endless(),
    #{calls := Calls, wire := [{goaway, no_error}, closed], log := []} =
        same_test:same(Setup#{protocol := Protocol#{idle_timeout => 300}}, Scenario),
    [timeout] = [Reason || {terminate, 1, {stop, Reason, _}} <- Calls].

%% A handler that does not end by itself, and its stream handlers tell.
endless() ->
    Init = fun(_, #{probe := Probe}) ->
        probe:note(Probe, runs),
        receive never -> ok end
    end,
    #{
        protocol => #{stream_handlers => [chain_stream_h, cowboy_stream_h]},
        handler => {http_script_h, #{init => Init}},
        order => any
    }.

%% A connection of which this stream has come to that.
running(Number, #{probe := Probe} = Server) ->
    Socket = open(Server),
    ok = send(Socket, head(Number, fin, <<"GET">>, <<"/">>)),
    probe:await(Probe, runs),
    Socket.

%%% What stream handlers hear of requests that are refused

refused_requests(_) ->
    _ = [same_test:differ(early_error_after_the_answer, #{
        protocol => #{stream_handlers => [chain_stream_h, cowboy_stream_h]}, handler => {http_script_h, #{}}
    }, fun(#{probe := Probe} = Server) ->
        Socket = open(Server),
        ok = send(Socket, Bytes),
        #{status := Status, headers := Headers} = response(Socket, 1),
        {early_error, _, _} = probe:await(Probe, fun(Event) -> element(1, Event) =:= early_error end),
        {Status, proplists:get_value(<<"x-chain">>, Headers)}
    end, #{
        cowboy => fun(#{wire := {501, <<"1">>}, calls := [{early_error, 501, stream_error}]}) -> ok end,
        outrider => fun(#{wire := {501, undefined}, calls := [{early_error, 501, connection_error}]}) -> ok end
    }) || Bytes <- [
        head(1, fin, <<"TRACE">>, <<"/">>), request(1, fin, [{<<":method">>, <<"CONNECT">>}, {<<":authority">>, <<"h:80">>}])
    ]],
    ok.

%% As over HTTP/1.1; Cowboy over HTTP/2 has the option since 2.17, and writes the field as it is before.
invalid_response_headers(_) ->
    _ = [same_test:improves(invalid_response_headers_ignored, #{protocol => Options, handler => {http_script_h, #{
        silent => true, init => fun(Req, State) -> {ok, cowboy_req:reply(200, #{<<"x">> => <<"1\r\ny: 2">>}, Req), State} end
    }}}, fun(Server) ->
        Socket = open(Server),
        ok = send(Socket, head(1, fin, <<"GET">>, <<"/">>)),
        #{status := Status, headers := Headers} = response(Socket, 1),
        {Status, proplists:get_value(<<"x">>, Headers)}
    end, Expected) || {Options, Expected} <- [
        {#{}, fun(#{wire := {500, undefined}, log := [{error, _}]}) -> ok end},
        {#{invalid_response_headers => error_terminate}, fun(#{wire := {500, undefined}, log := [{error, _}]}) -> ok end},
        {#{invalid_response_headers => ignore}, fun(#{wire := {200, <<"1  y: 2">>}, log := []}) -> ok end}
    ]],
    ok.

%%% WebSockets

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

a_websocket(_) ->
    #{wire := {<<129, 5, "hello">>, <<136, 2, 1000:16>>}, calls := Calls, log := []} = websocket(#{}, fun(Server) ->
        Socket = opened(Server, 1),
        ok = frames(Socket, {text, <<"hello">>}),
        Answer = payload(Socket, 7),
        ok = frames(Socket, {close, 1000, <<"bye">>}),
        {Answer, payload(Socket, 4)}
    end),
    [websocket_init, {websocket_handle, {text, <<"hello">>}}, {terminate, {remote, 1000, <<"bye">>}}, {exit, normal}] = Calls.

payload(Socket, Size) ->
    payload(Socket, Size, <<>>).

payload(_, Size, Bytes) when byte_size(Bytes) =:= Size ->
    Bytes;
payload(Socket, Size, Bytes) ->
    case http2_client:next(Socket) of
        {data, 1, _, More} -> payload(Socket, Size, <<Bytes/binary, More/binary>>);
        {window, _, _} -> payload(Socket, Size, Bytes)
    end.

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

%% In Cowboy the process is killed unless it traps exits.
a_websocket_that_the_client_resets(_) ->
    lost(#{}, cow_http2:rst_stream(1, cancel)).

%% In Cowboy it runs on, until its own timeout or the end of the connection.
a_websocket_whose_stream_the_client_ends(_) ->
    lost(#{}, cow_http2:data(1, fin, <<>>)).

lost(Opts, Bytes) ->
    same_test:differ(lost_websocket_over_http_2, #{
        protocol => #{enable_connect_protocol => true}, handler => {ws_script_h, Opts}
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

%% What a client gives no window for.
a_client_that_opens_no_window(_) ->
    same_test:differ(client_that_opens_no_window, #{
        transport => [{port, 0}, {send_timeout, 300}],
        handler => {http_script_h, #{silent => true, init => fun(Req, State) -> {ok, reply(Req, <<"body">>), State} end}}
    }, fun(Server) -> status(get(open(Server, #{initial_window_size => 0}), 1)) end, #{
        cowboy => fun(#{wire := timeout}) -> ok end,
        outrider => fun(#{wire := {reset, cancel}}) -> ok end
    }).

a_window_of_a_few_bytes(_) ->
    Reply = fun(Req, State) -> {ok, reply(Req, binary:copy(<<"0123456789">>, 3000)), State} end,
    same_test:differ(small_window_over_http_2, #{handler => {http_script_h, #{silent => true, init => Reply}}}, fun(Server) ->
        Socket = open(Server, #{initial_window_size => 7}),
        ok = send(Socket, head(1, fin, <<"GET">>, <<"/">>)),
        lists:last(http2_client:until(Socket, fun(Event) -> element(1, Event) =:= data end))
    end, #{
        cowboy => fun(#{wire := timeout}) -> ok end,
        outrider => fun(#{wire := {data, 1, nofin, <<"0123456">>}}) -> ok end
    }).

a_request_whose_process_crashes(_) ->
    same_test:differ(reset_behind_an_answer, #{handler => {http_script_h, #{silent => true, init => fun
        (#{path := <<"/crash">>}, _) -> exit({shutdown, on_purpose});
        (Req, State) -> {ok, reply(Req, <<"body">>), State}
    end}}}, fun(Server) ->
        Socket = open(Server),
        ok = send(Socket, head(1, fin, <<"GET">>, <<"/crash">>)),
        500 = status(response(Socket, 1)),
        ok = send(Socket, head(3, fin, <<"GET">>, <<"/">>)),
        Events = http2_client:until(Socket, fun(Event) -> element(1, Event) =:= headers end),
        [Reason || {rst_stream, 1, Reason} <- Events]
    end, #{
        cowboy => fun(#{wire := [internal_error]}) -> ok end,
        outrider => fun(#{wire := []}) -> ok end
    }).

a_path_of_any_bytes(_) ->
    same_test:differ(path_characters_over_http_2, #{handler => {http_script_h, #{silent => true, init => fun(Req, State) ->
        {ok, reply(Req, <<"body">>), State}
    end}}}, fun(Server) ->
        Socket = open(Server),
        ok = send(Socket, head(1, fin, <<"GET">>, <<"/a?b c">>)),
        {status(response(Socket, 1)), status(get(Socket, 3))}
    end, #{
        cowboy => fun(#{wire := {200, 200}}) -> ok end,
        outrider => fun(#{wire := {{reset, protocol_error}, 200}}) -> ok end
    }).

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

%%% Floods. Others are served meanwhile.

flood(Protocol, Flood) ->
    #{wire := {Flooded, 200}, log := []} = served(fun
        (#{path := <<"/wait">>}) -> receive never -> ok end;
        (Req) -> reply(Req, <<"body">>)
    end, Protocol#{shutdown_timeout => 10}, fun(Server) ->
        Neighbour = open(Server),
        Socket = open(Server),
        Flood(Socket),
        Events = http2_client:all(Socket),
        {[Event || Event <- Events, element(1, Event) =:= goaway], status(get(Neighbour, 1))}
    end),
    Flooded.

pings(_) ->
    [{goaway, enhance_your_calm}] = flood(#{max_received_frame_rate => {100, 10000}}, fun(Socket) ->
        send(Socket, [cow_http2:ping(N) || N <- lists:seq(1, 200)])
    end).

settings(_) ->
    [{goaway, enhance_your_calm}] = flood(#{max_received_frame_rate => {100, 10000}}, fun(Socket) ->
        send(Socket, [cow_http2:settings(#{}) || _ <- lists:seq(1, 200)])
    end).

empty_data(_) ->
    [{goaway, enhance_your_calm}] = flood(#{max_received_frame_rate => {50, 10000}}, fun(Socket) ->
        send(Socket, [head(1, nofin, <<"POST">>, <<"/wait">>), [cow_http2:data(1, nofin, <<>>) || _ <- lists:seq(1, 100)]])
    end).

%% CVE-2023-44487.
rapid_resets(_) ->
    [{goaway, enhance_your_calm}] = flood(#{max_cancel_stream_rate => {10, 10000}}, fun(Socket) ->
        _ = [begin
            ok = send(Socket, head(2 * N + 1, fin, <<"GET">>, <<"/wait">>)),
            send(Socket, cow_http2:rst_stream(2 * N + 1, cancel))
        end || N <- lists:seq(0, 30)]
    end).

errors_of_streams(_) ->
    [{goaway, enhance_your_calm}] = flood(#{max_reset_stream_rate => {5, 10000}}, fun(Socket) ->
        send(Socket, [request(2 * N + 1, fin, [{<<":method">>, <<"GET">>}]) || N <- lists:seq(0, 20)])
    end).

%% CVE-2024-27316 and its kin.
continuations(_) ->
    [{goaway, enhance_your_calm}] = flood(#{max_fragmented_header_block_size => 16384}, fun(Socket) ->
        Fields = [{integer_to_binary(N), binary:copy(<<"x">>, 100)} || N <- lists:seq(1, 400)],
        send(Socket, http2_client:request(1, fin, Fields, 1000))
    end).

%% A few bytes of a block that mean many of the table: the more so the larger the table.
hpack_bomb(_) ->
    Large = {<<"x">>, binary:copy(<<"x">>, 3900)},
    same_test:improves(header_list_over_http_2, #{
        handler => {http_script_h, #{silent => true, init => fun(Req, State) -> {ok, reply(Req, <<"body">>), State} end}}
    }, fun(Server) ->
        Neighbour = open(Server),
        Socket = open(Server),
        {First, State} = cow_hpack:encode([
            {<<":method">>, <<"GET">>}, {<<":scheme">>, <<"http">>}, {<<":authority">>, <<"localhost">>}, {<<":path">>, <<"/">>}, Large
        ]),
        {Again, _} = cow_hpack:encode([Large], State),
        ok = send(Socket, cow_http2:headers(1, fin, [First, lists:duplicate(5000, Again)])),
        {status(response(Socket, 1)), status(get(Neighbour, 1))}
    end, fun(#{wire := {{goaway, enhance_your_calm}, 200}}) -> ok end).

many_headers(_) ->
    same_test:differ_before({2, 16}, max_headers_over_http_2, #{
        protocol => #{max_headers => 10},
        handler => {http_script_h, #{silent => true, init => fun(Req, State) -> {ok, reply(Req, <<"body">>), State} end}}
    }, fun(Server) ->
        Socket = open(Server),
        ok = send(Socket, head(1, fin, <<"GET">>, <<"/">>, [{<<"a">>, integer_to_binary(N)} || N <- lists:seq(1, 20)])),
        status(response(Socket, 1))
    end, #{
        cowboy => fun(#{wire := 200}) -> ok end,
        outrider => fun(#{wire := {goaway, enhance_your_calm}}) -> ok end
    }).
