%% A client's connection in the soak: HTTP and WebSocket over gen_tcp, blocking, in the client's process.
%%
%% Everything that ends a connection before its client wanted so is thrown: `{lost, Why}' by the network, `{closed, Code}'
%% by the server's close frame, `hung' for a wait that nothing justifies.
-module(soak_socket).

-export([connect/2, send/2, request/2, upgrade/3, message/1, receive_all/1, close/1, reset/1]).

-export_type([connection/0]).

-type connection() :: #{socket := gen_tcp:socket(), inflate => zlib:zstream(), deflate => zlib:zstream()}.

%% No fault of the soak lasts a tenth of it.
-define(PATIENCE_MS, 60000).

-spec connect(inet:port_number(), [gen_tcp:connect_option()]) -> connection().
connect(Port, Options) ->
    All = [binary, {active, false}, {nodelay, true}, {buffer, 16384} | Options],
    case gen_tcp:connect({127, 0, 0, 1}, Port, All, ?PATIENCE_MS) of
        {ok, Socket} -> #{socket => Socket};
        {error, Reason} -> lost(Reason)
    end.

-spec send(connection(), iodata()) -> ok.
send(#{socket := Socket}, Bytes) ->
    case gen_tcp:send(Socket, Bytes) of
        ok -> ok;
        {error, Reason} -> lost(Reason)
    end.

%% The response to these bytes: its status and headers. A body is read if it has a length.
-spec request(connection(), iodata()) -> {100..599, #{binary() => binary()}}.
request(Connection = #{socket := Socket}, Bytes) ->
    ok = send(Connection, Bytes),
    ok = inet_ok(inet:setopts(Socket, [{packet, http_bin}])),
    {http_response, _, Status, _} = got(gen_tcp:recv(Socket, 0, ?PATIENCE_MS)),
    Headers = headers(Socket, #{}),
    ok = inet_ok(inet:setopts(Socket, [{packet, raw}])),
    case Headers of
        #{<<"content-length">> := Length} when Length =/= <<"0">> -> _ = bytes(Socket, binary_to_integer(Length));
        #{} -> ok
    end,
    {Status, Headers}.

headers(Socket, Headers) ->
    case got(gen_tcp:recv(Socket, 0, ?PATIENCE_MS)) of
        {http_header, _, Name, _, Value} -> headers(Socket, Headers#{name(Name) => Value});
        http_eoh -> Headers
    end.

name(Name) when is_atom(Name) -> string:lowercase(atom_to_binary(Name));
name(Name) -> string:lowercase(Name).

%% A WebSocket, compressed if the client wants that: it keeps its contexts from message to message.
-spec upgrade(connection(), iodata(), plain | deflated) -> connection().
upgrade(Connection, Target, How) ->
    Offer = [{"Sec-WebSocket-Extensions", "permessage-deflate"} || How =:= deflated],
    case request(Connection, ws_client:handshake(Target, Offer)) of
        {101, #{<<"sec-websocket-extensions">> := _}} ->
            Connection#{deflate => ws_client:deflater(), inflate => ws_client:inflater()};
        {101, _} ->
            Connection
    end.

%% The next message or pong.
-spec message(connection()) -> {text | binary | pong, binary()}.
message(Connection) ->
    message(Connection, none, []).

message(Connection = #{socket := Socket}, First, Parts) ->
    <<Fin:1, Rsv1:1, 0:2, Opcode:4, 0:1, Short:7>> = bytes(Socket, 2),
    Payload = bytes(Socket, case Short of
        126 -> binary:decode_unsigned(bytes(Socket, 2));
        127 -> binary:decode_unsigned(bytes(Socket, 8));
        _ -> Short
    end),
    case {Fin, Opcode, First} of
        {1, 8, _} -> throw({closed, close_code(Payload)});
        {1, 9, _} -> message(Connection, First, Parts);
        {1, 10, none} -> {pong, Payload};
        {1, 10, _} -> message(Connection, First, Parts);
        {0, 0, {_, _}} -> message(Connection, First, [Payload | Parts]);
        {1, 0, {Type, Bit}} -> whole(Connection, Type, Bit, lists:reverse(Parts, [Payload]));
        {0, _, none} -> message(Connection, {type(Opcode), Rsv1}, [Payload]);
        {1, _, none} -> whole(Connection, type(Opcode), Rsv1, [Payload])
    end.

whole(_, Type, 0, Parts) -> {Type, iolist_to_binary(Parts)};
whole(#{inflate := Inflate}, Type, 1, Parts) -> {Type, ws_client:inflate(Inflate, iolist_to_binary(Parts))}.

type(1) -> text;
type(2) -> binary.

close_code(<<Code:16, _/binary>>) -> Code;
close_code(<<>>) -> none.

%% Everything up to the end of the connection.
-spec receive_all(connection()) -> ok.
receive_all(Connection = #{socket := Socket}) ->
    case gen_tcp:recv(Socket, 0, ?PATIENCE_MS) of
        {ok, _} -> receive_all(Connection);
        {error, timeout} -> throw(hung);
        {error, _} -> ok
    end.

-spec close(connection()) -> ok.
close(Connection = #{socket := Socket}) ->
    _ = [ok = zlib:close(Z) || {Key, Z} <- maps:to_list(Connection), Key =/= socket],
    gen_tcp:close(Socket).

%% Close with RST instead of FIN.
-spec reset(connection()) -> ok.
reset(Connection = #{socket := Socket}) ->
    _ = inet:setopts(Socket, [{linger, {true, 0}}]),
    close(Connection).

bytes(_, 0) -> <<>>;
bytes(Socket, Length) -> got(gen_tcp:recv(Socket, Length, ?PATIENCE_MS)).

got({ok, Data}) -> Data;
got({error, timeout}) -> throw(hung);
got({error, Reason}) -> lost(Reason).

inet_ok(ok) -> ok;
inet_ok({error, Reason}) -> lost(Reason).

-spec lost(term()) -> no_return().
lost(timeout) -> throw(hung);
lost(Reason) -> throw({lost, Reason}).
