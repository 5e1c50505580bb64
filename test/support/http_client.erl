%% A small HTTP/1.1 client over gen_tcp that hides nothing: it sends the bytes it is given and returns each response
%% as it was framed. Blocking, in the calling process; the socket itself buffers what was not yet asked for.
-module(http_client).

-export([connect/1, connect/2, connect_behind/2, connect_to/4, tunnelled/2, send/2, close/1, half_close/1]).
-export([request/2, request/4, get/2, get_head/2]).
-export([head/1, response/1, response/2, chunk/1, bytes/2, rest/1, closed/1]).
-export([header/2, normal/1]).

-export_type([response/0]).

-type headers() :: [{binary(), binary()}].
-type response() :: #{
    status := 100..999, reason := binary(), headers := headers(), framing := none | length | chunked | close,
    body := binary() | [binary()], trailers => headers()
}.

%% What a caller gets instead when the connection has ended, or nothing came.
-define(TIMEOUT, 5000).

-spec connect(same_test:server()) -> gen_tcp:socket().
connect(Server) ->
    connect(Server, []).

-spec connect(same_test:server(), [gen_tcp:connect_option()]) -> gen_tcp:socket().
connect(#{port := Port} = Server, Options0) ->
    Options = [{nodelay, true}, {buffer, 65536} | Options0],
    connected({127, 0, 0, 1}, Port, Options, <<>>, maps:get(tls, Server, same_test:is_tls())).

%% A connection that begins with the header of a proxy, before TLS if there is TLS.
-spec connect_behind(same_test:server(), iodata()) -> gen_tcp:socket().
connect_behind(#{port := Port}, Header) ->
    connect_to({127, 0, 0, 1}, Port, [], Header).

%% A connection to any address: {local, Path} too.
-spec connect_to(inet:ip_address() | {local, file:name_all()}, inet:port_number(), [gen_tcp:connect_option()], iodata()) ->
    gen_tcp:socket().
connect_to(Address, Port, Options, Header) ->
    connected(Address, Port, Options, Header, same_test:is_tls()).

connected(Address, Port, Options, Header, IsTls) ->
    {ok, Socket} = gen_tcp:connect(Address, Port, [binary, {active, false} | Options], ?TIMEOUT),
    ok = gen_tcp:send(Socket, Header),
    tunnelled(Socket, Options, IsTls).

%% A connection that the caller has made, as the others are: by way of a tunnel where the suites run over TLS or HTTP/2. A handshake
%% that fails shows as a server that closes.
-spec tunnelled(gen_tcp:socket(), [gen_tcp:connect_option()]) -> gen_tcp:socket().
tunnelled(Socket, Options) ->
    tunnelled(Socket, Options, same_test:is_tls()).

tunnelled(Socket, Options, IsTls) ->
    case {IsTls, same_test:is_http2()} of
        {true, _} -> tls_tunnel:through(Socket, Options);
        {false, true} -> http2_tunnel:through(Socket, Options);
        {false, false} -> Socket
    end.

-spec send(gen_tcp:socket(), iodata()) -> ok | {error, term()}.
send(Socket, Data) ->
    gen_tcp:send(Socket, Data).

-spec close(gen_tcp:socket()) -> ok.
close(Socket) ->
    gen_tcp:close(Socket).

-spec half_close(gen_tcp:socket()) -> ok | {error, term()}.
half_close(Socket) ->
    gen_tcp:shutdown(Socket, write).

%% The head of a request, with a Host field of localhost.
-spec request(iodata(), iodata()) -> iodata().
request(Method, Target) ->
    request(Method, Target, [], <<>>).

-spec request(iodata(), iodata(), [{iodata(), iodata()}], iodata()) -> iodata().
request(Method, Target, Headers, Body) ->
    [Method, " ", Target, " HTTP/1.1\r\nHost: localhost\r\n",
        [[Name, ": ", Value, "\r\n"] || {Name, Value} <- Headers], "\r\n", Body].

%% One GET on a connection of its own.
-spec get(same_test:server(), iodata()) -> response() | closed | timeout.
get(Server, Target) ->
    Socket = connect(Server),
    ok = send(Socket, request("GET", Target)),
    Response = response(Socket),
    close(Socket),
    Response.

%% The head of what a GET gets, on a connection of its own.
-spec get_head(same_test:server(), iodata()) -> response() | closed | timeout.
get_head(Server, Target) ->
    Socket = connect(Server),
    ok = send(Socket, request("GET", Target)),
    head(Socket).

%% A response's head: status line, without its version, and headers.
-spec head(gen_tcp:socket()) -> response() | closed | timeout.
head(Socket) ->
    inet:setopts(Socket, [{packet, line}]),
    case line(Socket) of
        <<"HTTP/1.", _, " ", Status:3/binary, Reason/binary>> ->
            Headers = headers(Socket),
            inet:setopts(Socket, [{packet, raw}]),
            #{status => binary_to_integer(Status), reason => string:trim(Reason),
                headers => normal(Headers), framing => none, body => <<>>};
        Other ->
            inet:setopts(Socket, [{packet, raw}]),
            Other
    end.

-spec response(gen_tcp:socket()) -> response() | closed | timeout.
response(Socket) ->
    response(Socket, <<"GET">>).

%% A response to a request of this method: the method decides whether a body follows (RFC 9112 6.3).
-spec response(gen_tcp:socket(), binary()) -> response() | closed | timeout.
response(Socket, Method) ->
    case head(Socket) of
        #{status := Status} = Head when Method =:= <<"HEAD">>; Status < 200; Status =:= 204; Status =:= 304 ->
            Head;
        #{} = Head ->
            case {header(<<"transfer-encoding">>, Head), header(<<"content-length">>, Head)} of
                {<<"chunked">>, _} -> chunked(Socket, Head);
                {undefined, undefined} -> Head#{framing => close, body => element(1, rest(Socket))};
                {undefined, Length} -> Head#{framing => length, body => bytes(Socket, binary_to_integer(Length))}
            end;
        Ended ->
            Ended
    end.

chunked(Socket, Head) ->
    Chunks = chunks(Socket),
    inet:setopts(Socket, [{packet, line}]),
    Trailers = headers(Socket),
    inet:setopts(Socket, [{packet, raw}]),
    With = case Trailers of
        [] -> Head;
        _ -> Head#{trailers => normal(Trailers)}
    end,
    With#{framing => chunked, body => Chunks}.

chunks(Socket) ->
    case chunk(Socket) of
        last -> [];
        Chunk when is_binary(Chunk) -> [Chunk | chunks(Socket)];
        Ended -> [Ended]
    end.

%% One chunk of a body; after `last' come the trailers and an empty line.
-spec chunk(gen_tcp:socket()) -> binary() | last | closed | timeout.
chunk(Socket) ->
    inet:setopts(Socket, [{packet, line}]),
    Line = line(Socket),
    inet:setopts(Socket, [{packet, raw}]),
    case Line of
        <<"0\r\n">> ->
            last;
        <<_, _/binary>> ->
            Chunk = bytes(Socket, binary_to_integer(string:trim(Line), 16)),
            <<"\r\n">> = bytes(Socket, 2),
            Chunk;
        Ended ->
            Ended
    end.

-spec bytes(gen_tcp:socket(), non_neg_integer()) -> binary() | closed | timeout.
bytes(_, 0) ->
    <<>>;
bytes(Socket, Length) ->
    ended(gen_tcp:recv(Socket, Length, ?TIMEOUT)).

%% Everything up to the end of the connection.
-spec rest(gen_tcp:socket()) -> {binary(), closed | timeout}.
rest(Socket) ->
    rest(Socket, <<>>).

rest(Socket, Acc) ->
    case bytes_there(Socket) of
        Bytes when is_binary(Bytes) -> rest(Socket, <<Acc/binary, Bytes/binary>>);
        Ended -> {Acc, Ended}
    end.

bytes_there(Socket) ->
    ended(gen_tcp:recv(Socket, 0, ?TIMEOUT)).

%% Waits for the end of the connection: `closed', or what came instead.
-spec closed(gen_tcp:socket()) -> closed | timeout | binary().
closed(Socket) ->
    bytes_there(Socket).

-spec header(binary(), response()) -> binary() | undefined.
header(Name, #{headers := Headers}) ->
    proplists:get_value(Name, Headers).

%% Header fields in a normal form: sorted, because their order means nothing between different names
%% (RFC 9110 5.3), with the date replaced.
-spec normal(headers()) -> headers().
normal(Headers) ->
    lists:keysort(1, [case Field of {<<"date">>, _} -> {<<"date">>, <<"now">>}; _ -> Field end || Field <- Headers]).

headers(Socket) ->
    case line(Socket) of
        <<"\r\n">> ->
            [];
        <<_, _/binary>> = Line ->
            [Name, Value] = binary:split(Line, <<":">>),
            [{Name, string:trim(Value)} | headers(Socket)];
        Ended ->
            [Ended]
    end.

line(Socket) ->
    ended(gen_tcp:recv(Socket, 0, ?TIMEOUT)).

%% A reset is an end like another: whether the operating system says FIN or RST depends on what was still unread.
ended({ok, Data}) -> Data;
ended({error, timeout}) -> timeout;
ended({error, _}) -> closed.
