%% How operators end single WebSockets: outrider:kick/3,5.
-module(outrider_kick_SUITE).

-import(os_process, [something/1]).
-import(connections_case, [listen/1, ask/2, slow_client/1, closed/0]).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_kicked_client_gets_the_frame_and_its_handler_stops/1, a_handler_that_is_busy_keeps_no_kicked_client/1]).
-export([a_blocked_and_an_inactive_handler_notice_a_kick/1, what_waits_for_a_kicked_client_is_discarded/1]).
-export([all_that_are_meant_are_kicked_at_a_rate/1, bad_close_frames_are_refused/1]).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    [{listener, Case} | Config].

end_per_testcase(Case, _) ->
    own_case:stop(Case).

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
