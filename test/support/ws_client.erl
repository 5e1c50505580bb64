%% A WebSocket client that hides nothing: it can send any bytes as a frame and shows each frame as it came.
%% Every frame is masked with the same key (that of RFC 6455 5.7), so that two runs send the same bytes. Blocking, in the
%% calling process.
-module(ws_client).

-export([open/1, open/2, open_at/2, handshake/1, handshake/2, upgrade/2, handshake_with/1]).
-export([send/2, bytes/1, frame/4, header/4]).
-export([recv/1, recv/2, recv_all/1, recv_deflated/1]).
-export([deflater/0, deflate/2, inflater/0, inflate/2]).

-export_type([frame/0, sent/0]).

-type sent() :: cow_ws:frame() | {raw, iodata()}.

%% A frame from the server. One that is neither whole nor plain is shown with its bits.
-type frame() ::
    {text | binary | ping | pong, binary()} | ping | pong | close | {close, 0..65535, binary()}
    | {deflated, text | binary, binary()} | {frame, Fin :: 0..1, Rsv :: 0..7, Opcode :: 0..15, binary()}
    | closed | timeout.

-define(FIELDS, [
    {"Connection", "Upgrade"},
    {"Upgrade", "websocket"},
    {"Sec-WebSocket-Version", "13"},
    {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}
]).

%% A connection whose handshake must succeed.
-spec open(same_test:server()) -> gen_tcp:socket().
open(Server) ->
    open(Server, []).

-spec open(same_test:server(), [{iodata(), iodata()}]) -> gen_tcp:socket().
open(Server, Headers) ->
    Socket = http_client:connect(Server),
    #{status := 101} = upgrade(Socket, Headers),
    Socket.

%% The same for another target than `/'.
-spec open_at(same_test:server(), iodata()) -> gen_tcp:socket().
open_at(Server, Target) ->
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, handshake(Target)),
    #{status := 101} = http_client:response(Socket),
    Socket.

%% Sends a handshake and returns its answer.
-spec upgrade(gen_tcp:socket(), [{iodata(), iodata()}]) -> http_client:response() | closed | timeout.
upgrade(Socket, Headers) ->
    ok = http_client:send(Socket, handshake("/", Headers)),
    http_client:response(Socket).

-spec handshake(iodata()) -> iodata().
handshake(Target) ->
    handshake(Target, []).

%% The bytes of a handshake with the key of RFC 6455 1.3.
-spec handshake(iodata(), [{iodata(), iodata()}]) -> iodata().
handshake(Target, Headers) ->
    http_client:request("GET", Target, ?FIELDS ++ Headers, <<>>).

%% The same with fields replaced, or taken out (`none').
-spec handshake_with([{string(), iodata() | none}]) -> iodata().
handshake_with(Replaced) ->
    Kept = [Field || {Name, _} = Field <- ?FIELDS, not lists:keymember(Name, 1, Replaced)],
    http_client:request("GET", "/", Kept ++ [Field || {_, Value} = Field <- Replaced, Value =/= none], <<>>).

%% Sends frames in one write.
-spec send(gen_tcp:socket(), sent() | [sent()]) -> ok | {error, term()}.
send(Socket, Frames) ->
    http_client:send(Socket, bytes(Frames)).

-spec bytes(sent() | [sent()]) -> iodata().
bytes({raw, Bytes}) -> Bytes;
bytes(Frames) when is_list(Frames) -> [bytes(Frame) || Frame <- Frames];
bytes({text, Payload}) -> frame(1, 0, 1, Payload);
bytes({binary, Payload}) -> frame(1, 0, 2, Payload);
bytes(close) -> frame(1, 0, 8, <<>>);
bytes({close, Code, Reason}) -> frame(1, 0, 8, <<Code:16, Reason/binary>>);
bytes(ping) -> frame(1, 0, 9, <<>>);
bytes({ping, Payload}) -> frame(1, 0, 9, Payload);
bytes(pong) -> frame(1, 0, 10, <<>>);
bytes({pong, Payload}) -> frame(1, 0, 10, Payload).

%% A masked frame of any kind.
-spec frame(0..1, 0..7, 0..15, binary()) -> iodata().
frame(Fin, Rsv, Opcode, Payload) ->
    [header(Fin, Rsv, Opcode, byte_size(Payload)), mask(Payload, <<>>)].

%% The header alone, for a payload of this length: shortest form, masked with the key below.
-spec header(0..1, 0..7, 0..15, non_neg_integer()) -> binary().
header(Fin, Rsv, Opcode, Length) when Length < 126 ->
    <<Fin:1, Rsv:3, Opcode:4, 1:1, Length:7, 16#37fa213d:32>>;
