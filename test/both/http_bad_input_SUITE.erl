%% HTTP's limits and malformed input: raw bytes in, the answer out, and the listener goes on serving others.
%% (RFC 9112; the limits are Cowboy's protocol options.)
-module(http_bad_input_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE).

%% What these bytes get: `{Status, closed}' with the end of the connection, `{Status, open}' if it goes on, or `closed'
%% without an answer. Afterwards another client must be served.
outcome(Server, Bytes) ->
    Socket = http_client:connect(Server),
    _ = http_client:send(Socket, Bytes),
    Outcome = case http_client:response(Socket) of
        #{status := Status, headers := Headers} ->
            case http_client:header(<<"connection">>, #{headers => Headers}) of
                <<"close">> -> {Status, http_client:closed(Socket)};
                undefined -> {Status, next(Socket, http_client:request("GET", "/"))}
            end;
        Ended ->
            Ended
    end,
    #{status := 200} = http_client:get(Server, "/"),
    Outcome.

%% Whether the next request of the connection is answered.
next(Socket, Request) ->
    _ = http_client:send(Socket, Request),
    case http_client:response(Socket) of
        #{status := 200} -> open;
        Other -> Other
    end.

rows(Protocol, Rows) ->
    Init = fun(Req, State) -> {ok, cowboy_req:reply(200, Req), State} end,
    same_test:rows(#{handler => {http_script_h, #{init => Init}}, protocol => Protocol}, fun outcome/2, Rows).

-define(HOST, "Host: localhost\r\n").

%%% The request line

request_line(_) ->
    rows(#{}, [
        {one_empty_line_before, "\r\nGET / HTTP/1.1\r\n" ?HOST "\r\n", {200, open}},
        {leading_space, " GET / HTTP/1.1\r\n" ?HOST "\r\n", {400, closed}},
        {bad_method, "G(T / HTTP/1.1\r\n" ?HOST "\r\n", {400, closed}},
        {no_method, "/ HTTP/1.1\r\n" ?HOST "\r\n", {400, closed}},
        {no_target, "GET HTTP/1.1\r\n" ?HOST "\r\n", {400, closed}},
        {no_version, "GET /\r\n" ?HOST "\r\n", {400, closed}},
        {target_without_slash, "GET a HTTP/1.1\r\n" ?HOST "\r\n", {400, closed}},
        {tab_as_separator, "GET\t/ HTTP/1.1\r\n" ?HOST "\r\n", {400, closed}},
        {two_spaces, "GET  / HTTP/1.1\r\n" ?HOST "\r\n", {400, closed}},
        {space_after_the_version, "GET / HTTP/1.1 \r\n" ?HOST "\r\n", {400, closed}},
        {asterisk_for_get, "GET * HTTP/1.1\r\n" ?HOST "\r\n", {400, closed}},
        {connect, "CONNECT localhost:80 HTTP/1.1\r\n" ?HOST "\r\n", {501, closed}},
        {trace, "TRACE / HTTP/1.1\r\n" ?HOST "\r\n", {501, closed}},
        {version_1_2, "GET / HTTP/1.2\r\n" ?HOST "\r\n", {505, closed}},
        {version_2_0, "GET / HTTP/2.0\r\n" ?HOST "\r\n", {505, closed}},
        {version_0_9, "GET / HTTP/0.9\r\n" ?HOST "\r\n", {505, closed}},
        {lower_case_version, "GET / http/1.1\r\n" ?HOST "\r\n", {505, closed}},
        {userinfo, "GET http://user@localhost/ HTTP/1.1\r\n" ?HOST "\r\n", {400, closed}},
        {empty_authority, "GET http:/// HTTP/1.1\r\n" ?HOST "\r\n", {400, closed}},
        {other_host_than_the_field, "GET http://elsewhere/ HTTP/1.1\r\n" ?HOST "\r\n", {400, closed}},
        {other_scheme, "GET ftp://localhost/ HTTP/1.1\r\n" ?HOST "\r\n", {400, closed}},
        {garbage, [<<0, 1, 2, 255>>, "\r\n\r\n"], {400, closed}},
        {line_feed_only, "GET / HTTP/1.1\n" ?HOST "\r\n", {505, closed}, {bare_line_feed, {2, 17}, {400, closed}}},
        {fragment, "GET /#f HTTP/1.1\r\n" ?HOST "\r\n", {200, open}, {fragment_in_the_target, {2, 18}, {400, closed}}},
        {bad_percent_encoding, "GET /%zz HTTP/1.1\r\n" ?HOST "\r\n", {400, open}},
        {sign_of_no_uri_in_the_path, "GET /< HTTP/1.1\r\n" ?HOST "\r\n", {400, open}},
        {tab_in_the_path, "GET /a\tb HTTP/1.1\r\n" ?HOST "\r\n", {400, open}},
        {no_utf8_in_the_path, ["GET /", 255, " HTTP/1.1\r\n" ?HOST "\r\n"], {400, open}},
        {nul_in_the_path, ["GET /a", 0, "b HTTP/1.1\r\n" ?HOST "\r\n"], {400, open},
            {nul_in_the_path, {2, 17}, {400, closed}}}
    ]).

empty_lines(_) ->
    Lines = fun(Count) -> [lists:duplicate(Count, "\r\n"), "GET / HTTP/1.1\r\n" ?HOST "\r\n"] end,
    rows(#{}, [{5, Lines(5), {200, open}}, {6, Lines(6), {400, closed}}]),
    rows(#{max_empty_lines => 1}, [{1, Lines(1), {200, open}}, {2, Lines(2), {400, closed}}]).

max_request_line_length(_) ->
    rows(#{max_request_line_length => 100}, [
        {shorter, "GET / HTTP/1.1\r\n" ?HOST "\r\n", {200, open}},
        {longer, ["GET /", binary:copy(<<"a">>, 200)], {414, closed}}
    ]).

%% In one segment with its end.
a_little_more_than_the_limits(_) ->
    Get = fun(Target, Fields) -> ["GET ", Target, " HTTP/1.1\r\n" ?HOST, Fields, "\r\n"] end,
    rows(#{}, [
        {request_line, Get(["/", binary:copy(<<"a">>, 8001 - 14)], ""), {200, open}, {exact_limits, {414, closed}}},
        {name, Get("/", [binary:copy(<<"a">>, 65), ": b\r\n"]), {200, open}, {exact_limits, {431, closed}}}
    ]),
    rows(#{max_header_value_length => 100}, [
        {value, Get("/", ["Cookie: ", binary:copy(<<"a">>, 101), "\r\n"]), {200, open}, {exact_limits, {431, closed}}}
    ]).

a_request_line_of_100_kilobytes(_) ->
    Request = fun(Length) -> ["GET /", binary:copy(<<"a">>, Length - 14), " HTTP/1.1\r\n" ?HOST "\r\n"] end,
    rows(#{max_request_line_length => 100000}, [{at_the_limit, Request(100000), {200, open}}]).

max_method_length(_) ->
    Request = fun(Length) -> [binary:copy(<<"A">>, Length), " / HTTP/1.1\r\n" ?HOST "\r\n"] end,
    rows(#{}, [{31, Request(31), {200, open}}, {32, Request(32), {501, closed}, {exact_method_length, {200, open}}},
        {33, Request(33), {501, closed}}]),
    rows(#{max_method_length => 5}, [{4, Request(4), {200, open}},
        {5, Request(5), {501, closed}, {exact_method_length, {200, open}}}, {6, Request(6), {501, closed}}]).

