%% A stream's process whose request is over serves the next one of its connection, as Cowboy's connection process does, and nobody
%% else's; nothing of one request is taken for the next one's; and it does not stay for long.
-module(outrider_kept_SUITE).

-compile([export_all, nowarn_export_all]).

-define(PATIENCE_MS, 10000).

all() ->
    same_test:cases(?MODULE) -- [ask, busy, connect, kept, leaves_with_its_client, probe, ref, reply, wait].

init_per_testcase(Case, Config) ->
    own_case:init(Case, #{routes => [
        {"/", http_script_h, #{silent => true, init => fun answer/2}},
        {"/ws", ws_script_h, #{silent => true}}
    ]}, Config).

end_per_testcase(Case, _) ->
    own_case:stop(Case).

%% The pid in Req; of a POST what its body is. A PUT's handler waits before it answers, a DELETE's goes on after that, until it is told.
answer(Req = #{method := <<"POST">>}, State) ->
    {ok, Body, Req2} = cowboy_req:read_body(Req),
    {ok, cowboy_req:reply(200, #{}, Body, Req2), State};
answer(Req = #{method := <<"PUT">>}, State) ->
    ok = wait(State),
    {ok, reply(Req), State};
answer(Req = #{method := <<"DELETE">>}, State) ->
    Req2 = reply(Req),
    ok = wait(State),
    {ok, Req2, State};
answer(Req, State) ->
    {ok, reply(Req), State}.

reply(Req = #{pid := Pid}) ->
    cowboy_req:reply(200, #{}, pid_to_list(Pid), Req).

wait(#{probe := Probe}) ->
    probe:note(Probe, {busy, self()}),
    receive go -> ok end.

the_next_request_of_its_connection_finds_it(Config) ->
    Socket = connect(Config),
    Pid = ask(Socket),
    [Pid, Pid] = [ask_later(Socket, Pid) || _ <- [1, 2]].

a_stream_of_http2_finds_one_of_its_connection(Config) ->
    Socket = http2_client:open(own_case:server(Config)),
    Pid = ask_http2(Socket, 1),
    ok = kept(Pid),
    Pid = ask_http2(Socket, 3).

another_connection_has_another(Config) ->
    Pid = ask(connect(Config)),
    ok = kept(Pid),
    Other = ask(connect(Config)),
    true = Pid =/= Other.

a_request_that_comes_while_it_is_busy_has_another(Config) ->
    Socket = connect(Config),
    Pid = ask(Socket, "DELETE"),
    Handler = busy(Config),
    Other = ask(Socket),
    true = Pid =/= Other,
    Handler ! go,
    ok = kept(Pid),
    Other = ask_later(Socket, Other).

%% Whose rest comes before, with or after the answer.
the_unread_body_of_one_request_is_not_that_of_the_next(Config) ->
    Unread = binary:copy(<<"x">>, 70000),
    Head = "OPTIONS / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 70000\r\n\r\n",
    Socket = connect(Config),
    _ = [begin
        {First, Rest} = split_binary(Unread, Size),
        ok = http_client:send(Socket, [Head, First]),
        #{status := 200} = http_client:response(Socket),
        ok = http_client:send(Socket, [Rest, http_client:request("POST", "/", [{"content-length", "3"}], <<"own">>)]),
        #{status := 200, body := <<"own">>} = http_client:response(Socket)
    end || Size <- [0, 1, 65534, 65535, 65536, 69999, 70000], _ <- lists:seq(1, 5)].

it_leaves_when_no_request_comes(Config) ->
    Socket = connect(Config),
    Pid = ask(Socket),
    normal = ended(Pid, fun() -> ok end),
    Other = ask(Socket),
    true = Pid =/= Other.

%% Those that no request comes for leave together, a second or two later: the one that waits for longer shows that it is not this.
it_leaves_with_its_client(Config) ->
    leaves_with_its_client(fun() ->
        Socket = connect(Config),
        {ask(Socket), fun() -> gen_tcp:close(Socket) end}
    end).

it_leaves_with_its_client_of_http2(Config) ->
    leaves_with_its_client(fun() ->
        Socket = http2_client:open(own_case:server(Config)),
        {ask_http2(Socket, 1), fun() -> gen_tcp:close(Socket) end}
    end).

leaves_with_its_client(Connect) ->
    {Longer, _} = Connect(),
    ok = kept(Longer),
    {Pid, Close} = Connect(),
    ok = kept(Pid),
    normal = ended(Pid, Close),
    true = is_process_alive(Longer).

one_that_is_killed_while_it_waits_costs_nobody_anything(Config) ->
    Socket = connect(Config),
    Pid = ask(Socket),
    ok = kept(Pid),
    killed = ended(Pid, fun() -> exit(Pid, kill) end),
    %% The sidecar's process has heard of it, too.
    _ = outrider:info(ref(Config)),
    Other = ask(Socket),
    true = Pid =/= Other.

one_that_is_killed_at_its_second_request_closes_that_connection_alone(Config) ->
    [Socket, Unharmed] = [connect(Config), connect(Config)],
    Pid = ask(Socket),
    ok = kept(Pid),
    ok = http_client:send(Socket, http_client:request("PUT", "/")),
    _ = busy(Config),
    OfUnharmed = ask(Unharmed),
    exit(Pid, kill),
    closed = http_client:response(Socket),
    _ = ask_later(Unharmed, OfUnharmed).

it_becomes_a_websocket_and_closes_its_connection_when_it_is_killed(Config) ->
    Socket = connect(Config),
    Pid = ask(Socket),
    ok = kept(Pid),
    ok = gen_tcp:send(Socket, ws_client:handshake("/ws")),
    #{status := 101} = http_client:head(Socket),
    websocket_init = probe:await(probe(Config), websocket_init),
    {current_function, {outrider_websocket, _, _}} = process_info(Pid, current_function),
    exit(Pid, kill),
    closed = http_client:closed(Socket).

it_is_the_supervisor_of_nobody_and_answers_module_sys(Config) ->
    Pid = ask(connect(Config)),
    ok = kept(Pid),
    [] = supervisor:which_children(Pid),
    ok = sys:suspend(Pid),
    ok = sys:resume(Pid),
    ok = kept(Pid).

it_leaves_with_its_sidecar(Config) ->
    Pid = ask(connect(Config)),
    ok = kept(Pid),
    normal = ended(Pid, fun() -> os_process:signal(os_process:sidecar(ref(Config)), "KILL") end).

it_leaves_with_its_listener(Config) ->
    Pid = ask(connect(Config)),
    ok = kept(Pid),
    ok = own_case:stop(ref(Config)),
    false = is_process_alive(Pid).

busy(Config) ->
    {busy, Handler} = probe:await(probe(Config), fun(Event) -> element(1, Event) =:= busy end),
    Handler.

probe(Config) ->
    maps:get(probe, own_case:server(Config)).

ref(Config) ->
    maps:get(ref, own_case:server(Config)).

connect(Config) ->
    http_client:connect(own_case:server(Config)).

ask_later(Socket, Pid) ->
    ok = kept(Pid),
    ask(Socket).

ask(Socket) ->
    ask(Socket, "GET").

ask(Socket, Method) ->
    ok = http_client:send(Socket, http_client:request(Method, "/")),
    #{status := 200, body := Pid} = http_client:response(Socket),
    list_to_pid(binary_to_list(Pid)).

ask_http2(Socket, Stream) ->
    ok = http2_client:send(Socket, http2_client:head(Stream, fin, "GET", "/")),
    Body = lists:last(http2_client:until(Socket, fun(Event) -> element(1, Event) =:= data end)),
    {data, Stream, _, Pid} = Body,
    list_to_pid(binary_to_list(Pid)).

%% Waits until it waits.
kept(Pid) ->
    case process_info(Pid, current_function) of
        {current_function, {outrider_kept, wait, 1}} -> ok;
        {current_function, _} -> erlang:yield(), kept(Pid)
    end.

%% How it ends, when this is done.
ended(Pid, End) ->
    Monitor = monitor(process, Pid),
    _ = End(),
    receive
        {'DOWN', Monitor, process, Pid, Reason} -> Reason
    after ?PATIENCE_MS -> still_there
    end.
