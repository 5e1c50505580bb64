%% Which WebSockets operators see, by the options of outrider:connections/2: their order, no more than the limit, those to which a filter
%% applies, those that have ended.
-module(outrider_connections_options_SUITE).

-import(os_process, [something/1]).
-import(connections_case, [listen/1, listen/2, ask/2, slow_client/2, closed/0, paths/2]).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([the_first_by_each_measure/1, no_more_than_the_limit/1, filters_mean_those_to_which_all_applies/1]).
-export([bad_options_are_refused/1, the_last_ones_that_ended_and_why/1, no_more_of_those_that_ended_than_256/1]).
-export([those_whose_handler_is_behind_come_first/1]).

%% The tunnel of TLS has a port of its own.
all() ->
    same_test:cases(?MODULE) -- same_test:not_over_tls([the_last_ones_that_ended_and_why]).

init_per_testcase(Case, Config) ->
    [{listener, Case} | Config].

end_per_testcase(Case, _) ->
    own_case:stop(Case).

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
