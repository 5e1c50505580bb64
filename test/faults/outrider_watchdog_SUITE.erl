%% A sidecar that has stopped, and a VM that has: real OS processes, by SIGSTOP, with a short watchdog.
%%
%% The sidecar's own half, with a VM that a test plays, is in test/rust/sidecar/silence.rs.
-module(outrider_watchdog_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_stopped_sidecar_is_killed_and_replaced/1, a_stopped_sidecar_whose_port_is_busy_is_killed/1]).
-export([a_sidecar_that_goes_on_in_time_is_kept/1, a_sidecar_is_kept_while_it_relays/1, without_a_watchdog_a_stopped_sidecar_is_kept/1]).
-export([without_a_watchdog_the_end_of_the_pipe_is_enough/1]).
-export([a_stopped_sidecar_does_not_keep_its_listener_from_stopping/1]).
-export([clients_of_a_stopped_vm_are_served_when_it_goes_on/1, a_stopped_vm_is_given_up_and_comes_back/1]).
-export([bad_values_are_refused/1]).

-define(WATCHDOG_MS, 1000).
%% Far longer than anything here takes, even on a busy machine.
-define(PATIENCE_MS, 20000).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    Probe = probe:start(),
    ok = probe_log:attach(Probe),
    [{listener, {Case, Probe}} | Config].

end_per_testcase(Case, _) ->
    probe_log:detach(),
    own_case:stop(Case).

%%% The sidecar stops

a_stopped_sidecar_is_killed_and_replaced(Config) ->
    #{ref := Ref, port := Port, probe := Probe} = Server = listen(Config, #{watchdog => ?WATCHDOG_MS}),
    Socket = ws_client:open(Server),
    OsPid = os_process:sidecar(Ref),
    ok = os_process:signal(OsPid, "STOP"),
    [closed] = ws_client:recv_all(Socket),
    {exit, normal} = probe:await_exit(Probe),
    [websocket_init, {terminate, {error, closed}}, {exit, normal}] = probe:calls(Probe),
    ok = os_process:is_gone(OsPid),
    ok = os_process:is_replaced(Ref, OsPid),
    Port = outrider:get_port(Ref),
    echoes(ws_client:open(Server)),
    Silent = io_lib:format("Outrider listener ~p: its sidecar (OS process ~b) has been silent for ~b ms and is killed\n",
        [Ref, OsPid, ?WATCHDOG_MS]),
    true = lists:member({error, iolist_to_binary(Silent)}, probe:stop(Probe)).

%% The handlers are suspended by the port that nobody reads, and so is the port's owner, which has a stream to abort.
a_stopped_sidecar_whose_port_is_busy_is_killed(Config) ->
    #{ref := Ref, probe := Probe} = Server = listen(Config, #{watchdog => ?WATCHDOG_MS, window => 100000000}),
    [Flooded, _Killed] = [ws_client:open(Server) || _ <- [1, 2]],
    OsPid = os_process:sidecar(Ref),
    Flood = probe:process(Probe),
    [Other] = outrider:procs(Ref, connections) -- [Flood],
    Collector = os_process:collector(Ref),
    ok = os_process:signal(OsPid, "STOP"),
    Flood ! {send, lists:duplicate(200, {binary, <<0:(8 * 65536)>>})},
    os_process:until(fun() -> process_info(Flood, status) =:= {status, suspended} end),
    exit(Other, kill),
    os_process:until(fun() -> process_info(Collector, status) =:= {status, suspended} end),
    [closed] = ws_client:recv_all(Flooded),
    ok = probe:await_exits(Probe, 2),
    ok = os_process:is_gone(OsPid),
    ok = os_process:is_replaced(Ref, OsPid),
    echoes(ws_client:open(Server)).

a_sidecar_that_goes_on_in_time_is_kept(Config) ->
    Server = #{ref := Ref} = listen(Config, #{watchdog => 60000}),
    Socket = ws_client:open(Server),
    OsPid = os_process:sidecar(Ref),
    ok = os_process:signal(OsPid, "STOP"),
    ws_client:send(Socket, {text, <<"one">>}),
    ok = os_process:signal(OsPid, "CONT"),
    {text, <<"one">>} = ws_client:recv(Socket),
    OsPid = os_process:sidecar(Ref).

