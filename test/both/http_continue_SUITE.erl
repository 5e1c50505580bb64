%% 100-continue (RFC 9110 10.1.1): who asks a client that waits for its body, and what follows when nobody does.
-module(http_continue_SUITE).

-compile([export_all, nowarn_export_all]).

-import(http_case, [read_all/2]).

all() ->
    same_test:cases(?MODULE).

-define(EXPECT(Length), http_client:request("POST", "/", [{"Content-Length", Length}, {"Expect", "100-continue"}], [])).

%% The client waits for the 100 before it sends the body.
continue_is_sent_when_the_body_is_read(_) ->
    #{wire := {100, [], 200, <<"abc">>}} = http_case:serve(fun(Req0) ->
        {Body, Req} = read_all(Req0, #{}),
        cowboy_req:reply(200, #{}, Body, Req)
    end, #{}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, ?EXPECT("3")),
        #{status := One, headers := Headers} = http_client:response(Socket),
        http_client:send(Socket, "abc"),
        #{status := Two, body := Body} = http_client:response(Socket),
        {One, Headers, Two, Body}
    end).

continue_is_not_sent_when_the_body_is_not_read(_) ->
    #{wire := 200} = http_case:serve(fun(Req) -> cowboy_req:reply(200, Req) end, #{}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, ?EXPECT("3")),
        maps:get(status, http_client:response(Socket))
    end).

%% RFC 9110 10.1.1 allows both, and it is a race where the body comes with the head.
the_body_has_come_with_the_head(_) ->
    Init = fun(Req0, State) ->
        {Body, Req} = read_all(Req0, #{}),
        {ok, cowboy_req:reply(200, #{}, Body, Req), State}
    end,
    same_test:improves(continue_though_the_body_has_come, #{handler => {http_script_h, #{init => Init}}}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, [?EXPECT("3"), "abc"]),
        case http_client:response(Socket) of
            #{status := 100} -> [100, maps:get(body, http_client:response(Socket))];
            #{body := Body} -> [Body]
        end
    end, fun(#{wire := Answers}) -> <<"abc">> = lists:last(Answers) end).

continue_of_the_handlers_own(_) ->
    #{wire := [100, 200]} = http_case:serve(fun(Req0) ->
        ok = cowboy_req:inform(100, Req0),
        {_, Req} = read_all(Req0, #{}),
        cowboy_req:reply(200, Req)
    end, #{}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, ?EXPECT("3")),
        #{status := One} = http_client:response(Socket),
        http_client:send(Socket, "abc"),
        #{status := Two} = http_client:response(Socket),
        [One, Two]
    end).

%% The next bytes could be the body or not: nothing can follow (RFC 9110 10.1.1). Cowboy takes them for the body.
a_final_answer_instead_of_continue(_) ->
    Init = fun(Req, State) -> {ok, cowboy_req:reply(413, Req), State} end,
    Setup = #{handler => {http_script_h, #{silent => true, init => Init}}},
    _ = [same_test:differ(close_instead_of_continue, Setup, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("POST", "/", [Framing, {"Expect", "100-continue"}], [])),
        #{status := 413} = Answer = http_client:response(Socket),
        http_client:header(<<"connection">>, Answer)
    end, #{
        cowboy => fun(#{wire := undefined}) -> ok end,
        outrider => fun(#{wire := <<"close">>}) -> ok end
    }) || Framing <- [{"Content-Length", "5"}, {"Transfer-Encoding", "chunked"}]],
    ok.

continue_with_headers_though_nobody_expects_it(_) ->
    #{wire := {100, [{<<"x">>, <<"1">>}], 200}} = http_case:serve(fun(Req) ->
        ok = cowboy_req:inform(100, #{<<"x">> => <<"1">>}, Req),
        cowboy_req:reply(200, Req)
    end, #{}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        #{status := One, headers := Headers} = http_client:response(Socket),
        #{status := Two} = http_client:response(Socket),
        {One, Headers, Two}
    end).

an_unknown_expectation_is_ignored(_) ->
    _ = [#{status := 200} = http_case:answer(fun(Req) -> cowboy_req:reply(200, Req) end,
        http_client:request("POST", "/", [{"Content-Length", "0"}, {"Expect", Expect}], []))
        || Expect <- ["else", "100-continue, else", "(bad)"]],
    ok.

%% HTTP/1.0 has no interim responses.
no_continue_in_http_1_0(_) ->
    <<"abc">> = http_case:noted(fun(Req) -> element(1, read_all(Req, #{})) end,
        "POST / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc").
