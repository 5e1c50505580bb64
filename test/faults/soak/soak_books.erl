%% What the clients of the soak and its faults write down: counters, one row for each WebSocket, one for each fault.
%%
%% A public table in the clients' VM; the handlers' books are the ledger in the server's.
-module(soak_books).

-export([open/0, is_over/0, set_over/1, now_ms/0, noise/1]).
-export([count/1, count/2, fault/3, wrong/1, ended/6]).
-export([counter/1, take_connections/0, wrong/0, losses/0, given_up/0, unexplained/0]).

%% These faults end connections; the others must not.
-define(BREAKING, [kill_sidecar, kill_owner, kill_streams_parent, kill_listener, kill_streams, close_port]).
%% How long after a fault a client may still be refused, or not be answered in its handshake.
-define(AFTERMATH_MS, 10000).
-define(LARGEST, 1048576).

-spec open() -> ok.
open() ->
    _ = ets:new(?MODULE, [named_table, public, {write_concurrency, true}, {decentralized_counters, true}]),
    persistent_term:put(?MODULE, {atomics:new(1, []), rand:bytes(?LARGEST)}).

-spec is_over() -> boolean().
is_over() ->
    {Over, _} = persistent_term:get(?MODULE),
    atomics:get(Over, 1) =:= 1.

-spec set_over(0 | 1) -> ok.
set_over(Value) ->
    {Over, _} = persistent_term:get(?MODULE),
    atomics:put(Over, 1, Value).

-spec now_ms() -> integer().
now_ms() ->
    erlang:monotonic_time(millisecond).

%% So many random bytes, always the same.
-spec noise(0..?LARGEST) -> binary().
noise(Size) ->
    {_, Noise} = persistent_term:get(?MODULE),
    binary:part(Noise, 0, Size).

-spec count(term()) -> ok.
count(What) ->
    count(What, 1).

-spec count(term(), integer()) -> ok.
count(What, N) ->
    _ = ets:update_counter(?MODULE, What, N, {What, 0}),
    ok.

-spec counter(term()) -> integer().
counter(What) ->
    case ets:lookup(?MODULE, What) of
        [{_, Count}] -> Count;
        [] -> 0
    end.

%% From Begin to End, or a little later, connections may be lost by it.
-spec fault(atom(), integer(), integer()) -> ok.
fault(Kind, Begin, End) ->
    count({fault, Kind}),
    true = ets:insert(?MODULE, {{fault_at, Begin, make_ref()}, Kind, End}),
    ok.

%% Something that must never be.
-spec wrong(term()) -> ok.
wrong(What) ->
    true = ets:insert(?MODULE, {{wrong, make_ref()}, What}),
    ok.

-spec wrong() -> [term()].
wrong() ->
    [What || [What] <- ets:match(?MODULE, {{wrong, '_'}, '$1'})].

%% The end of a client's connection, as it wanted it (`planned') or not.
-spec ended(atom(), binary(), non_neg_integer(), non_neg_integer(), integer(), term()) -> ok.
ended(Kind, Name, Asked, Answered, Begin, End) ->
    true = ets:insert(?MODULE, {{connection, Name}, Asked, Answered, Kind, Begin, now_ms(), End, new}),
    ok.

%% The WebSockets since the last time, for the ledger.
-spec take_connections() -> [ledger:connection()].
take_connections() ->
    [begin
        true = ets:update_element(?MODULE, Key, {8, taken}),
        {Name, Asked, Answered}
    end || {{connection, Name} = Key, Asked, Answered, Kind, _, _, _, new} <- ets:tab2list(?MODULE),
        lists:member(Kind, [talk, slow, misbehave, vanish])].

%% What was asked and not answered by the end that the client wanted. Only those that vanish may have such.
-spec given_up() -> non_neg_integer().
given_up() ->
    lists:sum([Asked - Answered || {{connection, _}, Asked, Answered, _, _, _, planned, _} <- ets:tab2list(?MODULE)]).

%% Connections that ended against their client's will, each with the fault that was the last before its end:
%% `#{Fault => {Connections, Messages not answered}}'.
-spec losses() -> #{atom() => {pos_integer(), non_neg_integer()}}.
losses() ->
    lists:foldl(fun({Fault, Asked, Answered, _}, Losses) ->
        maps:update_with(Fault, fun({N, M}) -> {N + 1, M + Asked - Answered} end, {1, Asked - Answered}, Losses)
    end, #{}, lost()).

%% Those for which there was none, in their time, that may end a connection; and those that their client ended in peace,
%% without all of its answers.
-spec unexplained() -> [term()].
unexplained() ->
    [Row || {nothing, _, _, Row} <- lost()] ++
        [Row || {{connection, _}, Asked, Answered, Kind, _, _, planned, _} = Row <- ets:tab2list(?MODULE),
            Kind =/= vanish, Asked =/= Answered].

lost() ->
    Faults = [{Begin, Kind} || {{fault_at, Begin, _}, Kind, _} <- lists:sort(ets:tab2list(?MODULE)),
        lists:member(Kind, ?BREAKING)],
    Suspensions = [{Begin, suspend, End} || {{fault_at, Begin, _}, suspend, End} <- ets:tab2list(?MODULE)],
    [{cause(Row, Faults, Suspensions), Asked, Answered, Row}
     || {{connection, _}, Asked, Answered, _, _, _, End, _} = Row <- ets:tab2list(?MODULE), End =/= planned].

%% A listener that stops listening refuses clients, and resets those that the kernel had taken in for it.
cause({_, Asked, _, _, Begin, End, Why, _}, Faults, Suspensions) ->
    During = [Kind || {At, Kind} <- Faults, At =< End, At >= Begin - ?AFTERMATH_MS],
    Suspended = [suspend || {From, _, To} <- Suspensions, Asked =:= 0, From =< End, To + 1000 >= Begin],
    case {Why, During, Suspended} of
        {hung, _, _} -> nothing;
        {_, [_ | _], _} -> lists:last(During);
        {_, [], [_ | _]} -> suspend;
        {_, [], []} -> nothing
    end.
