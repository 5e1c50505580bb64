%% Two listeners: one to which something happens, and one beside it that is to notice nothing.
-module(isolation_case).

-export([init/2, stop/2, listen/2, protocol/0, one_is_in_trouble/2, is_up/1, echoes/1, serves/1, kill/1, os_pids/1]).
-export([program/1, become/2, restore/1]).

-import(os_process, [until/1]).

%% For init_per_testcase: the two are `troubled' and `other' of the configuration.
-spec init(atom(), list()) -> list().
init(Case, Config) ->
    %% What one case brings down is not the next one's failure.
    same_test:start([outrider]),
    Executable = application:get_env(outrider, executable),
    persistent_term:erase(keep_logger),
    [Troubled, Other] = [listen({Name, Case}, #{}) || Name <- [troubled, other]],
    [{troubled, Troubled}, {other, Other}, {executable, Executable} | Config].

%% For end_per_testcase.
-spec stop(atom(), list()) -> ok.
stop(Case, Config) ->
    ok = restore(Config),
    _ = [try outrider:stop_listener({Name, Case}) catch error:badarg -> ok end || Name <- [troubled, other]],
    ok.

%% A listener with these options, whose log keep_logger keeps.
-spec listen(ranch:ref(), map()) -> same_test:server().
listen(Ref, TransOpts) ->
    own_case:listen(Ref, #{routes => routes(), transport => TransOpts#{logger => keep_logger}, probe => none}).

%% The other one notices nothing, and this one is back in the end.
-spec one_is_in_trouble(list(), fun(() -> term())) -> pid().
one_is_in_trouble(Config, Trouble) ->
    #{ref := Ref} = proplists:get_value(troubled, Config),
    #{ref := Other} = OtherServer = proplists:get_value(other, Config),
    Client = ws_client:open(OtherServer),
    #{pid := Listener} = outrider:info(Other),
    Before = os_pids(Other),
    Top = whereis(outrider_sup),
    _ = Trouble(),
    until(fun() -> is_up(Ref) end),
    echoes(Client),
    #{pid := Listener} = outrider:info(Other),
    Before = os_pids(Other),
    Top = whereis(outrider_sup).

-spec is_up(ranch:ref()) -> boolean().
is_up(Ref) ->
    try outrider:info(Ref) of
        #{sidecars := Sidecars} -> Sidecars =/= []
    catch
        %% It is between two lives.
        error:badarg -> false;
        exit:_ -> false
    end.

-spec echoes(gen_tcp:socket()) -> {text, binary()}.
echoes(Socket) ->
    ok = ws_client:send(Socket, {text, <<"are you there">>}),
    {text, <<"are you there">>} = ws_client:recv(Socket).

%% A sidecar that is there may be about to go, with what befell the others.
-spec serves(same_test:server()) -> ok.
serves(Server) ->
    until(fun() ->
        try
            echoes(ws_client:open(Server)),
            true
        catch
            error:_ -> false
        end
    end).

%% All of its sidecars.
-spec kill(ranch:ref()) -> ok.
kill(Ref) ->
    _ = [ok = os_process:signal(OsPid, "KILL") || OsPid <- os_pids(Ref)],
    ok.

-spec os_pids(ranch:ref()) -> [pos_integer()].
os_pids(Ref) ->
    #{sidecars := Sidecars} = outrider:info(Ref),
    [OsPid || #{os_pid := OsPid} <- Sidecars].

%% That of the sidecar.
-spec program(list()) -> file:filename().
program(Config) ->
    case proplists:get_value(executable, Config) of
        {ok, Path} -> Path;
        undefined -> filename:join([code:priv_dir(outrider), "bin", "outrider"])
    end.

%% Another program in the sidecar's place: a shell script.
-spec become(iodata(), list()) -> ok.
become(Script, Config) ->
    File = filename:join(proplists:get_value(priv_dir, Config), "sidecar.sh"),
    ok = file:write_file(File, ["#!/bin/sh\n", Script, "\n"]),
    ok = file:change_mode(File, 8#755),
    application:set_env(outrider, executable, File).

%% The program is the sidecar again.
-spec restore(list()) -> ok.
restore(Config) ->
    case proplists:get_value(executable, Config) of
        {ok, Path} -> application:set_env(outrider, executable, Path);
        undefined -> application:unset_env(outrider, executable)
    end.

%% The protocol options of each of them.
-spec protocol() -> cowboy:opts().
protocol() ->
    own_case:protocol(routes(), none).

routes() ->
    [{"/", ws_bare_h, []}].
