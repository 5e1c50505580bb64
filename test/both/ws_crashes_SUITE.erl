%% How a WebSocket's process crashes, and what its client gets: exceptions in each callback, returns that are none, links and exit
%% signals.
-module(ws_crashes_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE).

%%% Crashes

%% Each callback × each class: 1011 to the client, the reason in terminate/3, the reports in the log.
crashes(_) ->
    Wrong = [{Callback, Class, Error} || Callback <- [websocket_init, websocket_handle, websocket_info],
        {Class, Raise, Exit, Log} <- [
            {error, fun() -> error(oops) end, {oops, stack},
                [{crash_report, error, oops}, {error, connection_process, {oops, stack}}]},
            {throw, fun() -> throw(oops) end, {{nocatch, oops}, stack},
                [{crash_report, throw, oops}, {error, connection_process, {{nocatch, oops}, stack}}]},
            {exit, fun() -> exit(oops) end, oops,
                [{crash_report, exit, oops}, {error, connection_process, oops}]},
            {exit, fun() -> exit(normal) end, normal, []},
            {exit, fun() -> exit(shutdown) end, shutdown, []},
            {exit, fun() -> exit({shutdown, why}) end, {shutdown, why}, []}],
        {wrong, Error} <- [try crash(Callback, Class, Raise, Exit, Log) catch error:Error -> {wrong, Error} end]],
    [] = Wrong,
    ok.

crash(Callback, Class, Raise, Exit, Log) ->
    Script = case Callback of
        websocket_init -> #{websocket_init => fun(_) -> Raise() end};
        websocket_handle -> #{websocket_handle => fun(_, _) -> Raise() end};
        websocket_info -> #{websocket_info => fun(_, _) -> Raise() end}
    end,
    #{wire := [{close, 1011, <<>>}, closed], calls := Calls, log := Log} =
        same_test:same(#{
            alone_over_http2 => websocket_process_over_http_2,
            handler => {ws_script_h, Script#{silent => true}}}, fun(#{probe := Probe} = Server) ->
            Socket = ws_client:open(Server),
            Callback =:= websocket_info andalso (probe:process(Probe) ! go),
            Callback =:= websocket_handle andalso ws_client:send(Socket, {text, <<"go">>}),
            ws_client:recv_all(Socket)
        end),
    Reason = case Exit of
        {shutdown, _} -> Exit;
        _ when is_atom(Exit) -> Exit;
        _ -> oops
    end,
    [websocket_init, {terminate, {crash, Class, Reason}}, {exit, Exit}] = Calls,
    ok.

%% A crash of terminate/3 comes after the close frame.
terminate_crashes(_) ->
    #{wire := [{close, 1000, <<>>}, closed], calls := [websocket_init, {terminate, {remote, 1000, <<>>}},
        {exit, {oops, stack}}]} =
        same_test:same(#{
            alone_over_http2 => websocket_process_over_http_2,
            handler => {ws_script_h, #{terminate => fun(_, _, _) -> error(oops) end}}}, fun(Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, {close, 1000, <<>>}),
            ws_client:recv_all(Socket)
        end).

%% What a client has sent by then is not handled any more.
frames_before_the_crash_are_answered_and_those_after_it_are_not(_) ->
    #{wire := [{text, <<"1">>}, {close, 1011, <<>>}, closed], calls := [_, {websocket_handle, {text, <<"1">>}},
        {websocket_handle, {text, <<"crash">>}}, {terminate, {crash, error, oops}}, {exit, {oops, stack}}]} =
        same_test:same(#{alone_over_http2 => websocket_process_over_http_2, handler => {ws_script_h, #{
            websocket_handle => fun
                ({text, <<"crash">>}, _) -> error(oops);
                (Frame, State) -> {[Frame], State}
            end
        }}}, fun(Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, [{text, <<"1">>}, {text, <<"crash">>}, {text, <<"2">>}]),
            ws_client:recv_all(Socket)
        end).

%% init/2 crashes in the process of the request: the connection goes on.
init_crashes(_) ->
    #{wire := {500, 500}} = same_test:same(#{handler => {ws_script_h, #{init => fun(_, _) -> error(oops) end}}},
        fun(Server) ->
            Socket = http_client:connect(Server),
            #{status := One} = ws_client:upgrade(Socket, []),
            #{status := Two} = ws_client:upgrade(Socket, []),
            {One, Two}
        end).

%%% What a callback may not return

