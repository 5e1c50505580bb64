%% What each command of a WebSocket handler does, alone and with others: frames and their limits, options, shutdown_reason, active.
-module(ws_commands_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE).

%%% Frames

payloads_are_iodata(_) ->
    [{text, <<"Hello">>}, {binary, <<"abc">>}, {ping, <<"xy">>}, {pong, <<"z">>}] =
        ws_case:sent([{text, "Hello"}, {binary, [<<"a">>, ["b" | <<"c">>]]}, {ping, [$x, "y"]}, {pong, "z"}]).

close_reasons_are_iodata(_) ->
    [{close, 3000, <<"enough">>}, closed] = ws_case:wire([{close, 3000, ["eno", <<"ugh">>]}]).

empty_messages(_) ->
    [{text, <<>>}, {binary, <<>>}, ping, pong] = ws_case:sent([{text, <<>>}, {binary, []}, {ping, <<>>}, {pong, ""}]).

%% RFC 6455 allows 125 bytes; the one more is in ws_crashes_SUITE.
control_frames_of_the_largest_size(_) ->
    Largest = binary:copy(<<"x">>, 125),
    [{ping, Largest}, {pong, Largest}] = ws_case:sent([{ping, Largest}, {pong, Largest}]).

close_reason_of_the_largest_size(_) ->
    Largest = binary:copy(<<"x">>, 123),
    [{close, 1000, Largest}, closed] = ws_case:wire([{close, Largest}]).

each_length_form_is_sent_in_its_shortest(_) ->
    Sizes = [0, 1, 125, 126, 65535, 65536, 200000],
    Sizes = [byte_size(Payload) || {binary, Payload} <- ws_case:sent([{binary, binary:copy(<<7>>, Size)} || Size <- Sizes])].

outgoing_text_is_not_checked(_) ->
    [{text, <<255>>}] = ws_case:sent([{text, <<255>>}]).

any_close_code_is_sent(_) ->
    _ = [[{close, Code, <<>>}, closed] = ws_case:wire([{close, Code, <<>>}]) || Code <- [0, 999, 1005, 1015, 2999, 65535]],
    ok.

commands_after_a_close_are_not_executed(_) ->
    #{calls := [_, _, {terminate, stop}, {exit, normal}]} = same_test:same(#{handler => {ws_script_h, #{
        websocket_handle => fun(_, State) -> {[close, {shutdown_reason, never}, {text, 1}], State} end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, {text, <<>>}),
        ws_client:recv_all(Socket)
    end).

%%% set_options

options_between_frames(_) ->
    [{text, <<"a">>}, {text, <<"b">>}] = ws_case:sent([
        {text, <<"a">>}, {set_options, #{idle_timeout => infinity}}, {active, true}, {deflate, false},
        {shutdown_reason, normal}, {text, <<"b">>}]).

set_options_ignores_unknown_keys(_) ->
    [{text, <<"a">>}] = ws_case:sent([{set_options, #{something => different}}, {text, <<"a">>}]).

%%% shutdown_reason

shutdown_reason_of_a_close(_) ->
    ws_case:exits_with({shutdown, enough}, [{shutdown_reason, enough}, close]).

shutdown_reason_normal_restores(_) ->
    ws_case:exits_with(normal, [{shutdown_reason, enough}, {shutdown_reason, normal}, close]).

shutdown_reason_of_an_earlier_callback_when_the_client_closes(_) ->
    #{calls := [websocket_init, {terminate, {remote, 1000, <<>>}}, {exit, {shutdown, {by, init}}}]} =
        same_test:same(#{handler => {ws_script_h, #{
            websocket_init => fun(State) -> {[{shutdown_reason, {by, init}}], State} end
        }}}, fun(Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, {close, 1000, <<>>}),
            ws_client:recv_all(Socket)
        end).

%%% active

%% Nothing that the client sends after websocket_init returned `{active, false}' is read until `{active, true}'.
active_false_of_init_holds_the_client_back(_) ->
    #{wire := {text, <<"first">>}, calls := [websocket_init, {websocket_info, resume},
        {websocket_handle, {text, <<"late">>}} | _]} = same_test:same(#{
            alone_over_http2 => active_over_http_2, handler => {ws_script_h, #{
            websocket_init => fun(State) -> {[{active, false}], State} end,
            websocket_info => fun(resume, State) -> {[{text, <<"first">>}, {active, true}], State} end
        }}}, fun(#{probe := Probe} = Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, {text, <<"late">>}),
            probe:process(Probe) ! resume,
            Frame = ws_client:recv(Socket),
            probe:await(Probe, {websocket_handle, {text, <<"late">>}}),
            Frame
        end).

%% Cowboy still delivers what it has read together with the frame that stopped it.
active_false_is_strict(_) ->
    same_test:differ(strict_active, #{handler => {ws_script_h, #{
        websocket_handle => fun(_, State) -> {[{active, false}], State} end,
        websocket_info => fun(resume, State) -> {[{active, true}], State} end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, [{text, <<"1">>}, {text, <<"2">>}]),
        probe:await(Probe, {websocket_handle, {text, <<"1">>}}),
        probe:process(Probe) ! resume,
        probe:await(Probe, {websocket_handle, {text, <<"2">>}}),
        ok
    end, #{
        cowboy => fun(#{calls := [_, {websocket_handle, _}, {websocket_handle, _}, {websocket_info, resume} | _]}) ->
            ok
        end,
        outrider => fun(#{calls := [_, {websocket_handle, _}, {websocket_info, resume}, {websocket_handle, _} | _]}) ->
            ok
        end
    }).

active_twice_the_same_is_nothing(_) ->
    [{text, <<"a">>}] = ws_case:sent([{active, true}, {active, true}, {text, <<"a">>}]).

active_false_and_true_in_one_list(_) ->
    #{wire := [{text, <<"1">>}, {text, <<"2">>}]} = same_test:same(#{handler => {ws_script_h, #{
        websocket_handle => fun(Frame, State) -> {[{active, false}, {active, true}, Frame], State} end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, {text, <<"1">>}),
        One = ws_client:recv(Socket),
        ws_client:send(Socket, {text, <<"2">>}),
        [One, ws_client:recv(Socket)]
    end).
