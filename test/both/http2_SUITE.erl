%% HTTP/2 as it is on the wire, on both servers: requests, answers, refusals, and how it is chosen. Streams, windows and what hostile
%% clients do are in http2_streams_SUITE, WebSockets (RFC 8441) in http2_websocket_SUITE. The other suites run over HTTP/2 with
%% OUTRIDER_TEST_HTTP2=true.
-module(http2_SUITE).

-compile([export_all, nowarn_export_all]).

-import(http2_client, [open/1, open/2, send/2, head/4, head/5, request/3, response/2]).
-import(http2_case, [served/2, served/3, body/0, reply/2, get/2, status/1]).

all() ->
    same_test:cases(?MODULE) -- [failing, reset].

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

%% A stream for HEAD ends with its head; the next request's answer is behind all that there is of it.
a_stream_for_head(_) ->
    same_test:differ(end_of_a_stream_for_head_over_http_2, #{handler => {http_script_h, #{init => fun(Req0, State) ->
        Req = cowboy_req:stream_reply(200, Req0),
        ok = cowboy_req:stream_body(<<"abc">>, fin, Req),
        {ok, Req, State}
    end}}}, fun(#{probe := Probe} = Server) ->
        Socket = open(Server),
        ok = send(Socket, head(1, fin, <<"HEAD">>, <<"/">>)),
        probe:await_exit(Probe),
        ok = send(Socket, head(3, fin, <<"GET">>, <<"/">>)),
        Events = http2_client:until(Socket, fun(Event) -> element(2, Event) =:= 3 end),
        [{element(1, Event), element(3, Event)} || Event <- Events, element(2, Event) =:= 1]
    end, #{
        cowboy => fun(#{wire := [{headers, fin}, {data, fin}]}) -> ok end,
        outrider => fun(#{wire := [{headers, fin}]}) -> ok end
    }).

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

%% What has been sent of the answer reaches the client, and the reset says that it is not all. The connection goes on.
a_request_whose_process_crashes_in_the_middle_of_its_answer(_) ->
    _ = [begin
        #{wire := {Begun, 200}, calls := [{ended, {internal_error, _}}]} = same_test:same(#{
            protocol => #{stream_handlers => [ended_stream_h, cowboy_stream_h]},
            handler => {http_script_h, #{silent => true, init => fun
                (#{path := <<"/crash">>} = Req0, _) ->
                    Req = cowboy_req:stream_reply(200, Headers, Req0),
                    _ = [ok = cowboy_req:stream_body(Piece, nofin, Req) || Piece <- Pieces],
                    exit({shutdown, on_purpose});
                (Req, State) ->
                    {ok, reply(Req, <<"body">>), State}
            end}}
        }, reset("/crash")),
        {[<<"200">>], Body, internal_error} = Begun
    end || Headers <- [#{}, #{<<"content-length">> => <<"9">>}], {Pieces, Body} <- [{[], <<>>}, {[<<"1">>, <<"23">>], <<"123">>}]],
    ok.

%% There the chain answers nothing, and nobody else does.
a_stream_handler_that_fails(_) ->
    _ = [begin
        #{wire := {{[], <<>>, internal_error}, 200}, calls := Calls} = same_test:same(#{
            protocol => #{stream_handlers => [command_stream_h, cowboy_stream_h], env => #{script => Script}},
            handler => {http_script_h, #{silent => true, init => fun(Req, State) -> {ok, reply(Req, <<"body">>), State} end}}
        }, reset("/fail")),
        Ended = [Reason || {terminate, {internal_error, Reason, _}} <- Calls]
    end || {Ended, Script} <- [
        {[why], failing(fun(_) -> [{internal_error, why, 'For people.'}] end)},
        {[], failing(fun(_) -> error(oops) end)},
        {[{error, oops}], failing(fun(#{pid := Pid, streamid := Id}) -> Pid ! {{Pid, Id}, fail}, [] end)}
    ]],
    ok.

%% A script of command_stream_h whose first stream fails.
failing(Fail) ->
    #{
        init => fun
            (#{streamid := 1} = Req, _) -> Fail(Req);
            (_, _) -> [{response, 200, #{}, <<"body">>}, stop]
        end,
        info => fun
            (fail, _) -> error(oops);
            (Message, _) -> [Message]
        end
    }.

%% What a client gets of the answer to this until its stream is reset: statuses, body, the reset's code; and the status of the next request.
reset(Path) ->
    fun(Server) ->
        Socket = open(Server),
        ok = send(Socket, head(1, fin, <<"GET">>, Path)),
        Events = http2_client:until(Socket, fun(Event) -> element(1, Event) =:= rst_stream end),
        Begun = {
            [Status || {headers, 1, nofin, [{<<":status">>, Status} | _]} <- Events],
            iolist_to_binary([Bytes || {data, 1, nofin, Bytes} <- Events]),
            lists:last([Code || {rst_stream, 1, Code} <- Events])
        },
        {Begun, status(get(Socket, 3))}
    end.

%%% Refused ones, and what stream handlers hear of them

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
