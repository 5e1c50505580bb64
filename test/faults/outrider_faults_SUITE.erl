%% Faults under load: what dies, stops or breaks while some hundred clients talk, and that nothing is left of it.
%%
%% Each case runs its fault twice: the first time loads code and makes its atoms; the second time must leave behind no
%% process, port, atom, file descriptor or OS process, and in both every handler must have been terminated once and every
%% answer be accounted for. How long the clients were not served is in the log of the case. What a single client and its handler see of
%% each fault is in outrider_failures_SUITE.
-module(outrider_faults_SUITE).

-include_lib("common_test/include/ct.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([the_sidecar_is_killed/1, the_sidecar_is_stopped_for_a_while/1, requests_reach_a_sidecar_that_is_stopped/1]).
-export([handshakes_reach_a_sidecar_that_is_stopped/1, proxy_headers_reach_a_sidecar_that_is_stopped/1]).
-export([the_port_owner_is_killed/1, the_parent_of_the_streams_is_killed/1, the_supervisor_of_the_listener_is_killed/1]).
-export([the_top_supervisor_is_killed/1, streams_are_killed/1, request_processes_are_killed/1]).
-export([the_port_is_closed/1, the_port_is_closed_behind_its_owners_back/1, the_port_is_killed/1]).
-export([clients_reset_their_connections/1, clients_close_one_direction/1]).

-define(CLIENTS, 200).
-define(MANY, 50).
%% Enough to connect many clients on a busy machine; the watchdog is more patient.
-define(REQUEST_TIMEOUT_MS, 6000).

all() ->
    same_test:cases(?MODULE) -- [init_per_suite, end_per_suite].

suite() ->
    [{timetrap, {minutes, 2}}].

init_per_suite(Config) ->
    ok = leaks:mark(),
    same_test:start([outrider]),
    Config.

end_per_suite(_) ->
    ok.

init_per_testcase(Case, Config) ->
    Server = #{name => outrider, ref => Case, port => start(Case, 0), probe => none},
    [{server, Server} | Config].

end_per_testcase(Case, _) ->
    ok = outrider:stop_listener(Case),
    ok = ledger:close().

start(Ref, Port) ->
    Routes = cowboy_router:compile([{'_', [
        {"/ledger", ws_ledger_h, #{}},
        {"/wait", http_script_h, #{silent => true, init => fun wait/2}}
    ]}]),
    {ok, _} = same_test:start_listener(outrider, Ref, [{port, Port}], #{env => #{dispatch => Routes}, idle_timeout => 1000,
        request_timeout => ?REQUEST_TIMEOUT_MS}),
    outrider:get_port(Ref).

%% Says who it is, and waits to be killed.
wait(Req, _) ->
    waiting ! {waits, self()},
    receive after infinity -> Req end.

the_sidecar_is_killed(Config) ->
    twice(Config, fun(Server, _) -> signal("KILL", Server) end).

%% What is sent to it meanwhile waits in the kernel: nothing is lost, and nobody's connection.
the_sidecar_is_stopped_for_a_while(Config) ->
    twice(Config, fun(Server, Load) ->
        Lost = load:lost(Load),
        Socket = open(Server),
        signal("STOP", Server),
        ok = os_process:until(fun() -> state(Server) =:= <<"T">> end),
        Messages = [{text, iolist_to_binary(io_lib:format("~12..0be", [N]))} || N <- lists:seq(1, 100)],
        ok = ws_client:send(Socket, Messages),
        {error, timeout} = gen_tcp:recv(Socket, 1, 100),
        signal("CONT", Server),
        Messages = ws_client:recv(Socket, 100),
        ok = http_client:close(Socket),
        ok = load:served(Load),
        Lost = load:lost(Load)
    end).

%% More requests than the sidecar's event loop takes in one turn: it is stopped for longer than request_timeout, which has
%% passed for all of them when it goes on. They came in time.
requests_reach_a_sidecar_that_is_stopped(Config) ->
    #{ref := Ref} = Server = ?config(server, Config),
    [Sidecar] = leaks:sidecars(),
    Count = 1500,
    Before = leaks:fds(Sidecar),
    Sockets = [http_client:connect(Server) || _ <- lists:seq(1, Count)],
    ok = os_process:until(fun() -> leaks:fds(Sidecar) =:= Before + Count andalso handshaking(Ref) =:= 0 end),
    signal("STOP", Server),
    _ = [ok = http_client:send(Socket, http_client:request("GET", "/nothing")) || Socket <- Sockets],
    receive after ?REQUEST_TIMEOUT_MS -> ok end,
    signal("CONT", Server),
    Count = length([answered || Socket <- Sockets, #{status := 404} <- [http_client:response(Socket)]]),
    running = outrider:get_status(Ref).

%% The same of handshakes. Who has not said all that is to be said has as much time once more, and no longer.
handshakes_reach_a_sidecar_that_is_stopped(_) ->
    Transport = #{handshake_timeout => ?REQUEST_TIMEOUT_MS, socket_opts => [{port, 0} | tls_tunnel:certificate()]},
    with_another(#{transport => Transport}, fun(#{ref := Ref} = Server) ->
        Count = 1500,
        Sockets = [raw(Server) || _ <- lists:seq(1, Count)],
        Slow = raw(Server),
        Versions = lists:duplicate(5, 'tlsv1.2') ++ lists:duplicate(5, 'tlsv1.3'),
        Clients = [tls_client(raw(Server), Version) || Version <- Versions],
        ok = os_process:until(fun() -> handshaking(Ref) =:= Count + 1 + length(Clients) end),
        signal("STOP", Server),
        ok = os_process:until(fun() -> state(Server) =:= <<"T">> end),
        <<Begin:100/binary, _/binary>> = Hello = hello(),
        _ = [ok = gen_tcp:send(Socket, Hello) || Socket <- Sockets],
        ok = gen_tcp:send(Slow, Begin),
        _ = [Client ! go || Client <- Clients],
        receive after ?REQUEST_TIMEOUT_MS -> ok end,
        signal("CONT", Server),
        Versions = [receive {Client, Result} -> Result end || Client <- Clients],
        %% What ServerHello begins with: the type of its record.
        Count = length([answered || Socket <- Sockets, {ok, <<22>>} <- [gen_tcp:recv(Socket, 1, 2 * ?REQUEST_TIMEOUT_MS)]]),
        {error, closed} = gen_tcp:recv(Slow, 0, 3 * ?REQUEST_TIMEOUT_MS)
    end).

proxy_headers_reach_a_sidecar_that_is_stopped(_) ->
    with_another(#{protocol => #{proxy_header => true}}, fun(Server) ->
        Sockets = stopped_with(10, Server),
        _ = [ok = gen_tcp:send(Socket, ["PROXY TCP4 192.0.2.1 192.0.2.2 4000 80\r\n", http_client:request("GET", "/nothing")])
            || Socket <- Sockets],
        receive after 2000 -> ok end,
        signal("CONT", Server),
        [#{status := 404}] = lists:usort([http_client:response(Socket) || Socket <- Sockets])
    end).

%% Clients of a sidecar that has been stopped in the second that they have for their header.
stopped_with(Count, Server = #{ref := Ref}) ->
    Before = metric(connections_accepted, Ref),
    Sockets = [raw(Server) || _ <- lists:seq(1, Count)],
    ok = os_process:until(fun() -> metric(connections_accepted, Ref) =:= Before + Count end),
    signal("STOP", Server),
    ok = os_process:until(fun() -> state(Server) =:= <<"T">> end),
    case [late || Socket <- Sockets, {error, closed} <- [gen_tcp:recv(Socket, 0, 0)]] of
        [] ->
            Sockets;
        _ ->
            signal("CONT", Server),
            stopped_with(Count, Server)
    end.

%% A listener for this alone.
with_another(Setup, Case) ->
    Server = own_case:listen(another, Setup#{routes => []}),
    try
        Case(Server)
    after
        ok = own_case:stop(another)
    end.

raw(#{port := Port}) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]),
    Socket.

%% A client that says nothing before it is told to. Its result is its version.
tls_client(Socket, Version) ->
    Self = self(),
    Client = spawn_link(fun() ->
        receive go -> ok end,
        {ok, Tls} = ssl:connect(Socket, [{verify, verify_none}, {versions, [Version]}], 3 * ?REQUEST_TIMEOUT_MS),
        ok = ssl:send(Tls, http_client:request("GET", "/nothing")),
        {ok, <<"HTTP/1.1 404", _/binary>>} = ssl:recv(Tls, 0, 3 * ?REQUEST_TIMEOUT_MS),
        Self ! {self(), Version}
    end),
    ok = gen_tcp:controlling_process(Socket, Client),
    Client.

%% A ClientHello, as ssl says it.
hello() ->
    {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Listener),
    _ = spawn_link(fun() -> ssl:connect({127, 0, 0, 1}, Port, [{verify, verify_none}, {log_level, none}]) end),
    {ok, Socket} = gen_tcp:accept(Listener),
    {ok, <<22, _:16, Length:16>> = Head} = gen_tcp:recv(Socket, 5),
    {ok, Rest} = gen_tcp:recv(Socket, Length),
    ok = gen_tcp:close(Socket),
    ok = gen_tcp:close(Listener),
    <<Head/binary, Rest/binary>>.

%% Where there is TLS.
handshaking(Ref) ->
    maps:get(tls_handshake, metric(connections, Ref)).

metric(Name, Ref) ->
    #{sidecars := [#{metrics := #{Name := Value}}]} = outrider:metrics(Ref),
    Value.

the_port_owner_is_killed(Config) ->
    twice(Config, fun(#{ref := Ref}, _) -> kill(outrider:procs(Ref, acceptors)) end).

the_parent_of_the_streams_is_killed(Config) ->
    twice(Config, fun(Server, _) -> kill([child(outrider_streams_sup, Server)]) end).

%% Its children end with it, in whatever order; outrider_sup starts it anew, on the same TCP port.
the_supervisor_of_the_listener_is_killed(Config) ->
    twice(Config, fun(#{ref := Ref}, _) ->
        #{pid := Listener} = outrider:info(Ref),
        kill([Listener]),
        ok = os_process:until(fun() -> is_up(Ref) end)
    end).

%% The application ends, in order: OTP does not restart it. The user's VM does if the application is permanent.
the_top_supervisor_is_killed(Config) ->
    twice(Config, fun(#{ref := Ref, port := Port}, _) ->
        kill([whereis(outrider_sup)]),
        ok = os_process:until(fun() -> not lists:keymember(outrider, 1, application:which_applications()) end),
        ok = os_process:until(fun() -> leaks:sidecars() =:= [] end),
        ok = application:start(outrider),
        Port = start(Ref, Port)
    end).

streams_are_killed(Config) ->
    twice(Config, fun(#{ref := Ref}, Load) ->
        Lost = load:lost(Load),
        kill(lists:sublist(outrider:procs(Ref, connections), ?MANY)),
        ok = os_process:until(fun() -> load:lost(Load) >= Lost + ?MANY end)
    end).

%% As in Cowboy, whose stream handler knows this end of a request process since 2.13: before, the client waits for
%% idle_timeout.
request_processes_are_killed(Config) ->
    true = register(waiting, self()),
    twice(Config, fun(Server, _) ->
        Sockets = [http_client:connect(Server) || _ <- lists:seq(1, ?MANY)],
        _ = [ok = http_client:send(Socket, http_client:request("GET", "/wait")) || Socket <- Sockets],
        kill([receive {waits, Pid} -> Pid end || _ <- Sockets]),
        _ = case same_test:version(cowboy) < {2, 13} of
            true -> [closed = http_client:closed(Socket) || Socket <- Sockets];
            false -> [#{status := 500} = http_client:response(Socket) || Socket <- Sockets]
        end,
        lists:foreach(fun http_client:close/1, Sockets)
    end).

the_port_is_closed(Config) ->
    twice(Config, fun(Server, _) -> true = port_close(port(Server)) end).

%% Its owner gets no exit signal: it has cut the link before.
the_port_is_closed_behind_its_owners_back(Config) ->
    twice(Config, fun(Server = #{ref := Ref}, _) ->
        Port = port(Server),
        [Owner] = outrider:procs(Ref, acceptors),
        _ = sys:replace_state(Owner, fun(State) ->
            true = unlink(Port),
            true = port_close(Port),
            State
        end)
    end).

the_port_is_killed(Config) ->
    twice(Config, fun(Server, _) -> true = exit(port(Server), kill) end).

clients_reset_their_connections(Config) ->
    twice(Config, fun(Server, _) ->
        _ = [begin
            ok = inet:setopts(Socket, [{linger, {true, 0}}]),
            ok = http_client:close(Socket)
        end || Socket <- talking(Server)],
        ok = os_process:until(fun() -> count({error, closed}) >= ?MANY end)
    end).

clients_close_one_direction(Config) ->
    twice(Config, fun(Server, _) ->
        _ = [begin
            ok = http_client:half_close(Socket),
            closed = lists:last(ws_client:recv_all(Socket)),
            ok = http_client:close(Socket)
        end || Socket <- talking(Server)]
    end).

%% The frame of all cases.
twice(Config, Fault) ->
    #{ref := Ref} = Server = ?config(server, Config),
    ok = under_load(Server, Fault, first),
    quiet(Ref),
    Before = leaks:count(),
    ok = under_load(Server, Fault, second),
    quiet(Ref),
    ok = leaks:none_since(Before),
    ct:pal("left behind: nothing of ~p", [maps:map(fun(_, Count) -> sum(Count) end, Before)]).

sum(Tally) when is_map(Tally) -> lists:sum(maps:values(Tally));
sum(Count) -> Count.

under_load(Server = #{port := Port, ref := Ref}, Fault, Round) ->
    ok = ledger:open(),
    Load = load:start(Server, ?CLIENTS),
    Lost = load:lost(Load),
    Begin = erlang:monotonic_time(millisecond),
    Fault(Server, Load),
    ok = load:served(Load),
    ct:pal("~p round: all clients are served again after ~b ms; connections lost: ~b",
        [Round, erlang:monotonic_time(millisecond) - Begin, load:lost(Load) - Lost]),
    Port = outrider:get_port(Ref),
    Connections = load:stop(Load),
    ok = ledger:settle(),
    ok = ledger:audit(Connections),
    ok = ledger:close().

%% No stream is left, and exactly one sidecar.
quiet(Ref) ->
    ok = os_process:until(fun() -> is_up(Ref) andalso outrider:procs(Ref, connections) =:= [] end),
    ok = os_process:until(fun() -> length(leaks:sidecars()) =:= 1 end).

is_up(Ref) ->
    try outrider:info(Ref) of
        #{sidecars := Sidecars} -> Sidecars =/= []
    catch
        %% It is being restarted.
        _:_ -> false
    end.

open(Server) ->
    ws_client:open_at(Server, ["/ledger?", integer_to_binary(erlang:unique_integer([positive]))]).

%% Clients in the middle of something: one message has been answered, another one has been begun.
talking(Server) ->
    Sockets = [open(Server) || _ <- lists:seq(1, ?MANY)],
    _ = [begin
        ok = ws_client:send(Socket, {text, <<"000000000001e">>}),
        {text, <<"000000000001e">>} = ws_client:recv(Socket),
        ok = ws_client:send(Socket, {raw, ws_client:header(1, 0, 1, 1000)})
    end || Socket <- Sockets],
    Sockets.

count(Reason) ->
    length([Row || Row <- ledger:rows(), element(5, Row) =:= Reason]).

kill(Pids) ->
    Monitors = [monitor(process, Pid) || Pid <- Pids],
    _ = [exit(Pid, kill) || Pid <- Pids],
    _ = [receive {'DOWN', Monitor, process, _, _} -> ok end || Monitor <- Monitors],
    ok.

child(Id, #{ref := Ref}) ->
    #{pid := Listener} = outrider:info(Ref),
    {Id, Pid, _, _} = lists:keyfind(Id, 1, supervisor:which_children(Listener)),
    Pid.

port(#{ref := Ref}) ->
    [Owner] = outrider:procs(Ref, acceptors),
    {links, Links} = process_info(Owner, links),
    [Port] = [Port || Port <- Links, is_port(Port)],
    Port.

os_pid(#{ref := Ref}) ->
    #{sidecars := [#{os_pid := OsPid}]} = outrider:info(Ref),
    integer_to_list(OsPid).

signal(Signal, Server) ->
    "" = os:cmd("kill -" ++ Signal ++ " " ++ os_pid(Server)),
    ok.

%% R, S, T, …; see proc(5).
state(Server) ->
    {ok, Stat} = file:read_file("/proc/" ++ os_pid(Server) ++ "/stat"),
    [_, Rest] = binary:split(Stat, <<") ">>),
    binary:part(Rest, 0, 1).
