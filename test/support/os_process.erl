%% What the kernel says of an OS process, and signals to it.
-module(os_process).

-export([sidecar/1, status/2, limit/2, environment/1, descriptors/1, directory/1]).
-export([collector/1, signal/2, while_stopped/2, is_gone/1, is_replaced/2, until/1, something/1]).

%% Far longer than anything here takes, even on a busy machine.
-define(PATIENCE_MS, 20000).

%% The process beside this listener of one, or `undefined' while there is none.
-spec sidecar(ranch:ref()) -> pos_integer() | undefined.
sidecar(Ref) ->
    case outrider:info(Ref) of
        #{sidecars := [#{os_pid := OsPid}]} -> OsPid;
        #{sidecars := []} -> undefined
    end.

%% The words of one line of /proc/PID/status.
-spec status(pos_integer(), string()) -> [string()].
status(OsPid, Name) ->
    [Words] = [string:lexemes(Value, "\t ") || [Key, Value] <- lines(OsPid, "status", ":"), Key =:= Name],
    Words.

%% A limit, {soft, hard}, as /proc/PID/limits has them.
-spec limit(pos_integer(), string()) -> {string(), string()}.
limit(OsPid, Name) ->
    [[Soft, Hard | _]] = [string:lexemes(Rest, " ") || [_, Rest] <- lines(OsPid, "limits", Name)],
    {Soft, Hard}.

%% The names of its variables.
-spec environment(pos_integer()) -> [string()].
environment(OsPid) ->
    {ok, Block} = file:read_file(path(OsPid, "environ")),
    [hd(string:split(Variable, "=")) || Variable <- string:lexemes(binary_to_list(Block), [0])].

%% What its file descriptors stand for.
-spec descriptors(pos_integer() | self) -> [{Fd :: string(), string()}].
descriptors(OsPid) ->
    {ok, Fds} = file:list_dir_all(path(OsPid, "fd")),
    %% One of our own is that of the listing itself.
    [{Fd, Target} || Fd <- Fds, {ok, Target} <- [file:read_link_all(path(OsPid, ["fd/", Fd]))]].

-spec directory(pos_integer()) -> string().
directory(OsPid) ->
    {ok, Directory} = file:read_link_all(path(OsPid, "cwd")),
    Directory.

-spec signal(pos_integer(), string()) -> ok.
signal(OsPid, Name) ->
    "" = os:cmd("kill -" ++ Name ++ " " ++ integer_to_list(OsPid)),
    ok.

%% Runs a fun while the process is stopped.
-spec while_stopped(pos_integer(), fun(() -> Result)) -> Result.
while_stopped(OsPid, Fun) ->
    ok = signal(OsPid, "STOP"),
    try
        Fun()
    after
        signal(OsPid, "CONT")
    end.

%% The Erlang process that collects what goes to this listener's only sidecar.
-spec collector(ranch:ref()) -> pid().
collector(Ref) ->
    [Owner] = outrider:procs(Ref, acceptors),
    {links, Links} = process_info(Owner, links),
    [Pid] = [Pid || Pid <- Links, is_pid(Pid), {outrider_collector, _, _} <- [proc_lib:translate_initial_call(Pid)]],
    Pid.

%% Waits until this listener has another sidecar than that.
-spec is_replaced(ranch:ref(), pos_integer()) -> ok.
is_replaced(Ref, Before) ->
    until(fun() -> not lists:member(sidecar(Ref), [Before, undefined]) end).

%% Waits until no OS process of that number runs. One that nobody has waited for yet (Z) has ended.
-spec is_gone(pos_integer()) -> ok.
is_gone(OsPid) ->
    until(fun() ->
        not filelib:is_dir(path(OsPid, "")) orelse
            try hd(status(OsPid, "State")) =:= "Z" catch error:{badmatch, _} -> true end
    end).

%% For what sends no event: the end of an OS process that is not our child, the start of a process by a supervisor.
-spec until(fun(() -> boolean())) -> ok.
until(Condition) ->
    until(Condition, erlang:monotonic_time(millisecond) + ?PATIENCE_MS).

until(Condition, Deadline) ->
    case Condition() of
        true ->
            ok;
        false ->
            erlang:monotonic_time(millisecond) < Deadline orelse error(too_late),
            receive after 10 -> until(Condition, Deadline) end
    end.

%% What it returns once that is something.
-spec something(fun(() -> [Something])) -> [Something, ...].
something(Fun) ->
    Self = self(),
    ok = until(fun() ->
        case Fun() of
            [] -> false;
            Something -> Self ! {something, Something}, true
        end
    end),
    receive {something, Something} -> Something end.

lines(OsPid, File, Separator) ->
    {ok, Text} = file:read_file(path(OsPid, File)),
    [string:split(Line, Separator) || Line <- string:lexemes(binary_to_list(Text), "\n")].

path(self, File) -> filename:join("/proc/self", File);
path(OsPid, File) -> filename:join(["/proc", integer_to_list(OsPid), File]).
