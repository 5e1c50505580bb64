%%% The streams of one sidecar, from number to process: begins them, hands them their events, and knows what each is.
%%%
%%% Runs in the process of outrider_sidecar, which monitors each stream with its number as the tag (of a small integer the VM
%%% keeps no copy), and gives what comes of that to down/4. Events of a stream go to its process as {Port, Event}; those of the
%%% sidecar itself, with the number 0, go back to the caller.
%%%
%%% A process whose request is over is kept for the next one of its connection, for a second or two, or until the connection ends: it is
%%% then another stream's, but its monitor has the number of its first.
-module(outrider_streams).

-export([new/1, dispatch/2, dispatch_last/2, down/4, over/2, kept/4, sweep/1, upgraded/3, tell/2, untell/1, rest/1]).
-export([pid/2, pids/1, is_empty/1, count/1, brief/1]).
-export_type([streams/0]).

%% Events that go to a handler; all others are for the stream's process itself.
-define(IS_FRAME(Event),
    (is_atom(Event) orelse element(1, Event) =:= text orelse element(1, Event) =:= binary orelse
        element(1, Event) =:= part orelse element(1, Event) =:= ping orelse element(1, Event) =:= pong)
).

%% A client's end that comes of bytes it has sent, as its frames do, and that its handler hears of behind them.
-define(IS_ITS_END(Event),
    (element(1, Event) =:= closed andalso
        (element(2, Event) =:= remote orelse element(1, element(2, Event)) =:= remote orelse
            element(2, element(2, Event)) =:= badframe orelse element(2, element(2, Event)) =:= badencoding orelse
            element(2, element(2, Event)) =:= badsize))
).

%% What most requests need: a heap that need not grow, and whose garbage goes with it.
-define(REQUEST_WORDS, 1000).

%% No more processes than these are kept, and none for longer than two of these times.
-define(MOST_KEPT, 1000).
-define(SWEEP_MS, 1000).

-record(streams, {
    context :: outrider_context:context(),
    pids = #{} :: #{pos_integer() => pid()},
    %% The processes that are kept, by the number of the stream that they were last: each with that of its first, and how many sweeps
    %% there were before.
    kept = #{} :: #{pos_integer() => {pid(), First :: pos_integer(), Sweeps :: non_neg_integer()}},
    sweeps = 0 :: non_neg_integer(),
    %% The next sweep has its timer.
    is_to_sweep = false :: boolean(),
    %% The stream that a process is, or was last, by the number of its first, where that is another.
    last = #{} :: #{pos_integer() => pos_integer()},
    %% Which of them are not WebSockets (yet), to be counted. The others are the many.
    requests = #{} :: #{pos_integer() => []},
    %% Which of them are to be told of a drain, and the drain, once there is one.
    told = #{} :: #{pos_integer() => []},
    drain = none :: none | map(),
    accepted = 0 :: non_neg_integer(),
    %% What tells one state from another, at the last rest/1; and whether the process has collected since it became that.
    rested = {0, 0} :: {Accepted :: non_neg_integer(), Streams :: non_neg_integer()},
    is_collected = true :: boolean()
}).

-opaque streams() :: #streams{}.
-type events() :: [{Stream :: non_neg_integer(), Event :: term()}].

-spec new(outrider_context:context()) -> streams().
new(Context) ->
    #streams{context = Context}.

