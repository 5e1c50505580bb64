%%% Frames for many clients: from any process, as one command to each sidecar and one message to each other node.
%%%
%%% Who is meant is said by processes, or by a topic to which they have subscribed; who that is the sidecars know. No process of
%%% a client is woken, and nothing is encoded or copied for each of them. Runs in the caller, which waits until what it sends is
%%% in the ports, and so cannot be faster than the sidecars. It goes by way of outrider_collector: so it stays in order with
%%% what the caller, if it is a stream's process, has sent to its own client.
-module(outrider_broadcast).

-export([subscribe/1, unsubscribe/1, publish/4, send_many/2]).
-export([topic/1, is_topic/1, command/2, elsewhere/5, arrived/1]).
-export_type([topic/0, frames/0]).

-define(MAX_TOPIC, 255).
%% Of the 16 MiB of a packet, less what else stands in it.
-define(MAX_FRAMES, 16 * 1024 * 1024 - 1024 * 1024).
%% Processes that one packet names, and the bytes that they may take. Each takes so many beside its node's name.
-define(PIDS_AT_ONCE, 10000).
-define(PIDS_BYTES, 1000000).
-define(PID_BYTES, 16).

%% Bytes of the application's own, 1 to 255 of them. No atom is made of one.
-type topic() :: binary().
%% What each client is sent: messages, pings and pongs. A close frame is none of them.
-type frames() :: cow_ws:frame() | [cow_ws:frame()].

%% The WebSocket of this process from now on gets what is published to the topic.
-spec subscribe(topic()) -> ok.
subscribe(Topic) ->
    write_own({subscribe, self(), topic(Topic)}).

-spec unsubscribe(topic()) -> ok.
unsubscribe(Topic) ->
    write_own({unsubscribe, self(), topic(Topic)}).

%% To the sidecar whose process has spawned this one, if that is a stream's.
write_own(Command) ->
    {parent, Parent} = process_info(self(), parent),
    Own = [Collector || Collector <- outrider_registry:collectors(), outrider_collector:owner(Collector) =:= Parent],
    write_all(outrider_protocol:command(Command), Own).

%% Send frames to the subscribers of a topic of this listener, on all nodes on which it runs; less one process's.
-spec publish(ranch:ref(), topic(), none | pid(), frames()) -> ok.
publish(Ref, Topic, Except, Frames) ->
    _ = outrider_registry:supervisor(Ref),
    case frames(Frames) of
        none ->
            _ = topic(Topic),
            ok;
        Data ->
            ok = write_all(publish_command(Topic, Except, Data), outrider_registry:collectors(Ref)),
            to_nodes(Ref, Topic, Except, Data)
    end.

%% The command to a stream to publish to all others, and the frames in it; none where there are none.
-spec command(topic(), frames()) -> none | {iodata(), Frames :: iodata()}.
command(Topic, Frames) ->
    case frames(Frames) of
        none -> none;
        Data -> {[<<104, 3, 119, 7, "publish">>, binary(topic(Topic)), Data], Data}
    end.

%% What such a command does not reach: the other sidecars of its listener, and the other nodes.
-spec elsewhere(ranch:ref(), outrider_collector:collector(), topic(), pid(), iodata()) -> ok.
elsewhere(Ref, Own, Topic, Except, Data) ->
    case [Collector || Collector <- outrider_registry:collectors(Ref), Collector =/= Own] of
        [] -> ok;
        Others -> ok = write_all(publish_command(Topic, Except, Data), Others)
    end,
    to_nodes(Ref, Topic, Except, Data).

publish_command(Topic, Except, Data) ->
    [<<104, 4, 119, 7, "publish">>, binary(topic(Topic)), except(Except), Data].

%% It is a process of one node, and nobody on the others.
except(Pid) when is_pid(Pid), node(Pid) =:= node() -> outrider_protocol:command(Pid);
except(_) -> <<119, 4, "none">>.

to_nodes(Ref, Topic, Except, Data) ->
    case outrider_nodes:others(Ref) of
        [] ->
            ok;
        Nodes ->
            Message = {publish, Ref, Topic, Except, iolist_to_binary(Data)},
            lists:foreach(fun(Node) -> outrider_nodes:send(Node, Message) end, Nodes)
    end.

