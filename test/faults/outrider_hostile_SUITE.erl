%% What a hostile or broken client can cost the VM: atoms, processes, mailboxes, memory; and what of it reaches a log.
%%
%% On the real listener. What it can cost the sidecar is in test/rust/hostile.
-module(outrider_hostile_SUITE).

-import(own_case, [server/1]).
-import(os_process, [until/1]).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([clients_make_no_atom/1, clients_that_come_and_go_leave_no_process/1, a_flood_waits_outside_the_mailbox/1]).
-export([nothing_of_a_client_reaches_a_log/1, nothing_of_a_client_reaches_a_log_when_processes_die/1]).
-export([a_packet_that_does_not_decode_is_not_shown/1, a_handler_that_crashes_does_not_show_its_mailbox/1]).
-export([a_response_head_that_no_packet_can_hold_ends_its_stream_alone/1]).
-export([an_address_has_its_share/1, a_message_has_a_limit_of_fragments/1, the_limits_are_checked/1]).
%% Logger's callback.
-export([log/2]).

%% Far longer than anything here takes, even on a busy machine.
-define(PATIENCE_MS, 20000).
%% What must not be seen.
-define(SECRET, "c0nfid3ntial").

all() ->
    %% Its clients of HTTP/2 speak it in the clear.
    same_test:cases(?MODULE) -- same_test:not_over_tls([nothing_of_a_client_reaches_a_log]).

