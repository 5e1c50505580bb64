%% Whole answers: reply in all its forms, what was set beforehand, and files. Streams are in http_stream_SUITE.
-module(http_reply_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE) -- [of_line_feeds].

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
    %% The order of a cookie's attributes is nobody's promise.
    [[<<"a=1">>], [<<"b=2">> | Attributes]] =
        [binary:split(Cookie, <<"; ">>, [global]) || Cookie <- proplists:get_all_values(<<"set-cookie">>, Headers)],
    [<<"HttpOnly">>, <<"Path=/">>] = lists:sort(Attributes).

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

invalid_header_values(_) ->
    Status = of_line_feeds(200),
    same_test:differ(invalid_response_header, #{handler => {http_script_h, #{init => fun(Req, State) ->
        {ok, cowboy_req:reply(200, #{<<"x">> => <<"1\r\ny: 2">>}, Req), State}
    end}}}, fun(Server) -> status_of_head(Server, "/") end, #{
        cowboy => fun(#{wire := Answered, log := []}) -> Status = Answered end,
        outrider => fun(#{wire := 500, log := [{error, _}]}) -> ok end
    }).

%% Since 2.16 Cowboy looks for line feeds in values; in HTTP/2 it resets the stream then.
of_line_feeds(Older) ->
    case {same_test:version(cowboy) < {2, 16}, same_test:is_http2()} of
        {true, _} -> Older;
        {false, false} -> 500;
        {false, true} -> closed
    end.

%% The option of Cowboy 2.16: values are not looked at.
invalid_header_values_that_are_ignored(_) ->
    Values = [<<"1\r\ny: 2">>, <<0, 31, 127, "x">>],
    same_test:differ(invalid_response_headers_ignored, #{handler => {http_script_h, #{silent => true,
        init => fun(#{path := Path} = Req0, State) ->
            ok = cowboy_req:inform(103, #{<<"link">> => hd(Values)}, Req0),
            Headers = #{<<"x">> => lists:nth(binary_to_integer(binary:part(Path, 1, 1)), Values)},
            Req = cowboy_req:stream_reply(200, Headers#{<<"trailer">> => <<"t">>}, Req0),
            ok = cowboy_req:stream_trailers(#{<<"t">> => hd(Values)}, Req),
            {ok, Req, State}
        end}}, protocol => #{invalid_response_headers => ignore}
    }, fun(Server) ->
        [begin
            Socket = http_client:connect(Server),
            ok = http_client:send(Socket, http_client:request("GET", Path, [{"TE", "trailers"}, {"Connection", "close"}], [])),
            {Bytes, closed} = http_client:rest(Socket),
            [Value || <<Name, ": ", Value/binary>> <- binary:split(Bytes, <<"\r\n">>, [global]), Name < $z]
        end || Path <- ["/1", "/2"]]
    end, #{
        cowboy => fun(#{wire := [[_ | _], [_ | _]]}) -> ok end,
        outrider => fun(#{wire := [[<<"1  y: 2">>, <<"1  y: 2">>], [<<"   x">>, <<"1  y: 2">>]], log := []}) -> ok end
    }).

%%% Heads that would break the message, or that hyper does not take

%% The first head that comes for each of these answers. Outrider's own are an error in the log, and cost nobody else.
heads_that_cannot_be_sent(_) ->
    Name = fun(Target) -> binary_to_existing_atom(binary:part(Target, 1, byte_size(Target) - 1)) end,
    Reply200 = fun(Req) -> cowboy_req:reply(200, Req) end,
    Answers = [{Answer, Script} || {Answer, Script, _, _} <- unsendable()],
    %% In HTTP/2 these are malformed (RFC 9113, 8.1, 8.2), or too large for a frame: the tunnel takes none of it. Control characters
    %% are since Cowlib, which it speaks by, says so.
    Malformed = [length_and_other_coding, two_lengths, no_length, switching_at_last, interim_at_last, many_fields] ++
        [value_of_control_characters || same_test:version(cowboy) >= {2, 16}],
    Cowboys = fun(Answer, Expected) ->
        case same_test:is_http2() andalso lists:member(Answer, Malformed) of
            true -> closed;
            false -> Expected
        end
    end,
    Setup = #{handler => {http_script_h, #{silent => true, init => fun(Req, State) ->
        {ok, (proplists:get_value(Name(cowboy_req:path(Req)), [{next, Reply200} | Answers]))(Req), State}
    end}}},
    same_test:rows(Setup, fun(Server, Answer) ->
        Status = status_of_head(Server, ["/", atom_to_binary(Answer)]),
        #{status := 200} = http_client:get(Server, "/next"),
        Status
    end, [{Answer, Answer, Cowboys(Answer, Cowboy), {Difference, 500}} || {Answer, _, Cowboy, Difference} <- unsendable()]).

status_of_head(Server, Target) ->
    case http_client:get_head(Server, Target) of
        #{status := Status} -> Status;
        Ended -> Ended
    end.

