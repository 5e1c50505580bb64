%% Request bodies that cowboy_req takes apart: forms and multipart.
-module(http_forms_SUITE).

-compile([export_all, nowarn_export_all]).

-import(http_case, [post/2]).

all() ->
    same_test:cases(?MODULE).

%%% Forms

a_form(_) ->
    [{<<"a">>, <<"1">>}, {<<"b">>, <<"x y">>}, {<<"c">>, true}] = http_case:noted(fun(Req) ->
        {ok, Form, _} = cowboy_req:read_urlencoded_body(Req),
        Form
    end, post([{"Content-Type", "application/x-www-form-urlencoded"}], "a=1&b=x+y&c")).

a_matched_form(_) ->
    #{a := 1} = http_case:noted(fun(Req) ->
        {ok, Form, _} = cowboy_req:read_and_match_urlencoded_body([{a, int}], Req),
        Form
    end, post([], "a=1&b=2")).

%% A form may have 64,000 bytes, and what more has come by the time that these are there.
a_form_that_is_too_large(_) ->
    {200, 413} = form(64000, 1000000).

form(Fits, TooLarge) ->
    Statuses = [begin
        #{wire := Status} = http_case:serve(fun(Req0) ->
            {ok, [{_, true}], Req} = cowboy_req:read_urlencoded_body(Req0),
            cowboy_req:reply(200, Req)
        end, #{}, fun(Server) ->
            Socket = http_client:connect(Server),
            http_client:send(Socket, post([], binary:copy(<<"a">>, Size))),
            maps:get(status, http_client:response(Socket))
        end),
        Status
    end || Size <- [Fits, TooLarge]],
    list_to_tuple(Statuses).

%%% Multipart

-define(MULTIPART, [{"Content-Type", "multipart/form-data; boundary=b"}]).

parts(_) ->
    [{<<"text">>, <<"hello">>}, {<<"file">>, <<"name.txt">>, <<"text/plain">>, <<"content">>}] =
        http_case:noted(fun(Req) -> parts(Req, []) end, post(?MULTIPART, [
            "--b\r\ncontent-disposition: form-data; name=text\r\n\r\nhello\r\n",
            "--b\r\ncontent-disposition: form-data; name=file; filename=name.txt\r\ncontent-type: text/plain\r\n\r\n",
            "content\r\n--b--\r\n"])).

parts(Req0, Acc) ->
    case cowboy_req:read_part(Req0) of
        {ok, Headers, Req1} ->
            {ok, Body, Req} = cowboy_req:read_part_body(Req1),
            Part = case cow_multipart:form_data(Headers) of
                {data, Name} -> {Name, Body};
                {file, Name, Filename, Type} -> {Name, Filename, Type, Body}
            end,
            parts(Req, [Part | Acc]);
        {done, _} ->
            lists:reverse(Acc)
    end.

a_part_that_is_not_read_is_skipped(_) ->
    [#{<<"x">> := <<"1">>}, #{<<"x">> := <<"2">>}] = http_case:noted(fun(Req0) ->
        {ok, One, Req1} = cowboy_req:read_part(Req0),
        {ok, Two, Req2} = cowboy_req:read_part(Req1),
        {done, _} = cowboy_req:read_part(Req2),
        [One, Two]
    end, post(?MULTIPART, ["--b\r\nx: 1\r\n\r\n", binary:copy(<<"z">>, 100000), "\r\n--b\r\nx: 2\r\n\r\n\r\n--b--\r\n"])).

a_large_part_in_pieces(_) ->
    {true, 300000} = http_case:noted(fun(Req0) ->
        {ok, _, Req1} = cowboy_req:read_part(Req0),
        {more, One, Req2} = cowboy_req:read_part_body(Req1, #{length => 10000}),
        {byte_size(One) >= 10000, part_rest(Req2, byte_size(One))}
    end, post(?MULTIPART, ["--b\r\nx: 1\r\n\r\n", binary:copy(<<"z">>, 300000), "\r\n--b--\r\n"])).

part_rest(Req0, Size) ->
    case cowboy_req:read_part_body(Req0, #{length => 10000}) of
        {ok, Body, _} -> Size + byte_size(Body);
        {more, Body, Req} -> part_rest(Req, Size + byte_size(Body))
    end.