%% Answers to pings lie behind what clients have sent, and pings behind what handlers send: 200 MB each way, with a handler
%% that is as slow as its VM, and a watchdog that is shorter than this takes.
a_sidecar_is_kept_while_it_relays(Config) ->
    Server = #{ref := Ref} = listen(Config, #{watchdog => ?WATCHDOG_MS}),
    OsPid = os_process:sidecar(Ref),
    Message = {binary, <<0:(8 * 100000)>>},
    Parent = self(),
    Clients = [
        spawn_link(fun() ->
            Socket = ws_client:open(Server),
            Bytes = ws_client:bytes(Message),
            _ = [
                begin
                    http_client:send(Socket, Bytes),
                    Message = ws_client:recv(Socket)
                end
             || _ <- lists:seq(1, 200)
            ],
            Parent ! {done, self()}
        end)
     || _ <- lists:seq(1, 10)
    ],
    _ = [receive {done, Client} -> ok end || Client <- Clients],
    OsPid = os_process:sidecar(Ref).

%% Longer than it takes to notice with a watchdog, by far: the other listener's is killed meanwhile.
without_a_watchdog_a_stopped_sidecar_is_kept(Config) ->
    #{ref := Ref} = Server = listen(Config, #{watchdog => infinity}),
    {_, Probe} = proplists:get_value(listener, Config),
    #{ref := Watched} = listen([{listener, {watched, Probe}}], #{watchdog => ?WATCHDOG_MS}),
    Socket = ws_client:open(Server),
    [OsPid, Killed] = [os_process:sidecar(R) || R <- [Ref, Watched]],
    os_process:while_stopped(OsPid, fun() ->
        ok = os_process:signal(Killed, "STOP"),
        ok = os_process:is_replaced(Watched, Killed)
    end),
    ok = outrider:stop_listener(Watched),
    echoes(Socket),
    OsPid = os_process:sidecar(Ref).

%% The status of a child's end is told by erl_child_setup, which is stopped here, so that it does not come; and nothing is
%% written to the port of an idle sidecar.
without_a_watchdog_the_end_of_the_pipe_is_enough(Config) ->
    #{ref := Ref, probe := Probe} = Server = listen(Config, #{watchdog => infinity}),
    Socket = ws_client:open(Server),
    OsPid = os_process:sidecar(Ref),
    [Parent] = os_process:status(OsPid, "PPid"),
    ["erl_child_setup"] = os_process:status(list_to_integer(Parent), "Name"),
    [Begin, End] = [filename:join(proplists:get_value(priv_dir, Config), Name) || Name <- ["begin", "end"]],
    %% The shell is there before: another cannot be started meanwhile.
    Script = io_lib:format(
        "(wait_for() { n=0; while [ ! -e $1 ] && [ $n -lt 300 ]; do n=$((n + 1)); sleep 0.1; done; }; wait_for ~ts; "
        "kill -STOP ~ts; kill -KILL ~b; wait_for ~ts; kill -CONT ~ts) </dev/null >/dev/null 2>&1 &",
        [Begin, Parent, OsPid, End, Parent]
    ),
    "" = os:cmd(lists:flatten(Script)),
    ok = file:write_file(Begin, <<>>),
    try
        [closed] = ws_client:recv_all(Socket),
        {exit, normal} = probe:await_exit(Probe)
    after
        ok = file:write_file(End, <<>>)
    end,
    [websocket_init, {terminate, {error, closed}}, {exit, normal}] = probe:calls(Probe),
    ok = os_process:is_replaced(Ref, OsPid),
    echoes(ws_client:open(Server)).

a_stopped_sidecar_does_not_keep_its_listener_from_stopping(Config) ->
    #{ref := Ref, probe := Probe} = Server = listen(Config, #{watchdog => ?WATCHDOG_MS, shutdown => infinity}),
    _ = ws_client:open(Server),
    OsPid = os_process:sidecar(Ref),
    ok = os_process:signal(OsPid, "STOP"),
    ok = outrider:stop_listener(Ref),
    {exit, normal} = probe:await_exit(Probe),
    ok = os_process:is_gone(OsPid).

