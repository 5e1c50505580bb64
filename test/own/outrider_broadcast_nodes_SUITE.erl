%% Broadcasts between nodes: two VMs beside this one, connected by Erlang distribution, each with a listener of the same name.
%%
%% This VM is none of the nodes: it drives them, and is the clients.
-module(outrider_broadcast_nodes_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_publish_reaches_the_clients_of_all_nodes/1, send_many_reaches_processes_of_all_nodes/1]).
-export([what_a_process_sends_to_another_node_keeps_its_order/1, publish_from_leaves_one_process_of_any_node_out/1]).
-export([a_node_that_stops_its_listener_is_sent_nothing/1, a_node_that_dies_is_left_out/1]).
-export([nodes_that_were_cut_off_find_each_other_again/1, a_relay_that_dies_comes_back/1]).
-export([a_scope_that_dies_knows_the_sidecars_again/1]).
-export([a_message_of_another_version_is_ignored/1, a_node_whose_sidecar_stands_still_delays_nobody/1]).
%% In the nodes.
-export([start/0, pids/0, send/3, order/3, flood/2, held/0]).

-define(TOPIC, <<"topic">>).
-define(REF, broadcast).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(_, Config) ->
    Cookie = "outrider_" ++ integer_to_list(erlang:unique_integer([positive])),
    Nodes = [A, B] = [node_of(Name, Cookie) || Name <- [a, b]],
    pong = call(A, net_adm, ping, [maps:get(node, B)]),
    ok = know_each_other(A, B),
    [{nodes, Nodes} | Config].

end_per_testcase(_, Config) ->
    _ = [try peer:stop(Peer) catch _:_ -> gone end || #{peer := Peer} <- proplists:get_value(nodes, Config)],
    ok.

node_of(Name, Cookie) ->
    {ok, Peer, Node} = peer:start(#{
        connection => standard_io,
        name => peer:random_name(Name),
        host => "127.0.0.1",
        longnames => true,
        args => ["-setcookie", Cookie, "-connect_all", "false", "-kernel", "inet_dist_use_interface", "{127,0,0,1}", "-pa" | code:get_path()]
    }),
    _ = [peer:call(Peer, application, set_env, [outrider, executable, Path])
        || {ok, Path} <- [application:get_env(outrider, executable)]],
    Server = peer:call(Peer, ?MODULE, start, []),
    #{peer => Peer, node => Node, server => Server}.

