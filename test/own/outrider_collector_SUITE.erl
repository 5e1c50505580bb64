%% The process that makes few packets of many streams' bundles, before a real port: cat, which sends back what it reads.
%%
%% Which way a stream writes depends on what else the VM has to do: `busy/1' runs processes that never end, so that several
%% wait for a scheduler at any time. What is to come together is handed over while the collector is suspended.
-module(outrider_collector_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([each_streams_bundles_stay_in_order_whichever_way_they_go/1, a_stream_alone_writes_to_the_port_itself/1]).
-export([bundles_that_come_together_are_a_packet_of_up_to_256/1, bundles_that_come_together_are_a_packet_of_64_kib/1]).
-export([a_large_bundle_is_a_packet_of_its_own/1, what_is_none_of_its_messages_changes_nothing/1]).
-export([whoever_writes_to_a_busy_port_waits_and_loses_nothing/1, what_was_handed_over_is_in_the_port_after_a_flush/1]).
-export([a_large_bundle_is_written_by_its_stream_behind_what_it_has_handed_over/1]).
-export([a_flush_does_not_wait_for_ever/1, a_stream_that_dies_has_written_what_it_has_handed_over/1]).
-export([the_end_of_the_port_is_told_to_those_who_wait_and_to_those_who_come/1]).

-include_lib("common_test/include/ct.hrl").

-define(BUSY_LIMIT, 65536).
%% Where a packet ends.
-define(BYTES, 65536).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(_, Config) ->
    ct:timetrap({seconds, 30}),
    Limits = {?BUSY_LIMIT, ?BUSY_LIMIT},
    Port = open_port({spawn_executable, os:find_executable("cat")}, [
        {packet, 4}, binary, use_stdio, {busy_limits_port, Limits}, {busy_limits_msgq, Limits}
    ]),
    {os_pid, OsPid} = erlang:port_info(Port, os_pid),
    {links, Before} = process_info(self(), links),
    Collector = outrider_collector:start_link(Port),
    {links, After} = process_info(self(), links),
    [Pid] = After -- Before,
    [{port, Port}, {os_pid, OsPid}, {collector, Collector}, {pid, Pid} | Config].

end_per_testcase(_, _) ->
    ok.

each_streams_bundles_stay_in_order_whichever_way_they_go(Config) ->
    {Streams, Each} = {20, 500},
    Load = spawn_link(fun come_and_go/0),
    Write = fun(Stream) -> fun() -> write_all(Stream, lists:seq(1, Each), 0, Config) end end,
    Writers = [spawn_monitor(Write(Stream)) || Stream <- lists:seq(1, Streams)],
    Bundles = lists:append(packets(Streams * Each, Config)),
    unlink(Load),
    exit(Load, kill),
    _ = [receive {'DOWN', Monitor, process, _, normal} -> ok end || {_, Monitor} <- Writers],
    Numbers = lists:seq(1, Each),
    [] = [Stream || Stream <- lists:seq(1, Streams), [N || {S, [{credit, N}]} <- Bundles, S =:= Stream] =/= Numbers].

a_stream_alone_writes_to_the_port_itself(Config) ->
    true = erlang:suspend_process(?config(pid, Config)),
    %% Now and then some process of the VM has something to do, too.
    ok = os_process:until(fun() -> outrider_collector:write(bundle(1, 1), 0, ?config(collector, Config)) =:= {ok, 0} end),
    [[{1, [{credit, 1}]}]] = packets(1, Config).

bundles_that_come_together_are_a_packet_of_up_to_256(Config) ->
    Cases = [{1, [1]}, {255, [255]}, {256, [256]}, {257, [256, 1]}, {600, [256, 256, 88]}],
    Cases = [{Count, sizes([bundle(N, N) || N <- lists:seq(1, Count)], Config)} || {Count, _} <- Cases].

bundles_that_come_together_are_a_packet_of_64_kib(Config) ->
    Half = sized(?BYTES div 2),
    Sizes = [{sized(Size), sizes([Half, sized(Size), Half], Config)} || Size <- [?BYTES div 2 - 1, ?BYTES div 2]],
    [[3], [2, 1]] = [S || {_, S} <- Sizes].

a_large_bundle_is_a_packet_of_its_own(Config) ->
    [1, 1, 1] = sizes([sized(100), sized(2 * ?BYTES), sized(100)], Config),
    %% The largest that there is.
    Most = 16#1000000 - 7,
    [1, 1, 1] = sizes([sized(?BYTES - 1), sized(Most), sized(?BYTES - 1)], Config).

what_is_none_of_its_messages_changes_nothing(Config) ->
    Pid = ?config(pid, Config),
    Collector = ?config(collector, Config),
    Strays = [stray, {a, tuple}, {system, {self(), make_ref()}, get_state}, {'DOWN', make_ref(), process, self(), normal},
        {'EXIT', spawn(fun() -> ok end), normal}],
    _ = [Pid ! Stray || Stray <- Strays],
    {Other, Monitor} = spawn_monitor(fun() -> exit(Pid, normal) end),
    receive {'DOWN', Monitor, process, Other, normal} -> ok end,
    _ = outrider_collector:hand_over(bundle(1, 1), Collector),
    ok = outrider_collector:flush(infinity, Collector),
    [[{1, [{credit, 1}]}]] = packets(1, Config).

whoever_writes_to_a_busy_port_waits_and_loses_nothing(Config) ->
    Pid = ?config(pid, Config),
    Small = sized(2000),
    Write = fun(Count) -> spawn_monitor(fun() -> write_all(1, lists:duplicate(Count, Small), 0, Config) end) end,
    ok = os_process:signal(?config(os_pid, Config), "STOP"),
    busy(fun() ->
        %% More than the pipe and the port's queue hold.
        First = Write(1000),
        ok = os_process:until(fun() -> process_info(Pid, status) =:= {status, suspended} end),
        Late = [Write(100) || _ <- lists:seq(1, 10)],
        ok = os_process:until(fun() -> lists:all(fun is_waiting/1, Late) end),
        ok = os_process:signal(?config(os_pid, Config), "CONT"),
        2000 = length(lists:append(packets(2000, Config))),
        _ = [receive {'DOWN', Monitor, process, _, normal} -> ok end || {_, Monitor} <- [First | Late]]
    end),
    {ok, _} = outrider_collector:write(bundle(1, 1), 0, ?config(collector, Config)).

a_large_bundle_is_written_by_its_stream_behind_what_it_has_handed_over(Config) ->
    Collector = ?config(collector, Config),
    busy(fun() ->
        Handed = outrider_collector:hand_over(bundle(1, 1), Collector),
        {ok, 0} = outrider_collector:write(sized(4096), Handed, Collector),
        {ok, _} = outrider_collector:write(sized(4095), 0, Collector)
    end),
    [[{1, [{credit, 1}]}], [{1, [{part, _}]}], [{1, [{part, _}]}]] = packets(3, Config).

what_was_handed_over_is_in_the_port_after_a_flush(Config) ->
    Collector = ?config(collector, Config),
    _ = [outrider_collector:hand_over(bundle(1, N), Collector) || N <- lists:seq(1, 1000)],
    ok = outrider_collector:flush(infinity, Collector),
    {message_queue_len, 0} = process_info(?config(pid, Config), message_queue_len),
    {ok, _} = outrider_collector:write(bundle(1, 1001), 0, Collector),
    Numbers = [N || {1, [{credit, N}]} <- lists:append(packets(1001, Config))],
    Numbers = lists:seq(1, 1001).

a_flush_does_not_wait_for_ever(Config) ->
    true = erlang:suspend_process(?config(pid, Config)),
    ok = outrider_collector:flush(10, ?config(collector, Config)).

a_stream_that_dies_has_written_what_it_has_handed_over(Config) ->
    Collector = ?config(collector, Config),
    true = erlang:suspend_process(?config(pid, Config)),
    {Stream, Monitor} = spawn_monitor(fun() ->
        _ = outrider_collector:hand_over(bundle(1, 1), Collector),
        exit(self(), kill)
    end),
    receive {'DOWN', Monitor, process, Stream, killed} -> ok end,
    _ = outrider_collector:hand_over(bundle(1, 2), Collector),
    true = erlang:resume_process(?config(pid, Config)),
    [{1, [{credit, 1}]}, {1, [{credit, 2}]}] = lists:append(packets(2, Config)).

the_end_of_the_port_is_told_to_those_who_wait_and_to_those_who_come(Config) ->
    Collector = ?config(collector, Config),
    Pid = ?config(pid, Config),
    Monitor = monitor(process, Pid),
    %% Its exit signal is not our matter; newer VMs send one whose reason is not `normal'.
    true = unlink(?config(port, Config)),
    ok = os_process:signal(?config(os_pid, Config), "STOP"),
    busy(fun() ->
        Waiting = [spawn_monitor(fun() -> exit(fill(sized(2000), 0, Collector)) end) || _ <- [1, 2, 3]],
        ok = os_process:until(fun() -> lists:all(fun is_waiting/1, Waiting) end),
        ok = os_process:signal(?config(os_pid, Config), "KILL"),
        _ = [receive {'DOWN', M, process, _, Reason} -> {error, closed} = Reason end || {_, M} <- Waiting],
        receive {'DOWN', Monitor, process, Pid, normal} -> ok end,
        _ = [{error, closed} = outrider_collector:write(bundle(1, 1), Handed, Collector) || Handed <- [0, 1 bsl 20]],
        0 = outrider_collector:write_last(bundle(1, 1), 1 bsl 20, Collector)
    end).

