%% GET /events: every change from now on, as server-sent events whose id is the change's number.
%%
%% A browser that comes back after a loss names the last id it has seen, and gets what it missed; so does who names a
%% change with ?since=NUMBER. Who cannot be told what was missed gets the event `reset`, and must fetch the tasks anew.
-module(taskboard_events_handler).
-behaviour(cowboy_loop).

-export([init/2, info/3]).

-define(HEARTBEAT, 20000). % milliseconds; shorter than what proxies wait for a silent server

init(Req0, []) ->
    Since = since(Req0), % answers 400 if it is no number
    %% Cowboy ends a connection on which the client is silent; a listener is.
    cowboy_req:cast({set_options, #{idle_timeout => infinity}}, Req0),
    Headers = #{<<"content-type">> => <<"text/event-stream">>, <<"cache-control">> => <<"no-store">>},
    Req = cowboy_req:stream_reply(200, Headers, Req0),
    %% First follow, then look what was missed: what comes in between is known by its number when it comes again.
    ok = taskboard_store:follow(),
    heartbeat(),
    {cowboy_loop, Req, catch_up(Since, Req), hibernate}.

since(Req) ->
    case cowboy_req:header(<<"last-event-id">>, Req) of
        undefined ->
            #{since := Number} = cowboy_req:match_qs([{since, int, none}], Req),
            Number;
        Id ->
            try
                binary_to_integer(Id)
            catch
                error:badarg -> 0
            end
    end.

%% Returns the number of the last change that the client knows.
catch_up(none, Req) ->
    %% Looked at before the client is told: a change that it makes when it reads the comment is one from now on.
    Last = taskboard_store:last_change(),
    cowboy_req:stream_events(#{comment => <<"from now on">>}, nofin, Req),
    Last;
catch_up(Number, Req) ->
    case taskboard_store:changes_since(Number) of
        {ok, []} ->
            cowboy_req:stream_events(#{comment => <<"nothing missed">>}, nofin, Req),
            Number;
        {ok, Changes} ->
            cowboy_req:stream_events([event(Change) || Change <- Changes], nofin, Req),
            element(1, lists:last(Changes));
        gone ->
            Last = taskboard_store:last_change(),
            cowboy_req:stream_events(#{id => integer_to_binary(Last), event => <<"reset">>, data => <<>>}, nofin, Req),
            Last
    end.

info({change, Change = {Number, _, _}}, Req, Last) when Number > Last ->
    cowboy_req:stream_events(event(Change), nofin, Req),
    {ok, Req, Number, hibernate};
info({change, _Known}, Req, Last) ->
    {ok, Req, Last, hibernate};
info(heartbeat, Req, Last) ->
    cowboy_req:stream_events(#{comment => <<"still here">>}, nofin, Req),
    heartbeat(),
    {ok, Req, Last, hibernate}.

event({Number, Verb, Task}) ->
    #{id => integer_to_binary(Number), event => atom_to_binary(Verb), data => taskboard_json:encode(Task)}.

heartbeat() ->
    erlang:send_after(?HEARTBEAT, self(), heartbeat).
