%% The streams of an HTTP/2 connection on both servers: how many there may be, their windows and timeouts, and what hostile clients do.
%% See http2_SUITE.
-module(http2_streams_SUITE).

-compile([export_all, nowarn_export_all]).

-import(http2_client, [open/1, open/2, send/2, head/4, head/5, request/3, response/2]).
-import(http2_case, [served/2, served/3, body/0, reply/2, get/2, status/1, floods/0]).

all() ->
    same_test:cases(?MODULE) -- [misbehaving, waiting].

%%% Streams

streams_do_not_wait_for_each_other(_) ->
    #{wire := [{3, 200}, {1, 200}]} = served(fun
        (#{path := <<"/wait">>} = Req) ->
            register(?MODULE, self()),
            receive go -> reply(Req, <<"body">>) end;
        (Req) ->
            reply(Req, <<"body">>)
    end, fun(Server) ->
        Socket = open(Server),
        ok = send(Socket, head(1, fin, <<"GET">>, <<"/wait">>)),
        Second = status(get(Socket, 3)),
        ?MODULE ! go,
        [{3, Second}, {1, status(response(Socket, 1))}]
    end).

a_stream_that_the_client_resets(_) ->
    #{calls := Calls, log := []} = same_test:same(endless(), fun(#{probe := Probe} = Server) ->
        Socket = running(1, Server),
        ok = send(Socket, cow_http2:rst_stream(1, cancel)),
        probe:await_exit(Probe)
    end),
    true = lists:member({terminate, 1, cancel}, Calls),
    true = lists:member({exit, shutdown}, Calls).

