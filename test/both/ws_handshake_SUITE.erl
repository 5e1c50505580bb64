%% The opening handshake (RFC 6455 4): what is accepted, what is refused and how, and what the 101 says.
-module(ws_handshake_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE).

-define(KEY, "dGhlIHNhbXBsZSBub25jZQ==").
-define(ACCEPT, <<"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=">>).
-define(ECHO, #{handler => {ws_bare_h, #{}}}).

%%% The answer

%% Key and accept are those of RFC 6455 1.3.
the_101(_) ->
    #{wire := #{status := 101, reason := <<"Switching Protocols">>, headers := [
        {<<"connection">>, <<"Upgrade">>},
        {<<"date">>, <<"now">>},
        {<<"sec-websocket-accept">>, ?ACCEPT},
        {<<"server">>, <<"Cowboy">>},
        {<<"upgrade">>, <<"websocket">>}]}} = answer_with(fun(Req) -> Req end, []).

headers_set_in_init_are_in_the_101(_) ->
    #{wire := #{headers := Headers}} = answer_with(fun(Req) ->
        cowboy_req:set_resp_headers(#{<<"x-two">> => <<"2">>, <<"x-one">> => [<<"o">>, "ne"]}, Req)
    end, []),
    <<"one">> = proplists:get_value(<<"x-one">>, Headers),
    <<"2">> = proplists:get_value(<<"x-two">>, Headers).

date_and_server_can_be_set_in_init(_) ->
    #{wire := #{headers := Headers}} = answer_with(fun(Req) ->
        cowboy_req:set_resp_header(<<"server">>, <<"mine">>, Req)
    end, []),
    [{<<"server">>, <<"mine">>}] = [Field || {<<"server">>, _} = Field <- Headers].

%% The fields of the protocol itself win over those of the handler.
connection_upgrade_and_accept_cannot_be_set_in_init(_) ->
    #{wire := #{status := 101, headers := Headers}} = answer_with(fun(Req) ->
        cowboy_req:set_resp_headers(#{<<"connection">> => <<"x">>, <<"upgrade">> => <<"x">>,
            <<"sec-websocket-accept">> => <<"x">>}, Req)
    end, []),
    5 = length(Headers),
    [] = [Field || {_, <<"x">>} = Field <- Headers].

cookies_set_in_init_are_in_the_101(_) ->
    #{wire := #{headers := Headers}} = answer_with(fun(Req) ->
        cowboy_req:set_resp_cookie(<<"b">>, <<"2">>, cowboy_req:set_resp_cookie(<<"a">>, <<"1">>, Req), #{path => "/"})
    end, []),
    [<<"a=1">>, <<"b=2; Path=/">>] = [Value || {<<"set-cookie">>, Value} <- Headers].

a_body_set_in_init_is_dropped(_) ->
    Init = fun(Req, State) -> {cowboy_websocket, cowboy_req:set_resp_body(<<"body">>, Req), State} end,
    #{wire := {text, <<"frame">>}} = same_test:same(#{handler => {ws_script_h, #{
        init => Init, websocket_init => fun(State) -> {[{text, <<"frame">>}], State} end
    }}}, fun(Server) -> ws_client:recv(ws_client:open(Server)) end).

a_sub_protocol_is_what_the_handler_sets(_) ->
    Choose = fun(Req) ->
        [_, Second] = cowboy_req:parse_header(<<"sec-websocket-protocol">>, Req),
        cowboy_req:set_resp_header(<<"sec-websocket-protocol">>, Second, Req)
    end,
    #{wire := Answer} = answer_with(Choose, [{"Sec-WebSocket-Protocol", "mqtt, v12.stomp"}]),
    <<"v12.stomp">> = http_client:header(<<"sec-websocket-protocol">>, Answer).

%% Cowboy does not hold the handler to the client's offer.
a_sub_protocol_that_was_not_offered_is_sent(_) ->
    #{wire := Answer} = answer_with(fun(Req) ->
        cowboy_req:set_resp_header(<<"sec-websocket-protocol">>, <<"own">>, Req)
    end, []),
    <<"own">> = http_client:header(<<"sec-websocket-protocol">>, Answer).

no_sub_protocol_is_chosen_by_itself(_) ->
    #{wire := Answer} = answer_with(fun(Req) -> Req end, [{"Sec-WebSocket-Protocol", "mqtt"}]),
    undefined = http_client:header(<<"sec-websocket-protocol">>, Answer).

