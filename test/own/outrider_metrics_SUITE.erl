%% outrider:metrics/1: what is counted where it happens, what goes down again when it is over, and that asking ends in time. The limits
%% that have been reached are in outrider_metrics_limits_SUITE.
%%
%% Each promise is held against clients whose every frame the case knows.
-module(outrider_metrics_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([what_is_measured_is_what_the_table_says/1, messages_are_counted_by_opcode_both_ways/1]).
-export([a_message_to_many_counts_for_each_of_them/1, ends_are_counted_by_who_came_first_and_by_code/1]).
-export([connections_are_counted_by_what_they_are_now/1, a_client_that_takes_nothing_is_seen_and_forgotten/1]).
-export([compression_is_counted_before_and_after/1, requests_and_failed_handshakes_are_counted_by_status/1]).
-export([the_port_and_the_loop_are_measured/1, a_sidecar_that_stands_still_is_told_apart_in_time/1]).
-export([a_sidecar_that_was_lost_begins_anew_and_its_restarts_are_counted/1]).
-export([several_sidecars_are_measured_each_for_itself/1, many_may_ask_at_once/1]).
-export([a_listener_that_does_not_run_is_a_badarg/1, a_handler_knows_the_traffic_of_its_own_client/1]).
-export([nobody_else_has_stats/1, what_a_handler_itself_drops_is_counted/1]).
-export([handshakes_of_tls_are_counted_by_version/1]).
-import(own_case, [server/1]).
-import(os_process, [until/1]).
-import(metrics_case, [routes/0, connections/1, refused/3, metrics/1, all/1, number/2]).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    own_case:init(Case, #{routes => routes(), transport => transport(Case)}, Config).

end_per_testcase(Case, _) ->
    own_case:stop(Case).

transport(several_sidecars_are_measured_each_for_itself) -> #{sidecars => 2};
transport(a_sidecar_that_stands_still_is_told_apart_in_time) -> #{sidecars => 2, watchdog => infinity};
transport(_) -> #{}.

%% The sidecar says all that the table has, and nothing else; each number has the kind and the label that the table says.
what_is_measured_is_what_the_table_says(Config) ->
    Server = server(Config),
    #{listener := ?FUNCTION_NAME, sidecars := [#{number := 1, outcome := ok, os_pid := OsPid, metrics := Metrics}]}
        = metrics(Server),
    OsPid = os_process:sidecar(?FUNCTION_NAME),
    Rows = outrider_metrics_table:rows(),
    Keys = lists:sort([Key || #{key := Key} <- Rows]),
    Keys = lists:sort(maps:keys(Metrics)),
    [] = [Key || #{key := Key} = Row <- Rows, not is_of(Row, maps:get(Key, Metrics))],
    #{limits_reached := Limits} = Metrics,
    true = lists:sort(maps:keys(Limits)) =:= lists:sort(outrider_metrics_table:limits()).

is_of(#{type := histogram}, {histogram, Sum, Buckets}) -> is_integer(Sum) andalso is_map_key(infinity, Buckets);
is_of(#{by := _}, Value) -> is_map(Value) andalso lists:all(fun is_integer/1, maps:values(Value));
is_of(#{}, Value) -> is_integer(Value).

messages_are_counted_by_opcode_both_ways(Config) ->
    Server = server(Config),
    Socket = ws_client:open(Server),
    Large = binary:copy(<<"x">>, 200000),
    ws_client:send(Socket, [{text, <<"abc">>}, {binary, Large}, {ping, <<"12">>}, {pong, <<"1">>}, {text, <<>>}]),
    [{binary, Large}, {pong, <<"12">>}, {text, <<>>}, {text, <<"abc">>}] = lists:sort(ws_client:recv(Socket, 4)),
    #{text := 2, binary := 1, ping := 1, pong := 1} = number(messages_received, Server),
    #{text := 3, binary := 200000, ping := 2, pong := 1} = number(message_bytes_received, Server),
    #{text := 2, binary := 1, ping := 0, pong := 1} = number(messages_sent, Server),
    #{text := 3, binary := 200000, ping := 0, pong := 2} = number(message_bytes_sent, Server),
    true = number(socket_bytes_received, Server) > 200000,
    true = number(socket_bytes_sent, Server) > 200000.

a_message_to_many_counts_for_each_of_them(Config) ->
    Server = #{ref := Ref} = server(Config),
    Sockets = [subscribed(Server) || _ <- lists:seq(1, 3)],
    ok = outrider:publish(Ref, <<"all">>, [{text, <<"12345">>}, ping]),
    _ = [[{text, <<"12345">>}, ping] = ws_client:recv(Socket, 2) || Socket <- Sockets],
    #{text := 6, ping := 3} = number(messages_sent, Server),
    #{text := 24} = number(message_bytes_sent, Server),
    {1, 3} = {number(topics, Server), number(subscriptions, Server)}.

%% With an answer to a message of its own it has subscribed.
subscribed(Server) ->
    Socket = ws_client:open(Server),
    ws_client:send(Socket, [{text, <<"many">>}, {text, <<"abc">>}]),
    {text, <<"abc">>} = ws_client:recv(Socket),
    Socket.

ends_are_counted_by_who_came_first_and_by_code(Config) ->
    Server = server(Config),
    ended(Server, "/", {close, 1000, <<>>}),
    ended(Server, "/", {close, 4001, <<"bye">>}),
    ended(Server, "/", close),
    ended(Server, "/", {text, <<"close">>}),
    ended(Server, "/", {text, <<255>>}),
    ended(Server, "/small", {text, <<"12345678901">>}),
    ended(Server, "/short", {text, <<>>}),
    Lost = ws_client:open(Server),
    ok = http_client:close(Lost),
    until(fun() -> lists:sum(maps:values(number(closes_by_client, Server))) =:= 4 end),
    #{1000 := 1, '4xxx' := 1, 1005 := 1, 1006 := 1} = number(closes_by_client, Server),
    ByServer = number(closes_by_server, Server),
    #{'4xxx' := 1, 1007 := 1, 1009 := 1, 1000 := 1} = ByServer,
    4 = map_size(ByServer),
    8 = number(handshakes, Server),
    #{idle_timeout := 1, max_frame_size := 1} = number(limits_reached, Server).

ended(Server, Path, Frame) ->
    Socket = ws_client:open_at(Server, Path),
    ws_client:send(Socket, Frame),
    _ = ws_client:recv_all(Socket),
    http_client:close(Socket).

connections_are_counted_by_what_they_are_now(Config) ->
    Server = server(Config),
    Http = http_client:connect(Server),
    #{status := 403} = http_client:get(Server, "/no"),
    Socket = ws_client:open(Server),
    until(fun() -> connections(Server) =:= #{tls_handshake => 0, http => 1, websocket => 1, closing => 0} end),
    %% It has got the close frame, and keeps its side open.
    ws_client:send(Socket, {text, <<"close">>}),
    {close, 4711, <<>>} = ws_client:recv(Socket),
    until(fun() -> connections(Server) =:= #{tls_handshake => 0, http => 1, websocket => 0, closing => 1} end),
    _ = [http_client:close(S) || S <- [Http, Socket]],
    until(fun() -> lists:sum(maps:values(connections(Server))) =:= 0 end),
    3 = number(connections_accepted, Server).

%% While it takes nothing, what waits for it is seen; when it has gone nothing is left of it anywhere.
a_client_that_takes_nothing_is_seen_and_forgotten(Config) ->
    Server = server(Config),
    Socket = http_client:connect(Server, [{recbuf, 2048}]),
    #{status := 101} = ws_client:upgrade(Socket, []),
    ws_client:send(Socket, [{text, <<"large">>} || _ <- lists:seq(1, 20)]),
    until(fun() -> number(clients_blocked, Server) =:= 1 end),
    until(fun() -> number(backlog_largest_bytes, Server) >= 131072 end),
    true = number(backlog_bytes, Server) >= 65536,
    1 = lists:sum(maps:values(number(backlog_clients, Server))),
    until(fun() -> number(credit_sent_bytes, Server) > 200000 end),
    true = number(credit_received_bytes, Server) > 0,
    http_client:close(Socket),
    until(fun() -> lists:sum(maps:values(connections(Server))) =:= 0 end),
    [0, 0, 0, 0, 0] = [number(Key, Server) || Key <- [clients_blocked, backlog_largest_bytes, backlog_bytes, credit_sent_bytes,
        credit_received_bytes]],
    0 = lists:sum(maps:values(number(backlog_clients, Server))).

compression_is_counted_before_and_after(Config) ->
    Server = server(Config),
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, ws_client:handshake("/deflate", [{"sec-websocket-extensions", "permessage-deflate"}])),
    #{status := 101} = http_client:response(Socket),
    Deflater = ws_client:deflater(),
    Plain = binary:copy(<<"compressible ">>, 1000),
    Deflated = ws_client:deflate(Deflater, Plain),
    ws_client:send(Socket, {raw, ws_client:frame(1, 4, 1, Deflated)}),
    {deflated, text, Answer} = ws_client:recv(Socket),
    {In, Out, Sent, Came} = {byte_size(Deflated), byte_size(Answer), byte_size(Plain), byte_size(Plain)},
    {In, Came, Sent, Out} = {number(inflate_bytes_in, Server), number(inflate_bytes_out, Server),
        number(deflate_bytes_in, Server), number(deflate_bytes_out, Server)}.

requests_and_failed_handshakes_are_counted_by_status(Config) ->
    Server = server(Config),
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, ws_client:handshake("/no")),
    #{status := 403} = http_client:response(Socket),
    #{status := 403} = http_client:get(Server, "/no"),
    refused(Server, 400, "GET / HTTP/1.1\r\n\r\n"),
    refused(Server, 505, "GET / HTTP/3.0\r\n\r\n"),
    #{403 := 1} = Failed = number(handshakes_failed, Server),
    1 = map_size(Failed),
    #{400 := 1, 505 := 1} = number(requests_refused, Server),
    2 = number(requests, Server),
    0 = number(handshakes, Server).

%% In a second or two the port has carried some packets, and the loop has turned.
the_port_and_the_loop_are_measured(Config) ->
    Server = server(Config),
    Socket = ws_client:open(Server),
    Before = all(Server),
    ws_client:send(Socket, {text, <<0:8000>>}),
    {text, <<0:8000>>} = ws_client:recv(Socket),
    After = all(Server),
    Grown = fun(Key) -> maps:get(Key, After) - maps:get(Key, Before) end,
    true = Grown(port_bytes_sent) > 1000,
    true = Grown(port_bytes_received) > 1000,
    true = Grown(port_packets_sent) >= 2,
    true = Grown(port_packets_received) >= 2,
    true = Grown(cpu_us) > 0,
    #{turns := {histogram, Sum0, Turns0}} = Before,
    #{turns := {histogram, Sum, Turns}} = After,
    true = Sum > Sum0,
    true = lists:sum(maps:values(Turns)) > lists:sum(maps:values(Turns0)),
    #{memory_bytes := Memory, streams := #{websocket := 1, request := 0}, port_queue_bytes := 0} = After,
    true = Memory > 1000000.

%% A sidecar that stands still neither keeps the caller nor what the others say, and is found by its number.
a_sidecar_that_stands_still_is_told_apart_in_time(Config) ->
    #{ref := Ref} = Server = server(Config),
    [_, OsPid] = [Pid || #{os_pid := Pid} <- maps:get(sidecars, outrider:info(Ref))],
    os_process:while_stopped(OsPid, fun() ->
        #{sidecars := [#{number := 1, outcome := ok}, #{number := 2, outcome := no_answer, metrics := Known}]} = metrics(Server),
        #{up := 0, restarts := 0} = Known
    end),
    until(fun() -> [ok, ok] =:= [Outcome || #{outcome := Outcome} <- maps:get(sidecars, metrics(Server))] end).

a_sidecar_that_was_lost_begins_anew_and_its_restarts_are_counted(Config) ->
    #{ref := Ref} = Server = server(Config),
    _ = ws_client:open(Server),
    {1, 0} = {number(handshakes, Server), number(restarts, Server)},
    OsPid = os_process:sidecar(Ref),
    ok = os_process:signal(OsPid, "KILL"),
    ok = os_process:is_replaced(Ref, OsPid),
    {0, 1} = {number(handshakes, Server), number(restarts, Server)}.

several_sidecars_are_measured_each_for_itself(Config) ->
    Server = server(Config),
    _ = [ws_client:open(Server) || _ <- lists:seq(1, 20)],
    Counts = [maps:get(handshakes, Metrics) || #{metrics := Metrics} <- maps:get(sidecars, metrics(Server))],
    {2, 20} = {length(Counts), lists:sum(Counts)}.

%% As many as there are; the answers come to those who asked.
many_may_ask_at_once(Config) ->
    Server = server(Config),
    Self = self(),
    Asking = [spawn_link(fun() -> Self ! {self(), number(up, Server)} end) || _ <- lists:seq(1, 200)],
    Answers = [receive {Pid, Up} -> Up end || Pid <- Asking],
    true = lists:member(1, Answers),
    [] = [Answer || Answer <- Answers, not lists:member(Answer, [0, 1])].

a_listener_that_does_not_run_is_a_badarg(_) ->
    badarg = try outrider:metrics(nobody) catch error:Reason -> Reason end.

%% What it was sent by others is in it, and what it was answered itself.
a_handler_knows_the_traffic_of_its_own_client(Config) ->
    #{ref := Ref} = Server = server(Config),
    [Socket, Other] = [subscribed(Server) || _ <- [1, 2]],
    ok = outrider:publish(Ref, <<"all">>, {text, <<"12345">>}),
    _ = [{text, <<"12345">>} = ws_client:recv(S) || S <- [Socket, Other]],
    ws_client:send(Socket, [{ping, <<"1">>}, {text, <<"stats">>}]),
    {pong, <<"1">>} = ws_client:recv(Socket),
    {binary, Stats} = ws_client:recv(Socket),
    #{messages_received := 4, bytes_received := 13, messages_sent := 3, bytes_sent := 9} = binary_to_term(Stats).

nobody_else_has_stats(_) ->
    badarg = try outrider:stats() catch error:Reason -> Reason end.

%% As many as the handler itself is told, and apart from those of others.
what_a_handler_itself_drops_is_counted(Config) ->
    Server = #{probe := Probe} = server(Config),
    0 = number(own_frames_dropped, Server),
    Socket = http_client:connect(Server, [{recbuf, 2048}]),
    ok = http_client:send(Socket, ws_client:handshake("/drop")),
    #{status := 101} = http_client:response(Socket),
    ws_client:send(Socket, [{text, <<"large">>}, {text, <<"backlog">>}]),
    [Dropped] = os_process:something(fun() -> [N || #{dropped := N} <- probe:calls(Probe)] end),
    true = Dropped > 0 andalso Dropped < 50,
    {Dropped, 0} = {number(own_frames_dropped, Server), number(frames_dropped, Server)},
    %% It begins anew with the sidecar, as all counters do.
    #{ref := Ref} = Server,
    OsPid = os_process:sidecar(Ref),
    ok = os_process:signal(OsPid, "KILL"),
    ok = os_process:is_replaced(Ref, OsPid),
    0 = number(own_frames_dropped, Server).

handshakes_of_tls_are_counted_by_version(Config) ->
    same_test:start([outrider, ssl]),
    Ref = {?FUNCTION_NAME, tls},
    {ok, _} = outrider:start_tls(Ref, [{port, 0} | tls_tunnel:certificate()], own_case:protocol(routes(), none)),
    _ = [
        {ok, _} = ssl:connect("localhost", outrider:get_port(Ref), [{verify, verify_none}, {versions, [Version]}])
     || Version <- ['tlsv1.2', 'tlsv1.3', 'tlsv1.3']
    ],
    until(fun() -> number(tls_handshakes, #{ref => Ref}) =:= #{'tlsv1.2' => 1, 'tlsv1.3' => 2} end),
    #{'tlsv1.2' := 0, 'tlsv1.3' := 0} = number(tls_handshakes, server(Config)),
    ok = outrider:stop_listener(Ref).