header(Fin, Rsv, Opcode, Length) when Length < 65536 ->
    <<Fin:1, Rsv:3, Opcode:4, 1:1, 126:7, Length:16, 16#37fa213d:32>>;
header(Fin, Rsv, Opcode, Length) ->
    <<Fin:1, Rsv:3, Opcode:4, 1:1, 127:7, Length:64, 16#37fa213d:32>>.

mask(<<Word:32, Rest/binary>>, Acc) -> mask(Rest, <<Acc/binary, (Word bxor 16#37fa213d):32>>);
mask(<<Last/binary>>, Acc) ->
    Bits = bit_size(Last),
    <<Tail:Bits>> = Last,
    <<Key:Bits, _/bits>> = <<16#37fa213d:32>>,
    <<Acc/binary, (Tail bxor Key):Bits>>.

-spec recv(gen_tcp:socket()) -> frame().
recv(Socket) ->
    case http_client:bytes(Socket, 2) of
        <<Fin:1, Rsv:3, Opcode:4, 0:1, Length0:7>> ->
            Length = case Length0 of
                126 -> binary:decode_unsigned(http_client:bytes(Socket, 2));
                127 -> binary:decode_unsigned(http_client:bytes(Socket, 8));
                _ -> Length0
            end,
            shown(Fin, Rsv, Opcode, http_client:bytes(Socket, Length));
        Ended ->
            Ended
    end.

%% The next frames.
-spec recv(gen_tcp:socket(), pos_integer()) -> [frame()].
recv(Socket, Count) ->
    [recv(Socket) || _ <- lists:seq(1, Count)].

%% All frames up to the end of the connection, with that end.
-spec recv_all(gen_tcp:socket()) -> [frame()].
recv_all(Socket) ->
    case recv(Socket) of
        Ended when Ended =:= closed; Ended =:= timeout -> [Ended];
        Frame -> [Frame | recv_all(Socket)]
    end.

%% The payload of one deflated message, in as many fragments as it comes, and how many these are.
-spec recv_deflated(gen_tcp:socket()) -> {Fragments :: pos_integer(), binary()}.
recv_deflated(Socket) ->
    case recv(Socket) of
        {deflated, _, Payload} -> {1, Payload};
        {frame, 0, 4, Opcode, Payload} when Opcode =/= 0 -> fragments(Socket, 1, Payload)
    end.

fragments(Socket, Count, Payload) ->
    case recv(Socket) of
        {frame, 0, 0, 0, More} -> fragments(Socket, Count + 1, <<Payload/binary, More/binary>>);
        {frame, 1, 0, 0, More} -> {Count + 1, <<Payload/binary, More/binary>>}
    end.

shown(1, 0, 1, Payload) -> {text, Payload};
shown(1, 0, 2, Payload) -> {binary, Payload};
shown(1, 4, 1, Payload) -> {deflated, text, Payload};
shown(1, 4, 2, Payload) -> {deflated, binary, Payload};
shown(1, 0, 8, <<>>) -> close;
shown(1, 0, 8, <<Code:16, Reason/binary>>) -> {close, Code, Reason};
shown(1, 0, 9, <<>>) -> ping;
shown(1, 0, 9, Payload) -> {ping, Payload};
shown(1, 0, 10, <<>>) -> pong;
shown(1, 0, 10, Payload) -> {pong, Payload};
shown(Fin, Rsv, Opcode, Payload) -> {frame, Fin, Rsv, Opcode, Payload}.

%% Contexts of permessage-deflate for the messages of one connection (RFC 7692 7.2).
-spec deflater() -> zlib:zstream().
deflater() ->
    Z = zlib:open(),
    ok = zlib:deflateInit(Z, default, deflated, -15, 8, default),
    Z.

-spec deflate(zlib:zstream(), iodata()) -> binary().
deflate(Z, Text) ->
    Deflated = iolist_to_binary(zlib:deflate(Z, Text, sync)),
    Size = byte_size(Deflated) - 4,
    <<Payload:Size/binary, 0, 0, 255, 255>> = Deflated,
    Payload.

-spec inflater() -> zlib:zstream().
inflater() ->
    Z = zlib:open(),
    ok = zlib:inflateInit(Z, -15),
    Z.

-spec inflate(zlib:zstream(), binary()) -> binary().
inflate(Z, Payload) ->
    iolist_to_binary(zlib:inflate(Z, [Payload, <<0, 0, 255, 255>>])).
