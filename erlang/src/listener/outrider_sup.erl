%%% The top supervisor: its children are the listeners started with outrider:start_clear/3, and the drains of listeners.
%%%
%%% It owns the registry's table, so that the table lives as long as any listener of the application.
-module(outrider_sup).
-behaviour(supervisor).

-export([start_link/0, start_listener/3, stop_listener/1, start_drain/1]).
-export([init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec start_listener(ranch:ref(), map(), cowboy:opts()) -> supervisor:startchild_ret().
start_listener(Ref, TransOpts, ProtoOpts) ->
    supervisor:start_child(?MODULE, outrider_listener_sup:child_spec(Ref, TransOpts, ProtoOpts)).

%% Stop a listener and forget it; not_found for one of another supervisor.
-spec stop_listener(ranch:ref()) -> ok | {error, not_found}.
stop_listener(Ref) ->
    Id = outrider_listener_sup:id(Ref),
    case supervisor:terminate_child(?MODULE, Id) of
        ok ->
            %% Unless somebody else, who stops it at the same time, has done so already.
            _ = supervisor:delete_child(?MODULE, Id),
            outrider_registry:remove(Ref);
        {error, not_found} = Error ->
            Error
    end.

%% At the end of the application drains end first, for what is left of their work is done by the listeners' own end.
-spec start_drain({module(), atom(), [term()]}) -> supervisor:startchild_ret().
start_drain(Start) ->
    supervisor:start_child(?MODULE, #{id => {drain, make_ref()}, start => Start, restart => temporary}).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    ok = outrider_registry:new(),
    Nodes = #{id => outrider_nodes, start => {outrider_nodes, start_link, []}},
    Relay = #{id => outrider_relay, start => {outrider_relay, start_link, []}},
    {ok, {#{strategy => one_for_one, intensity => 5, period => 10}, [Nodes, Relay]}}.