no_extension_without_compress(_) ->
    #{wire := Answer} = answer_with(fun(Req) -> Req end, [{"Sec-WebSocket-Extensions", "permessage-deflate"}]),
    undefined = http_client:header(<<"sec-websocket-extensions">>, Answer).

%% A line feed in a header would be a second header for the client.
a_bad_header_value_in_the_101(_) ->
    Setup = #{handler => {ws_script_h, #{init => fun(Req, State) ->
        {cowboy_websocket, cowboy_req:set_resp_header(<<"x">>, <<"1\r\ny: 2">>, Req), State}
    end}}},
    Refuses = same_test:version(cowboy) >= {2, 16},
    same_test:differ(invalid_response_header, Setup, fun(Server) ->
        case ws_client:upgrade(http_client:connect(Server), []) of
            closed -> closed;
            Answer -> maps:with([status, headers], Answer)
        end
    end, #{
        cowboy => fun
            (#{wire := #{status := 500}, calls := []}) when Refuses ->
                ok;
            %% The tunnel's Cowlib is that of the server, and takes no such answer.
            (#{wire := closed, calls := []}) when Refuses ->
                true = same_test:is_http2(),
                ok;
            (#{wire := #{status := 101, headers := Headers}}) when not Refuses ->
                <<"2">> = proplists:get_value(<<"y">>, Headers)
        end,
        outrider => fun(#{wire := #{status := 500}}) -> ok end
    }).

%% The answer to a handshake with these further headers, if init/2 does this to its Req.
answer_with(Change, Headers) ->
    Setup = #{handler => {ws_script_h, #{init => fun(Req, State) -> {cowboy_websocket, Change(Req), State} end}}},
    same_test:same(Setup, fun(Server) -> ws_client:upgrade(http_client:connect(Server), Headers) end).



%%% Acceptance

%% Whether a handshake with one thing changed is accepted, and whether the connection can be used after a refusal.
%% `{101, echo}' has echoed a message; `{Status, open}' has answered a second handshake on the same connection.
outcome(Server, Bytes) ->
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, Bytes),
    case http_client:response(Socket) of
        #{status := 101} ->
            ok = ws_client:send(Socket, {text, <<"x">>}),
            {text, <<"x">>} = ws_client:recv(Socket),
            {101, echo};
        #{status := Status} ->
            _ = http_client:send(Socket, ws_client:handshake("/")),
            case http_client:response(Socket) of
                #{status := 101} -> {Status, open};
                closed -> {Status, closed}
            end;
        Other ->
            Other
    end.

connection_and_upgrade(_) ->
    same_test:rows(?ECHO, fun outcome/2, [
        {Replaced, ws_client:handshake_with(Replaced), Expected} || {Replaced, Expected} <- [
            {[], {101, echo}},
            {[{"Connection", "upgrade"}], {101, echo}},
            {[{"Connection", "UPGRADE"}], {101, echo}},
            {[{"Connection", "keep-alive, Upgrade"}], {101, echo}},
            {[{"Connection", "Upgrade, keep-alive"}], {101, echo}},
            {[{"Connection", "upgrade, close"}], {101, echo}},
            {[{"Connection", "keep-alive"}], {426, open}},
            {[{"Connection", none}], {426, open}},
            {[{"Upgrade", "WebSocket"}], {101, echo}},
            {[{"Upgrade", "WEBSOCKET"}], {101, echo}},
            {[{"Upgrade", "other, websocket"}], {101, echo}},
            {[{"Upgrade", "other"}], {426, open}},
            {[{"Upgrade", none}], {400, open}},
            {[{"Connection", none}, {"Upgrade", none}], {426, open}}
        ]]).

key(_) ->
    %% Over HTTP/2 a request without one is no handshake: Cowboy answers 501 since 2.13.
    Without = case same_test:is_http2() andalso same_test:version(cowboy) >= {2, 13} of
        true -> 501;
        false -> 400
    end,
    same_test:rows(?ECHO, fun outcome/2, [
        {Replaced, ws_client:handshake_with(Replaced), Expected} || {Replaced, Expected} <- [
            {[{"Sec-WebSocket-Key", none}], {Without, open}},
            {[{"Sec-WebSocket-Key", ""}], {101, echo}},
            {[{"Sec-WebSocket-Key", "short"}], {101, echo}},
            {[{"Sec-WebSocket-Key", "not base 64 at all !!!!!"}], {101, echo}},
            {[{"Sec-WebSocket-Key", ?KEY}, {"Sec-WebSocket-Key", ?KEY}], {101, echo}}
        ]]).

%% The accept is computed over the key as it stands, also when two were joined.
the_accept_of_two_keys(_) ->
    Accept = base64:encode(crypto:hash(sha, [?KEY, ", ", ?KEY, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"])),
    #{wire := Answer} = same_test:same(?ECHO, fun(Server) ->
        ws_client:upgrade(http_client:connect(Server), [{"Sec-WebSocket-Key", ?KEY}])
    end),
    Accept = http_client:header(<<"sec-websocket-accept">>, Answer).

version(_) ->
    same_test:rows(?ECHO, fun outcome/2, [
        {Value, ws_client:handshake_with([{"Sec-WebSocket-Version", Value}]), Expected} || {Value, Expected} <- [
            {"7", {101, echo}}, {"8", {101, echo}}, {"13", {101, echo}},
            {none, {400, open}}, {"0", {400, open}}, {"9", {400, open}}, {"12", {400, open}}, {"14", {400, open}},
            {"x", {400, open}}, {"", {400, open}}, {"13, 8", {400, open}}, {"013", {101, echo}}
        ]]).

other_fields(_) ->
    same_test:rows(?ECHO, fun outcome/2, [
        {Field, ws_client:handshake_with([Field]), Expected} || {Field, Expected} <- [
            {{"Origin", "http://elsewhere.example"}, {101, echo}},
            {{"Sec-WebSocket-Extensions", "permessage-deflate; x=\"y\", other"}, {101, echo}},
            {{"Sec-WebSocket-Extensions", "=;="}, {400, open}},
            {{"Sec-WebSocket-Protocol", "(bad)"}, {101, echo}}
        ]]).

methods_and_versions(_) ->
    Fields = [{"Connection", "Upgrade"}, {"Upgrade", "websocket"}, {"Sec-WebSocket-Version", "13"},
        {"Sec-WebSocket-Key", ?KEY}],
    Lines = fun(Version) -> ["GET / HTTP/", Version, "\r\nHost: localhost\r\n",
        [[Name, ": ", Value, "\r\n"] || {Name, Value} <- Fields], "\r\n"] end,
    same_test:rows(?ECHO, fun outcome/2, [
        {Method, http_client:request(Method, "/", Fields, <<>>), {426, open}} || Method <- ["POST", "PUT", "OPTIONS"]
    ] ++ [
        {http_1_0, Lines("1.0"), {400, closed}, {http_1_0_upgrade, {2, 13}, {501, closed}}}
    ]).

%% An ordinary request to a WebSocket handler.
the_426(_) ->
    #{wire := #{status := 426, reason := <<"Upgrade Required">>, framing := length, body := <<>>, headers := [
        {<<"connection">>, <<"upgrade">>},
        {<<"content-length">>, <<"0">>},
        {<<"date">>, <<"now">>},
        {<<"server">>, <<"Cowboy">>},
        {<<"upgrade">>, <<"websocket">>}]}} =
        same_test:same(?ECHO, fun(Server) -> http_client:get(Server, "/") end).

the_400(_) ->
    #{wire := #{status := 400, reason := <<"Bad Request">>, framing := length, body := <<>>, headers := [
        {<<"content-length">>, <<"0">>}, {<<"date">>, <<"now">>}, {<<"server">>, <<"Cowboy">>}]}} =
        same_test:same(?ECHO, fun(Server) ->
            Socket = http_client:connect(Server),
            http_client:send(Socket, ws_client:handshake_with([{"Sec-WebSocket-Version", none}])),
            http_client:response(Socket)
        end).

