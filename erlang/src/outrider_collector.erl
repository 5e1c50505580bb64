%%% The last step of the way to a sidecar: from many streams' processes to one port, in few packets where many write at once.
%%%
%%% Writing to a port costs a system call, and a lock for which all of its writers contend. So while the VM has more to do
%%% than schedulers to do it, streams hand their bundles over to this process, which makes packets of what has come until it
%%% is its turn. While nobody waits for a scheduler, a stream writes to the port itself: a hop would cost time and save
%%% nothing. The same for a while after a round that had few bundles: the VM is busy with something else, and whoever waits
%%% for the collector waits for that once more. See docs/decisions/0006-collected-packets.md.
%%%
%%% One process for each sidecar, linked to outrider_sidecar. What a stream writes stays in order: after a bundle that it has
%%% handed over it writes itself only when that one is in the port. It knows by the collector's rounds: a round begins with a
%%% message, ends when there are no more, and is counted at both ends, so that the count is odd within a round.
%%%
%%% When the port has closed, streams write themselves again, and learn of it.
%%%
%%% What piles up here is what streams hand over within one turn of the schedulers, small bundles only: a collector that is
%%% behind, because the port is busy or the VM is, says so, and whoever hands something over then waits until it has been
%%% written.
-module(outrider_collector).

-export([start_link/1, write/3, write_last/3, hand_over/2, flush/2]).
-export([init/2, loop/2]).
-export_type([collector/0, handed/0]).

%% A packet is closed when it has so many bytes, or bundles.
-define(PACKET_BYTES, 65536).
-define(PACKET_BUNDLES, 256).
%% To write so many bytes costs more than the call, and to let them wait costs memory: a stream writes them itself.
-define(LARGE_BYTES, 4096).
%% So many messages that wait at the end of a packet are too many.
-define(BEHIND_MESSAGES, 4096).
%% A round of fewer bundles than this was not worth it; for so long the streams write themselves.
-define(WORTH_BUNDLES, 4).
-define(PAUSE_MS, 10).
%% After so long without a bundle it gives back its memory.
-define(IDLE_MS, 1000).

%% The atomics' only word, which nobody else writes: the count of rounds above two bits.
-define(WORD, 1).
-define(BEHIND, 1).
-define(PAUSED, 2).
-define(ROUND, 4).
%% The port has closed: all that was handed over is done with, and nothing is handed over any more.
-define(CLOSED, (1 bsl 62) bor ?PAUSED).

-opaque collector() :: {port(), pid(), atomics:atomics_ref()}.

%% The word from which on all that a stream has handed over is in the port; 0 where that is nothing.
-type handed() :: non_neg_integer().

%% To be called by the port's owner.
-spec start_link(port()) -> collector().
start_link(Port) ->
    State = atomics:new(1, []),
    %% What it holds goes within a round: a generation that is kept would hold payloads for long.
    Options = [link, {message_queue_data, off_heap}, {fullsweep_after, 0}],
    {Port, proc_lib:spawn_opt(?MODULE, init, [Port, State], Options), State}.

%% Write a bundle of a stream that has handed over so much before. Waits where the port is busy, as port_command/2 does.
-spec write(outrider_protocol:bundle(), handed(), collector()) -> {ok, handed()} | {error, closed}.
write(Bundle, Handed, Collector = {Port, _, _}) ->
    case is_direct(Handed, Collector) of
        true ->
            direct(Bundle, Port);
        false ->
            case iolist_size(Bundle) < ?LARGE_BYTES of
                true -> write_small(Bundle, Collector);
                false -> write_large(Bundle, Handed, Collector)
            end
    end.

write_small(Bundle, {_, Pid, State}) ->
    Pid ! Bundle,
    case atomics:get(State, ?WORD) of
        Word when Word band ?BEHIND =:= 0 -> {ok, handed(Word)};
        _ -> written(Pid, infinity)
    end.

write_large(Bundle, Handed, {Port, Pid, State}) ->
    case atomics:get(State, ?WORD) >= Handed orelse written(Pid, infinity) of
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

%% Hand a bundle over in any case, behind what any stream has handed over before, and do not wait.
-spec hand_over(outrider_protocol:bundle(), collector()) -> handed().
hand_over(Bundle, {_, Pid, State}) ->
    Pid ! Bundle,
    handed(atomics:get(State, ?WORD)).