know_each_other(#{node := NodeA} = A, #{node := NodeB} = B) ->
    os_process:until(fun() ->
        call(A, outrider_nodes, others, [?REF]) =:= [NodeB] andalso call(B, outrider_nodes, others, [?REF]) =:= [NodeA]
    end).

call(#{peer := Peer}, Module, Function, Args) ->
    peer:call(Peer, Module, Function, Args, 10000).

nodes_of(Config) ->
    proplists:get_value(nodes, Config).

a_publish_reaches_the_clients_of_all_nodes(Config) ->
    [A, B] = nodes_of(Config),
    [{OnA, PidA}, {OnB, _}] = [client(Node) || Node <- [A, B]],
    ok = call(A, outrider, publish, [?REF, ?TOPIC, {text, <<"1">>}]),
    ok = call(B, outrider, publish, [?REF, ?TOPIC, [{text, <<"2">>}, ping]]),
    %% Each counts its own.
    [1, 1] = [call(Node, outrider, subscribers, [?REF, ?TOPIC]) || Node <- [A, B]],
    received(OnA, [{text, <<"1">>}, {text, <<"2">>}, ping]),
    received(OnB, [{text, <<"1">>}, {text, <<"2">>}, ping]),
    ok = call(A, ?MODULE, send, [PidA, ?TOPIC, {text, <<"3">>}]),
    received(OnB, [{text, <<"3">>}]),
    ok = call(A, outrider, publish, [?REF, ?TOPIC, {text, <<"4">>}]),
    received(OnA, [{text, <<"4">>}]).

send_many_reaches_processes_of_all_nodes(Config) ->
    [A, B] = nodes_of(Config),
    Clients = [client(Node) || Node <- [A, B, A, B]],
    Pids = [Pid || {_, Pid} <- Clients],
    4 = call(A, outrider, send_many, [Pids, {text, <<"1">>}]),
    %% Those of the other node alone, and one that has no WebSocket.
    3 = call(B, outrider, send_many, [[hd(Pids), lists:nth(3, Pids), call(A, erlang, whereis, [outrider_sup])], {text, <<"2">>}]),
    _ = [{text, <<"1">>} = ws_client:recv(Socket) || {Socket, _} <- Clients],
    _ = [{text, <<"2">>} = ws_client:recv(Socket) || {Socket, _} <- [hd(Clients), lists:nth(3, Clients)]],
    %% A pid of a node that has no Outrider.
    1 = call(A, outrider, send_many, [[self_of(B)], {text, <<"3">>}]).

what_a_process_sends_to_another_node_keeps_its_order(Config) ->
    [A, B] = nodes_of(Config),
    {Socket, Pid} = client(B),
    ok = call(A, ?MODULE, order, [Pid, ?TOPIC, 1000]),
    received(Socket, [{text, integer_to_binary(N)} || N <- lists:seq(1, 1000)]).

publish_from_leaves_one_process_of_any_node_out(Config) ->
    [A, B] = nodes_of(Config),
    [{OnA, _}, {OnB, PidB}] = [client(Node) || Node <- [A, B]],
    _ = [ok = call(Node, outrider, publish_from, [PidB, ?REF, ?TOPIC, {text, <<"1">>}]) || Node <- [A, B]],
    received(OnA, [{text, <<"1">>}, {text, <<"1">>}]),
    ok = call(B, outrider, publish, [?REF, ?TOPIC, {text, <<"2">>}]),
    received(OnB, [{text, <<"2">>}]).

a_node_that_stops_its_listener_is_sent_nothing(Config) ->
    [A, B] = nodes_of(Config),
    {OnA, _} = client(A),
    ok = call(B, outrider, stop_listener, [?REF]),
    os_process:until(fun() -> call(A, outrider_nodes, others, [?REF]) =:= [] end),
    ok = call(A, outrider, publish, [?REF, ?TOPIC, {text, <<"1">>}]),
    received(OnA, [{text, <<"1">>}]),
    %% One that was under way, and one to a process that was there.
    ok = call(A, outrider_nodes, send, [maps:get(node, B), {publish, ?REF, ?TOPIC, none, <<108, 1:32, 119, 4, "ping", 106>>}]),
    again = again(B, A),
    {OnB, _} = client(B#{server := call(B, outrider, get_port, [?REF])}),
    ok = call(A, outrider, publish, [?REF, ?TOPIC, {text, <<"2">>}]),
    received(OnB, [{text, <<"2">>}]).

again(B, A) ->
    _ = call(B, ?MODULE, start, []),
    ok = know_each_other(A, B),
    again.

a_node_that_dies_is_left_out(Config) ->
    [A, B] = nodes_of(Config),
    {OnA, _} = client(A),
    {_, PidB} = client(B),
    ok = os_process:signal(list_to_integer(call(B, os, getpid, [])), "KILL"),
    ok = call(A, outrider, publish, [?REF, ?TOPIC, {text, <<"1">>}]),
    1 = call(A, outrider, send_many, [[PidB], {text, <<"2">>}]),
    os_process:until(fun() -> call(A, outrider_nodes, others, [?REF]) =:= [] end),
    ok = call(A, outrider, publish, [?REF, ?TOPIC, {text, <<"3">>}]),
    received(OnA, [{text, <<"1">>}, {text, <<"3">>}]).

nodes_that_were_cut_off_find_each_other_again(Config) ->
    [A, B] = nodes_of(Config),
    {OnB, _} = client(B),
    true = call(A, erlang, disconnect_node, [maps:get(node, B)]),
    os_process:until(fun() -> call(A, outrider_nodes, others, [?REF]) =:= [] end),
    %% Lost: nobody keeps it.
    ok = call(A, outrider, publish, [?REF, ?TOPIC, {text, <<"1">>}]),
    pong = call(A, net_adm, ping, [maps:get(node, B)]),
    ok = know_each_other(A, B),
    ok = call(A, outrider, publish, [?REF, ?TOPIC, {text, <<"2">>}]),
    received(OnB, [{text, <<"2">>}]).

a_relay_that_dies_comes_back(Config) ->
    [A, B] = nodes_of(Config),
    {OnB, PidB} = client(B),
    Relay = call(B, erlang, whereis, [outrider_nodes]),
    true = call(B, erlang, exit, [Relay, kill]),
    ok = another(B, outrider_nodes, Relay),
    ok = call(A, outrider, publish, [?REF, ?TOPIC, {text, <<"1">>}]),
    1 = call(A, outrider, send_many, [[PidB], {text, <<"2">>}]),
    received(OnB, [{text, <<"1">>}, {text, <<"2">>}]).

a_scope_that_dies_knows_the_sidecars_again(Config) ->
    [A, B] = nodes_of(Config),
    {OnB, _} = client(B),
    Scope = call(B, erlang, whereis, [outrider]),
    true = call(B, erlang, exit, [Scope, kill]),
    ok = another(B, outrider, Scope),
    ok = know_each_other(A, B),
    ok = call(A, outrider, publish, [?REF, ?TOPIC, {text, <<"again">>}]),
    received(OnB, [{text, <<"again">>}]).

%% Waits until another process than this one has the name there.
another(Node, Name, Old) ->
    os_process:until(fun() ->
        New = call(Node, erlang, whereis, [Name]),
        is_pid(New) andalso New =/= Old
    end).

a_message_of_another_version_is_ignored(Config) ->
    [A, B] = nodes_of(Config),
    {OnB, _} = client(B),
    To = {outrider_nodes, maps:get(node, B)},
    _ = [call(A, erlang, send, [To, Message])
        || Message <- [{outrider_nodes, outrider_protocol:version() + 1, something}, {outrider_nodes, something}, something]],
    ok = call(A, outrider, publish, [?REF, ?TOPIC, {text, <<"1">>}]),
    received(OnB, [{text, <<"1">>}]).

%% What waits there is bounded, and dropped above.
a_node_whose_sidecar_stands_still_delays_nobody(Config) ->
    [A, B] = nodes_of(Config),
    {OnB, _} = client(B),
    OsPid = call(B, os_process, sidecar, [?REF]),
    Memory = os_process:while_stopped(OsPid, fun() ->
        ok = call(A, ?MODULE, flood, [?TOPIC, 150]),
        {OnA, _} = client(A),
        ok = call(A, outrider, publish, [?REF, ?TOPIC, {text, <<"1">>}]),
        {text, <<"1">>} = ws_client:recv(OnA),
        %% Behind all that A has sent.
        _ = call(A, gen_server, call, [{outrider_nodes, maps:get(node, B)}, are_you_there]),
        call(B, ?MODULE, held, [])
    end),
    ct:pal("150 MB for a node whose sidecar stands still: its VM has ~b bytes", [Memory]),
    true = Memory < 80000000,
    _ = http_client:close(OnB),
    os_process:until(fun() -> call(B, outrider, subscribers, [?REF, ?TOPIC]) =:= 0 end),
    %% What had waited may still be on its way, and is too much for a client that comes meanwhile.
    os_process:until(fun() ->
        Again = ws_client:open(server(B)),
        ok = has_member(B, 100),
        ok = call(A, outrider, publish, [?REF, ?TOPIC, {text, <<"2">>}]),
        Last = last(Again),
        http_client:close(Again),
        Last =:= {text, <<"2">>}
    end).

%%% Helpers

client(Node) ->
    Before = call(Node, ?MODULE, pids, []),
    Socket = ws_client:open(server(Node)),
    os_process:until(fun() -> call(Node, ?MODULE, pids, []) -- Before =/= [] end),
    [Pid] = call(Node, ?MODULE, pids, []) -- Before,
    ok = call(Node, broadcast_case, settle, [Pid]),
    {Socket, Pid}.

server(#{server := Port}) when is_integer(Port) -> #{port => Port};
server(#{server := Server}) -> Server.

%% Waits until a node has a member, or for a second: it may have been sent away.
has_member(_, 0) -> ok;
has_member(Node, Looks) ->
    case call(Node, outrider, subscribers, [?REF, ?TOPIC]) of
        0 -> timer:sleep(10), has_member(Node, Looks - 1);
        _ -> ok
    end.

self_of(#{peer := Peer}) ->
    peer:call(Peer, erlang, self, []).

received(Socket, Frames) ->
    Frames = ws_client:recv(Socket, length(Frames)),
    ok.

%% Of what was sent before it had come, some may be there.
last(Socket) ->
    case ws_client:recv(Socket) of
        {binary, _} -> last(Socket);
        {text, <<"1">>} -> last(Socket);
        Frame -> Frame
    end.

%%% In the nodes

start() ->
    own_case:listen(?REF, #{routes => [{Path, Handler, Options#{silent => true}}
        || {Path, Handler, Options} <- broadcast_case:routes(#{max_backlog => 4000000})], probe => probe()}).

%% It lives as long as the node.
probe() ->
    Self = self(),
    Keeper = spawn(fun() -> Self ! {self(), probe:start()}, receive stop -> ok end end),
    receive {Keeper, Probe} -> Probe end.

pids() ->
    outrider:procs(?REF, connections).

%% By the command.
send(Pid, Topic, Frame) ->
    broadcast_case:run(Pid, fun(State) -> {[{publish, Topic, Frame}], State} end).

%% From one process, in every way.
order(Pid, Topic, Count) ->
    lists:foreach(fun(N) ->
        Frame = {text, integer_to_binary(N)},
        case N rem 2 of
            0 -> ok = outrider:publish(?REF, Topic, Frame);
            1 -> 1 = outrider:send_many([Pid], Frame)
        end
    end, lists:seq(1, Count)).

%% Of 1 MB each.
flood(Topic, Count) ->
    Large = binary:copy(<<"x">>, 1000000),
    lists:foreach(fun(_) -> ok = outrider:publish(?REF, Topic, {binary, Large}) end, lists:seq(1, Count)).

%% Bytes of what waits for the sidecars.
held() ->
    _ = [garbage_collect(Pid) || Pid <- processes()],
    erlang:memory(binary).
