%%% Whether a sidecar listens: has it follow what outrider_registry says, one order at a time, and answers who waits for that.
%%%
%%% Runs in the process of outrider_sidecar. The sidecar answers each order with where it listens now, so that an answer is that
%%% to the last order. What the registry says may change meanwhile; then the next order follows.
-module(outrider_listening).

-export([new/3, follow/2, suspend/2, leave/1, event/2, is_nowhere/1]).
-export_type([listening/0]).

-record(listening, {
    ref :: ranch:ref(),
    collector :: outrider_collector:collector(),
    %% Nowhere while it is suspended.
    addresses = [] :: [outrider_registry:address()],
    order = none :: none | suspend | resume | leave,
    waiting = [] :: [gen_server:from()]
}).

-opaque listening() :: #listening{}.

%% Of a sidecar that listens there.
-spec new(ranch:ref(), outrider_collector:collector(), [outrider_registry:address()]) -> listening().
new(Ref, Collector, Addresses) ->
    event({listening, Addresses}, #listening{ref = Ref, collector = Collector}).

%% From is answered with ok or {error, Posix} when the sidecar does what the registry says.
-spec follow(gen_server:from(), listening()) -> listening().
follow(From, L = #listening{waiting = Waiting}) ->
    follow_registry(L#listening{waiting = [From | Waiting]}).

%% The same, and it is ordered to suspend even where it is suspended: with its answer all requests that it has let in are known.
-spec suspend(gen_server:from(), listening()) -> listening().
suspend(From, L = #listening{waiting = Waiting}) ->
    order(suspend, L#listening{waiting = [From | Waiting]}).

%% Listen nowhere, whatever the registry says.
-spec leave(listening()) -> listening().
leave(L) ->
    (order(suspend, L))#listening{order = leave}.

%% What the sidecar says of it.
-spec event(Event, listening()) -> listening() when
    Event :: {listening, [outrider_registry:address()]} | {listen_error, Address :: binary(), Posix :: atom()}.
event({listening, Addresses}, L = #listening{order = leave}) ->
    L#listening{addresses = Addresses};
event({listening, Addresses}, L = #listening{ref = Ref}) ->
    _ = [outrider_registry:set_address(Ref, Address) || Address <- lists:sublist(Addresses, 1)],
    follow_registry(L#listening{addresses = Addresses, order = none});
event({listen_error, _Address, Posix}, L) ->
    answer({error, Posix}, L#listening{order = none}).

-spec is_nowhere(listening()) -> boolean().
is_nowhere(#listening{addresses = Addresses}) ->
    Addresses =:= [].

follow_registry(L = #listening{order = none, ref = Ref, addresses = Addresses}) ->
    case {outrider_registry:status(Ref), Addresses} of
        {suspended, [_ | _]} -> order(suspend, L);
        {running, []} -> order(resume, L);
        _ -> answer(ok, L)
    end;
follow_registry(L) ->
    L.

order(Order, L = #listening{collector = Collector}) ->
    ok = outrider_collector:order(0, Order, Collector),
    L#listening{order = Order}.

answer(Result, L = #listening{waiting = Waiting}) ->
    _ = [gen_server:reply(From, Result) || From <- Waiting],
    L#listening{waiting = []}.
