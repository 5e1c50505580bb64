%%% The last step of the way to a sidecar: from many streams' processes to one port, in few packets where many write at once.
%%%
%%% Writing to a port costs a system call, and a lock for which all of its writers contend. So while several processes of
%%% the VM wait for a scheduler, streams hand small bundles over to this process, which makes packets of what has come until
%%% it is its turn. While there are few, a stream writes to the port itself: a hop would cost time and save little. See
%%% docs/decisions/0006-collected-packets.md.
%%%
%%% One process for each sidecar, linked to outrider_sidecar. What a stream writes stays in order: after a bundle that it has
%%% handed over it writes itself only when that one is in the port. It knows by the collector's rounds: a round begins with a
%%% message, ends when there are no more, and is counted at both ends, so that the count is odd within a round. When the port
%%% has closed, streams write themselves again, and learn of it.
%%%
%%% What piles up here is less than a window (or max_backlog) of each stream. A collector that is behind, because the port
%%% is busy or the VM is, says so, and whoever hands something over then waits until it has been written.
-module(outrider_collector).

-export([start_link/1, port/1, owner/1, write/3, write_last/3, hand_over/2, order/3, settle/2, flush/2]).
-export([init/3, loop/1]).
-export_type([collector/0, handed/0]).

%% So many processes that wait for a scheduler are worth it.
-define(BUSY_PROCESSES, 4).
%% A packet is closed when it has so many bytes, or bundles.
-define(PACKET_BYTES, 65536).
-define(PACKET_BUNDLES, 256).
%% To write so many bytes costs more than the call, and to let them wait costs memory: a stream writes them itself.
-define(LARGE_BYTES, 4096).
%% So many messages that wait at the end of a packet are too many.
-define(BEHIND_MESSAGES, 4096).
%% After so long without a bundle it gives back its memory.
-define(IDLE_MS, 1000).

%% The atomics' only word, which nobody else writes: the count of rounds above one bit.
-define(WORD, 1).
-define(BEHIND, 1).
-define(ROUND, 2).
%% The port has closed: all that was handed over is done with. A small integer, which is compared without a call.
-define(CLOSED, (1 bsl 58)).

-opaque collector() :: {port(), pid(), atomics:atomics_ref()}.

%% The word from which on all that a stream has handed over is in the port; 0 where that is nothing.
-type handed() :: non_neg_integer().

%% To be called by the port's owner.
-spec start_link(port()) -> collector().
start_link(Port) ->
    Atomics = atomics:new(1, []),
    %% What it holds goes within a round: a generation that is kept would hold payloads for long.
    Options = [link, {message_queue_data, off_heap}, {fullsweep_after, 0}],
    {Port, proc_lib:spawn_opt(?MODULE, init, [self(), Port, Atomics], Options), Atomics}.

%% The port that it writes to, which may have closed.
-spec port(collector()) -> port().
port({Port, _, _}) ->
    Port.

%% The process that owns the port, until that closes.
-spec owner(collector()) -> pid() | undefined.
owner({Port, _, _}) ->
    case erlang:port_info(Port, connected) of
        {connected, Owner} -> Owner;
        undefined -> undefined
    end.

%% Write a bundle of a stream that has handed over so much before. Waits where the port is busy, as port_command/2 does.
-spec write(outrider_protocol:bundle(), handed(), collector()) -> {ok, handed()} | {error, closed}.
write(Bundle, Handed, Collector = {Port, _, _}) ->
    case is_direct(Handed, Collector) of
        true ->
            direct(Bundle, Port);
        false ->
            case iolist_size(Bundle) of
                Size when Size < ?LARGE_BYTES -> write_small([Size | Bundle], Collector);
                _ -> write_large(Bundle, Handed, Collector)
            end
    end.

write_small(Sized, {_, Pid, Atomics}) ->
    Pid ! Sized,
    case atomics:get(Atomics, ?WORD) of
        Word when Word >= ?CLOSED -> {error, closed};
        Word when Word band ?BEHIND =:= 0 -> {ok, handed(Word)};
        _ -> written(Pid, infinity)
    end.

write_large(Bundle, Handed, {Port, Pid, Atomics}) ->
    case atomics:get(Atomics, ?WORD) >= Handed orelse written(Pid, infinity) of
        {error, closed} = Error -> Error;
        _ -> direct(Bundle, Port)
    end.

%% The same for what ends a stream or costs no window: whether it arrives makes no difference.
-spec write_last(outrider_protocol:bundle(), handed(), collector()) -> handed().
write_last(Bundle, Handed, Collector = {Port, _, _}) ->
    case is_direct(Handed, Collector) of
        true ->
            _ = direct(Bundle, Port),
            0;
        false ->
            hand_over(Bundle, Collector)
    end.

%% Hand a bundle over in any case, and do not wait.
-spec hand_over(outrider_protocol:bundle(), collector()) -> handed().
hand_over(Bundle, {_, Pid, Atomics}) ->
    Pid ! [iolist_size(Bundle) | Bundle],
    handed(atomics:get(Atomics, ?WORD)).

%% The same for one command, of a stream or to the sidecar itself (0).
-spec order(non_neg_integer(), Command :: term(), collector()) -> ok.
order(Stream, Command, Collector) ->
    _ = hand_over(outrider_protocol:bundle(Stream, [Command]), Collector),
    ok.

%% Wait until what the calling process has handed over is in the port, or lost with it.
-spec settle(handed(), collector()) -> ok.
settle(0, _) ->
    ok;
settle(Handed, {_, Pid, Atomics}) ->
    _ = atomics:get(Atomics, ?WORD) >= Handed orelse written(Pid, infinity),
    ok.

