%% The books of what handlers did, to be held against what their clients saw: a public table, one row for each WebSocket.
%%
%% A handler (ws_ledger_h) enters that it has begun, each message before it answers it, and its terminate/3. The
%% ledger's own process watches it, because only the way a process ended tells whether it could be asked to terminate.
-module(ledger).

-export([open/0, close/0, begun/1, handled/2, terminated/2, rows/0, settle/0, audit/1]).

-export_type([row/0, connection/0]).

%% Name, callbacks of websocket_init and of terminate/3, messages handled, terminate's reason or `none', how the process
%% ended or `running'.
-type row() :: {binary(), Begun :: pos_integer(), Terminated :: non_neg_integer(), Handled :: non_neg_integer(),
    Reason :: term(), Exit :: term()}.
%% A client's view of one connection: what it sent whole, and the answers it got.
-type connection() :: {Name :: binary(), Asked :: non_neg_integer(), Answered :: non_neg_integer()}.

-define(BEGUN, 2).
-define(TERMINATED, 3).
-define(HANDLED, 4).
-define(REASON, 5).
-define(EXIT, 6).

-spec open() -> ok.
open() ->
    Self = self(),
    Pid = spawn_link(fun() ->
        register(?MODULE, self()),
        _ = ets:new(?MODULE, [named_table, public, {write_concurrency, true}]),
        Self ! {self(), open},
        watch(#{})
    end),
    receive {Pid, open} -> ok end.

%% Closed books may be closed again.
-spec close() -> ok.
close() ->
    Monitor = monitor(process, ?MODULE),
    _ = [begin unlink(Pid), exit(Pid, kill) end || Pid <- [whereis(?MODULE)], is_pid(Pid)],
    receive {'DOWN', Monitor, process, _, _} -> ok end.

-spec begun(binary()) -> ok.
begun(Name) ->
    _ = ets:insert_new(?MODULE, {Name, 0, 0, 0, none, running}),
    _ = ets:update_counter(?MODULE, Name, {?BEGUN, 1}),
    ?MODULE ! {watch, self(), Name},
    receive {?MODULE, watches} -> ok end.

%% A message out of order is an entry of its own.
-spec handled(binary(), pos_integer()) -> ok.
handled(Name, Number) ->
    case ets:update_counter(?MODULE, Name, {?HANDLED, 1}) of
        Number -> ok;
        Expected -> ets:insert(?MODULE, {{disorder, Name, Number}, Expected}), ok
    end.

-spec terminated(binary(), term()) -> ok.
terminated(Name, Reason) ->
    _ = ets:update_counter(?MODULE, Name, {?TERMINATED, 1}),
    true = ets:update_element(?MODULE, Name, {?REASON, Reason}),
    ok.

-spec rows() -> [row()].
rows() ->
    [Row || {Name, _, _, _, _, _} = Row <- ets:tab2list(?MODULE), is_binary(Name)].

%% Waits until all handlers' processes have ended.
-spec settle() -> ok.
settle() ->
    os_process:until(fun() -> ets:match(?MODULE, {'_', '_', '_', '_', '_', running}, 1) =:= '$end_of_table' end).

%% Fails, and shows some of what is wrong with the books or with these clients' view of them, unless
%%
%%   - each handler that began was terminated once, or was killed before and not at all
%%   - each message was handled once, in the order in which it was sent
%%   - each answer that a client got was to a message handled, and each message handled had been asked
-spec audit([connection()]) -> ok.
audit(Connections) ->
    Wrong = wrong(Connections),
    Wrong =:= [] orelse error({wrong_books, length(Wrong), lists:sublist(Wrong, 10)}),
    ok.

wrong(Connections) ->
    [Disorder || {{disorder, _, _}, _} = Disorder <- ets:tab2list(?MODULE)]
        ++ [{callbacks, Row} || Row <- rows(), not is_orderly(Row)]
        ++ [{accounts, Connection, Row} || {Name, _, _} = Connection <- Connections,
            Row <- [ets:lookup(?MODULE, Name)], not is_accounted_for(Connection, Row)].

is_orderly({_, 1, 1, _, _, Exit}) -> Exit =/= running andalso Exit =/= killed;
is_orderly({_, 1, 0, _, none, Exit}) -> Exit =:= killed;
is_orderly(_) -> false.

is_accounted_for({_, Asked, Answered}, [{_, _, _, Handled, _, _}]) -> Answered =< Handled andalso Handled =< Asked;
%% Its handshake was answered by the sidecar, whose VM or whose stream died before websocket_init.
is_accounted_for({_, _, Answered}, []) -> Answered =:= 0.

watch(Watched) ->
    receive
        {watch, Pid, Name} ->
            Monitor = monitor(process, Pid),
            Pid ! {?MODULE, watches},
            watch(Watched#{Monitor => Name});
        {'DOWN', Monitor, process, _, Reason} ->
            {Name, Rest} = maps:take(Monitor, Watched),
            true = ets:update_element(?MODULE, Name, {?EXIT, Reason}),
            watch(Rest)
    end.
