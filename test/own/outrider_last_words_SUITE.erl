%% What a handler has sent arrives, though a drain or a stop ends it: for as long as there is time.
-module(outrider_last_words_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([what_a_handler_has_sent_arrives_before_the_drain_ends_it/1, what_a_handler_has_sent_arrives_before_a_stop_ends_it/1]).
-export([a_close_frame_of_the_handlers_own_arrives/1, a_client_that_takes_nothing_is_waited_for_as_long_as_there_is_time/1]).

-import(drain_case, [drain/2, result/1, progress/1]).
-import(own_case, [server/1]).
-import(os_process, [until/1]).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    Transport = #{socket_opts => [{port, 0}, {sndbuf, 4096}], sidecars => 2, shutdown => shutdown(Case)},
    own_case:init(Case, #{routes => routes(), transport => Transport}, Config).

end_per_testcase(Case, _) ->
    own_case:stop(Case).

%% Long where it is not to pass, and short where it is waited for.
shutdown(a_client_that_takes_nothing_is_waited_for_as_long_as_there_is_time) -> 2000;
shutdown(_) -> 30000.

routes() ->
    [
        {"/large", ws_script_h, #{websocket_init => fun(State) -> {large() ++ [{text, <<"last">>}], State} end}},
        {"/last", ws_script_h, #{websocket_init => fun(State) -> {large() ++ [{close, 4000, <<"bye">>}], State} end}}
    ].

%% More than all buffers between a handler and a client that does not read hold.
large() ->
    [{binary, <<0:(8 * 8000000)>>}].

what_a_handler_has_sent_arrives_before_the_drain_ends_it(Config) ->
    #{ref := Ref} = Server = server(Config),
    Client = open_and_wait(Server, "/large"),
    Drain = drain(Ref, #{over => 0, timeout => 20000, code => 1012}),
    until(fun() -> maps:get(remaining, progress(Ref), 0) =:= 1 end),
    true = large() ++ [{text, <<"last">>}, {close, 1012, <<>>}, closed] =:= ws_client:recv_all(Client),
    {ok, #{closed := 1, remaining := 0}} = result(Drain).

what_a_handler_has_sent_arrives_before_a_stop_ends_it(Config) ->
    #{probe := Probe} = Server = server(Config),
    Client = open_and_wait(Server, "/large"),
    Stop = stop(Server),
    true = large() ++ [{text, <<"last">>}, {close, 1001, <<>>}, closed] =:= ws_client:recv_all(Client),
    ok = result(Stop),
    [websocket_init, {terminate, shutdown}, {exit, normal}] = probe:calls(Probe).

a_close_frame_of_the_handlers_own_arrives(Config) ->
    #{probe := Probe} = Server = server(Config),
    Client = open_and_wait(Server, "/last"),
    Stop = stop(Server),
    true = large() ++ [{close, 4000, <<"bye">>}, closed] =:= ws_client:recv_all(Client),
    ok = result(Stop),
    [websocket_init, {terminate, stop}, {exit, normal}] = probe:calls(Probe).

%% And its handler has terminate/3 in time.
a_client_that_takes_nothing_is_waited_for_as_long_as_there_is_time(Config) ->
    #{probe := Probe} = Server = server(Config),
    _ = open_and_wait(Server, "/large"),
    ok = result(stop(Server)),
    [websocket_init, {terminate, shutdown}, {exit, normal}] = probe:calls(Probe).

%%% Helpers

%% The handler waits for the client, which has a small buffer.
open_and_wait(#{ref := Ref} = Server, Path) ->
    Client = http_client:connect(Server, [{recbuf, 4096}]),
    ok = http_client:send(Client, ws_client:handshake(Path)),
    #{status := 101} = http_client:response(Client),
    [Pid] = outrider:procs(Ref, connections),
    until(fun() -> process_info(Pid, current_function) =:= {current_function, {outrider_writer, wait, 1}} end),
    Client.

%% In a process of its own, which exits with the result; the handlers have their order.
stop(#{ref := Ref, port := Port}) ->
    Stop = spawn_monitor(fun() -> exit(outrider:stop_listener(Ref)) end),
    until(fun() -> gen_tcp:connect({127, 0, 0, 1}, Port, []) =:= {error, econnrefused} end),
    Stop.
