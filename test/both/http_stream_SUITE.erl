%% Answers in pieces: stream_reply, stream_body, events, trailers, and interim answers before the final one.
-module(http_stream_SUITE).

-compile([export_all, nowarn_export_all]).

-define(PLAIN(Length), [{<<"content-length">>, Length}, {<<"date">>, <<"now">>}, {<<"server">>, <<"Cowboy">>}]).

all() ->
    same_test:cases(?MODULE) -- [abc].

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

%% What stream handlers hear of that, and of a longer one, which breaks off before what is too much; and whether the connection goes
%% on. Over HTTP/2 nobody but the client looks at the length (RFC 9113, 8.1.1).
streams_of_another_length(_) ->
    {Small, Large} = case same_test:is_http2() of
        true -> {normal, normal};
        false -> {response_body_too_small, response_body_too_large}
    end,
    _ = [{Pieces, #{wire := {Body, alone}, calls := [{ended, Reason}]}} = {Pieces, of_three_bytes(fun same_test:same/2, Pieces)}
        || {Pieces, Body, Reason} <- [
            {[], <<>>, Small},
            {[{<<"a">>, nofin}], <<"a">>, Small},
            {[{<<"abcd">>, fin}], <<>>, Large},
            {[{<<"abcd">>, nofin}], <<>>, Large},
            {[{<<"ab">>, nofin}, {<<"cd">>, fin}], <<"ab">>, Large}
        ]],
    ok.

%% By the handler's word. The client of Cowboy takes the next response for the rest.
streams_that_are_ended_before_their_length(_) ->
    _ = [differ_in_length(short_stream, Pieces, #{
        cowboy => {<<"a">>, next, normal}, outrider => {<<"a">>, alone, response_body_too_small}
    }) || Pieces <- [[{<<"a">>, fin}], [{<<"a">>, nofin}, {<<>>, fin}]]],
    ok.

pieces_behind_a_whole_stream(_) ->
    differ_in_length(pieces_behind_a_stream, [{<<"abc">>, nofin}, {<<"d">>, fin}], #{
        cowboy => {<<"abc">>, alone, response_body_too_large}, outrider => {<<"abc">>, next, response_body_too_large}
    }).

