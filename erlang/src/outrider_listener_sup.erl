%%% One listener: the supervisor of its streams, then its sidecar.
%%%
%%% rest_for_one, and the streams' supervisor first: when the sidecar goes, the handlers live to be told
%%% (terminate({error, closed}, …)) while the next sidecar starts; when the streams' supervisor goes, a sidecar
%%% whose streams have no parent must go too. Stopping runs the other way round: the sidecar, while it can still reach
%%% the clients, asks its streams to end.
-module(outrider_listener_sup).
-behaviour(supervisor).

-export([child_spec/3, id/1, start_link/3]).
-export([init/1]).

%% What a sidecar may need beyond the streams' shutdown time before its supervisor kills it.
-define(SIDECAR_GRACE_MS, 5000).

-spec child_spec(ranch:ref(), map(), cowboy:opts()) -> supervisor:child_spec().
child_spec(Ref, TransOpts, ProtoOpts) ->
    #{id => id(Ref), start => {?MODULE, start_link, [Ref, TransOpts, ProtoOpts]}, type => supervisor}.

-spec id(ranch:ref()) -> term().
id(Ref) ->
    {?MODULE, Ref}.

-spec start_link(ranch:ref(), map(), cowboy:opts()) -> {ok, pid()} | {error, term()}.
start_link(Ref, TransOpts, ProtoOpts) ->
    case outrider_options:check(TransOpts, ProtoOpts) of
        ok ->
            case lists:member(Ref, outrider_registry:refs()) of
                true -> {error, {already_started, outrider_registry:supervisor(Ref)}};
                false -> supervisor:start_link(?MODULE, {Ref, TransOpts, ProtoOpts})
            end;
        {error, _} = Error ->
            Error
    end.

-spec init({ranch:ref(), map(), cowboy:opts()}) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({Ref, TransOpts, ProtoOpts}) ->
    ok = outrider_registry:add(Ref, self(), TransOpts, ProtoOpts),
    Streams = #{
        id => outrider_streams_sup,
        start => {outrider_streams_sup, start_link, [Ref]},
        type => supervisor,
        shutdown => infinity
    },
    Sidecar = #{
        id => outrider_sidecar,
        start => {outrider_sidecar, start_link, [Ref]},
        shutdown => sidecar_shutdown(outrider_options:shutdown(TransOpts))
    },
    {ok, {#{strategy => rest_for_one, intensity => 10, period => 10}, [Streams, Sidecar]}}.

sidecar_shutdown(infinity) -> infinity;
sidecar_shutdown(brutal_kill) -> ?SIDECAR_GRACE_MS;
sidecar_shutdown(Ms) -> Ms + ?SIDECAR_GRACE_MS.
