%% The network between clients and listener is cut: packets vanish, and nobody is told.
%%
%% Three network namespaces: the listener's VM in one, the sockets of the clients in another (they are this VM's), and
%% between them a router that forwards packets or does not. Needs root.
-module(outrider_network_SUITE).

-include_lib("common_test/include/ct.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([nothing_is_lost_by_a_short_cut/1, silent_clients_time_out/1, clients_that_are_sent_to_time_out/1]).
-export([half_sent_requests_time_out/1, close_frames_reach_nobody/1]).
-export([clients_that_do_not_answer_pings_are_gone_and_the_others_untouched/1]).
%% Called in the listener's VM.
-export([start/0, push/1, close/0, stay/1, stayed/1]).

-define(LISTENER, {10, 91, 1, 1}).
-define(CLIENTS, 50).
%% What the listener allows: idle_timeout, send_timeout, request_timeout.
-define(TIMEOUT_MS, 1000).
-define(PING_MS, 4000).

all() ->
    same_test:cases(?MODULE) -- [init_per_suite, end_per_suite, push, stay, stayed].

suite() ->
    [{timetrap, {minutes, 2}}].

init_per_suite(Config) ->
    same_test:start([outrider]),
    Config.

end_per_suite(_) ->
    ok.

init_per_testcase(_, Config) ->
    Net = [Client, Router, Listener] = [lists:concat(["outrider-", os:getpid(), "-", Name])
        || Name <- [client, router, listener]],
    _ = [ip(["netns add ", Name]) || Name <- Net],
    wire({Client, "10.91.2.2"}, {Router, "10.91.2.1"}),
    wire({Listener, "10.91.1.1"}, {Router, "10.91.1.2"}),
    ip(["-n ", Client, " route add default via 10.91.2.1"]),
    ip(["-n ", Listener, " route add default via 10.91.1.2"]),
    forward(1, Router),
    {ok, Peer, _} = peer:start_link(#{
        connection => standard_io,
        exec => {os:find_executable("ip"), ["netns", "exec", Listener, os:find_executable("erl")]},
        args => ["-pa" | code:get_path()]
    }),
    Port = peer:call(Peer, ?MODULE, start, []),
    [{net, Net}, {router, Router}, {peer, Peer}, {client, {"/run/netns/" ++ Client, Port}} | Config].

end_per_testcase(_, Config) ->
    %% Before the namespaces go, whose processes it has.
    ok = peer:stop(?config(peer, Config)),
    _ = [ip(["netns del ", Name]) || Name <- ?config(net, Config)],
    ok.

%% A cable between two namespaces, with the address of either end.
wire({A, AddressA}, {B, AddressB}) ->
    ip(["-n ", A, " link add to-router type veth peer name ", "to-", lists:last(string:lexemes(A, "-")), " netns ", B]),
    up(A, "to-router", AddressA),
    up(B, "to-" ++ lists:last(string:lexemes(A, "-")), AddressB).

up(Name, Device, Address) ->
    ip(["-n ", Name, " address add ", Address, "/24 dev ", Device]),
    ip(["-n ", Name, " link set ", Device, " up"]),
    ip(["-n ", Name, " link set lo up"]).

forward(OnOff, Router) ->
    ip(["netns exec ", Router, " sh -c 'echo ", integer_to_list(OnOff), " > /proc/sys/net/ipv4/ip_forward'"]).

ip(Arguments) ->
    "" = os:cmd(lists:flatten(["ip ", Arguments])),
    ok.

%% In the listener's VM.

