%% What the board promises to who watches it, by server-sent events and by WebSocket, held on Cowboy and on Outrider
%% alike.
-module(taskboard_live_SUITE).
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-import(taskboard_client, [login/2, request/5, header/2, json/1, close/1]).
-import(taskboard_client, [events/3, event/1, socket/3, refused_socket/3, send/2, frame/1]).

-define(JSON, <<"tasks.v1.json">>).
-define(CSV, <<"tasks.v1.csv">>).

all() ->
    [{group, cowboy}, {group, outrider}].

groups() ->
    [{Server, [], cases()} || Server <- [cowboy, outrider]].

cases() ->
    [
        every_change_is_an_event,
        who_comes_back_gets_what_was_missed,
        who_was_away_too_long_starts_anew,
        events_can_be_compressed,
        who_stops_listening_is_forgotten,
        the_client_chooses_the_sub_protocol,
        an_unknown_sub_protocol_is_refused,
        frames_are_compressed_if_the_client_can,
        all_see_who_is_present,
        a_task_is_changed_through_the_socket,
        changes_through_the_socket_are_refused_with_a_reason,
        csv_says_the_same,
        bad_frames_end_the_socket,
        a_stop_of_the_board_closes_sockets_and_events
    ].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(gun),
    Config.

end_per_suite(_Config) ->
    ok = application:stop(gun).

init_per_group(Server, Config) ->
    [{server, Server} | Config].

end_per_group(_Server, _Config) ->
    ok.

%% An empty board for each case.
init_per_testcase(_Case, Config) ->
    Port = taskboard_server:start(proplists:get_value(server, Config)),
    [{port, Port}, {session, login(Port, <<"ada">>)} | Config].

end_per_testcase(_Case, _Config) ->
    taskboard_server:stop().

%% Server-sent events.

