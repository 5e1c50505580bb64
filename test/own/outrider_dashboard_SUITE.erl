%% outrider_dashboard: who is shown what, who may do what, and that looking costs what it should.
-module(outrider_dashboard_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([the_page_and_its_files_allow_nothing_foreign/1, a_page_without_a_slash_is_sent_to_the_one_with_it/1]).
-export([what_a_viewer_sees_follows_what_happens/1, an_open_page_is_told_that_the_listener_stops_and_comes_back/1]).
-export([without_the_option_may_one_can_only_look/1, who_may_not_look_gets_nothing/1, each_order_is_asked_for_anew/1]).
-export([a_kicked_client_is_closed_with_1008/1, ids_of_others_and_garbage_are_not_found/1]).
-export([a_trace_shows_headers_and_ends_with_its_viewer/1]).
-export([pages_of_others_cannot_open_the_socket/1, a_hostile_path_stays_text/1]).
-export([where_nobody_looks_nothing_is_gathered/1, two_viewers_are_gathered_for_once/1, each_sort_is_a_message_of_its_own/1]).
-export([a_plain_cowboy_serves_it_too/1, viewers_beyond_the_hundredth_are_told/1]).
-export([viewers_of_a_feed_that_crashed_come_again/1, its_socket_opens_over_http_2/1]).
-import(own_case, [server/1]).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    own_case:init(Case, #{routes => routes(Case)}, Config).

end_per_testcase(Case, _) ->
    own_case:stop(Case).

routes(Case) ->
    [{"/dashboard/[...]", outrider_dashboard, options(Case)}, {"/[...]", ws_script_h, #{silent => true, websocket_handle => fun echo/2}}].

echo({Type, Payload}, State) when Type =:= text; Type =:= binary -> {[{Type, Payload}], State};
echo(_, State) -> {[], State}.

options(without_the_option_may_one_can_only_look) -> #{};
options(who_may_not_look_gets_nothing) -> #{may => fun(_, _) -> false end};
options(each_order_is_asked_for_anew) -> #{may => fun(_, _) -> persistent_term:get(?MODULE) end};
options(pages_of_others_cannot_open_the_socket) -> #{origins => [<<"https://ops.example.org">>]};
options(a_hostile_path_stays_text) -> #{listener => hostile, may => fun(_, _) -> true end};
options(_) -> #{may => fun(_, _) -> true end}.

the_page_and_its_files_allow_nothing_foreign(Config) ->
    Server = server(Config),
    _ = [
        begin
            #{status := 200, body := Body} = Response = http_client:get(Server, ["/dashboard/", File]),
            true = byte_size(Body) > 0,
            Type = http_client:header(<<"content-type">>, Response),
            is_strict(Response)
        end
     || {File, Type} <- [
            {"", <<"text/html; charset=utf-8">>}, {"dashboard.css", <<"text/css; charset=utf-8">>},
            {"dashboard.js", <<"text/javascript; charset=utf-8">>}, {"icon.svg", <<"image/svg+xml">>}
        ]
    ],
    Others = ["/dashboard/other", "/dashboard/a/b", "/dashboard/..%2fbin%2foutrider"],
    [404, 404, 404] = [maps:get(status, http_client:get(Server, Path)) || Path <- Others],
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, http_client:request("POST", "/dashboard/", [{"content-length", "0"}], <<>>)),
    #{status := 405} = Refused = http_client:response(Socket),
    is_strict(Refused),
    %% What the page refers to is what is served, and nothing in it is a script or a style.
    #{body := Page} = http_client:get(Server, "/dashboard/"),
    {match, Found} = re:run(Page, "(?:src|href)=\"([^\"]*)\"", [global, {capture, all_but_first, binary}]),
    [<<"dashboard.css">>, <<"dashboard.js">>, <<"icon.svg">>] = lists:usort(lists:append(Found)),
    nomatch = re:run(Page, "<style|style=|<script>|\\son[a-z]+=").

is_strict(Response) ->
    Policy = http_client:header(<<"content-security-policy">>, Response),
    [_ | _] = [match || <<"default-src 'none'">> <- binary:split(Policy, <<"; ">>, [global])],
    nomatch = binary:match(Policy, [<<"unsafe">>, <<"*">>, <<"http">>]),
    <<"nosniff">> = http_client:header(<<"x-content-type-options">>, Response).

a_page_without_a_slash_is_sent_to_the_one_with_it(Config) ->
    #{status := 308} = Response = http_client:get(server(Config), "/dashboard"),
    <<"dashboard/">> = http_client:header(<<"location">>, Response).

%% Numbers of the listener, and the row of a client.
what_a_viewer_sees_follows_what_happens(Config) ->
    Server = server(Config),
    Viewer = viewer(Server),
    Hello = message(Viewer, <<"hello">>),
    contains(Hello, [
        [<<"\"listener\":\"">>, atom_to_binary(?FUNCTION_NAME)], [<<"\"node\":\"">>, atom_to_binary(node())],
        <<"\"kick\":true">>, <<"\"trace\":true">>, <<"\"peers\":true">>
    ]),
    contains(until(Viewer, <<"\"websocket\":1">>), [<<"\"status\":\"running\"">>, <<"\"turn\":{">>, <<"\"cpu\":">>, <<"\"restarts\":0">>]),
    Client = ws_client:open_at(Server, "/room?secret=1"),
    {ok, {_, Port}} = inet:sockname(Client),
    Row = row(until(Viewer, <<"\"path\":\"/room\"">>), <<"\"path\":\"/room\"">>),
    contains(Row, [[<<"\"peer\":\"127.0.0.1:">>, integer_to_binary(Port), $"], <<"\"messages_in\":0">>, <<"\"state\":\"open\"">>]),
    ok = ws_client:send(Client, [{text, <<"12345">>}, {text, <<"1">>}]),
    {text, <<"12345">>} = ws_client:recv(Client),
    Later = until(Viewer, <<"\"bytes_in\":6">>),
    contains(row(Later, <<"\"path\":\"/room\"">>), [<<"\"messages_in\":2">>, <<"\"messages_out\":2">>]),
    nomatch = binary:match(Later, <<"secret">>),
    ok = ws_client:send(Client, {close, 4711, <<>>}),
    Ended = until(Viewer, <<"\"code\":\"4xxx\"">>),
    nomatch = binary:match(Ended, <<"\"path\":\"/room\"">>).

an_open_page_is_told_that_the_listener_stops_and_comes_back(Config) ->
    Looked = #{ref := Ref, port := Port} = server(Config),
    Elsewhere = own_case:listen(elsewhere, #{routes => [{"/dashboard/[...]", outrider_dashboard, #{listener => Ref}}]}),
    Viewer = viewer(Elsewhere),
    _ = until(Viewer, <<"\"status\":\"running\"">>),
    ok = outrider:suspend_listener(Ref),
    _ = until(Viewer, <<"\"status\":\"suspended\"">>),
    ok = own_case:stop(Ref),
    contains(until(Viewer, <<"\"status\":\"stopped\"">>), [<<"\"sidecars\":[]">>, <<"\"list\":null">>]),
    _ = own_case:listen(Ref, #{routes => routes(Ref), transport => #{socket_opts => [{port, Port}]}}),
    _ = until(Viewer, <<"\"status\":\"running\"">>),
    %% It counts from its own beginning.
    _ = ws_client:open(Looked),
    _ = until(Viewer, <<"\"websocket\":1">>),
    own_case:stop(elsewhere).

without_the_option_may_one_can_only_look(Config) ->
    Server = #{ref := Ref} = server(Config),
    Client = ws_client:open_at(Server, "/room"),
    Viewer = viewer(Server),
    contains(message(Viewer, <<"hello">>), [<<"\"kick\":false">>, <<"\"trace\":false">>, <<"\"peers\":false">>]),
    View = until(Viewer, <<"\"websocket\":2">>),
    nomatch = binary:match(View, [<<"\"path\"">>, <<"\"peer\"">>, <<"127.0.0.1">>, <<"room">>]),
    [Id | _] = Ids = ids(View),
    2 = length(Ids),
    _ = [order(Viewer, Order, Each, <<"not_allowed">>) || Order <- [<<"kick">>, <<"trace">>], Each <- [Id | Ids]],
    still_there(Client),
    2 = length(outrider:connections(Ref)).

who_may_not_look_gets_nothing(Config) ->
    Server = server(Config),
    [403, 403, 403, 403] = [maps:get(status, http_client:get(Server, Path))
        || Path <- ["/dashboard", "/dashboard/", "/dashboard/dashboard.js", "/dashboard/other"]],
    #{status := 403} = handshake(Server, "http://localhost").

each_order_is_asked_for_anew(Config) ->
    Server = server(Config),
    ok = persistent_term:put(?MODULE, true),
    Client = ws_client:open_at(Server, "/room"),
    Viewer = viewer(Server),
    Id = id_of(<<"/room">>, Viewer),
    ok = persistent_term:put(?MODULE, false),
    order(Viewer, <<"kick">>, Id, <<"not_allowed">>),
    order(Viewer, <<"trace">>, Id, <<"not_allowed">>),
    still_there(Client).

a_kicked_client_is_closed_with_1008(Config) ->
    Server = server(Config),
    [Client, Other] = [ws_client:open_at(Server, Path) || Path <- ["/room", "/other"]],
    Viewer = viewer(Server),
    Id = id_of(<<"/room">>, Viewer),
    order(Viewer, <<"kick">>, Id, <<"ok">>),
    {close, 1008, <<"closed by an operator">>} = ws_client:recv(Client),
    http_client:close(Client),
    _ = until(Viewer, <<"\"code\":1008">>),
    order(Viewer, <<"kick">>, Id, <<"not_found">>),
    still_there(Other).

ids_of_others_and_garbage_are_not_found(Config) ->
    Server = server(Config),
    Elsewhere = own_case:listen(elsewhere, #{routes => routes(elsewhere)}),
    Client = ws_client:open_at(Elsewhere, "/room"),
    Id = id_of(<<"/room">>, viewer(Elsewhere)),
    Viewer = viewer(Server),
    [Sidecar, Stream] = binary:split(Id, <<"-">>),
    %% No numbers of streams, but a sidecar that is there.
    [Process] = outrider:procs(maps:get(ref, Server), acceptors),
    Own = list_to_binary(string:trim(pid_to_list(Process), both, "<>")),
    Garbage = [Id, Sidecar, <<Sidecar/binary, "-">>, <<"-", Stream/binary>>, <<"1">>, <<"<0.1.0>-1">>, <<"0.1.0-1">>, <<Id/binary, "x">>,
        <<Id/binary, " ">>, <<"-1-1">>, <<"a-b">>, <<>> | [<<Own/binary, "-", No/binary>> || No <- [<<"-5">>, <<"0">>, binary:copy(<<"9">>, 30)]]],
    _ = [order(Viewer, Order, Each, <<"not_found">>) || Order <- [<<"kick">>, <<"trace">>], Each <- Garbage],
    ok = ws_client:send(Viewer, [{text, Text} || Text <- [<<>>, <<"kick">>, <<"sort">>, <<"sort x">>, <<"untrace">>, <<"nonsense a b">>]]),
    ok = ws_client:send(Viewer, [{binary, <<0>>}, {pong, <<"x">>}]),
    _ = until(Viewer, <<"\"websocket\":1">>),
    still_there(Client),
    own_case:stop(elsewhere).

a_trace_shows_headers_and_ends_with_its_viewer(Config) ->
    Server = #{ref := Ref} = server(Config),
    Client = ws_client:open_at(Server, "/room"),
    Viewer = viewer(Server),
    Id = id_of(<<"/room">>, Viewer),
    order(Viewer, <<"trace">>, Id, <<"ok">>),
    ok = ws_client:send(Client, {text, <<"a secret word">>}),
    {text, _} = ws_client:recv(Client),
    [In, Out] = [message(Viewer, <<"frame">>) || _ <- [1, 2]],
    contains(In, [<<"\"direction\":\"in\"">>, <<"\"opcode\":\"text\"">>, <<"\"size\":13">>, <<"\"fin\":true">>]),
    contains(Out, [<<"\"direction\":\"out\"">>, <<"\"size\":13">>]),
    nomatch = binary:match(<<In/binary, Out/binary>>, <<"secret">>),
    %% Whoever has seen enough, or closes the page, leaves no trace behind: the next may look.
    Next = viewer(Server),
    ok = ws_client:send(Viewer, {text, <<"untrace">>}),
    traced(Next, Id),
    http_client:close(Next),
    traced(Viewer, Id),
    2 = length(outrider:connections(Ref)).

pages_of_others_cannot_open_the_socket(Config) ->
    Server = server(Config),
    Own = own_case:listen(elsewhere, #{routes => routes(elsewhere)}),
    [403, 101, 403, 403, 403] = [maps:get(status, handshake(Server, Origin))
        || Origin <- [none, "https://ops.example.org", "http://ops.example.org", "http://localhost", "null"]],
    [403, 101, 101, 403, 403, 403, 403, 403] = [maps:get(status, handshake(Own, Origin))
        || Origin <- [none, "http://localhost", "https://localhost", "http://localhost:81", "http://evil.example", "null", "localhost.evil",
            "http://localhost.evil"]],
    own_case:stop(elsewhere).

its_socket_opens_over_http_2(_) ->
    Server = own_case:listen(http2, #{routes => routes(http2), protocol => #{enable_connect_protocol => true}}),
    Socket = http2_client:open(Server),
    Fields = [{<<":protocol">>, <<"websocket">>}, {<<"sec-websocket-version">>, <<"13">>}, {<<"origin">>, <<"http://localhost">>}],
    ok = http2_client:send(Socket, http2_client:head(1, nofin, <<"CONNECT">>, <<"/dashboard/socket">>, Fields)),
    [{headers, 1, nofin, Answer} | _] = lists:reverse(http2_client:until(Socket, fun(Event) -> element(1, Event) =:= headers end)),
    {_, <<"200">>} = lists:keyfind(<<":status">>, 1, Answer),
    %% Only the socket is opened so.
    ok = http2_client:send(Socket, http2_client:head(3, nofin, <<"CONNECT">>, <<"/dashboard/">>, Fields)),
    #{status := 405} = http2_client:response(Socket, 3),
    own_case:stop(http2).

%% Markup, quotes, bytes that are no UTF-8: in the message all of it is escaped, and the message is UTF-8. Cowboy's router lets
%% none of these in; an application without it may.
a_hostile_path_stays_text(Config) ->
    Handler = #{handler => ws_script_h, handler_opts => #{silent => true, probe => probe:start()}},
    {ok, _} = outrider:start_clear(hostile, [{port, 0}], #{middlewares => [cowboy_handler], env => Handler}),
    Hostile = #{name => outrider, ref => hostile, port => outrider:get_port(hostile)},
    Paths = [<<"/x\"},{\"y\":\"">>, <<"/</script><img/src=x/onerror=alert(1)>">>, <<"/\\u0041\\">>, <<"/", 255, 254, 16#2028/utf8>>],
    _ = [ws_client:open_at(Hostile, Path) || Path <- Paths],
    View = until(viewer(server(Config)), <<"\"websocket\":4">>),
    nomatch = binary:match(View, [<<"<">>, <<">">>, <<16#2028/utf8>>]),
    View = unicode:characters_to_binary(View),
    contains(View, [
        <<"\"path\":\"/x\\\"},{\\\"y\\\":\\\"\"">>,
        <<"\"path\":\"/\\u003c/script\\u003e\\u003cimg/src=x/onerror=alert(1)\\u003e\"">>,
        <<"\"path\":\"/\\\\u0041\\\\\"">>, <<"\"path\":\"/", 16#fffd/utf8, 16#fffd/utf8, "\\u2028\"">>
    ]),
    own_case:stop(hostile).

where_nobody_looks_nothing_is_gathered(Config) ->
    Server = #{ref := Ref} = server(Config),
    counted(fun(Count) ->
        #{status := 200} = http_client:get(Server, "/dashboard/"),
        0 = Count(),
        [] = feeds(Ref),
        Viewer = viewer(Server),
        _ = [message(Viewer, <<"view">>) || _ <- [1, 2]],
        [Feed] = feeds(Ref),
        true = Count() > 2,
        true = is_process_alive(Feed),
        http_client:close(Viewer),
        os_process:until(fun() -> not is_process_alive(Feed) end),
        os_process:until(fun() -> feeds(Ref) =:= [] end)
    end).

%% Both get the same bytes, made once.
two_viewers_are_gathered_for_once(Config) ->
    Server = #{ref := Ref} = server(Config),
    counted(fun(Count) ->
        Viewers = [viewer(Server) || _ <- [1, 2]],
        _ = [until(Viewer, <<"\"websocket\":2">>) || Viewer <- Viewers],
        [_] = feeds(Ref),
        Before = Count(),
        %% One may have seen a view before the other has come.
        [Ones, Others] = [views(Viewer, 4) || Viewer <- Viewers],
        true = length([View || View <- Ones, lists:member(View, Others)]) >= 3,
        true = Count() - Before =< 6
    end).

each_sort_is_a_message_of_its_own(Config) ->
    Server = server(Config),
    [One, Other] = [viewer(Server) || _ <- [1, 2]],
    contains(message(One, <<"view">>), [<<"\"sort\":\"backlog\"">>]),
    ok = ws_client:send(Other, {text, <<"sort age">>}),
    _ = until(Other, <<"\"sort\":\"age\"">>),
    contains(message(One, <<"view">>), [<<"\"sort\":\"backlog\"">>]).

a_plain_cowboy_serves_it_too(Config) ->
    Looked = #{ref := Ref} = server(Config),
    Dispatch = cowboy_router:compile([{'_', [{"/d/[...]", outrider_dashboard, #{listener => Ref, may => fun(_, _) -> true end}}]}]),
    {ok, _} = cowboy:start_clear(?FUNCTION_NAME, [{port, 0}], #{env => #{dispatch => Dispatch}}),
    Cowboy = #{name => cowboy, ref => ?FUNCTION_NAME, port => ranch:get_port(?FUNCTION_NAME)},
    #{status := 200} = http_client:get(Cowboy, "/d/"),
    #{status := 308} = http_client:get(Cowboy, "/d"),
    Client = ws_client:open_at(Looked, "/room"),
    Viewer = viewer(Cowboy, "/d/socket"),
    order(Viewer, <<"kick">>, id_of(<<"/room">>, Viewer), <<"ok">>),
    {close, 1008, _} = ws_client:recv(Client),
    _ = until(Viewer, <<"\"websocket\":0">>),
    ok = cowboy:stop_listener(?FUNCTION_NAME).

viewers_beyond_the_hundredth_are_told(Config) ->
    Server = server(Config),
    Viewers = [viewer(Server) || _ <- lists:seq(1, 100)],
    _ = [message(Viewer, <<"hello">>) || Viewer <- Viewers],
    {close, 1013, <<"too many viewers">>} = ws_client:recv(viewer(Server)),
    http_client:close(hd(Viewers)),
    os_process:until(fun() ->
        {_, Type} = {ok, ws_client:recv(viewer(Server))},
        element(1, Type) =:= text
    end).

viewers_of_a_feed_that_crashed_come_again(Config) ->
    Server = #{ref := Ref} = server(Config),
    Viewer = viewer(Server),
    _ = message(Viewer, <<"view">>),
    [Feed] = feeds(Ref),
    true = exit(Feed, kill),
    {close, 1011, <<>>} = lists:last([F || F <- ws_client:recv_all(Viewer), F =/= closed]),
    _ = message(viewer(Server), <<"view">>).

%% The page's WebSocket, as a browser opens it.
viewer(Server) ->
    viewer(Server, "/dashboard/socket").

viewer(Server, Path) ->
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, ws_client:handshake(Path, [{"origin", "http://localhost"}])),
    #{status := 101} = http_client:response(Socket),
    Socket.

handshake(Server, Origin) ->
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, ws_client:handshake("/dashboard/socket", [{"origin", Origin} || Origin =/= none])),
    http_client:response(Socket).

%% The next message of this kind.
message(Viewer, Kind) ->
    {text, Text} = ws_client:recv(Viewer),
    case binary:match(Text, <<"\"kind\":\"", Kind/binary, "\"">>) of
        nomatch -> message(Viewer, Kind);
        _ -> Text
    end.

%% The next view that has this in it.
until(Viewer, Part) ->
    View = message(Viewer, <<"view">>),
    case binary:match(View, Part) of
        nomatch -> until(Viewer, Part);
        _ -> View
    end.

views(Viewer, Count) ->
    [message(Viewer, <<"view">>) || _ <- lists:seq(1, Count)].

contains(Text, Parts) ->
    [] = [{missing, Part, Text} || Part <- Parts, binary:match(Text, iolist_to_binary(Part)) =:= nomatch].

%% The object of a client that has this in it.
row(View, Part) ->
    {match, Rows} = re:run(View, "\\{[^{}]*\"round_trip\"[^{}]*\\}", [global, {capture, first, binary}]),
    [Row] = [Row || [Row] <- Rows, binary:match(Row, Part) =/= nomatch],
    Row.

ids(Text) ->
    {match, Ids} = re:run(Text, "\"id\":\"([^\"]*)\"", [global, {capture, all_but_first, binary}]),
    lists:append(Ids).

id_of(Path, Viewer) ->
    Part = <<"\"path\":\"", Path/binary, "\"">>,
    [Id] = ids(row(until(Viewer, Part), Part)),
    Id.

%% Gives an order and waits for what has become of it.
order(Viewer, Order, Id, Outcome) ->
    ok = ws_client:send(Viewer, {text, <<Order/binary, " ", Id/binary>>}),
    contains(message(Viewer, Order), [[<<"\"outcome\":\"">>, Outcome, $"]]).

%% As soon as nobody else does.
traced(Viewer, Id) ->
    os_process:until(fun() ->
        ok = ws_client:send(Viewer, {text, <<"trace ", Id/binary>>}),
        nomatch =/= binary:match(message(Viewer, <<"trace">>), <<"\"ok\"">>)
    end).

still_there(Client) ->
    ok = ws_client:send(Client, {text, <<"here?">>}),
    {text, <<"here?">>} = ws_client:recv(Client).

feeds(Ref) ->
    [Pid || {{feed, R}, Pid, _, _} <- supervisor:which_children(outrider_sup), R =:= Ref].

%% Runs the fun with another that says how often something was gathered meanwhile.
counted(Fun) ->
    Of = {outrider_sample, take, 1},
    _ = code:ensure_loaded(outrider_sample),
    1 = erlang:trace_pattern(Of, true, [call_count]),
    try
        Fun(fun() -> {call_count, Count} = erlang:trace_info(Of, call_count), Count end)
    after
        erlang:trace_pattern(Of, false, [call_count])
    end.