%% Cowboy's connection just disappears. Outrider treats it as the crash that it is: 1011, and terminate/3 is called.
bad_returns(_) ->
    _ = [same_test:differ(bad_return, #{handler => {ws_script_h, #{
        websocket_handle => fun(_, State) -> Return(State) end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, {text, <<"go">>}),
        ws_client:recv_all(Socket)
    end, #{
        cowboy => fun(#{wire := [closed], calls := [websocket_init, _, {exit, _}]}) -> ok end,
        outrider => fun(#{wire := [{close, 1011, <<>>}, closed],
            calls := [websocket_init, _, {terminate, {crash, error, _}}, {exit, _}]}) -> ok end
    }) || Return <- [
        fun(_) -> nothing end,
        fun(State) -> {no_list, State} end,
        fun(State) -> {ok, State, no_hibernate} end,
        fun(State) -> {[{text, 1}], State} end,
        fun(State) -> {[{unknown, command}], State} end,
        fun(State) -> {[{fragment, nofin, text, <<"a">>}], State} end,
        fun(State) -> {[{text, <<"never sent">>}, {ping, binary:copy(<<"x">>, 126)}], State} end,
        fun(State) -> {[{pong, binary:copy(<<"x">>, 126)}], State} end,
        fun(State) -> {[{close, 1000, binary:copy(<<"x">>, 124)}], State} end,
        fun(State) -> {[{active, perhaps}], State} end,
        fun(State) -> {reply, [{text, <<"a">>}, nonsense], State} end
    ]],
    ok.

%%% Links and exit signals

%% A linked process that dies takes the connection along: no close frame, no terminate/3.
a_linked_process_dies(_) ->
    #{wire := [closed], calls := [websocket_init, {websocket_info, link}, {exit, oops}],
        log := [{error, connection_process, oops}]} =
        same_test:same(#{alone_over_http2 => websocket_process_over_http_2, handler => {ws_script_h, #{
            websocket_info => fun(link, State) ->
                spawn_link(fun() -> exit(oops) end),
                receive never -> {[], State} end
            end
        }}}, fun(#{probe := Probe} = Server) ->
            Socket = ws_client:open(Server),
            probe:process(Probe) ! link,
            ws_client:recv_all(Socket)
        end).

a_linked_process_ends_normally(_) ->
    #{wire := {text, <<"alive">>}} = same_test:same(#{handler => {ws_script_h, #{
        websocket_init => fun(State) ->
            {Pid, Monitor} = spawn_opt(fun() -> ok end, [link, monitor]),
            receive {'DOWN', Monitor, process, Pid, normal} -> ok end,
            {[{text, <<"alive">>}], State}
        end
    }}}, fun(Server) -> ws_client:recv(ws_client:open(Server)) end).

a_linked_process_dies_while_exits_are_trapped(_) ->
    #{wire := {text, <<"alive">>}, calls := [websocket_init, {websocket_info, {'EXIT', pid, oops}} | _]} =
        same_test:same(#{handler => {ws_script_h, #{
            websocket_init => fun(State) ->
                process_flag(trap_exit, true),
                spawn_link(fun() -> exit(oops) end),
                {[], State}
            end,
            websocket_info => fun({'EXIT', _, oops}, State) -> {[{text, <<"alive">>}], State} end
        }}}, fun(Server) ->
            Socket = ws_client:open(Server),
            Frame = ws_client:recv(Socket),
            ws_client:send(Socket, close),
            _ = ws_client:recv_all(Socket),
            Frame
        end).

exit_signals(_) ->
    _ = [#{wire := [closed], calls := [websocket_init, {exit, Reason}], log := Log} =
        same_test:same(#{
            alone_over_http2 => websocket_process_over_http_2,
            handler => {ws_script_h, #{}}}, fun(#{probe := Probe} = Server) ->
            Socket = ws_client:open(Server),
            exit(probe:process(Probe), Signal),
            ws_client:recv_all(Socket)
        end) || {Signal, Reason, Log} <- [
            {kill, killed, [{error, connection_process, killed}]},
            {oops, oops, [{error, connection_process, oops}]},
            {shutdown, shutdown, []},
            {{shutdown, why}, {shutdown, why}, []}]],
    ok.

%% A handler that traps exits is told when its parent wants it to go. Cowboy: since 2.14. The client is told by Outrider only.
the_parent_exits_while_exits_are_trapped(_) ->
    Told = same_test:version(cowboy) >= {2, 14},
    same_test:differ(parent_exit_while_trapping, #{
        alone_over_http2 => websocket_process_over_http_2, handler => {ws_script_h, #{websocket_init => fun(State) ->
        process_flag(trap_exit, true),
        {[], State#{parent => hd(get('$ancestors'))}}
    end, websocket_info => fun(die, #{parent := Parent} = State) ->
        self() ! {'EXIT', Parent, why},
        {[], State}
    end}}}, fun(#{probe := Probe} = Server) ->
        Socket = ws_client:open(Server),
        probe:process(Probe) ! die,
        ws_client:recv_all(Socket)
    end, #{
        cowboy => fun
            (#{wire := [closed], calls := [_, _, {terminate, why}, {exit, normal}]}) when Told -> ok;
            (#{wire := [closed], calls := [_, _, {exit, why}]}) when not Told -> ok
        end,
        outrider => fun(#{wire := [{close, 1001, <<>>}, closed], calls := [_, _, {terminate, why}, {exit, normal}]}) ->
            ok
        end
    }).
