%% What the sidecar may do, and what it may use: as the kernel sees the real process. docs/operations.md, "Rights".
%%
%% Only Outrider has a sidecar, so these cases have no twin on Cowboy.
-module(outrider_rights_SUITE).

-export([all/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([it_cannot_gain_rights_nor_leave_a_core_file/1, it_has_none_of_the_vms_files_and_secrets/1]).
-export([memory_is_limited/1, clients_that_use_up_the_memory_end_the_sidecar_alone/1]).
-export([files_that_hang_do_not_use_up_the_memory/1]).
-export([it_becomes_the_user/1, a_privileged_port_is_bound_before/1, a_unix_socket_cannot_be_bound_again/1]).
-export([an_unknown_user_is_refused/1, wrong_options_are_named/1]).
-export([it_leaves_with_the_vm_though_it_was_stopped/1]).

-define(MIB, 1048576).
%% More than enough to use up the memory limit of the test.
-define(MOST_CLIENTS, 4000).

all() ->
    same_test:cases(?MODULE) -- [init_per_suite, end_per_suite].

init_per_suite(Config) ->
    same_test:start([outrider]),
    Config.

end_per_suite(_) ->
    ok.

end_per_testcase(Case, _) ->
    _ = probe_log:detach(),
    own_case:stop(Case).

it_cannot_gain_rights_nor_leave_a_core_file(_) ->
    OsPid = os_process:sidecar(start(?FUNCTION_NAME, #{})),
    ["1"] = os_process:status(OsPid, "NoNewPrivs"),
    {"1", "1"} = os_process:limit(OsPid, "Max core file size"),
    {"unlimited", "unlimited"} = os_process:limit(OsPid, "Max data size").

it_has_none_of_the_vms_files_and_secrets(_) ->
    true = os:putenv("OUTRIDER_TEST_SECRET", "keep me"),
    {ok, Socket} = gen_tcp:listen(0, []),
    {ok, File} = file:open(code:which(?MODULE), [read]),
    OsPid = os_process:sidecar(start(?FUNCTION_NAME, #{})),
    %% stderr is meant to be shared; a device or an anonymous file of the kernel is no one's.
    Ours = [Target || {_, "/" ++ _ = Target} <- os_process:descriptors(self), not lists:prefix("/dev/", Target)] ++
        [Target || {_, "socket:" ++ _ = Target} <- os_process:descriptors(self)],
    true = lists:member(code:which(?MODULE), Ours),
    [] = [{Fd, Target} || {Fd, Target} <- os_process:descriptors(OsPid), Fd =/= "2", lists:member(Target, Ours)],
    [] = os_process:environment(OsPid) -- ["PATH", "LD_LIBRARY_PATH", "RUST_BACKTRACE"],
    "/" = os_process:directory(OsPid),
    ok = file:close(File),
    ok = gen_tcp:close(Socket),
    os:unsetenv("OUTRIDER_TEST_SECRET").

memory_is_limited(_) ->
    OsPid = os_process:sidecar(start(?FUNCTION_NAME, #{memory_limit => 64 * ?MIB})),
    Limit = integer_to_list(64 * ?MIB),
    {Limit, Limit} = os_process:limit(OsPid, "Max data size").

clients_that_use_up_the_memory_end_the_sidecar_alone(_) ->
    Probe = probe:start(),
    Ref = start(?FUNCTION_NAME, #{memory_limit => 16 * ?MIB}),
    OsPid = os_process:sidecar(Ref),
    Server = #{name => outrider, ref => Ref, port => outrider:get_port(Ref), probe => Probe},
    ok = probe_log:attach(Probe),
    %% All of a message but its last byte: the sidecar has to keep it.
    Kept = [ws_client:handshake("/"), ws_client:header(1, 0, 2, 60000), binary:copy(<<0>>, 60000 - 1)],
    hoard(OsPid, maps:get(port, Server), Kept, ?MOST_CLIENTS),
    os_process:is_gone(OsPid),
    os_process:until(fun() -> not lists:member(os_process:sidecar(Ref), [OsPid, undefined]) end),
    #{status := 404} = http_client:get(Server, "/none"),
    ok = probe_log:detach(),
    Log = [Text || {error, Text} <- probe:stop(Probe), is_binary(Text)],
    [_] = [Text || Text <- Log, binary:match(Text, <<"has lost its sidecar">>) =/= nomatch,
        binary:match(Text, <<"{sidecar_exit,134}">>) =/= nomatch].

%% Connects clients that keep these bytes in this sidecar, until it has died of them, or until they must be enough: it reads
%% what they sent when it comes to it. One that is reset or refused is no such sign: the next sidecar may listen already.
hoard(_, _, _, 0) ->
    ok;
hoard(OsPid, Port, Bytes, Left) ->
    case filelib:is_dir("/proc/" ++ integer_to_list(OsPid)) andalso gen_tcp:connect({127, 0, 0, 1}, Port, [binary]) of
        {ok, Socket} ->
            _ = gen_tcp:send(Socket, Bytes),
            hoard(OsPid, Port, Bytes, Left - 1);
        {error, econnrefused} ->
            os_process:is_gone(OsPid);
        {error, _} ->
            hoard(OsPid, Port, Bytes, Left - 1);
        false ->
            ok
    end.

%% Each file that is read has a thread, whose stack counts for the limit as a whole.
files_that_hang_do_not_use_up_the_memory(Config) ->
    Probe = probe:start(),
    Fifo = filename:join(proplists:get_value(priv_dir, Config), "fifo"),
    "" = os:cmd("mkfifo " ++ Fifo),
    Init = fun(Req, State) ->
        Reply = cowboy_req:reply(200, #{}, {sendfile, 0, 1000, Fifo}, Req),
        probe:note(Probe, replied),
        {ok, Reply, State}
    end,
    Routes = [{"/hang", http_script_h, #{init => Init}}],
    Transport = #{memory_limit => 64 * ?MIB},
    Server = own_case:listen(?FUNCTION_NAME, #{routes => Routes, transport => Transport, probe => Probe}),
    OsPid = os_process:sidecar(?FUNCTION_NAME),
    Clients = [http_client:connect(Server) || _ <- lists:seq(1, 600)],
    _ = [ok = http_client:send(Client, http_client:request("GET", "/hang")) || Client <- Clients],
    os_process:until(fun() -> length([replied || replied <- probe:calls(Probe)]) =:= length(Clients) end),
    #{status := 404} = http_client:get(Server, "/none"),
    OsPid = os_process:sidecar(?FUNCTION_NAME),
    %% 64 threads of 256 KiB, and what 600 clients need.
    [Used, "kB"] = os_process:status(OsPid, "VmData"),
    true = list_to_integer(Used) * 1024 < 48 * ?MIB.

it_becomes_the_user(_) ->
    as_root(fun() ->
        Ids = [User || User <- ["nobody", <<"nobody">>, {65534, 65533}]],
        _ = [begin
            Ref = start(?FUNCTION_NAME, #{sidecar_user => User}),
            OsPid = os_process:sidecar(Ref),
            ["65534", "65534", "65534", "65534"] = os_process:status(OsPid, "Uid"),
            Gid = case User of {_, Number} -> integer_to_list(Number); _ -> "65534" end,
            [Gid, Gid, Gid, Gid] = os_process:status(OsPid, "Gid"),
            [] = os_process:status(OsPid, "Groups"),
            [["0000000000000000"], ["0000000000000000"]] =
                [os_process:status(OsPid, Set) || Set <- ["CapEff", "CapPrm"]],
            #{status := 404} = http_client:get(#{port => outrider:get_port(Ref)}, "/none"),
            ok = outrider:stop_listener(Ref)
        end || User <- Ids]
    end, #{sidecar_user => {65534, 65534}}).

%% It is kept over a suspension only where the user may bind it again.
a_privileged_port_is_bound_before(_) ->
    as_root(fun() ->
        Port = privileged_port(),
        Ref = start(?FUNCTION_NAME, #{sidecar_user => "nobody", socket_opts => [{ip, {127, 0, 0, 1}}, {port, Port}]}),
        #{status := 404} = http_client:get(#{port => Port}, "/none"),
        ok = outrider:suspend_listener(Ref),
        {error, eacces} = outrider:resume_listener(Ref),
        suspended = outrider:get_status(Ref),
        OsPid = os_process:sidecar(Ref),
        ok = os_process:signal(OsPid, "KILL"),
        %% A new sidecar starts as root again.
        os_process:until(fun() -> not lists:member(os_process:sidecar(Ref), [OsPid, undefined]) end),
        suspended = outrider:get_status(Ref)
    end, #{sidecar_user => "nobody"}).

a_unix_socket_cannot_be_bound_again(_) ->
    as_root(fun() ->
        Path = filename:join("/tmp", "outrider-rights-" ++ os:getpid() ++ ".d/s"),
        ok = filelib:ensure_dir(Path),
        Ref = start(?FUNCTION_NAME, #{sidecar_user => "nobody", socket_opts => [{ip, {local, Path}}]}),
        {ok, Socket} = gen_tcp:connect({local, Path}, 0, [binary, {active, false}]),
        ok = gen_tcp:send(Socket, http_client:request("GET", "/none")),
        {ok, <<"HTTP/1.1 404", _/binary>>} = gen_tcp:recv(Socket, 0),
        ok = outrider:suspend_listener(Ref),
        {error, _} = outrider:resume_listener(Ref),
        ok = outrider:stop_listener(Ref),
        ok = file:del_dir_r(filename:dirname(Path))
    end, #{sidecar_user => "nobody"}).

an_unknown_user_is_refused(_) ->
    {error, {sidecar_exit, 2}} = start(?FUNCTION_NAME, #{sidecar_user => "no_such_user"}).

wrong_options_are_named(_) ->
    [{error, {bad_option, Key}} = start(?FUNCTION_NAME, #{Key => Value}) || {Key, Value} <- [
        {memory_limit, -1}, {memory_limit, unlimited}, {sidecar_user, nobody}, {sidecar_user, ""}, {sidecar_user, <<>>},
        {sidecar_user, <<255>>}, {sidecar_user, {1, -1}}, {sidecar_user, [-1]}]].

%% A stopped sidecar does not see its stdin end, and would hold its address for ever.
it_leaves_with_the_vm_though_it_was_stopped(_) ->
    Users = case is_root() of true -> [#{}, #{sidecar_user => "nobody"}]; false -> [#{}] end,
    [begin
        {ok, Peer, _} = peer:start(#{connection => standard_io, args => ["-pa" | code:get_path()]}),
        Call = fun(Module, Function, Args) -> peer:call(Peer, Module, Function, Args) end,
        Server = Call(own_case, listen, [peer, #{routes => routes(), transport => User, probe => none}]),
        OsPid = Call(os_process, sidecar, [peer]),
        Socket = ws_client:open(Server),
        ok = os_process:signal(OsPid, "STOP"),
        os_process:until(fun() -> hd(os_process:status(OsPid, "State")) =:= "T" end),
        ok = os_process:signal(list_to_integer(Call(os, getpid, [])), "KILL"),
        [{close, 1001, <<>>}, closed] = ws_client:recv_all(Socket),
        os_process:is_gone(OsPid)
    end || User <- Users].

%% Helpers

start(Case, TransOpts) ->
    case outrider:start_clear(Case, maps:merge(#{socket_opts => [{port, 0}]}, TransOpts), own_case:protocol(routes(), none)) of
        {ok, _} -> Case;
        {error, {{shutdown, {failed_to_start_child, outrider_sidecars_sup, Reason}}, _}} -> {error, Reason};
        {error, _} = Error -> Error
    end.

routes() ->
    [{"/", ws_bare_h, #{}}].

%% Only root can change the user. Anyone else is told so when the listener starts.
as_root(Test, TransOpts) ->
    case is_root() of
        true -> Test();
        false -> {error, {sidecar_exit, 6}} = start(?FUNCTION_NAME, TransOpts)
    end.

is_root() ->
    hd(os_process:status(list_to_integer(os:getpid()), "Uid")) =:= "0".

privileged_port() ->
    {Port, Socket} = hd([{Port, Socket} || Port <- lists:seq(1023, 600, -1),
        {ok, Socket} <- [gen_tcp:listen(Port, [{ip, {127, 0, 0, 1}}])]]),
    ok = gen_tcp:close(Socket),
    Port.
