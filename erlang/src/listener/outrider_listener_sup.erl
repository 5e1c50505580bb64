%%% One listener: the supervisor of its streams, its certificates if it has TLS, the supervisor of its sidecars.
%%%
%%% rest_for_one, and the streams' supervisor first: when a sidecar goes, the handlers live to be told
%%% (terminate({error, closed}, …)) while the next one starts; when the streams' supervisor goes, sidecars
%%% whose streams have no parent must go too. Stopping runs the other way round: the sidecars, while they can still reach
%%% the clients, ask their streams to end. When the sidecars' supervisor gives up, the listener does.
-module(outrider_listener_sup).
-behaviour(supervisor).

-export([child_spec/3, id/1, start_link/3, restart_link/3, sidecars/1]).
-export([init/1]).

%% Of a listener below a user's supervisor; outrider_keeper has that of the others.
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
            start_link(first, Ref, TransOpts, ProtoOpts);
        {error, Reason} = Error ->
            ok = outrider_options:log_refused(Ref, TransOpts, Reason),
            Error
    end.

%% Again, with the options that it had last. What its sidecars need is waited for.
-spec restart_link(ranch:ref(), map(), cowboy:opts()) -> {ok, pid()} | {error, term()}.
restart_link(Ref, TransOpts, ProtoOpts) ->
    start_link(again, Ref, TransOpts, ProtoOpts).

start_link(Start, Ref, TransOpts, ProtoOpts) ->
    case lists:member(Ref, outrider_registry:refs()) of
        true -> {error, {already_started, outrider_registry:supervisor(Ref)}};
        false -> supervisor:start_link(?MODULE, {Start, Ref, TransOpts, ProtoOpts})
    end.

%% The processes of the sidecars: none while their supervisor is being restarted, or has gone.
-spec sidecars(pid()) -> [pid()].
sidecars(Supervisor) ->
    try
        {_, Pid, _, _} = lists:keyfind(outrider_sidecars_sup, 1, supervisor:which_children(Supervisor)),
        outrider_sidecars_sup:sidecars(Pid)
    catch
        exit:_ -> []
    end.

-spec init({first | again, ranch:ref(), map(), cowboy:opts()}) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({Start, Ref, TransOpts, ProtoOpts}) ->
    ok = outrider_registry:add(Ref, self(), TransOpts, ProtoOpts, outrider_handler:in_place(ProtoOpts)),
    ok = outrider_registry:set_started(Ref, Start =:= again),
    Streams = #{
        id => outrider_streams_sup,
        start => {outrider_streams_sup, start_link, [Ref]},
        type => supervisor,
        shutdown => infinity
    },
    Certificates = #{id => outrider_certificates, start => {outrider_certificates, start_link, [Ref, TransOpts]}},
    Sidecars = #{
        id => outrider_sidecars_sup,
        start => {outrider_sidecars_sup, start_link, [Ref, TransOpts]},
        type => supervisor,
        shutdown => infinity,
        restart => transient,
        significant => true
    },
    Flags = #{strategy => rest_for_one, intensity => 10, period => 10, auto_shutdown => any_significant},
    {ok, {Flags, [Streams] ++ [Certificates || outrider_options:is_tls(TransOpts)] ++ [Sidecars]}}.
