%% Who is in a topic and for how long, how many topics there may be, and what is refused. See outrider_broadcast_SUITE.
-module(outrider_broadcast_topics_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([unsubscribed_is_unsubscribed/1, members_leave_when_their_stream_ends_however_it_ends/1]).
-export([a_listener_that_stops_has_no_topics/1, a_listener_that_its_supervisor_has_stopped_has_no_topics/1]).
-export([members_of_a_listener_that_is_drained_hear_all_until_their_close/1, a_topic_has_1_to_255_bytes/1]).
-export([a_client_has_so_many_topics/1, a_sidecar_has_so_many_topics/1, large_publishes_of_one_callback/1]).
-export([bad_arguments_are_badarg/1, bad_commands_end_their_own_client/1]).

-import(own_case, [server/1]).
-import(os_process, [until/1]).
-import(broadcast_case, [member/1, run/2, numbers/3, error_of/1]).

-define(TOPIC, <<"topic">>).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    own_case:init(Case, setup(Case), Config).

end_per_testcase(Case, _) ->
    own_case:stop(Case).

setup(Case) ->
    Transport = case Case of
        members_of_a_listener_that_is_drained_hear_all_until_their_close -> #{sidecars => 2};
        a_client_has_so_many_topics -> #{max_topics_per_client => 3};
        a_sidecar_has_so_many_topics -> #{max_topics => 3};
        _ -> #{}
    end,
    #{routes => broadcast_case:routes(), transport => Transport}.

%%% Members

unsubscribed_is_unsubscribed(Config) ->
    #{ref := Ref} = Server = server(Config),
    [{Socket, Pid}, {Other, _}] = [member(Server) || _ <- [1, 2]],
    run(Pid, fun(State) -> ok = outrider:unsubscribe(?TOPIC), ok = outrider:subscribe(?TOPIC), {[{unsubscribe, ?TOPIC}], State} end),
    until(fun() -> outrider:subscribers(Ref, ?TOPIC) =:= 1 end),
    ok = outrider:publish(Ref, ?TOPIC, {text, <<"x">>}),
    {text, <<"x">>} = ws_client:recv(Other),
    1 = outrider:send_many([Pid], {text, <<"end">>}),
    {text, <<"end">>} = ws_client:recv(Socket).

members_leave_when_their_stream_ends_however_it_ends(Config) ->
    #{ref := Ref} = Server = server(Config),
    Run = fun(Fun) -> fun(_, Pid) -> Pid ! {run, Fun} end end,
    Ends = [
        {client_closes, fun(Socket, _) -> ws_client:send(Socket, close) end},
        {client_is_lost, fun(Socket, _) -> http_client:close(Socket) end},
        {client_breaks_the_protocol, fun(Socket, _) -> ws_client:send(Socket, {raw, <<255, 255>>}) end},
        {handler_closes, Run(fun(State) -> {[close], State} end)},
        {handler_stops, Run(fun(State) -> {stop, State} end)},
        {handler_fails, Run(fun(_) -> error(on_purpose) end)},
        {handler_is_killed, fun(_, Pid) -> exit(Pid, kill) end},
        {client_is_silent, Run(fun(State) -> {[{set_options, #{idle_timeout => 1}}], State} end)},
        {client_is_sent_too_much, fun(_, Pid) ->
            os_process:while_stopped(os_process:sidecar(Ref), fun() ->
                Pid ! {run, fun(State) -> {[{text, binary:copy(<<"x">>, 5000)}], State} end}
            end)
        end}
    ],
    Stay = lists:filtermap(fun({How, End}) ->
        {Socket, Pid} = member(Server),
        1 = outrider:subscribers(Ref, ?TOPIC),
        [?TOPIC] = outrider:topics(Ref),
        End(Socket, Pid),
        How =:= client_is_sent_too_much andalso http_client:close(Socket),
        try until(fun() -> outrider:subscribers(Ref, ?TOPIC) =:= 0 end) of
            ok ->
                [] = outrider:topics(Ref),
                1 = outrider:send_many([Pid], {text, <<"too late">>}),
                false
        catch
            error:too_late -> {true, How}
        end
    end, Ends),
    [] = Stay.

a_listener_that_stops_has_no_topics(Config) ->
    #{ref := Ref} = Server = server(Config),
    {Socket, Pid} = member(Server),
    ok = outrider:stop_listener(Ref),
    [{close, 1001, <<>>}, closed] = ws_client:recv_all(Socket),
    _ = [badarg = error_of(Call)
        || Call <- [fun() -> outrider:publish(Ref, ?TOPIC, ping) end, fun() -> outrider:publish_from(Pid, Ref, ?TOPIC, ping) end,
            fun() -> outrider:subscribers(Ref, ?TOPIC) end, fun() -> outrider:topics(Ref) end]],
    1 = outrider:send_many([Pid], ping),
    until(fun() -> pg:get_members(outrider, Ref) =:= [] end).

%% Also one that its own supervisor has stopped, and that leaves its rows in the registry.
a_listener_that_its_supervisor_has_stopped_has_no_topics(_) ->
    Ref = {?MODULE, embedded},
    Protocol = own_case:protocol(broadcast_case:routes(), none),
    #{start := {Module, Function, Args}} = outrider:child_spec(Ref, ranch_tcp, [{port, 0}], Protocol),
    _ = [
        begin
            {ok, Supervisor} = apply(Module, Function, Args),
            unlink(Supervisor),
            ok = outrider:publish(Ref, ?TOPIC, ping),
            ok = outrider:publish_from(self(), Ref, ?TOPIC, []),
            Monitor = monitor(process, Supervisor),
            true = exit(Supervisor, shutdown),
            receive {'DOWN', Monitor, process, Supervisor, Reason} -> shutdown = Reason end,
            [badarg, badarg, badarg] = [error_of(Call)
                || Call <- [fun() -> outrider:publish(Ref, ?TOPIC, ping) end, fun() -> outrider:publish(Ref, ?TOPIC, []) end,
                    fun() -> outrider:publish_from(self(), Ref, ?TOPIC, ping) end]]
        end
     || _ <- [1, 2]
    ],
    ok.

%% They leave one after the other while publishes go on, until the listener has stopped.
members_of_a_listener_that_is_drained_hear_all_until_their_close(Config) ->
    #{ref := Ref} = Server = server(Config),
    Members = [member(Server) || _ <- lists:seq(1, 20)],
    {Publisher, Monitor} = spawn_monitor(fun() -> publish_from(1, Ref) end),
    _ = [{text, <<"1">>} = ws_client:recv(Socket) || {Socket, _} <- Members],
    {ok, #{closed := 20, remaining := 0}} = outrider:drain(Ref, #{over => 300, timeout => 20000, code => 1012}),
    Said = receive {'DOWN', Monitor, process, Publisher, {badarg, Last}} -> Last end,
    Heard = [
        begin
            [closed, {close, 1012, <<>>} | Frames] = lists:reverse(ws_client:recv_all(Socket)),
            ok = numbers(2, length(Frames) + 1, lists:reverse(Frames)),
            length(Frames) + 1
        end
     || {Socket, _} <- Members
    ],
    true = lists:min(Heard) < lists:max(Heard),
    true = lists:max(Heard) =< Said.

publish_from(Number, Ref) ->
    try outrider:publish(Ref, ?TOPIC, {text, integer_to_binary(Number)}) of
        ok -> receive after 1 -> publish_from(Number + 1, Ref) end
    catch
        error:badarg -> exit({badarg, Number - 1})
    end.

%%% Limits

a_topic_has_1_to_255_bytes(Config) ->
    #{ref := Ref} = Server = server(Config),
    {Socket, Pid} = member(Server),
    Longest = binary:copy(<<255>>, 255),
    _ = [
        begin
            run(Pid, fun(State) -> ok = outrider:subscribe(Topic), {[], State} end),
            1 = outrider:subscribers(Ref, Topic),
            ok = outrider:publish(Ref, Topic, {binary, Topic}),
            {binary, Topic} = ws_client:recv(Socket)
        end
     || Topic <- [<<0>>, binary:part(Longest, 0, 254), Longest]
    ],
    _ = [badarg = error_of(fun() -> outrider:Function(<<255, Longest/binary>>) end) || Function <- [subscribe, unsubscribe]],
    badarg = error_of(fun() -> outrider:publish(Ref, <<255, Longest/binary>>, ping) end),
    ok.

a_client_has_so_many_topics(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    {_, Pid} = member(Server),
    Told = {websocket_info, {outrider, {not_subscribed, <<"d">>, max_topics_per_client}}},
    run(Pid, fun(State) -> {[{subscribe, <<"b">>}, {subscribe, <<"c">>}, {subscribe, <<"b">>}, {subscribe, ?TOPIC}], State} end),
    until(fun() -> lists:sort(outrider:topics(Ref)) =:= [<<"b">>, <<"c">>, ?TOPIC] end),
    run(Pid, fun(State) -> ok = outrider:subscribe(<<"d">>), {[], State} end),
    Told = probe:await(Probe, Told),
    0 = outrider:subscribers(Ref, <<"d">>),
    run(Pid, fun(State) -> {[{unsubscribe, <<"b">>}, {subscribe, <<"d">>}], State} end),
    until(fun() -> outrider:subscribers(Ref, <<"d">>) =:= 1 end),
    true = [Told] =:= [Call || {websocket_info, {outrider, _}} = Call <- probe:calls(Probe)].

a_sidecar_has_so_many_topics(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    {One, Pid} = member(Server),
    run(Pid, fun(State) -> {[{subscribe, <<"b">>}, {subscribe, <<"c">>}, {subscribe, <<"d">>}], State} end),
    Told = {websocket_info, {outrider, {not_subscribed, <<"d">>, max_topics}}},
    Told = probe:await(Probe, Told),
    %% One that there is is no more.
    {Two, Other} = member(Server),
    run(Other, fun(State) -> {[{subscribe, <<"b">>}], State} end),
    until(fun() -> outrider:subscribers(Ref, <<"b">>) =:= 2 end),
    http_client:close(One),
    until(fun() -> lists:sort(outrider:topics(Ref)) =:= [<<"b">>, ?TOPIC] end),
    run(Other, fun(State) -> {[{subscribe, <<"d">>}], State} end),
    until(fun() -> outrider:subscribers(Ref, <<"d">>) =:= 1 end),
    ok = outrider:publish(Ref, <<"d">>, {text, <<"x">>}),
    {text, <<"x">>} = ws_client:recv(Two).

%% Together they are more than a packet may have.
large_publishes_of_one_callback(Config) ->
    #{ref := Ref} = Server = server(Config),
    [{_, Pid}, {Socket, _}] = [member(Server) || _ <- [1, 2]],
    OsPid = os_process:sidecar(Ref),
    Large = binary:copy(<<"x">>, 6000000),
    Pid ! {run, fun(State) -> {[{publish, ?TOPIC, {binary, Large}} || _ <- [1, 2, 3]] ++ [{text, <<"own">>}], State} end},
    {binary, Large} = ws_client:recv(Socket),
    OsPid = os_process:sidecar(Ref),
    %% The most that goes, and one byte more.
    Most = 15 * 1024 * 1024 - 6 - 15,
    1 = outrider:send_many([self()], {binary, binary:copy(<<"x">>, Most)}),
    {too_large, _, _} = error_of(fun() -> outrider:send_many([self()], {binary, binary:copy(<<"x">>, Most + 1)}) end),
    OsPid = os_process:sidecar(Ref).

%%% Errors

bad_arguments_are_badarg(Config) ->
    #{ref := Ref} = Server = server(Config),
    {Socket, Pid} = member(Server),
    X = fun(Size) -> binary:copy(<<"x">>, Size) end,
    BadFrames = [
        close, {close, <<>>}, {close, 1000, <<>>}, [ping, close], [ping | pong], nonsense, <<"text">>, {text, 1}, {text, [300]},
        {text, nonsense}, {ping, X(126)}, {pong, X(126)}, {ping, nonsense}, {text, <<1:7>>}, {fragment, fin, text, <<>>}, 1, [[ping]],
        {}, undefined, "text"
    ],
    Calls = [{send_many, [[Pid], Frames]} || Frames <- BadFrames] ++
        [{publish, [Ref, ?TOPIC, Frames]} || Frames <- BadFrames] ++
        [{publish_from, [Pid, Ref, ?TOPIC, Frames]} || Frames <- BadFrames] ++
        [{send_many, [Pids, ping]} || Pids <- [Pid, [Pid | Pid], [nobody], [Ref], undefined, #{Pid => 1}, [Pid, 1]]] ++
        [{Function, [Topic]} || Function <- [subscribe, unsubscribe], Topic <- [<<>>, a, "topic", 1, <<1:7>>]] ++
        [{publish, [Ref, Topic, Frames]} || Topic <- [<<>>, a, "topic", 1, <<1:7>>], Frames <- [ping, []]] ++
        [{publish, [nobody, ?TOPIC, Frames]} || Frames <- [ping, []]] ++
        [{publish_from, [nobody, Ref, ?TOPIC, ping]}, {publish_from, [Pid, nobody, ?TOPIC, ping]}] ++
        [{subscribers, [nobody, ?TOPIC]}, {subscribers, [Ref, <<>>]}, {subscribers, [Ref, topic]}, {topics, [nobody]}],
    Wrong = [{Call, Result} || {Function, Args} = Call <- Calls, Result <- [result(Function, Args)], Result =/= badarg],
    [] = Wrong,
    ok = outrider:publish(Ref, ?TOPIC, {text, <<"all is well">>}),
    {text, <<"all is well">>} = ws_client:recv(Socket).

result(Function, Args) ->
    try
        apply(outrider, Function, Args)
    catch
        error:Reason -> Reason
    end.

bad_commands_end_their_own_client(Config) ->
    #{ref := Ref} = Server = server(Config),
    {Other, _} = member(Server),
    _ = [
        begin
            {Socket, Pid} = member(Server),
            Pid ! {run, fun(State) -> {[{publish, ?TOPIC, {text, <<"not sent either">>}}, Command], State} end},
            [{close, 1011, <<>>}, closed] = ws_client:recv_all(Socket)
        end
     || Command <- [{subscribe, <<>>}, {subscribe, topic}, {unsubscribe, "topic"}, {publish, topic, ping}, {publish, ?TOPIC, close},
            {publish, ?TOPIC, nonsense}, {publish, binary:copy(<<"x">>, 256), ping}, {publish, ?TOPIC}]
    ],
    ok = outrider:publish(Ref, ?TOPIC, {text, <<"all is well">>}),
    {text, <<"all is well">>} = ws_client:recv(Other).
