%%% The WebSockets of a listener, as its sidecars see them: which are the trouble, and away with them.
%%%
%%% Runs in the caller. The sidecars are asked at once, each looks at its own and tells of the first, and these are put together
%%% here. docs/operations.md says what the keys mean.
-module(outrider_connections).

-export([list/2, find/1, wake/2, kick/3, kick/5, ask/2]).
-export_type([options/0, filter/0, connection/0, id/0, kick_options/0]).

%% Numbers of streams as the sidecar has them.
-define(IS_STREAM(Stream), is_integer(Stream), Stream > 0, Stream =< 16#ffffffffffffffff).

-define(DEFAULT_LIMIT, 20).
-define(MAX_LIMIT, 1000).
%% Clients closed per second.
-define(DEFAULT_RATE, 1000).
%% Between two orders, where more are to be closed than in that time.
-define(TICK_MS, 100).

%% A sidecar's process, and a number that it never uses again: nobody else ever has this id.
-type id() :: {pid(), pos_integer()}.

-type options() :: #{
    %% The largest first. Of those that have ended the last comes first, unless something else is asked for.
    sort => backlog | bytes_in | bytes_out | messages | idle | age | round_trip | credit_in,
    %% 1 to 1000; 20.
    limit => pos_integer(),
    filter => filter()
}.
%% Those to which all of it applies; sizes in bytes, times in milliseconds.
-type filter() :: #{
    %% closed: of those that have ended, the last 256 of each sidecar.
    state => open | lazy | blocked | closing | closed,
    %% An address, or a network: {Address, Bits}, or the text "10.0.0.0/8".
    peer => inet:ip_address() | {inet:ip_address(), 0..128} | string() | binary(),
    %% What the path begins with.
    path => iodata(),
    min_backlog => non_neg_integer(),
    min_idle => non_neg_integer(),
    min_age => non_neg_integer()
}.
-type connection() :: #{
    id := id(),
    sidecar := pos_integer(),
    pid := pid() | undefined,
    peer := {inet:ip_address(), inet:port_number()} | {local, binary()},
    path := binary(),
    state := open | lazy | blocked | closing | closed,
    age := non_neg_integer(),
    idle := non_neg_integer(),
    messages_in := non_neg_integer(),
    bytes_in := non_neg_integer(),
    messages_out := non_neg_integer(),
    bytes_out := non_neg_integer(),
    backlog := non_neg_integer(),
    blocked := non_neg_integer(),
    credit_in := non_neg_integer(),
    credit_out := non_neg_integer(),
    compress := boolean(),
    %% Microseconds.
    round_trip := non_neg_integer() | undefined,
    tls := {'tlsv1.3' | 'tlsv1.2', binary()} | undefined,
    %% Of one that has ended: how long ago, and why.
    closed => non_neg_integer(),
    reason => term()
}.
-type kick_options() :: #{rate => pos_integer() | infinity}.
-type error() :: {error, {bad_option, term()} | busy}.

