%%% What is known about each listener, for whoever asks: a public table, and persistent terms for what each stream holds.
%%%
%%% Written by the processes of a listener and by the functions of module outrider; read by any process. The protocol
%%% options are a persistent term because every request needs them and they hold the compiled routes: a process that
%%% reads them copies nothing, nor does one that is spawned with such a term. A listener that a user's supervisor stopped
%%% leaves its rows and terms behind; they count for nothing, since its supervisor is not alive, and the next start of that
%%% name overwrites them.
-module(outrider_registry).

-export([new/0, add/5, remove/1, refs/0, supervisor/1]).
-export([transport_options/1, set_transport_options/2]).
-export([protocol_options/1, set_protocol_options/3, effective_options/1]).
-export([address/1, last_address/1, set_address/2, status/1, set_status/2]).
-export([keep/3, forget/1, is_kept/1, is_kept/2, kept/0, last_options/1, set_started/2, has_started/1]).
-export([streams_sup/1, set_streams_sup/2, certificates/1, set_certificates/2, share/3, shared/2]).
-export([collectors/0, collectors/1, collector/2, sidecars/1, set_collector/3, restarted/2, restarts/2]).
-export([drain/1, set_drain/3, remove_drain/1]).

-define(TABLE, ?MODULE).
-define(OPTIONS(Ref), {outrider, Ref}).
-define(SHARED(Ref, Number), {outrider, Ref, Number}).

-type address() :: {inet:ip_address(), inet:port_number()} | {local, binary()}.
-export_type([address/0]).

-spec new() -> ok.
new() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, {read_concurrency, true}]),
    ok.

