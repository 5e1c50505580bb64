%% A client of the soak: one process that lives one connection after the other, each drawn at random.
%%
%% Most talk: ask, and hold each answer against what they asked. Others are slow, misbehave, vanish, or only speak HTTP.
%% Every WebSocket connection becomes an entry of soak_books: what it asked, what it was answered, and how it ended.
-module(soak_client).

-export([run/2, kinds/0]).

%% Each with how often it is drawn.
-define(KINDS, [{60, talk}, {6, slow}, {10, misbehave}, {10, http}, {6, garbage}, {3, slow_head}, {5, vanish}, {4, member}, {3, slow_member}]).

-define(LARGEST, 1048576).
%% ws_ledger_h's max_frame_size in the soak.
-define(TOO_LARGE, 3 * 1048576).

%% Until the books say that it is over.
-spec run(inet:port_number(), {integer(), pos_integer()}) -> ok.
run(Port, {Seed, Number}) ->
    _ = rand:seed(exsss, {Seed, Number, 0}),
    lives(Port, {Seed, Number}, 1).

-spec kinds() -> [atom(), ...].
kinds() ->
    [Kind || {_, Kind} <- ?KINDS].

lives(Port, {Seed, Number} = Client, Life) ->
    case soak_books:is_over() of
        true ->
            ok;
        false ->
            Name = iolist_to_binary(io_lib:format("~b-~b-~b", [Seed, Number, Life])),
            Kind = draw(?KINDS),
            ok = live(Kind, Port, Name),
            pause(200),
            lives(Port, Client, Life + 1)
    end.

live(Kind, Port, Name) ->
    put(asked, 0),
    put(answered, 0),
    Begin = soak_books:now_ms(),
    soak_books:count(Kind),
    End = try
        Connection = soak_socket:connect(Port, options(Kind)),
        put(connection, Connection),
        live(Kind, Name),
        planned
    catch
        throw:Why -> Why
    end,
    _ = case erase(connection) of
        undefined -> ok;
        %% Its zlib streams may be closed already.
        Open -> try soak_socket:close(Open) catch error:_ -> ok end
    end,
    soak_books:ended(Kind, Name, get(asked), get(answered), Begin, End).

live(talk, Name) ->
    talk(rand:uniform(30), upgrade(Name, draw([{85, plain}, {15, deflated}])));
live(slow, Name) ->
    Connection = upgrade(Name, plain),
    Asked = [ask(Connection, $p) || _ <- lists:seq(1, rand:uniform(5))],
    pause(2000),
    lists:foreach(fun(Answer) -> answered(Connection, Answer), pause(200) end, Asked),
    leave(Connection);
live(vanish, Name) ->
    Connection = upgrade(Name, plain),
    _ = [ask(Connection, Order) || Order <- lists:sublist("epew", rand:uniform(4))],
    soak_socket:reset(Connection);
live(misbehave, Name) ->
    Connection = upgrade(Name, plain),
    {Bytes, Code} = draw([{1, Fault} || Fault <- misbehaviours()]),
    ok = soak_socket:send(Connection, Bytes),
    try soak_socket:message(Connection) of
        Message -> soak_books:wrong({Name, misbehaved, Message})
    catch
        throw:{closed, Code} -> ok
    end;
live(member, Name) ->
    soak_member:live(quick, Name, upgrade("/member", draw([{70, plain}, {30, deflated}])));
live(slow_member, Name) ->
    soak_member:live(slow, Name, upgrade("/slow_member", draw([{70, plain}, {30, deflated}])));
live(http, _) ->
    Connection = get(connection),
    _ = [{200, _} = soak_socket:request(Connection, http_client:request("GET", "/hello")) || _ <- lists:seq(1, rand:uniform(5))],
    {404, _} = soak_socket:request(Connection, http_client:request("GET", "/nothing"));
live(garbage, _) ->
    Bytes = draw([
        {1, [rand:bytes(rand:uniform(300)), "\r\n\r\n"]},
        {1, ws_client:handshake_with([{"Sec-WebSocket-Key", none}])},
        {1, ["GET / HTTP/1.1\r\nHost: x\r\nA: ", binary:copy(<<"a">>, 10000), "\r\n\r\n"]},
        {1, "GET / HTTP/9.9\r\n\r\n"}
    ]),
    try soak_socket:request(get(connection), Bytes) of
        {Status, _} when Status >= 400, Status < 600 -> ok
    catch
        throw:{lost, _} -> ok
    end;
live(slow_head, _) ->
    drip(get(connection), "GET /hello HTTP/1.1\r\nHost: localhost\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").

%% A slow member's kernel takes little for it: small segments have the server begin with a small buffer (TCP_MAXSEG is 2).
options(slow_member) -> [{recbuf, 4096}, {raw, 6, 2, <<536:32/native>>}];
options(_) -> [].

upgrade(Name, How) when is_binary(Name) ->
    upgrade(["/ledger?", Name], How);
upgrade(Target, How) ->
    Connection = soak_socket:upgrade(get(connection), Target, How),
    put(connection, Connection),
    Connection.

talk(0, Connection) ->
    leave(Connection);
talk(Count, Connection) ->
    %% Who asks for much without reading meanwhile waits for a server that waits for it: only a single message is large.
    {Batch, Sizes} = draw([{8, {1, any}}, {1, {4, small}}, {1, {16, small}}]),
    Asked = [ask(Connection, draw([{90, $e}, {6, $p}, {4, $w}]), Sizes) || _ <- lists:seq(1, Batch)],
    lists:foreach(fun(Answer) -> answered(Connection, Answer) end, Asked),
    pause(300),
    case soak_books:is_over() of
        true -> leave(Connection);
        false -> talk(Count - 1, Connection)
    end.

