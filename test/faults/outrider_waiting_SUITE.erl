%% What cannot be started again waits: a sidecar whose program, address or descriptors are not there, and a listener that has ended too
%% often. It says so, comes back when it can, and the listener beside it notices nothing.
-module(outrider_waiting_SUITE).

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_program_that_is_missing/1, a_program_that_is_being_written/1, a_program_of_another_version/1]).
-export([an_address_that_is_taken_meanwhile/1, a_vm_without_descriptors/1]).
-export([a_vm_without_descriptors_whose_listener_is_killed/1, a_vm_without_descriptors_whose_sidecar_stands_still/1]).
-export([a_listener_that_waits_can_be_stopped/1, a_listener_that_waits_can_be_started/1]).
-export([one_of_several_sidecars_waits/1, a_first_start_does_not_wait/1]).
-export([the_log_says_why_it_cannot_be_started_again/1, its_options_are_those_that_it_had_last/1]).
-export([pauses_grow_and_one_warning_a_minute_is_due/1]).

-import(os_process, [until/1]).
-import(isolation_case, [
    listen/2, protocol/0, one_is_in_trouble/2, is_up/1, echoes/1, serves/1, kill/1, os_pids/1, program/1, become/2, restore/1
]).

-define(PATIENCE_MS, 20000).
-define(WATCHDOG_MS, 1000).

all() ->
    same_test:cases(?MODULE).

suite() ->
    [{timetrap, {minutes, 2}}].

init_per_testcase(Case, Config) ->
    isolation_case:init(Case, Config).

end_per_testcase(Case, Config) ->
    isolation_case:stop(Case, Config).

%%% Faults

a_program_that_is_missing(Config) ->
    waits(Config, fun() -> application:set_env(outrider, executable, "/nonexistent/outrider") end, <<"enoent">>).

