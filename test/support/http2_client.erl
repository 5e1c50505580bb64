%% A client of HTTP/2 that hides nothing: it sends the frames that it is given, and shows those that come. It answers no ping, opens no
%% window, and keeps nothing but what decodes header blocks. Blocking, in the calling process, whose dictionary has that.
-module(http2_client).

-export([open/1, open/2, connect/1, send/2]).
-export([head/4, head/5, request/3, request/4, connect_to/1, connect_to/2, frame/4]).
-export([next/1, all/1, response/2, until/2]).

-export_type([event/0]).

-type event() ::
    {headers, pos_integer(), cow_http2:fin(), [{binary(), binary()}]} | {data, pos_integer(), cow_http2:fin(), binary()}
    | {rst_stream, pos_integer(), atom()} | {goaway, atom()} | {window, non_neg_integer(), pos_integer()}
    | {settings, map()} | closed | timeout.

-define(PREFACE, <<"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n">>).
-define(TIMEOUT, 5000).

%% A connection whose settings are settled on both sides.
-spec open(same_test:server()) -> gen_tcp:socket().
open(Server) ->
    open(Server, #{}).

-spec open(same_test:server(), map()) -> gen_tcp:socket().
open(Server, Settings) ->
    Socket = connect(Server),
    ok = send(Socket, [?PREFACE, cow_http2:settings(Settings)]),
    until(Socket, fun(Event) -> element(1, Event) =:= settings end),
    ok = send(Socket, cow_http2:settings_ack()),
    Socket.

%% A connection on which nothing has been said.
-spec connect(same_test:server()) -> gen_tcp:socket().
connect(#{port := Port}) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}, {nodelay, true}]),
    put(Socket, {<<>>, cow_hpack:init()}),
    Socket.

-spec send(gen_tcp:socket(), iodata()) -> ok | {error, term()}.
send(Socket, Bytes) ->
    gen_tcp:send(Socket, Bytes).

%% HEADERS of a request for localhost; with header fields of any kind, pseudo ones too, as they are.
-spec head(pos_integer(), cow_http2:fin(), iodata(), iodata()) -> iodata().
head(Stream, IsFin, Method, Path) ->
    head(Stream, IsFin, Method, Path, []).

-spec head(pos_integer(), cow_http2:fin(), iodata(), iodata(), [{binary(), binary()}]) -> iodata().
head(Stream, IsFin, Method, Path, Fields) ->
    request(Stream, IsFin, [
        {<<":method">>, iolist_to_binary(Method)}, {<<":scheme">>, <<"http">>}, {<<":authority">>, <<"localhost">>},
        {<<":path">>, iolist_to_binary(Path)} | Fields
    ]).

-spec request(pos_integer(), cow_http2:fin(), [{binary(), binary()}]) -> iodata().
request(Stream, IsFin, Fields) ->
    cow_http2:headers(Stream, IsFin, block(Fields)).

%% The same in frames of so many bytes.
-spec request(pos_integer(), cow_http2:fin(), [{binary(), binary()}], pos_integer()) -> iodata().
request(Stream, IsFin, Fields, Size) ->
    Flag = case IsFin of fin -> 1; nofin -> 0 end,
    <<First:Size/binary, Rest/binary>> = iolist_to_binary(block(Fields)),
    [frame(1, Flag, Stream, First) | continued(Stream, Rest, Size)].

continued(Stream, Block, Size) when byte_size(Block) > Size ->
    <<First:Size/binary, Rest/binary>> = Block,
    [frame(9, 0, Stream, First) | continued(Stream, Rest, Size)];
continued(Stream, Block, _) ->
    [frame(9, 4, Stream, Block)].

%% Without a context: each block stands for itself, and the server's table takes it.
block(Fields) ->
    {Block, _} = cow_hpack:encode(Fields),
    Block.

%% HEADERS of a WebSocket's handshake (RFC 8441).
-spec connect_to(pos_integer()) -> iodata().
connect_to(Stream) ->
    connect_to(Stream, [{<<"sec-websocket-version">>, <<"13">>}]).

-spec connect_to(pos_integer(), [{binary(), binary()}]) -> iodata().
connect_to(Stream, Fields) ->
    head(Stream, nofin, <<"CONNECT">>, <<"/">>, [{<<":protocol">>, <<"websocket">>} | Fields]).

%% Any frame.
-spec frame(byte(), byte(), non_neg_integer(), iodata()) -> iodata().
frame(Kind, Flags, Stream, Payload) ->
    [<<(iolist_size(Payload)):24, Kind, Flags, Stream:32>>, Payload].

%% The next frame that means something to somebody.
-spec next(gen_tcp:socket()) -> event().
next(Socket) ->
    case get(Socket) of
        %% Whole frames only: Cowlib takes a GOAWAY whose end has not come for an error.
        {<<Size:24, _:48, _:Size/binary, _/binary>> = Buffer, State} ->
            case cow_http2:parse(Buffer, 16777215) of
                {ok, Frame, Rest} ->
                    put(Socket, {Rest, State}),
                    shown(Frame, Socket);
                {ignore, Rest} ->
                    put(Socket, {Rest, State}),
                    next(Socket)
            end;
        {Buffer, State} ->
            case gen_tcp:recv(Socket, 0, ?TIMEOUT) of
                {ok, Bytes} ->
                    put(Socket, {<<Buffer/binary, Bytes/binary>>, State}),
                    next(Socket);
                {error, timeout} ->
                    timeout;
                {error, _} ->
                    closed
            end
    end.

shown({headers, Stream, IsFin, head_fin, Block}, Socket) ->
    {Buffer, State0} = get(Socket),
    {Fields, State} = cow_hpack:decode(Block, State0),
    put(Socket, {Buffer, State}),
    {headers, Stream, IsFin, http_client:normal(Fields)};
shown({data, Stream, IsFin, Bytes}, _) -> {data, Stream, IsFin, Bytes};
shown({rst_stream, Stream, Reason}, _) -> {rst_stream, Stream, Reason};
shown({goaway, _, Reason, _}, _) -> {goaway, Reason};
shown({window_update, Increment}, _) -> {window, 0, Increment};
shown({window_update, Stream, Increment}, _) -> {window, Stream, Increment};
shown({settings, Settings}, _) -> {settings, Settings};
shown(_, Socket) -> next(Socket).

%% Everything up to the end of the connection, windows left out.
-spec all(gen_tcp:socket()) -> [event()].
all(Socket) ->
    case next(Socket) of
        Ended when is_atom(Ended) -> [Ended];
        {window, _, _} -> all(Socket);
        Event -> [Event | all(Socket)]
    end.

%% What comes up to the event that this fun accepts, which is the last; or the end.
-spec until(gen_tcp:socket(), fun((event()) -> boolean())) -> [event()].
until(Socket, Accept) ->
    case next(Socket) of
        Ended when is_atom(Ended) ->
            [Ended];
        Event ->
            case Accept(Event) of
                true -> [Event];
                false -> [Event | until(Socket, Accept)]
            end
    end.

%% The response on a stream: status, header fields, body; trailers if there are some, and what came before it.
-spec response(gen_tcp:socket(), pos_integer()) -> map() | {reset, atom()} | {goaway, atom()} | closed | timeout.
response(Socket, Stream) ->
    response(Socket, Stream, #{interim => []}).

response(Socket, Stream, Response) ->
    case next(Socket) of
        {headers, Stream, IsFin, [{<<":status">>, Status} | Fields]} ->
            Begun =
                case Status of
                    <<"1", _/binary>> -> maps:update_with(interim, fun(L) -> L ++ [{Status, Fields}] end, Response);
                    _ -> Response#{status => binary_to_integer(Status), headers => Fields, body => <<>>}
                end,
            finished(IsFin, Socket, Stream, Begun);
        {headers, Stream, IsFin, Trailers} ->
            finished(IsFin, Socket, Stream, Response#{trailers => Trailers});
        {data, Stream, IsFin, Bytes} ->
            Body = maps:get(body, Response),
            finished(IsFin, Socket, Stream, Response#{body := <<Body/binary, Bytes/binary>>});
        {rst_stream, Stream, Reason} ->
            {reset, Reason};
        {goaway, Reason} when Reason =/= no_error ->
            {goaway, Reason};
        Ended when is_atom(Ended) ->
            Ended;
        _ ->
            response(Socket, Stream, Response)
    end.

finished(fin, _, _, Response) -> Response;
finished(nofin, Socket, Stream, Response) -> response(Socket, Stream, Response).