-spec list(ranch:ref(), options()) -> [connection()] | error().
list(Ref, Options) ->
    Sidecars = outrider_listener_sup:sidecars(outrider_registry:supervisor(Ref)),
    case query(Options) of
        {ok, Query = #{sort := Sort, limit := Limit}} ->
            answered(outrider_sidecar:ask_sidecars(Sidecars, {connections, Query}), fun(Found) ->
                lists:sublist(sorted(Sort, lists:append(Found)), Limit)
            end);
        {error, _} = Error ->
            Error
    end.

answered(Answers, Fun) ->
    case lists:member({error, busy}, Answers) of
        true -> {error, busy};
        false -> Fun([Found || {ok, Found} <- Answers])
    end.

sorted(Sort, Connections) ->
    Measured = [{measure(Sort, Connection), Connection} || Connection <- Connections],
    [Connection || {_, Connection} <- lists:keysort(1, Measured)].

%% The largest first.
measure(closed, #{closed := Ms}) -> Ms;
measure(messages, #{messages_in := In, messages_out := Out}) -> -In - Out;
measure(round_trip, #{round_trip := undefined}) -> 0;
measure(Key, Connection) -> -maps:get(Key, Connection).

%% One of this node; undefined if it is no WebSocket, or one no more.
-spec find(pid() | id()) -> connection() | undefined.
find({Sidecar, Stream}) when is_pid(Sidecar), ?IS_STREAM(Stream) ->
    find(#{stream => Stream}, [Sidecar]);
find({_, _}) ->
    undefined;
find(Pid) when is_pid(Pid), node(Pid) =:= node() ->
    find(#{pid => Pid}, sidecars());
find(Pid) when is_pid(Pid) ->
    undefined.

find(Filter, Sidecars) ->
    Query = #{closed => false, sort => backlog, limit => 1, filter => Filter},
    case [Connection || {ok, [Connection]} <- outrider_sidecar:ask_sidecars(Sidecars, {one, Query})] of
        [Connection | _] -> Connection;
        [] -> undefined
    end.

sidecars() ->
    lists:append([listeners_sidecars(Ref) || Ref <- outrider_registry:refs()]).

%% It may have ended meanwhile.
listeners_sidecars(Ref) ->
    try
        outrider_listener_sup:sidecars(outrider_registry:supervisor(Ref))
    catch
        error:badarg -> []
    end.

%% What the sidecar of a WebSocket answers to this order about it.
-spec ask(pid() | id(), fun((Stream :: pos_integer()) -> term())) -> {id(), Answer :: term()} | {error, not_found}.
ask(Id = {Sidecar, Stream}, Order) when is_pid(Sidecar), ?IS_STREAM(Stream) ->
    case outrider_sidecar:ask_sidecars([Sidecar], Order(Stream)) of
        [Answer] -> {Id, Answer};
        [] -> {error, not_found}
    end;
ask({_, _}, _) ->
    {error, not_found};
ask(Pid, Order) when is_pid(Pid) ->
    case find(Pid) of
        #{id := Id} -> ask(Id, Order);
        undefined -> {error, not_found}
    end.

%% A message for the handler, which begins for it if it is lazy.
-spec wake(id(), Message :: term()) -> ok | {error, not_found | busy}.
wake({Sidecar, Stream}, Message) when is_pid(Sidecar), ?IS_STREAM(Stream) ->
    case outrider_sidecar:ask_sidecars([Sidecar], {wake, Stream}) of
        [Pid] when is_pid(Pid) ->
            Pid ! Message,
            ok;
        [{error, busy}] ->
            {error, busy};
        _ ->
            {error, not_found}
    end;
wake({_, _}, _) ->
    {error, not_found}.

-spec kick(pid() | id(), Code :: 1000..4999, Text :: iodata()) -> ok | {error, not_found}.
kick(Who, Code, Text0) ->
    Text = close(Code, Text0),
    case ask(Who, fun(Stream) -> {kick, [Stream], Code, Text} end) of
        {_, 1} -> ok;
        _ -> {error, not_found}
    end.

%% Those of a listener that are meant at this moment, one after the other. Returns how many it has closed.
-spec kick(ranch:ref(), filter(), Code :: 1000..4999, Text :: iodata(), kick_options()) -> {ok, non_neg_integer()} | error().
kick(Ref, Filter0, Code, Text0, Options) ->
    Text = close(Code, Text0),
    Sidecars = outrider_listener_sup:sidecars(outrider_registry:supervisor(Ref)),
    Rate = maps:get(rate, Options, ?DEFAULT_RATE),
    case {filter(Filter0), [Key || {Key, Value} <- maps:to_list(Options), Key =/= rate orelse not is_rate(Value)]} of
        {{ok, false, Filter}, []} ->
            answered(outrider_sidecar:ask_sidecars(Sidecars, {streams, Filter}), fun(Lists) ->
                {ok, kick_all(batches(Rate, lists:append(Lists)), Code, Text, Rate, now_ms(), 0, 0)}
            end);
        {{ok, true, _}, []} -> {error, {bad_option, state}};
        {{error, _} = Error, _} -> Error;
        {_, [Key | _]} -> {error, {bad_option, Key}}
    end.

is_rate(Rate) -> Rate =:= infinity orelse is_integer(Rate) andalso Rate > 0.

%% Ids in the order in which they are closed: that of the sidecars.
batches(_, []) ->
    [];
batches(Rate, Ids) ->
    {Batch, Rest} = lists:split(min(length(Ids), at_once(Rate)), Ids),
    [Batch | batches(Rate, Rest)].

at_once(infinity) -> infinity;
at_once(Rate) -> max(1, Rate * ?TICK_MS div 1000).

%% Each batch at its time, which is what those before it have taken at this rate.
kick_all([], _, _, _, _, _, Kicked) ->
    Kicked;
kick_all([Batch | Batches], Code, Text, Rate, Start, Done, Kicked) ->
    ok = wait_until(Start + due(Done, Rate)),
    kick_all(Batches, Code, Text, Rate, Start, Done + length(Batch), Kicked + outrider_sidecar:kick(Batch, Code, Text)).

due(_, infinity) -> 0;
due(Done, Rate) -> Done * 1000 div Rate.

wait_until(Time) ->
    timer:sleep(max(0, Time - now_ms())).

now_ms() ->
    erlang:monotonic_time(millisecond).

%% A close frame that a server may send (RFC 6455, 7.4).
close(Code, Text0) when Code >= 1000, Code =< 1003; Code >= 1007, Code =< 1014, Code =/= 1010; Code >= 3000, Code =< 4999 ->
    Text = iolist_to_binary(Text0),
    true = byte_size(Text) =< 123 andalso is_list(unicode:characters_to_list(Text)) orelse error(badarg),
    Text;
close(_, _) ->
    error(badarg).

%% The options as the sidecar reads them.

query(Options) when is_map(Options) ->
    case filter(maps:get(filter, Options, #{})) of
        {ok, IsClosed, Filter} ->
            Sort = maps:get(sort, Options, case IsClosed of true -> closed; false -> backlog end),
            Query = #{closed => IsClosed, sort => Sort, limit => maps:get(limit, Options, ?DEFAULT_LIMIT), filter => Filter},
            case [Key || {Key, Value} <- maps:to_list(Options), not is_valid(Key, Value)] of
                [] -> {ok, Query};
                [Key | _] -> {error, {bad_option, Key}}
            end;
        {error, _} = Error ->
            Error
    end;
query(Options) ->
    {error, {bad_option, Options}}.

is_valid(sort, V) -> lists:member(V, [backlog, bytes_in, bytes_out, messages, idle, age, round_trip, credit_in]);
is_valid(limit, V) -> is_integer(V) andalso V >= 1 andalso V =< ?MAX_LIMIT;
is_valid(filter, _) -> true;
is_valid(_, _) -> false.

filter(Map) when is_map(Map) ->
    try
        {ok, maps:get(state, Map, open) =:= closed, maps:fold(fun part/3, #{}, Map)}
    catch
        throw:{bad_option, _} = Bad -> {error, Bad}
    end;
filter(_) ->
    {error, {bad_option, filter}}.

part(state, closed, Filter) -> Filter;
part(state, V, Filter) when V =:= open; V =:= lazy; V =:= blocked; V =:= closing -> Filter#{state => V};
part(peer, V, Filter) -> Filter#{peer => network(V)};
part(path, V, Filter) ->
    try Filter#{path => iolist_to_binary(V)} catch error:badarg -> throw({bad_option, path}) end;
part(Key, V, Filter) when (Key =:= min_backlog orelse Key =:= min_idle orelse Key =:= min_age), is_integer(V), V >= 0 ->
    Filter#{Key => min(V, 16#ffffffffffffffff)};
part(Key, _, _) -> throw({bad_option, Key}).

network(Text) when is_binary(Text) ->
    network(binary_to_list(Text));
network(Text) when is_list(Text) ->
    case string:split(Text, "/") of
        [Address] -> network(address(Address));
        [Address, Bits] -> network({address(Address), bits(string:to_integer(Bits))})
    end;
network({Address, Bits}) when is_tuple(Address) ->
    case {address_bytes(Address), Bits} of
        {Bytes, Bits} when is_integer(Bits), Bits >= 0, Bits =< bit_size(Bytes) -> {Bytes, Bits};
        _ -> throw({bad_option, peer})
    end;
network(Address) ->
    Bytes = address_bytes(Address),
    {Bytes, bit_size(Bytes)}.

address(Text) ->
    case inet:parse_strict_address(Text) of
        {ok, Address} -> Address;
        {error, _} -> throw({bad_option, peer})
    end.

bits({Bits, []}) when is_integer(Bits) -> Bits;
bits(_) -> throw({bad_option, peer}).

address_bytes(Address) ->
    case inet:is_ip_address(Address) of
        true when tuple_size(Address) =:= 4 -> list_to_binary(tuple_to_list(Address));
        true -> << <<Part:16>> || Part <- tuple_to_list(Address) >>;
        false -> throw({bad_option, peer})
    end.
