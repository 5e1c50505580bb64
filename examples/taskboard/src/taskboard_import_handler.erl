%% POST /import: a form (multipart/form-data) whose field `tasks` is a file of CSV: `title,status,assignee`, with these
%% names in the first row. All rows are added, or none.
-module(taskboard_import_handler).
-behaviour(cowboy_handler).

-export([init/2]).

-define(MAX_FILE, 1048576). % bytes

init(Req0 = #{method := <<"POST">>}, State) ->
    {Status, Answer, Req} =
        case read_file(Req0) of
            {ok, Text, Req1} ->
                {Status1, Answer1} = import(Text),
                {Status1, Answer1, Req1};
            Refused ->
                Refused
        end,
    Headers = #{<<"content-type">> => <<"application/json">>},
    {ok, cowboy_req:reply(Status, Headers, taskboard_json:encode(Answer), Req), State};
init(Req, State) ->
    {ok, cowboy_req:reply(405, #{<<"allow">> => <<"POST">>}, Req), State}.

%% The file's part among the others, which are read over.
read_file(Req0) ->
    case cowboy_req:read_part(Req0) of
        {ok, Headers, Req1} ->
            case cow_multipart:form_data(Headers) of
                {file, <<"tasks">>, _Name, _Type} -> read_content(<<>>, Req1);
                _ -> read_file(Req1)
            end;
        {done, Req} ->
            {400, #{error => <<"no file">>}, Req}
    end.

read_content(Read, Req0) ->
    case cowboy_req:read_part_body(Req0, #{length => 65536}) of
        {_, Piece, Req} when byte_size(Read) + byte_size(Piece) > ?MAX_FILE -> {413, #{error => <<"too large">>}, Req};
        {more, Piece, Req} -> read_content(<<Read/binary, Piece/binary>>, Req);
        {ok, Piece, Req} -> {ok, <<Read/binary, Piece/binary>>, Req}
    end.

import(Text) ->
    case taskboard_csv:decode(Text) of
        {ok, [[<<"title">>, <<"status">>, <<"assignee">>] | Rows]} ->
            case fields(Rows, 2) of
                {ok, NewTasks} -> create(NewTasks);
                {error, Row, Reason} -> {400, #{error => Reason, row => Row}}
            end;
        {ok, _} ->
            {400, #{error => <<"the first row must be title,status,assignee">>, row => 1}};
        {error, Row} ->
            {400, #{error => <<"not CSV">>, row => Row}}
    end.

fields([], _Number) ->
    {ok, []};
fields([Row | Rows], Number) ->
    case taskboard_task:from_row(Row) of
        {ok, Fields} ->
            case fields(Rows, Number + 1) of
                {ok, More} -> {ok, [Fields | More]};
                Error -> Error
            end;
        {error, Reason} ->
            {error, Number, Reason}
    end.

create(NewTasks) ->
    case taskboard_store:create(NewTasks) of
        {ok, Tasks} -> {200, #{imported => length(Tasks)}};
        {error, full} -> {507, #{error => <<"the board is full">>}}
    end.
