%% outrider:metrics/1: the limits that have been reached, each by the name of its option, over HTTP/1.1 and HTTP/2.
%%
%% Each promise is held against clients whose every frame the case knows.
-module(outrider_metrics_limits_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([limits_are_counted_by_their_options/1, an_authority_that_is_too_long_is_counted_over_http_2_too/1]).
-export([floods_of_http_2_are_counted_by_the_limits_that_end_them/1, clients_that_do_not_greet_are_counted/1]).
-export([small_frames_that_nobody_reads_are_counted/1]).
-import(own_case, [server/1]).
-import(os_process, [until/1]).
-import(metrics_case, [routes/0, connections/1, refused/3, number/2]).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    own_case:init(Case, #{routes => routes(), transport => transport(Case), protocol => protocol(Case)}, Config).

end_per_testcase(Case, _) ->
    own_case:stop(Case).

transport(limits_are_counted_by_their_options) -> #{max_sockets_per_address => 2};
transport(_) -> #{}.

protocol(limits_are_counted_by_their_options) -> #{request_timeout => 300};
protocol(floods_of_http_2_are_counted_by_the_limits_that_end_them) ->
    #{
        max_received_frame_rate => {100, 10000}, max_cancel_stream_rate => {10, 10000}, max_reset_stream_rate => {5, 10000},
        max_fragmented_header_block_size => 16384, max_concurrent_streams => 30, shutdown_timeout => 10
    };
protocol(clients_that_do_not_greet_are_counted) -> #{preface_timeout => 200, settings_timeout => 400};
protocol(small_frames_that_nobody_reads_are_counted) ->
    #{max_concurrent_streams => 1, initial_stream_flow_size => 0, shutdown_timeout => 10};
protocol(_) -> #{}.

limits_are_counted_by_their_options(Config) ->
    Server = server(Config),
    refused(Server, 431, ["GET / HTTP/1.1\r\ncookie: ", binary:copy(<<"c">>, 4097), "\r\n\r\n"]),
    refused(Server, 414, ["GET /", binary:copy(<<"c">>, 8000), " HTTP/1.1\r\n\r\n"]),
    refused(Server, 408, "GET / HTTP/1.1\r\n"),
    %% Without a line of a request there is nobody to answer.
    closed = http_client:response(http_client:connect(Server)),
    until(fun() -> lists:sum(maps:values(connections(Server))) =:= 0 end),
    Sockets = [ws_client:open(Server) || _ <- [1, 2]],
    closed = http_client:response(http_client:connect(Server)),
    _ = [http_client:close(Socket) || Socket <- Sockets],
    Reached = maps:filter(fun(_, Count) -> Count > 0 end, number(limits_reached, Server)),
    #{max_cookie_header_value_length := 1, max_request_line_length := 1, request_timeout := 2, max_sockets_per_address := 1} = Reached,
    4 = map_size(Reached).

%% Its stream is reset, as by Cowboy: there is no status to count.
an_authority_that_is_too_long_is_counted_over_http_2_too(Config) ->
    Server = server(Config),
    _ = [begin
        Socket = http2_client:open(Server),
        ok = http2_client:send(Socket, http2_client:request(1, fin, [
            {<<":method">>, <<"GET">>}, {<<":scheme">>, <<"http">>}, {<<":path">>, <<"/">>}, {<<":authority">>, binary:copy(<<"a">>, Length)}
        ])),
        {Length, Expected} = {Length, case http2_client:response(Socket, 1) of
            #{status := Status} when Status < 500 -> answered;
            Other -> Other
        end},
        {Length, Counted} = {Length, maps:get(max_authority_length, reached(Server), 0)},
        ok = gen_tcp:close(Socket)
    end || {Length, Expected, Counted} <- [{254, answered, 0}, {255, answered, 0}, {256, {reset, protocol_error}, 1}]],
    0 = lists:sum(maps:values(number(requests_refused, Server))).

%% Each kind by a client of its own, of which nothing else is counted.
floods_of_http_2_are_counted_by_the_limits_that_end_them(Config) ->
    Server = server(Config),
    Get = fun(Stream, Path) -> http2_client:head(Stream, fin, <<"GET">>, Path) end,
    Fields = [{integer_to_binary(N), binary:copy(<<"x">>, 100)} || N <- lists:seq(1, 400)],
    Field = {<<"x">>, binary:copy(<<"x">>, 3900)},
    {Large, Table} = cow_hpack:encode([
        {<<":method">>, <<"GET">>}, {<<":scheme">>, <<"http">>}, {<<":authority">>, <<"localhost">>}, {<<":path">>, <<"/">>}, Field
    ]),
    {Again, _} = cow_hpack:encode([Field], Table),
    _ = [begin
        Before = reached(Server),
        Socket = http2_client:open(Server),
        %% The connection may be closed before all of it has been written.
        _ = http2_client:send(Socket, Flood),
        _ = http2_client:send(Socket, cow_http2:ping(0)),
        _ = http2_client:until(Socket, fun(Event) -> element(1, Event) =:= goaway end),
        ok = gen_tcp:close(Socket),
        Expected = maps:merge(Before, maps:map(fun(Limit, Times) -> maps:get(Limit, Before, 0) + Times end, Counted)),
        {Name, Expected} = {Name, reached(Server)}
    end || {Name, Flood, Counted} <- [
        {pings, [cow_http2:ping(N) || N <- lists:seq(1, 200)], #{max_received_frame_rate => 1}},
        {settings, [cow_http2:settings(#{}) || _ <- lists:seq(1, 200)], #{max_received_frame_rate => 1}},
        {empty_data, [
            http2_client:head(1, nofin, <<"POST">>, <<"/wait">>) | [cow_http2:data(1, nofin, <<>>) || _ <- lists:seq(1, 200)]
        ], #{max_received_frame_rate => 1}},
        {rapid_resets, [[Get(N, <<"/wait">>), cow_http2:rst_stream(N, cancel)] || N <- lists:seq(1, 41, 2)],
            #{max_cancel_stream_rate => 1}},
        {errors, [http2_client:request(N, fin, [{<<":method">>, <<"GET">>}]) || N <- lists:seq(1, 41, 2)],
            #{max_reset_stream_rate => 1}},
        {continuations, http2_client:request(1, fin, Fields, 10000), #{max_fragmented_header_block_size => 1}},
        {hpack_bomb, cow_http2:headers(1, fin, [Large, lists:duplicate(5000, Again)]), #{enhance_your_calm => 1}}
    ]],
    %% This one goes on.
    Socket = http2_client:open(Server),
    ok = http2_client:send(Socket, [Get(N, <<"/wait">>) || N <- lists:seq(1, 63, 2)]),
    _ = [[{rst_stream, _, refused_stream} | _] =
        lists:reverse(http2_client:until(Socket, fun(Event) -> element(1, Event) =:= rst_stream end)) || _ <- [61, 63]],
    2 = maps:get(max_concurrent_streams, reached(Server)).

clients_that_do_not_greet_are_counted(Config) ->
    Server = server(Config),
    Preface = <<"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n">>,
    _ = [begin
        Socket = http2_client:connect(Server),
        ok = http2_client:send(Socket, Bytes),
        closed = lists:last(http2_client:all(Socket)),
        {Limit, 1} = {Limit, maps:get(Limit, reached(Server))}
    end || {Bytes, Limit} <- [
        {Preface, preface_timeout}, {[Preface, cow_http2:settings(#{})], settings_timeout}
    ]],
    #{preface_timeout := 1, settings_timeout := 1} = Reached = reached(Server),
    2 = map_size(Reached).

%% Of a byte each: within the window, but each costs more than its byte.
small_frames_that_nobody_reads_are_counted(Config) ->
    Server = server(Config),
    Socket = http2_client:open(Server),
    ok = http2_client:send(Socket, http2_client:head(1, nofin, <<"POST">>, <<"/wait">>)),
    _ = http2_client:send(Socket, [cow_http2:data(1, nofin, <<"x">>) || _ <- lists:seq(1, 2000)]),
    [closed, {goaway, enhance_your_calm} | _] = lists:reverse(http2_client:all(Socket)),
    #{enhance_your_calm := 1} = Reached = reached(Server),
    1 = map_size(Reached).

%% The limits that have been reached.
reached(Server) ->
    maps:filter(fun(_, Times) -> Times > 0 end, number(limits_reached, Server)).
