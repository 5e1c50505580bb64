%% One connection, several requests: which answers leave it open, and which end it.
-module(http_connection_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE).

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

%% A second request of which some has come with the end of the first one's body, its own body included.
requests_behind_a_chunked_body_in_pieces(_) ->
    First = http_client:request("POST", "/1", [{"Transfer-Encoding", "chunked"}], "0\r\n\r\n"),
    Get = iolist_to_binary(http_client:request("GET", "/2")),
    Post = iolist_to_binary(http_client:request("POST", "/2", [{"Transfer-Encoding", "chunked"}], "1\r\na\r\n0\r\n\r\n")),
    #{wire := [[<<"/1">>, <<"/2">>], [<<"/1">>, <<"/2">>]]} = http_case:serve(echo(), #{}, fun(Server) ->
        [begin
            Socket = http_client:connect(Server),
            <<Some:Cut/binary, Rest/binary>> = Second,
            http_client:send(Socket, [First, Some]),
            #{body := One} = http_client:response(Socket),
            http_client:send(Socket, Rest),
            #{body := Two} = http_client:response(Socket),
            [One, Two]
        end || {Second, Cut} <- [{Get, 20}, {Post, byte_size(Post) - 6}]]
    end).

%% The time of a request is its handler's, request_timeout is for heads.
a_slow_handler_behind_a_chunked_body(_) ->
    Slow = fun(Req) ->
        cowboy_req:path(Req) =:= <<"/slow">> andalso timer:sleep(600),
        cowboy_req:reply(200, Req)
    end,
    #{wire := [200, 200]} = http_case:serve(Slow, #{request_timeout => 200}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, [http_client:request("POST", "/", [{"Transfer-Encoding", "chunked"}], "0\r\n\r\n"),
            http_client:request("GET", "/slow")]),
        [maps:get(status, http_client:response(Socket)) || _ <- [1, 2]]
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
