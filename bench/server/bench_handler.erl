%% The one handler that both servers run, unchanged; two of its routes are for Outrider alone.
%%
%% The route says what it does: see bench_server. Every WebSocket offers compression and takes it if the client asks, and
%% none has an idle timeout, because some rows leave their connections silent. State is the list of what a callback
%% returns besides commands: [] or [hibernate].
-module(bench_handler).
-behaviour(cowboy_websocket).

-export([init/2, websocket_init/1, websocket_handle/2, websocket_info/2]).

init(Req, reply) ->
    Headers = #{<<"content-type">> => <<"text/plain">>},
    {ok, cowboy_req:reply(200, Headers, binary:copy(<<"x">>, 100), Req), reply};
init(Req, Route) ->
    Options = #{compress => true, idle_timeout => infinity, max_frame_size => 1 bsl 26},
    {cowboy_websocket, Req, {Route, cowboy_req:parse_qs(Req)}, Options#{lazy => Route =:= lazy}}.

websocket_init({push, Query}) ->
    Every = binary_to_integer(proplists:get_value(<<"every">>, Query)),
    Size = binary_to_integer(proplists:get_value(<<"size">>, Query)),
    {[], tick(#{route => push, every => Every, padding => binary:copy(<<"x">>, Size - 16), number => 0,
        next => erlang:monotonic_time(millisecond)})};
websocket_init({topic, Query}) ->
    Topic = iolist_to_binary(io_lib:format("room ~4..0b", [room(Query)])),
    {[{subscribe, Topic}, {text, [<<"joined ">>, Topic]}], {topic, Topic}};
websocket_init({By, Query}) when By =:= room; By =:= send_many ->
    Room = room(Query),
    ok = pg:join({bench_room, Room}, self()),
    {[{text, io_lib:format("joined room ~4..0b", [Room])}], {By, {bench_room, Room}}};
websocket_init({Idle, _}) when Idle =:= idle; Idle =:= lazy ->
    {[], idle, hibernate};
websocket_init({Route, _}) ->
    {[], Route}.

%% An echo of the same kind.
websocket_handle({Kind, Data}, echo) when Kind =:= text; Kind =:= binary ->
    {[{Kind, Data}], echo};
websocket_handle({Kind, Data}, idle) when Kind =:= text; Kind =:= binary ->
    {[{Kind, Data}], idle, hibernate};
%% How large it was.
websocket_handle({_, Data}, sink) ->
    {[{text, integer_to_binary(byte_size(Data))}], sink};
%% Not one is handled to its end.
websocket_handle({_, _}, sleep) ->
    receive after infinity -> {[], sleep} end;
%% What one says, all hear, the speaker too.
websocket_handle({Kind, Data}, {room, Room} = State) when Kind =:= text; Kind =:= binary ->
    _ = [Member ! {said, {Kind, Data}} || Member <- pg:get_members(Room)],
    {[], State};
%% The same by Outrider's own means.
websocket_handle({Kind, Data}, {send_many, Room} = State) when Kind =:= text; Kind =:= binary ->
    _ = outrider:send_many(pg:get_members(Room), {Kind, Data}),
    {[], State};
websocket_handle({Kind, Data}, {topic, Topic} = State) when Kind =:= text; Kind =:= binary ->
    ok = outrider:publish(bench, Topic, {Kind, Data}),
    {[], State};
websocket_handle(_Control, State) ->
    {[], State}.

websocket_info({said, Frame}, {room, _} = State) ->
    {[Frame], State};
%% A message of the timer tells when it was sent (nanoseconds of the system's clock) and its number.
websocket_info(tick, #{number := Number, padding := Padding} = State) ->
    {[{binary, <<(os:system_time(nanosecond)):64, Number:64, Padding/binary>>}], tick(State#{number := Number + 1})}.

%% The next tick counts from the last one's due time, not from now: a slow server sends late, and not less.
tick(#{every := Every, next := Last} = State) ->
    Next = Last + Every,
    _ = erlang:send_after(Next, self(), tick, [{abs, true}]),
    State#{next := Next}.

%% Each of the rooms gets as many as the others.
room(Query) ->
    Counter = persistent_term:get(bench_arrivals),
    Rooms = binary_to_integer(proplists:get_value(<<"rooms">>, Query)),
    (atomics:add_get(Counter, 1, 1) - 1) rem Rooms.
