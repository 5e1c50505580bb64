%% A lazy WebSocket that somebody wakes, by its id; and its topics: the websocket option subscribe. See outrider_lazy_SUITE.
-module(outrider_lazy_wake_SUITE).

-import(os_process, [until/1]).
-import(lazy_case, [listen/2, listen/3, listen/4, listen_with/2, script/1, ask/2, id/1, metrics/1]).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_message_wakes_it/1, two_who_wake_it_at_once_find_one_process/1, who_cannot_be_woken/1]).
-export([who_wakes_it_while_its_client_leaves/1, no_more_than_a_hundred_wait_to_wake/1, init_knows_its_id/1]).
-export([subscribed_from_the_start/1, a_topic_too_many_begins_it/1, frames_dropped_before_are_told_after/1]).
-export([topics_without_lazy/1, bad_values_are_refused/1, one_that_is_too_large_begins_at_once/1]).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    [{listener, Case} | Config].

end_per_testcase(Case, _) ->
    own_case:stop(Case).

a_message_wakes_it(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{}),
    Socket = ws_client:open(Server),
    Id = id(Ref),
    Reference = make_ref(),
    ok = outrider:wake(Id, {say, <<"you have mail">>, Reference}),
    {text, <<"you have mail">>} = ws_client:recv(Socket),
    %% It has begun: the same is a message.
    ok = outrider:wake(Id, {say, <<"again">>, Reference}),
    {text, <<"again">>} = ws_client:recv(Socket),
    [websocket_init, {websocket_info, {say, _, Reference}}, {websocket_info, {say, _, Reference}}] = probe:calls(Probe).

two_who_wake_it_at_once_find_one_process(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{}),
    _ = [begin
        Socket = ws_client:open(Server),
        Id = id(Ref),
        Wakers = [spawn_monitor(fun() -> ok = outrider:wake(Id, {say, <<"x">>, N}) end) || N <- lists:seq(1, 10)],
        ok = ws_client:send(Socket, {text, <<"x">>}),
        _ = [receive {'DOWN', Monitor, process, Pid, normal} -> ok end || {Pid, Monitor} <- Wakers],
        _ = [{text, <<"x">>} = ws_client:recv(Socket) || _ <- lists:seq(1, 11)],
        ok = ws_client:send(Socket, close),
        close = ws_client:recv(Socket),
        {exit, normal} = probe:await_exit(Probe),
        until(fun() -> outrider:connections(Ref) =:= [] end)
    end || _ <- lists:seq(1, 20)],
    20 = length([Call || websocket_init = Call <- probe:calls(Probe)]).

