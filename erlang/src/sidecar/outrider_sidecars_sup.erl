%%% The parent of a listener's sidecars: as many as the transport option sidecars says, all on the same address.
%%%
%%% simple_one_for_one: a sidecar that dies is restarted alone, and at the end all of them leave at the same time, not one
%%% after the other, so that none still takes clients in while another says good-bye. One that cannot start again is tried
%%% again by its own process; if they start and die too often, this supervisor gives up, and the listener with it.
-module(outrider_sidecars_sup).
-behaviour(supervisor).

-export([start_link/2, sidecars/1]).
-export([init/1]).

%% What a sidecar may need beyond the streams' shutdown time before it is killed.
-define(SIDECAR_GRACE_MS, 5000).

%% Start the sidecars, one after the other: the first takes the address, which the others join.
-spec start_link(ranch:ref(), map()) -> {ok, pid()} | {error, term()}.
start_link(Ref, TransOpts) ->
    {ok, Supervisor} = supervisor:start_link(?MODULE, {Ref, TransOpts}),
    start_sidecars(lists:seq(1, outrider_options:sidecars(TransOpts)), Ref, Supervisor).

start_sidecars([], Ref, Supervisor) ->
    ok = outrider_registry:set_started(Ref, true),
    Measurements = #{system_time => erlang:system_time()},
    ok = outrider_telemetry:execute([listener, start], Measurements, #{listener => Ref, address => outrider_registry:last_address(Ref)}),
    {ok, Supervisor};
start_sidecars([Number | Numbers], Ref, Supervisor) ->
    case supervisor:start_child(Supervisor, [Number]) of
        {ok, _} ->
            start_sidecars(Numbers, Ref, Supervisor);
        {error, _} = Error ->
            unlink(Supervisor),
            ok = gen_server:stop(Supervisor, shutdown, infinity),
            Error
    end.

%% Their processes, also of those that are being started again.
-spec sidecars(pid()) -> [pid()].
sidecars(Supervisor) ->
    [Pid || {_, Pid, _, _} <- supervisor:which_children(Supervisor), is_pid(Pid)].

-spec init({ranch:ref(), map()}) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({Ref, TransOpts}) ->
    Sidecar = #{
        id => outrider_sidecar,
        start => {outrider_sidecar, start_link, [Ref]},
        shutdown => sidecar_shutdown(outrider_options:shutdown(TransOpts))
    },
    %% All of them may be lost at once without that being taken for a sidecar that cannot live.
    Intensity = 9 + outrider_options:sidecars(TransOpts),
    {ok, {#{strategy => simple_one_for_one, intensity => Intensity, period => 10}, [Sidecar]}}.

sidecar_shutdown(infinity) -> infinity;
sidecar_shutdown(brutal_kill) -> ?SIDECAR_GRACE_MS;
sidecar_shutdown(Ms) -> Ms + ?SIDECAR_GRACE_MS.