max_authority_length(_) ->
    Request = fun(Length) ->
        Host = binary:copy(<<"a">>, Length),
        ["GET http://", Host, "/ HTTP/1.1\r\nHost: ", Host, "\r\n\r\n"]
    end,
    rows(#{max_authority_length => 20}, [{19, Request(19), {200, open}},
        {20, Request(20), {414, closed}, {exact_authority_length, {2, 17}, {200, open}}}, {21, Request(21), {414, closed}}]).

%%% Header fields

header_lines(_) ->
    Fields = fun(Lines) -> ["GET / HTTP/1.1\r\n" ?HOST, Lines, "\r\n"] end,
    rows(#{}, [
        {space_before_the_colon, Fields("a : b\r\n"), {400, closed}},
        {space_before_the_name, Fields(" a: b\r\n"), {400, closed}},
        {folded_line, Fields("a: b\r\n c\r\n"), {400, closed}},
        {no_colon, Fields("abc\r\n"), {400, closed}},
        {bad_connection, Fields("Connection: (\r\n"), {400, closed}},
        {empty_name, Fields(": b\r\n"), {200, open}, {empty_header_name, {400, closed}}}
    ]).

host(_) ->
    Host = fun(Lines) -> ["GET / HTTP/1.1\r\n", Lines, "\r\n"] end,
    rows(#{}, [
        {none, Host(""), {400, closed}},
        {two, Host("Host: localhost\r\nHost: localhost\r\n"), {400, closed}},
        {bad_port, Host("Host: localhost:x\r\n"), {400, closed}},
        {port_zero, Host("Host: localhost:0\r\n"), {400, closed}},
        {port_too_large, Host("Host: localhost:65536\r\n"), {400, closed}},
        {space_inside, Host("Host: local host\r\n"), {400, closed}},
        {userinfo, Host("Host: user@localhost\r\n"), {400, closed}}
    ]).

