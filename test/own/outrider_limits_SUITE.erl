%% Each limit of docs/operations.md that turns a client or its message away moves its number when it is reached, once, and leaves the
%% line in the log that the page promises.
%%
%% Each row has a listener, a fun that reaches the limit so often, and the level of the line that names it, or none where the number
%% is all there is. All rows are tried at the same time.
-module(outrider_limits_SUITE).

-export([all/0, init_per_suite/1, end_per_suite/1]).
-export([each_limit_that_is_reached_is_counted_and_said/1, no_limit_is_without_a_row/1]).
-export([log/2]).
-import(os_process, [until/1]).

-define(PATIENCE_MS, 20000).

%% Rows of the page whose option turns nobody away by itself, and limits that other suites reach.
-define(ELSEWHERE, [
    %% What other rows have beside their limit.
    on_backlog, block, ping_interval,
    %% Who is beyond them waits, unseen.
    backlog, window, initial_stream_flow_size,
    %% The last answer says so to a client that is served.
    max_keepalive,
    linger_timeout,
    %% Descriptors of a process with few of them: test/rust/hostile/limits.rs. A file that hangs: src/http/files.rs.
    file_descriptors, file_timeout,
    %% What ends the sidecar: outrider_watchdog_SUITE, outrider_rights_SUITE.
    watchdog, vm_timeout, memory_limit,
    %% HTTP/2's: http2_SUITE, outrider_http2_SUITE, outrider_metrics_limits_SUITE.
    max_concurrent_streams, max_fragmented_header_block_size, max_frame_size_received, max_received_frame_rate,
    max_cancel_stream_rate, max_reset_stream_rate, initial_stream_window_size, max_connection_window_size, preface_timeout,
    settings_timeout, enhance_your_calm
]).

all() ->
    [each_limit_that_is_reached_is_counted_and_said, no_limit_is_without_a_row].

init_per_suite(Config) ->
    same_test:start([outrider, ssl]),
    Config.

end_per_suite(_) ->
    _ = logger:remove_handler(?MODULE),
    _ = [outrider:stop_listener(Ref) || Ref = {?MODULE, _} <- maps:keys(outrider:info())],
    ok.

