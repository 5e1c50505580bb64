%% Whole answers: reply in all its forms, what was set beforehand, and files. Streams are in http_stream_SUITE.
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

invalid_header_values(_) ->
    same_test:differ(invalid_response_header, #{handler => {http_script_h, #{init => fun(Req, State) ->
        {ok, cowboy_req:reply(200, #{<<"x">> => <<"1\r\ny: 2">>}, Req), State}
    end}}}, fun(Server) -> maps:with([status], http_client:get(Server, "/")) end, #{
        cowboy => fun(#{wire := #{status := 200}}) -> ok end,
        outrider => fun(#{wire := #{status := 500}}) -> ok end
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