unsendable() ->
    Reply = fun(Status, Headers) -> fun(Req) -> cowboy_req:reply(Status, Headers, <<"hello">>, Req) end end,
    Inform = fun(Status, Headers) -> fun(Req) ->
        ok = cowboy_req:inform(Status, Headers, Req),
        cowboy_req:reply(200, Req)
    end end,
    Many = maps:from_list([{integer_to_binary(N), <<"x">>} || N <- lists:seq(1, 40000)]),
    [
        {length_and_coding, Reply(200, #{<<"transfer-encoding">> => <<"chunked">>}), 200, length_and_coding},
        {length_and_other_coding, Reply(200, #{<<"Transfer-Encoding">> => <<"gzip">>}), 200, length_and_coding},
        {length_and_coding_of_a_stream, fun(Req) ->
            stream(#{<<"content-length">> => <<"5">>, <<"transfer-encoding">> => <<"chunked">>}, Req)
        end, 200, length_and_coding},
        {two_lengths, Reply(200, #{<<"Content-Length">> => <<"3">>}), 200, length_and_coding},
        {no_length, fun(Req) -> stream(#{<<"Content-Length">> => <<"x">>}, Req) end, 200, length_and_coding},
        {switching_at_last, Reply(101, #{}), 101, interim_and_final_status},
        {interim_at_last, Reply(103, #{}), 103, interim_and_final_status},
        {final_before, Inform(200, #{}), 200, interim_and_final_status},
        {switching_before, Inform(101, #{}), 101, interim_and_final_status},
        {value_of_two_lines, Reply(200, #{<<"x">> => <<"1\r\ny: 2">>}), of_line_feeds(200), invalid_response_header},
        {value_of_control_characters, Reply(200, #{<<"x">> => <<0, 1, 127>>}), 200, invalid_response_header},
        {name_with_a_space, Reply(200, #{<<"x y">> => <<"z">>}), 200, invalid_response_header},
        {phrase_of_two_lines, Reply(<<"200 OK\r\nx: y">>, #{}), 200, invalid_response_header},
        {value_of_two_lines_before, Inform(103, #{<<"x">> => <<"1\r\ny: 2">>}), of_line_feeds(103), invalid_response_header},
        {phrase_of_two_lines_before, Inform(<<"103 Hints\r\nx: y">>, #{}), 103, invalid_response_header},
        {many_fields, Reply(200, Many), 200, most_response_headers}
    ].

stream(Headers, Req0) ->
    Req = cowboy_req:stream_reply(200, Headers, Req0),
    ok = cowboy_req:stream_body(<<"hello">>, fin, Req),
    Req.

heads_that_cannot_be_sent_are_logged(_) ->
    _ = [same_test:differ(Difference, #{handler => {http_script_h, #{silent => true, init => fun(Req, State) ->
        {ok, Script(Req), State}
    end}}}, fun(Server) -> status_of_head(Server, "/") end, #{
        cowboy => fun(#{log := []}) -> ok end,
        outrider => fun(#{log := [{error, <<"a response's status or headers cannot be sent", _/binary>>}]}) -> ok end
    }) || {_, Script, _, Difference} <- unsendable()],
    ok.

%% How a body is framed is the server's to say.
a_coding_of_the_handlers_own(_) ->
    #{framing := chunked, body := [<<"hello">>], headers := Headers} =
        http_case:answer(fun(Req) -> stream(#{<<"transfer-encoding">> => <<"gzip">>}, Req) end, "/"),
    <<"chunked">> = proplists:get_value(<<"transfer-encoding">>, Headers).

a_status_without_a_known_phrase(_) ->
    _ = [same_test:differ(status_without_a_phrase, #{handler => {http_script_h, #{init => fun(Req, State) ->
        {ok, cowboy_req:reply(Status, Req), State}
    end}}}, fun(Server) -> http_client:get_head(Server, "/") end, #{
        cowboy => fun(#{wire := closed}) -> ok end,
        outrider => fun(#{wire := #{status := Sent, reason := <<>>}}) when Sent =:= Status -> ok end
    }) || Status <- [299, 999]],
    ok.

names_of_header_fields(_) ->
    same_test:differ(response_header_names, #{handler => {http_script_h, #{init => fun(Req, State) ->
        {ok, cowboy_req:reply(204, #{<<"X-Name">> => <<"y">>}, Req), State}
    end}}}, fun(Server) ->
        Socket = http_client:connect(Server),
        ok = http_client:send(Socket, ["GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"]),
        {Bytes, closed} = http_client:rest(Socket),
        [Line || <<Name:6/binary, _/binary>> = Line <- binary:split(Bytes, <<"\r\n">>, [global]),
            string:lowercase(Name) =:= <<"x-name">>]
    end, #{
        cowboy => fun(#{wire := [<<"X-Name: y">>]}) -> ok end,
        outrider => fun(#{wire := [<<"x-name: y">>]}) -> ok end
    }).

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