init_per_testcase(Case, Config) ->
    own_case:init(Case, #{routes => routes(), transport => transport(Case)}, Config).

end_per_testcase(Case, _) ->
    own_case:stop(Case).

transport(an_address_has_its_share) -> #{max_sockets_per_address => 2};
transport(a_message_has_a_limit_of_fragments) -> #{max_fragments => 3};
transport(_) -> #{log_level => debug}.

routes() ->
    [
        {"/", ws_script_h, #{silent => true, websocket_handle => fun handle/2}},
        {"/body", http_script_h, #{silent => true, init => fun body/2}},
        {"/head", http_script_h, #{silent => true, init => fun head/2}}
    ].

handle({text, <<"wait">>}, #{probe := Probe} = State) ->
    probe:note(Probe, {waits, self()}),
    receive go_on -> {[{text, <<"waited">>}], State} end;
handle({text, <<"wait and crash">>}, #{probe := Probe}) ->
    probe:note(Probe, {waits, self()}),
    receive go_on -> error(on_purpose) end;
handle(Frame, State) ->
    {[Frame], State}.

body(Req0, State) ->
    {ok, Body, Req} = cowboy_req:read_body(Req0),
    {ok, cowboy_req:reply(200, #{}, Body, Req), State}.

head(Req, State) ->
    {ok, cowboy_req:reply(200, #{<<"x">> => binary:copy(<<"x">>, 17000000)}, <<>>, Req), State}.

clients_make_no_atom(Config) ->
    Server = server(Config),
    Visit = fun(Word) ->
        Http = http_client:connect(Server),
        ok = http_client:send(Http, http_client:request(["M", Word], ["/", Word, "?", Word, "=1"],
            [{["x-", Word], Word}, {"Cookie", [Word, "=1"]}], <<>>)),
        #{status := 404} = http_client:response(Http),
        http_client:close(Http),
        Socket = ws_client:open(Server, [{"Sec-WebSocket-Extensions", Word}, {"Sec-WebSocket-Protocol", Word}]),
        ws_client:send(Socket, [{text, Word}, {ping, Word}, {close, 4000, Word}]),
        ws_client:recv_all(Socket)
    end,
    %% All code has run once, and the second time is like any other.
    _ = [Visit(word(N)) || N <- [1, 2]],
    Before = erlang:system_info(atom_count),
    _ = [Visit(word(N)) || N <- lists:seq(3, 50)],
    Before = erlang:system_info(atom_count).

word(N) ->
    <<"Word", (integer_to_binary(N))/binary>>.

clients_that_come_and_go_leave_no_process(Config) ->
    #{ref := Ref} = Server = server(Config),
    echoes(Server),
    until(fun() -> outrider:procs(Ref, connections) =:= [] end),
    Before = erlang:system_info(process_count),
    _ = [begin
        Socket = http_client:connect(Server),
        ok = http_client:send(Socket, lists:nth(1 + N rem 3, [ws_client:handshake("/"), "GET / HT",
            http_client:request("POST", "/body", [{"Content-Length", "10"}], <<"a">>)])),
        %% A reset, not an end.
        N rem 2 =:= 0 andalso inet:setopts(Socket, [{linger, {true, 0}}]),
        http_client:close(Socket)
    end || N <- lists:seq(1, 1000)],
    echoes(Server),
    until(fun() -> outrider:procs(Ref, connections) =:= [] end),
    until(fun() -> erlang:system_info(process_count) =< Before end).

%% One window of 256 KiB at 64 bytes for each event and 125 for its payload, the events of one read, and what is not the
%% client's.
a_flood_waits_outside_the_mailbox(Config) ->
    #{probe := Probe} = Server = server(Config),
    Socket = ws_client:open(Server),
    ws_client:send(Socket, {text, <<"wait">>}),
    {waits, Pid} = probe:await(Probe, fun(Event) -> is_tuple(Event) andalso element(1, Event) =:= waits end),
    Flood = iolist_to_binary(lists:duplicate(1000, ws_client:bytes({ping, binary:copy(<<"x">>, 125)}))),
    inet:setopts(Socket, [{send_timeout, 1000}]),
    flood(Socket, Flood),
    {message_queue_len, Length} = process_info(Pid, message_queue_len),
    {memory, Memory} = process_info(Pid, memory),
    true = Length =< 262144 div (64 + 125) + 2,
    true = Memory < 2000000,
    echoes(Server),
    Pid ! go_on,
    %% Nothing of it was lost.
    waited = answered(Socket).

flood(Socket, Bytes) ->
    case http_client:send(Socket, Bytes) of
        ok -> flood(Socket, Bytes);
        {error, timeout} -> ok
    end.

%% Pongs of the sidecar, echoes of the handler, and between them its answer.
answered(Socket) ->
    case ws_client:recv(Socket) of
        {text, <<"waited">>} -> waited;
        {Pong, _} when Pong =:= pong; Pong =:= ping -> answered(Socket)
    end.

nothing_of_a_client_reaches_a_log(Config) ->
    Server = server(Config),
    quiet(fun() ->
        says_it_everywhere(Server),
        %% Heads, bodies and frames that are refused.
        _ = [begin
            Socket = http_client:connect(Server),
            ok = http_client:send(Socket, Bytes),
            http_client:rest(Socket)
        end || Bytes <- [
            ?SECRET "\r\n\r\n", "GET / HTTP/1.1\r\n" ?SECRET "\r\n\r\n", "GET /" ?SECRET " HTTP/9.1\r\n\r\n",
            ["GET / HTTP/1.1\r\nHost: x\r\nAuthorization: ", lists:duplicate(1000, ?SECRET), "\r\n\r\n"],
            "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" ?SECRET "\r\n"
        ]],
        _ = [begin
            Socket = ws_client:open(Server),
            ws_client:send(Socket, Frame),
            ws_client:recv_all(Socket)
        end || Frame <- [
            {text, <<255, ?SECRET>>}, {raw, ?SECRET}, {close, 1, <<?SECRET>>}, {close, 4000, <<?SECRET>>},
            {raw, ws_client:frame(0, 0, 9, <<?SECRET>>)}
        ]],
        %% The same over HTTP/2: a path and fields that are none, a body, frames out of place.
        _ = [begin
            Socket = http2_client:open(Server),
            ok = http2_client:send(Socket, Bytes),
            http2_client:response(Socket, 1)
        end || Bytes <- [
            http2_client:head(1, fin, <<"GET">>, <<"/ " ?SECRET>>),
            http2_client:head(1, fin, <<"GET">>, <<"/">>, [{<<?SECRET " x">>, <<"x">>}, {<<"x">>, <<?SECRET "\n">>}]),
            http2_client:head(1, fin, <<"GET">>, <<"/">>, [{<<":authority">>, <<?SECRET " x">>}, {<<"cookie">>, <<?SECRET>>}]),
            [http2_client:head(1, nofin, <<"POST">>, <<"/body">>), cow_http2:data(1, fin, <<?SECRET>>)],
            http2_client:frame(0, 0, 1, <<?SECRET>>), http2_client:frame(7, 0, 0, <<0:32, 1:32, ?SECRET>>)
        ]],
        %% What is logged of these comes after what was logged before.
        says_it_everywhere(Server)
    end).

nothing_of_a_client_reaches_a_log_when_processes_die(Config) ->
    #{ref := Ref, probe := Probe} = Server = server(Config),
    %% Each with whether the sidecar outlives it.
    Deaths = [
        {fun(_) -> "" = os:cmd("kill -9 " ++ integer_to_list(os_pid(Ref))) end, false},
        {fun(_) -> [Owner] = outrider:procs(Ref, acceptors), exit(Owner, kill) end, false},
        {fun(Pid) -> exit(Pid, kill) end, true},
        {fun(Pid) -> exit(Pid, some_reason) end, true}
    ],
    quiet(fun() ->
        _ = [begin
            says_it_everywhere(Server),
            Socket = ws_client:open(Server, [{"Cookie", ?SECRET}]),
            ws_client:send(Socket, {text, <<"wait">>}),
            {waits, Pid} = probe:await(Probe, fun
                ({waits, Waiting}) -> is_process_alive(Waiting);
                (_) -> false
            end),
            Monitor = monitor(process, Pid),
            ws_client:send(Socket, {text, <<?SECRET>>}),
            until(fun() -> process_info(Pid, message_queue_len) =/= {message_queue_len, 0} end),
            Before = os_pid(Ref),
            Death(Pid),
            Pid ! go_on,
            receive {'DOWN', Monitor, process, Pid, _} -> ok after ?PATIENCE_MS -> error(lives) end,
            until(fun() -> is_back(Ref, Before, Outlives) end)
        end || {Death, Outlives} <- Deaths],
        says_it_everywhere(Server)
    end).

%% The process that owns the port crashes over it. It shows neither this packet nor those behind it.
a_packet_that_does_not_decode_is_not_shown(Config) ->
    #{ref := Ref} = Server = server(Config),
    Before = os_pid(Ref),
    [Owner] = outrider:procs(Ref, acceptors),
    [Port] = [P || P <- erlang:ports(), erlang:port_info(P, connected) =:= {connected, Owner}],
    Log = quiet(fun() ->
        ok = sys:suspend(Owner),
        _ = [Owner ! {Port, {data, Packet}} || Packet <- [
            <<131, 104, 2, ?SECRET>>, term_to_binary([{1, {text, <<?SECRET>>}}]), term_to_binary(?SECRET)
        ]],
        Monitor = monitor(process, Owner),
        ok = sys:resume(Owner),
        receive {'DOWN', Monitor, process, Owner, _} -> ok after ?PATIENCE_MS -> error(lives) end,
        until(fun() -> is_back(Ref, Before, false) end)
    end),
    %% But what happened is said.
    {_, _} = binary:match(Log, <<"undecodable_packet">>),
    echoes(Server).

%% Its reason and its stacktrace are shown, as in Cowboy.
a_handler_that_crashes_does_not_show_its_mailbox(Config) ->
    #{probe := Probe} = Server = server(Config),
    Log = quiet(fun() ->
        Socket = ws_client:open(Server, [{"Cookie", ?SECRET}]),
        ws_client:send(Socket, {text, <<"wait and crash">>}),
        {waits, Pid} = probe:await(Probe, fun(Event) -> is_tuple(Event) andalso element(1, Event) =:= waits end),
        ws_client:send(Socket, {text, <<?SECRET>>}),
        until(fun() -> process_info(Pid, message_queue_len) =:= {message_queue_len, 1} end),
        Monitor = monitor(process, Pid),
        Pid ! go_on,
        receive {'DOWN', Monitor, process, Pid, _} -> ok after ?PATIENCE_MS -> error(lives) end,
        [{close, 1011, <<>>}, closed] = ws_client:recv_all(Socket),
        echoes(Server)
    end),
    {_, _} = binary:match(Log, <<"on_purpose">>).

a_response_head_that_no_packet_can_hold_ends_its_stream_alone(Config) ->
    #{ref := Ref} = Server = server(Config),
    Before = os_pid(Ref),
    Other = ws_client:open(Server),
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, http_client:request("GET", "/head")),
    closed = http_client:closed(Socket),
    echo(Other),
    Before = os_pid(Ref).

an_address_has_its_share(Config) ->
    Server = server(Config),
    One = ws_client:open(Server),
    Two = ws_client:open(Server),
    closed = http_client:closed(http_client:connect(Server)),
    echo(One),
    ws_client:send(Two, close),
    [close, closed] = ws_client:recv_all(Two),
    until(fun() ->
        Socket = http_client:connect(Server),
        _ = http_client:send(Socket, http_client:request("GET", "/nowhere")),
        is_map(http_client:response(Socket))
    end).

a_message_has_a_limit_of_fragments(Config) ->
    Server = server(Config),
    Message = fun(Fragments) ->
        Socket = ws_client:open(Server),
        Middle = [ws_client:frame(0, 0, 0, <<"x">>) || _ <- lists:seq(3, Fragments)],
        ws_client:send(Socket, {raw, [ws_client:frame(0, 0, 1, <<"x">>), Middle, ws_client:frame(1, 0, 0, <<"x">>)]}),
        ws_client:recv(Socket)
    end,
    [{text, <<"xx">>}, {text, <<"xxx">>}, {close, 1009, <<>>}] = [Message(N) || N <- [2, 3, 4]].

the_limits_are_checked(_) ->
    Start = fun(Options) -> outrider:start_clear(checked, Options#{socket_opts => [{port, 0}]}, #{}) end,
    Wrong = [{max_sockets_per_address, -1}, {max_accept_rate, 0}, {max_accept_rate, 1 bsl 32}, {max_queued, x},
        {max_fragments, 1 bsl 32}, {max_fragments, 1.0}, {max_sockets, -1}],
    Wrong = [{Key, Value} || {Key, Value} <- Wrong, Start(#{Key => Value}) =:= {error, {bad_option, Key}}],
    [begin
        {ok, _} = Start(#{Key => Value}),
        ok = outrider:stop_listener(checked)
    end || {Key, Value} <- [{max_sockets_per_address, infinity}, {max_accept_rate, 1}, {max_accept_rate, infinity},
        {max_queued, infinity}, {max_fragments, (1 bsl 32) - 1}, {max_fragments, infinity}, {max_sockets, infinity}]].

%% Helpers

os_pid(Ref) ->
    #{sidecars := [#{os_pid := OsPid}]} = outrider:info(Ref),
    OsPid.

%% Whether the listener runs with another sidecar, or the same.
is_back(Ref, Before, Same) ->
    case outrider:info(Ref) of
        #{sidecars := [#{os_pid := OsPid}]} -> (OsPid =:= Before) =:= Same;
        #{sidecars := []} -> false
    end.

echoes(Server) ->
    Socket = ws_client:open(Server),
    echo(Socket),
    http_client:close(Socket).

echo(Socket) ->
    ws_client:send(Socket, {text, <<"are you there">>}),
    {text, <<"are you there">>} = ws_client:recv(Socket).

%% The secret in all that a well-behaved client can send.
says_it_everywhere(Server) ->
    Headers = [{"Cookie", "a=" ?SECRET}, {"Authorization", "Bearer " ?SECRET}, {"X-" ?SECRET, ?SECRET}],
    Http = http_client:connect(Server),
    Length = integer_to_list(length(?SECRET)),
    ok = http_client:send(Http, http_client:request("POST", "/body?" ?SECRET, [{"Content-Length", Length} | Headers], ?SECRET)),
    #{status := 200, body := <<?SECRET>>} = http_client:response(Http),
    http_client:close(Http),
    Socket = ws_client:open(Server, Headers),
    ws_client:send(Socket, [{text, <<?SECRET>>}, {ping, <<?SECRET>>}]),
    %% The sidecar's pong, the handler's two echoes.
    true = lists:member({text, <<?SECRET>>}, ws_client:recv(Socket, 3)),
    http_client:close(Socket).

%% Runs a scene with all log levels on, and says what was logged. The secret must not be in it, in any shape.
quiet(Scene) ->
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, all),
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => all, filters => [], config => #{to => self()}}),
    try
        Scene(),
        Log = logged(<<>>),
        %% As text, or as numbers within a binary or list.
        Numbers = lists:join($,, [integer_to_list(Byte) || Byte <- ?SECRET]),
        nomatch = binary:match(Log, [<<?SECRET>>, iolist_to_binary(Numbers)]),
        Log
    after
        ok = logger:remove_handler(?MODULE),
        ok = logger:set_primary_config(level, Level)
    end.

log(Event, #{config := #{to := Pid}}) ->
    Formatted = logger_formatter:format(Event, #{single_line => true}),
    Pid ! {?MODULE, unicode:characters_to_binary([Formatted, io_lib:format("~p~n~w", [Event, Event])])},
    ok.

logged(Log) ->
    receive
        {?MODULE, Text} -> logged(<<Log/binary, Text/binary>>)
    after 0 -> Log
    end.
