%% /tasks/ID: one task, as JSON or as a page; PUT replaces it, PATCH changes fields (RFC 7396), DELETE removes it.
%%
%% The ETag is the task's revision, so If-Match keeps one from overwriting what another has just written. Without
%% If-Match that holds for the time of the request only; then the answer is 409.
-module(taskboard_task_handler).
-behaviour(cowboy_rest).

-export([init/2, allowed_methods/2, content_types_provided/2, charsets_provided/2, content_types_accepted/2]).
-export([resource_exists/2, generate_etag/2, delete_resource/2]).
-export([to_json/2, to_html/2, put_json/2, patch_json/2]).

init(Req, []) ->
    {cowboy_rest, Req, taskboard_store:find(cowboy_req:binding(id, Req))}.

allowed_methods(Req, State) ->
    {[<<"GET">>, <<"HEAD">>, <<"OPTIONS">>, <<"PUT">>, <<"PATCH">>, <<"DELETE">>], Req, State}.

content_types_provided(Req, State) ->
    Types = [
        {<<"application/json">>, to_json},
        {<<"text/html">>, to_html}
    ],
    {Types, Req, State}.

charsets_provided(Req, State) ->
    {[<<"utf-8">>], Req, State}.

content_types_accepted(Req = #{method := <<"PATCH">>}, State) ->
    {[{{<<"application">>, <<"merge-patch+json">>, '*'}, patch_json}], Req, State};
content_types_accepted(Req, State) ->
    {[{{<<"application">>, <<"json">>, '*'}, put_json}], Req, State}.

resource_exists(Req, State) ->
    {State =/= {error, not_found}, Req, State}.

generate_etag(Req, State = {ok, #{revision := Revision}}) ->
    {taskboard_rest:etag(Revision, Req), Req, State}.

to_json(Req, State = {ok, Task}) ->
    {taskboard_json:encode(Task), Req, State}.

to_html(Req, State = {ok, Task}) ->
    {taskboard_html:task(Task), Req, State}.

%% The board gives the ids: nothing can be put where nothing is.
put_json(Req, State = {error, not_found}) ->
    taskboard_rest:refuse(404, <<"no such task">>, Req, State);
put_json(Req, State) ->
    write(fun(_Task, Given) -> taskboard_task:new(Given) end, Req, State).

patch_json(Req, State) ->
    write(fun taskboard_task:change/2, Req, State).

write(Make, Req0, State = {ok, Task = #{id := Id, revision := Revision}}) ->
    taskboard_rest:with_body(Req0, State, fun(Given, Req) ->
        case Make(Task, Given) of
            {ok, Fields} -> written(taskboard_store:replace(Id, Revision, Fields), Req, State);
            {error, Reason} -> taskboard_rest:refuse(Reason, Req, State)
        end
    end).

written({ok, Task = #{revision := Revision}}, Req0, State) ->
    Req1 = cowboy_req:set_resp_header(<<"etag">>, taskboard_rest:etag(Revision, Req0), Req0),
    {true, cowboy_req:set_resp_body(taskboard_json:encode(Task), Req1), State};
written({error, _}, Req, State) ->
    taskboard_rest:refuse(409, <<"the task has just been changed">>, Req, State).

delete_resource(Req, State = {ok, #{id := Id, revision := Revision}}) ->
    case taskboard_store:delete(Id, Revision) of
        ok -> {true, Req, State};
        {error, _} -> taskboard_rest:refuse(409, <<"the task has just been changed">>, Req, State)
    end.