%% The protocol options as the user gave them, and as the streams are to use them.
-spec add(ranch:ref(), pid(), map(), cowboy:opts(), Effective :: cowboy:opts()) -> ok.
add(Ref, Supervisor, TransOpts, ProtoOpts, Effective) ->
    [true = ets:delete(?TABLE, {Key, Ref}) || Key <- [status, certificates]],
    true = ets:insert(?TABLE, {{collectors, Ref}, #{}}),
    put(Ref, Supervisor, TransOpts, ProtoOpts, Effective).

put(Ref, Supervisor, TransOpts, ProtoOpts, Effective) ->
    true = ets:insert(?TABLE, {{listener, Ref}, Supervisor, TransOpts, ProtoOpts}),
    persistent_term:put(?OPTIONS(Ref), Effective).

-spec remove(ranch:ref()) -> ok.
remove(Ref) ->
    Keys = [listener, address, status, started, kept, streams_sup, certificates, collectors],
    [true = ets:delete(?TABLE, {Key, Ref}) || Key <- Keys],
    true = ets:match_delete(?TABLE, {{restarts, Ref, '_'}, '_'}),
    _ = [persistent_term:erase(Key) || {Key, _} <- persistent_term:get(), is_listeners(Ref, Key)],
    ok.

is_listeners(Ref, ?OPTIONS(Ref)) -> true;
is_listeners(Ref, ?SHARED(Ref, _)) -> true;
is_listeners(_, _) -> false.

-spec refs() -> [ranch:ref()].
refs() ->
    [Ref || [Ref, Pid] <- ets:match(?TABLE, {{listener, '$1'}, '$2', '_', '_'}), is_process_alive(Pid)].

%% The functions below fail with badarg for a listener that does not run, as Ranch's do.

-spec supervisor(ranch:ref()) -> pid().
supervisor(Ref) ->
    element(2, listener(Ref)).

-spec transport_options(ranch:ref()) -> map().
transport_options(Ref) ->
    element(3, listener(Ref)).

-spec set_transport_options(ranch:ref(), map()) -> ok.
set_transport_options(Ref, TransOpts) ->
    true = ets:insert(?TABLE, setelement(3, listener(Ref), TransOpts)),
    ok.

-spec protocol_options(ranch:ref()) -> cowboy:opts().
protocol_options(Ref) ->
    element(4, listener(Ref)).

-spec set_protocol_options(ranch:ref(), cowboy:opts(), Effective :: cowboy:opts()) -> ok.
set_protocol_options(Ref, ProtoOpts, Effective) ->
    {_, Supervisor, TransOpts, _} = listener(Ref),
    put(Ref, Supervisor, TransOpts, ProtoOpts, Effective).

-spec effective_options(ranch:ref()) -> cowboy:opts().
effective_options(Ref) ->
    persistent_term:get(?OPTIONS(Ref)).

-spec address(ranch:ref()) -> address() | {undefined, undefined}.
address(Ref) ->
    case status(Ref) of
        running -> ets:lookup_element(?TABLE, {address, Ref}, 2);
        suspended -> {undefined, undefined}
    end.

%% Where the listener's sidecars listen, or did: another one goes there, too.
-spec last_address(ranch:ref()) -> address() | undefined.
last_address(Ref) ->
    case ets:lookup(?TABLE, {address, Ref}) of
        [{_, Address}] -> Address;
        [] -> undefined
    end.

-spec set_address(ranch:ref(), address()) -> ok.
set_address(Ref, Address) ->
    true = ets:insert(?TABLE, {{address, Ref}, Address}),
    ok.

%% Whether it is to listen. Its sidecars follow: those that run when they are told, one that starts by itself.
-spec status(ranch:ref()) -> running | suspended.
status(Ref) ->
    _ = listener(Ref),
    case ets:lookup(?TABLE, {status, Ref}) of
        [{_, Status}] -> Status;
        [] -> running
    end.

-spec set_status(ranch:ref(), running | suspended) -> ok.
set_status(Ref, Status) ->
    true = ets:insert(?TABLE, {{status, Ref}, Status}),
    ok.

%% The listeners that are to be started again when they end, each with its last supervisor, and who hears of that.

-spec keep(ranch:ref(), pid(), Logger :: module()) -> ok.
keep(Ref, Supervisor, Logger) ->
    true = ets:insert(?TABLE, {{kept, Ref}, Supervisor, Logger}),
    ok.

%% Whether it was kept until now.
-spec forget(ranch:ref()) -> boolean().
forget(Ref) ->
    ets:take(?TABLE, {kept, Ref}) =/= [].

-spec is_kept(ranch:ref()) -> boolean().
is_kept(Ref) ->
    ets:member(?TABLE, {kept, Ref}).

-spec is_kept(ranch:ref(), pid()) -> boolean().
is_kept(Ref, Supervisor) ->
    case ets:lookup(?TABLE, {kept, Ref}) of
        [{_, Supervisor, _}] -> true;
        _ -> false
    end.

-spec kept() -> [{ranch:ref(), pid(), Logger :: module()}].
kept() ->
    [{Ref, Pid, Logger} || [Ref, Pid, Logger] <- ets:match(?TABLE, {{kept, '$1'}, '$2', '$3'})].

%% Transport and protocol options of a listener, whether it runs or has ended.
-spec last_options(ranch:ref()) -> {map(), cowboy:opts()}.
last_options(Ref) ->
    [{_, _, TransOpts, ProtoOpts}] = ets:lookup(?TABLE, {listener, Ref}),
    {TransOpts, ProtoOpts}.

%% Whether all of its sidecars have run once: its start has succeeded.
-spec set_started(ranch:ref(), boolean()) -> ok.
set_started(Ref, HasStarted) ->
    true = ets:insert(?TABLE, {{started, Ref}, HasStarted}),
    ok.

-spec has_started(ranch:ref()) -> boolean().
has_started(Ref) ->
    ets:lookup_element(?TABLE, {started, Ref}, 2).

%% Of a listener with TLS.
-spec certificates(ranch:ref()) -> pid().
certificates(Ref) ->
    ets:lookup_element(?TABLE, {certificates, Ref}, 2).

-spec set_certificates(ranch:ref(), pid()) -> ok.
set_certificates(Ref, Pid) ->
    true = ets:insert(?TABLE, {{certificates, Ref}, Pid}),
    ok.

-spec streams_sup(ranch:ref()) -> pid().
streams_sup(Ref) ->
    ets:lookup_element(?TABLE, {streams_sup, Ref}, 2).

-spec set_streams_sup(ranch:ref(), pid()) -> ok.
set_streams_sup(Ref, Pid) ->
    true = ets:insert(?TABLE, {{streams_sup, Ref}, Pid}),
    ok.

%% The ways to the sidecars of all listeners, and of one. A sidecar that has died has its old one until the next starts.
-spec collectors() -> [outrider_collector:collector()].
collectors() ->
    [Collector || [Map] <- ets:match(?TABLE, {{collectors, '_'}, '$1'}), Collector <- maps:values(Map)].

-spec collectors(ranch:ref()) -> [outrider_collector:collector()].
collectors(Ref) ->
    maps:values(ets:lookup_element(?TABLE, {collectors, Ref}, 2)).

%% The numbers of those that there are, or were and will be again.
-spec sidecars(ranch:ref()) -> [pos_integer()].
sidecars(Ref) ->
    lists:sort(maps:keys(ets:lookup_element(?TABLE, {collectors, Ref}, 2))).

%% The way to one of them, or to its predecessor.
-spec collector(ranch:ref(), pos_integer()) -> outrider_collector:collector() | undefined.
collector(Ref, Number) ->
    case ets:lookup(?TABLE, {collectors, Ref}) of
        [{_, #{Number := Collector}}] -> Collector;
        _ -> undefined
    end.

%% How often a sidecar was started again, whether it or its listener had ended.
-spec restarted(ranch:ref(), pos_integer()) -> ok.
restarted(Ref, Number) ->
    _ = ets:update_counter(?TABLE, {restarts, Ref, Number}, 1, {{restarts, Ref, Number}, 0}),
    ok.

-spec restarts(ranch:ref(), pos_integer()) -> non_neg_integer().
restarts(Ref, Number) ->
    case ets:lookup(?TABLE, {restarts, Ref, Number}) of
        [{_, Count}] -> Count;
        [] -> 0
    end.

%% To be called by the sidecar of that number, of which the listener's supervisor starts one at a time.
-spec set_collector(ranch:ref(), pos_integer(), outrider_collector:collector()) -> ok.
set_collector(Ref, Number, Collector) ->
    Before =
        case ets:lookup(?TABLE, {collectors, Ref}) of
            [{_, Map}] -> Map;
            [] -> #{}
        end,
    true = ets:insert(?TABLE, {{collectors, Ref}, Before#{Number => Collector}}),
    ok.

%% How far the drain of a listener has come, if it is being drained.
-spec drain(ranch:ref()) -> map() | undefined.
drain(Ref) ->
    case ets:lookup(?TABLE, {drain, Ref}) of
        [{_, Pid, Progress}] ->
            case is_process_alive(Pid) of
                true -> Progress;
                false -> undefined
            end;
        [] ->
            undefined
    end.

-spec set_drain(ranch:ref(), pid(), map()) -> ok.
set_drain(Ref, Pid, Progress) ->
    true = ets:insert(?TABLE, {{drain, Ref}, Pid, Progress}),
    ok.

-spec remove_drain(ranch:ref()) -> ok.
remove_drain(Ref) ->
    true = ets:delete(?TABLE, {drain, Ref}),
    ok.

%% The same term, of which the streams of that sidecar have one in common. It is replaced when the sidecar is.
-spec share(ranch:ref(), pos_integer(), Term) -> Term.
share(Ref, Number, Term) ->
    ok = persistent_term:put(?SHARED(Ref, Number), Term),
    persistent_term:get(?SHARED(Ref, Number)).

%% What is shared by the streams of that sidecar, or were by those of its predecessor, if there was one.
-spec shared(ranch:ref(), pos_integer()) -> term().
shared(Ref, Number) ->
    persistent_term:get(?SHARED(Ref, Number), undefined).

listener(Ref) ->
    case ets:lookup(?TABLE, {listener, Ref}) of
        [Row = {_, Supervisor, _, _}] ->
            case is_process_alive(Supervisor) of
                true -> Row;
                false -> error(badarg, [Ref])
            end;
        [] ->
            error(badarg, [Ref])
    end.
