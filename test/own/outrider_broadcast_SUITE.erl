%% Frames for many clients: in which order they arrive, at whom, and how they are compressed.
%%
%% Outrider's own, so these cases have no twin on Cowboy; nor have those of the suites beside it: who is in a topic
%% (outrider_broadcast_topics_SUITE), several sidecars and ones that stand still (outrider_broadcast_sidecars_SUITE), slow clients
%% (outrider_broadcast_slow_SUITE), and what happens between nodes (outrider_broadcast_nodes_SUITE).
-module(outrider_broadcast_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([frames_of_a_process_and_its_publishes_keep_their_order/1, publishes_of_a_process_keep_their_order/1]).
-export([a_publish_is_never_between_the_pieces_of_a_message/1, frames_of_one_publish_arrive_together/1]).
-export([the_command_publishes_to_all_but_its_own_client/1, publish_from_leaves_one_process_out/1]).
-export([send_many_says_for_how_many_processes_it_was/1, a_process_that_is_named_twice_gets_it_twice/1]).
-export([a_process_without_a_websocket_gets_nothing/1, a_member_that_has_just_joined_is_not_missed/1]).
-export([a_handler_is_not_woken/1, idle_timeout_is_unaffected/1, compressed_messages_of_both_kinds_inflate/1]).
-export([a_client_that_wants_no_compression_gets_none/1]).

-import(own_case, [server/1]).
-import(os_process, [until/1]).
-import(broadcast_case, [member/1, member/2, run/2, numbers/3]).

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
        _ -> #{}
    end,
    #{routes => broadcast_case:routes(), transport => Transport}.

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

%%% Who does not notice

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

%%% Helpers

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

offer(Extension) -> [{"Sec-WebSocket-Extensions", Extension}].

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
