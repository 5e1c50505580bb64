%% Counts what a listener could leave behind: processes, ports, atoms and file descriptors of this VM, its sidecars, and
%% the file descriptors of these.
%%
%% Usage: do everything once, so that code is loaded and its atoms are known; `count/0'; do it again; `none_since/1'.
%% Runs in the VM that has the listener. Sidecars are found by a mark in their environment, so that one that has become
%% an orphan counts, too.
-module(leaks).

-export([mark/0, count/0, none_since/1, more/2, sidecars/0, fds/1]).

-export_type([count/0]).

-type count() :: #{
    processes := #{term() => pos_integer()}, ports := #{term() => pos_integer()}, atoms := pos_integer(),
    fds := pos_integer(), sidecars := non_neg_integer(), sidecar_fds := non_neg_integer()
}.

-define(MARK, "/outrider-test-vm-").

%% Marks the OS processes that this VM starts from now on: by a folder at the end of PATH that there is not. A sidecar gets
%% little else of the VM's environment.
-spec mark() -> ok.
mark() ->
    true = os:putenv("PATH", os:getenv("PATH") ++ ":" ++ ?MARK ++ os:getpid()),
    ok.

-spec count() -> count().
count() ->
    Sidecars = sidecars(),
    #{
        processes => tally([kind(Pid) || Pid <- processes()]),
        ports => tally([Name || Port <- erlang:ports(), {name, Name} <- [erlang:port_info(Port, name)]]),
        atoms => erlang:system_info(atom_count),
        fds => fds(os:getpid()),
        sidecars => length(Sidecars),
        sidecar_fds => lists:sum([fds(Pid) || Pid <- Sidecars])
    }.

%% Waits until there is no more of anything than there was; fails with what there is.
-spec none_since(count()) -> ok.
none_since(Before) ->
    try
        os_process:until(fun() -> more(Before, count()) =:= [] end)
    catch
        error:too_late -> error({leaked, more(Before, count())})
    end.

%% The sidecars of this VM that run, as numbers of OS processes.
-spec sidecars() -> [string()].
sidecars() ->
    {ok, Entries} = file:list_dir("/proc"),
    [Pid || [Digit | _] = Pid <- Entries, Digit >= $1, Digit =< $9, is_outrider(Pid), is_marked(Pid)].

is_outrider(Pid) ->
    %% Of one that has ended, and that nobody has waited for yet, nothing is left but its name.
    file:read_file("/proc/" ++ Pid ++ "/comm") =:= {ok, <<"outrider\n">>} andalso fds(Pid) > 0.

is_marked(Pid) ->
    Mark = list_to_binary(?MARK ++ os:getpid()),
    case file:read_file("/proc/" ++ Pid ++ "/environ") of
        {ok, Environment} ->
            Paths = [Path || <<"PATH=", Path/binary>> <- binary:split(Environment, <<0>>, [global])],
            lists:any(fun(Path) -> lists:member(Mark, binary:split(Path, <<":">>, [global])) end, Paths);
        {error, _} ->
            false
    end.

%% Of what there is more than before.
-spec more(count(), count()) -> [{atom(), term()}].
more(Before, After) ->
    [{What, Left} || {What, Old} <- maps:to_list(Before), Left <- left(Old, maps:get(What, After))].

left(Old, New) when is_map(Old) ->
    [{Kind, {Count, instead_of, maps:get(Kind, Old, 0)}} || {Kind, Count} <- maps:to_list(New), Count > maps:get(Kind, Old, 0)];
left(Old, New) ->
    [{New, instead_of, Old} || New > Old].

kind(Pid) ->
    case {process_info(Pid, registered_name), process_info(Pid, dictionary)} of
        {{registered_name, Name}, _} -> Name;
        {_, {dictionary, _}} -> proc_lib:translate_initial_call(Pid);
        {_, undefined} -> ended
    end.

tally(Kinds) ->
    lists:foldl(fun(Kind, Tally) -> maps:update_with(Kind, fun(N) -> N + 1 end, 1, Tally) end, #{},
        [Kind || Kind <- Kinds, Kind =/= ended]).

%% How many file descriptors an OS process has.
-spec fds(string()) -> non_neg_integer().
fds(Pid) ->
    case file:list_dir("/proc/" ++ Pid ++ "/fd") of
        {ok, Fds} -> length(Fds);
        {error, _} -> 0
    end.
