%%% The other nodes: where a listener runs, too, and how frames for the clients there are sent.
%%%
%%% Each node has a process of this name, which takes what others send; it is found by pg, in a scope of our own, in the group of each listener
%%% that runs on its node. While two nodes do not see each other, what one of them sends to the other is lost, as any message
%%% between nodes.
-module(outrider_nodes).

-export([start_link/0, name/0, join/1, leave/1, others/1, send/2, relay/1]).
-export_type([relay/0, elsewhere/0]).

-define(SCOPE, outrider).

-type relay() :: pid() | {?MODULE, node()}.
%% What a node is sent for its clients. The frames are encoded for the port.
-type elsewhere() ::
    {publish, ranch:ref(), Topic :: binary(), Except :: none | pid(), Frames :: binary()}
    | {send_many, [pid()], Frames :: binary()}.

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    pg:start_link(?SCOPE).

%% The name under which the process that takes what others send is registered.
-spec name() -> atom().
name() ->
    ?MODULE.

%% This listener runs on this node; again has no effect.
-spec join(ranch:ref()) -> ok.
join(Ref) ->
    Relay = whereis(?MODULE),
    case lists:member(Relay, pg:get_local_members(?SCOPE, Ref)) of
        true -> ok;
        false -> pg:join(?SCOPE, Ref, Relay)
    end.

%% It does so no longer.
-spec leave(ranch:ref()) -> ok.
leave(Ref) ->
    _ = [pg:leave(?SCOPE, Ref, Relay) || Relay <- pg:get_local_members(?SCOPE, Ref)],
    ok.

%% The relays of the other nodes on which it runs.
-spec others(ranch:ref()) -> [relay()].
others(Ref) ->
    [Pid || Pid <- pg:get_members(?SCOPE, Ref), node(Pid) =/= node()].

%% The relay of a node.
-spec relay(node()) -> relay().
relay(Node) ->
    {?MODULE, Node}.

%% In order for one sender.
-spec send(relay(), elsewhere()) -> ok.
send(Relay, Message) ->
    Relay ! {?MODULE, Message},
    ok.
