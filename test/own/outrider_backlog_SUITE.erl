%% The websocket options max_backlog and on_backlog: what a handler can do about a client that does not take what it is sent.
%%
%% Outrider's own, so these cases have no twin on Cowboy. Where the account must not move, the sidecar is stopped (SIGSTOP).
-module(outrider_backlog_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([dropped_messages_are_whole_and_counted/1, other_commands_are_carried_out_while_messages_are_dropped/1]).
-export([a_message_is_admitted_below_max_backlog/1, pings_and_pongs_are_dropped_and_close_frames_are_not/1]).
-export([close_ends_the_client_with_1013/1, a_close_frame_of_the_handlers_own_is_no_backlog/1]).
-export([block_stops_the_handler_at_max_backlog/1, a_backlog_above_the_window_is_filled/1]).
-export([max_backlog_is_the_window_by_default/1, a_backlog_far_below_the_window_drains/1]).
-export([a_handler_is_told_once_that_it_has_drained/1, credit_behind_other_messages_is_found_before_one_is_dropped/1]).
-export([a_handler_without_the_options_has_no_backlog/1, bad_values_are_refused/1]).
-export([the_sidecar_keeps_no_more_than_the_backlog_and_a_message/1, a_compressed_large_message_is_dropped_whole/1]).

-define(COST, 64).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    [{listener, Case} | Config].

end_per_testcase(Case, _) ->
    own_case:stop(Case).

%%% drop

dropped_messages_are_whole_and_counted(Config) ->
    Server = #{probe := Probe} = listen(Config, #{max_backlog => 1000000, on_backlog => drop}),
    Socket = slow_client(Server),
    Sent = 2000,
    run(Server, fun(State) ->
        {[{binary, <<N:32, 0:80000>>} || N <- lists:seq(1, Sent)] ++ [{text, <<"dropped, too">>}], State}
    end),
    #{dropped := Dropped} = backlog(Server),
    {websocket_info, {outrider, drained, #{bytes := Bytes, dropped := Dropped}}} = drained(Server, Socket, fun(Frames) ->
        Numbers = [N || {binary, <<N:32, 0:80000>>} <- Frames],
        Numbers = lists:usort(Numbers),
        true = length(Numbers) + Dropped =:= Sent + 1
    end),
    true = Bytes < 500000,
    run(Server, fun(State) -> {[{text, <<"again">>}], State} end),
    {text, <<"again">>} = ws_client:recv(Socket),
    Dropped = maps:get(dropped, backlog(Server)),
    [] = [Reason || {terminate, Reason} <- probe:calls(Probe)].

other_commands_are_carried_out_while_messages_are_dropped(Config) ->
    Server = #{probe := Probe} = listen(Config, #{max_backlog => 100, on_backlog => drop}),
    Socket = ws_client:open(Server),
    stopped(Server, fun() ->
        run(Server, fun(State) ->
            {[{text, <<0:800>>}, {text, <<"dropped">>}, {shutdown_reason, why}, {set_options, #{idle_timeout => 1}}], State}
        end)
    end),
    [{text, <<0:800>>}, {close, 1000, <<>>}, closed] = ws_client:recv_all(Socket),
    {exit, {shutdown, why}} = probe:await_exit(Probe).

a_message_is_admitted_below_max_backlog(Config) ->
    Server = listen(Config, #{max_backlog => 1000, on_backlog => drop}),
    Counts = [
        begin
            Socket = ws_client:open(Server),
            Payload = binary:copy(<<"x">>, Cost - ?COST),
            Counted = stopped(Server, fun() ->
                run(Server, fun(State) -> {[{text, Payload}, {text, <<"next">>}], State} end),
                backlog(Server)
            end),
            {text, Payload} = ws_client:recv(Socket),
            close(Server, Socket),
            Counted
        end
     || Cost <- [999, 1000, 1001]
    ],
    Next = 999 + ?COST + 4,
    [#{bytes := Next, dropped := 0}, #{bytes := 1000, dropped := 1}, #{bytes := 1001, dropped := 1}] = Counts.

pings_and_pongs_are_dropped_and_close_frames_are_not(Config) ->
    Server = #{probe := Probe} = listen(Config, #{max_backlog => 100, on_backlog => drop}),
    Socket = ws_client:open(Server),
    stopped(Server, fun() ->
        run(Server, fun(State) -> {[{text, <<0:800>>}, ping, {ping, <<"x">>}, pong, {pong, <<"x">>}], State} end),
        4 = maps:get(dropped, backlog(Server)),
        run(Server, fun(State) -> {[{text, <<"5">>}, {close, 4000, <<"bye">>}, {text, <<"never">>}], State} end),
        {exit, normal} = probe:await_exit(Probe)
    end),
    [{text, <<0:800>>}, {close, 4000, <<"bye">>}, closed] = ws_client:recv_all(Socket).

a_compressed_large_message_is_dropped_whole(Config) ->
    Server = listen(Config, #{max_backlog => 100, on_backlog => drop, compress => true}),
    Socket = ws_client:open(Server, [{"Sec-WebSocket-Extensions", "permessage-deflate"}]),
    [First, Second, Third] = [rand:bytes(200000) || _ <- [1, 2, 3]],
    stopped(Server, fun() -> run(Server, fun(State) -> {[{binary, First}, {binary, Second}], State} end) end),
    Z = ws_client:inflater(),
    First = inflated(Socket, Z),
    drained = await_drained(Server),
    run(Server, fun(State) -> {[{binary, Third}], State} end),
    Third = inflated(Socket, Z),
    1 = maps:get(dropped, backlog(Server)).

%% Messages that each send something lie before the credit that the client's reading has earned.
credit_behind_other_messages_is_found_before_one_is_dropped(Config) ->
    Server = #{probe := Probe} = listen(Config, #{max_backlog => 1000, on_backlog => drop}),
    Socket = ws_client:open(Server),
    Pid = probe:process(Probe),
    stopped(Server, fun() ->
        run(Server, fun(State) -> {[{text, <<0:16000>>}], State} end),
        Pid ! {run, fun(State) ->
            probe:note(Probe, busy),
            go_on = probe:await(Probe, go_on),
            {[{text, <<"first">>}], State}
        end},
        busy = probe:await(Probe, busy),
        _ = [Pid ! {run, fun(State) -> {[{text, <<"more">>}], State} end} || _ <- lists:seq(1, 1000)]
    end),
    {text, <<0:16000>>} = ws_client:recv(Socket),
    os_process:until(fun() ->
        {messages, Messages} = process_info(Pid, messages),
        [] =/= [Credit || {_, {credit, _} = Credit} <- Messages]
    end),
    probe:note(Probe, go_on),
    {text, <<"first">>} = ws_client:recv(Socket),
    {text, <<"more">>} = ws_client:recv(Socket).

%%% close

close_ends_the_client_with_1013(Config) ->
    Server = #{probe := Probe} = listen(Config, #{max_backlog => 1000000, on_backlog => close}),
    Socket = slow_client(Server),
    Send = fun Again(#{next := N} = State) ->
        self() ! {run, Again},
        {[{binary, <<N:32, 0:80000>>}], State#{next => N + 1}}
    end,
    run(Server, fun(State) -> Send(State#{next => 1}) end),
    %% The handler is not stopped, and told at once, although the client has read nothing.
    {exit, normal} = probe:await_exit(Probe),
    [{terminate, {error, backlog}}] = [Call || {terminate, _} = Call <- probe:calls(Probe)],
    Frames = ws_client:recv_all(Socket),
    {Messages, [{close, 1013, <<>>}, closed]} = lists:split(length(Frames) - 2, Frames),
    %% What had been begun is there, whole; what waited is not.
    Numbers = [N || {binary, <<N:32, 0:80000>>} <- Messages],
    Numbers = lists:seq(1, length(Messages)),
    true = length(Messages) < 1000000 div 10000 + 60.

a_close_frame_of_the_handlers_own_is_no_backlog(Config) ->
    Server = #{probe := Probe} = listen(Config, #{max_backlog => 100, on_backlog => close}),
    Socket = ws_client:open(Server),
    stopped(Server, fun() ->
        run(Server, fun(State) -> {[{text, <<0:800>>}], State} end),
        run(Server, fun(State) -> {[close, {text, <<"never">>}], State} end),
        {exit, normal} = probe:await_exit(Probe)
    end),
    [{text, <<0:800>>}, close, closed] = ws_client:recv_all(Socket),
    [{terminate, stop}] = [Call || {terminate, _} = Call <- probe:calls(Probe)].

%%% block

block_stops_the_handler_at_max_backlog(Config) ->
    Server = #{probe := Probe} = listen(Config, #{max_backlog => 1000, on_backlog => block}),
    Socket = ws_client:open(Server),
    Pid = probe:process(Probe),
    stopped(Server, fun() ->
        run(Server, fun(State) -> {[{text, <<0:8000>>}], State} end),
        Pid ! next,
        os_process:until(fun() -> is_waiting_for_the_client(Pid) end),
        {messages, [next]} = process_info(Pid, messages)
    end),
    {websocket_info, next} = probe:await(Probe, {websocket_info, next}),
    {text, <<0:8000>>} = ws_client:recv(Socket),
    drained = await_drained(Server).

a_backlog_above_the_window_is_filled(Config) ->
    Server = listen(Config, #{max_backlog => 10000000}, #{window => 1000}),
    Socket = ws_client:open(Server),
    Messages = [{binary, <<N:32, 0:80000>>} || N <- lists:seq(1, 100)],
    stopped(Server, fun() ->
        run(Server, fun(State) -> {Messages, State} end),
        %% It is not stopped: the next one is handled.
        run(Server, fun(State) -> {[{text, <<"behind">>}], State} end),
        #{bytes := Bytes, dropped := 0} = backlog(Server),
        Bytes = 100 * (10004 + ?COST) + 6 + ?COST
    end),
    Messages = ws_client:recv(Socket, 100),
    {text, <<"behind">>} = ws_client:recv(Socket).

%%% Both

max_backlog_is_the_window_by_default(Config) ->
    Server = listen(Config, #{on_backlog => drop}, #{window => 2000}),
    Socket = ws_client:open(Server),
    stopped(Server, fun() ->
        run(Server, fun(State) -> {[{text, binary:copy(<<"x">>, 2000 - ?COST - 1)}, {text, <<"y">>}], State} end),
        #{dropped := 0} = backlog(Server),
        run(Server, fun(State) -> {[{text, <<"z">>}], State} end),
        #{dropped := 1} = backlog(Server)
    end),
    [{text, _}, {text, <<"y">>}] = ws_client:recv(Socket, 2).

%% The sidecar would give credit in steps of 128 KiB.
a_backlog_far_below_the_window_drains(Config) ->
    _ = [
        begin
            Server = listen(Config, #{max_backlog => 10, on_backlog => Policy}),
            Socket = ws_client:open(Server),
            _ = [
                begin
                    run(Server, fun(State) -> {[{text, <<N:32>>}], State} end),
                    {text, <<N:32>>} = ws_client:recv(Socket),
                    os_process:until(fun() -> maps:get(bytes, backlog(Server)) =:= 0 end)
                end
             || N <- [1, 2, 3]
            ],
            outrider:stop_listener(maps:get(ref, Server))
        end
     || Policy <- [block, drop, close]
    ].

a_handler_is_told_once_that_it_has_drained(Config) ->
    Server = #{probe := Probe} = listen(Config, #{max_backlog => 1000, on_backlog => drop}),
    Socket = ws_client:open(Server),
    Exceed = fun() ->
        stopped(Server, fun() -> run(Server, fun(State) -> {[{text, <<0:8000>>}, {text, <<"no">>}], State} end) end),
        {text, <<0:8000>>} = ws_client:recv(Socket)
    end,
    Told = fun(Dropped) -> {websocket_info, {outrider, drained, #{bytes => 0, dropped => Dropped}}} end,
    Exceed(),
    true = Told(1) =:= probe:await(Probe, Told(1)),
    %% Below the limit there is nothing to tell.
    run(Server, fun(State) -> {[{text, <<0:4000>>}], State} end),
    {text, <<0:4000>>} = ws_client:recv(Socket),
    Exceed(),
    true = Told(2) =:= probe:await(Probe, Told(2)),
    true = [Told(1), Told(2)] =:= [Call || {websocket_info, {outrider, _, _}} = Call <- probe:calls(Probe)].

a_handler_without_the_options_has_no_backlog(Config) ->
    Server = #{probe := Probe} = listen(Config, #{}),
    _ = ws_client:open(Server),
    run(Server, fun(State) ->
        Answer = try outrider:backlog() catch error:badarg -> badarg end,
        probe:note(Probe, {asked, Answer, get(outrider_backlog)}),
        {[], State}
    end),
    run(Server, fun(State) -> {[], State} end),
    [badarg, undefined] = [Found || {asked, Answer, Kept} <- probe:calls(Probe), Found <- [Answer, Kept]].

bad_values_are_refused(Config) ->
    Wrong = [
        {Option, Status}
     || Option <- [#{max_backlog => V} || V <- [0, -1, 1.5, infinity, 1 bsl 63]] ++ [#{on_backlog => V} || V <- [wait, 1]],
        Status <- [status(Config, Option)],
        Status =/= closed
    ],
    [] = Wrong,
    #{status := 101} = status(Config, #{max_backlog => 1 bsl 63 - 1}).

%% What a handshake with these options gets: a stream that fails takes its connection along.
status(Config, Options) ->
    Server = #{ref := Ref} = listen(Config, Options),
    Answer = ws_client:upgrade(http_client:connect(Server), []),
    ok = outrider:stop_listener(Ref),
    Answer.

%% 200 MB for a client that reads nothing, one of them of 8 MB: the sidecar's buffer doubles as it grows.
the_sidecar_keeps_no_more_than_the_backlog_and_a_message(Config) ->
    Max = 1000000,
    Large = 8000000,
    Wrong = [
        {Policy, Growth}
     || {Policy, End} <- [{block, running}, {drop, running}, {close, ended}],
        Growth <- [growth(listen(Config, #{max_backlog => Max, on_backlog => Policy}), Max - 1, Large, End)],
        Growth > 2 * (Max + Large) + 4000000
    ],
    [] = Wrong.

growth(Server = #{ref := Ref, probe := Probe}, Small, Large, End) ->
    Socket = slow_client(Server),
    Pid = probe:process(Probe),
    Before = most_memory(Ref),
    run(Server, fun(State) -> {[{binary, <<0:(8 * (Small - ?COST))>>}, {binary, <<0:(8 * Large)>>}], State} end),
    _ = [Pid ! {run, fun(State) -> {[{binary, <<0:520000>>}], State} end} || _ <- lists:seq(1, 3000)],
    case End of
        ended -> {exit, normal} = probe:await_exit(Probe);
        running -> os_process:until(fun() -> is_at_rest(Pid) end)
    end,
    Growth = most_memory(Ref) - Before,
    http_client:close(Socket),
    ok = outrider:stop_listener(Ref),
    Growth.

%% The most memory that the sidecar has had, in bytes.
most_memory(Ref) ->
    [Kilobytes, "kB"] = os_process:status(os_process:sidecar(Ref), "VmHWM"),
    list_to_integer(Kilobytes) * 1024.

%% All was handled, or no more will be.
is_at_rest(Pid) ->
    case process_info(Pid, [message_queue_len, current_function]) of
        [{message_queue_len, 0}, _] -> true;
        _ -> is_waiting_for_the_client(Pid)
    end.

is_waiting_for_the_client(Pid) ->
    process_info(Pid, current_function) =:= {current_function, {outrider_writer, wait, 1}}.

%%% Helpers

%% A listener whose handler runs the funs that it gets as messages. Each server has a probe of its own.
listen(Config, Options) ->
    listen(Config, Options, #{}).

listen(Config, Options, TransOpts) ->
    Handler = #{opts => Options, websocket_info => fun
        ({run, Fun}, State) -> Fun(State);
        (_, State) -> {[], State}
    end},
    Transport = maps:merge(#{socket_opts => [{port, 0}, {sndbuf, 65536}]}, TransOpts),
    own_case:listen(proplists:get_value(listener, Config), #{routes => [{"/", ws_script_h, Handler}], transport => Transport}).

%% A client whose kernel takes little for it.
slow_client(Server) ->
    Socket = http_client:connect(Server, [{recbuf, 4096}]),
    #{status := 101} = ws_client:upgrade(Socket, []),
    Socket.

%% Has the handler run a callback, and waits until its commands have been carried out or wait for the client.
run(#{ref := Ref, probe := Probe}, Fun) ->
    _ = probe:process(Probe),
    [Pid] = outrider:procs(Ref, connections),
    Mark = make_ref(),
    Pid ! {run, fun(State) -> probe:note(Probe, Mark), Fun(State) end},
    Mark = probe:await(Probe, Mark),
    ok.

%% What the handler sees as its backlog in its next callback.
backlog(Server = #{probe := Probe}) ->
    Mark = make_ref(),
    run(Server, fun(State) -> probe:note(Probe, {Mark, outrider:backlog()}), {[], State} end),
    {Mark, Info} = probe:await(Probe, fun(Call) -> is_tuple(Call) andalso element(1, Call) =:= Mark end),
    Info.

stopped(#{ref := Ref}, Fun) ->
    os_process:while_stopped(os_process:sidecar(Ref), Fun).

%% Reads until the handler has been told that its backlog has drained, and nothing more comes; checks what came.
drained(Server = #{probe := Probe}, Socket, Check) ->
    Reader = self(),
    End = make_ref(),
    spawn_link(fun() ->
        drained = await_drained(Server),
        run(Server, fun(State) -> {[{text, <<"end">>}], State} end),
        Reader ! End
    end),
    Frames = read_to(Socket, {text, <<"end">>}),
    receive End -> ok end,
    Check(Frames),
    probe:await(Probe, fun is_drained/1).

read_to(Socket, Last) ->
    case ws_client:recv(Socket) of
        Last -> [];
        Frame -> [Frame | read_to(Socket, Last)]
    end.

await_drained(#{probe := Probe}) ->
    {websocket_info, {outrider, drained, _}} = probe:await(Probe, fun is_drained/1),
    drained.

is_drained({websocket_info, {outrider, drained, _}}) -> true;
is_drained(_) -> false.

inflated(Socket, Z) ->
    {_, Payload} = ws_client:recv_deflated(Socket),
    ws_client:inflate(Z, Payload).

close(#{ref := Ref}, Socket) ->
    http_client:close(Socket),
    os_process:until(fun() -> outrider:procs(Ref, connections) =:= [] end).