every_change_is_an_event(Config) ->
    Events = events(port(Config), "/events", [session(Config)]),
    ?assertEqual(<<"from now on">>, event(Events)),
    {ok, [#{id := Id}]} = taskboard_store:create([task(<<"one">>)]),
    Headers = [session(Config), {<<"content-type">>, <<"application/json">>}],
    {201, _, _} = request(port(Config), <<"POST">>, "/tasks", Headers, <<"{\"title\":\"two\"}">>),
    {ok, _} = taskboard_store:replace(Id, 1, task(<<"uno">>)),
    ok = taskboard_store:delete(Id, 2),
    Seen = [event(Events) || _ <- lists:seq(1, 4)],
    ?assertMatch(
        [
            {_, <<"created">>, #{<<"title">> := <<"one">>}},
            {_, <<"created">>, #{<<"title">> := <<"two">>}},
            {_, <<"updated">>, #{<<"title">> := <<"uno">>, <<"revision">> := 2}},
            {_, <<"deleted">>, #{<<"id">> := Id}}
        ],
        Seen
    ),
    Last = taskboard_store:last_change(),
    ?assertEqual(lists:seq(Last - 3, Last), [binary_to_integer(Number) || {Number, _, _} <- Seen]),
    close(Events).

who_comes_back_gets_what_was_missed(Config) ->
    {ok, _} = taskboard_store:create([task(<<"seen">>)]),
    Known = integer_to_binary(taskboard_store:last_change()),
    {ok, _} = taskboard_store:create([task(<<"missed">>), task(<<"missed too">>)]),
    Later = events(port(Config), ["/events?since=", Known], [session(Config)]),
    ?assertMatch({_, <<"created">>, #{<<"title">> := <<"missed">>}}, event(Later)),
    ?assertMatch({_, <<"created">>, #{<<"title">> := <<"missed too">>}}, event(Later)),
    {ok, _} = taskboard_store:create([task(<<"now">>)]),
    ?assertMatch({_, <<"created">>, #{<<"title">> := <<"now">>}}, event(Later)),
    close(Later),
    %% A browser repeats its first request with the id that it has seen, which counts for more.
    Again = events(port(Config), "/events?since=1", [session(Config), {<<"last-event-id">>, Known}]),
    ?assertMatch({_, <<"created">>, #{<<"title">> := <<"missed">>}}, event(Again)),
    close(Again).

who_was_away_too_long_starts_anew(Config) ->
    {ok, _} = taskboard_store:create([task(<<"t">>) || _ <- lists:seq(1, 1001)]),
    Last = integer_to_binary(taskboard_store:last_change()),
    [
        begin
            Events = events(port(Config), "/events", [session(Config), {<<"last-event-id">>, Id}]),
            ?assertEqual({Last, <<"reset">>, none}, event(Events)),
            close(Events)
        end
     || Id <- [<<"1">>, <<"99999999999999">>, <<"x">>]
    ].

%% Each event can be read when it comes, though the compressor is not at its end.
events_can_be_compressed(Config) ->
    {Gun, Stream} = Events = events(port(Config), "/events", [session(Config), {<<"accept-encoding">>, <<"gzip">>}]),
    Inflate = zlib:open(),
    ok = zlib:inflateInit(Inflate, 31),
    Read = fun() ->
        {data, nofin, Data} = gun:await(Gun, Stream, 20000),
        iolist_to_binary(zlib:inflate(Inflate, Data))
    end,
    ok = until_read(Read, <<": from now on\n\n">>, <<>>),
    {ok, _} = taskboard_store:create([task(<<"packed">>)]),
    ok = until_read(Read, <<"packed">>, <<>>),
    close(Events).

who_stops_listening_is_forgotten(Config) ->
    {Monitor, []} = pg:monitor(taskboard, followers),
    Events = events(port(Config), "/events", [session(Config)]),
    Pid = receive {Monitor, join, followers, [Joined]} -> Joined after 20000 -> error(timeout) end,
    close(Events),
    receive {Monitor, leave, followers, [Pid]} -> ok after 20000 -> error(timeout) end.

%% The WebSocket.

the_client_chooses_the_sub_protocol(Config) ->
    [
        begin
            {Socket, Headers} = socket(port(Config), Offered, [session(Config)]),
            ?assertEqual(Chosen, header(<<"sec-websocket-protocol">>, Headers)),
            ?assertEqual({text, First}, frame(Socket)),
            close(Socket),
            taskboard_server:until(fun() -> pg:which_groups(taskboard) =:= [] end)
        end
     || {Offered, Chosen, First} <- [
            {[?JSON], ?JSON, <<"{\"present\":[\"ada\"]}">>},
            {[?CSV, ?JSON], ?CSV, <<"present,ada\r\n">>}
        ]
    ].

an_unknown_sub_protocol_is_refused(Config) ->
    ?assertMatch({400, _}, refused_socket(port(Config), [], [session(Config)])),
    ?assertMatch({400, _}, refused_socket(port(Config), [<<"tasks.v2.json">>], [session(Config)])).

frames_are_compressed_if_the_client_can(Config) ->
    {Socket, Headers} = socket(port(Config), [?JSON], [session(Config)]),
    ?assertMatch(<<"permessage-deflate", _/binary>>, header(<<"sec-websocket-extensions">>, Headers)),
    {ok, [Task]} = taskboard_store:create([task(binary:copy(<<"long ">>, 40))]),
    {text, _} = frame(Socket),
    ok = send(Socket, {text, set_json(Task, #{status => done})}),
    {text, Answer} = frame(Socket),
    ?assertMatch(#{<<"task">> := #{<<"title">> := <<"long long", _/binary>>}}, json(Answer)),
    close(Socket).

all_see_who_is_present(Config) ->
    {Ada, _} = socket(port(Config), [?JSON], [session(Config)]),
    ?assertEqual([<<"ada">>], present(Ada)),
    {Bob, _} = socket(port(Config), [?JSON], [login(port(Config), <<"bob">>)]),
    ?assertEqual([<<"ada">>, <<"bob">>], present(Bob)),
    ?assertEqual([<<"ada">>, <<"bob">>], present(Ada)),
    close(Bob),
    ?assertEqual([<<"ada">>], present(Ada)),
    close(Ada).

a_task_is_changed_through_the_socket(Config) ->
    Events = events(port(Config), "/events", [session(Config)]),
    <<"from now on">> = event(Events),
    {ok, [Task = #{id := Id}]} = taskboard_store:create([task(<<"move me">>)]),
    {Socket, _} = socket(port(Config), [?JSON], [session(Config)]),
    [<<"ada">>] = present(Socket),
    ok = send(Socket, {text, set_json(Task, #{status => doing, assignee => <<"ada">>})}),
    {text, Answer} = frame(Socket),
    Changed = #{
        <<"id">> => Id,
        <<"revision">> => 2,
        <<"title">> => <<"move me">>,
        <<"status">> => <<"doing">>,
        <<"assignee">> => <<"ada">>
    },
    ?assertEqual(#{<<"task">> => Changed}, json(Answer)),
    {_, <<"created">>, _} = event(Events),
    ?assertMatch({_, <<"updated">>, Changed}, event(Events)),
    close(Socket),
    close(Events).

changes_through_the_socket_are_refused_with_a_reason(Config) ->
    {ok, [Task]} = taskboard_store:create([task(<<"t">>)]),
    {Socket, _} = socket(port(Config), [?JSON], [session(Config)]),
    [<<"ada">>] = present(Socket),
    Refused = fun(Text) ->
        ok = send(Socket, {text, Text}),
        {text, Answer} = frame(Socket),
        maps:get(<<"refused">>, json(Answer))
    end,
    ?assertEqual(<<"not a message of this sub-protocol">>, Refused(<<"{">>)),
    ?assertEqual(<<"a status is todo, doing or done">>, Refused(set_json(Task, #{status => lost}))),
    ?assertEqual(<<"the task has been changed">>, Refused(set_json(Task#{revision := 7}, #{}))),
    ?assertEqual(<<"no such task">>, Refused(set_json(Task#{id := 7}, #{}))),
    close(Socket).

csv_says_the_same(Config) ->
    {ok, [_]} = taskboard_store:create([task(<<"a \"b\", c">>)]),
    {Socket, _} = socket(port(Config), [?CSV], [session(Config)]),
    {text, <<"present,ada\r\n">>} = frame(Socket),
    Say = fun(Text) ->
        ok = send(Socket, {text, Text}),
        {text, Answer} = frame(Socket),
        Answer
    end,
    ?assertEqual(<<"task,1,2,\"a \"\"b\"\", c\",done,bob\r\n">>, Say(<<"set,1,1,status,done,assignee,bob">>)),
    ?assertEqual(<<"refused,the task has been changed\r\n">>, Say(<<"set,1,1,status,todo">>)),
    ?assertEqual(<<"refused,not a message of this sub-protocol\r\n">>, Say(<<"set,1,one">>)),
    close(Socket).

bad_frames_end_the_socket(Config) ->
    [
        begin
            {Socket, _} = socket(port(Config), [?JSON], [session(Config)]),
            [<<"ada">>] = present(Socket),
            ok = send(Socket, Frame),
            ?assertMatch({close, Code, _}, frame(Socket)),
            close(Socket),
            taskboard_server:until(fun() -> pg:which_groups(taskboard) =:= [] end)
        end
     || {Frame, Code} <- [
            {{binary, <<"b">>}, 1003},
            {{text, <<255>>}, 1007},
            {{text, binary:encode_hex(crypto:strong_rand_bytes(10000))}, 1009}
        ]
    ].

a_stop_of_the_board_closes_sockets_and_events(Config) ->
    Events = {EventsGun, _} = events(port(Config), "/events", [session(Config)]),
    <<"from now on">> = event(Events),
    {Socket = {SocketGun, _}, _} = socket(port(Config), [?JSON], [session(Config)]),
    [<<"ada">>] = present(Socket),
    Monitors = [monitor(process, Gun) || Gun <- [EventsGun, SocketGun]],
    ok = taskboard_server:stop(),
    [receive {'DOWN', Monitor, process, _, _} -> ok after 20000 -> error(timeout) end || Monitor <- Monitors],
    taskboard_server:start(proplists:get_value(server, Config)).

%% Helpers.

port(Config) -> proplists:get_value(port, Config).
session(Config) -> proplists:get_value(session, Config).
task(Title) -> #{title => Title, status => todo, assignee => <<>>}.

set_json(#{id := Id, revision := Revision}, Fields) ->
    taskboard_json:encode(#{id => Id, revision => Revision, set => Fields}).

present(Socket) ->
    {text, Text} = frame(Socket),
    maps:get(<<"present">>, json(Text)).

until_read(Read, Wanted, Before) ->
    case binary:match(Before, Wanted) of
        nomatch -> until_read(Read, Wanted, <<Before/binary, (Read())/binary>>);
        _ -> ok
    end.
