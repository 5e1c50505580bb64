%%% The top supervisor. Its children are the listeners started with outrider:start_clear/3 or start_tls/3, the drains of
%%% listeners, the feeds of dashboards that somebody looks at, and what all listeners have in common: outrider_keeper,
%%% outrider_nodes and outrider_relay.
%%%
%%% The first three are temporary, so that the end of none can end the others; outrider_keeper has listeners started again. This
%%% process owns the registry's table, so that the table lives as long as any listener of the application.
-module(outrider_sup).
-behaviour(supervisor).

-export([start_link/0, start_listener/3, stop_listener/1, start_drain/1, start_feed/2]).
-export([init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec start_listener(ranch:ref(), map(), cowboy:opts()) -> supervisor:startchild_ret().
start_listener(Ref, TransOpts, ProtoOpts) ->
    supervisor:start_child(?MODULE, outrider_keeper:child_spec(Ref, TransOpts, ProtoOpts)).

%% Stop a listener and forget it, also one that has just ended and is to be started again; not_found for one of another
%% supervisor, and for one that somebody else stops at the same time.
-spec stop_listener(ranch:ref()) -> ok | {error, not_found}.
stop_listener(Ref) ->
    WasKept = outrider_registry:forget(Ref),
    case {supervisor:terminate_child(?MODULE, outrider_listener_sup:id(Ref)), WasKept} of
        {{error, not_found}, false} -> {error, not_found};
        _ -> outrider_registry:remove(Ref)
    end.

%% At the end of the application drains end first, for what is left of their work is done by the listeners' own end.
-spec start_drain({module(), atom(), [term()]}) -> supervisor:startchild_ret().
start_drain(Start) ->
    supervisor:start_child(?MODULE, #{id => {drain, make_ref()}, start => Start, restart => temporary}).

%% What the viewers of a listener's dashboard are sent; one for each listener.
-spec start_feed(ranch:ref(), {module(), atom(), [term()]}) -> supervisor:startchild_ret().
start_feed(Ref, Start) ->
    supervisor:start_child(?MODULE, #{id => {feed, Ref}, start => Start, restart => temporary}).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    ok = outrider_registry:new(),
    Keeper = #{id => outrider_keeper, start => {outrider_keeper, start_link, [self()]}},
    Nodes = #{id => outrider_nodes, start => {outrider_nodes, start_link, []}},
    Relay = #{id => outrider_relay, start => {outrider_relay, start_link, []}},
    {ok, {#{strategy => one_for_one, intensity => 5, period => 10}, [Keeper, Nodes, Relay]}}.
