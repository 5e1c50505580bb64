%%% Starts listeners again that have ended without having been stopped.
%%%
%%% A supervisor that restarts a child too often ends, and all its children with it: so no listener's end may count in
%%% the top supervisor. There listeners are temporary; this process monitors them, and has that supervisor start one again
%%% that has ended, with the options that it had, after a pause if it has not lived long (outrider_patience). Which listeners
%%% are to be kept is written in outrider_registry: by the supervisor, in whose process start_listener/3 and
%%% restart_listener/1 run, and by who stops one. So this process can itself be killed and started again.
-module(outrider_keeper).
-behaviour(gen_server).

-export([start_link/1, child_spec/3, start_listener/3, restart_listener/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

%% A listener that has lived so long has recovered from what was before.
-define(RECOVERED_MS, 60000).

-record(kept, {
    ref :: ranch:ref(),
    logger :: module(),
    started :: integer(),
    patience :: outrider_patience:patience(),
    %% Why it has ended, and whether the log is to say what comes of that.
    reason :: term(),
    is_news = false :: boolean()
}).

-record(keeper, {
    supervisor :: pid(),
    %% Those that live, and those whose turn to be started again comes.
    living = #{} :: #{reference() => #kept{}},
    ended = #{} :: #{ranch:ref() => #kept{}}
}).

-spec start_link(Supervisor :: pid()) -> {ok, pid()} | {error, term()}.
start_link(Supervisor) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, Supervisor, []).

%% Of a listener below the top supervisor.
-spec child_spec(ranch:ref(), map(), cowboy:opts()) -> supervisor:child_spec().
child_spec(Ref, TransOpts, ProtoOpts) ->
    child_spec(Ref, {?MODULE, start_listener, [Ref, TransOpts, ProtoOpts]}).

child_spec(Ref, Start) ->
    #{id => outrider_listener_sup:id(Ref), start => Start, restart => temporary, type => supervisor}.

-spec start_listener(ranch:ref(), map(), cowboy:opts()) -> {ok, pid()} | {error, term()}.
start_listener(Ref, TransOpts, ProtoOpts) ->
    keep(Ref, TransOpts, outrider_listener_sup:start_link(Ref, TransOpts, ProtoOpts)).

%% Unless it has been stopped meanwhile: then its stop is behind this start, or has seen that there is none.
-spec restart_listener(ranch:ref()) -> {ok, pid()} | {error, term()} | ignore.
restart_listener(Ref) ->
    case outrider_registry:is_kept(Ref) of
        true ->
            {TransOpts, ProtoOpts} = outrider_registry:last_options(Ref),
            keep(Ref, TransOpts, outrider_listener_sup:restart_link(Ref, TransOpts, ProtoOpts));
        false ->
            ignore
    end.

keep(Ref, TransOpts, {ok, Pid}) ->
    Logger = outrider_options:logger(TransOpts),
    ok = outrider_registry:keep(Ref, Pid, Logger),
    ok = gen_server:cast(?MODULE, {keep, Ref, Pid, Logger}),
    {ok, Pid};
keep(_, _, Error) ->
    Error.

-spec init(pid()) -> {ok, #keeper{}, {continue, adopt}}.
init(Supervisor) ->
    {ok, #keeper{supervisor = Supervisor}, {continue, adopt}}.

%% Those of the keeper before this one. A monitor tells at once of one that has ended.
-spec handle_continue(adopt, #keeper{}) -> {noreply, #keeper{}}.
handle_continue(adopt, Keeper) ->
    {noreply, lists:foldl(fun({Ref, Pid, Logger}, K) -> watch(Ref, Pid, Logger, K) end, Keeper, outrider_registry:kept())}.

-spec handle_call(term(), gen_server:from(), #keeper{}) -> {reply, term(), #keeper{}}.
handle_call(_Request, _From, Keeper) ->
    {reply, {error, ?MODULE}, Keeper}.

-spec handle_cast(term(), #keeper{}) -> {noreply, #keeper{}}.
handle_cast({keep, Ref, Pid, Logger}, Keeper) ->
    {noreply, watch(Ref, Pid, Logger, Keeper)}.

-spec handle_info(term(), #keeper{}) -> {noreply, #keeper{}}.
handle_info({'DOWN', Monitor, process, Pid, Reason}, Keeper = #keeper{living = Living}) ->
    {Kept = #kept{ref = Ref}, Others} = maps:take(Monitor, Living),
    case outrider_registry:is_kept(Ref, Pid) of
        true -> {noreply, ended(Kept#kept{reason = Reason}, Keeper#keeper{living = Others})};
        %% It was stopped, or was known already to have ended.
        false -> {noreply, Keeper#keeper{living = Others}}
    end;
handle_info({restart, Ref}, Keeper) ->
    {noreply, restart(Ref, Keeper)};
handle_info(_Message, Keeper) ->
    {noreply, Keeper}.

watch(Ref, Pid, Logger, Keeper = #keeper{living = Living, ended = Ended}) ->
    Patience =
        case Ended of
            #{Ref := #kept{patience = Before}} -> Before;
            #{} -> outrider_patience:new()
        end,
    Kept = #kept{ref = Ref, logger = Logger, started = now_ms(), patience = Patience},
    Keeper#keeper{living = Living#{monitor(process, Pid) => Kept}, ended = maps:remove(Ref, Ended)}.

ended(Kept = #kept{ref = Ref, started = Started, patience = Before}, Keeper = #keeper{ended = Ended}) ->
    Now = now_ms(),
    Patient =
        case Now - Started >= ?RECOVERED_MS of
            true -> outrider_patience:new();
            false -> Before
        end,
    {Pause, IsNews, Patience} = outrider_patience:failed(Now, 0, Patient),
    _ = erlang:send_after(Pause, self(), {restart, Ref}),
    Keeper#keeper{ended = Ended#{Ref => Kept#kept{patience = Patience, is_news = IsNews}}}.

%% Its start is announced by a message, as every one. One that its user has started meanwhile is left alone. Where the whole
%% application stops, the supervisor does not answer any more.
restart(Ref, Keeper = #keeper{supervisor = Supervisor, ended = Ended}) ->
    case Ended of
        #{Ref := Kept} ->
            case supervisor:start_child(Supervisor, child_spec(Ref, {?MODULE, restart_listener, [Ref]})) of
                {error, {already_started, _}} ->
                    Keeper;
                {error, {Reason, _Child}} ->
                    warn("Outrider listener ~p cannot be started again for reason ~0p; it is tried again~n", Reason, Kept),
                    ended(Kept#kept{started = now_ms()}, Keeper);
                {ok, undefined} ->
                    Keeper#keeper{ended = maps:remove(Ref, Ended)};
                {ok, Pid} when is_pid(Pid) ->
                    warn("Outrider listener ~p has ended for reason ~0p and was started again~n", Kept#kept.reason, Kept),
                    Keeper
            end;
        #{} ->
            Keeper
    end.

warn(_, _, #kept{is_news = false}) ->
    ok;
warn(Format, Reason, #kept{ref = Ref, logger = Logger, is_news = true}) ->
    ranch:log(warning, Format, [Ref, Reason], Logger).

now_ms() ->
    erlang:monotonic_time(millisecond).
