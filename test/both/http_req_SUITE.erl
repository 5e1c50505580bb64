%% Req key by key, and the functions of cowboy_req that look at it. Bodies are in http_body_SUITE, answers in
%% http_reply_SUITE.
-module(http_req_SUITE).

-compile([export_all, nowarn_export_all]).

%% Those of the listener, over TLS or not.
-define(SCHEME, element(1, same_test:scheme())).
-define(PORT, element(2, same_test:scheme())).

%% The tunnel of TLS has a port of its own.
all() ->
    same_test:cases(?MODULE) -- same_test:not_over_tls([the_peers_port_is_the_clients]).

%%% The map

%% Every key that is there from the start. Peer's port is the client's own.
the_keys_of_req(_) ->
    {Scheme, _} = same_test:scheme(),
    Noted = http_case:noted(fun(#{peer := {Ip, Port}, sock := {SockIp, SockPort}} = Req) ->
        true = is_integer(Port),
        true = is_integer(SockPort),
        Req#{peer := Ip, sock := SockIp}
    end, "GET /a%20b/c?d=e&f HTTP/1.1\r\nHost: Example.ORG:8080\r\nX-Other: 1\r\n\r\n"),
    #{
        pid := pid, streamid := 1, ref := listener, cert := undefined,
        peer := {127, 0, 0, 1}, sock := {127, 0, 0, 1},
        method := <<"GET">>, version := 'HTTP/1.1', scheme := Scheme, host := <<"example.org">>, port := 8080,
        path := <<"/a%20b/c">>, qs := <<"d=e&f">>,
        headers := #{<<"host">> := <<"Example.ORG:8080">>, <<"x-other">> := <<"1">>} = Headers,
        has_body := false, body_length := 0,
        host_info := undefined, path_info := [<<"a b">>, <<"c">>], bindings := Bindings
    } = Noted,
    {2, 0, 19} = {map_size(Headers), map_size(Bindings), map_size(Noted)}.

