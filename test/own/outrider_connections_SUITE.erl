%% What operators ask and order about single WebSockets: outrider:connections/1,2, connection/1, kick/3,5.
-module(outrider_connections_SUITE).

-import(os_process, [something/1]).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([each_key_says_what_it_means/1, the_backlog_and_the_credit_of_a_slow_client/1, tls_and_compression/1]).
-export([a_round_trip_is_measured_by_pings/1, the_client_behind_a_proxy_is_meant/1]).
-export([the_first_by_each_measure/1, no_more_than_the_limit/1, filters_mean_those_to_which_all_applies/1]).
-export([all_sidecars_are_asked/1, a_request_is_no_connection/1, bad_options_are_refused/1]).
-export([the_last_ones_that_ended_and_why/1, no_more_of_those_that_ended_than_256/1]).
-export([many_are_looked_at_while_others_are_served/1, callers_that_are_too_many_are_told/1]).
-export([one_by_its_process_and_by_its_id/1]).
-export([a_kicked_client_gets_the_frame_and_its_handler_stops/1, a_handler_that_is_busy_keeps_no_kicked_client/1]).
-export([a_blocked_and_an_inactive_handler_notice_a_kick/1, what_waits_for_a_kicked_client_is_discarded/1]).
-export([all_that_are_meant_are_kicked_at_a_rate/1, bad_close_frames_are_refused/1]).
-export([the_label_says_whose_process_it_is/1, those_whose_handler_is_behind_come_first/1]).

%% The tunnel of TLS has a port of its own.
all() ->
    same_test:cases(?MODULE) -- same_test:not_over_tls([each_key_says_what_it_means, the_last_ones_that_ended_and_why]).

init_per_testcase(Case, Config) ->
    [{listener, Case} | Config].

end_per_testcase(Case, _) ->
    own_case:stop(Case).