max_headers(_) ->
    Request = fun(Count) -> ["GET / HTTP/1.1\r\n" ?HOST,
        [["h", integer_to_list(N), ": 1\r\n"] || N <- lists:seq(2, Count)], "\r\n"] end,
    rows(#{}, [{100, Request(100), {200, open}}, {101, Request(101), {431, closed}}]),
    rows(#{max_headers => 5}, [{5, Request(5), {200, open}}, {6, Request(6), {431, closed}}]).

max_headers_and_repeated_names(_) ->
    rows(#{max_headers => 5}, [{repeated, ["GET / HTTP/1.1\r\n" ?HOST, lists:duplicate(10, "a: 1\r\n"), "\r\n"],
        {200, open}, {repeated_header_names, {2, 18}, {431, closed}}}]).

%% Whether a name or a value is too long is certain when its end has not come yet.
max_header_name_and_value_length(_) ->
    rows(#{max_header_name_length => 10, max_header_value_length => 10}, [
        {name, ["GET / HTTP/1.1\r\n" ?HOST, binary:copy(<<"a">>, 100)], {431, closed}},
        {value, ["GET / HTTP/1.1\r\n" ?HOST "a: ", binary:copy(<<"a">>, 100)], {431, closed}}
    ]).

%% The options of Cowboy 2.15. One that is not given is max_header_value_length.
max_length_of_cookie_and_authorization(_) ->
    Request = fun(Name, Length, End) -> ["GET / HTTP/1.1\r\n" ?HOST, Name, ": ", binary:copy(<<"a">>, Length), End] end,
    _ = [rows(#{Option => 9000, max_header_value_length => 10, request_timeout => 300}, [
        {at_the_limit, Request(Name, 9000, "\r\n\r\n"), {431, closed},
            {cookie_and_authorization_limits, {2, 15}, {200, open}}},
        {above_it, Request(Name, 9001, ""), {431, closed}},
        {another_field, Request("x", 11, ""), {431, closed}}
    ]) || {Option, Name} <- [
        {max_cookie_header_value_length, "Cookie"}, {max_authorization_header_value_length, "Authorization"}]],
    rows(#{max_cookie_header_value_length => 10, max_authorization_header_value_length => 20, request_timeout => 300}, [
        {Name, Request(Name, Length + 1, ""), {408, closed}, {cookie_and_authorization_limits, {2, 15}, {431, closed}}}
        || {Name, Length} <- [{"cookie", 10}, {"AUTHORIZATION", 20}]
    ]).

%%% Bodies

body_framing(_) ->
    Post = fun(Lines) -> ["POST / HTTP/1.1\r\n" ?HOST, Lines, "\r\n"] end,
    rows(#{}, [
        {both, Post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), {400, closed}},
        {other_coding, Post("Transfer-Encoding: gzip\r\n"), {400, closed}},
        {two_codings, Post("Transfer-Encoding: gzip, chunked\r\n"), {400, closed}},
        {identity, Post("Transfer-Encoding: identity\r\n"), {400, closed}},
        {no_number, Post("Content-Length: x\r\n"), {400, closed}},
        {negative, Post("Content-Length: -1\r\n"), {400, closed}},
        {plus, [Post("Content-Length: +1\r\n"), "a"], {200, open}, {sign_in_content_length, {2, 18}, {400, closed}}},
        {two_lengths, Post("Content-Length: 1\r\nContent-Length: 2\r\n"), {400, closed}},
        {the_same_length_twice, Post("Content-Length: 0\r\nContent-Length: 0\r\n"), {400, closed}},
        {list_of_lengths, Post("Content-Length: 0, 0\r\n"), {400, closed}},
        {empty_length, Post("Content-Length:\r\n"), {400, closed}},
        {seventeen_digits, [Post("Content-Length: 00000000000000001\r\n"), "a"], {200, open}},
        {eighteen_digits, [Post("Content-Length: 000000000000000001\r\n"), "a"], {200, open},
            {content_length_of_18_digits, {400, closed}}},
        {hundred_digits, Post(["Content-Length: ", binary:copy(<<"9">>, 100), "\r\n"]), {200, closed},
            {content_length_of_100_digits, {2, 18}, {400, closed}}}
    ]).

