%% Requests and messages that the sidecar refuses: what the VM hears of them, and that a flood of them costs it little. That stream handlers
%% hear what Cowboy tells them is in http_handlers_SUITE.
-module(outrider_refused_SUITE).

-compile([export_all, nowarn_export_all]).
-import(os_process, [until/1]).

-define(REF, ?MODULE).
%% Of one sidecar: calls per second, and as many at once.
-define(RATE, 100).

all() ->
    %% The client's own address is the tunnel's there, and clients of HTTP/2 have no tunnel.
    (same_test:cases(?MODULE) -- [listener, line]) -- same_test:not_over_tls([
        each_reason_leaves_a_line_in_the_log, a_header_list_too_large_over_http_2_is_refused_as_any_other
    ]).

init_per_testcase(_, Config) ->
    same_test:start([outrider]),
    Config.

end_per_testcase(_, _) ->
    _ = logger:remove_handler(?MODULE),
    _ = [ok = outrider:stop_listener(Ref) || Ref <- maps:keys(outrider:info())],
    ok.

%% Stream handlers hear of as many as the rate says; all are counted.
a_flood_is_counted_and_heard_of_at_its_rate(_) ->
    Calls = counters:new(1, []),
    Server = listener(#{metrics_callback => fun(_) -> counters:add(Calls, 1, 1) end}),
    Begin = erlang:monotonic_time(millisecond),
    refuse(Server, 600),
    Seconds = (erlang:monotonic_time(millisecond) - Begin) div 1000 + 1,
    %% One more, when it may be told again: it tells of those before it.
    timer:sleep(1000),
    refuse(Server, 1),
    until(fun() -> refused() =:= 601 end),
    Heard = counters:get(Calls, 1),
    true = Heard >= ?RATE,
    true = Heard =< ?RATE * (Seconds + 3).

%% Of the processes that call stream handlers there are no more than the rate, whatever they do.
a_flood_of_callbacks_that_do_not_end_is_bounded(_) ->
    Server = listener(#{metrics_callback => fun(_) -> timer:sleep(infinity) end}),
    Before = erlang:system_info(process_count),
    refuse(Server, 200),
    timer:sleep(1000),
    refuse(Server, 200),
    until(fun() -> refused() >= 2 * ?RATE end),
    true = erlang:system_info(process_count) =< Before + ?RATE + 20,
    #{status := 404} = maps:with([status], http_client:get(Server, "/")),
    %% They end with the listener.
    ok = outrider:stop_listener(?REF),
    until(fun() -> erlang:system_info(process_count) =< Before + 20 end).

a_message_too_large_is_said_with_its_option_but_not_each_time(_) ->
    compatibility:must_name(large_messages_in_the_log),
    Probe = probe:start(),
    ok = probe_log:attach(Probe),
    Dispatch = cowboy_router:compile([{'_', [{'_', ws_script_h, #{probe => Probe}}]}]),
    {ok, _} = same_test:start_listener(outrider, ?REF, [{port, 0}], #{env => #{dispatch => Dispatch}}),
    _ = [begin
        Socket = ws_client:open(#{port => outrider:get_port(?REF)}),
        ws_client:send(Socket, {raw, ws_client:header(1, 0, 2, 1000001)}),
        {close, 1009, <<>>} = ws_client:recv(Socket)
    end || _ <- [1, 2, 3]],
    probe_log:detach(),
    [Text] = [Text || {warning, Text} <- probe:stop(Probe)],
    {match, _} = re:run(Text, "^a WebSocket of 127\\.0\\.0\\.1:[0-9]+ is closed with 1009: frame of 1000001 bytes, at most 1000000 "
        "allowed by the handler's websocket option max_frame_size$").

nothing_of_them_becomes_an_atom(_) ->
    Server = listener(#{metrics_callback => fun(_) -> ok end}),
    refuse(Server, 10),
    until(fun() -> refused() =:= 10 end),
    Atoms = erlang:system_info(atom_count),
    refuse(Server, 50),
    until(fun() -> refused() =:= 60 end),
    Atoms = erlang:system_info(atom_count).

%% Of a long head only the beginning crosses the port.
what_is_known_is_bounded(_) ->
    Self = self(),
    Server = listener(#{max_request_line_length => 1000000, max_header_value_length => 1000000,
        metrics_callback => fun(#{partial_req := Partial}) -> Self ! {partial, Partial} end}),
    Fields = [["h", integer_to_list(N), ": ", binary:copy(<<"a">>, 1000), "\r\n"] || N <- lists:seq(1, 90)],
    send(Server, ["GET /a HTTP/1.1\r\n", Fields, "(\r\n\r\n"]),
    #{path := <<"/a">>, headers := Headers} = receive {partial, Some} -> Some end,
    true = map_size(Headers) > 10,
    true = erlang:external_size(Headers) < 16384,
    send(Server, ["GET /", binary:copy(<<"a">>, 100000), " HTTP/1.1\r\n(\r\n\r\n"]),
    Nothing = receive {partial, None} -> None end,
    [peer, ref] = lists:sort(maps:keys(Nothing)).

a_later_request_of_a_connection_has_its_number(_) ->
    Self = self(),
    Server = listener(#{metrics_callback => fun(#{streamid := Id, resp_status := Status}) -> Self ! {Id, Status} end}),
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, [http_client:request("GET", "/1"), http_client:request("GET", "/2"), "(\r\n\r\n"]),
    [404, 404, 400] = [maps:get(status, http_client:response(Socket)) || _ <- [1, 2, 3]],
    [{1, 404}, {2, 404}, {3, 400}] = lists:sort([receive {Id, Status} -> {Id, Status} end || _ <- [1, 2, 3]]).

the_header_of_the_proxy_protocol_is_known(_) ->
    Self = self(),
    Server = listener(#{proxy_header => true,
        metrics_callback => fun(#{partial_req := Partial}) -> Self ! {partial, Partial} end}),
    Socket = http_client:connect_behind(Server, "PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\n"),
    ok = http_client:send(Socket, " GET"),
    #{status := 400} = http_client:response(Socket),
    #{proxy_header := #{src_address := {192, 0, 2, 7}}} = receive {partial, Some} -> Some end.

%% Large cookies are the classic, and their users cannot tell. The line names the option, the peer and the status, and nothing of
%% what was sent; of many for the same reason there is one.
each_reason_leaves_a_line_in_the_log(_) ->
    compatibility:must_name(refused_requests_in_the_log),
    ok = log_as_by_default(),
    Server = listener(#{request_timeout => 300}),
    Socket = http_client:connect(Server),
    {ok, {_, Port}} = inet:sockname(Socket),
    Cookie = ["GET /secret HTTP/1.1\r\ncookie: ", binary:copy(<<"s">>, 4097), "\r\n\r\n"],
    ok = http_client:send(Socket, Cookie),
    #{status := 431} = http_client:response(Socket),
    Peer = iolist_to_binary(io_lib:format("127.0.0.1:~b", [Port])),
    Line = line(#{status => 431, limit => max_cookie_header_value_length, listener => ?REF, sidecar => 1}),
    [_ | _] = [ok || {_, _} <- [binary:match(Line, Peer)]],
    [_ | _] = [ok || {_, _} <- [binary:match(Line, <<"refused with 431 (beyond max_cookie_header_value_length)">>)]],
    nomatch = binary:match(Line, <<"secret">>),
    refuse(Server, 20),
    _ = line(#{status => 400, limit => undefined}),
    Late = http_client:connect(Server),
    ok = http_client:send(Late, "GET / HTTP/1.1\r\n"),
    #{status := 408} = http_client:response(Late),
    _ = line(#{status => 408, limit => request_timeout}),
    receive {line, _, Again} -> error({again, Again}) after 0 -> ok end,
    logger:remove_handler(?MODULE).

%% h2 answers these, and shows them to nobody: of one client that sends a request that is fine between two.
a_header_list_too_large_over_http_2_is_refused_as_any_other(_) ->
    Self = self(),
    ok = log_as_by_default(),
    Server = listener(#{max_fragmented_header_block_size => 16384,
        metrics_callback => fun(#{streamid := Id, resp_status := Status}) -> Self ! {Id, Status} end}),
    Socket = http2_client:open(Server),
    Get = fun(Stream, Bytes) ->
        %% Uncompressed, as SETTINGS_MAX_HEADER_LIST_SIZE counts them: 174 of the pseudo-header fields, 33 beside each value.
        Same = lists:duplicate(8, {<<"a">>, binary:copy(<<"a">>, 3900)}),
        Last = {<<"b">>, binary:copy(<<"b">>, Bytes - 174 - 8 * 3933 - 33)},
        ok = http2_client:send(Socket, http2_client:head(Stream, fin, <<"GET">>, <<"/">>, Same ++ [Last])),
        maps:get(status, http2_client:response(Socket, Stream))
    end,
    [431, 404, 431] = [Get(1, 32768), Get(3, 32767), Get(5, 40000)],
    until(fun() -> refused() =:= 2 end),
    [{1, 431}, {3, 404}, {5, 431}] = lists:sort([receive {Id, Status} -> {Id, Status} end || _ <- [1, 2, 3]]),
    #{sidecars := [#{metrics := #{limits_reached := #{max_fragmented_header_block_size := 2}}}]} = outrider:metrics(?REF),
    _ = line(#{status => 431, limit => max_fragmented_header_block_size, listener => ?REF, sidecar => 1}),
    logger:remove_handler(?MODULE).

%% While accepting pauses the clients wait, and nobody else would know why.
a_limit_that_keeps_clients_out_leaves_a_line(_) ->
    ok = log_as_by_default(),
    Server = listener(#{}),
    ok = outrider:set_max_connections(?REF, 1),
    _ = [http_client:connect(Server) || _ <- lists:seq(1, 3)],
    Line = line(#{limit => max_connections, listener => ?REF, sidecar => 1}),
    {_, _} = binary:match(Line, <<"has reached max_connections">>),
    logger:remove_handler(?MODULE).

%% The next line about a refusal or a limit.
line(Expected) ->
    receive
        {line, Meta, Text} ->
            Expected = maps:with(maps:keys(Expected), Meta),
            Text
    after 20000 -> error({no_line, Expected})
    end.

%% A handler that is told what kernel's default handler prints.
log_as_by_default() ->
    logger:add_handler(?MODULE, ?MODULE, #{
        level => notice, config => #{to => self()}, filter_default => stop,
        filters => [
            {domain, {fun logger_filters:domain/2, {log, super, [otp, sasl]}}},
            {no_domain, {fun logger_filters:domain/2, {log, undefined, []}}}
        ]
    }).

%% Logger's callback.
log(#{meta := #{listener := _, limit := _} = Meta} = Event, #{config := #{to := To}}) ->
    To ! {line, Meta, iolist_to_binary(logger_formatter:format(Event, #{single_line => true}))};
log(_, _) ->
    ok.

listener(Protocol) ->
    {ok, _} = same_test:start_listener(outrider, ?REF, #{socket_opts => [{port, 0}], shutdown => 500}, Protocol#{
        env => #{dispatch => cowboy_router:compile([{'_', []}])}, stream_handlers => [cowboy_metrics_h, cowboy_stream_h]}),
    #{port => outrider:get_port(?REF)}.

refuse(Server, Count) ->
    _ = [send(Server, ["GET /", integer_to_list(erlang:unique_integer([positive])), " HTTP/1.1\r\nx", integer_to_list(N),
        ": a\r\nHost(\r\n\r\n"]) || N <- lists:seq(1, Count)],
    ok.

send(Server, Bytes) ->
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, Bytes),
    #{status := 400} = http_client:response(Socket),
    http_client:close(Socket).

refused() ->
    #{sidecars := [#{refused := Refused}]} = outrider:info(?REF),
    Refused.