start() ->
    ok = leaks:mark(),
    same_test:start([outrider]),
    ok = ledger:open(),
    Quick = #{idle_timeout => ?TIMEOUT_MS},
    Pinged = #{idle_timeout => infinity, ping_interval => ?PING_MS, pong_timeout => ?TIMEOUT_MS},
    Routes = cowboy_router:compile([{'_', [
        {"/ledger", ws_ledger_h, #{}}, {"/quick", ws_ledger_h, Quick}, {"/pinged", ws_ledger_h, Pinged}
    ]}]),
    {ok, _} = same_test:start_listener(outrider, network, [{port, 0}, {send_timeout, ?TIMEOUT_MS}],
        #{env => #{dispatch => Routes}, request_timeout => ?TIMEOUT_MS, idle_timeout => ?TIMEOUT_MS}),
    outrider:get_port(network).

%% So many clients of the listener's own machine, which answer.
stay(Count) ->
    #{port := Port} = outrider:info(network),
    [spawn(fun() ->
        {ok, Direct} = gen_tcp:connect(?LISTENER, Port, [binary, {active, false}]),
        Socket = http_client:tunnelled(Direct, []),
        ok = http_client:send(Socket, ws_client:handshake(["/pinged?here", integer_to_binary(N)])),
        #{status := 101} = http_client:response(Socket),
        answer(Socket, 0)
    end) || N <- lists:seq(1, Count)].

answer(Socket, Count) ->
    receive
        {stayed, From} -> From ! {self(), Count}
    after 0 -> ok
    end,
    {ping, Payload} = ws_client:recv(Socket),
    ok = ws_client:send(Socket, {pong, Payload}),
    answer(Socket, Count + 1).

%% How many pings each of them has answered. A client that was closed is no more.
stayed(Clients) ->
    _ = [Client ! {stayed, self()} || Client <- Clients],
    [receive {Client, Count} -> Count after 3 * ?PING_MS -> error(closed) end || Client <- Clients].

push(Count) ->
    _ = [Pid ! {push, Count} || Pid <- outrider:procs(network, connections)],
    ok.

close() ->
    outrider:stop_listener(network).

%% TCP sends again what was lost; neither side is told that there was a cut.
nothing_is_lost_by_a_short_cut(Config) ->
    Peer = ?config(peer, Config),
    Sockets = clients("/ledger?", Config),
    cut(Config),
    Messages = [{text, iolist_to_binary(io_lib:format("~12..0be", [N]))} || N <- lists:seq(1, 10)],
    _ = [ok = ws_client:send(Socket, Messages) || Socket <- Sockets],
    ok = peer:call(Peer, ?MODULE, push, [1]),
    {error, timeout} = gen_tcp:recv(hd(Sockets), 1, 300),
    mend(Config),
    _ = [begin
        {binary, <<"push", _/binary>>} = ws_client:recv(Socket),
        Messages = ws_client:recv(Socket, 10)
    end || Socket <- Sockets],
    lists:foreach(fun http_client:close/1, Sockets),
    [{?CLIENTS, {error, closed}}] = ends(Config).

silent_clients_time_out(Config) ->
    Sockets = clients("/quick?", Config),
    cut(Config),
    [{?CLIENTS, timeout}] = ends(Config),
    nothing_is_left(Config),
    lists:foreach(fun http_client:close/1, Sockets).

%% Their windows and their sockets fill up; then the handlers do not wait longer than send_timeout.
clients_that_are_sent_to_time_out(Config) ->
    Peer = ?config(peer, Config),
    Sockets = clients("/ledger?", Config),
    cut(Config),
    ok = peer:call(Peer, ?MODULE, push, [8000]),
    [{?CLIENTS, {error, timeout}}] = ends(Config),
    nothing_is_left(Config),
    lists:foreach(fun http_client:close/1, Sockets).

%% None of them has sent a FIN, and none is sent anything but pings.
clients_that_do_not_answer_pings_are_gone_and_the_others_untouched(Config) ->
    Peer = ?config(peer, Config),
    Others = peer:call(Peer, ?MODULE, stay, [?CLIENTS]),
    %% Fewer where each has a tunnel.
    Many = case same_test:is_tls() of true -> 500; false -> 10000 end,
    Vanishing = clients(Many, "/pinged?", fun answering/1, Config),
    ok = os_process:until(fun() -> length(peer:call(Peer, outrider, procs, [network, connections])) =:= Many + ?CLIENTS end),
    Before = erlang:monotonic_time(millisecond),
    cut(Config),
    ok = os_process:until(fun() -> length(peer:call(Peer, outrider, procs, [network, connections])) =< ?CLIENTS end),
    Took = erlang:monotonic_time(millisecond) - Before,
    ct:pal("~b clients were found to be gone within ~b ms", [Many, Took]),
    Answered = peer:call(Peer, ?MODULE, stayed, [Others], 60000),
    More = peer:call(Peer, ?MODULE, stayed, [Others], 60000),
    true = lists:all(fun({A, B}) -> B > A end, lists:zip(Answered, More)),
    %% The kernel sends nothing more to them, either.
    ok = os_process:until(fun() -> half_open(Config) =:= 0 end),
    _ = peer:call(Peer, ?MODULE, close, [], 60000),
    [{?CLIENTS, shutdown}, {Many, timeout}] = ends(Config),
    lists:foreach(fun(Client) -> exit(Client, kill) end, Vanishing).

%% A process that answers pings as long as some come.
answering(Socket) ->
    Client = spawn(fun() ->
        receive {Socket, go} -> ok end,
        ok = inet:setopts(Socket, [{active, true}]),
        answering_loop(Socket)
    end),
    ok = gen_tcp:controlling_process(Socket, Client),
    Client ! {Socket, go},
    Client.

answering_loop(Socket) ->
    receive
        {tcp, Socket, <<16#89, 8, Payload:8/binary>>} ->
            ok = ws_client:send(Socket, {pong, Payload}),
            answering_loop(Socket)
    end.

%% Sockets of the listener's that wait for a client's acknowledgement, whether the sidecar has them or nobody.
half_open(Config) ->
    Listener = lists:last(?config(net, Config)),
    Table = os:cmd("ip netns exec " ++ Listener ++ " cat /proc/net/tcp"),
    %% FIN_WAIT1, CLOSE_WAIT, LAST_ACK, CLOSING.
    length([Line || Line <- string:lexemes(Table, "\n"), [_, _, _, State | _] <- [string:lexemes(Line, " ")],
        lists:member(State, ["04", "08", "09", "0B"])]).

half_sent_requests_time_out(Config) ->
    Sockets = [connect(Config) || _ <- lists:seq(1, ?CLIENTS)],
    _ = [ok = http_client:send(Socket, "GET / HTTP/1.1\r\nHo") || Socket <- Sockets],
    Sidecar = sidecar(Config),
    ok = os_process:until(fun() -> leaks:fds(Sidecar) >= ?CLIENTS end),
    cut(Config),
    nothing_is_left(Config),
    lists:foreach(fun http_client:close/1, Sockets).

%% The listener stops all the same, in its time.
close_frames_reach_nobody(Config) ->
    Peer = ?config(peer, Config),
    Sockets = clients("/ledger?", Config),
    Sidecar = sidecar(Config),
    cut(Config),
    ok = peer:call(Peer, ?MODULE, close, [], 60000),
    [{?CLIENTS, shutdown}] = ends(Config),
    ok = os_process:until(fun() -> leaks:fds(Sidecar) =:= 0 end),
    lists:foreach(fun http_client:close/1, Sockets).

cut(Config) -> forward(0, ?config(router, Config)).

mend(Config) -> forward(1, ?config(router, Config)).

clients(Target, Config) ->
    clients(?CLIENTS, Target, fun(Socket) -> Socket end, Config).

clients(Count, Target, Then, Config) ->
    [begin
        Socket = connect(Config),
        ok = http_client:send(Socket, ws_client:handshake([Target, integer_to_binary(N)])),
        #{status := 101} = http_client:response(Socket),
        Then(Socket)
    end || N <- lists:seq(1, Count)].

connect(Config) ->
    {Namespace, Port} = ?config(client, Config),
    {ok, Socket} = gen_tcp:connect(?LISTENER, Port, [binary, {active, false}, {nodelay, true}, {netns, Namespace}]),
    http_client:tunnelled(Socket, []).

%% Waits for the end of all handlers: how often each reason was given to terminate/3.
ends(Config) ->
    Peer = ?config(peer, Config),
    ok = peer:call(Peer, ledger, settle, [], 60000),
    ok = peer:call(Peer, ledger, audit, [[]]),
    Reasons = [Reason || {_, _, _, _, Reason, _} <- peer:call(Peer, ledger, rows, [])],
    [{length([R || R <- Reasons, R =:= Reason]), Reason} || Reason <- lists:usort(Reasons)].

%% The sidecar has closed the sockets of clients that it cannot reach: it has no more than its own descriptors.
nothing_is_left(Config) ->
    Sidecar = sidecar(Config),
    ok = os_process:until(fun() -> leaks:fds(Sidecar) < 20 end),
    [] = peer:call(?config(peer, Config), outrider, procs, [network, connections]),
    ok.

sidecar(Config) ->
    #{sidecars := [#{os_pid := OsPid}]} = peer:call(?config(peer, Config), outrider, info, [network]),
    integer_to_list(OsPid).