%% Whoever has always had a process gets the message; nobody else.
who_cannot_be_woken(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen_with(Config, [
        {"/eager", ws_script_h, script(#{})}, {"/lazy", ws_script_h, script(#{lazy => true})},
        {"/http", http_script_h, #{init => fun(Req, #{probe := Probe} = State) ->
            probe:note(Probe, {id, outrider:id(Req)}),
            go_on = probe:await(Probe, go_on),
            {ok, cowboy_req:reply(204, Req), State}
        end}}
    ]),
    Eager = ws_client:open_at(Server, "/eager"),
    {Sidecar, Number} = Id = id(Ref),
    ok = outrider:wake(Id, {say, <<"hello">>, 1}),
    {text, <<"hello">>} = ws_client:recv(Eager),
    ok = ws_client:send(Eager, close),
    close = ws_client:recv(Eager),
    until(fun() -> outrider:connections(Ref) =:= [] end),
    {error, not_found} = outrider:wake(Id, {say, <<"hello">>, 1}),
    Lazy = ws_client:open_at(Server, "/lazy"),
    LazyId = id(Ref),
    ok = http_client:close(Lazy),
    until(fun() -> outrider:connections(Ref) =:= [] end),
    {error, not_found} = outrider:wake(LazyId, {say, <<"hello">>, 1}),
    {error, not_found} = outrider:wake({Sidecar, Number + 100}, hello),
    {error, not_found} = outrider:wake({Sidecar, 0}, hello),
    {error, not_found} = outrider:wake({self(), self()}, hello),
    %% A request is none; it may become one.
    Request = http_client:connect(Server),
    ok = http_client:send(Request, http_client:request("GET", "/http", [], <<>>)),
    {id, RequestId} = probe:await(Probe, fun(Event) -> is_tuple(Event) andalso element(1, Event) =:= id end),
    {error, not_found} = outrider:wake(RequestId, hello),
    probe:note(Probe, go_on),
    #{status := 204} = http_client:response(Request),
    receive hello -> error(woken) after 0 -> ok end.

%% ok or not: no process is left, and each that has begun has had its end.
who_wakes_it_while_its_client_leaves(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{}),
    Results = [begin
        Socket = ws_client:open(Server),
        [Id] = [I || #{id := I, state := lazy} <- outrider:connections(Ref, #{limit => 1000})],
        _ = spawn_link(fun() -> ws_client:send(Socket, [{raw, <<>>}, close]) end),
        _ = [erlang:yield() || _ <- lists:seq(1, N rem 7)],
        Result = outrider:wake(Id, {say, <<"x">>, N}),
        until(fun() -> outrider:connections(Ref) =:= [] end),
        Result
    end || N <- lists:seq(1, 100)],
    [] = [Result || Result <- Results, Result =/= ok, Result =/= {error, not_found}],
    until(fun() -> outrider:procs(Ref, connections) =:= [] end),
    until(fun() ->
        Calls = probe:calls(Probe),
        Count = fun(Meant) -> length([C || C <- Calls, Meant(C)]) end,
        Begun = Count(fun(C) -> C =:= websocket_init end),
        Begun =:= Count(fun(C) -> is_tuple(C) andalso element(1, C) =:= terminate end) andalso
            Begun =:= Count(fun(C) -> C =:= {exit, normal} end)
    end).

%% A sidecar that stands still wakes nobody.
no_more_than_a_hundred_wait_to_wake(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{}),
    _ = ws_client:open(Server),
    Id = id(Ref),
    Self = self(),
    os_process:while_stopped(os_process:sidecar(Ref), fun() ->
        _ = [spawn_link(fun() -> Self ! {answer, outrider:wake(Id, N)} end) || N <- lists:seq(1, 101)],
        receive {answer, Answer} -> {error, busy} = Answer end
    end),
    _ = [receive {answer, ok} -> ok end || _ <- lists:seq(1, 100)],
    until(fun() -> length([N || {websocket_info, N} <- probe:calls(Probe)]) =:= 100 end).

init_knows_its_id(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{}, #{
        init => fun(Req, #{probe := Probe, opts := Opts} = State) ->
            probe:note(Probe, {id, outrider:id(Req)}),
            {cowboy_websocket, Req, State, Opts}
        end
    }),
    Socket = ws_client:open(Server),
    Id = id(Ref),
    [{id, Id}] = probe:calls(Probe),
    ok = outrider:wake(Id, {say, <<"a">>, 1}),
    {text, <<"a">>} = ws_client:recv(Socket),
    #{wire := undefined} = case lists:member(cowboy, same_test:servers()) of
        true -> cowboys_id();
        false -> #{wire => undefined}
    end.

%% The same handler on Cowboy.
cowboys_id() ->
    Probe = probe:start(),
    Ref = {?MODULE, cowboy},
    {ok, _} = same_test:start_listener(cowboy, Ref, [{port, 0}], own_case:protocol([{"/", http_script_h, #{
        init => fun(Req, State) -> {ok, cowboy_req:reply(200, #{}, term_to_binary(outrider:id(Req)), Req), State} end
    }}], Probe)),
    Socket = http_client:connect(#{name => cowboy, ref => Ref, port => ranch:get_port(Ref), probe => Probe}),
    ok = http_client:send(Socket, http_client:request("GET", "/", [], <<>>)),
    #{status := 200, body := Body} = http_client:response(Socket),
    ok = cowboy:stop_listener(Ref),
    #{wire => binary_to_term(Body)}.

subscribed_from_the_start(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{subscribe => [<<"news">>, <<"more">>]}),
    Sockets = [ws_client:open(Server) || _ <- lists:seq(1, 10)],
    until(fun() -> outrider:subscribers(Ref, <<"news">>) =:= 10 end),
    ok = outrider:publish(Ref, <<"news">>, {text, <<"a">>}),
    ok = outrider:publish(Ref, <<"more">>, {text, <<"b">>}),
    _ = [[{text, <<"a">>}, {text, <<"b">>}] = ws_client:recv(Socket, 2) || Socket <- Sockets],
    [] = probe:calls(Probe),
    [] = outrider:procs(Ref, connections),
    %% One that begins stays subscribed, and can leave.
    [Speaker | Others] = Sockets,
    ask(Speaker, <<"I">>),
    ok = outrider:publish(Ref, <<"news">>, {text, <<"c">>}),
    _ = [{text, <<"c">>} = ws_client:recv(Socket) || Socket <- Sockets],
    ok = ws_client:send(Speaker, {binary, term_to_binary([{unsubscribe, <<"news">>}, {publish, <<"news">>, {text, <<"d">>}}])}),
    _ = [{text, <<"d">>} = ws_client:recv(Socket) || Socket <- Others],
    9 = outrider:subscribers(Ref, <<"news">>),
    lists:foreach(fun http_client:close/1, Sockets),
    until(fun() -> outrider:topics(Ref) =:= [] end).

%% Its handler is told, as ever.
a_topic_too_many_begins_it(Config) ->
    Topics = [<<"1">>, <<"2">>, <<"3">>],
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{subscribe => Topics}, #{}, #{max_topics_per_client => 2}),
    Socket = ws_client:open(Server),
    _ = probe:await(Probe, {websocket_info, {outrider, {not_subscribed, <<"3">>, max_topics_per_client}}}),
    [<<"1">>, <<"2">>] = lists:sort(outrider:topics(Ref)),
    ask(Socket, <<"a">>),
    [websocket_init, {websocket_info, _}, {websocket_handle, _}] = probe:calls(Probe).

frames_dropped_before_are_told_after(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{subscribe => [<<"t">>], on_backlog => drop, max_backlog => 100000}),
    Socket = http_client:connect(Server, [{recbuf, 4096}]),
    ok = http_client:send(Socket, ws_client:handshake("/")),
    #{status := 101} = http_client:response(Socket),
    until(fun() -> outrider:subscribers(Ref, <<"t">>) =:= 1 end),
    Frame = {binary, binary:copy(<<"x">>, 60000)},
    until(fun() ->
        ok = outrider:publish(Ref, <<"t">>, Frame),
        maps:get(frames_dropped, metrics(Ref)) > 0
    end),
    #{frames_dropped := Dropped} = metrics(Ref),
    spawn_link(fun Read() -> case ws_client:recv(Socket) of closed -> ok; _ -> Read() end end),
    until(fun() -> [0] =:= [Backlog || #{backlog := Backlog} <- outrider:connections(Ref)] end),
    [] = probe:calls(Probe),
    ok = outrider:wake(id(Ref), {backlog, self()}),
    until(fun() ->
        probe:process(Probe) ! {backlog, self()},
        receive {backlog, #{dropped := N}} -> N =:= Dropped end
    end).

topics_without_lazy(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{lazy => false, subscribe => [<<"news">>]}, #{
        websocket_init => fun(State) -> {[{text, <<"hello">>}], State} end
    }),
    Socket = ws_client:open(Server),
    {text, <<"hello">>} = ws_client:recv(Socket),
    ok = outrider:publish(Ref, <<"news">>, {text, <<"a">>}),
    {text, <<"a">>} = ws_client:recv(Socket),
    [websocket_init] = probe:calls(Probe).

bad_values_are_refused(Config) ->
    #{ref := Ref} = Server = listen_with(Config, [
        {["/", integer_to_list(N)], ws_script_h, script(Options)}
     || {N, Options} <- bad_values()
    ]),
    _ = [begin
        Socket = http_client:connect(Server),
        ok = http_client:send(Socket, ws_client:handshake(["/", integer_to_list(N)])),
        {N, closed} = {N, http_client:response(Socket)}
    end || {N, _} <- bad_values()],
    [] = outrider:connections(Ref).

bad_values() ->
    lists:enumerate([
        #{lazy => yes}, #{lazy => 1}, #{subscribe => <<"news">>}, #{subscribe => [news]}, #{subscribe => [<<>>]},
        #{subscribe => [binary:copy(<<"x">>, 256)]}
    ]).

%% 64 KiB are what a sidecar keeps (outrider_lazy has the limit to the byte).
one_that_is_too_large_begins_at_once(Config) ->
    Large = binary:copy(<<"x">>, 70000),
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{subscribe => [<<"t">>]}, #{more => Large}),
    Socket = ws_client:open(Server),
    websocket_init = probe:await(Probe, websocket_init),
    [#{state := open, pid := Pid}] = outrider:connections(Ref),
    Pid = probe:process(Probe),
    ok = outrider:publish(Ref, <<"t">>, {text, <<"a">>}),
    {text, <<"a">>} = ws_client:recv(Socket).
