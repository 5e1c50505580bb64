%% What the process of an idle stream keeps of large messages and pieces of a response: nothing, whether they came or went; and
%% what that of the sidecar keeps of requests.
-module(outrider_memory_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_message_that_came/1, a_message_that_came_while_the_handler_was_not_active/1, a_message_that_went/1]).
-export([messages_of_a_handler_that_keeps_them/1, a_piece_of_a_response/1, many_requests/1]).

-define(CLIENTS, 60).
-define(LARGE, 2000000).
%% The process of the sidecar looks for what it can give back four times as often.
-define(WATCHDOG_MS, 2000).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    Options = #{max_frame_size => 2 * ?LARGE},
    Route = fun(Path, Script) -> {Path, ws_script_h, Script#{opts => Options, silent => true}} end,
    own_case:init(Case, #{routes => [
        Route("/come", #{websocket_handle => fun(_, State) -> {[{text, <<"it came">>}], State} end}),
        Route("/wait", #{
            websocket_handle => fun
                ({text, _}, State) -> erlang:send_after(100, self(), go_on), {[{active, false}, {text, <<"waiting">>}], State};
                (_, State) -> {[{text, <<"it came">>}], State}
            end,
            websocket_info => fun(go_on, State) -> {[{active, true}], State} end
        }),
        {"/stream", http_script_h, #{silent => true, init => fun(Req0, _) ->
            Req = cowboy_req:stream_reply(200, Req0),
            ok = cowboy_req:stream_body(binary:copy(<<1>>, ?LARGE), nofin, Req),
            receive after infinity -> Req end
        end}},
        Route("/go", #{websocket_handle => fun(_, State) -> {[{binary, binary:copy(<<1>>, ?LARGE)}], State} end}),
        Route("/keep", #{websocket_handle => fun({_, Data}, State) -> {[{text, <<"it came">>}], State#{kept => Data}} end})
    ], transport => #{watchdog => ?WATCHDOG_MS}}, Config).

end_per_testcase(Case, _) ->
    own_case:stop(Case).

a_message_that_came(Config) ->
    Clients = [client("/come", fun send_large/1, Config) || _ <- lists:seq(1, ?CLIENTS)],
    ok = os_process:until(fun() -> held(Config) < ?LARGE end),
    ?CLIENTS = length(Clients).

a_message_that_came_while_the_handler_was_not_active(Config) ->
    Clients = [client("/wait", fun(Socket) ->
        ok = ws_client:send(Socket, {text, <<>>}),
        {text, <<"waiting">>} = ws_client:recv(Socket),
        send_large(Socket)
    end, Config) || _ <- lists:seq(1, 5)],
    ok = os_process:until(fun() -> held(Config) < ?LARGE end),
    5 = length(Clients).

a_message_that_went(Config) ->
    Clients = [client("/go", fun(Socket) ->
        ok = ws_client:send(Socket, {text, <<>>}),
        {binary, <<_:?LARGE/binary>>} = ws_client:recv(Socket)
    end, Config) || _ <- lists:seq(1, ?CLIENTS)],
    ok = os_process:until(fun() -> held(Config) < ?LARGE end),
    ?CLIENTS = length(Clients).

%% What the handler keeps, and no second one of it.
messages_of_a_handler_that_keeps_them(Config) ->
    Clients = [client("/keep", fun send_large/1, Config) || _ <- lists:seq(1, 5)],
    ok = os_process:until(fun() -> held(Config) < 6 * ?LARGE end),
    true = held(Config) >= 5 * ?LARGE,
    5 = length(Clients).

%% As of events: the response goes on some time later.
a_piece_of_a_response(Config) ->
    Clients = [begin
        Socket = http_client:connect(own_case:server(Config)),
        ok = http_client:send(Socket, http_client:request("GET", "/stream")),
        #{status := 200} = http_client:head(Socket),
        ok = chunks(Socket, ?LARGE),
        Socket
    end || _ <- lists:seq(1, 5)],
    ok = os_process:until(fun() -> held(Config) < ?LARGE end),
    5 = length(Clients).

%% Only those that go on: their numbers and processes.
many_requests(Config) ->
    Clients = [client("/come", fun(_) -> ok end, Config) || _ <- lists:seq(1, 5 * ?CLIENTS)],
    [Sidecar] = [Pid || Pid <- processes(), proc_lib:initial_call(Pid) =:= {outrider_sidecar, init, ['Argument__1']}],
    ok = os_process:until(fun() -> old_heap(Sidecar) =:= 0 end),
    true = length(Clients) =:= length(outrider:procs(maps:get(ref, own_case:server(Config)), connections)).

old_heap(Pid) ->
    {_, Info} = process_info(Pid, garbage_collection_info),
    proplists:get_value(old_heap_block_size, Info).

chunks(_, 0) -> ok;
chunks(Socket, Left) -> chunks(Socket, Left - byte_size(http_client:chunk(Socket))).

send_large(Socket) ->
    ok = ws_client:send(Socket, {binary, binary:copy(<<1>>, ?LARGE)}),
    {text, <<"it came">>} = ws_client:recv(Socket).

%% A client that stays, and does no more.
client(Path, Talk, Config) ->
    Socket = ws_client:open_at(own_case:server(Config), Path),
    _ = Talk(Socket),
    true = erlang:garbage_collect(),
    Socket.

%% Bytes of binaries that are referenced by the processes of the streams.
held(Config) ->
    #{ref := Ref} = own_case:server(Config),
    lists:sum([Size || Pid <- outrider:procs(Ref, connections), {binary, Binaries} <- [process_info(Pid, binary)],
        {_, Size, _} <- Binaries]).
