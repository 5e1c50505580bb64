%% /tasks: all tasks, as JSON, as a page or as CSV; POST adds one.
-module(taskboard_tasks_handler).
-behaviour(cowboy_rest).

-export([init/2, allowed_methods/2, content_types_provided/2, charsets_provided/2, content_types_accepted/2]).
-export([generate_etag/2, to_json/2, to_html/2, to_csv/2, from_json/2]).

init(Req, State) ->
    {cowboy_rest, Req, State}.

allowed_methods(Req, State) ->
    {[<<"GET">>, <<"HEAD">>, <<"OPTIONS">>, <<"POST">>], Req, State}.

content_types_provided(Req, State) ->
    Types = [
        {<<"application/json">>, to_json},
        {<<"text/html">>, to_html},
        {<<"text/csv">>, to_csv}
    ],
    {Types, Req, State}.

charsets_provided(Req, State) ->
    {[<<"utf-8">>], Req, State}.

content_types_accepted(Req, State) ->
    {[{{<<"application">>, <<"json">>, '*'}, from_json}], Req, State}.

%% CSV has none: it is the largest, and cowboy_compress_h leaves alone what has an ETag.
generate_etag(Req = #{media_type := {<<"text">>, <<"csv">>, _}}, State) ->
    {undefined, Req, State};
generate_etag(Req, State) ->
    {taskboard_rest:etag(taskboard_store:last_change(), Req), Req, State}.

to_json(Req, State) ->
    {Change, Tasks} = taskboard_store:list(),
    {taskboard_json:encode(#{change => Change, tasks => Tasks}), Req, State}.

to_html(Req, State) ->
    {_Change, Tasks} = taskboard_store:list(),
    {taskboard_html:tasks(Tasks), Req, State}.

to_csv(Req, State) ->
    {_Change, Tasks} = taskboard_store:list(),
    {taskboard_csv:encode([taskboard_task:header() | [taskboard_task:to_row(Task) || Task <- Tasks]]), Req, State}.

from_json(Req0, State) ->
    taskboard_rest:with_body(Req0, State, fun(Given, Req) ->
        case taskboard_task:new(Given) of
            {ok, Fields} -> create(Fields, Req, State);
            {error, Reason} -> taskboard_rest:refuse(Reason, Req, State)
        end
    end).

create(Fields, Req, State) ->
    case taskboard_store:create([Fields]) of
        {ok, [Task = #{id := Id}]} ->
            Path = ["/tasks/", integer_to_binary(Id)],
            {{created, Path}, cowboy_req:set_resp_body(taskboard_json:encode(Task), Req), State};
        {error, full} ->
            taskboard_rest:refuse(507, <<"the board is full">>, Req, State)
    end.
