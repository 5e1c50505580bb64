%% Frames for many clients: outrider:send_many/2, and topics by publish/3, publish_from/4 and the commands.
%%
%% Outrider's own, so these cases have no twin on Cowboy. Where a queue must not move, the sidecar is stopped (SIGSTOP). What
%% happens between nodes is in outrider_broadcast_nodes_SUITE, what becomes of slow clients in outrider_broadcast_slow_SUITE.
-module(outrider_broadcast_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([frames_of_a_process_and_its_publishes_keep_their_order/1, publishes_of_a_process_keep_their_order/1]).
-export([a_publish_is_never_between_the_pieces_of_a_message/1, frames_of_one_publish_arrive_together/1]).
-export([the_command_publishes_to_all_but_its_own_client/1, publish_from_leaves_one_process_out/1]).
-export([send_many_says_for_how_many_processes_it_was/1, a_process_that_is_named_twice_gets_it_twice/1]).
-export([a_process_without_a_websocket_gets_nothing/1, unsubscribed_is_unsubscribed/1]).
-export([members_leave_when_their_stream_ends_however_it_ends/1, a_listener_that_stops_has_no_topics/1]).
-export([a_handler_is_not_woken/1, idle_timeout_is_unaffected/1]).
-export([compressed_messages_of_both_kinds_inflate/1, a_client_that_wants_no_compression_gets_none/1]).
-export([a_member_that_has_just_joined_is_not_missed/1]).
-export([a_topic_has_1_to_255_bytes/1, a_client_has_so_many_topics/1, a_sidecar_has_so_many_topics/1]).
-export([bad_arguments_are_badarg/1, bad_commands_end_their_own_client/1, large_publishes_of_one_callback/1]).
-export([all_sidecars_are_reached/1, a_sidecar_that_dies_takes_its_members_along/1]).
-export([publishers_wait_for_a_sidecar_that_stands_still/1, a_listener_that_its_supervisor_has_stopped_has_no_topics/1]).
-export([a_sidecar_that_stands_still_keeps_no_client_of_others/1, members_of_a_listener_that_is_drained_hear_all_until_their_close/1]).
-export([who_subscribes_waits_for_no_sidecar_but_its_own/1]).

-import(own_case, [server/1]).
-import(os_process, [until/1]).

-define(TOPIC, <<"topic">>).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    own_case:init(Case, setup(Case), Config).

end_per_testcase(Case, _) ->
    own_case:stop(Case).

setup(Case) ->
    Transport = case Case of
        publishes_of_a_process_keep_their_order -> #{sidecars => 2};
        all_sidecars_are_reached -> #{sidecars => 3};
        a_sidecar_that_dies_takes_its_members_along -> #{sidecars => 2};
        members_of_a_listener_that_is_drained_hear_all_until_their_close -> #{sidecars => 2};
        a_client_has_so_many_topics -> #{max_topics_per_client => 3};
        a_sidecar_has_so_many_topics -> #{max_topics => 3};
        _ -> #{}
    end,
    %% One that reads 100,000 messages is a slow client for a while.
    Options = case Case of
        publishers_wait_for_a_sidecar_that_stands_still -> #{max_backlog => 100000000};
        _ -> #{}
    end,
    #{routes => broadcast_case:routes(Options), transport => Transport}.

%%% Order

%% Also where the VM is busy, so that some bundles go by way of the collector and others do not.
frames_of_a_process_and_its_publishes_keep_their_order(Config) ->
    #{ref := Ref} = Server = server(Config),
    {Socket, Pid} = member(Server),
    Count = 300,
    Next = fun Next(N, State) ->
        N < Count andalso begin self() ! {run, fun(S) -> Next(N + 1, S) end} end,
        Frame = {text, integer_to_binary(N)},
        case N rem 4 of
            0 -> {[Frame], State};
            1 -> 1 = outrider:send_many([self()], Frame), {[], State};
            2 -> ok = outrider:publish(Ref, ?TOPIC, Frame), {[], State};
            3 -> 1 = outrider:send_many([self()], Frame), {[{text, <<"behind it">>}], State}
        end
    end,
    busy(fun() ->
        Pid ! {run, fun(State) -> Next(1, State) end},
        ok = numbers(1, Count, [Frame || Frame <- received(Socket, {text, integer_to_binary(Count)}), Frame =/= {text, <<"behind it">>}])
    end).

publishes_of_a_process_keep_their_order(Config) ->
    #{ref := Ref} = Server = server(Config),
    Members = [{_, First} | Others] = [member(Server) || _ <- lists:seq(1, 8)],
    Pids = [Pid || {_, Pid} <- Members],
    Count = 300,
    Next = fun Next(N, State) ->
        N < Count andalso begin self() ! {run, fun(S) -> Next(N + 1, S) end} end,
        Frame = {text, integer_to_binary(N)},
        case N rem 3 of
            0 -> {[{publish, ?TOPIC, Frame}], State};
            1 -> 8 = outrider:send_many(Pids, Frame), {[], State};
            2 -> ok = outrider:publish(Ref, ?TOPIC, Frame), {[], State}
        end
    end,
    busy(fun() ->
        First ! {run, fun(State) -> Next(1, State) end},
        _ = [ok = numbers(1, Count, received(Socket, {text, integer_to_binary(Count)})) || {Socket, _} <- Others]
    end).

a_publish_is_never_between_the_pieces_of_a_message(Config) ->
    #{ref := Ref} = Server = server(Config),
    Large = rand:bytes(3000000),
    _ = [
        begin
            {Socket, Pid} = member(Server, Headers),
            Publisher = spawn_link(fun Publish() ->
                ok = outrider:publish(Ref, ?TOPIC, {text, <<"between">>}),
                receive after 1 -> Publish() end
            end),
            Pid ! {run, fun(State) -> {[{binary, Large}, {text, <<"end">>}], State} end},
            Messages = messages(Socket, ws_client:inflater(), {text, <<"end">>}),
            [{binary, Large}] = [Message || Message <- Messages, Message =/= {text, <<"between">>}],
            unlink(Publisher),
            exit(Publisher, kill),
            http_client:close(Socket)
        end
     || Headers <- [[], offer("permessage-deflate")]
    ].

frames_of_one_publish_arrive_together(Config) ->
    #{ref := Ref} = Server = server(Config),
    {Socket, _} = member(Server),
    Frames = [{text, ["a", <<"b">>]}, ping, {binary, <<>>}, pong, {ping, <<"p">>}, {pong, <<"q">>}, {text, binary:copy(<<"x">>, 70000)}],
    ok = outrider:publish(Ref, ?TOPIC, []),
    ok = outrider:publish(Ref, ?TOPIC, Frames),
    [{text, <<"ab">>} | Rest] = ws_client:recv(Socket, length(Frames)),
    Rest = tl(Frames).

%%% Who is meant

the_command_publishes_to_all_but_its_own_client(Config) ->
    Server = server(Config),
    [{Own, Pid}, {Other, _}] = [member(Server) || _ <- [1, 2]],
    Pid ! {run, fun(State) -> {[{publish, ?TOPIC, {text, <<"news">>}}, {publish, ?TOPIC, []}, {text, <<"mine">>}], State} end},
    {text, <<"mine">>} = ws_client:recv(Own),
    {text, <<"news">>} = ws_client:recv(Other).

publish_from_leaves_one_process_out(Config) ->
    #{ref := Ref} = Server = server(Config),
    [{Own, Pid}, {Other, _}] = [member(Server) || _ <- [1, 2]],
    ok = outrider:publish_from(Pid, Ref, ?TOPIC, {text, <<"1">>}),
    ok = outrider:publish_from(self(), Ref, ?TOPIC, {text, <<"2">>}),
    {text, <<"2">>} = ws_client:recv(Own),
    [{text, <<"1">>}, {text, <<"2">>}] = ws_client:recv(Other, 2).

send_many_says_for_how_many_processes_it_was(Config) ->
    Server = server(Config),
    [{One, A}, {Two, B}] = [member(Server) || _ <- [1, 2]],
    0 = outrider:send_many([], {text, <<"to nobody">>}),
    2 = outrider:send_many([A, B], []),
    2 = outrider:send_many([A, self()], {text, <<"x">>}),
    %% More than one command names.
    25002 = outrider:send_many([A | lists:duplicate(25000, self())] ++ [B], {text, <<"y">>}),
    [{text, <<"x">>}, {text, <<"y">>}] = ws_client:recv(One, 2),
    {text, <<"y">>} = ws_client:recv(Two).

a_process_that_is_named_twice_gets_it_twice(Config) ->
    {Socket, Pid} = member(server(Config)),
    2 = outrider:send_many([Pid, Pid], {text, <<"x">>}),
    [{text, <<"x">>}, {text, <<"x">>}] = ws_client:recv(Socket, 2).

%% Dead ones, and those that are none of ours; also where they subscribe.
a_process_without_a_websocket_gets_nothing(Config) ->
    #{ref := Ref} = Server = server(Config),
    {Dead, Monitor} = spawn_monitor(fun() -> ok = outrider:subscribe(?TOPIC) end),
    receive {'DOWN', Monitor, process, Dead, Reason} -> normal = Reason end,
    ok = outrider:subscribe(?TOPIC),
    ok = outrider:unsubscribe(<<"never">>),
    0 = outrider:subscribers(Ref, ?TOPIC),
    {Socket, Pid} = member(Server),
    3 = outrider:send_many([Dead, self(), Pid], {text, <<"x">>}),
    {text, <<"x">>} = ws_client:recv(Socket),
    nothing = receive Anything -> Anything after 0 -> nothing end.

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

%% It hibernates, and is not scheduled once.
a_handler_is_not_woken(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    {Socket, Pid} = member(Server),
    Pid ! {run, fun(State) -> {[], State, hibernate} end},
    until(fun() -> process_info(Pid, current_function) =:= {current_function, {erlang, hibernate, 3}} end),
    Before = probe:calls(Probe),
    1 = erlang:trace(Pid, true, [running]),
    _ = [begin ok = outrider:publish(Ref, ?TOPIC, {text, <<"x">>}), 1 = outrider:send_many([Pid], ping) end || _ <- lists:seq(1, 100)],
    _ = [[{text, <<"x">>}, ping] = ws_client:recv(Socket, 2) || _ <- lists:seq(1, 100)],
    Delivered = erlang:trace_delivered(Pid),
    [] = (fun Traced() ->
        receive
            {trace_delivered, Pid, Delivered} -> [];
            Trace when element(1, Trace) =:= trace -> [Trace | Traced()]
        end
    end)(),
    1 = erlang:trace(Pid, false, [running]),
    {current_function, {erlang, hibernate, 3}} = process_info(Pid, current_function),
    Before = probe:calls(Probe).

idle_timeout_is_unaffected(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    {Socket, Pid} = member(Server),
    Publisher = spawn_link(fun Publish() ->
        ok = outrider:publish(Ref, ?TOPIC, ping),
        receive after 20 -> Publish() end
    end),
    run(Pid, fun(State) -> {[{set_options, #{idle_timeout => 200}}], State} end),
    [closed, {close, 1000, <<>>} | _] = lists:reverse(ws_client:recv_all(Socket)),
    {terminate, timeout} = probe:await(Probe, {terminate, timeout}),
    unlink(Publisher),
    exit(Publisher, kill).

%%% Compression

%% One history for the client's own messages and those that others got, too.
compressed_messages_of_both_kinds_inflate(Config) ->
    #{ref := Ref} = Server = server(Config),
    Offers = [
        {"permessage-deflate", 15}, {"permessage-deflate; server_no_context_takeover", 15},
        {"permessage-deflate; client_no_context_takeover", 15}, {"permessage-deflate; server_max_window_bits=9", 9},
        {"permessage-deflate; server_max_window_bits=12; server_no_context_takeover", 12},
        {"x-webkit-deflate-frame", 15}, {"x-webkit-deflate-frame; no_context_takeover", 15},
        {"x-webkit-deflate-frame; max_window_bits=9", 9}
    ],
    Clients = [
        begin
            {Socket, Pid} = member(Server, offer(Offer)),
            Inflater = zlib:open(),
            ok = zlib:inflateInit(Inflater, -Bits),
            {Socket, Pid, Inflater}
        end
     || {Offer, Bits} <- Offers
    ],
    Text = fun(N) -> iolist_to_binary([[io_lib:format("row ~b of ~b; ", [Row, N]) || Row <- lists:seq(1, 40 + 10 * (N rem 7))]]) end,
    Pids = [Pid || {_, Pid, _} <- Clients],
    _ = [
        case N rem 5 of
            0 -> ok = outrider:publish(Ref, ?TOPIC, {text, Text(N)});
            1 -> _ = outrider:send_many(Pids, [{binary, Text(N)}]);
            2 -> ok = outrider:publish(Ref, ?TOPIC, [{text, <<>>}, {text, Text(N)}, ping]);
            %% Large: in fragments.
            3 when N rem 20 =:= 3 ->
                [run(Pid, fun(State) -> {[{text, binary:copy(Text(N), 100)}], State} end) || Pid <- Pids];
            _ ->
                [run(Pid, fun(State) -> {[{text, Text(N)}, {binary, rand:bytes(100)}], State} end) || Pid <- Pids]
        end
     || N <- lists:seq(1, 60)
    ],
    ok = outrider:publish(Ref, ?TOPIC, {text, <<"end">>}),
    Expected = lists:append([
        case N rem 5 of
            0 -> [{text, Text(N)}];
            1 -> [{binary, Text(N)}];
            2 -> [{text, <<>>}, {text, Text(N)}, ping];
            3 when N rem 20 =:= 3 -> [{text, binary:copy(Text(N), 100)}];
            _ -> [{text, Text(N)}, {binary, noise}]
        end
     || N <- lists:seq(1, 60)
    ]),
    Noise = fun({binary, Bytes}) when byte_size(Bytes) =:= 100 -> {binary, noise}; (Message) -> Message end,
    _ = [Expected = lists:map(Noise, messages(Socket, Inflater, {text, <<"end">>})) || {Socket, _, Inflater} <- Clients].

a_client_that_wants_no_compression_gets_none(Config) ->
    #{ref := Ref} = Server = server(Config),
    {Plain, _} = member(Server),
    {Socket, Pid} = member(Server, offer("permessage-deflate")),
    Publish = fun() -> ok = outrider:publish(Ref, ?TOPIC, {text, <<"Hello">>}) end,
    Publish(),
    {deflated, text, First} = ws_client:recv(Socket),
    Inflater = ws_client:inflater(),
    <<"Hello">> = ws_client:inflate(Inflater, First),
    run(Pid, fun(State) -> {[{deflate, false}, {text, <<"own">>}], State} end),
    Publish(),
    [{text, <<"own">>}, {text, <<"Hello">>}] = ws_client:recv(Socket, 2),
    run(Pid, fun(State) -> {[{deflate, true}, {text, <<"own">>}], State} end),
    Publish(),
    [<<"own">>, <<"Hello">>] = [ws_client:inflate(Inflater, Payload) || {deflated, text, Payload} <- ws_client:recv(Socket, 2)],
    [{text, <<"Hello">>}, {text, <<"Hello">>}, {text, <<"Hello">>}] = ws_client:recv(Plain, 3).

%%% Members

%% It joins pg in websocket_init, and another process sends at once.
a_member_that_has_just_joined_is_not_missed(Config) ->
    Server = server(Config),
    {ok, _} = pg:start_link(?MODULE),
    true = register(broadcast_case, self()),
    busy(fun() ->
        _ = [
            begin
                Socket = ws_client:open_at(Server, "/join"),
                receive {joined, Pid} -> 1 = outrider:send_many([Pid], {text, <<"welcome">>}) end,
                {text, <<"welcome">>} = ws_client:recv(Socket),
                http_client:close(Socket)
            end
         || _ <- lists:seq(1, 200)
        ]
    end).

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

%%% Sidecars

all_sidecars_are_reached(Config) ->
    #{ref := Ref} = Server = server(Config),
    Members = [{First, FirstPid} | Others] = [member(Server) || _ <- lists:seq(1, 30)],
    true = lists:all(fun(#{all_connections := All}) -> All > 0 end, maps:get(sidecars, outrider:info(Ref))),
    30 = outrider:subscribers(Ref, ?TOPIC),
    [?TOPIC] = outrider:topics(Ref),
    ok = outrider:publish(Ref, ?TOPIC, {text, <<"1">>}),
    30 = outrider:send_many([Pid || {_, Pid} <- Members], {text, <<"2">>}),
    ok = outrider:publish_from(FirstPid, Ref, ?TOPIC, {text, <<"3">>}),
    FirstPid ! {run, fun(State) -> {[{publish, ?TOPIC, {text, <<"4">>}}, {text, <<"own">>}], State} end},
    [{text, <<"1">>}, {text, <<"2">>}, {text, <<"own">>}] = ws_client:recv(First, 3),
    Expected = [{text, <<N>>} || N <- "1234"],
    _ = [Expected = ws_client:recv(Socket, 4) || {Socket, _} <- Others].

a_sidecar_that_dies_takes_its_members_along(Config) ->
    #{ref := Ref} = Server = server(Config),
    Members = [member(Server) || _ <- lists:seq(1, 20)],
    [#{os_pid := OsPid, all_connections := Lost}, #{os_pid := Other, all_connections := Left}] = maps:get(sidecars, outrider:info(Ref)),
    20 = Lost + Left,
    ok = os_process:signal(OsPid, "KILL"),
    %% Nobody has to wait for it.
    ok = outrider:publish(Ref, ?TOPIC, {text, <<"1">>}),
    20 = outrider:send_many([Pid || {_, Pid} <- Members], {text, <<"2">>}),
    Got = [ws_client:recv(Socket, 2) || {Socket, _} <- Members],
    Left = length([Frames || Frames <- Got, Frames =:= [{text, <<"1">>}, {text, <<"2">>}]]),
    until(fun() -> length(maps:get(sidecars, outrider:info(Ref))) =:= 2 end),
    [Other] = [Pid || #{os_pid := Pid} <- maps:get(sidecars, outrider:info(Ref)), Pid =:= Other],
    Left = outrider:subscribers(Ref, ?TOPIC),
    More = [member(Server) || _ <- lists:seq(1, 20)],
    ok = outrider:publish(Ref, ?TOPIC, {text, <<"3">>}),
    _ = [{text, <<"3">>} = ws_client:recv(Socket) || {Socket, _} <- More].

%% 100,000 publishes of 50 processes: each has one on its way, and waits. None is lost.
publishers_wait_for_a_sidecar_that_stands_still(Config) ->
    #{ref := Ref} = Server = server(Config),
    {Socket, _} = member(Server),
    Before = erlang:memory(total),
    {Publishers, 50} = os_process:while_stopped(os_process:sidecar(Ref), fun() ->
        Pids = [
            spawn_monitor(fun() ->
                _ = [ok = outrider:publish(Ref, ?TOPIC, {binary, <<Publisher, N:32, 0:1600>>}) || N <- lists:seq(1, 2000)]
            end)
         || Publisher <- lists:seq(1, 50)
        ],
        %% All of them wait, with a publish each.
        until(fun() ->
            lists:all(fun({Pid, _}) -> process_info(Pid, current_function) =:= {current_function, {outrider_collector, written, 2}} end, Pids)
        end),
        Memory = erlang:memory(total) - Before,
        true = Memory < 10000000,
        {Pids, length([Pid || {Pid, _} <- Pids, is_process_alive(Pid)])}
    end),
    Received = (fun Receive(0, Last) -> Last;
        Receive(Left, Last) ->
            {binary, <<Publisher, N:32, _/binary>>} = ws_client:recv(Socket),
            N = maps:get(Publisher, Last, 0) + 1,
            Receive(Left - 1, Last#{Publisher => N})
    end)(100000, #{}),
    [2000] = lists:usort(maps:values(Received)),
    _ = [receive {'DOWN', Monitor, process, Pid, Reason} -> normal = Reason end || {Pid, Monitor} <- Publishers],
    ok.

%% The caller waits for it; those whose sidecar reads have it meanwhile.
a_sidecar_that_stands_still_keeps_no_client_of_others(Config) ->
    with_another(Config, fun(Clients) ->
        Pids = [Pid || {_, _, Pid} <- Clients],
        _ = [
            begin
                [{_, Free, _}] = Clients -- [Stopped],
                {Caller, Monitor} = os_process:while_stopped(os_process:sidecar(Ref), fun() ->
                    ok = fill(Ref),
                    Spawned = {Pid, _} = spawn_monitor(fun() -> 2 = outrider:send_many(Pids, {text, <<"to both">>}) end),
                    {text, <<"to both">>} = ws_client:recv(Free),
                    true = is_process_alive(Pid),
                    Spawned
                end),
                receive {'DOWN', Monitor, process, Caller, Reason} -> normal = Reason end,
                {text, <<"to both">>} = ws_client:recv(Socket)
            end
         || Stopped = {Ref, Socket, _} <- Clients
        ]
    end).

who_subscribes_waits_for_no_sidecar_but_its_own(Config) ->
    with_another(Config, fun(Clients) ->
        _ = [
            begin
                [{Own, _, Pid}] = Clients -- [Stopped],
                OsPid = os_process:sidecar(Ref),
                os_process:while_stopped(OsPid, fun() ->
                    ok = fill(Ref),
                    ok = run(Pid, fun(State) ->
                        ok = outrider:unsubscribe(?TOPIC),
                        ok = outrider:subscribe(<<"another">>),
                        {[], State}
                    end),
                    [<<"another">>] = outrider:topics(Own),
                    ok = run(Pid, fun(State) ->
                        ok = outrider:unsubscribe(<<"another">>),
                        ok = outrider:subscribe(?TOPIC),
                        {[], State}
                    end)
                end),
                %% It was not waited for until its watchdog has ended it.
                OsPid = os_process:sidecar(Ref),
                until(fun() -> outrider:topics(Ref) =:= [?TOPIC] end)
            end
         || Stopped = {Ref, _, _} <- Clients
        ]
    end).

%%% Helpers

%% Runs a fun with a client of this listener and of another one.
with_another(Config, Fun) ->
    #{ref := Ref} = Server = server(Config),
    #{ref := OtherRef} = Other = own_case:listen({Ref, other}, #{routes => broadcast_case:routes()}),
    [{Socket, Pid}, {OtherSocket, OtherPid}] = [member(Server), member(Other)],
    try
        Fun([{Ref, Socket, Pid}, {OtherRef, OtherSocket, OtherPid}])
    after
        own_case:stop(OtherRef)
    end.

%% Writes to a sidecar that does not read until its port takes no more. No client has subscribed to the topic.
fill(Ref) ->
    Large = binary:copy(<<"x">>, 1000000),
    {Filler, _} = spawn_monitor(fun Fill() -> ok = outrider:publish(Ref, <<"nobody's">>, {binary, Large}), Fill() end),
    until(fun() -> process_info(os_process:collector(Ref), status) =:= {status, suspended} end),
    true = exit(Filler, kill),
    ok.

member(Server) -> broadcast_case:member(Server, []).
member(Server, Headers) -> broadcast_case:member(Server, Headers).

run(Pid, Fun) -> broadcast_case:run(Pid, Fun).

offer(Extension) -> [{"Sec-WebSocket-Extensions", Extension}].

%% Runs a fun while many processes wait for a scheduler, so that bundles are collected.
busy(Fun) ->
    Spinners = [spawn_link(fun Spin() -> Spin() end) || _ <- lists:seq(1, erlang:system_info(schedulers_online) + 8)],
    try
        Fun()
    after
        _ = [begin unlink(Pid), exit(Pid, kill) end || Pid <- Spinners]
    end.

%% All frames up to that one, with it.
received(Socket, Last) ->
    case ws_client:recv(Socket) of
        Last -> [Last];
        Frame when Frame =/= closed, Frame =/= timeout -> [Frame | received(Socket, Last)]
    end.

numbers(From, To, Frames) ->
    Expected = [{text, integer_to_binary(N)} || N <- lists:seq(From, To)],
    Expected = Frames,
    ok.

%% All messages before that one, inflated.
messages(Socket, Inflater, Last) ->
    case message(Socket, Inflater) of
        Last -> [];
        Message -> [Message | messages(Socket, Inflater, Last)]
    end.

message(Socket, Inflater) ->
    case ws_client:recv(Socket) of
        {deflated, Type, Payload} -> {Type, ws_client:inflate(Inflater, Payload)};
        {frame, 0, Rsv, Opcode, Payload} when Opcode =/= 0 -> fragments(Socket, Inflater, Rsv, type(Opcode), [Payload]);
        Frame when is_tuple(Frame); Frame =:= ping; Frame =:= pong -> Frame
    end.

%% Each frame is compressed for itself (webkit), or the message is.
fragments(Socket, Inflater, Rsv, Type, Before) ->
    case ws_client:recv(Socket) of
        {frame, 0, Rsv0, 0, Payload} when Rsv0 =:= Rsv; Rsv0 =:= 0 -> fragments(Socket, Inflater, Rsv0, Type, [Payload | Before]);
        {frame, 1, 4, 0, Payload} -> {Type, iolist_to_binary([ws_client:inflate(Inflater, P) || P <- lists:reverse(Before, [Payload])])};
        {frame, 1, 0, 0, Payload} -> {Type, ws_client:inflate(Inflater, iolist_to_binary(lists:reverse(Before, [Payload])))}
    end.

type(1) -> text;
type(2) -> binary.

error_of(Call) ->
    try Call() of
        _ -> none
    catch
        error:Reason -> Reason
    end.