header_fields(_) ->
    Headers = http_case:noted(fun(#{headers := Headers}) -> Headers end,
        "GET / HTTP/1.1\r\nHost: h\r\nUPPER: Value\r\nspaces:  \t a  b \t\r\nempty:\r\nsame: 1\r\nSAME: 2\r\n"
        "cookie: a=1\r\nCookie: b=2\r\nlatin: \xe9\r\n\r\n"),
    #{<<"host">> := <<"h">>, <<"upper">> := <<"Value">>, <<"spaces">> := <<"a  b">>, <<"empty">> := <<>>,
        <<"same">> := <<"1, 2">>, <<"cookie">> := <<"a=1; b=2">>, <<"latin">> := <<16#e9>>} = Headers,
    7 = map_size(Headers).

-define(HOST_AND_PORT, fun(#{host := Host, port := Port}) -> {Host, Port} end).

host_and_port(_) ->
    rows(fun(Value) -> ["GET / HTTP/1.1\r\nHost: ", Value, "\r\n\r\n"] end, ?HOST_AND_PORT, [
        {"localhost", {<<"localhost">>, ?PORT}},
        {"LOCALHOST", {<<"localhost">>, ?PORT}},
        {"localhost:1", {<<"localhost">>, 1}},
        {"localhost:65535", {<<"localhost">>, 65535}},
        {"127.0.0.1:80", {<<"127.0.0.1">>, 80}},
        {"[::1]", {<<"[::1]">>, ?PORT}},
        {"[::1]:8080", {<<"[::1]">>, 8080}},
        {"", {<<>>, ?PORT}}
    ]).

http_1_0_without_host(_) ->
    {_, Default} = same_test:scheme(),
    {<<>>, Default, 'HTTP/1.0'} = http_case:noted(fun(#{host := Host, port := Port, version := Version}) ->
        {Host, Port, Version}
    end, "GET / HTTP/1.0\r\n\r\n").

%% The target as it stands in the request line, and host, path and qs of Req.
%% Bytes that are no URI's, as people type them into a client that does not encode them. In a path Cowboy's router refuses
%% them.
targets_of_any_bytes(_) ->
    Any = << <<Byte>> || Byte <- lists:seq(1, 255), not lists:member(Byte, "\n\r #?") >>,
    rows(fun(Target) -> ["GET ", Target, " HTTP/1.1\r\nHost: h\r\n\r\n"] end,
        fun(Req) -> {cowboy_req:host(Req), cowboy_req:path(Req), cowboy_req:qs(Req)} end, [
            {<<"/a?q=\"<>\t\e", 127, 233>>, {<<"h">>, <<"/a">>, <<"q=\"<>\t\e", 127, 233>>}},
            {<<"/?", Any/binary>>, {<<"h">>, <<"/">>, Any}},
            {<<"/a?", Any/binary, "?">>, {<<"h">>, <<"/a">>, <<Any/binary, "?">>}},
            {<<"http://h?<">>, {<<"h">>, <<"/">>, <<"<">>}},
            {<<"http://h/?<">>, {<<"h">>, <<"/">>, <<"<">>}},
            {<<"http://h/?">>, {<<"h">>, <<"/">>, <<>>}}
        ]).

%% Requests of one connection do not get each other's targets.
targets_of_any_bytes_one_after_the_other(_) ->
    Init = fun(#{path := Path, qs := Qs} = Req, State) -> {ok, cowboy_req:reply(200, #{}, [Path, "|", Qs], Req), State} end,
    Targets = [<<"/%3C?1">>, <<"/%3C?<1">>, <<"/2">>, <<"/3?>">>, <<"/4?">>],
    #{wire := Bodies} = same_test:same(#{handler => {http_script_h, #{silent => true, init => Init}}}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, [http_client:request("GET", Target) || Target <- Targets]),
        [maps:get(body, http_client:response(Socket)) || _ <- Targets]
    end),
    [<<"/%3C|1">>, <<"/%3C|<1">>, <<"/2|">>, <<"/3|>">>, <<"/4|">>] = Bodies.

targets(_) ->
    rows(fun(Target) -> ["GET ", Target, " HTTP/1.1\r\nHost: localhost\r\n\r\n"] end,
        fun(#{scheme := Scheme, host := Host, port := Port, path := Path, qs := Qs}) ->
            {Scheme, Host, Port, Path, Qs}
        end, [
            {"/", {?SCHEME, <<"localhost">>, ?PORT, <<"/">>, <<>>}},
            {"/?", {?SCHEME, <<"localhost">>, ?PORT, <<"/">>, <<>>}},
            {"/a?b?c", {?SCHEME, <<"localhost">>, ?PORT, <<"/a">>, <<"b?c">>}},
            {"//a//", {?SCHEME, <<"localhost">>, ?PORT, <<"//a//">>, <<>>}},
            {"/a/../b/./c", {?SCHEME, <<"localhost">>, ?PORT, <<"/a/../b/./c">>, <<>>}},
            {"/%41", {?SCHEME, <<"localhost">>, ?PORT, <<"/%41">>, <<>>}},
            {"/a;b=c,d", {?SCHEME, <<"localhost">>, ?PORT, <<"/a;b=c,d">>, <<>>}},
            {"http://localhost", {?SCHEME, <<"localhost">>, ?PORT, <<"/">>, <<>>}},
            {"http://localhost/a?b", {?SCHEME, <<"localhost">>, ?PORT, <<"/a">>, <<"b">>}},
            {"http://localhost?b", {?SCHEME, <<"localhost">>, ?PORT, <<"/">>, <<"b">>}},
            {"https://localhost/", {?SCHEME, <<"localhost">>, ?PORT, <<"/">>, <<>>}}
        ]).

methods(_) ->
    rows(fun(Method) -> [Method, " / HTTP/1.1\r\nHost: localhost\r\n\r\n"] end, fun cowboy_req:method/1, [
        {Method, list_to_binary(Method)} || Method <- ["GET", "get", "POST", "PATCH", "DELETE", "OPTIONS", "PROPFIND",
            "M-SEARCH", "X!#$%&'*+.^_`|~9"]]).

%% Looks at Req in init/2 for each request and expects what the row says.
rows(Request, Look, Rows) ->
    same_test:rows(#{handler => {http_script_h, #{init => fun(Req, State) ->
        {ok, cowboy_req:reply(200, #{}, term_to_binary(Look(Req)), Req), State}
    end}}}, fun(Server, Input) ->
        Socket = http_client:connect(Server),
        ok = http_client:send(Socket, Request(Input)),
        case http_client:response(Socket) of
            #{status := 200, body := Body} -> binary_to_term(Body);
            Other -> Other
        end
    end, [{Input, Input, Expected} || {Input, Expected} <- Rows]).

requests_with_a_body(_) ->
    rows(fun({Fields, Body}) -> ["POST / HTTP/1.1\r\nHost: localhost\r\n", Fields, "\r\n", Body] end,
        fun(#{has_body := HasBody, body_length := Length, headers := Headers}) ->
            {HasBody, Length, maps:is_key(<<"transfer-encoding">>, Headers)}
        end, [
            {{"", ""}, {false, 0, false}},
            {{"Content-Length: 0\r\n", ""}, {false, 0, false}},
            {{"Content-Length: 00\r\n", ""}, {true, 0, false}},
            {{"Content-Length: 3\r\n", "abc"}, {true, 3, false}},
            {{"Content-Length: 003\r\n", "abc"}, {true, 3, false}},
            {{"Transfer-Encoding: chunked\r\n", "0\r\n\r\n"}, {true, undefined, false}},
            {{"Transfer-Encoding: Chunked\r\n", "0\r\n\r\n"}, {true, undefined, false}}
        ]).

%% Streams are counted per connection.
streamid_counts_the_requests_of_a_connection(_) ->
    #{wire := [<<"1">>, <<"2">>, <<"3">>, <<"1">>]} = http_case:serve(fun(#{streamid := Id} = Req) ->
        cowboy_req:reply(200, #{}, integer_to_binary(Id), Req)
    end, #{}, fun(Server) ->
        Next = fun(Socket) ->
            ok = http_client:send(Socket, http_client:request("GET", "/")),
            maps:get(body, http_client:response(Socket))
        end,
        One = http_client:connect(Server),
        Bodies = [Next(One), Next(One), Next(One)],
        Bodies ++ [Next(http_client:connect(Server))]
    end).

the_peers_port_is_the_clients(_) ->
    #{wire := true} = http_case:serve(fun(#{peer := {_, Port}} = Req) ->
        cowboy_req:reply(200, #{}, integer_to_binary(Port), Req)
    end, #{}, fun(Server) ->
        Socket = http_client:connect(Server),
        {ok, {_, Port}} = inet:sockname(Socket),
        ok = http_client:send(Socket, http_client:request("GET", "/")),
        maps:get(body, http_client:response(Socket)) =:= integer_to_binary(Port)
    end).

%%% Functions

accessors(_) ->
    {Scheme, Default} = same_test:scheme(),
    [<<"GET">>, 'HTTP/1.1', Scheme, <<"localhost">>, Default, <<"/a">>, <<"b=1&c">>, undefined,
        #{<<"host">> := <<"localhost">>, <<"accept">> := _}] = http_case:noted(fun(Req) ->
        [cowboy_req:F(Req) || F <- [method, version, scheme, host, port, path, qs, cert, headers]]
    end, http_client:request("GET", "/a?b=1&c", [{"Accept", "text/html"}], <<>>)).

query_strings(_) ->
    {[{<<"b">>, <<"1 2">>}, {<<"c">>, true}, {<<"d">>, <<>>}], #{b := <<"1 2">>, z := none}} =
        http_case:noted(fun(Req) -> {cowboy_req:parse_qs(Req), cowboy_req:match_qs([b, {z, [], none}], Req)} end,
            "/?b=1+2&c&d=").

uris(_) ->
    {Scheme, _} = same_test:scheme(),
    [One, <<"//localhost/a?b">>, <<"https://localhost/a?b">>, <<"/a?b">>, Other] = http_case:noted(fun(Req) ->
        [iolist_to_binary(cowboy_req:uri(Req, Opts)) || Opts <- [
            #{}, #{scheme => undefined}, #{scheme => <<"https">>, port => 443}, #{host => undefined}, #{qs => undefined}]]
    end, "/a?b"),
    {One, Other} = {<<Scheme/binary, "://localhost/a?b">>, <<Scheme/binary, "://localhost/a">>}.

headers_and_cookies(_) ->
    {<<"text/html;q=0.5">>, undefined, none, [{{<<"text">>, <<"html">>, []}, 500, []}], [{<<"a">>, <<"1">>},
        {<<"b">>, <<"2">>}], #{a := <<"1">>}} = http_case:noted(fun(Req) -> {
            cowboy_req:header(<<"accept">>, Req), cowboy_req:header(<<"x">>, Req), cowboy_req:header(<<"x">>, Req, none),
            cowboy_req:parse_header(<<"accept">>, Req), cowboy_req:parse_cookies(Req),
            cowboy_req:match_cookies([a], Req)}
        end, http_client:request("GET", "/", [{"Accept", "text/html;q=0.5"}, {"Cookie", "a=1; b=2"}], <<>>)).

bindings_of_the_route(_) ->
    #{wire := #{body := <<"7 rest/of">>}} = same_test:same(#{routes => [
        {"/items/:id/[...]", http_script_h, #{init => fun(Req, State) ->
            Id = cowboy_req:binding(id, Req),
            Rest = lists:join("/", cowboy_req:path_info(Req)),
            {ok, cowboy_req:reply(200, #{}, [Id, " " | Rest], Req), State}
        end}}]}, fun(Server) -> http_client:get(Server, "/items/7/rest/of") end).

%% Users put keys of their own into Req.
own_keys_of_a_middleware(_) ->
    #{wire := #{body := <<"from a middleware">>}} = same_test:same(#{
        handler => {http_script_h, #{init => fun(#{own := Own} = Req, State) ->
            {ok, cowboy_req:reply(200, #{}, Own, Req), State}
        end}},
        protocol => #{middlewares => [cowboy_router, own_key_m, cowboy_handler]}
    }, fun(Server) -> http_client:get(Server, "/") end).