%% Sends a message and returns the answer that is due.
ask(Connection, Order) ->
    ask(Connection, Order, small).

ask(Connection, Order, Sizes) ->
    Number = put(asked, get(asked) + 1) + 1,
    Head = io_lib:format("~12..0b~c", [Number, Order]),
    {Type, Rest, Pushes} = case Order of
        $e -> payload(Sizes);
        $p -> push(rand:uniform(300));
        $w -> {text, integer_to_binary(rand:uniform(300)), 0}
    end,
    Message = iolist_to_binary([Head, Rest]),
    soak_books:count(asked),
    soak_books:count(bytes, byte_size(Message)),
    ok = soak_socket:send(Connection, frames(Type, Message, Connection)),
    case Order of
        $p -> {Type, iolist_to_binary(Head), Pushes};
        _ -> {Type, Message, Pushes}
    end.

%% Waits for the answer, and what is to follow it.
answered(Connection, {Type, Message, Pushes} = Due) ->
    case soak_socket:message(Connection) of
        {pong, _} ->
            answered(Connection, Due);
        {Type, Message} ->
            put(answered, get(answered) + 1),
            soak_books:count(answered),
            pushed(Connection, Pushes);
        {Other, Payload} ->
            soak_books:wrong({answer, Other, binary:part(Payload, 0, min(20, byte_size(Payload))), Type, byte_size(Message)})
    end.

pushed(_, 0) ->
    ok;
pushed(Connection, Count) ->
    case soak_socket:message(Connection) of
        {binary, <<"push", _:996/binary>>} -> soak_books:count(pushed), pushed(Connection, Count - 1);
        {pong, _} -> pushed(Connection, Count);
        {Type, Payload} -> soak_books:wrong({push, Type, byte_size(Payload)})
    end.

push(Count) ->
    {binary, integer_to_binary(1000 * Count), Count}.

payload(Sizes) ->
    Most = case Sizes of
        any -> draw([{70, 200}, {20, 5000}, {8, 70000}, {2, ?LARGEST}]);
        small -> 200
    end,
    Size = rand:uniform(Most) - 1,
    case draw([{1, text}, {1, binary}]) of
        text -> {text, binary:copy(<<"€"/utf8>>, Size div 3), 0};
        binary -> {binary, soak_books:noise(Size), 0}
    end.

%% The message's frames: compressed if that was agreed, sometimes in fragments with a ping between them.
frames(Type, Message, Connection) ->
    Opcode = case Type of text -> 1; binary -> 2 end,
    {Rsv, Payload} = case Connection of
        #{deflate := Deflate} -> {4, ws_client:deflate(Deflate, Message)};
        #{} -> {0, Message}
    end,
    case draw([{4, whole}, {1, fragments}]) of
        whole ->
            ws_client:frame(1, Rsv, Opcode, Payload);
        fragments ->
            At = rand:uniform(byte_size(Payload)) - 1,
            <<First:At/binary, Last/binary>> = Payload,
            [ws_client:frame(0, Rsv, Opcode, First), ws_client:bytes({ping, <<"between">>}), ws_client:frame(1, 0, 0, Last)]
    end.

leave(Connection) ->
    case draw([{50, close}, {15, fin}, {15, reset}, {10, mid_frame}, {10, half_close}]) of
        close ->
            ok = soak_socket:send(Connection, ws_client:bytes({close, 1000, <<"bye">>})),
            try bye(Connection) catch throw:{closed, 1000} -> soak_socket:receive_all(Connection) end;
        fin ->
            ok;
        reset ->
            %% It closes, too.
            erase(connection),
            soak_socket:reset(Connection);
        mid_frame ->
            ok = soak_socket:send(Connection, [ws_client:header(1, 0, 2, 1000), <<"half">>]);
        half_close ->
            #{socket := Socket} = Connection,
            _ = gen_tcp:shutdown(Socket, write),
            soak_socket:receive_all(Connection)
    end.

%% Pongs may be on their way.
bye(Connection) ->
    {pong, _} = soak_socket:message(Connection),
    bye(Connection).

misbehaviours() ->
    [
        {ws_client:frame(1, 0, 3, <<>>), 1002},
        {ws_client:frame(1, 2, 1, <<"x">>), 1002},
        {ws_client:frame(1, 4, 1, <<"x">>), 1002},
        {<<129, 1, "x">>, 1002},
        {ws_client:frame(1, 0, 0, <<"x">>), 1002},
        {ws_client:frame(0, 0, 9, <<>>), 1002},
        {ws_client:frame(1, 0, 9, binary:copy(<<"x">>, 126)), 1002},
        {ws_client:bytes({close, 1005, <<>>}), 1002},
        {ws_client:frame(1, 0, 1, <<255>>), 1007},
        {ws_client:header(1, 0, 2, ?TOO_LARGE), 1009}
    ].

%% A byte now and then, until the server has had enough.
drip(Connection, [Byte | Bytes]) ->
    try soak_socket:send(Connection, [Byte]) of
        ok -> pause(200), drip(Connection, Bytes)
    catch
        throw:{lost, _} -> ok
    end;
drip(Connection, []) ->
    soak_socket:receive_all(Connection).

pause(Most) ->
    receive after rand:uniform(Most) -> ok end.

draw(Weighted) ->
    draw(rand:uniform(lists:sum([Weight || {Weight, _} <- Weighted])), Weighted).

draw(N, [{Weight, Value} | _]) when N =< Weight -> Value;
draw(N, [{Weight, _} | Rest]) -> draw(N - Weight, Rest).