each_key_says_what_it_means(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config),
    Before = erlang:monotonic_time(millisecond),
    Socket = ws_client:open_at(Server, "/path?secret=1"),
    {ok, Peer} = inet:sockname(Socket),
    Pid = probe:process(Probe),
    [#{age := Age, idle := Idle} = New] = outrider:connections(Ref),
    true = Age >= 0 andalso Age =< erlang:monotonic_time(millisecond) - Before,
    true = Idle =< Age + 1,
    #{
        pid := Pid, peer := Peer, path := <<"/path">>, sidecar := 1, state := open, messages_in := 0, bytes_in := 0,
        messages_out := 0, bytes_out := 0, backlog := 0, blocked := 0, credit_in := 0, credit_out := 0, compress := false,
        round_trip := undefined, tls := undefined, id := {Sidecar, _}
    } = New,
    [Sidecar] = outrider:procs(Ref, acceptors),
    ok = ws_client:send(Socket, [{text, <<"12345">>}, {binary, <<"123">>}, {ping, <<"1">>}]),
    _ = [ws_client:recv(Socket) || _ <- [pong, echo, echo]],
    [#{messages_in := 3, bytes_in := 9, messages_out := 3, bytes_out := 9, credit_in := CreditIn, credit_out := CreditOut}] =
        outrider:connections(Ref),
    true = lists:member(CreditIn, [0, 9 + 3 * 64]) andalso lists:member(CreditOut, [0, 8 + 2 * 64]).

%% One whose handler does not take what its client has sent, behind others that say more.
those_whose_handler_is_behind_come_first(Config) ->
    Server = #{ref := Ref} = listen(Config),
    [Slow, Other] = [ws_client:open_at(Server, Path) || Path <- ["/slow", "/other"]],
    [Pid] = [P || #{pid := P, path := <<"/slow">>} <- outrider:connections(Ref)],
    Pid ! {wait, self()},
    receive {waiting, Pid} -> ok end,
    ok = ws_client:send(Slow, [{binary, <<0:80000>>} || _ <- lists:seq(1, 10)]),
    _ = [ask(Other, binary:copy(<<"x">>, 50000)) || _ <- lists:seq(1, 10)],
    [#{path := <<"/slow">>, credit_in := 100640}] = something(fun() ->
        [C || #{credit_in := N} = C <- outrider:connections(Ref, #{sort => credit_in, limit => 1}), N >= 10 * (10000 + 64)]
    end),
    Pid ! go_on.

the_backlog_and_the_credit_of_a_slow_client(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config),
    Socket = slow_client(Server),
    _ = [probe:process(Probe) ! {command, {binary, binary:copy(<<"x">>, 60000)}} || _ <- lists:seq(1, 200)],
    [#{state := blocked, backlog := Backlog, blocked := Blocked, credit_out := Credit}] =
        something(fun() -> outrider:connections(Ref, #{filter => #{min_backlog => 100000, state => blocked}}) end),
    true = Backlog >= 100000 andalso Backlog =< 400000,
    true = Credit >= 100000,
    [#{blocked := Later}] = something(fun() -> [C || #{blocked := B} = C <- outrider:connections(Ref), B > Blocked + 10] end),
    true = Later < 60000,
    http_client:close(Socket).

tls_and_compression(Config) ->
    Ref = proplists:get_value(listener, Config),
    same_test:start([outrider, ssl]),
    Probe = probe:start(),
    Protocol = own_case:protocol([{"/", ws_script_h, script(#{compress => true})}], Probe),
    {ok, _} = outrider:start_tls(Ref, [{port, 0} | tls_tunnel:certificate()], Protocol),
    Shown = [begin
        {ok, Socket} = ssl:connect("localhost", outrider:get_port(Ref),
            [{verify, verify_none}, {active, false}, binary, {versions, [Version]}, {ciphers, ssl:cipher_suites(default, Version)}]),
        ok = ssl:send(Socket, ws_client:handshake("/", [{"Sec-WebSocket-Extensions", Extension}])),
        {ok, <<"HTTP/1.1 101", _/binary>>} = ssl:recv(Socket, 0, 10000),
        [#{tls := {Said, Suite}, compress := Compress, pid := Pid}] = outrider:connections(Ref),
        {ok, [{selected_cipher_suite, Selected}]} = ssl:connection_information(Socket, [selected_cipher_suite]),
        Name = list_to_binary(ssl:suite_to_str(Selected)),
        {Suite, Suite} = {Suite, Name},
        ok = ssl:close(Socket),
        gone(Pid),
        {Said, Compress}
    end || {Version, Extension} <- [{'tlsv1.3', "permessage-deflate"}, {'tlsv1.2', "none"}]],
    [{'tlsv1.3', true}, {'tlsv1.2', false}] = Shown.

a_round_trip_is_measured_by_pings(Config) ->
    Server = #{ref := Ref} = listen(Config, #{ping_interval => 100}),
    Socket = ws_client:open(Server),
    {ping, Payload} = ws_client:recv(Socket),
    timer:sleep(50),
    ok = ws_client:send(Socket, {pong, Payload}),
    [#{round_trip := Us}] = something(fun() -> [C || #{round_trip := T} = C <- outrider:connections(Ref), T =/= undefined] end),
    true = Us >= 50000,
    [#{round_trip := _}] = outrider:connections(Ref, #{sort => round_trip}).

the_client_behind_a_proxy_is_meant(Config) ->
    Ref = proplists:get_value(listener, Config),
    Server = own_case:listen(Ref, #{routes => [{"/", ws_script_h, script(#{})}], protocol => #{proxy_header => true}}),
    Socket = http_client:connect_behind(Server, "PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r\n"),
    #{status := 101} = ws_client:upgrade(Socket, []),
    [#{peer := {{192, 0, 2, 7}, 4711}}] = outrider:connections(Ref).

the_first_by_each_measure(Config) ->
    Server = #{ref := Ref} = listen(Config),
    [First, Second, Third] = [begin
        Socket = ws_client:open_at(Server, ["/", integer_to_list(N)]),
        timer:sleep(20),
        Socket
    end || N <- [1, 2, 3]],
    ask(Second, binary:copy(<<"x">>, 1000)),
    _ = [ask(Third, <<"1">>) || _ <- lists:seq(1, 5)],
    timer:sleep(20),
    ask(First, <<"1">>),
    Slow = slow_client(Server, "/4"),
    [#{pid := Pid}] = [C || #{path := <<"/4">>} = C <- outrider:connections(Ref)],
    _ = [Pid ! {command, {binary, binary:copy(<<"x">>, 60000)}} || _ <- lists:seq(1, 200)],
    _ = something(fun() -> outrider:connections(Ref, #{filter => #{state => blocked}}) end),
    [<<"/4">> | _] = paths(Ref, #{}),
    [<<"/4">> | _] = paths(Ref, #{sort => backlog}),
    [<<"/2">>, <<"/3">>, <<"/1">>, <<"/4">>] = paths(Ref, #{sort => bytes_in}),
    [<<"/4">>, <<"/2">>, <<"/3">>, <<"/1">>] = paths(Ref, #{sort => bytes_out}),
    [<<"/4">>, <<"/3">> | _] = paths(Ref, #{sort => messages}),
    [<<"/1">>, <<"/2">>, <<"/3">>, <<"/4">>] = paths(Ref, #{sort => age}),
    [<<"/2">>, <<"/3">> | _] = paths(Ref, #{sort => idle}),
    http_client:close(Slow).

no_more_than_the_limit(Config) ->
    Server = #{ref := Ref} = listen(Config),
    Sockets = [ws_client:open(Server) || _ <- lists:seq(1, 25)],
    ask(lists:nth(7, Sockets), binary:copy(<<"x">>, 10)),
    20 = length(outrider:connections(Ref)),
    25 = length(outrider:connections(Ref, #{limit => 1000})),
    [#{bytes_in := 10}] = outrider:connections(Ref, #{limit => 1, sort => bytes_in}),
    [Second, Third] = tl(outrider:connections(Ref, #{limit => 3, sort => bytes_in})),
    %% The same answer to the same question.
    [_, #{id := SecondId}, #{id := ThirdId}] = outrider:connections(Ref, #{limit => 3, sort => bytes_in}),
    {SecondId, ThirdId} = {maps:get(id, Second), maps:get(id, Third)}.

filters_mean_those_to_which_all_applies(Config) ->
    Server = #{ref := Ref} = listen(Config),
    _ = [ws_client:open_at(Server, Path) || Path <- ["/room/1", "/room/2", "/other"]],
    _ = something(fun() -> [C || [_, _, _] = C <- [paths(Ref, #{filter => #{min_idle => 1000}})]] end),
    _ = ws_client:open_at(Server, "/room/late"),
    Paths = fun(Filter) -> lists:sort(paths(Ref, #{filter => Filter})) end,
    [<<"/room/1">>, <<"/room/2">>, <<"/room/late">>] = Paths(#{path => "/room/"}),
    [<<"/room/1">>, <<"/room/2">>] = Paths(#{path => [<<"/room">>, "/"], min_age => 1000}),
    [<<"/other">>, <<"/room/1">>, <<"/room/2">>] = Paths(#{min_idle => 1000}),
    [_, _, _, _] = Paths(#{peer => "127.0.0.0/8"}),
    [_, _, _, _] = Paths(#{peer => {127, 0, 0, 1}}),
    [_, _, _, _] = Paths(#{peer => {{126, 0, 0, 0}, 7}, state => open}),
    [] = Paths(#{peer => <<"127.0.0.2">>}),
    [] = Paths(#{peer => "::1"}),
    [] = Paths(#{peer => {{0, 0, 0, 0, 0, 0, 0, 0}, 0}}),
    [] = Paths(#{state => blocked}),
    [] = Paths(#{state => closing}),
    [] = Paths(#{min_backlog => 1}).

all_sidecars_are_asked(Config) ->
    Ref = proplists:get_value(listener, Config),
    Server = own_case:listen(Ref, #{routes => [{"/", ws_script_h, script(#{})}], transport => #{sidecars => 3}}),
    Sockets = [ws_client:open(Server) || _ <- lists:seq(1, 60)],
    _ = [ask(Socket, binary:copy(<<"x">>, N)) || {N, Socket} <- lists:zip(lists:seq(1, 60), Sockets)],
    Most = outrider:connections(Ref, #{sort => bytes_in, limit => 30}),
    true = lists:seq(60, 31, -1) =:= [N || #{bytes_in := N} <- Most],
    [1, 2, 3] = lists:usort([N || #{sidecar := N} <- outrider:connections(Ref, #{limit => 60})]),
    60 = length(lists:usort([Id || #{id := Id} <- outrider:connections(Ref, #{limit => 1000})])),
    %% One that stands still is left out, after its time.
    #{sidecars := [#{number := Number, os_pid := OsPid} | _]} = outrider:info(Ref),
    Others = os_process:while_stopped(OsPid, fun() -> outrider:connections(Ref, #{limit => 1000}) end),
    [_, _] = lists:usort([N || #{sidecar := N} <- Others]) -- [Number],
    true = length(Others) =:= 60 - length([N || #{sidecar := N} <- outrider:connections(Ref, #{limit => 1000}), N =:= Number]),
    {ok, 60} = outrider:kick(Ref, #{}, 4000, <<"all">>, #{rate => infinity}),
    _ = [{close, 4000, <<"all">>} = ws_client:recv(Socket) || Socket <- Sockets].

a_request_is_no_connection(Config) ->
    Ref = proplists:get_value(listener, Config),
    Server = own_case:listen(Ref, #{routes => [{"/", http_script_h, #{init => fun(Req, State) ->
        receive after infinity -> {ok, Req, State} end
    end}}]}),
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, http_client:request("GET", "/")),
    [Pid] = something(fun() -> outrider:procs(Ref, connections) end),
    [] = outrider:connections(Ref),
    undefined = outrider:connection(Pid),
    {error, not_found} = outrider:kick(Pid, 1000, <<>>),
    http_client:close(Socket).

bad_options_are_refused(Config) ->
    #{ref := Ref} = listen(Config),
    _ = [{Options, {error, {bad_option, Key}}} = {Options, outrider:connections(Ref, Options)} || {Key, Options} <- [
        {sort, #{sort => path}}, {limit, #{limit => 0}}, {limit, #{limit => 1001}}, {limit, #{limit => all}}, {other, #{other => 1}},
        {filter, #{filter => []}}, {state, #{filter => #{state => idle}}}, {peer, #{filter => #{peer => "10.0.0.0/33"}}},
        {peer, #{filter => #{peer => "10.0.0"}}}, {peer, #{filter => #{peer => {{1, 2, 3, 4}, -1}}}}, {peer, #{filter => #{peer => localhost}}},
        {peer, #{filter => #{peer => "1.2.3.4/"}}}, {path, #{filter => #{path => 1}}}, {min_idle, #{filter => #{min_idle => -1}}},
        {stream, #{filter => #{stream => 1}}}, {colour, #{filter => #{colour => red}}}
    ]],
    {error, {bad_option, state}} = outrider:kick(Ref, #{state => closed}, 1000, <<>>, #{}),
    {error, {bad_option, rate}} = outrider:kick(Ref, #{}, 1000, <<>>, #{rate => 0}),
    {error, {bad_option, speed}} = outrider:kick(Ref, #{}, 1000, <<>>, #{speed => 1}),
    badarg = try outrider:connections(nobody) catch error:Reason -> Reason end,
    ok.

the_last_ones_that_ended_and_why(Config) ->
    Server = #{ref := Ref} = listen(Config, #{idle_timeout => 300}),
    Closed = fun(Number) -> something(fun() -> [C || length(outrider:connections(Ref, closed())) =:= Number, C <- [ok]] end) end,
    Ends = [
        {{remote, 4321}, fun(Socket) -> ws_client:send(Socket, {close, 4321, <<"secret">>}) end},
        {remote, fun(Socket) -> ws_client:send(Socket, close) end},
        {{error, closed}, fun http_client:close/1},
        {{error, badframe}, fun(Socket) -> ws_client:send(Socket, {raw, <<16#ff, 0>>}) end},
        {{stop, 4002}, fun(Socket) -> ws_client:send(Socket, {binary, term_to_binary({close, 4002, <<>>})}) end},
        {{stop, 4003}, fun(_) -> [#{id := Id}] = outrider:connections(Ref), ok = outrider:kick(Id, 4003, <<>>) end},
        {{stop, 1011}, fun(Socket) -> ws_client:send(Socket, {binary, term_to_binary(crash)}) end},
        {timeout, fun(_) -> ok end}
    ],
    _ = [begin
        Socket = ws_client:open_at(Server, ["/", integer_to_list(N)]),
        {ok, Peer} = inet:sockname(Socket),
        _ = End(Socket),
        _ = Closed(N),
        [#{reason := Reason, path := Path, state := closed, closed := Ago, peer := Peer} | _] =
            outrider:connections(Ref, closed()),
        {Reason, <<"/", _/binary>>} = {Expected, Path},
        true = Ago < 10000
    end || {N, {Expected, End}} <- lists:zip(lists:seq(1, length(Ends)), Ends)],
    %% The last first; other orders and filters apply to them as well.
    [<<"/", (integer_to_binary(N))/binary>> || N <- lists:seq(length(Ends), 1, -1)] =:= paths(Ref, closed()) orelse error(order),
    [<<"/3">>] = paths(Ref, #{filter => #{state => closed, path => "/3"}}),
    [#{bytes_in := Most}, #{bytes_in := Less} | _] = outrider:connections(Ref, (closed())#{sort => bytes_in}),
    true = Most >= Less,
    [] = outrider:connections(Ref).

no_more_of_those_that_ended_than_256(Config) ->
    Server = #{ref := Ref} = listen(Config),
    _ = [begin
        Socket = ws_client:open_at(Server, ["/", integer_to_list(N)]),
        ok = ws_client:send(Socket, close),
        close = ws_client:recv(Socket)
    end || N <- lists:seq(1, 260)],
    Paths = paths(Ref, (closed())#{limit => 1000}),
    256 = length(Paths),
    <<"/260">> = hd(Paths),
    <<"/5">> = lists:last(Paths).

%% The sidecar goes on between two looks, so nobody waits for all of them; and each is there once.
many_are_looked_at_while_others_are_served(Config) ->
    Server = #{ref := Ref} = listen(Config),
    Sockets = [ws_client:open(Server) || _ <- lists:seq(1, 2000)],
    Asking = spawn_link(fun Ask() ->
        1000 = length(lists:usort([Id || #{id := Id} <- outrider:connections(Ref, #{limit => 1000})])),
        Ask()
    end),
    _ = [ask(Socket, <<"x">>) || Socket <- Sockets],
    unlink(Asking),
    exit(Asking, kill),
    2000 = lists:sum([N || #{messages_in := N} <- outrider:connections(Ref, #{limit => 1000, sort => messages})]) * 2,
    lists:foreach(fun http_client:close/1, Sockets).

%% A sidecar that stands still answers nobody.
callers_that_are_too_many_are_told(Config) ->
    #{ref := Ref} = listen(Config),
    OsPid = os_process:sidecar(Ref),
    os_process:while_stopped(OsPid, fun() ->
        Self = self(),
        _ = [spawn_link(fun() -> Self ! {answer, outrider:connections(Ref)} end) || _ <- lists:seq(1, 9)],
        receive {answer, Answer} -> {error, busy} = Answer end
    end),
    %% Those who have asked before have their answer now.
    _ = [receive {answer, []} -> ok end || _ <- lists:seq(1, 8)],
    [] = outrider:connections(Ref).

one_by_its_process_and_by_its_id(Config) ->
    Server = #{ref := Ref} = listen(Config),
    Socket = ws_client:open_at(Server, "/one"),
    Other = ws_client:open_at(Server, "/other"),
    [#{pid := Pid, id := Id}] = outrider:connections(Ref, #{filter => #{path => "/one"}}),
    #{path := <<"/one">>, pid := Pid, id := Id} = outrider:connection(Pid),
    #{path := <<"/one">>, pid := Pid, id := Id} = outrider:connection(Id),
    undefined = outrider:connection(self()),
    http_client:close(Socket),
    gone(Pid),
    undefined = outrider:connection(Pid),
    undefined = outrider:connection(Id),
    {error, not_found} = outrider:kick(Pid, 1000, <<>>),
    {error, not_found} = outrider:kick(Id, 1000, <<>>),
    http_client:close(Other).

a_kicked_client_gets_the_frame_and_its_handler_stops(Config) ->
    Server = #{probe := Probe} = listen(Config),
    Socket = ws_client:open(Server),
    ok = outrider:kick(probe:process(Probe), 4001, [<<"you ">>, "know"]),
    [{close, 4001, <<"you know">>}, closed] = ws_client:recv_all(Socket),
    {exit, normal} = probe:await_exit(Probe),
    [websocket_init, {terminate, stop}, {exit, normal}] = probe:calls(Probe).

%% The client is closed at once; the handler hears of it after its callback.
a_handler_that_is_busy_keeps_no_kicked_client(Config) ->
    Server = #{probe := Probe} = listen(Config),
    Socket = ws_client:open(Server),
    Pid = probe:process(Probe),
    Pid ! {wait, self()},
    receive {waiting, Pid} -> ok end,
    ok = ws_client:send(Socket, {text, <<"before">>}),
    _ = something(fun() -> [waits || process_info(Pid, message_queue_len) =:= {message_queue_len, 1}] end),
    ok = outrider:kick(Pid, 1008, <<>>),
    {error, not_found} = outrider:kick(Pid, 1008, <<>>),
    [{close, 1008, <<>>}, closed] = ws_client:recv_all(Socket),
    Pid ! go_on,
    {exit, normal} = probe:await_exit(Probe),
    [websocket_init, {websocket_info, {wait, _}}, {websocket_handle, {text, <<"before">>}}, {terminate, stop}, {exit, normal}] =
        probe:calls(Probe).

a_blocked_and_an_inactive_handler_notice_a_kick(Config) ->
    Server = #{probe := Probe} = listen(Config),
    Socket = slow_client(Server),
    Pid = probe:process(Probe),
    _ = [Pid ! {command, {binary, binary:copy(<<"x">>, 60000)}} || _ <- lists:seq(1, 200)],
    [_] = something(fun() -> outrider:connections(maps:get(ref, Server), #{filter => #{state => blocked}}) end),
    ok = outrider:kick(Pid, 1008, <<>>),
    {exit, normal} = probe:await_exit(Probe),
    {terminate, stop} = probe:await(Probe, {terminate, stop}),
    http_client:close(Socket),
    Other = ws_client:open(Server),
    ok = ws_client:send(Other, {binary, term_to_binary({active, false})}),
    [Inactive] = something(fun() -> [P || P <- outrider:procs(maps:get(ref, Server), connections), P =/= Pid] end),
    _ = sys:get_state(Inactive),
    ok = outrider:kick(Inactive, 1008, <<>>),
    ok = probe:await_exits(Probe, 2).

what_waits_for_a_kicked_client_is_discarded(Config) ->
    Server = #{probe := Probe, ref := Ref} = listen(Config),
    Socket = slow_client(Server),
    Pid = probe:process(Probe),
    _ = [Pid ! {command, {binary, <<N:32, 0:480000>>}} || N <- lists:seq(1, 200)],
    [_] = something(fun() -> outrider:connections(Ref, #{filter => #{state => blocked, min_backlog => 100000}}) end),
    ok = outrider:kick(Pid, 1008, <<"slow">>),
    [#{reason := {stop, 1008}, backlog := Backlog}] = outrider:connections(Ref, closed()),
    true = Backlog >= 100000,
    Frames = ws_client:recv_all(Socket),
    {Messages, [{close, 1008, <<"slow">>}, closed]} = lists:split(length(Frames) - 2, Frames),
    Numbers = [N || {binary, <<N:32, 0:480000>>} <- Messages],
    Numbers = lists:seq(1, length(Messages)),
    true = length(Numbers) < 200.

all_that_are_meant_are_kicked_at_a_rate(Config) ->
    Server = #{ref := Ref} = listen(Config),
    Meant = [ws_client:open_at(Server, ["/room/", integer_to_list(N)]) || N <- lists:seq(1, 50)],
    Other = ws_client:open_at(Server, "/other"),
    Before = erlang:monotonic_time(millisecond),
    {ok, 50} = outrider:kick(Ref, #{path => <<"/room/">>}, 4010, <<"moved">>, #{rate => 100}),
    %% The last begins when the 45 before it have had their time.
    true = erlang:monotonic_time(millisecond) - Before >= 400,
    _ = [[{close, 4010, <<"moved">>}, closed] = ws_client:recv_all(Socket) || Socket <- Meant],
    ask(Other, <<"still here">>),
    {ok, 0} = outrider:kick(Ref, #{path => "/room/"}, 4010, <<>>, #{}).

bad_close_frames_are_refused(Config) ->
    Server = #{probe := Probe} = listen(Config),
    Socket = ws_client:open(Server),
    Pid = probe:process(Probe),
    Kick = fun(Code, Text) -> try outrider:kick(Pid, Code, Text) catch error:Reason -> Reason end end,
    _ = [{Code, Text, badarg} = {Code, Text, Kick(Code, Text)} || {Code, Text} <- [
        {999, <<>>}, {1004, <<>>}, {1005, <<>>}, {1006, <<>>}, {1010, <<>>}, {1015, <<>>}, {2999, <<>>}, {5000, <<>>}, {normal, <<>>},
        {1000, binary:copy(<<"x">>, 124)}, {1000, <<255>>}, {1000, hello}
    ]],
    ask(Socket, <<"here">>),
    Longest = binary:copy(<<"x">>, 123),
    ok = outrider:kick(Pid, 4999, Longest),
    {close, 4999, Longest} = ws_client:recv(Socket).

%% OTP has labels since 27.
the_label_says_whose_process_it_is(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config),
    Socket = ws_client:open_at(Server, "/room"),
    {ok, Peer} = inet:sockname(Socket),
    {dictionary, Dictionary} = process_info(probe:process(Probe), dictionary),
    Label = proplists:get_value('$process_label', Dictionary),
    case list_to_integer(erlang:system_info(otp_release)) of
        Release when Release >= 27 -> {cowboy_websocket, Ref, Peer, <<"/room">>} = Label;
        _ -> undefined = Label
    end.

%%% Help.

listen(Config) ->
    listen(Config, #{}).

listen(Config, Options) ->
    own_case:listen(proplists:get_value(listener, Config), #{routes => [{"/[...]", ws_script_h, script(Options)}]}).

%% The handler does what it is told in Erlang's terms, and echoes everything else.
script(Options) ->
    #{
        opts => Options,
        websocket_handle => fun
            ({text, <<131, _/binary>> = Command}, State) -> told(binary_to_term(Command), State);
            ({binary, <<131, _/binary>> = Command}, State) -> told(binary_to_term(Command), State);
            ({Type, _} = Frame, State) when Type =:= text; Type =:= binary -> {[Frame], State};
            (_, State) -> {[], State}
        end,
        websocket_info => fun
            ({command, Command}, State) -> {[Command], State};
            ({wait, From}, State) ->
                From ! {waiting, self()},
                receive go_on -> {[], State} end
        end
    }.

told(crash, _) -> error(crash);
told(Command, State) -> {[Command], State}.

ask(Socket, Text) ->
    ok = ws_client:send(Socket, {text, Text}),
    {text, Text} = ws_client:recv(Socket),
    ok.

slow_client(Server) ->
    slow_client(Server, "/").

slow_client(Server, Path) ->
    Socket = http_client:connect(Server, [{recbuf, 4096}]),
    ok = http_client:send(Socket, ws_client:handshake(Path)),
    #{status := 101} = http_client:response(Socket),
    Socket.

closed() ->
    #{filter => #{state => closed}, limit => 1000}.

paths(Ref, Options) ->
    [Path || #{path := Path} <- outrider:connections(Ref, Options)].

gone(Pid) ->
    Monitor = monitor(process, Pid),
    receive {'DOWN', Monitor, process, _, _} -> ok end.
