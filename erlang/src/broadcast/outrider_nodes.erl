%%% The other nodes: where a listener runs, too, and how frames for the clients there are sent.
%%%
%%% Each node has a process of this name (outrider_relay), which takes what others send. Where a listener runs is known by pg, in
%%% a scope of our own: the processes of its sidecars are in its group, and leave it by their end. While two nodes do not see each
%%% other, what one of them sends to the other is lost, as any message between nodes. So is what a node of another version of
%%% the port protocol sends, in which the frames are encoded.
-module(outrider_nodes).

-export([start_link/0, name/0, join/1, others/1, send/2]).
-export_type([elsewhere/0]).

-define(SCOPE, outrider).

%% What a node is sent for its clients. The frames are encoded for the port.
-type elsewhere() ::
    {publish, ranch:ref(), Topic :: binary(), Except :: none | pid(), Frames :: binary()}
    | {send_many, [pid()], Frames :: binary()}.

%% To be called again when the scope has died: the sidecars that run meanwhile are in their groups again.
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    Started = pg:start_link(?SCOPE),
    _ = [pg:join(?SCOPE, Ref, Pid) || Ref <- outrider_registry:refs(), Pid <- sidecars(Ref)],
    Started.

%% Each process that has a port to a sidecar of this listener.
sidecars(Ref) ->
    [Owner || Collector <- outrider_registry:collectors(Ref), Owner <- [outrider_collector:owner(Collector)], Owner =/= undefined].

%% The name under which the process that takes what others send is registered.
-spec name() -> atom().
name() ->
    ?MODULE.

%% To be called by the process of a sidecar: this listener runs on this node.
-spec join(ranch:ref()) -> ok.
join(Ref) ->
    pg:join(?SCOPE, Ref, self()).

%% The other nodes on which it runs.
-spec others(ranch:ref()) -> [node()].
others(Ref) ->
    lists:usort([node(Pid) || Pid <- pg:get_members(?SCOPE, Ref), node(Pid) =/= node()]).

%% In order for one sender.
-spec send(node(), elsewhere()) -> ok.
send(Node, Message) ->
    _ = {?MODULE, Node} ! {?MODULE, outrider_protocol:version(), Message},
    ok.
