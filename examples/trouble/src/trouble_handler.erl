%% What the clients of trouble_client talk to, by path:
%%
%%     /echo     answers each message, and pings each second to see who is there
%%     /feed     sends 32 KiB ten times a second, as many a handler does: without asking whether anybody takes it
%%     /board    is sent what the publisher publishes, and rather misses some of it than waits for a slow client
%%     /report   makes a report of each message, which takes a second
-module(trouble_handler).
-behaviour(cowboy_websocket).

-export([init/2, websocket_init/1, websocket_handle/2, websocket_info/2]).
-export([start_publisher/0]).

-define(TICK_MS, 100).
-define(NEWS, {binary, <<0:262144>>}).

init(Req, front) ->
    {ok, cowboy_req:reply(302, #{<<"location">> => <<"/dashboard/">>}, Req), front};
init(Req, Kind) ->
    {cowboy_websocket, Req, Kind, options(Kind)}.

options(echo) -> #{ping_interval => 1000, pong_timeout => 3000};
options(feed) -> #{idle_timeout => infinity};
options(board) -> #{idle_timeout => infinity, max_backlog => 131072, on_backlog => drop};
options(report) -> #{}.

websocket_init(feed) ->
    {ok, _} = timer:send_interval(?TICK_MS, news),
    {[], feed};
websocket_init(board) ->
    {[{subscribe, <<"board">>}], board};
websocket_init(Kind) ->
    {[], Kind}.

websocket_handle(Frame = {Type, _}, echo) when Type =:= text; Type =:= binary ->
    {[Frame], echo};
websocket_handle({text, Text}, report) ->
    {[{text, report(Text)}], report};
websocket_handle(_Frame, Kind) ->
    {[], Kind}.

websocket_info(news, feed) ->
    {[?NEWS], feed};
websocket_info(_Message, Kind) ->
    {[], Kind}.

%% Stands for a query to a database that has become slow.
report(Text) ->
    timer:sleep(1000),
    Text.

start_publisher() ->
    {ok, spawn_link(fun publish/0)}.

publish() ->
    timer:sleep(?TICK_MS),
    ok = outrider:publish(trouble, <<"board">>, ?NEWS),
    publish().
