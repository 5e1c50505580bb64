%% Lets a client that speaks HTTP/1.1 reach a server that speaks HTTP/2: so the suites run over HTTP/2 unchanged, clients that use
%% gen_tcp themselves included.
%%
%% A process for each connection. One request after the other becomes a stream, and its response one of HTTP/1.1: of known length
%% if the server says it, else in chunks, of which each is a DATA frame. Behind the one to a request with `connection: close' nothing
%% comes. A WebSocket's handshake becomes an extended CONNECT
%% (RFC 8441), and its 200 a 101; from there on bytes are carried. The end of one direction is END_STREAM, and the other way round; a
%% stream that is reset, or whose response is malformed, is a connection that is cut.
-module(http2_tunnel).

-export([through/2, without/1]).

%% The cases that are about what HTTP/1.1 alone has: its syntax, versions and codings, keep-alive, the answer 101. Some wait for the
%% connection to end with the answer, as it does not here; some look at a handshake's way through the chain, which is another one.
-spec without(module()) -> [atom()].
without(ws_handshake_SUITE) -> [
    the_101, connection_upgrade_and_accept_cannot_be_set_in_init, connection_and_upgrade, the_accept_of_two_keys,
    methods_and_versions, the_426, an_upgrade_after_an_answer_of_init, an_upgrade_after_an_ordinary_request_of_the_connection,
    a_handshake_with_a_body, a_handshake_whose_body_comes_late, frames_behind_chunked_bodies
];
without(http_handlers_SUITE) -> [
    early_error, early_errors_that_crash_are_logged, metrics_of_refused_requests, the_chain_sees_the_upgrade
];
without(http_reply_SUITE) -> [
    a_reason_of_the_handlers_own, invalid_header_values_that_are_ignored, a_status_without_a_known_phrase,
    names_of_header_fields
];
without(http_stream_SUITE) -> [
    a_stream_in_http_1_0_ends_with_the_connection, a_stream_without_chunks, the_version_of_a_stream_without_chunks,
    trailers_without_chunks, trailers_that_do_not_reach_the_client, no_trailers_for_other_clients,
    no_interim_answers_in_http_1_0,
    %% http2_SUITE has it.
    a_stream_for_head
];
without(http_body_SUITE) -> [
    req_after_the_body, a_chunked_body, chunk_extensions_are_skipped, trailers_are_skipped, a_body_of_no_bytes_in_chunks,
    bodies_of_two_requests_at_once, an_unread_body_that_is_too_long_ends_the_connection, an_unread_chunked_body_ends_the_connection
];
without(http_continue_SUITE) -> [a_final_answer_instead_of_continue, no_continue_in_http_1_0];
%% Targets in absolute form, without a host, or of any bytes; a `host' among Req's headers; the client's own port. http2_SUITE:req has Req.
without(http_req_SUITE) -> [
    the_keys_of_req, header_fields, host_and_port, http_1_0_without_host, targets, targets_of_any_bytes,
    targets_of_any_bytes_one_after_the_other, requests_with_a_body, streamid_counts_the_requests_of_a_connection,
    the_peers_port_is_the_clients, accessors
];
%% A request has no idle timeout of its own, and does not wait for the one before it.
without(http_client_gone_SUITE) -> [idle_timeout_of_a_request_by_cast, the_handler_of_a_head_goes_on];
without(http_crashes_SUITE) -> [a_form_that_does_not_come];
without(http_process_SUITE) -> [sys_terminate, the_listener_stops_while_a_request_runs];
%% The tunnel takes much, now and then.
without(ws_close_SUITE) -> [a_client_that_takes_little_all_the_time];
%% What a client sends at once does not come at once.
without(ws_order_SUITE) -> [
    nor_where_many_clients_send_more_than_one_packet_to_the_vm, frames_of_more_than_a_window_are_not_handled_together
];
without(_) -> [].

-record(tunnel, {
    inside :: gen_tcp:socket(),
    outside :: gen_tcp:socket(),
    machine,
    %% Received and not used up, from the client and from the server.
    request = <<>> :: binary(),
    frames = <<>> :: binary(),
    %% settings: of the server, of which an extended CONNECT has to know. head: of the next request. {body, Left}: of this one.
    %% answer: the request is complete. {rest, Left}: of the body of one that is answered, which nobody wants. websocket: bytes.
    state = settings :: settings | head | {body | rest, non_neg_integer()} | answer | websocket,
    stream :: undefined | pos_integer(),
    %% The request's method, and whether it is a handshake.
    method :: undefined | binary(),
    handshake = false :: boolean(),
    %% It is the last that the client wants answered.
    last = false :: boolean(),
    chunked = false :: boolean(),
    ended = false :: boolean()
}).