%% A handler that reads a chunked body whose framing is broken: 400, and no more of this connection.
chunk_framing(_) ->
    Init = fun(Req0, State) ->
        {ok, _, Req} = cowboy_req:read_body(Req0),
        {ok, cowboy_req:reply(200, Req), State}
    end,
    same_test:rows(#{routes => [{"/read", http_script_h, #{init => Init}},
        {"/", http_script_h, #{init => fun(Req, State) -> {ok, cowboy_req:reply(200, Req), State} end}}]},
        fun outcome/2, [
            {Name, ["POST /read HTTP/1.1\r\n" ?HOST "Transfer-Encoding: chunked\r\n\r\n", Body], Expected}
            || {Name, Body, Expected} <- [
                {good, "1\r\na\r\n0\r\n\r\n", {200, open}},
                {size_with_a_bad_end, "1x\r\na\r\n0\r\n\r\n", {400, closed}},
                {no_line_end_after_the_data, "1\r\nab\r\n0\r\n\r\n", {400, closed}}
            ]]).

%% Extensions are for nobody. Their limit is 128 bytes, of which the first is free.
chunk_extensions(_) ->
    Init = fun(Req0, State) ->
        {ok, _, Req} = cowboy_req:read_body(Req0),
        {ok, cowboy_req:reply(200, Req), State}
    end,
    Chunked = fun(Body) -> ["POST / HTTP/1.1\r\n" ?HOST "Transfer-Encoding: chunked\r\n\r\n", Body] end,
    Extension = fun(Length) -> Chunked(["1;", binary:copy(<<"e">>, Length), "\r\na\r\n0;e\r\n\r\n"]) end,
    same_test:rows(#{handler => {http_script_h, #{init => Init}}}, fun outcome/2, [
        {128, Extension(128), {200, open}},
        {129, Extension(129), {400, closed}},
        {endless, Chunked(["1;", binary:copy(<<"e">>, 16400)]), {400, closed}},
        {blanks, Chunked("1 \t \r\na\r\n0 ;e\r\n\r\n"), {200, open}},
        {a_word, Chunked("1 e\r\na\r\n0\r\n\r\n"), {200, open}, {strict_chunk_lines, {400, closed}}},
        {no_digit, Chunked(";e\r\n\r\n"), {200, open}, {strict_chunk_lines, {400, closed}}},
        {nul, Chunked("1;\0\r\na\r\n0\r\n\r\n"), {200, open}, {strict_chunk_lines, {400, closed}}}
    ]).