%% The bundle {Stream, [{credit, N}]}, and one of so many bytes.

bundle(Stream, N) when is_integer(N) ->
    outrider_protocol:bundle(Stream, [{credit, N}]);
bundle(_, Bundle) ->
    Bundle.

sized(Size) ->
    Around = iolist_size(outrider_protocol:bundle(1, [{part, <<>>}])),
    outrider_protocol:bundle(1, [{part, <<0:(8 * (Size - Around))>>}]).

write_all(_, [], _, _) ->
    ok;
write_all(Stream, [Bundle | Bundles], Handed0, Config) ->
    {ok, Handed} = outrider_collector:write(bundle(Stream, Bundle), Handed0, ?config(collector, Config)),
    write_all(Stream, Bundles, Handed, Config).

%% Writes until that fails.
fill(Bundle, Handed0, Collector) ->
    case outrider_collector:write(Bundle, Handed0, Collector) of
        {ok, Handed} -> fill(Bundle, Handed, Collector);
        {error, _} = Error -> Error
    end.

%% How many bundles each packet has that the collector makes of these, which all are there when it begins.
sizes(Bundles, Config) ->
    Pid = ?config(pid, Config),
    true = erlang:suspend_process(Pid),
    _ = [outrider_collector:hand_over(Bundle, ?config(collector, Config)) || Bundle <- Bundles],
    true = erlang:resume_process(Pid),
    [length(Packet) || Packet <- packets(length(Bundles), Config)].

%% The packets that hold so many bundles.
packets(Count, _) when Count =< 0 ->
    [];
packets(Count, Config) ->
    Port = ?config(port, Config),
    receive
        {Port, {data, Packet}} ->
            Bundles = binary_to_term(Packet),
            [Bundles | packets(Count - length(Bundles), Config)]
    end.

%% For the collector, or for the port itself.
is_waiting({Pid, _}) ->
    {status, Status} = process_info(Pid, status),
    Status =:= waiting orelse Status =:= suspended.

busy(Fun) ->
    Loads = [spawn_link(fun turn/0) || _ <- lists:seq(1, 8 + erlang:system_info(schedulers_online))],
    Fun(),
    _ = [begin unlink(Load), exit(Load, kill) end || Load <- Loads],
    ok.

turn() -> turn().

come_and_go() ->
    busy(fun() -> receive after 5 -> ok end end),
    receive after 5 -> come_and_go() end.