a_handler_can_refuse_by_a_reply_of_its_own(_) ->
    #{wire := {403, 403}} = same_test:same(#{handler => {ws_script_h, #{
        init => fun(Req, State) -> {ok, cowboy_req:reply(403, Req), State} end
    }}}, fun(Server) ->
        Socket = http_client:connect(Server),
        #{status := One} = ws_client:upgrade(Socket, []),
        #{status := Two} = ws_client:upgrade(Socket, []),
        {One, Two}
    end).

%% An answer that has been sent cannot become a 101. Cowboy's connection turns to frames all the same.
an_upgrade_after_an_answer_of_init(_) ->
    same_test:differ(upgrade_after_an_answer, #{handler => {ws_script_h, #{
        init => fun(Req, State) -> {cowboy_websocket, cowboy_req:reply(200, Req), State} end,
        websocket_init => fun(State) -> {[{text, <<"frame">>}], State} end
    }}}, fun(Server) ->
        Socket = http_client:connect(Server),
        #{status := 200} = ws_client:upgrade(Socket, []),
        ws_client:recv(Socket)
    end, #{
        cowboy => fun(#{wire := {text, <<"frame">>}}) -> ok end,
        outrider => fun(#{calls := []}) -> ok end
    }).

an_upgrade_after_an_ordinary_request_of_the_connection(_) ->
    #{wire := {426, 101, {text, <<"x">>}}} = same_test:same(?ECHO, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        #{status := One} = http_client:response(Socket),
        #{status := Two} = ws_client:upgrade(Socket, []),
        ws_client:send(Socket, {text, <<"x">>}),
        {One, Two, ws_client:recv(Socket)}
    end).