%% Where a chunked body ends another head begins, though they come together.
behind_a_chunked_body(_) ->
    Init = fun(Req, State) -> {ok, cowboy_req:reply(200, Req), State} end,
    same_test:rows(#{handler => {http_script_h, #{init => Init}}}, fun(Server, Bytes) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, ["POST / HTTP/1.1\r\n" ?HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Bytes]),
        %% Cowboy refuses a request while it answers the one before, whose answer is then lost.
        Status = case {http_client:response(Socket), http_client:response(Socket)} of
            {#{status := 200}, #{status := Second}} -> Second;
            {#{status := Refusal}, closed} -> Refusal
        end,
        {Status, next(Socket, http_client:request("GET", "/"))}
    end, [
        {good, "GET / HTTP/1.1\r\n" ?HOST "\r\n", {200, open}},
        {no_host, "GET / HTTP/1.1\r\n\r\n", {400, closed}},
        {two_hosts, "GET / HTTP/1.1\r\n" ?HOST ?HOST "\r\n", {400, closed}},
        {bad_host, "GET / HTTP/1.1\r\nHost: a b/c\r\n\r\n", {400, closed}},
        {length_and_chunked, "POST / HTTP/1.1\r\n" ?HOST "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", {400, closed}},
        {chunked_twice, "POST / HTTP/1.1\r\n" ?HOST "Transfer-Encoding: chunked, chunked\r\n\r\n", {400, closed}},
        {header_name, ["GET / HTTP/1.1\r\n" ?HOST, binary:copy(<<"a">>, 9000)], {431, closed}},
        {line_feed_only, "GET / HTTP/1.1\n" ?HOST "\r\n", {505, closed}, {bare_line_feed, {2, 17}, {400, closed}}}
    ]).

%%% Times

%% Nothing at all, and an unfinished request line: closed without a word.
request_timeout_without_a_request(_) ->
    rows(#{request_timeout => 200}, [{nothing, "", closed}, {half_a_line, "GET /", closed}]).

request_timeout_with_unfinished_headers(_) ->
    rows(#{request_timeout => 200}, [{half_a_head, "GET / HTTP/1.1\r\nHost: loc", {408, closed}}]).

%% Time runs from the end of the answer before.
request_timeout_after_an_answer(_) ->
    Init = fun(Req, State) -> {ok, cowboy_req:reply(200, Req), State} end,
    #{wire := {200, closed}} = same_test:same(#{handler => {http_script_h, #{init => Init}},
        protocol => #{request_timeout => 200}}, fun(Server) ->
            Socket = http_client:connect(Server),
            http_client:send(Socket, http_client:request("GET", "/")),
            #{status := Status} = http_client:response(Socket),
            {Status, http_client:closed(Socket)}
        end).

%%% The answers themselves

%% A refusal has no other header.
the_refusal(_) ->
    #{wire := #{status := 400, reason := <<"Bad Request">>, framing := length, body := <<>>,
        headers := [{<<"connection">>, <<"close">>}, {<<"content-length">>, <<"0">>}]}} =
        same_test:same(#{handler => {http_script_h, #{}}}, fun(Server) ->
            Socket = http_client:connect(Server),
            http_client:send(Socket, "nonsense\r\n\r\n"),
            http_client:response(Socket)
        end).

%% The router's refusals go through cowboy_req:reply.
the_routers_refusals(_) ->
    Init = fun(Req, State) -> {ok, cowboy_req:reply(200, Req), State} end,
    #{wire := [404, 404, 200]} = same_test:same(#{routes => [{"/known", http_script_h, #{init => Init}}]}, fun(Server) ->
        Socket = http_client:connect(Server),
        [begin
            http_client:send(Socket, http_client:request("GET", Target)),
            maps:get(status, http_client:response(Socket))
        end || Target <- ["/", "/other", "/known"]]
    end).

%% HTTP/2 with prior knowledge, and by an upgrade. Outrider speaks HTTP/1.1 only, and says so or ignores the offer.
http_2(_) ->
    Init = fun(Req, State) -> {ok, cowboy_req:reply(200, Req), State} end,
    Setup = #{handler => {http_script_h, #{silent => true, init => Init}}},
    First = fun(Length, Bytes) -> fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, Bytes),
        http_client:bytes(Socket, Length)
    end end,
    %% A SETTINGS frame, whose length depends on the version.
    #{wire := {4, 0}} = same_test:same(Setup, fun(Server) ->
        <<_:24, Kind, Flags, 0:32>> = (First(9, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))(Server),
        {Kind, Flags}
    end),
    same_test:differ(upgrade_to_h2c, Setup, First(12, http_client:request("GET", "/", [{"Connection", "Upgrade, HTTP2-Settings"},
        {"Upgrade", "h2c"}, {"HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"}], "")), #{
        cowboy => fun(#{wire := <<"HTTP/1.1 101">>}) -> ok end,
        outrider => fun(#{wire := <<"HTTP/1.1 200">>}) -> ok end
    }).

%% Clients that disappear at every stage of a request: others are served.
a_client_that_breaks_off(_) ->
    #{wire := 404} = same_test:same(#{}, fun(Server) ->
        _ = [begin
            Socket = http_client:connect(Server),
            http_client:send(Socket, Bytes),
            http_client:close(Socket)
        end || Bytes <- ["", "GET", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: l\r\nContent-Length: 5\r\n\r\n1"]],
        maps:get(status, http_client:get(Server, "/"))
    end).