%% Wait until all that was handed over before is in the port, at most so long.
-spec flush(timeout(), collector()) -> ok.
flush(Timeout, {_, Pid, _}) ->
    _ = written(Pid, Timeout),
    ok.

is_direct(Handed, {_, _, State}) ->
    Word = atomics:get(State, ?WORD),
    Word >= Handed andalso (Word band ?PAUSED =/= 0 orelse erlang:statistics(total_run_queue_lengths) =:= 0).

%% The word was read after the message was there: any round that begins after that takes it.
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

-spec init(port(), atomics:atomics_ref()) -> no_return().
init(Port, State) ->
    process_flag(trap_exit, true),
    _ = monitor(port, Port),
    loop(Port, State).

%% Between two rounds.
-spec loop(port(), atomics:atomics_ref()) -> no_return().
loop(Port, State) ->
    receive
        Message -> begin_round(Message, Port, State)
    after ?IDLE_MS ->
        proc_lib:hibernate(?MODULE, loop, [Port, State])
    end.

pause(Port, State) ->
    receive
        Message -> begin_round(Message, Port, State)
    after ?PAUSE_MS ->
        ok = atomics:put(State, ?WORD, rounds(State)),
        loop(Port, State)
    end.

begin_round(Message, Port, State) ->
    ok = atomics:add(State, ?WORD, ?ROUND),
    message(Message, 0, {0, 0, []}, Port, State).

%% Written: the bundles in this round's packets so far. Open: those of the next one; how many, their bytes, and they
%% themselves, last first.
round(Written, {Count, _, _} = Open, Port, State) ->
    receive
        Message -> message(Message, Written, Open, Port, State)
    after 0 ->
        ok = packet(Open, Port, State),
        case Written + Count < ?WORTH_BUNDLES of
            true ->
                ok = atomics:put(State, ?WORD, rounds(State) + ?ROUND + ?PAUSED),
                pause(Port, State);
            false ->
                ok = atomics:put(State, ?WORD, rounds(State) + ?ROUND),
                loop(Port, State)
        end
    end.

message({written, Pid, Tag}, Written, {Count, _, _} = Open, Port, State) ->
    ok = packet(Open, Port, State),
    Pid ! {written, Tag},
    round(Written + Count, {0, 0, []}, Port, State);
%% The port has closed; or the port's owner ends, which closes it.
message(End, _, _, _, State) when element(1, End) =:= 'DOWN'; element(1, End) =:= 'EXIT' ->
    closed(State);
message(Bundle, Written, {Count, Bytes, Bundles} = Open, Port, State) ->
    case Bytes + iolist_size(Bundle) of
        Size when Size < ?PACKET_BYTES, Count + 1 < ?PACKET_BUNDLES ->
            round(Written, {Count + 1, Size, [Bundle | Bundles]}, Port, State);
        Size when Size =< 2 * ?PACKET_BYTES ->
            ok = packet({Count + 1, Size, [Bundle | Bundles]}, Port, State),
            ok = watch_mailbox(State),
            round(Written + Count + 1, {0, 0, []}, Port, State);
        %% A large one is a packet of its own.
        Size ->
            ok = packet(Open, Port, State),
            ok = packet({1, Size - Bytes, [Bundle]}, Port, State),
            ok = watch_mailbox(State),
            round(Written + Count + 1, {0, 0, []}, Port, State)
    end.

packet({0, _, []}, _, _) ->
    ok;
packet({Count, _, Bundles}, Port, State) ->
    Packet = outrider_protocol:packet(Count, lists:reverse(Bundles)),
    try
        erlang:port_command(Port, Packet, [nosuspend]) orelse wait_and_write(Packet, Port, State)
    of
        true -> ok
    catch
        error:badarg -> closed(State)
    end.

wait_and_write(Packet, Port, State) ->
    ok = behind(State),
    erlang:port_command(Port, Packet).

watch_mailbox(State) ->
    case process_info(self(), message_queue_len) of
        {message_queue_len, Length} when Length > ?BEHIND_MESSAGES -> behind(State);
        _ -> ok
    end.

%% Until the end of this round.
behind(State) ->
    atomics:put(State, ?WORD, atomics:get(State, ?WORD) bor ?BEHIND).

-spec closed(atomics:atomics_ref()) -> no_return().
closed(State) ->
    ok = atomics:put(State, ?WORD, ?CLOSED),
    exit(normal).

rounds(State) ->
    atomics:get(State, ?WORD) band -?ROUND.