%% The request's body is no frame.
a_handshake_with_a_body(_) ->
    #{wire := {text, <<"x">>}} = same_test:same(?ECHO, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, [ws_client:handshake("/", [{"Content-Length", "5"}]), "12345"]),
        #{status := 101} = http_client:response(Socket),
        ws_client:send(Socket, {text, <<"x">>}),
        ws_client:recv(Socket)
    end).

%% A body that comes after the handler has accepted is no frame either: the 101 waits for its end.
a_handshake_whose_body_comes_late(_) ->
    Setup = #{handler => {ws_script_h, #{websocket_handle => fun(Frame, State) -> {[Frame], State} end}}},
    _ = [same_test:differ(body_of_a_handshake, Setup, fun(#{probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, ws_client:handshake("/", [Framing])),
        probe:await(Probe, websocket_init),
        _ = http_client:send(Socket, [Body, ws_client:bytes({text, <<"x">>})]),
        #{status := 101} = http_client:response(Socket),
        ws_client:recv(Socket)
    end, #{
        cowboy => fun(#{wire := Wire}) -> false = Wire =:= {text, <<"x">>} end,
        outrider => fun(#{wire := {text, <<"x">>}}) -> ok end
    }) || {Framing, Body} <- [{{"Content-Length", "5"}, "12345"}, {{"Transfer-Encoding", "chunked"}, "1\r\na\r\n0\r\n\r\n"}]],
    ok.

%% All in one write: a request with a chunked body, a handshake with another, and two frames.
frames_behind_chunked_bodies(_) ->
    Chunked = [{"Transfer-Encoding", "chunked"}],
    #{wire := {426, 101, [{text, <<"x">>}, {text, <<"y">>}]}} = same_test:same(?ECHO, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, [http_client:request("POST", "/", Chunked, "0\r\n\r\n"),
            ws_client:handshake("/", Chunked), "0\r\n\r\n", [ws_client:bytes({text, Text}) || Text <- [<<"x">>, <<"y">>]]]),
        #{status := One} = http_client:response(Socket),
        #{status := Two} = http_client:response(Socket),
        {One, Two, [ws_client:recv(Socket) || _ <- [1, 2]]}
    end).

%% The old form of the options, an atom, is a crash of the handler.
options_that_are_no_map(_) ->
    #{wire := 500} = same_test:same(#{handler => {ws_script_h, #{
        init => fun(Req, State) -> {cowboy_websocket, Req, State, hibernate} end,
        terminate => fun(_, _, _) -> ok end
    }}}, fun(Server) -> maps:get(status, ws_client:upgrade(http_client:connect(Server), [])) end).

%% Two handshakes and their frames, each cut into single bytes.
a_handshake_cut_at_every_byte(_) ->
    #{wire := {text, <<"x">>}} = same_test:same(?ECHO, fun(Server) ->
        Socket = http_client:connect(Server),
        _ = [ok = http_client:send(Socket, <<Byte>>) || <<Byte>> <= iolist_to_binary(ws_client:handshake("/"))],
        #{status := 101} = http_client:response(Socket),
        ws_client:send(Socket, {text, <<"x">>}),
        ws_client:recv(Socket)
    end).
