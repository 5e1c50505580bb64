%%% What other nodes send to the clients of this one: one process for each node, and one that writes.
%%%
%%% The first takes messages and never waits; the second writes them to the sidecars, one after the other, and waits where a port
%%% is busy. What lies between them is bounded: above it a message is dropped, which the log says once a minute with the
%%% number.
-module(outrider_relay).
-behaviour(gen_server).

-export([start_link/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

%% Bytes that wait to be written, with what a message takes beside its payload.
-define(MAX_BYTES, 64 * 1024 * 1024).
-define(AROUND, 256).
-define(QUIET_MS, 60000).

-record(relay, {
    writer :: pid(),
    %% The writer has one.
    busy = false :: boolean(),
    queue = queue:new() :: queue:queue({pos_integer(), outrider_nodes:elsewhere()}),
    bytes = 0 :: non_neg_integer(),
    dropped = 0 :: non_neg_integer(),
    warned = undefined :: undefined | integer()
}).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, outrider_nodes:name()}, ?MODULE, [], [{spawn_opt, [{message_queue_data, off_heap}]}]).

-spec init([]) -> {ok, #relay{}}.
init([]) ->
    Self = self(),
    {ok, #relay{writer = proc_lib:spawn_link(fun() -> write(Self) end)}}.

-spec handle_call(term(), gen_server:from(), #relay{}) -> {reply, term(), #relay{}}.
handle_call(_Request, _From, State) ->
    {reply, {error, ?MODULE}, State}.

-spec handle_cast(term(), #relay{}) -> {noreply, #relay{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #relay{}) -> {noreply, #relay{}}.
handle_info({outrider_nodes, Version, Message}, State) ->
    case outrider_protocol:version() of
        Version -> {noreply, arrived(Message, State)};
        _ -> {noreply, State}
    end;
handle_info({written, Writer}, State = #relay{writer = Writer, queue = Queue0, bytes = Bytes}) ->
    case queue:out(Queue0) of
        {{value, {Size, Message}}, Queue} ->
            Writer ! Message,
            {noreply, State#relay{queue = Queue, bytes = Bytes - Size}};
        {empty, _} ->
            {noreply, State#relay{busy = false}}
    end;
handle_info(_Message, State) ->
    {noreply, State}.

arrived(Message, State = #relay{busy = false, writer = Writer}) ->
    Writer ! Message,
    State#relay{busy = true};
arrived(Message, State = #relay{queue = Queue, bytes = Bytes, dropped = Dropped}) ->
    Size = bytes(Message),
    case Bytes + Size =< ?MAX_BYTES of
        true -> State#relay{queue = queue:in({Size, Message}, Queue), bytes = Bytes + Size};
        false -> warn(State#relay{dropped = Dropped + 1})
    end.

bytes({publish, _, Topic, _, Data}) -> ?AROUND + byte_size(Topic) + byte_size(Data);
bytes({send_many, Pids, Data}) -> ?AROUND + 16 * length(Pids) + byte_size(Data).

warn(State = #relay{warned = Warned, dropped = Dropped}) ->
    Now = erlang:monotonic_time(millisecond),
    case Warned =:= undefined orelse Now - Warned >= ?QUIET_MS of
        true ->
            logger:warning(
                "Outrider drops what other nodes send to clients: ~b messages so far, because its sidecars do not take them fast enough",
                [Dropped]
            ),
            State#relay{warned = Now};
        false ->
            State
    end.

write(Relay) ->
    receive
        Message ->
            ok = outrider_broadcast:arrived(Message),
            Relay ! {written, self()},
            write(Relay)
    end.