differ_in_length(Difference, Pieces, Expected) ->
    case same_test:is_http2() of
        true ->
            #{wire := {_, alone}, calls := [{ended, normal}]} = of_three_bytes(fun same_test:same/2, Pieces);
        false ->
            Judge = fun(#{wire := {Body, Next}, calls := [{ended, Reason}]}) -> {Body, Next, Reason} end,
            Judges = maps:map(fun(_, Ends) -> fun(Transcript) -> Ends = Judge(Transcript) end end, Expected),
            of_three_bytes(fun(Setup, Scenario) -> same_test:differ(Difference, Setup, Scenario, Judges) end, Pieces)
    end.

%% Two requests: to the first come these pieces behind a head that announces three bytes.
of_three_bytes(Run, Pieces) ->
    Init = fun
        (#{path := <<"/next">>} = Req, State) ->
            {ok, cowboy_req:reply(200, Req), State};
        (Req0, State) ->
            Req = cowboy_req:stream_reply(200, #{<<"content-length">> => <<"3">>}, Req0),
            _ = [ok = cowboy_req:stream_body(Piece, IsFin, Req) || {Piece, IsFin} <- Pieces],
            {ok, Req, State}
    end,
    Run(#{
        handler => {http_script_h, #{silent => true, init => Init}},
        protocol => #{stream_handlers => [ended_stream_h, cowboy_stream_h]}
    }, fun(Server) ->
        Socket = http_client:connect(Server),
        Last = http_client:request("GET", "/next", [{"connection", "close"}], <<>>),
        ok = http_client:send(Socket, [http_client:request("GET", "/"), Last]),
        #{status := 200} = http_client:head(Socket),
        {Bytes, closed} = http_client:rest(Socket),
        case binary:split(Bytes, <<"HTTP/1.1 200 OK">>) of
            [Body] -> {Body, alone};
            [Body, _] -> {Body, next}
        end
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
    _ = [#{framing := close, body := <<"abc">>, headers := [{<<"connection">>, <<"close">>} | _]} =
        http_case:answer(abc(Cast), "/", Protocol)
        || {Protocol, Cast} <- [
            {#{chunked => false}, nothing}, {#{}, {set_options, #{chunked => false}}}]],
    #{framing := chunked} = http_case:answer(abc({set_options, #{chunked => true}}), "/", #{chunked => false}).

%% Where the length is known, or there is no body, the connection goes on.
answers_whose_length_is_known_without_chunks(_) ->
    #{wire := [200, 200, 304, 200]} = http_case:serve(fun
        (#{path := <<"/whole">>} = Req) ->
            cowboy_req:reply(200, #{}, <<"abc">>, Req);
        (#{path := <<"/304">>} = Req) ->
            cowboy_req:stream_reply(304, Req);
        (Req0) ->
            Req = cowboy_req:stream_reply(200, #{<<"content-length">> => <<"1">>}, Req0),
            ok = cowboy_req:stream_body(<<"a">>, fin, Req),
            Req
    end, #{chunked => false}, fun(Server) ->
        Socket = http_client:connect(Server),
        [begin
            http_client:send(Socket, http_client:request("GET", Target)),
            maps:get(status, http_client:response(Socket))
        end || Target <- ["/whole", "/sized", "/304", "/sized"]]
    end).

%% hyper ends a body with the connection only so.
the_version_of_a_stream_without_chunks(_) ->
    differ_in_version(chunked_option, #{chunked => false}, abc(nothing)).

trailers_without_chunks(_) ->
    Init = fun(Req, State) -> {ok, (trailing())(Req), State} end,
    #{wire := <<"a">>} = same_test:same(#{handler => {http_script_h, #{silent => true, init => Init}},
        protocol => #{chunked => false}}, fun(Server) ->
            Socket = http_client:connect(Server),
            http_client:send(Socket, http_client:request("GET", "/", [{"TE", "trailers"}], [])),
            maps:get(body, http_client:response(Socket))
        end).

%% What a handler asks for may be anything; it costs nobody but itself.
values_of_no_sense(_) ->
    Options = fun(Options) -> abc({set_options, Options}) end,
    File = fun(Offset, Length) -> fun(Req) -> cowboy_req:reply(200, #{}, {sendfile, Offset, Length, ?FILE}, Req) end end,
    _ = [begin
        Init = fun
            (#{path := <<"/next">>} = Req, State) -> {ok, cowboy_req:reply(200, Req), State};
            (Req, State) -> {ok, Reply(Req), State}
        end,
        same_test:improves(values_of_no_sense, #{handler => {http_script_h, #{silent => true, init => Init}}}, fun(Server) ->
            Socket = http_client:connect(Server),
            http_client:send(Socket, http_client:request("GET", "/next")),
            #{status := 200} = http_client:response(Socket),
            _ = http_client:get(Server, "/"),
            http_client:send(Socket, http_client:request("GET", "/next")),
            maps:get(status, http_client:response(Socket))
        end, fun(#{wire := 200}) -> ok end)
    end || Reply <- [
        Options(#{idle_timeout => soon}), Options(#{idle_timeout => 1 bsl 70}), Options(#{idle_timeout => 1 bsl 62}),
        Options(#{idle_timeout => -1}), Options(#{chunked => 'maybe'}), File(-1, 5), File(0, -1), File(0, 1 bsl 70),
        File(1 bsl 70, 5), File(1 bsl 62, 5)]],
    ok.

abc(Cast) ->
    fun(Req0) ->
        cowboy_req:cast(Cast, Req0),
        Req = cowboy_req:stream_reply(200, Req0),
        ok = cowboy_req:stream_body(<<"a">>, nofin, Req),
        ok = cowboy_req:stream_body(<<"bc">>, fin, Req),
        Req
    end.

differ_in_version(Difference, Protocol, Reply) ->
    Init = fun(Req, State) -> {ok, Reply(Req), State} end,
    same_test:differ(Difference, #{handler => {http_script_h, #{init => Init}}, protocol => Protocol}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        {<<Version:8/binary, _/binary>>, closed} = http_client:rest(Socket),
        Version
    end, #{
        cowboy => fun(#{wire := <<"HTTP/1.1">>}) -> ok end,
        outrider => fun(#{wire := <<"HTTP/1.0">>}) -> ok end
    }).

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
    differ(Difference, Protocol, Reply, [], Method, Cowboy, Outrider).

differ(Difference, Protocol, Reply, Headers, Method, Cowboy, Outrider) ->
    Init = fun(Req, State) -> {ok, Reply(Req), State} end,
    same_test:differ(Difference, #{handler => {http_script_h, #{init => Init}}, protocol => Protocol}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request(Method, "/", Headers, [])),
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
        Rest = [http_client:chunk(Socket), http_client:chunk(Socket)],
        %% Who leaves before the handler has returned ends it.
        _ = probe:await_exit(Probe),
        [First | Rest]
    end).

%% The client gets the pieces as chunks, those of more than 64 KiB as several; in HTTP/2 as frames, which are smaller than that.
a_large_stream(_) ->
    Piece = binary:copy(<<"x">>, 100000),
    Reply = fun(Req0) ->
        Req = cowboy_req:stream_reply(200, Req0),
        _ = [ok = cowboy_req:stream_body(Piece, nofin, Req) || _ <- lists:seq(1, 30)],
        ok = cowboy_req:stream_body(<<>>, fin, Req),
        Req
    end,
    Sizes = fun(#{body := Chunks}) -> {iolist_size(Chunks), lists:max([byte_size(Chunk) || Chunk <- Chunks])} end,
    case same_test:is_http2() of
        true ->
            #{wire := {3000000, 16384}} = http_case:serve(Reply, #{}, fun(Server) -> Sizes(http_client:get(Server, "/")) end),
            ok;
        false ->
            differ(large_pieces_of_a_stream, #{}, Reply, "GET", fun(Answer) ->
                {3000000, 100000} = Sizes(Answer)
            end, fun(Answer) ->
                {3000000, Longest} = Sizes(Answer),
                true = Longest =< 65536
            end)
    end.

%% More than may wait for a client; and nobody gets it.
a_large_stream_for_head(_) ->
    Piece = binary:copy(<<"x">>, 100000),
    #{wire := 200, calls := [done, {terminate, normal}, {exit, normal}]} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req0, #{probe := Probe} = State) ->
            Req = cowboy_req:stream_reply(200, Req0),
            _ = [ok = cowboy_req:stream_body(Piece, nofin, Req) || _ <- lists:seq(1, 30)],
            ok = cowboy_req:stream_body(<<>>, fin, Req),
            probe:note(Probe, done),
            {ok, Req, State}
        end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("HEAD", "/")),
        #{status := Status} = http_client:response(Socket, <<"HEAD">>),
        probe:await_exit(Probe),
        Status
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

%% Which trailers there are must be said in the head, and some fields have no business there (RFC 9110 6.5.1, 6.6.2).
trailers_that_do_not_reach_the_client(_) ->
    _ = [differ(trailers_that_are_not_announced, #{}, trailing(Announced, Trailers), [{"TE", "trailers"}], "GET",
        fun(#{trailers := [_]}) -> ok end, fun(Answer) -> false = maps:is_key(trailers, Answer) end)
        || {Announced, Trailers} <- [
            {<<"other">>, #{<<"checksum">> => <<"1">>}}, {<<"content-type">>, #{<<"content-type">> => <<"a/b">>}}]],
    ok.

%% The head is on its way: only the connection's end can tell the client.
trailers_that_cannot_be_sent(_) ->
    same_test:differ(invalid_response_header, #{handler => {http_script_h, #{silent => true, init => fun(Req, State) ->
        {ok, (trailing(<<"x">>, #{<<"x">> => <<"1\r\ny: 2">>}))(Req), State}
    end}}}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/", [{"TE", "trailers"}, {"Connection", "close"}], [])),
        {Bytes, closed} = http_client:rest(Socket),
        binary:match(Bytes, <<"y: 2">>) =/= nomatch
    end, #{
        cowboy => fun(#{wire := IsSent, log := []}) -> IsSent = same_test:version(cowboy) < {2, 16} end,
        outrider => fun(#{wire := false, log := [{error, <<"the rest of a response cannot be sent", _/binary>>}]}) -> ok end
    }).

no_trailers_for_other_clients(_) ->
    #{body := [<<"a">>], headers := Headers} = Answer = http_case:answer(trailing(), "/"),
    undefined = proplists:get_value(<<"trailer">>, Headers),
    false = maps:is_key(trailers, Answer).

trailing() ->
    trailing(<<"checksum">>, #{<<"checksum">> => <<"1">>}).

trailing(Announced, Trailers) ->
    fun(Req0) ->
        Req = cowboy_req:stream_reply(200, #{<<"trailer">> => Announced}, Req0),
        ok = cowboy_req:stream_body(<<"a">>, nofin, Req),
        ok = cowboy_req:stream_trailers(Trailers, Req),
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
