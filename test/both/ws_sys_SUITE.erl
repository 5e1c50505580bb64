%% sys messages to the process of a WebSocket, and its hibernation.
-module(ws_sys_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE).

%% The state is a tuple of three, whose second element is the handler's.
sys_get_and_replace_state(_) ->
    #{wire := {before, {text, <<"after">>}}} = same_test:same(#{handler => {ws_script_h, #{
        word => before,
        websocket_handle => fun(_, #{word := Word} = State) -> {[{text, atom_to_binary(Word)}], State} end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = ws_client:open(Server),
        Pid = probe:process(Probe),
        {_, #{word := Before}, _} = sys:get_state(Pid),
        _ = sys:replace_state(Pid, fun({Ws, State, Parse}) -> {Ws, State#{word := 'after'}, Parse} end),
        ws_client:send(Socket, {text, <<>>}),
        {Before, ws_client:recv(Socket)}
    end).

%% What Cowboy keeps for itself is a record of its own.
first_of_the_sys_state(_) ->
    Check = fun(Expected) -> fun(#{wire := Name}) -> Expected = Name end end,
    same_test:differ(first_of_the_sys_state, #{handler => {ws_script_h, #{}}}, fun(#{probe := Probe} = Server) ->
        Socket = ws_client:open(Server),
        {Own, _, _} = sys:get_state(probe:process(Probe)),
        http_client:close(Socket),
        element(1, Own)
    end, #{cowboy => Check(state), outrider => Check(ws)}).

sys_get_status(_) ->
    Check = fun(Expected) -> fun(#{wire := {Module, running, true}}) -> Expected = Module end end,
    same_test:differ(module_in_sys_status, #{handler => {ws_script_h, #{}}}, fun(#{probe := Probe} = Server) ->
        Socket = ws_client:open(Server),
        Pid = probe:process(Probe),
        {status, Pid, {module, Module}, [_, Running, Parent, _, _]} = sys:get_status(Pid),
        {links, Links} = process_info(Pid, links),
        http_client:close(Socket),
        {Module, Running, lists:member(Parent, Links)}
    end, #{cowboy => Check(cowboy_websocket), outrider => Check(outrider_websocket)}).

%% Nothing is handled while the process is suspended.
sys_suspend_and_resume(_) ->
    #{wire := {text, <<"a">>}, calls := [websocket_init, resumed, {websocket_handle, {text, <<"a">>}} | _]} =
        same_test:same(#{handler => {ws_script_h, #{
            websocket_handle => fun(Frame, State) -> {[Frame], State} end
        }}}, fun(#{probe := Probe} = Server) ->
            Socket = ws_client:open(Server),
            Pid = probe:process(Probe),
            ok = sys:suspend(Pid),
            ws_client:send(Socket, {text, <<"a">>}),
            {status, Pid, _, [_, suspended, _, _, _]} = sys:get_status(Pid),
            probe:note(Probe, resumed),
            ok = sys:resume(Pid),
            ws_client:recv(Socket)
        end).

sys_change_code(_) ->
    #{wire := {ok, {text, <<"a">>}}} = same_test:same(#{handler => {ws_script_h, #{
        websocket_handle => fun(Frame, State) -> {[Frame], State} end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = ws_client:open(Server),
        Pid = probe:process(Probe),
        ok = sys:suspend(Pid),
        Changed = sys:change_code(Pid, ws_script_h, undefined, []),
        ok = sys:resume(Pid),
        ws_client:send(Socket, {text, <<"a">>}),
        {Changed, ws_client:recv(Socket)}
    end).

sys_terminate(_) ->
    #{wire := [closed], calls := [websocket_init, {terminate, enough}, {exit, normal}], log := []} =
        same_test:same(#{handler => {ws_script_h, #{}}}, fun(#{probe := Probe} = Server) ->
            Socket = ws_client:open(Server),
            ok = sys:terminate(probe:process(Probe), enough),
            ws_client:recv_all(Socket)
        end).

%%% Hibernation

%% By its default of active_n, Cowboy since 2.13 wakes up once more after each frame, for the socket's sake.
a_hibernating_process_is_woken_by_a_frame_and_by_a_message(_) ->
    Hibernates = fun(Pid) -> process_info(Pid, current_function) =:= {current_function, {erlang, hibernate, 3}} end,
    #{wire := [{text, <<"frame">>}, {text, <<"message">>}]} = same_test:same(#{handler => {ws_script_h, #{
        opts => #{active_n => 100},
        websocket_init => fun(State) -> {[], State, hibernate} end,
        websocket_handle => fun(Frame, State) -> {[Frame], State, hibernate} end,
        websocket_info => fun(Text, State) -> {[{text, Text}], State, hibernate} end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = ws_client:open(Server),
        Pid = probe:process(Probe),
        true = until(fun() -> Hibernates(Pid) end, 1000),
        ws_client:send(Socket, {text, <<"frame">>}),
        One = ws_client:recv(Socket),
        true = until(fun() -> Hibernates(Pid) end, 1000),
        Pid ! <<"message">>,
        [One, ws_client:recv(Socket)]
    end).

%% There is no event for "has gone to sleep": look until it has.
until(Condition, 0) -> error({never, Condition});
until(Condition, Looks) -> Condition() orelse begin timer:sleep(5), until(Condition, Looks - 1) end.
