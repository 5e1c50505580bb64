%% Request bodies: read_body in all its modes, and bodies that nobody reads. Forms and multipart are in http_forms_SUITE, 100-continue is
%% in http_continue_SUITE.
-module(http_body_SUITE).

-compile([export_all, nowarn_export_all]).

-import(http_case, [post/2, read_all/2]).

all() ->
    same_test:cases(?MODULE).

chunked(Chunks, Fields) ->
    http_client:request("POST", "/", [{"Transfer-Encoding", "chunked"} | Fields], [
        [[integer_to_list(iolist_size(Chunk), 16), "\r\n", Chunk, "\r\n"] || Chunk <- Chunks], "0\r\n\r\n"]).

%%% read_body

a_body(_) ->
    {ok, <<"hello">>} = http_case:noted(fun(Req) ->
        {Ok, Body, _} = cowboy_req:read_body(Req),
        {Ok, Body}
    end, post([], "hello")).

no_body(_) ->
    {ok, <<>>} = http_case:noted(fun(Req) ->
        {Ok, Body, _} = cowboy_req:read_body(Req),
        {Ok, Body}
    end, "/").

%% Req knows the body's length once it has been read, and a second read finds nothing.
req_after_the_body(_) ->
    {undefined, 6, <<"6">>, {ok, <<>>}} = http_case:noted(fun(#{body_length := Before} = Req) ->
        {ok, _, Req1} = cowboy_req:read_body(Req),
        {Ok, Again, Req2} = cowboy_req:read_body(Req1),
        {Before, cowboy_req:body_length(Req2), cowboy_req:header(<<"content-length">>, Req2), {Ok, Again}}
    end, chunked(["abc", "def"], [])).

a_length_beyond_what_can_be_counted(_) ->
    {ok, 200000} = http_case:noted(fun(Req0) ->
        {ok, Body, _} = cowboy_req:read_body(Req0, #{length => 1 bsl 70}),
        {ok, byte_size(Body)}
    end, http_client:request("POST", "/", [{"Content-Length", "200000"}], binary:copy(<<"a">>, 200000))).

a_chunked_body(_) ->
    {<<"abcdef">>, undefined} = http_case:noted(fun(Req) ->
        {Body, _} = read_all(Req, #{}),
        {Body, cowboy_req:header(<<"transfer-encoding">>, Req)}
    end, chunked(["abc", "d", "ef"], [])).

chunk_extensions_are_skipped(_) ->
    <<"abc">> = http_case:noted(fun(Req) -> element(1, read_all(Req, #{})) end,
        http_client:request("POST", "/", [{"Transfer-Encoding", "chunked"}], "3;name=value\r\nabc\r\n0\r\n\r\n")).

%% Nobody sees them; the connection goes on.
trailers_are_skipped(_) ->
    Init = fun(Req0, State) ->
        {Body, Req} = read_all(Req0, #{}),
        {ok, cowboy_req:reply(200, #{}, Body, Req), State}
    end,
    same_test:differ_before({2, 17}, request_trailers, #{handler => {http_script_h, #{silent => true, init => Init}}}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, [http_client:request("POST", "/", [{"Transfer-Encoding", "chunked"}, {"Trailer", "x"}],
            "3\r\nabc\r\n0\r\nx: y\r\nz: \r\n\r\n"), http_client:request("GET", "/")]),
        [case http_client:response(Socket) of
            #{status := Status, body := Body} -> {Status, Body};
            Ended -> Ended
        end || _ <- [1, 2]]
    end, #{
        cowboy => fun(#{wire := Wire}) -> false = Wire =:= [{200, <<"abc">>}, {200, <<>>}] end,
        outrider => fun(#{wire := [{200, <<"abc">>}, {200, <<>>}]}) -> ok end
    }).

a_body_of_no_bytes_in_chunks(_) ->
    {ok, <<>>} = http_case:noted(fun(Req) ->
        {Ok, Body, _} = cowboy_req:read_body(Req),
        {Ok, Body}
    end, chunked([], [])).

a_large_body(_) ->
    Size = 3000000,
    {Size, true} = http_case:noted(fun(Req) ->
        {Body, _} = read_all(Req, #{}),
        {byte_size(Body), Body =:= binary:copy(<<"x">>, Size)}
    end, post([], binary:copy(<<"x">>, Size))).

a_large_body_in_small_pieces(_) ->
    Size = 500000,
    Size = http_case:noted(fun(Req) ->
        {Body, _} = read_all(Req, #{length => 1000}),
        byte_size(Body)
    end, post([], binary:copy(<<"x">>, Size))).

%% `length' is a threshold: with that much there, the reader need not wait for the rest.
length_is_enough(_) ->
    #{calls := Calls} = talk(fun(Req0, #{probe := Probe}) ->
        {more, Some, Req} = cowboy_req:read_body(Req0, #{length => 3}),
        probe:note(Probe, {read, Some}),
        {ok, Rest, _} = cowboy_req:read_body(Req),
        probe:note(Probe, {read, Rest}),
        Req
    end, fun(Socket, Probe) ->
        http_client:send(Socket, http_client:request("POST", "/", [{"Content-Length", "8"}], "abcd")),
        probe:await(Probe, {read, <<"abcd">>}),
        http_client:send(Socket, "efgh")
    end),
    [<<"abcd">>, <<"efgh">>] = [Read || {read, Read} <- Calls].

%% When `period' is over the reader gets what there is, if only nothing.
period_is_over(_) ->
    #{calls := Calls} = talk(fun(Req0, #{probe := Probe}) ->
        {more, None, Req1} = cowboy_req:read_body(Req0, #{period => 20}),
        probe:note(Probe, {read, None}),
        {ok, All, Req} = cowboy_req:read_body(Req1),
        probe:note(Probe, {read, All}),
        Req
    end, fun(Socket, Probe) ->
        http_client:send(Socket, http_client:request("POST", "/", [{"Content-Length", "4"}], "")),
        probe:await(Probe, {read, <<>>}),
        http_client:send(Socket, "abcd")
    end),
    [<<>>, <<"abcd">>] = [Read || {read, Read} <- Calls].

%% `auto' delivers each piece as it comes.
auto(_) ->
    #{calls := Calls} = talk(fun(Req0, #{probe := Probe}) ->
        {more, One, Req1} = cowboy_req:read_body(Req0, #{length => auto, period => infinity}),
        probe:note(Probe, {read, One}),
        {ok, Two, Req} = cowboy_req:read_body(Req1, #{length => auto, period => infinity}),
        probe:note(Probe, {read, Two}),
        Req
    end, fun(Socket, Probe) ->
        http_client:send(Socket, http_client:request("POST", "/", [{"Content-Length", "4"}], "ab")),
        probe:await(Probe, {read, <<"ab">>}),
        http_client:send(Socket, "cd")
    end),
    [<<"ab">>, <<"cd">>] = [Read || {read, Read} <- Calls].

%% Cowboy's connection process crashes unless the whole body is there.
length_infinity(_) ->
    Init = fun(Req0, #{probe := Probe} = State) ->
        probe:note(Probe, reading),
        {ok, Body, Req} = cowboy_req:read_body(Req0, #{length => infinity}),
        {ok, cowboy_req:reply(200, #{}, Body, Req), State}
    end,
    same_test:differ(read_body_infinity, #{handler => {http_script_h, #{silent => true, init => Init}}},
        fun(#{probe := Probe} = Server) ->
            Socket = http_client:connect(Server),
            http_client:send(Socket, http_client:request("POST", "/", [{"Content-Length", "4"}], "")),
            probe:await(Probe, reading),
            http_client:send(Socket, "ab"),
            _ = http_client:send(Socket, "cd"),
            case http_client:response(Socket) of
                #{status := 200, body := Body} -> Body;
                Other -> Other
            end
        end, #{
            cowboy => fun(#{wire := Wire}) -> false = Wire =:= <<"abcd">> end,
            outrider => fun(#{wire := <<"abcd">>}) -> ok end
        }).

%% A body that comes after the reader has begun to wait.
a_late_body(_) ->
    #{calls := Calls} = talk(fun(Req0, #{probe := Probe}) ->
        probe:note(Probe, reading),
        {ok, Body, Req} = cowboy_req:read_body(Req0),
        probe:note(Probe, {read, Body}),
        Req
    end, fun(Socket, Probe) ->
        http_client:send(Socket, http_client:request("POST", "/", [{"Content-Length", "4"}], "")),
        probe:await(Probe, reading),
        http_client:send(Socket, "ab"),
        http_client:send(Socket, "cd")
    end),
    [<<"abcd">>] = [Read || {read, Read} <- Calls].

%% A handler that reads as the client is told to go on; the answer must be a 200.
talk(Handle, Client) ->
    #{wire := 200} = same_test:same(#{handler => {http_script_h, #{init => fun(Req0, State) ->
        Req = Handle(Req0, State),
        {ok, cowboy_req:reply(200, Req), State}
    end}}}, fun(#{probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        Client(Socket, Probe),
        #{status := Status} = http_client:response(Socket),
        Status
    end).

%% The body of one request is over before the next one begins.
bodies_of_two_requests_at_once(_) ->
    #{wire := [<<"one">>, <<"two">>]} = http_case:serve(fun(Req0) ->
        {Body, Req} = read_all(Req0, #{}),
        cowboy_req:reply(200, #{}, Body, Req)
    end, #{}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, [post([], "one"), chunked(["t", "wo"], [])]),
        [maps:get(body, http_client:response(Socket)) || _ <- [1, 2]]
    end).

%%% Bodies that nobody reads

an_unread_body_is_skipped_before_the_next_request(_) ->
    #{wire := {200, undefined, 200}} = http_case:serve(fun(Req) -> cowboy_req:reply(200, Req) end, #{},
        fun(Server) -> after_an_unread_body(Server, 1000) end).

%% Cowboy may stop to read when the body is larger than initial_stream_flow_size, and hear nothing of the next request.
a_large_unread_body_is_skipped_too(_) ->
    Init = fun(Req, State) -> {ok, cowboy_req:reply(200, Req), State} end,
    same_test:improves(large_unread_body, #{handler => {http_script_h, #{init => Init}}},
        fun(Server) -> after_an_unread_body(Server, 200000) end, fun(#{wire := {200, undefined, 200}}) -> ok end).

after_an_unread_body(Server, Size) ->
    Socket = http_client:connect(Server),
    http_client:send(Socket, post([], binary:copy(<<"x">>, Size))),
    #{status := One} = Answer = http_client:response(Socket),
    http_client:send(Socket, http_client:request("GET", "/")),
    #{status := Two} = http_client:response(Socket),
    {One, http_client:header(<<"connection">>, Answer), Two}.

%% The client goes on sending long after the answer: idle_timeout is its time, not request_timeout.
an_early_answer_to_a_slow_upload(_) ->
    #{wire := {[ok, ok, ok, ok], 401, timeout}} = http_case:serve(fun(Req) -> cowboy_req:reply(401, Req) end,
        #{request_timeout => 500}, fun(Server) ->
            Socket = http_client:connect(Server),
            http_client:send(Socket, http_client:request("POST", "/", [{"Content-Length", "5"}], "")),
            Sent = [begin timer:sleep(300), http_client:send(Socket, Byte) end || Byte <- ["a", "b", "c", "d"]],
            #{status := Status} = http_client:response(Socket),
            {Sent, Status, http_client:closed(Socket)}
        end).

%% Ahead of its handler comes what initial_stream_flow_size allows, and for it what it has asked for.
a_body_comes_as_it_is_asked_for(_) ->
    Init = fun(Req0, State) ->
        {more, Some, Req} = cowboy_req:read_body(Req0, #{length => 10}),
        {ok, cowboy_req:reply(200, #{}, integer_to_binary(byte_size(Some)), Req), State}
    end,
    same_test:differ(exact_flow, #{handler => {http_script_h, #{silent => true, init => Init}},
        protocol => #{initial_stream_flow_size => 10}}, fun(Server) ->
            Socket = http_client:connect(Server),
            http_client:send(Socket, [http_client:request("POST", "/", [{"Content-Length", "2000"}], []),
                binary:copy(<<"x">>, 1000)]),
            #{body := Size} = http_client:response(Socket),
            binary_to_integer(Size)
        end, #{
            cowboy => fun(#{wire := Size}) when Size > 20 -> ok end,
            outrider => fun(#{wire := Size}) when Size >= 10, Size =< 20 -> ok end
        }).

%% Above max_skip_body_length (1,000,000) it is cheaper to close the connection.
an_unread_body_that_is_too_long_ends_the_connection(_) ->
    #{wire := {200, closed}} = http_case:serve(fun(Req) -> cowboy_req:reply(200, Req) end,
        #{max_skip_body_length => 10, initial_stream_flow_size => 10, linger_timeout => 0}, fun(Server) ->
            Socket = http_client:connect(Server),
            http_client:send(Socket, http_client:request("POST", "/", [{"Content-Length", "100"}], "")),
            #{status := Status} = http_client:response(Socket),
            {Status, http_client:closed(Socket)}
        end).

%% A chunked body's length is not known beforehand.
an_unread_chunked_body_ends_the_connection(_) ->
    #{wire := {200, closed}} = http_case:serve(fun(Req) -> cowboy_req:reply(200, Req) end, #{}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("POST", "/", [{"Transfer-Encoding", "chunked"}], "3\r\nabc\r\n")),
        #{status := Status} = http_client:response(Socket),
        {Status, http_client:closed(Socket)}
    end).
