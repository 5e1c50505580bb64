%% The websocket options ping_interval and pong_timeout: the sidecar asks clients whether they are still there.
%%
%% Outrider's own, so these cases have no twin on Cowboy. That clients which vanish without a word are found is held by
%% outrider_network_SUITE.
-module(outrider_keepalive_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_client_that_answers_is_kept_and_its_handler_sees_nothing/1, it_is_so_over_tls/1, no_process_of_the_vm_is_woken/1]).
-export([a_client_that_does_not_answer_ends/1, any_bytes_are_an_answer/1]).
-export([pongs_that_are_not_ours_are_the_handlers/1]).
-export([pings_can_be_switched_on_and_off/1, the_time_to_answer_can_be_changed/1]).
-export([a_client_that_is_not_read_and_has_its_pings_is_kept/1, a_client_with_a_backlog_gets_no_pings/1]).
-export([a_client_that_reads_slowly_what_stands_before_its_ping_is_kept/1]).
-export([a_client_that_does_not_read_what_stands_before_its_ping_ends/1]).
-export([no_ping_stands_within_a_frame/1, bad_values_are_refused/1]).

-define(QUICK, #{ping_interval => 100, pong_timeout => 300}).
%% No client of these takes so long.
-define(PATIENT, #{ping_interval => 100, pong_timeout => 60000}).

%% A tunnel takes what its client does not, pings too.
all() ->
    same_test:cases(?MODULE) -- same_test:not_over_tls([
        a_client_with_a_backlog_gets_no_pings, a_client_that_reads_slowly_what_stands_before_its_ping_is_kept,
        a_client_that_does_not_read_what_stands_before_its_ping_ends
    ]).

init_per_testcase(Case, Config) ->
    [{listener, Case} | Config].

end_per_testcase(Case, _) ->
    own_case:stop(Case).

a_client_that_answers_is_kept_and_its_handler_sees_nothing(Config) ->
    Server = #{probe := Probe} = listen(Config, ?QUICK),
    Socket = ws_client:open(Server),
    Payloads = [answer(Socket) || _ <- lists:seq(1, 8)],
    %% Each ping is another one.
    8 = length(lists:usort(Payloads)),
    ends_normally(Socket),
    [websocket_init, {terminate, {remote, 1000, <<>>}}, {exit, normal}] = calls_to_the_end(Probe).

it_is_so_over_tls(Config) ->
    Probe = probe:start(),
    Protocol = own_case:protocol([{"/", ws_script_h, #{opts => ?QUICK}}], Probe),
    Ref = proplists:get_value(listener, Config),
    same_test:start([outrider, ssl]),
    Chain = tls_case:chain("localhost"),
    {ok, _} = outrider:start_tls(Ref, [{port, 0} | tls_case:server(Chain)], Protocol),
    {ok, Socket} = ssl:connect("localhost", outrider:get_port(Ref), [{verify, verify_none}, {active, false}, binary]),
    ok = ssl:send(Socket, ws_client:handshake("/")),
    {ok, <<"HTTP/1.1 101", _/binary>>} = ssl:recv(Socket, 0, 10000),
    _ = [begin
        {ok, <<16#89, 8, Payload:8/binary>>} = ssl:recv(Socket, 10, 10000),
        ok = ssl:send(Socket, ws_client:bytes({pong, Payload}))
    end || _ <- lists:seq(1, 5)],
    {ok, <<16#89, 8, _:8/binary>>} = ssl:recv(Socket, 10, 10000),
    %% This one is not answered.
    {ok, <<16#88, 2, 1001:16>>} = ssl:recv(Socket, 0, 10000),
    [websocket_init, {terminate, timeout}, {exit, normal}] = calls_to_the_end(Probe).

no_process_of_the_vm_is_woken(Config) ->
    Server = #{probe := Probe} = listen(Config, ?QUICK),
    Socket = ws_client:open(Server),
    _ = answer(Socket),
    Reductions = process_info(probe:process(Probe), reductions),
    _ = [answer(Socket) || _ <- lists:seq(1, 5)],
    Reductions = process_info(probe:process(Probe), reductions).

a_client_that_does_not_answer_ends(Config) ->
    Server = #{probe := Probe} = listen(Config, ?QUICK),
    Socket = ws_client:open(Server),
    {ping, <<_:8/binary>>} = ws_client:recv(Socket),
    [{close, 1001, <<>>}, closed] = ws_client:recv_all(Socket),
    [websocket_init, {terminate, timeout}, {exit, normal}] = calls_to_the_end(Probe).

%% A pong stands behind what the client is sending.
any_bytes_are_an_answer(Config) ->
    Server = #{probe := Probe} = listen(Config, ?QUICK),
    Socket = ws_client:open(Server),
    [First | Rest] = [<<Byte>> || <<Byte>> <= iolist_to_binary(ws_client:bytes({text, <<"slowly">>}))],
    ok = http_client:send(Socket, First),
    lists:foreach(fun(Byte) ->
        {ping, _} = ws_client:recv(Socket),
        ok = http_client:send(Socket, Byte)
    end, Rest),
    {websocket_handle, {text, <<"slowly">>}} = probe:await(Probe, {websocket_handle, {text, <<"slowly">>}}),
    ends_normally(Socket).

pongs_that_are_not_ours_are_the_handlers(Config) ->
    Server = #{probe := Probe} = listen(Config, ?PATIENT),
    Socket = ws_client:open(Server),
    {ping, <<Tag:4/binary, Number:4/binary>> = Ours} = ws_client:recv(Socket),
    Others = [<<>>, <<"other">>, <<Tag/binary, Number:3/binary>>, <<Number/binary, Tag/binary>>, <<"12345678">>, <<0, Ours/binary>>],
    ok = ws_client:send(Socket, [{pong, Payload} || Payload <- [Ours | Others]] ++ [{pong, Ours}, {text, <<"end">>}]),
    {websocket_handle, {text, <<"end">>}} = probe:await(Probe, {websocket_handle, {text, <<"end">>}}),
    [websocket_init | Handled] = probe:calls(Probe),
    [pong | Expected] = [pong | [{pong, Payload} || Payload <- tl(Others)]] ++ [{text, <<"end">>}],
    [{websocket_handle, pong} | More] = Handled,
    Expected = [Frame || {websocket_handle, Frame} <- More].

pings_can_be_switched_on_and_off(Config) ->
    Server = listen(Config, #{}),
    Socket = ws_client:open(Server),
    ok = ws_client:send(Socket, {binary, term_to_binary({set_options, ?QUICK})}),
    _ = answer(Socket),
    _ = answer(Socket),
    ok = ws_client:send(Socket, {binary, term_to_binary({set_options, #{ping_interval => infinity}})}),
    ok = ws_client:send(Socket, {binary, term_to_binary({text, <<"off">>})}),
    _ = up_to(Socket, {text, <<"off">>}),
    {error, timeout} = gen_tcp:recv(Socket, 1, 500),
    ends_normally(Socket).

the_time_to_answer_can_be_changed(Config) ->
    Server = #{probe := Probe} = listen(Config, ?PATIENT),
    Socket = ws_client:open(Server),
    {ping, _} = ws_client:recv(Socket),
    {error, timeout} = gen_tcp:recv(Socket, 1, 500),
    ok = ws_client:send(Socket, {binary, term_to_binary({set_options, #{pong_timeout => 100}})}),
    {ping, _} = ws_client:recv(Socket),
    [{close, 1001, <<>>}, closed] = ws_client:recv_all(Socket),
    {terminate, timeout} = probe:await(Probe, {terminate, timeout}).

%% Its pongs are in the kernel, where nobody looks: that its system has acknowledged our pings is enough.
a_client_that_is_not_read_and_has_its_pings_is_kept(Config) ->
    Server = #{probe := Probe} = listen(Config, ?QUICK),
    Socket = ws_client:open(Server),
    ok = ws_client:send(Socket, {binary, term_to_binary({active, false})}),
    {ping, _} = ws_client:recv(Socket),
    {error, timeout} = gen_tcp:recv(Socket, 1, 1000),
    probe:process(Probe) ! {command, {active, true}},
    ok = ws_client:send(Socket, {binary, term_to_binary({text, <<"here">>})}),
    _ = up_to(Socket, {text, <<"here">>}),
    ends_normally(Socket).

a_client_with_a_backlog_gets_no_pings(Config) ->
    Server = #{probe := Probe} = listen(Config, ?QUICK),
    Socket = http_client:connect(Server, [{recbuf, 4096}]),
    #{status := 101} = ws_client:upgrade(Socket, []),
    Pid = probe:process(Probe),
    Large = binary:copy(<<"x">>, 60000),
    _ = [Pid ! {command, {binary, Large}} || _ <- lists:seq(1, 200)],
    %% It is not given up for its silence while it does not read.
    timeout = probe_is_silent(Probe, 1500),
    Frames = [Frame || Frame <- received(Socket, 200), Frame =/= {binary, Large}],
    true = length(Frames) < 5,
    _ = answer(Socket).

%% The ping waits in the server's system behind a message, for longer than the client has time to answer.
a_client_that_reads_slowly_what_stands_before_its_ping_is_kept(Config) ->
    {Socket, Probe, Size} = behind_a_message(Config),
    Began = erlang:monotonic_time(millisecond),
    ok = slowly(Socket, Size),
    true = erlang:monotonic_time(millisecond) - Began > 4000,
    _ = answer(Socket),
    ends_normally(Socket),
    [websocket_init, {websocket_handle, _}, {terminate, {remote, 1000, <<>>}}, {exit, normal}] = calls_to_the_end(Probe).

a_client_that_does_not_read_what_stands_before_its_ping_ends(Config) ->
    {_, Probe, _} = behind_a_message(Config),
    [websocket_init, {websocket_handle, _}, {terminate, timeout}, {exit, normal}] = calls_to_the_end(Probe).

no_ping_stands_within_a_frame(Config) ->
    Server = #{probe := Probe} = listen(Config, ?QUICK),
    Socket = ws_client:open(Server),
    Pid = probe:process(Probe),
    Large = rand:bytes(500000),
    Count = 100,
    _ = [Pid ! {command, {binary, Large}} || _ <- lists:seq(1, Count)],
    %% With its answers between, for the pings.
    all = messages(Socket, Large, Count).

bad_values_are_refused(Config) ->
    Values = [{ping_interval, 99}, {ping_interval, 16#100000000}, {ping_interval, never}, {pong_timeout, 0},
        {pong_timeout, infinity}, {pong_timeout, 16#100000000}],
    Case = proplists:get_value(listener, Config),
    Routes = [{["/", integer_to_list(N)], ws_script_h, #{opts => maps:from_list([Value])}}
        || {N, Value} <- lists:zip(lists:seq(1, length(Values)), Values)],
    Good = [{"/good", ws_script_h, #{opts => #{ping_interval => 100, pong_timeout => 1}}},
        {"/off", ws_script_h, #{opts => #{ping_interval => infinity, pong_timeout => 16#ffffffff}}}],
    Server = own_case:listen(Case, #{routes => Routes ++ Good}),
    _ = [begin
        Socket = http_client:connect(Server),
        ok = http_client:send(Socket, ws_client:handshake(["/", integer_to_list(N)])),
        {Name, closed} = {Name, http_client:response(Socket)}
    end || {N, Name} <- lists:zip(lists:seq(1, length(Values)), Values)],
    _ = [http_client:close(ws_client:open_at(Server, Path)) || Path <- ["/good", "/off"]],
    ok.

%%% Help.

%% The handler does what its client and the case tell it.
listen(Config, Options) ->
    Case = proplists:get_value(listener, Config),
    Script = #{
        opts => Options,
        websocket_handle => fun
            ({binary, Command}, State) -> {[binary_to_term(Command)], State};
            (_, State) -> {[], State}
        end,
        websocket_info => fun({command, Command}, State) -> {[Command], State} end
    },
    own_case:listen(Case, #{routes => [{"/", ws_script_h, Script}]}).

%% A client whose system takes a few KiB, and that is sent a message of so many bytes, and then pings.
behind_a_message(Config) ->
    Case = proplists:get_value(listener, Config),
    Large = {binary, binary:copy(<<"x">>, 300000)},
    Server = #{probe := Probe} = own_case:listen(Case, #{routes => [{"/", ws_script_h, #{websocket_handle => fun(_, State) ->
        {[Large, {set_options, #{ping_interval => 100, pong_timeout => 2000}}], State}
    end}}]}),
    Socket = http_client:connect(Server, [{recbuf, 4096}]),
    #{status := 101} = ws_client:upgrade(Socket, []),
    ok = ws_client:send(Socket, {text, <<"go">>}),
    {Socket, Probe, byte_size(iolist_to_binary(cow_ws:frame(Large, #{})))}.

slowly(_, 0) ->
    ok;
slowly(Socket, Left) ->
    {ok, Bytes} = gen_tcp:recv(Socket, min(Left, 4000), 10000),
    receive after 75 -> slowly(Socket, Left - byte_size(Bytes)) end.

%% Waits for a ping, and answers it.
answer(Socket) ->
    {ping, <<Payload:8/binary>>} = ws_client:recv(Socket),
    ok = ws_client:send(Socket, {pong, Payload}),
    Payload.

up_to(Socket, Frame) ->
    case ws_client:recv(Socket) of
        Frame -> ok;
        {ping, _} -> up_to(Socket, Frame)
    end.

%% So many messages and what stands between them.
received(_, 0) ->
    [];
received(Socket, Count) ->
    case ws_client:recv(Socket) of
        {binary, _} = Message -> [Message | received(Socket, Count - 1)];
        {ping, Payload} = Ping ->
            ok = ws_client:send(Socket, {pong, Payload}),
            [Ping | received(Socket, Count)]
    end.

messages(Socket, Payload, Count) ->
    Count = length([all || {binary, Received} <- received(Socket, Count), Received =:= Payload]),
    all.

ends_normally(Socket) ->
    ok = ws_client:send(Socket, {close, 1000, <<>>}),
    [{close, 1000, <<>>}, closed] = lists:dropwhile(fun(Frame) -> element(1, Frame) =:= ping end, ws_client:recv_all(Socket)),
    ok.

calls_to_the_end(Probe) ->
    {exit, normal} = probe:await_exit(Probe),
    probe:calls(Probe).

%% Nobody's end is noted for so long.
probe_is_silent(Probe, Ms) ->
    Self = self(),
    Waiting = spawn(fun() -> Self ! {self(), probe:await_exit(Probe)} end),
    receive {Waiting, Exit} -> Exit after Ms -> exit(Waiting, kill), timeout end.
