%% A client of the board for the tests: requests, events and WebSockets with gun. Each waits ?TIMEOUT ms for what must
%% come, and fails if it does not.
-module(taskboard_client).

-export([login/2, get/2, get/3, request/5, open/1, ask/5, header/2, json/1]).
-export([events/3, event/1, socket/3, refused_socket/3, send/2, frame/1, close/1]).

-define(TIMEOUT, 20000).

%% The cookie of a new session, as a header.
login(Port, Name) ->
    Form = cow_qs:qs([{<<"name">>, Name}, {<<"password">>, <<"together">>}]),
    Type = {<<"content-type">>, <<"application/x-www-form-urlencoded">>},
    {303, Headers, _} = request(Port, <<"POST">>, "/login", [Type], Form),
    [Cookie | _Attributes] = binary:split(header(<<"set-cookie">>, Headers), <<";">>),
    {<<"cookie">>, Cookie}.

get(Port, Path) -> get(Port, Path, []).
get(Port, Path, Headers) -> request(Port, <<"GET">>, Path, Headers, <<>>).

%% One request on a connection of its own. Returns {Status, Headers, Body}.
request(Port, Method, Path, Headers, Body) ->
    Gun = open(Port),
    try
        ask(Gun, Method, Path, Headers, Body)
    after
        close(Gun)
    end.

%% The same on a connection that is open.
ask(Gun, Method, Path, Headers, Body) ->
    Stream = gun:request(Gun, Method, Path, Headers, Body),
    case gun:await(Gun, Stream, ?TIMEOUT) of
        {response, fin, Status, Fields} ->
            {Status, Fields, <<>>};
        {response, nofin, Status, Fields} ->
            {ok, Answer} = gun:await_body(Gun, Stream, ?TIMEOUT),
            {Status, Fields, Answer}
    end.

open(Port) ->
    {ok, Gun} = gun:open("127.0.0.1", Port, #{retry => 0, protocols => [http]}),
    {ok, http} = gun:await_up(Gun, ?TIMEOUT),
    Gun.

close({Gun, _Stream}) -> close(Gun);
close(Gun) -> gun:close(Gun).

header(Name, Headers) ->
    proplists:get_value(Name, Headers).

json(Text) ->
    {ok, Value} = taskboard_json:decode(iolist_to_binary(Text)),
    Value.

%% A stream of server-sent events, opened; the first event, a comment or what was missed, tells that the board follows.
events(Port, Path, Headers) ->
    Gun = open(Port),
    Stream = gun:get(Gun, Path, Headers),
    {response, nofin, 200, Fields} = gun:await(Gun, Stream, ?TIMEOUT),
    <<"text/event-stream">> = header(<<"content-type">>, Fields),
    {Gun, Stream}.

%% The next event as {Id, Event, Task}, or the text of a comment. Cowboy sends each in a piece of its own or with
%% others.
event(Events = {Gun, Stream}) ->
    Buffer = case erase(Events) of undefined -> <<>>; Kept -> Kept end,
    case binary:split(Buffer, <<"\n\n">>) of
        [Event, Rest] ->
            put(Events, Rest),
            parse_event([binary:split(Line, <<": ">>) || Line <- binary:split(Event, <<"\n">>, [global])]);
        [_] ->
            {data, nofin, Data} = gun:await(Gun, Stream, ?TIMEOUT),
            put(Events, <<Buffer/binary, Data/binary>>),
            event(Events)
    end.

parse_event([[<<>>, Comment]]) ->
    Comment;
parse_event(Lines) ->
    Field = fun(Name) -> hd([Value || [N, Value] <- Lines, N =:= Name] ++ [<<>>]) end,
    Data = case Field(<<"data">>) of <<>> -> none; Json -> json(Json) end,
    {Field(<<"id">>), Field(<<"event">>), Data}.

%% A WebSocket that offers these sub-protocols. Returns it with the head of the answer.
socket(Port, Protocols, Headers) ->
    Socket = {Gun, Stream} = upgrade(Port, Protocols, Headers),
    receive
        {gun_upgrade, Gun, Stream, [<<"websocket">>], Fields} -> {Socket, Fields};
        {gun_response, Gun, Stream, _, Status, _} -> error({refused, Status})
    after ?TIMEOUT -> error(timeout)
    end.

refused_socket(Port, Protocols, Headers) ->
    Socket = {Gun, Stream} = upgrade(Port, Protocols, Headers),
    {response, _, Status, Fields} = gun:await(Gun, Stream, ?TIMEOUT),
    close(Socket),
    {Status, Fields}.

upgrade(Port, Protocols, Headers) ->
    Gun = open(Port),
    Opts = [{protocols, [{Protocol, gun_ws_h} || Protocol <- Protocols]} || Protocols =/= []],
    {Gun, gun:ws_upgrade(Gun, "/socket", Headers, maps:from_list([{compress, true} | Opts]))}.

send({Gun, _Stream}, Frame) ->
    gun:ws_send(Gun, Frame).

%% The next frame. Pings of the server are answered by gun.
frame({Gun, Stream}) ->
    receive
        {gun_ws, Gun, Stream, Frame} -> Frame;
        {gun_down, Gun, _, Reason, _, _} -> error({down, Reason})
    after ?TIMEOUT -> error(timeout)
    end.
