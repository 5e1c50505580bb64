%% The clients: most are well-behaved, and one or two of each other kind are the trouble. A process each. One that has lost its
%% connection comes back after two seconds, as clients do.
-module(trouble_client).

-export([kinds/0, start_link/2]).

-define(PAUSE_MS, 2000).
%% The key of RFC 6455, 5.7. Nobody has to be protected from these bytes.
-define(KEY, 16#37fa213d).

%% Each kind, and how many of it there are.
-spec kinds() -> [{atom(), pos_integer()}].
kinds() ->
    [
        %% Says a word a second, and answers pings.
        {friend, 20},
        %% Reads what it is sent.
        {reader, 2},
        %% Has stopped to read: of what it alone is sent, and of what all are sent.
        {sleeper, 3}, {sleeper_at_the_board, 1},
        %% Says 2000 words a second.
        {talker, 1},
        %% Orders 20 reports of 2 KiB a second.
        {orderer, 1},
        %% Has vanished: its system acknowledges what comes, and it itself answers nothing.
        {ghost, 1},
        %% Sends more than a megabyte in one message.
        {uploader, 1},
        %% Sends a cookie that has grown too large.
        {hoarder, 1}
    ].

start_link(Kind, Port) ->
    {ok, spawn_link(fun() -> come(Kind, Port) end)}.

come(Kind, Port) ->
    timer:sleep(rand:uniform(200)),
    case gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false} | options(Kind)]) of
        {ok, Socket} ->
            _ = gen_tcp:send(Socket, handshake(Kind)),
            _ = be(Kind, Socket),
            gen_tcp:close(Socket);
        {error, _} ->
            ok
    end,
    timer:sleep(?PAUSE_MS),
    come(Kind, Port).

%% What has stopped to read takes little into its kernel.
options(Kind) when Kind =:= sleeper; Kind =:= sleeper_at_the_board -> [{recbuf, 16384}];
options(_) -> [].

handshake(Kind) ->
    [
        "GET ", path(Kind), " HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        [["cookie: basket=", binary:copy(<<"x">>, 5000), "\r\n"] || Kind =:= hoarder],
        "\r\n"
    ].

path(Kind) when Kind =:= reader; Kind =:= sleeper -> "/feed";
path(sleeper_at_the_board) -> "/board";
path(orderer) -> "/report";
path(_) -> "/echo".

%% Until the server has ended it.
be(friend, Socket) -> talk(Socket, 1000, [frame(1, <<"hello">>)]);
be(talker, Socket) -> talk(Socket, 50, [frame(1, <<"and another thing">>) || _ <- lists:seq(1, 100)]);
be(reader, Socket) -> talk(Socket, 60000, []);
be(orderer, Socket) -> order(Socket);
be(uploader, Socket) -> gen_tcp:send(Socket, frame(2, <<0:8000008>>)), talk(Socket, 60000, []);
be(hoarder, Socket) -> gen_tcp:recv(Socket, 0);
%% Longer than the server has patience; who reads nothing does not see its end.
be(ghost, _) -> timer:sleep(6000);
be(_Sleeper, _) -> timer:sleep(30000 + rand:uniform(10000)).

%% Says this each so many milliseconds, and reads.
talk(Socket, Interval, Frames) ->
    Self = self(),
    Speaker = spawn_link(fun() -> speak(Self, Socket, Interval, Frames) end),
    listen(Socket, <<>>, head),
    unlink(Speaker),
    exit(Speaker, kill).

speak(Reader, Socket, Interval, Frames) ->
    case gen_tcp:send(Socket, Frames) of
        ok ->
            timer:sleep(Interval),
            speak(Reader, Socket, Interval, Frames);
        {error, _} ->
            ok
    end.

listen(Socket, Bytes, State) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, More} ->
            case heard(Socket, <<Bytes/binary, More/binary>>, State) of
                {Rest, Next} -> listen(Socket, Rest, Next);
                closed -> ok
            end;
        {error, _} ->
            ok
    end.

%% The answer's head, then frames: a ping is answered, a close frame ends it, all else is thrown away.
heard(Socket, Bytes, head) ->
    case binary:split(Bytes, <<"\r\n\r\n">>) of
        [_, Frames] -> heard(Socket, Frames, frames);
        [_] -> {Bytes, head}
    end;
heard(Socket, <<_:4, Opcode:4, 0:1, Length:7, Payload:Length/binary, Rest/binary>>, frames) when Length < 126 ->
    case Opcode of
        8 -> closed;
        9 -> _ = gen_tcp:send(Socket, frame(10, Payload)), heard(Socket, Rest, frames);
        _ -> heard(Socket, Rest, frames)
    end;
heard(Socket, <<_, 126, Length:16, _:Length/binary, Rest/binary>>, frames) ->
    heard(Socket, Rest, frames);
heard(_, Bytes, frames) ->
    {Bytes, frames}.

order(Socket) ->
    case gen_tcp:send(Socket, [frame(1, binary:copy(<<"r">>, 2048)) || _ <- lists:seq(1, 20)]) of
        ok ->
            timer:sleep(1000),
            order(Socket);
        {error, _} ->
            ok
    end.

frame(Opcode, Payload) ->
    Size = byte_size(Payload),
    Length =
        if
            Size < 126 -> <<1:1, Size:7>>;
            Size < 65536 -> <<1:1, 126:7, Size:16>>;
            true -> <<1:1, 127:7, Size:64>>
        end,
    [<<1:1, 0:3, Opcode:4>>, Length, <<?KEY:32>>, masked(Payload)].

masked(Payload) ->
    Bits = bit_size(Payload),
    <<Plain:Bits>> = Payload,
    <<Mask:Bits, _/bits>> = binary:copy(<<?KEY:32>>, Bits div 32 + 1),
    <<(Plain bxor Mask):Bits>>.
