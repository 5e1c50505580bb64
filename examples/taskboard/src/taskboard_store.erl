%% The tasks, in memory, and the numbered changes to them.
%%
%% Anybody reads the two tables; one process writes them, so that a change to a task holds only if the task is still
%% what the caller saw: each task has a revision, which must be given. A change is announced to all who follow/0 as
%% `{change, Change}`, after it is in the tables. The latest ?KEPT_CHANGES can be read again, for who was away.
%%
%% Nothing is kept on disk: a restart empties the board.
-module(taskboard_store).
-behaviour(gen_server).

-export([start_link/0]).
-export([list/0, find/1, last_change/0, changes_since/1, follow/0]).
-export([create/1, replace/3, delete/2]).
-export([init/1, handle_call/3, handle_cast/2]).

-export_type([change/0]).

%% Numbers rise by one. `deleted` has the task as it was.
-type change() :: {Number :: pos_integer(), created | updated | deleted, taskboard_task:task()}.

-define(TASKS, taskboard_tasks).
-define(CHANGES, taskboard_changes).
-define(MAX_TASKS, 10000).
-define(KEPT_CHANGES, 1000).

start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% All tasks by id, and the number of a change from which on a reader is up to date: a change that comes while we read
%% may be in the tasks already, and is harmless when it is applied once more.
-spec list() -> {non_neg_integer(), [taskboard_task:task()]}.
list() ->
    Number = last_change(),
    {Number, [Task || {_, Task} <- ets:tab2list(?TASKS)]}.

-spec find(integer()) -> {ok, taskboard_task:task()} | {error, not_found}.
find(Id) ->
    case ets:lookup(?TASKS, Id) of
        [{_, Task}] -> {ok, Task};
        [] -> {error, not_found}
    end.

-spec last_change() -> pos_integer().
last_change() ->
    ets:last(?CHANGES).

%% What has changed after the change of that number, oldest first. `gone` if the board cannot tell: it is too long ago,
%% or the number is none of ours.
-spec changes_since(integer()) -> {ok, [change()]} | gone.
changes_since(Number) ->
    case ets:member(?CHANGES, Number) of
        true -> {ok, ets:select(?CHANGES, [{{'$1', '_', '_'}, [{'>', '$1', Number}], ['$_']}])};
        false -> gone
    end.

%% Sends the caller every change from now on, until it ends.
-spec follow() -> ok.
follow() ->
    pg:join(taskboard, followers, self()).

%% Adds all or none.
-spec create([taskboard_task:fields()]) -> {ok, [taskboard_task:task()]} | {error, full}.
create(NewTasks) ->
    gen_server:call(?MODULE, {create, NewTasks}).

-spec replace(integer(), Revision :: pos_integer(), taskboard_task:fields()) ->
    {ok, taskboard_task:task()} | {error, not_found | changed}.
replace(Id, Revision, Fields) ->
    gen_server:call(?MODULE, {replace, Id, Revision, Fields}).

-spec delete(integer(), Revision :: pos_integer()) -> ok | {error, not_found | changed}.
delete(Id, Revision) ->
    gen_server:call(?MODULE, {delete, Id, Revision}).

%% The first change is none: it stands for the empty board, so that there is a last one. Its number is the time, so that
%% a number from before a restart is never taken for one of ours.
init([]) ->
    [Table = ets:new(Table, [ordered_set, named_table, {read_concurrency, true}]) || Table <- [?TASKS, ?CHANGES]],
    ets:insert(?CHANGES, {erlang:system_time(millisecond), none, none}),
    {ok, 1}.

handle_call({create, NewTasks}, _From, NextId) ->
    case ets:info(?TASKS, size) + length(NewTasks) =< ?MAX_TASKS of
        true ->
            Ids = lists:seq(NextId, NextId + length(NewTasks) - 1),
            Tasks = [Fields#{id => Id, revision => 1} || {Id, Fields} <- lists:zip(Ids, NewTasks)],
            lists:foreach(fun(Task) -> put_task(created, Task) end, Tasks),
            {reply, {ok, Tasks}, NextId + length(Tasks)};
        false ->
            {reply, {error, full}, NextId}
    end;
handle_call({replace, Id, Revision, Fields}, _From, NextId) ->
    case current(Id, Revision) of
        {ok, _Task} ->
            Task = Fields#{id => Id, revision => Revision + 1},
            put_task(updated, Task),
            {reply, {ok, Task}, NextId};
        Error ->
            {reply, Error, NextId}
    end;
handle_call({delete, Id, Revision}, _From, NextId) ->
    case current(Id, Revision) of
        {ok, Task} ->
            ets:delete(?TASKS, Id),
            announce(deleted, Task),
            {reply, ok, NextId};
        Error ->
            {reply, Error, NextId}
    end.

handle_cast(_Request, NextId) ->
    {noreply, NextId}.

current(Id, Revision) ->
    case find(Id) of
        {ok, #{revision := Revision}} = Current -> Current;
        {ok, _Newer} -> {error, changed};
        Error -> Error
    end.

put_task(Verb, Task = #{id := Id}) ->
    ets:insert(?TASKS, {Id, Task}),
    announce(Verb, Task).

announce(Verb, Task) ->
    Change = {last_change() + 1, Verb, Task},
    ets:insert(?CHANGES, Change),
    ets:info(?CHANGES, size) =< ?KEPT_CHANGES orelse ets:delete(?CHANGES, ets:first(?CHANGES)),
    [Pid ! {change, Change} || Pid <- pg:get_local_members(taskboard, followers)],
    ok.
