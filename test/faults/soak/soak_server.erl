%% The server's side of the soak; each function runs in its VM, called by the clients'.
-module(soak_server).

-export([start/1, settle/1, measure/0, open_books/0, close_books/0]).
-export([is_up/0, os_pids/0, kill/1, close_port/0, suspend/1, storm/1]).

-define(REF, soak).

%% The log goes to a file of bounded size, if anybody wants to see the crash reports of the faults.
-spec start(file:filename()) -> inet:port_number().
start(LogFile) ->
    ok = logger:remove_handler(default),
    ok = logger:add_handler(default, logger_std_h, #{level => notice, config => #{
        file => LogFile, max_no_bytes => 50000000, max_no_files => 2
    }}),
    ok = leaks:mark(),
    ok = open_books(),
    {ok, _} = application:ensure_all_started(outrider),
    Routes = cowboy_router:compile([{'_', [
        {"/ledger", ws_ledger_h, #{compress => true, max_frame_size => 2097152}},
        {"/member", soak_member_h, #{compress => true}},
        {"/slow_member", soak_member_h, #{compress => true, max_backlog => 8192, on_backlog => drop}},
        {"/hello", http_script_h, #{silent => true, init => fun hello/2}}
    ]}]),
    Port = free_port(),
    Transport = #{socket_opts => [{port, Port}, {backlog, 4096}], max_connections => infinity},
    {ok, _} = outrider:start_clear(?REF, Transport, #{env => #{dispatch => Routes}}),
    ok = soak_member_h:start(?REF),
    Port.

%% Not 0: a listener that is suspended may come back on another port then.
free_port() ->
    {ok, Socket} = gen_tcp:listen(0, []),
    {ok, Port} = inet:port(Socket),
    ok = gen_tcp:close(Socket),
    Port.

hello(Req, State) ->
    {ok, cowboy_req:reply(200, #{}, <<"hello">>, Req), State}.

%% Waits until no connection is left, then holds the handlers' books against the clients'.
-spec settle([ledger:connection()]) -> ok.
settle(Connections) ->
    ok = os_process:until(fun is_up/0),
    ok = os_process:until(fun() -> outrider:procs(?REF, connections) =:= [] end),
    ok = ledger:settle(),
    ledger:audit(Connections).

-spec open_books() -> ok.
open_books() ->
    ledger:open().

-spec close_books() -> ok.
close_books() ->
    ok = ledger:close().

%% What there is, in bytes and in numbers, after a garbage collection of everything.
-spec measure() -> #{vm := pos_integer(), sidecar := pos_integer(), count := leaks:count()}.
measure() ->
    _ = [erlang:garbage_collect(Pid) || Pid <- processes()],
    [{_, Sidecar}] = [Pid || {sidecar, _} = Pid <- os_pids()],
    #{vm => erlang:memory(total), sidecar => resident(Sidecar), count => leaks:count()}.

resident(OsPid) ->
    {ok, Status} = file:read_file("/proc/" ++ OsPid ++ "/status"),
    {match, [KiB]} = re:run(Status, "VmRSS:\\s+(\\d+) kB", [{capture, all_but_first, binary}]),
    1024 * binary_to_integer(KiB).

-spec is_up() -> boolean().
is_up() ->
    try outrider:info(?REF) of
        #{sidecars := Sidecars} -> Sidecars =/= []
    catch
        %% It is being restarted.
        _:_ -> false
    end.

-spec os_pids() -> [{vm | sidecar, string()}].
os_pids() ->
    #{sidecars := [#{os_pid := Sidecar}]} = outrider:info(?REF),
    [{vm, os:getpid()}, {sidecar, integer_to_list(Sidecar)}].

-spec kill(owner | listener | streams_parent | {streams, pos_integer()}) -> ok.
kill(owner) ->
    exit(owner(), kill),
    ok;
kill(listener) ->
    exit(listener(), kill),
    ok;
kill(streams_parent) ->
    {_, Pid, _, _} = lists:keyfind(outrider_streams_sup, 1, supervisor:which_children(listener())),
    exit(Pid, kill),
    ok;
kill({streams, Count}) ->
    Streams = [Pid || {_, Pid} <- lists:sort([{rand:uniform(), Pid} || Pid <- outrider:procs(?REF, connections)])],
    lists:foreach(fun(Pid) -> exit(Pid, kill) end, lists:sublist(Streams, Count)).

-spec close_port() -> ok.
close_port() ->
    {links, Links} = process_info(owner(), links),
    [true] = [port_close(Port) || Port <- Links, is_port(Port)],
    ok.

%% Nobody can connect for so long.
-spec suspend(pos_integer()) -> ok.
suspend(Ms) ->
    Port = outrider:get_port(?REF),
    ok = outrider:suspend_listener(?REF),
    receive after Ms -> ok end,
    ok = outrider:resume_listener(?REF),
    Port = outrider:get_port(?REF),
    ok.

%% Many processes that log as fast as they can.
-spec storm(pos_integer()) -> ok.
storm(Events) ->
    Log = fun() -> [logger:warning("soak: event ~b of a storm", [N]) || N <- lists:seq(1, Events)] end,
    Monitors = [element(2, spawn_monitor(Log)) || _ <- lists:seq(1, 10)],
    _ = [receive {'DOWN', Monitor, process, _, _} -> ok end || Monitor <- Monitors],
    ok.

owner() ->
    [Pid] = outrider:procs(?REF, acceptors),
    Pid.

listener() ->
    #{pid := Pid} = outrider:info(?REF),
    Pid.
