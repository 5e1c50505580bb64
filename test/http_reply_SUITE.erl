%% Answers: every function of cowboy_req that sends something, what it looks like on the wire, and how one answer follows
%% another on a connection.
-module(http_reply_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE).

-define(PLAIN(Length), [{<<"content-length">>, Length}, {<<"date">>, <<"now">>}, {<<"server">>, <<"Cowboy">>}]).

%%% reply

reply_2(_) ->
    #{status := 200, reason := <<"OK">>, headers := ?PLAIN(<<"0">>), body := <<>>} =
        http_case:answer(fun(Req) -> cowboy_req:reply(200, Req) end, "/").

reply_3(_) ->
    #{status := 201, reason := <<"Created">>, headers := [_, _, _, {<<"x">>, <<"y">>}]} =
        http_case:answer(fun(Req) -> cowboy_req:reply(201, #{<<"x">> => <<"y">>}, Req) end, "/").

reply_4(_) ->
    #{status := 200, headers := ?PLAIN(<<"5">>), body := <<"hello">>} =
        http_case:answer(fun(Req) -> cowboy_req:reply(200, #{}, <<"hello">>, Req) end, "/").

bodies_and_header_values_are_iodata(_) ->
    #{headers := [_, _, _, {<<"x">>, <<"a, b">>}], body := <<"hello">>} = http_case:answer(fun(Req) ->
        cowboy_req:reply(200, #{<<"x">> => [<<"a">>, ", ", ["b"]]}, ["h", [<<"el">>, "l"], $o], Req)
    end, "/").

every_status_has_its_reason(_) ->
    _ = [begin
        #{status := Status, reason := Reason} = http_case:answer(fun(Req) -> cowboy_req:reply(Status, Req) end, "/")
    end || {Status, Reason} <- [
        {200, <<"OK">>}, {202, <<"Accepted">>}, {206, <<"Partial Content">>}, {301, <<"Moved Permanently">>},
        {400, <<"Bad Request">>}, {404, <<"Not Found">>}, {413, <<"Request Entity Too Large">>},
        {414, <<"Request-URI Too Long">>}, {416, <<"Requested Range Not Satisfiable">>},
        {418, <<"I'm a teapot">>}, {422, <<"Unprocessable Entity">>}, {429, <<"Too Many Requests">>},
        {431, <<"Request Header Fields Too Large">>}, {500, <<"Internal Server Error">>},
        {503, <<"Service Unavailable">>}, {511, <<"Network Authentication Required">>}]],
    ok.

a_reason_of_the_handlers_own(_) ->
    #{status := 299, reason := <<"As I Say">>} =
        http_case:answer(fun(Req) -> cowboy_req:reply(<<"299 As I Say">>, Req) end, "/").

a_large_body(_) ->
    Body = binary:copy(<<"0123456789abcdef">>, 100000),
    #{body := Body} = http_case:answer(fun(Req) -> cowboy_req:reply(200, #{}, Body, Req) end, "/").

headers_cookies_and_body_set_beforehand(_) ->
    #{headers := Headers, body := <<"set">>} = http_case:answer(fun(Req0) ->
        Req1 = cowboy_req:set_resp_header(<<"x">>, <<"1">>, Req0),
        Req2 = cowboy_req:set_resp_headers(#{<<"y">> => <<"2">>, <<"z">> => <<"3">>}, Req1),
        Req3 = cowboy_req:delete_resp_header(<<"z">>, Req2),
        Req4 = cowboy_req:set_resp_cookie(<<"b">>, <<"2">>, Req3, #{http_only => true, path => "/"}),
        Req5 = cowboy_req:set_resp_cookie(<<"a">>, <<"1">>, Req4),
        Req = cowboy_req:set_resp_body(<<"set">>, Req5),
        true = cowboy_req:has_resp_body(Req),
        cowboy_req:reply(200, Req)
    end, "/"),
    [<<"1">>, <<"2">>, undefined] = [proplists:get_value(Name, Headers) || Name <- [<<"x">>, <<"y">>, <<"z">>]],
    [<<"a=1">>, <<"b=2; HttpOnly; Path=/">>] = proplists:get_all_values(<<"set-cookie">>, Headers).

date_and_server_can_be_set(_) ->
    #{headers := [_, {<<"date">>, _}, {<<"server">>, <<"mine">>}]} = http_case:answer(fun(Req) ->
        cowboy_req:reply(200, #{<<"server">> => <<"mine">>, <<"date">> => <<"Thu, 01 Jan 1970 00:00:00 GMT">>}, Req)
    end, "/").

no_content_and_not_modified(_) ->
    _ = [#{status := Status, framing := none, headers := [{<<"date">>, _}, {<<"server">>, _}]} =
        http_case:answer(fun(Req) -> cowboy_req:reply(Status, Req) end, "/") || Status <- [204, 304]],
    ok.

%% The connection can be used after an answer without a body.
the_next_answer_after_one_without_a_body(_) ->
    #{wire := [204, 304, 200]} = http_case:serve(fun(Req) ->
        cowboy_req:reply(binary_to_integer(cowboy_req:qs(Req)), Req)
    end, #{}, fun(Server) ->
        Socket = http_client:connect(Server),
        [begin
            ok = http_client:send(Socket, http_client:request("GET", ["/?", Status])),
            maps:get(status, http_client:response(Socket))
        end || Status <- ["204", "304", "200"]]
    end).

head(_) ->
    #{status := 200, framing := none, headers := ?PLAIN(<<"5">>)} =
        http_case:answer(fun(Req) -> cowboy_req:reply(200, #{}, <<"hello">>, Req) end,
            http_client:request("HEAD", "/")).

%%% Files

with_file(Config, Name, Content) ->
    Path = filename:join(proplists:get_value(priv_dir, Config), Name),
    ok = file:write_file(Path, Content),
    Path.

sendfile(Config) ->
    Path = with_file(Config, "sendfile", <<"0123456789">>),
    _ = [#{headers := [{<<"content-length">>, Length} | _], body := Expected} = http_case:answer(fun(Req) ->
        cowboy_req:reply(200, #{}, {sendfile, Offset, Size, Path}, Req)
    end, "/") || {Offset, Size, Length, Expected} <- [
        {0, 10, <<"10">>, <<"0123456789">>}, {3, 4, <<"4">>, <<"3456">>}, {0, 0, <<"0">>, <<>>}]],
    ok.

sendfile_of_a_large_file(Config) ->
    Content = crypto:strong_rand_bytes(3000000),
    Path = with_file(Config, "large", Content),
    #{body := Content} = http_case:answer(fun(Req) ->
        cowboy_req:reply(200, #{}, {sendfile, 0, 3000000, Path}, Req)
    end, "/").

sendfile_for_head(Config) ->
    Path = with_file(Config, "head", <<"0123456789">>),
    #{framing := none, headers := ?PLAIN(<<"10">>)} = http_case:answer(fun(Req) ->
        cowboy_req:reply(200, #{}, {sendfile, 0, 10, Path}, Req)
    end, http_client:request("HEAD", "/")).

sendfile_in_a_stream(Config) ->
    Path = with_file(Config, "stream", <<"0123456789">>),
    #{framing := chunked, body := Chunks} = http_case:answer(fun(Req0) ->
        Req = cowboy_req:stream_reply(200, Req0),
        ok = cowboy_req:stream_body({sendfile, 2, 3, Path}, nofin, Req),
        ok = cowboy_req:stream_body(<<"end">>, fin, Req),
        Req
    end, "/"),
    <<"234end">> = iolist_to_binary(Chunks).

%% The path may be relative to the VM's folder.
sendfile_with_a_relative_path(Config) ->
    Path = with_file(Config, "relative", <<"0123456789">>),
    {ok, Folder} = file:get_cwd(),
    ok = file:set_cwd(proplists:get_value(priv_dir, Config)),
    try
        #{body := <<"0123456789">>} = http_case:answer(fun(Req) ->
            cowboy_req:reply(200, #{}, {sendfile, 0, 10, filename:basename(Path)}, Req)
        end, "/")
    after
        file:set_cwd(Folder)
    end.

%%% stream_reply and stream_body

a_stream_is_chunked(_) ->
    #{status := 200, framing := chunked, body := [<<"a">>, <<"bc">>], headers := Headers} =
        http_case:answer(fun(Req0) ->
            Req = cowboy_req:stream_reply(200, #{<<"x">> => <<"y">>}, Req0),
            ok = cowboy_req:stream_body(<<"a">>, nofin, Req),
            ok = cowboy_req:stream_body([<<"b">>, "c"], fin, Req),
            Req
        end, "/"),
    [{<<"date">>, _}, {<<"server">>, _}, {<<"transfer-encoding">>, <<"chunked">>}, {<<"x">>, <<"y">>}] = Headers.

empty_pieces_of_a_stream(_) ->
    #{framing := chunked, body := [<<"a">>]} = http_case:answer(fun(Req0) ->
        Req = cowboy_req:stream_reply(200, Req0),
        ok = cowboy_req:stream_body(<<>>, nofin, Req),
        ok = cowboy_req:stream_body(<<"a">>, nofin, Req),
        ok = cowboy_req:stream_body([], nofin, Req),
        ok = cowboy_req:stream_body(<<>>, fin, Req),
        Req
    end, "/").

a_stream_that_the_handler_does_not_end(_) ->
    #{framing := chunked, body := [<<"a">>]} = http_case:answer(fun(Req0) ->
        Req = cowboy_req:stream_reply(200, Req0),
        ok = cowboy_req:stream_body(<<"a">>, nofin, Req),
        Req
    end, "/").

a_stream_with_a_length(_) ->
    #{framing := length, body := <<"abc">>} = http_case:answer(fun(Req0) ->
        Req = cowboy_req:stream_reply(200, #{<<"content-length">> => <<"3">>}, Req0),
        ok = cowboy_req:stream_body(<<"a">>, nofin, Req),
        ok = cowboy_req:stream_body(<<"bc">>, fin, Req),
        Req
    end, "/").

%% A body shorter than announced: the end of the connection tells the client.
a_stream_shorter_than_its_length(_) ->
    #{wire := {#{status := 200}, {<<"a">>, closed}}} = http_case:serve(fun(Req0) ->
        Req = cowboy_req:stream_reply(200, #{<<"content-length">> => <<"3">>}, Req0),
        ok = cowboy_req:stream_body(<<"a">>, nofin, Req),
        Req
    end, #{}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        {http_client:head(Socket), http_client:rest(Socket)}
    end).

a_stream_in_http_1_0_ends_with_the_connection(_) ->
    #{wire := {close, <<"abc">>}} = http_case:serve(fun(Req0) ->
        Req = cowboy_req:stream_reply(200, Req0),
        ok = cowboy_req:stream_body(<<"a">>, nofin, Req),
        ok = cowboy_req:stream_body(<<"bc">>, fin, Req),
        Req
    end, #{}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, "GET / HTTP/1.0\r\n\r\n"),
        #{framing := Framing, body := Body} = http_client:response(Socket),
        {Framing, Body}
    end).

%% HTTP/1.1 without chunks: the connection's end is the body's.
a_stream_without_chunks(_) ->
    _ = [differ(chunked_option, Protocol, fun(Req0) ->
        cowboy_req:cast(Cast, Req0),
        Req = cowboy_req:stream_reply(200, Req0),
        ok = cowboy_req:stream_body(<<"a">>, nofin, Req),
        ok = cowboy_req:stream_body(<<"bc">>, fin, Req),
        Req
    end, "GET", fun(#{framing := close, body := <<"abc">>}) -> ok end, fun(#{framing := chunked}) -> ok end)
        || {Protocol, Cast} <- [
            {#{chunked => false}, nothing}, {#{}, {set_options, #{chunked => false}}}]],
    ok.

a_stream_for_head(_) ->
    differ(head_of_a_stream, #{}, fun(Req0) ->
        Req = cowboy_req:stream_reply(200, Req0),
        ok = cowboy_req:stream_body(<<"abc">>, fin, Req),
        Req
    end, "HEAD", fun(#{status := 200, framing := none} = Answer) ->
        <<"chunked">> = http_client:header(<<"transfer-encoding">>, Answer)
    end, fun(#{status := 200, framing := none} = Answer) ->
        undefined = http_client:header(<<"transfer-encoding">>, Answer)
    end).

%% The answer to a request with this method, which is meant to differ so.
differ(Difference, Protocol, Reply, Method, Cowboy, Outrider) ->
    Init = fun(Req, State) -> {ok, Reply(Req), State} end,
    same_test:differ(Difference, #{handler => {http_script_h, #{init => Init}}, protocol => Protocol}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request(Method, "/")),
        http_client:response(Socket, list_to_binary(Method))
    end, #{
        cowboy => fun(#{wire := Answer}) -> Cowboy(Answer) end,
        outrider => fun(#{wire := Answer}) -> Outrider(Answer) end
    }).

streams_of_statuses_without_a_body(_) ->
    _ = [#{status := Status, framing := none} =
        http_case:answer(fun(Req) -> cowboy_req:stream_reply(Status, Req) end, "/") || Status <- [204, 304]],
    ok.

%% The client sees the first piece before the handler has made the second.
a_stream_is_not_held_back(_) ->
    #{wire := [<<"first">>, <<"second">>, last]} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req0, #{probe := Probe} = State) ->
            Req = cowboy_req:stream_reply(200, Req0),
            ok = cowboy_req:stream_body(<<"first">>, nofin, Req),
            seen = probe:await(Probe, seen),
            ok = cowboy_req:stream_body(<<"second">>, fin, Req),
            {ok, Req, State}
        end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        #{status := 200} = http_client:head(Socket),
        First = http_client:chunk(Socket),
        probe:note(Probe, seen),
        [First, http_client:chunk(Socket), http_client:chunk(Socket)]
    end).

%% The client gets the pieces as chunks, those of more than 64 KiB as several.
a_large_stream(_) ->
    Piece = binary:copy(<<"x">>, 100000),
    Longest = fun(Chunks) -> lists:max([byte_size(Chunk) || Chunk <- Chunks]) end,
    differ(large_pieces_of_a_stream, #{}, fun(Req0) ->
        Req = cowboy_req:stream_reply(200, Req0),
        _ = [ok = cowboy_req:stream_body(Piece, nofin, Req) || _ <- lists:seq(1, 30)],
        ok = cowboy_req:stream_body(<<>>, fin, Req),
        Req
    end, "GET", fun(#{body := Chunks}) ->
        {3000000, 100000} = {iolist_size(Chunks), Longest(Chunks)}
    end, fun(#{body := Chunks}) ->
        3000000 = iolist_size(Chunks),
        true = Longest(Chunks) =< 65536
    end).

%%% Events, trailers, interim answers

server_sent_events(_) ->
    #{headers := Headers, body := Chunks} = http_case:answer(fun(Req0) ->
        Req = cowboy_req:stream_reply(200, #{<<"content-type">> => <<"text/event-stream">>}, Req0),
        ok = cowboy_req:stream_events(#{id => <<"1">>, event => <<"e">>, data => <<"one">>}, nofin, Req),
        ok = cowboy_req:stream_events([#{data => <<"two">>}, #{comment => <<"c">>}], fin, Req),
        Req
    end, "/"),
    <<"text/event-stream">> = proplists:get_value(<<"content-type">>, Headers),
    <<"id: 1\nevent: e\ndata: one\n\ndata: two\n\n: c\n\n">> = iolist_to_binary(Chunks).

trailers_for_a_client_that_takes_them(_) ->
    #{body := [<<"a">>], trailers := [{<<"checksum">>, <<"1">>}], headers := Headers} =
        http_case:answer(trailing(), http_client:request("GET", "/", [{"TE", "trailers"}], [])),
    <<"checksum">> = proplists:get_value(<<"trailer">>, Headers).

no_trailers_for_other_clients(_) ->
    #{body := [<<"a">>], headers := Headers} = Answer = http_case:answer(trailing(), "/"),
    undefined = proplists:get_value(<<"trailer">>, Headers),
    false = maps:is_key(trailers, Answer).

trailing() ->
    fun(Req0) ->
        Req = cowboy_req:stream_reply(200, #{<<"trailer">> => <<"checksum">>}, Req0),
        ok = cowboy_req:stream_body(<<"a">>, nofin, Req),
        ok = cowboy_req:stream_trailers(#{<<"checksum">> => <<"1">>}, Req),
        Req
    end.

interim_answers(_) ->
    #{wire := [{103, [{<<"link">>, <<"</a>">>}]}, {102, []}, {200, ?PLAIN(<<"0">>)}]} = http_case:serve(fun(Req) ->
        ok = cowboy_req:inform(103, #{<<"link">> => <<"</a>">>}, Req),
        ok = cowboy_req:inform(102, Req),
        cowboy_req:reply(200, Req)
    end, #{}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        [begin
            #{status := Status, headers := Headers} = http_client:response(Socket),
            {Status, Headers}
        end || _ <- [1, 2, 3]]
    end).

no_interim_answers_in_http_1_0(_) ->
    #{wire := 200} = http_case:serve(fun(Req) ->
        ok = cowboy_req:inform(103, Req),
        cowboy_req:reply(200, Req)
    end, #{}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, "GET / HTTP/1.0\r\n\r\n"),
        maps:get(status, http_client:response(Socket))
    end).

%% HTTP/1.1 has no push, and nobody need answer a cast.
push_and_casts_are_ignored(_) ->
    #{status := 200} = http_case:answer(fun(Req) ->
        ok = cowboy_req:push(<<"/pushed">>, #{<<"accept">> => <<"*/*">>}, Req),
        ok = cowboy_req:cast(something, Req),
        ok = cowboy_req:cast({set_options, #{unknown => 1}}, Req),
        cowboy_req:reply(200, Req)
    end, "/").

invalid_header_values(_) ->
    same_test:differ(invalid_response_header, #{handler => {http_script_h, #{init => fun(Req, State) ->
        {ok, cowboy_req:reply(200, #{<<"x">> => <<"1\r\ny: 2">>}, Req), State}
    end}}}, fun(Server) -> maps:with([status], http_client:get(Server, "/")) end, #{
        cowboy => fun(#{wire := #{status := 200}}) -> ok end,
        outrider => fun(#{wire := #{status := 500}}) -> ok end
    }).

%% Cowboy's status line always says HTTP/1.1, and so it has to say that it closes.
an_answer_in_http_1_0(_) ->
    Init = fun(Req, State) -> {ok, cowboy_req:reply(200, #{<<"date">> => <<"now">>}, <<>>, Req), State} end,
    same_test:differ(answers_in_http_1_0, #{handler => {http_script_h, #{init => Init}}}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, "GET / HTTP/1.0\r\n\r\n"),
        http_client:rest(Socket)
    end, #{
        cowboy => fun(#{wire := {<<"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n", _/binary>>, closed}}) ->
            ok
        end,
        outrider => fun(#{wire := {<<"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n", _/binary>>, closed}}) -> ok end
    }).

%%% One connection, several requests

%% Each request's body is answered back as it was asked for, with its number.
echo() ->
    fun(Req) -> cowboy_req:reply(200, #{}, cowboy_req:path(Req), Req) end.

keep_alive(_) ->
    #{wire := {[<<"/1">>, <<"/2">>, <<"/3">>], undefined}} = http_case:serve(echo(), #{}, fun(Server) ->
        Socket = http_client:connect(Server),
        Answers = [begin
            http_client:send(Socket, http_client:request("GET", Target)),
            http_client:response(Socket)
        end || Target <- ["/1", "/2", "/3"]],
        {[Body || #{body := Body} <- Answers], http_client:header(<<"connection">>, hd(Answers))}
    end).

pipelined_requests_are_answered_in_order(_) ->
    Targets = [["/", integer_to_list(N)] || N <- lists:seq(1, 20)],
    Expected = [iolist_to_binary(Target) || Target <- Targets],
    #{wire := Expected} = http_case:serve(echo(), #{}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, [http_client:request("GET", Target) || Target <- Targets]),
        [maps:get(body, http_client:response(Socket)) || _ <- Targets]
    end).

connection_close(_) ->
    #{wire := {<<"close">>, closed}} = http_case:serve(echo(), #{}, fun(Server) ->
        ended(Server, http_client:request("GET", "/", [{"Connection", "close"}], []))
    end).

http_1_0_keep_alive(_) ->
    Request = "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    #{wire := {<<"keep-alive">>, <<"/a">>}} = http_case:serve(echo(), #{}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, Request),
        One = http_client:response(Socket),
        http_client:send(Socket, Request),
        {http_client:header(<<"connection">>, One), maps:get(body, http_client:response(Socket))}
    end).

http_1_0_keep_alive_switched_off(_) ->
    #{wire := closed} = http_case:serve(echo(), #{http10_keepalive => false}, fun(Server) ->
        element(2, ended(Server, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"))
    end).

max_keepalive(_) ->
    #{wire := {undefined, <<"close">>, closed}} = http_case:serve(echo(), #{max_keepalive => 2}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        One = http_client:response(Socket),
        http_client:send(Socket, http_client:request("GET", "/")),
        Two = http_client:response(Socket),
        {http_client:header(<<"connection">>, One), http_client:header(<<"connection">>, Two),
            http_client:closed(Socket)}
    end).

a_close_by_the_handler(_) ->
    #{wire := {<<"close">>, closed}} = http_case:serve(fun(Req) ->
        cowboy_req:reply(200, #{<<"connection">> => <<"close">>}, Req)
    end, #{}, fun(Server) -> ended(Server, http_client:request("GET", "/")) end).

%% The answer's connection field, and whether the server ends the connection after it.
ended(Server, Request) ->
    Socket = http_client:connect(Server),
    http_client:send(Socket, Request),
    Answer = http_client:response(Socket),
    {http_client:header(<<"connection">>, Answer), http_client:closed(Socket)}.