rows() ->
    [
        {max_connections, #{transport => #{max_connections => 1}}, fun(S) -> connect(S, 3) end, 1, warning},
        {max_sockets, #{transport => #{max_sockets => 1}}, fun(S) -> connect(S, 3) end, 1, warning},
        {max_accept_rate, #{transport => #{max_accept_rate => 1}}, fun(S) -> connect(S, 2) end, 1, warning},
        {max_sockets_per_address, #{transport => #{max_sockets_per_address => 1}}, fun(S) -> closed(connect(S, 2)) end, 1, notice},
        {proxy_header, #{protocol => #{proxy_header => true}}, fun(S) -> closed(send(S, "GET / HTTP/1.1\r\n\r\n")) end, 1, warning},
        {handshake_timeout, #{tls => true, transport => #{handshake_timeout => 100}}, fun(S) -> closed(connect(S, 1)) end, 1, none},
        {request_timeout, #{protocol => #{request_timeout => 100}}, fun(S) -> refused(S, 408, "GET / HTTP/1.1\r\n") end, 1, notice},
        {max_empty_lines, #{}, refuses(400, [binary:copy(<<"\r\n">>, 6), "GET / HTTP/1.1\r\n"]), 1, notice},
        {max_request_line_length, #{}, refuses(414, ["GET /", long(8000), " HTTP/1.1\r\n\r\n"]), 1, notice},
        {max_method_length, #{}, refuses(501, [long(33), " / HTTP/1.1\r\n\r\n"]), 1, notice},
        {max_authority_length, #{}, refuses(414, ["GET / HTTP/1.1\r\nhost: ", long(256), "\r\n\r\n"]), 1, notice},
        {max_headers, #{}, refuses(431, ["GET / HTTP/1.1\r\n", [["h", integer_to_list(N), ": a\r\n"] || N <- lists:seq(1, 101)], "\r\n"]),
            1, notice},
        {max_header_name_length, #{}, refuses(431, ["GET / HTTP/1.1\r\n", long(65), ": a\r\n\r\n"]), 1, notice},
        {max_header_value_length, #{}, field("x"), 1, notice},
        {max_cookie_header_value_length, #{}, field("cookie"), 1, notice},
        {max_authorization_header_value_length, #{}, field("authorization"), 1, notice},
        {max_skip_body_length, #{protocol => #{max_skip_body_length => 10}},
            refuses(400, http_client:request("GET", "/ws", [{"content-length", "200000"} | upgrade()], long(200000))), 1, none},
        {idle_timeout, #{opts => #{idle_timeout => 50}}, fun(S) -> closed([ws(S)]) end, 1, none},
        {pong_timeout, #{opts => #{ping_interval => 100, pong_timeout => 50}}, fun(S) -> closed([ws(S)]) end, 1, none},
        {send_timeout, #{transport => #{socket_opts => [{port, 0}, {send_timeout, 200}]}}, fun(S) -> asks_for(40, slow(S)) end, 1, none},
        {max_frame_size, #{opts => #{max_frame_size => 10}}, fun(S) -> says(S, {text, <<"12345678901">>}) end, 1, warning},
        {max_fragments, #{transport => #{max_fragments => 2}}, fun(S) -> says(S, {raw, fragments(3)}) end, 1, warning},
        {max_backlog, #{opts => #{max_backlog => 100000, on_backlog => close}}, fun(S) -> asks_for(40, slow(S)) end, 1, notice},
        {max_queued, #{transport => #{max_queued => 100000}}, fun(S) -> asks_for(40, slow(S)) end, 1, warning},
        {max_topics, #{transport => #{max_topics => 1}}, fun(S) -> subscribes(S) end, 1, warning},
        {max_topics_per_client, #{transport => #{max_topics_per_client => 1}}, fun(S) -> subscribes(S) end, 1, notice}
    ].

each_limit_that_is_reached_is_counted_and_said(_) ->
    ok = log_as_by_default(),
    Trying = [spawn_monitor(fun() -> exit({done, tried(Row)}) end) || Row <- rows()],
    Wrong = [Result || {_, Monitor} <- Trying, Result <- [receive {'DOWN', Monitor, _, _, Reason} -> Reason end], Result =/= {done, ok}],
    logger:remove_handler(?MODULE),
    [] = Wrong.

tried({Limit, Setup, Reach, Count, Level}) ->
    Server = #{ref := Ref} = listen(Limit, Setup),
    true = register(name(Ref), self()),
    try
        Sockets = Reach(Server),
        until(fun() -> reached(Ref) =/= #{} end),
        {Limit, true} = {Limit, is_reached(Count, Limit, reached(Ref))},
        ok = said(Limit, Level),
        _ = [http_client:close(Socket) || Socket <- Sockets],
        ok
    catch
        _:Reason:Stacktrace -> {Limit, Reason, Stacktrace}
    after
        outrider:stop_listener(Ref)
    end.

%% A pause may be followed by the next.
is_reached(Count, Limit, Reached) when Limit =:= max_accept_rate -> map_size(Reached) =:= 1 andalso map_get(Limit, Reached) >= Count;
is_reached(Count, Limit, Reached) -> Reached =:= #{Limit => Count}.

reached(Ref) ->
    #{sidecars := [#{metrics := #{limits_reached := Limits}}]} = outrider:metrics(Ref),
    maps:filter(fun(_, Count) -> Count > 0 end, Limits).

said(_, none) ->
    ok;
said(Limit, Level) ->
    receive
        {line, Level, Text} ->
            Names = [atom_to_list(Limit), string:replace(atom_to_list(Limit), "_", " ", all)],
            case [Name || Name <- Names, string:find(string:lowercase(Text), lists:flatten(Name)) =/= nomatch] of
                [] -> said(Limit, Level);
                _ -> ok
            end
    after ?PATIENCE_MS -> error({no_line, Limit, Level})
    end.

%% Each label of limits_reached, and each option in the page's table, is reached by a row, or stands above with a reason.
no_limit_is_without_a_row(_) ->
    Rows = [Limit || {Limit, _, _, _, _} <- rows()],
    {ok, Page} = file:read_file(compatibility:page("operations.md")),
    [_, Table0 | _] = binary:split(Page, <<"\n## Limits\n">>),
    [Table | _] = binary:split(Table0, <<"\nWhy these defaults">>),
    Cells = [lists:nth(2, binary:split(Row, <<" | ">>, [global])) || Row <- binary:split(Table, <<"\n">>, [global]),
        length(binary:split(Row, <<" | ">>, [global])) >= 4],
    {match, Options} = re:run([[Cell, $\n] || Cell <- Cells], "`([a-z_]+)`", [global, {capture, all_but_first, list}]),
    Documented = [list_to_atom(Option) || [Option] <- Options],
    true = length(Documented) > 40,
    [] = lists:usort(Documented ++ outrider_metrics_table:limits()) -- (Rows ++ ?ELSEWHERE).

%% Listeners.

listen(Limit, Setup) ->
    Ref = {?MODULE, Limit},
    Opts = #{opts => maps:get(opts, Setup, #{}), silent => true, websocket_handle => fun answer/2},
    Routes = [{"/ws", ws_script_h, Opts}],
    Transport = maps:merge(#{socket_opts => [{port, 0}]}, maps:get(transport, Setup, #{})),
    Protocol = maps:merge(maps:get(protocol, Setup, #{}), own_case:protocol(Routes, probe:start())),
    {ok, _} =
        case Setup of
            #{tls := true} -> outrider:start_tls(Ref, Transport#{socket_opts := [{port, 0} | tls_tunnel:certificate()]}, Protocol);
            #{} -> outrider:start_clear(Ref, Transport, Protocol)
        end,
    #{name => outrider, ref => Ref, port => outrider:get_port(Ref), tls => false}.

answer({text, <<"large">>}, State) -> {[{binary, <<0:800000>>}], State};
answer({text, <<"topics">>}, State) -> {[{subscribe, <<"a">>}, {subscribe, <<"b">>}], State};
answer(_, State) -> {[], State}.

%% Clients. Each returns its sockets, which stay open until the line has come.

connect(Server, Count) ->
    [http_client:connect(Server) || _ <- lists:seq(1, Count)].

closed(Sockets) ->
    _ = [closed = drained(Socket) || Socket <- [lists:last(Sockets)]],
    Sockets.

drained(Socket) ->
    case gen_tcp:recv(Socket, 0, ?PATIENCE_MS) of
        {ok, _} -> drained(Socket);
        {error, Reason} when Reason =/= timeout -> closed
    end.

send(Server, Bytes) ->
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, Bytes),
    [Socket].

refuses(Status, Bytes) ->
    fun(Server) -> refused(Server, Status, Bytes) end.

refused(Server, Status, Bytes) ->
    [Socket] = send(Server, Bytes),
    #{status := Status} = http_client:response(Socket),
    [Socket].

field(Name) ->
    refuses(431, ["GET / HTTP/1.1\r\n", Name, ": ", long(4097), "\r\n\r\n"]).

long(Length) ->
    binary:copy(<<"x">>, Length).

upgrade() ->
    [{"connection", "upgrade"}, {"upgrade", "websocket"}, {"sec-websocket-version", "13"}, {"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="}].

ws(Server) ->
    ws_client:open_at(Server, "/ws").

says(Server, Frame) ->
    Socket = ws(Server),
    ok = ws_client:send(Socket, Frame),
    {close, 1009, _} = ws_client:recv(Socket),
    [Socket].

fragments(Count) ->
    [ws_client:frame(0, 0, 1, <<>>) | [ws_client:frame(0, 0, 0, <<>>) || _ <- lists:seq(2, Count)]].

subscribes(Server) ->
    Socket = ws(Server),
    ok = ws_client:send(Socket, {text, <<"topics">>}),
    [Socket].

slow(Server) ->
    Socket = http_client:connect(Server, [{recbuf, 2048}]),
    ok = http_client:send(Socket, ws_client:handshake("/ws")),
    #{status := 101} = http_client:response(Socket),
    Socket.

%% Each of 100,000 bytes, of which it reads none.
asks_for(Count, Socket) ->
    ok = ws_client:send(Socket, [{text, <<"large">>} || _ <- lists:seq(1, Count)]),
    [Socket].

%% The log.

log_as_by_default() ->
    logger:add_handler(?MODULE, ?MODULE, #{
        level => notice, filter_default => stop,
        filters => [
            {domain, {fun logger_filters:domain/2, {log, super, [otp, sasl]}}},
            {no_domain, {fun logger_filters:domain/2, {log, undefined, []}}}
        ]
    }).

%% Logger's callback.
log(#{level := Level, meta := #{listener := {?MODULE, _} = Ref}} = Event, _) ->
    case whereis(name(Ref)) of
        undefined -> ok;
        Pid -> Pid ! {line, Level, unicode:characters_to_list(logger_formatter:format(Event, #{single_line => true}))}
    end;
log(_, _) ->
    ok.

name({?MODULE, Limit}) ->
    list_to_atom("tries " ++ atom_to_list(Limit)).