%% As by a deploy that writes over the file.
a_program_that_is_being_written(Config) ->
    waits(Config, fun() ->
        File = filename:join(proplists:get_value(priv_dir, Config), "being_written"),
        {ok, _} = file:copy(program(Config), File),
        ok = file:change_mode(File, 8#755),
        {ok, _} = file:open(File, [append]),
        application:set_env(outrider, executable, File)
    end, <<"cannot start a sidecar">>).

a_program_of_another_version(Config) ->
    Hello = <<(erlang:term_to_binary({hello, 0, #{}}))/binary>>,
    File = filename:join(proplists:get_value(priv_dir, Config), "hello"),
    ok = file:write_file(File, <<(byte_size(Hello)):32, Hello/binary>>),
    waits(Config, fun() -> become(["cat ", File, "; exec cat >/dev/null"], Config) end, <<"another version">>).

%% In the moment in which nobody has it.
an_address_that_is_taken_meanwhile(Config) ->
    #{ref := Ref, port := Port} = Troubled = proplists:get_value(troubled, Config),
    Starts = filename:join(proplists:get_value(priv_dir, Config), "starts"),
    one_is_in_trouble(Config, fun() ->
        ok = application:set_env(outrider, executable, "/nonexistent/outrider"),
        kill(Ref),
        until(fun() -> os_process:sidecar(Ref) =:= undefined end),
        {ok, Thief} = gen_tcp:listen(Port, [{reuseaddr, true}]),
        ok = become(["echo >>", Starts, "; exec ", program(Config), " \"$@\""], Config),
        until(fun() -> filelib:file_size(Starts) >= 3 end),
        undefined = os_process:sidecar(Ref),
        ok = gen_tcp:close(Thief)
    end),
    serves(Troubled).

a_vm_without_descriptors(Config) ->
    without_descriptors(Config, fun(#{os_pid := OsPid}) -> os_process:signal(OsPid, "KILL") end, <<"emfile">>).

a_vm_without_descriptors_whose_listener_is_killed(Config) ->
    without_descriptors(Config, fun(#{ref := Ref} = Server) ->
        call(Server, erlang, exit, [call(Server, outrider_registry, supervisor, [Ref]), kill])
    end, <<"emfile">>).

%% To kill it takes a descriptor, too; and as long as it lives, nobody else can have its address.
a_vm_without_descriptors_whose_sidecar_stands_still(Config) ->
    without_descriptors(Config, fun(#{os_pid := OsPid}) ->
        ok = os_process:signal(OsPid, "STOP"),
        receive after 3 * ?WATCHDOG_MS -> ok end
    end, none).

%%% What goes with it

%% Whether it waits for a sidecar, or for its own start.
a_listener_that_waits_can_be_stopped(Config) ->
    #{ref := Ref} = proplists:get_value(troubled, Config),
    ok = application:set_env(outrider, executable, "/nonexistent/outrider"),
    kill(Ref),
    until(fun() -> os_process:sidecar(Ref) =:= undefined end),
    running = outrider:get_status(Ref),
    ok = outrider:stop_listener(Ref),
    {error, not_found} = outrider:stop_listener(Ref),
    ok = restore(Config),
    #{ref := Ref} = Server = listen(Ref, #{}),
    ok = end_of_listener(Server),
    ok = outrider:stop_listener(Ref),
    %% Nobody starts it again.
    _ = sys:get_state(outrider_keeper),
    [] = [Ended || {Ended, _, _, _} <- supervisor:which_children(outrider_sup), Ended =:= outrider_listener_sup:id(Ref)],
    false = lists:member(Ref, outrider_registry:refs()).

a_listener_that_waits_can_be_started(Config) ->
    #{ref := Ref} = Server = proplists:get_value(troubled, Config),
    ok = end_of_listener(Server),
    {ok, Pid} = same_test:start_listener(outrider, Ref, [{port, 0}], protocol()),
    _ = sys:get_state(outrider_keeper),
    Pid = outrider_registry:supervisor(Ref),
    serves(Server#{port := outrider:get_port(Ref)}).

%% The others go on, and what is asked of all of them is done by those that run.
one_of_several_sidecars_waits(Config) ->
    Ref = {troubled, several},
    Server = listen(Ref, #{sidecars => 3}),
    ok = application:set_env(outrider, executable, "/nonexistent/outrider"),
    [OsPid | Others] = os_pids(Ref),
    os_process:signal(OsPid, "KILL"),
    until(fun() -> os_pids(Ref) =:= Others end),
    serves(Server),
    ok = outrider:suspend_listener(Ref),
    ok = outrider:resume_listener(Ref),
    ok = outrider:set_max_connections(Ref, 7),
    serves(Server),
    ok = restore(Config),
    until(fun() -> length(os_pids(Ref) -- [OsPid]) =:= 3 end),
    {ok, #{remaining := 0}} = outrider:drain(Ref, #{timeout => ?PATIENCE_MS, over => 0}).

%% Who starts a listener is told.
a_first_start_does_not_wait(Config) ->
    ok = application:set_env(outrider, executable, "/nonexistent/outrider"),
    {error, _} = outrider:start_clear({troubled, first}, [{port, 0}], #{}),
    ok = restore(Config),
    false = lists:member({troubled, first}, outrider_registry:refs()).

the_log_says_why_it_cannot_be_started_again(Config) ->
    Ref = {troubled, certificates},
    Path = filename:join(proplists:get_value(priv_dir, Config), "certificate.pem"),
    #{cert := Cert, key := Key} = tls_case:chain("localhost"),
    Write = fun() -> tls_case:write(Path, [{'Certificate', Cert, not_encrypted}], [tls_case:pem_key(Key, none)]) end,
    _ = Write(),
    {ok, Pid} = outrider:start_tls(Ref, #{socket_opts => [{port, 0}, {certfile, Path}], logger => keep_logger}, #{}),
    ok = file:delete(Path),
    exit(Pid, kill),
    until(fun() -> keep_logger:said() =/= [] end),
    [{warning, Text}] = keep_logger:said(),
    {_, _} = binary:match(Text, <<"cannot be started again">>),
    {_, _} = binary:match(Text, <<"certfile">>),
    _ = Write(),
    until(fun() -> is_up(Ref) end),
    ok = outrider:stop_listener(Ref).

its_options_are_those_that_it_had_last(Config) ->
    #{ref := Ref} = Server = proplists:get_value(troubled, Config),
    ok = outrider:set_env(Ref, answer, 42),
    ok = outrider:set_max_connections(Ref, 17),
    ok = end_of_listener(Server),
    until(fun() -> is_up(Ref) end),
    {42, 17} = {outrider:get_env(Ref, answer), outrider:get_max_connections(Ref)}.

pauses_grow_and_one_warning_a_minute_is_due(_) ->
    Fail = fun(Now, {Patience, Failures}) ->
        {Pause, IsToWarn, Next} = outrider_patience:failed(Now, 0, Patience),
        {Next, [{Pause, IsToWarn} | Failures]}
    end,
    {_, Failures} = lists:foldl(Fail, {outrider_patience:new(), []}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 59999, 60000, 60001]),
    {Pauses, Warnings} = lists:unzip(lists:reverse(Failures)),
    [0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000] = Pauses,
    [true, false, false, false, false, false, false, false, false, false, true, false] = Warnings,
    %% Not before the grace is over.
    {_, false, Once} = outrider_patience:failed(10, 100, outrider_patience:new()),
    {_, false, Twice} = outrider_patience:failed(109, 100, Once),
    {_, true, _} = outrider_patience:failed(110, 100, Twice).

%%% The frame of the faults

%% It keeps trying, warns, and comes back when it can; on its port.
waits(Config, Trouble, Words) ->
    #{ref := Ref} = Troubled = proplists:get_value(troubled, Config),
    one_is_in_trouble(Config, fun() ->
        ok = Trouble(),
        kill(Ref),
        until(fun() -> is_warned(Words) end),
        running = outrider:get_status(Ref),
        [_] = outrider:procs(Ref, acceptors),
        ok = restore(Config)
    end),
    [_] = [Text || {warning, Text} <- keep_logger:said()],
    serves(Troubled).

%% In a VM of its own, which can open nothing from the fault until Words are in a warning.
without_descriptors(_, Fault, Words) ->
    {ok, Peer, _} = peer:start_link(#{connection => standard_io, args => ["-pa" | code:get_path()]}),
    Vm = #{peer => Peer, name => outrider, probe => none},
    _ = [ok = call(Vm, application, set_env, [outrider, executable, Path])
        || {ok, Path} <- [application:get_env(outrider, executable)]],
    ok = call(Vm, same_test, start, [[outrider]]),
    ok = call(Vm, code, ensure_modules_loaded, [[keep_logger, ws_bare_h, io_lib_pretty]]),
    [Troubled, Other] = [peer_listener(Vm#{ref => Ref}) || Ref <- [troubled, other]],
    Client = ws_client:open(Other),
    OsPid = call(Vm, os, getpid, []),
    {Before, _} = os_process:limit(list_to_integer(OsPid), "Max open files"),
    Limit = fun(Number) -> "" = os:cmd("prlimit --pid " ++ OsPid ++ " --nofile=" ++ Number ++ ":") end,
    Limit("3"),
    _ = Fault(Troubled),
    Warnings = fun() ->
        [Text || {warning, Text} <- call(Vm, keep_logger, said, []), binary:match(Text, Words) =/= nomatch]
    end,
    until(fun() -> Words =:= none orelse Warnings() =/= [] end),
    echoes(Client),
    Limit(Before),
    until(fun() ->
        case call(Vm, outrider, info, []) of
            #{troubled := #{sidecars := [#{os_pid := New}]}} -> New =/= maps:get(os_pid, Troubled);
            #{} -> false
        end
    end),
    echoes(Client),
    serves(Troubled),
    true = Words =:= none orelse length(Warnings()) =:= 1,
    peer:stop(Peer).

peer_listener(#{ref := Ref} = Server) ->
    Options = #{socket_opts => [{port, 0}], logger => keep_logger, watchdog => ?WATCHDOG_MS},
    {ok, _} = call(Server, same_test, start_listener, [outrider, Ref, Options, protocol()]),
    #{port := Port, sidecars := [#{os_pid := OsPid}]} = call(Server, outrider, info, [Ref]),
    Server#{port => Port, os_pid => OsPid}.

call(#{peer := Peer}, Module, Function, Args) ->
    peer:call(Peer, Module, Function, Args, ?PATIENCE_MS).

%%% Helpers

%% The listener has ended twice in a moment, so that it is not started again at once.
end_of_listener(#{ref := Ref}) ->
    _ = [begin
        Pid = outrider_registry:supervisor(Ref),
        Monitor = monitor(process, Pid),
        exit(Pid, kill),
        receive {'DOWN', Monitor, process, Pid, _} -> ok end,
        until(fun() -> Last =:= last orelse lists:member(Ref, outrider_registry:refs()) end)
    end || Last <- [first, second, third, last]],
    ok.

is_warned(Words) ->
    lists:any(fun({Level, Text}) -> Level =:= warning andalso binary:match(Text, Words) =/= nomatch end, keep_logger:said()).
