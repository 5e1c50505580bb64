%%% The slow end of a listener, for a deploy: nobody comes in, clients are sent away one after the other, then it stops.
%%%
%%% A gen_server for as long as one drain takes, a temporary child of outrider_sup. In come the options and the caller, who
%%% waits for the result; out go an order to each sidecar, a message to each handler that asked for it, and at its time an
%%% order to each stream, which its process obeys as it does the end of its parent. What is left is counted by monitors and
%%% written to outrider_registry, for info/1.
-module(outrider_drain).
-behaviour(gen_server).

-export([run/2, check/1, start_link/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

-define(DEFAULT_TIMEOUT_MS, 30000).
-define(GOING_AWAY, 1001).

-type options() :: #{
    %% Milliseconds from the beginning until the listener stops, whoever is left.
    timeout => non_neg_integer(),
    %% Milliseconds over which the clients are spread; half of timeout if neither this nor rate is given.
    over => non_neg_integer(),
    %% Clients sent away per second.
    rate => number(),
    %% The close code of WebSockets.
    code => 1001 | 1012 | 1013 | 3000..4999
}.
-type result() :: #{closed := non_neg_integer(), remaining := non_neg_integer()}.
-type arguments() :: {ranch:ref(), Listener :: pid(), Parent :: pid(), options(), Caller :: {pid(), reference()}}.
-export_type([options/0, result/0]).

-record(drain, {
    ref :: ranch:ref(),
    %% The monitor of the listener's supervisor, and the parent of its streams.
    listener :: reference(),
    parent :: pid(),
    caller :: {pid(), reference()},
    options :: options(),
    %% Who is sent away when, in order: streams by their process, lazy WebSockets by their id.
    due = [] :: [{Time :: integer(), pid() | {Sidecar :: pid(), pos_integer()}}],
    %% Who is still there; and how many of those without a process.
    streams = #{} :: #{reference() => []},
    lazy = 0 :: non_neg_integer(),
    closed = 0 :: non_neg_integer()
}).

%% Returns when the listener has stopped; remaining is what the stop had to end. {error, stopped} if it was killed before its
%% time, with the application or because it failed.
-spec run(ranch:ref(), options()) -> {ok, result()} | {error, {bad_option, term()} | draining | stopped}.
run(Ref, Options) ->
    Listener = outrider_registry:supervisor(Ref),
    Parent = outrider_registry:streams_sup(Ref),
    case check(Options) of
        ok ->
            Tag = make_ref(),
            Arguments = {Ref, Listener, Parent, defaults(Options), {self(), Tag}},
            case outrider_sup:start_drain({?MODULE, start_link, [Arguments]}) of
                {ok, Pid} when is_pid(Pid) -> await(Tag, monitor(process, Pid));
                {ok, undefined} -> {error, draining}
            end;
        {error, _} = Error ->
            Error
    end.

%% Whether run/2 would take these options: for who gives them long before.
-spec check(options()) -> ok | {error, {bad_option, term()}}.
check(Options) ->
    case [Key || {Key, Value} <- maps:to_list(Options), not is_valid(Key, Value, Options)] of
        [] -> ok;
        [Key | _] -> {error, {bad_option, Key}}
    end.

await(Tag, Monitor) ->
    receive
        {Tag, Result} ->
            true = demonitor(Monitor, [flush]),
            Result;
        {'DOWN', Monitor, process, _, _} ->
            {error, stopped}
    end.

is_valid(timeout, V, _) -> is_integer(V) andalso V >= 0;
is_valid(over, V, Options) -> is_integer(V) andalso V >= 0 andalso V =< maps:get(timeout, Options, ?DEFAULT_TIMEOUT_MS);
is_valid(rate, V, Options) -> is_number(V) andalso V > 0 andalso not is_map_key(over, Options);
is_valid(code, V, _) when is_integer(V) -> lists:member(V, [?GOING_AWAY, 1012, 1013]) orelse (V >= 3000 andalso V =< 4999);
is_valid(_, _, _) -> false.

defaults(Options0) ->
    Options = #{timeout := Timeout} = maps:merge(#{timeout => ?DEFAULT_TIMEOUT_MS, code => ?GOING_AWAY}, Options0),
    case Options of
        #{rate := _} -> Options;
        #{} -> maps:merge(#{over => Timeout div 2}, Options)
    end.

-spec start_link(arguments()) -> {ok, pid()} | ignore.
start_link(Arguments) ->
    gen_server:start_link(?MODULE, Arguments, []).

%% Their parent starts one drain after the other, so that two of one listener see each other here.
-spec init(arguments()) -> {ok, #drain{}, {continue, {suspend, pid()}}} | ignore.
init({Ref, Listener, Parent, Options = #{timeout := Timeout}, Caller}) ->
    case outrider_registry:drain(Ref) of
        undefined ->
            _ = erlang:send_after(Timeout, self(), timeout),
            Monitor = monitor(process, Listener),
            Drain = #drain{ref = Ref, listener = Monitor, parent = Parent, caller = Caller, options = Options},
            ok = note(Drain),
            {ok, Drain, {continue, {suspend, Listener}}};
        _ ->
            ignore
    end.

%% The listener may end at any moment: then the monitor has the last word.
-spec handle_continue({suspend, pid()}, #drain{}) -> {noreply, #drain{}} | {stop, normal, #drain{}}.
handle_continue({suspend, Listener}, Drain = #drain{ref = Ref, options = Options}) ->
    ok = outrider_registry:set_status(Ref, suspended),
    Sidecars = outrider_listener_sup:sidecars(Listener),
    ok = outrider_sidecar:drain(Sidecars),
    Streams = outrider_sidecar:tell(Sidecars, Options),
    Monitors = maps:from_list([{monitor(process, Pid), []} || Pid <- Streams]),
    Lazy = lists:append(outrider_sidecar:ask_sidecars(Sidecars, lazy)),
    Due = due(Streams ++ Lazy, Options),
    gone(close_due(Drain#drain{streams = Monitors, lazy = length(Lazy), due = Due})).

%% Each stream has a slot of the time, in no order, and its moment anywhere in it.
due(Streams, Options) ->
    Count = length(Streams),
    Over =
        case Options of
            #{rate := Rate} -> Count * 1000 / Rate;
            #{over := Ms} -> Ms
        end,
    Now = now_ms(),
    Shuffled = [Pid || {_, Pid} <- lists:sort([{rand:uniform(), Pid} || Pid <- Streams])],
    [
        {Now + trunc((Slot + rand:uniform()) * Over / Count), Pid}
     || {Slot, Pid} <- lists:zip(lists:seq(0, Count - 1), Shuffled)
    ].

-spec handle_call(term(), gen_server:from(), #drain{}) -> {reply, term(), #drain{}}.
handle_call(_Request, _From, Drain) ->
    {reply, {error, ?MODULE}, Drain}.

-spec handle_cast(term(), #drain{}) -> {noreply, #drain{}}.
handle_cast(_Message, Drain) ->
    {noreply, Drain}.

-spec handle_info(term(), #drain{}) -> {noreply, #drain{}} | {stop, normal, #drain{}}.
handle_info(close, Drain) ->
    gone(close_due(Drain));
%% Somebody else has stopped it, and with it its streams: what says so of them may be on its way.
handle_info({'DOWN', Monitor, process, _, shutdown}, Drain = #drain{listener = Monitor, closed = Closed}) ->
    finish({ok, #{closed => Closed + remaining(Drain), remaining => 0}}, Drain);
handle_info({'DOWN', Monitor, process, _, _}, Drain = #drain{listener = Monitor}) ->
    finish({error, stopped}, Drain);
handle_info({'DOWN', Monitor, process, _, _}, Drain = #drain{streams = Streams, closed = Closed}) ->
    gone(Drain#drain{streams = maps:remove(Monitor, Streams), closed = Closed + 1});
handle_info(timeout, Drain) ->
    stop(Drain);
handle_info(_Message, Drain) ->
    {noreply, Drain}.

close_due(Drain = #drain{due = []}) ->
    Drain;
close_due(Drain = #drain{parent = Parent, due = Due, lazy = Lazy, closed = Closed, options = #{code := Code}}) ->
    Now = now_ms(),
    {These, Later} = lists:splitwith(fun({Time, _}) -> Time =< Now end, Due),
    Exit = {'EXIT', Parent, {drain, Code}},
    _ = [Pid ! Exit || {_, Pid} <- These, is_pid(Pid)],
    Ids = [Id || {_, {_, _} = Id} <- These],
    Kicked = outrider_sidecar:kick(Ids, Code, <<>>),
    _ = [erlang:send_after(Time, self(), close, [{abs, true}]) || {Time, _} <- lists:sublist(Later, 1)],
    Drain#drain{due = Later, lazy = Lazy - length(Ids), closed = Closed + Kicked}.

gone(Drain) ->
    ok = note(Drain),
    case remaining(Drain) of
        0 -> stop(Drain);
        _ -> {noreply, Drain}
    end.

note(Drain = #drain{ref = Ref, options = Options}) ->
    outrider_registry:set_drain(Ref, self(), maps:merge(Options, result(Drain))).

result(Drain = #drain{closed = Closed}) ->
    #{closed => Closed, remaining => remaining(Drain)}.

remaining(#drain{streams = Streams, lazy = Lazy}) ->
    map_size(Streams) + Lazy.

%% A listener of a user's supervisor is not ours to stop: it stays suspended. Somebody else may have stopped it meanwhile.
stop(Drain = #drain{ref = Ref}) ->
    _ = outrider_sup:stop_listener(Ref),
    finish({ok, result(Drain)}, Drain).

finish(Result, Drain = #drain{ref = Ref, caller = {Pid, Tag}}) ->
    ok = outrider_registry:remove_drain(Ref),
    Pid ! {Tag, Result},
    {stop, normal, Drain}.

now_ms() ->
    erlang:monotonic_time(millisecond).
