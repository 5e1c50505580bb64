%% GET /socket: a WebSocket that tells who has the board open, and takes changes to tasks; see taskboard_wire for its
%% messages.
%%
%% Each is in the `pg` group of its user's name, so the names of the groups are those who are present, on all nodes.
%% `pg` notices the end of a process, whatever its reason.
-module(taskboard_socket_handler).
-behaviour(cowboy_websocket).

-export([init/2, websocket_init/1, websocket_handle/2, websocket_info/2]).

-define(MAX_MESSAGE, 4096). % bytes
-define(HEARTBEAT, 25000). % milliseconds; the browser's answer keeps the connection from its idle timeout of 60 s

init(Req = #{user := User}, []) ->
    case choose(cowboy_req:parse_header(<<"sec-websocket-protocol">>, Req, [])) of
        {Protocol, Format} ->
            State = #{user => User, format => Format, present => []},
            {cowboy_websocket, cowboy_req:set_resp_header(<<"sec-websocket-protocol">>, Protocol, Req), State, #{
                compress => true, max_frame_size => ?MAX_MESSAGE, idle_timeout => 60000
            }};
        none ->
            Headers = #{<<"content-type">> => <<"text/plain">>},
            {ok, cowboy_req:reply(400, Headers, <<"sub-protocols: tasks.v1.json, tasks.v1.csv">>, Req), []}
    end.

%% The first that we know, for the client names what it likes best first.
choose([]) ->
    none;
choose([Protocol | Others]) ->
    case taskboard_wire:format(Protocol) of
        {ok, Format} -> {Protocol, Format};
        error -> choose(Others)
    end.

websocket_init(State = #{user := User}) ->
    ok = pg:join(taskboard, {present, User}, self()),
    {_Monitor, _Groups} = pg:monitor_scope(taskboard),
    heartbeat(),
    present(State).

websocket_handle({text, Text}, State = #{format := Format}) ->
    Answer =
        case taskboard_wire:decode(Format, Text) of
            {set, Id, Revision, Given} -> change(Id, Revision, Given);
            error -> {refused, <<"not a message of this sub-protocol">>}
        end,
    {[frame(Answer, State)], State};
websocket_handle({binary, _}, State) ->
    {[{close, 1003, <<"text only">>}], State};
websocket_handle(_Frame, State) ->
    {[], State}.

websocket_info({_Monitor, _JoinOrLeave, {present, _User}, _Pids}, State) ->
    present(State);
websocket_info(heartbeat, State) ->
    heartbeat(),
    {[ping], State, hibernate};
websocket_info(_Message, State) ->
    {[], State}.

present(State = #{present := Before}) ->
    case lists:sort([User || {present, User} <- pg:which_groups(taskboard)]) of
        Before -> {[], State, hibernate};
        Now -> {[frame({present, Now}, State)], State#{present := Now}, hibernate}
    end.

change(Id, Revision, Given) ->
    case taskboard_store:find(Id) of
        {ok, Task} ->
            case taskboard_task:change(Task, Given) of
                {ok, Fields} -> replace(Id, Revision, Fields);
                {error, Reason} -> {refused, Reason}
            end;
        {error, not_found} ->
            {refused, <<"no such task">>}
    end.

replace(Id, Revision, Fields) ->
    case taskboard_store:replace(Id, Revision, Fields) of
        {ok, Task} -> {task, Task};
        {error, changed} -> {refused, <<"the task has been changed">>};
        {error, not_found} -> {refused, <<"no such task">>}
    end.

frame(Answer, #{format := Format}) ->
    {text, taskboard_wire:encode(Format, Answer)}.

heartbeat() ->
    erlang:send_after(?HEARTBEAT, self(), heartbeat).
