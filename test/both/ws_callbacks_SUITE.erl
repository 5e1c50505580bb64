%% What the callbacks of a WebSocket handler get, and what each of their returns does: every callback × every return, the handler's
%% state, frames from the client. What is in a list of commands is in ws_commands_SUITE, what comes first in ws_order_SUITE.
-module(ws_callbacks_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE).

%%% Every callback × every return

-define(CLOSED_BY_CLIENT, [{terminate, {remote, 1000, <<"bye">>}}, {exit, normal}]).
-define(STOPPED, [{terminate, stop}, {exit, normal}]).

no_commands(_) ->
    {[{close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} = ws_case:each_callback(fun(State) -> {[], State} end).

no_commands_and_hibernate(_) ->
    {[{close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} = ws_case:each_callback(fun(State) -> {[], State, hibernate} end).

one_frame(_) ->
    {[{text, <<"a">>}, {close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} =
        ws_case:each_callback(fun(State) -> {[{text, <<"a">>}], State} end).

one_frame_and_hibernate(_) ->
    {[{binary, <<"a">>}, {close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} =
        ws_case:each_callback(fun(State) -> {[{binary, <<"a">>}], State, hibernate} end).

several_frames(_) ->
    {[{text, <<"a">>}, ping, {binary, <<"b">>}, {pong, <<"c">>}, {close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} =
        ws_case:each_callback(fun(State) -> {[{text, <<"a">>}, ping, {binary, <<"b">>}, {pong, <<"c">>}], State} end).

close_command(_) ->
    {[close, closed], ?STOPPED} = ws_case:each_callback(fun(State) -> {[close], State} end).

close_command_with_reason(_) ->
    {[{close, 1000, <<"done">>}, closed], ?STOPPED} = ws_case:each_callback(fun(State) -> {[{close, <<"done">>}], State} end).

close_command_with_code(_) ->
    {[{close, 4000, <<"done">>}, closed], ?STOPPED} =
        ws_case:each_callback(fun(State) -> {[{close, 4000, <<"done">>}], State} end).

close_command_and_hibernate(_) ->
    {[{close, 1001, <<>>}, closed], ?STOPPED} =
        ws_case:each_callback(fun(State) -> {[{close, 1001, <<>>}], State, hibernate} end).

frames_before_a_close_are_sent_and_those_after_it_dropped(_) ->
    {[{text, <<"a">>}, {close, 1000, <<"b">>}, closed], ?STOPPED} =
        ws_case:each_callback(fun(State) -> {[{text, <<"a">>}, {close, <<"b">>}, {text, <<"c">>}], State} end).

old_ok(_) ->
    {[{close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} = ws_case:each_callback(fun(State) -> {ok, State} end).

old_ok_and_hibernate(_) ->
    {[{close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} = ws_case:each_callback(fun(State) -> {ok, State, hibernate} end).

old_reply(_) ->
    {[{text, <<"a">>}, {close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} =
        ws_case:each_callback(fun(State) -> {reply, {text, <<"a">>}, State} end).

old_reply_and_hibernate(_) ->
    {[{text, <<"a">>}, {close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} =
        ws_case:each_callback(fun(State) -> {reply, {text, <<"a">>}, State, hibernate} end).

old_reply_with_several_frames(_) ->
    {[{text, <<"a">>}, {binary, <<"b">>}, {close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} =
        ws_case:each_callback(fun(State) -> {reply, [{text, <<"a">>}, {binary, <<"b">>}], State} end).

old_reply_with_no_frames(_) ->
    {[{close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} = ws_case:each_callback(fun(State) -> {reply, [], State} end).

old_reply_with_a_close(_) ->
    {[{text, <<"a">>}, close, closed], ?STOPPED} =
        ws_case:each_callback(fun(State) -> {reply, [{text, <<"a">>}, close, {text, <<"b">>}], State} end).

old_reply_with_one_close_frame(_) ->
    {[{close, 1001, <<"x">>}, closed], ?STOPPED} =
        ws_case:each_callback(fun(State) -> {reply, {close, 1001, <<"x">>}, State, hibernate} end).

old_stop(_) ->
    {[{close, 1000, <<>>}, closed], ?STOPPED} = ws_case:each_callback(fun(State) -> {stop, State} end).

%% A handler need not have websocket_init/1.
no_websocket_init(_) ->
    #{wire := {text, <<"hi">>}} = same_test:same(#{handler => {ws_bare_h, #{}}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, {text, <<"hi">>}),
        ws_client:recv(Socket)
    end).

%% ... nor terminate/3.
no_terminate(_) ->
    #{wire := [{close, 1000, <<>>}, closed], log := []} = same_test:same(#{handler => {ws_bare_h, #{}}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, {close, 1000, <<>>}),
        ws_client:recv_all(Socket)
    end).

%%% The handler's state

the_state_goes_from_callback_to_callback(_) ->
    Next = fun(#{count := Count} = State) -> {[{text, integer_to_binary(Count)}], State#{count := Count + 1}} end,
    #{wire := [{text, <<"0">>}, {text, <<"1">>}, {text, <<"2">>}, {close, 1000, <<>>}, closed]} =
        same_test:same(#{handler => {ws_script_h, #{
            count => 0,
            websocket_init => fun(State) -> self() ! next, Next(State) end,
            websocket_info => fun(next, State) -> Next(State) end,
            websocket_handle => fun(_, State) -> Next(State) end
        }}}, fun(Server) ->
            Socket = ws_client:open(Server),
            Two = ws_client:recv(Socket, 2),
            ws_client:send(Socket, [{text, <<"next">>}, {close, 1000, <<>>}]),
            Two ++ ws_client:recv_all(Socket)
        end).

the_state_of_init_is_the_first(_) ->
    #{wire := {text, <<"from init">>}} = same_test:same(#{handler => {ws_script_h, #{
        init => fun(Req, State) -> {cowboy_websocket, Req, State#{word => <<"from init">>}} end,
        websocket_init => fun(#{word := Word} = State) -> {[{text, Word}], State} end
    }}}, fun(Server) -> ws_client:recv(ws_client:open(Server)) end).

terminate_gets_the_last_state(_) ->
    #{calls := Calls} = same_test:same(#{handler => {ws_script_h, #{
        websocket_handle => fun(_, State) -> {[{close, <<>>}], State#{last => true}} end,
        terminate => fun(_, _, #{probe := Probe, last := Last}) -> probe:note(Probe, {last, Last}) end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, {text, <<>>}),
        ws_client:recv_all(Socket)
    end),
    [websocket_init, {websocket_handle, {text, <<>>}}, {terminate, stop}, {last, true}, {exit, normal}] = Calls.

%%% Frames from the client

text_and_binary(_) ->
    [{text, <<"a">>}, {binary, <<0, 255>>}, {text, <<>>}, {binary, <<>>}] =
        ws_case:handled([{text, <<"a">>}, {binary, <<0, 255>>}, {text, <<>>}, {binary, <<>>}]).

text_beyond_ascii(_) ->
    Text = <<"grüße, κόσμε, 世界, 🤠"/utf8>>,
    [{text, Text}] = ws_case:handled([{text, Text}]).

each_length_form(_) ->
    Sizes = [0, 1, 125, 126, 127, 65535, 65536],
    Sizes = [byte_size(Payload) || {binary, Payload} <- ws_case:handled([{binary, binary:copy(<<7>>, Size)} || Size <- Sizes])].

%% Larger than a piece of the port protocol, and than its window.
a_message_of_nearly_a_million_bytes(_) ->
    Message = binary:copy(<<"0123456789abcdef">>, 62500),
    [{binary, Message}] = ws_case:handled([{binary, Message}]).

%% Larger than every window on the way, in both directions.
a_message_of_many_pieces(_) ->
    Message = {binary, binary:copy(<<"0123456789abcdef">>, 300000)},
    #{wire := Message} = same_test:same(#{handler => {ws_script_h, #{
        silent => true,
        opts => #{max_frame_size => infinity},
        websocket_handle => fun(Frame, State) -> {[Frame], State} end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, Message),
        ws_client:recv(Socket)
    end).

%% Characters of three bytes, so that every cut at a power of two is inside one.
a_long_text_of_long_characters(_) ->
    Text = binary:copy(<<"世"/utf8>>, 100000),
    [{text, Text}] = ws_case:handled([{text, Text}]).

empty_pings_and_pongs_are_atoms(_) ->
    [ping, {ping, <<"a">>}, pong, {pong, <<"b">>}] = ws_case:handled([ping, {ping, <<"a">>}, pong, {pong, <<"b">>}]).

fragments_arrive_as_one_message(_) ->
    [{text, <<"abc">>}, {binary, <<1, 2>>}] = ws_case:handled([
        {raw, [ws_client:frame(0, 0, 1, <<"a">>), ws_client:frame(0, 0, 0, <<"b">>), ws_client:frame(1, 0, 0, <<"c">>)]},
        {raw, [ws_client:frame(0, 0, 2, <<1>>), ws_client:frame(1, 0, 0, <<2>>)]}]).

empty_fragments(_) ->
    [{text, <<>>}, {text, <<"a">>}] = ws_case:handled([
        {raw, [ws_client:frame(0, 0, 1, <<>>), ws_client:frame(0, 0, 0, <<>>), ws_client:frame(1, 0, 0, <<>>)]},
        {raw, [ws_client:frame(0, 0, 1, <<>>), ws_client:frame(0, 0, 0, <<"a">>), ws_client:frame(1, 0, 0, <<>>)]}]).

control_frames_between_fragments_come_first(_) ->
    [{ping, <<"p">>}, pong, {text, <<"ab">>}] = ws_case:handled([
        {raw, ws_client:frame(0, 0, 1, <<"a">>)}, {ping, <<"p">>}, pong, {raw, ws_client:frame(1, 0, 0, <<"b">>)}]).

a_character_cut_by_a_fragment(_) ->
    <<First:1/binary, Second/binary>> = Character = <<"ß"/utf8>>,
    [{text, Character}] = ws_case:handled([{raw, [ws_client:frame(0, 0, 1, First), ws_client:frame(1, 0, 0, Second)]}]).

%% Each byte a write of its own: the handler sees whole messages only.
frames_cut_at_every_byte(_) ->
    Bytes = iolist_to_binary(ws_client:bytes([{text, <<"hello">>}, {ping, <<"p">>}, {close, 1000, <<"end">>}])),
    #{calls := [websocket_init, {websocket_handle, {text, <<"hello">>}}, {websocket_handle, {ping, <<"p">>}},
        {terminate, {remote, 1000, <<"end">>}}, {exit, normal}]} =
        same_test:same(#{handler => {ws_script_h, #{}}}, fun(Server) ->
            Socket = ws_client:open(Server),
            _ = [ok = http_client:send(Socket, <<Byte>>) || <<Byte>> <= Bytes],
            ws_client:recv_all(Socket)
        end).
