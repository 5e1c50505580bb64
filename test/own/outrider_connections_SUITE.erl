%% What operators see of single WebSockets: outrider:connections/1, connection/1, labels. Which of them they see is in
%% outrider_connections_options_SUITE, how they end them in outrider_kick_SUITE.
-module(outrider_connections_SUITE).

-import(os_process, [something/1]).
-import(connections_case, [listen/1, listen/2, script/1, ask/2, slow_client/1, gone/1]).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([each_key_says_what_it_means/1, the_backlog_and_the_credit_of_a_slow_client/1, tls_and_compression/1]).
-export([a_round_trip_is_measured_by_pings/1, the_client_behind_a_proxy_is_meant/1, all_sidecars_are_asked/1]).
-export([a_request_is_no_connection/1, many_are_looked_at_while_others_are_served/1]).
-export([callers_that_are_too_many_are_told/1, one_by_its_process_and_by_its_id/1]).
-export([the_label_says_whose_process_it_is/1]).

%% The tunnel of TLS has a port of its own.
all() ->
    same_test:cases(?MODULE) -- same_test:not_over_tls([each_key_says_what_it_means]).

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
