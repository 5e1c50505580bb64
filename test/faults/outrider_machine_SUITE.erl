%% Faults of the machine below a VM and its sidecar: a full disk, a stderr that takes nothing, a wall clock that jumps.
%%
%% Each case has a VM of its own to do it to, with a listener, and clients in this one. Needs root (to mount a small file
%% system, seen by that VM alone) and Debian's libfaketime.
-module(outrider_machine_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([the_disk_of_the_log_is_full/1, stderr_takes_nothing/1, the_wall_clock_jumps/1]).
%% Called in the other VM.
-export([start/0, log_to/1]).

-define(CLIENTS, 50).
-define(DAY_S, 86400).

all() ->
    same_test:cases(?MODULE) -- [init_per_suite, end_per_suite, log_to].

suite() ->
    [{timetrap, {minutes, 2}}].

init_per_suite(Config) ->
    same_test:start([outrider]),
    Config.

end_per_suite(_) ->
    ok.

%% Nothing waits for the log: the clients are served while it fails, and when the sidecar dies, which is logged, too.
the_disk_of_the_log_is_full(Config) ->
    Disk = filename:join(proplists:get_value(priv_dir, Config), "disk"),
    ok = file:make_dir(Disk),
    Mount = "mount -t tmpfs -o size=64k tmpfs " ++ Disk ++ " && exec erl \"$@\"",
    {Peer, Server} = start_peer(#{exec => {os:find_executable("unshare"), ["--mount", "sh", "-c", Mount, "sh"]}}),
    Load = load:start(Server, ?CLIENTS),
    File = filename:join(Disk, "log"),
    Full = peer:call(Peer, ?MODULE, log_to, [File]),
    true = Full > 61440 andalso Full =< 65536,
    ok = load:served(Load),
    ok = survives_the_sidecars_death(Peer, Load),
    Full = peer:call(Peer, filelib, file_size, [File]),
    stop(Peer, Load).

%% Full, then closed. The VM's and the sidecar's are one; what the VM's own log handler makes of it is not our matter.
stderr_takes_nothing(_) ->
    lists:foreach(fun(Stderr) ->
        {Peer, Server} = start_peer(#{exec => {os:find_executable("sh"), ["-c", "exec erl \"$@\" 2>" ++ Stderr, "sh"]}}),
        Load = load:start(Server, ?CLIENTS),
        %% A sidecar that has something to say there.
        Taken = maps:get(port, Server),
        {error, eaddrinuse} = peer:call(Peer, outrider, start_clear, [other, [{port, Taken}], #{}]),
        ok = load:served(Load),
        ok = survives_the_sidecars_death(Peer, Load),
        stop(Peer, Load)
    end, ["/dev/full", "&-"]).

%% To tomorrow, and back again. Timeouts are measured on the monotonic clock: nobody is thrown out, nobody stays for ever.
the_wall_clock_jumps(Config) ->
    Clock = filename:join(proplists:get_value(priv_dir, Config), "clock"),
    ok = file:write_file(Clock, "+0"),
    Faked = [
        {"LD_PRELOAD", faketime()}, {"FAKETIME_TIMESTAMP_FILE", Clock}, {"FAKETIME_NO_CACHE", "1"},
        {"FAKETIME_DONT_FAKE_MONOTONIC", "1"}, {"DONT_FAKE_MONOTONIC", "1"}
    ],
    %% A sidecar does not get the VM's environment.
    Wrapper = filename:join(proplists:get_value(priv_dir, Config), "outrider"),
    Sidecar = filename:join([code:priv_dir(outrider), "bin", "outrider"]),
    ok = file:write_file(Wrapper, ["#!/bin/sh\n", [["export ", Name, "='", Value, "'\n"] || {Name, Value} <- Faked],
        "exec '", filename:absname(Sidecar), "' \"$@\"\n"]),
    ok = file:change_mode(Wrapper, 8#755),
    {Peer, Server} = start_peer(#{env => Faked, args => ["-outrider", "executable", io_lib:format("~0p", [Wrapper])]}),
    #{sidecars := [#{os_pid := OsPid}]} = peer:call(Peer, outrider, info, [machine]),
    {ok, Libraries} = file:read_file("/proc/" ++ integer_to_list(OsPid) ++ "/maps"),
    {_, _} = binary:match(Libraries, <<"faketime">>),
    Load = load:start(Server, ?CLIENTS),
    Silent = ws_client:open_at(Server, "/ledger?silent"),
    lists:foreach(fun(Offset) ->
        ok = file:write_file(Clock, ["+", integer_to_list(Offset)]),
        ok = os_process:until(fun() -> abs(ahead(Peer) - Offset) < ?DAY_S div 4 end),
        ok = load:served(Load),
        0 = load:lost(Load),
        %% This client's timeout of half a second comes, before a minute has gone.
        [{close, 1000, <<>>}, closed] = ws_client:recv_all(ws_client:open_at(Server, "/half_a_second")),
        ok = ws_client:send(Silent, ping),
        pong = ws_client:recv(Silent)
    end, [?DAY_S, 0]),
    ok = http_client:close(Silent),
    stop(Peer, Load).

%% By how many seconds the other VM's operating system believes to be ahead of ours.
ahead(Peer) ->
    peer:call(Peer, os, system_time, [second]) - os:system_time(second).

faketime() ->
    case filelib:wildcard("/usr/lib/*/faketime/libfaketimeMT.so.1") of
        [Path | _] -> Path;
        [] -> error({missing, "libfaketime"})
    end.

survives_the_sidecars_death(Peer, Load) ->
    #{sidecars := [#{os_pid := OsPid}]} = peer:call(Peer, outrider, info, [machine]),
    "" = os:cmd("kill -KILL " ++ integer_to_list(OsPid)),
    ok = os_process:until(fun() -> load:lost(Load) >= ?CLIENTS end),
    load:served(Load).

start_peer(Options) ->
    Args = lists:map(fun lists:flatten/1, maps:get(args, Options, [])) ++ ["-pa" | code:get_path()],
    {ok, Peer, _} = peer:start_link(Options#{connection => standard_io, args => Args}),
    Port = peer:call(Peer, ?MODULE, start, []),
    {Peer, #{name => outrider, ref => machine, port => Port, probe => none}}.

stop(Peer, Load) ->
    Connections = load:stop(Load),
    ok = peer:call(Peer, ledger, settle, []),
    ok = peer:call(Peer, ledger, audit, [Connections]),
    ok = peer:call(Peer, outrider, stop_listener, [machine]),
    ok = peer:stop(Peer).

start() ->
    same_test:start([outrider]),
    ok = ledger:open(),
    Routes = cowboy_router:compile([{'_', [
        {"/ledger", ws_ledger_h, #{}},
        {"/half_a_second", ws_script_h, #{opts => #{idle_timeout => 500}, probe => probe()}}
    ]}]),
    {ok, _} = same_test:start_listener(outrider, machine, [{port, 0}], #{env => #{dispatch => Routes}}),
    outrider:get_port(machine).

%% A probe must outlive this call.
probe() ->
    Self = self(),
    spawn(fun() -> Self ! {probe, probe:start()}, receive after infinity -> ok end end),
    receive {probe, Probe} -> Probe end.

%% Logs to this file until no more goes into it. Returns its size.
log_to(File) ->
    ok = logger:add_handler(full, logger_std_h, #{level => notice, config => #{
        file => File, overload_kill_enable => false, drop_mode_qlen => 100000, flush_qlen => 100000
    }}),
    fill(File, -1).

fill(File, Size) ->
    _ = [logger:warning("~s", [lists:duplicate(1000, $x)]) || _ <- lists:seq(1, 20)],
    _ = logger_std_h:filesync(full),
    case filelib:file_size(File) of
        Size -> Size;
        More -> fill(File, More)
    end.
