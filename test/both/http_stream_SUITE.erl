%% Answers in pieces: stream_reply, stream_body, events, trailers, and interim answers before the final one.
-module(http_stream_SUITE).

-compile([export_all, nowarn_export_all]).

-define(PLAIN(Length), [{<<"content-length">>, Length}, {<<"date">>, <<"now">>}, {<<"server">>, <<"Cowboy">>}]).

all() ->
    same_test:cases(?MODULE).

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