%% The events of one packet, each to its stream's process, in one pass. Returns those of the sidecar itself.
-spec dispatch(events(), streams()) -> {Own :: [term()], streams()}.
dispatch(Events, S = #streams{context = #{port := Port}, pids = Pids}) ->
    dispatch(Events, Port, Pids, [], S).

dispatch([], _Port, Pids, Own, S) ->
    {lists:reverse(Own), S#streams{pids = Pids}};
dispatch([{Stream, {request, Head, Before}} | Events], Port, Pids, Own, S0) ->
    {Pid, S} = begin_stream(Stream, Head, Before, S0),
    #streams{requests = Requests, accepted = Accepted} = S,
    Begun = S#streams{requests = Requests#{Stream => []}, accepted = Accepted + 1},
    dispatch(Events, Port, Pids#{Stream => Pid}, Own, Begun);
%% The process that its request has had may still be in the table: it has ended, or is about to.
dispatch([{Stream, {lazy, Bytes}} | Events], Port, Pids, Own, S = #streams{context = Context, accepted = Accepted}) ->
    {Pid, _} = proc_lib:spawn_opt(outrider_lazy, start, [Context, Stream, Bytes], [{monitor, [{tag, Stream}]}]),
    dispatch(Events, Port, Pids#{Stream => Pid}, Own, S#streams{accepted = Accepted + 1});
dispatch([{0, Event} | Events], Port, Pids, Own, S) ->
    dispatch(Events, Port, Pids, [Event | Own], S);
dispatch([{Stream, First}, {Stream, Second} | Events0], Port, Pids, Own, S) when
    ?IS_FRAME(First), ?IS_FRAME(Second) orelse ?IS_ITS_END(Second)
->
    %% What was read together arrives together: no message of the handler to itself can come between.
    {Frames, Events} = frames(Stream, Events0, [Second, First]),
    send(Pids, Stream, {Port, Frames}),
    dispatch(Events, Port, Pids, Own, S);
dispatch([{Stream, gone} | Events], Port, Pids, Own, S) ->
    dispatch(Events, Port, Pids, Own, gone(Stream, S));
dispatch([{Stream, Event} | Events], Port, Pids, Own, S) ->
    send(Pids, Stream, {Port, Event}),
    dispatch(Events, Port, Pids, Own, S).

begin_stream(Stream, Head, Before, S = #streams{context = #{port := Port}, kept = Kept, last = Last}) ->
    case Kept of
        #{Before := {Pid, First, _}} ->
            Pid ! {Port, {request, Stream, Head}},
            {Pid, S#streams{kept = maps:remove(Before, Kept), last = Last#{First => Stream}}};
        #{} ->
            spawn_stream(Stream, Head, S)
    end.

%% The connection of a process that is kept has ended. What has not yet said that it is to be kept leaves with a sweep.
gone(Stream, S = #streams{context = #{port := Port}, kept = Kept}) ->
    case Kept of
        #{Stream := {Pid, _, _}} ->
            false = leave(Pid, Port),
            S#streams{kept = maps:remove(Stream, Kept)};
        #{} ->
            S
    end.

spawn_stream(Stream, Head, S = #streams{context = Context}) ->
    Options = [{monitor, [{tag, Stream}]}, {min_heap_size, ?REQUEST_WORDS}],
    {Pid, _} = proc_lib:spawn_opt(outrider_stream, start, [Context, Stream, Head], Options),
    {Pid, S}.

%% An event of a stream that is over finds no process: it crossed the stream's end on its way.
send(Pids, Stream, Message) ->
    case Pids of
        #{Stream := Pid} ->
            Pid ! Message,
            ok;
        #{} ->
            ok
    end.

frames(Stream, [{Stream, Frame} | Events], Frames) when ?IS_FRAME(Frame) orelse ?IS_ITS_END(Frame) ->
    frames(Stream, Events, [Frame | Frames]);
frames(_, Events, Frames) ->
    {lists:reverse(Frames), Events}.

%% The same, but nothing new is begun: the connection of a new request is closed, and a lazy WebSocket as those that have begun.
-spec dispatch_last(events(), streams()) -> {Own :: [term()], streams()}.
dispatch_last(Events0, S) ->
    {New, Events} = lists:partition(fun is_new/1, Events0),
    ok = lists:foreach(fun(Event) -> refuse(Event, S) end, New),
    dispatch(Events, S).

is_new({_, {request, _, _}}) -> true;
is_new({_, {lazy, _}}) -> true;
is_new(_) -> false.

refuse({Stream, {request, _, _}}, S) -> abort(Stream, S);
refuse({Stream, {lazy, _}}, S) -> order(Stream, {close, 1001, <<>>}, S).

%% The process that has begun as the stream First is gone. A stream that ended by itself has told the sidecar to end it, too, and exits
%% normally or says that it is over. Any other left its client's connection open. A lazy WebSocket may have begun in another process
%% before the end of its request's is known here.
-spec down(First :: pos_integer(), pid(), Reason :: term(), streams()) -> streams().
down(First, Pid, Reason, S0 = #streams{pids = Pids, kept = Kept, last = Last}) ->
    Stream = maps:get(First, Last, First),
    S = S0#streams{kept = maps:remove(Stream, Kept), last = maps:remove(First, Last)},
    case Pids of
        #{Stream := Pid} ->
            _ = Reason =/= normal andalso abort(Stream, S),
            over(Stream, S);
        #{} ->
            upgraded(Stream, false, S)
    end.

%% A stream is over; its process may go on.
-spec over(pos_integer(), streams()) -> streams().
over(Stream, S = #streams{pids = Pids, requests = Requests, told = Told}) ->
    S#streams{
        pids = maps:remove(Stream, Pids), requests = maps:remove(Stream, Requests), told = maps:remove(Stream, Told)
    }.

%% A request is over, and its process, which has begun as the stream First, waits for the next one of its connection, until sweep/1
%% tells it to leave.
-spec kept(pos_integer(), First :: pos_integer(), pid(), streams()) -> streams().
kept(Stream, _, Pid, S = #streams{context = #{port := Port}, kept = Kept}) when map_size(Kept) >= ?MOST_KEPT ->
    false = leave(Pid, Port),
    over(Stream, S);
kept(Stream, First, Pid, S = #streams{kept = Kept, sweeps = Sweeps, is_to_sweep = IsToSweep}) ->
    _ = IsToSweep orelse erlang:send_after(?SWEEP_MS, self(), sweep),
    over(Stream, S#streams{kept = Kept#{Stream => {Pid, First, Sweeps}}, is_to_sweep = true}).

%% To be called at the message sweep.
-spec sweep(streams()) -> streams().
sweep(S = #streams{context = #{port := Port}, kept = Kept, sweeps = Sweeps}) ->
    Left = maps:filter(fun(_, {Pid, _, Since}) -> Since =:= Sweeps orelse leave(Pid, Port) end, Kept),
    IsToSweep = map_size(Left) > 0,
    _ = IsToSweep andalso erlang:send_after(?SWEEP_MS, self(), sweep),
    S#streams{kept = Left, sweeps = Sweeps + 1, is_to_sweep = IsToSweep}.

leave(Pid, Port) ->
    Pid ! {Port, leave},
    false.

abort(Stream, S) ->
    order(Stream, abort, S).

order(Stream, Command, #streams{context = #{collector := Collector}}) ->
    outrider_collector:order(Stream, Command, Collector).

%% A request has become a WebSocket, which wants to be told of a drain or not.
-spec upgraded(pos_integer(), IsTold :: boolean(), streams()) -> streams().
upgraded(Stream, false, S = #streams{requests = Requests}) ->
    S#streams{requests = maps:remove(Stream, Requests)};
upgraded(Stream, true, S0) ->
    S = #streams{pids = Pids, told = Told, drain = Drain} = upgraded(Stream, false, S0),
    _ = Drain =/= none andalso send(Pids, Stream, {outrider, drain, Drain}),
    S#streams{told = Told#{Stream => []}}.

%% Tell of a drain those that want to be told, now and after their upgrade, until untell/1.
-spec tell(map(), streams()) -> streams().
tell(Drain, S = #streams{pids = Pids, told = Told}) ->
    ok = lists:foreach(fun(Stream) -> send(Pids, Stream, {outrider, drain, Drain}) end, maps:keys(Told)),
    S#streams{drain = Drain}.

-spec untell(streams()) -> streams().
untell(S) ->
    S#streams{drain = none}.

%% To be called now and then: collects once when no stream has come or gone since the last time. What many of them have left
%% in the table's process, some 250 bytes each, would stay there for as long as nothing makes its heap grow.
-spec rest(streams()) -> streams().
rest(S = #streams{pids = Pids, accepted = Accepted, rested = Rested, is_collected = IsCollected}) ->
    case {Accepted, map_size(Pids)} of
        Rested when IsCollected ->
            S;
        Rested ->
            true = erlang:garbage_collect(),
            S#streams{is_collected = true};
        Now ->
            S#streams{rested = Now, is_collected = false}
    end.

%% The process of a stream that is there.
-spec pid(pos_integer(), streams()) -> pid() | undefined.
pid(Stream, #streams{pids = Pids}) ->
    maps:get(Stream, Pids, undefined).

-spec pids(streams()) -> [pid()].
pids(#streams{pids = Pids}) ->
    maps:values(Pids).

-spec is_empty(streams()) -> boolean().
is_empty(#streams{pids = Pids}) ->
    map_size(Pids) =:= 0.

-spec count(streams()) -> #{atom() => non_neg_integer()}.
count(#streams{pids = Pids, requests = Requests, accepted = Accepted}) ->
    #{all_connections => map_size(Pids), active_connections => map_size(Requests), accepted => Accepted}.

%% What a crash report may show, and has room for.
-spec brief(streams()) -> term().
brief(S) ->
    {streams, count(S)}.

-ifdef(TEST).
-include_lib("eunit/include/eunit.hrl").

-define(PORT, port).

told_to_leave(Pid) ->
    receive
        {Pid, left} -> true
    after 0 -> false
    end.

%% Says so when it is told to leave.
waiting() ->
    Test = self(),
    spawn_link(fun() ->
        receive
            {?PORT, leave} -> Test ! {self(), left};
            {?PORT, {request, _, _}} -> Test ! {self(), served}
        end
    end).

%% What the process of stream 1 gets of these events of one packet.
dispatched(Events) ->
    {[], _} = dispatch([{1, Event} || Event <- Events], #streams{context = #{port => ?PORT}, pids = #{1 => self()}}),
    received().

received() ->
    receive
        {?PORT, Event} -> [Event | received()]
    after 0 -> []
    end.

%% No message of the handler to itself can come between them.
frames_of_one_packet_arrive_together_and_with_the_end_that_the_client_makes_test() ->
    Frames = [{text, <<"1">>}, ping, {part, <<"2">>}],
    Ends = [remote, {remote, 1000, <<>>}, {error, badframe}, {error, badencoding}, {error, badsize}],
    [?assertEqual([Frames], dispatched(Frames)) | [
        ?assertEqual([Some ++ [{closed, End}]], dispatched(Some ++ [{closed, End}]))
     || End <- Ends, Some <- [Frames, [ping]]
    ]].

%% The client's loss, its silence and an operator's order find a process that takes no frame.
other_ends_arrive_alone_test() ->
    Frames = [ping, {text, <<"1">>}],
    [
        ?assertEqual([Frames, {closed, End}], dispatched(Frames ++ [{closed, End}]))
     || End <- [timeout, stop, {error, closed}, {error, timeout}, {error, backlog}]
    ],
    ?assertEqual([{closed, remote}, {stats, 1, 2, 3}], dispatched([{closed, remote}, {stats, 1, 2, 3}])),
    ?assertEqual([ping, {credit, 1}, {closed, remote}], dispatched([ping, {credit, 1}, {closed, remote}])).

no_more_than_a_thousand_are_kept_test() ->
    Pids = [waiting() || _ <- lists:seq(1, ?MOST_KEPT)],
    Numbered = lists:zip(lists:seq(1, ?MOST_KEPT), Pids),
    Keep = fun({Number, Pid}, S) -> kept(Number, Number, Pid, S) end,
    Full = lists:foldl(Keep, new(#{port => ?PORT}), Numbered),
    OneMore = waiting(),
    S = kept(?MOST_KEPT + 1, ?MOST_KEPT + 1, OneMore, Full),
    receive {OneMore, left} -> ok end,
    ?assertNot(lists:any(fun told_to_leave/1, Pids)),
    ?assertEqual(?MOST_KEPT, map_size(S#streams.kept)).

one_is_kept_for_one_sweep_and_leaves_at_the_second_test() ->
    Pid = waiting(),
    Once = sweep(kept(1, 1, Pid, new(#{port => ?PORT}))),
    ?assertEqual(1, map_size(Once#streams.kept)),
    Twice = sweep(Once),
    receive {Pid, left} -> ok end,
    ?assertEqual({#{}, false}, {Twice#streams.kept, Twice#streams.is_to_sweep}).

one_leaves_when_its_connection_has_ended_test() ->
    Pids = [One, Other] = [waiting(), waiting()],
    Kept = lists:foldl(fun({N, Pid}, S) -> kept(N, N, Pid, S) end, new(#{port => ?PORT}), lists:zip([1, 2], Pids)),
    {[], S} = dispatch([{3, gone}, {1, gone}], Kept),
    receive {One, left} -> ok end,
    ?assertNot(told_to_leave(Other)),
    ?assertEqual([2], maps:keys(S#streams.kept)).

a_process_serves_the_next_of_its_connection_alone_test() ->
    Pid = waiting(),
    Kept = kept(1, 1, Pid, new(#{port => ?PORT})),
    {[], S} = dispatch([{7, {request, head, 1}}], Kept),
    receive {Pid, served} -> ok end,
    ?assertEqual({Pid, #{}}, {pid(7, S), S#streams.kept}),
    %% Its monitor has the number of its first.
    #streams{pids = Pids, last = Last} = down(1, Pid, normal, S),
    ?assertEqual({#{}, #{}}, {Pids, Last}).

-endif.
