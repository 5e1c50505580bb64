%% What a task is: which fields may be given, and how a task reads in CSV. In JSON it is an object of the same names.
%%
%% All input, from JSON, CSV and the WebSocket, is checked here and nowhere else. Pure.
-module(taskboard_task).

-export([new/1, change/2, from_row/1]).
-export([header/0, to_row/1]).

-export_type([task/0, fields/0, reason/0]).

-type status() :: todo | doing | done.
-type fields() :: #{title := binary(), status := status(), assignee := binary()}.
-type task() :: #{
    id := pos_integer(), revision := pos_integer(), title := binary(), status := status(), assignee := binary()
}.
-type reason() :: binary(). % for people

-define(MAX_TITLE, 200). % characters
-define(MAX_ASSIGNEE, 40). % characters

%% The fields of a task from a map of names and values, as JSON gives it.
-spec new(map()) -> {ok, fields()} | {error, reason()}.
new(Given) when is_map_key(<<"title">>, Given) ->
    change(#{title => <<>>, status => todo, assignee => <<>>}, Given);
new(_) ->
    {error, <<"a task needs a title">>}.

%% The fields of a task with those that are given in place of its own.
-spec change(fields() | task(), map()) -> {ok, fields()} | {error, reason()}.
change(Task, Given) when is_map(Given) ->
    try
        {ok, maps:fold(fun set/3, maps:with([title, status, assignee], Task), Given)}
    catch
        throw:Reason -> {error, Reason}
    end;
change(_, _) ->
    {error, <<"a task is an object">>}.

set(<<"title">>, Title, Fields) -> Fields#{title => line(Title, 1, ?MAX_TITLE)};
set(<<"assignee">>, Name, Fields) -> Fields#{assignee => line(Name, 0, ?MAX_ASSIGNEE)};
set(<<"status">>, <<"todo">>, Fields) -> Fields#{status => todo};
set(<<"status">>, <<"doing">>, Fields) -> Fields#{status => doing};
set(<<"status">>, <<"done">>, Fields) -> Fields#{status => done};
set(<<"status">>, _, _) -> throw(<<"a status is todo, doing or done">>);
set(_, _, _) -> throw(<<"a task has a title, a status and an assignee">>).

%% One line of printable characters.
line(Text, Shortest, Longest) when is_binary(Text) ->
    case unicode:characters_to_list(Text) of
        Characters when is_list(Characters), length(Characters) >= Shortest, length(Characters) =< Longest ->
            lists:all(fun(Character) -> Character >= $\s end, Characters) orelse throw(<<"control character">>),
            Text;
        _ ->
            throw(<<"text too short, too long or not UTF-8">>)
    end;
line(_, _, _) ->
    throw(<<"not a text">>).

%% The fields of a task from a row of CSV: the columns of header/0 without the first two.
-spec from_row([binary()]) -> {ok, fields()} | {error, reason()}.
from_row([Title, Status, Assignee]) ->
    new(#{<<"title">> => Title, <<"status">> => Status, <<"assignee">> => Assignee});
from_row(_) ->
    {error, <<"a row is title, status, assignee">>}.

-spec header() -> [binary()].
header() ->
    [<<"id">>, <<"revision">>, <<"title">>, <<"status">>, <<"assignee">>].

-spec to_row(task()) -> [iodata()].
to_row(#{id := Id, revision := Revision, title := Title, status := Status, assignee := Assignee}) ->
    [integer_to_binary(Id), integer_to_binary(Revision), Title, atom_to_binary(Status), Assignee].
