%% What the board promises to a client, held on Cowboy and on Outrider alike: each case of `board` runs on both.
-module(taskboard_SUITE).
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-import(taskboard_client, [login/2, get/2, get/3, request/5, header/2, json/1]).

-define(JSON, {<<"content-type">>, <<"application/json">>}).

all() ->
    [{group, cowboy}, {group, outrider}].

groups() ->
    [{Server, [], cases()} || Server <- [cowboy, outrider]].

cases() ->
    [
        the_login_is_a_page,
        a_session_is_a_signed_cookie,
        a_wrong_password_opens_no_session,
        a_form_that_is_too_long_is_refused,
        without_a_session_nothing_is_told,
        a_forged_session_is_none,
        logging_out_takes_the_cookie_back,
        a_new_task_has_a_location,
        bad_tasks_are_refused,
        a_task_is_json_or_html,
        the_list_is_json_html_or_csv,
        head_is_get_without_a_body,
        what_has_not_changed_is_not_sent,
        put_replaces_what_the_client_has_seen,
        patch_changes_single_fields,
        a_deleted_task_is_gone,
        other_methods_are_refused_by_name,
        a_file_of_csv_is_imported,
        a_bad_file_is_refused_with_its_row,
        a_file_that_is_too_large_is_refused,
        the_board_and_its_files_are_static,
        static_files_are_sent_in_ranges_and_when_changed,
        large_answers_are_compressed,
        every_answer_has_a_request_id,
        requests_are_counted_by_status,
        httpc_keeps_its_session
    ].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(gun),
    {ok, _} = application:ensure_all_started(inets),
    Config.

end_per_suite(_Config) ->
    ok = application:stop(gun).

init_per_group(Server, Config) ->
    [{port, taskboard_server:start(Server)} | Config].

end_per_group(_Server, _Config) ->
    taskboard_server:stop().

init_per_testcase(_Case, Config) ->
    Port = proplists:get_value(port, Config),
    [{session, login(Port, <<"ada">>)} | Config].

end_per_testcase(_Case, _Config) ->
    ok.

%% Sessions.

the_login_is_a_page(Config) ->
    {200, Headers, Page} = get(port(Config), "/login"),
    ?assertEqual(<<"text/html; charset=utf-8">>, header(<<"content-type">>, Headers)),
    ?assertEqual(file:read_file(filename:join(code:priv_dir(taskboard), "login.html")), {ok, Page}).

a_session_is_a_signed_cookie(Config) ->
    {303, Headers, _} = log_in(Config, <<"name=bob&password=together">>),
    ?assertEqual(<<"/">>, header(<<"location">>, Headers)),
    Cookie = header(<<"set-cookie">>, Headers),
    ?assertMatch({match, _}, re:run(Cookie, "^session=626F62\\.[0-9]+\\.[0-9A-F]{64};")),
    [?assertMatch({match, _}, re:run(Cookie, Attribute)) || Attribute <- ["HttpOnly", "SameSite=Strict", "Path=/"]].

a_wrong_password_opens_no_session(Config) ->
    {303, Headers, _} = log_in(Config, <<"name=bob&password=apart">>),
    ?assertEqual(<<"/login#password">>, header(<<"location">>, Headers)),
    ?assertEqual(undefined, header(<<"set-cookie">>, Headers)),
    ?assertMatch({400, _, _}, log_in(Config, <<"name=&password=together">>)).

a_form_that_is_too_long_is_refused(Config) ->
    ?assertMatch({413, _, _}, log_in(Config, ["name=", binary:copy(<<"x">>, 1000000)])).

without_a_session_nothing_is_told(Config) ->
    Paths = ["/", "/tasks", "/tasks/1", "/events", "/socket"],
    [?assertMatch({401, _, <<"no session">>}, get(port(Config), Path)) || Path <- Paths],
    {303, Headers, _} = get(port(Config), "/", [{<<"accept">>, <<"text/html,*/*">>}]),
    ?assertEqual(<<"/login">>, header(<<"location">>, Headers)).