%% A connection whose requests go to the other end of the one that is given, to which it belongs from here on.
-spec through(gen_tcp:socket(), [gen_tcp:connect_option()]) -> gen_tcp:socket().
through(Outside, Options) ->
    Client = self(),
    tunnel:through(Outside, Options, fun(Inside) ->
        _ = monitor(process, Client),
        {ok, Preface, Machine} = cow_http2_machine:init(client, #{
            initial_stream_window_size => 16#7fffffff, initial_connection_window_size => 16#7fffffff,
            %% What there is room for is sent: a server may wait for it before it makes more.
            stream_window_data_threshold => 1
        }),
        %% Cowlib's client has no option that says that it wants no push.
        _ = gen_tcp:send(Outside, [Preface, cow_http2:settings(#{enable_push => false})]),
        ok = inet:setopts(Inside, [{exit_on_close, false}, {active, once}]),
        ok = inet:setopts(Outside, [{active, once}]),
        loop(#tunnel{inside = Inside, outside = Outside, machine = Machine})
    end).

loop(T = #tunnel{inside = Inside, outside = Outside}) ->
    receive
        {tcp, Inside, Bytes} ->
            _ = inet:setopts(Inside, [{active, once}]),
            Buffer = T#tunnel.request,
            loop(request(T#tunnel{request = <<Buffer/binary, Bytes/binary>>}));
        {tcp, Outside, Bytes} ->
            _ = inet:setopts(Outside, [{active, once}]),
            Buffer = T#tunnel.frames,
            loop(frames(T#tunnel{frames = <<Buffer/binary, Bytes/binary>>}));
        {Closed, Inside} when Closed =:= tcp_closed ->
            leave(T);
        {tcp_error, Inside, _} ->
            cut(T);
        {tcp_closed, Outside} ->
            ended(T);
        {tcp_error, Outside, _} ->
            cut(T);
        %% A client that is gone, and not one that only says no more. Cowboy would kill a WebSocket that has not begun.
        {'DOWN', _, process, _, _} when T#tunnel.state =:= websocket ->
            _ = erlang:send_after(200, self(), gone),
            loop(T);
        {'DOWN', _, process, _, _} ->
            loop(T);
        gone ->
            cut(T);
        {timeout, Timer, {cow_http2_machine, Name}} ->
            {ok, Machine} = cow_http2_machine:timeout(Name, Timer, T#tunnel.machine),
            loop(T#tunnel{machine = Machine})
    end.

%% The client says no more. What is on its way to it still comes.
leave(T = #tunnel{state = websocket, ended = false}) ->
    loop(data(fin, <<>>, T#tunnel{ended = true}));
leave(T = #tunnel{outside = Outside, state = State}) when State =:= head; element(1, State) =:= rest; State =:= settings ->
    _ = gen_tcp:shutdown(Outside, write),
    loop(T);
leave(T) ->
    cut(T).

%% The server says no more.
ended(#tunnel{inside = Inside}) ->
    _ = gen_tcp:shutdown(Inside, write),
    receive
        {_, Inside} -> ok
    after 5000 -> ok
    end,
    exit(normal).

cut(#tunnel{inside = Inside, outside = Outside}) ->
    _ = inet:setopts(Inside, [{linger, {true, 0}}]),
    gen_tcp:close(Inside),
    gen_tcp:close(Outside),
    exit(normal).

%%% Up

request(T = #tunnel{request = <<>>}) ->
    T;
request(T = #tunnel{state = head, request = Buffer}) ->
    case binary:split(Buffer, <<"\r\n\r\n">>) of
        [Head, Rest] -> request(headers(Head, T#tunnel{request = Rest}));
        [_] -> T
    end;
request(T = #tunnel{state = {rest, Left}, request = Buffer}) when byte_size(Buffer) < Left ->
    T#tunnel{state = {rest, Left - byte_size(Buffer)}, request = <<>>};
request(T = #tunnel{state = {rest, Left}, request = Buffer}) ->
    <<_:Left/binary, Next/binary>> = Buffer,
    request(T#tunnel{state = head, request = Next});
request(T = #tunnel{state = {body, Left}, request = Buffer}) when byte_size(Buffer) < Left ->
    data(nofin, Buffer, T#tunnel{state = {body, Left - byte_size(Buffer)}, request = <<>>});
request(T = #tunnel{state = {body, Left}, request = Buffer}) ->
    <<Last:Left/binary, Rest/binary>> = Buffer,
    data(fin, Last, T#tunnel{state = answer, request = Rest});
request(T = #tunnel{state = State}) when State =:= settings; State =:= answer ->
    T;
request(T = #tunnel{state = websocket, request = Buffer}) ->
    data(nofin, Buffer, T#tunnel{request = <<>>}).

headers(Head, T = #tunnel{machine = Machine0, outside = Outside}) ->
    [Line | Lines] = binary:split(Head, <<"\r\n">>, [global]),
    [Method, Path | _] = binary:split(Line, <<" ">>, [global]),
    Fields = [
        begin
            [Name, Value] = binary:split(Field, <<":">>),
            {string:lowercase(Name), string:trim(Value)}
        end
     || Field <- Lines
    ],
    Handshake = lists:keymember(<<"sec-websocket-key">>, 1, Fields),
    Length = binary_to_integer(proplists:get_value(<<"content-length">>, Fields, <<"0">>)),
    Pseudo = #{method => Method, scheme => <<"http">>, authority => proplists:get_value(<<"host">>, Fields), path => Path},
    {Own, IsFin, State} =
        case Handshake of
            true -> {Pseudo#{method := <<"CONNECT">>, protocol => <<"websocket">>}, nofin, answer};
            false when Length > 0 -> {Pseudo, nofin, {body, Length}};
            false -> {Pseudo, fin, answer}
        end,
    Kept = [Field || Field = {Name, _} <- Fields, not lists:member(Name, [
        <<"host">>, <<"connection">>, <<"upgrade">>, <<"sec-websocket-key">>
    ])],
    {ok, Stream, Machine1} = cow_http2_machine:init_stream(maps:get(method, Own), Machine0),
    {ok, _, Block, Machine} = cow_http2_machine:prepare_headers(Stream, Machine1, IsFin, Own, Kept),
    _ = gen_tcp:send(Outside, cow_http2:headers(Stream, IsFin, Block)),
    Last = proplists:get_value(<<"connection">>, Fields) =:= <<"close">>,
    T#tunnel{machine = Machine, stream = Stream, state = State, method = Method, handshake = Handshake, last = Last}.

data(IsFin, Bytes, T = #tunnel{stream = Stream, machine = Machine0}) ->
    case cow_http2_machine:send_or_queue_data(Stream, Machine0, IsFin, {data, Bytes}) of
        {ok, Machine} -> T#tunnel{machine = Machine};
        {send, Sent, Machine} -> send(Sent, T#tunnel{machine = Machine})
    end.

send(Sent, T = #tunnel{outside = Outside}) ->
    [[gen_tcp:send(Outside, cow_http2:data(Stream, fin(N, Pieces, IsFin), Piece))
        || {N, {data, Piece}} <- lists:zip(lists:seq(1, length(Pieces)), Pieces)] || {Stream, IsFin, Pieces} <- Sent],
    T.

fin(N, Pieces, IsFin) when N =:= length(Pieces) -> IsFin;
fin(_, _, _) -> nofin.

%%% Down

frames(T = #tunnel{frames = Buffer, machine = Machine0}) ->
    case cow_http2:parse(Buffer, 16384) of
        {ok, Frame, Rest} ->
            Given = T#tunnel{frames = Rest},
            case cow_http2_machine:frame(Frame, Machine0) of
                {ok, Machine} -> frames(acknowledge(Frame, Given#tunnel{machine = Machine}));
                {ok, Event, Machine} -> frames(event(Event, acknowledge(Frame, Given#tunnel{machine = Machine})));
                {send, Sent, Machine} -> frames(send(Sent, acknowledge(Frame, Given#tunnel{machine = Machine})));
                {error, {stream_error, Stream, _, _}, _} when Stream =:= T#tunnel.stream ->
                    cut(T);
                %% A frame of a stream that is over here.
                {error, {stream_error, _, _, _}, Machine} ->
                    frames(Given#tunnel{machine = Machine});
                {error, {connection_error, _, _}, _} ->
                    cut(T)
            end;
        {ignore, Rest} ->
            frames(T#tunnel{frames = Rest});
        {connection_error, _, _} ->
            cut(T);
        more ->
            T
    end.

acknowledge({settings, _}, T = #tunnel{outside = Outside}) ->
    _ = gen_tcp:send(Outside, cow_http2:settings_ack()),
    case T of
        #tunnel{state = settings} -> request(T#tunnel{state = head});
        _ -> T
    end;
acknowledge({ping, Opaque}, T = #tunnel{outside = Outside}) ->
    _ = gen_tcp:send(Outside, cow_http2:ping_ack(Opaque)),
    T;
acknowledge(_, T) ->
    T.

event({headers, Stream, IsFin, Headers, #{status := Status}, _}, T = #tunnel{stream = Stream}) ->
    head(Status, IsFin, Headers, T);
event({data, Stream, IsFin, Bytes}, T = #tunnel{stream = Stream}) ->
    over(IsFin, down(Bytes, T));
event({trailers, Stream, Trailers}, T = #tunnel{stream = Stream}) ->
    say([<<"0\r\n">>, fields(Trailers), <<"\r\n">>], T),
    over(fin, T#tunnel{chunked = false});
event({rst_stream, Stream, no_error}, T = #tunnel{stream = Stream, state = websocket}) ->
    (over(fin, T))#tunnel{state = answer};
event({rst_stream, Stream, no_error}, T = #tunnel{stream = Stream}) ->
    T;
event({rst_stream, Stream, _}, T = #tunnel{stream = Stream}) ->
    cut(T);
event({goaway, _, _, _}, T) ->
    T;
event(_, T) ->
    T.

head(200, nofin, Headers, T = #tunnel{handshake = true}) ->
    say(["HTTP/1.1 101 Switching Protocols\r\n", fields(Headers), "\r\n"], T),
    request(T#tunnel{state = websocket});
head(Status, IsFin, Headers, T = #tunnel{method = Method}) ->
    HasBody = IsFin =:= nofin andalso Method =/= <<"HEAD">>,
    IsOpen = Status >= 200 andalso not lists:keymember(<<"content-length">>, 1, Headers),
    %% Without a body too, if HTTP/1.1 would wait for one.
    Chunked = IsOpen andalso (HasBody orelse (Method =/= <<"HEAD">> andalso Status =/= 204 andalso Status =/= 304)),
    Coding = [{<<"transfer-encoding">>, <<"chunked">>} || Chunked],
    say(line_and_fields(Status, Headers ++ Coding), T),
    over(if Status < 200 -> nofin; true -> IsFin end, T#tunnel{chunked = Chunked}).

%% With Cowlib's phrase, as Cowboy writes it. The function has moved.
line_and_fields(Status, Headers) ->
    {module, _} = code:ensure_loaded(cow_http),
    Module =
        case erlang:function_exported(cow_http, response, 3) of
            true -> cow_http;
            false -> cow_http1
        end,
    Module:response(Status, 'HTTP/1.1', Headers).

down(<<>>, T) ->
    T;
down(Bytes, T = #tunnel{chunked = true}) ->
    say([integer_to_binary(byte_size(Bytes), 16), "\r\n", Bytes, "\r\n"], T),
    T;
down(Bytes, T) ->
    say(Bytes, T),
    T.

over(nofin, T) ->
    T;
over(fin, T = #tunnel{state = websocket, inside = Inside}) ->
    _ = gen_tcp:shutdown(Inside, write),
    T;
over(fin, T = #tunnel{chunked = Chunked, inside = Inside, last = Last}) ->
    _ = Chunked andalso say("0\r\n\r\n", T),
    _ = Last andalso gen_tcp:shutdown(Inside, write),
    State =
        case T#tunnel.state of
            {body, Left} -> {rest, Left};
            _ -> head
        end,
    request(T#tunnel{state = State, chunked = false, stream = undefined}).

say(Bytes, #tunnel{inside = Inside}) ->
    _ = gen_tcp:send(Inside, Bytes).

fields(Headers) ->
    [[Name, ": ", Value, "\r\n"] || {Name, Value} <- Headers].
