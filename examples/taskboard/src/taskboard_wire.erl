%% The messages of the WebSocket in its two sub-protocols, `tasks.v1.json` and `tasks.v1.csv`. Pure.
%%
%%   to the client    {"present":["ada","bob"]}              present,ada,bob
%%                    {"task":{"id":7,"revision":3,…}}       task,7,3,Buy milk,done,ada
%%                    {"refused":"REASON"}                   refused,REASON
%%   to the server    {"id":7,"revision":2,"set":{"status":"done"}}
%%                    set,7,2,status,done                    and as many more names and values as there are
-module(taskboard_wire).

-export([format/1, encode/2, decode/2]).

-export_type([format/0]).

-type format() :: json | csv.
-type answer() :: {present, [Name :: binary()]} | {task, taskboard_task:task()} | {refused, binary()}.

%% The format of a sub-protocol.
-spec format(binary()) -> {ok, format()} | error.
format(<<"tasks.v1.json">>) -> {ok, json};
format(<<"tasks.v1.csv">>) -> {ok, csv};
format(_) -> error.

-spec encode(format(), answer()) -> iodata().
encode(json, {Verb, Content}) -> taskboard_json:encode(#{Verb => Content});
encode(csv, {present, Names}) -> taskboard_csv:encode([[<<"present">> | Names]]);
encode(csv, {task, Task}) -> taskboard_csv:encode([[<<"task">> | taskboard_task:to_row(Task)]]);
encode(csv, {refused, Reason}) -> taskboard_csv:encode([[<<"refused">>, Reason]]).

-spec decode(format(), binary()) -> {set, Id :: integer(), Revision :: integer(), Given :: map()} | error.
decode(json, Text) ->
    case taskboard_json:decode(Text) of
        {ok, #{<<"id">> := Id, <<"revision">> := Revision, <<"set">> := Given}} when
            is_integer(Id), is_integer(Revision)
        ->
            {set, Id, Revision, Given};
        _ ->
            error
    end;
decode(csv, Text) ->
    case taskboard_csv:decode(Text) of
        {ok, [[<<"set">>, Id, Revision | Given]]} ->
            try
                {set, binary_to_integer(Id), binary_to_integer(Revision), pairs(Given)}
            catch
                error:_ -> error
            end;
        _ ->
            error
    end.

pairs([Name, Value | More]) -> (pairs(More))#{Name => Value};
pairs([]) -> #{}.