%% Send frames to the WebSockets of these processes, of any listener and node. Says how many processes that are; one that
%% runs no WebSocket of Outrider's, or has ended, gets nothing.
-spec send_many([pid()], frames()) -> non_neg_integer().
send_many(Pids, Frames) ->
    Data = frames(Frames),
    {Count, IsLocal} = count(Pids, node(), 0, true),
    _ =
        case {Data, IsLocal} of
            {none, _} -> ok;
            {_, true} -> send_here(Pids, Count, Data);
            {_, false} -> send_everywhere(Pids, Data)
        end,
    Count.

%% Most lists are of this node alone; then nothing is made of them.
count([Pid | Pids], Node, Count, IsLocal) when node(Pid) =:= Node -> count(Pids, Node, Count + 1, IsLocal);
count([Pid | Pids], Node, Count, _) when is_pid(Pid) -> count(Pids, Node, Count + 1, false);
count([], _, Count, IsLocal) -> {Count, IsLocal};
count(_, _, _, _) -> error(badarg).

send_everywhere(Pids, Data) ->
    ByNode = lists:foldl(fun(Pid, Map) -> maps:update_with(node(Pid), fun(L) -> [Pid | L] end, [Pid], Map) end, #{}, Pids),
    Payload = iolist_to_binary(Data),
    maps:foreach(
        fun
            (Node, Here) when Node =:= node() -> send_here(Here, length(Here), Payload);
            (Node, There) -> outrider_nodes:send(Node, {send_many, There, Payload})
        end,
        ByNode
    ).

send_here(Pids, Count, Data) ->
    AtOnce = min(?PIDS_AT_ONCE, ?PIDS_BYTES div (?PID_BYTES + byte_size(atom_to_binary(node())))),
    send_here(Pids, Count, AtOnce, Data, outrider_registry:collectors()).

send_here([], _, _, _, _) ->
    ok;
send_here(Pids, Count, AtOnce, Data, Collectors) when Count =< AtOnce ->
    write_all([<<104, 3, 119, 9, "send_many">>, outrider_protocol:command(Pids), Data], Collectors);
send_here(Pids, Count, AtOnce, Data, Collectors) ->
    {First, Rest} = lists:split(AtOnce, Pids),
    ok = send_here(First, AtOnce, AtOnce, Data, Collectors),
    send_here(Rest, Count - AtOnce, AtOnce, Data, Collectors).

%% What another node has sent. To be called by this node's relay.
-spec arrived(outrider_nodes:elsewhere()) -> ok.
arrived({publish, Ref, Topic, Except, Data}) ->
    try outrider_registry:collectors(Ref) of
        Collectors -> write_all(publish_command(Topic, Except, Data), Collectors)
    catch
        error:badarg -> ok
    end;
arrived({send_many, Pids, Data}) ->
    send_here(Pids, length(Pids), Data).

%% Fails for what is none.
-spec topic(term()) -> topic().
topic(Topic) ->
    true = is_topic(Topic) orelse error(badarg),
    Topic.

-spec is_topic(term()) -> boolean().
is_topic(Topic) ->
    is_binary(Topic) andalso Topic =/= <<>> andalso byte_size(Topic) =< ?MAX_TOPIC.

frames([]) ->
    none;
frames(Frames) ->
    try
        Data = outrider_protocol:frames(Frames),
        {Data, iolist_size(Data)}
    of
        {Encoded, Size} when Size =< ?MAX_FRAMES -> Encoded;
        {_, Size} -> error({too_large, Size, ?MAX_FRAMES})
    catch
        error:_ -> error(badarg)
    end.

binary(Binary) ->
    [<<109, (byte_size(Binary)):32>>, Binary].

%% A port that has closed has lost all its clients. One that is busy keeps the caller, and not the clients of the others.
write_all(Command, Collectors) ->
    Bundle = outrider_protocol:bundle(0, 1, Command),
    Handed = [{outrider_collector:hand_over(Bundle, Collector), Collector} || Collector <- Collectors],
    lists:foreach(fun({Word, Collector}) -> outrider_collector:settle(Word, Collector) end, Handed).