more_streams_than_may_be(_) ->
    #{wire := {[#{max_concurrent_streams := 2}], {reset, refused_stream}, 200}} = served(fun
        (#{path := <<"/wait">>}) -> receive never -> ok end;
        (Req) -> reply(Req, <<"body">>)
    end, #{max_concurrent_streams => 2, shutdown_timeout => 10}, fun(Server) ->
        Socket = http2_client:connect(Server),
        ok = send(Socket, [<<"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n">>, cow_http2:settings(#{})]),
        Settings = http2_client:until(Socket, fun(Event) -> element(1, Event) =:= settings end),
        ok = send(Socket, cow_http2:settings_ack()),
        ok = send(Socket, [head(Stream, fin, <<"GET">>, <<"/wait">>) || Stream <- [1, 3, 5]]),
        Third = status(response(Socket, 5)),
        ok = send(Socket, cow_http2:rst_stream(1, cancel)),
        {[maps:with([max_concurrent_streams], S) || {settings, S} <- Settings], Third, status(get(Socket, 7))}
    end).

%%% Windows

a_response_keeps_to_the_clients_windows(_) ->
    Body = binary:copy(<<"0123456789">>, 6000),
    #{wire := Body} = served(fun(Req) -> cowboy_req:reply(200, #{}, Body, Req) end, fun(Server) ->
        Socket = open(Server, #{initial_window_size => 17000}),
        ok = send(Socket, head(1, fin, <<"GET">>, <<"/">>)),
        taken(Socket, <<>>, 17000)
    end).

taken(Socket, Taken, Allowed) ->
    case http2_client:next(Socket) of
        {data, 1, IsFin, Bytes} ->
            More = <<Taken/binary, Bytes/binary>>,
            true = byte_size(More) =< Allowed,
            case {IsFin, byte_size(More)} of
                {fin, _} ->
                    More;
                {nofin, Allowed} ->
                    ok = send(Socket, cow_http2:window_update(1, 16500)),
                    taken(Socket, More, Allowed + 16500);
                _ ->
                    taken(Socket, More, Allowed)
            end;
        {headers, 1, nofin, _} -> taken(Socket, Taken, Allowed);
        {window, _, _} -> taken(Socket, Taken, Allowed)
    end.

%% The window is given back as the handler reads.
a_body_larger_than_the_window(_) ->
    Size = 300000,
    #{wire := Size} = served(fun(Req0) ->
        {Length, Req} = length_of(Req0, 0),
        cowboy_req:reply(200, #{}, integer_to_binary(Length), Req)
    end, fun(Server) ->
        Socket = open(Server),
        ok = send(Socket, head(1, nofin, <<"POST">>, <<"/">>)),
        #{body := Body} = given(Socket, Size, 65535, 65535),
        binary_to_integer(Body)
    end).

length_of(Req0, Length) ->
    case cowboy_req:read_body(Req0, #{length => 50000}) of
        {ok, Data, Req} -> {Length + byte_size(Data), Req};
        {more, Data, Req} -> length_of(Req, Length + byte_size(Data))
    end.

given(Socket, 0, _, _) ->
    ok = send(Socket, cow_http2:data(1, fin, <<>>)),
    response(Socket, 1);
given(Socket, Left, OfStream, OfConnection) ->
    case lists:min([Left, OfStream, OfConnection, 16384]) of
        0 ->
            case http2_client:next(Socket) of
                {window, 0, More} -> given(Socket, Left, OfStream, OfConnection + More);
                {window, 1, More} -> given(Socket, Left, OfStream + More, OfConnection)
            end;
        Size ->
            ok = send(Socket, cow_http2:data(1, nofin, binary:copy(<<0>>, Size))),
            given(Socket, Left - Size, OfStream - Size, OfConnection - Size)
    end.

%% What a client gives no window for.
a_client_that_opens_no_window(_) ->
    same_test:differ(client_that_opens_no_window, #{
        transport => [{port, 0}, {send_timeout, 300}],
        handler => {http_script_h, #{silent => true, init => fun(Req, State) -> {ok, reply(Req, <<"body">>), State} end}}
    }, fun(Server) -> status(get(open(Server, #{initial_window_size => 0}), 1)) end, #{
        cowboy => fun(#{wire := timeout}) -> ok end,
        outrider => fun(#{wire := {reset, cancel}}) -> ok end
    }).

a_window_of_a_few_bytes(_) ->
    Reply = fun(Req, State) -> {ok, reply(Req, binary:copy(<<"0123456789">>, 3000)), State} end,
    same_test:differ(small_window_over_http_2, #{handler => {http_script_h, #{silent => true, init => Reply}}}, fun(Server) ->
        Socket = open(Server, #{initial_window_size => 7}),
        ok = send(Socket, head(1, fin, <<"GET">>, <<"/">>)),
        lists:last(http2_client:until(Socket, fun(Event) -> element(1, Event) =:= data end))
    end, #{
        cowboy => fun(#{wire := timeout}) -> ok end,
        outrider => fun(#{wire := {data, 1, nofin, <<"0123456">>}}) -> ok end
    }).

%%% Timeouts

a_client_that_does_not_greet(_) ->
    #{wire := Ends} = served(body(), #{preface_timeout => 200}, fun(Server) ->
        Socket = http2_client:connect(Server),
        ok = send(Socket, <<"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n">>),
        lists:last(http2_client:all(Socket))
    end),
    closed = Ends.

a_client_that_does_not_take_our_settings(_) ->
    #{wire := [{goaway, settings_timeout}, closed]} = served(body(), #{settings_timeout => 200}, fun(Server) ->
        Socket = http2_client:connect(Server),
        ok = send(Socket, [<<"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n">>, cow_http2:settings(#{})]),
        [Event || Event <- http2_client:all(Socket), not is_tuple(Event) orelse element(1, Event) =:= goaway]
    end).

idle_timeout(_) ->
    #{wire := [{goaway, no_error}, closed]} = served(body(), #{idle_timeout => 200}, fun(Server) ->
        http2_client:all(open(Server))
    end).

a_stream_of_a_connection_that_was_idle(_) ->
    Scenario = fun(#{probe := Probe} = Server) ->
        Events = http2_client:all(running(1, Server)),
        probe:await_exit(Probe),
        Events
    end,
    #{protocol := Protocol} = Setup = endless(),
    #{calls := Calls, wire := [{goaway, no_error}, closed], log := []} =
        same_test:same(Setup#{protocol := Protocol#{idle_timeout => 300}}, Scenario),
    [timeout] = [Reason || {terminate, 1, {stop, Reason, _}} <- Calls].

%%% Floods. Others are served meanwhile.

flood(Protocol, Flood) ->
    #{wire := {Flooded, 200}, log := []} = served(fun
        (#{path := <<"/wait">>}) -> receive never -> ok end;
        (Req) -> reply(Req, <<"body">>)
    end, Protocol#{shutdown_timeout => 10}, fun(Server) ->
        Neighbour = open(Server),
        Socket = open(Server),
        Flood(Socket),
        Events = http2_client:all(Socket),
        {[Event || Event <- Events, element(1, Event) =:= goaway], status(get(Neighbour, 1))}
    end),
    Flooded.

pings(_) ->
    [{goaway, enhance_your_calm}] = flood(#{max_received_frame_rate => {100, 10000}}, fun(Socket) ->
        send(Socket, [cow_http2:ping(N) || N <- lists:seq(1, 200)])
    end).

settings(_) ->
    [{goaway, enhance_your_calm}] = flood(#{max_received_frame_rate => {100, 10000}}, fun(Socket) ->
        send(Socket, [cow_http2:settings(#{}) || _ <- lists:seq(1, 200)])
    end).

empty_data(_) ->
    [{goaway, enhance_your_calm}] = flood(#{max_received_frame_rate => {50, 10000}}, fun(Socket) ->
        send(Socket, [head(1, nofin, <<"POST">>, <<"/wait">>), [cow_http2:data(1, nofin, <<>>) || _ <- lists:seq(1, 100)]])
    end).

%% CVE-2023-44487.
rapid_resets(_) ->
    [{goaway, enhance_your_calm}] = flood(#{max_cancel_stream_rate => {10, 10000}}, fun(Socket) ->
        _ = [begin
            ok = send(Socket, head(2 * N + 1, fin, <<"GET">>, <<"/wait">>)),
            send(Socket, cow_http2:rst_stream(2 * N + 1, cancel))
        end || N <- lists:seq(0, 30)]
    end).

errors_of_streams(_) ->
    [{goaway, enhance_your_calm}] = flood(#{max_reset_stream_rate => {5, 10000}}, fun(Socket) ->
        send(Socket, [request(2 * N + 1, fin, [{<<":method">>, <<"GET">>}]) || N <- lists:seq(0, 20)])
    end).

%% CVE-2024-27316 and its kin.
continuations(_) ->
    [{goaway, enhance_your_calm}] = flood(#{max_fragmented_header_block_size => 16384}, fun(Socket) ->
        Fields = [{integer_to_binary(N), binary:copy(<<"x">>, 100)} || N <- lists:seq(1, 400)],
        send(Socket, http2_client:request(1, fin, Fields, 1000))
    end).

%% A few bytes of a block that mean many of the table: the more so the larger the table.
hpack_bomb(_) ->
    Large = {<<"x">>, binary:copy(<<"x">>, 3900)},
    same_test:improves(header_list_over_http_2, #{
        handler => {http_script_h, #{silent => true, init => fun(Req, State) -> {ok, reply(Req, <<"body">>), State} end}}
    }, fun(Server) ->
        Neighbour = open(Server),
        Socket = open(Server),
        {First, State} = cow_hpack:encode([
            {<<":method">>, <<"GET">>}, {<<":scheme">>, <<"http">>}, {<<":authority">>, <<"localhost">>}, {<<":path">>, <<"/">>}, Large
        ]),
        {Again, _} = cow_hpack:encode([Large], State),
        ok = send(Socket, cow_http2:headers(1, fin, [First, lists:duplicate(5000, Again)])),
        {status(response(Socket, 1)), status(get(Neighbour, 1))}
    end, fun(#{wire := {{goaway, enhance_your_calm}, 200}}) -> ok end).

many_headers(_) ->
    same_test:differ_before({2, 16}, max_headers_over_http_2, #{
        protocol => #{max_headers => 10},
        handler => {http_script_h, #{silent => true, init => fun(Req, State) -> {ok, reply(Req, <<"body">>), State} end}}
    }, fun(Server) ->
        Socket = open(Server),
        ok = send(Socket, head(1, fin, <<"GET">>, <<"/">>, [{<<"a">>, integer_to_binary(N)} || N <- lists:seq(1, 20)])),
        status(response(Socket, 1))
    end, #{
        cowboy => fun(#{wire := 200}) -> ok end,
        outrider => fun(#{wire := {goaway, enhance_your_calm}}) -> ok end
    }).

%%% Clients that misbehave: what the handlers hear

%% What the stream handlers of a request under way hear, and what its process, when the client does more than it may, or breaks the
%% protocol of the connection or of the stream.
a_request_whose_client_misbehaves(_) ->
    _ = [begin
        #{calls := Calls, log := []} = same_test:same(waiting(Options), misbehaving(Bytes)),
        {Bytes, [runs, {ended, End}, {exit, shutdown}]} = {Bytes, Calls}
    end || {End, Options, Bytes} <- floods() ++ [
        {{connection_error, protocol_error}, #{}, cow_http2:data(0, fin, <<"x">>)},
        {{connection_error, frame_size_error}, #{}, http2_client:frame(0, 0, 1, <<0:(16385 * 8)>>)},
        {{connection_error, flow_control_error}, #{}, cow_http2:window_update(16#7fffffff)},
        {{stream_error, flow_control_error}, #{}, cow_http2:window_update(1, 16#7fffffff)}
    ]],
    ok.

a_frame_that_cannot_be(_) ->
    _ = [same_test:differ(frame_errors_over_http_2, waiting(#{}), misbehaving(Bytes), #{
        cowboy => fun(#{calls := [runs, {ended, End}, {exit, shutdown}]}) -> Cowboys = End end,
        outrider => fun(#{calls := [runs, {ended, End}, {exit, shutdown}]}) -> {connection_error, protocol_error} = End end
    }) || {Cowboys, Bytes} <- [
        {{connection_error, frame_size_error}, http2_client:frame(6, 0, 0, <<"x">>)},
        {{stream_error, protocol_error}, http2_client:frame(8, 0, 1, <<0:32>>)}
    ]],
    ok.

%%% Helpers

%% A request that does not end by itself; how it ends is noted.
waiting(Options) ->
    Wait = fun(#{streamid := Stream}, #{probe := Probe}) ->
        Stream =:= 1 andalso probe:note(Probe, runs),
        receive never -> ok end
    end,
    #{
        protocol => Options#{stream_handlers => [ended_stream_h, cowboy_stream_h]},
        routes => [{"/", http_script_h, #{init => Wait}}, {"/other", http_script_h, #{silent => true, init => Wait}}]
    }.

%% Its client sends these bytes.
misbehaving(Bytes) ->
    fun(#{probe := Probe} = Server) ->
        ok = send(running(1, Server), Bytes),
        probe:await_exit(Probe)
    end.

%% A handler that does not end by itself, and its stream handlers tell.
endless() ->
    Init = fun(_, #{probe := Probe}) ->
        probe:note(Probe, runs),
        receive never -> ok end
    end,
    #{
        protocol => #{stream_handlers => [chain_stream_h, cowboy_stream_h]},
        handler => {http_script_h, #{init => Init}},
        order => any
    }.

%% A connection of which this stream has come to that.
running(Number, #{probe := Probe} = Server) ->
    Socket = open(Server),
    ok = send(Socket, head(Number, fin, <<"GET">>, <<"/">>)),
    probe:await(Probe, runs),
    Socket.