%%% The VM stops

clients_of_a_stopped_vm_are_served_when_it_goes_on(Config) ->
    #{vm := Vm, os_pid := OsPid, said := Said} = Server = peer(Config, #{watchdog => ?WATCHDOG_MS}),
    Socket = ws_client:open(Server),
    ok = os_process:signal(Vm, "STOP"),
    os_process:until(fun() -> said(Said) =/= <<>> end),
    ws_client:send(Socket, {text, <<"while it stands still">>}),
    %% The kernel takes a new client.
    New = http_client:connect(Server),
    http_client:send(New, ws_client:handshake("/")),
    ok = os_process:signal(Vm, "CONT"),
    {text, <<"while it stands still">>} = ws_client:recv(Socket),
    #{status := 101} = http_client:response(New),
    #{sidecars := [#{os_pid := OsPid}]} = call(Server, outrider, info, [peer]),
    1 = length(binary:split(said(Said), <<"\n">>, [global, trim])).

a_stopped_vm_is_given_up_and_comes_back(Config) ->
    #{vm := Vm, os_pid := OsPid} = Server = peer(Config, #{watchdog => ?WATCHDOG_MS, vm_timeout => 2 * ?WATCHDOG_MS}),
    Socket = ws_client:open(Server),
    ok = os_process:signal(Vm, "STOP"),
    [{close, 1001, <<>>}, closed] = ws_client:recv_all(Socket),
    ok = os_process:signal(Vm, "CONT"),
    os_process:until(fun() ->
        case call(Server, outrider, info, [peer]) of
            #{sidecars := [#{os_pid := Now}]} -> Now =/= OsPid;
            #{sidecars := []} -> false
        end
    end),
    echoes(ws_client:open(Server)).

bad_values_are_refused(_) ->
    _ = [
        {error, {bad_option, Option}} = outrider:start_clear(?FUNCTION_NAME, #{Option => Value}, #{})
     || Option <- [watchdog, vm_timeout], Value <- [0, -1, 1.5, never]
    ].

%%% Helpers

%% A listener whose handler echoes frames and sends what it is told to.
listen(Config, TransOpts) ->
    {Case, Probe} = proplists:get_value(listener, Config),
    Handler = #{
        silent => true,
        websocket_handle => fun(Frame, State) -> {[Frame], State} end,
        websocket_info => fun({send, Frames}, State) -> {Frames, State} end
    },
    own_case:listen(Case, #{routes => [{"/", ws_script_h, Handler}], transport => TransOpts, probe => Probe}).

%% A VM of its own with such a listener, whose sidecar's stderr goes to a file.
peer(Config, TransOpts) ->
    Folder = proplists:get_value(priv_dir, Config),
    Said = filename:join(Folder, "stderr"),
    Script = filename:join(Folder, "outrider"),
    Executable = application:get_env(outrider, executable, filename:join([code:priv_dir(outrider), "bin", "outrider"])),
    ok = file:write_file(Script, ["#!/bin/sh\nexec ", Executable, " \"$@\" 2>>", Said, "\n"]),
    ok = file:change_mode(Script, 8#755),
    ok = file:write_file(Said, <<>>),
    {ok, Peer, _} = peer:start_link(#{connection => standard_io, args => ["-pa" | code:get_path()]}),
    ok = peer:call(Peer, application, set_env, [outrider, executable, Script]),
    Setup = #{routes => [{"/", ws_bare_h, #{}}], transport => TransOpts, probe => none},
    Server0 = peer:call(Peer, own_case, listen, [peer, Setup]),
    Server = Server0#{peer => Peer, said => Said},
    #{sidecars := [#{os_pid := OsPid}]} = call(Server, outrider, info, [peer]),
    Server#{os_pid => OsPid, vm => list_to_integer(call(Server, os, getpid, []))}.

call(#{peer := Peer}, Module, Function, Args) ->
    peer:call(Peer, Module, Function, Args, ?PATIENCE_MS).

said(File) ->
    {ok, Text} = file:read_file(File),
    Text.

echoes(Socket) ->
    ws_client:send(Socket, {text, <<"are you there">>}),
    {text, <<"are you there">>} = ws_client:recv(Socket).
