%% What becomes of clients that do not take what is sent to many: a publish waits for nobody.
-module(outrider_broadcast_slow_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([drop_counts_what_it_drops/1, drop_tells_while_the_client_lags/1, close_ends_the_client_with_1013/1]).
-export([block_ends_the_client_beyond_four_windows/1, a_large_max_backlog_is_what_it_says/1, one_slow_client_delays_nobody/1]).
-export([what_waits_for_many_is_held_once/1, what_waits_is_held_once_although_the_clients_are_closed/1]).
-export([many_small_ones_cost_what_they_are/1, max_queued_counts_it_once/1, whoever_is_shed_frees_what_it_holds_at_once/1]).
-export([close_ends_a_client_whose_handshake_is_not_over/1, who_takes_all_is_kept_however_much_comes_at_once/1]).

-import(own_case, [server/1]).
-import(os_process, [until/1]).

-define(TOPIC, <<"topic">>).
-define(WINDOW, 20000).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    {Options, Transport} = setup(Case),
    Setup = #{routes => broadcast_case:routes(Options), transport => Transport#{socket_opts => [{port, 0}, {sndbuf, 16384}]}},
    own_case:init(Case, Setup, Config).

end_per_testcase(Case, _) ->
    own_case:stop(Case).

setup(drop_counts_what_it_drops) -> {#{on_backlog => drop, max_backlog => 100000}, #{}};
setup(drop_tells_while_the_client_lags) -> {#{on_backlog => drop, max_backlog => 100000}, #{}};
setup(close_ends_the_client_with_1013) -> {#{on_backlog => close, max_backlog => 100000}, #{}};
setup(block_ends_the_client_beyond_four_windows) -> {#{}, #{window => ?WINDOW}};
setup(a_large_max_backlog_is_what_it_says) -> {#{max_backlog => 1 bsl 40}, #{window => ?WINDOW}};
setup(who_takes_all_is_kept_however_much_comes_at_once) -> {#{}, #{window => ?WINDOW}};
setup(one_slow_client_delays_nobody) -> {#{}, #{window => 1000000}};
setup(what_waits_for_many_is_held_once) -> {#{}, #{}};
setup(what_waits_is_held_once_although_the_clients_are_closed) -> {#{on_backlog => close}, #{}};
setup(many_small_ones_cost_what_they_are) -> {#{on_backlog => drop}, #{}};
setup(close_ends_a_client_whose_handshake_is_not_over) -> {#{on_backlog => close, max_backlog => 100000}, #{}};
setup(_) -> {#{max_backlog => 100000000}, #{max_queued => 5000000}}.

%% What came and what was counted is what was sent.
drop_counts_what_it_drops(Config) ->
    #{ref := Ref} = Server = server(Config),
    {Socket, Pid} = slow(Server),
    Sent = 500,
    _ = [ok = outrider:publish(Ref, ?TOPIC, {binary, <<N:32, 0:80000>>}) || N <- lists:seq(1, Sent)],
    #{bytes := 0, dropped := 0} = backlog(Pid),
    Frames = read(Ref, Socket),
    Numbers = [N || {binary, <<N:32, 0:80000>>} <- Frames],
    Numbers = lists:usort(Numbers),
    true = length(Numbers) < Sent,
    until(fun() -> maps:get(dropped, backlog(Pid)) =:= Sent - length(Numbers) end),
    %% Of a publish of several each counts, and all or none of them go.
    _ = [ok = outrider:publish(Ref, ?TOPIC, [{binary, <<N:32, 0:80000>>}, ping, {text, <<"x">>}]) || N <- lists:seq(1, Sent)],
    Again = read(Ref, Socket),
    0 = length(Again) rem 3,
    until(fun() -> maps:get(dropped, backlog(Pid)) =:= 4 * Sent - length(Numbers) - length(Again) end),
    ok = outrider:publish(Ref, ?TOPIC, {text, <<"again">>}),
    {text, <<"again">>} = ws_client:recv(Socket).

%% One that reads a little now and then never has an empty queue.
drop_tells_while_the_client_lags(Config) ->
    #{ref := Ref} = Server = server(Config),
    {Socket, Pid} = slow(Server),
    Publish = fun() -> _ = [ok = outrider:publish(Ref, ?TOPIC, {binary, <<0:80000>>}) || _ <- lists:seq(1, 100)] end,
    Publish(),
    until(fun() ->
        _ = [{binary, _} = ws_client:recv(Socket) || _ <- lists:seq(1, 5)],
        Publish(),
        maps:get(dropped, backlog(Pid)) > 0
    end).

close_ends_the_client_with_1013(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    {Socket, _} = slow(Server),
    _ = [ok = outrider:publish(Ref, ?TOPIC, {binary, <<N:32, 0:80000>>}) || N <- lists:seq(1, 100)],
    %% The handler is told at once, although the client has read nothing.
    {terminate, {error, backlog}} = probe:await(Probe, {terminate, {error, backlog}}),
    {exit, normal} = probe:await_exit(Probe),
    [closed, {close, 1013, <<>>} | Messages] = lists:reverse(ws_client:recv_all(Socket)),
    Numbers = [N || {binary, <<N:32, 0:80000>>} <- lists:reverse(Messages)],
    Numbers = lists:seq(1, length(Messages)),
    until(fun() -> outrider:subscribers(Ref, ?TOPIC) =:= 0 end).

block_ends_the_client_beyond_four_windows(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    {Socket, Pid} = slow(Server),
    %% Filled, then stopped: what is sent now waits.
    os_process:while_stopped(os_process:sidecar(Ref), fun() ->
        ok = outrider:publish(Ref, ?TOPIC, {binary, binary:copy(<<"x">>, 4 * ?WINDOW + 4000000)})
    end),
    until(fun() -> outrider:subscribers(Ref, ?TOPIC) =:= 1 end),
    true = is_process_alive(Pid),
    ok = outrider:publish(Ref, ?TOPIC, {text, <<"one more">>}),
    {terminate, {error, backlog}} = probe:await(Probe, {terminate, {error, backlog}}),
    %% What had been begun is whole.
    [{binary, _}, {close, 1013, <<>>}, closed] = ws_client:recv_all(Socket).

a_large_max_backlog_is_what_it_says(Config) ->
    #{ref := Ref} = Server = server(Config),
    {Socket, _} = slow(Server),
    Large = binary:copy(<<"x">>, 1000000),
    _ = [ok = outrider:publish(Ref, ?TOPIC, {binary, Large}) || _ <- lists:seq(1, 10)],
    _ = [{binary, Large} = ws_client:recv(Socket) || _ <- lists:seq(1, 10)].

one_slow_client_delays_nobody(Config) ->
    #{ref := Ref} = Server = server(Config),
    {Slow, _} = slow(Server),
    Others = [broadcast_case:member(Server, []) || _ <- lists:seq(1, 10)],
    _ = [
        begin
            ok = outrider:publish(Ref, ?TOPIC, {binary, <<N:32, 0:400000>>}),
            _ = [{binary, <<N:32, _/binary>>} = ws_client:recv(Socket) || {Socket, _} <- Others]
        end
     || N <- lists:seq(1, 100)
    ],
    [closed, {close, 1013, <<>>} | _] = lists:reverse(ws_client:recv_all(Slow)).

%% More for each than may wait, and more in all than the sidecar takes note of, before anybody is written to.
who_takes_all_is_kept_however_much_comes_at_once(Config) ->
    #{ref := Ref} = Server = server(Config),
    Members = [broadcast_case:member(Server, []) || _ <- lists:seq(1, 60)],
    Numbers = lists:seq(1, 1300),
    os_process:while_stopped(os_process:sidecar(Ref), fun() ->
        _ = [ok = outrider:publish(Ref, ?TOPIC, {binary, <<N:32>>}) || N <- Numbers],
        ok
    end),
    _ = [{binary, <<N:32>>} = ws_client:recv(Socket) || {Socket, _} <- Members, N <- Numbers],
    _ = [true = is_process_alive(Pid) || {_, Pid} <- Members],
    ok.

%% 1 MB for 200 clients that do not read, of one setting and of another.
what_waits_for_many_is_held_once(Config) ->
    #{ref := Ref} = Server = server(Config),
    Clients = [slow(Server, Headers) || Headers <- [[], [{"Sec-WebSocket-Extensions", "permessage-deflate"}]], _ <- lists:seq(1, 100)],
    Before = most_memory(Ref),
    ok = outrider:publish(Ref, ?TOPIC, {binary, rand:bytes(1000000)}),
    200 = outrider:subscribers(Ref, ?TOPIC),
    Growth = most_memory(Ref) - Before,
    ct:pal("1 MB for 200 clients: ~b bytes", [Growth]),
    true = Growth < 12000000,
    _ = [true = is_process_alive(Pid) || {_, Pid} <- Clients],
    ok.

%% Each has begun to get it, so it goes out whole before its close frame.
what_waits_is_held_once_although_the_clients_are_closed(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    Clients = [slow(Server) || _ <- lists:seq(1, 100)],
    Large = rand:bytes(1000000),
    Before = most_memory(Ref),
    ok = outrider:publish(Ref, ?TOPIC, {binary, Large}),
    %% Answered in a turn of its own each: after some turns, some of it has been written to each.
    [100] = lists:usort([outrider:subscribers(Ref, ?TOPIC) || _ <- lists:seq(1, 10)]),
    ok = outrider:publish(Ref, ?TOPIC, {text, <<"one more">>}),
    ok = probe:await_exits(Probe, 100),
    Growth = most_memory(Ref) - Before,
    ct:pal("1 MB for 100 clients that are closed: ~b bytes", [Growth]),
    true = Growth < 12000000,
    _ = [[{binary, Large}, {close, 1013, <<>>}, closed] = ws_client:recv_all(Socket) || {Socket, _} <- Clients],
    ok.

%% A million frames of a byte: what holds each for each client counts, too.
many_small_ones_cost_what_they_are(Config) ->
    #{ref := Ref} = Server = server(Config),
    Count = 20,
    _ = [slow(Server) || _ <- lists:seq(1, Count)],
    ok = outrider:publish(Ref, ?TOPIC, {binary, rand:bytes(100000)}),
    Before = most_memory(Ref),
    Many = [outrider_protocol:bundle(0, 1, [<<104, 4, 119, 7, "publish", 109, 5:32, "topic", 119, 4, "none">>,
        outrider_protocol:frames({binary, <<"x">>})]) || _ <- lists:seq(1, 1000)],
    [{Port, _, _}] = outrider_registry:collectors(Ref),
    _ = [port_command(Port, outrider_protocol:packet(1000, Many)) || _ <- lists:seq(1, 150)],
    Count = outrider:subscribers(Ref, ?TOPIC),
    Growth = most_memory(Ref) - Before,
    ct:pal("frames of a byte for ~b clients: ~b bytes", [Count, Growth]),
    true = Growth < 2 * Count * 262144.

max_queued_counts_it_once(Config) ->
    #{ref := Ref} = Server = server(Config),
    Clients = [slow(Server) || _ <- lists:seq(1, 20)],
    ok = outrider:publish(Ref, ?TOPIC, {binary, rand:bytes(4000000)}),
    20 = outrider:subscribers(Ref, ?TOPIC),
    true = lists:all(fun({_, Pid}) -> is_process_alive(Pid) end, Clients),
    ok = outrider:publish(Ref, ?TOPIC, {binary, rand:bytes(4000000)}),
    until(fun() -> outrider:subscribers(Ref, ?TOPIC) =:= 0 end).

%% So the next one need not go, too.
whoever_is_shed_frees_what_it_holds_at_once(Config) ->
    #{ref := Ref} = Server = server(Config),
    {_, First} = slow(Server),
    {_, Second} = slow(Server),
    ok = broadcast_case:run(Second, fun(State) -> {[{unsubscribe, ?TOPIC}], State} end),
    Monitors = [{Pid, monitor(process, Pid)} || Pid <- [First, Second]],
    ok = outrider:publish(Ref, ?TOPIC, {binary, rand:bytes(4900000)}),
    1 = outrider:subscribers(Ref, ?TOPIC),
    Pieces = [{binary, rand:bytes(100000)} || _ <- lists:seq(1, 10)],
    ok = broadcast_case:run(Second, fun(State) -> {Pieces, State} end),
    {First, Ended} = lists:keyfind(First, 1, Monitors),
    receive {'DOWN', Ended, process, First, _} -> ok after 5000 -> error(not_shed) end,
    {Second, Monitor} = lists:keyfind(Second, 1, Monitors),
    %% Answered by the sidecar: whatever it has said of the second one has come before.
    0 = outrider:subscribers(Ref, ?TOPIC),
    ok = broadcast_case:settle(Second),
    receive {'DOWN', Monitor, process, Second, _} -> error(shed_too) after 0 -> ok end.

%% Its handler runs, and is a member; the answer waits for the body of the handshake. Nothing of the messages had been begun.
close_ends_a_client_whose_handshake_is_not_over(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, ws_client:handshake("/", [{"Content-Length", "4"}])),
    until(fun() -> outrider:subscribers(Ref, ?TOPIC) =:= 1 end),
    Large = rand:bytes(100000),
    _ = [ok = outrider:publish(Ref, ?TOPIC, {binary, Large}) || _ <- [1, 2]],
    {terminate, {error, backlog}} = probe:await(Probe, {terminate, {error, backlog}}),
    ok = http_client:send(Socket, "body"),
    #{status := 101} = http_client:response(Socket),
    [{close, 1013, <<>>}, closed] = ws_client:recv_all(Socket).

%%% Helpers

slow(Server) ->
    slow(Server, []).

%% A client whose kernel takes little for it.
slow(Server, Headers) ->
    broadcast_case:member(Server, Headers, [{recbuf, 4096}]).

%% All that waits for the client. The pong comes behind it.
read(Ref, Socket) ->
    _ = outrider:subscribers(Ref, ?TOPIC),
    ok = ws_client:send(Socket, {ping, <<"all?">>}),
    read_to_pong(Socket).

read_to_pong(Socket) ->
    case ws_client:recv(Socket) of
        {pong, <<"all?">>} -> [];
        Frame when Frame =/= timeout, Frame =/= closed -> [Frame | read_to_pong(Socket)]
    end.

backlog(Pid) ->
    Self = self(),
    ok = broadcast_case:run(Pid, fun(State) -> Self ! {backlog, outrider:backlog()}, {[], State} end),
    receive {backlog, Info} -> Info end.

%% The most memory that the sidecar has had, in bytes.
most_memory(Ref) ->
    [Kilobytes, "kB"] = os_process:status(os_process:sidecar(Ref), "VmHWM"),
    list_to_integer(Kilobytes) * 1024.