a_forged_session_is_none(Config) ->
    {Name, <<"session=", Cookie/binary>>} = session(Config),
    [User, Expires, Signature] = binary:split(Cookie, <<".">>, [global]),
    Status = fun(Parts) ->
        {Code, _, _} = get(port(Config), "/tasks", [{Name, iolist_to_binary(["session=", lists:join($., Parts)])}]),
        Code
    end,
    ?assertEqual(200, Status([User, Expires, Signature])),
    ?assertEqual(401, Status([<<"626F62">>, Expires, Signature])),
    ?assertEqual(401, Status([User, <<"9999999999">>, Signature])),
    ?assertEqual(401, Status([User, Expires, <<"00">>])),
    ?assertEqual(401, Status([User])).

logging_out_takes_the_cookie_back(Config) ->
    {303, Headers, _} = ask(Config, <<"POST">>, "/logout", [], <<>>),
    ?assertMatch({match, _}, re:run(header(<<"set-cookie">>, Headers), "^session=;.*Max-Age=0")).

%% Tasks.

a_new_task_has_a_location(Config) ->
    {201, Headers, Body} = ask(Config, <<"POST">>, "/tasks", [?JSON], <<"{\"title\":\"caf\\u00e9 \\ud83d\\ude00\"}">>),
    Task = json(Body),
    ?assertMatch(#{<<"title">> := <<"café 😀"/utf8>>, <<"status">> := <<"todo">>, <<"revision">> := 1}, Task),
    ?assertEqual(path(Task), header(<<"location">>, Headers)),
    ?assertEqual(Task, json(body(ask(Config, path(Task))))).

bad_tasks_are_refused(Config) ->
    Bad = [<<"{">>, <<"[]">>, <<"{}">>, <<"{\"title\":1}">>, <<"{\"title\":\"\"}">>, <<"{\"title\":\"t\",\"id\":1}">>,
        <<"{\"title\":\"t\",\"status\":\"lost\"}">>, <<"{\"title\":\"", 255, "\"}">>, <<"{\"title\":\"\\ud800\"}">>],
    [?assertMatch({Text, {400, _, _}}, {Text, ask(Config, <<"POST">>, "/tasks", [?JSON], Text)}) || Text <- Bad],
    Title = binary:copy(<<"x">>, 65536),
    ?assertMatch({413, _, _}, ask(Config, <<"POST">>, "/tasks", [?JSON], ["{\"title\":\"", Title, "\"}"])),
    ?assertMatch({415, _, _}, ask(Config, <<"POST">>, "/tasks", [{<<"content-type">>, <<"text/plain">>}], <<"t">>)).

a_task_is_json_or_html(Config) ->
    Task = add(Config, #{title => <<"a < b">>}),
    {200, Json, _} = ask_as(Config, path(Task), <<"text/html;q=0.5, application/json">>),
    {200, Html, Page} = ask_as(Config, path(Task), <<"text/html">>),
    ?assertEqual(<<"application/json">>, header(<<"content-type">>, Json)),
    ?assertEqual(<<"text/html; charset=utf-8">>, header(<<"content-type">>, Html)),
    ?assertEqual(<<"\"1-json\"">>, header(<<"etag">>, Json)),
    ?assertEqual(<<"\"1-html\"">>, header(<<"etag">>, Html)),
    ?assertMatch({match, _}, re:run(Page, "<h1>a &lt; b</h1>")),
    ?assertMatch({406, _, _}, ask_as(Config, path(Task), <<"image/png">>)),
    ?assertMatch({404, _, _}, ask(Config, "/tasks/987654321")),
    ?assertMatch({404, _, _}, ask(Config, "/tasks/one")).

the_list_is_json_html_or_csv(Config) ->
    Task = #{<<"id">> := Id} = add(Config, #{title => <<"say \"hi\", all">>}),
    ?assert(lists:member(Task, maps:get(<<"tasks">>, json(body(ask(Config, "/tasks")))))),
    {200, _, Csv} = ask_as(Config, "/tasks", <<"text/csv">>),
    {ok, [[<<"id">> | _] | Rows]} = taskboard_csv:decode(Csv),
    ?assertEqual([integer_to_binary(Id), <<"1">>, <<"say \"hi\", all">>, <<"todo">>, <<>>], lists:last(Rows)),
    {200, _, Page} = ask_as(Config, "/tasks", <<"text/html">>),
    ?assertMatch({match, _}, re:run(Page, "say &quot;hi&quot;, all</a>")).

head_is_get_without_a_body(Config) ->
    Task = add(Config, #{title => <<"seen">>}),
    {200, Get, Body} = ask(Config, path(Task)),
    {200, Head, <<>>} = ask(Config, <<"HEAD">>, path(Task), [], <<>>),
    ?assertEqual(integer_to_binary(byte_size(Body)), header(<<"content-length">>, Head)),
    Differ = [<<"date">>, <<"x-request-id">>],
    Same = fun(Headers) -> lists:sort([Field || Field = {Name, _} <- Headers, not lists:member(Name, Differ)]) end,
    ?assertEqual(Same(Get), Same(Head)).

what_has_not_changed_is_not_sent(Config) ->
    Task = add(Config, #{title => <<"once">>}),
    [
        begin
            {200, Headers, _} = ask(Config, Path),
            Tag = header(<<"etag">>, Headers),
            ?assertMatch({304, _, <<>>}, ask(Config, <<"GET">>, Path, [{<<"if-none-match">>, Tag}], <<>>)),
            ?assertMatch({200, _, _}, ask(Config, <<"GET">>, Path, [{<<"if-none-match">>, <<"\"0-json\"">>}], <<>>))
        end
     || Path <- ["/tasks", path(Task)]
    ].

put_replaces_what_the_client_has_seen(Config) ->
    Task = add(Config, #{title => <<"draft">>, assignee => <<"ada">>}),
    Put = fun(Tag) ->
        ask(Config, <<"PUT">>, path(Task), [?JSON, {<<"if-match">>, Tag}], <<"{\"title\":\"final\"}">>)
    end,
    {200, Headers, Body} = Put(<<"\"1-json\"">>),
    ?assertMatch(#{<<"title">> := <<"final">>, <<"assignee">> := <<>>, <<"revision">> := 2}, json(Body)),
    ?assertEqual(<<"\"2-json\"">>, header(<<"etag">>, Headers)),
    ?assertMatch({412, _, _}, Put(<<"\"1-json\"">>)),
    ?assertMatch({200, _, _}, Put(<<"*">>)),
    ?assertMatch({404, _, _}, ask(Config, <<"PUT">>, "/tasks/987654321", [?JSON], <<"{\"title\":\"t\"}">>)).

patch_changes_single_fields(Config) ->
    Task = add(Config, #{title => <<"paint">>, assignee => <<"ada">>}),
    Patch = fun(Type) ->
        ask(Config, <<"PATCH">>, path(Task), [{<<"content-type">>, Type}], <<"{\"status\":\"doing\"}">>)
    end,
    {200, _, Body} = Patch(<<"application/merge-patch+json">>),
    ?assertEqual(Task#{<<"status">> := <<"doing">>, <<"revision">> := 2}, json(Body)),
    ?assertMatch({415, _, _}, Patch(<<"application/json">>)).

a_deleted_task_is_gone(Config) ->
    Task = add(Config, #{title => <<"gone">>}),
    ?assertMatch({412, _, _}, ask(Config, <<"DELETE">>, path(Task), [{<<"if-match">>, <<"\"7-json\"">>}], <<>>)),
    ?assertMatch({204, _, <<>>}, ask(Config, <<"DELETE">>, path(Task), [{<<"if-match">>, <<"\"1-json\"">>}], <<>>)),
    ?assertMatch({404, _, _}, ask(Config, <<"DELETE">>, path(Task), [], <<>>)).

other_methods_are_refused_by_name(Config) ->
    Task = add(Config, #{title => <<"t">>}),
    {200, Options, _} = ask(Config, <<"OPTIONS">>, path(Task), [], <<>>),
    ?assertEqual(<<"GET, HEAD, OPTIONS, PUT, PATCH, DELETE">>, header(<<"allow">>, Options)),
    {405, Refused, _} = ask(Config, <<"DELETE">>, "/tasks", [], <<>>),
    ?assertEqual(<<"GET, HEAD, OPTIONS, POST">>, header(<<"allow">>, Refused)),
    ?assertMatch({405, _, _}, ask(Config, <<"GET">>, "/import", [], <<>>)).

%% Import.

a_file_of_csv_is_imported(Config) ->
    File = <<"title,status,assignee\r\n\"one, two\",done,ada\r\nthree,todo,\r\n">>,
    ?assertMatch({200, _, <<"{\"imported\":2}">>}, import(Config, File)),
    #{<<"tasks">> := Tasks} = json(body(ask(Config, "/tasks"))),
    [One, Three] = lists:nthtail(length(Tasks) - 2, Tasks),
    ?assertMatch(#{<<"title">> := <<"one, two">>, <<"status">> := <<"done">>, <<"assignee">> := <<"ada">>}, One),
    ?assertMatch(#{<<"title">> := <<"three">>, <<"status">> := <<"todo">>, <<"assignee">> := <<>>}, Three).

a_bad_file_is_refused_with_its_row(Config) ->
    Before = body(ask(Config, "/tasks")),
    Row = fun(File) ->
        {400, _, Answer} = import(Config, File),
        maps:get(<<"row">>, json(Answer))
    end,
    ?assertEqual(1, Row(<<"titel,status\n">>)),
    ?assertEqual(3, Row(<<"title,status,assignee\na,todo,\nb,never,\n">>)),
    ?assertEqual(2, Row(<<"title,status,assignee\n\"a,todo,\n">>)),
    ?assertMatch({400, _, _}, ask(Config, <<"POST">>, "/import", [form(<<"b">>)], <<"--b--\r\n">>)),
    ?assertEqual(Before, body(ask(Config, "/tasks"))).

a_file_that_is_too_large_is_refused(Config) ->
    ?assertMatch({413, _, _}, import(Config, binary:copy(<<"a,todo,\n">>, 131073))).

%% Files, and what stream handlers do.

the_board_and_its_files_are_static(Config) ->
    Types = [
        {"/", <<"text/html">>},
        {"/assets/board.css", <<"text/css">>},
        {"/assets/board.js", <<"application/javascript">>},
        {"/assets/icon.svg", <<"image/svg+xml">>}
    ],
    [
        begin
            {200, Headers, _} = ask(Config, Path),
            ?assertEqual({Path, Type}, {Path, header(<<"content-type">>, Headers)})
        end
     || {Path, Type} <- Types
    ],
    [?assertMatch({404, _, _}, ask(Config, Path)) || Path <- ["/assets/none", "/assets/../login.html", "/nowhere"]].

static_files_are_sent_in_ranges_and_when_changed(Config) ->
    {200, Headers, Whole} = ask(Config, "/assets/board.css"),
    {206, Part, Bytes} = ask(Config, <<"GET">>, "/assets/board.css", [{<<"range">>, <<"bytes=3-9">>}], <<>>),
    ?assertEqual(binary:part(Whole, 3, 7), Bytes),
    Size = integer_to_binary(byte_size(Whole)),
    ?assertEqual(<<"bytes 3-9/", Size/binary>>, header(<<"content-range">>, Part)),
    Since = {<<"if-modified-since">>, header(<<"last-modified">>, Headers)},
    ?assertMatch({304, _, <<>>}, ask(Config, <<"GET">>, "/assets/board.css", [Since], <<>>)).

large_answers_are_compressed(Config) ->
    _ = [add(Config, #{title => binary:copy(<<"long ">>, 20)}) || _ <- lists:seq(1, 5)],
    Csv = {<<"accept">>, <<"text/csv">>},
    {200, Headers, Packed} = ask(Config, <<"GET">>, "/tasks", [Csv, {<<"accept-encoding">>, <<"gzip">>}], <<>>),
    ?assertEqual(<<"gzip">>, header(<<"content-encoding">>, Headers)),
    ?assertEqual(body(ask_as(Config, "/tasks", <<"text/csv">>)), zlib:gunzip(Packed)).

every_answer_has_a_request_id(Config) ->
    Answers = [ask(Config, "/tasks"), ask(Config, "/"), ask(Config, "/nowhere"), get(port(Config), "/tasks")],
    {Socket, Upgraded} = taskboard_client:socket(port(Config), [<<"tasks.v1.json">>], [session(Config)]),
    taskboard_client:close(Socket),
    Ids = [header(<<"x-request-id">>, Headers) || {_, Headers, _} <- [{101, Upgraded, <<>>} | Answers]],
    ?assertEqual([16 || _ <- Ids], [byte_size(Id) || Id <- Ids]),
    ?assertEqual(length(Ids), length(lists:usort(Ids))).

requests_are_counted_by_status(Config) ->
    Before = taskboard_server:count(404),
    {404, _, _} = ask(Config, "/nowhere"),
    taskboard_server:until(fun() -> taskboard_server:count(404) =:= Before + 1 end),
    {200, _, Text} = get(port(Config), "/metrics"),
    Line = io_lib:format("taskboard_requests_total{status=\"404\"} ~b\n", [Before + 1]),
    ?assertNotEqual(nomatch, binary:match(Text, iolist_to_binary(Line))).

httpc_keeps_its_session(Config) ->
    {ok, _} = inets:start(httpc, [{profile, board}]),
    ok = httpc:set_options([{cookies, enabled}], board),
    Url = fun(Path) -> "http://127.0.0.1:" ++ integer_to_list(port(Config)) ++ Path end,
    Ask = fun(Method, Request) ->
        Opts = [{timeout, 20000}, {autoredirect, false}],
        {ok, {{_, Status, _}, _, Body}} = httpc:request(Method, Request, Opts, [{body_format, binary}], board),
        {Status, Body}
    end,
    try
        {401, _} = Ask(get, {Url("/"), []}),
        {303, _} = Ask(post, {Url("/login"), [], "application/x-www-form-urlencoded", "name=bob&password=together"}),
        {200, Board} = Ask(get, {Url("/"), []}),
        ?assertMatch({match, _}, re:run(Board, "<main id=\"board\">"))
    after
        ok = inets:stop(httpc, board)
    end.

%% Helpers.

port(Config) -> proplists:get_value(port, Config).
session(Config) -> proplists:get_value(session, Config).
body({200, _, Body}) -> Body.
path(#{<<"id">> := Id}) -> <<"/tasks/", (integer_to_binary(Id))/binary>>.

%% Requests of somebody who is logged in.
ask(Config, Path) -> ask(Config, <<"GET">>, Path, [], <<>>).
ask_as(Config, Path, Type) -> ask(Config, <<"GET">>, Path, [{<<"accept">>, Type}], <<>>).
ask(Config, Method, Path, Headers, Body) -> request(port(Config), Method, Path, [session(Config) | Headers], Body).

log_in(Config, Form) ->
    request(port(Config), <<"POST">>, "/login", [{<<"content-type">>, <<"application/x-www-form-urlencoded">>}], Form).

add(Config, Fields) ->
    {201, _, Task} = ask(Config, <<"POST">>, "/tasks", [?JSON], taskboard_json:encode(Fields)),
    json(Task).

form(Boundary) ->
    {<<"content-type">>, <<"multipart/form-data; boundary=", Boundary/binary>>}.

%% The file between two other fields, as a browser sends it.
import(Config, File) ->
    Parts = [{"name=\"note\"", "hello"}, {"name=\"tasks\"; filename=\"tasks.csv\"", File}, {"name=\"more\"", ""}],
    Body = [
        ["--bound\r\ncontent-disposition: form-data; ", Disposition, "\r\n\r\n", Content, "\r\n"]
     || {Disposition, Content} <- Parts
    ],
    ask(Config, <<"POST">>, "/import", [form(<<"bound">>)], [Body, "--bound--\r\n"]).