%% Wait until all that was handed over before is in the port, at most twice so long.
-spec flush(timeout(), collector()) -> ok.
flush(Timeout, {_, Pid, _}) ->
    %% Messages of different senders can overtake each other while they are taken in. What was there before the first order has
    %% been taken in when that is answered.
    _ = written(Pid, Timeout),
    _ = written(Pid, Timeout),
    ok.

is_direct(Handed, {_, _, Atomics}) ->
    %% The word last: while the VM is busy, its cache line is.
    erlang:statistics(total_run_queue_lengths) < ?BUSY_PROCESSES andalso atomics:get(Atomics, ?WORD) >= Handed.

%% The word was read after the message was there: any round that begins after that takes it.
handed(Word) when Word >= ?CLOSED -> 0;
handed(Word) when Word band ?ROUND =:= 0 -> (Word band -?ROUND) + 2 * ?ROUND;
handed(Word) -> (Word band -?ROUND) + 3 * ?ROUND.

direct(Bundle, Port) ->
    try erlang:port_command(Port, outrider_protocol:packet(1, Bundle)) of
        true -> {ok, 0}
    catch
        error:badarg -> {error, closed}
    end.

written(Pid, Timeout) ->
    Monitor = monitor(process, Pid),
    Pid ! {written, self(), Monitor},
    receive
        {written, Monitor} ->
            demonitor(Monitor, [flush]),
            {ok, 0};
        {'DOWN', Monitor, process, _, _} ->
            {error, closed}
    after Timeout ->
        demonitor(Monitor, [flush]),
        {error, closed}
    end.

%% The process.

-record(collector, {
    owner :: pid(),
    port :: port(),
    atomics :: atomics:atomics_ref(),
    %% The open packet: how many bundles, their bytes, and they themselves, last first.
    count = 0 :: non_neg_integer(),
    bytes = 0 :: non_neg_integer(),
    bundles = [] :: [outrider_protocol:bundle()],
    %% Who is to be told when it has been written.
    waiting = [] :: [{pid(), reference()}]
}).

-spec init(pid(), port(), atomics:atomics_ref()) -> no_return().
init(Owner, Port, Atomics) ->
    process_flag(trap_exit, true),
    _ = monitor(port, Port),
    loop(#collector{owner = Owner, port = Port, atomics = Atomics}).

%% Between two rounds.
-spec loop(#collector{}) -> no_return().
loop(C = #collector{atomics = Atomics}) ->
    receive
        Message ->
            ok = atomics:add(Atomics, ?WORD, ?ROUND),
            message(Message, C)
    after ?IDLE_MS ->
        proc_lib:hibernate(?MODULE, loop, [C])
    end.

%% Within a round.
take(C) ->
    receive
        Message -> message(Message, C)
    after 0 ->
        Next = #collector{atomics = Atomics} = packet(C),
        ok = atomics:put(Atomics, ?WORD, rounds(Atomics) + ?ROUND),
        ?MODULE:loop(Next)
    end.

message([Added | Bundle], C = #collector{count = Count, bytes = Bytes, bundles = Bundles}) ->
    case Bytes + Added of
        Size when Size < ?PACKET_BYTES, Count + 1 < ?PACKET_BUNDLES ->
            take(C#collector{count = Count + 1, bytes = Size, bundles = [Bundle | Bundles]});
        Size when Size =< 2 * ?PACKET_BYTES ->
            take(look_behind(packet(C#collector{count = Count + 1, bundles = [Bundle | Bundles]})));
        %% A large one is a packet of its own.
        _ ->
            take(look_behind(packet((packet(C))#collector{count = 1, bundles = [Bundle]})))
    end;
message({written, Pid, Tag}, C = #collector{waiting = Waiting}) ->
    take(C#collector{waiting = [{Pid, Tag} | Waiting]});
message({'DOWN', _, port, Port, _}, C = #collector{port = Port}) ->
    closed(C);
%% Its end closes the port.
message({'EXIT', Owner, _}, C = #collector{owner = Owner}) ->
    closed(C);
message(_, C) ->
    take(C).

%% Write the open packet, and open another one.
packet(C = #collector{waiting = Waiting}) ->
    ok = write(C),
    _ = [Pid ! {written, Tag} || {Pid, Tag} <- Waiting],
    C#collector{count = 0, bytes = 0, bundles = [], waiting = []}.

write(#collector{count = 0}) ->
    ok;
write(C = #collector{port = Port, count = Count, bundles = Bundles}) ->
    Packet = outrider_protocol:packet(Count, lists:reverse(Bundles)),
    try
        erlang:port_command(Port, Packet, [nosuspend]) orelse wait_and_write(Packet, C)
    of
        true -> ok
    catch
        error:badarg -> closed(C)
    end.

wait_and_write(Packet, #collector{port = Port, atomics = Atomics}) ->
    ok = atomics:put(Atomics, ?WORD, rounds(Atomics) + ?BEHIND),
    erlang:port_command(Port, Packet).

look_behind(C = #collector{atomics = Atomics}) ->
    Behind =
        case process_info(self(), message_queue_len) of
            {message_queue_len, Length} when Length > ?BEHIND_MESSAGES -> ?BEHIND;
            _ -> 0
        end,
    ok = atomics:put(Atomics, ?WORD, rounds(Atomics) + Behind),
    C.

-spec closed(#collector{}) -> no_return().
closed(#collector{atomics = Atomics}) ->
    ok = atomics:put(Atomics, ?WORD, ?CLOSED),
    exit(normal).

rounds(Atomics) ->
    atomics:get(Atomics, ?WORD) band -?ROUND.
